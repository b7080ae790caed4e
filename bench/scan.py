"""What a scan costs: time, memory and bytes per second of `taintline scan`, beside picklescan and the bare machine.

    PYTHON-WITH-TORCH tests/corpus/environment.py script bench/scan.py --taintline target/release/taintline

Both sides of every ratio are measured in the same run, one after the other, several rounds, the order changed each
round; the median of the rounds is told. CPU seconds are those of the process and its children. The large files are in
the file cache before anything is timed. Needs about 5 GiB of free disk in the folder for temporary files.
"""

import argparse
import json
import os
import pickle
import shutil
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "tests/corpus"))

GIB = 1 << 30
SMALL = 20_000


# Starts the command from a small process: a child's peak memory counts what its parent had when it was started.
LAUNCHER = """
import os, signal, sys, time
null = os.open(os.devnull, os.O_RDWR)
began = time.perf_counter()
child = os.fork()
if not child:
    for number in range(3):
        os.dup2(null, number)
    os.execvp(sys.argv[2], sys.argv[2:])
signal.signal(signal.SIGALRM, lambda *_: os.kill(child, 9))
signal.alarm(int(sys.argv[1]))
_, status, usage = os.wait4(child, 0)
wall = time.perf_counter() - began
print(wall, usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024, os.waitstatus_to_exitcode(status))
"""


def timed(command, limit=120):
    """Wall seconds, CPU seconds, peak memory in MiB, exit code of one command."""
    launcher = [sys.executable, "-S", "-E", "-c", LAUNCHER, str(limit), *map(str, command)]
    told = subprocess.run(launcher, check=True, capture_output=True, text=True).stdout.split()
    return float(told[0]), float(told[1]), float(told[2]), int(told[3])


def rounds(sides, count):
    """Medians by side of (wall, CPU, memory) over interleaved rounds."""
    taken = {name: [] for name in sides}
    for number in range(count):
        order = list(sides) if number % 2 else list(sides)[::-1]
        for name in order:
            taken[name].append(timed(sides[name])[:3])
    return {
        name: tuple(statistics.median(column) for column in zip(*rows, strict=True)) for name, rows in taken.items()
    }


def pinned(command):
    """On one core, so that a rate is that of one core."""
    return ["taskset", "-c", "0", *map(str, command)]


