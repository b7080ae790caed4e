//! Model formats beside pickles: which one content is, and who judges it.
//!
//! The examiner asks here for content that is no pickle, no archive and no text. Recognition is by structure where a format
//! has no magic, so that a name is never needed. For members of archives it is the other members that make a file what it
//! is: `config.json` is a text anywhere else and a model's description in an archive of Keras.

use formats::native::{self, Native};
use formats::protobuf_kind::{self, Message};
use formats::{ReadAt, executorch, hdf5 as hdf, tflite};

use crate::others::{self, Other};
use crate::{Bytes, Examiner, hdf5, keras, lite, native as code, onnx, tensorflow, torchscript};

/// A format of this family.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Kind {
    /// A protocol buffer of a known schema.
    Protobuf(Message),
    /// HDF5, with or without a user block.
    Hdf5,
    /// TensorFlow Lite.
    TfLite,
    /// ExecuTorch.
    ExecuTorch,
    /// Machine code.
    Native(Native),
    /// Known, and not read further.
    Other(Other),
}

/// What `input` is, if it is of this family. Formats with a magic are tried first.
pub fn recognise(input: &dyn ReadAt) -> Option<Kind> {
    let size = usize::try_from(input.len()).unwrap_or(usize::MAX);
    let mut head = vec![0; size.min(native::HEADER_BYTES)];
    input.read_at(0, &mut head).ok()?;
    if let Some(native) = native::recognise(&head) {
        return Some(Kind::Native(native));
    }
    if tflite::recognise(&head) {
        return Some(Kind::TfLite);
    }
    if executorch::recognise(&head) {
        return Some(Kind::ExecuTorch);
    }
    if hdf::signature(input).is_some() {
        return Some(Kind::Hdf5);
    }
    if let Some(other) = others::recognise(&head, input) {
        return Some(Kind::Other(other));
    }
    protobuf_kind::recognise(input).map(Kind::Protobuf)
}

/// Examines `input`, which is of `kind`. `name` is how its container or folder calls it.
pub fn examine(examiner: &mut Examiner<'_>, kind: Kind, name: &str, input: &dyn ReadAt) {
    if let Some(bytes) = carries(kind) {
        examiner.search(input, bytes);
    }
    match kind {
        Kind::Hdf5 => hdf5::examine(examiner, name, input),
        Kind::TfLite => lite::tflite(examiner, input),
        Kind::ExecuTorch => lite::executorch(examiner, input),
        Kind::Native(native) => code::examine(examiner, native, input),
        Kind::Other(other) => others::examine(examiner, other, input),
        Kind::Protobuf(Message::Onnx) => onnx::examine(examiner, name, input),
        Kind::Protobuf(Message::CoreMl) => lite::core_ml(examiner, input),
        Kind::Protobuf(Message::Paddle) => lite::paddle(examiner, input),
        Kind::Protobuf(Message::Caffe) => lite::caffe(examiner, input),
        Kind::Protobuf(Message::SentencePiece) => {
            examiner.part("SentencePiece model", input.len(), None);
            examiner.raw(input.len());
        }
        Kind::Protobuf(message) => tensorflow::examine(examiner, name, message, input),
    }
}

/// What machine code within content of this kind means; `None` where its reader knows, or where it is code anyway.
const fn carries(kind: Kind) -> Option<Bytes> {
    match kind {
        Kind::Native(_)
        | Kind::Protobuf(Message::Onnx)
        | Kind::Other(Other::Plan(_) | Other::NotRead(_)) => None,
        Kind::ExecuTorch => Some(Bytes::Compiled),
        Kind::Protobuf(_)
        | Kind::Hdf5
        | Kind::TfLite
        | Kind::Other(Other::Numbers(_) | Other::MessagePack) => Some(Bytes::Data),
    }
}

/// Examines the JSON text that describes a Keras model, wherever it stands; `offset` is where in the member.
pub fn keras_config(examiner: &mut Examiner<'_>, json: &[u8], offset: u64) {
    keras::examine_config(examiner, json, offset);
}

/// What a member of an archive is because of the members beside it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// The description of a Keras model.
    KerasConfig,
    /// A source of TorchScript.
    TorchScript,
    /// An exported program of torch.
    Exported,
    /// The list of modules of a `torch.package`.
    Package,
}

/// The role of the member `name` among all `names` of its archive; `None` leaves it to its own content.
pub fn role(names: &[&str], name: &str) -> Option<Role> {
    let base = |path: &str| {
        path.rsplit(['/', '\\'])
            .next()
            .unwrap_or(path)
            .to_ascii_lowercase()
    };
    let folder = |path: &str| path.rfind(['/', '\\']).map_or(0, |end| end);
    let beside = |wanted: &[&str]| {
        names
            .iter()
            .any(|other| folder(other) == folder(name) && wanted.contains(&base(other).as_str()))
    };
    let inside = name.split_once('/').map_or(name, |(_, inside)| inside);
    let is_python = name.to_ascii_lowercase().ends_with(".py");
    let torch = names.iter().any(|other| {
        let other = base(other);
        other == "constants.pkl" || other == "data.pkl"
    });
    if base(name) == "config.json"
        && beside(&["metadata.json", "model.weights.h5", "model.weights.json"])
    {
        Some(Role::KerasConfig)
    } else if torch && is_python && inside.to_ascii_lowercase().starts_with("code/") {
        Some(Role::TorchScript)
    } else if inside.ends_with(".data/extern_modules") {
        Some(Role::Package)
    } else if is_exported(inside)
        && names
            .iter()
            .any(|other| base(other) == "archive_format" || base(other) == "version")
    {
        Some(Role::Exported)
    } else {
        None
    }
}

/// The names that versions of torch gave to an exported program.
fn is_exported(inside: &str) -> bool {
    let models = inside
        .strip_prefix("models/")
        .is_some_and(|rest| rest.to_ascii_lowercase().ends_with(".json"));
    models || inside == "serialized_exported_program.json"
}

/// Examines a member of an archive in its role.
pub fn examine_member(examiner: &mut Examiner<'_>, role: Role, input: &dyn ReadAt) {
    match role {
        Role::KerasConfig => keras::examine_member(examiner, input),
        Role::TorchScript => torchscript::source(examiner, input),
        Role::Exported => torchscript::exported(examiner, input),
        Role::Package => torchscript::package(examiner, input),
    }
}
