//! What is asked of a time stamping authority, and what it answers (RFC 3161 §2.4).

use der::asn1::ObjectIdentifier;
use der::{Encode as _, Tag};
use domain::Digest;

use super::fields::{Fields, element};
use super::token::Token;

/// The most bytes that an answer may have.
pub const MAX_RESPONSE_BYTES: usize = 256 << 10;

pub(super) const SHA256: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.16.840.1.101.3.4.2.1");

/// The request (`application/timestamp-query`) for a token over a SHA-256 digest.
///
/// `nonce` ties the answer to this question: an older answer to another question does not fit. Certificates are asked
/// for, so that the token can be checked offline.
pub fn request(digest: &Digest, nonce: [u8; 8]) -> Vec<u8> {
    let oid = SHA256.to_der().unwrap_or_default();
    let algorithm = element(Tag::Sequence, &[&oid, &[5, 0]]);
    let digest = element(Tag::OctetString, &[digest.as_bytes()]);
    let imprint = element(Tag::Sequence, &[&algorithm, &digest]);
    let version = element(Tag::Integer, &[&[1]]);
    let nonce = element(Tag::Integer, &[&positive(nonce)]);
    let with_certificates = element(Tag::Boolean, &[&[0xff]]);
    element(
        Tag::Sequence,
        &[&version, &imprint, &nonce, &with_certificates],
    )
}

/// The bytes of an INTEGER that is not negative: what a nonce looks like in a token.
pub(super) fn positive(bytes: [u8; 8]) -> Vec<u8> {
    let start = bytes
        .iter()
        .position(|byte| *byte != 0)
        .unwrap_or(bytes.len() - 1);
    let shortest = bytes.get(start..).unwrap_or_default();
    let sign: &[u8] = if shortest.first().is_some_and(|byte| *byte >= 0x80) {
        &[0]
    } else {
        &[]
    };
    [sign, shortest].concat()
}

/// What was asked for in a request: its digest and its nonce, where it is one for SHA-256 as [`request`] makes it.
pub fn asked(bytes: &[u8]) -> Option<(Digest, Option<[u8; 8]>)> {
    let mut query = Fields::within(bytes)?;
    (query.small()? == 1).then_some(())?;
    let mut imprint = query.sequence()?;
    (imprint.algorithm()? == SHA256).then_some(())?;
    let digest = imprint.value(Tag::OctetString)?.try_into().ok()?;
    let nonce = query.optional(Tag::Integer).and_then(|bytes| {
        let bytes = bytes.strip_prefix(&[0]).unwrap_or(bytes);
        let mut nonce = [0; 8];
        let start = nonce.len().checked_sub(bytes.len())?;
        nonce.get_mut(start..)?.copy_from_slice(bytes);
        Some(nonce)
    });
    Some((Digest::from_bytes(digest), nonce))
}

/// Why there is no token in an answer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// Longer than [`MAX_RESPONSE_BYTES`], or not an answer of RFC 3161.
    #[error("this is not the answer of a time stamping authority (RFC 3161, DER)")]
    Malformed,
    /// The authority says no.
    #[error("the time stamping authority refused, with status {status}: {}", text.as_deref().unwrap_or("it gives no reason"))]
    Refused {
        /// PKIStatus: 2 rejection, 3 waiting, 4 and 5 revocation.
        status: u32,
        /// Its words. Hostile text.
        text: Option<String>,
    },
}

/// Takes the token (DER, a ContentInfo) out of an answer (`application/timestamp-reply`).
pub fn response(bytes: &[u8]) -> Result<Vec<u8>, Refusal> {
    if bytes.len() > MAX_RESPONSE_BYTES {
        return Err(Refusal::Malformed);
    }
    let (status, text, token) = parts(bytes).ok_or(Refusal::Malformed)?;
    match (status, token) {
        // Granted, or granted with changes.
        (0 | 1, Some(token)) => Ok(token.to_vec()),
        (0 | 1, None) => Err(Refusal::Malformed),
        (status, _) => Err(Refusal::Refused { status, text }),
    }
}

/// Status, words, token.
type Parts<'a> = (u32, Option<String>, Option<&'a [u8]>);

/// Takes the token out of an answer, or is it: both are handed around as files.
pub fn token_in(bytes: &[u8]) -> Result<Vec<u8>, Refusal> {
    match response(bytes) {
        Err(Refusal::Malformed) if Token::parse(bytes).is_ok() => Ok(bytes.to_vec()),
        other => other,
    }
}

/// The answer that grants a token: the form in which a Sigstore bundle holds it.
pub fn granted(token: &[u8]) -> Vec<u8> {
    let status = element(Tag::Integer, &[&[0]]);
    let info = element(Tag::Sequence, &[&status]);
    element(Tag::Sequence, &[&info, token])
}

fn parts(bytes: &[u8]) -> Option<Parts<'_>> {
    let mut answer = Fields::within(bytes)?;
    let mut info = answer.sequence()?;
    let status = info.small()?;
    let text = info.optional(Tag::Sequence).and_then(|texts| {
        let text = Fields::of(texts)?.value(Tag::Utf8String)?;
        Some(String::from_utf8_lossy(text).into_owned())
    });
    let token = if answer.is_empty() {
        None
    } else {
        Some(answer.encoding()?)
    };
    answer.end()?;
    Some((status, text, token))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_says_what_was_asked_whatever_its_nonce() {
        let digest = Digest::of(b"x");
        for nonce in [[0; 8], [0, 0, 0, 0, 0, 0, 0, 200], [0x80; 8], [1; 8]] {
            let query = request(&digest, nonce);
            assert_eq!(asked(&query), Some((digest, Some(nonce))));
            for length in 0..query.len() {
                assert_eq!(asked(&query[..length]), None, "cut at {length}");
            }
        }
    }
}
