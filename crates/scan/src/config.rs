//! What JSON beside a model makes loaders do: run code of the repository, import modules by name, render templates,
//! open other files.
//!
//! The keys are those that loaders read, wherever they stand in the document: a loader that reads a part of it reads
//! them there. The rest of a configuration is numbers and names of architectures and cannot act.

use domain::scan::{GapKind, Rule, Weight};
use formats::json_text::{self, Document, Node, Oddity};
use formats::{ReadAt, gguf};

use crate::python_source::{self, When};
use crate::{Examiner, skops, targets, template};

/// Values that one document may have walked.
const MAX_WALK: usize = 200_000;
/// Libraries that components of pipelines come from.
const LIBRARIES: [&str; 8] = [
    "diffusers",
    "transformers",
    "onnxruntime",
    "optimum",
    "k_diffusion",
    "flax",
    "sentence_transformers",
    "peft",
];

/// Examines a JSON document.
pub(crate) fn examine(examiner: &mut Examiner<'_>, name: &str, input: &dyn ReadAt) {
    if input.len() > json_text::MAX_BYTES {
        let what = format!(
            "a JSON document of {} bytes; {} are read",
            input.len(),
            json_text::MAX_BYTES
        );
        return examiner.gap(GapKind::Limit, examiner.here(), what);
    }
    let document = match json_text::read(input, wanted) {
        Ok(document) => document,
        Err(error) => {
            return examiner.gap(GapKind::Unreadable, examiner.here(), error.to_string());
        }
    };
    examiner.part(
        kind(&document),
        input.len(),
        crate::examiner::digest(input).ok(),
    );
    oddities(examiner, name, &document);
    if document.cut {
        let what = "more values that matter than are kept";
        examiner.gap(GapKind::Limit, examiner.here(), what);
    }
    if let Some(root) = &document.root {
        top(examiner, root);
        walk(examiner, "", root);
    }
    for (key, node) in &document.loose {
        pair(examiner, key, node);
        walk(examiner, key, node);
    }
}

/// Keys under which something stands that loaders act on.
fn wanted(key: &str) -> bool {
    const KEYS: [&str; 16] = [
        "auto_map",
        "auto_mapping",
        "custom_pipelines",
        "custom_generate",
        "trust_remote_code",
        "chat_template",
        "_target_",
        "__target__",
        "_class_name",
        "weight_map",
        "handler",
        "__class__",
        "__loader__",
        "__module__",
        "requirementsFile",
        "class_name",
    ];
    KEYS.contains(&key) || key.contains("template")
}

/// What the document is, by its keys.
fn kind(document: &Document) -> &'static str {
    let Some(root) = &document.root else {
        return "JSON";
    };
    let has = |key: &str| root.get(key).is_some();
    if has("learner") && has("version") {
        "XGBoost model (JSON)"
    } else if has("nbformat") && has("cells") {
        "Jupyter notebook"
    } else if has("weight_map") {
        "index of weights"
    } else if has("__loader__") {
        "skops schema"
    } else if has("_diffusers_version") || has("_class_name") {
        "pipeline of diffusers"
    } else if has("added_tokens") && has("model") {
        "tokenizer of Hugging Face"
    } else if has("peft_type") {
        "configuration of an adapter"
    } else if has("model_type") || has("architectures") {
        "configuration of a model"
    } else if has("tokenizer_class") || has("chat_template") {
        "configuration of a tokenizer"
    } else {
        "JSON"
    }
}

fn oddities(examiner: &mut Examiner<'_>, name: &str, document: &Document) {
    let lines = name.to_ascii_lowercase().ends_with('l');
    for oddity in &document.oddities {
        let what = oddity.to_string();
        match oddity {
            Oddity::Trailing(_) if lines => {
                // One document a line: data, of which the first line was read.
            }
            Oddity::Syntax(offset) | Oddity::Trailing(offset) => {
                examiner.gap(GapKind::Broken, examiner.at(*offset), what);
            }
            Oddity::Depth(offset) => {
                let place = examiner.at(*offset);
                examiner.found(Rule::Bomb, Weight::Unknown, place.clone(), "", what.clone());
                examiner.gap(GapKind::TooDeep, place, what);
            }
            Oddity::DuplicateKey { key, offset } => {
                // It matters where the readers that differ would act.
                let weight = if wanted(key) {
                    Weight::Unknown
                } else {
                    Weight::Note
                };
                examiner.found(
                    Rule::ReadersDisagree,
                    weight,
                    examiner.at(*offset),
                    key.clone(),
                    what,
                );
            }
            _ => examiner.gap(GapKind::Broken, examiner.here(), what),
        }
    }
}

/// What is said by the whole document.
fn top(examiner: &mut Examiner<'_>, root: &Node) {
    if root.get("_class_name").is_some() {
        pipeline(examiner, root);
    }
    if let Node::List(items) = root {
        for item in items.iter().filter(|item| item.get("idx").is_some()) {
            if let Some(kind) = item.get("type").and_then(Node::text) {
                component(examiner, kind, "sentence-transformers");
            }
        }
    }
    if root.get("archiverVersion").is_some() || root.get("specificationVersion").is_some() {
        manifest(examiner, root);
    }
    if root.get("nbformat").is_some() {
        notebook(examiner, root);
    }
    if root.get("__loader__").is_some() {
        skops::examine(examiner, root);
    }
}

