//! Reads a log while others append to it.
//!
//! Readers take no lock. What a published tree head needs stays in place until a head that needs wider files is published;
//! a reader that finds a file gone therefore reads the head again and takes the wider one.

use std::ops::Range;
use std::path::{Path, PathBuf};

use crate::tile::{Kind, Name};
use crate::tiles::{self, Bundle, LogError};
use crate::tree::TILE_WIDTH;
use crate::tree_head::TreeHead;

/// How often a reader may be overtaken by writers before it takes a missing file for missing.
const OVERTAKEN: usize = 100;

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

    /// The tree head as published now, its signature verified with the log's `vkey`.
    pub fn head(&self) -> Result<TreeHead, LogError> {
        tiles::read_head(&self.folder, &tiles::read_key(&self.folder, &self.origin)?)
    }

    /// The entries of `range`, which must lie within the log. That they hash into the tree is for the audit to check.
    /// All of them are in memory at once: ask for as many as that allows, best in multiples of 256.
    pub fn entries(&self, range: Range<u64>) -> Result<Vec<Vec<u8>>, LogError> {
        let mut size = self.head()?.size;
        if range.end > size {
            return Err(LogError::NoSuchEntry {
                asked: range.end,
                size,
            });
        }
        let mut entries = Vec::new();
        let mut next = range.start;
        while next < range.end {
            let index = next / TILE_WIDTH as u64;
            let bundle = self.bundle(index, &mut size)?;
            let start = index * TILE_WIDTH as u64;
            let within = |position: u64| {
                usize::try_from(position.saturating_sub(start)).unwrap_or(usize::MAX)
            };
            let end = range.end.min(start.saturating_add(TILE_WIDTH as u64));
            let wanted = bundle
                .entries()
                .into_iter()
                .take(within(end))
                .skip(within(next));
            entries.extend(wanted.map(<[u8]>::to_vec));
            next = end;
        }
        Ok(entries)
    }

    /// The widest published bundle `index`. `size` is brought up to date when writers overtook us.
    fn bundle(&self, index: u64, size: &mut u64) -> Result<Bundle, LogError> {
        for _ in 0..OVERTAKEN {
            let name = Name::at(Kind::Entries, index, *size).ok_or(LogError::NoSuchEntry {
                asked: index.saturating_mul(TILE_WIDTH as u64),
                size: *size,
            })?;
            match Bundle::read(&self.folder, name) {
                Err(LogError::Missing { file }) => {
                    let now = self.head()?.size;
                    if now <= *size {
                        return Err(LogError::Missing { file });
                    }
                    *size = now;
                }
                other => return other,
            }
        }
        let name = Name::at(Kind::Entries, index, *size)
            .map(|name| name.path())
            .unwrap_or_default();
        Err(LogError::Missing {
            file: self.folder.join(name),
        })
    }
}
