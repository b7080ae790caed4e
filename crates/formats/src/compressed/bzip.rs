//! bzip2, stream after stream.

use std::io;

use bzip2::{Decompress, Status};

use super::source::Source;
use super::{Engine, Fault, Oddity, Step, trailing};

pub(super) struct Bzip2 {
    stream: Option<Decompress>,
    streams: u64,
}

impl Bzip2 {
    pub(super) fn new() -> Self {
        Self {
            stream: None,
            streams: 0,
        }
    }
}

impl Engine for Bzip2 {
    fn streams(&self) -> u64 {
        self.streams
    }

    fn step(
        &mut self,
        source: &mut Source<'_>,
        output: &mut [u8],
        oddities: &mut Vec<Oddity>,
    ) -> io::Result<Step> {
        if self.stream.is_none() && self.streams > 0 && !source.peek(3)?.starts_with(b"BZh") {
            oddities.extend(trailing(source));
            return Ok(Step::done());
        }
        let stream = self.stream.get_or_insert_with(|| Decompress::new(false));
        let input = source.fill()?;
        let at_end = input.is_empty();
        let (taken, given) = (stream.total_in(), stream.total_out());
        let status = stream.decompress(input, output);
        let difference = |new: u64, old: u64| usize::try_from(new - old).unwrap_or(0);
        let consumed = difference(stream.total_in(), taken);
        let written = difference(stream.total_out(), given);
        source.consume(consumed);
        Ok(match status {
            Ok(Status::StreamEnd) => {
                self.stream = None;
                self.streams += 1;
                Step::wrote(written)
            }
            Ok(_) if consumed + written > 0 => Step::wrote(written),
            Ok(_) if at_end => Step::broken(written, Fault::Truncated),
            Ok(_) | Err(_) => Step::broken(written, Fault::Malformed),
        })
    }
}
