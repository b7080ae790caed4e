//! Frames on their way to the supervisor: bounded, and either whole or not there.
//!
//! A message that does not fit is dropped and counted, never cut: the supervisor sees the hole in `seq`. The queue knows
//! no socket; the caller offers it a function that takes as many bytes as it can.

use std::collections::VecDeque;

/// Most bytes that wait, frames and lengths together.
pub(crate) const QUEUE_BYTES_MAX: usize = 4 << 20;

/// Bytes of complete frames, the first of them perhaps sent in part.
#[derive(Debug, Default)]
pub(crate) struct Queue {
    bytes: VecDeque<u8>,
    seq: u64,
    dropped: u64,
}

impl Queue {
    /// Puts the message with JSON text `body`, said at `at_us`, at the end; `false` if it had to be dropped.
    pub(crate) fn push(&mut self, at_us: i64, body: &str) -> bool {
        let seq = self.seq;
        self.seq += 1;
        let envelope = format!("{{\"seq\":{seq},\"at_us\":{at_us},\"body\":{body}}}");
        let length = u32::try_from(envelope.len()).unwrap_or(u32::MAX);
        let fits = length <= domain::sensor::FRAME_BYTES_MAX
            && self.bytes.len() + size_of::<u32>() + envelope.len() <= QUEUE_BYTES_MAX;
        if fits {
            self.bytes.extend(length.to_le_bytes());
            self.bytes.extend(envelope.into_bytes());
        } else {
            self.dropped += 1;
        }
        fits
    }

    /// Offers the waiting bytes to `write` until it takes no more. `write` answers how many it took.
    pub(crate) fn drain<E>(
        &mut self,
        mut write: impl FnMut(&[u8]) -> Result<usize, E>,
    ) -> Result<(), E> {
        while !self.bytes.is_empty() {
            let (front, back) = self.bytes.as_slices();
            let taken = write(if front.is_empty() { back } else { front })?;
            if taken == 0 {
                break;
            }
            self.bytes.drain(..taken.min(self.bytes.len()));
        }
        Ok(())
    }

    /// Whether nothing waits.
    pub(crate) fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    /// Messages that were dropped so far.
    pub(crate) fn dropped(&self) -> u64 {
        self.dropped
    }

    /// Forgets what waits, because nobody will read it.
    pub(crate) fn clear(&mut self) {
        self.bytes = VecDeque::new();
    }
}
