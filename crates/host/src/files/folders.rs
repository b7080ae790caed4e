//! Where the folders lie that the kernel names by handle, and which of them are wanted.
//!
//! A path is what the folder has now, seen from a mount by which its file system was named: the first one that gives a path that
//! is wanted, else the first that gives one. It is believed only if it leads back to the same folder: a folder outside of all
//! those mounts, or below another one, has no path here.

use std::collections::HashMap;
use std::ffi::OsStr;
use std::io;
use std::os::fd::{AsRawFd as _, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustix::fs::{AtFlags, CWD, fstat, statat};

use super::Place;
use super::record::{Handle, Named};
use crate::sys;

/// Folders that are remembered at once.
const KNOWN_MAX: usize = 4096;

/// How a folder lies to what is wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stand {
    /// It is wanted, or lies in what is wanted.
    Within,
    /// Something directly in it is wanted, by its name.
    Above,
    Outside,
}

#[derive(Debug, Clone)]
struct Folder {
    path: Arc<Path>,
    stand: Stand,
}

/// Where a name was found to lie.
#[derive(Debug)]
pub(super) struct Found {
    folder: Arc<Path>,
    pub(super) is_wanted: bool,
}

impl Found {
    pub(super) fn place(&self, name: &OsStr) -> Place {
        Place {
            folder: self.folder.to_path_buf(),
            name: name.to_owned(),
        }
    }
}

#[derive(Debug, Default)]
pub(super) struct Folders {
    /// The mounts of each file system: number, and one open folder.
    systems: HashMap<u64, Vec<(i32, OwnedFd)>>,
    /// `None`: everything.
    wanted: Option<Vec<PathBuf>>,
    known: HashMap<Handle, Folder>,
}

impl Folders {
    pub(super) fn has(&self, file_system: u64, mount: i32) -> bool {
        let mut mounts = self.systems.get(&file_system).into_iter().flatten();
        mounts.any(|known| known.0 == mount)
    }

    pub(super) fn add(&mut self, file_system: u64, mount: i32, folder: OwnedFd) {
        let mounts = self.systems.entry(file_system).or_default();
        mounts.push((mount, folder));
        self.forget_all();
    }

    pub(super) fn only(&mut self, wanted: Vec<PathBuf>) {
        self.wanted = Some(wanted);
        self.forget_all();
    }

    /// Folders may have moved.
    pub(super) fn forget_all(&mut self) {
        self.known.clear();
    }

    /// This one was made at this place. It is known from then on, also if it is gone again before anybody could look.
    pub(super) fn made(&mut self, at: &Named<'_>, folder: Handle) {
        if let Some(found) = self.find(at) {
            let path = found.folder.join(at.name);
            let stand = self.stand(&path);
            let path = path.into();
            self.know(folder, Folder { path, stand });
        }
    }

    /// This one is gone.
    pub(super) fn forget(&mut self, folder: &Handle) {
        self.known.remove(folder);
    }

    /// Where a name lies; `None` if its folder is gone or has no path here.
    pub(super) fn find(&mut self, named: &Named<'_>) -> Option<Found> {
        if let Some(folder) = self.known.get(&named.folder) {
            return Some(self.found(folder, named.name));
        }
        let folder = self.look_up(&named.folder)?;
        let found = self.found(&folder, named.name);
        self.know(named.folder, folder);
        Some(found)
    }

    fn look_up(&self, handle: &Handle) -> Option<Folder> {
        let mounts = self.systems.get(&handle.file_system)?;
        let mut first = None;
        for (_, mount) in mounts {
            let Ok(Some(path)) = path_of(mount, handle) else {
                continue;
            };
            let (stand, path) = (self.stand(&path), path.into());
            let folder = Folder { path, stand };
            if stand != Stand::Outside {
                return Some(folder);
            }
            first.get_or_insert(folder);
        }
        first
    }

    fn know(&mut self, handle: Handle, folder: Folder) {
        if self.known.len() >= KNOWN_MAX {
            self.known.clear();
        }
        self.known.insert(handle, folder);
    }

    fn found(&self, folder: &Folder, name: &OsStr) -> Found {
        let is_named = || {
            let path = folder.path.join(name);
            self.wanted.iter().flatten().any(|wanted| *wanted == path)
        };
        Found {
            folder: Arc::clone(&folder.path),
            is_wanted: match folder.stand {
                Stand::Within => true,
                Stand::Above => name != "." && is_named(),
                Stand::Outside => false,
            },
        }
    }

    fn stand(&self, folder: &Path) -> Stand {
        let Some(wanted) = &self.wanted else {
            return Stand::Within;
        };
        if wanted.iter().any(|wanted| folder.starts_with(wanted)) {
            return Stand::Within;
        }
        let is_above = |wanted: &PathBuf| wanted.parent() == Some(folder);
        if wanted.iter().any(is_above) {
            return Stand::Above;
        }
        Stand::Outside
    }
}

/// The path of a folder, as it is now.
pub(super) fn path_of(mount: &OwnedFd, folder: &Handle) -> io::Result<Option<PathBuf>> {
    let open = sys::open_handle(mount, folder)?;
    let here = fstat(&open)?;
    if here.st_nlink == 0 {
        return Ok(None);
    }
    let path = std::fs::read_link(format!("/proc/self/fd/{}", open.as_raw_fd()))?;
    let quietly = AtFlags::NO_AUTOMOUNT | AtFlags::SYMLINK_NOFOLLOW;
    let there = statat(CWD, &path, quietly)?;
    let is_same = (here.st_dev, here.st_ino) == (there.st_dev, there.st_ino);
    Ok((is_same && path.is_absolute()).then_some(path))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_wanted_is_the_folder_what_lies_in_it_and_its_own_name_above() {
        let mut folders = Folders::default();
        assert_eq!(folders.stand(Path::new("/x")), Stand::Within);
        folders.only(vec!["/a/b".into(), "/c/file".into()]);
        let is_wanted = |folder: &str, name: &str| {
            let folder = Folder {
                stand: folders.stand(Path::new(folder)),
                path: Path::new(folder).into(),
            };
            folders.found(&folder, OsStr::new(name)).is_wanted
        };
        for (folder, name) in [
            ("/a/b", "f"),
            ("/a/b", "."),
            ("/a/b/d", "f"),
            ("/a", "b"),
            ("/c", "file"),
        ] {
            assert!(is_wanted(folder, name), "{folder} {name}");
        }
        for (folder, name) in [
            ("/a", "c"),
            ("/a", "."),
            ("/a/bc", "f"),
            ("/", "a"),
            ("/c", "file2"),
        ] {
            assert!(!is_wanted(folder, name), "{folder} {name}");
        }
        folders.only(Vec::new());
        assert_eq!(folders.stand(Path::new("/a/b")), Stand::Outside);
    }

    #[test]
    fn of_a_folder_in_an_unknown_file_system_nothing_is_said() {
        let mut folders = Folders::default();
        let folder = Handle::new(1, 1, &[0; 8]).unwrap();
        let name = OsStr::new("f");
        assert!(folders.find(&Named { folder, name }).is_none());
    }
}
