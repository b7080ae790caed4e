//! What is written into the ledger: one entry, one fact.
//!
//! An entry is canonical JSON (RFC 8785: keys sorted, no insignificant space). No floating-point number stands in an
//! entry, so the form needs no number formatting rules; steps with their losses travel in segments, which are blobs. What
//! may hold a secret (a command line, a diff, a variable) is *sealed*: 32 random bytes and then the content make a blob,
//! the entry has its digest, and the blob can be erased without breaking the log or leaving something to guess from.

use serde::{Deserialize, Serialize};

use crate::declared::{SpecSigned, SpecUsed};
use crate::kept::CheckpointKept;
use crate::replay::{Audited, Bisected, Replayed};
use crate::signals::SignalMade;
use crate::upkeep::{Heartbeat, KeyRotated, LogBegun, LogEnded, Pruned};
use crate::verdict::Examined;
use crate::vouch::{Approval, ClockState, Stamp, StampOf};
use crate::watched::{DaemonSeen, FileChange, Intervention, RunRegistered, WatchBeat, WatchBegun};
use crate::{Digest, Finding, PathText, Person, Process, RunId, RunName};

/// Version of the entry's form.
pub const ENTRY_VERSION: u32 = 1;

/// Longest entry, in bytes: what a C2SP tlog-tiles bundle can hold.
pub const ENTRY_BYTES_MAX: usize = 65_535;

/// Which sensor saw it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Tier {
    /// The sensor inside the training process: a claim.
    InProcess,
    /// The supervisor, outside the process, under the same user.
    Supervisor,
    /// The daemon that watches the host, of a user of its own.
    HostDaemon,
}

/// One fact about one run, or about one scan that keeps its verdicts.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    /// [`ENTRY_VERSION`].
    pub v: u32,
    /// The run, or the scan.
    pub run: RunId,
    /// Count of entries of this run, from 0: a missing one shows.
    pub seq: u64,
    /// When it happened, microseconds since 1970 by the wall clock of whoever saw it.
    pub event_us: i64,
    /// When the supervisor recorded it.
    pub capture_us: i64,
    /// Who saw it.
    pub tier: Tier,
    /// The fact.
    pub body: Body,
}

/// The fact itself: four of the five nouns, and what was found or not seen. Blobs are the fifth, referenced by digest.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Body {
    /// Something done to a run.
    Act(Act),
    /// The run took bytes in.
    Load(Load),
    /// The run put bytes at a path.
    Write(Write),
    /// A segment of steps.
    Steps(Steps),
    /// A segment of verdicts on files that `taintline scan` examined outside of a run.
    Examined(Examined),
    /// Something that an honest run does not show.
    Finding(Finding),
    /// Something that was not recorded.
    Gap(Gap),
}

