//! LZMA in its three wrappings: `.lzma`, a ZIP member, and LZMA2 in the container of xz.
//!
//! The container of xz is walked here: its check sums come behind the bytes, so no reader of a stream could have waited
//! for them, and its index repeats what the blocks say. Input goes to the decoder in small pieces, because a break gives
//! nothing of the piece that it is found in.

use std::io;

use lzma_rust2::filter::{FilterConfig, FilterType};
use lzma_rust2::{Action, Lzma2Stream, LzmaStream, Status, StreamResult};

use super::source::Source;
use super::{Engine, Fault, MAX_WINDOW_BYTES, Oddity, Step, trailing};
use crate::read_at::{u16_at, u32_at, u64_at};

/// Bytes that the decoder is given at once.
const PIECE_BYTES: usize = 2 << 10;
/// Bytes that it is asked for at once. A break takes with it what was decoded in the same step; no loader asks for less.
const STEP_BYTES: usize = 256;
/// The most blocks that the index of a stream may list; xz writes one for each 24 MB, or one alone.
const MAX_BLOCKS: u64 = 1 << 20;
const LZMA2_FILTER: u64 = 0x21;

/// Whether `head` can start a `.lzma` file: a header as xz itself tells it from noise.
pub(super) fn is_alone(head: &[u8]) -> bool {
    let (Some(properties), Some(window), Some(size)) =
        (head.first(), u32_at(head, 1), u64_at(head, 5))
    else {
        return false;
    };
    // A power of two, or one and a half of it.
    let both = window & (window << 1);
    let round = window == u32::MAX
        || window.is_power_of_two()
        || (window.count_ones() == 2 && both.is_power_of_two());
    *properties < 225 && round && (size == u64::MAX || size < 1 << 38) && head.get(13) == Some(&0)
}

fn window(bytes: u32) -> u32 {
    u32::try_from(MAX_WINDOW_BYTES).map_or(bytes, |most| bytes.min(most))
}

fn step_of(output: &mut [u8]) -> &mut [u8] {
    let size = output.len().min(STEP_BYTES);
    output.get_mut(..size).unwrap_or_default()
}

/// One piece of input through a decoder.
fn feed<E>(
    source: &mut Source<'_>,
    process: impl FnOnce(&[u8], Action) -> Result<StreamResult, E>,
) -> io::Result<Fed> {
    let input = source.fill()?;
    let piece = input.get(..PIECE_BYTES).unwrap_or(input);
    let at_end = piece.is_empty();
    let action = if at_end { Action::Finish } else { Action::Run };
    let Ok(result) = process(piece, action) else {
        let fault = if at_end {
            Fault::Truncated
        } else {
            Fault::Malformed
        };
        return Ok(Fed::Broken(fault));
    };
    source.consume(result.bytes_consumed);
    Ok(match result.status {
        Status::StreamEnd => Fed::End(result.bytes_produced),
        Status::Ok if result.bytes_consumed + result.bytes_produced > 0 => {
            Fed::More(result.bytes_produced)
        }
        Status::Ok if at_end => Fed::Broken(Fault::Truncated),
        Status::Ok => Fed::Broken(Fault::Malformed),
    })
}

enum Fed {
    More(usize),
    End(usize),
    Broken(Fault),
}

/// A stream of LZMA whose properties are known.
struct Plain {
    stream: LzmaStream,
    /// The window that it asks for, in bytes.
    window: u32,
    finished: bool,
}

impl Plain {
    fn new(properties: u8, dictionary: u32, size: u64) -> Result<Self, Fault> {
        let stream = LzmaStream::new_with_props(size, properties, window(dictionary), None)
            .map_err(|_| Fault::Malformed)?;
        Ok(Self {
            stream,
            window: dictionary,
            finished: false,
        })
    }

    fn step(
        &mut self,
        source: &mut Source<'_>,
        output: &mut [u8],
        oddities: &mut Vec<Oddity>,
    ) -> io::Result<Step> {
        if self.finished {
            oddities.extend(trailing(source));
            return Ok(Step::done());
        }
        let stream = &mut self.stream;
        let few = step_of(output);
        Ok(
            match feed(source, |input, action| stream.process(input, few, action))? {
                Fed::More(written) => Step::wrote(written),
                Fed::End(written) => {
                    source.rewind(self.stream.unused_input().len() as u64);
                    self.finished = true;
                    Step::wrote(written)
                }
                Fed::Broken(Fault::Malformed) if u64::from(self.window) > MAX_WINDOW_BYTES => {
                    Step::broken(0, Fault::Window(u64::from(self.window)))
                }
                Fed::Broken(fault) => Step::broken(0, fault),
            },
        )
    }
}

/// `.lzma`.
pub(super) struct Alone(Option<Plain>);

