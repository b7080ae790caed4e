//! Reads the tiles of one log at one size, and believes a tile only as far as the tree head vouches for it.
//!
//! The hashes of the not yet full tiles give the root, which the signed head must name; a full tile is vouched for by its
//! one hash in the tile above. So any tile is verified by reading a handful, whatever the size of the log.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use domain::Digest;

use crate::durable::{self, Fault};
use crate::note::{VerifierKey, VerifierKeySyntax};
use crate::tile::{self, BundleSyntax, Kind, MAX_BUNDLE_BYTES, MAX_TILE_BYTES, Name};
use crate::tree::{Edge, TILE_WIDTH, fold};
use crate::tree_head::{self, TreeHead, TreeHeadError};
use crate::wal::Damage;

/// Files that every log has.
pub(crate) const CHECKPOINT: &str = "checkpoint";
pub(crate) const VKEY: &str = "vkey";
pub(crate) const LOCK: &str = "lock";
/// The write-ahead file, which logs of the earlier layout do not have.
pub(crate) const WAL: &str = "wal";
/// What `lock` says in a log that has a write-ahead file; in one of the earlier layout it is empty.
pub(crate) const LAYOUT: &[u8] = b"taintline log 2\n";
/// The next tree head on its way to its name.
pub(crate) const NEXT_CHECKPOINT: &str = ".new-checkpoint";
/// The next write-ahead file on its way to its name.
pub(crate) const NEXT_WAL: &str = ".new-wal";

/// The most bytes that `vkey` may have.
pub(crate) const MAX_VKEY_BYTES: u64 = 4096;

/// Why a log cannot be read.
#[derive(Debug, Clone, thiserror::Error)]
pub enum LogError {
    /// The disk refused.
    #[error(transparent)]
    Disk(#[from] Fault),
    /// A file that the log must have is not there.
    #[error("{}: missing", file.display())]
    Missing {
        /// The file.
        file: PathBuf,
    },
    /// A tile or bundle has not the size or the number of entries that its name says.
    #[error("{}: not as long as its name says", file.display())]
    Length {
        /// The file.
        file: PathBuf,
    },
    /// A bundle of entries cannot be taken apart.
    #[error("{}: {why}", file.display())]
    Bundle {
        /// The file.
        file: PathBuf,
        /// What is wrong with it.
        why: BundleSyntax,
    },
    /// A tile or bundle does not lead to the signed root.
    #[error("{}: does not belong to the signed tree head", file.display())]
    Unvouched {
        /// The file.
        file: PathBuf,
    },
    /// The public key is malformed.
    #[error("{}: {why}", file.display())]
    Key {
        /// The file.
        file: PathBuf,
        /// What is wrong with it.
        why: VerifierKeySyntax,
    },
    /// The public key is that of another log.
    #[error("{}: the key of another log", file.display())]
    Foreign {
        /// The file.
        file: PathBuf,
    },
    /// The tree head is malformed, of another log, or not signed by the key.
    #[error("{}: {why}", file.display())]
    Head {
        /// The file.
        file: PathBuf,
        /// What is wrong with it.
        why: TreeHeadError,
    },
    /// The published tree head is older than the write-ahead file, which continues a longer log.
    #[error("{}: an older tree head ({head}); the write-ahead file continues a longer log", file.display())]
    Older {
        /// The file.
        file: PathBuf,
        /// The head that it holds.
        head: TreeHead,
    },
    /// The write-ahead file is not as it was written.
    #[error("{}: {why}", file.display())]
    Wal {
        /// The file.
        file: PathBuf,
        /// What is wrong with it, and where.
        why: Damage,
    },
    /// Entries were asked for that the log does not have.
    #[error("the log has {size} entries; entry {asked} was asked for")]
    NoSuchEntry {
        /// The last one that was asked for, from 0.
        asked: u64,
        /// How many there are.
        size: u64,
    },
}

impl LogError {
    /// The file that is to blame, where one is.
    pub fn file(&self) -> Option<&Path> {
        match self {
            Self::Disk(_) | Self::NoSuchEntry { .. } => None,
            Self::Missing { file }
            | Self::Length { file }
            | Self::Bundle { file, .. }
            | Self::Unvouched { file }
            | Self::Key { file, .. }
            | Self::Foreign { file }
            | Self::Wal { file, .. }
            | Self::Older { file, .. }
            | Self::Head { file, .. } => Some(file),
        }
    }
}

/// The public key in a log's folder, which must be named `origin`.
pub(crate) fn read_key(folder: &Path, origin: &str) -> Result<VerifierKey, LogError> {
    let file = folder.join(VKEY);
    let Some(bytes) = durable::read_regular(&file, MAX_VKEY_BYTES)? else {
        return Err(LogError::Missing { file });
    };
    let text = std::str::from_utf8(&bytes)
        .ok()
        .and_then(|text| text.strip_suffix('\n'));
    match text
        .ok_or(VerifierKeySyntax::Form)
        .and_then(VerifierKey::parse)
    {
        Ok(key) if key.name() == origin => Ok(key),
        Ok(_) => Err(LogError::Foreign { file }),
        Err(why) => Err(LogError::Key { file, why }),
    }
}

/// The tree head in a log's folder, which `key` must have signed, and its bytes.
pub(crate) fn read_head(folder: &Path, key: &VerifierKey) -> Result<(TreeHead, Vec<u8>), LogError> {
    let file = folder.join(CHECKPOINT);
    let Some(bytes) = durable::read_regular(&file, crate::note::MAX_NOTE_BYTES as u64)? else {
        return Err(LogError::Missing { file });
    };
    match tree_head::open(&bytes, key) {
        Ok((head, _)) => Ok((head, bytes)),
        Err(why) => Err(LogError::Head { file, why }),
    }
}

/// Bytes of a file that hold exactly the entries that its name says, and where each lies.
pub(crate) struct Bundle {
    bytes: Vec<u8>,
}

impl Bundle {
    pub(crate) fn read(folder: &Path, name: Name) -> Result<Self, LogError> {
        let file = folder.join(name.path());
        let Some(bytes) = durable::read_regular(&file, MAX_BUNDLE_BYTES)? else {
            return Err(LogError::Missing { file });
        };
        match tile::parse_bundle(&bytes).map(|entries| entries.len()) {
            Ok(count) if count == name.width => Ok(Self { bytes }),
            Ok(_) => Err(LogError::Length { file }),
            Err(why) => Err(LogError::Bundle { file, why }),
        }
    }

