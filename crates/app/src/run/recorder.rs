//! The recorder: one thread that hears everything and writes the journal.
//!
//! All state of a run while it is going lives here. Sensors, the host, the file readers and the environment scan send it
//! [`Event`]s; it turns them into entries, judges what can be judged at once, and tells the screen when something is found.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::mpsc::Sender;
use std::time::{Duration, Instant};

use domain::entry::{Act, Code, Identity, Joined, Kind, Load, Steps, Write};
use domain::sensor::{Envelope, Hello, Message};
use domain::{Body, Digest, Finding, Gap, Outcome, PathText, Process, Rule, Tier};
use host::exits::ExitStatus;
use host::identity::ProcessId;

use super::compared;
use super::daemon::{Daemon, Deferred};
use super::data::Readings;
use super::environment::Environments;
use super::event::{Connection, Event, Purpose};
use super::files::{self, Reader};
use super::hangs::Hangs;
use super::heartbeat::Heart;
use super::judge::Context;
use super::keep::{Kept, line_of};
use super::memory::Memory;
use super::metrics::Reports;
use super::once::Once;
use super::passes::Habits;
use super::process::Member;
use super::recheck::Rechecks;
use super::recheck::outside::Outside;
use super::replicas::Worlds;
use super::sent::Sent;
use super::shards;
use super::spec::Held;
use super::stalls::Timings;
use super::touched::Touched;
use super::watch;
use super::ways::Ways;
use crate::changes::Places;
use crate::index::Index;
use crate::journal::Journal;
use crate::witness::Watch;

/// Told of findings the moment that they are made.
pub trait Screen {
    /// Something was found.
    fn found(&mut self, finding: &Finding);
    /// The job is over and the record is being finished; `left` says what is still read.
    fn finishing(&mut self, left: &str);
}

/// What no declaration about the environment as found can mean.
const DURING_RUN: [Rule; 5] = [
    Rule::CodeNotDeclared,
    Rule::ModelNotDeclared,
    Rule::EnvironmentChangedDuringRun,
    Rule::EnvironmentChangedAndRestored,
    Rule::SourceChangedDuringRun,
];
const NETWORK_GAPS_MAX: usize = 50;
/// A process that ended has this long to be heard out.
const LAST_WORDS: Duration = Duration::from_secs(1);
const FLUSH_EVERY: Duration = Duration::from_secs(1);
const LOOK_EVERY: Duration = Duration::from_secs(5);
/// Endings of files that are configuration rather than data.
const CONFIG_ENDINGS: &[&str] = &[".json", ".toml", ".yaml", ".yml", ".ini", ".cfg", ".conf"];

pub(super) struct Recorder<'a> {
    pub(super) journal: Journal,
    pub(super) index: Index,
    pub(super) reader: Reader,
    pub(super) environments: Environments,
    pub(super) memory: Memory,
    pub(super) screen: &'a mut dyn Screen,
    pub(super) members: HashMap<Connection, Member>,
    pub(super) context: Context,
    pub(super) sent: Sent,
    pub(super) touched: Touched,
    pub(super) watcher: host::exits::Watcher,
    pub(super) command: Process,
    heart: Heart,
    /// The environment as found is meant.
    pub(super) accept_environment: bool,
    /// Tickets of files being read, with who asked and the step then.
    pub(super) asked: HashMap<u64, Asked>,
    /// Tickets of saved checkpoints that are still being read, by where these are now.
    pub(super) reading: BTreeMap<PathText, u64>,
    /// Saved checkpoints that were gone before they could be opened.
    pub(super) moved_away: BTreeMap<PathText, Asked>,
    pub(super) taken: BTreeSet<PathText>,
    pub(super) own_outputs: BTreeSet<PathText>,
    /// Indexes of sharded checkpoints that the run wrote.
    pub(super) shard_indexes: BTreeSet<PathText>,
    pub(super) checkpoints: BTreeSet<PathText>,
    /// Checkpoints written by this run, by where they are now.
    pub(super) writes: BTreeMap<PathText, Write>,
    /// Checkpoints that were judged, so that each rank that loads one is not a finding of its own.
    pub(super) judged: BTreeSet<(PathText, Digest)>,
    /// Caches of torch's compiler that were read, and the first of them.
    pub(super) compiler_caches: Option<(usize, PathText)>,
    /// Digests of own code and of mapped files outside the environment.
    pub(super) loose: BTreeMap<PathText, (Digest, Identity)>,
    network: usize,
    last_flush: Instant,
    last_look: Instant,
    looked_at: HashMap<u32, u32>,
    pub(super) unheard: usize,
    pub(super) witnesses: Option<Watch>,
    /// The code is still being looked at.
    pub(super) code_awaited: bool,
    pub(super) ways: Ways,
    pub(super) watch: watch::State,
    pub(super) once: Once,
    pub(super) rechecks: Rechecks,
    pub(super) outside: Outside,
    pub(super) spec: Option<Held>,
    pub(super) readings: Readings,
    pub(super) habits: Habits,
    pub(super) worlds: Worlds,
    pub(super) timings: Timings,
    pub(super) hangs: Hangs,
    pub(super) kept: Kept,
    pub(super) reports: Reports,
    /// The host's daemon, while it watches over this run.
    pub(super) daemon: Option<Daemon>,
    /// Where the roots of the environments' logical names are.
    pub(super) places: Places,
    pub(super) deferred: Deferred,
    /// Signals are seen by ourselves: the daemon's word on them is not needed.
    pub(super) sees_signals: bool,
}

