//! Formats of which it is enough to know what they are: numbers by design, or native by design.
//!
//! Trees of gradient boosting and tables of words hold nothing that runs, whoever reads them. Plans for accelerators are
//! machine code, which nobody can vouch for. Between them stand containers that are recognised and not read; these are
//! gaps.

use domain::scan::{GapKind, Rule, Weight};
use formats::{ReadAt, msgpack};

use crate::Examiner;

/// What is known of a format.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Other {
    /// Nothing in it runs; in words what it is.
    Numbers(&'static str),
    /// Machine code for a processor or an accelerator.
    Plan(&'static str),
    /// It may hold more than is read here.
    NotRead(&'static str),
    /// MessagePack, as Flax writes it.
    MessagePack,
}

const MAGICS: &[(&[u8], Other)] = &[
    (b"CBM1", Other::Numbers("CatBoost model")),
    (b"binf", Other::Numbers("XGBoost model")),
    (
        b"{L\0\0\0\0\0\0\0\x07learner",
        Other::Numbers("XGBoost model in UBJSON"),
    ),
    (
        b"{L\0\0\0\0\0\0\0\x06Config",
        Other::Numbers("XGBoost model in UBJSON"),
    ),
    (b"tree\nversion=", Other::Numbers("LightGBM model")),
    (b"\x12\x01\0\0\0\0\0\0", Other::Numbers("MXNet parameters")),
    (b"\xba\x16\x4f\x2f", Other::Numbers("fastText model")),
    (b"ptrt", Other::Plan("TensorRT plan")),
    (b"ftrt", Other::Plan("TensorRT plan")),
    (b"RKNN", Other::Plan("RKNN program")),
    (b"MZqFpD='", Other::Plan("portable executable with a model")),
    (b"MATLAB 5.0 MAT-file", Other::NotRead("MATLAB data")),
    (b"B\0C\0N\0", Other::NotRead("CNTK model")),
];

/// What `input` is, if it is one of these; `head` is its beginning.
pub(crate) fn recognise(head: &[u8], input: &dyn ReadAt) -> Option<Other> {
    let mut magics = MAGICS.iter();
    let known = magics.find(|(magic, _)| head.starts_with(magic));
    let known = known.map(|(_, other)| *other);
    known.or_else(|| msgpack::recognise(input).then_some(Other::MessagePack))
}

/// Tells what it is.
pub(crate) fn examine(examiner: &mut Examiner<'_>, other: Other, input: &dyn ReadAt) {
    let here = examiner.here();
    match other {
        Other::Numbers(name) => {
            examiner.part(name, input.len(), None);
            examiner.raw(input.len());
        }
        Other::Plan(name) => {
            examiner.part(name, input.len(), None);
            let why = "It is compiled for one kind of processor, and nobody can read what it does.";
            examiner.found(Rule::NativeCode, Weight::Unknown, here, name, why);
        }
        Other::NotRead(name) => {
            examiner.part(name, input.len(), None);
            examiner.gap(GapKind::NotRead, here, name);
        }
        Other::MessagePack => message_pack(examiner, input),
    }
}

/// Types 1 to 3 are Flax's arrays, complex numbers and scalars; -1 is the time stamp of the encoding itself.
fn message_pack(examiner: &mut Examiner<'_>, input: &dyn ReadAt) {
    examiner.part("MessagePack", input.len(), None);
    let here = examiner.here();
    match msgpack::walk(input) {
        Ok(walk) => {
            examiner.raw(walk.raw_bytes);
            for kind in walk
                .extensions
                .iter()
                .filter(|kind| !matches!(kind, -1 | 1..=3))
            {
                let why =
                    "An extension that Flax does not know: what reads it decides what it means.";
                let shown = format!("extension type {kind}");
                examiner.found(
                    Rule::UnknownReference,
                    Weight::Unknown,
                    here.clone(),
                    shown,
                    why,
                );
            }
            if walk.cut {
                examiner.gap(GapKind::Limit, here, "more values than are walked");
            }
        }
        Err(error) => examiner.gap(GapKind::Broken, here, error.to_string()),
    }
}
