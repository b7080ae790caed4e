"""What happens between two steps of an optimizer: passes, gradients on their way, where losses come from, modes, random numbers.

The gradients are read at the positions that the recheck has drawn for the step: when a backward pass ends, and around each call
of torch that changes them. Nothing is judged here.
"""

import functools
from time import thread_time_ns as work

# Calls on the gradients of one step that are told.
CALLS_MAX = 8
# Kinds of starts of backward passes that are told, and nodes that one of them is followed through.
ENDS_MAX, NODES_MAX = 8, 8
# Kinds of calls, as the recorder knows them.
CHANGED, UNSCALED, CLIPPED, CLAMPED, HOOKED = range(5)
# Elements of parameters with hooks of others that are followed through them in one backward pass.
HOOKED_MAX = 4 << 20
# Nodes that leave the value as it is.
THROUGH = frozenset(
    ("ToCopyBackward0", "CloneBackward0", "ViewBackward0", "ReshapeAliasBackward0", "SqueezeBackward0", "UnsqueezeBackward0", "AliasBackward0")
)
MEANS = frozenset(("MeanBackward0", "MeanBackward1"))
# What `reduction="mean"` is to torch's losses.
MEAN = 1


class Around:
    """Stands first and last among the hooks of a parameter, for one backward pass."""

    def __init__(self, parameter, changes, number, passes):
        self.changes, self.number, self.passes = changes, number, passes
        self.raw = None
        hooks = parameter._backward_hooks
        others = list(hooks.items())
        self.handles = (parameter.register_hook(self.before), parameter.register_hook(self.behind))
        # Torch goes by the order in which they were put into the table.
        for key, hook in others:
            del hooks[key]
            hooks[key] = hook
        last = self.handles[1].id
        hooks[last] = hooks.pop(last)

    def before(self, gradient):
        try:
            if type(gradient) is self.passes.Tensor and gradient.layout is self.passes.strided:
                # What the others do may be done in place.
                self.raw = gradient.detach().clone()
        except Exception as error:
            self.passes.gap("hooks on parameters", error)

    def behind(self, gradient):
        try:
            raw, self.raw = self.raw, None
            if raw is None or raw.shape != gradient.shape:
                return
            # To ask an accelerator would wait for it: whether anything changed is seen where it is read.
            if not self.passes.device.is_far(raw) and self.passes.equal(raw, gradient):
                return
            change = raw - gradient.detach()
            known = self.changes.get(self.number)
            self.changes[self.number] = change if known is None else known + change
        except Exception as error:
            self.passes.gap("hooks on parameters", error)

    def remove(self):
        for handle in self.handles:
            handle.remove()


class Path:
    """The way of one optimizer's gradients since the last backward pass."""

    def __init__(self):
        self.chain = None
        self.spent = 0
        # By the parameter's number: what hooks took away from the gradients that were added up since the last step.
        self.hooked = {}
        self.begin()
        self.begun = False

    def begin(self):
        self.calls, self.stages, self.more = [], 0, False
        self.begun = True

    def take(self):
        """What is told of it, as the recorder takes it; `None` if no backward pass came since the last step."""
        if not self.begun:
            return None
        unread = self.chain is None or self.stages != len(self.calls) + 1
        told = (self.calls, unread, "" if unread else self.chain, self.more)
        self.begin()
        self.begun, self.chain = False, None
        self.hooked = {}
        return told