/// Who asked for a file.
#[derive(Debug, Clone, Default)]
pub(super) struct Asked {
    pub(super) process: Option<Process>,
    pub(super) rank: Option<u32>,
    pub(super) step: Option<u64>,
    pub(super) at_us: i64,
    /// Name that a checkpoint was written under, when it is read under its final one.
    pub(super) from: Option<PathText>,
    /// Device and inode of what was opened.
    pub(super) opened: Option<(u64, u64)>,
    /// Blob with what loading it would do.
    pub(super) examined: Option<Digest>,
    /// What was opened was not what was asked for: the answer is dropped.
    pub(super) void: bool,
    /// Where a checkpoint went while it was being read.
    pub(super) now: Option<PathText>,
}

/// What the recorder is made of, beside its empty state.
pub(super) struct Parts {
    pub(super) journal: Journal,
    pub(super) index: Index,
    pub(super) reader: Reader,
    pub(super) environments: Environments,
    pub(super) memory: Memory,
    pub(super) watcher: host::exits::Watcher,
    pub(super) command: Process,
    pub(super) witnesses: Option<Watch>,
    pub(super) heart: Heart,
    pub(super) ways: Ways,
    pub(super) watch: watch::State,
}

impl<'a> Recorder<'a> {
    pub(super) fn new(parts: Parts, screen: &'a mut dyn Screen) -> Self {
        let Parts {
            journal,
            index,
            reader,
            environments,
            memory,
            watcher,
            command,
            witnesses,
            heart,
            ways,
            watch,
        } = parts;
        Self {
            journal,
            index,
            reader,
            environments,
            memory,
            screen,
            members: HashMap::new(),
            sent: Sent::new(),
            touched: Touched::default(),
            context: Context::default(),
            watcher,
            command,
            heart,
            accept_environment: false,
            asked: HashMap::new(),
            reading: BTreeMap::new(),
            moved_away: BTreeMap::new(),
            taken: BTreeSet::new(),
            own_outputs: BTreeSet::new(),
            shard_indexes: BTreeSet::new(),
            checkpoints: BTreeSet::new(),
            writes: BTreeMap::new(),
            judged: BTreeSet::new(),
            compiler_caches: None,
            loose: BTreeMap::new(),
            network: 0,
            last_flush: Instant::now(),
            last_look: Instant::now(),
            looked_at: HashMap::new(),
            unheard: 0,
            witnesses,
            code_awaited: true,
            ways,
            watch,
            once: Once::default(),
            rechecks: Rechecks::default(),
            outside: Outside::default(),
            spec: None,
            readings: Readings::default(),
            habits: Habits::default(),
            worlds: Worlds::default(),
            timings: Timings::default(),
            hangs: Hangs::default(),
            kept: Kept::default(),
            reports: Reports::default(),
            daemon: None,
            places: Places::default(),
            deferred: Deferred::default(),
            sees_signals: false,
        }
    }

