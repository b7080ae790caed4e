//! Is this still the log that it was? What a writer remembers, and how it compares the disk with that.
//!
//! A job that runs with the same user id can rewrite the files, and with the key it can sign the result, so that every later
//! reader is content. The writer is not: it has the last tree head and the digests of its latest own entries in memory,
//! out of the files' reach. What is on disk must begin with exactly that tree.

use std::collections::VecDeque;
use std::fmt;
use std::path::{Path, PathBuf};

use domain::Digest;

use crate::durable;
use crate::note::VerifierKey;
use crate::tile::{Kind, Name};
use crate::tiles::{self, Bundle, CHECKPOINT, LogError, MAX_VKEY_BYTES, VKEY, Vouched};
use crate::tree::{Edge, TILE_WIDTH, leaf};
use crate::tree_head::TreeHead;

/// Own entries that are remembered at most: half a megabyte of digests.
const OWN_ENTRIES: usize = 16_384;

/// Bytes of own entries that a thorough check is willing to read again.
const OWN_BYTES: usize = 64 << 20;

/// What a writer found instead of what it had written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Found {
    /// The file is gone.
    Nothing,
    /// Bytes that are not those that the tree head vouches for.
    OtherBytes,
    /// A tree head that is malformed or not signed by the log's key.
    Unsigned,
    /// A signed tree head with fewer entries, or with other entries before the remembered size.
    Head(TreeHead),
}

impl fmt::Display for Found {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Nothing => formatter.write_str("the file is gone"),
            Self::OtherBytes => formatter.write_str("other bytes"),
            Self::Unsigned => formatter.write_str("no tree head that is signed by the log's key"),
            Self::Head(head) => write!(formatter, "a signed log with other content ({head})"),
        }
    }
}

/// A comparison that failed.
#[derive(Debug)]
pub(crate) enum Broken {
    /// The log is not what it was.
    Rewritten { file: PathBuf, found: Found },
    /// It could not be read.
    Unread(LogError),
}

impl From<LogError> for Broken {
    fn from(error: LogError) -> Self {
        let found = match &error {
            LogError::Disk(durable::Fault::Odd { path, .. }) => {
                return Self::Rewritten {
                    file: path.clone(),
                    found: Found::OtherBytes,
                };
            }
            LogError::Disk(_) | LogError::NoSuchEntry { .. } => None,
            LogError::Missing { file } => Some((file, Found::Nothing)),
            LogError::Head { file, .. } => Some((file, Found::Unsigned)),
            LogError::Length { file }
            | LogError::Bundle { file, .. }
            | LogError::Unvouched { file }
            | LogError::Key { file, .. }
            | LogError::Foreign { file } => Some((file, Found::OtherBytes)),
        };
        match found {
            Some((file, found)) => Self::Rewritten {
                file: file.clone(),
                found,
            },
            None => Self::Unread(error),
        }
    }
}

/// The log as it is on disk, after it was found to be what it was.
pub(crate) struct Intact {
    pub(crate) head: TreeHead,
    pub(crate) edge: Edge,
    /// The bytes of the last bundle, if it is not full.
    pub(crate) bundle: Vec<u8>,
}

/// What a writer remembers of its log.
pub(crate) struct Memory {
    head: TreeHead,
    own: VecDeque<Own>,
    own_bytes: usize,
}

struct Own {
    index: u64,
    leaf: Digest,
    bytes: usize,
}

impl Memory {
    /// Remembers nothing but that the log has no fewer entries than none.
    pub(crate) fn new() -> Self {
        Self {
            head: TreeHead::empty(),
            own: VecDeque::new(),
            own_bytes: 0,
        }
    }

    pub(crate) fn head(&self) -> TreeHead {
        self.head
    }

    /// Remembers the head that was seen or published last.
    pub(crate) fn see(&mut self, head: TreeHead) {
        self.head = head;
    }

    /// Remembers an entry that this writer appended; the oldest are forgotten when there are too many.
    pub(crate) fn add(&mut self, index: u64, leaf: Digest, bytes: usize) {
        self.own.push_back(Own { index, leaf, bytes });
        self.own_bytes = self.own_bytes.saturating_add(bytes);
        while self.own.len() > OWN_ENTRIES || self.own_bytes > OWN_BYTES {
            let Some(oldest) = self.own.pop_front() else {
                break;
            };
            self.own_bytes = self.own_bytes.saturating_sub(oldest.bytes);
        }
    }

