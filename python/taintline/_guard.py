"""With `--refuse-dangerous`: nothing is loaded before the supervisor has examined it.

The functions that load are wrapped and ask first. What comes to an unpickler by any other way is caught at the last
moment, when it looks up a name: Python tells that to its audit hooks, and an exception of a hook ends the load before
the name is there. What processes of the job send to each other (`multiprocessing`, collectives) is their own and is not
asked for. Without an answer nothing is loaded: whoever asked for this wants no exceptions to it.
"""

import functools
import io
import json
import os
import stat
import struct
import sys
import threading
import unicodedata

# Seconds to wait for an answer.
PATIENCE = 120.0
# Bytes of a stream without a file that are examined.
BYTES_MAX = 1 << 30
_PROTOCOL = 1
_OWN_TRAFFIC = ("multiprocessing.", "torch.multiprocessing", "torch.distributed.", "torch.utils.data.", "concurrent.futures.")
_FRAMES = 12

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
        question = {
            "protocol": _PROTOCOL,
            "path": None if path is None else _text(path),
            "descriptor": descriptor,
            "offset": offset,
            "name": _text(name),
            "loader": loader,
        }
        try:
            answer = self._exchange(json.dumps(question).encode())
            refuse, why = answer["refuse"], answer["why"]
        except RefusedLoad:
            raise
        except Exception as error:
            refuse, why = True, f"the supervisor gave no answer ({type(error).__name__}: {error})"
        if refuse:
            shown = os.fsdecode(name)
            raise RefusedLoad(f"taintline refused {loader} of {shown!r}: {why!r}. `taintline scan --explain` shows it.")

    def _exchange(self, question):
        sockets = self.sockets
        with sockets.socket(sockets.AF_UNIX, sockets.SOCK_STREAM) as link:
            link.settimeout(PATIENCE)
            link.connect(self.address)
            link.sendall(struct.pack("<I", len(question)) + question)
            (length,) = struct.unpack("<I", _exactly(link, 4))
            return json.loads(_exactly(link, length))

    def check(self, loader, target):
        """Asks about a path, an open file, or anything that can be read."""
        if isinstance(target, (str, bytes, os.PathLike)):
            path = os.fsencode(target)
            if not path.startswith(b"/"):
                path = os.path.join(os.getcwdb(), path)
            return self.ask(loader, path, path=path)
        position = target.tell()
        name = getattr(target, "name", None)
        name = os.path.join(os.getcwdb(), os.fsencode(name)) if isinstance(name, (str, bytes)) else b"a stream"
        descriptor = _descriptor(target)
        if descriptor is not None:
            return self.ask(loader, name, descriptor=descriptor, offset=position)
        content = target.read(BYTES_MAX + 1)
        target.seek(position)
        return self.check_bytes(loader, content, name)

    def check_bytes(self, loader, content, name=b"bytes"):
        """Asks about bytes in memory."""
        content = memoryview(content).cast("B")
        if len(content) > BYTES_MAX:
            raise RefusedLoad(f"taintline refused {loader}: {len(content)} bytes are more than are examined in memory")
        descriptor = os.memfd_create("taintline", os.MFD_CLOEXEC)
        try:
            while content:
                content = content[os.write(descriptor, content) :]
            self.ask(loader, name, descriptor=descriptor)
        finally:
            os.close(descriptor)

    # Loading

    def loading(self, loader, check, original, args, kwargs):
        """`check()` first, then the load, within which no more is asked."""
        if getattr(self.local, "inside", 0) == 0 and not _own_traffic():
            check()
        self.local.inside = getattr(self.local, "inside", 0) + 1
        try:
            return original(*args, **kwargs)
        finally:
            self.local.inside -= 1

    def wrap_pickle(self):
        import pickle

        load, loads = pickle.load, pickle.loads

        @functools.wraps(load)
        def guarded_load(file, *args, **kwargs):
            return self.loading("pickle.load", lambda: self.check("pickle.load", file), load, (file, *args), kwargs)

        @functools.wraps(loads)
        def guarded_loads(data, *args, **kwargs):
            return self.loading("pickle.loads", lambda: self.check_bytes("pickle.loads", data), loads, (data, *args), kwargs)

        pickle.load, pickle.loads = guarded_load, guarded_loads

    def wrap(self, module, name, loader, position, keyword, wanted=lambda args, kwargs: True):
        """Wraps the function `name` of `module` that loads what is at `position` or under `keyword`."""
        original = getattr(module, name)

        @functools.wraps(original)
        def guarded(*args, **kwargs):
            if not wanted(args, kwargs):
                return original(*args, **kwargs)
            target = args[position] if len(args) > position else kwargs.get(keyword)
            return self.loading(loader, lambda: self.check(loader, target), original, args, kwargs)

        setattr(module, name, guarded)

    def wrap_numpy(self, module):
        """An array of objects is a pickle; one of numbers is not, and needs no question."""

        def wanted(args, kwargs):
            return bool(args[2] if len(args) > 2 else kwargs.get("allow_pickle", False))

        self.wrap(module, "load", "numpy.load", 0, "file", wanted)

    def wrap_joblib(self, module):
        self.wrap(module, "load", "joblib.load", 0, "filename")

    # The last moment

    def hook(self, event, args):
        if event == "pickle.find_class" and getattr(self.local, "inside", 0) == 0:
            module, name = args
            if isinstance(module, str) and isinstance(name, str) and (module, name) not in self.names:
                self._name(module, name)

    def _name(self, module, name):
        if _own_traffic():
            return
        # What would be loaded is not seen here, so the name is examined as if it were called with nothing.
        texts = [b"\x8c" + bytes([len(part)]) + part for part in (module.encode(), name.encode()) if len(part) < 256]
        if len(texts) != 2:
            raise RefusedLoad("taintline refused an unpickler's look-up of a name that is too long")
        program = b"\x80\x04" + b"".join(texts) + b"\x93)R."
        self.check_bytes("an unpickler", program, f"{module}.{name}".encode())
        self.names.add((module, name))


def _own_traffic():
    """Whether the caller is the machinery by which processes of the job talk to each other."""
    frame = sys._getframe(2)
    for _ in range(_FRAMES):
        if frame is None:
            return False
        module = frame.f_globals.get("__name__")
        if isinstance(module, str) and (module + ".").startswith(_OWN_TRAFFIC):
            return True
        frame = frame.f_back
    return False


def _descriptor(target):
    """The descriptor of a regular file that is read as it is; `None` for anything that decodes or lies in memory."""
    if not isinstance(target, (io.BufferedReader, io.BufferedRandom, io.FileIO)):
        return None
    raw = getattr(target, "raw", target)
    if type(raw) is not io.FileIO:
        return None
    descriptor = raw.fileno()
    return descriptor if stat.S_ISREG(os.fstat(descriptor).st_mode) else None


def _exactly(link, length):
    parts = []
    while length:
        part = link.recv(min(length, 1 << 16))
        if not part:
            raise ConnectionError("the answer broke off")
        parts.append(part)
        length -= len(part)
    return b"".join(parts)


def _text(path):
    """The supervisor's spelling of a path: see `domain::PathText`."""
    text = os.fsencode(path).decode("utf-8", "surrogateescape")
    return "".join(map(_spelled, text))


def _spelled(character):
    if character != "\\" and unicodedata.category(character) not in ("Cc", "Cs"):
        return character
    return "".join(f"\\x{byte:02x}" for byte in character.encode("utf-8", "surrogateescape"))
