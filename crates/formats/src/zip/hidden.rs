//! What stands in an archive without being listed.
//!
//! The ranges that members, directories and end records claim are taken away; what is left is searched for local headers
//! and for entries of other directories. In an honest archive nothing is left but zeros, so this costs nothing there.

use std::collections::HashSet;
use std::io;

use super::central::{HAS_DESCRIPTOR, central_entry, local_header, place};
use super::{Directory, MAX_SEARCHED_BYTES, MAX_UNCLAIMED, Member, Oddity};
use crate::ReadAt;
use crate::read_at::{bytes_at, u32_at};

/// Bytes that are looked at at once.
const WINDOW_BYTES: u64 = 64 << 10;
/// An entry of a directory with the longest name, extra data and comment that are followed.
const MAX_ENTRY_BYTES: u64 = 4 << 10;
/// The most signatures that are looked into.
const MAX_HITS: u32 = 1 << 17;
/// The longest descriptor behind a member's bytes.
const MAX_DESCRIPTOR_BYTES: u64 = 24;

/// Adds to `directory` what stands in `input` outside of its members and of `places`.
pub(super) fn search(
    input: &dyn ReadAt,
    places: &[(u64, u64)],
    directory: &mut Directory,
) -> io::Result<()> {
    let mut claims = places.to_vec();
    for member in directory.members_all_views() {
        claims.push((member.header_offset, member.end()));
        if member.flags & HAS_DESCRIPTOR != 0 {
            let end = member.end();
            claims.push((end, end + descriptor_bytes(input, end, member.crc)?));
        }
    }
    claims.sort_unstable();
    claims.push((input.len(), input.len()));
    let known = directory
        .members_all_views()
        .map(|member| member.header_offset)
        .collect();
    let mut search = Search {
        input,
        directory,
        known,
        bytes_left: MAX_SEARCHED_BYTES,
        hits_left: MAX_HITS,
        window: Vec::new(),
        window_start: 0,
    };
    let mut covered = 0;
    for (start, end) in claims {
        if start > covered {
            search.range(covered, start)?;
        }
        covered = covered.max(end);
    }
    Ok(())
}

struct Search<'a> {
    input: &'a dyn ReadAt,
    directory: &'a mut Directory,
    /// Local headers that some directory lists.
    known: HashSet<u64>,
    bytes_left: u64,
    hits_left: u32,
    window: Vec<u8>,
    /// Offset of `window` in the input.
    window_start: u64,
}