    /// Compares the log on disk with what is remembered, reading the right edge only: the key, the signed head, the tiles
    /// that lead from the remembered root to the present one, and the last bundle.
    pub(crate) fn compare(&self, folder: &Path, key: &VerifierKey) -> Result<Intact, Broken> {
        let vkey = folder.join(VKEY);
        match durable::read_regular(&vkey, MAX_VKEY_BYTES).map_err(LogError::Disk)? {
            Some(bytes) if bytes == format!("{}\n", key.encode()).as_bytes() => {}
            Some(_) => {
                return Err(Broken::Rewritten {
                    file: vkey,
                    found: Found::OtherBytes,
                });
            }
            None => {
                return Err(Broken::Rewritten {
                    file: vkey,
                    found: Found::Nothing,
                });
            }
        }
        let head = tiles::read_head(folder, key)?;
        let other = || Broken::Rewritten {
            file: folder.join(CHECKPOINT),
            found: Found::Head(head),
        };
        if head.size < self.head.size {
            return Err(other());
        }
        let mut vouched = Vouched::open(folder, head)?;
        if vouched.root_at(self.head.size)? != self.head.root {
            return Err(other());
        }
        let bundle = self.last_bundle(folder, &mut vouched, head)?;
        Ok(Intact {
            head,
            edge: vouched.edge().clone(),
            bundle,
        })
    }

    /// Reads the last bundle and compares its entries with their hashes. Gives its bytes if it is not full.
    fn last_bundle(
        &self,
        folder: &Path,
        vouched: &mut Vouched<'_>,
        head: TreeHead,
    ) -> Result<Vec<u8>, Broken> {
        let Some(last) = head.size.checked_sub(1) else {
            return Ok(Vec::new());
        };
        let index = last / TILE_WIDTH as u64;
        let Some(name) = Name::at(Kind::Entries, index, head.size) else {
            return Ok(Vec::new());
        };
        let bundle = compare_bundle(folder, vouched, name)?;
        self.compare_own(folder, vouched, name)?;
        Ok(if name.is_full() {
            Vec::new()
        } else {
            bundle.into_bytes()
        })
    }

    /// Compares all remembered own entries with tiles and bundles.
    pub(crate) fn compare_all(&self, folder: &Path, head: TreeHead) -> Result<(), Broken> {
        let mut vouched = Vouched::open(folder, head)?;
        let mut last = None;
        for own in &self.own {
            let index = own.index / TILE_WIDTH as u64;
            if last == Some(index) {
                continue;
            }
            last = Some(index);
            if let Some(name) = Name::at(Kind::Entries, index, head.size) {
                compare_bundle(folder, &mut vouched, name)?;
                self.compare_own(folder, &mut vouched, name)?;
            }
        }
        Ok(())
    }

    /// Compares the remembered entries of one bundle with the hashes over it.
    fn compare_own(
        &self,
        folder: &Path,
        vouched: &mut Vouched<'_>,
        name: Name,
    ) -> Result<(), Broken> {
        let hashes = vouched.tile(0, name.index)?;
        let start = name.index * TILE_WIDTH as u64;
        let first = self.own.partition_point(|own| own.index < start);
        for own in self.own.iter().skip(first) {
            let at = usize::try_from(own.index - start).unwrap_or(usize::MAX);
            if at >= name.width {
                break;
            }
            if hashes.get(at) != Some(&own.leaf) {
                let tile = Name {
                    kind: Kind::Hashes(0),
                    ..name
                };
                return Err(Broken::Rewritten {
                    file: folder.join(tile.path()),
                    found: Found::OtherBytes,
                });
            }
        }
        Ok(())
    }
}

/// Reads a bundle and compares its entries with their hashes.
fn compare_bundle(folder: &Path, vouched: &mut Vouched<'_>, name: Name) -> Result<Bundle, Broken> {
    let bundle = Bundle::read(folder, name)?;
    let hashes = vouched.tile(0, name.index)?;
    if !bundle
        .entries()
        .into_iter()
        .map(leaf)
        .eq(hashes.iter().copied())
    {
        return Err(Broken::Rewritten {
            file: folder.join(name.path()),
            found: Found::OtherBytes,
        });
    }
    Ok(bundle)
}
