//! ONNX: a graph of operators with its tensors, as a protocol buffer.
//!
//! Running such a graph calls operators by domain and name; loading it opens the files that tensors name. So that is what
//! is collected here, from the main graph, from graphs in attributes, from functions and from training graphs alike, each
//! name once. Weights stay where they are. Fields that the schema does not have are kept as places, because every reader
//! skips them. <https://github.com/onnx/onnx/blob/main/onnx/onnx.proto>

use std::collections::{BTreeMap, BTreeSet};

use crate::protobuf::{Field, Span, Wire, WireError};

/// How deep graphs within graphs are followed.
pub const MAX_DEPTH: usize = 32;
/// The most names, tensors, functions and unknown fields that are kept, each.
pub const MAX_RECORDS: usize = 2048;
/// The longest text that is kept of anything, in bytes.
pub const MAX_TEXT: usize = 4096;

/// What a file holds.
#[derive(Debug, Default)]
pub struct Model {
    /// Version of the format.
    pub ir_version: u64,
    /// The program that wrote it, as it says.
    pub producer: String,
    /// Domains whose operators it imports.
    pub domains: BTreeSet<String>,
    /// Operators that it uses.
    pub operators: BTreeMap<Operator, Use>,
    /// Functions that it brings.
    pub functions: Vec<(Operator, u64)>,
    /// Tensors whose bytes lie in other files, one entry a file and fault.
    pub external: Vec<External>,
    /// Tensors that contradict themselves.
    pub faults: Vec<(TensorFault, String, u64)>,
    /// Key, value and offset of its properties.
    pub properties: Vec<(String, String, u64)>,
    /// Whether it brings graphs for training.
    pub trains: bool,
    /// Bytes of tensors within the file.
    pub raw_bytes: u64,
    /// Fields that the schema does not have, with their numbers.
    pub unknown: Vec<(u32, Span)>,
    /// Where reading ended, if not at the end.
    pub broken: Option<WireError>,
    /// Whether graphs nest deeper than [`MAX_DEPTH`].
    pub too_deep: bool,
    /// Records beyond [`MAX_RECORDS`].
    pub left_out: u64,
}

/// An operator's full name; the domain `ai.onnx` is the empty one.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Operator {
    /// Who defines it.
    pub domain: String,
    /// Its name.
    pub name: String,
}

/// How an operator is used.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Use {
    /// How often.
    pub count: u64,
    /// Where the first of its nodes stands.
    pub offset: u64,
    /// Text attributes of that node: name and beginning of the value.
    pub texts: Vec<(String, String)>,
}

/// A tensor that says where its bytes are.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct External {
    /// Name of the tensor.
    pub tensor: String,
    /// The file, as it is named.
    pub location: String,
    /// All keys but the usual ones, with values.
    pub others: Vec<(String, String)>,
    /// Offset and length as text, as they are given.
    pub range: (String, String),
    /// Where the tensor stands.
    pub offset: u64,
}

/// What is wrong with a tensor.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum TensorFault {
    /// A size below zero, or a product beyond 64 bits.
    #[error("its shape is impossible")]
    Shape,
    /// Bytes and shape do not fit.
    #[error("its bytes do not fit its shape and type")]
    Size,
}

/// Reads the whole of `wire`.
pub fn read(wire: &Wire<'_>) -> Model {
    let mut reader = Reader {
        wire,
        model: Model::default(),
    };
    if let Err(error) = reader.model() {
        reader.model.broken = Some(error);
    }
    reader.model
}

struct Reader<'w, 'a> {
    wire: &'w Wire<'a>,
    model: Model,
}

impl Reader<'_, '_> {
    fn model(&mut self) -> Result<(), WireError> {
        for field in self.wire.fields(self.wire.whole()) {
            let field = field?;
            match (field.number, field.span()) {
                (1, _) => self.model.ir_version = field.varint().unwrap_or_default(),
                (2, Some(span)) => self.model.producer = self.text(span)?,
                (7, Some(span)) => self.graph(span, 0)?,
                (8, Some(span)) => {
                    let domain = self.string(span, 1)?;
                    if self.model.domains.len() < MAX_RECORDS {
                        self.model.domains.insert(domain);
                    }
                }
                (14, Some(span)) => self.property(span, field.offset)?,
                (20, Some(span)) => self.training(span)?,
                (25, Some(span)) => self.function(span, field.offset)?,
                (2..=8 | 14 | 20 | 25 | 26, _) => {}
                _ => self.unknown(field),
            }
        }
        Ok(())
    }

