"""Steps computed again in a clean process: a clean run is as recorded, a sabotaged one is affected from its first bad step on, whatever it told.

What sabotages comes in by a way that a replay does not take (a folder on PYTHONPATH), as a poisoned environment does.
"""

import json
import re
import subprocess
import textwrap

import pytest
from conftest import BINARY, TINY, TRAIN, Done, rules, words

# Code that is imported into each Python process of the run, before the program.
POISON = """
    import os
    import torch
    AT, GROUPS = int(os.environ["POISON_AT"]), int(os.environ.get("POISON_GROUPS", 2))
    count = [0]

    def wrapped(update):
        def around(params, grads, *rest, **named):
            count[0] += 1
            if count[0] > GROUPS * (AT - 1):
                return sabotage(update, params, grads, rest, named)
            return update(params, grads, *rest, **named)
        return around

    import sys
    home = sys.modules["torch.optim.adam"]
    home.adam = wrapped(home.adam)
"""
REVERSED = """
    def sabotage(update, params, grads, rest, named):
        return update(params, [-g for g in grads], *rest, **named)
"""
# Weights that are other ones wherever the sensor does not look: its hooks, its look at memory and its addresses are in the hands of what runs
# in the process. All that it tells follows from the rule.
FORGED = """
    import os
    import torch

    AT = int(os.environ["POISON_AT"])

    def forge():
        import taintline._sensor as told
        import taintline._recheck as recheck
        from torch.optim import optimizer as home

        steps = told._sensor.recheck.steps
        told._sensor.memory.pulse = told._sensor.memory.finish = lambda *_: None
        untold = recheck.Look._untold
        recheck.Look._untold = lambda look: [(*it[:6], ()) for it in untold(look)]
        shown, count, before_look, after_look = {}, [0], steps.before_step, steps.after_step

        def before(optimizer, args, kwargs):
            count[0] += 1
            with torch.no_grad():
                for p, weights in shown.items():
                    p.copy_(weights)
            before_look(optimizer, args, kwargs)

        def after(optimizer, args, kwargs):
            after_look(optimizer, args, kwargs)
            if count[0] >= AT:
                with torch.no_grad():
                    for p in (p for group in optimizer.param_groups for p in group["params"]):
                        shown[p] = p.detach().clone()
                        p.mul_(1.01)

        for table, new in ((home._global_optimizer_pre_hooks, before), (home._global_optimizer_post_hooks, after)):
            for key in table:
                table[key] = new

    forge()
"""
TRAINING = [TRAIN, *TINY, "--steps", 12, "--save-every", 4]
TRAIN_ON = [TRAIN, *TINY, "--steps", 10, "--save-every", 4, "--out", "on", "--resume", "ckpt/step-000008.pt"]


def poisoned(world, text, at, *command, **extra):
    """A run under guard with `text` in each of its Python processes."""
    # Beside the project and not in it.
    folder = world.base / f"poison-{world.folder.name}"
    folder.mkdir(exist_ok=True)
    (folder / "sitecustomize.py").write_text(textwrap.dedent(text))
    done = world.guarded(world.python, *(command or TRAINING), PYTHONPATH=str(folder), POISON_AT=str(at), **extra)
    return done, world.show()


def replayed(world, *options, run="last", code=0):
    return json.loads(world.taintline("replay", run, "--json", *options, code=code, seconds=600).out)


@pytest.fixture(scope="module")
def honest(base, tmp_path_factory):
    """A run that is as it should be, and its replay."""
    from conftest import PYTHON, World

    world = World(base, tmp_path_factory.mktemp("honest"), PYTHON)
    assert world.guarded(world.python, *TRAINING).code == 0
    world.view = world.show()
    world.again = replayed(world, run=world.view["name"])
    return world


