//! The JSON of a header, taken as it comes: every name as often as it stands there, every field whatever its kind.
//!
//! A library that maps JSON to structures refuses what is unexpected or lets the last of two win, and so hides it. Here
//! each oddity is kept and the rest is read on.

use std::fmt;

use serde::de::{DeserializeSeed, IgnoredAny, MapAccess, SeqAccess, Visitor};

use super::{Entry, Header, MAX_TENSORS, Oddity};

/// The most dimensions of a shape that are read.
const MAX_DIMENSIONS: usize = 256;

/// Reads the JSON at the start of `bytes` into `header`; the number of bytes that it has.
pub(super) fn read(bytes: &[u8], header: &mut Header) -> Result<usize, serde_json::Error> {
    let mut stream = serde_json::Deserializer::from_slice(bytes);
    Object(header).deserialize(&mut stream)?;
    Ok(stream.into_iter::<IgnoredAny>().byte_offset())
}

/// The header's object.
struct Object<'a>(&'a mut Header);

impl<'de> DeserializeSeed<'de> for Object<'_> {
    type Value = ();

    fn deserialize<D: serde::Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for Object<'_> {
    type Value = ();

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        let mut metadata = 0;
        while let Some(name) = map.next_key::<String>()? {
            if name == "__metadata__" {
                metadata += 1;
                if metadata == 2 {
                    self.0.note(Oddity::DuplicateName(name));
                }
                self.0
                    .add_metadata(map.next_value_seed(Loosely { depth: 0 })?);
            } else if self.0.tensors.len() < MAX_TENSORS {
                self.0.add(name, map.next_value_seed(Loosely { depth: 0 })?);
            } else {
                self.0.note(Oddity::TooMany);
                map.next_value::<IgnoredAny>()?;
            }
        }
        Ok(())
    }
}

impl Header {
    fn add_metadata(&mut self, value: Loose) {
        let Loose::Object(pairs) = value else {
            return self.note(Oddity::Metadata("__metadata__".to_owned()));
        };
        for (key, value) in pairs {
            if self
                .metadata
                .iter()
                .rev()
                .take(64)
                .any(|(known, _)| *known == key)
            {
                self.note(Oddity::DuplicateName(key.clone()));
            }
            match value {
                Loose::Text(text) if self.metadata.len() < MAX_TENSORS => {
                    self.metadata.push((key, text));
                }
                _ => self.note(Oddity::Metadata(key)),
            }
        }
    }

    fn add(&mut self, name: String, value: Loose) {
        let (mut dtype, mut shape, mut range) = (None, None, None);
        let Loose::Object(fields) = value else {
            return self.note(Oddity::NoTensor(name));
        };
        let mut odd = false;
        for (key, value) in fields {
            odd |= match (key.as_str(), value) {
                ("dtype", Loose::Text(text)) => dtype.replace(text).is_some(),
                ("shape", Loose::Numbers(sizes)) => shape.replace(sizes).is_some(),
                ("data_offsets", Loose::Numbers(ends)) => match ends.as_slice() {
                    [start, end] => range.replace((*start, *end)).is_some(),
                    _ => true,
                },
                _ => true,
            };
        }
        if odd {
            self.note(Oddity::Fields(name.clone()));
        }
        match (dtype, shape, range) {
            (Some(dtype), Some(shape), Some(range)) => self.tensors.push(Entry {
                name,
                dtype,
                shape,
                range,
            }),
            _ => self.note(Oddity::NoTensor(name)),
        }
    }
}

/// Any value, as far as a header has use for it.
enum Loose {
    Text(String),
    Number(u64),
    Numbers(Vec<u64>),
    Object(Vec<(String, Loose)>),
    Other,
}

/// Reads a [`Loose`]; what lies deeper than a header goes is passed and not kept.
#[derive(Clone, Copy)]
struct Loosely {
    depth: u8,
}

impl<'de> DeserializeSeed<'de> for Loosely {
    type Value = Loose;

    fn deserialize<D: serde::Deserializer<'de>>(self, deserializer: D) -> Result<Loose, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Loosely {
    type Value = Loose;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("a value")
    }

    fn visit_bool<E>(self, _: bool) -> Result<Loose, E> {
        Ok(Loose::Other)
    }

    fn visit_i64<E>(self, _: i64) -> Result<Loose, E> {
        Ok(Loose::Other)
    }

    fn visit_f64<E>(self, _: f64) -> Result<Loose, E> {
        Ok(Loose::Other)
    }

    fn visit_unit<E>(self) -> Result<Loose, E> {
        Ok(Loose::Other)
    }

    fn visit_u64<E>(self, value: u64) -> Result<Loose, E> {
        Ok(Loose::Number(value))
    }

    fn visit_str<E>(self, text: &str) -> Result<Loose, E> {
        Ok(Loose::Text(text.to_owned()))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Loose, A::Error> {
        if self.depth > 1 {
            while items.next_element::<IgnoredAny>()?.is_some() {}
            return Ok(Loose::Other);
        }
        let deeper = Self {
            depth: self.depth + 1,
        };
        let mut numbers = Vec::new();
        let mut plain = true;
        while let Some(item) = items.next_element_seed(deeper)? {
            match item {
                Loose::Number(number) if numbers.len() < MAX_DIMENSIONS => numbers.push(number),
                _ => plain = false,
            }
        }
        Ok(if plain {
            Loose::Numbers(numbers)
        } else {
            Loose::Other
        })
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Loose, A::Error> {
        let mut pairs = Vec::new();
        let deeper = Self {
            depth: self.depth + 1,
        };
        while self.depth == 0 && pairs.len() < MAX_TENSORS {
            let Some(key) = map.next_key()? else {
                return Ok(Loose::Object(pairs));
            };
            pairs.push((key, map.next_value_seed(deeper)?));
        }
        while map.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
        Ok(Loose::Other)
    }
}
