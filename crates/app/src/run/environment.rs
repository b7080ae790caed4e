//! The Python environments of a run: scanned beside the job, compared with the last good run, and once more at the end.
//!
//! The scan has threads of its own at the lowest priority, so that the start does not wait for it and the job goes first.
//! What the cache knows to be unchanged is not read again; the rule for that is in `environment::Cache`.

use std::cell::OnceCell;
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
use host::job::Helpers;
use ledger::Store;
use serde::{Deserialize, Serialize};

use super::event::Event;
use super::fault::{Duty, Lost};
use super::watch::Cover;
use crate::changes::Places;
use crate::compiled::{Check, Control, Memory, Report, Wrong};
use crate::env::{ByWheels, by_wheels};
use crate::index::Index;
use crate::place::Surroundings;

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
    /// Files that a wheel vouches for which a lock file names by digest.
    #[serde(default)]
    pub locked: u64,
    /// Where the roots of its logical names are.
    #[serde(default)]
    pub places: Places,
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
    /// What wheels say that a lock file names, where there is one.
    pub(super) by_wheels: Option<ByWheels>,
}

impl Examined {
    /// How a later scan differs, with its meaning.
    pub(super) fn changed(&self, now: &Snapshot) -> Vec<Judged> {
        let first = &self.snapshot;
        let changes = environment::compare(&first.flat, &now.flat);
        if changes.is_empty() {
            return Vec::new();
        }
        let report = records::check(now);
        environment::judge(changes, &first.packages, now, &report, true)
    }
}

/// The byte code of an environment after it was held against its sources.
pub(super) struct ComparedCode {
    pub(super) key: usize,
    /// What was found, or why nothing was compared.
    pub(super) report: Result<Report, String>,
    /// Byte code without a source that no package owns, where no earlier run had judged it.
    pub(super) unowned: Vec<PathText>,
}

/// One environment.
pub(super) struct Known {
    roots: Vec<(String, PathText)>,
    pub(super) layout: Layout,
    covers: Vec<Vec<u8>>,
    pub(super) examined: Option<Examined>,
    code: Control,
    code_compared: bool,
    /// A fault of this program ended the thread that was at it.
    lost: bool,
    /// Findings about byte code so far.
    code_told: usize,
    /// Who owns which file, worked out at the first question: after an unchanged scan nobody else did.
    owners: OnceCell<RecordReport>,
}

/// To whom an installed file belongs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Owned {
    /// Python's own library.
    Stdlib,
    /// A package, by name and version.
    Package(String),
    /// It lies among the packages and none says that it is its own.
    Nobody,
}

/// What the comparison of byte code needs of its surroundings.
pub(super) struct Compiling {
    pub(super) memory: Memory,
    pub(super) helpers: Helpers,
}

/// All environments of a run.
pub(super) struct Environments {
    pub(super) store: Store,
    run: RunId,
    same: Digest,
    pub(super) stop: Arc<AtomicBool>,
    compiling: Arc<Compiling>,
    /// Where lock file, wheels and keys are.
    surroundings: Surroundings,
    /// Who watches what is scanned.
    cover: Cover,
    pub(super) known: Vec<Known>,
}

impl Environments {
    pub(super) fn new(
        store: Store,
        run: RunId,
        same: Digest,
        stop: Arc<AtomicBool>,
        compiling: Compiling,
        surroundings: Surroundings,
        cover: Cover,
    ) -> Self {
        Self {
            store,
            run,
            same,
            stop,
            compiling: Arc::new(compiling),
            surroundings,
            cover,
            known: Vec::new(),
        }
    }

