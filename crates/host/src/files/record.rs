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
