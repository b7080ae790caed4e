"""A public peer on the matrix's `cnn`: TrainCheck 0.2.0, which infers invariants from clean runs and checks further runs against them.

    python -m venv VENV && VENV/bin/pip install torch==2.15.0 traincheck==0.2.0
    python bench/peer.py VENV FOLDER [--only VARIANT...]

Three clean runs of other seeds are traced and give the invariants; two further clean runs and each variant are checked, every step traced. A variant
counts as found where an invariant is violated for the first time at the sabotage's first step or behind it, and in no clean run. The tracing style is
`sampler`: with the default one the traced SGD has no momentum, which is another training. That the traced run ends with the same weights is checked.
Some ten minutes. Nothing is told twice: what stands in FOLDER already is not run again.
"""

import argparse
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
MATRIX = HERE.parent / "tests/matrix"
# For a CUDA build of torch without a driver: TrainCheck asks this object for its name, and that starts CUDA.
WITHOUT_GPU = """
import torch

def absent(self, name):
    raise AttributeError(name)

type(torch.backends.cuda.cufft_plan_cache).__getattr__ = absent
"""
REFERENCES, CLEAN, SEED = (8, 9, 10), (7, 11), 7


class Peer:
    def __init__(self, venv, folder):
        self.bin, self.folder = Path(venv).resolve() / "bin", Path(folder).resolve()
        self.folder.mkdir(parents=True, exist_ok=True)
        # TrainCheck writes beside the script.
        self.script = shutil.copy(HERE / "peer_cnn.py", self.folder)
        (self.folder / "without_gpu.py").write_text(WITHOUT_GPU)

    def run(self, name, command, seed=0, variant="", into=None):
        into = into or self.folder
        into.mkdir(exist_ok=True)
        environment = {**os.environ, "MATRIX": str(MATRIX), "SEED": str(seed), "VARIANT": variant, "OMP_NUM_THREADS": "1"}
        environment.update(PYTHONDONTWRITEBYTECODE="1", FINAL=str(self.folder / f"{name}.final"), PYTHONPATH=str(self.folder))
        with open(self.folder / f"{name}.log", "w") as log:
            done = subprocess.run([str(part) for part in command], cwd=into, env=environment, stdout=log, stderr=subprocess.STDOUT, check=False)
        # A variant may kill its process.
        if done.returncode and not variant:
            sys.exit(f"peer.py: {name} failed: {log.name}")

    def trace(self, name, seed, variant="", checked=True):
        command = [self.bin / "traincheck-collect", "--pyscript", self.script, "--models-to-track", "model", "--model-tracker-style", "sampler"]
        command += ["--output-dir", self.folder / name]
        if checked:
            command += ["--invariants", self.folder / "invariants.json", "--sampling-interval", "1", "--warm-up-steps", "1"]
        if not (self.folder / name).exists():
            self.run(name, command, seed, variant)

    def invariants(self):
        if (self.folder / "invariants.json").exists():
            return
        for seed in REFERENCES:
            self.trace(f"reference-{seed}", seed, checked=False)
        traces = [self.folder / f"reference-{seed}" for seed in REFERENCES]
        self.run("infer", [self.bin / "traincheck-infer", "-f", *traces, "-o", self.folder / "invariants.json"])

    def violated(self, name, seed, variant=""):
        """The first step of each violated invariant, with its text."""
        self.trace(name, seed, variant)
        told = self.folder / f"{name}-told"
        if not told.exists():
            command = [self.bin / "traincheck-check", "-f", self.folder / name, "-i", self.folder / "invariants.json", "-o", told, "--no-html-report"]
            self.run(f"{name}-check", command, into=told)
        failed = next(told.rglob("failed.log"), None)
        found = {}
        for record in [] if failed is None else objects(failed.read_text()):
            steps = [one["meta_vars.step"] for one in record["trace"] or () if one.get("meta_vars.step") is not None]
            if steps:
                found[identity(record["invariant"])] = (int(min(steps)), record["invariant"]["text_description"])
        return found

    def is_same_training(self):
        """Whether the traced run ends as the plain one does."""
        self.run("plain", [self.bin / "python", self.script], SEED)
        return (self.folder / "plain.final").read_text() == (self.folder / f"clean-{SEED}.final").read_text()


def objects(text):
    """The JSON objects that stand one behind the other in a text."""
    decoder, at = json.JSONDecoder(), 0
    while at < len(text):
        if text[at].isspace():
            at += 1
            continue
        found, at = decoder.raw_decode(text, at)
        yield found


def identity(invariant):
    """What makes it this invariant: the order of its preconditions varies between runs."""
    return json.dumps([invariant["relation"], invariant["params"], ordered(invariant["precondition"])], sort_keys=True)


def ordered(value):
    if isinstance(value, dict):
        return {key: ordered(one) for key, one in value.items()}
    if isinstance(value, list):
        return sorted((ordered(one) for one in value), key=lambda one: json.dumps(one, sort_keys=True))
    return value


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("venv")
    parser.add_argument("folder")
    parser.add_argument("--only", nargs="+")
    options = parser.parse_args()
    peer = Peer(options.venv, options.folder)
    asked = "import json, sabotage; print(json.dumps({name: it.first for name, it in sabotage.VARIANTS.items() if 'cnn' in it.trainings}))"
    variants = json.loads(subprocess.check_output([peer.bin / "python", "-B", "-c", asked], cwd=MATRIX, text=True))
    peer.invariants()
    clean = set()
    for seed in CLEAN:
        violated = peer.violated(f"clean-{seed}", seed)
        clean |= violated.keys()
        print(f"clean, seed {seed}: {len(violated)} invariants violated", flush=True)
    if not peer.is_same_training():
        sys.exit("peer.py: the traced run ends with other weights than the plain one")
    count = 0
    for name, first in variants.items():
        if options.only and name not in options.only:
            continue
        violated = peer.violated("variant-" + re.sub(r"\W+", "-", name), SEED, name)
        new = sorted(told for key, told in violated.items() if key not in clean and told[0] >= first)
        count += bool(new)
        print(f"| {name} | {first} | {f'{new[0][0]}: {new[0][1]}' if new else '–'} |", flush=True)
    print(f"{count} found")


if __name__ == "__main__":
    main()
