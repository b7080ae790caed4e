//! A tar archive as Python's `tarfile` reads it, with what it does not tell.
//!
//! Headers of 512 bytes, each before its member. `tarfile` ends at the first header of zeros and, behind the first
//! member, at the first that is malformed; other readers go on. So the walk goes on too and marks what it finds there.
//! Names come from the header, from a GNU member before it or from a pax record, in this order of strength. Nothing is
//! unpacked: links, devices and names that leave the folder are what an unpacking loader would be harmed by, and are
//! noted.

use std::io;

use crate::ReadAt;
use crate::read_at::bytes_at;
use crate::sniff::Format;
use crate::zip::is_unsafe_name;

/// The most members that are listed.
pub const MAX_MEMBERS: usize = 1 << 16;
/// The longest name that is kept, in bytes.
pub const MAX_NAME: usize = 4096;
/// The largest record of names or pax fields that is read, in bytes.
pub const MAX_RECORD_BYTES: u64 = 1 << 20;
/// The most oddities that are kept.
pub const MAX_ODDITIES: usize = 1000;
/// The most blocks outside of members that are searched for further headers.
pub const MAX_SEARCHED_BLOCKS: u64 = 1 << 17;

const BLOCK: u64 = 512;

/// What a member is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A file.
    File,
    /// A folder.
    Folder,
    /// Another name for an earlier member.
    HardLink,
    /// A symbolic link.
    SymLink,
    /// A device or pipe.
    Special,
    /// A file with holes; its bytes here are those that are no holes.
    Sparse,
}

/// One member.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Member {
    /// The name's bytes.
    pub name: Vec<u8>,
    /// What it is.
    pub kind: Kind,
    /// Where its header stands.
    pub header_offset: u64,
    /// Where its bytes start.
    pub data_offset: u64,
    /// How many bytes there are, cut at the end of the input.
    pub size: u64,
    /// What it links to.
    pub link: Vec<u8>,
    /// Whether it stands behind the end that `tarfile` sees.
    pub behind_end: bool,
}

impl Member {
    /// The name as text, with replacement characters where it is none.
    pub fn name_text(&self) -> std::borrow::Cow<'_, str> {
        String::from_utf8_lossy(&self.name)
    }
}

/// The members of an archive, and what is odd about it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Archive {
    /// All members in their order.
    pub members: Vec<Member>,
    /// Ranges that belong to no member and are not all zero, as offset and bytes.
    pub unclaimed: Vec<(u64, u64)>,
    /// What a well-behaved writer would not have written; at most [`MAX_ODDITIES`].
    pub oddities: Vec<Oddity>,
}

/// Something about an archive that a loader may be harmed or misled by.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Oddity {
    /// A name that leaves the folder.
    #[error("the name {0:?} leads out of the archive's folder")]
    UnsafeName(String),
    /// A link that leaves the folder.
    #[error("{name:?} links to {target:?}, out of the archive's folder")]
    UnsafeLink {
        /// The link.
        name: String,
        /// Where to.
        target: String,
    },
    /// A device or pipe.
    #[error("{0:?} is a device or a pipe")]
    Special(String),
    /// Two members have one name; the last wins.
    #[error("the name {0:?} stands in the archive more than once")]
    DuplicateName(String),
    /// The bytes reach past the end.
    #[error("the bytes of {0:?} are not all in the file")]
    BytesMissing(String),
    /// The size is negative or no number.
    #[error("the size of {0:?} is no size")]
    BadSize(String),
    /// A header with a wrong check sum, where `tarfile` ends.
    #[error("the header at byte {0} is malformed")]
    BrokenHeader(u64),
    /// Members behind the first header of zeros, where `tarfile` ends.
    #[error("members stand behind the end of the archive, from byte {0}")]
    BehindEnd(u64),
    /// Bytes that belong to no member.
    #[error("{bytes} bytes at {offset} belong to no member")]
    Unclaimed {
        /// Where they start.
        offset: u64,
        /// How many.
        bytes: u64,
    },
    /// A record of a name or of fields that is too long.
    #[error("the record at byte {0} is too long to be read")]
    LongRecord(u64),
    /// More than [`MAX_MEMBERS`], or more than [`MAX_SEARCHED_BLOCKS`] outside of them.
    #[error("the archive was not read behind byte {0}")]
    NotRead(u64),
}

