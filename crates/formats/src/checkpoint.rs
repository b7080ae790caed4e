//! What a checkpoint holds, whatever its format: named tensors with the place of their bytes, and plain values.
//!
//! The names are those that a person would use in the training program: `model.transformer.h.0.mlp.weight`,
//! `optimizer.state.0.exp_avg`, `optimizer.param_groups.0.lr`. A format that is not read here is no error but an answer,
//! [`Reading::NotReadable`], because a gap must be shown as one. What was not understood inside a readable checkpoint is
//! listed in [`Checkpoint::gaps`]; if that is empty, everything that carries a value was seen.

use std::io;

use crate::pickle;
use crate::sniff::{Format, sniff};
use crate::zip::{self, ZipError};
use crate::{ReadAt, safetensors, torch};

/// The most tensors that are listed.
pub const MAX_TENSORS: usize = 1 << 18;
/// The most scalars that are listed.
pub const MAX_SCALARS: usize = 1 << 16;
/// The most gaps that are listed; one more says that there are more.
pub const MAX_GAPS: usize = 1000;
/// The longest name, in bytes.
pub const MAX_NAME: usize = 512;
/// The longest text that is kept as a scalar; of a longer one the length and a mark are.
pub const MAX_TEXT: usize = 256;

/// The answer to "what does this checkpoint hold".
#[derive(Debug, Clone, PartialEq)]
pub enum Reading {
    /// This.
    Checkpoint(Checkpoint),
    /// It cannot be told, and why.
    NotReadable(NotReadable),
}

/// A checkpoint's content.
#[derive(Debug, Clone, PartialEq)]
pub struct Checkpoint {
    /// The format that it is in.
    pub format: Format,
    /// The order of the bytes of each element.
    pub byte_order: ByteOrder,
    /// The tensors in the order in which the file lists them. Names may repeat if a file repeats them.
    pub tensors: Vec<Tensor>,
    /// Plain values under their dotted names.
    pub scalars: Vec<(String, Scalar)>,
    /// What loading would import, `module.name`, sorted.
    pub imports: Vec<String>,
    /// What was not understood; at most [`MAX_GAPS`] and one.
    pub gaps: Vec<Gap>,
}

/// The order of bytes in an element.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ByteOrder {
    /// Least significant first.
    Little,
    /// Most significant first.
    Big,
}

/// A tensor and where its bytes are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tensor {
    /// Dotted name.
    pub name: String,
    /// Torch's name of the element type without `torch.`: `float32`.
    pub dtype: &'static str,
    /// Bytes of one element.
    pub element_size: u64,
    /// Size of each dimension.
    pub shape: Vec<u64>,
    /// Elements to step over per dimension.
    pub stride: Vec<u64>,
    /// The key of the storage; tensors with one key share bytes.
    pub storage: String,
    /// Offset of the storage in the file, in bytes.
    pub storage_offset: u64,
    /// Size of the storage, in bytes.
    pub storage_bytes: u64,
    /// Offset in the file of the first byte that belongs to the tensor.
    pub offset: u64,
    /// Bytes from there to its last. Equals elements × size where the tensor has no holes and repeats nothing.
    pub bytes: u64,
}

impl Tensor {
    /// Number of elements.
    pub fn elements(&self) -> u64 {
        self.shape
            .iter()
            .fold(1, |product, size| product.saturating_mul(*size))
    }

    /// Whether its elements lie one behind the other in the order of its indices.
    pub fn is_contiguous(&self) -> bool {
        let mut expected = 1u64;
        self.shape
            .iter()
            .zip(&self.stride)
            .rev()
            .all(|(size, stride)| {
                let fits = *size <= 1 || *stride == expected;
                expected = expected.saturating_mul(*size);
                fits
            })
    }
}

/// A plain value.
#[derive(Debug, Clone, PartialEq)]
pub enum Scalar {
    /// `None`.
    None,
    /// A truth value.
    Bool(bool),
    /// An integer.
    Int(i64),
    /// A float.
    Float(f64),
    /// A text of at most [`MAX_TEXT`] bytes.
    Text(String),
    /// A long text, bytes, or a long list of plain values. `mark` (FNV-1a, 64 bits) tells changed from unchanged.
    Many {
        /// Bytes or items.
        count: u64,
        /// Differs when the content does, except by chance or intent.
        mark: u64,
    },
}

