"""Changes while the run is going: found within seconds, and also where they are undone before its end."""

import shutil
import textwrap
import time

import pytest
from conftest import TINY, TRAIN, gaps, rules, wait_until, words
from test_environment import prepared

# A file of the environment that no test is about, and nothing loads.
MARKED = "# while it lasted\n"

RUN = """
    import sys, time
    from pathlib import Path
    import torch

    model = torch.nn.Linear(4, 4)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    def step():
        optimizer.zero_grad()
        model(torch.ones(2, 4)).sum().backward()
        optimizer.step()
    step()
    print("stepped", flush=True)
    go, end = Path("go"), time.monotonic() + 120
    while not go.exists() and time.monotonic() < end:
        step()
        time.sleep(0.05)
"""


@pytest.fixture(scope="module")
def copy(base, tmp_path_factory, clean):
    world = prepared(base, tmp_path_factory, clean)
    world.script(RUN, "run.py")
    return world


class Going:
    """A run that goes on until it is told to end."""

    def __init__(self, world, *arguments, script="run.py"):
        self.world = world
        (world.folder / "go").unlink(missing_ok=True)
        self.running = world.start_guarded(world.python, script, *arguments)
        self.running.line("stepped")
        # The first scan must have been recorded: what it saw is what a change is held against.
        try:
            wait_until(lambda: world.show()["environments"])
        except BaseException:
            self.end()
            raise

    def found(self, rule):
        """Waits until the record of the run that is still going has a finding."""
        try:
            wait_until(lambda: rule in rules(self.world.show()))
        except BaseException:
            print(self.end())
            raise

    def end(self):
        (self.world.folder / "go").touch()
        self.done = self.running.finish()
        return self.world.show()


def test_an_edit_undone_before_the_run_ends_is_found_while_the_run_is_going(copy):
    sgd = copy.site.sgd
    before = sgd.read_bytes()
    going = Going(copy)
    try:
        sgd.write_bytes(before + MARKED.encode())
        time.sleep(1)
    finally:
        sgd.write_bytes(before)
    going.found("environment-changed-and-restored")
    view = going.end()
    assert going.done.code == 1, going.done
    assert rules(view) == ["environment-changed-and-restored"], view["findings"]
    (finding,) = view["findings"]
    assert finding["path"].endswith("torch/optim/sgd.py")
    assert "torch" in words(finding) and "with 1 line more from line" in words(finding)
    assert "after step" in words(finding) and "imported by" in words(finding)
    assert "environment-changed-and-restored" in going.done.err


def test_an_edit_that_stays_is_found_while_the_run_is_going_and_told_once(copy):
    sgd = copy.site.sgd
    before = sgd.read_bytes()
    going = Going(copy)
    try:
        sgd.write_bytes(before + MARKED.encode())
        going.found("environment-changed-during-run")
        view = going.end()
    finally:
        sgd.write_bytes(before)
    assert rules(view) == ["environment-changed-during-run"], view["findings"]
    assert "first seen to be another one" in words(view["findings"][0])
    assert view["findings"][0]["step"] > 0


def test_a_file_swapped_by_renames_and_back_with_its_times_kept_is_found(copy):
    sgd = copy.site.sgd
    aside, other = sgd.with_name("aside"), sgd.with_name("other")
    shutil.copy2(sgd, other)
    other.write_bytes(other.read_bytes().replace(b"momentum", b"momentun"))
    shutil.copystat(sgd, other)
    going = Going(copy)
    sgd.rename(aside)
    other.rename(sgd)
    time.sleep(1)
    sgd.rename(other)
    aside.rename(sgd)
    view = going.end()
    other.unlink()
    assert rules(view) == ["environment-changed-and-restored"], view["findings"]
    assert view["findings"][0]["path"].endswith("torch/optim/sgd.py")


def test_a_module_that_was_there_for_a_moment_is_found(copy):
    going = Going(copy)
    module = copy.site.site / "visitor.py"
    module.write_text("x = 1\n")
    time.sleep(0.7)
    module.unlink()
    view = going.end()
    assert rules(view) == ["environment-changed-and-restored"], view["findings"]
    assert "visitor.py was there for a while" in words(view["findings"][0])


def test_a_touched_file_and_the_same_package_installed_again_are_notes(copy):
    going = Going(copy)
    copy.site.sgd.touch()
    copy.site.install("tool", "1.0", b"LEVEL = 1\n")
    view = going.end()
    assert rules(view) == [], view["findings"]
    assert "set times or mode" in gaps(view), gaps(view)
    assert going.done.code == 0, going.done


def test_a_source_that_changes_is_a_note_and_a_finding_once_another_process_loads_it(copy):
    (copy.folder / "model_of_mine.py").write_text("LEVEL = 1\n")
    copy.script(
        textwrap.dedent(RUN)
        + textwrap.dedent(
            """
            import subprocess
            if "again" in sys.argv:
                subprocess.run([sys.executable, "-c", "import sys; sys.path.insert(0, '.'); import torch, model_of_mine; torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=1.0).step()"], check=True)
            """
        ),
        "mine.py",
    )
    text = (copy.folder / "mine.py").read_text()
    (copy.folder / "mine.py").write_text("import model_of_mine\n" + text)
    for arguments, expected in [((), []), (("again",), ["source-changed-during-run"])]:
        (copy.folder / "model_of_mine.py").write_text("LEVEL = 1\n")
        going = Going(copy, *arguments, script="mine.py")
        wait_until(lambda: any(load["path"].endswith("model_of_mine.py") for load in copy.show()["loads"]))
        (copy.folder / "model_of_mine.py").write_text("LEVEL = 2\n")
        time.sleep(1)
        view = going.end()
        assert rules(view) == expected, view["findings"]
        assert "model_of_mine.py" in gaps(view), gaps(view)


def test_a_training_with_workers_in_an_untouched_environment_has_no_finding(world):
    done = world.guarded(world.python, TRAIN, *TINY, "--steps", "6", "--num-workers", "2")
    assert done.code == 0, done
    assert rules(world.show()) == [], world.show()["findings"]
