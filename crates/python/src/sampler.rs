//! Reads a few positions of the model around a step, and tells them as one text.
//!
//! Python says which memory stands for which parameter; the positions are drawn and kept here. Three looks make a sample:
//! *earlier* (when the step before ended), *before* and *behind*. What a look could not read is left out.

use std::sync::{Mutex, MutexGuard, PoisonError};

use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use training::passes::wire::{self as passes, Seen as Passed};
use training::recheck::draw::{Draw, Pick};
use training::recheck::wire::{self, Block, Odd, OddValue, Values};

/// Address, and dimensions with their strides in elements; without dimensions it is contiguous.
type Column = (usize, Vec<(usize, isize)>);

/// One parameter at a look: bytes of an element, weights, gradients, columns of state, steps that the state counts.
type Row = (
    usize,
    Column,
    Option<Column>,
    Option<Vec<Column>>,
    Option<u64>,
);

/// One parameter at a look at the gradients only: bytes of an element, and the gradient if there is one.
type GradientRow = (usize, Option<Column>);

/// What was read of one parameter.
#[derive(Clone, Default)]
struct Seen {
    size: usize,
    weights: Vec<u8>,
    gradients: Option<Vec<u8>>,
    state: Option<Vec<Vec<u8>>>,
    steps: Option<u64>,
}

#[derive(Default)]
struct Looks {
    picks: Vec<Pick>,
    earlier: Vec<Option<Seen>>,
    before: Vec<Option<Seen>>,
    /// The gradients on their way to the step, oldest first.
    stages: Vec<Vec<Passed>>,
}

/// Samples the parameters of one optimizer.
#[pyclass(frozen)]
pub(crate) struct Sampler {
    draw: Mutex<Draw>,
    looks: Mutex<Looks>,
}

#[pymethods]
impl Sampler {
    /// A sampler with a generator of its own, seeded with `seed`.
    #[new]
    fn new(seed: u64) -> Self {
        Self {
            draw: Mutex::new(Draw::new(seed, &[])),
            looks: Mutex::default(),
        }
    }

