//! The entries of a directory, and the local headers that they point to.

use std::collections::HashSet;
use std::io;

use super::end::End;
use super::{
    Directory, LocalField, MAX_DIRECTORY_BYTES, MAX_MEMBERS, Member, Oddity, SeenBy, ZipError,
    is_unsafe_name,
};
use crate::ReadAt;
use crate::read_at::{bytes_at, u16_at, u32_at, u64_at};

const CENTRAL_SIGNATURE: u32 = 0x0201_4b50;
const CENTRAL_BYTES: usize = 46;
const LOCAL_SIGNATURE: u32 = 0x0403_4b50;
pub(super) const LOCAL_BYTES: u64 = 30;
/// Sizes and check sum follow the data.
pub(super) const HAS_DESCRIPTOR: u16 = 8;
const ENCRYPTED: u16 = 1;

/// A walk through one or two directories of a file.
pub(super) struct Walk<'a> {
    input: &'a dyn ReadAt,
    directory: &'a mut Directory,
    /// Ranges that are directories.
    pub(super) places: Vec<(u64, u64)>,
    bytes_left: u64,
    listed: u64,
}

/// Whether an entry of a directory stands at `offset`.
pub(super) fn starts(input: &dyn ReadAt, offset: u64) -> io::Result<bool> {
    if offset.checked_add(4).is_none_or(|end| end > input.len()) {
        return Ok(false);
    }
    let bytes = bytes_at(input, offset, 4)?;
    Ok(u32_at(&bytes, 0) == Some(CENTRAL_SIGNATURE))
}

impl<'a> Walk<'a> {
    pub(super) fn new(input: &'a dyn ReadAt, directory: &'a mut Directory) -> Self {
        Self {
            input,
            directory,
            places: Vec::new(),
            bytes_left: MAX_DIRECTORY_BYTES,
            listed: 0,
        }
    }

    /// Adds the members of the directory at `end`.
    pub(super) fn read(&mut self, end: &End, seen_by: SeenBy) -> Result<(), ZipError> {
        let mut listed = 0;
        for entry in self.entries(end)? {
            // Torch's reader goes by the count, Python's by the size of the directory.
            let torch = seen_by.torch && listed < end.count;
            listed += 1;
            let entry = Member {
                seen_by: SeenBy { torch, ..seen_by },
                ..entry
            };
            let found = place(self.input, entry, &mut self.directory.oddities)?;
            if let Some(found) = found {
                let room = !self.directory.is_full();
                self.directory.others.extend(found.local.filter(|_| room));
                self.directory.members.push(found.member);
            }
        }
        if listed != end.count {
            self.directory.note(Oddity::Count {
                found: listed,
                said: end.count,
            });
        }
        Ok(())
    }

    /// Marks the members that Python's directory has too and adds those that it alone has.
    pub(super) fn read_second(&mut self, end: &End) -> Result<(), ZipError> {
        let key = |member: &Member| (member.header_offset, member.stored_size, member.method);
        let entries = self.entries(end)?;
        let theirs: HashSet<_> = entries.iter().map(key).collect();
        let ours: HashSet<_> = self.directory.members.iter().map(key).collect();
        for member in &mut self.directory.members {
            member.seen_by.python = theirs.contains(&key(member));
        }
        let python = SeenBy {
            torch: false,
            python: true,
        };
        let unknown = entries
            .into_iter()
            .filter(|entry| !ours.contains(&key(entry)));
        for mut entry in unknown {
            entry.seen_by = python;
            if let Some(found) = place(self.input, entry, &mut self.directory.oddities)? {
                self.directory.others.push(found.member);
                self.directory.others.extend(found.local);
            }
        }
        Ok(())
    }

    /// The entries with absolute offsets of their local headers; their bytes are not looked for yet.
    fn entries(&mut self, end: &End) -> Result<Vec<Member>, ZipError> {
        if end.size > self.bytes_left {
            return Err(ZipError::DirectoryTooLarge(end.size));
        }
        self.bytes_left -= end.size;
        self.places.push((end.offset, end.offset + end.size));
        let bytes = bytes_at(self.input, end.offset, end.size)?;
        let mut entries = Vec::new();
        let mut position = 0;
        while position < bytes.len() {
            if self.listed >= MAX_MEMBERS {
                return Err(ZipError::TooManyMembers);
            }
            let Some((mut entry, next)) = central_entry(&bytes, position) else {
                let broken = Oddity::BrokenDirectory(end.offset + position as u64);
                self.directory.note(broken);
                break;
            };
            entry.header_offset = entry.header_offset.saturating_add(end.shift);
            self.listed += 1;
            entries.push(entry);
            position = next;
        }
        Ok(entries)
    }
}

