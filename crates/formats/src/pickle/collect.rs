//! What happens when memory is full: the program was large, or was written to fill it.
//!
//! First, what neither stack nor memo nor any effect reaches is let go: values that were popped away. If that is not
//! enough, plain values are: by level, those in long lists, those that only the memo knows, the bottom of the stack. Their
//! number stays known, and an anomaly says that it happened. Imports, calls and their arguments are the last to go, because
//! they are why anybody looks. Only when those alone fill memory does the machine stop.

use super::arena::Flags;
use super::machine::{Flow, Machine, weight};
use super::memo::Entry;
use super::value::{Id, Value};
use super::{Deed, Oddity};

/// From which level on plain values are counted instead of kept.
pub(super) const COUNTING: u8 = 1;
/// The last level; behind it the machine stops.
const LAST: u8 = 4;
/// Opcodes that take as long as to look at one value here.
const COLLECTING: usize = 3;
/// Bytes of a slot in the arena.
const SLOT: usize = 40;

/// From how many items on a container is long, at a level.
pub(super) fn long(level: u8) -> usize {
    match level {
        0 => usize::MAX,
        1 | 2 => 1024,
        3 => 256,
        _ => 32,
    }
}

impl Machine {
    /// Makes room for `value`, which is not stored yet.
    pub(super) fn collect(&mut self, value: &Value) -> Flow {
        let left = self.limits.bytes.saturating_sub(self.all_bytes());
        if self.live() < self.slots_at && left > self.limits.bytes / 8 {
            // Stack, memo and effects may still be small; look again when half of what is left is used.
            self.bytes_at = self.taken() + left / 2;
            return Ok(());
        }
        loop {
            let looked_at = self.live() + self.memo.kept() / 4 + self.program.effects.len();
            self.work += (COLLECTING * looked_at) as u64;
            if self.level >= COUNTING {
                self.say_limit(16, "bytes of memory", self.limits.bytes as u64);
                self.let_go();
            }
            self.mark_all(value);
            self.sweep();
            self.heap += weight(value);
            let (slots, bytes) = (self.live(), self.all_bytes());
            let parts = if self.level >= LAST { 15 } else { 12 };
            if slots <= self.limits.values / 16 * parts && bytes <= self.limits.bytes / 16 * parts {
                self.bytes_at = self.taken() + (self.limits.bytes - bytes) / 2;
                return Ok(());
            }
            if self.level >= LAST {
                return Err(Oddity::Limit {
                    what: "values",
                    limit: self.limits.values as u64,
                });
            }
            self.level += 1;
        }
    }

    /// Bytes of the values and what they hold.
    pub(super) fn taken(&self) -> usize {
        self.heap + self.live() * SLOT
    }

    pub(super) fn live(&self) -> usize {
        self.program.values.len() - self.free.len()
    }

    /// Bytes of memory that the machine takes, about.
    fn all_bytes(&self) -> usize {
        self.taken()
            + self.free.capacity() * 4
            + self.stack.capacity() * 4
            + self.marks.capacity() * 4
            + self.memo.bytes()
            + self.program.effects.capacity() * 24
    }

    /// Lets plain values go that the level says.
    fn let_go(&mut self) {
        let level = self.level;
        let elided = self.elided().ok();
        let program = &self.program;
        let gone = |id: Id| match elided {
            _ if can_be_read_again(program, id) => Entry::Again(program.offset(id)),
            Some(elided) if level > COUNTING && may_go(program, id) => Entry::Value(elided),
            _ => Entry::Value(id),
        };
        self.memo.change(gone);
        if level > 2 {
            const KEPT: usize = 4096;
            let depth = self.stack.len().saturating_sub(KEPT);
            if depth > 0 {
                self.forget_below(depth);
            }
        }
        let long = long(level);
        for index in 0..self.program.values.len() {
            self.shorten(index, long, level);
        }
    }

    fn shorten(&mut self, index: usize, long: usize, level: u8) {
        let length = |value: &Value| match value {
            Value::List(items) | Value::Tuple(items) | Value::Set(items) => items.len(),
            Value::Dict(pairs) => pairs.len(),
            Value::Call(call) => call
                .states
                .len()
                .max(call.entries.len())
                .max(call.appended.len()),
            _ => 0,
        };
        let Some(slot) = self.program.values.get_mut(index) else {
            return;
        };
        if length(slot) <= long {
            return;
        }
        let mut value = std::mem::replace(slot, Value::None);
        let program = &self.program;
        let plain = |id: Id| match level {
            1 => is_scalar(program.value(id)),
            2 | 3 => is_scalar(program.value(id)) || may_go(program, id),
            _ => true,
        };
        let gone = match &mut value {
            Value::List(items) | Value::Tuple(items) | Value::Set(items) => {
                keep(items, long, |id| plain(*id))
            }
            Value::Dict(pairs) => keep(pairs, long, |(key, value)| plain(*key) && plain(*value)),
            Value::Call(call) => {
                keep(&mut call.states, long, |id| plain(*id))
                    + keep(&mut call.appended, long, |id| plain(*id))
                    + keep(&mut call.entries, long, |(key, value)| {
                        plain(*key) && plain(*value)
                    })
            }
            _ => 0,
        };
        if let Some(slot) = self.program.values.get_mut(index) {
            *slot = value;
        }
        if let (true, Some(id)) = (gone > 0, Id::at(index)) {
            *self.program.beside.elided.entry(id).or_default() += gone;
        }
    }

