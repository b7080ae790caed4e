"""A replay that root starts runs as nobody, where the environment is open to everybody; else it runs as root, and says so."""

import json
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest
from conftest import BINARY
from test_substitute import SCRIPT

# Tells who computes, in the run's own folder.
TELLING = SCRIPT + "\n    import os, getpass\n    open('who.txt', 'w').write(f'{os.getuid()} {getpass.getuser()}')\n"


def copied(source, target):
    """Links to all its files, or copies on another file system."""
    if subprocess.run(["cp", "-al", source, target], capture_output=True).returncode:
        shutil.rmtree(target, ignore_errors=True)
        subprocess.run(["cp", "-a", source, target], check=True)


@pytest.fixture(scope="module")
def everybodys():
    """Python, its environment and Taintline in a folder that is open to everybody."""
    python = os.environ.get("TAINTLINE_TEST_PYTHON", sys.executable)
    answer = subprocess.run([python, "-c", "import sys; print(sys.prefix, sys.base_prefix, sep='\\n')"], check=True, capture_output=True, text=True)
    prefix, base = map(Path, answer.stdout.splitlines())
    folder = Path(tempfile.mkdtemp(prefix="taintline-open-"))
    folder.chmod(0o755)
    copied(prefix, folder / "env")
    copied(Path(BINARY).parents[1], folder / "taintline")
    if not all(above.stat().st_mode & 0o001 for above in base.parents):
        copied(base, folder / "base")
        # What was linked must not be written to: it is the original.
        settings = folder / "env/pyvenv.cfg"
        text = settings.read_text().replace(str(base), str(folder / "base"))
        settings.unlink()
        settings.write_text(text)
        for link in (it for it in (folder / "env/bin").iterdir() if it.is_symlink() and os.path.isabs(os.readlink(it))):
            name = link.resolve().name
            link.unlink()
            link.symlink_to(folder / "base/bin" / name)
    yield folder
    shutil.rmtree(folder)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can have another user compute")
def test_root_has_nobody_compute(world, everybodys):
    binary, python = everybodys / "taintline/bin/taintline", everybodys / "env/bin/python"
    done = world.start([binary, "run", "--", python, world.script(TELLING)], TAINTLINE_SENSOR_DIR="").finish(300)
    assert done.code == 0, done
    before = (world.folder / "who.txt").read_text().split()[0]
    assert before == str(os.getuid())
    done = world.start([binary, "replay", "last", "--keep", everybodys / "kept", "--json", "--quiet"]).finish(300)
    again = json.loads(done.out)
    assert (again["verdict"], again["compared"]) == ("same", 24), again
    assert [gap["why"] for gap in again["limits"] if gap["what"] == "user of the replay"] == []
    assert 61_184 <= again["user"] <= 65_519, again
    (told,) = (everybodys / "kept").rglob("who.txt")
    assert told.read_text() == f"{again['user']} replay"
    assert told.stat().st_uid == again["user"]


def test_an_environment_of_roots_own_is_computed_in_by_root(world, everybodys):
    if os.geteuid():
        pytest.skip("only root can have another user compute")
    binary, python = everybodys / "taintline/bin/taintline", everybodys / "env/bin/python"
    assert world.start([binary, "run", "--", python, world.script(SCRIPT)]).finish(300).code == 0
    everybodys.chmod(0o700)
    try:
        done = world.start([binary, "replay", "last", "--json", "--quiet"]).finish(300)
    finally:
        everybodys.chmod(0o755)
    again = json.loads(done.out)
    (why,) = [gap["why"] for gap in again["limits"] if gap["what"] == "user of the replay"]
    assert again["verdict"] == "same" and "user" not in again and "not open to another user" in why, again
