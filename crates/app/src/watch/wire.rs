//! What a run's supervisor and the host's daemon say to each other: JSON in frames.

use domain::RunId;
use domain::watched::{DaemonSeen, FileChange, Intervention};
use host::kernel::Signal;
use serde::{Deserialize, Serialize};

/// Where the daemon of a host listens, unless something else is settled.
pub(crate) const SOCKET: &str = "/run/taintline/watch.sock";
/// The variable that says where else.
pub(crate) const SOCKET_VARIABLE: &str = "TAINTLINE_DAEMON";

/// From a supervisor.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "say", rename_all = "snake_case")]
pub(crate) enum ToDaemon {
    /// A run begins: whoever says this, and all that will come of him, belongs to it.
    Run {
        /// The run.
        run: RunId,
        /// Its readable name.
        name: String,
    },
    /// The file that goes with this, open, is loaded or written by the run; of a folder, all that is in it.
    Ground,
    /// All that was seen up to now is asked for, and a word when it is said.
    Sync {
        /// Which question it is.
        number: u64,
    },
    /// The run is over.
    Over,
}

impl ToDaemon {
    /// Whether an open file goes with a frame.
    pub(crate) fn takes_file(frame: &[u8]) -> bool {
        matches!(serde_json::from_slice(frame), Ok(Self::Ground))
    }
}

/// From the daemon.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "say", rename_all = "snake_case")]
pub(crate) enum FromDaemon {
    /// The run is watched over.
    Welcome(Box<DaemonSeen>),
    /// Something that was asked for is not done.
    Refused {
        /// What.
        what: String,
        /// Why.
        why: String,
    },
    /// A file was changed.
    Changed {
        /// When, microseconds since 1970.
        at_us: i64,
        /// What and by whom.
        change: Box<FileChange>,
    },
    /// A signal was made for a process of the run.
    Signal(Box<Signal>),
    /// Somebody laid hands on a process of the run.
    Intervened {
        /// When, microseconds since 1970.
        at_us: i64,
        /// What and by whom.
        it: Box<Intervention>,
    },
    /// All that was seen before a question is said.
    Synced {
        /// Which question.
        number: u64,
    },
    /// So much was not handed on.
    Lost {
        /// What.
        what: String,
        /// How many.
        count: u64,
    },
}
