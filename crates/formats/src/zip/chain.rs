//! Archives one behind the other in one file, as torch's distributed checkpoints have them: one archive an item.
//!
//! Each is found from its end: the end record says how long the directory is and how far before it the archive starts, and
//! right before that the one before it ends. So a file of many gigabytes is taken apart without reading its tensors. What
//! is left in front of the first, where the chain breaks, is given too, because it may be an item that is no archive.

use std::io;

use crate::read_at::{ReadAt, bytes_at, u32_at, u64_at};

const END_BYTES: u64 = 22;
const LOCATOR_BYTES: u64 = 20;
const END64_BYTES: u64 = 56;
/// The most archives that are taken apart.
const MAX_ARCHIVES: usize = 20_000;

/// Offset and length of each archive, in the order of the file, with what stands before the first if that is no archive.
/// Empty if `input` is not several archives. An error is that of reading.
pub fn split(input: &dyn ReadAt) -> io::Result<Vec<(u64, u64)>> {
    let mut parts = Vec::new();
    let mut end = input.len();
    while end > 0 && parts.len() < MAX_ARCHIVES {
        let Some(start) = start_of(input, end)? else {
            break;
        };
        parts.push((start, end - start));
        end = start;
    }
    if parts.is_empty() || (parts.len() == 1 && end == 0) {
        return Ok(Vec::new());
    }
    if end > 0 {
        parts.push((0, end));
    }
    parts.reverse();
    Ok(parts)
}

/// Where the archive starts that ends at `end`; `None` if none ends there.
fn start_of(input: &dyn ReadAt, end: u64) -> io::Result<Option<u64>> {
    let Some(at) = end.checked_sub(END_BYTES) else {
        return Ok(None);
    };
    let record = bytes_at(input, at, END_BYTES)?;
    if !record.starts_with(b"PK\x05\x06") || !record.ends_with(&[0, 0]) {
        return Ok(None);
    }
    let wide = wide_end(input, at)?;
    let said = || {
        let (size, offset) = (u32_at(&record, 12)?, u32_at(&record, 16)?);
        Some((at, u64::from(size), u64::from(offset)))
    };
    let start = wide.or_else(said).and_then(|(behind, size, offset)| {
        let directory = behind.checked_sub(size)?;
        directory.checked_sub(offset)
    });
    let Some(start) = start else {
        return Ok(None);
    };
    let first = bytes_at(input, start, 4)?;
    let begins = matches!(first.as_slice(), b"PK\x03\x04" | b"PK\x05\x06");
    Ok(begins.then_some(start))
}

/// Where the directory ends, its size and its offset, as the wider end record before the one at `at` has them.
fn wide_end(input: &dyn ReadAt, at: u64) -> io::Result<Option<(u64, u64, u64)>> {
    let Some(behind) = at.checked_sub(LOCATOR_BYTES + END64_BYTES) else {
        return Ok(None);
    };
    let both = bytes_at(input, behind, END64_BYTES + LOCATOR_BYTES)?;
    let locator = usize::try_from(END64_BYTES)
        .ok()
        .and_then(|skip| both.get(skip..));
    let is_wide = both.starts_with(b"PK\x06\x06")
        && locator.is_some_and(|locator| locator.starts_with(b"PK\x06\x07"));
    let said = || Some((behind, u64_at(&both, 40)?, u64_at(&both, 48)?));
    Ok(is_wide.then(said).flatten())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// An archive without members but with `padding` in the place of their bytes.
    fn archive(padding: usize, wide: bool) -> Vec<u8> {
        let mut bytes = b"PK\x03\x04".to_vec();
        bytes.resize(4 + padding, 7);
        let directory = bytes.len() as u64;
        bytes.extend(b"PK\x01\x02");
        if wide {
            let mut record = [0; 56];
            record[..4].copy_from_slice(b"PK\x06\x06");
            record[40..48].copy_from_slice(&4_u64.to_le_bytes());
            record[48..].copy_from_slice(&directory.to_le_bytes());
            bytes.extend(record);
            bytes.extend(b"PK\x06\x07");
            bytes.extend([0; 16]);
        }
        let mut record = [0; 22];
        record[..4].copy_from_slice(b"PK\x05\x06");
        record[12..16].copy_from_slice(&4_u32.to_le_bytes());
        let offset = u32::try_from(directory).unwrap();
        record[16..20].copy_from_slice(&offset.to_le_bytes());
        bytes.extend(record);
        bytes
    }

    #[test]
    fn archives_one_behind_the_other_are_taken_apart() {
        let parts = [archive(10, true), archive(0, false), archive(300, true)];
        let file = parts.concat();
        let lengths: Vec<u64> = parts.iter().map(|part| part.len() as u64).collect();
        let split = split(&file.as_slice()).unwrap();
        assert_eq!(split.iter().map(|part| part.1).collect::<Vec<_>>(), lengths);
        assert_eq!(split[0].0, 0);
        assert_eq!(split[2].0 + split[2].1, file.len() as u64);
    }

    #[test]
    fn what_stands_before_the_archives_is_a_part_too() {
        let file = [b"\x80\x02N.".to_vec(), archive(5, false)].concat();
        assert_eq!(split(&file.as_slice()).unwrap()[0], (0, 4));
    }

    #[test]
    fn one_archive_is_not_taken_apart() {
        assert_eq!(split(&archive(9, true).as_slice()).unwrap(), []);
        assert_eq!(split(&b"".as_slice()).unwrap(), []);
        assert_eq!(split(&b"PK\x05\x06".as_slice()).unwrap(), []);
    }
}
