#!/usr/bin/env bash
# Makes a store of a few hundred entries with the given binary, has both auditors accept it, then damages copies of it and
# has each of them, alone, notice.
#
#   selftest.sh TAINTLINE [RUNS]        60 runs unless told otherwise: more than 256 entries, so that a second level exists
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
taintline=$(realpath "${1:?usage: selftest.sh TAINTLINE [RUNS]}")
runs=${2:-60}
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
export XDG_DATA_HOME="$work/data" CONFORMANCE_AUDIT="$work/audit" GOCACHE="${GOCACHE:-$work/cache}"
unset TAINTLINE_STORE

say() { printf 'conformance: %s\n' "$*" >&2; }
damage() { # FILE OFFSET: one bit of one byte; from the end when negative
  python3 - "$@" <<'PY'
import os, sys
file, offset = sys.argv[1], int(sys.argv[2])
os.chmod(file, 0o644)
data = bytearray(open(file, "rb").read())
data[offset] ^= 1
open(file, "wb").write(data)
PY
}

mkdir project && cd project
for ((run = 0; run < runs; run++)); do
  "$taintline" run -- /bin/true >"$work/out" 2>&1 || { cat "$work/out" >&2; say "run $run failed"; exit 1; }
done
cd ..
store=project/.taintline
"$here/run.sh" "$store"

GO111MODULE=off GOPATH="${CONFORMANCE_GOPATH:-/usr/share/gocode}" go build -o audit "$here/audit.go"
must_notice() { # WHAT LOG
  local checker
  for checker in "$work/audit" "python3 $here/verify.py"; do
    # shellcheck disable=SC2086  # a program and its argument
    if $checker "$2" >/dev/null 2>"$work/why"; then
      say "NOT NOTICED by ${checker##*/}: $1"
      failed=1
    elif grep -q -e Traceback -e 'panic:' "$work/why"; then
      say "noticed by a crash of ${checker##*/}: $1"
      failed=1
    else
      noticed=$((noticed + 1))
    fi
  done
}

log=$(dirname "$(ls "$store"/ledger/*/checkpoint)")

# Proofs that we write, checked by Go; and a changed one by neither.
failed=0 noticed=0
size=$(sed -n 2p "$log/checkpoint")
for entry in 0 1 $((size / 2)) 255 256 $((size - 1)); do
  ((entry < size)) || continue
  "$taintline" --store "$store" ledger prove "$entry" --output proof >/dev/null
  go_says=$("$work/audit" proof proof "$log/vkey") || { say "Go refuses the proof of entry $entry"; failed=1; }
  [[ $go_says == *" $entry" ]] || { say "Go says of the proof of entry $entry: $go_says"; failed=1; }
  "$taintline" ledger verify-proof proof --key "$log/vkey" >/dev/null || { say "we refuse our proof of entry $entry"; failed=1; }
  for offset in 30 -20 200; do
    cp proof changed && damage changed "$offset"
    if "$work/audit" proof changed "$log/vkey" >/dev/null 2>&1; then
      say "NOT NOTICED by Go: proof of $entry, byte $offset"
      failed=1
    fi
    if "$taintline" ledger verify-proof changed --key "$log/vkey" >/dev/null 2>&1; then
      say "NOT NOTICED by taintline: proof of $entry, byte $offset"
      failed=1
    fi
  done
done
say "proofs of entries agreed, with $size entries"
files=$(cd "$log" && find checkpoint vkey tile -type f | sort)
for file in $files; do
  for offset in 0 17 -1; do
    # The line break behind the key is no part of it; both programs let it pass.
    if [[ $file == vkey && $offset == -1 ]]; then offset=-2; fi
    rm -rf copy && cp -r "$log" copy
    damage "copy/$file" "$offset"
    must_notice "$file, byte $offset changed" copy
  done
  rm -rf copy && cp -r "$log" copy
  truncate -s -1 "copy/$file"
  # The same line break again: a key without it is the same key.
  [[ $file == vkey ]] || must_notice "$file, last byte gone" copy
  rm -f "copy/$file"
  must_notice "$file gone" copy
done
say "$noticed of $noticed damages noticed, in $(wc -w <<<"$files") files"
exit "$failed"
