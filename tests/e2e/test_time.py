"""Sleeps in the steps: found where nothing explains them, and not found on machines that are busy or paused.

One run has many forked processes at a time, each with a model of its own: a start of torch costs seconds.
"""

import os
import signal
import threading
import time

from conftest import rules, words

RULE = "sleeps-in-steps"

PROGRAM = """
    import ctypes, os, random, sys, threading, time, traceback, torch

    torch.set_num_threads(1)
    F = torch.nn.functional

    def train(steps=70, **at):
        torch.manual_seed(0)
        model = torch.nn.Sequential(torch.nn.Linear(12, 24), torch.nn.Tanh(), torch.nn.Linear(24, 5))
        optimizer = torch.optim.AdamW(model.parameters(), lr=0.01)
        call = lambda place, step: at[place](step) if place in at else None
        now = [0]
        model[1].register_forward_hook(lambda *_: call("forward", now[0]))
        for step in range(1, steps + 1):
            now[0] = step
            call("data", step)
            optimizer.zero_grad()
            x, y = torch.randn(8, 12), torch.randn(8, 5)
            out = model(x)
            out.register_hook(lambda grad: call("backward", step))
            F.mse_loss(out, y).backward()
            call("between", step)
            if "optimizer" in at:
                at["optimizer"](optimizer, step)
            optimizer.step()
            time.sleep(0.004)

    def fork(name, body):
        pid = os.fork()
        if pid == 0:
            code = 1
            try:
                body()
                code = 0
            except BaseException:
                traceback.print_exc()
            sys.stderr.flush()
            os._exit(code)
        print(name, pid, flush=True)
        return name, pid

    def all_of(bodies):
        for name, pid in [fork(name, body) for name, body in bodies.items()]:
            if os.waitpid(pid, 0)[1]:
                sys.exit(f"{name} failed")

    ODD = (21, 24, 31, 33, 44, 58, 61)
    def at_odd(act):
        def wait(step):
            if step in ODD:
                act()
        return wait

"""

SLEEPS = """
    event = threading.Event()
    libc = ctypes.CDLL(None)
    def in_optimizer(optimizer, step):
        # The state is a dictionary that takes its time when it is asked.
        if step == 1:
            state = type(optimizer.state)
            class Slow(state):
                def __getitem__(self, key):
                    if key is optimizer.param_groups[0]["params"][0] and now[0] in ODD:
                        time.sleep(0.12)
                    return super().__getitem__(key)
            optimizer.state = Slow(dict, optimizer.state)
        now[0] = step
    now = [0]
    all_of({
        "data": lambda: train(data=at_odd(lambda: time.sleep(0.15))),
        "forward": lambda: train(forward=at_odd(lambda: event.wait(0.2))),
        "backward": lambda: train(backward=at_odd(lambda: libc.usleep(120000))),
        "between": lambda: train(between=at_odd(lambda: time.sleep(0.3))),
        "optimizer": lambda: train(optimizer=in_optimizer),
    })
"""

HONEST = """
    def save(step):
        if step in ODD:
            torch.save({"step": step}, f"{os.getpid()}.pt")
            time.sleep(0.1)

    all_of({
        "plain": lambda: train(steps=60),
        "limited": lambda: train(steps=30, data=lambda step: time.sleep(0.08 + 0.02 * random.random())),
        "logs": lambda: train(steps=60, between=lambda step: time.sleep(0.1) if step % 10 == 0 else None),
        "saves": lambda: train(data=save),
    })
    print("over", flush=True)
"""

HOG = "while True: pass"


def found(view, names):
    places = {}
    for finding in view["findings"]:
        if finding["rule"] == RULE:
            pid = next(word for word in words(finding).split() if word in names)
            places[names[pid]] = words(finding)
    return places


def names_of(lines):
    pairs = [line.split() for line in lines if len(line.split()) == 2]
    return {pid: name for name, pid in pairs}


def test_sleeps_in_five_places_are_found_where_they_are(world):
    script = world.script(PROGRAM + SLEEPS)
    done = world.guarded(world.python, script)
    view = world.show()
    assert view["outcome"] == "exit 0", done
    places = found(view, names_of(done.out.splitlines()))
    expected = {
        "data": "between the steps",
        "forward": "in the forward pass",
        "backward": "in the backward pass",
        "between": "between the backward pass and the optimizer",
        "optimizer": "in the optimizer's step",
    }
    assert set(places) == set(expected), (places, view["gaps"])
    for name, place in expected.items():
        assert place in places[name], places[name]


def test_busy_and_stopped_machines_and_honest_sleeps_are_no_finding(clean, world):
    import subprocess

    script = world.script(PROGRAM + HONEST)
    hogs = [subprocess.Popen([world.python, "-c", HOG]) for _ in range(4)]
    over = threading.Event()

    def stop_and_go(pids):
        while not over.wait(0.3):
            for number in (signal.SIGSTOP, signal.SIGCONT):
                for pid in pids:
                    try:
                        os.kill(pid, number)
                    except ProcessLookupError:
                        pass
                time.sleep(0.15 if number == signal.SIGSTOP else 0)

    try:
        running = world.start_guarded(world.python, script)
        running.line("saves")
        pids = [int(pid) for pid in names_of(running.lines)]
        thread = threading.Thread(target=stop_and_go, args=(pids,))
        thread.start()
        running.line("over")
    finally:
        over.set()
        for hog in hogs:
            hog.kill()
            hog.wait()
    thread.join()
    done = running.finish()
    view = world.show()
    assert view["outcome"] == "exit 0", done
    assert RULE not in rules(view), view["findings"]
