"""What the host's daemon costs everybody else, and how soon it has written something down. Root, Linux; some minutes.

    PYTHON bench/daemon.py target/taintline/bin/taintline [--rounds 9]

With and without daemon in turns, in folders that it watches for a run that goes on meanwhile: CPU time of `import torch`, of opening and
reading a file, of fork and exec, of writing a file, and of a training step (the example, its own count). Then the daemon alone: how soon it is ready, what it
takes when nothing happens, and how long a change takes until it stands in the ledger. Medians of the ratios within pairs, and the 95 % interval of
the median by the binomial distribution. The bounds: import 1.03, read-open 1.2, fork and exec 1.05, step 1.005; idle 0.2 % of a core and 40 MB;
ready in 150 ms; written in 250 ms (p99).
"""

import argparse
import math
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

TRAIN = Path(__file__).resolve().parent.parent / "examples/gpt/train.py"
OPENS = "import os, sys\nfor _ in range(200_000): os.close(os.open(sys.argv[1], os.O_RDONLY))"
FORKS = "import subprocess\nfor _ in range(400): subprocess.run(['true'])"
WRITES = "import os, sys\nfor _ in range(5_000):\n f = os.open(sys.argv[1], os.O_WRONLY); os.write(f, b'x'); os.close(f)"


def main():
    options = parse_options()
    top = Path(tempfile.mkdtemp(prefix="taintline-bench-"))
    try:
        measure(options, top)
    finally:
        shutil.rmtree(top, ignore_errors=True)


def measure(options, top):
    host = Host(Path(options.taintline).resolve(), top)
    ground = top / "ground"
    ground.mkdir()
    (ground / "file").write_text("x" * 100)
    step = [sys.executable, str(TRAIN), *"--steps 60 --layers 2 --width 128 --heads 2 --block 64 --batch-size 8 --threads 1 --save-every 1000 --eval-every 1000".split()]
    loads = {
        "import torch": [sys.executable, "-c", "import torch"],
        "read-open": [sys.executable, "-c", OPENS, str(ground / "file")],
        "fork+exec": [sys.executable, "-c", FORKS],
        "write-open": [sys.executable, "-c", WRITES, str(ground / "file")],
        "training": step,
    }
    ratios = {name: [] for name in loads}
    for command in loads.values():
        cpu(command, ground)
    for turn in range(options.rounds):
        for name, command in loads.items():
            pair = {}
            for watched in (False, True) if turn % 2 else (True, False):
                if watched:
                    host.begin()
                    run = host.run(ground)
                pair[watched] = cpu(command, ground)
                if watched:
                    host.end(run)
            ratios[name].append(pair[True] / pair[False])
    for name, found in ratios.items():
        low, high = interval(found)
        print(f"{name:13} CPU ratio {statistics.median(found):.3f}   95 % {low:.3f}-{high:.3f}   ({len(found)} pairs)", flush=True)
    alone(host, ground, options)


def alone(host, ground, options):
    ready = [host.begin_and_end() for _ in range(options.rounds)]
    print(f"ready         {statistics.median(ready) * 1000:.0f} ms (median), {max(ready) * 1000:.0f} ms (greatest)", flush=True)
    host.begin()
    run = host.run(ground)
    time.sleep(2)
    before, began = worked(host.daemon.pid), time.monotonic()
    time.sleep(20)
    spent = (worked(host.daemon.pid) - before) / (time.monotonic() - began)
    status = Path(f"/proc/{host.daemon.pid}/status").read_text()
    memory = int(next(line for line in status.splitlines() if line.startswith("VmRSS")).split()[1]) / 1024
    print(f"idle          {spent * 100:.2f} % of a core, {memory:.0f} MB", flush=True)
    waits = sorted(host.written(ground, number) for number in range(200))
    print(f"to the ledger {statistics.median(waits) * 1000:.0f} ms (median), {waits[int(len(waits) * 0.99)] * 1000:.0f} ms (p99), 200 changes", flush=True)
    host.end(run)


class Host:
    """A daemon with a store of its own, and a run that it watches over."""

    def __init__(self, binary, top):
        self.binary, self.top, self.daemon = binary, top, None
        self.environment = {**os.environ, "XDG_DATA_HOME": str(top / "data"), "XDG_CACHE_HOME": str(top / "cache"), "TAINTLINE_DAEMON": str(top / "s")}

    def begin(self):
        command = [self.binary, "--store", self.top / "daemon", "watch", "--socket", self.top / "s"]
        began = time.monotonic()
        self.daemon = subprocess.Popen(command, env=self.environment, cwd=self.top, stderr=subprocess.PIPE, text=True)
        line = self.daemon.stderr.readline()
        if "watching" not in line:
            sys.exit(f"daemon.py: {line}{self.daemon.stderr.read()}")
        return time.monotonic() - began

    def run(self, ground):
        command = [self.binary, "--store", self.top / "store", "run", "-q", "--", sys.executable, "-c", "import time; print(1, flush=True); time.sleep(600)"]
        run = subprocess.Popen(command, env=self.environment, cwd=ground, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
        run.stdout.readline()
        time.sleep(0.5)
        return run

    def end(self, run=None):
        for process in (run, self.daemon):
            if process:
                process.terminate()
                process.wait()

    def begin_and_end(self):
        took = self.begin()
        self.end()
        return took

    def written(self, ground, number):
        """Seconds from a change to the moment that it stands in the ledger's files."""
        name = f"change-{number}-{os.getpid()}"
        log = next((self.top / "daemon/ledger").iterdir())
        began = time.monotonic()
        (ground / name).write_text("x")
        needle = name.encode()
        while time.monotonic() - began < 5:
            if needle in (log / "wal").read_bytes() or any(needle in file.read_bytes() for file in (log / "tile/entries").rglob("*") if file.is_file()):
                return time.monotonic() - began
        return math.inf


def cpu(command, folder):
    """CPU seconds of a command with all that it starts."""
    process = subprocess.Popen(command, cwd=folder, stdout=subprocess.DEVNULL, env={**os.environ, "OMP_NUM_THREADS": "1"})
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = status
    if status:
        sys.exit(f"daemon.py: {command} ended with {status}")
    return usage.ru_utime + usage.ru_stime


def worked(pid):
    """CPU seconds of all threads, as the scheduler counts them: what wakes up for a moment is lost or doubled in ticks."""
    return sum(int(file.read_text().split()[0]) for file in Path(f"/proc/{pid}/task").glob("*/schedstat")) / 1e9


def interval(found):
    """The median's 95 % interval by order statistics; of few, all of them."""
    found, count = sorted(found), len(found)
    rank = max((k for k in range(count // 2) if sum(math.comb(count, i) for i in range(k + 1)) / 2**count <= 0.025), default=None)
    return (found[0], found[-1]) if rank is None else (found[rank], found[count - 1 - rank])


def parse_options():
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("taintline", help="the binary, built for release")
    parser.add_argument("--rounds", type=int, default=9)
    return parser.parse_args()


if __name__ == "__main__":
    main()