/// Something done *to* a run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "act", rename_all = "snake_case")]
pub enum Act {
    /// The run began.
    Launch(Box<Launch>),
    /// A process of the run imported torch.
    Joined(Box<Joined>),
    /// A process ended.
    Exit(Exit),
    /// The supervisor was sent a signal.
    Signal(Signal),
    /// A process of the run was sent a signal, as the kernel saw it.
    SignalMade(Box<SignalMade>),
    /// The wall clock went back. Written by earlier versions; now it is [`Act::ClockStep`].
    ClockBack {
        /// By how many microseconds.
        by_us: i64,
    },
    /// The wall clock was set while the run was going: measured against the clock that counts from the machine's start.
    ClockStep {
        /// By how many microseconds; negative is back.
        by_us: i64,
    },
    /// What the kernel says of the clock, at the start and at the end of a run.
    Clock(ClockState),
    /// Somebody declared the environment of this run to be meant.
    EnvironmentAccepted,
    /// The ways into the run's processes by variables and files outside of the environment, for later runs to compare with.
    WaysIn {
        /// How many.
        count: u64,
        /// The list, as JSON.
        list: Digest,
    },
    /// The run ended and its record is complete.
    End(Box<End>),
    /// The run's supervisor is gone without an end; said by the next command that noticed.
    Interrupted,
    /// A model, a checkpoint or data was sealed by somebody: an act of its own, outside of every run.
    Sealed(Box<Seal>),
    /// A time stamping authority vouched for a time: an act of its own.
    Stamped(Box<Stamp>),
    /// Somebody approved of something: an act of its own.
    Approved(Box<Approval>),
    /// The run's supervisor lives and had nothing else to say.
    Alive(Heartbeat),
    /// Blobs were taken out of the store.
    Pruned(Box<Pruned>),
    /// This is the last entry of its log.
    LogEnded(Box<LogEnded>),
    /// This is the first entry of a log that goes on where another ended.
    LogBegun(Box<LogBegun>),
    /// The key that signs seals was exchanged: an act of its own.
    KeyRotated(Box<KeyRotated>),
    /// An environment was checked by itself: an act of its own, outside of every run.
    EnvironmentChecked(Box<EnvironmentCheck>),
    /// Somebody signed a run's spec, or an amendment of it: an act of its own.
    SpecSigned(Box<SpecSigned>),
    /// The run is held against a spec.
    SpecUsed(Box<SpecUsed>),
    /// The last checkpoint before what was found was set aside.
    CheckpointKept(Box<CheckpointKept>),
    /// Steps of a run were computed again elsewhere: an act of its own.
    Replayed(Box<Replayed>),
    /// The first bad step of a run, and its cause, were looked for elsewhere: an act of its own.
    Bisected(Box<Bisected>),
    /// Stretches of a run, drawn at random, were computed again elsewhere: an act of its own.
    Audited(Box<Audited>),
    /// A file that runs load or write was changed, and by whom: seen by the host's daemon.
    FileChanged(Box<FileChange>),
    /// Somebody laid hands on a process of the run without a signal.
    Intervened(Box<Intervention>),
    /// A daemon watches over this run.
    DaemonSeen(Box<DaemonSeen>),
    /// A daemon began to watch the host: the first entry of a watch.
    WatchBegun(Box<WatchBegun>),
    /// A run asked a daemon to watch over it.
    RunRegistered(Box<RunRegistered>),
    /// A folder of which a run loads or writes files is watched.
    FolderWatched {
        /// The run that asked for it.
        run: RunId,
        /// Where.
        folder: PathText,
    },
    /// A registered run is over, or its supervisor gone.
    RunLeft {
        /// The run.
        run: RunId,
        /// It said so; else its supervisor was gone.
        said: bool,
    },
    /// A daemon lives, and what it has counted.
    WatchBeat(Box<WatchBeat>),
    /// A daemon ended by itself: the last entry of a watch.
    WatchEnded,
}

/// A Python environment and what its references said of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct EnvironmentCheck {
    /// Where it is, absolute.
    pub prefix: PathText,
    /// Its tree; equal trees are equal environments. All of it is in the store.
    pub tree: Digest,
    /// Blob with the vouchers by package, the findings and the gaps, as JSON.
    pub summary: Digest,
    /// Files.
    pub files: u64,
    /// Their bytes.
    pub bytes: u64,
    /// How many findings.
    pub findings: u64,
    /// How many gaps.
    pub gaps: u64,
    /// Who.
    pub person: Person,
}

/// What was sealed, and the two signed texts.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Seal {
    /// Where it was, absolute.
    pub path: PathText,
    /// Root of the model signature: what other documents call it by.
    pub root: Digest,
    /// The value over all entries, 64 hexadecimal digits of BLAKE3.
    pub tree: String,
    /// The key, by its hint.
    pub key: String,
    /// Blob with the model signature.
    pub signature: Digest,
    /// Blob with the seal.
    pub seal: Digest,
    /// Files.
    pub files: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Who.
    pub person: Person,
}

/// How a run began.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Launch {
    /// Readable name.
    pub name: RunName,
    /// Version of Taintline.
    pub taintline: String,
    /// The supervisor.
    pub supervisor: Process,
    /// Kernel release.
    pub kernel: String,
    /// Who.
    pub person: Person,
    /// Sealed [`Command`].
    pub command: Digest,
    /// What makes it *the same command* as an earlier one: digest of launcher, script and project.
    pub same: Digest,
    /// Sealed list of variables.
    pub variables: Digest,
    /// Size of the log when the run began.
    pub head: u64,
    /// After how many microseconds without an entry the supervisor writes a heartbeat; absent in records from before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub heartbeat_us: Option<u64>,
}

