//! zstd, frame after frame.
//!
//! Blocks are cut out here and given to the library one by one. It holds back a window of output until a frame is
//! finished; so a frame that breaks is finished for it with an empty last block, and what came before the break is given.

use std::io::{self, Read};

use ruzstd::decoding::{BlockDecodingStrategy, FrameDecoder};

use super::source::Source;
use super::{Engine, Fault, MAX_WINDOW_BYTES, Oddity, Step, trailing};

const MAGIC: [u8; 4] = [0x28, 0xb5, 0x2f, 0xfd];
/// The last block of a frame, raw and empty.
const EMPTY_LAST_BLOCK: [u8; 3] = [1, 0, 0];
const MAX_BLOCK_BYTES: usize = 128 << 10;

pub(super) struct Zstd {
    decoder: FrameDecoder,
    frame: Option<Frame>,
    frames: u64,
    /// Frames that were begun, those included that are gone over.
    begun: u64,
    /// The fault that ended the frame, told once all its output is given.
    fault: Option<Fault>,
}

/// What of a frame's header is needed behind it.
struct Frame {
    check: bool,
    finished: bool,
}

impl Zstd {
    pub(super) fn new() -> Self {
        let mut decoder = FrameDecoder::new();
        decoder.set_max_window_size(MAX_WINDOW_BYTES);
        Self {
            decoder,
            frame: None,
            frames: 0,
            begun: 0,
            fault: None,
        }
    }

    fn begin(&mut self, source: &mut Source<'_>, oddities: &mut Vec<Oddity>) -> io::Result<Step> {
        self.begun += 1;
        let Some(magic) = source.peek(4)?.first_chunk::<4>().copied() else {
            if self.frames == 0 {
                return Ok(Step::broken(0, Fault::Truncated));
            }
            oddities.extend(trailing(source));
            return Ok(Step::done());
        };
        match magic {
            MAGIC => {}
            [0x50..=0x5f, 0x2a, 0x4d, 0x18] => return super::lz4::skip_frame(source, oddities),
            _ if self.frames > 0 => {
                oddities.extend(trailing(source));
                return Ok(Step::done());
            }
            _ => return Ok(Step::broken(0, Fault::Malformed)),
        }
        let header = match header(source)? {
            Ok(header) => header,
            Err(fault) => return Ok(Step::broken(0, fault)),
        };
        if self.decoder.init(header.bytes.as_slice()).is_err() {
            return Ok(Step::broken(0, Fault::Malformed));
        }
        self.frames += 1;
        self.frame = Some(Frame {
            check: header.check,
            finished: false,
        });
        Ok(Step::wrote(0))
    }

    /// The next block, if it is there and sound.
    fn block(&mut self, source: &mut Source<'_>) -> io::Result<Result<bool, Fault>> {
        let Some([a, b, c]) = source.peek(3)?.first_chunk::<3>().copied() else {
            return Ok(Err(Fault::Truncated));
        };
        let head = u32::from_le_bytes([a, b, c, 0]);
        let size = usize::try_from(head >> 3).unwrap_or(usize::MAX);
        let stored = match (head >> 1) & 3 {
            // One byte, repeated.
            1 => 1,
            0 | 2 if size <= MAX_BLOCK_BYTES => size,
            _ => return Ok(Err(Fault::Malformed)),
        };
        let Some(block) = source.bytes(3 + stored)? else {
            return Ok(Err(Fault::Truncated));
        };
        let decoded = self
            .decoder
            .decode_blocks(block.as_slice(), BlockDecodingStrategy::UptoBlocks(1));
        Ok(decoded.map(|_| head & 1 != 0).map_err(|_| Fault::Malformed))
    }

    fn advance(&mut self, source: &mut Source<'_>) -> io::Result<()> {
        let last = self.block(source)?;
        let Some(frame) = &mut self.frame else {
            return Ok(());
        };
        match last {
            Ok(false) => {}
            Ok(true) => {
                frame.finished = true;
                if frame.check && !source.skip(4) {
                    self.fault = Some(Fault::Truncated);
                }
            }
            Err(fault) => {
                frame.finished = true;
                self.fault = Some(fault);
                let one = BlockDecodingStrategy::UptoBlocks(1);
                // Where even that is refused, nothing is held that could be given.
                let _ = self.decoder.decode_blocks(&EMPTY_LAST_BLOCK[..], one);
            }
        }
        Ok(())
    }
}

impl Engine for Zstd {
    fn streams(&self) -> u64 {
        self.begun
    }

    fn step(
        &mut self,
        source: &mut Source<'_>,
        output: &mut [u8],
        oddities: &mut Vec<Oddity>,
    ) -> io::Result<Step> {
        let Some(frame) = &self.frame else {
            return self.begin(source, oddities);
        };
        let finished = frame.finished;
        if self.decoder.can_collect() > 0 {
            // Reads from what is decoded, so it cannot fail.
            let written = self.decoder.read(output).unwrap_or(0);
            return Ok(Step::wrote(written));
        }
        if !finished {
            self.advance(source)?;
            return Ok(Step::wrote(0));
        }
        self.frame = None;
        Ok(match self.fault.take() {
            Some(fault) => Step::broken(0, fault),
            None => Step::wrote(0),
        })
    }
}

struct Header {
    /// As the library shall see it: without the check sum, which is gone over here.
    bytes: Vec<u8>,
    check: bool,
}

fn header(source: &mut Source<'_>) -> io::Result<Result<Header, Fault>> {
    let head = source.peek(18)?;
    let Some(descriptor) = head.get(4).copied() else {
        return Ok(Err(Fault::Truncated));
    };
    let single = descriptor & 0x20 != 0;
    let dictionary = [0, 1, 2, 4][usize::from(descriptor & 3)];
    let size = match (descriptor >> 6, single) {
        (0, false) => 0,
        (0, true) => 1,
        (1, _) => 2,
        (2, _) => 4,
        _ => 8,
    };
    let window_bytes = usize::from(!single);
    let length = 5 + window_bytes + dictionary + size;
    let Some(bytes) = head.get(..length) else {
        return Ok(Err(Fault::Truncated));
    };
    let id = bytes
        .get(5 + window_bytes..)
        .and_then(|rest| rest.get(..dictionary))
        .unwrap_or_default();
    if id.iter().any(|byte| *byte != 0) {
        return Ok(Err(Fault::Dictionary));
    }
    let window = match bytes.get(5) {
        Some(byte) if !single => {
            let base = 1u64 << (10 + (byte >> 3));
            base + base / 8 * u64::from(byte & 7)
        }
        _ => content_size(bytes.get(5 + dictionary..).unwrap_or_default()),
    };
    if window > MAX_WINDOW_BYTES {
        return Ok(Err(Fault::Window(window)));
    }
    let mut bytes = bytes.to_vec();
    bytes[4] &= !4;
    source.consume(length);
    Ok(Ok(Header {
        bytes,
        check: descriptor & 4 != 0,
    }))
}

fn content_size(bytes: &[u8]) -> u64 {
    let mut wide = [0; 8];
    wide.iter_mut()
        .zip(bytes)
        .for_each(|(to, from)| *to = *from);
    let value = u64::from_le_bytes(wide);
    if bytes.len() == 2 { value + 256 } else { value }
}
