//! What is shown of who wrote a file. Plain data, as in [`crate::view`].

use domain::{Digest, Gap};
use serde::Serialize;

/// `taintline blame --json`.
#[derive(Debug, Clone, Serialize)]
pub struct BlameView {
    /// `taintline.blame/1`.
    pub schema: &'static str,
    /// What was asked for: a path or a digest.
    pub asked: String,
    /// What is recorded about it, in order of time.
    pub links: Vec<LinkView>,
    /// What is not known.
    pub gaps: Vec<Gap>,
}

/// One thing that is recorded about a file.
#[derive(Debug, Clone, Serialize)]
pub struct LinkView {
    /// When, RFC 3339.
    pub at: String,
    /// `changed`, `saved` or `loaded`.
    pub kind: &'static str,
    /// The path.
    pub path: String,
    /// The path before, when it was renamed.
    pub from: Option<String>,
    /// What was done, in words.
    pub what: String,
    /// Digest before it, where it is known.
    pub before: Option<Digest>,
    /// Digest behind it, where it is known.
    pub after: Option<Digest>,
    /// How it is known: `observed`, `looked_up`, `changed`, `several`, `unknown`; of what a run says itself `claimed`.
    pub known: &'static str,
    /// Who, in words.
    pub who: String,
    /// Whom that process came of, the nearest first.
    pub parents: Vec<String>,
    /// The rung of the ladder of attribution, 0 to 3.
    pub rung: u8,
    /// What may be said on it.
    pub may_be_said: String,
    /// Who else had a process then that could have written there.
    pub could: Vec<String>,
    /// How many more.
    pub could_more: u64,
    /// Log and number of the entry.
    pub ledger: (String, u64),
}
