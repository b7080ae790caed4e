//! What stood at a few randomly chosen positions of the model around one optimizer step, as its own process says it.
//!
//! The values travel as bytes in the order that `training::recheck::wire` tells; here is only what names them. A
//! description is told once and again where it changes, so that a step costs the ledger its values and little more.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::Number;

/// An optimizer, as far as its update depends on it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Described {
    /// Torch's own class, known by identity: `AdamW`; or another by its module and name.
    pub class: String,
    /// For a class that is not torch's: which one of torch's it resembles by the names of its hyperparameters, so that its rule may be learnt.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub like: Option<String>,
    /// The numbers of each parameter group but the learning rate; `false` and `true` are 0 and 1, `betas` are `beta1` and
    /// `beta2`. `lr_digits` is there where the rate is a tensor: bits of its mantissa.
    pub groups: Vec<BTreeMap<String, Number>>,
}

/// A parameter that was read.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sampled {
    /// Place among all parameters of the optimizer, in the order of its groups, from 0.
    pub index: u32,
    /// Its group.
    pub group: u32,
    /// What the model calls it; empty where that is not known.
    #[serde(default)]
    pub name: String,
    /// Its dimensions.
    pub shape: Vec<u64>,
    /// Type of its elements, of its gradient's and of its state's: `float32`.
    pub kind: String,
    /// Names of the state that is read with it: `exp_avg`, `exp_avg_sq`.
    #[serde(default)]
    pub state: Vec<String>,
    /// Where its weights and each column of its state begin in the memory of the process, each without gaps, and then the count of its steps,
    /// if that is a `float32`; empty where they are not to be read from outside.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub at: Vec<u64>,
}

/// What was read around one step.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct Sample {
    /// The optimizer, where it was not told or is another than was told.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub optimizer: Option<Described>,
    /// Parameters that were not told or are others than were told.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub tensors: Vec<Sampled>,
    /// Learning rate of each group before the step, where it is not the one behind it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rates: Option<Vec<Number>>,
    /// The step was given a closure: the gradients are those behind it.
    #[serde(default, skip_serializing_if = "is_false")]
    pub closure: bool,
    /// The same positions were read when this optimizer's last step ended, and nothing was loaded since.
    #[serde(default, skip_serializing_if = "is_false")]
    pub joined: bool,
    /// A state was loaded since this optimizer's last step.
    #[serde(default, skip_serializing_if = "is_false")]
    pub loaded: bool,
    /// The values, base64.
    pub values: String,
}

#[expect(
    clippy::trivially_copy_pass_by_ref,
    reason = "serde asks for a reference"
)]
fn is_false(value: &bool) -> bool {
    !value
}
