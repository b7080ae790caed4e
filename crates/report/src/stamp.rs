//! What is shown of times that somebody else vouches for: plain data, as in [`crate::view`].

use serde::{Deserialize, Serialize};

/// What is believed of a time stamp.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Standing {
    /// An authority that the user trusts vouches for it, and it is of these bytes.
    Holds,
    /// Nothing is wrong with it as far as can be told without roots: nobody was named who is trusted.
    NotChecked,
    /// It proves nothing.
    Wrong,
}

/// One time stamp.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StampView {
    /// What is believed of it.
    pub standing: Standing,
    /// The time that it states, RFC 3339; absent where it cannot be read.
    pub time: Option<String>,
    /// How far that time may be off, in microseconds, where it says so.
    pub accuracy_us: Option<u64>,
    /// The authority's name, once it is believed.
    pub authority: Option<String>,
    /// Why it is not checked, or proves nothing.
    pub why: Option<String>,
    /// The log whose head it is over; absent for the stamp of a model signature.
    pub log: Option<String>,
    /// Entries of that log that it covers.
    pub size: Option<u64>,
    /// Where the stamp itself is recorded: log and number.
    pub recorded: Option<(String, u64)>,
}

/// `taintline seal --time-response --json`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct SealStampView {
    /// `taintline.seal-stamp/1`.
    pub schema: &'static str,
    /// What is sealed.
    pub path: String,
    /// The model signature that now holds the stamp.
    pub signature: String,
    /// The stamp.
    pub stamp: StampView,
}

/// `taintline ledger stamp --json`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct StampedView {
    /// `taintline.stamp/1`.
    pub schema: &'static str,
    /// `asked`: a request was written. `stamped`: a token is recorded.
    pub state: &'static str,
    /// The log whose head it is about.
    pub log: String,
    /// Its entries under that head.
    pub size: u64,
    /// Their root, in hexadecimal.
    pub root: String,
    /// What is stamped: SHA-256 of the signed head, in hexadecimal.
    pub imprint: String,
    /// The request that was written.
    pub request: Option<String>,
    /// The stamp that was taken.
    pub stamp: Option<StampView>,
}
