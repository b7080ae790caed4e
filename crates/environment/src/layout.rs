//! Which folders and files make up an environment, and under which names they are compared.
//!
//! The caller has asked the interpreter where its folders are; this module only puts them in order. It gives every root a
//! logical name, so that `purelib/torch/optim/adamw.py` means the same in two environments at different places, and it
//! sees to it that no folder is walked twice: `lib64` that is a link to `lib` is one root, and `site-packages` inside the
//! standard library's folder belongs to its own root only. It refuses to know how an interpreter is asked.

use std::collections::{HashMap, HashSet};
use std::path::{Path, PathBuf};

use rustix::fs::{FileType, Mode, OFlags, Stat};

use crate::gap::Gap;

/// What a root is for; decides which rules of [`crate::judge`] apply below it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum RootKind {
    /// The interpreter's own library: changes only with the interpreter.
    Stdlib,
    /// A `site-packages` folder: installers write here, and start-up hooks are read from here.
    Site,
    /// A folder of launchers, such as `bin`.
    Scripts,
    /// Anything else that belongs to the set, such as the interpreter itself.
    Other,
}

/// One folder (or one single file) of an environment, under its logical name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Root {
    /// The first component of all logical names below it; for a single file the whole logical name.
    pub name: String,
    /// What it is for.
    pub kind: RootKind,
    /// Where it is.
    pub path: PathBuf,
}

/// The folders and single files of an environment.
#[derive(Debug, Clone, Default)]
pub struct Layout {
    roots: Vec<Root>,
    files: Vec<Root>,
    left_out: Vec<PathBuf>,
}

/// What became of a root or single file of a [`Layout`] on this machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// Its logical name.
    pub name: String,
    /// What it is for.
    pub kind: RootKind,
    /// The path as it was given.
    pub path: PathBuf,
    /// The path with all links resolved; `None` where there is nothing at the path.
    pub real: Option<PathBuf>,
    /// Set where an earlier root is the same folder: everything is listed under that name.
    pub same_as: Option<String>,
}

impl Layout {
    /// An environment without folders.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a folder. `name` becomes the first component of the logical names below it: slashes in it are replaced, and a
    /// name that is already taken gets a number. The folder need not exist.
    pub fn add_root(&mut self, name: &str, kind: RootKind, path: impl Into<PathBuf>) -> &mut Self {
        let name = self.free_name(&name.replace('/', "_"));
        self.roots.push(Root {
            name,
            kind,
            path: path.into(),
        });
        self
    }

    /// Adds a single file, such as the interpreter, under a logical name such as `interpreter/python3.11`.
    pub fn add_file(&mut self, name: &str, path: impl Into<PathBuf>) -> &mut Self {
        let name = self.free_name(name.trim_matches('/'));
        self.files.push(Root {
            name,
            kind: RootKind::Other,
            path: path.into(),
        });
        self
    }

    /// Leaves a folder out wherever the walk meets it, unless it is a root itself: a base interpreter's `site-packages`, which a
    /// virtual environment does not import from. It need not exist.
    pub fn leave_out(&mut self, path: impl Into<PathBuf>) -> &mut Self {
        self.left_out.push(path.into());
        self
    }

    /// The folders that are left out.
    pub fn left_out(&self) -> &[PathBuf] {
        &self.left_out
    }

    /// The folders, in the order in which they were added.
    pub fn roots(&self) -> &[Root] {
        &self.roots
    }

    /// The single files, in the order in which they were added.
    pub fn files(&self) -> &[Root] {
        &self.files
    }

    /// A name that is no other's, nor a folder above or below another's: trees could not hold both.
    fn free_name(&self, wanted: &str) -> String {
        let wanted = if wanted.is_empty() { "_" } else { wanted };
        let apart = |name: &str| {
            let inside = |long: &str, short: &str| {
                long.strip_prefix(short)
                    .is_some_and(|rest| rest.starts_with('/'))
            };
            let mut taken = self
                .roots
                .iter()
                .chain(&self.files)
                .map(|root| root.name.as_str());
            !taken.any(|other| other == name || inside(name, other) || inside(other, name))
        };
        if apart(wanted) {
            return wanted.to_owned();
        }
        let (head, tail) = wanted
            .split_once('/')
            .map_or((wanted, None), |(head, tail)| (head, Some(tail)));
        let numbered = |number: u32| match tail {
            Some(tail) => format!("{head}-{number}/{tail}"),
            None => format!("{head}-{number}"),
        };
        (2..=u32::MAX)
            .map(numbered)
            .find(|name| apart(name))
            .unwrap_or_else(|| wanted.to_owned())
    }
}

