"""What stands at a few random positions of the model around each step, so that the step can be recomputed elsewhere.

Nothing is judged here and nothing is copied but the sampled elements. What cannot be read exactly (an accelerator's memory,
a class that is not torch's own, hooks that may change the step) is a gap, told once, and not sampled. The generator of
the positions is our own: none of the job's is touched.
"""

import os
import sys
import weakref
from time import thread_time_ns as work

from . import _native
from ._passes import Path
from ._spans import Unseen
from ._throttle import Throttle

# Share of a step's time that the looks may take, and nanoseconds that they may take however short the step is.
SHARE, FREE = 0.01, 2_000_000
# Positions of each optimizer at least, where there are many of them.
LEAST = 4
# Looks after which the list of parameters is made anew, because one may have been frozen or thawed.
ANEW = 256
# Modules that are asked for the names of their parameters.
MODULES_MAX = 100_000
# Letters of a name that are told, and the last part of a long one is.
NAME_MAX = 120

# For each class of torch: its state, its numbers.
CLASSES = {
    "SGD": (("momentum_buffer",), ("momentum", "dampening", "weight_decay", "nesterov", "maximize")),
    "Adam": (
        ("exp_avg", "exp_avg_sq", "max_exp_avg_sq"),
        ("betas", "eps", "weight_decay", "amsgrad", "maximize", "decoupled_weight_decay"),
    ),
    "Adagrad": (("sum",), ("lr_decay", "weight_decay", "eps", "maximize")),
    "RMSprop": (
        ("square_avg", "momentum_buffer", "grad_avg"),
        ("alpha", "eps", "weight_decay", "momentum", "centered", "maximize"),
    ),
    "Adamax": (("exp_avg", "exp_inf"), ("betas", "eps", "weight_decay", "maximize")),
}
CLASSES["AdamW"] = CLASSES["Adam"]


class Recheck:
    """Shared by all optimizers of the process."""

    def __init__(self, sensor, torch, spans):
        self.sensor = sensor
        self.spans = spans
        self.positions = _positions()
        self.module = sys.modules["torch.optim.optimizer"]
        # Torch's own classes, as they are before the job can put others there.
        self.classes = {getattr(torch.optim, name): name for name in CLASSES if hasattr(torch.optim, name)}
        kinds = (torch.float32, torch.float64, torch.bfloat16, torch.float16)
        self.kinds = {kind: (str(kind).removeprefix("torch."), kind.itemsize) for kind in kinds}
        self.digits = {kind: digits for kind, digits in zip(kinds, (24, 53, 8, 11))}
        self.looks = weakref.WeakKeyDictionary()
        self.models = weakref.WeakValueDictionary()
        self.changed = 0

    def __reduce__(self):
        return (type(None), ())

    def gap(self, what, why):
        self.sensor.gap(f"recheck of {what}", why)

    def forked(self):
        """This is a child: its positions are its own."""
        self.looks = weakref.WeakKeyDictionary()

    # What is loaded

    def loading(self, target):
        """`load_state_dict` of a model or an optimizer; `None` stands for a checkpoint that may go anywhere."""
        try:
            if target is None:
                for look in self.looks.values():
                    look.loaded = True
            elif isinstance(target, self.module.Optimizer):
                look = self.looks.get(target)
                if look is not None:
                    look.loaded = True
            else:
                ids = {id(parameter) for _, parameter, _ in _parameters(target)}
                for look in self.looks.values():
                    look.loaded = look.loaded or not ids.isdisjoint(look.ids)
        except Exception as error:
            self.gap("loaded states", error)

    def seen_model(self, model):
        """A root: it knows the names."""
        if id(model) not in self.models:
            self.models[id(model)] = model
            self.changed += 1

    # Around a step

    def before(self, optimizer, args, kwargs):
        """The step begins."""
        if not self.positions:
            self.gap("updates", "the settings turn it off")
            return
        look = self.looks.get(optimizer)
        if look is None:
            look = self.looks[optimizer] = Look(self, optimizer)
            self.set_apart(look)
        if look.interrupted:
            # The last step began and did not end: what stands there now is nobody's promise.
            look.forget()
        look.interrupted = True
        begun = work()
        look.begins(optimizer, len(args) > 1 and args[1] is not None or kwargs.get("closure") is not None)
        # What was read on the way to the step counts as well.
        look.spent, look.path.spent = look.path.spent + work() - begun, 0

    def behind(self, optimizer):
        """The step has ended: what was sampled, as the recorder takes it; `None` if nothing was."""
        look = self.looks.get(optimizer)
        if look is None or not look.interrupted:
            return None
        look.interrupted = False
        begun = work()
        sample = look.ends(optimizer)
        look.spent += work() - begun
        return sample

    def ahead(self, optimizer, now):
        """The record of the step is made: reads where the next one will be looked at."""
        look = self.looks.get(optimizer)
        if look is None or look.class_name is None:
            return
        begun = work()
        interval = None if look.ended is None else now - look.ended
        look.ended = now
        due = look.throttle.due()
        look.throttle.step(interval)
        if look.throttle.due():
            look.read_ahead(optimizer)
        if due:
            look.throttle.took(look.spent + work() - begun)

    def set_apart(self, mine):
        """Parameters of `mine` that another optimizer has as well change between its steps by right."""
        for look in list(self.looks.values()):
            shared = frozenset() if look is mine else mine.ids & look.ids
            if shared:
                self.gap("weights between steps, of parameters in several optimizers", "each changes them")
                for one in (mine, look):
                    one.apart = one.apart | shared
                look.no_earlier()


