//! What happened between two updates of one optimizer, as its own process says it: passes, gradients, modes, random numbers.
//!
//! What is as usual is not written, so that a plain step adds next to nothing. The values of the gradients travel as bytes in
//! the form of `training::passes::wire`, at the positions of the step's [`Sample`](crate::Sample).

use serde::{Deserialize, Serialize};

use crate::{Fingerprint, Number};

/// What torch did to the gradients after the last backward pass, one call.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "call", rename_all = "snake_case")]
pub enum GradientCall {
    /// No call of torch: the gradients were other ones when the next call began.
    Changed,
    /// Hooks on the parameters changed what the backward pass brought, before it was added up.
    Hooked,
    /// `GradScaler.unscale_` multiplied by `inverse`.
    Unscaled {
        /// 1 over the scale.
        inverse: Number,
    },
    /// `clip_grad_norm_` or `clip_grads_with_norm_`.
    Clipped {
        /// Greatest norm that may be left.
        max_norm: Number,
        /// Norm that the coefficient was made from.
        norm: Number,
        /// Bits in the mantissa of that norm.
        digits: u8,
        /// Parameters among the sampled that were not given to the call; `None` where that is not known.
        #[serde(default)]
        apart: Option<Vec<u32>>,
    },
    /// `clip_grad_value_`.
    Clamped {
        /// Greatest absolute value that may be left.
        limit: Number,
        /// As in [`GradientCall::Clipped`].
        #[serde(default)]
        apart: Option<Vec<u32>>,
    },
}

/// The way of the gradients from the last backward pass to the step.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct GradientPath {
    /// Torch's calls, in order.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub calls: Vec<GradientCall>,
    /// The gradients were not read on the way; the calls are all that is known.
    #[serde(default, skip_serializing_if = "is_false")]
    pub unread: bool,
    /// The gradients behind the backward pass and behind each call, where they are not those that follow; base64.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub values: String,
    /// More calls came than are told, so nothing follows from those that are.
    #[serde(default, skip_serializing_if = "is_false")]
    pub more: bool,
}

/// How the number that a backward pass starts from was made of the last number that is no multiple of another.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct LossEnd {
    /// Node of the graph that made that number: `NllLossBackward0`.
    pub base: String,
    /// What it was multiplied with since, without a gradient scaler's scale, and with the gradient that seeds the pass.
    pub factor: Number,
}

/// What happened since the optimizer's last step.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Passes {
    /// Forward passes of roots in training mode, with gradients recorded.
    #[serde(default = "one", skip_serializing_if = "is_one")]
    pub forwards: u32,
    /// The same in evaluation mode.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub evaluating: u32,
    /// Backward passes.
    #[serde(default = "one", skip_serializing_if = "is_one")]
    pub backwards: u32,
    /// The gradients; `None` at an optimizer's first step.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gradients: Option<GradientPath>,
    /// Where the backward passes started, each kind once; empty where it is as at this optimizer's last step.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub ends: Vec<LossEnd>,
    /// A backward pass started from what is not understood, or from more kinds than are told.
    #[serde(default, skip_serializing_if = "is_false")]
    pub ends_unknown: bool,
    /// Type that operations are cast to in the first forward pass: `bfloat16`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub autocast: Option<String>,
    /// State of torch's generator before the first training forward pass; `None` if there was none or it was not read.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub random: Option<Fingerprint>,
    /// That forward pass left the generator where it was.
    #[serde(default, skip_serializing_if = "is_false")]
    pub still: bool,
    /// Bytes of the last batch that this pass was given, and how many words it drew from torch's generator; `None` where they are many.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub drawn: Option<(u64, u32)>,
}

impl Default for Passes {
    fn default() -> Self {
        Self {
            forwards: 1,
            evaluating: 0,
            backwards: 1,
            gradients: None,
            ends: Vec::new(),
            ends_unknown: false,
            autocast: None,
            random: None,
            still: false,
            drawn: None,
        }
    }
}

fn one() -> u32 {
    1
}

#[expect(
    clippy::trivially_copy_pass_by_ref,
    reason = "serde asks for a reference"
)]
fn is_one(value: &u32) -> bool {
    *value == 1
}

#[expect(
    clippy::trivially_copy_pass_by_ref,
    reason = "serde asks for a reference"
)]
fn is_zero(value: &u32) -> bool {
    *value == 0
}

#[expect(
    clippy::trivially_copy_pass_by_ref,
    reason = "serde asks for a reference"
)]
fn is_false(value: &bool) -> bool {
    !value
}
