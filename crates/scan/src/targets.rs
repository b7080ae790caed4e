//! Names of callables in configuration: what a loader calls because a file says so.
//!
//! Hydra's `_target_`, tags of PyYAML and HyperPyYAML, entries of skops and of sentence-transformers all do the same: a
//! dotted name is imported and called. So they get one answer. A known framework's classes are what such files are for;
//! functions with an effect on the machine are never; a project's own class is told as such.

use domain::scan::{Need, Place, Role, Rule, Weight};

use crate::Examiner;
use crate::python_source::effects::effect;

/// Packages whose classes configuration legitimately names.
const FRAMEWORKS: [&str; 47] = [
    "torch",
    "torchvision",
    "torchaudio",
    "torchmetrics",
    "torchtext",
    "pytorch_lightning",
    "lightning",
    "lightning_fabric",
    "transformers",
    "tokenizers",
    "diffusers",
    "accelerate",
    "peft",
    "datasets",
    "timm",
    "nemo",
    "omegaconf",
    "sklearn",
    "numpy",
    "scipy",
    "pandas",
    "xgboost",
    "lightgbm",
    "catboost",
    "keras",
    "tensorflow",
    "tf_keras",
    "jax",
    "flax",
    "optax",
    "sentence_transformers",
    "speechbrain",
    "monai",
    "fairseq",
    "fairseq2",
    "espnet2",
    "ldm",
    "sgm",
    "einops",
    "albumentations",
    "kornia",
    "open_clip",
    "detectron2",
    "mmcv",
    "mmdet",
    "ultralytics",
    "quantile_forest",
];
/// Modules of frameworks whose functions compute and do nothing else.
const COMPUTING: [&str; 16] = [
    "torch.nn.",
    "torch.optim.",
    "torchvision.transforms.",
    "torchvision.models.",
    "timm.",
    "torchaudio.functional.",
    "torchaudio.transforms.",
    "numpy.random.",
    "numpy.linalg.",
    "numpy.core.",
    "numpy._core.",
    "numpy.dtype",
    "torch.Size",
    "transformers.activations.",
    "scipy.special.",
    "sklearn.metrics.",
];
/// Functions of frameworks and of Python that configuration needs.
const HARMLESS: [&str; 50] = [
    "torch.manual_seed",
    "torch.device",
    "torch.tensor",
    "torch.zeros",
    "torch.ones",
    "torch.arange",
    "torch.linspace",
    "torch.float",
    "torch.float16",
    "torch.float32",
    "torch.float64",
    "torch.bfloat16",
    "torch.int8",
    "torch.long",
    "torch.set_float32_matmul_precision",
    "builtins.dict",
    "builtins.list",
    "builtins.tuple",
    "builtins.set",
    "builtins.frozenset",
    "builtins.int",
    "builtins.float",
    "builtins.bool",
    "builtins.str",
    "builtins.bytes",
    "builtins.complex",
    "builtins.range",
    "builtins.slice",
    "builtins.object",
    "builtins.len",
    "builtins.sum",
    "builtins.max",
    "builtins.min",
    "builtins.round",
    "builtins.abs",
    "builtins.sorted",
    "builtins.type",
    "collections.OrderedDict",
    "collections.defaultdict",
    "collections.Counter",
    "collections.deque",
    "pathlib.Path",
    "pathlib.PosixPath",
    "pathlib.WindowsPath",
    "pathlib.PurePosixPath",
    "argparse.Namespace",
    "datetime.timedelta",
    "datetime.datetime",
    "datetime.date",
    "enum.Enum",
];
/// Modules of Python itself that no configuration needs anything of.
const STANDARD: [&str; 60] = [
    "os",
    "sys",
    "io",
    "re",
    "ast",
    "dis",
    "pty",
    "tty",
    "cgi",
    "pdb",
    "bdb",
    "abc",
    "gc",
    "ssl",
    "imp",
    "nt",
    "posix",
    "builtins",
    "__builtin__",
    "__builtins__",
    "subprocess",
    "importlib",
    "ctypes",
    "socket",
    "shutil",
    "pickle",
    "marshal",
    "runpy",
    "code",
    "codeop",
    "types",
    "inspect",
    "operator",
    "_operator",
    "functools",
    "itertools",
    "threading",
    "multiprocessing",
    "concurrent",
    "asyncio",
    "signal",
    "tempfile",
    "glob",
    "zipfile",
    "tarfile",
    "sqlite3",
    "logging",
    "pydoc",
    "pkgutil",
    "platform",
    "site",
    "timeit",
    "trace",
    "traceback",
    "unittest",
    "doctest",
    "webbrowser",
    "weakref",
    "xml",
    "zipimport",
];

