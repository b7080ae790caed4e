//! A file as the engine reads it: opened so that nothing waits or follows, read in place, and compared with itself at the
//! end. A file that was another when it was opened than when it was left has no verdict.

use std::cell::RefCell;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt as _;
use std::path::Path;

use domain::scan::GapKind;
use formats::ReadAt;
use rustix::fs::{FileType, Mode, OFlags, Stat};

/// Bytes that are read at once where the engine asks for fewer.
const WINDOW: usize = 16 << 10;
/// Places in a file that are read in turn, such as an archive's directory and its members.
const WINDOWS: usize = 4;

/// Why a path is no input.
#[derive(Debug, thiserror::Error)]
pub enum InputError {
    /// The system refused.
    #[error("it cannot be read: {0}")]
    Refused(#[source] io::Error),
    /// It is no file.
    #[error("it is {0}, which is not opened")]
    NotAFile(&'static str),
}

impl InputError {
    /// What kind of gap it makes.
    pub(super) fn gap_kind(&self) -> GapKind {
        match self {
            Self::Refused(error) if error.kind() == io::ErrorKind::NotFound => GapKind::Changed,
            Self::Refused(_) => GapKind::Unreadable,
            Self::NotAFile(_) => GapKind::NotAFile,
        }
    }
}

impl From<rustix::io::Errno> for InputError {
    fn from(errno: rustix::io::Errno) -> Self {
        Self::Refused(errno.into())
    }
}

/// What the kernel says about the version of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Version {
    size: u64,
    modified: (i64, u64),
    changed: (i64, u64),
}

impl Version {
    fn of(stat: &Stat) -> Self {
        Self {
            size: u64::try_from(stat.st_size).unwrap_or(0),
            modified: (stat.st_mtime, stat.st_mtime_nsec),
            changed: (stat.st_ctime, stat.st_ctime_nsec),
        }
    }
}

/// Bytes that were read ahead.
#[derive(Default)]
struct Window {
    start: u64,
    bytes: Vec<u8>,
}

impl Window {
    fn get(&self, offset: u64, length: usize) -> Option<&[u8]> {
        let start = usize::try_from(offset.checked_sub(self.start)?).ok()?;
        self.bytes.get(start..start.checked_add(length)?)
    }
}

/// An open file.
pub(super) struct Opened {
    file: File,
    version: Version,
    windows: RefCell<Vec<Window>>,
}

impl Opened {
    /// Opens a regular file. `follow` is for paths that somebody named: a link that was found is not followed.
    pub(super) fn open(path: &Path, follow: bool) -> Result<Self, InputError> {
        let mut flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK | OFlags::NOCTTY;
        if !follow {
            flags |= OFlags::NOFOLLOW;
        }
        let opened = rustix::fs::open(path, flags, Mode::empty());
        match opened {
            Ok(descriptor) => Self::of(File::from(descriptor)),
            Err(rustix::io::Errno::LOOP) if !follow => Err(InputError::NotAFile("a symbolic link")),
            Err(rustix::io::Errno::NXIO) => Err(InputError::NotAFile("a socket")),
            Err(errno) => Err(errno.into()),
        }
    }

    /// Takes a file that is open already.
    pub(super) fn of(file: File) -> Result<Self, InputError> {
        let stat = rustix::fs::fstat(&file)?;
        let version = match FileType::from_raw_mode(stat.st_mode) {
            FileType::RegularFile => Version::of(&stat),
            other => return Err(InputError::NotAFile(type_name(other))),
        };
        Ok(Self {
            file,
            version,
            windows: RefCell::new(Vec::new()),
        })
    }

    /// Whether it still is what it was when it was opened.
    pub(super) fn is_unchanged(&self) -> bool {
        rustix::fs::fstat(&self.file).is_ok_and(|stat| Version::of(&stat) == self.version)
    }

