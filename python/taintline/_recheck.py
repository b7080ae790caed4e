"""What stands at a few random positions of the model around each step, so that the step can be recomputed elsewhere.

Nothing is judged here and nothing is copied but the sampled elements. What cannot be read exactly (an accelerator's memory,
a class that is not torch's own, hooks that may change the step) is a gap, told once, and not sampled. The generator of
the positions is our own: none of the job's is touched.
"""

import os
import sys
import weakref
from time import thread_time_ns as work

from . import _device, _native
from ._passes import Path
from ._spans import Unseen
from ._throttle import WEIGHT, Throttle

# Share of a step's time that the looks may take, and nanoseconds that they may take however short the step is.
SHARE, FREE = 0.01, 2_000_000
# Share of a step's time, and nanoseconds, that looks at one step may take before they go to fewer parameters, and the fewest: what a look
# costs is that of a parameter's objects, which have left the processor's caches since the last step.
PARAMETERS_SHARE, PARAMETERS_FREE, PARAMETERS_LEAST = 0.001, 200_000, 8
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
CLASSES["Muon"] = (("momentum_buffer",), ("momentum", "weight_decay", "nesterov", "ns_steps", "ns_coefficients", "adjust_lr_fn"))
# How Muon adjusts its rate to the shape of a matrix, as a number.
ADJUSTMENTS = {None: 0, "original": 0, "match_rms_adamw": 1, "spectral_unclamped": 2}
# What others' optimizers may be like, by the names of their hyperparameters, the most telling first. What rule they follow is learnt elsewhere.
CLASSES["Lion"] = (("exp_avg",), ("betas", "weight_decay", "maximize"))
# What is like none: only how its steps go is seen.
OTHER = "Other"
CLASSES[OTHER] = ((), ())
LIKE = (
    (("betas", "eps"), "Adam"),
    (("betas",), "Lion"),
    (("lr_decay", "eps"), "Adagrad"),
    (("alpha", "eps"), "RMSprop"),
    (("momentum",), "SGD"),
)

# What a step nearly leaves in a class's state: the group's number that is the factor of what stood there, which of several, whether the
# gradient is squared, and whether it is added whole. It saves space; what is told does not depend on it.
RULES = {
    "SGD": (("momentum", None, False, True),),
    "Adam": (("betas", 0, False, False), ("betas", 1, True, False)),
    "Adagrad": ((None, None, True, True),),
    "RMSprop": (("alpha", None, True, False),),
    "Adamax": (("betas", 0, False, False),),
    "Lion": (("betas", 1, False, False),),
    "Muon": (("momentum", None, False, False),),
    OTHER: (),
}
RULES["AdamW"] = RULES["Adam"]
# Most rules of a sample.
RULES_MAX = 8


