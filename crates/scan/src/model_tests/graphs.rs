//! ONNX and TensorFlow.

use domain::scan::{GapKind, Rule, Weight};

use super::{count, field, findings, model};

fn node(domain: &str, operator: &str) -> Vec<u8> {
    field(
        1,
        [
            field(1, "x"),
            field(2, "y"),
            field(4, operator),
            field(7, domain),
        ]
        .concat(),
    )
}

fn onnx(graph: &[Vec<u8>], more: &[Vec<u8>]) -> Vec<u8> {
    let opset = field(8, count(2, 17));
    [
        count(1, 8),
        field(2, "exporter"),
        field(7, graph.concat()),
        opset,
        more.concat(),
    ]
    .concat()
}

fn pair(key: &str, value: &str) -> Vec<u8> {
    [field(1, key), field(2, value)].concat()
}

/// A tensor of four floats whose bytes lie in `location`.
fn external(location: &str, more: &[Vec<u8>]) -> Vec<u8> {
    let places = field(13, pair("location", location));
    field(
        5,
        [
            count(1, 4),
            count(2, 1),
            field(8, "w"),
            places,
            more.concat(),
            count(14, 1),
        ]
        .concat(),
    )
}

fn raw(dims: u64, bytes: usize) -> Vec<u8> {
    field(
        5,
        [
            count(1, dims),
            count(2, 1),
            field(8, "w"),
            field(9, vec![0; bytes]),
        ]
        .concat(),
    )
}

#[test]
fn an_honest_onnx_model_is_silent_and_its_numbers_are_accounted() {
    let graph = [
        node("", "MatMul"),
        node("ai.onnx", "Relu"),
        node("com.microsoft", "Gelu"),
        raw(4, 16),
    ];
    let seen = model(&onnx(&graph, &[]));
    assert_eq!(findings(&seen), []);
    assert!(seen.is_complete() && seen.raw_bytes == 16);
    assert_eq!(seen.formats, ["ONNX"]);
}

#[test]
fn onnx_tensors_beside_the_model_are_a_note_and_elsewhere_a_danger() {
    let beside = onnx(&[node("", "Add"), external("weights.bin", &[])], &[]);
    assert_eq!(
        findings(&model(&beside)),
        [(Rule::ExternalFile, Weight::Note)]
    );
    for path in ["/etc/passwd", "../x", "a/../../x", "file:///x", "C:\\x"] {
        let seen = model(&onnx(&[node("", "Add"), external(path, &[])], &[]));
        assert_eq!(
            findings(&seen),
            [(Rule::PathEscapes, Weight::Dangerous)],
            "{path}"
        );
    }
}

#[test]
fn an_onnx_tensor_hidden_in_a_branch_or_function_is_seen() {
    let inner = [node("", "Identity"), external("/etc/passwd", &[])].concat();
    let branch = field(5, [field(1, "then"), field(6, &inner)].concat());
    let outer = field(1, [field(4, "If"), branch.clone()].concat());
    assert_eq!(
        findings(&model(&onnx(&[outer], &[]))),
        [(Rule::PathEscapes, Weight::Dangerous)]
    );
    let step = field(7, [field(4, "Loop"), branch].concat());
    let function = field(25, [field(1, "Own"), step, field(10, "own")].concat());
    let seen = model(&onnx(&[node("own", "Own")], &[function]));
    assert_eq!(findings(&seen), [(Rule::PathEscapes, Weight::Dangerous)]);
    let training = field(20, field(2, external("/etc/passwd", &[])));
    let seen = model(&onnx(&[node("", "Add")], &[training]));
    assert_eq!(findings(&seen), [(Rule::PathEscapes, Weight::Dangerous)]);
}

#[test]
fn keys_that_readers_would_set_as_attributes_are_told() {
    let seen = model(&onnx(
        &[
            node("", "Add"),
            external("w.bin", &[field(13, pair("__class__", "x"))]),
        ],
        &[],
    ));
    assert!(findings(&seen).contains(&(Rule::PatchesModule, Weight::Dangerous)));
    let seen = model(&onnx(
        &[
            node("", "Add"),
            external("w.bin", &[field(13, pair("offset", "-1"))]),
        ],
        &[],
    ));
    assert!(findings(&seen).contains(&(Rule::Broken, Weight::Unknown)));
}

