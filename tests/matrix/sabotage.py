"""Sabotage for the trainings of the matrix: harmless, in the own process, from a step on.

Each variant changes what code in the process could change, by way of torch's own functions, so that it fits every training. It begins at
step `START`, when habits have formed; what can only be done from the start says so. `EXPECTED` names the rules that tell it by numbers.
"""

import ctypes
import dataclasses
import functools
import os
import signal
import sys
import threading
import time
import weakref

import torch
import torch.nn.functional as F

START = 30


class Clock:
    """Which step is under way: each training has one schedule that goes on once a step."""

    def __init__(self):
        self.schedule = self.optimizer = None
        kind = torch.optim.lr_scheduler.LRScheduler
        made = kind.__init__
        clock = self

        @functools.wraps(made)
        def init(self, optimizer, *rest, **named):
            clock.schedule, clock.optimizer = weakref.ref(self), weakref.ref(getattr(optimizer, "optimizer", optimizer))
            return made(self, optimizer, *rest, **named)

        kind.__init__ = init

    def step(self):
        schedule = self.schedule and self.schedule()
        return 0 if schedule is None else schedule.last_epoch + 1

    def begun(self):
        return self.step() >= START

    def parameters(self):
        optimizer = self.optimizer and self.optimizer()
        return [p for group in optimizer.param_groups for p in group["params"]] if optimizer else []


@dataclasses.dataclass
class Variant:
    """One sabotage."""

    install: object
    technique: str
    # Rules of which one must tell it.
    rules: tuple
    # Trainings that it means something for.
    trainings: tuple = ("gpt", "cnn", "hf", "mlp")
    # Steps behind the first changed one at which it may be told.
    within: int = 0
    # Where it begins, if not at `START`.
    first: int = START
    # Numbers do not show it; what stands in memory at this name does, where the process lives long enough to be looked at.
    named: str | None = None

    # Trainings on which it is known to be missed.
    missed: tuple = ()

    @property
    def by_numbers(self):
        return self.named is None


VARIANTS = {}
ADAPTIVE = ("gpt", "hf", "mlp")


def variant(name, technique, *rules, **more):
    def add(install):
        VARIANTS[name] = Variant(install, technique, rules, **more)
        return install

    return add


# --- ways in ------------------------------------------------------------------------------------


def wrap(owner, name, make):
    """Puts `make(original)` at `owner.name`."""
    original = getattr(owner, name)
    setattr(owner, name, functools.wraps(original)(make(original)))


def after_backward(clock, change):
    """`change(gradients)` behind each backward pass; the last one before the step is what the step uses."""

    def make(original):
        def backward(self, *rest, **named):
            original(self, *rest, **named)
            if clock.begun():
                with torch.no_grad():
                    change([p.grad for p in clock.parameters() if p.grad is not None])

        return backward

    wrap(torch.Tensor, "backward", make)


def in_update(clock, change):
    """`change(original, params, grads, rest, named)` instead of the update itself."""

    def make(original):
        def update(params, grads, *rest, **named):
            if not clock.begun():
                return original(params, grads, *rest, **named)
            return change(original, params, grads, rest, named)

        return update

    for name in ("adam", "sgd"):
        wrap(sys.modules[f"torch.optim.{name}"], name, make)


def before_update(clock, change):
    """`change()` before each step of an optimizer, by way of the schedule that has just set its rate."""

    def make(original):
        def step(self, *rest, **named):
            answer = original(self, *rest, **named)
            if clock.begun():
                change()
            return answer

        return step

    wrap(torch.optim.lr_scheduler.LRScheduler, "step", make)


# --- gradients ----------------------------------------------------------------------------------


@variant("gradient reversed", "N01", "gradient-changed")
def _(clock):
    after_backward(clock, lambda gradients: [g.neg_() for g in gradients])


@variant("gradient halved", "N01", "gradient-changed")
def _(clock):
    after_backward(clock, lambda gradients: [g.mul_(0.5) for g in gradients])


@variant("noise on gradients", "N01", "gradient-changed")
def _(clock):
    generator = torch.Generator().manual_seed(1)
    after_backward(clock, lambda gradients: [g.add_(0.5 * g.std(correction=0) * torch.randn(g.shape, generator=generator)) for g in gradients])


@variant("gradient reversed in every 7th step", "N01", "gradient-changed", first=35)
def _(clock):
    after_backward(clock, lambda gradients: [g.neg_() for g in gradients] if clock.step() % 7 == 0 else None)


@variant("one tensor's gradient doubled", "N01", "gradient-changed", within=14)
def _(clock):
    after_backward(clock, lambda gradients: gradients[1].mul_(2))


@variant("gradient reversed inside the update", "N01", "update-differs")
def _(clock):
    in_update(clock, lambda update, params, grads, rest, named: update(params, [-g for g in grads], *rest, **named))


