//! A file as it is found right after a change, with its digest where it is small enough to be read at once.

use std::collections::HashMap;
use std::fs::{File, OpenOptions};
use std::io::Read as _;
use std::os::fd::AsRawFd as _;
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use domain::watched::{FileState, Means};
use domain::{Digest, Hasher};
use rustix::fs::{CWD, Mode, OFlags, ResolveFlags, openat2};

/// What is read at once: some ten milliseconds.
const READ_MAX: u64 = 16 << 20;
/// Files whose last digest is remembered.
const KNOWN_MAX: usize = 50_000;
/// A limit of a control group is a number or two.
const VALUE_MAX: u64 = 64;

/// What files were when they were last looked at.
#[derive(Debug, Default)]
pub(super) struct Known {
    digests: HashMap<PathBuf, Digest>,
}

impl Known {
    /// What a file holds by what is on record.
    pub(super) fn remember(&mut self, path: &Path, digest: Digest) {
        if self.digests.len() >= KNOWN_MAX && !self.digests.contains_key(path) {
            self.digests.clear();
        }
        self.digests.insert(path.to_owned(), digest);
    }

    /// What a file held when it was last looked at; it is not known any more from here on.
    pub(super) fn forget(&mut self, path: &Path) -> Option<Digest> {
        self.digests.remove(path)
    }
}

/// A file as it is found. `None` where there is none. No link on the way is followed: whoever may put one there must not have us read for him.
pub(super) fn of(path: &Path) -> Option<FileState> {
    let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let resolve = ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS;
    let found = openat2(CWD, path, flags, Mode::empty(), resolve).ok()?;
    let found = File::from(found);
    let meta = found.metadata().ok()?;
    if !meta.is_file() || meta.size() > READ_MAX {
        return Some(state(&meta, None));
    }
    // The very same file, now to be read: it is a regular one, so this does not wait for anybody.
    let flags = (OFlags::NONBLOCK | OFlags::NOATIME).bits();
    let open = OpenOptions::new()
        .read(true)
        .custom_flags(i32::try_from(flags).unwrap_or(0))
        .open(format!("/proc/self/fd/{}", found.as_raw_fd()));
    let Ok(mut file) = open else {
        return Some(state(&meta, None));
    };
    let digest = read(&mut file);
    let behind = file.metadata().ok()?;
    // What was written meanwhile is no digest of anything; the next change tells.
    let same = |one: &std::fs::Metadata| {
        (
            one.size(),
            one.mtime_nsec(),
            one.mtime(),
            one.ctime(),
            one.ctime_nsec(),
        )
    };
    let digest = digest.filter(|_| same(&meta) == same(&behind));
    Some(state(&behind, digest))
}

fn read(file: &mut File) -> Option<Digest> {
    let mut hasher = Hasher::new();
    let mut buffer = vec![0; 256 << 10];
    let mut left = READ_MAX + 1;
    loop {
        let count = match file.read(&mut buffer) {
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => continue,
            other => other.ok()?,
        };
        if count == 0 {
            return Some(hasher.finish());
        }
        left = left.checked_sub(count as u64)?;
        hasher.update(buffer.get(..count)?);
    }
}

fn state(meta: &std::fs::Metadata, digest: Option<Digest>) -> FileState {
    let time = |seconds: i64, ns: i64| seconds.saturating_mul(1_000_000_000).saturating_add(ns);
    FileState {
        size: meta.size(),
        dev: meta.dev(),
        ino: meta.ino(),
        mtime_ns: time(meta.mtime(), meta.mtime_nsec()),
        ctime_ns: time(meta.ctime(), meta.ctime_nsec()),
        mode: meta.mode(),
        uid: meta.uid(),
        gid: meta.gid(),
        links: meta.nlink(),
        digest,
        value: None,
    }
}

/// What a control group's limit says: a few printable characters.
pub(super) fn value(path: &Path) -> Option<String> {
    let mut bytes = Vec::new();
    let file = File::open(path).ok()?;
    file.take(VALUE_MAX).read_to_end(&mut bytes).ok()?;
    let text = String::from_utf8_lossy(&bytes);
    let text = text.trim();
    let plain = text.chars().all(|c| c == ' ' || c.is_ascii_graphic());
    (plain && !text.is_empty()).then(|| text.to_owned())
}

/// How a process was found right after somebody set something of it.
pub(super) fn value_of(what: Means, pid: u32) -> Option<String> {
    let name = match what {
        Means::MemoryKiller => "oom_score_adj",
        Means::Share => "autogroup",
        Means::Traced | Means::MemoryWritten | Means::Priority | Means::Processors => return None,
    };
    value(Path::new(&format!("/proc/{pid}/{name}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_read_and_a_link_a_pipe_and_nothing_are_not() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        std::fs::write(at("a"), "abc").unwrap();
        std::os::unix::fs::symlink(at("a"), at("link")).unwrap();
        rustix::fs::mkfifoat(rustix::fs::CWD, at("pipe"), 0o600.into()).unwrap();
        assert_eq!(of(&at("a")).unwrap().digest, Some(Digest::of(b"abc")));
        // A link as the last name is seen as itself by nobody here, and none on the way is followed.
        std::fs::create_dir(at("folder")).unwrap();
        std::os::unix::fs::symlink(at("folder"), at("way")).unwrap();
        std::fs::write(at("folder/b"), "abc").unwrap();
        assert!(of(&at("way/b")).is_none() && of(&at("folder/b")).is_some());
        assert!(of(&at("link")).is_none_or(|state| state.digest.is_none()));
        assert!(of(&at("pipe")).unwrap().digest.is_none());
        assert_eq!(of(&at("none")), None);
    }

    #[test]
    fn what_was_known_of_a_file_is_asked_for_once() {
        let mut known = Known::default();
        known.remember(Path::new("/a"), Digest::of(b"x"));
        assert_eq!(known.forget(Path::new("/a")), Some(Digest::of(b"x")));
        assert_eq!(known.forget(Path::new("/a")), None);
    }
}
