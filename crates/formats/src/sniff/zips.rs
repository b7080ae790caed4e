//! Archives at the head and at the tail, and what kind of archive they are.

use std::io;

use super::Format;
use crate::ReadAt;
use crate::read_at::u16_at;
use crate::tar;
use crate::zip::{self, Directory, ZipError};

/// Whether a loader that asks the first bytes takes it for an archive.
pub(super) fn starts(head: &[u8]) -> bool {
    head.starts_with(b"PK\x03\x04") || head.starts_with(b"PK\x05\x06")
}

pub(super) fn at_head(input: &dyn ReadAt, head: &[u8]) -> io::Result<Option<Format>> {
    if starts(head) {
        of(input).map(Some)
    } else {
        Ok(None)
    }
}

/// An archive behind something else: Python's reader looks at the end alone. The last member of a tar archive may be one,
/// which is then found there; an end within the padding of the tar archive says no more than that.
pub(super) fn at_tail(input: &dyn ReadAt, head: &[u8]) -> io::Result<Option<Format>> {
    if starts(head) {
        return Ok(None);
    }
    let member = |end: u64| tar::starts(head) && end < input.len();
    match zip::end(input)? {
        Some(end) if !member(end) => of(input).map(Some),
        _ => Ok(None),
    }
}

fn of(input: &dyn ReadAt) -> io::Result<Format> {
    match zip::read(input) {
        Ok(directory) => Ok(flavour(&directory)),
        Err(ZipError::Io(error)) => Err(error),
        Err(_) => Ok(Format::Zip),
    }
}

/// By the name of the first member, without the directory.
pub(super) fn by_first_member(head: &[u8]) -> Format {
    let name = u16_at(head, 26).and_then(|size| head.get(30..30 + usize::from(size)));
    let torch = name.is_some_and(|name| name.to_ascii_lowercase().ends_with(b"/data.pkl"));
    if torch { Format::TorchZip } else { Format::Zip }
}

/// What an archive is meant to be, by the names of its members in any view; case does not count.
pub fn flavour(directory: &Directory) -> Format {
    let mut has = Names::default();
    let mut arrays = 0;
    let mut members = 0;
    for member in directory.members_all_views() {
        let name = member.name.to_ascii_lowercase();
        has.add(&name);
        members += 1;
        arrays += usize::from(name.ends_with(b".npy"));
    }
    has.flavour(members > 0 && arrays == members)
}

/// Which telling names an archive has.
#[derive(Default)]
struct Names(u16);

/// Each with whether it may stand in the archive's top folder, as torch has it.
const TELLING: [(&[u8], bool); 10] = [
    (b"data.pkl", true),
    (b"constants.pkl", true),
    (b".data/extern_modules", true),
    (b"archive_format", true),
    (b"serialized_exported_program.json", true),
    (b"config.json", false),
    (b"model.weights.h5", false),
    (b"metadata.json", false),
    (b"schema.json", false),
    (b"mar-inf/manifest.json", false),
];

impl Names {
    fn add(&mut self, name: &[u8]) {
        let inner = name.iter().position(|byte| *byte == b'/');
        let inner = inner.and_then(|slash| name.get(slash + 1..));
        for (bit, (telling, folder)) in TELLING.iter().enumerate() {
            if name == *telling || (*folder && inner == Some(*telling)) {
                self.0 |= 1 << bit;
            }
        }
    }

    fn has(&self, telling: &[u8]) -> bool {
        let bit = TELLING.iter().position(|row| row.0 == telling);
        bit.is_some_and(|bit| self.0 & (1 << bit) != 0)
    }

    fn flavour(&self, arrays: bool) -> Format {
        if self.has(b".data/extern_modules") {
            Format::TorchPackage
        } else if self.has(b"archive_format") || self.has(b"serialized_exported_program.json") {
            Format::TorchExport
        } else if self.has(b"constants.pkl") {
            Format::TorchScript
        } else if self.has(b"data.pkl") {
            Format::TorchZip
        } else if self.has(b"config.json")
            && (self.has(b"model.weights.h5") || self.has(b"metadata.json"))
        {
            Format::KerasZip
        } else if self.has(b"mar-inf/manifest.json") {
            Format::Mar
        } else if self.has(b"schema.json") {
            Format::SkopsZip
        } else if arrays {
            Format::Npz
        } else {
            Format::Zip
        }
    }
}
