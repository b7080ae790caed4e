//! Opcodes that push one plain value, which is in the bytes behind them.

use super::arena::Flags;
use super::input::{Input, Line};
use super::machine::{Common, Flow, Machine, hash};
use super::surrogate;
use super::text::{
    NoNumber, float_line, int_line, long, long_line, quoted, quoted_head, raw_unicode,
};
use super::value::{Id, Opaque, Value};
use super::{Oddity, Refusal};

/// Bytes of the largest number that is kept.
const MAX_NUMBER: usize = 64 << 10;
/// Texts up to this length are looked for before they are built anew.
const SHORT: usize = 64;

impl Machine {
    /// The value of a scalar's opcode.
    pub(super) fn scalar(&mut self, opcode: u8, input: &mut Input<'_>) -> Flow<Id> {
        match opcode {
            b'N' => self.common(Common::NONE),
            0x88 => self.common(Common::TRUE),
            0x89 => self.common(Common::FALSE),
            b'K' => {
                let value = input.byte()?;
                self.number(Value::Int(i64::from(value)))
            }
            b'M' => {
                let value = u16::from_le_bytes(input.array()?);
                self.number(Value::Int(i64::from(value)))
            }
            b'J' => {
                let value = i32::from_le_bytes(input.array()?);
                self.number(Value::Int(i64::from(value)))
            }
            b'G' => {
                let value = f64::from_be_bytes(input.array()?);
                self.number(Value::Float(value))
            }
            0x8a => {
                let size = u64::from(input.byte()?);
                self.long(size, input)
            }
            0x8b => {
                let size = i32::from_le_bytes(input.array()?);
                let size = u64::try_from(size).map_err(|_| Oddity::Malformed)?;
                self.long(size, input)
            }
            b'I' | b'L' | b'F' | b'S' | b'V' => self.of_line(opcode, input),
            0x97 => self.store(Value::Opaque(Opaque::OutOfBand), 0),
            _ => self.sized(opcode, input),
        }
    }

    fn number(&mut self, value: Value) -> Flow<Id> {
        let hash = match &value {
            Value::Int(value) => hash(1, &value.to_le_bytes()),
            Value::Float(value) => hash(2, &value.to_bits().to_le_bytes()),
            Value::Bool(value) => {
                return self.common(if *value { Common::TRUE } else { Common::FALSE });
            }
            _ => return self.store(value, 0),
        };
        let same = |other: &Value| match (other, &value) {
            (Value::Int(a), Value::Int(b)) => a == b,
            (Value::Float(a), Value::Float(b)) => a.to_bits() == b.to_bits(),
            _ => false,
        };
        if let Some(id) = self.known(hash, same) {
            return Ok(id);
        }
        let id = self.store(value, 0)?;
        self.remember(hash, id);
        Ok(id)
    }

    fn long(&mut self, size: u64, input: &mut Input<'_>) -> Flow<Id> {
        let payload = input.payload(size, MAX_NUMBER)?;
        let value = long(payload.head);
        let range = payload.offset..payload.offset + payload.size;
        let cut = (payload.head.len() as u64) < size;
        if !cut {
            return self.number(value);
        }
        let id = self.store(value, 0)?;
        self.program.beside.whole.insert(id, range);
        Ok(id)
    }

    /// Numbers and texts of protocol 0.
    fn of_line(&mut self, opcode: u8, input: &mut Input<'_>) -> Flow<Id> {
        let line = input.line();
        if !line.ended {
            return Err(Oddity::Truncated);
        }
        let number = match opcode {
            b'I' => int_line(line.head),
            b'L' => long_line(line.head),
            b'F' => {
                let (value, both) = float_line(line.head).ok_or(Oddity::Malformed)?;
                if !both {
                    self.note(Oddity::LoadersDisagree(Refusal::Number));
                }
                Ok(Value::Float(value))
            }
            _ => return self.text_line(opcode, &line),
        };
        match number {
            Ok(Value::Big(mut bytes)) => {
                bytes.truncate(MAX_NUMBER);
                self.store(Value::Big(bytes), 0)
            }
            Ok(value) => self.number(value),
            Err(NoNumber::Malformed) => Err(Oddity::Malformed),
            Err(NoNumber::TooLong) => {
                self.note(Oddity::LoadersDisagree(Refusal::Number));
                self.elided()
            }
        }
    }

