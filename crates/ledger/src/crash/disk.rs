//! A disk that remembers every operation, and what of it a power cut may leave.
//!
//! The operations are carried out in a real folder, so that the code under test reads as always. From what is remembered,
//! [`Remembering::after_crash`] makes the folder that a power cut at a certain operation could leave: everything that was
//! synced; of the rest, any part. Writes are dropped, applied out of order and torn at sectors; lengths come with or
//! without their bytes; names that were given or taken are there or not, each for itself. That is worse than what file
//! systems do, most of which keep the order of names.

use std::collections::BTreeMap;
use std::io;
use std::ops::Range;
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard};
use std::time::Duration;

use crate::disk::{Disk, Handle, Kernel};
use crate::durable::Fault;
use crate::tiles::{NEXT_WAL, WAL};

const SECTOR: usize = 512;

/// Whoever is refused so often is dead.
pub(super) const DEAD: usize = usize::MAX / 2;

/// A generator of numbers that are the same in every run.
pub(super) struct Dice(u64);

impl Dice {
    pub(super) fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    pub(super) fn below(&mut self, end: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from((self.0 >> 11) % end.max(1) as u64).unwrap()
    }

    fn coin(&mut self) -> bool {
        self.below(2) == 0
    }
}

/// How the rest is treated that was not synced.
#[derive(Debug, Clone, Copy)]
enum Fate {
    /// Nothing of it survives.
    Lost,
    /// All of it survives.
    Kept,
    /// Each operation for itself.
    Some,
    /// Each sector for itself.
    Torn,
    /// Only the newest operations.
    Newest,
}

#[derive(Debug)]
enum Operation {
    Write {
        file: usize,
        at: usize,
        bytes: Vec<u8>,
    },
    Names {
        directory: usize,
        changes: Vec<(String, Option<usize>)>,
    },
    /// All earlier operations on this node are durable; on all nodes when there is none.
    Sync { node: Option<usize> },
    /// The sync of a file was refused: what it was to cover will be called clean by every later one, durable or not.
    Refused { node: usize },
    /// Something was promised to the user of the ledger.
    Promise(Promise),
}

/// What must be found again.
#[derive(Debug, Clone)]
pub(super) enum Promise {
    /// These entries, from this number on.
    Entries {
        log: String,
        first: u64,
        entries: Vec<Vec<u8>>,
    },
    /// This blob.
    Blob(domain::Digest),
}

#[derive(Debug, Default, Clone)]
struct Node {
    is_directory: bool,
    /// What was there before the first operation.
    bytes: Vec<u8>,
    children: BTreeMap<String, usize>,
}

#[derive(Debug, Default)]
struct History {
    /// As they were at the start, and empty ones that came later.
    nodes: Vec<Node>,
    /// The names as they are now.
    now: Vec<BTreeMap<String, usize>>,
    by_inode: BTreeMap<u64, usize>,
    operations: Vec<Operation>,
}

impl History {
    fn add_node(&mut self, is_directory: bool, bytes: Vec<u8>) -> usize {
        self.nodes.push(Node {
            is_directory,
            bytes,
            children: BTreeMap::new(),
        });
        self.now.push(BTreeMap::new());
        self.nodes.len() - 1
    }

    fn load(&mut self, folder: &Path) -> usize {
        let node = self.add_node(true, Vec::new());
        for item in std::fs::read_dir(folder).unwrap().flatten() {
            let name = item.file_name().into_string().unwrap();
            let child = if item.file_type().unwrap().is_dir() {
                self.load(&item.path())
            } else {
                let child = self.add_node(false, std::fs::read(item.path()).unwrap());
                self.by_inode.insert(item.metadata().unwrap().ino(), child);
                child
            };
            self.nodes[node].children.insert(name.clone(), child);
            self.now[node].insert(name, child);
        }
        node
    }

    fn names(&mut self, directory: usize, changes: Vec<(String, Option<usize>)>) {
        for (name, node) in &changes {
            match node {
                Some(node) => self.now[directory].insert(name.clone(), *node),
                None => self.now[directory].remove(name),
            };
        }
        self.operations
            .push(Operation::Names { directory, changes });
    }
}

/// What befalls whoever publishes beside appends; see [`Remembering::refuse_new_name`].
#[derive(Debug, Clone, Copy, Default)]
enum Beside {
    #[default]
    Nothing,
    Waited {
        late: Duration,
    },
    Named {
        late: Duration,
    },
    Refused {
        late: Duration,
    },
}

