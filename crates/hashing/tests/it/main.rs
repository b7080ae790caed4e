//! Every engine against published vectors and against *ring*.
//!
//! A stream here is bytes cut into chosen pieces, and may fail at a chosen place, so that lanes end, pad and fail in every
//! position towards each other.
#![expect(
    clippy::unwrap_used,
    reason = "helpers of tests, where a failure is the test's failure"
)]

use std::collections::VecDeque;
use std::ops::Range;

use proptest::prelude::*;
use taintline_hashing::{BUFFER, Engine, Queue, RangeError, Sha256, Stream, digest_ranges};

#[derive(Debug, Clone)]
struct Bytes {
    name: usize,
    content: Vec<u8>,
    /// The size of each read, repeated.
    pieces: Vec<usize>,
    /// Fails instead of reading on from there.
    broken_at: Option<usize>,
    at: usize,
    reads: usize,
    /// How many bytes it lends each time, repeated; where that is 0 it is read.
    lends: Option<Vec<usize>>,
    lent: Range<usize>,
}

impl Bytes {
    fn new(name: usize, content: Vec<u8>) -> Self {
        Self {
            name,
            content,
            pieces: vec![usize::MAX],
            broken_at: None,
            at: 0,
            reads: 0,
            lends: None,
            lent: 0..0,
        }
    }
}

impl Stream for Bytes {
    type Error = usize;

    fn lend(&mut self) -> Result<usize, usize> {
        self.lent = 0..0;
        let Some(pieces) = &self.lends else {
            return Ok(0);
        };
        if self.broken_at.is_some_and(|broken| self.at >= broken) {
            return Err(self.at);
        }
        let piece = pieces[self.reads % pieces.len()];
        let end = self.at.saturating_add(piece).min(self.content.len());
        self.lent = self.at..end;
        self.at = end;
        self.reads += 1;
        Ok(self.lent.len())
    }

    fn lent(&self) -> &[u8] {
        &self.content[self.lent.clone()]
    }

    fn read(&mut self, buffer: &mut [u8]) -> Result<usize, usize> {
        assert!(self.lent.is_empty(), "lend comes first");
        assert!(!buffer.is_empty() && buffer.len() <= BUFFER);
        if self.broken_at.is_some_and(|broken| self.at >= broken) {
            return Err(self.at);
        }
        let piece = self.pieces[self.reads % self.pieces.len()].max(1);
        let count = piece.min(buffer.len()).min(self.content.len() - self.at);
        buffer[..count].copy_from_slice(&self.content[self.at..self.at + count]);
        self.at += count;
        self.reads += 1;
        Ok(count)
    }
}

#[derive(Default)]
struct Line {
    waiting: VecDeque<Bytes>,
    done: Vec<(usize, Result<Sha256, usize>)>,
    /// A stream that fails is put back whole, once.
    again: bool,
}

impl Queue for Line {
    type Stream = Bytes;

    fn next(&mut self) -> Option<Bytes> {
        self.waiting.pop_front()
    }

    fn done(&mut self, mut stream: Bytes, result: Result<Sha256, usize>) {
        if result.is_err() && self.again && stream.broken_at.take().is_some() {
            stream.at = 0;
            self.waiting.push_back(stream);
            return;
        }
        self.done.push((stream.name, result));
    }
}

fn digests(engine: Engine, line: Line) -> Vec<(usize, Result<Sha256, usize>)> {
    let mut line = line;
    engine.digest_all(&mut line);
    line.done.sort_unstable_by_key(|(name, _)| *name);
    line.done
}

fn by_ring(content: &[u8]) -> Sha256 {
    let digest = ring::digest::digest(&ring::digest::SHA256, content);
    digest.as_ref().try_into().unwrap()
}

fn low(number: usize) -> u8 {
    number.to_le_bytes()[0]
}

fn hex(text: &str) -> Sha256 {
    let bytes = (0..32).map(|at| u8::from_str_radix(&text[2 * at..2 * at + 2], 16).unwrap());
    bytes.collect::<Vec<_>>().try_into().unwrap()
}

fn engines() -> Vec<Engine> {
    let all = Engine::all();
    if all.len() < 3 {
        println!("not checked: what this processor cannot do; it can do {all:?}");
    }
    all
}

#[test]
fn the_published_vectors_hold_in_every_lane_and_in_every_engine() {
    let million = vec![b'a'; 1_000_000];
    let vectors: [(&[u8], &str); 5] = [
        (b"", "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"),
        (b"abc", "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"),
        (
            b"abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq",
            "248d6a61d20638b8e5c026930c3e6039a33ce45964ff2167f6ecedd419db06c1",
        ),
        (
            b"abcdefghbcdefghicdefghijdefghijkefghijklfghijklmghijklmnhijklmnoijklmnopjklmnopqklmnopqrlmnopqrsmnopqrstnopqrstu",
            "cf5b16a778af8380036ce59e7b0492370b249b11e8f07a51afac45037afee9d1",
        ),
        (&million, "cdc76e5c9914fb9281a1c7e284d73e67f1809a48a497200e046d39ccc7112cd0"),
    ];
    for engine in engines() {
        for offset in 0..vectors.len() {
            let mut line = Line::default();
            let mut expected = Vec::new();
            for name in 0..2 * vectors.len() {
                let (content, digest) = vectors[(name / 2 + name % 2 * offset) % vectors.len()];
                line.waiting.push_back(Bytes::new(name, content.to_vec()));
                expected.push((name, Ok(hex(digest))));
            }
            assert_eq!(digests(engine, line), expected);
        }
    }
}

