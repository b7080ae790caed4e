//! The memo: number to value, as the array of the C unpickler and the dict of `pickle.py` both have it.
//!
//! Real pickles number from 0 without holes, so that part is a plain vector; an index of four billion costs one entry. A
//! plain value that only the memo knows can be let go: its entry then says where the opcode stands that makes it, and it is
//! read once more when it is asked for.

use std::collections::HashMap;

use super::value::Id;

/// What stands under a number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Entry {
    Value(Id),
    /// Offset of the opcode that makes the value.
    Again(u64),
}

/// The highest bit tells an offset from an id.
const AGAIN: u64 = 1 << 63;

fn pack(entry: Entry) -> u64 {
    match entry {
        Entry::Value(id) => id.index() as u64,
        Entry::Again(offset) => offset | AGAIN,
    }
}

fn unpack(word: u64) -> Option<Entry> {
    if word & AGAIN == 0 {
        Id::at(usize::try_from(word).ok()?).map(Entry::Value)
    } else {
        Some(Entry::Again(word & !AGAIN))
    }
}

#[derive(Default)]
pub(super) struct Memo {
    dense: Vec<u64>,
    sparse: HashMap<u64, u64>,
    /// Entries that were written and not kept.
    forgotten: u64,
}

impl Memo {
    /// Entries that are kept.
    pub(super) fn kept(&self) -> usize {
        self.dense.len() + self.sparse.len()
    }

    /// The number that MEMOIZE gives.
    pub(super) fn next(&self) -> u64 {
        self.kept() as u64 + self.forgotten
    }

    /// Bytes of memory, about.
    pub(super) fn bytes(&self) -> usize {
        self.dense.capacity() * 8 + self.sparse.capacity() * 18
    }

    pub(super) fn has_forgotten(&self) -> bool {
        self.forgotten > 0
    }

    pub(super) fn get(&self, index: u64) -> Option<Entry> {
        let dense = usize::try_from(index)
            .ok()
            .and_then(|index| self.dense.get(index));
        dense
            .or_else(|| self.sparse.get(&index))
            .and_then(|word| unpack(*word))
    }

    /// Writes an entry; false if it is a new one and there are `limit` already.
    pub(super) fn put(&mut self, index: u64, id: Id, limit: usize) -> bool {
        let word = pack(Entry::Value(id));
        let place = usize::try_from(index).unwrap_or(usize::MAX);
        if let Some(entry) = self.dense.get_mut(place) {
            *entry = word;
            return true;
        }
        if let Some(entry) = self.sparse.get_mut(&index) {
            *entry = word;
            return true;
        }
        if self.kept() >= limit {
            self.forgotten += 1;
            return false;
        }
        if place == self.dense.len() {
            self.dense.push(word);
        } else {
            self.sparse.insert(index, word);
        }
        true
    }

    /// Calls `each` with every value.
    pub(super) fn each(&self, mut each: impl FnMut(Id)) {
        for word in self.dense.iter().chain(self.sparse.values()) {
            if let Some(Entry::Value(id)) = unpack(*word) {
                each(id);
            }
        }
    }

    /// Puts what `change` gives in the place of each value.
    pub(super) fn change(&mut self, mut change: impl FnMut(Id) -> Entry) {
        for word in self.dense.iter_mut().chain(self.sparse.values_mut()) {
            if let Some(Entry::Value(id)) = unpack(*word) {
                *word = pack(change(id));
            }
        }
    }
}
