"""The life of the sensor in one process: hello, gaps, modules, forks, bye."""

import atexit
import os
import sys
import sysconfig
import time

from . import _native

# Seconds between two looks at `sys.modules`.
MODULES_EVERY = 30.0
# Seconds within which an accelerator's numbers come, or do not.
ARRIVE_SECONDS = 5
# Most different gaps that are told.
GAPS_MAX = 256
# Bytes of paths in one message; a frame holds 1 MiB, and a byte may be written as four.
CHUNK_BYTES = 200_000

_sensor = None


def begin(watcher):
    """Called before torch is executed: says hello. Answers what to call after it, or `None` if nobody listens."""
    global _sensor
    try:
        if _sensor is not None:
            return None
        _sensor = Sensor(os.environ["TAINTLINE_SOCKET"], watcher)
        return _sensor.after_torch
    except Exception:
        return None


class Sensor:
    """What all hooks share: the link, and the gaps that were told."""

    def __init__(self, socket, watcher):
        self.socket = os.fsencode(os.path.abspath(socket))
        self.watcher = watcher
        self.begun = time.perf_counter_ns()
        self.gaps = set()
        self.ended = False
        self.ready = None
        self.last_step = None
        self.modules_known = set()
        self.files_known = set()
        self.modules_at = None
        self.program = None
        # What looks at memory, from when torch is there.
        self.memory = None
        # What samples the model around steps.
        self.recheck = None
        # What tells of the loaders.
        self.data = None
        # What holds the steps whose numbers lie on an accelerator.
        self.device = None
        self._connect()
        os.register_at_fork(after_in_child=self._forked)
        atexit.register(self.bye)

    def __reduce__(self):
        # A class of the job that we marked may be pickled by value: then we are not in it.
        return (type(None), ())

    # Saying

    def send(self, body):
        """Says `body`; a forked child connects on its own as soon as it has something to say."""
        if self.ended:
            return
        if self.link is None:
            self._reconnect()
        if self.link is not None:
            self.link.send(body)

    def live(self):
        """The link of this very process, connected if need be; `None` if nobody listens."""
        if self.link is None and not self.ended:
            self._reconnect()
        return self.link

    def gap(self, what, why, again=False):
        """Says that `what` is not seen, once unless `again`; `why` is a text or the exception that we caught."""
        try:
            if not again and (what in self.gaps or len(self.gaps) >= GAPS_MAX):
                return
            self.gaps.add(what)
            if isinstance(why, BaseException):
                why = f"{type(why).__name__}: {why}"
            self.send({"type": "gap", "what": what, "why": str(why)[:500]})
        except Exception:
            pass

    def _connect(self):
        self.link = None
        self.link = _native.Link(self.socket)
        self.link.send(_hello())

    def _reconnect(self):
        try:
            self._connect()
            if self.ready is not None:
                self.link.send(self.ready)
            self._bye_of_child()
        except Exception:
            self.ended = True

    # Forks

    def _forked(self):
        try:
            if self.link is not None:
                self.link.forget()
            self.link = None
            self.gaps = set()
            self.modules_known = set()
            self.files_known = set()
            self.modules_at = None
            if self.memory is not None:
                self.memory.forked()
            if self.recheck is not None:
                self.recheck.forked()
            if self.data is not None:
                self.data.forked()
        except Exception:
            self.ended = True

    def _bye_of_child(self):
        """A child of `multiprocessing` ends without `atexit`; it runs its own finalizers."""
        util = sys.modules.get("multiprocessing.util")
        process = sys.modules.get("multiprocessing.process")
        if util is not None and process is not None and process.parent_process() is not None:
            util.Finalize(None, self.bye, exitpriority=-100)

    # Torch

    def after_torch(self, torch):
        """Torch is executed: sets the hooks, says ready."""
        # At the interpreter's end `__main__` has lost its file.
        self.program = _file_of(sys.modules.get("__main__"), "__main__")
        try:
            from . import _hooks

            _hooks.install(self, torch)
        except Exception as error:
            self.gap("hooks", error)
        try:
            self.ready = {
                "type": "ready",
                "torch": str(torch.__version__),
                "threads": torch.get_num_threads(),
                "accelerators": _accelerators(torch),
                "deterministic": bool(torch.are_deterministic_algorithms_enabled()),
            }
            self.send(self.ready)
        except Exception as error:
            self.gap("ready", error)

    def watcher_add(self, name, before):
        """Has `before()(module)` called once the module `name` is executed, or now if it was."""
        module = sys.modules.get(name)
        if module is not None:
            before()(module)
            return
        self.watcher.watched[name] = before
        if self.watcher not in sys.meta_path:
            sys.meta_path.insert(0, self.watcher)

    def arrive(self):
        """Says the steps that are held: what comes now is told behind them."""
        try:
            if self.device is not None and self.device.queue:
                self.device.drain(ARRIVE_SECONDS)
        except Exception as error:
            self.gap("steps on an accelerator", error)

    # Modules

    def modules_if_due(self):
        """Says new modules if the last look was long ago."""
        now = time.monotonic()
        if self.modules_at is None or now - self.modules_at >= MODULES_EVERY:
            self.modules_at = now
            self.modules()

    def modules(self):
        """Says the files of the modules that came since the last time."""
        files, folders, size = [], set(), 0
        for name in [name for name in list(sys.modules) if name not in self.modules_known]:
            self.modules_known.add(name)
            file = _file_of(sys.modules.get(name), name)
            if file is None and name == "__main__":
                file = self.program
            if file is None or file in self.files_known:
                continue
            self.files_known.add(file)
            folder = _imported_from(file, name)
            if size + len(file) + len(folder or b"") > CHUNK_BYTES:
                self.send({"type": "modules", "files": files, "folders": sorted(folders)})
                files, folders, size = [], set(), 0
            files.append(file)
            size += len(file)
            if folder is not None and folder not in folders:
                folders.add(folder)
                size += len(folder)
        if files:
            self.send({"type": "modules", "files": files, "folders": sorted(folders)})

    # The end

    def bye(self):
        """The interpreter ends."""
        try:
            if self.ended or self.link is None:
                return
            self.modules()
            self.arrive()
            if self.memory is not None:
                self.memory.finish()
            error = getattr(sys, "last_exc", None)
            kind = getattr(sys, "last_type", None) if error is None else type(error)
            name = None if kind is None else kind.__name__
            self.link.send({"type": "bye", "dropped": self.link.dropped, "exception": name})
            self.link.flush()
        except Exception:
            pass
        self.ended = True


