"""With `--refuse-dangerous`: nothing is loaded before the supervisor has examined it.

The functions that load are wrapped and ask first. What comes to an unpickler by any other way is caught at the last
moment, when it looks up a name: Python tells that to its audit hooks, and an exception of a hook ends the load before
the name is there. At the same moment it is looked whether the file still is the one that was examined. What processes of
the job send to each other (`multiprocessing`, collectives) is their own and is not asked for. Without an answer nothing is
loaded: whoever asked for this wants no exceptions to it.
"""

import functools
import json
import os
import struct
import sys
import threading
import time
import unicodedata

from . import _target

# Seconds to wait for an answer, whole.
PATIENCE = 120.0
_PROTOCOL = 1
# Modules that unpickle what they receive, when they themselves do it; of these, the ones that read files.
_OWN_TRAFFIC = ("multiprocessing.", "torch.multiprocessing.", "torch.distributed.", "concurrent.futures.", "joblib.externals.loky.")
_FILES = ("torch.distributed.checkpoint.", "torch.distributed.flight_recorder.", "torch.distributed._tools.")
# Modules that unpickle a part of what they were given to load.
_LOADERS = ("torch.serialization", "torch.storage", "numpy.lib.", "joblib.")
# It loads its bytes with `torch.load`, which asks about them.
_ASKS_ITSELF = ("torch.storage", "_load_from_bytes")

_OURS = f"{__package__}."

_guard = None


class RefusedLoad(RuntimeError):
    """Taintline refused to load something; the message says what it would have done."""


def install(socket):
    """Starts to guard this process, once."""
    global _guard
    if _guard is None:
        _guard = Guard(socket)
        _guard.wrap_pickle()
        sys.addaudithook(_guard.hook)
    return _guard


def active():
    """The guard of this process, or `None`."""
    return _guard


class Guard:
    """Asks, and remembers which names may pass."""

    def __init__(self, socket):
        import socket as sockets

        self.sockets = sockets
        self.address = socket
        self.names = set()
        self.local = threading.local()

    # Asking

    def ask(self, loader, name, path=None, descriptor=None, offset=0):
        """Raises `RefusedLoad` unless the supervisor lets it pass."""
        try:
            question = {
                "protocol": _PROTOCOL,
                "path": None if path is None else _text(path),
                "descriptor": descriptor,
                "offset": offset,
                "name": _text(name),
                "loader": loader,
            }
            answer = self._exchange(json.dumps(question).encode())
            refuse, why = answer["refuse"] is not False, answer["why"]
        except Exception as error:
            refuse, why = True, f"the supervisor gave no answer ({type(error).__name__}: {error})"
        if refuse:
            raise _refused(f"{loader} of {os.fsdecode(name)!r}: {why!r}. `taintline scan --explain` shows it.")

    def _exchange(self, question):
        sockets = self.sockets
        until = time.monotonic() + PATIENCE
        with sockets.socket(sockets.AF_UNIX, sockets.SOCK_STREAM) as link:
            _bound(link, until)
            link.connect(self.address)
            link.sendall(struct.pack("<I", len(question)) + question)
            (length,) = struct.unpack("<I", _exactly(link, 4, until))
            return json.loads(_exactly(link, length, until))

    def admit(self, loader, find, target):
        """What the loader gets for `target`, once that may be loaded."""
        try:
            admitted = find(target)
        except Exception as error:
            why = str(error) if isinstance(error, _target.Unfit) else f"it cannot be examined ({type(error).__name__}: {error})"
            raise _refused(f"{loader}: {why}") from error
        try:
            if not isinstance(admitted, _target.Nothing):
                self.ask(loader, admitted.name, **self._subject(loader, admitted))
        except BaseException:
            admitted.over()
            raise
        finally:
            admitted.answered()
        return admitted

    def _subject(self, loader, admitted):
        try:
            return admitted.ask()
        except Exception as error:
            raise _refused(f"{loader}: it cannot be handed over to be examined ({type(error).__name__}: {error})") from error

    # Loading

    def loading(self, loader, target, call, find=_target.of, restricted=False):
        """Asks about `target`, then gives `call` what may be loaded. `restricted` loads run no code of what they load."""
        loads = self._loads()
        if loads and self._covered(loads[-1], None if find is _target.of_bytes else target, restricted, _asker(sys._getframe(1))):
            return call(target)
        admitted = _target.Own(target, b"") if _own_traffic() else self.admit(loader, find, target)
        try:
            return self._load(loader, admitted, call, loads)
        finally:
            admitted.over()

    def _load(self, loader, admitted, call, loads):
        loads.append(admitted)
        try:
            result = call(admitted.given)
        finally:
            loads.pop()
        self._same(loader, admitted, under_way=False)
        try:
            admitted.done()
        except Exception as error:
            raise _refused(f"{loader}: what follows in the stream is lost ({type(error).__name__}: {error})") from error
        return result

    def _loads(self):
        """The loads of this thread that are under way."""
        if not hasattr(self.local, "loads"):
            self.local.loads = []
        return self.local.loads

    @staticmethod
    def _covered(outer, target, restricted, asker):
        try:
            return outer.covers(target, restricted, asker)
        except Exception:
            return False

    @staticmethod
    def _same(loader, admitted, under_way):
        if admitted.changed(under_way):
            name = os.fsdecode(admitted.name)
            raise _refused(f"{loader} of {name!r}: it changed after it was examined, so what is loaded may be something else")

    def wrap_pickle(self):
        import pickle

        load, loads = pickle.load, pickle.loads

        @functools.wraps(load)
        def guarded_load(file, *args, **kwargs):
            return self.loading("pickle.load", file, lambda given: load(given, *args, **kwargs))

        @functools.wraps(loads)
        def guarded_loads(data, *args, **kwargs):
            return self.loading("pickle.loads", data, lambda given: loads(given, *args, **kwargs), find=_target.of_bytes)

        # A process that is sent one of these finds it where it lies, not where the original came from.
        guarded_load.__module__ = guarded_loads.__module__ = "pickle"
        pickle.load, pickle.loads = guarded_load, guarded_loads

    def wrap(self, module, name, loader, position, keyword, wanted=lambda args, kwargs: True):
        """Wraps the function `name` of `module` that loads what is at `position` or under `keyword`."""
        original = getattr(module, name)

        @functools.wraps(original)
        def guarded(*args, **kwargs):
            if not wanted(args, kwargs):
                return original(*args, **kwargs)
            return self.wrapped(loader, original, args, kwargs, position, keyword)

        setattr(module, name, guarded)

    def wrapped(self, loader, original, args, kwargs, position, keyword, restricted=False):
        """`original` with what may be loaded in the place of its target."""
        if len(args) > position:

            def call(given):
                return original(*args[:position], given, *args[position + 1 :], **kwargs)

            return self.loading(loader, args[position], call, restricted=restricted)
        if keyword not in kwargs:
            return original(*args, **kwargs)
        return self.loading(loader, kwargs[keyword], lambda given: original(*args, **{**kwargs, keyword: given}), restricted=restricted)

    def wrap_numpy(self, module):
        """An array of objects is a pickle; one of numbers is not, and needs no question."""

        def wanted(args, kwargs):
            return bool(args[2] if len(args) > 2 else kwargs.get("allow_pickle", False))

        self.wrap(module, "load", "numpy.load", 0, "file", wanted)

    def wrap_joblib(self, module):
        self.wrap(module, "load", "joblib.load", 0, "filename")

    # The last moment

    def hook(self, event, args):
        if event != "pickle.find_class":
            return
        loads = self._loads()
        if loads and loads[-1].whole:
            self._same("a look-up", loads[-1], under_way=True)
            if _asker(sys._getframe(1)) is not None:
                return
        module, name = args
        if (module, name) in self.names or _own_traffic():
            return
        if not (isinstance(module, str) and isinstance(name, str)):
            raise _refused("an unpickler's look-up of what is no name")
        self._name(module, name)

    def _name(self, module, name):
        # What would be loaded is not seen here, so the name is examined as if it were called with something unknown.
        try:
            parts = [part.encode() for part in (module, name)]
            program = b"".join(b"\x8c" + bytes([len(part)]) + part for part in parts)
        except ValueError as error:
            raise _refused("an unpickler's look-up of a name that is too long or no text") from error
        arguments = b")" if (module, name) == _ASKS_ITSELF else b"NQ\x85"
        program = b"\x80\x04" + program + b"\x93" + arguments + b"R."
        self.admit("an unpickler", lambda data: _target.of_bytes(data, f"{module}.{name}".encode()), program)
        self.names.add((module, name))


