//! `env check` and `env baseline`: what an environment is made of, and who vouches for each file of it.
//!
//! Nothing of the environment is started: its layout is found from its files. What is held against it lies elsewhere: wheels
//! that a lock file names, a list that the user signed, an earlier check in the ledger. The answer is an act in the ledger, so
//! that two checks are compared by the digest of their trees.

mod baseline;
mod check;
mod code;
mod index;
mod keep;
mod references;
mod words;

use std::path::PathBuf;

use environment::DeriveError;
use environment::reference::LocateError;
use trust::keyfile::KeyFileError;
use trust::keys::SignError;

pub use baseline::{EnvBaselineRequest, baseline};
pub use check::{EnvCheckRequest, check};
pub(crate) use references::{ByWheels, by_wheels};

/// An environment that could not be checked at all.
#[derive(Debug, thiserror::Error)]
pub enum EnvError {
    /// It is none.
    #[error(transparent)]
    Derive(#[from] DeriveError),
    /// Nobody said which, and none is active.
    #[error("no Python is active: neither VIRTUAL_ENV nor PATH leads to one")]
    NoPython,
    /// The lock file that was named.
    #[error(transparent)]
    Lock(#[from] LocateError),
    /// An index was named, and nothing says which wheels are meant.
    #[error(
        "there is no lock file: name one with --lock, for an index is asked only for what one gives by digest"
    )]
    IndexWithoutLock,
    /// A folder of wheels that was named is none.
    #[error("{}: it is no folder", .0.display())]
    Wheelhouse(PathBuf),
    /// A key or the baseline cannot be read.
    #[error(transparent)]
    File(#[from] KeyFileError),
    /// The baseline is not believed.
    #[error("{}: {why}", path.display())]
    Baseline {
        /// The file.
        path: PathBuf,
        /// Why.
        why: String,
    },
    /// The baseline lies in what it is about.
    #[error("{}: it lies in the environment that it is about, where whoever changes that changes it", .0.display())]
    Inside(PathBuf),
    /// The key.
    #[error(transparent)]
    Sign(#[from] SignError),
    /// The text.
    #[error("the baseline could not be written: {0}")]
    Encode(#[from] serde_json::Error),
    /// Too many files.
    #[error("the baseline has {bytes} bytes, more than the {limit} that are read")]
    TooLarge {
        /// Its bytes.
        bytes: u64,
        /// The limit.
        limit: u64,
    },
    /// Not everything could be read, so not everything can be signed.
    #[error("{count} files cannot be read, first {first}: {why}")]
    Unread {
        /// How many.
        count: usize,
        /// The first.
        first: String,
        /// Why.
        why: String,
    },
    /// A file could not be written.
    #[error("{}: {source}", path.display())]
    Write {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
}

impl From<EnvError> for crate::error::AppError {
    fn from(error: EnvError) -> Self {
        Self::Env(Box::new(error))
    }
}

impl EnvError {
    /// What the user can do about it.
    pub fn hint(&self) -> Option<&'static str> {
        match self {
            Self::Derive(DeriveError::Script(_)) => {
                Some("name the interpreter itself, or the folder of the environment")
            }
            Self::Derive(_) | Self::NoPython => Some(
                "name an interpreter, such as .venv/bin/python, or the folder of the environment",
            ),
            Self::Lock(_) => Some(
                "uv.lock, pylock.toml, or requirements with --hash=sha256:… for each package are read",
            ),
            Self::Baseline { .. } => Some(
                "name the key of its signer with --key, or sign a new one with `taintline env baseline`",
            ),
            Self::Inside(_) => Some("keep it elsewhere"),
            Self::Unread { .. } => Some("nothing was signed; run it as somebody who may read them"),
            _ => None,
        }
    }
}
