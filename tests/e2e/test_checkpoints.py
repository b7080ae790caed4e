"""Lineage: a checkpoint that is resumed is the one that was saved, or it is found."""

import shutil
from pathlib import Path

from conftest import gaps, rules, sha256, steps_of, words

CHANGE = """
    import sys, torch
    path = sys.argv[1]
    checkpoint = torch.load(path, weights_only=True)
    checkpoint["model"]["blocks.0.mlp.0.weight"].mul_(1.01)
    torch.save(checkpoint, path)
"""


def resume(world, name, steps=8):
    return world.train(steps, "--config", "gpt.toml", "--resume", f"ckpt/{name}", "--out", "resumed")


def test_a_checkpoint_as_it_was_saved_is_no_finding(resumable):
    done = resume(resumable, "step-000006.pt")
    assert done.code == 0, done
    view = resumable.show()
    assert rules(view) == []
    path = resumable.folder / "ckpt/step-000006.pt"
    (loaded,) = [load for load in view["loads"] if load["kind"] == "checkpoint"]
    assert (loaded["path"], loaded["digest"]) == (str(path), sha256(path))
    assert "origin" not in gaps(view)
    # The optimizer's own state says the number, so that it goes on where the checkpoint ended.
    assert steps_of(view["ranks"][0]) == [7, 8]


def test_a_changed_checkpoint_is_found_with_run_file_step_tensor_and_amount(resumable, world):
    path = resumable.folder / "ckpt/step-000004.pt"
    changed = world.plain(world.python, world.script(CHANGE), path)
    assert changed.code == 0, changed
    done = resume(resumable, "step-000004.pt")
    assert done.code == 1, done
    view = resumable.show()
    assert rules(view) == ["checkpoint-changed"]
    (finding,) = view["findings"]
    assert finding["path"] == str(path)
    assert finding["earlier"] == resumable.view["name"]
    assert finding["grade"] == "observed"
    text = words(finding)
    assert "at step 4" in text and "blocks.0.mlp.0.weight" in text, text
    assert "1.01" in text or "1 %" in text or "1.0 %" in text, text
    assert "TAINTED" in done.err and "blocks.0.mlp.0.weight" in done.err


def test_an_older_checkpoint_under_a_newer_name_is_found(resumable):
    shutil.copyfile(resumable.folder / "ckpt/step-000002.pt", resumable.folder / "ckpt/step-000006.pt")
    done = resume(resumable, "step-000006.pt")
    assert done.code == 1, done
    view = resumable.show()
    assert rules(view) == ["checkpoint-older"]
    (finding,) = view["findings"]
    assert finding["path"].endswith("step-000006.pt")
    assert finding["earlier"] == resumable.view["name"]
    text = words(finding)
    assert "step 2" in text and "step 6" in text, text


def test_a_damaged_checkpoint_is_found_whatever_the_job_makes_of_it(resumable):
    path = resumable.folder / "ckpt/step-000002.pt"
    path.write_bytes(b"\x80\x02" + bytes(1000))
    done = resume(resumable, "step-000002.pt")
    assert done.code == 1 and "Traceback" in done.err, done
    assert rules(resumable.show()) == ["checkpoint-changed"]


def test_a_checkpoint_that_nobody_recorded_is_a_gap_and_no_finding(resumable):
    stranger = resumable.folder / "stranger.pt"
    script = """
        import sys, torch
        checkpoint = torch.load(sys.argv[1], weights_only=True)
        checkpoint["note"] = "another file"
        torch.save(checkpoint, sys.argv[2])
    """
    made = resumable.plain(
        resumable.python, resumable.script(script, "make.py"), "ckpt/step-000006.pt", stranger
    )
    assert made.code == 0, made
    done = resumable.train(7, "--resume", "stranger.pt", "--out", "resumed")
    assert done.code == 0, done
    view = resumable.show()
    assert rules(view) == []
    assert "no run in this store saved it" in gaps(view)


# Every save goes through the same temporary name, one right after the other.
ONE_NAME = """
    import os, torch

    model = torch.nn.Linear(64, 64)
    optimizer = torch.optim.AdamW(model.parameters())
    for step in range(1, 13):
        optimizer.zero_grad()
        model(torch.ones(2, 64)).square().mean().backward()
        optimizer.step()
        torch.save({"model": model.state_dict(), "step": step}, "saving.tmp")
        os.replace("saving.tmp", f"step-{step}.pt")
"""


def test_one_temporary_name_for_every_save_mixes_nothing_up(world):
    assert world.guarded(world.python, world.script(ONE_NAME)).code == 0
    view = world.show()
    saved = {Path(write["path"]).name: write for write in view["writes"]}
    assert set(saved) == {f"step-{step}.pt" for step in range(1, 13)}
    for step in range(1, 13):
        write = saved[f"step-{step}.pt"]
        assert write["step"] == step
        assert write["digest"] == sha256(world.folder / f"step-{step}.pt"), step
    load = world.script("import torch\ntorch.load('step-3.pt')\ntorch.load('step-12.pt')\n", "load.py")
    assert world.guarded(world.python, load).code == 0
    assert world.show()["findings"] == []
