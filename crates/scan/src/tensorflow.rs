//! What loading and running a TensorFlow graph does beyond arithmetic.
//!
//! TensorFlow's own operators read and write files, call Python and open connections, so a graph is a program. Each of
//! those is known by what it does. An honest `SavedModel` saves and restores its variables through operators of its own
//! and looks words up in its assets; these are silent as long as nothing leads them elsewhere. Operators that TensorFlow
//! does not have need a native library.

use domain::scan::{GapKind, Rule, Weight};
use formats::ReadAt;
use formats::protobuf::Wire;
use formats::protobuf_kind::Message;
use formats::tensorflow::{Graphs, MAX_METADATA, Node, read};

use crate::{Examiner, keras, paths};

/// Names of all operators that TensorFlow registers, sorted.
static OPERATORS: &str = include_str!("../rules/tensorflow-operators.txt");

/// What an operator does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Does {
    /// Calls Python.
    Python,
    /// Brings native code in.
    Native,
    /// Talks to other machines.
    Network,
    /// Writes files, whatever its inputs are.
    Writes,
    /// Reads files, whatever its inputs are.
    Reads,
    /// Saves variables to the path that whoever saves gives.
    Saves,
    /// Restores variables from the path that whoever loads gives.
    Restores,
    /// Prints or watches, to a file if an attribute says so.
    Watches,
}

const EFFECTS: &[(Does, &[&str])] = &[
    (
        Does::Python,
        &["PyFunc", "PyFuncStateless", "EagerPyFunc", "NumpyFunction"],
    ),
    (
        Does::Native,
        &[
            "LoadLibrary",
            "LoadOpLibrary",
            "XlaCustomCall",
            "XlaCustomCallV2",
            "RemoteFusedGraphExecute",
        ],
    ),
    (
        Does::Network,
        &[
            "RpcServer",
            "RpcServerStart",
            "RpcServerRegister",
            "RpcClient",
            "RpcCall",
            "RpcGetValue",
            "Rpc",
            "TryRpc",
            "DataServiceDataset",
            "DataServiceDatasetV2",
            "DataServiceDatasetV3",
            "DataServiceDatasetV4",
            "RegisterDataset",
            "RegisterDatasetV2",
            "DistributedSave",
            "BigQueryReader",
            "KafkaDataset",
            "FileSystemSetConfiguration",
        ],
    ),
    (
        Does::Writes,
        &[
            "WriteFile",
            "SaveDataset",
            "SaveDatasetV2",
            "DatasetToTFRecord",
            "ExperimentalDatasetToTFRecord",
            "SnapshotDataset",
            "SnapshotDatasetV2",
            "CreateSummaryFileWriter",
            "CreateSummaryDbWriter",
        ],
    ),
    (
        Does::Reads,
        &[
            "ReadFile",
            "MatchingFiles",
            "MatchingFilesDataset",
            "ExperimentalMatchingFilesDataset",
            "WholeFileReader",
            "WholeFileReaderV2",
            "TextLineReader",
            "TextLineReaderV2",
            "TFRecordReader",
            "TFRecordReaderV2",
            "FixedLengthRecordReader",
            "FixedLengthRecordReaderV2",
            "LMDBReader",
            "TextLineDataset",
            "TFRecordDataset",
            "TFRecordDatasetV2",
            "FixedLengthRecordDataset",
            "FixedLengthRecordDatasetV2",
            "CSVDataset",
            "CSVDatasetV2",
            "ExperimentalCSVDataset",
            "SqlDataset",
            "ExperimentalSqlDataset",
            "LMDBDataset",
            "ExperimentalLMDBDataset",
            "LoadDataset",
            "ListSnapshotChunksDataset",
            "SnapshotChunkDataset",
            "SnapshotDatasetReader",
            "ImmutableConst",
            "LoadAndRemapMatrix",
            "GenerateVocabRemapping",
            "CacheDataset",
            "CacheDatasetV2",
            "ImportEvent",
        ],
    ),
    (
        Does::Saves,
        &[
            "Save",
            "SaveSlices",
            "SaveV2",
            "MergeV2Checkpoints",
            "ShardedFilename",
            "ShardedFilespec",
        ],
    ),
    (
        Does::Restores,
        &["Restore", "RestoreSlice", "RestoreV2", "DTensorRestoreV2"],
    ),
    (
        Does::Watches,
        &[
            "PrintV2",
            "DebugIdentity",
            "DebugIdentityV2",
            "DebugIdentityV3",
            "DebugNanCount",
            "DebugNumericSummary",
        ],
    ),
];

