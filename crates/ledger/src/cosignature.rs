//! Cosignatures (C2SP tlog-cosignature): that somebody who is not the log saw this tree head, at a time, and nothing that
//! contradicts it.
//!
//! Two kinds, Ed25519 over the text of the tree head (`cosignature/v1`) and ML-DSA-44 over its content. Which cosigners
//! count, and how many, is a policy's business ([`crate::policy`]); whether to give one is a witness's
//! ([`crate::witness`]). Here is only what is signed, and whether the signature holds.

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use domain::Hasher;
use ml_dsa::signature::Verifier as _;
use ml_dsa::{EncodedSignature, EncodedVerifyingKey, MlDsa44, VerifyingKey};
use ring::signature::{ED25519, UnparsedPublicKey};

use crate::note::{Note, Signature, VerifierKeySyntax, is_key_name};
use crate::tree_head::{TreeHead, parse_extended};

/// Bytes of an ML-DSA-44 public key.
const ML_DSA_KEY_BYTES: usize = 1312;

/// What the message of an ML-DSA-44 cosignature begins with.
const SUBTREE_LABEL: &[u8; 12] = b"subtree/v1\n\0";

/// How a cosigner signs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Algorithm {
    /// Ed25519, `cosignature/v1`.
    Ed25519,
    /// ML-DSA-44, which a quantum computer does not forge.
    MlDsa44,
}

impl Algorithm {
    /// The byte that says so in keys of notes.
    pub(crate) fn byte(self) -> u8 {
        match self {
            Self::Ed25519 => 4,
            Self::MlDsa44 => 6,
        }
    }
}

impl fmt::Display for Algorithm {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Ed25519 => "Ed25519",
            Self::MlDsa44 => "ML-DSA-44",
        })
    }
}

/// The public key of a cosigner, with its name.
#[derive(Clone, PartialEq, Eq)]
pub struct CosignerKey {
    name: String,
    algorithm: Algorithm,
    public: Vec<u8>,
}

impl fmt::Debug for CosignerKey {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let id = u32::from_be_bytes(self.id());
        write!(formatter, "{}+{id:08x} ({})", self.name, self.algorithm)
    }
}

impl CosignerKey {
    /// Names a public key, which must be of the length that the algorithm has.
    pub(crate) fn new(name: &str, algorithm: Algorithm, public: &[u8]) -> Option<Self> {
        let bytes = match algorithm {
            Algorithm::Ed25519 => 32,
            Algorithm::MlDsa44 => ML_DSA_KEY_BYTES,
        };
        (public.len() == bytes && is_key_name(name)).then(|| Self {
            name: name.to_owned(),
            algorithm,
            public: public.to_vec(),
        })
    }

    /// The name of the cosigner.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// How it signs.
    pub fn algorithm(&self) -> Algorithm {
        self.algorithm
    }

    /// The key itself, without its name.
    pub(crate) fn public(&self) -> &[u8] {
        &self.public
    }

    /// The first four bytes of SHA-256 over name, line break, algorithm and key.
    pub fn id(&self) -> [u8; 4] {
        let mut hasher = Hasher::new();
        hasher.update(self.name.as_bytes());
        hasher.update(&[b'\n', self.algorithm.byte()]);
        hasher.update(&self.public);
        let [a, b, c, d, ..] = *hasher.finish().as_bytes();
        [a, b, c, d]
    }

    /// The one text form, without line break.
    pub fn encode(&self) -> String {
        let key = STANDARD.encode([&[self.algorithm.byte()], self.public.as_slice()].concat());
        format!("{}+{:08x}+{key}", self.name, u32::from_be_bytes(self.id()))
    }

