"""Keeps a costly look within its share of the job's time.

The cost is the thread's own time and not the clock's, so that a busy machine does not make us look less often.
"""

import os
from collections import deque

# Weight of the newest measurement.
WEIGHT = 0.2
# Nanoseconds of a look that are not worth saving: the record itself costs more.
FREE = 100_000
# Looks between two changes, and of which the middle one counts: the first is slow, and so is one behind which the machine was elsewhere.
SETTLE = 5
# Rarest: every 2^20th step.
POWER_MAX = 20
# In a replay every step is looked at, whatever it costs.
ALWAYS = "TAINTLINE_REPLAY" in os.environ
# Most changes that are told.
TOLD_MAX = 32


class Throttle:
    """Says whether a look is due, and tells the supervisor how often it is."""

    def __init__(self, what, share, sensor, free=FREE, cheap=0):
        self.what = what
        self.share = share
        self.sensor = sensor
        self.free = free
        # Nanoseconds of a look up to which every step has one.
        self.cheap = cheap
        self.power = 0
        self.count = 0
        self.costs = deque(maxlen=SETTLE)
        self.cost = None
        self.interval = None
        self.looks = 0
        self.told = 0

    def due(self):
        """Whether this step is looked at."""
        return self.count & ((1 << self.power) - 1) == 0

    def took(self, cost):
        """A look took `cost` nanoseconds of the thread's time."""
        self.looks += 1
        self.costs.append(cost)
        self.cost = sorted(self.costs)[len(self.costs) // 2]

    def step(self, interval):
        """A step ended, `interval` nanoseconds after the last one."""
        self.count += 1
        if interval is None:
            return
        self.interval = interval if self.interval is None else self.interval + WEIGHT * (interval - self.interval)
        if self.cost is None or self.looks < SETTLE or ALWAYS:
            return
        needed = 0 if self.cost <= self.cheap else self.cost / max(self.share * self.interval, self.free)
        power = self.power
        if needed > 1 << power:
            while needed > 1 << power and power < POWER_MAX:
                power += 1
        elif power and needed < 0.7 * (1 << (power - 1)):
            power -= 1
        if power != self.power:
            self.power, self.looks = power, 0
            self._tell()

    def _tell(self):
        self.told += 1
        if self.told > TOLD_MAX:
            return
        every = "every step" if self.power == 0 else f"every {1 << self.power} steps"
        cost, interval = self.cost / 1e6, self.interval / 1e6
        least = "" if self.free == FREE else f", or {self.free / 1e6:.0f} ms"
        self.sensor.gap(
            self.what,
            f"looked at {every}, from step {self.count + 1} of this process on: {cost:.2f} ms a look, "
            f"{interval:.0f} ms a step, of which {self.share:.1%}{least} may be used",
            again=True,
        )
