#!/usr/bin/env bash
# Two witnesses of ours cosign a log of ours; Go's signed notes and Python's dilithium-py verify what they said, and each
# notices a changed byte, a short quorum, a wrong witness.
#
#   witnesses.sh TAINTLINE [PYTHON]      PYTHON has dilithium-py; without it ML-DSA-44 is not checked, and that is said
#
# 0: agreed. 1: not. 2: a tool is missing.
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
taintline=$(realpath "${1:?usage: witnesses.sh TAINTLINE [PYTHON]}")
python=${2:-}
work=$(mktemp -d)
servers=()
leave() {
  for server in "${servers[@]}"; do kill "$server" 2>/dev/null || true; done
  wait 2>/dev/null || true
  rm -rf "$work"
}
trap leave EXIT
cd "$work"
export XDG_DATA_HOME="$work/data" GOCACHE="${GOCACHE:-$work/cache}" TAINTLINE_CONFIG="$work/taintline.toml"
unset TAINTLINE_STORE
say() { printf 'conformance: %s\n' "$*" >&2; }
fail() { say "$*"; exit 1; }

command -v go >/dev/null || { say "missing: go"; exit 2; }
GO111MODULE=off GOFLAGS= GOPATH="${CONFORMANCE_GOPATH:-/usr/share/gocode}" go build -o cosigned "$here/cosigned.go"

: >taintline.toml # a named file must be there; nothing is settled yet
"$taintline" run -- /bin/true >out 2>&1 || { cat out >&2; fail "the run failed"; }
log=$(dirname "$(ls .taintline/ledger/*/vkey)")
: >policy
for name in w1 w2 w3; do
  "$taintline" ledger witness key --folder "$name" --name "witness.example/$name" >"$name.keys"
done
for name in w1 w2; do
  "$taintline" ledger witness serve --folder "$name" --listen 127.0.0.1:0 --log "$log/vkey" >"$name.out" &
  servers+=($!)
  for ((tries = 0; tries < 200; tries++)); do
    if [[ -s $name.out ]]; then break; fi
    sleep 0.1
  done
  read -r _ _ url _ <"$name.out" || fail "witness $name does not listen"
  printf 'witness %s %s %s\n' "$name" "$(sed -n 1p "$name.keys")" "${url%,}" >>policy
  printf 'witness %s-pq %s %s\n' "$name" "$(sed -n 2p "$name.keys")" "${url%,}" >>policy
done
printf 'group all-of-them all w1 w1-pq w2 w2-pq\nquorum all-of-them\n' >>policy
printf '[ledger]\nwitnesses = "policy"\n' >taintline.toml
"$taintline" ledger cosign >out || { cat out >&2; fail "our own policy is not satisfied"; }
for name in again "and again"; do
  "$taintline" run -- /bin/echo "$name" >out 2>&1 || { cat out >&2; fail "a witnessed run failed"; }
done
head=$log/cosigned

first=$(sed -n 1p w1.keys) second=$(sed -n 1p w2.keys) third=$(sed -n 1p w3.keys)
go_says=$(./cosigned "$head" "$log/vkey" 2 "$first" "$second") || fail "Go refuses our cosignatures"
say "agreed: $go_says"
must_refuse() { # WHAT COMMAND…
  local what=$1
  shift
  if "$@" >/dev/null 2>why; then fail "NOT NOTICED: $what"; fi
  if grep -q -e Traceback -e 'panic:' why; then fail "noticed by a crash: $what"; fi
}
must_refuse "short quorum" ./cosigned "$head" "$log/vkey" 3 "$first" "$second" "$third"
must_refuse "wrong witness" ./cosigned "$head" "$log/vkey" 1 "$third"
# The head with the lines of the log and of the two Ed25519 keys alone: no byte of it can change unnoticed. The last digit in
# front of the padding has bits that say nothing; Go's base64 lets these pass.
awk 'NR <= 4 || length($0) < 200' "$head" >short
./cosigned short "$log/vkey" 2 "$first" "$second" >/dev/null || fail "Go refuses the shortened head"
changes=0
length=$(stat -c %s short)
for ((at = 0; at < length; at += 5)); do
  python3 - short changed "$at" <<'PY'
import sys
data, at = bytearray(open(sys.argv[1], "rb").read()), int(sys.argv[3])
at += data[at + 1 : at + 2] == b"="
data[at] ^= 1
open(sys.argv[2], "wb").write(data)
PY
  must_refuse "byte $at" ./cosigned changed "$log/vkey" 2 "$first" "$second"
  changes=$((changes + 1))
done
say "Go noticed $changes of $changes changed bytes"

if [[ -z $python ]]; then
  say "ML-DSA-44 was not checked: no Python with dilithium-py was named"
  exit 0
fi
for name in w1 w2; do
  pq=$(sed -n 2p "$name.keys")
  "$python" "$here/mldsa.py" "$head" "$pq" >/dev/null || fail "dilithium-py refuses the cosignature of $name"
  must_refuse "ML-DSA-44 by another witness" "$python" "$here/mldsa.py" "$head" "$(sed -n 2p w3.keys)"
  sed "2s/.*/$(($(sed -n 2p "$head") + 1))/" "$head" >changed
  must_refuse "ML-DSA-44 over another size" "$python" "$here/mldsa.py" changed "$pq"
done
say "agreed: two ML-DSA-44 cosignatures, by dilithium-py"