    /// Reads the text form, without line break; refuses what [`CosignerKey::encode`] would not have written.
    pub fn parse(text: &str) -> Result<Self, VerifierKeySyntax> {
        let mut parts = text.splitn(3, '+');
        let (Some(name), Some(_), Some(key)) = (parts.next(), parts.next(), parts.next()) else {
            return Err(VerifierKeySyntax::Form);
        };
        let bytes = STANDARD.decode(key).map_err(|_| VerifierKeySyntax::Form)?;
        let (byte, public) = bytes.split_first().ok_or(VerifierKeySyntax::Form)?;
        let algorithm = [Algorithm::Ed25519, Algorithm::MlDsa44]
            .into_iter()
            .find(|it| it.byte() == *byte)
            .ok_or(VerifierKeySyntax::Algorithm)?;
        let key = Self::new(name, algorithm, public).ok_or(VerifierKeySyntax::Form)?;
        if key.encode() == text {
            Ok(key)
        } else {
            Err(VerifierKeySyntax::Id)
        }
    }

    /// What this cosigner said of a tree head; `None` when nothing under its name and id is there. Of several cosignatures
    /// all must hold, and the latest counts.
    pub fn read(&self, note: &Note) -> Option<Result<Cosigned, CosignatureError>> {
        let id = self.id();
        let of_key = |it: &&Signature| it.name == self.name && it.key_id == id;
        let mut read = note
            .signatures()
            .iter()
            .filter(of_key)
            .map(|it| self.read_one(note.text(), &it.signature));
        let first = read.next()?;
        Some(read.fold(first, |so_far, next| match (so_far, next) {
            (Ok(so_far), Ok(next)) => Ok(if next.at > so_far.at { next } else { so_far }),
            (Err(error), _) | (_, Err(error)) => Err(error),
        }))
    }

    fn read_one(&self, text: &str, signature: &[u8]) -> Result<Cosigned, CosignatureError> {
        let (time, signature) = signature
            .split_first_chunk::<8>()
            .ok_or(CosignatureError::Form)?;
        let at = u64::from_be_bytes(*time);
        if i64::try_from(at).is_err() {
            return Err(CosignatureError::Form);
        }
        let message = self.message(text, at).ok_or(CosignatureError::Form)?;
        if self.verify(&message, signature) {
            Ok(Cosigned { at })
        } else {
            Err(CosignatureError::Signature)
        }
    }

    /// The bytes that a cosignature of this key at time `at` is over; `None` when the text is no tree head, or a name does
    /// not fit.
    pub(crate) fn message(&self, text: &str, at: u64) -> Option<Vec<u8>> {
        let (origin, head) = parse_extended(text)?;
        match self.algorithm {
            Algorithm::Ed25519 => Some(format!("cosignature/v1\ntime {at}\n{text}").into_bytes()),
            Algorithm::MlDsa44 => subtree_message(&self.name, at, origin, head),
        }
    }

    fn verify(&self, message: &[u8], signature: &[u8]) -> bool {
        match self.algorithm {
            Algorithm::Ed25519 => UnparsedPublicKey::new(&ED25519, &self.public)
                .verify(message, signature)
                .is_ok(),
            Algorithm::MlDsa44 => verify_ml_dsa(&self.public, message, signature).is_some(),
        }
    }
}

fn verify_ml_dsa(public: &[u8], message: &[u8], signature: &[u8]) -> Option<()> {
    let key: &EncodedVerifyingKey<MlDsa44> = public.try_into().ok()?;
    let encoded: &EncodedSignature<MlDsa44> = signature.try_into().ok()?;
    let signature = ml_dsa::Signature::decode(encoded)?;
    // Without context, as the specification has it.
    VerifyingKey::<MlDsa44>::decode(key)
        .verify(message, &signature)
        .ok()
}

/// The structure `cosigned_message` of the specification, for a whole tree.
fn subtree_message(name: &str, at: u64, origin: &str, head: TreeHead) -> Option<Vec<u8>> {
    let mut message = SUBTREE_LABEL.to_vec();
    let mut add_text = |text: &str, then: u64| {
        message.push(u8::try_from(text.len()).ok().filter(|length| *length > 0)?);
        message.extend_from_slice(text.as_bytes());
        message.extend_from_slice(&then.to_be_bytes());
        Some(())
    };
    add_text(name, at)?;
    // A whole tree starts at entry 0.
    add_text(origin, 0)?;
    message.extend_from_slice(&head.size.to_be_bytes());
    message.extend_from_slice(head.root.as_bytes());
    Some(message)
}

