"""Benign samples that torch saves."""

import argparse
import collections
import copy
import datetime
import enum
import io
import pathlib
import pickle
import random
from dataclasses import dataclass, field

import numpy
import torch
from torch import nn

from benign import maker

torch.manual_seed(7)
random.seed(7)


def both(folder, name, value):
    """In today's format, and in the old one."""
    torch.save(value, folder / f"{name}.pt")
    torch.save(value, folder / f"{name}.legacy.pth", _use_new_zipfile_serialization=False)


MODULES = {
    "linear": lambda: nn.Linear(3, 4),
    "convolution": lambda: nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU()),
    "convolution3": lambda: nn.ConvTranspose3d(1, 2, 2),
    "lstm": lambda: nn.LSTM(4, 5, 2, bidirectional=True),
    "gru": lambda: nn.GRU(4, 5),
    "embedding": lambda: nn.EmbeddingBag(10, 3),
    "transformer": lambda: nn.TransformerEncoderLayer(8, 2, 16),
    "attention": lambda: nn.MultiheadAttention(8, 2),
    "norms": lambda: nn.ModuleDict({"a": nn.LayerNorm(4), "b": nn.GroupNorm(2, 4), "c": nn.RMSNorm(4)}),
    "parameters": lambda: nn.ParameterList([nn.Parameter(torch.randn(2)) for _ in range(3)]),
    "tied": lambda: tied(),
    "weight_norm": lambda: nn.utils.parametrizations.weight_norm(nn.Linear(3, 3)),
    "bilinear": lambda: nn.Bilinear(2, 3, 4),
    "identity": lambda: nn.Identity(),
    "instance": lambda: nn.InstanceNorm2d(3, affine=True, track_running_stats=True),
    "prelu": lambda: nn.Sequential(nn.PReLU(), nn.Softmax(dim=1), nn.Dropout(0.1), nn.GELU(), nn.Flatten()),
}


def tied():
    net = nn.Sequential(nn.Embedding(6, 4), nn.Linear(4, 6, bias=False))
    net[1].weight = net[0].weight
    return net


@maker("torch_states")
def state_dicts(folder):
    for name, make in MODULES.items():
        both(folder, name, make().state_dict())


@maker("torch_whole")
def whole_modules(folder):
    for name, make in MODULES.items():
        if name != "weight_norm":
            torch.save(make(), folder / f"{name}.pt")
    torch.save(nn.Linear(2, 2), folder / "old.pth", _use_new_zipfile_serialization=False)
    torch.save(nn.CrossEntropyLoss(label_smoothing=0.1), folder / "loss.pt")


@maker("torch_tensors")
def tensors(folder):
    kinds = [torch.float64, torch.float16, torch.bfloat16, torch.int8, torch.int16, torch.int32, torch.int64]
    kinds += [torch.uint8, torch.uint16, torch.uint32, torch.uint64, torch.bool, torch.complex64, torch.complex128]
    kinds += [torch.float8_e4m3fn, torch.float8_e5m2, torch.float8_e8m0fnu]
    for kind in kinds:
        value = torch.zeros(3, 2).to(kind)
        torch.save({"x": value, "kind": kind}, folder / f"{str(kind).split('.')[1]}.pt")
    torch.save(torch.randn(2, 3).to_sparse(), folder / "sparse.pt")
    torch.save(torch.randn(4, 4).to_sparse_csr(), folder / "csr.pt")
    torch.save(torch.randn(4, 4).to_sparse_csc(), folder / "csc.pt")
    torch.save(torch.quantize_per_tensor(torch.randn(4), 0.1, 2, torch.qint8), folder / "quantized.pt")
    channels = torch.quantize_per_channel(torch.randn(2, 2), torch.ones(2), torch.zeros(2), 0, torch.quint8)
    torch.save(channels, folder / "channels.pt")
    torch.save(torch.nested.nested_tensor([torch.ones(2), torch.ones(3)]), folder / "nested.pt")
    torch.save(torch.empty(3, 4, device="meta"), folder / "meta.pt")
    base = torch.randn(10)
    both(folder, "views", {"a": base[2:5], "b": base[::2], "c": base.view(2, 5).t(), "all": base})
    torch.save(nn.Parameter(torch.ones(2)), folder / "parameter.pt")
    torch.save(nn.Buffer(torch.ones(2)), folder / "buffer.pt")
    torch.save(torch.randn(3, requires_grad=True), folder / "gradient.pt")
    torch.save(torch.randn(3).conj(), folder / "conjugate.pt")
    torch.save(torch.tensor([1 + 2j]).conj(), folder / "conjugate2.pt")
    torch.save(torch.FloatStorage([1.0, 2.0]), folder / "storage.pt")
    torch.save(torch.UntypedStorage(8), folder / "untyped.pt")
    torch.save(torch.Size([1, 2]), folder / "size.pt")
    torch.save([torch.device("cpu"), torch.float16, torch.Size([2])], folder / "things.pt")
    torch.save(torch.iinfo(torch.int8).max, folder / "number.pt")
    torch.save(torch.finfo(torch.float32).eps, folder / "finfo.pt")


