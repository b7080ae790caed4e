//! The BLAKE3 tree of one file, made of blocks that may be computed anywhere and come in any order.
//!
//! BLAKE3 is a tree by definition, so its root over a file is what `b3sum` prints, and the nodes on the way are worth
//! keeping: a file is divided into at most [`MAX_PIECES`] *pieces* of one size, a power of two, and the chaining value of
//! each piece is signed. So a difference is told by byte range, a part can be verified without the rest, and one file can be
//! hashed by many threads. Blocks of [`BLOCK`] bytes are what threads do for each other; they fold into pieces and pieces
//! into the root as they come, so memory does not grow with the file.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use blake3::Hasher;
use blake3::hazmat::{HasherExt as _, Mode, merge_subtrees_non_root, merge_subtrees_root};
use domain::Digest;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// Bytes of a block: 256 KiB, so that some for each of many files fit into little memory. Nothing that is signed depends on it.
pub const BLOCK: u64 = 1 << 18;

/// Bytes of the smallest piece: 1 MiB. A file of at most that has no pieces of its own.
pub const LEAST_PIECE: u64 = 1 << 20;

/// The most pieces of a file.
pub const MAX_PIECES: u64 = 1024;

/// A BLAKE3 value: a root or a chaining value. Never joined with a [`Digest`].
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Blake3([u8; 32]);

impl Blake3 {
    /// Takes 32 bytes.
    pub const fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// The 32 bytes.
    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

impl fmt::Display for Blake3 {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The same 64 lower-case digits as a digest has.
        Digest::from_bytes(self.0).fmt(formatter)
    }
}

impl fmt::Debug for Blake3 {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "Blake3({self})")
    }
}

impl FromStr for Blake3 {
    type Err = domain::DigestSyntax;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        text.parse::<Digest>()
            .map(|digest| Self(*digest.as_bytes()))
    }
}

impl Serialize for Blake3 {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Blake3 {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<str>::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

/// What a file's tree is: the root, and the pieces where there are several.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FileTree {
    /// BLAKE3 of the whole file.
    pub root: Blake3,
    /// Chaining values of the pieces, in order; empty where the file is one piece.
    pub pieces: Vec<Blake3>,
}

/// Bytes of a piece of a file of `size` bytes: the smallest power of two from [`LEAST_PIECE`] on that gives few enough.
pub fn piece_size(size: u64) -> u64 {
    size.div_ceil(MAX_PIECES)
        .checked_next_power_of_two()
        .unwrap_or(1 << 63)
        .max(LEAST_PIECE)
}

/// How many pieces are kept of a file of `size` bytes; 0 where it is one piece.
pub fn piece_count(size: u64) -> u64 {
    match size.div_ceil(piece_size(size)) {
        0 | 1 => 0,
        count => count,
    }
}

/// Hashes one block, which begins at `offset`, as an inner part of a larger file.
pub fn block_value(offset: u64, bytes: &[u8]) -> Blake3 {
    let mut block = BlockHasher::new(offset);
    block.update(bytes);
    block.finish_inner()
}

/// One block that comes in parts.
pub struct BlockHasher(Hasher);

impl BlockHasher {
    /// A block that begins at `offset`, a multiple of [`BLOCK`].
    pub fn new(offset: u64) -> Self {
        let mut hasher = Hasher::new();
        // The library wants whole multiples here; blocks begin nowhere else.
        hasher.set_input_offset(offset / BLOCK * BLOCK);
        Self(hasher)
    }

    /// Adds bytes; at most [`BLOCK`] in all.
    pub fn update(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }

    /// The value of the block inside of a larger file.
    pub fn finish_inner(&self) -> Blake3 {
        Blake3(self.0.finalize_non_root())
    }

    /// The root, where the block is the whole file.
    pub fn finish_whole(&self) -> Blake3 {
        Blake3(*self.0.finalize().as_bytes())
    }
}

/// Folds values of equal subtrees, left to right, into their parent; the last may be smaller.
#[derive(Debug, Default)]
struct Folder {
    stack: Vec<[u8; 32]>,
    count: u64,
}

impl Folder {
    fn push(&mut self, value: Blake3) {
        // Merging waits until more comes: only then is the parent known not to be the root.
        while self.stack.len() > self.count.count_ones() as usize {
            self.merge();
        }
        self.stack.push(value.0);
        self.count += 1;
    }

    fn merge(&mut self) {
        if let (Some(right), Some(left)) = (self.stack.pop(), self.stack.pop()) {
            self.stack
                .push(merge_subtrees_non_root(&left, &right, Mode::Hash));
        }
    }

    /// The parent as an inner node; `None` where nothing was pushed.
    fn finish_inner(mut self) -> Option<Blake3> {
        while self.stack.len() > 1 {
            self.merge();
        }
        self.stack.pop().map(Blake3)
    }

    /// The parent as the root; `None` where fewer than two were pushed.
    fn finish_root(mut self) -> Option<Blake3> {
        while self.stack.len() > 2 {
            self.merge();
        }
        match self.stack.as_slice() {
            [left, right] => Some(Blake3(
                *merge_subtrees_root(left, right, Mode::Hash).as_bytes(),
            )),
            _ => None,
        }
    }
}

/// Puts the blocks of one file together.
#[derive(Debug)]
pub struct TreeBuilder {
    size: u64,
    blocks_per_piece: u64,
    /// Blocks that came before their turn.
    early: BTreeMap<u64, Blake3>,
    next: u64,
    piece: Folder,
    pieces: Vec<Blake3>,
    whole: Option<Blake3>,
}

impl TreeBuilder {
    /// For a file of `size` bytes.
    pub fn new(size: u64) -> Self {
        Self {
            size,
            blocks_per_piece: piece_size(size) / BLOCK,
            early: BTreeMap::new(),
            next: 0,
            piece: Folder::default(),
            pieces: Vec::new(),
            whole: None,
        }
    }