/// That a cosignature holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Cosigned {
    /// When, in seconds since 1970 by the cosigner's clock; 0 when it does not say.
    pub at: u64,
}

/// A cosignature that does not hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum CosignatureError {
    /// No time, a time beyond 63 bits, or no tree head above it.
    #[error("the cosignature is malformed")]
    Form,
    /// Not by this key over this tree head and time.
    #[error("the cosignature does not verify")]
    Signature,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::note;

    const COSIGNED: &[u8] = include_bytes!("../tests/vectors/cosigned");
    const KEYS: &str = include_str!("../tests/vectors/cosigned.keys");

    fn keys() -> Vec<CosignerKey> {
        KEYS.lines()
            .map(|line| CosignerKey::parse(line).unwrap())
            .collect()
    }

    #[test]
    fn cosignatures_of_another_implementation_hold_of_both_kinds() {
        let note = note::parse(COSIGNED).unwrap();
        let kinds: Vec<_> = keys()
            .iter()
            .map(|key| {
                let cosigned = key.read(&note).unwrap().unwrap();
                assert!(cosigned.at > 1_700_000_000);
                key.algorithm()
            })
            .collect();
        assert_eq!(kinds, [Algorithm::Ed25519, Algorithm::MlDsa44]);
    }

    #[test]
    fn no_byte_of_a_cosignature_or_of_what_is_cosigned_can_change_unnoticed() {
        let whole = note::parse(COSIGNED).unwrap();
        for key in keys() {
            let id = key.id();
            let own = whole.signatures().iter().find(|it| it.key_id == id);
            let own = own.unwrap().clone();
            // All of the short one; of the long one a part of each of its parts.
            for at in (0..own.signature.len()).step_by(own.signature.len() / 72) {
                let mut changed = own.clone();
                changed.signature[at] ^= 1;
                let note = whole.clone().signed_also(changed);
                assert!(key.read(&note).unwrap().is_err(), "byte {at}");
            }
            let text = whole.text().replace("70000", "70001");
            let note = Note::new(text, whole.signatures().to_vec());
            assert_eq!(key.read(&note), Some(Err(CosignatureError::Signature)));
            let mut short = own;
            short.signature.truncate(7);
            let note = whole.clone().signed_also(short);
            assert_eq!(key.read(&note), Some(Err(CosignatureError::Form)));
        }
    }

    #[test]
    fn a_good_cosignature_does_not_save_a_bad_one_beside_it() {
        let whole = note::parse(COSIGNED).unwrap();
        for key in keys() {
            let id = key.id();
            let own = whole.signatures().iter().find(|it| it.key_id == id);
            let mut bad = own.unwrap().clone();
            bad.signature[9] ^= 1;
            let mut both = whole.signatures().to_vec();
            both.push(bad);
            let note = Note::new(whole.text().to_owned(), both);
            assert!(key.read(&note).unwrap().is_err());
        }
    }

    #[test]
    fn who_did_not_cosign_said_nothing() {
        let note = note::parse(COSIGNED).unwrap();
        let other = CosignerKey::new("witness.lab/w1", Algorithm::Ed25519, &[7; 32]).unwrap();
        assert_eq!(other.read(&note), None);
    }

    #[test]
    fn only_the_one_form_is_a_cosigners_key() {
        for line in KEYS.lines() {
            assert_eq!(CosignerKey::parse(line).unwrap().encode(), line);
            for at in 0..line.len() {
                let mut changed = line.as_bytes().to_vec();
                changed[at] ^= 1;
                let changed = String::from_utf8(changed);
                assert!(
                    !changed.is_ok_and(|text| CosignerKey::parse(&text).is_ok()),
                    "byte {at}"
                );
            }
        }
        let log = include_str!("../tests/vectors/tlog-1000/vkey");
        assert_eq!(CosignerKey::parse(log), Err(VerifierKeySyntax::Algorithm));
    }
}
