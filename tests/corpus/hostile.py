"""Files that are meant to exhaust a reader: bombs, absurd counts, endless nesting. None of them is large on disk.

They are for the limits on time and memory (`bench/scan.py`); whether something is *found* in them is not asked, only
that the scanner neither dies nor lingers.
"""

import bz2
import gzip
import io
import json
import lzma
import random
import struct
import tarfile
import zlib

import formats
import zips
from carriers import array_file, lz4_frame, npy_header, seven, tar, zstd

MIB = 1 << 20


def zeros(size, wrap):
    """`size` bytes of zeros through a compressor object, in pieces."""
    out = [wrap.compress(bytes(MIB)) for _ in range(size // MIB)]
    return b"".join(out) + wrap.flush()


def deflated(size):
    return zeros(size, zlib.compressobj(9, zlib.DEFLATED, 31))


def zip_of(data_by_name):
    return zips.write([zips.Entry(name, data, True) for name, data in data_by_name.items()])


def pickle_bombs():
    yield "tuples_doubled.pkl", b"\x80\x02K\x01" + b"2\x86" * 100_000 + b"."
    yield "lists_doubled.pkl", b"\x80\x02](e" + b"".join(b"q%c](h%ch%ce" % (n, n, n) for n in range(250)) + b"."
    yield "nested_tuples.pkl", b"\x80\x02N" + b"\x85" * 3_000_000 + b"."
    yield "marks.pkl", b"(" * 5_000_000 + b"."
    yield (
        "memo_indices.pkl",
        b"N" + b"".join(b"r" + struct.pack("<I", (n * 2654435761) % 2**32) for n in range(500_000)) + b".",
    )
    yield "memo_huge.pkl", b"Nr\xff\xff\xff\xff."
    yield "globals.pkl", b"".join(b"cm%d\nn%d\n0" % (n, n) for n in range(300_000)) + b"N."
    yield "calls.pkl", b"".join(b"cos\nsystem\n(Vx%d\ntR0" % n for n in range(200_000)) + b"N."
    yield "big_dictionary.pkl", b"}(" + b"".join(b"J%sN" % struct.pack("<i", n) for n in range(1_500_000)) + b"u."
    yield "pickles.pkl", b"N." * 3_000_000
    yield "long_number.pkl", b"\x8b" + struct.pack("<i", 20 * MIB) + bytes(20 * MIB) + b"."
    yield "text_number.pkl", b"L" + b"7" * 5_000_000 + b"L\n."
    yield "long_line.pkl", b"c" + b"a" * 30 * MIB + b"\nb\n."
    yield "length_lie.pkl", b"\x80\x04\x8e" + struct.pack("<Q", 2**62) + b"abc"
    yield "frames.pkl", b"\x80\x04" + (b"\x95" + bytes(8)) * 1_000_000 + b"N."
    yield "build_circle.pkl", b"ccollections\nOrderedDict\n)R" + b"q\x002h\x00b" * 200_000 + b"."


def archive_bombs():
    yield "bomb.zip", zip_of({"a/data.pkl": b"(" * (300 * MIB)})
    yield "bomb.pkl.gz", deflated(1024 * MIB)
    yield "bomb_twice.gz", gzip.compress(deflated(2048 * MIB))
    yield "bomb.pkl.bz2", zeros(512 * MIB, bz2.BZ2Compressor())
    yield "bomb.pkl.xz", zeros(256 * MIB, lzma.LZMACompressor(preset=1))
    yield "bomb.pkl.zst", zstd(bytes(200 * MIB))
    yield "bomb.pkl.lz4", lz4_frame(bytes(100 * MIB))
    yield "bomb.7z", seven({"a.pkl": bytes(64 * MIB)})
    yield "bomb.npz", zip_of({"a.npy": array_file(b"(" * (100 * MIB))})
    inner = zip_of({"x.pkl": b"N."})
    for _ in range(40):
        inner = zip_of({"inner.zip": inner})
    yield "zip_forty_deep.zip", inner
    inner = b"N."
    for _ in range(300):
        inner = gzip.compress(inner, 1)
    yield "gz_deep.gz", inner
    yield "members.zip", zips.write([zips.Entry(f"{n}.pkl", b"N.") for n in range(60_000)])
    yield "members.tar", tar({f"{n}.pkl": b"N." for n in range(20_000)})
    shared = zips.write([zips.Entry("a.pkl", b"(" * MIB, True)])
    yield "overlapping.zip", overlapping(shared, 20_000)
    yield "long_names.zip", zips.write([zips.Entry("n" * 60_000 + str(n), b"") for n in range(300)])
    yield "sparse.tar", sparse_tar()


def overlapping(archive, count):
    """One body that is listed many times."""
    start = archive.index(b"PK\x01\x02")
    record = archive[start : archive.index(b"PK\x05\x06")]
    out = archive[:start] + record * count
    end = struct.pack("<IHHHHIIH", 0x06054B50, 0, 0, count, count, len(record) * count, start, 0)
    return out + end


def sparse_tar():
    """A header that promises 8 EiB."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.GNU_FORMAT) as archive:
        info = tarfile.TarInfo("weights.pkl")
        info.size = 2**62
        archive.fileobj.write(info.tobuf(tarfile.GNU_FORMAT))
    return buffer.getvalue() + bytes(1024)


def format_bombs():
    header = {f"t{n}": {"dtype": "F32", "shape": [0], "data_offsets": [0, 0]} for n in range(300_000)}
    yield "many.safetensors", formats.safetensors_file(header, b"")
    yield "deep.safetensors", formats.safetensors_file(b"[" * 1_000_000, b"")
    yield "length.safetensors", struct.pack("<Q", 2**63 - 1) + b"{}"
    yield "deep.json", b'{"a":' * 2_000_000
    yield "wide.json", json.dumps({"chat_template": "{{ a" + ".b" * 1_000_000 + " }}"}).encode()
    yield "deep.jinja", b"{% if a %}" * 300_000
    yield "brackets.jinja", b"{{ " + b"(" * 1_000_000 + b" }}"
    aliases = b"a0: &a0 [x]\n" + b"".join(
        b"a%d: &a%d [*a%d, *a%d, *a%d]\n" % (n, n, n - 1, n - 1, n - 1) for n in range(1, 60)
    )
    yield "laughs.yaml", aliases
    yield "deep.yaml", b"[" * 500_000
    entities = b"".join(b'<!ENTITY a%d "&a%d;&a%d;">' % (n, n - 1, n - 1) for n in range(1, 60))
    yield "laughs.pmml", b'<?xml version="1.0"?><!DOCTYPE PMML [<!ENTITY a0 "x">' + entities + b"]><PMML>&a59;</PMML>"
    yield "deep.pmml", b'<?xml version="1.0"?><PMML>' + b"<a>" * 500_000
    yield "npy_header.npy", npy_header("(" * 60_000)
    yield "npy_length.npy", b"\x93NUMPY\x02\x00" + struct.pack("<I", 2**32 - 1) + b"{"
    message = b""
    for _ in range(2_000):
        message = formats.message((2, message))[: 4 * MIB]
    yield "deep.onnx", message
    yield "deep.pb", b"\x12\x7f" * 1_000_000
    yield "counts.gguf", b"GGUF" + struct.pack("<IQQ", 3, 2**60, 2**60) + bytes(MIB)
    arrays = struct.pack("<IQ", 9, 1) * 200_000
    yield (
        "arrays.gguf",
        b"GGUF" + struct.pack("<IQQ", 3, 0, 1) + struct.pack("<Q", 1) + b"k" + struct.pack("<I", 9) + arrays,
    )
    yield "deep.py", b"(" * 2_000_000
    yield "long.py", b"x = " + b"-" * 3_000_000 + b"1\n"
    yield "superblock.h5", b"\x89HDF\r\n\x1a\n" + b"\x00" * 5 + b"\x08\x08\x00" + b"\xff" * 4096
    yield "noise.h5", b"\x89HDF\r\n\x1a\n" + random.Random(1).randbytes(2 * MIB)
    yield "noise.pkl", b"\x80\x04" + random.Random(2).randbytes(8 * MIB)


def files():
    """(name, bytes) of each."""
    yield from pickle_bombs()
    yield from archive_bombs()
    yield from format_bombs()
