//! What stood at the sampled positions when a step ended, against what stood there before the next one.
//!
//! Nothing of an optimizer's rule is needed: the same bytes must be there. Two innocent ways of a program are known by
//! their arithmetic and named, so that they are a stated gap rather than an accusation: weights clipped to ±c, and to what is not negative.

use super::wire::{Odd, Values, value};
use crate::ElementKind;

/// Clipped weights that must be seen before that reading is believed.
const CLIPPED_MIN: usize = 2;

/// A number that changed.
#[derive(Debug, Clone, PartialEq)]
pub struct Changed {
    /// Which parameter of the optimizer.
    pub index: u32,
    /// Where.
    pub position: u64,
    /// The column of state, in the order it was told; `None` for the weight.
    pub column: Option<usize>,
    /// When the step before ended.
    pub from: f64,
    /// Before this step; `NaN` where the state is gone.
    pub to: f64,
}

/// What changed between two steps.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Between {
    /// Each number.
    pub changed: Vec<Changed>,
    /// Parameters whose state is gone as a whole.
    pub gone: Vec<u32>,
    /// All of it is a clipping of weights to plus and minus this.
    pub clipped_to: Option<f64>,
}

impl Between {
    /// Whether all is as it was.
    pub fn is_empty(&self) -> bool {
        self.changed.is_empty() && self.gone.is_empty()
    }
}

/// Compares; `kind` answers for each parameter's index.
pub fn compare(values: &Values, kind: impl Fn(u32) -> Option<ElementKind>) -> Between {
    let mut between = Between::default();
    for odd in &values.odd {
        let Some(block) = values.blocks.get(odd.block) else {
            continue;
        };
        let Some(kind) = kind(block.index) else {
            continue;
        };
        let (column, now) = match odd.what {
            Odd::WeightEarlier => (None, value(kind, &block.weights, odd.slot)),
            Odd::StateEarlier(column) => {
                let columns = block.state.as_ref();
                let column = usize::from(column);
                let bytes = columns.and_then(|columns| columns.get(column));
                (
                    Some(column),
                    bytes.and_then(|bytes| value(kind, bytes, odd.slot)),
                )
            }
            Odd::StateGone => {
                between.gone.push(block.index);
                continue;
            }
            Odd::GradientBehind => continue,
        };
        let (Some(from), Some(to)) = (value(kind, &odd.bytes, 0), now) else {
            continue;
        };
        between.changed.push(Changed {
            index: block.index,
            position: block.positions.get(odd.slot).copied().unwrap_or(0),
            column,
            from,
            to,
        });
    }
    between.clipped_to = clipped(&between, values, kind);
    between
}

/// Every change moved a weight to the nearest end of an interval that no sampled weight of these parameters leaves: ±c, or
/// nothing below zero. One change alone is believed where c is a number that a person would write.
fn clipped(
    between: &Between,
    values: &Values,
    kind: impl Fn(u32) -> Option<ElementKind>,
) -> Option<f64> {
    let bound = between.changed.first()?.to.abs();
    let to_bound = |changed: &Changed| {
        let reached = changed.to.abs().to_bits() == bound.to_bits();
        let outside = if bound == 0.0 {
            changed.from < 0.0
        } else {
            changed.from * changed.to > 0.0 && changed.from.abs() > bound
        };
        reached && outside && changed.column.is_none()
    };
    let enough = between.changed.len() >= CLIPPED_MIN || is_written(bound);
    if !enough || !between.gone.is_empty() || !between.changed.iter().all(to_bound) {
        return None;
    }
    let within = |weight: f64| {
        if bound == 0.0 {
            weight >= 0.0
        } else {
            weight.abs() <= bound
        }
    };
    let inside = values.blocks.iter().all(|block| {
        let affected = between.changed.iter().any(|it| it.index == block.index);
        let Some(kind) = kind(block.index).filter(|_| affected) else {
            return true;
        };
        (0..block.positions.len()).all(|slot| value(kind, &block.weights, slot).is_none_or(within))
    });
    inside.then_some(bound)
}

/// Whether a number is what a type of at least 8 bits of mantissa makes of one with two decimal digits.
fn is_written(number: f64) -> bool {
    let text = format!("{number:.1e}");
    text.parse::<f64>().is_ok_and(|written| {
        let single = written - number;
        // As binary32, or coarser.
        single.abs() <= number.abs() * 1e-7
            || number.to_bits().trailing_zeros() >= 42 && single.abs() <= number.abs() / 256.0
    })
}
