//! Opening what lies below one folder, and never anything else.
//!
//! Between two looks at a path anybody who can write the folder may put a link in its place. So everything is opened from
//! the descriptor of the folder with `openat2(RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS)`: the kernel refuses the path that
//! leaves. Where a kernel or a sandbox has no `openat2`, the parts are opened one by one, each without following links,
//! which holds the same. A link is followed only by `Root::open_through_link`, for names that were signed as such.
//! Who else looks at files that somebody may exchange (the neighbours of a scanned file) uses this too: there is one way.

use std::os::fd::{AsFd as _, OwnedFd};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};

use rustix::fs::{CWD, FileType, Mode, OFlags, ResolveFlags};
use rustix::io::Errno;

use crate::name::Name;

/// Reading never waits for the other end of a pipe, never makes a terminal ours, and is not inherited.
const READ: OFlags = OFlags::RDONLY
    .union(OFlags::CLOEXEC)
    .union(OFlags::NONBLOCK)
    .union(OFlags::NOCTTY);

/// A folder that is held open.
pub struct Root {
    descriptor: OwnedFd,
    /// `openat2` was refused once.
    by_parts: AtomicBool,
}

impl Root {
    /// Opens the folder itself; this path is the user's own and may be a link.
    ///
    /// # Errors
    /// What the system says.
    pub fn open(path: &Path) -> Result<Self, Errno> {
        let flags = READ | OFlags::DIRECTORY;
        Ok(Self {
            descriptor: rustix::fs::openat(CWD, path, flags, Mode::empty())?,
            by_parts: AtomicBool::new(false),
        })
    }

    /// The descriptor of the folder itself.
    pub(crate) fn descriptor(&self) -> &OwnedFd {
        &self.descriptor
    }

    /// Opens the folder itself once more: a descriptor has one place in its listing, and each listing begins at the start.
    ///
    /// # Errors
    /// What the system says.
    pub fn open_again(&self) -> Result<OwnedFd, Errno> {
        rustix::fs::openat(
            &self.descriptor,
            ".",
            READ | OFlags::DIRECTORY,
            Mode::empty(),
        )
    }

    /// Opens a file to be read, or whatever stands there under that name; nothing waits.
    ///
    /// # Errors
    /// A link anywhere on the way is [`Errno::LOOP`]; else what the system says.
    pub fn open_file(&self, name: &Name) -> Result<OwnedFd, Errno> {
        self.open_beneath(name, READ | OFlags::NOFOLLOW)
    }

    /// Opens a folder to be listed.
    ///
    /// # Errors
    /// As [`Root::open_file`]; what is no folder is [`Errno::NOTDIR`] or [`Errno::LOOP`].
    pub fn open_folder(&self, name: &Name) -> Result<OwnedFd, Errno> {
        self.open_beneath(name, READ | OFlags::DIRECTORY | OFlags::NOFOLLOW)
    }

    /// Opens what the link `name` leads to, wherever that is. The way to the link itself has no links.
    pub(crate) fn open_through_link(&self, name: &Name) -> Result<OwnedFd, Errno> {
        let (folder, last) = match name.as_str().rsplit_once('/') {
            None => (None, name.as_str()),
            Some((above, last)) => (Name::new(above).ok(), last),
        };
        match folder {
            None => rustix::fs::openat(&self.descriptor, last, READ, Mode::empty()),
            Some(folder) => {
                let folder = self.open_folder(&folder)?;
                rustix::fs::openat(&folder, last, READ, Mode::empty())
            }
        }
    }

    fn open_beneath(&self, name: &Name, flags: OFlags) -> Result<OwnedFd, Errno> {
        if !self.by_parts.load(Ordering::Relaxed) {
            let resolve =
                ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS;
            for _ in 0..8 {
                let opened = rustix::fs::openat2(
                    &self.descriptor,
                    name.as_str(),
                    flags,
                    Mode::empty(),
                    resolve,
                );
                match opened {
                    // The kernel could not exclude that a rename was on its way.
                    Err(Errno::AGAIN | Errno::INTR) => {}
                    Err(Errno::NOSYS | Errno::PERM) => break,
                    other => return other,
                }
            }
            self.by_parts.store(true, Ordering::Relaxed);
        }
        self.open_parts(name, flags)
    }

    fn open_parts(&self, name: &Name, flags: OFlags) -> Result<OwnedFd, Errno> {
        let mut held: Option<OwnedFd> = None;
        let mut parts = name.as_str().split('/').peekable();
        while let Some(part) = parts.next() {
            let flags = if parts.peek().is_some() {
                READ | OFlags::DIRECTORY | OFlags::NOFOLLOW
            } else {
                flags
            };
            let folder = held
                .as_ref()
                .map_or(self.descriptor.as_fd(), |fd| fd.as_fd());
            let next = rustix::fs::openat(folder, part, flags, Mode::empty());
            // Without `O_PATH` a link in the place of a folder is told as no folder.
            held = Some(match next {
                Err(Errno::NOTDIR) => return Err(Errno::LOOP),
                other => other?,
            });
        }
        held.ok_or(Errno::INVAL)
    }
}

/// The name of a type of file, for people.
pub(crate) fn type_name(kind: FileType) -> &'static str {
    match kind {
        FileType::Fifo => "a named pipe",
        FileType::Socket => "a socket",
        FileType::CharacterDevice => "a character device",
        FileType::BlockDevice => "a block device",
        FileType::Directory => "a folder",
        FileType::Symlink => "a link",
        _ => "not a regular file",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;

    #[test]
    fn a_link_anywhere_on_the_way_is_refused_with_and_without_openat2() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        std::fs::create_dir_all(at("real/deep")).unwrap();
        std::fs::write(at("real/deep/file"), "x").unwrap();
        symlink("real", at("linked")).unwrap();
        symlink("/etc/passwd", at("real/out")).unwrap();
        symlink("deep/file", at("real/in")).unwrap();
        let root = Root::open(folder.path()).unwrap();
        let name = |text| Name::new(text).unwrap();
        for by_parts in [false, true] {
            root.by_parts.store(by_parts, Ordering::Relaxed);
            root.open_file(&name("real/deep/file")).unwrap();
            root.open_folder(&name("real/deep")).unwrap();
            for bad in ["linked/deep/file", "real/out", "real/in", "linked"] {
                assert_eq!(root.open_file(&name(bad)).err(), Some(Errno::LOOP), "{bad}");
            }
            let missing = root.open_file(&name("real/none")).err();
            assert_eq!(missing, Some(Errno::NOENT));
        }
        root.open_through_link(&name("real/in")).unwrap();
        assert!(root.open_through_link(&name("linked/in")).is_err());
    }
}
