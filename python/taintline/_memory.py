"""What runs in memory, looked at in slices: functions, hooks, and what stands between the job and its interpreter.

The sensor tells what stands where and a digest of its code; what the files compile to and whether it is as it should be
is decided outside of the process (`crates/app/src/run/memory`). Compiling here was rejected: a long file holds the
interpreter for more than the ten milliseconds that a pause may take, and a reference beside the suspect is none.

A round goes through everything once. The first begins with torch and is eager: a slice at each backward pass and step.
Then rounds follow each other within a share of the time; around a load of a checkpoint, though not around each of many,
one is eager again. The last is at the end of the process. Between two slices no model, optimizer or tensor is held but
weakly; the module and the class under way are, and the function that ended the slice.
"""

import sys
from time import perf_counter_ns as clock
from time import thread_time_ns as work

from . import _memory_chain, _memory_hooks, _memory_machine, _memory_walk

# Share of the time of a step that rounds may take.
SHARE = 0.0015
# Longest slice, and shortest that is worth its start, nanoseconds.
SLICE_MAX, SLICE_MIN = 3_000_000, 150_000
# Shortest time between the beginnings of two rounds, nanoseconds.
ROUND_EVERY = 5_000_000_000
# Longest last round, as a share of the time that the process lived and in nanoseconds: its end is not held up.
LAST_SHARE, LAST_MAX = 0.02, 1_000_000_000
# Longest look at what a checkpoint gave, nanoseconds, and as a share of the time that loading it took.
LOADED_MAX, LOADED_SHARE = 8_000_000, 0.02
# Every so many rounds, the parts of torch that do not decide a training step are looked at too.
ALL_EVERY = 8
# Most values set on functions that are told, and frames that are gone through for who did it.
SETS_MAX, FRAMES_MAX = 256, 32

# Parts of torch that a training step runs through. The others are looked at more rarely, never not at all.
_DECISIVE = (
    "torch.optim", "torch.nn", "torch.utils.data", "torch.autograd", "torch.amp", "torch.cuda.amp", "torch.distributed",
    "torch.serialization", "torch.random", "torch._tensor", "torch.functional", "torch.utils.checkpoint", "torch.overrides",
)  # fmt: skip
_FIRST = ("torch.optim", "torch.utils.data", "torch.nn.modules", "torch.nn.functional", "torch.autograd", "torch.serialization")
# Modules beside the training libraries whose functions decide what is computed.
_BESIDE = ("__main__", "builtins", "random")


