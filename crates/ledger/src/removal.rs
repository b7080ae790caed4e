//! Taking blobs out of a store while others may be writing the same bytes.
//!
//! Who stores a blob that is there already does not write it again but touches it. So a blob that nobody has touched for an
//! hour is in nobody's hands between *stored* and *named by an entry*, and may go if no entry needs it. Who removes it takes
//! the name away and looks at the time once more; who touches it looks for the name once more. So one of the two sees the
//! other: the file is put back, or its bytes are written anew. That a blob goes is written into the ledger first; by whom
//! and why is not known here.

use std::path::Path;
use std::time::{Duration, SystemTime};

use domain::Digest;

use crate::durable::{self, Fault};
use crate::store::{Store, TEMPORARY};

/// So long after it was stored or touched a blob is taken to be on its way into an entry.
pub const IN_HAND: Duration = Duration::from_hours(1);

/// What became of a blob that was to go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Removed {
    /// It is gone.
    Gone,
    /// It was gone before.
    Absent,
    /// Somebody stored the same bytes a short while ago: it stays.
    InHand,
}

/// A blob as the folder has it. Its bytes were not read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StoredBlob {
    /// Its name.
    pub digest: Digest,
    /// The bytes of the file.
    pub bytes: u64,
    /// Somebody stored it, or the same bytes once more, less than [`IN_HAND`] ago.
    pub in_hand: bool,
}

impl Store {
    /// Every blob by its name, in order of the folders. Files with other names are left to the audit.
    pub fn stored_blobs(&self) -> Result<Vec<StoredBlob>, Fault> {
        let now = SystemTime::now();
        let mut stored = Vec::new();
        for start in 0..=u8::MAX {
            let start = format!("{start:02x}");
            let folder = self.blobs().join(&start);
            let items = match std::fs::read_dir(&folder) {
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => continue,
                other => other.map_err(|error| Fault::at(&folder, error))?,
            };
            for item in items {
                let item = item.map_err(|error| Fault::at(&folder, error))?;
                let name = item.file_name().into_string().ok();
                let digest = name.and_then(|rest| format!("{start}{rest}").parse().ok());
                // Removed since it was listed, or no file at all: nothing to be counted.
                let facts = item.metadata().ok().filter(std::fs::Metadata::is_file);
                if let (Some(digest), Some(facts)) = (digest, facts) {
                    stored.push(StoredBlob {
                        digest,
                        bytes: facts.len(),
                        in_hand: is_in_hand(&facts, now),
                    });
                }
            }
        }
        Ok(stored)
    }

    /// Removes a blob, unless somebody stored the same bytes less than [`IN_HAND`] ago.
    pub fn remove_blob(&self, digest: &Digest) -> Result<Removed, Fault> {
        let path = self.blob_path(digest);
        let now = SystemTime::now();
        match facts(&path)? {
            None => return Ok(Removed::Absent),
            Some(facts) if is_in_hand(&facts, now) => return Ok(Removed::InHand),
            Some(_) => {}
        }
        let base = self.blobs();
        let random = durable::random_name().map_err(|error| Fault::at(&base, error))?;
        let aside = base.join(format!("{TEMPORARY}{random}-gone"));
        // Dying behind this leaves a file that nothing refers to, of a blob that the ledger says is gone.
        match self.disk().rename(&path, &aside) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                return Ok(Removed::Absent);
            }
            other => other.map_err(|error| Fault::at(&path, error))?,
        }
        if facts(&aside)?.is_some_and(|facts| is_in_hand(&facts, now)) {
            // Touched between our two looks. Whoever touched it may rely on it.
            durable::rename(self.disk(), &aside, &path)?;
            return Ok(Removed::InHand);
        }
        self.disk().remove(&aside)?;
        Ok(Removed::Gone)
    }
}

fn facts(path: &Path) -> Result<Option<std::fs::Metadata>, Fault> {
    match std::fs::symlink_metadata(path) {
        Ok(facts) => Ok(Some(facts)),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(Fault::at(path, error)),
    }
}

