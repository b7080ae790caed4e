//! The daemon itself: one thread that hears the kernel and the runs, and writes.

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::Receiver;
use std::time::{Duration, Instant};

use domain::entry::Act;
use domain::watched::{
    Actor, Blind, Counters, DaemonSeen, Deed, FileChange, Intervention, RunRegistered, Sense,
    WatchBeat, WatchBegun,
};
use domain::{Body, Gap, PathText, Process, RunId, Tier};
use host::files::Change;
use host::kernel::Signal;
use host::pass::Waker;

use super::clients::{Client, Heard, Visitor};
use super::ground::{Ground, NotWatched};
use super::growing::{Budget, Gathering, Growing, Key, Measure, Notice, Turns};
use super::hands::Laid;
use super::past::{CHANGES_MAX, Past};
use super::reach::{Account, Groups};
use super::senses::Senses;
use super::state::{self, Known};
use super::telling;
use super::wire::{FromDaemon, ToDaemon};
use crate::journal::Journal;
use crate::run::Heart;

/// How long it sleeps when nothing is going on, and when something is.
const QUIET: Duration = Duration::from_secs(1);
const BUSY: Duration = Duration::from_millis(20);
/// Folders within a store, one in another.
const STORE_DEPTH: usize = 8;
/// Changes that a run is told of from before it began.
const EARLIER_MAX: usize = 500;
/// How often accounts that went beyond their measure are told.
const BEYOND_EVERY: Duration = Duration::from_secs(30);
/// The boot clock in nanoseconds.
const THOUSAND: i64 = 1_000;

/// What one account may have written down singly of changes: at once, and each second from then on.
const CHANGES: Measure = Measure {
    burst: 5_000.0,
    each_second: 50.0,
};
/// The same of what a run does itself: it is told of none of it, and a loader's cache is no news.
const OWN_CHANGES: Measure = Measure {
    burst: 2_000.0,
    each_second: 2.0,
};
/// The same of signals.
const SIGNALS: Measure = Measure {
    burst: 20_000.0,
    each_second: 5_000.0,
};
/// The same of hands laid on processes.
const HANDS: Measure = Measure {
    burst: 2_000.0,
    each_second: 20.0,
};
/// Changes that are written down before the kernel is heard again, and those that may wait.
const IN_A_ROUND: usize = 200;
/// Words of runs that are heard before the kernel is heard again.
const WORDS_IN_A_ROUND: usize = 500;
/// Runs, files and folders that one user may register.
const ASKED: Measure = Measure {
    burst: 20_000.0,
    each_second: 20.0,
};
const WAITING_MAX: usize = 20_000;

/// A registered run that is going on.
struct Going {
    run: RunId,
    visitor: Visitor,
}

/// The daemon's state.
pub(super) struct Daemon {
    journal: Journal,
    senses: Senses,
    heart: Heart,
    heartbeat_seconds: u32,
    ground: Ground,
    groups: Groups,
    gathering: Gathering,
    budget: Budget,
    waiting: Turns<(Key, Growing)>,
    known: Known,
    going: BTreeMap<Client, Going>,
    visitors: HashMap<Client, Visitor>,
    recent: VecDeque<(i64, FileChange)>,
    counters: Counters,
    /// Counters as they were told last.
    told: Counters,
    beyond_told: Instant,
    ground_changed: bool,
    over: u64,
}

impl Daemon {
    pub(super) fn new(journal: Journal, senses: Senses, heartbeat_seconds: u32) -> Self {
        Self {
            journal,
            senses,
            heart: Heart::start(heartbeat_seconds),
            heartbeat_seconds,
            ground: Ground::default(),
            groups: Groups::default(),
            gathering: Gathering::default(),
            budget: Budget::default(),
            waiting: Turns::default(),
            known: Known::default(),
            going: BTreeMap::new(),
            visitors: HashMap::new(),
            recent: VecDeque::new(),
            counters: Counters::default(),
            told: Counters::default(),
            beyond_told: Instant::now(),
            ground_changed: false,
            over: 0,
        }
    }