    /// Marks what can be reached.
    fn mark_all(&mut self, value: &Value) {
        let mut open: Vec<Id> = Vec::new();
        children(value, |id| open.push(id));
        open.extend(self.common.iter().flatten());
        open.extend(&self.pinned);
        open.extend(self.program.beside.put.values());
        self.reach(&mut open);
        let effects = std::mem::take(&mut self.program.effects);
        for effect in &effects {
            match effect.deed {
                Deed::Import(id)
                | Deed::Call(id)
                | Deed::SetItems(id)
                | Deed::Extend(id)
                | Deed::Persistent(id) => open.push(id),
                Deed::Build { target, state } => open.extend([target, state]),
                Deed::Extension(_) => {}
            }
            self.reach(&mut open);
        }
        self.program.effects = effects;
        let memo = std::mem::take(&mut self.memo);
        memo.each(|id| {
            open.push(id);
            self.reach(&mut open);
        });
        self.memo = memo;
        let stack = std::mem::take(&mut self.stack);
        for root in &stack {
            open.push(*root);
            self.reach(&mut open);
        }
        self.stack = stack;
    }

    fn reach(&mut self, open: &mut Vec<Id>) {
        while let Some(id) = open.pop() {
            let Some(meta) = self.program.meta.get_mut(id.index()) else {
                continue;
            };
            if meta.flags & Flags::MARKED != 0 {
                continue;
            }
            meta.flags |= Flags::MARKED;
            if let Some(value) = self.program.values.get(id.index()) {
                children(value, |child| open.push(child));
            }
        }
    }

    /// Frees what was not marked, and counts anew.
    fn sweep(&mut self) {
        self.free.clear();
        self.heap = 0;
        self.cache.clear();
        for index in (0..self.program.values.len()).rev() {
            let (Some(value), Some(meta)) = (
                self.program.values.get_mut(index),
                self.program.meta.get_mut(index),
            ) else {
                continue;
            };
            if meta.flags & Flags::MARKED == 0 {
                *value = Value::None;
                meta.flags = 0;
                self.free.extend(u32::try_from(index));
            } else {
                meta.flags &= !Flags::MARKED;
                self.heap += weight(value);
            }
        }
        let program = &self.program;
        let is_global = |id: &Id| matches!(program.value(*id), Value::Global(_));
        self.globals.retain(|_, id| is_global(id));
        let mut beside = std::mem::take(&mut self.program.beside);
        let program = &self.program;
        let holds = |id: &Id| !matches!(program.value(*id), Value::None);
        beside.whole.retain(|id, _| holds(id));
        beside.elided.retain(|id, _| holds(id));
        beside.written.retain(|id, _| is_held_global(program, *id));
        beside.literal.retain(|id| is_held_global(program, *id));
        self.program.beside = beside;
    }

    /// Frees a plain value that nothing else knows, at once. False if something may know it.
    pub(super) fn free_scalar(&mut self, id: Id) -> bool {
        let index = id.index();
        let (Some(value), Some(meta)) = (
            self.program.values.get_mut(index),
            self.program.meta.get(index),
        ) else {
            return false;
        };
        if meta.flags & Flags::SHARED != 0 {
            return true;
        }
        self.heap = self.heap.saturating_sub(weight(value));
        *value = Value::None;
        self.program.beside.whole.remove(&id);
        self.free.extend(u32::try_from(index));
        true
    }
}

fn is_held_global(program: &super::Program, id: Id) -> bool {
    matches!(program.value(id), Value::Global(_))
}

/// Keeps the first `count` items and those that are not plain; how many went.
fn keep<T>(items: &mut Vec<T>, count: usize, plain: impl Fn(&T) -> bool) -> u64 {
    let (before, mut index) = (items.len(), 0);
    items.retain(|item| {
        index += 1;
        index <= count || !plain(item)
    });
    items.shrink_to_fit();
    (before - items.len()) as u64
}

/// Calls `each` with every value that `value` holds.
pub(super) fn children(value: &Value, mut each: impl FnMut(Id)) {
    match value {
        Value::List(items) | Value::Tuple(items) | Value::Set(items) => {
            for id in items {
                each(*id);
            }
        }
        Value::Dict(pairs) => pairs.iter().for_each(|(key, value)| {
            each(*key);
            each(*value);
        }),
        Value::Persistent(id) => each(*id),
        Value::Call(call) => {
            each(call.callable);
            each(call.args);
            call.keywords.iter().for_each(|id| each(*id));
            call.states.iter().for_each(|id| each(*id));
            call.appended.iter().for_each(|id| each(*id));
            call.entries.iter().for_each(|(key, value)| {
                each(*key);
                each(*value);
            });
        }
        _ => {}
    }
}

pub(super) fn is_scalar(value: &Value) -> bool {
    matches!(
        value,
        Value::None
            | Value::Bool(_)
            | Value::Int(_)
            | Value::Big(_)
            | Value::Float(_)
            | Value::Bytes(_)
            | Value::Text(_)
    )
}

/// Whether the opcode that made the value makes an equal one wherever it is read.
fn can_be_read_again(program: &super::Program, id: Id) -> bool {
    is_scalar(program.value(id)) && !program.has(id, Flags::VARIANT | Flags::UNHASHABLE)
}

/// Whether nothing but plain values is in it.
fn may_go(program: &super::Program, id: Id) -> bool {
    let simple = |id: Id| match program.value(id) {
        Value::Tuple(_) => !program.has(id, Flags::MIXED),
        other => is_scalar(other),
    };
    match program.value(id) {
        Value::List(items) | Value::Set(items) => items.iter().all(|id| simple(*id)),
        Value::Dict(pairs) => pairs
            .iter()
            .all(|(key, value)| simple(*key) && simple(*value)),
        // A text may become a name; it is small or it is read again.
        Value::Text(_) | Value::Bytes(_) | Value::Big(_) => false,
        _ => simple(id),
    }
}