/// Whether the calling thread publishes beside appends.
fn is_beside() -> bool {
    std::thread::current().name() == Some(crate::writer::BESIDE)
}

/// The kernel's disk, remembered.
#[derive(Debug)]
pub(super) struct Remembering {
    root: PathBuf,
    history: Mutex<History>,
    /// Requests so far, and those that are refused.
    requests: AtomicUsize,
    refused: Mutex<Range<usize>>,
    /// What befalls whoever publishes beside appends.
    beside: Mutex<Beside>,
}

impl Remembering {
    /// Remembers what is done below `root`; what is there now is durable.
    pub(super) fn new(root: &Path) -> Self {
        let mut history = History::default();
        history.load(root);
        Self {
            root: root.to_owned(),
            history: Mutex::new(history),
            requests: AtomicUsize::new(0),
            refused: Mutex::new(0..0),
            beside: Mutex::default(),
        }
    }

    /// Whoever publishes beside appends is refused the sync of the folder in which he gave the next write-ahead file its
    /// name, and removes whatever he removes from then on so much later.
    pub(super) fn refuse_new_name(&self, late: Duration) {
        *self.beside.lock().unwrap() = Beside::Waited { late };
    }

    /// Whether that has happened.
    pub(super) fn has_refused_new_name(&self) -> bool {
        matches!(*self.beside.lock().unwrap(), Beside::Refused { .. })
    }

    /// The write-ahead file got another one's name.
    fn is_named(&self, path: &Path) {
        let mut beside = self.beside.lock().unwrap();
        if let Beside::Waited { late } = *beside
            && is_beside()
            && path.ends_with(WAL)
        {
            *beside = Beside::Named { late };
        }
    }

    fn is_new_name_refused(&self) -> bool {
        let mut beside = self.beside.lock().unwrap();
        match *beside {
            Beside::Named { late } => *beside = Beside::Refused { late },
            _ => return false,
        }
        true
    }

    fn wait_to_remove(&self, path: &Path) {
        let beside = *self.beside.lock().unwrap();
        if let Beside::Refused { late } = beside
            && is_beside()
            && !path.ends_with(NEXT_WAL)
        {
            std::thread::sleep(late);
        }
    }

    /// Refuses so many requests from the one that comes after `from` more.
    pub(super) fn refuse(&self, from: usize, count: usize) {
        let start = self.requests.load(Ordering::Relaxed) + from;
        *self.refused.lock().unwrap() = start..start + count;
    }

    /// How many changes were asked for.
    pub(super) fn requests(&self) -> usize {
        self.requests.load(Ordering::Relaxed)
    }

    fn ask(&self) -> io::Result<()> {
        if is_beside() {
            // Slower than those who append meanwhile, so that they do.
            std::thread::sleep(Duration::from_micros(500));
        }
        let request = self.requests.fetch_add(1, Ordering::Relaxed);
        if self.refused.lock().unwrap().contains(&request) {
            return Err(io::Error::from_raw_os_error(28));
        }
        Ok(())
    }

    pub(super) fn promise(&self, promise: Promise) {
        let promise = Operation::Promise(promise);
        self.history().operations.push(promise);
    }

    /// The names in folders of logs that were given, and promises of entries (as nothing), in order.
    pub(super) fn story(&self) -> Vec<Option<String>> {
        let history = self.history();
        let told = |operation: &Operation| match operation {
            Operation::Promise(Promise::Entries { .. }) => Some(None),
            Operation::Names { changes, .. } => {
                let (name, node) = changes.last()?;
                node.is_some().then(|| Some(name.clone()))
            }
            _ => None,
        };
        history.operations.iter().filter_map(told).collect()
    }

    /// How many operations there were.
    pub(super) fn len(&self) -> usize {
        self.history().operations.len()
    }

    /// What was promised before operation `end`.
    pub(super) fn promised(&self, end: usize) -> Vec<Promise> {
        let history = self.history();
        let promise = |operation: &Operation| match operation {
            Operation::Promise(promise) => Some(promise.clone()),
            _ => None,
        };
        history.operations[..end]
            .iter()
            .filter_map(promise)
            .collect()
    }

