"""Trees that do harm by several harmless-looking steps: each function draws one from the seed.

A chain returns (tree, reach): `reach` names what a loader would really resolve and call, for `reach.py` to check.
"""

import payloads
import zips
from assembly import (
    AddItems,
    Again,
    Appends,
    Build,
    Call,
    Do,
    Dynamic,
    Ext,
    Keep,
    Name,
    New,
    Persistent,
    SetItems,
)

SHELL = [("os", "system"), ("posix", "system"), ("subprocess", "getoutput"), ("os", "popen")]


def shell(rng):
    """A function of a command, and a command."""
    return Name(*rng.choice(SHELL)), payloads.command(rng)


def called(name):
    return f"call {name.module}:{name.name}"


def getattr_of_import(rng):
    module = Call(Name("importlib", "import_module"), (rng.choice(["os", "posix", "subprocess"]),))
    getter = Call(Name("builtins", "getattr"), (module, rng.choice(["system", "getoutput", "popen"])))
    return Call(getter, (payloads.command(rng),)), ("call builtins:getattr",)


def getattr_of_object(rng):
    steps = ["__class__", "__base__", "__subclasses__"]
    value = rng.choice(["", (), {}, 1])
    for step in steps:
        value = Call(Name("builtins", "getattr"), (value, step))
    return Call(value, ()), ("call builtins:getattr",)


def attrgetter_of_module(rng):
    maker = Name(rng.choice(["operator", "_operator"]), "attrgetter")
    module = Name(rng.choice(["os", "shutil", "torch.serialization", "numpy.lib.format"]), "__builtins__")
    return Call(Call(maker, ("get",)), (module,)), (called(maker),)


def methodcaller_of_module(rng):
    maker = Name(rng.choice(["operator", "_operator"]), "methodcaller")
    module = Call(Name("builtins", "__import__"), ("os",))
    return Call(Call(maker, ("system", payloads.command(rng))), (module,)), (called(maker),)


def resolve_name(rng):
    word = rng.choice(["os:system", "posix:system", "builtins:exec", "subprocess:getoutput"])
    resolver = Name("pkgutil", "resolve_name")
    return Call(Call(resolver, (word,)), (payloads.command(rng),)), (called(resolver),)


def locate(rng):
    resolver = Name("pydoc", "locate")
    return Call(Call(resolver, ("os.system",)), (payloads.command(rng),)), (called(resolver),)


def partial(rng):
    function, command = shell(rng)
    maker = Name("functools", "partial")
    return Call(Call(maker, (function, command)), ()), (called(maker), f"find {function.module}:{function.name}")


def partial_state(rng):
    """The function of a partial, put in through its state after it was made."""
    function, command = shell(rng)
    maker = Name("functools", "partial")
    made = Build(New(maker, (Name("builtins", "print"),)), (function, (command,), {}, None))
    return Call(made, ()), (f"find {function.module}:{function.name}",)


def mapped(rng):
    function, command = shell(rng)
    maker = Name("builtins", rng.choice(["map", "filter"]))
    consumer = Name("builtins", rng.choice(["list", "tuple", "set", "sorted", "any", "sum"]))
    return Call(consumer, (Call(maker, (function, [command])),)), (called(maker),)


def reduced(rng):
    reducer = Name("functools", "reduce")
    function = Name("builtins", "getattr")
    return Call(reducer, (function, ["system"], Call(Name("builtins", "__import__"), ("os",)))), (called(reducer),)


def starmapped(rng):
    function, command = shell(rng)
    maker = Name("itertools", "starmap")
    consumer = Name("collections", "deque")
    return Call(consumer, (Call(maker, (function, [(command,)])),)), (called(maker),)


def default_factory(rng):
    """A defaultdict that calls when a missing key is asked for, and a request for a missing key."""
    function, command = shell(rng)
    factory = Call(Name("functools", "partial"), (function, command))
    table = Call(Name("collections", "defaultdict"), (factory,))
    asked = Call(Name("operator", "getitem"), (table, payloads.marker(rng)))
    return rng.choice([asked, table]), (f"find {function.module}:{function.name}",)


