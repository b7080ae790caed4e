//! What one element of a tensor is: its size, and its value as a number.
//!
//! Values are read little endian, as every checkpoint on today's machines stores them; a big-endian checkpoint is a gap
//! that the caller states. The conversions avoid subnormal operands, because a training process may run with
//! subnormals flushed to zero and its claims must not depend on that.

/// The element types that tensors are made of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ElementKind {
    /// IEEE 754 binary64.
    F64,
    /// IEEE 754 binary32.
    F32,
    /// IEEE 754 binary16.
    F16,
    /// The upper half of a binary32.
    Bf16,
    /// Signed, 64 bits.
    I64,
    /// Signed, 32 bits.
    I32,
    /// Signed, 16 bits.
    I16,
    /// Signed, 8 bits.
    I8,
    /// Unsigned, 64 bits.
    U64,
    /// Unsigned, 32 bits.
    U32,
    /// Unsigned, 16 bits.
    U16,
    /// Unsigned, 8 bits.
    U8,
    /// One byte, zero or not.
    Bool,
    /// Elements whose bytes are compared but whose values are not: 8-bit floats, quantised and complex types.
    Other {
        /// Bytes of one element.
        size: u8,
    },
}

/// Torch's name, the safetensors name, and the kind.
const NAMES: [(&str, &str, ElementKind); 24] = [
    ("float64", "F64", ElementKind::F64),
    ("float32", "F32", ElementKind::F32),
    ("float16", "F16", ElementKind::F16),
    ("bfloat16", "BF16", ElementKind::Bf16),
    ("int64", "I64", ElementKind::I64),
    ("int32", "I32", ElementKind::I32),
    ("int16", "I16", ElementKind::I16),
    ("int8", "I8", ElementKind::I8),
    ("uint64", "U64", ElementKind::U64),
    ("uint32", "U32", ElementKind::U32),
    ("uint16", "U16", ElementKind::U16),
    ("uint8", "U8", ElementKind::U8),
    ("bool", "BOOL", ElementKind::Bool),
    ("float8_e4m3fn", "F8_E4M3", ElementKind::Other { size: 1 }),
    ("float8_e5m2", "F8_E5M2", ElementKind::Other { size: 1 }),
    (
        "float8_e4m3fnuz",
        "F8_E4M3FNUZ",
        ElementKind::Other { size: 1 },
    ),
    (
        "float8_e5m2fnuz",
        "F8_E5M2FNUZ",
        ElementKind::Other { size: 1 },
    ),
    ("float8_e8m0fnu", "F8_E8M0", ElementKind::Other { size: 1 }),
    ("complex32", "C32", ElementKind::Other { size: 4 }),
    ("complex64", "C64", ElementKind::Other { size: 8 }),
    ("complex128", "C128", ElementKind::Other { size: 16 }),
    ("quint8", "QUINT8", ElementKind::Other { size: 1 }),
    ("qint8", "QINT8", ElementKind::Other { size: 1 }),
    ("qint32", "QINT32", ElementKind::Other { size: 4 }),
];

impl ElementKind {
    /// The kind that torch calls `name`, with or without `torch.` in front: `torch.float32`, `bfloat16`.
    pub fn from_torch_name(name: &str) -> Option<Self> {
        let name = name.strip_prefix("torch.").unwrap_or(name);
        NAMES
            .iter()
            .find(|(torch, _, _)| *torch == name)
            .map(|(_, _, kind)| *kind)
    }

    /// The kind that a safetensors header calls `name`: `F32`, `BF16`.
    pub fn from_safetensors_name(name: &str) -> Option<Self> {
        NAMES
            .iter()
            .find(|(_, safe, _)| *safe == name)
            .map(|(_, _, kind)| *kind)
    }

    /// Bytes of one element.
    pub const fn size(self) -> usize {
        match self {
            Self::F64 | Self::I64 | Self::U64 => 8,
            Self::F32 | Self::I32 | Self::U32 => 4,
            Self::F16 | Self::Bf16 | Self::I16 | Self::U16 => 2,
            Self::I8 | Self::U8 | Self::Bool => 1,
            Self::Other { size } => size as usize,
        }
    }
}

/// The value of an IEEE binary16, exactly.
#[inline]
pub(crate) fn half(bits: u16) -> f32 {
    const SMALLEST_NORMAL: u32 = 113 << 23;
    let sign = u32::from(bits & 0x8000) << 16;
    let rest = u32::from(bits & 0x7fff) << 13;
    let normal = rest.wrapping_add(112 << 23);
    // 2^-14 + m·2^-24 − 2^-14: exact, and no operand is subnormal.
    let tiny = (f32::from_bits(rest.wrapping_add(SMALLEST_NORMAL))
        - f32::from_bits(SMALLEST_NORMAL))
    .to_bits();
    let magnitude = match bits & 0x7c00 {
        0 => tiny,
        0x7c00 => rest | 0x7f80_0000,
        _ => normal,
    };
    f32::from_bits(sign | magnitude)
}

/// The value of a bfloat16, exactly.
#[inline]
pub(crate) fn brain(bits: u16) -> f32 {
    f32::from_bits(u32::from(bits) << 16)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn halves_have_the_values_of_the_standard() {
        let known = [
            (0x0000, 0.0),
            (0x8001, -(2f32.powi(-24))),
            (0x03ff, 1023.0 * 2f32.powi(-24)),
            (0x0400, 2f32.powi(-14)),
            (0x3c00, 1.0),
            (0x3555, 0.333_251_95),
            (0xc000, -2.0),
            (0x7bff, 65504.0),
            (0xfc00, f32::NEG_INFINITY),
        ];
        for (bits, value) in known {
            assert_eq!(half(bits).to_bits(), f32::to_bits(value), "{bits:#06x}");
        }
        assert!(half(0x7e00).is_nan());
    }

    #[test]
    fn names_of_torch_and_safetensors_give_one_kind() {
        assert_eq!(
            ElementKind::from_torch_name("torch.bfloat16"),
            Some(ElementKind::Bf16)
        );
        assert_eq!(
            ElementKind::from_safetensors_name("BF16"),
            Some(ElementKind::Bf16)
        );
        assert_eq!(ElementKind::from_torch_name("torch.float33"), None);
        assert_eq!(
            ElementKind::from_torch_name("torch.complex128").map(ElementKind::size),
            Some(16)
        );
    }
}
