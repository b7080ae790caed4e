#!/usr/bin/env python3
"""CPython's C unpickler and Taintline's symbolic machine, on the same bytes.

    pickle_diff.py TRACE [--seconds N] [--seed N] [--hex BYTES] [--python PYTHON]

TRACE is the example `pickle_trace` of crates/formats. Pickles are put together opcode by opcode, or are real ones with some
bytes changed. A child process gives each to `_pickle.Unpickler`, whose find_class, persistent_load and extensions return
inert recorders: nothing is imported and nothing of the bytes runs; an audit hook ends the child if anything tries. Compared
are: accepted or refused, bytes consumed, every import in order, every call with its arguments and all that is done to its
result, and the value; and the opcodes with `pickletools.genops`. The C unpickler is right.

Exit code 0: they agree. 1: they do not; the input is printed, made small. 2: the tools are missing.
"""

import argparse
import gc
import io
import itertools
import json
import os
import pickle
import pickletools
import random
import resource
import struct
import subprocess
import sys
import threading
import time
import zlib

BUDGET = 4000
DEPTH = 60
BUFFER = b"\0buffer\0"


# What both sides say of a value, as text. ----------------------------------------------------------------------------


class Recorder(type):
    """The type of everything that a pickle imports or makes here. Its instances are classes, so that NEWOBJ takes them."""

    def __call__(cls, *args, **kwargs):
        return record_call(cls, args, kwargs)

    def __setitem__(cls, key, value):
        cls.entries.append((key, value))

    def __setstate__(cls, state):
        CASE.events.append(["build", cls.label])
        cls.states.append(state)

    def extend(cls, items):
        cls.appended.extend(items)

    def append(cls, item):
        cls.appended.append(item)

    def add(cls, item):
        cls.appended.append(item)


def make(label):
    body = {"label": label, "states": [], "entries": [], "appended": [], "call": None}
    return type.__new__(Recorder, "recorded", (BASE,) if BASE else (), body)


BASE = None
BASE = make("base")
type.__setattr__(BASE, "__new__", staticmethod(lambda cls, *args, **kwargs: record_call(cls, args, kwargs)))


class Case:
    """What was recorded of one pickle."""

    def __init__(self):
        self.events, self.calls, self.names, self.ids = [], [], {}, []


CASE = Case()


def record_call(cls, args, kwargs):
    made = make(f"call{len(CASE.calls)}")
    made.call = (cls, args, kwargs or None)
    CASE.calls.append(made)
    CASE.events.append(["call", made.label])
    return made


def record_import(module, name):
    CASE.events.append(["import", ascii(module), ascii(name)])
    return CASE.names.setdefault((module, name), make(f"global({module!a}, {name!a})"))


def record_id(pid):
    made = make(f"persistent{len(CASE.ids)}")
    CASE.ids.append((made, pid))
    CASE.events.append(["persistent", made.label])
    return made


class TooMuch(Exception):
    pass


def canon(value, left, path=()):
    """A text that two equal values share."""
    left[0] -= 1
    if left[0] < 0 or len(path) > DEPTH:
        raise TooMuch
    if isinstance(value, Recorder):
        return value.label
    if value is None or isinstance(value, bool):
        return repr(value)
    if isinstance(value, int):
        return hex(value)
    if isinstance(value, float):
        return "nan" if value != value else "f" + struct.pack(">d", value).hex()
    if isinstance(value, str):
        return ascii(value)
    if isinstance(value, memoryview):
        return "b" + bytes(value).hex()
    if isinstance(value, (bytes, bytearray)):
        return ("b" if isinstance(value, bytes) else "a") + value.hex()
    if id(value) in path:
        return f"<up {len(path) - path.index(id(value))}>"
    path += (id(value),)
    if isinstance(value, dict):
        return "{" + ", ".join(f"{canon(k, left, path)}: {canon(v, left, path)}" for k, v in value.items()) + "}"
    items = [canon(item, left, path) for item in value]
    if isinstance(value, (set, frozenset)):
        items.sort()
    return type(value).__name__ + "[" + ", ".join(items) + "]"


