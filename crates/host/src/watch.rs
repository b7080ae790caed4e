//! What happens to files, as the kernel tells it (inotify): which name in which folder was written to, made, taken away.
//!
//! It says that something happened, never who did it: the kernel does not tell that without privilege. Nor is it complete. A
//! write through a shared mapping, through another name of the file in another folder, below an overlay, or on another machine
//! that shares the file system gives no event: whoever relies on this looks at the files now and then as well
//! ([`tells_of_all_writes`] names file systems where that matters). Events that came faster than they were taken are lost, and
//! that they were is an event of its own.
//!
//! It opens no file and reads none, and it refuses to know what a change means.

use std::ffi::OsStr;
use std::io;
use std::mem::MaybeUninit;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use rustix::event::{EventfdFlags, PollFd, PollFlags, Timespec, eventfd, poll};
use rustix::fs::inotify::{self, CreateFlags, ReadFlags, WatchFlags};

use crate::sys;

/// How many watches a user may have on this machine, all programs together.
const LIMIT: &str = "/proc/sys/fs/inotify/max_user_watches";
/// Bytes of events taken at a time: some hundred.
const BUFFER: usize = 16 * 1024;

/// NFS, SMB, CIFS, Ceph, 9P, FUSE, Lustre, GPFS, BeeGFS, AFS, OCFS2, GFS2, OrangeFS: written to from elsewhere.
const SHARED: [u32; 14] = [
    0x6969,
    0x517B,
    0xFE53_4D42,
    0xFF53_4D42,
    0x00C3_6400,
    0x0102_1997,
    0x6573_5546,
    0x0BD0_0BD0,
    0x4750_4653,
    0x1983_0326,
    0x5346_414F,
    0x7461_636F,
    0x0116_1970,
    0x2003_0528,
];
/// overlayfs: a write to the folder below it gives no event above.
const OVERLAY: u32 = 0x794C_7630;

/// A place that is watched; the same for all names of one folder or file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Watched(i32);

/// What happened to one name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct What(ReadFlags);

impl What {
    /// Bytes were written, or the length was set.
    pub fn is_written(self) -> bool {
        self.0.intersects(ReadFlags::MODIFY)
    }

    /// Somebody who had it open for writing closed it; that bytes were written does not follow.
    pub fn is_closed(self) -> bool {
        self.0.intersects(ReadFlags::CLOSE_WRITE)
    }

    /// Mode, owner, times or the number of its names were set.
    pub fn has_other_attributes(self) -> bool {
        self.0.intersects(ReadFlags::ATTRIB)
    }

    /// It is new under this name: made here, or moved to here.
    pub fn has_come(self) -> bool {
        self.0.intersects(ReadFlags::CREATE | ReadFlags::MOVED_TO)
    }

    /// It was moved to here: its bytes were there before its name.
    pub fn was_moved_here(self) -> bool {
        self.0.intersects(ReadFlags::MOVED_TO)
    }

    /// It is no longer here under this name.
    pub fn has_gone(self) -> bool {
        self.0.intersects(ReadFlags::DELETE | ReadFlags::MOVED_FROM)
    }

    /// What is watched is itself gone, moved, or no longer mounted.
    pub fn is_of_the_place(self) -> bool {
        let of_place = ReadFlags::DELETE_SELF | ReadFlags::MOVE_SELF | ReadFlags::UNMOUNT;
        self.0.intersects(of_place)
    }

    /// The name is a folder's.
    pub fn is_folder(self) -> bool {
        self.0.intersects(ReadFlags::ISDIR)
    }

    /// The kernel watches the place no longer: there will be no further event from it.
    pub fn is_last(self) -> bool {
        self.0.intersects(ReadFlags::IGNORED)
    }
}

/// Something that the kernel told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Told<'a> {
    /// About a place that is watched, or about a name in it.
    Of {
        /// The place.
        place: Watched,
        /// The name, where the place is a folder and it is about something in it.
        name: Option<&'a OsStr>,
        /// What happened.
        what: What,
    },
    /// Events were lost: anything may have happened to anything.
    Lost,
}

/// Ends a wait from another thread. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Waker(Arc<OwnedFd>);

