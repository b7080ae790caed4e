//! Groups and objects with very many members: their links and attributes lie in a fractal heap, named by a tree.
//!
//! The tree's leaves hold numbers of the heap; a number is an offset in a space that the heap lays out in blocks of
//! doubling size. Trees of more than two levels and heaps with filters are told as unread.

use super::{Reader, Unread};
use crate::paged::PageError;

/// The most members that are read of one object.
const MAX_MEMBERS: u64 = 1 << 16;
/// How deep the blocks of a heap may nest.
const MAX_NESTING: usize = 8;
/// Bytes of a tree's node around its records: signature, version, kind, checksum.
const NODE_BYTES: u64 = 10;

/// A fractal heap.
#[derive(Debug, Clone, Copy)]
struct Heap {
    offset_width: u64,
    length_width: u64,
    table_width: u64,
    first_block: u64,
    largest_block: u64,
    root: u64,
    rows: u64,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Member {
    Link,
    Attribute,
}

impl Reader<'_> {
    pub(super) fn dense_links(&mut self, path: &str, message: u64) -> Result<(), PageError> {
        let at = message
            + if self.pages.u8(message + 1)? & 1 != 0 {
                10
            } else {
                2
            };
        self.dense(path, at, Member::Link)
    }

    pub(super) fn dense_attributes(&mut self, path: &str, message: u64) -> Result<(), PageError> {
        let at = message
            + if self.pages.u8(message + 1)? & 1 != 0 {
                4
            } else {
                2
            };
        self.dense(path, at, Member::Attribute)
    }

    /// The addresses of heap and tree stand at `at`.
    fn dense(&mut self, path: &str, at: u64, member: Member) -> Result<(), PageError> {
        let heap = self.address(at)?;
        let tree = self.address(at + self.shape.offsets)?;
        let (Some(heap_at), Some(tree)) = (heap, tree) else {
            return Ok(());
        };
        let Some(heap) = self.heap(heap_at)? else {
            self.unread(Unread::Kind("a heap of names"), heap_at);
            return Ok(());
        };
        for id in self.tree(tree, member)? {
            match self.managed(&heap, id)? {
                Some(place) if member == Member::Link => self.link_message(path, place)?,
                Some(place) => self.attribute(path, place)?,
                None => self.unread(Unread::Kind("a member in a heap"), id),
            }
        }
        Ok(())
    }

    fn heap(&self, at: u64) -> Result<Option<Heap>, PageError> {
        if &self.pages.array::<4>(at)? != b"FRHP" {
            return Ok(None);
        }
        let filtered = self.pages.u16(at + 7)? != 0;
        let (lengths, offsets) = (self.shape.lengths, self.shape.offsets);
        let largest_managed = u64::from(self.pages.u32(at + 10)?);
        // Twelve numbers about sizes and free space stand between the head and the table.
        let table = at + 14 + 10 * lengths + 2 * offsets;
        let first_block = self.length(table + 2)?;
        let largest_block = self.length(table + 2 + lengths)?;
        let bits = u64::from(self.pages.u16(table + 2 + 2 * lengths)?);
        let root = self.address(table + 6 + 2 * lengths)?;
        let rows = u64::from(self.pages.u16(table + 6 + 2 * lengths + offsets)?);
        let Some(root) = root.filter(|_| !filtered && first_block.is_power_of_two()) else {
            return Ok(None);
        };
        Ok(Some(Heap {
            offset_width: bits.div_ceil(8).min(8),
            length_width: width_of(largest_block.min(largest_managed)),
            table_width: u64::from(self.pages.u16(table)?),
            first_block,
            largest_block,
            root,
            rows,
        }))
    }

    /// Places of the heap's numbers in the leaves of the tree at `at`.
    fn tree(&mut self, at: u64, member: Member) -> Result<Vec<u64>, PageError> {
        let node_size = u64::from(self.pages.u32(at + 6)?);
        let record = u64::from(self.pages.u16(at + 10)?);
        let depth = self.pages.u16(at + 12)?;
        let root = self.address(at + 16)?;
        let count = u64::from(self.pages.u16(at + 16 + self.shape.offsets)?);
        let sound = &self.pages.array::<4>(at)? == b"BTHD" && record > 0;
        let Some(root) = root.filter(|_| sound && depth <= 1) else {
            self.unread(Unread::Kind("a tree of names"), at);
            return Ok(Vec::new());
        };
        let id = if member == Member::Link { 4 } else { 0 };
        let mut ids = Vec::new();
        let mut leaf = |node: u64, records: u64| {
            let free = MAX_MEMBERS.saturating_sub(ids.len() as u64);
            ids.extend((0..records.min(free)).map(|index| node + 6 + index * record + id));
        };
        if depth == 0 {
            leaf(root, count);
            return Ok(ids);
        }
        leaf(root, count);
        let most = node_size.saturating_sub(NODE_BYTES) / record;
        let step = self.shape.offsets + width_of(most);
        let pointers = root + 6 + count * record;
        for index in 0..=count {
            let pointer = pointers + index * step;
            let records = self.wide(pointer + self.shape.offsets, width_of(most))?;
            if let Some(node) = self.address(pointer)? {
                leaf(node, records.min(most));
            }
        }
        Ok(ids)
    }

    /// Where the object lies whose number stands at `id`.
    fn managed(&self, heap: &Heap, id: u64) -> Result<Option<u64>, PageError> {
        if self.pages.u8(id)? & 0x30 != 0 {
            return Ok(None);
        }
        let offset = self.wide(id + 1, heap.offset_width)?;
        if self.wide(id + 1 + heap.offset_width, heap.length_width)? == 0 {
            return Ok(None);
        }
        if heap.rows == 0 {
            return self.behind(heap.root, offset).map(Some);
        }
        let mut block = heap.root;
        let mut inside = offset;
        for _ in 0..MAX_NESTING {
            let Some((row, column, start, size)) = heap.cell(inside) else {
                return Ok(None);
            };
            let entries = block + 5 + self.shape.offsets + heap.offset_width;
            let entry = row
                .checked_mul(heap.table_width)
                .and_then(|index| index.checked_add(column));
            let entry = entry.and_then(|index| index.checked_mul(self.shape.offsets));
            let Some(entry) = entry.and_then(|entry| entry.checked_add(entries)) else {
                return Ok(None);
            };
            let Some(child) = self.address(entry)? else {
                return Ok(None);
            };
            inside -= start;
            if size <= heap.largest_block {
                return self.behind(child, inside).map(Some);
            }
            block = child;
        }
        Ok(None)
    }
}

impl Heap {
    /// Row, column, first offset and size of the block that holds `offset`.
    fn cell(&self, offset: u64) -> Option<(u64, u64, u64, u64)> {
        let mut start = 0u64;
        let mut size = self.first_block;
        for row in 0..64 {
            let whole = size.checked_mul(self.table_width)?;
            if offset < start.checked_add(whole)? {
                let column = (offset - start) / size;
                return Some((row, column, start + column * size, size));
            }
            start += whole;
            if row > 0 {
                size = size.checked_mul(2)?;
            }
        }
        None
    }
}

/// Bytes that numbers up to `most` need.
fn width_of(most: u64) -> u64 {
    u64::from(64 - most.max(1).leading_zeros()).div_ceil(8)
}
