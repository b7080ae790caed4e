//! A batch that a loader read, as the record has it: its indices, and fingerprints of a few of its rows.

use domain::data::{Column, Order, Pass, Reading};
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use training::data::order;
use training::data::wire::{self, Row};

use crate::digest::bytes_at;

/// Kind, length, the generator's state, numbers and class of a sampler.
pub(crate) type OrderParts = (u8, u64, Option<Vec<u8>>, (i64, u64, u64, u64), String);

/// Data set, batch size, order, what is known of this torch's permutations, and whether workers read.
pub(crate) type PassParts = (u32, u64, OrderParts, Vec<u32>, bool);

/// Where the first row of a column stands, how far it is to the next, and how many bytes one has.
pub(crate) type Place = (usize, usize, usize);

/// Pass, its description, number of the batch, and its columns, as far as they are to be told.
pub(crate) type BatchParts = (
    u32,
    Option<PassParts>,
    u64,
    Option<Vec<(String, String, u64)>>,
);

/// The record of a batch: `indices` as the loader asked for them, `bases` as the data set behind its subsets has them; of those rows
/// that `chosen` (a key, and one of how many) picks, so that the same samples are picked in each pass.
pub(crate) fn of(
    (pass, described, batch, columns): BatchParts,
    indices: &[i64],
    bases: &[i64],
    places: &[Place],
    (key, share): (u64, u64),
) -> PyResult<Reading> {
    let mut rows = Vec::new();
    for (at, base) in bases.iter().enumerate() {
        let Ok(index) = u64::try_from(*base) else {
            continue;
        };
        let picked = (index.wrapping_add(1).wrapping_mul(key) >> 32) % share.max(1) == 0;
        if picked && !places.is_empty() && rows.len() < wire::ROWS_MAX {
            let columns = places
                .iter()
                .map(|place| row(*place, at))
                .collect::<Option<_>>()
                .ok_or_else(|| PyValueError::new_err("a row lies outside the memory"))?;
            rows.push(Row { index, columns });
        }
    }
    Ok(Reading {
        pass,
        described: described.map(|parts| Box::new(pass_of(parts))),
        batch,
        indices: wire::write_indices(indices),
        columns: columns.map(|columns| columns.into_iter().map(column_of).collect()),
        rows: wire::write_rows(&rows),
    })
}

/// The fingerprint of a row of a column.
fn row((address, stride, bytes): Place, at: usize) -> Option<u32> {
    let start = address.checked_add(stride.checked_mul(at)?)?;
    start.checked_add(bytes)?;
    if address == 0 || bytes > isize::MAX.unsigned_abs() {
        return None;
    }
    Some(training::data::fold(bytes_at((start, bytes))))
}

fn column_of((name, kind, bytes): (String, String, u64)) -> Column {
    Column { name, kind, bytes }
}

fn pass_of((set, batch_size, order, known, workers): PassParts) -> Pass {
    let (kind, length, state, (first, second, third, fourth), class) = order;
    let order = match (kind, state) {
        (0, _) => Order::Sequential { length },
        (1, Some(state)) => Order::Random {
            length,
            state: order::state_text(&state),
            given: first != 0,
        },
        (2, _) => Order::Distributed {
            length,
            seed: first,
            shuffle: second & 1 != 0,
            drop_last: second & 2 != 0,
            replicas: third,
            rank: fourth,
        },
        _ => Order::Own { class },
    };
    Pass {
        set,
        batch_size,
        order,
        known,
        workers,
    }
}
