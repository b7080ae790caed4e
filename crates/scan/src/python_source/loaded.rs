//! Which sources loaders of models run by themselves: told by the name that a loader looks for, or by a class that a
//! configuration can name. What the functions of any other source do is asked for by whoever starts it.

use formats::python::{Kind, Statement, StatementKind};

/// Whether a statement defines what loaders make by a configuration's word: a model, its configuration, its tokenizer, a
/// handler, a pipeline.
pub(super) fn is_model(statement: &Statement) -> bool {
    const PARTS: [&str; 8] = [
        "Module",
        "Model",
        "PreTrained",
        "Config",
        "Tokenizer",
        "Processor",
        "Handler",
        "Pipeline",
    ];
    let StatementKind::Class { evaluated, .. } = &statement.kind else {
        return false;
    };
    evaluated.iter().any(|base| {
        let name = match &base.kind {
            Kind::Attribute(_, name) | Kind::Name(name) => name.as_str(),
            _ => "",
        };
        PARTS.iter().any(|part| name.contains(part))
    })
}

/// Whether a loader imports a file of this name because it lies beside a model: the classes of a repository, handlers of
/// servers, hooks of Python and of tools. Other sources are programs that people start or import by themselves.
pub(super) fn is_loaded(name: &str) -> bool {
    const BEGINNINGS: [&str; 9] = [
        "modeling",
        "configuration",
        "tokenization",
        "processing",
        "image_processing",
        "feature_extraction",
        "pipeline",
        "handler",
        "custom",
    ];
    const NAMES: [&str; 9] = [
        "hubconf.py",
        "model.py",
        "inference.py",
        "generate.py",
        "__init__.py",
        "setup.py",
        "conftest.py",
        "sitecustomize.py",
        "usercustomize.py",
    ];
    let handler = name.ends_with("_handler.py") || !name.contains('.');
    handler || NAMES.contains(&name) || BEGINNINGS.iter().any(|start| name.starts_with(start))
}
