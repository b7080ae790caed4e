"""What stands between the job and its interpreter: finders, trace functions, modes of torch, modules without a file."""

import os
import sys
import threading

from . import _memory_chain, _memory_walk
from ._memory_chain import kind_of

# Most modules without a file that are told.
MODULES_MAX = 200


class Machine:
    """Tells each thing once."""

    def __init__(self, torch):
        self.torch_c = torch._C
        self.told = set()
        self.modules = set()
        # Names of modules that came from no file: their functions are looked at as those of torch are.
        self.odd = []
        self.facts = []

    def look(self, gap):
        """Looks at everything; yields now and then. What goes wrong with one thing is a gap and keeps nothing else from being seen."""
        for part in (self._finders, self._tracing, self._modes):
            try:
                part()
            except Exception as error:
                gap("finders, trace functions and modes of torch", error)
            yield
        for name in [name for name in list(sys.modules) if type(name) is str and name not in self.modules]:
            self.modules.add(name)
            try:
                self._module(name)
            except Exception as error:
                gap("files of modules", error)
            if not len(self.modules) & 15:
                yield

    def _finders(self):
        for finder in list(sys.meta_path):
            self._tell("sys.meta_path", finder, _method(finder, "find_spec"))
        for hook in list(sys.path_hooks):
            self._tell("sys.path_hooks", hook, hook)

    def _tracing(self):
        for what, function in (("sys.settrace", sys.gettrace()), ("sys.setprofile", sys.getprofile())):
            self._tell(what, function, function)
        for what, name in (("threading.settrace", "_trace_hook"), ("threading.setprofile", "_profile_hook")):
            function = vars(threading).get(name)
            self._tell(what, function, function)
        monitoring = getattr(sys, "monitoring", None)
        for number in range(6) if monitoring is not None else ():
            tool = monitoring.get_tool(number)
            if type(tool) is str and ("tool", tool) not in self.told:
                self.told.add(("tool", tool))
                self._fact(f"sys.monitoring tool {number}", tool[:100], [])

    def _modes(self):
        for what, count, get in (
            ("torch function mode", "_len_torch_function_stack", "_get_function_stack_at"),
            ("torch dispatch mode", "_len_torch_dispatch_stack", "_get_dispatch_stack_at"),
        ):
            count, get = getattr(self.torch_c, count, None), getattr(self.torch_c, get, None)
            for index in range(count()) if count is not None and get is not None else ():
                mode = get(index)
                name = "__torch_function__" if "function" in what else "__torch_dispatch__"
                self._tell(what, mode, _method(mode, name))

    def _tell(self, what, value, code):
        if value is None:
            return
        chain = _memory_chain.chain(code)
        key = (what, kind_of(value), tuple(_memory_chain.mark(function) for function in chain))
        if key not in self.told and len(self.told) < 1000:
            self.told.add(key)
            self._fact(what, kind_of(value), [_memory_chain.told(function) for function in chain])

    def _fact(self, what, kind, chain):
        self.facts.append({"fact": "machinery", "what": what, "object": kind, "chain": chain})

    def _module(self, name):
        names = _memory_walk.namespace(sys.modules.get(name))
        if names is None or type(name) is not str or sys.modules.get(name) is sys.modules.get("__main__"):
            return
        file, spec = names.get("__file__"), names.get("__spec__")
        origin = _field(spec, "origin")
        if type(file) is str:
            if file == origin or type(origin) is not str or not os.path.isabs(origin) or _same(file, origin):
                if os.path.isabs(file) or origin is not None:
                    return
        elif origin in ("built-in", "frozen") or _field(spec, "submodule_search_locations") is not None:
            return
        elif _field(names.get("__loader__"), "name") is not None and file is None and origin is not None:
            return
        if len(self.odd) < MODULES_MAX:
            self.odd.append(name)
            text = file if type(file) is str else ""
            origin = origin if type(origin) is str else ""
            self.facts.append(
                {
                    "fact": "module",
                    "name": name[:200],
                    "object": kind_of(sys.modules[name]),
                    "file": text.encode("utf-8", "surrogateescape"),
                    "origin": origin.encode("utf-8", "surrogateescape"),
                }
            )


def _field(value, name):
    """A field of a plain object, from its dictionary."""
    return None if _memory_chain.is_class(value) else _memory_chain.fields_of(value).get(name)


def _same(file, origin):
    """Whether both are one file; a cached file stands for its source."""
    try:
        return os.path.samefile(file, origin)
    except OSError:
        return False


def _method(value, name):
    """The function that `value` has under `name`, by itself or by its class."""
    return _memory_chain.of_class(value if _memory_chain.is_class(value) else type(value), name)