    pub(super) fn senses(&self) -> &[Sense] {
        self.senses.told()
    }

    /// Takes up what an earlier daemon left, and says that this one begins. Gives back how many folders are watched from the start.
    pub(super) fn begin(&mut self, past: Past) -> usize {
        let now_us = host::clock::wall_us();
        let blind = past.last.map(|(_, from_us, ended)| Blind {
            from_us,
            to_us: now_us,
            ended,
            privileged: Senses::privileged(),
        });
        for (_, change) in &past.changes {
            if let Some(digest) = change.after.as_ref().and_then(|state| state.digest) {
                let path = super::who::path_of(&change.path);
                self.known.remember(&path, digest);
            }
        }
        self.recent = past.changes;
        let mut folders = 0;
        for asked in past.folders {
            let account = self.groups.account(asked.by.uid);
            if let Some(path) = self.ground.remember(asked, account) {
                folders += 1;
                self.listen(&path);
            }
        }
        let begun = WatchBegun {
            process: own(),
            taintline: env!("CARGO_PKG_VERSION").to_owned(),
            kernel: host::identity::kernel_release(),
            person: crate::run::person(),
            senses: self.senses.told().to_vec(),
            heartbeat_us: u64::from(self.heartbeat_seconds) * 1_000_000,
            blind,
        };
        self.journal
            .record(Body::Act(Act::WatchBegun(Box::new(begun))));
        self.journal.record_clock();
        self.settle();
        self.journal.flush();
        folders
    }

    /// Watches until it is asked to end.
    pub(super) fn run(&mut self, words: &Receiver<Heard>, waker: &Waker, stop: &AtomicBool) {
        while !stop.load(Ordering::Relaxed) {
            let time = match (self.waiting.len(), self.gathering.is_empty()) {
                (0, true) => self.senses.patience(QUIET),
                (0, false) => BUSY,
                _ => Duration::ZERO,
            };
            self.senses.wait(waker, time);
            waker.taken();
            self.round(words);
        }
        self.see();
        self.emit(u64::MAX, usize::MAX);
        self.tell_beyond();
        self.journal.record(Body::Act(Act::WatchEnded));
        self.journal.flush();
    }

    fn round(&mut self, words: &Receiver<Heard>) {
        self.journal.look_at_clock();
        self.beat();
        self.see();
        // Whoever talks without end is heard in rounds, between what the kernel has to say.
        for heard in words.try_iter().take(WORDS_IN_A_ROUND) {
            self.hear(heard);
        }
        self.ground_changed |= self.senses.sweep();
        self.settle();
        self.emit(now_ns(), IN_A_ROUND);
        if self.beyond_told.elapsed() >= BEYOND_EVERY {
            self.tell_beyond();
        }
        // What cannot be written now stays and is tried again; findings about the ledger stand in it.
        self.journal.flush();
        self.journal.take_rewritten();
    }

    /// A sign of life, with what was counted.
    fn beat(&mut self) {
        let now = host::clock::Moment::now();
        if let Some(heart) = self.heart.due(now, self.journal.last()) {
            let counters = self.counted();
            let beat = WatchBeat { heart, counters };
            self.journal
                .record(Body::Act(Act::WatchBeat(Box::new(beat))));
        }
    }

    fn counted(&mut self) -> Counters {
        let lost = self.senses.lost();
        Counters {
            overflows: lost.overflows,
            unplaced: lost.unplaced,
            signals_lost: lost.signals,
            lives_lost: lost.lives,
            interventions_lost: lost.hands,
            beyond: self.over + self.gathering.beyond,
            ..self.counters
        }
    }

