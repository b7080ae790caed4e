#!/usr/bin/env bash
# Every log of a store, audited by two programs that share no code with Taintline nor with each other.
#
#   run.sh STORE        a folder such as .taintline
#
# 0: both accept every log and name the same head. 1: one does not. 2: there is nothing to check, or a tool is missing.
# Needs Go with golang.org/x/mod/sumdb in GOPATH (Debian: golang-go golang-golang-x-mod-dev) and python3.
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
say() { printf 'conformance: %s\n' "$*" >&2; }

if (($# != 1)) || [[ ! -d $1/ledger ]]; then
  say "usage: run.sh STORE, a folder with ledger/ in it"
  exit 2
fi
for tool in go python3; do
  command -v "$tool" >/dev/null || { say "missing: $tool"; exit 2; }
done

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
export GO111MODULE=off GOFLAGS= GOPATH="${CONFORMANCE_GOPATH:-/usr/share/gocode}" GOCACHE="${GOCACHE:-$work/cache}"
audit=${CONFORMANCE_AUDIT:-$work/audit}
if [[ ! -x $audit ]]; then
  go build -o "$audit" "$here/audit.go" || { say "audit.go cannot be built"; exit 2; }
fi

logs=0 wrong=0
for log in "$1"/ledger/*/; do
  [[ -e $log/checkpoint || -e $log/vkey || -e $log/tile ]] || continue
  logs=$((logs + 1))
  go_says=$("$audit" "$log") || { go_says="go refuses it" wrong=1; }
  python_says=$(python3 "$here/verify.py" "$log") || { python_says="python refuses it" wrong=1; }
  if [[ $go_says == "$python_says" ]]; then
    say "agreed: $go_says"
  else
    wrong=1
    say "DISAGREED on $log: $go_says; $python_says"
  fi
done
if ((logs == 0)); then
  say "no log in $1"
  exit 2
fi
exit "$wrong"
