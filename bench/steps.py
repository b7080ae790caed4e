"""What all hooks of the sensor cost a step: the example's GPT with and without guard, in turns within one run.

    cargo xtask sensor --release
    python bench/steps.py target/taintline/bin/taintline [--rounds 5] [--batch-size 4]

The Python that runs this must have torch. Told: the training thread's own time for one step (median of the steps behind the first 30), with and
without guard, for each round; the difference in milliseconds and its share; and the bytes that a step adds to the ledger.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

EXAMPLE = Path(__file__).resolve().parent.parent / "examples/gpt/train.py"
STEPS, SKIPPED = 150, 30

JOB = """
import importlib.util, json, sys, time
spec = importlib.util.spec_from_file_location("train", sys.argv[1])
train = importlib.util.module_from_spec(spec)
spec.loader.exec_module(train)
import torch
torch.manual_seed(1)
torch.set_num_threads(1)
sys.argv = ["train.py", "--layers", "4", "--width", "160", "--heads", "4", "--block", "64", "--accumulate", "2", "--batch-size", sys.argv[2]]
options = train.parse_options()
data, _ = train.load_text(options.block)
model = train.GPT(options.layers, options.heads, options.width, options.block, options.dropout)
optimizer = train.make_optimizer(model, options.lr, options.weight_decay)
schedule = train.make_schedule(optimizer, options.warmup, options.steps)
batches = iter(train.make_loader(data, options, 0, 0, 1))
took = []
for _ in range({steps}):
    begun = time.thread_time_ns()
    train.train_step(model, batches, optimizer, schedule, options)
    took.append((time.thread_time_ns() - begun) / 1e6)
print(json.dumps(took[{skipped}:]))
"""


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("binary", type=Path)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--batch-size", default="4")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        job = Path(folder) / "job.py"
        job.write_text(JOB.replace("{steps}", str(STEPS)).replace("{skipped}", str(SKIPPED)))
        environment = {**os.environ, "TAINTLINE_STORE": f"{folder}/store", "OMP_NUM_THREADS": "1", "PYTHONDONTWRITEBYTECODE": "1"}
        command = [sys.executable, str(job), str(EXAMPLE), options.batch_size]
        guarded = [str(options.binary.resolve()), "run", "--exit-code", "command", "--", *command]
        # The first guarded run reads the environment; it is not measured.
        run(guarded, environment, folder)
        extra = []
        for number in range(options.rounds):
            bare, guard = run(command, environment, folder), run(guarded, environment, folder)
            extra.append(guard - bare)
            print(f"round {number + 1}: {bare:.2f} ms a step, guarded {guard:.2f}: {guard - bare:+.2f} ms, {guard / bare - 1:+.1%}", flush=True)
        print(f"median {statistics.median(extra):+.2f} ms of the thread's time a step; {ledger_bytes(options.binary, environment, folder):.0f} bytes a step in the record")


def run(command, environment, folder):
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=True)
    return statistics.median(json.loads(done.stdout.splitlines()[-1]))


def ledger_bytes(binary, environment, folder):
    shown = subprocess.run([str(binary.resolve()), "show", "last", "--json"], cwd=folder, env=environment, capture_output=True, text=True, check=False)
    ranks = json.loads(shown.stdout)["ranks"]
    steps = [step for rank in ranks for step in rank["steps"] or []]
    return statistics.fmean(len(json.dumps(step, separators=(",", ":"))) for step in steps)


if __name__ == "__main__":
    main()
