//! Proofs of RFC 6962: that an entry is in a tree, and that a tree begins with another. Pure.
//!
//! A proof is a list of hashes, at most 64. Making one needs the roots of subtrees, which come from whoever has the tiles;
//! checking one needs nothing but what is in the signed heads. Both are loops over the bits of the sizes: nothing recurses.

use domain::Digest;

use crate::tree::{empty_root, node};

/// The most hashes that a proof can have.
pub const MAX_HASHES: usize = 64;

/// The ranges of entries whose roots are the inclusion proof of entry `index` in a tree of `size`, lowest first; `None`
/// when the tree has no such entry.
pub fn inclusion_ranges(index: u64, size: u64) -> Option<Vec<(u64, u64)>> {
    if index >= size {
        return None;
    }
    let mut ranges = Vec::new();
    let (mut start, mut end) = (0, size);
    while end - start > 1 {
        let middle = start + split(end - start);
        if index < middle {
            ranges.push((middle, end));
            end = middle;
        } else {
            ranges.push((start, middle));
            start = middle;
        }
    }
    ranges.reverse();
    Some(ranges)
}

/// The ranges whose roots are the proof that a tree of `size` begins with its first `old` entries; `None` when it is not so
/// long, or `old` is nothing, with which every tree begins.
pub fn consistency_ranges(old: u64, size: u64) -> Option<Vec<(u64, u64)>> {
    if old == 0 || old > size {
        return None;
    }
    let mut ranges = Vec::new();
    let (mut start, mut end) = (0, size);
    // The part that ends where the old tree ends is known to who has the old root only if it is that whole tree.
    while end != old {
        let middle = start + split(end - start);
        if old <= middle {
            ranges.push((middle, end));
            end = middle;
        } else {
            ranges.push((start, middle));
            start = middle;
        }
    }
    if start > 0 {
        ranges.push((start, end));
    }
    ranges.reverse();
    Some(ranges)
}

/// Where RFC 6962 splits a tree of so many entries, two at least: the largest power of two below.
fn split(count: u64) -> u64 {
    1 << (u64::BITS - 1 - (count - 1).leading_zeros())
}

/// Whether `proof` shows that the entry with this leaf digest is number `index` of the tree.
pub fn is_included(leaf: Digest, index: u64, size: u64, proof: &[Digest], root: Digest) -> bool {
    if index >= size {
        return false;
    }
    let (mut at, mut last, mut hash) = (index, size - 1, leaf);
    for other in proof {
        if last == 0 {
            return false;
        }
        if at & 1 == 1 || at == last {
            hash = node(other, &hash);
            while at & 1 == 0 && at != 0 {
                at >>= 1;
                last >>= 1;
            }
        } else {
            hash = node(&hash, other);
        }
        at >>= 1;
        last >>= 1;
    }
    last == 0 && hash == root
}

/// A tree: its size and root.
pub type Tree = (u64, Digest);

/// Whether `proof` shows that the tree `new` begins with the tree `old`.
pub fn is_consistent(old: Tree, new: Tree, proof: &[Digest]) -> bool {
    let ((old_size, old_root), (new_size, new_root)) = (old, new);
    if old_size > new_size {
        return false;
    }
    if old_size == 0 {
        return proof.is_empty() && old_root == empty_root();
    }
    if old_size == new_size {
        return proof.is_empty() && old_root == new_root;
    }
    // An old tree that is a whole subtree of the new one is the first hash itself.
    let known = old_size.is_power_of_two().then_some(old_root);
    let mut hashes = known.iter().chain(proof);
    let Some(first) = hashes.next().copied() else {
        return false;
    };
    let (mut at, mut last) = (old_size - 1, new_size - 1);
    while at & 1 == 1 {
        at >>= 1;
        last >>= 1;
    }
    let (mut of_old, mut of_new) = (first, first);
    for other in hashes {
        if last == 0 {
            return false;
        }
        if at & 1 == 1 || at == last {
            of_old = node(other, &of_old);
            of_new = node(other, &of_new);
            while at & 1 == 0 && at != 0 {
                at >>= 1;
                last >>= 1;
            }
        } else {
            of_new = node(&of_new, other);
        }
        at >>= 1;
        last >>= 1;
    }
    last == 0 && of_old == old_root && of_new == new_root
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tree::{Edge, leaf};

    fn leaves(count: u64) -> Vec<Digest> {
        (0..count).map(|at| leaf(&at.to_be_bytes())).collect()
    }

    fn root(leaves: &[Digest]) -> Digest {
        let mut edge = Edge::default();
        for leaf in leaves {
            edge.push(*leaf);
        }
        edge.root()
    }

    fn roots(leaves: &[Digest], ranges: &[(u64, u64)]) -> Vec<Digest> {
        let at = |position: u64| usize::try_from(position).unwrap();
        ranges
            .iter()
            .map(|(start, end)| root(&leaves[at(*start)..at(*end)]))
            .collect()
    }

    #[test]
    fn every_entry_of_every_small_tree_is_proved_and_nothing_else() {
        let all = leaves(70);
        for size in 1..=70_u64 {
            let leaves = &all[..usize::try_from(size).unwrap()];
            let whole = root(leaves);
            for index in 0..size {
                let proof = roots(leaves, &inclusion_ranges(index, size).unwrap());
                let own = leaves[usize::try_from(index).unwrap()];
                assert!(is_included(own, index, size, &proof, whole));
                let other = (index + 1) % size;
                assert!(size == 1 || !is_included(own, other, size, &proof, whole));
                assert!(!is_included(leaf(b"?"), index, size, &proof, whole));
                assert!(!is_included(own, index, size, &proof, leaf(b"?")));
                if let Some((_, shorter)) = proof.split_last() {
                    assert!(!is_included(own, index, size, shorter, whole));
                }
                let longer = [&proof[..], &[own]].concat();
                assert!(!is_included(own, index, size, &longer, whole));
            }
            assert_eq!(inclusion_ranges(size, size), None);
        }
    }

    #[test]
    fn every_beginning_of_every_small_tree_is_proved_and_nothing_else() {
        let all = leaves(70);
        for size in 1..=70_u64 {
            let new = (size, root(&all[..usize::try_from(size).unwrap()]));
            for old_size in 1..=size {
                let old = (old_size, root(&all[..usize::try_from(old_size).unwrap()]));
                let proof = roots(&all, &consistency_ranges(old_size, size).unwrap());
                assert!(is_consistent(old, new, &proof), "{old_size} {size}");
                assert!(!is_consistent((old_size, leaf(b"?")), new, &proof));
                assert!(!is_consistent(old, (size, leaf(b"?")), &proof));
                let longer = [&proof[..], &[new.1]].concat();
                assert!(!is_consistent(old, new, &longer));
                for at in 0..proof.len() {
                    let mut changed = proof.clone();
                    changed[at] = leaf(b"?");
                    assert!(!is_consistent(old, new, &changed));
                }
            }
            assert!(is_consistent((0, empty_root()), new, &[]));
            assert_eq!(consistency_ranges(size + 1, size), None);
        }
    }

    #[test]
    fn the_largest_trees_have_proofs_of_at_most_64_hashes() {
        for index in [0, 1, u64::MAX / 2, u64::MAX - 1] {
            assert!(inclusion_ranges(index, u64::MAX).unwrap().len() <= MAX_HASHES);
            assert!(consistency_ranges(index + 1, u64::MAX).unwrap().len() <= MAX_HASHES);
        }
    }
}
