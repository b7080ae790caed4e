//! The sampled elements of two records of one step, paired by parameter and position.

use std::collections::BTreeMap;

use domain::{Sampled, StepRecord};

use crate::ElementKind;
use crate::recheck::wire::{self, Block, COLUMNS_MAX};

/// Parameters of one optimizer that are remembered.
const TENSORS_MAX: usize = 20_000;

/// What the process has told of its parameters so far, by optimizer and number.
#[derive(Debug, Clone, Default)]
pub struct Told {
    tensors: BTreeMap<(u32, u32), Sampled>,
}

impl Told {
    /// Takes in what a step tells; each step of the process must come by, in order.
    pub fn hear(&mut self, step: &StepRecord) {
        let Some(sample) = &step.sample else { return };
        for tensor in &sample.tensors {
            if self.tensors.len() < TENSORS_MAX {
                self.tensors
                    .insert((step.optimizer, tensor.index), tensor.clone());
            }
        }
    }

    fn of(&self, optimizer: u32, index: u32) -> Option<(&Sampled, ElementKind)> {
        let told = self.tensors.get(&(optimizer, index))?;
        Some((told, ElementKind::from_torch_name(&told.kind)?))
    }

    /// The positions at which a step was looked at, by the numbers of the parameters.
    pub fn positions(&self, step: &StepRecord) -> Vec<(u32, Vec<u64>)> {
        let blocks = self.blocks(step);
        blocks
            .into_iter()
            .map(|block| (block.index, block.positions))
            .collect()
    }

    fn blocks(&self, step: &StepRecord) -> Vec<Block> {
        let Some(sample) = &step.sample else {
            return Vec::new();
        };
        let size = |index: u32| {
            let (told, kind) = self.of(step.optimizer, index)?;
            Some((kind.size(), told.state.len().min(COLUMNS_MAX)))
        };
        wire::read(&sample.values, size).map_or_else(|_| Vec::new(), |values| values.blocks)
    }
}

/// Which number of an element.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Column {
    /// The weight before the step.
    Weight,
    /// A column of state before it.
    State(u8),
    /// The gradient that the step used.
    Gradient,
    /// The weight behind it.
    WeightBehind,
    /// A column of state behind it.
    StateBehind(u8),
}

/// One element of one parameter, as recorded and as computed again.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Pair {
    /// As recorded.
    pub recorded: f64,
    /// As computed again.
    pub again: f64,
}

impl Pair {
    /// Whether both are the same number, or both none.
    pub fn same(self) -> bool {
        self.recorded.to_bits() == self.again.to_bits()
            || self.recorded.is_nan() && self.again.is_nan()
    }
}

/// One parameter at the positions that both have.
#[derive(Debug, Clone, PartialEq)]
pub struct Tensor {
    /// Which parameter of the optimizer, from 0.
    pub index: u32,
    /// What the model calls it.
    pub name: String,
    /// Type of its elements.
    pub kind: ElementKind,
    /// The elements of each column, in the order of the positions.
    pub columns: BTreeMap<Column, Vec<Pair>>,
}

impl Tensor {
    /// The elements of a column; none where it was not told by both.
    pub fn column(&self, column: Column) -> &[Pair] {
        self.columns.get(&column).map_or(&[], Vec::as_slice)
    }
}

/// Pairs the elements of two records of one step.
pub fn pair(recorded: (&Told, &StepRecord), again: (&Told, &StepRecord)) -> Vec<Tensor> {
    let others: BTreeMap<u32, Block> = (again.0.blocks(again.1).into_iter())
        .map(|block| (block.index, block))
        .collect();
    let blocks = recorded.0.blocks(recorded.1);
    blocks
        .iter()
        .filter_map(|block| {
            let (told, kind) = recorded.0.of(recorded.1.optimizer, block.index)?;
            let (other, other_kind) = again.0.of(again.1.optimizer, block.index)?;
            if kind != other_kind || told.shape != other.shape || told.state != other.state {
                return None;
            }
            let columns = paired(kind, block, others.get(&block.index)?);
            Some(Tensor {
                index: block.index,
                name: told.name.clone(),
                kind,
                columns,
            })
        })
        .collect()
}

/// The columns of a parameter's state, where it has one.
type State = Option<Vec<Vec<u8>>>;

fn paired(kind: ElementKind, one: &Block, other: &Block) -> BTreeMap<Column, Vec<Pair>> {
    let slots: Vec<(usize, usize)> = one
        .positions
        .iter()
        .enumerate()
        .filter_map(|(slot, position)| Some((slot, other.positions.binary_search(position).ok()?)))
        .collect();
    let mut columns = BTreeMap::new();
    let mut put = |column, one: &[u8], other: &[u8]| {
        let pairs: Option<Vec<Pair>> = slots
            .iter()
            .map(|(slot, at)| {
                Some(Pair {
                    recorded: wire::value(kind, one, *slot)?,
                    again: wire::value(kind, other, *at)?,
                })
            })
            .collect();
        if let Some(pairs) = pairs.filter(|pairs| !pairs.is_empty()) {
            columns.insert(column, pairs);
        }
    };
    put(Column::Weight, &one.weights, &other.weights);
    put(
        Column::WeightBehind,
        &one.weights_behind,
        &other.weights_behind,
    );
    if let (Some(one), Some(other)) = (&one.gradients, &other.gradients) {
        put(Column::Gradient, one, other);
    }
    let mut put_state = |column: fn(u8) -> Column, one: &State, other: &State| {
        let columns = (0u8..).zip(one.iter().flatten().zip(other.iter().flatten()));
        for (number, (one, other)) in columns {
            put(column(number), one, other);
        }
    };
    put_state(Column::State, &one.state, &other.state);
    put_state(Column::StateBehind, &one.state_behind, &other.state_behind);
    columns
}
