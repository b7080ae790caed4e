//! What lies beside a file, on a disk: the neighbours that a set of parts is judged by.
//!
//! Nothing outside of the file's folder is opened. A part that is a link leads to bytes that may lie anywhere; it is not
//! followed here, as it is not followed when a folder is walked.

use std::path::{Component, Path, PathBuf};

use ::scan::sets::{Beside, LISTED, Presence};
use formats::ReadAt;

use super::input::Opened;

/// The folder of a file.
pub(super) struct Neighbours {
    folder: PathBuf,
}

impl Neighbours {
    /// Of the file at `path`.
    pub(super) fn of(path: &Path) -> Self {
        let folder = path.parent().unwrap_or(Path::new(""));
        Self {
            folder: Path::new(".").join(folder),
        }
    }

    /// A path below the folder; `None` for one that leaves it.
    fn below(&self, path: &str) -> Option<PathBuf> {
        let path = Path::new(path);
        let inside = |part| matches!(part, Component::Normal(_) | Component::CurDir);
        path.components()
            .all(inside)
            .then(|| self.folder.join(path))
    }
}

impl Beside for Neighbours {
    fn names(&self, folder: &str) -> Vec<String> {
        let entries = self.below(folder).map(std::fs::read_dir);
        let Some(Ok(entries)) = entries else {
            return Vec::new();
        };
        let names = entries.take(LISTED).flatten();
        let names = names.filter_map(|entry| entry.file_name().into_string().ok());
        let mut names: Vec<String> = names.collect();
        names.sort_unstable();
        names
    }

    fn presence(&self, path: &str) -> Presence {
        let Some(place) = self.below(path) else {
            return Presence::Other;
        };
        match std::fs::metadata(place) {
            Ok(known) if known.is_file() => Presence::File(known.len()),
            Ok(known) if known.is_dir() => Presence::Folder,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Presence::Missing,
            Ok(_) | Err(_) => Presence::Other,
        }
    }

    fn open(&self, path: &str) -> Option<Box<dyn ReadAt>> {
        let opened = Opened::open(&self.below(path)?, false).ok()?;
        Some(Box::new(opened))
    }
}