def stored_by_name(rng):
    """A function that checkpoints call under conditions, taken by numpy's import by name and stored for somebody to call."""
    module, word = rng.choice(
        [
            ("torch.storage", "_load_from_bytes"),
            ("numpy.core.multiarray", "_reconstruct"),
            ("torch._tensor", "_rebuild_from_type_v2"),
            ("copyreg", "_reconstructor"),
            ("builtins", "getattr"),
        ]
    )
    getter = Name(rng.choice(["numpy.core", "numpy._core", "numpy"]), "_ufunc_reconstruct")
    inner = payloads.fill("$PICKLE", rng)
    if rng.random() < 0.5:
        inner = zips.write([zips.Entry("a/data.pkl", inner, True), zips.Entry("a/version", b"3\n")])
    factory = Call(Name("functools", "partial"), (Call(getter, (module, word)), inner))
    return Call(Name("collections", "defaultdict"), (factory,)), (called(getter),)


def compiled(rng):
    code = Call(Name("builtins", "compile"), (payloads.code(rng), "<s>", "exec"))
    return Call(Name("builtins", "exec"), (code,)), ("call builtins:exec",)


def function_of_code(rng):
    code = Call(Name("marshal", "loads"), (b"c" + bytes(rng.randrange(256) for _ in range(40)),))
    made = Call(Name("types", "FunctionType"), (code, {}))
    return Call(made, ()), ("call types:FunctionType",)


def code_by_parts(rng):
    """Byte code made piece by piece, as picklers of functions do."""
    names = rng.choice([("types", "CodeType"), ("cloudpickle.cloudpickle", "_builtin_type")])
    first = Name(*names)
    code = first if names[0] == "types" else Call(first, ("CodeType",))
    body = (0, 0, 0, 0, 1, 67, b"d\x00S\x00", (None, payloads.code(rng)), (), (), "f", "f", "f", 1, b"", b"", (), ())
    made = Call(Name("types", "FunctionType"), (Call(code, body), {}, "f", (), ()))
    return Call(made, ()), ("call types:FunctionType",)


def import_path(rng):
    """A folder is put in front of the import path, then anything is imported."""
    path = Name("sys", "path")
    step = rng.choice(
        [
            Appends(path, (payloads.path(rng),)),
            SetItems(path, ((0, payloads.path(rng)),)),
            Call(Name("sys", "path.insert"), (0, payloads.path(rng))),
        ]
    )
    reach = "call sys:path.insert" if isinstance(step, Call) else "call sys:path"
    return Do((step, Call(Name("importlib", "import_module"), (payloads.module(rng),)))), (reach,)


def environment_variable(rng):
    target = Name("os", "environ")
    variable = rng.choice(["LD_PRELOAD", "PYTHONSTARTUP", "PATH", "PYTHONPATH", "HF_HUB_TRUST_REMOTE_CODE"])
    return SetItems(target, ((variable, payloads.path(rng)),)), ("call os:environ",)


def module_table(rng):
    key = rng.choice(["json", "torch.nn", "numpy", payloads.module(rng)])
    return SetItems(Name("sys", "modules"), ((key, Name("os", "path")),)), ("call sys:modules",)


def sentinel_hook(rng):
    target = Name("sys", rng.choice(["meta_path", "path_hooks"]))
    return Appends(target, (Name("os", "system"),)), (f"call {target.module}:{target.name}",)


def extension_code(rng):
    """A name hidden behind a number: registered and used in the same program."""
    code = rng.randrange(1, 70000)
    function, command = shell(rng)
    register = Name("copyreg", "add_extension")
    steps = (Call(register, (function.module, function.name, code)), Call(Ext(code), (command,)))
    return Do(steps), (called(register),)


def extension_alone(rng):
    """A number that the loading program has registered for itself."""
    return Call(Ext(rng.choice([1, 7, 200, 300, 70_000])), (payloads.command(rng),)), ("call ext:ext",)


def dispatch_table(rng):
    target = Name("copyreg", rng.choice(["dispatch_table", "_extension_registry", "_inverted_registry"]))
    return SetItems(target, ((1, (Name("os", "system"),)),)), (f"call copyreg:{target.name}",)


