//! Who had a number when: the lives of processes put together, for a while after their end.
//!
//! An act that is heard of afterwards comes with a number and a stretch of time in which it was done. Whoever had the number in that stretch did
//! it; if several had, nobody is named. A process's users may change within a life (`setuid`, a program with the set-user-id bit), so
//! each life keeps what it was at each moment that the kernel told of.

use std::collections::{HashMap, VecDeque};
use std::path::Path;

use super::lives::Happened;
use super::task::Task;
use crate::bounded;
use crate::stat::Stat;

/// Moments of one life that are kept: the first, and the newest.
const MOMENTS_MAX: usize = 12;
/// Lives that ended and are remembered, and all that are known at once.
const ENDED_MAX: usize = 10_000;
const KNOWN_MAX: usize = 100_000;
/// Generations that are followed upwards.
const GENERATIONS_MAX: usize = 64;
const NANOSECONDS: u64 = 1_000_000_000;
/// What the kernel writes where no login user or session was ever set.
const UNSET: u32 = u32::MAX;

/// The life of a process.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Life {
    /// What it was, and when: in order of time, at least one.
    moments: Vec<(u64, Task)>,
    /// Number of whom it came of, and when that one started, as far as known.
    parent: Option<(u32, Option<u64>)>,
    /// The program that it executed last, as it was called.
    pub executable: Option<Vec<u8>>,
    /// When its first thread ended.
    pub ended_ns: Option<u64>,
    /// When it started is known to a tick of the clock alone.
    coarse: bool,
}

impl Life {
    fn first(&self) -> Option<&Task> {
        self.moments.first().map(|(_, task)| task)
    }

    /// Its number.
    pub fn pid(&self) -> u32 {
        self.first().map_or(0, |task| task.pid)
    }

    /// Number of whom it came of, where that is known.
    pub fn parent_pid(&self) -> Option<u32> {
        self.parent.map(|(pid, _)| pid)
    }

    /// When it started, nanoseconds since boot.
    pub fn started_ns(&self) -> u64 {
        self.first().map_or(0, |task| task.started_ns)
    }

    /// What it was in a stretch of time: as it was before it, each time that it was told within, and the first time behind it.
    pub fn during(&self, from_ns: u64, to_ns: u64) -> Vec<&Task> {
        let before = self.moments.iter().rev().find(|(at, _)| *at <= from_ns);
        let within = self
            .moments
            .iter()
            .filter(|(at, _)| *at > from_ns && *at <= to_ns);
        let behind = self.moments.iter().find(|(at, _)| *at > to_ns);
        let all = before.into_iter().chain(within).chain(behind);
        all.map(|(_, task)| task).collect()
    }

    fn add(&mut self, at_ns: u64, task: Task) {
        // Of a stretch in which nothing changed its beginning and its end are enough.
        let mut newest = self.moments.iter().rev();
        let is_stretch =
            |moment: Option<&(u64, Task)>| moment.is_some_and(|(_, it)| is_same(it, &task));
        if is_stretch(newest.next()) && is_stretch(newest.next()) {
            self.moments.pop();
        } else if self.moments.len() >= MOMENTS_MAX {
            self.moments.remove(1);
        }
        self.moments.push((at_ns, task));
    }
}

/// Whether two moments show the same users, login and group.
pub(super) fn is_same(one: &Task, other: &Task) -> bool {
    let users = |task: &Task| {
        (
            task.uid,
            task.effective_uid,
            task.login_uid,
            task.session,
            task.cgroup,
        )
    };
    users(one) == users(other) && one.name == other.name
}

/// Who had a number in a stretch of time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Who {
    /// One process.
    One(Box<Life>),
    /// So many, one after the other.
    Several(usize),
    /// None that is known.
    Nobody,
}

/// All lives that are known.
#[derive(Debug, Default)]
pub struct Table {
    /// By number, in the order in which they began.
    lives: HashMap<u32, Vec<Life>>,
    /// Ends in their order, to forget the oldest.
    ended: VecDeque<(u32, u64)>,
    count: usize,
    /// Lives for which there was no room.
    pub beyond: u64,
}

impl Table {
    /// Takes in a process that lived before anybody listened.
    pub fn lives(&mut self, task: Task, parent: u32, now_ns: u64) {
        if self.find(task.pid, task.started_ns).is_some() {
            return;
        }
        let executable = crate::proc::executable(task.pid).ok();
        let life = Life {
            parent: Some((parent, None)),
            executable: executable.map(|file| path_bytes(&file.path)),
            ended_ns: None,
            coarse: true,
            moments: vec![(now_ns, task)],
        };
        self.put(life);
    }

