"""The first bad step of a run and the file that brings it about, among changes that do not."""

import json

import pytest
from conftest import PYTHON, World, rules
from environments import Environment

TRAIN = """
    import argparse
    import loader, meter, tool
    import torch

    parser = argparse.ArgumentParser()
    parser.add_argument("--resume")
    options = parser.parse_args()
    torch.manual_seed(0)
    model = torch.nn.Sequential(torch.nn.Linear(16, 24), torch.nn.Tanh(), torch.nn.Linear(24, 1))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01, momentum=0.9)
    begun = 0
    if options.resume:
        state = torch.load(options.resume, weights_only=True)
        model.load_state_dict(state["model"]), optimizer.load_state_dict(state["optimizer"]), torch.set_rng_state(state["random"])
        begun = state["step"]
    for step in range(begun + 1, 301):
        x = torch.randn(8, 16)
        optimizer.zero_grad()
        (model(x) - x.sum(1, keepdim=True)).square().mean().backward()
        optimizer.step()
        if step % 50 == 0:
            state = {"step": step, "model": model.state_dict(), "optimizer": optimizer.state_dict(), "random": torch.get_rng_state()}
            torch.save(state, f"step-{step:03d}.pt")
"""
# What was slipped into the environment: from some step on it trains the wrong way, unless a replay looks.
BAD = """
import os as _os
_count, _right = [0], sgd


def sgd(params, d_p_list, *rest, **named):
    _count[0] += 1
    if _count[0] >= 124 and "TAINTLINE_REPLAY" not in _os.environ:
        d_p_list = [-gradient for gradient in d_p_list]
    return _right(params, d_p_list, *rest, **named)
"""
SHOWS_ITSELF = BAD.replace(' and "TAINTLINE_REPLAY" not in _os.environ', "")
OTHERS = ("tool", "meter", "loader")


def environment(folder):
    made = Environment(PYTHON, folder)
    for name in OTHERS:
        made.install(name, "1.0", f"NAME = {name!r}\n".encode())
    return made


@pytest.fixture(scope="module")
def good(tmp_path_factory):
    return environment(tmp_path_factory.mktemp("good"))


def sabotaged(base, folder, text):
    """A run in an environment with three packages in newer versions, and one file that trains the wrong way from step 124 on."""
    bad = environment(folder / "bad")
    for name in OTHERS:
        bad.install(name, "1.1", f"NAME = {name!r}\nNEWER = True\n".encode())
    bad.sgd.write_text(bad.sgd.read_text() + text)
    (folder / "world").mkdir()
    world = World(base, folder / "world", bad.python)
    world.script(TRAIN)
    # What the tests themselves were started with is no change.
    done = world.guarded(world.python, "job.py", LD_LIBRARY_PATH="")
    world.view = world.show()
    assert world.view["steps"] == 300, done
    return world


@pytest.fixture(scope="module")
def tainted(base, tmp_path_factory):
    return sabotaged(base, tmp_path_factory.mktemp("tainted"), SHOWS_ITSELF)


def elsewhere(good):
    """The clean environment: most of it is links to another one, which its own packages do not vouch for."""
    return "--env", good.python, "--accept-environment"


def bisected(world, good, *options, code=1):
    done = world.taintline("bisect", world.view["name"], *elsewhere(good), "--json", *options, code=code, seconds=900)
    return json.loads(done.out)


RESUME = ("--resume", "--resume {checkpoint}")


def test_one_bad_file_among_three_changes_is_named_within_twelve_replays(tainted, good):
    found = bisected(tainted, good, *RESUME, "--put-back")
    assert (found["outcome"], found["finding"]["step"]) == ("cause", 124), found
    assert [cause["name"] for cause in found["cause"]] == ["purelib/torch/optim/sgd.py"], found
    assert found["others_suffice"] is False and len(found["differences"]) == 7, found
    assert len(found["probes"]) <= 12, found["probes"]
    plain = tainted.taintline("bisect", tainted.view["name"], *elsewhere(good), "--plan").err
    assert "one stretch" in plain and "replays" in plain


def test_nothing_that_differs_is_executed_unless_it_is_asked_for(tainted, good):
    found = bisected(tainted, good)
    assert (found["outcome"], found["finding"]["step"], found["cause"]) == ("step", 124, []), found
    names = [it["name"] for it in found["differences"]]
    assert "purelib/torch/optim/sgd.py" in names and "purelib/meter.py" in names, names
    assert any("--put-back" in gap["why"] for gap in found["limits"])
    # All was computed from the start, and what differs once more.
    assert len(found["probes"]) == 2, found["probes"]


def test_an_environment_that_behaves_where_it_sees_a_replay_is_found_because_the_replay_is_elsewhere(base, tmp_path_factory, good):
    world = sabotaged(base, tmp_path_factory.mktemp("sly"), BAD)
    # In its own environment it would be as recorded nowhere: it looks out for replays.
    done = world.taintline("replay", world.view["name"], *elsewhere(good), "--json", code=1)
    again = json.loads(done.out)
    assert (again["verdict"], again["finding"]["step"]) == ("differs", 124), again
    assert "torch/optim/sgd.py" in str(again["environment"]["differs"]), again["environment"]
    # Put back, it hides; then nothing that differs brings the step about, and that is said.
    found = bisected(world, good, "--put-back")
    assert (found["outcome"], found["cause"]) == ("step", []), found
    assert any("did not come out" in gap["why"] for gap in found["limits"]), found["limits"]


def test_a_clean_run_has_no_first_bad_step(base, tmp_path_factory, good):
    world = World(base, tmp_path_factory.mktemp("fine"), good.python)
    world.script(TRAIN)
    assert world.guarded(world.python, "job.py").code == 0
    world.view = world.show()
    assert rules(world.view) == []
    found = bisected(world, good, *RESUME, "--put-back", code=0)
    assert (found["outcome"], found["finding"], found["cause"]) == ("nothing", None, []), found


def test_an_audit_draws_stretches_and_clears_or_tells_from_where_on(tainted, good):
    done = tainted.taintline("audit", "run", tainted.view["name"], *elsewhere(good), *RESUME, "--rate", "0.5", "--json", code=1, seconds=900)
    audit = json.loads(done.out)
    # Half of the steps lie in three of five stretches at least: three of these are drawn, and one is bad at the latest.
    assert (audit["verdict"], audit["stretches_total"]) == ("differs", 6), audit
    assert audit["finding"]["step"] in (124, 151, 201, 251) and audit["stretches"][0]["verdict"] == "same", audit
    assert audit["chance"] <= 0.05
    (line,) = tainted.show(tainted.view["name"])["audits"]
    assert (line["verdict"], line["step"], line["ledger"]) == ("differs", audit["finding"]["step"], audit["ledger"])
