//! RFC 6962 hashing: a list of entries has one root, and a changed, added or removed entry gives another.
//!
//! The tree is cut into tiles of 256 hashes, eight levels of nodes in one (C2SP tlog-tiles). Here are only digests; where
//! tiles lie is [`crate::tile`]'s business.

use domain::{Digest, Hasher};

/// Hashes in a full tile, entries in a full bundle.
pub const TILE_WIDTH: usize = 256;

/// The digest of an entry as a leaf: SHA-256 of `0x00` and the entry.
pub fn leaf(entry: &[u8]) -> Digest {
    let mut hasher = Hasher::new();
    hasher.update(&[0]);
    hasher.update(entry);
    hasher.finish()
}

/// The digest of two neighbours: SHA-256 of `0x01` and both.
pub fn node(left: &Digest, right: &Digest) -> Digest {
    let mut hasher = Hasher::new();
    hasher.update(&[1]);
    hasher.update(left.as_bytes());
    hasher.update(right.as_bytes());
    hasher.finish()
}

/// The root of the tree without entries: SHA-256 of nothing.
pub fn empty_root() -> Digest {
    Digest::of(b"")
}

/// The digest over a full tile, which is one hash of the tile above. Of any other power of two likewise.
pub fn fold(hashes: &[Digest]) -> Digest {
    match hashes {
        [] => empty_root(),
        [one] => *one,
        _ => {
            let (left, right) = hashes.split_at(hashes.len().next_power_of_two() / 2);
            node(&fold(left), &fold(right))
        }
    }
}

/// The right edge of a tree: for each level of tiles the hashes of its last, not yet full tile. It determines the root
/// and is all that is needed to go on appending.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Edge {
    size: u64,
    levels: Vec<Vec<Digest>>,
    /// For each level the roots of the perfect subtrees that its hashes make, widest first: one for each bit of their
    /// number. They follow from the hashes; with them an entry and a root cost a few digests and not a tile's.
    peaks: Vec<Vec<Digest>>,
}

/// A tile that became full: its level, its index within the level, its 256 hashes.
pub type FullTile = (u8, u64, Vec<Digest>);

impl Edge {
    /// Puts an edge together from its hashes, lowest level first; `None` when one of them is a full tile or more.
    pub fn from_levels(mut levels: Vec<Vec<Digest>>) -> Option<Self> {
        let mut size = 0_u64;
        for (level, hashes) in levels.iter().enumerate() {
            let shift = u32::try_from(level).ok()?.checked_mul(8)?;
            let weight = 1_u64.checked_shl(shift).filter(|_| shift < 64);
            if hashes.len() >= TILE_WIDTH || (weight.is_none() && !hashes.is_empty()) {
                return None;
            }
            size = size.checked_add((hashes.len() as u64).checked_mul(weight.unwrap_or(0))?)?;
        }
        while levels.last().is_some_and(Vec::is_empty) {
            levels.pop();
        }
        let peaks = levels.iter().map(|hashes| peaks_of(hashes)).collect();
        Some(Self {
            size,
            levels,
            peaks,
        })
    }

    /// How many entries the tree has.
    pub fn size(&self) -> u64 {
        self.size
    }

    /// Appends a leaf; gives the tiles that became full by it, lowest first.
    pub fn push(&mut self, leaf: Digest) -> Vec<FullTile> {
        let mut full = Vec::new();
        self.size += 1;
        let mut carry = leaf;
        for level in 0_u8.. {
            let at = usize::from(level);
            if self.levels.len() <= at {
                self.levels.push(Vec::new());
                self.peaks.push(Vec::new());
            }
            let (Some(hashes), Some(peaks)) = (self.levels.get_mut(at), self.peaks.get_mut(at))
            else {
                break;
            };
            hashes.push(carry);
            add_peak(peaks, carry, hashes.len());
            if hashes.len() < TILE_WIDTH {
                break;
            }
            let hashes = std::mem::take(hashes);
            // The peaks of a full tile are one: the hash above.
            let Some(above) = std::mem::take(peaks).pop() else {
                break;
            };
            carry = above;
            let index = self
                .size
                .checked_shr(8 * (u32::from(level) + 1))
                .unwrap_or(0)
                .saturating_sub(1);
            full.push((level, index, hashes));
        }
        full
    }

