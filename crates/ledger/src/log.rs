//! Reads a log while others append to it.
//!
//! Readers take no lock. What a published tree head needs stays in place until a head that needs wider files is published;
//! a reader that finds a file gone therefore reads the head again and takes the wider one. What is not published yet is
//! read from the write-ahead file.

use std::ops::Range;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant, SystemTime};

use crate::note::VerifierKey;
use crate::standing;
use crate::tile::{Kind, Name};
use crate::tiles::{self, Bundle, CHECKPOINT, LogError, WAL};
use crate::tree::TILE_WIDTH;
use crate::tree_head::TreeHead;

/// How often in a row a log must look damaged without having changed before it is taken for damaged.
const STILL: u64 = 4;

/// How long a log that goes on changing may look damaged: somebody who touches a damaged one again and again must not keep
/// its readers for ever.
const PATIENCE: Duration = Duration::from_secs(2);

/// One writer's log, for reading. Holds nothing open.
#[derive(Debug, Clone)]
pub struct Log {
    folder: PathBuf,
    name: String,
    origin: String,
}

impl Log {
    pub(crate) fn new(folder: PathBuf, name: String, origin: String) -> Self {
        Self {
            folder,
            name,
            origin,
        }
    }

    /// The log's name: its folder below `ledger/`.
    pub fn name(&self) -> &str {
        &self.name
    }

    pub(crate) fn folder(&self) -> &Path {
        &self.folder
    }

    pub(crate) fn origin(&self) -> &str {
        &self.origin
    }

    /// The public key of the log, which must be named for this store and log.
    pub fn key(&self) -> Result<VerifierKey, LogError> {
        tiles::read_key(&self.folder, &self.origin)
    }

    /// The tree head behind the last entry, its signature verified with the log's `vkey`. It may be ahead of the published
    /// file `checkpoint`.
    pub fn head(&self) -> Result<TreeHead, LogError> {
        self.signed_head().map(|(head, _)| head)
    }

    /// The same with its bytes: a C2SP checkpoint in a signed note.
    pub fn signed_head(&self) -> Result<(TreeHead, Vec<u8>), LogError> {
        self.settled(|| {
            let key = tiles::read_key(&self.folder, &self.origin)?;
            standing::signed_head(&self.folder, &key).map(|(head, note, _)| (head, note))
        })
    }

    /// The entries of `range`, which must lie within the log. That they hash into the tree is for the audit to check.
    /// All of them are in memory at once: ask for as many as that allows, best in multiples of 256.
    pub fn entries(&self, range: Range<u64>) -> Result<Vec<Vec<u8>>, LogError> {
        self.settled(|| self.entries_now(&range))
    }

    fn entries_now(&self, range: &Range<u64>) -> Result<Vec<Vec<u8>>, LogError> {
        let key = tiles::read_key(&self.folder, &self.origin)?;
        let (published, _) = tiles::read_head(&self.folder, &key)?;
        let mut unpublished = Vec::new();
        if range.end > published.size {
            let (head, _, records) = standing::signed_head(&self.folder, &key)?;
            if range.end > head.size {
                return Err(LogError::NoSuchEntry {
                    asked: range.end.saturating_sub(1),
                    size: head.size,
                });
            }
            unpublished = records;
        }
        let mut entries = Vec::new();
        let mut next = range.start;
        while next < range.end.min(published.size) {
            let index = next / TILE_WIDTH as u64;
            let start = index * TILE_WIDTH as u64;
            let bundle = self.bundle(index, published.size)?;
            let within = |position: u64| {
                usize::try_from(position.saturating_sub(start)).unwrap_or(usize::MAX)
            };
            let end = range.end.min(start.saturating_add(TILE_WIDTH as u64));
            let end = end.min(published.size);
            let wanted = bundle
                .entries()
                .into_iter()
                .take(within(end))
                .skip(within(next));
            entries.extend(wanted.map(<[u8]>::to_vec));
            next = end;
        }
        for record in unpublished {
            for (index, entry) in (record.first..).zip(record.entries()) {
                if index == next && next < range.end {
                    entries.push(entry.to_vec());
                    next += 1;
                }
            }
        }
        if next < range.end {
            // Published by somebody between our two looks.
            let file = self.folder.join(WAL);
            return Err(LogError::Missing { file });
        }
        Ok(entries)
    }

    fn bundle(&self, index: u64, size: u64) -> Result<Bundle, LogError> {
        let name = Name::at(Kind::Entries, index, size).ok_or(LogError::NoSuchEntry {
            asked: index.saturating_mul(TILE_WIDTH as u64),
            size,
        })?;
        Bundle::read(&self.folder, name)
    }

    /// Reads, and reads again as long as a failure may come from somebody who writes meanwhile: while the files at the
    /// front change, for [`PATIENCE`] at most, and a few times more, since a sector that is just being written looks changed.
    pub(crate) fn settled<T>(&self, read: impl Fn() -> Result<T, LogError>) -> Result<T, LogError> {
        let mut front = self.front();
        let mut still = 0;
        let deadline = Instant::now() + PATIENCE;
        loop {
            let error = match read() {
                Err(error) if !matches!(error, LogError::NoSuchEntry { .. }) => error,
                other => return other,
            };
            let now = self.front();
            still = if now == front { still + 1 } else { 0 };
            front = now;
            if still >= STILL || Instant::now() >= deadline {
                return Err(error);
            }
            std::thread::sleep(Duration::from_millis(still.max(1)));
        }
    }

    /// What changes whenever somebody appends or publishes.
    pub(crate) fn front(&self) -> Vec<Option<(u64, u64, SystemTime)>> {
        let facts = |name: &str| {
            let facts = std::fs::symlink_metadata(self.folder.join(name)).ok()?;
            Some((facts.ino(), facts.len(), facts.modified().ok()?))
        };
        vec![facts(CHECKPOINT), facts(WAL)]
    }
}