    pub(crate) fn entries(&self) -> Vec<&[u8]> {
        tile::parse_bundle(&self.bytes).unwrap_or_default()
    }

    pub(crate) fn into_bytes(self) -> Vec<u8> {
        self.bytes
    }
}

/// Reads the file of hashes `name`, whatever it says.
pub(crate) fn read_hashes(folder: &Path, name: Name) -> Result<Vec<Digest>, LogError> {
    let file = folder.join(name.path());
    match durable::read_regular(&file, MAX_TILE_BYTES) {
        Ok(None) => Err(LogError::Missing { file }),
        Ok(Some(bytes)) => tile::parse_hashes(&bytes, name.width).ok_or(LogError::Length { file }),
        Err(Fault::Odd { .. }) => Err(LogError::Length { file }),
        Err(fault) => Err(fault.into()),
    }
}

/// The hashes of a log that a tree head vouches for.
pub(crate) struct Vouched<'a> {
    folder: &'a Path,
    head: TreeHead,
    edge: Edge,
    full: BTreeMap<(u8, u64), Vec<Digest>>,
}

impl<'a> Vouched<'a> {
    /// Reads the right edge and compares its root with the head's.
    pub(crate) fn open(folder: &'a Path, head: TreeHead) -> Result<Self, LogError> {
        let mut levels = Vec::new();
        let mut lowest = None;
        for level in 0..8_u8 {
            let count = head.size >> (8 * u32::from(level));
            if count == 0 {
                break;
            }
            let name = Name::at(Kind::Hashes(level), count / TILE_WIDTH as u64, head.size);
            levels.push(match name {
                Some(name) => {
                    lowest = lowest.or(Some(name));
                    read_hashes(folder, name)?
                }
                None => Vec::new(),
            });
        }
        let unvouched = || LogError::Unvouched {
            file: folder.join(lowest.map_or(CHECKPOINT.to_owned(), |name| name.path())),
        };
        let edge = Edge::from_levels(levels)
            .filter(|edge| edge.size() == head.size)
            .ok_or_else(unvouched)?;
        if edge.root() != head.root {
            return Err(unvouched());
        }
        Ok(Self::with(folder, head, edge))
    }

    /// The same with a right edge that was compared with the head's root before.
    pub(crate) fn with(folder: &'a Path, head: TreeHead, edge: Edge) -> Self {
        Self {
            folder,
            head,
            edge,
            full: BTreeMap::new(),
        }
    }