/// What was run, sealed because arguments can hold secrets.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Command {
    /// Arguments, the program first.
    pub argv: Vec<PathText>,
    /// Working directory.
    pub cwd: PathText,
}

/// A variable of the environment.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Variable {
    /// Name.
    pub name: PathText,
    /// Value, for names that are known to hold no secret.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub value: Option<PathText>,
    /// Digest of the value under the store's own secret: equal values compare equal within one store.
    pub keyed: Digest,
}

/// A process of the run that imported torch.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Joined {
    /// Which.
    pub process: Process,
    /// Its rank.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rank: Option<u32>,
    /// World size.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub world_size: Option<u32>,
    /// Python's version.
    pub python: String,
    /// `sys.prefix`.
    pub prefix: PathText,
    /// `torch.__version__`, once torch is imported.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub torch: Option<String>,
    /// Threads that torch computes with, as it began.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub threads: Option<u32>,
    /// The processor, and which of its vector instructions decide how sums are made.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub processor: Option<String>,
}

/// How a process ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "how", rename_all = "snake_case")]
pub enum Outcome {
    /// By itself.
    Exited {
        /// Exit code.
        code: i32,
    },
    /// By a signal.
    Signalled {
        /// Its number.
        signal: i32,
    },
    /// It is gone; how could not be seen.
    Unknown,
}

/// A process ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Exit {
    /// Which.
    pub process: Process,
    /// Its rank.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rank: Option<u32>,
    /// How.
    pub outcome: Outcome,
    /// Whether it is the command itself.
    pub main: bool,
    /// Type of the exception that ended it, as it said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub exception: Option<String>,
    /// Last step that it reported.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_step: Option<u64>,
}

/// A signal reached the supervisor.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Signal {
    /// Number.
    pub number: i32,
    /// Who sent it, when it was a process.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sender: Option<Process>,
    /// Name that the sender gave itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// User of the sender.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub uid: Option<u32>,
    /// Whether it was passed on to the command.
    pub forwarded: bool,
}

/// How the run ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct End {
    /// Of the command.
    pub outcome: Outcome,
    /// Wall time in microseconds.
    pub wall_us: u64,
    /// CPU time that watching cost outside the job, in microseconds.
    pub watch_cpu_us: u64,
    /// Time spent in the sensor's hooks inside the job, all ranks, in microseconds.
    pub sensor_us: u64,
    /// Steps recorded, all ranks.
    pub steps: u64,
    /// Findings recorded.
    pub findings: u64,
    /// Gaps recorded.
    pub gaps: u64,
}

/// What kind of thing was loaded.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// The Python environment, a tree: present, to be loaded.
    Environment,
    /// Compiled caches of that environment, a tree.
    Compiled,
    /// Files of imported modules, a tree: loaded.
    Modules,
    /// Shared objects mapped into the process, a tree: loaded.
    Mapped,
    /// What the process says stands in its memory: JSON lines of [`crate::memory::MemoryFact`].
    Memory,
    /// The project's code: a sealed [`Code`].
    Code,
    /// One file of the project's own code.
    Script,
    /// A configuration file.
    Config,
    /// A data file.
    Data,
    /// A checkpoint.
    Checkpoint,
}

/// The run took bytes in.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Load {
    /// What kind of thing.
    pub what: Kind,
    /// Where.
    pub path: PathText,
    /// Digest of the content; absent when only the identity was recorded.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub digest: Option<Digest>,
    /// Whether the blob store has the content.
    #[serde(default)]
    pub stored: bool,
    /// Size, times and inode.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub identity: Option<Identity>,
    /// By which process.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub process: Option<Process>,
    /// Its rank.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rank: Option<u32>,
    /// Last finished step of the process.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub step: Option<u64>,
    /// Blob with a description: tensors of a checkpoint, packages of an environment.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub summary: Option<Digest>,
    /// Blob with what loading it would do, a [`crate::scan::Examination`] as JSON; absent where nothing in it would be
    /// interpreted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub examined: Option<Digest>,
}

/// What names a file's state without reading it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Identity {
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
}