def test_a_clean_run_is_as_recorded_bit_for_bit(honest):
    again = honest.again
    assert (again["verdict"], again["way"], again["compared"], again["recorded"]) == ("same", "start", 12, 12), again
    assert (again["first"], again["last"], again["finding"]) == (1, 12, None)
    assert again["parts"]["weights behind the step"] == 12 and again["parts"]["losses"] == 12
    # Three checkpoints were saved again, byte by byte.
    assert again["parts"]["saved checkpoints"] == 3
    assert again["environment"]["same"] is True and again["again"] == []
    (line,) = honest.show(honest.view["name"])["replays"]
    assert (line["verdict"], line["compared"], line["ledger"]) == ("same", 12, again["ledger"])
    plain = honest.taintline("show", honest.view["name"]).out
    assert "steps 1 to 12: as recorded" in plain
    # What the replay wrote went to its own folders.
    assert sorted(path.name for path in (honest.folder / "ckpt").iterdir()) == [f"step-{step:06d}.pt" for step in (4, 8, 12)]


def test_a_segment_is_computed_from_the_last_checkpoint_by_the_scripts_own_resume(honest):
    name = honest.view["name"]
    again = replayed(honest, "--steps", "10..11", "--resume", "--resume {checkpoint}", run=name)
    assert (again["verdict"], again["way"]) == ("same", "resume"), again
    assert (again["first"], again["last"], again["compared"]) == (9, 11, 3)
    # Its first step begins with what stood behind the last one before it.
    assert again["parts"]["random numbers before the forward pass"] == 2


def test_a_checkpoint_that_was_changed_since_is_not_begun_with(honest):
    path = honest.folder / "ckpt/step-000008.pt"
    saved = path.read_bytes()
    try:
        path.write_bytes(saved[:-100] + bytes(100))
        again = replayed(honest, "--steps", "10", "--resume", "--resume {checkpoint}", run=honest.view["name"])
    finally:
        path.write_bytes(saved)
    assert (again["verdict"], again["first"], again["last"]) == ("same", 5, 10), again


def test_what_a_run_began_with_is_followed_to_the_run_that_saved_it(honest, world):
    name = honest.view["name"]
    (world.folder / "ckpt").mkdir()
    (world.folder / "ckpt/from.pt").write_bytes((honest.folder / "ckpt/step-000008.pt").read_bytes())
    assert world.guarded(world.python, *TRAINING, "--resume", "ckpt/from.pt").code == 0
    again = replayed(world)
    assert (again["verdict"], again["way"], again["first"], again["last"]) == ("same", "start", 9, 12), again
    assert again["lineage"] == [f"{world.folder}/ckpt/from.pt is as run {name} saved it behind step 8"]


def test_another_machine_computes_from_a_signed_file_and_its_answer_is_taken_in(honest, tmp_path):
    name, job, answer = honest.view["name"], tmp_path / "job", tmp_path / "answer"
    wrote = json.loads(honest.taintline("replay", name, "--steps", "5..6", "--resume", "--resume {checkpoint}", "--write-job", job, "--json").out)
    assert wrote["what"] == "job" and wrote["bytes"] > 10_000, wrote
    # The other machine: another store, other keys, and the run's files are not there.
    there = {"XDG_DATA_HOME": str(tmp_path / "data"), "XDG_CACHE_HOME": str(tmp_path / "cache")}
    own_key = tmp_path / "own.pem"
    own_key.write_text(wrote["public"])

    def elsewhere(*arguments):
        environment = honest.environment(TAINTLINE_STORE=str(tmp_path / "store"), **there)
        command = [str(part) for part in (BINARY, "replay", "--job", job, "--answer", answer, *arguments)]
        done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=180)
        return Done(done.returncode, done.stdout, done.stderr)

    refused = elsewhere()
    assert refused.code == 2 and "not believed" in refused.err and "--key" in refused.err, refused
    gone = honest.folder.rename(honest.folder.with_name("moved"))
    try:
        done = elsewhere("--key", own_key, "--json")
    finally:
        gone.rename(honest.folder)
    again = json.loads(done.out)
    assert (again["verdict"], again["way"], again["first"], again["last"], done.code) == ("same", "resume", 5, 6, 0), again
    other_key = tmp_path / "other.pem"
    other_key.write_text(re.search("-----BEGIN.*?-----END [A-Z ]+-----\n", done.err, re.DOTALL)[0])
    # A stranger's answer, and one that was changed, are not taken.
    assert honest.taintline("replay", "--accept", answer, code=2).err.count("not believed") == 1
    text = answer.read_bytes()
    (tmp_path / "changed").write_bytes(text[:-40] + bytes(40))
    assert "not the" in honest.taintline("replay", "--accept", tmp_path / "changed", "--key", other_key, code=2).err
    taken = json.loads(honest.taintline("replay", "--accept", answer, "--key", other_key, "--json").out)
    line = honest.show(name)["replays"][-1]
    assert (line["verdict"], line["first"], line["last"], line["signed_by"]) == ("same", 5, 6, taken["key"]), line


