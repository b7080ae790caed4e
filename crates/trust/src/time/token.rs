//! A time stamp token (RFC 3161 in CMS, RFC 5652): what it says, before anybody believes it.

use der::Tag;
use der::asn1::ObjectIdentifier;
use jiff::Timestamp;

use super::fields::{Fields, element, small};

/// The most bytes that a token may have.
pub const MAX_TOKEN_BYTES: usize = 256 << 10;
/// The most certificates that one may carry.
const MAX_CERTIFICATES: usize = 16;

const fn oid(text: &str) -> ObjectIdentifier {
    ObjectIdentifier::new_unwrap(text)
}

const SIGNED_DATA: ObjectIdentifier = oid("1.2.840.113549.1.7.2");
const TST_INFO: ObjectIdentifier = oid("1.2.840.113549.1.9.16.1.4");
const CONTENT_TYPE: ObjectIdentifier = oid("1.2.840.113549.1.9.3");
const MESSAGE_DIGEST: ObjectIdentifier = oid("1.2.840.113549.1.9.4");
const SIGNING_CERTIFICATE: ObjectIdentifier = oid("1.2.840.113549.1.9.16.2.12");
const SIGNING_CERTIFICATE_V2: ObjectIdentifier = oid("1.2.840.113549.1.9.16.2.47");

/// Bytes that are not a time stamp token.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum TokenSyntax {
    /// Longer than [`MAX_TOKEN_BYTES`].
    #[error("a time stamp token has at most {MAX_TOKEN_BYTES} bytes")]
    TooLong,
    /// Not a ContentInfo with SignedData over a TSTInfo, in DER, with one signer.
    #[error("this is not a time stamp token (RFC 3161, DER)")]
    Malformed,
    /// Something of it is of a kind that is not known here, so it cannot be judged.
    #[error("the time stamp token has a part that is not known here")]
    Unknown,
}

/// A token, read but not verified.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Token {
    pub(super) stated: Stated,
    /// The content that is signed, as bytes.
    pub(super) content: Vec<u8>,
    pub(super) certificates: Vec<Vec<u8>>,
    pub(super) signer: Signer,
}

/// What the authority states.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stated {
    /// The time, to the nanosecond where the token says it so exactly.
    pub at: Timestamp,
    /// How far the time may be off, in microseconds, where the token says so.
    pub accuracy_us: Option<u64>,
    /// The token's number at its authority, as bytes, the highest first.
    pub serial: Vec<u8>,
    /// The policy that it was issued under.
    pub policy: String,
    /// The algorithm of the digest, as an object identifier.
    pub algorithm: String,
    /// The digest that the time is stated of.
    pub imprint: Vec<u8>,
    /// The nonce of the request.
    pub nonce: Option<Vec<u8>>,
}

/// Who signed, and how.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Signer {
    pub(super) digest_algorithm: ObjectIdentifier,
    pub(super) signature_algorithm: ObjectIdentifier,
    pub(super) signature: Vec<u8>,
    /// The signed attributes as they are signed: as a SET.
    pub(super) attributes: Vec<u8>,
    pub(super) content_digest: Vec<u8>,
    /// The digest of the signer's certificate that is under the signature.
    pub(super) bound: Bound,
}

/// The signed attribute that names the certificate, without which another certificate of the same key could be put in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Bound {
    Sha1(Vec<u8>),
    Other(ObjectIdentifier, Vec<u8>),
}

impl Token {
    /// Reads a token. Pure and total.
    pub fn parse(der: &[u8]) -> Result<Self, TokenSyntax> {
        if der.len() > MAX_TOKEN_BYTES {
            return Err(TokenSyntax::TooLong);
        }
        content_info(der).ok_or(TokenSyntax::Malformed)?
    }

    /// What it states. Nobody vouches for it before [`Token::verify`].
    pub fn stated(&self) -> &Stated {
        &self.stated
    }
}

fn content_info(der: &[u8]) -> Option<Result<Token, TokenSyntax>> {
    let mut info = Fields::within(der)?;
    (info.oid()? == SIGNED_DATA).then_some(())?;
    let mut data = Fields::within(info.tagged(0)?)?;
    info.end()?;
    data.small()?;
    data.set()?;
    let mut encapsulated = data.sequence()?;
    (encapsulated.oid()? == TST_INFO).then_some(())?;
    let content = Fields::of(encapsulated.tagged(0)?)?.value(Tag::OctetString)?;
    let certificates = certificates(data.tagged(0).unwrap_or_default())?;
    data.tagged(1);
    let mut signers = data.set()?;
    data.end()?;
    let signer = signers.sequence()?;
    signers.end()?;
    let signer = match signer_info(signer)? {
        Ok(signer) => signer,
        Err(unknown) => return Some(Err(unknown)),
    };
    Some(Ok(Token {
        stated: stated(content)?,
        content: content.to_vec(),
        certificates,
        signer,
    }))
}