class Passes:
    """One for the process."""

    def __init__(self, sensor, torch, recheck, recorder, device):
        self.sensor = sensor
        self.device = device
        self.recheck = recheck
        self.recorder = recorder
        self.generator = torch.default_generator
        self.Tensor = torch.Tensor
        self.casting = torch._C._is_any_autocast_enabled
        self.cast = (torch.is_autocast_enabled, torch.get_autocast_dtype)
        self.told = {}
        self.scale = None
        self.watched = False
        self.around = []
        # Backward passes of the last three steps, and of all of them if they had as many.
        self.counts, self.usual = (), 0
        self.equal, self.strided = torch.equal, torch.strided
        self.forget()

    def __reduce__(self):
        return (type(None), ())

    def forget(self):
        """What was counted belongs to no further step."""
        self.forwards = self.evaluating = self.backwards = 0
        self.ends, self.unknown, self.autocast = [], False, None

    def gap(self, what, why):
        self.sensor.gap(what, why)

    # Forward

    def forward(self, model, whole):
        """A root's forward pass begins; `whole` if its end will be seen."""
        if model is None or not model.training:
            self.evaluating += 1
            return
        self.forwards += 1
        if self.forwards > 1:
            return
        if self.casting():
            enabled, kind = self.cast
            for device in ("cpu", "cuda"):
                if enabled(device):
                    self.autocast = str(kind(device)).removeprefix("torch.")
                    break
        if whole:
            self._random(self.recorder.random_before)
            self.watched = True

    def forward_ended(self):
        if self.watched:
            self.watched = False
            self._random(self.recorder.random_behind)

    def _random(self, tell):
        states = [self.generator.get_state()]
        if self.device.places:
            states += self.device.generators()
        tell([(state.data_ptr(), state.nbytes) for state in states])

    # Backward

    def backward(self, tensors, args, kwargs):
        self.backwards += 1
        self._stand_around()
        if isinstance(tensors, (list, tuple)):
            tensors = tensors[0] if len(tensors) == 1 else None
        seed = args[0] if args else kwargs.get("grad_tensors")
        if isinstance(seed, (list, tuple)):
            seed = seed[0] if len(seed) == 1 else seed
        end = None if tensors is None else self._end(tensors, seed)
        if end is None:
            self.unknown = True
        elif end not in self.ends:
            if len(self.ends) < ENDS_MAX:
                self.ends.append(end)
            else:
                self.unknown = True

    def _stand_around(self):
        """Sampled parameters that somebody set hooks on are looked at before these hooks and behind them."""
        self._step_aside()
        left = HOOKED_MAX
        for look in self.recheck.every():
            parameters, hooked = look.parameters, look.path.hooked
            for number in list(hooked):
                if parameters[number][1].grad is None:
                    del hooked[number]
            for number in look.sampler.hooked() if look.drawn else ():
                parameter = parameters[number][1]
                left -= parameter.numel()
                if left < 0:
                    self.gap("hooks on parameters", "there are more elements below them than are followed")
                    return
                self.around.append(Around(parameter, hooked, number, self))

    def _step_aside(self):
        around, self.around = self.around, []
        for hooks in around:
            hooks.remove()

    def _end(self, loss, seed):
        """The node that made the loss and what it was multiplied with since; `None` if that is not understood."""
        factor = 1.0
        if seed is not None:
            factor = self._number(seed)
        if factor is not None and self.scale:
            factor /= self.scale
        node = loss.grad_fn
        for _ in range(NODES_MAX):
            if node is None or factor is None:
                return None
            name = node.name()
            if name in THROUGH:
                node = node.next_functions[0][0]
            elif name == "NegBackward0":
                factor, node = -factor, node.next_functions[0][0]
            elif name.startswith(("MulBackward", "DivBackward")):
                node, number = self._constant(node)
                if number is None or not number:
                    return None
                factor = factor * number if name.startswith("Mul") else factor / number
            elif name in MEANS or getattr(node, "_saved_reduction", None) == MEAN:
                return (name, factor)
            else:
                # A sum may be divided by the size of the batch, which differs.
                return None
        return None

    def _constant(self, node):
        """What goes on, and the constant that it is multiplied with or divided by."""
        left, *rest = [function for function, _ in node.next_functions]
        right = rest[0] if rest else None
        if left is not None and right is None:
            return left, self._number(node._saved_other)
        if left is None and right is not None and node.name().startswith("Mul"):
            return right, self._number(node._saved_self)
        return None, None

    def _number(self, value):
        if isinstance(value, (int, float)):
            return float(value)
        if type(value) is self.Tensor and value.is_cpu and value.numel() == 1:
            return float(value.item())
        return None

    def _number_or_later(self, value):
        """As [`_number`], and of what lies on an accelerator, later."""
        if type(value) is self.Tensor and value.numel() == 1 and self.device.is_far(value):
            return self.device.number(value)
        return self._number(value)

    def backward_ended(self):
        """What stands in the gradients now is what the passes left, whatever came before."""
        self._step_aside()
        early = self.backwards < self.usual
        for look in self.recheck.every():
            look.path.begin()
            if early:
                continue  # further passes come, and add to it
            self._look(look, True, False, look.path.hooked)
            if look.path.hooked and self._look(look, False, True):
                look.path.calls.append((HOOKED, 0.0, 0.0, 0, None))

    # Calls that change gradients

    def _look(self, look, anew, other, hooked=None):
        """Reads the gradients, or what they would be without what hooks did; answers whether they are told as a stage."""
        if not look.drawn:
            return False
        begun = work()
        others = None
        if hooked:
            others = {}
            for number in hooked:
                gradient = look.parameters[number][1].grad
                if gradient is not None:
                    others[number] = gradient.detach() + hooked[number]
        new = look.sampler.stage(anew, other, others)
        look.path.stages += new
        look.path.spent += work() - begun
        return new

    def begins(self, parameters):
        """A call that may change the gradients of `parameters` begins: the optimizers that it is about, and which of their
        sampled parameters it is not."""
        about = []
        try:
            if isinstance(parameters, self.Tensor):
                parameters = [parameters]
            # What can be gone through only once is the call's.
            listed = type(parameters) in (list, tuple)
            for look in self.recheck.every():
                if not look.path.begun:
                    continue
                concerned, apart = look.sampler.about(parameters) if listed and look.class_name else (True, None)
                if not concerned and look.ids:
                    continue
                if len(look.path.calls) >= CALLS_MAX:
                    look.path.more = True
                    continue
                self._enter(look)
                about.append((look, apart))
        except Exception as error:
            self.gap("gradients on their way", error)
        return about

    def _enter(self, look):
        if self._look(look, False, True):
            look.path.calls.append((CHANGED, 0.0, 0.0, 0, None))

    def clipped(self, about, max_norm, norm):
        try:
            number = self._number_or_later(norm)
            digits = self.recheck.digits.get(getattr(norm, "dtype", None), 53)
            for look, apart in about:
                self._look(look, False, False)
                told = float("nan") if number is None else number
                look.path.calls.append((CLIPPED, float(max_norm), told, digits, apart))
        except Exception as error:
            self.gap("gradients on their way", error)

    def clamped(self, about, limit):
        try:
            for look, apart in about:
                self._look(look, False, False)
                look.path.calls.append((CLAMPED, float(limit), 0.0, 0, apart))
        except Exception as error:
            self.gap("gradients on their way", error)

    def unscale_begins(self, optimizer):
        try:
            look = self.recheck.looks.get(optimizer)
            if look is None or not look.path.begun:
                return None
            if len(look.path.calls) >= CALLS_MAX:
                look.path.more = True
                return None
            self._enter(look)
            return look
        except Exception as error:
            self.gap("gradients on their way", error)
            return None

    def unscaled(self, look, scale):
        try:
            if look is not None:
                number = self._number_or_later(scale)
                self._look(look, False, False)
                if isinstance(number, float):
                    number = 1 / number if number else float("nan")
                look.path.calls.append((UNSCALED, float("nan") if number is None else number, 0.0, 0, None))
        except Exception as error:
            self.gap("gradients on their way", error)

    def scaled(self, scale):
        """`GradScaler.scale` was called."""
        try:
            self.scale = self._number(scale)
        except Exception as error:
            self.gap("scale of the loss", error)

    # Step

    def take(self, optimizer, index):
        """What is told with the step of `optimizer`; what was counted belongs to it."""
        look = self.recheck.looks.get(optimizer)
        path = None if look is None else look.path.take()
        ends = [] if self.told.get(index) == self.ends else self.ends
        if ends:
            self.told[index] = ends
        self.counts = (*self.counts[-2:], self.backwards)
        self.usual = self.backwards if self.counts.count(self.backwards) == 3 else 0
        told = ((self.forwards, self.evaluating, self.backwards), path, ends, self.unknown, self.autocast)
        self.forget()
        return told


