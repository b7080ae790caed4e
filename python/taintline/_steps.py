"""One record for each optimizer step: what went in, what came out, how long it took.

Numbers that lie on an accelerator come later, because fetching them would wait for it (`_device`). Digests that cost more than their share of a
step are taken every second, fourth, ... step, and that is said.
"""

import sys
import weakref
from time import thread_time_ns as work

from . import _device, _native, _passes, _ranks, _recheck, _replay, _schedules
from ._spans import Unseen
from ._throttle import Throttle

# Phases, in the order of the record; the last two are not told but resolved by what comes next.
DATA, FORWARD, BACKWARD, BETWEEN, OPTIMIZER, SENSOR, AFTER_FORWARD, AFTER_BACKWARD = range(8)
# Where the kernel tells how long the thread that asks waited for a processor.
SCHEDSTAT = "/proc/thread-self/schedstat"
# Share of a step's time that the digests of the model may take, those of the weights alone where ranks are held against each other, and
# the gradients' norm.
MODEL_SHARE, WEIGHTS_SHARE, GRADIENT_SHARE = 0.0015, 0.005, 0.0005
# Nanoseconds of one of these up to which it is taken at every step: a small model's.
CHEAP = 250_000
# Backward passes without a step, after which that is said.
PATIENCE = 200
# Losses of one backward pass that are told.
LOSSES_MAX = 16
# Steps of each optimizer during which roots are looked for.
SEARCH_STEPS = 2


class Known:
    """What is remembered of one optimizer."""

    def __init__(self, index):
        self.index = index
        self.steps = 0
        self.number = 0
        # Which parameter's state tells the step; `None` until one did.
        self.teller = None
        # Whether it is told on an accelerator, and how many loads there were when that was asked.
        self.far, self.loads = False, 0


