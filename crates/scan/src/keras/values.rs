//! Layers of Keras that do more than compute because of a value in their description.
//!
//! The class is honest and the argument is the attack: a vocabulary that is read from a path, a module that is unpickled,
//! another model that is loaded, an operation of TensorFlow that is called by its name.

use domain::scan::{Rule, Weight};
use formats::pyjson::Json;

use super::{Judge, lambda, names};
use crate::{calls, paths};

/// Whether a value of a Lambda layer is bytecode: a list that starts with it, or a text that is said to be.
fn is_code(value: &Json, kind: Option<&str>) -> bool {
    match value {
        Json::List(items) => items.first().and_then(Json::text).is_some(),
        _ => kind == Some("lambda"),
    }
}

/// Parts of TensorFlow's public names that do not compute.
const ACTING_PARTS: &[&str] = &[
    "io",
    "raw_ops",
    "saved_model",
    "data",
    "train",
    "sysconfig",
    "summary",
    "distribute",
    "config",
    "gfile",
    "keras",
];

/// Operators of TensorFlow in a layer that is one node.
const ACTS: &[&str] = &[
    "PyFunc",
    "ReadFile",
    "WriteFile",
    "LoadLibrary",
    "PrintV2",
    "MatchingFiles",
];

impl Judge<'_, '_> {
    pub(super) fn layer(&mut self, class: &str, object: &Json) {
        let Some(config) = object.get("config") else {
            return;
        };
        match class {
            "Lambda" => self.lambda_layer(config),
            "TorchModuleWrapper" => self.torch_module(config),
            "TFSMLayer" => self.model_path(config),
            "TFOpLambda" | "SlicingOpLambda" | "ClassMethod" | "InstanceMethod" => {
                self.operation(config);
            }
            "TensorFlowOpLayer" => self.node(config),
            "JaxLayer" | "FlaxLayer" => {
                let why = "The layer calls functions of the project.";
                self.found(Rule::CustomClass, Weight::Custom, class.to_owned(), why);
            }
            _ => {}
        }
        let is_lookup = class.ends_with("Lookup")
            || class == "TextVectorization"
            || class.ends_with("Tokenizer");
        if is_lookup {
            for key in [
                "vocabulary",
                "idf_weights",
                "vocabulary_file",
                "merges",
                "proto",
            ] {
                self.file(class, key, config);
            }
        }
    }

    /// A text where a list of words should be is the path of a file.
    fn file(&mut self, class: &str, key: &str, config: &Json) {
        let Some(path) = config.text_of(key) else {
            return;
        };
        let shown = format!("{class}({key}={path:?})");
        if let Some(reason) = paths::leaves(path) {
            let why =
                format!("Loading the layer reads a file that the description names: {reason}.");
            self.found(Rule::TouchesFiles, Weight::Dangerous, shown, &why);
        } else if path.len() < 256 {
            let why = "Loading the layer reads that file.";
            self.found(Rule::ExternalFile, Weight::Note, shown, why);
        }
    }

    fn lambda_layer(&mut self, config: &Json) {
        for key in ["function", "output_shape", "mask"] {
            let Some(value) = config.get(key) else {
                continue;
            };
            let kind = config.text_of(&format!("{key}_type"));
            match value {
                Json::List(_) | Json::Text(_) if is_code(value, kind) => self.lambda(Some(value)),
                Json::Text(name) if kind == Some("function") || key == "function" => {
                    let module = config
                        .text_of("module")
                        .filter(|module| *module != "__main__");
                    self.lambda_by_name(module, name);
                }
                // An object is judged as one of its own.
                _ => {}
            }
        }
    }

    fn lambda_by_name(&mut self, module: Option<&str>, name: &str) {
        if names::is_function(name) {
            return;
        }
        let effect = module.and_then(|module| calls::effect(module, name));
        match effect {
            Some(effect) => {
                let shown = format!("{}.{name}", module.unwrap_or_default());
                let why = "The layer calls a function from outside of Keras.";
                self.found(effect.rule, effect.weight, shown, why);
            }
            None => self.custom(module.unwrap_or_default(), name, domain::scan::Role::Call),
        }
    }

    /// Keras gives these bytes to `torch.load` with everything allowed.
    fn torch_module(&mut self, config: &Json) {
        let why = "Keras unpickles the module that the description holds.";
        self.found(
            Rule::LoadsMore,
            Weight::Unknown,
            "TorchModuleWrapper".to_owned(),
            why,
        );
        let module = config.get("module");
        let text = module.and_then(Json::text);
        let text =
            text.or_else(|| module.and_then(|module| module.get("config")?.text_of("value")));
        if let Some(bytes) = text.and_then(lambda::decode) {
            self.examiner
                .member("TorchModuleWrapper module", &bytes.as_slice());
        }
    }

    fn model_path(&mut self, config: &Json) {
        let path = config.text_of("filepath").unwrap_or_default();
        let weight = match paths::leaves(path) {
            Some(_) => Weight::Dangerous,
            None => Weight::Unknown,
        };
        let why = "Loading the layer loads another model from that path.";
        self.found(Rule::LoadsMore, weight, format!("TFSMLayer({path:?})"), why);
    }

    /// A function of TensorFlow by its public name.
    fn operation(&mut self, config: &Json) {
        let keys = ["function", "cls_symbol", "method_name"];
        for name in keys.iter().filter_map(|key| config.text_of(key)) {
            let plain = name.strip_prefix("compat.").unwrap_or(name);
            let plain = ["v1.", "v2."]
                .iter()
                .find_map(|version| plain.strip_prefix(version));
            let plain = plain.unwrap_or(name);
            let top = plain.split('.').next().unwrap_or_default();
            let last = plain.rsplit('.').next().unwrap_or(plain);
            let acts = ACTING_PARTS.contains(&top);
            let effect = calls::effect("tensorflow", last);
            let dangerous = effect.filter(|effect| effect.weight == Weight::Dangerous);
            if let Some(effect) = dangerous {
                let why =
                    "The layer calls a function of TensorFlow that acts outside of the graph.";
                self.found(effect.rule, Weight::Dangerous, name.to_owned(), why);
            } else if acts {
                let why = "The layer calls a function of TensorFlow that models do not need.";
                self.found(Rule::UnneededCall, Weight::Unknown, name.to_owned(), why);
            }
        }
    }

    /// One node of a graph, as text.
    fn node(&mut self, config: &Json) {
        let node = config.get("node_def");
        let text = node.and_then(Json::text).unwrap_or_default();
        let operator = node.and_then(|node| node.text_of("op")).unwrap_or(text);
        if ACTS.iter().any(|act| operator.contains(act)) {
            let why = "The layer is an operator that acts outside of the graph.";
            self.found(
                Rule::FileOperator,
                Weight::Dangerous,
                operator.to_owned(),
                why,
            );
        }
    }
}
