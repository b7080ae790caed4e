"""What sampling each step for its recheck costs: the hooks of `taintline._recheck` around the steps of AdamW.

    cargo build --release -p taintline-python
    python bench/recheck.py --native target/release/lib_native.so
    python bench/recheck.py --native target/release/lib_native.so --positions 512 --tensors 400

One process, the sensor's own code without a supervisor. Told: the thread's own time in the looks before, behind and ahead of a step (median,
and nine in ten are below), and the bytes that a sample adds to the step's line in the ledger. The aim is 1 ms at 1.3 million
parameters and 64 positions.
"""

import argparse
import importlib.machinery
import importlib.util
import statistics
import sys
import time
import types
from pathlib import Path

PACKAGE = Path(__file__).resolve().parent.parent / "python"


class Sink:
    """Stands where the sensor does; a gap ends the measurement, because then something was not measured."""

    def gap(self, what, why, again=False):
        sys.exit(f"recheck.py: {what}: {why}")


def main():
    options = parse_options()
    sys.path.insert(0, str(PACKAGE))
    load_native(options.native)
    import torch
    from taintline import _recheck, _spans

    torch.set_num_threads(1)
    torch.manual_seed(0)
    rows = max(1, options.parameters // (options.tensors * 128))
    parameters = [torch.nn.Parameter(torch.randn(rows, 128) * 0.02) for _ in range(options.tensors)]
    optimizer = torch.optim.AdamW(parameters, lr=1e-4, weight_decay=0.1)
    recheck = _recheck.Recheck(Sink(), torch, _spans.Spans(torch))
    recheck.positions = options.positions
    costs, sizes, steps = [], [], []
    for number in range(options.steps):
        for parameter in parameters:
            parameter.grad = torch.randn_like(parameter) * 1e-3
        begun = time.thread_time_ns()
        recheck.before(optimizer, (optimizer,), {})
        before = time.thread_time_ns() - begun
        begun = time.thread_time_ns()
        optimizer.step()
        steps.append(time.thread_time_ns() - begun)
        begun = time.thread_time_ns()
        sample = recheck.behind(optimizer)
        recheck.ahead(optimizer, 10_000_000_000 * number)
        costs.append(before + time.thread_time_ns() - begun)
        sizes.append(len(sample[4]))
    tell(options, sum(p.numel() for p in parameters), costs[20:], sizes[20:], steps[20:])


def tell(options, count, costs, sizes, steps):
    print(f"parameters           {count:,} in {options.tensors} tensors, {options.positions} positions")
    cost = statistics.median(costs) / 1e6
    print(f"looks a step         {cost:.3f} ms of the thread's time, nine in ten below {statistics.quantiles(costs, n=10)[8] / 1e6:.3f}")
    print(f"step of AdamW        {statistics.median(steps) / 1e6:.3f} ms: looks are {cost * 1e6 / statistics.median(steps):.2f} of it")
    print(f"values a step        {statistics.median(sizes):.0f} bytes of base64, at most {max(sizes)}")


def load_native(path):
    """The library that was built, as the package's own; the package's start is not run."""
    package = types.ModuleType("taintline")
    package.__path__ = [str(PACKAGE / "taintline")]
    sys.modules["taintline"] = package
    loader = importlib.machinery.ExtensionFileLoader("taintline._native", path)
    module = importlib.util.module_from_spec(importlib.util.spec_from_loader("taintline._native", loader))
    loader.exec_module(module)
    sys.modules["taintline._native"] = package._native = module


def parse_options():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--native", required=True, help="the built library")
    parser.add_argument("--steps", type=int, default=220)
    parser.add_argument("--parameters", type=int, default=1_300_000)
    parser.add_argument("--tensors", type=int, default=52)
    parser.add_argument("--positions", type=int, default=64)
    return parser.parse_args()


if __name__ == "__main__":
    main()
