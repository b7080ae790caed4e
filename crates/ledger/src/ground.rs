//! What a store stands on: whether the file system can hold what the ledger promises, asked before anything is written.
//!
//! Two looks. First what kind it is, because some break a promise in a way that no trial on one machine shows: a lock that
//! holds on this host alone, a rename that a server does in two steps. Then a trial of what is needed, in the folder itself:
//! a name taken once, a lock that excludes, a rename that replaces, a folder that can be synced. What cannot be tried (the
//! disk is full, or read-only) is not held against it: whoever writes will be told. Room for entries is made by writing it,
//! so no preallocation is asked for.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{self, ErrorKind};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use crate::durable;
use crate::store::TEMPORARY;

/// The most bytes of the list of mounts that are looked at.
const MOUNTS_BYTES_MAX: u64 = 4 << 20;

/// What the system says of the file system that a folder is on.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Facts {
    /// `f_type` of statfs(2).
    pub(crate) magic: u64,
    /// Its type as the list of mounts calls it; empty where that cannot be read.
    pub(crate) name: String,
    /// The options of the mount and of the file system.
    pub(crate) options: Vec<String>,
}

/// How good the ground is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ground {
    /// Nothing speaks against it.
    Firm,
    /// In memory: what is on it is gone when the machine stops.
    Volatile,
}

/// Why a file system cannot hold a ledger.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Unfit {
    /// A network share of a kind whose locks, renames or syncs do not mean what a ledger needs.
    #[error("{0} does not keep locks, renames and syncs as a ledger needs them")]
    Kind(&'static str),
    /// NFS whose locks hold on this host alone.
    #[error("NFS is mounted so that locks hold on this host alone (nolock or local_lock)")]
    LocalLocks,
    /// No locks.
    #[error("files cannot be locked there")]
    NoLocks,
    /// Two had the lock at once.
    #[error("a lock there does not exclude a second one")]
    LocksDoNotExclude,
    /// A rename that does not replace.
    #[error("a rename there does not replace a file")]
    RenameDoesNotReplace,
    /// A name that was taken twice.
    #[error("a file that is there can be made once more")]
    NameTakenTwice,
    /// A folder that cannot be synced.
    #[error("a folder cannot be synced there")]
    FolderNotSynced,
}

/// What is tried, and what it showed. A port, so that every answer can be tested without such a file system.
pub(crate) trait Trial {
    /// Makes a file that must not be there.
    fn create_new(&self, name: &str) -> io::Result<File>;
    /// Takes the lock of an open file, without waiting.
    fn lock(&self, file: &File) -> Result<(), TryLockError>;
    /// Opens a file once more.
    fn reopen(&self, name: &str) -> io::Result<File>;
    /// Renames over another.
    fn rename(&self, from: &str, to: &str) -> io::Result<()>;
    /// Inode of what has this name.
    fn inode(&self, name: &str) -> io::Result<u64>;
    /// Syncs the folder.
    fn sync_folder(&self) -> io::Result<()>;
    /// Removes a file.
    fn remove(&self, name: &str);
}

/// Looks at where a store is or will be; `path` need not exist.
pub(crate) fn look(path: &Path) -> Result<Ground, Unfit> {
    let existing = path.ancestors().find(|folder| folder.is_dir());
    // What cannot be asked is not known to be bad.
    let facts = existing.and_then(|folder| facts(folder).ok());
    judge(&facts.unwrap_or_default())
}

/// Tries what is needed in a folder that exists.
pub(crate) fn try_out(folder: &Path) -> Result<(), Unfit> {
    attempt(&InFolder(folder.to_owned()))
}

/// What is known of the kind.
pub(crate) fn judge(facts: &Facts) -> Result<Ground, Unfit> {
    let has = |option: &str| facts.options.iter().any(|it| it == option);
    match facts.magic {
        0x517b | 0xff53_4d42 | 0xfe53_4d42 => Err(Unfit::Kind("SMB")),
        0x0102_1997 => Err(Unfit::Kind("9p")),
        0x564c => Err(Unfit::Kind("NCP")),
        0x7375_7245 => Err(Unfit::Kind("Coda")),
        0x5346_414f | 0x6b41_4653 => Err(Unfit::Kind("AFS")),
        0x6969 if has("nolock") || has("local_lock=all") || has("local_lock=flock") => {
            Err(Unfit::LocalLocks)
        }
        0x6573_5546 => judge_fuse(&facts.name),
        0x0102_1994 | 0x8584_58f6 => Ok(Ground::Volatile),
        _ => Ok(Ground::Firm),
    }
}

