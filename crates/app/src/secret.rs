//! The store's own secret: 32 random bytes beside the private keys, under which values are compared without being kept.

use std::io::{Read as _, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use domain::{Digest, Hasher};
use ledger::Store;

/// A secret that cannot be had.
#[derive(Debug, thiserror::Error)]
pub enum SecretError {
    /// The file cannot be read or made.
    #[error("secret {path}: {source}", path = path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The system gave no randomness.
    #[error("the system gave no random bytes")]
    NoRandomness,
}

/// The secret of a store, made on first use.
pub(crate) fn of_store(store: &Store, keys: &Path) -> Result<[u8; 32], SecretError> {
    let path = keys.join(format!("{}.secret", store.id()));
    let failed = |source| SecretError::Io {
        path: path.clone(),
        source,
    };
    std::fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(keys)
        .map_err(failed)?;
    let mut made = [0; 32];
    getrandom::fill(&mut made).map_err(|_| SecretError::NoRandomness)?;
    let mut options = std::fs::OpenOptions::new();
    match options.write(true).create_new(true).mode(0o600).open(&path) {
        Ok(mut file) => {
            file.write_all(&made)
                .and_then(|()| file.sync_all())
                .map_err(failed)?;
            Ok(made)
        }
        Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {
            read(&path).map_err(failed)
        }
        Err(error) => Err(failed(error)),
    }
}

/// The secret of a store, where there is one already.
pub(crate) fn known(store: &Store, keys: &Path) -> Option<[u8; 32]> {
    let mut secret = [0; 32];
    let mut file = std::fs::File::open(keys.join(format!("{}.secret", store.id()))).ok()?;
    file.read_exact(&mut secret).ok()?;
    Some(secret)
}

/// Gives a store that is new the secret of another, so that what is believed there is believed here.
pub(crate) fn lend(store: &Store, keys: &Path, secret: &[u8; 32]) -> Result<(), SecretError> {
    let path = keys.join(format!("{}.secret", store.id()));
    let failed = |source| SecretError::Io {
        path: path.clone(),
        source,
    };
    let mut folder = std::fs::DirBuilder::new();
    folder
        .recursive(true)
        .mode(0o700)
        .create(keys)
        .map_err(failed)?;
    let mut options = std::fs::OpenOptions::new();
    let file = options.write(true).create_new(true).mode(0o600).open(&path);
    let written = file.and_then(|mut file| file.write_all(secret));
    written.map_err(failed)
}

/// HMAC-SHA256 (RFC 2104) of the parts, one behind the other, under a secret that fits one block.
pub(crate) fn keyed(secret: &[u8; 32], parts: &[&[u8]]) -> Digest {
    let pad = |byte: u8| {
        let mut block = [byte; 64];
        for (slot, key) in block.iter_mut().zip(secret) {
            *slot ^= key;
        }
        block
    };
    let mut inner = Hasher::new();
    inner.update(&pad(0x36));
    for part in parts {
        inner.update(part);
    }
    let mut outer = Hasher::new();
    outer.update(&pad(0x5c));
    outer.update(inner.finish().as_bytes());
    outer.finish()
}

fn read(path: &Path) -> std::io::Result<[u8; 32]> {
    let mut secret = [0; 32];
    // Another process may be between making the file and writing it.
    for _ in 0..50 {
        if std::fs::File::open(path)?.read_exact(&mut secret).is_ok() {
            return Ok(secret);
        }
        std::thread::sleep(std::time::Duration::from_millis(10));
    }
    Err(std::io::Error::new(
        std::io::ErrorKind::UnexpectedEof,
        "shorter than 32 bytes",
    ))
}
