//! No live sample in git: hostile pickles are kept as assembly text and built in the test.
//!
//! Content decides, never the name; a few names are refused besides, because nothing of theirs belongs in a source tree.

use super::Finding;
use std::path::Path;

const BINARY_NAMES: &[&str] = &["ckpt", "joblib", "pkl", "pickle", "pt", "pth", "pyc", "so"];

/// A finding when the file is, or is named like, something that a loader would execute.
pub(super) fn check(path: &str, bytes: &[u8]) -> Option<Finding> {
    let extension = Path::new(path).extension();
    let named = extension.is_some_and(|found| BINARY_NAMES.iter().any(|name| found == *name));
    let what = if is_pickle(bytes) {
        "a live pickle"
    } else if is_zip_with_pickle(bytes) {
        "a zip with a pickle in it"
    } else if named {
        "a file of this kind"
    } else {
        return None;
    };
    Some(Finding::new(path, 0, format!("{what} has no place in git")))
}

/// The opcode PROTO with a known version at the start, STOP at the end.
fn is_pickle(bytes: &[u8]) -> bool {
    matches!(bytes, [0x80, 2..=5, .., b'.'])
}

fn is_zip_with_pickle(bytes: &[u8]) -> bool {
    bytes.starts_with(b"PK\x03\x04") && bytes.windows(4).any(|window| window == b".pkl")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_live_pickle_is_found_under_any_name() {
        assert!(check("notes.txt", b"\x80\x04N.").is_some());
        assert!(check("notes.txt", b"PK\x03\x04....archive/data.pkl").is_some());
    }

    #[test]
    fn a_checkpoint_is_refused_by_its_name_alone() {
        assert!(check("ckpt/step-1.pt", b"").is_some());
    }

    #[test]
    fn text_about_pickles_is_welcome() {
        assert!(check("proto.asm", b"PROTO 4\nNONE\nSTOP .\n").is_none());
    }
}
