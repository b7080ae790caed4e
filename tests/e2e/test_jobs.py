"""Jobs of every kind: workers, shells, crashes, odd files, a Python that does not listen."""

import os
import shutil

from conftest import TINY, TRAIN, gaps, rules, sha256, steps_of

LOOP = """
    import torch

    model = torch.nn.Linear(4, 4)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)

    def step():
        optimizer.zero_grad()
        loss = model(torch.ones(2, 4)).square().mean()
        loss.backward()
        optimizer.step()
"""


def test_a_shell_script_and_loader_workers_are_seen_through(world):
    script = world.folder / "go.sh"
    python = " ".join([world.python, str(TRAIN), *TINY])
    script.write_text(f"#!/bin/sh\nset -e\n{python} --steps 2 --num-workers 2\necho after\n")
    script.chmod(0o755)
    done = world.guarded("./go.sh")
    assert done.code == 0, done
    assert done.out.endswith("after\n")
    view = world.show()
    assert rules(view) == []
    trained = [rank for rank in view["ranks"] if rank["count"]]
    assert [steps_of(rank) for rank in trained] == [[1, 2]]


def test_a_crash_keeps_its_traceback_and_its_code(world):
    script = world.script(LOOP + """
    step()
    raise ValueError("the data is odd")
    """)
    done = world.guarded(world.python, script)
    assert done.code == 1, done
    number = script.read_text().splitlines().index('raise ValueError("the data is odd")') + 1
    trace = (
        f'Traceback (most recent call last):\n  File "{script}", line {number}, in <module>\n'
        '    raise ValueError("the data is odd")\nValueError: the data is odd\n'
    )
    assert trace in done.err, done.err
    view = world.show()
    assert rules(view) == []
    assert view["steps"] == 1
    assert any("ValueError" in act["what"] for act in view["acts"]), view["acts"]


def test_data_odd_files_and_vanishing_ones_are_recorded_or_said(world):
    data, big = world.folder / "corpus.bin", world.folder / "big.bin"
    data.write_bytes(os.urandom(100_000))
    with open(big, "wb") as file:
        file.truncate(64 << 20)
    (world.folder / "gone.bin").write_bytes(b"x" * 1000)
    (world.folder / "hostile\x1b[31m\u202e.bin").write_bytes(b"y")
    os.mkfifo(world.folder / "pipe")
    script = world.script(
        LOOP
        + """
    import os, threading
    open("corpus.bin", "rb").read()
    open("big.bin", "rb").read(10)
    with open("gone.bin", "rb") as file:
        os.unlink("gone.bin")
        file.read()
    open("hostile\\x1b[31m\\u202e.bin", "rb").read()
    threading.Thread(target=lambda: open("pipe", "wb").write(b"z")).start()
    open("pipe", "rb").read()
    os.symlink("loop", "loop")
    try:
        open("loop", "rb")
    except OSError:
        pass
    open("/proc/self/status").read()
    open("/dev/zero", "rb").read(10)
    step()
    """
    )
    done = world.guarded(world.python, script, options=["--data-budget", "1M"])
    assert done.code == 0, done
    assert "\x1b" not in done.err and "\u202e" not in done.err
    view = world.show()
    loads = {load["path"]: load for load in view["loads"]}
    assert loads[str(data)]["kind"] == "data"
    assert loads[str(data)]["digest"] == sha256(data)
    assert loads[str(big)]["digest"] is None and loads[str(big)]["size"] == 64 << 20
    told = gaps(view)
    assert "big.bin" in told
    # Either the digest was taken before it went, or the gap is said; never neither.
    gone = str(world.folder / "gone.bin")
    assert loads.get(gone, {}).get("digest") or gone in told
    shown = world.taintline("show", "last").out
    assert "\x1b" not in shown and "\u202e" not in shown


def test_saving_under_a_temporary_name_is_one_write(world):
    script = world.script(
        LOOP
        + """
    import os
    step()
    torch.save(model.state_dict(), "model.tmp")
    os.replace("model.tmp", "model.pt")
    step()
    torch.save({"step": 2, "model": model.state_dict()}, "model.tmp")
    os.rename("model.tmp", "model.pt")
    """
    )
    done = world.guarded(world.python, script)
    assert done.code == 0, done
    view = world.show()
    assert [(write["path"], write["step"]) for write in view["writes"]] == [
        (str(world.folder / "model.pt"), 1),
        (str(world.folder / "model.pt"), 2),
    ]
    assert view["writes"][-1]["digest"] == sha256(world.folder / "model.pt")


def test_a_python_that_does_not_listen_is_a_gap(world):
    script = world.script(LOOP + """
    import time
    step()
    time.sleep(7)
    """)
    done = world.guarded(world.python, "-I", script)
    assert done.code == 0, done
    view = world.show()
    assert view["steps"] == 0
    assert "sensor never spoke" in gaps(view), gaps(view)
    assert "not recorded" in done.err


def test_accelerate_launches_under_guard(world):
    launcher = shutil.which("accelerate", path=os.path.dirname(world.python))
    assert launcher, "accelerate is not installed in this Python"
    done = world.guarded(launcher, "launch", "--cpu", "--num_processes", 1, TRAIN, *TINY, "--steps", 2)
    assert done.code == 0, done
    view = world.show()
    assert rules(view) == []
    trained = [rank for rank in view["ranks"] if rank["count"]]
    assert [steps_of(rank) for rank in trained] == [[1, 2]]
