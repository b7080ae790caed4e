//! The bytes of one member.

use std::io;
use std::ops::{ControlFlow, Range};

use super::Member;
use crate::compressed::{Budget, Codec, Decoder, End};
use crate::{ReadAt, Window};

/// A member's bytes: as they stand in the file, or to be decompressed.
pub enum Content<'a> {
    /// Stored; may be read at any place.
    Stored(Window<'a>),
    /// Compressed: the stored bytes and how to read them with a [`Decoder`].
    Compressed(Window<'a>, Codec),
}

/// Why a member cannot be looked into.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// Its bytes are encrypted.
    #[error("it is encrypted")]
    Encrypted,
    /// No reader here for its method; 9 is deflate64, 98 PPMd.
    #[error("it is compressed by method {0}, which is not read")]
    Method(u16),
}

/// What a check of a member's sum found.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum CrcError {
    /// Its bytes cannot be read.
    #[error("{0}")]
    Refused(Refused),
    /// Its bytes end otherwise than complete, or with another size than the directory has.
    #[error("it has other bytes than the directory says")]
    Size,
    /// Its sum is another.
    #[error("its check sum is {found:08x}, the directory has {said:08x}")]
    Differs {
        /// Of its bytes.
        found: u32,
        /// In the directory.
        said: u32,
    },
}

/// The bytes of `member`. A member that is marked as encrypted is refused; one that only its local header marks is not,
/// because the readers go by the directory.
pub fn open<'a>(input: &'a dyn ReadAt, member: &Member) -> Result<Content<'a>, Refused> {
    if member.is_encrypted() {
        return Err(Refused::Encrypted);
    }
    let window = Window::new(input, member.data_offset, member.stored_size);
    Ok(match member.method {
        0 => Content::Stored(window),
        8 => Content::Compressed(window, Codec::Deflate),
        12 => Content::Compressed(window, Codec::Bzip2),
        14 => Content::Compressed(window, Codec::ZipLzma),
        20 | 93 => Content::Compressed(window, Codec::Zstd),
        95 => Content::Compressed(window, Codec::Xz),
        other => return Err(Refused::Method(other)),
    })
}

/// Reads all bytes of `member`, within `budget`, and compares size and check sum with what the directory says. `sink` gets
/// the bytes, unpacked and in order, for whoever wants to know more of them.
pub fn verify(
    input: &dyn ReadAt,
    member: &Member,
    budget: Budget,
    mut sink: impl FnMut(&[u8]),
) -> io::Result<Result<(), CrcError>> {
    let mut check = crc32fast::Hasher::new();
    let written = match open(input, member) {
        Err(refused) => return Ok(Err(CrcError::Refused(refused))),
        Ok(Content::Stored(window)) => {
            window.for_each(|piece| {
                check.update(piece);
                sink(piece);
            })?;
            Some(window.len())
        }
        Ok(Content::Compressed(window, codec)) => {
            let outcome = Decoder::new(&window, codec, budget).for_each(|piece| {
                check.update(piece);
                sink(piece);
                ControlFlow::Continue(())
            })?;
            Some(outcome.written).filter(|_| outcome.end == End::Complete)
        }
    };
    if written != Some(member.size) {
        return Ok(Err(CrcError::Size));
    }
    Ok(compare(check.finalize(), member))
}

/// Compares the check sum of all bytes of `member`, which somebody else has read, with what the directory says.
pub fn compare(found: u32, member: &Member) -> Result<(), CrcError> {
    let said = member.crc;
    if found == said {
        Ok(())
    } else {
        Err(CrcError::Differs { found, said })
    }
}

/// The check sum of `bytes`, as ZIP has it.
pub fn sum_of(bytes: &[u8]) -> u32 {
    crc32fast::hash(bytes)
}

/// Check sums of ranges of a file that goes by once, from its start on.
pub struct Sums {
    ranges: std::vec::IntoIter<Range<u64>>,
    now: Option<Range<u64>>,
    check: crc32fast::Hasher,
    position: u64,
    done: Vec<u32>,
}

impl Sums {
    /// Of `ranges`, which are in order and share no bytes. One that starts before the end of the one before it is left
    /// out with all behind it.
    pub fn new(ranges: Vec<Range<u64>>) -> Self {
        let mut ranges = ranges.into_iter();
        Self {
            now: ranges.next(),
            ranges,
            check: crc32fast::Hasher::new(),
            position: 0,
            done: Vec::new(),
        }
    }

    /// The next bytes of the file.
    pub fn feed(&mut self, bytes: &[u8]) {
        let end = self.position.saturating_add(bytes.len() as u64);
        while let Some(range) = self.now.clone() {
            let inside = |offset: u64| usize::try_from(offset.saturating_sub(self.position));
            let (Ok(from), Ok(to)) = (inside(range.start), inside(range.end)) else {
                break;
            };
            let to = to.min(bytes.len());
            self.check.update(bytes.get(from..to).unwrap_or_default());
            if range.end > end {
                break;
            }
            let check = std::mem::take(&mut self.check);
            self.done.push(check.finalize());
            let next = self.ranges.next();
            self.now = next.filter(|next| next.start >= range.end);
        }
        self.position = end;
    }

    /// The sums of the first ranges, as many as went by to their ends.
    pub fn finish(self) -> Vec<u32> {
        self.done
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sums_of_ranges_are_those_of_their_bytes_however_the_file_is_cut() {
        let bytes: Vec<u8> = (0..5000_u32).map(|n| (n * n % 251) as u8).collect();
        let ranges = vec![
            0..0,
            0..1,
            1..700,
            700..700,
            900..4096,
            4096..5000,
            5000..5000,
        ];
        let expected: Vec<u32> = ranges
            .iter()
            .map(|range| {
                let place = |offset: u64| usize::try_from(offset).unwrap();
                sum_of(&bytes[place(range.start)..place(range.end)])
            })
            .collect();
        for chunk in [1, 7, 64, 900, 4096, 5000, 9000] {
            let mut sums = Sums::new(ranges.clone());
            bytes.chunks(chunk).for_each(|chunk| sums.feed(chunk));
            assert_eq!(sums.finish(), expected, "by {chunk}");
        }
    }

    #[test]
    fn ranges_that_share_bytes_or_lie_behind_the_end_have_no_sum() {
        let mut sums = Sums::new(vec![0..4, 3..6, 6..8]);
        sums.feed(b"0123456789");
        assert_eq!(sums.finish(), [sum_of(b"0123")]);
        let mut sums = Sums::new(vec![2..4, 4..12]);
        sums.feed(b"0123456789");
        assert_eq!(sums.finish(), [sum_of(b"23")]);
    }
}
