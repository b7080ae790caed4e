//! Computes the tree of one log again, from the entries up to the signed root, and says which file broke it.
//!
//! When a file of hashes differs from what is computed below it, the hash above (in the end the signed root) tells which of
//! the two is the original. One changed file is therefore named as that file, and not as its whole neighbourhood.

use std::collections::{BTreeMap, HashSet};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

use domain::Digest;

use super::{AuditProblem, Blobs, Findings, Place, Referenced};
use crate::tile::{self, Kind, MAX_BUNDLE_BYTES, MAX_TILE_BYTES, Name};
use crate::tiles::CHECKPOINT;
use crate::tree::{Edge, TILE_WIDTH, fold, leaf};
use crate::tree_head::TreeHead;

/// Bundles that are looked at before what was found is put together: what they need is in memory until then.
const WINDOW: u64 = 4 * THREADS as u64;

/// Threads at most.
const THREADS: usize = 16;

/// A bundle with more bytes is looked at while no other such is.
const LARGE: u64 = 1 << 20;

/// Checks all tiles and bundles that a log with this head must have.
pub(super) fn audit(
    place: &Place<'_>,
    head: TreeHead,
    referenced: &Referenced<'_>,
    findings: &mut Findings,
    blobs: &mut Blobs<'_>,
) {
    let mut climb = Climb {
        place,
        head,
        levels: Vec::new(),
        edges: Vec::new(),
    };
    let look = Look {
        place,
        head,
        referenced,
        large: Mutex::new(()),
    };
    let count = head.size.div_ceil(TILE_WIDTH as u64);
    let mut next = 0;
    while next < count {
        let end = count.min(next.saturating_add(WINDOW));
        for (_, looked) in look.at_once(next, end) {
            if findings.is_full() {
                findings.problem(&place.folder, AuditProblem::GivenUp);
                return;
            }
            findings.add(looked.findings);
            for (entry, digests) in looked.needs {
                blobs.need(entry, &digests, findings);
            }
            climb.settle(looked.tile, findings);
        }
        next = end;
    }
    climb.finish(findings);
}

/// What is needed to look at a bundle and the tile over it, independently of all others.
struct Look<'a> {
    place: &'a Place<'a>,
    head: TreeHead,
    referenced: &'a Referenced<'a>,
    large: Mutex<()>,
}

struct Looked {
    tile: Tile,
    findings: Findings,
    needs: Vec<(u64, Vec<Digest>)>,
}

impl Look<'_> {
    /// Looks at the bundles from `start` to `end`, in order of their index, on several threads.
    fn at_once(&self, start: u64, end: u64) -> BTreeMap<u64, Looked> {
        let next = AtomicU64::new(start);
        let work = || {
            let mut found = Vec::new();
            loop {
                let index = next.fetch_add(1, Ordering::Relaxed);
                match Name::at(Kind::Hashes(0), index, self.head.size) {
                    Some(name) if index < end => found.push((index, self.at(name))),
                    _ => return found,
                }
            }
        };
        let wanted = std::thread::available_parallelism()
            .map_or(1, std::num::NonZero::get)
            .min(THREADS)
            .min(usize::try_from(end - start).unwrap_or(1));
        std::thread::scope(|scope| {
            // That no further thread is to be had only makes it slower.
            let others: Vec<_> = (1..wanted)
                .map_while(|_| std::thread::Builder::new().spawn_scoped(scope, work).ok())
                .collect();
            let mut all: BTreeMap<_, _> = work().into_iter().collect();
            for other in others {
                all.extend(other.join().unwrap_or_default());
            }
            all
        })
    }

    fn at(&self, name: Name) -> Looked {
        let mut findings = Findings::default();
        let mut needs = Vec::new();
        let file = read_hashes(self.place, name, &mut findings);
        let computed = self.leaves(name, file.as_deref(), &mut findings, &mut needs);
        Looked {
            tile: Tile {
                name,
                computed,
                file,
            },
            findings,
            needs,
        }
    }

    /// Computes the leaves of a bundle. Only entries that agree with their hash, if there is one, are asked what they
    /// need: what a changed entry refers to is not evidence of anything.
    fn leaves(
        &self,
        tile: Name,
        hashes: Option<&[Digest]>,
        findings: &mut Findings,
        needs: &mut Vec<(u64, Vec<Digest>)>,
    ) -> Option<Vec<Digest>> {
        let name = Name {
            kind: Kind::Entries,
            ..tile
        };
        let file = self.place.folder.join(name.path());
        let length = std::fs::symlink_metadata(self.place.root.join(&file));
        let is_large = length.is_ok_and(|facts| facts.len() > LARGE);
        let _alone = is_large.then(|| self.large.lock().unwrap_or_else(PoisonError::into_inner));
        let bytes = findings.read(self.place.root, &file, MAX_BUNDLE_BYTES)?;
        let entries = match tile::parse_bundle(&bytes) {
            Ok(entries) => entries,
            Err(why) => {
                findings.problem(&file, AuditProblem::Bundle(why));
                return None;
            }
        };
        findings.report.entries += entries.len() as u64;
        let leaves: Vec<Digest> = entries.iter().copied().map(leaf).collect();
        let first = name.index.saturating_mul(TILE_WIDTH as u64);
        let mut asked = HashSet::new();
        for (at, entry) in entries.iter().enumerate() {
            if hashes.is_none_or(|hashes| hashes.get(at) == leaves.get(at)) {
                let mut needed = (self.referenced)(entry);
                needed.retain(|digest| asked.insert(*digest));
                if !needed.is_empty() {
                    needs.push((first.saturating_add(at as u64), needed));
                }
            }
        }
        if entries.len() == name.width {
            return Some(leaves);
        }
        findings.problem(
            &file,
            AuditProblem::Count {
                expected: name.width,
                found: entries.len(),
            },
        );
        None
    }
}