OPTIMIZERS = {
    "sgd": lambda p: torch.optim.SGD(p, 0.1, momentum=0.9, nesterov=True),
    "adam": lambda p: torch.optim.Adam(p, 0.1, amsgrad=True),
    "adamw": lambda p: torch.optim.AdamW(p, 0.1, foreach=True),
    "adagrad": lambda p: torch.optim.Adagrad(p, 0.1),
    "adadelta": lambda p: torch.optim.Adadelta(p),
    "adamax": lambda p: torch.optim.Adamax(p),
    "rmsprop": lambda p: torch.optim.RMSprop(p, centered=True),
    "rprop": lambda p: torch.optim.Rprop(p),
    "nadam": lambda p: torch.optim.NAdam(p),
    "radam": lambda p: torch.optim.RAdam(p),
    "asgd": lambda p: torch.optim.ASGD(p),
    "lbfgs": lambda p: torch.optim.LBFGS(p),
    "adafactor": lambda p: torch.optim.Adafactor(p),
    "capturable": lambda p: torch.optim.Adam(p, torch.tensor(0.1)),
}


def stepped(make):
    net = nn.Linear(3, 2)
    optimizer = make(net.parameters())

    def closure():
        optimizer.zero_grad()
        loss = net(torch.ones(4, 3)).square().sum()
        loss.backward()
        return loss

    for _ in range(2):
        optimizer.step(closure)
    return net, optimizer


@maker("torch_optimizers")
def optimizers(folder):
    for name, make in OPTIMIZERS.items():
        torch.save(stepped(make)[1].state_dict(), folder / f"{name}.pt")
    torch.save(stepped(OPTIMIZERS["sgd"])[1].state_dict(), folder / "old.pth", _use_new_zipfile_serialization=False)
    for name in ("sgd", "adam", "adamw", "rmsprop"):
        torch.save(stepped(OPTIMIZERS[name])[1], folder / f"whole_{name}.pt")


