"""What a load would do is known before it is done, and with `--refuse-dangerous` it is not done."""

import json

from conftest import rules, words

# Everything that loads, each with a payload that would leave a marker; then honest loads, which must work.
LOADS = """
    import io, os, pickle, sys
    from pickle import Unpickler, load as early_load
    import numpy, torch
    import torch.distributed.checkpoint as dcp

    marker = sys.argv[1]

    class Payload:
        def __reduce__(self):
            return (os.system, (f"touch {marker}",))

    torch.save({"w": torch.ones(3), "p": Payload()}, "bad.pt")
    torch.save({"p": Payload()}, "old.pt", _use_new_zipfile_serialization=False)
    data = pickle.dumps([1, Payload()])
    open("bad.pkl", "wb").write(data)
    numpy.save("bad.npy", numpy.array([Payload()], dtype=object), allow_pickle=True)

    attempts = {
        "torch.load": lambda: torch.load("bad.pt", weights_only=False),
        "torch.load of an open file": lambda: torch.load(open("bad.pt", "rb"), weights_only=False),
        "torch.load of bytes": lambda: torch.load(io.BytesIO(open("bad.pt", "rb").read()), weights_only=False),
        "torch.load of the old format": lambda: torch.load("old.pt", weights_only=False),
        "pickle.load": lambda: pickle.load(open("bad.pkl", "rb")),
        "pickle.load, imported early": lambda: early_load(open("bad.pkl", "rb")),
        "pickle.loads": lambda: pickle.loads(data),
        "Unpickler": lambda: Unpickler(io.BytesIO(data)).load(),
        "Unpickler in Python": lambda: pickle._Unpickler(io.BytesIO(data)).load(),
        "numpy.load": lambda: numpy.load("bad.npy", allow_pickle=True),
    }
    for name, attempt in attempts.items():
        try:
            attempt()
            print("LOADED", name)
        except RuntimeError as error:
            assert type(error).__name__ == "RefusedLoad", error
            assert "runs a command" in str(error), error
            print("refused", name)

    model = torch.nn.Linear(2, 2)
    torch.save({"model": model.state_dict(), "step": 3}, "good.pt")
    assert torch.load("good.pt")["step"] == 3
    assert pickle.loads(pickle.dumps({"a": torch.ones(2)}))["a"].sum() == 2
    dcp.save(model.state_dict(), checkpoint_id="sharded")
    dcp.load(model.state_dict(), checkpoint_id="sharded")
    data = torch.utils.data.TensorDataset(torch.arange(8.0))
    loader = torch.utils.data.DataLoader(data, batch_size=2, num_workers=1)
    print("sum", sum(batch[0].sum().item() for batch in loader))
"""


def test_nothing_dangerous_is_loaded_by_any_way_and_the_rest_is(world):
    marker = world.folder / "marker"
    job = world.script(LOADS)
    done = world.guarded(world.python, job, marker, options=["--refuse-dangerous"])
    assert done.code == 1, done
    lines = done.out.splitlines()
    assert sum(line.startswith("refused ") for line in lines) == 10, done
    assert "sum 28.0" in lines, done
    assert not marker.exists()
    view = world.show()
    assert set(rules(view)) == {"checkpoint-runs-code"}
    told = "\n".join(words(finding) for finding in view["findings"])
    assert "torch.load was not carried out" in told and str(world.folder / "bad.pt") in told


def test_without_it_a_load_is_recorded_with_what_it_would_do(world):
    job = world.script(
        """
        import os, torch

        class Asks:
            def __reduce__(self):
                return (os.getppid, ())

        torch.save({"p": Asks(), "w": torch.ones(2)}, "asks.pt")
        torch.save({"w": torch.ones(2), "step": 1}, "plain.pt")
        torch.load("plain.pt")
        torch.load("asks.pt", weights_only=False)
        """
    )
    done = world.guarded(world.python, job)
    assert done.code == 1, done
    view = world.show()
    (finding,) = view["findings"]
    assert finding["rule"] == "checkpoint-runs-code" and "asks.pt" in finding["path"]
    assert "nothing was held up" in words(finding)
    loads = {load["path"].rpartition("/")[2]: load for load in view["loads"] if load["kind"] == "checkpoint"}
    assert loads["plain.pt"]["inside"] == "no code"
    assert "getppid" in loads["asks.pt"]["inside"]
    assert json.dumps(view)
