"""In a replay: looks where the recorded run looked, and ends behind the last step that is wanted.

What is wanted stands in a file of the replay's own, a JSON object with the ranks: `base` (steps that were made before this process, for optimizers
that do not count them), `last` (optimizer and step behind which the process ends; absent where it is to go on), `threads` (that torch keeps to, whatever the script
says; absent where that is left to it), `restore` (files of a checkpoint, and by optimizer the steps that stand before it; see `_standing`) and `picks` (by optimizer and step: parameters by number, with positions).
"""

import json
import os
import sys

from ._spans import Unseen
from ._standing import Standing


class Replay:
    """What this process is to do, and the optimizers that it has seen begin."""

    def __init__(self, sensor, torch, plan):
        self.sensor = sensor
        self.base = int(plan.get("base", 0))
        last = plan.get("last")
        self.last = None if last is None else (int(last[0]), int(last[1]))
        self.picks = {
            (int(optimizer), int(step)): [(int(index), [int(at) for at in positions]) for index, positions in picks]
            for optimizer, steps in plan.get("picks", {}).items()
            for step, picks in steps.items()
        }
        self.begun = set()
        self.threads = plan.get("threads")

        # Before the state of a checkpoint was put in: what stands for the steps there.
        restore = plan.get("restore")
        self.stands = None if restore is None else Standing(self, torch, restore)
        self.put_in = self.stands

    def __reduce__(self):
        return (type(None), ())

    def bound(self, torch):
        """Keeps torch to the threads that the replay is made with."""
        if self.threads:
            torch.set_num_threads(int(self.threads))
            torch.set_num_threads = lambda _: None

    def saved(self):
        """The script has saved something: where that was behind the state that was put in, random numbers go on from there."""
        if self.stands is None and self.put_in is not None:
            self.put_in.draw_from()

    def goes_on(self):
        """The script makes its next forward pass."""
        if self.stands is None:
            self.put_in = None

    def before_step(self, steps, optimizer):
        """Tells what stands before the first step of each optimizer."""
        if id(optimizer) in self.begun:
            return
        self.begun.add(id(optimizer))
        parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]
        if steps.device.far(map(steps._local, parameters[:1])):
            return
        try:
            model = steps.spans.spans(parameters)
        except Unseen as error:
            self.sensor.gap("parameters before the first step", error)
            return
        steps.recorder.begun(model, steps._state_spans(parameters, optimizer.state))

    def positions(self, steps, optimizer):
        """Where the recorded run looked at the optimizer's next step; `None` if nobody knows."""
        known = steps.known.get(optimizer)
        index = steps.optimizers if known is None else known.index
        number = steps.upcoming(optimizer, known)
        return self.picks.get((index, number))

    def stepped(self, index, number):
        """A step was told: behind the last one that is wanted, the process ends."""
        if self.last is None or (index, number) != self.last:
            return
        self.sensor.bye()
        sys.stdout.flush()
        sys.stderr.flush()
        # What the job would do now is not part of the replay.
        os._exit(0)


def begin(sensor, torch):
    """What this process is to do; `None` outside of a replay."""
    path = os.environ.get("TAINTLINE_REPLAY")
    if not path:
        return None
    try:
        with open(path, "rb") as file:
            ranks = json.load(file)["ranks"]
        plan = ranks.get(os.environ.get("RANK", "0"))
        if plan is None:
            raise LookupError("this rank is not in it")
        replay = Replay(sensor, torch, plan)
        replay.bound(torch)
        return replay
    except Exception as error:
        sensor.gap("plan of the replay", error)
        return None
