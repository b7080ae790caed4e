//! What wheels hold, kept in the store's cache under the digest of the wheel, and shared by all environments.
//!
//! Each text is kept with a value over it under the store's secret: whoever can write the store's folder and does not have
//! the user's keys cannot put in a wheel that vouches for something else. One that does not hold is as good as absent.

use std::io::Write as _;
use std::path::{Path, PathBuf};

use domain::Digest;
use environment::reference::{Keeper, Manifest};
use ledger::Store;

use crate::secret::keyed;

/// Tells this use of the secret from all others.
const PURPOSE: &[u8] = b"taintline wheel manifest 1\n";

/// The most bytes of one kept text.
const MAX_BYTES: u64 = 64 << 20;

/// Keeps manifests in a store.
pub(super) struct Kept {
    folder: PathBuf,
    secret: [u8; 32],
}

impl Kept {
    pub(super) fn new(store: &Store, secret: [u8; 32]) -> Self {
        Self {
            folder: store.root().join("cache/wheels"),
            secret,
        }
    }

    /// Where they are kept.
    pub(super) fn folder(&self) -> &Path {
        &self.folder
    }

    fn seal(&self, text: &[u8]) -> Digest {
        keyed(&self.secret, &[PURPOSE, text])
    }
}

impl Keeper for Kept {
    fn load(&self, wheel: Digest) -> Option<Manifest> {
        let path = self.folder.join(wheel.to_string());
        let bytes = crate::bounded::read(&path, MAX_BYTES).ok()?;
        let (stated, text) = bytes.split_at_checked(64)?;
        let stated: Digest = std::str::from_utf8(stated).ok()?.parse().ok()?;
        let text = text.strip_prefix(b"\n")?;
        if self.seal(text) != stated {
            return None;
        }
        Manifest::decode(text).filter(|manifest| manifest.wheel == wheel)
    }

    fn keep(&self, manifest: &Manifest) {
        let text = manifest.encode();
        let path = self.folder.join(manifest.wheel.to_string());
        let beside = path.with_extension(format!("{}.new", std::process::id()));
        let write = || {
            std::fs::create_dir_all(&self.folder)?;
            let mut file = std::fs::File::create(&beside)?;
            file.write_all(format!("{}\n", self.seal(&text)).as_bytes())?;
            file.write_all(&text)?;
            std::fs::rename(&beside, &path)
        };
        // Without it the wheel is read again next time: slower, not wrong.
        if write().is_err() {
            let _ = std::fs::remove_file(&beside);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_kept_comes_back_and_nothing_that_somebody_else_put_there() {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open_or_create(&folder.path().join("store")).unwrap();
        let kept = Kept::new(&store, [7; 32]);
        let manifest = Manifest {
            wheel: Digest::of(b"wheel"),
            papers: "a-1.dist-info".to_owned(),
            files: Vec::new(),
            launchers: Vec::new(),
        };
        assert_eq!(kept.load(manifest.wheel), None);
        kept.keep(&manifest);
        assert_eq!(kept.load(manifest.wheel), Some(manifest.clone()));
        assert_eq!(Kept::new(&store, [8; 32]).load(manifest.wheel), None);
        // Under another name it speaks of another wheel.
        let other = Digest::of(b"other");
        let at = |digest: Digest| kept.folder.join(digest.to_string());
        std::fs::copy(at(manifest.wheel), at(other)).unwrap();
        assert_eq!(kept.load(other), None);
    }
}
