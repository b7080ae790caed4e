//! A tensor to 128 numbers from which the size of a change can be told later, without the tensor.
//!
//! A digest says *that* two tensors differ; to say *by how much* one needs both, and a checkpoint of last week is often
//! gone. A count sketch is linear: the sketch of a difference is the difference of the sketches, and its norm estimates
//! the norm of the difference. (M. Charikar, K. Chen, M. Farach-Colton: *Finding frequent items in data streams*, 2002;
//! the estimate of the second moment is that of N. Alon, Y. Matias, M. Szegedy, 1996, as M. Thorup and Y. Zhang, 2004,
//! made it fast.)
//!
//! The function, so that another program can repeat it: element `i`, counted from 0 in storage order, with value `v` as
//! an IEEE double, adds `s·v` to bucket `b`, where in 64-bit arithmetic that wraps
//!
//! ```text
//! h = (i + 1) · 0x9E3779B97F4A7C15
//! h = (h xor (h >> 32)) · 0xD6E8FEB86659FD93
//! h =  h xor (h >> 32)
//! b = h and 127,   s = −1 if bit 7 of h is set, else +1
//! ```
//!
//! Buckets are summed in double precision in order of `i` and rounded to single at the end. Elements that are not finite
//! are counted and left out. The squared norm of a sketch estimates the squared norm of the tensor without bias, with a
//! standard deviation of at most √(2/128) = 12.5 %; the norm itself therefore has [`RELATIVE_ERROR`] = 6.25 %. Rounding
//! to single hides changes below about [`FLOOR`] of the norm.
//!
//! The function is public and has no key: somebody who knows it can shape a change so that it *looks* smaller. He cannot
//! make it invisible, because the digest stands beside it.

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::ElementKind;
use crate::element::{brain, half};

const LANES: usize = 8;

/// Buckets of a sketch.
pub const WIDTH: usize = 128;
/// One standard deviation of a norm that is estimated from a sketch, as a fraction of it: ½·√(2/128).
pub const RELATIVE_ERROR: f64 = 0.0625;
/// The change, as a fraction of the norm, that rounding alone can feign: 2⁻²³.
pub const FLOOR: f64 = 1.0 / 8_388_608.0;

/// The sketch of a tensor.
#[derive(Clone, Copy, PartialEq)]
pub struct Sketch([f32; WIDTH]);

impl Sketch {
    /// The 128 sums.
    pub const fn buckets(&self) -> &[f32; WIDTH] {
        &self.0
    }

    /// Takes 128 sums.
    pub const fn from_buckets(buckets: [f32; WIDTH]) -> Self {
        Self(buckets)
    }

    /// The estimated norm of `after − factor·before`, of two tensors with as many elements.
    pub fn distance(before: &Self, after: &Self, factor: f64) -> f64 {
        let difference = |(a, b): (&f32, &f32)| f64::from(*b) - factor * f64::from(*a);
        before
            .0
            .iter()
            .zip(&after.0)
            .map(difference)
            .map(|d| d * d)
            .sum::<f64>()
            .sqrt()
    }

    /// The estimated inner product with `other`.
    pub fn dot(&self, other: &Self) -> f64 {
        self.0
            .iter()
            .zip(&other.0)
            .map(|(a, b)| f64::from(*a) * f64::from(*b))
            .sum()
    }
}

impl std::fmt::Debug for Sketch {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "Sketch({self})")
    }
}

/// 1024 hexadecimal digits: the bits of each sum, most significant first.
impl std::fmt::Display for Sketch {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0
            .iter()
            .try_for_each(|sum| write!(formatter, "{:08x}", sum.to_bits()))
    }
}

/// A text that is not 1024 lower-case hexadecimal digits.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("a sketch is 1024 lower-case hexadecimal digits")]
pub struct SketchSyntax;

impl std::str::FromStr for Sketch {
    type Err = SketchSyntax;

    fn from_str(text: &str) -> Result<Self, SketchSyntax> {
        let (groups, rest) = text.as_bytes().as_chunks::<8>();
        if groups.len() != WIDTH || !rest.is_empty() {
            return Err(SketchSyntax);
        }
        let mut buckets = [0.0; WIDTH];
        for (bucket, group) in buckets.iter_mut().zip(groups) {
            let lower = group
                .iter()
                .all(|digit| digit.is_ascii_digit() || (b'a'..=b'f').contains(digit));
            let digits = str::from_utf8(group)
                .ok()
                .filter(|_| lower)
                .ok_or(SketchSyntax)?;
            *bucket = f32::from_bits(u32::from_str_radix(digits, 16).map_err(|_| SketchSyntax)?);
        }
        Ok(Self(buckets))
    }
}

