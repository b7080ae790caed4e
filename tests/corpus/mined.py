"""Gadgets that nobody listed: found by reading the sources of the packages that are installed.

Three kinds, all by syntax alone (nothing is imported):

- *sinks*: a function that passes one of its own parameters to something that runs, loads or writes;
- *doors*: a module that has a dangerous module as an attribute (`import os` at its top), reached by a dotted name;
- *aliases*: a dangerous function under another module's name (`from subprocess import Popen`).

Which of the thousands are used is drawn from the seed. A scanner that passes these because the package is well known
fails here with another name every day.
"""

import ast
import json
import re
import sysconfig
from pathlib import Path

PACKAGES = [
    "torch",
    "numpy",
    "scipy",
    "sklearn",
    "pandas",
    "joblib",
    "transformers",
    "accelerate",
    "lightning",
    "huggingface_hub",
    "tokenizers",
    "safetensors",
    "keras",
    "onnx",
    "fsspec",
    "networkx",
    "sympy",
    "setuptools",
    "pip",
    "dill",
    "cloudpickle",
    "lightgbm",
    "omegaconf",
    "triton",
    "h5py",
    "tqdm",
    "psutil",
    "yaml",
    "jinja2",
]
SINKS = {
    "exec": "code",
    "eval": "code",
    "compile": "code",
    "__import__": "import",
    "os.system": "shell",
    "os.popen": "shell",
    "os.execv": "shell",
    "os.execvp": "shell",
    "os.execve": "shell",
    "subprocess.run": "shell",
    "subprocess.Popen": "shell",
    "subprocess.call": "shell",
    "subprocess.check_call": "shell",
    "subprocess.check_output": "shell",
    "subprocess.getoutput": "shell",
    "subprocess.getstatusoutput": "shell",
    "Popen": "shell",
    "check_output": "shell",
    "pickle.loads": "nested",
    "pickle.load": "nested",
    "cloudpickle.loads": "nested",
    "marshal.loads": "code",
    "importlib.import_module": "import",
    "import_module": "import",
    "ctypes.CDLL": "import",
    "ctypes.cdll.LoadLibrary": "import",
    "CDLL": "import",
    "runpy.run_path": "code",
    "runpy.run_module": "code",
    "shutil.rmtree": "files",
    "shutil.copyfile": "files",
    "os.remove": "files",
    "os.unlink": "files",
    "os.rename": "files",
    "urlopen": "network",
    "urllib.request.urlopen": "network",
    "requests.get": "network",
    "socket.create_connection": "network",
}
DOORS = {"os", "sys", "subprocess", "shutil", "pickle", "importlib", "ctypes", "builtins", "runpy"}
BEHIND = {
    "os": ["system", "popen", "execv", "remove", "path.os.system"],
    "sys": ["modules.get", "_getframe", "path.append", "exit"],
    "subprocess": ["Popen", "run", "getoutput", "check_output"],
    "shutil": ["rmtree", "move", "os.system"],
    "pickle": ["loads", "sys.exit"],
    "importlib": ["import_module", "reload"],
    "ctypes": ["CDLL", "cdll.LoadLibrary"],
    "builtins": ["exec", "eval", "__import__"],
    "runpy": ["run_path", "run_module"],
}
ALIASES = {
    ("os", "system"): "shell",
    ("os", "popen"): "shell",
    ("os", "remove"): "files",
    ("os", "unlink"): "files",
    ("subprocess", "Popen"): "shell",
    ("subprocess", "run"): "shell",
    ("subprocess", "call"): "shell",
    ("subprocess", "check_call"): "shell",
    ("subprocess", "check_output"): "shell",
    ("importlib", "import_module"): "import",
    ("importlib", "reload"): "import",
    ("shutil", "rmtree"): "files",
    ("shutil", "copyfile"): "files",
    ("ctypes", "CDLL"): "import",
    ("pickle", "loads"): "nested",
    ("pickle", "load"): "nested",
    ("urllib.request", "urlopen"): "network",
    ("socket", "create_connection"): "network",
}
# What a file must say before it is worth a parse; the two kinds of import need none.
HINT = re.compile(r"(?<![.\w])(?:" + "|".join(re.escape(name) for name in SINKS) + r")\(")
DOOR = re.compile(rf"^import ({'|'.join(sorted(DOORS))})(?: as (\w+))?[ \t]*$", re.M)
ALIAS = re.compile(r"^from ([\w.]+) import ([\w, ]+)$", re.M)
ARGUMENT = {
    "shell": "$CMD",
    "code": "$CODE",
    "import": "$MOD",
    "nested": "$PICKLE",
    "files": "$PATH",
    "network": "$URL",
}


