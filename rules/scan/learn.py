"""Learns from installed frameworks which of their classes checkpoints may hold, and writes a table of them.

    python learn.py FRAMEWORK.learnt package[:prefix,prefix…] …

Runs in an environment that has the packages; installs nothing. It imports their modules (never a checkpoint) and asks of
every class what loading an object of it would run: `__new__`, `__setstate__`, `__del__`, and `__init__` where the class's own
`__reduce__` calls it. A method that comes from Python itself is harmless. A method of the framework's own is harmless if its
source, followed through `super()` and `self`, calls nothing beyond what makes and fills plain objects (SAFE_*). Compiled
classes of numerical packages (`+` before the package) have methods that compute and cannot be read; they are taken as
reviewed. Classes that fail are printed with the reason, for review by hand; they are not written. Functions are written for
the named prefixes only (`package:prefix`), and only if their source reaches for nothing on UNSAFE.

The table has one line a module, sorted bytewise: `module Name Name:letters …`. Letters: s slots or any shape of state, d items, l appends, a adds,
c may be called with data, e member of an enumeration, f pure function, p generated reducer of Cython.
"""

import ast
import enum
import importlib
import importlib.abc
import importlib.machinery
import inspect
import os
import pkgutil
import re
import sys
import textwrap
import types
import warnings

SAFE_NAMES = set(
    """isinstance hasattr getattr setattr len dict list tuple set frozenset int float str bool bytes range zip enumerate sorted min max
    any all type issubclass super iter next repr id print object sum reversed abs hash callable slice format map filter round
    OrderedDict defaultdict deque Counter deepcopy copy ValueError TypeError RuntimeError AttributeError KeyError NotImplementedError
    AssertionError IndexError Exception DeprecationWarning UserWarning FutureWarning field fields asdict is_dataclass Lock RLock
    WeakValueDictionary WeakKeyDictionary WeakSet cast partial namedtuple""".split()
)
SAFE_METHODS = set(
    """update items keys values get pop copy setdefault append extend insert startswith endswith split rsplit join format add clear lower
    upper strip lstrip rstrip replace index count warn warn_once warning debug info error __setattr__ __new__ __init__ __setstate__ __setitem__
    tensor as_tensor asarray array zeros ones empty full device Size Generator Lock RLock ref WeakValueDictionary
    WeakKeyDictionary deepcopy discard remove intersection union difference issubset is_tensor numel size dim to clone detach
    view reshape get_default_dtype astype tolist item dtype ravel cpu contiguous view_as flatten mro fromkeys __class__ is_available
    requires_grad_ removesuffix removeprefix register_buffer register_parameter lower isidentifier isdigit""".split()
)
UNSAFE = set(
    """eval exec compile open __import__ globals locals vars input breakpoint os sys subprocess importlib pickle cloudpickle dill
    joblib shutil socket urllib requests tempfile ctypes marshal runpy codecs builtins load_module load loads dump dumps save hub
    urlopen download system popen delattr urlretrieve fsspec read_csv memmap fromfile tofile savetxt loadtxt genfromtxt""".split()
)
SKIPPED = re.compile(
    r"(^|\.)(tests?|testing|_?test\w*|conftest|setup|__main__|cli|scripts?|benchmarks?|examples?|_vendor|externals|vendored?|distutils|f2py"
    r"|_dynamo|_inductor|_export|onnx|_numpy|elastic|rpc|launcher|launch|tools|bottleneck|collect_env|cpp_extension|hub|package|_functorch"
    r"|fx|jit|backcompat|tensorboard|bundled_inputs|mobile_optimizer|model_dump|hipify|_lazy|pipelining|nn\.pipelines|profiler|_library"
    r"|demos?|datasets?_utils|utils\.doctest|plotting|commands|pipelines|serve|app|store|run|__init___|engine\.exporter|solutions)(\.|$)"
)
DEPTH = 6
# Packages that some modules ask for and no reducer needs: they are pretended where they are not installed.
PRETENDED = set("cv2 pyvers xxhash jax jaxlib pycocotools".split())
# Read by hand. scipy's runs text of the state, which the judgement compares with the text that scipy itself generates; the
# others sort what they are given into the places of a module, an optimizer or a layer.
REVIEWED = {
    ("scipy.stats._distn_infrastructure", "__setstate__"),
    ("torch.optim.optimizer", "__setstate__"),
    ("torch._tensor", "__setstate__"),
    ("gymnasium.spaces.box", "__setstate__"),
    ("sklearn.gaussian_process.kernels", "__new__"),
    ("sklearn.isotonic", "__setstate__"),
    ("torchmetrics.metric", "__setstate__"),
    ("statsmodels.base.data", "__setstate__"),
    ("accelerate.optimizer", "__setstate__"),
}
# Classes that look harmless and are not, with the reason.
EXCLUDED = {
    ("torch.fx.graph_module", "GraphModule"): "its state holds `_code`, a text that `recompile` runs",
}
SAFE_CALLS = re.compile(
    r"torch\.ops\.quantized\.\w+_prepack|torch\._C\._log_api_usage_once|random\.Random|torch\.empty_like|torch\.Tensor\._make_subclass"
    r"|np\.(min|max|atleast_2d|all|any|sum)|typing\.cast|inspect\.signature|self\._tracker\.track|has_torch_function_unary|object\.__getattribute__"
    r"|super\(\)\.__getattribute__|_get_scalar_dtype|cls\._\w*name\w*"
)


