//! Which log a writer writes to: the one of its name, or the next free one when that cannot be continued.
//!
//! Recording must go on whatever somebody did to the store, and what was done must not be covered up. So nothing is
//! repaired and nothing deleted: a log without its key, with another key, or damaged is passed over, the reason is kept for
//! the caller to record, and `<name>~2`, `~3` … is tried. A new log appears under its name only whole: key file first, then
//! a folder with key, lock and the signed head of no entries, renamed into place.

use std::fs::{File, OpenOptions};
use std::io::ErrorKind;
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rustix::fs::OFlags;

use crate::continuity::{Broken, Intact, Memory};
use crate::durable::{self, Fault};
use crate::key::SigningKey;
use crate::store::{Store, TEMPORARY, key_path};
use crate::tiles::{CHECKPOINT, LOCK, LogError, VKEY};
use crate::tree_head::TreeHead;
use crate::writer::LedgerError;

/// How long a batch of somebody else is waited for.
const PATIENCE: Duration = Duration::from_secs(30);

/// The highest number behind `~`.
const LOGS: u32 = 9999;

/// What stood in the way when a writer was opened.
#[derive(Debug, Clone, Default)]
pub struct Opening {
    /// Logs of this writer that could not be continued, in order.
    pub passed_over: Vec<PassedOver>,
    /// The key existed and the log did not: either the process died in the instant between, long ago, or somebody removed
    /// the log. An empty one was opened.
    pub key_without_log: bool,
}

/// A log that could not be continued.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PassedOver {
    /// Its name.
    pub log: String,
    /// Why.
    pub why: Why,
}

/// Why a log could not be continued.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Why {
    /// Its private key is not here: the store comes from another machine or user.
    #[error("its private key is not here")]
    NoKey,
    /// This file is missing, or does not match the others.
    #[error("{} is missing or was changed", file.display())]
    Damaged {
        /// The file.
        file: PathBuf,
    },
    /// Another process held its lock for half a minute.
    #[error("another process keeps it locked")]
    Busy,
}

/// An opened log.
pub(crate) struct Opened {
    pub(crate) log: String,
    pub(crate) number: u32,
    pub(crate) folder: PathBuf,
    pub(crate) key: SigningKey,
    pub(crate) head: TreeHead,
}

/// Opens the first log named `base`, `base~2` … that can be continued, from number `from` on.
pub(crate) fn open(
    store: &Store,
    base: &str,
    keys: &Path,
    from: u32,
    told: &mut Opening,
) -> Result<Opened, LedgerError> {
    let ledger = store.ledger();
    if durable::make_directory(&ledger)? {
        durable::sync_directory(store.root())?;
    }
    for number in from..=LOGS {
        let log = if number == 1 {
            base.to_owned()
        } else {
            format!("{base}~{number}")
        };
        let why = match open_one(store, &log, keys, told)? {
            Ok((folder, key, head)) => {
                return Ok(Opened {
                    log,
                    number,
                    folder,
                    key,
                    head,
                });
            }
            Err(why) => why,
        };
        told.passed_over.push(PassedOver { log, why });
    }
    Err(LedgerError::NoFreeLog {
        base: base.to_owned(),
    })
}

type Continued = Result<(PathBuf, SigningKey, TreeHead), Why>;

fn open_one(
    store: &Store,
    log: &str,
    keys: &Path,
    told: &mut Opening,
) -> Result<Continued, LedgerError> {
    let folder = store.ledger().join(log);
    let origin = store.origin(log);
    let key_file = key_path(keys, store, log);
    if std::fs::symlink_metadata(&folder).is_err_and(|error| error.kind() == ErrorKind::NotFound) {
        let (key, existed) = SigningKey::load_or_make(&key_file, &origin)?;
        // Dying here leaves a key without a log, which the next opening uses.
        if make(&folder, &key)? {
            // A young key may be that of a process that is just opening the same log.
            told.key_without_log = existed && age(&key_file) > PATIENCE;
        }
    }
    let Some(key) = SigningKey::load(&key_file, &origin)? else {
        return Ok(Err(Why::NoKey));
    };
    let held = match Held::take(&folder) {
        Ok(held) => held,
        Err(LockError::Missing(file)) => return Ok(Err(Why::Damaged { file })),
        Err(LockError::Busy(_)) => return Ok(Err(Why::Busy)),
        Err(LockError::Disk(fault)) => return Err(fault.into()),
    };
    let intact = Memory::new().compare(&folder, key.verifier());
    drop(held);
    match intact {
        Ok(Intact { head, .. }) => Ok(Ok((folder, key, head))),
        Err(Broken::Rewritten { file, .. }) => Ok(Err(Why::Damaged { file })),
        Err(Broken::Unread(error)) => Err(error.into()),
    }
}

