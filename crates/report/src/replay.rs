//! What is shown of a replay. Plain data, as in [`crate::view`].

use std::collections::BTreeMap;

use domain::replay::{ReplayVerdict, ReplayWay};
use domain::{Finding, Gap};
use serde::Serialize;

use crate::environment::EnvVerdict;

/// `taintline replay --json`.
#[derive(Debug, Clone, Serialize)]
pub struct ReplayView {
    /// `taintline.replay/1`.
    pub schema: &'static str,
    /// Name of the run.
    pub run: String,
    /// Its id.
    pub id: String,
    /// What follows.
    pub verdict: ReplayVerdict,
    /// How the replay came to the state before its first step.
    pub way: ReplayWay,
    /// First step that was compared, and the last; 0 where there is none.
    pub first: u64,
    /// See `first`.
    pub last: u64,
    /// Records of steps that were compared, of all ranks and optimizers.
    pub compared: u64,
    /// Wanted ones that the replay did not come to; 0 where it differs before.
    pub missing: u64,
    /// Records of steps that the run has.
    pub recorded: u64,
    /// In how many of them each part was compared.
    pub parts: BTreeMap<&'static str, u64>,
    /// The first difference.
    pub finding: Option<Finding>,
    /// What the replay's own sensors found.
    pub again: Vec<Finding>,
    /// Whether a second replay came to the same; null where none was made.
    pub repeated: Option<&'static str>,
    /// The environment.
    pub environment: ReplayEnvironment,
    /// Where the code came from.
    pub code: String,
    /// Files of code and configuration.
    pub scripts: u64,
    /// Files of data and checkpoints that were held against the record.
    pub inputs: u64,
    /// Which run saved what it began with, in words.
    pub lineage: Vec<String>,
    /// It could write nowhere but in its own folders.
    pub confined: bool,
    /// What restricts the answer.
    pub limits: Vec<Gap>,
    /// What it cost.
    pub cost: ReplayCost,
    /// Log and number of the entry; null in the recorded report itself.
    pub ledger: Option<(String, u64)>,
}

/// A replay in the view of its run.
#[derive(Debug, Clone, Serialize)]
pub struct ReplayLine {
    /// What follows.
    pub verdict: ReplayVerdict,
    /// How it began.
    pub way: ReplayWay,
    /// First step that was compared, and the last; 0 where there is none.
    pub first: u64,
    /// See `first`.
    pub last: u64,
    /// Records of steps that were compared.
    pub compared: u64,
    /// The first step that differs.
    pub step: Option<u64>,
    /// Its rank.
    pub rank: Option<u32>,
    /// Who replayed.
    pub who: String,
    /// Log and number of the entry.
    pub ledger: (String, u64),
}

/// The environment of a replay.
#[derive(Debug, Clone, Serialize)]
pub struct ReplayEnvironment {
    /// Its folder.
    pub prefix: String,
    /// Digest of its tree.
    pub tree: String,
    /// Files.
    pub files: u64,
    /// What its check said.
    pub verdict: EnvVerdict,
    /// How many findings that had.
    pub findings: u64,
    /// Whether the run had the same tree; null where it recorded none.
    pub same: Option<bool>,
    /// Files that differ.
    pub differs: Vec<String>,
    /// How many more.
    pub more: u64,
}

/// Seconds.
#[derive(Debug, Clone, Copy, Serialize)]
pub struct ReplayCost {
    /// From start to end of the process.
    pub wall_seconds: f64,
    /// Of the compared steps, as the first rank told them.
    pub steps_seconds: f64,
    /// The same in the run.
    pub recorded_seconds: f64,
}

/// `taintline audit plan --json`.
#[derive(Debug, Clone, Serialize)]
pub struct AuditPlanView {
    /// `taintline.audit-plan/1`.
    pub schema: &'static str,
    /// Name of the run; null where none was named.
    pub run: Option<String>,
    /// Its steps; null where none was named, and the answer is for very many.
    pub steps: Option<u64>,
    /// The share of the steps that is tampered with.
    pub rate: f64,
    /// The chance of a miss that was asked for.
    pub miss: f64,
    /// Steps that must be computed again, drawn at random.
    pub needed: u64,
    /// The chance of a miss that is then left.
    pub chance: f64,
    /// Seconds that these steps took in the run; null where none was named.
    pub seconds: Option<f64>,
}
