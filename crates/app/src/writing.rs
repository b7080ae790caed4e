//! The one door to this user's log: every use-case that writes comes through here.

use std::path::Path;

use ledger::{Store, Writer};

use crate::error::AppError;
use crate::rotation;

/// Rotations that are brought to their end before one gives up: there is never more than one.
const ROTATIONS: usize = 8;

/// Nothing can be written.
#[derive(Debug, thiserror::Error)]
pub enum WritingError {
    /// The ledger.
    #[error(transparent)]
    Ledger(#[from] ledger::LedgerError),
    /// The store.
    #[error(transparent)]
    Store(#[from] ledger::StoreError),
    /// A log.
    #[error(transparent)]
    Log(#[from] ledger::LogError),
    /// An entry.
    #[error(transparent)]
    Entry(#[from] domain::entry::EntryError),
    /// No random bytes.
    #[error("the system gave no random bytes")]
    NoRandomness,
}

impl From<WritingError> for AppError {
    fn from(error: WritingError) -> Self {
        match error {
            WritingError::Ledger(error) => error.into(),
            WritingError::Store(error) => error.into(),
            WritingError::Log(error) => error.into(),
            WritingError::Entry(error) => error.into(),
            WritingError::NoRandomness => Self::NoRandomness,
        }
    }
}

/// The writer of this user on this host. A rotation of its key that died on the way is brought to its end first.
pub(crate) fn open(store: &Store, keys: &Path) -> Result<Writer, WritingError> {
    let mut writer = store.writer(&identity(), keys)?;
    for _ in 0..ROTATIONS {
        if !rotation::complete(store, &writer, keys)? {
            break;
        }
        writer = store.writer(&identity(), keys)?;
    }
    Ok(writer)
}

/// Whose log it is: `user@host`.
pub(crate) fn identity() -> String {
    let person = crate::run::person();
    format!("{}@{}", person.user, person.host)
}
