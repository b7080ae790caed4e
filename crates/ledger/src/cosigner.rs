//! The private keys of a witness: one Ed25519, one ML-DSA-44, under one name, and what they sign.
//!
//! Each is a file that its owner alone can read, made once, in the text form that the log's own key has. Nothing here
//! decides whether a tree head deserves a cosignature: [`crate::witness`] does.

use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use ml_dsa::{Keypair as _, MlDsa44};
use ring::signature::{Ed25519KeyPair, KeyPair as _};

use crate::cosignature::{Algorithm, CosignerKey};
use crate::disk::Disk;
use crate::key::{self, KeyError};
use crate::note::{Note, Signature, is_key_name};

/// A key that cosigns.
pub(crate) struct Cosigner {
    key: CosignerKey,
    pair: Pair,
}

enum Pair {
    Ed25519(Ed25519KeyPair),
    MlDsa44(Box<ml_dsa::SigningKey<MlDsa44>>),
}

impl Cosigner {
    fn from_seed(name: &str, algorithm: Algorithm, seed: [u8; 32]) -> Option<Self> {
        let (public, pair) = match algorithm {
            Algorithm::Ed25519 => {
                let pair = Ed25519KeyPair::from_seed_unchecked(&seed).ok()?;
                (pair.public_key().as_ref().to_vec(), Pair::Ed25519(pair))
            }
            Algorithm::MlDsa44 => {
                let pair = ml_dsa::SigningKey::<MlDsa44>::from_seed(&seed.into());
                let public = pair.verifying_key().encode().to_vec();
                (public, Pair::MlDsa44(Box::new(pair)))
            }
        };
        let key = CosignerKey::new(name, algorithm, &public)?;
        Some(Self { key, pair })
    }

    /// The public half.
    pub(crate) fn key(&self) -> &CosignerKey {
        &self.key
    }

    /// The cosignature of a note that holds a tree head, at `at` seconds since 1970; `None` when it holds none.
    pub(crate) fn cosign(&self, note: &Note, at: u64) -> Option<Signature> {
        let message = self.key.message(note.text(), at)?;
        let signature = match &self.pair {
            Pair::Ed25519(pair) => pair.sign(&message).as_ref().to_vec(),
            Pair::MlDsa44(pair) => {
                let signed = pair.expanded_key().sign_deterministic(&message, &[]);
                signed.ok()?.encode().to_vec()
            }
        };
        Some(Signature {
            name: self.key.name().to_owned(),
            key_id: self.key.id(),
            signature: [at.to_be_bytes().as_slice(), &signature].concat(),
        })
    }

    /// Loads the key from `path`; `None` when there is no such file.
    pub(crate) fn load(path: &Path, algorithm: Algorithm) -> Result<Option<Self>, KeyError> {
        let Some(text) = key::read_secret(path, "a witness")? else {
            return Ok(None);
        };
        let key = parse(&text, algorithm).ok_or_else(|| KeyError::Malformed {
            path: path.to_owned(),
            name: "a witness".to_owned(),
        })?;
        Ok(Some(key))
    }

    /// Loads the key from `path`, or makes it there under `name`.
    pub(crate) fn load_or_make(
        disk: &dyn Disk,
        path: &Path,
        name: &str,
        algorithm: Algorithm,
    ) -> Result<Self, KeyError> {
        if let Some(key) = Self::load(path, algorithm)? {
            return Ok(key);
        }
        let not_made = || KeyError::NotMade {
            name: name.to_owned(),
        };
        if !is_key_name(name) || name.len() > 255 {
            return Err(not_made());
        }
        let mut seed = [0; 32];
        getrandom::fill(&mut seed).map_err(|_| not_made())?;
        let made = Self::from_seed(name, algorithm, seed).ok_or_else(not_made)?;
        key::publish_secret(disk, path, &made.encode(seed))?;
        // Of two that make it at once, one makes it and both use it.
        Self::load(path, algorithm)?.ok_or_else(not_made)
    }

    fn encode(&self, seed: [u8; 32]) -> String {
        let secret = STANDARD.encode([&[self.key.algorithm().byte()], seed.as_slice()].concat());
        let id = u32::from_be_bytes(self.key.id());
        format!("{}{}+{id:08x}+{secret}", key::PREFIX, self.key.name())
    }
}

fn parse(text: &str, algorithm: Algorithm) -> Option<Cosigner> {
    let mut parts = text.strip_prefix(key::PREFIX)?.splitn(3, '+');
    let (name, _, secret) = (parts.next()?, parts.next()?, parts.next()?);
    let secret = STANDARD.decode(secret).ok()?;
    let seed = secret.strip_prefix(&[algorithm.byte()])?.try_into().ok()?;
    let key = Cosigner::from_seed(name, algorithm, seed)?;
    // The id, and what base64 lets pass, show here.
    (key.encode(seed) == text).then_some(key)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::disk::Kernel;
    use crate::tree_head::TreeHead;

    fn make(folder: &Path, algorithm: Algorithm) -> Cosigner {
        let path = folder.join(format!("{algorithm}.key"));
        Cosigner::load_or_make(&Kernel, &path, "witness.example/w", algorithm).unwrap()
    }

    #[test]
    fn what_a_cosigner_signs_its_public_key_reads_with_its_time() {
        let folder = tempfile::tempdir().unwrap();
        for algorithm in [Algorithm::Ed25519, Algorithm::MlDsa44] {
            let cosigner = make(folder.path(), algorithm);
            let again = make(folder.path(), algorithm);
            assert_eq!(cosigner.key(), again.key(), "the key is made once");
            let note = Note::new(TreeHead::empty().text("log"), Vec::new());
            let signature = again.cosign(&note, 1_234_567_890).unwrap();
            let note = note.signed_also(signature);
            let public = CosignerKey::parse(&cosigner.key().encode()).unwrap();
            assert_eq!(public.read(&note).unwrap().unwrap().at, 1_234_567_890);
            let nothing = Note::new("no tree head\n".to_owned(), Vec::new());
            assert_eq!(again.cosign(&nothing, 1), None);
        }
    }

    #[test]
    fn a_damaged_key_file_or_one_of_the_other_kind_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        make(folder.path(), Algorithm::Ed25519);
        let path = folder.path().join("Ed25519.key");
        assert!(Cosigner::load(&path, Algorithm::MlDsa44).is_err());
        let whole = std::fs::read(&path).unwrap();
        for at in 0..whole.len() {
            let mut changed = whole.clone();
            changed[at] ^= 1;
            std::fs::write(&path, &changed).unwrap();
            assert!(
                Cosigner::load(&path, Algorithm::Ed25519).is_err(),
                "byte {at}"
            );
        }
    }

    #[test]
    fn a_name_that_no_note_can_carry_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        for name in ["", "a b", "a+b", "a\nb", &"x".repeat(256)] {
            let path = folder.path().join("key");
            assert!(
                Cosigner::load_or_make(&Kernel, &path, name, Algorithm::Ed25519).is_err(),
                "{name:?}"
            );
        }
    }
}
