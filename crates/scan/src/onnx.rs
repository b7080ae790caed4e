//! What loading and running an ONNX model does beyond arithmetic.
//!
//! The standard operators compute; a model harms through what stands around them: tensors whose bytes lie elsewhere,
//! operators that a native library or Python must bring, functions that take a standard operator's name. Every honest
//! exporter writes relative paths and the domains listed here or brings its functions along, and is silent.

use domain::scan::{GapKind, Rule, Weight};
use formats::ReadAt;
use formats::Window;
use formats::onnx::{External, Model, Operator, TensorFault, Use, read};
use formats::protobuf::Wire;

use crate::{Bytes, Examiner, calls, paths};

/// Domains whose operators the common runtimes bring themselves.
const RUNTIME: &[&str] = &[
    "",
    "ai.onnx.ml",
    "ai.onnx.training",
    "ai.onnx.preview",
    "ai.onnx.preview.training",
    "com.microsoft",
    "com.microsoft.nchwc",
    "com.microsoft.nhwc",
    "com.microsoft.dml",
    "com.microsoft.experimental",
    "com.ms.internal.nhwc",
    "com.microsoft.qnn",
    "com.microsoft.xnnpack",
    "org.pytorch.aten",
];
/// The extensions' library of ONNX Runtime: known, native, and a few of its operators reach further.
const EXTENSIONS: &[&str] = &["ai.onnx.contrib", "com.microsoft.extensions"];
/// Operators that hand over to Python.
const PYTHON: &[&str] = &[
    "PyOp",
    "PythonOp",
    "PythonOpGrad",
    "PyFunc",
    "PyCustomOp",
    "TritonOp",
    "TorchEmbedding_Python",
];
/// The operator that is a program compiled for one device.
const COMPILED: &str = "EPContext";
/// Bytes of an unknown field from which on it is looked into.
const LOOK_INTO: u64 = 16;

/// Examines the model that `input` is.
pub(crate) fn examine(examiner: &mut Examiner<'_>, _name: &str, input: &dyn ReadAt) {
    let wire = Wire::new(input);
    let model = read(&wire);
    examiner.part("ONNX", input.len(), None);
    examiner.raw(model.raw_bytes);
    let compiled = |operator: &Operator| operator.name == COMPILED;
    let compiled = model.operators.keys().any(compiled);
    examiner.search(
        input,
        if compiled {
            Bytes::Compiled
        } else {
            Bytes::Data
        },
    );
    for (operator, used) in &model.operators {
        judge_operator(examiner, &model, operator, used);
    }
    for (function, offset) in &model.functions {
        judge_function(examiner, function, *offset);
    }
    for external in &model.external {
        judge_external(examiner, external);
    }
    judge_rest(examiner, &model, input);
    tell_limits(examiner, &model);
}

fn judge_operator(examiner: &mut Examiner<'_>, model: &Model, operator: &Operator, used: &Use) {
    let place = examiner.at(used.offset);
    let named = expression(operator, used);
    if PYTHON.contains(&operator.name.as_str()) {
        let why = "Running it calls a Python function that the model names.";
        return examiner.found(Rule::CodeOperator, Weight::Dangerous, place, named, why);
    }
    let own = model
        .functions
        .iter()
        .any(|(function, _)| function == operator);
    if own {
        return;
    }
    if operator.name == COMPILED {
        let why = "It holds or names a compiled program for one device, which nobody can read.";
        return examiner.found(Rule::NativeCode, Weight::Unknown, place, named, why);
    }
    let domain = operator.domain.as_str();
    if EXTENSIONS.contains(&domain) {
        let reaches = ["Azure", "OpenAI"];
        let (rule, weight, why) = if reaches.iter().any(|head| operator.name.starts_with(head)) {
            (
                Rule::OpensNetwork,
                Weight::Dangerous,
                "Running it sends data to an address.",
            )
        } else {
            let why = "It needs the extensions' library of ONNX Runtime.";
            (Rule::CustomOperator, Weight::Note, why)
        };
        examiner.found(rule, weight, place, named, why);
    } else if !RUNTIME.contains(&domain) {
        let why = "No common runtime has this operator: a native library must bring it.";
        examiner.found(Rule::CustomOperator, Weight::Custom, place, named, why);
    }
}

