//! The replaying process: which program, with which variables, confined to its own folders.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use domain::Gap;
use domain::entry::Variable;
use domain::replay::ReplayWay;

use super::band::Instructions;
use super::inputs::{Laid, absolute, path_of};
use super::place::{Workplace, is_below, name_of};
use super::steps::Recorded;
use super::{ReplayError, Subject, Task, disk, user};
use crate::error::AppError;
use crate::place::Surroundings;
use crate::present::unsealed;
use crate::queries::Reading;
use crate::record::RunRecord;

/// What is started: an interpreter, or a launcher beside it.
pub(super) struct Program {
    pub(super) prefix: PathBuf,
    pub(super) interpreter: PathBuf,
    argument: OsString,
}

impl Program {
    /// The same in another folder.
    pub(super) fn moved(&self, to: &Path) -> Self {
        let moved = |path: &Path| {
            path.strip_prefix(&self.prefix)
                .map_or_else(|_| path.to_owned(), |rest| to.join(rest))
        };
        Self {
            prefix: to.to_owned(),
            interpreter: moved(&self.interpreter),
            argument: moved(Path::new(&self.argument)).into_os_string(),
        }
    }

    /// A launcher names its interpreter in its first line: here it is the one beside it, and no longer the one in `before`.
    pub(super) fn own_launcher(&self, before: &Path) -> Result<(), ReplayError> {
        let launcher = PathBuf::from(&self.argument);
        if launcher == self.interpreter {
            return Ok(());
        }
        let text = std::fs::read(&launcher).map_err(disk(&launcher))?;
        let (old, new) = (
            format!("#!{}/", before.display()),
            format!("#!{}/", self.prefix.display()),
        );
        if let Some(rest) = text.strip_prefix(old.as_bytes()) {
            let mode = std::fs::metadata(&launcher)
                .map_err(disk(&launcher))?
                .permissions();
            std::fs::remove_file(&launcher).map_err(disk(&launcher))?;
            let own = [new.as_bytes(), rest].concat();
            std::fs::write(&launcher, own).map_err(disk(&launcher))?;
            std::fs::set_permissions(&launcher, mode).map_err(disk(&launcher))?;
        }
        Ok(())
    }
}

/// The folder of the environment that the run had.
pub(super) fn prefix_of(subject: &Subject<'_>) -> Option<PathBuf> {
    let mut joined = subject.record.joined.values();
    joined.next().map(|joined| path_of(&joined.prefix))
}

/// How it ended.
pub(super) struct Ended {
    pub(super) status: ExitStatus,
    pub(super) timed_out: bool,
    pub(super) wall: Duration,
    pub(super) confined: bool,
    /// The number of the user that it ran as, where that is another.
    pub(super) user: Option<u32>,
    pub(super) limits: Vec<Gap>,
    /// The last lines that it wrote to standard error.
    pub(super) said: String,
}

/// Variables that bring code into a process, or steer where it looks for it.
pub(super) const WAYS_IN: [&str; 14] = [
    "PYTHONPATH",
    "PYTHONHOME",
    "PYTHONSTARTUP",
    "PYTHONUSERBASE",
    "PYTHONINSPECT",
    "PYTHONBREAKPOINT",
    "PYTHONPLATLIBDIR",
    "PYTHONPYCACHEPREFIX",
    "PYTHONWARNINGS",
    "LD_PRELOAD",
    "LD_AUDIT",
    "LD_LIBRARY_PATH",
    "BASH_ENV",
    "ENV",
];
/// Variables that are set for the replay, whatever they were.
const OWN: [&str; 9] = [
    "VIRTUAL_ENV",
    "PWD",
    "OLDPWD",
    "TMPDIR",
    "XDG_DATA_HOME",
    "XDG_CACHE_HOME",
    "XDG_CONFIG_HOME",
    "XDG_RUNTIME_DIR",
    "HOME",
];
/// Variables that say how many threads compute.
const THREADS: [&str; 4] = [
    "OMP_NUM_THREADS",
    "MKL_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "TORCH_NUM_THREADS",
];
/// A replay takes so many times as long as the recorded steps at most, and this much more.
const PATIENCE: u32 = 10;
const START: Duration = Duration::from_mins(10);
/// From the signal that asks it to end to the one that ends it.
const MERCY: Duration = Duration::from_secs(10);
/// Bytes of its last words.
const SAID_BYTES: usize = 2_000;

