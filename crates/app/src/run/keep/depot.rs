//! Where checkpoints are set aside: a folder of the store, and how a file's bytes get there.
//!
//! A reflink costs nothing and is apart from the job's file. Where the file system has none, what is small is copied from the same read that
//! takes its digest; what is large gets a second name if that can be had, since copying it would cost the job's disk as much as saving
//! it did; else it is copied as well. A disk is never filled up.

use std::fs::{DirBuilder, File, OpenOptions, Permissions};
use std::io::{self, Write};
use std::os::fd::AsRawFd as _;
use std::os::unix::fs::{
    DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _, PermissionsExt as _,
};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use domain::kept::KeptWay;
use domain::{Digest, PathText};
use rustix::fs::{AtFlags, CWD, ioctl_ficlone, linkat};

/// Files up to this size are copied rather than given a second name: a second of a disk's time.
const COPIED_BYTES_MAX: u64 = 256 << 20;
/// One part in so many of a disk stays free.
const FREE_PART: u64 = 20;

/// The folder of one run's kept checkpoints.
#[derive(Debug)]
pub(in crate::run) struct Depot {
    folder: PathBuf,
    /// When the run began, microseconds since 1970.
    began_us: i64,
    next: AtomicU64,
}

/// A place in the depot for what one save wrote, with the bytes that it may take.
#[derive(Debug)]
pub(in crate::run) struct Spot {
    depot: Arc<Depot>,
    left: AtomicU64,
}

/// A file that is being set aside.
#[derive(Debug)]
pub(in crate::run) struct Keeping {
    place: PathBuf,
    way: KeptWay,
    copy: Option<File>,
    is_whole: bool,
    is_done: bool,
}

/// A file that was set aside.
#[derive(Debug)]
pub(in crate::run) struct Part {
    /// Its name below the path that was saved; empty where that is the file.
    pub(super) below: Vec<u8>,
    pub(super) place: PathBuf,
    pub(super) way: KeptWay,
    pub(super) digest: Digest,
    pub(super) bytes: u64,
    /// The state of the kept file when it was read.
    stamp: Option<Stamp>,
}

/// Inode, size and time of the last change of the content: a rename or a name less leaves them as they are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Stamp(u64, u64, i64, i64);

impl Stamp {
    fn of(path: &Path) -> Option<Self> {
        let facts = std::fs::symlink_metadata(path).ok()?;
        Some(Self(
            facts.ino(),
            facts.size(),
            facts.mtime(),
            facts.mtime_nsec(),
        ))
    }
}

impl Depot {
    pub(super) fn new(folder: PathBuf) -> Self {
        Self {
            folder,
            began_us: host::clock::wall_us(),
            next: AtomicU64::new(0),
        }
    }

    pub(super) fn began_us(&self) -> i64 {
        self.began_us
    }

    pub(super) fn folder(&self) -> &Path {
        &self.folder
    }

    /// A name that nothing has yet.
    fn place(&self) -> io::Result<PathBuf> {
        DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(&self.folder)?;
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        Ok(self.folder.join(format!("part-{number}")))
    }
}

impl Spot {
    pub(super) fn new(depot: &Arc<Depot>, bytes: u64) -> Self {
        Self {
            depot: Arc::clone(depot),
            left: AtomicU64::new(bytes),
        }
    }

    /// Begins to set a file aside; nothing where there is no room or no way.
    pub(in crate::run) fn begin(&self, file: &File, bytes: u64) -> Option<Keeping> {
        let fits = |left: u64| left.checked_sub(bytes);
        let taken = self
            .left
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, fits);
        taken.ok()?;
        let begun = self
            .depot
            .place()
            .and_then(|place| begin(place, file, bytes));
        if begun.is_err() {
            self.left.fetch_add(bytes, Ordering::Relaxed);
        }
        begun.ok()
    }
}

fn begin(place: PathBuf, file: &File, bytes: u64) -> io::Result<Keeping> {
    let mut options = OpenOptions::new();
    let copy = options
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(&place)?;
    let mut keeping = Keeping {
        place,
        way: KeptWay::Copy,
        copy: Some(copy),
        is_whole: true,
        is_done: false,
    };
    let copy = keeping.copy.as_ref();
    if copy.is_some_and(|copy| ioctl_ficlone(copy, file).is_ok()) {
        keeping.way = KeptWay::Reflink;
        keeping.copy = None;
        return Ok(keeping);
    }
    let fits = copy.is_some_and(|copy| has_room(copy, bytes));
    if fits && bytes <= COPIED_BYTES_MAX {
        return Ok(keeping);
    }
    let own = format!("/proc/self/fd/{}", file.as_raw_fd());
    std::fs::remove_file(&keeping.place)?;
    if linkat(
        CWD,
        own.as_str(),
        CWD,
        &keeping.place,
        AtFlags::SYMLINK_FOLLOW,
    )
    .is_ok()
    {
        keeping.way = KeptWay::HardLink;
        keeping.copy = None;
        return Ok(keeping);
    }
    if !fits {
        return Err(io::ErrorKind::StorageFull.into());
    }
    keeping.copy = Some(options.open(&keeping.place)?);
    Ok(keeping)
}

/// Whether so many bytes leave the disk some room.
fn has_room(on: &File, bytes: u64) -> bool {
    let Ok(disk) = rustix::fs::fstatvfs(on) else {
        return false;
    };
    let free = disk.f_bavail.saturating_mul(disk.f_frsize);
    let all = disk.f_blocks.saturating_mul(disk.f_frsize);
    free.saturating_sub(bytes) >= all / FREE_PART && free >= bytes
}

