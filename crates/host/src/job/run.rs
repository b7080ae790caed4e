//! The event loop: one thread, one poll, no timer but the grace at the end.

use std::io;
use std::os::fd::AsFd as _;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, WaitOptions, waitpid};
use serde::{Deserialize, Serialize};

use super::Job;
use crate::exits::{ExitStatus, HowKnown, Watched, status_of};
use crate::identity::ProcessId;
use crate::kernel;
use crate::proc;
use crate::signals::{SignalSeen, settle};
use crate::stat::Stat;
use crate::sys::{Peeked, peek_dead_child};

/// A child that ended: the main process, or an orphan that came to us.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Exited {
    /// Which process.
    pub process: ProcessId,
    /// The name that it gave itself.
    pub name: String,
    /// How it ended.
    pub status: ExitStatus,
    /// It was the job's main process.
    pub main: bool,
}

/// A process of the job that still lives.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LeftBehind {
    /// Which process.
    pub process: ProcessId,
    /// The name that it gave itself.
    pub name: String,
}

/// What the host saw.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "snake_case")]
pub enum HostEvent {
    /// A signal reached the supervisor.
    Signal(SignalSeen),
    /// A signal was made for a process of the job, as the kernel saw it.
    Made(Box<kernel::Signal>),
    /// So many signals came too fast to be noted.
    SignalsLost {
        /// How many.
        count: u64,
    },
    /// So many processes of the job were too many to be followed: signals to them are not told.
    Unfollowed {
        /// How many.
        count: u64,
    },
    /// A child of ours ended.
    Exited(Exited),
    /// A watched process ended.
    WatchedExited {
        /// Which process.
        process: ProcessId,
        /// How it ended, if this kernel tells.
        status: Option<ExitStatus>,
        /// Where the status came from.
        how_known: HowKnown,
    },
    /// The main process ended, and these processes of the job did not.
    LeftBehind {
        /// They, at that moment.
        processes: Vec<LeftBehind>,
    },
}

/// How a job ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Outcome {
    /// How the main process ended.
    pub status: ExitStatus,
    /// The processes of the job that lived on when the grace was over, or when a signal cut it short.
    pub left_behind: Vec<LeftBehind>,
}

/// Why a job cannot be followed any further. The job itself is not touched.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// Waiting failed.
    #[error("waiting for the job failed")]
    Wait(#[source] io::Error),
    /// Somebody else in this process reaped the main process, so nobody knows how it ended.
    #[error("the end of the job was taken by another part of this program")]
    Stolen,
}

/// What a round of the loop found ready.
struct Ready {
    signals: bool,
    children: bool,
    watched: Vec<bool>,
}

/// After the end of the main process.
struct Ended {
    status: ExitStatus,
    until: Instant,
}

impl Job {
    /// Follows the job until its main process ended, and then its other processes for at most `grace`. Every event is
    /// told once, in the order in which it was found. Blocks; `events` is called on this thread.
    ///
    /// Any signal that is caught, and that was not ignored when we were started, cuts the grace short.
    pub fn run(
        &mut self,
        grace: Duration,
        events: &mut dyn FnMut(HostEvent),
    ) -> Result<Outcome, RunError> {
        let mut ended: Option<Ended> = None;
        loop {
            let ready = self.wait(ended.as_ref()).map_err(RunError::Wait)?;
            let asked = ready.signals && self.signals(ended.is_some(), events);
            // A signal from before the end was for the job, not for our waiting.
            let mut enough = asked && ended.is_some();
            // Before the ends that they bring about.
            self.made(events);
            self.watched(&ready, events);
            let mut none_left = false;
            if ready.children {
                let (main, none) = self.reap(events).map_err(RunError::Wait)?;
                none_left = none;
                if let Some(status) = main {
                    // Its group has nothing to hear for any more. The end of the echo wakes us when nothing else is left.
                    self.echo = None;
                    self.tell_left_behind(events);
                    let until = Instant::now() + grace;
                    ended = Some(Ended { status, until });
                }
            }
            let Some(end) = &ended else {
                if none_left {
                    return Err(RunError::Stolen);
                }
                continue;
            };
            enough |= Instant::now() >= end.until;
            if none_left || enough || self.only_helpers_left() {
                self.last_words(events);
                return Ok(Outcome {
                    status: end.status,
                    left_behind: self.left_behind(),
                });
            }
        }
    }