/// Most of what is behind FUSE is local, and the trial tells. These put a rename or a lock together from what a server
/// offers, and only a second host would see it.
fn judge_fuse(name: &str) -> Result<Ground, Unfit> {
    match name.strip_prefix("fuse.").unwrap_or(name) {
        "sshfs" => Err(Unfit::Kind("sshfs")),
        "s3fs" | "mount-s3" | "goofys" | "gcsfuse" | "rclone" | "blobfuse" | "blobfuse2" => {
            Err(Unfit::Kind("a file system on an object store"))
        }
        _ => Ok(Ground::Firm),
    }
}

/// The trial itself.
pub(crate) fn attempt(trial: &dyn Trial) -> Result<(), Unfit> {
    let Ok(random) = durable::random_name() else {
        return Ok(());
    };
    let first = format!("{TEMPORARY}{random}-try");
    let second = format!("{TEMPORARY}{random}-try2");
    let result = attempt_with(trial, &first, &second);
    trial.remove(&first);
    trial.remove(&second);
    match result {
        Err(Tried::Unfit(unfit)) => Err(unfit),
        Ok(()) | Err(Tried::Hindered) => Ok(()),
    }
}

/// How a trial went wrong.
enum Tried {
    Unfit(Unfit),
    /// By something that says nothing of the file system.
    Hindered,
}

/// An error is the file system's own where it says that there is no such thing.
fn told(error: &io::Error, unfit: Unfit) -> Tried {
    use rustix::io::Errno;
    let is_refusal = matches!(
        error.kind(),
        ErrorKind::Unsupported | ErrorKind::InvalidInput
    ) || error.raw_os_error() == Some(Errno::NOLCK.raw_os_error())
        || error.raw_os_error() == Some(Errno::NOSYS.raw_os_error());
    if is_refusal {
        Tried::Unfit(unfit)
    } else {
        Tried::Hindered
    }
}

fn attempt_with(trial: &dyn Trial, first: &str, second: &str) -> Result<(), Tried> {
    let file = trial.create_new(first).map_err(|_| Tried::Hindered)?;
    match trial.create_new(first) {
        Ok(_) => return Err(Tried::Unfit(Unfit::NameTakenTwice)),
        Err(error) if error.kind() == ErrorKind::AlreadyExists => {}
        Err(_) => return Err(Tried::Hindered),
    }
    match trial.lock(&file) {
        Ok(()) => {}
        Err(TryLockError::Error(error)) => return Err(told(&error, Unfit::NoLocks)),
        Err(TryLockError::WouldBlock) => return Err(Tried::Hindered),
    }
    let again = trial.reopen(first).map_err(|_| Tried::Hindered)?;
    if trial.lock(&again).is_ok() {
        return Err(Tried::Unfit(Unfit::LocksDoNotExclude));
    }
    drop(trial.create_new(second).map_err(|_| Tried::Hindered)?);
    let renamed = trial.inode(second).map_err(|_| Tried::Hindered)?;
    match trial.rename(second, first) {
        Err(error) if error.kind() == ErrorKind::AlreadyExists => {
            return Err(Tried::Unfit(Unfit::RenameDoesNotReplace));
        }
        other => other.map_err(|error| told(&error, Unfit::RenameDoesNotReplace))?,
    }
    if trial.inode(first).ok() != Some(renamed) {
        return Err(Tried::Unfit(Unfit::RenameDoesNotReplace));
    }
    trial
        .sync_folder()
        .map_err(|error| told(&error, Unfit::FolderNotSynced))
}

/// The trial in a real folder.
struct InFolder(PathBuf);

