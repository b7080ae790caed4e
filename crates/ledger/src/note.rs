//! Signed notes (C2SP signed-note): a text, an empty line, and one line a signature.
//!
//! Notes are read strictly and written in one form only: [`Note::encode`] of what was parsed is byte for byte what was read.
//! So a changed byte anywhere, the signature's base64 and the last line break included, is an error or another note.
//! Which keys are believed is not decided here.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use domain::Hasher;
use ring::signature::{ED25519, UnparsedPublicKey};

/// The most bytes a note may have.
pub const MAX_NOTE_BYTES: usize = 1 << 20;

/// The most signatures a note may carry.
pub const MAX_SIGNATURES: usize = 100;

/// What every signature line begins with: an em dash and a space.
const MARK: &str = "\u{2014} ";

/// The byte that says Ed25519 in keys of notes.
const ALGORITHM_ED25519: u8 = 1;

/// A text and the signatures under it, not yet verified.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Note {
    text: String,
    signatures: Vec<Signature>,
}

/// One signature line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Signature {
    /// The name of the key.
    pub name: String,
    /// The first bytes of the digest over name and public key.
    pub key_id: [u8; 4],
    /// The signature itself; its form depends on the key.
    pub signature: Vec<u8>,
}

impl Signature {
    /// The signature line, with its line break.
    pub fn line(&self) -> String {
        let encoded = STANDARD.encode([self.key_id.as_slice(), &self.signature].concat());
        format!("{MARK}{} {encoded}\n", self.name)
    }
}

/// Bytes that are not a signed note.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NoteSyntax {
    /// Longer than [`MAX_NOTE_BYTES`].
    #[error("a note has at most {MAX_NOTE_BYTES} bytes")]
    TooLong,
    /// Not UTF-8, or with control characters other than the line break.
    #[error("a note is text without control characters")]
    NotText,
    /// Without an empty line followed by at least one signature line.
    #[error("a note ends in an empty line and signature lines")]
    NoSignatures,
    /// More signatures than [`MAX_SIGNATURES`].
    #[error("a note carries at most {MAX_SIGNATURES} signatures")]
    TooManySignatures,
    /// A signature line that is not in the one form.
    #[error("signature line {line} of the note is malformed")]
    Signature {
        /// Which line, from 1.
        line: usize,
    },
}

/// Reads a signed note. Pure and total: any bytes give a note or an error.
pub fn parse(bytes: &[u8]) -> Result<Note, NoteSyntax> {
    if bytes.len() > MAX_NOTE_BYTES {
        return Err(NoteSyntax::TooLong);
    }
    let whole = std::str::from_utf8(bytes).map_err(|_| NoteSyntax::NotText)?;
    if whole
        .chars()
        .any(|character| character < ' ' && character != '\n')
    {
        return Err(NoteSyntax::NotText);
    }
    let split = whole.rfind("\n\n").ok_or(NoteSyntax::NoSignatures)?;
    let (text, rest) = whole.split_at(split + 1);
    let lines = rest
        .strip_prefix('\n')
        .filter(|lines| !lines.is_empty())
        .ok_or(NoteSyntax::NoSignatures)?;
    Ok(Note {
        text: text.to_owned(),
        signatures: parse_signatures(lines)?,
    })
}

/// Reads signature lines that come without a text, as a witness answers them.
pub fn parse_signatures(lines: &str) -> Result<Vec<Signature>, NoteSyntax> {
    if lines.len() > MAX_NOTE_BYTES {
        return Err(NoteSyntax::TooLong);
    }
    let mut signatures = Vec::new();
    for (index, line) in lines.split_inclusive('\n').enumerate() {
        if index == MAX_SIGNATURES {
            return Err(NoteSyntax::TooManySignatures);
        }
        let error = NoteSyntax::Signature { line: index + 1 };
        signatures.push(
            line.strip_suffix('\n')
                .and_then(parse_signature)
                .ok_or(error)?,
        );
    }
    Ok(signatures)
}

fn parse_signature(line: &str) -> Option<Signature> {
    let (name, encoded) = line.strip_prefix(MARK)?.split_once(' ')?;
    if !is_key_name(name) {
        return None;
    }
    // The engine refuses missing padding and bits behind the end, so there is one text for one signature.
    let bytes = STANDARD.decode(encoded).ok()?;
    let (key_id, signature) = bytes.split_first_chunk::<4>()?;
    (!signature.is_empty()).then(|| Signature {
        name: name.to_owned(),
        key_id: *key_id,
        signature: signature.to_vec(),
    })
}