class Look:
    """One optimizer."""

    def __init__(self, recheck, optimizer):
        self.recheck = recheck
        self.class_name = recheck.classes.get(type(optimizer))
        self.throttle = Throttle("update recheck", SHARE, recheck.sensor, FREE)
        self.sampler = _native.Sampler(int.from_bytes(os.urandom(8), "little"))
        self.path = Path()
        self.told, self.described = {}, None
        self.parameters, self.marks, self.ids = [], None, frozenset()
        self.drawn = self.earlier = None
        self.loaded = self.interrupted = self.closure = self.begun = False
        self.ended, self.looks, self.spent, self.changed = None, 0, 0, -1
        self.names, self.renormed, self.apart, self.rates = {}, frozenset(), frozenset(), None
        self.description, self.untold, self.addresses, self.known = None, set(), [], {}
        # By the parameter's number, from the backward pass to the step: its gradient, where that lies, and how it is read.
        self.gradients = {}
        if self.class_name is None:
            self.ids = frozenset(id(parameter) for group in optimizer.param_groups for parameter in group["params"])
            kind = type(optimizer)
            why = "its class is not one of torch's that are rechecked"
            recheck.gap(f"updates by {kind.__module__}.{kind.__qualname__}", why)

    def forget(self):
        self.gradients.clear()
        self.drawn = self.earlier = None
        self.begun = False

    def no_earlier(self):
        """What was read when the last step ended does not bind any more."""
        if self.earlier:
            self.earlier = None
            self.sampler.earlier([None] * len(self.drawn))

    # Looks

    def begins(self, optimizer, closure):
        self.begun, self.closure = False, closure
        if self.class_name is None or not self.throttle.due() or not self._covered(optimizer):
            self.forget()
            return
        if self._stale(optimizer):
            self._layout(optimizer)
            self.forget()
        if self.drawn is None:
            self._draw()
        if self.drawn:
            self.description = self._describe(optimizer)
            self.rates = [_number(group["lr"]) for group in optimizer.param_groups]
            self.sampler.before(self._rows(optimizer, not closure, True))
            self.begun = True

    def ends(self, optimizer):
        if not self.begun:
            return None
        joined, loaded = self.earlier is not None, self.loaded
        self.begun = self.loaded = False
        if self._stale(optimizer):
            self.recheck.gap("a step", "its parameters were put elsewhere in memory by the step itself")
            return None
        if self.closure and self.description != self._describe(optimizer):
            self.recheck.gap("updates of a closure", "it changes the hyperparameters that the step then uses")
            return None
        rows = self._rows(optimizer, True, True)
        self.gradients.clear()
        indices = [self.parameters[number][0] for number in self.drawn]
        values, self.path.chain = self.sampler.behind(rows, indices, self.closure)
        rates = [_number(group["lr"]) for group in optimizer.param_groups]
        if self.closure and rates != self.rates:
            self.recheck.gap("updates of a closure", "it changes the learning rate that the step then uses")
            return None
        described = self.description if self.description != self.described else None
        self.described = self.description
        rates = None if rates == self.rates else self.rates
        return (described, self._untold(optimizer), rates, (self.closure, joined, loaded), values)

    def read_ahead(self, optimizer):
        self.forget()
        if not self._covered(optimizer):
            return
        if self._stale(optimizer):
            self._layout(optimizer)
        self._draw()
        if self.drawn:
            apart = self.apart | self.renormed
            rows = self._rows(optimizer, False, False)
            self.sampler.earlier([None if id(self.parameters[number][1]) in apart else row for number, row in zip(self.drawn, rows)])
            self.earlier = True

    def _draw(self):
        recheck = self.recheck
        self.looks += 1
        count = recheck.positions // max(1, len(recheck.looks))
        self.gradients.clear()
        self.drawn = self.sampler.draw(min(recheck.positions, max(LEAST, count)))
        self.earlier = None

    def _rows(self, optimizer, gradients, counts):
        """For each parameter in which positions lie what is to be read; `None` where it cannot be."""
        states, rows = optimizer.state, []
        for number in self.drawn:
            try:
                rows.append(self._row(states, number, gradients, counts))
            except Unseen as error:
                self.recheck.gap(f"parameters: {error}", "they are not sampled")
                rows.append(None)
        return rows

    def _row(self, states, number, gradients, counts):
        _, parameter, _, kind, size, shape, _, weight = self.parameters[number]
        gradient = parameter.grad if gradients else None
        state, columns, steps = states.get(parameter), None, None
        if state:
            columns = self._state(state, number)
            step = state.get("step") if counts else None
            if step is not None:
                steps = _number(step)
                steps = int(steps) if steps is not None and steps >= 0 and steps == int(steps) else None
        gradient = None if gradient is None else self.gradient(number, gradient, kind, shape)
        return (size, weight, gradient, columns, steps)

    def gradient(self, number, gradient, kind, shape):
        """How a parameter's gradient is read; one that stands where it stood was checked then."""
        known = self.gradients.get(number)
        if known is not None and known[0] is gradient and known[1] == gradient.data_ptr():
            return known[2]
        column = self._column(gradient, kind, shape, "the gradient")
        self.gradients[number] = (gradient, column[0], column)
        return column

    def _state(self, state, number):
        """The columns of a parameter's state; what stands where it stood was checked then."""
        _, _, _, kind, _, shape, names, _ = self.parameters[number]
        known = self.known.get(number)
        if known is not None:
            for name, value, address, _ in known:
                if state.get(name) is not value or value.data_ptr() != address:
                    break
            else:
                return [column for _, _, _, column in known]
        known = []
        for name in names:
            value = state.get(name)
            if value is not None:
                known.append((name, value, value.data_ptr(), self._column(value, kind, shape, "the state")))
        told = [name for name, _, _, _ in known]
        if told and self.told.get(number) != told:
            self.told[number] = told
            self.untold.add(number)
        if told:
            self.known[number] = known
        return [column for _, _, _, column in known] or None

    def _column(self, tensor, kind, shape, what):
        spans = self.recheck.spans
        if type(tensor) not in spans.plain:
            raise Unseen(f"{what} is a {type(tensor).__name__}")
        if not tensor.is_cpu or tensor.layout is not spans.strided:
            raise Unseen(f"{what} is on {tensor.device.type}, {tensor.layout}")
        if tensor.dtype is not kind or tensor.shape != shape or tensor.is_neg():
            raise Unseen(f"{what} has another type or shape than the weight")
        address = tensor.data_ptr()
        if not address:
            raise Unseen(f"{what} has no memory")
        return (address, () if tensor.is_contiguous() else tuple(zip(shape, tensor.stride())))

    # What must hold for a step to be rechecked

    def _covered(self, optimizer):
        """Whether nothing but torch's own step stands between the looks."""
        recheck, state = self.recheck, optimizer.__dict__
        module = recheck.module
        if state.get("_optimizer_step_pre_hooks") or state.get("_optimizer_step_post_hooks"):
            recheck.gap("updates with hooks of the optimizer", "what they change is not known")
            return False
        if len(module._global_optimizer_pre_hooks) > 1 or len(module._global_optimizer_post_hooks) > 1:
            recheck.gap("updates with further hooks of all optimizers", "what they change is not known")
            return False
        if getattr(optimizer, "grad_scale", None) is not None or getattr(optimizer, "found_inf", None) is not None:
            recheck.gap("updates that unscale their gradients", "a scaler leaves that to the fused step")
            return False
        for group in optimizer.param_groups:
            if group.get("differentiable") or group.get("capturable"):
                recheck.gap("updates that are differentiable or capturable", "their arithmetic is another")
                return False
        return True

    def _describe(self, optimizer):
        """The class and the numbers of its groups, as they are told."""
        names = CLASSES[self.class_name][1]
        groups = []
        for group in optimizer.param_groups:
            numbers = {}
            for name in names:
                value = group.get(name)
                if name == "betas":
                    numbers["beta1"], numbers["beta2"] = (_number(beta) for beta in value)
                elif value is not None:
                    numbers[name] = _number(value)
            rate = group["lr"]
            if type(rate) in self.recheck.spans.plain:
                numbers["lr_digits"] = self.recheck.digits.get(rate.dtype)
            # What is no plain number is not told, and what is not told is not judged.
            groups.append({name: value for name, value in numbers.items() if value is not None})
        return (self.class_name, groups)

    # Parameters

    def _stale(self, optimizer):
        """Whether the list of parameters is no longer what the optimizer has."""
        if self.marks is None or self.looks % ANEW == 0 and not self.begun and self.drawn is None:
            return True
        ids, lengths = self.marks
        groups = optimizer.param_groups
        if lengths != [len(group["params"]) for group in groups]:
            return True
        if ids != [id(parameter) for group in groups for parameter in group["params"]]:
            return True
        return self.addresses != [entry[1].data_ptr() for entry in self.parameters]

    def _layout(self, optimizer):
        recheck = self.recheck
        groups = optimizer.param_groups
        everything = [parameter for group in groups for parameter in group["params"]]
        self.marks = ([id(parameter) for parameter in everything], [len(group["params"]) for group in groups])
        self.ids = frozenset(self.marks[0])
        self._learn_names(groups)
        self.parameters, spans, index = [], [], 0
        columns = CLASSES[self.class_name][0]
        for number, group in enumerate(groups):
            for parameter in group["params"]:
                entry = self._entry(index, number, parameter, columns)
                index += 1
                if entry is not None:
                    self.parameters.append(entry)
                    spans.append((entry[1].data_ptr(), entry[1].nbytes))
        double = _overlapping(spans)
        if double:
            recheck.gap("parameters that share memory", "what one of them is given the other has too")
            self.parameters = [entry for number, entry in enumerate(self.parameters) if number not in double]
        self.addresses = [entry[1].data_ptr() for entry in self.parameters]
        self.sampler.layout([entry[1].numel() for entry in self.parameters])
        self.told, self.untold, self.described, self.known = {}, set(range(len(self.parameters))), None, {}
        recheck.set_apart(self)

    def _entry(self, index, number, parameter, columns):
        """What is kept of a parameter; `None` if it is not rechecked."""
        recheck = self.recheck
        if not isinstance(parameter, recheck.spans.Tensor) or not parameter.requires_grad:
            return None
        try:
            if type(parameter) not in recheck.spans.plain:
                raise Unseen(f"the weight is a {type(parameter).__name__}")
            recheck.spans.span(parameter)
            if parameter.dtype not in recheck.kinds:
                raise Unseen(f"the weight is {parameter.dtype}")
            if parameter.is_shared():
                raise Unseen("the weight lies in memory that processes share")
            if not parameter.numel():
                return None
            # Checked here; `_stale` sees when it is put elsewhere.
            weight = self._column(parameter, parameter.dtype, parameter.shape, "the weight")
        except Unseen as error:
            recheck.gap(f"parameters: {error}", "they are not sampled")
            return None
        size = recheck.kinds[parameter.dtype][1]
        return (index, parameter, number, parameter.dtype, size, parameter.shape, columns, weight)

    def _untold(self, optimizer):
        """Descriptions of the drawn parameters that the supervisor does not know."""
        found = []
        for number in self.drawn:
            if number not in self.untold:
                continue
            self.untold.discard(number)
            index, parameter, group, kind, _, shape, _, _ = self.parameters[number]
            name = self._name(parameter)
            kind = self.recheck.kinds[kind][0]
            found.append((index, group, name, list(shape), kind, self.told.get(number, [])))
        return found

    def _name(self, parameter):
        if self.changed != self.recheck.changed and id(parameter) not in self.names:
            self._learn_names(())
        return self.names.get(id(parameter), "")[-NAME_MAX:]

    def _learn_names(self, groups):
        names, renormed = {}, set()
        self.changed = self.recheck.changed
        for model in list(self.recheck.models.values()):
            for name, parameter, home in _parameters(model):
                names.setdefault(id(parameter), name)
                if home.get("max_norm") is not None:
                    renormed.add(id(parameter))
        for group in groups:
            told = group.get("param_names")
            if isinstance(told, list):
                names.update((id(parameter), str(name)) for parameter, name in zip(group["params"], told))
        self.names = {key: name for key, name in names.items() if key in self.ids}
        self.renormed = frozenset(renormed & self.ids)
        if self.renormed:
            self.recheck.gap("weights between steps, of embeddings with max_norm", "their layer rescales them as it is used")


