//! Where the thread that trains was not running, as its own process says it.

use serde::{Deserialize, Serialize};

/// A part of a step, in the order of [`crate::Phases`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Phase {
    /// Between the last step and the first forward pass, and between micro-batches.
    Data,
    /// Forward passes.
    Forward,
    /// Backward passes.
    Backward,
    /// From the last backward pass to the optimizer.
    Between,
    /// The optimizer's step.
    Optimizer,
}

impl Phase {
    /// All of them, in their order.
    pub const ALL: [Self; 5] = [
        Self::Data,
        Self::Forward,
        Self::Backward,
        Self::Between,
        Self::Optimizer,
    ];
}

/// A phase in which the thread did not run for a millisecond or more.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Wait {
    /// In which phase.
    pub phase: Phase,
    /// Wall time in which it neither ran nor was ready to, in microseconds.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub asleep_us: u64,
    /// Time in which it was ready and waited for a processor, in microseconds.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub queued_us: u64,
    /// Processor time of the whole process meanwhile, in microseconds: others may have worked for it.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub worked_us: u64,
    /// The process read from disks or wrote to them meanwhile.
    #[serde(default, skip_serializing_if = "is_false")]
    pub disk: bool,
    /// It has child processes that work for it, such as a loader's.
    #[serde(default, skip_serializing_if = "is_false")]
    pub workers: bool,
}

#[expect(
    clippy::trivially_copy_pass_by_ref,
    reason = "serde asks for a reference"
)]
fn is_zero(value: &u64) -> bool {
    *value == 0
}

#[expect(
    clippy::trivially_copy_pass_by_ref,
    reason = "serde asks for a reference"
)]
fn is_false(value: &bool) -> bool {
    !value
}
