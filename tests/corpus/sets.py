"""Mechanisms in checkpoints of several files: each part is honest by itself, and what names the parts is not."""

import copyreg
import io
import json
import pickle
import struct
from collections import OrderedDict

from carriers import Sample, program
from mechanism import Mechanism
from repositories import folder
from spellings import payload


def tensors(rng, names):
    """A safetensors file with one small tensor of each name."""
    header = {
        name: {"dtype": "F32", "shape": [2], "data_offsets": [8 * at, 8 * at + 8]} for at, name in enumerate(names)
    }
    text = json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + rng.randbytes(8 * len(names))


def outside(rng):
    """A path that leaves the folder."""
    name = rng.choice(["weights.bin", "model.pt", "__0_0.distcp", "ckpt/model.safetensors"])
    return rng.choice(["../", "../../shared/", "/tmp/", "sub/../../", "/dev/shm/x/"]) + name


def shards(rng, count=2):
    """The files of an honest set and its index."""
    files, places = {}, {}
    for number in range(count):
        name = f"model-{number + 1:05}-of-{count:05}.safetensors"
        names = [f"layers.{number}.{part}" for part in ("weight", "bias")]
        files[name] = tensors(rng, names)
        places |= dict.fromkeys(names, name)
    return files, places


def indexed(files, places):
    index = {"metadata": {"total_size": 8 * len(places)}, "weight_map": places}
    return Sample(folder(files | {"model.safetensors.index.json": index}), "from_pretrained")


def index_leads_out(rng, _):
    """The index names a file outside of the folder."""
    files, places = shards(rng)
    places[rng.choice(sorted(places))] = outside(rng)
    return indexed(files, places)


def tensor_in_two(rng, _):
    """A later file has a tensor that the index takes from an earlier one; the loader keeps the later."""
    files, places = shards(rng, rng.randint(2, 4))
    last = sorted(files)[-1]
    own = [name for name, place in places.items() if place == last]
    files[last] = tensors(rng, [*own, "layers.0.weight"])
    return indexed(files, places)


def unnamed_file(rng, _):
    """A file that the index does not name has some of the tensors; loaders that take every file take them from it."""
    files, places = shards(rng)
    name = rng.choice(["model-00003-of-00003.safetensors", "zz.safetensors", "model_patch.safetensors"])
    files[name] = tensors(rng, ["layers.1.weight", "layers.9.weight"])
    return indexed(files, places)


def distributed(carriers, change):
    """A distributed checkpoint whose `.metadata` was changed by `change(rng, files, storage)`."""

    def make(rng, variant):
        from torch.distributed.checkpoint.filesystem import _StorageInfo

        files = dict(carriers.bases["dcp"]["it"])
        # Our own bytes, made by torch a moment ago.
        metadata = pickle.loads(files[".metadata"])
        change(rng, files, metadata.storage_data, _StorageInfo)
        files[".metadata"] = pickle.dumps(metadata, protocol=rng.choice([2, 4]))
        return Sample(files, "torch.distributed.checkpoint.load")

    return make


def hidden_range(rng, files, storage, info):
    """An item lies where its file shows nothing but numbers."""
    tree, _ = payload(rng)
    evil = program(rng, tree)
    front = bytes(rng.randrange(64, 4096))
    files["__1_0.distcp"] = front + evil + bytes(rng.randrange(64, 512))
    key = rng.choice(list(storage))
    storage[key] = info("__1_0.distcp", len(front), len(evil))


class OddPickler(pickle._Pickler):
    """Writes one object's state otherwise than torch does; what the loader has in the end is the same."""

    def __init__(self, file, protocol, odd, form):
        super().__init__(file, protocol)
        self.odd, self.form = odd, form

    def reducer_override(self, value):
        if value is not self.odd:
            return NotImplemented
        self.state = dict(value.__getstate__())
        state = self.state
        if self.form == "ordered":
            state = OrderedDict(state)
        elif self.form == "slots":
            state = (None, state)
        elif self.form in ("again", "later"):
            state = state | {"offset": 0} if self.form == "again" else state
        self.kept = state
        return copyreg.__newobj__, (type(value),), state

    def save_reduce(self, *arguments, obj=None, **named):
        super().save_reduce(*arguments, obj=obj, **named)
        if obj is not self.odd or obj is None:
            return
        if self.form == "again":
            self.save({"offset": self.state["offset"]})
            self.write(pickle.BUILD)
        elif self.form == "later":
            # The object has taken what stood in the dict; then the dict is changed.
            self.write(self.get(self.memo[id(self.kept)][0]))
            self.save("offset")
            self.save(0)
            self.write(pickle.SETITEM + pickle.POP)