fn expression(operator: &Operator, used: &Use) -> String {
    let texts = used
        .texts
        .iter()
        .map(|(name, value)| format!("{name}={value:?}"));
    let texts = texts.collect::<Vec<_>>().join(", ");
    let dot = if operator.domain.is_empty() { "" } else { "::" };
    format!("{}{dot}{}({texts})", operator.domain, operator.name)
}

/// The standard says that it is up to the runtime which one wins.
fn judge_function(examiner: &mut Examiner<'_>, function: &Operator, offset: u64) {
    let standard = function.domain.is_empty() || function.domain == "ai.onnx.ml";
    if standard {
        let place = examiner.at(offset);
        let why =
            "It defines an operator of the standard anew; runtimes differ in which one they take.";
        let name = format!("function {}", function.name);
        examiner.found(Rule::ReadersDisagree, Weight::Unknown, place, name, why);
    }
}

fn judge_external(examiner: &mut Examiner<'_>, external: &External) {
    let place = examiner.at(external.offset);
    let named = format!("{:?} of tensor {:?}", external.location, external.tensor);
    if let Some(reason) = paths::leaves(&external.location) {
        let why =
            format!("The bytes of a tensor are read from outside of the model's folder: {reason}.");
        examiner.found(
            Rule::PathEscapes,
            Weight::Dangerous,
            place.clone(),
            named,
            why,
        );
    } else {
        let why = "The bytes of tensors are read from that file.";
        let location = format!("{:?}", external.location);
        let here = examiner.here();
        examiner.found(Rule::ExternalFile, Weight::Note, here, location, why);
    }
    let is_number = |text: &str| text.is_empty() || text.parse::<u64>().is_ok();
    if !is_number(&external.range.0) || !is_number(&external.range.1) {
        let range = format!(
            "offset {:?}, length {:?}",
            external.range.0, external.range.1
        );
        let why = "A place in a file is not given as a number.";
        examiner.found(Rule::Broken, Weight::Unknown, place.clone(), range, why);
    }
    for (key, value) in &external.others {
        let (rule, weight) = if key.starts_with('_') {
            (Rule::PatchesModule, Weight::Dangerous)
        } else if key == "basepath" {
            (Rule::ExternalFile, Weight::Note)
        } else {
            (Rule::Hidden, Weight::Unknown)
        };
        let why = "The standard has no such key for a tensor's file; readers set it as an attribute of an object.";
        let pair = format!("{key:?} = {value:?}");
        examiner.found(rule, weight, place.clone(), pair, why);
    }
}

fn judge_rest(examiner: &mut Examiner<'_>, model: &Model, input: &dyn ReadAt) {
    for (fault, tensor, offset) in &model.faults {
        let weight = match fault {
            TensorFault::Shape => Weight::Dangerous,
            TensorFault::Size => Weight::Unknown,
        };
        let place = examiner.at(*offset);
        let why = format!("Tensor {tensor:?}: {fault}.");
        examiner.found(Rule::Broken, weight, place, String::new(), why);
    }
    for (key, value, offset) in &model.properties {
        if calls::is_code(value) {
            let place = examiner.at(*offset);
            let why = "A property of the model holds code; some loaders evaluate these texts.";
            let pair = format!("{key} = {value}");
            examiner.found(Rule::BringsCode, Weight::Dangerous, place, pair, why);
        }
    }
    for (number, span) in &model.unknown {
        let place = examiner.at(span.start);
        let what = format!("field {number}, {} bytes", span.len());
        let why = "The format has no such field: readers skip it.";
        examiner.found(Rule::Hidden, Weight::Note, place, what, why);
        if span.len() >= LOOK_INTO {
            let inside = Window::new(input, span.start, span.len());
            examiner.member(&format!("field {number} at {}", span.start), &inside);
        }
    }
}

fn tell_limits(examiner: &mut Examiner<'_>, model: &Model) {
    if let Some(error) = &model.broken {
        let here = examiner.here();
        examiner.gap(
            GapKind::Broken,
            here,
            format!("the model breaks off: {error}"),
        );
    }
    if model.too_deep {
        let here = examiner.here();
        let what = format!(
            "graphs within graphs, more than {}",
            formats::onnx::MAX_DEPTH
        );
        examiner.gap(GapKind::TooDeep, here, what);
    }
    if model.left_out > 0 {
        let here = examiner.here();
        let what = format!("{} names beyond the limit of the record", model.left_out);
        examiner.gap(GapKind::Limit, here, what);
    }
}
