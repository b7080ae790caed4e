//! Which files stand in the ledger's folders, and whether they belong there.

use std::fs::DirEntry;
use std::path::{Path, PathBuf};

use super::{AuditProblem, Findings, Place};
use crate::cosigned::COSIGNED;
use crate::durable::{self, Fault};
use crate::log::Log;
use crate::store::{Store, TEMPORARY, is_log_name};
use crate::tile::{Kind, MAX_BUNDLE_BYTES, MAX_TILE_BYTES, Name};
use crate::tiles::{CHECKPOINT, LAYOUT, LOCK, VKEY, WAL};

/// The logs below `ledger/`, sorted by name; whatever else is there is noted.
pub(super) fn logs(store: &Store, findings: &mut Findings) -> Vec<Log> {
    let mut logs = Vec::new();
    let place = Place {
        root: store.root(),
        folder: PathBuf::from("ledger"),
    };
    for (item, name) in list(&place, &place.folder, true, findings) {
        let file = place.folder.join(item.file_name());
        match name {
            Some(name) if name.starts_with(TEMPORARY) => findings.leftover(file),
            Some(name) if is_log_name(&name) && is_folder(&item) => logs.push(store.log(&name)),
            _ => findings.problem(&file, AuditProblem::Unexpected),
        }
    }
    logs.sort_by(|left, right| left.name().cmp(right.name()));
    logs
}

/// Checks what stands in a log's folder. Without a size nothing is known about which tiles must be there.
pub(super) fn audit(place: &Place<'_>, size: Option<u64>, findings: &mut Findings) {
    audit_lock(place, findings);
    for (item, name) in list(place, &place.folder, true, findings) {
        let file = place.folder.join(item.file_name());
        match name.as_deref() {
            Some(CHECKPOINT | COSIGNED | VKEY | LOCK | WAL) => {}
            Some("tile") if is_folder(&item) => walk(place, "tile", size, findings),
            Some(name) if name.starts_with(TEMPORARY) => findings.leftover(file),
            _ => findings.problem(&file, AuditProblem::Unexpected),
        }
    }
}

fn audit_lock(place: &Place<'_>, findings: &mut Findings) {
    let file = place.folder.join(LOCK);
    // Empty only in a log of the earlier layout, which has no write-ahead file.
    let has_wal = || std::fs::symlink_metadata(place.root.join(&place.folder).join(WAL)).is_ok();
    match durable::read_regular(&place.root.join(&file), LAYOUT.len() as u64) {
        Ok(Some(bytes)) if bytes == LAYOUT || (bytes.is_empty() && !has_wal()) => {}
        Ok(Some(_)) => findings.problem(&file, AuditProblem::Lock),
        Ok(None) => findings.problem(&file, AuditProblem::Missing),
        Err(fault) => findings.fault(&file, &fault),
    }
}

/// Checks a folder of tiles, `at` below the log's folder. It can only be as deep as names of tiles are.
fn walk(place: &Place<'_>, at: &str, size: Option<u64>, findings: &mut Findings) {
    for (item, name) in list(place, &place.folder.join(at), false, findings) {
        if findings.is_full() {
            return;
        }
        let file = place.folder.join(at).join(item.file_name());
        let Some(path) = name.map(|name| format!("{at}/{name}")) else {
            findings.problem(&file, AuditProblem::Unexpected);
            continue;
        };
        if is_folder(&item) {
            if may_hold_tiles(&path) {
                walk(place, &path, size, findings);
            } else {
                findings.problem(&file, AuditProblem::Unexpected);
            }
            continue;
        }
        match (Name::parse(&path), size) {
            (None, _) => findings.problem(&file, AuditProblem::Unexpected),
            (Some(_), None) => {}
            (Some(name), Some(size)) => match Name::at(name.kind, name.index, size) {
                Some(needed) if needed.width == name.width => {}
                Some(wider) if wider.width > name.width => {
                    audit_narrower(place, name, wider, findings);
                }
                // Beyond the head: written by somebody who died, or who is just writing.
                _ => findings.leftover(file),
            },
        }
    }
}

/// Whether some tile's name begins with this folder.
fn may_hold_tiles(folder: &str) -> bool {
    ["1", "000"]
        .iter()
        .any(|child| Name::parse(&format!("{folder}/{child}")).is_some())
}

/// A narrower file beside the one that is needed must be its beginning.
fn audit_narrower(place: &Place<'_>, name: Name, wider: Name, findings: &mut Findings) {
    let limit = if name.kind == Kind::Entries {
        MAX_BUNDLE_BYTES
    } else {
        MAX_TILE_BYTES
    };
    let (file, wider_file) = (
        place.folder.join(name.path()),
        place.folder.join(wider.path()),
    );
    let bytes = match durable::read_regular(&place.root.join(&file), limit) {
        Ok(Some(bytes)) => bytes,
        // A writer has just removed it.
        Ok(None) => return,
        Err(fault) => return findings.fault(&file, &fault),
    };
    findings.report.bytes += bytes.len() as u64;
    // That the wider one cannot be read was noted when the tree was computed.
    let whole = durable::read_regular(&place.root.join(&wider_file), limit)
        .ok()
        .flatten()
        .unwrap_or_default();
    let length = match name.kind {
        Kind::Hashes(_) => Some(name.width * 32),
        Kind::Entries => crate::tile::parse_bundle(&whole).ok().map(|entries| {
            entries
                .iter()
                .take(name.width)
                .map(|entry| entry.len() + 2)
                .sum()
        }),
    };
    if length == Some(bytes.len()) && whole.starts_with(&bytes) {
        findings.leftover(file);
    } else {
        findings.problem(&file, AuditProblem::NotABeginning { wider: wider_file });
    }
}

/// What is in a folder, with names that are text. A folder that must be there and is not is noted.
pub(super) fn list(
    place: &Place<'_>,
    folder: &Path,
    needed: bool,
    findings: &mut Findings,
) -> impl Iterator<Item = (DirEntry, Option<String>)> + use<> {
    let path = place.root.join(folder);
    let items = match std::fs::symlink_metadata(&path).and_then(|facts| {
        if facts.is_dir() {
            std::fs::read_dir(&path)
        } else {
            Err(std::io::ErrorKind::NotADirectory.into())
        }
    }) {
        Ok(items) => Some(items),
        Err(error) => {
            match error.kind() {
                std::io::ErrorKind::NotFound if needed => {
                    findings.problem(folder, AuditProblem::Missing);
                }
                std::io::ErrorKind::NotFound => {}
                std::io::ErrorKind::NotADirectory => findings.problem(folder, AuditProblem::Odd),
                _ => findings.fault(folder, &Fault::at(&path, error)),
            }
            None
        }
    };
    items.into_iter().flatten().flatten().map(|item| {
        let name = item.file_name().into_string().ok();
        (item, name)
    })
}

pub(super) fn is_folder(item: &DirEntry) -> bool {
    item.file_type().is_ok_and(|kind| kind.is_dir())
}