#[test]
fn onnx_operators_are_judged_by_who_brings_them() {
    let of = |domain: &str, name: &str| findings(&model(&onnx(&[node(domain, name)], &[])));
    assert_eq!(
        of("my.ops", "Gate"),
        [(Rule::CustomOperator, Weight::Custom)]
    );
    assert_eq!(
        of("com.microsoft", "PythonOp"),
        [(Rule::CodeOperator, Weight::Dangerous)]
    );
    assert_eq!(
        of("pyop", "PyOp"),
        [(Rule::CodeOperator, Weight::Dangerous)]
    );
    assert_eq!(
        of("ai.onnx.contrib", "GPT2Tokenizer"),
        [(Rule::CustomOperator, Weight::Note)]
    );
    assert_eq!(
        of("ai.onnx.contrib", "AzureTextToText"),
        [(Rule::OpensNetwork, Weight::Dangerous)]
    );
    assert_eq!(
        of("com.microsoft", "EPContext"),
        [(Rule::NativeCode, Weight::Unknown)]
    );
}

#[test]
fn functions_that_a_model_brings_are_its_own_unless_they_take_a_standard_name() {
    let function = |domain: &str, name: &str| {
        field(
            25,
            [field(1, name), field(7, field(4, "Add")), field(10, domain)].concat(),
        )
    };
    let seen = model(&onnx(
        &[node("my.ops", "Gate")],
        &[function("my.ops", "Gate")],
    ));
    assert_eq!(findings(&seen), []);
    let seen = model(&onnx(&[node("", "Relu")], &[function("", "Relu")]));
    assert_eq!(findings(&seen), [(Rule::ReadersDisagree, Weight::Unknown)]);
}

#[test]
fn onnx_shapes_that_do_not_fit_are_told() {
    let seen = model(&onnx(&[node("", "Add"), raw(1 << 40, 16)], &[]));
    assert_eq!(findings(&seen), [(Rule::Broken, Weight::Unknown)]);
    let seen = model(&onnx(&[node("", "Add"), raw(u64::MAX, 16)], &[]));
    assert_eq!(findings(&seen), [(Rule::Broken, Weight::Dangerous)]);
}

#[test]
fn code_in_properties_and_fields_nobody_reads_are_told() {
    let names = field(14, pair("names", "{0: 'person'}"));
    assert_eq!(findings(&model(&onnx(&[node("", "Add")], &[names]))), []);
    let code = field(14, pair("names", "__import__('os').system('echo MARKER')"));
    let seen = model(&onnx(&[node("", "Add")], &[code]));
    assert_eq!(findings(&seen), [(Rule::BringsCode, Weight::Dangerous)]);
    let seen = model(&onnx(
        &[node("", "Add")],
        &[field(999, "something else entirely")],
    ));
    assert_eq!(findings(&seen), [(Rule::Hidden, Weight::Note)]);
}

#[test]
fn a_broken_or_endless_onnx_model_is_a_gap() {
    let mut cut = onnx(&[node("", "Add"), raw(4, 16)], &[]);
    cut.truncate(cut.len() - 3);
    let seen = model(&cut);
    assert_eq!(seen.gaps[0].kind, GapKind::Broken);
    let mut graph = node("", "Add");
    for _ in 0..60 {
        graph = field(1, [field(4, "If"), field(5, field(6, &graph))].concat());
    }
    let seen = model(&onnx(&[graph, node("", "Add")], &[]));
    assert!(seen.gaps.iter().any(|gap| gap.kind == GapKind::TooDeep));
}

/// A node of TensorFlow with inputs and text attributes.
fn step(name: &str, operator: &str, inputs: &[&str], texts: &[(&str, &str)]) -> Vec<u8> {
    let inputs: Vec<u8> = inputs.iter().flat_map(|input| field(3, input)).collect();
    let texts = texts
        .iter()
        .flat_map(|(key, text)| field(5, [field(1, key), field(2, field(2, text))].concat()));
    field(
        1,
        [field(1, name), field(2, operator), inputs, texts.collect()].concat(),
    )
}

fn constant(name: &str, text: &str) -> Vec<u8> {
    let tensor = field(8, [count(1, 7), field(8, text)].concat());
    field(
        1,
        [
            field(1, name),
            field(2, "Const"),
            field(5, pair_of("value", &tensor)),
        ]
        .concat(),
    )
}

fn pair_of(key: &str, value: &[u8]) -> Vec<u8> {
    [field(1, key), field(2, value)].concat()
}

/// The steps as a function of a library, where nodes are field 3.
fn library(steps: &[u8]) -> Vec<u8> {
    let mut body = steps.to_vec();
    body[0] = 3 << 3 | 2;
    field(
        2,
        field(1, [field(1, field(1, "__inference_f_1")), body].concat()),
    )
}

