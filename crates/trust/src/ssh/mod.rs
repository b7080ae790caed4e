//! SSH signatures: people vouch with the keys that they have.
//!
//! Every engineer has an SSH key, and many have one on a token that wants a touch. So approvals and countersignatures are
//! what `ssh-keygen -Y sign` makes, and `ssh-keygen -Y verify` can check them without us. Signing is left to OpenSSH
//! itself, which knows agents, passphrases and tokens; here signatures are only read and judged, offline and without a
//! clock: the moment is the caller's.

mod day;
mod key;
mod p521;
mod pattern;
mod revoked;
mod signature;
mod signers;
mod wire;

pub use key::{KeySyntax, Kind, MAX_KEY_BYTES, PublicKey};
pub use revoked::{MAX_REVOKED_BYTES, Revoked, RevokedSyntax};
pub use signature::{Invalid, MAX_SIGNATURE_BYTES, Signature, SignatureSyntax, Token};
pub use signers::{AllowedSigners, LineSyntax, MAX_SIGNERS_BYTES, SignersSyntax, Standing};
