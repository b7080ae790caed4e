//! Finding everything below the roots.
//!
//! Links are followed, those that leave the roots too: installers build environments out of links into a shared cache, and
//! what counts is the bytes that an import would read. A link back to a folder on the way to it would never end, so it is
//! kept as a link; a link to another root is kept as a link too, for that root is listed under its own name. Links to one
//! folder from many places can still multiply without end, so the number of entries is limited.
//!
//! The walk stats each file once and opens none. Folders are handed out to a few threads, last found first.

use std::collections::HashSet;
use std::ffi::CStr;
use std::mem::MaybeUninit;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt as _;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

use domain::PathText;
use rustix::fs::{AtFlags, FileType, RawDir};

use crate::file::{FileKey, type_name};
use crate::gap::Gap;
use crate::layout::{Resolved, id_of, open_folder};

/// Size of the buffer that a thread lists folders with.
const LISTING: usize = 64 * 1024;

/// A folder that is listed.
pub(crate) struct Folder {
    /// Bytes of the logical name, such as `purelib/torch`.
    logical: Vec<u8>,
    path: PathBuf,
    /// Known once it was opened, or from the link that led here.
    id: Option<(u64, u64)>,
    is_root: bool,
    parent: Option<Arc<Folder>>,
}

/// One name that was found in a folder.
pub(crate) struct Found {
    /// Name in the environment, such as `purelib/torch/__init__.py`.
    pub(crate) logical: PathText,
    folder: Arc<Folder>,
    pub(crate) what: What,
}

/// What is behind a name.
pub(crate) enum What {
    File { key: FileKey, mode: u32 },
    Link { target: PathText },
    Unread(Gap),
}

impl Found {
    fn new(folder: Arc<Folder>, name: &[u8], what: What) -> Self {
        let logical = if folder.logical.is_empty() {
            PathText::from_bytes(name)
        } else {
            PathText::from_bytes(&[folder.logical.as_slice(), b"/", name].concat())
        };
        Self {
            logical,
            folder,
            what,
        }
    }

    pub(crate) fn path(&self) -> PathBuf {
        // A single file of the layout carries its whole path in its folder.
        if self.folder.logical.is_empty() {
            return self.folder.path.clone();
        }
        let bytes = self.logical.to_bytes();
        let name = bytes.get(self.folder.logical.len() + 1..);
        let name = name.unwrap_or_default();
        self.folder.path.join(std::ffi::OsStr::from_bytes(name))
    }
}

/// How a walk is bounded.
pub(crate) struct Bounds<'a> {
    pub(crate) threads: usize,
    pub(crate) max_entries: u64,
    pub(crate) should_stop: &'a (dyn Fn() -> bool + Sync),
}

/// Lists all that `resolved` names. Never fails: what could not be listed is an entry `.` in its folder.
pub(crate) fn walk(resolved: &Resolved, bounds: &Bounds<'_>) -> Vec<Found> {
    let walker = Walker {
        roots: &resolved.ids,
        bounds,
        entries: AtomicU64::new(0),
        queue: Mutex::new(Queue {
            waiting: resolved.folders.iter().map(root_folder).collect(),
            busy: 0,
        }),
        changed: Condvar::new(),
    };
    let mut found: Vec<Found> = std::thread::scope(|scope| {
        let workers: Vec<_> = (1..bounds.threads)
            .map(|_| scope.spawn(|| walker.work()))
            .collect();
        let mut found = walker.work();
        for worker in workers {
            // A worker cannot panic; if one did, its part would be missing, which the caller must not take for empty.
            match worker.join() {
                Ok(more) => found.extend(more),
                Err(payload) => std::panic::resume_unwind(payload),
            }
        }
        found
    });
    found.extend(resolved.files.iter().map(single_file));
    found
}

fn root_folder((name, path): &(String, PathBuf)) -> Folder {
    Folder {
        logical: name.clone().into_bytes(),
        path: path.clone(),
        id: None,
        is_root: true,
        parent: None,
    }
}

fn single_file((name, path): &(String, PathBuf)) -> Found {
    let what = match rustix::fs::stat(path) {
        Ok(stat) => of_stat(&stat).unwrap_or(What::Unread(Gap::Changed)),
        Err(errno) => What::Unread(errno.into()),
    };
    let folder = Folder {
        logical: Vec::new(),
        path: path.clone(),
        id: None,
        is_root: true,
        parent: None,
    };
    Found::new(Arc::new(folder), name.as_bytes(), what)
}

struct Queue {
    waiting: Vec<Folder>,
    busy: usize,
}

struct Walker<'a> {
    roots: &'a HashSet<(u64, u64)>,
    bounds: &'a Bounds<'a>,
    entries: AtomicU64,
    queue: Mutex<Queue>,
    changed: Condvar,
}

