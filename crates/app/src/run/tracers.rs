//! Debuggers that attach themselves to the run's processes, where no daemon watches: the kernel tells everybody of them, from Linux 6.6 on.
//!
//! A number is all that is told. Who has it is looked up at once, on a thread of its own that does nothing else; one that has ended by then is
//! recorded without a name.

use std::sync::mpsc::Sender;

use domain::signals::Party;
use domain::watched::{Intervention, Means};
use domain::{RunId, Tier};
use host::connector::{Connector, Traced};
use rustix::event::{PollFd, PollFlags, poll};
use rustix::process::{Pid, PidfdFlags, pidfd_open};

use super::event::Event;
use super::recorder::Recorder;
use crate::party::party;
use crate::watch::{Doer, looked_up};

/// Hears of them until the run is over. That this kernel does not tell is no gap of this run: `docs/daemon.md` says what is seen without a daemon.
pub(super) fn hear(run: RunId, events: Sender<Event>) {
    let spawned = std::thread::Builder::new()
        .name("tracers".to_owned())
        .spawn(move || {
            let Ok(mut connector) = Connector::listen() else {
                return;
            };
            let mut going = true;
            while going {
                let mut ready = [PollFd::new(&connector, PollFlags::IN)];
                let _ = poll(&mut ready, None); // an interrupted wait begins anew
                connector.take(|traced| {
                    if let Some(it) = of_run(run, traced) {
                        going &= events.send(Event::Traced(Box::new(it))).is_ok();
                    }
                });
            }
        });
    drop(spawned);
}

/// A tracer of a process of ours.
fn of_run(run: RunId, traced: Traced) -> Option<Intervention> {
    let pid = traced.tracer?;
    if !is_ours(traced.target) {
        return None;
    }
    let at_ns = traced.at_ns + crate::watch::asleep_ns();
    let number = i32::try_from(pid).ok().and_then(Pid::from_raw);
    let process = number.and_then(|number| pidfd_open(number, PidfdFlags::empty()).ok());
    let doer = Doer {
        pid,
        process: process.as_ref(),
        before_ns: Some(at_ns),
    };
    Some(Intervention {
        what: Means::Traced,
        at_ns,
        actor: looked_up(&doer, |pid| is_ours(pid).then_some(run)),
        target: target(traced.target)?,
        rank: None,
        value: None,
        before: None,
    })
}

fn target(pid: u32) -> Option<Party> {
    let (task, _) = host::kernel::look(pid)?;
    let boot = host::identity::boot_id().unwrap_or_default();
    Some(party(task, boot))
}

/// Whether a process came of this one.
fn is_ours(pid: u32) -> bool {
    let own = std::process::id();
    let mut next = pid;
    for _ in 0..64 {
        match host::proc::parent(next) {
            Ok(parent) if parent == own => return true,
            Ok(parent) if parent > 1 => next = parent,
            _ => return false,
        }
    }
    false
}

impl Recorder<'_> {
    /// A debugger attached itself. Where a daemon watches, its word is better.
    pub(super) fn traced(&mut self, it: Intervention) {
        if self.daemon.is_none() {
            self.intervened(Tier::Supervisor, host::clock::wall_us(), it);
        }
    }
}
