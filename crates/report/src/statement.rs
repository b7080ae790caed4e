//! What is shown of signed statements about runs, and of approvals: plain data, as in [`crate::view`].

use domain::Gap;
use serde::Serialize;

use crate::vouch::Verdict;

/// A statement.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct StatementView {
    /// Its file.
    pub file: String,
    /// What it states: a URI of ours.
    pub predicate: String,
    /// Names of what it is about.
    pub about: Vec<String>,
}

/// `taintline attest RUN --json`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct AttestView {
    /// `taintline.attest/1`.
    pub schema: &'static str,
    /// The run.
    pub run: String,
    /// The key that signed, by its hint.
    pub key: String,
    /// `affected`, `clean` or `unknown`.
    pub verdict: String,
    /// What was written.
    pub statements: Vec<StatementView>,
    /// Gaps that the statements list.
    pub gaps: u64,
}

/// `taintline attest --verify FILE --json`.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct StatementVerifyView {
    /// `taintline.attest-verify/1`.
    pub schema: &'static str,
    /// The answer.
    pub verdict: Verdict,
    /// What was verified.
    pub statement: StatementView,
    /// The key that it names.
    pub key: Option<String>,
    /// Why it is not valid.
    pub why: Option<String>,
    /// The statement itself, once its signature holds.
    pub content: Option<serde_json::Value>,
}

/// An approval.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ApprovalView {
    /// `run`, `sealed` or `bytes`.
    pub what: String,
    /// The run's id, or a digest.
    pub about: String,
    /// `allowed`, `not_asked`, `unknown`, `other_purpose`, `not_yet`, `expired`, `open`, `revoked` or `wrong`.
    pub standing: &'static str,
    /// As whom the list of allowed signers knows the key.
    pub who: Option<String>,
    /// Fingerprint of the key.
    pub key: String,
    /// Whether somebody touched the hardware token; nothing for keys in files.
    pub touched: Option<bool>,
    /// The signer's words.
    pub note: Option<String>,
    /// The time as of which the key was judged, RFC 3339, and who says so: `stamped` or `stated`.
    pub at: (String, &'static str),
    /// What is wrong.
    pub why: Option<String>,
    /// Where it is recorded: log and number.
    pub recorded: (String, u64),
}

/// `taintline approvals --json`, and what `approve` made.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ApprovalsView {
    /// `taintline.approvals/1`.
    pub schema: &'static str,
    /// In the order of recording.
    pub approvals: Vec<ApprovalView>,
    /// What was written for other tools.
    pub exported: Vec<String>,
    /// What could not be read: there may be more approvals, or fewer.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub gaps: Vec<Gap>,
}