def main():
    warnings.simplefilter("ignore")
    sys.setrecursionlimit(5000)
    target, packages = sys.argv[1], sys.argv[2:]
    table, notes = {}, []
    sys.meta_path.append(Pretender())
    for package in packages:
        compiled = package.startswith("+")
        package, _, prefixes = package.lstrip("+").partition(":")
        prefixes = tuple(prefix for prefix in prefixes.split(",") if prefix)
        for module in modules(package):
            learn(module, package, prefixes, compiled, table, notes)
    with open(target, "w", encoding="utf-8") as out:
        out.write("# Made by learn.py; the format is told there. Not to be edited by hand.\n")
        for module in sorted(table, key=lambda name: name.encode()):
            words = [name + (":" + letters if letters else "") for name, letters in sorted(table[module].items())]
            out.write(" ".join([module, *words]) + "\n")
    names = sum(len(names) for names in table.values())
    print(f"{target}: {len(table)} modules, {names} names")
    for note in sorted(set(notes)):
        print("  ", note)


class Pretender(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """Finds what is not installed and gives modules that have every name."""

    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in PRETENDED:
            return importlib.machinery.ModuleSpec(name, self, is_package=True)
        return None

    def create_module(self, spec):
        module = types.ModuleType(spec.name)
        module.__path__ = []
        module.__version__ = "99.0.0"
        module.__getattr__ = lambda name: pretend(spec.name, name)
        return module

    def exec_module(self, module):
        pass


def pretend(module, name):
    if name.startswith("__"):
        raise AttributeError(name)
    return type(name, (), {"__module__": module, "__call__": lambda *_, **__: None})


def modules(package):
    """Every module of the package that can be imported here."""
    waiting = [package.partition(">")[0]]
    seen = set()
    while waiting:
        name = waiting.pop()
        if name in seen or SKIPPED.search(name):
            continue
        seen.add(name)
        try:
            with Silence():
                module = importlib.import_module(name)
        except BaseException as error:  # noqa: BLE001 - a module that cannot be imported here is left out
            print(f"   not imported: {name}: {type(error).__name__}", file=sys.stderr)
            continue
        yield module
        for found in pkgutil.iter_modules(getattr(module, "__path__", None) or []):
            waiting.append(f"{name}.{found.name}")


class Silence:
    def __enter__(self):
        self.saved = sys.stdout, sys.stderr
        sys.stdout = sys.stderr = open(os.devnull, "w")  # noqa: SIM115

    def __exit__(self, *_):
        sys.stdout.close()
        sys.stdout, sys.stderr = self.saved


def learn(module, package, prefixes, compiled, table, notes):
    for name, thing in sorted(vars(module).items()):
        home = getattr(thing, "__module__", None)
        if isinstance(thing, type):
            if not isinstance(home, str) or not (home == package or home.startswith(package + ".")):
                continue
            learn_class(thing, compiled, table, notes, 0)
        elif name.startswith("__pyx_unpickle_"):
            table.setdefault(module.__name__, {})[name] = "p"
        elif module.__name__.startswith(prefixes or ("-",)) and is_pure(thing) and reached(thing, name):
            where = home if isinstance(home, str) else module.__name__
            if where.partition(".")[0] == package.partition(".")[0]:
                table.setdefault(where, {})[name] = "f"


def reached(thing, name):
    """A function that pickle would write under this name."""
    home = getattr(thing, "__module__", None)
    return home is None or getattr(sys.modules.get(home), name, None) is thing


def learn_class(cls, compiled, table, notes, depth):
    name = cls.__qualname__
    if "<" in name or not all(part.isidentifier() for part in name.split(".")):
        return
    letters, why = classify(cls, compiled)
    if why:
        notes.append(f"{cls.__module__} {name}: {why}")
    elif letters is not None:
        table.setdefault(cls.__module__, {})[name] = letters
    for inner in list(vars(cls).values()):
        if isinstance(inner, type) and inner.__module__ == cls.__module__ and inner.__qualname__.startswith(name + ".") and depth < 3:
            learn_class(inner, compiled, table, notes, depth + 1)


def classify(cls, compiled):
    """Letters, or None if the class is nothing to hold, and why it fails."""
    excluded = EXCLUDED.get((cls.__module__, cls.__qualname__))
    if excluded:
        return None, excluded
    if issubclass(cls, enum.Enum):
        return "e", None
    if any(base.__module__.partition(".")[0] in PRETENDED for base in cls.__mro__):
        return None, "a base is not installed"
    if issubclass(cls, type) or is_protocol(cls):
        return None, None
    letters = ""
    for method in ("__new__", "__setstate__", "__del__"):
        reason = harm(cls, method, compiled)
        if reason:
            return None, f"{method}: {reason}"
    if own(cls, "__getattr__") and not own(cls, "__setstate__") and harm(cls, "__getattr__", compiled):
        return None, "__getattr__ without __setstate__"
    # Slots are set one by one, and so by `__setattr__`; the state of other objects goes straight into their dict.
    if own(cls, "__setstate__") or (has_slots(cls) and not harm(cls, "__setattr__", compiled)):
        letters += "s"
    if issubclass(cls, dict) and not harm(cls, "__setitem__", compiled):
        letters += "d"
    if issubclass(cls, list) and not harm(cls, "append", compiled) and not harm(cls, "extend", compiled):
        letters += "l"
    if called(cls) and not harm(cls, "__init__", compiled):
        letters += "c"
    elif own(cls, "__reduce__") or own(cls, "__reduce_ex__"):
        reducer = foreign_reducer(cls)
        if reducer:
            return letters, None
    return letters, None


def is_protocol(cls):
    return getattr(cls, "_is_protocol", False)


def has_slots(cls):
    return any(vars(base).get("__slots__") for base in cls.__mro__ if base is not object)


PYTHON = ("builtins", "collections", "abc", "enum", "typing", "_abc", "_collections", "collections.abc", "random", "_random", "datetime", "decimal",
          "weakref", "functools", "types", "contextlib", "string", "threading", "_thread", "numbers", "_collections_abc", "dataclasses", "typing_extensions")


def owner(cls, method):
    for base in cls.__mro__:
        if method in vars(base):
            return base, vars(base)[method]
    return None, None


def own(cls, method):
    base, _ = owner(cls, method)
    return base is not None and base.__module__ not in PYTHON


def called(cls):
    """Whether objects of the class reduce to a call of it."""
    if issubclass(cls, BaseException) or issubclass(cls, (set, frozenset)):
        return True
    for method in ("__reduce__", "__reduce_ex__"):
        base, function = owner(cls, method)
        if base is None or base.__module__ in PYTHON:
            continue
        tree = source(function)
        if tree is None:
            return method == "__reduce__" and not isinstance(function, types.FunctionType)
        for node in ast.walk(tree):
            if isinstance(node, ast.Return) and isinstance(node.value, ast.Tuple) and node.value.elts:
                first = ast.unparse(node.value.elts[0])
                if first in ("self.__class__", "type(self)", "callable", base.__name__, cls.__name__):
                    return True
    return False


def foreign_reducer(cls):
    for method in ("__reduce__", "__reduce_ex__"):
        base, function = owner(cls, method)
        if base is None or base.__module__ in PYTHON:
            continue
        tree = source(function)
        if tree is None:
            continue
        for node in ast.walk(tree):
            if isinstance(node, ast.Return) and isinstance(node.value, ast.Tuple) and node.value.elts:
                first = ast.unparse(node.value.elts[0])
                if first not in ("self.__class__", "type(self)", base.__name__):
                    if first.isidentifier() and "ModelOutput" not in str(cls.__mro__):
                        print(f"   reducer: {cls.__module__} {cls.__qualname__} calls {first} of {base.__module__}")
                    return first
    return None


def source(function):
    function = inspect.unwrap(getattr(function, "__func__", function))
    if isinstance(function, property):
        function = function.fget
    try:
        return ast.parse(textwrap.dedent(inspect.getsource(function)))
    except (OSError, TypeError, SyntaxError, IndentationError, ValueError):
        return None


def harm(cls, method, compiled, depth=0, above=None):
    """Why the method may do more than make and fill an object; None if it does not."""
    mro = cls.__mro__
    if above is not None:
        mro = mro[mro.index(above) + 1 :]
    for base in mro:
        if method not in vars(base):
            continue
        if base.__module__ in PYTHON:
            return None
        if (base.__module__, method) in REVIEWED:
            return None
        function = vars(base)[method]
        raw = getattr(function, "__func__", function)
        if not isinstance(raw, types.FunctionType):
            if compiled or getattr(raw, "__name__", "").endswith("_cython__"):
                return None
            if base.__module__.partition(".")[0] in ("numpy", "torch") and method in ("__new__", "__init__", "__setstate__", "__setattr__", "append", "extend"):
                return None
            return f"{base.__module__}.{base.__qualname__} is compiled"
        if raw.__name__ == "__create_fn__" or "namedtuple_" in raw.__code__.co_filename or raw.__code__.co_filename == "<string>":
            return None
        tree = source(raw)
        if tree is None:
            return f"{base.__module__}.{base.__qualname__} has no source"
        if depth > DEPTH:
            return "too deep"
        return harm_of(tree, cls, base, compiled, depth)
    return None


def harm_of(tree, cls, base, compiled, depth):
    for node in ast.walk(tree):
        if isinstance(node, ast.Global):
            return "global"
        if isinstance(node, (ast.Import, ast.ImportFrom)):
            names = [alias.name for alias in node.names] + [getattr(node, "module", None) or ""]
            if any(part in UNSAFE for name in names for part in name.split(".")):
                return f"imports {ast.unparse(node)}"
        if isinstance(node, ast.Name) and node.id in UNSAFE:
            return f"uses {node.id}"
        if isinstance(node, ast.Attribute) and node.attr in UNSAFE - {"load", "save", "dump", "system", "compile"}:
            return f"uses .{node.attr}"
        if isinstance(node, ast.Call):
            reason = harm_of_call(node, cls, base, compiled, depth)
            if reason:
                return reason
    return None


def harm_of_call(node, cls, base, compiled, depth):
    function = node.func
    text = ast.unparse(function)
    if SAFE_CALLS.fullmatch(text):
        return None
    if isinstance(function, ast.Name):
        if function.id in SAFE_NAMES:
            return None
        if function.id in ("cls", "__class__"):
            return harm(cls, "__init__", compiled, depth + 1)
        made = getattr(sys.modules.get(base.__module__), function.id, None)
        if isinstance(made, type):
            if made.__module__ in PYTHON:
                return None
            return harm(made, "__init__", compiled, depth + 1) or harm(made, "__new__", compiled, depth + 1)
        if isinstance(made, types.FunctionType) and made.__module__.partition(".")[0] == base.__module__.partition(".")[0] and depth < DEPTH:
            tree = source(made)
            if tree is not None:
                return harm_of(tree, cls, base, compiled, depth + 1)
        return f"calls {text}"
    if isinstance(function, ast.Attribute):
        value = function.value
        is_super = isinstance(value, ast.Call) and isinstance(value.func, ast.Name) and value.func.id == "super"
        if is_super:
            return harm(cls, function.attr, compiled, depth + 1, above=base)
        if isinstance(value, ast.Name) and value.id in ("self", "cls", "instance", "obj", "new", "result"):
            if function.attr in SAFE_METHODS:
                return None
            if owner(cls, function.attr)[0] is not None:
                return harm(cls, function.attr, compiled, depth + 1)
            return f"calls {text}"
        if function.attr in SAFE_METHODS:
            return None
        module = sys.modules.get(base.__module__)
        made = getattr(getattr(module, value.id, None), function.attr, None) if isinstance(value, ast.Name) else None
        if isinstance(made, type) and made.__module__.partition(".")[0] in (base.__module__.partition(".")[0], "torch", "numpy", "threading", "weakref", "collections", "_thread"):
            return harm(made, "__init__", compiled, depth + 1)
    return f"calls {text}"


def is_pure(thing):
    """A function that computes: its source reaches for nothing that opens, loads, runs or looks up."""
    if type(thing).__name__ == "ufunc":
        return True
    if isinstance(thing, (types.BuiltinFunctionType,)) or type(thing).__name__ in ("cython_function_or_method", "_ArrayFunctionDispatcher", "fused_cython_function"):
        return thing.__name__ not in UNSAFE and not re.search(r"load|save|file|dump|read|write|print|open|set_|register", thing.__name__)
    if not isinstance(thing, types.FunctionType) or re.search(r"load|save|file|dump|read_|write|open|set_|register|fetch|plot", thing.__name__):
        return False
    tree = source(thing)
    if tree is None:
        return False
    for node in ast.walk(tree):
        if isinstance(node, ast.Name) and node.id in UNSAFE:
            return False
        if isinstance(node, ast.Attribute) and node.attr in UNSAFE:
            return False
    return True


if __name__ == "__main__":
    main()
