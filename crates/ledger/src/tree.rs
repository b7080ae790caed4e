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
        Some(Self { size, levels })
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
            }
            let Some(hashes) = self.levels.get_mut(at) else {
                break;
            };
            hashes.push(carry);
            if hashes.len() < TILE_WIDTH {
                break;
            }
            let hashes = std::mem::take(hashes);
            carry = fold(&hashes);
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
        let mut right: Option<Digest> = None;
        for hashes in &self.levels {
            // The hashes are perfect subtrees in order; of w of them, each bit of w is again one perfect subtree, and
            // the root takes all of them together from the right.
            let mut end = hashes.len();
            while end > 0 {
                let start = end & (end - 1);
                let peak = fold(hashes.get(start..end).unwrap_or_default());
                right = Some(right.map_or(peak, |right| node(&peak, &right)));
                end = start;
            }
        }
        right.unwrap_or_else(empty_root)
    }
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
