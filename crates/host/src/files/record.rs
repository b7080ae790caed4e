//! What the kernel writes when it is asked what happened to files (fanotify): the bytes of one read, to records.
//!
//! It looks nothing up and owns no descriptor: a [`Record`] says which number the kernel gave for the process, and whoever
//! made the read takes that over. What is not known is passed over by its length, and where a length cannot be, reading ends.

use std::ffi::OsStr;
use std::hash::{Hash, Hasher};
use std::os::unix::ffi::OsStrExt as _;

/// The most bytes of a file handle (`MAX_HANDLE_SZ`).
pub const HANDLE_MAX: usize = 128;
/// Bytes of the head of a record, and of each part behind it.
const HEAD: usize = 24;
const PART_HEAD: usize = 4;
/// The name by which the kernel tells of a folder itself.
const ITSELF: &[u8] = b".";

/// How the kernel names a file or folder without a path; the same for as long as it exists, and never given to another.
#[derive(Clone, Copy)]
pub struct Handle {
    /// The file system, as `statfs` gives it: its first word in the lower half.
    pub file_system: u64,
    /// How the file system lays out the bytes.
    pub kind: i32,
    bytes: [u8; HANDLE_MAX],
    length: usize,
}

impl Handle {
    /// `None` with more bytes than a handle has.
    pub fn new(file_system: u64, kind: i32, bytes: &[u8]) -> Option<Self> {
        let mut own = [0; HANDLE_MAX];
        own.get_mut(..bytes.len())?.copy_from_slice(bytes);
        Some(Self {
            file_system,
            kind,
            bytes: own,
            length: bytes.len(),
        })
    }

    /// The bytes, which mean something to the file system alone.
    pub fn bytes(&self) -> &[u8] {
        self.bytes.get(..self.length).unwrap_or_default()
    }
}

impl PartialEq for Handle {
    fn eq(&self, other: &Self) -> bool {
        (self.file_system, self.kind, self.bytes())
            == (other.file_system, other.kind, other.bytes())
    }
}

impl Eq for Handle {}

impl Hash for Handle {
    fn hash<H: Hasher>(&self, state: &mut H) {
        (self.file_system, self.kind, self.bytes()).hash(state);
    }
}

impl std::fmt::Debug for Handle {
    fn fmt(&self, to: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(to, "{:x}:{}:", self.file_system, self.kind)?;
        self.bytes()
            .iter()
            .try_for_each(|byte| write!(to, "{byte:02x}"))
    }
}

/// A name in a folder; `.` is the folder itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Named<'a> {
    /// The folder.
    pub folder: Handle,
    /// One name, without `/`.
    pub name: &'a OsStr,
}

/// One thing that happened, or several of one process to one file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record<'a> {
    /// What, as the kernel's bits.
    pub mask: u64,
    /// Who, in our namespace; zero if it has no number there.
    pub pid: u32,
    /// The number of a descriptor of that process, which is ours to close; none if it is negative.
    pub process: Option<i32>,
    /// The same of the file, where the queue tells files by opening them.
    pub file: i32,
    /// Where. Of a rename: under which name it is now.
    pub place: Option<Named<'a>>,
    /// Of a rename: under which name it was.
    pub from: Option<Named<'a>>,
    /// The file or folder itself.
    pub target: Option<Handle>,
    /// All of it that should be known was understood.
    pub is_whole: bool,
}

/// The records in the bytes of one read.
#[derive(Debug, Clone)]
pub struct Records<'a>(&'a [u8]);

/// Reads the bytes of one read.
pub fn records(bytes: &[u8]) -> Records<'_> {
    Records(bytes)
}

impl<'a> Records<'a> {
    /// What was not read yet. Left over at the end: something that is no record.
    pub fn rest(&self) -> &'a [u8] {
        self.0
    }
}

impl<'a> Iterator for Records<'a> {
    type Item = Record<'a>;

