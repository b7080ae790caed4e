//! One array of NumPy (`.npy`): a header that is a Python literal, then the elements, or a pickle if they are objects.
//!
//! Whether a pickle follows is the header's word alone, and it has many ways to say so: `|O`, `object`, a field of a
//! structure somewhere. So a type that is not surely a plain one is taken for objects. The bytes of plain elements are
//! accounted for exactly; what stands behind them no loader of one array reads.
//! <https://numpy.org/doc/stable/reference/generated/numpy.lib.format.html>

use std::io;

use crate::ReadAt;
use crate::literal::{Literal, parse};
use crate::read_at::bytes_at;

/// The largest header that is read, in bytes. NumPy itself refuses more than 10,000 from a file that it does not trust.
pub const MAX_HEADER_BYTES: u64 = 1 << 20;
/// How deep structures are followed.
const MAX_DEPTH: u32 = 32;

/// An array as its header describes it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Array {
    /// Version of the format.
    pub version: (u8, u8),
    /// The type as the header has it, if it is one text.
    pub dtype: Option<String>,
    /// Size of each dimension.
    pub shape: Vec<u64>,
    /// Where the bytes behind the header start.
    pub data_offset: u64,
    /// What stands there.
    pub payload: Payload,
    /// Bytes behind the elements, as offset and count; 0 where a pickle follows, which ends where it ends.
    pub trailing: (u64, u64),
    /// What NumPy would not have written.
    pub oddities: Vec<Oddity>,
}

/// What stands behind a header.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Payload {
    /// So many bytes of plain elements.
    Elements(u64),
    /// A pickle: the elements are objects.
    Pickle,
    /// What the header says is not understood; a loader may find a pickle there.
    Unknown,
}

/// Something about an array that NumPy would not have written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Oddity {
    /// The header is longer than is read.
    #[error("the header has {0} bytes")]
    LongHeader(u64),
    /// The header is no literal of the expected form.
    #[error("the header is no dictionary of type, order and shape")]
    Header,
    /// A key stands in it twice; the last counts.
    #[error("a key stands in the header more than once")]
    DuplicateKey,
    /// A version that NumPy does not know.
    #[error("the version of the format is not known")]
    Version,
    /// The elements reach past the end.
    #[error("{0} bytes of elements are missing")]
    Missing(u64),
}

/// Whether there is no array at all.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NotNpy {
    /// Another format.
    #[error("it does not start as a NumPy array")]
    Magic,
    /// The header is cut off.
    #[error("the header is cut off")]
    Truncated,
}

/// Reads the header of the array that `input` starts with.
pub fn read(input: &dyn ReadAt) -> io::Result<Result<Array, NotNpy>> {
    let head = bytes_at(input, 0, input.len().min(12))?;
    let (Some(b"\x93NUMPY"), Some([major, minor])) = (head.get(..6), head.get(6..8)) else {
        return Ok(Err(NotNpy::Magic));
    };
    let version = (*major, *minor);
    let wide = *major >= 2;
    let (start, size) = match (wide, head.get(8..)) {
        (false, Some([a, b, ..])) => (10, u64::from(u16::from_le_bytes([*a, *b]))),
        (true, Some([a, b, c, d])) => (12, u64::from(u32::from_le_bytes([*a, *b, *c, *d]))),
        _ => return Ok(Err(NotNpy::Truncated)),
    };
    let data_offset = start + size;
    if data_offset > input.len() {
        return Ok(Err(NotNpy::Truncated));
    }
    let mut array = Array {
        version,
        dtype: None,
        shape: Vec::new(),
        data_offset,
        payload: Payload::Unknown,
        trailing: (data_offset, 0),
        oddities: Vec::new(),
    };
    if !matches!(version, (1..=3, 0)) {
        array.oddities.push(Oddity::Version);
    }
    if size > MAX_HEADER_BYTES {
        array.oddities.push(Oddity::LongHeader(size));
        return Ok(Ok(array));
    }
    let bytes = bytes_at(input, start, size)?;
    array.describe(&String::from_utf8_lossy(&bytes));
    array.place(input.len() - data_offset);
    Ok(Ok(array))
}

impl Array {
    fn describe(&mut self, header: &str) {
        let Some(Literal::Dict(pairs)) = parse(header) else {
            self.oddities.push(Oddity::Header);
            return;
        };
        let get = |name: &str| {
            let mut found = pairs
                .iter()
                .rev()
                .filter(|(key, _)| key.text() == Some(name));
            let value = found.next().map(|(_, value)| value);
            (value, found.next().is_some())
        };
        let fields = [get("descr"), get("fortran_order"), get("shape")];
        if fields.iter().any(|(_, twice)| *twice) {
            self.oddities.push(Oddity::DuplicateKey);
        }
        let (
            [
                (Some(descr), _),
                (Some(Literal::Bool(_)), _),
                (Some(shape), _),
            ],
            3..,
        ) = (fields, pairs.len())
        else {
            self.oddities.push(Oddity::Header);
            return;
        };
        if pairs.len() > 3 && !self.oddities.contains(&Oddity::DuplicateKey) {
            self.oddities.push(Oddity::Header);
        }
        self.dtype = descr.text().map(str::to_owned);
        let Some(shape) = dimensions(shape) else {
            self.oddities.push(Oddity::Header);
            return;
        };
        self.shape = shape;
        self.payload = match element(descr, 0) {
            Element::Plain(size) => self
                .shape
                .iter()
                .try_fold(size, |product, size| product.checked_mul(*size))
                .map_or(Payload::Unknown, Payload::Elements),
            Element::Object => Payload::Pickle,
            Element::Unknown => Payload::Unknown,
        };
    }

