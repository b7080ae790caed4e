"""The hooks that torch would call: on all modules, on one, on an optimizer, on a parameter; and what shadows a method.

Optimizers and models are held weakly. A module's children are found in its own `_modules`, and its hooks in what its
`__dict__` has under names that end in `_hooks`: that is where torch keeps them. Nobody's `__getattr__` is asked. Hooks that
torch keeps in native code (on the nodes of a graph, on gradients' accumulators) have no list that could be read.
"""

import sys
import weakref
from time import perf_counter_ns as clock
from types import FunctionType, MethodType

from . import _memory_chain
from ._memory_chain import fields_of, kind_of, text

# Most models that are remembered, modules of one of them, parameters of an optimizer, hooks of one look.
MODELS_MAX, MODULES_MAX, PARAMETERS_MAX, HOOKS_MAX = 16, 20_000, 100_000, 10_000
# Deepest nesting of what a checkpoint gave, and most values in it.
LOADED_DEPTH, LOADED_MAX = 4, 10_000


class Hooks:
    """Finds hooks and tells each once."""

    def __init__(self, torch):
        self.Module = torch.nn.Module
        self.plain = frozenset((torch.Tensor, torch.nn.Parameter))
        base = torch._C.TensorBase
        self.tensor_hooks = [
            (name.strip("_").replace("_", " "), vars(base)[name].__get__)
            for name in ("_backward_hooks", "_post_accumulate_grad_hooks")
            if name in vars(base)
        ]
        self.models = {}
        # Modules in which the classes were written of what was looked at: what the job uses goes first.
        self.homes = set()
        self.kinds = set()
        self.told = {}
        self.facts = []

    def seen_model(self, model):
        """`model` was called as a whole."""
        if id(model) not in self.models and len(self.models) < MODELS_MAX:
            key, models = id(model), self.models
            self.models[key] = weakref.ref(model, lambda _: models.pop(key, None))

    def look(self, optimizers, gap):
        """Looks at everything known; `optimizers` is an iterable that holds them weakly. Yields now and then."""
        parts = [self._globals()]
        parts += [self._optimizer(weakref.ref(optimizer)) for optimizer in list(optimizers)]
        parts += [self._model(model) for model in list(self.models.values())]
        for part in parts:
            try:
                yield from part
            except Exception as error:
                gap("hooks of an optimizer or a model", error)
        if len(self.told) >= HOOKS_MAX:
            gap("hooks", f"more than {HOOKS_MAX} different ones: further ones are not told")

    def _globals(self):
        for name in ("torch.nn.modules.module", "torch.optim.optimizer"):
            names = vars(sys.modules[name]) if name in sys.modules else {}
            for key in [key for key in names if type(key) is str and key.startswith("_global_") and key.endswith("_hooks")]:
                self._hooks(names.get(key), "global " + key[8:-6].replace("_", " "), name, (0, key))
                yield

    def _optimizer(self, optimizer):
        known = optimizer()
        if known is None:
            return
        name, names = _memory_chain.class_name(type(known)), fields_of(known)
        self._named(known, f"optimizer {name}")
        self._uses(type(known))
        tensors = [weakref.ref(tensor) for group in names.get("param_groups", ()) for tensor in group.get("params", ())]
        known = names = None
        for number, tensor in enumerate(tensors[:PARAMETERS_MAX]):
            self._tensor(tensor(), f"parameter {number} of optimizer {name}")
            if not number & 15:
                yield

    def _model(self, model):
        root = model()
        if root is None:
            return
        waiting, seen = [("", model)], {id(root)}
        root = None
        while waiting:
            path, reference = waiting.pop()
            module = reference()
            if module is None:
                continue
            names = fields_of(module)
            self._uses(type(module))
            self._named(module, self._title(path, module))
            for name, child in list((names.get("_modules") or {}).items()):
                if issubclass(type(child), self.Module) and id(child) not in seen and len(seen) < MODULES_MAX:
                    seen.add(id(child))
                    waiting.append((f"{path}.{name}" if path else str(name), weakref.ref(child)))
            module = names = child = None
            yield

    def _title(self, path, module):
        name = _memory_chain.class_name(type(module))
        return f"module {path} ({name})" if path else f"model {name}"

    def _uses(self, kind):
        """Remembers where `kind` and what it derives from were written."""
        if id(kind) not in self.kinds:
            self.kinds.add(id(kind))
            bases = type.__dict__["__mro__"].__get__(kind)
            self.homes.update(text(_memory_chain.names_of(base).get("__module__")) for base in bases)

    def loaded(self, value, path, nanoseconds):
        """A checkpoint gave `value`: tells the hooks that it brought along, with the `path` of the file.

        At once, because later they could be the program's. Answers whether it came through in that time.
        """
        waiting, seen, end = [(value, 0)], set(), clock() + nanoseconds
        while waiting:
            if len(seen) >= LOADED_MAX or clock() >= end:
                return False
            item, depth = waiting.pop()
            if id(item) in seen:
                continue
            seen.add(id(item))
            if issubclass(type(item), self.Module):
                self._named(item, self._title("", item), path)
                waiting.extend((child, depth) for child in list((fields_of(item).get("_modules") or {}).values()))
                tensors = (fields_of(item).get("_parameters") or {}).values()
                for tensor in list(tensors):
                    self._tensor(tensor, "a parameter", path)
            elif type(item) in self.plain:
                self._tensor(item, "a tensor", path)
            elif depth < LOADED_DEPTH and issubclass(type(item), dict):
                waiting.extend((child, depth + 1) for child in list(dict.values(item))[:LOADED_MAX])
            elif depth < LOADED_DEPTH and type(item) in (list, tuple):
                waiting.extend((child, depth + 1) for child in item[:LOADED_MAX])
        return True

    def _named(self, owner, on, carried=None):
        """The hooks in the dictionary of an instance, and what shadows a method of its class."""
        names, key = fields_of(owner), id(owner)
        for name in list(names):
            if type(name) is not str:
                continue
            value = names.get(name)
            if name.endswith("_hooks") and issubclass(type(value), dict):
                if value:
                    self._hooks(value, name[:-6].strip("_").replace("_", " "), on, (key, name), carried)
            elif callable(value) and type(_memory_chain.of_class(type(owner), name)) is FunctionType:
                self._tell(value, f"method {name}", on, (key, name, 0), carried)

    def _tensor(self, tensor, on, carried=None):
        if type(tensor) not in self.plain:
            return
        for kind, hooks_of in self.tensor_hooks:
            hooks = hooks_of(tensor)
            if hooks:
                self._hooks(hooks, kind.removesuffix(" hooks"), on, (id(tensor), kind), carried)

    def _hooks(self, hooks, kind, on, key, carried=None):
        if issubclass(type(hooks), dict):
            for number, hook in list(dict.items(hooks))[:HOOKS_MAX]:
                self._tell(hook, f"{kind} hook", on, (*key, number), carried)

    def _tell(self, hook, kind, on, key, carried):
        mark = hash((id(hook), _memory_chain.mark(hook)))
        if self.told.get(key) == mark or len(self.told) >= HOOKS_MAX:
            return
        self.told[key] = mark
        chain = _memory_chain.told_chain(hook)
        if type(hook) is MethodType and not chain:
            hook = hook.__func__
        elif not chain:
            # An object that is called: by what its class does.
            chain = _memory_chain.told_chain(_memory_chain.of_class(type(hook), "__call__"))
        self.facts.append(
            {
                "fact": "hook",
                "kind": text(kind),
                "on": text(on),
                "object": kind_of(hook),
                "chain": chain,
                "carried": carried,
            }
        )
