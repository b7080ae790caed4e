//! A fingerprint tells *changed* from *unchanged* fast; it never names bytes.
//!
//! It is made of xxh3 and is not collision-resistant against somebody who chooses the bytes. It serves to compare the
//! parameters of one step with those of the next inside a training process, where SHA-256 would cost too much of a step.
//! Nothing is joined on it.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// 128 bits that two equal inputs share and two different ones almost surely do not.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Fingerprint(u128);

impl Fingerprint {
    /// Takes the 128 bits that a fingerprint function gave.
    pub const fn from_bits(bits: u128) -> Self {
        Self(bits)
    }

    /// The 128 bits.
    pub const fn bits(self) -> u128 {
        self.0
    }
}

impl fmt::Display for Fingerprint {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{:032x}", self.0)
    }
}

impl fmt::Debug for Fingerprint {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "Fingerprint({self})")
    }
}

/// A text that is not 32 lower-case hexadecimal digits.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("a fingerprint is 32 lower-case hexadecimal digits")]
pub struct FingerprintSyntax;

impl FromStr for Fingerprint {
    type Err = FingerprintSyntax;

    fn from_str(text: &str) -> Result<Self, FingerprintSyntax> {
        let lower = |byte: u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte);
        if text.len() != 32 || !text.bytes().all(lower) {
            return Err(FingerprintSyntax);
        }
        u128::from_str_radix(text, 16)
            .map(Self)
            .map_err(|_| FingerprintSyntax)
    }
}

impl Serialize for Fingerprint {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Fingerprint {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<str>::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_and_bits_go_both_ways() {
        let fingerprint = Fingerprint::from_bits(0x1234);
        assert_eq!(fingerprint.to_string().parse(), Ok(fingerprint));
        assert!("+".repeat(32).parse::<Fingerprint>().is_err());
    }
}
