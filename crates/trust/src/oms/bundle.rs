//! The Sigstore bundle v0.3: how the signature was made, and the envelope.
//!
//! Three methods are known: a key, which the bundle only hints at; a certificate chain; and Sigstore's own, whose
//! transparency log cannot be asked without a network, so that such a bundle is told apart and not judged.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::de::IgnoredAny;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::certificate::{Chain, ChainError};
use crate::envelope::{Envelope, EnvelopeError, Opened};
use crate::keys::PublicKey;
use crate::strict::{self, JsonError};
use crate::time::granted;

const MEDIA_TYPE: &str = "application/vnd.dev.sigstore.bundle.v0.3+json";

/// How the same version was once written.
const MEDIA_TYPE_OLD: &str = "application/vnd.dev.sigstore.bundle+json;version=0.3";

/// The most time stamps of a bundle that are kept.
const MAX_TIME_STAMPS: usize = 8;

/// How a signature says that it was made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Method {
    /// With a key; the hint is absent before version 1.1.
    Key {
        /// SHA-256 of the key's PEM text, in hexadecimal.
        hint: Option<String>,
    },
    /// With the key of a certificate.
    Certificate(Chain),
    /// Through Sigstore.
    Sigstore,
}

/// A bundle, opened but not verified.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Bundle {
    /// How it says that it was made.
    pub method: Method,
    /// The envelope.
    pub envelope: Opened,
    /// RFC 3161 tokens over the signature's bytes, not verified.
    pub time_stamps: Vec<Vec<u8>>,
}

