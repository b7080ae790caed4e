//! Safetensors: a JSON header that names every tensor, then the bytes. Nothing in it can run.
//!
//! What can be wrong is the header: names twice, ranges that overlap, leave holes or do not fit the shape. Loaders differ
//! in what they do then, so each is noted. <https://github.com/huggingface/safetensors#format>

use std::fmt;
use std::io;

use serde::Deserialize;
use serde::de::{MapAccess, Visitor};

use crate::ReadAt;
use crate::checkpoint::{
    ByteOrder, Checkpoint, Gap, MAX_NAME, NotReadable, Reading, Tensor, TensorFault,
    safetensors_dtype, text_scalar,
};
use crate::read_at::bytes_at;
use crate::sniff::Format;

/// The largest header that is read, in bytes. The format allows 100 MB; a header of 100,000 tensors has 15 MB.
pub const MAX_HEADER_BYTES: u64 = 32 << 20;

/// A header as it was written.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Header {
    /// The tensors in the order of the header.
    pub tensors: Vec<Entry>,
    /// The pairs of `__metadata__`.
    pub metadata: Vec<(String, String)>,
    /// Offset of the first byte behind the header; offsets of entries count from there.
    pub data_offset: u64,
    /// What a well-behaved writer would not have written.
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
    let Pairs(pairs) = serde_json::from_slice(bytes).map_err(|error| HeaderError::Json {
        line: error.line(),
        column: error.column(),
    })?;
    let mut header = Header {
        data_offset: 8 + bytes.len() as u64,
        ..Header::default()
    };
    for (name, value) in pairs {
        match value {
            Field::Tensor {
                dtype,
                shape,
                data_offsets,
            } => {
                header.tensors.push(Entry {
                    name,
                    dtype,
                    shape,
                    range: data_offsets,
                });
            }
            Field::Metadata(Pairs(metadata)) => header.metadata.extend(metadata),
        }
    }
    header.check(data_bytes);
    Ok(header)
}

impl Header {
    fn check(&mut self, data_bytes: u64) {
        let mut oddities = Vec::new();
        let mut names: Vec<&str> = self
            .tensors
            .iter()
            .map(|entry| entry.name.as_str())
            .collect();
        names.sort_unstable();
        let twice = names.windows(2).filter(|pair| pair[0] == pair[1]);
        oddities.extend(twice.map(|pair| Oddity::DuplicateName(pair[0].to_owned())));
        let mut ranges = Vec::new();
        for entry in &self.tensors {
            let (start, end) = entry.range;
            if start > end || end > data_bytes {
                oddities.push(Oddity::OutOfBounds(entry.name.clone()));
            } else {
                ranges.push((start, end, entry.name.as_str()));
                if entry
                    .expected_bytes()
                    .is_some_and(|bytes| bytes != end - start)
                {
                    oddities.push(Oddity::Size(entry.name.clone()));
                }
            }
        }
        ranges.sort_unstable();
        let mut covered = 0;
        for (start, end, name) in ranges {
            if start < covered && end > start {
                oddities.push(Oddity::Overlap(name.to_owned()));
            } else if start > covered {
                oddities.push(Oddity::Hole {
                    offset: self.data_offset + covered,
                    bytes: start - covered,
                });
            }
            covered = covered.max(end);
        }
        if covered < data_bytes {
            oddities.push(Oddity::Hole {
                offset: self.data_offset + covered,
                bytes: data_bytes - covered,
            });
        }
        self.oddities = oddities;
    }
}

impl Entry {
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

/// A JSON object as its pairs, so that a name that stands twice is seen.
struct Pairs<T>(Vec<(String, T)>);

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Pairs<T> {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(PairsVisitor(std::marker::PhantomData))
    }
}

struct PairsVisitor<T>(std::marker::PhantomData<T>);

impl<'de, T: Deserialize<'de>> Visitor<'de> for PairsVisitor<T> {
    type Value = Pairs<T>;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Pairs<T>, A::Error> {
        let mut pairs = Vec::new();
        while let Some(pair) = map.next_entry()? {
            pairs.push(pair);
        }
        Ok(Pairs(pairs))
    }
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Field {
    Tensor {
        dtype: String,
        shape: Vec<u64>,
        data_offsets: (u64, u64),
    },
    Metadata(Pairs<String>),
}
