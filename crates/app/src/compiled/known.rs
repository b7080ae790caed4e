//! What was learnt of sources and byte code before: what a source compiles to, and which byte code was found to be its.
//!
//! An accelerator outside of the environment, never evidence. Every record is keyed by the build of the interpreter, the
//! digest of the source and the level, so an upgrade or an edit simply meets nothing. The file ends in a check under
//! the store's own secret: whoever can write it but cannot read the secret can only have it thrown away. A sample is looked at
//! anew each time all the same.

use std::collections::HashMap;
use std::fs::File;
use std::io::{self, Read as _, Write as _};
use std::path::Path;

use domain::{Digest, Hasher};
use environment::compiled::Level;

const MAGIC: &[u8; 16] = b"taintline-code 1";
/// The most records of each kind; beyond it, learning starts anew.
const MAX_RECORDS: usize = 400_000;
const MEANING: usize = 64;
const MATCH: usize = 33;

/// How byte code that was found to be its source's is tied to it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Tied {
    Checked,
    Unchecked,
}

pub(super) struct Known {
    secret: [u8; 32],
    meanings: HashMap<Digest, Digest>,
    matches: HashMap<Digest, Tied>,
    dirty: bool,
}

impl Known {
    pub(super) fn load(path: &Path, secret: [u8; 32]) -> Self {
        let mut known = Self {
            secret,
            meanings: HashMap::new(),
            matches: HashMap::new(),
            dirty: false,
        };
        let limit = (MAX_RECORDS * (MEANING + MATCH) + 64) as u64;
        let mut bytes = Vec::new();
        let regular = path.symlink_metadata().is_ok_and(|meta| meta.is_file());
        let read = regular
            .then(|| File::open(path).and_then(|file| file.take(limit).read_to_end(&mut bytes)));
        if matches!(read, Some(Ok(_))) && known.decode(&bytes).is_none() {
            known.forget();
        }
        known
    }

    pub(super) fn forget(&mut self) {
        self.meanings.clear();
        self.matches.clear();
        self.dirty = true;
    }

    pub(super) fn meaning(&self, key: &Digest) -> Option<Digest> {
        self.meanings.get(key).copied()
    }

    pub(super) fn learn_meaning(&mut self, key: Digest, meaning: Digest) {
        self.dirty |= self.meanings.insert(key, meaning) != Some(meaning);
    }

    pub(super) fn is_match(&self, key: &Digest, compiled: &Digest) -> Option<Tied> {
        self.matches.get(&both(key, compiled)).copied()
    }

    pub(super) fn learn_match(&mut self, key: &Digest, compiled: &Digest, tied: Tied) {
        self.matches.insert(both(key, compiled), tied);
        self.dirty = true;
    }

    /// Replaces the file, if anything was learnt.
    pub(super) fn save(&mut self, path: &Path) -> io::Result<()> {
        if !self.dirty {
            return Ok(());
        }
        if self.meanings.len() > MAX_RECORDS || self.matches.len() > MAX_RECORDS {
            self.forget();
        }
        let mut beside = path.as_os_str().to_owned();
        beside.push(format!(".{}.new", std::process::id()));
        let beside = Path::new(&beside);
        let _ = std::fs::remove_file(beside); // of a process of the same number that died
        let written = File::create_new(beside)
            .and_then(|mut file| file.write_all(&self.encode()))
            .and_then(|()| std::fs::rename(beside, path));
        if written.is_err() {
            let _ = std::fs::remove_file(beside);
        }
        self.dirty = written.is_err();
        written
    }

    fn encode(&self) -> Vec<u8> {
        let mut bytes = MAGIC.to_vec();
        for count in [self.meanings.len(), self.matches.len()] {
            bytes.extend((count as u64).to_le_bytes());
        }
        for (key, meaning) in &self.meanings {
            bytes.extend(key.as_bytes());
            bytes.extend(meaning.as_bytes());
        }
        for (key, tied) in &self.matches {
            bytes.extend(key.as_bytes());
            bytes.push(u8::from(*tied == Tied::Unchecked));
        }
        let check = self.check(&bytes);
        bytes.extend(check.as_bytes());
        bytes
    }

