//! HDF5 as far as a scanner needs it: objects, links, attributes, and where the numbers lie.
//!
//! A full reader of this format has had its share of memory faults; this one decodes no number of any dataset. It follows
//! groups of the old kind and of the new one, headers and their continuations, and keeps what leads out of the file: links,
//! external storage, virtual datasets, filters that need a plugin. What it does not follow is told as unread, because a
//! link that nobody looked at is no clean link.
//! <https://support.hdfgroup.org/documentation/hdf5/latest/_f_m_t3.html>

mod dense;
mod group;
mod header;
mod message;
#[cfg(test)]
mod tests;

use std::collections::HashSet;

use crate::ReadAt;
use crate::paged::{PageError, Pages};
use crate::protobuf::Span;

/// The most objects that are followed.
pub const MAX_OBJECTS: usize = 1 << 17;
/// The most links, attributes and datasets that are kept, each.
pub const MAX_RECORDS: usize = 1 << 13;
/// The longest name that is kept, in bytes.
pub const MAX_NAME: usize = 1024;
/// The most messages of one object.
const MAX_MESSAGES: usize = 1 << 14;

const SIGNATURE: [u8; 8] = *b"\x89HDF\r\n\x1a\n";

/// What a file holds.
#[derive(Debug, Default)]
pub struct File {
    /// Bytes before the signature: a user block, which may be anything.
    pub user_block: u64,
    /// Objects that were followed.
    pub objects: usize,
    /// Links that lead somewhere by name.
    pub links: Vec<Link>,
    /// Attributes, the root's first.
    pub attributes: Vec<Attribute>,
    /// Datasets that are kept elsewhere or need a plugin.
    pub datasets: Vec<Dataset>,
    /// Bytes of datasets, as shape and type say.
    pub raw_bytes: u64,
    /// What was not followed: what and where.
    pub unread: Vec<(Unread, u64)>,
    /// Records beyond the limits.
    pub left_out: u64,
}

/// A link by name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Link {
    /// Path of the link itself.
    pub path: String,
    /// The other file, for an external link.
    pub file: Option<String>,
    /// Path of what it means.
    pub target: String,
    /// Where it stands.
    pub offset: u64,
}

/// An attribute of an object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Attribute {
    /// Path of the object.
    pub object: String,
    /// Its name.
    pub name: String,
    /// Where its text lies, if it is one text.
    pub text: Option<Span>,
    /// Where it stands.
    pub offset: u64,
}

/// A dataset whose bytes are not simply in the file.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Dataset {
    /// Path.
    pub path: String,
    /// Files that its bytes are read from.
    pub files: Vec<String>,
    /// Filters outside of the library, by their registered numbers.
    pub plugins: Vec<u16>,
    /// Where its header stands.
    pub offset: u64,
}