    /// Takes one event in. [`Event::Over`] is the caller's.
    pub(super) fn hear(&mut self, event: Event, events: &Sender<Event>) {
        self.beat();
        match event {
            Event::Joined {
                connection,
                process,
            } => {
                let mut member = Member::new(connection, to_process(&process));
                member.parent = host::proc::parent(process.pid).ok();
                self.members.insert(connection, member);
                if let Err(error) = self.watcher.watch(&process) {
                    self.gap(
                        &format!("end of process {}", process.pid),
                        &error.to_string(),
                    );
                }
            }
            Event::Refused { why } => self.gap("a connection to the sensor's socket", &why),
            Event::Said {
                connection,
                envelope,
            } => self.said(connection, *envelope, events),
            Event::Left { connection, why } => self.left(connection, why),
            Event::Host(event) => self.host(event),
            Event::Code(code, gaps) => self.code(code, gaps),
            Event::Examined(file) => self.examined(*file),
            Event::Read(read) => self.file(*read),
            Event::Environment(examined) => self.environment(*examined),
            Event::WrongCode(key, wrong) => self.wrong_code(key, &wrong),
            Event::RestOfCode(rest) => rest.finish(events),
            Event::ComparedCode(compared) => self.compared_code(*compared),
            Event::Compiled(compiler, path, answered) => {
                self.memory.compiled(compiler, path, *answered);
            }
            Event::Watched(report) => self.watched(*report),
            Event::Again(again) => self.scanned_again(&again),
            Event::Witnessed(asked) => self.witnessed(&asked),
            Event::Daemon(message) => self.daemon_said(*message),
            Event::Traced(it) => self.traced(*it),
            Event::DaemonGone => self.daemon_gone(),
            Event::Lost(lost) => self.lost(lost),
            Event::Over(..) => {}
        }
    }

    /// What is due by time: segments, the flush, a look at processes that do not speak.
    pub(super) fn tick(&mut self, events: &Sender<Event>) {
        self.journal.look_at_clock();
        self.beat();
        let due: Vec<_> = self
            .members
            .iter()
            .filter(|(_, member)| member.due())
            .map(|(key, _)| *key)
            .collect();
        for connection in due {
            self.close_segment(connection);
        }
        self.conclude_ends(LAST_WORDS);
        self.judge_memory(false);
        self.judge_waits(false);
        self.judge_hangs();
        self.settle_kept();
        self.settle_due(events);
        self.have_watched();
        self.end_deferring(false);
        if self.last_flush.elapsed() >= FLUSH_EVERY {
            self.flush();
        }
        if self.last_look.elapsed() >= LOOK_EVERY {
            self.last_look = Instant::now();
            self.look_for_silent_ones();
            self.look_at_standings();
        }
    }

    /// A sign of life, where nothing was recorded for a while: before whatever ends that while.
    pub(super) fn beat(&mut self) {
        let now = host::clock::Moment::now();
        if let Some(heartbeat) = self.heart.due(now, self.journal.last()) {
            self.journal.record(Body::Act(Act::Alive(heartbeat)));
        }
    }

    pub(super) fn flush(&mut self) {
        self.last_flush = Instant::now();
        self.journal.flush();
        if let Some(watch) = &mut self.witnesses {
            watch.follow(self.journal.position().0);
        }
        for finding in self.journal.take_rewritten() {
            self.screen.found(&finding);
        }
    }

    pub(super) fn gap(&mut self, what: &str, why: &str) {
        self.journal.record(Body::Gap(Gap {
            what: what.to_owned(),
            why: why.to_owned(),
        }));
    }

    /// Tells and records a finding. One about an environment that was declared to be meant is a note.
    pub(super) fn finding(&mut self, mut finding: Finding) {
        let about_environment = finding.rule.technique().starts_with('C');
        if self.accept_environment && about_environment && !DURING_RUN.contains(&finding.rule) {
            let what = format!("judgement of the environment: {}", finding.what);
            return self.gap(&what, "--accept-environment says that it is meant");
        }
        let good = self.last_good_checkpoint(&finding);
        finding.details.extend(good);
        crate::changes::add(self.journal.record_so_far(), &self.places, &mut finding);
        self.screen.found(&finding);
        self.journal.record(Body::Finding(finding));
    }

