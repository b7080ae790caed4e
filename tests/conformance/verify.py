#!/usr/bin/env python3
"""Verifies one log by its published formats alone: signed note, tlog-checkpoint, tlog-tiles (C2SP), RFC 6962 hashing.

    verify.py LOG        LOG is a folder with checkpoint, vkey and tile/

Written to be read by somebody who has no reason to trust whoever wrote the log. On success it prints "ORIGIN SIZE ROOT"
and ends with 0; whatever does not agree is said on standard error, and it ends with 1. The signature needs the package
`cryptography`; without it the hashes are checked, the signature is not, and a line on standard error says so.
"""

import base64
import hashlib
import sys
from pathlib import Path

WIDTH = 256  # entries in a full bundle, hashes in a full tile


class Wrong(Exception):
    """The log is not what it says."""


def sha256(*parts: bytes) -> bytes:
    return hashlib.sha256(b"".join(parts)).digest()


def root(hashes: list) -> bytes:
    """RFC 6962, section 2.1: split at the largest power of two below the count."""
    if not hashes:
        return sha256()
    if len(hashes) == 1:
        return hashes[0]
    split = 1 << (len(hashes) - 1).bit_length() - 1
    return sha256(b"\x01", root(hashes[:split]), root(hashes[split:]))


def unbase64(text: str) -> bytes:
    """Decodes and refuses a second spelling of the same bytes."""
    data = base64.b64decode(text, validate=True)
    if base64.b64encode(data).decode() != text:
        raise Wrong(f"{text!r} is not in base64's one form")
    return data


def open_key(text: str):
    """NAME+ID+KEY to name, id and the 32 bytes of an Ed25519 key."""
    name, key_id, key = text.removesuffix("\n").split("+", 2)
    key = unbase64(key)
    if len(key) != 33 or key[0] != 1:
        raise Wrong("vkey: not an Ed25519 key")
    if sha256(name.encode(), b"\n", key)[:4].hex() != key_id:
        raise Wrong("vkey: the id is not that of this name and key")
    return name, bytes.fromhex(key_id), key[1:]


def open_head(note: str, name: str, key_id: bytes, key: bytes):
    """The signed text under an empty line: origin, size, root. Returns size and root."""
    text, empty_line, signatures = note.rpartition("\n\n")
    if not empty_line or not signatures.endswith("\n"):
        raise Wrong("checkpoint: no signatures")
    text += "\n"
    good = False
    for line in signatures[:-1].split("\n"):
        dash, signer, signature = line.split(" ")
        signature = unbase64(signature)
        if dash != "\u2014":
            raise Wrong("checkpoint: a signature line is malformed")
        if (signer, signature[:4]) == (name, key_id):
            verify_signature(key, signature[4:], text.encode())
            good = True
    if not good:
        raise Wrong("checkpoint: not signed by the log's key")
    origin, size, root_text, end = text.split("\n")
    if origin != name or end or str(int(size)) != size or int(size) < 0:
        raise Wrong("checkpoint: not origin, size and root of this log")
    return int(size), unbase64(root_text)


def verify_signature(key: bytes, signature: bytes, message: bytes) -> None:
    try:
        from cryptography.exceptions import InvalidSignature
        from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
    except ImportError:
        print("verify: no `cryptography`: the signature is NOT checked", file=sys.stderr)
        return
    try:
        Ed25519PublicKey.from_public_bytes(key).verify(signature, message)
    except InvalidSignature:
        raise Wrong("checkpoint: the signature is bad") from None


def pieces(folder: Path, kind: str, count: int):
    """The files that hold `count` entries or hashes, 256 in each; of the last the width is part of the name."""
    for first in range(0, count, WIDTH):
        width = min(WIDTH, count - first)
        index = first // WIDTH
        name = f"{index % 1000:03}"
        while index >= 1000:
            index //= 1000
            name = f"x{index % 1000:03}/{name}"
        if width < WIDTH:
            name += f".p/{width}"
        yield f"tile/{kind}/{name}", first, width, (folder / "tile" / kind / name).read_bytes()


def read_leaves(folder: Path, size: int) -> list:
    """The hash of every entry. In a bundle each entry stands behind its length, two bytes, the high one first."""
    leaves = []
    for name, _, width, data in pieces(folder, "entries", size):
        for _ in range(width):
            end = 2 + int.from_bytes(data[:2], "big")
            if len(data) < end:
                raise Wrong(f"{name}: an entry is cut off")
            leaves.append(sha256(b"\x00", data[2:end]))
            data = data[end:]
        if data:
            raise Wrong(f"{name}: bytes behind the last entry")
    return leaves


def check_tiles(folder: Path, hashes: list) -> None:
    """Level 0 is the hashes of the entries; each full tile is one hash of the level above."""
    level = 0
    while hashes:
        for name, first, width, data in pieces(folder, str(level), len(hashes)):
            if data != b"".join(hashes[first : first + width]):
                raise Wrong(f"{name}: other hashes than the entries have")
        full = len(hashes) // WIDTH * WIDTH
        hashes = [root(hashes[first : first + WIDTH]) for first in range(0, full, WIDTH)]
        level += 1


def verify(folder: Path) -> str:
    name, key_id, key = open_key((folder / "vkey").read_text("utf-8"))
    size, signed_root = open_head((folder / "checkpoint").read_text("utf-8"), name, key_id, key)
    leaves = read_leaves(folder, size)
    if root(leaves) != signed_root:
        raise Wrong("the entries do not have the root that was signed")
    check_tiles(folder, leaves)
    return f"{name} {size} {base64.b64encode(signed_root).decode()}"


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    try:
        print(verify(Path(sys.argv[1])))
    except (Wrong, OSError, ValueError) as error:
        print(f"verify: {sys.argv[1]}: {error}", file=sys.stderr)
        sys.exit(1)