def describe(case, calls):
    left = [BUDGET]
    lines = []
    for made in calls:
        callee, args, kwargs = made.call
        parts = [callee, args, kwargs, made.states, made.entries, made.appended]
        lines.append(made.label + " = " + " ".join(canon(part, left) for part in parts))
    for made, pid in case.ids:
        lines.append(made.label + " = " + canon(pid, left))
    return lines


# The C unpickler, in a child. ----------------------------------------------------------------------------------------


class Harmless(pickle.Unpickler):
    def find_class(self, module, name):
        if not module:
            raise ValueError("Empty module name")
        return record_import(module, name)

    def persistent_load(self, pid):
        return record_id(pid)


def hook(event, _):
    if event.startswith(("os.", "subprocess.", "socket.", "shutil.", "ctypes.", "exec", "compile", "import", "open")):
        os._exit(97)


def child():
    import _compat_pickle, codecs, copyreg, encodings.latin_1, encodings.utf_8, traceback  # noqa: E401,F401 forbidden later

    b"x".decode("utf-8", "surrogateescape"), "\xff".encode("latin-1")
    for code in range(1, 256):
        copyreg._extension_cache[code] = make(f"extension{code}")
    resource.setrlimit(resource.RLIMIT_AS, (3 << 30, 3 << 30))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    source, sink = sys.stdin.buffer, sys.stdout.buffer
    gc.disable()
    sys.addaudithook(hook)
    for count in itertools.count():
        size = source.read(4)
        if len(size) < 4:
            break
        data = source.read(struct.unpack("<I", size)[0])
        sink.write(json.dumps(judge(data)).encode() + b"\n")
        sink.flush()
        if count % 200 == 0:
            gc.collect()


class Whole:
    """A file that can be looked into ahead, all of it; so the C unpickler reads as `loads` does."""

    def __init__(self, data):
        file = io.BytesIO(data)
        self.read, self.readline = file.read, file.readline
        self.peek = lambda size: data[file.tell() :]


def load(data, file):
    loader = Harmless(file, encoding="utf-8", errors="surrogateescape", buffers=itertools.repeat(BUFFER))
    return loader.load()


def judge(data):
    global CASE
    memory, data = data[:1] == b"m", data[1:]
    CASE = Case()
    for made in pickle._extension_cache.values():
        made.states.clear(), made.entries.clear(), made.appended.clear()
    said = {"accepted": False, "error": None, "skip": None}
    try:
        value = load(data, (Whole if memory else io.BytesIO)(data))
        said["accepted"] = True
    except (MemoryError, RecursionError) as error:
        return {"skip": type(error).__name__}
    except BaseException as error:
        said["error"] = f"{type(error).__name__}: {error}"[:200]
    case = CASE
    said["events"] = case.events
    try:
        said["lines"] = describe(case, case.calls)
        said["value"] = canon(value, [BUDGET]) if said["accepted"] else None
    except (TooMuch, RecursionError):
        said["skip"] = "too much to compare"
    return said


# The machine's answer, made comparable. ------------------------------------------------------------------------------


def plain_text(text):
    return text if isinstance(text, str) else "".join(map(chr, text))


