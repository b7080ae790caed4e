//! The central directory of a ZIP archive, as torch's reader and Python's would find it, with what they do not tell.
//!
//! The directory at the end decides which members exist; local headers decide where their bytes start. Both are the
//! attacker's. So disagreements are kept as [`Oddity`] beside the members, and only what makes the archive unreadable is
//! an error. Members are not decompressed here: torch stores its records, and a compressed one is for the caller to
//! state as a gap. Checksums are not verified: no loader of checkpoints does.

use std::collections::HashMap;
use std::io;

use crate::ReadAt;
use crate::read_at::{bytes_at, u16_at, u32_at, u64_at};

/// The largest central directory that is read, in bytes.
pub const MAX_DIRECTORY_BYTES: u64 = 64 << 20;
/// The most members that are listed.
pub const MAX_MEMBERS: u64 = 1 << 18;
/// The most oddities that are kept; the first ones are.
pub const MAX_ODDITIES: usize = 1000;

const END_SIGNATURE: &[u8] = b"PK\x05\x06";
const END_BYTES: u64 = 22;
const LOCATOR_SIGNATURE: u32 = 0x0706_4b50;
const END64_SIGNATURE: u32 = 0x0606_4b50;
const CENTRAL_SIGNATURE: u32 = 0x0201_4b50;
const CENTRAL_BYTES: usize = 46;
const LOCAL_SIGNATURE: u32 = 0x0403_4b50;
const LOCAL_BYTES: u64 = 30;

/// One member, as the central directory has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Member {
    /// The name's bytes; ZIP does not say reliably in which encoding.
    pub name: Vec<u8>,
    /// Where its bytes start in the archive, found through the local header.
    pub data_offset: u64,
    /// Bytes that it takes in the archive.
    pub stored_size: u64,
    /// Bytes that it would have unpacked.
    pub size: u64,
    /// The compression method; 0 is stored, 8 is deflate.
    pub method: u16,
    /// The general purpose flags.
    pub flags: u16,
    /// The CRC-32 that the directory claims.
    pub crc: u32,
}

impl Member {
    /// Whether its bytes stand in the archive as they are: neither compressed nor of two sizes.
    pub fn is_stored(&self) -> bool {
        self.method == 0 && self.stored_size == self.size
    }

    /// The name as text, with replacement characters where it is none.
    pub fn name_text(&self) -> std::borrow::Cow<'_, str> {
        String::from_utf8_lossy(&self.name)
    }
}

/// The members of an archive in the order of its directory, and what is odd about it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Directory {
    /// All members whose bytes were found.
    pub members: Vec<Member>,
    /// What a well-behaved writer would not have written; at most [`MAX_ODDITIES`].
    pub oddities: Vec<Oddity>,
}

/// Something about an archive on which readers may disagree.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Oddity {
    /// Two members have one name, or names that differ in case only.
    #[error("the name {0:?} stands in the directory more than once")]
    DuplicateName(String),
    /// The bytes of a member lie in those of another.
    #[error("the bytes of {0:?} overlap those of another member")]
    Overlap(String),
    /// The local header names another file than the directory.
    #[error("the header before the bytes of {0:?} has another name")]
    LocalName(String),
    /// The local header is missing or the bytes reach past the end.
    #[error("the bytes of {0:?} are not in the file")]
    BytesMissing(String),
    /// The directory has another number of members than its end record says.
    #[error("the directory lists {found} members, its end record says {said}")]
    Count {
        /// As counted.
        found: u64,
        /// As claimed.
        said: u64,
    },
    /// An entry of the directory is cut off or has no signature.
    #[error("the directory breaks off at byte {0}")]
    BrokenDirectory(u64),
    /// Bytes stand behind the end record and its comment.
    #[error("{0} bytes stand behind the end of the archive")]
    TrailingBytes(u64),
}

/// Why there is no directory to speak of.
#[derive(Debug, thiserror::Error)]
pub enum ZipError {
    /// Reading failed.
    #[error("the archive cannot be read")]
    Io(#[from] io::Error),
    /// No end record in the last 65,557 bytes.
    #[error("no end of a ZIP directory was found")]
    NoEnd,
    /// The end record points outside the file.
    #[error("the ZIP directory is said to stand outside the file")]
    OutOfBounds,
    /// More than [`MAX_DIRECTORY_BYTES`].
    #[error("the ZIP directory has {0} bytes, more than {MAX_DIRECTORY_BYTES}")]
    DirectoryTooLarge(u64),
    /// More than [`MAX_MEMBERS`].
    #[error("the ZIP directory has more than {MAX_MEMBERS} members")]
    TooManyMembers,
}

impl Directory {
    /// The member that torch's reader takes for `name`: ASCII case is ignored and the last one wins.
    pub fn find(&self, name: &[u8]) -> Option<&Member> {
        self.members
            .iter()
            .rev()
            .find(|member| member.name.eq_ignore_ascii_case(name))
    }

