"""Monkey-patches: programs that call nothing bad, and change what the loading process will do afterwards.

A pickle can set attributes on whatever it imports: BUILD with a pair `(None, {name: value})` sets them one by one,
BUILD with a dict writes into `__dict__`, SETITEM writes into any mapping. All names below are ordinary.
"""

import payloads
from assembly import Appends, Build, Call, Name, SetItems

# (what is changed, attribute, replacement): sabotage that needs no name outside the framework.
FRAMEWORK = [
    ("torch.nn.functional", "dropout", ("torch.nn.functional", "relu")),
    ("torch.nn.utils", "clip_grad_norm_", ("torch", "zeros_like")),
    ("torch.nn.functional", "cross_entropy", ("torch.nn.functional", "mse_loss")),
    ("torch.optim", "AdamW", ("torch.optim", "SGD")),
    ("torch", "load", ("torch", "save")),
    ("torch.nn.init", "kaiming_uniform_", ("torch.nn.init", "zeros_")),
    ("torch.utils.data", "DataLoader", ("torch.utils.data", "Dataset")),
    ("torch.serialization", "_get_restore_location", ("torch", "device")),
    ("numpy.random", "seed", ("numpy", "zeros")),
    ("numpy", "mean", ("numpy", "max")),
    ("transformers.trainer", "Trainer", ("transformers", "TrainingArguments")),
    ("torch.amp", "GradScaler", ("torch.optim", "SGD")),
]
CLASSES = [
    ("torch.nn", "Module", "forward"),
    ("torch.nn.modules.module", "Module", "__call__"),
    ("torch.optim.adamw", "AdamW", "step"),
    ("torch.optim.optimizer", "Optimizer", "zero_grad"),
    ("torch", "Tensor", "backward"),
    ("torch.nn.modules.linear", "Linear", "forward"),
    ("collections", "OrderedDict", "update"),
    ("torch.nn.modules.batchnorm", "BatchNorm2d", "forward"),
    ("numpy", "ndarray", "__reduce__"),
    ("sklearn.base", "BaseEstimator", "__setstate__"),
    ("torch.utils.data.dataset", "Dataset", "__getitem__"),
    ("lightning.pytorch.trainer.trainer", "Trainer", "fit"),
]


def module_attribute(rng):
    """`setattr` on a module, through the second half of a state pair."""
    module, attribute, replacement = rng.choice(FRAMEWORK)
    parent, _, child = module.rpartition(".")
    target = Name(parent, child) if parent else Name(module, "nn")
    state = (None, {attribute: Name(*replacement)})
    return Build(target, state), (f"call {target.module}:{target.name}",)


def module_dictionary(rng):
    """The same through the module's `__dict__`."""
    module, attribute, replacement = rng.choice(FRAMEWORK)
    target = Name(module, "__dict__")
    return SetItems(target, ((attribute, Name(*replacement)),)), (f"call {module}:__dict__",)


def class_attribute(rng):
    module, name, attribute = rng.choice(CLASSES)
    state = (None, {attribute: Name(*rng.choice([("builtins", "print"), ("torch", "zeros_like")]))})
    return Build(Name(module, name), state), (f"call {module}:{name}",)


def class_attribute_gadget(rng):
    module, name, attribute = rng.choice(CLASSES)
    state = (None, {attribute: payloads.function(rng)})
    return Build(Name(module, name), state), (f"call {module}:{name}",)


def function_attribute(rng):
    """Code, defaults or globals of a function that everybody calls."""
    module, name, _ = rng.choice([("torch.nn.functional", "relu", 0), ("torch", "save", 0), ("json", "dumps", 0)])
    part = rng.choice(["__code__", "__defaults__", "__kwdefaults__", "__wrapped__"])
    other = Name("torch.nn.functional", "dropout" + (f".{part}" if part != "__wrapped__" else ""))
    return Build(Name(module, name), (None, {part: other})), (f"call {module}:{name}",)


