//! Where the directory is, by the rules of the two readers.
//!
//! Both look for the last end record in the last 64 KiB and take a 64-bit record before it whatever the short one says.
//! They differ in what they make of it: torch's reader follows the offsets as they stand and the locator to the 64-bit
//! record; Python's takes that record from the place before the locator, and works out from where the directory ends how
//! many bytes were put before the archive.

use super::ZipError;
use crate::ReadAt;
use crate::read_at::{bytes_at, u16_at, u32_at, u64_at};

const SIGNATURE: &[u8] = b"PK\x05\x06";
const END_BYTES: u64 = 22;
const LOCATOR_SIGNATURE: u32 = 0x0706_4b50;
const LOCATOR_BYTES: u64 = 20;
const END64_SIGNATURE: u32 = 0x0606_4b50;
const END64_BYTES: u64 = 56;

/// A directory as an end record describes it.
#[derive(Debug, Clone, Copy)]
pub(super) struct End {
    /// Where the directory starts.
    pub(super) offset: u64,
    /// Its bytes.
    pub(super) size: u64,
    /// How many members it is said to have.
    pub(super) count: u64,
    /// What is added to the offsets in it.
    pub(super) shift: u64,
    /// Where its records at the end start.
    records: u64,
}

impl End {
    pub(super) fn same_as(&self, other: &Self) -> bool {
        (self.offset, self.size, self.shift) == (other.offset, other.size, other.shift)
    }

    fn fits(&self, length: u64) -> bool {
        let end = self.offset.checked_add(self.size);
        end.is_some_and(|end| end <= length)
    }
}

/// What the two readers find.
pub(super) struct Ends {
    pub(super) torch: Option<End>,
    pub(super) python: Option<End>,
    /// Bytes behind the end record and its comment.
    pub(super) trailing: Option<u64>,
    /// Where the records are, as start and end; without the comment, which can hold anything.
    pub(super) records: Vec<(u64, u64)>,
}

/// The end record that both readers take, with what each makes of it.
pub(super) fn find(input: &dyn ReadAt) -> Result<Ends, ZipError> {
    let span = input.len().min(END_BYTES + 0xffff);
    let start = input.len() - span;
    let tail = bytes_at(input, start, span)?;
    // The last signature that has room for a record; readers that stop at one without find no archive.
    let room = tail.len().saturating_sub(18);
    let searched = tail.get(..room).unwrap_or_default();
    let at = searched
        .windows(SIGNATURE.len())
        .rposition(|window| window == SIGNATURE)
        .ok_or(ZipError::NoEnd)?;
    let record = tail.get(at..).unwrap_or_default();
    let place = start + at as u64;
    let comment = u64::from(u16_at(record, 20).unwrap_or_default());
    let behind = record.len() as u64 - END_BYTES;
    let field16 = |offset| u64::from(u16_at(record, offset).unwrap_or_default());
    let field32 = |offset| u64::from(u32_at(record, offset).unwrap_or_default());
    let classic = End {
        count: field16(10),
        size: field32(12),
        offset: field32(16),
        shift: 0,
        records: place,
    };
    let locator = locator(input, place)?;
    let torch = match locator {
        Some(offset) => end64(input, offset, classic)?,
        None => None,
    };
    let beside = place.checked_sub(LOCATOR_BYTES + END64_BYTES);
    let python = match (locator, beside) {
        (Some(_), Some(offset)) => end64(input, offset, classic)?,
        _ => None,
    };
    let python_end = shifted(python.unwrap_or(classic));
    let torch_end = torch.unwrap_or(classic);
    let mut records = vec![(place, place + END_BYTES)];
    if locator.is_some() {
        records.push((place - LOCATOR_BYTES, place));
    }
    for end in [torch, python].into_iter().flatten() {
        records.push((end.records, end.records + END64_BYTES));
    }
    let ends = Ends {
        torch: Some(torch_end).filter(|end| end.fits(input.len())),
        python: python_end,
        records,
        trailing: behind.checked_sub(comment).filter(|bytes| *bytes > 0),
    };
    if ends.torch.is_none() && ends.python.is_none() {
        return Err(ZipError::OutOfBounds);
    }
    Ok(ends)
}

/// Python's reckoning: the directory ends where the records start, and everything moves with it.
fn shifted(end: End) -> Option<End> {
    let offset = end.records.checked_sub(end.size)?;
    let shift = offset.checked_sub(end.offset)?;
    Some(End {
        offset,
        shift,
        ..end
    })
}

/// Where the locator before the end record says that the 64-bit record is.
fn locator(input: &dyn ReadAt, place: u64) -> Result<Option<u64>, ZipError> {
    let Some(offset) = place.checked_sub(LOCATOR_BYTES) else {
        return Ok(None);
    };
    let locator = bytes_at(input, offset, LOCATOR_BYTES)?;
    let found = u32_at(&locator, 0) == Some(LOCATOR_SIGNATURE);
    Ok(u64_at(&locator, 8).filter(|_| found))
}

fn end64(input: &dyn ReadAt, offset: u64, classic: End) -> Result<Option<End>, ZipError> {
    let behind = offset.checked_add(END64_BYTES);
    if behind.is_none_or(|behind| behind > classic.records) {
        return Ok(None);
    }
    let record = bytes_at(input, offset, END64_BYTES)?;
    if u32_at(&record, 0) != Some(END64_SIGNATURE) {
        return Ok(None);
    }
    let field = |offset| u64_at(&record, offset).unwrap_or_default();
    Ok(Some(End {
        count: field(32),
        size: field(40),
        offset: field(48),
        shift: 0,
        records: offset,
    }))
}