impl Trial for InFolder {
    fn create_new(&self, name: &str) -> io::Result<File> {
        let mut options = OpenOptions::new();
        options.read(true).write(true).create_new(true);
        options.open(self.0.join(name))
    }

    fn lock(&self, file: &File) -> Result<(), TryLockError> {
        file.try_lock()
    }

    fn reopen(&self, name: &str) -> io::Result<File> {
        let mut options = OpenOptions::new();
        options.read(true).write(true).open(self.0.join(name))
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        std::fs::rename(self.0.join(from), self.0.join(to))
    }

    fn inode(&self, name: &str) -> io::Result<u64> {
        Ok(std::fs::symlink_metadata(self.0.join(name))?.ino())
    }

    fn sync_folder(&self) -> io::Result<()> {
        File::open(&self.0)?.sync_all()
    }

    fn remove(&self, name: &str) {
        // Left behind, it is one of the hidden files that nothing refers to.
        let _ = std::fs::remove_file(self.0.join(name));
    }
}

fn facts(folder: &Path) -> io::Result<Facts> {
    let magic = rustix::fs::statfs(folder)?.f_type;
    let device = std::fs::metadata(folder)?.dev();
    let mounts = durable::read_regular(Path::new("/proc/self/mountinfo"), MOUNTS_BYTES_MAX);
    let mounts = mounts.ok().flatten().unwrap_or_default();
    let (name, options) = mount_of(&String::from_utf8_lossy(&mounts), device);
    Ok(Facts {
        // The kernel's constants have 32 bits; their sign is an accident of the type.
        magic: u64::from(u32::try_from(magic & 0xffff_ffff).unwrap_or_default()),
        name,
        options,
    })
}