/// Operators of TensorFlow's own add-on libraries: native, known.
const KNOWN_LIBRARIES: &[&str] = &[
    "Addons>",
    "TFText>",
    "TFT>",
    "TFL_",
    "Sentencepiece",
    "Wordpiece",
    "FastWordpiece",
];

fn does(operator: &str) -> Option<Does> {
    let mut rows = EFFECTS.iter();
    let row = rows.find(|(_, names)| names.contains(&operator));
    row.map(|(does, _)| *does)
}

/// Examines the graph that `input` is; `kind` is what it was recognised as.
pub(crate) fn examine(examiner: &mut Examiner<'_>, _name: &str, kind: Message, input: &dyn ReadAt) {
    let wire = Wire::new(input);
    let graphs = read(&wire, kind, &|operator| does(operator).is_some());
    let format = match kind {
        Message::SavedModel => "TensorFlow SavedModel",
        Message::MetaGraph => "TensorFlow MetaGraph",
        Message::KerasMetadata => "Keras metadata of a SavedModel",
        Message::Fingerprint => "fingerprint of a SavedModel",
        _ => "TensorFlow graph",
    };
    examiner.part(format, input.len(), None);
    examiner.raw(graphs.raw_bytes);
    for node in &graphs.nodes {
        if let Some(does) = does(&node.operator) {
            judge_node(examiner, does, node);
        }
    }
    judge_operators(examiner, &graphs);
    for (asset, offset) in &graphs.assets {
        if let Some(reason) = paths::leaves(asset) {
            let place = examiner.at(*offset);
            let why = format!("An asset of the model lies outside of its folder: {reason}.");
            examiner.found(
                Rule::PathEscapes,
                Weight::Dangerous,
                place,
                format!("{asset:?}"),
                why,
            );
        }
    }
    judge_objects(examiner, &wire, &graphs);
    tell_limits(examiner, &graphs);
}

fn judge_node(examiner: &mut Examiner<'_>, does: Does, node: &Node) {
    let path = node
        .inputs
        .iter()
        .flatten()
        .find(|text| paths::leaves(text).is_some());
    let led = path.is_some();
    let (rule, weight, why) = match does {
        Does::Python => (
            Rule::CodeOperator,
            Weight::Dangerous,
            "Running it calls a Python function of the process that loads the graph.",
        ),
        Does::Native => (
            Rule::CustomOperator,
            Weight::Dangerous,
            "It brings native code in.",
        ),
        Does::Network => (
            Rule::OpensNetwork,
            Weight::Dangerous,
            "Running it talks to another machine.",
        ),
        Does::Writes => (
            Rule::FileOperator,
            Weight::Dangerous,
            "Running it writes a file.",
        ),
        Does::Reads if caches_in_memory(node) => return,
        Does::Reads if led => (
            Rule::FileOperator,
            Weight::Dangerous,
            "Running it reads a file outside of the model's folder.",
        ),
        Does::Reads => (
            Rule::FileOperator,
            Weight::Unknown,
            "Running it reads files.",
        ),
        Does::Saves if led => (
            Rule::FileOperator,
            Weight::Dangerous,
            "Saving goes to a path that stands in the graph, not to one that is asked for.",
        ),
        Does::Restores if led => (
            Rule::FileOperator,
            Weight::Unknown,
            "Restoring reads a path that stands in the graph, not one that is asked for.",
        ),
        Does::Saves | Does::Restores => return,
        Does::Watches => match watched(node) {
            Some(why) => (Rule::FileOperator, Weight::Dangerous, why),
            None => return,
        },
    };
    let place = examiner.at(node.offset);
    examiner.found(rule, weight, place, expression(node), why);
}

/// `Dataset.cache()` without a file name keeps everything in memory; that name is its second input.
fn caches_in_memory(node: &Node) -> bool {
    let name = node.inputs.get(1).and_then(Option::as_ref);
    node.operator.starts_with("CacheDataset") && name.is_some_and(String::is_empty)
}

