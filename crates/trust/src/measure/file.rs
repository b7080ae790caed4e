//! One file while it is read: what it was before and after, so that a digest is of exactly one state.
//!
//! Type, size, mode and times are asked of the open descriptor, not of the name, before the first byte and after the last.
//! A file that changed in between has no digest. Mapping into memory was rejected: a file that somebody else truncates
//! would kill the process.

use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};

use rustix::fs::{Advice, FileType, Stat};
use rustix::io::Errno;

use super::beneath::{Root, type_name};
use crate::name::Name;

/// Files from this size on are announced to the kernel as read from start to end.
const SEQUENTIAL_FROM: u64 = 4 << 20;

/// What the kernel says about a file: equal before and after means unchanged, as far as it knows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct FileState {
    /// Device.
    pub device: u64,
    /// Inode.
    pub inode: u64,
    /// Bytes.
    pub size: u64,
    /// Permission bits with setuid, setgid and sticky.
    pub mode: u32,
    /// Names of this inode.
    pub links: u64,
    /// Modification time, nanoseconds since 1970.
    pub modified: i128,
    /// Change time, nanoseconds since 1970; no program can set it at will.
    pub changed: i128,
}

impl FileState {
    pub(crate) fn of(stat: &Stat) -> Self {
        let nanos =
            |seconds: i64, nanos: u64| i128::from(seconds) * 1_000_000_000 + i128::from(nanos);
        Self {
            device: stat.st_dev,
            inode: stat.st_ino,
            size: u64::try_from(stat.st_size).unwrap_or(0),
            mode: stat.st_mode & 0o7777,
            links: wide(stat.st_nlink),
            modified: nanos(stat.st_mtime, stat.st_mtime_nsec),
            changed: nanos(stat.st_ctime, stat.st_ctime_nsec),
        }
    }
}

/// A count of links is narrower on some processors.
fn wide(number: impl Into<u64>) -> u64 {
    number.into()
}

/// Why a file has no digest.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Unread {
    /// Not a regular file.
    #[error("it is {0}, not a regular file")]
    NotAFile(&'static str),
    /// It changed while it was read, twice.
    #[error("it changed while it was read")]
    Changed,
    /// The system refused.
    #[error("{0}")]
    System(#[from] Errno),
}

/// A regular file that is open.
pub(crate) struct Reading {
    descriptor: OwnedFd,
    before: FileState,
}

impl Reading {
    pub(crate) fn open(root: &Root, name: &Name, through_link: bool) -> Result<Self, Unread> {
        let descriptor = if through_link {
            root.open_through_link(name)
        } else {
            root.open_file(name)
        };
        let descriptor = descriptor.map_err(|errno| match errno {
            Errno::LOOP => Unread::NotAFile("a link"),
            // What opening a socket says.
            Errno::NXIO => Unread::NotAFile("a socket"),
            other => Unread::System(other),
        })?;
        let stat = rustix::fs::fstat(&descriptor)?;
        let kind = FileType::from_raw_mode(stat.st_mode);
        if kind != FileType::RegularFile {
            return Err(Unread::NotAFile(type_name(kind)));
        }
        let before = FileState::of(&stat);
        if before.size >= SEQUENTIAL_FROM {
            // Advice only: where it is refused, reading is slower and nothing else.
            let _ = rustix::fs::fadvise(&descriptor, 0, None, Advice::Sequential);
        }
        Ok(Self { descriptor, before })
    }

    /// What it was when it was opened.
    pub(crate) fn before(&self) -> &FileState {
        &self.before
    }

    /// The open file.
    pub(crate) fn descriptor(&self) -> BorrowedFd<'_> {
        self.descriptor.as_fd()
    }

    /// Reads at a place; 0 is the end.
    pub(crate) fn read_at(&self, offset: u64, buffer: &mut [u8]) -> Result<usize, Unread> {
        loop {
            match rustix::io::pread(&self.descriptor, &mut *buffer, offset) {
                Err(Errno::INTR) => {}
                other => return Ok(other?),
            }
        }
    }

    /// Whether it still is what it was when it was opened.
    pub(crate) fn is_unchanged(&self) -> Result<bool, Unread> {
        Ok(FileState::of(&rustix::fs::fstat(&self.descriptor)?) == self.before)
    }

    /// After the last byte, of `total` that were read: the state that was read, or `None` where it was not one state.
    pub(crate) fn state_of(&self, total: u64) -> Result<Option<FileState>, Unread> {
        let same = self.is_unchanged()? && total == self.before.size;
        Ok(same.then_some(self.before))
    }
}
