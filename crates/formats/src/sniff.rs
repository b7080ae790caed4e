//! Which format bytes are in, told by the bytes alone.
//!
//! A name is what an attacker gives; it is never asked for. The answer is where to look closer, not a promise: a file
//! that starts like a ZIP may be broken, and the reader of that format says so.

use std::io;

use crate::ReadAt;
use crate::read_at::{bytes_at, u16_at, u64_at};

/// A format by its first bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Format {
    /// No bytes at all.
    Empty,
    /// A ZIP archive whose first member is the pickle of a torch checkpoint.
    TorchZip,
    /// Another ZIP archive; it may still be a torch checkpoint with its members in another order.
    Zip,
    /// Torch's format before 1.6: pickles one behind the other.
    TorchLegacy,
    /// A tar archive; torch wrote these before 0.1.10.
    Tar,
    /// A pickle, protocol 2 or later.
    Pickle,
    /// Safetensors.
    SafeTensors,
    /// GGUF.
    Gguf,
    /// One NumPy array.
    Npy,
    /// HDF5; Keras writes it.
    Hdf5,
    /// Compressed by gzip, bzip2, xz, zstd, lz4 or 7-Zip.
    Compressed,
    /// An ELF program or library.
    Elf,
    /// None of these.
    Unknown,
}

impl Format {
    /// What a person calls it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Empty => "an empty file",
            Self::TorchZip => "a torch checkpoint",
            Self::Zip => "a ZIP archive",
            Self::TorchLegacy => "a torch checkpoint in the format before 1.6",
            Self::Tar => "a tar archive",
            Self::Pickle => "a bare pickle",
            Self::SafeTensors => "safetensors",
            Self::Gguf => "GGUF",
            Self::Npy => "a NumPy array",
            Self::Hdf5 => "HDF5",
            Self::Compressed => "a compressed file",
            Self::Elf => "an ELF program or library",
            Self::Unknown => "of unknown format",
        }
    }
}

impl std::fmt::Display for Format {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str(self.name())
    }
}

/// Bytes at the start that are looked at.
const HEAD_BYTES: u64 = 1024;
/// Torch's magic number 0x1950a86a20f9469cfc6c as LONG1 of a pickle.
const TORCH_MAGIC: &[u8] = b"\x8a\x0al\xfc\x9cF\xf9 j\xa8P\x19.";
const COMPRESSED: [&[u8]; 6] = [
    b"\x1f\x8b",
    b"BZh",
    b"\xfd7zXZ\0",
    b"\x28\xb5\x2f\xfd",
    b"\x04\x22\x4d\x18",
    b"7z\xbc\xaf\x27\x1c",
];

/// Looks at the first kilobyte of `input`.
pub fn sniff(input: &dyn ReadAt) -> io::Result<Format> {
    let head = bytes_at(input, 0, input.len().min(HEAD_BYTES))?;
    let starts = |magic: &[u8]| head.starts_with(magic);
    Ok(if head.is_empty() {
        Format::Empty
    } else if starts(b"PK\x03\x04") {
        zip_flavour(&head)
    } else if starts(b"PK\x05\x06") {
        Format::Zip
    } else if starts(b"\x80")
        && head
            .get(2..)
            .is_some_and(|rest| rest.starts_with(TORCH_MAGIC))
    {
        Format::TorchLegacy
    } else if is_safetensors(&head, input.len()) {
        Format::SafeTensors
    } else if starts(b"GGUF") {
        Format::Gguf
    } else if starts(b"\x93NUMPY") {
        Format::Npy
    } else if starts(b"\x89HDF\r\n\x1a\n") {
        Format::Hdf5
    } else if starts(b"\x7fELF") {
        Format::Elf
    } else if COMPRESSED.into_iter().any(starts) {
        Format::Compressed
    } else if head.get(257..262) == Some(b"ustar") {
        Format::Tar
    } else if matches!(head.as_slice(), [0x80, 1..=5, ..]) {
        Format::Pickle
    } else {
        Format::Unknown
    })
}

fn zip_flavour(head: &[u8]) -> Format {
    let name = u16_at(head, 26).and_then(|size| head.get(30..30 + usize::from(size)));
    let torch = name.is_some_and(|name| name.to_ascii_lowercase().ends_with(b"/data.pkl"));
    if torch { Format::TorchZip } else { Format::Zip }
}

fn is_safetensors(head: &[u8], length: u64) -> bool {
    let header = u64_at(head, 0).and_then(|size| size.checked_add(8));
    header.is_some_and(|end| end <= length) && head.get(8) == Some(&b'{')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn content_decides() {
        let known: [(&[u8], Format); 8] = [
            (b"", Format::Empty),
            (
                b"\x80\x02\x8a\x0al\xfc\x9cF\xf9 j\xa8P\x19.\x80\x02",
                Format::TorchLegacy,
            ),
            (b"\x80\x04K\x01.", Format::Pickle),
            (b"\x02\0\0\0\0\0\0\0{}", Format::SafeTensors),
            (b"\x03\0\0\0\0\0\0\0{}", Format::Unknown),
            (b"\x1f\x8b\x08", Format::Compressed),
            (b"PK\x05\x06", Format::Zip),
            (b"hello", Format::Unknown),
        ];
        for (bytes, format) in known {
            assert_eq!(sniff(&bytes).unwrap(), format, "{bytes:?}");
        }
    }
}
