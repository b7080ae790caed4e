//! Descriptions of Keras models.

use base64::Engine;
use domain::scan::{Examination, GapKind, Rule, Weight};

use super::{examined, findings};
use crate::{keras, models};

fn config(json: &str) -> Examination {
    examined(|examiner| keras::examine_config(examiner, json.as_bytes(), 0))
}

fn object(module: &str, class: &str, config: &str) -> String {
    format!(
        r#"{{"module": {module}, "class_name": "{class}", "config": {config}, "registered_name": null}}"#
    )
}

fn sequential(layer: &str) -> String {
    let layers = format!(r#"{{"name": "m", "layers": [{layer}]}}"#);
    object("\"keras\"", "Sequential", &layers)
}

fn of(layer: &str) -> Vec<(Rule, Weight)> {
    findings(&config(&sequential(layer)))
}

fn function(module: &str, name: &str) -> String {
    object(&format!("\"{module}\""), "function", &format!("\"{name}\""))
}

/// Marshalled code of Python 3.11 with these names and one text constant.
fn bytecode(names: &[&str], text: &str) -> String {
    let short = |text: &str| {
        [
            b"z".as_slice(),
            &[u8::try_from(text.len()).unwrap()],
            text.as_bytes(),
        ]
        .concat()
    };
    let tuple = |items: Vec<Vec<u8>>| {
        [
            b")".as_slice(),
            &[u8::try_from(items.len()).unwrap()],
            &items.concat(),
        ]
        .concat()
    };
    let bytes = |size: u8| {
        [
            b"s".as_slice(),
            &[size, 0, 0, 0],
            &vec![0; usize::from(size)],
        ]
        .concat()
    };
    let names = tuple(names.iter().map(|name| short(name)).collect());
    let code = [
        [b"c".as_slice(), &[0; 20]].concat(),
        bytes(10),
        tuple(vec![b"N".to_vec(), short(text)]),
        names,
        tuple(vec![short("x")]),
        bytes(1),
        short("f.py"),
        short("<lambda>"),
        short("<lambda>"),
        vec![1, 0, 0, 0],
        bytes(2),
        bytes(0),
    ];
    base64::engine::general_purpose::STANDARD.encode(code.concat())
}

fn lambda(names: &[&str], text: &str) -> String {
    let code = bytecode(names, text);
    let function = format!(
        r#"{{"class_name": "__lambda__", "config": {{"code": "{code}", "defaults": null}}}}"#
    );
    object(
        "\"keras.layers\"",
        "Lambda",
        &format!(r#"{{"function": {function}}}"#),
    )
}

#[test]
fn honest_layers_of_both_generations_are_silent() {
    let policy = object("\"keras\"", "DTypePolicy", r#"{"name": "float32"}"#);
    let dense = format!(
        r#"{{"units": 4, "dtype": {policy}, "activation": "relu", "kernel_initializer": {}}}"#,
        object(
            "\"keras.initializers\"",
            "GlorotUniform",
            r#"{"seed": null}"#
        )
    );
    let layers = [
        object("\"keras.layers\"", "Dense", &dense),
        object("\"keras.layers\"", "TextVectorization", r#"{"vocabulary": ["a", "/etc"], "max_tokens": NaN}"#),
        object("\"keras.src.ops.numpy\"", "Add", "{}"),
        object("\"keras_hub.src.models.bert\"", "BertBackbone", "{}"),
        r#"{"class_name": "Dense", "config": {"activation": "linear", "kernel_regularizer": {"class_name": "L2", "config": {"l2": 0.1}}}}"#.to_owned(),
        r#"{"class_name": "Custom>Adam", "config": {}}"#.to_owned(),
        r#"{"class_name": "TFOpLambda", "config": {"function": "math.reduce_mean"}}"#.to_owned(),
        r#"{"class_name": "TFOpLambda", "config": {"function": "compat.v1.transpose"}}"#.to_owned(),
        function("builtins", "mean_squared_error"),
        function("keras.activations", "gelu"),
        r#"{"class_name": "__keras_tensor__", "config": {"shape": [1], "keras_history": ["a", 0, 0]}}"#.to_owned(),
    ];
    for layer in layers {
        assert_eq!(of(&layer), [], "{layer}");
    }
}

#[test]
fn a_class_of_the_project_is_custom_and_a_need() {
    let layer =
        r#"{"module": null, "class_name": "Gate", "config": {}, "registered_name": "mine>Gate"}"#;
    let seen = config(&sequential(layer));
    assert_eq!(findings(&seen), [(Rule::CustomClass, Weight::Custom)]);
    assert_eq!(
        (&*seen.needs[0].module, &*seen.needs[0].name),
        ("mine", "Gate")
    );
    for layer in [
        object("\"my_project.layers\"", "Gate", "{}"),
        r#"{"class_name": "Gate", "config": {}}"#.to_owned(),
        function("builtins", "mine>act"),
        function("builtins", "my_metric"),
        object(
            "\"keras.layers\"",
            "Dense",
            r#"{"activation": "my_activation"}"#,
        ),
    ] {
        assert_eq!(of(&layer), [(Rule::CustomClass, Weight::Custom)], "{layer}");
    }
}

#[test]
fn functions_from_outside_are_judged_by_what_they_do() {
    let weight = |layer: &str| of(layer).last().copied();
    assert_eq!(
        weight(&function("os", "system")),
        Some((Rule::RunsCommand, Weight::Dangerous))
    );
    assert_eq!(
        weight(&object("\"subprocess\"", "Popen", "{}")),
        Some((Rule::RunsCommand, Weight::Dangerous))
    );
    assert_eq!(
        weight(&function("builtins", "eval")),
        Some((Rule::RunsCode, Weight::Dangerous))
    );
    assert_eq!(
        weight(&function("builtins", "print")),
        Some((Rule::RunsCode, Weight::Dangerous))
    );
    assert_eq!(
        weight(&function("numpy", "load")),
        Some((Rule::LoadsMore, Weight::Dangerous))
    );
    assert_eq!(
        weight(&function("numpy", "mean")),
        Some((Rule::UnneededCall, Weight::Unknown))
    );
    assert_eq!(
        weight(&function("importlib", "import_module")),
        Some((Rule::ImportsCode, Weight::Dangerous))
    );
    let deep = format!(r#"{{"a": [[{{"b": {}}}]]}}"#, function("os", "system"));
    assert_eq!(
        weight(&object("\"keras.layers\"", "Dense", &deep)),
        Some((Rule::RunsCommand, Weight::Dangerous))
    );
}

#[test]
fn functions_of_keras_that_act_are_no_part_of_a_model() {
    for (module, name, rule) in [
        ("keras.utils", "get_file", Rule::OpensNetwork),
        ("keras.src.utils.file_utils", "get_file", Rule::OpensNetwork),
        (
            "keras.config",
            "enable_unsafe_deserialization",
            Rule::PatchesModule,
        ),
        ("keras.models", "load_model", Rule::LoadsMore),
        ("keras.saving", "load_model", Rule::LoadsMore),
        ("keras.src.utils.python_utils", "func_load", Rule::LoadsMore),
        ("keras.utils", "save_img", Rule::TouchesFiles),
    ] {
        assert_eq!(
            of(&function(module, name)),
            [(rule, Weight::Dangerous)],
            "{module}.{name}"
        );
        assert_eq!(
            of(&object(&format!("\"{module}\""), name, "{}")),
            [(rule, Weight::Dangerous)]
        );
    }
    assert_eq!(
        of(&function("keras.activations", "deserialize")),
        [(Rule::UnneededCall, Weight::Unknown)]
    );
    let called = r#"{"module": "keras.ops", "class_name": "function", "config": "ones", "registered_name": "ones", "inbound_nodes": []}"#;
    assert_eq!(of(called), [(Rule::UnneededCall, Weight::Unknown)]);
}

#[test]
fn bytecode_is_never_silent_and_dangerous_where_it_reaches_for_more() {
    assert_eq!(of(&lambda(&[], "x")), [(Rule::RunsCode, Weight::Unknown)]);
    assert_eq!(
        of(&lambda(&["tf", "reduce_mean"], "x")),
        [(Rule::RunsCode, Weight::Unknown)]
    );
    assert_eq!(
        of(&lambda(&["__import__", "system"], "os")),
        [(Rule::RunsCode, Weight::Dangerous)]
    );
    assert_eq!(
        of(&lambda(&["tf", "io", "write_file"], "x")),
        [(Rule::TouchesFiles, Weight::Dangerous)]
    );
    let text = "__import__('os').system('echo MARKER')";
    assert_eq!(
        of(&lambda(&["f"], text)),
        [(Rule::RunsCode, Weight::Dangerous)]
    );
    let old = format!(
        r#"{{"class_name": "Lambda", "config": {{"function": ["{}", null, null], "function_type": "lambda"}}}}"#,
        bytecode(&["exec"], "x")
    );
    assert_eq!(of(&old), [(Rule::RunsCode, Weight::Dangerous)]);
    let broken = r#"{"class_name": "__lambda__", "config": {"code": "no bytecode"}}"#;
    assert_eq!(of(broken), [(Rule::RunsCode, Weight::Dangerous)]);
}

#[test]
fn honest_classes_with_hostile_values_are_told() {
    let layer = |class: &str, values: &str| of(&object("\"keras.layers\"", class, values));
    assert_eq!(
        layer("StringLookup", r#"{"vocabulary": "/etc/passwd"}"#),
        [(Rule::TouchesFiles, Weight::Dangerous)]
    );
    assert_eq!(
        layer("IntegerLookup", r#"{"vocabulary": "http://host/x"}"#),
        [(Rule::TouchesFiles, Weight::Dangerous)]
    );
    assert_eq!(
        layer("StringLookup", r#"{"vocabulary": "words.txt"}"#),
        [(Rule::ExternalFile, Weight::Note)]
    );
    assert_eq!(
        layer("TFSMLayer", r#"{"filepath": "/tmp/m"}"#),
        [(Rule::LoadsMore, Weight::Dangerous)]
    );
    assert_eq!(
        layer("TorchModuleWrapper", r#"{"module": "gAROLg=="}"#),
        [(Rule::LoadsMore, Weight::Unknown)]
    );
    let operation = r#"{"class_name": "TFOpLambda", "config": {"function": "io.write_file"}}"#;
    assert_eq!(of(operation), [(Rule::TouchesFiles, Weight::Dangerous)]);
}

#[test]
fn a_key_twice_is_told_and_both_values_are_judged() {
    let twice = r#"{"class_name": "Dense", "class_name": "Dense", "config": {}}"#;
    assert_eq!(of(twice), [(Rule::ReadersDisagree, Weight::Dangerous)]);
}

#[test]
fn a_description_that_cannot_be_read_is_a_gap() {
    assert_eq!(config("{").gaps[0].kind, GapKind::Broken);
    assert_eq!(config(&"[".repeat(1000)).gaps[0].kind, GapKind::TooDeep);
}

#[test]
fn a_member_of_a_keras_archive_is_known_by_its_company() {
    let names = ["metadata.json", "config.json", "model.weights.h5"];
    assert_eq!(
        models::role(&names, "config.json"),
        Some(models::Role::KerasConfig)
    );
    assert_eq!(
        models::role(&["config.json", "pytorch_model.bin"], "config.json"),
        None
    );
}
