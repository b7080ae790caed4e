//! 7-Zip: recognised, and how far it can be told what is in it.
//!
//! The names of its members stand in a header that is nearly always compressed itself, with methods of its own. No reader
//! of it is taken in for that: what is said is that it is not examined, and how large its parts are.

use std::io;

use crate::ReadAt;
use crate::read_at::{bytes_at, u32_at, u64_at};

/// The start of an archive.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Start {
    /// Where the header of names stands.
    pub header_offset: u64,
    /// Its bytes.
    pub header_size: u64,
    /// Whether it lies in the file and the check sum of the start is right.
    pub sound: bool,
    /// Bytes behind it.
    pub trailing: u64,
}

/// Reads the 32 bytes that an archive starts with; `None` for another format.
pub fn start(input: &dyn ReadAt) -> io::Result<Option<Start>> {
    let head = bytes_at(input, 0, input.len().min(32))?;
    if head.len() < 32 || !head.starts_with(b"7z\xbc\xaf\x27\x1c") {
        return Ok(None);
    }
    let field = |offset| u64_at(&head, offset).unwrap_or_default();
    let header_offset = field(12).saturating_add(32);
    let header_size = field(20);
    let end = header_offset.checked_add(header_size);
    let inside = end.is_some_and(|end| end <= input.len());
    let sum = crc32fast::hash(head.get(12..).unwrap_or_default());
    Ok(Some(Start {
        header_offset,
        header_size,
        sound: inside && u32_at(&head, 8) == Some(sum),
        trailing: end.map_or(0, |end| input.len().saturating_sub(end)),
    }))
}
