"""What watching costs: the bare training command against `taintline run -- …`, in interleaved pairs.

    python bench/overhead.py --pairs 5
    python bench/overhead.py --pairs 5 --ranks 2
    python bench/overhead.py --pairs 5 --control      # the command against itself: the noise

Each pair runs both commands back to back, every other pair in the opposite order, so that slow drift of the machine
falls on both sides alike. A ratio is taken within a pair; the figure is the median of the ratios. Both commands run
once before the first pair, so that the store and the file cache are warm. The final weights are compared as well:
watching must not change what is computed.
"""

import argparse
import json
import os
import platform
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent


def main():
    options = parse_options()
    with tempfile.TemporaryDirectory(prefix="taintline-bench-") as scratch:
        scratch = Path(scratch)
        sides = commands(options)
        environment = dict(os.environ, TAINTLINE_STORE=str(scratch / "store"))
        measure = Bench(sides, environment, scratch).measure
        print(f"{os.cpu_count()} cores, Python {platform.python_version()}; warming up", flush=True)
        for side in sides:
            measure(side)
        before = size_of(scratch / "store")
        pairs = [run_pair(number, measure) for number in range(options.pairs)]
        grown = (size_of(scratch / "store") - before) / options.pairs
    summary = summarise(pairs, grown, options)
    print_summary(summary)
    if options.json:
        Path(options.json).write_text(json.dumps(summary, indent=2) + "\n")
    if not summary["same_weights"]:
        sys.exit("overhead.py: the two sides computed different weights")


def commands(options):
    """The two sides: name to command."""
    train = [str(ROOT / "examples/gpt/train.py"), "--steps", str(options.steps), *options.train]
    if options.ranks > 1:
        bare = [options.python, "-m", "torch.distributed.run", f"--nproc-per-node={options.ranks}"]
        bare += ["--master-port=0", *train]
    else:
        bare = [options.python, *train]
    guarded = bare if options.control else [options.taintline, "run", "--", *bare]
    return {"bare": bare, "guarded": guarded}


class Bench:
    """Runs one side in a folder of its own and measures it and all its descendants."""

    def __init__(self, sides, environment, scratch):
        self.sides, self.environment, self.scratch = sides, environment, scratch

    def measure(self, side):
        """Wall seconds, CPU seconds of the whole process tree, exit code, digest of the weights."""
        folder = self.scratch / "work"
        folder.mkdir()
        with tempfile.TemporaryFile() as output:
            began = time.perf_counter()
            child = subprocess.Popen(
                self.sides[side],
                cwd=folder,
                env=self.environment,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
            )
            # wait4 counts the child and every descendant that was waited for.
            _, status, usage = os.wait4(child.pid, 0)
            wall = time.perf_counter() - began
            child.returncode = os.waitstatus_to_exitcode(status)
            output.seek(0)
            text = output.read().decode(errors="replace")
        shutil.rmtree(folder)
        weights = [line.split()[-1] for line in text.splitlines() if line.startswith("weights ")]
        if not weights:
            sys.exit(f"overhead.py: {side} did not finish (code {child.returncode}):\n{text[-2000:]}")
        return {
            "wall": wall,
            "cpu": usage.ru_utime + usage.ru_stime,
            "code": child.returncode,
            "weights": weights[0],
        }


def run_pair(number, measure):
    order = ["bare", "guarded"] if number % 2 == 0 else ["guarded", "bare"]
    pair = {side: measure(side) for side in order}
    bare, guarded = pair["bare"], pair["guarded"]
    print(
        f"pair {number + 1}  wall {bare['wall']:.2f} → {guarded['wall']:.2f} s  "
        f"cpu {bare['cpu']:.2f} → {guarded['cpu']:.2f} s  {order[0]} first",
        flush=True,
    )
    return pair


def summarise(pairs, grown, options):
    weights = {run["weights"] for pair in pairs for run in pair.values()}
    summary = {
        "pairs": len(pairs),
        "steps": options.steps,
        "ranks": options.ranks,
        "control": options.control,
        "same_weights": len(weights) == 1,
        "codes": sorted({pair["guarded"]["code"] for pair in pairs}),
        "store_bytes_per_run": round(grown),
    }
    for kind in ("wall", "cpu"):
        ratios = [pair["guarded"][kind] / pair["bare"][kind] for pair in pairs]
        summary[kind] = {
            "median": statistics.median(ratios),
            "min": min(ratios),
            "max": max(ratios),
            "bare_median_s": statistics.median(pair["bare"][kind] for pair in pairs),
        }
    return summary


def print_summary(summary):
    for kind in ("wall", "cpu"):
        row = summary[kind]
        percent = [100 * (row[name] - 1) for name in ("median", "min", "max")]
        print(
            f"{kind:<5} median {percent[0]:+.2f} %  (min {percent[1]:+.2f} %, max {percent[2]:+.2f} %)"
            f"  of {row['bare_median_s']:.2f} s"
        )
    print(f"store +{summary['store_bytes_per_run'] / 1024:.0f} KiB a run")
    print(f"weights {'equal' if summary['same_weights'] else 'DIFFERENT'}; exit codes {summary['codes']}")


def size_of(folder):
    """Bytes of all files below a folder."""
    return sum(path.lstat().st_size for path in folder.rglob("*") if not path.is_dir())


def parse_options():
    parser = argparse.ArgumentParser(
        description=__doc__.splitlines()[0], epilog="Options after -- go to examples/gpt/train.py."
    )
    add = parser.add_argument
    add("--pairs", type=int, default=5)
    add("--steps", type=int, default=100, help="steps of each run")
    add("--ranks", type=int, default=1, help="more than 1: under torchrun")
    add("--control", action="store_true", help="the bare command on both sides")
    add("--python", default=sys.executable, help="a Python that has torch")
    add("--taintline", default=str(ROOT / "target/taintline/bin/taintline"))
    add("--json", metavar="FILE", help="write the figures there too")
    add("train", nargs="*", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.pairs < 1:
        parser.error("--pairs must be at least 1")
    if not options.control and not Path(options.taintline).is_file():
        parser.error(f"{options.taintline} is not there; `cargo xtask sensor --release` builds it")
    return options


if __name__ == "__main__":
    main()