impl Alone {
    pub(super) fn new() -> Self {
        Self(None)
    }
}

impl Engine for Alone {
    fn step(
        &mut self,
        source: &mut Source<'_>,
        output: &mut [u8],
        oddities: &mut Vec<Oddity>,
    ) -> io::Result<Step> {
        if let Some(plain) = &mut self.0 {
            return plain.step(source, output, oddities);
        }
        let Some(header) = source.array::<13>()? else {
            return Ok(Step::broken(0, Fault::Truncated));
        };
        let dictionary = u32_at(&header, 1).unwrap_or_default();
        let size = u64_at(&header, 5).unwrap_or_default();
        Ok(match Plain::new(header[0], dictionary, size) {
            Ok(plain) => {
                self.0 = Some(plain);
                Step::wrote(0)
            }
            Err(fault) => Step::broken(0, fault),
        })
    }
}

/// LZMA as a member of a ZIP archive.
pub(super) struct InZip(Option<Plain>);

impl InZip {
    pub(super) fn new() -> Self {
        Self(None)
    }
}

impl Engine for InZip {
    fn step(
        &mut self,
        source: &mut Source<'_>,
        output: &mut [u8],
        oddities: &mut Vec<Oddity>,
    ) -> io::Result<Step> {
        if let Some(plain) = &mut self.0 {
            return plain.step(source, output, oddities);
        }
        let Some(header) = source.array::<9>()? else {
            return Ok(Step::broken(0, Fault::Truncated));
        };
        if u16_at(&header, 2) != Some(5) {
            return Ok(Step::broken(0, Fault::Unsupported));
        }
        let dictionary = u32_at(&header, 5).unwrap_or_default();
        Ok(match Plain::new(header[4], dictionary, u64::MAX) {
            Ok(plain) => {
                self.0 = Some(plain);
                Step::wrote(0)
            }
            Err(fault) => Step::broken(0, fault),
        })
    }
}

/// Where the walk through the container of xz stands.
enum Place {
    Stream,
    Block,
    Body {
        stream: Box<Lzma2Stream>,
        /// Offset at which the block's bytes start, from which its padding counts.
        start: u64,
        window: u32,
    },
}

/// xz, stream after stream.
pub(super) struct Xz {
    place: Place,
    /// Bytes of the check behind each block.
    check_bytes: u64,
    streams: u64,
}

impl Xz {
    pub(super) fn new() -> Self {
        Self {
            place: Place::Stream,
            check_bytes: 0,
            streams: 0,
        }
    }

    fn stream(&mut self, source: &mut Source<'_>, oddities: &mut Vec<Oddity>) -> io::Result<Step> {
        if self.streams > 0 {
            source.skip_zeros()?;
            if !source.peek(6)?.starts_with(b"\xfd7zXZ\0") {
                oddities.extend(trailing(source));
                return Ok(Step::done());
            }
        }
        let Some(header) = source.array::<12>()? else {
            return Ok(Step::broken(0, Fault::Truncated));
        };
        if !header.starts_with(b"\xfd7zXZ\0") {
            return Ok(Step::broken(0, Fault::Malformed));
        }
        // The size by the kind of check: none, then four of each, growing.
        self.check_bytes = match header[7] & 0x0f {
            0 => 0,
            kind => 4 << ((kind - 1) / 3),
        };
        self.place = Place::Block;
        Ok(Step::wrote(0))
    }

    fn block(&mut self, source: &mut Source<'_>) -> io::Result<Step> {
        let Some(size) = source.peek(1)?.first().copied() else {
            return Ok(Step::broken(0, Fault::Truncated));
        };
        if size == 0 {
            return self.index(source);
        }
        let Some(header) = source.bytes((usize::from(size) + 1) * 4)? else {
            return Ok(Step::broken(0, Fault::Truncated));
        };
        match body(&header) {
            Ok((stream, window)) => {
                self.place = Place::Body {
                    stream: Box::new(stream),
                    start: source.position(),
                    window,
                };
                Ok(Step::wrote(0))
            }
            Err(fault) => Ok(Step::broken(0, fault)),
        }
    }

    /// The index says how long the blocks were; it is gone over, with the footer behind it.
    fn index(&mut self, source: &mut Source<'_>) -> io::Result<Step> {
        let start = source.position();
        source.skip(1);
        let records = source_number(source)?.unwrap_or(u64::MAX);
        if records > MAX_BLOCKS && source.left() > 0 {
            return Ok(Step::broken(0, Fault::Malformed));
        }
        for _ in 0..records.min(MAX_BLOCKS) {
            if source_number(source)?.is_none() || source_number(source)?.is_none() {
                let fault = match source.left() {
                    0 => Fault::Truncated,
                    _ => Fault::Malformed,
                };
                return Ok(Step::broken(0, fault));
            }
        }
        let padding = (source.position() - start).wrapping_neg() % 4;
        if !source.skip(padding + 4 + 12) {
            return Ok(Step::broken(0, Fault::Truncated));
        }
        self.streams += 1;
        self.place = Place::Stream;
        Ok(Step::wrote(0))
    }
}

