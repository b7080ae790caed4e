//! Keys: elliptic curves P-256, P-384 and P-521 with ECDSA, as OpenSSF Model Signing knows them.
//!
//! One family of crates does all three curves, so that there is one path for reading, signing and verifying; *ring* has no
//! P-521. Which hash goes with a curve is fixed by the specification: SHA-256, SHA-384, SHA-512. Signatures are
//! deterministic (RFC 6979): signing needs no random numbers that could be bad. A key is told by its *hint*, the SHA-256
//! over the one PEM text of its public half. Files are read in [`crate::keyfile`]; here are only bytes.

use domain::Digest;
use ecdsa::signature::{MultipartSigner, MultipartVerifier};
use getrandom::SysRng;
use p256::elliptic_curve::Generate as _;
use p256::pkcs8::{DecodePrivateKey, DecodePublicKey, EncodePrivateKey, EncodePublicKey};

use crate::pem;

/// A curve that can sign.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Curve {
    /// NIST P-256, with SHA-256.
    P256,
    /// NIST P-384, with SHA-384.
    P384,
    /// NIST P-521, with SHA-512.
    P521,
}

impl Curve {
    /// Its name for people.
    pub fn name(self) -> &'static str {
        match self {
            Self::P256 => "EC P-256",
            Self::P384 => "EC P-384",
            Self::P521 => "EC P-521",
        }
    }
}

/// Bytes that are not a key that can be used here.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum KeySyntax {
    /// Not PEM.
    #[error(transparent)]
    Pem(#[from] pem::PemError),
    /// No block with such a key.
    #[error("it holds no {wanted} key in PEM form (`-----BEGIN …`)")]
    NoKey {
        /// `private` or `public`.
        wanted: &'static str,
    },
    /// Under a password.
    #[error(
        "the key is under a password; make a copy without one: `openssl pkcs8 -topk8 -nocrypt -in KEY -out COPY`"
    )]
    Encrypted,
    /// Another kind of key.
    #[error("it is not a key on P-256, P-384 or P-521; model signing knows no other")]
    Kind,
}

/// The library refused to sign with its own key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the key could not sign")]
pub struct SignError;

/// The system gave no random bytes for a new key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the system gave no random bytes for a new key")]
pub struct NoRandomness;

enum Private {
    P256(p256::ecdsa::SigningKey),
    P384(p384::ecdsa::SigningKey),
    P521(p521::ecdsa::SigningKey),
}

/// A key pair. It is never shown: there is no `Debug`.
pub struct PrivateKey {
    private: Private,
    public: PublicKey,
}

#[derive(Debug, Clone, PartialEq)]
enum Public {
    P256(p256::ecdsa::VerifyingKey),
    P384(p384::ecdsa::VerifyingKey),
    P521(p521::ecdsa::VerifyingKey),
}

/// The half that verifies.
#[derive(Debug, Clone, PartialEq)]
pub struct PublicKey(Public);

impl PrivateKey {
    /// A new key.
    pub fn generate(curve: Curve) -> Result<Self, NoRandomness> {
        let random = &mut SysRng;
        let private = match curve {
            Curve::P256 => {
                p256::ecdsa::SigningKey::try_generate_from_rng(random).map(Private::P256)
            }
            Curve::P384 => {
                p384::ecdsa::SigningKey::try_generate_from_rng(random).map(Private::P384)
            }
            Curve::P521 => {
                p521::ecdsa::SigningKey::try_generate_from_rng(random).map(Private::P521)
            }
        };
        private.map(Self::of).map_err(|_| NoRandomness)
    }

    fn of(private: Private) -> Self {
        let public = match &private {
            Private::P256(key) => Public::P256(*key.verifying_key()),
            Private::P384(key) => Public::P384(*key.verifying_key()),
            Private::P521(key) => Public::P521(*key.verifying_key()),
        };
        Self {
            private,
            public: PublicKey(public),
        }
    }

