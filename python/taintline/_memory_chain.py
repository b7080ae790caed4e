"""From what stands at a name to the Python code that a call of it would reach.

A wrapper holds what it wraps: in `__wrapped__`, in a cell of its closure, in the fields of an object. The chain is every
function found so, outermost first, within bounds. Nothing of the job is executed: only exact built-in types are asked for
their attributes, and what any other object holds is asked of the garbage collector, which knows it without descriptors.
"""

import functools
import gc
from collections import deque
from types import BuiltinFunctionType, CellType, FunctionType, MethodType, ModuleType

from . import _memory_code

# Most functions of a chain, deepest nesting, and most objects that are looked at.
FUNCTIONS_MAX, DEPTH_MAX, OBJECTS_MAX = 12, 6, 64
# Longest name that is told.
NAME_MAX = 200

_PLAIN = (int, float, complex, str, bytes, bool, type(None), BuiltinFunctionType)
# Methods of a class that a call of its object, or a look at one in a class, runs.
_RUN = ("__call__", "__get__", "__set__", "forward")
_CACHED = type(functools.lru_cache(len))


def chain(value):
    """The functions that `value` is or holds."""
    found, seen, waiting = [], set(), [(value, 0)]
    while waiting and len(found) < FUNCTIONS_MAX and len(seen) < OBJECTS_MAX:
        item, depth = waiting.pop(0)
        if id(item) in seen:
            continue
        seen.add(id(item))
        if type(item) is FunctionType:
            found.append(item)
        if depth < DEPTH_MAX:
            waiting.extend((inner, depth + 1) for inner in _inside(item))
    return found


def _inside(item):
    """What `item` may hand a call to."""
    kind = type(item)
    if kind is FunctionType:
        inner = [dict.get(item.__dict__, "__wrapped__")]
        for cell in item.__closure__ or ():
            try:
                inner.append(cell.cell_contents)
            except ValueError:
                pass
        return [value for value in inner if _callable(value)]
    if kind is MethodType:
        return [item.__func__]
    if kind in (staticmethod, classmethod):
        return [item.__func__]
    if kind is property:
        return [value for value in (item.fget, item.fset, item.fdel) if value is not None]
    if kind is functools.partial:
        return [item.func, *(value for value in item.args[:8] if _callable(value))]
    if kind is _CACHED:
        return [value for value in gc.get_referents(item) if type(value) is FunctionType]
    if not issubclass(kind, (type, ModuleType)) and _is_small(item):
        # Any other object: what a call of it or a look at it runs, what it holds, and what its fields hold.
        inner = [of_class(kind, name) for name in _RUN]
        inner = [value for value in inner if type(value) is FunctionType]
        for value in gc.get_referents(item)[:OBJECTS_MAX]:
            if type(value) is dict:
                if len(value) <= OBJECTS_MAX:
                    inner.extend(field for field in list(value.values()) if _callable(field))
            elif _callable(value):
                inner.append(value)
        return inner
    return []


def _callable(value):
    """Whether `value` may lead to a function: no class, no module, no plain value and no container."""
    kind = type(value)
    return kind not in _PLAIN and not issubclass(kind, (type, ModuleType, list, tuple, dict, set, frozenset)) and callable(value)


def _is_small(item):
    return not issubclass(type(item), (list, tuple, dict, set, frozenset, deque, CellType, *_PLAIN))


def mark(value):
    """A number that changes when what a call of `value` reaches does; for this process only."""
    if type(value) is FunctionType and value.__closure__ is None and not value.__dict__:
        return hash((_memory_code.mark(value.__code__), id(value.__globals__), value.__module__))
    return hash(tuple((_memory_code.mark(function.__code__), function.__module__) for function in chain(value)))


def told(function):
    """`function` as a message tells it."""
    code = function.__code__
    return {
        "file": path_of(code),
        "line": code.co_firstlineno,
        "name": name_of(code),
        "module": text(function.__module__),
        "digest": _memory_code.digest(code),
    }


def told_chain(value):
    """[`chain`] as a message tells it."""
    return [told(function) for function in chain(value)]


def path_of(code):
    """The path that the code says it was compiled from, as bytes."""
    return str.encode(code.co_filename, "utf-8", "surrogateescape")[:4096]


def name_of(code):
    return getattr(code, "co_qualname", code.co_name)[:NAME_MAX]


def text(value):
    return value[:NAME_MAX] if type(value) is str else ""


def kind_of(value):
    """What `value` is, in a word or two, without asking it."""
    kind = type(value)
    if kind is BuiltinFunctionType:
        # The name is the function's own, in native code.
        return f"builtin {value.__name__}"[:NAME_MAX]
    return class_name(kind)


def is_class(value):
    """Whether `value` is a class. `isinstance` would ask an object that is none for its `__class__`."""
    return issubclass(type(value), type)


def fields_of(value):
    """The dictionary of an object, without asking its class; empty if it has none."""
    try:
        fields = object.__getattribute__(value, "__dict__")
    except AttributeError:
        return {}
    return fields if type(fields) is dict else {}


def names_of(kind):
    """The names of the class `kind`, without asking it."""
    return type.__dict__["__dict__"].__get__(kind)


def class_name(kind):
    module = type.__dict__["__module__"].__get__(kind)
    name = type.__dict__["__qualname__"].__get__(kind)
    return f"{text(module)}.{text(name)}" if module not in ("builtins", None) else text(name)


def of_class(kind, name):
    """What instances of `kind` have under `name` by their class; `None` if nothing."""
    for base in type.__dict__["__mro__"].__get__(kind):
        found = names_of(base).get(name)
        if found is not None:
            return found
    return None
