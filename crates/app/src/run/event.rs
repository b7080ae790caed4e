//! What the recorder hears, from every side, in one queue.

use std::time::Duration;
use std::time::Instant;

use domain::entry::{Code, Identity, Kind};
use domain::scan::Examination;
use domain::sensor::Envelope;
use domain::watched::Intervention;
use domain::{Digest, Gap, PathText};
use host::identity::ProcessId;
use host::job::HostEvent;
use training::checkpoint::CheckpointSummary;

use super::environment::{ComparedCode, Examined, Prepared};
use super::fault::Lost;
use super::keep::Part;
use super::memory::{Answered, Compiler};
use super::watch;
use crate::compiled::Wrong;
use crate::watch::wire::FromDaemon;
use crate::witness::Asked;

/// One connection of one process.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) struct Connection(pub(super) u32);

/// Something happened.
pub(super) enum Event {
    /// A process of the job connected.
    Joined {
        connection: Connection,
        process: ProcessId,
    },
    /// Somebody was not let in.
    Refused { why: String },
    /// A sensor said something.
    Said {
        connection: Connection,
        envelope: Box<Envelope>,
    },
    /// A connection ended; `why` when it was not by the peer.
    Left {
        connection: Connection,
        why: Option<String>,
    },
    /// The host saw something.
    Host(HostEvent),
    /// The job is over.
    Over(Result<host::job::Outcome, String>, Instant),
    /// The code was examined.
    Code(Option<Code>, Vec<Gap>),
    /// A file that is asked for was examined for what loading it would do.
    Examined(Box<ExaminedFile>),
    /// A file was read.
    Read(Box<ReadFile>),
    /// An environment was examined.
    Environment(Box<Examined>),
    /// Byte code of the environment of this number is not its source's.
    WrongCode(usize, Box<Wrong>),
    /// What is left of the byte code of an environment when the job ends.
    RestOfCode(Box<Prepared>),
    /// The byte code of an environment was held against its sources.
    ComparedCode(Box<ComparedCode>),
    /// A file was compiled, to compare what runs in memory with.
    Compiled(Compiler, PathText, Box<Answered>),
    /// The watching thread told something.
    Watched(Box<watch::Report>),
    /// An environment was scanned once more.
    Again(Box<watch::Again>),
    /// The witnesses were asked.
    Witnessed(Box<Asked>),
    /// The host's daemon said something.
    Daemon(Box<FromDaemon>),
    /// A debugger attached itself to a process of the run.
    Traced(Box<Intervention>),
    /// The host's daemon hung up.
    DaemonGone,
    /// A thread was ended by a fault of this program.
    Lost(Lost),
}

/// Why a file is read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Purpose {
    /// The job saved it as a checkpoint.
    Save,
    /// The job is loading it as a checkpoint.
    Resume,
    /// The job opened, imported or mapped it.
    Take(Kind),
}

/// What loading a file would do.
pub(super) struct ExaminedFile {
    /// Number of the request for the file; none when a sensor asked before loading.
    pub(super) ticket: Option<u64>,
    /// What the job does with it, in words: `torch.load`, `opened`.
    pub(super) deed: String,
    /// Whether it is only a data file as far as is known.
    pub(super) data: bool,
    /// Where it is.
    pub(super) path: PathText,
    /// Whether the load was refused.
    pub(super) refused: bool,
    /// What was learnt.
    pub(super) examination: Examination,
}

/// A file and what was read of it.
pub(super) struct ReadFile {
    /// Number of the request.
    pub(super) ticket: u64,
    /// Why.
    pub(super) purpose: Purpose,
    /// Where it was when it was opened.
    pub(super) path: PathText,
    /// What the file system says; absent when it could not be opened.
    pub(super) identity: Option<Identity>,
    /// Digest of its content; absent when it was not read.
    pub(super) digest: Option<Digest>,
    /// Its content, when it is to be stored.
    pub(super) content: Option<Vec<u8>>,
    /// Its tensors, when it is a checkpoint that could be read as one.
    pub(super) summary: Option<CheckpointSummary>,
    /// What was set aside of it, when it is a checkpoint that was saved.
    pub(super) kept: Vec<Part>,
    /// What was not read, and why.
    pub(super) gap: Option<String>,
    /// How long it took.
    pub(super) took: Duration,
}

impl ReadFile {
    /// Nothing was read yet.
    pub(super) fn unread(ticket: u64, purpose: Purpose, path: &PathText) -> Self {
        Self {
            ticket,
            purpose,
            path: path.clone(),
            identity: None,
            digest: None,
            content: None,
            summary: None,
            kept: Vec::new(),
            gap: None,
            took: Duration::ZERO,
        }
    }
}