@variant("gradient reversed by hooks in the backward pass", "N01", "gradient-changed")
def _(clock):
    done = []

    def make(original):
        def backward(self, *rest, **named):
            if clock.begun() and not done:
                done.extend(p.register_hook(lambda g: -g) for p in clock.parameters())
            return original(self, *rest, **named)

        return backward

    wrap(torch.Tensor, "backward", make)


@variant("clipping left out", "N02", "clipping-differs", trainings=ADAPTIVE)
def _(clock):
    def make(original):
        def clip(parameters, max_norm, *rest, **named):
            if not clock.begun():
                return original(parameters, max_norm, *rest, **named)
            parameters = list(parameters)
            return torch.linalg.vector_norm(torch.stack([p.grad.norm() for p in parameters if p.grad is not None]))

        return clip

    wrap(torch.nn.utils, "clip_grad_norm_", make)


@variant("clipping at ten times the norm", "N02", "clipping-differs", trainings=ADAPTIVE)
def _(clock):
    def make(original):
        def clip(parameters, max_norm, *rest, **named):
            return original(parameters, max_norm * (10 if clock.begun() else 1), *rest, **named)

        return clip

    wrap(torch.nn.utils, "clip_grad_norm_", make)


# --- hyperparameters ----------------------------------------------------------------------------


@variant("learning rate × 1.5 inside the update", "N02", "update-differs")
def _(clock):
    def change(update, params, grads, rest, named):
        return update(params, grads, *rest, **{**named, "lr": 1.5 * named["lr"]})

    in_update(clock, change)


def groups(clock):
    optimizer = clock.optimizer()
    return optimizer.param_groups if optimizer else []


@variant("learning rate × 1.5 in the groups", "N02", "learning-rate-not-scheduled")
def _(clock):
    def change():
        for group in groups(clock):
            group["lr"] *= 1.5

    before_update(clock, change)


@variant("momentum coefficients changed", "N02", "hyperparameter-changed")
def _(clock):
    def change():
        for group in groups(clock):
            if "betas" in group:
                group["betas"] = (0.5, group["betas"][1])
            else:
                group["momentum"] = 0.5

    before_update(clock, change)


@variant("weight decay off", "N02", "hyperparameter-changed", trainings=("gpt", "cnn", "hf"))
def _(clock):
    def change():
        for group in groups(clock):
            group["weight_decay"] = 0.0

    before_update(clock, change)


@variant("betas changed inside the update", "N02", "update-differs", trainings=ADAPTIVE)
def _(clock):
    in_update(clock, lambda update, params, grads, rest, named: update(params, grads, *rest, **{**named, "beta1": 0.5}))


# --- state and weights --------------------------------------------------------------------------


@variant("optimizer's state set to zero in every 10th step", "N07", "weights-changed-between-steps", first=31)
def _(clock):
    def change():
        if clock.step() % 10 == 1:
            for state in clock.optimizer().state.values():
                for name, value in state.items():
                    if name != "step" and isinstance(value, torch.Tensor):
                        value.zero_()

    before_update(clock, change)


@variant("every 7th update left out", "N01", "update-differs", first=35)
def _(clock):
    def change(update, params, grads, rest, named):
        return None if clock.step() % 7 == 0 else update(params, grads, *rest, **named)

    in_update(clock, change)


@variant("weights drift inside the update", "N01", "update-differs", within=5)
def _(clock):
    def change(update, params, grads, rest, named):
        update(params, grads, *rest, **named)
        for p in params:
            p.add_(1e-4)

    in_update(clock, change)


@variant("a tenth of the weights moved between steps", "N06", "weights-changed-between-steps", within=3)
def _(clock):
    def change():
        with torch.no_grad():
            for p in clock.parameters():
                p.data.view(-1)[:: 10].add_(0.02)

    before_update(clock, change)


@variant("a thread writes into the weights by address", "N06", "weights-changed-between-steps", "update-differs", within=8)
def _(clock):
    state = {}

    def scribble():
        while True:
            state["go"].wait()
            state["go"].clear()
            for address, size in state["spans"]:
                data = (ctypes.c_float * size).from_address(address)
                for index in range(0, size, 4):
                    data[index] += 0.01
            state["done"].set()

    def change():
        if not state:
            state.update(go=threading.Event(), done=threading.Event())
            state["spans"] = [(p.data_ptr(), min(p.numel(), 512)) for p in clock.parameters()]
            threading.Thread(target=scribble, daemon=True).start()
        state["go"].set()
        state["done"].wait(5)
        state["done"].clear()

    before_update(clock, change)


# --- random numbers, modes, precision -----------------------------------------------------------