#[test]
fn what_savers_and_lookups_of_tensorflow_need_is_silent() {
    let graph = [
        constant("save/Const", "model"),
        step("save/Save", "SaveV2", &["save/Const"], &[]),
        step("save/Restore", "RestoreV2", &["save/Const"], &[]),
        step("merge", "MergeV2Checkpoints", &["a", "b"], &[]),
        step("shard", "ShardedFilename", &["save/Const"], &[]),
        constant("asset", "/home/somebody/vocab.txt"),
        step(
            "table",
            "InitializeTableFromTextFileV2",
            &["t", "asset"],
            &[],
        ),
        step("print", "PrintV2", &["x"], &[("output_stream", "stderr")]),
        step("call", "__inference_f_1", &["x"], &[]),
        library(&step("m", "MatMul", &["a", "b"], &[])),
    ];
    assert_eq!(findings(&model(&graph.concat())), []);
}

#[test]
fn tensorflow_operators_are_judged_by_what_they_do() {
    let of = |operator: &str| findings(&model(&step("n", operator, &["x"], &[])));
    assert_eq!(of("PyFunc"), [(Rule::CodeOperator, Weight::Dangerous)]);
    assert_eq!(of("EagerPyFunc"), [(Rule::CodeOperator, Weight::Dangerous)]);
    assert_eq!(of("WriteFile"), [(Rule::FileOperator, Weight::Dangerous)]);
    assert_eq!(of("ReadFile"), [(Rule::FileOperator, Weight::Unknown)]);
    assert_eq!(
        of("ImmutableConst"),
        [(Rule::FileOperator, Weight::Unknown)]
    );
    assert_eq!(of("RpcCall"), [(Rule::OpensNetwork, Weight::Dangerous)]);
    assert_eq!(
        of("LoadLibrary"),
        [(Rule::CustomOperator, Weight::Dangerous)]
    );
    assert_eq!(
        of("MyOwnOperator"),
        [(Rule::CustomOperator, Weight::Custom)]
    );
}

#[test]
fn paths_are_followed_from_constants_and_through_functions() {
    let reads = [
        constant("path", "/etc/passwd"),
        step("same", "Identity", &["path"], &[]),
        step("read", "ReadFile", &["same:0"], &[]),
    ];
    let seen = model(&reads.concat());
    assert_eq!(findings(&seen), [(Rule::FileOperator, Weight::Dangerous)]);
    assert!(seen.findings[0].expression.contains("/etc/passwd"));
    let saves = [
        constant("p", "/root/.profile"),
        step("s", "SaveV2", &["p"], &[]),
    ]
    .concat();
    assert_eq!(
        findings(&model(&saves)),
        [(Rule::FileOperator, Weight::Dangerous)]
    );
    let hidden = [
        step("n", "NoOp", &[], &[]),
        library(&step("w", "WriteFile", &["p"], &[])),
    ]
    .concat();
    assert_eq!(
        findings(&model(&hidden)),
        [(Rule::FileOperator, Weight::Dangerous)]
    );
}

#[test]
fn operators_that_watch_are_judged_by_where_they_write() {
    let print = step(
        "p",
        "PrintV2",
        &["x"],
        &[("output_stream", "file:///tmp/x")],
    );
    assert_eq!(
        findings(&model(&print)),
        [(Rule::FileOperator, Weight::Dangerous)]
    );
    let list = field(1, field(2, "grpc://host:1"));
    let urls = field(5, pair_of("debug_urls", &list));
    let debug = field(
        1,
        [field(1, "d"), field(2, "DebugIdentityV2"), urls].concat(),
    );
    assert_eq!(
        findings(&model(&debug)),
        [(Rule::FileOperator, Weight::Dangerous)]
    );
}

#[test]
fn a_saved_model_is_walked_to_its_assets_and_its_keras_objects() {
    let graph = field(2, step("n", "NoOp", &[], &[]));
    let asset = field(6, field(2, "../../x"));
    let text = r#"{"class_name": "Gate", "config": {}}"#;
    let object = field(
        7,
        field(
            1,
            field(4, [field(1, "_tf_keras_layer"), field(3, text)].concat()),
        ),
    );
    let saved = [count(1, 1), field(2, [graph, asset, object].concat())].concat();
    let seen = model(&saved);
    assert_eq!(
        findings(&seen),
        [
            (Rule::CustomClass, Weight::Custom),
            (Rule::PathEscapes, Weight::Dangerous),
        ]
    );
    assert_eq!(seen.formats, ["TensorFlow SavedModel"]);
}

#[test]
fn of_an_operator_named_twice_the_last_one_counts() {
    let node = field(
        1,
        [field(1, "n"), field(2, "NoOp"), field(2, "PyFunc")].concat(),
    );
    assert_eq!(
        findings(&model(&node)),
        [(Rule::CodeOperator, Weight::Dangerous)]
    );
}