impl Waker {
    /// Whoever waits, now or next, goes on.
    pub fn wake(&self) {
        // A counter that is full wakes as well.
        let _ = rustix::io::write(&*self.0, &1_u64.to_ne_bytes());
    }
}

/// A set of watched places.
#[derive(Debug)]
pub struct Watcher {
    queue: OwnedFd,
    waker: Waker,
}

impl Watcher {
    /// Watches nothing yet.
    ///
    /// # Errors
    /// The user has as many of these as the machine allows, or the machine has none.
    pub fn new() -> io::Result<Self> {
        let queue = inotify::init(CreateFlags::CLOEXEC | CreateFlags::NONBLOCK)?;
        let waker = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?;
        Ok(Self {
            queue,
            waker: Waker(Arc::new(waker)),
        })
    }

    /// What ends [`Watcher::wait`].
    pub fn waker(&self) -> Waker {
        self.waker.clone()
    }

    /// Watches all names in a folder, but not below its folders. Links on the way are followed.
    ///
    /// # Errors
    /// `StorageFull` where the limit on watches is reached; else what opening the folder would say.
    pub fn watch_folder(&self, folder: &Path) -> io::Result<Watched> {
        let names =
            WatchFlags::CREATE | WatchFlags::DELETE | WatchFlags::MOVED_FROM | WatchFlags::MOVED_TO;
        let own = WatchFlags::DELETE_SELF | WatchFlags::MOVE_SELF | WatchFlags::ONLYDIR;
        // A file that is gone from here and still open elsewhere is no longer ours.
        self.add(folder, names | own | WatchFlags::EXCL_UNLINK)
    }

    /// Watches one file, whatever its name. Links are followed.
    ///
    /// # Errors
    /// As [`Watcher::watch_folder`].
    pub fn watch_file(&self, file: &Path) -> io::Result<Watched> {
        self.add(file, WatchFlags::DELETE_SELF | WatchFlags::MOVE_SELF)
    }

    fn add(&self, path: &Path, flags: WatchFlags) -> io::Result<Watched> {
        let always = WatchFlags::MODIFY | WatchFlags::CLOSE_WRITE | WatchFlags::ATTRIB;
        // Added, so that a place which is watched under another name keeps what it has.
        let flags = flags | always | WatchFlags::MASK_ADD;
        let place = inotify::add_watch(&self.queue, path, flags)?;
        Ok(Watched(place))
    }

    /// Watches a place no longer.
    pub fn forget(&self, place: Watched) {
        // It may be gone already.
        let _ = inotify::remove_watch(&self.queue, place.0);
    }

    /// Waits for an event, for [`Waker::wake`], or for this long.
    pub fn wait(&self, at_most: Duration) {
        let mut descriptors = [
            PollFd::new(&self.queue, PollFlags::IN),
            PollFd::new(&*self.waker.0, PollFlags::IN),
        ];
        let limit = Timespec {
            tv_sec: i64::try_from(at_most.as_secs()).unwrap_or(i64::MAX),
            tv_nsec: i64::from(at_most.subsec_nanos()),
        };
        // An interrupted wait is one that ended early.
        let _ = poll(&mut descriptors, Some(&limit));
        sys::drain(&*self.waker.0);
    }