def computed_name(rng):
    """Module and name are not in the text: the program computes them."""
    reverse = rng.random() < 0.5
    decode = Name("codecs", "decode") if reverse else Name("_codecs", "decode")
    code = "rot13"
    name = Call(decode, ("flfgrz", code))
    module = Call(decode, ("bf", code))
    return Call(Dynamic(module, name), (payloads.command(rng),)), (f"call {decode.module}:{decode.name}",)


def joined_name(rng):
    """`str(b"os", "ascii")` and the like."""
    module = Call(Name("builtins", "str"), (rng.choice([b"os", b"posix"]), "ascii"))
    return Call(Dynamic(module, "system"), (payloads.command(rng),)), ("call builtins:str",)


def swapped_memo(rng):
    """The name that is imported stands in the memo, where something harmless stood a moment ago."""
    first = rng.choice(["collections", "torch._utils", "numpy"])
    word = rng.choice(["os", "posix"])
    tree = Do((Keep("m", first), Keep("m", word), Keep("n", "system"), Again("m")))
    return Call(Dynamic(tree, Again("n")), (payloads.command(rng),)), (f"call {word}:system",)


def kept_function(rng):
    """The function is fetched early, called late, out of the memo."""
    function, command = shell(rng)
    filler = tuple({"w%d" % number: number} for number in range(rng.randrange(30)))
    return Do((Keep("f", function), *filler, Call(Again("f"), (command,)))), (called(function),)


def nested_loads(rng):
    inner = payloads.fill("$PICKLE", rng)
    loader = Name(*rng.choice([("pickle", "loads"), ("_pickle", "loads"), ("torch.storage", "_load_from_bytes")]))
    return Call(loader, (inner,)), (called(loader),)


def nested_stream(rng):
    inner = payloads.fill("$PICKLE", rng)
    stream = Call(Name("io", "BytesIO"), (inner,))
    loader = Name(*rng.choice([("pickle", "load"), ("torch", "load"), ("joblib", "load"), ("numpy", "load")]))
    return Call(loader, (stream,)), (called(loader),)


def thread(rng):
    function, command = shell(rng)
    maker = Name("threading", rng.choice(["Thread", "Timer"]))
    made = Call(maker, (None, function, "t", (command,)) if maker.name == "Thread" else (0, function, (command,)))
    start = Call(Name("threading", f"{maker.name}.start"), (made,))
    return start, (called(maker),)


def type_with_body(rng):
    """A class whose construction or destruction calls."""
    function, command = shell(rng)
    made = Call(Name("builtins", "type"), (payloads.marker(rng), (), {"__del__": function, "x": command}))
    return Call(made, ()), ("call builtins:type",)


def globals_of_function(rng):
    module = rng.choice(["torch.nn.functional", "collections", "json", "numpy.lib.format", "functools"])
    name = {
        "torch.nn.functional": "relu",
        "collections": "namedtuple",
        "json": "loads",
        "numpy.lib.format": "read_magic",
        "functools": "wraps",
    }[module]
    table = Name(module, f"{name}.__globals__")
    return Call(Name(module, f"{name}.__globals__.get"), ("__builtins__",)), (f"call {table.module}:{table.name}.get",)


def hook_in_module(rng):
    """A module whose hook is a gadget: harmless to load, harmful to run."""
    function = Name(*rng.choice(SHELL + [("builtins", "exec"), ("builtins", "eval")]))
    kind = rng.choice(["_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_load_state_dict_pre_hooks"])
    cls = rng.choice(["linear:Linear", "activation:ReLU", "container:Sequential"]).split(":")
    state = {
        "training": True,
        "_parameters": Call(Name("collections", "OrderedDict"), ()),
        "_buffers": {},
        "_modules": {},
        kind: {0: function},
    }
    made = Build(New(Name(f"torch.nn.modules.{cls[0]}", cls[1])), state)
    return made, (f"find {function.module}:{function.name}",)


def callback_in_state(rng):
    """A reference in the place where a training framework will call it."""
    function = Name(*rng.choice(SHELL + [("builtins", "exec")]))
    key = rng.choice(["lr_lambdas", "callbacks", "collate_fn", "loss_fn", "on_epoch_end", "worker_init_fn"])
    return {"epoch": 1, key: [function]}, (f"find {function.module}:{function.name}",)


