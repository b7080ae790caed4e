//! What the run took in, put where the replay finds it: code and configuration out of the record, everything else only if its bytes are the
//! recorded ones.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs::File;
use std::io::Read as _;
use std::os::unix::ffi::OsStringExt as _;
use std::path::{Path, PathBuf};

use domain::entry::{Code, Kind, Load};
use domain::kept::KeptFile;
use domain::replay::ReplayWay;
use domain::{Digest, Gap, Hasher, PathText};
use ledger::Store;

use super::place::{Workplace, is_below, tidy};
use super::{ReplayError, Subject, Task, disk};
use crate::present::unsealed;

/// Files up to this size are copied; larger ones are linked to, and cannot be written through the link where Landlock holds.
const COPY_BYTES_MAX: u64 = 64 << 20;
/// Where the system's own files are: what is read there is not an input of the run.
const SYSTEM: [&str; 7] = ["/proc", "/sys", "/dev", "/usr", "/etc", "/lib", "/run"];
/// Missing inputs that are remembered.
const MISSING_MAX: usize = 100;

/// What was put where.
pub(super) struct Laid {
    /// Where the code came from, in words.
    pub(super) code: String,
    /// Files of code and configuration.
    pub(super) scripts: u64,
    /// Files of data and checkpoints, verified.
    pub(super) data: u64,
    /// What is not as sure as it could be.
    pub(super) limits: Vec<Gap>,
    /// Folders and files of the run that are mirrored.
    pub(super) mirrored: Vec<PathBuf>,
    /// Files that are read where they are.
    pub(super) in_place: Vec<PathBuf>,
    /// Files of the checkpoint that is put in, where the script cannot come upon them.
    pub(super) put_in: Vec<PathBuf>,
}

/// A path of the record.
pub(super) fn path_of(text: &PathText) -> PathBuf {
    PathBuf::from(OsString::from_vec(text.to_bytes()))
}

/// The run's project: the top of its work tree, if it ran in it, else the folder that it ran in.
pub(super) fn project(subject: &Subject<'_>) -> PathBuf {
    let cwd = path_of(&subject.command.cwd);
    let top = code(subject).map(|code| path_of(&code.top));
    top.filter(|top| is_below(&cwd, top)).unwrap_or(cwd)
}

pub(super) fn code(subject: &Subject<'_>) -> Option<Code> {
    let load = (subject.record.loads.iter()).find(|load| load.what == Kind::Code)?;
    serde_json::from_slice(&unsealed(&subject.reading.store, &load.digest?)?).ok()
}

/// The last checkpoint that the run saved before step `first` and whose bytes are still there: its place among the writes, and its step.
pub(super) fn checkpoint_before(subject: &Subject<'_>, first: u64) -> Option<(usize, u64)> {
    let mut saved: Vec<(u64, usize)> = (subject.record.writes.iter().enumerate())
        .filter_map(|(number, (_, write))| Some((write.step?, number)))
        .filter(|(step, _)| *step > 0 && *step < first)
        .collect();
    saved.sort_unstable();
    let found = saved.into_iter().rev().find(|(_, number)| {
        let write = subject.record.writes.get(*number).map(|(_, write)| write);
        write.is_some_and(|write| {
            write
                .digest
                .is_some_and(|digest| source(subject, &path_of(&write.path), &digest).is_some())
        })
    })?;
    Some((found.1, found.0))
}

/// A file with these bytes: where the run had it, or where it was set aside.
fn source(subject: &Subject<'_>, path: &Path, digest: &Digest) -> Option<PathBuf> {
    let is = |path: &Path| digest_of(path).is_some_and(|found| found == *digest);
    if is(path) {
        return Some(path.to_owned());
    }
    let store = &subject.reading.store;
    let sent = beside(store).join(digest.to_string());
    if is(&sent) {
        return Some(sent);
    }
    for kept in &subject.record.kept {
        let list = store.blob(&kept.list).ok().flatten().unwrap_or_default();
        let files = list.split(|byte| *byte == b'\n');
        for file in files.filter_map(|line| serde_json::from_slice::<KeptFile>(line).ok()) {
            let place = store
                .root()
                .join(path_of(&kept.place))
                .join(path_of(&file.name));
            if file.digest == *digest && is(&place) {
                return Some(place);
            }
        }
    }
    None
}

/// Where a store that was laid out for a job has data and checkpoints, by their digests.
pub(super) fn beside(store: &Store) -> PathBuf {
    store.root().join("inputs")
}