@maker("torch_schedulers")
def schedulers(folder):
    rates = torch.optim.lr_scheduler
    makers = {
        "step": lambda o: rates.StepLR(o, 2),
        "multi": lambda o: rates.MultiStepLR(o, [1, 3]),
        "exponential": lambda o: rates.ExponentialLR(o, 0.9),
        "cosine": lambda o: rates.CosineAnnealingLR(o, 10),
        "restarts": lambda o: rates.CosineAnnealingWarmRestarts(o, 5),
        "plateau": lambda o: rates.ReduceLROnPlateau(o),
        "cycle": lambda o: rates.OneCycleLR(o, 0.1, total_steps=10),
        "cyclic": lambda o: rates.CyclicLR(o, 0.01, 0.1),
        "linear": lambda o: rates.LinearLR(o),
        "polynomial": lambda o: rates.PolynomialLR(o),
        "lambda": lambda o: rates.LambdaLR(o, lambda step: 0.9**step),
        "sequential": lambda o: rates.SequentialLR(o, [rates.ConstantLR(o), rates.ExponentialLR(o, 0.9)], [2]),
        "chained": lambda o: rates.ChainedScheduler([rates.ConstantLR(o), rates.ExponentialLR(o, 0.9)]),
    }
    for name, make in makers.items():
        optimizer = stepped(OPTIMIZERS["sgd"])[1]
        scheduler = make(optimizer)
        scheduler.step(*([0.5] if name == "plateau" else []))
        torch.save(scheduler.state_dict(), folder / f"{name}.pt")


class Phase(enum.Enum):
    WARM = "warm"
    COLD = 2


class Level(enum.IntEnum):
    LOW = 1
    HIGH = 2


class Flag(enum.Flag):
    A = 1
    B = 2


Point = collections.namedtuple("Point", "x y")


@dataclass
class Settings:
    width: int = 4
    names: list = field(default_factory=lambda: ["a"])


class Meter:
    def __init__(self):
        self.values = collections.deque([1, 2], 10)


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.body = nn.Sequential(nn.Linear(2, 2), nn.ReLU())
        self.settings = Settings()

    def forward(self, x):
        return self.body(x)


@maker("torch_training")
def training_states(folder):
    net, optimizer = stepped(OPTIMIZERS["adamw"])
    scaler = torch.amp.GradScaler("cpu")
    scheduler = torch.optim.lr_scheduler.StepLR(optimizer, 2)
    state = {
        "epoch": 3,
        "model": net.state_dict(),
        "optimizer": optimizer.state_dict(),
        "scheduler": scheduler.state_dict(),
        "scaler": scaler.state_dict(),
        "best": float("inf"),
        "loss": torch.tensor(0.25),
        "history": [{"loss": 1.0}, {"loss": 0.5}],
    }
    both(folder, "full", state)
    both(
        folder,
        "namespace",
        state | {"args": argparse.Namespace(lr=0.1, path=pathlib.PurePosixPath("/data"), devices=[0, 1])},
    )
    rng = {
        "python": random.getstate(),
        "numpy": numpy.random.get_state(),
        "torch": torch.get_rng_state(),
        "generator": numpy.random.default_rng(1).bit_generator.state,
        "cuda": [],
    }
    both(folder, "rng", rng)


@maker("torch_training")
def values_in_checkpoints(folder):
    """Whatever else people put into a checkpoint."""
    torch.save({"generator": torch.Generator().get_state()}, folder / "generator.pt")
    torch.save(
        {
            "when": datetime.datetime(2026, 1, 2, 3, 4, 5),
            "day": datetime.date(2026, 1, 2),
            "took": datetime.timedelta(1),
        },
        folder / "dates.pt",
    )
    torch.save({"zone": datetime.datetime.now(datetime.timezone.utc)}, folder / "zone.pt")
    torch.save(
        {
            "a": collections.Counter("abca"),
            "b": collections.defaultdict(list, {"x": [1]}),
            "c": collections.deque([1], 5),
        },
        folder / "collections.pt",
    )
    torch.save(
        {"defaults": collections.defaultdict(int, a=1), "of_dicts": collections.defaultdict(dict)},
        folder / "defaultdict.pt",
    )
    torch.save(
        {
            "numpy": numpy.float64(1.5),
            "array": numpy.arange(6).reshape(2, 3),
            "int": numpy.int64(3),
            "bool": numpy.bool_(True),
        },
        folder / "numpy.pt",
    )
    torch.save(
        {
            "sets": {1, 2},
            "frozen": frozenset("ab"),
            "complex": 1 + 2j,
            "range": range(3),
            "slice": slice(1, 2),
            "bytes": b"ab",
            "array": bytearray(b"x"),
        },
        folder / "builtins.pt",
    )
    torch.save(
        {
            "path": pathlib.PurePosixPath("a/b"),
            "posix": pathlib.Path("a"),
            "ellipsis": ...,
            "none": None,
            "not": NotImplemented,
        },
        folder / "paths.pt",
    )
    import decimal
    import fractions
    import uuid

    torch.save(
        {"d": decimal.Decimal("1.5"), "f": fractions.Fraction(1, 3), "u": uuid.UUID(int=5)}, folder / "numbers.pt"
    )


