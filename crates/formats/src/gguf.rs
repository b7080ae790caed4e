//! GGUF, versions 1 to 3: pairs of metadata, tensor infos, then the bytes of tensors.
//!
//! The header is walked as llama.cpp walks it, and every sum that a loader makes is made with overflow in mind: counts
//! times sizes, offsets plus lengths, alignment. Texts that look like templates are kept, the quarter of a million
//! tokens are stepped over. What a template means is not known here. <https://github.com/ggml-org/ggml/blob/master/docs/gguf.md>

use std::collections::HashSet;
use std::collections::hash_map::DefaultHasher;
use std::hash::{Hash, Hasher};
use std::io;

use crate::ReadAt;
use crate::cursor::Cursor;

/// Pairs and tensors that are read, each.
pub const MAX_RECORDS: u64 = 1 << 18;
/// Array elements of varying size that are stepped over, all arrays together.
pub const MAX_ELEMENTS: u64 = 1 << 24;
/// Bytes of one text that are kept.
pub const MAX_TEXT: u64 = 1 << 20;
/// Bytes of texts that are kept together.
pub const MAX_TEXTS: u64 = 8 << 20;
/// Bytes of a name or key that are kept.
pub const MAX_NAME: u64 = 1024;
/// Oddities that are kept.
pub const MAX_ODDITIES: usize = 64;
/// How deep arrays may lie in arrays.
const MAX_DEPTH: usize = 4;
/// The most dimensions that ggml knows.
const MAX_DIMENSIONS: u32 = 4;

/// A file as its header tells it.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Gguf {
    /// Version of the format.
    pub version: u32,
    /// Whether numbers stand with their most significant byte first.
    pub big_endian: bool,
    /// The pairs, in their order.
    pub pairs: Vec<Pair>,
    /// How many tensors were read.
    pub tensors: u64,
    /// Offset of the first byte behind the header, aligned.
    pub data_offset: u64,
    /// Bytes that belong to tensors.
    pub tensor_bytes: u64,
    /// Ranges (offset in the file, bytes) longer than padding that belong to nothing, the rest of the file included.
    pub holes: Vec<(u64, u64)>,
    /// What a well-behaved writer would not have written.
    pub oddities: Vec<Oddity>,
    /// Whether the header was read to its end.
    pub complete: bool,
}

/// A key with its value.
#[derive(Debug, Clone, PartialEq)]
pub struct Pair {
    /// Offset of the key in the file.
    pub offset: u64,
    /// The key; cut at [`MAX_NAME`].
    pub key: String,
    /// The value, as far as it is kept.
    pub value: Value,
}

/// A value of the metadata.
#[derive(Debug, Clone, PartialEq)]
pub enum Value {
    /// A whole number or truth value, as it fits.
    Integer(i128),
    /// A number with a fraction.
    Float(f64),
    /// A text; `None` when it was too long to be kept.
    Text(Option<String>),
    /// An array: how many elements, and those that look like templates.
    Array {
        /// How many elements it says that it has.
        count: u64,
        /// Its texts that look like templates, by index.
        templates: Vec<(u64, String)>,
    },
}

/// Something on which readers may disagree or fail.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Oddity {
    /// The file ends within its header.
    #[error("the header breaks off at byte {0}")]
    Truncated(u64),
    /// No version that is known.
    #[error("version {0} of the format is not known")]
    Version(u32),
    /// More than a limit allows.
    #[error("there are {count} {what}, more than are read")]
    TooMany {
        /// Of what.
        what: &'static str,
        /// How many the header says.
        count: u64,
    },
    /// A type of value that does not exist.
    #[error("the value of {key:?} has the unknown type {kind}")]
    ValueType {
        /// Whose.
        key: String,
        /// Which.
        kind: u32,
    },
    /// A key stands twice.
    #[error("the key {0:?} stands more than once")]
    DuplicateKey(String),
    /// A tensor stands twice.
    #[error("the tensor {0:?} stands more than once")]
    DuplicateTensor(String),
    /// More dimensions than ggml knows.
    #[error("the tensor {name:?} has {dimensions} dimensions")]
    Dimensions {
        /// Which.
        name: String,
        /// How many.
        dimensions: u32,
    },
    /// A product or sum that does not fit a loader's numbers.
    #[error("the size of {0:?} overflows")]
    Overflow(String),
    /// A type of element whose size is not known.
    #[error("the tensor {name:?} has the unknown element type {kind}")]
    ElementType {
        /// Which.
        name: String,
        /// Its type.
        kind: u32,
    },
    /// A row that is no multiple of its block.
    #[error("the rows of {0:?} are no multiple of the blocks of its type")]
    Block(String),
    /// It starts at an offset that is not aligned.
    #[error("the tensor {0:?} is not aligned")]
    Unaligned(String),
    /// It lies outside of the file.
    #[error("the bytes of {0:?} are not in the file")]
    OutOfBounds(String),
    /// It shares bytes with another one.
    #[error("the bytes of {0:?} overlap those of another tensor")]
    Overlap(String),
    /// An alignment that is no power of two or absurd.
    #[error("the alignment is {0}")]
    Alignment(i128),
}