/// Files of data and checkpoints that the replay takes, as far as they are there with the recorded bytes.
pub(super) fn found(task: &Task<'_>) -> Vec<(Digest, PathBuf)> {
    let record = &task.subject.record;
    let loads = inputs(task).into_iter();
    let mut wanted: Vec<(PathBuf, Option<Digest>)> = loads
        .map(|load| (path_of(&load.path), load.digest))
        .collect();
    let mut writes = record.writes.iter().map(|(_, write)| write);
    let at = task
        .segment
        .checkpoint
        .and_then(|at| writes.clone().nth(at));
    if let Some(at) = at {
        let with_it = writes.by_ref().filter(|write| write.step == at.step);
        wanted.extend(with_it.map(|write| (path_of(&write.path), write.digest)));
    }
    let all = wanted.into_iter();
    all.filter_map(|(path, digest)| {
        let digest = digest?;
        Some((digest, source(task.subject, &path, &digest)?))
    })
    .collect()
}

pub(super) fn digest_of(path: &Path) -> Option<Digest> {
    let mut file = File::open(path).ok()?;
    if !file.metadata().ok()?.is_file() {
        return None;
    }
    let (mut hasher, mut buffer) = (Hasher::new(), vec![0; 1 << 20]);
    loop {
        match file.read(&mut buffer).ok()? {
            0 => return Some(hasher.finish()),
            count => hasher.update(buffer.get(..count)?),
        }
    }
}

/// Puts everything in its place.
pub(super) fn lay_out(task: &Task<'_>, place: &Workplace) -> Result<Laid, ReplayError> {
    let subject = task.subject;
    let project = project(subject);
    let mut laid = Laid {
        code: String::new(),
        scripts: 0,
        data: 0,
        limits: Vec::new(),
        mirrored: vec![project.clone()],
        in_place: Vec::new(),
        put_in: Vec::new(),
    };
    let cwd = place.mirror(&path_of(&subject.command.cwd));
    std::fs::create_dir_all(&cwd).map_err(disk(&cwd))?;
    let mut mirrored_by_argument = named_folders(subject, &project);
    laid.mirrored.append(&mut mirrored_by_argument);
    scripts(task, place, &mut laid)?;
    let mut missing = Vec::new();
    for load in inputs(task) {
        let path = path_of(&load.path);
        if let Err(why) = data(subject, place, &mut laid, load, &path)
            && missing.len() < MISSING_MAX
        {
            missing.push(format!("{}: {why}", load.path));
        }
    }
    checkpoint(task, place, &mut laid)?;
    match missing.first() {
        None => Ok(laid),
        Some(first) => Err(ReplayError::Inputs {
            run: subject.record.name(),
            missing: first.clone(),
            count: missing.len(),
        }),
    }
}

/// Absolute arguments under which files of the run lie.
fn named_folders(subject: &Subject<'_>, project: &Path) -> Vec<PathBuf> {
    let of_loads = subject
        .record
        .loads
        .iter()
        .filter(|load| load.what == Kind::Script);
    let mut paths: Vec<PathBuf> = of_loads.map(|load| path_of(&load.path)).collect();
    paths.extend(
        subject
            .record
            .writes
            .iter()
            .map(|(_, write)| path_of(&write.path)),
    );
    paths.retain(|path| !is_sensors(path));
    let arguments = subject.command.argv.iter().skip(1);
    arguments
        .filter_map(|argument| absolute(&path_of(argument)))
        .filter(|named| !is_below(named, project))
        .filter(|named| paths.iter().any(|path| is_below(path, named)))
        .collect()
}

/// The absolute path that an argument is, or that stands behind its `=`.
pub(super) fn absolute(argument: &Path) -> Option<PathBuf> {
    if argument.is_absolute() {
        return Some(tidy(argument));
    }
    let text = argument.to_str()?;
    let (_, value) = text.split_once('=')?;
    Path::new(value)
        .is_absolute()
        .then(|| tidy(Path::new(value)))
}

/// A file of our own sensor: the replay has one of its own.
fn is_sensors(path: &Path) -> bool {
    let above = path.parent().and_then(Path::parent);
    above.is_some_and(|above| {
        above.ends_with("lib/taintline/sensor")
            || above.join("startup/sitecustomize.py").is_file()
                && above.join("taintline/_sensor.py").is_file()
    })
}