/// A [`Layout`] met with the machine: what to walk, and how RECORD's paths map to logical names.
pub(crate) struct Resolved {
    pub(crate) places: Vec<Place>,
    /// Folders to walk, each once.
    pub(crate) folders: Vec<(String, PathBuf)>,
    /// Regular files to hash, as (logical name, path).
    pub(crate) files: Vec<(String, PathBuf)>,
    /// Roots that exist and could not be looked at.
    pub(crate) gaps: Vec<(String, Gap)>,
    /// (device, inode) of every folder in `folders`, and of those that are left out.
    pub(crate) ids: HashSet<(u64, u64)>,
}

pub(crate) fn resolve(layout: &Layout) -> Resolved {
    let mut resolved = Resolved {
        places: Vec::new(),
        folders: Vec::new(),
        files: Vec::new(),
        gaps: Vec::new(),
        ids: HashSet::new(),
    };
    let mut seen: HashMap<(u64, u64), String> = HashMap::new();
    // Known to the walk as a place that it does not go to; a root of the same identity is walked from its own start.
    let left_out = layout
        .left_out
        .iter()
        .filter_map(|path| identify(path).ok().flatten());
    resolved.ids.extend(left_out.map(|(_, id)| id));
    for root in layout.roots.iter().chain(&layout.files) {
        let mut place = Place {
            name: root.name.clone(),
            kind: root.kind,
            path: root.path.clone(),
            real: std::fs::canonicalize(&root.path).ok(),
            same_as: None,
        };
        match identify(&root.path) {
            Ok(Some((FileType::Directory, id))) => {
                place.same_as = seen.get(&id).cloned();
                if place.same_as.is_none() {
                    seen.insert(id, root.name.clone());
                    resolved.ids.insert(id);
                    let folder = (root.name.clone(), root.path.clone());
                    resolved.folders.push(folder);
                }
            }
            Ok(Some(_)) => resolved.files.push((root.name.clone(), root.path.clone())),
            Ok(None) => {}
            Err(gap) => resolved.gaps.push((root.name.clone(), gap)),
        }
        resolved.places.push(place);
    }
    resolved
}

type Identity = (FileType, (u64, u64));

fn identify(path: &Path) -> Result<Option<Identity>, Gap> {
    match rustix::fs::stat(path) {
        Ok(stat) => Ok(Some((FileType::from_raw_mode(stat.st_mode), id_of(&stat)))),
        Err(rustix::io::Errno::NOENT | rustix::io::Errno::NOTDIR) => Ok(None),
        Err(errno) => Err(Gap::from(errno)),
    }
}

/// The pair that names a file or folder on this machine while it exists.
pub(crate) fn id_of(stat: &Stat) -> (u64, u64) {
    (stat.st_dev, stat.st_ino)
}

/// Opens a folder for listing; never blocks.
pub(crate) fn open_folder(path: &Path) -> rustix::io::Result<std::os::fd::OwnedFd> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC | OFlags::NONBLOCK;
    rustix::fs::open(path, flags, Mode::empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_never_collide_nor_nest() {
        let mut layout = Layout::new();
        layout
            .add_root("lib", RootKind::Site, "/a")
            .add_root("lib", RootKind::Site, "/b");
        layout
            .add_root("a/b", RootKind::Other, "/c")
            .add_root("", RootKind::Other, "/d");
        layout
            .add_file("lib/x", "/e")
            .add_file("bin/python", "/f")
            .add_file("bin/python", "/g");
        let names: Vec<&str> = layout
            .roots()
            .iter()
            .chain(layout.files())
            .map(|root| root.name.as_str())
            .collect();
        assert_eq!(
            names,
            [
                "lib",
                "lib-2",
                "a_b",
                "_",
                "lib-3/x",
                "bin/python",
                "bin-2/python"
            ]
        );
    }
}
