//! `taintline env check`.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use domain::entry::{Act, EnvironmentCheck};
use domain::{Gap, PathText};
use environment::reference::{self, Checked, Silence, project_of};
use environment::{Cache, Derived, Options, Origin, Snapshot, derive, records};
use host::job::Helpers;
use ledger::Store;
use report::environment::{
    BaselineView, EarlierView, EditableView, EnvCheckView, EnvFindingView, EnvVerdict, LockView,
};

use super::EnvError;
use super::baseline::{Signed, read_baseline};
use super::code;
use super::index;
use super::keep::Kept;
use super::references::{Sources, earlier, lists};
use super::words;
use crate::compiled::Memory;
use crate::error::AppError;
use crate::people::People;
use crate::place::Surroundings;
use crate::{acts, secret, writing};

/// What was asked for.
#[derive(Debug, Clone, Default)]
pub struct EnvCheckRequest {
    /// Interpreter or folder of the environment; the active one by default.
    pub python: Option<PathBuf>,
    /// The lock file; the nearest one upwards by default.
    pub lock: Option<PathBuf>,
    /// Package index that wheels may be fetched from.
    pub index: Option<String>,
    /// Folders with wheels.
    pub wheelhouses: Vec<PathBuf>,
    /// A list that the user signed.
    pub baseline: Option<PathBuf>,
    /// Public keys of signers that are believed; the user's own by default.
    pub keys: Vec<PathBuf>,
    /// Read every file, whatever the cache knows.
    pub deep: bool,
    /// Compare byte code with its sources too: starts the interpreter, confined.
    pub compiled: bool,
    /// Threads that read.
    pub threads: usize,
}

/// Checks an environment.
pub fn check(
    surroundings: &Surroundings,
    request: &EnvCheckRequest,
) -> Result<EnvCheckView, AppError> {
    let began = SystemTime::now();
    let derived = find(surroundings, request.python.as_deref())?;
    let sources = Sources::find(surroundings, request.lock.as_deref(), &request.wheelhouses)?;
    if request.index.is_some() && sources.lock.is_none() {
        return Err(EnvError::IndexWithoutLock.into());
    }
    let signed = request.baseline.as_ref();
    let signed = signed
        .map(|path| read_baseline(surroundings, path, &request.keys, &derived))
        .transpose()?;
    let store = Store::open_or_create(&surroundings.store_to_write())?;
    let keys = surroundings.keys()?;
    let secret = secret::of_store(&store, &keys)?;
    let kept = Kept::new(&store, secret);
    let place = store.root().join("cache/files");
    let mut cache = Cache::load(&place);
    let snapshot = scan(&derived, &mut cache, request, began);
    let report = records::check(&snapshot);
    let mut references = sources.references(&snapshot, &kept, &mut cache, began);
    let fetched = request.index.as_deref().and_then(|index| {
        let (_, lock) = sources.lock.as_ref()?;
        let told = index::fetch(index, &snapshot, lock, &references.packages, &kept);
        references = sources.references(&snapshot, &kept, &mut cache, began);
        Some(told)
    });
    let _ = std::fs::create_dir_all(store.root().join("cache"));
    let _ = cache.save(&place); // without it the next check reads everything: slower, not wrong
    references.lists = lists(&derived, &snapshot);
    let prefix = PathText::from(derived.prefix.as_path());
    let mut gaps = gaps(&derived, &sources, &snapshot, &references.lists.unread);
    let index = fetched.map(|(view, missing)| {
        gaps.extend(missing);
        view
    });
    let before = earlier(&store, &prefix, &snapshot).unwrap_or_else(|why| {
        let what = "the last check of this environment".to_owned();
        gaps.push(Gap { what, why });
        None
    });
    let (before, first_seen) = before.unzip();
    references.first_seen = first_seen;
    references.baseline = signed.as_ref().map(|it| it.names.clone());
    let checked = reference::check(&snapshot, &report, &references);
    drop(references);
    let editable = editable(&snapshot, &mut gaps);
    gaps.extend(words::silences(&checked, &snapshot));
    let memory = Memory::of_store(&store, &secret);
    let compared = code::compare(&derived, &snapshot, &checked, memory, request.compiled);
    gaps.extend(compared.gaps);
    let mut findings = words::findings(&checked, &snapshot);
    findings.extend(compared.findings);
    let mut view = view(&derived, &snapshot, &checked, findings, gaps);
    (view.code, view.editable, view.index) = (compared.view, editable, index);
    view.lock = locked(surroundings, &sources);
    view.baseline = signed.map(|Signed { key, digest, .. }| BaselineView {
        key,
        tree: digest.to_string(),
    });
    view.earlier = before.map(|it| EarlierView {
        same: it.act.tree == snapshot.root.digest(),
        tree: it.act.tree.to_string(),
        recorded: format!("{}, entry {}", it.log, it.number),
    });
    view.ledger = record(&store, &keys, &prefix, &snapshot, &view)?;
    Ok(view)
}

