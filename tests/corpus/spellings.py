"""Mechanisms in the opcodes themselves: how a call is spelt, where the stream begins and ends, what parsers read otherwise.

Each differential below was checked against CPython's C unpickler; where only `torch.load` accepts it (it passes
`encoding="utf-8"` and a `persistent_load`), the sample is a torch file.
"""

import base64
import pickle
import struct
import zlib

import inject
import payloads
import zips
from assembly import Assembler, Build, Call, Do, Name, New, Raw, Style, any_style, plain
from carriers import file_name, program, single
from mechanism import Mechanism

SHELL = [("os", "system"), ("posix", "system"), ("subprocess", "getoutput"), ("os", "popen"), ("pty", "spawn")]
CODE = [("builtins", "exec"), ("builtins", "eval")]


def payload(rng):
    """Some call that does harm, and its reach."""
    if rng.random() < 0.3:
        name, argument = Name(*rng.choice(CODE)), payloads.expression(rng)
    else:
        name, argument = Name(*rng.choice(SHELL)), payloads.command(rng)
    return Call(name, (argument,)), (f"call {name.module}:{name.name}",)


def raw(rng, data, reach):
    return single(file_name(rng, ".pkl", ".pickle", ".bin", ".dat", ""), data, "pickle.load", "pickle", reach)


# --- m01, m02, m03: forms of a call -------------------------------------------------------------------------------


def basic(rng, variant):
    """As `pickle.dumps` would write it, at every protocol."""
    tree, reach = payload(rng)
    style = plain(variant % 6)
    style.declare = style.protocol >= 2
    style.text = 1.0 if style.protocol == 0 else 0.0
    return raw(rng, Assembler(rng, style).program(tree), reach)


def form(**style):
    """The call in one forced form."""

    def make(rng, _):
        tree, reach = payload(rng)
        return raw(rng, program(rng, tree, **style), reach)

    return make


def new_object(rng, _):
    cls = Name(*rng.choice([("subprocess", "Popen"), ("zipfile", "ZipFile"), ("code", "InteractiveConsole")]))
    tree = New(cls, (payloads.argv(rng),), {"shell": True} if rng.random() < 0.5 else None)
    return raw(rng, program(rng, tree), (f"call {cls.module}:{cls.name}",))


def state_call(rng, _):
    """A call in the arguments of a call, in a state, in a key, in a set."""
    tree, reach = payload(rng)
    holder = rng.choice(
        [
            Build(New(Name("collections", "OrderedDict")), {"hidden": tree}),
            {"a": [1, (2, [tree])]},
            Call(Name("collections", "OrderedDict"), ([["k", tree]],)),
            Call(Name("torch._utils", "_rebuild_parameter"), (tree, True, {})),
            [{"b": {"c": {"d": (tree,)}}}],
        ]
    )
    return raw(rng, program(rng, holder), reach)


def memo_names(rng, _):
    """Module and name come out of the memo, at indices of any size, written as a reader of numbers allows."""
    tree, reach = payload(rng)
    module, name = tree.function.module, tree.function.name
    low, high = rng.randrange(1, 200), rng.choice([300, 70_000, 900_000])
    spell = rng.choice(["%d", "+%d", " %d", "0%d", "00%d"])
    index = (spell % low).encode()
    code = b"\x8c" + bytes([len(name)]) + name.encode() + b"r" + struct.pack("<I", high) + b"0"
    code += b"\x8c" + bytes([len(module)]) + module.encode() + b"p" + index + b"\n0"
    code += b"h" + bytes([low]) + b"j" + struct.pack("<I", high) + b"\x93"
    argument = Assembler(rng, any_style(rng)).push(tree.arguments)
    return raw(rng, b"\x80\x04" + code + argument + b"R.", reach)


def duplicated(rng, _):
    """Function and arguments by DUP; the marks are popped one by one."""
    tree, reach = payload(rng)
    assembler = Assembler(rng, Style(protocol=2))
    function = assembler.push(tree.function)
    argument = assembler.push(tree.arguments)
    code = rng.choice(
        [function + b"2" + argument + b"R0", function + argument + b"20R", b"(0" + function + argument + b"R"]
    )
    return raw(rng, b"\x80\x02" + code + b".", reach)


# --- m07: streams -------------------------------------------------------------------------------------------------


