//! Everything below one folder, listed once, nothing opened but folders.
//!
//! Links are told and not followed. What is excluded is walked too, only to be counted: what a signature does not cover is
//! said in files and bytes. A name that is no UTF-8, or a file that is no file, is told as such; whether that is an error
//! is the caller's. The number of entries is bounded, so that a tree without end has an end.

use std::mem::MaybeUninit;
use std::os::fd::OwnedFd;

use domain::PathText;
use rustix::fs::{AtFlags, FileType, RawDir};
use rustix::io::Errno;

use super::beneath::{Root, type_name};
use super::file::FileState;
use crate::name::Name;

/// The most entries of one folder and all below it.
pub(crate) const MAX_ENTRIES: usize = 8_000_000;

/// Size of the buffer that folders are listed with.
const LISTING: usize = 64 * 1024;

/// One thing in the folder.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Seen {
    /// Its name.
    pub name: Name,
    /// What it is.
    pub kind: SeenKind,
    /// What the kernel says of it.
    pub state: FileState,
}

/// What a thing is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SeenKind {
    /// A regular file.
    File,
    /// A folder.
    Folder,
    /// A symbolic link, not followed.
    Link {
        /// Where it points, as it stands.
        target: PathText,
    },
    /// Anything else.
    Other(&'static str),
}

/// A place that could not be listed, or a name that no signature can hold.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unlisted {
    /// Which.
    pub path: PathText,
    /// Why.
    pub why: NotListed,
}

/// Why something is not among the entries.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NotListed {
    /// The name is no UTF-8, or too long as a path.
    #[error("its name cannot stand in a signature: it is not UTF-8, or too long")]
    Name,
    /// The system refused.
    #[error("{0}")]
    System(#[from] Errno),
    /// There is no end.
    #[error("there are more than {MAX_ENTRIES} entries")]
    TooMany,
}

/// What is not covered.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Tally {
    /// Files, links and other things that are no folders.
    pub files: u64,
    /// Bytes of the regular files.
    pub bytes: u64,
}

/// Everything below a folder.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Listing {
    /// Sorted by name.
    pub entries: Vec<Seen>,
    /// What could not be listed.
    pub unlisted: Vec<Unlisted>,
    /// What lies below an excluded name, that name included.
    pub excluded: Tally,
}

/// Lists all below `root`; what is at or below one of `excluded` is only counted.
pub(crate) fn walk(root: &Root, excluded: &[Name]) -> Listing {
    let mut walk = Walk {
        root,
        excluded,
        listing: Listing::default(),
        count: 0,
        folders: Vec::new(),
    };
    let mut buffer = Vec::with_capacity(LISTING);
    walk.list(None, false, buffer.spare_capacity_mut());
    while let Some((folder, is_excluded)) = walk.folders.pop() {
        walk.list(Some(&folder), is_excluded, buffer.spare_capacity_mut());
    }
    walk.listing
        .entries
        .sort_unstable_by(|left, right| left.name.cmp(&right.name));
    walk.listing
}

struct Walk<'a> {
    root: &'a Root,
    excluded: &'a [Name],
    listing: Listing,
    count: usize,
    folders: Vec<(Name, bool)>,
}

