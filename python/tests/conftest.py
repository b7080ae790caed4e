"""A sensor folder to test, and a supervisor that only collects."""

import json
import os
import shutil
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import textwrap
import threading
from pathlib import Path

import pytest

# A shell ignores interrupts for what it starts in the background, and children inherit that.
signal.signal(signal.SIGINT, signal.default_int_handler)

REPOSITORY = Path(__file__).resolve().parents[2]
# Modules of the package that stand alone are tested in this process, from the source.
sys.path.insert(0, str(REPOSITORY / "python"))


@pytest.fixture(scope="session")
def sensor(tmp_path_factory):
    """The folder with `taintline/` and `startup/`: as laid out, or laid out here from what was built."""
    if "TAINTLINE_SENSOR_DIR" in os.environ:
        return Path(os.environ["TAINTLINE_SENSOR_DIR"])
    laid = REPOSITORY / "target/taintline/lib/taintline/sensor"
    if (laid / "taintline/_native.abi3.so").exists() and up_to_date(laid):
        return laid
    built = [REPOSITORY / "target" / profile / "lib_native.so" for profile in ("release", "debug")]
    built = sorted((file for file in built if file.exists()), key=lambda file: file.stat().st_mtime)
    if not built:
        pytest.fail("build first: cargo build -p taintline-python")
    folder = tmp_path_factory.mktemp("sensor")
    for part in ("taintline", "startup"):
        shutil.copytree(REPOSITORY / "python" / part, folder / part, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(built[-1], folder / "taintline/_native.abi3.so")
    return folder


def up_to_date(laid):
    """Whether what is laid out is what is in the sources."""
    sources = [file for part in ("taintline", "startup") for file in (REPOSITORY / "python" / part).glob("*.py")]
    copies = [laid / file.relative_to(REPOSITORY / "python") for file in sources]
    return all(copy.exists() and copy.read_bytes() == file.read_bytes() for file, copy in zip(sources, copies))


class Collector:
    """Listens on a Unix socket and keeps each connection's messages."""

    def __init__(self, reads=True):
        # A socket's path must be short.
        self.folder = tempfile.mkdtemp(prefix="tl")
        self.path = os.path.join(self.folder, "s")
        self.reads = reads
        self.connections = []
        self.threads = []
        self.listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.listener.bind(self.path)
        self.listener.listen(64)
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self):
        while True:
            try:
                connection, _ = self.listener.accept()
            except OSError:
                return
            envelopes = []
            self.connections.append(envelopes)
            if self.reads:
                thread = threading.Thread(target=self._read, args=(connection, envelopes), daemon=True)
                thread.start()
                self.threads.append(thread)
            else:
                self.threads.append(connection)

    def _read(self, connection, envelopes):
        with connection.makefile("rb") as stream:
            while head := stream.read(4):
                (length,) = struct.unpack("<I", head)
                assert length <= 1 << 20
                envelopes.append(json.loads(stream.read(length)))

    def finish(self):
        """All that was said, once everybody is gone: a list of messages for each connection, in order of hello."""
        for thread in list(self.threads):
            if isinstance(thread, threading.Thread):
                thread.join(20)
                assert not thread.is_alive(), "a connection stayed open"
        self.listener.close()
        for envelopes in self.connections:
            assert [envelope["seq"] for envelope in envelopes] == list(range(len(envelopes)))
        return [[envelope["body"] for envelope in envelopes] for envelopes in self.connections]


class Job:
    """A finished job: what it printed, how it ended, and what was said about it."""

    def __init__(self, process, out, err, said):
        self.code = process.returncode
        self.out = out
        self.err = err
        self.said = said

    def of(self, kind):
        """Messages of `kind` of all processes."""
        return [message for messages in self.said for message in messages if message["type"] == kind]

    def gaps(self):
        """All gaps but the one, at most one a process, that says how much of the memory a job of seconds was too short for."""
        found = []
        for messages in self.said:
            gaps = [message for message in messages if message["type"] == "gap"]
            short = [gap for gap in gaps if gap["what"].startswith("memory: ") and "the process was too short for it" in gap["why"]]
            assert len(short) <= 1, short
            found += [gap for gap in gaps if gap not in short]
        return found


class World:
    """Starts jobs with and without the sensor, in one folder."""

    def __init__(self, sensor, folder):
        self.sensor = sensor
        self.folder = folder

    def environment(self, collector, **extra):
        environment = {key: value for key, value in os.environ.items() if not key.startswith("TAINTLINE_")}
        environment.update(OMP_NUM_THREADS="1", PYTHONDONTWRITEBYTECODE="1")
        environment.pop("PYTHONPATH", None)
        environment.update(extra)
        if collector is not None:
            startup = str(self.sensor / "startup")
            old = environment.get("PYTHONPATH")
            environment["PYTHONPATH"] = startup if not old else f"{startup}:{old}"
            environment["TAINTLINE_SOCKET"] = collector if isinstance(collector, str) else collector.path
            environment["TAINTLINE_SENSOR"] = str(self.sensor)
        return environment

    def write(self, text, name="job.py"):
        path = self.folder / name
        path.write_text(textwrap.dedent(text))
        return path

    def start(self, command, collector, **extra):
        return subprocess.Popen(
            [str(part) for part in command],
            cwd=self.folder,
            env=self.environment(collector, **extra),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def run(self, text, *arguments, watched=True, command=(), name="job.py", **extra):
        """Runs the program `text` to its end."""
        script = self.write(text, name)
        collector = Collector() if watched else None
        process = self.start([*(command or (sys.executable,)), script, *arguments], collector, **extra)
        out, err = process.communicate(timeout=120)
        return Job(process, out, err, collector.finish() if collector else [])


@pytest.fixture
def world(sensor, tmp_path):
    return World(sensor, tmp_path)
