//! Hands laid on processes without a signal, as the kernel tells of them: tracers that attach themselves, and writes into the files below `/proc`
//! by which a process is changed from outside.

use std::os::fd::OwnedFd;

use domain::watched::Means;
use host::connector::{Connector, Traced};
use host::proc_writes::{ProcFile, ProcWrite, ProcWrites};
use rustix::event::{PollFd, PollFlags};
use rustix::process::{Pid, PidfdFlags, pidfd_open};

use super::daemon::now_ns;
use super::senses::keep;

/// Notices that are taken at once: each may hold a process open.
const TAKEN_MAX: usize = 512;

/// Somebody laid hands on a process.
pub(super) struct Laid {
    pub(super) what: Means,
    /// When, at the earliest and at the latest.
    pub(super) from_ns: u64,
    pub(super) to_ns: u64,
    /// Who, by number, and as long as he has not ended.
    pub(super) pid: u32,
    pub(super) process: Option<OwnedFd>,
    /// Whether the kernel itself gave that process; else it is whoever has the number now.
    pub(super) is_given: bool,
    pub(super) target: u32,
}

/// What hears of them.
pub(super) struct Hands {
    connector: Option<Connector>,
    writes: Option<ProcWrites>,
    /// Up to when all writes were taken.
    drained_ns: u64,
}

impl Hands {
    /// Opens what can be opened.
    pub(super) fn open(mut tell: impl FnMut(&str, &str, Option<String>)) -> Self {
        let connector = keep(Connector::listen(), |missing| {
            tell(
                "who attaches himself to a run's processes as their debugger",
                "the kernel's notices of processes, tier 1",
                missing,
            );
        });
        let writes = keep(ProcWrites::watch(), |missing| {
            tell(
                "who writes into their memory from outside, or offers them to the memory killer",
                "fanotify on /proc, tier 1",
                missing,
            );
        });
        Self {
            connector,
            writes,
            drained_ns: now_ns(),
        }
    }

    pub(super) fn poll(&self) -> impl Iterator<Item = PollFd<'_>> {
        let connector = self.connector.iter();
        let writes = self.writes.iter();
        let connector = connector.map(|it| PollFd::new(it, PollFlags::IN));
        connector.chain(writes.map(|it| PollFd::new(it, PollFlags::IN)))
    }

    /// What was lost at least, since the beginning.
    pub(super) fn lost(&self) -> u64 {
        let connector = self.connector.as_ref().map_or(0, Connector::overflows);
        connector + self.writes.as_ref().map_or(0, ProcWrites::lost)
    }

    /// What came since the last time.
    pub(super) fn take(&mut self) -> Vec<Laid> {
        let mut all = Vec::new();
        let began = now_ns();
        if let Some(connector) = &mut self.connector {
            let asleep = asleep_ns();
            connector.take(|traced| all.extend(laid_by_tracer(traced, asleep)));
        }
        let from_ns = self.drained_ns;
        if let Some(writes) = &mut self.writes {
            let more = writes.take(TAKEN_MAX, |write| all.push(laid_by_writer(write, from_ns)));
            if !more {
                self.drained_ns = began;
            }
        }
        all
    }
}

/// One that comes; one that goes did nothing more.
fn laid_by_tracer(traced: Traced, asleep_ns: u64) -> Option<Laid> {
    let pid = traced.tracer?;
    let at_ns = traced.at_ns.saturating_add(asleep_ns);
    let number = i32::try_from(pid).ok().and_then(Pid::from_raw);
    let process = number.and_then(|number| pidfd_open(number, PidfdFlags::empty()).ok());
    Some(Laid {
        what: Means::Traced,
        from_ns: at_ns,
        to_ns: at_ns,
        pid,
        process,
        is_given: false,
        target: traced.target,
    })
}

fn laid_by_writer(write: ProcWrite, from_ns: u64) -> Laid {
    Laid {
        what: match write.file {
            ProcFile::Memory => Means::MemoryWritten,
            ProcFile::MemoryKiller => Means::MemoryKiller,
            ProcFile::Share => Means::Share,
        },
        from_ns,
        to_ns: now_ns(),
        pid: write.pid,
        process: write.process,
        is_given: true,
        target: write.target,
    }
}

/// For how long the machine slept since its boot: by so much the boot clock is ahead of the one by which tracers are told.
pub(crate) fn asleep_ns() -> u64 {
    let moment = host::clock::Moment::now();
    let asleep = moment.boot_us.saturating_sub(moment.awake_us);
    u64::try_from(asleep).unwrap_or(0).saturating_mul(1_000)
}
