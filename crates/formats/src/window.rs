//! Parts of an input as inputs of their own: a range of it, and several ranges one behind the other.
//!
//! A member of an archive is a [`Window`]; a program that is interrupted by raw data is [`Segments`]. So a reader never
//! needs to know in what its bytes lie, and nothing is copied.

use std::io;

use crate::ReadAt;

/// Bytes that are read at once when all are walked.
const PIECE_BYTES: usize = 64 << 10;

/// A range of an input.
#[derive(Clone, Copy)]
pub struct Window<'a> {
    input: &'a dyn ReadAt,
    start: u64,
    size: u64,
}

impl<'a> Window<'a> {
    /// The `size` bytes of `input` at `start`, cut at its end.
    pub fn new(input: &'a dyn ReadAt, start: u64, size: u64) -> Self {
        let start = start.min(input.len());
        Self {
            input,
            start,
            size: size.min(input.len() - start),
        }
    }

    /// Everything from `start` on.
    pub fn from(input: &'a dyn ReadAt, start: u64) -> Self {
        Self::new(input, start, u64::MAX)
    }

    /// Where it starts in the input.
    pub fn start(&self) -> u64 {
        self.start
    }

    /// Gives all its bytes to `sink`, piece by piece.
    pub fn for_each(&self, mut sink: impl FnMut(&[u8])) -> io::Result<()> {
        let mut piece = vec![0; PIECE_BYTES];
        let mut position = 0;
        while position < self.size {
            let left = self.size - position;
            let size = usize::try_from(left).map_or(PIECE_BYTES, |left| left.min(PIECE_BYTES));
            let part = piece.get_mut(..size).unwrap_or_default();
            self.read_at(position, part)?;
            sink(part);
            position += size as u64;
        }
        Ok(())
    }
}

impl ReadAt for Window<'_> {
    fn len(&self) -> u64 {
        self.size
    }

    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<()> {
        let end = offset.checked_add(buffer.len() as u64);
        if end.is_none_or(|end| end > self.size) {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        self.input.read_at(self.start + offset, buffer)
    }

    fn place(&self) -> Option<u64> {
        self.input.place()?.checked_add(self.start)
    }
}

/// Several ranges of an input, read as if one followed the other.
#[derive(Clone)]
pub struct Segments<'a> {
    input: &'a dyn ReadAt,
    /// Offset in the whole, offset in the input, size.
    parts: Vec<(u64, u64, u64)>,
    size: u64,
}

impl<'a> Segments<'a> {
    /// The ranges of `input`, as offset and size, in this order; each is cut at the end of `input`.
    pub fn new(input: &'a dyn ReadAt, ranges: impl IntoIterator<Item = (u64, u64)>) -> Self {
        let mut size = 0;
        let mut parts = Vec::new();
        for (start, length) in ranges {
            let start = start.min(input.len());
            let length = length.min(input.len() - start);
            if length > 0 {
                parts.push((size, start, length));
                size += length;
            }
        }
        Self { input, parts, size }
    }

    /// Where in the input the byte at `offset` of the whole stands.
    pub fn place(&self, offset: u64) -> Option<u64> {
        let index = self.parts.partition_point(|part| part.0 <= offset);
        let (before, start, size) = *self.parts.get(index.checked_sub(1)?)?;
        Some(offset - before)
            .filter(|inside| *inside < size)
            .map(|inside| start + inside)
    }
}

impl ReadAt for Segments<'_> {
    fn len(&self) -> u64 {
        self.size
    }

    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<()> {
        let end = offset.checked_add(buffer.len() as u64);
        if end.is_none_or(|end| end > self.size) {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        let first = self.parts.partition_point(|part| part.0 + part.2 <= offset);
        let mut filled = 0;
        for (before, start, size) in self.parts.iter().skip(first) {
            if filled == buffer.len() {
                break;
            }
            let inside = (offset + filled as u64).saturating_sub(*before);
            let part = buffer.get_mut(filled..).unwrap_or_default();
            let take =
                usize::try_from(size - inside).map_or(part.len(), |left| left.min(part.len()));
            self.input
                .read_at(start + inside, part.get_mut(..take).unwrap_or_default())?;
            filled += take;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_window_is_cut_at_the_end_and_reads_nothing_outside() {
        let input: &[u8] = b"0123456789";
        let window = Window::new(&input, 7, 100);
        assert_eq!(window.len(), 3);
        let mut two = [0; 2];
        window.read_at(1, &mut two).unwrap();
        assert_eq!(&two, b"89");
        assert!(window.read_at(2, &mut two).is_err());
        assert_eq!(Window::from(&input, 20).len(), 0);
    }

    #[test]
    fn a_window_knows_its_place_in_a_file_and_none_in_other_bytes() {
        struct File;
        impl ReadAt for File {
            fn len(&self) -> u64 {
                100
            }
            fn read_at(&self, _: u64, _: &mut [u8]) -> io::Result<()> {
                Ok(())
            }
            fn place(&self) -> Option<u64> {
                Some(0)
            }
        }
        let outer = Window::new(&File, 30, 50);
        assert_eq!(Window::new(&outer, 4, 10).place(), Some(34));
        let bytes: &[u8] = b"0123";
        assert_eq!(Window::new(&bytes, 1, 2).place(), None);
        assert_eq!(ReadAt::place(&Segments::new(&File, [(3, 4)])), None);
    }

    #[test]
    fn segments_read_as_one_and_know_their_places() {
        let input: &[u8] = b"0123456789";
        let segments = Segments::new(&input, [(8, 2), (0, 3), (5, 0), (4, 9)]);
        assert_eq!(segments.len(), 11);
        let mut whole = [0; 11];
        segments.read_at(0, &mut whole).unwrap();
        assert_eq!(&whole, b"89012456789");
        let mut part = [0; 3];
        segments.read_at(4, &mut part).unwrap();
        assert_eq!(&part, b"245");
        assert_eq!(segments.place(4), Some(2));
        assert_eq!(segments.place(5), Some(4));
        assert_eq!(segments.place(11), None);
        assert!(segments.read_at(9, &mut part).is_err());
    }
}