    /// Takes in what the kernel tells.
    pub fn hear(&mut self, happened: Happened) {
        match happened {
            Happened::Made {
                at_ns,
                parent,
                child,
            } => {
                let executable = self.find(parent.pid, parent.started_ns);
                let executable = executable.and_then(|life| life.executable.clone());
                self.put(Life {
                    parent: Some((parent.pid, Some(parent.started_ns))),
                    executable,
                    ended_ns: None,
                    coarse: false,
                    moments: vec![(at_ns, child)],
                });
            }
            Happened::Executed { at_ns, task, path } => {
                if let Some(life) = self.known(at_ns, &task) {
                    life.executable = Some(path);
                    life.add(at_ns, task);
                }
            }
            Happened::Ended { at_ns, task } => {
                let key = (task.pid, task.started_ns);
                if let Some(life) = self.known(at_ns, &task) {
                    life.add(at_ns, task);
                    life.ended_ns = Some(at_ns);
                    self.ended.push_back(key);
                }
                self.forget();
            }
        }
    }

    /// A look at a process that lives, taken now.
    pub fn looked(&mut self, at_ns: u64, task: Task) {
        if let Some(life) = self.find_mut(task.pid, task.started_ns) {
            // From outside the number of its group is not seen.
            let cgroup = life.moments.last().map_or(0, |(_, last)| last.cgroup);
            life.add(at_ns, Task { cgroup, ..task });
        }
    }

    fn put(&mut self, life: Life) {
        if self.count >= KNOWN_MAX {
            self.beyond += 1;
            return;
        }
        let of_number = self.lives.entry(life.pid()).or_default();
        // Its number is free, so whoever had it has ended, whether that was heard or not.
        let began = life.moments.first().map_or(0, |(at, _)| *at);
        for earlier in of_number
            .iter_mut()
            .filter(|earlier| earlier.ended_ns.is_none())
        {
            earlier.ended_ns = Some(began);
            self.ended.push_back((earlier.pid(), earlier.started_ns()));
        }
        of_number.push(life);
        self.count += 1;
    }

    /// The life of a task, made up where its beginning was not heard.
    fn known(&mut self, at_ns: u64, task: &Task) -> Option<&mut Life> {
        if self.find(task.pid, task.started_ns).is_none() {
            self.put(Life {
                parent: None,
                executable: None,
                ended_ns: None,
                coarse: false,
                moments: vec![(at_ns, task.clone())],
            });
        }
        self.find_mut(task.pid, task.started_ns)
    }

    fn forget(&mut self) {
        while self.ended.len() > ENDED_MAX
            && let Some((pid, started)) = self.ended.pop_front()
        {
            if let Some(lives) = self.lives.get_mut(&pid) {
                let before = lives.len();
                lives.retain(|life| life.started_ns() != started || life.ended_ns.is_none());
                self.count -= before - lives.len();
                if lives.is_empty() {
                    self.lives.remove(&pid);
                }
            }
        }
    }

    /// The life of a number that started then.
    pub fn find(&self, pid: u32, started_ns: u64) -> Option<&Life> {
        let lives = self.lives.get(&pid)?;
        lives.iter().rev().find(|life| began(life, started_ns))
    }

    fn find_mut(&mut self, pid: u32, started_ns: u64) -> Option<&mut Life> {
        let lives = self.lives.get_mut(&pid)?;
        lives.iter_mut().rev().find(|life| began(life, started_ns))
    }

    /// Who had a number in a stretch of time.
    pub fn who(&self, pid: u32, from_ns: u64, to_ns: u64) -> Who {
        let lives = self.lives.get(&pid).map_or(&[][..], Vec::as_slice);
        let was = |life: &&Life| {
            life.started_ns() <= to_ns && life.ended_ns.is_none_or(|ended| ended >= from_ns)
        };
        let mut found = lives.iter().filter(was);
        match (found.next(), found.count()) {
            (None, _) => Who::Nobody,
            (Some(life), 0) => Who::One(Box::new(life.clone())),
            (Some(_), more) => Who::Several(more + 1),
        }
    }