    /// Hands out the events that there are, at most about `most`, and says how many.
    pub fn take(&self, most: usize, tell: &mut dyn FnMut(Told<'_>)) -> usize {
        let mut buffer = [MaybeUninit::uninit(); BUFFER];
        let mut reader = inotify::Reader::new(&self.queue, &mut buffer);
        let mut count = 0;
        // What was read of the queue and is not handed out would be lost.
        while count < most || !reader.is_buffer_empty() {
            // Nothing there is an error too, and the usual one.
            let Ok(event) = reader.next() else { break };
            count += 1;
            if event.events().intersects(ReadFlags::QUEUE_OVERFLOW) {
                tell(Told::Lost);
                continue;
            }
            tell(Told::Of {
                place: Watched(event.wd()),
                name: event
                    .file_name()
                    .map(|name| OsStr::from_bytes(name.to_bytes())),
                what: What(event.events()),
            });
        }
        count
    }
}

/// How many watches one user may have on this machine, all programs together; `None` where it does not say.
pub fn watches_of_a_user() -> Option<u64> {
    let (text, _) = crate::bounded::read(Path::new(LIMIT), 64).ok()?;
    std::str::from_utf8(&text).ok()?.trim().parse().ok()
}

/// Whether the kernel hears of all writes to files of a file system of this kind (`f_type` of `statfs`): not where other
/// machines or the folders below write past it.
pub fn tells_of_all_writes(kind: impl Into<i128>) -> bool {
    let kind = kind.into() & i128::from(u32::MAX);
    let is = |other: &u32| i128::from(*other) == kind;
    !SHARED.iter().chain([&OVERLAY]).any(is)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(watcher: &Watcher, until: impl Fn(&[(String, What)]) -> bool) -> Vec<(String, What)> {
        let mut seen = Vec::new();
        for _ in 0..100 {
            watcher.wait(Duration::from_millis(100));
            watcher.take(1000, &mut |told| {
                if let Told::Of { name, what, .. } = told {
                    let name = name.unwrap_or_default().to_string_lossy().into_owned();
                    seen.push((name, what));
                }
            });
            if until(&seen) {
                return seen;
            }
        }
        panic!("it was not told: {seen:?}");
    }

    #[test]
    fn each_thing_that_can_happen_to_a_name_is_told_apart() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        std::fs::write(at("a"), "1").unwrap();
        std::fs::write(at("b"), "1").unwrap();
        let watcher = Watcher::new().unwrap();
        watcher.watch_folder(folder.path()).unwrap();
        std::fs::write(at("a"), "2").unwrap();
        std::fs::rename(at("a"), at("c")).unwrap();
        std::fs::remove_file(at("b")).unwrap();
        std::fs::create_dir(at("d")).unwrap();
        let is = |name: &str, what: fn(What) -> bool| {
            let name = name.to_owned();
            move |one: &(String, What)| one.0 == name && what(one.1)
        };
        let seen = told(&watcher, |seen| seen.iter().any(is("d", What::has_come)));
        for (name, what) in [
            ("a", What::is_written as fn(What) -> bool),
            ("a", What::is_closed),
            ("a", What::has_gone),
            ("c", What::was_moved_here),
            ("b", What::has_gone),
            ("d", What::is_folder),
        ] {
            assert!(seen.iter().any(is(name, what)), "{name}: {seen:?}");
        }
        assert!(!seen.iter().any(is("b", What::is_written)), "{seen:?}");
    }

    #[test]
    fn a_file_by_itself_is_heard_of_when_another_takes_its_name() {
        let folder = tempfile::tempdir().unwrap();
        let (file, other) = (folder.path().join("a"), folder.path().join("b"));
        std::fs::write(&file, "1").unwrap();
        std::fs::write(&other, "2").unwrap();
        let watcher = Watcher::new().unwrap();
        watcher.watch_file(&file).unwrap();
        std::fs::rename(&other, &file).unwrap();
        let seen = told(&watcher, |seen| seen.iter().any(|one| one.1.is_last()));
        assert!(seen.iter().any(|one| one.1.has_other_attributes()));
    }

    #[test]
    fn a_folder_that_is_not_there_and_a_file_in_its_place_are_errors() {
        let folder = tempfile::tempdir().unwrap();
        let watcher = Watcher::new().unwrap();
        assert!(watcher.watch_folder(&folder.path().join("none")).is_err());
        let file = folder.path().join("file");
        std::fs::write(&file, "").unwrap();
        assert!(watcher.watch_folder(&file).is_err());
    }

    #[test]
    fn another_thread_ends_a_wait() {
        let watcher = Watcher::new().unwrap();
        let waker = watcher.waker();
        let thread = std::thread::spawn(move || waker.wake());
        watcher.wait(Duration::from_hours(1));
        thread.join().unwrap();
    }

    #[test]
    fn shared_file_systems_are_known_also_where_the_number_is_signed() {
        assert!(tells_of_all_writes(0xEF53_i64));
        assert!(!tells_of_all_writes(0x6969_i64));
        assert!(!tells_of_all_writes(i64::from(
            0xFF53_4D42_u32.cast_signed()
        )));
        assert!(!tells_of_all_writes(0x794C_7630_u64));
    }
}
