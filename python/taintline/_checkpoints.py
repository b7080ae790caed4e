"""Checkpoints as the job's libraries read and write them: told before a load, and after a save is complete."""

import functools
import os
import sys

from . import _guard

# What a person calls the functions that may run code.
_LOADERS = {"torch": "torch.load", "distributed": "torch.distributed.checkpoint.load"}


def install(sensor, torch):
    """Wraps what is there, and the rest as soon as it is imported."""
    checkpoints = Checkpoints(sensor)
    serialization = sys.modules["torch.serialization"]
    checkpoints.wrap((torch, serialization), "save", "torch", saving=True, position=1, names=("f",))
    checkpoints.wrap((torch, serialization), "load", "torch", saving=False, position=0, names=("f",))
    sensor.watcher_add("safetensors", lambda: checkpoints.safetensors)
    sensor.watcher_add("safetensors.torch", lambda: checkpoints.safetensors_torch)
    sensor.watcher_add("torch.distributed.checkpoint", lambda: checkpoints.distributed)
    for package in ("lightning.fabric", "lightning_fabric"):
        sensor.watcher_add(f"{package}.utilities.cloud_io", lambda: checkpoints.lightning)


class Checkpoints:
    """Wraps functions that take a checkpoint's path."""

    def __init__(self, sensor):
        self.sensor = sensor

    def wrap(self, modules, name, way, saving, position, names):
        """Wraps the function `name` of all `modules`; its path is at `position` or under one of `names`."""
        original = getattr(modules[0], name)
        tell = self.saved if saving else self.loading

        def path_in(args, kwargs):
            if len(args) > position:
                return args[position]
            return next((kwargs[key] for key in names if kwargs.get(key) is not None), None)

        if saving:

            @functools.wraps(original)
            def wrapper(*args, **kwargs):
                result = original(*args, **kwargs)
                tell(path_in, args, kwargs, way)
                return result

        else:

            loader = _LOADERS.get(way)

            @functools.wraps(original)
            def wrapper(*args, **kwargs):
                path = tell(path_in, args, kwargs, way)
                self._look_before()
                guard = None if loader is None else _guard.active()
                if guard is None:
                    result = original(*args, **kwargs)
                elif way == "distributed":
                    # A folder, whatever names it; what else its reader may read is asked about pickle by pickle.
                    result = guard.loading(loader, _folder(path_in, args, kwargs), lambda given: original(*args, **kwargs))
                else:
                    restricted = kwargs.get("weights_only") is True
                    result = guard.wrapped(loader, original, args, kwargs, position, names[0], restricted)
                self._look_behind(result, path)
                return result

        for module in modules:
            if getattr(module, name, None) is original:
                setattr(module, name, wrapper)

    def saved(self, path_in, args, kwargs, way):
        self._tell("saved", path_in, args, kwargs, way)
        if self.sensor.recheck is not None and self.sensor.recheck.replay is not None:
            self.sensor.recheck.replay.saved()

    def loading(self, path_in, args, kwargs, way):
        if self.sensor.recheck is not None:
            self.sensor.recheck.loading(None)
        return self._tell("loading", path_in, args, kwargs, way)

    def _look_before(self):
        if self.sensor.memory is not None:
            self.sensor.memory.loading()

    def _look_behind(self, result, path):
        if self.sensor.memory is not None:
            self.sensor.memory.loaded(result, path or b"")

    def _tell(self, what, path_in, args, kwargs, way):
        try:
            path = _path(path_in(args, kwargs))
            if path is not None:
                self.sensor.arrive()
                self.sensor.send({"type": what, "path": path, "step": self.sensor.last_step, "way": way})
            return path
        except Exception as error:
            self.sensor.gap(f"checkpoints {what}", error)

    # Libraries that come later

    def safetensors(self, module):
        try:
            module.safe_open = self._opener(module.safe_open)
        except Exception as error:
            self.sensor.gap("safetensors", error)

    def safetensors_torch(self, module):
        try:
            self.wrap((module,), "save_file", "safetensors", saving=True, position=1, names=("filename",))
            safe_open = getattr(module, "safe_open", None)
            if safe_open is None:
                self.wrap((module,), "load_file", "safetensors", saving=False, position=0, names=("filename",))
            elif not isinstance(type(safe_open), type) or type(safe_open).__name__ != "SafeOpen":
                module.safe_open = self._opener(safe_open)
        except Exception as error:
            self.sensor.gap("safetensors", error)

    def _opener(self, original):
        """`safe_open` is a class of native code that cannot be derived from: a class that stands for it."""
        loading = self.loading

        class SafeOpen(type):
            def __call__(cls, *args, **kwargs):
                loading(lambda args, kwargs: args[0] if args else kwargs.get("filename"), args, kwargs, "safetensors")
                return original(*args, **kwargs)

            def __instancecheck__(cls, instance):
                return isinstance(instance, original)

            def __subclasscheck__(cls, kind):
                return issubclass(kind, original)

            def __getattr__(cls, name):
                return getattr(original, name)

        body = {"__doc__": original.__doc__, "__module__": original.__module__, "__wrapped__": original}
        return SafeOpen(original.__name__, (), body)

    def lightning(self, module):
        """Lightning gives torch a buffer, and writes the file itself."""
        try:
            self.wrap((module,), "_atomic_save", "torch", saving=True, position=1, names=("filepath",))
        except Exception as error:
            self.sensor.gap("Lightning's checkpoints", error)

    def distributed(self, module):
        saver = sys.modules.get("torch.distributed.checkpoint.state_dict_saver")
        loader = sys.modules.get("torch.distributed.checkpoint.state_dict_loader")
        try:
            for home, name, saving in ((saver, "save", True), (loader, "load", False)):
                modules = (module,) if home is None else (module, home)
                names = ("checkpoint_id", "storage_writer" if saving else "storage_reader")
                self.wrap(modules, name, "distributed", saving, position=sys.maxsize, names=names)
        except Exception as error:
            self.sensor.gap("distributed checkpoints", error)


def _folder(path_in, args, kwargs):
    try:
        return _path(path_in(args, kwargs))
    except Exception:
        return None


def _path(target):
    """Absolute path of a path or of an open file as bytes; `None` if it has none."""
    if not isinstance(target, (str, bytes, os.PathLike)):
        # An open file has a name; a file-system reader or writer of torch has a path.
        name = getattr(target, "name", None)
        target = name if isinstance(name, (str, bytes)) else getattr(target, "path", None)
        if not isinstance(target, (str, bytes, os.PathLike)):
            return None
    path = os.fsencode(target)
    return path if path.startswith(b"/") else os.path.join(os.getcwdb(), path)
