//! Where the arrays of a file probably are, in one pass.
//!
//! The true machine must run from the start for every array, because only it can be believed; a forest of a thousand trees
//! has some thousand arrays. So they are guessed first by a machine that knows just enough for what joblib writes (stack,
//! memo, short texts, small numbers) and that gives up at anything else. The guess decides nothing: it is believed as far as
//! the true machine, run once over what remains, finds the same wrappers at the same places.

use std::rc::Rc;

use super::{Measure, is_dtype, is_wrapper};
use crate::ReadAt;
use crate::compressed::source::Source;
use crate::numpy::{Element, text_element};
use crate::pickle::Global;

/// The most values on the stack and, separately, in the memo.
const MAX_VALUES: usize = 200_000;
/// The most opcodes.
const MAX_OPCODES: u64 = 20_000_000;
/// The longest text that is kept, in bytes; the longest key of a wrapper has 27.
const MAX_TEXT: usize = 32;
/// The longest line of a name.
const MAX_LINE: usize = 256;

/// A value, as far as a wrapper can be made of it. None holds another of its kind, so none is deep.
#[derive(Clone)]
enum Rough {
    Mark,
    None,
    Int(i64),
    Text(Rc<str>),
    /// Of values that hold no others.
    Tuple(Rc<[Rough]>),
    Dict(Rc<Vec<(Rough, Rough)>>),
    WrapperClass,
    DtypeClass,
    Wrapper,
    Dtype(Element),
    Other,
}

/// What an opcode comes to.
enum Step {
    Push(Rough),
    Done,
    /// It is of another group.
    Elsewhere,
}

/// The guess: it goes from array to array.
pub(super) struct Guess<'a> {
    source: Source<'a>,
    stack: Vec<Rough>,
    memo: Vec<Rough>,
    opcodes: u64,
}

impl<'a> Guess<'a> {
    pub(super) fn new(input: &'a dyn ReadAt) -> Self {
        Self {
            source: Source::new(input),
            stack: Vec::new(),
            memo: Vec::new(),
            opcodes: 0,
        }
    }

    /// The next array: where it starts and what it is. `None` at the end, or where the guess ends.
    pub(super) fn next_array(&mut self) -> Option<(u64, Measure)> {
        loop {
            self.opcodes += 1;
            if self.opcodes > MAX_OPCODES || self.stack.len() > MAX_VALUES {
                return None;
            }
            let [opcode] = self.array()?;
            if opcode != b'b' {
                self.step(opcode)?;
                continue;
            }
            let state = self.pop()?;
            if matches!(self.stack.last()?, Rough::Wrapper) {
                let measure = measure(&state)?;
                return Some((self.source.position(), measure));
            }
        }
    }

    /// Goes over the bytes of the array that was given.
    pub(super) fn skip(&mut self, bytes: u64) -> bool {
        self.source.skip(bytes)
    }

    fn step(&mut self, opcode: u8) -> Option<()> {
        for group in [Self::scalar, Self::container, Self::object] {
            match group(self, opcode)? {
                Step::Push(value) => {
                    self.stack.push(value);
                    return Some(());
                }
                Step::Done => return Some(()),
                Step::Elsewhere => {}
            }
        }
        None
    }

    fn scalar(&mut self, opcode: u8) -> Option<Step> {
        Some(Step::Push(match opcode {
            b'N' => Rough::None,
            0x88 | 0x89 | 0x97 => Rough::Other,
            b'J' => Rough::Int(i32::from_le_bytes(self.array()?).into()),
            b'K' => Rough::Int(u8::from_le_bytes(self.array()?).into()),
            b'M' => Rough::Int(u16::from_le_bytes(self.array()?).into()),
            b'G' => {
                self.array::<8>()?;
                Rough::Other
            }
            0x8a => {
                let [size] = self.array()?;
                self.long(size)?
            }
            b'I' | b'L' => {
                let line = self.line()?;
                let number = line.trim_end_matches('L').parse();
                number.map_or(Rough::Other, Rough::Int)
            }
            b'F' | b'S' | b'V' | b'P' => {
                self.line()?;
                Rough::Other
            }
            b'U' | b'C' | 0x8c => {
                let [size] = self.array()?;
                self.text(size.into())?
            }
            b'T' | b'B' | b'X' | 0x8b => {
                let size = u32::from_le_bytes(self.array()?);
                self.text(size.into())?
            }
            0x8d | 0x8e | 0x96 => {
                let size = u64::from_le_bytes(self.array()?);
                self.text(size)?
            }
            _ => return Some(Step::Elsewhere),
        }))
    }

