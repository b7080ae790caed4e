//! Ways into the processes of a run: listed for each that speaks, compared with the last good run, judged.
//!
//! What a process was started with is read from `/proc` the moment it says hello, so that what a launcher set on the way is
//! seen too. It lies in memory that the process owns: a preloaded library can wipe it before. Such a library is still
//! among the mapped files. What is listed here is kept as one list a run ([`domain::entry::Act::WaysIn`]).

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::{OsStr, OsString};
use std::io::ErrorKind;
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use domain::entry::Act;
use domain::sensor::Hello;
use domain::{Body, Digest, Finding, PathText, Rule, RunId};
use environment::Snapshot;
use environment::ways::{Hidden, Installed, Way, WayKind, Weight, of_system, of_variables};

use super::event::Connection;
use super::installed::file_finding;
use super::recorder::Recorder;

/// What the loader takes libraries for every process of the machine from.
const SYSTEM_PRELOAD: &str = "/etc/ld.so.preload";
/// The most bytes of a file that is read to know it by.
const MAX_FILE_BYTES: u64 = 1 << 30;
/// The most ways of one run; more are a gap.
const WAYS_MAX: usize = 2_000;
/// The most imported files of unknown standing that are kept until the environment is known.
const WAITING_MAX: usize = 50_000;
/// Where a system keeps the libraries that its own packages bring.
const SYSTEM_LIBRARIES: [&str; 4] = ["/lib", "/lib64", "/usr/lib", "/usr/lib64"];

/// The ways of a run.
pub(super) struct Ways {
    run: RunId,
    same: Digest,
    /// The folder by which our own start-up gets in.
    own: Vec<u8>,
    now: BTreeSet<Way>,
    before: Option<Before>,
    /// What is installed, once it is known.
    installed: Vec<Installed>,
    /// Imported files from outside of the environments, with the folders that modules are looked for in.
    waiting: BTreeMap<PathText, BTreeSet<PathText>>,
}

/// The ways of the last good run of the same command.
#[derive(Clone, Default)]
struct Before {
    run: Option<String>,
    ways: BTreeSet<Way>,
}

impl Ways {
    /// None yet. `sensor` is the folder that our own start-up is in.
    pub(super) fn new(run: RunId, same: Digest, sensor: &Path) -> Self {
        let own = sensor.join("startup").into_os_string().into_vec();
        Self {
            run,
            same,
            own,
            now: BTreeSet::new(),
            before: None,
            installed: Vec::new(),
            waiting: BTreeMap::new(),
        }
    }
}

