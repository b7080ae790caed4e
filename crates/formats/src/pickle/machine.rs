//! The stack machine: one opcode after the other, until STOP or the first break.

use std::collections::HashMap;

use super::text::{integer, long, quoted, raw_unicode, text_or_bytes};
use super::{Anomaly, Call, Deed, Effect, Global, How, Id, Limits, Oddity, Opaque, Program, Value};

/// Follows the program at the start of `bytes`. What stands behind its STOP is not looked at; see [`Program::end`].
pub fn run(bytes: &[u8], limits: &Limits) -> Program {
    let mut machine = Machine {
        input: Input { bytes, position: 0 },
        limits: *limits,
        start: 0,
        stack: Vec::new(),
        marks: Vec::new(),
        memo: Memo::default(),
        name_bytes_left: limits.name_bytes,
        program: Program {
            values: Vec::new(),
            root: None,
            complete: false,
            end: 0,
            protocol: None,
            effects: Vec::new(),
            anomalies: Vec::new(),
        },
    };
    machine.follow();
    machine.program
}

struct Machine<'a> {
    input: Input<'a>,
    limits: Limits,
    /// Offset of the opcode that is being followed.
    start: usize,
    stack: Vec<Id>,
    /// Heights of the stack at which marks stand; nothing is taken from below the last one.
    marks: Vec<u32>,
    memo: Memo,
    name_bytes_left: usize,
    program: Program,
}

type Flow<T = ()> = Result<T, Oddity>;

