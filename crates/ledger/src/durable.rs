//! The few system calls that decide whether something survives a power cut, and the errors that they give.
//!
//! Everything is written so that a file under its final name is either whole or beyond what the published tree head
//! counts. A failed sync is an error that reaches the caller: after one, the page cache may say "clean" about bytes that
//! never reached the disk, so nothing here tries a second time. Files are opened without following a link and without
//! blocking, so that a pipe or a link that somebody put in the store is an error and not a hang.

use std::collections::BTreeSet;
use std::fs::{DirBuilder, File, OpenOptions};
use std::io::{self, ErrorKind, Read as _, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use rustix::fs::OFlags;

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

impl Fault {
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

/// Creates `path` with `bytes`, not yet synced. What an interrupted run left there is removed first and never written
/// through: it may be a link to somewhere else.
pub(crate) fn write_fresh(path: &Path, bytes: &[u8]) -> Result<File, Fault> {
    let create = || {
        OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(path)
    };
    let mut file = match create() {
        Err(error) if error.kind() == ErrorKind::AlreadyExists => {
            remove_file(path)?;
            create()
        }
        other => other,
    }
    .map_err(|error| Fault::at(path, error))?;
    file.write_all(bytes)
        .map_err(|error| Fault::at(path, error))?;
    Ok(file)
}

/// Renames, replacing what has the new name; the new name is still to be synced.
pub(crate) fn rename(from: &Path, to: &Path) -> Result<(), Fault> {
    std::fs::rename(from, to).map_err(|error| Fault::at(to, error))
}

/// Gives a written and synced file its final name, unless somebody was first: then `false`, and the file is removed.
pub(crate) fn publish_once(temporary: &Path, path: &Path) -> Result<bool, Fault> {
    let linked = std::fs::hard_link(temporary, path);
    let refused = linked.as_ref().err().map(io::Error::kind);
    if matches!(
        refused,
        Some(ErrorKind::PermissionDenied | ErrorKind::Unsupported)
    ) {
        // A file system without hard links: the kernel can refuse to replace instead.
        use rustix::fs::{CWD, RenameFlags, renameat_with};
        return match renameat_with(CWD, temporary, CWD, path, RenameFlags::NOREPLACE) {
            Ok(()) => sync_directory(parent(path)).map(|()| true),
            Err(rustix::io::Errno::EXIST) => remove_file(temporary).map(|()| false),
            Err(error) => Err(Fault::at(path, error.into())),
        };
    }
    remove_file(temporary)?;
    match linked {
        Ok(()) => sync_directory(parent(path)).map(|()| true),
        Err(error) if error.kind() == ErrorKind::AlreadyExists => Ok(false),
        Err(error) => Err(Fault::at(path, error)),
    }
}

/// Removes a file; that it is not there is fine.
pub(crate) fn remove_file(path: &Path) -> Result<(), Fault> {
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != ErrorKind::NotFound => Err(Fault::at(path, error)),
        _ => Ok(()),
    }
}

/// Creates a private directory; says whether it is new.
pub(crate) fn make_directory(path: &Path) -> Result<bool, Fault> {
    match DirBuilder::new().mode(0o700).create(path) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == ErrorKind::AlreadyExists && path.is_dir() => Ok(false),
        Err(error) => Err(Fault::at(path, error)),
    }
}

/// Makes the names in a directory durable.
pub(crate) fn sync_directory(path: &Path) -> Result<(), Fault> {
    File::open(path)
        .and_then(|directory| directory.sync_all())
        .map_err(|error| Fault::at(path, error))
}