/// What is read is written to the copy, where one is made. A disk that refuses costs the copy and not the reading.
impl Write for Keeping {
    fn write(&mut self, piece: &[u8]) -> io::Result<usize> {
        if let Some(copy) = &mut self.copy
            && copy.write_all(piece).is_err()
        {
            self.copy = None;
            self.is_whole = false;
        }
        Ok(piece.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Keeping {
    /// The file was read to its end, and was this.
    pub(in crate::run) fn finish(mut self, below: Vec<u8>, digest: Digest) -> Option<Part> {
        if !self.is_whole {
            return None;
        }
        if self.way != KeptWay::HardLink {
            // Of a second name it would change the job's file.
            std::fs::set_permissions(&self.place, Permissions::from_mode(0o400)).ok()?;
        }
        self.is_done = true;
        let bytes = std::fs::symlink_metadata(&self.place).ok()?.size();
        Some(Part {
            below,
            stamp: Stamp::of(&self.place),
            place: std::mem::take(&mut self.place),
            way: self.way,
            digest,
            bytes,
        })
    }
}

impl Drop for Keeping {
    fn drop(&mut self) {
        if !self.is_done {
            let _ = std::fs::remove_file(&self.place); // what stays is swept with the run's folder
        }
    }
}

impl Part {
    /// Whether the kept file is as it was when it was read. Only of a second name can it be otherwise without the store being touched.
    pub(super) fn is_as_read(&self) -> bool {
        self.stamp.is_some() && Stamp::of(&self.place) == self.stamp
    }

    pub(super) fn path(&self, saved: &PathText) -> PathText {
        if self.below.is_empty() {
            return saved.clone();
        }
        let mut path = saved.to_bytes();
        path.push(b'/');
        path.extend_from_slice(&self.below);
        PathText::from_bytes(&path)
    }

    pub(in crate::run) fn remove(self) {
        let _ = std::fs::remove_file(&self.place); // what stays is swept with the run's folder
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn depot(root: &Path) -> Arc<Depot> {
        Arc::new(Depot::new(root.join("kept/run")))
    }

    fn set_aside(spot: &Spot, path: &Path) -> Option<Part> {
        let file = File::open(path).unwrap();
        let content = std::fs::read(path).unwrap();
        let mut keeping = spot.begin(&file, content.len() as u64)?;
        keeping.write_all(&content).unwrap();
        let mut hasher = domain::Hasher::new();
        hasher.update(&content);
        keeping.finish(Vec::new(), hasher.finish())
    }

    #[test]
    fn what_is_set_aside_outlives_the_jobs_file_and_what_is_written_into_it() {
        let root = tempfile::tempdir().unwrap();
        let path = root.path().join("a.pt");
        std::fs::write(&path, b"weights").unwrap();
        let part = set_aside(&Spot::new(&depot(root.path()), 100), &path).unwrap();
        assert_ne!(part.way, KeptWay::HardLink);
        std::fs::write(&path, b"others!").unwrap();
        std::fs::remove_file(&path).unwrap();
        assert_eq!(std::fs::read(&part.place).unwrap(), b"weights");
        assert!(part.is_as_read());
        part.remove();
        assert_eq!(
            std::fs::read_dir(root.path().join("kept/run"))
                .unwrap()
                .count(),
            0
        );
    }

    #[test]
    fn a_spot_takes_no_more_than_it_has() {
        let root = tempfile::tempdir().unwrap();
        let path = root.path().join("a.pt");
        std::fs::write(&path, b"weights").unwrap();
        let spot = Spot::new(&depot(root.path()), 10);
        assert!(set_aside(&spot, &path).is_some());
        assert!(set_aside(&spot, &path).is_none());
    }

    #[test]
    fn a_second_name_shows_that_the_job_wrote_into_the_file() {
        let root = tempfile::tempdir().unwrap();
        let path = root.path().join("large.pt");
        let large = File::create(&path).unwrap();
        large.set_len(COPIED_BYTES_MAX + 1).unwrap(); // no disk is used for it
        let spot = Spot::new(&depot(root.path()), 1 << 40);
        let keeping = spot.begin(&File::open(&path).unwrap(), COPIED_BYTES_MAX + 1);
        let part = keeping
            .unwrap()
            .finish(Vec::new(), Digest::of(b""))
            .unwrap();
        if part.way == KeptWay::Reflink {
            return; // this file system can do better
        }
        assert_eq!(part.way, KeptWay::HardLink);
        assert!(part.is_as_read());
        std::fs::OpenOptions::new()
            .append(true)
            .open(&path)
            .and_then(|mut file| file.write_all(b"x"))
            .unwrap();
        assert!(!part.is_as_read());
    }

    #[test]
    fn a_file_that_was_not_read_to_its_end_leaves_nothing() {
        let root = tempfile::tempdir().unwrap();
        let path = root.path().join("a.pt");
        std::fs::write(&path, b"weights").unwrap();
        let spot = Spot::new(&depot(root.path()), 100);
        drop(spot.begin(&File::open(&path).unwrap(), 7));
        assert_eq!(
            std::fs::read_dir(root.path().join("kept/run"))
                .unwrap()
                .count(),
            0
        );
    }
}
