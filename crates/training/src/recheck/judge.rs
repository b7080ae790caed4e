//! One step's sampled values against what the update rule gives.
//!
//! A position is judged when all that it needs was told and is finite; the others are counted. There is no threshold on how
//! many may be wrong: the bounds are rigorous, so one is too many.

use super::bounds::{Arithmetic, Bounds};
use super::cause;
use super::update::{Before, Class, Hyper, STATE_MAX, expected};
use super::wire::{Block, Odd, Values, value};
use crate::ElementKind;

pub use super::cause::Cause;

/// From here on a counter of binary32 stands still.
const COUNTER_MAX: u64 = 1 << 24;

/// What the judgement needs to know of a parameter.
#[derive(Debug, Clone, PartialEq)]
pub struct Tensor {
    /// Type of its elements and of its state's.
    pub kind: ElementKind,
    /// Its arithmetic, with the precision of its group's scalars.
    pub arithmetic: Arithmetic,
    /// The hyperparameters of its group at this step.
    pub hyper: Hyper,
    /// For each column of state in the rule's order, which column was told.
    pub columns: [Option<usize>; STATE_MAX],
}

/// One judged position.
#[derive(Debug, Clone)]
pub(super) struct Point {
    pub(super) block: usize,
    pub(super) position: u64,
    pub(super) before: Before,
    pub(super) hyper: Hyper,
    pub(super) arithmetic: Arithmetic,
    /// The gradient behind the step, where it is another.
    pub(super) gradient_behind: Option<f64>,
    pub(super) weight: f64,
    pub(super) state: [Option<f64>; STATE_MAX],
}

impl Point {
    /// What differs under other inputs; `slack` is a share of the expected change that bounds are widened by.
    pub(super) fn differs(
        &self,
        before: &Before,
        hyper: &Hyper,
        slack: f64,
    ) -> Option<(Column, Bounds, f64)> {
        let must = expected(before, hyper, &self.arithmetic);
        let by = |bounds: Bounds, from: f64| {
            let more = (bounds.middle() - from).abs() * slack;
            // Where anything is allowed, more is not.
            if more.is_finite() {
                bounds.widened(more)
            } else {
                bounds
            }
        };
        for (column, bounds) in must.state.iter().enumerate() {
            let (Some(bounds), Some(found)) = (bounds, self.state.get(column).copied().flatten())
            else {
                continue;
            };
            let from = self.before.state.get(column).copied().unwrap_or(0.0);
            if !by(*bounds, from).allows(found) {
                return Some((Column::State(column), *bounds, found));
            }
        }
        let allowed = by(must.weight, self.before.weight);
        (!allowed.allows(self.weight)).then_some((Column::Weight, must.weight, self.weight))
    }

    /// The change of the weight that the rule gives, where it is known to a tenth.
    pub(super) fn change(&self) -> Option<f64> {
        let weight = expected(&self.before, &self.hyper, &self.arithmetic).weight;
        let change = weight.middle() - self.before.weight;
        (weight.radius() <= change.abs() / 10.0).then_some(change)
    }

    pub(super) fn still(&self) -> bool {
        let state = self.state.iter().zip(self.before.state);
        let mut kept = state.filter_map(|(found, before)| found.map(|found| same(found, before)));
        same(self.weight, self.before.weight) && kept.all(|it| it)
    }
}

/// Equal, without a comparison that forbids itself.
fn same(left: f64, right: f64) -> bool {
    left.to_bits() == right.to_bits()
}

/// Which number of a position.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Column {
    /// The weight.
    Weight,
    /// A column of state, in the order of [`Class::state`].
    State(usize),
    /// The count of steps.
    Steps,
}

/// A parameter that is not as it must be.
#[derive(Debug, Clone, PartialEq)]
pub struct Wrong {
    /// Which parameter of the optimizer.
    pub index: u32,
    /// Its first position that differs, and what differs there.
    pub position: u64,
    /// Which number.
    pub column: Column,
    /// What it was before.
    pub before: f64,
    /// What it must be.
    pub expected: Bounds,
    /// What it is.
    pub found: f64,
}

/// What came of a step.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Verdict {
    /// Positions that were judged.
    pub positions: usize,
    /// Of these, where the expected change of the weight is known to a tenth.
    pub decisive: usize,
    /// Parameters in which they lie.
    pub tensors: usize,
    /// Positions that hold `NaN` or an infinity, or need what was not told.
    pub unjudged: usize,
    /// Parameters that are not as they must be.
    pub wrong: Vec<Wrong>,
    /// What would explain it; there whenever something is wrong.
    pub cause: Option<Cause>,
}

/// Judges the values of one step; `tensor` answers for each block's index, and what it does not know is not judged.
pub fn judge(values: &Values, tensor: impl Fn(u32) -> Option<Tensor>) -> Verdict {
    let mut verdict = Verdict::default();
    let mut points = Vec::new();
    let mut without = false;
    for (number, block) in values.blocks.iter().enumerate() {
        let Some(tensor) = tensor(block.index) else {
            verdict.unjudged += block.positions.len();
            continue;
        };
        let first = points.len();
        let wrong = if block.gradients.is_none() {
            verdict.positions += block.positions.len();
            let wrong = untouched(block, &tensor);
            without |= wrong.is_some();
            wrong
        } else {
            collect(block, number, &tensor, values, &mut points);
            verdict.positions += points.len() - first;
            verdict.unjudged += block.positions.len() - (points.len() - first);
            let judged = points.get(first..).unwrap_or_default();
            stepped(block, &tensor, judged).or_else(|| differing(block.index, judged))
        };
        verdict.tensors += usize::from(block.gradients.is_none() || points.len() > first);
        verdict.wrong.extend(wrong);
    }
    verdict.decisive = points
        .iter()
        .filter(|point| point.change().is_some())
        .count();
    if !verdict.wrong.is_empty() {
        let wrong = |point: &&Point| {
            let index = values.blocks.get(point.block).map(|block| block.index);
            verdict.wrong.iter().any(|wrong| Some(wrong.index) == index)
        };
        let affected: Vec<_> = points.iter().filter(wrong).collect();
        verdict.cause = Some(if without {
            Cause::WithoutGradient
        } else {
            cause::of(&affected)
        });
    }
    verdict
}

