//! From what is known of processes to who did something, as it stands in an entry.

use std::collections::BTreeSet;
use std::os::fd::{AsFd as _, OwnedFd};
use std::os::unix::ffi::OsStringExt as _;
use std::path::{Path, PathBuf};

use domain::watched::{Actor, Ancestor, Known, Principal};
use domain::{PathText, RunId};
use host::kernel::{Life, Task};
use rustix::event::{PollFd, PollFlags, Timespec, poll};

use super::reach::{Groups, may_write};
use crate::party::{party, ticks};

/// Longest path of a program that is written down: an entry has its measure, and a name may be made long.
const PROGRAM_BYTES_MAX: usize = 512;
/// The longest tick of a clock: a hundred in a second.
const TICK_MAX_NS: u64 = 10_000_000;
/// Whom a process came of is written down this far.
const PARENTS_MAX: usize = 12;

/// A path as it stands in an entry.
pub(super) fn path_of(path: &PathText) -> PathBuf {
    PathBuf::from(std::ffi::OsString::from_vec(path.to_bytes()))
}

/// Whoever did something, as far as the kernel told.
pub(crate) struct Doer<'a> {
    /// His number.
    pub(crate) pid: u32,
    /// The process, if it was still there.
    pub(crate) process: Option<&'a OwnedFd>,
    /// The process is whoever had the number afterwards: it is his only if he began before this.
    pub(crate) before_ns: Option<u64>,
}

impl Doer<'_> {
    /// Whether the process has not ended: its number is its own then.
    pub(crate) fn lives(&self) -> bool {
        let Some(process) = self.process else {
            return false;
        };
        let now = Timespec {
            tv_sec: 0,
            tv_nsec: 0,
        };
        let mut ready = [PollFd::from_borrowed_fd(process.as_fd(), PollFlags::IN)];
        poll(&mut ready, Some(&now)).is_ok_and(|count| count == 0)
    }

    /// Whether a process with the number is the one that did it. What is seen from outside is known to a tick.
    fn is(&self, task: &Task) -> bool {
        self.before_ns
            .is_none_or(|before| task.started_ns.saturating_add(TICK_MAX_NS) <= before)
    }
}

/// By the kernel's own word on that life.
pub(super) fn of_life(
    life: &Life,
    (from_ns, to_ns): (u64, u64),
    above: &[Life],
    lives: bool,
    run: Option<RunId>,
) -> Actor {
    let boot = host::identity::boot_id().unwrap_or_default();
    let moments = life.during(from_ns, to_ns);
    let (Some(first), Some(last)) = (moments.first(), moments.last()) else {
        return Actor::unnamed(life.pid(), Known::Unknown);
    };
    let users = |task: &Task| (task.uid, task.effective_uid, task.login_uid, task.session);
    let same = moments.iter().all(|moment| users(moment) == users(first));
    // The newest says best what it calls itself; where users differ, the first says who it was.
    let shown = if same { last } else { first };
    let executable = life.executable.as_deref().and_then(program);
    let now = running(life.pid()).filter(|_| lives);
    Actor {
        pid: life.pid(),
        known: if same {
            Known::Observed
        } else {
            Known::Changed
        },
        party: Some(party((*shown).clone(), boot)),
        became: (!same).then(|| Box::new(party((*last).clone(), boot))),
        executable: now.or(executable),
        parents: above
            .iter()
            .take(PARENTS_MAX)
            .filter_map(ancestor)
            .collect(),
        run,
    }
}

fn ancestor(life: &Life) -> Option<Ancestor> {
    let moments = life.during(u64::MAX, u64::MAX);
    Some(Ancestor {
        pid: life.pid(),
        started: ticks(life.started_ns()),
        name: moments.first()?.name.clone(),
        executable: life.executable.as_deref().and_then(program),
    })
}

/// A program's path, where it is not too long.
fn program(path: &[u8]) -> Option<PathText> {
    (path.len() <= PROGRAM_BYTES_MAX).then(|| PathText::from_bytes(path))
}

/// The program that a process runs now.
fn running(pid: u32) -> Option<PathText> {
    use std::os::unix::ffi::OsStrExt as _;
    let file = host::proc::executable(pid).ok()?;
    program(file.path.as_os_str().as_bytes())
}

/// As `/proc` has it now, where the process has not ended.
pub(crate) fn looked_up(doer: &Doer<'_>, run: impl Fn(u32) -> Option<RunId>) -> Actor {
    let looked = host::kernel::look(doer.pid).filter(|_| doer.lives());
    // Still the one that did it when all was read.
    let looked = looked.filter(|(task, _)| doer.lives() && doer.is(task));
    let Some((task, parent)) = looked else {
        return Actor::unnamed(doer.pid, Known::Unknown);
    };
    let boot = host::identity::boot_id().unwrap_or_default();
    Actor {
        pid: doer.pid,
        known: Known::LookedUp,
        party: Some(party(task, boot)),
        became: None,
        executable: running(doer.pid),
        parents: parents(parent),
        run: run(doer.pid),
    }
}

fn parents(first: u32) -> Vec<Ancestor> {
    let mut all = Vec::new();
    let mut next = first;
    while all.len() < PARENTS_MAX && next > 0 {
        let Some((task, parent)) = host::kernel::look(next) else {
            break;
        };
        all.push(Ancestor {
            pid: next,
            started: ticks(task.started_ns),
            name: task.name,
            executable: running(next),
        });
        next = parent;
    }
    all
}

/// An account, by a process of it.
pub(super) fn principal(task: &Task) -> Principal {
    Principal {
        login_uid: task.login_uid,
        session: task.session,
        uid: task.effective_uid,
    }
}

/// Who could have written a file, or put another in its place, by the processes that live; but for who did.
pub(super) fn able(
    tasks: &[Task],
    groups: &mut Groups,
    path: &Path,
    actor: &Actor,
) -> Vec<Principal> {
    let file = path.symlink_metadata().ok();
    let folder = path.parent().and_then(|folder| folder.metadata().ok());
    let all: BTreeSet<Principal> = tasks.iter().map(principal).collect();
    let did = actor.party.as_ref();
    let is_actor = |it: &Principal| {
        did.is_some_and(|did| {
            (did.login_uid, did.session, did.effective_uid) == (it.login_uid, it.session, it.uid)
        })
    };
    all.into_iter()
        .filter(|it| !is_actor(it))
        .filter(|it| may_write(&groups.account(it.uid), file.as_ref(), folder.as_ref()))
        .collect()
}
