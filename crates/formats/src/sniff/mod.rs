//! Which formats bytes are in, told by the bytes alone.
//!
//! A name is what an attacker gives; it is never asked for. Several formats may hold at once: a pickle with an archive
//! behind it runs in one loader and unpacks in another. So [`formats`] gives all that some loader would take the bytes
//! for, the one that `torch.load` and the like would take first in front. The answer is where to look closer, not a
//! promise: a file that starts like a ZIP may be broken, and the reader of that format says so.
//!
//! [`sniff`] is the quick answer for what is known to be a checkpoint, from the first kilobyte.

mod pickles;
mod text;
mod zips;

use std::io;

use crate::compressed::{Budget, Codec, Decoder, End, Fault};
use crate::read_at::{bytes_at, u16_at, u32_at, u64_at};
use crate::{ReadAt, tar};

pub use zips::flavour as zip_flavour;

/// A format that bytes can be in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Format {
    /// No bytes at all.
    Empty,
    /// A ZIP archive with the pickle of a torch checkpoint.
    TorchZip,
    /// A TorchScript program: a ZIP archive with `code/` and `constants.pkl`.
    TorchScript,
    /// A `torch.package`: a ZIP archive with Python code and pickles.
    TorchPackage,
    /// An exported program (`.pt2`): a ZIP archive, compiled libraries perhaps among its members.
    TorchExport,
    /// A Keras model of version 3: a ZIP archive with `config.json`.
    KerasZip,
    /// A skops file: a ZIP archive with `schema.json`.
    SkopsZip,
    /// NumPy arrays in a ZIP archive.
    Npz,
    /// A TorchServe model archive: a ZIP archive with `MAR-INF/MANIFEST.json`.
    Mar,
    /// Another ZIP archive; it may still be a torch checkpoint with its members in another order.
    Zip,
    /// Torch's format before 1.6: pickles one behind the other.
    TorchLegacy,
    /// Torch's format before 0.1.10: a tar archive of `sys_info`, `pickle`, `storages` and `tensors`.
    TorchTar,
    /// A NeMo model: a tar archive with `model_config.yaml`.
    Nemo,
    /// Another tar archive.
    Tar,
    /// A pickle.
    Pickle,
    /// Safetensors.
    SafeTensors,
    /// GGUF.
    Gguf,
    /// The formats of llama.cpp before GGUF.
    Ggml,
    /// One NumPy array.
    Npy,
    /// HDF5; Keras writes it.
    Hdf5,
    /// A stream compressed by this codec.
    Packed(Codec),
    /// A 7-Zip archive.
    SevenZip,
    /// A RAR archive.
    Rar,
    /// A cabinet archive.
    Cab,
    /// A TensorFlow Lite model.
    TfLite,
    /// An ExecuTorch program.
    ExecuTorch,
    /// A torch mobile program as flatbuffer.
    TorchMobile,
    /// An ELF program or library.
    Elf,
    /// A Windows program or library.
    Pe,
    /// A macOS program or library.
    MachO,
    /// A WebAssembly module.
    Wasm,
    /// Compiled Python.
    PythonBytecode,
    /// A script with an interpreter line.
    Script,
    /// JSON.
    Json,
    /// YAML.
    Yaml,
    /// HTML.
    Html,
    /// XML.
    Xml,
    /// Other text.
    Text,
    /// An image.
    Image,
    /// A PDF document.
    Pdf,
    /// A table or database: Parquet, Arrow, SQLite.
    Table,
    /// None of these.
    Unknown,
}

