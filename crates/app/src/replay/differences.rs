//! In what a run and its replay are others: what can be put back, one by one, to see what brings the recorded step about.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsString;
use std::path::{Path, PathBuf};

use domain::entry::{Kind, Variable};
use domain::{Digest, Gap, PathText};
use environment::{Change, ChangeKind};
use ledger::Store;
use report::bisect::{DifferenceKind, DifferenceView};

use super::inputs::{self, digest_of, path_of};
use super::overlay::Edit;
use super::process::{self, Own};
use super::{Subject, Task};
use crate::error::AppError;
use crate::present::unsealed;
use crate::record::RunRecord;

/// Files of the environment that are put back at most.
const FILES_MAX: usize = 4_096;

/// What is put back, of all that differs.
#[derive(Debug, Clone, Default)]
pub(super) struct PutBack {
    /// Entries of variables by which code comes in.
    pub(super) entries: BTreeSet<(String, OsString)>,
    /// Files of code that are as the run loaded them, where a commit is replayed.
    pub(super) code: BTreeSet<PathBuf>,
    /// Files of the environment.
    pub(super) environment: Vec<Edit>,
}

/// One difference.
pub(super) struct Difference {
    pub(super) view: DifferenceView,
    what: What,
}

enum What {
    Files(Vec<Edit>),
    Entry(String, OsString),
    Code(PathBuf),
}

impl PutBack {
    /// Of these differences.
    pub(super) fn of<'a>(differences: impl Iterator<Item = &'a Difference>) -> Self {
        let mut all = Self::default();
        for difference in differences {
            match &difference.what {
                What::Files(edits) => all.environment.extend(edits.iter().cloned()),
                What::Entry(name, entry) => {
                    all.entries.insert((name.clone(), entry.clone()));
                }
                What::Code(path) => {
                    all.code.insert(path.clone());
                }
            }
        }
        all
    }
}

/// All of them, and what differs and cannot be put back.
pub(super) fn list(task: &Task<'_>, own: &Own) -> Result<(Vec<Difference>, Vec<Gap>), AppError> {
    let mut limits = Vec::new();
    let mut all = files(task, own, &mut limits);
    all.extend(entries(task));
    all.extend(code(task)?);
    Ok((all, limits))
}

fn tree(store: &Store, record: &RunRecord) -> Option<BTreeMap<PathText, domain::Node>> {
    let mut loads = record.loads.iter();
    let digest = loads.find(|load| load.what == Kind::Environment)?.digest?;
    environment::flatten(digest, |digest| store.blob(&digest).ok().flatten()).ok()
}

/// Files of the environment: of the run's beside those of the replay's.
fn files(task: &Task<'_>, own: &Own, limits: &mut Vec<Gap>) -> Vec<Difference> {
    let subject = task.subject;
    let (run, replay) = (
        tree(&subject.reading.store, &subject.record),
        tree(&own.reading.store, &own.record),
    );
    let Some((run, replay)) = run.zip(replay) else {
        limits.push(Gap {
            what: "the environment".to_owned(),
            why: "its files are not recorded, so that nobody knows which differ".to_owned(),
        });
        return Vec::new();
    };
    let before = process::prefix_of(subject).map_or_else(BTreeMap::new, |prefix| folders(&prefix));
    let after = folders(&task.program.prefix);
    let mut by_file: BTreeMap<String, (DifferenceView, Vec<Edit>)> = BTreeMap::new();
    let mut beyond = 0u64;
    for change in environment::compare(&replay, &run) {
        match edit(&change, &before, &after, &task.program.prefix) {
            Ok(None) => {}
            Ok(Some(edit)) => {
                let name = source_of(&change.path.to_string());
                if by_file.len() >= FILES_MAX && !by_file.contains_key(&name) {
                    beyond += 1;
                    continue;
                }
                let view = DifferenceView {
                    kind: DifferenceKind::Environment,
                    name: name.clone(),
                    how: how(change.kind),
                };
                by_file
                    .entry(name)
                    .or_insert_with(|| (view, Vec::new()))
                    .1
                    .push(edit);
            }
            Err(why) => limits.push(Gap {
                what: change.path.to_string(),
                why: format!("it differs, and cannot be put back: {why}"),
            }),
        }
    }
    if beyond > 0 {
        limits.push(Gap {
            what: format!("{beyond} further files of the environment"),
            why: "too many differ: they are not put back".to_owned(),
        });
    }
    let all = by_file.into_values();
    all.map(|(view, edits)| Difference {
        view,
        what: What::Files(edits),
    })
    .collect()
}

/// Folders of an environment by the first part of the names of their files.
fn folders(prefix: &Path) -> BTreeMap<String, PathBuf> {
    let Ok(derived) = environment::derive(prefix, None) else {
        return BTreeMap::new();
    };
    let roots = derived.layout.roots().iter();
    roots
        .map(|root| (root.name.clone(), root.path.clone()))
        .collect()
}

/// What is to be done in the replay's environment so that the file is as in the run's.
fn edit(
    change: &Change,
    run: &BTreeMap<String, PathBuf>,
    replay: &BTreeMap<String, PathBuf>,
    prefix: &Path,
) -> Result<Option<Edit>, &'static str> {
    let name = path_of(&change.path);
    let mut parts = name.components();
    let root = parts
        .next()
        .map(|part| part.as_os_str().to_string_lossy().into_owned());
    let (root, rest) = (root.unwrap_or_default(), parts.as_path().to_owned());
    let folder = replay
        .get(&root)
        .ok_or("the replay's environment has no such folder")?;
    let place = folder.join(&rest);
    let place = place
        .strip_prefix(prefix)
        .map_err(|_| "it lies outside of the environment's own folder")?;
    let source = match change.kind {
        ChangeKind::ModeChanged => return Ok(None),
        ChangeKind::Unread => return Err("it could not be read on one side"),
        ChangeKind::Removed => None,
        ChangeKind::Added | ChangeKind::Modified => {
            let file = run.get(&root).map(|folder| folder.join(&rest));
            let file = file.ok_or("the run's environment is not there any more")?;
            let digest: Digest = change.after.ok_or("it is no file")?;
            if digest_of(&file) != Some(digest) {
                return Err("other bytes stand there now than the run had");
            }
            Some(file)
        }
    };
    Ok(Some(Edit {
        place: place.to_owned(),
        source,
    }))
}