/// A parameter without a gradient takes no part in the step.
fn untouched(block: &Block, tensor: &Tensor) -> Option<Wrong> {
    let size = tensor.kind.size();
    let pairs = block
        .weights
        .chunks(size)
        .zip(block.weights_behind.chunks(size));
    let slot = pairs
        .enumerate()
        .find(|(_, (before, behind))| before != behind)?
        .0;
    let before = value(tensor.kind, &block.weights, slot)?;
    Some(Wrong {
        index: block.index,
        position: block.positions.get(slot).copied().unwrap_or(0),
        column: Column::Weight,
        before,
        expected: Bounds::exact(before),
        found: value(tensor.kind, &block.weights_behind, slot)?,
    })
}

/// The positions of a block that can be judged.
fn collect(
    block: &Block,
    number: usize,
    tensor: &Tensor,
    values: &Values,
    points: &mut Vec<Point>,
) {
    let hyper = &tensor.hyper;
    let uses = hyper.uses();
    let fresh = block.state.is_none();
    // What a rule starts its state with is known but for Adagrad's, which begins with its construction.
    let kept = uses
        .iter()
        .zip(tensor.columns)
        .all(|(used, told)| !used || told.is_some());
    let counted = fresh || !hyper.class.counts() || block.steps_before.is_some();
    if !kept
        || !counted
        || fresh && hyper.class == Class::Adagrad
        || uses != [false; STATE_MAX] && block.state_behind.is_none() && !gone(block)
    {
        return;
    }
    let element = |columns: &Option<Vec<Vec<u8>>>, column: usize, slot| {
        let told = tensor.columns.get(column).copied().flatten()?;
        value(tensor.kind, columns.as_ref()?.get(told)?, slot)
    };
    for (slot, position) in block.positions.iter().enumerate() {
        let mut before = [0.0; STATE_MAX];
        let mut behind = [None; STATE_MAX];
        for (column, used) in uses.into_iter().enumerate() {
            if let (true, Some(before), Some(behind)) =
                (used, before.get_mut(column), behind.get_mut(column))
            {
                *before = element(&block.state, column, slot).unwrap_or(0.0);
                *behind = Some(element(&block.state_behind, column, slot).unwrap_or(0.0));
            }
        }
        let gradients = block.gradients.as_deref().unwrap_or_default();
        let weight = value(tensor.kind, &block.weights, slot);
        let found = value(tensor.kind, &block.weights_behind, slot);
        let (Some(weight), Some(gradient), Some(found)) =
            (weight, value(tensor.kind, gradients, slot), found)
        else {
            continue;
        };
        if !(weight.is_finite() && gradient.is_finite() && before.iter().all(|it| it.is_finite())) {
            continue;
        }
        points.push(Point {
            block: number,
            position: *position,
            before: Before {
                weight,
                gradient,
                state: before,
                fresh,
                steps: if fresh {
                    0.0
                } else {
                    to_float(block.steps_before)
                },
            },
            hyper: *hyper,
            arithmetic: tensor.arithmetic,
            gradient_behind: behind_in(values, number, slot, tensor.kind),
            weight: found,
            state: behind,
        });
    }
}

/// A step that left no state where there was none and must be some did not take place; that is judged.
fn gone(block: &Block) -> bool {
    block.state.is_none() && block.state_behind.is_none()
}

fn behind_in(values: &Values, block: usize, slot: usize, kind: ElementKind) -> Option<f64> {
    let is = |odd: &&super::wire::OddValue| {
        odd.what == Odd::GradientBehind && odd.block == block && odd.slot == slot
    };
    let odd = values.odd.iter().find(is)?;
    value(kind, &odd.bytes, 0)
}

#[expect(
    clippy::cast_precision_loss,
    reason = "a count of steps is far below 2^53"
)]
fn to_float(count: Option<u64>) -> f64 {
    count.unwrap_or(0) as f64
}

/// The count of steps must have gone on by one.
fn stepped(block: &Block, tensor: &Tensor, points: &[Point]) -> Option<Wrong> {
    let before = if block.state.is_none() {
        0
    } else {
        block.steps_before.unwrap_or(0)
    };
    let behind = block.steps_behind.unwrap_or(0);
    let point = points.first()?;
    if !tensor.hyper.class.counts() || before >= COUNTER_MAX || behind == before + 1 {
        return None;
    }
    Some(Wrong {
        index: block.index,
        position: point.position,
        column: Column::Steps,
        before: to_float(Some(before)),
        expected: Bounds::exact(to_float(Some(before + 1))),
        found: to_float(Some(behind)),
    })
}

fn differing(index: u32, points: &[Point]) -> Option<Wrong> {
    points.iter().find_map(|point| {
        let (column, expected, found) = point.differs(&point.before, &point.hyper, 0.0)?;
        let before = match column {
            Column::State(column) => point.before.state.get(column).copied().unwrap_or(0.0),
            Column::Weight | Column::Steps => point.before.weight,
        };
        Some(Wrong {
            index,
            position: point.position,
            column,
            before,
            expected,
            found,
        })
    })
}