def second_pickle(rng, _):
    """Honest pickles first; the program that reads several gets to the other one."""
    tree, reach = payload(rng)
    honest = b"".join(
        pickle.dumps(value, rng.randrange(2, 6)) for value in rng.sample([{"a": 1}, [1, 2], "text", 7, (1, None)], 3)
    )
    return raw(rng, honest + program(rng, tree, stop=True), reach)


def cut_short(rng, _):
    """The stream breaks right after the call: the call has happened."""
    tree, reach = payload(rng)
    data = program(rng, tree, frames=0.0)
    end = data.rfind(b"R")
    tail = rng.choice([b"", b"\x95\xff\xff\xff\xff\xff\xff\xff\x7f", b"X\xff\xff\xff\x7f", b"\xee", b"b", b"h\xfe."])
    return raw(rng, (data[: end + 1] if end > 0 else data) + tail, reach)


def long_name(rng, _):
    """A name that walks in circles for longer than anybody keeps names, in a stream without a head that breaks."""
    walk = rng.choice(["path.os.", "path.genericpath.os.", "path.os.path.genericpath.os."])
    name = walk * ((65_536 + rng.randrange(40)) // len(walk) + rng.randrange(3)) + "system"
    argument = Assembler(rng, plain(4)).push((payloads.command(rng),))
    front = rng.choice([b"N0", b"I1\n0", b"(1"])
    return raw(rng, front + b"\x80\x04cos\n" + name.encode() + b"\n" + argument + b"R\xff", (f"call os:{name}",))


def framing(rng, _):
    """Frames that are too short, empty, nested or straddle an opcode: the C unpickler reads on."""
    tree, reach = payload(rng)
    body = Assembler(rng, Style(protocol=4, frames=0.0, memo=0.0)).program(tree)[2:]

    def frame(size):
        return b"\x95" + struct.pack("<Q", size)

    code = rng.choice(
        [
            frame(rng.randrange(1, len(body))) + body,
            frame(0) + body,
            frame(0) * 3 + body,
            frame(len(body) + 9) + frame(len(body)) + body,
            b"N0" + frame(2) + body,
            frame(len(body) // 2) + body,
        ]
    )
    return raw(rng, b"\x80" + bytes([rng.choice([2, 4, 5])]) + code, reach)


def headers(rng, _):
    """PROTO missing, twice, late, or higher than the opcodes need."""
    tree, reach = payload(rng)
    body = Assembler(rng, Style(protocol=2, declare=False)).program(tree)
    head = rng.choice([b"", b"\x80\x00", b"\x80\x05", b"\x80\x02\x80\x04", b"N0\x80\x03", b"\x80\x04\x80\x00"])
    return raw(rng, head + body, reach)


# --- m08: what parsers read otherwise ------------------------------------------------------------------------------

DIFFERENTIALS = [
    b"I0x1f\n",
    b"I0b101\n",
    b"I0o17\n",
    b"I1_000\n",
    b"I 12\n",
    b"I+5\n",
    b"L0x1fL\n",
    b"L0b1L\n",
    b"L1_0L\n",
    b"L7\n",
    b"L0o7\n",
    b"Fnan\n",
    b"Finf\n",
    b"F1e5\n",
    b"F-0.0\n",
    b"V\\ud800\n",
    b"V\xe9\xff\n",
    b"S'\\x41\\n'\n",
    b'S"quoted"\n',
    b"S'a''b'\n",
    b"\x8a\x00",
    b"\x8b\x00\x00\x00\x00",
    b"\x8a\x03\x00\x00\x00",
    b"\x8e\x03\x00\x00\x00\x00\x00\x00\x00abc",
    b"\x8d\x02\x00\x00\x00\x00\x00\x00\x00ab",
    b"\x96\x02\x00\x00\x00\x00\x00\x00\x00ab",
    b"\x96\x02\x00\x00\x00\x00\x00\x00\x00ab\x98",
    b"C\x02ab\x98",
    b"T\x02\x00\x00\x00ab",
    b"](e",
    b"}(u",
    b"\x8f(\x90",
    b"((1t",
    b"(p5\n1N",
    b"Np 7\n",
    b"Np1_0\n",
    b"Np0003\ng3\n0",
    b"(0N",
    b"N2\x860N",
]
TORCH_ONLY = [
    b"S'\xc3\xa9t\xc3\xa9'\n",
    b"T\x02\x00\x00\x00\xc3\xa9",
    b"U\x02\xc3\xa9",
    b"Pany\n",
    b"PX\xc3\xa9\n",
    b"(U\x03abctQ",
    b"NQ",
]


def differential(rng, variant):
    """One oddity, then the call."""
    tree, reach = payload(rng)
    odd = DIFFERENTIALS[variant % len(DIFFERENTIALS)]
    style = any_style(rng)
    style.memoize = False
    style.first_memo = 100
    return raw(rng, Assembler(rng, style).program(Do((Raw(odd), tree))), reach)


def differential_in_checkpoint(carriers):
    def make(rng, variant):
        tree, reach = payload(rng)
        table = TORCH_ONLY + DIFFERENTIALS
        odd = Raw(table[variant % len(table)])
        return carriers.torch_zip(rng, Do((odd, tree)), reach)

    return make


def old_names(rng, _):
    """Names of Python 2, which every loader up to protocol 2 translates."""
    module, name = rng.choice(
        [
            ("__builtin__", "eval"),
            ("__builtin__", "apply"),
            ("__builtin__", "reduce"),
            ("commands", "getoutput"),
            ("commands", "getstatusoutput"),
            ("cPickle", "loads"),
            ("itertools", "imap"),
            ("urllib", "urlopen"),
            ("urllib2", "urlopen"),
            ("copy_reg", "add_extension"),
            ("httplib", "HTTPConnection"),
            ("xmlrpclib", "ServerProxy"),
            ("anydbm", "open"),
            ("whichdb", "whichdb"),
        ]
    )
    data = Assembler(rng, Style(protocol=rng.choice([0, 1, 2]))).program(
        Call(Name(module, name), (payloads.command(rng),))
    )
    return raw(rng, data, (f"call {module}:{name}",))


# --- m09: budgets -------------------------------------------------------------------------------------------------


def padding(rng, variant):
    """So much before the call that a reader with a budget gives up."""
    tree, reach = payload(rng)
    size = rng.randrange(60_000, 140_000)
    fills = [
        b"N0" * size,
        b"K\x010" * size,
        b"]" + b"K\x01a" * size + b"0",
        b"(" + b"N" * size + b"1",
        b"}(" + b"".join(b"K%cN" % (n % 256) for n in range(size)) + b"u0",
        b"C\xff" + b"x" * 255 + b"0",
        b"B" + struct.pack("<I", 40 << 20) + bytes(40 << 20) + b"0",
        b"N0" * 1_200_000,
        b"".join(b"\x8c\x05%05dr%s0" % (n % 100_000, struct.pack("<I", n)) for n in range(size // 2)),
        b"V" + b"a" * 3_000_000 + b"\n0",
        b"ccollections\nOrderedDict\n0" * (size // 20),
        b"I" + b"1" * 4000 + b"\n0",
        b"Nr\xff\xff\x0f\x000",
    ]
    body = Assembler(rng, Style(protocol=2, declare=False, memoize=False, first_memo=2_000_000)).program(tree)
    return raw(rng, b"\x80\x04" + fills[variant % len(fills)] + body, reach)


def deep(rng, variant):
    """Nesting that breaks a recursive reader, then the call."""
    tree, reach = payload(rng)
    size = rng.randrange(3_000, 60_000)
    fills = [
        b"(" * size + b"t" * 0 + b"1" * size,
        b"N" + b"\x85" * size + b"0",
        b"]" * size + b"a" * (size - 1) + b"0",
    ]
    body = Assembler(rng, Style(protocol=2, declare=False)).program(tree)
    return raw(rng, b"\x80\x02" + fills[variant % len(fills)] + body, reach)


def amplified(rng, variant):
    """A structure of a few bytes that is endless when written out, then the call."""
    tree, reach = payload(rng)
    double = b"K\x01" + b"2\x86" * rng.randrange(30, 64) + b"0"
    lists = b"]q\x00" + b"".join(b"0](h%ch%cep%d\n" % (n, n, n + 1) for n in range(60)) + b"0"
    circle = b"]q\x00h\x00a0}q\x01K\x01h\x01s0"
    body = Assembler(rng, Style(protocol=2, declare=False, first_memo=200)).program(tree)
    return raw(rng, b"\x80\x02" + [double, lists, circle][variant % 3] + body, reach)


# --- m13, m21, m24 and the rest -----------------------------------------------------------------------------------


def wrong_suffix(rng, variant):
    """A pickle by another name; the loader goes by the path that it was given."""
    suffixes = ".json .txt .md .png .jpg .safetensors .gguf .onnx .h5 .keras .tflite .csv .py .yaml .msgpack .npz .zip .index .xml .html .log .parquet .pb .7z .gz".split()
    tree, reach = payload(rng)
    data = program(rng, tree)
    return single("config" + suffixes[variant % len(suffixes)], data, "pickle.load", "pickle", reach)


def encoded(rng, variant):
    """A pickle in a pickle, encoded or compressed on the way."""
    tree, _ = payload(rng)
    inner = program(rng, tree)
    loads = Name(*rng.choice([("pickle", "loads"), ("_pickle", "loads"), ("dill", "loads"), ("cloudpickle", "loads")]))
    reach = (f"call {loads.module}:{loads.name}",)
    wraps = [
        lambda: Call(loads, (Call(Name("base64", "b64decode"), (base64.b64encode(inner),)),)),
        lambda: Call(loads, (Call(Name("zlib", "decompress"), (zlib.compress(inner),)),)),
        lambda: Call(loads, (Call(Name("binascii", "unhexlify"), (inner.hex(),)),)),
        lambda: Call(loads, (Call(Name("builtins", "bytes.fromhex"), (inner.hex(),)),)),
        lambda: Call(loads, (Call(Name("builtins", "bytearray"), (inner,)),)),
        lambda: Call(loads, (Call(Name("bz2", "decompress"), (b"BZh" + inner,)),)),
    ]
    return raw(rng, program(rng, wraps[variant % len(wraps)]()), reach)


def nested_deep(rng, _):
    """Pickles in pickles, several levels down."""
    tree, _ = payload(rng)
    names = [("pickle", "loads"), ("_pickle", "loads"), ("torch.storage", "_load_from_bytes")]
    name = None
    for _ in range(rng.randrange(2, 6)):
        name = rng.choice(names)
        tree = Call(Name(*name), (program(rng, tree, stop=True),))
    return raw(rng, program(rng, tree), (f"call {name[0]}:{name[1]}",))


def code_of_function(library):
    """A function, by the pickler that packs its byte code."""

    def make(rng, variant):
        import importlib

        word = payloads.marker(rng)
        space = {}
        body = rng.choice(
            ["def f(x=1): return '%s'", "f = lambda a, b=2: '%s'", "class f:\n  def __call__(self): return '%s'"]
        )
        exec(body % word, space)  # noqa: S102  our own text, which returns a word
        value = rng.choice([space["f"], {"fn": space["f"], "lr": 0.1}, [space["f"]]])
        if library == "dill":
            data = importlib.import_module("dill").dumps(value, recurse=rng.random() < 0.5)
        else:
            data = importlib.import_module("cloudpickle").dumps(value, protocol=rng.choice([4, 5]))
        return raw(rng, data, ())

    return make


WRAPPERS = """invoke:run sarge:run delegator:run plumbum:local fabric:local envoy:run execnet:makegateway
shellingham:detect_shell command:run easyprocess:EasyProcess sultan.api:Sultan pyshell:shell zxpy:run ipdb:run
subprocess32:call pexpect:spawn ptyprocess:PtyProcess.spawn winrm:Session.run_cmd asyncssh:run nox:Session.run
doit.tools:run_once luigi.contrib.external_program:ExternalProgramTask scriptine.shell:sh pyarmor_runtime:__pyarmor__
reticulate:eval rpy2.robjects:r js2py:eval_js execjs:eval lupa:LuaRuntime pyduktape:eval hy:eval""".split()


def wrapper_package(rng, variant):
    """A function of an installable package that runs what it is given."""
    module, _, name = WRAPPERS[variant % len(WRAPPERS)].partition(":")
    tree = Call(Name(module, name), (payloads.command(rng),))
    return raw(rng, program(rng, tree), (f"call {module}:{name}",))


def external_module(rng, _):
    """A function of a module that comes with the model."""
    module = f"{payloads.module(rng)}.{rng.choice(['utils', 'hooks', 'data', 'model'])}"
    name = rng.choice(["load", "prepare", "init", "get_model", "run"])
    tree = Call(Name(module, name), (payloads.path(rng), {"debug": True}))
    return raw(rng, program(rng, tree), (f"call {module}:{name}",))


def obfuscated(rng, _):
    """A protector's runtime, called with a sealed body."""
    word = "pyarmor_runtime_%06d" % rng.randrange(999_999)
    sealed = bytes(rng.randrange(256) for _ in range(300))
    tree = Call(Name(word, "__pyarmor__"), ("__main__", "model.py", b"PY000000" + sealed))
    return raw(rng, program(rng, tree), (f"call {word}:__pyarmor__",))


def own_function(carriers):
    """The project's own function, called while its own checkpoint loads."""

    def make(rng, _):
        module, name = rng.choice(
            [("train", "restore"), ("src.utils.io", "run_hook"), ("trainer.loop", "execute"), ("__main__", "main")]
        )
        tree = Call(Name(module, name), (payloads.command(rng),))
        return carriers.torch_zip(rng, tree, (f"call {module}:{name}",))

    return make


def tail_of_checkpoint(carriers):
    """An honest legacy checkpoint with further pickles where loaders of several read on."""

    def make(rng, _):
        tree, reach = payload(rng)
        base = rng.choice(list(carriers.bases["pickle"].values()))
        data = inject.unframed(base) + program(rng, tree)
        return single(file_name(rng, ".pkl", ".dat"), data, "pickle.load in a loop", "pickle", reach)

    return make


def reused_entries(carriers):
    """Both files of a pair are honest but for one storage-like member that is a pickle."""

    def make(rng, _):
        tree, reach = payload(rng)
        entries = zips.read(rng.choice(list(carriers.bases["torch"].values())))
        for entry in entries:
            if entry.name.endswith("/data.pkl"):
                entry.data = program(rng, Do((tree, {"state": 1})))
        return single(file_name(rng, ".pt", ".bin"), zips.write(entries), "torch.load", "torch", reach)

    return make


def mechanisms(carriers):
    forms = {
        "reduce": form(call_forms=("reduce",)),
        "object": form(call_forms=("object",)),
        "inst": form(call_forms=("inst",)),
        "global": form(name_forms=("global",)),
        "stack_global": form(name_forms=("stack",), protocol=4),
        "text": form(text=1.0, protocol=0, declare=False),
        "wild": form(odd=1.0, junk=0.4, memo=1.0),
    }
    yield Mechanism("m01_basic", "basic", basic, 12)
    for name, make in forms.items():
        yield Mechanism("m02_opcode_variants", f"form_{name}", make)
    yield Mechanism("m02_opcode_variants", "form_new", new_object)
    yield Mechanism("m02_opcode_variants", "inside_values", state_call)
    yield Mechanism("m03_memo", "memo_names", memo_names, 10)
    yield Mechanism("m03_memo", "duplicated", duplicated)
    yield Mechanism("m07_stream", "second_pickle", second_pickle)
    yield Mechanism("m07_stream", "after_honest_pickle", tail_of_checkpoint(carriers))
    yield Mechanism("m07_stream", "cut_short", cut_short, 10)
    yield Mechanism("m07_stream", "long_name", long_name, 8)
    yield Mechanism("m07_stream", "framing", framing, 12)
    yield Mechanism("m07_stream", "headers", headers, 10)
    yield Mechanism("m08_parser_diff", "differential", differential, len(DIFFERENTIALS))
    size = len(DIFFERENTIALS) + len(TORCH_ONLY)
    yield Mechanism("m08_parser_diff", "differential_in_checkpoint", differential_in_checkpoint(carriers), size)
    yield Mechanism("m08_parser_diff", "old_names", old_names, 15)
    yield Mechanism("m09_budget", "padding", padding, 13)
    yield Mechanism("m09_budget", "deep", deep, 6)
    yield Mechanism("m09_budget", "amplified", amplified, 6)
    yield Mechanism("m13_suffix", "wrong_suffix", wrong_suffix, 25)
    yield Mechanism("m21_nested", "encoded", encoded, 12)
    yield Mechanism("m21_nested", "nested_deep", nested_deep)
    yield Mechanism("m24_code", "dill_function", code_of_function("dill"))
    yield Mechanism("m24_code", "cloudpickle_function", code_of_function("cloudpickle"))
    yield Mechanism("sp_packages", "wrapper_package", wrapper_package, len(WRAPPERS))
    yield Mechanism("sp_packages", "external_module", external_module)
    yield Mechanism("sp_packages", "obfuscated", obfuscated)
    yield Mechanism("m26_hard", "own_function", own_function(carriers))
    yield Mechanism("m26_hard", "whole_program", reused_entries(carriers))