/// Reads the header of `input`; `Err` is an error of reading alone.
pub fn read(input: &dyn ReadAt) -> io::Result<Gguf> {
    let mut reader = Reader {
        window: Cursor::new(input, 4),
        wide: true,
        elements: 0,
        kept: 0,
        file: Gguf::default(),
    };
    match reader.all(input.len()) {
        Ok(()) => reader.file.complete = true,
        Err(Stop::Read(error)) if error.kind() == io::ErrorKind::UnexpectedEof => {
            let at = reader.window.position();
            reader.odd(Oddity::Truncated(at));
        }
        Err(Stop::Read(error)) => return Err(error),
        Err(Stop::Odd(oddity)) => reader.odd(oddity),
    }
    Ok(reader.file)
}

/// Why the walk ends early.
enum Stop {
    Read(io::Error),
    Odd(Oddity),
}

impl From<io::Error> for Stop {
    fn from(error: io::Error) -> Self {
        Self::Read(error)
    }
}

struct Reader<'a> {
    window: Cursor<'a>,
    wide: bool,
    elements: u64,
    kept: u64,
    file: Gguf,
}

/// Where a tensor lies: start and end from the data offset, and which one it is.
struct Range {
    start: u64,
    end: u64,
    name: String,
}

impl Reader<'_> {
    fn all(&mut self, length: u64) -> Result<(), Stop> {
        let version = u32::from_le_bytes(self.window.array()?);
        self.file.big_endian = version > 0xffff && version.swap_bytes() <= 0xffff;
        self.file.version = if self.file.big_endian {
            version.swap_bytes()
        } else {
            version
        };
        if !(1..=3).contains(&self.file.version) {
            return Err(Stop::Odd(Oddity::Version(self.file.version)));
        }
        self.wide = self.file.version > 1;
        let tensors = self.count()?;
        let pairs = self.count()?;
        let over = |what, count| Stop::Odd(Oddity::TooMany { what, count });
        if pairs > MAX_RECORDS {
            return Err(over("pairs of metadata", pairs));
        }
        if tensors > MAX_RECORDS {
            return Err(over("tensors", tensors));
        }
        let mut keys = HashSet::new();
        for _ in 0..pairs {
            self.pair(&mut keys)?;
        }
        let alignment = self.alignment();
        let mut names = HashSet::new();
        let mut ranges = Vec::new();
        for _ in 0..tensors {
            ranges.extend(self.tensor(&mut names, alignment)?);
            self.file.tensors += 1;
        }
        let padding = self.window.position().next_multiple_of(alignment);
        self.file.data_offset = padding.min(length);
        self.lay_out(ranges, length, alignment);
        Ok(())
    }

    fn pair(&mut self, keys: &mut HashSet<u64>) -> Result<(), Stop> {
        let offset = self.window.position();
        let key = self.name()?;
        if !keys.insert(fingerprint(&key)) {
            self.odd(Oddity::DuplicateKey(key.clone()));
        }
        let kind = self.u32()?;
        let value = self.value(kind, &key, 0)?;
        self.file.pairs.push(Pair { offset, key, value });
        Ok(())
    }

    fn value(&mut self, kind: u32, key: &str, depth: usize) -> Result<Value, Stop> {
        Ok(match kind {
            0 | 7 => Value::Integer(i128::from(self.window.array::<1>()?[0])),
            1 => Value::Integer(i128::from(i8::from_le_bytes(self.window.array()?))),
            2 => Value::Integer(i128::from(self.ordered::<2, u16>(u16::from_le_bytes)?)),
            3 => Value::Integer(i128::from(self.ordered::<2, i16>(i16::from_le_bytes)?)),
            4 => Value::Integer(i128::from(self.u32()?)),
            5 => Value::Integer(i128::from(self.ordered::<4, i32>(i32::from_le_bytes)?)),
            6 => Value::Float(f64::from(self.ordered::<4, f32>(f32::from_le_bytes)?)),
            8 => Value::Text(self.text()?),
            9 => self.array(key, depth)?,
            10 => Value::Integer(i128::from(self.u64()?)),
            11 => Value::Integer(i128::from(self.ordered::<8, i64>(i64::from_le_bytes)?)),
            12 => Value::Float(self.ordered::<8, f64>(f64::from_le_bytes)?),
            _ => {
                let key = key.to_owned();
                return Err(Stop::Odd(Oddity::ValueType { key, kind }));
            }
        })
    }

    fn array(&mut self, key: &str, depth: usize) -> Result<Value, Stop> {
        let kind = self.u32()?;
        let count = self.count()?;
        let size = match kind {
            0 | 1 | 7 => 1,
            2 | 3 => 2,
            4..=6 => 4,
            10..=12 => 8,
            _ => 0,
        };
        let mut templates = Vec::new();
        if size > 0 {
            let bytes = count.checked_mul(size);
            let bytes = bytes.ok_or_else(|| Stop::Odd(Oddity::Overflow(key.to_owned())))?;
            self.window.skip(bytes)?;
            return Ok(Value::Array { count, templates });
        }
        for index in 0..count {
            self.elements += 1;
            if self.elements > MAX_ELEMENTS || depth >= MAX_DEPTH {
                let what = "array elements";
                return Err(Stop::Odd(Oddity::TooMany { what, count }));
            }
            match self.value(kind, key, depth + 1)? {
                Value::Text(Some(text)) if looks_like_template(&text) => {
                    templates.push((index, text));
                }
                Value::Array {
                    templates: inner, ..
                } => templates.extend(inner),
                _ => {}
            }
        }
        Ok(Value::Array { count, templates })
    }

    /// A text, if it may be kept.
    fn text(&mut self) -> Result<Option<String>, Stop> {
        let size = self.count()?;
        if size > MAX_TEXT || self.kept + size > MAX_TEXTS {
            self.window.skip(size)?;
            return Ok(None);
        }
        let bytes = self.small(size)?;
        let text = String::from_utf8_lossy(&bytes).into_owned();
        if size > 64 {
            self.kept += size;
        }
        Ok(Some(text))
    }

    /// Short texts come from the window, so that a token costs no read of its own.
    fn small(&mut self, size: u64) -> Result<Vec<u8>, Stop> {
        if size > 256 {
            return Ok(self.window.bytes(size)?);
        }
        let mut bytes = Vec::new();
        for _ in 0..size {
            let byte = self.window.next()?;
            bytes.push(byte.ok_or_else(|| Stop::Read(io::ErrorKind::UnexpectedEof.into()))?);
        }
        Ok(bytes)
    }

    fn name(&mut self) -> Result<String, Stop> {
        let size = self.count()?;
        let bytes = self.small(size.min(MAX_NAME))?;
        self.window.skip(size.saturating_sub(MAX_NAME))?;
        Ok(String::from_utf8_lossy(&bytes).into_owned())
    }

    fn tensor(&mut self, names: &mut HashSet<u64>, alignment: u64) -> Result<Option<Range>, Stop> {
        let name = self.name()?;
        if !names.insert(fingerprint(&name)) {
            self.odd(Oddity::DuplicateTensor(name.clone()));
        }
        let dimensions = self.u32()?;
        if dimensions > MAX_DIMENSIONS {
            return Err(Stop::Odd(Oddity::Dimensions { name, dimensions }));
        }
        let mut shape = [1; MAX_DIMENSIONS as usize];
        for size in shape.iter_mut().take(dimensions as usize) {
            *size = self.count()?;
        }
        let kind = self.u32()?;
        let start = self.u64()?;
        if !start.is_multiple_of(alignment) {
            self.odd(Oddity::Unaligned(name.clone()));
        }
        let Some((block, bytes)) = element(kind) else {
            self.odd(Oddity::ElementType { name, kind });
            return Ok(None);
        };
        if !shape[0].is_multiple_of(block) {
            self.odd(Oddity::Block(name.clone()));
        }
        // Loaders count elements in signed 64 bits.
        let elements = shape
            .iter()
            .try_fold(1_u64, |product, size| product.checked_mul(*size))
            .filter(|elements| i64::try_from(*elements).is_ok());
        let end = elements
            .and_then(|elements| (elements / block).checked_mul(bytes))
            .and_then(|size| start.checked_add(size))
            .filter(|end| i64::try_from(*end).is_ok());
        let Some(end) = end else {
            self.odd(Oddity::Overflow(name));
            return Ok(None);
        };
        Ok(Some(Range { start, end, name }))
    }

    fn alignment(&mut self) -> u64 {
        let told = self.file.pairs.iter().rev().find_map(|pair| {
            let value = (pair.key == "general.alignment").then_some(&pair.value)?;
            Some(match value {
                Value::Integer(number) => *number,
                _ => -1,
            })
        });
        let Some(told) = told else { return 32 };
        let good = u64::try_from(told).ok();
        good.filter(|size| size.is_power_of_two() && *size <= 1 << 20)
            .unwrap_or_else(|| {
                self.odd(Oddity::Alignment(told));
                32
            })
    }

    /// Whether the ranges lie in the file, apart from each other, and what lies between them.
    fn lay_out(&mut self, mut ranges: Vec<Range>, length: u64, alignment: u64) {
        let data = length - self.file.data_offset;
        let unsized_types = self.file.tensors > ranges.len() as u64;
        ranges.sort_by_key(|range| (range.start, range.end));
        let mut covered: u64 = 0;
        for range in ranges {
            if range.end > data {
                self.odd(Oddity::OutOfBounds(range.name));
                continue;
            }
            if range.start < covered && range.end > range.start {
                self.odd(Oddity::Overlap(range.name));
            }
            self.hole(covered, range.start, alignment, unsized_types);
            let fresh = range.end.saturating_sub(range.start.max(covered));
            self.file.tensor_bytes += fresh;
            covered = covered.max(range.end);
        }
        self.hole(covered, data, alignment, unsized_types);
    }

    fn hole(&mut self, from: u64, to: u64, alignment: u64, unsized_types: bool) {
        let padded = from.next_multiple_of(alignment);
        // A tensor of an unknown type may well lie there.
        if padded < to && !unsized_types && self.file.holes.len() < MAX_ODDITIES {
            let offset = self.file.data_offset + padded;
            self.file.holes.push((offset, to - padded));
        }
    }

    fn odd(&mut self, oddity: Oddity) {
        if self.file.oddities.len() < MAX_ODDITIES {
            self.file.oddities.push(oddity);
        }
    }

    fn count(&mut self) -> Result<u64, Stop> {
        if self.wide {
            self.u64()
        } else {
            Ok(u64::from(self.u32()?))
        }
    }

    fn u32(&mut self) -> Result<u32, Stop> {
        self.ordered::<4, u32>(u32::from_le_bytes)
    }

    fn u64(&mut self) -> Result<u64, Stop> {
        self.ordered::<8, u64>(u64::from_le_bytes)
    }

    fn ordered<const N: usize, T>(&mut self, from: fn([u8; N]) -> T) -> Result<T, Stop> {
        let mut bytes = self.window.array::<N>()?;
        if self.file.big_endian {
            bytes.reverse();
        }
        Ok(from(bytes))
    }
}