fn scripts(task: &Task<'_>, place: &Workplace, laid: &mut Laid) -> Result<(), ReplayError> {
    let subject = task.subject;
    let code = code(subject);
    let committed = match &task.request.code {
        None => BTreeMap::new(),
        Some(commit) => committed(subject, code.as_ref(), commit)?,
    };
    for (path, bytes) in &committed {
        put(place, path, bytes)?;
        laid.scripts += 1;
    }
    if task.request.code.is_none() {
        beneath(subject, code.as_ref(), place, laid)?;
    }
    let loads = subject.record.loads.iter();
    let own = loads.filter(|load| matches!(load.what, Kind::Script | Kind::Config));
    for load in own {
        let path = path_of(&load.path);
        let is_back = task.back.code.contains(&path);
        if is_sensors(&path)
            || (committed.contains_key(&path) && !is_back)
            || is_output(subject, load, &path)
        {
            continue;
        }
        let stored = load.digest.filter(|_| load.stored);
        let bytes = stored.and_then(|digest| subject.reading.store.blob(&digest).ok().flatten());
        let Some(bytes) = bytes else {
            let why = format!("the bytes of {} are not in the store", load.path);
            return Err(subject.error(why));
        };
        put(place, &path, &bytes)?;
        laid.mirrored.push(path);
        laid.scripts += 1;
    }
    laid.code = words(code.as_ref(), task.request.code.as_deref());
    Ok(())
}

/// A configuration that was read while the training went on, where the run saves its checkpoints: it wrote it itself.
fn is_output(subject: &Subject<'_>, load: &Load, path: &Path) -> bool {
    let mut writes = subject.record.writes.iter();
    load.what == Kind::Config
        && load.step.is_some()
        && writes.any(|(_, write)| path_of(&write.path).parent() == path.parent())
}

/// The recorded commit beneath what was loaded: a file of it may have been read in a way that the sensor does not see. One that differed from it
/// is left out.
fn beneath(
    subject: &Subject<'_>,
    code: Option<&Code>,
    place: &Workplace,
    laid: &mut Laid,
) -> Result<(), ReplayError> {
    let Some((code, commit)) = code.and_then(|code| Some((code, code.commit.as_ref()?))) else {
        return Ok(());
    };
    let files = match committed(subject, Some(code), commit) {
        Ok(files) => files,
        Err(ReplayError::Commit { why, .. }) => {
            let what = format!("files of commit {commit} that no process told of");
            laid.limits.push(Gap { what, why });
            return Ok(());
        }
        Err(error) => return Err(error),
    };
    let top = path_of(&code.top);
    let dirty: Vec<PathBuf> = code
        .dirty
        .iter()
        .map(|name| top.join(path_of(name)))
        .collect();
    for (path, bytes) in files {
        if !dirty.contains(&path) {
            put(place, &path, &bytes)?;
        }
    }
    laid.mirrored.push(top);
    Ok(())
}

fn words(code: Option<&Code>, named: Option<&str>) -> String {
    let commit = |code: &Code| {
        code.commit
            .clone()
            .map(|it| it.chars().take(12).collect::<String>())
    };
    match (code.and_then(commit), code, named) {
        (_, _, Some(named)) => format!("commit {named}, instead of what the run loaded"),
        (Some(commit), Some(code), None) if code.dirty.is_empty() => {
            format!("as the run loaded it: commit {commit}, clean")
        }
        (Some(commit), Some(code), None) => format!(
            "as the run loaded it: commit {commit} and {} files that differ from it",
            code.dirty.len()
        ),
        _ => "as the run loaded it, in no commit".to_owned(),
    }
}

fn put(place: &Workplace, path: &Path, bytes: &[u8]) -> Result<(), ReplayError> {
    let file = place.mirror(path);
    place.prepare(&file)?;
    std::fs::write(&file, bytes).map_err(disk(&file))
}

/// The files of a commit in the run's repository.
pub(super) fn committed(
    subject: &Subject<'_>,
    code: Option<&Code>,
    commit: &str,
) -> Result<BTreeMap<PathBuf, Vec<u8>>, ReplayError> {
    let failed = |why: String| ReplayError::Commit {
        commit: commit.to_owned(),
        why,
    };
    let code =
        code.ok_or_else(|| failed(format!("{} was in no repository", subject.record.name())))?;
    let top = path_of(&code.top);
    let files = crate::code::files_of(&top, commit).map_err(failed)?;
    Ok(files
        .into_iter()
        .map(|(name, bytes)| (top.join(name), bytes))
        .collect())
}