/// The program of the recorded command, in the environment that is meant.
pub(super) fn program(subject: &Subject<'_>, env: Option<&Path>) -> Result<Program, ReplayError> {
    let first = subject
        .command
        .argv
        .first()
        .map(path_of)
        .unwrap_or_default();
    let name = name_of(first.as_os_str());
    let recorded = prefix_of(subject);
    let is_python = name.starts_with("python") || name.starts_with("pypy");
    let (prefix, interpreter) = if let Some(env) = env {
        named(&subject.surroundings.cwd.join(env))
    } else {
        let prefix =
            recorded.ok_or_else(|| subject.error("no process of it told where its Python is"))?;
        let beside = prefix
            .join("bin")
            .join(if is_python { name.as_str() } else { "python" });
        (prefix, beside)
    };
    if !interpreter.is_file() {
        return Err(subject.error(format!(
            "there is no interpreter at {}",
            interpreter.display()
        )));
    }
    let argument = if is_python {
        interpreter.clone().into_os_string()
    } else {
        let launcher = prefix.join("bin").join(&name);
        if name.is_empty() || !launcher.is_file() {
            return Err(subject.error(format!(
                "it was started by `{name}`, which is no program of the environment at {}",
                prefix.display()
            )));
        }
        launcher.into_os_string()
    };
    Ok(Program {
        prefix,
        interpreter,
        argument,
    })
}

/// Folder and interpreter of an environment that was named by either.
fn named(env: &Path) -> (PathBuf, PathBuf) {
    if env.is_dir() {
        return (env.to_owned(), env.join("bin/python"));
    }
    let folder = env.parent().unwrap_or(env);
    (folder.parent().unwrap_or(folder).to_owned(), env.to_owned())
}

/// Starts the processes and waits for their end.
pub(super) fn start(task: &Task<'_>, place: &Workplace, laid: &Laid) -> Result<Ended, AppError> {
    let subject = task.subject;
    let binary = subject.surroundings.binary.clone();
    let binary = binary.ok_or_else(|| subject.error("this program does not know where it is"))?;
    let mut limits = Vec::new();
    let variables = variables(task, place, laid, &mut limits)?;
    let cwd = place.mirror(&path_of(&subject.command.cwd));
    known_files(task, place)?;
    let said = |name: &str| -> Result<File, ReplayError> {
        let path = place.at(name);
        File::create(&path).map_err(disk(&path))
    };
    let mut command = Command::new(&binary);
    command
        .args(["--store".as_ref(), place.at("store").as_os_str()])
        // What a checkpoint would do beside giving data is not part of what is to be shown.
        .args(["run", "--quiet", "--refuse-dangerous"])
        .args(["--exit-code", "command", "--"])
        .args(arguments(task, place, laid))
        .env_clear()
        .current_dir(&cwd)
        .stdin(Stdio::null())
        .stdout(said("out")?)
        .stderr(said("err")?);
    let sensor = subject.surroundings.sensor()?;
    let (user, limit) = user::choose(place, laid, task.program, &[&binary, &sensor])?;
    limits.extend(limit);
    if let Some(id) = user {
        // No account has its number: programs that ask for its name find one here.
        command.env("LOGNAME", "replay");
        user::as_user(&mut command, id);
    }
    command.envs(variables);
    let confined = host::sandbox::confine_writes(&mut command, &[place.root()]);
    if !confined {
        limits.push(Gap {
            what: "confinement of the replay".to_owned(),
            why: "this kernel has no Landlock: the script could write outside of the replay's folders".to_owned(),
        });
    }
    let began = Instant::now();
    let child = command.spawn().map_err(AppError::Host)?;
    let recorded = Duration::from_micros(
        subject
            .steps
            .time_us(task.segment.base + 1, task.segment.last),
    );
    let (status, timed_out) = wait(child, began + START + recorded * PATIENCE)?;
    Ok(Ended {
        status,
        timed_out,
        wall: began.elapsed(),
        confined,
        user,
        limits,
        said: last_words(&place.at("err")),
    })
}

/// What the check of the environment has just read and compiled, the replay's supervisor need not read and compile again: it gets what is
/// known of unchanged files, and the secret under which that is believed. Without it, it is slower and not wrong.
fn known_files(task: &Task<'_>, place: &Workplace) -> Result<(), AppError> {
    let subject = task.subject;
    let store = ledger::Store::open_or_create(&place.at("store"))?;
    let (from, to) = (
        subject.reading.store.root().join("cache"),
        store.root().join("cache"),
    );
    let _ = std::fs::create_dir_all(to.join("compiled"));
    for name in ["files", "code"] {
        let _ = std::fs::copy(from.join(name), to.join(name));
    }
    for entry in std::fs::read_dir(from.join("compiled"))
        .into_iter()
        .flatten()
        .flatten()
    {
        let _ = std::fs::copy(entry.path(), to.join("compiled").join(entry.file_name()));
    }
    if let Some(secret) =
        crate::secret::known(&subject.reading.store, &subject.surroundings.keys()?)
    {
        let keys = place.at("data/taintline/keys");
        crate::secret::lend(&store, &keys, &secret)?;
    }
    Ok(())
}

