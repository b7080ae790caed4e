//! What is shown of a bisection. Plain data, as in [`crate::view`].

use domain::{Finding, Gap};
use serde::Serialize;

/// `taintline bisect --json`.
#[derive(Debug, Clone, Serialize)]
pub struct BisectView {
    /// `taintline.bisect/1`.
    pub schema: &'static str,
    /// Name of the run.
    pub run: String,
    /// Its id.
    pub id: String,
    /// What follows.
    pub outcome: BisectOutcome,
    /// The first step that is not as it was computed again.
    pub finding: Option<Finding>,
    /// In what the run and its replay are others.
    pub differences: Vec<DifferenceView>,
    /// How many more.
    pub more: u64,
    /// Those that bring the recorded step about when they are put back; empty where that was not asked for or none does.
    pub cause: Vec<DifferenceView>,
    /// Whether all others together bring it about as well; null where there are none, or that was not asked.
    pub others_suffice: Option<bool>,
    /// What was asked, in order.
    pub probes: Vec<ProbeView>,
    /// What restricts the answer.
    pub limits: Vec<Gap>,
    /// Seconds that all of it took.
    pub seconds: f64,
    /// Log and number of the entry; null in the recorded report itself.
    pub ledger: Option<(String, u64)>,
}

/// What a bisection came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum BisectOutcome {
    /// The first bad step, and what brings it about.
    Cause,
    /// The first bad step.
    Step,
    /// All that was asked is as recorded.
    Nothing,
    /// Nothing can be said.
    CannotTest,
}

/// What a difference is of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum DifferenceKind {
    /// A file of the environment.
    Environment,
    /// A variable by which code comes in.
    Variable,
    /// A file of the project.
    Code,
}

/// One difference between a run and its replay.
#[derive(Debug, Clone, Serialize)]
pub struct DifferenceView {
    /// Of what.
    pub kind: DifferenceKind,
    /// Which.
    pub name: String,
    /// How it differs.
    pub how: &'static str,
}

/// One replay.
#[derive(Debug, Clone, Serialize)]
pub struct ProbeView {
    /// What was asked, in words.
    pub what: String,
    /// `good`, `bad` or `cannot test`.
    pub answer: &'static str,
    /// How long it took.
    pub seconds: f64,
    /// Whether it was answered by an earlier bisection that did not come to its end.
    pub remembered: bool,
}
