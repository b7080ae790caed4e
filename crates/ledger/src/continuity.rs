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
use crate::standing::{self, Signatures, Standing};
use crate::tile::{Kind, Name};
use crate::tiles::{Bundle, CHECKPOINT, LogError, MAX_VKEY_BYTES, VKEY, Vouched};
use crate::tree::{TILE_WIDTH, leaf};
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
            LogError::Older { file, head } => Some((file, Found::Head(*head))),
            LogError::Head { file, .. } => Some((file, Found::Unsigned)),
            LogError::Length { file }
            | LogError::Bundle { file, .. }
            | LogError::Unvouched { file }
            | LogError::Key { file, .. }
            | LogError::Wal { file, .. }
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

    /// Reads the log on disk and compares it with what is remembered, at its right edge only: the key, the signed heads,
    /// the tiles that lead from the remembered root to the present one, the last bundle, the write-ahead file.
    pub(crate) fn compare(&self, folder: &Path, key: &VerifierKey) -> Result<Standing, Broken> {
        let vkey = folder.join(VKEY);
        let found = match durable::read_regular(&vkey, MAX_VKEY_BYTES).map_err(LogError::Disk)? {
            Some(bytes) if bytes == vkey_text(key).as_bytes() => None,
            Some(_) => Some(Found::OtherBytes),
            None => Some(Found::Nothing),
        };
        if let Some(found) = found {
            return Err(Broken::Rewritten { file: vkey, found });
        }
        let standing = Standing::read(folder, key, Signatures::Last)?;
        let mut vouched = Vouched::open(folder, standing.published.head)?;
        if !self.is_continued(&standing, &mut vouched)? {
            return Err(Broken::Rewritten {
                file: folder.join(CHECKPOINT),
                found: Found::Head(standing.head),
            });
        }
        let last = standing::last_bundle(folder, &mut vouched, standing.published.head)?;
        if let Some((name, _)) = last {
            self.compare_own(folder, &mut vouched, name)?;
        }
        Ok(standing)
    }

    /// Whether the log has the remembered root at the remembered size.
    fn is_continued(
        &self,
        standing: &Standing,
        vouched: &mut Vouched<'_>,
    ) -> Result<bool, LogError> {
        if self.head.size <= standing.published.head.size {
            return Ok(vouched.root_at(self.head.size)? == self.head.root);
        }
        // What is remembered is the end of a record: heads are only seen there.
        let mut heads = standing.tail.iter().flat_map(|tail| &tail.heads);
        Ok(heads.any(|head| *head == self.head))
    }

    /// Compares all remembered own entries that are published with tiles and bundles. Those that are not are compared by
    /// every reading of the write-ahead file: the roots of its records are computed from them.
    pub(crate) fn compare_all(&self, folder: &Path, head: TreeHead) -> Result<(), Broken> {
        let mut vouched = Vouched::open(folder, head)?;
        let mut last = None;
        for own in &self.own {
            let index = own.index / TILE_WIDTH as u64;
            if last == Some(index) {
                continue;
            }
            last = Some(index);
            let Some(name) = Name::at(Kind::Entries, index, head.size) else {
                break;
            };
            compare_bundle(folder, &mut vouched, name)?;
            self.compare_own(folder, &mut vouched, name)?;
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
fn compare_bundle(folder: &Path, vouched: &mut Vouched<'_>, name: Name) -> Result<(), Broken> {
    let bundle = Bundle::read(folder, name)?;
    let hashes = vouched.tile(0, name.index)?;
    let leaves = bundle.entries().into_iter().map(leaf);
    if leaves.eq(hashes.iter().copied()) {
        return Ok(());
    }
    Err(Broken::Rewritten {
        file: folder.join(name.path()),
        found: Found::OtherBytes,
    })
}

/// What the file `vkey` of a log with this key holds.
pub(crate) fn vkey_text(key: &VerifierKey) -> String {
    format!("{}\n", key.encode())
}
