//! A run's record as the views that `report` lays out: joins the entries with their blobs, blanks secrets.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt as _;
use std::path::PathBuf;

use domain::entry::{Code, Command, Exit, Identity, Kind, Load, Signal, Write};
use domain::kept::CheckpointKept;
use domain::scan::{Examination, Weight};
use domain::vouch::ClockState;
use domain::{Digest, Gap, Outcome, PathText, Process, StepRecord};
use host::clock::wall_us;
use ledger::Store;
use report::time::rfc3339;
use report::view::{
    ActView, ClockView, CodeView, CostView, EnvironmentView, FileView, Inside, KeptView, RankView,
    RunLine, RunView, State,
};

use crate::changes::Places;
use crate::index::IndexedRun;
use crate::record::RunRecord;
use crate::run::{EnvironmentSummary, signal_name};
use crate::{changes, interrupted, redact, silence};

/// Content of a sealed blob, without its 32 random bytes; `None` when it was erased or cannot be read.
pub fn unsealed(store: &Store, digest: &Digest) -> Option<Vec<u8>> {
    let bytes = store.blob(digest).ok().flatten()?;
    bytes.get(32..).map(<[u8]>::to_vec)
}

/// Command line and folder as a person may see them.
pub fn command(store: &Store, digest: &Digest) -> Option<(String, String)> {
    let command: Command = serde_json::from_slice(&unsealed(store, digest)?).ok()?;
    let arguments: Vec<String> = command
        .argv
        .iter()
        .map(|argument| argument.as_str().to_owned())
        .collect();
    Some((
        redact::arguments(&arguments).join(" "),
        command.cwd.as_str().to_owned(),
    ))
}

/// How something ended, in words.
pub fn outcome(outcome: Outcome) -> String {
    match outcome {
        Outcome::Exited { code } => format!("exit {code}"),
        Outcome::Signalled { signal } => format!("signal {signal} ({})", signal_name(signal)),
        Outcome::Unknown => "ended, how is not known".to_owned(),
    }
}

/// A run in one line, from the index.
pub fn line(store: &Store, run: &IndexedRun) -> RunLine {
    let state = match run.state.as_str() {
        "ended" => State::Ended,
        "open" if interrupted::is_alive(run) => State::Running,
        _ => State::Interrupted,
    };
    RunLine {
        name: run.name.clone(),
        id: run.id.to_string(),
        state,
        last_sign: last_sign(state, run.last_us),
        started: rfc3339(run.started_us),
        wall_seconds: run.wall_us.map(|us| us as f64 / 1e6),
        steps: run.steps,
        outcome: run.outcome.map(outcome),
        findings: run.findings,
        command: run
            .command
            .and_then(|digest| command(store, &digest))
            .map(|(command, _)| command),
    }
}

/// Everything about a run. `ledger` says where its record ends.
pub fn run(store: &Store, record: &RunRecord, ledger: String) -> RunView {
    let launch = record.launch.as_ref();
    let command = launch.and_then(|launch| command(store, &launch.command));
    let state = state(record);
    let line = RunLine {
        name: record.name(),
        id: record.id.to_string(),
        state,
        last_sign: last_sign(state, record.last_us),
        started: rfc3339(record.started_us),
        wall_seconds: record.end.as_ref().map(|(_, end)| end.wall_us as f64 / 1e6),
        steps: record.steps(),
        outcome: record.end.as_ref().map(|(_, end)| outcome(end.outcome)),
        findings: record.findings.len() as u64,
        command: command.as_ref().map(|(command, _)| command.clone()),
    };
    let files =
        |wanted: fn(Kind) -> bool| record.loads.iter().filter(move |load| wanted(load.what));
    RunView {
        schema: "taintline.show/1",
        line,
        cwd: command.map(|(_, cwd)| cwd),
        who: launch.map_or_else(String::new, |launch| {
            format!("{}@{}", launch.person.user, launch.person.host)
        }),
        code: files(|kind| kind == Kind::Code)
            .next()
            .and_then(|load| code(store, load)),
        environments: files(|kind| kind == Kind::Environment)
            .filter_map(|load| environment(store, load))
            .collect(),
        ranks: ranks(store, record),
        loads: files(|kind| !matches!(kind, Kind::Environment | Kind::Code))
            .map(|load| load_view(store, load))
            .collect(),
        writes: writes(record),
        kept: record
            .kept
            .iter()
            .map(|kept| kept_view(store, kept))
            .collect(),
        acts: acts(record, state),
        changes: changes::views(record),
        findings: changes::beside(record, &places(store, record)),
        gaps: gaps(record, state),
        cost: record.end.as_ref().map(|(_, end)| CostView {
            wall_seconds: end.wall_us as f64 / 1e6,
            watch_cpu_seconds: end.watch_cpu_us as f64 / 1e6,
            sensor_seconds: end.sensor_us as f64 / 1e6,
        }),
        ledger,
        witnesses: None,
        clock: record.clock.iter().map(clock).collect(),
        approvals: Vec::new(),
        replays: Vec::new(),
        audits: Vec::new(),
        no_later_than: None,
        not_before: None,
    }
}

