//! How files are read and written so that a power cut does no harm, and the errors that the disk gives.
//!
//! Everything is written so that a file under its final name is either whole or beyond what the published tree head
//! counts. A failed sync is an error that reaches the caller: after one, the page cache may say "clean" about bytes that
//! never reached the disk, so nothing here tries a second time. Files are opened without following a link and without
//! blocking, so that a pipe or a link that somebody put in the store is an error and not a hang.

use std::collections::BTreeSet;
use std::fs::{File, OpenOptions};
use std::io::{self, ErrorKind, Read as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};

use rustix::fs::OFlags;

use crate::disk::{Disk, Handle};

/// What the disk refused, sorted by what a person does next.
#[derive(Debug, thiserror::Error)]
pub enum Fault {
    /// Not allowed: permissions, or a file system that is mounted read-only.
    #[error("{}: not permitted ({source})", path.display())]
    Denied {
        /// The file or directory.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// No room: disk full or quota used up.
    #[error("{}: no space left ({source})", path.display())]
    Full {
        /// The file or directory.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// Something stands there that is not a regular file of a sane size.
    #[error("{}: not a regular file of at most {limit} bytes", path.display())]
    Odd {
        /// The file.
        path: PathBuf,
        /// The most bytes that a file of this kind may have.
        limit: u64,
    },
    /// Anything else.
    #[error("{}: {source}", path.display())]
    Io {
        /// The file or directory.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
}

/// What the system said is told by its number, or else by its kind.
impl Clone for Fault {
    fn clone(&self) -> Self {
        let again = |source: &io::Error| match source.raw_os_error() {
            Some(number) => io::Error::from_raw_os_error(number),
            None => io::Error::new(source.kind(), source.to_string()),
        };
        match self {
            Self::Odd { path, limit } => Self::Odd {
                path: path.clone(),
                limit: *limit,
            },
            Self::Denied { path, source }
            | Self::Full { path, source }
            | Self::Io { path, source } => Self::at(path, again(source)),
        }
    }
}

impl Fault {
    /// The file or directory.
    pub fn path(&self) -> &Path {
        match self {
            Self::Denied { path, .. }
            | Self::Full { path, .. }
            | Self::Odd { path, .. }
            | Self::Io { path, .. } => path,
        }
    }

    pub(crate) fn at(path: &Path, source: io::Error) -> Self {
        let path = path.to_owned();
        match source.kind() {
            ErrorKind::PermissionDenied | ErrorKind::ReadOnlyFilesystem => {
                Self::Denied { path, source }
            }
            ErrorKind::StorageFull | ErrorKind::QuotaExceeded => Self::Full { path, source },
            _ => Self::Io { path, source },
        }
    }
}

/// Opens an existing regular file for reading; `None` when nothing stands there.
pub(crate) fn open_regular(path: &Path, limit: u64) -> Result<Option<(File, u64)>, Fault> {
    let flags = OFlags::NOFOLLOW | OFlags::NONBLOCK;
    let opened = OpenOptions::new()
        .read(true)
        .custom_flags(flags.bits().cast_signed())
        .open(path);
    let file = match opened {
        Ok(file) => file,
        Err(error) if is_absent(&error) => return Ok(None),
        Err(error) if error.raw_os_error() == Some(rustix::io::Errno::LOOP.raw_os_error()) => {
            return Err(Fault::Odd {
                path: path.to_owned(),
                limit,
            });
        }
        Err(error) => return Err(Fault::at(path, error)),
    };
    let facts = file.metadata().map_err(|error| Fault::at(path, error))?;
    if !facts.is_file() || facts.len() > limit {
        return Err(Fault::Odd {
            path: path.to_owned(),
            limit,
        });
    }
    Ok(Some((file, facts.len())))
}

/// Reads a regular file of at most `limit` bytes; `None` when nothing stands there.
pub(crate) fn read_regular(path: &Path, limit: u64) -> Result<Option<Vec<u8>>, Fault> {
    let Some((file, size)) = open_regular(path, limit)? else {
        return Ok(None);
    };
    let mut bytes = Vec::with_capacity(usize::try_from(size).unwrap_or_default());
    // The file may grow while it is read: one byte over the limit is enough to know.
    file.take(limit.saturating_add(1))
        .read_to_end(&mut bytes)
        .map_err(|error| Fault::at(path, error))?;
    if bytes.len() as u64 > limit {
        return Err(Fault::Odd {
            path: path.to_owned(),
            limit,
        });
    }
    Ok(Some(bytes))
}

/// Gives a written and synced file its final name, unless somebody was first: then `false`, and the file is removed.
pub(crate) fn publish_once(disk: &dyn Disk, temporary: &Path, path: &Path) -> Result<bool, Fault> {
    let linked = disk.link(temporary, path);
    let refused = linked.as_ref().err().map(io::Error::kind);
    if matches!(
        refused,
        Some(ErrorKind::PermissionDenied | ErrorKind::Unsupported)
    ) {
        // A file system without hard links: the kernel can refuse to replace instead.
        return match disk.rename_to_free(temporary, path) {
            Ok(()) => disk.sync_directory(parent(path)).map(|()| true),
            Err(error) if error.kind() == ErrorKind::AlreadyExists => {
                disk.remove(temporary).map(|()| false)
            }
            Err(error) => Err(Fault::at(path, error)),
        };
    }
    disk.remove(temporary)?;
    match linked {
        Ok(()) => disk.sync_directory(parent(path)).map(|()| true),
        Err(error) if error.kind() == ErrorKind::AlreadyExists => Ok(false),
        Err(error) => Err(Fault::at(path, error)),
    }
}

/// Renames, replacing what has the new name; the new name is still to be synced.
pub(crate) fn rename(disk: &dyn Disk, from: &Path, to: &Path) -> Result<(), Fault> {
    disk.rename(from, to).map_err(|error| Fault::at(to, error))
}

/// Creates a private directory and those above it that are missing, and makes their names durable: what will be synced in
/// them is no use without.
pub(crate) fn make_directories(disk: &dyn Disk, path: &Path) -> Result<(), Fault> {
    let missing = |folder: &&Path| !folder.as_os_str().is_empty() && !folder.is_dir();
    let mut folders: Vec<_> = path.ancestors().take_while(missing).collect();
    while let Some(folder) = folders.pop() {
        if disk.make_directory(folder)? {
            disk.sync_directory(parent(folder))?;
        }
    }
    Ok(())
}

/// The directory that holds `path`.
pub(crate) fn parent(path: &Path) -> &Path {
    path.parent().unwrap_or(Path::new("."))
}

/// A part of a file name that nobody else uses.
pub(crate) fn random_name() -> io::Result<String> {
    use std::fmt::Write as _;
    let mut bytes = [0_u8; 8];
    getrandom::fill(&mut bytes).map_err(io::Error::other)?;
    Ok(bytes.iter().fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    }))
}

fn is_absent(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory)
}

