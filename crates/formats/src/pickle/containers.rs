//! Opcodes that build tuples, lists, dicts and sets, or put something into them.

use super::arena::Flags;
use super::collect::{COUNTING, is_scalar, long};
use super::machine::{Common, Flow, Machine, hash};
use super::value::{Id, Value};
use super::{Deed, Oddity, Refusal};

/// Tuples up to this length are looked for before they are built anew.
const SHORT: usize = 4;

impl Machine {
    /// Pushes a new container.
    pub(super) fn container(&mut self, opcode: u8) -> Flow {
        let id = match opcode {
            b']' => self.store(Value::List(Vec::new()), Flags::UNHASHABLE)?,
            b'}' => self.store(Value::Dict(Vec::new()), Flags::UNHASHABLE)?,
            0x8f => self.store(Value::Set(Vec::new()), Flags::UNHASHABLE)?,
            b')' => self.common(Common::EMPTY)?,
            0x85..=0x87 => {
                let height = self.stack.len().checked_sub(usize::from(opcode - 0x84));
                let height = height
                    .filter(|height| *height >= self.fence())
                    .ok_or(Oddity::StackUnderflow);
                self.tuple(height?)?
            }
            b't' => {
                let height = self.pop_mark()?;
                self.tuple(height)?
            }
            b'l' => {
                let height = self.pop_mark()?;
                let id = self.store(Value::List(Vec::new()), Flags::UNHASHABLE)?;
                self.append(id, height);
                id
            }
            b'd' => {
                let height = self.pop_mark()?;
                let id = self.store(Value::Dict(Vec::new()), Flags::UNHASHABLE)?;
                self.insert(id, height)?;
                id
            }
            _ => {
                let height = self.pop_mark()?;
                self.hashable(height, 1)?;
                let id = self.store(Value::Set(Vec::new()), Flags::VARIANT)?;
                self.append(id, height);
                id
            }
        };
        self.push(id);
        Ok(())
    }

    /// The tuple of what stands on the stack from `height` on, which is taken away.
    pub(super) fn tuple(&mut self, height: usize) -> Flow<Id> {
        let items = self.stack.get(height..).unwrap_or_default();
        if items.is_empty() {
            return self.common(Common::EMPTY);
        }
        let mut flags = 0;
        for id in items {
            flags |= self.flags_in_tuple(*id);
        }
        let short = items.len() <= SHORT && flags == 0;
        let mut key = 0;
        if short {
            key = items
                .iter()
                .fold(5, |state, id| hash(state, &id.index().to_le_bytes()));
            let count = items.len();
            let mut few = [self.top()?; SHORT];
            for (to, from) in few
                .iter_mut()
                .zip(self.stack.get(height..).unwrap_or_default())
            {
                *to = *from;
            }
            let same = |value: &Value| matches!(value, Value::Tuple(other) if few.get(..count) == Some(other.as_slice()));
            if let Some(id) = self.known(key, same) {
                self.stack.truncate(height);
                return Ok(id);
            }
        }
        for index in height..self.stack.len() {
            if let Some(id) = self.stack.get(index).copied() {
                self.share(id);
            }
        }
        let items = self.stack.split_off(height);
        let id = self.store(Value::Tuple(items), flags)?;
        if short {
            self.remember(key, id);
        }
        Ok(id)
    }

    fn flags_in_tuple(&self, id: Id) -> u8 {
        let own = self
            .program
            .meta
            .get(id.index())
            .map_or(0, |meta| meta.flags);
        let mixed = match self.program.value(id) {
            Value::Tuple(_) => own & Flags::MIXED,
            value if is_scalar(value) && own & Flags::UNHASHABLE == 0 => 0,
            _ => Flags::MIXED,
        };
        own & Flags::UNHASHABLE | mixed
    }

    /// APPEND, APPENDS, ADDITEMS, SETITEM, SETITEMS.
    pub(super) fn fill(&mut self, opcode: u8) -> Flow {
        let (height, pairs) = match opcode {
            b'a' => (self.stack.len().checked_sub(1), false),
            b's' => (self.stack.len().checked_sub(2), true),
            b'u' => (Some(self.pop_mark()?), true),
            _ => (Some(self.pop_mark()?), false),
        };
        let height = height.ok_or(Oddity::StackUnderflow)?;
        let target = height
            .checked_sub(1)
            .filter(|place| *place >= self.fence())
            .and_then(|place| self.stack.get(place))
            .copied();
        let target = match target {
            Some(target) => target,
            None if self.bottomless && self.marks.is_empty() => {
                self.stack.truncate(height);
                let id = self.elided()?;
                self.stack.push(id);
                return Ok(());
            }
            None => return Err(Oddity::StackUnderflow),
        };
        if self.stack.len() == height {
            return Ok(());
        }
        match (opcode, pairs) {
            (_, true) => self.set_items(target, height)?,
            (0x90, _) => self.add_items(target, height)?,
            _ => self.extend(target, height)?,
        }
        self.stack.truncate(height);
        Ok(())
    }

