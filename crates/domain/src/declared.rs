//! Acts about a run's spec: somebody signed one, or a run was held against one.

use serde::{Deserialize, Serialize};

use crate::{Digest, PathText, Person};

/// Somebody signed a spec, or an amendment of one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SpecSigned {
    /// What the spec calls itself.
    pub name: String,
    /// Where it was, absolute.
    pub path: PathText,
    /// Blob with its text: what was signed.
    pub spec: Digest,
    /// Blob with the signature, as `ssh-keygen -Y verify` takes it.
    pub signature: Digest,
    /// How many amendments it has.
    pub amendments: u32,
    /// Why the last of them was made.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub why: Option<String>,
    /// Fingerprint of the SSH key (`SHA256:…`).
    pub key: String,
    /// Who recorded it.
    pub person: Person,
}

/// A run is held against a spec.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SpecUsed {
    /// What the spec calls itself.
    pub name: String,
    /// Where it is, absolute.
    pub path: PathText,
    /// Blob with its text.
    pub spec: Digest,
    /// By whom it was signed, in words.
    pub signed: String,
}
