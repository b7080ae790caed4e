"""What lies on an accelerator: gathered there, copied here without waiting for it, and told a step later.

Asking an accelerator for one number waits until it has done all that it was given. So nothing is asked: what a step's record needs is
put side by side in a small piece of the accelerator's memory, by its own instructions in the job's own order, one copy goes to
pinned memory when the step ends, and an event says that it is here. Until then the step is held. No tensor is copied as a whole: of large
ones the sums over rows and columns of their 64-bit words, exact in any order, are what the fingerprint is made of.

`TAINTLINE_DEVICE=cpu` treats the processor's tensors so, for tests; `cpu+steps` the counts of steps as well.
"""

import ctypes
import os
import time
from collections import deque

from . import _native
from ._spans import Unseen

# Kinds of accelerators that have what is needed here: streams in order, events, pinned memory, doubles.
KINDS = ("cuda", "xpu")
# Bytes of the first piece that a step's numbers are gathered in, and of the largest, unless one number needs more; and of all of them.
FRAME_BYTES, FRAME_BYTES_MAX = 64 << 10, 4 << 20
OPEN_BYTES_MAX = 128 << 20
# Pieces of pinned memory that are kept for the next steps.
PINNED_MAX = 16
# Steps that are held at most before the oldest is said without its numbers.
HELD_MAX = 64
# Bytes up to which a tensor is taken as it is, and most tensors of one fingerprint.
WHOLE_BYTES = 2048
TENSORS_MAX = 100_000
# Batches of one step, as the record has them.
BATCHES_MAX = 4096
# Stages of the gradients, as the record has them.
STAGES_MAX = 16


class Later:
    """Bytes that are on their way."""

    __slots__ = ("frame", "start", "size")

    def __init__(self, frame, start, size):
        self.frame, self.start, self.size = frame, start, size

    def read(self):
        if self.frame.bytes is None:
            raise Unseen("it did not come in time")
        return self.frame.bytes[self.start : self.start + self.size]

    def number(self):
        return float(memoryview(self.read()).cast("d")[0])


class Frame:
    """A piece of the accelerator's memory, and its copy."""

    def __init__(self, place, size):
        torch = place.torch
        self.place = place
        self.memory = torch.empty(size, dtype=torch.uint8, device=place.device)
        self.size, self.used = size, 0
        self.views = {}
        self.host = self.event = self.bytes = None
        self.asked = 0

    def slot(self, kind, count):
        """Room for `count` elements of `kind`, and what will be read there."""
        start = self.used
        size = count * kind.itemsize
        self.used = start + size + -size % 8
        view = self.views.get(kind)
        if view is None:
            view = self.views[kind] = self.memory.view(kind)
        first = start // kind.itemsize
        return view[first : first + count], Later(self, start, size)

    def seal(self):
        """Nothing more is gathered here: the copy sets out."""
        place = self.place
        if place.near:
            self.host = self.memory
            return
        self.host = place.pinned(self.used)
        self.host[: self.used].copy_(self.memory[: self.used], non_blocking=True)
        self.event = place.event(False)

    def arrived(self):
        """Whether the copy is here; never waits."""
        if self.bytes is not None:
            return True
        if self.event is None:
            # In tests it is late as well.
            self.asked += 1
            if self.asked < 2:
                return False
        elif not self.event.query():
            return False
        self.bytes = ctypes.string_at(self.host.data_ptr(), self.used) if self.used else b""
        if not self.place.near:
            self.place.free.append(self.host)
        self.memory = self.host = self.event = self.views = None
        return True


