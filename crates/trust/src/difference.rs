//! What differs between what was signed and what is there: one value a difference, each with its name.

use std::ops::Range;

use domain::PathText;

/// The most byte ranges that are told of one file.
pub const MAX_RANGES: usize = 16;

/// One difference.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Difference {
    /// Where.
    pub path: PathText,
    /// What.
    pub what: What,
}

/// What differs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum What {
    /// Signed and not there.
    Missing,
    /// There and not signed.
    Extra {
        /// `a file`, `a folder`, …
        kind: &'static str,
    },
    /// Another kind of thing.
    Kind {
        /// As signed.
        signed: &'static str,
        /// As it is.
        found: &'static str,
    },
    /// Another length.
    Size {
        /// As signed, in bytes.
        signed: u64,
        /// As it is.
        found: u64,
    },
    /// Other bytes.
    Content {
        /// In which ranges, where pieces were signed; at most [`MAX_RANGES`].
        ranges: Vec<Range<u64>>,
    },
    /// Other permission bits.
    Mode {
        /// As signed.
        signed: u32,
        /// As it is.
        found: u32,
    },
    /// A link that points elsewhere.
    Target {
        /// As signed.
        signed: PathText,
        /// As it is.
        found: PathText,
    },
}

impl What {
    /// One word for it, the same in every output.
    pub fn word(&self) -> &'static str {
        match self {
            Self::Missing => "missing",
            Self::Extra { .. } => "extra",
            Self::Kind { .. } => "kind",
            Self::Size { .. } => "size",
            Self::Content { .. } => "content",
            Self::Mode { .. } => "mode",
            Self::Target { .. } => "target",
        }
    }
}
