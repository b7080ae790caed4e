//! What the code of a TorchScript archive, a `torch.package` or an exported program reaches for.
//!
//! TorchScript's source is a small language without imports: it calls operators by name. Those of torch compute, but a few
//! open files, and other namespaces need native libraries. An exported program names its operators as paths of attributes
//! that are walked from `torch` when it is loaded. A package brings Python and has it imported.

use std::collections::BTreeSet;

use domain::scan::{GapKind, Rule, Weight};
use formats::ReadAt;

use crate::{Examiner, calls};

/// The largest source that is read, in bytes.
const MAX_SOURCE: u64 = 8 << 20;
/// The largest description of an exported program that is read, in bytes.
const MAX_PROGRAM: u64 = 16 << 20;
/// The most different names that are judged of one source or program.
const MAX_NAMES: usize = 8192;
/// Bytes behind a name that are shown with it.
const MAX_REST: usize = 160;
/// The longest target of a node, in bytes.
const MAX_TARGET: usize = 512;
/// Namespaces of operators that torch and its sister libraries bring.
const NAMESPACES: &[&str] = &[
    "aten",
    "prim",
    "prims",
    "quantized",
    "_quantized",
    "quantized_decomposed",
    "sparse",
    "mkldnn",
    "mkldnn_prepacked",
    "prepacked",
    "xnnpack",
    "onednn",
    "inductor",
    "higher_order",
    "static_runtime",
    "c10d",
    "_c10d_functional",
    "c10d_functional",
    "torchvision",
    "torchaudio",
    "torchtext",
    "torchao",
    "fbgemm",
    "rngprims",
    "profiler",
    "metal",
    "metal_prepacked",
    "vulkan",
    "vulkan_prepacked",
    "_caffe2",
    "nvprims",
    "image",
    "video_reader",
    "export",
    "mtia",
    "streams",
    "tensorrt",
    "torch_ipex",
    "rnn",
    "cuda",
    "_test",
    "torchrec",
    "mkl",
    "symm_mem",
    "triton",
];
/// Operators that open files, in any namespace.
const FILES: &[&str] = &[
    "from_file",
    "save",
    "load",
    "read_file",
    "write_file",
    "decode_video",
    "read_video_from_file",
    "save_audio",
    "load_audio",
    "sox_io_load_audio_file",
    "sox_io_save_audio_file",
    "write_jpeg",
    "write_png",
];
const NETWORK: &[&str] = &[
    "rpc_async",
    "rpc_sync",
    "rpc_remote",
    "download_url_to_file",
];

/// Examines a file `code/….py` of a TorchScript archive.
pub(crate) fn source(examiner: &mut Examiner<'_>, input: &dyn ReadAt) {
    examiner.part("TorchScript source", input.len(), None);
    let Some(bytes) = held(examiner, input, MAX_SOURCE) else {
        return;
    };
    let text = text_of(bytes);
    let mut told = BTreeSet::new();
    words(&text, &mut |word| {
        let heads = ["torch.", "ops.", "__torch__.torch.classes."];
        let looks = word.python || heads.iter().any(|head| word.path.starts_with(head));
        if looks && told.len() < MAX_NAMES && told.insert((word.python, word.path)) {
            judge_word(examiner, word);
        }
    });
    tell_names(examiner, told.len());
    examiner.release(input.len());
}

/// All bytes of `input`, if they are not more than `most` and the budget has them. The caller gives them back.
fn held(examiner: &mut Examiner<'_>, input: &dyn ReadAt, most: u64) -> Option<Vec<u8>> {
    let here = examiner.here();
    if input.len() > most || !examiner.hold(input.len()) {
        let what = format!(
            "{} bytes are more than are read of such a text",
            input.len()
        );
        examiner.gap(GapKind::Limit, here, what);
        return None;
    }
    let mut bytes = vec![0; usize::try_from(input.len()).unwrap_or_default()];
    if let Err(error) = input.read_at(0, &mut bytes) {
        examiner.release(input.len());
        examiner.gap(GapKind::Unreadable, here, error.to_string());
        return None;
    }
    Some(bytes)
}

/// The bytes as text of the same length: where they are none, letters beyond ASCII are masked.
fn text_of(bytes: Vec<u8>) -> String {
    String::from_utf8(bytes).unwrap_or_else(|error| {
        let bytes = error.into_bytes().into_iter();
        let masked = bytes.map(|byte| {
            if byte.is_ascii() {
                char::from(byte)
            } else {
                '_'
            }
        });
        masked.collect()
    })
}