    /// Makes in `to` what a power cut just before operation `end` could leave.
    pub(super) fn after_crash(&self, end: usize, seed: u64, to: &Path) {
        let history = self.history();
        let mut dice = Dice::new(seed);
        let fates = [Fate::Lost, Fate::Kept, Fate::Some, Fate::Torn, Fate::Newest];
        let (of_bytes, of_names) = (fates[dice.below(5)], fates[dice.below(5)]);
        let mut nodes = history.nodes.clone();
        let operations = &history.operations[..end];
        // From the end: what a later sync covers is durable.
        let mut synced = vec![false; nodes.len()];
        let mut durable = vec![true; operations.len()];
        for (at, operation) in operations.iter().enumerate().rev() {
            match operation {
                Operation::Sync { node: Some(node) } => synced[*node] = true,
                Operation::Sync { node: None } => synced.fill(true),
                Operation::Refused { node } => synced[*node] = false,
                Operation::Write { file: node, .. }
                | Operation::Names {
                    directory: node, ..
                } => durable[at] = synced[*node],
                Operation::Promise(_) => {}
            }
        }
        let newest = end.saturating_sub(1 + dice.below(6));
        for (at, operation) in operations.iter().enumerate() {
            let survives = |fate: Fate, dice: &mut Dice| match fate {
                _ if durable[at] => true,
                Fate::Lost => false,
                Fate::Kept | Fate::Torn => true,
                Fate::Some => dice.coin(),
                Fate::Newest => at >= newest,
            };
            match operation {
                Operation::Write {
                    file,
                    at: from,
                    bytes,
                } => {
                    if survives(of_bytes, &mut dice) {
                        let torn = matches!(of_bytes, Fate::Torn) && !durable[at];
                        let torn = torn.then_some(&mut dice);
                        write(&mut nodes[*file].bytes, *from, bytes, torn);
                    }
                }
                Operation::Names { directory, changes } => {
                    let torn = matches!(of_names, Fate::Torn) && !durable[at] && dice.coin();
                    if !torn && survives(of_names, &mut dice) {
                        for (name, node) in changes {
                            let children = &mut nodes[*directory].children;
                            match node {
                                Some(node) => children.insert(name.clone(), *node),
                                None => children.remove(name),
                            };
                        }
                    }
                }
                Operation::Sync { .. } | Operation::Refused { .. } | Operation::Promise(_) => {}
            }
        }
        build(&nodes, 0, to);
    }

    fn history(&self) -> MutexGuard<'_, History> {
        self.history.lock().unwrap()
    }

    /// The directory of a path and its last name.
    fn place(&self, history: &History, path: &Path) -> (usize, String) {
        let relative = path.strip_prefix(&self.root).unwrap();
        let mut parts: Vec<_> = relative
            .iter()
            .map(|part| part.to_str().unwrap().to_owned())
            .collect();
        let last = parts.pop().unwrap_or_default();
        let mut directory = 0;
        for part in parts {
            directory = history.now[directory][&part];
        }
        (directory, last)
    }

    fn node(&self, history: &History, path: &Path) -> usize {
        let (directory, name) = self.place(history, path);
        if name.is_empty() {
            return 0;
        }
        history.now[directory][&name]
    }

    fn node_of(history: &History, handle: &Handle) -> usize {
        history.by_inode[&handle.file.metadata().unwrap().ino()]
    }

    fn give_name(&self, history: &mut History, path: &Path, node: Option<usize>) {
        let (directory, name) = self.place(history, path);
        history.names(directory, vec![(name, node)]);
    }
}

/// Writes bytes, or some of their sectors.
fn write(content: &mut Vec<u8>, at: usize, bytes: &[u8], torn: Option<&mut Dice>) {
    let end = at + bytes.len();
    let Some(dice) = torn else {
        if content.len() < end {
            content.resize(end, 0);
        }
        content[at..end].copy_from_slice(bytes);
        return;
    };
    if dice.coin() && content.len() < end {
        content.resize(end, 0); // the length came, the bytes did not
    }
    let mut from = at;
    while from < end {
        let to = end.min((from / SECTOR + 1) * SECTOR);
        if dice.coin() {
            if content.len() < to {
                content.resize(to, 0);
            }
            content[from..to].copy_from_slice(&bytes[from - at..to - at]);
        }
        from = to;
    }
}

fn build(nodes: &[Node], node: usize, to: &Path) {
    for (name, child) in &nodes[node].children {
        let path = to.join(name);
        if nodes[*child].is_directory {
            std::fs::DirBuilder::new()
                .mode(0o700)
                .create(&path)
                .unwrap();
            build(nodes, *child, &path);
        } else {
            let file = std::fs::OpenOptions::new()
                .write(true)
                .create_new(true)
                .mode(0o600)
                .open(&path);
            io::Write::write_all(&mut file.unwrap(), &nodes[*child].bytes).unwrap();
        }
    }
}

