//! What is kept of a checkpoint, so that a later one can be compared with it after its bytes are gone.
//!
//! Per tensor: the digest of its bytes, its norm, and a sketch; per plain value: the value. That is a kilobyte a tensor.
//! The bytes are fed in by the caller, in chunks of any size, through a [`Summarizer`]; this module knows no file and no
//! format.

use std::collections::BTreeMap;

use domain::{Digest, Hasher};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::ElementKind;
use crate::sketch::{Sketch, Sketcher};

/// What is kept of a checkpoint.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct CheckpointSummary {
    /// Its tensors, in the order of the file.
    pub tensors: Vec<TensorSummary>,
    /// Its plain values by name; of a name that stands twice, the last.
    pub scalars: BTreeMap<String, Scalar>,
    /// Whether everything in it that carries a value was seen.
    pub complete: bool,
    /// What was not seen, in words.
    pub gaps: Vec<String>,
}

/// What is kept of a tensor.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct TensorSummary {
    /// Dotted name.
    pub name: String,
    /// Torch's name of the element type, without `torch.`.
    pub dtype: String,
    /// Size of each dimension.
    pub shape: Vec<u64>,
    /// Bytes that were fed in.
    pub bytes: u64,
    /// Digest of these bytes, in storage order.
    pub digest: Digest,
    /// What was measured of the values; `None` if the element type is not understood.
    pub values: Option<Values>,
}

impl TensorSummary {
    /// Number of elements that the shape names.
    pub fn elements(&self) -> u64 {
        self.shape
            .iter()
            .fold(1, |product, size| product.saturating_mul(*size))
    }
}

/// Measurements of a tensor's values.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Values {
    /// Euclidean norm of the finite elements.
    #[serde(with = "any_float")]
    pub norm: f64,
    /// Elements that are infinite or not a number.
    pub non_finite: u64,
    /// Sketch of the finite elements.
    pub sketch: Sketch,
}

/// A plain value of a checkpoint.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(tag = "kind", content = "value", rename_all = "lowercase")]
pub enum Scalar {
    /// `None`.
    None,
    /// A truth value.
    Bool(bool),
    /// An integer.
    Int(i64),
    /// A float.
    Float(#[serde(with = "any_float")] f64),
    /// A short text.
    Text(String),
    /// A long text, bytes, or list, of which only changed or unchanged can be told.
    Many {
        /// Bytes or items.
        count: u64,
        /// Differs when the content does, except by chance or intent.
        mark: u64,
    },
}

/// Floats are equal when their bits are, so that a value that is not a number equals itself.
impl PartialEq for Scalar {
    fn eq(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::None, Self::None) => true,
            (Self::Bool(a), Self::Bool(b)) => a == b,
            (Self::Int(a), Self::Int(b)) => a == b,
            (Self::Float(a), Self::Float(b)) => {
                a.to_bits() == b.to_bits() || (a.is_nan() && b.is_nan())
            }
            (Self::Text(a), Self::Text(b)) => a == b,
            (Self::Many { count: a, mark: m }, Self::Many { count: b, mark: n }) => {
                (a, m) == (b, n)
            }
            _ => false,
        }
    }
}

impl std::fmt::Display for Scalar {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::None => formatter.write_str("None"),
            Self::Bool(value) => write!(formatter, "{value}"),
            Self::Int(value) => write!(formatter, "{value}"),
            Self::Float(value) => write!(formatter, "{value:?}"),
            Self::Text(text) => write!(formatter, "{text:?}"),
            Self::Many { count, mark } => write!(formatter, "{count} items ({mark:016x})"),
        }
    }
}

/// Makes a [`CheckpointSummary`] from what is fed in.
#[derive(Debug, Default)]
pub struct Summarizer {
    summary: CheckpointSummary,
}

impl Summarizer {
    /// Starts with nothing seen.
    pub fn new() -> Self {
        Self::default()
    }

