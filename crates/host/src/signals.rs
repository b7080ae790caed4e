//! Signals that arrive at the supervisor: who sent them, and whether the job has them already.
//!
//! The supervisor stands where the job would stand. So whatever would have ended or informed the job must still do so,
//! exactly once, and the supervisor itself must outlive it to tell the end. SIGTSTP and SIGCONT are left alone: the shell
//! that stops us expects to see us stopped.

use std::thread;

use rustix::process::{Pid, Signal, kill_process};
use serde::{Deserialize, Serialize};

use crate::echo::{Echo, WALK};
use crate::identity::ProcessId;
use crate::stat::Stat;
use crate::sys::RawSignal;

/// The signals that the supervisor outlives and passes on.
pub const FOLLOWED: [i32; 6] = [
    libc::SIGINT,
    libc::SIGTERM,
    libc::SIGHUP,
    libc::SIGQUIT,
    libc::SIGUSR1,
    libc::SIGUSR2,
];

/// The process that sent a signal.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sender {
    /// Its number; `None` when it lives outside our PID namespace (for example on the host of a container).
    pub pid: Option<u32>,
    /// Its real user id, as the kernel says.
    pub uid: u32,
    /// Which process had that number when the signal was read. `None` when it had ended by then, as `kill` does.
    pub id: Option<ProcessId>,
    /// The name that this process gave itself.
    pub name: Option<String>,
    /// The number of its parent then, usually the shell of whoever typed.
    pub parent: Option<u32>,
}

/// What became of a signal.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Passed {
    /// It was sent to the supervisor alone, and was passed on to the job's main process.
    Forwarded,
    /// The job got it from the sender itself: it went to the whole group, as Ctrl-C does.
    JobHasIt,
    /// The job's main process sent it to us; a job is not made to signal itself.
    FromTheJob,
    /// The main process had ended.
    JobEnded,
    /// The system refused to pass it on (the job runs as another user by now).
    Refused,
}

/// A signal that reached the supervisor.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SignalSeen {
    /// The signal.
    pub number: i32,
    /// The process that sent it; `None` when it was the kernel, as for a key of the terminal.
    pub sender: Option<Sender>,
    /// `si_code`, as the kernel gave it.
    pub code: i32,
    /// What became of it.
    pub passed: Passed,
    /// Whether `passed` rests on the echo in the job's group; if not, on `code` alone.
    pub compared: bool,
}

/// Settles one batch of signals: compares with the echo and passes on what the job does not have. `main` is the job's main
/// process while it lives. A failing echo is given up.
pub(crate) fn settle(
    arrived: Vec<RawSignal>,
    echo: &mut Option<Echo>,
    main: Option<u32>,
) -> Vec<SignalSeen> {
    // Senders are looked up at once: most of them end within milliseconds.
    let senders: Vec<Option<Sender>> = arrived.iter().map(|signal| sender(*signal)).collect();
    let mut heard = ask(echo);
    let missing = arrived.iter().filter(|signal| !heard.contains(signal));
    if main.is_some() && echo.is_some() && missing.count() > 0 {
        thread::sleep(WALK);
        heard.extend(ask(echo));
    }
    let compared = echo.is_some();
    arrived
        .into_iter()
        .zip(senders)
        .map(|(signal, sender)| {
            let job_has_it = if compared {
                take(&mut heard, signal)
            } else {
                presumed(signal)
            };
            SignalSeen {
                number: signal.number,
                sender,
                code: signal.code,
                passed: pass(signal, job_has_it, main),
                compared,
            }
        })
        .collect()
}

fn ask(echo: &mut Option<Echo>) -> Vec<RawSignal> {
    match echo.as_ref().map(Echo::heard) {
        Some(Ok(heard)) => heard,
        Some(Err(_)) => {
            *echo = None;
            Vec::new()
        }
        None => Vec::new(),
    }
}

/// Takes one equal signal out: the same sender's next one may have been for us alone.
fn take(heard: &mut Vec<RawSignal>, signal: RawSignal) -> bool {
    let found = heard.iter().position(|other| *other == signal);
    found.map(|index| heard.swap_remove(index)).is_some()
}

/// Without an echo: the kernel signals whole groups, except for a hang-up, which it tells the session's leader alone.
fn presumed(signal: RawSignal) -> bool {
    let leads = Stat::of_self().is_ok_and(|own| own.session == std::process::id());
    signal.code == libc::SI_KERNEL && !(signal.number == libc::SIGHUP && leads)
}

fn pass(signal: RawSignal, job_has_it: bool, main: Option<u32>) -> Passed {
    let target = main
        .and_then(|pid| i32::try_from(pid).ok())
        .and_then(Pid::from_raw);
    let (Some(target), Some(number)) = (target, Signal::from_named_raw(signal.number)) else {
        return Passed::JobEnded;
    };
    if job_has_it {
        return Passed::JobHasIt;
    }
    if was_sent(signal) && signal.pid == target.as_raw_pid() {
        return Passed::FromTheJob;
    }
    match kill_process(target, number) {
        Ok(()) => Passed::Forwarded,
        Err(rustix::io::Errno::SRCH) => Passed::JobEnded,
        Err(_) => Passed::Refused,
    }
}

fn was_sent(signal: RawSignal) -> bool {
    matches!(signal.code, libc::SI_USER | libc::SI_QUEUE | libc::SI_TKILL)
}

fn sender(signal: RawSignal) -> Option<Sender> {
    if !was_sent(signal) {
        return None;
    }
    let pid = u32::try_from(signal.pid).ok().filter(|pid| *pid != 0);
    let stat = pid.and_then(|pid| Stat::of(pid).ok());
    let id = pid
        .zip(stat.as_ref())
        .and_then(|(pid, stat)| ProcessId::from_stat(pid, stat).ok());
    Some(Sender {
        pid,
        uid: signal.uid,
        id,
        parent: stat.as_ref().map(|stat| stat.parent),
        name: stat.map(|stat| stat.name),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const FROM_US: RawSignal = RawSignal {
        number: libc::SIGINT,
        code: libc::SI_USER,
        pid: 7,
        uid: 0,
    };

    #[test]
    fn what_the_echo_heard_once_excuses_one_signal() {
        let mut heard = vec![FROM_US];
        assert!(take(&mut heard, FROM_US));
        assert!(!take(&mut heard, FROM_US));
    }

    #[test]
    fn another_senders_signal_excuses_nothing() {
        let mut heard = vec![RawSignal { pid: 8, ..FROM_US }];
        assert!(!take(&mut heard, FROM_US));
    }

    #[test]
    fn a_signal_after_the_end_is_passed_to_nobody() {
        assert_eq!(pass(FROM_US, false, None), Passed::JobEnded);
    }

    #[test]
    fn a_key_of_the_terminal_has_no_sender() {
        let key = RawSignal {
            code: libc::SI_KERNEL,
            pid: 0,
            ..FROM_US
        };
        assert_eq!(sender(key), None);
        assert!(presumed(key));
        assert!(!presumed(FROM_US));
    }

    #[test]
    fn the_sender_is_named_while_it_lives() {
        let own = i32::try_from(std::process::id()).unwrap();
        let seen = sender(RawSignal {
            pid: own,
            ..FROM_US
        })
        .unwrap();
        assert_eq!(seen.id, Some(ProcessId::current().unwrap()));
        let outside = sender(RawSignal { pid: 0, ..FROM_US }).unwrap();
        assert_eq!((outside.pid, outside.id), (None, None));
    }
}
