//! Two lanes that each carry one stream: buffering, padding, and taking the next stream.
//!
//! A lane knows what SHA-256 says of the *ends* of a stream (FIPS 180-4, section 5.1.1); the rounds are in
//! [`crate::sha_ni`]. Both lanes go on together for as many blocks as both have, so that a short stream beside a long one
//! costs the long one nothing.

use crate::sha_ni::{Block, INITIAL, Present, State};
use crate::{BUFFER, Queue, Sha256, Stream};

const BLOCK: usize = size_of::<Block>();

/// Where the length stands in the last block: one bit, zeros, and it.
const BEFORE_LENGTH: usize = BLOCK - 8;

pub(crate) fn digest_all<Q: Queue>(present: Present, queue: &mut Q) {
    let mut left = Lane::new();
    let mut right = Lane::new();
    loop {
        match (left.advance(queue), right.advance(queue)) {
            (true, true) => {
                let ((left_state, left_blocks), (right_state, right_blocks)) =
                    (left.waiting(), right.waiting());
                let done = left_blocks.len().min(right_blocks.len()) * BLOCK;
                present.compress([left_state, right_state], [left_blocks, right_blocks]);
                left.start += done;
                right.start += done;
            }
            (true, false) => left.alone(present),
            (false, true) => right.alone(present),
            (false, false) => break,
        }
    }
}

struct Lane<S> {
    stream: Option<S>,
    state: State,
    /// [`BUFFER`] bytes for the stream, and one block more than the padding of a full one needs.
    buffer: Vec<u8>,
    /// What of the buffer waits to be compressed.
    start: usize,
    end: usize,
    /// Bytes of the stream so far.
    length: u64,
    /// The padding is in the buffer: after these blocks, the digest.
    padded: bool,
}

impl<S: Stream> Lane<S> {
    fn new() -> Self {
        Self {
            stream: None,
            state: INITIAL,
            buffer: vec![0; BUFFER + 2 * BLOCK],
            start: 0,
            end: 0,
            length: 0,
            padded: false,
        }
    }

    /// Works until there is at least one whole block; `false` if there is no stream to take it from.
    fn advance<Q: Queue<Stream = S>>(&mut self, queue: &mut Q) -> bool {
        while self.end - self.start < BLOCK {
            let Some(mut stream) = self.stream.take().or_else(|| self.take_next(queue)) else {
                return false;
            };
            if self.padded {
                queue.done(stream, Ok(self.digest()));
                continue;
            }
            match self.refill(&mut stream) {
                Ok(()) => self.stream = Some(stream),
                Err(error) => queue.done(stream, Err(error)),
            }
        }
        true
    }

    fn take_next<Q: Queue<Stream = S>>(&mut self, queue: &mut Q) -> Option<S> {
        let stream = queue.next()?;
        self.state = INITIAL;
        (self.start, self.end) = (0, 0);
        self.length = 0;
        self.padded = false;
        Some(stream)
    }

    /// Reads once behind what is left, which is less than a block; at the end of the stream pads instead.
    fn refill(&mut self, stream: &mut S) -> Result<(), S::Error> {
        self.buffer.copy_within(self.start..self.end, 0);
        self.end -= self.start;
        self.start = 0;
        let room = self.buffer.get_mut(self.end..BUFFER).unwrap_or_default();
        let count = stream.read(room)?.min(room.len());
        self.end += count;
        self.length = self.length.wrapping_add(count as u64);
        if count == 0 {
            self.pad();
        }
        Ok(())
    }

    fn pad(&mut self) {
        let blocks = if self.end < BEFORE_LENGTH { 1 } else { 2 };
        let (zeros, until) = (blocks * BLOCK - 8, blocks * BLOCK);
        if let Some(rest) = self.buffer.get_mut(self.end..zeros) {
            rest.fill(0);
            if let Some(first) = rest.first_mut() {
                *first = 0x80;
            }
        }
        if let Some(place) = self.buffer.get_mut(zeros..until) {
            place.copy_from_slice(&self.length.wrapping_mul(8).to_be_bytes());
        }
        self.end = until;
        self.padded = true;
    }

    /// The state, and the blocks that wait to be compressed into it.
    fn waiting(&mut self) -> (&mut State, &[Block]) {
        let bytes = self.buffer.get(self.start..self.end).unwrap_or_default();
        (&mut self.state, bytes.as_chunks().0)
    }

    fn alone(&mut self, present: Present) {
        let (state, blocks) = self.waiting();
        let done = blocks.len() * BLOCK;
        present.compress([state], [blocks]);
        self.start += done;
    }

    fn digest(&self) -> Sha256 {
        let mut digest = [0; 32];
        for (place, word) in digest.as_chunks_mut().0.iter_mut().zip(self.state) {
            *place = word.to_be_bytes();
        }
        digest
    }
}
