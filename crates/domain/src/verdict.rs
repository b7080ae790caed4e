//! A verdict that is kept: what was examined, by which scanner, and exactly which bytes the answer rests on.
//!
//! An examination is a pure function of the scanner, the file's last name, its size and the bytes that the scanner asked
//! for. So a verdict is bound to those: the *layout* is the list of ranges that were read, the *content* is what stood in
//! them. Where both are the same, the same scanner would ask for the same ranges, get the same bytes and say the same.
//! Bytes that were never asked for are plain numbers to every loader, and the verdict says nothing about them. This
//! module knows no format: a binding by members would be only as good as the list of members.

use serde::{Deserialize, Serialize};

use crate::scan::{Examination, Verdict};
use crate::{Digest, Hasher, PathText};

/// Who judged, and by what.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Scanner {
    /// Version of Taintline.
    pub version: String,
    /// Digest of the program file.
    pub program: Digest,
    /// Digest of the rules that ship with it.
    pub rules: Digest,
    /// Digest of what a project's policy admitted, and of frameworks that were left out; absent where there is neither.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub policy: Option<Digest>,
    /// Every byte was read.
    #[serde(default)]
    pub full: bool,
}

/// What a verdict rests on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Bound {
    /// Last component of the path: the scanner compares it with the content.
    pub name: String,
    /// Size of the file in bytes.
    pub size: u64,
    /// Digest of the size and of the ranges ([`layout`]).
    pub layout: Digest,
    /// Digest of the bytes in the ranges, in their order.
    pub content: Digest,
    /// Ranges that were read: offset and length in bytes, ascending, apart from each other.
    pub ranges: Vec<(u64, u64)>,
}

/// The digest of a layout: of the size, and of offset and length of each range, as little-endian 64-bit numbers.
pub fn layout(size: u64, ranges: &[(u64, u64)]) -> Digest {
    let mut hasher = Hasher::new();
    hasher.update(&size.to_le_bytes());
    for (offset, length) in ranges {
        hasher.update(&offset.to_le_bytes());
        hasher.update(&length.to_le_bytes());
    }
    hasher.finish()
}

/// One file as it was judged: a line of a segment.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Judged {
    /// Where it was, absolute; `-` is standard input.
    pub path: PathText,
    /// When, microseconds since 1970.
    pub at_us: i64,
    /// What became of it, with what a baseline accepted taken into account.
    pub verdict: Verdict,
    /// How long the examination took, in microseconds of wall time.
    pub took_us: u64,
    /// What the verdict rests on; absent where it was not read to the end of the examination.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bound: Option<Bound>,
    /// The verdict depends on files beside this one too.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub beside: bool,
    /// It was not examined again: the answer is that of an earlier entry.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub as_in: Option<Kept>,
    /// Findings that a baseline accepted, by their index.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub accepted: Vec<usize>,
    /// What was learnt.
    pub examination: Examination,
}

/// Where a verdict is kept.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Kept {
    /// The log.
    pub log: String,
    /// Number of the entry in it.
    pub entry: u64,
    /// Line of the entry's segment, from 0.
    pub line: u64,
    /// When the file was examined, microseconds since 1970.
    pub at_us: i64,
}

/// The entry of a segment of verdicts: [`Judged`], one JSON record a line, in a blob.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Examined {
    /// Who judged.
    pub scanner: Scanner,
    /// How many records.
    pub count: u64,
    /// The blob.
    pub segment: Digest,
    /// HMAC-SHA256 of scanner and segment under the store's secret, which lies outside the store: only an answer that it
    /// vouches for is used again.
    pub keyed: Digest,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moving_a_range_or_the_end_of_the_file_changes_the_layout() {
        let known = layout(100, &[(0, 10), (50, 10)]);
        assert_eq!(known, layout(100, &[(0, 10), (50, 10)]));
        for (size, ranges) in [
            (101, &[(0, 10), (50, 10)][..]),
            (100, &[(0, 10), (51, 10)]),
            (100, &[(0, 11), (50, 10)]),
            (100, &[(0, 10)]),
        ] {
            assert_ne!(known, layout(size, ranges));
        }
    }
}