    /// Starts the scan of the environment that a process runs in, unless it is under way. `prefix` is where the process
    /// looks for byte code instead of beside the sources.
    pub(super) fn start(&mut self, hello: &Hello, prefix: Option<PathBuf>, events: &Sender<Event>) {
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
            surroundings: self.surroundings.clone(),
            cover: self.cover.clone(),
        };
        let code = Control::stopped_by(Arc::clone(&self.stop));
        let compare = Compare {
            key,
            interpreter: PathBuf::from(OsString::from_vec(hello.executable.to_bytes())),
            prefix,
            compiling: Arc::clone(&self.compiling),
            control: code.clone(),
        };
        self.known.push(Known {
            roots: hello.roots.clone(),
            layout,
            covers,
            examined: None,
            code,
            code_compared: false,
            lost: false,
            code_told: 0,
            owners: OnceCell::new(),
        });
        let events = events.clone();
        let spawned = std::thread::Builder::new()
            .name("environment".to_owned())
            .spawn(move || {
                let _duty = Duty::new(&events, Lost::Environment(key));
                super::lower_priority();
                let examined = scan.examine();
                let compare = compare.prepare(&examined);
                let _ = events.send(Event::Environment(Box::new(examined)));
                let compare = compare.beside(&events);
                let _ = events.send(Event::RestOfCode(Box::new(compare)));
            });
        drop(spawned);
    }

    /// These sources are in use: their byte code is looked at before all other.
    pub(super) fn in_use(&self, sources: &[PathText]) {
        for known in self.known.iter().filter(|known| !known.code_compared) {
            known.code.want(sources.iter().cloned());
        }
    }

    /// The job is over: of the byte code only what was in use is waited for, and the rest for a moment.
    pub(super) fn end_comparing(&self) {
        for known in &self.known {
            known.code.end();
        }
    }

    /// Byte code of an environment is wrong: whether that is told by itself or only counted.
    pub(super) fn tells_code(&mut self, key: usize, most: usize) -> bool {
        let known = self.known.get_mut(key);
        known.is_some_and(|known| {
            known.code_told += 1;
            known.code_told <= most
        })
    }

    /// The byte code of an environment was compared. Its digest and where it is.
    pub(super) fn compared_code(&mut self, key: usize) -> Option<(PathText, Digest)> {
        let known = self.known.get_mut(key)?;
        known.code_compared = true;
        let examined = known.examined.as_ref()?;
        Some((examined.prefix.clone(), examined.snapshot.compiled.digest()))
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
            .filter(|known| !known.lost && (known.examined.is_none() || !known.code_compared))
            .count()
    }

    /// Nothing more comes of one; what that leaves unknown, in words.
    pub(super) fn lost(&mut self, key: usize) -> String {
        let Some(known) = self.known.get_mut(key) else {
            return "an environment".to_owned();
        };
        known.lost = true;
        match &known.examined {
            Some(examined) => format!("byte code of the environment {}", examined.prefix),
            None => format!("environment {key}"),
        }
    }

    /// Keeps what was examined, for the comparison at the end.
    pub(super) fn keep(&mut self, examined: Examined) {
        if let Some(known) = self.known.get_mut(examined.key) {
            known.examined = Some(examined);
        }
    }

    /// Scans each once more; what differs from the first scan, with its meaning.
    pub(super) fn changed_since(&self) -> Vec<(usize, Vec<Judged>)> {
        let examined = self.known.iter().enumerate();
        let examined = examined.filter_map(|(key, it)| Some((key, it, it.examined.as_ref()?)));
        examined
            .map(|(key, known, first)| {
                let now = scan(&known.layout, &self.store, &self.stop, AFTER_JOB);
                (key, first.changed(&now))
            })
            .collect()
    }

    /// To whom a file of an environment belongs; `None` for one that lies in none.
    pub(super) fn owner(&self, path: &PathText) -> Option<Owned> {
        if !self.covers(path) {
            return None;
        }
        let Some((known, name)) = self.find(path) else {
            return Some(Owned::Nobody);
        };
        if name.as_str().starts_with("stdlib/") || name.as_str().starts_with("platstdlib/") {
            return Some(Owned::Stdlib);
        }
        let Some(examined) = &known.examined else {
            return Some(Owned::Nobody);
        };
        let report = known
            .owners
            .get_or_init(|| records::check(&examined.snapshot));
        let package = report
            .owners(&name)
            .first()
            .and_then(|owner| examined.snapshot.packages.get(owner.package));
        Some(package.map_or(Owned::Nobody, |package| {
            Owned::Package(format!("{} {}", package.name, package.version))
        }))
    }

    /// The node of a file of an environment, by its path on this machine.
    pub(super) fn node(&self, path: &PathText) -> Option<(PathText, Node)> {
        let (known, name) = self.find(path)?;
        let node = known.examined.as_ref()?.snapshot.flat.get(&name)?.clone();
        Some((name, node))
    }

    /// The environment that has a file, and the file's name there.
    fn find(&self, path: &PathText) -> Option<(&Known, PathText)> {
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
                    if examined.snapshot.flat.contains_key(&name) {
                        return Some((known, name));
                    }
                }
            }
        }
        None
    }
}

