//! DSSE, the envelope: a payload, its type, and signatures over both.
//!
//! What is signed is not the payload but its *pre-authentication encoding*, which binds the type and both lengths, so that
//! the bytes cannot be taken for a document of another kind. The payload is not interpreted here, and whose signature
//! counts is the caller's. An envelope has exactly one signature in everything that Taintline writes or believes: with two,
//! one reader may check the first and another the second.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Serialize};

use crate::keys::{PrivateKey, PublicKey, SignError};
use crate::ssh;

/// The payload type of an in-toto statement.
pub const IN_TOTO: &str = "application/vnd.in-toto+json";

/// An envelope as it stands in a file; every field that the specification has and no other.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Envelope {
    /// Base64 of the signed bytes.
    pub payload: String,
    /// What they are, a media type.
    #[serde(rename = "payloadType")]
    pub payload_type: String,
    /// The signatures.
    pub signatures: Vec<Signature>,
}

/// One signature of an envelope.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Signature {
    /// Base64 of the signature.
    pub sig: String,
    /// Which key, as far as the signer says; absent, null and empty say nothing.
    #[serde(default)]
    pub keyid: Option<String>,
}

/// An envelope that cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum EnvelopeError {
    /// Not an in-toto statement.
    #[error("the envelope holds {found:?}, not an in-toto statement")]
    Type {
        /// The type that it states.
        found: String,
    },
    /// No signature, or several.
    #[error("the envelope has {count} signatures; exactly one is believed")]
    Signatures {
        /// How many.
        count: usize,
    },
    /// Its base64 is damaged.
    #[error("the {what} of the envelope is not base64")]
    Base64 {
        /// `payload` or `signature`.
        what: &'static str,
    },
}

/// An envelope whose base64 is undone, not yet verified.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Opened {
    payload: Vec<u8>,
    signature: Vec<u8>,
    keyid: Option<String>,
}

impl Envelope {
    /// Puts a statement under the signature of `key`. The key's hint becomes the `keyid`.
    pub fn sign(payload: &[u8], key: &PrivateKey) -> Result<Self, SignError> {
        let header = header(IN_TOTO, payload.len());
        let signature = key.sign(&[header.as_bytes(), payload])?;
        Ok(Self {
            payload: STANDARD.encode(payload),
            payload_type: IN_TOTO.to_owned(),
            signatures: vec![Signature {
                sig: STANDARD.encode(signature),
                keyid: Some(key.public().hint()),
            }],
        })
    }

    /// Puts a statement and the armoured signature of a person, over [`signed_bytes`], into an envelope.
    pub fn of_person(payload: &[u8], key: &ssh::PublicKey, armoured: &[u8]) -> Self {
        Self {
            payload: STANDARD.encode(payload),
            payload_type: IN_TOTO.to_owned(),
            signatures: vec![Signature {
                sig: STANDARD.encode(armoured),
                keyid: Some(key.fingerprint()),
            }],
        }
    }

    /// Undoes the base64 of an in-toto envelope with one signature.
    pub fn open(self) -> Result<Opened, EnvelopeError> {
        if self.payload_type != IN_TOTO {
            return Err(EnvelopeError::Type {
                found: self.payload_type,
            });
        }
        let [signature] = self.signatures.as_slice() else {
            return Err(EnvelopeError::Signatures {
                count: self.signatures.len(),
            });
        };
        let decode = |text: &str, what| {
            STANDARD
                .decode(text)
                .map_err(|_| EnvelopeError::Base64 { what })
        };
        Ok(Opened {
            signature: decode(&signature.sig, "signature")?,
            keyid: signature.keyid.clone().filter(|id| !id.is_empty()),
            payload: decode(&self.payload, "payload")?,
        })
    }
}

impl Opened {
    /// The `keyid`, when it says something.
    pub fn keyid(&self) -> Option<&str> {
        self.keyid.as_deref()
    }

    /// The bytes of the signature: what a time stamp is made over.
    pub fn signature(&self) -> &[u8] {
        &self.signature
    }