/// Whether `name` can name a key: not empty, no spaces, no `+`.
pub fn is_key_name(name: &str) -> bool {
    !name.is_empty()
        && !name.chars().any(|character| {
            character.is_whitespace() || character.is_control() || character == '+'
        })
}

impl Note {
    /// A note from its parts. The text must end in a line break, or what is encoded is not read back.
    pub(crate) fn new(text: String, signatures: Vec<Signature>) -> Self {
        Self { text, signatures }
    }

    /// The text, with its last line break: what is signed.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// The same text with one signature more, or with this one in the place of an earlier one by the same key.
    #[must_use]
    pub fn signed_also(mut self, signature: Signature) -> Self {
        let same = |it: &Signature| (&it.name, it.key_id) == (&signature.name, signature.key_id);
        self.signatures.retain(|it| !same(it));
        self.signatures.push(signature);
        self
    }

    /// The signatures in order.
    pub fn signatures(&self) -> &[Signature] {
        &self.signatures
    }

    /// The one encoding of this note.
    pub fn encode(&self) -> Vec<u8> {
        let lines = self.signatures.iter().map(Signature::line);
        let whole = std::iter::once(format!("{}\n", self.text)).chain(lines);
        whole.collect::<String>().into_bytes()
    }

    /// Whether `key` signed this note: it must be there, and each signature under its name and id must be good.
    pub fn is_signed_by(&self, key: &VerifierKey) -> bool {
        let mut of_key = self
            .signatures
            .iter()
            .filter(|it| it.name == key.name && it.key_id == key.id())
            .peekable();
        of_key.peek().is_some() && of_key.all(|it| key.verify(self.text.as_bytes(), &it.signature))
    }
}

/// A public Ed25519 key with its name: what `vkey` holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VerifierKey {
    name: String,
    public: [u8; 32],
}

/// A text that is not a public key in the form of signed notes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum VerifierKeySyntax {
    /// Not `name+id+key`, or not in the one form of each.
    #[error("a verifier key is a name, 8 hexadecimal digits and base64, joined by +")]
    Form,
    /// An algorithm that does not serve here: Ed25519 signs logs, Ed25519 cosignatures and ML-DSA-44 cosign.
    #[error("the key is not of a kind that serves here")]
    Algorithm,
    /// The id is not the digest over name and key.
    #[error("the key id does not belong to this name and key")]
    Id,
}

impl VerifierKey {
    /// Names a public key.
    pub(crate) fn new(name: &str, public: [u8; 32]) -> Self {
        Self {
            name: name.to_owned(),
            public,
        }
    }

    /// The name of the key; of a log's key it is the log's origin.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The first four bytes of SHA-256 over name, line break, algorithm and key.
    pub fn id(&self) -> [u8; 4] {
        let mut hasher = Hasher::new();
        hasher.update(self.name.as_bytes());
        hasher.update(&[b'\n', ALGORITHM_ED25519]);
        hasher.update(&self.public);
        let [a, b, c, d, ..] = *hasher.finish().as_bytes();
        [a, b, c, d]
    }

    /// Whether `signature` is this key's over `message`.
    pub fn verify(&self, message: &[u8], signature: &[u8]) -> bool {
        UnparsedPublicKey::new(&ED25519, &self.public)
            .verify(message, signature)
            .is_ok()
    }

    /// The key itself.
    pub(crate) fn public(&self) -> &[u8; 32] {
        &self.public
    }

    /// The one text form, without line break.
    pub fn encode(&self) -> String {
        let key = STANDARD.encode([&[ALGORITHM_ED25519], self.public.as_slice()].concat());
        format!("{}+{:08x}+{key}", self.name, u32::from_be_bytes(self.id()))
    }