def add_to_set(rng):
    target = Name(*rng.choice([("torch._weights_only_unpickler", "_marked_safe_globals_set"), ("sys", "flags")]))
    return AddItems(target, (Name("os", "system"),)), (f"call {target.module}:{target.name}",)


def rebuild_hooks(rng):
    """A tensor with a backward hook: allowed function, allowed container, and the gadget inside."""
    function = payloads.function(rng)
    storage = Persistent(("storage", Name("torch", "FloatStorage"), "0", "cpu", 4))
    hooks = Call(Name("collections", "OrderedDict"), ([[0, function]],))
    tensor = Call(Name("torch._utils", "_rebuild_tensor_v2"), (storage, 0, (2, 2), (2, 1), True, hooks))
    tree = rng.choice([tensor, Call(Name("torch._utils", "_rebuild_parameter"), (tensor, True, hooks))])
    return {"w": tree}, (f"find {function.module}:{function.name}",)


def rebuild_from_type(rng):
    """torch's rebuilder calls the function that it is handed."""
    function, command = shell(rng)
    rebuilder = Name("torch._tensor", "_rebuild_from_type_v2")
    return Call(rebuilder, (function, Name("torch", "Tensor"), (command,), {})), (called(rebuilder),)


def estimator_function(rng):
    """An honest class whose state holds the function that it will call."""
    function = payloads.function(rng)
    cls, key = rng.choice(
        [
            (Name("sklearn.preprocessing._function_transformer", "FunctionTransformer"), "func"),
            (Name("torch.optim.lr_scheduler", "LambdaLR"), "lr_lambdas"),
            (Name("torch.utils.data.dataloader", "DataLoader"), "collate_fn"),
            (Name("sklearn.model_selection._search", "GridSearchCV"), "scoring"),
            (Name("torch.nn.modules.activation", "ReLU"), "forward"),
            (Name("argparse", "Namespace"), "callback"),
        ]
    )
    value = [function] if key == "lr_lambdas" else function
    return Build(New(cls), {key: value, "epoch": 1}), (f"find {function.module}:{function.name}",)


def reconstructor(rng):
    """The helpers of `copyreg`, handed a class that nobody stores."""
    cls = Name(
        *rng.choice(
            [("subprocess", "Popen"), ("code", "InteractiveConsole"), ("socket", "socket"), ("ctypes", "CDLL")]
        )
    )
    helper = rng.choice(["_reconstructor", "__newobj__", "__newobj_ex__"])
    arguments = {"_reconstructor": (cls, Name("builtins", "object"), None), "__newobj__": (cls, payloads.command(rng))}
    made = Call(Name("copyreg", helper), arguments.get(helper, (cls, (payloads.command(rng),), {})))
    return Build(made, {"args": payloads.command(rng)}), (f"find {cls.module}:{cls.name}",)


def nested_containers(rng):
    """Honest container calls around the one call."""
    function, command = shell(rng)
    tree = Call(function, (command,))
    for _ in range(rng.randrange(1, 5)):
        outer = rng.choice(["OrderedDict", "Counter", "deque", "defaultdict"])
        arguments = {"OrderedDict": ([["a", tree]],), "defaultdict": (None, {"a": tree})}
        tree = Call(Name("collections", outer), arguments.get(outer, ([tree],)))
    return tree, (called(function),)


CHAINS = [
    rebuild_hooks,
    stored_by_name,
    rebuild_from_type,
    estimator_function,
    reconstructor,
    nested_containers,
    getattr_of_import,
    getattr_of_object,
    attrgetter_of_module,
    methodcaller_of_module,
    resolve_name,
    locate,
    partial,
    partial_state,
    mapped,
    reduced,
    starmapped,
    default_factory,
    compiled,
    function_of_code,
    code_by_parts,
    import_path,
    environment_variable,
    module_table,
    sentinel_hook,
    extension_code,
    extension_alone,
    dispatch_table,
    computed_name,
    joined_name,
    swapped_memo,
    kept_function,
    nested_loads,
    nested_stream,
    thread,
    type_with_body,
    globals_of_function,
    hook_in_module,
    callback_in_state,
    add_to_set,
]