@maker("torch_training")
def protocols(folder):
    net, optimizer = stepped(OPTIMIZERS["adamw"])
    state = {"epoch": 3, "model": net.state_dict(), "optimizer": optimizer.state_dict()}
    torch.save({}, folder / "empty.pt")
    torch.save(None, folder / "none.pt")
    torch.save({f"layer.{n}.weight": torch.zeros(1) for n in range(3000)}, folder / "many.pt")
    (folder / "protocol4.pt").write_bytes(saved(net.state_dict(), 4))
    (folder / "protocol5.pt").write_bytes(saved(state, 5))
    (folder / "pickled.pkl").write_bytes(pickle.dumps(net.state_dict()))
    (folder / "pickled2.pkl").write_bytes(pickle.dumps(state, 2))
    (folder / "averaged.pt").write_bytes(saved(torch.optim.swa_utils.AveragedModel(net).state_dict(), 2))


def saved(value, protocol):
    buffer = io.BytesIO()
    torch.save(value, buffer, pickle_protocol=protocol)
    return buffer.getvalue()


@maker("torch_training")
def suspicious_words(folder):
    """Texts of data sets and notes are only texts."""
    words = [
        "os.system('rm -rf /')",
        "__import__('os')",
        "eval",
        "exec(compile(x))",
        "subprocess.Popen",
        "cos\nsystem\n(S'ls'\ntR.",
    ]
    both(
        folder,
        "strings",
        {"prompts": words, "posix system": 1, "builtins": {"eval": [0.5]}, "code": "import os\nos.system('x')"},
    )
    (folder / "vocabulary.pkl").write_bytes(
        pickle.dumps({word: number for number, word in enumerate(words + ["<pad>"])})
    )
    (folder / "bytes.pkl").write_bytes(
        pickle.dumps({"raw": b"\x80\x04N.", "more": b"cos\nsystem", "hash": bytes(range(256))})
    )
    numpy.save(folder / "words.npy", numpy.array(words))
    torch.save(
        {"os": {"system": "linux"}, "sys.modules": ["torch"], "args": {"cmd": "python -c 'print(1)'"}},
        folder / "keys.pt",
    )


@maker("torch_custom", expect="custom")
def custom_classes(folder):
    torch.save(Net(), folder / "module.pt")
    torch.save(Net(), folder / "module.legacy.pth", _use_new_zipfile_serialization=False)
    torch.save({"model": Net().state_dict(), "settings": Settings()}, folder / "dataclass.pt")
    torch.save({"phase": Phase.WARM, "level": Level.HIGH, "flag": Flag.A | Flag.B}, folder / "enums.pt")
    torch.save({"point": Point(1, 2)}, folder / "namedtuple.pt")
    torch.save({"meter": Meter()}, folder / "meter.pt")
    (folder / "settings.pkl").write_bytes(pickle.dumps([Settings(), Phase.COLD]))
    (folder / "meter4.pkl").write_bytes(pickle.dumps({"m": Meter(), "p": Point(3, 4)}, 4))