    /// Whom a life came of, the nearest first, as far as is known.
    pub fn above(&self, life: &Life) -> Vec<&Life> {
        let mut chain: Vec<&Life> = Vec::new();
        let mut next = life.parent;
        let mut born = life.started_ns();
        while let Some((pid, started)) = next
            && chain.len() < GENERATIONS_MAX
        {
            let parent = if let Some(started) = started {
                self.find(pid, started)
            } else {
                // Of one that lived before anybody listened: whoever has the number, if he is older.
                let lives = self.lives.get(&pid);
                lives.and_then(|lives| lives.iter().rev().find(|it| it.started_ns() <= born))
            };
            let Some(parent) = parent else { break };
            born = parent.started_ns();
            next = parent.parent;
            chain.push(parent);
        }
        chain
    }

    /// All that have not ended, as they were last.
    pub fn living(&self) -> impl Iterator<Item = &Task> {
        let lives = self.lives.values().flatten();
        let living = lives.filter(|life| life.ended_ns.is_none());
        living.filter_map(|life| life.moments.last().map(|(_, task)| task))
    }

    /// How many are known.
    pub fn len(&self) -> usize {
        self.count
    }

    /// Whether none is known.
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }
}

/// Whether a life began then. What was seen from outside is known to a tick.
fn began(life: &Life, started_ns: u64) -> bool {
    let tick = NANOSECONDS / rustix::param::clock_ticks_per_second().max(1);
    let own = life.started_ns();
    own == started_ns
        || (life.coarse || started_ns.is_multiple_of(tick)) && own / tick == started_ns / tick
}

/// A process as it is seen from outside now, and its parent. `None` if there is none. The number of its control group is not seen: it is zero.
pub fn look(pid: u32) -> Option<(Task, u32)> {
    let stat = Stat::of(pid).ok()?;
    let (status, _) = bounded::read(Path::new(&format!("/proc/{pid}/status")), 1 << 20).ok()?;
    let status = String::from_utf8_lossy(&status);
    let users = status.lines().find_map(|line| line.strip_prefix("Uid:"))?;
    let users: Vec<u32> = users
        .split_whitespace()
        .filter_map(|it| it.parse().ok())
        .collect();
    let set = |name: &str| {
        let number: u32 = bounded::line(&format!("/proc/{pid}/{name}"))?
            .parse()
            .ok()?;
        (number != UNSET).then_some(number)
    };
    let tick = NANOSECONDS / rustix::param::clock_ticks_per_second().max(1);
    let task = Task {
        pid,
        thread: pid,
        started_ns: stat.started.saturating_mul(tick),
        uid: *users.first()?,
        effective_uid: *users.get(1)?,
        login_uid: set("loginuid"),
        session: set("sessionid"),
        cgroup: 0,
        name: stat.name,
    };
    // It may have become another one while it was read.
    let same = Stat::of(pid).is_ok_and(|again| again.started == stat.started);
    same.then_some((task, stat.parent))
}

/// All processes that live now, and their parents.
pub fn living() -> Vec<(Task, u32)> {
    let Ok(folder) = std::fs::read_dir("/proc") else {
        return Vec::new();
    };
    let numbers = folder
        .flatten()
        .filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    numbers.filter_map(look).collect()
}

