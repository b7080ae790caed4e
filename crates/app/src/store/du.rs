//! `taintline store du`: where the bytes are, and who needs them.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use ledger::Store;
use report::time::rfc3339;
use report::view::{DuView, KindView, LogSpaceView, OtherSpaceView, RunSpaceView};

use super::census::{Census, Owner, kind_of};
use super::kind::BlobKind;
use crate::error::AppError;
use crate::place::Surroundings;

/// Folders within folders that are looked into: a tile lies six deep.
const DEPTH_MAX: usize = 32;

/// Measures the store that the surroundings name. Sizes are those of the files' contents.
pub fn du(surroundings: &Surroundings) -> Result<DuView, AppError> {
    let store = Store::open(&surroundings.store_to_read()?)?;
    let census = Census::take(&store)?;
    let logs = census.logs.iter().map(|(name, entries)| LogSpaceView {
        name: name.clone(),
        entries: *entries,
        bytes: below(&store.root().join("ledger").join(name)),
    });
    let logs: Vec<_> = logs.collect();
    let other = [
        "index.sqlite",
        "index.sqlite-wal",
        "index.sqlite-shm",
        "cache",
        crate::run::KEPT,
    ];
    let other = other.map(|name| OtherSpaceView {
        name,
        bytes: below(&store.root().join(name)),
    });
    let blobs: u64 = census.stored.iter().map(|blob| blob.bytes).sum();
    let total = blobs
        + logs.iter().map(|log| log.bytes).sum::<u64>()
        + other.iter().map(|it| it.bytes).sum::<u64>();
    Ok(DuView {
        schema: "taintline.du/1",
        bytes: total,
        blobs: census.stored.len() as u64,
        blob_bytes: blobs,
        logs,
        kinds: kinds(&census),
        runs: runs(&census),
        other: other.into_iter().filter(|it| it.bytes > 0).collect(),
        gaps: census.gaps,
    })
}

fn kinds(census: &Census) -> Vec<KindView> {
    let mut kinds: BTreeMap<BlobKind, (u64, u64)> = BTreeMap::new();
    for (blob, references) in census.blobs() {
        let (count, bytes) = kinds.entry(kind_of(references)).or_default();
        *count += 1;
        *bytes += blob.bytes;
    }
    let view = |(kind, (blobs, bytes)): (BlobKind, (u64, u64))| KindView {
        kind: kind.name(),
        blobs,
        bytes,
    };
    kinds.into_iter().map(view).collect()
}

/// What each run needs: by itself, and together with others. Oldest first; acts of their own are not among them.
fn runs(census: &Census) -> Vec<RunSpaceView> {
    let mut space = vec![[0_u64; 4]; census.owners.len()];
    for (blob, references) in census.blobs() {
        let owners: BTreeSet<u32> = references.iter().map(|it| it.owner).collect();
        let at = if owners.len() == 1 { 0 } else { 2 };
        for owner in owners {
            if let Some([own, own_bytes, shared, shared_bytes]) = space.get_mut(owner as usize) {
                let (count, bytes) = if at == 0 {
                    (own, own_bytes)
                } else {
                    (shared, shared_bytes)
                };
                *count += 1;
                *bytes += blob.bytes;
            }
        }
    }
    let all = census.owners.iter().zip(space);
    let mut runs: Vec<(&Owner, [u64; 4])> = all.filter(|(owner, _)| owner.name.is_some()).collect();
    runs.sort_by_key(|(owner, _)| (owner.started_us, owner.id));
    let view =
        |(owner, [blobs, bytes, shared_blobs, shared_bytes]): (&Owner, [u64; 4])| RunSpaceView {
            name: owner.name.clone().unwrap_or_default(),
            id: owner.id.to_string(),
            started: rfc3339(owner.started_us),
            blobs,
            bytes,
            shared_blobs,
            shared_bytes,
        };
    runs.into_iter().map(view).collect()
}

/// The bytes of a file, or of all files below a folder; links are not followed.
pub(super) fn below(path: &Path) -> u64 {
    let mut bytes = 0;
    let mut waiting = vec![(path.to_owned(), 0)];
    while let Some((path, depth)) = waiting.pop() {
        let Ok(facts) = std::fs::symlink_metadata(&path) else {
            continue;
        };
        if facts.is_file() {
            bytes += facts.len();
        } else if facts.is_dir() && depth < DEPTH_MAX {
            let items = std::fs::read_dir(&path).into_iter().flatten().flatten();
            waiting.extend(items.map(|item| (item.path(), depth + 1)));
        }
    }
    bytes
}
