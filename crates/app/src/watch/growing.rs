//! Notices of the kernel become changes: what one process does to one file within a moment is one.

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::path::PathBuf;

use domain::watched::{Actor, Deed};

const MILLISECOND: u64 = 1_000_000;
/// How long notices are gathered.
const GATHERED_NS: u64 = 80 * MILLISECOND;
/// The same where a file is held open and written: until it is closed, or so long.
const HELD_NS: u64 = 10_000 * MILLISECOND;
/// Changes that may be gathered at once.
const AT_ONCE_MAX: usize = 10_000;
/// Accounts that are told apart.
const ACCOUNTS_MAX: usize = 4_096;

/// One process and one file.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct Key {
    pub(super) path: PathBuf,
    pub(super) pid: u32,
    /// When the process started; nothing where it is not known.
    pub(super) started: u64,
}

/// What was noticed of it so far.
#[derive(Debug, Clone)]
pub(super) struct Growing {
    pub(super) from: Option<PathBuf>,
    pub(super) deeds: BTreeSet<Deed>,
    pub(super) folder: bool,
    pub(super) notices: u64,
    pub(super) first_ns: u64,
    pub(super) last_ns: u64,
    pub(super) actor: Actor,
    /// Matters for a file that is held open alone: then nothing else is said of it for a while.
    told_ns: Option<u64>,
}

/// One notice.
#[derive(Debug, Clone)]
pub(super) struct Notice {
    pub(super) from: Option<PathBuf>,
    pub(super) deeds: BTreeSet<Deed>,
    pub(super) folder: bool,
    pub(super) at_ns: u64,
}

/// All that is being gathered.
#[derive(Debug, Default)]
pub(super) struct Gathering {
    growing: HashMap<Key, Growing>,
    /// Notices for which there was no room.
    pub(super) beyond: u64,
}

impl Gathering {
    /// Whether this process is doing something to this file already.
    pub(super) fn has(&self, key: &Key) -> bool {
        let growing = self.growing.get(key);
        growing.is_some_and(|growing| growing.notices > 0)
    }

    /// Takes one notice in; `actor` is asked for the first of them.
    pub(super) fn take(&mut self, key: Key, notice: Notice, actor: impl FnOnce() -> Actor) {
        if let Some(growing) = self.growing.get_mut(&key) {
            // What it is may have changed since it was told of.
            if growing.notices == 0 {
                growing.actor = actor();
            }
            growing.deeds.extend(notice.deeds);
            growing.notices += 1;
            growing.last_ns = notice.at_ns;
            growing.from = growing.from.take().or(notice.from);
            return;
        }
        if self.growing.len() >= AT_ONCE_MAX {
            self.beyond += 1;
            return;
        }
        let growing = Growing {
            from: notice.from,
            deeds: notice.deeds,
            folder: notice.folder,
            notices: 1,
            first_ns: notice.at_ns,
            last_ns: notice.at_ns,
            actor: actor(),
            told_ns: None,
        };
        self.growing.insert(key, growing);
    }

    /// Those that are due now. A file that is only written stays: it is told once, and again when it is closed or a while has passed.
    pub(super) fn due(&mut self, now_ns: u64) -> Vec<(Key, Growing)> {
        let mut due = Vec::new();
        self.growing.retain(|key, growing| {
            let is_held = growing.deeds.iter().all(|deed| *deed == Deed::Written);
            let since = growing.told_ns.unwrap_or(growing.first_ns);
            let wait = match growing.told_ns {
                Some(_) if is_held => HELD_NS,
                _ => GATHERED_NS,
            };
            if now_ns.saturating_sub(since) < wait {
                return true;
            }
            if growing.notices > 0 {
                due.push((key.clone(), growing.clone()));
            }
            // One that was held and is quiet since is forgotten.
            let goes_on = is_held && growing.notices > 0;
            growing.told_ns = Some(now_ns);
            growing.notices = 0;
            growing.first_ns = now_ns;
            goes_on
        });
        due.sort_by_key(|(_, growing)| growing.first_ns);
        due
    }

    /// Whether anything is being gathered.
    pub(super) fn is_empty(&self) -> bool {
        self.growing.is_empty()
    }
}

/// How much each account may still have recorded.
#[derive(Debug, Default)]
pub(super) struct Budget {
    of: HashMap<String, Account>,
}

/// How much one account may have recorded singly: at once, and each second from then on.
#[derive(Debug, Clone, Copy)]
pub(super) struct Measure {
    pub(super) burst: f64,
    pub(super) each_second: f64,
}

#[derive(Debug, Clone, Copy)]
struct Account {
    left: f64,
    at_ns: u64,
    over: u64,
    /// It had all of its measure when it was asked for last.
    full: bool,
}

impl Budget {
    /// Whether one more is recorded.
    pub(super) fn spend(&mut self, account: &str, measure: Measure, now_ns: u64) -> bool {
        if self.of.len() >= ACCOUNTS_MAX && !self.of.contains_key(account) {
            return false;
        }
        let it = self.of.entry(account.to_owned()).or_insert(Account {
            left: measure.burst,
            at_ns: now_ns,
            over: 0,
            full: false,
        });
        let seconds = now_ns.saturating_sub(it.at_ns) as f64 / 1e9;
        it.left = (it.left + seconds * measure.each_second).min(measure.burst);
        it.full = it.left >= measure.burst;
        it.at_ns = now_ns;
        if it.left < 1.0 {
            it.over += 1;
            return false;
        }
        it.left -= 1.0;
        true
    }

