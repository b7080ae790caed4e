//! What a daemon that watches a host tells: who changed which file, what it could see, and when it could not.

use serde::{Deserialize, Serialize};

use crate::signals::Party;
use crate::{Digest, PathText, Person, Process, RunId};

/// A file that registered runs load or write was changed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileChange {
    /// Where.
    pub path: PathText,
    /// Where it was before, when it was renamed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from: Option<PathText>,
    /// What was done to it, in no order.
    pub deeds: Vec<Deed>,
    /// It is a folder.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub folder: bool,
    /// How many notices of the kernel it is put together from.
    pub notices: u64,
    /// When the first and the last of them were taken, nanoseconds since the boot of the machine.
    pub first_ns: u64,
    /// The last.
    pub last_ns: u64,
    /// Who.
    pub actor: Actor,
    /// The file as it was found right after.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub after: Option<FileState>,
    /// Digest of what was there before, where the daemon had read it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub before: Option<Digest>,
    /// Who else had a process then that could have written there.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub could: Vec<Principal>,
    /// How many more could.
    #[serde(default, skip_serializing_if = "is_none")]
    pub could_more: u64,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde asks for it")]
fn is_none(count: &u64) -> bool {
    *count == 0
}

/// What was done to a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Deed {
    /// A name was made: a new file, or another link to one.
    Created,
    /// It was written or cut.
    Written,
    /// It was closed by somebody who could write.
    Closed,
    /// It has another name.
    Renamed,
    /// The name was taken away.
    Deleted,
    /// Owner, mode, times or links were changed.
    Attributes,
}

impl Deed {
    /// In one word.
    pub fn word(self) -> &'static str {
        match self {
            Self::Created => "created",
            Self::Written => "written",
            Self::Closed => "closed after writing",
            Self::Renamed => "renamed",
            Self::Deleted => "deleted",
            Self::Attributes => "attributes changed",
        }
    }
}

/// Somebody laid hands on a process of a run without a signal.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Intervention {
    /// What he did.
    pub what: Means,
    /// When, nanoseconds since the boot of the machine; where the kernel told no moment, when it was heard of.
    pub at_ns: u64,
    /// Who.
    pub actor: Actor,
    /// To whom.
    pub target: Party,
    /// The target's rank.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rank: Option<u32>,
    /// How it was found right after: of a place in line for the memory killer, of a priority, of processors.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub value: Option<String>,
    /// How it was before, where that is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub before: Option<String>,
}

/// By what hands are laid on a process.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Means {
    /// A tracer attached himself (`ptrace`): he can stop it, read and write all of it.
    Traced,
    /// Its memory was written (`/proc/PID/mem`).
    MemoryWritten,
    /// Its place in line for the memory killer was set (`/proc/PID/oom_score_adj`).
    MemoryKiller,
    /// The share of its session was set (`/proc/PID/autogroup`).
    Share,
    /// It has another priority or policy.
    Priority,
    /// It may run on other processors.
    Processors,
}

impl Means {
    /// Whether it can change what is computed.
    pub fn alters(self) -> bool {
        matches!(self, Self::Traced | Self::MemoryWritten)
    }
}

/// Who did something, and how well that is known.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Actor {
    /// The number that the kernel gave.
    pub pid: u32,
    /// How it is known who had that number.
    pub known: Known,
    /// The process.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub party: Option<Party>,
    /// What it had become by then, where its users were not the same before and behind it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub became: Option<Box<Party>>,
    /// The program that it executed last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub executable: Option<PathText>,
    /// Whom it came of, the nearest first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub parents: Vec<Ancestor>,
    /// The registered run that it came of.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub run: Option<RunId>,
}

impl Actor {
    /// Nobody is named.
    pub fn unnamed(pid: u32, known: Known) -> Self {
        Self {
            pid,
            known,
            party: None,
            became: None,
            executable: None,
            parents: Vec::new(),
            run: None,
        }
    }
}

/// How it is known who had a number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Known {
    /// The kernel told of its life as it went, and it was the same before and behind the act.
    Observed,
    /// It was the same process, and its users were not the same before and behind the act.
    Changed,
    /// It was looked up afterwards, and had not ended.
    LookedUp,
    /// Several processes had the number in that time: nobody is named.
    Several,
    /// It was gone before anybody looked.
    Unknown,
}

