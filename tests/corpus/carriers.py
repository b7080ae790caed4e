"""The files that bring a pickle program to a loader: each carrier wraps a tree, the seed chooses the rest."""

import bz2
import gzip
import io
import lzma
import struct
import tarfile
import zlib
from dataclasses import dataclass, field, fields, is_dataclass

import inject
import payloads
import zips
from assembly import Assembler, Dynamic, Ext, Name, any_style

SUFFIXES = (
    ".pkl .pickle .bin .pt .pth .ckpt .joblib .dat .model .p .sav .weights .npy .pk .data .dump .th .mar .h5".split()
)


@dataclass
class Sample:
    """Files by relative path, who would load which of them, and what that loader reaches.

    `checks` are (path, loader of `reach.py`, names); a sample without checks is of a format that `reach.py` cannot
    read, and is right by construction.
    """

    files: dict
    loader: str
    checks: tuple = ()
    note: str = ""
    extra: dict = field(default_factory=dict)


def single(name, data, loader, check, reach):
    return Sample({name: data}, loader, ((name, check, tuple(reach)),))


def needs_four(tree):
    """True when the program has a dotted name somewhere."""
    if isinstance(tree, Name):
        return "." in tree.name
    if isinstance(tree, (Dynamic, Ext)):
        return True
    if isinstance(tree, (tuple, list, set, frozenset)):
        return any(needs_four(item) for item in tree)
    if isinstance(tree, dict):
        return any(needs_four(item) for pair in tree.items() for item in pair)
    if is_dataclass(tree):
        return any(needs_four(getattr(tree, part.name)) for part in fields(tree))
    return False


def program(rng, tree, reach=(), **style):
    """The tree as a pickle of its own, in any spelling.

    A stream that breaks has done its calls and gives back nothing: where the harm is in what is given back (a `find` in
    `reach`), the stream is whole.
    """
    chosen = any_style(rng, dotted=needs_four(tree))
    for key, value in style.items():
        setattr(chosen, key, value)
    data = Assembler(rng, chosen).program(tree)
    whole = any(name.startswith("find") for name in reach)
    if not whole and rng.random() < 0.15:
        # What a stream that was cut, or that never had an end, still does on its way.
        data = data[:-1] + rng.choice([b"", b"\xff", b"0000.", b"garbage"])
    if rng.random() < 0.1:
        data += rng.choice([b"\0" * 16, b"trailing", b".", b"N."])
    return data


def injected(rng, base, tree):
    """The tree inside an honest pickle."""
    data, _ = inject.into(rng, base, tree, any_style(rng, dotted=needs_four(tree), inside=True))
    return inject.declared(data, 4) if needs_four(tree) else data


def file_name(rng, *suffixes):
    stem = rng.choice(["model", "pytorch_model", "checkpoint-10", "weights", "last", "data", payloads.marker(rng)])
    return stem + rng.choice(suffixes or SUFFIXES + [""])


