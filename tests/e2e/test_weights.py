"""Checkpoints as files: compared on every element, and converted to a form without code."""

import json

import pytest
import torch
from conftest import BINARY
from safetensors.torch import load_file


@pytest.fixture
def pair(world):
    """Two checkpoints of a small model, a step apart, with one tensor changed by hand."""
    torch.manual_seed(0)
    model = torch.nn.Sequential(torch.nn.Linear(20, 30), torch.nn.BatchNorm1d(30), torch.nn.Linear(30, 2))
    optimizer = torch.optim.AdamW(model.parameters())
    model(torch.randn(4, 20)).sum().backward()
    optimizer.step()
    shared = torch.randn(50, 40)
    content = {
        "model": model.state_dict(),
        "optimizer": optimizer.state_dict(),
        "step": 7,
        "turned": shared.t(),
        "strided": shared[::2, 1:30:3],
        "tied": [shared, shared],
        "parameter": torch.nn.Parameter(torch.ones(3)),
        "half": shared.to(torch.bfloat16),
        "numbers": {1: 2**80, 2: float("nan"), 3: -0.5, 4: (True, None)},
        "$odd": {"bytes": b"\x00\xff", "size": shared.shape, "dtype": torch.float16, "device": torch.device("cpu")},
    }
    torch.save(content, world.folder / "a.pt")
    with torch.no_grad():
        model[0].weight.mul_(-0.5)
        model[2].bias[1] += 0.25
    torch.save({**content, "step": 9}, world.folder / "b.pt")
    return content


def test_a_difference_is_measured_on_every_element(world, pair):
    view = world.diff("./a.pt", "./b.pt")
    assert view["steps"] == [7, 9] and view["added"] == view["removed"] == []
    changed = {change["name"]: change for change in view["changed"]}
    assert set(changed) == {"model.0.weight", "model.2.bias"}
    weight = changed["model.0.weight"]
    assert weight["elements_changed"] == 600 and abs(weight["relative"] - 1.5) < 1e-6
    assert abs(weight["factor"] + 0.5) < 1e-6 and abs(weight["cosine"] + 1) < 1e-6
    bias = changed["model.2.bias"]
    assert bias["elements_changed"] == 1 and abs(bias["largest"] - 0.25) < 1e-6
    assert [change["name"] for change in view["scalars"]] == ["step"]
    plain = world.taintline("diff", "a.pt", "b.pt").out
    assert "model.0.weight" in plain and "× -0.500000" in plain


def test_what_was_converted_is_what_torch_loads(world, pair):
    world.taintline("convert", "a.pt")
    loaded = torch.load(world.folder / "a.pt", weights_only=True)
    tensors = load_file(world.folder / "a.safetensors")
    text = json.loads((world.folder / "a.json").read_text())
    assert text["tensors"] == "a.safetensors"
    assert rebuild(text["structure"], tensors, loaded) > 20


def test_nothing_is_overwritten_and_what_is_no_data_is_refused(world, pair):
    (world.folder / "a.json").write_text("mine")
    assert "there already" in world.taintline("convert", "a.pt", code=2).err
    assert (world.folder / "a.json").read_text() == "mine"
    torch.save({"module": torch.nn.Linear(2, 2)}, world.folder / "module.pt")
    done = world.start([BINARY, "convert", "module.pt"]).finish()
    # A module of torch is nothing dangerous, and no plain data either: no finding, so nothing but an input that does not fit.
    assert done.code == 2 and "not converted" in done.err, done
    assert not list(world.folder.glob("module.*s*")), "nothing is left behind"


def rebuild(written, tensors, loaded):
    """Compares what was written with what torch loads, and counts the tensors."""
    if isinstance(loaded, torch.Tensor):
        (name,) = written.values()
        assert torch.equal(tensors[name], loaded) and tensors[name].dtype == loaded.dtype
        assert ("$parameter" in written) == isinstance(loaded, torch.nn.Parameter)
        return 1
    if isinstance(loaded, dict):
        pairs = dict_of(written)
        assert set(pairs) == set(loaded)
        return sum(rebuild(pairs[key], tensors, value) for key, value in loaded.items())
    if isinstance(loaded, torch.Size):
        assert written == {"$size": list(loaded)}
    elif isinstance(loaded, (list, tuple)):
        items = written["$tuple"] if isinstance(loaded, tuple) else written
        assert len(items) == len(loaded)
        return sum(rebuild(item, tensors, value) for item, value in zip(items, loaded))
    elif isinstance(loaded, bytes):
        assert bytes.fromhex(written["$bytes"]) == loaded
    elif isinstance(loaded, float) and loaded != loaded:
        assert written == {"$float": "NaN"}
    elif isinstance(loaded, int) and abs(loaded) >= 2**63:
        assert int.from_bytes(bytes.fromhex(written["$int"]), "little", signed=True) == loaded
    elif isinstance(loaded, torch.dtype):
        assert written == {"$name": str(loaded)}
    elif isinstance(loaded, torch.device):
        assert written == {"$device": [str(loaded)]}
    else:
        assert written == loaded and type(written) is type(loaded)
    return 0


def dict_of(written):
    return {key: value for key, value in written["$dict"]} if "$dict" in written else written
