"""The host's daemon: who did what to the files and processes of a run of somebody else. Users, logins, folders and groups of the test's own."""

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import textwrap
import time
from pathlib import Path

import pytest
import scenarios
from conftest import BINARY, REPOSITORY, rules, wait_until, words
from test_environment import prepared
from test_watch import MARKED, RUN, Going

VICTIM, VICTIM_LOGIN = 61_500, 61_500
# The first login of actors; each has one of its own.
LOGIN = 61_100
PATIENCE = 15
# A job that needs nothing of its own: it says who it is and waits.
JOB = "import os, time; print('works', os.getpid(), flush=True); time.sleep(60)"
BECOME = """
import os, sys, time
open('/proc/self/loginuid', 'w').write(sys.argv[1])
user = int(sys.argv[2])
if user:
    os.setgroups([]); os.setgid(user); os.setuid(user)
"""
# As a login does it: first who one is, then a program of one's own, and then deeds.
ACT = "import os, time\ntime.sleep(0.6)\n"
SYSTEM_PYTHON = shutil.which("python3", path="/usr/bin:/usr/local/bin:/bin") or sys.executable


class Host:
    """A folder that all may enter, a daemon that watches, and what it wrote down."""

    def __init__(self, top, tier=2):
        self.top, self.tier = top, tier
        self.store, self.socket = top / "daemon", top / "s"
        self.process = None
        self.environment = {
            **{key: value for key, value in os.environ.items() if not key.startswith(("TAINTLINE_", "PYTEST_", "XDG_"))},
            "XDG_DATA_HOME": str(top / "data"),
            "XDG_CACHE_HOME": str(top / "cache"),
            "HOME": str(top / "home"),
        }

    def begin(self):
        command = [BINARY, "--store", self.store, "watch", "--socket", self.socket, "--tier", str(self.tier)]
        self.process = subprocess.Popen(command, env=self.environment, cwd=self.top, stderr=subprocess.PIPE, text=True)
        said = self.process.stderr.readline()
        if "watching this host" not in said:
            said += self.process.stderr.read()
            missing = ("Operation not permitted", "not implemented", "Invalid argument")
            assert any(text in said for text in missing), said
            pytest.skip(f"not checked: {said}")
        for _ in range(3):
            said += self.process.stderr.readline()
        return said

    def end(self, how=signal.SIGTERM):
        if self.process and self.process.poll() is None:
            self.process.send_signal(signal.SIGCONT)
            self.process.send_signal(how)
            self.process.wait(10)

    def taintline(self, *arguments, code=0):
        done = subprocess.run([BINARY, "--store", self.store, *arguments], env=self.environment, cwd=self.top, capture_output=True, text=True)
        assert done.returncode == code, done
        return done.stdout

    def blame(self, path):
        return json.loads(self.taintline("blame", str(path), "--json"))

    def entries(self):
        """All that the daemon wrote down."""
        view = json.loads(self.taintline("ledger", "log", "-n", "1000000", "--full", "--json"))
        return [entry["entry"]["body"] for entry in view["entries"]]

    def acts(self, kind):
        return [body for body in self.entries() if body.get("act") == kind]

    def act(self, login, code, user=0, **values):
        """Somebody of this login does something; the process, not waited for."""
        text = ACT + "".join(f"{name} = {value!r}\n" for name, value in values.items()) + code
        become = BECOME + "os.execv(sys.executable, [sys.executable, '-c', sys.argv[3]])"
        return subprocess.Popen([SYSTEM_PYTHON, "-c", become, str(login), str(user), text], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)

    def run(self, folder, code=JOB, user=VICTIM, first="", options=(), daemon=True):
        """A run of the victim's; process and the job's first words."""
        folder.mkdir(parents=True, exist_ok=True)
        os.chown(folder, user, user)
        environment = {**self.environment, "TAINTLINE_DAEMON": str(self.socket), "XDG_DATA_HOME": str(folder / ".data"), "XDG_CACHE_HOME": str(folder / ".cache"), "HOME": str(folder)}
        if not daemon:
            del environment["TAINTLINE_DAEMON"]
        # The victim has a login of his own, and is no root any more.
        text = "import os\n" + first + BECOME + "os.chdir(sys.argv[3])\nos.execv(sys.argv[4], sys.argv[4:])"
        command = [SYSTEM_PYTHON, "-c", text, str(VICTIM_LOGIN), str(user), str(folder), str(BINARY), "run", *options, "--", SYSTEM_PYTHON, "-c", code]
        started = subprocess.Popen(command, env=environment, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        line = started.stdout.readline().split()
        assert line and line[0] == "works", (line, started.stderr.read())
        return started, int(line[1])

    def show(self, folder):
        done = subprocess.run([BINARY, "--store", folder / ".taintline", "show", "last", "--json"], env=self.environment, capture_output=True, text=True, check=True)
        return json.loads(done.stdout)


def until(what, wanted=bool):
    """Asks again until the answer is as wanted, or patience is over."""
    end = time.monotonic() + PATIENCE
    while not wanted(found := what()) and time.monotonic() < end:
        time.sleep(0.2)
    return found


def ended(run):
    """Ends a run as its owner would."""
    run.terminate()
    run.communicate(timeout=30)


@contextlib.contextmanager
def host(tier=2):
    if os.geteuid():
        pytest.skip("not checked: only root can watch a host")
    top = Path(tempfile.mkdtemp(prefix="taintline-daemon-"))
    top.chmod(0o755)
    (top / "home").mkdir()
    it = Host(top, tier)
    try:
        it.said = it.begin()
        yield it
    finally:
        it.end()
        shutil.rmtree(top, ignore_errors=True)


@pytest.fixture(scope="module")
def watched():
    with host() as it:
        yield it


def needs_kernel(it):
    """Signals need a program in the kernel: a machine that has none is told apart from one that does not take ours."""
    line = next(line for line in it.said.splitlines() if "signals a run's processes" in line)
    if "not seen" in line:
        missing = ("Operation not permitted", "No such file", "not implemented", "other numbers here", "this kernel has no struct")
        assert any(text in line for text in missing), line
        pytest.skip(f"not checked: {line}")


@contextlib.contextmanager
def group():
    """A control group of the test's own."""
    mounts = [line.split() for line in Path("/proc/mounts").read_text().splitlines()]
    unified = next((Path(mount[1]) for mount in mounts if mount[2] == "cgroup2"), None)
    folder = unified and unified / f"taintline-test-{os.getpid()}-{time.monotonic_ns()}"
    try:
        folder.mkdir()
    except (OSError, AttributeError):
        pytest.skip("not checked: no control group can be made here")
    try:
        yield folder
    finally:
        for _ in range(50):
            with contextlib.suppress(OSError):
                folder.rmdir()
                break
            time.sleep(0.1)


def logins(change):
    """All logins that a change or a signal names as its actor."""
    actor = change["actor"]
    parties = [actor.get("party"), actor.get("became")] if "known" in actor else [actor]
    return {party.get("login_uid") for party in parties if party}


def files_done(it, top):
    """Each deed with files, in a folder of its own below the run's, by a login of its own; who was found to have done it."""
    ground, outside = top / "ground", top / "outside"
    outside.mkdir(parents=True)
    ground.mkdir(parents=True)
    for one in scenarios.FILES:
        folder = ground / one.name
        folder.mkdir()
        (folder / "target").write_text("abcdefgh")
        for path in (folder, folder / "target"):
            os.chown(path, VICTIM, 61_777)
            path.chmod(0o775)
    started, _ = it.run(ground)
    time.sleep(0.5)
    actors = []
    for number, one in enumerate(scenarios.FILES):
        folder = ground / one.name
        values = {"folder": str(folder), "target": str(folder / "target"), "outside": str(outside / one.name)}
        if (number + 1) % 6 == 0:
            actors[-1].wait()
        actors.append(it.act(LOGIN + number, one.code, user=one.user or 0, **values))
    for actor, one in zip(actors, scenarios.FILES, strict=True):
        assert actor.wait() == 0, (one.name, actor.stderr.read())

    def found():
        return [change for change in it.acts("file_changed") if change["path"].startswith(str(ground))]

    def complete(changes):
        paths = {change["path"] for change in changes}
        return all(str(ground / one.name / one.path) in paths for one in scenarios.FILES)

    changes = until(found, complete)
    time.sleep(0.3)
    changes = found()
    ended(started)
    return ground, changes


def test_every_deed_with_files_is_seen_with_its_actor_and_never_with_another(watched):
    needs_kernel(watched)
    ground, changes = files_done(watched, watched.top / "files")
    right = []
    for number, one in enumerate(scenarios.FILES):
        login, path = LOGIN + number, str(ground / one.name / one.path)
        mine = [change for change in changes if change["path"].startswith(str(ground / one.name) + "/") or change["path"] == str(ground / one.name)]
        # No deed of this folder is anybody else's, whatever else is said of it.
        assert all(logins(change) <= {login} for change in mine), (one.name, mine)
        at = [change for change in mine if change["path"] == path]
        deeds = {deed for change in at for deed in change["deeds"]}
        named = {change["actor"]["known"] for change in at} <= {"observed"} and all(logins(change) == {login} for change in at)
        if at and one.deeds <= deeds and named:
            right.append(one.name)
    missed = {one.name for one in scenarios.FILES} - set(right)
    assert len(right) >= 0.95 * len(scenarios.FILES), (missed, changes)


def test_the_same_deeds_without_programs_in_the_kernel_name_whoever_still_lives_and_nobody_wrong():
    with host(tier=1) as it:
        assert "not asked for" in it.said
        ground, changes = files_done(it, it.top / "files")
        known = 0
        for number, one in enumerate(scenarios.FILES):
            mine = [change for change in changes if change["path"].startswith(str(ground / one.name) + "/")]
            assert mine, one.name
            for change in mine:
                assert change["actor"]["known"] in ("looked_up", "unknown"), change
                assert logins(change) <= {LOGIN + number}, (one.name, change)
                known += change["actor"]["known"] == "looked_up"
        assert known, changes


def test_every_signal_names_its_sender_and_its_target(watched):
    needs_kernel(watched)
    top = watched.top / "signals"
    runs = [(one, *watched.run(top / one.name)) for one in scenarios.SIGNALS]
    actors = [watched.act(LOGIN + 200 + number, one.code, pid=pid) for number, (one, _, pid) in enumerate(runs)]
    for actor, (one, _, _) in zip(actors, runs, strict=True):
        assert actor.wait() == 0, (one.name, actor.stderr.read())

    def of(pid):
        return [made for made in watched.acts("signal_made") if made["target"]["process"]["pid"] == pid]

    for number, (one, started, pid) in enumerate(runs):
        made = until(lambda: of(pid))  # noqa: B023, it is asked at once
        numbers = {getattr(signal, one.signal), signal.SIGCONT} if one.name == "stopped" else {getattr(signal, one.signal)}
        assert {it["number"] for it in made} == numbers, (one.name, made)
        assert {it["actor"].get("login_uid") for it in made} == {LOGIN + 200 + number}, (one.name, made)
        assert {it["target"]["uid"] for it in made} == {VICTIM} and {it["target"]["login_uid"] for it in made} == {VICTIM_LOGIN}, made
        if one.name == "stopped":
            os.kill(pid, signal.SIGKILL)
        started.wait(20)
        # The run's own record has it as well: it was told, although its user may not ask the kernel.
        acts = [act["what"] for act in watched.show(top / one.name)["acts"]]
        assert any(one.signal in act and f"logged in as {LOGIN + 200 + number}" in act for act in acts), (one.name, acts)


def test_limits_of_a_control_group_name_who_wrote_them(watched):
    needs_kernel(watched)
    for number, one in enumerate(scenarios.LIMITS):
        with group() as folder:
            if not (folder / one.limit).exists():
                pytest.skip(f"not checked: this kernel has no {one.limit}")
            ground = watched.top / f"limits-{one.name}"
            # The run begins within the group, as a scheduler would have it.
            own = f"open({str(folder / 'cgroup.procs')!r}, 'w').write(str(os.getpid()))\n"
            started, _ = watched.run(ground, first=own)
            time.sleep(0.3)
            actor = watched.act(LOGIN + 300 + number, one.code, group=str(folder))
            assert actor.wait() == 0, actor.stderr.read()
            path = str(folder / one.limit)
            made = until(lambda: [change for change in watched.acts("file_changed") if change["path"] == path])  # noqa: B023
            ended(started)
            theirs = [change for change in made if LOGIN + 300 + number in logins(change)]
            assert theirs and all(logins(change) <= {LOGIN + 300 + number} for change in theirs), (one.name, made)
            assert all("written" in change["deeds"] or "closed" in change["deeds"] for change in theirs), theirs


def hands_laid(it, top):
    """Each deed on a process without a signal, by a login of its own: what was recorded of each, and what its run was told."""
    runs = [(one, *it.run(top / one.name)) for one in scenarios.HANDS]
    time.sleep(0.3)
    actors = [it.act(LOGIN + 500 + number, one.code, pid=pid) for number, (one, _, pid) in enumerate(runs)]
    for actor, (one, _, _) in zip(actors, runs, strict=True):
        assert actor.wait() == 0, (one.name, actor.stderr.read())

    def of(pid):
        return [laid for laid in it.acts("intervened") if laid["target"]["process"]["pid"] == pid]

    found = [(one, until(lambda: of(pid))) for one, _, pid in runs]  # noqa: B023, it is asked at once
    for _, started, _ in runs:
        ended(started)
    return found


def test_hands_that_are_laid_on_a_process_without_a_signal_name_whose_they_are(watched):
    """Debuggers, writes into memory, the memory killer: each names its actor, and the run finds it where it is another login."""
    needs_kernel(watched)
    top = watched.top / "hands"
    for number, (one, made) in enumerate(hands_laid(watched, top)):
        assert {laid["what"] for laid in made} == {one.means}, (one.name, made)
        assert {laid["actor"]["known"] for laid in made} == {"observed"}, (one.name, made)
        assert all(logins(laid) == {LOGIN + 500 + number} for laid in made), (one.name, made)
        assert {laid["target"]["uid"] for laid in made} == {VICTIM} and {laid["target"]["login_uid"] for laid in made} == {VICTIM_LOGIN}, made
        view = watched.show(top / one.name)
        rule = "process-held" if one.means == "memory_killer" else "process-entered"
        found = [finding for finding in view["findings"] if finding["rule"] == rule]
        assert len(found) == 1 and f"logged in as {LOGIN + 500 + number}" in found[0]["what"], (one.name, view["findings"])
        assert any(f"logged in as {LOGIN + 500 + number}" in act["what"] for act in view["acts"]), (one.name, view["acts"])


def test_hands_are_seen_without_programs_in_the_kernel_as_far_as_whoever_laid_them_lives():
    with host(tier=1) as it:
        known = 0
        for number, (one, made) in enumerate(hands_laid(it, it.top / "hands")):
            assert {laid["what"] for laid in made} == {one.means}, (one.name, made)
            assert all(logins(laid) <= {LOGIN + 500 + number} for laid in made), (one.name, made)
            known += any(laid["actor"]["known"] == "looked_up" for laid in made)
        assert known, "nobody was named"


def test_an_owner_who_debugs_his_run_is_recorded_and_not_accused(watched):
    needs_kernel(watched)
    ground = watched.top / "owner-debugs"
    started, pid = watched.run(ground)
    time.sleep(0.3)
    deeds = {one.name: one.code for one in scenarios.HANDS}
    for name in ("debugged", "offered"):
        actor = watched.act(VICTIM_LOGIN, deeds[name], user=VICTIM, pid=pid)
        assert actor.wait() == 0, actor.stderr.read()
    laid = until(lambda: [it for it in watched.acts("intervened") if it["target"]["process"]["pid"] == pid], lambda all: len(all) > 1)
    assert {it["what"] for it in laid} == {"traced", "memory_killer"} and all(logins(it) == {VICTIM_LOGIN} for it in laid), laid
    ended(started)
    view = watched.show(ground)
    assert any("a debugger attached itself" in act["what"] for act in view["acts"]) and not view["findings"], view


def test_whoever_stops_or_slows_the_run_of_another_is_found(watched):
    """SIGSTOP, and a frozen control group, by another login; the owner's own are no finding."""
    needs_kernel(watched)
    with group() as folder:
        if not (folder / "cgroup.freeze").exists():
            pytest.skip("not checked: this kernel has no cgroup.freeze")
        for owner in (False, True):
            ground = watched.top / f"held-{owner}"
            own = f"open({str(folder / 'cgroup.procs')!r}, 'w').write(str(os.getpid()))\n"
            started, pid = watched.run(ground, first=own)
            time.sleep(0.3)
            login = VICTIM_LOGIN if owner else LOGIN + 600
            deeds = "os.kill(pid, 19); time.sleep(0.3); os.kill(pid, 18); open(group + '/cgroup.freeze', 'w').write('1'); time.sleep(0.3); open(group + '/cgroup.freeze', 'w').write('0')"
            actor = watched.act(login, deeds, pid=pid, group=str(folder))
            assert actor.wait() == 0, actor.stderr.read()
            time.sleep(1.5)
            ended(started)
            view = watched.show(ground)
            held = [finding["what"] for finding in view["findings"] if finding["rule"] == "process-held"]
            assert any("SIGSTOP" in act["what"] for act in view["acts"]), view["acts"]
            assert len(held) == (0 if owner else 2), (owner, held)
            if not owner:
                assert any("SIGSTOP" in what for what in held) and any("cgroup.freeze" in what for what in held), held
                assert all(str(login) in what for what in held), held


def test_a_rank_that_is_killed_says_by_whom_although_its_user_is_not_root(watched):
    """The run's own summary has the sender, from the daemon."""
    needs_kernel(watched)
    ground = watched.top / "told"
    started, pid = watched.run(ground)
    watched.act(LOGIN + 400, "os.kill(pid, 9)", pid=pid).wait()
    _, err = started.communicate(timeout=30)
    assert started.returncode == 137, err
    view = watched.show(ground)
    assert any("watched over by the host's daemon" in act["what"] for act in view["acts"]), view["acts"]
    assert any(f"SIGKILL to pid {pid} from pid" in act["what"] and f"logged in as {LOGIN + 400}" in act["what"] for act in view["acts"]), view["acts"]


def test_honest_doings_accuse_nobody(watched):
    """An owner who cancels, installs, rotates a log, debugs; a backup that reads all; a launcher that ends its own."""
    ground = watched.top / "benign"
    restarts = """
        import os, signal, subprocess, sys, time
        print('works', os.getpid(), flush=True)
        for _ in range(2):
            child = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(60)'])
            time.sleep(0.2); child.send_signal(signal.SIGTERM); child.wait()
        open('train.log', 'w').write('step')
        time.sleep(60)
    """
    started, _ = watched.run(ground, textwrap.dedent(restarts))
    time.sleep(1)
    # A backup reads everything; nothing of it is a change.
    before = len(watched.acts("file_changed"))
    subprocess.run(["tar", "-cf", "/dev/null", "-C", str(ground), "."], check=True)
    subprocess.run(["find", str(ground), "-type", "f", "-exec", "cat", "{}", "+"], check=True, stdout=subprocess.DEVNULL)
    time.sleep(0.5)
    assert len(watched.acts("file_changed")) == before
    # A log is rotated by a service, and a package is put there by the owner himself.
    subprocess.run(["sh", "-c", f"mv {ground}/train.log {ground}/train.log.1; : > {ground}/train.log"], check=True)
    owner = watched.act(VICTIM_LOGIN, "os.mkdir(folder + '/pkg'); open(folder + '/pkg/__init__.py', 'w').write('')", user=VICTIM, folder=str(ground))
    assert owner.wait() == 0, owner.stderr.read()
    time.sleep(0.5)
    # And he ends his run.
    supervisor = started.pid
    cancelled = watched.act(VICTIM_LOGIN, "os.kill(pid, 15)", user=VICTIM, pid=supervisor)
    assert cancelled.wait() == 0
    _, err = started.communicate(timeout=30)
    view = watched.show(ground)
    assert rules(view) == [], (view["findings"], err)
    assert not any("somebody else" in words(finding) for finding in view["findings"])
    assert "somebody else" not in err, err


def test_a_debugger_of_the_owner_and_a_scheduler_that_preempts_accuse_nobody(watched):
    ground = watched.top / "preempted"
    started, pid = watched.run(ground)
    time.sleep(0.3)
    # Attached, looked at, left again: ptrace(SEIZE, INTERRUPT, DETACH).
    code = "import ctypes, sys; p = ctypes.CDLL(None, use_errno=True).ptrace; r = [p(0x4206, pid, 0, 0), p(0x4207, pid, 0, 0)]; os.waitpid(pid, 0x40000000) if r[0] == 0 else 0; p(17, pid, 0, 0); print(r[0])"
    debugger = watched.act(VICTIM_LOGIN, code, user=VICTIM, pid=pid)
    out, err = debugger.communicate()
    assert debugger.returncode == 0, err
    if out.split() != ["0"]:
        print("not checked: this kernel lets nobody attach to his own process")
    subprocess.run(["kill", "-TERM", str(started.pid)], check=True)
    _, err = started.communicate(timeout=30)
    view = watched.show(ground)
    assert rules(view) == [] and "somebody else" not in err, (view["findings"], err)


def test_memory_that_is_full_is_the_kernels_doing_and_nobody_elses(watched):
    needs_kernel(watched)
    folder = Path("/sys/fs/cgroup/memory") / f"taintline-test-{os.getpid()}"
    try:
        folder.mkdir()
        (folder / "memory.limit_in_bytes").write_text(str(96 << 20))
    except OSError:
        pytest.skip("not checked: no control group with a limit of memory can be made here")
    try:
        code = JOB.replace("time.sleep(60)", "x = [bytearray(1 << 20) for _ in range(400)]")
        first = f"open({str(folder / 'cgroup.procs')!r}, 'w').write(str(os.getpid()))\n"
        started, pid = watched.run(watched.top / "full", code, first=first)
        _, err = started.communicate(timeout=60)
        view = watched.show(watched.top / "full")
    finally:
        for _ in range(50):
            with contextlib.suppress(OSError):
                folder.rmdir()
                break
            time.sleep(0.1)
    assert started.returncode == 137, err
    assert any(f"SIGKILL to pid {pid} by the kernel itself" in act["what"] for act in view["acts"]), view["acts"]
    assert rules(view) == [] and "somebody else" not in err, (view["findings"], err)


def test_who_changed_a_file_before_the_run_is_known_to_it(watched):
    ground = watched.top / "earlier"
    first, _ = watched.run(ground)
    time.sleep(0.3)
    ended(first)
    (ground / "common.py").write_text("a = 1")
    actor = watched.act(LOGIN + 500, "open(target, 'a').write('evil')", target=str(ground / "common.py"))
    assert actor.wait() == 0
    until(lambda: [change for change in watched.acts("file_changed") if LOGIN + 500 in logins(change)])
    second, _ = watched.run(ground)
    time.sleep(0.5)
    ended(second)
    changes = [change for change in watched.show(ground)["changes"] if f"logged in as {LOGIN + 500}" in change["who"]]
    assert changes and all(change["earlier"] for change in changes), watched.show(ground)["changes"]
    # And to whoever asks who wrote it, by path and by digest.
    (link,) = [link for link in watched.blame(ground / "common.py")["links"] if f"logged in as {LOGIN + 500}" in link["who"]]
    assert link["rung"] == 2 and "not a person" in link["may_be_said"] and link["after"], link
    assert any(f"logged in as {LOGIN + 500}" in it["who"] for it in watched.blame(link["after"])["links"])


def test_nobody_is_told_of_what_his_account_could_not_find(watched):
    ground, closed = watched.top / "private", watched.top / "private/closed"
    closed.mkdir(parents=True)
    closed.chmod(0o700)
    started, _ = watched.run(ground)
    time.sleep(0.3)
    actor = watched.act(LOGIN + 600, "open(folder + '/secret', 'w').write('x'); open(folder + '/../open', 'w').write('x')", folder=str(closed))
    assert actor.wait() == 0
    until(lambda: [change for change in watched.acts("file_changed") if change["path"].endswith("/private/open")])
    ended(started)
    paths = [change["path"] for change in watched.show(ground)["changes"]]
    assert any(path.endswith("/open") for path in paths) and not any("secret" in path for path in paths), paths
    assert not any("secret" in change["path"] for change in watched.acts("file_changed"))


def test_a_socket_of_somebody_who_is_not_root_is_not_believed(watched):
    ground = watched.top / "false"
    ground.mkdir()
    os.chown(ground, 61_777, 61_777)
    code = BECOME + "import socket; s = socket.socket(socket.AF_UNIX); s.bind(sys.argv[3]); os.chmod(sys.argv[3], 0o666); s.listen(); print('listens', flush=True); time.sleep(30)"
    false = subprocess.Popen([SYSTEM_PYTHON, "-c", code, str(LOGIN), "61777", str(ground / "s")], stdout=subprocess.PIPE, text=True)
    assert false.stdout.readline() == "listens\n"
    real, watched.socket = watched.socket, ground / "s"
    try:
        started, _ = watched.run(watched.top / "deceived")
    finally:
        watched.socket = real
        false.kill()
        false.wait()
    ended(started)
    gaps = [gap for gap in watched.show(watched.top / "deceived")["gaps"] if gap["what"] == "the host's daemon"]
    assert gaps and "not root: not believed" in gaps[0]["why"], gaps


@pytest.mark.parametrize("how", ["killed", "stopped", "ended"])
def test_a_time_in_which_the_daemon_was_blind_is_in_the_ledger(how):
    with host() as it:
        it.environment["TAINTLINE_CONFIG"] = str(it.top / "settings.toml")
        Path(it.environment["TAINTLINE_CONFIG"]).write_text("[record]\nheartbeat_seconds = 1\n")
        it.end()
        it.begin()
        started, _ = it.run(it.top / "run")
        if how == "stopped":
            it.process.send_signal(signal.SIGSTOP)
            time.sleep(6)
            it.process.send_signal(signal.SIGCONT)
            beats = until(lambda: [beat for beat in it.acts("watch_beat") if beat["heart"]["stopped_us"] > 3_000_000])
            assert beats, it.acts("watch_beat")
            ended(started)
            return
        if how == "killed":
            it.process.kill()
            it.process.wait()
        else:
            it.end()
        time.sleep(1)
        ended(started)
        gaps = [gap["what"] for gap in it.show(it.top / "run")["gaps"]]
        assert any("what the host's daemon sees, from here on" in gap for gap in gaps), gaps
        it.begin()
        blind = it.acts("watch_begun")[-1]["blind"]
        assert blind["ended"] == (how == "ended") and blind["to_us"] - blind["from_us"] > 900_000, blind
        words = "the daemon had ended" if how == "ended" else "the daemon was gone without a word"
        assert any(gap["why"] == words for gap in json.loads(it.taintline("blame", "/nothing", "--json", code=3))["gaps"])


def test_one_account_that_floods_is_counted_and_blinds_nobody(watched):
    """Changes by the thousand and two that open files without end; what others do is seen all the same, and each signal."""
    needs_kernel(watched)
    ground = watched.top / "flood"
    started, pid = watched.run(ground)
    time.sleep(0.3)
    opens = "end = time.time() + 4\nwhile time.time() < end: os.close(os.open(folder, os.O_RDONLY))"
    openers = [watched.act(LOGIN + 703, opens, folder=str(ground)) for _ in range(2)]
    flood = watched.act(LOGIN + 700, "for n in range(8000): open(f'{folder}/f{n}', 'w').close()", folder=str(ground))
    time.sleep(0.8)
    quiet = watched.act(LOGIN + 701, "open(folder + '/quiet', 'w').write('x')", folder=str(ground))
    # Five thousand within a second; a signal that does nothing to whoever does not want it.
    many = "for _ in range(100):\n for _ in range(50): os.kill(pid, 28)\n time.sleep(0.01)"
    sender = watched.act(LOGIN + 702, many, pid=pid)
    for actor in (flood, quiet, sender, *openers):
        assert actor.wait() == 0, actor.stderr.read()

    def made():
        return [it for it in watched.acts("signal_made") if it["target"]["process"]["pid"] == pid]

    signals = until(made, lambda found: len(found) >= 5_000)
    assert len(signals) == 5_000 and {it["actor"]["login_uid"] for it in signals} == {LOGIN + 702}, len(signals)
    changes = [change for change in watched.acts("file_changed") if change["path"].startswith(str(ground))]
    assert any(LOGIN + 701 in logins(change) for change in changes), len(changes)
    told = {change["path"] for change in changes if LOGIN + 700 in logins(change)}
    beyond = [gap for gap in watched.entries() if gap.get("kind") == "gap" and f"user {LOGIN + 700}" in gap["what"]]
    ended(started)
    # What is not told singly is counted, at the latest with the next word of the daemon.
    assert len(told) >= 4_000 or beyond, (len(told), beyond)


def test_a_thousand_that_write_and_are_gone_are_known_each(watched):
    needs_kernel(watched)
    ground = watched.top / "short"
    started, _ = watched.run(ground)
    time.sleep(0.3)
    actor = watched.act(LOGIN + 800, "import subprocess\nfor n in range(1000): subprocess.run(['sh', '-c', f'echo x > {folder}/w{n}'])", folder=str(ground))
    assert actor.wait() == 0, actor.stderr.read()

    def theirs():
        return [change for change in watched.acts("file_changed") if change["path"].startswith(str(ground / "w"))]

    changes = until(theirs, lambda found: len({change["path"] for change in found}) >= 1_000)
    ended(started)
    right = {change["path"] for change in changes if logins(change) == {LOGIN + 800} and change["actor"]["known"] == "observed"}
    wrong = [change for change in changes if not logins(change) <= {LOGIN + 800}]
    assert len(right) >= 999 and not wrong, (len(right), wrong[:2])


def test_what_this_host_can_see_is_told_without_watching():
    done = subprocess.run([BINARY, "watch", "--explain", "--json"], capture_output=True, text=True, check=True)
    view = json.loads(done.stdout)
    assert view["schema"] == "taintline.watch-explain/1" and len(view["senses"]) == 5 and view["never"]
    nobody = subprocess.run(["setpriv", "--reuid", "61777", "--clear-groups", BINARY, "watch"], capture_output=True, text=True, env={"HOME": "/", "PATH": os.environ["PATH"]})
    assert nobody.returncode == 2 and "only root can see" in nobody.stderr, nobody


def test_a_finding_about_torch_itself_names_who_edited_it(watched, base, tmp_path_factory, clean):
    """A real training, with an environment that a colleague edits while it goes."""
    needs_kernel(watched)
    world = prepared(base, tmp_path_factory, clean)
    world.script(RUN, "run.py")
    for above in [world.site.sgd, *world.site.sgd.parents]:
        if "pytest-of" in str(above):
            above.chmod(0o755)
    before = world.site.sgd.read_bytes()
    (world.folder / "go").unlink(missing_ok=True)
    run = world.start([BINARY, "run", "--", world.python, "run.py"], TAINTLINE_DAEMON=str(watched.socket))
    try:
        run.line("stepped")
        wait_until(lambda: world.show()["environments"])
        actor = watched.act(LOGIN + 900, "open(target, 'a').write(text)", target=str(world.site.sgd), text=MARKED)
        assert actor.wait() == 0, actor.stderr.read()
        wait_until(lambda: "environment-changed-during-run" in rules(world.show()))
    finally:
        world.site.sgd.write_bytes(before)
        (world.folder / "go").touch()
        done = run.finish()
    view = world.show()
    found = [finding for finding in view["findings"] if finding["rule"] == "environment-changed-during-run"]
    assert found and f"logged in as {LOGIN + 900}" in words(found[0]) and "seen by the host's daemon: observed" in words(found[0]), view["findings"]
    # It was told with the finding, while the run was going.
    assert f"logged in as {LOGIN + 900}" in done.err, done
    links = watched.blame(world.site.sgd)["links"]
    assert any(link["kind"] == "changed" and f"logged in as {LOGIN + 900}" in link["who"] and link["rung"] == 2 for link in links), links


def test_the_capabilities_of_the_unit_are_enough():
    """As the unit for systemd has it: these capabilities, and no others."""
    if os.geteuid():
        pytest.skip("not checked: only root can watch a host")
    unit = (REPOSITORY / "packaging/taintline-watch.service").read_text()
    line = next(line for line in unit.splitlines() if line.startswith("CapabilityBoundingSet="))
    names = [name.removeprefix("CAP_").lower() for name in line.split("=", 1)[1].split()]
    limited = ["setpriv", "--no-new-privs", "--bounding-set", "-all," + ",".join(f"+{name}" for name in names), BINARY]
    views = [json.loads(subprocess.run([*command, "watch", "--explain", "--json"], capture_output=True, text=True, check=True).stdout) for command in (limited, [BINARY])]
    assert views[0]["senses"] == views[1]["senses"], views


@pytest.fixture(scope="module")
def alone():
    """A host on which nobody watches."""
    if os.geteuid():
        pytest.skip("not checked: only root can be several users")
    top = Path(tempfile.mkdtemp(prefix="taintline-alone-"))
    top.chmod(0o755)
    (top / "home").mkdir()
    yield Host(top)
    shutil.rmtree(top, ignore_errors=True)


def test_without_a_daemon_changed_files_are_found_and_nobody_is_named(alone, base, tmp_path_factory, clean):
    """Tier 0: each deed with files in a package of its own within the environment, while a training that imported it goes on."""
    world = prepared(base, tmp_path_factory, clean)
    packages = {one: world.site.site / one.name.replace("-", "_") for one in scenarios.FILES}
    for folder in packages.values():
        folder.mkdir()
        (folder / "__init__.py").write_text("from . import target\n")
        (folder / "target.py").write_text("abcdefgh = 1\nfirst = 'a'\n")
    imports = "".join(f"    import {folder.name}\n" for folder in packages.values())
    world.script(imports + RUN, "run.py")
    go = world.folder / "go"
    go.touch()
    assert world.guarded(world.python, "run.py").code == 0
    going = Going(world)
    outside = world.folder / "outside"
    outside.mkdir()
    actors = []
    for number, (one, folder) in enumerate(packages.items()):
        values = {"folder": str(folder), "target": str(folder / "target.py"), "outside": str(outside / one.name)}
        actors.append(alone.act(LOGIN + number, one.code, **values))
    for actor, one in zip(actors, packages, strict=True):
        assert actor.wait() == 0, (one.name, actor.stderr.read())
    # Another priority, and other processors, of the process that trains.
    pid = next(int(found) for found in os.listdir("/proc") if found.isdigit() and is_training(found, world.python))
    os.setpriority(os.PRIO_PROCESS, pid, 7)
    os.sched_setaffinity(pid, {0})
    wait_until(lambda: any("may run on other processors: 0" in act["what"] for act in world.show()["acts"]) or os.cpu_count() == 1)
    view = going.end()
    assert any(f"(pid {pid})" in act["what"] or f"pid {pid}" in act["what"] for act in view["acts"] if "is another: nice 7, before nice 0" in act["what"]), view["acts"]
    paths = [finding["path"] for finding in view["findings"]]
    found = {one.name for one, folder in packages.items() if any(f"/{folder.name}/" in path for path in paths)}
    assert found == {one.name for one in scenarios.FILES if one.alone}, (found, view["findings"])
    assert "logged in as" not in json.dumps(view["findings"])


def test_without_a_daemon_ends_are_told_without_their_sender_and_debuggers_with_their_name(alone):
    """Tier 0: a run of somebody who is no root, on whose host nobody watches."""
    deeds = scenarios.SIGNALS + scenarios.HANDS
    runs = [(one, *alone.run(alone.top / "alone" / one.name, daemon=False)) for one in deeds]
    time.sleep(0.3)
    actors = [alone.act(LOGIN + number, one.code, pid=pid) for number, (one, _, pid) in enumerate(runs)]
    for actor, (one, _, _) in zip(actors, runs, strict=True):
        assert actor.wait() == 0, (one.name, actor.stderr.read())
    time.sleep(0.5)
    for number, (one, started, pid) in enumerate(runs):
        if one.signal not in ("SIGKILL", "SIGTERM"):
            ended(started)
        started.wait(20)
        view = alone.show(alone.top / "alone" / one.name)
        told = [act["what"] for act in view["acts"]]
        # Nobody who did nothing is named.
        others = {LOGIN + other for other in range(len(runs)) if other != number}
        assert not any(f"logged in as {login}" in json.dumps(view) for login in others), (one.name, view)
        if one.signal and one.name != "stopped":
            assert any(f"(pid {pid}) ended" in what and one.signal in what for what in told), (one.name, told)
            assert not any("logged in as" in what for what in told), (one.name, told)
        elif one.means == "traced":
            traced = [what for what in told if f"a debugger attached itself to pid {pid}" in what]
            if not traced and not hears_tracers():
                pytest.skip("not checked: this kernel tells nobody of debuggers")
            named = any(f"logged in as {LOGIN + number}" in what for what in traced)
            assert traced and (named or not one.alone), (one.name, told)
            assert "process-entered" in rules(view), (one.name, view["findings"])
        else:
            assert not view["findings"] and not any("logged in as" in what for what in told), (one.name, view)


def is_training(pid, python):
    try:
        command = Path("/proc", pid, "cmdline").read_bytes().split(b"\0")
    except OSError:
        return False
    return command[:2] == [str(python).encode(), b"run.py"]


def hears_tracers():
    view = json.loads(subprocess.run([BINARY, "watch", "--explain", "--json"], capture_output=True, text=True, check=True).stdout)
    return next(sense for sense in view["senses"] if "debugger" in sense["what"]).get("missing") is None


def test_the_page_has_the_deeds_as_they_are_tested():
    assert len(scenarios.ALL) >= 25
    assert scenarios.table() in (REPOSITORY / "docs/daemon.md").read_text()
