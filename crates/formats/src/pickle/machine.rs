//! The stack machine: one opcode after the other, until STOP or the first break.

use std::collections::HashMap;

use super::arena::{Flags, Meta, Program};
use super::input::Input;
use super::memo::{Entry, Memo};
use super::registry::Registry;
use super::text::index_line;
use super::value::{Global, Id, Opaque, Value};
use super::{Anomaly, Deed, Effect, Frames, Limits, Oddity, Refusal};

pub(super) type Flow<T = ()> = Result<T, Oddity>;

/// The most anomalies that are recorded; one more is that which ends the program.
const MAX_ANOMALIES: usize = 10_000;
/// Opcodes that take as long as to build one value.
const BUILDING: u64 = 2;
/// Stands in the cache where nothing is.
const NO_ID: u32 = u32::MAX;
/// Values that are looked up by content before they are built anew.
const CACHE: usize = 4096;
/// Programs with fewer values are not worth a cache.
const CACHE_FROM: usize = 64;

pub(super) struct Machine {
    pub(super) limits: Limits,
    /// Offset of the opcode that is being followed.
    pub(super) start: u64,
    /// The protocol that was declared last.
    pub(super) protocol: u8,
    pub(super) stack: Vec<Id>,
    /// Heights of the stack at which marks stand; nothing is taken from below the last one.
    pub(super) marks: Vec<u32>,
    /// Whether the bottom of the stack was forgotten.
    pub(super) bottomless: bool,
    pub(super) memo: Memo,
    pub(super) registry: Registry,
    pub(super) name_bytes_left: usize,
    /// Where the loaders part, because an opcode lies across the end of its frame.
    parting: Option<u64>,
    /// What happens before this offset was recorded by the first reading.
    silent_before: u64,
    pub(super) program: Program,
    /// Slots of the arena that may be used again.
    pub(super) free: Vec<u32>,
    /// Bytes that values hold outside of the arena, about.
    pub(super) heap: usize,
    /// How hard memory is pressed; see the collector.
    pub(super) level: u8,
    /// Number of slots, and bytes in all, at which the collector runs.
    pub(super) slots_at: usize,
    pub(super) bytes_at: usize,
    /// Values in hand, which are neither on the stack nor anywhere else yet.
    pub(super) pinned: Vec<Id>,
    /// Hash of a content to the value that has it, perhaps.
    pub(super) cache: Vec<u32>,
    /// None, False, True, the empty tuple, the elided value.
    pub(super) common: [Option<Id>; 5],
    pub(super) globals: HashMap<u64, Id>,
    /// Opcodes, where one that builds a value counts for several.
    pub(super) work: u64,
    said: u8,
}

/// Places of [`Machine::common`].
pub(super) struct Common;

impl Common {
    pub(super) const NONE: usize = 0;
    pub(super) const FALSE: usize = 1;
    pub(super) const TRUE: usize = 2;
    pub(super) const EMPTY: usize = 3;
    pub(super) const ELIDED: usize = 4;
}

impl Machine {
    pub(super) fn new(limits: &Limits) -> Self {
        Self {
            limits: *limits,
            start: 0,
            protocol: 0,
            stack: Vec::new(),
            marks: Vec::new(),
            bottomless: false,
            memo: Memo::default(),
            registry: Registry::default(),
            name_bytes_left: limits.name_bytes,
            parting: None,
            silent_before: 0,
            program: Program::default(),
            free: Vec::new(),
            heap: 0,
            level: 0,
            slots_at: limits.values,
            bytes_at: limits.bytes / 2,
            pinned: Vec::new(),
            cache: Vec::new(),
            common: [None; 5],
            globals: HashMap::new(),
            work: 0,
            said: 0,
        }
    }

    pub(super) fn follow(mut self, input: &mut Input<'_>) -> (Program, Registry) {
        let start = input.position();
        self.program.start = place(start);
        input.dropping = self.limits.frames == Frames::File;
        self.read(input);
        if let (Frames::Both, Some(parting)) = (self.limits.frames, self.parting) {
            // Once more from the start, and from where the loaders part as the other of them reads.
            self.silent_before = parting;
            self.stack.clear();
            self.marks.clear();
            self.memo = Memo::default();
            self.bottomless = false;
            self.protocol = 0;
            self.pinned.extend(self.program.root);
            input.restart(start, true);
            self.read(input);
        }
        self.program.work = self.work;
        (self.program, self.registry)
    }

