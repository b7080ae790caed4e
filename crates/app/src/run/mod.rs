//! `taintline run`: a training command under guard.
//!
//! The supervisor is the parent of the job and nothing more to it: terminal, streams, signals, folder and exit code are the
//! job's own. The launch is durable before the job starts; from then on nothing the supervisor does can hold the job up.
//! Threads: this one records ([`recorder`]); one follows the host (`host::job`); one accepts sensors and one more a sensor
//! reads ([`listener`]); two read files ([`files`]); one an environment scans ([`environment`]); one watches files ([`watch`]).
//! They meet in one queue.

mod asked;
mod closing;
mod compared;
mod daemon;
mod data;
mod ends;
mod environment;
mod event;
mod examined;
mod fault;
mod files;
mod hangs;
mod heartbeat;
mod installed;
mod judge;
mod keep;
mod launch;
mod listener;
mod memory;
mod metrics;
mod once;
mod passes;
mod process;
mod question;
mod reach;
mod recheck;
mod recorder;
mod replicas;
mod same;
mod sent;
mod shards;
mod spec;
mod stalls;
mod taken;
mod touched;
mod tracers;
mod watch;
mod ways;
mod witnessing;

pub(crate) use examined::in_words;
pub(crate) use heartbeat::Heart;
pub(crate) use judge::signal_name;
pub(crate) use keep::FOLDER as KEPT;
pub(crate) use launch::person;
pub(crate) use sent::{as_made, sentence};
pub(crate) use touched::sentence as intervention;

use std::ffi::OsString;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender};
use std::time::{Duration, Instant};

use domain::{Body, Gap, Outcome, RunId};
use host::identity::ProcessId;
use host::job::Job;
use host::kernel;
use host::listen::PrivateListener;
use ledger::Store;

pub use compared::CodeSummary;
pub use environment::EnvironmentSummary;
pub use files::Budget;
pub use recorder::Screen;

use self::daemon::Daemon;
use self::environment::{Compiling, Environments};
use self::event::Event;
use self::files::Reader;
use self::memory::Memory as InMemory;
use self::recorder::{Parts, Recorder};
use self::watch::Watching;
use self::ways::Ways;
use crate::compiled::Memory;
use crate::error::AppError;
use crate::index::Index;
use crate::journal::Journal;
use crate::people::People;
use crate::place::Surroundings;
use crate::record::RunRecord;
use crate::settings::Settings;
use crate::stamp::stamp_at_end;
use crate::witness::{Watch, Witnesses};

/// How long processes of the job may outlive its command before the record is closed without them.
const GRACE: Duration = Duration::from_secs(2);
/// How often the recorder looks at what is due.
const TICK: Duration = Duration::from_millis(200);

/// What to run and how to watch it.
#[derive(Debug, Clone)]
pub struct RunRequest {
    /// Program and arguments.
    pub argv: Vec<OsString>,
    /// Places and variables.
    pub surroundings: Surroundings,
    /// What may be read of data and checkpoints.
    pub budget: Budget,
    /// The environment as found is meant: it is what later runs are compared with.
    pub accept_environment: bool,
    /// What would do more than give data is not loaded: the job's sensors ask before each load.
    pub refuse_dangerous: bool,
    /// The spec that the run is held against; else the settings may name one.
    pub spec: Option<std::path::PathBuf>,
}

/// A run that ended.
#[derive(Debug)]
pub struct RunReport {
    /// Its record.
    pub record: RunRecord,
    /// How the command ended.
    pub outcome: Outcome,
    /// The same as it is shown.
    pub view: report::view::RunView,
}

/// What is told before the job's first output.
#[derive(Debug, Clone)]
pub struct Opening {
    /// Readable name.
    pub name: String,
    /// The store as a person reads it.
    pub store: String,
    /// Entries in the log.
    pub head: u64,
    /// The store was just made in memory, and is gone when the machine stops.
    pub in_memory: bool,
}

