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


def pieces(prefix, piece, count):
    return prefix + b"".join(piece(n) for n in range(count))


def many_of_one():
    """Honest in form, absurd in number."""
    pair = lambda n: struct.pack("<Q", 7) + b"%07d" % n + struct.pack("<IB", 0, 1)  # noqa: E731
    yield "keys.gguf", pieces(b"GGUF" + struct.pack("<IQQ", 3, 0, 1_000_000), pair, 1_000_000)
    names = b",".join(b'"k%d":"v"' % n for n in range(6_000_000))
    yield "metadata.safetensors", formats.safetensors_file(b'{"__metadata__":{' + names + b"}}", b"")
    lists = b'{"a":' + b"[" * 50_000_000 + b"]" * 49_999_000
    yield "nested.safetensors", formats.safetensors_file(lists, b"")
    yield "arrays.npz", zips.write([zips.Entry(f"{n}.npy", array_file(b"x")) for n in range(65_000)])
    marks = [zips.Entry(f"{n}.pkl", b"(" * (MIB - n), True) for n in range(600)]
    yield "programs.zip", zips.write(marks)
    header = tarfile.TarInfo("a.pkl").tobuf(tarfile.USTAR_FORMAT)
    yield "headers.tar", header * 200_000 + bytes(1024)
    yield "headers.tar.gz", gzip.compress(header * 1_000_000, 6)
    external = lambda n: formats.message(  # noqa: E731
        (1, 1), (2, 1), (8, b"w%d" % n), (13, formats.message((1, b"location"), (2, b"self%d.onnx" % (n % 7)))), (14, 1)
    )
    tensors = b"".join(formats.message((5, external(n))) for n in range(200_000))
    yield "external.onnx", formats.message((1, 8), (7, tensors), (8, formats.message((2, 17))))
    node = lambda n: formats.message((1, formats.message((1, b"n%d" % n), (2, b"Op%d" % n))))  # noqa: E731
    graph = b"".join(node(n) for n in range(300_000))
    yield "nodes.pb", formats.message((1, 1), (2, formats.message((2, graph))))
    yield "documents.yaml", b"--- &a {b: *a}\n" * 300_000
    yield "merges.yaml", b"a: &a {x: 1}\n" + b"".join(b"b%d: {<<: *a}\n" % n for n in range(200_000))
    yield "keys.json", b'{"auto_map":{' + b",".join(b'"%d":"x.y"' % n for n in range(1_000_000)) + b"}}"
    yield "storages.pt", legacy_keys(1_000_000)
    yield "empty_streams.gz", gzip.compress(b"", 1) * 500_000


def legacy_keys(count):
    """Torch's old format with a list of storages that are not there."""
    head = b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19.\x80\x02M\xe9\x03.\x80\x02}.\x80\x02}."
    keys = b"".join(b"X" + struct.pack("<I", 7) + b"%07d" % n for n in range(count))
    return head + b"\x80\x02](" + keys + b"e."


def loops():
    """What leads back to itself, and what asks for more memory than there is."""
    yield "tree_loop.h5", hdf5_loop()
    yield "window.zst", b"\x28\xb5\x2f\xfd\x00\xf8" + b"\x03\x00\x10" * 1000
    yield "window.lzma", b"\x5d\xff\xff\xff\xff" + b"\xff" * 8 + bytes(64)
    yield "zlib.joblib", zeros(512 * MIB, zlib.compressobj(9))
    code = b"\x16\x0d\x0d\x0a" + bytes(12)
    yield "refs.pyc", code + b"\xa9\x02" * 200_000 + b"r\x00\x00\x00\x00" * 200_000
    yield "tuples.pyc", code + b")\x01" * 2_000_000 + b"N"
    yield "vectors.tflite", b"\x08\x00\x00\x00TFL3" + struct.pack("<I", 0x7FFFFFFF) * 500_000
    yield "powers.jinja", b"{% set a = 'x' * 999999999 %}{% for i in range(999999999) %}{{ a * 9 ** 9 ** 9 }}{% endfor %}"
    sets = b"".join(b"{%% set a%d = a%d ~ a%d %%}" % (n, n - 1, n - 1) for n in range(1, 300))
    yield "doubles.jinja", b"{% set a0 = 'xx' %}" + sets + b"{{ a299 }}"


def hdf5_loop():
    """A group whose tree has itself for its thirty-two children."""
    nowhere, tree, heap = 2**64 - 1, 256, 2048
    entry = struct.pack("<QQII", 0, 96, 1, 0) + struct.pack("<QQ", tree, heap)
    block = b"\x89HDF\r\n\x1a\n" + bytes(5) + b"\x08\x08\0" + struct.pack("<HHI", 4, 16, 0)
    block += struct.pack("<QQQQ", 0, nowhere, 4096, nowhere) + entry
    root = struct.pack("<BBHII", 1, 0, 1, 1, 24) + bytes(4) + struct.pack("<HHB", 0x11, 16, 0) + bytes(3)
    root += struct.pack("<QQ", tree, heap)
    node = b"TREE" + struct.pack("<BBHQQ", 0, 1, 32, nowhere, nowhere) + struct.pack("<QQ", 0, tree) * 32 + bytes(8)
    names = b"HEAP" + bytes(4) + struct.pack("<QQQ", 88, nowhere, heap + 32) + bytes(88)
    out = bytearray(4096)
    for place, part in ((0, block), (96, root), (tree, node), (heap, names)):
        out[place : place + len(part)] = part
    return bytes(out)


def sparse():
    """(name, size, bytes at the start, bytes at the end) of files that are nearly all hole."""
    size = 100 << 30
    yield "zeros.bin", size, b"", b""
    yield "hole.pt", size, b"PK\x03\x04" + bytes(26), struct.pack("<IHHHHIIH", 0x06054B50, 0, 0, 9, 9, 900, 2**32 - 2, 0)
    yield "hole.pkl", size, b"\x80\x04\x8e" + struct.pack("<Q", size - 20), b"."
    yield "hole.gguf", size, b"GGUF" + struct.pack("<IQQ", 3, 1, 2**40), b""
    yield "hole.tar", size, tarfile.TarInfo("a").tobuf(tarfile.USTAR_FORMAT), b""
    yield "hole.h5", size, hdf5_loop(), b""
    yield "hole.onnx", size, b"\x08\x08\x3a\xff\xff\xff\xff\xff\x01", b""


def files():
    """(name, bytes) of each."""
    yield from pickle_bombs()
    yield from archive_bombs()
    yield from format_bombs()
    yield from many_of_one()
    yield from loops()