    fn next(&mut self) -> Option<Record<'a>> {
        let (bytes, rest) = cut(self.0, u32::from_ne_bytes(*self.0.first_chunk()?))?;
        let head = bytes.first_chunk::<HEAD>()?;
        let parts = bytes.get(usize::from(half(head, 6)?)..)?;
        let is_known = *head.get(4)? == libc::FANOTIFY_METADATA_VERSION;
        if !is_known || bytes.len() - parts.len() < HEAD {
            return None;
        }
        let mut record = Record {
            mask: u64::from_ne_bytes(*head.get(8..)?.first_chunk()?),
            pid: word(head, 20)?,
            file: i32::from_ne_bytes(*head.get(16..)?.first_chunk()?),
            process: None,
            place: None,
            from: None,
            target: None,
            is_whole: true,
        };
        record.read(parts);
        self.0 = rest;
        Some(record)
    }
}

impl<'a> Record<'a> {
    fn read(&mut self, mut parts: &'a [u8]) {
        while !parts.is_empty() {
            let length = half(parts, 2).map(u32::from);
            let Some((part, rest)) = length.and_then(|length| cut(parts, length)) else {
                self.is_whole = false;
                return;
            };
            self.is_whole &= self.part(part).is_some();
            parts = rest;
        }
    }

    /// `None` where it is of a kind that is known, and makes no sense.
    fn part(&mut self, part: &'a [u8]) -> Option<()> {
        let (head, body) = part.split_first_chunk::<PART_HEAD>()?;
        match head.first().copied()? {
            libc::FAN_EVENT_INFO_TYPE_PIDFD => {
                let number = i32::from_ne_bytes(*body.first_chunk()?);
                // A second one would be somebody's that we do not know.
                set(&mut self.process, number)
            }
            libc::FAN_EVENT_INFO_TYPE_FID => set(&mut self.target, handle(body)?.0),
            libc::FAN_EVENT_INFO_TYPE_DFID
            | libc::FAN_EVENT_INFO_TYPE_DFID_NAME
            | libc::FAN_EVENT_INFO_TYPE_NEW_DFID_NAME => set(&mut self.place, named(body)?),
            libc::FAN_EVENT_INFO_TYPE_OLD_DFID_NAME => set(&mut self.from, named(body)?),
            _ => Some(()),
        }
    }
}

/// The first one counts.
fn set<T>(place: &mut Option<T>, value: T) -> Option<()> {
    if place.is_some() {
        return None;
    }
    *place = Some(value);
    Some(())
}

fn named(body: &[u8]) -> Option<Named<'_>> {
    let (folder, rest) = handle(body)?;
    let end = rest.iter().position(|byte| *byte == 0);
    let name = rest.get(..end.unwrap_or(rest.len()))?;
    if name.contains(&b'/') {
        return None;
    }
    let name = if name.is_empty() { ITSELF } else { name };
    Some(Named {
        folder,
        name: OsStr::from_bytes(name),
    })
}

/// A handle, and what lies behind it: the number of the file system in two words, length, kind, and so many bytes.
fn handle(body: &[u8]) -> Option<(Handle, &[u8])> {
    let file_system = u64::from(word(body, 0)?) | u64::from(word(body, 4)?) << 32;
    let length = usize::try_from(word(body, 8)?).ok()?;
    let kind = i32::from_ne_bytes(*body.get(12..)?.first_chunk()?);
    let (bytes, rest) = body.get(16..)?.split_at_checked(length)?;
    Some((Handle::new(file_system, kind, bytes)?, rest))
}

/// So many bytes, and what lies behind them. At least one, so that every step goes on.
fn cut(bytes: &[u8], length: u32) -> Option<(&[u8], &[u8])> {
    let length = usize::try_from(length).ok()?;
    if length == 0 {
        return None;
    }
    bytes.split_at_checked(length)
}

fn word(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_ne_bytes(*bytes.get(at..)?.first_chunk()?))
}

