//! Certificates: from a leaf that signed to a root that the user named, at a time that somebody vouches for.
//!
//! The path is built and checked by `webpki` (RFC 5280); here is what model signing adds. The leaf must be meant for
//! signing: if it says what it is for, that must include digital signatures, and of extended purposes code signing, so
//! that a web server's certificate under the same root signs no model. The time is never the certificate's own: it is a
//! time stamp's, or what the user says, or now ([`At`]). Roots come from the user alone; expired ones are not used.

use std::time::Duration;

use domain::Digest;
use rustls_pki_types::{
    AlgorithmIdentifier, CertificateDer, InvalidSignature, SignatureVerificationAlgorithm,
    TrustAnchor, UnixTime, alg_id,
};
use webpki::{EndEntityCert, Error as PathError, ring as algorithms};
use x509_cert::Certificate;
use x509_cert::der::{Decode as _, oid::ObjectIdentifier};
use x509_cert::ext::pkix::{ExtendedKeyUsage, KeyUsage};

use crate::keys::{KeySyntax, PublicKey};
use crate::pem;

/// The most certificates of a chain or of a file of roots that are read.
const MAX_CERTIFICATES: usize = 512;

/// The most intermediates that a signature may bring.
const MAX_CHAIN: usize = 16;

/// The most bytes of a certificate.
const MAX_CERTIFICATE_BYTES: usize = 64 << 10;

const CODE_SIGNING: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.6.1.5.5.7.3.3");
const ANY_PURPOSE: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.5.29.37.0");

/// A time, and who says so.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum At {
    /// Nobody says when it was signed, so the certificate must be valid now. Seconds since 1970.
    Now(i64),
    /// The user says so.
    Given(i64),
    /// A time-stamping authority that the user trusts signed that the signature existed then.
    Stamped(i64),
}

impl At {
    /// Seconds since 1970.
    pub fn seconds(self) -> i64 {
        match self {
            Self::Now(seconds) | Self::Given(seconds) | Self::Stamped(seconds) => seconds,
        }
    }
}

/// A chain that does not lead to a root, or must not sign.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ChainError {
    /// Not PEM.
    #[error(transparent)]
    Pem(#[from] pem::PemError),
    /// No certificate at all.
    #[error("it holds no certificate in PEM form (`-----BEGIN CERTIFICATE-----`)")]
    Empty,
    /// Not a certificate.
    #[error("certificate {number} is damaged")]
    Damaged {
        /// Which, from 1, the leaf first.
        number: usize,
    },
    /// More than any honest chain has.
    #[error("there are {count} certificates; at most {MAX_CHAIN} are read")]
    TooMany {
        /// How many.
        count: usize,
    },
    /// Expired at that time.
    #[error("the certificate of {subject} expired {after}")]
    Expired {
        /// Whose.
        subject: String,
        /// RFC 3339.
        after: String,
    },
    /// Not valid yet at that time.
    #[error("the certificate of {subject} is not valid before {before}")]
    NotYetValid {
        /// Whose.
        subject: String,
        /// RFC 3339.
        before: String,
    },
    /// The leaf is for something else.
    #[error("the certificate of {subject} is not meant for signing")]
    Purpose {
        /// Whose.
        subject: String,
    },
    /// No way to a root.
    #[error(
        "the certificate of {subject}, issued by {issuer}, does not lead to a root that is trusted here"
    )]
    NoRoot {
        /// Whose.
        subject: String,
        /// By whom, as it says.
        issuer: String,
    },
    /// Something on the way is wrong.
    #[error("the certificate chain of {subject} is not valid: {why}")]
    Path {
        /// Whose.
        subject: String,
        /// The path builder's reason.
        why: PathError,
    },
    /// Not a key of model signing.
    #[error("the certificate: {0}")]
    Key(#[from] KeySyntax),
    /// None of the certificates is of the private key.
    #[error("none of the certificates belongs to the private key")]
    OtherKey,
}

/// Who signed, as a valid chain says.
#[derive(Debug, Clone, PartialEq)]
pub struct Leaf {
    /// Its key.
    pub key: PublicKey,
    /// Its subject, as RFC 4514 writes it; hostile text.
    pub subject: String,
    /// SHA-256 over the certificate.
    pub fingerprint: Digest,
    /// Seconds since 1970 until which the certificates and roots that were looked at are valid; the first end counts.
    pub valid_until: i64,
}

/// Certificates in DER, the leaf first.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Chain(Vec<Vec<u8>>);

impl Chain {
    /// Takes what a bundle brings.
    pub fn from_der(certificates: Vec<Vec<u8>>) -> Result<Self, ChainError> {
        let count = certificates.len();
        if count > MAX_CHAIN {
            return Err(ChainError::TooMany { count });
        }
        if certificates.is_empty() {
            return Err(ChainError::Empty);
        }
        Ok(Self(certificates))
    }