class Carriers:
    """Needs the honest bases."""

    def __init__(self, bases):
        self.bases = bases

    def raw(self, rng, tree, reach):
        """A bare pickle."""
        return single(file_name(rng), program(rng, tree, reach), "pickle.load", "pickle", reach)

    def honest_pickle(self, rng, tree, reach):
        """A pickle of a real package with the tree inside."""
        base = rng.choice(list(self.bases["pickle"].values()))
        data = injected(rng, base, tree)
        return single(file_name(rng), data, "pickle.load", "pickle", reach)

    def torch_zip(self, rng, tree, reach):
        """A torch file whose own pickle has the tree inside, or is the tree."""
        entries = zips.read(rng.choice(list(self.bases["torch"].values())))
        for entry in entries:
            if entry.name.endswith("/data.pkl"):
                entry.data = injected(rng, entry.data, tree) if rng.random() < 0.8 else program(rng, tree, reach)
        data = zips.write(entries, align=64)
        name = file_name(rng, ".pt", ".pth", ".ckpt", ".bin", ".th", ".tar", ".model", "")
        return single(name, data, "torch.load", "torch", reach)

    def torch_legacy(self, rng, tree, reach):
        """The five pickles of torch's old format, the tree in one of them."""
        base = rng.choice(list(self.bases["legacy"].values()))
        stream, parts = base, []
        for _ in range(4):
            end = inject.operations(stream)[-1][2]
            parts.append(stream[:end])
            stream = stream[end:]
        index = rng.choice([2, 3, 3])
        parts[index] = injected(rng, parts[index], tree)
        name = file_name(rng, ".pt", ".pth", ".bin", ".th", "")
        return single(name, b"".join(parts) + stream, "torch.load", "torch", reach)

    def array(self, rng, tree, reach):
        """A numpy array of objects."""
        name = file_name(rng, ".npy", ".npy", ".pt", ".bin")
        return single(name, array_file(program(rng, tree, reach)), "numpy.load", "numpy", reach)

    def arrays(self, rng, tree, reach):
        """An archive of arrays, one of them of objects."""
        entries = [
            zips.Entry("plain.npy", plain_array(), rng.random() < 0.5),
            zips.Entry(file_name(rng, ".npy"), array_file(program(rng, tree, reach)), rng.random() < 0.5),
        ]
        rng.shuffle(entries)
        return single(file_name(rng, ".npz", ".zip", ".bin"), zips.write(entries), "numpy.load", "numpy", reach)

    def squeezed(self, rng, tree, reach):
        """A compressed pickle, as joblib and pandas write it."""
        base = rng.choice(list(self.bases["pickle"].values()))
        data = injected(rng, base, tree) if rng.random() < 0.5 else program(rng, tree, reach)
        squeeze, suffix = rng.choice(list(SQUEEZERS.items()))
        name = file_name(rng, ".joblib", ".pkl", ".sav", f".pkl{suffix}", f".joblib{suffix}")
        return single(name, SQUEEZERS_BY_NAME[squeeze](data), "joblib.load", "squeezed", reach)

    def any(self, rng, tree, reach):
        """One of the above."""
        carrier = rng.choice(
            [self.raw] * 4
            + [self.honest_pickle] * 2
            + [self.torch_zip] * 4
            + [self.torch_legacy, self.array, self.arrays, self.squeezed]
        )
        return carrier(rng, tree, reach)


def array_file(pickled, shape="(1,)"):
    header = "{'descr': '|O', 'fortran_order': False, 'shape': %s, }" % shape
    return npy_header(header) + pickled


def plain_array():
    header = "{'descr': '<f4', 'fortran_order': False, 'shape': (4,), }"
    return npy_header(header) + struct.pack("<4f", 1, 2, 3, 4)


def npy_header(text):
    padded = text + " " * (-(len(text) + 11) % 64) + "\n"
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(padded)) + padded.encode()


def zstd(data):
    import zstandard

    return zstandard.ZstdCompressor().compress(data)


def lz4_frame(data):
    import lz4.frame

    return lz4.frame.compress(data)


SQUEEZERS_BY_NAME = {
    "zlib": zlib.compress,
    "gzip": gzip.compress,
    "bz2": bz2.compress,
    "xz": lzma.compress,
    "lzma": lambda data: lzma.compress(data, lzma.FORMAT_ALONE),
    "lz4": lz4_frame,
    "zstd": zstd,
}
SQUEEZERS = {"zlib": ".z", "gzip": ".gz", "bz2": ".bz2", "xz": ".xz", "lzma": ".lzma", "lz4": ".lz4", "zstd": ".zst"}


def tar(files, mode="w"):
    """A tar archive of these files."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode=mode) as archive:
        for name, data in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    return buffer.getvalue()


def seven(files):
    """A 7z archive of these files."""
    import py7zr

    buffer = io.BytesIO()
    with py7zr.SevenZipFile(buffer, "w") as archive:
        for name, data in files.items():
            archive.writestr(data, name)
    return buffer.getvalue()
