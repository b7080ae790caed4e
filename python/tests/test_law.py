"""The guard never breaks or stalls the job."""

import signal
import subprocess
import sys
import time

from conftest import Collector
from taintline._throttle import Throttle

LOOP = """
    import sys, torch
    weight = torch.nn.Parameter(torch.ones(3))
    optimizer = torch.optim.SGD([weight], lr=0.1)
    def step():
        weight.square().sum().backward()
        optimizer.step(); optimizer.zero_grad()
"""


def test_a_supervisor_that_never_reads_does_not_stall_the_job(world):
    script = world.write(
        LOOP
        + """
    for _ in range(200):
        step()
        for number in range(20):
            open("x" * 200 + str(_ * 20 + number), "w").close()
    print("done", weight[0].item())
"""
    )
    deaf = Collector(reads=False)
    process = world.start([sys.executable, script], deaf)
    out, err = process.communicate(timeout=100)
    assert (out.split()[0], err, process.returncode) == ("done", "", 0)
    assert len(deaf.connections) == 1


def test_a_supervisor_that_goes_away_does_not_end_the_job(world):
    script = world.write(
        LOOP
        + """
    step()
    print("ready", flush=True)
    sys.stdin.readline()
    for _ in range(50):
        step()
    print("done")
"""
    )
    collector = Collector(reads=False)
    process = subprocess.Popen(
        [sys.executable, script], cwd=world.folder, env=world.environment(collector), text=True,
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )
    assert process.stdout.readline() == "ready\n"
    collector.listener.close()
    for connection in collector.threads:
        connection.close()
    out, err = process.communicate("\n", timeout=60)
    assert (out, err, process.returncode) == ("done\n", "", 0)


def test_an_exception_of_the_job_stays_what_it_was(world):
    text = LOOP + "    step()\n    step()\n    [][torch.ones(1).long().item()]\n"
    without, job = world.run(text, watched=False), world.run(text)
    assert job.code == without.code == 1
    assert job.err == without.err and "IndexError" in job.err
    assert job.said[0][-1]["exception"] == "IndexError"


def test_an_exception_passes_through_every_hook(world):
    text = (
        LOOP
        + """
    class Broken(torch.nn.Linear):
        def forward(self, x):
            raise KeyError("forward")
    broken = Broken(3, 3)
    for attempt in range(3):
        step()
        for act in (lambda: broken(weight), lambda: torch.ones(2).backward(), lambda: torch.load("gone"),
                    lambda: torch.save(1, "/nowhere/x"), lambda: open("gone"), lambda: torch.nn.utils.clip_grad_norm_(3, 1)):
            try:
                act()
            except Exception as error:
                print(type(error).__name__, str(error)[:60])
"""
    )
    without, job = world.run(text, watched=False), world.run(text)
    assert job.out == without.out and job.out.count("KeyError 'forward'") == 3
    assert [step["step"] for step in job.of("step")] == [1, 2, 3]
    assert job.of("saved") == []
    assert {gap["what"] for gap in job.gaps()} == {"batches", "loss"}


def test_an_interrupt_ends_the_job_as_without_us(world):
    script = world.write(LOOP + "    print('ready', flush=True)\n    while True:\n        step()\n")
    collector = Collector()
    process = world.start([sys.executable, script], collector)
    assert process.stdout.readline() == "ready\n"
    time.sleep(0.3)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=30)
    assert process.returncode == -signal.SIGINT
    assert err.rstrip().endswith("KeyboardInterrupt")
    said = collector.finish()[0]
    assert said[-1] == {"type": "bye", "dropped": 0, "exception": "KeyboardInterrupt"}
    steps = [message["step"] for message in said if message["type"] == "step"]
    assert steps == list(range(1, len(steps) + 1)) and len(steps) > 10


def test_workers_of_a_loader_do_not_share_the_socket(world):
    (world.folder / "data.txt").write_text("x")
    text = (
        LOOP
        + """
    import hashlib, os
    from torch.utils.data import DataLoader, Dataset
    class Numbers(Dataset):
        def __len__(self):
            return 8
        def __getitem__(self, index):
            if OPENS:
                open("data.txt").close()
            return torch.full((3,), float(index)), os.getpid()
    OPENS = sys.argv[1] == "opens"
    if __name__ == "__main__":
        for context in sys.argv[2:]:
            loader = DataLoader(Numbers(), batch_size=2, num_workers=2, multiprocessing_context=context)
            for batch, pids in loader:
                assert os.getpid() not in pids.tolist()
                (weight * batch).sum().backward()
                optimizer.step(); optimizer.zero_grad()
        print("done")
"""
    )
    silent = world.run(text, "silent", "fork")
    assert (silent.out, silent.code) == ("done\n", 0), silent.err
    assert len(silent.said) == 1
    assert [step["step"] for step in silent.of("step")] == [1, 2, 3, 4]
    job = world.run(text, "opens", "fork", "spawn")
    assert (job.out, job.code) == ("done\n", 0), job.err
    assert len(job.said) == 5
    path = str(world.folder / "data.txt")
    assert [m["path"] for m in job.of("opened")].count(path) == 4
    assert len(job.of("step")) == 8 and all(messages[-1]["type"] == "bye" for messages in job.said)


def test_a_forked_child_that_trains_speaks_for_itself(world):
    text = (
        LOOP
        + """
    import multiprocessing
    def train():
        for _ in range(2):
            step()
    if __name__ == "__main__":
        step()
        child = multiprocessing.get_context("fork").Process(target=train)
        child.start(); child.join()
        step()
        print(child.exitcode)
"""
    )
    job = world.run(text)
    assert (job.out, job.code) == ("0\n", 0), job.err
    assert [[m["step"] for m in messages if m["type"] == "step"] for messages in job.said] == [[1, 2], [2, 3]]
    assert all(m[0]["type"] == "hello" and m[-1]["type"] == "bye" for m in job.said)
    assert [m["type"] for m in job.said[1][:2]] == ["hello", "ready"]


class Told:
    def __init__(self):
        self.gaps = []

    def gap(self, what, why, again=False):
        self.gaps.append(why)


def looks(throttle, cost, interval, steps):
    """How many of `steps` are looked at."""
    count = 0
    for _ in range(steps):
        if throttle.due():
            count += 1
            throttle.took(cost)
        throttle.step(interval)
    return count


def test_a_look_that_costs_more_than_its_share_is_taken_less_often_and_that_is_told():
    told = Told()
    throttle = Throttle("parameters", 0.01, told)
    assert looks(throttle, 1e6, 200e6, 1000) == 1000 and told.gaps == []
    looks(throttle, 30e6, 200e6, 1000)
    assert throttle.power == 4 and "every 16 steps" in told.gaps[-1]
    assert looks(throttle, 30e6, 200e6, 1600) == 100
    looks(throttle, 0.5e6, 200e6, 2000)
    assert throttle.power == 0 and "every step" in told.gaps[-1]