def odd_range(carriers, form):
    """As `hidden_range`, and where the item lies is told in a form that torch does not write."""

    def make(rng, variant):
        from torch.distributed.checkpoint.filesystem import _StorageInfo

        files = dict(carriers.bases["dcp"]["it"])
        # Our own bytes, made by torch a moment ago.
        metadata = pickle.loads(files[".metadata"])
        storage = metadata.storage_data
        known = set(map(id, storage.values()))
        hidden_range(rng, files, storage, _StorageInfo)
        (odd,) = (item for item in storage.values() if id(item) not in known)
        if form == "scalar":
            import numpy

            odd.offset = rng.choice([numpy.int64, numpy.uint32])(odd.offset)
        elif form == "truth":
            shift = odd.offset - 1
            files[odd.relative_path] = files[odd.relative_path][shift:]
            odd.offset = True
        buffer = io.BytesIO()
        OddPickler(buffer, rng.choice([2, 4]), odd, form).dump(metadata)
        files[".metadata"] = buffer.getvalue()
        return Sample(files, "torch.distributed.checkpoint.load")

    return make


def path_out(rng, files, storage, info):
    """An item lies in a file outside of the folder."""
    key = rng.choice(list(storage))
    storage[key] = info(outside(rng), 0, 900)


def shared_range(rng, files, storage, info):
    """Two items share bytes."""
    keys = rng.sample(list(storage), 2)
    known = storage[keys[0]]
    storage[keys[1]] = info(known.relative_path, known.offset + rng.randrange(1, 60), known.length)


def behind_end(rng, files, storage, info):
    """An item goes on behind the end of its file."""
    key = rng.choice(list(storage))
    known = storage[key]
    storage[key] = info(known.relative_path, known.offset, known.length + len(files[known.relative_path]))


def saved(value):
    import torch

    buffer = io.BytesIO()
    torch.save(value, buffer)
    return buffer.getvalue()


def tag_out(rng, _):
    """`latest` of DeepSpeed leads out of the folder."""
    state = {"module": {}, "global_steps": 10, "dp_world_size": 1, "mp_world_size": 1}
    files = {
        "global_step10/mp_rank_00_model_states.pt": saved(state),
        "latest": rng.choice(["../other", "/tmp/global_step10", "global_step10/../../x"]) + rng.choice(["", "\n"]),
    }
    if rng.random() < 0.5:
        files["zero_to_fp32.py"] = "# as DeepSpeed writes it\n"
    return Sample(folder(files), "deepspeed load_checkpoint")


def mixed_deepspeed(rng, _):
    """Ranks of one folder are of different steps."""
    files = {"latest": "global_step10"}
    for rank in range(2):
        state = {"module": {}, "global_steps": 10 + rank * rng.randint(1, 9), "dp_world_size": 1, "mp_world_size": 2}
        files[f"global_step10/mp_rank_{rank:02}_model_states.pt"] = saved(state)
    return Sample(folder(files), "deepspeed load_checkpoint")


def mixed_megatron(rng, _):
    """A rank of one iteration is of another."""
    files = {"latest_checkpointed_iteration.txt": "10"}
    odd = rng.randrange(3)
    for rank in range(3):
        state = {"iteration": 10 if rank != odd else rng.randint(11, 99), "model": {}, "checkpoint_version": 3.0}
        files[f"iter_0000010/mp_rank_{rank:02}/model_optim_rng.pt"] = saved(state)
    return Sample(folder(files), "megatron load_checkpoint")


def mechanisms(carriers):
    group = "m28_sets"
    yield Mechanism(group, "index_leads_out", index_leads_out, 5)
    yield Mechanism(group, "tensor_in_two_shards", tensor_in_two, 4)
    yield Mechanism(group, "shard_nobody_names", unnamed_file, 4)
    yield Mechanism(group, "dcp_hidden_range", distributed(carriers, hidden_range), 8)
    for form, variants in [("again", 4), ("later", 4), ("ordered", 4), ("slots", 4), ("scalar", 3), ("truth", 3)]:
        yield Mechanism(group, f"dcp_hidden_range_{form}", odd_range(carriers, form), variants)
    yield Mechanism(group, "dcp_path_out", distributed(carriers, path_out), 5)
    yield Mechanism(group, "dcp_shared_range", distributed(carriers, shared_range), 4)
    yield Mechanism(group, "dcp_behind_end", distributed(carriers, behind_end), 3)
    yield Mechanism(group, "deepspeed_tag_out", tag_out, 5)
    yield Mechanism(group, "deepspeed_mixed_steps", mixed_deepspeed, 3)
    yield Mechanism(group, "megatron_mixed_steps", mixed_megatron, 3)