impl Disk for Remembering {
    fn create(&self, path: &Path, bytes: &[u8]) -> Result<Handle, Fault> {
        self.ask().map_err(|error| Fault::at(path, error))?;
        let mut history = self.history();
        if path.exists() {
            self.give_name(&mut history, path, None);
        }
        let handle = Kernel.create(path, bytes)?;
        let file = history.add_node(false, Vec::new());
        let inode = handle.file.metadata().unwrap().ino();
        history.by_inode.insert(inode, file);
        self.give_name(&mut history, path, Some(file));
        history.operations.push(Operation::Write {
            file,
            at: 0,
            bytes: bytes.to_vec(),
        });
        Ok(handle)
    }

    fn open(&self, path: &Path) -> Result<Option<Handle>, Fault> {
        Kernel.open(path)
    }

    fn write_at(&self, handle: &Handle, at: u64, bytes: &[u8]) -> Result<(), Fault> {
        let mut history = self.history();
        let refused = self.ask();
        let bytes = match refused {
            Ok(()) => bytes,
            // A write that is cut short is cut at a page, which is a border of sectors too.
            Err(_) => &bytes[..bytes.len() / 2 / SECTOR * SECTOR],
        };
        Kernel.write_at(handle, at, bytes)?;
        let file = Self::node_of(&history, handle);
        history.operations.push(Operation::Write {
            file,
            at: usize::try_from(at).unwrap(),
            bytes: bytes.to_vec(),
        });
        refused.map_err(|error| Fault::at(&handle.path, error))
    }

    fn sync(&self, handle: &Handle) -> Result<(), Fault> {
        let mut history = self.history();
        let node = Self::node_of(&history, handle);
        if let Err(error) = self.ask() {
            // A dead process has not asked, so nothing is called clean.
            if self.refused.lock().unwrap().len() < DEAD {
                history.operations.push(Operation::Refused { node });
            }
            return Err(Fault::at(&handle.path, error));
        }
        let node = Some(node);
        history.operations.push(Operation::Sync { node });
        Ok(())
    }

    fn sync_directory(&self, path: &Path) -> Result<(), Fault> {
        let mut history = self.history();
        if path.starts_with(&self.root) {
            let node = Some(self.node(&history, path));
            self.ask().map_err(|error| Fault::at(path, error))?;
            if self.is_new_name_refused() {
                return Err(Fault::at(path, io::Error::from_raw_os_error(5)));
            }
            history.operations.push(Operation::Sync { node });
        }
        Ok(())
    }

    fn sync_file_system(&self, _path: &Path) -> Result<(), Fault> {
        let all = Operation::Sync { node: None };
        self.history().operations.push(all);
        Ok(())
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.ask()?;
        let mut history = self.history();
        Kernel.rename(from, to)?;
        self.is_named(to);
        let node = self.node(&history, from);
        let (source, old) = self.place(&history, from);
        let (target, new) = self.place(&history, to);
        if source == target {
            history.names(target, vec![(old, None), (new, Some(node))]);
        } else {
            history.names(target, vec![(new, Some(node))]);
            history.names(source, vec![(old, None)]);
        }
        Ok(())
    }

    fn rename_to_free(&self, from: &Path, to: &Path) -> io::Result<()> {
        assert!(!to.exists());
        self.rename(from, to)
    }

    fn touch(&self, path: &Path) -> io::Result<()> {
        Kernel.touch(path)
    }

    fn link(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.ask()?;
        let mut history = self.history();
        Kernel.link(from, to)?;
        let node = self.node(&history, from);
        self.give_name(&mut history, to, Some(node));
        Ok(())
    }

    fn remove(&self, path: &Path) -> Result<(), Fault> {
        self.wait_to_remove(path);
        self.ask().map_err(|error| Fault::at(path, error))?;
        let mut history = self.history();
        if path.exists() {
            Kernel.remove(path)?;
            self.give_name(&mut history, path, None);
        }
        Ok(())
    }

    fn remove_directory(&self, path: &Path) -> io::Result<()> {
        self.ask()?;
        let mut history = self.history();
        Kernel.remove_directory(path)?;
        self.give_name(&mut history, path, None);
        Ok(())
    }

    fn make_directory(&self, path: &Path) -> Result<bool, Fault> {
        self.ask().map_err(|error| Fault::at(path, error))?;
        let mut history = self.history();
        let is_new = Kernel.make_directory(path)?;
        if is_new {
            let node = history.add_node(true, Vec::new());
            self.give_name(&mut history, path, Some(node));
        }
        Ok(is_new)
    }
}