def _hello():
    implementation = sys.implementation.name
    chained = getattr(sys.modules.get("sitecustomize"), "__file__", None)
    return {
        "type": "hello",
        "protocol": _native.PROTOCOL,
        "python": f"{sys.version.split()[0]} {implementation}",
        "executable": os.fsencode(sys.executable or ""),
        "prefix": os.fsencode(sys.prefix),
        "base_prefix": os.fsencode(sys.base_prefix),
        "argv": _fitting(getattr(sys, "orig_argv", None) or getattr(sys, "argv", [])),
        "cwd": os.fsencode(_cwd()),
        "sys_path": _fitting(entry for entry in sys.path if isinstance(entry, (str, bytes))),
        "roots": [(name, os.fsencode(root)) for name, root in _roots()],
        "rank": _number("RANK"),
        "local_rank": _number("LOCAL_RANK"),
        "world_size": _number("WORLD_SIZE"),
        "chained": None if chained is None else os.fsencode(os.path.abspath(chained)),
    }


def _fitting(paths):
    """As many of `paths` as fit into a frame."""
    fitting, size = [], 0
    for path in paths:
        path = os.fsencode(path)
        size += len(path)
        if size > CHUNK_BYTES // 4:
            break
        fitting.append(path)
    return fitting


def _roots():
    paths = sysconfig.get_paths()
    roots = [(name, paths[name]) for name in ("stdlib", "platstdlib", "purelib", "platlib") if paths.get(name)]
    site = sys.modules.get("site")
    user = getattr(site, "USER_SITE", None)
    if user:
        roots.append(("usersite", user))
    return roots


def _number(name):
    try:
        number = int(os.environ[name])
        return number if 0 <= number < 1 << 32 else None
    except (KeyError, ValueError):
        return None


def _cwd():
    try:
        return os.getcwd()
    except OSError:
        return "/"


def _file_of(module, name):
    """Absolute path of the module's file as bytes; `None` if it has none."""
    try:
        file = vars(module).get("__file__")
        if not isinstance(file, str):
            return None
        if name == "__main__" or _is_in_archive(module, file):
            file = os.path.abspath(file)
        return os.fsencode(file) if file.startswith("/") else None
    except Exception:
        return None


def _imported_from(file, name):
    """The folder of the search path that the module came from, if its file stands there under its name; the path itself may
    have been put back since."""
    head, stem = os.path.split(file)
    stem = stem.split(b".", 1)[0]
    inner = os.fsencode(name.replace(".", "/"))
    whole = head if stem == b"__init__" else head + b"/" + stem
    return whole[: -len(inner) - 1] or b"/" if whole.endswith(b"/" + inner) else None


def _is_in_archive(module, file):
    """Whether the module came out of a zip file: only then Python leaves its name as it stands on the path, maybe relative."""
    archive = getattr(vars(module).get("__loader__"), "__dict__", {}).get("archive")
    return isinstance(archive, str) and file.startswith(archive)


def _accelerators(torch):
    """Device nodes of the kind that torch was built for. The driver is not asked: that could spoil a later fork."""
    cuda, hip = getattr(torch.version, "cuda", None), getattr(torch.version, "hip", None)
    try:
        if hip:
            return sum(name.startswith("renderD") for name in os.listdir("/dev/dri"))
        if cuda:
            return sum(name.startswith("nvidia") and name[6:].isdigit() for name in os.listdir("/dev"))
    except OSError:
        pass
    return 0