fn half(bytes: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_ne_bytes(*bytes.get(at..)?.first_chunk()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The number of the file system in all of these.
    const SYSTEM: [u32; 2] = [0x11, 0x22];

    fn part(kind: u8, body: &[u8]) -> Vec<u8> {
        let length = u16::try_from(PART_HEAD + body.len()).unwrap();
        [&[kind, 0][..], &length.to_ne_bytes(), body].concat()
    }

    fn place(kind: u8, handle: &[u8], name: &[u8]) -> Vec<u8> {
        let mut body: Vec<u8> = SYSTEM.into_iter().flat_map(u32::to_ne_bytes).collect();
        body.extend(u32::try_from(handle.len()).unwrap().to_ne_bytes());
        body.extend(1i32.to_ne_bytes());
        body.extend(handle);
        body.extend(name);
        body.resize(body.len().next_multiple_of(4), 0);
        part(kind, &body)
    }

    fn process(number: i32) -> Vec<u8> {
        part(4, &number.to_ne_bytes())
    }

    fn record(mask: u64, pid: i32, parts: &[Vec<u8>]) -> Vec<u8> {
        let parts = parts.concat();
        let length = u32::try_from(HEAD + parts.len()).unwrap();
        let mut bytes = length.to_ne_bytes().to_vec();
        bytes.extend([3, 0]);
        bytes.extend(24u16.to_ne_bytes());
        bytes.extend(mask.to_ne_bytes());
        bytes.extend((-1i32).to_ne_bytes());
        bytes.extend(pid.to_ne_bytes());
        bytes.extend(parts);
        bytes
    }

    fn written() -> Vec<u8> {
        let parts = [
            place(2, b"folder-1", b"a\0"),
            place(1, b"file-one", b""),
            process(7),
        ];
        record(0xA, 41, &parts)
    }

    fn renamed() -> Vec<u8> {
        let parts = [
            place(10, b"folder-1", b"old\0"),
            place(12, b"folder-2", b"new\0"),
            place(1, b"file-one", b""),
            process(-1),
        ];
        record(0x1000_0000, 42, &parts)
    }

    fn overflow() -> Vec<u8> {
        record(0x4000, 0, &[process(-1)])
    }

    fn in_folder(handle: &[u8], name: &'static str) -> Named<'static> {
        Named {
            folder: Handle::new(0x22_0000_0011, 1, handle).unwrap(),
            name: OsStr::new(name),
        }
    }

    #[test]
    fn one_that_is_written_is_told_with_name_process_and_file() {
        let bytes = written();
        let mut all = records(&bytes);
        let found = all.next().unwrap();
        assert_eq!((found.mask, found.pid, found.process), (0xA, 41, Some(7)));
        assert_eq!(found.place, Some(in_folder(b"folder-1", "a")));
        assert_eq!(found.from, None);
        assert_eq!(found.target.unwrap().bytes(), b"file-one");
        assert!(found.is_whole && all.next().is_none() && all.rest().is_empty());
    }

    #[test]
    fn one_that_is_renamed_is_told_with_both_names_and_others_follow() {
        let bytes = [renamed(), overflow(), written()].concat();
        let all: Vec<Record<'_>> = records(&bytes).collect();
        assert_eq!(all.len(), 3);
        assert_eq!(all[0].from, Some(in_folder(b"folder-1", "old")));
        assert_eq!(all[0].place, Some(in_folder(b"folder-2", "new")));
        assert_eq!((all[0].pid, all[0].process), (42, Some(-1)));
        assert_eq!((all[1].mask, &all[1].place), (0x4000, &None));
        assert_eq!(all[2].process, Some(7));
        assert!(all.iter().all(|record| record.is_whole));
    }

    #[test]
    fn wherever_it_is_cut_what_is_whole_is_told_and_the_rest_is_left() {
        let bytes = [written(), renamed()].concat();
        let first = written().len();
        for end in 0..bytes.len() {
            let mut all = records(&bytes[..end]);
            assert_eq!(all.by_ref().count(), usize::from(end >= first), "{end}");
            let rest = if end < first { end } else { end - first };
            assert_eq!(all.rest().len(), rest, "{end}");
        }
    }

    #[test]
    fn a_part_that_is_cut_takes_neither_the_parts_before_nor_the_records_behind() {
        let whole = written();
        for end in HEAD..whole.len() {
            let mut bytes = whole[..end].to_vec();
            bytes.splice(..4, u32::try_from(end).unwrap().to_ne_bytes());
            bytes.extend(overflow());
            let all: Vec<Record<'_>> = records(&bytes).collect();
            assert_eq!(all.len(), 2, "{end}");
            assert_eq!((all[0].pid, all[1].mask), (41, 0x4000));
            let is_between = [0, 32, 60].contains(&(end - HEAD));
            assert_eq!(all[0].is_whole, is_between, "{end}");
            assert_eq!(all[0].place.is_some(), end - HEAD >= 32, "{end}");
        }
    }

    #[test]
    fn parts_of_unknown_kinds_are_passed_over() {
        let parts = [
            part(99, b"whatever"),
            place(2, b"f", b"a\0"),
            part(5, &[0; 8]),
            process(9),
        ];
        let bytes = record(8, 1, &parts);
        let found = records(&bytes).next().unwrap();
        assert_eq!(found.place.unwrap().name, "a");
        assert!(found.is_whole && found.process == Some(9));
    }

    #[test]
    fn parts_that_make_no_sense_are_said_to_and_the_process_behind_them_is_found() {
        let mut long = place(2, b"folder-1", b"a\0");
        long.splice(12..16, 129u32.to_ne_bytes());
        let odd = [
            long,
            place(2, &[0; HANDLE_MAX + 1], b"a\0"),
            place(2, b"folder-1", b"../a\0"),
            part(2, b"short"),
            part(4, b"no"),
        ];
        for part in odd {
            let bytes = record(8, 1, &[part, process(9)]);
            let found = records(&bytes).next().unwrap();
            assert!(!found.is_whole && found.place.is_none());
            assert_eq!(found.process, Some(9));
        }
        let twice = record(8, 1, &[process(9), process(10)]);
        let found = records(&twice).next().unwrap();
        assert!(!found.is_whole && found.process == Some(9));
    }

    #[test]
    fn a_name_that_is_missing_is_the_folder_itself() {
        for part in [
            place(2, b"folder-1", b".\0"),
            place(3, b"folder-1", b""),
            place(2, b"folder-1", b"\0"),
        ] {
            let bytes = record(4, 1, &[part]);
            let found = records(&bytes).next().unwrap();
            assert_eq!(found.place, Some(in_folder(b"folder-1", ".")));
        }
    }

    #[test]
    fn lengths_and_versions_that_cannot_be_end_the_reading() {
        let with = |at: usize, byte: u8| {
            let mut bytes = written();
            bytes[at..at + 2].copy_from_slice(&u16::from(byte).to_ne_bytes());
            bytes
        };
        for bytes in [
            with(0, 0),
            with(0, 23),
            with(0, 255),
            with(4, 2),
            with(6, 0),
            with(6, 23),
            with(6, 255),
        ] {
            let mut all = records(&bytes);
            assert!(all.next().is_none() && all.next().is_none());
            assert_eq!(all.rest().len(), bytes.len());
        }
        // A part without length: reading goes on behind the record.
        let bytes = [with(HEAD + 2, 0), overflow()].concat();
        assert_eq!(records(&bytes).count(), 2);
        let odd: Vec<u8> = written().iter().map(|byte| byte ^ 0xFF).collect();
        assert_eq!(records(&odd).count(), 0);
    }

    /// What Linux 6.18 wrote for `mv b a` on a tmpfs, where `a` was there already: the rename, and that the other file has lost
    /// a name.
    #[test]
    #[cfg(target_endian = "little")]
    fn a_recorded_rename_over_another_file_is_read() {
        let text = "88000000030018000000001000000000ffffffff20500000\
            0a002400403d8b9739bb472c0c00000001000000a293c061020000000000000062000000\
            0c002400403d8b9739bb472c0c00000001000000a293c061020000000000000061000000\
            01002000403d8b9739bb472c0c00000001000000a3c14acc0400000000000000\
            04000800ffffffff\
            40000000030018000400000000000000ffffffff20500000\
            01002000403d8b9739bb472c0c000000010000005ce889f90300000000000000\
            04000800ffffffff";
        let digits: Vec<char> = text.chars().collect();
        let byte = |pair: &[char]| u8::from_str_radix(&String::from_iter(pair), 16).unwrap();
        let bytes: Vec<u8> = digits.chunks(2).map(byte).collect();
        let all: Vec<Record<'_>> = records(&bytes).collect();
        assert_eq!(all.len(), 2);
        assert!(all.iter().all(|it| it.is_whole && it.pid == 0x5020));
        let (from, to) = (all[0].from.unwrap(), all[0].place.unwrap());
        assert_eq!(
            (from.name, to.name, from.folder),
            (OsStr::new("b"), OsStr::new("a"), to.folder)
        );
        assert_eq!(to.folder.file_system, 0x2C47_BB39_978B_3D40);
        assert_eq!((all[1].mask, &all[1].place), (libc::FAN_ATTRIB, &None));
        assert_ne!(all[0].target, all[1].target);
        assert_eq!(all[0].process, Some(-1));
    }
}
