"""The last checkpoint before what was found is kept, though the job removes its own."""

import hashlib
import io
import json
from pathlib import Path

import torch
from conftest import rules

# Saves every five steps and keeps one; what is in the folder beside the weights belongs to the checkpoint.
JOB = """
    import json, pathlib, shutil, sys, time
    import torch

    torch.manual_seed(0)
    model = torch.nn.Linear(8, 4)
    optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
    wrong, former = int(sys.argv[1]), None
    for step in range(1, 31):
        if step == wrong:
            with torch.no_grad():
                model.weight.add_(0.05)
        optimizer.zero_grad()
        model(torch.randn(16, 8)).square().mean().backward()
        optimizer.step()
        # A save lives for five steps: time enough for it to be opened on a busy machine.
        time.sleep(0.3)
        if step % 5 == 0:
            folder = pathlib.Path(f"checkpoint-{step}")
            folder.mkdir()
            torch.save(model.state_dict(), folder / "new.tmp")
            (folder / "new.tmp").rename(folder / "model.pt")
            torch.save(optimizer.state_dict(), folder / "optimizer.pt")
            (folder / "state.json").write_text(json.dumps({"step": step}))
            if former:
                shutil.rmtree(former)
            former = folder
"""


def kept_folder(world, view):
    return world.store / "kept" / view["id"]


def test_the_last_good_checkpoint_outlives_the_jobs_own_rotation(world):
    job = world.script(JOB)
    done = world.guarded(world.python, job, 23)
    assert done.code == 1, done
    view = world.show()
    assert rules(view) == ["weights-changed-between-steps"]
    [found] = view["findings"]
    own = world.folder / "checkpoint-20"
    # Changed at some moment between steps 22 and 23: what was saved after 20 was saved before that.
    assert f"last good checkpoint: {own}, saved after step 20" in found["details"]
    assert not own.exists()

    [kept] = view["kept"]
    assert (kept["path"], kept["step"], kept["before"], kept["files"]) == (str(own), 20, 22, 3)
    place = Path(kept["place"])
    assert kept["present"] and place == kept_folder(world, view) / "step-20"
    assert sorted(file.name for file in place.iterdir()) == ["model.pt", "optimizer.pt", "state.json"]
    saved = {write["path"]: write["digest"] for write in view["writes"] if write["step"] == 20}
    for name in ["model.pt", "optimizer.pt"]:
        content = (place / name).read_bytes()
        assert hashlib.sha256(content).hexdigest() == saved[str(own / name)].removeprefix("sha256:")
    weights = torch.load(io.BytesIO((place / "model.pt").read_bytes()), weights_only=True)
    assert weights["weight"].shape == (4, 8)
    assert json.loads((place / "state.json").read_text()) == {"step": 20}
    assert [folder.name for folder in kept_folder(world, view).iterdir()] == ["step-20"]
    assert str(place) in world.taintline("show", "last").out

    du = json.loads(world.taintline("store", "du", "--json").out)
    # Other runs of this store may keep something too.
    [bytes_kept] = [other["bytes"] for other in du["other"] if other["name"] == "kept"]
    assert bytes_kept >= kept["bytes"] > 0


def test_a_run_without_findings_leaves_no_checkpoint_in_the_store(world):
    done = world.guarded(world.python, world.script(JOB), 0)
    assert done.code == 0, done
    view = world.show()
    assert view["findings"] == [] and view["kept"] == [] and len(view["writes"]) >= 6
    assert not kept_folder(world, view).exists()
    assert not any("keeping checkpoints" in gap["what"] for gap in view["gaps"])


def test_two_trainings_of_one_run_have_each_their_own_last_checkpoint(world):
    text = """
    import multiprocessing, time
    import torch

    def train(name, every, wrong):
        torch.manual_seed(0)
        model = torch.nn.Linear(8, 4)
        optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
        for step in range(1, 31):
            if step == wrong:
                with torch.no_grad():
                    model.weight.add_(0.05)
            optimizer.zero_grad()
            model(torch.randn(16, 8)).square().mean().backward()
            optimizer.step()
            time.sleep(0.03)
            if step % every == 0:
                torch.save(model.state_dict(), f"{name}-{step}.pt")

    context = multiprocessing.get_context("fork")
    jobs = [context.Process(target=train, args=("honest", 4, 0)), context.Process(target=train, args=("wrong", 7, 26))]
    for job in jobs:
        job.start()
    for job in jobs:
        job.join()
    """
    done = world.guarded(world.python, world.script(text))
    assert done.code == 1, done
    view = world.show()
    [found] = view["findings"]
    assert f"last good checkpoint: {world.folder / 'wrong-21.pt'}, saved after step 21" in found["details"]
    [kept] = view["kept"]
    assert (kept["path"], kept["step"]) == (str(world.folder / "wrong-21.pt"), 21)
    assert [file.name for file in Path(kept["place"]).iterdir()] == ["wrong-21.pt"]
    assert [folder.name for folder in kept_folder(world, view).iterdir()] == [Path(kept["place"]).name]
