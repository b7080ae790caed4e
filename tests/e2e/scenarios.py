"""What somebody may do on a host to a run of somebody else: each a little Python for an actor of his own login, and what must be seen of it.

Files are `target` and its folder; `pid` is a process of a victim's run, `group` the folder of its control group.
"""

from dataclasses import dataclass


@dataclass(frozen=True)
class Scenario:
    """One deed. `sees` says what of it stands in the ledger: deeds on a path below the folder, a signal, or a limit of the control group."""

    name: str
    words: str
    code: str
    path: str = "target"
    deeds: frozenset = frozenset()
    signal: str = ""
    limit: str = ""
    means: str = ""
    user: int | None = None  # whom the actor becomes; none is root
    alone: bool = False  # a run without a daemon finds that it was done; of a debugger, by whom


# What a run that has its files loaded already does not find without a daemon: no file that it loads has other bytes.
SAME_BYTES = {"moved-away", "deleted", "link", "symbolic-link", "mode", "owner", "times", "nameless", "moved-folder"}


def changes(name, words, code, deeds, path="target", user=None):
    return Scenario(name, words, code, path, frozenset(deeds.split()), user=user, alone=name not in SAME_BYTES)


def signals(name, words, code, signal):
    return Scenario(name, words, code, signal=signal)


def hands(name, words, code, means):
    return Scenario(name, words, code, means=means, alone=means == "traced" and name != "debugged-for-a-moment")


def limits(name, words, code, limit):
    return Scenario(name, words, code, limit=limit)


SYSCALL = "import ctypes; call = ctypes.CDLL(None, use_errno=True).syscall; "

