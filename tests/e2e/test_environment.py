"""The installed files: what changes between two runs or during one is found, what an installer changes is not."""

import os
from pathlib import Path

import pytest
from conftest import World, rules, words
from environments import Environment

STEP = """
    import sys, time
    import torch

    model = torch.nn.Linear(4, 4)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    model(torch.ones(2, 4)).sum().backward()
    optimizer.step()
    for line in sys.argv[1:]:
        exec(line)
"""


def prepared(base, tmp_path_factory, clean, *lines):
    """A world with an environment of its own, and a good run with it."""
    folder = tmp_path_factory.mktemp("own")
    environment = Environment(clean.python, folder / "env")
    world = World(base, folder, environment.python)
    world.site = environment
    world.script(STEP)
    world.good = guard(world, *lines)
    assert world.good.code == 0, world.good
    world.name = world.show()["name"]
    assert rules(world.show()) == [], world.show()["findings"]
    return world


@pytest.fixture(scope="module")
def copy(base, tmp_path_factory, clean):
    return prepared(base, tmp_path_factory, clean)


def guard(world, *lines):
    return world.guarded(world.python, "job.py", *lines)


def test_a_changed_file_is_found_although_its_size_and_time_are_the_old_ones(copy):
    before, at = copy.site.sgd.read_bytes(), copy.site.sgd.stat()
    changed = before.rstrip(b"\n")
    changed += b" " * (len(before) - len(changed))
    assert changed != before and len(changed) == len(before)
    copy.site.sgd.write_bytes(changed)
    os.utime(copy.site.sgd, ns=(at.st_atime_ns, at.st_mtime_ns))
    try:
        done = guard(copy)
    finally:
        copy.site.sgd.write_bytes(before)
    assert done.code == 1, done
    view = copy.show()
    assert rules(view) == ["environment-changed"], view["findings"]
    (finding,) = view["findings"]
    assert finding["path"].endswith("torch/optim/sgd.py")
    assert finding["earlier"] == copy.name
    assert "torch" in words(finding)
    diff = copy.diff(copy.name, "last")
    assert any("sgd.py" in difference["what"] for difference in diff["differences"])


def test_an_edit_during_the_run_is_found(copy):
    before = copy.site.sgd.read_bytes()
    # The scan may take a while on a busy machine: the edit waits for it, the run for the edit.
    line = f"time.sleep(8); open({str(copy.site.sgd)!r}, 'ab').write(b'# edited\\n')"
    try:
        done = guard(copy, line)
    finally:
        copy.site.sgd.write_bytes(before)
    assert done.code == 1, done
    view = copy.show()
    assert rules(view) == ["environment-changed-during-run"], view["findings"]
    assert view["findings"][0]["path"].endswith("torch/optim/sgd.py")


def test_what_an_installer_changed_is_no_finding_and_neither_is_what_was_put_back(copy):
    copy.site.install("tool", "1.1", b"LEVEL = 2\n")
    done = guard(copy)
    assert done.code == 0, done
    assert rules(copy.show()) == []


def test_a_start_up_file_with_code_and_a_module_against_its_record_are_each_found(copy):
    module, hook = copy.site.site / "tool.py", copy.site.site / "zz_hook.pth"
    before = module.read_bytes()
    module.write_bytes(b"LEVEL = 666\n")
    hook.write_text("import sys; sys.hooked = True\n")
    try:
        done = guard(copy)
    finally:
        module.write_bytes(before)
        hook.unlink()
    assert done.code == 1, done
    findings = copy.show()["findings"]
    assert sorted(Path(finding["path"]).name for finding in findings) == ["tool.py", "zz_hook.pth"], findings
    found = {Path(finding["path"]).name: finding["rule"] for finding in findings}
    assert found["tool.py"] in ("environment-changed", "environment-not-as-installed")
    assert found["zz_hook.pth"] in ("environment-changed", "environment-unowned")


def test_a_change_that_is_meant_can_be_accepted(copy):
    # The last one here: what it leaves is what later runs would be compared with.
    copy.site.sgd.write_bytes(copy.site.sgd.read_bytes() + b"\nMEANT = 1\n")
    accepted = copy.guarded(copy.python, "job.py", options=["--accept-environment"])
    after = guard(copy)
    assert after.code == 0, (accepted, after)
    assert rules(copy.show()) == [], accepted
