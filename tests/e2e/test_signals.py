"""Who ended a process of the run, as the kernel saw it: seen by whoever may ask the kernel. Processes, users and groups of the test's own."""

import contextlib
import os
import signal
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest
from conftest import BINARY, PYTHON, World, rules, words

TRAINING = """
    import os, sys, time, torch
    torch.manual_seed(0)
    model = torch.nn.Linear(4, 1)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    for step in range(100_000):
        optimizer.zero_grad()
        model(torch.randn(2, 4)).sum().backward()
        optimizer.step()
        if step == 3:
            print("trains", os.getpid(), flush=True)
        time.sleep(0.01)
"""
# A colleague: logged in as another user, and root since.
LOGIN, SESSION = 61_001, 7


@pytest.fixture(scope="module")
def kernel(base, tmp_path_factory):
    """Whether this kernel and this user let signals be seen: the run says so itself, if not."""
    if os.geteuid():
        pytest.skip("not checked: only root may ask the kernel")
    world = World(base, tmp_path_factory.mktemp("asks"), PYTHON)
    assert world.guarded("true").code == 0
    for gap in world.show()["gaps"]:
        if gap["what"] == "who sends signals to the run":
            # What this machine does not have or give; a program that the kernel does not take is a fault of ours.
            missing = ("Operation not permitted", "No such file", "not implemented", "other numbers here", "this kernel has no struct")
            assert any(text in gap["why"] for text in missing), gap
            pytest.skip(f"not checked: {gap['why']}")


def trained(world):
    """A run under way, and the process that trains."""
    run = world.start([BINARY, "run", "--", world.python, world.script(TRAINING)], RANK="0", WORLD_SIZE="1")
    return run, int(run.line("trains").split()[1])


def as_colleague(code, *arguments):
    """Runs a little Python as somebody else's login; answers its process."""
    login = f"open('/proc/self/loginuid', 'w').write('{LOGIN}');"
    return subprocess.run([sys.executable, "-c", login + code, *map(str, arguments)], check=True)


SENDING = {
    "kill": "import os, sys; os.kill(int(sys.argv[1]), int(sys.argv[2]))",
    "pidfd": "import os, signal, sys; signal.pidfd_send_signal(os.pidfd_open(int(sys.argv[1])), int(sys.argv[2]))",
    "thread": "import ctypes, sys; ctypes.CDLL(None).syscall(234, int(sys.argv[1]), int(sys.argv[1]), int(sys.argv[2]))",
}


@pytest.mark.parametrize("way", SENDING)
@pytest.mark.usefixtures("kernel")
def test_who_killed_a_rank_is_named_by_his_login_whatever_call_he_took(world, way):
    run, pid = trained(world)
    as_colleague(SENDING[way], pid, int(signal.SIGKILL))
    run.finish()
    view = world.show()
    (found,) = [finding for finding in view["findings"] if finding["rule"] == "rank-vanished"]
    text = words(found)
    assert found["grade"] == "observed" and "SIGKILL" in found["what"], text
    assert "it was sent by somebody else than who started the run" in text and f"logged in as {LOGIN}" in text, text
    assert "user 0" in text and any("no, it came from elsewhere" in innocent for innocent in found["innocent"]), found
    assert any(f"SIGKILL to rank 0 (pid {pid}) from pid" in act["what"] and f"logged in as {LOGIN}" in act["what"] for act in view["acts"]), view["acts"]


@pytest.mark.usefixtures("kernel")
def test_a_whole_control_group_that_is_killed_names_who_wrote_it(world):
    mounts = [line.split() for line in Path("/proc/mounts").read_text().splitlines()]
    unified = next((Path(mount[1]) for mount in mounts if mount[2] == "cgroup2"), None)
    folder = unified and unified / f"taintline-test-{os.getpid()}"
    try:
        folder.mkdir()
    except (OSError, AttributeError):
        pytest.skip("not checked: no control group can be made here")
    if not (folder / "cgroup.kill").exists():
        folder.rmdir()
        pytest.skip("not checked: this kernel kills no groups")
    run, pid = trained(world)
    (folder / "cgroup.procs").write_text(str(pid))
    as_colleague("import sys; open(sys.argv[1], 'w').write('1')", folder / "cgroup.kill")
    run.finish()
    with contextlib.suppress(OSError):
        folder.rmdir()
    (found,) = [finding for finding in world.show()["findings"] if finding["rule"] == "rank-vanished"]
    assert f"logged in as {LOGIN}" in words(found), words(found)


@pytest.mark.usefixtures("kernel")
def test_a_stop_is_in_the_record_with_who_sent_it(world):
    run, pid = trained(world)
    as_colleague(SENDING["kill"], pid, int(signal.SIGSTOP))
    as_colleague(SENDING["kill"], pid, int(signal.SIGCONT))
    os.kill(pid, signal.SIGTERM)
    run.finish()
    acts = [act["what"] for act in world.show()["acts"]]
    assert sum(f"logged in as {LOGIN}" in act for act in acts) == 2, acts


@pytest.mark.usefixtures("kernel")
def test_the_runs_own_user_is_not_called_somebody_else(world):
    run, pid = trained(world)
    os.kill(pid, signal.SIGKILL)
    run.finish()
    (found,) = [finding for finding in world.show()["findings"] if finding["rule"] == "rank-vanished"]
    text = words(found)
    assert "somebody else" not in text and "the user that started the run" in text, text
    assert any("it came from the same user" in innocent for innocent in found["innocent"]), found


@pytest.mark.usefixtures("kernel")
def test_what_the_run_does_to_its_own_processes_is_told_as_its_own(world):
    launcher = world.script(
        """
        import os, signal, subprocess, sys
        rank = subprocess.Popen([sys.executable, sys.argv[1]], stdout=subprocess.PIPE, text=True, env={**os.environ, "RANK": "0", "WORLD_SIZE": "1"})
        rank.stdout.readline()
        rank.kill()
        sys.exit(rank.wait() != -signal.SIGKILL)
        """
    )
    training = world.folder / "training.py"
    training.write_text(textwrap.dedent(TRAINING))
    done = world.guarded(world.python, launcher, training)
    (found,) = [finding for finding in world.show()["findings"] if finding["rule"] == "rank-vanished"]
    assert "a process of the run itself" in words(found), (words(found), done)


@pytest.mark.usefixtures("kernel")
def test_an_honest_run_has_no_signal_from_outside(world):
    done = world.train(4, "--num-workers", 2)
    assert done.code == 0, done
    view = world.show()
    assert rules(view) == [] and not any("SIG" in act["what"] for act in view["acts"]), view["acts"]
    assert not any("sends signals" in gap["what"] for gap in view["gaps"]), view["gaps"]