impl Machine<'_> {
    fn follow(&mut self) {
        let mut opcodes = 0;
        let broken = loop {
            self.start = self.input.position;
            opcodes += 1;
            if opcodes > self.limits.opcodes {
                break Oddity::Limit {
                    what: "opcodes",
                    limit: self.limits.opcodes,
                };
            }
            match self.step() {
                Ok(Some(root)) => {
                    self.program.root = Some(root);
                    self.program.complete = true;
                    self.program.end = self.input.position;
                    return;
                }
                Ok(None) => {}
                Err(oddity) => break oddity,
            }
        };
        self.note(broken);
        self.program.root = self.stack.last().copied();
        self.program.end = self.start;
    }

    /// One opcode; the result if it was STOP.
    fn step(&mut self) -> Flow<Option<Id>> {
        let opcode = self.input.byte()?;
        if opcode == b'.' {
            return self.pop().map(Some);
        }
        let known = self.scalar(opcode)?
            || self.container(opcode)?
            || self.bookkeeping(opcode)?
            || self.object(opcode)?;
        if known {
            Ok(None)
        } else {
            Err(Oddity::UnknownOpcode(opcode))
        }
    }

    fn scalar(&mut self, opcode: u8) -> Flow<bool> {
        let value = match opcode {
            b'N' => Value::None,
            0x88 => Value::Bool(true),
            0x89 => Value::Bool(false),
            b'I' => match self.input.line()? {
                b"00" => Value::Bool(false),
                b"01" => Value::Bool(true),
                line => integer(line).ok_or(Oddity::Malformed)?,
            },
            b'L' => {
                let line = self.input.line()?;
                integer(line.strip_suffix(b"L").unwrap_or(line)).ok_or(Oddity::Malformed)?
            }
            b'J' => Value::Int(i64::from(i32::from_le_bytes(self.input.array()?))),
            b'K' => Value::Int(i64::from(self.input.byte()?)),
            b'M' => Value::Int(i64::from(u16::from_le_bytes(self.input.array()?))),
            0x8a => {
                let size = u64::from(self.input.byte()?);
                long(self.input.take(size)?)
            }
            0x8b => {
                let size = self.input.signed_size()?;
                long(self.input.take(size)?)
            }
            b'F' => {
                let line = str::from_utf8(self.input.line()?).map_err(|_| Oddity::Malformed)?;
                Value::Float(line.trim().parse().map_err(|_| Oddity::Malformed)?)
            }
            b'G' => Value::Float(f64::from_be_bytes(self.input.array()?)),
            b'S' => quoted(self.input.line()?).ok_or(Oddity::Malformed)?,
            b'V' => Value::Text(raw_unicode(self.input.line()?)),
            0x97 => Value::Opaque(Opaque::OutOfBand),
            _ => match self.sized(opcode)? {
                Some(value) => value,
                None => return Ok(false),
            },
        };
        self.push(value)?;
        Ok(true)
    }

    /// Texts and bytes that are preceded by their length.
    fn sized(&mut self, opcode: u8) -> Flow<Option<Value>> {
        let size = match opcode {
            b'U' | b'C' | 0x8c => u64::from(self.input.byte()?),
            b'T' => self.input.signed_size()?,
            b'B' | b'X' => u64::from(u32::from_le_bytes(self.input.array()?)),
            0x8d | 0x8e | 0x96 => u64::from_le_bytes(self.input.array()?),
            _ => return Ok(None),
        };
        let bytes = self.input.take(size)?;
        Ok(Some(match opcode {
            b'U' | b'T' => text_or_bytes(bytes.to_vec()),
            b'C' | b'B' | 0x8e | 0x96 => Value::Bytes(bytes.to_vec()),
            _ => Value::Text(self.utf8(bytes)),
        }))
    }

    fn container(&mut self, opcode: u8) -> Flow<bool> {
        let value = match opcode {
            b']' => Value::List(Vec::new()),
            b')' => Value::Tuple(Vec::new()),
            b'}' => Value::Dict(Vec::new()),
            0x8f => Value::Set(Vec::new()),
            b'l' => Value::List(self.pop_mark()?),
            b't' => Value::Tuple(self.pop_mark()?),
            b'd' => Value::Dict(pairs(&self.pop_mark()?)?),
            0x91 => Value::Set(self.pop_mark()?),
            0x85..=0x87 => Value::Tuple(self.pop_many(usize::from(opcode - 0x84))?),
            b'a' => {
                let item = self.pop()?;
                return self.extend(vec![item]);
            }
            b'e' | 0x90 => {
                let items = self.pop_mark()?;
                return self.extend(items);
            }
            b's' => {
                let items = self.pop_many(2)?;
                return self.set_items(&items);
            }
            b'u' => {
                let items = self.pop_mark()?;
                return self.set_items(&items);
            }
            _ => return Ok(false),
        };
        self.push(value)?;
        Ok(true)
    }

    fn extend(&mut self, mut items: Vec<Id>) -> Flow<bool> {
        let target = self.top()?;
        match self.program.values.get_mut(target.index()) {
            Some(Value::List(list) | Value::Set(list)) => list.append(&mut items),
            other => {
                if let Some(Value::Call(call)) = other {
                    call.appended.append(&mut items);
                }
                self.effect(Deed::Extend(target))?;
            }
        }
        Ok(true)
    }

    fn set_items(&mut self, items: &[Id]) -> Flow<bool> {
        let target = self.top()?;
        let mut pairs = pairs(items)?;
        match self.program.values.get_mut(target.index()) {
            Some(Value::Dict(dict)) => dict.append(&mut pairs),
            other => {
                if let Some(Value::Call(call)) = other {
                    call.entries.append(&mut pairs);
                }
                self.effect(Deed::SetItems(target))?;
            }
        }
        Ok(true)
    }

    fn bookkeeping(&mut self, opcode: u8) -> Flow<bool> {
        match opcode {
            b'(' => self
                .marks
                .push(u32::try_from(self.stack.len()).unwrap_or(u32::MAX)),
            b'0' => {
                // As in CPython: a POP that meets a mark takes the mark away.
                if self.stack.len() == self.fence() {
                    self.marks.pop().ok_or(Oddity::StackUnderflow)?;
                } else {
                    self.pop()?;
                }
            }
            b'1' => drop(self.pop_mark()?),
            b'2' => self.stack.push(self.top()?),
            b'p' => self.put_line()?,
            b'q' => {
                let index = u64::from(self.input.byte()?);
                self.put(index)?;
            }
            b'r' => {
                let index = u64::from(u32::from_le_bytes(self.input.array()?));
                self.put(index)?;
            }
            0x94 => self.put(self.memo.len() as u64)?,
            b'g' => {
                let index = line_index(self.input.line()?)?;
                self.get(index)?;
            }
            b'h' => {
                let index = u64::from(self.input.byte()?);
                self.get(index)?;
            }
            b'j' => {
                let index = u64::from(u32::from_le_bytes(self.input.array()?));
                self.get(index)?;
            }
            0x80 => self.declare_protocol()?,
            0x95 => {
                let size = u64::from_le_bytes(self.input.array()?);
                if size > self.input.left() {
                    self.note(Oddity::FramePastEnd);
                }
            }
            0x98 => {
                self.top()?;
            }
            _ => return Ok(false),
        }
        Ok(true)
    }

    fn declare_protocol(&mut self) -> Flow {
        let protocol = self.input.byte()?;
        if protocol > 5 {
            self.note(Oddity::UnknownProtocol(protocol));
        }
        self.program.protocol.get_or_insert(protocol);
        Ok(())
    }

    fn object(&mut self, opcode: u8) -> Flow<bool> {
        match opcode {
            b'c' => {
                let global = self.global_lines()?;
                self.stack.push(global);
            }
            0x93 => self.stack_global()?,
            b'R' | 0x81 => {
                let how = if opcode == b'R' {
                    How::Reduce
                } else {
                    How::New
                };
                let (args, callable) = (self.pop()?, self.pop()?);
                self.call(callable, args, None, how)?;
            }
            0x92 => {
                let (keywords, args, callable) = (self.pop()?, self.pop()?, self.pop()?);
                self.call(callable, args, Some(keywords), How::New)?;
            }
            b'i' => {
                let class = self.global_lines()?;
                let items = self.pop_mark()?;
                let args = self.store(Value::Tuple(items))?;
                self.call(class, args, None, How::Instance)?;
            }
            b'o' => {
                let items = self.pop_mark()?;
                let (class, items) = items.split_first().ok_or(Oddity::StackUnderflow)?;
                let args = self.store(Value::Tuple(items.to_vec()))?;
                self.call(*class, args, None, How::Instance)?;
            }
            b'b' => self.build()?,
            b'P' => {
                let line = self.input.line()?;
                let text = self.utf8(line);
                let name = self.store(Value::Text(text))?;
                self.persistent(name)?;
            }
            b'Q' => {
                let name = self.pop()?;
                self.persistent(name)?;
            }
            0x82..=0x84 => self.extension(opcode)?,
            _ => return Ok(false),
        }
        Ok(true)
    }

    fn global_lines(&mut self) -> Flow<Id> {
        let (module, name) = (self.input.line()?, self.input.line()?);
        let global = Global {
            module: self.utf8(module),
            name: self.utf8(name),
        };
        let id = self.store(Value::Global(Box::new(global)))?;
        self.effect(Deed::Import(id))?;
        Ok(id)
    }

    fn stack_global(&mut self) -> Flow {
        let (name, module) = (self.pop()?, self.pop()?);
        let texts = (self.program.text(module), self.program.text(name));
        let value = if let (Some(module), Some(name)) = texts {
            let left = self.name_bytes_left.checked_sub(module.len() + name.len());
            let full = Oddity::Limit {
                what: "bytes of names",
                limit: self.limits.name_bytes as u64,
            };
            self.name_bytes_left = left.ok_or(full)?;
            Value::Global(Box::new(Global {
                module: module.to_owned(),
                name: name.to_owned(),
            }))
        } else {
            self.note(Oddity::ComputedGlobal);
            Value::Opaque(Opaque::ComputedGlobal)
        };
        let id = self.store(value)?;
        self.stack.push(id);
        self.effect(Deed::Import(id))
    }

    fn call(&mut self, callable: Id, args: Id, keywords: Option<Id>, how: How) -> Flow {
        let call = Call {
            callable,
            args,
            keywords,
            how,
            states: Vec::new(),
            entries: Vec::new(),
            appended: Vec::new(),
        };
        let id = self.store(Value::Call(Box::new(call)))?;
        self.stack.push(id);
        self.effect(Deed::Call(id))
    }

    fn build(&mut self) -> Flow {
        let state = self.pop()?;
        let target = self.top()?;
        if let Some(Value::Call(call)) = self.program.values.get_mut(target.index()) {
            call.states.push(state);
        }
        self.effect(Deed::Build { target, state })
    }

    fn persistent(&mut self, name: Id) -> Flow {
        let id = self.store(Value::Persistent(name))?;
        self.stack.push(id);
        self.effect(Deed::Persistent(id))
    }

    fn extension(&mut self, opcode: u8) -> Flow {
        let code = match opcode {
            0x82 => u32::from(self.input.byte()?),
            0x83 => u32::from(u16::from_le_bytes(self.input.array()?)),
            _ => u32::from_le_bytes(self.input.array()?),
        };
        self.effect(Deed::Extension(code))?;
        self.push(Value::Opaque(Opaque::Extension(code)))
    }

    fn store(&mut self, value: Value) -> Flow<Id> {
        let values = &mut self.program.values;
        let full = Oddity::Limit {
            what: "values",
            limit: self.limits.values as u64,
        };
        let id = Id::at(values.len())
            .filter(|_| values.len() < self.limits.values)
            .ok_or(full)?;
        values.push(value);
        Ok(id)
    }

    fn push(&mut self, value: Value) -> Flow {
        let id = self.store(value)?;
        self.stack.push(id);
        Ok(())
    }

    /// The height below which nothing may be taken: that of the last mark.
    fn fence(&self) -> usize {
        self.marks.last().map_or(0, |height| *height as usize)
    }

    fn top(&self) -> Flow<Id> {
        let above = self.stack.get(self.fence()..).unwrap_or_default();
        above.last().copied().ok_or(Oddity::StackUnderflow)
    }

    fn pop(&mut self) -> Flow<Id> {
        let top = self.top()?;
        self.stack.pop();
        Ok(top)
    }

    fn pop_many(&mut self, count: usize) -> Flow<Vec<Id>> {
        let height = self
            .stack
            .len()
            .checked_sub(count)
            .filter(|height| *height >= self.fence());
        Ok(self.stack.split_off(height.ok_or(Oddity::StackUnderflow)?))
    }

    fn pop_mark(&mut self) -> Flow<Vec<Id>> {
        let height = self.marks.pop().ok_or(Oddity::NoMark)? as usize;
        Ok(self.stack.split_off(height.min(self.stack.len())))
    }

    fn put_line(&mut self) -> Flow {
        let index = line_index(self.input.line()?)?;
        self.put(index)
    }

    fn put(&mut self, index: u64) -> Flow {
        let top = self.top()?;
        if self.memo.len() >= self.limits.memo {
            return Err(Oddity::Limit {
                what: "memo entries",
                limit: self.limits.memo as u64,
            });
        }
        self.memo.put(index, top);
        Ok(())
    }

    fn get(&mut self, index: u64) -> Flow {
        let id = self.memo.get(index).ok_or(Oddity::UnknownMemo(index))?;
        self.stack.push(id);
        Ok(())
    }

    fn utf8(&mut self, bytes: &[u8]) -> String {
        let text = String::from_utf8_lossy(bytes);
        if matches!(text, std::borrow::Cow::Owned(_)) {
            self.note(Oddity::NotUtf8);
        }
        text.into_owned()
    }

    fn effect(&mut self, deed: Deed) -> Flow {
        if self.program.effects.len() >= self.limits.records {
            return Err(Oddity::Limit {
                what: "effects",
                limit: self.limits.records as u64,
            });
        }
        self.program.effects.push(Effect {
            offset: self.start,
            deed,
        });
        Ok(())
    }

    fn note(&mut self, oddity: Oddity) {
        if self.program.anomalies.len() < self.limits.records {
            self.program.anomalies.push(Anomaly {
                offset: self.start,
                oddity,
            });
        }
    }
}