def roots():
    """Package folders and the standard library, by import name."""
    import importlib.util

    yield "", Path(sysconfig.get_paths()["stdlib"])
    for package in PACKAGES:
        spec = importlib.util.find_spec(package)
        for place in spec.submodule_search_locations if spec else ():
            yield package, Path(place)


def modules():
    """(import name, source path) of every module there is, without tests of the standard library."""
    for package, folder in roots():
        for path in sorted(folder.rglob("*.py")):
            parts = path.relative_to(folder).with_suffix("").parts
            if not package and parts[0] in ("site-packages", "test", "dist-packages"):
                continue
            parts = parts[:-1] if parts[-1] == "__init__" else parts
            if "tests" in parts or not all(part.isidentifier() for part in parts):
                continue
            name = ".".join([package, *parts] if package else parts)
            if name:
                yield name, path


def dotted(node):
    """`a.b.c` of an expression, or nothing."""
    if isinstance(node, ast.Name):
        return node.id
    if isinstance(node, ast.Attribute):
        base = dotted(node.value)
        return f"{base}.{node.attr}" if base else None
    return None


def arity(function):
    """How many arguments it needs, and the index of each positional parameter."""
    names = [argument.arg for argument in function.args.posonlyargs + function.args.args]
    needed = len(names) - len(function.args.defaults)
    return needed, {name: index for index, name in enumerate(names)}


def sink_of(function):
    """(kind, index of the parameter that reaches a sink), or nothing."""
    _, index = arity(function)
    for node in ast.walk(function):
        if not isinstance(node, ast.Call):
            continue
        kind = SINKS.get(dotted(node.func) or "")
        if kind is None or not node.args:
            continue
        first = node.args[0]
        if isinstance(first, ast.Name) and first.id in index:
            return kind, index[first.id]
    return None


def definitions(tree):
    """Functions of a module and of its classes, with their dotted names."""
    for node in tree.body:
        if isinstance(node, ast.FunctionDef):
            yield node.name, node
        elif isinstance(node, ast.ClassDef):
            for inner in node.body:
                if isinstance(inner, ast.FunctionDef):
                    yield f"{node.name}.{inner.name}", inner


def mine_module(name, text, out):
    for target, alias in DOOR.findall(text):
        out["doors"].append([name, alias or target, target])
    for source, names in ALIAS.findall(text):
        for entry in names.split(","):
            original, _, alias = entry.strip().partition(" as ")
            kind = ALIASES.get((source, original))
            if kind:
                out["aliases"].append([name, alias or original, kind])
    if not HINT.search(text):
        return
    for label, function in definitions(ast.parse(text)):
        found = sink_of(function)
        if found and not function.args.kwonlyargs:
            kind, index = found
            size = max(arity(function)[0], index + 1)
            out["sinks"].append([name, label, kind, index, size])


def mine(cache):
    """All there is, from the cache if the same packages were read before."""
    if cache.is_file():
        return json.loads(cache.read_text())
    out = {"sinks": [], "doors": [], "aliases": []}
    for name, path in modules():
        try:
            mine_module(name, path.read_text("utf-8"), out)
        except (SyntaxError, UnicodeDecodeError, ValueError, RecursionError):
            continue
    cache.parent.mkdir(parents=True, exist_ok=True)
    cache.write_text(json.dumps(out))
    return out


def sinks(found):
    """Rows as in the tables of gadgets."""
    for module, name, kind, index, size in found["sinks"]:
        arguments = [None] * size
        arguments[index] = ARGUMENT[kind]
        yield (f"{module}:{name}", tuple(arguments), kind)


def doors(found):
    for module, attribute, target in found["doors"]:
        for behind in BEHIND[target]:
            argument = {"modules.get": "os", "_getframe": 0, "exit": 0, "sys.exit": 0}.get(behind)
            argument = "$CMD" if argument is None else argument
            yield (f"{module}:{attribute}.{behind}", (argument,), "door")


def aliases(found):
    for module, name, kind in found["aliases"]:
        yield (f"{module}:{name}", (ARGUMENT[kind],), kind)
