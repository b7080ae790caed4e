//! Safetensors: a JSON header that names every tensor, then the bytes. Nothing in it can run.
//!
//! What can be wrong is the header: names twice, ranges that overlap, leave holes or do not fit the shape, bytes that are
//! neither JSON nor a tensor. Loaders differ in what they do then, so each is noted and the rest is read.
//! <https://github.com/huggingface/safetensors#format>

mod header;

use std::io;

use crate::ReadAt;
use crate::checkpoint::{
    ByteOrder, Checkpoint, Gap, MAX_NAME, NotReadable, Reading, Tensor, TensorFault,
    safetensors_dtype, text_scalar,
};
use crate::read_at::bytes_at;
use crate::sniff::Format;

/// The largest header that is read, in bytes. The format allows 100 MB; a header of 100,000 tensors has 15 MB.
pub const MAX_HEADER_BYTES: u64 = 20 << 20;
/// The most tensors that are listed, and the most pairs of metadata.
pub const MAX_TENSORS: usize = 1 << 17;
/// The most oddities that are kept; the first ones are.
pub const MAX_ODDITIES: usize = 1000;

/// A header as it was written.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Header {
    /// The tensors in the order of the header.
    pub tensors: Vec<Entry>,
    /// The pairs of `__metadata__`.
    pub metadata: Vec<(String, String)>,
    /// Offset of the first byte behind the header; offsets of entries count from there.
    pub data_offset: u64,
    /// Bytes of the file that are neither JSON nor of a tensor, as offset and count: between the JSON and the end of the
    /// header, between tensors, behind the last.
    pub unclaimed: Vec<(u64, u64)>,
    /// What a well-behaved writer would not have written; at most [`MAX_ODDITIES`].
    pub oddities: Vec<Oddity>,
}

/// One tensor of a header.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Name.
    pub name: String,
    /// Element type as the header names it: `F32`.
    pub dtype: String,
    /// Size of each dimension.
    pub shape: Vec<u64>,
    /// First byte and the one behind the last, from [`Header::data_offset`].
    pub range: (u64, u64),
}

/// Something about a header on which readers may disagree.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Oddity {
    /// A name stands twice.
    #[error("the name {0:?} stands in the header more than once")]
    DuplicateName(String),
    /// The range ends before it starts or behind the file.
    #[error("the bytes of {0:?} are not in the file")]
    OutOfBounds(String),
    /// The range is not as long as shape and type need.
    #[error("the bytes of {0:?} do not fit its shape and type")]
    Size(String),
    /// Two ranges overlap.
    #[error("the bytes of {0:?} overlap those of another tensor")]
    Overlap(String),
    /// Bytes that belong to no tensor.
    #[error("{bytes} bytes at {offset} belong to no tensor")]
    Hole {
        /// Offset in the file.
        offset: u64,
        /// How many.
        bytes: u64,
    },
    /// The element type is none that the format has.
    #[error("the type of {0:?} is not known")]
    UnknownType(String),
    /// A field of a tensor stands twice, is of another kind, or does not belong there.
    #[error("{0:?} is described in a way that the format does not have")]
    Fields(String),
    /// A name whose value describes no tensor.
    #[error("{0:?} is no tensor")]
    NoTensor(String),
    /// A value of `__metadata__` that is no text.
    #[error("the metadata {0:?} is no text")]
    Metadata(String),
    /// The header does not start with `{`.
    #[error("the header does not start with a brace")]
    Start,
    /// Bytes other than blanks stand between the JSON and the end of the header.
    #[error("{bytes} bytes at {offset} stand behind the JSON of the header")]
    BehindJson {
        /// Offset in the file.
        offset: u64,
        /// How many.
        bytes: u64,
    },
    /// More than [`MAX_TENSORS`].
    #[error("there are more than {MAX_TENSORS} tensors")]
    TooMany,
}

/// Why a header cannot be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum HeaderError {
    /// Shorter than the length says, or than a length.
    #[error("the file is shorter than its header")]
    Truncated,
    /// Longer than [`MAX_HEADER_BYTES`].
    #[error("the header has {0} bytes, more than {MAX_HEADER_BYTES}")]
    TooLarge(u64),
    /// No JSON of the expected form.
    #[error("it is not JSON of the expected form (line {line}, column {column})")]
    Json {
        /// Line from 1.
        line: usize,
        /// Column from 1.
        column: usize,
    },
}

/// Reads the header of `input`; `Err` is an error of reading alone.
pub fn read(input: &dyn ReadAt) -> io::Result<Result<Header, HeaderError>> {
    if input.len() < 8 {
        return Ok(Err(HeaderError::Truncated));
    }
    let mut size = [0; 8];
    input.read_at(0, &mut size)?;
    let size = u64::from_le_bytes(size);
    if size > input.len() - 8 {
        return Ok(Err(HeaderError::Truncated));
    }
    if size > MAX_HEADER_BYTES {
        return Ok(Err(HeaderError::TooLarge(size)));
    }
    let bytes = bytes_at(input, 8, size)?;
    Ok(parse(&bytes, input.len() - 8 - size))
}

fn parse(bytes: &[u8], data_bytes: u64) -> Result<Header, HeaderError> {
    let mut header = Header {
        data_offset: 8 + bytes.len() as u64,
        ..Header::default()
    };
    if bytes.first().is_some_and(|first| *first != b'{') {
        header.note(Oddity::Start);
    }
    let end = header::read(bytes, &mut header).map_err(|error| HeaderError::Json {
        line: error.line(),
        column: error.column(),
    })?;
    let behind = bytes.get(end..).unwrap_or_default();
    if behind.iter().any(|byte| *byte != b' ') {
        let (offset, bytes) = (8 + end as u64, behind.len() as u64);
        header.note(Oddity::BehindJson { offset, bytes });
        header.unclaimed.push((offset, bytes));
    }
    header.check(data_bytes);
    Ok(header)
}

