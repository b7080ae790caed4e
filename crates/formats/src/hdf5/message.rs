//! What the messages of an object say: attributes, storage, filters.

use super::header::Message;
use super::{Attribute, Dataset, MAX_NAME, MAX_RECORDS, Reader, Unread, number};
use crate::paged::PageError;
use crate::protobuf::Span;

/// Files that are kept of one dataset.
const MAX_FILES: usize = 64;
/// Filters that the library brings: deflate, shuffle, checksum, szip, n-bit, scale-offset.
const OWN_FILTERS: u16 = 255;
/// The most objects of one collection of the global heap that are passed over.
const MAX_HEAP_OBJECTS: usize = 1 << 16;

/// A type, as far as it matters.
#[derive(Debug, Clone, Copy)]
enum Type {
    Text(u64),
    VariableText,
    Other(u64),
}

impl Reader<'_> {
    pub(super) fn object(&mut self, path: &str, place: u64) -> Result<(), PageError> {
        let mut dataset = Dataset {
            path: path.to_owned(),
            offset: place,
            ..Dataset::default()
        };
        let mut elements = None;
        let mut size = 0;
        for message in self.messages(place)? {
            match message.kind {
                0x02 => self.dense_links(path, message.start)?,
                0x06 if !message.shared => self.link_message(path, message.start)?,
                0x0c if !message.shared => self.attribute(path, message.start)?,
                0x15 => self.dense_attributes(path, message.start)?,
                0x11 => self.symbol_table(path, message.start)?,
                0x01 if !message.shared => elements = self.elements(message.start)?,
                0x03 if !message.shared => {
                    size = match self.datatype(message.start)? {
                        Type::Text(size) | Type::Other(size) => size,
                        Type::VariableText => 16,
                    };
                }
                0x07 => self.external_files(message, &mut dataset)?,
                0x08 => self.layout(message, &mut dataset)?,
                0x0b if !message.shared => self.filters(message, &mut dataset)?,
                0x06 | 0x0c => self.unread(Unread::Kind("a shared message"), message.start),
                _ => {}
            }
        }
        if let Some(elements) = elements {
            let bytes = elements.saturating_mul(size).min(self.pages.len());
            self.file.raw_bytes = self.file.raw_bytes.saturating_add(bytes);
        }
        if !dataset.files.is_empty() || !dataset.plugins.is_empty() {
            if self.file.datasets.len() < MAX_RECORDS {
                self.file.datasets.push(dataset);
            } else {
                self.file.left_out += 1;
            }
        }
        Ok(())
    }

    /// The number of elements of a dataspace; `None` if it is the null one.
    fn elements(&self, start: u64) -> Result<Option<u64>, PageError> {
        let version = self.pages.u8(start)?;
        let rank = u64::from(self.pages.u8(start + 1)?);
        let (kind, first) = match version {
            1 => (1, start + 8),
            _ => (self.pages.u8(start + 3)?, start + 4),
        };
        if kind == 2 {
            return Ok(None);
        }
        let mut elements = 1u64;
        for index in 0..rank {
            let size = self.length(first + index * self.shape.lengths)?;
            elements = elements.saturating_mul(size);
        }
        Ok(Some(elements))
    }

    fn datatype(&self, start: u64) -> Result<Type, PageError> {
        let class = self.pages.u8(start)? & 0x0f;
        let size = u64::from(self.pages.u32(start + 4)?);
        let text = class == 9 && self.pages.u8(start + 1)? & 0x0f == 1;
        Ok(match class {
            3 => Type::Text(size),
            _ if text => Type::VariableText,
            _ => Type::Other(size),
        })
    }

    /// An attribute message, in a header or in a heap.
    pub(super) fn attribute(&mut self, path: &str, start: u64) -> Result<(), PageError> {
        let version = self.pages.u8(start)?;
        let flags = self.pages.u8(start + 1)?;
        let size = |index: u64| self.pages.u16(start + 2 + 2 * index).map(u64::from);
        let (name_size, type_size, space_size) = (size(0)?, size(1)?, size(2)?);
        let padded = |size: u64| {
            if version == 1 {
                size.next_multiple_of(8)
            } else {
                size
            }
        };
        let name_at = match version {
            1 | 2 => start + 8,
            3 => start + 9,
            _ => {
                self.unread(Unread::Kind("an attribute"), start);
                return Ok(());
            }
        };
        let name = self.text(name_at, name_size)?;
        let type_at = name_at + padded(name_size);
        let space_at = type_at + padded(type_size);
        let value_at = space_at + padded(space_size);
        let shared = version > 1 && flags & 3 != 0;
        let text = if shared {
            None
        } else {
            self.attribute_text(type_at, space_at, value_at)?
        };
        if self.file.attributes.len() < MAX_RECORDS {
            self.file.attributes.push(Attribute {
                object: path.to_owned(),
                name,
                text,
                offset: start,
            });
        } else {
            self.file.left_out += 1;
        }
        Ok(())
    }

    fn attribute_text(
        &self,
        type_at: u64,
        space_at: u64,
        value_at: u64,
    ) -> Result<Option<Span>, PageError> {
        if self.elements(space_at)? != Some(1) {
            return Ok(None);
        }
        match self.datatype(type_at)? {
            Type::Text(size) => Ok(Some(Span {
                start: value_at,
                end: value_at.saturating_add(size),
            })),
            Type::VariableText => self.heap_text(value_at),
            Type::Other(_) => Ok(None),
        }
    }

    /// A text in the global heap: its length, the collection and the number in it stand at `at`.
    fn heap_text(&self, at: u64) -> Result<Option<Span>, PageError> {
        let length = u64::from(self.pages.u32(at)?);
        let object = self.heap_object(at + 4)?;
        Ok(object.map(|object| Span {
            start: object.start,
            end: object.end.min(object.start.saturating_add(length)),
        }))
    }

    /// The object of the global heap that collection and number at `at` mean.
    fn heap_object(&self, at: u64) -> Result<Option<Span>, PageError> {
        let Some(collection) = self.address(at)? else {
            return Ok(None);
        };
        let wanted = self.pages.u32(at + self.shape.offsets)?;
        if &self.pages.array::<4>(collection)? != b"GCOL" {
            return Ok(None);
        }
        let size = self.length(collection + 8)?;
        let end = collection.saturating_add(size);
        let mut object = collection + 8 + self.shape.lengths;
        for _ in 0..MAX_HEAP_OBJECTS {
            let start = object + 8 + self.shape.lengths;
            if start > end {
                break;
            }
            let index = u32::from(self.pages.u16(object)?);
            let size = self.length(object + 8)?;
            if index == wanted && index != 0 {
                let end = start.saturating_add(size);
                return Ok(Some(Span { start, end }));
            }
            if index == 0 {
                break;
            }
            let padded = size.checked_next_multiple_of(8).unwrap_or(u64::MAX);
            object = self.behind(start, padded)?;
        }
        Ok(None)
    }

    fn external_files(&mut self, message: Message, dataset: &mut Dataset) -> Result<(), PageError> {
        let used = u64::from(self.pages.u16(message.start + 6)?);
        let Some(heap) = self.address(message.start + 8)? else {
            return Ok(());
        };
        let names = self.address(heap + 8 + 2 * self.shape.lengths)?;
        let Some(names) = names else {
            return Ok(());
        };
        let first = message.start + 8 + self.shape.offsets;
        for slot in 0..used.min(MAX_FILES as u64) {
            let name = self.length(first + slot * 3 * self.shape.lengths)?;
            let name = self.text(names.saturating_add(name), MAX_NAME as u64)?;
            dataset.files.push(name);
        }
        Ok(())
    }

    fn layout(&mut self, message: Message, dataset: &mut Dataset) -> Result<(), PageError> {
        let version = self.pages.u8(message.start)?;
        let is_virtual = version >= 3 && self.pages.u8(message.start + 1)? == 3;
        if !is_virtual {
            return Ok(());
        }
        let Some(mapping) = self.heap_object(message.start + 2)? else {
            self.unread(Unread::Broken("a virtual dataset"), message.start);
            return Ok(());
        };
        // A file's name stands first in every entry; only the first entry's place is known without reading selections.
        let count = self.length(mapping.start + 1)?;
        let first = mapping.start + 1 + self.shape.lengths;
        if count > 0 {
            dataset.files.push(self.text(first, MAX_NAME as u64)?);
        }
        if count > 1 {
            self.unread(
                Unread::Kind("the further sources of a virtual dataset"),
                mapping.start,
            );
        }
        Ok(())
    }

    fn filters(&mut self, message: Message, dataset: &mut Dataset) -> Result<(), PageError> {
        let version = self.pages.u8(message.start)?;
        let count = self.pages.u8(message.start + 1)?;
        let mut at = message.start + if version == 1 { 8 } else { 2 };
        for _ in 0..count.min(32) {
            let id = self.pages.u16(at)?;
            let named = version == 1 || id > OWN_FILTERS;
            let name = if named {
                u64::from(self.pages.u16(at + 2)?)
            } else {
                0
            };
            at += if named { 4 } else { 2 };
            let values = u64::from(self.pages.u16(at + 2)?);
            let name = if version == 1 {
                name.next_multiple_of(8)
            } else {
                name
            };
            at += 4 + name + 4 * values;
            if version == 1 && values % 2 == 1 {
                at += 4;
            }
            if id > OWN_FILTERS {
                dataset.plugins.push(id);
            }
        }
        Ok(())
    }

    /// A number of `width` bytes.
    pub(super) fn wide(&self, offset: u64, width: u64) -> Result<u64, PageError> {
        number(&self.pages, offset, width)
    }
}
