//! Compressed bytes on their way into a decoder: a window over [`ReadAt`] that knows how far it has come.
//!
//! The decoders say exactly how much they took, so that what stands behind the end of a stream is found and named.

use std::io;

use crate::ReadAt;

/// Bytes that are read at once.
const BUFFER_BYTES: usize = 32 << 10;

pub(crate) struct Source<'a> {
    input: &'a dyn ReadAt,
    buffer: Vec<u8>,
    /// Bytes of `buffer` that were taken.
    taken: usize,
    /// Offset in the input of the first byte of `buffer`.
    start: u64,
}

impl<'a> Source<'a> {
    pub(crate) fn new(input: &'a dyn ReadAt) -> Self {
        Self {
            input,
            buffer: Vec::new(),
            taken: 0,
            start: 0,
        }
    }

    /// Offset of the next byte.
    pub(crate) fn position(&self) -> u64 {
        self.start + self.taken as u64
    }

    /// Bytes from the next one to the end of the input.
    pub(crate) fn left(&self) -> u64 {
        self.input.len().saturating_sub(self.position())
    }

    /// The next bytes, at least one unless the input is at its end.
    pub(crate) fn fill(&mut self) -> io::Result<&[u8]> {
        self.peek(1)
    }

    /// The next bytes: at least `count`, or all if there are fewer. `count` is a small constant of a format.
    pub(crate) fn peek(&mut self, count: usize) -> io::Result<&[u8]> {
        if self.buffer.len() - self.taken < count {
            self.start = self.position();
            self.buffer.drain(..self.taken);
            self.taken = 0;
            let held = self.buffer.len();
            let left = self.input.len().saturating_sub(self.start + held as u64);
            let more = usize::try_from(left).map_or(BUFFER_BYTES, |left| left.min(BUFFER_BYTES));
            self.buffer.resize(held + more, 0);
            self.input
                .read_at(self.start + held as u64, &mut self.buffer[held..])?;
        }
        Ok(self.buffer.get(self.taken..).unwrap_or_default())
    }

    /// Takes `count` bytes of those that were last shown.
    pub(crate) fn consume(&mut self, count: usize) {
        self.taken = (self.taken + count).min(self.buffer.len());
    }

    /// Goes over `count` bytes; false if there are not as many, and then it stands at the end.
    pub(crate) fn skip(&mut self, count: u64) -> bool {
        let (position, left) = (self.position(), self.left());
        let step = count.min(left);
        match usize::try_from(step) {
            Ok(step) if self.taken + step <= self.buffer.len() => self.taken += step,
            _ => {
                self.buffer.clear();
                self.taken = 0;
                self.start = position + step;
            }
        }
        count <= left
    }

    /// Goes back by `count` bytes that were taken too early.
    pub(crate) fn rewind(&mut self, count: u64) {
        self.start = self.position().saturating_sub(count);
        self.buffer.clear();
        self.taken = 0;
    }

    /// The next `N` bytes, or `None` and none taken if there are fewer.
    pub(crate) fn array<const N: usize>(&mut self) -> io::Result<Option<[u8; N]>> {
        let array = self.peek(N)?.first_chunk().copied();
        if array.is_some() {
            self.consume(N);
        }
        Ok(array)
    }

    /// The next `count` bytes, or `None` and none taken if there are fewer. The caller has bounded `count`.
    pub(crate) fn bytes(&mut self, count: usize) -> io::Result<Option<Vec<u8>>> {
        if (count as u64) > self.left() {
            return Ok(None);
        }
        let mut bytes = vec![0; count];
        self.input.read_at(self.position(), &mut bytes)?;
        self.skip(count as u64);
        Ok(Some(bytes))
    }

    /// Goes over zero bytes and says how many there were.
    pub(crate) fn skip_zeros(&mut self) -> io::Result<u64> {
        let mut count = 0;
        loop {
            let bytes = self.fill()?;
            let zeros = bytes.iter().take_while(|byte| **byte == 0).count();
            let more = zeros > 0 && zeros == bytes.len();
            self.consume(zeros);
            count += zeros as u64;
            if !more {
                return Ok(count);
            }
        }
    }
}
