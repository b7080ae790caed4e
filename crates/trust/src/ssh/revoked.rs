//! Keys that were taken back: a list of public keys, or OpenSSH's own binary list (KRL), as `ssh-keygen -Y verify -r` takes.
//!
//! A list that cannot be read is an error, never an empty list.

use std::collections::BTreeSet;

use ring::digest::{SHA1_FOR_LEGACY_USE_ONLY, SHA256, digest};

use super::key::{KeySyntax, PublicKey};
use super::wire::Reader;

/// The most bytes that a list may have.
pub const MAX_REVOKED_BYTES: usize = 16 << 20;

const MAGIC: &[u8; 8] = b"SSHKRL\n\0";
const VERSION: u32 = 1;

/// Keys that no longer count.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Revoked {
    keys: BTreeSet<Vec<u8>>,
    sha1: BTreeSet<Vec<u8>>,
    sha256: BTreeSet<Vec<u8>>,
}

/// Why some bytes are not a list of revoked keys.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RevokedSyntax {
    /// Longer than [`MAX_REVOKED_BYTES`], or neither text nor a KRL.
    #[error("a list of revoked keys is a KRL or text of at most {MAX_REVOKED_BYTES} bytes")]
    NotAList,
    /// A line that is no key.
    #[error("line {number} of the revoked keys: {why}")]
    Line {
        /// Which line, from 1.
        number: usize,
        /// What is wrong with it.
        why: KeySyntax,
    },
    /// A KRL that breaks off, or has a part that is not known.
    #[error("the list of revoked keys (KRL) is malformed or has a part that is not known")]
    Malformed,
}

impl Revoked {
    /// Reads either form.
    pub fn parse(bytes: &[u8]) -> Result<Self, RevokedSyntax> {
        if bytes.len() > MAX_REVOKED_BYTES {
            return Err(RevokedSyntax::NotAList);
        }
        if bytes.starts_with(MAGIC) {
            return Self::binary(bytes).ok_or(RevokedSyntax::Malformed);
        }
        let text = std::str::from_utf8(bytes).map_err(|_| RevokedSyntax::NotAList)?;
        let mut list = Self::default();
        for (index, line) in text.lines().enumerate() {
            let (number, line) = (index + 1, line.trim_ascii());
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            let key: Result<PublicKey, _> = line.parse();
            let key = key.map_err(|why| RevokedSyntax::Line { number, why })?;
            list.keys.insert(key.blob().to_vec());
        }
        Ok(list)
    }

    /// Whether the key was taken back.
    pub fn contains(&self, key: &PublicKey) -> bool {
        let has = |list: &BTreeSet<Vec<u8>>, algorithm| {
            !list.is_empty() && list.contains(digest(algorithm, key.blob()).as_ref())
        };
        self.keys.contains(key.blob())
            || has(&self.sha256, &SHA256)
            || has(&self.sha1, &SHA1_FOR_LEGACY_USE_ONLY)
    }

    /// `PROTOCOL.krl`. Sections on certificates are passed over, because no certificate is accepted anywhere; a section
    /// that is not known could take anything back, so it is an error.
    fn binary(bytes: &[u8]) -> Option<Self> {
        let mut reader = Reader::new(bytes);
        reader.take(MAGIC.len())?;
        (reader.u32()? == VERSION).then_some(())?;
        reader.take(3 * 8)?;
        reader.string()?;
        reader.string()?;
        let mut list = Self::default();
        while !reader.is_empty() {
            let (kind, data) = (reader.byte()?, reader.string()?);
            let into = match kind {
                // Certificates; the signature of the list itself; an extension that is not critical.
                1 | 4 => continue,
                2 => &mut list.keys,
                3 => &mut list.sha1,
                5 => &mut list.sha256,
                _ => return None,
            };
            let mut section = Reader::new(data);
            while !section.is_empty() {
                into.insert(section.string()?.to_vec());
            }
        }
        Some(list)
    }
}