    /// The hashes of the last tile of each level, lowest level first; a level whose last tile is full has none.
    pub fn levels(&self) -> &[Vec<Digest>] {
        &self.levels
    }

    /// The root of the tree.
    pub fn root(&self) -> Digest {
        // The root takes all peaks together, from the right.
        let mut right: Option<Digest> = None;
        for peak in self.peaks.iter().flat_map(|peaks| peaks.iter().rev()) {
            right = Some(right.map_or(*peak, |right| node(peak, &right)));
        }
        right.unwrap_or_else(empty_root)
    }
}

/// Adds the last of `count` hashes to the roots of the perfect subtrees over those before it: each time two are of the same
/// width, they become one.
fn add_peak(peaks: &mut Vec<Digest>, hash: Digest, count: usize) {
    let mut peak = hash;
    for _ in 0..count.trailing_zeros() {
        let Some(left) = peaks.pop() else { break };
        peak = node(&left, &peak);
    }
    peaks.push(peak);
}

fn peaks_of(hashes: &[Digest]) -> Vec<Digest> {
    let mut peaks = Vec::new();
    for (before, hash) in hashes.iter().enumerate() {
        add_peak(&mut peaks, *hash, before + 1);
    }
    peaks
}

#[cfg(test)]
mod tests {
    use super::*;

    /// RFC 6962 section 2.1 as it is written there: split at the largest power of two below the length.
    fn by_definition(leaves: &[Digest]) -> Digest {
        match leaves.len() {
            0 => Digest::of(b""),
            1 => leaves[0],
            n => {
                let mut k = 1;
                while k * 2 < n {
                    k *= 2;
                }
                node(&by_definition(&leaves[..k]), &by_definition(&leaves[k..]))
            }
        }
    }

    #[test]
    fn the_root_is_the_one_that_rfc_6962_defines_at_every_size() {
        let mut edge = Edge::default();
        let mut leaves = Vec::new();
        for index in 0..1_300_u32 {
            if index < 300 || index % 61 == 0 || index % 256 < 2 {
                assert_eq!(edge.root(), by_definition(&leaves), "size {index}");
            }
            leaves.push(leaf(&index.to_be_bytes()));
            edge.push(leaves[leaves.len() - 1]);
            assert_eq!(edge.size(), leaves.len() as u64);
        }
    }

    #[test]
    fn full_tiles_come_once_each_in_order_on_both_levels() {
        let mut edge = Edge::default();
        let full: Vec<_> = (0..65_536 + 256 * 3)
            .flat_map(|_| edge.push(leaf(b"x")))
            .collect();
        let names: Vec<_> = full
            .iter()
            .map(|(level, index, hashes)| (*level, *index, hashes.len()))
            .collect();
        let mut expected: Vec<_> = (0..256).map(|index| (0, index, 256)).collect();
        expected.push((1, 0, 256));
        expected.extend((256..259).map(|index| (0, index, 256)));
        assert_eq!(names, expected);
        assert_eq!(
            edge.levels().iter().map(Vec::len).collect::<Vec<_>>(),
            [0, 3, 1]
        );
    }

    #[test]
    fn an_edge_comes_back_from_its_levels_and_a_full_level_is_refused() {
        let mut edge = Edge::default();
        for index in 0..777_u32 {
            edge.push(leaf(&index.to_be_bytes()));
        }
        assert_eq!(
            Edge::from_levels(edge.levels().to_vec()),
            Some(edge.clone())
        );
        assert_eq!(Edge::from_levels(vec![vec![leaf(b""); 256]]), None);
        let mut deep = vec![Vec::new(); 8];
        deep.push(vec![leaf(b"")]);
        assert_eq!(Edge::from_levels(deep), None);
    }
}