/// Something in a checkpoint that was not understood.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Gap {
    /// The archive is odd.
    #[error("archive: {0}")]
    Archive(zip::Oddity),
    /// The pickle is odd.
    #[error("pickle, byte {}: {}", .0.offset, .0.oddity)]
    Pickle(pickle::Anomaly),
    /// The header is odd.
    #[error("header: {0}")]
    Header(safetensors::Oddity),
    /// A value is an object that only its own code understands.
    #[error("{name}: an object of {class}, not looked into")]
    Object {
        /// Dotted name.
        name: String,
        /// What would make it.
        class: String,
    },
    /// A tensor cannot be placed.
    #[error("{name}: {fault}")]
    Tensor {
        /// Dotted name.
        name: String,
        /// Why not.
        fault: TensorFault,
    },
    /// A key that is neither text nor integer.
    #[error("{0}: a key is neither a text nor an integer")]
    Key(String),
    /// Nested deeper than is followed.
    #[error("{0}: nested deeper than {depth} levels", depth = torch::MAX_DEPTH)]
    TooDeep(String),
    /// A name longer than [`MAX_NAME`].
    #[error("a name below {0} is longer than {MAX_NAME} bytes")]
    LongName(String),
    /// There is more than is listed.
    #[error("there are more than {limit} {what}")]
    Limit {
        /// Of what.
        what: &'static str,
        /// The limit.
        limit: u64,
    },
}

/// Why a tensor cannot be placed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TensorFault {
    /// The arguments are not those that torch writes.
    #[error("a tensor is made in a way that torch does not write")]
    Arguments,
    /// The element type is unknown.
    #[error("a tensor of unknown element type {0}")]
    Dtype(String),
    /// The storage is not in the archive.
    #[error("the storage {0} of a tensor is not in the file")]
    NoStorage(String),
    /// The storage is compressed.
    #[error("the storage {0} of a tensor is compressed")]
    Compressed(String),
    /// The tensor reaches outside its storage.
    #[error("a tensor reaches outside its storage {0}")]
    OutOfBounds(String),
    /// A sparse, nested, meta, wrapped or foreign tensor.
    #[error("a tensor of a kind that is not read: {0}")]
    Kind(String),
}

/// Why nothing can be told about a file as a checkpoint.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NotReadable {
    /// It is in another format.
    #[error("it is {0}, which is not read as a checkpoint")]
    Format(Format),
    /// It is a ZIP archive without a readable directory.
    #[error("it starts as a ZIP archive but {0}")]
    Archive(String),
    /// It is a ZIP archive without `data.pkl`.
    #[error("it is a ZIP archive but no torch checkpoint: it has no data.pkl")]
    NoPickle,
    /// It holds a program in TorchScript.
    #[error("it is a TorchScript program")]
    TorchScript,
    /// The pickle in it is compressed, which torch never writes.
    #[error("its pickle is compressed")]
    PickleCompressed,
    /// The pickle in it is too large.
    #[error("its pickle has {0} bytes, more than {limit}", limit = torch::MAX_PICKLE_BYTES)]
    PickleTooLarge(u64),
    /// The pickle breaks off before it has built anything.
    #[error("its pickle builds nothing")]
    PickleEmpty,
    /// The header of a safetensors file is malformed.
    #[error("its header cannot be read: {0}")]
    Header(safetensors::HeaderError),
}

/// Reads what `input` holds. An error is one of reading alone; everything about the content is in the [`Reading`].
pub fn read(input: &dyn ReadAt) -> io::Result<Reading> {
    match sniff(input)? {
        format @ (Format::TorchZip | Format::Zip) => match zip::read(input) {
            Ok(directory) => torch::read(input, directory, format),
            Err(ZipError::Io(error)) => Err(error),
            Err(error) => Ok(Reading::NotReadable(NotReadable::Archive(
                error.to_string(),
            ))),
        },
        Format::SafeTensors => safetensors::read_checkpoint(input),
        other => Ok(Reading::NotReadable(NotReadable::Format(other))),
    }
}

impl Checkpoint {
    pub(crate) fn new(format: Format, byte_order: ByteOrder) -> Self {
        Self {
            format,
            byte_order,
            tensors: Vec::new(),
            scalars: Vec::new(),
            imports: Vec::new(),
            gaps: Vec::new(),
        }
    }

    /// Adds a gap, or after [`MAX_GAPS`] once that there are more.
    pub(crate) fn gap(&mut self, gap: Gap) {
        match self.gaps.len() {
            0..MAX_GAPS => self.gaps.push(gap),
            MAX_GAPS => self.gaps.push(Gap::Limit {
                what: "gaps",
                limit: MAX_GAPS as u64,
            }),
            _ => {}
        }
    }

