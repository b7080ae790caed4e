//! Lanes that each carry one stream: buffering, padding, and taking the next stream.
//!
//! A lane knows what SHA-256 says of the *ends* of a stream (FIPS 180-4, section 5.1.1); the rounds are in
//! [`crate::sha_ni`] and [`crate::avx512`]. Lanes that go on together do so for as many blocks as each of them has, so that
//! a short stream beside a long one costs the long one nothing. Who goes on with whom is decided anew each time: sixteen
//! at once while there are streams enough, two at a time when the last large ones are left.

use std::ops::Range;

use crate::sha256::{Block, INITIAL, State};
use crate::{BUFFER, Queue, Sha256, Stream, avx512, sha_ni};

const BLOCK: usize = size_of::<Block>();

/// Where the length stands in the last block: one bit, zeros, and it.
const BEFORE_LENGTH: usize = BLOCK - 8;

/// Sixteen at once take as long as nine or ten blocks two by two.
const WIDE_FROM: usize = 10;

/// What there is to compute with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Units {
    pub(crate) pair: sha_ni::Present,
    pub(crate) wide: Option<avx512::Present>,
}

impl Units {
    pub(crate) fn lanes(self) -> usize {
        if self.wide.is_some() {
            avx512::LANES
        } else {
            2
        }
    }
}

pub(crate) fn digest_all<Q: Queue>(units: Units, queue: &mut Q) {
    let mut lanes: Vec<Lane<Q::Stream>> = (0..units.lanes()).map(|_| Lane::new()).collect();
    loop {
        let carrying = lanes
            .iter_mut()
            .filter_map(|lane| lane.advance(queue).then_some(lane));
        let mut carrying: Vec<&mut Lane<Q::Stream>> = carrying.collect();
        match units.wide {
            _ if carrying.is_empty() => break,
            Some(wide) if carrying.len() >= WIDE_FROM => together(wide, &mut carrying),
            _ => two_by_two(units.pair, &mut carrying),
        }
    }
}

/// All at once; at most [`avx512::LANES`] lanes.
fn together<S: Stream>(wide: avx512::Present, lanes: &mut [&mut Lane<S>]) {
    let mut states = [INITIAL; avx512::LANES];
    let mut blocks: [&[Block]; avx512::LANES] = [&[]; avx512::LANES];
    let mut count = usize::MAX;
    for ((lane, state), waiting) in lanes.iter().zip(&mut states).zip(&mut blocks) {
        *state = lane.state;
        *waiting = lane.waiting();
        count = count.min(waiting.len());
    }
    wide.compress(&mut states, &blocks, count);
    for (lane, state) in lanes.iter_mut().zip(states) {
        lane.state = state;
        lane.consume(count * BLOCK);
    }
}

fn two_by_two<S: Stream>(pair: sha_ni::Present, lanes: &mut [&mut Lane<S>]) {
    for lanes in lanes.chunks_mut(2) {
        match lanes {
            [left, right] => {
                let (mut one, mut two) = (left.state, right.state);
                let blocks = [left.waiting(), right.waiting()];
                let done = blocks[0].len().min(blocks[1].len()) * BLOCK;
                pair.compress([&mut one, &mut two], blocks);
                (left.state, right.state) = (one, two);
                left.consume(done);
                right.consume(done);
            }
            [lane] => {
                let mut state = lane.state;
                let blocks = lane.waiting();
                let done = blocks.len() * BLOCK;
                pair.compress([&mut state], [blocks]);
                lane.state = state;
                lane.consume(done);
            }
            _ => {}
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
    /// What of the bytes that the stream lent waits behind that.
    lent: Range<usize>,
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
            lent: 0..0,
            length: 0,
            padded: false,
        }
    }

    /// Works until there is at least one whole block; `false` if there is no stream to take it from.
    fn advance<Q: Queue<Stream = S>>(&mut self, queue: &mut Q) -> bool {
        loop {
            self.top_up();
            if !self.waiting().is_empty() {
                return true;
            }
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
    }

    fn take_next<Q: Queue<Stream = S>>(&mut self, queue: &mut Q) -> Option<S> {
        let stream = queue.next()?;
        self.state = INITIAL;
        (self.start, self.end) = (0, 0);
        self.lent = 0..0;
        self.length = 0;
        self.padded = false;
        Some(stream)
    }

    /// Moves lent bytes into the buffer where those before them are not whole blocks, or they are less than one.
    fn top_up(&mut self) {
        let left = self.end - self.start;
        if self.lent.is_empty() || left >= BLOCK || (left == 0 && self.lent.len() >= BLOCK) {
            return;
        }
        self.move_to_front();
        let bytes = self.stream.as_ref().map(S::lent).unwrap_or_default();
        let bytes = bytes.get(self.lent.clone()).unwrap_or_default();
        let places = self.buffer.get_mut(left..BLOCK).unwrap_or_default();
        for (place, byte) in places.iter_mut().zip(bytes) {
            *place = *byte;
            self.lent.start += 1;
            self.end += 1;
        }
    }

    fn move_to_front(&mut self) {
        self.buffer.copy_within(self.start..self.end, 0);
        self.end -= self.start;
        self.start = 0;
    }

    /// Borrows or reads once behind what is left, which is less than a block; at the end of the stream pads instead.
    fn refill(&mut self, stream: &mut S) -> Result<(), S::Error> {
        let lent = stream.lend()?.min(stream.lent().len());
        if lent > 0 {
            self.lent = 0..lent;
            self.length = self.length.wrapping_add(lent as u64);
            return Ok(());
        }
        self.move_to_front();
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

    /// The blocks that wait to be compressed: those of the buffer, and lent ones once nothing is before them.
    fn waiting(&self) -> &[Block] {
        let bytes = match &self.stream {
            Some(stream) if self.start == self.end => stream.lent().get(self.lent.clone()),
            _ => self.buffer.get(self.start..self.end),
        };
        bytes.unwrap_or_default().as_chunks().0
    }

    /// Goes on behind bytes that were waiting.
    fn consume(&mut self, count: usize) {
        if self.start == self.end {
            self.lent.start += count;
        } else {
            self.start += count;
        }
    }

    fn digest(&self) -> Sha256 {
        let mut digest = [0; 32];
        for (place, word) in digest.as_chunks_mut().0.iter_mut().zip(self.state) {
            *place = word.to_be_bytes();
        }
        digest
    }
}