    /// Follows one reading of the program to its STOP or break.
    fn read(&mut self, input: &mut Input<'_>) {
        let broken = loop {
            self.start = input.position();
            self.work += 1;
            if self.work > self.limits.opcodes {
                break Oddity::Limit {
                    what: "opcodes",
                    limit: self.limits.opcodes,
                };
            }
            match self.step(input) {
                Ok(None) => {}
                Ok(Some(root)) => {
                    if !self.program.complete {
                        self.program.root = Some(root);
                        self.program.complete = true;
                        self.program.end = place(input.position());
                    }
                    return;
                }
                Err(oddity) => break oddity,
            }
            if input.straddled && self.parting.is_none() {
                self.part();
            }
        };
        if input.straddled && self.parting.is_none() {
            self.part();
        }
        self.program.anomalies.push(Anomaly {
            offset: place(self.start),
            oddity: broken,
        });
        if !self.program.complete {
            self.program.root = self.stack.last().copied();
            self.program.end = place(self.start);
        }
    }

    /// Here an opcode lies across the end of its frame.
    fn part(&mut self) {
        self.parting = Some(self.start);
        self.note(Oddity::FrameStraddle);
    }

    /// One opcode; the result if it was STOP.
    fn step(&mut self, input: &mut Input<'_>) -> Flow<Option<Id>> {
        let opcode = input.byte()?;
        match opcode {
            b'.' => return self.pop().map(Some),
            b'(' => self.mark(),
            b'N'
            | b'I'
            | b'L'
            | b'J'
            | b'K'
            | b'M'
            | b'F'
            | b'G'
            | b'S'
            | b'V'
            | b'U'
            | b'C'
            | b'T'
            | b'B'
            | b'X'
            | 0x88..=0x8e
            | 0x96
            | 0x97 => {
                let id = self.scalar(opcode, input)?;
                self.push(id);
            }
            b']' | b')' | b'}' | b'l' | b't' | b'd' | 0x85..=0x87 | 0x8f | 0x91 => {
                self.container(opcode)?;
            }
            b'a' | b'e' | 0x90 | b's' | b'u' => self.fill(opcode)?,
            b'0' => self.pop_any()?,
            b'1' => {
                let height = self.pop_mark()?;
                self.stack.truncate(height);
            }
            b'2' => {
                let top = self.top()?;
                self.share(top);
                self.push(top);
            }
            b'p' | b'q' | b'r' | 0x94 => self.put(opcode, input)?,
            b'g' | b'h' | b'j' => self.get(opcode, input)?,
            0x80 => self.declare_protocol(input)?,
            0x95 => self.frame(input)?,
            0x98 => self.read_only()?,
            b'c' => {
                let global = self.global_lines(input, false)?;
                self.push(global);
            }
            0x93 => self.stack_global()?,
            b'R' | 0x81 | 0x92 | b'i' | b'o' => self.object(opcode, input)?,
            b'b' => self.build()?,
            b'P' | b'Q' => self.persistent(opcode, input)?,
            0x82..=0x84 => self.extension(opcode, input)?,
            _ => return Err(Oddity::UnknownOpcode(opcode)),
        }
        Ok(None)
    }

    fn mark(&mut self) {
        if self.marks.len() >= self.limits.stack {
            self.marks.drain(..self.limits.stack / 2);
            self.bottomless = true;
            self.say_limit(1, "marks", self.limits.stack as u64);
        }
        let height = u32::try_from(self.stack.len()).unwrap_or(u32::MAX);
        self.marks.push(height);
    }

    /// As in CPython: a POP that meets a mark takes the mark away.
    fn pop_any(&mut self) -> Flow {
        if self.stack.len() == self.fence() && !self.marks.is_empty() {
            self.marks.pop();
            return Ok(());
        }
        self.pop().map(drop)
    }