    /// Adds a scalar; from [`MAX_SCALARS`] on it is dropped and that is a gap.
    pub(crate) fn scalar(&mut self, name: String, scalar: Scalar) {
        if self.scalars.len() < MAX_SCALARS {
            self.scalars.push((name, scalar));
        } else {
            self.limit("scalars", MAX_SCALARS);
        }
    }

    /// Adds a tensor; from [`MAX_TENSORS`] on it is dropped and that is a gap.
    pub(crate) fn tensor(&mut self, tensor: Tensor) {
        if self.tensors.len() < MAX_TENSORS {
            self.tensors.push(tensor);
        } else {
            self.limit("tensors", MAX_TENSORS);
        }
    }

    pub(crate) fn limit(&mut self, what: &'static str, limit: usize) {
        let gap = Gap::Limit {
            what,
            limit: limit as u64,
        };
        if !self.gaps.contains(&gap) {
            self.gap(gap);
        }
    }
}

/// FNV-1a over 64 bits, the simplest function that tells changed from unchanged. It names nothing.
pub(crate) struct Mark(u64);

impl Mark {
    pub(crate) const fn new() -> Self {
        Self(0xcbf2_9ce4_8422_2325)
    }

    pub(crate) fn add(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.0 = (self.0 ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3);
        }
    }

    pub(crate) const fn value(&self) -> u64 {
        self.0
    }
}

/// A text as a scalar.
pub(crate) fn text_scalar(text: &str) -> Scalar {
    if text.len() <= MAX_TEXT {
        Scalar::Text(text.to_owned())
    } else {
        bytes_scalar(text.as_bytes())
    }
}

/// Bytes as a scalar.
pub(crate) fn bytes_scalar(bytes: &[u8]) -> Scalar {
    let mut mark = Mark::new();
    mark.add(bytes);
    Scalar::Many {
        count: bytes.len() as u64,
        mark: mark.value(),
    }
}

/// An element type: torch's name and the bytes of one element.
pub(crate) type Dtype = (&'static str, u64);

/// Torch's name, the safetensors name, the name of torch's old typed storage, bytes of one element.
const DTYPES: [(&str, &str, &str, u64); 24] = [
    ("float32", "F32", "FloatStorage", 4),
    ("float64", "F64", "DoubleStorage", 8),
    ("float16", "F16", "HalfStorage", 2),
    ("bfloat16", "BF16", "BFloat16Storage", 2),
    ("int64", "I64", "LongStorage", 8),
    ("int32", "I32", "IntStorage", 4),
    ("int16", "I16", "ShortStorage", 2),
    ("int8", "I8", "CharStorage", 1),
    ("uint8", "U8", "ByteStorage", 1),
    ("bool", "BOOL", "BoolStorage", 1),
    ("uint16", "U16", "", 2),
    ("uint32", "U32", "", 4),
    ("uint64", "U64", "", 8),
    ("complex64", "C64", "ComplexFloatStorage", 8),
    ("complex128", "", "ComplexDoubleStorage", 16),
    ("complex32", "", "", 4),
    ("float8_e4m3fn", "F8_E4M3", "", 1),
    ("float8_e5m2", "F8_E5M2", "", 1),
    ("float8_e4m3fnuz", "F8_E4M3FNUZ", "", 1),
    ("float8_e5m2fnuz", "F8_E5M2FNUZ", "", 1),
    ("float8_e8m0fnu", "F8_E8M0", "", 1),
    ("quint8", "", "QUInt8Storage", 1),
    ("qint8", "", "QInt8Storage", 1),
    ("qint32", "", "QInt32Storage", 4),
];

fn dtype(matches: impl Fn(&(&str, &str, &str, u64)) -> bool) -> Option<Dtype> {
    DTYPES
        .iter()
        .find(|row| matches(row))
        .map(|row| (row.0, row.3))
}

/// By torch's name, without `torch.`.
pub(crate) fn torch_dtype(name: &str) -> Option<Dtype> {
    dtype(|row| row.0 == name)
}

/// The name that a safetensors header has for torch's name of an element type; `None` if that format has none.
pub fn safetensors_name(torch: &str) -> Option<&'static str> {
    let row = DTYPES.iter().find(|row| row.0 == torch);
    row.map(|row| row.1).filter(|name| !name.is_empty())
}

/// By the name of the typed storage.
pub(crate) fn storage_dtype(name: &str) -> Option<Dtype> {
    dtype(|row| !name.is_empty() && row.2 == name)
}

/// By the name in a safetensors header.
pub(crate) fn safetensors_dtype(name: &str) -> Option<Dtype> {
    dtype(|row| !name.is_empty() && row.1 == name)
}
