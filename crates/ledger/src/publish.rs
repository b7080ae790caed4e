//! Brings tiles, bundles and the published head up to date: what lay in the write-ahead file, and whatever is too large for
//! it, becomes files that everybody's tools read.
//!
//! Whoever does it has the turn ([`Turn`]). The steps of a publication while nobody appends, and what is true if the process
//! dies behind each ([`crate::commit`] has those of one beside appends, of which the writing and the naming are here):
//!
//! 0. *The folder is synced.* The head that is there is durable, whoever gave it its name: from now on what only the head
//!    before needs may be removed.
//! 1. *Tiles and bundles are written and synced, under names that no published head refers to, and the next head and the
//!    next, empty write-ahead file under hidden names.* The old head and the write-ahead file still are the whole log;
//!    whoever publishes next overwrites what was written, and removes what is left of it beside what he writes.
//! 2. *The head is renamed into place and the folder synced.* The tiles hold everything; what the write-ahead file holds
//!    is there twice and agrees. Should a power cut take the rename back, step 1 is where we are.
//! 3. *The empty write-ahead file is renamed into place and the folder synced.* Done. Not before step 2 is durable, or a
//!    power cut could keep this rename and take the other back.
//! 4. *Narrower tiles are removed.* Dying in between leaves beginnings of wider tiles, which the audit verifies and
//!    mentions.

use std::collections::BTreeSet;
use std::path::Path;

use crate::disk::Disk;
use crate::durable::{self, Fault, Unsynced};
use crate::lock::Turn;
use crate::standing::Published;
use crate::tile::{self, Kind, Name};
use crate::tiles::{CHECKPOINT, NEXT_CHECKPOINT, NEXT_WAL, WAL};
use crate::tree::{Edge, TILE_WIDTH, leaf};
use crate::tree_head::TreeHead;
use crate::wal;

/// Adds entries to what is published, in files that are not yet referred to.
pub(crate) struct Publication<'a> {
    disk: &'a dyn Disk,
    folder: &'a Path,
    files: Unsynced<'a>,
    written: BTreeSet<Name>,
    before: u64,
    edge: Edge,
    bundle: Vec<u8>,
}

impl<'a> Publication<'a> {
    /// Begins behind what is published. `bundle` is the last bundle if it is not full.
    pub(crate) fn begin(
        disk: &'a dyn Disk,
        folder: &'a Path,
        published: &Published,
        bundle: Vec<u8>,
    ) -> Result<Self, Fault> {
        // Whoever gave the head its name may have died before it was durable, and what is removed from now on is what
        // the head before it needs.
        disk.sync_directory(folder)?;
        Ok(Self {
            disk,
            folder,
            files: Unsynced::new(disk),
            written: BTreeSet::new(),
            before: published.edge.size(),
            edge: published.edge.clone(),
            bundle,
        })
    }

    /// Adds an entry; writes the tiles that it fills, entries before hashes.
    pub(crate) fn add(&mut self, entry: &[u8]) -> Result<(), Fault> {
        tile::push_entry(&mut self.bundle, entry);
        for (level, index, hashes) in self.edge.push(leaf(entry)) {
            if level == 0 {
                self.write_bundle(index, TILE_WIDTH)?;
                self.bundle.clear();
            }
            self.write_hashes(level, index, &hashes)?;
        }
        Ok(())
    }

    /// The head behind all that was added.
    pub(crate) fn head(&self) -> TreeHead {
        TreeHead {
            size: self.edge.size(),
            root: self.edge.root(),
        }
    }

