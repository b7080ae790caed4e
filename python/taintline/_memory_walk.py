"""What stands in the namespaces of a module and its classes, and what is new there since the last look.

A function at the place where its own source defines it is told by place, line and digest; what came from another module
and is that one's own by its home; anything else, with the chain of code behind it. Whether that is as it should be is not
decided here: the supervisor knows what the files compile to and whose they are.
"""

import sys
import sysconfig
from types import FunctionType, ModuleType

from . import _memory_chain, _memory_code
from ._memory_chain import is_class, kind_of, names_of, text

# Deepest nesting of classes, and most names of a namespace.
CLASSES_DEPTH, NAMES_MAX = 3, 20_000
# Most places of one message.
PLACES_MAX = 128

_NAMESPACE = ModuleType.__dict__["__dict__"]


def namespace(module):
    """The names of `module`, without asking it; `None` for what is no module."""
    return _NAMESPACE.__get__(module) if issubclass(type(module), ModuleType) else None


def home_of(module, place):
    """What stands at `place` of the module of that name; `None` if there is nothing."""
    names = namespace(sys.modules.get(module)) if type(module) is str else None
    parts = place.split(".") if type(place) is str else ()
    value = None
    for part in parts:
        if names is None:
            return None
        value = names.get(part)
        names = names_of(value) if is_class(value) else None
    return value


class Look:
    """One look at one module; what it finds waits in `facts`."""

    def __init__(self, name, module, marks):
        self.name = name
        self.names = namespace(module)
        self.file = file_of(name)
        # Mark of what was at each place when it was told; kept by the caller from look to look.
        self.marks = marks
        self.functions, self.imported, self.standing = [], [], []

    def told(self):
        """The facts, or `None` if nothing is new."""
        if not (self.functions or self.imported or self.standing):
            return None
        loader = self.names.get("__loader__")
        return {
            "fact": "namespace",
            "module": self.name[:200],
            "file": self.file.encode("utf-8", "surrogateescape"),
            "loader": None if loader is None else _loader(loader),
            "maker": _maker(loader),
            "functions": self.functions,
            "imported": self.imported,
            "standing": self.standing,
        }

    def steps(self):
        """Looks, and yields now and then."""
        yield from self._scope(self.names, "", 0)

    def _scope(self, names, prefix, depth):
        count = 0
        for name in list(names)[:NAMES_MAX]:
            if type(name) is not str or name not in names:
                continue
            value = names.get(name)
            kind = type(value)
            place = prefix + name
            if kind is FunctionType:
                mark = _memory_chain.mark(value)
                if self.marks.get(place) != mark:
                    yield from _prepare((value,) if _is_bare(value) else _memory_chain.chain(value))
                    self._function(place, value, mark)
            elif is_class(value):
                if depth < CLASSES_DEPTH and self._is_own(value, place):
                    value = None
                    yield from self._scope(names_of(names[name]), place + ".", depth + 1)
                else:
                    self._foreign_class(place, value)
            elif kind not in _UNSEEN and (prefix or callable(value)):
                yield from self._other(place, value)
            _memory_code.forget()
            value = None
            count += 1
            # What holds code takes long enough for a pause to end behind it.
            if kind not in _UNSEEN or not count & 7:
                yield
        yield

    def _is_own(self, kind, place):
        """Whether the class says that this is where it was written."""
        names = names_of(kind)
        return names.get("__module__") == self.name and type.__dict__["__qualname__"].__get__(kind) == place

    def _function(self, place, value, mark):
        before = self.marks.get(place)
        self.marks[place] = mark
        code = value.__code__
        if (
            code.co_filename == self.file
            and value.__qualname__ == place
            and value.__globals__ is self.names
            and _memory_chain.name_of(code) in (place, code.co_name)
            and (_is_bare(value) or len(_memory_chain.chain(value)) == 1)
        ):
            self.functions.append((place, code.co_firstlineno, _memory_code.digest(code)))
        elif before is None and self._is_imported(value):
            self.imported.append((place, text(value.__module__), text(value.__qualname__)))
        else:
            self._stands(place, value, before)

    def _is_imported(self, function):
        """Whether `function` and what it wraps were written elsewhere, and it stands where it says that it was."""
        if any(inner.__code__.co_filename == self.file for inner in _memory_chain.chain(function)):
            return False
        return self._is_at_home(function.__module__, function.__qualname__, function)

    def _is_at_home(self, module, place, value):
        """Whether `value` stands at its own home, in another module of this package or in one that is installed."""
        if type(module) is not str or module == self.name or home_of(module, place) is not value:
            return False
        return module.partition(".")[0] == self.name.partition(".")[0] or file_of(module).startswith(INSTALLED)

    def _foreign_class(self, place, value):
        mark = id(value)
        before = self.marks.get(place)
        if before == mark:
            return
        self.marks[place] = mark
        home = names_of(value).get("__module__")
        name = type.__dict__["__qualname__"].__get__(value)
        # A second name for a class of this module: it is looked at under its first one.
        alias = home == self.name and home_of(home, name) is value
        if before is not None or not (alias or self._is_at_home(home, name, value)):
            self._stands(place, value, before)
        elif home not in ("builtins", "typing", "typing_extensions"):
            self.imported.append((place, text(home), text(name)))

    def _other(self, place, value):
        """Neither function nor class: told where it leads to Python code, or once led there."""
        before = self.marks.get(place)
        if before is None and type.__dict__["__module__"].__get__(type(value)) in _FORMS:
            return
        chain = _memory_chain.chain(value) if before is None else ()
        if before is None and not chain:
            return
        mark = _memory_chain.mark(value)
        if before != mark:
            self.marks[place] = mark
            yield from _prepare(chain or _memory_chain.chain(value))
            self._stands(place, value, before)

    def _stands(self, place, value, before):
        home = None
        if is_class(value):
            home = names_of(value).get("__module__")
            chain = [_memory_chain.told(entry) for entry in names_of(value).values() if type(entry) is FunctionType][:1]
            kind = f"class {_memory_chain.class_name(value)}"
        else:
            chain, kind = _memory_chain.told_chain(value), kind_of(value)
            if type(value) is FunctionType:
                home = value.__module__
            if type(value) is FunctionType and value.__globals__ is not self.names and value.__code__.co_filename == self.file:
                kind = "function with other globals"
        self.standing.append(
            {
                "place": place[:200],
                "object": kind,
                "chain": chain,
                "home": file_of(home).encode("utf-8", "surrogateescape"),
                "later": before is not None,
            }
        )


