//! Was a signal sent to the supervisor alone, or did the job get it too?
//!
//! The kernel does not say. Ctrl-C, `kill %1` of a shell, `timeout`, and schedulers that signal every process of a step
//! reach the job as well; `kill PID`, a container's stop and a service manager's often do not. Passing on in the first
//! case means that a trainer sees two interrupts, and the second one usually cuts off the clean-up that the first began.
//! `si_code` settles only the terminal. So an **echo** is kept: a child in the same process group, session and control
//! group that does nothing but collect the signals it is sent. What the echo got from the same sender, the job got too.
//! When the kernel signals a group it goes from the newest member to the oldest, so the echo has it before we do, and
//! asking it cannot race. Where a sender walks over processes one by one, a short wait bridges the walk.
//!
//! Its command line is that of the job behind the word `(echo)`, so that `pkill -f train.py` selects the echo with the
//! job, and `pkill taintline` selects neither.
//!
//! What cannot be told: a sender that signals the supervisor and the job but not the echo (two explicit `kill`s), or the
//! echo but not the job (by a job that has moved to another group). Without an echo, see [`crate::signals::Passed`].

use std::ffi::OsString;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt as _;
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::net::{RecvFlags, SendFlags, recv, send};

use crate::stat::Stat;
use crate::sys::{self, RawSignal};

/// How long the echo may take to answer. It is a process that only waits, so later than this it is stopped or dead.
const PATIENCE: Timespec = Timespec {
    tv_sec: 1,
    tv_nsec: 0,
};
/// How long a sender that walks over processes is given to reach the echo.
pub(crate) const WALK: Duration = Duration::from_millis(20);

/// The process that hears what the job hears.
pub(crate) struct Echo {
    pid: u32,
    socket: OwnedFd,
}

impl Echo {
    /// Starts the echo of the job with this command line.
    pub(crate) fn start(argv: &[OsString]) -> io::Result<Self> {
        let mut words = b"(echo) ".to_vec();
        for argument in argv {
            words.extend_from_slice(argument.as_bytes());
            words.push(0);
        }
        let place = Stat::of_self().ok().and_then(|stat| stat.arguments);
        let (pid, socket) = sys::start_echo(&words, place)?;
        Ok(Self { pid, socket })
    }

    /// Its number, so that it is never taken for a part of the job.
    pub(crate) fn pid(&self) -> u32 {
        self.pid
    }

    /// The signals that it was sent since the last question. An error means that there is no echo any more.
    pub(crate) fn heard(&self) -> io::Result<Vec<RawSignal>> {
        let mut bytes = [0_u8; 128 * RawSignal::SIZE];
        send(&self.socket, b"?", SendFlags::NOSIGNAL)?;
        let mut ready = [PollFd::new(&self.socket, PollFlags::IN)];
        loop {
            match poll(&mut ready, Some(&PATIENCE)) {
                Ok(0) => return Err(io::ErrorKind::TimedOut.into()),
                Err(rustix::io::Errno::INTR) => {}
                Err(error) => return Err(error.into()),
                Ok(_) => break,
            }
        }
        let (length, _) = recv(&self.socket, &mut bytes, RecvFlags::empty())?;
        if length == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        Ok(RawSignal::all_in(bytes.get(..length).unwrap_or_default()))
    }
}