fn wait(mut child: Child, until: Instant) -> Result<(ExitStatus, bool), AppError> {
    loop {
        if let Some(status) = child.try_wait().map_err(AppError::Host)? {
            return Ok((status, false));
        }
        if Instant::now() >= until {
            // The supervisor hands it on to the job, and ends behind it.
            let supervisor = rustix::process::Pid::from_child(&child);
            let _ = rustix::process::kill_process(supervisor, rustix::process::Signal::TERM);
            std::thread::sleep(MERCY);
            let _ = child.kill(); // it may have ended in the meantime
            return Ok((child.wait().map_err(AppError::Host)?, true));
        }
        std::thread::sleep(Duration::from_millis(20));
    }
}

fn last_words(path: &Path) -> String {
    let bytes = std::fs::read(path).unwrap_or_default();
    let tail = bytes
        .get(bytes.len().saturating_sub(SAID_BYTES)..)
        .unwrap_or_default();
    String::from_utf8_lossy(tail).trim().to_owned()
}

/// The recorded arguments; what was absolute and is mirrored leads to the mirror.
fn arguments(task: &Task<'_>, place: &Workplace, laid: &Laid) -> Vec<OsString> {
    let mut all = vec![task.program.argument.clone()];
    for argument in task.subject.command.argv.iter().skip(1) {
        let argument = path_of(argument);
        let mirrored = absolute(&argument).filter(|path| {
            laid.mirrored
                .iter()
                .any(|folder| is_below(path, folder) || path == folder)
        });
        all.push(match mirrored {
            None => argument.into_os_string(),
            Some(path) => {
                let bytes = argument.as_os_str().as_bytes();
                let start = bytes
                    .iter()
                    .position(|byte| *byte == b'=')
                    .filter(|_| !argument.is_absolute());
                let mut text = bytes
                    .get(..start.map_or(0, |at| at + 1))
                    .unwrap_or_default()
                    .to_vec();
                text.extend(place.mirror(&path).as_os_str().as_bytes());
                OsString::from_vec(text)
            }
        });
    }
    let writes = &task.subject.record.writes;
    if let Some((_, write)) = task
        .segment
        .checkpoint
        .filter(|_| task.segment.way == ReplayWay::Resume)
        .and_then(|number| writes.get(number))
    {
        let checkpoint = place.mirror(&path_of(&write.path));
        let resume = task.request.resume.iter();
        all.extend(resume.map(|word| {
            match word.as_str() {
                "{checkpoint}" => checkpoint.clone().into_os_string(),
                word => word
                    .replace("{checkpoint}", &checkpoint.display().to_string())
                    .into(),
            }
        }));
    }
    all
}

/// The recorded variables, without those by which code comes in.
fn variables(
    task: &Task<'_>,
    place: &Workplace,
    laid: &Laid,
    limits: &mut Vec<Gap>,
) -> Result<BTreeMap<OsString, OsString>, AppError> {
    let subject = task.subject;
    let launch = subject.record.launch.as_ref();
    let sealed = launch.and_then(|launch| unsealed(&subject.reading.store, &launch.variables));
    let recorded: Vec<Variable> = sealed
        .and_then(|bytes| serde_json::from_slice(&bytes).ok())
        .ok_or_else(|| subject.error("its variables were erased or cannot be read"))?;
    let mut all = BTreeMap::new();
    let secret = crate::secret::known(&subject.reading.store, &subject.surroundings.keys()?);
    let mut unknown = 0u64;
    for variable in &recorded {
        let name = path_of(&variable.name).into_os_string();
        let text = name.to_string_lossy().into_owned();
        if text.starts_with("TAINTLINE_") || OWN.contains(&text.as_str()) {
            continue;
        }
        if WAYS_IN.contains(&text.as_str()) {
            let value = variable.value.as_ref().map(path_of).unwrap_or_default();
            if let Some(kept) = ways_in((&text, value.as_os_str()), task, place, laid, limits) {
                all.insert(name, kept);
            }
            continue;
        }
        let value = variable
            .value
            .as_ref()
            .map(|value| path_of(value).into_os_string());
        match value.or_else(|| unchanged(subject.surroundings, &name, variable, secret.as_ref())) {
            Some(value) => drop(all.insert(name, value)),
            None => unknown += 1,
        }
    }
    if unknown > 0 {
        limits.push(Gap {
            what: "variables".to_owned(),
            why: format!("{unknown} of the run have values that are not recorded, and are others or not set here: the replay goes without them"),
        });
    }
    own(task, place, &mut all)?;
    Ok(all)
}