    fn note(&mut self, oddity: Oddity) {
        if self.oddities.len() < MAX_ODDITIES {
            self.oddities.push(oddity);
        }
    }
}

/// Reads the directory of the archive that `input` is.
pub fn read(input: &dyn ReadAt) -> Result<Directory, ZipError> {
    let mut directory = Directory::default();
    let end = find_end(input, &mut directory)?;
    if end.size > MAX_DIRECTORY_BYTES {
        return Err(ZipError::DirectoryTooLarge(end.size));
    }
    if end
        .offset
        .checked_add(end.size)
        .is_none_or(|behind| behind > input.len())
    {
        return Err(ZipError::OutOfBounds);
    }
    let bytes = bytes_at(input, end.offset, end.size)?;
    let mut position = 0;
    let mut listed = 0;
    while position < bytes.len() {
        if listed >= MAX_MEMBERS {
            return Err(ZipError::TooManyMembers);
        }
        let Some((entry, next)) = central_entry(&bytes, position) else {
            directory.note(Oddity::BrokenDirectory(end.offset + position as u64));
            break;
        };
        listed += 1;
        place(input, entry, &mut directory)?;
        position = next;
    }
    if listed != end.count {
        directory.note(Oddity::Count {
            found: listed,
            said: end.count,
        });
    }
    find_duplicates(&mut directory);
    find_overlaps(&mut directory);
    Ok(directory)
}

struct End {
    offset: u64,
    size: u64,
    count: u64,
}

fn find_end(input: &dyn ReadAt, directory: &mut Directory) -> Result<End, ZipError> {
    let span = input.len().min(END_BYTES + 0xffff);
    let start = input.len() - span;
    let tail = bytes_at(input, start, span)?;
    let at = tail
        .windows(END_SIGNATURE.len())
        .rposition(|window| window == END_SIGNATURE)
        .filter(|at| tail.len() - at >= 22)
        .ok_or(ZipError::NoEnd)?;
    let record = &tail[at..];
    let field16 = |offset| u16_at(record, offset).unwrap_or_default();
    let field32 = |offset| u32_at(record, offset).unwrap_or_default();
    let behind = record.len() as u64 - END_BYTES;
    if let Some(trailing) = behind
        .checked_sub(u64::from(field16(20)))
        .filter(|bytes| *bytes > 0)
    {
        directory.note(Oddity::TrailingBytes(trailing));
    }
    let classic = End {
        count: u64::from(field16(10)),
        size: u64::from(field32(12)),
        offset: u64::from(field32(16)),
    };
    let large =
        classic.count == 0xffff || classic.size == 0xffff_ffff || classic.offset == 0xffff_ffff;
    let end64 = if large {
        end64(input, start + at as u64)?
    } else {
        None
    };
    Ok(end64.unwrap_or(classic))
}

fn end64(input: &dyn ReadAt, end: u64) -> Result<Option<End>, ZipError> {
    let Some(at) = end.checked_sub(20) else {
        return Ok(None);
    };
    let locator = bytes_at(input, at, 20)?;
    let Some(offset) =
        u64_at(&locator, 8).filter(|_| u32_at(&locator, 0) == Some(LOCATOR_SIGNATURE))
    else {
        return Ok(None);
    };
    if offset
        .checked_add(56)
        .is_none_or(|behind| behind > input.len())
    {
        return Err(ZipError::OutOfBounds);
    }
    let record = bytes_at(input, offset, 56)?;
    if u32_at(&record, 0) != Some(END64_SIGNATURE) {
        return Ok(None);
    }
    let field = |offset| u64_at(&record, offset).unwrap_or_default();
    Ok(Some(End {
        count: field(32),
        size: field(40),
        offset: field(48),
    }))
}

/// The entry at `position`, with the offset of its local header in `data_offset`, and where the next one starts.
fn central_entry(bytes: &[u8], position: usize) -> Option<(Member, usize)> {
    let head = bytes.get(position..)?.get(..CENTRAL_BYTES)?;
    if u32_at(head, 0)? != CENTRAL_SIGNATURE {
        return None;
    }
    let name_end = position + CENTRAL_BYTES + usize::from(u16_at(head, 28)?);
    let extra_end = name_end + usize::from(u16_at(head, 30)?);
    let next = extra_end + usize::from(u16_at(head, 32)?);
    let mut member = Member {
        name: bytes.get(position + CENTRAL_BYTES..name_end)?.to_vec(),
        data_offset: u64::from(u32_at(head, 42)?),
        stored_size: u64::from(u32_at(head, 20)?),
        size: u64::from(u32_at(head, 24)?),
        method: u16_at(head, 10)?,
        flags: u16_at(head, 8)?,
        crc: u32_at(head, 16)?,
    };
    widen(&mut member, bytes.get(name_end..extra_end)?);
    (next <= bytes.len()).then_some((member, next))
}

/// Takes the 64-bit fields from the extra data (id 1), in their fixed order, where the 32-bit ones are full.
fn widen(member: &mut Member, mut extra: &[u8]) {
    while let (Some(id), Some(size)) = (u16_at(extra, 0), u16_at(extra, 2)) {
        let (field, rest) = extra[4..]
            .split_at_checked(usize::from(size))
            .unwrap_or((&extra[4..], &[]));
        if id == 1 {
            let mut offset = 0;
            for value in [
                &mut member.size,
                &mut member.stored_size,
                &mut member.data_offset,
            ] {
                if *value == 0xffff_ffff
                    && let Some(wide) = u64_at(field, offset)
                {
                    *value = wide;
                    offset += 8;
                }
            }
            return;
        }
        extra = rest;
    }
}

/// Follows the local header and adds the member, or the oddity that its bytes are missing.
fn place(
    input: &dyn ReadAt,
    mut member: Member,
    directory: &mut Directory,
) -> Result<(), ZipError> {
    let missing = Oddity::BytesMissing(member.name_text().into_owned());
    let header = member.data_offset;
    if header
        .checked_add(LOCAL_BYTES)
        .is_none_or(|end| end > input.len())
    {
        directory.note(missing);
        return Ok(());
    }
    let local = bytes_at(input, header, LOCAL_BYTES)?;
    let sizes = (u32_at(&local, 0), u16_at(&local, 26), u16_at(&local, 28));
    let (Some(LOCAL_SIGNATURE), Some(name), Some(extra)) = sizes else {
        directory.note(missing);
        return Ok(());
    };
    let start = header + LOCAL_BYTES + u64::from(name) + u64::from(extra);
    if start
        .checked_add(member.stored_size)
        .is_none_or(|end| end > input.len())
    {
        directory.note(missing);
        return Ok(());
    }
    if bytes_at(input, header + LOCAL_BYTES, u64::from(name))? != member.name {
        directory.note(Oddity::LocalName(member.name_text().into_owned()));
    }
    member.data_offset = start;
    directory.members.push(member);
    Ok(())
}

fn find_duplicates(directory: &mut Directory) {
    let mut seen: HashMap<Vec<u8>, u32> = HashMap::new();
    for member in &directory.members {
        *seen.entry(member.name.to_ascii_lowercase()).or_default() += 1;
    }
    let mut twice: Vec<String> = seen
        .iter()
        .filter(|(_, count)| **count > 1)
        .map(|(name, _)| String::from_utf8_lossy(name).into_owned())
        .collect();
    twice.sort();
    for name in twice {
        directory.note(Oddity::DuplicateName(name));
    }
}

fn find_overlaps(directory: &mut Directory) {
    let mut ranges: Vec<(u64, u64, usize)> = directory
        .members
        .iter()
        .enumerate()
        .filter(|(_, member)| member.stored_size > 0)
        .map(|(index, member)| {
            (
                member.data_offset,
                member.data_offset + member.stored_size,
                index,
            )
        })
        .collect();
    ranges.sort_unstable();
    let mut covered = 0;
    let mut overlapping = Vec::new();
    for (start, end, index) in ranges {
        if start < covered {
            overlapping.push(directory.members[index].name_text().into_owned());
        }
        covered = covered.max(end);
    }
    for name in overlapping {
        directory.note(Oddity::Overlap(name));
    }
}
