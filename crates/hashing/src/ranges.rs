//! Digests of parts of one input, such as the entries of an archive or the storages of a checkpoint.
//!
//! Reading is the caller's: a closure that reads at a place, as `pread` does. Ranges may overlap and come in any order;
//! each has its own result.

use std::ops::Range;

use crate::{Engine, Queue, Sha256, Stream};

/// Why a range has no digest.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RangeError<E> {
    /// The input ended before the range did.
    #[error("the input ends at byte {at}, inside of the range")]
    Short {
        /// Where nothing more came.
        at: u64,
    },
    /// Reading failed.
    #[error("reading failed: {0}")]
    Read(E),
}

/// The digest of each range, in their order. `read_at` puts the bytes from an offset on at the front of the buffer and
/// says how many; 0 is the end of the input. A range whose end lies before its start is empty.
pub fn digest_ranges<E>(
    engine: Engine,
    ranges: &[Range<u64>],
    read_at: impl Fn(u64, &mut [u8]) -> Result<usize, E>,
) -> Vec<Result<Sha256, RangeError<E>>> {
    let mut parts = Parts {
        waiting: ranges.iter().enumerate(),
        read_at: &read_at,
        results: ranges.iter().map(|_| None).collect(),
    };
    engine.digest_all(&mut parts);
    let unread = |range: &Range<u64>| Err(RangeError::Short { at: range.start });
    let results = parts.results.into_iter().zip(ranges);
    results
        .map(|(result, range)| result.unwrap_or_else(|| unread(range)))
        .collect()
}

struct Parts<'a, F, E> {
    waiting: std::iter::Enumerate<std::slice::Iter<'a, Range<u64>>>,
    read_at: &'a F,
    /// `None` until its stream has ended.
    results: Vec<Option<Result<Sha256, RangeError<E>>>>,
}

struct Part<'a, F> {
    number: usize,
    at: u64,
    end: u64,
    read_at: &'a F,
}

impl<E, F: Fn(u64, &mut [u8]) -> Result<usize, E>> Stream for Part<'_, F> {
    type Error = RangeError<E>;

    fn read(&mut self, buffer: &mut [u8]) -> Result<usize, Self::Error> {
        let left = self.end.saturating_sub(self.at);
        let wanted = usize::try_from(left).map_or(buffer.len(), |left| left.min(buffer.len()));
        let room = buffer.get_mut(..wanted).unwrap_or_default();
        if room.is_empty() {
            return Ok(0);
        }
        let count = (self.read_at)(self.at, room).map_err(RangeError::Read)?;
        if count == 0 {
            return Err(RangeError::Short { at: self.at });
        }
        let count = count.min(wanted);
        self.at += count as u64;
        Ok(count)
    }
}

impl<'a, E, F: Fn(u64, &mut [u8]) -> Result<usize, E>> Queue for Parts<'a, F, E> {
    type Stream = Part<'a, F>;

    fn next(&mut self) -> Option<Self::Stream> {
        let (number, range) = self.waiting.next()?;
        Some(Part {
            number,
            at: range.start,
            end: range.end,
            read_at: self.read_at,
        })
    }

    fn done(&mut self, stream: Self::Stream, result: Result<Sha256, RangeError<E>>) {
        if let Some(place) = self.results.get_mut(stream.number) {
            *place = Some(result);
        }
    }
}
