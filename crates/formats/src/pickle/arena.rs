//! What a program is, once it has been followed: its values by id, and what is known about some of them beside.
//!
//! Most values are what they are; the few about which there is more to say (a text that was cut, a name that was mapped)
//! are in tables of their own, so that the others stay small.

use std::collections::{HashMap, HashSet};
use std::ops::Range;

use super::value::{Global, Id, Value};
use super::{Anomaly, Effect};

/// What a pickle is, once it has been followed to its end or break.
#[derive(Debug, Clone, Default)]
pub struct Program {
    pub(super) values: Vec<Value>,
    pub(super) meta: Vec<Meta>,
    pub(super) beside: Beside,
    /// The result; of a broken program the value that stood on top of the stack.
    pub root: Option<Id>,
    /// Whether the program reached STOP.
    pub complete: bool,
    /// Where it begins.
    pub start: usize,
    /// Where it ended: the offset behind STOP, or that of the opcode that broke it.
    pub end: usize,
    /// The protocol that it declares first.
    pub protocol: Option<u8>,
    /// What it would do beside building plain values, in order.
    pub effects: Vec<Effect>,
    /// What is odd about it, in order.
    pub anomalies: Vec<Anomaly>,
    /// Opcodes that were followed, counted as [`super::Limits::opcodes`] counts them.
    pub work: u64,
}

/// What is known about few values.
#[derive(Debug, Clone, Default)]
pub(super) struct Beside {
    pub(super) written: HashMap<Id, Global>,
    pub(super) literal: HashSet<Id>,
    pub(super) whole: HashMap<Id, Range<u64>>,
    pub(super) elided: HashMap<Id, u64>,
    pub(super) put: HashMap<usize, Id>,
}

/// Offset of the opcode that made a value, in 40 bits, and [`Flags`].
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Meta {
    low: u32,
    high: u8,
    pub(super) flags: u8,
}

/// Bits of [`Meta::flags`].
pub(super) struct Flags;

impl Flags {
    /// Has no hash, or holds something that has none.
    pub(super) const UNHASHABLE: u8 = 1;
    /// A bytearray, a frozen set, or bytes that no opcode of a scalar made.
    pub(super) const VARIANT: u8 = 2;
    /// A name that was imported before.
    pub(super) const IMPORTED: u8 = 4;
    /// Something that was called before.
    pub(super) const CALLED: u8 = 8;
    /// Reached by the collector.
    pub(super) const MARKED: u8 = 16;
    /// A string of Python 2.
    pub(super) const ENCODED: u8 = 32;
    /// A tuple that holds more than immutable plain values.
    pub(super) const MIXED: u8 = 64;
    /// Known under more than one place.
    pub(super) const SHARED: u8 = 128;
}

impl Meta {
    pub(super) fn new(offset: u64, flags: u8) -> Self {
        let [a, b, c, d, high, ..] = offset.to_le_bytes();
        Self {
            low: u32::from_le_bytes([a, b, c, d]),
            high,
            flags,
        }
    }

    pub(super) fn offset(self) -> u64 {
        u64::from(self.low) | u64::from(self.high) << 32
    }
}

impl Program {
    /// The value with this id.
    pub fn value(&self, id: Id) -> &Value {
        self.values.get(id.index()).unwrap_or(&Value::None)
    }

    /// All values that were kept, about in the order in which the program built them.
    pub fn values(&self) -> impl Iterator<Item = &Value> {
        self.values.iter()
    }

    /// The ids of [`Self::values`].
    pub fn ids(&self) -> impl Iterator<Item = Id> {
        (0..self.values.len()).filter_map(Id::at)
    }

    /// The global that `id` is, if it is one.
    pub fn global(&self, id: Id) -> Option<&Global> {
        match self.value(id) {
            Value::Global(global) => Some(global),
            _ => None,
        }
    }

    /// The text that `id` is, if it is one.
    pub fn text(&self, id: Id) -> Option<&str> {
        match self.value(id) {
            Value::Text(text) => Some(text),
            _ => None,
        }
    }

    /// The items of the tuple or list that `id` is, if it is one.
    pub fn items(&self, id: Id) -> Option<&[Id]> {
        match self.value(id) {
            Value::Tuple(items) | Value::List(items) => Some(items),
            _ => None,
        }
    }

    /// Every name that it would import, sorted, once each.
    pub fn imports(&self) -> Vec<&Global> {
        let mut imports: Vec<&Global> = self
            .values
            .iter()
            .filter_map(|value| match value {
                Value::Global(global) => Some(&**global),
                _ => None,
            })
            .collect();
        imports.sort_unstable();
        imports.dedup();
        imports
    }

    /// Offset of the opcode that made the value; of equal plain values, of the first.
    pub fn offset(&self, id: Id) -> u64 {
        self.meta.get(id.index()).map_or(0, |meta| meta.offset())
    }

    pub(super) fn has(&self, id: Id, flag: u8) -> bool {
        self.meta
            .get(id.index())
            .is_some_and(|meta| meta.flags & flag != 0)
    }

    /// Where a text or bytes lie in the input, if only their head is in the arena. The range is that of the value as it is
    /// written, which for a line of protocol 0 has its escapes.
    pub fn whole(&self, id: Id) -> Option<Range<u64>> {
        self.beside.whole.get(&id).cloned()
    }

    /// How many items of a container (of a call: items that were set or appended) were counted and not kept.
    pub fn elided(&self, id: Id) -> u64 {
        self.beside.elided.get(&id).copied().unwrap_or(0)
    }

    /// What the effect at this place of [`Program::effects`] puts into something that is no result of a call: a dict of the
    /// items that it sets, or a list of what it appends. What goes into the result of a call stands in the [`super::Call`].
    pub fn put(&self, effect: usize) -> Option<Id> {
        self.beside.put.get(&effect).copied()
    }

    /// A global as it stands in the bytes, before names of Python 2 were mapped.
    pub fn written(&self, id: Id) -> Option<&Global> {
        self.beside.written.get(&id).or_else(|| self.global(id))
    }

    /// Whether the dots in a global's name are part of an attribute's name, as in protocols below 4, and do not walk.
    pub fn literal_dots(&self, id: Id) -> bool {
        self.beside.literal.contains(&id)
    }

    /// Whether bytes are a `bytearray`.
    pub fn is_bytearray(&self, id: Id) -> bool {
        matches!(self.value(id), Value::Bytes(_)) && self.has(id, Flags::UNHASHABLE)
    }

    /// Whether a set is a `frozenset`.
    pub fn is_frozen(&self, id: Id) -> bool {
        matches!(self.value(id), Value::Set(_)) && self.has(id, Flags::VARIANT)
    }

    /// Whether a text or bytes are a string of Python 2, whose meaning depends on the loader's encoding.
    pub fn is_encoded(&self, id: Id) -> bool {
        self.has(id, Flags::ENCODED)
    }
}
