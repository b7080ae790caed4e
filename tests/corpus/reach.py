"""Shows, harmlessly, that a real loader would reach the gadget of a sample.

    python reach.py WORK.json RESULT.json

CPython's own C unpickler and torch's own ZIP reader do the reading; `find_class` is replaced, so that every name becomes
a stand-in that writes down what is done with it and does nothing. An audit hook ends the process at the first import,
start of a program, connection or write. A sample whose gadget is not reached would be no miss of any scanner: it is
dropped from the corpus.
"""

import _codecs
import _compat_pickle
import base64
import codecs
import collections
import copyreg
import io
import json
import os
import pickle
import sys
import traceback

PURE = {
    ("_codecs", "encode"): _codecs.encode,
    ("_codecs", "decode"): _codecs.decode,
    ("codecs", "encode"): codecs.encode,
    ("codecs", "decode"): codecs.decode,
    ("base64", "b64decode"): base64.b64decode,
    ("builtins", "str"): str,
    ("builtins", "bytes"): bytes,
    ("builtins", "bytearray"): bytearray,
    ("builtins", "set"): set,
    ("builtins", "frozenset"): frozenset,
    ("builtins", "complex"): complex,
    ("collections", "OrderedDict"): collections.OrderedDict,
}
FORBIDDEN = (
    "os.system",
    "subprocess.Popen",
    "os.exec",
    "os.posix_spawn",
    "os.spawn",
    "os.fork",
    "socket.connect",
    "ctypes.dlopen",
    "pty.spawn",
)


class Trace:
    """What was done with which name."""

    def __init__(self):
        self.events = set()

    def note(self, action, name):
        self.events.add((action, name))

    def reached(self, wanted):
        action, _, name = wanted.partition(" ")
        actions = {"find"} | {"call"} if action == "find" else {"call"}
        return any((done, name) in self.events for done in actions)


class Thing:
    """What a call gave: takes everything, does nothing."""

    def __init__(self, *_, **__):
        pass

    def __call__(self, *_, **__):
        return Thing()

    def __setstate__(self, state):
        pass

    def __setitem__(self, key, value):
        pass

    def append(self, item):
        pass

    def extend(self, items):
        pass

    def add(self, item):
        pass

    def update(self, items):
        pass


def stand_in(trace, module, name):
    """A class that is called, built, filled and instantiated without effect."""
    label = f"{module}:{name}"

    class Meta(type):
        def __call__(cls, *_, **__):
            trace.note("call", label)
            return Thing()

        def __setstate__(cls, state):
            trace.note("call", label)

        def __setitem__(cls, key, value):
            trace.note("call", label)

        def append(cls, item):
            trace.note("call", label)

        def extend(cls, items):
            trace.note("call", label)

        def add(cls, item):
            trace.note("call", label)

        def update(cls, items):
            trace.note("call", label)

    def new(cls, *_, **__):
        trace.note("call", label)
        return Thing()

    return Meta("Named", (), {"__new__": new})


class Reader(pickle.Unpickler):
    """The C unpickler with stand-ins for every name."""

    def __init__(self, stream, trace, **options):
        super().__init__(stream, **options)
        self.trace = trace

    def find_class(self, module, name):
        mapped = _compat_pickle.NAME_MAPPING.get((module, name))
        if mapped is None:
            mapped = (_compat_pickle.IMPORT_MAPPING.get(module, module), name)
        for place in {(module, name), mapped}:
            self.trace.note("find", ":".join(place))
            if place in PURE:
                self.trace.note("call", ":".join(place))
                return PURE[place]
        return stand_in(self.trace, module, name)

    def persistent_load(self, identifier):
        return Thing()


def read_pickles(stream, trace, times=1, **options):
    """As many pickles as there are, one behind the other; a broken one ends it, as for a real loader."""
    while times:
        times -= 1
        try:
            Reader(stream, trace, **options).load()
        except EOFError:
            return
        except Exception as error:  # noqa: BLE001  a loader stops here too, after what came before
            trace.note("error", f"{type(error).__name__}: {error}")
            return