    /// Losses are gaps at once, and stand in each sign of life.
    fn tell_beyond(&mut self) {
        self.beyond_told = Instant::now();
        for (account, count) in self.budget.over() {
            self.gap(
                &format!("{count} deeds of {account}"),
                "there were more than are recorded singly of one account",
            );
        }
        let (now, told) = (self.counted(), self.told);
        self.told = now;
        for (now, told, what, why) in [
            (
                now.overflows,
                told.overflows,
                "changes to files",
                "the kernel's queue ran over",
            ),
            (
                now.signals_lost,
                told.signals_lost,
                "signals",
                "they came too fast",
            ),
            (
                now.lives_lost,
                told.lives_lost,
                "lives of processes",
                "they came too fast",
            ),
            (
                now.interventions_lost,
                told.interventions_lost,
                "debuggers and writes into memory",
                "they came too fast, or could not be read",
            ),
        ] {
            if now > told {
                let what = format!("{what}: {} times or more", now - told);
                self.gap(&what, why);
            }
        }
    }

    fn gap(&mut self, what: &str, why: &str) {
        self.journal.record(Body::Gap(Gap {
            what: what.to_owned(),
            why: why.to_owned(),
        }));
    }

    /// Takes in what the kernel has to say: signals first, they have a channel of their own.
    fn see(&mut self) {
        self.senses.hear_lives();
        for signal in self.senses.signals() {
            self.signal(signal);
        }
        for laid in self.senses.hands() {
            self.laid(&laid);
        }
        let Some(mut files) = self.senses.lend_files() else {
            return;
        };
        let began_ns = now_ns();
        // Each is asked about at once: its process may go at any moment.
        let more = files.take(|change| self.change(&change));
        self.senses
            .give_back(files, began_ns, more.is_ok_and(|more| !more));
    }

    fn signal(&mut self, signal: Signal) {
        let target = self
            .senses
            .run_of(signal.target.pid, signal.target.started_ns);
        let Some(run) = target else { return };
        let actor = self
            .senses
            .run_of(signal.actor.pid, signal.actor.started_ns);
        let mut signal = signal;
        signal.from_followed = actor == Some(run);
        let supervisor = self.ground.asker(run);
        let supervisor = supervisor.map(|asker| asker.registered.supervisor.pid);
        // What the supervisor hands on, and what a process does to itself, is nobody's act against the run.
        let is_own = signal.actor.pid == signal.target.pid || Some(signal.actor.pid) == supervisor;
        self.counters.signals += 1;
        let told = FromDaemon::Signal(Box::new(signal.clone()));
        if let Some(going) = self.going.values_mut().find(|going| going.run == run) {
            going.visitor.tell(told);
        }
        if is_own && signal.origin == host::kernel::Origin::Process {
            return;
        }
        let account = format!(
            "user {}",
            signal.actor.login_uid.unwrap_or(signal.actor.uid)
        );
        if !signal.from_followed && self.spend(&format!("{account} (signals)"), SIGNALS) {
            let made = crate::run::as_made(signal, &own().boot, None);
            self.record(Act::SignalMade(Box::new(made)), host::clock::wall_us());
        }
    }

    /// Somebody laid hands on a process without a signal.
    fn laid(&mut self, laid: &Laid) {
        let Some((run, target, actor)) = self.senses.laid(laid) else {
            return;
        };
        self.counters.interventions += 1;
        let party = actor.party.as_ref();
        if party.is_some_and(|party| self.senses.is_supervisor(&party.process))
            || !self.spend(&format!("{} (hands)", account(&actor)), HANDS)
        {
            return;
        }
        let at_us = at_us(laid.to_ns);
        let it = Box::new(Intervention {
            what: laid.what,
            at_ns: laid.to_ns,
            actor,
            value: state::value_of(laid.what, laid.target),
            before: None,
            target,
            rank: None,
        });
        self.record(Act::Intervened(it.clone()), at_us);
        if let Some(going) = self.going.values_mut().find(|going| going.run == run) {
            going.visitor.tell(FromDaemon::Intervened { at_us, it });
        }
    }

    fn record(&mut self, act: Act, at_us: i64) {
        self.journal
            .record_at(Tier::HostDaemon, at_us, Body::Act(act));
    }

    fn spend(&mut self, account: &str, measure: Measure) -> bool {
        let spent = self.budget.spend(account, measure, now_ns());
        self.over += u64::from(!spent);
        spent
    }