/// Type and options of the last mount of a device in the text of proc_pid_mountinfo(5).
fn mount_of(mounts: &str, device: u64) -> (String, Vec<String>) {
    let number = format!(
        "{}:{}",
        rustix::fs::major(device),
        rustix::fs::minor(device)
    );
    let line = mounts.lines().rev().find(|line| {
        let mut fields = line.split(' ');
        fields.nth(2) == Some(&number)
    });
    let line = line.unwrap_or_default();
    let (before, behind) = line.split_once(" - ").unwrap_or((line, ""));
    let mut fields = behind.split(' ');
    let name = fields.next().unwrap_or_default().to_owned();
    let of_mount = before.split(' ').nth(5).unwrap_or_default();
    let of_system = fields.nth(1).unwrap_or_default();
    let all = of_mount.split(',').chain(of_system.split(','));
    (name, all.map(str::to_owned).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn facts_of(magic: u64, name: &str, options: &str) -> Facts {
        Facts {
            magic,
            name: name.to_owned(),
            options: options.split(',').map(str::to_owned).collect(),
        }
    }

    #[test]
    fn shares_that_cannot_hold_the_promises_are_refused_and_disks_are_not() {
        let refused = [
            (0x517b, "smbfs", ""),
            (0xff53_4d42, "cifs", "rw"),
            (0xfe53_4d42, "smb3", ""),
            (0x0102_1997, "9p", ""),
            (0x6969, "nfs", "rw,vers=3,nolock"),
            (0x6969, "nfs", "vers=3,local_lock=all"),
            (0x6969, "nfs4", "local_lock=flock"),
            (0x6573_5546, "fuse.sshfs", ""),
            (0x6573_5546, "fuse.mount-s3", ""),
        ];
        for (magic, name, options) in refused {
            assert!(judge(&facts_of(magic, name, options)).is_err(), "{name}");
        }
        let firm = [
            (0xef53, "ext4", "rw"),
            (0x5846_5342, "xfs", ""),
            (0x9123_683e, "btrfs", ""),
            (0x2fc1_2fc1, "zfs", ""),
            (0x794c_7630, "overlay", "upperdir=/u"),
            (0x6969, "nfs4", "vers=4.2,local_lock=none"),
            (0x6969, "nfs", "vers=3,local_lock=none"),
            (0x6573_5546, "fuse.bindfs", ""),
            (0x1234, "of the future", ""),
        ];
        for (magic, name, options) in firm {
            let judged = judge(&facts_of(magic, name, options));
            assert_eq!(judged, Ok(Ground::Firm), "{name}");
        }
        let memory = judge(&facts_of(0x0102_1994, "tmpfs", "rw"));
        assert_eq!(memory, Ok(Ground::Volatile));
    }

    #[test]
    fn a_mount_is_found_by_its_device_and_the_last_one_counts() {
        let mounts = "22 1 0:20 / / rw,relatime - ext4 /dev/a rw\n\
            36 35 0:50 / /mnt rw,noatime master:1 - nfs host:/x rw,vers=3,nolock\n\
            37 36 0:50 /y /mnt/z ro - nfs host:/x rw,vers=3\nnonsense\n\n";
        let (name, options) = mount_of(mounts, rustix::fs::makedev(0, 50));
        assert_eq!(
            (name.as_str(), options),
            ("nfs", vec!["ro".into(), "rw".into(), "vers=3".into()])
        );
        assert_eq!(mount_of(mounts, rustix::fs::makedev(9, 9)).0, "");
        assert_eq!(mount_of("", 0).0, "");
    }

    /// A real folder with one thing that does not work.
    struct Broken {
        folder: InFolder,
        what: &'static str,
        error: i32,
    }

    impl Broken {
        fn fails(&self, what: &str) -> io::Result<()> {
            if what == self.what && self.error != 0 {
                return Err(io::Error::from_raw_os_error(self.error));
            }
            Ok(())
        }

        fn lies(&self, what: &str) -> bool {
            what == self.what && self.error == 0
        }
    }

    impl Trial for Broken {
        fn create_new(&self, name: &str) -> io::Result<File> {
            self.fails("create")?;
            if self.lies("create") {
                self.folder.remove(name);
            }
            self.folder.create_new(name)
        }

        fn lock(&self, file: &File) -> Result<(), TryLockError> {
            self.fails("lock").map_err(TryLockError::Error)?;
            if self.lies("lock") {
                return Ok(());
            }
            self.folder.lock(file)
        }

        fn reopen(&self, name: &str) -> io::Result<File> {
            self.folder.reopen(name)
        }

        fn rename(&self, from: &str, to: &str) -> io::Result<()> {
            self.fails("rename")?;
            if self.lies("rename") {
                return Ok(());
            }
            self.folder.rename(from, to)
        }

        fn inode(&self, name: &str) -> io::Result<u64> {
            self.folder.inode(name)
        }

        fn sync_folder(&self) -> io::Result<()> {
            self.fails("sync")?;
            self.folder.sync_folder()
        }

        fn remove(&self, name: &str) {
            self.folder.remove(name);
        }
    }

    #[test]
    fn whatever_does_not_do_what_it_says_is_found_by_trying_and_nothing_is_left_behind() {
        let (nolck, inval, nospc, rofs) = (37, 22, 28, 30);
        let cases = [
            ("nothing", 0, Ok(())),
            ("create", 0, Err(Unfit::NameTakenTwice)),
            ("lock", 0, Err(Unfit::LocksDoNotExclude)),
            ("lock", nolck, Err(Unfit::NoLocks)),
            ("rename", 0, Err(Unfit::RenameDoesNotReplace)),
            ("rename", 17, Err(Unfit::RenameDoesNotReplace)),
            ("sync", inval, Err(Unfit::FolderNotSynced)),
            // These say nothing of what the file system can do.
            ("create", nospc, Ok(())),
            ("create", rofs, Ok(())),
            ("sync", 5, Ok(())),
        ];
        for (what, error, expected) in cases {
            let folder = tempfile::tempdir().unwrap();
            let trial = Broken {
                folder: InFolder(folder.path().to_owned()),
                what,
                error,
            };
            assert_eq!(attempt(&trial), expected, "{what} {error}");
            assert_eq!(
                std::fs::read_dir(folder.path()).unwrap().count(),
                0,
                "{what}"
            );
        }
    }

    #[test]
    fn the_folder_that_these_tests_run_in_holds_a_ledger() {
        let folder = tempfile::tempdir().unwrap();
        assert!(look(&folder.path().join("not/yet/there")).is_ok());
        assert_eq!(try_out(folder.path()), Ok(()));
    }
}
