//! A ZIP archive as every reader would see it: torch's, Python's, and one that goes by the bytes alone.
//!
//! A ZIP file says everything twice: a directory at the end names the members, a header before each repeats it. Both are
//! the attacker's, and readers differ in which they follow. Torch's reader (miniz) takes the last end record, matches
//! names without case, lets the last of equal names win and looks at neither check sums nor what the local header says.
//! Python's allows bytes before the archive, cuts names at a zero byte and wants the local name to be the same. So
//! [`read`] gives the members of both directories, and beside them what neither lists but stands there: local headers
//! between members, entries of a second directory, members as their local headers have them. Each says who would see it
//! ([`SeenBy`]); a scanner looks into all. What is left over is named in [`Directory::unclaimed`].
//!
//! Members are opened by [`open`]; check sums are compared on request alone ([`verify`]), because no loader of
//! checkpoints does before it runs what it read.

mod central;
mod chain;
mod content;
mod end;
mod hidden;

use std::io;

use crate::ReadAt;

pub use chain::split;
pub use content::{Content, CrcError, Refused, Sums, compare, open, sum_of, verify};

/// The largest central directory that is read, in bytes: all directories of a file together.
pub const MAX_DIRECTORY_BYTES: u64 = 16 << 20;
/// The most members that are listed, in all views together.
pub const MAX_MEMBERS: u64 = 1 << 17;
/// The most oddities that are kept; the first ones are.
pub const MAX_ODDITIES: usize = 1000;
/// The most ranges of bytes that belong to no member; the first ones are kept.
pub const MAX_UNCLAIMED: usize = 1000;
/// Bytes outside of members that are searched for members that no directory lists.
pub const MAX_SEARCHED_BYTES: u64 = 64 << 20;

/// One member, as the central directory has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Member {
    /// The name's bytes; ZIP does not say reliably in which encoding.
    pub name: Vec<u8>,
    /// Where its local header stands.
    pub header_offset: u64,
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
    /// Who would find it.
    pub seen_by: SeenBy,
}

/// Which readers find a member; one that none finds may still be found by its bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct SeenBy {
    /// `torch.load` and the other readers that are built on miniz.
    pub torch: bool,
    /// `zipfile`, and with it NumPy, Keras and skops.
    pub python: bool,
}

impl SeenBy {
    /// Whether neither of the two finds it.
    pub const fn nobody(self) -> bool {
        !self.torch && !self.python
    }
}

impl Member {
    /// Whether its bytes stand in the archive as they are: neither compressed nor of two sizes.
    pub fn is_stored(&self) -> bool {
        self.method == 0 && self.stored_size == self.size
    }

    /// Whether its bytes are said to be encrypted; the directory decides that for both readers.
    pub fn is_encrypted(&self) -> bool {
        self.flags & 0x2041 != 0
    }

    /// Whether it is a folder.
    pub fn is_folder(&self) -> bool {
        self.name.ends_with(b"/") && self.size == 0
    }

    /// The name as text, with replacement characters where it is none.
    pub fn name_text(&self) -> std::borrow::Cow<'_, str> {
        String::from_utf8_lossy(&self.name)
    }

    fn end(&self) -> u64 {
        self.data_offset.saturating_add(self.stored_size)
    }
}

/// Whether a path that an archive gives leaves the folder that it is unpacked in: absolute, with a drive, with `..`, or
/// with a character that ends or separates names elsewhere.
pub fn is_unsafe_name(name: &[u8]) -> bool {
    let drive = matches!(name, [letter, b':', ..] if letter.is_ascii_alphabetic());
    let climbs = name
        .split(|byte| matches!(byte, b'/' | b'\\'))
        .any(|part| part == b"..");
    drive || climbs || name.starts_with(b"/") || name.contains(&b'\\') || name.contains(&0)
}

/// The members of an archive in the order of its directory, and what is odd about it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Directory {
    /// All members of torch's view whose bytes were found; of Python's where torch would refuse the archive.
    pub members: Vec<Member>,
    /// Members that only Python's view has, and those that no directory lists.
    pub others: Vec<Member>,
    /// Ranges of the file that belong to no member, as offset and bytes, without those that are all zero: before the
    /// archive, between members, the comment, behind the end.
    pub unclaimed: Vec<(u64, u64)>,
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
    /// The local header says something else than the directory.
    #[error("the header before the bytes of {name:?} has another {field}")]
    LocalDiffers {
        /// The member.
        name: String,
        /// In what they differ.
        field: LocalField,
    },
    /// The local header is missing or the bytes reach past the end.
    #[error("the bytes of {0:?} are not in the file")]
    BytesMissing(String),
    /// It is said to be encrypted.
    #[error("{0:?} is encrypted")]
    Encrypted(String),
    /// Unpacked by its name it would land outside of the folder; see [`is_unsafe_name`].
    #[error("the name {0:?} leads out of the archive's folder")]
    UnsafeName(String),
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
    /// Torch's reader and Python's take different directories, or one of them none.
    #[error("readers disagree about where the directory is")]
    TwoDirectories,
    /// A member that no directory lists.
    #[error("{name:?} at byte {offset} is in no directory")]
    Unlisted {
        /// By its local header.
        name: String,
        /// Where that stands.
        offset: u64,
    },
    /// Bytes that belong to no member.
    #[error("{bytes} bytes at {offset} belong to no member")]
    Unclaimed {
        /// Where they start.
        offset: u64,
        /// How many.
        bytes: u64,
    },
    /// More than [`MAX_SEARCHED_BYTES`] belong to no member, so not all were searched.
    #[error("{0} bytes that belong to no member were not searched")]
    NotSearched(u64),
}

