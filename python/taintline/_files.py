"""Files and network as Python's own audit events tell them.

Every event of the interpreter comes by, so the first look is one look-up of its name. Python's own files, its packages
and the kernel's are left out here; modules are told by `_sensor`. What a library opens in its own native code is not
seen here; the supervisor's sensors outside the process are for that.
"""

import os
import stat
import sys
from types import FunctionType

# Most different files and targets that are told.
FILES_MAX = 100_000
TARGETS_MAX = 1_000

_WRITING = os.O_WRONLY | os.O_RDWR


def install(sensor):
    """Starts to listen; Python has no way to stop again."""
    files = Files(sensor)
    wanted = {
        "open": files.opened,
        "os.rename": files.renamed,
        "urllib.Request": files.requested,
        "socket.getaddrinfo": files.resolved,
        "socket.connect": files.connected,
        "object.__setattr__": files.set,
    }

    def hook(event, args):
        if event in wanted:
            try:
                wanted[event](*args)
            except Exception as error:
                sensor.gap(f"event {event}", error)

    sys.addaudithook(hook)


class Files:
    """What was told already."""

    def __init__(self, sensor):
        self.sensor = sensor
        self.seen = set()
        self.targets = set()
        self.ignored = _ignored()

    def opened(self, path, mode, flags):
        if isinstance(path, int):
            return
        write = bool(flags & _WRITING) if isinstance(flags, int) and not isinstance(mode, str) else _writes(mode)
        if (path, write) in self.seen:
            return
        text = self._absolute(path)
        if text is None or text.endswith((".pyc", "/")) or text.startswith(self.ignored):
            return
        if (text, write) in self.seen or self.sensor.ended:
            return
        try:
            if not stat.S_ISREG(os.stat(text).st_mode):
                return
        except (OSError, ValueError):
            if not write:
                return
        if len(self.seen) >= FILES_MAX:
            self.sensor.gap("opened files", f"more than {FILES_MAX} different ones")
            return
        self.seen.add((text, write))
        self.sensor.send({"type": "opened", "path": os.fsencode(text), "write": write})

    def renamed(self, source, target, source_folder=-1, target_folder=-1):
        if source_folder != -1 or target_folder != -1:
            self.sensor.gap("renamed files", "a rename named its files relative to an open folder")
            return
        source, target = self._absolute(source), self._absolute(target)
        if source is None or target is None or target.startswith(self.ignored) or not os.path.lexists(source):
            return
        for path in (source, target):
            self.seen.discard((path, False))
            self.seen.discard((path, True))
        self.sensor.send({"type": "renamed", "from": os.fsencode(source), "to": os.fsencode(target)})

    def requested(self, url, data=None, headers=None, method=None):
        if isinstance(url, str):
            self._target(_bare(url))

    def resolved(self, host, port, *rest):
        if isinstance(host, bytes):
            host = host.decode("ascii", "replace")
        # `urllib` asks for the whole authority of a proxy or a URL, with the user in it.
        host = host.rpartition("@")[2] if isinstance(host, str) else ""
        if not _local(host):
            self._target(host if port is None else f"{host}:{port}")

    def connected(self, socket, address):
        if isinstance(address, tuple) and len(address) >= 2 and isinstance(address[0], str) and not _local(address[0]):
            host = f"[{address[0]}]" if ":" in address[0] else address[0]
            self._target(f"{host}:{address[1]}")

    def set(self, owner, name, value):
        if type(owner) is FunctionType and self.sensor.memory is not None:
            self.sensor.memory.set_on_function(owner, name, value)

    def _target(self, target):
        if target in self.targets:
            return
        if len(self.targets) >= TARGETS_MAX:
            self.sensor.gap("network", f"more than {TARGETS_MAX} different targets")
            return
        self.targets.add(target)
        self.sensor.send({"type": "network", "target": target[:2000], "etag": None})

    def _absolute(self, path):
        """The path as text, absolute as of now; `None` if there is none."""
        if not isinstance(path, (str, bytes)):
            path = os.fspath(path) if hasattr(type(path), "__fspath__") else None
        if isinstance(path, bytes):
            path = os.fsdecode(path)
        if not path:
            return None
        return path if path.startswith("/") else os.path.join(os.getcwd(), path)


def _writes(mode):
    return isinstance(mode, str) and any(letter in mode for letter in "wax+")


def _ignored():
    """Beginnings of paths that are not told."""
    import sysconfig

    roots = {"/proc", "/sys", "/dev"}
    for root in (*sysconfig.get_paths().values(), sys.prefix, sys.base_prefix, sys.exec_prefix):
        # A prefix such as `/usr` is Python's only by its library folder.
        if root and root not in ("/", "/usr", "/usr/local") and "/" in root[1:]:
            roots.add(root)
    return tuple(root.rstrip("/") + "/" for root in roots)


def _local(host):
    return host in ("", "localhost", "0.0.0.0", "::", "::1") or host.startswith(("127.", "::ffff:127."))


def _bare(url):
    """The URL without user, query and fragment."""
    url = url.split("#", 1)[0].split("?", 1)[0]
    scheme, separator, rest = url.partition("://")
    if not separator:
        return scheme.split(",", 1)[0] if scheme.startswith("data:") else url
    host, slash, path = rest.partition("/")
    return f"{scheme}://{host.rpartition('@')[2]}{slash}{path}"