class Rebuilt:
    """The values of a traced program as Python values."""

    def __init__(self, trace):
        global CASE
        self.nodes, self.made, self.trace = trace["nodes"], {}, trace
        self.case = CASE = Case()
        self.numbers = {}
        for offset, event in trace["events"]:
            if event[0] in ("call", "persistent"):
                self.numbers.setdefault((event[0], event[1]), len([1 for kind, _ in self.numbers if kind == event[0]]))

    def value(self, index):
        if index in self.made:
            return self.made[index]
        kind, *rest = self.nodes[index]
        many = lambda items: [self.value(item) for item in items]  # noqa: E731
        simple = {
            "none": lambda: None,
            "bool": lambda: rest[0],
            "int": lambda: int(rest[0]),
            "big": lambda: int.from_bytes(bytes.fromhex(rest[0]), "little", signed=True),
            "float": lambda: struct.unpack(">d", bytes.fromhex(rest[0]))[0],
            "bytes": lambda: bytes.fromhex(rest[0]),
            "bytearray": lambda: bytearray.fromhex(rest[0]),
            "encoded": lambda: bytes.fromhex(rest[0]).decode("utf-8", "surrogateescape"),
            "text": lambda: plain_text(rest[0]),
            "buffer": lambda: BUFFER,
            "tuple": lambda: tuple(many(rest[0])),
            "frozenset": lambda: frozenset(many(rest[0])),
            "global": lambda: make(f"global({plain_text(rest[0])!a}, {plain_text(rest[1])!a})"),
            "extension": lambda: make(f"extension{rest[0]}"),
            "opaque": lambda: make(f"opaque{index}"),
        }
        if kind in simple:
            made = self.made[index] = simple[kind]()
            return made
        if kind == "list":
            made = self.made[index] = []
            made.extend(many(rest[0]))
        elif kind == "set":
            made = self.made[index] = set()
            made.update(many(rest[0]))
        elif kind == "dict":
            made = self.made[index] = {}
            for key, value in rest[0]:
                made[self.value(key)] = self.value(value)
        elif kind == "persistent":
            made = self.made[index] = make(f"persistent{self.numbers[kind, index]}")
            self.case.ids.append((made, self.value(rest[0])))
        else:
            made = self.made[index] = make(f"call{self.numbers[kind, index]}")
            callee, args, kwargs, states, entries, appended = rest
            keywords = None if kwargs is None else self.value(kwargs)
            if isinstance(keywords, dict):
                keywords = keywords or None
            made.call = (self.value(callee), self.value(args), keywords)
            made.states.extend(many(states))
            made.entries.extend((self.value(key), self.value(value)) for key, value in entries)
            made.appended.extend(many(appended))
        return made

    def label(self, index):
        kind, *rest = self.nodes[index]
        if kind in ("call", "persistent"):
            return f"{kind}{self.numbers[kind, index]}"
        return getattr(self.value(index), "label", kind)

    def events(self, stop):
        said = []
        for offset, event in self.trace["events"]:
            if stop is not None and offset >= stop:
                break
            if event[0] == "import":
                said.append(["import", ascii(plain_text(event[1])), ascii(plain_text(event[2]))])
            elif event[0] in ("call", "build", "persistent"):
                said.append([event[0], self.label(event[1])])
        return said


# What depends on what the recorders are, which the machine does not know.
FORGIVEN = ("keywords must be strings", "bytes-like object is required", "state is not a dictionary", "'Recorder' object")


def differs(data, theirs, ours):
    """What the two do not agree on, or None."""
    if theirs.get("skip"):
        return None
    stop = ours["c_stop"]
    accepted = ours["complete"] and stop is None
    error = str(theirs["error"])
    if any(reason in error for reason in FORGIVEN):
        return None
    unsure = any(event[1][0] in ("set", "extend") for event in ours["events"])
    if any(node[0] == "encoded" for node in ours["nodes"]) and any("Computed" in odd for _, odd in ours["anomalies"]):
        return None
    if accepted != theirs["accepted"]:
        if accepted and (unsure or "state is not a dictionary" in error or "not a dictionary" in error):
            return None
        if accepted and "__dict__" in error:
            return None
        return f"accepted: {theirs['accepted']} ({error}), machine: {accepted} {ours['anomalies']}"
    rebuilt = Rebuilt(ours)
    try:
        end = stop if stop is not None else (None if accepted else ours["end"])
        events = rebuilt.events(end)
        if events != theirs["events"]:
            return f"events: {theirs['events']}\nmachine: {events}\n{error} {ours['anomalies']}"
        if not accepted:
            return None
        value = canon(rebuilt.value(ours["root"]), [BUDGET])
        calls = [rebuilt.value(event[1]) for _, event in ours["events"] if event[0] == "call"]
        for _, event in ours["events"]:
            if event[0] == "persistent":
                rebuilt.value(event[1])
        rebuilt.case.ids.sort(key=lambda made: int(made[0].label[len("persistent") :]))
        lines = describe(rebuilt.case, calls)
    except (TooMuch, RecursionError):
        return None
    except TypeError as wrong:
        return f"the machine's values cannot be built: {wrong}"
    if value != theirs["value"]:
        return f"value: {theirs['value']}\nmachine: {value}"
    if lines != theirs["lines"]:
        return f"calls: {theirs['lines']}\nmachine: {lines}"
    return None


