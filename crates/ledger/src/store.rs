//! The directory that holds everything: found, made, opened, and told apart from whatever else could stand there.
//!
//! The `version` file is the door: a directory without it is not a store, and is never made into one unless it is empty, so
//! that a mistyped path does not scatter files over somebody's home. The store's id is 24 random hexadecimal digits and 8
//! that check them, so that a changed id is seen in the file itself.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use domain::Digest;

use crate::disk::{Disk, Kernel, Slower};
use crate::durable::{self, Fault};
use crate::ground::{self, Ground, Unfit};
use crate::log::Log;

/// The folder that [`Store::find_upward`] looks for.
const FOLDER: &str = ".taintline";

/// First line of `version`, up to the number.
const TITLE: &str = "taintline store ";

/// The version that is written here. In it a log has a write-ahead file.
const VERSION: u64 = 2;

/// The earlier version that is read here: its logs have none. Whoever writes makes it [`VERSION`], and leaves the logs that
/// it finds to the processes of an older Taintline that may still append to them.
const EARLIER: u64 = 1;

/// The most bytes a `version` file may have.
const MAX_VERSION_BYTES: u64 = 4096;

/// Temporary files and folders begin so, everywhere in a store.
pub(crate) const TEMPORARY: &str = ".new-";

/// Why a store cannot be opened or made.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The disk refused: see which [`Fault`].
    #[error(transparent)]
    Disk(#[from] Fault),
    /// No store stands there, and the directory is not empty.
    #[error("{}: not a taintline store", path.display())]
    NotAStore {
        /// The directory.
        path: PathBuf,
    },
    /// A later version of Taintline made it.
    #[error("{}: this store has version {version}, and only version {VERSION} is known here; use a newer taintline", path.display())]
    Newer {
        /// The directory.
        path: PathBuf,
        /// The version it says.
        version: u64,
    },
    /// It stands on a file system that cannot hold what a ledger promises. Nothing was written.
    #[error("{}: no ledger can be kept there: {why}", path.display())]
    Ground {
        /// The directory.
        path: PathBuf,
        /// Why not.
        why: Unfit,
    },
    /// Its `version` file says neither this version nor a later one, or its id is damaged.
    #[error("{}: the file is damaged", path.display())]
    Damaged {
        /// The `version` file.
        path: PathBuf,
    },
}

/// An opened store: its place and its id. Cheap to clone; holds nothing open.
#[derive(Debug, Clone)]
pub struct Store {
    root: PathBuf,
    id: String,
    disk: Arc<dyn Disk>,
    is_volatile: bool,
}

impl Store {
    /// Opens the store at `path`, or makes one where nothing or an empty directory is. Two processes that do it at once
    /// get the same store. A store of the earlier version becomes one of this version. Where the file system cannot hold
    /// what a ledger promises, nothing is written.
    pub fn open_or_create(path: &Path) -> Result<Self, StoreError> {
        let path = &std::path::absolute(path).map_err(|error| Fault::at(path, error))?;
        let unfit = |why| StoreError::Ground {
            path: path.to_owned(),
            why,
        };
        let ground = ground::look(path).map_err(unfit)?;
        if path.is_dir() {
            ground::try_out(path).map_err(unfit)?;
            return Self::open_or_create_on(Arc::new(Kernel), path);
        }
        durable::make_directories(&Kernel, path)?;
        if let Err(why) = ground::try_out(path) {
            let _ = std::fs::remove_dir(path); // ours, and empty
            return Err(unfit(why));
        }
        let mut store = Self::open_or_create_on(Arc::new(Kernel), path)?;
        store.is_volatile = ground == Ground::Volatile;
        Ok(store)
    }

    /// The same, on a disk whose every sync takes `delay` longer: for measurements of disks that are not at hand.
    pub fn open_or_create_slower(path: &Path, delay: Duration) -> Result<Self, StoreError> {
        let mut store = Self::open_or_create(path)?;
        if !delay.is_zero() {
            store.disk = Arc::new(Slower(delay));
        }
        Ok(store)
    }

