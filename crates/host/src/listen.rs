//! A private place where the processes of a job can reach us.
//!
//! A Unix socket in a folder of its own, 0700, made by us and removed by us. A name in the abstract namespace was
//! rejected: it has no permissions. The folder is made, never reused, so whoever prepared one of that name gets nothing.

use std::io;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

use crate::clock;

/// A socket address holds 108 bytes on Linux; some runtimes allow fewer.
pub const PATH_LIMIT: usize = 100;

/// Why there is no socket.
#[derive(Debug, thiserror::Error)]
pub enum ListenError {
    /// In each of the folders the path would be too long for a socket address.
    #[error("{path:?} is longer than a socket address may be ({PATH_LIMIT} bytes)")]
    PathTooLong {
        /// The last path tried.
        path: PathBuf,
    },
    /// No folder could be made, or no socket in it.
    #[error("no socket can be made in {folder:?}")]
    Io {
        /// The last folder tried.
        folder: PathBuf,
        /// Why.
        #[source]
        cause: io::Error,
    },
    /// No folder was given.
    #[error("no folder was given for the socket")]
    NoFolder,
}

/// A listening socket in a private folder; both are removed on drop.
#[derive(Debug)]
pub struct PrivateListener {
    listener: UnixListener,
    folder: OwnFolder,
    path: PathBuf,
}

impl PrivateListener {
    /// Makes the socket in the first of these folders where it can be made: `$XDG_RUNTIME_DIR`, then a temporary folder.
    pub fn open(folders: &[&Path]) -> Result<Self, ListenError> {
        let mut failure = ListenError::NoFolder;
        for folder in folders {
            match Self::open_in(folder) {
                Ok(listener) => return Ok(listener),
                Err(error) => failure = error,
            }
        }
        Err(failure)
    }

    fn open_in(folder: &Path) -> Result<Self, ListenError> {
        let failed = |cause| ListenError::Io {
            folder: folder.to_owned(),
            cause,
        };
        // A relative path would change its meaning with the job's working directory.
        let place = std::path::absolute(folder).map_err(failed)?;
        let own = OwnFolder::make(&place).map_err(failed)?;
        let path = own.path.join("s");
        if path.as_os_str().as_bytes().len() >= PATH_LIMIT {
            return Err(ListenError::PathTooLong { path });
        }
        let listener = UnixListener::bind(&path).map_err(failed)?;
        Ok(Self {
            listener,
            folder: own,
            path,
        })
    }

    /// The listening socket.
    pub fn listener(&self) -> &UnixListener {
        &self.listener
    }

    /// Where it is: absolute, shorter than [`PATH_LIMIT`] bytes.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The private folder around it.
    pub fn folder(&self) -> &Path {
        &self.folder.path
    }
}

/// A folder that we made, known by more than its name.
#[derive(Debug)]
struct OwnFolder {
    path: PathBuf,
    identity: (u64, u64),
    maker: u32,
}

impl OwnFolder {
    fn make(place: &Path) -> io::Result<Self> {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let maker = std::process::id();
        loop {
            let count = COUNT.fetch_add(1, Ordering::Relaxed);
            let time = clock::wall_us() & 0xffff_ffff;
            let path = place.join(format!("taintline-{maker}-{time:x}{count:x}"));
            match std::fs::DirBuilder::new().mode(0o700).create(&path) {
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
                Err(error) => return Err(error),
                Ok(()) => {
                    let meta = std::fs::symlink_metadata(&path)?;
                    return Ok(Self {
                        path,
                        identity: (meta.dev(), meta.ino()),
                        maker,
                    });
                }
            }
        }
    }
}

impl Drop for OwnFolder {
    fn drop(&mut self) {
        let is_ours = std::process::id() == self.maker
            && std::fs::symlink_metadata(&self.path)
                .is_ok_and(|meta| (meta.dev(), meta.ino()) == self.identity);
        if is_ours {
            // Only what we put there; a folder in which somebody else left something stays.
            let _ = std::fs::remove_file(self.path.join("s"));
            let _ = std::fs::remove_dir(&self.path);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixStream;

    use super::*;

    #[test]
    fn the_socket_is_ours_alone_and_gone_afterwards() {
        let place = tempfile::tempdir().unwrap();
        let listener = PrivateListener::open(&[place.path()]).unwrap();
        let mode = std::fs::metadata(listener.folder()).unwrap().mode();
        assert_eq!(mode & 0o777, 0o700);
        UnixStream::connect(listener.path()).unwrap();
        listener.listener().accept().unwrap();
        drop(listener);
        assert_eq!(std::fs::read_dir(place.path()).unwrap().count(), 0);
    }

    #[test]
    fn a_missing_or_too_long_folder_gives_way_to_the_next() {
        let place = tempfile::tempdir().unwrap();
        let long = place.path().join("x".repeat(PATH_LIMIT));
        std::fs::create_dir(&long).unwrap();
        let missing = place.path().join("missing");
        let listener = PrivateListener::open(&[&missing, &long, place.path()]).unwrap();
        assert_eq!(listener.folder().parent(), Some(place.path()));
        assert!(listener.path().as_os_str().len() < PATH_LIMIT);
        assert!(matches!(
            PrivateListener::open(&[&missing, &long]),
            Err(ListenError::PathTooLong { .. })
        ));
        assert_eq!(std::fs::read_dir(&long).unwrap().count(), 0);
        assert!(matches!(
            PrivateListener::open(&[]),
            Err(ListenError::NoFolder)
        ));
    }

    #[test]
    fn what_another_put_in_our_place_is_not_removed() {
        let place = tempfile::tempdir().unwrap();
        let listener = PrivateListener::open(&[place.path()]).unwrap();
        let folder = listener.folder().to_owned();
        std::fs::rename(&folder, place.path().join("moved")).unwrap();
        std::fs::create_dir(&folder).unwrap();
        drop(listener);
        assert!(folder.exists());
    }
}