fn fingerprint(name: &str) -> u64 {
    let mut hasher = DefaultHasher::new();
    name.hash(&mut hasher);
    hasher.finish()
}

/// Whether a text has what a template engine would take.
pub fn looks_like_template(text: &str) -> bool {
    text.contains("{%") || text.contains("{{") || text.contains("{#")
}

/// Elements in a block and bytes of a block, by ggml's number of the type.
const fn element(kind: u32) -> Option<(u64, u64)> {
    Some(match kind {
        0 | 26 => (1, 4),
        1 | 25 | 30 => (1, 2),
        2 | 20 | 31..=33 => (32, 18),
        3 => (32, 20),
        6 => (32, 22),
        7 => (32, 24),
        8 => (32, 34),
        9 => (32, 36),
        10 => (256, 84),
        11 | 21 => (256, 110),
        12 => (256, 144),
        13 => (256, 176),
        14 => (256, 210),
        15 => (256, 292),
        16 | 35 => (256, 66),
        17 => (256, 74),
        18 => (256, 98),
        19 => (256, 50),
        22 => (256, 82),
        23 => (256, 136),
        24 => (1, 1),
        27 | 28 => (1, 8),
        29 => (256, 56),
        34 => (256, 54),
        39 => (32, 17),
        _ => return None,
    })
}