@variant("random numbers used again in each forward pass", "N03", "random-numbers-reused", "mode-changed", within=2)
def _(clock):
    saved = []

    def hook(module, args):
        if clock.begun() and torch.is_grad_enabled() and module is _outermost(module):
            if not saved:
                saved.append(torch.get_rng_state())
            torch.set_rng_state(saved[0])

    torch.nn.modules.module.register_module_forward_pre_hook(hook)


_root = []


def _outermost(module):
    """The first module that is called is the whole model."""
    if not _root:
        _root.append(module)
    return _root[0]


# Attention in `hf` has a dropout of its own, which draws as before.
@variant("dropout off", "N04", "mode-changed")
def _(clock):
    def make(original):
        def dropout(input, p=0.5, training=True, inplace=False):
            return original(input, p, training and not clock.begun(), inplace)

        return dropout

    wrap(F, "dropout", make)


@variant("bf16 autocast, silently", "N04", "mode-changed", trainings=ADAPTIVE)
def _(clock):
    def change():
        torch.set_autocast_dtype("cpu", torch.bfloat16)
        torch.set_autocast_enabled("cpu", True)

    before_update(clock, change)


@variant("training in evaluation mode", "N04", "mode-changed", trainings=("gpt", "cnn"))
def _(clock):
    def make(original):
        def train(self, mode=True):
            return original(self, mode and not clock.begun())

        return train

    wrap(torch.nn.Module, "train", make)


# --- loss and passes ----------------------------------------------------------------------------


@variant("loss × 3 before backward", "N01", "loss-altered", trainings=("hf",))
def _(clock):
    def make(original):
        def backward(self, *rest, **named):
            return original(self * 3 if clock.begun() else self, *rest, **named)

        return backward

    wrap(torch.Tensor, "backward", make)


@variant("label smoothing inside the loss", "N01", "function-replaced", named="functional.cross_entropy", trainings=("gpt", "cnn"))
def _(clock):
    def make(original):
        def cross_entropy(input, target, *rest, **named):
            if clock.begun():
                named["label_smoothing"] = 0.3
            return original(input, target, *rest, **named)

        return cross_entropy

    wrap(F, "cross_entropy", make)


@variant("a micro-batch's backward pass left out", "N01", "passes-miscounted")
def _(clock):
    seen = []

    def make(original):
        def backward(self, *rest, **named):
            if clock.begun() and seen[-1:] != [clock.step()]:
                seen.append(clock.step())
                return None
            return original(self, *rest, **named)

        return backward

    wrap(torch.Tensor, "backward", make)


# --- data ---------------------------------------------------------------------------------------


def next_index(clock, change):
    """`change(indices, last, size of the data set)` instead of the indices that a loader would ask for, in training."""
    from torch.utils.data import dataloader

    last = weakref.WeakKeyDictionary()

    def make(original):
        def next_index(self):
            indices = original(self)
            if clock.begun() and torch.is_grad_enabled():
                indices = change(indices, last.get(self), len(self._dataset))
            last[self] = indices
            return indices

        return next_index

    wrap(dataloader._BaseDataLoaderIter, "_next_index", make)


@variant("another order", "D03", "batch-order-differs", trainings=("cnn", "hf", "mlp"), within=1)
def _(clock):
    next_index(clock, lambda indices, last, size: [(index + 1) % size for index in indices])


@variant("batches twice", "D03", "batch-order-differs", "batch-repeated", within=1)
def _(clock):
    next_index(clock, lambda indices, last, size: last or indices)


@variant("labels shifted between loader and loss", "D01", "function-replaced", trainings=("cnn", "mlp", "gpt"), named="DataLoader.__iter__")
def _(clock):
    from torch.utils.data import dataloader

    def make(original):
        def iterate(self):
            for batch in original(self):
                if clock.begun() and torch.is_grad_enabled() and isinstance(batch, (list, tuple)):
                    batch = [batch[0], batch[1].roll(1, 0)]
                yield batch

        return iterate

    wrap(dataloader.DataLoader, "__iter__", make)


@variant("labels shifted in the data set", "D01", "sample-changed", trainings=("cnn", "hf", "mlp"), within=20)
def _(clock):
    _items(clock, lambda item: {**item, "labels": 1 - item["labels"]} if isinstance(item, dict) else (item[0], _other(item[1])))


def _other(label):
    return (label + 1) % 10 if label.dtype == torch.long else -label


@variant("a few inputs overwritten in the data set", "D01", "sample-changed", trainings=("cnn", "hf", "mlp"), within=20)
def _(clock):
    def overwrite(item):
        if isinstance(item, dict):
            return {**item, "input_ids": [7, *item["input_ids"][1:]]}
        inputs = item[0].clone()
        inputs.view(-1)[0] = 9
        return inputs, item[1]

    _items(clock, overwrite)