fn walk(examiner: &mut Examiner<'_>, key: &str, root: &Node) {
    let mut open = vec![(key, root)];
    let mut walked = 0;
    while let Some((key, node)) = open.pop() {
        walked += 1;
        if walked > MAX_WALK {
            return;
        }
        match node {
            Node::List(items) => open.extend(items.iter().map(|item| (key, item))),
            Node::Object(pairs) => {
                for (key, value) in pairs {
                    pair(examiner, key, value);
                    open.push((key, value));
                }
            }
            Node::Null | Node::Bool(_) | Node::Number(_) | Node::Text(_) => {}
        }
    }
}

fn pair(examiner: &mut Examiner<'_>, key: &str, value: &Node) {
    match (key, value) {
        ("auto_map", _) => auto_map(examiner, value),
        ("auto_mapping", Node::Object(_)) => auto_mapping(examiner, value),
        ("custom_pipelines", Node::Object(pipelines)) => {
            for (_, pipeline) in pipelines {
                if let Some(class) = pipeline.get("impl").and_then(Node::text) {
                    remote(examiner, "custom_pipelines", class);
                }
            }
        }
        ("custom_generate" | "custom_pipeline", Node::Text(Some(text))) => {
            remote(examiner, key, text);
        }
        ("trust_remote_code", Node::Bool(true)) => {
            let why = "it asks loaders to run code of the repository without asking";
            examiner.found(Rule::RemoteCode, Weight::Unknown, examiner.here(), key, why);
        }
        ("_target_" | "__target__", Node::Text(Some(target))) => {
            targets::called(
                examiner,
                examiner.here(),
                target,
                "the framework that reads this",
            );
        }
        ("weight_map", Node::Object(files)) => {
            for (_, file) in files {
                escape(examiner, key, file);
            }
        }
        (_, Node::Text(Some(_)))
            if (key.ends_with("_file") || key.ends_with("_path"))
                && !key.contains("name_or_path") =>
        {
            escape(examiner, key, value);
        }
        _ => {}
    }
    if key.contains("template") {
        templates(examiner, key, value);
    }
}

/// A path that leaves the folder of the file.
fn escape(examiner: &mut Examiner<'_>, key: &str, value: &Node) {
    let Some(path) = value.text().filter(|path| targets::escapes(path)) else {
        return;
    };
    // Absolute paths are what training scripts leave behind; only steps upwards go anywhere on another machine.
    let weight = match key {
        "weight_map" => Weight::Dangerous,
        _ if path.contains("..") => Weight::Unknown,
        _ => Weight::Note,
    };
    let why = format!("{key:?} names a file outside of its folder");
    examiner.found(Rule::PathEscapes, weight, examiner.here(), path, why);
}

/// `auto_map`: the classes of `transformers` to classes in code of this or another repository.
fn auto_map(examiner: &mut Examiner<'_>, value: &Node) {
    let mut open = vec![value];
    while let Some(node) = open.pop() {
        match node {
            Node::Text(Some(class)) => remote(examiner, "auto_map", class),
            Node::List(items) => open.extend(items),
            Node::Object(pairs) => open.extend(pairs.iter().map(|(_, value)| value)),
            Node::Null | Node::Bool(_) | Node::Number(_) | Node::Text(None) => {}
        }
    }
}

fn remote(examiner: &mut Examiner<'_>, key: &str, class: &str) {
    let (repository, module) = match class.split_once("--") {
        Some((repository, module)) => (Some(repository), module),
        None => (None, class),
    };
    if targets::escapes(module) {
        let why = format!("{key:?} names code outside of the repository");
        examiner.found(
            Rule::PathEscapes,
            Weight::Dangerous,
            examiner.here(),
            class,
            why,
        );
    }
    let whose = match repository {
        Some(repository) => format!("of the repository {repository:?}, which is fetched"),
        None => "that lies beside it".to_owned(),
    };
    let why = format!("{key:?} makes a loader that trusts the model run code {whose}");
    examiner.found(
        Rule::RemoteCode,
        Weight::Unknown,
        examiner.here(),
        class,
        why,
    );
}

/// PEFT imports `parent_library` and takes `base_model_class` out of it.
fn auto_mapping(examiner: &mut Examiner<'_>, value: &Node) {
    let get = |key| value.get(key).and_then(Node::text);
    let Some(library) = get("parent_library") else {
        return;
    };
    let class = get("base_model_class").unwrap_or_default();
    let path = format!("{library}.{class}");
    if library.starts_with("transformers_modules") {
        // What transformers calls the code of a repository once it was fetched.
        let why = "it is an adapter for a model with code of its own";
        return examiner.found(Rule::RemoteCode, Weight::Note, examiner.here(), path, why);
    }
    component(examiner, &path, "PEFT");
}