    fn said(&mut self, connection: Connection, envelope: Envelope, events: &Sender<Event>) {
        let Some(member) = self.members.get_mut(&connection) else {
            return;
        };
        let missed = envelope.seq.saturating_sub(member.next_seq);
        member.next_seq = envelope.seq + 1;
        let label = member.label();
        if missed > 0 {
            self.gap(
                &format!("{missed} messages of {label}"),
                "its sensor could not send them fast enough",
            );
        }
        let at_us = envelope.at_us;
        self.hangs.spoke(connection);
        match envelope.body {
            Message::Hello(hello) => self.hello(connection, hello, events),
            Message::Ready(ready) => {
                if let Some(member) = self.members.get_mut(&connection) {
                    member.ready = Some(ready);
                }
                self.joined(connection, at_us);
                self.look_at_maps(connection);
            }
            Message::Modules { files, folders } => self.modules(connection, files, folders),
            Message::Opened { path, write } => self.opened(connection, path, write, at_us),
            Message::Saved { path, step, .. } => self.heard_save(connection, path, step, at_us),
            Message::Loading { path, step, .. } => {
                self.spec_loading(connection);
                self.checkpoints.insert(path.clone());
                self.excuse(connection);
                self.ask(Purpose::Resume, &path, connection, step, at_us);
            }
            Message::Renamed { from, to } => self.rename(&from, to, at_us),
            Message::Memory {
                step,
                optimize,
                facts,
            } => self.heard_memory(connection, step, optimize, facts),
            Message::Step(step) => {
                let first = self
                    .members
                    .get(&connection)
                    .is_some_and(|member| member.step_count == 0);
                if let Some(member) = self.members.get_mut(&connection) {
                    member.step((*step).clone());
                }
                if first {
                    self.joined(connection, at_us);
                    self.look_at_maps(connection);
                }
                self.judge_step(connection, &step, at_us);
                self.hangs.stepped(&step);
            }
            Message::Progress { address } => self.hangs.place(connection, address),
            Message::Network { target, etag } => self.network(&label, &target, etag),
            Message::Gap { what, why } => {
                self.journal.record_at(
                    Tier::InProcess,
                    at_us,
                    Body::Gap(Gap {
                        what: format!("{what} ({label})"),
                        why,
                    }),
                );
            }
            Message::Bye { dropped, exception } => self.bye(connection, &label, dropped, exception),
        }
    }

    fn bye(
        &mut self,
        connection: Connection,
        label: &str,
        dropped: u64,
        exception: Option<String>,
    ) {
        if let Some(member) = self.members.get_mut(&connection) {
            member.said_bye = true;
            member.exception = exception;
        }
        if dropped > 0 {
            self.gap(
                &format!("{dropped} messages of {label}"),
                "its queue was full",
            );
        }
    }

    fn hello(&mut self, connection: Connection, hello: Hello, events: &Sender<Event>) {
        let prefix = self
            .members
            .get(&connection)
            .and_then(|member| compared::code_prefix(member.process.pid, &hello));
        self.environments.start(&hello, prefix, events);
        self.ways_of(connection, &hello);
        if let Some(member) = self.members.get_mut(&connection) {
            member.hello = Some(hello);
            member.hello_us = host::clock::wall_us();
        }
    }

