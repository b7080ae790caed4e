//! One opcode after the other, as `pickletools.dis` lists them: for a person who wants to see the bytes.
//!
//! Nothing is followed here and no value is built; a listing of a pickle that no loader takes is as good as any other.

use std::fmt;
use std::ops::Range;

use super::expression::literal;
use super::input::Input;
use super::opcode::{Argument, Opcode, opcode};
use super::{Anomaly, Oddity};
use crate::ReadAt;

/// Bytes of an argument that are given.
const SHOWN: usize = 64;

/// An opcode at its place.
#[derive(Debug, Clone, PartialEq)]
pub struct Step {
    /// Offset of its byte.
    pub offset: u64,
    /// Which.
    pub opcode: &'static Opcode,
    /// What stands behind it.
    pub argument: Given,
}

/// The argument of an opcode.
#[derive(Debug, Clone, PartialEq)]
pub enum Given {
    /// It has none.
    None,
    /// A number.
    Number(i128),
    /// A float.
    Float(f64),
    /// The head of bytes, of a text or of lines, as they are written.
    Bytes {
        /// At most 64 bytes.
        head: Vec<u8>,
        /// All bytes.
        size: u64,
    },
}

/// The opcodes in `range` of `input`, up to STOP, to the end or to the first byte that is none.
pub fn disassemble(input: &dyn ReadAt, range: Range<u64>) -> Listing<'_> {
    Listing {
        input: Input::window(input, range.start, range.end),
        over: false,
    }
}

/// See [`disassemble`].
pub struct Listing<'a> {
    input: Input<'a>,
    over: bool,
}

impl Listing<'_> {
    /// Offset behind the last opcode that was read whole.
    pub fn position(&self) -> u64 {
        self.input.position()
    }

    fn step(&mut self) -> Result<Step, Oddity> {
        let offset = self.input.position();
        let code = self.input.byte()?;
        let opcode = opcode(code).ok_or(Oddity::UnknownOpcode(code))?;
        let argument = match opcode.argument {
            Argument::None => Given::None,
            Argument::Unsigned(width) => Given::Number(i128::from(self.unsigned(width)?)),
            Argument::Signed => Given::Number(i32::from_le_bytes(self.input.array()?).into()),
            Argument::Float => Given::Float(f64::from_be_bytes(self.input.array()?)),
            Argument::Line => self.lines(1)?,
            Argument::Lines => self.lines(2)?,
            Argument::Text(width) | Argument::Bytes(width) | Argument::Long(width) => {
                let size = self.unsigned(width)?;
                let payload = self.input.copied(size, SHOWN)?;
                Given::Bytes {
                    head: payload.head.to_vec(),
                    size,
                }
            }
        };
        Ok(Step {
            offset,
            opcode,
            argument,
        })
    }

    fn unsigned(&mut self, width: u8) -> Result<u64, Oddity> {
        Ok(match width {
            1 => u64::from(self.input.byte()?),
            2 => u64::from(u16::from_le_bytes(self.input.array()?)),
            4 => u64::from(u32::from_le_bytes(self.input.array()?)),
            _ => u64::from_le_bytes(self.input.array()?),
        })
    }

    /// Lines with a blank between them.
    fn lines(&mut self, count: usize) -> Result<Given, Oddity> {
        let (mut head, mut size) = (Vec::new(), 0);
        for index in 0..count {
            let line = self.input.line();
            if !line.ended {
                return Err(Oddity::Truncated);
            }
            if index > 0 {
                head.push(b' ');
                size += 1;
            }
            let room = SHOWN.saturating_sub(head.len());
            head.extend(line.head.iter().take(room));
            size += line.size;
        }
        Ok(Given::Bytes { head, size })
    }
}

impl Iterator for Listing<'_> {
    type Item = Result<Step, Anomaly>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.over || self.input.left() == 0 {
            return None;
        }
        let offset = usize::try_from(self.input.position()).unwrap_or(usize::MAX);
        let step = self.step().map_err(|oddity| Anomaly { offset, oddity });
        self.over = step.as_ref().map_or(true, |step| step.opcode.code == b'.');
        Some(step)
    }
}

impl fmt::Display for Step {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{:>8}: {}", self.offset, self.opcode.name)?;
        match &self.argument {
            Given::None => Ok(()),
            Given::Number(value) => write!(formatter, " {value}"),
            Given::Float(value) => write!(formatter, " {value:?}"),
            Given::Bytes { head, size } => {
                let codes = head.iter().copied().map(u32::from);
                write!(formatter, " {}", literal(codes, SHOWN))?;
                match size.checked_sub(head.len() as u64) {
                    Some(more @ 1..) => write!(formatter, "… {more} more"),
                    _ => Ok(()),
                }
            }
        }
    }
}
