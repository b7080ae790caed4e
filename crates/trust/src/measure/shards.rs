//! Ranges of files to their SHA-256, for signatures of the method `shards`.
//!
//! Taintline never signs so: a whole file and its tree say more. It is here because others do.

use std::ops::Range;

use domain::Digest;
use hashing::{Engine, RangeError, digest_ranges};

use super::beneath::Root;
use super::file::{Reading, Unread};
use crate::name::Name;

/// A range of a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Shard {
    /// The file.
    pub name: Name,
    /// Which of its bytes.
    pub range: Range<u64>,
}

/// The digest of each shard, in order. Shards of one file in a row are read from one descriptor, which must be the same
/// before and after.
pub(crate) fn hash(
    root: &Root,
    shards: &[Shard],
    actual: Option<&Name>,
    through_links: bool,
) -> Vec<Result<Digest, Unread>> {
    let mut results = Vec::with_capacity(shards.len());
    for group in shards.chunk_by(|left, right| left.name == right.name) {
        let Some(first) = group.first() else { continue };
        let name = actual.unwrap_or(&first.name);
        match of_file(root, name, group, through_links) {
            Ok(digests) => results.extend(digests),
            Err(why) => results.extend(group.iter().map(|_| Err(why))),
        }
    }
    results
}

fn of_file(
    root: &Root,
    name: &Name,
    group: &[Shard],
    through_links: bool,
) -> Result<Vec<Result<Digest, Unread>>, Unread> {
    let reading = match Reading::open(root, name, false) {
        Err(Unread::NotAFile("a link")) if through_links => Reading::open(root, name, true)?,
        other => other?,
    };
    let ranges: Vec<Range<u64>> = group.iter().map(|shard| shard.range.clone()).collect();
    let read = |at, buffer: &mut [u8]| reading.read_at(at, buffer);
    let digests = digest_ranges(Engine::best(), &ranges, read);
    if !reading.is_unchanged()? {
        return Err(Unread::Changed);
    }
    let digest = |result| match result {
        Ok(digest) => Ok(Digest::from_bytes(digest)),
        // The file ends before the range: other bytes than were signed, whatever they are.
        Err(RangeError::Short { .. }) => Ok(Digest::of(b"")),
        Err(RangeError::Read(why)) => Err(why),
    };
    Ok(digests.into_iter().map(digest).collect())
}
