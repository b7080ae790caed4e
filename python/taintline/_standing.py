"""In a replay of a script that was not told how it resumes: its first steps are gone through without being computed, then the state that a
checkpoint holds is put in their place.

While it stands, the script goes on as it always does (data, schedules, its own counters), but its model answers with what it answered first and
its optimizers find no gradients. Behind the last of these steps weights, optimizer state and random numbers of the checkpoint are put in; the
hyperparameters stay those that the script itself has come to. What a script makes of its losses on the way (early stopping, schedules that wait
for a plateau) is another then: so only a replay that comes to all that was recorded says something; one that differs says nothing, and is
computed from the start by who asked for it. Nothing is told to the supervisor before the state stands.
"""

import os
import sys

# Outputs of a model that are kept, one for each shape of its input.
OUTPUTS_MAX = 8
# How deep a checkpoint is looked into, and how many of its values.
DEPTH_MAX, VALUES_MAX = 6, 200_000
# What a gap is called by which the supervisor's side knows why there is no step.
GAP = "state of the checkpoint"
# Words of Python's generator, and of NumPy's.
PYTHON_WORDS, NUMPY_WORDS = 625, 624
# What else is no tensor, and is as good the next time.
_PLAIN = (type(None), bool, int, float, str)


class Unfit(Exception):
    """This checkpoint, or this script, cannot be handled that way: says why."""