fn clock((at_us, state): &(i64, ClockState)) -> ClockView {
    ClockView {
        at: rfc3339(*at_us),
        synchronised: state.synchronised,
        offset_us: state.offset_us,
        error_us: state.error_us,
        max_error_us: state.max_error_us,
    }
}

fn kept_view(store: &Store, kept: &CheckpointKept) -> KeptView {
    let place = PathBuf::from(OsString::from_vec(kept.place.to_bytes()));
    let place = store.root().join(place);
    KeptView {
        path: kept.path.to_string(),
        step: kept.step,
        before: kept.before,
        present: place.is_dir(),
        place: PathText::from(place.as_path()).to_string(),
        files: kept.files,
        bytes: kept.bytes,
        way: kept.way,
    }
}

/// When a run that is over without an end was heard of last.
fn last_sign(state: State, last_us: i64) -> Option<String> {
    (state == State::Interrupted && last_us > 0).then(|| rfc3339(last_us))
}

/// What was not recorded; of a run that should be going on, also that it says nothing any more.
fn gaps(record: &RunRecord, state: State) -> Vec<Gap> {
    let mut gaps = record.gaps.clone();
    let promised = record.launch.as_ref().and_then(|it| it.heartbeat_us);
    if let (State::Running, Some(interval_us)) = (state, promised) {
        gaps.extend(silence::since(record.last_us, wall_us(), interval_us));
    }
    gaps
}

/// Where a run stands.
pub(crate) fn state(record: &RunRecord) -> State {
    match (&record.end, record.interrupted) {
        (Some(_), _) => State::Ended,
        (None, true) => State::Interrupted,
        (None, false) => {
            let alive = record.launch.as_ref().is_some_and(|launch| {
                let elsewhere = launch.person.host != host::identity::host_name();
                elsewhere || interrupted::process_lives(&launch.supervisor)
            });
            if alive {
                State::Running
            } else {
                State::Interrupted
            }
        }
    }
}

fn code(store: &Store, load: &Load) -> Option<CodeView> {
    let code: Code = serde_json::from_slice(&unsealed(store, &load.digest?)?).ok()?;
    Some(CodeView {
        commit: code.commit,
        dirty: code.dirty.iter().map(ToString::to_string).collect(),
        signature: code.signature,
    })
}

/// Where the roots of its environments are.
fn places(store: &Store, record: &RunRecord) -> Places {
    let mut all = Places::default();
    // Without changes nobody asks.
    let loads = record.loads.iter().filter(|_| !record.changes.is_empty());
    for load in loads.filter(|load| load.what == Kind::Environment) {
        let summary = load
            .summary
            .and_then(|digest| store.blob(&digest).ok().flatten());
        let summary =
            summary.and_then(|bytes| serde_json::from_slice::<EnvironmentSummary>(&bytes).ok());
        all.extend(summary.map(|summary| summary.places).unwrap_or_default());
    }
    all
}