#[test]
fn every_length_around_the_ends_of_blocks_and_buffers_is_right_in_any_lane() {
    let lengths: Vec<usize> = (0..=200)
        .chain(BUFFER - 70..=BUFFER + 70)
        .chain([2 * BUFFER - 1, 2 * BUFFER, 2 * BUFFER + 1])
        .collect();
    let content: Vec<u8> = (0..3 * BUFFER).map(|at| low(at * 31 % 251)).collect();
    for engine in engines() {
        for beside in [0, 64, 5000] {
            let mut line = Line::default();
            let mut expected = Vec::new();
            for (name, length) in lengths.iter().enumerate() {
                let length = if name % 2 == 0 || beside == 0 {
                    *length
                } else {
                    beside
                };
                let content = &content[name..name + length];
                line.waiting.push_back(Bytes::new(name, content.to_vec()));
                expected.push((name, Ok(by_ring(content))));
            }
            assert_eq!(digests(engine, line), expected);
        }
    }
}

#[test]
fn a_stream_that_fails_is_given_back_and_disturbs_no_other() {
    for engine in engines() {
        let mut line = Line::default();
        for name in 0..50 {
            let mut bytes = Bytes::new(name, vec![low(name); 1000 * (name + 1)]);
            bytes.pieces = vec![100];
            bytes.broken_at = (name % 3 == 1).then_some(300 * name);
            line.waiting.push_back(bytes);
        }
        for (name, result) in digests(engine, line) {
            let expected = match name % 3 {
                1 => Err(300 * name),
                _ => Ok(by_ring(&vec![low(name); 1000 * (name + 1)])),
            };
            assert_eq!(result, expected, "{name}");
        }
    }
}

#[test]
fn a_stream_that_is_put_back_is_digested_although_the_line_was_empty() {
    for engine in engines() {
        let mut bytes = Bytes::new(0, vec![7; 100]);
        bytes.broken_at = Some(0);
        let line = Line {
            waiting: [bytes].into(),
            done: Vec::new(),
            again: true,
        };
        assert_eq!(digests(engine, line), [(0, Ok(by_ring(&[7; 100])))]);
    }
}

#[test]
fn ranges_of_one_input_have_their_own_digests_and_a_short_one_says_where_it_ended() {
    let input: Vec<u8> = (0..300_000_u32).map(|at| low(at as usize % 253)).collect();
    let read_at = |offset: u64, buffer: &mut [u8]| {
        let start = usize::try_from(offset).unwrap().min(input.len());
        if offset == 250_000 {
            return Err("worn out");
        }
        let count = buffer.len().min(input.len() - start).min(70_001);
        buffer[..count].copy_from_slice(&input[start..start + count]);
        Ok(count)
    };
    #[expect(
        clippy::reversed_empty_ranges,
        reason = "that it is empty is the promise"
    )]
    let ranges = [
        0..300_000,
        5..5,
        9..8,
        100..164,
        299_999..300_001,
        250_000..250_001,
        1..200_000,
    ];
    for engine in engines() {
        let results = digest_ranges(engine, &ranges, read_at);
        let expected = [
            Ok(by_ring(&input)),
            Ok(by_ring(b"")),
            Ok(by_ring(b"")),
            Ok(by_ring(&input[100..164])),
            Err(RangeError::Short { at: 300_000 }),
            Err(RangeError::Read("worn out")),
            Ok(by_ring(&input[1..200_000])),
        ];
        assert_eq!(results, expected);
    }
}

type AnyStream = (usize, u8, Vec<usize>, Option<Vec<usize>>);

fn any_stream() -> impl Strategy<Value = AnyStream> {
    let length = prop_oneof![
        prop::sample::select(vec![0, 1, 55, 56, 57, 63, 64, 65, 119, 120, 127, 128, 129]),
        0..1000_usize,
        0..100_000_usize,
    ];
    let piece = prop_oneof![1..200_usize, Just(64), Just(4096), Just(usize::MAX)];
    let lent = prop_oneof![0..200_usize, Just(0), Just(64), Just(4096), Just(50_000)];
    let lends = prop::option::of(prop::collection::vec(lent, 1..6));
    (
        length,
        any::<u8>(),
        prop::collection::vec(piece, 1..6),
        lends,
    )
}

proptest! {
    #[test]
    fn any_streams_in_any_pieces_read_or_lent_have_the_digests_that_ring_gives_them(
        streams in prop::collection::vec(any_stream(), 0..40),
    ) {
        for engine in engines() {
            let mut line = Line::default();
            let mut expected = Vec::new();
            for (name, (length, salt, pieces, lends)) in streams.iter().enumerate() {
                let content: Vec<u8> = (0..*length)
                    .map(|at| low((at * 131 + usize::from(*salt)) % 256))
                    .collect();
                expected.push((name, Ok(by_ring(&content))));
                let mut bytes = Bytes::new(name, content);
                bytes.pieces.clone_from(pieces);
                bytes.lends.clone_from(lends);
                line.waiting.push_back(bytes);
            }
            prop_assert_eq!(digests(engine, line), expected);
        }
    }
}
