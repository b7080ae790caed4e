"""Benign samples of formats that are no pickles, and of files that are no models at all."""

import bz2
import gzip
import io
import json
import lzma
import pickle
import struct
import tarfile
import zipfile
import zlib

import numpy
import torch

from benign import maker
from benign_frameworks import CHAT, TOOLS


@maker("safetensors")
def safe_tensors(folder):
    from safetensors.numpy import save_file as save_arrays
    from safetensors.torch import save_file

    save_file(
        {"w": torch.randn(3, 4), "b": torch.zeros(4, dtype=torch.bfloat16)},
        folder / "model.safetensors",
        {"format": "pt"},
    )
    save_file({f"l{n}.weight": torch.zeros(2) for n in range(300)}, folder / "many.safetensors")
    save_file({}, folder / "empty.safetensors")
    save_file({"x": torch.zeros(0, 4)}, folder / "zero.safetensors")
    save_file({"x": torch.ones(2).to(torch.float8_e4m3fn)}, folder / "float8.safetensors")
    save_arrays(
        {"x": numpy.arange(6).reshape(2, 3)}, folder / "arrays.safetensors", {"note": "os.system is a function"}
    )


@maker("gguf")
def gguf_files(folder):
    import gguf

    templates = {
        "plain": None,
        "chat": CHAT,
        "tools": TOOLS,
        "several": [{"name": "default", "template": CHAT}, {"name": "tool_use", "template": TOOLS}],
    }
    for name, template in templates.items():
        writer = gguf.GGUFWriter(folder / f"{name}.gguf", "llama")
        writer.add_name(name)
        writer.add_block_count(1)
        writer.add_context_length(16)
        writer.add_token_list(["<s>", "a", "__class__", "os.system", "{{"])
        writer.add_token_scores([0.0] * 5)
        if template:
            writer.add_chat_template(template)
        writer.add_tensor("token_embd.weight", numpy.ones((4, 8), numpy.float32))
        writer.add_tensor("output.weight", numpy.ones((4, 8), numpy.float16))
        writer.write_header_to_file()
        writer.write_kv_data_to_file()
        writer.write_tensors_to_file()
        writer.close()


@maker("onnx")
def onnx_files(folder):
    import onnx
    from onnx import TensorProto, helper, numpy_helper

    x = helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 4])
    y = helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, 4])
    weight = numpy_helper.from_array(numpy.ones((4, 4), numpy.float32), "w")
    nodes = [helper.make_node("MatMul", ["x", "w"], ["m"]), helper.make_node("Relu", ["m"], ["y"])]
    model = helper.make_model(helper.make_graph(nodes, "g", [x], [y], [weight]), producer_name="test")
    onnx.save(model, folder / "small.onnx")
    custom = helper.make_model(
        helper.make_graph([helper.make_node("LayerNormalization", ["x", "w"], ["y"])], "g", [x], [y], [weight])
    )
    onnx.save(custom, folder / "norm.onnx")


@maker("onnx", per_file=False)
def onnx_external(folder):
    import onnx
    from onnx import TensorProto, helper, numpy_helper

    x = helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 64])
    weight = numpy_helper.from_array(numpy.ones((64, 64), numpy.float32), "w")
    model = helper.make_model(
        helper.make_graph(
            [helper.make_node("MatMul", ["x", "w"], ["y"])],
            "g",
            [x],
            [helper.make_tensor_value_info("y", 1, [1, 64])],
            [weight],
        )
    )
    onnx.save(model, folder / "model.onnx", save_as_external_data=True, location="model.onnx.data", size_threshold=0)