/// Files that were written and are waiting for one common sync.
pub(crate) struct Unsynced<'a> {
    disk: &'a dyn Disk,
    files: Vec<Handle>,
    directories: BTreeSet<PathBuf>,
}

/// Open files that may wait; a huge batch must not use up the process's descriptors.
const WAITING: usize = 128;

/// Syncs that are under way at once. The disk takes them together: a hundred cost little more than one.
const AT_ONCE: usize = 128;

impl<'a> Unsynced<'a> {
    /// Nothing yet.
    pub(crate) fn new(disk: &'a dyn Disk) -> Self {
        Self {
            disk,
            files: Vec::new(),
            directories: BTreeSet::new(),
        }
    }

    /// Writes `below/name`, creating the directories between. File and name are to be synced.
    pub(crate) fn write(&mut self, below: &Path, name: &str, bytes: &[u8]) -> Result<(), Fault> {
        let path = below.join(name);
        self.make_parents(below, &path)?;
        self.write_nameless(&path, bytes)
    }

    /// Writes a file that gets its name later: only its content is to be synced.
    pub(crate) fn write_nameless(&mut self, path: &Path, bytes: &[u8]) -> Result<(), Fault> {
        self.files.push(self.disk.create(path, bytes)?);
        if self.files.len() < WAITING {
            return Ok(());
        }
        let files = std::mem::take(&mut self.files);
        sync_together(self.disk, &files, &[])
    }

