//! What was read around a step, put together as the texts that are told.
//!
//! A [`Row`] is what the three looks saw of one parameter. The looks themselves are elsewhere: [`crate::sampler`] reads this process's
//! memory; what lies on an accelerator is gathered there, and comes as bytes a step later ([`compose_sample`]).

use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::pybacked::PyBackedBytes;
use training::passes::wire::{self as passes, Seen as Passed};
use training::recheck::pack::Rule;
use training::recheck::wire::{self, Block, Odd, OddValue, Values};

use crate::parameters::Seen;

/// Factor of what stood there, whether the gradient is squared, and whether it is added whole.
pub(crate) type RuleParts = (f64, bool, bool);

/// What the looks saw of one parameter, which is told by the number `index`.
pub(crate) struct Row {
    pub(crate) index: u32,
    pub(crate) positions: Vec<u64>,
    pub(crate) earlier: Option<Seen>,
    pub(crate) before: Option<Seen>,
    pub(crate) behind: Option<Seen>,
}

/// The text of the sample, and that of the gradients on their way, if these were read: `stages` has them for each row, oldest first.
pub(crate) fn compose(
    rows: Vec<Row>,
    stages: &[Vec<Passed>],
    closure: bool,
    rules: &[RuleParts],
) -> (String, Option<String>) {
    let rules: Vec<Rule> = rules.iter().copied().map(rule_of).collect();
    let mut told = vec![Vec::new(); stages.len()];
    let mut values = Values::default();
    for (number, row) in rows.into_iter().enumerate() {
        if let (Some(before), Some(behind)) = (row.before, row.behind)
            && columns_agree(&before, &behind)
        {
            let used = if closure { &behind } else { &before };
            way(&mut told, stages, number, used.gradients.as_ref());
            let place = (row.index, row.positions);
            add(&mut values, place, row.earlier, before, behind, closure);
        }
    }
    let way = (!stages.is_empty()).then(|| passes::write(&told, &values.blocks));
    (wire::write(&values, &rules), way)
}

/// One look at one parameter: weights, gradients if they are there, columns of state if there is any, count of steps.
type SeenParts = (
    PyBackedBytes,
    Option<PyBackedBytes>,
    Option<Vec<PyBackedBytes>>,
    Option<u64>,
);

/// One parameter: the number that it is told by, bytes of an element, positions, and the looks: earlier, before and behind the step.
type RowParts = (
    u32,
    usize,
    Vec<u64>,
    Option<SeenParts>,
    Option<SeenParts>,
    Option<SeenParts>,
);

/// A gradient at one stage: its elements, none (empty), or unread.
type StageParts = Vec<Option<PyBackedBytes>>;

/// As the sampler's `behind`, of what was read elsewhere.
#[pyfunction]
#[expect(
    clippy::needless_pass_by_value,
    reason = "Python's arguments are converted into owned values"
)]
pub(crate) fn compose_sample(
    rows: Vec<RowParts>,
    stages: Vec<StageParts>,
    closure: bool,
    rules: Vec<RuleParts>,
) -> PyResult<(String, Option<String>)> {
    if stages.len() > passes::STAGES_MAX {
        return Err(PyValueError::new_err("there are too many stages"));
    }
    let lengths: Vec<usize> = rows.iter().map(|it| it.1 * it.2.len()).collect();
    let rows = rows.into_iter().map(row_of).collect::<PyResult<_>>()?;
    let stages = stages.iter().map(|it| stage_of(it, &lengths));
    let stages: Vec<Vec<Passed>> = stages.collect::<PyResult<_>>()?;
    Ok(compose(rows, &stages, closure, &rules))
}

fn row_of((index, size, positions, earlier, before, behind): RowParts) -> PyResult<Row> {
    let length = size * positions.len();
    let seen = |parts: Option<SeenParts>| parts.map(|it| seen_of(it, size, length)).transpose();
    Ok(Row {
        index,
        earlier: seen(earlier)?,
        before: seen(before)?,
        behind: seen(behind)?,
        positions,
    })
}

