//! What the models of small devices need besides their runtime: TensorFlow Lite, ExecuTorch, Core ML, Paddle, Caffe.
//!
//! These formats hold graphs of fixed operators. What is told is where one leaves them: operators that an application must
//! bring, Python that a layer names, other files, indices that lead out of their tables.

use domain::scan::{GapKind, Rule, Weight};
use formats::coreml::{self, Need};
use formats::layers::Steps;
use formats::protobuf::Wire;
use formats::{ReadAt, Window, executorch, layers, tflite};

use crate::{Examiner, paths};

/// Custom operators that the makers of TensorFlow Lite ship with it.
const TFLITE_OWN: &[&str] = &[
    "TFLite_Detection_PostProcess",
    "AudioSpectrogram",
    "Mfcc",
    "NumericVerify",
    "Convolution2DTransposeBias",
    "MaxPoolingWithArgmax2D",
    "MaxUnpooling2D",
    "Resampler",
    "edgetpu-custom-op",
    "TFSentencepieceTokenizeOp",
    "Irfft2d",
    "RFFT2D",
    "HashtableV2",
];
/// Namespaces of operators that ExecuTorch and its back ends bring.
const EXECUTORCH_OWN: &[&str] = &[
    "aten",
    "quantized_decomposed",
    "executorch_prim",
    "dim_order_ops",
    "et_vk",
    "llama",
    "cadence",
    "cortex_m",
    "prim",
    "prims",
    "torchao",
    "quantized",
    "torchvision",
    "tosa",
    "bundled",
    "etensor",
    "sdpa",
    "higher_order",
];

/// Examines a TensorFlow Lite model.
pub(crate) fn tflite(examiner: &mut Examiner<'_>, input: &dyn ReadAt) {
    let model = tflite::read(input);
    examiner.part("TensorFlow Lite", input.len(), None);
    examiner.raw(model.raw_bytes);
    for name in &model.custom {
        let known = TFLITE_OWN.contains(&name.as_str())
            || name.starts_with("Flex")
            || name.starts_with("TFText");
        let here = examiner.here();
        if known {
            let why = "An operator of one of TensorFlow's add-on libraries.";
            examiner.found(Rule::CustomOperator, Weight::Note, here, name.clone(), why);
        } else {
            let why = "TensorFlow Lite does not have this operator: the application must bring it.";
            examiner.found(
                Rule::CustomOperator,
                Weight::Custom,
                here,
                name.clone(),
                why,
            );
        }
        if let Some(operator) = name.strip_prefix("Flex") {
            crate::tensorflow::judge_flex(examiner, operator);
        }
    }
    for (what, offset) in &model.outside {
        let place = examiner.at(*offset);
        let why = format!(
            "The index of {what} leads out of its table; readers that do not check follow it."
        );
        examiner.found(Rule::Broken, Weight::Dangerous, place, *what, why);
    }
    if let Some(error) = &model.broken {
        broken(examiner, &error.to_string());
    }
    if model.left_out > 0 {
        limit(examiner, model.left_out);
    }
    tail(examiner, model.end, input);
}

/// Associated files are appended as a ZIP archive behind the last buffer.
fn tail(examiner: &mut Examiner<'_>, end: u64, input: &dyn ReadAt) {
    const LOOK: u64 = 64;
    let size = input.len().saturating_sub(end).min(LOOK);
    let mut head = vec![0; usize::try_from(size).unwrap_or_default()];
    if end == 0 || input.read_at(end, &mut head).is_err() {
        return;
    }
    let zip = head.windows(4).position(|window| window == b"PK\x03\x04");
    if let Some(place) = zip {
        let start = end + place as u64;
        let archive = Window::new(input, start, input.len() - start);
        examiner.member("associated files", &archive);
    }
}

/// Examines an ExecuTorch program.
pub(crate) fn executorch(examiner: &mut Examiner<'_>, input: &dyn ReadAt) {
    let program = executorch::read(input);
    examiner.part("ExecuTorch program", input.len(), None);
    for operator in &program.operators {
        let namespace = operator.split("::").next().unwrap_or_default();
        if !EXECUTORCH_OWN.contains(&namespace) {
            let here = examiner.here();
            let why = "ExecuTorch does not have this operator: the application must bring it.";
            examiner.found(
                Rule::CustomOperator,
                Weight::Custom,
                here,
                operator.clone(),
                why,
            );
        }
    }
    for delegate in &program.delegates {
        let here = examiner.here();
        let why = "A part of the program is compiled for this back end, in its own form.";
        examiner.found(
            Rule::CustomOperator,
            Weight::Note,
            here,
            delegate.clone(),
            why,
        );
    }
    if let Some(error) = &program.broken {
        broken(examiner, &error.to_string());
    }
}

