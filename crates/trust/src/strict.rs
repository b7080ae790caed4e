//! The gate in front of everything that was signed as JSON.
//!
//! Two readers of one document must see the same: with `{"a":1,"a":2}` one takes the first and another the last, and a
//! signature covers both. So a document with a repeated key is refused wherever the key stands, as are deep nesting and
//! objects with more keys than any format here has. The gate keeps nothing but the keys of the objects that are open, so
//! its memory does not grow with the document. What the document says is read afterwards, by types.

use std::fmt;

use serde::de::{DeserializeOwned, DeserializeSeed, Deserializer, MapAccess, SeqAccess, Visitor};

/// How deep objects and lists may stand in each other.
pub const MAX_DEPTH: usize = 24;

/// How many keys one object may have.
pub const MAX_KEYS: usize = 64;

/// The most bytes that a key may have.
const MAX_KEY_BYTES: usize = 256;

/// A document that is not read.
#[derive(Debug, thiserror::Error)]
pub enum JsonError {
    /// Larger than the limit.
    #[error("it has {bytes} bytes, more than the {limit} that are read")]
    TooLarge {
        /// Its bytes.
        bytes: u64,
        /// The limit.
        limit: u64,
    },
    /// Not JSON, with a repeated key, too deep, or not of the form that is expected.
    #[error("it is not read as JSON of its kind: {0}")]
    Syntax(#[from] serde_json::Error),
}

/// Reads `bytes` as `T` if the document is unambiguous and has at most `limit` bytes.
pub fn from_slice<T: DeserializeOwned>(bytes: &[u8], limit: u64) -> Result<T, JsonError> {
    check(bytes, limit)?;
    Ok(serde_json::from_slice(bytes)?)
}

/// Whether the document is unambiguous and within the limits. Pure and total.
pub fn check(bytes: &[u8], limit: u64) -> Result<(), JsonError> {
    let length = bytes.len() as u64;
    if length > limit {
        return Err(JsonError::TooLarge {
            bytes: length,
            limit,
        });
    }
    let mut reader = serde_json::Deserializer::from_slice(bytes);
    Gate { depth: 0 }.deserialize(&mut reader)?;
    reader.end()?;
    Ok(())
}

#[derive(Clone, Copy)]
struct Gate {
    depth: usize,
}

impl Gate {
    fn deeper<E: serde::de::Error>(self) -> Result<Self, E> {
        if self.depth == MAX_DEPTH {
            return Err(E::custom("values are nested too deeply"));
        }
        Ok(Self {
            depth: self.depth + 1,
        })
    }
}

impl<'de> DeserializeSeed<'de> for Gate {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Gate {
    type Value = ();

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("JSON")
    }

    fn visit_bool<E>(self, _: bool) -> Result<(), E> {
        Ok(())
    }

    fn visit_i64<E>(self, _: i64) -> Result<(), E> {
        Ok(())
    }

    fn visit_u64<E>(self, _: u64) -> Result<(), E> {
        Ok(())
    }

    fn visit_f64<E>(self, _: f64) -> Result<(), E> {
        Ok(())
    }

    fn visit_str<E>(self, _: &str) -> Result<(), E> {
        Ok(())
    }

    fn visit_unit<E>(self) -> Result<(), E> {
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<(), A::Error> {
        let inner = self.deeper()?;
        while list.next_element_seed(inner)?.is_some() {}
        Ok(())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut object: A) -> Result<(), A::Error> {
        use serde::de::Error as _;
        let inner = self.deeper()?;
        let mut seen: Vec<String> = Vec::new();
        while let Some(key) = object.next_key::<String>()? {
            if key.len() > MAX_KEY_BYTES || seen.len() == MAX_KEYS {
                return Err(A::Error::custom("an object has too many or too long keys"));
            }
            if seen.contains(&key) {
                return Err(A::Error::custom("an object has the same key twice"));
            }
            seen.push(key);
            object.next_value_seed(inner)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_repeated_key_is_refused_at_any_depth_and_however_it_is_spelt() {
        for bad in [
            r#"{"a":1,"a":1}"#,
            r#"[{"x":{"a":1,"b":2,"a":3}}]"#,
            r#"{"a":1,"\u0061":2}"#,
        ] {
            let error = check(bad.as_bytes(), 1000).unwrap_err().to_string();
            assert!(error.contains("same key twice"), "{error}");
        }
        check(br#"{"a":{"a":[{"a":null},{"a":1.5}]},"b":true}"#, 1000).unwrap();
    }

    #[test]
    fn a_million_levels_and_a_million_keys_end_in_an_error() {
        for open in ["[", "{\"a\":"] {
            let deep = open.repeat(1_000_000);
            assert!(check(deep.as_bytes(), u64::MAX).is_err());
        }
        let keys: Vec<String> = (0..1_000_000).map(|key| format!("\"{key}\":0")).collect();
        let wide = format!("{{{}}}", keys.join(","));
        assert!(check(wide.as_bytes(), u64::MAX).is_err());
    }

    #[test]
    fn what_is_no_json_or_too_large_or_goes_on_is_refused() {
        for bad in ["", "{", "NaN", "[1] 2", "{\"a\":1}x", "\"\\ud800\""] {
            assert!(check(bad.as_bytes(), 1000).is_err(), "{bad}");
        }
        assert!(matches!(
            check(b"[1,2]", 4),
            Err(JsonError::TooLarge { bytes: 5, limit: 4 })
        ));
    }
}
