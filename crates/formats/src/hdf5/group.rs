//! Members of groups: symbol tables of the old kind, link messages of the new one.

use super::{Link, MAX_NAME, Reader, Unread, number};
use crate::paged::PageError;

/// How deep the trees of a group may be.
const MAX_TREE: usize = 16;
/// The most nodes of the tree of one group.
const MAX_NODES: usize = 1 << 14;

impl Reader<'_> {
    /// A symbol table: a tree of nodes whose names lie in a heap.
    pub(super) fn symbol_table(&mut self, path: &str, message: u64) -> Result<(), PageError> {
        let tree = self.address(message)?;
        let heap = self.address(message + self.shape.offsets)?;
        let (Some(tree), Some(heap)) = (tree, heap) else {
            return Ok(());
        };
        if &self.pages.array::<4>(heap)? != b"HEAP" {
            self.unread(Unread::Broken("the names of a group"), heap);
            return Ok(());
        }
        let names = self.address(heap + 8 + 2 * self.shape.lengths)?;
        let Some(names) = names else {
            return Ok(());
        };
        let mut nodes = vec![(tree, 0usize)];
        let mut read = 0;
        while let Some((node, depth)) = nodes.pop() {
            read += 1;
            if depth > MAX_TREE || read > MAX_NODES {
                self.unread(Unread::Limit("members of a group"), node);
                return Ok(());
            }
            match &self.pages.array::<4>(node)? {
                b"TREE" => {
                    let entries = u64::from(self.pages.u16(node + 6)?);
                    let first = node + 8 + 2 * self.shape.offsets + self.shape.lengths;
                    let step = self.shape.lengths + self.shape.offsets;
                    for entry in 0..entries {
                        let child = self.address(first + entry * step)?;
                        nodes.extend(child.map(|child| (child, depth + 1)));
                    }
                }
                b"SNOD" => self.symbols(path, node, names)?,
                _ => self.unread(Unread::Broken("the tree of a group"), node),
            }
        }
        Ok(())
    }

    fn symbols(&mut self, path: &str, node: u64, names: u64) -> Result<(), PageError> {
        let count = u64::from(self.pages.u16(node + 6)?);
        let size = 2 * self.shape.offsets + 24;
        for index in 0..count {
            let entry = node + 8 + index * size;
            let name = number(&self.pages, entry, self.shape.offsets)?;
            let name = self.text(names.saturating_add(name), MAX_NAME as u64)?;
            let header = self.address(entry + self.shape.offsets)?;
            let scratch = entry + 2 * self.shape.offsets + 8;
            if self.pages.u32(scratch - 8)? == 2 {
                let value = u64::from(self.pages.u32(scratch)?);
                let target = self.text(names.saturating_add(value), MAX_NAME as u64)?;
                self.link(Link {
                    path: super::joined(path, &name),
                    file: None,
                    target,
                    offset: entry,
                });
            } else if let Some(header) = header {
                self.child(path, &name, header);
            }
        }
        Ok(())
    }

    /// A link message, in a header or in a heap.
    pub(super) fn link_message(&mut self, path: &str, start: u64) -> Result<(), PageError> {
        let flags = self.pages.u8(start + 1)?;
        let mut at = start + 2;
        let mut kind = 0;
        if flags & 8 != 0 {
            kind = self.pages.u8(at)?;
            at += 1;
        }
        if flags & 4 != 0 {
            at += 8;
        }
        if flags & 0x10 != 0 {
            at += 1;
        }
        let width = 1u64 << (flags & 3);
        let length = number(&self.pages, at, width)?;
        at += width;
        let name = self.text(at, length)?;
        at = self.behind(at, length)?;
        match kind {
            0 => {
                if let Some(header) = self.address(at)? {
                    self.child(path, &name, header);
                }
            }
            1 => {
                let size = u64::from(self.pages.u16(at)?);
                let target = self.text(at + 2, size)?;
                self.link(Link {
                    path: super::joined(path, &name),
                    file: None,
                    target,
                    offset: start,
                });
            }
            64 => {
                let size = u64::from(self.pages.u16(at)?);
                let file = self.text(at + 3, size)?;
                let target = self.text(at + 4 + file.len() as u64, size)?;
                self.link(Link {
                    path: super::joined(path, &name),
                    file: Some(file),
                    target,
                    offset: start,
                });
            }
            _ => self.unread(Unread::Kind("a link"), start),
        }
        Ok(())
    }
}
