//! Archives one behind the other in one file, as torch's distributed checkpoints have them: one archive an item.
//!
//! Each is found from its end: the end record says how long the directory is and how far before it the archive starts, and
//! right before that the one before it ends. So a file of many gigabytes is taken apart without reading its tensors. What
//! is left in front of the first, where the chain breaks, is given too, because it may be an item that is no archive.

use std::io;

use formats::ReadAt;

const END_BYTES: u64 = 22;
const LOCATOR_BYTES: u64 = 20;
const END64_BYTES: u64 = 56;
/// The most archives that are taken apart.
const MAX_ARCHIVES: usize = 20_000;

/// Offset and length of each archive, in the order of the file, with what stands before the first if that is no archive.
/// Empty if `input` is not several archives.
pub(crate) fn split(input: &dyn ReadAt) -> io::Result<Vec<(u64, u64)>> {
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
    let Some(record) = bytes::<22>(input, end.checked_sub(END_BYTES))? else {
        return Ok(None);
    };
    if !record.starts_with(b"PK\x05\x06") || !record.ends_with(&[0, 0]) {
        return Ok(None);
    }
    let at = end - END_BYTES;
    let mut directory = (
        u64::from(u32_at(&record, 12)),
        u64::from(u32_at(&record, 16)),
    );
    let mut behind = at;
    let locator = bytes::<20>(input, at.checked_sub(LOCATOR_BYTES))?;
    if locator.is_some_and(|locator| locator.starts_with(b"PK\x06\x07")) {
        let place = at.checked_sub(LOCATOR_BYTES + END64_BYTES);
        if let Some(record) = bytes::<56>(input, place)?.filter(|r| r.starts_with(b"PK\x06\x06")) {
            directory = (u64_at(&record, 40), u64_at(&record, 48));
            behind = at - LOCATOR_BYTES - END64_BYTES;
        }
    }
    let (size, offset) = directory;
    let start = behind
        .checked_sub(size)
        .and_then(|directory| directory.checked_sub(offset));
    let Some(start) = start else { return Ok(None) };
    let first = bytes::<4>(input, Some(start))?;
    let begins = first.is_some_and(|first| matches!(&first, b"PK\x03\x04" | b"PK\x05\x06"));
    Ok((begins && start < end).then_some(start))
}

fn bytes<const N: usize>(input: &dyn ReadAt, offset: Option<u64>) -> io::Result<Option<[u8; N]>> {
    let inside = offset.filter(|offset| {
        offset
            .checked_add(N as u64)
            .is_some_and(|end| end <= input.len())
    });
    let Some(offset) = inside else {
        return Ok(None);
    };
    let mut bytes = [0; N];
    input.read_at(offset, &mut bytes)?;
    Ok(Some(bytes))
}

fn u32_at(bytes: &[u8], offset: usize) -> u32 {
    let chunk = bytes.get(offset..).and_then(|rest| rest.first_chunk());
    chunk.map_or(0, |chunk| u32::from_le_bytes(*chunk))
}

fn u64_at(bytes: &[u8], offset: usize) -> u64 {
    let chunk = bytes.get(offset..).and_then(|rest| rest.first_chunk());
    chunk.map_or(0, |chunk| u64::from_le_bytes(*chunk))
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
