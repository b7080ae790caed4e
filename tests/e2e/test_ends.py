"""How a run ends: killed ranks are found, an end that was asked for is not."""

import json
import re
import signal
from pathlib import Path

from conftest import TINY, TRAIN, kill, rules, steps_of, wait_until, words

# A job that trains until it is ended, one step after the other, and tells its process number.
ENDLESS = """
    import os, sys, time
    import torch
    import torch.distributed as dist

    world = int(os.environ.get("WORLD_SIZE", "1"))
    rank = int(os.environ.get("RANK", "0"))
    if world > 1:
        dist.init_process_group("gloo")
    torch.manual_seed(1)
    model = torch.nn.Linear(8, 8)
    replica = torch.nn.parallel.DistributedDataParallel(model) if world > 1 else model
    optimizer = torch.optim.AdamW(model.parameters())
    for step in range(1, 100_000):
        optimizer.zero_grad()
        replica(torch.ones(2, 8)).square().mean().backward()
        optimizer.step()
        if step == 5:
            open(f"pid-{rank}.part", "w").write(str(os.getpid()))
            os.replace(f"pid-{rank}.part", f"pid-{rank}")
            print(f"rank {rank} trains", flush=True)
        time.sleep(0.02)
"""


# Torch itself, guarded or not: a thread of gloo that still holds a tensor when Python ends is ended by Python and ends the process.
ABORTED = "terminate called without an active exception"


def torchrun(world, *arguments):
    return [world.python, "-m", "torch.distributed.run", "--nproc-per-node", "2", *arguments]


def unless_aborted(run, *command):
    """Runs the command; again, twice at most, where torch's own defect ended it."""
    for _ in range(3):
        done = run(*command)
        if done.code == 0 or ABORTED not in done.err:
            break
    return done


def test_a_single_process_that_is_killed_is_found_with_signal_and_step(world):
    running = world.start_guarded(world.python, world.script(ENDLESS))
    running.line("rank 0 trains")
    kill(int((world.folder / "pid-0").read_text()))
    done = running.finish()
    assert done.code == 137, done
    view = world.show()
    assert rules(view) == ["rank-vanished"]
    (finding,) = view["findings"]
    (rank,) = [rank for rank in view["ranks"] if rank["count"]]
    assert "SIGKILL" in finding["what"]
    last = int(re.search(r"after step (\d+)", finding["what"]).group(1))
    assert last == rank["last"] >= 5
    assert finding["step"] == last + 1
    assert view["outcome"] == "signal 9 (SIGKILL)"


def test_one_killed_rank_of_torchrun_is_exactly_one_finding(world):
    running = world.start_guarded(*torchrun(world, world.script(ENDLESS)))
    wait_until(lambda: (world.folder / "pid-0").exists() and (world.folder / "pid-1").exists())
    kill(int((world.folder / "pid-1").read_text()))
    done = running.finish()
    assert done.code == 1, done
    view = world.show()
    assert rules(view) == ["rank-vanished"], view["findings"]
    (finding,) = view["findings"]
    assert finding["rank"] == 1
    assert "rank 1" in finding["what"] and "SIGKILL" in finding["what"]
    assert re.search(r"after step \d+", finding["what"])


def test_an_interrupt_reaches_every_rank_and_is_no_finding(world):
    running = world.start_guarded(*torchrun(world, world.script(ENDLESS)))
    wait_until(lambda: (world.folder / "pid-0").exists() and (world.folder / "pid-1").exists())
    running.process.send_signal(signal.SIGINT)
    done = running.finish()
    assert done.code != 0, done
    assert rules(world.show()) == []
    for rank in (0, 1):
        pid = (world.folder / f"pid-{rank}").read_text()
        assert not Path(f"/proc/{pid}").exists()


