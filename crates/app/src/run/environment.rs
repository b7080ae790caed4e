//! The Python environments of a run: scanned beside the job, compared with the last good run, and once more at the end.
//!
//! The scan has threads of its own at the lowest priority, so that the start does not wait for it and the job goes first.
//! What the cache knows to be unchanged is not read again; the rule for that is in `environment::Cache`.

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::Sender;
use std::time::SystemTime;

use domain::sensor::Hello;
use domain::{Digest, Node, PathText, RunId};
use environment::records::RecordReport;
use environment::{Cache, Judged, Layout, Options, Package, RootKind, Snapshot, records};
use ledger::Store;
use serde::{Deserialize, Serialize};

use super::event::Event;
use crate::index::Index;

/// What is stored beside the tree of an environment.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct EnvironmentSummary {
    /// Python's version.
    pub python: String,
    /// What is installed.
    pub packages: Vec<Package>,
    /// Files with a digest.
    pub files: u64,
    /// Bytes of these.
    pub bytes: u64,
    /// Files read again for this run.
    pub hashed: u64,
    /// Files that a RECORD vouches for.
    pub vouched: u64,
}

/// An environment after its scan.
pub(super) struct Examined {
    pub(super) key: usize,
    pub(super) prefix: PathText,
    pub(super) python: String,
    pub(super) snapshot: Snapshot,
    pub(super) report: RecordReport,
    /// Files that a RECORD vouches for.
    pub(super) vouched: u64,
    /// Name of the last good run, and how this environment differs from that one's.
    pub(super) compared: Option<(String, Vec<Judged>)>,
    /// Why it could not be compared, when it could not.
    pub(super) not_compared: Option<String>,
}

struct Known {
    roots: Vec<(String, PathText)>,
    layout: Layout,
    covers: Vec<Vec<u8>>,
    examined: Option<Examined>,
}

/// All environments of a run.
pub(super) struct Environments {
    store: Store,
    run: RunId,
    same: Digest,
    stop: Arc<AtomicBool>,
    known: Vec<Known>,
}

impl Environments {
    pub(super) fn new(store: Store, run: RunId, same: Digest, stop: Arc<AtomicBool>) -> Self {
        Self {
            store,
            run,
            same,
            stop,
            known: Vec::new(),
        }
    }

    /// Starts the scan of the environment that a process runs in, unless it is under way.
    pub(super) fn start(&mut self, hello: &Hello, events: &Sender<Event>) {
        if self.known.iter().any(|known| known.roots == hello.roots) {
            return;
        }
        let layout = layout(hello);
        let covers = layout
            .roots()
            .iter()
            .map(|root| &root.path)
            .chain(layout.files().iter().map(|file| &file.path));
        let covers = covers
            .flat_map(|path| [Some(path.clone()), path.canonicalize().ok()])
            .flatten();
        let covers = covers
            .map(|path| path.into_os_string().into_vec())
            .collect();
        let key = self.known.len();
        let scan = Scan {
            key,
            prefix: hello.prefix.clone(),
            python: hello.python.clone(),
            layout: layout.clone(),
            store: self.store.clone(),
            run: self.run,
            same: self.same,
            stop: Arc::clone(&self.stop),
        };
        self.known.push(Known {
            roots: hello.roots.clone(),
            layout,
            covers,
            examined: None,
        });
        let events = events.clone();
        let spawned = std::thread::Builder::new()
            .name("environment".to_owned())
            .spawn(move || {
                super::lower_priority();
                let _ = events.send(Event::Environment(Box::new(scan.examine())));
            });
        drop(spawned);
    }

    /// Whether a path lies in an environment, so that its tree tells of it.
    pub(super) fn covers(&self, path: &PathText) -> bool {
        let path = path.to_bytes();
        let below = |root: &Vec<u8>| {
            path.strip_prefix(root.as_slice())
                .is_some_and(|rest| rest.is_empty() || rest.starts_with(b"/"))
        };
        self.known
            .iter()
            .any(|known| known.covers.iter().any(below))
    }

    /// Scans that are not done.
    pub(super) fn outstanding(&self) -> usize {
        self.known
            .iter()
            .filter(|known| known.examined.is_none())
            .count()
    }

    /// Keeps what was examined, for the comparison at the end.
    pub(super) fn keep(&mut self, examined: Examined) {
        if let Some(known) = self.known.get_mut(examined.key) {
            known.examined = Some(examined);
        }
    }

    /// Scans each once more; what differs from the first scan, with its meaning.
    pub(super) fn changed_since(&self) -> Vec<(PathText, Vec<Judged>)> {
        let examined = self
            .known
            .iter()
            .filter_map(|known| Some((known, known.examined.as_ref()?)));
        examined
            .map(|(known, first)| {
                let now = scan(&known.layout, &self.store, &self.stop, AFTER_JOB);
                let changes = environment::compare(&first.snapshot.flat, &now.flat);
                let judged = if changes.is_empty() {
                    Vec::new()
                } else {
                    let report = records::check(&now);
                    environment::judge(changes, &first.snapshot.packages, &now, &report, true)
                };
                (first.prefix.clone(), judged)
            })
            .collect()
    }

    /// The node of a file of an environment, by its path on this machine.
    pub(super) fn node(&self, path: &PathText) -> Option<(PathText, Node)> {
        let bytes = path.to_bytes();
        for known in &self.known {
            let Some(examined) = &known.examined else {
                continue;
            };
            for place in &examined.snapshot.places {
                for folder in [Some(&place.path), place.real.as_ref()]
                    .into_iter()
                    .flatten()
                {
                    let Some(rest) = bytes.strip_prefix(folder.as_os_str().as_encoded_bytes())
                    else {
                        continue;
                    };
                    let name = PathText::from_bytes(&[place.name.as_bytes(), rest].concat());
                    if let Some(node) = examined.snapshot.flat.get(&name) {
                        return Some((name, node.clone()));
                    }
                }
            }
        }
        None
    }
}

