//! The folders of one replay: a mirror of where the run's files were, a store, keys, and room for temporary files.

use std::ffi::OsStr;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Component, Path, PathBuf};

use super::{ReplayError, disk};
use crate::place::Surroundings;

/// Below it everything that the replay may write.
pub(super) struct Workplace {
    root: PathBuf,
    kept: bool,
}

impl Workplace {
    /// Makes the folders, below `keep` where they are to be left.
    pub(super) fn make(
        surroundings: &Surroundings,
        keep: Option<&Path>,
    ) -> Result<Self, ReplayError> {
        let above = keep.map_or_else(std::env::temp_dir, |keep| surroundings.cwd.join(keep));
        if keep.is_some() {
            std::fs::create_dir_all(&above).map_err(disk(&above))?;
        }
        let above = above.canonicalize().map_err(disk(&above))?;
        let mut random = [0; 8];
        let _ = getrandom::fill(&mut random); // only the name: the folder must be new
        let root = above.join(format!(
            "taintline-replay-{:016x}",
            u64::from_le_bytes(random)
        ));
        let place = Self {
            root,
            kept: keep.is_some(),
        };
        let mut builder = std::fs::DirBuilder::new();
        builder.mode(0o700);
        builder.create(&place.root).map_err(disk(&place.root))?;
        for name in ["files", "data", "tmp", "run", "cache", "config"] {
            let folder = place.root.join(name);
            builder.create(&folder).map_err(disk(&folder))?;
        }
        Ok(place)
    }

    pub(super) fn root(&self) -> &Path {
        &self.root
    }

    pub(super) fn at(&self, name: &str) -> PathBuf {
        self.root.join(name)
    }

    /// Where the file that the run had at `path` is in the replay.
    pub(super) fn mirror(&self, path: &Path) -> PathBuf {
        let mut place = self.root.join("files");
        for part in path.components() {
            match part {
                Component::Normal(part) => place.push(part),
                Component::ParentDir => {
                    if place != self.root.join("files") {
                        place.pop();
                    }
                }
                Component::RootDir | Component::CurDir | Component::Prefix(_) => {}
            }
        }
        place
    }

    /// What a mirrored path was called in the run.
    pub(super) fn original(&self, path: &Path) -> PathBuf {
        path.strip_prefix(self.root.join("files"))
            .map_or_else(|_| path.to_owned(), |rest| Path::new("/").join(rest))
    }

    /// The folder above a mirrored file, made.
    pub(super) fn prepare(&self, file: &Path) -> Result<(), ReplayError> {
        let above = file.parent().unwrap_or(&self.root);
        std::fs::create_dir_all(above).map_err(disk(above))
    }
}

impl Drop for Workplace {
    fn drop(&mut self) {
        if !self.kept {
            let _ = std::fs::remove_dir_all(&self.root); // what is left of it is in the folder for temporary files
        }
    }
}

/// Whether `path` is `folder` or lies below it.
pub(super) fn is_below(path: &Path, folder: &Path) -> bool {
    folder != Path::new("/") && folder != Path::new("") && path.starts_with(folder)
}

/// Text without `..` and `.`, as far as names alone tell it.
pub(super) fn tidy(path: &Path) -> PathBuf {
    let mut tidy = PathBuf::new();
    for part in path.components() {
        match part {
            Component::ParentDir => {
                tidy.pop();
            }
            Component::CurDir => {}
            other => tidy.push(other.as_os_str()),
        }
    }
    tidy
}

/// The last part of a path, as text.
pub(super) fn name_of(path: &OsStr) -> String {
    Path::new(path)
        .file_name()
        .map_or_else(String::new, |name| name.to_string_lossy().into_owned())
}
