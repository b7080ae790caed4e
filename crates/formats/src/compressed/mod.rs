//! Decompression behind one interface, bounded in every direction.
//!
//! A compressed file is a container with one member and no name. [`Decoder`] gives its bytes piece by piece, so a stream
//! of any length is walked in the memory of one window; [`Decoder::head`] gives the first bytes for telling what is
//! inside, [`Decoder::spool`] all of them up to a limit.
//!
//! Streams are taken as leniently as loaders take them: a loader reads while it decompresses, so what stands before a
//! break was already run. Hence everything up to a break is given and the break is told by [`End`]; wrong check sums are
//! an [`Oddity`] or, where no loader could tell in time, not looked at. Several streams one behind the other are one
//! (gzip, bzip2, xz, zstd, lz4), as their tools have it; what follows the last is [`Oddity::Trailing`], for the caller
//! to look into. How deep compressed files are nested is the caller's to count.

mod bzip;
mod deflate;
mod lz4;
mod lzma;
pub(crate) mod source;
mod zstd;

use std::io;
use std::ops::ControlFlow;

use crate::ReadAt;
use source::Source;

/// The most oddities that are kept of one stream.
pub const MAX_ODDITIES: usize = 100;
/// The largest window of earlier output that a stream may refer to, in bytes; that of `xz -9` and `zstd -19` fits.
pub const MAX_WINDOW_BYTES: u64 = 64 << 20;

/// A way of compressing one stream of bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Codec {
    /// RFC 1952.
    Gzip,
    /// RFC 1950.
    Zlib,
    /// RFC 1951 without a header, as in ZIP.
    Deflate,
    /// bzip2.
    Bzip2,
    /// The container of xz.
    Xz,
    /// `.lzma`, the format before xz.
    Lzma,
    /// LZMA as a ZIP member has it: version, size of properties, properties, then the stream.
    ZipLzma,
    /// RFC 8878.
    Zstd,
    /// The frame format of lz4, old frames included.
    Lz4,
    /// lzip: recognised, not decompressed.
    Lzip,
    /// The framing of snappy: recognised, not decompressed.
    Snappy,
    /// compress(1): recognised, not decompressed.
    UnixCompress,
}

impl Codec {
    /// What a person calls it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Gzip => "gzip",
            Self::Zlib => "zlib",
            Self::Deflate => "deflate",
            Self::Bzip2 => "bzip2",
            Self::Xz => "xz",
            Self::Lzma | Self::ZipLzma => "lzma",
            Self::Zstd => "zstd",
            Self::Lz4 => "lz4",
            Self::Lzip => "lzip",
            Self::Snappy => "snappy",
            Self::UnixCompress => "compress",
        }
    }

    /// The codec whose stream starts with `head`; 32 bytes decide. zlib and lzma have no real magic, so a match of
    /// theirs is confirmed by decoding: see [`crate::sniff`].
    pub fn of(head: &[u8]) -> Option<Self> {
        const MAGICS: [(&[u8], Codec); 9] = [
            (b"\x1f\x8b", Codec::Gzip),
            (b"BZh", Codec::Bzip2),
            (b"\xfd7zXZ\0", Codec::Xz),
            (b"\x28\xb5\x2f\xfd", Codec::Zstd),
            (b"\x04\x22\x4d\x18", Codec::Lz4),
            (b"\x02\x21\x4c\x18", Codec::Lz4),
            (b"LZIP", Codec::Lzip),
            (b"\xff\x06\0\0sNaPpY", Codec::Snappy),
            (b"\x1f\x9d", Codec::UnixCompress),
        ];
        let magic = MAGICS.iter().find(|(magic, _)| head.starts_with(magic));
        if let Some((_, codec)) = magic {
            return Some(*codec);
        }
        match *head {
            // A skippable frame, which zstd and lz4 share; zstd's reader goes over those of both.
            [0x50..=0x5f, 0x2a, 0x4d, 0x18, ..] => Some(Self::Zstd),
            [first, second, ..]
                if first & 0x0f == 8
                    && first >> 4 <= 7
                    && (u16::from(first) << 8 | u16::from(second)).is_multiple_of(31) =>
            {
                Some(Self::Zlib)
            }
            _ if lzma::is_alone(head) => Some(Self::Lzma),
            _ => None,
        }
    }

    /// Whether a match of its magic says enough by itself.
    pub const fn has_magic(self) -> bool {
        !matches!(
            self,
            Self::Zlib | Self::Lzma | Self::Deflate | Self::ZipLzma
        )
    }
}

/// How much a stream may become and cost.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Budget {
    /// Bytes that are given out at most.
    pub output: u64,
    /// Bytes that are taken in at most. To begin a stream counts for 16 KiB: it costs as much, even if it is empty.
    pub input: u64,
    /// Bytes given out for each byte taken in, once more than [`Budget::RATIO_SLACK`] were given out.
    pub ratio: u64,
}