/// Why something was not followed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Unread {
    /// The structure breaks off or contradicts itself.
    #[error("{0} breaks off or contradicts itself")]
    Broken(&'static str),
    /// A form of the format that this reader does not know.
    #[error("{0} of a kind that is not read")]
    Kind(&'static str),
    /// More than a limit.
    #[error("more {0} than are followed")]
    Limit(&'static str),
}

/// Why nothing can be read.
#[derive(Debug, thiserror::Error)]
pub enum HdfError {
    /// No signature where one may stand.
    #[error("no signature of HDF5 was found")]
    NoSignature,
    /// A superblock of another version, or with sizes that nobody writes.
    #[error("a superblock that is not read")]
    Superblock,
    /// The bytes are not to be had.
    #[error(transparent)]
    Page(#[from] PageError),
}

/// Where the signature stands: at the start or behind a user block.
pub fn signature(input: &dyn ReadAt) -> Option<u64> {
    let mut place = 0u64;
    // A user block is 512 bytes or a larger power of two.
    while place.checked_add(64)? <= input.len() {
        let mut head = [0; 8];
        input.read_at(place, &mut head).ok()?;
        if head == SIGNATURE {
            return Some(place);
        }
        place = if place == 0 {
            512
        } else {
            place.checked_mul(2)?
        };
    }
    None
}

/// Reads the structure of `input`.
pub fn read(input: &dyn ReadAt) -> Result<File, HdfError> {
    let place = signature(input).ok_or(HdfError::NoSignature)?;
    let pages = Pages::new(input);
    let (shape, root) = superblock(&pages, place)?;
    let mut reader = Reader {
        pages,
        shape,
        file: File {
            user_block: place,
            ..File::default()
        },
        seen: HashSet::new(),
        queue: vec![("/".to_owned(), root)],
    };
    reader.run();
    Ok(reader.file)
}

/// Widths of addresses and lengths, and what addresses count from.
#[derive(Debug, Clone, Copy)]
struct Shape {
    offsets: u64,
    lengths: u64,
    base: u64,
}

fn superblock(pages: &Pages<'_>, place: u64) -> Result<(Shape, u64), HdfError> {
    let version = pages.u8(place + 8)?;
    let sizes = match version {
        0 | 1 => place + 13,
        2 | 3 => place + 9,
        _ => return Err(HdfError::Superblock),
    };
    let mut shape = Shape {
        offsets: u64::from(pages.u8(sizes)?),
        lengths: u64::from(pages.u8(sizes + 1)?),
        base: 0,
    };
    let usual = |width| matches!(width, 2 | 4 | 8);
    if !usual(shape.offsets) || !usual(shape.lengths) {
        return Err(HdfError::Superblock);
    }
    let addresses = match version {
        0 => place + 24,
        1 => place + 28,
        _ => place + 12,
    };
    let base = number(pages, addresses, shape.offsets)?;
    // Writers that prepend a user block later do not always correct it: the library takes the place of the signature then.
    shape.base = base.max(place);
    let root = match version {
        0 | 1 => addresses + 5 * shape.offsets,
        _ => addresses + 3 * shape.offsets,
    };
    let root = number(pages, root, shape.offsets)?;
    let root = shape.base.checked_add(root).ok_or(HdfError::Superblock)?;
    Ok((shape, root))
}

/// A little-endian number of `width` bytes, at most eight.
fn number(pages: &Pages<'_>, offset: u64, width: u64) -> Result<u64, PageError> {
    let mut bytes = [0; 8];
    let width = usize::try_from(width).unwrap_or(8).min(8);
    if let Some(part) = bytes.get_mut(..width) {
        pages.fill(offset, part)?;
    }
    Ok(u64::from_le_bytes(bytes))
}

struct Reader<'a> {
    pages: Pages<'a>,
    shape: Shape,
    file: File,
    seen: HashSet<u64>,
    /// Objects that were named and not read yet: path and place of the header.
    queue: Vec<(String, u64)>,
}

impl Reader<'_> {
    fn run(&mut self) {
        while let Some((path, place)) = self.queue.pop() {
            if !self.seen.insert(place) {
                continue;
            }
            if self.file.objects >= MAX_OBJECTS {
                return self.unread(Unread::Limit("objects"), place);
            }
            self.file.objects += 1;
            if self.object(&path, place).is_err() {
                self.unread(Unread::Broken("an object"), place);
            }
        }
    }

    fn unread(&mut self, what: Unread, place: u64) {
        const MOST: usize = 64;
        if self.file.unread.len() < MOST {
            let place = place.min(self.pages.len());
            self.file.unread.push((what, place));
        } else {
            self.file.left_out += 1;
        }
    }

    /// An address at `offset` as a place in the file; `None` if it says that there is nothing.
    fn address(&self, offset: u64) -> Result<Option<u64>, PageError> {
        let address = number(&self.pages, offset, self.shape.offsets)?;
        let undefined = u64::MAX >> (64 - 8 * self.shape.offsets.min(8));
        if address == undefined {
            return Ok(None);
        }
        // Within the file, so that what is added to it later cannot overflow.
        let place = self.shape.base.checked_add(address);
        let place = place.filter(|place| *place <= self.pages.len());
        place.map(Some).ok_or(PageError::Outside(offset))
    }

    fn length(&self, offset: u64) -> Result<u64, PageError> {
        number(&self.pages, offset, self.shape.lengths)
    }

    /// The place `length` bytes behind `offset`, which has to lie in the file.
    fn behind(&self, offset: u64, length: u64) -> Result<u64, PageError> {
        let behind = offset.checked_add(length);
        let behind = behind.filter(|behind| *behind <= self.pages.len());
        behind.ok_or(PageError::Outside(offset))
    }

    /// The text at `offset` up to its zero byte, at most `most` bytes.
    fn text(&self, offset: u64, most: u64) -> Result<String, PageError> {
        let rest = self.pages.len().saturating_sub(offset);
        let size = most.min(rest).min(MAX_NAME as u64);
        let bytes = self.pages.bytes(offset, size, MAX_NAME)?;
        let end = bytes.iter().position(|byte| *byte == 0);
        let bytes = bytes.get(..end.unwrap_or(bytes.len()));
        Ok(String::from_utf8_lossy(bytes.unwrap_or_default()).into_owned())
    }

    fn child(&mut self, parent: &str, name: &str, place: u64) {
        if self.queue.len() >= MAX_OBJECTS {
            return self.unread(Unread::Limit("objects"), place);
        }
        if !self.seen.contains(&place) {
            self.queue.push((joined(parent, name), place));
        }
    }

    fn link(&mut self, link: Link) {
        if self.file.links.len() < MAX_RECORDS {
            self.file.links.push(link);
        } else {
            self.file.left_out += 1;
        }
    }
}

/// A path, cut where it grows too long.
fn joined(parent: &str, name: &str) -> String {
    let slash = if parent.ends_with('/') { "" } else { "/" };
    let path = format!("{parent}{slash}{name}");
    path.chars().take(MAX_NAME).collect()
}