fn seen_of(
    (weights, gradients, state, steps): SeenParts,
    size: usize,
    length: usize,
) -> PyResult<Seen> {
    let whole = |bytes: &PyBackedBytes| checked(bytes, length);
    Ok(Seen {
        size,
        weights: whole(&weights)?,
        gradients: gradients.as_ref().map(whole).transpose()?,
        state: state
            .map(|columns| columns.iter().map(whole).collect())
            .transpose()?,
        steps,
    })
}

fn stage_of(stage: &StageParts, lengths: &[usize]) -> PyResult<Vec<Passed>> {
    let pairs = stage.iter().zip(lengths);
    pairs
        .map(|(seen, length)| {
            Ok(match seen {
                None => Passed::Unread,
                Some(bytes) if bytes.is_empty() => Passed::Gone,
                Some(bytes) => Passed::Bytes(checked(bytes, *length)?),
            })
        })
        .collect()
}

fn checked(bytes: &[u8], length: usize) -> PyResult<Vec<u8>> {
    if bytes.len() == length && length > 0 {
        return Ok(bytes.to_vec());
    }
    Err(PyValueError::new_err(
        "a column has another length than its positions",
    ))
}

fn rule_of((from, squared, whole): RuleParts) -> Rule {
    Rule {
        from,
        squared,
        whole,
    }
}

/// Adds one parameter to each stage of `told`: what the gradient was there, where it is not what follows.
fn way(told: &mut [Vec<Passed>], stages: &[Vec<Passed>], number: usize, used: Option<&Vec<u8>>) {
    let mut next = used.map_or(Passed::Gone, |used| Passed::Bytes(used.clone()));
    for (told, stage) in told.iter_mut().zip(stages).rev() {
        let here = stage.get(number).cloned().unwrap_or(Passed::Unread);
        told.push(if here == next {
            Passed::Same
        } else {
            here.clone()
        });
        next = here;
    }
}

/// Whether the state that was there before the step has as many columns behind it.
fn columns_agree(before: &Seen, behind: &Seen) -> bool {
    let both = before.state.as_ref().zip(behind.state.as_ref());
    before.size == behind.size && both.is_none_or(|(before, behind)| before.len() == behind.len())
}

/// Puts the looks at one parameter together.
fn add(
    values: &mut Values,
    (index, positions): (u32, Vec<u64>),
    earlier: Option<Seen>,
    before: Seen,
    behind: Seen,
    closure: bool,
) {
    let block = values.blocks.len();
    let odd = &mut values.odd;
    if let (false, Some(told), Some(other)) = (closure, &before.gradients, &behind.gradients) {
        differ(odd, block, before.size, Odd::GradientBehind, told, other);
    }
    if let Some(earlier) = earlier.filter(|it| it.size == before.size) {
        since(odd, block, &earlier, &before);
    }
    values.blocks.push(Block {
        index,
        steps_before: before.steps,
        steps_behind: behind.steps,
        positions,
        weights: before.weights,
        gradients: if closure {
            behind.gradients
        } else {
            before.gradients
        },
        state: before.state,
        weights_behind: behind.weights,
        state_behind: behind.state,
    });
}

/// What is not as it was when the step before ended.
fn since(odd: &mut Vec<OddValue>, block: usize, earlier: &Seen, before: &Seen) {
    differ(
        odd,
        block,
        before.size,
        Odd::WeightEarlier,
        &before.weights,
        &earlier.weights,
    );
    match (&before.state, &earlier.state) {
        (Some(told), Some(other)) if told.len() == other.len() => {
            for (column, (told, other)) in (0u8..).zip(told.iter().zip(other)) {
                differ(
                    odd,
                    block,
                    before.size,
                    Odd::StateEarlier(column),
                    told,
                    other,
                );
            }
        }
        (None, Some(_)) => odd.push(OddValue {
            what: Odd::StateGone,
            block,
            slot: 0,
            bytes: Vec::new(),
        }),
        _ => {}
    }
}

fn differ(
    odd: &mut Vec<OddValue>,
    block: usize,
    size: usize,
    what: Odd,
    told: &[u8],
    other: &[u8],
) {
    for (slot, (told, other)) in told.chunks(size).zip(other.chunks(size)).enumerate() {
        if told != other {
            odd.push(OddValue {
                what,
                block,
                slot,
                bytes: other.to_vec(),
            });
        }
    }
}
