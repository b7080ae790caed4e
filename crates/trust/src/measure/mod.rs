//! A folder or a file, measured: what is there, and the digests of exactly that.
//!
//! This is the only part of the crate that touches files that somebody else may have made, and it is built for the case
//! that they change them meanwhile: names are resolved below one open folder, types and sizes are asked of open
//! descriptors, digests belong to one state of a file or there is none. What was signed, and what a difference means, is
//! not known here.

pub mod beneath;
mod desk;
mod file;
mod open;
mod pool;
mod shards;
mod walk;

use std::path::{Path, PathBuf};

use domain::PathText;
use rustix::io::Errno;

use crate::name::Name;
use beneath::Root;
pub use file::{FileState, Unread};
pub use pool::{Before, HashResult, Hashed, Task, Wanted};
pub use shards::Shard;
pub use walk::{Listing, NotListed, Seen, SeenKind, Tally, Unlisted};

/// A path that cannot be measured at all.
#[derive(Debug, thiserror::Error)]
pub enum MeasureError {
    /// The system refused.
    #[error("{path}: {why}")]
    System {
        /// The path.
        path: PathText,
        /// Why.
        why: Errno,
    },
    /// Neither a file nor a folder, or a name that no signature can hold.
    #[error("{path}: it is neither a folder nor a regular file with a name in UTF-8")]
    Kind {
        /// The path.
        path: PathText,
    },
}

/// Where a link leads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LinkEnd {
    /// To a regular file, wherever it is.
    File,
    /// To a folder inside of the model.
    FolderInside,
    /// To anything else, or to nothing.
    Elsewhere,
}

/// A model, held open: a folder, or one file in its folder.
pub struct Model {
    root: Root,
    path: PathBuf,
    name: String,
    /// The name under which the single file is signed, and the one under which it lies there.
    single: Option<(Name, Name)>,
}

impl Model {
    /// Opens what the user named; a link here is the user's own and is followed.
    pub fn open(given: &Path) -> Result<Self, MeasureError> {
        let system = |error: std::io::Error| MeasureError::System {
            path: given.into(),
            why: Errno::from_io_error(&error).unwrap_or(Errno::IO),
        };
        let errno = |why| MeasureError::System {
            path: given.into(),
            why,
        };
        let path = given.canonicalize().map_err(system)?;
        let kind = || MeasureError::Kind { path: given.into() };
        let facts = path.metadata().map_err(system)?;
        let text = |path: &Path| {
            path.file_name()
                .and_then(|name| name.to_str())
                .map(str::to_owned)
        };
        if facts.is_dir() {
            return Ok(Self {
                root: Root::open(&path).map_err(errno)?,
                name: text(&path).unwrap_or_else(|| "model".to_owned()),
                path,
                single: None,
            });
        }
        let name = |path: &Path| {
            text(path)
                .and_then(|name| Name::new(&name).ok())
                .ok_or_else(kind)
        };
        let (signed, actual) = (name(given)?, name(&path)?);
        let folder = path.parent().filter(|_| facts.is_file()).ok_or_else(kind)?;
        Ok(Self {
            root: Root::open(folder).map_err(errno)?,
            name: signed.as_str().to_owned(),
            path,
            single: Some((signed, actual)),
        })
    }

    /// Its name for people: that of the folder or of the file.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Its path, absolute and without links.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The name under which the one file is signed, where it is one file.
    pub fn single(&self) -> Option<&Name> {
        self.single.as_ref().map(|(signed, _)| signed)
    }

    /// Lists all that is there; what is at or below one of `excluded` is only counted.
    pub fn list(&self, excluded: &[Name]) -> Listing {
        let Some((signed, actual)) = &self.single else {
            return walk::walk(&self.root, excluded);
        };
        let mut listing = Listing::default();
        match rustix::fs::statat(
            self.root.descriptor(),
            actual.as_str(),
            rustix::fs::AtFlags::SYMLINK_NOFOLLOW,
        ) {
            Ok(stat) => listing.entries.push(Seen {
                name: signed.clone(),
                kind: SeenKind::File,
                state: FileState::of(&stat),
            }),
            Err(errno) => listing.unlisted.push(Unlisted {
                path: PathText::from_bytes(signed.as_str().as_bytes()),
                why: NotListed::System(errno),
            }),
        }
        listing
    }

    /// Reads the files; the results are in the order of `tasks`.
    pub fn hash(
        &self,
        tasks: &[Task],
        wanted: Wanted,
        threads: usize,
        before: Option<Before<'_>>,
    ) -> Vec<HashResult> {
        match &self.single {
            None => pool::hash_all(&self.root, tasks, wanted, threads, before),
            Some((_, actual)) => {
                let tasks: Vec<Task> = tasks.iter().map(|task| self.actual(task, actual)).collect();
                pool::hash_all(&self.root, &tasks, wanted, threads, before)
            }
        }
    }

    /// SHA-256 of ranges of files, in order.
    pub fn hash_shards(
        &self,
        shards: &[Shard],
        through_links: bool,
    ) -> Vec<Result<domain::Digest, Unread>> {
        let actual = self.single.as_ref().map(|(_, actual)| actual);
        shards::hash(&self.root, shards, actual, through_links)
    }

    /// Where the link `name` leads.
    pub fn link_end(&self, name: &Name) -> LinkEnd {
        if file::Reading::open(&self.root, name, true).is_ok() {
            return LinkEnd::File;
        }
        let inside = self.path.join(name.as_str()).canonicalize();
        match inside {
            Ok(path) if path.is_dir() && path.starts_with(&self.path) => LinkEnd::FolderInside,
            _ => LinkEnd::Elsewhere,
        }
    }

    /// Bytes of a file as it is now; `None` where it cannot be opened.
    pub fn size_of(&self, name: &Name, through_links: bool) -> Option<u64> {
        let name = self.single.as_ref().map_or(name, |(_, actual)| actual);
        let open = |through_link| file::Reading::open(&self.root, name, through_link).ok();
        let reading = open(false).or_else(|| open(true).filter(|_| through_links));
        reading.map(|reading| reading.before().size)
    }

    fn actual(&self, task: &Task, actual: &Name) -> Task {
        let is_it = self.single().is_some_and(|signed| *signed == task.name);
        let name = if is_it { actual } else { &task.name };
        Task {
            name: name.clone(),
            ..task.clone()
        }
    }
}