/// Examines a Core ML model.
pub(crate) fn core_ml(examiner: &mut Examiner<'_>, input: &dyn ReadAt) {
    let wire = Wire::new(input);
    let model = coreml::read(&wire);
    examiner.part("Core ML", input.len(), None);
    for (need, offset) in &model.needs {
        let place = examiner.at(*offset);
        let (rule, weight, shown, why) = match need {
            Need::CustomLayer(class) | Need::CustomModel(class) => (
                Rule::CustomOperator,
                Weight::Custom,
                class.clone(),
                "A class of the application computes this.".to_owned(),
            ),
            Need::Linked(name, path) => {
                let (weight, why) = match paths::leaves(path).or(paths::leaves(name)) {
                    Some(reason) => (
                        Weight::Dangerous,
                        format!("Another model is loaded: {reason}."),
                    ),
                    None => (Weight::Unknown, "Another model is loaded.".to_owned()),
                };
                (
                    Rule::LoadsMore,
                    weight,
                    format!("{name:?} in {path:?}"),
                    why,
                )
            }
            Need::Blob(file) => {
                let inside = file.strip_prefix("@model_path/").unwrap_or(file);
                if let Some(reason) = paths::leaves(inside) {
                    let why =
                        format!("Numbers are read from outside of the model's folder: {reason}.");
                    (Rule::PathEscapes, Weight::Dangerous, file.clone(), why)
                } else {
                    let why = "Numbers are read from that file.".to_owned();
                    (Rule::ExternalFile, Weight::Note, file.clone(), why)
                }
            }
        };
        examiner.found(rule, weight, place, shown, why);
    }
    if let Some(error) = &model.broken {
        broken(examiner, &error.to_string());
    }
    if model.too_deep {
        let here = examiner.here();
        examiner.gap(
            GapKind::TooDeep,
            here,
            "models within models, more than are followed",
        );
    }
    if model.left_out > 0 {
        limit(examiner, model.left_out);
    }
}

/// Examines a program of Paddle.
pub(crate) fn paddle(examiner: &mut Examiner<'_>, input: &dyn ReadAt) {
    let wire = Wire::new(input);
    let steps = layers::paddle(&wire);
    examiner.part("Paddle program", input.len(), None);
    for (name, (offset, _)) in &steps.steps {
        let place = examiner.at(*offset);
        let (rule, weight, why) = match name.as_str() {
            "py_func" | "py_layer" => {
                let why =
                    "Running it calls a Python function of the process that loads the program.";
                (Rule::CodeOperator, Weight::Dangerous, why)
            }
            "save" | "save_combine" => (
                Rule::FileOperator,
                Weight::Dangerous,
                "Running it writes a file.",
            ),
            "load" | "load_combine" => (
                Rule::FileOperator,
                Weight::Unknown,
                "Running it reads a file.",
            ),
            _ => continue,
        };
        examiner.found(rule, weight, place, name.clone(), why);
    }
    steps_end(examiner, &steps);
}

/// Examines a net of Caffe.
pub(crate) fn caffe(examiner: &mut Examiner<'_>, input: &dyn ReadAt) {
    let wire = Wire::new(input);
    let steps = layers::caffe(&wire);
    examiner.part("Caffe net", input.len(), None);
    if let Some((offset, texts)) = steps.steps.get("Python") {
        let place = examiner.at(*offset);
        let shown = format!("Python({})", texts.join(", "));
        let why = "The layer imports a Python module and runs a class of it.";
        examiner.found(Rule::CodeOperator, Weight::Dangerous, place, shown, why);
    }
    steps_end(examiner, &steps);
}

fn steps_end(examiner: &mut Examiner<'_>, steps: &Steps) {
    if let Some(error) = &steps.broken {
        broken(examiner, &error.to_string());
    }
    if steps.left_out > 0 {
        limit(examiner, steps.left_out);
    }
}

fn broken(examiner: &mut Examiner<'_>, error: &str) {
    let here = examiner.here();
    examiner.gap(
        GapKind::Broken,
        here,
        format!("the model breaks off: {error}"),
    );
}

fn limit(examiner: &mut Examiner<'_>, left_out: u64) {
    let here = examiner.here();
    let what = format!("{left_out} names beyond the limit of the record");
    examiner.gap(GapKind::Limit, here, what);
}
