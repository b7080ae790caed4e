//! One process at a time, and in turn.
//!
//! The lock is on the file `lock`. A process that commits group after group would take it again before a waiting one
//! notices that it was free; so whoever wants it first stands in line, by a second lock on `vkey`, and leaves the line when
//! it has the first. Waiting is asking again, because a lock that a stopped process holds must not stop everybody.

use std::fs::{File, OpenOptions};
use std::io::ErrorKind;
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rustix::fs::OFlags;

use crate::durable::Fault;
use crate::tiles::{LOCK, LogError, VKEY};
use crate::writer::LedgerError;

/// How long a group of somebody else is waited for.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

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
        let path = folder.join(LOCK);
        let mut wait = Wait::new(patience);
        let _line = Self::stand_in_line(folder, &mut wait);
        loop {
            let file = match open(&path) {
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
            if !wait.pause() {
                return Err(LockError::Busy(path));
            }
        }
    }

    /// The line is a courtesy: where it cannot be had, the lock is asked for all the same.
    fn stand_in_line(folder: &Path, wait: &mut Wait) -> Option<Self> {
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
