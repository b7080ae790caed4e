"""What sealing and verifying cost, beside the raw rate of the same digests made in one pass, a bare stat walk, and the reference tool.

    PYTHON bench/seal.py --taintline target/release/taintline --raw target/release/examples/raw_digests

PYTHON is any; --reference PYTHON names one that has model-signing and pyOpenSSL, else that tool is left out. Everything of one
round runs back to back; a ratio is the median of the ratios within the rounds. Files are made in --folder, and removed.
"""

import argparse
import json
import os
import pathlib
import random
import shutil
import statistics
import subprocess
import sys
import tempfile
import time

DATA = "data"  # the folder in the model that holds all but the signatures


def run(words, env, expect=(0,)):
    """Wall seconds, processor seconds and greatest resident bytes of one command."""
    began = time.monotonic()
    out = tempfile.TemporaryFile()
    process = subprocess.Popen([str(it) for it in words], env=env, stdout=out, stderr=subprocess.PIPE)
    told = process.stderr.read()
    _, status, usage = os.wait4(process.pid, 0)
    wall = time.monotonic() - began
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode not in expect:
        sys.exit(f"{words}: exit {process.returncode}: {told.decode(errors='replace')[-800:]}")
    out.seek(0)
    return {"wall": wall, "cpu": usage.ru_utime + usage.ru_stime, "rss": usage.ru_maxrss * 1024, "out": out.read()}


def fill(folder, count, size, depth=1):
    """Random files. They must be old enough to be remembered before they are verified, and be written out: waiting for the disk is
    part of the first verification of files that were made a moment ago, and of no other."""
    block = random.Random(7).randbytes(1 << 20)
    for number in range(count):
        place = folder / f"{number % depth:03}" / f"{number:06}.bin"
        place.parent.mkdir(parents=True, exist_ok=True)
        with open(place, "wb") as file:
            left = size
            while left > 0:
                part = min(left, len(block))
                file.write(number.to_bytes(8, "little") + block[8:part] if part > 8 else block[:part])
                left -= part
    os.sync()
    time.sleep(3)


def median_ratio(rounds, over, under, what="wall"):
    return statistics.median(it[over][what] / it[under][what] for it in rounds)


class Bench:
    def __init__(self, args, work):
        self.args, self.work = args, work
        self.env = dict(os.environ, HOME=str(work / "home"), TAINTLINE_STORE=str(work / "store"))
        for name in ("XDG_DATA_HOME", "XDG_CACHE_HOME"):
            self.env.pop(name, None)
        (work / "home").mkdir()
        self.threads = args.threads or os.cpu_count()

    def ours(self, *words):
        return run([self.args.taintline, *words, "--jobs", self.threads], self.env)

    def reference(self, model, command):
        key, public, place = self.work / "key", self.work / "pub", self.work / "reference.sig"
        which = ["--private_key", key] if command == "sign" else ["--public_key", public]
        return run([self.args.reference, "-m", "model_signing", command, "key", model, *which, "--signature", place], self.env)

    def keys(self):
        key, public = self.work / "key", self.work / "pub"
        curve = ["openssl", "genpkey", "-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256", "-out", key]
        run(curve, self.env)
        run(["openssl", "pkey", "-in", key, "-pubout", "-out", public], self.env)

    def rounds(self, model, large):
        rounds = []
        for _ in range(self.args.rounds):
            it = {"seal": self.ours("seal", model)}
            if large:
                # The data alone: beside the signatures one file would be three, and be digested by one thread.
                it["raw"] = run([self.args.raw, self.threads, model / DATA], self.env)
            it["deep"] = self.ours("verify", "--deep", model)
            if large:
                it["tree"] = self.ours("verify", "--deep", "--tree-only", model)
            else:
                it["walk"] = run(["find", model, "-printf", "%p %s %m %i %T@ %C@\n"], self.env)
            it["again"] = self.ours("verify", model, "--json")
            told = json.loads(it["again"]["out"])
            if told["verdict"] != "valid" or told["bytes_read"] != 0:
                sys.exit(f"verified again, and read {told['bytes_read']} bytes: is {model} on a file system in memory?")
            (model / "model.sig").unlink(), (model / "model.seal").unlink()
            if self.args.reference:
                it["their sign"] = self.reference(model, "sign")
                it["their verify"] = self.reference(model, "verify")
            rounds.append(it)
        return rounds


def tell(name, rounds, size):
    print(f"\n{name}")
    for step in rounds[0]:
        wall = statistics.median(it[step]["wall"] for it in rounds)
        cpu = statistics.median(it[step]["cpu"] for it in rounds)
        rss = max(it[step]["rss"] for it in rounds)
        print(f"  {step:13} {wall:8.3f} s wall {cpu:8.3f} s cpu {rss / 1e6:7.1f} MB  {size / 1e6 / wall:8.0f} MB/s")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--taintline", required=True, type=pathlib.Path)
    parser.add_argument("--raw", required=True, type=pathlib.Path)
    parser.add_argument("--reference", type=pathlib.Path)
    parser.add_argument("--folder", type=pathlib.Path)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int)
    parser.add_argument("--large", type=int, default=4096, help="MiB in all, in 64 files and in one")
    parser.add_argument("--small", type=int, default=20_000, help="files of 6 kB")
    parser.add_argument("--json", action="store_true")
    args = parser.parse_args()
    work = pathlib.Path(tempfile.mkdtemp(dir=args.folder))
    figures = {}
    try:
        bench = Bench(args, work)
        bench.keys()
        for name, count in [("64 large files", 64), ("one large file", 1)]:
            model = work / "model"
            size = args.large << 20
            fill(model / DATA, count, size // count)
            rounds = bench.rounds(model, True)
            tell(name, rounds, size)
            for step in ("seal", "deep", "tree"):
                for what in ("wall", "cpu"):
                    figures[f"{name}: {step}, of the raw rate of the same digests in one pass, {what}"] = median_ratio(rounds, "raw", step, what)
            if args.reference:
                figures[f"{name}: seal, times faster than the reference"] = median_ratio(rounds, "their sign", "seal")
                figures[f"{name}: verify again, times faster"] = median_ratio(rounds, "their verify", "again")
            shutil.rmtree(model)
        fill(work / "model" / DATA, args.small, 6000, depth=100)
        rounds = bench.rounds(work / "model", False)
        tell(f"{args.small} small files", rounds, args.small * 6000)
        for what in ("wall", "cpu"):
            figures[f"small files: verify again, rate over find -printf, {what}"] = median_ratio(rounds, "walk", "again", what)
        if args.reference:
            for ours, theirs in [("seal", "their sign"), ("deep", "their verify"), ("again", "their verify")]:
                figures[f"small files: {ours}, times faster than the reference"] = median_ratio(rounds, theirs, ours)
    finally:
        shutil.rmtree(work)
    print()
    for name, value in figures.items():
        print(f"{name}: {value:.2f}")
    if args.json:
        print(json.dumps(figures))


if __name__ == "__main__":
    main()