    fn put(&mut self, opcode: u8, input: &mut Input<'_>) -> Flow {
        let index = match opcode {
            b'p' => self.index(input)?,
            b'q' => u64::from(input.byte()?),
            b'r' => u64::from(u32::from_le_bytes(input.array()?)),
            _ => self.memo.next(),
        };
        let top = self.top()?;
        self.share(top);
        if !self.memo.put(index, top, self.limits.memo) {
            self.say_limit(2, "memo entries", self.limits.memo as u64);
        }
        Ok(())
    }

    fn index(&mut self, input: &mut Input<'_>) -> Flow<u64> {
        let line = input.line();
        if !line.ended {
            return Err(Oddity::Truncated);
        }
        let (index, both) = index_line(line.head).ok_or(Oddity::Malformed)?;
        if !both {
            self.note(Oddity::LoadersDisagree(Refusal::MemoIndex));
        }
        Ok(index)
    }

    fn get(&mut self, opcode: u8, input: &mut Input<'_>) -> Flow {
        let index = match opcode {
            b'g' => self.index(input)?,
            b'h' => u64::from(input.byte()?),
            _ => u64::from(u32::from_le_bytes(input.array()?)),
        };
        let id = match self.memo.get(index) {
            Some(Entry::Value(id)) => id,
            Some(Entry::Again(offset)) => {
                let mut place = input.again(offset);
                let opcode = place.byte()?;
                let start = std::mem::replace(&mut self.start, offset);
                let id = self.scalar(opcode, &mut place)?;
                self.start = start;
                id
            }
            None if self.memo.has_forgotten() => self.elided()?,
            None => return Err(Oddity::UnknownMemo(index)),
        };
        self.share(id);
        self.push(id);
        Ok(())
    }

    fn declare_protocol(&mut self, input: &mut Input<'_>) -> Flow {
        let protocol = input.byte()?;
        if protocol > 5 {
            self.note(Oddity::UnknownProtocol(protocol));
        }
        self.protocol = protocol;
        self.program.protocol.get_or_insert(protocol);
        Ok(())
    }

    fn frame(&mut self, input: &mut Input<'_>) -> Flow {
        let size = u64::from_le_bytes(input.array()?);
        if i64::try_from(size).is_err() {
            return Err(Oddity::Refused(Refusal::Length));
        }
        if input.enter_frame(size) {
            self.note(Oddity::OnlyC(Refusal::Frame));
        }
        if size > input.left() {
            self.note(Oddity::FramePastEnd);
        }
        Ok(())
    }

    /// The height below which nothing may be taken: that of the last mark.
    pub(super) fn fence(&self) -> usize {
        self.marks.last().map_or(0, |height| *height as usize)
    }

    pub(super) fn top(&mut self) -> Flow<Id> {
        if self.stack.len() > self.fence() {
            return self.stack.last().copied().ok_or(Oddity::StackUnderflow);
        }
        if self.bottomless && self.marks.is_empty() {
            let id = self.elided()?;
            self.stack.push(id);
            return Ok(id);
        }
        Err(Oddity::StackUnderflow)
    }

    pub(super) fn pop(&mut self) -> Flow<Id> {
        let top = self.top()?;
        self.stack.pop();
        Ok(top)
    }

    /// Takes the last mark away and gives the height at which it stood.
    pub(super) fn pop_mark(&mut self) -> Flow<usize> {
        match self.marks.pop() {
            Some(height) => Ok((height as usize).min(self.stack.len())),
            None if self.bottomless => Ok(0),
            None => Err(Oddity::NoMark),
        }
    }

    pub(super) fn push(&mut self, id: Id) {
        if self.stack.len() >= self.limits.stack {
            self.forget_below(self.limits.stack / 2);
        }
        self.stack.push(id);
    }

    /// Forgets the stack below `height`. What is taken from there later is unknown.
    pub(super) fn forget_below(&mut self, height: usize) {
        self.stack.drain(..height.min(self.stack.len()));
        self.marks.retain_mut(|mark| {
            let above = (*mark as usize).checked_sub(height);
            *mark = above
                .and_then(|above| u32::try_from(above).ok())
                .unwrap_or(0);
            above.is_some()
        });
        self.bottomless = true;
        self.say_limit(4, "values on the stack", self.limits.stack as u64);
    }

