//! The host's daemon, where there is one: the run asks it to watch over what it loads and writes, and records what it is told.
//!
//! The daemon runs as root, so what it says is out of the reach of the job and of whoever else has our account. Its own ledger has the
//! original; what stands in the run's record is for the run's readers. Without one nothing changes.

use std::collections::BTreeSet;
use std::fs::OpenOptions;
use std::os::fd::AsFd as _;
use std::os::unix::ffi::OsStringExt as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::sync::mpsc::Sender;
use std::time::{Duration, Instant};

use domain::entry::Act;
use domain::{Body, Gap, Outcome, PathText, Process, RunId, Tier};
use host::pass::{self, Frames};
use host::peer::Peer;
use rustix::fs::OFlags;

use super::RunRequest;
use super::event::Event;
use super::launch::Launched;
use super::recorder::Recorder;
use crate::watch::wire::{FromDaemon, SOCKET, SOCKET_VARIABLE, ToDaemon};

/// The job does not wait longer for the daemon's first word.
const FIRST_WORD: Duration = Duration::from_secs(2);
/// A daemon that does not read for so long is done without.
const PATIENCE: Duration = Duration::from_millis(500);
/// Files and folders that it is asked to watch for one run.
const ASKED_MAX: usize = 4_096;

/// The daemon's word on who killed a process is awaited for so long.
const WORD: Duration = Duration::from_millis(400);

/// Ends by a signal whose sender is awaited.
#[derive(Default)]
pub(super) struct Deferred {
    asked: u64,
    waiting: Vec<(u64, Process, Outcome, Instant)>,
}

impl Deferred {
    /// Whether any is awaited.
    pub(super) fn waits(&self) -> bool {
        !self.waiting.is_empty()
    }
}

/// A daemon that watches over this run.
pub(super) struct Daemon {
    stream: UnixStream,
    asked: BTreeSet<PathBuf>,
    /// What of the record was looked at for files to watch.
    loads: usize,
    writes: usize,
    too_many: bool,
}

/// What came of asking.
pub(super) enum Found {
    Nobody,
    Daemon(Box<Daemon>, Vec<FromDaemon>, Box<Frames>),
    /// There is something that is not relied on.
    Not(Gap),
}

impl Daemon {
    /// Asks the daemon of this host, if there is one, to watch over the run and all that will come of this process.
    pub(super) fn find(request: &RunRequest, launched: &Launched) -> Found {
        let (run, name) = (launched.journal.run(), launched.opening.name.as_str());
        let named = request.surroundings.variables.iter();
        let named = named
            .clone()
            .find(|(variable, _)| variable == SOCKET_VARIABLE);
        let path = named.map_or_else(|| PathBuf::from(SOCKET), |(_, path)| PathBuf::from(path));
        let stream = match UnixStream::connect(&path) {
            Ok(stream) => stream,
            Err(_) if named.is_none() => return Found::Nobody,
            Err(error) => return Found::Not(gap(&format!("{}: {error}", path.display()))),
        };
        match Self::introduce(stream, run, name) {
            Ok((daemon, first, frames)) => Found::Daemon(Box::new(daemon), first, Box::new(frames)),
            Err(why) => Found::Not(gap(&format!("{}: {why}", path.display()))),
        }
    }

    fn introduce(
        stream: UnixStream,
        run: RunId,
        name: &str,
    ) -> Result<(Self, Vec<FromDaemon>, Frames), String> {
        let said = |error: std::io::Error| error.to_string();
        let peer = Peer::of(&stream).map_err(said)?;
        if peer.uid != 0 {
            return Err(format!(
                "whoever listens there is user {} and not root: not believed",
                peer.uid
            ));
        }
        stream.set_write_timeout(Some(PATIENCE)).map_err(said)?;
        stream.set_read_timeout(Some(FIRST_WORD)).map_err(said)?;
        let mut daemon = Self {
            stream: stream.try_clone().map_err(said)?,
            asked: BTreeSet::new(),
            loads: 0,
            writes: 0,
            too_many: false,
        };
        daemon.say(&ToDaemon::Run {
            run,
            name: name.to_owned(),
        })?;
        let mut frames = Frames::new(stream);
        let mut first = Vec::new();
        loop {
            let frame = frames.next(|_| false).map_err(said)?;
            let frame = frame.ok_or("it hung up")?;
            let message =
                serde_json::from_slice(&frame.bytes).map_err(|error| error.to_string())?;
            let is_welcome = matches!(message, FromDaemon::Welcome(_));
            if let FromDaemon::Refused { why, .. } = &message {
                return Err(why.clone());
            }
            first.push(message);
            if is_welcome {
                break;
            }
        }
        daemon.stream.set_read_timeout(None).map_err(said)?;
        Ok((daemon, first, frames))
    }

