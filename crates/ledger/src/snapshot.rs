//! A log at one size, verified, from which proofs are made with a handful of reads whatever the size.

use std::collections::BTreeMap;
use std::path::PathBuf;

use domain::Digest;

use crate::log::Log;
use crate::proof;
use crate::standing::{Signatures, Standing};
use crate::tile::{Kind, Name};
use crate::tiles::{self, LogError, Vouched, WAL};
use crate::tlog_proof::TlogProof;
use crate::tree::{Edge, TILE_WIDTH, fold, leaf, node};
use crate::tree_head::TreeHead;

/// A log at one size. Later appends and publications do not change it: what they take away, the tiles that are not full, it
/// has in memory.
pub struct Snapshot {
    log: Log,
    folder: PathBuf,
    head: TreeHead,
    note: Vec<u8>,
    published: TreeHead,
    published_edge: Edge,
    edge: Edge,
    /// Tiles that were filled by entries which are not published.
    filled: BTreeMap<(u8, u64), Vec<Digest>>,
}

impl Log {
    /// The log as it is now, its right edge verified.
    pub fn snapshot(&self) -> Result<Snapshot, LogError> {
        self.settled(|| {
            let key = tiles::read_key(self.folder(), self.origin())?;
            let standing = Standing::read(self.folder(), &key, Signatures::Last)?;
            let mut edge = standing.published.edge.clone();
            let mut filled = BTreeMap::new();
            for entry in standing.unpublished() {
                for (level, index, hashes) in edge.push(leaf(entry)) {
                    filled.insert((level, index), hashes);
                }
            }
            Ok(Snapshot {
                log: self.clone(),
                folder: self.folder().to_owned(),
                head: standing.head,
                note: standing.note,
                published: standing.published.head,
                published_edge: standing.published.edge,
                edge,
                filled,
            })
        })
    }
}

impl Log {
    /// What `read` makes of the log as it is now. Somebody who publishes in between can take away the tiles that the snapshot
    /// rests on: then it is taken again.
    pub fn of_snapshot<T>(
        &self,
        read: impl Fn(&Snapshot) -> Result<T, LogError>,
    ) -> Result<T, LogError> {
        self.settled(|| read(&self.snapshot()?))
    }
}

impl Snapshot {
    /// Size and root.
    pub fn head(&self) -> TreeHead {
        self.head
    }

    /// The signed head, as bytes.
    pub fn signed_head(&self) -> &[u8] {
        &self.note
    }

    /// The hashes that prove that entry `index` is in the log.
    pub fn inclusion(&self, index: u64) -> Result<Vec<Digest>, LogError> {
        self.roots(proof::inclusion_ranges(index, self.head.size), index)
    }

    /// The hashes that prove that the log begins with its first `old` entries.
    pub fn consistency(&self, old: u64) -> Result<Vec<Digest>, LogError> {
        if old == 0 {
            return Ok(Vec::new());
        }
        self.roots(proof::consistency_ranges(old, self.head.size), old)
    }

    /// The root that the log had at `size`.
    pub fn root_at(&self, size: u64) -> Result<Digest, LogError> {
        if size == 0 {
            return Ok(crate::tree::empty_root());
        }
        if size > self.head.size {
            return Err(self.no_such(size));
        }
        self.root(&mut self.vouched(), 0, size)
    }

    /// Whether the log begins with the tree that somebody has seen.
    pub fn continues(&self, seen: TreeHead) -> Result<bool, LogError> {
        Ok(seen.size <= self.head.size && self.root_at(seen.size)? == seen.root)
    }

    /// A proof file for entry `index`, with the entry in it.
    pub fn prove(&self, index: u64) -> Result<TlogProof, LogError> {
        let hashes = self.inclusion(index)?;
        let entries = self.log.entries(index..index.saturating_add(1))?;
        Ok(TlogProof {
            extra: entries.into_iter().next(),
            index,
            hashes,
            tree_head: self.note.clone(),
        })
    }

    /// The same in an earlier state of the log, whose signed head is `note`. `None` when the log does not continue that
    /// head, or it has no such entry.
    pub fn prove_under(
        &self,
        index: u64,
        head: TreeHead,
        note: &[u8],
    ) -> Result<Option<TlogProof>, LogError> {
        if index >= head.size || !self.continues(head)? {
            return Ok(None);
        }
        let hashes = self.roots(proof::inclusion_ranges(index, head.size), index)?;
        let entries = self.log.entries(index..index.saturating_add(1))?;
        Ok(Some(TlogProof {
            extra: entries.into_iter().next(),
            index,
            hashes,
            tree_head: note.to_vec(),
        }))
    }

    fn no_such(&self, asked: u64) -> LogError {
        LogError::NoSuchEntry {
            asked,
            size: self.head.size,
        }
    }

    fn vouched(&self) -> Vouched<'_> {
        Vouched::with(&self.folder, self.published, self.published_edge.clone())
    }

    fn roots(&self, ranges: Option<Vec<(u64, u64)>>, asked: u64) -> Result<Vec<Digest>, LogError> {
        let mut vouched = self.vouched();
        ranges
            .ok_or_else(|| self.no_such(asked))?
            .into_iter()
            .map(|(start, end)| self.root(&mut vouched, start, end))
            .collect()
    }

    /// The root over the entries from `start` to `end`, a subtree as the proofs need it: of its perfect parts, the larger
    /// ones come first.
    fn root(&self, vouched: &mut Vouched<'_>, start: u64, end: u64) -> Result<Digest, LogError> {
        let mut root: Option<Digest> = None;
        let mut end = end;
        while end > start {
            let count = 1_u64 << (end - start).trailing_zeros();
            let part = self.perfect(vouched, end - count, count)?;
            root = Some(root.map_or(part, |right| node(&part, &right)));
            end -= count;
        }
        root.ok_or_else(|| self.no_such(end))
    }

    /// The root over `count` entries from `start`, a power of two that `start` is a multiple of.
    fn perfect(
        &self,
        vouched: &mut Vouched<'_>,
        start: u64,
        count: u64,
    ) -> Result<Digest, LogError> {
        let bits = count.trailing_zeros();
        let level = u8::try_from(bits / 8).unwrap_or(u8::MAX);
        let first = start >> (8 * (bits / 8));
        let (index, at) = (first / TILE_WIDTH as u64, first % TILE_WIDTH as u64);
        let at = usize::try_from(at).unwrap_or_default();
        let hashes = self.tile(vouched, level, index)?;
        hashes
            .get(at..at + (1 << (bits % 8)))
            .map(fold)
            .ok_or_else(|| self.unknown())
    }

    fn tile(
        &self,
        vouched: &mut Vouched<'_>,
        level: u8,
        index: u64,
    ) -> Result<Vec<Digest>, LogError> {
        if let Some(hashes) = self.filled.get(&(level, index)) {
            return Ok(hashes.clone());
        }
        match Name::at(Kind::Hashes(level), index, self.head.size) {
            Some(name) if name.is_full() => Ok(vouched.tile(level, index)?.to_vec()),
            Some(_) => {
                let levels = self.edge.levels();
                let hashes = levels.get(usize::from(level)).cloned();
                hashes.ok_or_else(|| self.unknown())
            }
            None => Err(self.unknown()),
        }
    }

    fn unknown(&self) -> LogError {
        LogError::Missing {
            file: self.folder.join(WAL),
        }
    }
}