    /// A value about which nothing is known but that it was let go.
    pub(super) fn elided(&mut self) -> Flow<Id> {
        self.common(Common::ELIDED)
    }

    /// One of the values that every program shares.
    pub(super) fn common(&mut self, place: usize) -> Flow<Id> {
        if let Some(Some(id)) = self.common.get(place) {
            return Ok(*id);
        }
        let value = match place {
            Common::NONE => Value::None,
            Common::FALSE => Value::Bool(false),
            Common::TRUE => Value::Bool(true),
            Common::EMPTY => Value::Tuple(Vec::new()),
            _ => Value::Opaque(Opaque::Elided),
        };
        let id = if place == Common::ELIDED {
            // The collector itself asks for this one.
            self.place(value, Flags::SHARED)?
        } else {
            self.store(value, Flags::SHARED)?
        };
        if let Some(slot) = self.common.get_mut(place) {
            *slot = Some(id);
        }
        Ok(id)
    }

    /// Puts a value into the arena.
    pub(super) fn store(&mut self, value: Value, flags: u8) -> Flow<Id> {
        self.heap += weight(&value);
        self.work += BUILDING;
        if self.live() >= self.slots_at || self.taken() >= self.bytes_at {
            self.collect(&value)?;
        }
        self.place(value, flags)
    }

    fn place(&mut self, value: Value, flags: u8) -> Flow<Id> {
        let meta = Meta::new(self.start, flags);
        if let Some(index) = self.free.pop() {
            let index = index as usize;
            if let (Some(slot), Some(old)) = (
                self.program.values.get_mut(index),
                self.program.meta.get_mut(index),
            ) {
                (*slot, *old) = (value, meta);
            }
            return Id::at(index).ok_or(Oddity::Truncated);
        }
        let id = Id::at(self.program.values.len()).ok_or(Oddity::Truncated)?;
        self.program.values.push(value);
        self.program.meta.push(meta);
        Ok(id)
    }

    pub(super) fn share(&mut self, id: Id) {
        self.flag(id, Flags::SHARED);
    }

    pub(super) fn flag(&mut self, id: Id, flag: u8) {
        if let Some(meta) = self.program.meta.get_mut(id.index()) {
            meta.flags |= flag;
        }
    }

    /// A value with this content that was built before, and the place for it in the cache.
    pub(super) fn known(&mut self, hash: u64, same: impl Fn(&Value) -> bool) -> Option<Id> {
        if self.cache.is_empty() {
            if self.program.values.len() < CACHE_FROM {
                return None;
            }
            self.cache = vec![NO_ID; CACHE];
        }
        let index = *self.cache.get(cache_place(hash))?;
        let id = Id::at(index as usize).filter(|_| index != NO_ID)?;
        if !same(self.program.values.get(index as usize)?)
            || self
                .program
                .has(id, Flags::ENCODED | Flags::VARIANT | Flags::UNHASHABLE)
        {
            return None;
        }
        self.share(id);
        Some(id)
    }

    pub(super) fn remember(&mut self, hash: u64, id: Id) {
        if let Some(slot) = self.cache.get_mut(cache_place(hash)) {
            *slot = u32::try_from(id.index()).unwrap_or(NO_ID);
        }
    }

    pub(super) fn effect(&mut self, deed: Deed) {
        let (len, limit) = (self.program.effects.len(), self.limits.records);
        let wanted = len < limit || {
            self.say_limit(8, "effects", limit as u64);
            len < limit.saturating_mul(3) && self.is_new(deed, len < limit.saturating_mul(2))
        };
        match deed {
            Deed::Import(id) => self.flag(id, Flags::IMPORTED),
            Deed::Call(id) => {
                if let Value::Call(call) = self.program.value(id) {
                    let callable = call.callable;
                    self.flag(callable, Flags::CALLED);
                }
            }
            _ => {}
        }
        if wanted && self.start >= self.silent_before {
            self.program.effects.push(Effect {
                offset: place(self.start),
                deed,
            });
        }
    }