/// A dotted name in a source.
struct Word<'a> {
    path: &'a str,
    offset: u64,
    /// It is called with a caret: an operator in Python.
    python: bool,
    /// What stands behind it, on its line.
    rest: &'a str,
}

/// Visits the dotted names of `text` outside of texts and comments.
fn words<'a>(text: &'a str, visit: &mut dyn FnMut(&Word<'a>)) {
    let bytes = text.as_bytes();
    let mut at = 0;
    // Whether an operand ended here, so that a caret is arithmetic.
    let mut operand = false;
    let mut caret = false;
    while let Some(byte) = bytes.get(at) {
        match byte {
            b'#' => at += line(bytes, at, usize::MAX),
            b'"' | b'\'' => {
                at = behind_text(bytes, at);
                (operand, caret) = (true, false);
            }
            _ if is_letter(*byte) => {
                let rest = bytes.get(at..).unwrap_or_default();
                let size = rest
                    .iter()
                    .take_while(|byte| is_letter(**byte) || **byte == b'.')
                    .count();
                let path = text.get(at..at + size).unwrap_or_default();
                let behind = text.get(at + size..at + size + line(bytes, at + size, MAX_REST));
                visit(&Word {
                    path: path.trim_end_matches('.'),
                    offset: at as u64,
                    python: caret,
                    rest: behind.unwrap_or_default(),
                });
                let keyword =
                    matches!(path, "return" | "in" | "if" | "else" | "and" | "or" | "not");
                (operand, caret) = (!keyword, false);
                at += size;
            }
            b'^' => {
                caret = !operand;
                at += 1;
            }
            b' ' | b'\t' => at += 1,
            _ => {
                operand = matches!(byte, b')' | b']');
                caret = false;
                at += 1;
            }
        }
    }
}

const fn is_letter(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'_' || byte >= 0x80
}

/// Bytes up to the end of the line, at most `most`.
fn line(bytes: &[u8], at: usize, most: usize) -> usize {
    let rest = bytes.get(at..).unwrap_or_default().iter();
    rest.take(most).take_while(|byte| **byte != b'\n').count()
}

/// The place behind the text that starts at `at`.
fn behind_text(bytes: &[u8], at: usize) -> usize {
    let quote = bytes.get(at).copied().unwrap_or_default();
    let triple = bytes
        .get(at..at + 3)
        .is_some_and(|three| three.iter().all(|byte| *byte == quote));
    let mut at = at + if triple { 3 } else { 1 };
    while let Some(byte) = bytes.get(at) {
        if *byte == b'\\' {
            at += 2;
        } else if triple && bytes.get(at..at + 3) == Some(&[quote; 3]) {
            return at + 3;
        } else if !triple && (*byte == quote || *byte == b'\n') {
            return at + 1;
        } else {
            at += 1;
        }
    }
    bytes.len()
}

fn judge_word(examiner: &mut Examiner<'_>, word: &Word<'_>) {
    let place = examiner.at(word.offset);
    let shown = format!("{}{}", word.path, word.rest);
    if word.python {
        let why = "The code calls an operator that is written in Python.";
        return examiner.found(Rule::CodeOperator, Weight::Dangerous, place, shown, why);
    }
    let parts: Vec<&str> = word.path.split('.').collect();
    let (namespace, operator) = match parts.as_slice() {
        ["ops", namespace, operator, ..] | ["torch", "ops", namespace, operator, ..] => {
            (*namespace, *operator)
        }
        ["torch", operator] => ("aten", *operator),
        ["__torch__", "torch", "classes", namespace, ..] => (*namespace, ""),
        _ => return,
    };
    judge_operator(examiner, (namespace, operator), place, shown);
}

fn judge_operator(
    examiner: &mut Examiner<'_>,
    (namespace, operator): (&str, &str),
    place: domain::scan::Place,
    shown: String,
) {
    if FILES.contains(&operator) {
        let why = "Running it opens, reads or writes a file.";
        examiner.found(Rule::FileOperator, Weight::Dangerous, place, shown, why);
    } else if NETWORK.contains(&operator) {
        let why = "Running it calls functions on other machines.";
        examiner.found(Rule::OpensNetwork, Weight::Unknown, place, shown, why);
    } else if operator == "PythonOp" {
        let why = "The code calls an operator that is written in Python.";
        examiner.found(Rule::CodeOperator, Weight::Dangerous, place, shown, why);
    } else if !NAMESPACES.contains(&namespace) {
        let why = "Torch does not have this: a native library must bring it.";
        examiner.found(Rule::CustomOperator, Weight::Custom, place, shown, why);
    }
}