    /// Records that a process takes part, once, when torch is there or it made a step without saying so.
    pub(super) fn joined(&mut self, connection: Connection, at_us: i64) {
        let Some(member) = self.members.get_mut(&connection) else {
            return;
        };
        let Some(hello) = member.hello.as_ref().filter(|_| !member.recorded) else {
            return;
        };
        let joined = Joined {
            process: member.process.clone(),
            rank: hello.rank,
            world_size: hello.world_size,
            python: hello.python.clone(),
            prefix: hello.prefix.clone(),
            torch: member.ready.as_ref().map(|ready| ready.torch.clone()),
            threads: member.ready.as_ref().map(|ready| ready.threads),
            processor: host::identity::processor(),
        };
        member.recorded = true;
        let accelerators = member.ready.as_ref().map_or(0, |ready| ready.accelerators);
        let (process, rank) = (joined.process.clone(), joined.rank);
        self.journal.record_at(
            Tier::InProcess,
            at_us,
            Body::Act(Act::Joined(Box::new(joined))),
        );
        self.look_at_standing(&process, rank);
        if accelerators > 0 {
            self.gap(
                "clocks, temperatures and errors of the accelerators",
                "this version does not read them",
            );
        }
    }

    fn modules(
        &mut self,
        connection: Connection,
        files: Vec<PathText>,
        folders: BTreeSet<PathText>,
    ) {
        self.environments.in_use(&files);
        self.imported(connection, &files, folders);
        self.loaded_again(connection, &files);
        for path in &files {
            let path = files::archive_of(path).unwrap_or_else(|| path.clone());
            if !self.environments.covers(&path) && self.taken.insert(path.clone()) {
                let asked = self.asked_by(connection, None, host::clock::wall_us());
                self.ask_for(Purpose::Take(Kind::Script), &path, asked);
            }
        }
        let used = files.iter().filter(|it| self.environments.covers(it));
        self.watch.in_use(used.cloned().collect());
        if let Some(member) = self.members.get_mut(&connection) {
            member.modules.extend(files);
        }
    }

    fn opened(&mut self, connection: Connection, path: PathText, write: bool, at_us: i64) {
        if write {
            if path.as_str().ends_with(shards::INDEX_ENDING) {
                self.shard_indexes.insert(path.clone());
            }
            self.own_outputs.insert(path);
            return;
        }
        let known = self.checkpoints.contains(&path)
            || self.own_outputs.contains(&path)
            || self.taken.contains(&path);
        if known || self.environments.covers(&path) {
            return;
        }
        self.taken.insert(path.clone());
        let config = CONFIG_ENDINGS
            .iter()
            .any(|ending| path.as_str().ends_with(ending));
        let kind = if config { Kind::Config } else { Kind::Data };
        self.ask(Purpose::Take(kind), &path, connection, None, at_us);
    }

    /// A checkpoint was saved. When it is gone already it was renamed, and the next message says to what.
    fn heard_save(
        &mut self,
        connection: Connection,
        path: PathText,
        step: Option<u64>,
        at_us: i64,
    ) {
        self.checkpoints.insert(path.clone());
        self.own_outputs.insert(path.clone());
        self.excuse(connection);
        let asked = self.asked_by(connection, step, at_us);
        let line = line_of(asked.process.as_ref(), asked.rank);
        self.kept.heard(&path, line, step);
        self.ask_saved(path, asked);
    }

    fn asked_by(&self, connection: Connection, step: Option<u64>, at_us: i64) -> Asked {
        let member = self.members.get(&connection);
        Asked {
            process: member.map(|member| member.process.clone()),
            rank: member.and_then(Member::rank),
            step,
            at_us,
            ..Asked::default()
        }
    }

    fn ask(
        &mut self,
        purpose: Purpose,
        path: &PathText,
        connection: Connection,
        step: Option<u64>,
        at_us: i64,
    ) -> u64 {
        let asked = self.asked_by(connection, step, at_us);
        self.ask_for(purpose, path, asked)
    }

    pub(super) fn ask_for(&mut self, purpose: Purpose, path: &PathText, mut asked: Asked) -> u64 {
        let (ticket, opened) = self.reader.ask(purpose, path);
        asked.opened = opened;
        self.asked.insert(ticket, asked);
        ticket
    }

    fn network(&mut self, label: &str, target: &str, etag: Option<String>) {
        self.network += 1;
        if self.network <= NETWORK_GAPS_MAX {
            let target = crate::redact::text(target);
            let etag = etag.map_or_else(String::new, |etag| format!(", etag {etag}"));
            self.gap(
                &format!("what {label} read from {target}{etag}"),
                "read over the network: only the address is seen",
            );
        }
    }