/// The entry at `position` and where the next one starts; `data_offset` is not known yet.
pub(super) fn central_entry(bytes: &[u8], position: usize) -> Option<(Member, usize)> {
    let head = bytes.get(position..)?.get(..CENTRAL_BYTES)?;
    if u32_at(head, 0)? != CENTRAL_SIGNATURE {
        return None;
    }
    let name_end = position + CENTRAL_BYTES + usize::from(u16_at(head, 28)?);
    let extra_end = name_end + usize::from(u16_at(head, 30)?);
    let next = extra_end + usize::from(u16_at(head, 32)?);
    let mut member = Member {
        name: bytes.get(position + CENTRAL_BYTES..name_end)?.to_vec(),
        header_offset: u64::from(u32_at(head, 42)?),
        data_offset: 0,
        stored_size: u64::from(u32_at(head, 20)?),
        size: u64::from(u32_at(head, 24)?),
        method: u16_at(head, 10)?,
        flags: u16_at(head, 8)?,
        crc: u32_at(head, 16)?,
        seen_by: SeenBy::default(),
    };
    let Member {
        size,
        stored_size,
        header_offset,
        ..
    } = &mut member;
    widen(
        &mut [size, stored_size, header_offset],
        bytes.get(name_end..extra_end)?,
    );
    (next <= bytes.len()).then_some((member, next))
}

/// Takes the 64-bit fields from the extra data (id 1), in their fixed order, where the 32-bit ones are full.
fn widen(fields: &mut [&mut u64], mut extra: &[u8]) {
    while let (Some(id), Some(size)) = (u16_at(extra, 0), u16_at(extra, 2)) {
        let behind = extra.get(4..).unwrap_or_default();
        let (field, rest) = behind
            .split_at_checked(usize::from(size))
            .unwrap_or((behind, &[]));
        if id == 1 {
            let mut offset = 0;
            for value in fields {
                if **value == 0xffff_ffff
                    && let Some(wide) = u64_at(field, offset)
                {
                    **value = wide;
                    offset += 8;
                }
            }
            return;
        }
        extra = rest;
    }
}

/// A local header, as a member of its own.
pub(super) fn local_header(input: &dyn ReadAt, offset: u64) -> io::Result<Option<Member>> {
    let fits = |end: Option<u64>| end.is_some_and(|end| end <= input.len());
    if !fits(offset.checked_add(LOCAL_BYTES)) {
        return Ok(None);
    }
    let head = bytes_at(input, offset, LOCAL_BYTES)?;
    let field16 = |at| u16_at(&head, at).unwrap_or_default();
    let field32 = |at| u32_at(&head, at).unwrap_or_default();
    let (name, extra) = (u64::from(field16(26)), u64::from(field16(28)));
    let data_offset = offset + LOCAL_BYTES + name + extra;
    if field32(0) != LOCAL_SIGNATURE || !fits(Some(data_offset)) {
        return Ok(None);
    }
    let rest = bytes_at(input, offset + LOCAL_BYTES, name + extra)?;
    let split = usize::from(field16(26));
    let (name, extra) = rest.split_at_checked(split).unwrap_or((&rest, &[]));
    let (mut size, mut stored_size) = (u64::from(field32(22)), u64::from(field32(18)));
    widen(&mut [&mut size, &mut stored_size], extra);
    Ok(Some(Member {
        name: name.to_vec(),
        header_offset: offset,
        data_offset,
        stored_size,
        size,
        method: field16(8),
        flags: field16(6),
        crc: field32(14),
        seen_by: SeenBy::default(),
    }))
}

/// A member whose bytes were found.
pub(super) struct Placed {
    pub(super) member: Member,
    /// As its local header has it, where that makes other content of the same bytes.
    local: Option<Member>,
}

/// Follows the local header; `None`, with the oddity, if the bytes are missing.
pub(super) fn place(
    input: &dyn ReadAt,
    mut member: Member,
    oddities: &mut Vec<Oddity>,
) -> io::Result<Option<Placed>> {
    let mut note = |oddity| {
        if oddities.len() < super::MAX_ODDITIES {
            oddities.push(oddity);
        }
    };
    let name = member.name_text().into_owned();
    let local = local_header(input, member.header_offset)?;
    let inside = |local: &Member| {
        let end = local.data_offset.checked_add(member.stored_size);
        end.is_some_and(|end| end <= input.len())
    };
    let Some(local) = local.filter(inside) else {
        note(Oddity::BytesMissing(name));
        return Ok(None);
    };
    member.data_offset = local.data_offset;
    if local.name != member.name {
        note(Oddity::LocalName(name.clone()));
    }
    if member.is_encrypted() {
        note(Oddity::Encrypted(name.clone()));
    }
    if is_unsafe_name(&member.name) {
        note(Oddity::UnsafeName(name.clone()));
    }
    let fields = differences(&member, &local);
    let mut other = false;
    for field in fields {
        other |= matches!(field, LocalField::Method | LocalField::Size);
        let name = name.clone();
        note(Oddity::LocalDiffers { name, field });
    }
    let local = (other && local.end() <= input.len()).then_some(local);
    Ok(Some(Placed { member, local }))
}

/// What a local header says that the directory does not. Fields that a descriptor fills in later may be zero.
fn differences(member: &Member, local: &Member) -> Vec<LocalField> {
    let later = local.flags & HAS_DESCRIPTOR != 0;
    let differs = |said: u64, means: u64| said != means && !(later && said == 0);
    let size = differs(local.size, member.size) || differs(local.stored_size, member.stored_size);
    let encryption = (local.flags ^ member.flags) & ENCRYPTED != 0;
    let crc = differs(u64::from(local.crc), u64::from(member.crc));
    [
        (local.method != member.method, LocalField::Method),
        (encryption, LocalField::Encryption),
        (size, LocalField::Size),
        (crc, LocalField::Crc),
    ]
    .into_iter()
    .filter_map(|(differs, field)| differs.then_some(field))
    .collect()
}
