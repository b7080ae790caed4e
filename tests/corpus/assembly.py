"""Pickle programs as trees, written out with any spelling that a real unpickler accepts.

Nothing here is pickled from a live object: a tree says what the machine is to do (`Call(Name("os", "system"), …)`),
and an `Assembler` chooses, from its seed, among all the opcode sequences that do it. Two assemblers with other seeds give
programs with the same effect and hardly a byte in common. That is the point: a scanner that knows one spelling
knows nothing.
"""

import struct
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Name:
    """An imported attribute; a dot in `name` walks attributes and needs protocol 4."""

    module: str
    name: str


@dataclass(frozen=True)
class Call:
    """`function(*arguments)`."""

    function: object
    arguments: tuple


@dataclass(frozen=True)
class New:
    """`cls.__new__(cls, *arguments, **keywords)`."""

    cls: object
    arguments: tuple = ()
    keywords: dict | None = None


@dataclass(frozen=True)
class Build:
    """`target.__setstate__(state)`, or attributes set one by one."""

    target: object
    state: object


@dataclass(frozen=True)
class SetItems:
    """`target[key] = value` for each pair."""

    target: object
    pairs: tuple


@dataclass(frozen=True)
class Appends:
    """`target.extend(items)`, or `append` one by one."""

    target: object
    items: tuple


@dataclass(frozen=True)
class AddItems:
    """`target.update(items)` of a set."""

    target: object
    items: tuple


@dataclass(frozen=True)
class Persistent:
    """What the loader's `persistent_load` makes of this identifier."""

    identifier: object


@dataclass(frozen=True)
class Do:
    """Each of these in turn; the last one's value stays, the others are thrown away."""

    steps: tuple


@dataclass(frozen=True)
class Keep:
    """This value, remembered under a label; `Again(label)` fetches it."""

    label: str
    value: object


@dataclass(frozen=True)
class Again:
    """A value that was kept."""

    label: str


@dataclass(frozen=True)
class Dynamic:
    """STACK_GLOBAL with module and name computed by the program itself."""

    module: object
    name: object


@dataclass(frozen=True)
class Ext:
    """An extension code of the registry."""

    code: int


@dataclass(frozen=True)
class Raw:
    """Opcodes as they stand, which push one value."""

    code: bytes


@dataclass
class Style:
    """What an assembler may do. Rates are probabilities per node."""

    protocol: int = 2
    # Text opcodes of protocol 0 at this rate, else binary ones.
    text: float = 0.0
    # Any spelling of a value that is accepted, instead of the one that `pickle.dumps` would write.
    odd: float = 0.0
    memo: float = 0.3
    junk: float = 0.0
    frames: float = 0.0
    # Declared with a PROTO opcode. Protocols 0 and 1 have none.
    declare: bool = True
    stop: bool = True
    # The names that only `MEMOIZE` can break are left out when the program goes into another one.
    memoize: bool = True
    first_memo: int = 0
    # Forms that a call may take; `None` is all.
    call_forms: tuple | None = None
    name_forms: tuple | None = None


def plain(protocol=2):
    """As `pickle.dumps` would write it."""
    return Style(protocol=protocol, memo=1.0)


def any_style(rng, *, dotted=False, inside=False):
    """A style drawn at random; `inside` for programs that will be put into another one."""
    protocol = rng.choice([4, 5] if dotted else [0, 1, 2, 2, 3, 4, 4, 5])
    wild = rng.random()
    return Style(
        protocol=protocol,
        text=1.0 if protocol == 0 and rng.random() < 0.5 else rng.choice([0.0, 0.0, 0.3]),
        odd=0.0 if wild < 0.25 else rng.choice([0.2, 0.5, 0.9]),
        memo=rng.choice([0.0, 0.3, 1.0]),
        junk=0.0 if wild < 0.4 else rng.choice([0.1, 0.3]),
        frames=0.3 if protocol >= 4 and not inside and rng.random() < 0.5 else 0.0,
        declare=protocol >= 2 or rng.random() < 0.5,
        memoize=not inside,
        first_memo=rng.randrange(40_000, 60_000) if inside else 0,
    )


