//! Which log a writer writes to: the one of its name, or the next free one when that cannot be continued.
//!
//! Recording must go on whatever somebody did to the store, and what was done must not be covered up. So nothing is
//! repaired and nothing deleted: a log without its key, with another key, or damaged is passed over, the reason is kept for
//! the caller to record, and `<name>~2`, `~3` … is tried. A new log appears under its name only whole: key file first, then
//! a folder with key, lock, the signed head of no entries and an empty write-ahead file, renamed into place.
//!
//! A log of the earlier layout is complete as it is, and a process of an older Taintline may still append to it. It is not
//! converted but left, and the next one begun.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{self, ErrorKind};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rustix::fs::OFlags;

use crate::continuity::{Broken, Memory, vkey_text};
use crate::disk::Disk;
use crate::durable::{self, Fault};
use crate::key::SigningKey;
use crate::lock::{Held, LockError, PATIENCE};
use crate::standing;
use crate::store::{Store, TEMPORARY, key_path};
use crate::tiles::{CHECKPOINT, LAYOUT, LOCK, VKEY, WAL};
use crate::tree_head::TreeHead;
use crate::wal;
use crate::writer::LedgerError;

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
    /// The key's file, locked as long as this log is open: shared by all writers, so that one can know whether it is alone.
    pub(crate) in_use: File,
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
    if store.disk().make_directory(&ledger)? {
        store.disk().sync_directory(store.root())?;
    }
    for number in from..=LOGS {
        let log = if number == 1 {
            base.to_owned()
        } else {
            format!("{base}~{number}")
        };
        match open_one(store, &log, keys, told)? {
            Ok(Some((folder, key, head, in_use))) => {
                return Ok(Opened {
                    log,
                    number,
                    folder,
                    key,
                    head,
                    in_use,
                });
            }
            Ok(None) => {}
            Err(why) => told.passed_over.push(PassedOver { log, why }),
        }
    }
    Err(LedgerError::NoFreeLog {
        base: base.to_owned(),
    })
}

/// The log; nothing, when it has the earlier layout; or why it cannot be continued.
type Continued = Result<Option<(PathBuf, SigningKey, TreeHead, File)>, Why>;

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
        let (key, existed) = SigningKey::load_or_make(store.disk(), &key_file, &origin)?;
        // Dying here leaves a key without a log, which the next opening uses.
        if make(store.disk(), &folder, &key)? {
            // A young key may be that of a process that is just opening the same log.
            told.key_without_log = existed && age(&key_file) > PATIENCE;
        }
    }
    if standing::is_earlier(&folder).is_ok_and(|is| is)
        && std::fs::symlink_metadata(folder.join(WAL)).is_err()
    {
        return Ok(Ok(None));
    }
    // First the lock and then the key: whoever is alone with it may just be taking it away.
    let in_use = match share(&key_file) {
        Ok(Some(in_use)) => in_use,
        Ok(None) => return Ok(Err(Why::Busy)),
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Err(Why::NoKey)),
        Err(error) => return Err(Fault::at(&key_file, error).into()),
    };
    let Some(key) = SigningKey::load(&key_file, &origin)? else {
        return Ok(Err(Why::NoKey));
    };
    // Whoever made them may have died before their names were durable.
    store.disk().sync_directory(durable::parent(&key_file))?;
    store.disk().sync_directory(&store.ledger())?;
    let held = match Held::take(&folder, PATIENCE) {
        Ok(held) => held,
        Err(LockError::Missing(file)) => return Ok(Err(Why::Damaged { file })),
        Err(LockError::Busy(_)) => return Ok(Err(Why::Busy)),
        Err(LockError::Disk(fault)) => return Err(fault.into()),
    };
    let intact = Memory::new().compare(&folder, key.verifier());
    drop(held);
    match intact {
        Ok(standing) if standing.tail.is_some() => {
            Ok(Ok(Some((folder, key, standing.head, in_use))))
        }
        Ok(_) => Ok(Err(Why::Damaged {
            file: folder.join(WAL),
        })),
        Err(Broken::Rewritten { file, .. }) => Ok(Err(Why::Damaged { file })),
        Err(Broken::Unread(error)) => Err(error.into()),
    }
}

/// Locks a key's file for one writer among others; `None` when somebody is alone with it for too long.
fn share(key_file: &Path) -> io::Result<Option<File>> {
    let flags = OFlags::NOFOLLOW | OFlags::NONBLOCK;
    let file = OpenOptions::new()
        .read(true)
        .custom_flags(flags.bits().cast_signed())
        .open(key_file)?;
    let deadline = Instant::now() + PATIENCE;
    loop {
        match file.try_lock_shared() {
            Ok(()) => return Ok(Some(file)),
            Err(TryLockError::WouldBlock) if Instant::now() < deadline => {
                std::thread::sleep(Duration::from_millis(5));
            }
            Err(TryLockError::WouldBlock) => return Ok(None),
            Err(TryLockError::Error(error)) => return Err(error),
        }
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
fn make(disk: &dyn Disk, folder: &Path, key: &SigningKey) -> Result<bool, Fault> {
    let ledger = durable::parent(folder);
    let random = durable::random_name().map_err(|error| Fault::at(ledger, error))?;
    let temporary = ledger.join(format!("{TEMPORARY}{random}"));
    disk.make_directory(&temporary)?;
    let empty = TreeHead::empty();
    let note = key.sign(empty.text(key.verifier().name())).encode();
    let vkey = vkey_text(key.verifier());
    let wal = wal::fresh(empty, wal::LEAST_BYTES);
    let files = [
        (LOCK, LAYOUT),
        (VKEY, vkey.as_bytes()),
        (CHECKPOINT, &note),
        (WAL, &wal),
    ];
    for (name, bytes) in files {
        disk.sync(&disk.create(&temporary.join(name), bytes)?)?;
    }
    disk.sync_directory(&temporary)?;
    // Dying before here leaves a hidden folder that nothing refers to. A folder with files in it is never replaced.
    match disk.rename(&temporary, folder) {
        Ok(()) => disk.sync_directory(ledger).map(|()| true),
        Err(error)
            if matches!(
                error.kind(),
                ErrorKind::DirectoryNotEmpty | ErrorKind::AlreadyExists
            ) =>
        {
            for (name, _) in files {
                disk.remove(&temporary.join(name))?;
            }
            disk.remove_directory(&temporary)
                .map_err(|error| Fault::at(&temporary, error))?;
            Ok(false)
        }
        Err(error) => Err(Fault::at(folder, error)),
    }
}