fn locked(surroundings: &Surroundings, sources: &Sources) -> Option<LockView> {
    sources.lock.as_ref().map(|(path, lock)| LockView {
        path: surroundings.shown(path),
        packages: lock.len() as u64,
        digests: lock.digests() as u64,
        named: sources.lock_named,
    })
}

/// The environment that is meant.
pub(super) fn find(surroundings: &Surroundings, named: Option<&Path>) -> Result<Derived, EnvError> {
    let variable = |wanted: &str| {
        let mut all = surroundings.variables.iter();
        let found = all.find(|(name, _)| name == wanted);
        found
            .map(|(_, value)| value)
            .filter(|value| !value.is_empty())
    };
    let home = variable("HOME").map(Path::new);
    if let Some(named) = named {
        // A bare name is looked for as a shell would.
        let is_bare = named.components().count() == 1 && !surroundings.cwd.join(named).exists();
        if !is_bare {
            return Ok(derive(&surroundings.cwd.join(named), home)?);
        }
    } else if let Some(venv) = variable("VIRTUAL_ENV") {
        return Ok(derive(Path::new(venv), home)?);
    }
    let bare = named.unwrap_or(Path::new("python3"));
    let folders = variable("PATH").map(std::env::split_paths);
    for folder in folders.into_iter().flatten() {
        let path = surroundings.cwd.join(folder).join(bare);
        // Scripts that choose an interpreter are passed over: which one they would choose is not found out by running them.
        if path.is_file()
            && let Ok(derived) = derive(&path, home)
        {
            return Ok(derived);
        }
    }
    Err(EnvError::NoPython)
}

pub(super) fn scan(
    derived: &Derived,
    cache: &mut Cache,
    request: &EnvCheckRequest,
    began: SystemTime,
) -> Snapshot {
    let mut seed = [0; 8];
    // Without randomness the sample can be foretold; everything else holds.
    let _ = getrandom::fill(&mut seed);
    let mut options = Options::new(began, u64::from_le_bytes(seed));
    options.threads = request.threads;
    options.deep = request.deep;
    environment::scan(&derived.layout, cache, &options)
}

fn gaps(
    derived: &Derived,
    sources: &Sources,
    snapshot: &Snapshot,
    lists: &[(String, String)],
) -> Vec<Gap> {
    let mut gaps: Vec<Gap> = derived
        .gaps
        .iter()
        .map(|why| Gap {
            what: "the layout of the environment".to_owned(),
            why: why.clone(),
        })
        .collect();
    gaps.extend(sources.gaps());
    gaps.extend(lists.iter().map(|(name, why)| Gap {
        what: format!("the list {name}"),
        why: why.clone(),
    }));
    let mut unread: BTreeMap<&str, (u64, &PathText)> = BTreeMap::new();
    for (path, reason) in snapshot.unread() {
        unread.entry(reason).or_insert((0, path)).0 += 1;
    }
    gaps.extend(unread.into_iter().map(|(why, (count, first))| Gap {
        what: if count == 1 {
            first.to_string()
        } else {
            format!("{count} files, first {first}")
        },
        why: why.to_owned(),
    }));
    gaps
}

