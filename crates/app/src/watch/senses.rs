//! What the daemon sees with, as far as kernel and rights allow, and what it knows of processes by it.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use domain::signals::Party;
use domain::watched::{Actor, Principal, Sense};
use domain::{Process, RunId};
use host::files::{Change, Files};
use host::kernel::{self, Life, Lives, Signal, Signals, Table, Who};
use host::pass::Waker;
use rustix::event::{PollFd, PollFlags, Timespec, poll};

use super::hands::{Hands, Laid};
use super::limits::Limits;
use super::reach::Groups;
use super::who::{self, Doer};
use crate::party::party;

/// Who else could have done something: named at most.
const COULD_MAX: usize = 32;
/// How long the queue of changes is not looked at, at most: what a process was is known to that stretch of time.
const LIVES: Duration = Duration::from_millis(100);

/// How long a run that is over is still known.
const LEAVING: Duration = Duration::from_secs(2);

/// What was lost since the beginning.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Lost {
    pub(super) overflows: u64,
    pub(super) unplaced: u64,
    pub(super) signals: u64,
    pub(super) lives: u64,
    pub(super) hands: u64,
}

/// All means.
pub(super) struct Senses {
    files: Option<Files>,
    signals: Option<Signals>,
    lives: Option<Lives>,
    hands: Hands,
    table: Table,
    limits: Limits,
    told: Vec<Sense>,
    /// Supervisors of runs that are going on.
    runs: BTreeMap<RunId, Process>,
    /// Runs that are over, and since when: what ended them may still be on its way.
    leaving: Vec<(Instant, RunId)>,
    /// Up to when all changes were taken: what is taken now was done behind it.
    drained_ns: u64,
}

impl Senses {
    /// Opens what can be opened.
    pub(super) fn open(tier: u8) -> Self {
        let mut told = Vec::new();
        let mut tell = |what: &str, by: &str, missing: Option<String>| {
            told.push(Sense {
                what: what.to_owned(),
                by: by.to_owned(),
                missing,
            });
        };
        let files = keep(Files::new(), |missing| {
            tell(
                "who changes files, and who writes into the limits of a run's control group",
                "fanotify, tier 1",
                missing,
            );
        });
        let btf = match tier {
            0 | 1 => Err("not asked for: --tier 1".to_owned()),
            _ => kernel::description().map_err(|error| error.to_string()),
        };
        let signals = btf
            .as_ref()
            .map_err(Clone::clone)
            .and_then(|btf| Signals::watch(btf).map_err(|error| error.to_string()));
        let signals = keep(signals, |missing| {
            tell(
                "who signals a run's processes",
                "a program in the kernel, tier 2",
                missing,
            );
        });
        // Numbers are the host's where signals have proved it.
        let lives = match (&signals, btf) {
            (Some(_), Ok(btf)) => Lives::watch(&btf).map_err(|error| error.to_string()),
            (_, Err(why)) => Err(why),
            (None, Ok(_)) => Err("numbers of processes are not proved to be the host's".to_owned()),
        };
        let lives = keep(lives, |missing| {
            tell(
                "who each process was, whose processes end before anybody looks",
                "a program in the kernel, tier 2; else /proc afterwards",
                missing,
            );
        });
        let hands = Hands::open(&mut tell);
        let mut table = Table::default();
        if lives.is_some() {
            let now = super::daemon::now_ns();
            for (task, parent) in kernel::living() {
                table.lives(task, parent, now);
            }
        }
        Self {
            files,
            signals,
            lives,
            hands,
            table,
            limits: Limits::default(),
            told,
            runs: BTreeMap::new(),
            leaving: Vec::new(),
            drained_ns: super::daemon::now_ns(),
        }
    }

    pub(super) fn told(&self) -> &[Sense] {
        &self.told
    }

    /// Why nothing at all can be seen, where that is so.
    pub(super) fn blind(&self) -> Option<String> {
        let is_blind = self.files.is_none() && self.signals.is_none();
        let why = self.told.iter().filter_map(|sense| sense.missing.clone());
        is_blind.then(|| why.collect::<Vec<_>>().join("; "))
    }

    /// Waits until the kernel or a run has something to say, or the time is over.
    pub(super) fn wait(&self, waker: &Waker, time: Duration) {
        let mut ready = vec![PollFd::new(waker, PollFlags::IN)];
        ready.extend(
            self.files
                .iter()
                .map(|files| PollFd::new(files, PollFlags::IN)),
        );
        ready.extend(
            self.signals
                .iter()
                .map(|signals| PollFd::new(signals, PollFlags::IN)),
        );
        ready.extend(self.hands.poll());
        let time = Timespec {
            tv_sec: i64::try_from(time.as_secs()).unwrap_or(1),
            tv_nsec: i64::from(time.subsec_nanos()),
        };
        let _ = poll(&mut ready, Some(&time)); // a signal to us ends the wait as well
    }