    fn wait(&self, ended: Option<&Ended>) -> io::Result<Ready> {
        let timeout =
            ended.map(|end| timespec(end.until.saturating_duration_since(Instant::now())));
        let fixed = [
            self.caught.signals().as_fd(),
            self.caught.children().as_fd(),
            self.watcher.wake().as_fd(),
        ];
        let watched = self.watched.iter().map(|one| one.descriptor.as_fd());
        // Last, where it moves nobody else's place.
        let watched = watched.chain(self.kernel.iter().map(kernel::Signals::as_fd));
        let mut descriptors: Vec<PollFd<'_>> = fixed
            .into_iter()
            .chain(watched)
            .map(|descriptor| PollFd::from_borrowed_fd(descriptor, PollFlags::IN))
            .collect();
        match poll(&mut descriptors, timeout.as_ref()) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
        let mut flags = descriptors.iter().map(|one| !one.revents().is_empty());
        let (signals, children) = (flags.next(), flags.next());
        Ok(Ready {
            signals: signals.unwrap_or(false),
            children: children.unwrap_or(false),
            watched: flags.skip(1).collect(),
        })
    }

    /// Tells the signals that came. True if one of them asks us to end.
    fn signals(&mut self, ended: bool, events: &mut dyn FnMut(HostEvent)) -> bool {
        let main = (!ended).then_some(self.process.pid);
        let arrived = self.caught.arrived();
        let count = self.caught.lost();
        if count > 0 {
            events(HostEvent::SignalsLost { count });
        }
        let mut asked = false;
        for seen in settle(arrived, &mut self.echo, main) {
            asked |= !self.caught.was_ignored(seen.number);
            events(HostEvent::Signal(seen));
        }
        asked
    }

    /// Tells the signals that the kernel made for the job.
    fn made(&mut self, events: &mut dyn FnMut(HostEvent)) {
        let Some(signals) = &mut self.kernel else {
            return;
        };
        signals.take(|signal| events(HostEvent::Made(Box::new(signal))));
        let lost = signals.lost().unwrap_or(0);
        if lost > self.kernel_lost {
            let count = lost - self.kernel_lost;
            self.kernel_lost = lost;
            events(HostEvent::SignalsLost { count });
        }
        let unfollowed = signals.unfollowed().unwrap_or(0);
        if unfollowed > self.unfollowed {
            let count = unfollowed - self.unfollowed;
            self.unfollowed = unfollowed;
            events(HostEvent::Unfollowed { count });
        }
    }

    /// Tells which watched processes ended, and takes new ones in.
    fn watched(&mut self, ready: &Ready, events: &mut dyn FnMut(HostEvent)) {
        let mut index = 0;
        let ends = self.watched.extract_if(.., |_| {
            index += 1;
            ready.watched.get(index - 1).copied().unwrap_or(false)
        });
        for one in ends {
            let (status, how_known) = status_of(&one);
            self.watcher.release();
            events(HostEvent::WatchedExited {
                process: one.process,
                status,
                how_known,
            });
        }
        let new: Vec<Watched> = self.watcher.take();
        self.watched.extend(new);
    }