    /// Starts a tensor. `dtype` is torch's name with or without `torch.`; its elements are little endian.
    pub fn tensor(&mut self, name: &str, dtype: &str, shape: &[u64]) -> TensorFeed<'_> {
        let kind = ElementKind::from_torch_name(dtype)
            .filter(|kind| !matches!(kind, ElementKind::Other { .. }));
        self.feed(name, dtype, shape, kind)
    }

    /// Starts a tensor whose bytes are compared but whose values are not measured, as those of a big-endian file.
    pub fn tensor_unmeasured(&mut self, name: &str, dtype: &str, shape: &[u64]) -> TensorFeed<'_> {
        self.feed(name, dtype, shape, None)
    }

    fn feed(
        &mut self,
        name: &str,
        dtype: &str,
        shape: &[u64],
        kind: Option<ElementKind>,
    ) -> TensorFeed<'_> {
        TensorFeed {
            summary: &mut self.summary,
            name: name.to_owned(),
            dtype: dtype.strip_prefix("torch.").unwrap_or(dtype).to_owned(),
            shape: shape.to_vec(),
            kind,
            bytes: 0,
            hasher: Hasher::new(),
            sketcher: Sketcher::new(),
            rest: Vec::new(),
        }
    }

    /// Adds a plain value.
    pub fn scalar(&mut self, name: &str, value: Scalar) {
        self.summary.scalars.insert(name.to_owned(), value);
    }

    /// States something that was not seen.
    pub fn gap(&mut self, gap: &str) {
        self.summary.gaps.push(gap.to_owned());
    }

    /// The summary; complete if no gap was stated and every tensor was finished.
    pub fn finish(mut self) -> CheckpointSummary {
        self.summary.complete = self.summary.gaps.is_empty();
        self.summary
    }
}

/// A tensor that is being fed. If reading breaks off, [`TensorFeed::abandon`] it.
#[must_use = "a tensor counts only once it is finished or abandoned"]
pub struct TensorFeed<'a> {
    summary: &'a mut CheckpointSummary,
    name: String,
    dtype: String,
    shape: Vec<u64>,
    kind: Option<ElementKind>,
    bytes: u64,
    hasher: Hasher,
    sketcher: Sketcher,
    /// The start of an element whose end is in the next chunk.
    rest: Vec<u8>,
}

impl TensorFeed<'_> {
    /// Adds the next bytes; chunks may end within an element.
    pub fn chunk(&mut self, mut bytes: &[u8]) {
        self.bytes += bytes.len() as u64;
        self.hasher.update(bytes);
        let Some(kind) = self.kind else { return };
        if !self.rest.is_empty() {
            let (head, tail) = bytes.split_at(bytes.len().min(kind.size() - self.rest.len()));
            self.rest.extend(head);
            bytes = tail;
            if self.rest.len() < kind.size() {
                return;
            }
            self.sketcher.update(kind, &self.rest);
            self.rest.clear();
        }
        let left = self.sketcher.update(kind, bytes);
        self.rest
            .extend(bytes.get(bytes.len() - left..).unwrap_or_default());
    }

    /// Ends the tensor.
    pub fn finish(self) {
        let values = Values {
            norm: self.sketcher.norm(),
            non_finite: self.sketcher.non_finite(),
            sketch: self.sketcher.sketch(),
        };
        if !self.rest.is_empty() {
            self.summary
                .gaps
                .push(format!("{}: the last element is cut off", self.name));
        }
        self.summary.tensors.push(TensorSummary {
            name: self.name,
            dtype: self.dtype,
            shape: self.shape,
            bytes: self.bytes,
            digest: self.hasher.finish(),
            values: self.kind.map(|_| values),
        });
    }

    /// Gives the tensor up and states `why` as a gap.
    pub fn abandon(self, why: &str) {
        self.summary.gaps.push(format!("{}: {why}", self.name));
    }
}

/// Floats in formats that have no words for infinity: such values are the texts `NaN`, `inf` and `-inf`.
pub(crate) mod any_float {
    use super::{Deserialize, Deserializer, Serializer};

    #[expect(
        clippy::trivially_copy_pass_by_ref,
        reason = "serde asks for this signature"
    )]
    pub(crate) fn serialize<S: Serializer>(value: &f64, serializer: S) -> Result<S::Ok, S::Error> {
        if value.is_finite() {
            serializer.serialize_f64(*value)
        } else {
            serializer.collect_str(value)
        }
    }

    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Form {
        Number(f64),
        Word(String),
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<f64, D::Error> {
        let word = match Form::deserialize(deserializer)? {
            Form::Number(value) => return Ok(value),
            Form::Word(word) => word,
        };
        match word.as_str() {
            "NaN" => Ok(f64::NAN),
            "inf" => Ok(f64::INFINITY),
            "-inf" => Ok(f64::NEG_INFINITY),
            _ => Err(serde::de::Error::custom(
                "a float is a number, NaN, inf or -inf",
            )),
        }
    }
}