    pub(super) fn lost(&self) -> Lost {
        let files = self.files.as_ref();
        Lost {
            overflows: files.map_or(0, Files::overflows),
            unplaced: files.map_or(0, Files::unplaced),
            signals: self
                .signals
                .as_ref()
                .and_then(|it| it.lost().ok())
                .unwrap_or(0),
            lives: self
                .lives
                .as_ref()
                .and_then(|it| it.lost().ok())
                .unwrap_or(0)
                + self.table.beyond,
            hands: self.hands.lost(),
        }
    }

    /// Takes in what the kernel tells of lives.
    pub(super) fn hear_lives(&mut self) {
        let table = &mut self.table;
        if let Some(lives) = &mut self.lives {
            lives.take(|happened| table.hear(happened));
        }
    }

    /// All signals to processes of runs since the last time.
    pub(super) fn signals(&mut self) -> Vec<Signal> {
        let mut all = Vec::new();
        if let Some(signals) = &mut self.signals {
            signals.take(|signal| all.push(signal));
        }
        all
    }

    /// All hands that were laid on processes since the last time.
    pub(super) fn hands(&mut self) -> Vec<Laid> {
        self.hands.take()
    }

    /// Whose process somebody laid hands on, and who did; `None` where it is of no run.
    pub(super) fn laid(&mut self, laid: &Laid) -> Option<(RunId, Party, Actor)> {
        self.hear_lives();
        let (from, to) = (laid.from_ns, laid.to_ns);
        let target = match self.table.who(laid.target, from, to) {
            Who::One(life) => Some(life),
            Who::Several(_) | Who::Nobody => None,
        };
        let run = match &target {
            Some(life) => {
                let above: Vec<Life> = self.table.above(life).into_iter().cloned().collect();
                self.run_of_life(life, &above)
            }
            None => self.run_above(laid.target),
        }?;
        let task = target.and_then(|life| life.during(from, to).last().map(|it| (*it).clone()));
        let task = task.or_else(|| kernel::look(laid.target).map(|(task, _)| task))?;
        let boot = host::identity::boot_id().unwrap_or_default();
        let found = self.table.who(laid.pid, from, to);
        let doer = Doer {
            pid: laid.pid,
            process: laid.process.as_ref(),
            before_ns: (!laid.is_given).then_some(from),
        };
        let actor = self.actor_of(&doer, (from, to), found);
        Some((run, party(task, boot), actor))
    }

    /// The sensor for files, to be given back: what it tells is asked about while it tells it.
    pub(super) fn lend_files(&mut self) -> Option<Files> {
        self.files.take()
    }

    /// It is given back; `all` if nothing was left in it.
    pub(super) fn give_back(&mut self, files: Files, began_ns: u64, all: bool) {
        self.files = Some(files);
        if all {
            self.drained_ns = began_ns;
        }
    }

    /// Who did something just now, and when he began; nothing where that is not known.
    pub(super) fn who(&mut self, change: &Change) -> (Who, u64) {
        self.hear_lives();
        let found = self
            .table
            .who(change.pid, self.drained_ns, super::daemon::now_ns());
        let started = match &found {
            Who::One(life) => life.started_ns(),
            Who::Several(_) | Who::Nobody => 0,
        };
        (found, started)
    }

    /// Who did something, as it is written down.
    pub(super) fn actor(&mut self, change: &Change, found: Who) -> Actor {
        let doer = Doer {
            pid: change.pid,
            process: change.process.as_ref(),
            before_ns: None,
        };
        let during = (self.drained_ns, super::daemon::now_ns());
        self.actor_of(&doer, during, found)
    }

    fn actor_of(&mut self, doer: &Doer<'_>, during: (u64, u64), found: Who) -> Actor {
        let lives = doer.lives();
        if let Who::One(life) = found {
            if lives && let Some((task, _)) = kernel::look(life.pid()) {
                self.table.looked(super::daemon::now_ns(), task);
            }
            let life = self.table.find(life.pid(), life.started_ns()).cloned();
            let Some(life) = life else {
                return Actor::unnamed(doer.pid, domain::watched::Known::Unknown);
            };
            let above: Vec<Life> = self.table.above(&life).into_iter().cloned().collect();
            let run = self.run_of_life(&life, &above);
            return who::of_life(&life, during, &above, lives, run);
        }
        if matches!(found, Who::Several(_)) {
            return Actor::unnamed(doer.pid, domain::watched::Known::Several);
        }
        // Without a program in the kernel: as it is now, if it is still the one that did it.
        who::looked_up(doer, |pid| self.run_above(pid))
    }

    /// The run that a process is of, going upwards in what `/proc` says now.
    fn run_above(&self, pid: u32) -> Option<RunId> {
        let mut pid = pid;
        for _ in 0..64 {
            let id = host::identity::ProcessId::of(pid).ok()?;
            let of = self
                .runs
                .iter()
                .find(|(_, it)| (it.pid, it.started) == (id.pid, id.started));
            if let Some((run, _)) = of {
                return Some(*run);
            }
            pid = host::proc::parent(pid).ok().filter(|parent| *parent > 1)?;
        }
        None
    }