/// Whether `head` starts with a header whose check sum is right, or that says that it is one.
pub fn starts(head: &[u8]) -> bool {
    let Some(block) = head.first_chunk::<512>() else {
        return false;
    };
    let sealed = is_sealed(block);
    let named = block.get(257..262) == Some(b"ustar");
    sealed || (named && block.first() != Some(&0))
}

/// What an archive is meant to be, by the names of its members.
pub fn flavour(input: &dyn ReadAt) -> io::Result<Format> {
    let archive = read(input)?;
    let has = |name: &[u8]| {
        let mut names = archive.members.iter().map(|member| member.name.as_slice());
        names.any(|found| found.strip_prefix(b"./").unwrap_or(found) == name)
    };
    Ok(if has(b"pickle") && has(b"storages") && has(b"tensors") {
        Format::TorchTar
    } else if has(b"model_config.yaml") {
        Format::Nemo
    } else {
        Format::Tar
    })
}

/// Reads all headers of `input`. Errors are of reading alone; a file that is no archive has no members.
pub fn read(input: &dyn ReadAt) -> io::Result<Archive> {
    let mut walk = Walk {
        input,
        archive: Archive::default(),
        position: 0,
        behind_end: false,
        next: Fields::default(),
        all: Fields::default(),
        loose: None,
        searches_left: MAX_SEARCHED_BLOCKS,
    };
    walk.walk()?;
    let mut archive = walk.archive;
    find_duplicates(&mut archive);
    Ok(archive)
}

/// What records before a header say about its member.
#[derive(Clone, Default)]
struct Fields {
    name: Option<Vec<u8>>,
    link: Option<Vec<u8>>,
    size: Option<u64>,
}

struct Walk<'a> {
    input: &'a dyn ReadAt,
    archive: Archive,
    position: u64,
    behind_end: bool,
    /// For the next member alone.
    next: Fields,
    /// For all members from here on.
    all: Fields,
    /// Where bytes started that belong to no member.
    loose: Option<u64>,
    searches_left: u64,
}