class Memory:
    """The rounds of one process."""

    def __init__(self, sensor, torch, optimizers):
        self.sensor = sensor
        self.torch = torch
        self.optimizers = optimizers
        self.hooks = _memory_hooks.Hooks(torch)
        self.machine = _memory_machine.Machine(torch)
        if sensor.program is not None:
            _memory_walk.program = sensor.program.decode("utf-8", "surrogateescape")
        self.marks = {}
        self.libraries = {"torch"}
        self.known = set()
        self.round = None
        self.rounds = 0
        # How many modules a round has, and those that are still to come, last first.
        self.names, self.left = 0, []
        self.eager = 1
        # Whether the round is still among what decides a step; only that part is eager.
        self.deciding = True
        self.begun = sensor.begun
        self.loading_at = self.begun
        self.next_at = 0
        self.credit = 0
        self.busy = False
        self.worked = False
        self.hurry, self.hurry_at = False, 0
        self.sets = 0
        # Time in rounds, nanoseconds, and the longest slice by the clock and by the thread: for the measurement of what this costs.
        self.spent = self.longest = self.longest_work = 0

    def __reduce__(self):
        return (type(None), ())

    # When

    def pulse(self, interval=None):
        """A step ended, `interval` nanoseconds after the last one, or another moment at which a slice may be taken."""
        try:
            self.worked = True
            now = clock()
            if interval is not None:
                self.credit = min(self.credit + SHARE * interval, SLICE_MAX)
            if self.round is None:
                if now < self.next_at and not self.eager:
                    return
                self._begin(now)
            if self.eager and self.deciding:
                self._slice(SLICE_MAX)
            elif self.credit >= SLICE_MIN:
                self.credit -= self._slice(self.credit)
        except Exception as error:
            self.sensor.gap("memory", error)

    def loading(self):
        """A checkpoint is about to be loaded: what stood before is looked at soon."""
        self.hurry = clock() >= self.hurry_at
        if self.hurry:
            # Not around each of many: a data set may load a file for every sample.
            self.hurry_at = clock() + ROUND_EVERY
            self.eager = max(self.eager, 1)
            self.pulse()
        self.loading_at = clock()

    def loaded(self, value, path):
        """A checkpoint gave `value`."""
        try:
            took = clock() - self.loading_at
            if not self.hooks.loaded(value, path, max(LOADED_MAX, int(LOADED_SHARE * took))):
                self.sensor.gap("hooks that a checkpoint brings", "it holds too much to look at all of it at once", again=True)
            self._send(self.hooks)
        except Exception as error:
            self.sensor.gap("hooks that a checkpoint brings", error)
        if self.hurry:
            # What is under way is finished, and a whole round follows.
            self.eager = 2
            self.pulse()

    def forked(self):
        """This is a child: what the parent told is told already; the child is looked at once it trains."""
        self.round, self.worked, self.busy = None, False, False
        self.eager, self.next_at, self.begun = 1, 0, clock()
        self.marks, self.known = {}, set()
        self.hooks.told, self.machine.told, self.machine.modules = {}, set(), set()

    def finish(self):
        """The process ends: a last round over all that decides a step."""
        if not self.worked:
            return
        try:
            begun, worked = clock(), work()
            most = min(LAST_SHARE * (begun - self.begun), LAST_MAX)
            self.round = self._all(whole=self.rounds == 0)
            while self.round is not None and clock() - begun < LAST_MAX and work() - worked < most:
                if not self._slice(min(SLICE_MAX, most)):
                    break
            if self.round is not None:
                self._tell_left()
        except Exception as error:
            self.sensor.gap("memory", error)

    def _tell_left(self):
        """The last round did not come through: says what it left out."""
        never = sum(name not in self.marks for name in self.left)
        what = "the last look at it" if self.deciding else "parts of torch that decide no step"
        why = f"{len(self.left)} of {self.names} modules were not looked at once more, {never} of them never"
        self.sensor.gap(f"memory: {what}", f"{why}: the process was too short for it, and its end is not held up")

    def _begin(self, now):
        self.next_at = now + ROUND_EVERY
        self.round = self._all(whole=self.rounds % ALL_EVERY == 0)

    def _slice(self, nanoseconds):
        """Works for about that long; answers for how long it did."""
        if self.busy or self.sensor.live() is None:
            return 0
        self.busy = True
        begun = now = clock()
        worked = work()
        try:
            end = begun + nanoseconds
            for _ in self.round:
                now = clock()
                if now >= end:
                    break
            else:
                self.round = None
                self.rounds += 1
                self.eager = max(0, self.eager - 1)
        except Exception:
            self.round = None
            self.eager = max(0, self.eager - 1)
            raise
        finally:
            self.busy = False
            took = clock() - begun
            self.spent += took
            self.longest = max(self.longest, took)
            self.longest_work = max(self.longest_work, work() - worked)
        return took

    # What

    def _all(self, whole):
        """One round."""
        self.deciding = True
        yield from self.machine.look(self.sensor.gap)
        self._send(self.machine)
        yield from self.hooks.look(self.optimizers, self.sensor.gap)
        self._send(self.hooks)
        yield from self._learn()
        names = self._names(whole)
        yield
        self.names, self.left = len(names), names[::-1]
        while self.left:
            name = self.left[-1]
            self.deciding = _decides(name)
            try:
                yield from self._module(name)
            except Exception as error:
                self.sensor.gap(f"functions of {name}", error)
            self.left.pop()

    def _module(self, name):
        module = sys.modules.get(name)
        if _memory_walk.namespace(module) is None:
            return
        look = _memory_walk.Look(name, module, self.marks.setdefault(name, {}))
        module = None
        for _ in look.steps():
            if len(look.functions) + len(look.imported) + len(look.standing) >= _memory_walk.PLACES_MAX:
                self._tell(look)
            yield
        self._tell(look)

    def _tell(self, look):
        fact = look.told()
        if fact is not None:
            look.functions, look.imported, look.standing = [], [], []
            self._say([fact])

    def _send(self, part):
        while part.facts:
            facts, part.facts = part.facts[:100], part.facts[100:]
            self._say(facts)

    def _say(self, facts):
        self.sensor.send({"type": "memory", "step": self.sensor.last_step, "optimize": sys.flags.optimize, "facts": facts})

    def _names(self, whole):
        """The modules of a round, what decides a step most first."""
        names = [name for name in list(sys.modules) if type(name) is str]
        main = sys.modules.get("__main__")
        names = [name for name in names if name == "__main__" or sys.modules.get(name) is not main]
        beside = {*_BESIDE, *self.machine.odd}
        names = [name for name in names if name in beside or name.partition(".")[0] in self.libraries]
        used = self.hooks.homes
        names = [name for name in names if whole or _decides(name)]
        return sorted(names, key=lambda name: 0 if name in used else _rank(name))

    def _learn(self):
        """A package that has torch among its names is a training library in use, whatever it is called."""
        signs = (("torch", self.torch), ("nn", self.torch.nn), ("Tensor", self.torch.Tensor))
        for name in list(sys.modules):
            if type(name) is not str or name in self.known:
                continue
            self.known.add(name)
            names = _memory_walk.namespace(sys.modules.get(name))
            if names is not None and any(names.get(key) is value for key, value in signs):
                self.libraries.add(name.partition(".")[0])
            if not len(self.known) & 63:
                yield

    # Values set on functions

    def set_on_function(self, function, name, value):
        """An audit event: `name` of `function` is set."""
        if name not in ("__code__", "__defaults__", "__kwdefaults__") or self.sets >= SETS_MAX:
            return
        if name != "__code__" and _top(function) not in self.libraries:
            return
        self.sets += 1
        frame, count = sys._getframe(2), 0
        while frame is not None and frame.f_code.co_filename.startswith(_OURS) and count < FRAMES_MAX:
            frame, count = frame.f_back, count + 1
        fact = {
            "fact": "set",
            "module": _memory_chain.text(function.__module__),
            "home": _memory_walk.file_of(function.__module__).encode("utf-8", "surrogateescape"),
            "place": _memory_chain.text(function.__qualname__),
            "name": name,
            "file": b"" if frame is None else _memory_chain.path_of(frame.f_code),
            "line": 0 if frame is None else frame.f_lineno,
            "by": "" if frame is None else _memory_chain.name_of(frame.f_code),
        }
        self._say([fact])


_OURS = __file__.rpartition("/")[0] + "/"


def _top(function):
    module = function.__module__
    return module.partition(".")[0] if type(module) is str else ""


def _decides(name):
    return name.partition(".")[0] != "torch" or name == "torch" or name.startswith(_DECISIVE)


def _rank(name):
    """When a module has its turn: what the job uses at once (0) comes first."""
    if name in _BESIDE or name.startswith(_FIRST):
        return 1
    return 2 if _decides(name) else 3
