//! Digests of files that have not changed since they were last read.
//!
//! Reading a whole environment costs seconds; asking the kernel for the size and times of its files costs a tenth of one.
//! So digests are remembered. **The safety rule**: a remembered digest is used again only if
//!
//! 1. device, inode, size, modification time *and change time* of the file are all equal to those it had when it was read
//!    (the same before and after the reading), and
//! 2. its change time was by then already older than the moment the scan began by [`RACY_WINDOW`]. A file that changes
//!    twice within one tick of the file system's clock looks the same after both; a younger file is read again next time.
//!    This is the rule that git calls *racily clean*.
//!
//! User space can set the modification time to anything but cannot set the change time: an edit followed by `touch -r` is
//! noticed. **What defeats the rule**: whoever can set the machine's clock, write the raw device below the file system,
//! serve a network file system with made-up times, keep a shared writable mapping whose store the kernel has not yet dated,
//! or write the cache file itself. Therefore a random sample of the files is read again at every scan although the cache
//! knows them, with a seed that only the caller knows; one mismatch is a finding ([`crate::CacheLie`]) and the
//! whole cache is thrown away in that scan.
//!
//! The file is an accelerator, never evidence. One that is absent, torn, of another version or not a regular file starts
//! an empty cache. It is replaced by rename, so a reader sees the old or the new one; it is not synced, for what a power
//! failure can do to it is caught by its digest. Two scans that save at once lose the records of one of them: time, nothing else.

use std::collections::HashMap;
use std::fs::File;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use domain::Digest;

use crate::file::{BUFFER, FileKey, Stamp, read_small};

/// How much older than the scan a file's change time must be for its digest to be remembered.
pub const RACY_WINDOW: Duration = Duration::from_secs(2);

/// The most records that a cache holds; beyond it the ones recorded longest ago are dropped.
pub const MAX_RECORDS: usize = 2_000_000;

const MAGIC: &[u8; 16] = b"taintline-seen 1";
const HEADER: usize = 16 + 8;
const RECORD: usize = 88;
const CHECKSUM: usize = 32;

/// Remembered digests; see the safety rule at the top of this module's source: reuse needs equal device, inode, size,
/// modification time and change time, and a change time that was at least [`RACY_WINDOW`] old when the reading scan began.
#[derive(Debug, Default)]
pub struct Cache {
    records: HashMap<(u64, u64), Record>,
    start: CacheStart,
    generation: u32,
    dirty: bool,
}

/// What a cache was started from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum CacheStart {
    /// From nothing: there was no file, or none was asked for.
    #[default]
    Empty,
    /// From a sound file.
    Loaded,
    /// From nothing, because the file was torn, of another version, too large or unreadable.
    Refused,
}

/// The cache could not be written. The scan that filled it stands all the same.
#[derive(Debug, thiserror::Error)]
#[error("cannot write the cache of digests {}: {source}", path.display())]
pub struct CacheError {
    path: PathBuf,
    source: io::Error,
}

#[derive(Debug, Clone, Copy)]
struct Record {
    key: FileKey,
    digest: Digest,
    generation: u32,
}

impl Cache {
    /// An empty cache.
    pub fn empty() -> Self {
        Self::default()
    }

    /// Reads a cache file; never fails, see [`Cache::start`].
    pub fn load(path: &Path) -> Self {
        let limit = (HEADER + CHECKSUM + MAX_RECORDS * RECORD) as u64;
        let mut buffer = vec![0; BUFFER];
        match read_small(path, limit, &mut buffer) {
            Ok(Some(bytes)) => decode(&bytes).unwrap_or_else(|| Self {
                start: CacheStart::Refused,
                ..Self::default()
            }),
            Err(crate::Gap::System(rustix::io::Errno::NOENT)) => Self::default(),
            Ok(None) | Err(_) => Self {
                start: CacheStart::Refused,
                ..Self::default()
            },
        }
    }

    /// What it was started from.
    pub fn start(&self) -> CacheStart {
        self.start
    }

    /// How many files it remembers.
    pub fn len(&self) -> usize {
        self.records.len()
    }

    /// Whether it remembers nothing.
    pub fn is_empty(&self) -> bool {
        self.records.is_empty()
    }

    /// Replaces the file at `path` if anything was learnt since it was loaded. The folder must exist.
    pub fn save(&mut self, path: &Path) -> Result<(), CacheError> {
        if !self.dirty {
            return Ok(());
        }
        let mut beside = path.as_os_str().to_owned();
        beside.push(format!(".{}.new", std::process::id()));
        let beside = PathBuf::from(beside);
        let written = self
            .write(&beside)
            .and_then(|()| std::fs::rename(&beside, path));
        if let Err(source) = written {
            // A full disk must not be kept full by our leftovers; that removing fails too adds nothing to the error.
            let _ = std::fs::remove_file(&beside);
            return Err(CacheError {
                path: path.to_owned(),
                source,
            });
        }
        self.dirty = false;
        Ok(())
    }

