//! Protocol buffers without their schema: fields, one after the other, in place.
//!
//! ONNX, TensorFlow and Core ML files are protobuf messages of up to gigabytes. Reading them does not need generated code,
//! which would decode everything into memory first and drop what its schema does not name, and that is where things hide.
//! So a message is a [`Span`] of the file, and walking it costs a few bytes a field. What a field number means is for the
//! readers of the formats. <https://protobuf.dev/programming-guides/encoding/>

use std::cell::Cell;

use crate::ReadAt;
use crate::paged::{PageError, Pages};

/// The most fields that are walked in one file, all messages together.
pub const MAX_FIELDS: u64 = 8 << 20;
/// How deep groups of the old kind may nest while they are skipped.
const MAX_GROUPS: u32 = 64;
/// The largest field number that the encoding has.
const MAX_NUMBER: u64 = (1 << 29) - 1;

/// A range of bytes of the file: a message, a string, packed numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Span {
    /// Offset of the first byte in the file.
    pub start: u64,
    /// Offset behind the last one.
    pub end: u64,
}

impl Span {
    /// Bytes.
    pub const fn len(self) -> u64 {
        self.end.saturating_sub(self.start)
    }

    /// Whether it has no bytes.
    pub const fn is_empty(self) -> bool {
        self.len() == 0
    }
}

/// What a field holds, as far as the encoding says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Value {
    /// A number of any of the integer types, or a truth value.
    Varint(u64),
    /// Eight bytes.
    Fixed64(u64),
    /// Four bytes.
    Fixed32(u32),
    /// A string, bytes, a message or packed numbers.
    Bytes(Span),
    /// A group of the old kind, skipped.
    Group(Span),
}

/// One field of a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Field {
    /// Its number in the schema.
    pub number: u32,
    /// Its content.
    pub value: Value,
    /// Where it starts in the file, tag included.
    pub offset: u64,
}

impl Field {
    /// The bytes of a field of that kind.
    pub const fn span(self) -> Option<Span> {
        match self.value {
            Value::Bytes(span) => Some(span),
            _ => None,
        }
    }

    /// The number of a field of that kind.
    pub const fn varint(self) -> Option<u64> {
        match self.value {
            Value::Varint(number) => Some(number),
            _ => None,
        }
    }
}

/// Why walking stops.
#[derive(Debug, thiserror::Error)]
pub enum WireError {
    /// The bytes are not to be had.
    #[error(transparent)]
    Page(#[from] PageError),
    /// A field reaches behind its message.
    #[error("the field at byte {0} reaches behind its message")]
    Overrun(u64),
    /// No such tag, or a number of more than ten bytes.
    #[error("byte {0} starts no field of a protocol buffer")]
    NoField(u64),
    /// More than [`MAX_FIELDS`].
    #[error("it has more than {MAX_FIELDS} fields")]
    TooMany,
}

/// A file that holds a message.
pub struct Wire<'a> {
    pages: Pages<'a>,
    walked: Cell<u64>,
}

impl<'a> Wire<'a> {
    /// Reads nothing yet.
    pub fn new(input: &'a dyn ReadAt) -> Self {
        Self {
            pages: Pages::new(input),
            walked: Cell::new(0),
        }
    }

    /// The message that the whole file is.
    pub fn whole(&self) -> Span {
        Span {
            start: 0,
            end: self.pages.len(),
        }
    }

    /// The bytes behind it.
    pub fn pages(&self) -> &Pages<'a> {
        &self.pages
    }

    /// The fields of the message in `span`, in their order. It ends behind the first error.
    pub fn fields(&self, span: Span) -> Fields<'_, 'a> {
        Fields {
            wire: self,
            position: span.start,
            end: span.end.min(self.pages.len()),
            over: false,
        }
    }

    /// The bytes of `span`, if they are not more than `most`.
    pub fn bytes(&self, span: Span, most: usize) -> Result<Vec<u8>, WireError> {
        Ok(self.pages.bytes(span.start, span.len(), most)?)
    }

    /// The text of `span`, cut behind `most` bytes; what is no text becomes replacement characters.
    pub fn text(&self, span: Span, most: usize) -> Result<String, WireError> {
        let length = span.len().min(most as u64);
        let bytes = self.pages.bytes(span.start, length, most)?;
        Ok(String::from_utf8_lossy(&bytes).into_owned())
    }

    /// The last field `number` of `span` that holds bytes: of a field that stands twice, readers take the last one. An
    /// error of the encoding ends the search.
    pub fn find(&self, span: Span, number: u32) -> Option<Span> {
        let fields = self.fields(span).map_while(Result::ok);
        let spans = fields
            .filter(|field| field.number == number)
            .filter_map(Field::span);
        spans.last()
    }

    fn varint(&self, position: &mut u64, end: u64) -> Result<u64, WireError> {
        let start = *position;
        let mut number = 0u64;
        for place in 0..10u32 {
            if *position >= end {
                return Err(WireError::Overrun(start));
            }
            let byte = self.pages.u8(*position)?;
            *position += 1;
            number |= u64::from(byte & 0x7f).checked_shl(7 * place).unwrap_or(0);
            if byte & 0x80 == 0 {
                return Ok(number);
            }
        }
        Err(WireError::NoField(start))
    }
}