impl Recorder<'_> {
    /// Lists and judges the ways into a process that has just said hello.
    pub(super) fn ways_of(&mut self, connection: Connection, hello: &Hello) {
        let Some(member) = self.members.get(&connection) else {
            return;
        };
        let (pid, label) = (member.process.pid, member.label());
        match host::proc::environ(pid) {
            Ok(read) => {
                let variables = read.value.iter();
                let variables = variables.map(|(name, value)| (name.as_bytes(), value.as_bytes()));
                for way in of_variables(variables, &[&self.ways.own]) {
                    self.way(&identified(way, &hello.cwd), &label);
                }
            }
            Err(why) => self.gap(&format!("variables of {label}"), &why.to_string()),
        }
        self.system_preloads(hello, &label);
        for (name, file) in self.start_up(hello) {
            let way = Way {
                kind: WayKind::StartUp,
                name: name.to_owned(),
                value: file,
                digest: None,
            };
            self.way(&identified(way, &hello.cwd), &label);
        }
    }

    /// Most machines do not have the list.
    fn system_preloads(&mut self, hello: &Hello, label: &str) {
        match crate::bounded::read(Path::new(SYSTEM_PRELOAD), 1 << 20) {
            Ok(text) => {
                for way in of_system(&text) {
                    self.way(&identified(way, &hello.cwd), label);
                }
            }
            Err(error) if error.kind() == ErrorKind::NotFound => {}
            Err(error) => {
                let what = format!("libraries that {SYSTEM_PRELOAD} loads into every process");
                self.gap(&what, &error.to_string());
            }
        }
    }

    /// Modules outside of the environments that the start of Python imports by itself.
    fn start_up(&self, hello: &Hello) -> Vec<(&'static str, PathText)> {
        let chained = hello.chained.iter().cloned();
        let mut found: Vec<_> = chained.map(|file| ("sitecustomize", file)).collect();
        for folder in search(hello) {
            let folder = local(&folder);
            for file in ["usercustomize.py", "usercustomize/__init__.py"] {
                let file = folder.join(file);
                if file.is_file() {
                    found.push(("usercustomize", PathText::from(file.as_path())));
                }
            }
        }
        found.retain(|(_, file)| !self.environments.covers(file));
        found
    }

    /// What was imported from outside of the environments, to be held against what is installed.
    pub(super) fn imported(
        &mut self,
        connection: Connection,
        files: &[PathText],
        folders: BTreeSet<PathText>,
    ) {
        let hello = self.members.get(&connection);
        let Some(hello) = hello.and_then(|member| member.hello.as_ref()) else {
            return;
        };
        let mut search = search(hello);
        search.extend(folders);
        for file in files {
            if self.environments.covers(file) || self.ways.waiting.len() >= WAITING_MAX {
                continue;
            }
            self.ways.waiting.insert(file.clone(), search.clone());
        }
        self.judge_imported();
    }

    /// An environment is known: what is installed in it.
    pub(super) fn installed(&mut self, snapshot: &Snapshot) {
        self.ways.installed.push(Installed::of(snapshot));
        self.judge_imported();
    }

    fn judge_imported(&mut self) {
        if self.ways.installed.is_empty() {
            return;
        }
        let mut hidden: BTreeMap<PathText, Hidden> = BTreeMap::new();
        for (file, search) in std::mem::take(&mut self.ways.waiting) {
            let installed = self.ways.installed.iter();
            let found = installed.filter_map(|installed| installed.hidden_by(&file, &search));
            hidden.extend(found.map(|one| (one.by.clone(), one)));
        }
        for (by, hidden) in hidden {
            let what = if hidden.of_stdlib {
                "of Python's own library"
            } else {
                "installed"
            };
            let about = format!("{} is {what}", hidden.installed);
            let way = Way {
                kind: WayKind::Shadow,
                name: hidden.module,
                value: by,
                digest: None,
            };
            self.way(&way, &about);
        }
    }

    /// Takes a way in and judges it the first time.
    fn way(&mut self, way: &Way, about: &str) {
        if self.ways.now.len() >= WAYS_MAX || !self.ways.now.insert(way.clone()) {
            return;
        }
        let before = self.before();
        if before.ways.contains(way) || is_of_system(way) {
            return;
        }
        let weight = way.kind.weight();
        if weight == Weight::AtOnce || (weight == Weight::WhenNew && before.run.is_some()) {
            let mut finding = finding(way, about);
            finding.earlier = before.run;
            self.finding(finding);
        } else if let Some(run) = before.run {
            let what = format!("who set {} to {}", way.name, way.value);
            self.gap(
                &what,
                &format!("the last good run of this command, {run}, did not have it"),
            );
        }
    }

    /// What the last good run had; asked for once.
    fn before(&mut self) -> Before {
        if let Some(before) = &self.ways.before {
            return before.clone();
        }
        let before = self.last_good().unwrap_or_else(|why| {
            self.gap("comparison of the ways into the processes", &why);
            Before::default()
        });
        self.ways.before = Some(before.clone());
        before
    }

    fn last_good(&self) -> Result<Before, String> {
        let found = self.index.last_good_ways(&self.ways.same, self.ways.run);
        let Some((run, list)) = found.map_err(|error| error.to_string())? else {
            return Ok(Before::default());
        };
        let bytes = self.journal.store().blob(&list).ok().flatten();
        let ways = bytes.and_then(|bytes| serde_json::from_slice(&bytes).ok());
        Ok(Before {
            ways: ways.ok_or_else(|| format!("the list of run {run} cannot be read"))?,
            run: Some(run),
        })
    }

    /// The list, for later runs.
    pub(super) fn record_ways(&mut self) {
        if self.members.is_empty() {
            return;
        }
        if self.ways.now.len() >= WAYS_MAX {
            let what = format!("ways into the processes beyond {WAYS_MAX}");
            self.gap(&what, "too many to list");
        }
        let list = serde_json::to_vec(&self.ways.now).ok();
        if let Some(list) = list.and_then(|bytes| self.journal.blob(&bytes)) {
            let count = self.ways.now.len() as u64;
            self.journal.record(Body::Act(Act::WaysIn { count, list }));
        }
    }
}

