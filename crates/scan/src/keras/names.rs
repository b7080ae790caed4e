//! Which names Keras itself resolves, and which of those act on more than tensors.

use std::collections::HashSet;
use std::sync::LazyLock;

use domain::scan::Rule;

/// Public names of Keras 2 and 3, one a line: `class Dense`, `function relu`.
static NAMES: &str = include_str!("../../rules/keras-names.txt");

static CLASSES: LazyLock<HashSet<&str>> = LazyLock::new(|| of_kind("class "));
static FUNCTIONS: LazyLock<HashSet<&str>> = LazyLock::new(|| of_kind("function "));

fn of_kind(kind: &str) -> HashSet<&'static str> {
    let lines = NAMES.lines();
    lines.filter_map(|line| line.strip_prefix(kind)).collect()
}

/// Where a name leads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// A class or a pure function of Keras.
    Keras,
    /// A function of Keras that acts on files, the network or Keras itself.
    Gadget(Rule),
    /// Something of Keras that no description needs.
    Odd,
    /// A class of a library of Keras's makers.
    Companion,
    /// Anything else.
    Outside,
}

/// Parts of Keras whose functions only compute.
const PURE: &[&str] = &[
    "activations",
    "constraints",
    "initializers",
    "losses",
    "metrics",
    "ops",
    "optimizers",
    "random",
    "regularizers",
    "layers",
    "quantizers",
    "dtype_policies",
];
/// Functions in those parts that call what they are given, or look up and build what they are told.
const HIGHER: &[&str] = &[
    "deserialize",
    "serialize",
    "get",
    "map",
    "vectorized_map",
    "scan",
    "associative_scan",
    "while_loop",
    "fori_loop",
    "cond",
    "switch",
    "custom_gradient",
    "vectorize",
    "apply_along_axis",
];
const COMPANIONS: &[&str] = &[
    "keras_hub",
    "keras_nlp",
    "keras_cv",
    "keras_core",
    "tf_keras",
    "keras_tuner",
    "keras_rs",
    "tensorflow_addons",
    "keras_preprocessing",
    "tensorflow_probability",
    "tensorflow_models",
    "official",
];
/// Modules of Keras by what their functions do.
const GADGETS: &[(Rule, &[&str])] = &[
    (
        Rule::OpensNetwork,
        &[
            "get_file",
            "load_data",
            "urlretrieve",
            "from_preset",
            "download",
        ],
    ),
    (
        Rule::LoadsMore,
        &[
            "load_model",
            "load_weights",
            "model_from_json",
            "model_from_config",
            "model_from_yaml",
            "deserialize_keras_object",
            "func_load",
            "load_model_from_hdf5",
        ],
    ),
    (
        Rule::PatchesModule,
        &[
            "enable_unsafe_deserialization",
            "register_keras_serializable",
            "get_custom_objects",
            "set_backend",
            "set_floatx",
            "set_epsilon",
            "set_dtype_policy",
            "set_global_policy",
            "set_image_data_format",
            "clear_session",
            "set_random_seed",
        ],
    ),
    (
        Rule::TouchesFiles,
        &[
            "save_model",
            "save_weights",
            "save_img",
            "load_img",
            "image_dataset_from_directory",
            "extract_archive",
            "text_dataset_from_directory",
            "audio_dataset_from_directory",
            "plot_model",
            "copy",
            "rmtree",
            "makedirs",
            "remove",
            "rename",
            "File",
            "extract_open_archive",
            "CSVLogger",
            "ModelCheckpoint",
            "TensorBoard",
            "BackupAndRestore",
            "ExportArchive",
        ],
    ),
    (
        Rule::RunsCode,
        &[
            "LambdaCallback",
            "map_structure",
            "map_shape_structure",
            "traverse",
            "LazyModule",
            "import_module",
        ],
    ),
];

/// Parts of Keras whose classes are no parts of a model.
const NO_PART: &[&str] = &[
    "callbacks",
    "export",
    "saving",
    "wrappers",
    "datasets",
    "backend",
    "distribution",
];