    /// Whether a deed says what none before it has said; if `generous`, whether it might.
    fn is_new(&self, deed: Deed, generous: bool) -> bool {
        let program = &self.program;
        let global = |id| matches!(program.value(id), Value::Global(_));
        match deed {
            Deed::Import(id) => !program.has(id, Flags::IMPORTED),
            Deed::Call(id) => match program.value(id) {
                Value::Call(call) => {
                    !program.has(call.callable, Flags::CALLED)
                        || generous && program.has(call.args, Flags::MIXED)
                }
                _ => false,
            },
            Deed::Build { target, .. } | Deed::SetItems(target) | Deed::Extend(target) => {
                generous && global(target)
            }
            Deed::Persistent(_) => false,
            Deed::Extension(_) => generous,
        }
    }

    pub(super) fn note(&mut self, oddity: Oddity) {
        if self.start >= self.silent_before
            && self.program.anomalies.len() < self.limits.records.min(MAX_ANOMALIES)
        {
            self.program.anomalies.push(Anomaly {
                offset: place(self.start),
                oddity,
            });
        }
    }

    /// Says once that a limit was reached; `bit` tells the limits apart.
    pub(super) fn say_limit(&mut self, bit: u8, what: &'static str, limit: u64) {
        if self.said & bit == 0 {
            self.said |= bit;
            self.program.anomalies.push(Anomaly {
                offset: place(self.start),
                oddity: Oddity::Limit { what, limit },
            });
        }
    }

    pub(super) fn is_plain(&self, id: Id) -> bool {
        !matches!(
            self.program.value(id),
            Value::Global(_) | Value::Call(_) | Value::Persistent(_) | Value::Opaque(_)
        )
    }

    pub(super) fn text_pair(&self, id: Id) -> Option<Global> {
        let Value::Tuple(items) = self.program.value(id) else {
            return None;
        };
        let [module, name] = items.as_slice() else {
            return None;
        };
        Some(Global {
            module: self.program.text(*module)?.to_owned(),
            name: self.program.text(*name)?.to_owned(),
        })
    }
}

fn place(offset: u64) -> usize {
    usize::try_from(offset).unwrap_or(usize::MAX)
}

fn cache_place(hash: u64) -> usize {
    usize::try_from(hash >> 52).unwrap_or_default() % CACHE
}

/// A hash of bytes that is good enough for a cache whose every hit is compared.
pub(super) fn hash(seed: u64, bytes: &[u8]) -> u64 {
    const FACTOR: u64 = 0x9e37_79b9_7f4a_7c15;
    let mix = |state: u64, word: u64| (state.rotate_left(5) ^ word).wrapping_mul(FACTOR);
    let (words, rest) = bytes.as_chunks::<8>();
    let mut state = mix(seed, bytes.len() as u64);
    for word in words {
        state = mix(state, u64::from_le_bytes(*word));
    }
    let mut last = [0; 8];
    for (to, from) in last.iter_mut().zip(rest) {
        *to = *from;
    }
    mix(state, u64::from_le_bytes(last))
}

/// Bytes that a value holds outside of its slot, about, with what the allocator takes.
pub(super) fn weight(value: &Value) -> usize {
    const EACH: usize = 16;
    let list = |bytes: usize| if bytes == 0 { 0 } else { bytes + EACH };
    match value {
        Value::Big(bytes) | Value::Bytes(bytes) => list(bytes.capacity()),
        Value::Text(text) => list(text.capacity()),
        Value::List(items) | Value::Tuple(items) | Value::Set(items) => list(items.capacity() * 4),
        Value::Dict(pairs) => list(pairs.capacity() * 8),
        Value::Global(global) => 64 + list(global.module.capacity()) + list(global.name.capacity()),
        Value::Call(call) => {
            112 + list(call.states.capacity() * 4)
                + list(call.entries.capacity() * 8)
                + list(call.appended.capacity() * 4)
        }
        _ => 0,
    }
}
