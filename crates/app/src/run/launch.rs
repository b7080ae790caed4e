//! Before the job starts: the store, who and what and where, durable.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::sync::mpsc::Sender;

use domain::entry::{Act, Command, End, Launch};
use domain::{Body, Digest, Gap, Outcome, PathText, Person};
use host::identity;
use host::job::Helpers;
use ledger::{PassedOver, Store, Why, Writer};

use super::event::Event;
use super::fault::{Duty, Lost};
use super::{Opening, RunRequest, reach, same};
use crate::error::AppError;
use crate::index::Index;
use crate::journal::Journal;
use crate::people::People;
use crate::settings::Settings;
use crate::{code, secret, variables};

/// A run whose launch is durable.
pub(super) struct Launched {
    pub(super) journal: Journal,
    pub(super) index: Index,
    pub(super) same: Digest,
    pub(super) opening: Opening,
    pub(super) secret: [u8; 32],
}

/// Opens the store, closes runs whose supervisor is gone, and records the launch.
pub(super) fn launch(request: &RunRequest, heartbeat_seconds: u32) -> Result<Launched, AppError> {
    let surroundings = &request.surroundings;
    let place = surroundings.store_to_write();
    let store = Store::open_or_create(&place)?;
    crate::place::keep_out_of_git(&place);
    let keys = surroundings.keys()?;
    let mut index = Index::open(&store)?;
    let person = person();
    let writer = crate::writing::open(&store, &keys)?;
    crate::interrupted::mark(&store, &writer, &mut index)?;
    let (run, name) = super::identity(&index)?;
    let same = same::key(&request.argv, &surroundings.cwd);
    let head = writer.head().size;
    let opening_gaps = opening_gaps(&store, &writer);
    let mut journal = Journal::new(store.clone(), writer, run, 0);
    let secret = secret::of_store(&store, &keys)?;
    let (command, variables) = sealed(request, &mut journal, &secret)?;
    let launch = Launch {
        name: name.clone(),
        taintline: env!("CARGO_PKG_VERSION").to_owned(),
        supervisor: super::recorder::to_process(
            &identity::ProcessId::current().map_err(AppError::Host)?,
        ),
        kernel: identity::kernel_release(),
        person,
        command,
        same,
        variables,
        head,
        heartbeat_us: Some(u64::from(heartbeat_seconds) * 1_000_000),
    };
    journal.record(Body::Act(Act::Launch(Box::new(launch))));
    journal.record_clock();
    for gap in opening_gaps.into_iter().chain(reach::gaps(&request.argv)) {
        journal.record(Body::Gap(gap));
    }
    if request.accept_environment {
        journal.record(Body::Act(Act::EnvironmentAccepted));
    }
    if !journal.flush() {
        return Err(not_recorded(&journal));
    }
    let opening = Opening {
        name: name.to_string(),
        store: surroundings.shown(&place),
        head: journal.position().1,
        in_memory: store.is_new_and_volatile(),
    };
    Ok(Launched {
        journal,
        index,
        same,
        opening,
        secret,
    })
}

/// Command line and variables, sealed.
fn sealed(
    request: &RunRequest,
    journal: &mut Journal,
    secret: &[u8; 32],
) -> Result<(Digest, Digest), AppError> {
    let surroundings = &request.surroundings;
    let argv = request
        .argv
        .iter()
        .map(|argument| PathText::from(Path::new(argument)));
    let command = Command {
        argv: argv.collect(),
        cwd: PathText::from(surroundings.cwd.as_path()),
    };
    let all = surroundings
        .variables
        .iter()
        .map(|(name, value)| (name, value));
    let variables = variables::collect(all, secret);
    let mut seal = |bytes: Result<Vec<u8>, serde_json::Error>| {
        bytes.ok().and_then(|bytes| journal.sealed_blob(&bytes))
    };
    let command = seal(serde_json::to_vec(&command));
    let variables = seal(serde_json::to_vec(&variables));
    command.zip(variables).ok_or_else(|| not_recorded(journal))
}