/// A process that another one came of.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ancestor {
    /// Its number.
    pub pid: u32,
    /// When it started, in clock ticks since boot.
    pub started: u64,
    /// What it calls itself.
    pub name: String,
    /// The program that it executed last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub executable: Option<PathText>,
}

/// An account, as far as processes of it live: who could have done something.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Principal {
    /// Who logged in; none where no login is recorded.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub login_uid: Option<u32>,
    /// The login's session.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub session: Option<u32>,
    /// The user by whom it could.
    pub uid: u32,
}

/// A file as it was found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileState {
    /// Size in bytes.
    pub size: u64,
    /// Device.
    pub dev: u64,
    /// Inode.
    pub ino: u64,
    /// Modification time, nanoseconds since 1970.
    pub mtime_ns: i64,
    /// Change time, nanoseconds since 1970.
    pub ctime_ns: i64,
    /// Kind and permissions.
    pub mode: u32,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// Names that it has.
    pub links: u64,
    /// Digest of its content; none where it was not read.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub digest: Option<Digest>,
    /// What it says, of a control group's limits alone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub value: Option<String>,
}

/// A daemon began to watch a host.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct WatchBegun {
    /// The daemon.
    pub process: Process,
    /// Version of Taintline.
    pub taintline: String,
    /// Kernel release.
    pub kernel: String,
    /// Who.
    pub person: Person,
    /// What it can see, and what not.
    pub senses: Vec<Sense>,
    /// After how many microseconds without an entry it writes a sign of life.
    pub heartbeat_us: u64,
    /// Time that nobody watched, since a daemon did last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub blind: Option<Blind>,
}

/// One way of seeing.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sense {
    /// What is seen by it.
    pub what: String,
    /// How: the means.
    pub by: String,
    /// Why it is not; none where it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub missing: Option<String>,
}

/// A time in which nobody watched.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Blind {
    /// The last entry of the daemon before, microseconds since 1970.
    pub from_us: i64,
    /// The first of this one.
    pub to_us: i64,
    /// The one before said that it ended.
    pub ended: bool,
    /// Who was or became root meanwhile, as far as processes of them still live.
    pub privileged: Vec<Principal>,
}

/// What a daemon has counted since it began.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Counters {
    /// Changes to files that matter, as the kernel told them.
    pub changes: u64,
    /// Times that the kernel's queue of changes ran over: each at least one that was lost.
    pub overflows: u64,
    /// Changes whose folder could not be found any more.
    pub unplaced: u64,
    /// Changes that were not recorded singly, because their actor made too many.
    pub beyond: u64,
    /// Signals to registered runs.
    pub signals: u64,
    /// Signals that were lost.
    pub signals_lost: u64,
    /// Lives of processes that were lost.
    pub lives_lost: u64,
    /// Hands laid on processes of runs without a signal.
    #[serde(default)]
    pub interventions: u64,
    /// Times that what tells of those ran over, or could not be read: each at least one that was lost.
    #[serde(default)]
    pub interventions_lost: u64,
}

/// A daemon lives.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct WatchBeat {
    /// Its clocks.
    pub heart: crate::upkeep::Heartbeat,
    /// What it has counted.
    pub counters: Counters,
}

/// A run asked a daemon to watch over it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RunRegistered {
    /// The run, as it names itself.
    pub run: RunId,
    /// Its readable name.
    pub name: String,
    /// Its supervisor, as the kernel knows it.
    pub supervisor: Process,
    /// The supervisor's user, as the kernel knows it.
    pub uid: u32,
}

/// A daemon watches over this run: said by the run's supervisor.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DaemonSeen {
    /// The daemon.
    pub process: Process,
    /// Its user.
    pub uid: u32,
    /// Its version.
    pub taintline: String,
    /// The watch in the daemon's own ledger.
    pub watch: RunId,
    /// What it can see, and what not.
    pub senses: Vec<Sense>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_change_is_read_back_and_says_nothing_that_is_not_there() {
        let change = FileChange {
            path: PathText::from_bytes(b"/env/a.py"),
            from: None,
            deeds: vec![Deed::Written, Deed::Closed],
            folder: false,
            notices: 2,
            first_ns: 1,
            last_ns: 2,
            actor: Actor::unnamed(7, Known::Several),
            after: None,
            before: None,
            could: Vec::new(),
            could_more: 0,
        };
        let text = serde_json::to_string(&change).unwrap();
        assert_eq!(serde_json::from_str::<FileChange>(&text).unwrap(), change);
        assert!(!text.contains("could") && !text.contains("party"));
    }
}
