//! gzip, zlib and bare deflate.
//!
//! Headers and trailers are read here and not by the library, because loaders differ in what they check of them and the
//! bytes between are what counts.

use std::io;

use flate2::{Decompress, FlushDecompress, Status};

use super::source::Source;
use super::{Engine, Fault, Oddity, Step, trailing};

/// Bare deflate, with what every wrapper of it needs.
pub(super) struct Raw {
    inflate: Decompress,
    finished: bool,
}

impl Raw {
    pub(super) fn new() -> Self {
        Self {
            inflate: Decompress::new(false),
            finished: false,
        }
    }

    /// Gives output; `Some(Complete)` in the step at the end of the deflate stream.
    fn inflate(&mut self, source: &mut Source<'_>, output: &mut [u8]) -> io::Result<Step> {
        let input = source.fill()?;
        let at_end = input.is_empty();
        let (taken, given) = (self.inflate.total_in(), self.inflate.total_out());
        let status = self
            .inflate
            .decompress(input, output, FlushDecompress::None);
        let difference = |new: u64, old: u64| usize::try_from(new - old).unwrap_or(0);
        let consumed = difference(self.inflate.total_in(), taken);
        let written = difference(self.inflate.total_out(), given);
        source.consume(consumed);
        Ok(match status {
            Ok(Status::StreamEnd) => {
                self.finished = true;
                Step::wrote(written)
            }
            Ok(_) if consumed + written > 0 => Step::wrote(written),
            Ok(_) if at_end => Step::broken(written, Fault::Truncated),
            Ok(_) | Err(_) => Step::broken(written, Fault::Malformed),
        })
    }
}

impl Engine for Raw {
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
        self.inflate(source, output)
    }
}

/// Where a wrapper stands.
enum State {
    Header,
    Body,
}

/// gzip, member after member.
pub(super) struct Gzip {
    state: State,
    raw: Raw,
    check: crc32fast::Hasher,
    members: u64,
}

impl Gzip {
    pub(super) fn new() -> Self {
        Self {
            state: State::Header,
            raw: Raw::new(),
            check: crc32fast::Hasher::new(),
            members: 0,
        }
    }

    /// Between members: padding of zeros, another member, or the end.
    fn begin(&mut self, source: &mut Source<'_>, oddities: &mut Vec<Oddity>) -> io::Result<Step> {
        if self.members > 0 {
            source.skip_zeros()?;
            if !source.peek(2)?.starts_with(b"\x1f\x8b") {
                oddities.extend(trailing(source));
                return Ok(Step::done());
            }
        }
        if let Err(fault) = header(source)? {
            return Ok(Step::broken(0, fault));
        }
        self.raw = Raw::new();
        self.check = crc32fast::Hasher::new();
        self.state = State::Body;
        Ok(Step::wrote(0))
    }

    fn finish(&mut self, source: &mut Source<'_>, oddities: &mut Vec<Oddity>) -> io::Result<Step> {
        let offset = source.position();
        let size = self.raw.inflate.total_out();
        let Some([a, b, c, d, size_bytes @ ..]) = source.array::<8>()? else {
            return Ok(Step::broken(0, Fault::Truncated));
        };
        let check = u32::from_le_bytes([a, b, c, d]) == self.check.clone().finalize();
        if !check || u64::from(u32::from_le_bytes(size_bytes)) != size & 0xffff_ffff {
            oddities.push(Oddity::CheckSum { offset });
        }
        self.members += 1;
        self.state = State::Header;
        Ok(Step::wrote(0))
    }
}

impl Engine for Gzip {
    fn streams(&self) -> u64 {
        self.members
    }

    fn step(
        &mut self,
        source: &mut Source<'_>,
        output: &mut [u8],
        oddities: &mut Vec<Oddity>,
    ) -> io::Result<Step> {
        match self.state {
            State::Header => self.begin(source, oddities),
            State::Body if self.raw.finished => self.finish(source, oddities),
            State::Body => {
                let step = self.raw.inflate(source, output)?;
                self.check
                    .update(output.get(..step.written).unwrap_or_default());
                Ok(step)
            }
        }
    }
}

/// The header of a gzip member. The flags of reserved meaning are not looked at, as in zlib.
fn header(source: &mut Source<'_>) -> io::Result<Result<(), Fault>> {
    let Some([0x1f, 0x8b, 8, flags, ..]) = source.array::<10>()? else {
        return Ok(Err(match source.left() {
            0..10 => Fault::Truncated,
            _ => Fault::Malformed,
        }));
    };
    if flags & 4 != 0 {
        let Some(size) = source.array::<2>()? else {
            return Ok(Err(Fault::Truncated));
        };
        source.skip(u64::from(u16::from_le_bytes(size)));
    }
    // A name, a comment: each up to its zero byte.
    for flag in [8, 16] {
        if flags & flag != 0 && !skip_text(source)? {
            return Ok(Err(Fault::Truncated));
        }
    }
    if flags & 2 != 0 {
        source.skip(2);
    }
    Ok(Ok(()))
}

fn skip_text(source: &mut Source<'_>) -> io::Result<bool> {
    loop {
        let bytes = source.fill()?;
        let (count, found) = match bytes.iter().position(|byte| *byte == 0) {
            Some(end) => (end + 1, true),
            None => (bytes.len(), false),
        };
        source.consume(count);
        if found || count == 0 {
            return Ok(found);
        }
    }
}

/// zlib, stream after stream. Its check sum is not looked at: readers of a stream have taken the bytes before it.
pub(super) struct Zlib {
    state: State,
    raw: Raw,
    streams: u64,
}

impl Zlib {
    pub(super) fn new() -> Self {
        Self {
            state: State::Header,
            raw: Raw::new(),
            streams: 0,
        }
    }

    fn begin(&mut self, source: &mut Source<'_>, oddities: &mut Vec<Oddity>) -> io::Result<Step> {
        let head = source.peek(2)?.first_chunk::<2>().copied();
        let Some([method, flags]) = head else {
            if self.streams == 0 {
                return Ok(Step::broken(0, Fault::Truncated));
            }
            oddities.extend(trailing(source));
            return Ok(Step::done());
        };
        let valid = super::Codec::of(&[method, flags]) == Some(super::Codec::Zlib);
        if !valid && self.streams > 0 {
            oddities.extend(trailing(source));
            return Ok(Step::done());
        }
        if !valid {
            return Ok(Step::broken(0, Fault::Malformed));
        }
        if flags & 0x20 != 0 {
            return Ok(Step::broken(0, Fault::Dictionary));
        }
        source.consume(2);
        self.raw = Raw::new();
        self.state = State::Body;
        Ok(Step::wrote(0))
    }
}

impl Engine for Zlib {
    fn streams(&self) -> u64 {
        self.streams
    }

    fn step(
        &mut self,
        source: &mut Source<'_>,
        output: &mut [u8],
        oddities: &mut Vec<Oddity>,
    ) -> io::Result<Step> {
        match self.state {
            State::Header => self.begin(source, oddities),
            State::Body if self.raw.finished => {
                self.streams += 1;
                self.state = State::Header;
                Ok(match source.array::<4>()? {
                    Some(_) => Step::wrote(0),
                    None => Step::broken(0, Fault::Truncated),
                })
            }
            State::Body => self.raw.inflate(source, output),
        }
    }
}
