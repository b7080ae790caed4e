//! Signals to the processes of a run, as the kernel made them.

use serde::{Deserialize, Serialize};

use crate::Process;

/// A signal to a process of the run. Both sides were read in the kernel at that moment, whatever call it came by.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SignalMade {
    /// Number.
    pub number: i32,
    /// The code that goes with it.
    pub code: i32,
    /// Whether there was something left to be delivered: not so if its target ignores it, or the same one waited already.
    pub delivered: bool,
    /// Where it came from.
    pub origin: SignalOrigin,
    /// Nanoseconds since the boot of the machine.
    pub at_ns: u64,
    /// Who made it; with the kernel as origin, who happened to run.
    pub actor: Party,
    /// The actor is of the run itself: it came of the command.
    pub from_run: bool,
    /// Whom it is for.
    pub target: Party,
    /// The target's rank.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rank: Option<u32>,
}

/// Where a signal came from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SignalOrigin {
    /// A process, by a call.
    Process,
    /// The kernel by itself.
    Kernel,
    /// A timer, as the signal says; a process can send one that says so.
    Timer,
}

/// A process on one side of an act, as the kernel holds it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Party {
    /// Which one.
    pub process: Process,
    /// Real user.
    pub uid: u32,
    /// Effective user.
    pub effective_uid: u32,
    /// Who logged in, unchanged by `su` and `sudo`; none where no login was recorded.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub login_uid: Option<u32>,
    /// The login's session.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub session: Option<u32>,
    /// Number of its control group in the unified tree.
    pub cgroup: u64,
    /// The control group's path, where the process still lived when it was looked at.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cgroup_path: Option<String>,
    /// What it calls itself.
    pub name: String,
    /// Where the login came from, by the host's login manager.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub came: Option<Came>,
}

/// Where a login came from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Came {
    /// The host or address; none of a login at the machine itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub remote: Option<String>,
    /// Its terminal.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tty: Option<String>,
    /// By what it came: `sshd`, `login`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub service: Option<String>,
}
