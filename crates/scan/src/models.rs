//! Model formats beside pickles: which one content is, and who judges it.
//!
//! The examiner asks here for content that has no pickle, no archive and no text in it. Recognition is by structure where a
//! format has no magic, so that a name is never needed.

use formats::ReadAt;
use formats::protobuf_kind::{self, Message};

use crate::{Examiner, onnx, tensorflow};

/// A format of this family.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A protocol buffer of a known schema.
    Protobuf(Message),
}

/// What `input` is, if it is of this family.
pub fn recognise(input: &dyn ReadAt) -> Option<Kind> {
    protobuf_kind::recognise(input).map(Kind::Protobuf)
}

/// Examines `input`, which is of `kind`. `name` is how its container or folder calls it.
pub fn examine(examiner: &mut Examiner<'_>, kind: Kind, name: &str, input: &dyn ReadAt) {
    match kind {
        Kind::Protobuf(Message::Onnx) => onnx::examine(examiner, name, input),
        Kind::Protobuf(message) => tensorflow::examine(examiner, name, message, input),
    }
}

/// Examines a member of an archive by what the other members make it; `false` leaves it to its own content.
///
/// `names` are the names of all members, `name` is the one of this.
pub fn archive_member(
    examiner: &mut Examiner<'_>,
    names: &[String],
    name: &str,
    input: &dyn ReadAt,
) -> bool {
    let _ = names;
    if name.ends_with("config.json") {
        let mut bytes = vec![0; usize::try_from(input.len()).unwrap_or_default()];
        if input.read_at(0, &mut bytes).is_ok() {
            crate::keras::examine_config(examiner, &bytes, 0);
        }
        return true;
    }
    false
}