    fn look_at_maps(&mut self, connection: Connection) {
        let Some(member) = self.members.get_mut(&connection) else {
            return;
        };
        let Ok(mapped) = host::proc::mapped_files(member.process.pid) else {
            return;
        };
        let mut new = Vec::new();
        for file in mapped.value {
            let path = PathText::from(file.path.as_path());
            if member.mapped.insert(path.clone()) {
                new.push(path);
            }
        }
        let used = new.iter().filter(|it| self.environments.covers(it));
        self.watch.in_use(used.cloned().collect());
        self.loaded_again(connection, &new);
        for path in new {
            if !self.environments.covers(&path) && self.taken.insert(path.clone()) {
                self.ask_for(Purpose::Take(Kind::Mapped), &path, Asked::default());
            }
        }
    }

    pub(super) fn close_segment(&mut self, connection: Connection) {
        let Some(member) = self.members.get_mut(&connection) else {
            return;
        };
        let (process, rank) = (member.process.clone(), member.rank());
        let Some((steps, bytes)) = member.segment() else {
            return;
        };
        let Some(segment) = self.journal.blob(&bytes) else {
            return;
        };
        let numbers = steps.iter().map(|step| step.step);
        let body = Steps {
            process,
            rank,
            first: numbers.clone().min().unwrap_or(0),
            last: numbers.max().unwrap_or(0),
            count: steps.len() as u64,
            segment,
        };
        self.journal
            .record_at(Tier::InProcess, host::clock::wall_us(), Body::Steps(body));
    }

    fn code(&mut self, code: Option<Code>, gaps: Vec<Gap>) {
        self.code_awaited = false;
        for gap in gaps {
            self.journal.record(Body::Gap(gap));
        }
        self.declared_code(code.as_ref());
        let Some(code) = code else { return };
        let sealed = serde_json::to_vec(&code)
            .ok()
            .and_then(|bytes| self.journal.sealed_blob(&bytes));
        let load = Load {
            what: Kind::Code,
            path: code.top.clone(),
            digest: sealed,
            stored: true,
            identity: None,
            process: None,
            rank: None,
            step: None,
            summary: None,
            examined: None,
        };
        self.journal.record(Body::Load(load));
    }

    /// Processes of the job that have torch in memory and no sensor: `python -I`, another architecture, a removed variable.
    fn look_for_silent_ones(&mut self) {
        let Ok(pids) = host::proc::descendants_of(self.command.pid) else {
            return;
        };
        for pid in std::iter::once(self.command.pid).chain(pids) {
            let looks = self.looked_at.entry(pid).or_default();
            *looks += 1;
            let speaks = self
                .members
                .values()
                .any(|member| member.process.pid == pid);
            if speaks || *looks > 6 {
                continue;
            }
            let Ok(mapped) = host::proc::mapped_files(pid) else {
                continue;
            };
            let torch = mapped.value.iter().any(|file| {
                file.path
                    .file_name()
                    .is_some_and(|name| name.as_encoded_bytes().starts_with(b"libtorch"))
            });
            if torch {
                self.looked_at.insert(pid, u32::MAX / 2);
                // A forked worker of a process that speaks has its parent's memory and does no steps.
                let parent = host::proc::parent(pid).unwrap_or(0);
                if self
                    .members
                    .values()
                    .any(|member| member.process.pid == parent)
                {
                    continue;
                }
                self.unheard += 1;
                let why = "it has torch loaded and its sensor never spoke (python -I, -E or -S, or PYTHONPATH was removed)";
                self.gap(&format!("steps and loads of process {pid}"), why);
            }
        }
    }
}

pub(super) fn to_process(id: &ProcessId) -> Process {
    Process {
        boot: id.boot.clone(),
        pid: id.pid,
        started: id.started,
    }
}

pub(super) fn to_outcome(status: Option<ExitStatus>) -> Outcome {
    match status {
        Some(ExitStatus::Code(code)) => Outcome::Exited {
            code: i32::from(code),
        },
        Some(ExitStatus::Signal { number, .. }) => Outcome::Signalled { signal: number },
        None => Outcome::Unknown,
    }
}