fn pairs(items: &[Id]) -> Flow<Vec<(Id, Id)>> {
    let (pairs, rest) = items.as_chunks::<2>();
    if rest.is_empty() {
        Ok(pairs.iter().map(|[key, value]| (*key, *value)).collect())
    } else {
        Err(Oddity::OddItems)
    }
}

/// A memo index in decimal. CPython turns the text into an integer, blanks and all.
fn line_index(line: &[u8]) -> Flow<u64> {
    let text = str::from_utf8(line).map_err(|_| Oddity::Malformed)?;
    text.trim().parse().map_err(|_| Oddity::Malformed)
}

/// Index to value. Real pickles number from 0 without holes, so that part is a plain vector.
#[derive(Default)]
struct Memo {
    dense: Vec<Id>,
    sparse: HashMap<u64, Id>,
}

impl Memo {
    fn len(&self) -> usize {
        self.dense.len() + self.sparse.len()
    }

    fn get(&self, index: u64) -> Option<Id> {
        let dense = usize::try_from(index)
            .ok()
            .and_then(|index| self.dense.get(index));
        dense.or_else(|| self.sparse.get(&index)).copied()
    }

    fn put(&mut self, index: u64, id: Id) {
        let place = usize::try_from(index).unwrap_or(usize::MAX);
        if let Some(entry) = self.dense.get_mut(place) {
            *entry = id;
        } else if place == self.dense.len() && !self.sparse.contains_key(&index) {
            self.dense.push(id);
        } else {
            self.sparse.insert(index, id);
        }
    }
}

