"""What a check of a Python environment costs: all bytes, unchanged, with byte code, beside AIDE on the same folders.

    PYTHON bench/environment.py --taintline target/release/taintline --python VENV/bin/python

PYTHON is any; VENV is the environment that is checked and is only read. AIDE (Debian's package `aide`) digests with SHA-256 and compares the same
facts of each file; it has no form that trusts an unchanged file, so its check stands beside all three of ours. Everything of one
round runs back to back, in the store and the folders of a temporary place; a ratio is the median of the ratios within the rounds.
"""

import argparse
import json
import os
import pathlib
import shutil
import statistics
import subprocess
import sys
import tempfile

from seal import median_ratio, run

WHERE = """
import json, sysconfig
paths = sysconfig.get_paths()
print(json.dumps(sorted({paths[it] for it in ("stdlib", "platstdlib", "purelib", "platlib", "scripts")})))
"""


def folders(python):
    """What our check looks at, without folders that lie in others."""
    told = subprocess.run([python, "-I", "-c", WHERE], check=True, capture_output=True, text=True)
    found = [pathlib.Path(it).resolve() for it in json.loads(told.stdout)]
    return [it for it in found if not any(it != other and it.is_relative_to(other) for other in found)]


def settings(work, found, workers):
    """A configuration of AIDE that compares what ours does: kind, size, mode, owner, times, inode and SHA-256."""
    lines = [
        f"database_in=file:{work}/aide.db",
        f"database_out=file:{work}/aide.new",
        "gzip_dbout=no",
        "log_level=error",
        "report_url=stdout",
        f"num_workers={workers}",
        "OURS = ftype+p+i+s+u+g+m+c+sha256",
        *(f"{folder} OURS" for folder in found),
    ]
    place = work / "aide.conf"
    place.write_text("\n".join(lines) + "\n")
    return place


class Bench:
    def __init__(self, args, work):
        self.args, self.work = args, work
        self.env = dict(os.environ, HOME=str(work / "home"), TAINTLINE_STORE=str(work / "store"))
        for name in ("XDG_DATA_HOME", "XDG_CACHE_HOME", "XDG_CONFIG_HOME"):
            self.env.pop(name, None)
        (work / "home").mkdir()

    def ours(self, *words):
        # 3: nothing found, and not everything could be vouched for.
        return run([self.args.taintline, "env", "check", self.args.python, "--json", *words], self.env, expect=(0, 1, 3))

    def aide(self, command):
        # 1 to 7: something was added, removed or changed, which must not be while this runs.
        done = run(["aide", command, "-c", self.work / "aide.conf"], self.env)
        if command == "--init":
            shutil.move(self.work / "aide.new", self.work / "aide.db")
        return done

    def round(self):
        shutil.rmtree(self.work / "store", ignore_errors=True)
        told = {"first": self.ours(), "unchanged": self.ours(), "deep": self.ours("--deep")}
        if self.args.compiled:
            told["compile"] = self.ours("--compiled")
            told["compiled"] = self.ours("--compiled")
        told["aide init"], told["aide check"] = self.aide("--init"), self.aide("--check")
        return told


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--taintline", required=True)
    parser.add_argument("--python", required=True)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--compiled", action="store_true", help="byte code too; the first time compiles every source")
    args = parser.parse_args()
    if shutil.which("aide") is None:
        sys.exit("there is no aide: install Debian's package of that name")
    with tempfile.TemporaryDirectory() as place:
        work = pathlib.Path(place)
        found = folders(args.python)
        settings(work, found, os.cpu_count())
        bench = Bench(args, work)
        bench.ours()  # pages of the files
        rounds = [bench.round() for _ in range(args.rounds)]
        entries = sum(line.startswith(b"/") for line in (work / "aide.db").read_bytes().splitlines())
    answer = json.loads(rounds[-1]["deep"]["out"])
    files, size = answer["files"], answer["bytes"]
    print(f"{files} files, {size / 1e9:.2f} GB in {', '.join(map(str, found))}; AIDE has {entries} entries, folders too")
    for name in rounds[0]:
        wall = statistics.median(it[name]["wall"] for it in rounds)
        cpu = statistics.median(it[name]["cpu"] for it in rounds)
        peak = max(it[name]["rss"] for it in rounds) / 2**20
        beside = "" if name.startswith("aide") else (
            f", {median_ratio(rounds, name, 'aide check'):.3f} of AIDE's check by the wall,"
            f" {median_ratio(rounds, name, 'aide check', 'cpu'):.3f} by CPU"
        )
        print(f"{name:<10} {wall:7.2f} s wall, {cpu:7.2f} CPU-s ({cpu * 1.5e9 / size:.2f} per 1.5 GB), {peak:.0f} MiB{beside}")


if __name__ == "__main__":
    main()
