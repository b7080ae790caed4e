//! What a model signature lists, whoever made it.
//!
//! Nothing here is verified, so nothing may be believed on its word. It serves one purpose: whoever tidies up asks which
//! files somebody once vouched for, and keeps what belongs to them. A forged list only keeps more.

use domain::Digest;

use super::bundle::Bundle;
use super::predicate::Signed;

/// The SHA-256 digests of whole files in a bundle of at most `limit` bytes; `None` where it is not one.
pub fn claimed_digests(bundle: &[u8], limit: u64) -> Option<Vec<Digest>> {
    let bundle = Bundle::parse(bundle, limit).ok()?;
    let signed = Signed::read_bytes(bundle.envelope.unverified(), limit).ok()?;
    let whole = signed.resources.iter().filter(|it| it.shard.is_none());
    let digests = whole.filter_map(|it| it.digest.as_slice().try_into().ok());
    Some(digests.map(Digest::from_bytes).collect())
}