    pub(crate) fn open_or_create_on(disk: Arc<dyn Disk>, path: &Path) -> Result<Self, StoreError> {
        let root = std::path::absolute(path).map_err(|error| Fault::at(path, error))?;
        durable::make_directories(&*disk, &root)?;
        if durable::read_regular(&root.join("version"), MAX_VERSION_BYTES)?.is_none() {
            make(&*disk, &root)?;
        }
        let (store, version) = Self::open_on(disk, &root)?;
        if version == EARLIER {
            // Dying before the rename leaves the earlier version and a temporary file.
            let temporary = write_version(store.disk(), &root, &store.id)?;
            durable::rename(store.disk(), &temporary, &root.join("version"))?;
            store.disk().sync_directory(&root)?;
        }
        // Dying in between leaves a store without one of these; the next writer makes it.
        for folder in [store.ledger(), store.blobs()] {
            store.disk().make_directory(&folder)?;
        }
        // Always: whoever made the store may have died before it was durable, and what is written now relies on it.
        store.disk().sync_directory(&root)?;
        // The one above may be somebody else's, and closed to us.
        let _ = store.disk().sync_directory(durable::parent(&root));
        Ok(store)
    }

    /// Opens the store at `path`, which must exist. Nothing is written.
    pub fn open(path: &Path) -> Result<Self, StoreError> {
        Self::open_on(Arc::new(Kernel), path).map(|(store, _)| store)
    }

    fn open_on(disk: Arc<dyn Disk>, path: &Path) -> Result<(Self, u64), StoreError> {
        let root = std::path::absolute(path).map_err(|error| Fault::at(path, error))?;
        let version = root.join("version");
        let bytes = durable::read_regular(&version, MAX_VERSION_BYTES)?
            .ok_or_else(|| StoreError::NotAStore { path: root.clone() })?;
        match parse_version(&bytes) {
            Ok((version, id)) => {
                let id = id.to_owned();
                let store = Self {
                    root,
                    id,
                    disk,
                    is_volatile: false,
                };
                Ok((store, version))
            }
            Err(Some(later)) => Err(StoreError::Newer {
                path: root,
                version: later,
            }),
            Err(None) => Err(StoreError::Damaged { path: version }),
        }
    }

    /// The store that serves `start`: the `.taintline` in it or in the nearest directory above.
    pub fn find_upward(start: &Path) -> Option<PathBuf> {
        let start = std::path::absolute(start).ok()?;
        start
            .ancestors()
            .map(|folder| folder.join(FOLDER))
            .find(|store| store.join("version").is_file())
    }

    /// Its directory, absolute.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// It was just made, on a file system in memory: what is in it is gone when the machine stops.
    pub fn is_new_and_volatile(&self) -> bool {
        self.is_volatile
    }

    /// Its id: 32 hexadecimal digits in the groups of a UUID.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// All logs, sorted by name. A log is read when it is asked, so that a damaged one does not hide the others.
    pub fn logs(&self) -> Result<Vec<Log>, StoreError> {
        let ledger = self.ledger();
        let folders = match std::fs::read_dir(&ledger) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
            other => other.map_err(|error| Fault::at(&ledger, error))?,
        };
        let mut logs = Vec::new();
        for folder in folders {
            let folder = folder.map_err(|error| Fault::at(&ledger, error))?;
            let is_folder = folder.file_type().is_ok_and(|kind| kind.is_dir());
            if let Some(name) = folder
                .file_name()
                .to_str()
                .filter(|name| is_folder && is_log_name(name))
            {
                logs.push(self.log(name));
            }
        }
        logs.sort_by(|left, right| left.name().cmp(right.name()));
        Ok(logs)
    }

    /// The log of this name, whether there is one or not.
    pub(crate) fn log(&self, name: &str) -> Log {
        Log::new(self.ledger().join(name), name.to_owned(), self.origin(name))
    }

    /// First line of the tree heads of log `name`, and the name of its key.
    pub(crate) fn origin(&self, name: &str) -> String {
        format!("taintline/{}/{name}", self.id)
    }

    pub(crate) fn disk(&self) -> &dyn Disk {
        &*self.disk
    }

    pub(crate) fn shared_disk(&self) -> Arc<dyn Disk> {
        Arc::clone(&self.disk)
    }

    pub(crate) fn ledger(&self) -> PathBuf {
        self.root.join("ledger")
    }

    pub(crate) fn blobs(&self) -> PathBuf {
        self.root.join("blobs")
    }
}

