//! What lies beside a file, on a disk: the neighbours that a set of parts is judged by.
//!
//! Nothing outside of the file's folder is listed or opened: names are resolved below one open descriptor, and a link
//! anywhere on the way is refused, in the middle of a path too. A part that is a link leads to bytes that may lie
//! anywhere; it is not followed here, as it is not followed when a folder is walked, and whoever asks is told that
//! something stands there that was not opened.

use std::ffi::OsStr;
use std::fs::File;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Component, Path};

use ::scan::sets::{Beside, LISTED, Presence};
use formats::ReadAt;
use rustix::fs::{Dir, FileType};
use rustix::io::Errno;
use trust::measure::beneath::Root;
use trust::name::Name;

use super::input::Opened;

/// The folder of a file.
pub(crate) struct Neighbours {
    /// `None` where it cannot be opened.
    folder: Option<Root>,
}

impl Neighbours {
    /// Of the file at `path`.
    pub(crate) fn of(path: &Path) -> Self {
        let folder = path.parent().unwrap_or(Path::new(""));
        Self {
            folder: Root::open(&Path::new(".").join(folder)).ok(),
        }
    }

    fn opened(&self, path: &str) -> Result<OwnedFd, Errno> {
        let root = self.folder.as_ref().ok_or(Errno::ACCESS)?;
        root.open_file(&below(path).ok_or(Errno::INVAL)?)
    }

    fn listed(&self, folder: &str) -> Result<Vec<String>, Errno> {
        let root = self.folder.as_ref().ok_or(Errno::ACCESS)?;
        let folder = if folder.is_empty() {
            root.open_again()?
        } else {
            root.open_folder(&below(folder).ok_or(Errno::INVAL)?)?
        };
        let mut names = Vec::new();
        for entry in Dir::new(folder)?.take(LISTED) {
            let entry = entry?;
            let name = entry.file_name().to_bytes();
            if !matches!(name, b"." | b"..") {
                names.extend(OsStr::from_bytes(name).to_str().map(str::to_owned));
            }
        }
        names.sort_unstable();
        Ok(names)
    }
}

/// A path below the folder in its one spelling; `None` for one that leaves it.
fn below(path: &str) -> Option<Name> {
    let mut parts = Vec::new();
    for part in Path::new(path).components() {
        match part {
            Component::Normal(part) => parts.push(part.to_str()?),
            Component::CurDir => {}
            Component::Prefix(_) | Component::RootDir | Component::ParentDir => return None,
        }
    }
    Name::new(&parts.join("/")).ok()
}

impl Beside for Neighbours {
    fn names(&self, folder: &str) -> Option<Vec<String>> {
        match self.listed(folder) {
            Ok(names) => Some(names),
            Err(Errno::NOENT) => Some(Vec::new()),
            Err(_) => None,
        }
    }

    fn presence(&self, path: &str) -> Presence {
        let stat = match self.opened(path) {
            Ok(descriptor) => rustix::fs::fstat(&descriptor),
            Err(Errno::NOENT) => return Presence::Missing,
            Err(_) => return Presence::Other,
        };
        match stat {
            Ok(stat) => match FileType::from_raw_mode(stat.st_mode) {
                FileType::RegularFile => {
                    Presence::File(u64::try_from(stat.st_size).unwrap_or_default())
                }
                FileType::Directory => Presence::Folder,
                _ => Presence::Other,
            },
            Err(_) => Presence::Other,
        }
    }

    fn open(&self, path: &str) -> Option<Box<dyn ReadAt>> {
        let file = File::from(self.opened(path).ok()?);
        Some(Box::new(Opened::of(file).ok()?))
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn nothing_is_listed_or_opened_by_way_of_a_link() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        std::fs::create_dir_all(at("set/real")).unwrap();
        std::fs::create_dir_all(at("elsewhere")).unwrap();
        for file in ["set/real/part", "set/part", "elsewhere/part"] {
            std::fs::write(at(file), "12345").unwrap();
        }
        symlink(at("elsewhere"), at("set/sub")).unwrap();
        symlink(at("elsewhere/part"), at("set/linked")).unwrap();
        symlink("part", at("set/inside")).unwrap();
        symlink("nowhere", at("set/dangling")).unwrap();
        let beside = Neighbours::of(&at("set/index"));
        for good in ["part", "real/part", "./real//part"] {
            assert_eq!(beside.presence(good), Presence::File(5), "{good}");
            assert_eq!(beside.open(good).unwrap().len(), 5);
        }
        let closed = [
            "sub/part",
            "linked",
            "inside",
            "dangling",
            "../elsewhere/part",
            "/etc/passwd",
        ];
        for bad in closed {
            assert_eq!(beside.presence(bad), Presence::Other, "{bad}");
            assert!(beside.open(bad).is_none(), "{bad}");
        }
        assert_eq!(beside.presence("none/at/all"), Presence::Missing);
        assert_eq!(
            (beside.presence("real"), beside.open("real").is_none()),
            (Presence::Folder, true)
        );
        assert_eq!(beside.names("real").unwrap(), ["part"]);
        assert_eq!(beside.names("none"), Some(vec![]));
        for bad in ["sub", "..", "/"] {
            assert_eq!(beside.names(bad), None, "{bad}");
        }
        let all = ["dangling", "inside", "linked", "part", "real", "sub"];
        assert_eq!(beside.names("").unwrap(), all);
        let gone = Neighbours::of(&at("no/such/index"));
        assert_eq!(
            (gone.names(""), gone.presence("x")),
            (None, Presence::Other)
        );
    }
}