@dataclass
class Assembler:
    """Writes trees out. One assembler, one program: its memo is the program's."""

    rng: object
    style: Style = field(default_factory=Style)

    def __post_init__(self):
        self.memo = {}
        self.labels = {}
        self.strings = {}
        self.depth = 0

    # --- whole programs -------------------------------------------------------------------------------------------

    def program(self, tree):
        """A whole pickle: header, tree, STOP."""
        body = self.push(tree)
        style = self.style
        if style.stop:
            body += b"."
        if style.frames and style.protocol >= 4:
            body = self.framed(body)
        return (b"\x80" + bytes([style.protocol]) if style.declare else b"") + body

    def framed(self, body):
        """One frame around everything, as CPython writes short programs."""
        return b"\x95" + struct.pack("<Q", len(body)) + body

    # --- one node -------------------------------------------------------------------------------------------------

    def push(self, node):
        """Opcodes that push the value of `node`, and nothing else."""
        self.depth += 1
        code = self.junk() + self.node(node)
        self.depth -= 1
        return code + self.junk()

    def node(self, node):
        writer = self.WRITERS.get(type(node))
        if writer is None:
            raise TypeError(f"no spelling for {type(node)}")
        return writer(self, node)

    def is_odd(self):
        return self.rng.random() < self.style.odd

    def is_text(self):
        return self.rng.random() < self.style.text

    # --- memo and junk --------------------------------------------------------------------------------------------

    def put(self, index=None):
        """PUT in some spelling; returns opcode and index."""
        rng, style = self.rng, self.style
        if index is None and style.memoize and style.protocol >= 4 and rng.random() < 0.6:
            index = len(self.memo)
            self.memo[index] = True
            return b"\x94", index
        if index is None:
            index = style.first_memo + len(self.memo)
            if self.is_odd():
                index += rng.randrange(1, 900)
            while index in self.memo:
                index += 1
        self.memo[index] = True
        if self.is_text():
            return b"p%d\n" % index, index
        if index < 256 and not self.is_odd():
            return b"q" + bytes([index]), index
        return b"r" + struct.pack("<I", index), index

    def get(self, index):
        if self.is_text():
            return b"g%d\n" % index
        if index < 256 and not self.is_odd():
            return b"h" + bytes([index])
        return b"j" + struct.pack("<I", index)

    def memoised(self, code):
        if self.rng.random() < self.style.memo:
            return code + self.put()[0]
        return code

    def junk(self):
        """Opcodes that change nothing."""
        if self.depth > 12 or self.rng.random() >= self.style.junk:
            return b""
        return self.rng.choice(
            [
                b"N0",
                b"(1",
                b"(NN1",
                b"(]1",
                b"}0",
                b")0",
                b"K\x010",
                b"(K\x07K\x08l0",
                b"I01\n0",
                b"ccollections\nOrderedDict\n0",
                b"(dp%d\n0" % self.fresh(),
                b"X\x05\x00\x00\x00layer0",
            ]
        )

    def fresh(self):
        index = self.style.first_memo + len(self.memo) + 1_000
        while index in self.memo:
            index += 1
        self.memo[index] = True
        return index

    # --- values ---------------------------------------------------------------------------------------------------

    def none(self, _):
        return b"N"

    def boolean(self, value):
        if self.is_text() or self.is_odd():
            return b"I01\n" if value else b"I00\n"
        return b"\x88" if value else b"\x89"

    def integer(self, value):
        if self.is_text():
            return b"I%d\n" % value if abs(value) < 2**31 else b"L%dL\n" % value
        if self.is_odd():
            return self.rng.choice(self.integer_forms(value))
        if 0 <= value < 256:
            return b"K" + bytes([value])
        if 0 <= value < 65536:
            return b"M" + struct.pack("<H", value)
        if -(2**31) <= value < 2**31:
            return b"J" + struct.pack("<i", value)
        return self.long1(value)

    def integer_forms(self, value):
        forms = [b"L%dL\n" % value, b"L%d\n" % value, self.long1(value), self.long4(value)]
        if -(2**31) <= value < 2**31:
            forms += [b"I%d\n" % value, b"J" + struct.pack("<i", value)]
        if 0 <= value < 65536:
            forms.append(b"M" + struct.pack("<H", value))
        return forms

    @staticmethod
    def long_bytes(value):
        return value.to_bytes((value.bit_length() // 8) + 1, "little", signed=True) if value else b""

    def long1(self, value):
        data = self.long_bytes(value)
        return b"\x8a" + bytes([len(data)]) + data if len(data) < 256 else self.long4(value)

    def long4(self, value):
        data = self.long_bytes(value)
        return b"\x8b" + struct.pack("<i", len(data)) + data

    def floating(self, value):
        if self.is_text():
            return b"F" + repr(value).encode() + b"\n"
        return b"G" + struct.pack(">d", value)

    def string(self, value):
        known = self.strings.get(value)
        if known is not None and self.rng.random() < self.style.memo:
            return self.get(known)
        code = self.string_code(value)
        if self.rng.random() < self.style.memo:
            put, index = self.put()
            self.strings[value] = index
            code += put
        return code

    def string_code(self, value):
        if self.is_text():
            return self.unicode_line(value)
        data = value.encode("utf-8", "surrogatepass")
        if self.is_odd():
            forms = [
                b"X" + struct.pack("<I", len(data)) + data,
                b"\x8d" + struct.pack("<Q", len(data)) + data,
                self.unicode_line(value),
            ]
            if value.isascii():
                forms += [b"T" + struct.pack("<i", len(data)) + data, self.string_line(value)]
            if len(data) < 256:
                forms.append(b"\x8c" + bytes([len(data)]) + data)
                if value.isascii():
                    forms.append(b"U" + bytes([len(data)]) + data)
            return self.rng.choice(forms)
        if self.style.protocol >= 4 and len(data) < 256:
            return b"\x8c" + bytes([len(data)]) + data
        return b"X" + struct.pack("<I", len(data)) + data

    def unicode_line(self, value):
        """UNICODE, with any character escaped or not."""
        out = []
        for character in value:
            point = ord(character)
            must = character in "\\\n\r\0\x1a" or point > 255
            if must or self.rng.random() < 0.3 * self.style.odd:
                out.append("\\u%04x" % point if point < 65536 else "\\U%08x" % point)
            else:
                out.append(character)
        return b"V" + "".join(out).encode("latin-1") + b"\n"

    def string_line(self, value):
        """STRING, a Python literal of bytes, with any character escaped or not."""
        quote = self.rng.choice("'\"")
        out = []
        for character in value:
            must = character in "\\'\"" or not character.isprintable()
            if must or self.rng.random() < 0.4:
                out.append(self.rng.choice(["\\x%02x", "\\%03o"]) % ord(character))
            else:
                out.append(character)
        return b"S" + (quote + "".join(out) + quote).encode() + b"\n"

    def blob(self, value):
        size = len(value)
        if self.style.protocol < 3 and not self.is_odd():
            latin = value.decode("latin-1")
            call = Call(Name("_codecs", "encode"), (latin, "latin1"))
            return self.call(call)
        if self.is_odd():
            return b"\x8e" + struct.pack("<Q", size) + value
        if size < 256:
            return b"C" + bytes([size]) + value
        return b"B" + struct.pack("<I", size) + value

    def byte_array(self, value):
        return b"\x96" + struct.pack("<Q", len(value)) + bytes(value)

    # --- containers -----------------------------------------------------------------------------------------------

    def items(self, values):
        return b"".join(self.push(value) for value in values)

    def tuple_(self, values):
        body = self.items(values)
        if self.is_text() or self.is_odd() or len(values) > 3:
            return self.memoised(b"(" + body + b"t")
        if not values:
            return b")"
        return self.memoised(body + (b"\x85", b"\x86", b"\x87")[len(values) - 1])

    def list_(self, values):
        if self.is_text() or self.is_odd():
            split = self.rng.randrange(len(values) + 1)
            head, tail = values[:split], values[split:]
            code = b"(" + self.items(head) + b"l"
            return code + b"".join(self.push(value) + b"a" for value in tail)
        code = self.memoised(b"]")
        return code + (b"(" + self.items(values) + b"e" if values else b"")

    def dict_(self, value):
        pairs = list(value.items())
        if self.is_text() or self.is_odd():
            split = self.rng.randrange(len(pairs) + 1)
            code = b"(" + self.pairs(pairs[:split]) + b"d"
            return code + b"".join(self.pairs([pair]) + b"s" for pair in pairs[split:])
        code = self.memoised(b"}")
        return code + (b"(" + self.pairs(pairs) + b"u" if pairs else b"")

    def pairs(self, pairs):
        return b"".join(self.push(key) + self.push(value) for key, value in pairs)

    def set_(self, value):
        items = sorted(value, key=repr)
        if self.style.protocol >= 4 or self.is_odd():
            return self.memoised(b"\x8f") + b"(" + self.items(items) + b"\x90"
        return self.call(Call(Name("builtins", "set"), (list(items),)))

    def frozen_set(self, value):
        return b"(" + self.items(sorted(value, key=repr)) + b"\x91"

    # --- names and calls ------------------------------------------------------------------------------------------

    def name(self, node):
        forms = self.style.name_forms
        if forms is None:
            usual = "stack" if self.style.protocol >= 4 else "global"
            forms = ("global", "stack") if self.is_odd() else (usual,)
        plain_text = "\n" not in node.module + node.name
        form = self.rng.choice([form for form in forms if plain_text or form == "stack"])
        if form == "stack":
            return self.memoised(self.push(node.module) + self.push(node.name) + b"\x93")
        text = f"c{node.module}\n{node.name}\n"
        return self.memoised(text.encode("utf-8", "surrogatepass"))

    def dynamic(self, node):
        return self.push(node.module) + self.push(node.name) + b"\x93"

    def ext(self, node):
        code = node.code
        forms = [b"\x84" + struct.pack("<i", code)]
        if code < 65536:
            forms.append(b"\x83" + struct.pack("<H", code))
        if code < 256:
            forms.append(b"\x82" + bytes([code]))
        return self.rng.choice(forms) if self.is_odd() else forms[-1]

    def call(self, node):
        forms = self.style.call_forms
        if forms is None:
            forms = ("reduce", "reduce", "object", "inst") if self.is_odd() else ("reduce",)
        form = self.rng.choice(forms)
        function = node.function
        inst = isinstance(function, Name) and (node.arguments or form == "inst")
        if form == "inst" and inst and "\n" not in function.module + function.name:
            text = f"i{function.module}\n{function.name}\n"
            return b"(" + self.items(node.arguments) + text.encode("utf-8", "surrogatepass")
        if form in ("object", "inst") and node.arguments:
            return b"(" + self.push(function) + self.items(node.arguments) + b"o"
        return self.memoised(self.push(function) + self.push(node.arguments) + b"R")

    def new(self, node):
        if node.keywords is None:
            return self.memoised(self.push(node.cls) + self.push(node.arguments) + b"\x81")
        body = self.push(node.cls) + self.push(node.arguments) + self.push(node.keywords)
        return self.memoised(body + b"\x92")

    def build(self, node):
        return self.push(node.target) + self.push(node.state) + b"b"

    def set_items(self, node):
        code = self.push(node.target)
        if len(node.pairs) == 1 and not self.is_odd():
            return code + self.pairs(node.pairs) + b"s"
        return code + b"(" + self.pairs(node.pairs) + b"u"

    def appends(self, node):
        code = self.push(node.target)
        if len(node.items) == 1 and not self.is_odd():
            return code + self.push(node.items[0]) + b"a"
        return code + b"(" + self.items(node.items) + b"e"

    def add_items(self, node):
        return self.push(node.target) + b"(" + self.items(node.items) + b"\x90"

    def persistent(self, node):
        if isinstance(node.identifier, str) and self.is_text():
            return b"P" + node.identifier.encode() + b"\n"
        return self.push(node.identifier) + b"Q"

    def do(self, node):
        *first, last = node.steps
        if self.is_odd() and first:
            return b"(" + self.items(first) + b"1" + self.push(last)
        return b"".join(self.push(step) + b"0" for step in first) + self.push(last)

    def keep(self, node):
        code = self.push(node.value)
        put, index = self.put()
        self.labels[node.label] = index
        return code + put

    def again(self, node):
        return self.get(self.labels[node.label])

    def raw(self, node):
        return node.code

    WRITERS = {
        type(None): none,
        bool: boolean,
        int: integer,
        float: floating,
        str: string,
        bytes: blob,
        bytearray: byte_array,
        tuple: tuple_,
        list: list_,
        dict: dict_,
        set: set_,
        frozenset: frozen_set,
        Name: name,
        Dynamic: dynamic,
        Ext: ext,
        Call: call,
        New: new,
        Build: build,
        SetItems: set_items,
        Appends: appends,
        AddItems: add_items,
        Persistent: persistent,
        Do: do,
        Keep: keep,
        Again: again,
        Raw: raw,
    }
