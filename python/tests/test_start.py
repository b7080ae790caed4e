"""How the sensor comes into a Python, and how it stays out of one."""

import os
import sys
import zipfile

LOOK = """
    import sys, threading
    print(sys.path)
    print([name for name in ("taintline", "_taintline", "sitecustomize", "socket", "json") if name in sys.modules])
    print(getattr(sys.modules.get("sitecustomize"), "__file__", None), threading.active_count())
"""


def twice(world, text, **extra):
    """The job without and with the sensor."""
    return world.run(text, watched=False, **extra), world.run(text, **extra)


def fake_torch(world, body="nn = None\n"):
    """A torch that no hook fits: what is not there must be a gap."""
    folder = world.folder / "torch"
    folder.mkdir()
    (folder / "__init__.py").write_text(body)


def test_a_python_without_torch_is_not_touched(world):
    without, with_sensor = twice(world, LOOK)
    assert with_sensor.out == without.out and with_sensor.out
    assert (with_sensor.err, with_sensor.code, with_sensor.said) == ("", 0, [])


def test_the_sitecustomize_that_was_there_runs_as_without_us(world):
    theirs = world.folder / "theirs"
    theirs.mkdir()
    (theirs / "sitecustomize.py").write_text("import sys\nprint('theirs', __name__, __spec__.name, sys.path)\n")
    without, with_sensor = twice(world, LOOK, PYTHONPATH=str(theirs))
    assert with_sensor.out == without.out
    assert with_sensor.out.count("theirs sitecustomize") == 1


def test_a_sitecustomize_that_fails_is_reported_as_python_does(world):
    theirs = world.folder / "theirs"
    theirs.mkdir()
    (theirs / "sitecustomize.py").write_text("raise ValueError('not today')\n")
    without, with_sensor = twice(world, LOOK, PYTHONPATH=str(theirs))
    assert (with_sensor.out, with_sensor.err) == (without.out, without.err)
    assert "not today" in with_sensor.err


def test_looking_for_torch_is_not_importing_it(world):
    fake_torch(world)
    job = world.run("import importlib.util\nprint(importlib.util.find_spec('torch').name)")
    assert (job.out, job.said) == ("torch\n", [])


def test_torch_is_seen_however_it_is_imported(world):
    fake_torch(world)
    ways = [
        "from torch import nn",
        "import importlib; importlib.import_module('torch')",
        "import importlib.util; importlib.util.find_spec('torch'); import torch",
        "import threading; t = threading.Thread(target=lambda: __import__('torch')); t.start(); t.join()",
    ]
    for way in ways:
        job = world.run(f"{way}\nimport sys\nprint([type(f).__name__ for f in sys.meta_path], sys.modules['torch'])")
        assert (job.code, job.err) == (0, ""), way
        assert [message["type"] for message in job.said[0]][0] == "hello", way
        assert job.said[0][-1]["type"] == "bye", way


def test_a_torch_that_no_hook_fits_is_a_gap_and_no_failure(world):
    fake_torch(world)
    job = world.run("import torch\nprint('goes on')")
    assert (job.out, job.err, job.code) == ("goes on\n", "", 0)
    assert {"checkpoints", "steps", "ready"} <= {gap["what"] for gap in job.of("gap")}


def test_a_torch_that_fails_to_import_fails_as_without_us(world):
    fake_torch(world, "raise ImportError('no such luck')\n")
    text = """
        for attempt in range(2):
            try:
                import torch
            except ImportError as error:
                print(error, error.name)
    """
    without, with_sensor = twice(world, text)
    assert with_sensor.out == without.out == "no such luck None\n" * 2


def test_without_a_supervisor_the_job_runs_without_hooks(world):
    fake_torch(world)
    script = world.write("import torch, sys\nprint('goes on', 'taintline._hooks' in sys.modules)")
    for path in ("/nowhere/socket", "/" + "x" * 200, str(script)):
        process = world.start([sys.executable, script], path)
        assert process.communicate(timeout=60) == ("goes on False\n", ""), path
        assert process.returncode == 0


def test_hello_says_who_and_where(world):
    fake_torch(world)
    job = world.run("import torch", "--secret", "x", RANK="3", LOCAL_RANK="1", WORLD_SIZE="8")
    hello = job.said[0][0]
    assert hello["argv"][-2:] == ["--secret", "x"]
    assert (hello["rank"], hello["local_rank"], hello["world_size"]) == (3, 1, 8)
    assert hello["cwd"] == str(world.folder)
    assert hello["executable"] == sys.executable
    assert {"stdlib", "purelib"} <= {name for name, _ in hello["roots"]}
    assert not any(entry.endswith("/startup") for entry in hello["sys_path"])


def test_a_package_of_our_name_stays_the_jobs_own(world):
    fake_torch(world)
    (world.folder / "taintline").mkdir()
    (world.folder / "taintline/__init__.py").write_text("mine = True\n")
    job = world.run("import taintline, torch\nprint(taintline.mine)")
    assert (job.out, job.err) == ("True\n", "")
    assert job.said[0][0]["type"] == "hello"


def test_the_children_of_the_job_are_reached_too(world):
    fake_torch(world)
    job = world.run("import subprocess, sys\nsubprocess.run([sys.executable, '-c', 'import torch'], check=True)")
    assert [message["type"] for message in job.said[0]][0] == "hello"
    assert len(job.said) == 1


def test_a_modules_file_is_told_with_its_absolute_path(world):
    fake_torch(world)
    (world.folder / "mine.py").write_text("")
    job = world.run("import torch, mine")
    files = [file for message in job.of("modules") for file in message["files"]]
    assert str(world.folder / "mine.py") in files and str(world.folder / "job.py") in files
    assert all(os.path.isabs(file) for file in files) and len(files) == len(set(files))


def test_where_a_module_was_found_is_told_although_the_path_was_put_back(world):
    fake_torch(world)
    parts = world.folder / "parts"
    (parts / "inner").mkdir(parents=True)
    (parts / "inner/__init__.py").write_text("")
    (parts / "inner/deep.py").write_text("")
    with zipfile.ZipFile(world.folder / "packed.zip", "w") as packed:
        packed.writestr("zipped.py", "")
    job = world.run(
        "import sys, torch\n"
        "sys.path[:0] = ['parts', 'packed.zip']\n"
        "import inner.deep, zipped\n"
        "del sys.path[:2]\n"
    )
    told = job.of("modules")
    files = {file for message in told for file in message["files"]}
    assert {str(parts / "inner/deep.py"), str(world.folder / "packed.zip/zipped.py")} <= files
    folders = {folder for message in told for folder in message["folders"]}
    assert {str(parts), str(world.folder / "packed.zip")} <= folders
    assert str(parts / "inner") not in folders and str(parts.parent.parent) not in folders