/// Whether a folder below `ledger/` is named like a log: what [`folder_name`] gives, and `~` with a number.
pub(crate) fn is_log_name(name: &str) -> bool {
    let safe = |byte: u8| byte.is_ascii_alphanumeric() || b"._@-~".contains(&byte);
    !name.is_empty() && name.len() <= 200 && !name.starts_with('.') && name.bytes().all(safe)
}

/// A folder name for an identity such as `alice@host`. An identity that is no safe name as it stands gets a few digits of
/// its digest, so that two identities never share a log.
pub(crate) fn folder_name(identity: &str) -> String {
    let safe = |character: char| character.is_ascii_alphanumeric() || "._@-".contains(character);
    let name: String = identity
        .chars()
        .take(100)
        .map(|c| if safe(c) { c } else { '_' })
        .collect();
    if name == identity && is_log_name(&name) {
        return name;
    }
    format!(
        "{}-{}",
        name.trim_start_matches('.'),
        Digest::of(identity.as_bytes()).short()
    )
    .trim_start_matches('-')
    .to_owned()
}

/// Version and id in the bytes of a `version` file; otherwise the later version that it says, or nothing.
pub(crate) fn parse_version(bytes: &[u8]) -> Result<(u64, &str), Option<u64>> {
    let text = std::str::from_utf8(bytes).map_err(|_| None)?;
    let (first, rest) = text.split_once('\n').ok_or(None)?;
    let number = first.strip_prefix(TITLE).ok_or(None)?;
    let version = number
        .parse()
        .ok()
        .filter(|version: &u64| *version >= EARLIER && version.to_string() == number)
        .ok_or(None)?;
    if version > VERSION {
        return Err(Some(version));
    }
    rest.strip_suffix('\n')
        .filter(|id| is_store_id(id))
        .map(|id| (version, id))
        .ok_or(None)
}

fn make(disk: &dyn Disk, root: &Path) -> Result<(), StoreError> {
    let version = root.join("version");
    if !is_vacant(root)? {
        // Another process may have finished it since we looked.
        let made = durable::read_regular(&version, MAX_VERSION_BYTES)?.is_some();
        return if made {
            Ok(())
        } else {
            Err(StoreError::NotAStore {
                path: root.to_owned(),
            })
        };
    }
    let id = new_store_id().map_err(|error| Fault::at(root, error))?;
    let temporary = write_version(disk, root, &id)?;
    // Dying here leaves a directory with one temporary file, which still counts as empty.
    durable::publish_once(disk, &temporary, &version)?;
    // From here on it is a store, also after a power cut.
    disk.sync_directory(durable::parent(root))?;
    Ok(())
}

/// Writes what `version` is to hold, under a temporary name, and syncs it.
fn write_version(disk: &dyn Disk, root: &Path, id: &str) -> Result<PathBuf, Fault> {
    let random = durable::random_name().map_err(|error| Fault::at(root, error))?;
    let temporary = root.join(format!("{TEMPORARY}{random}"));
    let text = format!("{TITLE}{VERSION}\n{id}\n");
    disk.sync(&disk.create(&temporary, text.as_bytes())?)?;
    Ok(temporary)
}

/// Whether nothing stands in the directory but what an interrupted [`make`] left.
fn is_vacant(root: &Path) -> Result<bool, Fault> {
    for item in std::fs::read_dir(root).map_err(|error| Fault::at(root, error))? {
        let item = item.map_err(|error| Fault::at(root, error))?;
        if !item
            .file_name()
            .as_encoded_bytes()
            .starts_with(TEMPORARY.as_bytes())
        {
            return Ok(false);
        }
    }
    Ok(true)
}

fn new_store_id() -> std::io::Result<String> {
    let random = format!("{}{}", durable::random_name()?, durable::random_name()?);
    let digits: String = random.chars().take(24).collect();
    Ok(with_check(&digits))
}

fn is_store_id(id: &str) -> bool {
    let digits: String = id
        .chars()
        .filter(|character| *character != '-')
        .take(24)
        .collect();
    digits.len() == 24
        && digits.bytes().all(|byte| byte.is_ascii_hexdigit())
        && with_check(&digits) == id
}

