//! Starting a job without altering it, and following it to its end.
//!
//! The job's main process is our child, in our process group, session, terminal and folder, with our standard streams,
//! and with the signal mask and dispositions that the supervisor was started with. What differs for it is its parent, the
//! environment changes asked for, and that orphans below it come to us instead of to process 1. Another group or a
//! pseudo-terminal was rejected: both change what Ctrl-C, Ctrl-Z and progress bars do.

mod program;
mod run;

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::io;
use std::path::PathBuf;
use std::process::{Child, Command};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use rustix::process::{DumpableBehavior, getpid, set_child_subreaper, set_dumpable_behavior};

use crate::echo::Echo;
use crate::exits::{Watched, Watcher};
use crate::identity::ProcessId;
use crate::kernel::Signals;
use crate::proc;
use crate::signals::FOLLOWED;
use crate::sys::{self, Caught};

pub use run::{Exited, HostEvent, LeftBehind, Outcome, RunError};

/// How well this process could be prepared to supervise. A failure is a fact for the record, not an error.
#[derive(Debug)]
pub struct Prepared {
    /// Orphans of the job come to us. Without it, the end of a process that outlives its parent is not seen.
    pub subreaper: io::Result<()>,
    /// Other processes of the same user may not read or change our memory.
    pub undumpable: io::Result<()>,
}

/// Prepares this process to supervise. Call it once, early; after it, this process's own `/proc/self/exe`, `fd` and
/// `environ` belong to root, so read what is needed of them before. Neither setting reaches the job.
pub fn prepare() -> Prepared {
    Prepared {
        subreaper: set_child_subreaper(Some(getpid())).map_err(io::Error::from),
        undumpable: set_dumpable_behavior(DumpableBehavior::NotDumpable).map_err(io::Error::from),
    }
}

/// Why a job could not be started.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// No program was named.
    #[error("no command was given")]
    Empty,
    /// An argument or a variable holds a zero byte, or a variable's name is empty or holds `=`.
    #[error("{text:?} cannot be given to a program")]
    NotPassable {
        /// The text.
        text: OsString,
    },
    /// No program of this name is in PATH, or none at this path.
    #[error("{name:?} was not found")]
    NotFound {
        /// The name as given.
        name: OsString,
    },
    /// It is there, and the system will not execute it: no permission, a folder, its interpreter missing.
    #[error("{path:?} cannot be executed")]
    NotExecutable {
        /// Where it is.
        path: PathBuf,
        /// What the system said.
        #[source]
        cause: io::Error,
    },
    /// No process could be made, or another job runs already in this process (`ResourceBusy`).
    #[error("the job could not be started")]
    Io(#[from] io::Error),
}

impl StartError {
    /// The code that a shell, `env` or `nohup` exits with: 127 not found, 126 cannot be executed, 125 for what is between.
    pub fn shell_code(&self) -> u8 {
        match self {
            Self::NotFound { .. } => 127,
            Self::NotExecutable { .. } => 126,
            Self::Empty | Self::NotPassable { .. } | Self::Io(_) => 125,
        }
    }
}

/// A job that was started. Dropping it gives the signals back and leaves the processes alone.
pub struct Job {
    process: ProcessId,
    caught: Caught,
    echo: Option<Echo>,
    echo_pid: Option<u32>,
    watcher: Watcher,
    watched: Vec<Watched>,
    helpers: Helpers,
    /// Where the kernel tells of signals to the job, how many it had to leave out, and how many processes.
    kernel: Option<Signals>,
    kernel_lost: u64,
    unfollowed: u64,
}

/// Children that the supervisor started for itself while the job runs: neither they nor what is below them is of the job.
/// Their exit status is lost to the job's loop. Cheap to clone, for any thread.
#[derive(Debug, Clone, Default)]
pub struct Helpers(Arc<Mutex<BTreeSet<u32>>>);

impl Helpers {
    /// Starts one. A program that cannot be started leaves a dead child, which the standard library takes and relies on:
    /// meanwhile the job's loop takes none.
    pub fn spawn(&self, command: &mut Command) -> io::Result<Child> {
        let mut pids = self.pids();
        let child = command.spawn()?;
        pids.insert(child.id());
        Ok(child)
    }

    /// A child is known to have ended, and its number may be another's.
    pub fn remove(&self, pid: u32) {
        self.pids().remove(&pid);
    }

    fn pids(&self) -> MutexGuard<'_, BTreeSet<u32>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// They and all below them.
    fn all(&self) -> BTreeSet<u32> {
        let own: Vec<u32> = self.pids().iter().copied().collect();
        let below = own
            .iter()
            .flat_map(|pid| proc::descendants_of(*pid).unwrap_or_default());
        let below: Vec<u32> = below.collect();
        own.into_iter().chain(below).collect()
    }
}

impl Job {
    /// Starts a command. `argv[0]` is looked up as `execvp` does, in the PATH that the job will have. In `changes`, `None`
    /// takes a variable away.
    ///
    /// From here on the signals in [`FOLLOWED`] are caught; one that comes before [`Job::run`] is handled there. Only one
    /// job at a time; and a child that this process starts meanwhile must be started by [`Job::helpers`]: the job's loop takes its
    /// end. Where `kernel` is given, signals to the job and to all that comes of it are told as the kernel makes them.
    pub fn start(
        argv: &[OsString],
        changes: &[(OsString, Option<OsString>)],
        kernel: Option<Signals>,
    ) -> Result<Self, StartError> {
        let (program, path) = program::resolve(argv, changes)?;
        let watcher = Watcher::new()?;
        // Without /proc nothing could be followed: better told now than after the job runs.
        ProcessId::current()?;
        // Before the fork, so that no signal falls between. An error from here on gives the handlers back by drop.
        let caught = Caught::new(&FOLLOWED)?;
        // Before the job, which is the newer member of the group then: the echo hears before we do in either case.
        // Without an echo the job still runs, and each signal says that it was not compared.
        let echo = Echo::start(argv).ok();
        // What we start from here on is followed from its first moment.
        let own = std::process::id();
        if let Some(signals) = &kernel {
            signals.follow(own)?;
        }
        let pid = sys::start(&program, &caught).map_err(|cause| match cause.raw_os_error() {
            Some(libc::EAGAIN | libc::ENOMEM | libc::EMFILE | libc::ENFILE | libc::E2BIG) => {
                StartError::Io(cause)
            }
            _ => StartError::NotExecutable { path, cause },
        })?;
        if let Some(signals) = &kernel {
            // If it fails, signals to us are told as well: the job that runs by now is not given up for that.
            let _ = signals.leave(own);
        }
        Ok(Self {
            // Only we reap it, so its record is there even if it has ended.
            process: ProcessId::of(pid)?,
            caught,
            echo_pid: echo.as_ref().map(Echo::pid),
            echo,
            watcher,
            watched: Vec::new(),
            helpers: Helpers::default(),
            kernel,
            kernel_lost: 0,
            unfollowed: 0,
        })
    }

    /// The job's main process.
    pub fn process(&self) -> &ProcessId {
        &self.process
    }

    /// Our own helper in the job's group (see [`crate::signals::SignalSeen::compared`]), never part of the job.
    pub fn helper(&self) -> Option<u32> {
        self.echo_pid
    }

    /// Where the supervisor names children of its own.
    pub fn helpers(&self) -> Helpers {
        self.helpers.clone()
    }

    /// A handle by which any thread may have a process watched.
    pub fn watcher(&self) -> Watcher {
        self.watcher.clone()
    }
}
