//! Witnesses: having the ledger's tree heads cosigned by others, and being one for others.
//!
//! Whoever holds the log's key can sign another history; only somebody else who saw the first one can tell. So heads are
//! sent to the witnesses that the user's settings name ([`ask`](self::ask)), what they answer is verified and kept beside
//! the log ([`cosign`]), and every command that reads the ledger can say how far it is witnessed ([`standing`]). A job never
//! waits for any of it: asking is a thread of its own ([`watch`]), and an entry is durable whether witnesses are there or
//! not.
//!
//! Two things are told apart everywhere. A witness that is away, refuses or answers nonsense is *missing*, with its reason,
//! and becomes a finding when no quorum was reached for too long. A head that the log's own key signed and that the log
//! does not continue is *proof*, whoever shows it, and a finding at once.

mod ask;
mod audit;
mod cosign;
mod hosted;
mod proof;
mod standing;
mod view;
mod watch;

use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use ledger::policy::{MAX_POLICY_BYTES, Policy, PolicyError};
use ledger::witness::WitnessError;

pub use ask::Trouble;
pub(crate) use audit::audit;
pub(crate) use cosign::{Asked, Contradiction};
pub use hosted::{keys, open};
pub(crate) use proof::{judge_proof, log_of, prove};
pub(crate) use standing::{Standing, shown, standing};
pub use view::cosign_now;
pub(crate) use view::{contradiction_words, troubled, view};
pub(crate) use watch::Watch;

use crate::settings;

/// Whom to ask, how often, and how long to wait.
#[derive(Debug, Clone)]
pub(crate) struct Witnesses {
    pub(crate) policy: Policy,
    pub(crate) every: Duration,
    pub(crate) patience: Duration,
}

/// Why witnesses cannot be asked, or this one cannot be one.
#[derive(Debug, thiserror::Error)]
pub enum WitnessFault {
    /// A file cannot be read.
    #[error("{}: {source}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// Not a policy.
    #[error("{}: {why}", path.display())]
    Policy {
        /// The file.
        path: PathBuf,
        /// What is wrong, with its line.
        why: PolicyError,
    },
    /// The settings name no witnesses.
    #[error("the settings name no witnesses")]
    None,
    /// Not a list of logs.
    #[error("{}: line {line} is not the key of a log", path.display())]
    Logs {
        /// The file.
        path: PathBuf,
        /// Which line, from 1.
        line: usize,
    },
    /// A policy without the log that a proof is of.
    #[error("neither a key nor the policy says which log's word counts for {origin}")]
    NoLog {
        /// The origin of the log.
        origin: String,
    },
    /// No log is to be witnessed.
    #[error("no log is named that is to be witnessed")]
    NoLogs,
    /// The witness's folder.
    #[error(transparent)]
    Own(#[from] WitnessError),
}

impl WitnessFault {
    /// What the user can do about it.
    pub fn hint(&self) -> Option<&'static str> {
        match self {
            Self::None => Some("set `witnesses` in [ledger] of taintline.toml: docs/settings.md"),
            Self::NoLog { .. } => Some("give the log's key with --key, or add it to the policy"),
            Self::NoLogs => Some("name it with --log VKEY or --logs FILE"),
            Self::Own(WitnessError::NoKeys { .. }) => {
                Some("make them with `taintline ledger witness key --folder DIR --name NAME`")
            }
            Self::Own(WitnessError::Memory { .. }) => {
                Some("put the file back as it was; a witness that forgets must not go on")
            }
            _ => None,
        }
    }
}

impl Witnesses {
    /// As the user's settings have it; `None` when they name nobody.
    pub(crate) fn load(settings: &settings::Ledger) -> Result<Option<Self>, WitnessFault> {
        let Some(path) = &settings.witnesses else {
            return Ok(None);
        };
        Ok(Some(Self {
            policy: read_policy(path)?,
            every: settings.witness_every,
            patience: settings.witness_patience,
        }))
    }
}

/// Reads a policy file.
pub(crate) fn read_policy(path: &Path) -> Result<Policy, WitnessFault> {
    let bytes = read_file(path, MAX_POLICY_BYTES as u64)?;
    ledger::policy::parse(&bytes).map_err(|why| WitnessFault::Policy {
        path: path.to_owned(),
        why,
    })
}

/// Reads a regular file whole.
fn read_file(path: &Path, limit: u64) -> Result<Vec<u8>, WitnessFault> {
    crate::bounded::read(path, limit).map_err(|source| WitnessFault::Read {
        path: path.to_owned(),
        source,
    })
}

/// Seconds since 1970.
pub(crate) fn now() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.map_or(0, |it| it.as_secs())
}