    fn say(&mut self, message: &ToDaemon) -> Result<(), String> {
        let frame = serde_json::to_vec(message).map_err(|error| error.to_string())?;
        pass::send(&self.stream, &frame, None).map_err(|error| error.to_string())
    }

    /// Asks for a file, or for a folder with all that is in it. What cannot be opened is not watched: the run cannot load it either.
    pub(super) fn watch(&mut self, path: &Path) {
        if self.asked.len() >= ASKED_MAX {
            self.too_many = true;
            return;
        }
        let is_asked = |above: &Path| self.asked.contains(above);
        if path.ancestors().any(is_asked) {
            return;
        }
        let flags = OFlags::NONBLOCK | OFlags::NOCTTY;
        let flags = i32::try_from(flags.bits()).unwrap_or(0);
        let Ok(file) = OpenOptions::new().read(true).custom_flags(flags).open(path) else {
            return;
        };
        let is_plain = |meta: std::fs::Metadata| meta.is_dir() || meta.is_file();
        if !file.metadata().is_ok_and(is_plain) {
            return;
        }
        self.asked.insert(path.to_owned());
        if let Ok(frame) = serde_json::to_vec(&ToDaemon::Ground) {
            // One that does not read is not asked again: its end is told by the thread that hears it.
            if pass::send(&self.stream, &frame, Some(file.as_fd())).is_err() {
                let _ = self.stream.shutdown(std::net::Shutdown::Both);
                self.asked.insert(PathBuf::from("/"));
            }
        }
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        let _ = self.say(&ToDaemon::Over); // else it sees that we are gone
        let _ = self.stream.shutdown(std::net::Shutdown::Both);
    }
}

fn gap(why: &str) -> Gap {
    Gap {
        what: "the host's daemon".to_owned(),
        why: why.to_owned(),
    }
}

/// Hears the daemon on a thread of its own until it hangs up.
pub(super) fn hear(mut frames: Frames, events: Sender<Event>) {
    let spawned = std::thread::Builder::new()
        .name("daemon".to_owned())
        .spawn(move || {
            while let Ok(Some(frame)) = frames.next(|_| false) {
                let Ok(message) = serde_json::from_slice(&frame.bytes) else {
                    break;
                };
                if events.send(Event::Daemon(Box::new(message))).is_err() {
                    return;
                }
            }
            let _ = events.send(Event::DaemonGone);
        });
    drop(spawned);
}