struct Input<'a> {
    bytes: &'a [u8],
    position: usize,
}

impl<'a> Input<'a> {
    fn left(&self) -> u64 {
        (self.bytes.len() - self.position) as u64
    }

    fn take(&mut self, size: u64) -> Flow<&'a [u8]> {
        let end = usize::try_from(size)
            .ok()
            .and_then(|size| self.position.checked_add(size));
        let part = end
            .and_then(|end| self.bytes.get(self.position..end))
            .ok_or(Oddity::Truncated)?;
        self.position += part.len();
        Ok(part)
    }

    fn byte(&mut self) -> Flow<u8> {
        self.array::<1>().map(|[byte]| byte)
    }

    fn array<const N: usize>(&mut self) -> Flow<[u8; N]> {
        let array = self
            .bytes
            .get(self.position..)
            .and_then(|rest| rest.first_chunk())
            .ok_or(Oddity::Truncated)?;
        self.position += N;
        Ok(*array)
    }

    /// A length of 4 bytes that must not be negative.
    fn signed_size(&mut self) -> Flow<u64> {
        u64::try_from(i32::from_le_bytes(self.array()?)).map_err(|_| Oddity::Malformed)
    }

    /// Up to the next line feed, which is taken away.
    fn line(&mut self) -> Flow<&'a [u8]> {
        let rest = self.bytes.get(self.position..).unwrap_or_default();
        let end = rest
            .iter()
            .position(|byte| *byte == b'\n')
            .ok_or(Oddity::Truncated)?;
        self.position += end + 1;
        Ok(&rest[..end])
    }
}
