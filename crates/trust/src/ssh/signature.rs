//! SSH signatures (`PROTOCOL.sshsig`): what `ssh-keygen -Y sign` writes, checked without it.
//!
//! A signature says that the holder of a key said *something for a purpose* (the namespace). It says neither who holds
//! the key nor when: the first is [`super::AllowedSigners`]', the second a time stamp's.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use ring::digest::{SHA256, SHA512, digest};
use ring::signature::{
    ECDSA_P256_SHA256_FIXED, ECDSA_P384_SHA384_FIXED, ED25519, RSA_PKCS1_2048_8192_SHA256,
    RSA_PKCS1_2048_8192_SHA512, RsaPublicKeyComponents, UnparsedPublicKey,
};

use super::key::{Kind, Parts, PublicKey};
use super::wire::{Reader, fixed, put_string};
use super::{KeySyntax, p521};

/// The most bytes that an armoured signature may have.
pub const MAX_SIGNATURE_BYTES: usize = 32 << 10;

const MAGIC: &[u8; 6] = b"SSHSIG";
const BEGIN: &str = "-----BEGIN SSH SIGNATURE-----";
const END: &str = "-----END SSH SIGNATURE-----";

/// A signature with the key that it claims; nothing is verified yet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Signature {
    key: PublicKey,
    namespace: String,
    reserved: Vec<u8>,
    hash: Hash,
    algorithm: String,
    body: Vec<u8>,
    token: Option<Token>,
}

/// What a hardware token says beside its signature.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Token {
    /// Bit 0: somebody touched it. Bit 2: it knew who (PIN or finger).
    pub flags: u8,
    /// How often it has signed, where it counts.
    pub counter: u32,
}

impl Token {
    /// Whether somebody touched the token for this signature.
    pub fn touched(self) -> bool {
        self.flags & 1 != 0
    }

    /// Whether the token checked a PIN or a finger for this signature.
    pub fn verified(self) -> bool {
        self.flags & 4 != 0
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Hash {
    Sha256,
    Sha512,
}

impl Hash {
    fn name(self) -> &'static str {
        match self {
            Self::Sha256 => "sha256",
            Self::Sha512 => "sha512",
        }
    }

    fn of(self, message: &[u8]) -> ring::digest::Digest {
        match self {
            Self::Sha256 => digest(&SHA256, message),
            Self::Sha512 => digest(&SHA512, message),
        }
    }
}

/// Why some text is not an SSH signature.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SignatureSyntax {
    /// Not between the two lines that begin and end one, or not base64.
    #[error("this is not an armoured SSH signature")]
    Armour,
    /// The bytes within do not follow the format.
    #[error("the SSH signature is malformed")]
    Malformed,
    /// A version of the format that is not known.
    #[error("version {0} of SSH signatures is not known")]
    Version(u32),
    /// The key in it cannot be used.
    #[error(transparent)]
    Key(#[from] KeySyntax),
    /// A hash or a way of signing that is not accepted (SHA-1 among them).
    #[error("the SSH signature was made in a way that is not accepted")]
    Algorithm,
}

/// Why a signature does not hold.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Invalid {
    /// Made for another purpose.
    #[error("the signature was made for another purpose (namespace) than {wanted}")]
    Namespace {
        /// The purpose that was asked for.
        wanted: String,
    },
    /// Another message, another key, or a changed signature.
    #[error("the signature is not by this key over these bytes")]
    Wrong,
    /// The token signed without anybody touching it.
    #[error("nobody touched the hardware token for this signature")]
    Untouched,
}

impl Signature {
    /// Reads what `ssh-keygen -Y sign` writes: base64 between two lines, nothing else around them but white space.
    pub fn parse(armoured: &[u8]) -> Result<Self, SignatureSyntax> {
        if armoured.len() > MAX_SIGNATURE_BYTES {
            return Err(SignatureSyntax::Armour);
        }
        let text = std::str::from_utf8(armoured).map_err(|_| SignatureSyntax::Armour)?;
        let inside = text.trim_ascii();
        let inside = inside
            .strip_prefix(BEGIN)
            .and_then(|rest| rest.strip_suffix(END));
        let inside = inside.ok_or(SignatureSyntax::Armour)?;
        let encoded: String = inside.split_ascii_whitespace().collect();
        let blob = STANDARD
            .decode(encoded)
            .map_err(|_| SignatureSyntax::Armour)?;
        Self::from_blob(&blob)
    }