impl Walker<'_> {
    fn work(&self) -> Vec<Found> {
        let mut found = Vec::new();
        let mut listing = Vec::with_capacity(LISTING);
        let mut below = Vec::new();
        while let Some(folder) = self.next() {
            self.list(folder, listing.spare_capacity_mut(), &mut found, &mut below);
            let mut queue = self.lock();
            queue.waiting.append(&mut below);
            queue.busy -= 1;
            self.changed.notify_all();
        }
        found
    }

    fn lock(&self) -> MutexGuard<'_, Queue> {
        // Nothing is left half-done under this lock.
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn next(&self) -> Option<Folder> {
        let mut queue = self.lock();
        loop {
            if let Some(folder) = queue.waiting.pop() {
                queue.busy += 1;
                return Some(folder);
            }
            if queue.busy == 0 {
                return None;
            }
            queue = self
                .changed
                .wait(queue)
                .unwrap_or_else(PoisonError::into_inner);
        }
    }

    fn list(
        &self,
        mut folder: Folder,
        listing: &mut [MaybeUninit<u8>],
        found: &mut Vec<Found>,
        below: &mut Vec<Folder>,
    ) {
        let opened = if (self.bounds.should_stop)() {
            Err(Gap::Stopped)
        } else {
            self.enter(&mut folder)
        };
        let folder = Arc::new(folder);
        let before = found.len();
        let outcome = match opened {
            Ok(Some(descriptor)) => self.read(&folder, &descriptor, listing, found, below),
            Ok(None) => Ok(()),
            Err(gap) => Err(gap),
        };
        // Whoever sorts all of them finds runs, and the threads have shared the work.
        if let Some(new) = found.get_mut(before..) {
            new.sort_unstable_by(|one, other| one.logical.cmp(&other.logical));
        }
        if let Err(gap) = outcome {
            found.push(Found::new(folder, b".", What::Unread(gap)));
        }
    }

    /// Opens a folder; `None` where it is another root, which is listed under its own name.
    fn enter(&self, folder: &mut Folder) -> Result<Option<OwnedFd>, Gap> {
        let descriptor = open_folder(&folder.path)?;
        let id = id_of(&rustix::fs::fstat(&descriptor)?);
        folder.id = Some(id);
        if !folder.is_root && self.roots.contains(&id) {
            return Ok(None);
        }
        if leads_back(folder.parent.as_ref(), id) {
            return Err(Gap::Loop);
        }
        Ok(Some(descriptor))
    }

    fn read(
        &self,
        folder: &Arc<Folder>,
        descriptor: &OwnedFd,
        listing: &mut [MaybeUninit<u8>],
        found: &mut Vec<Found>,
        below: &mut Vec<Folder>,
    ) -> Result<(), Gap> {
        let mut names = RawDir::new(descriptor, listing);
        while let Some(entry) = names.next() {
            let entry = entry?;
            let name = entry.file_name();
            if matches!(name.to_bytes(), b"." | b"..") {
                continue;
            }
            if self.entries.fetch_add(1, Ordering::Relaxed) >= self.bounds.max_entries {
                return Err(Gap::TooManyEntries(self.bounds.max_entries));
            }
            match self.look(folder, descriptor, name, entry.file_type()) {
                Looked::Entry(what) => {
                    found.push(Found::new(Arc::clone(folder), name.to_bytes(), what));
                }
                Looked::Folder => below.push(child(folder, name)),
                Looked::Gone => {}
            }
        }
        Ok(())
    }

    fn look(
        &self,
        folder: &Arc<Folder>,
        descriptor: &OwnedFd,
        name: &CStr,
        listed: FileType,
    ) -> Looked {
        if listed == FileType::Directory {
            return Looked::Folder;
        }
        let stat = match rustix::fs::statat(descriptor, name, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(stat) => stat,
            Err(rustix::io::Errno::NOENT) => return Looked::Gone,
            Err(errno) => return Looked::Entry(What::Unread(errno.into())),
        };
        match FileType::from_raw_mode(stat.st_mode) {
            FileType::Directory => Looked::Folder,
            FileType::Symlink => self.follow(folder, descriptor, name),
            _ => Looked::Entry(of_stat(&stat).unwrap_or(What::Unread(Gap::Changed))),
        }
    }

    fn follow(&self, folder: &Arc<Folder>, descriptor: &OwnedFd, name: &CStr) -> Looked {
        let as_link = || match rustix::fs::readlinkat(descriptor, name, Vec::new()) {
            Ok(target) => Looked::Entry(What::Link {
                target: PathText::from_bytes(target.to_bytes()),
            }),
            Err(errno) => Looked::Entry(What::Unread(errno.into())),
        };
        let stat = match rustix::fs::statat(descriptor, name, AtFlags::empty()) {
            Ok(stat) => stat,
            Err(rustix::io::Errno::NOENT | rustix::io::Errno::LOOP | rustix::io::Errno::NOTDIR) => {
                return as_link();
            }
            Err(errno) => return Looked::Entry(What::Unread(errno.into())),
        };
        match of_stat(&stat) {
            Some(what) => Looked::Entry(what),
            None if self.roots.contains(&id_of(&stat))
                || leads_back(Some(folder), id_of(&stat)) =>
            {
                as_link()
            }
            None => Looked::Folder,
        }
    }
}

enum Looked {
    Entry(What),
    Folder,
    Gone,
}

fn child(folder: &Arc<Folder>, name: &CStr) -> Folder {
    let name = name.to_bytes();
    Folder {
        logical: [folder.logical.as_slice(), b"/", name].concat(),
        path: folder.path.join(std::ffi::OsStr::from_bytes(name)),
        id: None,
        is_root: false,
        parent: Some(Arc::clone(folder)),
    }
}

/// What a stat says, or `None` for a folder.
fn of_stat(stat: &rustix::fs::Stat) -> Option<What> {
    match FileType::from_raw_mode(stat.st_mode) {
        FileType::Directory => None,
        FileType::RegularFile => Some(What::File {
            key: FileKey::of(stat),
            mode: stat.st_mode & 0o7777,
        }),
        other => Some(What::Unread(Gap::NotAFile(type_name(other)))),
    }
}

fn leads_back(mut folder: Option<&Arc<Folder>>, id: (u64, u64)) -> bool {
    while let Some(above) = folder {
        if above.id == Some(id) {
            return true;
        }
        folder = above.parent.as_ref();
    }
    false
}
