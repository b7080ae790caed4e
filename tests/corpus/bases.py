"""Honest checkpoints, saved by the real packages, into which the malicious generators put their programs."""

import io
import pickle
import random


def torch_bases():
    import torch

    def saved(value, **options):
        buffer = io.BytesIO()
        torch.save(value, buffer, **options)
        return buffer.getvalue()

    torch.manual_seed(1)
    net = torch.nn.Sequential(torch.nn.Linear(4, 8), torch.nn.BatchNorm1d(8), torch.nn.ReLU(), torch.nn.Linear(8, 2))
    adam = torch.optim.AdamW(net.parameters(), 1e-3)
    schedule = torch.optim.lr_scheduler.StepLR(adam, 3)
    for _ in range(2):
        net(torch.randn(5, 4)).sum().backward()
        adam.step()
        schedule.step()
    state = net.state_dict()
    whole = {
        "epoch": 3,
        "model": state,
        "optimizer": adam.state_dict(),
        "scheduler": schedule.state_dict(),
        "rng": torch.get_rng_state(),
        "args": {"lr": 1e-3, "name": "run"},
    }
    lightning = {
        "epoch": 1,
        "global_step": 20,
        "pytorch-lightning_version": "2.6.6",
        "state_dict": state,
        "loops": {"fit_loop": {"state_dict": {}}},
        "callbacks": {"ModelCheckpoint{}": {"best_model_path": "a.ckpt"}},
        "optimizer_states": [adam.state_dict()],
        "lr_schedulers": [schedule.state_dict()],
        "hyper_parameters": {"width": 8},
    }
    values = {"state": state, "whole": whole, "lightning": lightning, "optimizer": adam.state_dict()}
    values |= {"scheduler": schedule.state_dict(), "rng": {"cpu": torch.get_rng_state(), "python": random.getstate()}}
    zipped = {key: saved(value) for key, value in values.items()}
    legacy = {key: saved(value, _use_new_zipfile_serialization=False) for key, value in values.items()}
    return zipped, legacy


def pickle_bases():
    import numpy
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    x = numpy.random.RandomState(0).rand(20, 3)
    pipeline = make_pipeline(StandardScaler(), LogisticRegression()).fit(x, [0, 1] * 10)
    values = {
        "sklearn": pipeline,
        "metrics": {"loss": [0.5, 0.25], "step": 10, "note": "fine", "shape": (3, 4), "ok": True},
        "array": {"w": x, "b": numpy.float64(1.5), "names": ["a", "b"]},
        "rng": random.Random(3).getstate(),
        "vocabulary": {f"token{number}": number for number in range(200)},
    }
    return {
        f"{key}-{protocol}": pickle.dumps(value, protocol)
        for key, value in values.items()
        for protocol in (0, 2, 3, 4, 5)
    }


def metadata_base():
    """A real `.metadata` and a real `.distcp` item of torch's distributed checkpoints."""
    import tempfile
    import warnings
    from pathlib import Path

    import torch
    import torch.distributed.checkpoint as dcp

    with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        state = {"model": {"w": torch.ones(3, 2)}, "step": 7, "extra": {"a": [1, 2]}}
        dcp.save(state, checkpoint_id=folder)
        return {path.name: path.read_bytes() for path in Path(folder).iterdir()}


def build():
    """All of them, as `kind → name → bytes`."""
    zipped, legacy = torch_bases()
    return {"torch": zipped, "legacy": legacy, "pickle": pickle_bases(), "dcp": {"it": metadata_base()}}


def load(cache):
    """The bases, made once for the packages at hand."""
    if cache.is_file():
        return pickle.loads(cache.read_bytes())
    made = build()
    cache.parent.mkdir(parents=True, exist_ok=True)
    cache.write_bytes(pickle.dumps(made))
    return made