/// Runs a command under guard. `opened` is called once, when the run is recorded and the job is about to start.
pub fn run(
    request: &RunRequest,
    screen: &mut dyn Screen,
    opened: &mut dyn FnMut(&Opening),
) -> Result<RunReport, AppError> {
    let sensor = request.surroundings.sensor()?;
    let (settings, people, witnesses, spec) = resolved(request)?;
    let _ = host::job::prepare(); // what it could not do is a limit that docs/limits.md names
    let open = || PrivateListener::open(&[&request.surroundings.runtime, &std::env::temp_dir()]);
    let listener = open()?;
    let mut launched = launch::launch(request, settings.record.heartbeat_seconds)?;
    opened(&launched.opening);
    let questions = request.refuse_dangerous.then(open).transpose()?;
    let asks = questions.as_ref().map(PrivateListener::path);
    let changes = launch::variables(request, &sensor, listener.path(), asks, &settings);
    let (oom_before, began) = (judge::oom_kills(), Instant::now());
    let heart = Heart::start(settings.record.heartbeat_seconds); // before the job: its first act may be to stop us
    let found = Daemon::find(request, &launched); // before the job: it follows all that comes of us
    let (job, sees_signals) = start(request, &changes, &mut launched)?;
    let command = recorder::to_process(job.process());
    let (watcher, helpers) = (job.watcher(), job.helpers());
    let (events, queue) = mpsc::channel();
    let supervisor = ProcessId::current().map_err(AppError::Host)?;
    answer(questions.as_ref(), &supervisor, &events)?;
    let socket = listener.listener().try_clone().map_err(AppError::Host)?;
    listener::serve(socket, supervisor, events.clone());
    follow(job, events.clone());
    launch::examine_code(request, helpers.clone(), people, &events);
    let stop = Arc::new(AtomicBool::new(false));
    let (run, store) = (launched.journal.run(), launched.journal.store().clone());
    let in_memory = InMemory::new(&sensor, &store, helpers.clone(), events.clone());
    let memory = Memory::of_store(&store, &launched.secret);
    let compiling = Compiling { memory, helpers };
    let watching = Watching::start(&events);
    let parts = Parts {
        witnesses: watch(witnesses, &launched.journal, &events),
        reader: Reader::start(&events, request.budget, Arc::clone(&stop)),
        memory: in_memory,
        environments: Environments::new(
            store,
            run,
            launched.same,
            Arc::clone(&stop),
            compiling,
            request.surroundings.clone(),
            watching.coverer(),
        ),
        journal: launched.journal,
        index: launched.index,
        watcher,
        command,
        heart,
        ways: Ways::new(run, launched.same, &sensor),
        watch: watch::State::new(watching),
    };
    let mut recorder = Recorder::new(parts, screen);
    recorder.context.oom_before = oom_before;
    recorder.keep_checkpoints(run, settings.record.keep_gib);
    recorder.hold_against(spec);
    recorder.watched_over(found, (request, sees_signals), &sensor, &events);
    let (outcome, ended) = attend(&mut recorder, &queue, &events);
    let wall = ended.saturating_duration_since(began); // the job's: what is read and heard after it is not its time
    recorder.finish(&queue, &events, &stop);
    let place = recorder.place();
    let mut report = recorder.close(outcome, wall, &stop);
    stamp(request, &settings, &place, &mut report);
    Ok(report)
}

/// What the user has settled, read before anything starts.
#[expect(clippy::type_complexity, reason = "four things that are used once")]
fn resolved(
    request: &RunRequest,
) -> Result<
    (
        Settings,
        People,
        Option<Witnesses>,
        Option<(crate::spec::Loaded, spec::Held)>,
    ),
    AppError,
> {
    let settings = Settings::load(&request.surroundings)?;
    let people = People::load(&settings.trust)?;
    let witnesses = Witnesses::load(&settings.ledger)?;
    let spec = held(request, &settings)?;
    Ok((settings, people, witnesses, spec))
}

/// The spec of the run, read before anything starts: one that cannot be used is an error, and nothing runs.
fn held(
    request: &RunRequest,
    settings: &Settings,
) -> Result<Option<(crate::spec::Loaded, spec::Held)>, AppError> {
    let surroundings = &request.surroundings;
    let found = crate::spec::found_for(
        surroundings,
        settings,
        request.spec.as_deref(),
        &request.argv,
    )?;
    let Some(loaded) = found else { return Ok(None) };
    let held = spec::Held::new(&loaded, surroundings.cwd.clone())?;
    Ok(Some((loaded, held)))
}

/// Answers what the job's sensors ask before each load, where they are to ask.
fn answer(
    questions: Option<&PrivateListener>,
    supervisor: &ProcessId,
    events: &Sender<Event>,
) -> Result<(), AppError> {
    if let Some(questions) = questions {
        let socket = questions.listener().try_clone().map_err(AppError::Host)?;
        asked::serve(socket, supervisor.clone(), events.clone());
    }
    Ok(())
}

