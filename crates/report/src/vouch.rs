//! What is shown of a seal and of its verification: plain data, as in [`crate::view`].

use domain::Gap;
use serde::Serialize;

use crate::stamp::StampView;

/// `taintline seal --json`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct SealView {
    /// `taintline.seal/1`.
    pub schema: &'static str,
    /// What was sealed.
    pub path: String,
    /// Root of the model signature.
    pub root: String,
    /// The value over all entries.
    pub tree: String,
    /// Who signed.
    pub signer: SignerView,
    /// The model signature.
    pub signature: String,
    /// The seal.
    pub seal: String,
    /// Files.
    pub files: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Folders and links.
    pub others: u64,
    /// What no signature covers.
    pub excluded: ExcludedView,
    /// What is worth knowing and no error.
    pub notes: Vec<String>,
    /// Where the act is recorded: log and its size.
    pub ledger: String,
    /// The time stamp in the model signature.
    pub stamp: Option<StampView>,
    /// The request for one that was written.
    pub time_request: Option<String>,
}

/// Who signed.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct SignerView {
    /// `key` or `certificate`.
    pub method: String,
    /// The key, by its hint.
    pub key: Option<String>,
    /// What the user calls it.
    pub name: Option<String>,
    /// Subject of the certificate.
    pub subject: Option<String>,
    /// Time at which the certificate was looked at, RFC 3339, and who says so: `now`, `given`, `stamped`.
    pub at: Option<(String, &'static str)>,
}

/// What no signature covers.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct ExcludedView {
    /// Names at the top or below.
    pub names: Vec<String>,
    /// Files below them.
    pub files: u64,
    /// Their bytes.
    pub bytes: u64,
}

/// The three answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// Signed by somebody who is trusted, and all that is signed is so.
    Valid,
    /// Something that was looked at is not as it should be.
    Invalid,
    /// Nothing is wrong, but not everything could be looked at.
    CannotCheck,
}

/// `taintline verify --json`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct VerifyView {
    /// `taintline.verify/1`.
    pub schema: &'static str,
    /// The answer.
    pub verdict: Verdict,
    /// What was verified.
    pub path: String,
    /// The signature file.
    pub signature: String,
    /// Root of the model signature.
    pub root: Option<String>,
    /// The value over all entries, where there is a seal.
    pub tree: Option<String>,
    /// Who signed, once that is known.
    pub signer: Option<SignerView>,
    /// What is wrong with the signatures themselves.
    pub problems: Vec<String>,
    /// What differs from what was signed.
    pub differences: Vec<DifferenceView>,
    /// What could not be checked.
    pub gaps: Vec<Gap>,
    /// Files that are signed.
    pub files: u64,
    /// Bytes of those that are there.
    pub bytes: u64,
    /// Bytes that were read for this answer.
    pub bytes_read: u64,
    /// Files that were not read again: unchanged since their bytes were checked.
    pub files_known: u64,
    /// What no signature covers.
    pub excluded: ExcludedView,
    /// What is worth knowing and no error.
    pub notes: Vec<String>,
    /// Time stamps over the model signature.
    pub time_stamps: Vec<StampView>,
}

/// One difference.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct DifferenceView {
    /// Where.
    pub path: String,
    /// `missing`, `extra`, `kind`, `size`, `content`, `mode`, `target`.
    pub what: &'static str,
    /// As signed, in words.
    pub signed: Option<String>,
    /// As it is.
    pub found: Option<String>,
    /// Ranges of bytes that differ, first and one past the last, where pieces were signed.
    pub ranges: Vec<(u64, u64)>,
}