    /// Reads PEM: PKCS #8 or SEC 1, the first private key in the text.
    pub fn from_pem(text: &[u8]) -> Result<Self, KeySyntax> {
        // Old encrypted keys have headers inside, which the PEM reader takes for damage.
        if contains(text, b"ENCRYPTED") {
            return Err(KeySyntax::Encrypted);
        }
        let blocks = pem::parse(text)?;
        let block = blocks
            .iter()
            .find(|block| block.label.ends_with("PRIVATE KEY"))
            .ok_or(KeySyntax::NoKey { wanted: "private" })?;
        let der = &block.der;
        let private = match block.label.as_str() {
            "PRIVATE KEY" => pkcs8(der),
            "EC PRIVATE KEY" => sec1(der),
            _ => None,
        };
        private.map(Self::of).ok_or(KeySyntax::Kind)
    }

    /// PKCS #8 in PEM, to be kept from others.
    pub fn to_pem(&self) -> Option<String> {
        let der = match &self.private {
            Private::P256(key) => key.to_pkcs8_der(),
            Private::P384(key) => key.to_pkcs8_der(),
            Private::P521(key) => key.to_pkcs8_der(),
        };
        Some(pem::encode("PRIVATE KEY", der.ok()?.as_bytes()))
    }

    /// Its public half.
    pub fn public(&self) -> &PublicKey {
        &self.public
    }

    /// Signs the parts as if they were one text; DER.
    pub fn sign(&self, parts: &[&[u8]]) -> Result<Vec<u8>, SignError> {
        let signed = match &self.private {
            Private::P256(key) => {
                let signed: Result<p256::ecdsa::Signature, _> = key.try_multipart_sign(parts);
                signed.map(|signature| signature.to_der().as_bytes().to_vec())
            }
            Private::P384(key) => {
                let signed: Result<p384::ecdsa::Signature, _> = key.try_multipart_sign(parts);
                signed.map(|signature| signature.to_der().as_bytes().to_vec())
            }
            Private::P521(key) => {
                let signed: Result<p521::ecdsa::Signature, _> = key.try_multipart_sign(parts);
                signed.map(|signature| signature.to_der().as_bytes().to_vec())
            }
        };
        signed.map_err(|_| SignError)
    }
}

impl PublicKey {
    /// Reads PEM: the first public key in the text.
    pub fn from_pem(text: &[u8]) -> Result<Self, KeySyntax> {
        let blocks = pem::parse(text)?;
        let block = blocks
            .iter()
            .find(|block| block.label == "PUBLIC KEY")
            .ok_or(KeySyntax::NoKey { wanted: "public" })?;
        Self::from_spki(&block.der)
    }

    /// Reads a DER `SubjectPublicKeyInfo`.
    pub fn from_spki(der: &[u8]) -> Result<Self, KeySyntax> {
        use p256::ecdsa::VerifyingKey as P256;
        use p384::ecdsa::VerifyingKey as P384;
        use p521::ecdsa::VerifyingKey as P521;
        P256::from_public_key_der(der)
            .map(Public::P256)
            .or_else(|_| P384::from_public_key_der(der).map(Public::P384))
            .or_else(|_| P521::from_public_key_der(der).map(Public::P521))
            .map(Self)
            .map_err(|_| KeySyntax::Kind)
    }

    /// DER `SubjectPublicKeyInfo`, point not compressed.
    pub fn to_spki(&self) -> Vec<u8> {
        let der = match &self.0 {
            Public::P256(key) => key.to_public_key_der(),
            Public::P384(key) => key.to_public_key_der(),
            Public::P521(key) => key.to_public_key_der(),
        };
        // Encoding a key of a named curve has no way to fail; an empty key matches nothing.
        der.map(der::Document::into_vec).unwrap_or_default()
    }

    /// The one PEM text.
    pub fn to_pem(&self) -> String {
        pem::encode("PUBLIC KEY", &self.to_spki())
    }

    /// What names the key in bundles: the SHA-256 over its PEM text, in hexadecimal.
    pub fn hint(&self) -> String {
        Digest::of(self.to_pem().as_bytes()).to_string()
    }

    /// Its curve.
    pub fn curve(&self) -> Curve {
        match &self.0 {
            Public::P256(_) => Curve::P256,
            Public::P384(_) => Curve::P384,
            Public::P521(_) => Curve::P521,
        }
    }