    /// Reads the text form, without line break; refuses what [`VerifierKey::encode`] would not have written.
    pub fn parse(text: &str) -> Result<Self, VerifierKeySyntax> {
        let mut parts = text.splitn(3, '+');
        let (Some(name), Some(_), Some(key)) = (parts.next(), parts.next(), parts.next()) else {
            return Err(VerifierKeySyntax::Form);
        };
        let bytes = STANDARD.decode(key).map_err(|_| VerifierKeySyntax::Form)?;
        let (algorithm, public) = bytes.split_first().ok_or(VerifierKeySyntax::Form)?;
        if *algorithm != ALGORITHM_ED25519 {
            return Err(VerifierKeySyntax::Algorithm);
        }
        let public = public.try_into().map_err(|_| VerifierKeySyntax::Form)?;
        if !is_key_name(name) {
            return Err(VerifierKeySyntax::Form);
        }
        let key = Self::new(name, public);
        if key.encode() == text {
            Ok(key)
        } else {
            Err(VerifierKeySyntax::Id)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CHECKPOINT: &[u8] = include_bytes!("../tests/vectors/tlog-1000/checkpoint");
    const VKEY: &str = include_str!("../tests/vectors/tlog-1000/vkey");
    const COSIGNED: &[u8] = include_bytes!("../tests/vectors/cosigned");

    #[test]
    fn a_note_that_another_implementation_signed_is_verified() {
        let key = VerifierKey::parse(VKEY).unwrap();
        assert_eq!(key.encode(), VKEY);
        let note = parse(CHECKPOINT).unwrap();
        assert!(note.is_signed_by(&key));
        assert_eq!(note.encode(), CHECKPOINT);
    }

    #[test]
    fn signatures_of_unknown_keys_and_algorithms_are_carried_and_not_believed() {
        let key = VerifierKey::parse(VKEY).unwrap();
        let note = parse(COSIGNED).unwrap();
        assert_eq!(note.signatures().len(), 3);
        assert!(note.is_signed_by(&key));
        assert_eq!(note.encode(), COSIGNED);
        assert!(!note.is_signed_by(&VerifierKey::new("somebody", [7; 32])));
    }

    #[test]
    fn no_byte_of_a_note_or_a_key_can_change_unnoticed() {
        let key = VerifierKey::parse(VKEY).unwrap();
        for at in 0..CHECKPOINT.len() {
            for bit in 0..8 {
                let mut changed = CHECKPOINT.to_vec();
                changed[at] ^= 1 << bit;
                assert!(
                    !parse(&changed).is_ok_and(|note| note.is_signed_by(&key)),
                    "byte {at} bit {bit}"
                );
            }
        }
        for at in 0..VKEY.len() {
            let mut changed = VKEY.as_bytes().to_vec();
            changed[at] ^= 1;
            assert!(
                !std::str::from_utf8(&changed).is_ok_and(|text| VerifierKey::parse(text).is_ok()),
                "byte {at}"
            );
        }
    }

    #[test]
    fn a_bad_signature_of_a_known_key_is_not_saved_by_a_good_one() {
        let key = VerifierKey::parse(VKEY).unwrap();
        let mut note = parse(CHECKPOINT).unwrap();
        let mut second = note.signatures[0].clone();
        second.signature[5] ^= 1;
        note.signatures.push(second);
        assert!(!note.is_signed_by(&key));
    }

    #[test]
    fn notes_without_end_or_with_control_characters_are_refused() {
        assert_eq!(parse(b"text\n"), Err(NoteSyntax::NoSignatures));
        assert_eq!(parse(b"text\n\n"), Err(NoteSyntax::NoSignatures));
        assert_eq!(parse(b"a\tb\n\nx"), Err(NoteSyntax::NotText));
        assert_eq!(
            parse(&CHECKPOINT[..CHECKPOINT.len() - 1]),
            Err(NoteSyntax::Signature { line: 1 })
        );
        assert_eq!(
            parse(&vec![b'a'; MAX_NOTE_BYTES + 1]),
            Err(NoteSyntax::TooLong)
        );
        let many = ["a\n\n".to_owned(), "\u{2014} k AAAAAAA=\n".repeat(101)].concat();
        assert_eq!(parse(many.as_bytes()), Err(NoteSyntax::TooManySignatures));
    }

    proptest::proptest! {
        #[test]
        fn any_bytes_give_a_note_that_encodes_to_them_or_an_error(
            text in "[a\n +\u{2014}]{0,12}", lines in "(\u{2014} [a-c ]{0,4}[A-Za-z0-9+/=]{0,12}\n){0,3}",
        ) {
            let whole = format!("{text}\n\n{lines}");
            if let Ok(note) = parse(whole.as_bytes()) {
                proptest::prop_assert_eq!(note.encode(), whole.as_bytes());
            }
        }
    }
}
