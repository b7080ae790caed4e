"""Train a small byte-level GPT on the English text that every Python ships.

Plain PyTorch and the standard library, on one process or under torchrun:

    python train.py
    torchrun --nproc-per-node 2 train.py --config gpt.toml
    python train.py --resume latest --steps 600
"""

import argparse
import contextlib
import ctypes
import hashlib
import math
import os
import random
import sys
import time
from pathlib import Path

import torch
import torch.distributed as dist
import torch.nn.functional as F
from torch import nn
from torch.nn.parallel import DistributedDataParallel
from torch.utils.data import DataLoader, Dataset, Sampler

VOCABULARY = 256  # one token a byte
HELD_OUT = 0.1  # the last tenth of the text is for evaluation
EVAL_BATCHES = 8


def main():
    options = parse_options()
    rank, world = start_processes()
    try:
        train(options, rank, world)
    finally:
        if world > 1:
            dist.destroy_process_group()


def train(options, rank, world):
    """The whole run: build, maybe resume, step, evaluate, save."""
    if options.threads:
        torch.set_num_threads(options.threads)
    random.seed(options.seed)
    torch.manual_seed(options.seed)

    train_set, held_out = load_text(options.block)
    model = GPT(options.layers, options.heads, options.width, options.block, options.dropout)
    optimizer = make_optimizer(model, options.lr, options.weight_decay)
    scheduler = make_schedule(optimizer, options.warmup, options.steps)
    step, samples = 0, 0
    if options.resume:
        path = find_checkpoint(options.resume, options.out)
        step, samples = load_checkpoint(path, model, optimizer, scheduler, rank)
        say(rank, f"resumed {path} at step {step}")
    elif world > 1:
        torch.manual_seed(options.seed + rank)  # weights are equal by now; dropout shall differ

    replica = DistributedDataParallel(model) if world > 1 else model
    loader = make_loader(train_set, options, samples, rank, world)
    batches = iter(loader)
    parameters = sum(p.numel() for p in model.parameters())
    say(rank, f"{parameters / 1e6:.2f} M parameters, {len(train_set)} samples, {world} process(es)")

    while step < options.steps:
        began = time.perf_counter()
        lr = scheduler.get_last_lr()[0]
        loss, grad = train_step(replica, batches, optimizer, scheduler, options)
        step += 1
        samples += options.batch_size * options.accumulate * world
        last = step == options.steps
        if step % options.log_every == 0 or last:
            loss = mean_over_ranks(loss, world)
            ms = (time.perf_counter() - began) * 1000
            say(rank, f"step {step}  loss {loss:.2f}  lr {lr:.1e}  grad {grad:.2f}  {ms:.0f} ms")
        if step % options.eval_every == 0 or last:
            if rank == 0:
                say(rank, f"eval {step}  loss {evaluate(model, held_out, options.batch_size):.3f}")
        if step % options.save_every == 0 or last:
            save_checkpoint(options.out, step, samples, model, optimizer, scheduler, rank, world)
    say(rank, f"weights {weights_digest(model)}")
    if world > 1:
        # Gloo's threads may outlive Python's end and die of the tensors of the last collective: a barrier has none.
        dist.barrier()


def train_step(model, batches, optimizer, scheduler, options):
    """One optimizer step over `accumulate` batches: (mean loss, gradient norm before clipping)."""
    model.train()
    optimizer.zero_grad(set_to_none=True)
    total = 0.0
    for part in range(options.accumulate):
        inputs, targets = next(batches)
        more = part + 1 < options.accumulate
        wait = isinstance(model, DistributedDataParallel) and more
        with model.no_sync() if wait else contextlib.nullcontext():
            loss = cross_entropy(model(inputs), targets) / options.accumulate
            loss.backward()
        total += loss.item()
    grad = nn.utils.clip_grad_norm_(model.parameters(), options.clip)
    optimizer.step()
    scheduler.step()
    return total, grad.item()


