//! Reading one file: what it was when it was read, and the digest of exactly that.
//!
//! The walk has seen a regular file; by the time it is opened it may be a pipe or another file. So it is opened without
//! blocking, its type is asked of the open descriptor before the first byte is read, and size and times are asked again
//! after the last byte: a file that changed in between is read once more and then given up as a [`Gap::Changed`]. Memory is
//! a buffer or two a thread, however large the file is. Memory mapping was rejected: a file truncated by somebody else would
//! kill the process that maps it.

use std::os::fd::OwnedFd;
use std::path::Path;

use domain::Digest;
use rustix::fs::{Advice, FileType, Mode, OFlags, Stat};

use crate::gap::Gap;

/// Size of the buffer that small files are read with.
pub(crate) const BUFFER: usize = 512 * 1024;

/// Files from this size on are announced to the kernel as read from start to end.
const SEQUENTIAL_FROM: u64 = 4 * 1024 * 1024;

/// A time stamp of a file: seconds and nanoseconds since 1970.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Stamp {
    pub(crate) seconds: i64,
    pub(crate) nanos: u32,
}

/// All that the kernel says about the version of a file: equal before and after means unchanged, as far as it knows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct FileKey {
    pub(crate) device: u64,
    pub(crate) inode: u64,
    pub(crate) size: u64,
    pub(crate) modified: Stamp,
    pub(crate) changed: Stamp,
}

impl FileKey {
    pub(crate) fn of(stat: &Stat) -> Self {
        let stamp = |seconds: i64, nanos: u64| Stamp {
            seconds,
            nanos: u32::try_from(nanos).unwrap_or(u32::MAX),
        };
        Self {
            device: stat.st_dev,
            inode: stat.st_ino,
            size: u64::try_from(stat.st_size).unwrap_or(0),
            modified: stamp(stat.st_mtime, stat.st_mtime_nsec),
            changed: stamp(stat.st_ctime, stat.st_ctime_nsec),
        }
    }
}

/// A digest and the version of the file that it names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Hashed {
    pub(crate) key: FileKey,
    pub(crate) digest: Digest,
}

/// A file that is open to be read from start to end.
pub(crate) struct Reading {
    descriptor: OwnedFd,
    before: FileKey,
    total: u64,
}

impl Reading {
    pub(crate) fn open(path: &Path) -> Result<Self, Gap> {
        let (descriptor, before) = open_regular(path)?;
        if before.size >= SEQUENTIAL_FROM {
            // Advice only: where it is refused, reading is slower and nothing else.
            let _ = rustix::fs::fadvise(&descriptor, 0, None, Advice::Sequential);
        }
        Ok(Self {
            descriptor,
            before,
            total: 0,
        })
    }

    /// Puts the next bytes into `buffer` and says how many; 0 at the end, or where there are more than there were.
    pub(crate) fn read(&mut self, buffer: &mut [u8]) -> Result<usize, Gap> {
        while self.total < self.before.size {
            match rustix::io::read(&self.descriptor, &mut *buffer) {
                Ok(count) => {
                    self.total += count as u64;
                    return Ok(count);
                }
                Err(rustix::io::Errno::INTR) => {}
                Err(errno) => return Err(errno.into()),
            }
        }
        Ok(0)
    }

    /// After the last byte: what was read, or `None` where the file was not the same before and after.
    pub(crate) fn close(self) -> Result<Option<FileKey>, Gap> {
        let after = FileKey::of(&rustix::fs::fstat(&self.descriptor)?);
        let same = after == self.before && self.total == self.before.size;
        Ok(same.then_some(self.before))
    }
}

/// Memory that is made ready for a file at once, at most.
const AT_ONCE: u64 = 16 << 20;

/// The bytes of a small file, or `None` where it is larger than `limit`.
pub(crate) fn read_small(
    path: &Path,
    limit: u64,
    buffer: &mut [u8],
) -> Result<Option<Vec<u8>>, Gap> {
    for _ in 0..2 {
        let mut bytes = Vec::new();
        let mut too_large = false;
        let read = read_once(path, buffer, &mut |piece, size| {
            if bytes.is_empty() {
                // Grown bit by bit it is copied several times; what a size that is no file's says is not believed.
                bytes.reserve(usize::try_from(size.min(limit).min(AT_ONCE)).unwrap_or(0));
            }
            bytes.extend_from_slice(piece);
            too_large = bytes.len() as u64 > limit;
            !too_large
        });
        match read {
            Err(Gap::Stopped) if too_large => return Ok(None),
            Err(gap) => return Err(gap),
            Ok(Some(_)) => return Ok(Some(bytes)),
            Ok(None) => {}
        }
    }
    Err(Gap::Changed)
}

/// Reads from start to end; `None` where the file was not the same before and after.
fn read_once(
    path: &Path,
    buffer: &mut [u8],
    take: &mut dyn FnMut(&[u8], u64) -> bool,
) -> Result<Option<FileKey>, Gap> {
    let mut reading = Reading::open(path)?;
    loop {
        let count = reading.read(buffer)?;
        let piece = buffer.get(..count).unwrap_or_default();
        if piece.is_empty() {
            return reading.close();
        }
        if !take(piece, reading.before.size) {
            return Err(Gap::Stopped);
        }
    }
}

fn open_regular(path: &Path) -> Result<(OwnedFd, FileKey), Gap> {
    let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK | OFlags::NOCTTY;
    let descriptor = rustix::fs::open(path, flags, Mode::empty())?;
    let stat = rustix::fs::fstat(&descriptor)?;
    match FileType::from_raw_mode(stat.st_mode) {
        FileType::RegularFile => Ok((descriptor, FileKey::of(&stat))),
        other => Err(Gap::NotAFile(type_name(other))),
    }
}

/// The name of a type of file, for people.
pub(crate) fn type_name(file_type: FileType) -> &'static str {
    match file_type {
        FileType::Fifo => "a named pipe",
        FileType::Socket => "a socket",
        FileType::CharacterDevice => "a character device",
        FileType::BlockDevice => "a block device",
        FileType::Directory => "a folder",
        _ => "not a regular file",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pipe_in_place_of_the_file_is_refused_without_blocking() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("pipe");
        rustix::fs::mknodat(
            rustix::fs::CWD,
            &path,
            FileType::Fifo,
            Mode::from_raw_mode(0o600),
            0,
        )
        .unwrap();
        let gap = Reading::open(&path).err().unwrap();
        assert_eq!(gap.to_string(), "a named pipe, not opened");
    }

    #[test]
    fn a_small_buffer_gives_the_same_bytes_and_a_limit_holds() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("file");
        std::fs::write(&path, b"0123456789").unwrap();
        assert_eq!(
            read_small(&path, 10, &mut [0; 3]),
            Ok(Some(b"0123456789".to_vec()))
        );
        assert_eq!(read_small(&path, 9, &mut [0; 3]), Ok(None));
    }
}