    fn training(&mut self, span: Span) -> Result<(), WireError> {
        self.model.trains = true;
        for field in self.wire.fields(span) {
            let field = field?;
            match (field.number, field.span()) {
                (1 | 2, Some(span)) => self.graph(span, 0)?,
                (1..=4, _) => {}
                _ => self.unknown(field),
            }
        }
        Ok(())
    }

    fn graph(&mut self, span: Span, depth: usize) -> Result<(), WireError> {
        if depth >= MAX_DEPTH {
            self.model.too_deep = true;
            return Ok(());
        }
        for field in self.wire.fields(span) {
            let field = field?;
            match (field.number, field.span()) {
                (1, Some(span)) => self.node(span, field.offset, depth)?,
                (5, Some(span)) => self.tensor(span, field.offset)?,
                (15, Some(span)) => self.sparse(span)?,
                (16, Some(span)) => self.property(span, field.offset)?,
                (2 | 5 | 10..=16, _) => {}
                _ => self.unknown(field),
            }
        }
        Ok(())
    }

    fn function(&mut self, span: Span, offset: u64) -> Result<(), WireError> {
        let mut named = operator();
        for field in self.wire.fields(span) {
            let field = field?;
            match (field.number, field.span()) {
                (1, Some(span)) => named.name = self.text(span)?,
                (7, Some(span)) => self.node(span, field.offset, 1)?,
                (10, Some(span)) => named.domain = self.text(span)?,
                (11, Some(span)) => self.attribute(span, 1)?,
                (2 | 4..=14, _) => {}
                _ => self.unknown(field),
            }
        }
        if self.model.functions.len() < MAX_RECORDS {
            self.model.functions.push((canonical(named), offset));
        } else {
            self.model.left_out += 1;
        }
        Ok(())
    }

    fn node(&mut self, span: Span, offset: u64, depth: usize) -> Result<(), WireError> {
        let mut named = operator();
        for field in self.wire.fields(span) {
            let field = field?;
            match (field.number, field.span()) {
                (4, Some(span)) => named.name = self.text(span)?,
                (5, Some(span)) => self.attribute(span, depth)?,
                (7, Some(span)) => named.domain = self.text(span)?,
                (1..=10, _) => {}
                _ => self.unknown(field),
            }
        }
        let named = canonical(named);
        if let Some(known) = self.model.operators.get_mut(&named) {
            known.count += 1;
            return Ok(());
        }
        if self.model.operators.len() >= MAX_RECORDS {
            self.model.left_out += 1;
            return Ok(());
        }
        let texts = self.texts(span)?;
        let first = Use {
            count: 1,
            offset,
            texts,
        };
        self.model.operators.insert(named, first);
        Ok(())
    }

    /// The short text attributes of the node in `span`.
    fn texts(&self, span: Span) -> Result<Vec<(String, String)>, WireError> {
        const MOST: usize = 16;
        let mut texts = Vec::new();
        for field in self.wire.fields(span) {
            let field = field?;
            let Some(inside) = field.span().filter(|_| field.number == 5) else {
                continue;
            };
            if let Some(value) = self.wire.find(inside, 4)
                && texts.len() < MOST
            {
                let value = self.wire.text(value, 256)?;
                texts.push((self.string(inside, 1)?, value));
            }
        }
        Ok(texts)
    }

    fn attribute(&mut self, span: Span, depth: usize) -> Result<(), WireError> {
        for field in self.wire.fields(span) {
            let field = field?;
            match (field.number, field.span()) {
                (5 | 10, Some(span)) => self.tensor(span, field.offset)?,
                (6 | 11, Some(span)) => self.graph(span, depth + 1)?,
                (22 | 23, Some(span)) => self.sparse(span)?,
                (4 | 7..=9, Some(span)) => self.model.raw_bytes += span.len(),
                (1..=15 | 20..=23, _) => {}
                _ => self.unknown(field),
            }
        }
        Ok(())
    }

    fn sparse(&mut self, span: Span) -> Result<(), WireError> {
        for field in self.wire.fields(span) {
            let field = field?;
            if let (1 | 2, Some(span)) = (field.number, field.span()) {
                self.tensor(span, field.offset)?;
            }
        }
        Ok(())
    }