# Constants of a function from which on its digest takes milliseconds: they may be a thousand functions.
HEAVY = 128


def _prepare(functions):
    """Has the digests of what takes long made piece by piece."""
    for function in functions:
        code = function.__code__
        if len(code.co_consts) > HEAVY:
            yield
            yield from _memory_code.prepare(code)


def _is_bare(function):
    """Whether a function is its code and nothing else."""
    return function.__closure__ is None and not function.__dict__


_UNSEEN = frozenset((str, int, float, bool, type(None), bytes, tuple, list, dict, set, frozenset, ModuleType))
# Where types stand whose values are annotations and not called.
_FORMS = ("typing", "typing_extensions", "weakref", "_weakrefset")


def file_of(module):
    """`__file__` of the module of that name, empty without one."""
    names = namespace(sys.modules.get(module)) if type(module) is str else None
    return "" if names is None else _file(names) or (program if module == "__main__" else "")


def _installed():
    """Beginnings of the paths of what is installed."""
    paths = [sysconfig.get_paths().get(name) for name in ("stdlib", "platstdlib", "purelib", "platlib")]
    paths += [entry for entry in sys.path if isinstance(entry, str) and entry.endswith(("site-packages", "dist-packages"))]
    return tuple(path.rstrip("/") + "/" for path in paths if path)


def _file(names):
    file = names.get("__file__")
    return file if type(file) is str else ""


def _loader(loader):
    return _memory_chain.class_name(loader if is_class(loader) else type(loader))


def _maker(loader):
    """The code that executes what `loader` loads, where it is not the interpreter's own."""
    kind = loader if is_class(loader) else type(loader)
    if loader is None or type.__dict__["__module__"].__get__(kind) in _OWN_LOADERS:
        return []
    return _memory_chain.told_chain(_memory_chain.of_class(kind, "exec_module"))


_OWN_LOADERS = ("_frozen_importlib_external", "_frozen_importlib", "zipimport")


INSTALLED = _installed()
# The file of `__main__`, which that module loses at the interpreter's end.
program = ""
