//! Bytes, named by their SHA-256.
//!
//! A blob appears under its name only whole and synced, so that an entry that names it can be appended at once. A blob that
//! is there already is not written again; whether its bytes still are what its name says is found when it is read, and by
//! the audit.

use std::collections::BTreeSet;
use std::fs::Metadata;
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use domain::{Digest, Hasher};

use crate::durable::{self, Fault, Unsynced};
use crate::removal;
use crate::store::{Store, TEMPORARY};

/// The most bytes that one blob may have: 1 GiB.
pub const MAX_BLOB_BYTES: u64 = 1 << 30;

/// From so many blobs on, two syncs of the whole file system are cheaper than one for each: 300 take 0.06 s instead of
/// 0.3 s. They also wait for whatever others have written there.
const MANY: usize = 16;

/// A name younger than this may still be on its way to the disk, in the hands of another process.
const SETTLED: Duration = Duration::from_mins(1);

/// Why a blob cannot be stored or read.
#[derive(Debug, thiserror::Error)]
pub enum BlobError {
    /// The disk refused.
    #[error(transparent)]
    Disk(#[from] Fault),
    /// Larger than [`MAX_BLOB_BYTES`].
    #[error("a blob of {bytes} bytes; at most {MAX_BLOB_BYTES} are stored")]
    TooLarge {
        /// How many bytes it has.
        bytes: u64,
    },
    /// The file does not hold the bytes that its name says.
    #[error("{}: the bytes of this blob were changed", file.display())]
    BlobChanged {
        /// The file.
        file: PathBuf,
    },
}

impl Store {
    /// Stores `bytes`; when this returns they survive a power cut.
    pub fn put_blob(&self, bytes: &[u8]) -> Result<Digest, BlobError> {
        let digest = self.put_blobs(&[bytes])?;
        Ok(digest.first().copied().unwrap_or_else(|| Digest::of(bytes)))
    }

    /// Stores many at once; when this returns all survive a power cut. For more than a handful this syncs the file system
    /// once or twice instead of every file.
    pub fn put_blobs<B: AsRef<[u8]>>(&self, blobs: &[B]) -> Result<Vec<Digest>, BlobError> {
        let mut digests = Vec::with_capacity(blobs.len());
        let mut absent = Vec::new();
        let mut seen = BTreeSet::new();
        let mut unsettled = BTreeSet::new();
        for blob in blobs {
            let bytes = blob.as_ref();
            let digest = Digest::of(bytes);
            digests.push(digest);
            if bytes.len() as u64 > MAX_BLOB_BYTES {
                return Err(BlobError::TooLarge {
                    bytes: bytes.len() as u64,
                });
            }
            if !seen.insert(digest) {
                continue;
            }
            let path = self.blob_path(&digest);
            match std::fs::symlink_metadata(&path) {
                Ok(facts)
                    if facts.is_file()
                        && facts.len() == bytes.len() as u64
                        && self.is_kept(&path, &facts) =>
                {
                    if !is_settled(&facts) {
                        unsettled.insert(durable::parent(&path).to_owned());
                    }
                }
                _ => absent.push((path, bytes)),
            }
        }
        let by_file_system = absent.len() + unsettled.len() >= MANY;
        let mut names = self.write_absent(&absent, by_file_system)?;
        if by_file_system {
            self.disk().sync_file_system(&self.blobs())?;
            return Ok(digests);
        }
        for folder in unsettled {
            names.add_directory(&folder);
            names.add_directory(&self.blobs());
        }
        names.sync()?;
        Ok(digests)
    }

    /// The bytes of a blob, verified; `None` when it is not stored.
    pub fn blob(&self, digest: &Digest) -> Result<Option<Vec<u8>>, BlobError> {
        let file = self.blob_path(digest);
        let Some(bytes) = durable::read_regular(&file, MAX_BLOB_BYTES)? else {
            return Ok(None);
        };
        if Digest::of(&bytes) == *digest {
            Ok(Some(bytes))
        } else {
            Err(BlobError::BlobChanged { file })
        }
    }

    /// Whether a file stands under the name of this blob.
    pub fn has_blob(&self, digest: &Digest) -> bool {
        std::fs::symlink_metadata(self.blob_path(digest)).is_ok_and(|facts| facts.is_file())
    }

    /// Takes a blob that is there into one's hand, so that nobody removes it before an entry names it: see
    /// [`crate::IN_HAND`]. `false` when it is to be written anew: it is gone, on its way out, or another user's, who may
    /// remove what we cannot touch.
    ///
    /// Who removes it looks at its time once more *after* he took the name away. So a name that is still there *after* the
    /// touch says that he will see the touch; a touch alone says nothing, for it may reach the file behind that look.
    fn is_kept(&self, path: &Path, facts: &Metadata) -> bool {
        !removal::needs_touch(facts)
            || match self.disk().touch(path) {
                Ok(()) => std::fs::symlink_metadata(path).is_ok_and(|facts| facts.is_file()),
                // Nobody removes anything there.
                Err(error) => error.kind() == std::io::ErrorKind::ReadOnlyFilesystem,
            }
    }

    pub(crate) fn blob_path(&self, digest: &Digest) -> PathBuf {
        let name = digest.to_string();
        let (folder, file) = name.split_at(2);
        self.blobs().join(folder).join(file)
    }