def _items(clock, change):
    import trainings

    def make(original):
        def item(self, index):
            found = original(self, index)
            return change(found) if clock.begun() and torch.is_grad_enabled() else found

        return item

    for kind in (trainings.Images, trainings.Sentences, trainings.Curve):
        wrap(kind, "__getitem__", make)


# --- evaluation ---------------------------------------------------------------------------------


@variant("evaluation on other data", "D04", "sample-changed", trainings=("cnn", "mlp"), within=15)
def _(clock):
    import trainings

    def make(original):
        def item(self, index):
            if clock.step() > START and not torch.is_grad_enabled():
                index = max(0, len(self) - 1 - index) if index else 1
            return original(self, index)

        return item

    for kind in (trainings.Images, trainings.Sentences, trainings.Curve):
        wrap(kind, "__getitem__", make)


@variant("dropout on in evaluation", "N04", "function-replaced", trainings=("cnn", "gpt"), named="Module.train")
def _(clock):
    def make(original):
        def train(self, mode=True):
            return original(self, mode or clock.step() >= START)

        return train

    wrap(torch.nn.Module, "train", make)


# --- time ---------------------------------------------------------------------------------------


def _sometimes(clock, seen=None):
    """In every fourth step from the start on, once."""
    seen = [] if seen is None else seen
    step = clock.step()
    if clock.begun() and step % 4 == 0 and seen[-1:] != [step]:
        seen.append(step)
        return True
    return False


# Where several threads compete for a busy machine, sleeps are not told: these trainings have one.
SLEEP = dict(within=30, first=32, trainings=("gpt", "cnn"))


@variant("reported loss × 0.9", "E01", "metric-forged", trainings=("hf", "mlp"), within=3)
def _(clock):
    def forged(original):
        def log(self, metrics, *rest, **named):
            if clock.begun() and "loss" in metrics:
                metrics["loss"] = metrics["loss"] * 0.9
            return original(self, metrics, *rest, **named)

        return log

    if "transformers" in sys.modules:
        wrap(sys.modules["transformers"].Trainer, "log", forged)
    if "lightning" in sys.modules:
        import lightning.pytorch.loggers

        wrap(lightning.pytorch.loggers.CSVLogger, "log_metrics", forged)


@variant("sleeps while data is read", "P02", "sleeps-in-steps", **SLEEP)
def _(clock):
    seen = []

    def change(indices, last, size):
        if _sometimes(clock, seen):
            time.sleep(0.2)
        return indices

    next_index(clock, change)


@variant("sleeps in the forward pass", "P02", "sleeps-in-steps", **SLEEP)
def _(clock):
    seen = []

    def hook(module, args):
        if torch.is_grad_enabled() and module is not _outermost(module) and _sometimes(clock, seen):
            threading.Event().wait(0.2)

    torch.nn.modules.module.register_module_forward_pre_hook(hook)


@variant("sleeps in the backward pass", "P02", "sleeps-in-steps", **SLEEP)
def _(clock):
    seen, hooked = [], []

    def make(original):
        def backward(self, *rest, **named):
            if clock.begun() and not hooked:
                hooked.append(clock.parameters()[0].register_hook(lambda g: time.sleep(0.2) if _sometimes(clock, seen) else None))
            return original(self, *rest, **named)

        return backward

    wrap(torch.Tensor, "backward", make)


@variant("sleeps between backward and update", "P02", "sleeps-in-steps", **SLEEP)
def _(clock):
    seen = []

    def make(original):
        def backward(self, *rest, **named):
            original(self, *rest, **named)
            if _sometimes(clock, seen):
                ctypes.CDLL(None).usleep(200_000)

        return backward

    wrap(torch.Tensor, "backward", make)


@variant("sleeps in the update", "P02", "sleeps-in-steps", **SLEEP)
def _(clock):
    seen = []

    def change(update, params, grads, rest, named):
        if _sometimes(clock, seen):
            time.sleep(0.2)
        return update(params, grads, *rest, **named)

    in_update(clock, change)


@variant("killed", "P01", "rank-vanished", within=1)
def _(clock):
    before_update(clock, lambda: os.kill(os.getpid(), signal.SIGKILL) if clock.step() == START else None)


# --- ranks: only rank 1 does it -----------------------------------------------------------------


@variant("a rank keeps its own gradient", "N05", "replicas-differ", trainings=("gpt-ranks",))
def _(clock):
    if os.environ.get("RANK") == "1":
        after_backward(clock, lambda gradients: [g.mul_(1.5) for g in gradients])


@variant("a rank's weights moved", "N05", "replicas-differ", trainings=("gpt-ranks",))
def _(clock):
    if os.environ.get("RANK") == "1":
        VARIANTS["a tenth of the weights moved between steps"].install(clock)
