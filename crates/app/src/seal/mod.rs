//! `seal` and `verify`: who vouches for a model, and whether it still is what they vouched for.
//!
//! Sealing is also an act: the two signed texts become blobs and the act an entry, before the first of them is published, so
//! that a signature that exists is one that the ledger knows. Verifying believes nobody but those whom the user named or the
//! user himself; nothing in the folder that is verified has a say in that.

mod believed;
mod making;
pub(crate) mod own;
mod place;
mod remembered;
mod stamping;
mod timing;
mod verifying;

use std::path::PathBuf;

use domain::PathText;
use trust::certificate::ChainError;
use trust::keyfile::KeyFileError;
use trust::keys::KeySyntax;
use trust::measure::MeasureError;
use trust::seal::Unsealable;

pub use making::{SealRequest, seal};
pub use own::rotate;
pub use stamping::{SealStampRequest, take_stamp};
pub use verifying::{VerifyRequest, verify};

/// A seal that could not be made, or a verification that could not begin.
#[derive(Debug, thiserror::Error)]
pub enum SealError {
    /// The path cannot be read at all.
    #[error(transparent)]
    Measure(#[from] MeasureError),
    /// A key file.
    #[error(transparent)]
    KeyFile(#[from] KeyFileError),
    /// A public key.
    #[error("{path}: {why}")]
    Key {
        /// The file.
        path: PathText,
        /// Why.
        why: KeySyntax,
    },
    /// Certificates.
    #[error("{path}: {why}")]
    Certificates {
        /// The file.
        path: PathText,
        /// Why.
        why: ChainError,
    },
    /// The file that says whom to trust.
    #[error("{path}: {why}")]
    Trust {
        /// The file.
        path: PathText,
        /// Why.
        why: toml::de::Error,
    },
    /// Its brackets or strings are not those of TOML.
    #[error("{path}: {why}")]
    TrustShape {
        /// The file.
        path: PathText,
        /// Why.
        why: formats::toml_text::TomlShape,
    },
    /// A key or root lies in what is to be verified.
    #[error("{path}: whom to trust is never read from the folder that is verified, nor through it")]
    Inside {
        /// The file.
        path: PathText,
    },
    /// A name to leave out that is none.
    #[error("cannot leave out {entry:?}: {why}")]
    Exclude {
        /// As typed.
        entry: String,
        /// Why.
        why: trust::name::NameSyntax,
    },
    /// A time that is none.
    #[error("{text:?} is no time; write it as 2026-01-31T12:00:00Z")]
    Time {
        /// As typed.
        text: String,
    },
    /// Some things cannot be sealed.
    #[error("{path} cannot be sealed: {}", told(things))]
    Unsealable {
        /// The model.
        path: PathText,
        /// Which things, and why.
        things: Vec<Unsealable>,
    },
    /// The signing failed.
    #[error(transparent)]
    Sign(#[from] trust::seal::SealError),
    /// The signature file is none.
    #[error("the model signature is no signature: {0}")]
    Bundle(#[from] trust::oms::BundleError),
    /// The signature would be larger than any verifier of this kind reads.
    #[error("the {what} has {bytes} bytes, more than the {limit} that are read with this limit")]
    TooLarge {
        /// `signature` or `seal`.
        what: &'static str,
        /// Its bytes.
        bytes: u64,
        /// The limit.
        limit: u64,
    },
    /// Something else is there already.
    #[error("{}: a file that is no signature is there already", path.display())]
    Occupied {
        /// The file.
        path: PathBuf,
    },
    /// Somebody signs with the own key, or exchanges it.
    #[error("{}: another process signs with this key, or exchanges it", path.display())]
    KeyInUse {
        /// The key file.
        path: PathBuf,
    },
    /// There is nothing to exchange.
    #[error("{}: there is no key that could be exchanged: nothing was sealed yet", path.display())]
    NoKey {
        /// Where it would be.
        path: PathBuf,
    },
    /// The key that ends could not sign that it does.
    #[error("the key could not sign")]
    NotSigned,
    /// The list of the own keys that ended.
    #[error("{}: {why}", path.display())]
    Ended {
        /// The file.
        path: PathBuf,
        /// Why it cannot be read.
        why: serde_json::Error,
    },
    /// A signature could not be written.
    #[error("{}: {source}", path.display())]
    Write {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
}

/// Things that are told in one message.
const TOLD: usize = 10;

fn told(things: &[Unsealable]) -> String {
    if things.is_empty() {
        return "there is no file in it".to_owned();
    }
    let lines: Vec<_> = things
        .iter()
        .take(TOLD)
        .map(|it| format!("{}: {}", it.path, it.why))
        .collect();
    let more = things.len().saturating_sub(TOLD);
    let more = if more > 0 {
        format!("; and {more} more")
    } else {
        String::new()
    };
    lines.join("; ") + &more
}

impl SealError {
    /// What the user can do about it.
    pub fn hint(&self) -> Option<&'static str> {
        match self {
            Self::Unsealable { things, .. } => {
                let link = |it: &Unsealable| it.why == trust::seal::Obstacle::Link;
                Some(if things.iter().any(link) {
                    "--links seals links as what they are and as the file that they lead to; --exclude NAME leaves a name out; nothing was signed"
                } else {
                    "--exclude NAME leaves a name out, which the signature then says; nothing was signed"
                })
            }
            Self::KeyFile(KeyFileError::Exposed { .. }) => {
                Some("a key that others could read may be theirs already; if not, `chmod 600` it")
            }
            Self::TooLarge { .. } => {
                Some("--limit BYTES allows it, here and when it is verified; nothing was signed")
            }
            Self::Inside { .. } => Some(
                "keep keys and roots elsewhere, where the maker of the folder cannot change them",
            ),
            Self::KeyInUse { .. } => Some("try again when it is done"),
            Self::Occupied { .. } => Some("name another file with --signature"),
            _ => None,
        }
    }
}