    /// Writes blobs, makes their contents durable, and gives them their names, which are then to be synced.
    fn write_absent(
        &self,
        absent: &[(PathBuf, &[u8])],
        by_file_system: bool,
    ) -> Result<Unsynced<'_>, BlobError> {
        let (mut contents, mut names) = (Unsynced::new(self.disk()), Unsynced::new(self.disk()));
        if absent.is_empty() {
            return Ok(names);
        }
        let base = self.blobs();
        let random = durable::random_name().map_err(|error| Fault::at(&base, error))?;
        let temporary = |index: usize| base.join(format!("{TEMPORARY}{random}-{index}"));
        for (index, (path, bytes)) in absent.iter().enumerate() {
            let folder = durable::parent(path);
            self.disk().make_directory(folder)?;
            // Also where it exists: somebody who died may have made it a moment ago.
            names.add_directory(&base);
            names.add_directory(folder);
            if by_file_system {
                self.disk().create(&temporary(index), bytes)?;
            } else {
                contents.write_nameless(&temporary(index), bytes)?;
            }
        }
        if by_file_system {
            self.disk().sync_file_system(&base)?;
        } else {
            contents.sync()?;
        }
        // Dying before here leaves temporary files that nothing refers to. From here on every rename adds a whole blob,
        // which harms nobody when the entry that was to name it never comes.
        for (index, (path, _)) in absent.iter().enumerate() {
            durable::rename(self.disk(), &temporary(index), path)?;
        }
        Ok(names)
    }
}

/// Whether the file has had its name for so long that the kernel has written the name by itself.
fn is_settled(facts: &Metadata) -> bool {
    use std::os::unix::fs::MetadataExt as _;
    let changed = u64::try_from(facts.ctime()).unwrap_or(u64::MAX);
    let now = std::time::UNIX_EPOCH
        .elapsed()
        .map_or(0, |since| since.as_secs());
    changed.saturating_add(SETTLED.as_secs()) < now
}

/// The digest of a regular file and its size, computed piece by piece; `None` when it is not there.
pub(crate) fn digest_of_file(path: &Path) -> Result<Option<(Digest, u64)>, Fault> {
    let Some((mut file, _)) = durable::open_regular(path, MAX_BLOB_BYTES)? else {
        return Ok(None);
    };
    let mut hasher = Hasher::new();
    let mut buffer = vec![0; 1 << 17];
    let mut bytes = 0_u64;
    loop {
        let count = match file.read(&mut buffer) {
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => continue,
            other => other.map_err(|error| Fault::at(path, error))?,
        };
        bytes = bytes.saturating_add(count as u64);
        match buffer.get(..count) {
            Some(piece) if !piece.is_empty() && bytes <= MAX_BLOB_BYTES => hasher.update(piece),
            _ => return Ok(Some((hasher.finish(), bytes))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn store() -> (tempfile::TempDir, Store) {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open_or_create(&folder.path().join("s")).unwrap();
        (folder, store)
    }

    #[test]
    fn what_was_put_is_given_back_and_nothing_else() {
        let (_folder, store) = store();
        let digest = store.put_blob(b"evidence").unwrap();
        assert_eq!(digest, Digest::of(b"evidence"));
        assert_eq!(store.put_blob(b"evidence").unwrap(), digest);
        assert_eq!(store.blob(&digest).unwrap().unwrap(), b"evidence");
        assert!(store.has_blob(&digest));
        assert!(!store.has_blob(&Digest::of(b"other")));
        assert_eq!(store.blob(&Digest::of(b"other")).unwrap(), None);
        let empty = store.put_blob(b"").unwrap();
        assert_eq!(store.blob(&empty).unwrap().unwrap(), b"");
    }

    #[test]
    fn many_with_repetitions_all_arrive_and_leave_no_temporary_file() {
        let (_folder, store) = store();
        let blobs: Vec<Vec<u8>> = (0..300_u32)
            .map(|index| (index / 2).to_be_bytes().repeat(index as usize / 2))
            .collect();
        for count in [3, 300] {
            let digests = store.put_blobs(&blobs[..count]).unwrap();
            for (digest, blob) in digests.iter().zip(&blobs) {
                assert_eq!(store.blob(digest).unwrap().as_ref(), Some(blob));
            }
        }
        let names = std::fs::read_dir(store.blobs())
            .unwrap()
            .map(|item| item.unwrap().file_name().into_string().unwrap());
        assert!(names.into_iter().all(|name| name.len() == 2));
    }

    #[test]
    fn a_changed_blob_is_an_error_that_names_the_file_and_a_shortened_one_is_repaired() {
        let (_folder, store) = store();
        let digest = store.put_blob(b"evidence").unwrap();
        let path = store.blob_path(&digest);
        std::fs::write(&path, b"evidencE").unwrap();
        assert!(
            matches!(store.blob(&digest), Err(BlobError::BlobChanged { file }) if file == path)
        );
        std::fs::write(&path, b"").unwrap();
        store.put_blob(b"evidence").unwrap();
        assert_eq!(store.blob(&digest).unwrap().unwrap(), b"evidence");
    }
}