impl Search<'_> {
    fn range(&mut self, start: u64, end: u64) -> io::Result<()> {
        let mut position = start;
        // Where the bytes start that belong to nothing found so far, and whether all of them are zero.
        let (mut free, mut zeros) = (start, true);
        while position < end {
            if !self.load(position, end)? {
                self.directory.note(Oddity::NotSearched(end - position));
                zeros = false;
                break;
            }
            let window = self.window(position, end);
            let hit = signature(window);
            let before = window
                .get(..hit.unwrap_or(window.len()))
                .unwrap_or_default();
            zeros &= before.iter().all(|byte| *byte == 0);
            let seen = before.len() as u64;
            let Some(_) = hit else {
                // A signature may straddle two windows.
                let more = position + seen < end;
                position += if more {
                    seen.saturating_sub(3).max(1)
                } else {
                    seen
                };
                continue;
            };
            let at = position + seen;
            self.hits_left = self.hits_left.saturating_sub(1);
            if let Some(behind) = self.found(at, end)? {
                leave(self.directory, (free, at), zeros);
                position = behind.max(at + 4).min(end);
                (free, zeros) = (position, true);
            } else {
                zeros = false;
                position = at + 4;
            }
        }
        leave(self.directory, (free, end), zeros);
        Ok(())
    }

    /// Has bytes from `position` on in the window: at least four, or all up to `end`. False when the budget is spent.
    fn load(&mut self, position: u64, end: u64) -> io::Result<bool> {
        if self.hits_left == 0 {
            return Ok(false);
        }
        let held = self.window_start + self.window.len() as u64;
        let enough = (position + 4).min(end);
        if position >= self.window_start && enough <= held {
            return Ok(true);
        }
        let size = WINDOW_BYTES.min(end - position);
        let Some(left) = self.bytes_left.checked_sub(size) else {
            return Ok(false);
        };
        self.bytes_left = left;
        self.window = bytes_at(self.input, position, size)?;
        self.window_start = position;
        Ok(true)
    }

    /// The part of the window from `position` on that lies before `end`.
    fn window(&self, position: u64, end: u64) -> &[u8] {
        let offset = |place: u64| usize::try_from(place.saturating_sub(self.window_start));
        let from = offset(position).unwrap_or(usize::MAX);
        let to = offset(end).unwrap_or(usize::MAX).min(self.window.len());
        self.window.get(from..to).unwrap_or_default()
    }

    /// Adds the member at `at`, if one is there, and says where the search goes on.
    fn found(&mut self, at: u64, limit: u64) -> io::Result<Option<u64>> {
        if self.directory.is_full() {
            return Ok(None);
        }
        if let Some(member) = local_header(self.input, at)? {
            let member = self.sized(member, limit)?;
            let behind = member.end() + descriptor_bytes(self.input, member.end(), member.crc)?;
            self.add(member);
            return Ok(Some(behind));
        }
        let left = self.input.len() - at;
        let bytes = bytes_at(self.input, at, MAX_ENTRY_BYTES.min(left))?;
        let Some((entry, length)) = central_entry(&bytes, 0) else {
            return Ok(None);
        };
        if !self.known.contains(&entry.header_offset)
            && let Some(placed) = place(self.input, entry, &mut self.directory.oddities)?
        {
            self.add(placed.member);
        }
        Ok(Some(at + length as u64))
    }

    fn add(&mut self, member: Member) {
        self.known.insert(member.header_offset);
        self.directory.note(Oddity::Unlisted {
            name: member.name_text().into_owned(),
            offset: member.header_offset,
        });
        self.directory.others.push(member);
    }

    /// The member with a size that can be: where a descriptor has it, all up to the next record.
    fn sized(&mut self, mut member: Member, limit: u64) -> io::Result<Member> {
        let unknown = member.stored_size == 0 && member.flags & HAS_DESCRIPTOR != 0;
        if unknown || member.end() > self.input.len() {
            let most = limit.saturating_sub(member.data_offset);
            member.stored_size = self.next_record(member.data_offset, most)?;
            if member.method == 0 {
                member.size = member.stored_size;
            }
        }
        Ok(member)
    }

    /// Bytes from `start` to the next signature of any record; `most` if none is near.
    fn next_record(&mut self, start: u64, most: u64) -> io::Result<u64> {
        let looked = most.min(16 * WINDOW_BYTES).min(self.bytes_left);
        self.bytes_left -= looked;
        let bytes = bytes_at(self.input, start, looked)?;
        let next = bytes.windows(4).position(|bytes| {
            matches!(
                bytes,
                [b'P', b'K', 1, 2] | [b'P', b'K', 3, 4] | [b'P', b'K', 7, 8]
            )
        });
        Ok(next.map_or(most, |next| next as u64))
    }
}

/// Notes bytes that belong to nothing, unless they are all zero.
fn leave(directory: &mut Directory, (start, end): (u64, u64), zeros: bool) {
    if zeros || start >= end {
        return;
    }
    directory.note(Oddity::Unclaimed {
        offset: start,
        bytes: end - start,
    });
    if directory.unclaimed.len() < MAX_UNCLAIMED {
        directory.unclaimed.push((start, end - start));
    }
}

/// The first signature of a local header or of a directory's entry.
fn signature(window: &[u8]) -> Option<usize> {
    window
        .windows(4)
        .position(|bytes| matches!(bytes, [b'P', b'K', 3, 4] | [b'P', b'K', 1, 2]))
}

/// Bytes of the descriptor at `offset`: with or without signature, with short or long sizes.
fn descriptor_bytes(input: &dyn ReadAt, offset: u64, crc: u32) -> io::Result<u64> {
    let left = input.len().saturating_sub(offset);
    let bytes = bytes_at(input, offset, left.min(MAX_DESCRIPTOR_BYTES))?;
    let signature = bytes.starts_with(b"PK\x07\x08");
    let body = if signature { 4 } else { 0 };
    if u32_at(&bytes, body) != Some(crc) {
        return Ok(0);
    }
    // Short sizes are followed by the next signature, or by the end.
    let short = body + 12;
    let next = bytes.get(short..).unwrap_or_default();
    let ends = next.is_empty() || next.starts_with(b"PK");
    Ok((if ends { short } else { short + 8 }.min(bytes.len())) as u64)
}
