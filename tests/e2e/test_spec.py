"""The declared run: learnt from a good one, a run that is as declared has no finding, each that is not is told by name.

Few runs with much in each: a start under guard costs seconds. One process trains all the variants as forked children, each a
process of its own to the supervisor.
"""

import json
import os
import subprocess

import pytest
from conftest import PYTHON, TINY, TRAIN, World, gaps, rules, words

STEPS = 8
# Plain PyTorch: data from a file, a shuffled loader, AdamW in two groups, warm-up and cosine, accumulation.
JOB = """
    import json, os, sys
    import torch

    F = torch.nn.functional
    options = json.loads(sys.argv[1]) if len(sys.argv) > 1 else {}

    def train(seed=0, order=1, lr=1e-3, betas=(0.9, 0.95), decay=0.1, accumulate=2, roll=0, boost=None, steps=8, dropout=0.1,
              dtype="float32"):
        torch.set_num_threads(1)
        torch.manual_seed(seed)
        numbers = torch.tensor([float(word) for word in open("data.txt").read().split()])
        inputs, labels = numbers.view(-1, 8), (numbers.view(-1, 8).sum(1) * 7).long() % 5
        labels = labels.roll(roll)
        model = torch.nn.Sequential(torch.nn.Linear(8, 24), torch.nn.Tanh(), torch.nn.Dropout(dropout), torch.nn.Linear(24, 5))
        model = model.to(getattr(torch, dtype))
        groups = [
            {"params": [p for p in model.parameters() if p.dim() > 1], "weight_decay": decay},
            {"params": [p for p in model.parameters() if p.dim() < 2], "weight_decay": 0.0},
        ]
        optimizer = torch.optim.AdamW(groups, lr=lr, betas=betas)
        warm = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: min(1.0, (step + 1) / 4))
        data = torch.utils.data.TensorDataset(inputs, labels)
        loader = torch.utils.data.DataLoader(data, 4, shuffle=True, generator=torch.Generator().manual_seed(order))
        step, parts = 0, 0
        while step < steps:
            for x, y in loader:
                (F.cross_entropy(model(x.to(getattr(torch, dtype))).float(), y) / accumulate).backward()
                parts += 1
                if parts % accumulate:
                    continue
                if boost and step + 1 >= boost:
                    for group in optimizer.param_groups:
                        group["lr"] *= 1.5
                optimizer.step()
                optimizer.zero_grad()
                warm.step()
                step += 1
                if step == steps:
                    break

    if isinstance(options, dict):
        train(**options)
    for one in options if isinstance(options, list) else ():
        pid = os.fork()
        if not pid:
            train(**one)
            sys.exit(0)
        os.waitpid(pid, 0)
"""


def make(world):
    world.script(JOB)
    numbers = [str((37 * index * index + 11 * index) % 97 / 97) for index in range(8 * 64)]
    (world.folder / "data.txt").write_text(" ".join(numbers))


def job(world, options=None, spec=None, **more):
    arguments = [world.python, "job.py", *([json.dumps(options)] if options is not None else [])]
    done = world.guarded(*arguments, options=["--spec", spec] if spec else [], **more)
    return done, world.show()


@pytest.fixture(scope="module")
def taught(base, tmp_path_factory):
    """A world with a spec of two clean runs: what was not seeded was in another state in the second."""
    world = World(base, tmp_path_factory.mktemp("spec"), PYTHON)
    make(world)
    names = []
    for _ in range(2):
        done, view = job(world)
        assert done.code == 0 and not view["findings"], (done, view["findings"])
        names.append(view["name"])
    world.taintline("spec", "learn", names[0], "--also", names[1], "-o", "job.spec.toml")
    return world


@pytest.fixture
def learnt(taught):
    """The same, whose data and spec a test may change: they are put back."""
    names = ("data.txt", "job.spec.toml")
    saved = {name: (taught.folder / name).read_bytes() for name in names}
    yield taught
    for name, content in saved.items():
        (taught.folder / name).write_bytes(content)
    (taught.folder / "job.spec.toml.sig").unlink(missing_ok=True)


def spec_view(world, name="job.spec.toml"):
    return json.loads(world.taintline("spec", "show", name, "--json").out)