/// The fields of one message.
pub struct Fields<'w, 'a> {
    wire: &'w Wire<'a>,
    position: u64,
    end: u64,
    over: bool,
}

impl Fields<'_, '_> {
    fn step(&mut self) -> Result<Field, WireError> {
        let (field, kind) = self.tagged()?;
        if kind == 3 {
            return self.skip_group(field);
        }
        if kind == 4 {
            return Err(WireError::NoField(field.offset));
        }
        Ok(field)
    }

    /// One field with its wire type; types 3 and 4 have no content of their own.
    fn tagged(&mut self) -> Result<(Field, u64), WireError> {
        let walked = self.wire.walked.get();
        if walked >= MAX_FIELDS {
            return Err(WireError::TooMany);
        }
        self.wire.walked.set(walked + 1);
        let offset = self.position;
        let tag = self.wire.varint(&mut self.position, self.end)?;
        let number = Some(tag >> 3).filter(|number| (1..=MAX_NUMBER).contains(number));
        let number = number.and_then(|number| u32::try_from(number).ok());
        let number = number.ok_or(WireError::NoField(offset))?;
        let value = match tag & 7 {
            0 => Value::Varint(self.wire.varint(&mut self.position, self.end)?),
            1 => {
                let place = self.take(8, offset)?;
                Value::Fixed64(self.wire.pages.u64(place.start)?)
            }
            2 => {
                let length = self.wire.varint(&mut self.position, self.end)?;
                Value::Bytes(self.take(length, offset)?)
            }
            3 | 4 => Value::Group(self.take(0, offset)?),
            5 => {
                let place = self.take(4, offset)?;
                Value::Fixed32(self.wire.pages.u32(place.start)?)
            }
            _ => return Err(WireError::NoField(offset)),
        };
        let field = Field {
            number,
            value,
            offset,
        };
        Ok((field, tag & 7))
    }

    /// Goes on behind the end of the group that `opening` starts.
    fn skip_group(&mut self, opening: Field) -> Result<Field, WireError> {
        let start = self.position;
        let mut depth = 1u32;
        loop {
            let before = self.position;
            match self.tagged()?.1 {
                3 => depth += 1,
                4 => depth -= 1,
                _ => {}
            }
            if depth > MAX_GROUPS {
                return Err(WireError::NoField(before));
            }
            if depth == 0 {
                let inside = Span { start, end: before };
                return Ok(Field {
                    value: Value::Group(inside),
                    ..opening
                });
            }
        }
    }

    fn take(&mut self, length: u64, offset: u64) -> Result<Span, WireError> {
        let start = self.position;
        let end = start.checked_add(length).filter(|end| *end <= self.end);
        let end = end.ok_or(WireError::Overrun(offset))?;
        self.position = end;
        Ok(Span { start, end })
    }
}

impl Iterator for Fields<'_, '_> {
    type Item = Result<Field, WireError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.over || self.position >= self.end {
            return None;
        }
        let step = self.step();
        self.over = step.is_err();
        Some(step)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fields(bytes: &[u8]) -> Vec<Result<Field, WireError>> {
        let wire = Wire::new(&bytes);
        wire.fields(wire.whole()).collect()
    }

    #[test]
    fn fields_are_told_in_place() {
        let bytes = b"\x08\x96\x01\x12\x03abc\x1d\x01\0\0\0\x21\x02\0\0\0\0\0\0\0";
        let values: Vec<_> = fields(bytes)
            .into_iter()
            .map(|f| f.unwrap().value)
            .collect();
        assert_eq!(
            values,
            [
                Value::Varint(150),
                Value::Bytes(Span { start: 5, end: 8 }),
                Value::Fixed32(1),
                Value::Fixed64(2)
            ]
        );
    }

    #[test]
    fn a_group_is_one_field_and_what_follows_is_seen() {
        let seen = fields(b"\x0b\x08\x01\x13\x14\x0c\x10\x05");
        assert_eq!(seen.len(), 2);
        assert_eq!(seen[1].as_ref().unwrap().value, Value::Varint(5));
        assert!(fields(&[0x0b; 100])[0].is_err());
    }

    #[test]
    fn a_break_is_told_once_and_ends_the_walk() {
        for bytes in [
            &b"\x12\x05ab"[..],
            b"\x00",
            b"\x08",
            b"\x0f",
            b"\x0c",
            b"\x0d\x01",
        ] {
            let seen = fields(bytes);
            assert!(seen.len() == 1 && seen[0].is_err(), "{bytes:?}: {seen:?}");
        }
        let endless = [b"\x08".as_slice(), &[0xff; 11]].concat();
        assert!(matches!(fields(&endless)[0], Err(WireError::NoField(1))));
    }
}
