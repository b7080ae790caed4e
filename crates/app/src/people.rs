//! Whose signature it is: the user's lists of keys, asked.

use std::path::{Path, PathBuf};

use domain::entry::Signer;
use trust::ssh::{
    AllowedSigners, MAX_REVOKED_BYTES, MAX_SIGNERS_BYTES, PublicKey, Revoked, RevokedSyntax,
    SignersSyntax, Standing,
};

use crate::settings::Trust;

/// The user's lists.
#[derive(Debug, Clone, Default)]
pub(crate) struct People {
    allowed: Option<AllowedSigners>,
    revoked: Revoked,
}

/// A list that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum PeopleError {
    /// The disk refused.
    #[error("{}: the list cannot be read: {source}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// Not a list of allowed signers.
    #[error("{}: {why}", path.display())]
    Allowed {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        why: SignersSyntax,
    },
    /// Not a list of revoked keys.
    #[error("{}: {why}", path.display())]
    Revoked {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        why: RevokedSyntax,
    },
}

impl People {
    /// Reads the lists that the settings name. One that cannot be read is an error: without it a key that was taken back
    /// would count again.
    pub(crate) fn load(trust: &Trust) -> Result<Self, PeopleError> {
        let mut people = Self::default();
        if let Some(path) = &trust.allowed_signers {
            let list = AllowedSigners::parse(&read(path, MAX_SIGNERS_BYTES)?);
            people.allowed = Some(list.map_err(|why| PeopleError::Allowed {
                path: path.clone(),
                why,
            })?);
        }
        if let Some(path) = &trust.revoked_keys {
            let list = Revoked::parse(&read(path, MAX_REVOKED_BYTES)?);
            people.revoked = list.map_err(|why| PeopleError::Revoked {
                path: path.clone(),
                why,
            })?;
        }
        Ok(people)
    }

    /// What the lists say of a key for a purpose at a moment, in seconds since 1970. Where no moment is known, what would
    /// depend on it is open.
    pub(crate) fn signer(&self, key: &PublicKey, namespace: &str, at: Option<i64>) -> Signer {
        if self.revoked.contains(key) {
            return Signer::Revoked;
        }
        let Some(allowed) = &self.allowed else {
            return Signer::NotAsked;
        };
        match allowed.standing(key, None, namespace, at.unwrap_or_default()) {
            Standing::Allowed { .. } | Standing::NotYet { .. } | Standing::Expired { .. }
                if at.is_none() =>
            {
                Signer::Open
            }
            Standing::Allowed { principals, .. } => Signer::Allowed { principals },
            Standing::Unknown => Signer::Unknown,
            Standing::OtherPerson { .. } | Standing::OtherPurpose { .. } => Signer::OtherPurpose,
            Standing::NotYet { .. } => Signer::NotYet,
            Standing::Expired { .. } => Signer::Expired,
            Standing::Zone { .. } => Signer::Open,
        }
    }
}

fn read(path: &Path, limit: usize) -> Result<Vec<u8>, PeopleError> {
    crate::bounded::read(path, limit as u64).map_err(|source| PeopleError::Read {
        path: path.to_owned(),
        source,
    })
}