class Standing:
    """From the start of the process to the step behind which the checkpoint was saved."""

    def __init__(self, replay, torch, plan):
        self.replay, self.torch, self.sensor = replay, torch, replay.sensor
        self.files = [os.fsencode(file) for file in plan["files"]]
        self.left = {int(optimizer): int(steps) for optimizer, steps in plan["steps"].items()}
        self.outputs = {}
        self.tree = sys.modules["torch.utils._pytree"]
        # Where the random numbers go, until the script goes on.
        self.random = None

    def __reduce__(self):
        return (type(None), ())

    # Passes and steps

    def forward(self, call, model, args, kwargs):
        """In the place of `call(*args, **kwargs)`, a forward pass of the root `model`."""
        if not model.training or int(os.environ.get("WORLD_SIZE", "1")) > 1:
            return call(*args, **kwargs)
        try:
            found = self._output(call, model, args, kwargs)
            output = None if found is None else self._reachable(model, *found)
        except Exception:
            found = None
        # What cannot be stood for is computed: that takes its time, and is right.
        return call(*args, **kwargs) if found is None else output

    def _output(self, call, model, args, kwargs):
        """Leaves and layout of what the model answers to such an input; `None` where it must answer itself."""
        tree = self.tree
        given, layout = tree.tree_flatten((args, kwargs))
        key = (id(model), str(layout), tuple(_signature(self.torch, value) for value in given))
        known = self.outputs.get(key)
        if known is not None and known[0] is not None:
            return known
        if known is not None and known[1] == "itself":
            return None
        before = self.torch.default_generator.get_state()
        with self.torch.no_grad():
            output = call(*args, **kwargs)
        leaves, layout = tree.tree_flatten(output)
        if not all(isinstance(leaf, (self.torch.Tensor, *_PLAIN)) for leaf in leaves):
            self.outputs[key] = (None, "itself")
            return None
        # A model that draws must draw each time, or the numbers behind it are others.
        drew = not self.torch.equal(before, self.torch.default_generator.get_state())
        if not drew and len(self.outputs) < OUTPUTS_MAX:
            self.outputs[key] = (leaves, layout)
        return leaves, layout

    def _reachable(self, model, leaves, layout):
        """The output anew, such that a backward pass comes to one small parameter of the model."""
        trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
        smallest = min(trained, key=lambda parameter: parameter.numel())
        nothing = smallest.reshape(-1)[:1].sum() * 0

        def anew(leaf):
            if isinstance(leaf, self.torch.Tensor) and leaf.is_floating_point():
                return leaf.detach() + nothing.to(leaf.dtype)
            return leaf

        return self.tree.tree_unflatten([anew(leaf) for leaf in leaves], layout)

    def before_step(self, optimizer, args, kwargs):
        """Without gradients an optimizer leaves all as it is. Answers the arguments of the step: a closure's gradients go as well."""
        self._drop(optimizer)

        def without(closure):
            def closed(*args, **kwargs):
                loss = closure(*args, **kwargs)
                self._drop(optimizer)
                return loss

            return closed

        # The optimizer itself stands before what it was given.
        args = (*args[:1], *(without(it) if callable(it) else it for it in args[1:]))
        return args, {name: without(it) if callable(it) else it for name, it in kwargs.items()}

    def _drop(self, optimizer):
        for group in optimizer.param_groups:
            for parameter in group["params"]:
                parameter.grad = None

    def after_step(self, steps, optimizer):
        """A step that was not computed; behind the last one the state is put in."""
        index = steps.of(optimizer).index
        if self.left.get(index, 0) < 1:
            self._give_up(steps, "its optimizers take turns in another order than they did")
        self.left[index] -= 1
        if any(self.left.values()):
            return
        try:
            self._put_in(steps)
        except Exception as error:
            self._give_up(steps, error if isinstance(error, Unfit) else f"{type(error).__name__}: {error}"[:300])

    def _give_up(self, steps, why):
        self.sensor.gap(GAP, str(why))
        self.sensor.bye()
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(0)

    # The state

    def _put_in(self, steps):
        tables = Tables(self.torch, [self._read(file) for file in self.files])
        models = list(steps.recheck.models.values())
        if not models:
            raise Unfit("no model was seen whose state it could be")
        held = set()
        for model in models:
            model.load_state_dict(tables.of_model(model.state_dict()))
            held.update(map(id, model.parameters()))
        taken = set()
        for optimizer in sorted(steps.known, key=lambda it: steps.known[it].index):
            own = optimizer.state_dict()["param_groups"]
            if not all(id(parameter) in held for group in optimizer.param_groups for parameter in group["params"]):
                raise Unfit("an optimizer moves parameters of a model that was not seen")
            state = tables.of_optimizer(own, taken)
            groups = [{**group, "params": other["params"]} for group, other in zip(own, state["param_groups"])]
            optimizer.load_state_dict({"state": state["state"], "param_groups": groups})
        self.random = tables.random()
        self.draw_from()
        steps.recheck.loading(None)
        self.sensor.last_step = self.replay.base
        self.outputs.clear()
        self.replay.stands = None

    def draw_from(self):
        """Random numbers go on from where the checkpoint was saved."""
        torch_state, python, numpy = self.random
        if torch_state is not None:
            self.torch.default_generator.set_state(torch_state)
        if python is not None:
            sys.modules["random"].setstate(python)
        if numpy is not None and "numpy.random" in sys.modules:
            sys.modules["numpy.random"].set_state(numpy)

    def _read(self, file):
        """What a file holds, as data: nothing of it is executed."""
        name = os.fsdecode(file)
        with open(file, "rb") as opened:
            head = opened.read(9)
        if head[8:] == b"{":
            import safetensors.torch

            return safetensors.torch.load_file(name)
        load = self.torch.load
        load = getattr(load, "__wrapped__", load)
        try:
            with self.torch.serialization.safe_globals(_data_only()):
                return load(name, map_location="cpu", weights_only=True)
        except Exception:
            # Not all that is saved beside it is state.
            return None


