//! The sixteen bytes in front of byte code: whether the interpreter would use the file at all.
//!
//! The rule is the import system's own (`importlib._bootstrap_external`, PEP 552): another magic number, unknown flags or
//! a file that is too short, and the source is compiled again; else either the time and size of the source decide, or a
//! hash of it, or, for an *unchecked* hash, nothing at all. It refuses to know what stands behind the header.

/// Bytes of a header.
pub const HEADER_BYTES: usize = 16;

/// How byte code is tied to its source.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tie {
    /// By the source's modification time, in seconds since 1970, and size in bytes, each modulo 2^32.
    Time {
        /// The time.
        modified: u32,
        /// The size.
        size: u32,
    },
    /// By a hash of the source that is compared at each import.
    Checked([u8; 8]),
    /// By a hash of the source that nobody compares: the byte code is used whatever the source says.
    Unchecked([u8; 8]),
}

/// What the header says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Header {
    /// The number of the format; another one than the interpreter's own is not used.
    pub magic: [u8; 4],
    /// How the code is tied to its source.
    pub tie: Tie,
}

/// Why byte code is compiled again instead of used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Unused {
    /// It is shorter than a header.
    #[error("shorter than its header")]
    Short,
    /// Flags that no version of the format has.
    #[error("unknown flags")]
    Flags,
    /// Written by or for another version of Python.
    #[error("of another version of Python")]
    Magic,
    /// The source has another time or size.
    #[error("older or newer than its source")]
    Stale,
    /// The source has another hash.
    #[error("of a source with another hash")]
    Hash,
}

/// What the interpreter asks the file system about a source.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SourceState {
    /// Modification time, whole seconds since 1970, rounded towards zero.
    pub modified: i64,
    /// Size in bytes.
    pub size: u64,
}

impl Header {
    /// Reads the header at the start of a file.
    pub fn read(bytes: &[u8]) -> Result<Self, Unused> {
        let word =
            |at: usize| -> Option<[u8; 4]> { bytes.get(at..at.checked_add(4)?)?.try_into().ok() };
        let words = || Some((word(0)?, word(4)?, word(8)?, word(12)?));
        let (magic, flags, one, other) = words().ok_or(Unused::Short)?;
        let both = || {
            let mut hash = [0; 8];
            for (place, byte) in hash.iter_mut().zip(one.iter().chain(&other)) {
                *place = *byte;
            }
            hash
        };
        let tie = match u32::from_le_bytes(flags) {
            // 2, "check the source" without "by hash", is accepted by the interpreter and means nothing.
            0 | 2 => Tie::Time {
                modified: u32::from_le_bytes(one),
                size: u32::from_le_bytes(other),
            },
            1 => Tie::Unchecked(both()),
            3 => Tie::Checked(both()),
            _ => return Err(Unused::Flags),
        };
        Ok(Self { magic, tie })
    }

    /// Whether an interpreter of this magic number would use the code beside a source of this state; what a checked hash
    /// says, `source_hash` decides where it is known.
    pub fn fits(
        &self,
        magic: [u8; 4],
        source: SourceState,
        source_hash: Option<[u8; 8]>,
    ) -> Result<(), Unused> {
        if self.magic != magic {
            return Err(Unused::Magic);
        }
        match self.tie {
            Tie::Time { modified, size } => {
                // The interpreter compares the lowest 32 bits of each.
                let low = |number: u64| u32::try_from(number & 0xffff_ffff).unwrap_or(0);
                let same =
                    low(source.modified.cast_unsigned()) == modified && low(source.size) == size;
                same.then_some(()).ok_or(Unused::Stale)
            }
            Tie::Checked(hash) => match source_hash {
                Some(real) if real != hash => Err(Unused::Hash),
                _ => Ok(()),
            },
            Tie::Unchecked(_) => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MAGIC: [u8; 4] = [0xa7, 0x0d, 0x0d, 0x0a];

    fn header(flags: u8, rest: [u8; 8]) -> Vec<u8> {
        let mut bytes = MAGIC.to_vec();
        bytes.extend([flags, 0, 0, 0]);
        bytes.extend(rest);
        bytes
    }

    const STATE: SourceState = SourceState {
        modified: 0x1_0000_0002,
        size: 3,
    };

    #[test]
    fn a_time_counts_by_its_lowest_bits_as_the_interpreter_compares_it() {
        let header = Header::read(&header(0, [2, 0, 0, 0, 3, 0, 0, 0])).unwrap();
        assert_eq!(header.fits(MAGIC, STATE, None), Ok(()));
        let other = SourceState { size: 4, ..STATE };
        assert_eq!(header.fits(MAGIC, other, None), Err(Unused::Stale));
        assert_eq!(header.fits([0; 4], STATE, None).unwrap_err(), Unused::Magic);
    }

    #[test]
    fn a_checked_hash_decides_and_an_unchecked_one_decides_nothing() {
        let checked = Header::read(&header(3, [7; 8])).unwrap();
        assert_eq!(checked.fits(MAGIC, STATE, Some([7; 8])), Ok(()));
        assert_eq!(checked.fits(MAGIC, STATE, Some([8; 8])), Err(Unused::Hash));
        let unchecked = Header::read(&header(1, [7; 8])).unwrap();
        assert_eq!(unchecked.fits(MAGIC, STATE, Some([8; 8])), Ok(()));
    }

    #[test]
    fn what_is_short_or_has_unknown_flags_is_not_used() {
        assert_eq!(Header::read(&header(0, [0; 8])[..15]), Err(Unused::Short));
        assert_eq!(Header::read(&header(4, [0; 8])), Err(Unused::Flags));
    }
}