impl Engine for Xz {
    fn streams(&self) -> u64 {
        self.streams
    }

    fn step(
        &mut self,
        source: &mut Source<'_>,
        output: &mut [u8],
        oddities: &mut Vec<Oddity>,
    ) -> io::Result<Step> {
        let (stream, start, window) = match &mut self.place {
            Place::Stream => return self.stream(source, oddities),
            Place::Block => return self.block(source),
            Place::Body {
                stream,
                start,
                window,
            } => (stream, *start, *window),
        };
        let few = step_of(output);
        Ok(
            match feed(source, |input, action| stream.process(input, few, action))? {
                Fed::More(written) => Step::wrote(written),
                Fed::End(written) => {
                    let padding = (source.position() - start).wrapping_neg() % 4;
                    self.place = Place::Block;
                    if source.skip(padding + self.check_bytes) {
                        Step::wrote(written)
                    } else {
                        Step::broken(written, Fault::Truncated)
                    }
                }
                Fed::Broken(Fault::Malformed) if u64::from(window) > MAX_WINDOW_BYTES => {
                    Step::broken(0, Fault::Window(u64::from(window)))
                }
                Fed::Broken(fault) => Step::broken(0, fault),
            },
        )
    }
}

/// The decoder that a block header asks for, and its window.
fn body(header: &[u8]) -> Result<(Lzma2Stream, u32), Fault> {
    let flags = *header.get(1).ok_or(Fault::Malformed)?;
    let mut rest = header.get(2..).unwrap_or_default();
    for flag in [0x40, 0x80] {
        if flags & flag != 0 {
            number(&mut rest).ok_or(Fault::Malformed)?;
        }
    }
    let mut before = Vec::new();
    for _ in 0..flags & 3 {
        let (kind, properties) = filter(&mut rest)?;
        before.push(before_lzma(kind, properties)?);
    }
    let (LZMA2_FILTER, [bits]) = filter(&mut rest)? else {
        return Err(Fault::Unsupported);
    };
    let dictionary = match bits {
        0..40 => (2 | u32::from(bits & 1)) << (bits / 2 + 11),
        40 => u32::MAX,
        _ => return Err(Fault::Malformed),
    };
    let mut stream = Lzma2Stream::new(window(dictionary));
    stream
        .set_filters(&before)
        .map_err(|_| Fault::Unsupported)?;
    Ok((stream, dictionary))
}

fn filter<'a>(rest: &mut &'a [u8]) -> Result<(u64, &'a [u8]), Fault> {
    let kind = number(rest).ok_or(Fault::Malformed)?;
    let size = number(rest).and_then(|size| usize::try_from(size).ok());
    let (properties, behind) = size
        .and_then(|size| rest.split_at_checked(size))
        .ok_or(Fault::Malformed)?;
    *rest = behind;
    Ok((kind, properties))
}

fn before_lzma(kind: u64, properties: &[u8]) -> Result<FilterConfig, Fault> {
    let filter_type = match kind {
        3 => FilterType::Delta,
        4 => FilterType::BcjX86,
        5 => FilterType::BcjPpc,
        6 => FilterType::BcjIa64,
        7 => FilterType::BcjArm,
        8 => FilterType::BcjArmThumb,
        9 => FilterType::BcjSparc,
        10 => FilterType::BcjArm64,
        11 => FilterType::BcjRiscv,
        _ => return Err(Fault::Unsupported),
    };
    let property = match (kind, properties) {
        (3, [distance]) => u32::from(*distance) + 1,
        (_, []) => 0,
        (_, four) => u32_at(four, 0).ok_or(Fault::Malformed)?,
    };
    Ok(FilterConfig {
        filter_type,
        property,
    })
}

/// A number in groups of seven bits, the lowest first.
fn number(rest: &mut &[u8]) -> Option<u64> {
    let mut value = 0;
    for place in 0..9 {
        let (byte, behind) = rest.split_first()?;
        *rest = behind;
        value |= u64::from(byte & 0x7f) << (7 * place);
        if byte & 0x80 == 0 {
            return Some(value);
        }
    }
    None
}

fn source_number(source: &mut Source<'_>) -> io::Result<Option<u64>> {
    let bytes = source.peek(9)?;
    let mut rest = bytes;
    let value = number(&mut rest);
    let taken = bytes.len() - rest.len();
    source.consume(taken);
    Ok(value)
}