/// The run put bytes at a path.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Write {
    /// Where.
    pub path: PathText,
    /// Temporary name that it was written under, when it was renamed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from: Option<PathText>,
    /// Digest of the content; absent when only the identity was recorded.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub digest: Option<Digest>,
    /// Size, times and inode.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub identity: Option<Identity>,
    /// By which process.
    pub process: Process,
    /// Its rank.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rank: Option<u32>,
    /// Last finished step of the process.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub step: Option<u64>,
    /// Blob with the summary of its tensors.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub summary: Option<Digest>,
}

/// A segment: consecutive steps of one process, one JSON record a line, in a blob.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Steps {
    /// By which process.
    pub process: Process,
    /// Its rank.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rank: Option<u32>,
    /// Number of the first step.
    pub first: u64,
    /// Number of the last step.
    pub last: u64,
    /// How many records.
    pub count: u64,
    /// The blob.
    pub segment: Digest,
}

/// Something that was not recorded, or not examined.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Gap {
    /// What is missing.
    pub what: String,
    /// Why.
    pub why: String,
}

/// The project's code, as `git` and the file system say. Sealed: a diff can hold secrets.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Code {
    /// Top folder of the work tree.
    pub top: PathText,
    /// Commit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub commit: Option<String>,
    /// Files that differ from the commit, and untracked ones.
    #[serde(default)]
    pub dirty: Vec<PathText>,
    /// `git diff HEAD`, cut at a limit that the gap list names.
    #[serde(default)]
    pub diff: String,
    /// How the commit is signed; nothing in records from before this was looked at.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub signature: Option<CommitSignature>,
}

/// How a commit is signed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum CommitSignature {
    /// Not at all.
    Absent,
    /// With an SSH key.
    Ssh {
        /// The key's fingerprint (`SHA256:…`).
        key: String,
        /// Whether the signature is by that key over this commit.
        holds: bool,
        /// Whose key that is, by the list of allowed signers.
        signer: Signer,
    },
    /// With OpenPGP: not checked.
    OpenPgp,
    /// With X.509: not checked.
    X509,
    /// In a way that is not known, or malformed: no signature.
    Unreadable,
}

/// What a list of allowed signers says of a key.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "standing", rename_all = "snake_case")]
pub enum Signer {
    /// There was no list to ask.
    NotAsked,
    /// Allowed for this purpose at the time.
    Allowed {
        /// As whom: patterns of principals as the list has them.
        principals: String,
    },
    /// Not on the list.
    Unknown,
    /// On the list for others or for other purposes.
    OtherPurpose,
    /// Before it was valid.
    NotYet,
    /// After it was valid.
    Expired,
    /// It depends on a time that is not known, or on a time zone that the list leaves open.
    Open,
    /// Taken back.
    Revoked,
}

/// An entry that cannot be written or read.
#[derive(Debug, thiserror::Error)]
pub enum EntryError {
    /// Longer than [`ENTRY_BYTES_MAX`].
    #[error("an entry of {bytes} bytes is longer than {ENTRY_BYTES_MAX}")]
    TooLong {
        /// Its length.
        bytes: usize,
    },
    /// Not JSON of an entry.
    #[error("not an entry: {0}")]
    Syntax(#[from] serde_json::Error),
    /// Written by a newer Taintline.
    #[error("an entry of version {0}, this Taintline reads {ENTRY_VERSION}")]
    Newer(u32),
}

impl Entry {
    /// The one encoding of this entry.
    pub fn encode(&self) -> Result<Vec<u8>, EntryError> {
        // Through `Value`, whose maps are sorted: struct fields are not.
        let bytes = serde_json::to_vec(&serde_json::to_value(self)?)?;
        if bytes.len() > ENTRY_BYTES_MAX {
            return Err(EntryError::TooLong { bytes: bytes.len() });
        }
        Ok(bytes)
    }

    /// Reads an entry.
    pub fn decode(bytes: &[u8]) -> Result<Self, EntryError> {
        #[derive(Deserialize)]
        struct Version {
            v: u32,
        }
        match serde_json::from_slice::<Version>(bytes)?.v {
            ENTRY_VERSION => Ok(serde_json::from_slice(bytes)?),
            newer => Err(EntryError::Newer(newer)),
        }
    }

