"""Runs before the job in each of its Pythons: waits for torch, then steps aside.

Nothing of the job is touched unless torch is imported: no socket, no thread, no import. This folder leaves `sys.path`
again, and the `sitecustomize` that would have run without us runs as if we had not been there, with its own errors. Were
there none, the import fails just as it would have. Rejected: a `.pth` file, because it would have to be written into the
job's own environment, the very thing that is examined.
"""

import os
import sys


class Watcher:
    """Finds modules as the others do, and is called around the first execution of the ones it watches.

    `watched` has for each name a function without arguments, called right before the module is executed; it answers
    `None` or a function of the module, called right after. Neither may raise.
    """

    def __init__(self):
        self.watched = {}

    def find_spec(self, name, path=None, target=None):
        if name not in self.watched:
            return None
        for finder in list(sys.meta_path):
            find = None if finder is self else getattr(finder, "find_spec", None)
            spec = None if find is None else find(name, path, target)
            if spec is not None:
                self._lead(spec, name)
                return spec
        return None

    def _lead(self, spec, name):
        try:
            loader = spec.loader
            execute = loader.exec_module

            def exec_module(module):
                before = None
                if module.__name__ == name:
                    loader.__dict__.pop("exec_module", None)
                    before = self.watched.pop(name, None)
                    if not self.watched and self in sys.meta_path:
                        sys.meta_path.remove(self)
                after = None if before is None else before()
                execute(module)
                if after is not None:
                    after(module)

            # On this one loader only; a mere look for the module leaves no trace.
            loader.exec_module = exec_module
        except Exception:
            pass


def _part(part):
    """A module of the sensor's package, from beside this folder whatever the job's path says; `None` if it cannot be had."""
    try:
        name, folder = "taintline", os.path.join(_HOME, "taintline")
        module = sys.modules.get(name)
        if module is not None and list(getattr(module, "__path__", ())) != [folder]:
            name, module = "_taintline", sys.modules.get("_taintline")
        import importlib
        import importlib.util

        if module is None:
            file = os.path.join(folder, "__init__.py")
            spec = importlib.util.spec_from_file_location(name, file, submodule_search_locations=[folder])
            module = importlib.util.module_from_spec(spec)
            sys.modules[name] = module
            spec.loader.exec_module(module)
        return importlib.import_module(f"{name}.{part}")
    except Exception:
        return None


def _before_torch():
    sensor = _part("_sensor")
    return None if sensor is None else sensor.begin(_WATCHER)


def _guard(socket):
    """Asked for by `--refuse-dangerous`, so a Python that cannot be guarded does not run."""
    try:
        guard = _part("_guard").install(socket)
        for name, wrap in (("numpy", guard.wrap_numpy), ("joblib", guard.wrap_joblib)):
            if name in sys.modules:
                wrap(sys.modules[name])
            else:
                _WATCHER.watched[name] = lambda wrap=wrap: wrap
        if _WATCHER not in sys.meta_path:
            sys.meta_path.insert(0, _WATCHER)
    except Exception as error:
        sys.stderr.write(f"taintline: this Python cannot be guarded, so it is not run: {type(error).__name__}: {error}\n")
        sys.stderr.flush()
        os._exit(4)


_HERE = os.path.dirname(__file__)
_HOME = os.path.dirname(os.path.abspath(_HERE))
_WATCHER = Watcher()

if os.environ.get("TAINTLINE_ASK"):
    _guard(os.environ["TAINTLINE_ASK"])
if os.environ.get("TAINTLINE_SOCKET"):
    if "torch" in sys.modules:
        _after = _before_torch()
        if _after is not None:
            _after(sys.modules["torch"])
    else:
        _WATCHER.watched["torch"] = _before_torch
        if _WATCHER not in sys.meta_path:
            sys.meta_path.insert(0, _WATCHER)

sys.path[:] = [entry for entry in sys.path if entry != _HERE]
sys.path_importer_cache.pop(_HERE, None)

# The import system hands out what `sys.modules` holds when we are done, and takes us out if this raises.
if sys.modules.get(__name__) is not None and __name__ == "sitecustomize":
    del sys.modules[__name__]
    import sitecustomize  # noqa: F401
