//! The private key of a log: made on first use, kept outside the store, never shown.
//!
//! Who holds it can sign another history, so it does not travel with a copied store: the copy's next writer finds no key
//! and opens a log of its own. A key file that others can read is refused instead of repaired, because it may have been
//! read already.

use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use ring::signature::{Ed25519KeyPair, KeyPair as _};

use crate::disk::Disk;
use crate::durable::{self, Fault};
use crate::note::{Note, Signature, VerifierKey};

/// What the text form begins with, as in the Go module `note`.
pub(crate) const PREFIX: &str = "PRIVATE+KEY+";

/// The most bytes a key file may have.
const MAX_KEY_BYTES: u64 = 4096;

/// Why a private key cannot be used.
#[derive(Debug, Clone, thiserror::Error)]
pub enum KeyError {
    /// The disk refused.
    #[error(transparent)]
    Disk(#[from] Fault),
    /// Others can read it or write it.
    #[error("{}: the key file's mode is {mode:o}; others must have no access (chmod 600, or make a new key)", path.display())]
    Exposed {
        /// The key file.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// Of another user, who can read it and change it.
    #[error("{}: the key file belongs to user {owner}; remove it if it is not yours, or take it over (chown), and make sure that nobody has read it", path.display())]
    Foreign {
        /// The key file.
        path: PathBuf,
        /// Whose it is.
        owner: u32,
    },
    /// Not a key, or the key of something else.
    #[error("{}: this file does not hold the private key of {name}", path.display())]
    Malformed {
        /// The key file.
        path: PathBuf,
        /// Whose key was looked for.
        name: String,
    },
    /// The system gave no random bytes, or the library refused its own key.
    #[error("a new key could not be made for {name}")]
    NotMade {
        /// Whose key was to be made.
        name: String,
    },
}

/// A key pair that signs under a name.
pub(crate) struct SigningKey {
    verifier: VerifierKey,
    pair: Ed25519KeyPair,
}

impl SigningKey {
    fn from_seed(name: &str, seed: &[u8]) -> Option<Self> {
        let pair = Ed25519KeyPair::from_seed_unchecked(seed).ok()?;
        let public = pair.public_key().as_ref().try_into().ok()?;
        Some(Self {
            verifier: VerifierKey::new(name, public),
            pair,
        })
    }

    pub(crate) fn verifier(&self) -> &VerifierKey {
        &self.verifier
    }

    /// Signs a text that ends in a line break.
    pub(crate) fn sign(&self, text: String) -> Note {
        let signature = Signature {
            name: self.verifier.name().to_owned(),
            key_id: self.verifier.id(),
            signature: self.pair.sign(text.as_bytes()).as_ref().to_vec(),
        };
        Note::new(text, vec![signature])
    }

    /// Loads the key `name` from `path`; `None` when there is no such file.
    pub(crate) fn load(path: &Path, name: &str) -> Result<Option<Self>, KeyError> {
        let Some(text) = read_secret(path, name)? else {
            return Ok(None);
        };
        let malformed = || KeyError::Malformed {
            path: path.to_owned(),
            name: name.to_owned(),
        };
        let text = text.as_str();
        // The name and the id hold no `+`; the base64 behind them may.
        let seed = text
            .strip_prefix(PREFIX)
            .and_then(|text| text.splitn(3, '+').nth(2))
            .ok_or_else(malformed)?;
        let seed = STANDARD.decode(seed).map_err(|_| malformed())?;
        let seed = seed
            .strip_prefix(&[1])
            .filter(|seed| seed.len() == 32)
            .ok_or_else(malformed)?;
        let key = Self::from_seed(name, seed).ok_or_else(malformed)?;
        if text == encode(&key.verifier, seed) {
            Ok(Some(key))
        } else {
            Err(malformed())
        }
    }

    /// Loads the key `name` from `path`, or makes it there. `true` says that it was there. Of two processes that make it
    /// at once, one makes it and both use it.
    pub(crate) fn load_or_make(
        disk: &dyn Disk,
        path: &Path,
        name: &str,
    ) -> Result<(Self, bool), KeyError> {
        if let Some(key) = Self::load(path, name)? {
            return Ok((key, true));
        }
        let not_made = || KeyError::NotMade {
            name: name.to_owned(),
        };
        let mut seed = [0; 32];
        getrandom::fill(&mut seed).map_err(|_| not_made())?;
        let key = Self::from_seed(name, &seed).ok_or_else(not_made)?;
        let text = encode(&key.verifier, &seed);
        if publish_secret(disk, path, &text)? {
            return Ok((key, false));
        }
        Self::load(path, name)?
            .map(|key| (key, true))
            .ok_or_else(not_made)
    }
}

/// The text in a key file, without its line break; `None` when there is no such file, and an error when others could have
/// read it. `name` is for the error alone.
pub(crate) fn read_secret(path: &Path, name: &str) -> Result<Option<String>, KeyError> {
    let Some((file, _)) = durable::open_regular(path, MAX_KEY_BYTES)? else {
        return Ok(None);
    };
    let facts = file.metadata().map_err(|error| Fault::at(path, error))?;
    let owner = facts.uid();
    if owner != rustix::process::geteuid().as_raw() {
        return Err(KeyError::Foreign {
            path: path.to_owned(),
            owner,
        });
    }
    let mode = facts.permissions().mode() & 0o7777;
    if mode & 0o077 != 0 {
        return Err(KeyError::Exposed {
            path: path.to_owned(),
            mode,
        });
    }
    let malformed = || KeyError::Malformed {
        path: path.to_owned(),
        name: name.to_owned(),
    };
    let bytes = durable::read_regular(path, MAX_KEY_BYTES)?.ok_or_else(malformed)?;
    let text = String::from_utf8(bytes).map_err(|_| malformed())?;
    let text = text.strip_suffix('\n').ok_or_else(malformed)?;
    Ok(Some(text.to_owned()))
}

/// Writes a key file and its folder, private and durable, unless there is one; `false` when there is.
pub(crate) fn publish_secret(disk: &dyn Disk, path: &Path, text: &str) -> Result<bool, KeyError> {
    let folder = durable::parent(path);
    durable::make_directories(disk, folder)?;
    let random = durable::random_name().map_err(|error| Fault::at(path, error))?;
    let temporary = folder.join(format!(".new-{random}"));
    disk.sync(&disk.create(&temporary, format!("{text}\n").as_bytes())?)?;
    // Dying here leaves a hidden file that nothing refers to. Behind the next line the key is whole and durable.
    Ok(durable::publish_once(disk, &temporary, path)?)
}

fn encode(verifier: &VerifierKey, seed: &[u8]) -> String {
    let seed = STANDARD.encode([&[1], seed].concat());
    format!(
        "{PREFIX}{}+{:08x}+{seed}",
        verifier.name(),
        u32::from_be_bytes(verifier.id())
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::disk::Kernel;

    #[test]
    fn a_key_is_made_once_and_found_again() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("keys/deep/a.key");
        assert!(SigningKey::load(&path, "a").unwrap().is_none());
        let (made, existed) = SigningKey::load_or_make(&Kernel, &path, "a").unwrap();
        let (found, existed_then) = SigningKey::load_or_make(&Kernel, &path, "a").unwrap();
        assert!(!existed && existed_then);
        assert_eq!(made.verifier(), found.verifier());
        assert!(
            found
                .sign("text\n".to_owned())
                .is_signed_by(made.verifier())
        );
        let bits = |path: &Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!((bits(&path), bits(path.parent().unwrap())), (0o600, 0o700));
        assert_eq!(
            std::fs::read_dir(path.parent().unwrap()).unwrap().count(),
            1,
            "no temporary file stays"
        );
    }

    #[test]
    fn a_key_whose_text_holds_every_base64_character_is_read_back() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.key");
        for byte in 0..=255 {
            let key = SigningKey::from_seed("a", &[byte; 32]).unwrap();
            let text = format!("{}\n", encode(key.verifier(), &[byte; 32]));
            drop(Kernel.create(&path, text.as_bytes()).unwrap());
            let found = SigningKey::load(&path, "a").unwrap().unwrap();
            assert_eq!(found.verifier(), key.verifier());
        }
    }

    #[test]
    fn a_key_that_others_could_read_or_that_is_damaged_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.key");
        SigningKey::load_or_make(&Kernel, &path, "a").unwrap();
        assert!(matches!(
            SigningKey::load(&path, "b"),
            Err(KeyError::Malformed { .. })
        ));
        for mode in [0o640, 0o604, 0o620] {
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
            let error = SigningKey::load(&path, "a").err().unwrap();
            assert!(matches!(error, KeyError::Exposed { mode: seen, .. } if seen == mode));
        }
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
        let whole = std::fs::read(&path).unwrap();
        for at in 0..whole.len() {
            let mut changed = whole.clone();
            changed[at] ^= 1;
            std::fs::write(&path, &changed).unwrap();
            assert!(SigningKey::load(&path, "a").is_err(), "byte {at}");
        }
    }

    #[test]
    fn a_key_of_another_user_is_refused_with_the_remedy() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.key");
        SigningKey::load_or_make(&Kernel, &path, "a").unwrap();
        if std::os::unix::fs::chown(&path, Some(12_345), None).is_err() {
            return; // only root can give a file away; the owner is read in the same way for everybody
        }
        let error = SigningKey::load(&path, "a").err().unwrap();
        assert!(matches!(error, KeyError::Foreign { owner: 12_345, .. }));
        assert!(error.to_string().contains("chown"));
    }

    #[test]
    fn threads_that_make_the_key_at_once_get_the_same() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.key");
        let make = || {
            SigningKey::load_or_make(&Kernel, &path, "a")
                .unwrap()
                .0
                .verifier()
                .clone()
        };
        let keys: Vec<_> = std::thread::scope(|scope| {
            let threads: Vec<_> = (0..8).map(|_| scope.spawn(make)).collect();
            threads
                .into_iter()
                .map(|thread| thread.join().unwrap())
                .collect()
        });
        assert!(keys.iter().all(|key| *key == keys[0]));
    }
}