/// Files that came from outside: not what the run itself wrote, and not the system's or the environment's.
fn inputs<'a>(task: &Task<'a>) -> Vec<&'a Load> {
    let record = &task.subject.record;
    let written: Vec<&PathText> = record.writes.iter().map(|(_, write)| &write.path).collect();
    let mut seen = std::collections::BTreeSet::new();
    let own_prefix = super::process::prefix_of(task.subject);
    let loads = record
        .loads
        .iter()
        .filter(|load| matches!(load.what, Kind::Data | Kind::Checkpoint));
    loads
        .filter(|load| {
            let path = path_of(&load.path);
            let outside = !SYSTEM.iter().any(|folder| path.starts_with(folder))
                && !is_below(&path, &task.program.prefix)
                && !own_prefix
                    .as_ref()
                    .is_some_and(|prefix| is_below(&path, prefix))
                && !is_sensors(&path);
            // What was there before the run wrote to it is an input all the same: its first load came before any step.
            let own = written.contains(&&load.path) && load.step.is_some();
            outside && !own && seen.insert(load.path.clone())
        })
        .collect()
}

fn data(
    subject: &Subject<'_>,
    place: &Workplace,
    laid: &mut Laid,
    load: &Load,
    path: &Path,
) -> Result<(), String> {
    let found = if let Some(digest) = &load.digest {
        source(subject, path, digest)
            .ok_or("it is not there any more with the bytes that the run loaded")?
    } else {
        known_by_times(load, path)?;
        laid.limits.push(Gap {
            what: format!("content of {}", load.path),
            why: "the run recorded size and times only, and these are as they were".to_owned(),
        });
        path.to_owned()
    };
    laid.data += 1;
    if laid.mirrored.iter().any(|folder| is_below(path, folder)) {
        return bring(laid, place, path, &found).map_err(|error| error.to_string());
    }
    if found != path {
        return Err("other bytes stand there now".to_owned());
    }
    laid.in_place.push(found);
    // A script may come to it by its own place, which is mirrored.
    let file = place.mirror(path);
    if file.symlink_metadata().is_ok() {
        return Ok(());
    }
    let linked = place.prepare(&file).map_err(|error| error.to_string());
    linked.and_then(|()| std::os::unix::fs::symlink(path, &file).map_err(|error| error.to_string()))
}

fn known_by_times(load: &Load, path: &Path) -> Result<(), String> {
    use std::os::unix::fs::MetadataExt as _;
    let there = std::fs::metadata(path).map_err(|error| error.to_string())?;
    let same = load.identity.as_ref().is_some_and(|it| {
        let mtime = there
            .mtime()
            .saturating_mul(1_000_000_000)
            .saturating_add(there.mtime_nsec());
        it.size == there.len() && it.ino == there.ino() && it.mtime_ns == mtime
    });
    if same {
        return Ok(());
    }
    Err("size or times are not what the run recorded, which is all that it did".to_owned())
}

/// A copy of `found`, or a link to it, where the replay looks for `path`.
fn bring(laid: &mut Laid, place: &Workplace, path: &Path, found: &Path) -> Result<(), ReplayError> {
    bring_to(laid, place, &place.mirror(path), found)
}

fn bring_to(
    laid: &mut Laid,
    place: &Workplace,
    file: &Path,
    found: &Path,
) -> Result<(), ReplayError> {
    if file.symlink_metadata().is_ok() {
        return Ok(());
    }
    place.prepare(file)?;
    let size = std::fs::metadata(found).map_err(disk(found))?.len();
    if size <= COPY_BYTES_MAX {
        return std::fs::copy(found, file).map(drop).map_err(disk(file));
    }
    laid.in_place.push(found.to_owned());
    std::os::unix::fs::symlink(found, file).map_err(disk(file))
}

/// The checkpoint that the segment begins with, and what was saved with it, as far as it is still there.
fn checkpoint(task: &Task<'_>, place: &Workplace, laid: &mut Laid) -> Result<(), ReplayError> {
    let record = &task.subject.record;
    let chosen = task
        .segment
        .checkpoint
        .and_then(|number| record.writes.get(number));
    let Some((_, chosen)) = chosen else {
        return Ok(());
    };
    for (_, write) in record
        .writes
        .iter()
        .filter(|(_, it)| it.step == chosen.step)
    {
        let path = path_of(&write.path);
        let found = (write.digest).and_then(|digest| source(task.subject, &path, &digest));
        if let Some(found) = found {
            if task.segment.way == ReplayWay::Substitute {
                let file = place.at("state").join(laid.put_in.len().to_string());
                bring_to(laid, place, &file, &found)?;
                laid.put_in.push(file);
            } else {
                bring(laid, place, &path, &found)?;
            }
            laid.data += 1;
        } else {
            laid.limits.push(Gap {
                what: write.path.to_string(),
                why: "it was saved with the checkpoint, and is not there any more with the bytes that the run saved".to_owned(),
            });
        }
    }
    Ok(())
}