/// A variable whose value is not recorded, where it is the same here.
fn unchanged(
    surroundings: &Surroundings,
    name: &OsStr,
    variable: &Variable,
    secret: Option<&[u8; 32]>,
) -> Option<OsString> {
    let (_, value) = surroundings
        .variables
        .iter()
        .find(|(known, _)| known == name)?;
    let keyed = crate::secret::keyed(secret?, &[name.as_bytes(), b"=", value.as_bytes()]);
    (keyed == variable.keyed).then(|| value.clone())
}

/// What may stay of such a variable: folders of the project. The rest is told.
fn ways_in(
    (name, value): (&str, &OsStr),
    task: &Task<'_>,
    place: &Workplace,
    laid: &Laid,
    limits: &mut Vec<Gap>,
) -> Option<OsString> {
    if value.is_empty() {
        return None;
    }
    let (mut kept, mut left_out) = (Vec::new(), Vec::new());
    for entry in std::env::split_paths(value) {
        if name == "PYTHONPATH" && laid.mirrored.iter().any(|folder| entry.starts_with(folder)) {
            kept.push(place.mirror(&entry));
        } else if (task.back.entries).contains(&(name.to_owned(), entry.clone().into_os_string())) {
            kept.push(entry);
        } else {
            left_out.push(entry.display().to_string());
        }
    }
    if !left_out.is_empty() {
        limits.push(Gap {
            what: format!("{name}={}", left_out.join(":")),
            why: "code comes in by it that is none of the project's: the replay goes without it"
                .to_owned(),
        });
    }
    (!kept.is_empty())
        .then(|| std::env::join_paths(kept).ok())
        .flatten()
}

/// What is the replay's own.
fn own(
    task: &Task<'_>,
    place: &Workplace,
    all: &mut BTreeMap<OsString, OsString>,
) -> Result<(), AppError> {
    let sensor = task.subject.surroundings.sensor()?;
    let mut set = |name: &str, value: &OsStr| drop(all.insert(name.into(), value.to_owned()));
    set("TAINTLINE_SENSOR_DIR", sensor.as_os_str());
    set("TAINTLINE_REPLAY", place.at("plan.json").as_os_str());
    set(
        "TAINTLINE_CONFIG",
        place.at("config/taintline.toml").as_os_str(),
    );
    set("PYTHONNOUSERSITE", "1".as_ref());
    set("PYTHONDONTWRITEBYTECODE", "1".as_ref());
    for (name, folder) in [
        ("TMPDIR", "tmp"),
        ("XDG_DATA_HOME", "data"),
        ("XDG_CACHE_HOME", "cache"),
        ("XDG_CONFIG_HOME", "config"),
        ("XDG_RUNTIME_DIR", "run"),
    ] {
        set(name, place.at(folder).as_os_str());
    }
    let home = task
        .subject
        .surroundings
        .variables
        .iter()
        .find(|(name, _)| name == "HOME");
    if let Some((_, home)) = home {
        set("HOME", home);
    }
    if let Some(threads) = task.variation.threads {
        for name in THREADS {
            set(name, threads.to_string().as_ref());
        }
    }
    for (name, value) in (task.variation.instructions.into_iter()).flat_map(Instructions::variables)
    {
        set(name, value.as_ref());
    }
    set("VIRTUAL_ENV", task.program.prefix.as_os_str());
    let path = all.get(OsStr::new("PATH")).cloned().unwrap_or_default();
    let folders =
        std::iter::once(task.program.prefix.join("bin")).chain(std::env::split_paths(&path));
    if let Ok(path) = std::env::join_paths(folders) {
        all.insert("PATH".into(), path);
    }
    let config = place.at("config/taintline.toml");
    std::fs::write(&config, "").map_err(disk(&config))?;
    Ok(())
}

/// The replay's own record, in its own store.
pub(super) struct Own {
    pub(super) reading: Reading,
    pub(super) record: RunRecord,
}

/// What the replaying processes told.
pub(super) fn told(task: &Task<'_>, place: &Workplace) -> Result<Recorded, AppError> {
    let own = own_record(task, place)?;
    Ok(Recorded::read(&own.reading.store, &own.record))
}

/// The replay's own record.
pub(super) fn own_record(task: &Task<'_>, place: &Workplace) -> Result<Own, AppError> {
    let surroundings = Surroundings {
        store: Some(place.at("store")),
        cwd: place.root().to_owned(),
        settings: None,
        settings_named: false,
        ..task.subject.surroundings.clone()
    };
    let reading = Reading::open(&surroundings)?;
    let run = reading.find("last")?;
    let record = reading.record(&run)?;
    Ok(Own { reading, record })
}