_UNDER_WAY = Guard.loading.__code__


def _refused(what):
    return RefusedLoad(f"taintline refused {what}")


def _own_traffic():
    """Whether who unpickles is the machinery by which processes of the job talk to each other."""
    frame = sys._getframe(2)
    while frame is not None:
        module = frame.f_globals.get("__name__")
        # Ours, and the unpickler in Python, stand between.
        if frame.f_globals is not globals() and module != "pickle":
            if module == "__main__":
                # A worker that is started as `python -m MODULE`.
                module = getattr(frame.f_globals.get("__spec__"), "name", module)
            module = f"{module}."
            return module.startswith(_OWN_TRAFFIC) and not module.startswith(_FILES)
        frame = frame.f_back
    return False


def _asker(frame):
    """The loader's module that unpickles in `frame`, `""` if what the guard called does; `None` if code of others stands between."""
    asker = ""
    while frame is not None and frame.f_code is not _UNDER_WAY:
        module = frame.f_globals.get("__name__")
        if not (isinstance(module, str) and module.startswith((_OURS, *_LOADERS)) or module == "pickle"):
            return None
        if not asker and module.startswith(_LOADERS):
            asker = module
        frame = frame.f_back
    return None if frame is None else asker


def _exactly(link, length, until):
    parts = []
    while length:
        _bound(link, until)
        part = link.recv(min(length, 1 << 16))
        if not part:
            raise ConnectionError("the answer broke off")
        parts.append(part)
        length -= len(part)
    return b"".join(parts)


def _bound(link, until):
    """What is next done with `link` ends by `until`: a limit of the socket's own begins anew with each piece that comes."""
    left = until - time.monotonic()
    if left <= 0:
        raise TimeoutError("no answer in time")
    link.settimeout(left)


def _text(path):
    """The supervisor's spelling of a path: see `domain::PathText`."""
    text = os.fsencode(path).decode("utf-8", "surrogateescape")
    return "".join(map(_spelled, text))


def _spelled(character):
    if character != "\\" and unicodedata.category(character) not in ("Cc", "Cs"):
        return character
    return "".join(f"\\x{byte:02x}" for byte in character.encode("utf-8", "surrogateescape"))