/// Packages whose code lies in a project's folder: what git says of it.
fn editable(snapshot: &Snapshot, gaps: &mut Vec<Gap>) -> Vec<EditableView> {
    let mut all = Vec::new();
    for package in &snapshot.packages {
        if package.origin != Origin::Editable {
            continue;
        }
        let name = format!("{} {}", package.name, package.version);
        let gap = |why: String| Gap {
            what: format!("the code of {name}, which is installed in place"),
            why,
        };
        let Some(folder) = project_of(snapshot, package) else {
            gaps.push(gap("its direct_url.json names no folder".to_owned()));
            continue;
        };
        let (code, missing) = if folder.is_dir() {
            crate::code::examine(&folder, &Helpers::default(), &People::default())
        } else {
            gaps.push(gap(format!("{} is no folder", folder.display())));
            continue;
        };
        gaps.extend(
            missing
                .into_iter()
                .map(|it| gap(format!("{}: {}", it.what, it.why))),
        );
        let dirty = code.as_ref().map(|code| code.dirty.len() as u64);
        let commit = code.and_then(|code| code.commit);
        if commit.is_some() && dirty.is_some_and(|count| count > 0) {
            let count = dirty.unwrap_or(0);
            gaps.push(gap(format!(
                "{count} files there are not as the commit has them"
            )));
        }
        all.push(EditableView {
            package: name,
            folder: PathText::from(folder.as_path()).to_string(),
            commit,
            dirty,
        });
    }
    all
}

fn view(
    derived: &Derived,
    snapshot: &Snapshot,
    checked: &Checked,
    findings: Vec<EnvFindingView>,
    gaps: Vec<Gap>,
) -> EnvCheckView {
    let verdict = match (findings.is_empty(), gaps.is_empty()) {
        (false, _) => EnvVerdict::Differs,
        (true, false) => EnvVerdict::Incomplete,
        (true, true) => EnvVerdict::AsVouched,
    };
    let vouched = checked.vouched().into_iter();
    let silent = checked.silent().into_iter();
    EnvCheckView {
        schema: "taintline.env-check/1",
        verdict,
        prefix: PathText::from(derived.prefix.as_path()).to_string(),
        python: derived.python.clone(),
        tree: snapshot.root.digest().to_string(),
        files: snapshot.totals.files,
        bytes: snapshot.totals.bytes,
        files_read: snapshot.totals.read_files,
        bytes_read: snapshot.totals.read_bytes,
        compiled: snapshot.compiled_flat.len() as u64,
        code: None,
        vouched: vouched.map(|(it, count)| (it.word(), count)).collect(),
        not_vouched: silent
            .map(|(it, count)| (Silence::word(it), count))
            .collect(),
        packages: words::packages(checked, snapshot),
        findings,
        gaps,
        editable: Vec::new(),
        lock: None,
        index: None,
        baseline: None,
        earlier: None,
        ledger: String::new(),
    }
}

/// The trees and the answer become blobs, the act an entry.
fn record(
    store: &Store,
    keys: &Path,
    prefix: &PathText,
    snapshot: &Snapshot,
    view: &EnvCheckView,
) -> Result<String, AppError> {
    let summary = serde_json::to_vec(view).map_err(EnvError::from)?;
    let mut blobs: Vec<&[u8]> = snapshot
        .trees
        .iter()
        .map(|it| it.bytes.as_slice())
        .collect();
    blobs.push(&summary);
    let stored = store.put_blobs(&blobs)?;
    let Some(summary) = stored.last().copied() else {
        return Err(AppError::NotRecorded {
            why: "the answer is not among the blobs".to_owned(),
        });
    };
    let writer = writing::open(store, keys)?;
    let act = Act::EnvironmentChecked(Box::new(EnvironmentCheck {
        prefix: prefix.clone(),
        tree: snapshot.root.digest(),
        summary,
        files: snapshot.totals.files,
        bytes: snapshot.totals.bytes,
        findings: view.findings.len() as u64,
        gaps: view.gaps.len() as u64,
        person: crate::run::person(),
    }));
    let (log, number) = acts::record(&writer, act)?;
    Ok(format!("{log}, entry {number}"))
}