/// 24 digits with 8 of their digest behind, in the groups of a UUID.
fn with_check(digits: &str) -> String {
    let check = Digest::of(digits.as_bytes()).to_string();
    let mut id = String::with_capacity(36);
    for (at, digit) in digits.chars().chain(check.chars().take(8)).enumerate() {
        if matches!(at, 8 | 12 | 16 | 20) {
            id.push('-');
        }
        id.push(digit);
    }
    id
}

/// Where the private key of a log lies.
pub(crate) fn key_path(keys: &Path, store: &Store, log: &str) -> PathBuf {
    keys.join(format!("{}.{log}.key", store.id))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_store_is_made_once_and_found_from_below() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("project/.taintline");
        let made = Store::open_or_create(&path).unwrap();
        let again = Store::open_or_create(&path).unwrap();
        assert_eq!((made.id(), made.root()), (again.id(), again.root()));
        let below = folder.path().join("project/a/b");
        std::fs::create_dir_all(&below).unwrap();
        assert_eq!(Store::find_upward(&below).as_deref(), Some(made.root()));
        assert_eq!(Store::find_upward(folder.path()), None);
        assert_eq!(Store::open(&path).unwrap().id(), made.id());
    }

    #[test]
    fn a_full_directory_is_not_made_into_a_store_and_stays_untouched() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("thesis.tex"), "").unwrap();
        assert!(matches!(
            Store::open_or_create(folder.path()),
            Err(StoreError::NotAStore { .. })
        ));
        assert!(matches!(
            Store::open(folder.path()),
            Err(StoreError::NotAStore { .. })
        ));
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
    }

    #[test]
    fn what_an_interrupted_start_left_does_not_stand_in_the_way() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join(".new-0123"), "taintline st").unwrap();
        let store = Store::open_or_create(folder.path()).unwrap();
        std::fs::remove_dir(store.blobs()).unwrap();
        Store::open_or_create(folder.path()).unwrap();
        assert!(store.blobs().is_dir());
    }

    #[test]
    fn newer_damaged_and_unreadable_stores_are_told_apart() {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open_or_create(&folder.path().join("s")).unwrap();
        let version = store.root().join("version");
        let whole = std::fs::read(&version).unwrap();
        std::fs::write(&version, "taintline store 12\nwhatever\n").unwrap();
        assert!(matches!(
            Store::open(store.root()),
            Err(StoreError::Newer { version: 12, .. })
        ));
        for at in 0..whole.len() {
            let mut changed = whole.clone();
            changed[at] ^= 1;
            std::fs::write(&version, &changed).unwrap();
            assert!(Store::open(store.root()).is_err(), "byte {at}");
        }
        std::fs::remove_file(&version).unwrap();
        std::fs::create_dir(&version).unwrap();
        assert!(matches!(
            Store::open(store.root()),
            Err(StoreError::Disk(Fault::Odd { .. }))
        ));
    }

    #[test]
    fn threads_that_make_a_store_at_once_get_the_same() {
        for _ in 0..20 {
            let folder = tempfile::tempdir().unwrap();
            let path = folder.path().join("s");
            let ids: Vec<String> = std::thread::scope(|scope| {
                let make = || Store::open_or_create(&path).unwrap().id().to_owned();
                let threads: Vec<_> = (0..4).map(|_| scope.spawn(make)).collect();
                threads
                    .into_iter()
                    .map(|thread| thread.join().unwrap())
                    .collect()
            });
            assert!(ids.iter().all(|id| *id == ids[0]));
        }
    }

    #[test]
    fn folder_names_are_safe_and_two_identities_never_share_one() {
        assert_eq!(folder_name("alice@host-1.example"), "alice@host-1.example");
        let odd = [
            "",
            ".",
            "..",
            "a/b",
            "a_b",
            "a b",
            "a+b",
            "a~2",
            "é",
            "\n",
            &"x".repeat(300),
            &"x".repeat(301),
            ".hidden",
        ];
        let names: std::collections::BTreeSet<_> =
            odd.iter().map(|identity| folder_name(identity)).collect();
        assert_eq!(names.len(), odd.len());
        for name in names {
            assert!(is_log_name(&name) && !name.contains('~'), "{name}");
        }
    }
}