def opcodes_differ(data, ours):
    """The machine's opcodes and those of pickletools, where that reads the pickle."""
    listed = ours.get("opcodes")
    if listed is None:
        return None
    try:
        theirs = [[offset, opcode.name] for opcode, _, offset in pickletools.genops(data)]
    except Exception:
        return None
    return None if listed == theirs else f"opcodes: {theirs}\nmachine: {listed}"


# Pickles. ------------------------------------------------------------------------------------------------------------

NAMES = ["os system", "builtins eval", "__builtin__ xrange", "collections OrderedDict", "a.b c.d", "commands getoutput", "torch Tensor"]


class Maker:
    """Puts pickles together, opcode by opcode, mostly so that they load."""

    def __init__(self, rng):
        self.rng = rng

    def text(self):
        rng = self.rng
        pool = ["a", "b", "os", "system", "x.y", "\u00e9", "\u20ac", "\U0001f600", "\ud800", "\udfff", "\\", "'", '"', "\0", " ", "\uffff", "\ue000"]
        return "".join(rng.choice(pool) for _ in range(rng.choice([0, 1, 1, 2, 3, 8])))

    def number_text(self):
        rng = self.rng
        pieces = ["", "-", "+", " ", "0", "0x", "0X", "0o", "0b", "1", "12", "_", "__", "9" * 19, "08", "f", "L", "\0", "\t", "\x0b", "1.5", "e3", "inf", "nan", "."]
        return "".join(rng.choice(pieces) for _ in range(rng.choice([1, 1, 2, 2, 3, 4]))).encode("latin-1")

    def scalar(self):
        rng = self.rng
        text = self.text().encode("utf-8", "surrogatepass")
        raw = bytes(rng.randrange(256) for _ in range(rng.randrange(6)))
        line = self.text().replace("\n", "").encode("utf-8", "surrogatepass")
        choice = rng.randrange(22)
        makers = [
            lambda: b"N", lambda: b"\x88", lambda: b"\x89",
            lambda: b"I" + self.number_text() + b"\n",
            lambda: b"L" + self.number_text() + rng.choice([b"L\n", b"\n"]),
            lambda: b"F" + self.number_text() + b"\n",
            lambda: b"I" + rng.choice([b"00", b"01", b" 1", b"0x1f", b"010", b"-5"]) + b"\n",
            lambda: b"J" + struct.pack("<i", rng.choice([-1, 0, 1, -(2**31), 2**31 - 1])),
            lambda: b"K" + bytes([rng.randrange(256)]), lambda: b"M" + struct.pack("<H", rng.randrange(65536)),
            lambda: b"G" + struct.pack(">d", rng.choice([0.0, -0.0, 1.5, 1e300, float("inf")])),
            lambda: b"\x8a" + bytes([len(raw)]) + raw,
            lambda: b"\x8b" + struct.pack("<i", rng.choice([len(raw)] * 9 + [-1])) + raw,
            lambda: b"S" + rng.choice([b"'%s'", b'"%s"', b"'%s", b"'%s' "]) % rng.choice([line, b"\\x41\\n", b"\\x4", b"\\q\\101\\777", b"\\", raw.replace(b"\n", b"")]) + b"\n",
            lambda: b"V" + rng.choice([line, b"\\u0041\\\\u0042", b"\\U0001F600", b"\\ud800\\udc00", b"\\u12", b"\\x41", b"\\", b"\xff\xe9", b"\\U00110000"]) + b"\n",
            lambda: b"U" + bytes([len(text)]) + text, lambda: b"T" + struct.pack("<i", len(raw)) + raw,
            lambda: b"X" + struct.pack("<I", len(text)) + text, lambda: b"\x8c" + bytes([len(text)]) + text,
            lambda: b"\x8d" + struct.pack("<Q", len(raw)) + raw,
            lambda: rng.choice([b"C" + bytes([len(raw)]), b"B" + struct.pack("<I", len(raw)), b"\x8e" + struct.pack("<Q", len(raw)), b"\x96" + struct.pack("<Q", len(raw))]) + raw,
            lambda: b"\x97",
        ]
        return makers[choice]()

    def name(self):
        rng = self.rng
        module, name = rng.choice(NAMES).split()
        if rng.random() < 0.1:
            module, name = self.text().replace("\n", ""), self.text().replace("\n", "")
        raw = lambda text: text.encode("utf-8", "surrogatepass")  # noqa: E731
        if rng.random() < 0.5:
            return b"c" + raw(module) + b"\n" + raw(name) + b"\n"
        short = lambda text: b"\x8c" + bytes([len(raw(text))]) + raw(text)  # noqa: E731
        return short(module) + rng.choice([b"", b"\x94"]) + short(name) + b"\x93"

    def value(self, depth=0):
        rng = self.rng
        roll = rng.random()
        if depth > 4 or roll < 0.35:
            return self.scalar()
        sub = lambda: self.value(depth + 1)  # noqa: E731
        some = lambda: b"".join(sub() for _ in range(rng.choice([0, 1, 2, 2, 3])))  # noqa: E731
        pairs = lambda: b"".join(self.key(depth) + sub() for _ in range(rng.choice([0, 1, 2, 3])))  # noqa: E731
        keys = lambda: b"".join(self.key(depth) for _ in range(rng.choice([0, 1, 2, 3])))  # noqa: E731
        shapes = [
            lambda: b"(" + some() + b"t", lambda: sub() + b"\x85", lambda: sub() + sub() + b"\x86",
            lambda: sub() + sub() + sub() + b"\x87", lambda: b")", lambda: b"]" + sub() + b"a",
            lambda: b"](" + some() + b"e", lambda: b"(" + some() + b"l", lambda: b"}" + self.key(depth) + sub() + b"s",
            lambda: b"}(" + pairs() + b"u", lambda: b"(" + pairs() + b"d", lambda: b"\x8f(" + keys() + b"\x90",
            lambda: b"(" + keys() + b"\x91", self.name, self.name,
            lambda: self.name() + self.args(depth) + b"R", lambda: self.name() + self.args(depth) + b"\x81",
            lambda: self.name() + self.args(depth) + b"}(" + pairs() + b"u\x92",
            lambda: b"(" + some() + b"i" + b"\n".join(part.encode() for part in rng.choice(NAMES).split()) + b"\n",
            lambda: b"(" + self.name() + some() + b"o", lambda: self.name() + self.args(depth) + b"R" + sub() + b"b",
            lambda: self.name() + self.args(depth) + b"\x81}(" + pairs() + b"ub",
            lambda: self.name() + self.args(depth) + b"R(" + pairs() + b"u", lambda: self.name() + self.args(depth) + b"R(" + some() + rng.choice([b"e", b"\x90"]),
            lambda: sub() + b"Q", lambda: b"P" + rng.choice([b"7", b"a b", b"", b"\xc3\xa9"]) + b"\n",
            lambda: rng.choice([b"\x82" + bytes([rng.randrange(256)]), b"\x83" + struct.pack("<H", rng.randrange(300)), b"\x84" + struct.pack("<i", rng.randrange(-3, 200))]),
            lambda: sub() + b"0" + sub(), lambda: sub() + b"2\x86", lambda: b"(" + some() + b"1" + sub(), lambda: b"(0" + sub(),
            lambda: sub() + self.put(), lambda: sub() + self.put() + self.get() + b"\x86", self.get,
            lambda: self.frame(sub()), lambda: sub() + b"\x98", lambda: b"\x80" + bytes([rng.choice([0, 1, 2, 3, 4, 5, 5, 6])]) + sub(),
            lambda: sub() + sub() + b"b", lambda: sub() + sub() + b"a", lambda: sub() + sub() + sub() + b"s", lambda: sub() + b"(" + some() + rng.choice([b"e", b"u", b"\x90"]),
            lambda: sub() + sub() + b"R", lambda: sub() + sub() + b"\x93",
        ]
        return rng.choice(shapes)()

    def key(self, depth):
        return self.scalar() if self.rng.random() < 0.9 else self.value(depth + 2)

    def args(self, depth):
        if self.rng.random() < 0.05:
            return self.value(depth + 1)
        return b"(" + b"".join(self.value(depth + 1) for _ in range(self.rng.choice([0, 1, 2]))) + b"t"

    def put(self):
        index = self.rng.choice([0, 0, 1, 2, 5, 300])
        return self.rng.choice([b"p%d\n" % index, b"q" + bytes([index % 256]), b"r" + struct.pack("<I", index), b"\x94", b"\x94", b"p" + self.number_text() + b"\n"])

    def get(self):
        index = self.rng.choice([0, 0, 1, 2, 5, 300])
        return self.rng.choice([b"g%d\n" % index, b"h" + bytes([index % 256]), b"j" + struct.pack("<I", index)])

    def frame(self, body):
        size = len(body) + self.rng.choice([0, 0, 0, 1, -1, 5, 100000])
        return b"\x95" + struct.pack("<Q", max(size, 0)) + body

    def pickle(self):
        rng = self.rng
        head = rng.choice([b"", b"\x80\x02", b"\x80\x03", b"\x80\x04", b"\x80\x05"])
        body = self.value()
        while rng.random() < 0.3:
            body += rng.choice([b"0", b"\x86", b""]) + self.value()
        if rng.random() < 0.2:
            body = self.frame(body)
        return head + body + rng.choice([b".", b".", b".", b".rest", b""])