    /// A notice of the kernel: whose it is, and whether it matters to anybody.
    fn change(&mut self, change: &Change) {
        let place = change.place.as_ref().map(host::files::Place::path);
        let from = change.from.as_ref().map(host::files::Place::path);
        // What was moved to where no path leads is told of where it was.
        let (path, from) = match (place, from) {
            (Some(path), from) => (path, from),
            (None, Some(from)) => (from, None),
            (None, None) => return, // counted by the sensor
        };
        let wanted =
            |path: &Path| self.ground.is_wanted(path) || !self.senses.limited_by(path).is_empty();
        if !wanted(&path) && !from.as_deref().is_some_and(wanted) {
            return;
        }
        self.counters.changes += 1;
        let at_ns = now_ns();
        let (found, started) = self.senses.who(change);
        let key = Key {
            path,
            pid: change.pid,
            started,
        };
        let notice = Notice {
            from,
            deeds: deeds(change),
            folder: change.is_folder,
            at_ns,
        };
        if self.gathering.has(&key) {
            return self.gathering.take(key, notice, || {
                Actor::unnamed(0, domain::watched::Known::Unknown)
            });
        }
        let actor = self.senses.actor(change, found);
        // A supervisor writes the record of its run. Anything else that it writes is a change as any other.
        let party = actor.party.as_ref();
        if party.is_some_and(|party| self.senses.is_supervisor(&party.process))
            && is_in_store(&key.path)
        {
            return;
        }
        self.gathering.take(key, notice, || actor);
    }

    /// Writes down what is due, and tells those whom it concerns.
    fn emit(&mut self, now_ns: u64, count: usize) {
        for (key, growing) in self.gathering.due(now_ns) {
            if self.waiting.len() >= WAITING_MAX {
                self.over += 1;
                continue;
            }
            self.waiting.wait(&account(&growing.actor), (key, growing));
        }
        for (key, growing) in self.waiting.next(count) {
            self.one(&key, growing);
        }
    }

    fn one(&mut self, key: &Key, growing: Growing) {
        let mut runs = self.ground.of(&key.path);
        for run in growing.from.iter().flat_map(|from| self.ground.of(from)) {
            if !runs.contains(&run) {
                runs.push(run);
            }
        }
        let limited = self.senses.limited_by(&key.path).to_vec();
        let is_limit = !limited.is_empty();
        runs.extend(limited);
        let measure = growing.actor.run.map_or(CHANGES, |_| OWN_CHANGES);
        if runs.is_empty() || !self.spend(&account(&growing.actor), measure) {
            return;
        }
        let at_us = at_us(growing.first_ns);
        let mut after = state::of(&key.path);
        if is_limit && let Some(after) = &mut after {
            after.value = state::value(&key.path);
        }
        let before = self.known.forget(&key.path);
        if let Some(from) = &growing.from {
            self.known.forget(from);
        }
        if let Some(digest) = after.as_ref().and_then(|state| state.digest) {
            self.known.remember(&key.path, digest);
        }
        let could = self
            .senses
            .could(&mut self.groups, &key.path, &growing.actor);
        let change = FileChange {
            path: PathText::from(key.path.as_path()),
            from: growing.from.as_deref().map(PathText::from),
            deeds: growing.deeds.into_iter().collect(),
            folder: growing.folder,
            notices: growing.notices,
            first_ns: growing.first_ns,
            last_ns: growing.last_ns,
            actor: growing.actor,
            after,
            before,
            could: could.0,
            could_more: could.1,
        };
        self.record(Act::FileChanged(Box::new(change.clone())), at_us);
        for going in self
            .going
            .values_mut()
            .filter(|going| runs.contains(&going.run) && change.actor.run != Some(going.run))
        {
            let change = for_run(&self.ground, going.run, is_limit, &change);
            going.visitor.tell(FromDaemon::Changed {
                at_us,
                change: Box::new(change),
            });
        }
        if self.recent.len() >= CHANGES_MAX {
            self.recent.pop_front();
        }
        self.recent.push_back((at_us, change));
    }