    /// The payload, if `key` signed it as an in-toto statement.
    pub fn verified_by(&self, key: &PublicKey) -> Option<Verified<'_>> {
        let header = header(IN_TOTO, self.payload.len());
        key.verify(&[header.as_bytes(), &self.payload], &self.signature)
            .then_some(Verified(&self.payload))
    }

    /// The payload and the SSH key that signed it for the purpose `namespace`; the signature's bytes are its armoured text.
    pub fn verified_by_person(&self, namespace: &str) -> Result<Signed<'_>, NotSigned> {
        let signature = ssh::Signature::parse(&self.signature)?;
        signature.verify(namespace, &signed_bytes(&self.payload))?;
        Ok(Signed {
            key: signature.key().clone(),
            token: signature.token(),
            statement: Verified(&self.payload),
        })
    }

    /// The payload, whoever signed it or nobody: to say what a signature that does not hold was said to be about.
    pub fn unverified(&self) -> &[u8] {
        &self.payload
    }
}

/// A statement that a person signed with an SSH key.
#[derive(Debug, Clone)]
pub struct Signed<'a> {
    /// The key; whose it is, others say.
    pub key: ssh::PublicKey,
    /// What the hardware token said, where the key is on one.
    pub token: Option<ssh::Token>,
    /// What was signed.
    pub statement: Verified<'a>,
}

/// Why nobody signed an envelope with an SSH key.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NotSigned {
    /// The signature cannot be read.
    #[error(transparent)]
    Syntax(#[from] ssh::SignatureSyntax),
    /// It does not hold.
    #[error(transparent)]
    Invalid(#[from] ssh::Invalid),
}

/// The bytes that are signed in place of an in-toto statement: what `ssh-keygen -Y sign` and `-Y verify` are given.
pub fn signed_bytes(payload: &[u8]) -> Vec<u8> {
    [header(IN_TOTO, payload.len()).as_bytes(), payload].concat()
}

/// Bytes under a signature that was checked. Only [`Opened::verified_by`] and [`Opened::verified_by_person`]
/// make one.
#[derive(Debug, Clone, Copy)]
pub struct Verified<'a>(&'a [u8]);

impl<'a> Verified<'a> {
    /// The bytes.
    pub fn bytes(self) -> &'a [u8] {
        self.0
    }
}

/// The pre-authentication encoding up to the payload.
fn header(payload_type: &str, length: usize) -> String {
    format!("DSSEv1 {} {payload_type} {length} ", payload_type.len())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::keys::Curve;

    #[test]
    fn the_encoding_is_that_of_the_specification() {
        assert_eq!(
            header("http://example.com/HelloWorld", 11) + "hello world",
            "DSSEv1 29 http://example.com/HelloWorld 11 hello world"
        );
    }

    #[test]
    fn only_the_key_that_signed_is_believed() {
        let keys =
            [Curve::P256, Curve::P384, Curve::P521].map(|c| PrivateKey::generate(c).unwrap());
        for (number, key) in keys.iter().enumerate() {
            let opened = Envelope::sign(b"{}", key).unwrap().open().unwrap();
            assert_eq!(opened.keyid(), Some(key.public().hint().as_str()));
            for (other, public) in keys.iter().enumerate() {
                let verified = opened.verified_by(public.public());
                assert_eq!(verified.is_some(), number == other);
            }
        }
    }

    #[test]
    fn another_type_a_second_signature_or_none_is_refused() {
        let key = PrivateKey::generate(Curve::P256).unwrap();
        let good = Envelope::sign(b"{}", &key).unwrap();
        let mut other = good.clone();
        other.payload_type = "text/plain".to_owned();
        assert!(matches!(other.open(), Err(EnvelopeError::Type { .. })));
        for count in [0, 2] {
            let mut many = good.clone();
            many.signatures = vec![good.signatures[0].clone(); count];
            assert_eq!(many.open(), Err(EnvelopeError::Signatures { count }));
        }
        let mut loose = good.clone();
        loose.payload = loose.payload.trim_end_matches('=').to_owned();
        assert_eq!(loose.open(), Err(EnvelopeError::Base64 { what: "payload" }));
    }
}