    /// Whether a process is the supervisor of a run that is going on.
    pub(super) fn is_supervisor(&self, process: &Process) -> bool {
        self.runs.values().any(|it| it == process)
    }

    fn run_of_life(&self, life: &Life, above: &[Life]) -> Option<RunId> {
        std::iter::once(life).chain(above).find_map(|life| {
            let started = crate::party::ticks(life.started_ns());
            let is = |it: &&Process| (it.pid, it.started) == (life.pid(), started);
            self.runs.iter().find(|(_, it)| is(it)).map(|(run, _)| *run)
        })
    }

    /// The run that a process is of.
    pub(super) fn run_of(&mut self, pid: u32, started_ns: u64) -> Option<RunId> {
        self.hear_lives();
        let Some(life) = self.table.find(pid, started_ns).cloned() else {
            return self.run_above(pid);
        };
        let above: Vec<Life> = self.table.above(&life).into_iter().cloned().collect();
        self.run_of_life(&life, &above)
    }

    /// A run begins: signals to it are told, and who writes into the limits of its control group.
    pub(super) fn follow(&mut self, run: RunId, supervisor: &Process) -> Result<(), String> {
        self.runs.insert(run, supervisor.clone());
        let folders = self.limits.add(run, supervisor.pid);
        if let (Some(files), Some(folder)) = (&mut self.files, folders.first()) {
            files.watch(folder).map_err(|error| error.to_string())?;
        }
        if let Some(signals) = &self.signals {
            signals
                .follow(supervisor.pid)
                .map_err(|error| error.to_string())?;
        }
        Ok(())
    }

    /// A run is over. For a moment it is still known.
    pub(super) fn leave(&mut self, run: RunId) {
        self.leaving.push((Instant::now(), run));
    }

    /// Forgets runs that are over for a while; whether there were any.
    pub(super) fn sweep(&mut self) -> bool {
        let (gone, staying): (Vec<_>, Vec<_>) = std::mem::take(&mut self.leaving)
            .into_iter()
            .partition(|(since, _)| since.elapsed() >= LEAVING);
        self.leaving = staying;
        for (_, run) in &gone {
            self.forget(*run);
        }
        !gone.is_empty()
    }

    fn forget(&mut self, run: RunId) {
        self.limits.remove(run);
        if let Some(supervisor) = self.runs.remove(&run)
            && let Some(signals) = &self.signals
        {
            let _ = signals.leave(supervisor.pid); // gone already: the kernel has taken it out itself
        }
    }

    /// Hears of changes on the file system of a path from now on.
    pub(super) fn listen(&mut self, path: &Path) -> Result<(), String> {
        let Some(files) = &mut self.files else {
            return Ok(()); // told once, among the senses
        };
        files.watch(path).map_err(|error| error.to_string())
    }

    pub(super) fn only(&mut self, folders: Vec<PathBuf>) {
        if let Some(files) = &mut self.files {
            files.only(folders);
        }
    }

    /// Folders with limits of runs.
    pub(super) fn limit_folders(&self) -> impl Iterator<Item = &PathBuf> {
        self.limits.folders()
    }

    /// The runs that writing into this file holds, slows or ends.
    pub(super) fn limited_by(&self, path: &Path) -> &[RunId] {
        self.limits.runs(path)
    }

    /// Who has root's rights now.
    pub(super) fn privileged() -> Vec<Principal> {
        let looked: Vec<_> = kernel::living().into_iter().map(|(task, _)| task).collect();
        let root = looked.iter().filter(|task| task.effective_uid == 0);
        let mut all: Vec<Principal> = root.map(who::principal).collect();
        all.sort();
        all.dedup();
        all.truncate(COULD_MAX);
        all
    }

    /// Who else could have written there now, by processes that live, and how many more.
    pub(super) fn could(
        &self,
        groups: &mut Groups,
        path: &Path,
        actor: &Actor,
    ) -> (Vec<Principal>, u64) {
        let tasks: Vec<host::kernel::Task> = match self.lives {
            Some(_) => self.table.living().cloned().collect(),
            None => kernel::living().into_iter().map(|(task, _)| task).collect(),
        };
        let mut all = who::able(&tasks, groups, path, actor);
        let more = all.len().saturating_sub(COULD_MAX) as u64;
        all.truncate(COULD_MAX);
        (all, more)
    }

    /// How long to sleep at most.
    pub(super) fn patience(&self, time: Duration) -> Duration {
        match self.lives {
            Some(_) => time.min(LIVES),
            None => time,
        }
    }
}

/// What could be opened, and a word on what could not.
pub(super) fn keep<T, E: ToString>(
    opened: Result<T, E>,
    tell: impl FnOnce(Option<String>),
) -> Option<T> {
    match opened {
        Ok(it) => {
            tell(None);
            Some(it)
        }
        Err(error) => {
            tell(Some(error.to_string()));
            None
        }
    }
}
