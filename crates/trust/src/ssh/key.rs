//! Public keys as SSH writes them: which kind, and the numbers.
//!
//! Known are the kinds that `ssh-keygen` makes today, `sk-` keys (a hardware token that wants a touch) included.
//! Certificates are named and refused: whom they stand for is decided by a key that is not in them. Whose key it is,
//! and since when, is not known here: that is [`super::AllowedSigners`]'s.

use std::fmt;
use std::str::FromStr;

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, STANDARD_NO_PAD};
use ring::digest::{SHA256, digest};

use super::wire::Reader;

/// The most bytes that a public key may have: an RSA key of 16,384 bits is a good two thousand.
pub const MAX_KEY_BYTES: usize = 4096;

/// A public key, as its bytes say it. Two keys are the same when their bytes are.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PublicKey {
    blob: Vec<u8>,
    kind: Kind,
}

/// What a key is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    /// `ssh-ed25519`.
    Ed25519,
    /// `ecdsa-sha2-nistp256`.
    P256,
    /// `ecdsa-sha2-nistp384`.
    P384,
    /// `ecdsa-sha2-nistp521`.
    P521,
    /// `ssh-rsa`; signatures with SHA-1 are refused.
    Rsa,
    /// `sk-ssh-ed25519@openssh.com`: on a hardware token.
    TokenEd25519,
    /// `sk-ecdsa-sha2-nistp256@openssh.com`: on a hardware token.
    TokenP256,
}

const KINDS: [(Kind, &str); 7] = [
    (Kind::Ed25519, "ssh-ed25519"),
    (Kind::P256, "ecdsa-sha2-nistp256"),
    (Kind::P384, "ecdsa-sha2-nistp384"),
    (Kind::P521, "ecdsa-sha2-nistp521"),
    (Kind::Rsa, "ssh-rsa"),
    (Kind::TokenEd25519, "sk-ssh-ed25519@openssh.com"),
    (Kind::TokenP256, "sk-ecdsa-sha2-nistp256@openssh.com"),
];

impl Kind {
    /// The name that SSH has for it.
    pub fn name(self) -> &'static str {
        let row = KINDS.iter().find(|(kind, _)| *kind == self);
        row.map_or("", |(_, name)| name)
    }

    fn named(name: &str) -> Option<Self> {
        let row = KINDS.iter().find(|(_, known)| *known == name);
        row.map(|(kind, _)| *kind)
    }

    /// Whether the private key is on a hardware token.
    pub fn is_token(self) -> bool {
        matches!(self, Self::TokenEd25519 | Self::TokenP256)
    }
}

/// Why some bytes or a text are not a public key that can be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum KeySyntax {
    /// Not of the form `KIND BASE64 [COMMENT]`, or not what the kind's name promises.
    #[error("this is not a public key of SSH (KIND BASE64 [COMMENT])")]
    Malformed,
    /// A certificate stands for a key that signed it; that is not followed.
    #[error("SSH certificates are not supported: name the key itself")]
    Certificate,
    /// Some other kind of key, DSA among them.
    #[error("this kind of SSH key is not supported")]
    Kind,
}

/// The parts of a key that a signature is checked with.
pub(super) enum Parts<'a> {
    Ed25519(&'a [u8]),
    /// The curve is the kind's; an uncompressed point.
    Curve(&'a [u8]),
    Rsa {
        exponent: &'a [u8],
        modulus: &'a [u8],
    },
}

impl PublicKey {
    /// Reads the bytes that stand in base64 in a key's text. Nothing may follow.
    pub fn from_blob(blob: &[u8]) -> Result<Self, KeySyntax> {
        if blob.len() > MAX_KEY_BYTES {
            return Err(KeySyntax::Malformed);
        }
        let name = Reader::new(blob).text().ok_or(KeySyntax::Malformed)?;
        if name.contains("-cert-v") {
            return Err(KeySyntax::Certificate);
        }
        let key = Self {
            kind: Kind::named(name).ok_or(KeySyntax::Kind)?,
            blob: blob.to_vec(),
        };
        key.parts().ok_or(KeySyntax::Malformed)?;
        Ok(key)
    }

    /// What the key is.
    pub fn kind(&self) -> Kind {
        self.kind
    }

    /// The bytes that stand in base64 in a key's text.
    pub fn blob(&self) -> &[u8] {
        &self.blob
    }

    /// `SHA256:` and 43 characters, as `ssh-keygen -l` prints it.
    pub fn fingerprint(&self) -> String {
        let digest = digest(&SHA256, &self.blob);
        format!("SHA256:{}", STANDARD_NO_PAD.encode(digest))
    }

    /// The numbers, and for a token's key what its uses are bound to.
    pub(super) fn parts(&self) -> Option<(Parts<'_>, &[u8])> {
        let mut reader = Reader::new(&self.blob);
        reader.string()?;
        let parts = match self.kind {
            Kind::Ed25519 | Kind::TokenEd25519 => {
                Parts::Ed25519(reader.string().filter(|key| key.len() == 32)?)
            }
            Kind::P256 | Kind::TokenP256 => curve(&mut reader, "nistp256", 32)?,
            Kind::P384 => curve(&mut reader, "nistp384", 48)?,
            Kind::P521 => curve(&mut reader, "nistp521", 66)?,
            Kind::Rsa => Parts::Rsa {
                exponent: reader.number()?,
                modulus: reader.number()?,
            },
        };
        let application = if self.kind.is_token() {
            reader.string()?
        } else {
            &[]
        };
        reader.is_empty().then_some((parts, application))
    }
}

fn curve<'a>(reader: &mut Reader<'a>, name: &str, width: usize) -> Option<Parts<'a>> {
    reader.text().filter(|curve| *curve == name)?;
    let point = reader.string()?;
    (point.len() == 2 * width + 1 && point.first() == Some(&4)).then_some(Parts::Curve(point))
}

/// `KIND BASE64 [COMMENT]`, as in a `.pub` file.
impl FromStr for PublicKey {
    type Err = KeySyntax;

    fn from_str(text: &str) -> Result<Self, KeySyntax> {
        let mut words = text.split_ascii_whitespace();
        let (Some(name), Some(encoded)) = (words.next(), words.next()) else {
            return Err(KeySyntax::Malformed);
        };
        if encoded.len() > MAX_KEY_BYTES * 2 {
            return Err(KeySyntax::Malformed);
        }
        let blob = STANDARD.decode(encoded).map_err(|_| KeySyntax::Malformed)?;
        let key = Self::from_blob(&blob)?;
        (key.kind.name() == name)
            .then_some(key)
            .ok_or(KeySyntax::Malformed)
    }
}

impl fmt::Display for PublicKey {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            formatter,
            "{} {}",
            self.kind.name(),
            STANDARD.encode(&self.blob)
        )
    }
}

impl fmt::Debug for PublicKey {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "PublicKey({self})")
    }
}
