//! Whether a token's time can be believed: chain, purpose, signature, imprint.
//!
//! The certificates are judged at the time that the token states: later expiry takes nothing back. Whether a certificate
//! was withdrawn is not asked, because nothing here asks a network; the roots are the reader's and never the token's.

use der::asn1::ObjectIdentifier;
use domain::Digest;
use jiff::Timestamp;
use ring::digest::{SHA1_FOR_LEGACY_USE_ONLY, SHA256, SHA384, SHA512, digest};
use rustls_pki_types::{CertificateDer, SignatureVerificationAlgorithm, UnixTime};
use webpki::ring as algorithms;
use webpki::{ALL_VERIFICATION_ALGS, EndEntityCert, KeyUsage, anchor_from_trusted_cert};

use x509_cert::der::Decode as _;

use super::request::{self, positive};
use super::token::{Bound, Token};

const fn oid(text: &str) -> ObjectIdentifier {
    ObjectIdentifier::new_unwrap(text)
}

const SHA_384: ObjectIdentifier = oid("2.16.840.1.101.3.4.2.2");
const SHA_512: ObjectIdentifier = oid("2.16.840.1.101.3.4.2.3");
const RSA: ObjectIdentifier = oid("1.2.840.113549.1.1.1");
const RSA_SHA_256: ObjectIdentifier = oid("1.2.840.113549.1.1.11");
const RSA_SHA_384: ObjectIdentifier = oid("1.2.840.113549.1.1.12");
const RSA_SHA_512: ObjectIdentifier = oid("1.2.840.113549.1.1.13");
const ECDSA_SHA_256: ObjectIdentifier = oid("1.2.840.10045.4.3.2");
const ECDSA_SHA_384: ObjectIdentifier = oid("1.2.840.10045.4.3.3");

/// `id-kp-timeStamping` as a certificate's key usage writes it.
const TIME_STAMPING: &[u8] = &[0x2b, 0x06, 0x01, 0x05, 0x05, 0x07, 0x03, 0x08];

/// A time that somebody vouches for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stamped {
    /// The time: the digest existed no later.
    pub at: Timestamp,
    /// How far it may be off, in microseconds, where the token says so.
    pub accuracy_us: Option<u64>,
    /// The SHA-256 of the certificate that signed.
    pub certificate: Digest,
    /// Its subject, as RFC 4514 writes it. Hostile text, as far as the roots are lax.
    pub authority: String,
}

impl Stamped {
    /// The time and what the token may be off at most, in microseconds since 1970: the digest existed no later.
    pub fn latest_us(&self) -> i64 {
        let accuracy = i64::try_from(self.accuracy_us.unwrap_or_default()).unwrap_or(i64::MAX);
        self.at.as_microsecond().saturating_add(accuracy)
    }

    /// The time less what the token may be off: the token did not exist before.
    pub fn earliest_us(&self) -> i64 {
        let accuracy = i64::try_from(self.accuracy_us.unwrap_or_default()).unwrap_or(i64::MAX);
        self.at.as_microsecond().saturating_sub(accuracy)
    }
}

/// Why a token proves nothing.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NotStamped {
    /// The token is over other bytes.
    #[error("the time stamp is over other bytes")]
    Imprint,
    /// The token answers another request.
    #[error("the time stamp answers another request (nonce)")]
    Nonce,
    /// What the authority signed is not what the token holds.
    #[error("the content of the time stamp was changed")]
    Content,
    /// The certificate that is under the signature is not in the token.
    #[error("the certificate of the authority is not in the time stamp")]
    NoCertificate,
    /// The certificate does not lead to a root that is trusted, or was not valid at the time stated, or is not for
    /// time stamping.
    #[error("the certificate of the authority does not count: {0}")]
    Chain(ChainFault),
    /// The signature does not hold.
    #[error("the signature of the time stamp does not hold")]
    Signature,
    /// Made in a way that is not known here.
    #[error("the time stamp was signed in a way that is not supported ({0})")]
    Algorithm(String),
    /// A root that is no certificate.
    #[error("a trusted root is not a certificate")]
    Root,
}

/// What is wrong with a chain of certificates.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ChainFault {
    /// No path to a root.
    #[error("no path leads to a trusted root")]
    UnknownIssuer,
    /// Expired when the token says it was made.
    #[error("it had expired at the stated time")]
    Expired,
    /// Not yet valid then.
    #[error("it was not yet valid at the stated time")]
    NotYet,
    /// Made for something else.
    #[error("it is not for time stamping")]
    Purpose,
    /// Malformed, or wrong in another way.
    #[error("it is malformed or its own signature does not hold")]
    Other,
}

impl Token {
    /// Whether an authority under one of `roots` (DER certificates) vouches that `wanted` existed at the stated time.
    ///
    /// With `nonce`, the token must be the answer to the request that had it.
    pub fn verify(
        &self,
        wanted: &Digest,
        nonce: Option<[u8; 8]>,
        roots: &[Vec<u8>],
    ) -> Result<Stamped, NotStamped> {
        self.answers(wanted, nonce)?;
        let stated = self.stated();
        let signer = &self.signer;
        let content = hashed(signer.digest_algorithm, &self.content)?;
        if content.as_ref() != signer.content_digest {
            return Err(NotStamped::Content);
        }
        let leaf = self
            .certificates
            .iter()
            .find(|certificate| self.is_bound(certificate));
        let leaf = leaf.ok_or(NotStamped::NoCertificate)?;
        self.chain(leaf, roots)?;
        Ok(Stamped {
            at: stated.at,
            accuracy_us: stated.accuracy_us,
            certificate: Digest::of(leaf),
            authority: subject(leaf),
        })
    }