    /// Whether it gives bytes although the system says that it has none, as files of the kernel do.
    pub(super) fn has_no_size(&self) -> bool {
        self.version.size == 0 && self.file.read_at(&mut [0], 0).is_ok_and(|read| read > 0)
    }
}

impl ReadAt for Opened {
    fn len(&self) -> u64 {
        self.version.size
    }

    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<()> {
        if buffer.len() > WINDOW / 2 {
            return self.file.read_exact_at(buffer, offset);
        }
        let mut windows = self.windows.borrow_mut();
        let known = windows
            .iter()
            .position(|window| window.get(offset, buffer.len()).is_some());
        let index = match known {
            Some(index) => index,
            None => self.fill(&mut windows, offset)?,
        };
        // The one that was used last stands last.
        let used = windows.remove(index);
        let result = match used.get(offset, buffer.len()) {
            Some(bytes) => {
                buffer.copy_from_slice(bytes);
                Ok(())
            }
            None => Err(io::ErrorKind::UnexpectedEof.into()),
        };
        windows.push(used);
        result
    }
}

impl Opened {
    /// Reads a window at `offset` in place of the one that was not used for longest; gives its index.
    fn fill(&self, windows: &mut Vec<Window>, offset: u64) -> io::Result<usize> {
        let mut window = if windows.len() < WINDOWS {
            Window::default()
        } else {
            windows.remove(0)
        };
        let left = self.version.size.saturating_sub(offset);
        let length = usize::try_from(left).unwrap_or(WINDOW).min(WINDOW);
        window.bytes.resize(length, 0);
        window.start = offset;
        let read = self.file.read_exact_at(&mut window.bytes, offset);
        if read.is_err() {
            window.bytes.clear();
        }
        windows.push(window);
        read.map(|()| windows.len() - 1)
    }
}

/// The name of a type of file, for people.
pub(super) fn type_name(file_type: FileType) -> &'static str {
    match file_type {
        FileType::Fifo => "a named pipe",
        FileType::Socket => "a socket",
        FileType::CharacterDevice => "a character device",
        FileType::BlockDevice => "a block device",
        FileType::Directory => "a folder",
        FileType::Symlink => "a symbolic link",
        _ => "not a regular file",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_window_gives_the_bytes_of_the_file() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("file");
        let bytes: Vec<u8> = (0..100_000_u32).map(|n| (n * 7 % 251) as u8).collect();
        std::fs::write(&path, &bytes).unwrap();
        let opened = Opened::open(&path, true).unwrap();
        let places = [
            0, 99_990, 5, 40_000, 16_380, 70_000, 99_999, 8_192, 0, 30_000,
        ];
        for offset in places {
            for length in [0, 1, 9, 4_000, 20_000] {
                let mut buffer = vec![0; length];
                let read = opened.read_at(offset as u64, &mut buffer);
                match bytes.get(offset..offset + length) {
                    Some(expected) => assert_eq!(buffer, expected),
                    None => assert!(read.is_err(), "{offset} {length}"),
                }
            }
        }
        assert!(opened.read_at(u64::MAX, &mut [0; 4]).is_err());
    }

    #[test]
    fn a_file_that_is_written_to_is_no_longer_what_it_was() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("file");
        std::fs::write(&path, b"0123").unwrap();
        let opened = Opened::open(&path, true).unwrap();
        assert!(opened.is_unchanged());
        std::fs::write(&path, b"012345").unwrap();
        assert!(!opened.is_unchanged());
    }

    #[test]
    fn what_is_no_file_is_named_and_not_waited_for() {
        let folder = tempfile::tempdir().unwrap();
        let pipe = folder.path().join("pipe");
        rustix::fs::mknodat(
            rustix::fs::CWD,
            &pipe,
            FileType::Fifo,
            Mode::from_raw_mode(0o600),
            0,
        )
        .unwrap();
        let link = folder.path().join("link");
        std::os::unix::fs::symlink("/dev/null", &link).unwrap();
        let said = |path: &Path, follow| match Opened::open(path, follow) {
            Ok(_) => String::new(),
            Err(error) => error.to_string(),
        };
        assert_eq!(said(&pipe, true), "it is a named pipe, which is not opened");
        assert_eq!(
            said(&link, false),
            "it is a symbolic link, which is not opened"
        );
        assert_eq!(
            said(&link, true),
            "it is a character device, which is not opened"
        );
        assert!(said(&folder.path().join("no"), true).starts_with("it cannot be read"));
    }
}
