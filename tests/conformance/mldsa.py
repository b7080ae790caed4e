"""Checks the ML-DSA-44 cosignature of a tree head (C2SP tlog-cosignature) with another implementation, dilithium-py.

    mldsa.py HEAD WITNESS-VKEY

Ends with 0 and prints the time when the signature holds, with 1 and the reason when it does not, with 2 where
dilithium-py is missing. Nothing of Taintline's code is here.
"""

import base64
import hashlib
import struct
import sys


def check(path: str, vkey: str) -> int:
    """The time of the cosignature; raises ValueError when there is none that holds."""
    from dilithium_py.ml_dsa import ML_DSA_44

    name, key_id, encoded = vkey.split("+", 2)
    key = base64.b64decode(encoded, validate=True)
    if key[0] != 6 or len(key) != 1313:
        raise ValueError("not an ML-DSA-44 cosigner's key")
    digest = hashlib.sha256(name.encode() + b"\n" + key).digest()
    if digest[:4].hex() != key_id:
        raise ValueError("the id is not this key's")
    with open(path, encoding="utf-8", newline="") as file:
        text, _, signatures = file.read().rpartition("\n\n")
    origin, size, root = text.split("\n")
    for line in signatures.splitlines():
        mark, signer, encoded = line.split(" ")
        blob = base64.b64decode(encoded, validate=True)
        if mark != "\u2014" or signer != name or blob[:4] != digest[:4]:
            continue
        (time,) = struct.unpack(">Q", blob[4:12])
        message = b"subtree/v1\n\0"
        message += bytes([len(name.encode())]) + name.encode() + struct.pack(">Q", time)
        message += bytes([len(origin.encode())]) + origin.encode()
        message += struct.pack(">QQ", 0, int(size)) + base64.b64decode(root, validate=True)
        if not ML_DSA_44.verify(key[1:], message, blob[12:]):
            raise ValueError("the cosignature does not hold")
        return time
    raise ValueError("no cosignature by this key")


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    try:
        print(check(sys.argv[1], sys.argv[2]))
    except ImportError as error:
        print(f"mldsa: {error}", file=sys.stderr)
        sys.exit(2)
    except ValueError as error:
        print(f"mldsa: {sys.argv[1]}: {error}", file=sys.stderr)
        sys.exit(1)