def real_ones():
    import collections, datetime, decimal, fractions, pathlib  # noqa: E401

    loop = []
    loop.append(loop)
    objects = [
        {"a": [1, 2.5, None, True], "b": (1, (2, (3,))), "c": {1, 2}, "d": frozenset("xy"), "e": b"bytes", "f": bytearray(b"ba")},
        collections.OrderedDict(a=1), collections.defaultdict(list, a=[1]), collections.Counter("abc"), datetime.datetime(2020, 1, 2),
        decimal.Decimal("1.5"), fractions.Fraction(1, 3), pathlib.PurePosixPath("/a"), complex(1, 2), range(5), slice(1, 2), loop,
        ValueError("x"), [10**30, -(10**30), 2**31, -(2**31), 255, 256, 65536], "\ud800\u20ac\n\\'", ["x" * 300, b"y" * 300, "z" * 70000],
        list(range(2000)), {str(i): i for i in range(1100)}, print, os.path.join, [collections.OrderedDict] * 3, float("inf"),
    ]
    for value in objects:
        for protocol in range(6):
            yield pickle.dumps(value, protocol)


def vectors():
    """Pickles on which the two once did not agree."""
    path = os.path.join(os.path.dirname(os.path.abspath(__file__)), "pickle_diff_vectors.txt")
    with open(path, encoding="ascii") as lines:
        return [bytes.fromhex(line) for line in lines if not line.startswith("#")]


