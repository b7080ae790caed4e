//! A file that remembers what was asked of it: the ranges on which a verdict rests.
//!
//! The examination sees nothing but what it reads here, so these ranges with their bytes, the size and the name decide what
//! it says. Their number is bounded by taking neighbours together: that adds bytes to what the verdict is bound to, and
//! never takes any away.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::io;

use domain::verdict::{Bound, layout};
use domain::{Digest, Hasher};
use formats::ReadAt;

/// Ranges that are kept apart.
const RANGES: usize = 4096;
/// Bytes between two ranges that are taken together at first, when there are too many.
const NEAR: u64 = 4096;
/// Bytes that are digested for one verdict; one that rests on more is kept without what it rests on.
pub(super) const BOUND_BYTES: u64 = 1 << 30;
/// Bytes that are read at once to digest them.
const CHUNK: usize = 256 << 10;

/// An input that is read through, and what was read of it.
pub(super) struct Traced<'a> {
    inner: &'a dyn ReadAt,
    ranges: RefCell<Ranges>,
}

impl<'a> Traced<'a> {
    pub(super) fn new(inner: &'a dyn ReadAt) -> Self {
        Self {
            inner,
            ranges: RefCell::default(),
        }
    }

    /// What the verdict rests on; `None` where that is more than is digested, or can no longer be read.
    pub(super) fn bound(self, name: &str) -> Option<Bound> {
        let ranges = self.ranges.into_inner().finish();
        let size = self.inner.len();
        Some(Bound {
            name: name.to_owned(),
            size,
            layout: layout(size, &ranges),
            content: content(self.inner, &ranges)?,
            ranges,
        })
    }
}

impl ReadAt for Traced<'_> {
    fn len(&self) -> u64 {
        self.inner.len()
    }

    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<()> {
        // What is asked for beyond the end fails by the size alone.
        let end = offset.saturating_add(buffer.len() as u64).min(self.len());
        if offset < end {
            self.ranges.borrow_mut().add(offset, end);
        }
        self.inner.read_at(offset, buffer)
    }
}

/// The digest of the bytes in `ranges`; `None` where they are too many, not all there, or not apart from each other.
pub(super) fn content(input: &dyn ReadAt, ranges: &[(u64, u64)]) -> Option<Digest> {
    let mut total = 0_u64;
    let mut from = 0_u64;
    for (offset, length) in ranges {
        if *offset < from {
            return None;
        }
        from = offset.checked_add(*length)?;
        total = total.checked_add(*length)?;
    }
    if total > BOUND_BYTES || from > input.len() {
        return None;
    }
    let mut hasher = Hasher::new();
    let most = ranges.iter().map(|(_, length)| *length).max().unwrap_or(0);
    let mut buffer = vec![0; CHUNK.min(usize::try_from(most).unwrap_or(CHUNK))];
    for (offset, length) in ranges {
        let (mut at, end) = (*offset, offset.saturating_add(*length));
        while at < end {
            let left = usize::try_from(end - at).unwrap_or(usize::MAX);
            let wanted = left.min(buffer.len());
            let piece = buffer.get_mut(..wanted)?;
            input.read_at(at, piece).ok()?;
            hasher.update(piece);
            at += piece.len() as u64;
        }
    }
    Some(hasher.finish())
}

/// Ranges by their start, apart from each other.
#[derive(Default)]
struct Ranges {
    /// Start to end.
    all: BTreeMap<u64, u64>,
    /// The one that was added to last: most reads go on where the last one ended.
    last: Option<(u64, u64)>,
}

impl Ranges {
    fn add(&mut self, start: u64, end: u64) {
        if self
            .last
            .is_some_and(|last| last.0 <= start && end <= last.1)
        {
            return;
        }
        let (mut start, mut end) = (start, end);
        if let Some((before, until)) = self.all.range(..=start).next_back()
            && *until >= start
        {
            start = *before;
            end = end.max(*until);
        }
        while let Some((&behind, &until)) = self.all.range(start..=end).next() {
            self.all.remove(&behind);
            end = end.max(until);
        }
        self.all.insert(start, end);
        self.last = Some((start, end));
        if self.all.len() > RANGES {
            self.thin_out();
        }
    }

    /// Takes neighbours together until half of the room is free.
    fn thin_out(&mut self) {
        let mut near = NEAR;
        while self.all.len() > RANGES / 2 {
            let mut merged: BTreeMap<u64, u64> = BTreeMap::new();
            let mut open: Option<(u64, u64)> = None;
            for (start, end) in std::mem::take(&mut self.all) {
                open = Some(match open {
                    Some((first, until)) if start.saturating_sub(until) <= near => (first, end),
                    Some((first, until)) => {
                        merged.insert(first, until);
                        (start, end)
                    }
                    None => (start, end),
                });
            }
            merged.extend(open);
            self.all = merged;
            near = near.saturating_mul(2);
        }
        self.last = None;
    }

    fn finish(self) -> Vec<(u64, u64)> {
        let all = self.all.into_iter();
        all.map(|(start, end)| (start, end - start)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(input: &Traced<'_>, offset: u64, length: usize) {
        let _ = input.read_at(offset, &mut vec![0; length]);
    }

    #[test]
    fn what_was_read_is_bound_and_what_was_not_may_change() {
        let mut bytes = vec![7_u8; 1000];
        let bound = |bytes: &Vec<u8>| {
            let slice = bytes.as_slice();
            let input = Traced::new(&slice);
            read(&input, 10, 20);
            read(&input, 25, 10);
            read(&input, 990, 50);
            read(&input, 500, 1);
            input.bound("x").unwrap()
        };
        let known = bound(&bytes);
        assert_eq!(known.ranges, [(10, 25), (500, 1), (990, 10)]);
        bytes[40] = 8;
        assert_eq!(bound(&bytes), known);
        bytes[34] = 8;
        let changed = bound(&bytes);
        assert!(changed.content != known.content && changed.layout == known.layout);
        bytes.push(7);
        assert_ne!(bound(&bytes).layout, known.layout);
    }

    #[test]
    fn reads_without_end_are_taken_together_and_none_is_lost() {
        let bytes = vec![1_u8; 200_000];
        let slice = bytes.as_slice();
        let input = Traced::new(&slice);
        let places: Vec<u64> = (0..20_000).map(|n| (n * 7919) % 199_990).collect();
        for place in &places {
            read(&input, *place, 3);
        }
        let bound = input.bound("x").unwrap();
        assert!(bound.ranges.len() <= RANGES);
        for place in places {
            let inside = |range: &(u64, u64)| range.0 <= place && place + 3 <= range.0 + range.1;
            assert!(bound.ranges.iter().any(inside), "{place}");
        }
    }

    #[test]
    fn ranges_that_are_not_in_the_file_have_no_content() {
        let bytes = vec![1_u8; 10];
        let slice = bytes.as_slice();
        let input = &slice;
        assert!(content(input, &[(0, 10)]).is_some());
        for ranges in [
            &[(0, 11)][..],
            &[(5, 2), (0, 2)],
            &[(0, 5), (4, 2)],
            &[(u64::MAX, 2)],
            &[(0, u64::MAX)],
        ] {
            assert_eq!(content(input, ranges), None);
        }
    }
}