    fn extend(&mut self, target: Id, height: usize) -> Flow {
        match self.program.value(target) {
            Value::List(_) => {
                self.append(target, height);
                Ok(())
            }
            Value::Bytes(_) if self.program.is_bytearray(target) => {
                let items = self.stack.split_off(height);
                for item in items {
                    let byte = self.byte_value(item)?;
                    if let Some(Value::Bytes(bytes)) = self.program.values.get_mut(target.index()) {
                        bytes.extend(byte);
                        self.heap += 1;
                    }
                }
                Ok(())
            }
            _ if self.is_plain(target) => Err(Oddity::Refused(Refusal::NoExtension)),
            _ => self.put_in(target, height, false, Deed::Extend(target)),
        }
    }

    /// Something is put into what is not made here: kept with the result of a call, or with the effect.
    fn put_in(&mut self, target: Id, height: usize, pairs: bool, deed: Deed) -> Flow {
        if matches!(self.program.value(target), Value::Call(_)) {
            if pairs {
                self.insert(target, height)?;
            } else {
                self.append(target, height);
            }
            self.effect(deed);
            return Ok(());
        }
        let before = self.program.effects.len();
        self.effect(deed);
        if self.program.effects.len() == before {
            self.stack.truncate(height);
            return Ok(());
        }
        let empty = if pairs {
            Value::Dict(Vec::new())
        } else {
            Value::List(Vec::new())
        };
        let put = self.store(empty, Flags::UNHASHABLE)?;
        self.program.beside.put.insert(before, put);
        if pairs {
            let stack = self.stack.get(height..).unwrap_or_default();
            let (all, _) = stack.as_chunks::<2>();
            let all: Vec<(Id, Id)> = all.iter().map(|[key, value]| (*key, *value)).collect();
            self.heap += all.len() * 10;
            if let Some(Value::Dict(dict)) = self.program.values.get_mut(put.index()) {
                *dict = all;
            }
        } else {
            self.append(put, height);
        }
        for index in height..self.stack.len() {
            if let Some(id) = self.stack.get(index).copied() {
                self.share(id);
            }
        }
        self.stack.truncate(height);
        Ok(())
    }

    /// The byte that goes into a bytearray; none if what goes in is not known.
    fn byte_value(&self, id: Id) -> Flow<Option<u8>> {
        match self.program.value(id) {
            Value::Int(value) => u8::try_from(*value)
                .map(Some)
                .map_err(|_| Oddity::Refused(Refusal::NoItems)),
            Value::Bool(value) => Ok(Some(u8::from(*value))),
            _ if self.is_plain(id) => Err(Oddity::Refused(Refusal::NoItems)),
            _ => Ok(None),
        }
    }

    fn add_items(&mut self, target: Id, height: usize) -> Flow {
        let frozen = self.program.is_frozen(target);
        match self.program.value(target) {
            Value::Set(_) if !frozen => {
                self.hashable(height, 1)?;
                self.append(target, height);
                Ok(())
            }
            _ if self.is_plain(target) => Err(Oddity::Refused(Refusal::NoExtension)),
            _ => self.put_in(target, height, false, Deed::Extend(target)),
        }
    }

    /// Each `step`th value from `height` on has a hash.
    fn hashable(&self, height: usize, step: usize) -> Flow {
        let items = self.stack.get(height..).unwrap_or_default();
        let mut keys = items.iter().step_by(step);
        if keys.any(|id| self.program.has(*id, Flags::UNHASHABLE)) {
            return Err(Oddity::Refused(Refusal::Unhashable));
        }
        Ok(())
    }

    /// Puts what stands on the stack from `height` on into a list, a set or the result of a call.
    fn append(&mut self, target: Id, height: usize) {
        let stack = std::mem::take(&mut self.stack);
        let items = stack.get(height..).unwrap_or_default();
        let mut elided = 0;
        if self.level >= COUNTING {
            let room = long(self.level).saturating_sub(self.length(target));
            let (kept, others) = items.split_at(room.min(items.len()));
            let mut kept = kept.to_vec();
            for id in others {
                if is_scalar(self.program.value(*id)) {
                    self.free_scalar(*id);
                    elided += 1;
                } else {
                    kept.push(*id);
                }
            }
            self.put_items(target, &kept);
        } else {
            self.put_items(target, items);
        }
        if elided > 0 {
            *self.program.beside.elided.entry(target).or_default() += elided;
        }
        self.stack = stack;
        self.stack.truncate(height);
    }

    fn put_items(&mut self, target: Id, items: &[Id]) {
        for id in items {
            self.share(*id);
        }
        self.heap += items.len() * 5;
        match self.program.values.get_mut(target.index()) {
            Some(Value::List(list) | Value::Set(list)) => list.extend_from_slice(items),
            Some(Value::Call(call)) => call.appended.extend_from_slice(items),
            _ => {}
        }
    }