fn read_hashes(place: &Place<'_>, name: Name, findings: &mut Findings) -> Option<Vec<Digest>> {
    let file = place.folder.join(name.path());
    let bytes = findings.read(place.root, &file, MAX_TILE_BYTES)?;
    let hashes = tile::parse_hashes(&bytes, name.width);
    if hashes.is_none() {
        findings.problem(&file, AuditProblem::Length);
    }
    hashes
}

struct Climb<'a> {
    place: &'a Place<'a>,
    head: TreeHead,
    /// For each level above the leaves: what was computed for its current tile, and that tile's file.
    levels: Vec<Column>,
    /// The last, not full tile of each level.
    edges: Vec<Tile>,
}

#[derive(Default)]
struct Column {
    index: u64,
    computed: Vec<Option<Digest>>,
    file: Option<Vec<Digest>>,
    is_read: bool,
}

/// One tile from both sides: computed from below, and as its file says. Either can be missing.
struct Tile {
    name: Name,
    computed: Option<Vec<Digest>>,
    file: Option<Vec<Digest>>,
}

impl Climb<'_> {
    /// Compares a tile with what was computed for it, and hands its one hash to the level above.
    fn settle(&mut self, tile: Tile, findings: &mut Findings) {
        let name = tile.name;
        let Kind::Hashes(level) = name.kind else {
            return;
        };
        if !name.is_full() {
            self.edges.push(tile);
            return;
        }
        let above = self.above(level + 1, name.index, findings);
        let carried = match (&tile.computed, &tile.file) {
            (Some(computed), Some(file)) if computed != file => {
                let (from_below, from_file) = (fold(computed), fold(file));
                if above == Some(from_below) {
                    self.blame_file(&tile, findings);
                    Some(from_below)
                } else {
                    if above == Some(from_file) {
                        self.blame_below(&tile, findings);
                    } else {
                        self.blame_both(&tile, findings);
                    }
                    Some(from_file)
                }
            }
            (Some(hashes), _) | (None, Some(hashes)) => Some(fold(hashes)),
            (None, None) => above,
        };
        self.carry(level + 1, carried, findings);
    }

    /// What the file above says about tile `index` of the level below it.
    fn above(&mut self, level: u8, index: u64, findings: &mut Findings) -> Option<Digest> {
        let at = usize::try_from(index % TILE_WIDTH as u64).ok()?;
        let index = index / TILE_WIDTH as u64;
        let name = Name::at(Kind::Hashes(level), index, self.head.size)?;
        while self.levels.len() <= usize::from(level) {
            self.levels.push(Column::default());
        }
        if self
            .levels
            .get(usize::from(level))
            .is_some_and(|column| !column.is_read || column.index != index)
        {
            let file = read_hashes(self.place, name, findings);
            if let Some(column) = self.levels.get_mut(usize::from(level)) {
                *column = Column {
                    index,
                    computed: Vec::new(),
                    file,
                    is_read: true,
                };
            }
        }
        self.levels
            .get(usize::from(level))?
            .file
            .as_ref()?
            .get(at)
            .copied()
    }

    fn carry(&mut self, level: u8, hash: Option<Digest>, findings: &mut Findings) {
        let Some(column) = self.levels.get_mut(usize::from(level)) else {
            return;
        };
        column.computed.push(hash);
        if column.computed.len() == TILE_WIDTH {
            self.complete(level, findings);
        }
    }

    /// Settles the current tile of a level: all that was computed for it has arrived.
    fn complete(&mut self, level: u8, findings: &mut Findings) {
        let Some(column) = self.levels.get_mut(usize::from(level)) else {
            return;
        };
        let computed = std::mem::take(&mut column.computed).into_iter().collect();
        let (index, file) = (column.index, column.file.take());
        if let Some(name) = Name::at(Kind::Hashes(level), index, self.head.size) {
            self.settle(
                Tile {
                    name,
                    computed,
                    file,
                },
                findings,
            );
        }
    }

    /// Compares the right edge with the signed root.
    fn finish(&mut self, findings: &mut Findings) {
        for level in 1..8 {
            if self
                .levels
                .get(usize::from(level))
                .is_some_and(|column| !column.computed.is_empty())
            {
                self.complete(level, findings);
            }
        }
        let edges = std::mem::take(&mut self.edges);
        let root_of = |choose: fn(&Tile) -> Option<&Vec<Digest>>| {
            let mut levels = vec![Vec::new(); 8];
            for tile in &edges {
                let Kind::Hashes(level) = tile.name.kind else {
                    continue;
                };
                if let (Some(slot), Some(hashes)) =
                    (levels.get_mut(usize::from(level)), choose(tile))
                {
                    slot.clone_from(hashes);
                }
            }
            Edge::from_levels(levels).map(|edge| edge.root())
        };
        let signed = Some(self.head.root);
        let below_is_signed =
            root_of(|tile| tile.computed.as_ref().or(tile.file.as_ref())) == signed;
        let files_are_signed =
            root_of(|tile| tile.file.as_ref().or(tile.computed.as_ref())) == signed;
        let mut blamed = below_is_signed || files_are_signed;
        for tile in &edges {
            match (&tile.computed, &tile.file) {
                (Some(computed), Some(file)) if computed == file => continue,
                (Some(_), Some(_)) if below_is_signed => self.blame_file(tile, findings),
                (Some(_), Some(_)) if files_are_signed => self.blame_below(tile, findings),
                (Some(_), Some(_)) => self.blame_both(tile, findings),
                // What is missing was noted. What is left of the two must then be what was signed.
                (None, Some(_)) if !below_is_signed => self.blame_file(tile, findings),
                (Some(_), None) if !below_is_signed => self.blame_below(tile, findings),
                _ => {}
            }
            blamed = true;
        }
        if !blamed {
            findings.problem(&self.place.folder.join(CHECKPOINT), AuditProblem::Root);
        }
    }

    fn blame_file(&self, tile: &Tile, findings: &mut Findings) {
        findings.problem(
            &self.place.folder.join(tile.name.path()),
            AuditProblem::Hashes,
        );
    }

    fn blame_below(&self, tile: &Tile, findings: &mut Findings) {
        for name in self.differing(tile) {
            let what = if name.kind == Kind::Entries {
                AuditProblem::Entries
            } else {
                AuditProblem::Exchanged
            };
            findings.problem(&self.place.folder.join(name.path()), what);
        }
    }

    fn blame_both(&self, tile: &Tile, findings: &mut Findings) {
        let own = self.place.folder.join(tile.name.path());
        for name in self.differing(tile) {
            let below = self.place.folder.join(name.path());
            findings.problem(
                &own,
                AuditProblem::Disagrees {
                    other: below.clone(),
                },
            );
            findings.problem(&below, AuditProblem::Disagrees { other: own.clone() });
        }
    }

    /// The files one level down from which other hashes were computed than the tile's file says.
    fn differing(&self, tile: &Tile) -> Vec<Name> {
        let Kind::Hashes(level) = tile.name.kind else {
            return Vec::new();
        };
        let Some(below) = level.checked_sub(1) else {
            return vec![Name {
                kind: Kind::Entries,
                ..tile.name
            }];
        };
        let (Some(computed), Some(file)) = (&tile.computed, &tile.file) else {
            return Vec::new();
        };
        let first = tile.name.index.saturating_mul(TILE_WIDTH as u64);
        (first..)
            .zip(computed.iter().zip(file))
            .filter(|(_, (computed, file))| computed != file)
            .filter_map(|(index, _)| Name::at(Kind::Hashes(below), index, self.head.size))
            .collect()
    }
}