    /// Whether `signature` (DER) is this key's over the parts as one text.
    pub fn verify(&self, parts: &[&[u8]], signature: &[u8]) -> bool {
        match &self.0 {
            Public::P256(key) => p256::ecdsa::Signature::from_der(signature)
                .is_ok_and(|signature| key.multipart_verify(parts, &signature).is_ok()),
            Public::P384(key) => p384::ecdsa::Signature::from_der(signature)
                .is_ok_and(|signature| key.multipart_verify(parts, &signature).is_ok()),
            Public::P521(key) => p521::ecdsa::Signature::from_der(signature)
                .is_ok_and(|signature| key.multipart_verify(parts, &signature).is_ok()),
        }
    }
}

fn pkcs8(der: &[u8]) -> Option<Private> {
    let p256 = || p256::ecdsa::SigningKey::from_pkcs8_der(der).ok();
    let p384 = || p384::ecdsa::SigningKey::from_pkcs8_der(der).ok();
    let p521 = || p521::ecdsa::SigningKey::from_pkcs8_der(der).ok();
    p256()
        .map(Private::P256)
        .or_else(|| p384().map(Private::P384))
        .or_else(|| p521().map(Private::P521))
}

fn sec1(der: &[u8]) -> Option<Private> {
    let p256 = || p256::SecretKey::from_sec1_der(der).ok();
    let p384 = || p384::SecretKey::from_sec1_der(der).ok();
    let p521 = || p521::SecretKey::from_sec1_der(der).ok();
    p256()
        .map(|key| Private::P256(key.into()))
        .or_else(|| p384().map(|key| Private::P384(key.into())))
        .or_else(|| p521().map(|key| Private::P521(key.into())))
}

fn contains(text: &[u8], word: &[u8]) -> bool {
    text.windows(word.len()).any(|window| window == word)
}

#[cfg(test)]
mod tests {
    use super::*;

    const CURVES: [Curve; 3] = [Curve::P256, Curve::P384, Curve::P521];

    #[test]
    fn a_key_comes_back_from_its_text_on_every_curve() {
        for curve in CURVES {
            let key = PrivateKey::generate(curve).unwrap();
            let again = PrivateKey::from_pem(key.to_pem().unwrap().as_bytes()).unwrap();
            assert_eq!(again.public(), key.public());
            let public = PublicKey::from_pem(key.public().to_pem().as_bytes()).unwrap();
            assert_eq!((&public, public.curve()), (key.public(), curve));
            let signature = again.sign(&[b"a", b"bc"]).unwrap();
            assert!(public.verify(&[b"ab", b"c"], &signature));
            assert!(!public.verify(&[b"abd"], &signature));
        }
    }

    #[test]
    fn every_changed_bit_of_a_signature_is_refused() {
        let key = PrivateKey::generate(Curve::P256).unwrap();
        let signature = key.sign(&[b"text"]).unwrap();
        for bit in 0..signature.len() * 8 {
            let mut changed = signature.clone();
            changed[bit / 8] ^= 1 << (bit % 8);
            assert!(!key.public().verify(&[b"text"], &changed), "bit {bit}");
        }
        for cut in 0..signature.len() {
            assert!(!key.public().verify(&[b"text"], &signature[..cut]));
        }
    }

    #[test]
    fn keys_of_other_kinds_say_so() {
        let text =
            b"-----BEGIN ENCRYPTED PRIVATE KEY-----\nAAAA\n-----END ENCRYPTED PRIVATE KEY-----\n";
        assert_eq!(PrivateKey::from_pem(text).err(), Some(KeySyntax::Encrypted));
        let other = pem::encode("PRIVATE KEY", &[1, 2, 3]);
        assert_eq!(
            PrivateKey::from_pem(other.as_bytes()).err(),
            Some(KeySyntax::Kind)
        );
        let public = PrivateKey::generate(Curve::P256).unwrap().public().to_pem();
        assert!(matches!(
            PrivateKey::from_pem(public.as_bytes()),
            Err(KeySyntax::NoKey { wanted: "private" })
        ));
    }
}