impl Budget {
    /// Output up to which the ratio is not looked at, in bytes.
    pub const RATIO_SLACK: u64 = 1 << 20;

    /// At most `output` bytes out, 1 GiB in, and no ratio: the output bounds the cost by itself.
    pub const fn bytes(output: u64) -> Self {
        Self {
            output,
            input: 1 << 30,
            ratio: u64::MAX,
        }
    }
}

impl Default for Budget {
    /// 24 MiB, which is what may be held of one stream.
    fn default() -> Self {
        Self::bytes(24 << 20)
    }
}

/// Which part of a [`Budget`] ran out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Limit {
    /// The output.
    #[error("it becomes more than {0} bytes")]
    Output(u64),
    /// The input.
    #[error("it takes more than {0} bytes to decompress")]
    Input(u64),
    /// The ratio.
    #[error("it becomes more than {0} times its size")]
    Ratio(u64),
}

/// Why a stream gives nothing more.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum End {
    /// It is at its end.
    #[error("complete")]
    Complete,
    /// A part of the budget ran out.
    #[error("{0}")]
    Limit(Limit),
    /// It breaks.
    #[error("{0}")]
    Broken(Fault),
}

/// What is wrong with a stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    /// The bytes end within it.
    #[error("it breaks off")]
    Truncated,
    /// It contradicts its format.
    #[error("it is malformed")]
    Malformed,
    /// It needs a dictionary that is not in the file.
    #[error("it needs a dictionary that is not in the file")]
    Dictionary,
    /// It refers further back than [`MAX_WINDOW_BYTES`].
    #[error("it needs a window of {0} bytes, more than {MAX_WINDOW_BYTES}")]
    Window(u64),
    /// A filter or variant that is not decoded here.
    #[error("it uses a variant that is not decompressed")]
    Unsupported,
}

/// Something about a stream that its tool would not have written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Oddity {
    /// The check sum or size behind a stream is not that of its bytes.
    #[error("the check sum at byte {offset} is wrong")]
    CheckSum {
        /// Where it stands.
        offset: u64,
    },
    /// Bytes behind the last stream that belong to none.
    #[error("{bytes} bytes at {offset} belong to no stream")]
    Trailing {
        /// Offset of the first.
        offset: u64,
        /// How many, to the end of the input.
        bytes: u64,
    },
    /// A frame that decoders go over.
    #[error("{bytes} bytes at {offset} are in a frame that readers skip")]
    Skipped {
        /// Offset of its content.
        offset: u64,
        /// Bytes of its content.
        bytes: u64,
    },
}

/// What became of a stream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outcome {
    /// Why it ended.
    pub end: End,
    /// Bytes taken in.
    pub consumed: u64,
    /// Bytes given out.
    pub written: u64,
    /// What is odd; at most [`MAX_ODDITIES`].
    pub oddities: Vec<Oddity>,
}

/// Decompresses one input; see the module.
pub struct Decoder<'a> {
    source: Source<'a>,
    engine: Box<dyn Engine>,
    budget: Budget,
    written: u64,
    oddities: Vec<Oddity>,
    end: Option<End>,
}

/// One format's decoder. A step takes input, gives output or tells the end: never nothing of these.
trait Engine {
    fn step(
        &mut self,
        source: &mut Source<'_>,
        output: &mut [u8],
        oddities: &mut Vec<Oddity>,
    ) -> io::Result<Step>;

    /// Streams and frames that were begun or gone over so far.
    fn streams(&self) -> u64 {
        0
    }
}

/// What a step gave, and whether there is more.
struct Step {
    written: usize,
    end: Option<End>,
}

impl Step {
    const fn wrote(written: usize) -> Self {
        Self { written, end: None }
    }

    const fn done() -> Self {
        Self {
            written: 0,
            end: Some(End::Complete),
        }
    }

    const fn broken(written: usize, fault: Fault) -> Self {
        Self {
            written,
            end: Some(End::Broken(fault)),
        }
    }
}

impl<'a> Decoder<'a> {
    /// Decompresses `input`, which is in `codec`, as far as `budget` lets it.
    pub fn new(input: &'a dyn ReadAt, codec: Codec, budget: Budget) -> Self {
        let engine: Box<dyn Engine> = match codec {
            Codec::Gzip => Box::new(deflate::Gzip::new()),
            Codec::Zlib => Box::new(deflate::Zlib::new()),
            Codec::Deflate => Box::new(deflate::Raw::new()),
            Codec::Bzip2 => Box::new(bzip::Bzip2::new()),
            Codec::Xz => Box::new(lzma::Xz::new()),
            Codec::Lzma => Box::new(lzma::Alone::new()),
            Codec::ZipLzma => Box::new(lzma::InZip::new()),
            Codec::Zstd => Box::new(zstd::Zstd::new()),
            Codec::Lz4 => Box::new(lz4::Lz4::new()),
            Codec::Lzip | Codec::Snappy | Codec::UnixCompress => Box::new(Unsupported),
        };
        Self {
            source: Source::new(input),
            engine,
            budget,
            written: 0,
            oddities: Vec::new(),
            end: None,
        }
    }