    /// Whether the token is over `wanted` and answers the request of `nonce`. That is all that can be said of it without
    /// roots: whoever can write a file can write such a token.
    pub fn answers(&self, wanted: &Digest, nonce: Option<[u8; 8]>) -> Result<(), NotStamped> {
        let stated = self.stated();
        if stated.algorithm != request::SHA256.to_string() {
            return Err(NotStamped::Algorithm(stated.algorithm.clone()));
        }
        if stated.imprint != wanted.as_bytes() {
            return Err(NotStamped::Imprint);
        }
        if nonce.is_some_and(|nonce| stated.nonce.as_deref() != Some(&positive(nonce))) {
            return Err(NotStamped::Nonce);
        }
        Ok(())
    }

    fn is_bound(&self, certificate: &[u8]) -> bool {
        match &self.signer.bound {
            Bound::Sha1(bound) => digest(&SHA1_FOR_LEGACY_USE_ONLY, certificate).as_ref() == bound,
            Bound::Other(algorithm, bound) => {
                hashed(*algorithm, certificate).is_ok_and(|digest| digest.as_ref() == bound)
            }
        }
    }

    fn chain(&self, leaf: &[u8], roots: &[Vec<u8>]) -> Result<(), NotStamped> {
        let other = |_| NotStamped::Chain(ChainFault::Other);
        let leaf = CertificateDer::from(leaf);
        let end = EndEntityCert::try_from(&leaf).map_err(other)?;
        let roots: Vec<_> = roots
            .iter()
            .map(|root| CertificateDer::from(root.as_slice()))
            .collect();
        let anchors: Result<Vec<_>, _> = roots.iter().map(anchor_from_trusted_cert).collect();
        let anchors = anchors.map_err(|_| NotStamped::Root)?;
        let between: Vec<_> = self
            .certificates
            .iter()
            .map(|certificate| CertificateDer::from(certificate.as_slice()))
            .collect();
        let seconds = u64::try_from(self.stated.at.as_second()).unwrap_or_default();
        let at = UnixTime::since_unix_epoch(std::time::Duration::from_secs(seconds));
        let usage = KeyUsage::required(TIME_STAMPING);
        end.verify_for_usage(
            ALL_VERIFICATION_ALGS,
            &anchors,
            &between,
            at,
            usage,
            None,
            None,
        )
        .map_err(|error| NotStamped::Chain(fault(&error)))?;
        let signer = &self.signer;
        let ways = ways(signer.signature_algorithm, signer.digest_algorithm)
            .ok_or_else(|| NotStamped::Algorithm(signer.signature_algorithm.to_string()))?;
        let holds = |way: &&dyn SignatureVerificationAlgorithm| {
            end.verify_signature(*way, &signer.attributes, &signer.signature)
                .is_ok()
        };
        ways.iter()
            .any(holds)
            .then_some(())
            .ok_or(NotStamped::Signature)
    }
}

fn subject(certificate: &[u8]) -> String {
    x509_cert::Certificate::from_der(certificate).map_or_else(
        |_| "an authority whose name cannot be read".to_owned(),
        |parsed| parsed.tbs_certificate().subject().to_string(),
    )
}

fn fault(error: &webpki::Error) -> ChainFault {
    use webpki::Error;
    match error {
        Error::CertExpired { .. } => ChainFault::Expired,
        Error::CertNotValidYet { .. } => ChainFault::NotYet,
        Error::RequiredEkuNotFoundContext(_) => ChainFault::Purpose,
        Error::UnknownIssuer => ChainFault::UnknownIssuer,
        _ => ChainFault::Other,
    }
}

fn hashed(algorithm: ObjectIdentifier, bytes: &[u8]) -> Result<ring::digest::Digest, NotStamped> {
    match algorithm {
        request::SHA256 => Ok(digest(&SHA256, bytes)),
        SHA_384 => Ok(digest(&SHA384, bytes)),
        SHA_512 => Ok(digest(&SHA512, bytes)),
        other => Err(NotStamped::Algorithm(other.to_string())),
    }
}

/// The ways of verifying that fit the names of the algorithms; which curve it is, the certificate's key decides.
fn ways(
    signature: ObjectIdentifier,
    hash: ObjectIdentifier,
) -> Option<Vec<&'static dyn SignatureVerificationAlgorithm>> {
    Some(match (signature, hash) {
        (RSA_SHA_256, _) | (RSA, request::SHA256) => vec![algorithms::RSA_PKCS1_2048_8192_SHA256],
        (RSA_SHA_384, _) | (RSA, SHA_384) => vec![algorithms::RSA_PKCS1_2048_8192_SHA384],
        (RSA_SHA_512, _) | (RSA, SHA_512) => vec![algorithms::RSA_PKCS1_2048_8192_SHA512],
        (ECDSA_SHA_256, _) => {
            vec![algorithms::ECDSA_P256_SHA256, algorithms::ECDSA_P384_SHA256]
        }
        (ECDSA_SHA_384, _) => {
            vec![algorithms::ECDSA_P384_SHA384, algorithms::ECDSA_P256_SHA384]
        }
        _ => return None,
    })
}