    /// The names in this directory are to be synced.
    pub(crate) fn add_directory(&mut self, path: &Path) {
        self.directories.insert(path.to_owned());
    }

    /// Makes all of it durable, contents and names in no order: nothing may refer to any of it before this returns.
    pub(crate) fn sync(self) -> Result<(), Fault> {
        let directories: Vec<_> = self.directories.into_iter().collect();
        sync_together(self.disk, &self.files, &directories)
    }

    /// Creates the directories between. Their names are to be synced also where they exist: somebody who died may have made
    /// them a moment ago.
    fn make_parents(&mut self, below: &Path, path: &Path) -> Result<(), Fault> {
        let directory = parent(path);
        self.directories.insert(directory.to_owned());
        if directory == below {
            return Ok(());
        }
        self.make_parents(below, directory)?;
        self.disk.make_directory(directory).map(drop)
    }
}

/// Syncs files and directories, several at once. All are tried; the first failure is told.
fn sync_together(disk: &dyn Disk, files: &[Handle], directories: &[PathBuf]) -> Result<(), Fault> {
    let count = files.len() + directories.len();
    let sync = |at: usize| match (files.get(at), directories.get(at.wrapping_sub(files.len()))) {
        (Some(file), _) => disk.sync(file),
        (None, Some(directory)) => disk.sync_directory(directory),
        (None, None) => Ok(()),
    };
    let next = AtomicUsize::new(0);
    let work = || {
        let mut result = Ok(());
        loop {
            let at = next.fetch_add(1, Ordering::Relaxed);
            if at >= count {
                return result;
            }
            result = result.and(sync(at));
        }
    };
    std::thread::scope(|scope| {
        // That no further thread is to be had only makes it slower.
        let others: Vec<_> = (1..count.min(AT_ONCE))
            .map_while(|_| std::thread::Builder::new().spawn_scoped(scope, work).ok())
            .collect();
        let mut result = work();
        for other in others {
            let lost = || {
                Err(Fault::Io {
                    path: PathBuf::new(),
                    source: io::Error::other("a sync was lost"),
                })
            };
            result = result.and(other.join().unwrap_or_else(|_| lost()));
        }
        result
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::disk::Kernel;

    #[test]
    fn what_is_no_regular_file_is_refused_without_waiting() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x");
        std::os::unix::fs::symlink("/etc/hostname", &path).unwrap();
        assert!(matches!(read_regular(&path, 10), Err(Fault::Odd { .. })));
        std::fs::remove_file(&path).unwrap();
        let fifo = rustix::fs::FileType::Fifo;
        rustix::fs::mknodat(
            rustix::fs::CWD,
            &path,
            fifo,
            rustix::fs::Mode::from(0o600),
            0,
        )
        .unwrap();
        assert!(matches!(read_regular(&path, 10), Err(Fault::Odd { .. })));
        assert!(matches!(
            read_regular(folder.path(), 10),
            Err(Fault::Odd { .. })
        ));
        assert!(matches!(
            read_regular(&folder.path().join("absent/file"), 10),
            Ok(None)
        ));
    }

    #[test]
    fn a_file_over_its_limit_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x");
        std::fs::write(&path, [0; 11]).unwrap();
        assert!(matches!(
            read_regular(&path, 10),
            Err(Fault::Odd { limit: 10, .. })
        ));
        assert_eq!(read_regular(&path, 11).unwrap(), Some(vec![0; 11]));
    }

    #[test]
    fn only_the_first_of_two_gets_the_name() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        std::fs::write(at("a"), "a").unwrap();
        std::fs::write(at("b"), "b").unwrap();
        assert!(publish_once(&Kernel, &at("a"), &at("final")).unwrap());
        assert!(!publish_once(&Kernel, &at("b"), &at("final")).unwrap());
        assert_eq!(std::fs::read(at("final")).unwrap(), b"a");
        assert!(!at("a").exists() && !at("b").exists());
    }
}