    /// Reads the bytes within the armour.
    pub fn from_blob(blob: &[u8]) -> Result<Self, SignatureSyntax> {
        const WRONG: SignatureSyntax = SignatureSyntax::Malformed;
        let mut reader = Reader::new(blob);
        if reader.take(MAGIC.len()) != Some(MAGIC) {
            return Err(WRONG);
        }
        let version = reader.u32().ok_or(WRONG)?;
        if version != 1 {
            return Err(SignatureSyntax::Version(version));
        }
        let key = PublicKey::from_blob(reader.string().ok_or(WRONG)?)?;
        let namespace = reader.text().filter(|name| !name.is_empty()).ok_or(WRONG)?;
        let reserved = reader.string().ok_or(WRONG)?;
        let hash = match reader.text().ok_or(WRONG)? {
            "sha256" => Hash::Sha256,
            "sha512" => Hash::Sha512,
            _ => return Err(SignatureSyntax::Algorithm),
        };
        let mut signature = Reader::new(reader.string().ok_or(WRONG)?);
        let algorithm = signature.text().ok_or(WRONG)?;
        if !accepted(key.kind(), algorithm) {
            return Err(SignatureSyntax::Algorithm);
        }
        let body = signature.string().ok_or(WRONG)?.to_vec();
        let token = if key.kind().is_token() {
            let (Some(flags), Some(counter)) = (signature.byte(), signature.u32()) else {
                return Err(WRONG);
            };
            Some(Token { flags, counter })
        } else {
            None
        };
        if !signature.is_empty() || !reader.is_empty() {
            return Err(WRONG);
        }
        Ok(Self {
            namespace: namespace.to_owned(),
            reserved: reserved.to_vec(),
            hash,
            algorithm: algorithm.to_owned(),
            body,
            token,
            key,
        })
    }

    /// The key that the signature claims to be by.
    pub fn key(&self) -> &PublicKey {
        &self.key
    }

    /// What the signature was made for. Hostile text.
    pub fn namespace(&self) -> &str {
        &self.namespace
    }

    /// What the hardware token said, for a key that is on one.
    pub fn token(&self) -> Option<Token> {
        self.token
    }

    /// Whether the holder of [`Signature::key`] signed `message` for the purpose `namespace`.
    ///
    /// A token that nobody touched does not count: then the machine, not its owner, may have signed.
    pub fn verify(&self, namespace: &str, message: &[u8]) -> Result<(), Invalid> {
        if self.namespace != namespace {
            return Err(Invalid::Namespace {
                wanted: namespace.to_owned(),
            });
        }
        self.holds(&self.signed(message)).ok_or(Invalid::Wrong)?;
        match self.token {
            Some(token) if !token.touched() => Err(Invalid::Untouched),
            _ => Ok(()),
        }
    }

    /// The bytes that the key signs: purpose and digest, so that no other protocol's signature is one of these.
    fn signed(&self, message: &[u8]) -> Vec<u8> {
        let mut signed = MAGIC.to_vec();
        put_string(&mut signed, self.namespace.as_bytes());
        put_string(&mut signed, &self.reserved);
        put_string(&mut signed, self.hash.name().as_bytes());
        put_string(&mut signed, self.hash.of(message).as_ref());
        signed
    }

    fn holds(&self, signed: &[u8]) -> Option<()> {
        let (parts, application) = self.key.parts()?;
        let bound;
        let signed = match self.token {
            Some(token) => {
                bound = bound_to(application, token, signed);
                bound.as_slice()
            }
            None => signed,
        };
        match (parts, self.key.kind()) {
            (Parts::Ed25519(key), _) => check(&ED25519, key, signed, &self.body),
            (Parts::Curve(point), Kind::P256 | Kind::TokenP256) => {
                let body = pair::<32>(&self.body)?;
                check(&ECDSA_P256_SHA256_FIXED, point, signed, &body)
            }
            (Parts::Curve(point), Kind::P384) => {
                let body = pair::<48>(&self.body)?;
                check(&ECDSA_P384_SHA384_FIXED, point, signed, &body)
            }
            (Parts::Curve(point), _) => p521::holds(point, signed, &pair::<66>(&self.body)?),
            (Parts::Rsa { exponent, modulus }, _) => {
                let scheme = match self.algorithm.as_str() {
                    "rsa-sha2-256" => &RSA_PKCS1_2048_8192_SHA256,
                    _ => &RSA_PKCS1_2048_8192_SHA512,
                };
                let key = RsaPublicKeyComponents {
                    n: modulus,
                    e: exponent,
                };
                key.verify(scheme, signed, &self.body).ok()
            }
        }
    }
}

/// Which names of algorithms a key's signatures may carry.
fn accepted(kind: Kind, algorithm: &str) -> bool {
    match kind {
        Kind::Rsa => matches!(algorithm, "rsa-sha2-256" | "rsa-sha2-512"),
        other => algorithm == other.name(),
    }
}

/// What a token signs in place of the message: where it is used, what it said, and the message's digest.
fn bound_to(application: &[u8], token: Token, signed: &[u8]) -> Vec<u8> {
    let mut bound = digest(&SHA256, application).as_ref().to_vec();
    bound.push(token.flags);
    bound.extend(token.counter.to_be_bytes());
    bound.extend(digest(&SHA256, signed).as_ref());
    bound
}

/// Two numbers as `2 * N` bytes.
fn pair<const N: usize>(body: &[u8]) -> Option<Vec<u8>> {
    let mut reader = Reader::new(body);
    let (r, s) = (reader.number()?, reader.number()?);
    reader.is_empty().then_some(())?;
    Some([fixed::<N>(r)?, fixed::<N>(s)?].concat())
}

fn check(
    algorithm: &'static dyn ring::signature::VerificationAlgorithm,
    key: &[u8],
    message: &[u8],
    signature: &[u8],
) -> Option<()> {
    UnparsedPublicKey::new(algorithm, key)
        .verify(message, signature)
        .ok()
}
