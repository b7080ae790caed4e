//! Files with keys and certificates: read with care, and the user's own key made on first use.
//!
//! A private key that others can read or change is refused instead of repaired: it may have been read already. A new one
//! appears under its name whole, synced and 0600, or not at all; of two processes that make it at once, both get the same.

use std::fs::{DirBuilder, File, OpenOptions};
use std::io::{ErrorKind, Read as _, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use crate::keys::{Curve, KeySyntax, NoRandomness, PrivateKey};
use crate::pem::MAX_PEM_BYTES;

/// A file that is not used.
#[derive(Debug, thiserror::Error)]
pub enum KeyFileError {
    /// The disk refused.
    #[error("{}: {source}", path.display())]
    Disk {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// Not a regular file, or larger than the limit.
    #[error("{}: it is not a regular file of at most {limit} bytes", path.display())]
    Kind {
        /// The file.
        path: PathBuf,
        /// The limit.
        limit: u64,
    },
    /// Others can read it or write it.
    #[error("{}: the key file's mode is {mode:o}; others must have no access (chmod 600, or make a new key)", path.display())]
    Exposed {
        /// The key file.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// Of another user.
    #[error("{}: the key file belongs to user {owner}", path.display())]
    Foreign {
        /// The key file.
        path: PathBuf,
        /// Whose it is.
        owner: u32,
    },
    /// Not a key.
    #[error("{}: {why}", path.display())]
    Syntax {
        /// The file.
        path: PathBuf,
        /// Why not.
        why: KeySyntax,
    },
    /// No random bytes.
    #[error(transparent)]
    NoRandomness(#[from] NoRandomness),
}

/// The bytes of a regular file of at most `limit` bytes; pipes and devices are not waited for.
pub fn read(path: &Path, limit: u64) -> Result<Vec<u8>, KeyFileError> {
    let (file, _) = open(path, limit)?;
    take(path, file, limit)
}

/// Reads a private key that only its owner can reach.
pub fn read_private(path: &Path) -> Result<PrivateKey, KeyFileError> {
    let text = read_own(path, MAX_PEM_BYTES)?;
    PrivateKey::from_pem(&text).map_err(|why| KeyFileError::Syntax {
        path: path.to_owned(),
        why,
    })
}

/// The bytes of a file that only its owner can reach.
pub fn read_own(path: &Path, limit: u64) -> Result<Vec<u8>, KeyFileError> {
    let (file, facts) = open(path, limit)?;
    let mode = facts.mode() & 0o7777;
    if mode & 0o077 != 0 {
        return Err(KeyFileError::Exposed {
            path: path.to_owned(),
            mode,
        });
    }
    let owner = facts.uid();
    if owner != 0 && owner != rustix::process::geteuid().as_raw() {
        return Err(KeyFileError::Foreign {
            path: path.to_owned(),
            owner,
        });
    }
    take(path, file, limit)
}

/// Reads the user's own key, or makes it: P-256, which every verifier of model signatures knows.
pub fn own_key(path: &Path) -> Result<PrivateKey, KeyFileError> {
    match read_private(path) {
        Err(KeyFileError::Disk { source, .. }) if source.kind() == ErrorKind::NotFound => {
            make(path)
        }
        other => other,
    }
}

fn open(path: &Path, limit: u64) -> Result<(File, std::fs::Metadata), KeyFileError> {
    let disk = |source| KeyFileError::Disk {
        path: path.to_owned(),
        source,
    };
    let flags = rustix::fs::OFlags::NONBLOCK | rustix::fs::OFlags::NOCTTY;
    let flags = i32::try_from(flags.bits()).unwrap_or(0);
    let file = OpenOptions::new()
        .read(true)
        .custom_flags(flags)
        .open(path)
        .map_err(disk)?;
    let facts = file.metadata().map_err(disk)?;
    if !facts.is_file() || facts.len() > limit {
        return Err(KeyFileError::Kind {
            path: path.to_owned(),
            limit,
        });
    }
    Ok((file, facts))
}

fn take(path: &Path, file: File, limit: u64) -> Result<Vec<u8>, KeyFileError> {
    let mut bytes = Vec::new();
    let read = file.take(limit + 1).read_to_end(&mut bytes);
    read.map_err(|source| KeyFileError::Disk {
        path: path.to_owned(),
        source,
    })?;
    if bytes.len() as u64 > limit {
        return Err(KeyFileError::Kind {
            path: path.to_owned(),
            limit,
        });
    }
    Ok(bytes)
}

fn make(path: &Path) -> Result<PrivateKey, KeyFileError> {
    let disk = |source| KeyFileError::Disk {
        path: path.to_owned(),
        source,
    };
    let key = PrivateKey::generate(Curve::P256)?;
    let text = key.to_pem().ok_or(NoRandomness)?;
    let folder = path.parent().unwrap_or(Path::new("."));
    DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(folder)
        .map_err(disk)?;
    let mut random = [0; 8];
    getrandom::fill(&mut random).map_err(|_| NoRandomness)?;
    let temporary = folder.join(format!(".new-{:016x}", u64::from_le_bytes(random)));
    let mut file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(&temporary)
        .map_err(disk)?;
    let written = file
        .write_all(text.as_bytes())
        .and_then(|()| file.sync_all());
    // Dying here leaves a hidden file that nothing refers to. A link, unlike a rename, replaces nothing.
    let linked = written.and_then(|()| std::fs::hard_link(&temporary, path));
    let removed = std::fs::remove_file(&temporary);
    match linked {
        Err(error) if error.kind() == ErrorKind::AlreadyExists => return read_private(path),
        other => other.map_err(disk)?,
    }
    removed.map_err(disk)?;
    File::open(folder)
        .and_then(|folder| folder.sync_all())
        .map_err(disk)?;
    Ok(key)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt as _;

    #[test]
    fn the_own_key_is_made_once_and_by_all_at_once() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("deep/seal.key");
        let make = || own_key(&path).unwrap().public().hint();
        let hints: Vec<_> = std::thread::scope(|scope| {
            let all: Vec<_> = (0..8).map(|_| scope.spawn(make)).collect();
            all.into_iter().map(|one| one.join().unwrap()).collect()
        });
        assert!(hints.iter().all(|hint| *hint == hints[0]));
        let mode = std::fs::metadata(&path).unwrap().permissions().mode() & 0o777;
        let left = std::fs::read_dir(path.parent().unwrap()).unwrap().count();
        assert_eq!((mode, left), (0o600, 1));
    }

    #[test]
    fn a_key_that_others_can_reach_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("key");
        own_key(&path).unwrap();
        for bad in [0o640, 0o604, 0o620] {
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(bad)).unwrap();
            let error = read_private(&path).err().unwrap();
            assert!(matches!(error, KeyFileError::Exposed { mode, .. } if mode == bad));
        }
    }

    #[test]
    fn what_is_no_file_or_too_large_is_refused_without_waiting() {
        let folder = tempfile::tempdir().unwrap();
        let pipe = folder.path().join("pipe");
        let mode = rustix::fs::Mode::from_raw_mode(0o600);
        rustix::fs::mknodat(rustix::fs::CWD, &pipe, rustix::fs::FileType::Fifo, mode, 0).unwrap();
        assert!(matches!(read(&pipe, 10), Err(KeyFileError::Kind { .. })));
        let large = folder.path().join("large");
        std::fs::write(&large, [0; 11]).unwrap();
        assert!(matches!(read(&large, 10), Err(KeyFileError::Kind { .. })));
        assert_eq!(read(&large, 11).unwrap().len(), 11);
    }
}