class Tables:
    """What the files of a checkpoint hold, found by its form."""

    def __init__(self, torch, roots):
        self.torch = torch
        self.dicts, self.others, self.values = [], [], 0
        for root in roots:
            self._walk(root, 0)

    def _walk(self, value, depth):
        self.values += 1
        if depth > DEPTH_MAX or self.values > VALUES_MAX:
            return
        if isinstance(value, dict):
            self.dicts.append(value)
            # The state of an optimizer is taken whole.
            if "state" in value and "param_groups" in value:
                return
            for key, part in value.items():
                if not (isinstance(part, self.torch.Tensor) and self._is_of_model(key)):
                    self._walk(part, depth + 1)
        elif isinstance(value, (list, tuple)):
            self.others.append(value)
            if len(value) < PYTHON_WORDS:
                for part in value:
                    self._walk(part, depth + 1)
        elif isinstance(value, self.torch.Tensor):
            self.others.append(value)

    def _is_of_model(self, key):
        return isinstance(key, str) and key.endswith((".weight", ".bias"))

    def of_model(self, wanted):
        """The table that has all of `wanted`, in the same shapes, under one prefix."""
        names = [name for name, value in wanted.items() if isinstance(value, self.torch.Tensor)]
        if not names:
            raise Unfit("the model has no state")
        for table in self.dicts:
            for prefix in _prefixes(names[0], table):
                there = {name: table.get(_other(name, prefix)) for name in names}
                if all(isinstance(it, self.torch.Tensor) and it.shape == wanted[name].shape for name, it in there.items()):
                    return {**wanted, **there}
        raise Unfit("no table of it has the model's parameters in their shapes")

    def of_optimizer(self, groups, taken):
        """The next state with groups of these sizes."""
        sizes = [len(group["params"]) for group in groups]
        for table in self.dicts:
            theirs = table.get("param_groups")
            if id(table) in taken or not isinstance(theirs, list) or not isinstance(table.get("state"), dict):
                continue
            if [len(group["params"]) for group in theirs] == sizes:
                taken.add(id(table))
                return table
        raise Unfit("it holds no state of such an optimizer")

    def random(self):
        """States of torch's generator, Python's and NumPy's; `None` for what it does not hold."""
        size = self.torch.default_generator.get_state().numel()
        states = [it for it in self.others if isinstance(it, self.torch.Tensor) and it.dtype is self.torch.uint8 and it.numel() == size]
        rank, world = int(os.environ.get("RANK", "0")), int(os.environ.get("WORLD_SIZE", "1"))
        torch_state = states[rank] if len(states) == world else next(iter(states), None)
        python = next((_python(it) for it in self.others if _python(it)), None)
        numpy = next((it for it in self.others if _is_numpy(it)), None)
        return torch_state, python, tuple(numpy) if numpy else None


def _signature(torch, value):
    if isinstance(value, torch.Tensor):
        return (tuple(value.shape), str(value.dtype), str(value.device))
    return repr(value)[:80] if isinstance(value, _PLAIN) else type(value).__name__


def _prefixes(name, table):
    """What may stand before the model's names in `table`, judged by one of them: its own wrapping may be left away, another may be around it."""
    for key in table:
        if isinstance(key, str) and (key == name or key.endswith("." + name)):
            yield (key[: len(key) - len(name)], "")
        elif isinstance(key, str) and name.endswith("." + key):
            yield ("", name[: len(name) - len(key)])


def _other(name, prefix):
    more, less = prefix
    return more + name.removeprefix(less)


def _python(value):
    """A state of Python's generator, as it takes it."""
    if not isinstance(value, (list, tuple)) or len(value) != 3:
        return None
    version, words, kept = value
    if version == 3 and isinstance(words, (list, tuple)) and len(words) == PYTHON_WORDS:
        return (3, tuple(words), kept)
    return None


def _is_numpy(value):
    if not isinstance(value, (list, tuple)) or len(value) < 3 or not isinstance(value[0], str) or value[0] != "MT19937":
        return False
    return hasattr(value[1], "__len__") and len(value[1]) == NUMPY_WORDS


def _data_only():
    """Types that hold data and nothing else, which a checkpoint may name beside torch's own."""
    import argparse

    known = [argparse.Namespace]
    numpy = sys.modules.get("numpy")
    if numpy is not None:
        core = sys.modules.get("numpy._core.multiarray") or sys.modules.get("numpy.core.multiarray")
        known += [core._reconstruct, numpy.ndarray, numpy.dtype, type(numpy.dtype("uint32"))]
    return known