impl Format {
    /// What a person calls it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Empty => "an empty file",
            Self::TorchZip => "a torch checkpoint",
            Self::TorchScript => "a TorchScript program",
            Self::TorchPackage => "a torch package",
            Self::TorchExport => "an exported torch program",
            Self::KerasZip => "a Keras model",
            Self::SkopsZip => "a skops model",
            Self::Npz => "an archive of NumPy arrays",
            Self::Mar => "a TorchServe model archive",
            Self::Zip => "a ZIP archive",
            Self::TorchLegacy => "a torch checkpoint in the format before 1.6",
            Self::TorchTar => "a torch checkpoint in the format before 0.1.10",
            Self::Nemo => "a NeMo model",
            Self::Tar => "a tar archive",
            Self::Pickle => "a bare pickle",
            Self::SafeTensors => "safetensors",
            Self::Gguf => "GGUF",
            Self::Ggml => "GGML",
            Self::Npy => "a NumPy array",
            Self::Hdf5 => "HDF5",
            Self::Packed(_) => "a compressed file",
            Self::SevenZip => "a 7-Zip archive",
            Self::Rar => "a RAR archive",
            Self::Cab => "a cabinet archive",
            Self::TfLite => "a TensorFlow Lite model",
            Self::ExecuTorch => "an ExecuTorch program",
            Self::TorchMobile => "a torch mobile program",
            Self::Elf => "an ELF program or library",
            Self::Pe => "a Windows program or library",
            Self::MachO => "a macOS program or library",
            Self::Wasm => "a WebAssembly module",
            Self::PythonBytecode => "compiled Python",
            Self::Script => "a script",
            Self::Json => "JSON",
            Self::Yaml => "YAML",
            Self::Html => "HTML",
            Self::Xml => "XML",
            Self::Text => "text",
            Self::Image => "an image",
            Self::Pdf => "a PDF document",
            Self::Table => "a table",
            Self::Unknown => "of unknown format",
        }
    }

    /// Whether it is a ZIP archive of some flavour.
    pub const fn is_zip(self) -> bool {
        matches!(
            self,
            Self::TorchZip
                | Self::TorchScript
                | Self::TorchPackage
                | Self::TorchExport
                | Self::KerasZip
                | Self::SkopsZip
                | Self::Npz
                | Self::Mar
                | Self::Zip
        )
    }

    /// Whether it is a tar archive of some flavour.
    pub const fn is_tar(self) -> bool {
        matches!(self, Self::TorchTar | Self::Nemo | Self::Tar)
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
/// Formats that their first bytes decide.
const MAGICS: [(&[u8], Format); 28] = [
    (b"GGUF", Format::Gguf),
    (b"FUGG", Format::Gguf),
    (b"lmgg", Format::Ggml),
    (b"fmgg", Format::Ggml),
    (b"tjgg", Format::Ggml),
    (b"algg", Format::Ggml),
    (b"\x93NUMPY", Format::Npy),
    (b"7z\xbc\xaf\x27\x1c", Format::SevenZip),
    (b"Rar!\x1a\x07", Format::Rar),
    (b"MSCF\0\0\0\0", Format::Cab),
    (b"\x7fELF", Format::Elf),
    (b"\xfe\xed\xfa\xce", Format::MachO),
    (b"\xfe\xed\xfa\xcf", Format::MachO),
    (b"\xce\xfa\xed\xfe", Format::MachO),
    (b"\xcf\xfa\xed\xfe", Format::MachO),
    (b"\0asm", Format::Wasm),
    (b"#!", Format::Script),
    (b"\x89PNG\r\n\x1a\n", Format::Image),
    (b"\xff\xd8\xff", Format::Image),
    (b"GIF87a", Format::Image),
    (b"GIF89a", Format::Image),
    (b"II*\0", Format::Image),
    (b"MM\0*", Format::Image),
    (b"%PDF-", Format::Pdf),
    (b"PAR1", Format::Table),
    (b"ARROW1\0\0", Format::Table),
    (b"SQLite format 3\0", Format::Table),
    (b"\0\0\0\x0cjP  ", Format::Image),
];

/// A question to the bytes: the input and its first kilobyte. Formats of other modules add theirs to a list below.
type Probe = fn(&dyn ReadAt, &[u8]) -> io::Result<Option<Format>>;
/// A question to the first kilobyte, with the length of the input.
type HeadProbe = fn(&[u8], u64) -> Option<Format>;

/// Asked first, in this order; each independently of the others.
const LOADERS_FIRST: &[Probe] = &[zips::at_head, tars, pickles::probe];
/// Asked then.
const BY_HEAD: &[HeadProbe] = &[magics, safetensors, flatbuffers];
/// Asked last. Probes of text are not here: text is what is nothing else.
const BY_CONTENT: &[Probe] = &[hdf5, programs, streams, zips::at_tail];

/// Every format that `input` is in, the one that loaders try first in front; never empty. Errors are of reading alone.
pub fn formats(input: &dyn ReadAt) -> io::Result<Vec<Format>> {
    let head = bytes_at(input, 0, input.len().min(HEAD_BYTES))?;
    if head.is_empty() {
        return Ok(vec![Format::Empty]);
    }
    let mut found = Vec::new();
    for probe in LOADERS_FIRST {
        found.extend(probe(input, &head)?);
    }
    found.extend(BY_HEAD.iter().filter_map(|probe| probe(&head, input.len())));
    for probe in BY_CONTENT {
        let format = probe(input, &head)?;
        found.extend(format.filter(|format| !found.contains(format)));
    }
    let only_archives = found.iter().all(|format| format.is_zip());
    if only_archives && !zips::starts(&head) {
        let whole = head.len() as u64 == input.len();
        found.splice(0..0, text::of(&head, whole));
    }
    if found.is_empty() {
        found.push(Format::Unknown);
    }
    Ok(found)
}

fn magics(head: &[u8], _: u64) -> Option<Format> {
    let magic = MAGICS.iter().find(|(magic, _)| head.starts_with(magic));
    magic.map(|(_, format)| *format)
}

fn safetensors(head: &[u8], length: u64) -> Option<Format> {
    is_safetensors(head, length).then_some(Format::SafeTensors)
}

fn tars(input: &dyn ReadAt, head: &[u8]) -> io::Result<Option<Format>> {
    if tar::starts(head) {
        tar::flavour(input).map(Some)
    } else {
        Ok(None)
    }
}

/// The signature of HDF5 stands at 0 or behind a block of the user's of 512 bytes, 1024 and so on.
fn hdf5(input: &dyn ReadAt, _: &[u8]) -> io::Result<Option<Format>> {
    const SIGNATURE: &[u8; 8] = b"\x89HDF\r\n\x1a\n";
    let mut offset = 0u64;
    while offset.saturating_add(8) <= input.len() {
        let mut bytes = [0; 8];
        input.read_at(offset, &mut bytes)?;
        if bytes == *SIGNATURE {
            return Ok(Some(Format::Hdf5));
        }
        offset = (offset * 2).max(512);
    }
    Ok(None)
}

fn flatbuffers(head: &[u8], _: u64) -> Option<Format> {
    match head.get(4..8) {
        Some(b"TFL3") => Some(Format::TfLite),
        Some([b'E', b'T', a, b]) if a.is_ascii_digit() && b.is_ascii_digit() => {
            Some(Format::ExecuTorch)
        }
        Some(b"PTMF") => Some(Format::TorchMobile),
        _ => None,
    }
}

/// Programs whose magic is too short to go by alone.
fn programs(input: &dyn ReadAt, head: &[u8]) -> io::Result<Option<Format>> {
    if head.starts_with(b"MZ") {
        let place = u32_at(head, 0x3c).map_or(u64::MAX, u64::from);
        let fits = place.checked_add(4).is_some_and(|end| end <= input.len());
        let signed = fits && bytes_at(input, place, 4)? == b"PE\0\0";
        return Ok(signed.then_some(Format::Pe));
    }
    // A fat binary; a Java class has its version, which is larger, where that has the number of programs.
    if let [0xca, 0xfe, 0xba, 0xbe | 0xbf, 0, 0, 0, 1..=0x20, ..] = head {
        return Ok(Some(Format::MachO));
    }
    let version = u16_at(head, 0).unwrap_or_default();
    let bytecode = head.get(2..4) == Some(b"\r\n")
        && matches!(version, 3000..=3999 | 20117..=62299)
        && head.len() >= 16;
    Ok(bytecode.then_some(Format::PythonBytecode))
}

/// Compressed streams; those without a real magic must also decompress.
fn streams(input: &dyn ReadAt, head: &[u8]) -> io::Result<Option<Format>> {
    let Some(codec) = Codec::of(head) else {
        return Ok(None);
    };
    if !codec.has_magic() {
        let budget = Budget {
            input: 1 << 16,
            ..Budget::default()
        };
        let (bytes, outcome) = Decoder::new(&input, codec, budget).head(4096)?;
        let broken = matches!(outcome.end, End::Broken(Fault::Malformed));
        if broken || (bytes.is_empty() && outcome.end != End::Complete) {
            return Ok(None);
        }
    }
    Ok(Some(Format::Packed(codec)))
}

/// Looks at the first kilobyte of `input`: the one format that it is most likely meant to be.
pub fn sniff(input: &dyn ReadAt) -> io::Result<Format> {
    let head = bytes_at(input, 0, input.len().min(HEAD_BYTES))?;
    let starts = |magic: &[u8]| head.starts_with(magic);
    Ok(if head.is_empty() {
        Format::Empty
    } else if starts(b"PK\x03\x04") {
        zips::by_first_member(&head)
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
    } else if starts(b"\x89HDF\r\n\x1a\n") {
        Format::Hdf5
    } else if let Some(format) = magics(&head, input.len()) {
        format
    } else if let Some(codec) = Codec::of(&head).filter(|codec| codec.has_magic()) {
        Format::Packed(codec)
    } else if tar::starts(&head) {
        Format::Tar
    } else if matches!(head.as_slice(), [0x80, 1..=5, ..]) {
        Format::Pickle
    } else {
        Format::Unknown
    })
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
            (b"\x1f\x8b\x08", Format::Packed(Codec::Gzip)),
            (b"PK\x05\x06", Format::Zip),
            (b"hello", Format::Unknown),
        ];
        for (bytes, format) in known {
            assert_eq!(sniff(&bytes).unwrap(), format, "{bytes:?}");
        }
    }
}