class Place:
    """One accelerator."""

    def __init__(self, torch, device):
        self.torch = torch
        self.device = device
        # Only in tests.
        self.near = device.type == "cpu"
        self.capturing = getattr(torch.cuda, "is_current_stream_capturing", None) if device.type == "cuda" else None
        self.modes = getattr(torch._C, "_len_torch_dispatch_stack", None)
        self.module = None if self.near else getattr(torch, device.type)
        self.stream = None
        self.open, self.free = [], []

    def enter(self):
        """Before anything is gathered; raises [`Unseen`] where that would become part of what the job does."""
        if self.capturing is not None and self.capturing():
            raise Unseen("its work is being captured as a graph")
        if self.modes is not None and self.modes():
            raise Unseen("the job looks at each operation itself")
        if self.module is not None:
            stream = self.module.current_stream(self.device)
            if self.stream is not None and stream != self.stream:
                # What was gathered on the other one must be there before the copy sets out.
                stream.wait_stream(self.stream)
            self.stream = stream

    def slot(self, kind, count):
        size = count * kind.itemsize + 8
        frame = self.open[-1] if self.open else None
        if frame is None or frame.size - frame.used < size:
            if sum(frame.size for frame in self.open) + size > OPEN_BYTES_MAX:
                raise Unseen("there is more between two steps than is gathered")
            grown = FRAME_BYTES if frame is None else min(2 * frame.size, FRAME_BYTES_MAX)
            frame = Frame(self, max(size + -size % 8, grown))
            self.open.append(frame)
        return frame.slot(kind, count)

    def number(self, tensor):
        """A tensor of one element, as a double."""
        self.enter()
        slot, later = self.slot(self.torch.float64, 1)
        slot.copy_(tensor.detach().reshape(1))
        return later

    def seal(self):
        """The copies of all that was gathered set out."""
        frames, self.open = self.open, []
        if frames:
            self.enter()
            for frame in frames:
                frame.seal()
        return frames

    def pinned(self, size):
        """Memory here that the accelerator can write into while the job goes on."""
        for number, known in enumerate(self.free):
            if known.numel() >= size:
                return self.free.pop(number)
        self.free = self.free[-PINNED_MAX:]
        room = 1 << max(size - 1, FRAME_BYTES - 1).bit_length()
        return self.torch.empty(room, dtype=self.torch.uint8, device="cpu", pin_memory=True)

    def event(self, timing):
        """An event of now; `None` in tests."""
        if self.near:
            return None
        event = self.module.Event(enable_timing=timing)
        event.record(self.module.current_stream(self.device))
        return event

    # Fingerprints

    def sums(self, tensor):
        """What the fingerprint of `tensor` is made of: its bytes if they are few, else the sums over the rows and over the columns of
        its 64-bit words, laid out as nearly a square, and the bytes of the rest."""
        torch = self.torch
        flat = tensor.detach()
        if not flat.is_contiguous():
            # The bytes lie without holes: the caller has seen to that.
            flat = flat.as_strided((flat.numel(),), (1,))
        octets = flat.reshape(-1).view(torch.uint8)
        size = octets.numel()
        if size <= WHOLE_BYTES:
            if not size:
                return (0, None)
            slot, later = self.slot(torch.uint8, size)
            slot.copy_(octets)
            return (size, later)
        if octets.data_ptr() % 8:
            octets = octets.clone()
        count = size // 8
        columns = 1 << (count.bit_length() // 2)
        rows = count // columns
        rest = size - rows * columns * 8
        slot, later = self.slot(torch.int64, columns + rows + (rest + 7) // 8)
        body = octets[: rows * columns * 8].view(torch.int64).view(rows, columns)
        torch.sum(body, 0, out=slot[:columns])
        torch.sum(body, 1, out=slot[columns : columns + rows])
        if rest:
            slot[columns + rows :].view(torch.uint8)[:rest].copy_(octets[size - rest :])
        later.size = (columns + rows) * 8 + rest
        return (size, later)


class Device:
    """One for the process: its accelerators, and the steps that are held."""

    def __init__(self, sensor, torch, spans, recorder):
        self.sensor = sensor
        self.torch = torch
        self.spans = spans
        self.recorder = recorder
        told = os.environ.get("TAINTLINE_DEVICE", "")
        self.pretend, self.counts = told.startswith("cpu"), told == "cpu+steps"
        self.places = {}
        self.queue = deque()
        self.clear()

    def __reduce__(self):
        return (type(None), ())

    def clear(self):
        """What came late of the step that is being collected."""
        self.losses, self.rates, self.batches = [], [], []
        self.norm = self.before_clip = self.parameters = self.state = None
        self.digests = []

    def forked(self):
        """This is a child: an accelerator cannot be used here, and what is held is the parent's to tell."""
        self.places = {}
        self.queue.clear()
        self.clear()

    def is_far(self, tensor):
        """Whether a plain tensor lies where it is read like this."""
        if tensor.is_cpu:
            return self.pretend
        return tensor.device.type in KINDS

    def far(self, tensors):
        """Whether any of `tensors` does."""
        plain = self.spans.plain
        return any(type(tensor) in plain and self.is_far(tensor) for tensor in tensors)

    def place(self, tensor):
        device = tensor.device
        place = self.places.get(device)
        if place is None:
            place = self.places[device] = Place(self.torch, device)
        return place

    # Numbers of the step that is being collected

    def number(self, tensor):
        """The one number of `tensor`, later."""
        with self.torch.no_grad():
            return self.place(tensor).number(tensor)

    def loss(self, tensor):
        later = self.number(tensor)
        index = self.recorder.loss(float("nan"))
        if index is not None:
            self.losses.append((index, later))

    def batch(self, tensors):
        sums = self.sums(tensors, True) if len(self.batches) < BATCHES_MAX else None
        index = self.recorder.batch_later(sum(tensor.nbytes for tensor in tensors))
        if index is not None and sums is not None:
            self.batches.append((index, sums))

    def gradients(self, gradients):
        """The norm of all gradients together."""
        torch = self.torch
        place = self.place(gradients[0])
        if any(gradient.device != place.device for gradient in gradients):
            raise Unseen("gradients lie in several places")
        with torch.no_grad():
            place.enter()
            kinds = {}
            for gradient in gradients:
                kinds.setdefault(gradient.dtype, []).append(gradient.detach())
            norms = []
            for kind, same in kinds.items():
                wide = torch.float64 if kind is torch.float64 else torch.float32
                norms += torch._foreach_norm(same, 2, dtype=wide)
            slot, self.norm = place.slot(torch.float64, 1)
            slot.copy_(torch.linalg.vector_norm(torch.stack([norm.double() for norm in norms])))

    def begins(self, tensor):
        """Something that is measured begins where `tensor` is."""
        place = self.place(tensor)
        return place, place.event(True)

    def took(self, throttle, begun, cost):
        """It ends, and cost so many nanoseconds here; what it cost the accelerator is known later."""
        place, event = begun
        self.digests.append((throttle, cost, None if event is None else (event, place.event(True))))

    def sums(self, tensors, copy=False):
        """Of each tensor its size and the sums over it, later or now. Views are copied only if `copy`."""
        if len(tensors) > TENSORS_MAX:
            raise Unseen(f"there are more than {TENSORS_MAX} tensors")
        sums, entered = [], set()
        with self.torch.no_grad():
            for tensor in tensors:
                local = self.spans.local(tensor)
                if not self.is_far(local):
                    sums.append((local.nbytes, _native.fingerprint([self.spans.span(local)]).encode()))
                    continue
                place = self.place(local)
                if place not in entered:
                    place.enter()
                    entered.add(place)
                sums.append(place.sums(self.spans.dense(local, copy)))
        return sums

    def generators(self):
        """States of the generators of the accelerators in use, as tensors here."""
        states = []
        for device in sorted(self.places, key=str):
            if device.type == "cpu":
                continue
            module = getattr(self.torch, device.type)
            index = module.current_device() if device.index is None else device.index
            try:
                states.append(module.default_generators[index].get_state())
            except Exception as error:
                self.sensor.gap("random numbers of an accelerator", error)
        return states

    # Held steps

    def engaged(self):
        """Whether the step that ends must be held: it has numbers that are on their way, or one before it is held."""
        return bool(self.queue) or any(place.open for place in self.places.values())

    def hold(self, held, sample, passes, number):
        """Holds a step until its numbers are here."""
        frames = []
        for place in self.places.values():
            try:
                frames += place.seal()
            except Exception as error:
                # What was gathered there is told to be missing when it is asked for.
                self.sensor.gap("numbers of steps on an accelerator", error)
        collected = (self.losses, self.rates, self.batches, self.norm, self.before_clip, self.parameters, self.state)
        self.queue.append((held, frames, collected, sample, passes, self.digests, number))
        self.clear()

    def drain(self, seconds=0):
        """Says the held steps whose numbers are here, or will be within so many seconds. The accelerator is asked and never waited
        for: where it hangs, the job must still end as it would."""
        until = time.monotonic() + seconds if seconds else None
        while self.queue:
            if not self._arrived(self.queue[0][1]):
                if until is not None and time.monotonic() < until:
                    time.sleep(0.001)
                    continue
                if until is None and len(self.queue) <= HELD_MAX:
                    return
            try:
                self._say(*self.queue.popleft())
            except Exception as error:
                self.sensor.gap("steps on an accelerator", error)

    def _arrived(self, frames):
        """Whether there is nothing to wait for: the copies are here, or the accelerator failed."""
        try:
            return all(frame.arrived() for frame in frames)
        except Exception as error:
            self.sensor.gap("numbers of steps on an accelerator", error)
            return True

    def _say(self, held, frames, collected, sample, passes, digests, number):
        try:
            if not all(frame.bytes is not None for frame in frames):
                raise Unseen("they did not come in time")
            self._fill(held, *collected)
            for throttle, cost, events in digests:
                if events is not None:
                    cost = max(cost, int(events[0].elapsed_time(events[1]) * 1e6))
                throttle.took(cost)
        except Exception as error:
            self.sensor.gap("numbers of steps on an accelerator", error)
            held.forget()
        try:
            sample, passes = _completed(sample, passes)
        except Exception as error:
            self.sensor.gap("updates on an accelerator", error)
            sample = passes = None
        link = self.sensor.live()
        if link is not None:
            left_out = held.say(link, sample, passes)
            if left_out:
                self.sensor.gap("batches and losses", f"step {number} had {left_out} more than are told")

    def _fill(self, held, losses, rates, batches, norm, before_clip, parameters, state):
        held.numbers(
            [(index, later.number()) for index, later in losses],
            [(index, later.number()) for index, later in rates],
            None if norm is None else norm.number(),
            None if before_clip is None else before_clip.number(),
        )
        for index, sums in batches:
            held.batch(index, _bytes(sums))
        if parameters is not None or state is not None:
            held.model(*(None if sums is None else _bytes(sums) for sums in (parameters, state)))


def _bytes(sums):
    """For each tensor its size and what was summed up."""
    found = []
    for size, told in sums:
        told = b"" if told is None else told.read() if isinstance(told, Later) else told
        found.append(size.to_bytes(8, "little") + told)
    return found


def _completed(sample, passes):
    """With the looks that came late."""
    if passes is not None and passes[1] is not None:
        counts, (calls, unread, chain, more), *rest = passes
        if isinstance(chain, Looks):
            calls = chain.filter(calls)
            chain = chain.compose()[1]
        calls = [(kind, first, _told(kind, second), digits, apart) for kind, first, second, digits, apart in map(_unscaled, calls)]
        passes = (counts, (calls, unread, chain or "", more), *rest)
    if sample is not None and isinstance(sample[-1], Looks):
        sample = (*sample[:-1], sample[-1].compose()[0])
    return sample, passes


def _told(_kind, value):
    return value.number() if isinstance(value, Later) else value


def _unscaled(call):
    """`GradScaler` divides by its scale."""
    kind, first, *rest = call
    if isinstance(first, Later):
        scale = first.number()
        first = 1 / scale if scale else float("nan")
    return (kind, first, *rest)


class Seen:
    """One look at one parameter, on its way: its columns side by side."""

    __slots__ = ("later", "length", "gradient", "state", "steps")

    def __init__(self, later, length, gradient, state, steps):
        self.later, self.length = later, length
        # Whether there is a gradient, how many columns of state (`None` where there is none), and the count of steps, now or later.
        self.gradient, self.state, self.steps = gradient, state, steps

    def read(self):
        raw, length = self.later.read(), self.length
        columns = [raw[start : start + length] for start in range(0, len(raw), length)]
        steps = self.steps
        if isinstance(steps, Later):
            steps = steps.number()
            steps = int(steps) if 0 <= steps < 9e15 and steps == int(steps) else None
        states = None if self.state is None else columns[1 + self.gradient :]
        return (columns[0], columns[1] if self.gradient else None, states, steps)


class Looks:
    """All looks around one step, on their way."""

    def __init__(self, rows, stages, closure, rules):
        self.rows, self.stages, self.closure, self.rules = rows, stages, closure, rules
        self.kept = self.texts = None

    def filter(self, calls):
        """The calls without those that turned out to have changed nothing."""
        found, left = [], []
        for number, (stage, only_if_other) in enumerate(self.stages):
            read = [seen if seen is None or seen == b"" else seen.read() for seen in stage]
            if only_if_other and found and read == found[-1]:
                continue
            found.append(read)
            if number and number <= len(calls):
                left.append(calls[number - 1])
        self.kept = found
        return left

    def compose(self):
        """The texts of the sample and of the gradients' way."""
        if self.texts is None:
            if self.kept is None:
                self.filter(())
            rows = [
                (index, size, positions, *(None if seen is None else seen.read() for seen in seen))
                for index, size, positions, *seen in self.rows
            ]
            self.texts = _native.compose_sample(rows, self.kept, self.closure, self.rules)
        return self.texts


class Sampler:
    """Stands for the native sampler where the parameters lie on an accelerator; the positions are drawn by that one."""

    def __init__(self, native, device, recheck):
        self.native = native
        self.device = device
        self.recheck = recheck
        self.torch = device.torch
        self.stands, self.about, self.hooked = native.stands, native.about, native.hooked
        self.entries, self.told, self.unsaid = [], [], []
        self.place = None
        self._clear()

    def __reduce__(self):
        return (type(None), ())

    def _clear(self):
        self.picks, self.earlier_seen, self.before_seen, self.stages = [], None, None, []

    def layout(self, groups, entries):
        self.native.layout(groups, entries)
        self.entries = entries
        self.told = [None] * len(entries)
        self.unsaid = [True] * len(entries)
        self.place = self.device.place(self.device.spans.local(entries[0][1])) if entries else None
        self._clear()

    def draw(self, count, most):
        self._clear()
        return self._drawn(self.native.draw(count, most))

    def take(self, wanted):
        self._clear()
        return self._drawn(self.native.take(wanted))

    def _drawn(self, numbers):
        positions = self.native.positions()
        if numbers:
            everything = [position for some in positions for position in some]
            # Where it is copied from is copied itself before the call returns.
            indices = self.torch.tensor(everything, device="cpu").to(self.place.device, non_blocking=True)
            start = 0
            for number, some in zip(numbers, positions):
                self.picks.append((number, some, indices[start : start + len(some)]))
                start += len(some)
        return numbers

    def forget(self):
        self.native.forget()
        self._clear()

    def no_earlier(self):
        self.earlier_seen = None

    def earlier(self, states, apart):
        seen = self._look(states, False)
        self.earlier_seen = [None if id(self.entries[pick[0]][1]) in apart else one for pick, one in zip(self.picks, seen)]

    def before(self, states, gradients):
        self.before_seen = self._look(states, gradients)

    def behind(self, states, closure, rules):
        behind = self._look(states, True)
        nothing = [None] * len(self.picks)
        looks = zip(self.picks, self.earlier_seen or nothing, self.before_seen or nothing, behind)
        rows = [(self.entries[number][0], self.entries[number][4], positions, *seen) for (number, positions, _), *seen in looks]
        told = Looks(rows, self.stages, closure, rules)
        way = told if self.stages else None
        self.earlier_seen = self.before_seen = None
        self.stages = []
        return told, way

    def stage(self, anew, other, others):
        """The gradients on their way; whether they are others than at the last look is known later."""
        if not anew and (not self.stages or len(self.stages) >= STAGES_MAX):
            return False
        with self.torch.no_grad():
            self.place.enter()
            stage = [self._gradient(pick, others) for pick in self.picks]
        if anew:
            self.stages = []
        self.stages.append((stage, other))
        return True

    def untold(self):
        found = []
        for number, *_ in self.picks:
            if self.unsaid[number]:
                self.unsaid[number] = False
                # It cannot be read from outside.
                found.append((number, list(self.told[number] or ()), ()))
        return found

    # Looks

    def _look(self, states, gradients):
        with self.torch.no_grad():
            self.place.enter()
            return [self._look_at(pick, states, gradients) for pick in self.picks]

    def _look_at(self, pick, states, gradients):
        """One parameter; `None` if not all of it can be read."""
        number, positions, index = pick
        _, parameter, kind, _, size, numel, (address, _), columns, part = self.entries[number]
        weight = self._here(parameter, part)
        if weight.data_ptr() != address or weight.numel() != numel:
            return None
        tensors = [weight]
        gradient = self._here(parameter.grad, part) if gradients else None
        if gradient is not None:
            if not self._like(gradient, kind, numel, "the gradient"):
                return None
            tensors.append(gradient)
        state, steps, count = states.get(parameter), None, None
        if state:
            found = [(name, self._here(state[name], part)) for name in columns if state.get(name) is not None]
            for name, value in found:
                if not self._like(value, kind, numel, "the state"):
                    return None
                tensors.append(value)
            if found:
                count = len(found)
                names = [name for name, _ in found]
                if names != self.told[number]:
                    self.told[number], self.unsaid[number] = names, True
            steps = self._count(state.get("step"))
        length = len(positions)
        slot, later = self.place.slot(kind, length * len(tensors))
        take, start = self.torch.take, 0
        for tensor in tensors:
            take(tensor.detach(), index, out=slot[start : start + length])
            start += length
        return Seen(later, length * size, gradient is not None, count, steps)

    def _here(self, tensor, part):
        """What of a tensor lies here."""
        return getattr(tensor, "_local_tensor", tensor) if part else tensor

    def _like(self, tensor, kind, numel, what):
        """Whether a tensor is as its parameter. Asked at each look: what is kept to be compared with would be kept in memory."""
        if type(tensor) not in self.device.spans.plain:
            why = f"{what} is a {type(tensor).__name__}"
        elif tensor.device != self.place.device or tensor.layout is not self.device.spans.strided:
            why = f"{what} is on {tensor.device.type}, {tensor.layout}"
        elif tensor.dtype is not kind or tensor.numel() != numel:
            why = f"{what} has another type or size than the weight"
        elif not tensor.data_ptr():
            why = f"{what} has no memory"
        else:
            return True
        self.recheck.gap(f"parameters: {why}", "they are not sampled")
        return False

    def _gradient(self, pick, others):
        """The gradient on its way: empty where there is none, `None` where it cannot be read."""
        number, positions, index = pick
        _, parameter, kind, _, _, numel, _, _, part = self.entries[number]
        gradient = None if others is None else others.get(number)
        gradient = self._here(parameter.grad if gradient is None else gradient, part)
        if gradient is None:
            return b""
        if not self._like(gradient, kind, numel, "the gradient"):
            return None
        slot, later = self.place.slot(kind, len(positions))
        self.torch.take(gradient.detach(), index, out=slot)
        return later

    def _count(self, count):
        """The count of steps in a state, now where it is here."""
        if isinstance(count, (int, float)):
            return int(count) if count >= 0 and count == int(count) else None
        if type(count) not in self.device.spans.plain or count.numel() != 1:
            return None
        if count.is_cpu and not self.device.counts:
            number = count.item()
            return int(number) if number >= 0 and number == int(number) else None
        return self.place.number(count)
