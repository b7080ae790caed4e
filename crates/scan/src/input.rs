//! A part of an input as an input of its own: members of archives are read in place, not copied.

use std::io;

use formats::ReadAt;

/// The bytes from `start` on, `length` of them.
#[derive(Clone, Copy)]
pub struct Slice<'a> {
    input: &'a dyn ReadAt,
    start: u64,
    length: u64,
}

impl<'a> Slice<'a> {
    /// Cut to what `input` has.
    pub fn new(input: &'a dyn ReadAt, start: u64, length: u64) -> Self {
        let start = start.min(input.len());
        let length = length.min(input.len() - start);
        Self {
            input,
            start,
            length,
        }
    }
}

impl ReadAt for Slice<'_> {
    fn len(&self) -> u64 {
        self.length
    }

    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<()> {
        let inside = offset
            .checked_add(buffer.len() as u64)
            .is_some_and(|end| end <= self.length);
        if !inside {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        self.input.read_at(self.start + offset, buffer)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slice_ends_where_it_was_cut() {
        let bytes = b"0123456789".as_slice();
        let slice = Slice::new(&bytes, 3, 4);
        let mut buffer = [0; 4];
        slice.read_at(0, &mut buffer).unwrap();
        assert_eq!(&buffer, b"3456");
        assert!(slice.read_at(1, &mut buffer).is_err());
        assert_eq!(Slice::new(&bytes, 8, u64::MAX).len(), 2);
        assert_eq!(Slice::new(&bytes, 99, 1).len(), 0);
    }
}