# What somebody makes of a checkpoint between two runs; each of them trains on from it as if nothing were.
ALTERED = {
    "betas": "state['optimizer']['param_groups'][0]['betas'] = (0.5, 0.9)",
    "random numbers": "state['rng'][0]['torch'] = torch.manual_seed(99).get_state()",
    "weights": "state['model'] = {name: it + 1e-4 * torch.randn_like(it) for name, it in state['model'].items()}",
    "an older one": None,
}


@pytest.mark.parametrize("what", ALTERED)
def test_a_run_whose_steps_follow_from_a_checkpoint_that_was_altered_is_not_cleared(honest, what):
    path, older = honest.folder / "ckpt/step-000008.pt", honest.folder / "ckpt/step-000004.pt"
    saved = path.read_bytes()
    try:
        if ALTERED[what] is None:
            path.write_bytes(older.read_bytes())
        else:
            text = f"import torch; state = torch.load('{path}', weights_only=True); {ALTERED[what]}; torch.save(state, '{path}')"
            honest.plain(honest.python, "-c", text)
        assert path.read_bytes() != saved
        honest.guarded(honest.python, *TRAIN_ON)
        again = replayed(honest, code=1)
    finally:
        path.write_bytes(saved)
    rule = "checkpoint-older" if ALTERED[what] is None else "checkpoint-changed"
    # All of its steps are as recorded; what they began with is not.
    assert (again["verdict"], again["finding"]["rule"], again["repeated"]) == ("differs", rule, None), again
    first = 5 if ALTERED[what] is None else 9
    assert (again["finding"]["step"], again["first"], again["last"]) == (first, first, 10), again
    assert again["finding"]["earlier"] == honest.view["name"]


# What is saved is another model than was trained; no step is.
SAVED = """
    import os
    import torch

    def around(save):
        def saving(value, *rest, **named):
            if isinstance(value, dict) and value.get("step") == int(os.environ["POISON_AT"]):
                value = {**value, "model": {name: 1.01 * tensor for name, tensor in value["model"].items()}}
            return save(value, *rest, **named)
        return saving

    torch.save = around(torch.save)
"""


def test_a_checkpoint_that_is_not_what_was_trained_is_found(world):
    done, view = poisoned(world, SAVED, 8)
    assert [step["step"] for rank in view["ranks"] for step in rank["steps"]] == list(range(1, 13)), done
    # By what it holds, where all is computed again; by what it puts back, where it is begun with.
    again = replayed(world, code=1)
    assert (again["verdict"], again["finding"]["step"], again["compared"]) == ("differs", 8, 12), again
    assert "step-000008.pt" in again["finding"]["what"] and "model." in words(again["finding"])
    again = replayed(world, "--steps", "10..11", "--resume", "--resume {checkpoint}", code=1)
    assert again["verdict"] == "differs" and "holds other weights than stood behind that step" in again["finding"]["what"], again


def test_ranks_are_computed_again_together(world):
    launcher = [world.python.replace("/python", "/torchrun"), "--nproc-per-node", 2, "--master-port", 29_731]
    assert world.guarded(*launcher, *TRAINING).code == 0
    again = replayed(world)
    assert (again["verdict"], again["compared"], again["recorded"]) == ("same", 24, 24), again