    fn hear(&mut self, heard: Heard) {
        match heard {
            Heard::Came(client, visitor) => {
                self.visitors.insert(client, visitor);
            }
            Heard::Left(client) => self.left(client, false),
            Heard::Said(client, message, file) => self.said(client, message, file),
        }
    }

    fn said(&mut self, client: Client, message: ToDaemon, file: Option<OwnedFd>) {
        match (message, file) {
            (ToDaemon::Run { run, name }, _) => self.registers(client, run, &name),
            (ToDaemon::Ground, Some(file)) => self.asked(client, &file),
            (ToDaemon::Ground, None) => {}
            (ToDaemon::Sync { number }, _) => {
                self.see();
                if let Some(going) = self.going.get_mut(&client) {
                    going.visitor.tell(FromDaemon::Synced { number });
                }
            }
            (ToDaemon::Over, _) => self.left(client, true),
        }
    }

    /// A run begins. Whoever says so, and all that comes of him, is it: nobody can register somebody else's process.
    fn registers(&mut self, client: Client, run: RunId, name: &str) {
        let Some(mut visitor) = self.visitors.remove(&client) else {
            return;
        };
        let name: String = name.chars().take(128).collect();
        // The number of a run is its own; who comes with one that another account has is sent away.
        let taken = self.ground.asker(run).is_some();
        let asks_too_much = !self.spend(&format!("user {} (registering)", visitor.uid), ASKED);
        if taken || asks_too_much {
            let why = if taken {
                "a run of this number is registered already"
            } else {
                "this user registered too much in a short time"
            };
            visitor.tell(FromDaemon::Refused {
                what: "the run".to_owned(),
                why: why.to_owned(),
            });
            return;
        }
        let id = &visitor.id;
        let supervisor = Process {
            boot: id.boot.clone(),
            pid: id.pid,
            started: id.started,
        };
        let registered = RunRegistered {
            run,
            name,
            supervisor: supervisor.clone(),
            uid: visitor.uid,
        };
        let account = Account {
            uid: visitor.uid,
            groups: visitor.groups.clone(),
        };
        self.record(
            Act::RunRegistered(Box::new(registered.clone())),
            host::clock::wall_us(),
        );
        self.ground.admit(registered, account, true);
        if let Err(why) = self.senses.follow(run, &supervisor) {
            self.gap(&format!("signals to the run {run}"), &why);
        }
        visitor.tell(FromDaemon::Welcome(Box::new(DaemonSeen {
            process: own(),
            uid: 0,
            taintline: env!("CARGO_PKG_VERSION").to_owned(),
            watch: self.journal.run(),
            senses: self.senses.told().to_vec(),
        })));
        self.going.insert(client, Going { run, visitor });
        self.ground_changed = true;
    }

    /// A run asks for a file or a folder.
    fn asked(&mut self, client: Client, file: &OwnedFd) {
        let Some(going) = self.going.get_mut(&client) else {
            return;
        };
        let (run, uid) = (going.run, going.visitor.uid);
        let spent = self
            .budget
            .spend(&format!("user {uid} (registering)"), ASKED, now_ns());
        let asked = if spent {
            self.ground.ask(run, file)
        } else {
            Err(NotWatched(
                "this user asked for too much in a short time".to_owned(),
            ))
        };
        match asked {
            Ok(path) => {
                let folder = PathText::from(path.as_path());
                self.record(Act::FolderWatched { run, folder }, host::clock::wall_us());
                self.listen(&path);
                self.tell_earlier(client, &path);
            }
            Err(NotWatched(why)) => going.visitor.tell(FromDaemon::Refused {
                what: "changes to some of its files".to_owned(),
                why,
            }),
        }
    }

    fn listen(&mut self, path: &Path) {
        self.ground_changed = true;
        if let Err(why) = self.senses.listen(path) {
            self.gap(&format!("changes to {}", PathText::from(path)), &why);
        }
    }

