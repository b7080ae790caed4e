//! FlatBuffers without their schema: tables, vectors and texts, reached by checked offsets.
//!
//! Everything in such a file is an offset that its reader trusts. Here each one is followed only within the file, and what
//! leads out of it is an error with its place. <https://flatbuffers.dev/internals/>

use crate::ReadAt;
use crate::paged::{PageError, Pages};

/// The longest text that is kept, in bytes.
pub const MAX_TEXT: usize = 1024;

/// A file of this kind.
pub struct Flat<'a> {
    pages: Pages<'a>,
    start: u64,
    end: u64,
}

/// A table: where it and its list of fields stand.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Table {
    position: u64,
    fields: u64,
    size: u64,
}

/// A vector of anything: where its first element stands, and how many there are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Vector {
    /// Place of the first element.
    pub start: u64,
    /// Number of elements.
    pub count: u64,
}

impl Table {
    /// Where it stands in the file.
    pub const fn offset(self) -> u64 {
        self.position
    }
}

impl<'a> Flat<'a> {
    /// The buffer that starts at byte `start` of `input`.
    pub fn new(input: &'a dyn ReadAt, start: u64) -> Self {
        Self {
            pages: Pages::new(input),
            start,
            end: input.len(),
        }
    }

    /// The bytes behind it.
    pub fn pages(&self) -> &Pages<'a> {
        &self.pages
    }

    /// The table at the root.
    pub fn root(&self) -> Result<Table, PageError> {
        self.table_at(self.follow(self.start)?)
    }

    fn follow(&self, place: u64) -> Result<u64, PageError> {
        let target = place.checked_add(u64::from(self.pages.u32(place)?));
        target
            .filter(|target| *target < self.end)
            .ok_or(PageError::Outside(place))
    }

    fn table_at(&self, position: u64) -> Result<Table, PageError> {
        let distance = i32::from_le_bytes(self.pages.array(position)?);
        let fields = position.checked_add_signed(-i64::from(distance));
        let fields = fields.ok_or(PageError::Outside(position))?;
        let size = u64::from(self.pages.u16(fields)?);
        Ok(Table {
            position,
            fields,
            size,
        })
    }

    /// Where field `number` of `table` stands, if it is there.
    pub fn field(&self, table: Table, number: u64) -> Result<Option<u64>, PageError> {
        let entry = 4 + 2 * number;
        if entry + 2 > table.size {
            return Ok(None);
        }
        let offset = u64::from(self.pages.u16(table.fields + entry)?);
        Ok((offset != 0).then_some(table.position + offset))
    }

    /// A number of one byte.
    pub fn u8(&self, table: Table, number: u64) -> Result<u8, PageError> {
        let place = self.field(table, number)?;
        place.map_or(Ok(0), |place| self.pages.u8(place))
    }

    /// A number of four bytes.
    pub fn u32(&self, table: Table, number: u64) -> Result<u32, PageError> {
        let place = self.field(table, number)?;
        place.map_or(Ok(0), |place| self.pages.u32(place))
    }

    /// A number of eight bytes.
    pub fn u64(&self, table: Table, number: u64) -> Result<u64, PageError> {
        let place = self.field(table, number)?;
        place.map_or(Ok(0), |place| self.pages.u64(place))
    }

    /// The vector in field `number`, whose elements have `width` bytes; empty if it is not there.
    pub fn vector(&self, table: Table, number: u64, width: u64) -> Result<Vector, PageError> {
        let Some(place) = self.field(table, number)? else {
            return Ok(Vector::default());
        };
        let head = self.follow(place)?;
        let count = u64::from(self.pages.u32(head)?);
        let end = count
            .checked_mul(width)
            .and_then(|size| size.checked_add(head + 4));
        if end.is_none_or(|end| end > self.end) {
            return Err(PageError::Outside(head));
        }
        let start = head + 4;
        Ok(Vector { start, count })
    }

    /// The tables of the vector in field `number`, at most `most` of them.
    pub fn tables(&self, table: Table, number: u64, most: u64) -> Result<Vec<Table>, PageError> {
        let vector = self.vector(table, number, 4)?;
        let places = (0..vector.count.min(most)).map(|index| vector.start + 4 * index);
        places
            .map(|place| self.table_at(self.follow(place)?))
            .collect()
    }

    /// The table in field `number`.
    pub fn table(&self, table: Table, number: u64) -> Result<Option<Table>, PageError> {
        let place = self.field(table, number)?;
        place
            .map(|place| self.table_at(self.follow(place)?))
            .transpose()
    }

    /// The text in field `number`, cut behind [`MAX_TEXT`] bytes.
    pub fn text(&self, table: Table, number: u64) -> Result<String, PageError> {
        let vector = self.vector(table, number, 1)?;
        let size = vector.count.min(MAX_TEXT as u64);
        let bytes = self.pages.bytes(vector.start, size, MAX_TEXT)?;
        Ok(String::from_utf8_lossy(&bytes).into_owned())
    }
}