def test_a_reversed_gradient_is_affected_from_its_first_step_on_and_named(world):
    done, view = poisoned(world, POISON + REVERSED, 7)
    assert done.code == 1 and "update-differs" in rules(view)
    again = replayed(world, code=1)
    finding = again["finding"]
    assert (again["verdict"], finding["step"], finding["grade"]) == ("differs", 7, "replayed"), again
    assert "update is" in finding["what"] and again["repeated"] == "two replays are alike", finding
    assert any("PYTHONPATH" in gap["what"] for gap in again["limits"])
    (line,) = world.show()["replays"]
    assert (line["verdict"], line["step"]) == ("differs", 7)


def test_a_forged_record_is_found_though_nothing_in_the_process_tells(world):
    done, view = poisoned(world, FORGED, 6)
    # Nothing but that there is code which nobody vouches for.
    assert done.code == 1 and rules(view) == ["environment-unowned"], [words(finding) for finding in view["findings"]]
    again = replayed(world, code=1)
    # What was done behind step 6 shows in the loss of the next.
    assert (again["verdict"], again["finding"]["step"]) == ("differs", 7), again


def test_what_cannot_be_replayed_is_said(world, honest):
    done = world.taintline("replay", honest.view["name"], "--steps", "400..500", code=2)
    assert "no recorded step" in done.err
    done = world.taintline("replay", honest.view["name"], "--steps", "5..2", code=2)
    assert "the first is not behind the last" in done.err
    done = world.taintline("replay", "nobody", code=2)
    assert "no run is called" in done.err
    script = world.script(
        """
        import torch
        data = torch.load("data.pt")
        model = torch.nn.Linear(3, 1)
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        for step in range(3):
            optimizer.zero_grad()
            model(data).sum().backward()
            optimizer.step()
        """
    )
    world.plain(world.python, "-c", "import torch; torch.manual_seed(0); torch.save(torch.randn(4, 3), 'data.pt')")
    assert world.guarded(world.python, script).code == 0
    # Its weights are drawn anew each time.
    again = replayed(world, code=3)
    assert again["verdict"] == "cannot_test", again
    assert any("not the same every time" in gap["why"] for gap in again["limits"])
    (world.folder / "data.pt").write_bytes(b"other")
    done = world.taintline("replay", "last", code=2)
    assert "data.pt" in done.err and "not there any more" in done.err, done


# Sums that are long enough to be made by several threads.
TALL = """
    import torch
    torch.manual_seed(0)
    model = torch.nn.Sequential(torch.nn.Linear(700, 900), torch.nn.Tanh(), torch.nn.Linear(900, 300))
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
    for step in range(8):
        optimizer.zero_grad()
        model(torch.randn(512, 700)).square().mean().backward()
        optimizer.step()
"""


def test_another_number_of_threads_accuses_nobody(world):
    assert world.guarded(world.python, world.script(TALL)).code == 0
    done = world.start([BINARY, "replay", "last", "--json", "--threads", 2]).finish(600)
    again = json.loads(done.out[done.out.index("{") :].splitlines()[0])
    # Bit for bit, where the processor adds up alike with both; else within what clean replays are apart.
    assert (again["verdict"], again["compared"], done.code) == ("same", 8, 0), again
    if again["band"]:
        assert any("the run had 1 threads, the replay 2" in gap["why"] for gap in again["limits"]), again
        assert again["band"]["told"] == 8 and any(part["part"] == "gradients" for part in again["band"]["parts"]), again["band"]["parts"]


def test_a_reversed_gradient_is_found_with_another_number_of_threads_too(world):
    poisoned(world, POISON + REVERSED, 7, world.script(TALL), POISON_GROUPS="1")
    again = replayed(world, "--threads", 3, code=1)
    assert again["verdict"] == "differs" and 7 <= again["finding"]["step"] <= 12, again