    fn container(&mut self, opcode: u8) -> Option<Step> {
        Some(Step::Push(match opcode {
            b']' | 0x8f => Rough::Other,
            b')' => tuple(Vec::new()),
            b'}' => Rough::Dict(Rc::default()),
            b'(' => Rough::Mark,
            b't' => tuple(self.pop_mark()?),
            b'l' | b'd' | 0x91 | b'o' => {
                self.pop_mark()?;
                Rough::Other
            }
            0x85..=0x87 => tuple(self.pop_many(usize::from(opcode - 0x84))?),
            b'2' => self.stack.last()?.clone(),
            b'a' | b'0' => {
                self.pop()?;
                return Some(Step::Done);
            }
            b'e' | 0x90 | b'1' => {
                self.pop_mark()?;
                return Some(Step::Done);
            }
            b's' | b'u' => {
                let items = match opcode {
                    b's' => self.pop_many(2)?,
                    _ => self.pop_mark()?,
                };
                self.set(&items);
                return Some(Step::Done);
            }
            _ => return Some(Step::Elsewhere),
        }))
    }

    fn object(&mut self, opcode: u8) -> Option<Step> {
        match opcode {
            b'q' => {
                let [index] = self.array()?;
                self.put(index.into())?;
            }
            b'r' => {
                let index = u32::from_le_bytes(self.array()?);
                self.put(index.into())?;
            }
            0x94 => self.put(self.memo.len() as u64)?,
            0x80 => drop(self.array::<1>()?),
            0x95 => drop(self.array::<8>()?),
            0x98 => {}
            _ => return self.made(opcode).map(Step::Push),
        }
        Some(Step::Done)
    }

    fn made(&mut self, opcode: u8) -> Option<Rough> {
        Some(match opcode {
            b'h' => {
                let [index] = self.array()?;
                self.get(index.into())?
            }
            b'j' => {
                let index = u32::from_le_bytes(self.array()?);
                self.get(index.into())?
            }
            b'c' => class(self.line()?, self.line()?),
            0x93 => match (self.pop()?, self.pop()?) {
                (Rough::Text(name), Rough::Text(module)) => {
                    class(module.to_string(), name.to_string())
                }
                _ => Rough::Other,
            },
            b'R' | 0x81 => {
                let (args, callable) = (self.pop()?, self.pop()?);
                called(&callable, &args)
            }
            0x92 => {
                self.pop_many(3)?;
                Rough::Other
            }
            b'Q' => {
                self.pop()?;
                Rough::Other
            }
            _ => return None,
        })
    }

    fn set(&mut self, items: &[Rough]) {
        let plain = |value: &Rough| match value {
            Rough::Dict(_) => Rough::Other,
            plain => plain.clone(),
        };
        if let Some(Rough::Dict(pairs)) = self.stack.last_mut()
            && items.len() <= 64
            && pairs.len() <= 64
        {
            let (new, _) = items.as_chunks::<2>();
            let new = new.iter().map(|[key, value]| (plain(key), plain(value)));
            Rc::make_mut(pairs).extend(new);
        }
    }

    fn put(&mut self, index: u64) -> Option<()> {
        let index = usize::try_from(index)
            .ok()
            .filter(|index| *index < MAX_VALUES)?;
        let top = self.stack.last()?.clone();
        if index >= self.memo.len() {
            self.memo.resize(index + 1, Rough::Other);
        }
        *self.memo.get_mut(index)? = top;
        Some(())
    }