/// Folders that a process looks for modules in, absolute.
fn search(hello: &Hello) -> BTreeSet<PathText> {
    let cwd = local(&hello.cwd);
    let folders = hello.sys_path.iter().map(|folder| cwd.join(local(folder)));
    folders
        .map(|folder| {
            // `join` of nothing leaves a slash behind.
            let bytes = folder.as_os_str().as_bytes();
            PathText::from_bytes(bytes.strip_suffix(b"/").unwrap_or(bytes))
        })
        .collect()
}

/// A path as this machine has it.
pub(super) fn local(path: &PathText) -> PathBuf {
    PathBuf::from(OsString::from_vec(path.to_bytes()))
}

/// With the digest of the file that it names, where it is one that matters by its content.
fn identified(mut way: Way, cwd: &PathText) -> Way {
    if way.kind.weight() > Weight::Listed {
        let path = local(cwd).join(local(&way.value));
        way.digest = crate::bounded::digest(&path, MAX_FILE_BYTES).ok();
    }
    way
}

/// Whether a preloaded library is one of the system's own: below its folders, of its owner, for nobody else to write. Whoever
/// can put one there does not need this way in.
fn is_of_system(way: &Way) -> bool {
    if way.kind != WayKind::Preload {
        return false;
    }
    let path = local(&way.value);
    // A bare name is looked for; where, the library path decides.
    let Ok(real) = path
        .canonicalize()
        .map_err(drop)
        .and_then(|real| path.is_absolute().then_some(real).ok_or(()))
    else {
        return false;
    };
    let below = SYSTEM_LIBRARIES
        .iter()
        .any(|folder| real.starts_with(OsStr::new(folder)));
    below
        && real
            .metadata()
            .is_ok_and(|meta| meta.uid() == 0 && meta.mode() & 0o022 == 0)
}

fn finding(way: &Way, about: &str) -> Finding {
    let (name, value) = (&way.name, &way.value);
    let digest = way
        .digest
        .map_or_else(|| "not read".to_owned(), |digest| digest.short());
    let (rule, what, details, innocent) = match way.kind {
        WayKind::Preload => (
            Rule::LibraryPreloaded,
            format!("{name} loads {value} into every process before all other libraries"),
            vec![format!("seen in {about}"), format!("digest {digest}")],
            "an allocator, a runtime or a profiler is loaded on purpose: then say so with --accept-environment",
        ),
        WayKind::StartUp => (
            Rule::EnvironmentUnowned,
            format!("{value} runs at every start of Python, as {name}, and belongs to no package"),
            vec![format!("seen in {about}"), format!("digest {digest}")],
            "a cluster or a tool puts it there: read it, it is short",
        ),
        WayKind::Shadow => (
            Rule::ImportShadowed,
            format!("{value} is imported as {name} instead of the installed module"),
            vec![about.to_owned()],
            "the project has a module of this name on purpose: then nothing else that it uses needs the installed one",
        ),
        WayKind::PlugIn | WayKind::Search => (
            Rule::WayInNew,
            format!("{name} is {value}, which the last good run of this command did not have"),
            vec![format!("seen in {about}"), format!("digest {digest}")],
            "the job is started in another way on purpose: then say so with --accept-environment",
        ),
    };
    file_finding(rule, what, details, value, vec![innocent.to_owned()])
}