impl Recorder<'_> {
    /// Takes up what came of asking the daemon, and has it watch what is known from the start.
    pub(super) fn watched_over(
        &mut self,
        found: Found,
        (request, sees_signals): (&RunRequest, bool),
        sensor: &Path,
        events: &Sender<Event>,
    ) {
        self.accept_environment = request.accept_environment;
        self.sees_signals = sees_signals;
        super::tracers::hear(self.journal.run(), events.clone());
        let (mut daemon, first, frames) = match found {
            Found::Nobody => return,
            Found::Not(gap) => return self.journal.record(Body::Gap(gap)),
            Found::Daemon(daemon, first, frames) => (daemon, first, frames),
        };
        let store = self.journal.store().root().to_owned();
        for path in [request.surroundings.cwd.as_path(), &store, sensor] {
            daemon.watch(path);
        }
        self.daemon = Some(*daemon);
        for message in first {
            self.daemon_said(message);
        }
        hear(*frames, events.clone());
    }

    /// The daemon said something.
    pub(super) fn daemon_said(&mut self, message: FromDaemon) {
        match message {
            FromDaemon::Welcome(seen) => self.journal.record(Body::Act(Act::DaemonSeen(seen))),
            FromDaemon::Changed { at_us, change } => {
                self.held_by_limit(&change);
                let body = Body::Act(Act::FileChanged(change));
                self.journal.record_at(Tier::HostDaemon, at_us, body);
            }
            FromDaemon::Signal(_) if self.sees_signals => {}
            FromDaemon::Signal(signal) => self.made(*signal, Tier::HostDaemon),
            FromDaemon::Intervened { at_us, it } => self.intervened(Tier::HostDaemon, at_us, *it),
            FromDaemon::Synced { number } => self.synced(number),
            FromDaemon::Refused { what, why } => {
                self.gap(&format!("what the host's daemon would see: {what}"), &why);
            }
            FromDaemon::Lost { what, count } => {
                self.gap(
                    &format!("{count} of {what}"),
                    "more came than could be told",
                );
            }
        }
    }

    /// The daemon hung up.
    pub(super) fn daemon_gone(&mut self) {
        self.end_deferring(true);
        if self.daemon.take().is_some() {
            self.gap(
                "what the host's daemon sees, from here on",
                "it hung up while the run was going",
            );
        }
    }

    /// Whether the end of a process is put off until the daemon has said all that it saw up to now.
    pub(super) fn defer(&mut self, process: &Process, outcome: Outcome) -> bool {
        let is_killed = matches!(outcome, Outcome::Signalled { .. });
        let Some(daemon) = self
            .daemon
            .as_mut()
            .filter(|_| is_killed && !self.sees_signals)
        else {
            return false;
        };
        self.deferred.asked += 1;
        let number = self.deferred.asked;
        if daemon.say(&ToDaemon::Sync { number }).is_err() {
            return false;
        }
        let waiting = &mut self.deferred.waiting;
        waiting.push((number, process.clone(), outcome, Instant::now()));
        true
    }

    /// Ends that waited long enough, or whose word has come; all of them, if nobody will say anything any more.
    pub(super) fn end_deferring(&mut self, all: bool) {
        let waiting = std::mem::take(&mut self.deferred.waiting);
        let is_due =
            |(.., since): &(u64, Process, Outcome, Instant)| all || since.elapsed() >= WORD;
        let (due, rest) = waiting.into_iter().partition(is_due);
        self.deferred.waiting = rest;
        let due: Vec<_> = due;
        for (_, process, outcome, _) in due {
            self.really_exited(&process, outcome);
        }
    }

    fn synced(&mut self, number: u64) {
        let waiting = std::mem::take(&mut self.deferred.waiting);
        let (due, rest): (Vec<_>, Vec<_>) = waiting.into_iter().partition(|it| it.0 <= number);
        self.deferred.waiting = rest;
        for (_, process, outcome, _) in due {
            self.really_exited(&process, outcome);
        }
    }

    /// Has the daemon watch what was loaded and written since the last time.
    pub(super) fn have_watched(&mut self) {
        let Some(daemon) = &mut self.daemon else {
            return;
        };
        let record = self.journal.record_so_far();
        let loads = record
            .loads
            .iter()
            .skip(daemon.loads)
            .map(|load| &load.path);
        let writes = record.writes.iter().skip(daemon.writes);
        let writes = writes.map(|(_, write)| &write.path);
        let prefixes = record.joined.values().map(|joined| &joined.prefix);
        let paths: Vec<PathBuf> = prefixes.chain(loads).chain(writes).map(path_of).collect();
        (daemon.loads, daemon.writes) = (record.loads.len(), record.writes.len());
        for path in paths {
            daemon.watch(&path);
        }
        if std::mem::take(&mut daemon.too_many) && daemon.asked.len() == ASKED_MAX {
            daemon.asked.insert(PathBuf::new()); // told once
            let why = format!(
                "the run loads more than {ASKED_MAX} outside of the folders that it began with"
            );
            self.gap("who changes some of the files", &why);
        }
    }
}

fn path_of(path: &PathText) -> PathBuf {
    PathBuf::from(std::ffi::OsString::from_vec(path.to_bytes()))
}