    /// What changed there before the run began.
    fn tell_earlier(&mut self, client: Client, path: &Path) {
        let Some(going) = self.going.get_mut(&client) else {
            return;
        };
        let top = PathText::from(path).to_bytes();
        let concerns = |(_, change): &&(i64, FileChange)| {
            let path = change.path.to_bytes();
            let is_below = path
                .strip_prefix(top.as_slice())
                .is_some_and(|rest| rest.is_empty() || rest.starts_with(b"/"));
            is_below
                && self
                    .ground
                    .of(&super::who::path_of(&change.path))
                    .contains(&going.run)
        };
        let mut earlier: Vec<&(i64, FileChange)> = self
            .recent
            .iter()
            .rev()
            .filter(concerns)
            .take(EARLIER_MAX)
            .collect();
        earlier.reverse();
        for (at_us, change) in earlier {
            let change = for_run(&self.ground, going.run, false, change);
            going.visitor.tell(FromDaemon::Changed {
                at_us: *at_us,
                change: Box::new(change),
            });
        }
    }

    fn left(&mut self, client: Client, said: bool) {
        self.visitors.remove(&client);
        let Some(going) = self.going.remove(&client) else {
            return;
        };
        let run = going.run;
        self.senses.leave(run);
        self.ground.leave(run);
        self.record(Act::RunLeft { run, said }, host::clock::wall_us());
        self.ground_changed = true;
    }

    /// Tells the sensor what is watched, once for all changes of it.
    fn settle(&mut self) {
        if !std::mem::take(&mut self.ground_changed) {
            return;
        }
        let mut folders: BTreeSet<PathBuf> = self.ground.folders().into_iter().collect();
        folders.extend(self.senses.limit_folders().cloned());
        self.senses.only(folders.into_iter().collect());
    }
}

/// A change as a run is told of it. Limits of its control group are open to everybody.
fn for_run(ground: &Ground, run: RunId, is_limit: bool, change: &FileChange) -> FileChange {
    let Some(asker) = ground.asker(run).filter(|_| !is_limit) else {
        return change.clone();
    };
    let sees = |path: &PathText| ground.of(&super::who::path_of(path)).contains(&run);
    let before = change.from.as_ref().is_none_or(sees);
    telling::told(change, &asker.account, (sees(&change.path), before))
}

/// Whether a path lies in the store of a run.
fn is_in_store(path: &Path) -> bool {
    let mut above = path.ancestors().skip(1).take(STORE_DEPTH);
    above.any(|folder| folder.join("ledger").is_dir() && folder.join("version").is_file())
}

/// Whose measure a change is taken from.
fn account(actor: &Actor) -> String {
    match (&actor.party, actor.run) {
        (_, Some(run)) => format!("run {run}"),
        (Some(party), None) => format!("user {}", party.login_uid.unwrap_or(party.uid)),
        (None, None) => "processes that were gone".to_owned(),
    }
}

fn deeds(change: &Change) -> BTreeSet<Deed> {
    let what = change.what;
    [
        (what.is_created(), Deed::Created),
        (what.is_written(), Deed::Written),
        (what.is_closed(), Deed::Closed),
        (what.is_renamed(), Deed::Renamed),
        (what.is_deleted(), Deed::Deleted),
        (what.has_other_attributes(), Deed::Attributes),
    ]
    .into_iter()
    .filter_map(|(is, deed)| is.then_some(deed))
    .collect()
}

fn own() -> Process {
    let id = host::identity::ProcessId::current();
    id.map_or_else(
        |_| Process {
            boot: String::new(),
            pid: std::process::id(),
            started: 0,
        },
        |id| Process {
            boot: id.boot,
            pid: id.pid,
            started: id.started,
        },
    )
}

/// The boot clock, as the kernel's own programs tell it.
pub(super) fn now_ns() -> u64 {
    u64::try_from(host::clock::boot_us().saturating_mul(THOUSAND)).unwrap_or(0)
}

/// When something was, by the wall clock as it goes now.
fn at_us(boot_ns: u64) -> i64 {
    let ago_us = now_ns().saturating_sub(boot_ns) / 1_000;
    host::clock::wall_us() - i64::try_from(ago_us).unwrap_or(0)
}