    /// The parameters have `sizes` elements from now on.
    #[expect(
        clippy::needless_pass_by_value,
        reason = "Python's arguments are converted into owned values"
    )]
    fn layout(&self, sizes: Vec<u64>) {
        lock(&self.draw).layout(&sizes);
        *lock(&self.looks) = Looks::default();
    }

    /// Draws about `count` new positions; answers the numbers of the parameters in which they lie.
    fn draw(&self, count: usize) -> Vec<usize> {
        let picks = lock(&self.draw).picks(count.min(wire::POSITIONS_MAX));
        let parameters = picks.iter().map(|(parameter, _)| *parameter).collect();
        *lock(&self.looks) = Looks {
            picks,
            ..Looks::default()
        };
        parameters
    }

    /// What stands at the positions when a step has ended and the next has not begun.
    #[expect(
        clippy::needless_pass_by_value,
        reason = "Python's arguments are converted into owned values"
    )]
    fn earlier(&self, rows: Vec<Option<Row>>) -> PyResult<()> {
        let mut looks = lock(&self.looks);
        looks.earlier = read(&looks.picks, &rows)?;
        Ok(())
    }

    /// The gradients that stand there on their way to the step: behind a backward pass (`anew`), or around a call. Answers
    /// whether they are kept; with `other` only if they are not those of the last look.
    #[expect(
        clippy::needless_pass_by_value,
        reason = "Python's arguments are converted into owned values"
    )]
    fn stage(&self, rows: Vec<Option<GradientRow>>, anew: bool, other: bool) -> PyResult<bool> {
        let mut looks = lock(&self.looks);
        let stage = read_gradients(&looks.picks, &rows)?;
        if anew {
            looks.stages.clear();
        } else if looks.stages.is_empty()
            || looks.stages.len() >= passes::STAGES_MAX
            || other && looks.stages.last() == Some(&stage)
        {
            return Ok(false);
        }
        looks.stages.push(stage);
        Ok(true)
    }

    /// What stands there as the step begins.
    #[expect(
        clippy::needless_pass_by_value,
        reason = "Python's arguments are converted into owned values"
    )]
    fn before(&self, rows: Vec<Option<Row>>) -> PyResult<()> {
        let mut looks = lock(&self.looks);
        looks.before = read(&looks.picks, &rows)?;
        Ok(())
    }

    /// What stands there behind it: answers the text of the sample. `indices` has for each parameter the number that it is told by;
    /// `closure` that the gradients are those behind the step. The second text has the gradients on their way, if they were read.
    #[expect(
        clippy::needless_pass_by_value,
        reason = "Python's arguments are converted into owned values"
    )]
    fn behind(
        &self,
        rows: Vec<Option<Row>>,
        indices: Vec<u32>,
        closure: bool,
    ) -> PyResult<(String, Option<String>)> {
        let mut looks = lock(&self.looks);
        let behind = read(&looks.picks, &rows)?;
        let Looks {
            picks,
            earlier,
            before,
            stages,
        } = std::mem::take(&mut *looks);
        let mut told = vec![Vec::new(); stages.len()];
        let mut earlier = earlier.into_iter();
        let mut values = Values::default();
        let rows = picks.into_iter().zip(before).zip(behind).zip(indices);
        for (number, (((pick, before), behind), index)) in rows.enumerate() {
            let earlier = earlier.next().flatten();
            if let (Some(before), Some(behind)) = (before, behind)
                && columns_agree(&before, &behind)
            {
                let used = if closure { &behind } else { &before };
                way(&mut told, &stages, number, used.gradients.as_ref());
                add(
                    &mut values,
                    (index, pick.1),
                    earlier,
                    before,
                    behind,
                    closure,
                );
            }
        }
        let way = (!stages.is_empty()).then(|| passes::write(&told));
        Ok((wire::write(&values), way))
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

fn read_gradients(picks: &[Pick], rows: &[Option<GradientRow>]) -> PyResult<Vec<Passed>> {
    if picks.len() != rows.len() {
        return Err(PyValueError::new_err(
            "a row for each parameter that was drawn",
        ));
    }
    let gradient = |((_, positions), row): (&Pick, &Option<GradientRow>)| {
        Ok(match row {
            None => Passed::Unread,
            Some((_, None)) => Passed::Gone,
            Some((size, Some(column))) => Passed::Bytes(gather(positions, *size, column)?),
        })
    };
    picks.iter().zip(rows).map(gradient).collect()
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

fn read(picks: &[Pick], rows: &[Option<Row>]) -> PyResult<Vec<Option<Seen>>> {
    if picks.len() != rows.len() {
        return Err(PyValueError::new_err(
            "a row for each parameter that was drawn",
        ));
    }
    let pairs = picks.iter().zip(rows);
    pairs
        .map(|((_, positions), row)| row.as_ref().map(|row| seen(positions, row)).transpose())
        .collect()
}

fn seen(positions: &[u64], (size, weights, gradients, state, steps): &Row) -> PyResult<Seen> {
    let gather = |column: &Column| gather(positions, *size, column);
    Ok(Seen {
        size: *size,
        weights: gather(weights)?,
        gradients: gradients.as_ref().map(gather).transpose()?,
        state: state
            .as_ref()
            .map(|columns| columns.iter().map(gather).collect())
            .transpose()?,
        steps: *steps,
    })
}

fn gather(positions: &[u64], size: usize, (address, dimensions): &Column) -> PyResult<Vec<u8>> {
    let mut bytes = Vec::with_capacity(positions.len() * size);
    for position in positions {
        let element = place(*position, dimensions).and_then(|at| {
            let offset = at.checked_mul(isize::try_from(size).ok()?)?;
            address.checked_add_signed(offset).filter(|_| *address != 0)
        });
        let element =
            element.ok_or_else(|| PyValueError::new_err("an element lies outside the memory"))?;
        // SAFETY: the caller passes the address of a dense tensor of this process that has at least as many elements as the
        // positions were drawn for, with its own strides, and holds the tensor until the call returns; bytes have no
        // alignment and no invalid values. Another thread of the job may write meanwhile: then an element is torn.
        #[expect(unsafe_code, reason = "an address from Python is all there is")]
        let element =
            unsafe { std::slice::from_raw_parts(std::ptr::with_exposed_provenance(element), size) };
        bytes.extend_from_slice(element);
    }
    Ok(bytes)
}

/// The offset in elements of the element that is number `position` of a contiguous tensor of these dimensions.
fn place(position: u64, dimensions: &[(usize, isize)]) -> Option<isize> {
    let mut left = usize::try_from(position).ok()?;
    if dimensions.is_empty() {
        return isize::try_from(left).ok();
    }
    let mut offset = 0isize;
    for (length, stride) in dimensions.iter().rev() {
        let at = isize::try_from(left.checked_rem(*length)?).ok()?;
        left /= length;
        offset = offset.checked_add(at.checked_mul(*stride)?)?;
    }
    (left == 0).then_some(offset)
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