    /// Writes the tiles that are not full and the next head under its hidden name, for a longer write-ahead file to be
    /// continued; makes all durable.
    pub(crate) fn write(mut self, note: Vec<u8>) -> Result<Written<'a>, Fault> {
        self.write_partial()?;
        let next_head = self.folder.join(NEXT_CHECKPOINT);
        self.files.write_nameless(&next_head, &note)?;
        self.files.sync()?;
        Ok(Written {
            disk: self.disk,
            folder: self.folder,
            names: self.written,
            published: Published {
                head: TreeHead {
                    size: self.edge.size(),
                    root: self.edge.root(),
                },
                note,
                edge: self.edge,
            },
        })
    }

    /// All steps, while nobody appends; the write-ahead file is begun anew with `capacity` bytes.
    pub(crate) fn finish(mut self, note: Vec<u8>, capacity: u64) -> Result<(), Fault> {
        let (disk, folder) = (self.disk, self.folder);
        let next_wal = folder.join(NEXT_WAL);
        let fresh = wal::fresh(self.head(), capacity);
        self.files.write_nameless(&next_wal, &fresh)?;
        let written = self.write(note)?;
        // Step 1 is done.
        written.name_head()?;
        disk.sync_directory(folder)?;
        // Step 2 is done. The turn goes with the file, so that it ends behind step 4.
        let _turn = Turn::of_next(folder)?;
        durable::rename(disk, &next_wal, &folder.join(WAL))?;
        disk.sync_directory(folder)?;
        // Step 3 is done.
        written.remove_narrower();
        Ok(())
    }

    fn write_partial(&mut self) -> Result<(), Fault> {
        // How many hashes a level has had. Their values do not tell: equal entries have equal hashes.
        let count = |size: u64, level: u8| size.checked_shr(8 * u32::from(level)).unwrap_or(0);
        let size = self.edge.size();
        let levels: Vec<_> = (0_u8..).zip(self.edge.levels().to_vec()).collect();
        for (level, hashes) in levels {
            if hashes.is_empty() || count(size, level) == count(self.before, level) {
                continue;
            }
            let index = count(size, level) / TILE_WIDTH as u64;
            if level == 0 {
                self.write_bundle(index, hashes.len())?;
            }
            self.write_hashes(level, index, &hashes)?;
        }
        Ok(())
    }

    fn write_bundle(&mut self, index: u64, width: usize) -> Result<(), Fault> {
        let kind = Kind::Entries;
        let name = Name { kind, index, width };
        self.remove_strays(name)?;
        self.files.write(self.folder, &name.path(), &self.bundle)
    }

    fn write_hashes(
        &mut self,
        level: u8,
        index: u64,
        hashes: &[domain::Digest],
    ) -> Result<(), Fault> {
        let (kind, width) = (Kind::Hashes(level), hashes.len());
        let name = Name { kind, index, width };
        self.remove_strays(name)?;
        let bytes = tile::encode_hashes(hashes);
        self.files.write(self.folder, &name.path(), &bytes)
    }

    /// Removes what an interrupted publication left beside the file that is about to be written. It may be torn, and
    /// beside a published wider file it would have to be a beginning of it.
    fn remove_strays(&mut self, name: Name) -> Result<(), Fault> {
        self.written.insert(name);
        let directory = self.folder.join(name.partial_directory());
        let Ok(items) = std::fs::read_dir(&directory) else {
            return Ok(());
        };
        let published = Name::at(name.kind, name.index, self.before);
        let kept = published.map(|name| name.width.to_string());
        self.files.add_directory(&directory);
        for item in items.flatten() {
            if item.file_name().to_str() != kept.as_deref() {
                self.disk.remove(&item.path())?;
            }
        }
        Ok(())
    }
}

/// What no published head refers to yet, durable.
pub(crate) struct Written<'a> {
    disk: &'a dyn Disk,
    folder: &'a Path,
    names: BTreeSet<Name>,
    /// What will be published by the head that waits for its name.
    pub(crate) published: Published,
}

impl Written<'_> {
    /// Gives the head its name; the name is still to be synced.
    pub(crate) fn name_head(&self) -> Result<(), Fault> {
        let next_head = self.folder.join(NEXT_CHECKPOINT);
        durable::rename(self.disk, &next_head, &self.folder.join(CHECKPOINT))
    }

    /// Removes the partial files beside those that were just published. They hold beginnings of the same content, or were
    /// left by somebody who died; that one cannot be removed costs nothing but its bytes.
    pub(crate) fn remove_narrower(self) {
        for name in &self.names {
            let directory = self.folder.join(name.partial_directory());
            let Ok(items) = std::fs::read_dir(&directory) else {
                continue;
            };
            for item in items.flatten() {
                if item.file_name().to_str() != Some(name.width.to_string().as_str()) {
                    let _ = self.disk.remove(&item.path());
                }
            }
            if name.is_full() {
                let _ = self.disk.remove_directory(&directory);
            }
        }
    }
}
