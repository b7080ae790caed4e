//! What differed from rank to rank and then does not any more: batches, random numbers.
//!
//! It is a habit: ranks that were seeded alike from the start are as common as others. A value counts only when it is new, so that
//! batches of a data set of few different ones, which meet by chance, tell nothing.

use std::collections::{BTreeMap, VecDeque};

/// Steps at which every rank must have had its own.
const HABIT: u32 = 8;
/// Steps in a row at which two ranks must have the same.
const ROW: u32 = 3;
/// Values of earlier steps that are remembered, of all ranks together.
const REMEMBERED: usize = 512;

/// Two ranks that share what was their own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Shared {
    /// The first step at which they do.
    pub since: u64,
    /// The last of a row of such steps.
    pub step: u64,
    /// Which.
    pub ranks: (u32, u32),
}

/// What is known of one kind of value.
#[derive(Debug, Default)]
pub(super) struct Streak {
    apart: u32,
    off: bool,
    row: Option<(Shared, u32)>,
    earlier: VecDeque<u128>,
}

impl Streak {
    /// Takes in one step; answers the row when it is long enough.
    pub(super) fn follow(&mut self, step: u64, values: &BTreeMap<u32, u128>) -> Option<Shared> {
        if self.off || values.len() < 2 {
            return None;
        }
        let mut owners = BTreeMap::new();
        let pair = values
            .iter()
            .find_map(|(rank, value)| Some((owners.insert(*value, *rank)?, *rank)));
        let new = values.values().all(|value| !self.earlier.contains(value));
        for value in values.values() {
            self.earlier.push_back(*value);
        }
        while self.earlier.len() > REMEMBERED {
            self.earlier.pop_front();
        }
        if !new {
            // A small set of values: that two meet means nothing, now and later.
            self.off = self.apart < HABIT;
            self.row = None;
            return None;
        }
        let Some(ranks) = pair else {
            self.apart = self.apart.saturating_add(1);
            self.row = None;
            return None;
        };
        if self.apart < HABIT {
            self.off = true;
            return None;
        }
        let row = match self.row.take() {
            Some((row, count)) if row.ranks == ranks => (Shared { step, ..row }, count + 1),
            _ => (
                Shared {
                    since: step,
                    step,
                    ranks,
                },
                1,
            ),
        };
        self.row = Some(row);
        (row.1 >= ROW).then_some(row.0)
    }
}
