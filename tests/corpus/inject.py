"""Puts a program into an honest pickle, at a place drawn from the seed, so that the honest rest still loads."""

import pickletools

from assembly import Assembler, Do, any_style


def operations(data):
    """(opcode name, start, end) of one pickle, and where it ends."""
    found = []
    for opcode, _, position in pickletools.genops(data):
        if found:
            found[-1][2] = position
        found.append([opcode.name, position, None])
    found[-1][2] = found[-1][1] + 1
    return found


def unframed(data):
    """The same pickle without FRAME opcodes, which need not be there."""
    return b"".join(data[a:b] for name, a, b in operations(data) if name != "FRAME")


def into(rng, base, tree, style=None):
    """`base` with `tree` evaluated somewhere in it. Returns the bytes and the name of the place."""
    data = unframed(base)
    style = style or any_style(rng, inside=True)
    assembler = Assembler(rng, style)
    ops = operations(data)
    start = 1 if ops[0][0] == "PROTO" else 0
    place = rng.choice(["anywhere", "anywhere", "item", "element", "first", "last", "result", "leaf"])
    if place == "item":
        spots = [a for name, a, _ in ops if name == "SETITEMS"]
        fragment = assembler.push(f"extra{rng.randrange(999)}") + assembler.push(tree)
    elif place == "element":
        spots = [a for name, a, _ in ops if name == "APPENDS"]
        fragment = assembler.push(tree)
    elif place == "result":
        spots = [ops[-1][1]]
        fragment = b"0" + assembler.push(tree)
    elif place == "leaf":
        spots = [b for name, _, b in ops if name in ("NONE", "NEWFALSE", "NEWTRUE", "BININT1")]
        fragment = b"0" + assembler.push(tree)
    else:
        spots = []
    if not spots:
        fragment = Assembler(rng, style).push(Do((tree, None))) + b"0"
        spots = [a for _, a, _ in ops[start:]]
        spots = {"first": spots[:1], "last": spots[-1:]}.get(place, spots)
    spot = rng.choice(spots)
    return data[:spot] + fragment + data[spot:], place


def declared(data, protocol):
    """The pickle with its PROTO raised: dotted names need 4."""
    if data[:1] == b"\x80":
        return data[:1] + bytes([max(data[1], protocol)]) + data[2:]
    return b"\x80" + bytes([protocol]) + data