/// Where a watching operator writes, if not to the streams of the process.
fn watched(node: &Node) -> Option<&'static str> {
    let texts = node.attributes.iter();
    let mut targets = texts.filter(|(key, _)| key == "output_stream" || key == "debug_urls");
    targets.find_map(|(_, target)| {
        if target.starts_with("file:") {
            Some("Running it writes what it sees to a file.")
        } else if target.contains("://") && !target.starts_with("log(") {
            Some("Running it sends what it sees to an address.")
        } else {
            None
        }
    })
}

fn expression(node: &Node) -> String {
    let inputs = node.inputs.iter().map(|input| match input {
        Some(text) => format!("{text:?}"),
        None => "…".to_owned(),
    });
    let texts = node
        .attributes
        .iter()
        .filter(|(key, _)| key != "_class" && key != "shape");
    let texts = texts.map(|(key, value)| format!("{key}={value:?}"));
    let all = inputs.chain(texts).collect::<Vec<_>>().join(", ");
    format!("{}({all})", node.operator)
}

fn judge_operators(examiner: &mut Examiner<'_>, graphs: &Graphs) {
    let known: Vec<&str> = OPERATORS.lines().collect();
    for (operator, (_, offset)) in &graphs.operators {
        let is_known = known.binary_search(&operator.as_str()).is_ok()
            || does(operator).is_some()
            || graphs.functions.contains(operator);
        if is_known {
            continue;
        }
        let place = examiner.at(*offset);
        let library = KNOWN_LIBRARIES
            .iter()
            .any(|head| operator.starts_with(head));
        let (weight, why) = if library {
            (
                Weight::Note,
                "One of TensorFlow's add-on libraries must bring this operator.",
            )
        } else {
            let why = "TensorFlow has no such operator: a native library must bring it.";
            (Weight::Custom, why)
        };
        examiner.found(Rule::CustomOperator, weight, place, operator.clone(), why);
    }
}

fn judge_objects(examiner: &mut Examiner<'_>, wire: &Wire<'_>, graphs: &Graphs) {
    for (identifier, span) in &graphs.objects {
        match wire.bytes(*span, MAX_METADATA) {
            Ok(text) if text.first() == Some(&b'{') => {
                keras::examine_config(examiner, &text, span.start);
            }
            Ok(_) => {}
            Err(error) => {
                let place = examiner.at(span.start);
                let what = format!("the description of {identifier:?}: {error}");
                examiner.gap(GapKind::Limit, place, what);
            }
        }
    }
}

fn tell_limits(examiner: &mut Examiner<'_>, graphs: &Graphs) {
    if let Some(error) = &graphs.broken {
        let here = examiner.here();
        examiner.gap(
            GapKind::Broken,
            here,
            format!("the graph breaks off: {error}"),
        );
    }
    if graphs.left_out > 0 {
        let here = examiner.here();
        let what = format!(
            "{} nodes or names beyond the limit of the record",
            graphs.left_out
        );
        examiner.gap(GapKind::Limit, here, what);
    }
}

/// Judges an operator of TensorFlow that another format takes over by name, without its inputs.
pub(crate) fn judge_flex(examiner: &mut Examiner<'_>, operator: &str) {
    let (rule, weight, why) = match does(operator) {
        Some(Does::Python) => (
            Rule::CodeOperator,
            Weight::Dangerous,
            "Running it calls a Python function.",
        ),
        Some(Does::Native) => (
            Rule::CustomOperator,
            Weight::Dangerous,
            "It brings native code in.",
        ),
        Some(Does::Network) => (
            Rule::OpensNetwork,
            Weight::Dangerous,
            "Running it talks to another machine.",
        ),
        Some(Does::Writes | Does::Saves) => (
            Rule::FileOperator,
            Weight::Dangerous,
            "Running it writes a file.",
        ),
        Some(Does::Reads | Does::Restores) => (
            Rule::FileOperator,
            Weight::Unknown,
            "Running it reads a file.",
        ),
        Some(Does::Watches) | None => return,
    };
    let here = examiner.here();
    examiner.found(rule, weight, here, operator.to_owned(), why);
}
