"""What the sensor's hooks take of the training thread, step by step, at each level of sampling: the example's GPT under guard.

    cargo xtask sensor --release
    python bench/hooks.py target/taintline/bin/taintline [--steps 500] [--levels 0 16 64 256 1024]

The Python that runs this must have torch. The job times the hooks from inside, by the thread's own clock: every entry from torch or a loader
into the sensor, outermost calls only, less what an empty call measures. Told for each level: milliseconds a step (median, and of the slowest twentieth), apart for the first round of the
look at memory, which is eager, and for what comes behind it; their share of a step's thread time; the longest single hook; bytes a step in the record.
`bench/steps.py` measures the same from outside, as a difference; it is the check on this one, and far noisier.
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
# Steps at the start that are not counted: caches fill, descriptions are told once.
SKIPPED = 10

JOB = """
import functools, importlib.util, json, sys, time
import torch
work = time.thread_time_ns
state = {"depth": 0, "spent": 0, "longest": 0, "calls": 0}

def timed(call):
    @functools.wraps(call)
    def wrapper(*args, **kwargs):
        state["depth"] += 1
        begun = work()
        try:
            return call(*args, **kwargs)
        finally:
            state["depth"] -= 1
            if not state["depth"]:
                took = work() - begun
                state["spent"] += took
                state["calls"] += 1
                state["longest"] = max(state["longest"], took)
    return wrapper

sensor = {name: sys.modules["taintline." + name] for name in ("_steps", "_passes", "_data", "_forward")}
for module, kind, names in (
    ("_steps", "Steps", ("forward_starts", "forward_ends", "backward_starts", "backward_ends", "clipped")),
    ("_passes", "Passes", ("begins", "clipped", "clamped", "unscale_begins", "unscaled", "scaled")),
    ("_data", "Data", ("asking", "asked", "fetched")),
    ("_forward", "Roots", ("enter", "leave")),
):
    owner = getattr(sensor[module], kind)
    for name in names:
        setattr(owner, name, timed(getattr(owner, name)))
hooks = sys.modules["torch.optim.optimizer"]
for table in (hooks._global_optimizer_pre_hooks, hooks._global_optimizer_post_hooks):
    for key in list(table):
        table[key] = timed(table[key])
memory = next(it.__self__ for it in map(lambda it: it.__wrapped__, hooks._global_optimizer_post_hooks.values())).sensor.memory

spec = importlib.util.spec_from_file_location("train", sys.argv[1])
train = importlib.util.module_from_spec(spec)
spec.loader.exec_module(train)
torch.manual_seed(1)
torch.set_num_threads(1)
steps, batch_size = int(sys.argv[2]), sys.argv[3]
sys.argv = ["train.py", "--layers", "4", "--width", "160", "--heads", "4", "--block", "64", "--accumulate", "2", "--batch-size", batch_size]
options = train.parse_options()
data, _ = train.load_text(options.block)
model = train.GPT(options.layers, options.heads, options.width, options.block, options.dropout)
optimizer = train.make_optimizer(model, options.lr, options.weight_decay)
schedule = train.make_schedule(optimizer, options.warmup, options.steps)
batches = iter(train.make_loader(data, options, 0, 0, 1))
rows = []
nothing = timed(lambda: None)
for _ in range(steps):
    eager = bool(memory.eager and memory.deciding)
    state["spent"] = state["longest"] = 0
    begun = work()
    train.train_step(model, batches, optimizer, schedule, options)
    whole, spent, longest, calls = work() - begun, state["spent"], state["longest"], state["calls"]
    state["spent"] = state["calls"] = 0
    nothing()
    rows.append((eager, whole, spent, longest, calls, state["spent"]))
    state["calls"] = 0
print(json.dumps({"rows": rows, "parameters": sum(p.numel() for p in model.parameters())}))
"""


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("binary", type=Path)
    parser.add_argument("--steps", type=int, default=500)
    parser.add_argument("--batch-size", default="4", help="4: steps of some 75 ms here; 16: of some 300")
    parser.add_argument("--levels", type=int, nargs="+", default=[0, 16, 64, 256, 1024])
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        job = Path(folder) / "job.py"
        job.write_text(JOB)
        environment = {**os.environ, "TAINTLINE_STORE": f"{folder}/store", "OMP_NUM_THREADS": "1", "PYTHONDONTWRITEBYTECODE": "1"}
        guarded = [str(options.binary.resolve()), "run", "--exit-code", "command", "--", sys.executable, str(job), str(EXAMPLE)]
        # The first guarded run reads the environment; it is not measured.
        run([*guarded, "30", options.batch_size], environment, folder)
        for level in options.levels:
            settings = Path(folder) / "settings.toml"
            settings.write_text(f"[record]\nrecheck_positions = {level}\n")
            told = run([*guarded, str(options.steps), options.batch_size], {**environment, "TAINTLINE_CONFIG": str(settings)}, folder)
            rows = told["rows"][SKIPPED:]
            # What the reading of the clock itself takes, by an empty call at each step.
            empty = statistics.median(row[5] for row in rows)
            rows = [(row[0], row[1] - row[4] * empty, row[2] - row[4] * empty, row[3]) for row in rows]
            print(f"{level} positions, {told['parameters'] / 1e6:.1f} M parameters, {record_bytes(options.binary, environment, folder):.0f} bytes a step in the record")
            show("first round", [row for row in rows if row[0]])
            show("behind it", [row for row in rows if not row[0]])


def show(label, rows):
    if not rows:
        print(f"  {label:12} no step")
        return
    spent = sorted(row[2] / 1e6 for row in rows)
    share = sum(row[2] for row in rows) / sum(row[1] for row in rows)
    slow = spent[len(spent) * 19 // 20]
    step = statistics.median(row[1] for row in rows) / 1e6
    longest = max(row[3] for row in rows) / 1e6
    print(
        f"  {label:12} {statistics.median(spent):.2f} ms a step (mean {statistics.fmean(spent):.2f}, slowest twentieth {slow:.2f}) of {step:.0f}, {share:.2%}; longest hook {longest:.1f} ms; {len(rows)} steps",
        flush=True,
    )


def run(command, environment, folder):
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=True)
    return json.loads(next(line for line in done.stdout.splitlines() if line.startswith("{")))


def record_bytes(binary, environment, folder):
    shown = subprocess.run([str(binary.resolve()), "show", "last", "--json"], cwd=folder, env=environment, capture_output=True, text=True, check=False)
    ranks = json.loads(shown.stdout)["ranks"]
    steps = [step for rank in ranks for step in rank["steps"] or []]
    return statistics.fmean(len(json.dumps(step, separators=(",", ":"))) for step in steps)


if __name__ == "__main__":
    main()