    fn decode(&mut self, bytes: &[u8]) -> Option<()> {
        let (bytes, check) = bytes.split_last_chunk::<32>()?;
        if self.check(bytes).as_bytes() != check {
            return None;
        }
        let rest = bytes.strip_prefix(MAGIC)?;
        let (count, rest) = rest.split_first_chunk::<8>()?;
        let (_, rest) = rest.split_first_chunk::<8>()?;
        let meanings = usize::try_from(u64::from_le_bytes(*count)).ok()?;
        let (meanings, matches) = rest.split_at_checked(meanings.checked_mul(MEANING)?)?;
        for record in meanings.as_chunks::<MEANING>().0 {
            let (key, meaning) = record.split_first_chunk::<32>()?;
            let meaning = meaning.first_chunk::<32>()?;
            self.meanings
                .insert(Digest::from_bytes(*key), Digest::from_bytes(*meaning));
        }
        for record in matches.as_chunks::<MATCH>().0 {
            let (key, tied) = record.split_first_chunk::<32>()?;
            let tied = if tied.first() == Some(&1) {
                Tied::Unchecked
            } else {
                Tied::Checked
            };
            self.matches.insert(Digest::from_bytes(*key), tied);
        }
        Some(())
    }

    /// Keyed twice, so that nothing can be put behind the bytes that it is over.
    fn check(&self, bytes: &[u8]) -> Digest {
        let keyed = |bytes: &[u8]| {
            let mut hasher = Hasher::new();
            hasher.update(&self.secret);
            hasher.update(bytes);
            hasher.finish()
        };
        keyed(keyed(bytes).as_bytes())
    }
}

/// Under which name what a source means is kept.
pub(super) fn key(build: &Digest, source: &Digest, level: Level) -> Digest {
    let mut hasher = Hasher::new();
    hasher.update(b"taintline code 1\n");
    hasher.update(build.as_bytes());
    hasher.update(source.as_bytes());
    hasher.update(&[level.number()]);
    hasher.finish()
}

fn both(key: &Digest, compiled: &Digest) -> Digest {
    let mut hasher = Hasher::new();
    hasher.update(key.as_bytes());
    hasher.update(compiled.as_bytes());
    hasher.finish()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn digest(text: &str) -> Digest {
        Digest::of(text.as_bytes())
    }

    #[test]
    fn what_was_learnt_is_known_again_and_by_the_same_secret_only() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("code");
        let mut known = Known::load(&path, [1; 32]);
        known.learn_meaning(digest("key"), digest("meaning"));
        known.learn_match(&digest("key"), &digest("pyc"), Tied::Unchecked);
        known.save(&path).unwrap();
        let again = Known::load(&path, [1; 32]);
        assert_eq!(again.meaning(&digest("key")), Some(digest("meaning")));
        assert_eq!(
            again.is_match(&digest("key"), &digest("pyc")),
            Some(Tied::Unchecked)
        );
        assert_eq!(again.is_match(&digest("key"), &digest("other")), None);
        assert_eq!(Known::load(&path, [2; 32]).meaning(&digest("key")), None);
    }

    #[test]
    fn a_file_that_was_changed_anywhere_is_not_believed() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("code");
        let mut known = Known::load(&path, [1; 32]);
        known.learn_meaning(digest("key"), digest("meaning"));
        known.save(&path).unwrap();
        let good = std::fs::read(&path).unwrap();
        for at in 0..good.len() {
            let mut bad = good.clone();
            bad[at] ^= 1;
            std::fs::write(&path, &bad).unwrap();
            assert_eq!(Known::load(&path, [1; 32]).meaning(&digest("key")), None);
        }
        std::fs::write(&path, &good[..good.len() - 1]).unwrap();
        assert_eq!(Known::load(&path, [1; 32]).meaning(&digest("key")), None);
    }
}