def dictionary_state(rng):
    """BUILD with a plain dict writes into the `__dict__` of a module."""
    module, attribute, replacement = rng.choice(FRAMEWORK)
    parent, _, child = module.rpartition(".")
    target = Name(parent, child) if parent else Name(module, "optim")
    return Build(target, {attribute: Name(*replacement)}), (f"call {target.module}:{target.name}",)


def setattr_call(rng):
    module, attribute, replacement = rng.choice(FRAMEWORK)
    parent, _, child = module.rpartition(".")
    target = Name(parent, child) if parent else Name(module, "nn")
    return Call(Name("builtins", "setattr"), (target, attribute, Name(*replacement))), ("call builtins:setattr",)


def builtins_attribute(rng):
    """A library's own `__builtins__` table, reached by the library's name alone."""
    module = rng.choice(["numpy", "torch", "collections", "torch.nn.functional", "json"])
    replacement = Name(module, "__builtins__")
    name = rng.choice(["size", "ones", "zeros"]) if module in ("numpy", "torch") else "abc"
    return Build(Name(module, name), (None, {"__dict__": replacement})), (f"find {module}:__builtins__",)


def numpy_only(rng):
    """From a numpy function to `eval` with numpy's names alone."""
    word = rng.choice(["size", "shape", "ndim"])
    table = Name("numpy", f"{word}.__globals__" if rng.random() < 0.5 else "__builtins__")
    getter = Name("numpy", f"{table.name}.__getitem__")
    evaluate = Call(getter, (rng.choice(["eval", "exec"]),))
    return Call(evaluate, (payloads.expression(rng),)), (f"call numpy:{getter.name}",)


def registry(rng):
    """A framework's table of handlers gets a new one."""
    target = rng.choice(
        [
            Name("torch.serialization", "_package_registry"),
            Name("torch._weights_only_unpickler", "_marked_safe_globals_set"),
            Name("transformers.models.auto.modeling_auto", "MODEL_MAPPING._extra_content"),
            Name("joblib.compressor", "_COMPRESSORS"),
            Name("numpy", "ScalarType"),
            Name("torch.utils.data._utils.collate", "default_collate_fn_map"),
            Name("warnings", "filters"),
            Name("logging", "_handlers"),
        ]
    )
    pair = (payloads.marker(rng), Name("torch.nn.functional", "relu"))
    tree = rng.choice([SetItems(target, (pair,)), Appends(target, (pair,))])
    return tree, (f"call {target.module}:{target.name}",)


def overwritten_module(rng):
    """A whole module of the loading process is replaced by another object."""
    key = rng.choice(["torch.nn.functional", "numpy.random", "json", "transformers.trainer"])
    value = rng.choice([Name("torch", "nn"), Name("torch.nn", "init"), Name("collections", "abc")])
    return SetItems(Name("sys", "modules"), ((key, value),)), ("call sys:modules",)


def safety_switch(rng):
    """A switch that guards loading is thrown."""
    target, attribute, value = rng.choice(
        [
            (Name("torch.serialization", "config"), "load", {"weights_only": False}),
            (Name("torch", "serialization"), "_weights_only_unpickler", Name("pickle", "Unpickler")),
            (Name("transformers.utils", "hub"), "TRUST_REMOTE_CODE", True),
            (Name("keras.src.saving", "serialization_lib"), "in_safe_mode", Name("builtins", "bool")),
            (Name("torch", "_weights_only_unpickler"), "_get_allowed_globals", Name("builtins", "dict")),
        ]
    )
    return Build(target, (None, {attribute: value})), (f"call {target.module}:{target.name}",)


PATCHES = [
    module_attribute,
    module_dictionary,
    class_attribute,
    class_attribute_gadget,
    function_attribute,
    dictionary_state,
    setattr_call,
    builtins_attribute,
    numpy_only,
    registry,
    overwritten_module,
    safety_switch,
]
