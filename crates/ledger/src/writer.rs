//! Appends to a log: durable when it returns, one batch at a time, whoever else appends.
//!
//! There is no recovery code. A batch is built on what the published head vouches for; files beyond it, left by somebody
//! who died, are overwritten when their place is reached, and nothing reads them before. The lock is held for one batch, not
//! for the life of the writer, so that all processes of a user share one log.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

use domain::Digest;

use crate::continuity::{Broken, Found, Intact, Memory};
use crate::durable::{self, Fault, Unsynced};
use crate::key::KeyError;
use crate::opening::{self, Held, LockError, Opened, Opening};
use crate::store::{Store, folder_name};
use crate::tile::{self, Kind, MAX_ENTRY_BYTES, Name};
use crate::tiles::{CHECKPOINT, LogError, NEXT_CHECKPOINT};
use crate::tree::{Edge, TILE_WIDTH, leaf};
use crate::tree_head::TreeHead;

/// Why nothing was appended.
#[derive(Debug, thiserror::Error)]
pub enum LedgerError {
    /// The disk refused. When it refused the very last sync, the batch may have been published all the same.
    #[error(transparent)]
    Disk(#[from] Fault),
    /// The log could not be read.
    #[error(transparent)]
    Log(LogError),
    /// The private key cannot be used.
    #[error(transparent)]
    Key(#[from] KeyError),
    /// An entry is larger than [`MAX_ENTRY_BYTES`]. Nothing of the batch was appended.
    #[error(
        "entry {index} of the batch has {bytes} bytes; at most {MAX_ENTRY_BYTES} fit, larger evidence is a blob"
    )]
    EntryTooLarge {
        /// Which one of the batch, from 0.
        index: usize,
        /// How many bytes it has.
        bytes: usize,
    },
    /// Somebody held the lock for half a minute.
    #[error("{}: another process keeps the log locked", file.display())]
    Busy {
        /// The lock file.
        file: PathBuf,
    },
    /// The log on disk is not the one that this writer saw and wrote. Nothing was appended; see
    /// [`Writer::continue_elsewhere`].
    #[error("{}: the ledger was rewritten: {found}; remembered: {remembered}", file.display())]
    Rewritten {
        /// The file that shows it.
        file: PathBuf,
        /// What this writer saw or published last.
        remembered: TreeHead,
        /// What is there now.
        found: Found,
    },
    /// Thousands of logs of this name exist, and none can be continued.
    #[error("no log of {base} can be continued, and no further name is free")]
    NoFreeLog {
        /// The name without number.
        base: String,
    },
}

impl From<LogError> for LedgerError {
    fn from(error: LogError) -> Self {
        match error {
            LogError::Disk(fault) => Self::Disk(fault),
            other => Self::Log(other),
        }
    }
}

/// What an append did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Appended {
    /// The log that it went to.
    pub log: String,
    /// The index of the first entry of the batch.
    pub first: u64,
    /// The head behind the last one.
    pub head: TreeHead,
}

/// Appends to one log. Threads share it by reference; processes open one each.
pub struct Writer {
    store: Store,
    base: String,
    keys: PathBuf,
    opening: Opening,
    current: Mutex<Current>,
}

struct Current {
    opened: Opened,
    memory: Memory,
}

impl Store {
    /// Opens the log of `identity` (such as `alice@host`) for appending, and makes it and its key on first use. Keys lie
    /// in `keys`, outside the store.
    pub fn writer(&self, identity: &str, keys: &Path) -> Result<Writer, LedgerError> {
        let base = folder_name(identity);
        let mut opening = Opening::default();
        let opened = opening::open(self, &base, keys, 1, &mut opening)?;
        let current = Mutex::new(Current::new(opened));
        Ok(Writer {
            store: self.clone(),
            base,
            keys: keys.to_owned(),
            opening,
            current,
        })
    }
}