fn environment(store: &Store, load: &Load) -> Option<EnvironmentView> {
    let summary = store.blob(&load.summary?).ok().flatten()?;
    let summary: EnvironmentSummary = serde_json::from_slice(&summary).ok()?;
    Some(EnvironmentView {
        tree: load.digest?,
        prefix: load.path.to_string(),
        packages: summary.packages.len() as u64,
        files: summary.files,
        bytes: summary.bytes,
        vouched: summary.vouched,
        hashed: summary.hashed,
    })
}

/// The steps of one process of a run, in order. A segment that cannot be read is left out; the audit names it.
pub fn steps_of(store: &Store, record: &RunRecord, process: &Process) -> Vec<StepRecord> {
    let segments = record
        .segments
        .iter()
        .filter(|segment| segment.process == *process);
    let blobs = segments.filter_map(|segment| store.blob(&segment.segment).ok().flatten());
    let lines = blobs.flat_map(|blob| {
        let lines: Vec<Option<StepRecord>> = blob
            .split(|byte| *byte == b'\n')
            .map(|line| serde_json::from_slice(line).ok())
            .collect();
        lines
    });
    lines.flatten().collect()
}

fn ranks(store: &Store, record: &RunRecord) -> Vec<RankView> {
    let mut ranks: Vec<RankView> = record
        .joined
        .values()
        .map(|joined| {
            let steps = steps_of(store, record, &joined.process);
            let exit = record
                .exits
                .iter()
                .find(|(_, exit)| exit.process == joined.process);
            RankView {
                rank: joined.rank,
                world_size: joined.world_size,
                pid: joined.process.pid,
                python: joined.python.clone(),
                torch: joined.torch.clone(),
                outcome: exit.map(|(_, exit)| outcome(exit.outcome)),
                count: steps.len() as u64,
                first: steps.iter().map(|step| step.step).min(),
                last: steps.iter().map(|step| step.step).max(),
                steps,
            }
        })
        .collect();
    ranks.sort_by_key(|rank| (rank.rank, rank.pid));
    ranks
}

fn load_view(store: &Store, load: &Load) -> FileView {
    let kind = serde_json::to_value(load.what)
        .ok()
        .and_then(|value| value.as_str().map(str::to_owned));
    let view = file(
        kind.unwrap_or_default(),
        &load.path,
        load.digest,
        load.identity.as_ref(),
        (load.rank, load.step),
    );
    FileView {
        inside: load.examined.and_then(|blob| inside(store, &blob)),
        ..view
    }
}

/// What was learnt of a file before it was loaded, in one line.
fn inside(store: &Store, blob: &Digest) -> Option<Inside> {
    let bytes = store.blob(blob).ok().flatten()?;
    let examination: Examination = serde_json::from_slice(&bytes).ok()?;
    let custom = || {
        let classes = examination
            .needs
            .iter()
            .filter(|need| need.weight == Some(Weight::Custom));
        let names: Vec<String> = classes
            .map(|need| format!("{}.{}", need.module, need.name))
            .collect();
        (!names.is_empty()).then(|| format!("objects of {}", names.join(", ")))
    };
    let told = crate::run::in_words(&examination).or_else(custom);
    Some(match told {
        Some(told) => Inside::Does(told),
        None if examination.is_complete() => Inside::NoCode,
        None => Inside::Incomplete,
    })
}

fn file(
    kind: String,
    path: &PathText,
    digest: Option<Digest>,
    identity: Option<&Identity>,
    (rank, step): (Option<u32>, Option<u64>),
) -> FileView {
    FileView {
        kind,
        path: path.to_string(),
        digest,
        size: identity.map(|identity| identity.size),
        rank,
        step,
        inside: None,
    }
}

/// Checkpoints by their final name: what was written under a temporary one and renamed is one write.
fn writes(record: &RunRecord) -> Vec<FileView> {
    let view = |(_, write): &&(i64, Write)| {
        let at = (write.rank, write.step);
        file(
            "checkpoint".to_owned(),
            &write.path,
            write.digest,
            write.identity.as_ref(),
            at,
        )
    };
    final_writes(record).iter().map(view).collect()
}

