//! Random access in small pieces at the price of few reads: a handful of pages of the input, kept while they are near.
//!
//! Readers of tables and wire formats ask for four bytes here and eight there. Through this window they cost a read of the
//! input only where they leave it, and memory is the same for every input. It refuses to know any format. A mapped file was
//! rejected: one that is cut while it is read would end the process.

use std::cell::RefCell;
use std::io;

use crate::ReadAt;

/// Bytes of one page.
const PAGE_BYTES: u64 = 8 << 10;
/// Pages that are kept.
const PAGES: usize = 16;

/// Why bytes are not to be had.
#[derive(Debug, thiserror::Error)]
pub enum PageError {
    /// The place does not lie in the input.
    #[error("byte {0} does not lie in the file")]
    Outside(u64),
    /// More bytes than the reader takes at once.
    #[error("{0} bytes are more than is read at once")]
    TooLong(u64),
    /// The input refused.
    #[error("the file cannot be read")]
    Io(#[from] io::Error),
}

/// A window on an input.
pub struct Pages<'a> {
    input: &'a dyn ReadAt,
    kept: RefCell<Vec<Page>>,
}

struct Page {
    index: u64,
    bytes: Vec<u8>,
}

impl<'a> Pages<'a> {
    /// Reads nothing yet.
    pub fn new(input: &'a dyn ReadAt) -> Self {
        Self {
            input,
            kept: RefCell::new(Vec::new()),
        }
    }

    /// Size of the input in bytes.
    pub fn len(&self) -> u64 {
        self.input.len()
    }

    /// Whether the input has no bytes.
    pub fn is_empty(&self) -> bool {
        self.input.is_empty()
    }

    /// The input behind the window.
    pub fn input(&self) -> &'a dyn ReadAt {
        self.input
    }

    /// The byte at `offset`.
    pub fn u8(&self, offset: u64) -> Result<u8, PageError> {
        self.array::<1>(offset).map(|[byte]| byte)
    }

    /// A little-endian number.
    pub fn u16(&self, offset: u64) -> Result<u16, PageError> {
        self.array(offset).map(u16::from_le_bytes)
    }

    /// A little-endian number.
    pub fn u32(&self, offset: u64) -> Result<u32, PageError> {
        self.array(offset).map(u32::from_le_bytes)
    }

    /// A little-endian number.
    pub fn u64(&self, offset: u64) -> Result<u64, PageError> {
        self.array(offset).map(u64::from_le_bytes)
    }

    /// `N` bytes at `offset`.
    pub fn array<const N: usize>(&self, offset: u64) -> Result<[u8; N], PageError> {
        let mut bytes = [0; N];
        self.fill(offset, &mut bytes)?;
        Ok(bytes)
    }

    /// `length` bytes at `offset`; refused before memory is taken if they are more than `most` or not in the input.
    pub fn bytes(&self, offset: u64, length: u64, most: usize) -> Result<Vec<u8>, PageError> {
        let size = usize::try_from(length).ok().filter(|size| *size <= most);
        let size = size.ok_or(PageError::TooLong(length))?;
        self.inside(offset, length)?;
        let mut bytes = vec![0; size];
        self.fill(offset, &mut bytes)?;
        Ok(bytes)
    }

    /// Fills `buffer` with the bytes from `offset` on.
    pub fn fill(&self, offset: u64, buffer: &mut [u8]) -> Result<(), PageError> {
        self.inside(offset, buffer.len() as u64)?;
        if buffer.len() as u64 > PAGE_BYTES {
            return Ok(self.input.read_at(offset, buffer)?);
        }
        let mut offset = offset;
        let mut rest = buffer;
        while !rest.is_empty() {
            let taken = self.copy_page(offset, rest)?;
            offset += taken as u64;
            rest = rest.get_mut(taken..).unwrap_or_default();
        }
        Ok(())
    }

    fn inside(&self, offset: u64, length: u64) -> Result<(), PageError> {
        let end = offset.checked_add(length);
        match end.filter(|end| *end <= self.input.len()) {
            Some(_) => Ok(()),
            None => Err(PageError::Outside(offset)),
        }
    }

    /// Copies what the page of `offset` has of `buffer`; at least one byte, since the caller has checked the bounds.
    fn copy_page(&self, offset: u64, buffer: &mut [u8]) -> Result<usize, PageError> {
        let index = offset / PAGE_BYTES;
        let mut kept = self.kept.borrow_mut();
        if kept.first().is_none_or(|page| page.index != index) {
            self.bring_forward(&mut kept, index)?;
        }
        let start = usize::try_from(offset % PAGE_BYTES).unwrap_or(usize::MAX);
        let page = kept.first().and_then(|page| page.bytes.get(start..));
        let page = page.filter(|page| !page.is_empty());
        let page = page.ok_or(PageError::Outside(offset))?;
        let size = page.len().min(buffer.len());
        for (to, from) in buffer.iter_mut().zip(page) {
            *to = *from;
        }
        Ok(size)
    }

    /// Makes page `index` the first of the kept ones; the longest unused one makes room.
    fn bring_forward(&self, kept: &mut Vec<Page>, index: u64) -> Result<(), PageError> {
        if let Some(place) = kept.iter().position(|page| page.index == index) {
            kept.swap(0, place);
            return Ok(());
        }
        let start = index * PAGE_BYTES;
        let size = PAGE_BYTES.min(self.input.len().saturating_sub(start));
        let mut page = if kept.len() < PAGES {
            Page {
                index,
                bytes: Vec::new(),
            }
        } else {
            kept.pop().unwrap_or(Page {
                index,
                bytes: Vec::new(),
            })
        };
        page.index = index;
        page.bytes
            .resize(usize::try_from(size).unwrap_or_default(), 0);
        self.input.read_at(start, &mut page.bytes)?;
        kept.insert(0, page);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_place_reads_as_the_input_has_it_across_pages() {
        let bytes: Vec<u8> = (0..40_000u32).map(|number| (number % 251) as u8).collect();
        let input = bytes.as_slice();
        let pages = Pages::new(&input);
        for offset in [0usize, 8190, 8191, 8192, 16_383, 39_996, 0, 20_000] {
            let want = bytes[offset..offset + 4].first_chunk().unwrap();
            let got = pages.u32(offset as u64).unwrap();
            assert_eq!(got, u32::from_le_bytes(*want));
        }
        assert_eq!(
            pages.bytes(100, 30_000, 40_000).unwrap(),
            bytes[100..30_100]
        );
        assert!(matches!(pages.u32(39_997), Err(PageError::Outside(_))));
        assert!(matches!(pages.u8(u64::MAX), Err(PageError::Outside(_))));
        assert!(matches!(
            pages.bytes(0, u64::MAX, 10),
            Err(PageError::TooLong(_))
        ));
        assert!(matches!(
            pages.bytes(39_999, 10, 10),
            Err(PageError::Outside(_))
        ));
    }
}
