//! The frame format of lz4, frame after frame, and the old format of the Linux kernel.
//!
//! A frame is a header and blocks; the library decompresses blocks. Check sums are gone over: block by block they come
//! behind bytes that are decoded anyway, and the sum of a frame comes behind all of them.

use std::io;

use super::source::Source;
use super::{Engine, Fault, Oddity, Step, trailing};

const MAGIC: [u8; 4] = [0x04, 0x22, 0x4d, 0x18];
const OLD_MAGIC: [u8; 4] = [0x02, 0x21, 0x4c, 0x18];
const OLD_BLOCK_BYTES: usize = 8 << 20;
/// How far a block may refer back into earlier blocks.
const WINDOW_BYTES: usize = 64 << 10;

/// What a frame's header says.
#[derive(Clone, Copy)]
struct Frame {
    old: bool,
    block_bytes: usize,
    linked: bool,
    /// Bytes of the check sum behind each block.
    block_tail: u64,
    /// Bytes of the check sum behind the last block.
    tail: u64,
}

pub(super) struct Lz4 {
    frame: Option<Frame>,
    frames: u64,
    /// Frames that were begun, those included that are gone over.
    begun: u64,
    /// The last output, of which the first `window` bytes were given before.
    block: Vec<u8>,
    /// Bytes of `block` that were given out.
    given: usize,
}

impl Lz4 {
    pub(super) fn new() -> Self {
        Self {
            frame: None,
            frames: 0,
            begun: 0,
            block: Vec::new(),
            given: 0,
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
        let found = match magic {
            MAGIC => header(source)?,
            OLD_MAGIC => {
                source.consume(4);
                Ok(Frame {
                    old: true,
                    block_bytes: OLD_BLOCK_BYTES,
                    linked: false,
                    block_tail: 0,
                    tail: 0,
                })
            }
            [0x50..=0x5f, 0x2a, 0x4d, 0x18] => return skip_frame(source, oddities),
            _ if self.frames > 0 => {
                oddities.extend(trailing(source));
                return Ok(Step::done());
            }
            _ => Err(Fault::Malformed),
        };
        Ok(match found {
            Ok(frame) => {
                self.frame = Some(frame);
                self.frames += 1;
                self.block.clear();
                self.given = 0;
                Step::wrote(0)
            }
            Err(fault) => Step::broken(0, fault),
        })
    }

    fn next_block(&mut self, source: &mut Source<'_>, frame: Frame) -> io::Result<Step> {
        let Some(size) = source.array::<4>()?.map(u32::from_le_bytes) else {
            self.frame = None;
            // Old frames have no end mark.
            return Ok(if frame.old && source.left() == 0 {
                Step::wrote(0)
            } else {
                Step::broken(0, Fault::Truncated)
            });
        };
        let next_old = frame.old && size.to_le_bytes() == OLD_MAGIC;
        if next_old || (frame.old && size.to_le_bytes() == MAGIC) {
            source.rewind(4);
            self.frame = None;
            return Ok(Step::wrote(0));
        }
        if size == 0 {
            self.frame = None;
            return Ok(if source.skip(frame.tail) {
                Step::wrote(0)
            } else {
                Step::broken(0, Fault::Truncated)
            });
        }
        let stored = !frame.old && size & 0x8000_0000 != 0;
        let size = usize::try_from(size & 0x7fff_ffff).unwrap_or(usize::MAX);
        if size > frame.block_bytes + frame.block_bytes / 255 + 16 {
            return Ok(Step::broken(0, Fault::Malformed));
        }
        let Some(bytes) = source.bytes(size)? else {
            return Ok(Step::broken(0, Fault::Truncated));
        };
        source.skip(frame.block_tail);
        Ok(match self.decode(frame, &bytes, stored) {
            Ok(()) => Step::wrote(0),
            Err(fault) => Step::broken(0, fault),
        })
    }

    /// Makes `block` the window and the new bytes behind it, with `given` between the two.
    fn decode(&mut self, frame: Frame, bytes: &[u8], stored: bool) -> Result<(), Fault> {
        let keep = if frame.linked {
            self.block.len().min(WINDOW_BYTES)
        } else {
            0
        };
        let window = self.block.split_off(self.block.len() - keep);
        self.block.clear();
        if stored {
            self.block.extend_from_slice(&window);
            self.block.extend_from_slice(bytes);
        } else {
            let mut output = vec![0; frame.block_bytes];
            let size = lz4_flex::block::decompress_into_with_dict(bytes, &mut output, &window)
                .map_err(|_| Fault::Malformed)?;
            output.truncate(size);
            self.block.extend_from_slice(&window);
            self.block.append(&mut output);
        }
        self.given = keep;
        Ok(())
    }
}

impl Engine for Lz4 {
    fn streams(&self) -> u64 {
        self.begun
    }

    fn step(
        &mut self,
        source: &mut Source<'_>,
        output: &mut [u8],
        oddities: &mut Vec<Oddity>,
    ) -> io::Result<Step> {
        let ready = self.block.get(self.given..).unwrap_or_default();
        if !ready.is_empty() {
            let count = ready.len().min(output.len());
            output[..count].copy_from_slice(&ready[..count]);
            self.given += count;
            return Ok(Step::wrote(count));
        }
        match self.frame {
            Some(frame) => self.next_block(source, frame),
            None => self.begin(source, oddities),
        }
    }
}

fn header(source: &mut Source<'_>) -> io::Result<Result<Frame, Fault>> {
    let Some([_, _, _, _, flags, sizes]) = source.array::<6>()? else {
        return Ok(Err(Fault::Truncated));
    };
    let block_bytes = match (sizes >> 4) & 7 {
        4 => 64 << 10,
        5 => 256 << 10,
        6 => 1 << 20,
        7 => 4 << 20,
        _ => return Ok(Err(Fault::Malformed)),
    };
    if flags >> 6 != 1 {
        return Ok(Err(Fault::Malformed));
    }
    if flags & 1 != 0 {
        return Ok(Err(Fault::Dictionary));
    }
    let content_size = if flags & 8 != 0 { 8 } else { 0 };
    if !source.skip(content_size + 1) {
        return Ok(Err(Fault::Truncated));
    }
    Ok(Ok(Frame {
        old: false,
        block_bytes,
        linked: flags & 0x20 == 0,
        block_tail: u64::from(flags & 0x10) / 4,
        tail: u64::from(flags & 4),
    }))
}

/// Goes over a frame that is for others; zstd has the same kind.
pub(super) fn skip_frame(source: &mut Source<'_>, oddities: &mut Vec<Oddity>) -> io::Result<Step> {
    let Some([_, _, _, _, size @ ..]) = source.array::<8>()? else {
        return Ok(Step::broken(0, Fault::Truncated));
    };
    let bytes = u64::from(u32::from_le_bytes(size));
    let offset = source.position();
    if bytes > 0 {
        oddities.push(Oddity::Skipped { offset, bytes });
    }
    Ok(if source.skip(bytes) {
        Step::wrote(0)
    } else {
        Step::broken(0, Fault::Truncated)
    })
}
