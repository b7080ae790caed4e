"""The digest of a code object: the same for what a file compiles to and for what runs in memory.

Loaded in two places: in the job, beside the functions that it looks at, and in the supervisor's helper
(`_memory_reference.py`), beside the source. It goes by what the interpreter would do: instructions, constants, names,
flags, exception table. Not by where the code stands: its path differs between a build and its installation, and its lines
move nothing. Not by its own name either: torch renames wrappers so that they show in a trace. Instructions are asked for as the compiler wrote them, which is what `co_code` gives also for a function
that the interpreter has specialised.
"""

from hashlib import sha256
from marshal import dumps
from types import CodeType

# Deepest nesting of code in code; the parser itself allows about a hundred levels.
DEPTH_MAX = 128
# Hexadecimal digits of a digest.
DIGITS = 32

_NUMBERS = ("co_argcount", "co_posonlyargcount", "co_kwonlyargcount", "co_flags")
_NAMES = ("co_names", "co_varnames", "co_cellvars", "co_freevars")


# Code objects that `prepare` went through, by their number, each with the digests of the code in it.
_prepared = {}


def digest(code):
    """The digest of `code`, [`DIGITS`] hexadecimal digits; `ValueError` for one nested too deeply."""
    return _digest(code, 0, _prepared.get(id(code), _NOTHING)[1]).hex()[:DIGITS]


def prepare(code):
    """Digests the code in `code` one by one, and yields between: a thousand functions in one take milliseconds. Until
    `forget`, its own digest is made of these."""
    inner = {}
    for value in code.co_consts:
        if type(value) is CodeType:
            inner[id(value)] = _digest(value, 1)
            yield
    _prepared[id(code)] = (code, inner)


def forget():
    """Lets go of what was prepared: what stands there later may be something else."""
    _prepared.clear()


def mark(code):
    """A number that changes with the content of `code`, quick and for this process only."""
    try:
        return hash(dumps(code, 2))
    except ValueError:
        # A constant that this form cannot hold.
        return hash(digest(code))


_NOTHING = (None, {})


def _digest(code, depth, known=_NOTHING[1]):
    if depth > DEPTH_MAX:
        raise ValueError("code nested too deeply")
    parts = [repr([getattr(code, name) for name in _NUMBERS]), repr([getattr(code, name) for name in _NAMES])]
    parts.append(code.co_code.hex())
    parts.append(getattr(code, "co_exceptiontable", b"").hex())
    for value in code.co_consts:
        ready = known.get(id(value)) if type(value) is CodeType else None
        parts.append(_constant(value, depth) if ready is None else "code:" + ready.hex())
    return sha256("\0".join(parts).encode("utf-8", "backslashreplace")).digest()


def _constant(value, depth):
    kind = type(value)
    if kind is CodeType:
        return "code:" + _digest(value, depth + 1).hex()
    if kind is int:
        return hex(value)
    if kind in (tuple, frozenset):
        if depth > DEPTH_MAX:
            raise ValueError("constants nested too deeply")
        items = [_constant(item, depth + 1) for item in value]
        return f"{kind.__name__}:" + repr(items if kind is tuple else sorted(items))
    if kind is slice:
        return "slice:" + repr([_constant(item, depth + 1) for item in (value.start, value.stop, value.step)])
    if value is None or value is ... or kind in (bool, float, complex, str, bytes):
        return f"{kind.__name__}:{value!r}"
    # No compiler makes it: then it is equal to nothing that one made.
    return f"a {kind.__name__} that no compiler makes"