impl Writer {
    /// What stood in the way when this writer was opened: to be recorded, for it may be somebody's work.
    pub fn opening(&self) -> &Opening {
        &self.opening
    }

    /// The log that is written to now.
    pub fn log(&self) -> String {
        self.current().opened.log.clone()
    }

    /// The last tree head that this writer saw or published.
    pub fn head(&self) -> TreeHead {
        self.current().memory.head()
    }

    /// Appends a batch; when this returns it survives a power cut. Either the whole batch is in the log or nothing of it.
    /// The log is verified first as by [`Writer::check`], at its right edge only.
    pub fn append<E: AsRef<[u8]>>(&self, entries: &[E]) -> Result<Appended, LedgerError> {
        let too_large = entries
            .iter()
            .map(|entry| entry.as_ref().len())
            .enumerate()
            .find(|it| it.1 > MAX_ENTRY_BYTES);
        if let Some((index, bytes)) = too_large {
            return Err(LedgerError::EntryTooLarge { index, bytes });
        }
        let mut current = self.current();
        let _held = current.lock()?;
        let intact = current.compare()?;
        let first = intact.head.size;
        let head = if entries.is_empty() {
            intact.head
        } else {
            current.extend(&intact, entries)?
        };
        Ok(Appended {
            log: current.opened.log.clone(),
            first,
            head,
        })
    }

    /// Verifies that the log on disk still begins with everything that this writer saw and wrote: head signed by our key,
    /// not shorter, with the remembered root at the remembered size; and the latest own entries byte for byte, 16,384 of
    /// them at most. Gives the present head.
    pub fn check(&self) -> Result<TreeHead, LedgerError> {
        let mut current = self.current();
        let _held = current.lock()?;
        let head = current.compare()?.head;
        let memory = &current.memory;
        memory
            .compare_all(&current.opened.folder, head)
            .map_err(|broken| current.broken(broken))?;
        current.memory.see(head);
        Ok(head)
    }

    /// Leaves the log as it is, for the audit, and goes on in the next one of this name that can be continued. Gives its
    /// name.
    pub fn continue_elsewhere(&self) -> Result<String, LedgerError> {
        let mut current = self.current();
        let from = current.opened.number.saturating_add(1);
        let opened = opening::open(
            &self.store,
            &self.base,
            &self.keys,
            from,
            &mut Opening::default(),
        )?;
        *current = Current::new(opened);
        Ok(current.opened.log.clone())
    }

