//! The tree head: how many entries a log has and their root, signed (C2SP tlog-checkpoint).
//!
//! Whoever keeps one, in memory, on paper or on another host, can later tell whether the log still begins with the same
//! entries. The file is called `checkpoint` because the specification does; elsewhere here that word is a training's.

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use domain::Digest;

use crate::note::{self, Note, VerifierKey};
use crate::tree::empty_root;

/// Size and root of a log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TreeHead {
    /// Entries.
    pub size: u64,
    /// RFC 6962 root over them.
    pub root: Digest,
}

impl TreeHead {
    /// The head of a log without entries.
    pub fn empty() -> Self {
        Self {
            size: 0,
            root: empty_root(),
        }
    }

    /// The text that is signed: origin, size, root, each on its line.
    pub fn text(&self, origin: &str) -> String {
        format!(
            "{origin}\n{}\n{}\n",
            self.size,
            STANDARD.encode(self.root.as_bytes())
        )
    }
}

impl fmt::Display for TreeHead {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            formatter,
            "{} entries, root {}",
            self.size,
            self.root.short()
        )
    }
}

/// Bytes that are no tree head of this log.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum TreeHeadError {
    /// Not a signed note.
    #[error("the tree head is malformed: {0}")]
    Note(#[from] note::NoteSyntax),
    /// Not origin, size and root in the one form.
    #[error("the tree head does not hold an origin, a size and a root")]
    Form,
    /// Of another log.
    #[error("the tree head belongs to another log")]
    Origin,
    /// Without a good signature of the log's key.
    #[error("the tree head is not signed by the log's key")]
    Signature,
}

/// Reads a tree head and verifies that `key` signed it. The origin must be the key's name.
pub fn open(bytes: &[u8], key: &VerifierKey) -> Result<(TreeHead, Note), TreeHeadError> {
    let note = note::parse(bytes)?;
    let (origin, head) = parse_text(note.text()).ok_or(TreeHeadError::Form)?;
    if origin != key.name() {
        return Err(TreeHeadError::Origin);
    }
    if !note.is_signed_by(key) {
        return Err(TreeHeadError::Signature);
    }
    Ok((head, note))
}

/// The head that a note says, whoever signed it.
pub(crate) fn unsigned(bytes: &[u8]) -> Option<TreeHead> {
    let note = note::parse(bytes).ok()?;
    parse_text(note.text()).map(|(_, head)| head)
}

/// Takes the signed text apart: origin, and size with root. Extension lines, which the specification discourages, are
/// refused.
pub(crate) fn parse_text(text: &str) -> Option<(&str, TreeHead)> {
    parse_extended(text).filter(|(origin, head)| head.text(origin) == text)
}

/// The same of a log that is not ours: with extension lines, which say nothing of the tree.
pub fn parse_extended(text: &str) -> Option<(&str, TreeHead)> {
    let mut lines = text.split_inclusive('\n');
    let (origin, size, root) = (lines.next()?, lines.next()?, lines.next()?);
    if !text.ends_with('\n') || lines.any(|line| line == "\n") {
        return None;
    }
    let origin = origin
        .strip_suffix('\n')
        .filter(|origin| !origin.is_empty())?;
    let root = STANDARD.decode(root.strip_suffix('\n')?).ok()?;
    let head = TreeHead {
        size: size.strip_suffix('\n')?.parse().ok()?,
        root: Digest::from_bytes(root.try_into().ok()?),
    };
    // What is not in the one form (a sign, a zero in front) shows here.
    text.starts_with(&head.text(origin))
        .then_some((origin, head))
}

#[cfg(test)]
mod tests {
    use super::*;

    const CHECKPOINT: &[u8] = include_bytes!("../tests/vectors/tlog-1000/checkpoint");
    const VKEY: &str = include_str!("../tests/vectors/tlog-1000/vkey");

    #[test]
    fn a_tree_head_that_another_implementation_signed_is_opened() {
        let key = VerifierKey::parse(VKEY).unwrap();
        let (head, _) = open(CHECKPOINT, &key).unwrap();
        assert_eq!(head.size, 1000);
        let other = VerifierKey::new("lab.example/other", [1; 32]);
        assert_eq!(open(CHECKPOINT, &other).unwrap_err(), TreeHeadError::Origin);
        let other = VerifierKey::new("lab.example/ledger", [1; 32]);
        assert_eq!(
            open(CHECKPOINT, &other).unwrap_err(),
            TreeHeadError::Signature
        );
    }

    #[test]
    fn extension_lines_are_read_of_other_logs_alone_and_never_empty() {
        let text = TreeHead::empty().text("log");
        let extended = format!("{text}extension\nanother\n");
        assert_eq!(parse_extended(&extended), Some(("log", TreeHead::empty())));
        assert_eq!(parse_text(&extended), None);
        for bad in [
            format!("{text}\n"),
            format!("{text}a\n\nb\n"),
            format!("{text}a"),
        ] {
            assert_eq!(parse_extended(&bad), None, "{bad:?}");
        }
    }

    #[test]
    fn only_the_one_form_is_a_tree_head() {
        let text = TreeHead::empty().text("log");
        assert_eq!(parse_text(&text), Some(("log", TreeHead::empty())));
        for bad in [
            text.replace("\n0\n", "\n00\n"),
            text.replace("\n0\n", "\n+0\n"),
            text.replace("\n0\n", "\n-1\n"),
            text.replace("\n0\n", "\n18446744073709551616\n"),
            text.replace('=', ""),
            format!("{text}extension\n"),
            text.replacen("log", "", 1),
            text.replace("log\n", ""),
            text.trim_end().to_owned(),
        ] {
            assert_eq!(parse_text(&bad), None, "{bad:?}");
        }
    }
}