def mutate(rng, data, others):
    data = bytearray(data)
    for _ in range(rng.choice([0, 1, 1, 1, 2, 3, 6])):
        place = rng.randrange(len(data) + 1)
        roll = rng.randrange(9)
        if roll == 0 and place < len(data):
            data[place] ^= 1 << rng.randrange(8)
        elif roll == 1 and place < len(data):
            data[place] = rng.randrange(256)
        elif roll == 2:
            del data[place : place + rng.randrange(4)]
        elif roll == 3:
            data[place:place] = bytes([rng.choice(OPCODES)])
        elif roll == 4 and place < len(data):
            data[place] = rng.choice(OPCODES)
        elif roll == 5:
            other = rng.choice(others)
            start = rng.randrange(len(other))
            data[place:place] = other[start : start + rng.randrange(40)]
        elif roll == 6:
            del data[max(place, 1) :]
        elif roll == 7:
            data[place:place] = data[place : place + rng.randrange(12)]
        elif place < len(data):
            data[place:] = rng.choice(others)[rng.randrange(3) :]
    return bytes(data)


OPCODES = [ord(opcode.code) for opcode in pickletools.opcodes]


# Both sides, side by side. -------------------------------------------------------------------------------------------


class Side:
    """A process that answers a length and bytes with a line of JSON; begun again when it dies."""

    def __init__(self, command):
        self.command, self.process = command, None

    def start(self):
        if self.process is None:
            self.process = subprocess.Popen(self.command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)

    def ask(self, data):
        """The answer; None if the process dies of it."""
        self.start()
        try:
            self.process.stdin.write(struct.pack("<I", len(data)) + data)
            self.process.stdin.flush()
            line = self.process.stdout.readline()
        except BrokenPipeError:
            line = b""
        if line:
            return json.loads(line)
        code, self.process = self.process.wait(), None
        if code == 97:
            raise SystemExit(f"the child tried to do something: {data.hex()}")
        return None

    def send(self, batch):
        """Begins to ask all of a batch; `answers` gives what comes back."""
        self.start()
        blob = b"".join(struct.pack("<I", len(data)) + data for data in batch)
        self.writer = threading.Thread(target=self.write, args=(self.process, blob))
        self.writer.start()

    @staticmethod
    def write(process, blob):
        try:
            process.stdin.write(blob)
            process.stdin.flush()
        except BrokenPipeError:
            pass

    def answers(self, batch):
        said = []
        for data in batch:
            line = self.process.stdout.readline() if self.process else b""
            if not line:
                break
            said.append(json.loads(line))
        self.writer.join()
        if len(said) < len(batch):
            code, self.process = self.process.wait(), None
            said += [self.ask(data) for data in batch[len(said) :]]
        return said


