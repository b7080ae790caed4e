//! The table of a spec's steps: JSON lines, one for each step of each optimizer and rank, and one for each parameter.

use std::collections::{BTreeMap, HashMap};

use domain::{Fingerprint, Number, StepRecord};
use serde::{Deserialize, Serialize};

/// Lines of a table.
pub const LINES_MAX: usize = 500_000;

/// One line.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Line {
    /// A step.
    Step(Box<Step>),
    /// A parameter.
    Tensor(Tensor),
}

/// What a step of the good run was.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Step {
    /// Its number.
    pub step: u64,
    /// Rank.
    #[serde(default)]
    pub rank: u32,
    /// Optimizer.
    #[serde(default)]
    pub optimizer: u32,
    /// Batches in order.
    #[serde(default)]
    pub batches: Vec<Fingerprint>,
    /// Losses in order.
    #[serde(default)]
    pub losses: Vec<Number>,
    /// Norm of the gradients before clipping, else as used.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gradient_norm: Option<Number>,
    /// Parameters behind it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub parameters: Option<Fingerprint>,
    /// State of PyTorch's generator behind it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub torch: Option<Fingerprint>,
}

/// A parameter of the good run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Tensor {
    /// Its place among the optimizer's.
    pub tensor: u32,
    /// Optimizer.
    pub of: u32,
    /// Its group.
    pub group: u32,
    /// What the model calls it.
    #[serde(default)]
    pub name: String,
    /// Its dimensions.
    pub shape: Vec<u64>,
    /// Type of its elements.
    pub kind: String,
}

impl Step {
    /// What is kept of a recorded step.
    pub fn of(rank: u32, step: &StepRecord) -> Self {
        Self {
            step: step.step,
            rank,
            optimizer: step.optimizer,
            batches: step.batches.clone(),
            losses: step.losses.clone(),
            gradient_norm: step.gradient_norm_before_clip.or(step.gradient_norm),
            parameters: step.parameters,
            torch: step.rng.torch,
        }
    }
}

/// All lines, by what is asked for.
#[derive(Debug, Clone, Default)]
pub struct Table {
    steps: HashMap<(u32, u32, u64), Step>,
    tensors: HashMap<(u32, u32), Tensor>,
    /// The first step at which each rank had a batch.
    seen: HashMap<(u32, Fingerprint), u64>,
}

impl Table {
    /// Takes the lines; the first of two about the same counts.
    pub fn new(lines: impl IntoIterator<Item = Line>) -> Self {
        let mut table = Self::default();
        for line in lines.into_iter().take(LINES_MAX) {
            match line {
                Line::Step(step) => {
                    for batch in &step.batches {
                        let first = table.seen.entry((step.rank, *batch)).or_insert(step.step);
                        *first = step.step.min(*first);
                    }
                    table
                        .steps
                        .entry((step.rank, step.optimizer, step.step))
                        .or_insert(*step);
                }
                Line::Tensor(tensor) => {
                    table
                        .tensors
                        .entry((tensor.of, tensor.tensor))
                        .or_insert(tensor);
                }
            }
        }
        table
    }

    /// A step of a rank and an optimizer.
    pub fn step(&self, rank: u32, optimizer: u32, step: u64) -> Option<&Step> {
        self.steps.get(&(rank, optimizer, step))
    }

    /// A parameter.
    pub fn tensor(&self, optimizer: u32, index: u32) -> Option<&Tensor> {
        self.tensors.get(&(optimizer, index))
    }

    /// The step at which a rank had this batch first.
    pub fn when(&self, rank: u32, batch: Fingerprint) -> Option<u64> {
        self.seen.get(&(rank, batch)).copied()
    }

    /// How many steps it has.
    pub fn len(&self) -> usize {
        self.steps.len()
    }

    /// Whether it has none.
    pub fn is_empty(&self) -> bool {
        self.steps.is_empty()
    }

    /// All parameters by optimizer, ascending.
    pub fn tensors(&self) -> BTreeMap<(u32, u32), &Tensor> {
        self.tensors
            .iter()
            .map(|(key, tensor)| (*key, tensor))
            .collect()
    }
}