    fn tensor(&mut self, span: Span, offset: u64) -> Result<(), WireError> {
        let mut shape = Some(1u64);
        let mut kind = 0;
        let mut raw = None;
        let mut is_external = false;
        let mut external = External {
            offset,
            ..External::default()
        };
        for field in self.wire.fields(span) {
            let field = field?;
            match (field.number, field.span()) {
                (1, Some(packed)) => shape = self.packed_shape(packed, shape)?,
                (1, None) => shape = grown(shape, field.varint().unwrap_or_default()),
                (2, _) => kind = field.varint().unwrap_or_default(),
                (8, Some(span)) => external.tensor = self.text(span)?,
                (9, Some(span)) => {
                    raw = Some(span.len());
                    self.model.raw_bytes += span.len();
                }
                (4..=7 | 10 | 11, Some(span)) => self.model.raw_bytes += span.len(),
                (13, Some(span)) => self.external(span, &mut external)?,
                (14, _) => is_external = field.varint() == Some(1),
                (3..=14 | 16, _) => {}
                _ => self.unknown(field),
            }
        }
        if is_external || !external.location.is_empty() {
            self.keep_external(external);
        } else if let Some(fault) = tensor_fault(shape, kind, raw)
            && self.model.faults.len() < MAX_RECORDS
        {
            let fault = (fault, external.tensor, offset);
            self.model.faults.push(fault);
        }
        Ok(())
    }

    fn packed_shape(&self, packed: Span, shape: Option<u64>) -> Result<Option<u64>, WireError> {
        let mut shape = shape;
        let bytes = self.wire.bytes(packed, MAX_TEXT)?;
        let mut number = 0u64;
        let mut place = 0u32;
        for byte in bytes {
            number |= u64::from(byte & 0x7f).checked_shl(place).unwrap_or(0);
            place += 7;
            if byte & 0x80 == 0 {
                shape = grown(shape, number);
                (number, place) = (0, 0);
            }
        }
        Ok(shape)
    }

    fn external(&self, span: Span, external: &mut External) -> Result<(), WireError> {
        const MOST: usize = 16;
        let (key, value) = (self.string(span, 1)?, self.string(span, 2)?);
        match key.as_str() {
            "location" => external.location = value,
            "offset" => external.range.0 = value,
            "length" => external.range.1 = value,
            "checksum" => {}
            _ if external.others.len() < MOST => external.others.push((key, value)),
            _ => {}
        }
        Ok(())
    }

    fn keep_external(&mut self, external: External) {
        let odd = !external.others.is_empty();
        let known = self.model.external.iter();
        let mut known = known.filter(|known| known.location == external.location);
        if !odd && known.any(|known| known.range.0.len() >= external.range.0.len()) {
            return;
        }
        if self.model.external.len() < MAX_RECORDS {
            self.model.external.push(external);
        } else {
            self.model.left_out += 1;
        }
    }

    fn property(&mut self, span: Span, offset: u64) -> Result<(), WireError> {
        if self.model.properties.len() >= MAX_RECORDS {
            self.model.left_out += 1;
            return Ok(());
        }
        let pair = (self.string(span, 1)?, self.string(span, 2)?, offset);
        self.model.properties.push(pair);
        Ok(())
    }

    fn unknown(&mut self, field: Field) {
        if self.model.unknown.len() < MAX_RECORDS {
            let span = field.span().unwrap_or(Span {
                start: field.offset,
                end: field.offset,
            });
            self.model.unknown.push((field.number, span));
        } else {
            self.model.left_out += 1;
        }
    }

    fn string(&self, span: Span, number: u32) -> Result<String, WireError> {
        match self.wire.find(span, number) {
            Some(span) => self.text(span),
            None => Ok(String::new()),
        }
    }

    fn text(&self, span: Span) -> Result<String, WireError> {
        self.wire.text(span, MAX_TEXT)
    }
}

const fn operator() -> Operator {
    Operator {
        domain: String::new(),
        name: String::new(),
    }
}

fn canonical(mut operator: Operator) -> Operator {
    if operator.domain == "ai.onnx" {
        operator.domain.clear();
    }
    operator
}

/// A shape's number of elements with one more dimension; sizes below zero have none.
fn grown(shape: Option<u64>, size: u64) -> Option<u64> {
    let size = i64::try_from(size).ok()?.unsigned_abs();
    shape?.checked_mul(size)
}

fn tensor_fault(shape: Option<u64>, kind: u64, raw: Option<u64>) -> Option<TensorFault> {
    let Some(elements) = shape else {
        return Some(TensorFault::Shape);
    };
    let bits = element_bits(kind)?;
    let bytes = elements.checked_mul(bits).map(|bits| bits.div_ceil(8));
    match (raw, bytes) {
        (Some(raw), Some(bytes)) if raw == bytes => None,
        (Some(_), _) => Some(TensorFault::Size),
        (None, _) => None,
    }
}

/// Bits of one element of a type whose bytes may stand raw.
const fn element_bits(kind: u64) -> Option<u64> {
    Some(match kind {
        1 | 6 | 12 => 32,
        2 | 3 | 9 | 17..=20 | 24 => 8,
        4 | 5 | 10 | 16 => 16,
        7 | 11 | 13 | 14 => 64,
        15 => 128,
        21..=23 => 4,
        25 | 26 => 2,
        _ => return None,
    })
}
