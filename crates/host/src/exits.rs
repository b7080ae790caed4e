//! How processes end, and watching processes that are not our children.
//!
//! A rank is usually a grandchild: its launcher reaps it, so `wait` never tells us how it died. A process descriptor
//! becomes readable when the process ends, whoever its parent is. How it ended is then asked from the best source that
//! this kernel has, and the answer says which one it was. Polling `/proc` was rejected: it misses short lives and confuses
//! reused numbers.

use std::io;
use std::os::fd::OwnedFd;
use std::sync::{Arc, Mutex, PoisonError};

use rustix::event::{EventfdFlags, eventfd};
use rustix::process::{Pid, PidfdFlags, pidfd_open};
use serde::{Deserialize, Serialize};

use crate::identity::ProcessId;
use crate::stat::Stat;
use crate::sys;

/// At most so many processes are watched at a time: each costs a descriptor of a limit that is often 1,024.
pub const WATCH_LIMIT: usize = 512;

/// How a process ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ExitStatus {
    /// It ended itself, with this code.
    Code(u8),
    /// It died of a signal.
    Signal {
        /// The signal.
        number: i32,
        /// It left a core dump.
        core: bool,
    },
}

impl ExitStatus {
    /// From the status word of `wait(2)`. A word that tells of a stop or a continuation gives the signal that did it.
    pub(crate) fn from_wait(word: i32) -> Self {
        let number = word & 0x7f;
        if number == 0 {
            let [_, code, ..] = word.to_le_bytes();
            Self::Code(code)
        } else {
            Self::Signal {
                number,
                core: word & 0x80 != 0,
            }
        }
    }

    /// The code that a shell gives: the own one, or 128 + signal.
    pub fn shell_code(self) -> u8 {
        match self {
            Self::Code(code) => code,
            Self::Signal { number, .. } => u8::try_from(number & 0x7f).unwrap_or(0) | 0x80,
        }
    }
}

/// Where the exit status of a watched process came from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum HowKnown {
    /// It had become our child, and we reaped it.
    Reaped,
    /// From its descriptor (`PIDFD_GET_INFO`, Linux 6.15), which remembers even after the parent reaped it.
    Descriptor,
    /// From `/proc/PID/stat` while it was dead and not yet reaped.
    Zombie,
    /// It ended; how, this kernel does not tell.
    NotKnown,
}

/// Why a process cannot be watched.
#[derive(Debug, thiserror::Error)]
pub enum WatchError {
    /// It ended, or its number belongs to another process now.
    #[error("process {0} is not there any more")]
    Gone(u32),
    /// More than [`WATCH_LIMIT`].
    #[error("{WATCH_LIMIT} processes are watched already")]
    TooMany,
    /// The system refused.
    #[error("process {pid} cannot be watched")]
    Io {
        /// Whose descriptor was asked for.
        pid: u32,
        /// Why.
        #[source]
        cause: io::Error,
    },
}

/// A process under watch.
#[derive(Debug)]
pub(crate) struct Watched {
    pub(crate) process: ProcessId,
    pub(crate) descriptor: OwnedFd,
}

#[derive(Debug)]
struct Queue {
    waiting: Vec<Watched>,
    /// Waiting and taken.
    count: usize,
}

/// Hands processes to the event loop of a job, from any thread. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Watcher {
    queue: Arc<Mutex<Queue>>,
    wake: Arc<OwnedFd>,
}

impl Watcher {
    pub(crate) fn new() -> io::Result<Self> {
        let wake = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?;
        let queue = Queue {
            waiting: Vec::new(),
            count: 0,
        };
        Ok(Self {
            queue: Arc::new(Mutex::new(queue)),
            wake: Arc::new(wake),
        })
    }