    fn length(&self, id: Id) -> usize {
        match self.program.value(id) {
            Value::List(items) | Value::Set(items) => items.len(),
            Value::Dict(pairs) => pairs.len(),
            Value::Call(call) => call.appended.len().max(call.entries.len()),
            _ => 0,
        }
    }

    fn set_items(&mut self, target: Id, height: usize) -> Flow {
        match self.program.value(target) {
            Value::Dict(_) => self.insert(target, height),
            Value::List(_) => self.set_places(target, height),
            Value::Bytes(_) if self.program.is_bytearray(target) => self.set_places(target, height),
            _ if self.is_plain(target) => {
                self.even(height)?;
                Err(Oddity::Refused(Refusal::NoItems))
            }
            _ => {
                let even = self.even(height);
                if even.is_err() && self.stack.len() - height > 1 {
                    // `pickle.py` sets the pairs before it finds the key without a value.
                    self.stack.pop();
                    self.put_in(target, height, true, Deed::SetItems(target))?;
                    return even;
                }
                even?;
                self.register(target, height);
                self.put_in(target, height, true, Deed::SetItems(target))
            }
        }
    }

    fn even(&self, height: usize) -> Flow {
        if (self.stack.len() - height).is_multiple_of(2) {
            Ok(())
        } else {
            Err(Oddity::OddItems)
        }
    }

    /// Puts the pairs that stand on the stack from `height` on into a dict or the result of a call.
    fn insert(&mut self, target: Id, height: usize) -> Flow {
        self.even(height)?;
        if matches!(self.program.value(target), Value::Dict(_)) {
            self.hashable(height, 2)?;
        }
        let stack = std::mem::take(&mut self.stack);
        let (pairs, _) = stack.get(height..).unwrap_or_default().as_chunks::<2>();
        let room = if self.level >= COUNTING {
            long(self.level).saturating_sub(self.length(target))
        } else {
            usize::MAX
        };
        let mut elided = 0;
        let mut kept = Vec::with_capacity(pairs.len().min(room));
        for [key, value] in pairs {
            let plain = |id: Id| is_scalar(self.program.value(id));
            if kept.len() >= room && plain(*key) && plain(*value) {
                self.free_scalar(*key);
                if key != value {
                    self.free_scalar(*value);
                }
                elided += 1;
            } else {
                self.share(*key);
                self.share(*value);
                kept.push((*key, *value));
            }
        }
        self.heap += kept.len() * 10;
        match self.program.values.get_mut(target.index()) {
            Some(Value::Dict(dict)) => dict.append(&mut kept),
            Some(Value::Call(call)) => call.entries.append(&mut kept),
            _ => {}
        }
        if elided > 0 {
            *self.program.beside.elided.entry(target).or_default() += elided;
        }
        self.stack = stack;
        self.stack.truncate(height);
        Ok(())
    }

    /// Sets items of a list or bytearray by their places.
    fn set_places(&mut self, target: Id, height: usize) -> Flow {
        self.even(height)?;
        let items = self.stack.split_off(height);
        let (pairs, _) = items.as_chunks::<2>();
        for [key, value] in pairs {
            let index = match self.program.value(*key) {
                Value::Int(index) => *index,
                Value::Bool(index) => i64::from(*index),
                _ if self.is_plain(*key) => return Err(Oddity::Refused(Refusal::NoItems)),
                _ => {
                    self.effect(Deed::SetItems(target));
                    continue;
                }
            };
            let byte = if matches!(self.program.value(target), Value::Bytes(_)) {
                self.byte_value(*value)?
            } else {
                None
            };
            if self.program.elided(target) > 0 || self.program.whole(target).is_some() {
                continue;
            }
            self.share(*value);
            let place = |length: usize| {
                let length = i64::try_from(length).unwrap_or(i64::MAX);
                let index = if index < 0 { index + length } else { index };
                usize::try_from(index).ok()
            };
            let set = match self.program.values.get_mut(target.index()) {
                Some(Value::List(list)) => place(list.len())
                    .and_then(|index| list.get_mut(index))
                    .map(|slot| *slot = *value),
                Some(Value::Bytes(bytes)) => place(bytes.len())
                    .and_then(|index| bytes.get_mut(index))
                    .map(|slot| *slot = byte.unwrap_or(*slot)),
                _ => None,
            };
            set.ok_or(Oddity::Refused(Refusal::NoItems))?;
        }
        Ok(())
    }

    /// READONLY_BUFFER.
    pub(super) fn read_only(&mut self) -> Flow {
        let top = self.top()?;
        if self.program.is_bytearray(top) {
            let (value, whole) = (self.program.value(top).clone(), self.program.whole(top));
            let id = self.store(value, Flags::VARIANT)?;
            if let Some(whole) = whole {
                self.program.beside.whole.insert(id, whole);
            }
            self.stack.pop();
            self.push(id);
        } else if self.is_plain(top) && !matches!(self.program.value(top), Value::Bytes(_)) {
            return Err(Oddity::Refused(Refusal::NoBuffer));
        }
        Ok(())
    }
}
