"""Where the time of a phase went: the thread ran, was ready and waited for a processor, or slept.

Asleep is what is left of the wall time. The thread's own clock is read at each change of phases; the kernel's other figures only
when a millisecond or more is to be explained, and once a step. Without `/proc/thread-self/schedstat` waiting for a processor
cannot be told from sleep, and nothing is told.
"""

import os
import sys
from threading import get_native_id
from time import process_time_ns as worked
from time import thread_time_ns as work

# Nanoseconds that are worth an explanation.
WORTH = 1_000_000
PHASES = 5
SCHEDSTAT = "/proc/thread-self/schedstat"


class Clock:
    """Of the thread that trains."""

    def __init__(self, sensor):
        self.sensor = sensor
        self.thread = self.file = self.usage = None
        self.ran = self.process = self.queued = self.blocks = 0
        self.waits = {}

    def __reduce__(self):
        return (type(None), ())

    def begins(self):
        """A phase begins, or the sensor gives back the thread."""
        if self.file is not None:
            self.ran, self.process = work(), worked()

    def ends(self, phase, wall):
        """The time since [`begins`], `wall` nanoseconds by the clock, belongs to `phase`."""
        if self.file is None:
            return
        off = wall - (work() - self.ran)
        if off < WORTH or phase >= PHASES or get_native_id() != self.thread:
            return
        others = worked() - self.process
        queued, blocks = self._look()
        wait = self.waits.get(phase)
        if wait is None:
            wait = self.waits[phase] = [0, 0, 0, False]
        wait[0] += max(0, off - queued)
        wait[1] += queued
        wait[2] += others
        wait[3] = wait[3] or blocks

    def take(self):
        """What is told of a step: phase, microseconds asleep, queued and of all threads, disk, workers."""
        told = []
        if self.waits:
            children = sys.modules.get("multiprocessing.process")
            workers = bool(getattr(children, "_children", None))
            for phase, (asleep, queued, others, blocks) in self.waits.items():
                told.append((phase, asleep // 1000, queued // 1000, others // 1000, blocks, workers))
            self.waits = {}
        if self.thread != get_native_id():
            self._open()
        elif self.file is not None:
            self._look()
        return told

    def _look(self):
        """Nanoseconds that the thread was queued, and whether the process used disks, since the last look."""
        try:
            queued = int(os.pread(self.file, 64, 0).split()[1])
            usage = self.usage()
        except (OSError, ValueError, IndexError) as error:
            # The job closed all files and has others under their numbers.
            self.file = None
            self.sensor.gap("time asleep", error)
            return 0, True
        blocks = usage.ru_inblock + usage.ru_oublock + usage.ru_majflt
        since = max(0, queued - self.queued), blocks != self.blocks
        self.queued, self.blocks = queued, blocks
        return since

    def _open(self):
        """This thread is another one, or a child's. The old file is left open: its number may be the job's by now."""
        self.file, self.thread = None, get_native_id()
        try:
            import resource

            self.usage = lambda: resource.getrusage(resource.RUSAGE_SELF)
            self.file = os.open(SCHEDSTAT, os.O_RDONLY | os.O_CLOEXEC)
        except (ImportError, OSError) as error:
            self.sensor.gap("time asleep", error)
            return
        self._look()
        self.begins()
