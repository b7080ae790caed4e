//! What was found valid, remembered: the state of every entry, signed by the one who looked.
//!
//! A file whose device, inode, size, mode, modification and change time are the same has the bytes that were checked, as
//! far as the kernel tells. Root can forge that. The change time of some file systems is coarse, so that entries that
//! changed shortly before they were read are never remembered ([`SETTLED`]). And any writer can go on changing a page that
//! is mapped and dirty without moving a time, until it is written out: the caller has files written out before they are
//! read, and remembers none on file systems in memory, which write nothing out. The index is signed with the user's own key
//! over the whole, so that who can write the store, but does not have the key, cannot make a changed file known. It is
//! never evidence: it is thrown away at the first doubt and made anew by reading everything.

use domain::Digest;

use crate::keys::{PrivateKey, PublicKey, SignError};
use crate::measure::{FileState, Seen, SeenKind};
use crate::name::Name;

/// First line of the file.
const TITLE: &[u8] = b"taintline verified index 1\n";

/// An entry whose change time is not older than this before the reading began may have changed again unseen.
/// Nanoseconds.
pub const SETTLED: i128 = 2_000_000_000;

/// The most bytes of an index that is read.
pub const MAX_INDEX_BYTES: u64 = 1 << 30;

/// What is remembered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Index {
    /// What else the caller wants to know again: which statements, under whose trust.
    pub about: Vec<u8>,
    /// All entries, by name.
    pub entries: Vec<Remembered>,
}

/// One entry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Remembered {
    /// Its name.
    pub name: Name,
    /// What it is.
    pub kind: Kind,
    /// What the kernel said.
    pub state: FileState,
}

/// What an entry is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A file.
    File,
    /// A folder; its times say nothing here, for what is in it is listed.
    Folder,
    /// A link; its own times say whether it is the same.
    Link,
}

impl Remembered {
    /// Whether what is there is what is remembered.
    pub fn is(&self, seen: &Seen) -> bool {
        let same_state = match self.kind {
            Kind::File | Kind::Link => self.state == seen.state,
            Kind::Folder => self.state.mode == seen.state.mode,
        };
        let same_kind = match (&seen.kind, self.kind) {
            (SeenKind::File, kind) => kind == Kind::File,
            (SeenKind::Folder, kind) => kind == Kind::Folder,
            (SeenKind::Link { .. }, kind) => kind == Kind::Link,
            (SeenKind::Other(_), _) => false,
        };
        same_kind && same_state && self.name == seen.name
    }
}

impl Index {
    /// The bytes of the file.
    pub fn encode(&self, key: &PrivateKey) -> Result<Vec<u8>, SignError> {
        let mut bytes = TITLE.to_vec();
        push(&mut bytes, &self.about);
        bytes.extend((self.entries.len() as u64).to_le_bytes());
        for entry in &self.entries {
            bytes.push(match entry.kind {
                Kind::File => 0,
                Kind::Folder => 1,
                Kind::Link => 2,
            });
            push(&mut bytes, entry.name.as_str().as_bytes());
            let state = &entry.state;
            for number in [
                state.device,
                state.inode,
                state.size,
                state.mode.into(),
                state.links,
            ] {
                bytes.extend(number.to_le_bytes());
            }
            for time in [state.modified, state.changed] {
                bytes.extend(time.to_le_bytes());
            }
        }
        let signature = key.sign(&[Digest::of(&bytes).as_bytes(), TITLE])?;
        bytes.extend(&signature);
        bytes.extend((signature.len() as u64).to_le_bytes());
        Ok(bytes)
    }

    /// Reads what [`Index::encode`] wrote, if `key` signed it.
    pub fn decode(bytes: &[u8], key: &PublicKey) -> Option<Self> {
        let (rest, length) = bytes.split_last_chunk::<8>()?;
        let length = usize::try_from(u64::from_le_bytes(*length)).ok()?;
        let (body, signature) = rest.split_at_checked(rest.len().checked_sub(length)?)?;
        if !key.verify(&[Digest::of(body).as_bytes(), TITLE], signature) {
            return None;
        }
        let mut rest = body.strip_prefix(TITLE)?;
        let about = pull(&mut rest)?.to_vec();
        let count = pull_u64(&mut rest)?;
        let mut entries = Vec::new();
        for _ in 0..count {
            entries.push(pull_entry(&mut rest)?);
        }
        rest.is_empty().then_some(Self { about, entries })
    }
}

fn push(bytes: &mut Vec<u8>, field: &[u8]) {
    bytes.extend((field.len() as u64).to_le_bytes());
    bytes.extend(field);
}

fn pull_u64(rest: &mut &[u8]) -> Option<u64> {
    let (number, after) = rest.split_first_chunk::<8>()?;
    *rest = after;
    Some(u64::from_le_bytes(*number))
}

fn pull_i128(rest: &mut &[u8]) -> Option<i128> {
    let (number, after) = rest.split_first_chunk::<16>()?;
    *rest = after;
    Some(i128::from_le_bytes(*number))
}

fn pull<'a>(rest: &mut &'a [u8]) -> Option<&'a [u8]> {
    let length = usize::try_from(pull_u64(rest)?).ok()?;
    let (field, after) = rest.split_at_checked(length)?;
    *rest = after;
    Some(field)
}

fn pull_entry(rest: &mut &[u8]) -> Option<Remembered> {
    let (kind, after) = rest.split_first()?;
    *rest = after;
    let kind = match kind {
        0 => Kind::File,
        1 => Kind::Folder,
        2 => Kind::Link,
        _ => return None,
    };
    let name = Name::new(std::str::from_utf8(pull(rest)?).ok()?).ok()?;
    let state = FileState {
        device: pull_u64(rest)?,
        inode: pull_u64(rest)?,
        size: pull_u64(rest)?,
        mode: u32::try_from(pull_u64(rest)?).ok()?,
        links: pull_u64(rest)?,
        modified: pull_i128(rest)?,
        changed: pull_i128(rest)?,
    };
    Some(Remembered { name, kind, state })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::keys::Curve;

    fn sample() -> Index {
        let entry = |name, kind| Remembered {
            name: Name::new(name).unwrap(),
            kind,
            state: FileState {
                device: 1,
                inode: 2,
                size: 3,
                mode: 0o644,
                links: 1,
                modified: -5,
                changed: 6,
            },
        };
        Index {
            about: b"about".to_vec(),
            entries: vec![
                entry("a", Kind::Folder),
                entry("a/b", Kind::File),
                entry("c", Kind::Link),
            ],
        }
    }

    #[test]
    fn an_index_comes_back_and_no_changed_bit_or_other_key_does() {
        let key = PrivateKey::generate(Curve::P256).unwrap();
        let bytes = sample().encode(&key).unwrap();
        assert_eq!(Index::decode(&bytes, key.public()), Some(sample()));
        let other = PrivateKey::generate(Curve::P256).unwrap();
        assert_eq!(Index::decode(&bytes, other.public()), None);
        for bit in 0..bytes.len() * 8 {
            let mut changed = bytes.clone();
            changed[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(Index::decode(&changed, key.public()), None, "bit {bit}");
        }
        for cut in 0..bytes.len() {
            assert_eq!(
                Index::decode(&bytes[..cut], key.public()),
                None,
                "cut {cut}"
            );
        }
    }
}