    /// A thread that panicked in here left nothing half done that matters: the disk is compared before every batch.
    fn current(&self) -> MutexGuard<'_, Current> {
        self.current.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Current {
    fn new(opened: Opened) -> Self {
        let mut memory = Memory::new();
        memory.see(opened.head);
        Self { opened, memory }
    }

    fn lock(&self) -> Result<Held, LedgerError> {
        Held::take(&self.opened.folder).map_err(|error| match error {
            LockError::Missing(file) => self.broken(Broken::Rewritten {
                file,
                found: Found::Nothing,
            }),
            other => other.into(),
        })
    }

    fn compare(&self) -> Result<Intact, LedgerError> {
        self.memory
            .compare(&self.opened.folder, self.opened.key.verifier())
            .map_err(|broken| self.broken(broken))
    }

    fn broken(&self, broken: Broken) -> LedgerError {
        match broken {
            Broken::Rewritten { file, found } => LedgerError::Rewritten {
                file,
                remembered: self.memory.head(),
                found,
            },
            Broken::Unread(error) => error.into(),
        }
    }

    /// Writes a batch behind what is there and publishes it. The lock is held.
    fn extend<E: AsRef<[u8]>>(
        &mut self,
        intact: &Intact,
        entries: &[E],
    ) -> Result<TreeHead, LedgerError> {
        let folder = &self.opened.folder;
        let leaves: Vec<Digest> = entries.iter().map(|entry| leaf(entry.as_ref())).collect();
        let mut files = Unsynced::default();
        let (edge, written) = write_tiles(folder, intact, entries, &leaves, &mut files)?;
        let head = TreeHead {
            size: edge.size(),
            root: edge.root(),
        };
        let key = &self.opened.key;
        let note = key.sign(head.text(key.verifier().name())).encode();
        let next = folder.join(NEXT_CHECKPOINT);
        files.write_nameless(next.clone(), &note)?;
        files.sync()?;
        // Dying before here leaves the old head, and tiles beyond it that nothing refers to; whoever appends next
        // overwrites them. Everything that the new head refers to is durable now.
        durable::rename(&next, &folder.join(CHECKPOINT))?;
        // Readers see the new head. A power cut may still take it back, and leaves the old one, whole.
        durable::sync_directory(folder)?;
        // Published and durable. Dying here leaves narrower tiles that are beginnings of the new ones: the audit verifies
        // and mentions them, the next append at this place removes them.
        remove_narrower(folder, &written);
        self.memory.see(head);
        for ((index, leaf), entry) in (intact.head.size..).zip(leaves).zip(entries) {
            self.memory.add(index, leaf, entry.as_ref().len());
        }
        Ok(head)
    }
}

/// Writes all files that the tree needs with the entries behind it: entries before hashes. Gives the new
/// right edge and the names of the files.
fn write_tiles<E: AsRef<[u8]>>(
    folder: &Path,
    intact: &Intact,
    entries: &[E],
    leaves: &[Digest],
    files: &mut Unsynced,
) -> Result<(Edge, BTreeSet<Name>), Fault> {
    let mut written = BTreeSet::new();
    let mut edge = intact.edge.clone();
    let mut bundle = intact.bundle.clone();
    let mut write = |name: Name, bytes: &[u8]| {
        written.insert(name);
        files.write(folder, &name.path(), bytes)
    };
    for (entry, leaf) in entries.iter().zip(leaves) {
        tile::push_entry(&mut bundle, entry.as_ref());
        for (level, index, hashes) in edge.push(*leaf) {
            if level == 0 {
                write(
                    Name {
                        kind: Kind::Entries,
                        index,
                        width: TILE_WIDTH,
                    },
                    &bundle,
                )?;
                bundle.clear();
            }
            write(
                Name {
                    kind: Kind::Hashes(level),
                    index,
                    width: TILE_WIDTH,
                },
                &tile::encode_hashes(&hashes),
            )?;
        }
    }
    for (level, hashes) in (0_u8..).zip(edge.levels()) {
        // How many hashes this level has had. Their values do not tell: equal entries have equal hashes.
        let count = |size: u64| size.checked_shr(8 * u32::from(level)).unwrap_or(0);
        if hashes.is_empty() || count(edge.size()) == count(intact.edge.size()) {
            continue;
        }
        let index = count(edge.size()) / TILE_WIDTH as u64;
        if level == 0 {
            write(
                Name {
                    kind: Kind::Entries,
                    index,
                    width: hashes.len(),
                },
                &bundle,
            )?;
        }
        write(
            Name {
                kind: Kind::Hashes(level),
                index,
                width: hashes.len(),
            },
            &tile::encode_hashes(hashes),
        )?;
    }
    Ok((edge, written))
}

/// Removes the partial files beside those that were just published. They hold beginnings of the same content, or were left
/// by somebody who died; that one cannot be removed costs nothing but its bytes.
fn remove_narrower(folder: &Path, written: &BTreeSet<Name>) {
    for name in written {
        let directory = folder.join(name.partial_directory());
        let Ok(items) = std::fs::read_dir(&directory) else {
            continue;
        };
        for item in items.flatten() {
            if item.file_name().to_str() != Some(name.width.to_string().as_str()) {
                let _ = std::fs::remove_file(item.path());
            }
        }
        if name.is_full() {
            let _ = std::fs::remove_dir(&directory);
        }
    }
}
