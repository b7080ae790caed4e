//! Acts by which somebody outside of the record vouches for a part of it, and what the machine's own clock said of itself.
//!
//! An entry says when it was made by the clock of whoever made it, and who made it by the name of that user. Both are claims.
//! A time stamp and an approval are somebody else's: here is what was vouched for and where the signed bytes are. Whether
//! they hold is never written down, because it depends on whom the reader believes.

use serde::{Deserialize, Serialize};

use crate::{Digest, PathText, Person, RunId};

/// A time stamping authority said that some bytes existed at a time (RFC 3161).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stamp {
    /// What the bytes are.
    pub of: StampOf,
    /// Blob with these bytes: its digest is what the authority stamped.
    pub over: Digest,
    /// Blob with the token, its certificates in it.
    pub token: Digest,
    /// Who asked.
    pub person: Person,
}

/// What a time is stated of.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum StampOf {
    /// The signed tree head of a log, and with it all entries under that head.
    TreeHead {
        /// The log.
        log: String,
        /// Its entries then.
        size: u64,
        /// Its root then.
        root: Digest,
    },
    /// The signature over a model.
    Signature {
        /// Where the model was, absolute.
        path: PathText,
        /// Blob with the bundle that holds signature and token.
        bundle: Digest,
    },
}

/// Somebody signed that something is fit for a purpose.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Approval {
    /// What.
    pub of: ApprovalOf,
    /// Fingerprint of the SSH key (`SHA256:…`).
    pub key: String,
    /// Blob with the signed statement: a DSSE envelope.
    pub envelope: Digest,
    /// Who recorded it: not the signer, whom the signature names.
    pub person: Person,
}

/// What is approved.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum ApprovalOf {
    /// A run, as far as it was recorded then.
    Run {
        /// Which.
        run: RunId,
    },
    /// A sealed model, by the root of its signature.
    Sealed {
        /// The root.
        root: Digest,
    },
    /// Any bytes.
    Bytes {
        /// Their SHA-256.
        digest: Digest,
    },
}

/// What the kernel says of the machine's clock (adjtimex(2)).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClockState {
    /// Whether something keeps it in step with others.
    pub synchronised: bool,
    /// By how much it is still to be moved, in microseconds.
    pub offset_us: i64,
    /// How far it is estimated to be off, in microseconds.
    pub error_us: i64,
    /// How far it may be off at most, in microseconds.
    pub max_error_us: i64,
}