/// Certificates that stand beside the signature; forms other than X.509 are passed over.
fn certificates(bytes: &[u8]) -> Option<Vec<Vec<u8>>> {
    let mut fields = Fields::of(bytes)?;
    let mut certificates = Vec::new();
    while !fields.is_empty() {
        let encoding = fields.encoding()?;
        if encoding.first() == Some(&0x30) {
            certificates.push(encoding.to_vec());
        }
        (certificates.len() <= MAX_CERTIFICATES).then_some(())?;
    }
    Some(certificates)
}

fn stated(content: &[u8]) -> Option<Stated> {
    let mut info = Fields::within(content)?;
    (info.small()? == 1).then_some(())?;
    let policy = info.oid()?.to_string();
    let mut imprint = info.sequence()?;
    let algorithm = imprint.algorithm()?.to_string();
    let digest = imprint.value(Tag::OctetString)?.to_vec();
    let serial = info.value(Tag::Integer)?.to_vec();
    let at = generalized(info.value(Tag::GeneralizedTime)?)?;
    let accuracy_us = info.optional(Tag::Sequence).and_then(accuracy);
    info.optional(Tag::Boolean);
    let nonce = info.optional(Tag::Integer).map(<[u8]>::to_vec);
    Some(Stated {
        at,
        accuracy_us,
        serial,
        policy,
        algorithm,
        imprint: digest,
        nonce,
    })
}

/// Seconds, milliseconds and microseconds, each only where it is not zero.
fn accuracy(bytes: &[u8]) -> Option<u64> {
    let mut fields = Fields::of(bytes)?;
    let seconds = fields.optional(Tag::Integer).map_or(Some(0), small)?;
    let millis = fields.tagged(0).map_or(Some(0), small)?;
    let micros = fields.tagged(1).map_or(Some(0), small)?;
    Some(u64::from(seconds) * 1_000_000 + u64::from(millis) * 1_000 + u64::from(micros))
}

/// `YYYYMMDDhhmmss[.s…]Z`, the only form that RFC 3161 allows.
fn generalized(bytes: &[u8]) -> Option<Timestamp> {
    let text = std::str::from_utf8(bytes).ok()?.strip_suffix('Z')?;
    let (whole, fraction) = text.split_once('.').unwrap_or((text, "0"));
    let is_number = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    (whole.len() == 14 && is_number(whole) && is_number(fraction) && fraction.len() <= 9)
        .then_some(())?;
    let part = |from: usize, to: usize| whole.get(from..to);
    let (year, month, day) = (part(0, 4)?, part(4, 6)?, part(6, 8)?);
    let (hour, minute, second) = (part(8, 10)?, part(10, 12)?, part(12, 14)?);
    format!("{year}-{month}-{day}T{hour}:{minute}:{second}.{fraction}Z")
        .parse()
        .ok()
}

fn signer_info(mut info: Fields<'_>) -> Option<Result<Signer, TokenSyntax>> {
    info.small()?;
    // Who it is is told by the bound certificate, and not by a name that others may bear.
    info.any()?;
    let digest_algorithm = info.algorithm()?;
    let attributes = info.tagged(0)?;
    let signature_algorithm = info.algorithm()?;
    let signature = info.value(Tag::OctetString)?.to_vec();
    let mut content_digest = None;
    let mut bound = None;
    let mut rest = Fields::of(attributes)?;
    while !rest.is_empty() {
        let mut attribute = rest.sequence()?;
        let (kind, mut values) = (attribute.oid()?, attribute.set()?);
        let taken_twice = match kind {
            CONTENT_TYPE if values.oid()? != TST_INFO => return Some(Err(TokenSyntax::Unknown)),
            MESSAGE_DIGEST => content_digest
                .replace(values.value(Tag::OctetString)?.to_vec())
                .is_some(),
            SIGNING_CERTIFICATE if bound.is_none() => bound
                .replace(Bound::Sha1(certificate_digest(&mut values, false)?.1))
                .is_some(),
            SIGNING_CERTIFICATE_V2 => {
                let (algorithm, digest) = certificate_digest(&mut values, true)?;
                // Where both are given, the stronger one counts.
                bound = Some(Bound::Other(algorithm, digest));
                false
            }
            _ => false,
        };
        (!taken_twice).then_some(())?;
    }
    Some(Ok(Signer {
        digest_algorithm,
        signature_algorithm,
        signature,
        attributes: element(Tag::Set, &[attributes]),
        content_digest: content_digest?,
        bound: bound?,
    }))
}

/// The first ESSCertID: for version 2 with its algorithm, SHA-256 where none is given.
fn certificate_digest(
    values: &mut Fields<'_>,
    with_algorithm: bool,
) -> Option<(ObjectIdentifier, Vec<u8>)> {
    let mut first = values.sequence()?.sequence()?.sequence()?;
    let algorithm = match with_algorithm
        .then(|| first.optional(Tag::Sequence))
        .flatten()
    {
        Some(algorithm) => Fields::of(algorithm)?.oid()?,
        None => super::request::SHA256,
    };
    Some((algorithm, first.value(Tag::OctetString)?.to_vec()))
}