impl Header {
    fn note(&mut self, oddity: Oddity) {
        if self.oddities.len() < MAX_ODDITIES {
            self.oddities.push(oddity);
        }
    }

    fn check(&mut self, data_bytes: u64) {
        let mut oddities = std::mem::take(&mut self.oddities);
        let mut unclaimed = std::mem::take(&mut self.unclaimed);
        let mut names: Vec<&str> = self
            .tensors
            .iter()
            .map(|entry| entry.name.as_str())
            .collect();
        names.sort_unstable();
        let room = |oddities: &[Oddity]| MAX_ODDITIES.saturating_sub(oddities.len());
        let twice = names.windows(2).filter(|pair| pair[0] == pair[1]);
        let twice = twice.map(|pair| Oddity::DuplicateName(pair[0].to_owned()));
        oddities.extend(twice.take(room(&oddities)));
        let faults = self
            .tensors
            .iter()
            .filter_map(|entry| entry.fault(data_bytes));
        oddities.extend(faults.take(room(&oddities)));
        let mut ranges: Vec<(u64, u64, &str)> = self
            .tensors
            .iter()
            .filter(|entry| entry.is_inside(data_bytes))
            .map(|entry| (entry.range.0, entry.range.1, entry.name.as_str()))
            .collect();
        ranges.push((data_bytes, data_bytes, ""));
        ranges.sort_unstable();
        let mut covered = 0;
        for (start, end, name) in ranges {
            let odd = if start < covered && end > start {
                Oddity::Overlap(name.to_owned())
            } else if start > covered {
                let (offset, bytes) = (self.data_offset + covered, start - covered);
                if unclaimed.len() < MAX_ODDITIES {
                    unclaimed.push((offset, bytes));
                }
                Oddity::Hole { offset, bytes }
            } else {
                covered = covered.max(end);
                continue;
            };
            covered = covered.max(end);
            if oddities.len() < MAX_ODDITIES {
                oddities.push(odd);
            }
        }
        self.oddities = oddities;
        self.unclaimed = unclaimed;
    }
}

impl Entry {
    fn is_inside(&self, data_bytes: u64) -> bool {
        self.range.0 <= self.range.1 && self.range.1 <= data_bytes
    }

    fn fault(&self, data_bytes: u64) -> Option<Oddity> {
        let name = || self.name.clone();
        if !self.is_inside(data_bytes) {
            return Some(Oddity::OutOfBounds(name()));
        }
        if safetensors_dtype(&self.dtype).is_none() {
            return Some(Oddity::UnknownType(name()));
        }
        let fits = self.expected_bytes() == Some(self.range.1 - self.range.0);
        (!fits).then(|| Oddity::Size(name()))
    }

    /// Bytes that shape and type need; `None` for an unknown type or an absurd shape.
    fn expected_bytes(&self) -> Option<u64> {
        let (_, size) = safetensors_dtype(&self.dtype)?;
        self.shape
            .iter()
            .try_fold(size, |product, size| product.checked_mul(*size))
    }
}

pub(crate) fn read_checkpoint(input: &dyn ReadAt) -> io::Result<Reading> {
    let header = match read(input)? {
        Ok(header) => header,
        Err(error) => return Ok(Reading::NotReadable(NotReadable::Header(error))),
    };
    let mut checkpoint = Checkpoint::new(Format::SafeTensors, ByteOrder::Little);
    let data_bytes = input.len() - header.data_offset;
    for entry in header.tensors {
        if entry.name.len() > MAX_NAME {
            checkpoint.gap(Gap::LongName(String::new()));
            continue;
        }
        match tensor(&entry, header.data_offset, data_bytes) {
            Ok(tensor) => checkpoint.tensor(tensor),
            Err(fault) => checkpoint.gap(Gap::Tensor {
                name: entry.name,
                fault,
            }),
        }
    }
    for (name, value) in header.metadata {
        if name.len() > MAX_NAME {
            checkpoint.gap(Gap::LongName("__metadata__".to_owned()));
        } else {
            checkpoint.scalar(format!("__metadata__.{name}"), text_scalar(&value));
        }
    }
    header
        .oddities
        .into_iter()
        .for_each(|oddity| checkpoint.gap(Gap::Header(oddity)));
    Ok(Reading::Checkpoint(checkpoint))
}

fn tensor(entry: &Entry, data_offset: u64, data_bytes: u64) -> Result<Tensor, TensorFault> {
    let outside = || TensorFault::OutOfBounds(entry.name.clone());
    let unknown = || TensorFault::Dtype(entry.dtype.chars().take(MAX_NAME).collect());
    let (dtype, element_size) = safetensors_dtype(&entry.dtype).ok_or_else(unknown)?;
    let (start, end) = entry.range;
    let bytes = end
        .checked_sub(start)
        .filter(|bytes| end <= data_bytes && entry.expected_bytes() == Some(*bytes));
    let bytes = bytes.ok_or_else(outside)?;
    let mut stride = vec![0; entry.shape.len()];
    let mut step = 1u64;
    for (place, size) in stride.iter_mut().zip(&entry.shape).rev() {
        *place = step;
        step = step.saturating_mul(*size);
    }
    Ok(Tensor {
        name: entry.name.clone(),
        dtype,
        element_size,
        shape: entry.shape.clone(),
        stride,
        storage: entry.name.clone(),
        storage_offset: data_offset + start,
        storage_bytes: bytes,
        offset: data_offset + start,
        bytes,
    })
}