/// Who signals the job, as the kernel sees it, for whoever may ask the kernel. That root may not is said: there somebody relies on it.
fn signals_of_the_kernel(journal: &mut Journal) -> Option<kernel::Signals> {
    if !rustix::process::geteuid().is_root() {
        return None;
    }
    match kernel::description().and_then(|btf| kernel::Signals::watch(&btf)) {
        Ok(signals) => Some(signals),
        Err(error) => {
            journal.record(Body::Gap(Gap {
                what: "who sends signals to the run".to_owned(),
                why: error.to_string(),
            }));
            None
        }
    }
}

/// Starts the job. That it did not start is recorded.
fn start(
    request: &RunRequest,
    changes: &[(std::ffi::OsString, Option<std::ffi::OsString>)],
    launched: &mut launch::Launched,
) -> Result<(Job, bool), AppError> {
    let kernel = signals_of_the_kernel(&mut launched.journal);
    let sees_signals = kernel.is_some();
    let started = Job::start(&request.argv, changes, kernel);
    started.map(|job| (job, sees_signals)).map_err(|error| {
        launched.journal.record(Body::Gap(Gap {
            what: "the whole run".to_owned(),
            why: format!("the command did not start: {error}"),
        }));
        launched.journal.record(launch::not_started(127));
        launched.journal.flush();
        error.into()
    })
}

/// Asks for a time stamp over the head under which the whole run is, where an authority is settled. That there is none is
/// said, and is no failure of the run.
fn stamp(
    request: &RunRequest,
    settings: &Settings,
    (store, log): &(Store, String),
    report: &mut RunReport,
) {
    let Some(url) = &settings.ledger.tsa else {
        return;
    };
    match stamp_at_end(&request.surroundings, settings, url, store, log) {
        Ok(stamped) => report.view.no_later_than = stamped.stamp,
        Err(error) => report.view.gaps.push(Gap {
            what: "time stamp".to_owned(),
            why: error.to_string(),
        }),
    }
}

/// Has the log witnessed while the run is going.
fn watch(witnesses: Option<Witnesses>, journal: &Journal, events: &Sender<Event>) -> Option<Watch> {
    let told = events.clone();
    let tell = move |asked| {
        let _ = told.send(Event::Witnessed(Box::new(asked)));
    };
    let store = journal.store().clone();
    Watch::start(witnesses?, store, journal.position().0, tell)
}

/// Hears events until the job is over: how it ended, and when.
fn attend(
    recorder: &mut Recorder<'_>,
    queue: &Receiver<Event>,
    events: &Sender<Event>,
) -> (Outcome, Instant) {
    loop {
        match queue.recv_timeout(TICK) {
            Ok(Event::Over(result, ended)) => {
                let outcome = match result {
                    Ok(outcome) => {
                        recorder.left_behind(&outcome.left_behind);
                        recorder::to_outcome(Some(outcome.status))
                    }
                    Err(why) => {
                        recorder.gap("how the command ended", &why);
                        Outcome::Unknown
                    }
                };
                return (outcome, ended);
            }
            Ok(event) => recorder.hear(event, events),
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => return (Outcome::Unknown, Instant::now()),
        }
        recorder.tick(events);
    }
}

/// Follows the job on a thread of its own.
fn follow(mut job: Job, events: Sender<Event>) {
    let spawned = std::thread::Builder::new()
        .name("host".to_owned())
        .spawn(move || {
            let mut tell = |event| {
                let _ = events.send(Event::Host(event));
            };
            let result = job.run(GRACE, &mut tell).map_err(|error| error.to_string());
            let ended = Instant::now();
            // From here on Ctrl-C is for us: it ends the wait for what is still being read.
            drop(job);
            let _ = events.send(Event::Over(result, ended));
        });
    drop(spawned);
}

/// Puts the calling thread behind everything that the job does.
fn lower_priority() {
    host::sched::lowest_priority();
}

/// A new identity, and the first of its names that no run in the store has.
fn identity(index: &Index) -> Result<(RunId, domain::RunName), AppError> {
    let mut random = [0; 10];
    getrandom::fill(&mut random).map_err(|_| AppError::NoRandomness)?;
    let ms = u64::try_from(host::clock::wall_us() / 1000).unwrap_or(0);
    let id = RunId::new(ms, random);
    for attempt in 0..200 {
        let name = id.name(attempt);
        if index.find(name.as_str())?.is_empty() {
            return Ok((id, name));
        }
    }
    Ok((id, id.name(200)))
}