@maker("torch_code")
def scripted(folder):
    net = nn.Sequential(nn.Linear(2, 3), nn.ReLU(), nn.Linear(3, 1))
    torch.jit.save(torch.jit.script(net), str(folder / "script.pt"))
    torch.jit.save(torch.jit.trace(net, torch.ones(1, 2)), str(folder / "trace.pt"))
    frozen = torch.jit.freeze(torch.jit.script(net.eval()))
    torch.jit.save(frozen, str(folder / "frozen.pt"), _extra_files={"config.json": b"{}"})
    lstm = torch.jit.script(nn.LSTM(2, 2))
    torch.jit.save(lstm, str(folder / "lstm.ptl"))
    # Scripting leaves marks on the modules themselves.
    torch.save(net, folder / "after_scripting.pt")


@maker("torch_code")
def exported(folder):
    net = nn.Sequential(nn.Linear(2, 3), nn.ReLU())
    program = torch.export.export(net, (torch.ones(1, 2),))
    torch.export.save(program, str(folder / "net.pt2"))
    program = torch.export.export(nn.Conv1d(1, 2, 2), (torch.ones(1, 1, 4),))
    torch.export.save(program, str(folder / "convolution.pt2"))


@maker("torch_dcp", per_file=False)
def distributed(folder):
    import torch.distributed.checkpoint as dcp

    net, optimizer = stepped(OPTIMIZERS["adamw"])
    state = {"model": net.state_dict(), "optimizer": optimizer.state_dict(), "step": 7, "note": ["a", {"b": 1}]}
    dcp.save(state, checkpoint_id=folder)


@maker("torch_dcp", per_file=False)
def distributed_sharded(folder):
    import torch.distributed.checkpoint as dcp

    writer = dcp.FileSystemWriter(folder, single_file_per_rank=False)
    dcp.save(
        {"app": {"w": torch.randn(20, 20), "rng": torch.get_rng_state(), "lr": 0.1, "when": numpy.float64(2)}},
        storage_writer=writer,
    )


@maker("torch_fsdp")
def fsdp_like(folder):
    """What FSDP and tensor parallelism leave: flat parameters and shapes, a file a rank."""
    for rank in range(2):
        flat = {"_fsdp_wrapped_module.flat_param": torch.randn(64), "shapes": [torch.Size([8, 8])], "rank": rank}
        torch.save(flat, folder / f"model_rank{rank}.pt")
    torch.save(
        {
            "state": {"a.weight": {"exp_avg": torch.zeros(3), "step": torch.tensor(2.0)}},
            "param_groups": [{"params": ["a.weight"]}],
        },
        folder / "optim.pt",
    )


@maker("torch_package", expect="any")
def packaged(folder):
    """A package carries source code: it is examined, and never called clean by mistake; any honest answer will do."""
    with torch.package.PackageExporter(str(folder / "net.package.pt")) as out:
        out.extern(["torch.**", "collections", "_operator", "math"])
        out.save_pickle("model", "model.pkl", nn.Linear(2, 2))
        out.save_text("notes", "a.txt", "text")


@maker("torch_misc")
def more(folder):
    torch.save(copy.deepcopy(MODULES["lstm"]()).flatten_parameters(), folder / "nothing.pt")
    quantized = torch.ao.quantization.quantize_dynamic(nn.Sequential(nn.Linear(4, 4)), {nn.Linear}, torch.qint8)
    torch.save(quantized.state_dict(), folder / "dynamic.pt")
    torch.save({"data": torch.utils.data.TensorDataset(torch.ones(3, 2))}, folder / "dataset.pt")
    torch.save({"x": torch.ones(1).numpy(), "hooks": collections.OrderedDict()}, folder / "hooks.pt")
    torch.save([torch.optim.swa_utils.get_ema_multi_avg_fn is not None, "ema"], folder / "flags.pt")
    (folder / "tensors.pkl").write_bytes(pickle.dumps([torch.ones(2), torch.zeros(1, dtype=torch.int8)]))
    (folder / "tensors4.pkl").write_bytes(pickle.dumps({"w": torch.randn(3, 3)}, 4))
    (folder / "linear.pkl").write_bytes(pickle.dumps(nn.Linear(2, 2)))