@torch.no_grad()
def evaluate(model, held_out, batch_size):
    """Mean loss over the same few batches of the held-out text every time."""
    model.eval()
    stride = max(1, len(held_out) // (EVAL_BATCHES * batch_size))
    picked = torch.utils.data.Subset(held_out, range(0, len(held_out), stride))
    # Its own generator: a DataLoader without one draws from the global state.
    loader = DataLoader(picked, batch_size=batch_size, generator=torch.Generator())
    losses = [cross_entropy(model(inputs), targets).item() for inputs, targets in loader]
    return sum(losses) / len(losses)


def cross_entropy(logits, targets):
    return F.cross_entropy(logits.view(-1, VOCABULARY), targets.view(-1))


# --- the model ---------------------------------------------------------------------------------


class Attention(nn.Module):
    """Causal multi-head self-attention over (batch, time, width)."""

    def __init__(self, width, heads, dropout):
        super().__init__()
        self.heads = heads
        self.qkv = nn.Linear(width, 3 * width)
        self.out = nn.Linear(width, width)
        self.dropout = nn.Dropout(dropout)

    def forward(self, x):
        batch, time_, width = x.shape
        split = (batch, time_, self.heads, width // self.heads)
        q, k, v = (part.view(split).transpose(1, 2) for part in self.qkv(x).chunk(3, dim=-1))
        y = F.scaled_dot_product_attention(q, k, v, is_causal=True)
        return self.dropout(self.out(y.transpose(1, 2).reshape(batch, time_, width)))


class Block(nn.Module):
    """One transformer layer, normalised before each half."""

    def __init__(self, width, heads, dropout):
        super().__init__()
        self.norm1 = nn.LayerNorm(width)
        self.attention = Attention(width, heads, dropout)
        self.norm2 = nn.LayerNorm(width)
        self.mlp = nn.Sequential(
            nn.Linear(width, 4 * width),
            nn.GELU(approximate="tanh"),
            nn.Linear(4 * width, width),
            nn.Dropout(dropout),
        )

    def forward(self, x):
        x = x + self.attention(self.norm1(x))
        return x + self.mlp(self.norm2(x))


class GPT(nn.Module):
    """Bytes (batch, time) in, logits (batch, time, 256) out; input and output embeddings are tied."""

    def __init__(self, layers, heads, width, block, dropout):
        super().__init__()
        self.tokens = nn.Embedding(VOCABULARY, width)
        self.positions = nn.Embedding(block, width)
        self.blocks = nn.ModuleList(Block(width, heads, dropout) for _ in range(layers))
        self.norm = nn.LayerNorm(width)
        self.head = nn.Linear(width, VOCABULARY, bias=False)
        self.head.weight = self.tokens.weight
        self.apply(initialise)
        for name, weight in self.named_parameters():
            if name.endswith(("out.weight", "mlp.2.weight")):  # what is added to the residual stream
                nn.init.normal_(weight, std=0.02 / math.sqrt(2 * layers))

    def forward(self, x):
        h = self.tokens(x) + self.positions.weight[: x.shape[1]]
        for block in self.blocks:
            h = block(h)
        return self.head(self.norm(h))


def initialise(module):
    if isinstance(module, (nn.Linear, nn.Embedding)):
        nn.init.normal_(module.weight, std=0.02)
    if isinstance(module, nn.Linear) and module.bias is not None:
        nn.init.zeros_(module.bias)


def make_optimizer(model, lr, weight_decay):
    """AdamW; matrices decay, biases and norms do not."""
    parameters = list(model.parameters())
    groups = [
        {"params": [p for p in parameters if p.dim() >= 2], "weight_decay": weight_decay},
        {"params": [p for p in parameters if p.dim() < 2], "weight_decay": 0.0},
    ]
    return torch.optim.AdamW(groups, lr=lr, betas=(0.9, 0.95))


def make_schedule(optimizer, warmup, steps):
    """Linear warm-up, then a cosine down to a tenth."""

    def factor(step):
        if step < warmup:
            return (step + 1) / warmup
        done = min(1.0, (step - warmup) / max(1, steps - warmup))
        return 0.1 + 0.45 * (1 + math.cos(math.pi * done))

    return torch.optim.lr_scheduler.LambdaLR(optimizer, factor)


# --- the data ----------------------------------------------------------------------------------


class Windows(Dataset):
    """Neighbouring windows of `block` bytes; the target is the input one byte later."""

    def __init__(self, data, block):
        self.data, self.block = data, block

    def __len__(self):
        return (len(self.data) - 1) // self.block

    def __getitem__(self, index):
        start = index * self.block
        window = self.data[start : start + self.block + 1].long()
        return window[:-1], window[1:]


class EndlessShuffle(Sampler):
    """A new permutation each epoch, without end, from sample number `start`; each rank takes its share.

    The order depends on the seed and the sample number only, so one integer is the data position.
    """

    def __init__(self, length, seed, start, rank, world):
        self.length, self.seed = length, seed
        self.start, self.rank, self.world = start, rank, world

    def __iter__(self):
        number = self.start + self.rank
        epoch, order = None, None
        while True:
            if number // self.length != epoch:
                epoch = number // self.length
                generator = torch.Generator().manual_seed(self.seed + epoch)
                order = torch.randperm(self.length, generator=generator).tolist()
            yield order[number % self.length]
            number += self.world


def load_text(block):
    """The help texts of Python itself, about 460 kB of English: (training set, held-out set)."""
    from pydoc_data.topics import topics

    text = "\n\n".join(topics[name] for name in sorted(topics)).encode()
    data = torch.frombuffer(bytearray(text), dtype=torch.uint8)
    cut = int(len(data) * (1 - HELD_OUT))
    return Windows(data[:cut], block), Windows(data[cut:], block)


def make_loader(dataset, options, samples, rank, world):
    sampler = EndlessShuffle(len(dataset), options.seed, samples, rank, world)
    return DataLoader(
        dataset,
        batch_size=options.batch_size,
        sampler=sampler,
        num_workers=options.num_workers,
        generator=torch.Generator().manual_seed(options.seed),
    )


# --- checkpoints -------------------------------------------------------------------------------


def save_checkpoint(out, step, samples, model, optimizer, scheduler, rank, world):
    """Rank 0 writes; the file appears under its name only when it is whole."""
    rng = {"torch": torch.get_rng_state(), "python": random.getstate()}
    states = [rng]
    if world > 1:
        states = [None] * world
        dist.all_gather_object(states, rng)
    if rank != 0:
        return
    out = Path(out)
    out.mkdir(parents=True, exist_ok=True)
    path = out / f"step-{step:06d}.pt"
    partial = path.with_suffix(".partial")
    checkpoint = {
        "step": step,
        "samples": samples,
        "model": model.state_dict(),
        "optimizer": optimizer.state_dict(),
        "scheduler": scheduler.state_dict(),
        "rng": states,
    }
    torch.save(checkpoint, partial)
    os.replace(partial, path)
    print(f"saved {path}", flush=True)


def find_checkpoint(resume, out):
    """The path given, or with `latest` the checkpoint of the highest step in `out`."""
    if resume != "latest":
        return Path(resume)
    found = sorted(Path(out).glob("step-*.pt"))
    if not found:
        sys.exit(f"train.py: no checkpoint step-*.pt in {out}/ to resume from")
    return found[-1]


def load_checkpoint(path, model, optimizer, scheduler, rank):
    """Put everything back as it was; returns (step, samples seen)."""
    if not path.is_file():
        sys.exit(f"train.py: no such checkpoint: {path}")
    checkpoint = torch.load(path, map_location="cpu", weights_only=True)
    model.load_state_dict(checkpoint["model"])
    optimizer.load_state_dict(checkpoint["optimizer"])
    scheduler.load_state_dict(checkpoint["scheduler"])
    rng = checkpoint["rng"][rank % len(checkpoint["rng"])]
    torch.set_rng_state(rng["torch"])
    version, internal, gauss = rng["python"]
    random.setstate((version, tuple(internal), gauss))
    return checkpoint["step"], checkpoint["samples"]


def weights_digest(model):
    """SHA-256 over the bytes of every weight, in the model's order."""
    digest = hashlib.sha256()
    for tensor in model.state_dict().values():
        tensor = tensor.detach().cpu().contiguous()
        digest.update(ctypes.string_at(tensor.data_ptr(), tensor.numel() * tensor.element_size()))
    return digest.hexdigest()


# --- processes and options ---------------------------------------------------------------------


def start_processes():
    """(rank, world size): from torchrun's variables, or one process alone."""
    world = int(os.environ.get("WORLD_SIZE", "1"))
    if world > 1:
        dist.init_process_group("gloo")
    return int(os.environ.get("RANK", "0")), world


def mean_over_ranks(value, world):
    if world == 1:
        return value
    total = torch.tensor(value)
    dist.all_reduce(total)
    return total.item() / world


def say(rank, line):
    if rank == 0:
        print(line, flush=True)


def make_parser():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    add = parser.add_argument
    add("--config", metavar="FILE.toml", help="options from a file; flags override it")
    add("--steps", type=int, default=300)
    add("--batch-size", type=int, default=8, help="windows a process takes at a time")
    add("--accumulate", type=int, default=4, help="batches a step")
    add("--block", type=int, default=64, help="bytes a window")
    add("--layers", type=int, default=4)
    add("--heads", type=int, default=6)
    add("--width", type=int, default=192)
    add("--dropout", type=float, default=0.05)
    add("--lr", type=float, default=2e-3)
    add("--weight-decay", type=float, default=0.1)
    add("--warmup", type=int, default=20, help="steps of linear warm-up")
    add("--clip", type=float, default=1.0, help="greatest gradient norm")
    add("--seed", type=int, default=1234)
    add("--threads", type=int, default=0, help="0: as PyTorch chooses")
    add("--num-workers", type=int, default=0, help="processes that read data")
    add("--out", default="ckpt", help="folder of the checkpoints")
    add("--resume", metavar="PATH|latest", help="continue from a checkpoint")
    add("--save-every", type=int, default=100)
    add("--eval-every", type=int, default=100)
    add("--log-every", type=int, default=10)
    return parser


def parse_options():
    parser = make_parser()
    config = parser.parse_known_args()[0].config
    if config:
        parser.set_defaults(**read_config(parser, config))
    options = parser.parse_args()
    for name in ("steps", "batch_size", "accumulate", "block", "layers", "heads", "width"):
        if getattr(options, name) < 1:
            parser.error(f"--{name.replace('_', '-')} must be at least 1")
    for name in ("warmup", "save_every", "eval_every", "log_every"):
        if getattr(options, name) < 1:
            parser.error(f"--{name.replace('_', '-')} must be at least 1")
    if options.width % options.heads:
        parser.error(f"--width {options.width} is not a multiple of --heads {options.heads}")
    return options


def read_config(parser, path):
    """The file's keys are the flags' names, with - or _."""
    if sys.version_info < (3, 11):
        parser.error("--config needs Python 3.11 or newer (tomllib); give the options as flags")
    import tomllib

    try:
        with open(path, "rb") as file:
            given = tomllib.load(file)
    except (OSError, tomllib.TOMLDecodeError) as error:
        parser.error(f"{path}: {error}")
    values = {key.replace("-", "_"): value for key, value in given.items()}
    kinds = {action.dest: action.type or str for action in parser._actions}
    for key, value in values.items():
        if key not in kinds or key in ("help", "config"):
            parser.error(f"{path}: unknown option '{key}'")
        try:
            values[key] = kinds[key](value)
        except (TypeError, ValueError):
            parser.error(f"{path}: {key} = {value!r} is not a {kinds[key].__name__}")
    return values


if __name__ == "__main__":
    main()
