//! Who changes files, as the kernel tells it (fanotify): which name in which folder, what was done to it, and by which process.
//!
//! Whole file systems are watched, so nothing that is made later is missed. The process is the one that the kernel saw at the
//! change. It comes with a descriptor if it was still there; without one, its number may be another's by now. [`crate::watch`]
//! needs no rights and names nobody; this needs root.
//!
//! What it cannot see: a write below an overlay, or on another machine that shares the file system. One through a shared mapping
//! is told at the end alone, as a file that is closed, when neither mapping nor descriptor is left. A file with several names is
//! told under the one that was used: a write by a name outside of what is wanted is not told. Nor is what the kernel tells of a
//! file without a place; it is counted, unless it is of attributes alone.
//!
//! What one process does to one name before it is taken may come as one change, in no order. Events that came faster than they
//! were taken are lost and counted.
//!
//! It reads no file, refuses to know what a change means, and never stands in anybody's way: no access waits for it.

mod folders;
mod record;

use std::ffi::OsString;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

use rustix::fs::{CWD, Mode, OFlags, fstatvfs, openat, statvfs};
use rustix::io::Errno;

use crate::sys;
use folders::Folders;
pub use record::{HANDLE_MAX, Handle, Named, Record, Records, records};

/// Bytes of a read: few enough records, some two hundred, that descriptors of all their processes can be open at once.
const BUFFER: usize = 16 * 1024;
/// Records that are taken in one call, and up to one read more.
const TAKEN_MAX: usize = 4096;

/// Why changes cannot be seen.
#[derive(Debug, thiserror::Error)]
pub enum FilesError {
    /// A call.
    #[error("{what}: {source}")]
    Refused {
        /// What was asked for.
        what: &'static str,
        /// The answer.
        source: io::Error,
    },
    /// A call about a file or folder.
    #[error("{what} {}: {source}", at.display())]
    RefusedAt {
        /// What was asked for.
        what: &'static str,
        /// Of what.
        at: PathBuf,
        /// The answer.
        source: io::Error,
    },
    /// Nothing on its file system has a path by it: it is a file that was mounted by itself, or lies where we cannot go by path.
    #[error("{} has no path here that others on its file system could be found by", .0.display())]
    NoPath(PathBuf),
}

/// What happened: one thing, or several.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct What(u64);

impl What {
    /// The name is new here: a file or folder was made, or a further name for a file.
    pub fn is_created(self) -> bool {
        self.0 & libc::FAN_CREATE != 0
    }

    /// The name was taken away.
    pub fn is_deleted(self) -> bool {
        self.0 & libc::FAN_DELETE != 0
    }

    /// It has another name or folder than before. What had the name until then is gone from it, which is told in no other way.
    pub fn is_renamed(self) -> bool {
        self.0 & libc::FAN_RENAME != 0
    }

    /// Bytes were written, or the length was set.
    pub fn is_written(self) -> bool {
        self.0 & libc::FAN_MODIFY != 0
    }

    /// Somebody who had it open for writing closed it; that bytes were written does not follow.
    pub fn is_closed(self) -> bool {
        self.0 & libc::FAN_CLOSE_WRITE != 0
    }

    /// Mode, owner, times or other attributes were set.
    pub fn has_other_attributes(self) -> bool {
        self.0 & libc::FAN_ATTRIB != 0
    }
}

/// A name in a folder.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// The folder, absolute: where it was when this was taken, not when it happened.
    pub folder: PathBuf,
    /// The name in it; `.` is the folder itself.
    pub name: OsString,
}

impl Place {
    /// Both in one.
    pub fn path(&self) -> PathBuf {
        if self.name == "." {
            return self.folder.clone();
        }
        self.folder.join(&self.name)
    }
}

/// What a process did to a name.
#[derive(Debug)]
pub struct Change {
    /// What it did.
    pub what: What,
    /// The name is a folder's.
    pub is_folder: bool,
    /// Where; of a rename, where it is now. `None` where its folder is gone or cannot be reached by a path.
    pub place: Option<Place>,
    /// Of a rename, where it was.
    pub from: Option<Place>,
    /// The process, as its number is in our namespace; zero if it has none there.
    pub pid: u32,
    /// The process itself, alive or not reaped yet; `None` if it was gone before this was taken.
    pub process: Option<OwnedFd>,
}

/// Sees changes on file systems from the moment they are watched to the moment it is dropped. Holds a folder of each open.
#[derive(Debug)]
pub struct Files {
    queue: OwnedFd,
    buffer: Vec<u8>,
    seen: Seen,
}

#[derive(Debug)]
struct Seen {
    folders: Folders,
    own: u32,
    overflows: u64,
    unplaced: u64,
}

impl Files {
    /// Watches nothing yet. Needs root, and Linux 5.17.
    pub fn new() -> Result<Self, FilesError> {
        let queue = sys::file_queue(sys::Told::ByName);
        let refused = |source| FilesError::Refused {
            what: "a queue of changes to files",
            source,
        };
        Ok(Self {
            queue: queue.map_err(refused)?,
            buffer: vec![0; BUFFER],
            seen: Seen {
                folders: Folders::default(),
                own: std::process::id(),
                overflows: 0,
                unplaced: 0,
            },
        })
    }

