"""What looking at memory costs a training step: the rounds of `taintline._memory` against the steps that they run in.

    python bench/memory.py                       # steps of about 100 ms on one thread
    python bench/memory.py --width 512 --steps 600

One process, the sensor's own code without a supervisor, as the sensor runs it: every message is encoded and thrown away. The
first round is eager (slices of about 3 ms), then rounds follow within their share. Told: the eager part once; of what
comes after it the share of the steps' time; the longest slice, by the clock and by the thread's own time (on a busy machine another
process may have the processor meanwhile); and the median of the ratios of neighbouring blocks of steps, with looks and without.
The bound is 0.5 % of a step and 10 ms for a pause.
"""

import argparse
import os
import statistics
import sys
import time
from pathlib import Path

SENSOR = Path(__file__).resolve().parent.parent / "target/taintline/lib/taintline/sensor"


# Steps of a block.
BLOCK = 20


class Sink:
    """Stands where the sensor does: encodes what is said, as the link does, and drops it."""

    ended, last_step, program, begun = False, 0, None, 0

    def __init__(self, native, path):
        self.link = native.Link(path)
        self.messages = 0

    def live(self):
        return self.link

    def send(self, body):
        self.messages += 1
        self.link.send(body)

    def gap(self, what, why, again=False):
        sys.exit(f"memory.py: {what}: {why}")


def main():
    options = parse_options()
    sys.path.insert(0, options.sensor)
    import torch
    from taintline import _memory, _native

    torch.set_num_threads(1)
    torch.manual_seed(0)
    model = torch.nn.Sequential(*[torch.nn.Linear(options.width, options.width) for _ in range(options.layers)])
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-4)
    batch = torch.randn(options.batch, options.width)
    path = listen()
    memory = _memory.Memory(Sink(_native, path), torch, {optimizer: None})
    memory.hooks.seen_model(model)
    rows, before = [], time.perf_counter_ns()
    for number in range(options.steps):
        eager = memory.eager and memory.deciding
        # Blocks in turn: with looks, without; every other pair the other way round.
        looks = eager or number // BLOCK % 4 in (0, 3)
        optimizer.zero_grad()
        model(batch).square().mean().backward()
        spent, memory.longest, memory.longest_work = memory.spent, 0, 0
        if memory.eager and looks:
            memory.pulse()
        optimizer.step()
        now = time.perf_counter_ns()
        if looks:
            memory.pulse(now - before)
        end = time.perf_counter_ns()
        rows.append((bool(eager), end - before, memory.spent - spent, memory.longest, memory.longest_work, number // BLOCK, looks))
        before = end
    tell(rows, memory)


def tell(rows, memory):
    first = [row for row in rows if row[0]]
    rest = [row for row in rows if not row[0] and row[6]]
    if not rest:
        sys.exit("memory.py: all steps were eager; give more of them")
    ratios = paired([row for row in rows if not row[0]])
    share = sum(row[2] for row in rest) / sum(row[1] for row in rest)
    print(f"step                 {statistics.median(row[1] for row in rest) / 1e6:.1f} ms (median of {len(rest)})")
    print(f"eager first round    {sum(row[2] for row in first) / 1e6:.0f} ms in {len(first)} steps, once")
    print(f"share of a step      {share:.2%} (bound 0.5 %)")
    longest = max(row[3] for row in rows) / 1e6, max(row[4] for row in rows) / 1e6
    print(f"longest pause        {longest[0]:.1f} ms, {longest[1]:.1f} ms of the thread's time (bound 10 ms)")
    if ratios:
        print(f"with looks / without {statistics.median(ratios):.4f} ({min(ratios):.3f} to {max(ratios):.3f}, {len(ratios)} pairs of blocks)")
    print(f"rounds               {memory.rounds}")
    if share > 0.005:
        sys.exit("memory.py: over the bound")


def paired(rows):
    """Ratios of the mean step of neighbouring blocks, with looks to without."""
    blocks = {}
    for row in rows:
        blocks.setdefault((row[5] // 2, row[6]), []).append(row[1])
    pairs = [(times, blocks.get((key[0], False))) for key, times in blocks.items() if key[1]]
    return [statistics.mean(ours) / statistics.mean(bare) for ours, bare in pairs if bare and len(ours) == len(bare) == BLOCK]


def listen():
    """A socket that takes everything, on a thread."""
    import socket
    import tempfile
    import threading

    folder = tempfile.mkdtemp(prefix="taintline-bench-")
    path = os.path.join(folder, "socket")
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(path)
    listener.listen(1)

    def drain():
        connection, _ = listener.accept()
        while connection.recv(1 << 20):
            pass

    threading.Thread(target=drain, daemon=True).start()
    return os.fsencode(path)


def parse_options():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--sensor", default=str(SENSOR), help="the laid out sensor")
    parser.add_argument("--steps", type=int, default=400)
    parser.add_argument("--width", type=int, default=1024)
    parser.add_argument("--layers", type=int, default=8)
    parser.add_argument("--batch", type=int, default=64)
    return parser.parse_args()


if __name__ == "__main__":
    main()
