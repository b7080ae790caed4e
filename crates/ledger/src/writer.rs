//! Appends to a log: durable when it returns, many threads with one sync, whoever else appends.
//!
//! There is no recovery code: opening a log, learning what others appended, and finding out what a crash left are one
//! reading ([`crate::standing`]). The lock is held for one group, not for the life of the writer, so that all processes of
//! a user share one log.

use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::commit::Commit;
use crate::continuity::Found;
use crate::durable::Fault;
use crate::key::KeyError;
use crate::opening::{self, Opening};
use crate::queue::{Batch, GROUP_BYTES, Queue};
use crate::store::{Store, folder_name};
use crate::tile::MAX_ENTRY_BYTES;
use crate::tiles::LogError;
use crate::tree_head::TreeHead;

/// Why nothing was appended.
#[derive(Debug, Clone, thiserror::Error)]
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
    /// The head behind the group that the batch went with: it counts the last entry of the batch, and perhaps more.
    pub head: TreeHead,
}

/// Appends to one log. Threads share it by reference; processes open one each. When it is dropped, what it appended is
/// published: brought into the files that other people's tools read.
pub struct Writer {
    store: Store,
    base: String,
    keys: PathBuf,
    opening: Opening,
    queue: Queue,
    commit: Mutex<Commit>,
}

impl Store {
    /// Opens the log of `identity` (such as `alice@host`) for appending, and makes it and its key on first use. Keys lie
    /// in `keys`, outside the store.
    pub fn writer(&self, identity: &str, keys: &Path) -> Result<Writer, LedgerError> {
        let base = folder_name(identity);
        let mut opening = Opening::default();
        let opened = opening::open(self, &base, keys, 1, &mut opening)?;
        Ok(Writer {
            store: self.clone(),
            base,
            keys: keys.to_owned(),
            opening,
            queue: Queue::default(),
            commit: Mutex::new(Commit::new(self.shared_disk(), opened)),
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
        self.commit().log().to_owned()
    }

    /// The last tree head that this writer saw or wrote.
    pub fn head(&self) -> TreeHead {
        self.commit().head()
    }

    /// Appends a batch; when this returns it survives a power cut, under a signed head. Either the whole batch is in the
    /// log or nothing of it. Threads that append at once share one sync. The log is verified first as by
    /// [`Writer::check`], at its right edge only.
    pub fn append<E: AsRef<[u8]>>(&self, entries: &[E]) -> Result<Appended, LedgerError> {
        let mut total = 0_usize;
        for (index, entry) in entries.iter().enumerate() {
            let bytes = entry.as_ref().len();
            if bytes > MAX_ENTRY_BYTES {
                return Err(LedgerError::EntryTooLarge { index, bytes });
            }
            total = total.saturating_add(bytes + 2);
        }
        if entries.is_empty() || total > GROUP_BYTES {
            return self.commit().append_alone(entries);
        }
        self.queue
            .append(Batch::new(entries), |batch| self.commit().append(batch))
    }

    /// Brings everything that was appended, by whomever, into the files that other people's tools read: tiles, bundles and
    /// the published head. Appending does so from time to time; whoever hands the store on asks for it. Gives the head.
    pub fn publish(&self) -> Result<TreeHead, LedgerError> {
        self.commit().publish()
    }

    /// Verifies that the log on disk still begins with everything that this writer saw and wrote: heads signed by our key,
    /// not shorter, with the remembered root at the remembered size; and the latest own entries byte for byte, 16,384 of
    /// them at most. Gives the present head.
    pub fn check(&self) -> Result<TreeHead, LedgerError> {
        self.commit().check()
    }

    /// Leaves the log as it is, for the audit, and goes on in the next one of this name that can be continued. Gives its
    /// name.
    pub fn continue_elsewhere(&self) -> Result<String, LedgerError> {
        let mut commit = self.commit();
        let from = commit.number().saturating_add(1);
        let told = &mut Opening::default();
        let opened = opening::open(&self.store, &self.base, &self.keys, from, told)?;
        *commit = Commit::new(self.store.shared_disk(), opened);
        Ok(commit.log().to_owned())
    }

    /// A thread that panicked in here left nothing half done that matters: the disk is compared before every group.
    fn commit(&self) -> MutexGuard<'_, Commit> {
        self.commit.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        // Everything is durable already; that it is not published costs the next reader a moment.
        self.commit().publish_at_leisure();
    }
}