    /// Watches a process until it ends; its end is told by [`crate::job::HostEvent::WatchedExited`]. The descriptor is taken
    /// before this returns and is proven to be that process's, so a number that is reused later confuses nothing.
    pub fn watch(&self, process: &ProcessId) -> Result<(), WatchError> {
        let failed = |cause: io::Error| WatchError::Io {
            pid: process.pid,
            cause,
        };
        let gone = || WatchError::Gone(process.pid);
        let number = i32::try_from(process.pid).map_err(|_| gone())?;
        let pid = Pid::from_raw(number).ok_or_else(gone)?;
        let descriptor = match pidfd_open(pid, PidfdFlags::empty()) {
            Ok(descriptor) => descriptor,
            Err(rustix::io::Errno::SRCH) => return Err(gone()),
            Err(error) => return Err(failed(error.into())),
        };
        // The descriptor came first: whoever has the number and the right start time now is who the descriptor holds,
        // unless it ended and was replaced within one clock tick.
        if ProcessId::of(process.pid).ok().as_ref() != Some(process) {
            return Err(gone());
        }
        let mut queue = self.queue.lock().unwrap_or_else(PoisonError::into_inner);
        if queue.count >= WATCH_LIMIT {
            return Err(WatchError::TooMany);
        }
        queue.count += 1;
        queue.waiting.push(Watched {
            process: process.clone(),
            descriptor,
        });
        drop(queue);
        rustix::io::write(&*self.wake, &1_u64.to_ne_bytes())
            .map_err(|error| failed(error.into()))?;
        Ok(())
    }

    pub(crate) fn wake(&self) -> &OwnedFd {
        &self.wake
    }

    /// What was handed over since the last call.
    pub(crate) fn take(&self) -> Vec<Watched> {
        sys::drain(&self.wake);
        let mut queue = self.queue.lock().unwrap_or_else(PoisonError::into_inner);
        std::mem::take(&mut queue.waiting)
    }

    /// One watched process ended.
    pub(crate) fn release(&self) {
        let mut queue = self.queue.lock().unwrap_or_else(PoisonError::into_inner);
        queue.count = queue.count.saturating_sub(1);
    }
}

/// How a watched process ended, whose descriptor says that it did.
pub(crate) fn status_of(watched: &Watched) -> (Option<ExitStatus>, HowKnown) {
    let from_descriptor = || {
        sys::exit_of(&watched.descriptor)
            .map(|word| (Some(ExitStatus::from_wait(word)), HowKnown::Descriptor))
    };
    // The descriptor remembers only from the reaping on; until then the corpse can be asked. It may be reaped between
    // the two questions, so the descriptor is asked again.
    from_descriptor()
        .or_else(|| {
            let word = zombie_word(&watched.process)?;
            Some((Some(ExitStatus::from_wait(word)), HowKnown::Zombie))
        })
        .or_else(from_descriptor)
        .unwrap_or((None, HowKnown::NotKnown))
}

fn zombie_word(process: &ProcessId) -> Option<i32> {
    let stat = Stat::of(process.pid).ok()?;
    if stat.started != process.started || stat.state != 'Z' {
        return None;
    }
    // The kernel writes 0 where we may not know. A true 0 is believed only for a process of our own user.
    stat.exit_code
        .filter(|word| *word != 0 || is_ours(process.pid))
}

fn is_ours(pid: u32) -> bool {
    use std::os::unix::fs::MetadataExt as _;
    let own = rustix::process::geteuid().as_raw();
    std::fs::metadata(format!("/proc/{pid}")).is_ok_and(|meta| own == 0 || meta.uid() == own)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn status_words_are_read_as_wait_defines_them() {
        let signal = |number, core| ExitStatus::Signal { number, core };
        assert_eq!(ExitStatus::from_wait(0), ExitStatus::Code(0));
        assert_eq!(ExitStatus::from_wait(0xff00), ExitStatus::Code(255));
        assert_eq!(ExitStatus::from_wait(9), signal(9, false));
        assert_eq!(ExitStatus::from_wait(0x8b), signal(11, true));
        assert_eq!(ExitStatus::from_wait(9).shell_code(), 137);
        assert_eq!(ExitStatus::from_wait(0x0300).shell_code(), 3);
    }

    #[test]
    fn a_process_of_another_start_time_is_not_watched() {
        let watcher = Watcher::new().unwrap();
        let own = ProcessId::current().unwrap();
        let earlier = ProcessId {
            started: own.started - 1,
            ..own.clone()
        };
        assert!(matches!(watcher.watch(&earlier), Err(WatchError::Gone(pid)) if pid == own.pid));
        assert!(watcher.take().is_empty());
        watcher.watch(&own).unwrap();
        assert_eq!(watcher.take().len(), 1);
        let nobody = ProcessId { pid: 0, ..own };
        assert!(matches!(watcher.watch(&nobody), Err(WatchError::Gone(0))));
    }
}
