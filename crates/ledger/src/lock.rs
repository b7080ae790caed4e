//! One process at a time, and in turn.
//!
//! The lock is on the file `lock`. A process that commits group after group would take it again before a waiting one
//! notices that it was free; so whoever wants it first stands in line, by a second lock on `vkey`, and leaves the line when
//! it has the first. Who publishes has a lock of his own, for that takes longer ([`Turn`]). Waiting is asking again, because a lock that a stopped process holds must not stop everybody.

use std::fs::{File, Metadata, OpenOptions};
use std::io::ErrorKind;
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rustix::fs::OFlags;

use crate::durable::Fault;
use crate::tiles::{LOCK, LogError, NEXT_WAL, VKEY, WAL};
use crate::writer::LedgerError;

/// How long a group of somebody else is waited for.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

/// How long a place in the line is waited for. The line is a courtesy; one who keeps it must not keep the lock.
const LINE: Duration = Duration::from_millis(250);

/// The longest pause between two questions.
const PAUSE: Duration = Duration::from_millis(1);

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
    /// Takes the lock of the log in `folder`, waiting for `patience` at most.
    pub(crate) fn take(folder: &Path, patience: Duration) -> Result<Self, LockError> {
        let _line = Self::stand_in_line(folder, Wait::new(patience.min(LINE)));
        Self::of(&folder.join(LOCK), patience)
    }

    /// Locks the file that has this name.
    fn of(path: &Path, patience: Duration) -> Result<Self, LockError> {
        let mut wait = Wait::new(patience);
        loop {
            let file = match open(path) {
                Ok(file) => file,
                Err(error)
                    if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) =>
                {
                    return Err(LockError::Missing(path.to_owned()));
                }
                Err(error) => return Err(LockError::Disk(Fault::at(path, error))),
            };
            match file.try_lock() {
                // The file may have been replaced while we waited: then this lock excludes nobody.
                Ok(()) if is_still(&file, path) => return Ok(Self(file)),
                Ok(()) | Err(std::fs::TryLockError::WouldBlock) => {}
                Err(std::fs::TryLockError::Error(error)) => {
                    return Err(LockError::Disk(Fault::at(path, error)));
                }
            }
            if !wait.pause() {
                return Err(LockError::Busy(path.to_owned()));
            }
        }
    }

    /// The line is a courtesy: where it cannot be had, the lock is asked for all the same.
    fn stand_in_line(folder: &Path, mut wait: Wait) -> Option<Self> {
        let line = open(&folder.join(VKEY)).ok()?;
        loop {
            match line.try_lock() {
                Ok(()) => return Some(Self(line)),
                Err(std::fs::TryLockError::WouldBlock) if wait.pause() => {}
                Err(_) => return None,
            }
        }
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        // Closing would do, unless a child that was just forked still shares the descriptor.
        let _ = self.0.unlock();
    }
}

/// The right to publish a log: to write its tiles, and to give names to its head and its write-ahead file. It is a lock on
/// the write-ahead file that has the name, so whoever gives the name to another locks that one first. Taken before the
/// log's lock, never while that is held: others append while tiles are written.
pub(crate) struct Turn {
    folder: PathBuf,
    held: Held,
}

impl Turn {
    /// Takes the turn in `folder`, waiting for `patience` at most.
    pub(crate) fn take(folder: &Path, patience: Duration) -> Result<Self, LockError> {
        Ok(Self {
            folder: folder.to_owned(),
            held: Held::of(&folder.join(WAL), patience)?,
        })
    }

    /// The turn behind the next write-ahead file, which does not have its name yet.
    pub(crate) fn of_next(folder: &Path) -> Result<Self, Fault> {
        let path = folder.join(NEXT_WAL);
        let again = || Fault::at(&path, ErrorKind::ResourceBusy.into());
        match Held::of(&path, Duration::ZERO) {
            Ok(held) => Ok(Self {
                folder: folder.to_owned(),
                held,
            }),
            Err(LockError::Disk(fault)) => Err(fault),
            // Its name is known to nobody but us.
            Err(LockError::Missing(_) | LockError::Busy(_)) => Err(again()),
        }
    }

    /// Whether it is the turn of this log.
    pub(crate) fn is_of(&self, folder: &Path) -> bool {
        self.folder == folder
    }

    /// Whether it was taken on this write-ahead file.
    pub(crate) fn is_on(&self, file: &File) -> bool {
        is_same(file.metadata(), self.held.0.metadata())
    }
}

/// Asks again at growing distances, until the patience is used up.
struct Wait {
    deadline: Instant,
    pause: Duration,
}

impl Wait {
    fn new(patience: Duration) -> Self {
        Self {
            deadline: Instant::now() + patience,
            pause: Duration::from_micros(50),
        }
    }

    /// Waits a little; `false` when there is no time left.
    fn pause(&mut self) -> bool {
        if Instant::now() >= self.deadline {
            return false;
        }
        std::thread::sleep(self.pause);
        self.pause = (self.pause * 2).min(PAUSE);
        true
    }
}

fn open(path: &Path) -> std::io::Result<File> {
    let flags = OFlags::NOFOLLOW | OFlags::NONBLOCK;
    OpenOptions::new()
        .read(true)
        .write(true)
        .custom_flags(flags.bits().cast_signed())
        .open(path)
}

fn is_still(file: &File, path: &Path) -> bool {
    is_same(file.metadata(), std::fs::symlink_metadata(path))
}

fn is_same(one: std::io::Result<Metadata>, other: std::io::Result<Metadata>) -> bool {
    match (one, other) {
        (Ok(one), Ok(other)) => (one.dev(), one.ino()) == (other.dev(), other.ino()),
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
