//! `domain`: one encoding for everything that has a digest, and nothing lost on the way through JSON.

use domain::sensor::Envelope;
use domain::{Digest, Entry, Fingerprint, PathText, RunId, Tree};

/// [`Tree::decode`] refuses whatever [`Tree::encode`] would not have written.
pub fn tree(data: &[u8]) -> bool {
    let Ok(tree) = Tree::decode(data) else {
        return false;
    };
    assert_same(&tree.encode(), data, "a second encoding of one tree");
    assert_eq!(tree.len(), tree.iter().count());
    tree.totals();
    true
}

/// [`Entry::decode`]: whatever is taken can be written again, unless it is too long then, and reads back as the same.
pub fn entry(data: &[u8]) -> bool {
    let Ok(entry) = Entry::decode(data) else {
        return false;
    };
    match entry.encode() {
        Ok(bytes) => {
            let again = Entry::decode(&bytes);
            assert!(
                again.as_ref().is_ok_and(|again| *again == entry),
                "{again:?}"
            );
            let twice = again.ok().and_then(|again| again.encode().ok());
            assert_eq!(
                twice.as_deref(),
                Some(&*bytes),
                "a second encoding of one entry"
            );
        }
        Err(error) => assert!(
            matches!(error, domain::entry::EntryError::TooLong { .. }),
            "{error}"
        ),
    }
    entry.blobs();
    true
}

/// The JSON of an [`Envelope`], as a frame carries it.
pub fn envelope(data: &[u8]) -> bool {
    let Ok(envelope) = serde_json::from_slice::<Envelope>(data) else {
        return false;
    };
    let text = serde_json::to_string(&envelope).map_err(|error| error.to_string());
    let again = text
        .as_deref()
        .ok()
        .and_then(|text| serde_json::from_str::<Envelope>(text).ok())
        .and_then(|again| serde_json::to_string(&again).ok());
    // Through text, because a float that is not a number does not equal itself.
    assert_eq!(again, text.ok(), "an envelope does not read back");
    true
}

/// [`PathText`]: bytes come back, and what is shown has no control characters.
pub fn path_text(data: &[u8]) -> bool {
    let path = PathText::from_bytes(data);
    assert_eq!(path.to_bytes(), data);
    assert!(!path.as_str().chars().any(char::is_control));
    assert_eq!(PathText::from_text(path.as_str()), path);
    let json = serde_json::to_string(&path).ok();
    let back = json
        .as_deref()
        .and_then(|json| serde_json::from_str(json).ok());
    assert_eq!(back.as_ref(), Some(&path));
    if let Ok(text) = str::from_utf8(data) {
        let read = PathText::from_text(text);
        assert_eq!(
            PathText::from_text(read.as_str()),
            read,
            "reading twice differs"
        );
        assert!(!read.as_str().chars().any(char::is_control));
    }
    true
}

/// The short names: digest, fingerprint, run. Digests and fingerprints have one form.
pub fn names(data: &[u8]) -> bool {
    let Ok(text) = str::from_utf8(data) else {
        return false;
    };
    let digest = text.parse::<Digest>();
    if let Ok(digest) = &digest {
        assert_eq!(digest.to_string(), text);
    }
    let fingerprint = text.parse::<Fingerprint>();
    if let Ok(fingerprint) = &fingerprint {
        assert_eq!(fingerprint.to_string(), text);
    }
    let run = text.parse::<RunId>();
    if let Ok(run) = &run {
        assert_eq!(run.to_string().parse().ok(), Some(*run));
        assert!(!run.name(u32::from(data[0])).as_str().is_empty());
    }
    digest.is_ok() || fingerprint.is_ok() || run.is_ok()
}

/// Like `assert_eq!`, with the texts rather than numbers in the message.
fn assert_same(written: &[u8], read: &[u8], what: &str) {
    assert!(
        written == read,
        "{what}: written as {:?}",
        String::from_utf8_lossy(&written[..written.len().min(2000)])
    );
}