class Bench:
    """All measurements; each adds lines to `figures`."""

    def __init__(self, options, folder):
        self.options, self.folder = options, folder
        self.tool = str(options.taintline)
        self.picklescan = [sys.executable, "-m", "picklescan.cli"]
        self.figures = {}

    def tell(self, name, value, goal, met):
        mark = "" if met is None else "met" if met else "NOT MET"
        self.figures[name] = {"value": value, "goal": goal, "met": met}
        print(f"{name:<44}{value:>34}   {goal:<26}{mark}", flush=True)

    def cold_start(self):
        path = self.folder / "tiny.pkl"
        path.write_bytes(pickle.dumps({"a": 1}))
        sides = {"taintline": [self.tool, "scan", str(path)], "picklescan": [*self.picklescan, "-p", str(path)]}
        done = rounds(sides, 11)
        ours, theirs = done["taintline"], done["picklescan"]
        self.tell("cold start, CPU", f"{ours[1] * 1000:.1f} ms", "<= 10 ms", ours[1] <= 0.010)
        self.tell("  picklescan", f"{theirs[1] * 1000:.0f} ms, {theirs[1] / max(ours[1], 1e-9):.0f} x", "", None)
        self.tell("cold start, memory", f"{ours[2]:.1f} MiB", "<= 15 MiB", ours[2] <= 15)

    def large(self):
        import torch

        path = self.folder / "large.pt"
        state = {f"layers.{number}.weight": torch.randn(1 << 24) for number in range(16)}
        torch.save(state, path)
        other = self.folder / "other.pt"
        state["layers.7.weight"] += 0.001
        torch.save(state, other)
        del state
        size = path.stat().st_size
        for name in (path, other):
            subprocess.run(["cat", str(name)], stdout=subprocess.DEVNULL, check=True)
        done = rounds(
            {"taintline": [self.tool, "scan", str(path)], "picklescan": [*self.picklescan, "-p", str(path)]}, 7
        )
        ours = done["taintline"]
        self.tell("1 GiB torch file, CPU", f"{ours[1] * 1000:.1f} ms", "<= 20 ms", ours[1] <= 0.020)
        self.tell("  picklescan", f"{done['picklescan'][1] * 1000:.0f} ms", "", None)
        self.full(path, size)
        self.difference(path, other, size)

    def full(self, path, size):
        sides = {
            "taintline": pinned([self.tool, "scan", "--full", path]),
            # With the processor's own instructions where it has them: what a digest really costs.
            "openssl dgst -sha256": pinned(["openssl", "dgst", "-sha256", path]),
            "sha256sum": pinned(["sha256sum", path]),
            "cat": pinned(["cat", path]),
        }
        if not shutil.which("openssl"):
            del sides["openssl dgst -sha256"]
        done = rounds(sides, self.options.rounds)
        self.check_full(path)
        self.rates(done, size, ("every byte of 1 GiB, one core", *list(sides)[1:]))
        self.tell("  memory", f"{done['taintline'][2]:.1f} MiB", "<= 64 MiB", done["taintline"][2] <= 64)

    def check_full(self, path):
        """A rate is one of reading only if everything was read: the digest proves it."""
        command = [self.tool, "scan", "--full", "--output-format", "json", str(path)]
        told = json.loads(subprocess.run(command, capture_output=True, check=False).stdout)["files"][0]
        digest = subprocess.run(["sha256sum", path], capture_output=True, text=True, check=True).stdout.split()[0]
        if digest not in (told.get("digest") or ""):
            self.tell("  the digest of what was read", "wrong or missing", "that of sha256sum", False)

    def rates(self, done, size, names):
        """Rates of all sides, and the ratio of the first to the second, by the wall and by CPU seconds."""
        for name, side in zip(names, done, strict=True):
            wall, cpu, _ = done[side]
            self.tell(
                ("" if side == "taintline" else "  ") + name,
                f"{size / wall / 1e9:.2f} GB/s, {size / cpu / 1e9:.2f} per CPU-s",
                "",
                None,
            )
        ours, theirs = done["taintline"], list(done.values())[1]
        by_wall, by_cpu = theirs[0] / ours[0], theirs[1] / ours[1]
        self.tell("  ratio by the wall, by CPU", f"{by_wall:.2f}, {by_cpu:.2f}", ">= 0.8", max(by_wall, by_cpu) >= 0.8)

    def difference(self, path, other, size):
        sides = {
            "taintline": [self.tool, "diff", str(path), str(other)],
            "cat": ["cat", str(path), str(other)],
        }
        done = rounds(sides, self.options.rounds)
        told = subprocess.run(sides["taintline"], capture_output=True, text=True, check=False).stdout
        if "layers.7" not in told:
            self.tell("  the tensor that was changed", "not told", "layers.7.weight", False)
        self.rates(done, 2 * size, ("difference of two of 1 GiB, read", "cat of both"))
        self.tell("  memory", f"{done['taintline'][2]:.0f} MiB", "", None)

    def small(self):
        folder = self.folder / "small"
        folder.mkdir()
        for number in range(SMALL):
            value = {"step": number, "loss": [number / 7] * 20, "names": [f"layer{n}" for n in range(20)], "rate": 0.1}
            (folder / f"{number}.pkl").write_bytes(pickle.dumps(value, 2 + number % 4))
        sides = {
            "taintline": pinned([self.tool, "scan", "--jobs", "1", folder]),
            "picklescan": pinned([*self.picklescan, "-p", folder]),
        }
        done = rounds(sides, 3)
        ours = SMALL / done["taintline"][1]
        theirs = SMALL / done["picklescan"][1]
        self.tell("small pickles, per CPU second", f"{ours:,.0f}", ">= 20,000", ours >= 20_000)
        self.tell("  picklescan", f"{theirs:,.0f}, {ours / theirs:.1f} x", "", None)
        self.tell("  memory", f"{done['taintline'][2]:.1f} MiB", "<= 64 MiB", done["taintline"][2] <= 64)

    def hostile(self):
        import hostile

        self.worst, self.over, self.count = [0.0, 0.0], [[], [], []], 0
        for name, data in hostile.files():
            path = self.folder / name
            path.write_bytes(data)
            self.attack(path)
            path.unlink()
        for name, size, head, tail in hostile.sparse():
            path = self.folder / name
            with path.open("wb") as file:
                file.write(head)
                file.truncate(size)
                file.seek(size - len(tail))
                file.write(tail)
            self.attack(path)
            path.unlink()
        self.growing()
        slow, fat, died = self.over
        self.tell("hostile files", str(self.count), "", None)
        self.tell("hostile files, worst CPU", f"{self.worst[0]:.2f} s", "<= 2 s", not slow)
        self.tell("hostile files, worst memory", f"{self.worst[1]:.1f} MiB", "<= 64 MiB", not fat)
        self.tell("hostile files that ended it", str(len(died)), "0", not died)
        for line in slow + fat + died:
            print(f"    {line}")

    def attack(self, path):
        wall, cpu, memory, code = timed([self.tool, "scan", str(path)], limit=60)
        slow, fat, died = self.over
        self.count += 1
        self.worst = [max(self.worst[0], cpu), max(self.worst[1], memory)]
        if cpu > 2:
            slow.append(f"{path.name} {cpu:.1f} s CPU, {wall:.1f} s")
        if memory > 64:
            fat.append(f"{path.name} {memory:.0f} MiB")
        if code not in (0, 1, 2, 3):
            died.append(f"{path.name} ended with {code}")

    def growing(self):
        """A program that is written on while it is examined."""
        path = self.folder / "growing.pkl"
        path.write_bytes(b"\x80\x04](" + b"K\x01" * 2_000_000)
        script = "import sys,time\nwhile True:\n open(sys.argv[1],'ab').write(b'K\\x01'*4096)\n time.sleep(0.001)"
        writer = subprocess.Popen([sys.executable, "-c", script, str(path)])
        try:
            self.attack(path)
        finally:
            writer.kill()
            writer.wait()
        path.unlink()


def parse():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--taintline", type=Path, required=True)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--only", nargs="*", default=["cold_start", "small", "hostile", "large"])
    parser.add_argument("--json", type=Path)
    return parser.parse_args()


def main():
    options = parse()
    with tempfile.TemporaryDirectory(prefix="taintline-bench-") as folder:
        bench = Bench(options, Path(folder))
        print(f"{os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}")
        for name in options.only:
            getattr(bench, name)()
    if options.json:
        options.json.write_text(json.dumps(bench.figures, indent=1) + "\n")


if __name__ == "__main__":
    main()