    fn get(&self, index: u64) -> Option<Rough> {
        self.memo.get(usize::try_from(index).ok()?).cloned()
    }

    fn pop(&mut self) -> Option<Rough> {
        self.stack.pop()
    }

    fn pop_many(&mut self, count: usize) -> Option<Vec<Rough>> {
        Some(self.stack.split_off(self.stack.len().checked_sub(count)?))
    }

    fn pop_mark(&mut self) -> Option<Vec<Rough>> {
        let mark = |value: &Rough| matches!(value, Rough::Mark);
        let at = self.stack.iter().rposition(mark)?;
        let items = self.stack.split_off(at + 1);
        self.stack.pop();
        Some(items)
    }

    fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        self.source.array().ok()?
    }

    fn long(&mut self, size: u8) -> Option<Rough> {
        let bytes = self.source.bytes(size.into()).ok()??;
        let mut wide = [0; 8];
        let short = bytes.len() <= 7;
        wide.iter_mut()
            .zip(&bytes)
            .for_each(|(to, from)| *to = *from);
        Some(if short && bytes.last().is_none_or(|top| *top < 128) {
            Rough::Int(i64::from_le_bytes(wide))
        } else {
            Rough::Other
        })
    }

    fn text(&mut self, size: u64) -> Option<Rough> {
        let short = usize::try_from(size).ok().filter(|size| *size <= MAX_TEXT);
        let Some(short) = short else {
            return self.source.skip(size).then_some(Rough::Other);
        };
        let bytes = self.source.bytes(short).ok()??;
        Some(String::from_utf8(bytes).map_or(Rough::Other, |text| Rough::Text(text.into())))
    }

    fn line(&mut self) -> Option<String> {
        let bytes = self.source.peek(MAX_LINE).ok()?;
        let end = bytes
            .iter()
            .take(MAX_LINE)
            .position(|byte| *byte == b'\n')?;
        let line = str::from_utf8(bytes.get(..end)?).ok()?.to_owned();
        self.source.consume(end + 1);
        Some(line)
    }
}

fn tuple(items: Vec<Rough>) -> Rough {
    let flat = |item: Rough| match item {
        Rough::Tuple(_) | Rough::Dict(_) => Rough::Other,
        flat => flat,
    };
    Rough::Tuple(items.into_iter().take(64).map(flat).collect())
}

fn class(module: String, name: String) -> Rough {
    let global = Global { module, name };
    if is_dtype(&global) {
        Rough::DtypeClass
    } else if is_wrapper(&global) {
        Rough::WrapperClass
    } else {
        Rough::Other
    }
}

fn called(callable: &Rough, args: &Rough) -> Rough {
    match (callable, args) {
        (Rough::WrapperClass, _) => Rough::Wrapper,
        (Rough::DtypeClass, Rough::Tuple(args)) => match args.first() {
            Some(Rough::Text(kind)) => Rough::Dtype(text_element(kind)),
            _ => Rough::Other,
        },
        _ => Rough::Other,
    }
}

fn measure(state: &Rough) -> Option<Measure> {
    let Rough::Dict(pairs) = state else {
        return None;
    };
    let field = |name: &str| {
        let named = |key: &Rough| matches!(key, Rough::Text(text) if **text == *name);
        let mut found = pairs.iter().rev().filter(|(key, _)| named(key));
        found.next().map(|(_, value)| value)
    };
    let (Some(Rough::Dtype(element)), Some(Rough::Tuple(shape))) = (field("dtype"), field("shape"))
    else {
        return None;
    };
    let size = match element {
        Element::Plain(size) => *size,
        Element::Object => return Some(Measure::Objects),
        Element::Unknown => return None,
    };
    let bytes = shape.iter().try_fold(size, |bytes, size| match size {
        Rough::Int(size) => bytes.checked_mul(u64::try_from(*size).ok()?),
        _ => None,
    })?;
    let alignment = field("numpy_array_alignment_bytes");
    let padded = alignment.is_some_and(|value| !matches!(value, Rough::None));
    Some(Measure::Plain { bytes, padded })
}