    pub(crate) fn get(&self, key: &FileKey) -> Option<Digest> {
        let record = self.records.get(&(key.device, key.inode))?;
        (record.key == *key).then_some(record.digest)
    }

    /// Remembers a digest, unless the file changed too shortly before the scan that `began` then.
    pub(crate) fn put(&mut self, key: FileKey, digest: Digest, began: SystemTime) {
        let slot = (key.device, key.inode);
        if older_than(key.changed, began, RACY_WINDOW) {
            if self.get(&key) == Some(digest) {
                return; // read again by chance and as remembered: nothing to write for
            }
            self.records.insert(
                slot,
                Record {
                    key,
                    digest,
                    generation: self.generation,
                },
            );
            self.dirty = true;
        } else if self.records.remove(&slot).is_some() {
            self.dirty = true;
        }
    }

    /// Forgets everything: one record was caught lying.
    pub(crate) fn clear(&mut self) {
        self.records.clear();
        self.dirty = true;
    }

    fn write(&mut self, path: &Path) -> io::Result<()> {
        self.drop_oldest();
        // Left by a process of the same number that died; ours is created anew, never through a link put there.
        let _ = std::fs::remove_file(path);
        let mut file = File::create_new(path)?;
        file.write_all(&self.encode())
    }

    fn drop_oldest(&mut self) {
        if self.records.len() <= MAX_RECORDS {
            return;
        }
        let mut generations: Vec<u32> = self
            .records
            .values()
            .map(|record| record.generation)
            .collect();
        let excess = generations.len() - MAX_RECORDS;
        let (_, last_dropped, _) = generations.select_nth_unstable(excess - 1);
        let last_dropped = *last_dropped;
        self.records
            .retain(|_, record| record.generation > last_dropped);
    }

    fn encode(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(HEADER + self.records.len() * RECORD + CHECKSUM);
        bytes.extend_from_slice(MAGIC);
        bytes.extend_from_slice(&(self.records.len() as u64).to_le_bytes());
        for Record {
            key,
            digest,
            generation,
        } in self.records.values()
        {
            for number in [key.device, key.inode, key.size] {
                bytes.extend_from_slice(&number.to_le_bytes());
            }
            for stamp in [key.modified, key.changed] {
                bytes.extend_from_slice(&stamp.seconds.to_le_bytes());
                bytes.extend_from_slice(&stamp.nanos.to_le_bytes());
            }
            bytes.extend_from_slice(&generation.to_le_bytes());
            bytes.extend_from_slice(&[0; 4]);
            bytes.extend_from_slice(digest.as_bytes());
        }
        let checksum = Digest::of(&bytes);
        bytes.extend_from_slice(checksum.as_bytes());
        bytes
    }
}

fn older_than(changed: Stamp, began: SystemTime, window: Duration) -> bool {
    let Ok(began) = began.duration_since(UNIX_EPOCH) else {
        return false;
    };
    let Some(limit) = began.checked_sub(window) else {
        return false;
    };
    let Ok(seconds) = i64::try_from(limit.as_secs()) else {
        return false;
    };
    changed
        < Stamp {
            seconds,
            nanos: limit.subsec_nanos(),
        }
}

fn decode(bytes: &[u8]) -> Option<Cache> {
    let (body, checksum) = bytes.split_last_chunk::<CHECKSUM>()?;
    if Digest::of(body).as_bytes() != checksum {
        return None;
    }
    let (magic, rest) = body.split_first_chunk::<16>()?;
    let (count, rest) = rest.split_first_chunk::<8>()?;
    let (chunks, left) = rest.as_chunks::<RECORD>();
    if magic != MAGIC || !left.is_empty() || chunks.len() as u64 != u64::from_le_bytes(*count) {
        return None;
    }
    let mut cache = Cache {
        start: CacheStart::Loaded,
        ..Cache::default()
    };
    cache.records.reserve(chunks.len());
    for chunk in chunks {
        let record = decode_record(chunk)?;
        cache.generation = cache.generation.max(record.generation.saturating_add(1));
        cache
            .records
            .insert((record.key.device, record.key.inode), record);
    }
    Some(cache)
}