/// Told of a name in configuration that a loader calls, at `place`. `by` says who calls it.
pub(crate) fn called(examiner: &mut Examiner<'_>, place: Place, name: &str, by: &str) {
    let path = name.trim().replace(':', ".");
    let told = told(&path);
    let (module, last) = path.rsplit_once('.').unwrap_or(("builtins", &path));
    examiner.need(Need {
        module: module.to_owned(),
        name: last.to_owned(),
        role: Role::Call,
        weight: told.as_ref().map(|(_, weight, _)| *weight),
    });
    if let Some((rule, weight, why)) = told {
        examiner.found(rule, weight, place, name, format!("{by} calls it: {why}"));
    }
}

/// What calling `path` does, if that is worth telling.
pub(crate) fn told(path: &str) -> Option<(Rule, Weight, &'static str)> {
    if HARMLESS.contains(&path) || is_harmless_partial(path) {
        return None;
    }
    let path = if path.contains('.') {
        path.to_owned()
    } else {
        format!("builtins.{path}")
    };
    if path.contains("__") {
        let why = "the name walks through Python's internals";
        return Some((Rule::ResolvesAttributes, Weight::Dangerous, why));
    }
    if let Some(rule) = effect(&path) {
        return Some(match rule {
            Rule::LoadsMore => (
                rule,
                Weight::Unknown,
                "it loads further data, which may be code",
            ),
            Rule::TouchesFiles => (rule, Weight::Dangerous, "it changes files"),
            Rule::OpensNetwork => (rule, Weight::Dangerous, "it reaches for the network"),
            Rule::LoadsNative => (rule, Weight::Dangerous, "it loads native code"),
            Rule::RunsCommand => (rule, Weight::Dangerous, "it runs commands"),
            Rule::RunsCode => (rule, Weight::Dangerous, "it runs code"),
            _ => (rule, Weight::Dangerous, "no configuration needs it"),
        });
    }
    let root = path.split('.').next().unwrap_or_default();
    let mut segments = path.rsplit('.');
    let class = |segment: Option<&str>| {
        segment.is_some_and(|segment| {
            segment
                .trim_start_matches('_')
                .starts_with(|c: char| c.is_uppercase())
        })
    };
    let named_class = class(segments.next()) || class(segments.next());
    if STANDARD.contains(&root) {
        let why = "it is a part of Python that no configuration needs";
        return Some((Rule::UnneededCall, Weight::Unknown, why));
    }
    if FRAMEWORKS.contains(&root) {
        let known = named_class || COMPUTING.iter().any(|prefix| path.starts_with(prefix));
        let why = "it is a function of a framework that configuration does not need";
        return (!known).then_some((Rule::UnneededCall, Weight::Unknown, why));
    }
    if named_class {
        let why = "a class that no known framework brings";
        return Some((Rule::CustomClass, Weight::Custom, why));
    }
    Some((Rule::UnknownCall, Weight::Unknown, "nobody vouches for it"))
}

/// `functools.partial` itself calls nothing; what it wraps is told for itself.
fn is_harmless_partial(path: &str) -> bool {
    path == "functools.partial"
}

/// Whether a path names something outside of the folder of the file.
pub(crate) fn escapes(path: &str) -> bool {
    let windows = path.as_bytes().get(1) == Some(&b':')
        && path.as_bytes().get(2).is_some_and(|b| b"\\/".contains(b));
    path.starts_with(['/', '\\', '~'])
        || windows
        || path.split(['/', '\\']).any(|part| part == "..")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn classes_of_frameworks_are_what_configuration_is_for() {
        for path in [
            "torch.optim.AdamW",
            "torch.nn.functional.gelu",
            "nemo.collections.asr.modules.ConformerEncoder",
            "transformers.AutoModel.from_pretrained",
            "builtins.dict",
            "pytorch_lightning.callbacks.ModelCheckpoint",
            "collections.OrderedDict",
        ] {
            assert_eq!(told(path), None, "{path}");
        }
    }

    #[test]
    fn what_acts_on_the_machine_is_dangerous_and_what_is_unknown_is_told() {
        for path in [
            "os.system",
            "subprocess.Popen",
            "builtins.exec",
            "eval",
            "socket.socket",
            "pydoc.locate",
            "a.__class__.b",
            "shutil.rmtree",
        ] {
            assert_eq!(
                told(path).map(|told| told.1),
                Some(Weight::Dangerous),
                "{path}"
            );
        }
        assert_eq!(
            told("mine.models.Net").map(|told| told.1),
            Some(Weight::Custom)
        );
        for path in [
            "mine.run",
            "torch.load",
            "torch.hub.help",
            "os.listdir",
            "numpy.fromfile",
        ] {
            assert_eq!(
                told(path).map(|told| told.1),
                Some(Weight::Unknown),
                "{path}"
            );
        }
    }

    #[test]
    fn paths_that_leave_the_folder_are_known() {
        for path in ["/etc/passwd", "../x", "a/../../b", "..\\x", "C:\\x", "~/x"] {
            assert!(escapes(path), "{path}");
        }
        for path in ["model-00001-of-2.safetensors", "a/b", "..a", "a..b"] {
            assert!(!escapes(path), "{path}");
        }
    }
}