/// Where `module.name` leads; an empty module is a description of Keras 2, which looks in Keras alone.
pub(super) fn kind(module: &str, name: &str) -> Kind {
    let last = name.rsplit(['.', '>']).next().unwrap_or(name);
    let mut parts = module.split('.');
    let top = parts.next().unwrap_or_default();
    if module.is_empty() {
        let custom = name.strip_prefix("Custom>").unwrap_or(name);
        let known = is_class(custom) || is_function(custom);
        return if known { Kind::Keras } else { Kind::Outside };
    }
    if top == "builtins" {
        let known =
            is_function(name) && !matches!(name, "abs" | "pow" | "round" | "sum" | "max" | "min");
        return if known { Kind::Keras } else { Kind::Outside };
    }
    let is_keras = top == "keras"
        || module.starts_with("tensorflow.keras")
        || module.starts_with("tensorflow.python.keras");
    if !is_keras {
        let class = starts_upper(last);
        return if COMPANIONS.contains(&top) && class {
            Kind::Companion
        } else {
            Kind::Outside
        };
    }
    if let Some(rule) = gadget(last) {
        return Kind::Gadget(rule);
    }
    if !starts_upper(last) {
        let mut parts = module.split('.');
        let pure = parts.any(|part| PURE.contains(&part)) || module == "keras";
        return if pure && !HIGHER.contains(&last) {
            Kind::Keras
        } else {
            Kind::Odd
        };
    }
    let mut parts = module.split('.');
    if parts.any(|part| NO_PART.contains(&part)) && !is_class(last) {
        return Kind::Odd;
    }
    Kind::Keras
}

fn gadget(name: &str) -> Option<Rule> {
    let mut rows = GADGETS.iter();
    let row = rows.find(|(_, names)| names.contains(&name));
    row.map(|(rule, _)| *rule)
}

fn starts_upper(name: &str) -> bool {
    name.starts_with(|first: char| first.is_ascii_uppercase() || first == '_')
}

/// Whether Keras has a class of that name.
pub(super) fn is_class(name: &str) -> bool {
    CLASSES.contains(name)
}

/// Whether Keras has an activation, loss, metric or the like of that name.
pub(super) fn is_function(name: &str) -> bool {
    FUNCTIONS.contains(name)
}

/// Packages under which Keras and its companions register their own classes.
pub(super) fn is_known_package(package: &str) -> bool {
    const PACKAGES: &[&str] = &[
        "Custom",
        "Addons",
        "keras",
        "Vision",
        "Text",
        "keras.src",
        "modelling",
        "Modelling",
    ];
    PACKAGES.contains(&package) || COMPANIONS.contains(&package)
}

/// Marks of a description that stand for plain values.
pub(super) fn is_structure(class: &str) -> bool {
    const MARKS: &[&str] = &[
        "__keras_tensor__",
        "__tensor__",
        "__numpy__",
        "__bytes__",
        "__ellipsis__",
        "__slice__",
        "__tuple__",
        "__nparray__",
        "__complex__",
        "__set__",
        "TensorShape",
        "TypeSpec",
        "Dimension",
        "__passive_serialization__",
        "__dtype__",
        "__superclass__",
        "CompositeTensor",
        "SparseTensorSpec",
        "RaggedTensorSpec",
        "TensorSpec",
    ];
    MARKS.contains(&class)
}

/// Functions and types that every Python program has.
const PYTHON_BUILTINS: &str = "__import__ abs aiter all anext any apply ascii bin bool breakpoint bytearray bytes callable chr \
    classmethod compile complex copyright credits delattr dict dir divmod enumerate eval exec execfile \
    exit filter float format frozenset getattr globals hasattr hash help hex id input int isinstance \
    issubclass iter len license list locals map max memoryview min next object oct open ord pow print \
    property quit range raw_input reduce reload repr reversed round set setattr slice sorted staticmethod \
    str sum super tuple type unicode vars zip";

/// Whether every Python program has a function or type of that name.
pub(super) fn is_python_builtin(name: &str) -> bool {
    PYTHON_BUILTINS.split(' ').any(|word| word == name)
        || name.starts_with("__")
        || name.contains('.')
}