/// A class that a loader imports by name.
fn component(examiner: &mut Examiner<'_>, path: &str, by: &str) {
    if let Some((rule, weight, why)) = targets::told(path) {
        let (rule, weight) = match weight {
            Weight::Custom => (Rule::RemoteCode, Weight::Unknown),
            weight => (rule, weight),
        };
        let why = format!("{by} imports and calls it: {why}");
        examiner.found(rule, weight, examiner.here(), path, why);
    }
}

/// `model_index.json`: each component is a library and a class.
fn pipeline(examiner: &mut Examiner<'_>, root: &Node) {
    let Node::Object(pairs) = root else { return };
    for (key, value) in pairs {
        let Node::List(items) = value else { continue };
        // With a list here the pipeline itself is code of the folder.
        let [Node::Text(Some(library)), Node::Text(Some(class))] = &items[..] else {
            continue;
        };
        let known = LIBRARIES.iter().any(|known| {
            library
                .strip_prefix(known)
                .is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
        });
        if known {
            continue;
        }
        if targets::escapes(library) {
            let why = format!("the component {key:?} names code outside of the folder");
            examiner.found(
                Rule::PathEscapes,
                Weight::Dangerous,
                examiner.here(),
                library,
                why,
            );
        }
        let path = format!("{library}.{class}");
        match targets::told(&path) {
            Some((rule, Weight::Dangerous, why)) => {
                let why = format!("the component {key:?} is imported and called: {why}");
                examiner.found(rule, Weight::Dangerous, examiner.here(), path, why);
            }
            Some(_) => remote(examiner, key, &path),
            None => {}
        }
    }
}

/// The manifest of a TorchServe archive.
fn manifest(examiner: &mut Examiner<'_>, root: &Node) {
    const SHIPPED: [&str; 4] = [
        "image_classifier",
        "text_classifier",
        "object_detector",
        "image_segmenter",
    ];
    let model = root.get("model").unwrap_or(root);
    let get = |key| model.get(key).and_then(Node::text);
    for key in ["handler", "serializedFile", "modelFile", "requirementsFile"] {
        if let Some(path) = get(key).filter(|path| targets::escapes(path)) {
            let why = format!("{key:?} names a file outside of the archive");
            examiner.found(
                Rule::PathEscapes,
                Weight::Dangerous,
                examiner.here(),
                path,
                why,
            );
        }
    }
    if let Some(handler) = get("handler").filter(|handler| !SHIPPED.contains(handler)) {
        let why = "the server runs this handler of the archive when it loads the model";
        examiner.found(
            Rule::BringsCode,
            Weight::Note,
            examiner.here(),
            handler,
            why,
        );
    }
    if let Some(file) = get("requirementsFile") {
        let why = "the server installs packages that the archive names";
        examiner.found(
            Rule::RemoteCode,
            Weight::Unknown,
            examiner.here(),
            file,
            why,
        );
    }
}

/// Cells of a notebook run when somebody runs them.
fn notebook(examiner: &mut Examiner<'_>, root: &Node) {
    let Some(Node::List(cells)) = root.get("cells") else {
        return;
    };
    let why = "it is a notebook: its cells run when somebody runs them";
    examiner.found(Rule::BringsCode, Weight::Note, examiner.here(), "", why);
    for (index, cell) in cells.iter().enumerate().take(500) {
        if cell.get("cell_type").and_then(Node::text) != Some("code") {
            continue;
        }
        let source = match cell.get("source") {
            Some(Node::Text(Some(text))) => text.clone(),
            Some(Node::List(lines)) => lines.iter().filter_map(Node::text).collect(),
            _ => continue,
        };
        // Lines for the shell and for IPython are no Python.
        let python: Vec<&str> = source
            .lines()
            .map(|line| {
                if line.trim_start().starts_with(['!', '%', '?']) {
                    "pass"
                } else {
                    line
                }
            })
            .collect();
        examiner.inside(&format!("cell {index}"), |examiner| {
            python_source::examine_text(examiner, "cell", &python.join("\n"), When::Called);
        });
    }
}

/// A template, several with names, or a list of named ones.
fn templates(examiner: &mut Examiner<'_>, key: &str, value: &Node) {
    match value {
        Node::Text(Some(text)) if key == "chat_template" || gguf::looks_like_template(text) => {
            examiner.inside(key, |examiner| template::examine_text(examiner, text));
        }
        Node::List(items) => {
            for (index, item) in items.iter().enumerate() {
                let named = item.get("name").and_then(Node::text);
                let name = named.map_or_else(
                    || format!("{key}[{index}]"),
                    |name| format!("{key} {name:?}"),
                );
                let text = item.get("template").and_then(Node::text).or(item.text());
                if let Some(text) = text {
                    examiner.inside(&name, |examiner| template::examine_text(examiner, text));
                }
            }
        }
        Node::Object(pairs) => {
            for (name, item) in pairs {
                if let Some(text) = item.text().filter(|text| gguf::looks_like_template(text)) {
                    let name = format!("{key} {name:?}");
                    examiner.inside(&name, |examiner| template::examine_text(examiner, text));
                }
            }
        }
        _ => {}
    }
}

#[cfg(test)]
mod tests;
