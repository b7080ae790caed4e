//! What is shown of witnesses: plain data, for JSON and for the plain renderer.

use serde::Serialize;

/// How far a log is witnessed.
#[derive(Debug, Clone, Serialize)]
pub struct WitnessesView {
    /// The log.
    pub log: String,
    /// Entries that it has.
    pub entries: u64,
    /// Entries that the cosigned head covers; absent where there is none.
    pub witnessed: Option<u64>,
    /// Whether enough witnesses cosigned that head.
    pub quorum: bool,
    /// The fewest that are enough.
    pub needed: usize,
    /// Each witness of the policy.
    pub witnesses: Vec<WitnessView>,
    /// Names of keys that cosigned and that the policy does not have.
    pub strangers: Vec<String>,
    /// What is wrong with the cosigned head that lies there, where something is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub problem: Option<String>,
    /// How old the first entry is that no quorum covers, in seconds.
    pub waiting_seconds: Option<u64>,
}

/// One witness.
#[derive(Debug, Clone, Serialize)]
pub struct WitnessView {
    /// Its name in the policy.
    pub name: String,
    /// When it cosigned, by its own clock; empty when it did not say. Absent when it did not cosign.
    pub cosigned: Option<String>,
    /// Why it does not count.
    pub missing: Option<String>,
    /// Why it cosigned an earlier head and not the newest, when it was asked.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub trouble: Option<String>,
}

/// Two heads of one log that contradict each other.
#[derive(Debug, Clone, Serialize)]
pub struct ContradictionView {
    /// What it is, in words.
    pub what: String,
    /// Who shows the other head.
    pub shown_by: String,
    /// The head that was shown, as signed by the log's key.
    pub theirs: String,
    /// The head of the log as it is, signed by the same key.
    pub ours: String,
}

/// `taintline ledger cosign --json`.
#[derive(Debug, Clone, Serialize)]
pub struct CosignView {
    /// `taintline.cosign/1`.
    pub schema: &'static str,
    /// Each log.
    pub logs: Vec<WitnessesView>,
    /// Whether a quorum has cosigned the newest head of each, as it was when the witnesses were asked.
    pub quorum: bool,
    /// Proofs of two histories.
    pub contradictions: Vec<ContradictionView>,
    /// What could not be done, and why.
    pub problems: Vec<String>,
}

impl CosignView {
    /// Whether every log has its quorum and nothing speaks against any.
    pub fn is_clean(&self) -> bool {
        self.quorum && self.contradictions.is_empty() && self.problems.is_empty()
    }
}

/// `taintline ledger witness key --json`.
#[derive(Debug, Clone, Serialize)]
pub struct WitnessKeysView {
    /// `taintline.witness-keys/1`.
    pub schema: &'static str,
    /// The public keys, in signed-note form, each with its algorithm.
    pub keys: Vec<(String, String)>,
}