    /// The chain for the private key of `key`, out of PEM texts: the certificate of that key first, then the others that
    /// are not roots, in their order.
    pub fn for_key(key: &PublicKey, texts: &[Vec<u8>]) -> Result<Self, ChainError> {
        let mut leaf = None;
        let mut others = Vec::new();
        for text in texts {
            for der in certificates(text)? {
                let number = others.len() + 1;
                let parsed = parse(&der, number)?;
                let tbs = parsed.tbs_certificate();
                if leaf.is_none() && key_of(&parsed).is_ok_and(|own| own == *key) {
                    leaf = Some(der);
                } else if tbs.subject() != tbs.issuer() && !others.contains(&der) {
                    others.push(der);
                }
            }
        }
        let mut chain = vec![leaf.ok_or(ChainError::OtherKey)?];
        chain.append(&mut others);
        Self::from_der(chain)
    }

    /// The certificates, the leaf first.
    pub fn certificates(&self) -> &[Vec<u8>] {
        &self.0
    }

    /// Who the chain says that signed, if it leads to one of `roots` at that time.
    pub fn verify(&self, roots: &Roots, at: At) -> Result<Leaf, ChainError> {
        for (number, der) in self.0.iter().enumerate() {
            parse(der, number + 1)?;
        }
        let first = self.0.first().ok_or(ChainError::Empty)?;
        let leaf = parse(first, 1)?;
        let tbs = leaf.tbs_certificate();
        let subject = tbs.subject().to_string();
        self.check_times(at)?;
        if !is_for_signing(&leaf) {
            return Err(ChainError::Purpose { subject });
        }
        let der: Vec<CertificateDer<'_>> = self.0.iter().map(|der| der.as_slice().into()).collect();
        let (end, intermediates) = der.split_first().ok_or(ChainError::Empty)?;
        let path = |why| match why {
            PathError::UnknownIssuer => ChainError::NoRoot {
                subject: subject.clone(),
                issuer: tbs.issuer().to_string(),
            },
            why => ChainError::Path {
                subject: subject.clone(),
                why,
            },
        };
        let end = EndEntityCert::try_from(end).map_err(path)?;
        let time = UnixTime::since_unix_epoch(Duration::from_secs(
            u64::try_from(at.seconds()).unwrap_or(0),
        ));
        let anchors = roots.anchors(at);
        end.verify_for_usage(
            ALGORITHMS,
            &anchors,
            intermediates,
            time,
            AnyPurpose,
            None,
            None,
        )
        .map_err(path)?;
        Ok(Leaf {
            key: key_of(&leaf)?,
            subject,
            fingerprint: Digest::of(first),
            valid_until: self.ends().chain(roots.ends(at)).min().unwrap_or(i64::MIN),
        })
    }

    fn ends(&self) -> impl Iterator<Item = i64> {
        let parsed = self
            .0
            .iter()
            .filter_map(|der| Certificate::from_der(der).ok());
        parsed.map(|it| seconds(&it.tbs_certificate().validity().not_after))
    }

    /// Every certificate that the signature brings must be valid then; the one that is not is named.
    fn check_times(&self, at: At) -> Result<(), ChainError> {
        for (number, der) in self.0.iter().enumerate() {
            let certificate = parse(der, number + 1)?;
            let tbs = certificate.tbs_certificate();
            let (validity, subject) = (tbs.validity(), || tbs.subject().to_string());
            if at.seconds() > seconds(&validity.not_after) {
                return Err(ChainError::Expired {
                    subject: subject(),
                    after: validity.not_after.to_string(),
                });
            }
            if at.seconds() < seconds(&validity.not_before) {
                return Err(ChainError::NotYetValid {
                    subject: subject(),
                    before: validity.not_before.to_string(),
                });
            }
        }
        Ok(())
    }
}

/// Certificates that the user trusts.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Roots(Vec<Vec<u8>>);

impl Roots {
    /// Reads PEM: every certificate in it is a root.
    pub fn from_pem(text: &[u8]) -> Result<Self, ChainError> {
        let roots = certificates(text)?;
        for (number, der) in roots.iter().enumerate() {
            parse(der, number + 1)?;
        }
        Ok(Self(roots))
    }

    /// These and those.
    pub fn extend(&mut self, more: Self) {
        self.0.extend(more.0);
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The certificates, in DER.
    pub fn certificates(&self) -> &[Vec<u8>] {
        &self.0
    }

    /// One digest over all of them, in order.
    pub fn fingerprint(&self) -> Digest {
        let mut all = domain::Hasher::new();
        for root in &self.0 {
            all.update(Digest::of(root).as_bytes());
        }
        all.finish()
    }

    /// Those that are valid at that time, with their end.
    fn valid(&self, at: At) -> impl Iterator<Item = (&Vec<u8>, i64)> {
        self.0.iter().filter_map(move |der| {
            let root = Certificate::from_der(der).ok()?;
            let validity = root.tbs_certificate().validity();
            let end = seconds(&validity.not_after);
            let is_valid = (seconds(&validity.not_before)..=end).contains(&at.seconds());
            is_valid.then_some((der, end))
        })
    }

    fn ends(&self, at: At) -> impl Iterator<Item = i64> {
        self.valid(at).map(|(_, end)| end)
    }

    fn anchors(&self, at: At) -> Vec<TrustAnchor<'static>> {
        self.valid(at)
            .filter_map(|(der, _)| {
                let der = CertificateDer::from(der.as_slice());
                let anchor = webpki::anchor_from_trusted_cert(&der).ok()?;
                Some(anchor.to_owned())
            })
            .collect()
    }
}