class Both:
    def __init__(self, trace, python):
        self.c = Side([python, "-W", "ignore", os.path.abspath(__file__), "--child", "x"])
        self.machines = {b"m": Side([trace, "memory"]), b"f": Side([trace, "file"])}

    def compare(self, data):
        [(why, theirs)] = self.compare_all([data])
        return why, theirs

    def compare_all(self, batch):
        """For each of a batch: what they differ in, or None, and what C said."""
        asked = [how + data for data in batch for how in (b"m", b"f") if how == b"m" or b"\x95" in data]
        parts = {how: [data[1:] for data in asked if data[:1] == how] for how in self.machines}
        self.c.send(asked)
        for how, machine in self.machines.items():
            machine.send(parts[how])
        theirs = dict(zip(asked, self.c.answers(asked)))
        ours = {}
        for how, machine in self.machines.items():
            ours |= zip((how + data for data in parts[how]), machine.answers(parts[how]))
        verdicts = {key: self.verdict(key, theirs[key], ours[key]) for key in theirs}
        return [(verdicts[b"m" + data] or verdicts.get(b"f" + data), theirs[b"m" + data] or {"skip": "died"}) for data in batch]

    def verdict(self, key, theirs, ours):
        how, data = key[:1], key[1:]
        if ours is None:
            return "the machine died"
        if theirs is None:
            return None
        why = differs(data, theirs, ours)
        if any(node[0] == "buffer" for node in ours["nodes"]):
            # What a buffer can do, only the one who brings it knows.
            why = None
        why = why or opcodes_differ(data, ours)
        if why is None and theirs.get("accepted") and b"\x95" not in data and (zlib.crc32(data) % 16 == 0 or ours["end"] < len(data)):
            whole, cut = self.c.ask(how + data[: ours["end"]]), self.c.ask(how + data[: ours["end"] - 1])
            if whole and not whole.get("skip") and not whole["accepted"] or cut and cut.get("accepted"):
                why = f"consumed: machine says {ours['end']}"
        return why and f"[{'memory' if how == b'm' else 'file'}] {why}"

    def shrink(self, data):
        best, piece = data, max(len(data) // 2, 1)
        while piece:
            at = 0
            while at < len(best):
                shorter = best[:at] + best[at + piece :]
                if self.compare(shorter)[0]:
                    best = shorter
                else:
                    at += piece
            piece //= 2
        return best


def main():
    parser = argparse.ArgumentParser(description="Compares Taintline's pickle machine with CPython's C unpickler.")
    parser.add_argument("trace", help="the example pickle_trace of crates/formats")
    parser.add_argument("--seconds", type=float, default=15)
    parser.add_argument("--seed", type=int, default=None)
    parser.add_argument("--hex", help="compare this one pickle")
    parser.add_argument("--python", default=sys.executable, help="the Python whose C unpickler is asked")
    parser.add_argument("--keep-going", action="store_true", help="go on after a difference")
    parser.add_argument("--child", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        return child()
    if not os.access(options.trace, os.X_OK):
        print(f"pickle_diff: there is no {options.trace}", file=sys.stderr)
        return 2
    both = Both(options.trace, options.python)
    if options.hex is not None:
        why, _ = both.compare(bytes.fromhex(options.hex))
        print(why or "agreed")
        return 1 if why else 0
    return fuzz(both, options)


def fuzz(both, options):
    seed = options.seed if options.seed is not None else random.SystemRandom().randrange(2**32)
    rng = random.Random(seed)
    print(f"pickle_diff: seed {seed}", flush=True)
    maker, seeds, known = Maker(rng), list(real_ones()), vectors()
    counts = {"pickles": 0, "accepted": 0, "refused": 0, "skipped": 0, "imports": 0, "differ": 0}
    began = time.monotonic()
    while time.monotonic() - began < options.seconds:
        batch, known = known, []
        for _ in range(200 - len(batch)):
            data = maker.pickle() if rng.random() < 0.6 else rng.choice(seeds)
            batch.append(mutate(rng, data, seeds) if rng.random() < 0.5 else data)
        counts["pickles"] += len(batch)
        for data, (why, theirs) in zip(batch, both.compare_all(batch)):
            if why:
                counts["differ"] += 1
                small = both.shrink(data) if len(data) < 4000 else data
                print(f"DIFFER ({len(data)} bytes): {small!r}\n  --hex {small.hex()}\n  {both.compare(small)[0]}", flush=True)
            elif theirs.get("skip"):
                counts["skipped"] += 1
            else:
                counts["accepted" if theirs["accepted"] else "refused"] += 1
                counts["imports"] += sum(event[0] == "import" for event in theirs["events"])
        if counts["differ"] and (not options.keep_going or counts["differ"] >= 20):
            break
    print("pickle_diff: " + ", ".join(f"{count} {name}" for name, count in counts.items()), flush=True)
    return 1 if counts["differ"] else 0


if __name__ == "__main__":
    sys.exit(main())