def test_a_run_as_declared_is_clean_and_each_other_is_told_by_name(learnt):
    world = learnt
    declared = spec_view(world)["declared"]
    (optimizer,) = declared["optimizer"]
    assert (optimizer["class"], optimizer["backwards"], declared["steps"]["count"]) == ("AdamW", 2, STEPS)
    assert [piece["kind"] for piece in optimizer["group"][0]["lr"]] == ["linear", "constant"]
    assert optimizer["group"][0]["hyper"]["weight_decay"] == 0.1
    assert [file["path"] for file in declared["data"]] == ["data.txt"]

    done, view = job(world, spec="job.spec.toml")
    assert done.code == 0 and not view["findings"], (done, view["findings"])
    assert "against the spec" not in gaps(view), gaps(view)

    variants = {
        "seed": ({"seed": 5}, "seed-not-declared", 1),
        "rate": ({"lr": 1.5e-3}, "learning-rate-not-declared", 1),
        "late rate": ({"boost": 5}, "learning-rate-not-declared", 5),
        "betas": ({"betas": [0.5, 0.95]}, "hyperparameter-not-declared", 1),
        "decay": ({"decay": 0.0}, "hyperparameter-not-declared", 1),
        "order": ({"order": 2}, "batch-not-declared", 1),
        "labels": ({"roll": 1}, "result-not-declared", 1),
        "accumulation": ({"accumulate": 1}, "accumulation-not-declared", 1),
        "dropout": ({"dropout": 0.0}, "seed-not-declared", 1),
        "type": ({"dtype": "bfloat16"}, "precision-not-declared", 1),
        "steps": ({"steps": STEPS + 2}, "steps-not-declared", STEPS + 1),
        "none": ({}, None, None),
    }
    done, view = job(world, [options for options, _, _ in variants.values()], spec="job.spec.toml")
    pids = [rank["pid"] for rank in view["ranks"] if rank["count"]]
    assert len(pids) == len(variants), (done, pids)
    for (name, (_, rule, step)), pid in zip(variants.items(), pids):
        found = [it for it in view["findings"] if f"in process {pid}" in it["details"]]
        if pid == pids[0] and not found:
            found = [it for it in view["findings"] if not any("in process" in detail for detail in it["details"])]
        first = {}
        for finding in found:
            first.setdefault(finding["rule"], finding["step"])
        assert first.get(rule) == step, (name, found)
        if rule is None or name in ("order", "labels", "accumulation", "decay", "steps"):
            assert set(first) <= {rule}, (name, found)
    told = " ".join(words(finding) for finding in view["findings"])
    assert "weight_decay used 0.0, declared 0.1" in told and "beta1 used 0.5, declared 0.9" in told
    assert "1 backward passes made the step, declared 2" in told
    assert "nobody signed the spec" in told


def test_another_data_file_and_more_ranks_are_told(learnt):
    world = learnt
    text = (world.folder / "data.txt").read_text()
    (world.folder / "data.txt").write_text(text.replace("0.0", "0.5", 1))
    _, view = job(world, spec="job.spec.toml", RANK="0", WORLD_SIZE="2")
    found = {finding["rule"]: finding for finding in view["findings"]}
    assert set(found) == {"data-not-declared", "world-not-declared"}, view["findings"]
    assert "2 ranks, declared 1" in found["world-not-declared"]["what"]
    assert found["data-not-declared"]["grade"] == "observed" and "data.txt" in found["data-not-declared"]["what"]


def test_an_amendment_makes_the_changed_run_clean_and_a_change_without_one_is_refused(learnt):
    world = learnt
    key = world.folder / "key"
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", key], check=True, stdin=subprocess.DEVNULL)
    world.taintline("spec", "sign", "job.spec.toml", "--key", key)
    spec = world.folder / "job.spec.toml"
    signed = spec.read_text()

    spec.write_text(signed.replace("AdamW", "Adam"))
    refused = world.taintline("spec", "show", "job.spec.toml", code=2)
    assert "changed since it was signed, without an amendment" in refused.err
    done = world.guarded(world.python, "job.py", options=["--spec", "job.spec.toml"])
    assert done.code == 2, done
    spec.write_text(signed)

    world.taintline(
        *("spec", "amend", "job.spec.toml", "--from-step", 5, "--set", "optimizer.0.group.0.lr=*1.5"),
        *("--set", "optimizer.0.group.1.lr=*1.5", "--why", "the loss fell too slowly", "--key", key),
    )
    # From step 5 on the warm-up is over: the rate is one and a half times the scheduler's, which sets it anew each step.
    done, view = job(world, {"boost": 5}, spec="job.spec.toml")
    assert done.code == 0 and not view["findings"], view["findings"]
    _, view = job(world, spec="job.spec.toml")
    assert rules(view) == ["learning-rate-not-declared"] and view["findings"][0]["step"] == 5, view["findings"]
    assert "key SHA256:" in words(view["findings"][0])
    told = world.taintline("spec", "show", "job.spec.toml").out
    assert "the loss fell too slowly" in told


def test_the_example_under_its_spec_is_clean_also_when_it_is_resumed(clean):
    world = clean
    spec = world.folder / "gpt.spec.toml"
    if not spec.exists():
        world.taintline("spec", "learn", world.view["name"], "-o", spec)
    def again(*options):
        command = [world.python, TRAIN, *TINY, "--steps", 6, "--config", "gpt.toml", "--out", "ckpt2", *options]
        done = world.guarded(*command, options=["--spec", spec])
        return done, world.show()

    done, view = again()
    assert done.code == 0 and not view["findings"], view["findings"]
    done, view = again("--resume", os.path.join("ckpt2", "step-000004.pt"))
    assert done.code == 0 and not view["findings"], view["findings"]
