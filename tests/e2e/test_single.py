"""One process under guard: everything is recorded, nothing is changed."""

import re

from conftest import TRAIN, gaps, rules, sha256, steps_of


def test_a_clean_run_ends_as_it_would_and_nothing_is_found(clean):
    assert clean.done.code == 0, clean.done
    assert "nothing found" in clean.done.err
    assert rules(clean.view) == []
    assert clean.view["outcome"] == "exit 0"
    assert clean.view["state"] == "ended"


def test_weights_and_output_are_bitwise_the_same_without_the_guard(clean, world):
    (world.folder / "gpt.toml").write_text((clean.folder / "gpt.toml").read_text())
    bare = world.train(6, "--config", "gpt.toml", guard=False)
    assert bare.code == 0, bare
    assert bare.weights == clean.done.weights

    def without_times(text):
        return re.sub(r"\d+ ms", "N ms", text)

    assert without_times(bare.out) == without_times(clean.done.out)
    assert sha256(world.folder / "ckpt/step-000006.pt") == sha256(clean.folder / "ckpt/step-000006.pt")


def test_every_step_is_recorded_with_what_it_did(clean):
    (rank,) = clean.view["ranks"]
    assert clean.view["steps"] == rank["count"] == 6
    assert steps_of(rank) == [1, 2, 3, 4, 5, 6]
    printed = re.findall(r"step (\d+)  loss (\S+)  lr (\S+)  grad (\S+)", clean.done.out)
    assert len(printed) == 6
    for step, (number, loss, rate, grad) in zip(rank["steps"], printed, strict=True):
        assert step["step"] == int(number)
        assert f"{step['losses'][-1]:.2f}" == loss
        assert f"{step['learning_rates'][0]:.1e}" == rate
        assert f"{step['gradient_norm_before_clip']:.2f}" == grad
        assert 0 < step["gradient_norm"] <= 1.01
        assert step["parameters"] and step["optimizer_state"], step
        assert step["rng"]["torch"] and step["rng"]["python"], step
        assert len(step["batches"]) == 1, step
        for phase in ("forward_us", "backward_us", "optimizer_us"):
            assert step["phases"][phase] > 0, step


def test_fingerprints_of_state_change_with_each_step(clean):
    (rank,) = clean.view["ranks"]
    for what in ("parameters", "optimizer_state", "batches"):
        values = [str(step[what]) for step in rank["steps"]]
        assert len(set(values)) == 6, what


def test_saved_checkpoints_are_recorded_as_they_are_on_disk(clean):
    saved = {write["path"]: write for write in clean.view["writes"]}
    files = sorted((clean.folder / "ckpt").iterdir())
    assert [file.name for file in files] == ["step-000002.pt", "step-000004.pt", "step-000006.pt"]
    # Written under another name and renamed: one write each, under the final name.
    assert sorted(saved) == [str(file) for file in files]
    for file, step in zip(files, (2, 4, 6), strict=True):
        assert saved[str(file)]["digest"] == sha256(file)
        assert saved[str(file)]["step"] == step
        assert saved[str(file)]["size"] == file.stat().st_size


def test_script_and_config_are_recorded_with_their_digests(clean):
    loads = {load["path"]: load for load in clean.view["loads"]}
    config = clean.folder / "gpt.toml"
    assert loads[str(config)]["kind"] == "config"
    assert loads[str(config)]["digest"] == sha256(config)
    assert loads[str(TRAIN)]["kind"] == "script"
    assert loads[str(TRAIN)]["digest"] == sha256(TRAIN)


def test_the_environment_is_recorded_whole(clean):
    (environment,) = clean.view["environments"]
    assert environment["packages"] > 5
    assert environment["files"] > 5000
    assert environment["vouched"] > 5000
    kinds = {load["kind"] for load in clean.view["loads"]}
    assert {"modules", "mapped"} <= kinds


def test_nothing_is_a_gap_that_was_there_to_be_seen(clean):
    assert "steps" not in gaps(clean.view), gaps(clean.view)


def test_two_runs_differ_in_what_was_changed_and_what_followed_from_it(clean, tmp_path):
    done = clean.train(6, "--config", "gpt.toml", "--seed", 7, "--out", tmp_path)
    assert done.code == 0, done
    diff = clean.diff(clean.view["name"], "last")
    assert {"environment", "script", "config", "variable", "world"} <= set(diff["equal"]), diff
    differing = {difference["dimension"] for difference in diff["differences"]}
    # Somebody may edit the project while its tests run: that is a difference of the code, and true.
    assert differing - {"code"} == {"step", "command"}, diff["differences"]
    (told,) = [difference for difference in diff["differences"] if difference["dimension"] == "step"]
    assert "step 1" in told["what"] and told["left"] != told["right"], told


def test_the_ledger_of_all_that_is_sound(clean):
    assert "as it was written" in clean.taintline("ledger", "audit").out