def wrap(passes, torch, module):
    """Stands around what torch has to change gradients: `module` is `torch.nn.utils.clip_grad`."""
    compiling = torch.compiler.is_compiling
    _wrap_norm(passes, torch, module, compiling)
    _wrap_value(passes, torch, module, compiling)
    _wrap_scaler(passes, torch.amp.grad_scaler.GradScaler)


def _wrap_norm(passes, torch, module, compiling):
    clip = getattr(module, "_clip_grads_with_norm_", None)
    if clip is None:
        passes.gap("clipping of gradients", "this torch has no function for it that tells its norm")
        return

    @functools.wraps(clip)
    def wrapper(parameters, max_norm, total_norm, foreach=None):
        if compiling():
            return clip(parameters, max_norm, total_norm, foreach)
        about = passes.begins(parameters)
        result = clip(parameters, max_norm, total_norm, foreach)
        passes.clipped(about, max_norm, total_norm)
        return result

    module._clip_grads_with_norm_ = wrapper
    if getattr(torch.nn.utils, "clip_grads_with_norm_", None) is clip:
        torch.nn.utils.clip_grads_with_norm_ = wrapper


def _wrap_value(passes, torch, module, compiling):
    clamp = module.clip_grad_value_

    @functools.wraps(clamp)
    def wrapper(parameters, clip_value, *args, **kwargs):
        if compiling():
            return clamp(parameters, clip_value, *args, **kwargs)
        about = passes.begins(parameters)
        result = clamp(parameters, clip_value, *args, **kwargs)
        passes.clamped(about, clip_value)
        return result

    module.clip_grad_value_ = wrapper
    if getattr(torch.nn.utils, "clip_grad_value_", None) is clamp:
        torch.nn.utils.clip_grad_value_ = wrapper


def _wrap_scaler(passes, kind):
    unscale, scale = kind.unscale_, kind.scale

    @functools.wraps(unscale)
    def unscale_(self, optimizer):
        look = passes.unscale_begins(optimizer) if self._enabled else None
        result = unscale(self, optimizer)
        passes.unscaled(look, self._scale)
        return result

    @functools.wraps(scale)
    def scaling(self, outputs):
        result = scale(self, outputs)
        if self._enabled:
            passes.scaled(self._scale)
        return result

    kind.unscale_ = unscale_
    kind.scale = scaling