fn age(file: &Path) -> Duration {
    let changed = std::fs::metadata(file).and_then(|facts| facts.modified());
    changed
        .ok()
        .and_then(|changed| changed.elapsed().ok())
        .unwrap_or_default()
}

/// Makes a log without entries at `folder`; `false` when somebody was first.
fn make(folder: &Path, key: &SigningKey) -> Result<bool, Fault> {
    let ledger = durable::parent(folder);
    let random = durable::random_name().map_err(|error| Fault::at(ledger, error))?;
    let temporary = ledger.join(format!("{TEMPORARY}{random}"));
    durable::make_directory(&temporary)?;
    let head = key
        .sign(TreeHead::empty().text(key.verifier().name()))
        .encode();
    let vkey = format!("{}\n", key.verifier().encode());
    for (name, bytes) in [
        (LOCK, &[][..]),
        (VKEY, vkey.as_bytes()),
        (CHECKPOINT, &head),
    ] {
        let path = temporary.join(name);
        durable::write_fresh(&path, bytes)?
            .sync_data()
            .map_err(|error| Fault::at(&path, error))?;
    }
    durable::sync_directory(&temporary)?;
    // Dying before here leaves a hidden folder that nothing refers to. A folder with files in it is never replaced.
    match std::fs::rename(&temporary, folder) {
        Ok(()) => durable::sync_directory(ledger).map(|()| true),
        Err(error)
            if matches!(
                error.kind(),
                ErrorKind::DirectoryNotEmpty | ErrorKind::AlreadyExists
            ) =>
        {
            std::fs::remove_dir_all(&temporary).map_err(|error| Fault::at(&temporary, error))?;
            Ok(false)
        }
        Err(error) => Err(Fault::at(folder, error)),
    }
}

/// Why a log's lock was not taken.
#[derive(Debug)]
pub(crate) enum LockError {
    Missing(PathBuf),
    Busy(PathBuf),
    Disk(Fault),
}

/// The lock of a log, while it is held.
pub(crate) struct Held(File);

impl Held {
    /// Takes the lock of the log in `folder`, waiting [`PATIENCE`] at most.
    pub(crate) fn take(folder: &Path) -> Result<Self, LockError> {
        let path = folder.join(LOCK);
        let flags = OFlags::NOFOLLOW | OFlags::NONBLOCK;
        let deadline = Instant::now() + PATIENCE;
        let mut pause = Duration::from_micros(100);
        loop {
            let opened = OpenOptions::new()
                .read(true)
                .write(true)
                .custom_flags(flags.bits().cast_signed())
                .open(&path);
            let file = match opened {
                Ok(file) => file,
                Err(error)
                    if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) =>
                {
                    return Err(LockError::Missing(path));
                }
                Err(error) => return Err(LockError::Disk(Fault::at(&path, error))),
            };
            match file.try_lock() {
                // The file may have been replaced while we waited: then this lock excludes nobody.
                Ok(()) if is_still(&file, &path) => return Ok(Self(file)),
                Ok(()) | Err(std::fs::TryLockError::WouldBlock) => {}
                Err(std::fs::TryLockError::Error(error)) => {
                    return Err(LockError::Disk(Fault::at(&path, error)));
                }
            }
            if Instant::now() >= deadline {
                return Err(LockError::Busy(path));
            }
            std::thread::sleep(pause);
            pause = (pause * 2).min(Duration::from_millis(5));
        }
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        // Closing would do, unless a child that was just forked still shares the descriptor.
        let _ = self.0.unlock();
    }
}

fn is_still(file: &File, path: &Path) -> bool {
    match (file.metadata(), std::fs::symlink_metadata(path)) {
        (Ok(ours), Ok(there)) => (ours.dev(), ours.ino()) == (there.dev(), there.ino()),
        _ => false,
    }
}

impl From<LockError> for LedgerError {
    fn from(error: LockError) -> Self {
        match error {
            LockError::Missing(file) => Self::Log(LogError::Missing { file }),
            LockError::Busy(file) => Self::Busy { file },
            LockError::Disk(fault) => Self::Disk(fault),
        }
    }
}