FILES = [
    changes("append", "a line is appended to a source file", "open(target, 'a').write('x')", "written closed"),
    changes("in-place", "bytes in the middle are replaced", "f = open(target, 'r+b'); f.seek(1); f.write(b'z'); f.close()", "written closed"),
    changes("cut", "a file is cut to nothing by its name", "os.truncate(target, 0)", "written"),
    changes("replaced", "another file is renamed over it", "open(folder + '/.new', 'w').write('evil'); os.rename(folder + '/.new', target)", "renamed"),
    changes("moved-away", "it is renamed away", "os.rename(target, target + '.bak')", "renamed", "target.bak"),
    changes("exchanged", "it is exchanged with another at once", SYSCALL + "open(folder + '/other', 'w').write('o'); assert call(316, -100, (folder + '/other').encode(), -100, target.encode(), 2) == 0", "renamed"),
    changes("deleted", "it is deleted", "os.unlink(target)", "deleted"),
    changes("startup-hook", "a new .pth appears", "open(folder + '/evil.pth', 'w').write('import os')", "created closed", "evil.pth"),
    changes("link", "another name for a file outside is made", "open(outside, 'w').close(); os.link(outside, folder + '/linked')", "created", "linked"),
    changes("symbolic-link", "a symbolic link is put there", "os.symlink('/etc/hostname', folder + '/soft')", "created", "soft"),
    changes("mode", "its mode is changed", "os.chmod(target, 0o666)", "attributes"),
    changes("owner", "its owner is changed", "os.chown(target, 61999, 61999)", "attributes"),
    changes("times", "its times are set back", "os.utime(target, (1, 1))", "attributes"),
    changes("mapped", "it is written through shared memory", "import mmap; f = open(target, 'r+b'); m = mmap.mmap(f.fileno(), 4); m[0:1] = b'q'; m.close(); f.close()", "closed"),
    changes("copied-into", "it is filled by copy_file_range", "a = os.open('/etc/hostname', os.O_RDONLY); b = os.open(target, os.O_WRONLY); os.copy_file_range(a, b, 4); os.close(b)", "written closed"),
    changes("nameless", "a file without a name gets one", SYSCALL + "f = os.open(folder, os.O_TMPFILE | os.O_WRONLY, 0o644); os.write(f, b'x'); assert call(265, -100, f'/proc/self/fd/{f}'.encode(), -100, (folder + '/born').encode(), 0x400) == 0", "created", "born"),
    changes("new-folder", "a package appears: a folder, and a file in it", "os.mkdir(folder + '/pkg'); open(folder + '/pkg/__init__.py', 'w').write('x')", "created closed", "pkg/__init__.py"),
    changes("moved-folder", "a folder is renamed", "os.mkdir(folder + '/old'); os.rename(folder + '/old', folder + '/young')", "renamed", "young"),
    changes("by-shell", "a shell of a millisecond writes it", "os.execvp('sh', ['sh', '-c', f'echo x > {target}'])", "written closed"),
    changes("by-tool", "a tool that ends at once writes it", "os.execvp('cp', ['cp', '/etc/hostname', target])", "written closed"),
    changes("by-grandchild", "a child of a child writes it, and both are gone", "import subprocess; subprocess.run(['sh', '-c', f'(echo x > {target}) & wait'])", "written closed"),
    changes("same-group", "a colleague without root writes what his group may", "open(target, 'a').write('x')", "written closed", user=61_777),
    changes("descriptor-kept", "it is opened, the process waits, and writes at last", "f = open(target, 'a'); time.sleep(0.5); f.write('x'); f.close()", "written closed"),
]
SIGNALS = [
    signals("kill", "SIGKILL by kill", "os.kill(pid, 9)", "SIGKILL"),
    signals("terminate", "SIGTERM by kill", "os.kill(pid, 15)", "SIGTERM"),
    signals("by-descriptor", "SIGKILL by pidfd_send_signal", "import signal; signal.pidfd_send_signal(os.pidfd_open(pid), 9)", "SIGKILL"),
    signals("by-thread", "SIGKILL to a thread by tgkill", SYSCALL + "assert call(234, pid, pid, 9) == 0", "SIGKILL"),
    signals("queued", "SIGTERM by rt_sigqueueinfo", SYSCALL + "info = (ctypes.c_int * 32)(15, 0, -1); assert call(129, pid, 15, info) == 0", "SIGTERM"),
    signals("stopped", "SIGSTOP, and on again", "os.kill(pid, 19); time.sleep(0.3); os.kill(pid, 18)", "SIGSTOP"),
    signals("by-tool", "SIGKILL by the kill program", "os.execvp('kill', ['kill', '-9', str(pid)])", "SIGKILL"),
]
LIMITS = [
    limits("frozen", "its control group is frozen: no signal", "open(group + '/cgroup.freeze', 'w').write('1'); time.sleep(0.4); open(group + '/cgroup.freeze', 'w').write('0')", "cgroup.freeze"),
    limits("group-killed", "its control group is killed as a whole", "open(group + '/cgroup.kill', 'w').write('1')", "cgroup.kill"),
    limits("moved", "a process is moved into its control group", "import subprocess; c = subprocess.Popen(['sleep', '1']); open(group + '/cgroup.procs', 'w').write(str(c.pid)); c.kill()", "cgroup.procs"),
]
TRACE = "import ctypes; trace = ctypes.CDLL(None, use_errno=True).ptrace; "
# The bytes that are there already are written again: nothing comes of it.
MEMORY = "stack = next(int(line.split('-')[0], 16) for line in open(f'/proc/{pid}/maps') if '[stack]' in line); f = os.open(path, os.O_RDWR); os.pwrite(f, os.pread(f, 8, stack), stack); os.close(f)"
HANDS = [
    hands("debugged", "a debugger attaches itself (PTRACE_SEIZE)", TRACE + "assert trace(0x4206, pid, 0, 0) == 0; time.sleep(0.3)", "traced"),
    hands("debugged-and-stopped", "a debugger attaches itself and stops it (PTRACE_ATTACH)", TRACE + "assert trace(16, pid, 0, 0) == 0; os.waitpid(pid, 0x40000000); time.sleep(0.3); assert trace(17, pid, 0, 0) == 0", "traced"),
    hands("debugged-for-a-moment", "a debugger that ends at once", TRACE + "assert trace(0x4206, pid, 0, 0) == 0", "traced"),
    hands("memory", "its memory is written (/proc/PID/mem)", "path = f'/proc/{pid}/mem'; " + MEMORY, "memory_written"),
    hands("memory-by-thread", "its memory is written by the name of its thread", "path = f'/proc/{pid}/task/{pid}/mem'; " + MEMORY, "memory_written"),
    hands("offered", "it is offered to the memory killer", "open(f'/proc/{pid}/oom_score_adj', 'w').write('900')", "memory_killer"),
]
ALL = FILES + SIGNALS + LIMITS + HANDS


def seen(scenario, tier):
    """What a tier sees of it, as the page has it."""
    if tier == 0:
        if scenario.means == "traced":
            return "yes" if scenario.alone else "that it was done; by whom where its process lives for a moment"
        if scenario.means:
            return "what comes of it, in the steps" if scenario.means == "memory_written" else "no"
        if scenario.signal:
            return "no" if scenario.name == "stopped" else "that it ended so; not by whom"
        if scenario.limit:
            return "a stall at most"
        return "that it was done; not by whom" if scenario.alone else "no: nothing that is loaded has other bytes"
    if scenario.signal:
        return "yes" if tier == 2 else "no"
    if scenario.limit == "cgroup.kill" and tier == 2:
        return "yes, and each signal"
    return "yes" if tier == 2 else "where its process lived when it was looked at"


def table():
    """The table of docs/daemon.md."""
    rows = ["| deed | what is done | tier 2 | tier 1 | tier 0: a run without a daemon |", "| --- | --- | --- | --- | --- |"]
    rows += [f"| {one.name} | {one.words} | {seen(one, 2)} | {seen(one, 1)} | {seen(one, 0)} |" for one in ALL]
    return "\n".join(rows) + "\n"
