"""What source files compile to, told to the supervisor: a process of its own, beside the job.

    python -I -S -B _memory_reference.py OPTIMIZE

Run by the very interpreter that runs the job, because another one compiles to other instructions, and outside the job,
because compiling a long file holds the interpreter for tens of milliseconds and because what is compared with is then
out of the job's reach. Nothing of a file is executed: it is read and compiled. A line of the input is a path in
hexadecimal; a line of the output is a JSON object about that file:

    source    SHA-256 of the file
    changed   its change time, nanoseconds since 1970
    defs      [place, line, digest] of each function in it, in order; a place is a qualified name
    decorated places of the classes that have a decorator
    bound     how often the module and each class binds each of its names
    makes     whether it makes code from text itself
    error     why there is none of that
"""

import ast
import dis
import hashlib
import importlib.util
import json
import os
import sys
from inspect import CO_OPTIMIZED
from types import CodeType

# Longest source that is compiled, bytes.
BYTES_MAX = 16 << 20

_spec = importlib.util.spec_from_file_location("_memory_code", os.path.join(os.path.dirname(__file__), "_memory_code.py"))
_code = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(_code)


def main():
    optimize = int(sys.argv[1])
    for line in sys.stdin.buffer:
        path = bytes.fromhex(line.decode().strip())
        try:
            told = about(path, optimize)
        except Exception as error:
            told = {"error": f"{type(error).__name__}: {error}"[:300]}
        except RecursionError:
            told = {"error": "it is nested too deeply"}
        told["path"] = path.hex()
        sys.stdout.write(json.dumps(told) + "\n")
        sys.stdout.flush()


def about(path, optimize):
    with open(frozen(path) or path, "rb") as file:
        changed = os.fstat(file.fileno()).st_ctime_ns
        source = file.read(BYTES_MAX + 1)
    if len(source) > BYTES_MAX:
        raise ValueError("it is longer than a program")
    # As importlib compiles, and parsed once for both uses.
    tree = ast.parse(source, os.fsdecode(path))
    classes = sorted(decorated(tree))
    code = compile(tree, os.fsdecode(path), "exec", dont_inherit=True, optimize=optimize)
    del tree
    table = Table()
    table.scope(code, "", False, 0)
    return {
        "source": hashlib.sha256(source).hexdigest(),
        "changed": changed,
        "defs": table.defs,
        "decorated": classes,
        "bound": table.bound,
        "makes": table.makes,
    }


def frozen(path):
    """The source of a module that was frozen into the interpreter, by the name that its code has for a path."""
    if not path.startswith(b"<frozen ") or not path.endswith(b">"):
        return None
    name = path[8:-1].decode()
    if not all(part.isidentifier() for part in name.split(".")):
        raise ValueError("it names no module")
    base = os.path.join(os.path.dirname(os.__file__), *name.split("."))
    return os.path.join(base, "__init__.py") if os.path.isdir(base) else base + ".py"


class Table:
    """All functions of a file by where they stand."""

    def __init__(self):
        self.defs = []
        self.bound = {}
        self.makes = False

    def scope(self, code, prefix, function, depth):
        if depth > _code.DEPTH_MAX:
            raise ValueError("it is nested too deeply")
        # To take instructions apart takes longer than to compile: only where one of those can be.
        makes = not self.makes and not _MAKERS.isdisjoint(code.co_names)
        if makes or not _BINDING.isdisjoint(code.co_code[::2]):
            self._instructions(code, prefix, function)
        inner = prefix[:-1] + ".<locals>." if function else prefix
        for constant in code.co_consts:
            if type(constant) is CodeType:
                place = getattr(constant, "co_qualname", inner + constant.co_name)
                is_function = bool(constant.co_flags & CO_OPTIMIZED)
                if is_function:
                    self.defs.append([place, constant.co_firstlineno, _code.digest(constant)])
                self.scope(constant, place + ".", is_function, depth + 1)

    def _instructions(self, code, prefix, function):
        for instruction in dis.get_instructions(code):
            name = instruction.opname
            if name in ("STORE_NAME", "DELETE_NAME") and not function:
                place = prefix + instruction.argval
                self.bound[place] = self.bound.get(place, 0) + 1
            elif name in ("STORE_GLOBAL", "DELETE_GLOBAL"):
                self.bound[instruction.argval] = self.bound.get(instruction.argval, 0) + 1
            elif name in ("LOAD_GLOBAL", "LOAD_NAME") and instruction.argval in _MAKERS:
                self.makes = True


_BINDING = frozenset(dis.opmap[name] for name in ("STORE_NAME", "DELETE_NAME", "STORE_GLOBAL", "DELETE_GLOBAL"))
_MAKERS = frozenset(("exec", "eval", "compile"))


def decorated(tree):
    """Qualified names of the classes that have a decorator."""
    found = set()
    waiting = [(tree, "")]
    while waiting:
        node, prefix = waiting.pop()
        for child in ast.iter_child_nodes(node):
            if isinstance(child, ast.expr):
                continue  # no class is in one
            inner = prefix
            if isinstance(child, ast.ClassDef):
                if child.decorator_list:
                    found.add(prefix + child.name)
                inner = prefix + child.name + "."
            elif isinstance(child, (ast.FunctionDef, ast.AsyncFunctionDef)):
                inner = prefix + child.name + ".<locals>."
            waiting.append((child, inner))
    return found


if __name__ == "__main__":
    main()
