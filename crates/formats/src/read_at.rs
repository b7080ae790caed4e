//! The one door through which bytes come in.
//!
//! Random access, because a checkpoint of 10 GB is understood from its last 100 kB; positions instead of a cursor,
//! because a reader without state can be shared between threads.

use std::io;

/// Bytes of known length that can be read at any place.
pub trait ReadAt {
    /// How many bytes there are.
    fn len(&self) -> u64;

    /// Fills `buffer` with the bytes from `offset` on. [`io::ErrorKind::UnexpectedEof`] if there are not as many.
    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<()>;

    /// Where in the file its first byte stands, if its bytes are some of the file's own, one behind the other: who reads the
    /// whole file once can look at them on the way. `None` says nothing.
    fn place(&self) -> Option<u64> {
        None
    }

    /// Whether there are no bytes.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

impl ReadAt for [u8] {
    fn len(&self) -> u64 {
        <[u8]>::len(self) as u64
    }

    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<()> {
        let part = usize::try_from(offset)
            .ok()
            .and_then(|start| self.get(start..start.checked_add(buffer.len())?))
            .ok_or(io::ErrorKind::UnexpectedEof)?;
        buffer.copy_from_slice(part);
        Ok(())
    }
}

impl<T: ReadAt + ?Sized> ReadAt for &T {
    fn len(&self) -> u64 {
        (**self).len()
    }

    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<()> {
        (**self).read_at(offset, buffer)
    }

    fn place(&self) -> Option<u64> {
        (**self).place()
    }
}

/// The `size` bytes at `offset`. The caller has bounded `size`; a range that the input does not have is refused before
/// memory is taken for it.
pub(crate) fn bytes_at(input: &dyn ReadAt, offset: u64, size: u64) -> io::Result<Vec<u8>> {
    let inside = offset
        .checked_add(size)
        .is_some_and(|end| end <= input.len());
    let size = usize::try_from(size)
        .ok()
        .filter(|_| inside)
        .ok_or(io::ErrorKind::UnexpectedEof)?;
    let mut bytes = vec![0; size];
    input.read_at(offset, &mut bytes)?;
    Ok(bytes)
}

/// A little-endian number at `offset` of `bytes`.
pub(crate) fn u16_at(bytes: &[u8], offset: usize) -> Option<u16> {
    bytes
        .get(offset..)?
        .first_chunk()
        .map(|chunk| u16::from_le_bytes(*chunk))
}

/// A little-endian number at `offset` of `bytes`.
pub(crate) fn u32_at(bytes: &[u8], offset: usize) -> Option<u32> {
    bytes
        .get(offset..)?
        .first_chunk()
        .map(|chunk| u32::from_le_bytes(*chunk))
}

/// A little-endian number at `offset` of `bytes`.
pub(crate) fn u64_at(bytes: &[u8], offset: usize) -> Option<u64> {
    bytes
        .get(offset..)?
        .first_chunk()
        .map(|chunk| u64::from_le_bytes(*chunk))
}
