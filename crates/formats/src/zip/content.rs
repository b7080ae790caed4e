//! The bytes of one member.

use std::io;
use std::ops::ControlFlow;

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

/// Reads all bytes of `member`, within `budget`, and compares size and check sum with what the directory says.
pub fn verify(
    input: &dyn ReadAt,
    member: &Member,
    budget: Budget,
) -> io::Result<Result<(), CrcError>> {
    let mut check = crc32fast::Hasher::new();
    let written = match open(input, member) {
        Err(refused) => return Ok(Err(CrcError::Refused(refused))),
        Ok(Content::Stored(window)) => {
            window.for_each(|piece| check.update(piece))?;
            Some(window.len())
        }
        Ok(Content::Compressed(window, codec)) => {
            let outcome = Decoder::new(&window, codec, budget).for_each(|piece| {
                check.update(piece);
                ControlFlow::Continue(())
            })?;
            Some(outcome.written).filter(|_| outcome.end == End::Complete)
        }
    };
    if written != Some(member.size) {
        return Ok(Err(CrcError::Size));
    }
    let found = check.finalize();
    Ok(if found == member.crc {
        Ok(())
    } else {
        Err(CrcError::Differs {
            found,
            said: member.crc,
        })
    })
}