impl Walk<'_> {
    fn walk(&mut self) -> io::Result<()> {
        while self.position + BLOCK <= self.input.len() {
            if self.archive.members.len() >= MAX_MEMBERS || self.searches_left == 0 {
                self.note(Oddity::NotRead(self.position));
                self.loose.get_or_insert(self.position);
                break;
            }
            let mut block = [0; 512];
            self.input.read_at(self.position, &mut block)?;
            if block.iter().all(|byte| *byte == 0) {
                self.claim_to_here();
                self.searches_left -= 1;
                self.behind_end = true;
                self.position += BLOCK;
            } else if is_sealed(&block) {
                self.claim_to_here();
                if self.behind_end && !self.noted_end() {
                    self.note(Oddity::BehindEnd(self.position));
                }
                self.header(&block)?;
            } else {
                self.searches_left -= 1;
                if self.loose.is_none() {
                    if block.get(257..262) == Some(b"ustar") {
                        self.note(Oddity::BrokenHeader(self.position));
                    }
                    self.loose = Some(self.position);
                }
                self.behind_end = true;
                self.position += BLOCK;
            }
        }
        self.finish()
    }

    /// The rest, which is shorter than a block or was not walked.
    fn finish(&mut self) -> io::Result<()> {
        let end = self.input.len();
        let rest = end.saturating_sub(self.position);
        let short = bytes_at(self.input, self.position.min(end), rest.min(BLOCK))?;
        if self.loose.is_none() && short.iter().any(|byte| *byte != 0) {
            self.loose = Some(self.position);
        }
        self.position = end.max(self.position);
        self.claim_to_here();
        Ok(())
    }

    fn noted_end(&self) -> bool {
        let is_end = |oddity: &Oddity| matches!(oddity, Oddity::BehindEnd(_));
        self.archive.oddities.iter().any(is_end)
    }

    fn claim_to_here(&mut self) {
        let Some(offset) = self.loose.take() else {
            return;
        };
        let bytes = self.position.min(self.input.len()).saturating_sub(offset);
        if bytes > 0 && self.archive.unclaimed.len() < MAX_ODDITIES {
            self.archive.unclaimed.push((offset, bytes));
            self.note(Oddity::Unclaimed { offset, bytes });
        }
    }

    fn note(&mut self, oddity: Oddity) {
        if self.archive.oddities.len() < MAX_ODDITIES {
            self.archive.oddities.push(oddity);
        }
    }

    fn header(&mut self, block: &[u8; 512]) -> io::Result<()> {
        let data = self.position + BLOCK;
        let kind = block.get(156).copied().unwrap_or_default();
        let size = number(block.get(124..136).unwrap_or_default());
        match kind {
            b'L' | b'K' | b'x' | b'g' | b'X' => self.record(kind, data, size)?,
            _ => self.member(block, kind, size),
        }
        Ok(())
    }

    /// A record about the next member, or about all.
    fn record(&mut self, kind: u8, data: u64, size: Option<u64>) -> io::Result<()> {
        let size = size.unwrap_or_default();
        let left = self.input.len() - data;
        if size > MAX_RECORD_BYTES {
            self.note(Oddity::LongRecord(self.position));
        } else {
            let mut bytes = bytes_at(self.input, data, size.min(left))?;
            match kind {
                b'L' | b'K' => {
                    let end = bytes.iter().position(|byte| *byte == 0);
                    bytes.truncate(end.unwrap_or(bytes.len()).min(MAX_NAME));
                    let place = if kind == b'L' {
                        &mut self.next.name
                    } else {
                        &mut self.next.link
                    };
                    *place = Some(bytes);
                }
                b'g' => pax(&bytes, &mut self.all),
                _ => pax(&bytes, &mut self.next),
            }
        }
        self.position = data.saturating_add(padded(size));
        Ok(())
    }

    fn member(&mut self, block: &[u8; 512], kind: u8, size: Option<u64>) {
        let next = std::mem::take(&mut self.next);
        let all = self.all.clone();
        let mut name = next.name.or(all.name).unwrap_or_else(|| short_name(block));
        let link = next.link.or(all.link);
        let link = link.unwrap_or_else(|| text(block.get(157..257).unwrap_or_default()));
        let kind = match kind {
            b'1' => Kind::HardLink,
            b'2' => Kind::SymLink,
            b'3' | b'4' | b'6' => Kind::Special,
            b'5' => Kind::Folder,
            b'S' => Kind::Sparse,
            0 if name.ends_with(b"/") => Kind::Folder,
            _ => Kind::File,
        };
        name.truncate(MAX_NAME);
        let shown = String::from_utf8_lossy(&name).into_owned();
        let said = next.size.or(all.size).or(size);
        if said.is_none() {
            self.note(Oddity::BadSize(shown.clone()));
        }
        // As `tarfile`: what is a link or special has no bytes, whatever its size says.
        let has_bytes = matches!(kind, Kind::File | Kind::Sparse);
        let said = said.filter(|_| has_bytes).unwrap_or_default();
        let mut data = self.position + BLOCK;
        if kind == Kind::Sparse {
            data = data.saturating_add(self.sparse_blocks(block, data));
        }
        let left = self.input.len().saturating_sub(data);
        if said > left {
            self.note(Oddity::BytesMissing(shown.clone()));
        }
        self.judge(&name, kind, &link);
        self.archive.members.push(Member {
            name,
            kind,
            header_offset: self.position,
            data_offset: data,
            size: said.min(left),
            link,
            behind_end: self.behind_end,
        });
        self.position = data.saturating_add(padded(said));
    }

    fn judge(&mut self, name: &[u8], kind: Kind, link: &[u8]) {
        let shown = || String::from_utf8_lossy(name).into_owned();
        if is_unsafe_name(name) {
            self.note(Oddity::UnsafeName(shown()));
        }
        match kind {
            Kind::HardLink | Kind::SymLink if is_unsafe_name(link) => {
                let target = String::from_utf8_lossy(link).into_owned();
                self.note(Oddity::UnsafeLink {
                    name: shown(),
                    target,
                });
            }
            Kind::Special => self.note(Oddity::Special(shown())),
            _ => {}
        }
    }

    /// Bytes of the blocks behind an old sparse header that go on with its map.
    fn sparse_blocks(&self, block: &[u8; 512], data: u64) -> u64 {
        let mut more = block.get(482) == Some(&1);
        let mut bytes = 0;
        // A map of 21 entries a block; 64 of them are more than any writer makes.
        while more && bytes < 64 * BLOCK {
            let place = data.saturating_add(bytes + 504);
            let mut flag = [0];
            more = self.input.read_at(place, &mut flag).is_ok() && flag == [1];
            bytes += BLOCK;
        }
        bytes
    }
}

