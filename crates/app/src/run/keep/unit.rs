//! One checkpoint: all files that were saved after one step, and what lies beside them.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsString;
use std::fs::{DirBuilder, File};
use std::io;
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _};
use std::path::{Component, Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use domain::kept::{CheckpointKept, KeptFile, KeptWay};
use domain::{Digest, Hasher, PathText};
use rustix::fs::{AtFlags, CWD, OFlags, StatxFlags, statx};

use super::depot::{Depot, Part, Spot};

/// Files beside a checkpoint that are taken along, how large one may be, and all of them.
const BESIDE_MAX: usize = 64;
const BESIDE_BYTES_MAX: u64 = 4 << 20;
const ALL_BESIDE_BYTES_MAX: u64 = 32 << 20;

/// A checkpoint that is held.
pub(super) struct Unit {
    /// By where the job saved them.
    parts: BTreeMap<PathText, Part>,
    order: u64,
    grew: Instant,
    has_looked_beside: bool,
}

/// A checkpoint that stays, where it lies now.
pub(super) struct Settled {
    files: Vec<KeptFile>,
    path: PathText,
    /// Files that the job wrote into after they were read.
    pub(super) rewritten: usize,
}

impl Unit {
    pub(super) fn new(order: u64) -> Self {
        Self {
            parts: BTreeMap::new(),
            order,
            grew: Instant::now(),
            has_looked_beside: false,
        }
    }

    pub(super) fn order(&self) -> u64 {
        self.order
    }

    pub(super) fn bytes(&self) -> u64 {
        self.parts.values().map(|part| part.bytes).sum()
    }

    /// A file of it; one that was saved again under its name takes the place of the former.
    pub(super) fn add(&mut self, saved: &PathText, part: Part) {
        self.grew = Instant::now();
        if let Some(former) = self.parts.insert(part.path(saved), part) {
            former.remove();
        }
    }

    pub(super) fn rename(&mut self, from: &PathText, to: &PathText) {
        if let Some(part) = self.parts.remove(from)
            && let Some(former) = self.parts.insert(to.clone(), part)
        {
            former.remove();
        }
    }

    pub(super) fn remove(self) {
        self.parts.into_values().for_each(Part::remove);
    }

    /// Whether nothing was added for a while and its companions were not looked for.
    pub(super) fn is_quiet(&self, since: Duration) -> bool {
        !self.has_looked_beside && self.grew.elapsed() >= since
    }

    /// Takes along the small files beside it, where its folder was made for it: a trainer's state belongs to a checkpoint as much
    /// as the weights do. A folder that is older than the run is the project's, and nobody's checkpoint.
    pub(super) fn look_beside(&mut self, depot: &Arc<Depot>) {
        if std::mem::replace(&mut self.has_looked_beside, true) {
            return;
        }
        let folders: BTreeSet<PathBuf> = self.parts.keys().filter_map(folder).collect();
        let [folder] = folders.iter().collect::<Vec<_>>()[..] else {
            return;
        };
        if !is_younger(folder, depot.began_us()) {
            return;
        }
        let spot = Spot::new(depot, ALL_BESIDE_BYTES_MAX);
        let items = std::fs::read_dir(folder).into_iter().flatten().flatten();
        for item in items.take(BESIDE_MAX) {
            let path = PathText::from(item.path().as_path());
            if self.parts.contains_key(&path) {
                continue;
            }
            if let Some(part) = beside(&spot, &item.path()) {
                self.parts.insert(path, part);
            }
        }
    }

    /// Moves its files to where they stay.
    pub(super) fn place(&mut self, folder: &Path) -> io::Result<Settled> {
        let path = common(self.parts.keys()).unwrap_or_default();
        let above = if self.parts.len() == 1 {
            parent(&path)
        } else {
            path.clone()
        };
        let mut settled = Settled {
            files: Vec::new(),
            path,
            rewritten: 0,
        };
        let mut builder = DirBuilder::new();
        builder.recursive(true).mode(0o700);
        builder.create(folder)?;
        let mut gone = Vec::new();
        for (number, (path, part)) in self.parts.iter_mut().enumerate() {
            if !part.is_as_read() {
                settled.rewritten += 1;
                gone.push(path.clone());
                continue;
            }
            let name =
                below(path, &above).unwrap_or_else(|| PathBuf::from(format!("file-{number}")));
            let to = folder.join(&name);
            builder.create(to.parent().unwrap_or(folder))?;
            std::fs::rename(&part.place, &to)?;
            part.place = to;
            settled.files.push(KeptFile {
                path: path.clone(),
                name: PathText::from(name.as_path()),
                digest: part.digest,
                bytes: part.bytes,
                way: part.way,
            });
        }
        for path in gone {
            if let Some(part) = self.parts.remove(&path) {
                part.remove();
            }
        }
        Ok(settled)
    }
}

impl Settled {
    /// Its files, one a line.
    pub(super) fn list(&self) -> Vec<u8> {
        let mut list = Vec::new();
        for file in &self.files {
            if serde_json::to_writer(&mut list, file).is_ok() {
                list.push(b'\n');
            }
        }
        list
    }

    pub(super) fn entry(
        &self,
        place: PathText,
        step: u64,
        before: u64,
        list: Digest,
    ) -> CheckpointKept {
        let weakest = self.files.iter().map(|file| file.way).max();
        CheckpointKept {
            path: self.path.clone(),
            step,
            before,
            place,
            files: self.files.len() as u64,
            bytes: self.files.iter().map(|file| file.bytes).sum(),
            way: weakest.unwrap_or(KeptWay::Copy),
            list,
        }
    }
}

/// A small file, set aside at once.
fn beside(spot: &Spot, path: &Path) -> Option<Part> {
    let mut options = std::fs::OpenOptions::new();
    let flags = OFlags::NONBLOCK | OFlags::NOFOLLOW;
    options.read(true).custom_flags(flags.bits().cast_signed());
    let mut file = options.open(path).ok()?;
    let facts = file.metadata().ok()?;
    if !facts.is_file() || facts.size() > BESIDE_BYTES_MAX {
        return None;
    }
    let mut keeping = spot.begin(&file, facts.size())?;
    let digest = copied(&mut file, &mut keeping).ok()?;
    keeping.finish(Vec::new(), digest)
}

fn copied(file: &mut File, to: &mut impl io::Write) -> io::Result<Digest> {
    let mut content = Vec::new();
    io::Read::read_to_end(
        &mut io::Read::take(file, BESIDE_BYTES_MAX + 1),
        &mut content,
    )?;
    if content.len() as u64 > BESIDE_BYTES_MAX {
        return Err(io::ErrorKind::FileTooLarge.into());
    }
    to.write_all(&content)?;
    let mut hasher = Hasher::new();
    hasher.update(&content);
    Ok(hasher.finish())
}

/// Whether a folder was made since the run began: then the job made it, and for what it saves.
fn is_younger(folder: &Path, began_us: i64) -> bool {
    let Ok(facts) = statx(CWD, folder, AtFlags::SYMLINK_NOFOLLOW, StatxFlags::BTIME) else {
        return false;
    };
    if facts.stx_mask & StatxFlags::BTIME.bits() == 0 {
        return false;
    }
    let born_us = facts.stx_btime.tv_sec.saturating_mul(1_000_000);
    born_us.saturating_add(i64::from(facts.stx_btime.tv_nsec / 1_000)) >= began_us
}

fn to_path(path: &PathText) -> PathBuf {
    PathBuf::from(OsString::from_vec(path.to_bytes()))
}

fn folder(path: &PathText) -> Option<PathBuf> {
    to_path(path).parent().map(Path::to_owned)
}

fn parent(path: &PathText) -> PathText {
    folder(path)
        .map(|folder| PathText::from(folder.as_path()))
        .unwrap_or_default()
}

/// The path of the one, or the folder that all are in.
pub(super) fn common<'p>(mut paths: impl Iterator<Item = &'p PathText>) -> Option<PathText> {
    let first = paths.next()?;
    let mut shared: Option<PathBuf> = None;
    for path in paths {
        let mut above = shared.or_else(|| folder(first))?;
        while !to_path(path).starts_with(&above) {
            above = above.parent()?.to_owned();
        }
        shared = Some(above);
    }
    let shared = shared.map(|folder| PathText::from(folder.as_path()));
    Some(shared.unwrap_or_else(|| first.clone()))
}