    /// Who went beyond, and by how many, since the last time.
    pub(super) fn over(&mut self) -> Vec<(String, u64)> {
        let mut over: Vec<(String, u64)> = self
            .of
            .iter_mut()
            .filter(|(_, account)| account.over > 0)
            .map(|(name, account)| (name.clone(), std::mem::take(&mut account.over)))
            .collect();
        over.sort();
        self.of.retain(|_, account| !account.full);
        over
    }
}

/// What waits to be written down, served account by account: one that has much waits for itself alone.
#[derive(Debug)]
pub(super) struct Turns<T> {
    of: BTreeMap<String, VecDeque<T>>,
    waiting: usize,
}

impl<T> Default for Turns<T> {
    fn default() -> Self {
        Self {
            of: BTreeMap::new(),
            waiting: 0,
        }
    }
}

impl<T> Turns<T> {
    /// One more.
    pub(super) fn wait(&mut self, account: &str, it: T) {
        self.waiting += 1;
        self.of.entry(account.to_owned()).or_default().push_back(it);
    }

    /// As many as `count`, one of each account in turn.
    pub(super) fn next(&mut self, count: usize) -> Vec<T> {
        let mut all = Vec::new();
        while all.len() < count && self.waiting > 0 {
            for waiting in self.of.values_mut() {
                if all.len() < count
                    && let Some(it) = waiting.pop_front()
                {
                    self.waiting -= 1;
                    all.push(it);
                }
            }
            self.of.retain(|_, waiting| !waiting.is_empty());
        }
        all
    }

    /// How many wait.
    pub(super) fn len(&self) -> usize {
        self.waiting
    }
}

#[cfg(test)]
mod tests {
    use domain::watched::Known;

    use super::*;

    fn key(path: &str) -> Key {
        Key {
            path: path.into(),
            pid: 7,
            started: 1,
        }
    }

    fn notice(deed: Deed, at_ns: u64) -> Notice {
        Notice {
            from: None,
            deeds: BTreeSet::from([deed]),
            folder: false,
            at_ns,
        }
    }

    fn actor() -> Actor {
        Actor {
            pid: 7,
            known: Known::Unknown,
            party: None,
            became: None,
            executable: None,
            parents: Vec::new(),
            run: None,
        }
    }

    #[test]
    fn what_one_process_does_to_a_file_within_a_moment_is_one_change() {
        let mut all = Gathering::default();
        for (deed, at) in [(Deed::Created, 0), (Deed::Written, 1), (Deed::Closed, 2)] {
            all.take(key("/a"), notice(deed, at * MILLISECOND), actor);
        }
        assert!(all.due(50 * MILLISECOND).is_empty());
        let due = all.due(GATHERED_NS);
        assert_eq!(
            (due.len(), due[0].1.notices, due[0].1.deeds.len()),
            (1, 3, 3)
        );
        assert!(all.is_empty());
    }

    #[test]
    fn a_file_that_is_held_and_written_is_told_once_and_again_when_it_is_closed() {
        let mut all = Gathering::default();
        let mut told = 0;
        for at in (0..5_000).step_by(10) {
            all.take(key("/log"), notice(Deed::Written, at * MILLISECOND), actor);
            told += all.due(at * MILLISECOND).len();
        }
        assert_eq!(told, 1);
        all.take(
            key("/log"),
            notice(Deed::Closed, 5_000 * MILLISECOND),
            actor,
        );
        let due = all.due(5_100 * MILLISECOND);
        assert!(due.len() == 1 && due[0].1.deeds.contains(&Deed::Closed));
        assert!(all.is_empty());
    }

    #[test]
    fn one_that_is_held_and_quiet_is_forgotten() {
        let mut all = Gathering::default();
        all.take(key("/log"), notice(Deed::Written, 0), actor);
        assert_eq!(all.due(GATHERED_NS).len(), 1);
        assert!(all.due(2 * HELD_NS).is_empty() && all.is_empty());
    }

    #[test]
    fn more_than_there_is_room_for_is_counted() {
        let mut all = Gathering::default();
        for number in 0..AT_ONCE_MAX + 5 {
            all.take(key(&format!("/{number}")), notice(Deed::Created, 0), actor);
        }
        assert_eq!((all.beyond, all.due(GATHERED_NS).len()), (5, AT_ONCE_MAX));
    }

    #[test]
    fn an_account_that_floods_is_counted_and_takes_nothing_from_others() {
        let measure = Measure {
            burst: 400.0,
            each_second: 50.0,
        };
        let mut budget = Budget::default();
        let spent = (0..10_000)
            .filter(|_| budget.spend("a", measure, 0))
            .count();
        assert_eq!(spent, 400);
        assert!(budget.spend("b", measure, 0));
        assert_eq!(budget.over(), [("a".to_owned(), 9_600)]);
        assert!(budget.over().is_empty());
        let second = 1_000 * MILLISECOND;
        let later = (0..10_000)
            .filter(|_| budget.spend("a", measure, second))
            .count();
        assert_eq!(later, 50);
    }

    #[test]
    fn each_account_is_served_in_its_turn() {
        let mut turns = Turns::default();
        for number in 0..1_000 {
            turns.wait("flood", number);
        }
        turns.wait("quiet", 5_000);
        assert_eq!(turns.next(4), [0, 5_000, 1, 2]);
        assert_eq!(
            (turns.len(), turns.next(2_000).len(), turns.len()),
            (997, 997, 0)
        );
    }
}