/// Examines the JSON of an exported program: the names that its nodes call.
pub(crate) fn exported(examiner: &mut Examiner<'_>, input: &dyn ReadAt) {
    examiner.part("exported torch program", input.len(), None);
    let Some(bytes) = held(examiner, input, MAX_PROGRAM) else {
        return;
    };
    let text = plain(&text_of(bytes));
    let mut told = BTreeSet::new();
    for (place, _) in text.match_indices("\"target\"") {
        let rest = text.get(place + 8..).unwrap_or_default().trim_start();
        let value = rest.strip_prefix(':').map(str::trim_start);
        let value = value.and_then(|value| value.strip_prefix('"'));
        let Some(target) = value else {
            continue;
        };
        let end = target
            .bytes()
            .take(MAX_TARGET)
            .position(|byte| byte == b'"');
        let target = end.map_or("torch.…", |end| target.get(..end).unwrap_or_default());
        if told.len() < MAX_NAMES && told.insert(target) {
            judge_target(examiner, target, place as u64);
        }
    }
    tell_names(examiner, told.len());
    examiner.release(input.len());
}

/// Names beyond the limit were not judged, and that is no answer.
fn tell_names(examiner: &mut Examiner<'_>, names: usize) {
    if names >= MAX_NAMES {
        let here = examiner.here();
        let what = format!("more than {MAX_NAMES} names in one source");
        examiner.gap(GapKind::Limit, here, what);
    }
}

/// JSON in which no letter of ASCII is written as an escape, so that no name hides behind one.
fn plain(json: &str) -> String {
    let mut parts = json.split("\\u00");
    let mut text = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let digits = part
            .get(..2)
            .and_then(|digits| u8::from_str_radix(digits, 16).ok());
        let letter = digits.filter(|byte| byte.is_ascii_graphic() && !matches!(byte, b'"' | b'\\'));
        if let Some(letter) = letter {
            text.push(char::from(letter));
            text.push_str(part.get(2..).unwrap_or_default());
        } else {
            text.push_str("\\u00");
            text.push_str(part);
        }
    }
    text
}

/// A target is walked from attribute to attribute, starting at one of three modules.
fn judge_target(examiner: &mut Examiner<'_>, target: &str, offset: u64) {
    let place = examiner.at(offset);
    let parts: Vec<&str> = target.split('.').collect();
    match parts.as_slice() {
        ["torch", "ops", namespace, operator, ..] => {
            judge_operator(examiner, (namespace, operator), place, target.to_owned());
        }
        [
            "torch",
            "_higher_order_ops" | "_export" | "_library" | "autograd" | "amp",
            ..,
        ] => {}
        ["torch", one]
            if one.starts_with("sym_") || one.starts_with("_sym_") || *one == "device" => {}
        ["torch", .., last] => {
            let effect = parts.get(1).and_then(|module| calls::effect(module, last));
            let weight = effect.map_or(Weight::Unknown, |effect| effect.weight);
            let rule = effect.map_or(Rule::ResolvesAttributes, |effect| effect.rule);
            let why =
                "Loading the program walks from torch to this function, which is no operator.";
            examiner.found(rule, weight, place, target.to_owned(), why);
        }
        ["_operator", "attrgetter" | "methodcaller" | "call"] => {
            let why = "Loading the program reaches functions that it does not name.";
            examiner.found(
                Rule::ResolvesAttributes,
                Weight::Dangerous,
                place,
                target.to_owned(),
                why,
            );
        }
        _ => {}
    }
}

/// Tells what a `torch.package` is; `input` is its list of modules that it takes from outside.
pub(crate) fn package(examiner: &mut Examiner<'_>, input: &dyn ReadAt) {
    examiner.part("torch package", input.len(), None);
    let here = examiner.here();
    let why = "A package of torch brings Python sources, and loading an object of it imports them.";
    examiner.found(
        Rule::BringsCode,
        Weight::Unknown,
        here.clone(),
        "torch.package",
        why,
    );
    let Some(bytes) = held(examiner, input, MAX_SOURCE) else {
        return;
    };
    let text = text_of(bytes);
    let outside = text
        .lines()
        .map(str::trim)
        .filter(|module| !module.is_empty());
    let outside = outside.take(64).collect::<Vec<_>>().join(", ");
    if !outside.is_empty() {
        let why = "These modules are imported from the machine that loads it.";
        examiner.found(Rule::ImportsCode, Weight::Note, here, outside, why);
    }
    examiner.release(input.len());
}