@maker("archives")
def archives(folder):
    honest = pickle.dumps({"a": [1, 2], "b": numpy.ones(3)})
    buffer = io.BytesIO()
    torch.save(torch.nn.Linear(2, 2).state_dict(), buffer)
    with zipfile.ZipFile(folder / "run.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("run/metrics.pkl", honest)
        archive.writestr("run/model.pt", buffer.getvalue())
        archive.writestr("run/README.md", "# A run\n")
    for mode, suffix in [("w", "tar"), ("w:gz", "tar.gz"), ("w:bz2", "tar.bz2"), ("w:xz", "tar.xz")]:
        with tarfile.open(folder / f"run.{suffix}", mode) as archive:
            for name, data in [("metrics.pkl", honest), ("model.pt", buffer.getvalue())]:
                info = tarfile.TarInfo(f"run/{name}")
                info.size = len(data)
                archive.addfile(info, io.BytesIO(data))
    (folder / "metrics.pkl.gz").write_bytes(gzip.compress(honest))
    (folder / "metrics.pkl.bz2").write_bytes(bz2.compress(honest))
    (folder / "metrics.pkl.xz").write_bytes(lzma.compress(honest))
    (folder / "metrics.pkl.z").write_bytes(zlib.compress(honest))
    import lz4.frame
    import py7zr
    import zstandard

    (folder / "metrics.pkl.zst").write_bytes(zstandard.ZstdCompressor().compress(honest))
    (folder / "metrics.pkl.lz4").write_bytes(lz4.frame.compress(honest))
    with py7zr.SevenZipFile(folder / "run.7z", "w") as archive:
        archive.writestr(honest, "metrics.pkl")
    (folder / "weights.nemo").write_bytes((folder / "run.tar").read_bytes())


@maker("plain", expect="plain")
def no_models(folder):
    (folder / "README.md").write_text(
        "# A model\n\nLoad it with `torch.load(path)`; never `pickle.loads(os.system)`.\n"
    )
    (folder / "empty.bin").write_bytes(b"")
    (folder / "one.bin").write_bytes(b"\n")
    (folder / "zeros.bin").write_bytes(bytes(5000))
    (folder / "noise.bin").write_bytes(numpy.random.RandomState(1).bytes(20_000))
    (folder / "text.txt").write_text("cos is a function of an angle.\nIt is (not) a call.\n" * 20)
    (folder / "table.csv").write_text("step,loss\n1,0.5\n2,0.25\n")
    (folder / "log.jsonl").write_text("".join(json.dumps({"step": n}) + "\n" for n in range(40)))
    (folder / "config.toml").write_text('[train]\nlr = 0.1\nname = "os.system"\n')
    (folder / "picture.png").write_bytes(picture())
    (folder / "picture.bmp").write_bytes(
        b"BM" + struct.pack("<IHHIIiiHHIIiiII", 58, 0, 0, 54, 40, 1, 1, 1, 24, 0, 4, 0, 0, 0, 0) + bytes(4)
    )
    (folder / "sound.wav").write_bytes(
        b"RIFF"
        + struct.pack("<I", 44)
        + b"WAVEfmt "
        + struct.pack("<IHHIIHH", 16, 1, 1, 8000, 8000, 1, 8)
        + b"data"
        + struct.pack("<I", 8)
        + bytes(8)
    )
    (folder / "letter.txt").write_text("Dear reader,\nN. B. the end.\n")
    (folder / "dot.txt").write_text(".")
    (folder / "number.txt").write_text("I1\n.")
    (folder / "page.html").write_text("<html><script>eval('1')</script></html>")
    (folder / "latest").write_text("global_step10")
    (folder / "events.out.tfevents.1").write_bytes(event(b"\x09" + bytes(8) + b"\x1a\x0dbrain.Event:2"))
    (folder / ".gitattributes").write_text("*.bin filter=lfs diff=lfs merge=lfs -text\n")
    (folder / "pointer.bin").write_text(
        "version https://git-lfs.example/spec/v1\noid sha256:" + "0" * 64 + "\nsize 12\n"
    )
    (folder / "LICENSE").write_text("Permission is hereby granted, free of charge, to any person.\n")


def picture():
    def chunk(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    head = struct.pack(">IIBBBBB", 2, 2, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(bytes(14))) + chunk(b"IEND", b"")


def event(data):
    """A record of TensorBoard's log."""
    return struct.pack("<QI", len(data), 0) + data + struct.pack("<I", 0)
