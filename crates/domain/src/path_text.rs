//! A path as text that can always be turned back into its bytes.
//!
//! Unix paths are bytes. Entries are JSON. A path that is not UTF-8 must neither be lost nor refused, so bytes that are not
//! text, control characters and the backslash itself are written as `\xHH`. This is an encoding, not a sanitiser: what is
//! shown to a person passes through `report` as well.

use std::fmt;

use serde::{Deserialize, Serialize};

/// A path, reversibly encoded as printable UTF-8.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, Default)]
#[serde(transparent)]
pub struct PathText(String);

impl PathText {
    /// Encodes the bytes of a path.
    pub fn from_bytes(bytes: &[u8]) -> Self {
        // Nearly all paths are plain, and an environment has ten thousands.
        let is_plain = |byte: &u8| (b' '..=b'~').contains(byte) && *byte != b'\\';
        if bytes.iter().all(is_plain)
            && let Ok(text) = std::str::from_utf8(bytes)
        {
            return Self(text.to_owned());
        }
        let mut text = String::with_capacity(bytes.len());
        for chunk in bytes.utf8_chunks() {
            for character in chunk.valid().chars() {
                if character == '\\' || character.is_control() {
                    let mut buffer = [0; 4];
                    for byte in character.encode_utf8(&mut buffer).bytes() {
                        push_escape(&mut text, byte);
                    }
                } else {
                    text.push(character);
                }
            }
            for byte in chunk.invalid() {
                push_escape(&mut text, *byte);
            }
        }
        Self(text)
    }

    /// Takes text that is already encoded, as [`PathText::as_str`] gave it.
    pub fn from_text(text: &str) -> Self {
        Self::from_bytes(&Self(text.to_owned()).to_bytes())
    }

    /// The bytes of the path. Text that is no encoding is taken as it stands.
    pub fn to_bytes(&self) -> Vec<u8> {
        if !self.0.contains('\\') {
            return self.0.as_bytes().to_vec();
        }
        let mut bytes = Vec::with_capacity(self.0.len());
        let mut rest = self.0.as_bytes();
        while let Some((first, tail)) = rest.split_first() {
            if let Some(byte) = escape(rest) {
                bytes.push(byte);
                rest = rest.get(4..).unwrap_or_default();
            } else {
                bytes.push(*first);
                rest = tail;
            }
        }
        bytes
    }

    /// The encoded text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The part behind the last `/`.
    pub fn file_name(&self) -> &str {
        self.0.rsplit('/').next().unwrap_or(&self.0)
    }
}

fn push_escape(text: &mut String, byte: u8) {
    use fmt::Write as _;
    let _ = write!(text, "\\x{byte:02x}");
}

fn escape(rest: &[u8]) -> Option<u8> {
    let digits = rest.strip_prefix(b"\\x")?.get(..2)?;
    u8::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()
}

impl From<&std::path::Path> for PathText {
    fn from(path: &std::path::Path) -> Self {
        Self::from_bytes(path.as_os_str().as_encoded_bytes())
    }
}

impl fmt::Display for PathText {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

impl fmt::Debug for PathText {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "PathText({:?})", self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    proptest::proptest! {
        #[test]
        fn every_path_comes_back(bytes: Vec<u8>) {
            let text = PathText::from_bytes(&bytes);
            proptest::prop_assert_eq!(text.to_bytes(), bytes);
            proptest::prop_assert!(!text.as_str().chars().any(char::is_control));
        }
    }

    #[test]
    fn ordinary_paths_stay_readable() {
        assert_eq!(
            PathText::from_bytes("ckpt/é.pt".as_bytes()).as_str(),
            "ckpt/é.pt"
        );
        assert_eq!(
            PathText::from_bytes(b"a\xff\n\\x").as_str(),
            "a\\xff\\x0a\\x5cx"
        );
    }
}