class Recheck:
    """Shared by all optimizers of the process."""

    def __init__(self, sensor, torch, spans, device):
        self.sensor = sensor
        self.device = device
        self.spans = spans
        self.positions = _positions()
        self.module = sys.modules["torch.optim.optimizer"]
        # Torch's own classes, as they are before the job can put others there.
        self.classes = {getattr(torch.optim, name): name for name in CLASSES if hasattr(torch.optim, name) and name not in ("Lion", OTHER)}
        # Torch's others: their rules are none that could be learnt.
        self.others = frozenset(kind for kind in vars(torch.optim).values() if isinstance(kind, type)) - self.classes.keys()
        kinds = (torch.float32, torch.float64, torch.bfloat16, torch.float16)
        self.kinds = {kind: (str(kind).removeprefix("torch."), kind.itemsize) for kind in kinds}
        self.digits = {kind: digits for kind, digits in zip(kinds, (24, 53, 8, 11))}
        self.torch = (torch.Tensor, torch.nn.Parameter, torch.strided), kinds[:2]
        self.looks = weakref.WeakKeyDictionary()
        self.models = weakref.WeakValueDictionary()
        self.changed = 0
        # How often anything was loaded.
        self.loads = 0
        # In a replay: where the recorded run looked.
        self.replay = self.steps = None

    def __reduce__(self):
        return (type(None), ())

    def gap(self, what, why):
        self.sensor.gap(f"recheck of {what}", why)

    def every(self):
        """All looks; the table is asked directly, which at each pass is a tenth of what its own iterator costs."""
        return list(self.looks.data.values())

    def forked(self):
        """This is a child: its positions are its own."""
        self.looks = weakref.WeakKeyDictionary()
        self.device.forked()

    def column(self, tensor, kind, shape, what):
        """Address and strides of a tensor of a parameter's type and shape; raises [`Unseen`]."""
        spans = self.spans
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

    def far_column(self, parameter):
        """The address of a weight on an accelerator, by which it is known again; raises [`Unseen`]."""
        if parameter.layout is not self.spans.strided or not parameter.data_ptr():
            raise Unseen(f"the weight is {parameter.layout}, or has no memory")
        return (parameter.data_ptr(), ())

    def odd_column(self, tensor, kind, shape, what):
        """As [`column`], with `None` and a gap for what cannot be read: the sampler asks for what is not as usual."""
        try:
            return self.column(tensor, kind, shape, what)
        except Unseen as error:
            self.gap(f"parameters: {error}", "they are not sampled")
            return None

    # What is loaded

    def loading(self, target):
        """`load_state_dict` of a model or an optimizer; `None` stands for a checkpoint that may go anywhere."""
        self.loads += 1
        try:
            if target is None:
                for look in self.every():
                    look.loaded = True
            elif isinstance(target, self.module.Optimizer):
                look = self.looks.get(target)
                if look is not None:
                    look.loaded = True
            else:
                ids = {id(parameter) for _, parameter, _ in _parameters(target)}
                for look in self.every():
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
            look.took(look.spent + work() - begun)

    def set_apart(self, mine):
        """Parameters of `mine` that another optimizer has as well change between its steps by right."""
        for look in self.every():
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
        kind = type(optimizer)
        self.class_name = recheck.classes.get(kind)
        self.label, self.like = self.class_name, None
        if self.class_name is None:
            self.class_name = self.like = _like(optimizer, kind in recheck.others)
            self.label = f"{kind.__module__}.{kind.__qualname__}"[:NAME_MAX]
        self.throttle = Throttle("update recheck", SHARE, recheck.sensor, FREE)
        self.sampler = _native.Sampler(int.from_bytes(os.urandom(8), "little"), *recheck.torch, recheck.odd_column)
        self.path = Path()
        self.described = None
        self.parameters, self.ids = [], frozenset()
        self.drawn = self.earlier = None
        self.loaded = self.interrupted = self.closure = self.begun = False
        self.ended, self.looks, self.spent, self.changed = None, 0, 0, -1
        # Parameters of the last look, nanoseconds that one costs at a step, and how many are drawn at most.
        self.looked, self.each, self.most = 0, None, recheck.positions
        self.names, self.renormed, self.apart, self.rates = {}, frozenset(), frozenset(), None
        self.description, self.rules = None, ()
        if self.class_name == OTHER:
            recheck.gap(f"updates by {self.label}", "its class is none that is rechecked, nor like one: only how far and which way its steps go is seen")
        if self.class_name is None:
            self.ids = frozenset(id(parameter) for group in optimizer.param_groups for parameter in group["params"])
            recheck.gap(f"updates by {self.label}", "its class is not one of those that are rechecked, nor like one of them")

    def forget(self):
        if self.drawn is not None:
            self.sampler.forget()
        self.drawn = self.earlier = None
        self.begun = False

    def took(self, cost):
        """All looks at one step took `cost` nanoseconds."""
        throttle, drawn = self.throttle, self.looked
        throttle.took(cost)
        if drawn and throttle.interval is not None:
            may = max(PARAMETERS_FREE, PARAMETERS_SHARE * throttle.interval)
            each = cost / drawn
            self.each = each if self.each is None else self.each + WEIGHT * (each - self.each)
            self.most = max(PARAMETERS_LEAST, int(may / self.each))

    def no_earlier(self):
        """What was read when the last step ended does not bind any more."""
        if self.earlier:
            self.earlier = None
            self.sampler.no_earlier()

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
            self._draw(optimizer)
        if self.drawn:
            self.description = self._describe(optimizer)
            self.rates = [_number(group.get("lr")) for group in optimizer.param_groups]
            self.sampler.before(optimizer.state, not closure)
            self.looked = len(self.drawn)
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
        values, self.path.chain = self.sampler.behind(optimizer.state, self.closure, self.rules)
        rates = [_number(group.get("lr")) for group in optimizer.param_groups]
        if self.closure and rates != self.rates:
            self.recheck.gap("updates of a closure", "it changes the learning rate that the step then uses")
            return None
        described = None
        if self.description != self.described:
            described = self.described = self.description
            self.rules = self._rules(optimizer)
        rates = None if rates == self.rates else self.rates
        return (described, self._untold(), rates, (self.closure, joined, loaded), values)

    def read_ahead(self, optimizer):
        self.forget()
        if not self._covered(optimizer):
            return
        if self._stale(optimizer):
            self._layout(optimizer)
        self._draw(optimizer)
        if self.drawn:
            self.sampler.earlier(optimizer.state, self.apart | self.renormed)
            self.earlier = True

    def _draw(self, optimizer):
        recheck = self.recheck
        self.looks += 1
        wanted = None if recheck.replay is None else recheck.replay.positions(recheck.steps, optimizer)
        if wanted:
            self.drawn, self.earlier = self.sampler.take(wanted), None
            return
        count = recheck.positions // max(1, len(recheck.looks))
        positions = min(recheck.positions, max(LEAST, count))
        # More positions are asked for in order to see more.
        most = self.most * max(1, positions // 64)
        self.drawn = self.sampler.draw(positions, most)
        self.earlier = None

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
                    if isinstance(value, (tuple, list)) and len(value) == 2:
                        numbers["beta1"], numbers["beta2"] = (_number(beta) for beta in value)
                elif name == "ns_coefficients":
                    if isinstance(value, (tuple, list)) and len(value) == 3:
                        numbers.update(zip(("ns_a", "ns_b", "ns_c"), map(_number, value)))
                elif name == "adjust_lr_fn":
                    numbers["adjust"] = _number(ADJUSTMENTS.get(value) if value is None or isinstance(value, str) else None)
                elif value is not None:
                    numbers[name] = _number(value)
            rate = group.get("lr")
            if type(rate) in self.recheck.spans.plain:
                numbers["lr_digits"] = self.recheck.digits.get(rate.dtype)
            # What is no plain number is not told, and what is not told is not judged.
            groups.append({name: value for name, value in numbers.items() if value is not None})
        return (self.label, groups, self.like)

    # Parameters

    def _stale(self, optimizer):
        """Whether the list of parameters is no longer what the optimizer has."""
        if self.looks % ANEW == 0 and not self.begun and self.drawn is None:
            return True
        return not self.sampler.stands(optimizer.param_groups)

    def _layout(self, optimizer):
        recheck = self.recheck
        groups = optimizer.param_groups
        self.ids = frozenset(id(parameter) for group in groups for parameter in group["params"])
        self._learn_names(groups)
        self.parameters, spans, index = [], [], 0
        columns = CLASSES[self.class_name][0]
        for number, group in enumerate(groups):
            for parameter in group["params"]:
                entry = self._entry(index, number, parameter, columns)
                index += 1
                if entry is not None:
                    self.parameters.append(entry)
                    spans.append((entry[6][0], entry[4] * entry[5]))
        double = _overlapping(spans)
        if double:
            recheck.gap("parameters that share memory", "what one of them is given the other has too")
            self.parameters = [entry for number, entry in enumerate(self.parameters) if number not in double]
        self.described = None
        self._choose()
        self.sampler.layout(groups, [(index, *entry) for index, *entry, _ in self.parameters])
        recheck.set_apart(self)

    def _choose(self):
        """The sampler for where the parameters lie: with several places, for that of the first."""
        recheck, far = self.recheck, isinstance(self.sampler, _device.Sampler)
        device = recheck.device
        locals_ = [recheck.spans.local(entry[1]) for entry in self.parameters]
        places = [local.device if device.is_far(local) else None for local in locals_]
        if places.count(places[0] if places else None) < len(places):
            recheck.gap("parameters in several places", "those of the optimizer's first place are sampled")
            self.parameters = [entry for entry, place in zip(self.parameters, places) if place == places[0]]
        if bool(places and places[0] is not None) != far:
            native = _native.Sampler(int.from_bytes(os.urandom(8), "little"), *recheck.torch, recheck.odd_column)
            self.sampler = native if far else _device.Sampler(native, device, recheck)

    def _entry(self, index, number, parameter, columns):
        """What is kept of a parameter; `None` if it is not rechecked."""
        recheck = self.recheck
        if not isinstance(parameter, recheck.spans.Tensor) or not parameter.requires_grad:
            return None
        try:
            # Of a distributed tensor the part that is here: the rules go by element.
            local = recheck.spans.local(parameter)
            far = recheck.device.is_far(local)
            if not far:
                recheck.spans.span(local)
            if local.dtype not in recheck.kinds:
                raise Unseen(f"the weight is {local.dtype}")
            if not far and local.is_shared():
                raise Unseen("the weight lies in memory that processes share")
            if not local.numel():
                return None
            # Checked here; `_stale` sees when it is put elsewhere.
            weight = recheck.far_column(local) if far else recheck.column(local, local.dtype, local.shape, "the weight")
        except Unseen as error:
            recheck.gap(f"parameters: {error}", "they are not sampled")
            return None
        kind, size = local.dtype, recheck.kinds[local.dtype][1]
        return (index, parameter, kind, local.shape, size, local.numel(), weight, columns, local is not parameter, number)

    def _untold(self):
        """Descriptions of the drawn parameters that the supervisor does not know."""
        found = []
        for number, state, at in self.sampler.untold():
            index, parameter, kind, shape, *_, group = self.parameters[number]
            if id(parameter) in self.renormed:
                # It changes between steps by right.
                at = ()
            found.append((index, group, self._name(parameter), list(shape), self.recheck.kinds[kind][0], state, at))
        return found

    def _rules(self, optimizer):
        """What the groups' numbers make of the state, once each."""
        found = []
        for group in optimizer.param_groups:
            for name, which, squared, whole in RULES[self.class_name]:
                value = 1.0 if name is None else group.get(name)
                try:
                    factor = _number(value if which is None else value[which])
                except (TypeError, IndexError):
                    factor = None
                if factor is not None and (factor, squared, whole) not in found:
                    found.append((factor, squared, whole))
        return found[:RULES_MAX]

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


def _like(optimizer, others):
    """Which of the known classes an optimizer is like; `None` where nothing can be said of its steps."""
    groups = optimizer.param_groups
    names = groups[0] if groups else {}
    if "lr" not in names:
        return None
    for keys, like in () if others else LIKE:
        if all(key in names for key in keys):
            return like
    return OTHER


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
