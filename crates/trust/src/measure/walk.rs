//! Everything below one folder, listed once, nothing opened but folders.
//!
//! Links are told and not followed. What is excluded is walked too, only to be counted: what a signature does not cover is
//! said in files and bytes. A name that is no UTF-8, or a file that is no file, is told as such; whether that is an error
//! is the caller's; below what is excluded it is none. The number of entries is bounded, so that a tree without end has an
//! end, and what is excluded comes last, so that it cannot use up the bound.

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
    /// Places that could not be looked into, or looked at: what is there is not counted.
    pub unseen: u64,
}

/// Everything below a folder.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Listing {
    /// Sorted by name.
    pub entries: Vec<Seen>,
    /// What could not be listed; nothing is known of what lies at or below these places.
    pub unlisted: Vec<Unlisted>,
    /// What lies below an excluded name, that name included.
    pub excluded: Tally,
}

/// Lists all below `root`; what is at or below one of `excluded` is only counted.
pub(crate) fn walk(root: &Root, excluded: &[Name]) -> Listing {
    walk_at_most(root, excluded, MAX_ENTRIES)
}

fn walk_at_most(root: &Root, excluded: &[Name], max: usize) -> Listing {
    let mut walk = Walk {
        root,
        excluded,
        listing: Listing::default(),
        left: max,
        folders: Vec::new(),
        left_out: Vec::new(),
    };
    let mut buffer = Vec::with_capacity(LISTING);
    walk.list(None, false, buffer.spare_capacity_mut());
    while let Some(folder) = walk.folders.pop() {
        walk.list(Some(&folder), false, buffer.spare_capacity_mut());
    }
    walk.left = max;
    while let Some(folder) = walk.left_out.pop() {
        walk.list(Some(&folder), true, buffer.spare_capacity_mut());
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
    /// Entries that are still taken.
    left: usize,
    folders: Vec<Name>,
    /// Folders that are excluded.
    left_out: Vec<Name>,
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
            let path = match folder {
                // Of no folder is it known that it was listed.
                _ if why == NotListed::TooMany => ".",
                None => ".",
                Some(folder) => folder.as_str(),
            };
            self.unlisted(path.as_bytes(), why, excluded);
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
            if self.left == 0 {
                self.folders.clear();
                if excluded {
                    self.left_out.clear();
                }
                return Err(NotListed::TooMany);
            }
            self.left -= 1;
            let path = match folder {
                None => last.to_bytes().to_vec(),
                Some(folder) => [folder.as_str().as_bytes(), b"/", last.to_bytes()].concat(),
            };
            let stat = match rustix::fs::statat(descriptor, last, AtFlags::SYMLINK_NOFOLLOW) {
                Err(Errno::NOENT) => continue,
                Err(errno) => {
                    let excluded = excluded || name_of(&path).is_some_and(|it| self.excludes(&it));
                    self.unlisted(&path, NotListed::System(errno), excluded);
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
        let state = FileState::of(stat);
        let kind = match (FileType::from_raw_mode(stat.st_mode), target) {
            (FileType::RegularFile, _) => SeenKind::File,
            (FileType::Directory, _) => SeenKind::Folder,
            (FileType::Symlink, Some(target)) => SeenKind::Link { target },
            (other, _) => SeenKind::Other(type_name(other)),
        };
        let Some(name) = name_of(path) else {
            if excluded {
                self.tally(&kind, &state);
            }
            if !excluded || kind == SeenKind::Folder {
                self.unlisted(path, NotListed::Name, excluded);
            }
            return;
        };
        let excluded = excluded || self.excludes(&name);
        if excluded {
            self.tally(&kind, &state);
        }
        if kind == SeenKind::Folder {
            let folders = if excluded {
                &mut self.left_out
            } else {
                &mut self.folders
            };
            folders.push(name.clone());
        }
        if !excluded {
            self.listing.entries.push(Seen { name, kind, state });
        }
    }

    fn excludes(&self, name: &Name) -> bool {
        self.excluded.iter().any(|above| name.is_below(above))
    }

    fn tally(&mut self, kind: &SeenKind, state: &FileState) {
        let tally = &mut self.listing.excluded;
        tally.files += u64::from(*kind != SeenKind::Folder);
        if *kind == SeenKind::File {
            tally.bytes = tally.bytes.saturating_add(state.size);
        }
    }

    /// What is excluded is not asked for: there it is only not counted.
    fn unlisted(&mut self, path: &[u8], why: NotListed, excluded: bool) {
        if excluded {
            self.listing.excluded.unseen += 1;
            return;
        }
        self.listing.unlisted.push(Unlisted {
            path: PathText::from_bytes(path),
            why,
        });
    }
}

fn name_of(path: &[u8]) -> Option<Name> {
    std::str::from_utf8(path)
        .ok()
        .and_then(|text| Name::new(text).ok())
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
        let tally = Tally {
            files: 2,
            bytes: 8,
            unseen: 0,
        };
        assert_eq!(listing.excluded, tally);
        assert_eq!(listing.unlisted.len(), 1);
        assert_eq!(listing.unlisted[0].path.as_str(), "\\xff");
    }

    #[test]
    fn what_is_excluded_is_counted_as_far_as_it_can_be_and_is_never_in_the_way() {
        let folder = tempfile::tempdir().unwrap();
        let out = folder.path().join("out");
        let bad = out.join(std::ffi::OsStr::from_bytes(b"bad\xff"));
        std::fs::create_dir_all(&bad).unwrap();
        std::fs::write(bad.join("unseen"), "12345").unwrap();
        std::fs::write(out.join(std::ffi::OsStr::from_bytes(b"\xff")), "123").unwrap();
        for number in 0..20 {
            std::fs::write(out.join(format!("{number}")), "").unwrap();
        }
        std::fs::write(folder.path().join("in"), "").unwrap();
        let root = Root::open(folder.path()).unwrap();
        let excluded = [Name::new("out").unwrap()];
        let all = walk(&root, &excluded);
        assert_eq!((all.entries.len(), all.unlisted.len()), (1, 0));
        let tally = |files, unseen| Tally {
            files,
            bytes: 3,
            unseen,
        };
        assert_eq!(all.excluded, tally(21, 1));
        let some = walk_at_most(&root, &excluded, 10);
        assert_eq!((some.entries.len(), some.unlisted.len()), (1, 0));
        assert!(some.excluded.unseen > 0 && some.excluded.files <= 10);
        let none = walk_at_most(&root, &[], 10);
        let too_many = |it: &Unlisted| it.why == NotListed::TooMany && it.path.as_str() == ".";
        assert!(none.unlisted.iter().any(too_many), "{:?}", none.unlisted);
    }
}
