//! What one training step did, as its own process says it.

use serde::{Deserialize, Serialize};

use crate::data::Reading;
use crate::{Fingerprint, Number, Passes, Replica, Sample, Wait};

/// Where a step's number comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum StepSource {
    /// The optimizer's own state says it; it goes on over a resume.
    OptimizerState,
    /// The sensor counted since the process started; a resumed run starts again at 1.
    Counted,
}

/// Fingerprints of the random-number states behind the step.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct RngStates {
    /// PyTorch's CPU generator.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub torch: Option<Fingerprint>,
    /// Python's `random`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub python: Option<Fingerprint>,
    /// NumPy's global state, when NumPy is in use.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub numpy: Option<Fingerprint>,
    /// PyTorch's generators of the accelerators in use, in the order of their numbers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub device: Option<Fingerprint>,
}

/// Wall time of one step by phase, in microseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Phases {
    /// Between the last optimizer step and the first forward pass, and between micro-batches.
    pub data_us: u64,
    /// In the root module's forward pass.
    pub forward_us: u64,
    /// In backward passes.
    pub backward_us: u64,
    /// From the last backward pass to the optimizer (clipping, unscaling, reductions).
    pub between_us: u64,
    /// In the optimizer's step.
    pub optimizer_us: u64,
    /// In the sensor's own hooks.
    pub sensor_us: u64,
}

/// Fingerprints of what stood before an optimizer's first step in a process.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Begun {
    /// All parameters.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub parameters: Option<Fingerprint>,
    /// The optimizer's state.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub optimizer_state: Option<Fingerprint>,
}

/// What one of torch's schedulers set.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Scheduled {
    /// Its class.
    pub class: String,
    /// The learning rate of each group.
    pub rates: Vec<Number>,
    /// Steps on end, before this one, in which the groups had the schedule's rates.
    pub agreed: u64,
}

/// A number that the program gave to what shows or keeps its metrics.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Reported {
    /// What it was given to: `transformers`, `lightning`, `tensorboard`.
    pub by: String,
    /// Its name there.
    pub name: String,
    /// The number.
    pub value: Number,
}

/// One optimizer step of one rank.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct StepRecord {
    /// Number of the step, from 1.
    pub step: u64,
    /// Where the number comes from.
    pub source: StepSource,
    /// Which optimizer of the process, in order of first use.
    #[serde(default)]
    pub optimizer: u32,
    /// Loss at each backward pass, as the pass was started (after any division for accumulation).
    #[serde(default)]
    pub losses: Vec<Number>,
    /// 2-norm of all gradients as the optimizer is about to use them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gradient_norm: Option<Number>,
    /// The same before clipping, as `clip_grad_norm_` returned it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gradient_norm_before_clip: Option<Number>,
    /// Learning rate of each parameter group.
    #[serde(default)]
    pub learning_rates: Vec<Number>,
    /// All parameters after the step, in the order of the groups.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub parameters: Option<Fingerprint>,
    /// The optimizer's state after the step.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub optimizer_state: Option<Fingerprint>,
    /// Random-number states after the step.
    #[serde(default)]
    pub rng: RngStates,
    /// Each batch as it reached the model.
    #[serde(default)]
    pub batches: Vec<Fingerprint>,
    /// Wall time by phase.
    #[serde(default)]
    pub phases: Phases,
    /// What stood at a few positions before the step and behind it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sample: Option<Box<Sample>>,
    /// The rates of the optimizer's schedule, where they are not those of its groups.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scheduled: Option<Box<Scheduled>>,
    /// Batches that loaders of torch read since the last step.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub readings: Vec<Reading>,
    /// What happened since this optimizer's last step.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub passes: Option<Box<Passes>>,
    /// The place among the processes that train together.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub replica: Option<Box<Replica>>,
    /// Phases in which the thread did not run for a while.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub waits: Vec<Wait>,
    /// Metrics that the program reported since the last step.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub reported: Vec<Reported>,
    /// What stood before it: told of the first step in a replay.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub begun: Option<Box<Begun>>,
}

impl StepRecord {
    /// A step that was counted here, of which nothing else is known.
    #[must_use]
    pub fn bare(step: u64, optimizer: u32) -> Self {
        Self {
            step,
            source: StepSource::Counted,
            optimizer,
            losses: Vec::new(),
            gradient_norm: None,
            gradient_norm_before_clip: None,
            learning_rates: Vec::new(),
            parameters: None,
            optimizer_state: None,
            rng: RngStates::default(),
            batches: Vec::new(),
            phases: Phases::default(),
            sample: None,
            scheduled: None,
            readings: Vec::new(),
            passes: None,
            replica: None,
            waits: Vec::new(),
            reported: Vec::new(),
            begun: None,
        }
    }
}
