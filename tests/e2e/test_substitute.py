"""Stretches of a script that has no means to resume: it goes through the steps before without computing them, and the state is put in."""

import json

import pytest
from test_replay import POISON, REVERSED, poisoned, replayed

# Draws its order and its dropout from one generator, counts for itself, and saves weights and optimizer alone.
SCRIPT = """
    import sys, torch
    from torch.utils.data import DataLoader, TensorDataset

    torch.manual_seed(3)
    points = torch.randn(96, 6)
    data = TensorDataset(points, points.sum(1, keepdim=True).tanh())
    model = torch.nn.Sequential(torch.nn.Linear(6, 16), torch.nn.BatchNorm1d(16), torch.nn.Tanh(), torch.nn.Dropout(0.2), torch.nn.Linear(16, 1))
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2)
    step, wait = 0, "plateau" in sys.argv
    schedule = torch.optim.lr_scheduler.ReduceLROnPlateau(optimizer, factor=0.9, patience=0, threshold=0.05) if wait else None

    def update(x, y):
        optimizer.zero_grad()
        loss = torch.nn.functional.mse_loss(model(x), y)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        return loss

    for epoch in range(4):
        for x, y in DataLoader(data, batch_size=16, shuffle=True):
            if "closure" in sys.argv:
                loss = optimizer.step(lambda: update(x, y))
            else:
                loss = update(x, y)
                optimizer.step()
            for group in [] if wait else optimizer.param_groups:
                group["lr"] = 1e-2 / (1 + 0.1 * step)
            if wait:
                schedule.step(loss.item())
            step += 1
            if step % 8 == 0:
                held = {"model": model.state_dict(), "ema": {name: torch.zeros_like(it) for name, it in model.state_dict().items()}}
                if "weights" not in sys.argv:
                    held["optimizer"] = optimizer.state_dict()
                torch.save({"at": step, **held}, f"{step}.pt")
"""


@pytest.mark.parametrize("way", ["", "closure"])
def test_a_stretch_follows_from_the_state_that_was_put_in(world, way):
    assert world.guarded(world.python, world.script(SCRIPT), way).code == 0
    again = replayed(world, "--steps", "19..22")
    # From the checkpoint of step 16 on, in the third pass over the data, whose order was drawn behind it.
    assert (again["verdict"], again["way"], again["first"], again["last"], again["compared"]) == ("same", "substitute", 17, 22, 6), again
    parts = again["parts"]
    assert parts["batches"] == parts["learning rates"] == parts["losses"] == parts["weights behind the step"] == 6, parts
    assert parts["weights before the step"] == 6 and parts["random numbers of torch"] == 6, parts
    assert again["again"] == []
    # The computation from the start says the same.
    whole = replayed(world, "--steps", "19..22", "--from-start")
    assert (whole["verdict"], whole["way"], whole["compared"]) == ("same", "start", 22), whole
    shown = world.taintline("show", "last").out
    assert "steps 17 to 22: as recorded (the script went through the steps before" in shown


def test_where_the_state_does_not_do_all_is_computed_from_the_start(world):
    # What is made of losses that were not computed is another.
    assert world.guarded(world.python, world.script(SCRIPT), "plateau").code == 0
    again = replayed(world, "--steps", "19..22")
    assert (again["verdict"], again["way"], again["compared"]) == ("same", "start", 22), again
    (why,) = [gap["why"] for gap in again["limits"] if gap["what"] == "state of the checkpoint"]
    assert "learning rate" in why and "from the start instead" in why, why
    # Nothing to put in.
    assert world.guarded(world.python, world.script(SCRIPT), "weights").code == 0
    again = replayed(world, "--steps", "19..22")
    assert (again["verdict"], again["way"], again["compared"]) == ("same", "start", 22), again
    (why,) = [gap["why"] for gap in again["limits"] if gap["what"] == "state of the checkpoint"]
    assert "no state of such an optimizer" in why, why


def test_what_differs_behind_the_state_is_computed_from_the_start_and_told_there(world):
    done, view = poisoned(world, POISON + REVERSED, 18, world.script(SCRIPT), POISON_GROUPS="1")
    again = replayed(world, "--steps", "19..22", code=1)
    assert (again["verdict"], again["way"], again["finding"]["step"]) == ("differs", "start", 18), again
    assert "update is" in again["finding"]["what"]


def test_an_audit_puts_states_in(world):
    assert world.guarded(world.python, world.script(SCRIPT)).code == 0
    audit = json.loads(world.taintline("audit", "run", "last", "--rate", "0.2", "--miss", "0.05", "--json", seconds=600).out)
    assert (audit["verdict"], audit["stretches_total"]) == ("same", 3), audit
    # The first one, and others that do not begin where it ends.
    firsts = [stretch["first"] for stretch in audit["stretches"]]
    assert firsts[0] == 1 and len(firsts) > 1 and set(firsts[1:]) <= {9, 17}, audit
    assert all(stretch["verdict"] == "same" for stretch in audit["stretches"])


def test_a_share_of_the_steps_is_drawn(world):
    assert world.guarded(world.python, world.script(SCRIPT)).code == 0
    again = replayed(world, "--sample", "0.25")
    assert again["verdict"] == "same" and 6 <= again["compared"] <= 14 and again["last"] <= 24, again
    done = world.taintline("replay", "last", "--sample", "0", code=2)
    assert "between 0 and 1" in done.err
