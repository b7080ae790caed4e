//! Steps of a run that were computed again, in a process of their own, from trusted code and recorded inputs.

use serde::{Deserialize, Serialize};

use crate::{Digest, Person, RunId};

/// How the replaying process came to the state before its first step.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ReplayWay {
    /// It began where the run began.
    Start,
    /// The script resumed from a checkpoint of the run, by its own means.
    Resume,
    /// The script went through the steps before without computing them; then what a checkpoint of the run holds was put in their place.
    Substitute,
}

/// What a replay says of the steps that it was about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ReplayVerdict {
    /// All that could be compared is as recorded.
    Same,
    /// A step is not.
    Differs,
    /// The replay says nothing about the run: why stands in its report.
    CannotTest,
}

/// A run was bisected: an act of its own.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Bisected {
    /// The run.
    pub of: RunId,
    /// The first bad step, and its rank.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub step: Option<u64>,
    /// See `step`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rank: Option<u32>,
    /// How many differences bring it about together; 0 where that is not known.
    pub causes: u64,
    /// Replays that were made.
    pub probes: u64,
    /// Tree of the environment that they ran in.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub environment: Option<Digest>,
    /// Blob with everything that was said of it, as JSON.
    pub report: Digest,
    /// Who.
    pub person: Person,
}

/// Stretches of a run, drawn at random, were computed again: an act of its own.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Audited {
    /// The run.
    pub of: RunId,
    /// What follows.
    pub verdict: ReplayVerdict,
    /// The first step that differs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub step: Option<u64>,
    /// Records of steps that were compared.
    pub compared: u64,
    /// Records of steps that the run has.
    pub recorded: u64,
    /// The share of the steps that is taken to be tampered with, in billionths.
    pub rate_ppb: u64,
    /// The chance that none of these was among what was drawn, in billionths, rounded up.
    pub chance_ppb: u64,
    /// Tree of the environment that it ran in.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub environment: Option<Digest>,
    /// Blob with everything that was said of it, as JSON.
    pub report: Digest,
    /// Who.
    pub person: Person,
}

/// Steps of a run were computed again: an act of its own.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Replayed {
    /// The run.
    pub of: RunId,
    /// How.
    pub way: ReplayWay,
    /// First step that was compared, and the last; 0 where there is none.
    pub first: u64,
    /// See `first`.
    pub last: u64,
    /// Records of steps that were compared, of all ranks and optimizers.
    pub compared: u64,
    /// What follows.
    pub verdict: ReplayVerdict,
    /// The first step that differs, and its rank.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub step: Option<u64>,
    /// See `step`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rank: Option<u32>,
    /// Tree of the environment that it ran in.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub environment: Option<Digest>,
    /// Blob with everything that was said of it, as JSON.
    pub report: Digest,
    /// Blob with the steps as they were computed again, one JSON record a line.
    pub transcript: Digest,
    /// Who.
    pub person: Person,
    /// The key that signed the answer, where another machine replayed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub signed_by: Option<String>,
    /// Digest of the statement of the job that was answered.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub job: Option<Digest>,
}