fn how(kind: ChangeKind) -> &'static str {
    match kind {
        ChangeKind::Added => "the run had it, the replay has not",
        ChangeKind::Removed => "the run had it not",
        ChangeKind::Modified | ChangeKind::ModeChanged | ChangeKind::Unread => {
            "another one in the run"
        }
    }
}

/// What a file is put back with: compiled code with its source, what installers note of a package all together.
fn source_of(name: &str) -> String {
    let folder = name.split('/').find(|part| part.ends_with(".dist-info"));
    if let Some(folder) = folder {
        let package = folder.split('-').next().unwrap_or(folder);
        let above = name.split(folder).next().unwrap_or_default();
        return format!("{above}{package}-*.dist-info");
    }
    let Some((above, file)) = name.rsplit_once("/__pycache__/") else {
        return name.to_owned();
    };
    let is_compiled = Path::new(file).extension().is_some_and(|it| it == "pyc");
    match file.split_once('.').filter(|_| is_compiled) {
        Some((stem, _)) => format!("{above}/{stem}.py"),
        None => name.to_owned(),
    }
}

/// Entries of variables that a replay leaves out.
fn entries(task: &Task<'_>) -> Vec<Difference> {
    let subject = task.subject;
    let launch = subject.record.launch.as_ref();
    let sealed = launch.and_then(|launch| unsealed(&subject.reading.store, &launch.variables));
    let recorded: Vec<Variable> = sealed
        .and_then(|bytes| serde_json::from_slice(&bytes).ok())
        .unwrap_or_default();
    let project = inputs::project(subject);
    let mut all = Vec::new();
    for variable in &recorded {
        let name = path_of(&variable.name).to_string_lossy().into_owned();
        if !process::WAYS_IN.contains(&name.as_str()) {
            continue;
        }
        let value = variable.value.as_ref().map(path_of).unwrap_or_default();
        for entry in std::env::split_paths(value.as_os_str()) {
            let is_own = name == "PYTHONPATH" && entry.starts_with(&project);
            if !is_own && !entry.as_os_str().is_empty() {
                all.push(Difference {
                    view: DifferenceView {
                        kind: DifferenceKind::Variable,
                        name: format!("{name}={}", entry.display()),
                        how: "the run had it, the replay has not",
                    },
                    what: What::Entry(name.clone(), entry.into_os_string()),
                });
            }
        }
    }
    all
}

/// Files of code that the run loaded otherwise than they stand in the commit that is replayed.
fn code(task: &Task<'_>) -> Result<Vec<Difference>, AppError> {
    let subject: &Subject<'_> = task.subject;
    let Some(commit) = &task.request.code else {
        return Ok(Vec::new());
    };
    let committed = inputs::committed(subject, inputs::code(subject).as_ref(), commit)?;
    let mut all = BTreeMap::new();
    let loads = subject.record.loads.iter();
    for load in loads.filter(|load| matches!(load.what, Kind::Script | Kind::Config)) {
        let path = path_of(&load.path);
        let Some(bytes) = committed.get(&path) else {
            continue;
        };
        let mut hasher = domain::Hasher::new();
        hasher.update(bytes);
        if load.digest.is_some_and(|digest| digest != hasher.finish()) {
            let view = DifferenceView {
                kind: DifferenceKind::Code,
                name: load.path.to_string(),
                how: "another one in the run",
            };
            all.insert(path, view);
        }
    }
    let all = all.into_iter();
    Ok(all
        .map(|(path, view)| Difference {
            view,
            what: What::Code(path),
        })
        .collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn compiled_code_goes_with_its_source_and_notes_with_each_other() {
        let of = |name| source_of(name);
        assert_eq!(
            of("purelib/a/__pycache__/b.cpython-311.pyc"),
            "purelib/a/b.py"
        );
        assert_eq!(
            of("purelib/a/__pycache__/notes.txt"),
            "purelib/a/__pycache__/notes.txt"
        );
        assert_eq!(of("purelib/a/b.so"), "purelib/a/b.so");
        let (one, other) = (
            "purelib/a-1.0.dist-info/RECORD",
            "purelib/a-1.1.dist-info/METADATA",
        );
        assert_eq!(
            (of(one), of(other)),
            (of(other), "purelib/a-*.dist-info".to_owned())
        );
    }

    #[test]
    fn what_lies_outside_of_the_environments_folder_is_not_put_back() {
        let folder = |path: &str| BTreeMap::from([("stdlib".to_owned(), PathBuf::from(path))]);
        let change = Change {
            path: PathText::from_bytes(b"stdlib/random.py"),
            kind: ChangeKind::Removed,
            before: None,
            after: None,
        };
        let (run, prefix) = (folder("/base"), Path::new("/env"));
        assert!(edit(&change, &run, &folder("/base/lib"), prefix).is_err());
        let inside = edit(&change, &run, &folder("/env/lib"), prefix)
            .unwrap()
            .unwrap();
        assert_eq!(
            inside,
            Edit {
                place: "lib/random.py".into(),
                source: None
            }
        );
    }
}