/// A comparison of byte code that is to come.
struct Compare {
    key: usize,
    interpreter: PathBuf,
    prefix: Option<PathBuf>,
    compiling: Arc<Compiling>,
    control: Control,
}

/// One that can begin, or why it cannot.
pub(super) struct Prepared {
    key: usize,
    check: Result<Check, String>,
    control: Control,
    /// No earlier run judged what belongs to no package: the names of all that does not.
    unowned: BTreeSet<PathText>,
}

impl Compare {
    fn prepare(self, examined: &Examined) -> Prepared {
        let Compiling { memory, helpers } = &*self.compiling;
        let (snapshot, memory) = (&examined.snapshot, memory.clone());
        let check = Check::prepare(&self.interpreter, snapshot, self.prefix, memory, helpers);
        let first = examined.compared.is_none();
        let unowned = examined.report.unowned.iter().filter(|_| first);
        Prepared {
            key: self.key,
            check: check.map_err(|error| error.to_string()),
            control: self.control,
            unowned: unowned.cloned().collect(),
        }
    }
}

impl Prepared {
    /// What can be done while the job runs.
    fn beside(mut self, events: &Sender<Event>) -> Self {
        let mut tell = telling(self.key, events);
        if let Ok(check) = &mut self.check {
            check.beside(&self.control, &mut tell);
        }
        self
    }

    /// The rest, on a thread that is like all others: after the job somebody waits for it.
    pub(super) fn finish(self, events: &Sender<Event>) {
        let events = events.clone();
        let spawned = std::thread::Builder::new()
            .name("byte code".to_owned())
            .spawn(move || {
                let _duty = Duty::new(&events, Lost::Environment(self.key));
                let mut tell = telling(self.key, &events);
                let control = &self.control;
                let report = self.check.map(|check| check.finish(control, &mut tell));
                let sourceless = report.iter().flat_map(|report| &report.sourceless);
                let unowned = sourceless.filter(|path| self.unowned.contains(*path));
                let compared = ComparedCode {
                    key: self.key,
                    unowned: unowned.cloned().collect(),
                    report,
                };
                let _ = events.send(Event::ComparedCode(Box::new(compared)));
            });
        drop(spawned);
    }
}

/// What is wrong is told the moment it is found.
fn telling(key: usize, events: &Sender<Event>) -> impl FnMut(&Wrong) {
    move |wrong| {
        let _ = events.send(Event::WrongCode(key, Box::new(wrong.clone())));
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
    surroundings: Surroundings,
    cover: Cover,
}

impl Scan {
    fn examine(self) -> Examined {
        self.cover.cover(&self.layout);
        let snapshot = scan(&self.layout, &self.store, &self.stop, BESIDE_JOB);
        let by_wheels = by_wheels(&self.surroundings, &self.store, &snapshot);
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
            by_wheels,
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
pub(super) const BESIDE_JOB: usize = 1;
/// Threads after the job, when somebody waits.
const AFTER_JOB: usize = 2;

pub(super) fn scan(layout: &Layout, store: &Store, stop: &AtomicBool, threads: usize) -> Snapshot {
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