def torch_member(path, trace):
    import torch

    if not is_zip(path):
        with open(path, "rb") as stream:
            return read_pickles(stream, trace, times=6, encoding="utf-8")
    reader = torch._C.PyTorchFileReader(str(path))
    for record in ("data.pkl", "constants.pkl"):
        if reader.has_record(record):
            read_pickles(io.BytesIO(reader.get_record(record)), trace, encoding="utf-8")
    return None


def is_zip(path):
    """As torch decides it: by the first four bytes."""
    with open(path, "rb") as stream:
        return stream.read(4) == b"PK\x03\x04"


def array(path, trace):
    """`numpy.load(allow_pickle=True)`: a header, then a pickle; or an archive of such members."""
    import zipfile

    if is_zip(path):
        with zipfile.ZipFile(path) as archive:
            for name in archive.namelist():
                data = archive.read(name)
                if name.endswith(".npy"):
                    array_stream(io.BytesIO(data), trace)
                else:
                    read_pickles(io.BytesIO(data), trace)
        return
    with open(path, "rb") as stream:
        array_stream(stream, trace)


def array_stream(stream, trace):
    import numpy

    if stream.read(6) != b"\x93NUMPY":
        stream.seek(0)
        return read_pickles(stream, trace)
    stream.seek(0)
    version = numpy.lib.format.read_magic(stream)
    readers = {(1, 0): numpy.lib.format.read_array_header_1_0, (2, 0): numpy.lib.format.read_array_header_2_0}
    _, _, kind = readers[version](stream)
    if kind.hasobject:
        read_pickles(stream, trace)


def squeezed(path, trace):
    """`joblib.load` and `pandas.read_pickle`: decompressed by content, then unpickled."""
    with open(path, "rb") as stream:
        read_pickles(io.BytesIO(unsqueezed(stream.read())), trace)


def unsqueezed(data):
    import bz2
    import gzip
    import lzma
    import zlib

    import lz4.frame
    import zstandard

    if data[:2] == b"\x1f\x8b":
        return gzip.decompress(data)
    if data[:3] == b"BZh":
        return bz2.decompress(data)
    if data[:6] == b"\xfd7zXZ\0" or data[:2] == b"]\0":
        return lzma.decompress(data)
    if data[:4] == b"\x28\xb5\x2f\xfd":
        return zstandard.ZstdDecompressor().decompressobj().decompress(data)
    if data[:4] == b"\x04\x22\x4d\x18":
        return lz4.frame.decompress(data)
    if data[:1] == b"\x78":
        return zlib.decompress(data)
    return data


def several(path, trace):
    """A program that calls `pickle.load` until the file ends."""
    with open(path, "rb") as stream:
        read_pickles(stream, trace, times=8, encoding="utf-8")


LOADERS = {"pickle": several, "torch": torch_member, "numpy": array, "squeezed": squeezed}


def refuse(event, arguments):
    if event in FORBIDDEN or event == "pickle.find_class":
        print(f"reach.py: refused {event}", file=sys.stderr)
        os._exit(97)


def main():
    import lz4.frame  # noqa: F401
    import numpy  # noqa: F401
    import torch  # noqa: F401
    import zstandard  # noqa: F401

    work = json.load(open(sys.argv[1]))
    # The codes that a program of its own might have registered.
    for code in (1, 7, 200, 300, 70_000):
        copyreg._inverted_registry[code] = ("ext", "ext")
    sys.addaudithook(refuse)
    results = []
    for path, loader, wanted in work:
        trace = Trace()
        try:
            LOADERS[loader](path, trace)
        except Exception:  # noqa: BLE001  told in the result
            trace.note("error", traceback.format_exc(limit=2))
        missing = [name for name in wanted if not trace.reached(name)]
        errors = [name for action, name in trace.events if action == "error"]
        results.append([path, missing, errors])
    json.dump(results, open(sys.argv[2], "w"))


if __name__ == "__main__":
    main()