/// A file that is not a bundle.
#[derive(Debug, thiserror::Error)]
pub enum BundleError {
    /// Not JSON of a bundle.
    #[error(transparent)]
    Json(#[from] JsonError),
    /// Another media type.
    #[error("it states the media type {found:?}; Sigstore bundles of version 0.3 are read")]
    MediaType {
        /// What it states.
        found: String,
    },
    /// Not exactly one of key, chain and certificate.
    #[error("it names {count} ways in which it was signed; exactly one is expected")]
    Material {
        /// How many.
        count: usize,
    },
    /// The envelope.
    #[error(transparent)]
    Envelope(#[from] EnvelopeError),
    /// The chain.
    #[error(transparent)]
    Chain(#[from] ChainError),
    /// Base64 outside of the envelope.
    #[error("a certificate or time stamp in it is not base64")]
    Base64,
    /// The envelope names another key than the bundle.
    #[error("the envelope names another key than the bundle around it")]
    KeyId,
    /// As many time stamps as are read, or in a form that is not known.
    #[error("it has {count} time stamps and takes no more")]
    TimeStamps {
        /// How many.
        count: usize,
    },
    /// A key without anything that names it.
    #[error("it names no key")]
    NoHint,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct Form {
    media_type: String,
    verification_material: Material,
    dsse_envelope: Envelope,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct Material {
    #[serde(default)]
    public_key: Option<KeyForm>,
    #[serde(default)]
    x509_certificate_chain: Option<ChainForm>,
    #[serde(default)]
    certificate: Option<IgnoredAny>,
    #[serde(default, rename = "tlogEntries")]
    _log_entries: Option<Vec<IgnoredAny>>,
    #[serde(default)]
    timestamp_verification_data: Option<StampsForm>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct KeyForm {
    #[serde(default)]
    hint: Option<String>,
    #[serde(default)]
    raw_bytes: Option<IgnoredAny>,
}

#[derive(Deserialize)]
struct ChainForm {
    certificates: Vec<RawForm>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct RawForm {
    raw_bytes: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct StampsForm {
    #[serde(default)]
    rfc3161_timestamps: Vec<StampForm>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct StampForm {
    signed_timestamp: String,
}

impl Bundle {
    /// Reads a bundle of at most `limit` bytes. Pure and total.
    pub fn parse(bytes: &[u8], limit: u64) -> Result<Self, BundleError> {
        let form: Form = strict::from_slice(bytes, limit)?;
        if form.media_type != MEDIA_TYPE && form.media_type != MEDIA_TYPE_OLD {
            return Err(BundleError::MediaType {
                found: form.media_type,
            });
        }
        let material = form.verification_material;
        let method = match (
            material.public_key,
            material.x509_certificate_chain,
            material.certificate,
        ) {
            (Some(key), None, None) => key.method()?,
            (None, Some(chain), None) => Method::Certificate(chain.open()?),
            (None, None, Some(_)) => Method::Sigstore,
            (key, chain, certificate) => {
                let named = [key.is_some(), chain.is_some(), certificate.is_some()];
                let count = named.into_iter().filter(|is| *is).count();
                return Err(BundleError::Material { count });
            }
        };
        let envelope = form.dsse_envelope.open()?;
        if let Method::Key { hint: Some(hint) } = &method
            && envelope.keyid().is_some_and(|keyid| keyid != hint)
        {
            return Err(BundleError::KeyId);
        }
        let stamps = material.timestamp_verification_data;
        let stamps = stamps
            .map(|data| data.rfc3161_timestamps)
            .unwrap_or_default();
        let stamps = stamps.iter().take(MAX_TIME_STAMPS);
        let time_stamps: Result<_, _> = stamps
            .map(|it| STANDARD.decode(&it.signed_timestamp))
            .collect();
        Ok(Self {
            method,
            envelope,
            time_stamps: time_stamps.map_err(|_| BundleError::Base64)?,
        })
    }

    /// The bundle of an envelope that `key` signed, with the chain where there is one.
    pub fn encode(
        envelope: &Envelope,
        key: &PublicKey,
        chain: Option<&Chain>,
    ) -> serde_json::Result<Vec<u8>> {
        #[derive(Serialize)]
        #[serde(rename_all = "camelCase")]
        struct Out<'a> {
            media_type: &'static str,
            verification_material: serde_json::Value,
            dsse_envelope: &'a Envelope,
        }
        let material = match chain {
            None => serde_json::json!({"publicKey": {"hint": key.hint()}, "tlogEntries": []}),
            Some(chain) => {
                let raw = |der: &Vec<u8>| serde_json::json!({"rawBytes": STANDARD.encode(der)});
                let all: Vec<_> = chain.certificates().iter().map(raw).collect();
                serde_json::json!({"x509CertificateChain": {"certificates": all}, "tlogEntries": []})
            }
        };
        serde_json::to_vec(&Out {
            media_type: MEDIA_TYPE,
            verification_material: material,
            dsse_envelope: envelope,
        })
    }
}

/// The same bundle with one more time stamp: a token over the bytes of its signature. What is signed stays as it is, byte
/// for byte.
pub fn stamped(bundle: &[u8], limit: u64, token: &[u8]) -> Result<Vec<u8>, BundleError> {
    let count = Bundle::parse(bundle, limit)?.time_stamps.len();
    if count >= MAX_TIME_STAMPS {
        return Err(BundleError::TimeStamps { count });
    }
    let mut form: Value = serde_json::from_slice(bundle).map_err(JsonError::from)?;
    let stamp = json!({"signedTimestamp": STANDARD.encode(granted(token))});
    let stamps = form
        .get_mut("verificationMaterial")
        .and_then(Value::as_object_mut)
        .map(|material| {
            material
                .entry("timestampVerificationData")
                .or_insert(Value::Null)
        })
        .map(|data| {
            if data.is_null() {
                *data = json!({"rfc3161Timestamps": []});
            }
            data
        })
        .and_then(Value::as_object_mut)
        .map(|data| data.entry("rfc3161Timestamps").or_insert_with(|| json!([])));
    match stamps.and_then(Value::as_array_mut) {
        Some(stamps) => stamps.push(stamp),
        None => return Err(BundleError::TimeStamps { count }),
    }
    Ok(serde_json::to_vec(&form).map_err(JsonError::from)?)
}

impl KeyForm {
    fn method(self) -> Result<Method, BundleError> {
        match (self.hint, self.raw_bytes) {
            (Some(hint), _) => Ok(Method::Key { hint: Some(hint) }),
            (None, Some(_)) => Ok(Method::Key { hint: None }),
            (None, None) => Err(BundleError::NoHint),
        }
    }
}

impl ChainForm {
    fn open(self) -> Result<Chain, BundleError> {
        let decode = |it: &RawForm| STANDARD.decode(&it.raw_bytes);
        let all: Result<Vec<_>, _> = self.certificates.iter().map(decode).collect();
        Ok(Chain::from_der(all.map_err(|_| BundleError::Base64)?)?)
    }
}