fn not_recorded(journal: &Journal) -> AppError {
    let why = journal.gap().map_or_else(String::new, |gap| gap.why);
    AppError::NotRecorded { why }
}

/// What stood in the way when the log was opened: part of the record, for it may be somebody's work.
fn opening_gaps(store: &Store, writer: &Writer) -> Vec<Gap> {
    let opening = writer.opening();
    let passed = opening.passed_over.iter();
    let unexplained =
        |log: &&PassedOver| log.why != Why::NoKey || !crate::rotation::is_ended(store, &log.log);
    let passed = passed.filter(unexplained).map(|log| Gap {
        what: format!("continuation of log {}", log.log),
        why: format!("{}; `taintline ledger audit` says more", log.why),
    });
    let removed = opening.key_without_log.then(|| Gap {
        what: format!("earlier entries of log {}", writer.log()),
        why: "its key was there and the log was not: it was removed, or a process died when it was made".to_owned(),
    });
    passed.chain(removed).collect()
}

/// Who acts here and now.
pub(crate) fn person() -> Person {
    let person = identity::Person::current();
    Person {
        uid: person.uid,
        user: person.user.unwrap_or_else(|| person.uid.to_string()),
        login_uid: person.login_uid,
        session: person.session,
        cgroup: person.cgroup.unwrap_or_default(),
        host: person.host,
        ssh: person.ssh_connection,
    }
}

/// What the job's environment has beyond ours: where the sensor is and whom it reports to.
pub(super) fn variables(
    request: &RunRequest,
    sensor: &Path,
    socket: &Path,
    asks: Option<&Path>,
    settings: &Settings,
) -> Vec<(OsString, Option<OsString>)> {
    let mut path = sensor.join("startup").into_os_string();
    let old = request
        .surroundings
        .variables
        .iter()
        .find(|(name, _)| name == "PYTHONPATH")
        .map(|(_, value)| value);
    if let Some(old) = old.filter(|old| !old.is_empty()) {
        path.push(":");
        path.push(old);
    }
    let set = |name: &str, value: OsString| (OsString::from(name), Some(value));
    let mut variables = vec![
        set("PYTHONPATH", path),
        set("TAINTLINE_SOCKET", socket.as_os_str().to_owned()),
        set("TAINTLINE_SENSOR", sensor.as_os_str().to_owned()),
        set(
            "TAINTLINE_RECHECK",
            settings.record.recheck_positions.to_string().into(),
        ),
    ];
    if let Some(asks) = asks {
        variables.push(set("TAINTLINE_ASK", asks.as_os_str().to_owned()));
    }
    variables
}

/// Looks at the code on a thread of its own: in the folder of the script, else in the working directory.
pub(super) fn examine_code(
    request: &RunRequest,
    helpers: Helpers,
    people: People,
    events: &Sender<Event>,
) {
    let cwd = request.surroundings.cwd.clone();
    let script = request
        .argv
        .iter()
        .map(PathBuf::from)
        .find(|argument| argument.extension().is_some_and(|end| end == "py"));
    let folder = script
        .and_then(|script| cwd.join(script).parent().map(Path::to_owned))
        .filter(|folder| folder.is_dir());
    let told = events.clone();
    let spawned = std::thread::Builder::new()
        .name("code".to_owned())
        .spawn(move || {
            let _duty = Duty::new(&told, Lost::Code);
            let (code, gaps) = code::examine(&folder.unwrap_or(cwd), &helpers, &people);
            let _ = told.send(Event::Code(code, gaps));
        });
    if let Err(error) = spawned {
        let gap = Gap {
            what: "commit of the code".to_owned(),
            why: format!("no thread could be started to look: {error}"),
        };
        let _ = events.send(Event::Code(None, vec![gap]));
    }
}

/// The end of a run whose command could not be started.
pub(super) fn not_started(code: i32) -> Body {
    Body::Act(Act::End(Box::new(End {
        outcome: Outcome::Exited { code },
        wall_us: 0,
        watch_cpu_us: 0,
        sensor_us: 0,
        steps: 0,
        findings: 0,
        gaps: 0,
    })))
}
