"""The binary with a real PyTorch: one store for all tests, because an environment is read whole the first time only."""

import hashlib
import json
import os
import shutil
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import pytest

# A shell ignores interrupts for what it starts in the background, and children inherit that.
signal.signal(signal.SIGINT, signal.default_int_handler)

REPOSITORY = Path(__file__).resolve().parents[2]
BINARY = Path(os.environ.get("TAINTLINE_BIN", REPOSITORY / "target/taintline/bin/taintline"))
TRAIN = REPOSITORY / "examples/gpt/train.py"
PYTHON = os.environ.get("TAINTLINE_TEST_PYTHON", sys.executable)
# A training of a second: two steps between checkpoints, everything deterministic.
TINY = (
    "--layers 1 --width 32 --heads 2 --block 32 --batch-size 4 --accumulate 1 --threads 1"
    " --save-every 2 --eval-every 100 --log-every 1 --warmup 2"
).split()


class Done:
    """A finished command."""

    def __init__(self, code, out, err):
        self.code, self.out, self.err = code, out, err

    def __repr__(self):
        return f"exit {self.code}\n{self.out}\n{self.err}"

    @property
    def weights(self):
        """The digest of the final weights, as the training printed it."""
        return next(line.split()[1] for line in self.out.splitlines() if line.startswith("weights "))


class Running:
    """A command under way; `line` waits for the next line that begins so."""

    def __init__(self, process):
        self.process = process
        self.lines = []

    def line(self, start):
        for line in self.process.stdout:
            self.lines.append(line)
            if line.startswith(start):
                return line.rstrip("\n")
        raise AssertionError(f"no line {start!r} in {self.lines}\n{self.process.stderr.read()}")

    def finish(self, seconds=180):
        out, err = self.process.communicate(timeout=seconds)
        return Done(code_of(self.process), "".join(self.lines) + out, err)


def code_of(process):
    return process.returncode if process.returncode >= 0 else 128 - process.returncode


class World:
    """A folder to work in and the shared store."""

    def __init__(self, base, folder, python):
        self.base, self.folder, self.python = base, folder, str(python)
        self.store = base / "store"

    def environment(self, **extra):
        ours = ("TAINTLINE_", "PYTEST_")
        environment = {key: value for key, value in os.environ.items() if not key.startswith(ours)}
        environment.pop("PYTHONPATH", None)
        environment.update(
            TAINTLINE_STORE=str(self.store),
            XDG_DATA_HOME=str(self.base / "data"),
            XDG_CACHE_HOME=str(self.base / "cache"),
            XDG_RUNTIME_DIR=str(self.base / "runtime"),
            OMP_NUM_THREADS="1",
            PYTHONDONTWRITEBYTECODE="1",
        )
        environment.update(extra)
        return environment

    def start(self, command, **extra):
        return Running(
            subprocess.Popen(
                [str(part) for part in command],
                cwd=self.folder,
                env=self.environment(**extra),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
            )
        )

    def plain(self, *command, **extra):
        """Runs a command without guard."""
        return self.start(command, **extra).finish()

    def guarded(self, *command, options=(), **extra):
        """Runs a command under guard."""
        return self.start([BINARY, "run", *options, "--", *command], **extra).finish()

    def start_guarded(self, *command, **extra):
        return self.start([BINARY, "run", "--", *command], **extra)

    def train(self, steps=4, *options, python=None, guard=True, **extra):
        """The example, tiny."""
        command = [python or self.python, TRAIN, *TINY, "--steps", steps, *options]
        return (self.guarded if guard else self.plain)(*command, **extra)

    def script(self, text, name="job.py"):
        path = self.folder / name
        path.write_text(textwrap.dedent(text))
        return path

    def taintline(self, *arguments, code=0, seconds=180):
        done = self.start([BINARY, *arguments]).finish(seconds)
        assert done.code == code, done
        return done

    def show(self, run="last"):
        return json.loads(self.taintline("show", run, "--json").out)

    def diff(self, left, right):
        return json.loads(self.taintline("diff", left, right, "--json").out)


@pytest.fixture(scope="session", autouse=True)
def torch_is_there():
    """Nothing here is skipped for want of PyTorch: a suite that tested nothing is no proof."""
    subprocess.run([PYTHON, "-c", "import torch"], check=True)
    assert BINARY.is_file(), f"build first: cargo xtask sensor ({BINARY} is missing)"


@pytest.fixture(scope="session")
def base(tmp_path_factory):
    folder = tmp_path_factory.mktemp("taintline")
    (folder / "runtime").mkdir(mode=0o700)
    return folder


@pytest.fixture
def world(base, tmp_path):
    return World(base, tmp_path, PYTHON)


@pytest.fixture(scope="session")
def clean(base, tmp_path_factory):
    """A run of the example that is as it should be, used by many tests: nobody changes its folder."""
    world = World(base, tmp_path_factory.mktemp("clean"), PYTHON)
    (world.folder / "gpt.toml").write_text("dropout = 0.1\nlr = 1e-3\n")
    world.done = world.train(6, "--config", "gpt.toml")
    world.view = world.show()
    return world


@pytest.fixture
def resumable(clean, world):
    """The clean run's folder, whose checkpoints a test may change: they are put back afterwards."""
    saved = world.folder / "saved"
    shutil.copytree(clean.folder / "ckpt", saved)
    yield clean
    shutil.rmtree(clean.folder / "ckpt")
    shutil.copytree(saved, clean.folder / "ckpt")


def sha256(path):
    return hashlib.sha256(Path(path).read_bytes()).hexdigest()


def rules(view):
    return [finding["rule"] for finding in view["findings"]]


def words(finding):
    return " ".join([finding["what"], *finding["details"]])


def steps_of(rank):
    return [step["step"] for step in rank["steps"]]


def gaps(view):
    return "\n".join(f"{gap['what']}: {gap['why']}" for gap in view["gaps"])


def kill(pid, number=signal.SIGKILL):
    os.kill(pid, number)


def wait_until(condition, seconds=60):
    """Waits for something that must happen; the limit only ends a hang."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if condition():
            return
        time.sleep(0.05)
    raise AssertionError("it did not happen")