    /// Every blob that this entry refers to and that the store must therefore have.
    pub fn blobs(&self) -> Vec<Digest> {
        match &self.body {
            Body::Act(Act::Launch(launch)) => vec![launch.command, launch.variables],
            Body::Act(Act::Sealed(seal)) => vec![seal.signature, seal.seal],
            Body::Act(Act::Stamped(stamp)) => match &stamp.of {
                StampOf::TreeHead { .. } => vec![stamp.over, stamp.token],
                StampOf::Signature { bundle, .. } => vec![stamp.over, stamp.token, *bundle],
            },
            Body::Act(Act::Approved(approval)) => vec![approval.envelope],
            Body::Act(Act::Pruned(pruned)) => vec![pruned.list],
            Body::Act(Act::KeyRotated(rotated)) => vec![rotated.list],
            Body::Act(Act::WaysIn { list, .. }) => vec![*list],
            Body::Act(Act::EnvironmentChecked(check)) => vec![check.tree, check.summary],
            Body::Act(Act::SpecSigned(signed)) => vec![signed.spec, signed.signature],
            Body::Act(Act::SpecUsed(used)) => vec![used.spec],
            Body::Act(Act::CheckpointKept(kept)) => vec![kept.list],
            Body::Act(Act::Replayed(replayed)) => vec![replayed.report, replayed.transcript],
            Body::Act(Act::Bisected(bisected)) => vec![bisected.report],
            Body::Act(Act::Audited(audited)) => vec![audited.report],
            Body::Act(_) | Body::Gap(_) => Vec::new(),
            Body::Load(load) => load
                .summary
                .into_iter()
                .chain(load.examined)
                .chain(load.digest.filter(|_| load.stored))
                .collect(),
            Body::Write(write) => write.summary.into_iter().collect(),
            Body::Steps(steps) => vec![steps.segment],
            Body::Examined(examined) => vec![examined.segment],
            Body::Finding(finding) => finding.evidence.clone(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(body: Body) -> Entry {
        Entry {
            v: 1,
            run: RunId::new(1, [3; 10]),
            seq: 0,
            event_us: 1,
            capture_us: 2,
            tier: Tier::Supervisor,
            body,
        }
    }

    #[test]
    fn keys_are_sorted_and_the_entry_reads_back() {
        let entry = entry(Body::Gap(Gap {
            what: "b".into(),
            why: "a".into(),
        }));
        let bytes = entry.encode().unwrap();
        let text = String::from_utf8(bytes.clone()).unwrap();
        assert!(
            text.starts_with(r#"{"body":{"kind":"gap","what":"b","why":"a"},"capture_us":2,"#),
            "{text}"
        );
        assert_eq!(Entry::decode(&bytes).unwrap(), entry);
    }

    #[test]
    fn acts_of_earlier_versions_and_of_this_one_read_back() {
        let old = br#"{"body":{"act":"clock_back","by_us":5,"kind":"act"},"capture_us":2,"event_us":1,"run":"00000000-0001-7303-8303-030303030303","seq":0,"tier":"supervisor","v":1}"#;
        let read = Entry::decode(old).unwrap();
        assert_eq!(read.body, Body::Act(Act::ClockBack { by_us: 5 }));
        let state = ClockState {
            synchronised: true,
            offset_us: -3,
            error_us: 4,
            max_error_us: 5,
        };
        for act in [Act::ClockStep { by_us: -7 }, Act::Clock(state)] {
            let entry = entry(Body::Act(act));
            assert_eq!(Entry::decode(&entry.encode().unwrap()).unwrap(), entry);
        }
    }

    #[test]
    fn an_entry_that_no_tile_could_hold_is_refused() {
        let entry = entry(Body::Gap(Gap {
            what: "x".repeat(70_000),
            why: String::new(),
        }));
        assert!(matches!(entry.encode(), Err(EntryError::TooLong { .. })));
    }

    #[test]
    fn an_entry_of_a_newer_version_is_named_as_such() {
        assert!(matches!(
            Entry::decode(br#"{"v":2,"run":5}"#),
            Err(EntryError::Newer(2))
        ));
    }
}
