//! Computes the tree of one log again, from the entries up to the signed root, and says which file broke it.
//!
//! When a file of hashes differs from what is computed below it, the hash above (in the end the signed root) tells which of
//! the two is the original. One changed file is therefore named as that file, and not as its whole neighbourhood.

use domain::Digest;

use super::{AuditProblem, Findings, Place};
use crate::tile::{self, Kind, MAX_BUNDLE_BYTES, MAX_TILE_BYTES, Name};
use crate::tiles::CHECKPOINT;
use crate::tree::{Edge, TILE_WIDTH, fold, leaf};
use crate::tree_head::TreeHead;

/// What is told of every entry: where to put problems, its index, its bytes.
type Visit<'a> = dyn FnMut(&mut Findings, u64, &[u8]) + 'a;

/// Checks all tiles and bundles that a log with this head must have.
pub(super) fn audit(
    place: &Place<'_>,
    head: TreeHead,
    findings: &mut Findings,
    visit: &mut Visit<'_>,
) {
    let mut climb = Climb {
        place,
        head,
        levels: Vec::new(),
        edges: Vec::new(),
    };
    for index in 0..head.size.div_ceil(TILE_WIDTH as u64) {
        if findings.is_full() {
            findings.problem(&place.folder, AuditProblem::GivenUp);
            return;
        }
        let Some(name) = Name::at(Kind::Hashes(0), index, head.size) else {
            break;
        };
        let file = climb.hashes(name, findings);
        let computed = climb.leaves(name, file.as_deref(), findings, visit);
        climb.settle(
            Tile {
                name,
                computed,
                file,
            },
            findings,
        );
    }
    climb.finish(findings);
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
    /// Computes the leaves of a bundle. Only entries that agree with their hash, if there is one, are told of: what a
    /// changed entry refers to is not evidence of anything.
    fn leaves(
        &self,
        tile: Name,
        hashes: Option<&[Digest]>,
        findings: &mut Findings,
        visit: &mut Visit<'_>,
    ) -> Option<Vec<Digest>> {
        let name = Name {
            kind: Kind::Entries,
            ..tile
        };
        let file = self.place.folder.join(name.path());
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
        for (at, entry) in entries.iter().enumerate() {
            if hashes.is_none_or(|hashes| hashes.get(at) == leaves.get(at)) {
                visit(findings, first.saturating_add(at as u64), entry);
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

    fn hashes(&self, name: Name, findings: &mut Findings) -> Option<Vec<Digest>> {
        let file = self.place.folder.join(name.path());
        let bytes = findings.read(self.place.root, &file, MAX_TILE_BYTES)?;
        let hashes = tile::parse_hashes(&bytes, name.width);
        if hashes.is_none() {
            findings.problem(&file, AuditProblem::Length);
        }
        hashes
    }

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
            let file = self.hashes(name, findings);
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
