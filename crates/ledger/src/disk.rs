//! The port to the disk: every change that the ledger makes to files passes here, and nothing else does.
//!
//! The operations are those whose order decides what a power cut leaves: create, write in place, give a name, take a name
//! away, sync. Reading is not among them, because a reader believes nothing that it cannot verify. [`Kernel`] is the real
//! disk; the crash tests put one in its place that remembers every operation and then drops, reorders and tears whatever
//! was not synced. [`Slower`] is the real one with later answers, to measure by.

use std::fmt;
use std::fs::{DirBuilder, File, OpenOptions};
use std::io::{self, ErrorKind, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, FileExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::fs::OFlags;

use crate::durable::Fault;

/// An open file and the name that it was opened under.
#[derive(Debug)]
pub(crate) struct Handle {
    pub(crate) file: File,
    pub(crate) path: PathBuf,
}

impl Handle {
    pub(crate) fn fault(&self, error: io::Error) -> Fault {
        Fault::at(&self.path, error)
    }
}

/// What can be done to files. Nothing of it survives a power cut before the sync that is named for it.
pub(crate) trait Disk: Send + Sync + fmt::Debug {
    /// Creates a private file with `bytes`, in place of what an interrupted run left there. Content: [`Disk::sync`];
    /// name: [`Disk::sync_directory`].
    fn create(&self, path: &Path, bytes: &[u8]) -> Result<Handle, Fault>;

    /// Opens an existing file to change it; `None` when there is none.
    fn open(&self, path: &Path) -> Result<Option<Handle>, Fault>;

    /// Writes within a file, also beyond its end.
    fn write_at(&self, handle: &Handle, at: u64, bytes: &[u8]) -> Result<(), Fault>;

    /// Makes the content of a file durable, and its length.
    fn sync(&self, handle: &Handle) -> Result<(), Fault>;

    /// Makes the names in a directory durable.
    fn sync_directory(&self, path: &Path) -> Result<(), Fault>;

    /// Makes everything durable that was written to the file system that `path` is on. Costs what the slowest pending
    /// write of anybody costs, and on kernels before 5.8 it does not report failed writes.
    fn sync_file_system(&self, path: &Path) -> Result<(), Fault>;

    /// Renames, replacing a file that has the new name.
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()>;

    /// Renames unless the new name is taken.
    fn rename_to_free(&self, from: &Path, to: &Path) -> io::Result<()>;

    /// Sets a file's modification time to now. Need not survive anything.
    fn touch(&self, path: &Path) -> io::Result<()>;

    /// Gives a file a second name, which must be free.
    fn link(&self, from: &Path, to: &Path) -> io::Result<()>;

    /// Removes a file; that it is not there is fine.
    fn remove(&self, path: &Path) -> Result<(), Fault>;

    /// Removes an empty directory.
    fn remove_directory(&self, path: &Path) -> io::Result<()>;

    /// Creates a private directory; says whether it is new.
    fn make_directory(&self, path: &Path) -> Result<bool, Fault>;
}

/// The disk as the kernel has it.
#[derive(Debug)]
pub(crate) struct Kernel;

impl Disk for Kernel {
    fn create(&self, path: &Path, bytes: &[u8]) -> Result<Handle, Fault> {
        let create = || {
            OpenOptions::new()
                .read(true)
                .write(true)
                .create_new(true)
                .mode(0o600)
                .open(path)
        };
        let mut file = match create() {
            // Never written through: it may be a link to somewhere else.
            Err(error) if error.kind() == ErrorKind::AlreadyExists => {
                self.remove(path)?;
                create()
            }
            other => other,
        }
        .map_err(|error| Fault::at(path, error))?;
        file.write_all(bytes)
            .map_err(|error| Fault::at(path, error))?;
        let path = path.to_owned();
        Ok(Handle { file, path })
    }

    fn open(&self, path: &Path) -> Result<Option<Handle>, Fault> {
        let flags = OFlags::NOFOLLOW | OFlags::NONBLOCK;
        let opened = OpenOptions::new()
            .read(true)
            .write(true)
            .custom_flags(flags.bits().cast_signed())
            .open(path);
        match opened {
            Ok(file) => Ok(Some(Handle {
                file,
                path: path.to_owned(),
            })),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
            Err(error) => Err(Fault::at(path, error)),
        }
    }

    fn write_at(&self, handle: &Handle, at: u64, bytes: &[u8]) -> Result<(), Fault> {
        let written = handle.file.write_all_at(bytes, at);
        written.map_err(|error| handle.fault(error))
    }

    fn sync(&self, handle: &Handle) -> Result<(), Fault> {
        handle.file.sync_data().map_err(|error| handle.fault(error))
    }

    fn sync_directory(&self, path: &Path) -> Result<(), Fault> {
        File::open(path)
            .and_then(|directory| directory.sync_all())
            .map_err(|error| Fault::at(path, error))
    }

    fn sync_file_system(&self, path: &Path) -> Result<(), Fault> {
        let directory = File::open(path).map_err(|error| Fault::at(path, error))?;
        rustix::fs::syncfs(&directory).map_err(|error| Fault::at(path, error.into()))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        std::fs::rename(from, to)
    }

    fn rename_to_free(&self, from: &Path, to: &Path) -> io::Result<()> {
        use rustix::fs::{CWD, RenameFlags, renameat_with};
        renameat_with(CWD, from, CWD, to, RenameFlags::NOREPLACE).map_err(io::Error::from)
    }

    fn touch(&self, path: &Path) -> io::Result<()> {
        use rustix::fs::{AtFlags, CWD, Timespec, Timestamps, UTIME_NOW, utimensat};
        let now = Timespec {
            tv_sec: 0,
            tv_nsec: UTIME_NOW,
        };
        let times = Timestamps {
            last_access: now,
            last_modification: now,
        };
        utimensat(CWD, path, &times, AtFlags::SYMLINK_NOFOLLOW).map_err(io::Error::from)
    }

    fn link(&self, from: &Path, to: &Path) -> io::Result<()> {
        std::fs::hard_link(from, to)
    }

    fn remove(&self, path: &Path) -> Result<(), Fault> {
        match std::fs::remove_file(path) {
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
            // A folder where only files of ours stand was put there by somebody.
            Err(_) if std::fs::symlink_metadata(path).is_ok_and(|facts| facts.is_dir()) => {
                Err(Fault::Odd {
                    path: path.to_owned(),
                    limit: 0,
                })
            }
            other => other.map_err(|error| Fault::at(path, error)),
        }
    }

    fn remove_directory(&self, path: &Path) -> io::Result<()> {
        std::fs::remove_dir(path)
    }

    fn make_directory(&self, path: &Path) -> Result<bool, Fault> {
        match DirBuilder::new().mode(0o700).create(path) {
            Ok(()) => Ok(true),
            Err(error) if error.kind() == ErrorKind::AlreadyExists && path.is_dir() => Ok(false),
            Err(error) => Err(Fault::at(path, error)),
        }
    }
}

/// The kernel's disk with a slower answer to every sync: for measurements of a disk that this machine does not have.
#[derive(Debug)]
pub(crate) struct Slower(pub(crate) Duration);

impl Disk for Slower {
    fn create(&self, path: &Path, bytes: &[u8]) -> Result<Handle, Fault> {
        Kernel.create(path, bytes)
    }

    fn open(&self, path: &Path) -> Result<Option<Handle>, Fault> {
        Kernel.open(path)
    }

    fn write_at(&self, handle: &Handle, at: u64, bytes: &[u8]) -> Result<(), Fault> {
        Kernel.write_at(handle, at, bytes)
    }

    fn sync(&self, handle: &Handle) -> Result<(), Fault> {
        Kernel.sync(handle)?;
        std::thread::sleep(self.0);
        Ok(())
    }

    fn sync_directory(&self, path: &Path) -> Result<(), Fault> {
        Kernel.sync_directory(path)?;
        std::thread::sleep(self.0);
        Ok(())
    }

    fn sync_file_system(&self, path: &Path) -> Result<(), Fault> {
        Kernel.sync_file_system(path)?;
        std::thread::sleep(self.0);
        Ok(())
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        Kernel.rename(from, to)
    }

    fn rename_to_free(&self, from: &Path, to: &Path) -> io::Result<()> {
        Kernel.rename_to_free(from, to)
    }

    fn touch(&self, path: &Path) -> io::Result<()> {
        Kernel.touch(path)
    }

    fn link(&self, from: &Path, to: &Path) -> io::Result<()> {
        Kernel.link(from, to)
    }

    fn remove(&self, path: &Path) -> Result<(), Fault> {
        Kernel.remove(path)
    }

    fn remove_directory(&self, path: &Path) -> io::Result<()> {
        Kernel.remove_directory(path)
    }

    fn make_directory(&self, path: &Path) -> Result<bool, Fault> {
        Kernel.make_directory(path)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_leftover_link_is_replaced_and_never_written_through() {
        let folder = tempfile::tempdir().unwrap();
        let (victim, path) = (folder.path().join("victim"), folder.path().join("tile"));
        std::fs::write(&victim, "untouched").unwrap();
        std::os::unix::fs::symlink(&victim, &path).unwrap();
        Kernel.create(&path, b"new").unwrap();
        assert_eq!(std::fs::read(&victim).unwrap(), b"untouched");
        assert_eq!(std::fs::read(&path).unwrap(), b"new");
    }
}