/// Makes everything durable that was written to the file system that `path` is on. Costs what the slowest pending write
/// of anybody costs, and on kernels before 5.8 it does not report failed writes.
pub(crate) fn sync_file_system(path: &Path) -> Result<(), Fault> {
    let directory = File::open(path).map_err(|error| Fault::at(path, error))?;
    rustix::fs::syncfs(&directory).map_err(|error| Fault::at(path, error.into()))
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
#[derive(Default)]
pub(crate) struct Unsynced {
    files: Vec<(File, PathBuf)>,
    directories: BTreeSet<PathBuf>,
}

/// Open files that may wait; a huge batch must not use up the process's descriptors.
const WAITING: usize = 64;

/// Syncs that are under way at once. The disk takes them together: five cost little more than one.
const AT_ONCE: usize = 8;

impl Unsynced {
    /// Writes `below/name`, creating the directories between. File and name are to be synced.
    pub(crate) fn write(&mut self, below: &Path, name: &str, bytes: &[u8]) -> Result<(), Fault> {
        let path = below.join(name);
        self.make_parents(below, &path)?;
        self.directories.insert(parent(&path).to_owned());
        self.write_nameless(path, bytes)
    }

    /// Writes a file that gets its name later: only its content is to be synced.
    pub(crate) fn write_nameless(&mut self, path: PathBuf, bytes: &[u8]) -> Result<(), Fault> {
        let file = write_fresh(&path, bytes)?;
        self.files.push((file, path));
        if self.files.len() < WAITING {
            return Ok(());
        }
        sync_together(&std::mem::take(&mut self.files))
    }

    /// The names in this directory are to be synced.
    pub(crate) fn add_directory(&mut self, path: &Path) {
        self.directories.insert(path.to_owned());
    }

    /// Makes all of it durable, contents and names in no order: nothing may refer to any of it before this returns.
    pub(crate) fn sync(mut self) -> Result<(), Fault> {
        for path in self.directories {
            let directory = File::open(&path).map_err(|error| Fault::at(&path, error))?;
            self.files.push((directory, path));
        }
        sync_together(&self.files)
    }

    fn make_parents(&mut self, below: &Path, path: &Path) -> Result<(), Fault> {
        let directory = parent(path);
        if directory == below || directory.is_dir() {
            return Ok(());
        }
        self.make_parents(below, directory)?;
        if make_directory(directory)? {
            self.directories.insert(parent(directory).to_owned());
        }
        Ok(())
    }
}

/// Syncs files and directories, several at once. All are tried; the first failure is told.
fn sync_together(files: &[(File, PathBuf)]) -> Result<(), Fault> {
    let sync = |part: &[(File, PathBuf)]| {
        let results = part
            .iter()
            .map(|(file, path)| file.sync_all().map_err(|error| Fault::at(path, error)));
        results.fold(Ok(()), Result::and)
    };
    let mut parts = files.chunks(files.len().div_ceil(AT_ONCE).max(1));
    let own = parts.next().unwrap_or_default();
    std::thread::scope(|scope| {
        let mut result = Ok(());
        let mut others = Vec::new();
        for part in parts {
            match std::thread::Builder::new().spawn_scoped(scope, move || sync(part)) {
                Ok(thread) => others.push(thread),
                // No thread to be had: it takes longer.
                Err(_) => result = result.and(sync(part)),
            }
        }
        result = result.and(sync(own));
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
    fn a_leftover_link_is_replaced_and_never_written_through() {
        let folder = tempfile::tempdir().unwrap();
        let (victim, path) = (folder.path().join("victim"), folder.path().join("tile"));
        std::fs::write(&victim, "untouched").unwrap();
        std::os::unix::fs::symlink(&victim, &path).unwrap();
        write_fresh(&path, b"new").unwrap();
        assert_eq!(std::fs::read(&victim).unwrap(), b"untouched");
        assert_eq!(std::fs::read(&path).unwrap(), b"new");
    }

    #[test]
    fn only_the_first_of_two_gets_the_name() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        std::fs::write(at("a"), "a").unwrap();
        std::fs::write(at("b"), "b").unwrap();
        assert!(publish_once(&at("a"), &at("final")).unwrap());
        assert!(!publish_once(&at("b"), &at("final")).unwrap());
        assert_eq!(std::fs::read(at("final")).unwrap(), b"a");
        assert!(!at("a").exists() && !at("b").exists());
    }
}