    /// Watches the whole file system that this file or folder lies on; twice is as once. Paths are told as they are by the mount
    /// that it is reached by: where a file system is mounted several times, each mount that matters is named here. It stays in use
    /// as long as this lives.
    ///
    /// It has proved then that folders on it can be found by what the kernel tells.
    pub fn watch(&mut self, at: &Path) -> Result<(), FilesError> {
        let refused = |what: &'static str| {
            move |source: io::Error| FilesError::RefusedAt {
                what,
                at: at.to_owned(),
                source,
            }
        };
        let folder =
            folder_of(at).map_err(|error| refused("opening the folder of")(error.into()))?;
        let number = |found: Result<rustix::fs::StatVfs, Errno>| {
            let found = found.map_err(|error| refused("the file system of")(error.into()));
            found.map(|system| system.f_fsid)
        };
        let file_system = number(fstatvfs(&folder))?;
        if number(statvfs(at))? != file_system {
            return Err(FilesError::NoPath(at.to_owned()));
        }
        let handle = sys::handle_of(&folder, file_system);
        let (handle, mount) = handle.map_err(refused("naming by handle"))?;
        if self.seen.folders.has(file_system, mount) {
            return Ok(());
        }
        let path = folders::path_of(&folder, &handle).map_err(refused("finding by handle"))?;
        if path.is_none() {
            return Err(FilesError::NoPath(at.to_owned()));
        }
        let marked = sys::mark_file_system(&self.queue, sys::Told::ByName, folder.as_fd());
        marked.map_err(refused("watching the file system of"))?;
        self.seen.folders.add(file_system, mount, folder);
        Ok(())
    }

    /// From now on only changes at or below these are told, to what is taken from now on. Absolute, without links on the way.
    pub fn only(&mut self, wanted: Vec<PathBuf>) {
        self.seen.folders.only(wanted);
    }

    /// Gives out what came since the last time, but for our own changes; some thousand at most, and then `true`: there may be
    /// more.
    ///
    /// A process is kept open until its change is dropped: whoever keeps many may run out of descriptors, and later changes
    /// come without process then.
    pub fn take(&mut self, mut each: impl FnMut(Change)) -> io::Result<bool> {
        let mut count = 0;
        while count < TAKEN_MAX {
            let seen = &mut self.seen;
            let taken = sys::take_file_records(&self.queue, &mut self.buffer, |record, opened| {
                if let Some(change) = seen.change(record, opened.process) {
                    each(change);
                }
            })?;
            self.seen.unplaced += u64::from(taken.is_cut);
            if taken.count == 0 {
                return Ok(false);
            }
            count += taken.count;
        }
        Ok(true)
    }

    /// How often the queue was full, since the beginning: each time at least one event was lost.
    pub fn overflows(&self) -> u64 {
        self.seen.overflows
    }

    /// Changes that were not told as it is not known where they were, and records that could not be understood. All on these file
    /// systems count, wanted or not: a folder that is gone does not say where it was.
    pub fn unplaced(&self) -> u64 {
        self.seen.unplaced
    }
}

impl AsFd for Files {
    /// Readable as soon as there is something.
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.queue.as_fd()
    }
}

impl Seen {
    fn change(&mut self, record: &Record<'_>, process: Option<OwnedFd>) -> Option<Change> {
        self.unplaced += u64::from(!record.is_whole);
        if record.mask & libc::FAN_Q_OVERFLOW != 0 {
            self.overflows += 1;
            self.folders.forget_all();
            return None;
        }
        if record.mask & libc::FAN_ONDIR == 0 {
            return self.placed(record, process);
        }
        // What becomes of folders counts whoever does it.
        let what = What(record.mask);
        if what.is_renamed() {
            self.folders.forget_all();
        }
        if let (true, Some(place), Some(made)) = (what.is_created(), &record.place, record.target) {
            self.folders.made(place, made);
        }
        let change = self.placed(record, process);
        // Made and deleted in one: changes in it are still to come.
        if let (true, false, Some(gone)) = (what.is_deleted(), what.is_created(), &record.target) {
            self.folders.forget(gone);
        }
        change
    }

    fn placed(&mut self, record: &Record<'_>, process: Option<OwnedFd>) -> Option<Change> {
        if record.pid == self.own || is_of_names_alone(record) {
            return None;
        }
        let mut is_wanted = false;
        let mut is_lost = record.place.is_none();
        let mut find = |named: Option<&Named<'_>>| {
            let found = named.map(|named| self.folders.find(named));
            is_lost |= matches!(found, Some(None));
            let found = found.flatten();
            is_wanted |= found.as_ref().is_some_and(|found| found.is_wanted);
            found
        };
        let place = find(record.place.as_ref());
        let from = find(record.from.as_ref());
        if !is_wanted {
            self.unplaced += u64::from(is_lost && record.is_whole);
            return None;
        }
        let shown = |found: Option<folders::Found>, named: Option<&Named<'_>>| {
            Some(found?.place(named?.name))
        };
        Some(Change {
            what: What(record.mask),
            is_folder: record.mask & libc::FAN_ONDIR != 0,
            place: shown(place, record.place.as_ref()),
            from: shown(from, record.from.as_ref()),
            pid: record.pid,
            process,
        })
    }
}

/// With a name that comes or goes the kernel tells of the file, without any place, that the number of its names is another. The
/// name is told by itself.
fn is_of_names_alone(record: &Record<'_>) -> bool {
    record.place.is_none() && record.from.is_none() && record.mask == libc::FAN_ATTRIB
}

/// The folder, or that of a file, opened.
fn folder_of(at: &Path) -> Result<OwnedFd, Errno> {
    let how = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    match openat(CWD, at, how, Mode::empty()) {
        Err(Errno::NOTDIR) => {
            let parent = at.parent().filter(|parent| *parent != Path::new(""));
            let parent = parent.unwrap_or(Path::new("."));
            openat(CWD, parent, how, Mode::empty())
        }
        opened => opened,
    }
}