    /// Reaps every dead child. Gives the main process's status if it was among them, and whether no child is left.
    fn reap(
        &mut self,
        events: &mut dyn FnMut(HostEvent),
    ) -> io::Result<(Option<ExitStatus>, bool)> {
        crate::sys::drain(self.caught.children());
        let mut main = None;
        loop {
            // No helper is being started from here to the end of the block.
            let starting = self.helpers.pids();
            let pid = match peek_dead_child()? {
                Peeked::NoChildren => return Ok((main, true)),
                Peeked::AllAlive => return Ok((main, false)),
                Peeked::Dead(pid) => pid,
            };
            // Read before it is reaped; then nobody has this number any more.
            let stat = Stat::of(pid);
            let number = i32::try_from(pid).ok().and_then(Pid::from_raw);
            // Another thread of the supervisor may have waited for its helper between the two calls.
            let word = match waitpid(number, WaitOptions::NOHANG) {
                Ok(Some((_, word))) => word,
                Ok(None) | Err(rustix::io::Errno::CHILD) => continue,
                Err(error) => return Err(error.into()),
            };
            drop(starting);
            if self.echo_pid == Some(pid) {
                self.echo_pid = None;
                continue;
            }
            let status = ExitStatus::from_wait(word.as_raw());
            let is_main = pid == self.process.pid;
            if is_main {
                main = Some(status);
            }
            // Without /proc there is no start time, and without it no identity: only the main process is known then.
            let stat = stat.ok();
            let process = match &stat {
                _ if is_main => self.process.clone(),
                Some(stat) => ProcessId::from_stat(pid, stat)?,
                None => continue,
            };
            self.watched_was_reaped(&process, status, events);
            events(HostEvent::Exited(Exited {
                process,
                name: stat.map(|stat| stat.name).unwrap_or_default(),
                status,
                main: is_main,
            }));
        }
    }

    fn watched_was_reaped(
        &mut self,
        process: &ProcessId,
        status: ExitStatus,
        events: &mut dyn FnMut(HostEvent),
    ) {
        let new = self.watcher.take();
        self.watched.extend(new);
        let found = self.watched.iter().position(|one| one.process == *process);
        if let Some(index) = found {
            let one = self.watched.remove(index);
            self.watcher.release();
            events(HostEvent::WatchedExited {
                process: one.process,
                status: Some(status),
                how_known: HowKnown::Reaped,
            });
        }
    }

    /// Watched processes may have ended in the last moment.
    fn last_words(&mut self, events: &mut dyn FnMut(HostEvent)) {
        let now = Ended {
            status: ExitStatus::Code(0),
            until: Instant::now(),
        };
        // Twice: the first round takes in what was handed over last.
        for _ in 0..2 {
            self.made(events);
            if let Ok(ready) = self.wait(Some(&now)) {
                self.watched(&ready, events);
            }
        }
    }

    fn tell_left_behind(&self, events: &mut dyn FnMut(HostEvent)) {
        let processes = self.left_behind();
        if !processes.is_empty() {
            events(HostEvent::LeftBehind { processes });
        }
    }

    /// Whether all that is left are helpers of the supervisor: nothing of the job is waited for any more.
    fn only_helpers_left(&self) -> bool {
        let Ok(below) = proc::descendants_of(std::process::id()) else {
            return false;
        };
        let own = self.helpers.all();
        below.iter().all(|pid| own.contains(pid))
    }

    /// Our living descendants, without the echo and without helpers of the supervisor.
    fn left_behind(&self) -> Vec<LeftBehind> {
        let below = proc::descendants_of(std::process::id()).unwrap_or_default();
        let own = self.helpers.all();
        below
            .into_iter()
            .filter(|pid| Some(*pid) != self.echo_pid && !own.contains(pid))
            .filter_map(|pid| {
                let stat = Stat::of(pid).ok().filter(|stat| stat.state != 'Z')?;
                Some(LeftBehind {
                    process: ProcessId::from_stat(pid, &stat).ok()?,
                    name: stat.name,
                })
            })
            .collect()
    }
}

fn timespec(duration: Duration) -> Timespec {
    Timespec {
        tv_sec: i64::try_from(duration.as_secs()).unwrap_or(i64::MAX),
        tv_nsec: i64::from(duration.subsec_nanos()),
    }
}