class Steps:
    """Called by torch at backward passes and steps, and by the roots at forward passes."""

    def __init__(self, sensor, torch, recorder, spans):
        self.sensor = sensor
        self.recorder = recorder
        self.spans = spans
        self.roots = None
        self.in_backward = False
        self.torch = torch
        self.compiling = torch.compiler.is_compiling
        self.generator = torch.default_generator
        self.scalars = frozenset((torch.Tensor, torch.nn.Parameter))
        self.known = weakref.WeakKeyDictionary()
        self.optimizers = 0
        self.model = Throttle("parameters and optimizer state", MODEL_SHARE, sensor, cheap=CHEAP)
        self.weights = Throttle("parameters of each rank", WEIGHTS_SHARE, sensor, cheap=CHEAP)
        self.gradients = Throttle("norm of the gradients", GRADIENT_SHARE, sensor, cheap=CHEAP)
        self.device = _device.Device(sensor, torch, spans, recorder)
        self.recheck = _recheck.Recheck(sensor, torch, spans, self.device)
        # What tells of the loaders, once it is there.
        self.data = None
        self.passes = _passes.Passes(sensor, torch, self.recheck, recorder, self.device)
        self.ranks = _ranks.Ranks(sensor, recorder, self.recheck)
        self.clock = _native.Clock(SCHEDSTAT)
        # The link over which it was told where the clock shows its place.
        self.placed = None
        self.schedules = _schedules.Schedules(sensor)
        self.replay = self.recheck.replay = _replay.begin(sensor, torch)
        self.recheck.steps = self
        self.ended = None
        self.backwards = 0
        self.forwards = 0

    def __reduce__(self):
        return (type(None), ())

    # Forward

    def forward_starts(self, args, kwargs, model, whole):
        now = self.clock.turn(FORWARD)
        self.forwards += 1
        if self.replay is not None:
            self.replay.goes_on()
        try:
            tensors = self.spans.batch(args, kwargs)
            if tensors:
                if self.device.far(tensors):
                    self.device.batch(tensors)
                else:
                    self.recorder.batch(self.spans.spans(tensors))
        except Unseen as error:
            self.sensor.gap("batches", error)
        self.passes.forward(model, whole)
        self.clock.leave(now)

    def forward_ends(self):
        now = self.clock.turn(AFTER_FORWARD)
        self.passes.forward_ended()
        self.clock.leave(now)

    # Backward

    def backward_starts(self, tensors, args, kwargs):
        now = self.clock.turn(BACKWARD)
        self.in_backward = True
        try:
            self.backwards += 1
            if self.backwards == PATIENCE:
                self.sensor.gap("steps", f"{PATIENCE} backward passes and no step of an optimizer of torch")
            for tensor in (tensors,) if not isinstance(tensors, (list, tuple)) else tensors[:LOSSES_MAX]:
                self._loss(tensor)
            self.passes.backward(tensors, args, kwargs)
        except Exception as error:
            self.sensor.gap("loss", error)
        self.clock.leave(now)

    def _loss(self, tensor):
        if type(tensor) not in self.scalars:
            self.sensor.gap("loss", f"a backward pass starts from a {type(tensor).__name__}")
        elif tensor.numel() != 1:
            self.sensor.gap("loss", "a backward pass starts from more than one number")
        elif self.device.is_far(tensor):
            self.device.loss(tensor)
        elif not tensor.is_cpu:
            self.sensor.gap("loss", f"it lies on {tensor.device.type} and is not fetched")
        else:
            self.recorder.loss(float(tensor.item()))

    def backward_ends(self):
        try:
            now = self.clock.turn(AFTER_BACKWARD)
            self.in_backward = False
            self.passes.backward_ended()
            self.ranks.backward_ends()
            if self.roots is not None:
                self.roots.arm()
            if self.sensor.memory.eager:
                self.sensor.memory.pulse()
            self.clock.leave(now)
        except Exception as error:
            self.sensor.gap("phases", error)

    def clipped(self, norm):
        """`clip_grad_norm_` answered `norm`."""
        now = self.clock.turn(AFTER_BACKWARD)
        try:
            if type(norm) not in self.scalars:
                self.sensor.gap("norm before clipping", f"it is a {type(norm).__name__}")
            elif self.device.is_far(norm):
                self.device.before_clip = self.device.number(norm)
            elif norm.is_cpu:
                self.recorder.clipped(float(norm.item()))
            else:
                self.sensor.gap("norm before clipping", f"it lies on {norm.device.type} and is not fetched")
        except Exception as error:
            self.sensor.gap("norm before clipping", error)
        self.clock.leave(now)

    # Step

    def before_step(self, optimizer, args, kwargs):
        """Torch's hook: the gradients are as they will be used."""
        if self.compiling():
            return
        if self.stands():
            return self.replay.stands.before_step(optimizer, args, kwargs)
        now = self.clock.turn(OPTIMIZER)
        self.device.drain()
        if self.replay is not None:
            self.replay.before_step(self, optimizer)
        try:
            if self.gradients.due():
                begun = work()
                self._gradient_norm(optimizer)
                self.gradients.took(work() - begun)
        except Unseen as error:
            self.sensor.gap("norm of the gradients", error)
        except Exception as error:
            self.sensor.gap("steps", error)
        try:
            self.recheck.before(optimizer, args, kwargs)
        except Exception as error:
            self.recheck.gap("updates", error)
        self.clock.leave(now)

    def _gradient_norm(self, optimizer):
        gradients = []
        for group in optimizer.param_groups:
            for parameter in group["params"]:
                gradient = parameter.grad
                if gradient is not None:
                    gradients.append(gradient)
        if gradients and self.device.far(gradients[:1]):
            self.device.gradients(gradients)
        elif gradients and not self.recorder.gradients(self.spans.kind_spans(gradients)):
            raise Unseen("a gradient is no float of 16, 32 or 64 bits")

    def after_step(self, optimizer, args, kwargs):
        """Torch's hook: the step is done."""
        if self.compiling():
            return
        if self.stands():
            self._stood(optimizer)
            return
        now = self.clock.turn(DATA)
        try:
            interval = None if self.ended is None else now - self.ended
            self.ended = now
            self._record(optimizer, now, self._sampled(optimizer))
            self.gradients.step(interval)
            self.model.step(interval)
            self.weights.step(interval)
            self.recheck.ahead(optimizer, now)
            self._look_around()
            self.sensor.memory.pulse(interval)
        except Exception as error:
            self.sensor.gap("steps", error)
        self.clock.leave(now)

    def stands(self):
        """Whether this is a replay whose steps are not computed yet."""
        return self.replay is not None and self.replay.stands is not None

    def _stood(self, optimizer):
        """A step that was not computed is not told."""
        now = self.clock.turn(DATA)
        self.recorder.forget()
        self.passes.forget()
        self.clock.take(now)
        self.forwards = self.backwards = 0
        self.replay.stands.after_step(self, optimizer)
        self.clock.leave(now)

    def of(self, optimizer):
        """What is remembered of `optimizer`."""
        known = self.known.get(optimizer)
        if known is None:
            known = self.known[optimizer] = Known(self.optimizers)
            self.optimizers += 1
        return known

    def _sampled(self, optimizer):
        try:
            return self.recheck.behind(optimizer)
        except Exception as error:
            self.recheck.gap("updates", error)
            return None

    def _record(self, optimizer, now, sample):
        link = self.sensor.live()
        if link is None:
            return
        known = self.of(optimizer)
        known.steps += 1
        if link is not self.placed:
            # Where it can be seen from outside how far this process has come.
            self.placed = link
            self.sensor.send({"type": "progress", "address": self.clock.address})
        parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]
        states = optimizer.state
        number, counted = self._number(known, parameters, states)
        self.ranks.look(optimizer, parameters)
        if known.steps == 1 or self.model.due():
            self._digest(parameters, states)
        elif self.ranks.place is not None and self.weights.due():
            self._digest(parameters, None)
        rates = self._rates(optimizer)
        rng = self._rng()
        told = self._told_time(now)
        passes = self.passes.take(optimizer, known.index)
        parted = self.schedules.parted(optimizer, rates)
        if parted is not None:
            self.recorder.scheduled(parted)
        step = (number, counted, known.index)
        if self.device.engaged():
            self.device.hold(self.recorder.hold(step, rates, rng, told), sample, passes, number)
        else:
            left_out = self.recorder.step(link, step, rates, rng, told, sample, passes)
            if left_out:
                self.sensor.gap("batches and losses", f"step {number} had {left_out} more than are told")
        known.number = self.sensor.last_step = number
        if self.data is not None:
            self.data.stepped()
        if self.replay is not None:
            self.replay.stepped(known.index, number)

    def _told_time(self, since):
        """Microseconds of each phase; where the thread did not run is told with it."""
        told, waits, error = self.clock.take(since)
        if error is not None:
            self.sensor.gap("time asleep", error)
        if waits:
            children = sys.modules.get("multiprocessing.process")
            workers = bool(getattr(children, "_children", None))
            self.recorder.waited([(*wait, workers) for wait in waits])
        return told

    def _look_around(self):
        """What is done at a step but is not about it."""
        self.backwards = 0
        roots = self.roots
        if roots is not None:
            if not self.forwards:
                self.sensor.gap("batches", f"no forward pass of a module came before step {self.sensor.last_step}")
            if not self.forwards or self.searching():
                roots.search()
            else:
                roots.rest()
        self.forwards = 0
        self.device.drain()
        self.sensor.modules_if_due()

    def searching(self):
        """Whether an optimizer is new."""
        return any(known.steps < SEARCH_STEPS for known in self.known.values())

    def _number(self, known, parameters, states):
        """The step's number, and whether we counted it."""
        teller = known.teller
        number = None if teller is None or teller >= len(parameters) else self._told(states, parameters[teller])
        if number is None or number != known.number + 1:
            # Another parameter may tell more: this one may have had no gradient.
            best = None
            for index, parameter in enumerate(parameters):
                other = self._told(states, parameter)
                if other is not None and (best is None or other > best):
                    best, known.teller = other, index
            number = best
        if number is None and self.device.places:
            number = self._number_far(known, parameters, states)
        if number is None or number < 1:
            return known.steps + (0 if self.replay is None else self.replay.base), True
        return number, False

    def upcoming(self, optimizer, known):
        """The number that the next step of `optimizer` will have."""
        states = optimizer.state
        told = [self._told(states, parameter) for group in optimizer.param_groups for parameter in group["params"]]
        best = max((number for number in told if number is not None), default=None)
        if best is None and known is not None and known.far:
            best = known.number
        if best is None:
            best = (0 if known is None else known.steps) + self.replay.base
        return best + 1

    def _told(self, states, parameter):
        """What the state of `parameter` says about the number of steps; `None` if nothing that can be read at once."""
        state = states.get(parameter)
        step = state.get("step") if state else None
        if step is None:
            return None
        if not isinstance(step, (int, float)):
            if not step.is_cpu or self.device.counts or step.numel() != 1:
                return None
            step = step.item()
        return int(step)

    def _number_far(self, known, parameters, states):
        """The step's number where its count lies on an accelerator: asked for at the first step and behind each load, which waits, and
        counted on from there."""
        if known.steps > 1 and known.loads == self.recheck.loads:
            return known.number + 1 if known.far else None
        known.loads = self.recheck.loads
        counts = [(states.get(parameter) or {}).get("step") for parameter in parameters]
        counts = [count for count in counts if type(count) in self.scalars and count.numel() == 1]
        known.far = bool(counts)
        if not counts:
            return None
        with self.torch.no_grad():
            return int(self.torch.stack([count.reshape(()) for count in counts]).max().item())

    def _digest(self, parameters, states):
        """Of the parameters, and of their state unless `states` is `None`."""
        begun = work()
        if self.device.far(map(self._local, parameters[:1])):
            self._digest_far(parameters, states, begun)
            return
        spans = self.spans
        try:
            model = spans.spans(parameters)
        except Unseen as error:
            model = None
            self.sensor.gap("parameters", error)
        state = None if states is None else self._state_spans(parameters, states)
        self.recorder.model(model, state)
        throttle = self.weights if states is None else self.model
        throttle.took(work() - begun)

    def _local(self, tensor):
        try:
            return self.spans.local(tensor)
        except Unseen:
            return None

    def _digest_far(self, parameters, states, begun):
        """As [`_digest`], of what lies on an accelerator: the sums come later, and with them what they cost it."""
        device = self.device
        started = device.begins(self._local(parameters[0]))
        try:
            device.parameters = device.sums(parameters)
        except Unseen as error:
            self.sensor.gap("parameters", error)
        try:
            tensors = self._state_tensors(parameters, states or {})
            device.state = device.sums(tensors) if tensors else None
        except (Unseen, TypeError) as error:
            self.sensor.gap("optimizer state", error)
        device.took(self.weights if states is None else self.model, started, work() - begun)

    def _state_tensors(self, parameters, states):
        tensors = []
        for parameter in parameters:
            state = states.get(parameter)
            if state:
                for name in sorted(state):
                    value = state[name]
                    if isinstance(value, self.spans.Tensor):
                        tensors.append(value)
        return tensors

    def _state_spans(self, parameters, states):
        try:
            tensors = self._state_tensors(parameters, states)
            return self.spans.spans(tensors) if tensors else None
        except (Unseen, TypeError) as error:
            self.sensor.gap("optimizer state", error)
            return None

    def _rates(self, optimizer):
        rates = []
        for group in optimizer.param_groups:
            rate = group.get("lr")
            if isinstance(rate, (int, float)):
                rates.append(float(rate))
            elif type(rate) in self.scalars and self.device.is_far(rate):
                self.device.rates.append((len(rates), self.device.number(rate)))
                rates.append(float("nan"))
            elif type(rate) in self.scalars and rate.is_cpu:
                rates.append(float(rate.item()))
            elif rate is not None:
                self.sensor.gap("learning rate", f"a {type(rate).__name__} is not fetched")
        return rates

    def _rng(self):
        """The states of the generators: span, words, bytes; the last two with whether they are as they were told."""
        torch_state = python = numpy = None
        stands = numpy_stands = False
        try:
            state = self.torch_state = self.generator.get_state()
            torch_state = (state.data_ptr(), state.nbytes)
        except Exception as error:
            self.sensor.gap("random numbers of torch", error)
        try:
            random = sys.modules.get("random")
            if random is not None:
                stands = self.recorder.python_stands(getattr(random, "_inst", None))
                python = None if stands else random.getstate()[1]
        except Exception as error:
            self.sensor.gap("random numbers of Python", error)
        try:
            module = sys.modules.get("numpy.random.mtrand")
            if module is not None:
                numpy_stands = self._numpy_stands(module)
                numpy = None if numpy_stands else _numpy_bytes(module.get_state(legacy=False))
        except Exception as error:
            self.sensor.gap("random numbers of NumPy", error)
        # Held until they are read.
        self.device_states = self.device.generators() if self.device.places else ()
        devices = [(state.data_ptr(), state.nbytes) for state in self.device_states]
        return (torch_state, (python, stands), (numpy, numpy_stands), devices)

    def _numpy_stands(self, module):
        """Whether NumPy's generator was not used since it was told; a kept half of a pair of normal numbers does not count."""
        bits = getattr(getattr(module, "_rand", None), "_bit_generator", None)
        kind = type(bits)
        if kind.__name__ != "MT19937" or kind.__module__ != "numpy.random._mt19937":
            return False
        return self.recorder.numpy_stands(bits.capsule)


def _numpy_bytes(state):
    """NumPy's state as bytes, in the order of its names."""
    parts = []
    for name in sorted(state):
        value = state[name]
        if isinstance(value, dict):
            parts.append(_numpy_bytes(value))
        else:
            parts.append(value.tobytes() if hasattr(value, "tobytes") else repr(value).encode())
    return b"".join(parts)