fn certificates(text: &[u8]) -> Result<Vec<Vec<u8>>, ChainError> {
    let blocks = pem::parse(text)?;
    let all = blocks
        .into_iter()
        .filter(|block| block.label.ends_with("CERTIFICATE"));
    let all: Vec<_> = all.map(|block| block.der).take(MAX_CERTIFICATES).collect();
    if all.is_empty() {
        return Err(ChainError::Empty);
    }
    Ok(all)
}

fn parse(der: &[u8], number: usize) -> Result<Certificate, ChainError> {
    if der.len() > MAX_CERTIFICATE_BYTES {
        return Err(ChainError::Damaged { number });
    }
    Certificate::from_der(der).map_err(|_| ChainError::Damaged { number })
}

fn key_of(certificate: &Certificate) -> Result<PublicKey, KeySyntax> {
    use x509_cert::der::Encode as _;
    let info = certificate.tbs_certificate().subject_public_key_info();
    let der = info.to_der().map_err(|_| KeySyntax::Kind)?;
    PublicKey::from_spki(&der)
}

fn seconds(time: &x509_cert::time::Time) -> i64 {
    i64::try_from(time.to_unix_duration().as_secs()).unwrap_or(i64::MAX)
}

/// What the specification wants: digital signatures or code signing; and what a certificate says of itself must not speak
/// against it.
fn is_for_signing(leaf: &Certificate) -> bool {
    let tbs = leaf.tbs_certificate();
    let (Ok(usage), Ok(purposes)) = (
        tbs.get_extension::<KeyUsage>(),
        tbs.get_extension::<ExtendedKeyUsage>(),
    ) else {
        return false;
    };
    let usage = usage.map(|(_, usage)| usage.digital_signature());
    let purposes = purposes.map(|(_, purposes)| {
        let is_meant = |purpose| [CODE_SIGNING, ANY_PURPOSE].contains(purpose);
        purposes.0.iter().any(is_meant)
    });
    match (usage, purposes) {
        (Some(usage), Some(purposes)) => usage && purposes,
        (Some(one), None) | (None, Some(one)) => one,
        (None, None) => false,
    }
}

/// The path builder leaves purposes to [`is_for_signing`].
struct AnyPurpose;

impl webpki::ExtendedKeyUsageValidator for AnyPurpose {
    fn validate(&self, purposes: webpki::KeyPurposeIdIter<'_, '_>) -> Result<(), PathError> {
        for purpose in purposes {
            purpose?;
        }
        Ok(())
    }
}

const ALGORITHMS: &[&dyn SignatureVerificationAlgorithm] = &[
    algorithms::ECDSA_P256_SHA256,
    algorithms::ECDSA_P256_SHA384,
    algorithms::ECDSA_P384_SHA256,
    algorithms::ECDSA_P384_SHA384,
    algorithms::ED25519,
    algorithms::RSA_PKCS1_2048_8192_SHA256,
    algorithms::RSA_PKCS1_2048_8192_SHA384,
    algorithms::RSA_PKCS1_2048_8192_SHA512,
    algorithms::RSA_PKCS1_3072_8192_SHA384,
    algorithms::RSA_PSS_2048_8192_SHA256_LEGACY_KEY,
    algorithms::RSA_PSS_2048_8192_SHA384_LEGACY_KEY,
    algorithms::RSA_PSS_2048_8192_SHA512_LEGACY_KEY,
    &P521 {
        hash: &ring::digest::SHA256,
        id: alg_id::ECDSA_SHA256,
    },
    &P521 {
        hash: &ring::digest::SHA384,
        id: alg_id::ECDSA_SHA384,
    },
    &P521 {
        hash: &ring::digest::SHA512,
        id: alg_id::ECDSA_SHA512,
    },
];

/// P-521 for certificates, which *ring* does not know.
#[derive(Debug)]
struct P521 {
    hash: &'static ring::digest::Algorithm,
    id: AlgorithmIdentifier,
}

impl SignatureVerificationAlgorithm for P521 {
    fn verify_signature(
        &self,
        public_key: &[u8],
        message: &[u8],
        signature: &[u8],
    ) -> Result<(), InvalidSignature> {
        use ecdsa::signature::hazmat::PrehashVerifier as _;
        let key =
            p521::ecdsa::VerifyingKey::from_sec1_bytes(public_key).map_err(|_| InvalidSignature)?;
        let signature =
            p521::ecdsa::Signature::from_der(signature).map_err(|_| InvalidSignature)?;
        let digest = ring::digest::digest(self.hash, message);
        key.verify_prehash(digest.as_ref(), &signature)
            .map_err(|_| InvalidSignature)
    }

    fn public_key_alg_id(&self) -> AlgorithmIdentifier {
        alg_id::ECDSA_P521
    }

    fn signature_alg_id(&self) -> AlgorithmIdentifier {
        self.id
    }
}