def test_torchrun_is_recorded_rank_by_rank_and_its_output_is_unchanged(world):
    arguments = torchrun(world, TRAIN, *TINY, "--steps", "3")
    bare = unless_aborted(world.plain, *arguments)
    assert bare.code == 0, bare
    done = unless_aborted(world.guarded, *arguments)
    assert done.code == 0, done
    assert re.sub(r"\d+ ms", "N ms", done.out) == re.sub(r"\d+ ms", "N ms", bare.out)
    assert done.weights == bare.weights
    view = world.show()
    assert rules(view) == []
    ranks = [rank for rank in view["ranks"] if rank["count"]]
    assert [(rank["rank"], rank["world_size"], steps_of(rank)) for rank in ranks] == [
        (0, 2, [1, 2, 3]),
        (1, 2, [1, 2, 3]),
    ]
    assert view["steps"] == 6
    for left, right in zip(ranks[0]["steps"], ranks[1]["steps"], strict=True):
        assert left["parameters"] == right["parameters"]
        assert left["batches"] != right["batches"]


def test_a_killed_supervisor_keeps_every_step_that_was_recorded(world):
    running = world.start_guarded(world.python, world.script(ENDLESS))
    running.line("rank 0 trains")
    job = int((world.folder / "pid-0").read_text())
    name = re.search(r"run (\S+)", running.process.stderr.readline()).group(1)
    wait_until(lambda: json.loads(world.taintline("show", name, "--json").out)["steps"] > 0)
    running.process.kill()
    running.process.wait()
    # The job outlives it and is none the worse for it.
    assert Path(f"/proc/{job}").exists()
    kill(job)
    view = world.show(name)
    assert view["state"] == "interrupted"
    (rank,) = [rank for rank in view["ranks"] if rank["count"]]
    assert steps_of(rank) == list(range(1, rank["last"] + 1))


# A rank that starts a process of its own, which opens a file, and stops it by a signal, as loaders do with their workers.
HELPED = """
    import multiprocessing, os, sys, time
    import torch

    def helper(ready):
        open(sys.executable, "rb").close()
        open("input.bin", "rb").read()
        ready.set()
        time.sleep(60)

    open("input.bin", "wb").write(b"x" * 100)
    model = torch.nn.Linear(4, 4)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    ready = multiprocessing.get_context("fork").Event()
    worker = multiprocessing.get_context("fork").Process(target=helper, args=(ready,))
    worker.start()
    ready.wait()
    for _ in range(3):
        optimizer.zero_grad()
        model(torch.ones(1, 4)).sum().backward()
        optimizer.step()
    time.sleep(2)  # who it is can be asked only as long as it lives: a busy machine must have heard it before it is stopped
    worker.terminate()
    worker.join()
"""


def test_a_helper_that_a_rank_stops_is_no_rank_that_vanished(world):
    done = world.guarded(world.python, world.script(HELPED), RANK="0", WORLD_SIZE="1")
    assert done.code == 0, done
    view = world.show()
    assert view["findings"] == []
    trained = [rank for rank in view["ranks"] if rank["count"]]
    assert [rank["rank"] for rank in trained] == [0]
    # The helper spoke, inherited the rank, and its end by the signal is recorded; only it is no finding.
    assert any("signal 15" in act["what"] for act in view["acts"]), view["acts"]


# One rank of torchrun that kills itself the first time, and is started again by its launcher.
RESTARTED = """
    import os, signal, torch

    model = torch.nn.Linear(4, 4)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    for _ in range(3):
        optimizer.zero_grad()
        model(torch.ones(1, 4)).sum().backward()
        optimizer.step()
    if os.environ["TORCHELASTIC_RESTART_COUNT"] == "0":
        os.kill(os.getpid(), signal.SIGKILL)
"""


def test_a_rank_that_is_started_again_is_recorded_as_such(world):
    script = world.script(RESTARTED)
    elastic = ["-m", "torch.distributed.run", "--nproc-per-node", "1", "--max-restarts", "1"]
    done = world.guarded(world.python, *elastic, script)
    assert done.code == 1, done  # the command ends well; what is found is the kill
    view = world.show()
    assert rules(view) == ["rank-vanished"]
    joins = [act["what"] for act in view["acts"] if "joined" in act["what"]]
    assert len(joins) == 2 and "start number 2" in joins[1], joins
    assert [rank["count"] for rank in view["ranks"] if rank["count"]] == [3, 3]