fn padded(size: u64) -> u64 {
    size.checked_next_multiple_of(BLOCK).unwrap_or(u64::MAX)
}

/// The name of a header: prefix and name where the header is of POSIX.
fn short_name(block: &[u8; 512]) -> Vec<u8> {
    let name = text(block.get(..100).unwrap_or_default());
    let prefix = text(block.get(345..500).unwrap_or_default());
    let posix = block.get(257..263) == Some(b"ustar\0");
    if prefix.is_empty() || !posix {
        return name;
    }
    [prefix.as_slice(), b"/", &name].concat()
}

fn text(field: &[u8]) -> Vec<u8> {
    let end = field.iter().position(|byte| *byte == 0);
    field
        .get(..end.unwrap_or(field.len()))
        .unwrap_or_default()
        .to_vec()
}

/// A number in octal, or in base 256 where its first bit is set.
fn number(field: &[u8]) -> Option<u64> {
    if let [0x80, rest @ ..] = field {
        return rest.iter().try_fold(0u64, |value, byte| {
            value.checked_mul(256)?.checked_add(u64::from(*byte))
        });
    }
    let digits = str::from_utf8(&text(field)).ok()?.trim().to_owned();
    if digits.is_empty() {
        return Some(0);
    }
    u64::from_str_radix(&digits, 8).ok()
}

/// Whether the check sum is right, with bytes counted unsigned or, as some writers do, signed.
fn is_sealed(block: &[u8; 512]) -> bool {
    let field = 148..156;
    let Some(said) = number(block.get(field.clone()).unwrap_or_default()) else {
        return false;
    };
    let byte = |(place, byte): (usize, &u8)| if field.contains(&place) { b' ' } else { *byte };
    let unsigned: i64 = block.iter().enumerate().map(byte).map(i64::from).sum();
    let signed: i64 = block
        .iter()
        .enumerate()
        .map(byte)
        .map(|byte| i64::from(byte.cast_signed()))
        .sum();
    i64::try_from(said).is_ok_and(|said| said == unsigned || said == signed)
}

/// Records `LENGTH KEY=VALUE\n`.
fn pax(mut bytes: &[u8], fields: &mut Fields) {
    while let Some(space) = bytes.iter().take(12).position(|byte| *byte == b' ') {
        let length = str::from_utf8(bytes.get(..space).unwrap_or_default()).ok();
        let length = length.and_then(|digits| digits.parse::<usize>().ok());
        let Some((record, rest)) = length.and_then(|length| bytes.split_at_checked(length)) else {
            return;
        };
        bytes = rest;
        let record = record.get(space + 1..).unwrap_or_default();
        let record = record.strip_suffix(b"\n").unwrap_or(record);
        let Some(equals) = record.iter().position(|byte| *byte == b'=') else {
            return;
        };
        let (key, value) = record.split_at(equals);
        let mut value = value.get(1..).unwrap_or_default().to_vec();
        value.truncate(MAX_NAME);
        match key {
            b"path" | b"GNU.sparse.name" => fields.name = Some(value),
            b"linkpath" => fields.link = Some(value),
            b"size" => {
                let digits = String::from_utf8_lossy(&value).into_owned();
                fields.size = digits.parse().ok();
            }
            _ => {}
        }
    }
}

fn find_duplicates(archive: &mut Archive) {
    let files = archive.members.iter();
    let mut names: Vec<&[u8]> = files
        .filter(|member| member.kind != Kind::Folder)
        .map(|member| member.name.as_slice())
        .collect();
    names.sort_unstable();
    let mut twice: Vec<String> = names
        .windows(2)
        .filter(|pair| pair[0] == pair[1])
        .map(|pair| String::from_utf8_lossy(pair[0]).into_owned())
        .collect();
    twice.dedup();
    let room = MAX_ODDITIES.saturating_sub(archive.oddities.len());
    let twice = twice.into_iter().take(room);
    archive.oddities.extend(twice.map(Oddity::DuplicateName));
}