impl Walk<'_> {
    fn list(&mut self, folder: Option<&Name>, excluded: bool, buffer: &mut [MaybeUninit<u8>]) {
        let opened = match folder {
            None => self.root.open_again(),
            Some(folder) => self.root.open_folder(folder),
        };
        let outcome = opened
            .map_err(NotListed::System)
            .and_then(|descriptor| self.read(folder, &descriptor, excluded, buffer));
        if let Err(why) = outcome {
            let path = folder.map_or(".", Name::as_str);
            self.unlisted(path.as_bytes(), why);
        }
    }

    fn read(
        &mut self,
        folder: Option<&Name>,
        descriptor: &OwnedFd,
        excluded: bool,
        buffer: &mut [MaybeUninit<u8>],
    ) -> Result<(), NotListed> {
        let mut names = RawDir::new(descriptor, buffer);
        while let Some(entry) = names.next() {
            let entry = entry?;
            let last = entry.file_name();
            if matches!(last.to_bytes(), b"." | b"..") {
                continue;
            }
            self.count += 1;
            if self.count > MAX_ENTRIES {
                self.folders.clear();
                return Err(NotListed::TooMany);
            }
            let path = match folder {
                None => last.to_bytes().to_vec(),
                Some(folder) => [folder.as_str().as_bytes(), b"/", last.to_bytes()].concat(),
            };
            let stat = match rustix::fs::statat(descriptor, last, AtFlags::SYMLINK_NOFOLLOW) {
                Err(Errno::NOENT) => continue,
                Err(errno) => {
                    self.unlisted(&path, NotListed::System(errno));
                    continue;
                }
                Ok(stat) => stat,
            };
            let target = match FileType::from_raw_mode(stat.st_mode) {
                FileType::Symlink => rustix::fs::readlinkat(descriptor, last, Vec::new()).ok(),
                _ => None,
            };
            let target = target.map(|target| PathText::from_bytes(target.to_bytes()));
            self.take(&path, &stat, target, excluded);
        }
        Ok(())
    }

    fn take(
        &mut self,
        path: &[u8],
        stat: &rustix::fs::Stat,
        target: Option<PathText>,
        excluded: bool,
    ) {
        let name = std::str::from_utf8(path)
            .ok()
            .and_then(|text| Name::new(text).ok());
        let Some(name) = name else {
            self.unlisted(path, NotListed::Name);
            return;
        };
        let excluded = excluded || self.excluded.iter().any(|above| name.is_below(above));
        let state = FileState::of(stat);
        let kind = match (FileType::from_raw_mode(stat.st_mode), target) {
            (FileType::RegularFile, _) => SeenKind::File,
            (FileType::Directory, _) => SeenKind::Folder,
            (FileType::Symlink, Some(target)) => SeenKind::Link { target },
            (other, _) => SeenKind::Other(type_name(other)),
        };
        if kind == SeenKind::Folder {
            self.folders.push((name.clone(), excluded));
        }
        if !excluded {
            self.listing.entries.push(Seen { name, kind, state });
        } else if kind != SeenKind::Folder {
            let tally = &mut self.listing.excluded;
            tally.files += 1;
            if kind == SeenKind::File {
                tally.bytes = tally.bytes.saturating_add(state.size);
            }
        }
    }

    fn unlisted(&mut self, path: &[u8], why: NotListed) {
        self.listing.unlisted.push(Unlisted {
            path: PathText::from_bytes(path),
            why,
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::ffi::OsStrExt as _;

    #[test]
    fn all_that_is_there_is_told_once_and_what_is_excluded_is_counted() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        for path in [".git/objects", "sub/.git", "empty"] {
            std::fs::create_dir_all(at(path)).unwrap();
        }
        for (path, text) in [
            (".git/HEAD", "ref"),
            (".git/objects/x", "12345"),
            (".gitignore", "*"),
            ("sub/.git/HEAD", "y"),
        ] {
            std::fs::write(at(path), text).unwrap();
        }
        std::os::unix::fs::symlink("nowhere", at("link")).unwrap();
        let bad = std::ffi::OsStr::from_bytes(b"\xff");
        std::fs::write(folder.path().join(bad), "z").unwrap();
        let root = Root::open(folder.path()).unwrap();
        let excluded = [Name::new(".git").unwrap()];
        let listing = walk(&root, &excluded);
        assert_eq!(
            walk(&root, &excluded),
            listing,
            "the second time it is the same"
        );
        let names: Vec<_> = listing
            .entries
            .iter()
            .map(|seen| seen.name.as_str())
            .collect();
        assert_eq!(
            names,
            [
                ".gitignore",
                "empty",
                "link",
                "sub",
                "sub/.git",
                "sub/.git/HEAD"
            ]
        );
        assert_eq!(listing.excluded, Tally { files: 2, bytes: 8 });
        assert_eq!(listing.unlisted.len(), 1);
        assert_eq!(listing.unlisted[0].path.as_str(), "\\xff");
    }
}