fn path_bytes(path: &Path) -> Vec<u8> {
    use std::os::unix::ffi::OsStrExt as _;
    path.as_os_str().as_bytes().to_vec()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn task(pid: u32, started_ns: u64, uid: u32) -> Task {
        Task {
            pid,
            thread: pid,
            started_ns,
            uid,
            effective_uid: uid,
            login_uid: Some(1000),
            session: Some(3),
            cgroup: 5,
            name: "sh".into(),
        }
    }

    fn made(pid: u32, at: u64, parent: (u32, u64)) -> Happened {
        Happened::Made {
            at_ns: at,
            parent: task(parent.0, parent.1, 0),
            child: task(pid, at, 0),
        }
    }

    fn ended(pid: u32, started: u64, at: u64) -> Happened {
        Happened::Ended {
            at_ns: at,
            task: task(pid, started, 0),
        }
    }

    #[test]
    fn who_had_a_number_is_told_by_the_time() {
        let mut table = Table::default();
        for happened in [
            made(7, 100, (1, 1)),
            ended(7, 100, 200),
            made(7, 300, (1, 1)),
        ] {
            table.hear(happened);
        }
        let one = |from, to| match table.who(7, from, to) {
            Who::One(life) => Some(life.started_ns()),
            Who::Several(_) | Who::Nobody => None,
        };
        assert_eq!(
            (one(150, 250), one(250, 350), one(400, 500)),
            (Some(100), Some(300), Some(300))
        );
        // In a stretch in which both had it nobody is named.
        assert_eq!(table.who(7, 150, 350), Who::Several(2));
        assert_eq!(table.who(7, 210, 250), Who::Nobody);
        assert_eq!(table.who(8, 0, 500), Who::Nobody);
    }

    #[test]
    fn an_end_that_was_not_heard_is_concluded_from_the_next_life() {
        let mut table = Table::default();
        table.hear(made(7, 100, (1, 1)));
        table.hear(made(7, 300, (1, 1)));
        assert!(matches!(table.who(7, 310, 320), Who::One(life) if life.started_ns() == 300));
        assert_eq!(table.living().count(), 1);
    }

    #[test]
    fn what_it_was_before_and_behind_a_stretch_is_both_told() {
        let mut table = Table::default();
        table.hear(made(7, 100, (1, 1)));
        table.hear(Happened::Executed {
            at_ns: 200,
            task: task(7, 100, 1000),
            path: b"/bin/su".to_vec(),
        });
        let life = table.find(7, 100).unwrap();
        let users =
            |from, to| -> Vec<u32> { life.during(from, to).iter().map(|task| task.uid).collect() };
        assert_eq!(users(110, 120), [0, 1000]);
        assert_eq!(users(150, 250), [0, 1000]);
        assert_eq!(users(250, 300), [1000]);
        assert_eq!(life.executable.as_deref(), Some(&b"/bin/su"[..]));
    }

    #[test]
    fn a_look_takes_nothing_from_what_was_known_before_it() {
        let mut table = Table::default();
        table.hear(made(7, 100, (1, 1)));
        let later = |at_ns| Happened::Executed {
            at_ns,
            task: task(7, 100, 1000),
            path: Vec::new(),
        };
        table.hear(later(200));
        for at in [300, 400, 500] {
            table.looked(at, task(7, 100, 1000));
            let life = table.find(7, 100).unwrap();
            assert!(life.during(at - 50, at).iter().all(|task| task.uid == 1000));
            assert!(life.during(150, at).iter().any(|task| task.uid == 0));
        }
        assert_eq!(table.find(7, 100).unwrap().moments.len(), 3);
    }

    #[test]
    fn whom_it_came_of_is_known_after_their_end() {
        let mut table = Table::default();
        let first = task(1, 0, 0);
        table.lives(first, 0, 50);
        table.hear(made(5, 100, (1, 0)));
        table.hear(made(6, 110, (5, 100)));
        table.hear(ended(5, 100, 120));
        let life = table.find(6, 110).unwrap();
        let above: Vec<u32> = table.above(life).iter().map(|life| life.pid()).collect();
        assert_eq!(above, [5, 1]);
    }

    #[test]
    fn the_dead_are_forgotten_and_a_loop_of_parents_ends() {
        let mut table = Table::default();
        for number in 0..(ENDED_MAX as u64 + 500) {
            let pid = u32::try_from(number % 3_000 + 10).unwrap();
            table.hear(made(pid, number * 10, (1, 0)));
            table.hear(ended(pid, number * 10, number * 10 + 5));
        }
        assert!(table.len() <= ENDED_MAX + 1, "{}", table.len());
        let mut table = Table::default();
        table.hear(made(5, 100, (6, 90)));
        table.hear(made(6, 90, (5, 100)));
        let life = table.find(5, 100).unwrap();
        assert!(table.above(life).len() <= GENERATIONS_MAX);
    }

    #[test]
    fn one_that_lives_is_seen_from_outside_and_is_the_same_as_the_kernels() {
        let own = std::process::id();
        let (task, parent) = look(own).unwrap();
        assert_eq!(task.uid, rustix::process::getuid().as_raw());
        assert!(parent > 0 && living().iter().any(|(task, _)| task.pid == own));
        assert!(look(u32::MAX).is_none());
        let mut table = Table::default();
        table.lives(task.clone(), parent, 1);
        // The kernel's word on when it started is finer.
        let exact = task.started_ns + 1_234;
        table.hear(Happened::Ended {
            at_ns: u64::MAX,
            task: Task {
                started_ns: exact,
                ..task
            },
        });
        assert_eq!(table.len(), 1);
    }
}