    pub(crate) fn edge(&self) -> &Edge {
        &self.edge
    }

    /// The hashes of tile `index` of `level`, verified. It must exist at this size.
    pub(crate) fn tile(&mut self, level: u8, index: u64) -> Result<&[Digest], LogError> {
        let missing = |folder: &Path| LogError::Unvouched {
            file: folder.join(CHECKPOINT),
        };
        let name = Name::at(Kind::Hashes(level), index, self.head.size)
            .ok_or_else(|| missing(self.folder))?;
        if !name.is_full() {
            return self
                .edge
                .levels()
                .get(usize::from(level))
                .map(Vec::as_slice)
                .ok_or_else(|| missing(self.folder));
        }
        if !self.full.contains_key(&(level, index)) {
            let hashes = read_hashes(self.folder, name)?;
            let (above, at) = (index / TILE_WIDTH as u64, index % TILE_WIDTH as u64);
            let at = usize::try_from(at).unwrap_or_default();
            let vouched = self.tile(level + 1, above)?.get(at).copied();
            if vouched != Some(fold(&hashes)) {
                return Err(LogError::Unvouched {
                    file: self.folder.join(name.path()),
                });
            }
            self.full.insert((level, index), hashes);
        }
        self.full
            .get(&(level, index))
            .map(Vec::as_slice)
            .ok_or_else(|| missing(self.folder))
    }

    /// The root that the log had when it had `size` entries, computed from the tiles that the present head vouches for.
    pub(crate) fn root_at(&mut self, size: u64) -> Result<Digest, LogError> {
        self.edge_at(size).map(|edge| edge.root())
    }

    /// The right edge that the log had when it had `size` entries.
    pub(crate) fn edge_at(&mut self, size: u64) -> Result<Edge, LogError> {
        let mut levels = Vec::new();
        for level in 0..8_u8 {
            let count = size >> (8 * u32::from(level));
            if count == 0 {
                break;
            }
            let width = usize::try_from(count % TILE_WIDTH as u64).unwrap_or_default();
            levels.push(match width {
                0 => Vec::new(),
                _ => self
                    .tile(level, count / TILE_WIDTH as u64)?
                    .iter()
                    .take(width)
                    .copied()
                    .collect(),
            });
        }
        let unvouched = || LogError::Unvouched {
            file: self.folder.join(CHECKPOINT),
        };
        Edge::from_levels(levels)
            .filter(|edge| edge.size() == size)
            .ok_or_else(unvouched)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tree::leaf;

    fn foreign() -> (PathBuf, TreeHead) {
        let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/vectors/tlog-1000");
        // Their file has no line break behind the key; ours must have one.
        let key = VerifierKey::parse(include_str!("../tests/vectors/tlog-1000/vkey")).unwrap();
        let (head, _) = read_head(&folder, &key).unwrap();
        (folder, head)
    }

    #[test]
    fn the_log_that_another_implementation_wrote_leads_to_the_root_that_it_signed() {
        let (folder, head) = foreign();
        let mut vouched = Vouched::open(&folder, head).unwrap();
        let mut edge = Edge::default();
        for index in 0..4 {
            let bundle =
                Bundle::read(&folder, Name::at(Kind::Entries, index, head.size).unwrap()).unwrap();
            let leaves: Vec<_> = bundle.entries().iter().map(|entry| leaf(entry)).collect();
            assert_eq!(vouched.tile(0, index).unwrap(), leaves);
            for leaf in leaves {
                edge.push(leaf);
                if edge.size() % 100 == 56 {
                    assert_eq!(vouched.root_at(edge.size()).unwrap(), edge.root());
                }
            }
        }
        assert_eq!((edge.size(), edge.root()), (head.size, head.root));
        assert_eq!(vouched.edge(), &edge);
    }

    #[test]
    fn a_head_that_the_tiles_do_not_lead_to_is_refused() {
        let (folder, head) = foreign();
        let other = TreeHead {
            root: Digest::of(b"other"),
            ..head
        };
        assert!(matches!(
            Vouched::open(&folder, other),
            Err(LogError::Unvouched { .. })
        ));
        let absurd = TreeHead {
            size: u64::MAX,
            ..head
        };
        assert!(matches!(
            Vouched::open(&folder, absurd),
            Err(LogError::Missing { .. })
        ));
    }
}