/// The writes of a run, without those that only were a step on the way to a final name.
pub(crate) fn final_writes(record: &RunRecord) -> Vec<&(i64, Write)> {
    let mut kept: Vec<&(i64, Write)> = Vec::new();
    for write in &record.writes {
        if let Some(from) = &write.1.from {
            let same = |earlier: &Write| earlier.path == *from && earlier.digest == write.1.digest;
            kept.retain(|(_, earlier)| !same(earlier));
        }
        kept.push(write);
    }
    kept
}

fn acts(record: &RunRecord, state: State) -> Vec<ActView> {
    let mut acts: BTreeMap<i64, Vec<String>> = BTreeMap::new();
    let mut add = |at_us: i64, what: String| acts.entry(at_us).or_default().push(what);
    if record.launch.is_some() {
        add(record.started_us, "launched".to_owned());
    }
    if let Some(spec) = &record.spec {
        add(
            record.started_us,
            format!("held against spec {}; {}", spec.name, spec.signed),
        );
    }
    for (at_us, what) in joins(record) {
        add(at_us, what);
    }
    for (at_us, signal) in &record.signals {
        add(*at_us, signal_words(signal));
    }
    for (at_us, seen) in &record.daemons {
        let pid = seen.process.pid;
        add(
            *at_us,
            format!("watched over by the host's daemon (pid {pid})"),
        );
    }
    for (at_us, made) in &record.made {
        add(*at_us, crate::run::sentence(made));
    }
    for (at_us, it) in &record.interventions {
        add(*at_us, crate::run::intervention(it));
    }
    for (at_us, exit) in &record.exits {
        add(*at_us, exit_words(exit));
    }
    if state == State::Interrupted && record.last_us > 0 {
        add(record.last_us, "last sign of life".to_owned());
    }
    if record.interrupted {
        add(
            i64::MAX,
            "its supervisor was gone when the next command looked".to_owned(),
        );
    }
    let at = |us: i64| {
        if us == i64::MAX {
            "later".to_owned()
        } else {
            rfc3339(us)
        }
    };
    let all = acts.into_iter().flat_map(|(us, whats)| {
        whats
            .into_iter()
            .map(move |what| ActView { at: at(us), what })
    });
    all.collect()
}

fn exit_words(exit: &Exit) -> String {
    let who = match (exit.main, exit.rank) {
        (true, _) => "the command".to_owned(),
        (false, Some(rank)) => format!("rank {rank}"),
        (false, None) => "a process".to_owned(),
    };
    let last = exit.last_step;
    let last = last.map_or_else(String::new, |step| format!(", last step {step}"));
    let exception = exit.exception.as_ref();
    let exception = exception.map_or_else(String::new, |name| format!(", {name}"));
    let how = outcome(exit.outcome);
    format!(
        "{who} (pid {}) ended: {how}{exception}{last}",
        exit.process.pid
    )
}

/// Ranks that joined and made steps; one that had joined before was started again by its launcher.
fn joins(record: &RunRecord) -> Vec<(i64, String)> {
    let mut seen: BTreeMap<u32, u32> = BTreeMap::new();
    let joins = record.joins.iter().filter_map(|(at_us, process)| {
        let rank = record.joined.get(process)?.rank?;
        // A rank's own helpers have its number too; only what makes steps is the rank.
        record
            .segments
            .iter()
            .find(|segment| segment.process == *process)?;
        let times = seen.entry(rank).or_default();
        *times += 1;
        let again = if *times > 1 {
            format!(", start number {times}")
        } else {
            String::new()
        };
        Some((
            *at_us,
            format!("rank {rank} (pid {}) joined{again}", process.pid),
        ))
    });
    joins.collect()
}

fn signal_words(signal: &Signal) -> String {
    let name = signal_name(signal.number);
    let sender = match (&signal.sender, signal.uid) {
        (Some(process), Some(uid)) => {
            let program = signal.name.as_deref().unwrap_or("?");
            format!("from pid {} ({program}), user {uid}", process.pid)
        }
        (None, Some(uid)) => format!("from user {uid}, process gone"),
        _ => "from the terminal or the kernel".to_owned(),
    };
    let passed = if signal.forwarded {
        ", passed on to the command"
    } else {
        ""
    };
    format!("{name} {sender}{passed}")
}