    fn text_line(&mut self, opcode: u8, line: &Line<'_>) -> Flow<Id> {
        let cut = (line.head.len() as u64) < line.size;
        let kept = self.kept();
        let id = if opcode == b'V' {
            let mut text = if cut {
                let inner = line.head.get(..line.head.len().saturating_sub(16));
                raw_unicode(inner.unwrap_or_default()).unwrap_or_default()
            } else {
                raw_unicode(line.head).ok_or(Oddity::Malformed)?
            };
            let shortened = shorten(&mut text, kept);
            let id = self.store(Value::Text(text), 0)?;
            (id, shortened)
        } else {
            let bytes = if cut {
                quoted_head(line.head)
            } else {
                quoted(line.head).ok_or(Oddity::Malformed)?
            };
            self.encoded(&bytes, kept)?
        };
        if cut || id.1 {
            let range = line.offset..line.offset + line.size;
            self.program.beside.whole.insert(id.0, range);
        }
        Ok(id.0)
    }

    /// A string of Python 2; the second is true if it was cut.
    fn encoded(&mut self, bytes: &[u8], kept: usize) -> Flow<(Id, bool)> {
        if !bytes.is_ascii() {
            self.note(Oddity::EncodedText);
        }
        let cut = bytes.len() > kept;
        let head = bytes.get(..kept).unwrap_or(bytes);
        let value =
            surrogate::decode_strict(head).map_or_else(|| Value::Bytes(head.to_vec()), Value::Text);
        Ok((self.store(value, Flags::ENCODED)?, cut))
    }

    /// Texts and bytes that are preceded by their length.
    fn sized(&mut self, opcode: u8, input: &mut Input<'_>) -> Flow<Id> {
        let size = match opcode {
            b'U' | b'C' | 0x8c => u64::from(input.byte()?),
            b'T' | b'B' | b'X' => u64::from(u32::from_le_bytes(input.array()?)),
            _ => u64::from_le_bytes(input.array()?),
        };
        if i64::try_from(size).is_err() {
            return Err(Oddity::Truncated);
        }
        let kept = self.kept();
        let payload = match opcode {
            b'C' | b'B' | 0x8e | 0x96 => input.copied(size, kept)?,
            _ => input.payload(size, kept)?,
        };
        let head = payload.head;
        let range = payload.offset..payload.offset + size;
        let cut = (head.len() as u64) < size;
        let id = match opcode {
            b'U' | b'T' => {
                let (id, _) = self.encoded(head, usize::MAX)?;
                id
            }
            b'C' | b'B' | 0x8e => self.bytes(head, cut)?,
            0x96 => self.store(
                Value::Bytes(head.to_vec()),
                Flags::UNHASHABLE | Flags::VARIANT,
            )?,
            _ => self.utf8(head, cut)?,
        };
        if cut {
            self.program.beside.whole.insert(id, range);
        }
        Ok(id)
    }

    fn bytes(&mut self, head: &[u8], cut: bool) -> Flow<Id> {
        if cut || head.len() > SHORT {
            return self.store(Value::Bytes(head.to_vec()), 0);
        }
        let hash = hash(3, head);
        if let Some(id) = self.known(
            hash,
            |value| matches!(value, Value::Bytes(bytes) if bytes == head),
        ) {
            return Ok(id);
        }
        let id = self.store(Value::Bytes(head.to_vec()), 0)?;
        self.remember(hash, id);
        Ok(id)
    }

    fn utf8(&mut self, head: &[u8], cut: bool) -> Flow<Id> {
        if cut || head.len() > SHORT {
            let text = surrogate::decode(head, cut).ok_or(Oddity::NotUtf8)?;
            return self.store(Value::Text(text), 0);
        }
        let hash = hash(4, head);
        let same = |value: &Value| matches!(value, Value::Text(text) if text.as_bytes() == head);
        if let Some(id) = self.known(hash, same) {
            return Ok(id);
        }
        let text = surrogate::decode(head, false).ok_or(Oddity::NotUtf8)?;
        let id = self.store(Value::Text(text), 0)?;
        self.remember(hash, id);
        Ok(id)
    }

    /// How many bytes of one text are kept: fewer, the more is held already.
    fn kept(&self) -> usize {
        let limit = self.limits.bytes;
        let kept = match self.heap {
            heap if heap < limit / 8 => self.limits.kept,
            heap if heap < limit / 4 => self.limits.kept.min(4096),
            _ => self.limits.kept.min(512),
        };
        if self.limits.kept == usize::MAX {
            usize::MAX
        } else {
            kept
        }
    }
}

/// Cuts a text at a character; whether it did.
fn shorten(text: &mut String, kept: usize) -> bool {
    let cut = text.len() > kept;
    if cut {
        let end = text.floor_char_boundary(kept);
        text.truncate(end);
    }
    cut
}
