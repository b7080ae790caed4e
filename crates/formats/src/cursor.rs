//! A walk forward over bytes that are read in pieces.
//!
//! Headers with a quarter of a million strings are walked without holding them: what is skipped is never read, and what
//! is kept was bounded by the one who asks.

use std::io;

use crate::ReadAt;

/// Bytes that are read at once.
const WINDOW: usize = 64 << 10;

/// A position in an input, with the bytes around it in memory.
pub(crate) struct Cursor<'a> {
    input: &'a dyn ReadAt,
    start: u64,
    bytes: Vec<u8>,
    position: u64,
}

impl<'a> Cursor<'a> {
    pub(crate) fn new(input: &'a dyn ReadAt, position: u64) -> Self {
        Self {
            input,
            start: 0,
            bytes: Vec::new(),
            position,
        }
    }

    pub(crate) fn position(&self) -> u64 {
        self.position
    }

    /// Bytes that are left.
    pub(crate) fn left(&self) -> u64 {
        self.input.len().saturating_sub(self.position)
    }

    /// The next byte, or `None` at the end.
    pub(crate) fn next(&mut self) -> io::Result<Option<u8>> {
        let byte = self.peek()?;
        self.position += u64::from(byte.is_some());
        Ok(byte)
    }

    /// The next byte, which stays the next one.
    pub(crate) fn peek(&mut self) -> io::Result<Option<u8>> {
        if let Some(byte) = self.held() {
            return Ok(Some(byte));
        }
        let size = usize::try_from(self.left()).unwrap_or(WINDOW).min(WINDOW);
        self.bytes.resize(size, 0);
        self.start = self.position;
        self.input.read_at(self.position, &mut self.bytes)?;
        Ok(self.held())
    }

    fn held(&self) -> Option<u8> {
        let index = self.position.checked_sub(self.start)?;
        self.bytes.get(usize::try_from(index).ok()?).copied()
    }

    /// The next `N` bytes; `UnexpectedEof` if there are not as many.
    pub(crate) fn array<const N: usize>(&mut self) -> io::Result<[u8; N]> {
        let mut array = [0; N];
        let index = self.position.checked_sub(self.start);
        let held = index
            .and_then(|index| usize::try_from(index).ok())
            .and_then(|index| self.bytes.get(index..index.checked_add(N)?));
        if let Some(held) = held {
            array.copy_from_slice(held);
            self.position += N as u64;
            return Ok(array);
        }
        for byte in &mut array {
            *byte = self.next()?.ok_or(io::ErrorKind::UnexpectedEof)?;
        }
        Ok(array)
    }

    /// The next `size` bytes, which the caller has bounded.
    pub(crate) fn bytes(&mut self, size: u64) -> io::Result<Vec<u8>> {
        let bytes = crate::read_at::bytes_at(self.input, self.position, size)?;
        self.position += size;
        Ok(bytes)
    }

    /// Goes on `size` bytes further; `UnexpectedEof` if there are not as many.
    pub(crate) fn skip(&mut self, size: u64) -> io::Result<()> {
        if size > self.left() {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        self.position += size;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_window_gives_every_byte_once_and_ends() {
        let bytes: Vec<u8> = (0..200_000_u32).map(|n| n.to_le_bytes()[0]).collect();
        let input = bytes.as_slice();
        let mut window = Cursor::new(&input, 1);
        assert_eq!(window.array::<2>().unwrap(), [1, 2]);
        window.skip(65_530).unwrap();
        assert_eq!(window.bytes(3).unwrap(), &bytes[65_533..65_536]);
        assert_eq!(window.array::<4>().unwrap(), [0, 1, 2, 3]);
        assert!(window.skip(1 << 40).is_err());
        window.skip(window.left()).unwrap();
        assert_eq!(window.next().unwrap(), None);
        assert!(window.array::<1>().is_err());
    }
}
