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
    /// How far honest computations lie apart, where they are not the same to the last digit; null where they are, or that was not learnt.
    pub band: Option<BandView>,
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
    /// The user that it ran as, where root had it run as another.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub user: Option<u32>,
    /// What restricts the answer.
    pub limits: Vec<Gap>,
    /// What it cost.
    pub cost: ReplayCost,
    /// Log and number of the entry; null in the recorded report itself.
    pub ledger: Option<(String, u64)>,
}

/// A job for another machine, or its answer.
#[derive(Debug, Clone, Serialize)]
pub struct JobView {
    /// `taintline.replay-job/1`.
    pub schema: &'static str,
    /// `job`, `answer` or `accepted`.
    pub what: &'static str,
    /// The file.
    pub file: String,
    /// Name of the run.
    pub run: String,
    /// The key that signed it.
    pub key: String,
    /// The same, as PEM: what the other side must have from somewhere else than this file.
    pub public: String,
    /// Parts that it holds.
    pub members: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Log and number of the entry, of an answer that was accepted.
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
    /// The key that signed the answer, where another machine did; null where it was this store's.
    pub signed_by: Option<String>,
    /// Log and number of the entry.
    pub ledger: (String, u64),
}

/// What clean replays on other numbers of threads and with other instructions were found to differ in, and the record beside it.
#[derive(Debug, Clone, Serialize)]
pub struct BandView {
    /// With what each replay was made, in words; the first is the one that is compared.
    pub replays: Vec<String>,
    /// Records of steps in which a difference of the weights would be seen.
    pub told: u64,
    /// Of each part and parameter the step at which the record comes nearest to its limit.
    pub parts: Vec<BandPart>,
}

/// A part of the band. Distances are medians over the sampled elements: for weights in units of the step's change, for gradients, losses and
/// norms in units of their own size.
#[derive(Debug, Clone, Serialize)]
pub struct BandPart {
    /// Part.
    pub part: &'static str,
    /// Parameter; empty for losses and norms.
    pub of: String,
    /// Rank.
    pub rank: u32,
    /// Step.
    pub step: u64,
    /// How far apart the two farthest clean replays were, up to this step.
    pub clean: f64,
    /// How far the record is from the nearest.
    pub record: f64,
    /// How far it may be.
    pub limit: f64,
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

/// `taintline audit run --json`.
#[derive(Debug, Clone, Serialize)]
pub struct AuditRunView {
    /// `taintline.audit-run/1`.
    pub schema: &'static str,
    /// Name of the run.
    pub run: String,
    /// Its id.
    pub id: String,
    /// What follows.
    pub verdict: ReplayVerdict,
    /// The share of the steps that is taken to be tampered with.
    pub rate: f64,
    /// The chance that none of these is among what was computed again.
    pub chance: f64,
    /// Stretches between two checkpoints that the run has.
    pub stretches_total: u64,
    /// Those that were drawn and computed again, up to the first that differs.
    pub stretches: Vec<StretchView>,
    /// Records of steps that were compared.
    pub compared: u64,
    /// Records of steps that the run has.
    pub recorded: u64,
    /// The first difference.
    pub finding: Option<Finding>,
    /// What restricts the answer.
    pub limits: Vec<Gap>,
    /// Seconds that all of it took.
    pub seconds: f64,
    /// Log and number of the entry; null in the recorded report itself.
    pub ledger: Option<(String, u64)>,
}

/// A stretch between two checkpoints that was computed again.
#[derive(Debug, Clone, Serialize)]
pub struct StretchView {
    /// First step.
    pub first: u64,
    /// Last step.
    pub last: u64,
    /// Records of steps that were compared.
    pub compared: u64,
    /// What followed.
    pub verdict: ReplayVerdict,
    /// How long it took.
    pub seconds: f64,
}

/// An audit in the view of its run.
#[derive(Debug, Clone, Serialize)]
pub struct AuditLine {
    /// What follows.
    pub verdict: ReplayVerdict,
    /// The first step that differs.
    pub step: Option<u64>,
    /// Records of steps that were compared.
    pub compared: u64,
    /// Records of steps that the run has.
    pub recorded: u64,
    /// The share of the steps that is taken to be tampered with.
    pub rate: f64,
    /// The chance that none of these was among what was computed again.
    pub chance: f64,
    /// Who audited.
    pub who: String,
    /// Log and number of the entry.
    pub ledger: (String, u64),
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
