//! Appends to a log: durable when it returns, many threads with one sync, whoever else appends.
//!
//! There is no recovery code: opening a log, learning what others appended, and finding out what a crash left are one
//! reading ([`crate::standing`]). The lock is held for one group, not for the life of the writer, so that all processes of
//! a user share one log.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use crate::commit::{Commit, JobEnd};
use crate::continuity::{Broken, Found};
use crate::durable::Fault;
use crate::key::{KeyError, SigningKey};
use crate::lock::{LockError, PATIENCE, Turn};
use crate::log::Log;
use crate::opening::{self, Opening};
use crate::queue::{Batch, GROUP_BYTES, Queue};
use crate::store::{Store, folder_name, key_path};
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
    /// The thread that appended for a whole group died of a fault of its own. What it did counts if it is there.
    #[error(
        "the thread that appended for others did not come to an end; whether the entries are in the log is not known"
    )]
    Abandoned,
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

/// A log that is to go on where another ends.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Successor {
    /// Its name.
    pub log: String,
    /// Its public key, in signed-note form.
    pub key: String,
}

/// Appends to one log. Threads share it by reference; processes open one each. When it is dropped, what it appended is
/// published: brought into the files that other people's tools read.
pub struct Writer {
    store: Store,
    base: String,
    keys: PathBuf,
    opening: Opening,
    queue: Queue,
    commit: Arc<Mutex<Commit>>,
    /// The thread that publishes, or published last.
    beside: Mutex<Option<JoinHandle<()>>>,
}

/// The name of the thread that publishes.
pub(crate) const BESIDE: &str = "publish";

/// How long the last publication of a writer waits for others.
const LEISURE: Duration = Duration::from_secs(1);

impl Store {
    /// Opens the log of `identity` (such as `alice@host`) for appending, and makes it and its key on first use. Keys lie
    /// in `keys`, outside the store.
    pub fn writer(&self, identity: &str, keys: &Path) -> Result<Writer, LedgerError> {
        self.writer_from(folder_name(identity), keys, 1)
    }

    /// The writer of the first log named `base` that can be continued, from number `number` on.
    fn writer_from(&self, base: String, keys: &Path, number: u32) -> Result<Writer, LedgerError> {
        let mut opening = Opening::default();
        let opened = opening::open(self, &base, keys, number, &mut opening)?;
        Ok(Writer {
            store: self.clone(),
            base,
            keys: keys.to_owned(),
            opening,
            queue: Queue::default(),
            commit: Arc::new(Mutex::new(Commit::new(self.shared_disk(), opened))),
            beside: Mutex::default(),
        })
    }
}

impl Store {
    /// Opens a successor, named by [`Writer::successor`], to write its first entry.
    pub fn writer_of_successor(
        &self,
        identity: &str,
        log: &str,
        keys: &Path,
    ) -> Result<Writer, LedgerError> {
        let base = folder_name(identity);
        let number = log.strip_prefix(&base).and_then(|it| it.strip_prefix('~'));
        let number = number.and_then(|it| it.parse().ok());
        let number = number.ok_or(LedgerError::NoFreeLog { base: base.clone() })?;
        self.writer_from(base, keys, number)
    }

    /// Whether the private key of a log is here: then nobody else wrote it.
    pub fn has_key(&self, log: &Log, keys: &Path) -> bool {
        let own = SigningKey::load(&key_path(keys, self, log.name()), log.origin());
        let own = own.ok().flatten().map(|own| own.verifier().clone());
        own.is_some() && own == log.key().ok()
    }