fn decode_record(mut rest: &[u8]) -> Option<Record> {
    let mut wide = || -> Option<[u8; 8]> {
        let (head, tail) = rest.split_first_chunk()?;
        rest = tail;
        Some(*head)
    };
    let [device, inode, size] = [wide()?, wide()?, wide()?].map(u64::from_le_bytes);
    let mut stamp = || -> Option<Stamp> {
        let (seconds, tail) = rest.split_first_chunk()?;
        let (nanos, tail) = tail.split_first_chunk()?;
        rest = tail;
        Some(Stamp {
            seconds: i64::from_le_bytes(*seconds),
            nanos: u32::from_le_bytes(*nanos),
        })
    };
    let (modified, changed) = (stamp()?, stamp()?);
    let (generation, tail) = rest.split_first_chunk()?;
    let digest = Digest::from_bytes(*tail.last_chunk()?);
    let key = FileKey {
        device,
        inode,
        size,
        modified,
        changed,
    };
    Some(Record {
        key,
        digest,
        generation: u32::from_le_bytes(*generation),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const SCAN: Duration = Duration::from_secs(1_000_000);

    fn key(inode: u64, changed: i64) -> FileKey {
        let stamp = |seconds| Stamp { seconds, nanos: 7 };
        FileKey {
            device: 1,
            inode,
            size: 3,
            modified: stamp(-5),
            changed: stamp(changed),
        }
    }

    fn filled() -> Cache {
        let mut cache = Cache::empty();
        cache.put(key(1, 500), Digest::of(b"a"), UNIX_EPOCH + SCAN);
        cache.put(key(2, 600), Digest::of(b"b"), UNIX_EPOCH + SCAN);
        cache
    }

    #[test]
    fn what_is_saved_is_loaded() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("cache");
        assert_eq!(Cache::load(&path).start(), CacheStart::Empty);
        filled().save(&path).unwrap();
        let cache = Cache::load(&path);
        assert_eq!(
            (cache.start(), cache.len(), cache.generation),
            (CacheStart::Loaded, 2, 1)
        );
        assert_eq!(cache.get(&key(2, 600)), Some(Digest::of(b"b")));
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
    }

    #[test]
    fn a_file_cut_or_changed_at_any_byte_starts_an_empty_cache() {
        let whole = filled().encode();
        assert!(decode(&whole).is_some());
        for at in 0..whole.len() {
            assert!(decode(&whole[..at]).is_none(), "cut at {at}");
            let mut changed = whole.clone();
            changed[at] ^= 1;
            assert!(decode(&changed).is_none(), "changed at {at}");
        }
    }

    #[test]
    fn a_newer_version_or_a_folder_in_its_place_starts_an_empty_cache() {
        let folder = tempfile::tempdir().unwrap();
        assert_eq!(Cache::load(folder.path()).start(), CacheStart::Refused);
        let mut body = filled().encode();
        body.truncate(body.len() - CHECKSUM);
        body[15] = b'2';
        let checksum = Digest::of(&body);
        body.extend_from_slice(checksum.as_bytes());
        let path = folder.path().join("cache");
        std::fs::write(&path, body).unwrap();
        assert_eq!(Cache::load(&path).start(), CacheStart::Refused);
    }

    #[test]
    fn any_difference_in_the_key_is_a_miss() {
        let cache = filled();
        let good = key(1, 500);
        assert!(cache.get(&good).is_some());
        let later = Stamp {
            nanos: 8,
            ..good.modified
        };
        for other in [
            FileKey { device: 2, ..good },
            FileKey { inode: 3, ..good },
            FileKey { size: 4, ..good },
            FileKey {
                modified: later,
                ..good
            },
            FileKey {
                changed: Stamp {
                    nanos: 8,
                    ..good.changed
                },
                ..good
            },
        ] {
            assert_eq!(cache.get(&other), None, "{other:?}");
        }
    }

    #[test]
    fn a_file_changed_within_the_window_or_in_the_future_is_not_remembered() {
        let mut cache = filled();
        for changed in [999_998, 999_999, 1_000_000, 2_000_000] {
            cache.put(key(1, changed), Digest::of(b"a"), UNIX_EPOCH + SCAN);
            assert_eq!(cache.get(&key(1, changed)), None, "{changed}");
        }
        assert_eq!(
            cache.get(&key(1, 500)),
            None,
            "the record of the older version is gone as well"
        );
        cache.put(key(1, 999_997), Digest::of(b"a"), UNIX_EPOCH + SCAN);
        assert!(cache.get(&key(1, 999_997)).is_some());
    }

    #[test]
    fn a_cache_that_cannot_be_written_says_so_and_leaves_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let error = filled()
            .save(&folder.path().join("absent/cache"))
            .unwrap_err();
        assert!(
            error
                .to_string()
                .contains("cannot write the cache of digests")
        );
        std::fs::create_dir(folder.path().join("taken")).unwrap();
        assert!(filled().save(&folder.path().join("taken")).is_err());
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
    }
}