struct Scan {
    key: usize,
    prefix: PathText,
    python: String,
    layout: Layout,
    store: Store,
    run: RunId,
    same: Digest,
    stop: Arc<AtomicBool>,
}

impl Scan {
    fn examine(self) -> Examined {
        let snapshot = scan(&self.layout, &self.store, &self.stop, BESIDE_JOB);
        let (good, not_compared) = match self.last_good() {
            Ok(good) => (good, None),
            Err(why) => (None, Some(why)),
        };
        // The very tree of a good run needs no further look: its RECORDs were checked then.
        let unchanged = good
            .as_ref()
            .filter(|good| good.tree == snapshot.root.digest());
        let vouched = unchanged.and_then(|good| Some(good.summary.as_ref()?.vouched));
        let mut examined = Examined {
            key: self.key,
            prefix: self.prefix.clone(),
            python: self.python.clone(),
            vouched: vouched.unwrap_or(0),
            snapshot,
            report: RecordReport::default(),
            compared: None,
            not_compared,
        };
        if let (Some(good), Some(_)) = (unchanged, vouched) {
            examined.compared = Some((good.run.clone(), Vec::new()));
            return examined;
        }
        examined.report = records::check(&examined.snapshot);
        examined.vouched = examined.report.vouched;
        if let Some(good) = good {
            match self.compare(&good, &examined) {
                Ok(judged) => examined.compared = Some((good.run, judged)),
                Err(why) => examined.not_compared = Some(why),
            }
        }
        examined
    }

    fn last_good(&self) -> Result<Option<Good>, String> {
        let index = Index::open(&self.store).map_err(|error| error.to_string())?;
        let good = index.last_good_environment(&self.same, self.run);
        let Some((run, tree, summary)) = good.map_err(|error| error.to_string())? else {
            return Ok(None);
        };
        let summary = summary.and_then(|digest| self.store.blob(&digest).ok().flatten());
        let summary = summary.and_then(|bytes| serde_json::from_slice(&bytes).ok());
        Ok(Some(Good { run, tree, summary }))
    }

    fn compare(&self, good: &Good, examined: &Examined) -> Result<Vec<Judged>, String> {
        let (run, snapshot) = (&good.run, &examined.snapshot);
        let before =
            environment::flatten(good.tree, |digest| self.store.blob(&digest).ok().flatten())
                .map_err(|error| format!("the tree of run {run}: {error}"))?;
        let summary = good.summary.as_ref();
        let summary =
            summary.ok_or_else(|| format!("the list of packages of run {run} cannot be read"))?;
        let changes = environment::compare(&before, &snapshot.flat);
        let same_python = summary.python == self.python;
        let packages = &summary.packages;
        Ok(environment::judge(
            changes,
            packages,
            snapshot,
            &examined.report,
            same_python,
        ))
    }
}

/// The environment of the last good run of the same command.
struct Good {
    run: String,
    tree: Digest,
    summary: Option<EnvironmentSummary>,
}

/// Threads beside the job: one, which costs less CPU time in all than two that share a core's caches with the training.
const BESIDE_JOB: usize = 1;
/// Threads after the job, when somebody waits.
const AFTER_JOB: usize = 2;

fn scan(layout: &Layout, store: &Store, stop: &AtomicBool, threads: usize) -> Snapshot {
    let folder = store.root().join("cache");
    let path = folder.join("files");
    let mut cache = Cache::load(&path);
    let mut seed = [0; 8];
    let _ = getrandom::fill(&mut seed);
    let mut options = Options::new(SystemTime::now(), u64::from_le_bytes(seed));
    let should_stop = || stop.load(Ordering::Relaxed);
    options.should_stop = &should_stop;
    options.threads = threads;
    let snapshot = environment::scan(layout, &mut cache, &options);
    let _ = std::fs::create_dir_all(&folder);
    let _ = cache.save(&path); // without it the next scan reads everything: slower, not wrong
    snapshot
}

/// The folders that a process says it runs from.
fn layout(hello: &Hello) -> Layout {
    let path = |text: &PathText| PathBuf::from(OsString::from_vec(text.to_bytes()));
    let mut layout = Layout::new();
    let mut seen: BTreeSet<PathBuf> = BTreeSet::new();
    for (name, root) in &hello.roots {
        let kind = if name.contains("stdlib") {
            RootKind::Stdlib
        } else {
            RootKind::Site
        };
        if seen.insert(path(root)) {
            if kind == RootKind::Stdlib {
                layout.leave_out(path(root).join("site-packages"));
                layout.leave_out(path(root).join("dist-packages"));
            }
            layout.add_root(name, kind, path(root));
        }
    }
    // `--system-site-packages`, `--target` folders, distribution folders: whatever the interpreter reads packages from.
    for entry in hello.sys_path.iter().map(path) {
        let named = entry
            .file_name()
            .is_some_and(|name| name == "site-packages" || name == "dist-packages");
        if named && seen.insert(entry.clone()) {
            layout.add_root("site", RootKind::Site, entry);
        }
    }
    let prefix = path(&hello.prefix);
    if prefix != Path::new("/usr") && prefix != Path::new("/usr/local") {
        layout.add_root("scripts", RootKind::Scripts, prefix.join("bin"));
    }
    let executable = path(&hello.executable);
    if executable.is_absolute() {
        layout.add_file("interpreter/python", executable);
    }
    layout
}