    /// Gives the next bytes and how many; 0 when there are no more (or `output` is empty), and then [`Decoder::end`]
    /// says why. An error is one of reading the input alone.
    pub fn read(&mut self, output: &mut [u8]) -> io::Result<usize> {
        while self.end.is_none() && !output.is_empty() {
            let left = self.budget.output - self.written;
            let room = usize::try_from(left).map_or(output.len(), |left| output.len().min(left));
            // One byte more than the budget tells a stream that just fits from one that does not.
            let mut probe = [0];
            let target = match room {
                0 => &mut probe[..],
                _ => output.get_mut(..room).unwrap_or_default(),
            };
            let step = self
                .engine
                .step(&mut self.source, target, &mut self.oddities)?;
            self.oddities.truncate(MAX_ODDITIES);
            self.end = step.end;
            if room == 0 && step.written > 0 {
                self.end = Some(End::Limit(Limit::Output(self.budget.output)));
                break;
            }
            self.written += step.written as u64;
            self.check_cost();
            if step.written > 0 {
                return Ok(step.written);
            }
        }
        Ok(0)
    }

    fn check_cost(&mut self) {
        let consumed = self.source.position();
        let allowed = consumed.saturating_mul(self.budget.ratio);
        if self.end.is_some() {
            return;
        }
        let begun = self.engine.streams().saturating_mul(STREAM_COST);
        if consumed.saturating_add(begun) > self.budget.input {
            self.end = Some(End::Limit(Limit::Input(self.budget.input)));
        } else if self.written > Budget::RATIO_SLACK.max(allowed) {
            self.end = Some(End::Limit(Limit::Ratio(self.budget.ratio)));
        }
    }

    /// Why it gives nothing more; `None` while it does.
    pub fn end(&self) -> Option<End> {
        self.end
    }

    /// Bytes taken in.
    pub fn consumed(&self) -> u64 {
        self.source.position()
    }

    /// Bytes given out.
    pub fn written(&self) -> u64 {
        self.written
    }

    /// Gives every piece to `sink` until it breaks. The end is [`End::Limit`] where `sink` broke off.
    pub fn for_each(
        mut self,
        mut sink: impl FnMut(&[u8]) -> ControlFlow<()>,
    ) -> io::Result<Outcome> {
        let mut piece = vec![0; PIECE_BYTES];
        loop {
            let count = self.read(&mut piece)?;
            let stopped = match piece.get(..count) {
                Some(bytes) if !bytes.is_empty() => sink(bytes).is_break(),
                _ => break,
            };
            if stopped {
                self.end
                    .get_or_insert(End::Limit(Limit::Output(self.written)));
                break;
            }
        }
        Ok(self.outcome())
    }

    /// The first `count` bytes, or all there are; the caller has bounded `count`.
    pub fn head(mut self, count: usize) -> io::Result<(Vec<u8>, Outcome)> {
        self.budget.output = self.budget.output.min(count as u64);
        self.spool()
    }

    /// All bytes up to the budget's output, in memory.
    pub fn spool(self) -> io::Result<(Vec<u8>, Outcome)> {
        let mut bytes = Vec::new();
        let outcome = self.for_each(|piece| {
            bytes.extend_from_slice(piece);
            ControlFlow::Continue(())
        })?;
        Ok((bytes, outcome))
    }

    fn outcome(self) -> Outcome {
        Outcome {
            end: self.end.unwrap_or(End::Complete),
            consumed: self.source.position(),
            written: self.written,
            oddities: self.oddities,
        }
    }
}

/// What the beginning of a stream counts for, in bytes of input.
const STREAM_COST: u64 = 16 << 10;
/// Bytes of one piece.
const PIECE_BYTES: usize = 64 << 10;

/// What is behind the last stream.
fn trailing(source: &Source<'_>) -> Option<Oddity> {
    let bytes = source.left();
    (bytes > 0).then(|| Oddity::Trailing {
        offset: source.position(),
        bytes,
    })
}

struct Unsupported;

impl Engine for Unsupported {
    fn step(&mut self, _: &mut Source<'_>, _: &mut [u8], _: &mut Vec<Oddity>) -> io::Result<Step> {
        Ok(Step::broken(0, Fault::Unsupported))
    }
}