/// In what a local header and the directory differ.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum LocalField {
    /// The method of compression.
    #[error("method of compression")]
    Method,
    /// Whether it is encrypted.
    #[error("mark of encryption")]
    Encryption,
    /// One of the two sizes.
    #[error("size")]
    Size,
    /// The check sum.
    #[error("check sum")]
    Crc,
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

    /// The members of all views, each once: a scanner looks into every one of them. Names may repeat.
    pub fn members_all_views(&self) -> impl Iterator<Item = &Member> {
        self.members.iter().chain(&self.others)
    }

    /// How many members [`Directory::members_all_views`] gives.
    pub fn len_all_views(&self) -> usize {
        self.members.len() + self.others.len()
    }

    fn note(&mut self, oddity: Oddity) {
        if self.oddities.len() < MAX_ODDITIES {
            self.oddities.push(oddity);
        }
    }

    fn is_full(&self) -> bool {
        self.len_all_views() as u64 >= MAX_MEMBERS
    }
}

/// Where an archive that `input` ends with ends itself: behind the comment of the end record that readers would take, if
/// a directory is where it says. What stands before the archive does not matter.
pub fn end(input: &dyn ReadAt) -> io::Result<Option<u64>> {
    let ends = match end::find(input) {
        Ok(ends) => ends,
        Err(ZipError::Io(error)) => return Err(error),
        Err(_) => return Ok(None),
    };
    for found in [ends.torch, ends.python].into_iter().flatten() {
        if found.size == 0 || central::starts(input, found.offset)? {
            return Ok(Some(input.len() - ends.trailing.unwrap_or_default()));
        }
    }
    Ok(None)
}

/// Reads the directories of the archive that `input` is.
pub fn read(input: &dyn ReadAt) -> Result<Directory, ZipError> {
    let ends = end::find(input)?;
    let mut directory = Directory::default();
    if let Some(trailing) = ends.trailing {
        directory.note(Oddity::TrailingBytes(trailing));
    }
    let (first, second) = match (ends.torch, ends.python) {
        (Some(torch), python) => (torch, python.filter(|python| !python.same_as(&torch))),
        (None, Some(python)) => (python, None),
        (None, None) => return Err(ZipError::NoEnd),
    };
    let agreed = ends.torch.is_some() && ends.python.is_some() && second.is_none();
    let seen_by = SeenBy {
        torch: ends.torch.is_some(),
        python: agreed || ends.torch.is_none(),
    };
    if !agreed && ends.torch.is_some() {
        directory.note(Oddity::TwoDirectories);
    }
    let mut walk = central::Walk::new(input, &mut directory);
    walk.read(&first, seen_by)?;
    if let Some(python) = second {
        walk.read_second(&python)?;
    }
    let mut places = walk.places;
    places.extend(ends.records);
    find_duplicates(&mut directory);
    find_overlaps(&mut directory);
    hidden::search(input, &places, &mut directory)?;
    Ok(directory)
}

/// The members that stand in `input` by their local headers alone, for an archive whose end is cut off or mutilated. A
/// reader of streams takes them so.
pub fn salvage(input: &dyn ReadAt) -> io::Result<Directory> {
    let mut directory = Directory::default();
    hidden::search(input, &[], &mut directory)?;
    Ok(directory)
}

fn find_duplicates(directory: &mut Directory) {
    let members = &directory.members;
    let mut order: Vec<&[u8]> = members
        .iter()
        .map(|member| member.name.as_slice())
        .collect();
    order.sort_unstable_by(|a, b| {
        let (a, b) = (a.iter(), b.iter());
        a.map(u8::to_ascii_lowercase)
            .cmp(b.map(u8::to_ascii_lowercase))
    });
    let mut twice: Vec<Vec<u8>> = order
        .windows(2)
        .filter(|pair| pair[0].eq_ignore_ascii_case(pair[1]))
        .map(|pair| pair[0].to_ascii_lowercase())
        .take(MAX_ODDITIES)
        .collect();
    twice.dedup();
    for name in twice {
        let name = String::from_utf8_lossy(&name).into_owned();
        directory.note(Oddity::DuplicateName(name));
    }
}

fn find_overlaps(directory: &mut Directory) {
    let mut ranges: Vec<(u64, u64, usize)> = directory
        .members
        .iter()
        .enumerate()
        .map(|(index, member)| (member.header_offset, member.end(), index))
        .collect();
    ranges.sort_unstable();
    let mut covered = 0;
    let mut overlapping = Vec::new();
    for (start, end, index) in ranges {
        if start < covered && overlapping.len() < MAX_ODDITIES {
            let name = directory.members.get(index).map(Member::name_text);
            overlapping.extend(name.map(std::borrow::Cow::into_owned));
        }
        covered = covered.max(end);
    }
    for name in overlapping {
        directory.note(Oddity::Overlap(name));
    }
}