impl Serialize for Sketch {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Sketch {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<str>::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

/// Makes a sketch, and the exact norm beside it, from a tensor's elements in storage order.
#[derive(Debug, Clone)]
pub struct Sketcher {
    buckets: [f64; WIDTH],
    squares: f64,
    elements: u64,
    non_finite: u64,
}

impl Default for Sketcher {
    fn default() -> Self {
        Self {
            buckets: [0.0; WIDTH],
            squares: 0.0,
            elements: 0,
            non_finite: 0,
        }
    }
}

impl Sketcher {
    /// Starts with no elements.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds little-endian elements of `kind`. Returns how many bytes at the end are no whole element and were not taken;
    /// all of them if values of `kind` are not understood.
    pub fn update(&mut self, kind: ElementKind, bytes: &[u8]) -> usize {
        match kind {
            ElementKind::F32 => self.add(bytes, f32::from_le_bytes),
            ElementKind::F64 => self.add(bytes, f64::from_le_bytes),
            ElementKind::F16 => self.add(bytes, |element| half(u16::from_le_bytes(element))),
            ElementKind::Bf16 => self.add(bytes, |element| brain(u16::from_le_bytes(element))),
            ElementKind::I64 => self.add(bytes, |element| i64::from_le_bytes(element) as f64),
            ElementKind::I32 => self.add(bytes, i32::from_le_bytes),
            ElementKind::I16 => self.add(bytes, i16::from_le_bytes),
            ElementKind::I8 => self.add(bytes, i8::from_le_bytes),
            ElementKind::U64 => self.add(bytes, |element| u64::from_le_bytes(element) as f64),
            ElementKind::U32 => self.add(bytes, u32::from_le_bytes),
            ElementKind::U16 => self.add(bytes, u16::from_le_bytes),
            ElementKind::U8 => self.add(bytes, u8::from_le_bytes),
            ElementKind::Bool => self.add(bytes, |[element]: [u8; 1]| u8::from(element != 0)),
            ElementKind::Other { .. } => bytes.len(),
        }
    }

    /// Elements are taken in groups whose size the compiler knows, so that all but the scattering runs side by side.
    fn add<const SIZE: usize, V: Into<f64>>(
        &mut self,
        bytes: &[u8],
        value: impl Fn([u8; SIZE]) -> V,
    ) -> usize {
        let (elements, rest) = bytes.as_chunks::<SIZE>();
        let (groups, tail) = elements.as_chunks::<LANES>();
        let mut squares = [0.0; LANES];
        for group in groups {
            self.add_group(group.map(|element| value(element).into()), &mut squares);
        }
        let mut last = [0.0; LANES];
        for (number, element) in last.iter_mut().zip(tail) {
            *number = value(*element).into();
        }
        // The zeros behind the tail add nothing, wherever they go.
        self.add_group(last, &mut squares);
        self.elements -= (LANES - tail.len()) as u64;
        self.squares += squares.iter().sum::<f64>();
        rest.len()
    }

    #[inline]
    fn add_group(&mut self, mut numbers: [f64; LANES], squares: &mut [f64; LANES]) {
        let mut hashes = [0; LANES];
        let mut position = self.elements;
        for ((number, sum), hash) in numbers.iter_mut().zip(squares).zip(&mut hashes) {
            let is_finite = number.is_finite();
            self.non_finite += u64::from(!is_finite);
            *number = if is_finite { *number } else { 0.0 };
            *sum += *number * *number;
            *hash = mix(position);
            position += 1;
        }
        for (number, hash) in numbers.iter().zip(hashes) {
            let signed = f64::from_bits(number.to_bits() ^ ((hash << 56) & (1 << 63)));
            self.buckets[(hash & 127) as usize] += signed;
        }
        self.elements = position;
    }

    /// The sketch of the finite elements so far.
    #[expect(
        clippy::cast_possible_truncation,
        reason = "rounding to single precision is the documented form"
    )]
    pub fn sketch(&self) -> Sketch {
        Sketch(self.buckets.map(|sum| sum as f32))
    }

    /// The sum of the squares of the finite elements, exact but for rounding.
    pub fn sum_of_squares(&self) -> f64 {
        self.squares
    }

    /// The Euclidean norm of the finite elements.
    pub fn norm(&self) -> f64 {
        self.squares.sqrt()
    }

    /// Elements so far, finite or not.
    pub fn elements(&self) -> u64 {
        self.elements
    }

    /// Elements that are infinite or not a number.
    pub fn non_finite(&self) -> u64 {
        self.non_finite
    }
}

#[inline]
fn mix(position: u64) -> u64 {
    let mut hash = position.wrapping_add(1).wrapping_mul(0x9E37_79B9_7F4A_7C15);
    hash = (hash ^ (hash >> 32)).wrapping_mul(0xD6E8_FEB8_6659_FD93);
    hash ^ (hash >> 32)
}