    fn place(&mut self, left: u64) {
        let Payload::Elements(bytes) = self.payload else {
            return;
        };
        if let Some(missing) = bytes.checked_sub(left).filter(|missing| *missing > 0) {
            self.oddities.push(Oddity::Missing(missing));
        }
        let taken = bytes.min(left);
        self.trailing = (self.data_offset + taken, left - taken);
    }
}

fn dimensions(shape: &Literal) -> Option<Vec<u64>> {
    let Literal::Items(items) = shape else {
        return None;
    };
    let size = |item: &Literal| match item {
        Literal::Int(size) => u64::try_from(*size).ok(),
        _ => None,
    };
    items.iter().map(size).collect()
}

/// What one element is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Element {
    /// So many bytes.
    Plain(u64),
    /// An object somewhere in it.
    Object,
    /// Not surely plain.
    Unknown,
}

fn element(descr: &Literal, depth: u32) -> Element {
    if depth > MAX_DEPTH {
        return Element::Unknown;
    }
    match descr {
        Literal::Text(text) => text_element(text),
        // A structure: (name, type) or (name, type, shape) each.
        Literal::Items(fields) if fields.iter().all(is_field) && !fields.is_empty() => {
            let sizes = fields.iter().map(|field| match field {
                Literal::Items(parts) => repeated(parts.get(1), parts.get(2), depth),
                _ => Element::Unknown,
            });
            sizes.fold(Element::Plain(0), together)
        }
        // A type and a shape.
        Literal::Items(parts) if parts.len() == 2 => repeated(parts.first(), parts.get(1), depth),
        _ => Element::Unknown,
    }
}

fn is_field(field: &Literal) -> bool {
    matches!(field, Literal::Items(parts)
        if matches!(parts.len(), 2 | 3) && matches!(parts.first(), Some(Literal::Text(_) | Literal::Items(_))))
}

fn repeated(descr: Option<&Literal>, shape: Option<&Literal>, depth: u32) -> Element {
    let Some(descr) = descr else {
        return Element::Unknown;
    };
    let count = match shape {
        None => Some(1),
        Some(Literal::Int(count)) => u64::try_from(*count).ok(),
        Some(shape) => dimensions(shape)
            .and_then(|sizes| sizes.iter().try_fold(1u64, |a, b| a.checked_mul(*b))),
    };
    match (element(descr, depth + 1), count) {
        (Element::Plain(size), Some(count)) => size
            .checked_mul(count)
            .map_or(Element::Unknown, Element::Plain),
        (Element::Plain(_), None) => Element::Unknown,
        (other, _) => other,
    }
}

fn together(a: Element, b: Element) -> Element {
    match (a, b) {
        (Element::Object, _) | (_, Element::Object) => Element::Object,
        (Element::Plain(a), Element::Plain(b)) => {
            a.checked_add(b).map_or(Element::Unknown, Element::Plain)
        }
        _ => Element::Unknown,
    }
}

/// A type in NumPy's short form: byte order, kind, size. `M8[ns]` has its unit behind.
pub(crate) fn text_element(text: &str) -> Element {
    let short = text.strip_prefix(['<', '>', '|', '=']).unwrap_or(text);
    let (kind, rest) = match short.chars().next() {
        Some(kind) if kind.is_ascii() => short.split_at(1),
        _ => return Element::Unknown,
    };
    let rest = match rest.split_once('[') {
        Some((size, unit)) if matches!(kind, "m" | "M") && unit.ends_with(']') => size,
        _ => rest,
    };
    let plain = rest.bytes().all(|byte| byte.is_ascii_digit());
    let number = rest.parse::<u64>().ok();
    match (kind, number) {
        _ if !plain => Element::Unknown,
        ("O", _) => Element::Object,
        ("?", None) => Element::Plain(1),
        ("b" | "i" | "u" | "f" | "c" | "m" | "M", Some(size @ (1 | 2 | 4 | 8 | 12 | 16 | 32)))
        | ("S" | "a" | "V", Some(size)) => Element::Plain(size),
        ("U", Some(characters)) => characters
            .checked_mul(4)
            .map_or(Element::Unknown, Element::Plain),
        _ => Element::Unknown,
    }
}