/// Whether a blob may be on its way into an entry. A time in the future is the time of somebody whose clock is ahead.
pub(crate) fn is_in_hand(facts: &std::fs::Metadata, now: SystemTime) -> bool {
    let touched = facts.modified().unwrap_or(now);
    now.duration_since(touched).unwrap_or_default() < IN_HAND
}

/// Whether a blob that somebody stores again must be touched to stay in hand: well before it would be let go.
pub(crate) fn needs_touch(facts: &std::fs::Metadata) -> bool {
    let touched = facts.modified().ok();
    let age = touched.and_then(|touched| touched.elapsed().ok());
    age.is_some_and(|age| age > IN_HAND / 2)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn store() -> (tempfile::TempDir, Store) {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open_or_create(&folder.path().join("s")).unwrap();
        (folder, store)
    }

    fn set_age(store: &Store, digest: &Digest, age: Duration) {
        let file = std::fs::File::options()
            .write(true)
            .open(store.blob_path(digest));
        let then = SystemTime::now() - age;
        file.unwrap().set_modified(then).unwrap();
    }

    #[test]
    fn a_blob_that_nobody_has_in_hand_goes_and_leaves_nothing_behind() {
        let (_folder, store) = store();
        let digest = store.put_blob(b"old").unwrap();
        set_age(&store, &digest, IN_HAND * 2);
        assert_eq!(store.remove_blob(&digest).unwrap(), Removed::Gone);
        assert_eq!(store.remove_blob(&digest).unwrap(), Removed::Absent);
        assert!(!store.has_blob(&digest));
        assert!(store.stored_blobs().unwrap().is_empty());
        let left = std::fs::read_dir(store.blobs()).unwrap().filter(|item| {
            let name = item.as_ref().unwrap().file_name();
            name.to_string_lossy().starts_with(TEMPORARY)
        });
        assert_eq!(left.count(), 0);
    }

    #[test]
    fn a_blob_that_was_stored_or_stored_again_within_the_hour_stays() {
        let (_folder, store) = store();
        let digest = store.put_blob(b"young").unwrap();
        assert_eq!(store.remove_blob(&digest).unwrap(), Removed::InHand);
        for age in [IN_HAND * 2, IN_HAND * 100] {
            set_age(&store, &digest, age);
            assert!(!store.stored_blobs().unwrap()[0].in_hand);
            store.put_blob(b"young").unwrap();
            assert!(store.stored_blobs().unwrap()[0].in_hand);
            assert_eq!(store.remove_blob(&digest).unwrap(), Removed::InHand);
        }
        assert_eq!(store.blob(&digest).unwrap().unwrap(), b"young");
    }

    #[test]
    fn whoever_stores_bytes_while_they_are_removed_has_them_afterwards() {
        let (_folder, store) = store();
        for round in 0..1000_u32 {
            let bytes = round.to_be_bytes();
            let digest = store.put_blob(&bytes).unwrap();
            set_age(&store, &digest, IN_HAND * 2);
            std::thread::scope(|scope| {
                scope.spawn(|| store.remove_blob(&digest).unwrap());
                scope.spawn(|| store.put_blob(&bytes).unwrap());
            });
            assert!(store.has_blob(&digest), "round {round}");
        }
    }

    #[test]
    fn the_list_has_every_blob_with_its_size_and_nothing_else() {
        let (_folder, store) = store();
        let mut digests: Vec<_> = (0..50_u8)
            .map(|number| store.put_blob(&vec![number; usize::from(number)]).unwrap())
            .collect();
        std::fs::write(store.blobs().join(".new-1"), "x").unwrap();
        let stored = store.stored_blobs().unwrap();
        let mut listed: Vec<_> = stored.iter().map(|blob| blob.digest).collect();
        digests.sort_unstable();
        listed.sort_unstable();
        assert_eq!(listed, digests);
        assert_eq!(
            stored.iter().map(|blob| blob.bytes).sum::<u64>(),
            49 * 50 / 2
        );
    }
}
