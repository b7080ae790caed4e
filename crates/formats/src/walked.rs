//! One pickle somewhere in an input: where it ends, and what it does.
//!
//! Files hold pickles one behind the other, with raw bytes between them. Where one ends is known only once it was
//! followed, so the machine is given more of the input while it asks for more.

use std::io;

use crate::ReadAt;
use crate::pickle::{Limits, Oddity, Program, run};
use crate::read_at::bytes_at;

/// How much of the input the machine is given, in turn.
const LOOKS: [u64; 3] = [64 << 10, 1 << 20, 24 << 20];

/// A pickle that was followed, and its place.
#[derive(Debug, Clone)]
pub struct Walked {
    /// Offset of its first byte in the input.
    pub offset: u64,
    /// Bytes up to the one behind its STOP, or up to where it broke.
    pub size: u64,
    /// What it does; offsets count from [`Walked::offset`].
    pub program: Program,
    /// Whether it was given up because it is longer than is looked at.
    pub too_long: bool,
}

impl Walked {
    /// Follows the pickle at `offset` of `input`.
    pub fn at(input: &dyn ReadAt, offset: u64, limits: &Limits) -> io::Result<Self> {
        let left = input.len().saturating_sub(offset);
        let mut looks = LOOKS.into_iter();
        loop {
            let look = looks.next();
            let size = look.unwrap_or(LOOKS[2]).min(left);
            let bytes = bytes_at(input, offset.min(input.len()), size)?;
            let program = run(&bytes, limits);
            let last = program.anomalies.last();
            let truncated = last.is_some_and(|last| last.oddity == Oddity::Truncated);
            let wants_more = !program.complete && truncated && size < left;
            if wants_more && looks.len() > 0 {
                continue;
            }
            return Ok(Self {
                offset,
                size: program.end as u64,
                program,
                too_long: wants_more,
            });
        }
    }

    /// Where the bytes behind it start.
    pub fn end(&self) -> u64 {
        self.offset + self.size
    }
}