    /// Removes the private key of a log that ended, durably. That there is none is fine.
    pub fn lay_down_key(&self, log: &str, keys: &Path) -> Result<(), Fault> {
        self.disk().remove(&key_path(keys, self, log))?;
        self.disk().sync_directory(keys)
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

    /// Whether no other writer, of any process, has this log open. If so, none opens it until this one is dropped.
    pub fn is_alone(&self) -> bool {
        self.commit().is_alone()
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
        if entries.is_empty() {
            return self.commit().stand();
        }
        if total > GROUP_BYTES {
            return self.in_turn(PATIENCE, |commit, turn| commit.append_alone(entries, turn));
        }
        self.queue.append(entries, |batch| self.append_group(batch))
    }

    fn append_group(&self, batch: &Batch) -> Result<Appended, LedgerError> {
        let appended = self.commit().append(batch, None)?;
        let appended = match appended {
            Some(appended) => appended,
            None => self.in_turn(PATIENCE, |commit, turn| commit.append(batch, Some(turn)))?,
        };
        self.publish_beside();
        Ok(appended)
    }

    /// Does what needs the turn to publish. Who has it may be waiting for `commit`: so it is asked for before.
    fn in_turn<T>(
        &self,
        patience: Duration,
        work: impl Fn(&mut Commit, &Turn) -> Result<Option<T>, LedgerError>,
    ) -> Result<T, LedgerError> {
        loop {
            let folder = self.commit().folder().to_owned();
            let turn = match Turn::take(&folder, patience) {
                Ok(turn) => turn,
                Err(LockError::Missing(file)) => {
                    let mut commit = self.commit();
                    commit.stand()?;
                    let found = Found::Nothing;
                    return Err(commit.broken(Broken::Rewritten { file, found }));
                }
                Err(other) => return Err(other.into()),
            };
            // Nothing, when another log was gone over to in between.
            if let Some(done) = work(&mut self.commit(), &turn)? {
                return Ok(done);
            }
        }
    }

    /// Has another thread publish, when enough waits for it. That no thread is to be had only puts it off.
    fn publish_beside(&self) {
        let Some(job) = self.commit().job() else {
            return;
        };
        let mut beside = self.beside.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(before) = beside.take() {
            // Its last act was to say that it is done.
            let _ = before.join();
        }
        let commit = Arc::clone(&self.commit);
        let thread = std::thread::Builder::new().name(BESIDE.to_owned());
        *beside = thread.spawn(move || job.run(&commit)).ok();
        if beside.is_none() {
            self.commit().end_job(JobEnd::Failed);
        }
    }

    /// Waits for the thread that publishes, and says how many publications beside appends failed so far.
    #[cfg(test)]
    pub(crate) fn failed_beside(&self) -> usize {
        self.join_beside();
        self.commit().failed_jobs()
    }

    /// Waits for the thread that publishes.
    fn join_beside(&self) {
        let mut beside = self.beside.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(thread) = beside.take() {
            let _ = thread.join();
        }
    }

    /// Brings everything that was appended, by whomever, into the files that other people's tools read: tiles, bundles and
    /// the published head. Appending does so from time to time; whoever hands the store on asks for it. Gives the head.
    pub fn publish(&self) -> Result<TreeHead, LedgerError> {
        self.in_turn(PATIENCE, |commit, turn| commit.publish(turn, PATIENCE))
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
        self.join_beside();
        let mut commit = self.commit();
        let from = commit.number().saturating_add(1);
        let told = &mut Opening::default();
        let opened = opening::open(&self.store, &self.base, &self.keys, from, told)?;
        *commit = Commit::new(self.store.shared_disk(), opened);
        Ok(commit.log().to_owned())
    }

    /// The log that is to go on where this one ends: the next free name, with a key of its own and without entries. Made
    /// here, or by an attempt that died before anything was said of it. This one stays as it is.
    pub fn successor(&self) -> Result<Successor, LedgerError> {
        let from = self.commit().number().saturating_add(1);
        let mut number = from;
        loop {
            let told = &mut Opening::default();
            let opened = opening::open(&self.store, &self.base, &self.keys, number, told)?;
            if opened.head.size == 0 {
                return Ok(Successor {
                    key: opened.key.verifier().encode(),
                    log: opened.log,
                });
            }
            number = opened.number.saturating_add(1);
        }
    }

    /// A thread that panicked in here left nothing half done that matters: the disk is compared before every group.
    fn commit(&self) -> MutexGuard<'_, Commit> {
        self.commit.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        self.join_beside();
        // Everything is durable already; that it is not published costs the next reader a moment.
        if self.commit().is_ahead() {
            let _ = self.in_turn(LEISURE, |commit, turn| commit.publish(turn, LEISURE));
        }
    }
}