/// The rest of a path below a folder, if it only goes down.
fn below(path: &PathText, above: &PathText) -> Option<PathBuf> {
    let path = to_path(path);
    let rest = path.strip_prefix(to_path(above)).ok()?;
    let goes_down = rest
        .components()
        .all(|part| matches!(part, Component::Normal(name) if !name.as_bytes().is_empty()));
    (goes_down && rest.components().next().is_some()).then(|| rest.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn paths(all: &[&str]) -> Vec<PathText> {
        all.iter().map(|path| PathText::from_text(path)).collect()
    }

    #[test]
    fn several_files_have_a_folder_in_common_and_one_is_itself() {
        let one = |all: &[&str]| common(paths(all).iter()).map(|path| path.to_string());
        assert_eq!(one(&[]), None);
        assert_eq!(one(&["/a/b.pt"]).unwrap(), "/a/b.pt");
        assert_eq!(one(&["/a/b/c.pt", "/a/b/d.pt"]).unwrap(), "/a/b");
        assert_eq!(one(&["/a/b/c.pt", "/a/d/e.pt", "/a/f"]).unwrap(), "/a");
        assert_eq!(one(&["/a", "/b"]).unwrap(), "/");
    }

    #[test]
    fn a_name_only_goes_down() {
        let name = |path: &str| below(&PathText::from_text(path), &PathText::from_text("/a/b"));
        assert_eq!(name("/a/b/c/d"), Some(PathBuf::from("c/d")));
        assert_eq!(name("/a/b/../d"), None);
        assert_eq!(name("/a/b"), None);
        assert_eq!(name("/a/c"), None);
    }
}
