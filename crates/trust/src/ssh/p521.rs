//! The one curve that *ring* does not know.

use p521::ecdsa::signature::Verifier as _;
use p521::ecdsa::{Signature, VerifyingKey};

/// Whether `body` (two numbers of 66 bytes) signs `message` under the uncompressed `point`, with SHA-512.
pub(super) fn holds(point: &[u8], message: &[u8], body: &[u8]) -> Option<()> {
    let key = VerifyingKey::from_sec1_bytes(point).ok()?;
    key.verify(message, &Signature::from_slice(body).ok()?).ok()
}