    /// Whether the file is one block, whose value is the root.
    pub fn is_one_block(&self) -> bool {
        self.size <= BLOCK
    }

    /// Takes the root of a file of one block.
    pub fn whole(&mut self, root: Blake3) {
        self.whole = Some(root);
    }

    /// Takes the value of block `number`.
    pub fn block(&mut self, number: u64, value: Blake3) {
        self.early.insert(number, value);
        while let Some(value) = self.early.remove(&self.next) {
            self.piece.push(value);
            self.next += 1;
            // Of a file of one piece the blocks fold into the root itself.
            if piece_count(self.size) > 0 && self.next.is_multiple_of(self.blocks_per_piece) {
                self.close_piece();
            }
        }
    }

    fn close_piece(&mut self) {
        let piece = std::mem::take(&mut self.piece);
        self.pieces.extend(piece.finish_inner());
    }

    /// The tree, if all blocks came.
    pub fn finish(mut self) -> Option<FileTree> {
        if self.is_one_block() {
            let pieces = Vec::new();
            return self.whole.map(|root| FileTree { root, pieces });
        }
        if self.next != self.size.div_ceil(BLOCK) {
            return None;
        }
        if piece_count(self.size) == 0 {
            let (root, pieces) = (self.piece.finish_root()?, Vec::new());
            return Some(FileTree { root, pieces });
        }
        self.close_piece();
        let root = root_of(&self.pieces)?;
        Some(FileTree {
            root,
            pieces: self.pieces,
        })
    }
}

/// The root over pieces; `None` for fewer than two. Signed pieces must give the signed root.
pub fn root_of(pieces: &[Blake3]) -> Option<Blake3> {
    let mut all = Folder::default();
    for piece in pieces {
        all.push(*piece);
    }
    all.finish_root()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bytes(count: usize) -> Vec<u8> {
        (0..=250).cycle().step_by(31).take(count).collect()
    }

    fn block() -> usize {
        usize::try_from(BLOCK).unwrap()
    }

    fn tree(bytes: &[u8], backwards: bool) -> FileTree {
        let mut builder = TreeBuilder::new(bytes.len() as u64);
        if builder.is_one_block() {
            let mut block = BlockHasher::new(0);
            block.update(bytes);
            builder.whole(block.finish_whole());
            return builder.finish().unwrap();
        }
        let mut blocks: Vec<_> = bytes.chunks(block()).enumerate().collect();
        if backwards {
            blocks.reverse();
        }
        for (number, block) in blocks {
            let offset = number as u64 * BLOCK;
            builder.block(number as u64, block_value(offset, block));
        }
        builder.finish().unwrap()
    }

    #[test]
    fn the_root_is_what_b3sum_prints_whatever_the_size_and_the_order() {
        let block = block();
        for size in [
            0,
            1,
            1024,
            1025,
            block - 1,
            block,
            block + 1,
            2 * block,
            3 * block + 7,
            4 * block - 1,
            4 * block,
            4 * block + 1,
            9 * block - 1,
            13 * block,
        ] {
            let bytes = bytes(size);
            for backwards in [false, true] {
                let tree = tree(&bytes, backwards);
                assert_eq!(tree.root.0, *blake3::hash(&bytes).as_bytes(), "{size}");
                assert_eq!(tree.pieces.len() as u64, piece_count(size as u64));
                if !tree.pieces.is_empty() {
                    assert_eq!(root_of(&tree.pieces), Some(tree.root));
                }
            }
        }
    }

    #[test]
    fn pieces_of_many_blocks_give_the_root_too() {
        // Blocks of a made-up file whose pieces have four: only the folding is looked at.
        let size = 4096 * BLOCK - 5;
        assert_eq!(piece_size(size), 4 * BLOCK);
        let value = |number: u64| Blake3(*blake3::hash(&number.to_le_bytes()).as_bytes());
        let (mut builder, mut flat) = (TreeBuilder::new(size), Folder::default());
        for number in 0..4096 {
            builder.block(number, value(number));
            flat.push(value(number));
        }
        let tree = builder.finish().unwrap();
        assert_eq!(
            (tree.pieces.len(), Some(tree.root)),
            (1024, flat.finish_root())
        );
    }

    #[test]
    fn a_missing_block_gives_no_tree() {
        let mut builder = TreeBuilder::new(3 * BLOCK);
        builder.block(0, Blake3([0; 32]));
        builder.block(2, Blake3([0; 32]));
        assert!(builder.finish().is_none());
        assert!(TreeBuilder::new(7).finish().is_none());
    }

    #[test]
    fn pieces_are_few_whatever_the_size() {
        for size in [
            0,
            1,
            BLOCK,
            LEAST_PIECE,
            LEAST_PIECE + 1,
            1 << 30,
            (1 << 30) + 1,
            500 << 30,
            u64::MAX,
        ] {
            assert!(piece_count(size) <= MAX_PIECES, "{size}");
            assert!(piece_size(size).is_power_of_two());
        }
        assert_eq!(piece_count(LEAST_PIECE), 0);
        assert_eq!(piece_count(LEAST_PIECE + 1), 2);
    }
}