def _positions():
    try:
        return min(4096, max(0, int(os.environ.get("TAINTLINE_RECHECK", "64"))))
    except ValueError:
        return 64


def _number(value):
    """`value` as a float; `None` if it is none that can be read at once."""
    if isinstance(value, (int, float)):
        return float(value)
    try:
        return float(value.item()) if value.is_cpu and value.numel() == 1 else None
    except Exception:
        return None


def _parameters(model):
    """Name, parameter and home of all in `model`, without a call of its own code."""
    stack, seen = [("", model)], set()
    while stack and len(seen) < MODULES_MAX:
        prefix, module = stack.pop()
        home = getattr(module, "__dict__", None)
        if home is None or id(module) in seen:
            continue
        seen.add(id(module))
        parameters, children = home.get("_parameters"), home.get("_modules")
        if isinstance(parameters, dict):
            for name, parameter in list(parameters.items()):
                if parameter is not None:
                    yield prefix + name, parameter, home
        if isinstance(children, dict):
            # What only wraps the model (data parallel, compiled) is no part of the name.
            wraps = len(children) == 1 and not prefix
            for name, child in list(children.items()):
                own = "" if wraps and name in ("module", "_orig_mod") else f"{name}."
                stack.append((prefix + own, child))


def _overlapping(spans):
    """Numbers of the spans that share bytes with another."""
    order = sorted(range(len(spans)), key=spans.__getitem__)
    double, last, end = set(), None, 0
    for number in order:
        start, size = spans[number]
        if last is not None and start < end:
            double.update((last, number))
        if last is None or start + size > end:
            last, end = number, start + size
    return double
