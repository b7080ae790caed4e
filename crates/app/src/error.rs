//! What can go wrong in a use-case, with what to do next.

use crate::convert::ConvertError;
use crate::evidence::EvidenceError;
use crate::index::IndexError;
use crate::people::PeopleError;
use crate::place::PlaceError;
use crate::secret::SecretError;
use crate::settings::SettingsError;

/// A use-case that could not be carried out.
#[derive(Debug, thiserror::Error)]
pub enum AppError {
    /// A place is missing.
    #[error(transparent)]
    Place(#[from] PlaceError),
    /// The user's settings.
    #[error(transparent)]
    Settings(#[from] SettingsError),
    /// A list of people's keys.
    #[error(transparent)]
    People(#[from] PeopleError),
    /// The store.
    #[error(transparent)]
    Store(#[from] ledger::StoreError),
    /// The ledger.
    #[error(transparent)]
    Ledger(#[from] ledger::LedgerError),
    /// A log.
    #[error(transparent)]
    Log(#[from] ledger::LogError),
    /// A blob.
    #[error(transparent)]
    Blob(#[from] ledger::BlobError),
    /// The index.
    #[error(transparent)]
    Index(#[from] IndexError),
    /// The store's secret.
    #[error(transparent)]
    Secret(#[from] SecretError),
    /// The command could not be started.
    #[error("the command did not start: {0}")]
    Start(#[from] host::job::StartError),
    /// The sensors' socket could not be made.
    #[error(transparent)]
    Listen(#[from] host::listen::ListenError),
    /// The host refused something.
    #[error("this machine refused: {0}")]
    Host(#[source] std::io::Error),
    /// An entry.
    #[error(transparent)]
    Entry(#[from] domain::entry::EntryError),
    /// The launch could not be recorded.
    #[error("the launch could not be recorded: {why}")]
    NotRecorded {
        /// Why.
        why: String,
    },
    /// No random bytes.
    #[error("the system gave no random bytes")]
    NoRandomness,
    /// No such run.
    #[error("no run is called {name}")]
    NoSuchRun {
        /// What was asked for.
        name: String,
    },
    /// Several runs.
    #[error("{count} runs are called {name}")]
    ManyRuns {
        /// What was asked for.
        name: String,
        /// How many.
        count: usize,
    },
    /// A file is not read as a checkpoint.
    #[error("{path}: {why}")]
    Checkpoint {
        /// The file.
        path: String,
        /// Why not.
        why: String,
    },
    /// A checkpoint was not converted.
    #[error(transparent)]
    Convert(#[from] ConvertError),
    /// A scan.
    #[error(transparent)]
    Scan(#[from] crate::scan::ScanError),
    /// A seal, or its verification.
    #[error(transparent)]
    Seal(#[from] crate::seal::SealError),
    /// An approval.
    #[error(transparent)]
    Approve(Box<crate::approve::ApproveError>),
    /// A spec.
    #[error(transparent)]
    Spec(Box<crate::spec::SpecError>),
    /// A replay.
    #[error(transparent)]
    Replay(Box<crate::replay::ReplayError>),
    /// A job for another machine, or its answer.
    #[error(transparent)]
    Job(Box<crate::replay::JobError>),
    /// A statement about a run.
    #[error(transparent)]
    Attest(#[from] crate::attest::AttestError),
    /// An environment.
    #[error(transparent)]
    Env(Box<crate::env::EnvError>),
    /// A time stamp.
    #[error(transparent)]
    Stamp(Box<crate::stamp::StampError>),
    /// Watching a host.
    #[error(transparent)]
    Watch(#[from] crate::watch::WatchError),
    /// Evidence of the ledger.
    #[error(transparent)]
    Evidence(#[from] EvidenceError),
    /// Witnesses, or being one.
    #[error(transparent)]
    Witness(#[from] crate::witness::WitnessFault),
    /// The log's key was not rotated.
    #[error(transparent)]
    Rotation(#[from] crate::rotation::RotationError),
    /// Keeping house.
    #[error(transparent)]
    StoreUse(#[from] crate::store::StoreUseError),
    /// The demo.
    #[error(transparent)]
    Demo(#[from] crate::demo::DemoError),
}

impl AppError {
    /// What the user can do about it.
    pub fn hint(&self) -> Option<&'static str> {
        match self {
            Self::Place(PlaceError::NoStore { .. }) => Some(
                "run a training under guard first: `taintline run -- python train.py`, or name a store with --store",
            ),
            Self::Place(PlaceError::NoSensor { .. }) => {
                Some("build it with `cargo xtask sensor`, or set TAINTLINE_SENSOR_DIR")
            }
            Self::Place(_) => Some("set HOME or the XDG variable"),
            Self::Store(ledger::StoreError::Newer { .. }) => {
                Some("use the newer Taintline, or another store with --store")
            }
            Self::Store(ledger::StoreError::Ground { .. }) => Some(
                "keep the store on a local disk: --store FOLDER or TAINTLINE_STORE; nothing was started",
            ),
            Self::Store(_)
            | Self::Ledger(_)
            | Self::Blob(_)
            | Self::Index(_)
            | Self::Secret(_)
            | Self::NotRecorded { .. } => Some(
                "name a writable place with space with --store or TAINTLINE_STORE; nothing was started",
            ),
            Self::Start(_) => Some("check the command behind `--`; nothing was started"),
            Self::Convert(ConvertError::Exists(_)) => {
                Some("name another file with --output, or replace it with --force")
            }
            Self::Convert(ConvertError::Found { .. }) => {
                Some("`taintline scan` tells more; nothing was written")
            }
            Self::Convert(ConvertError::NotPlain { .. }) => {
                Some("only tensors and plain values can be converted; nothing was written")
            }
            Self::Evidence(
                EvidenceError::NoName { .. }
                | EvidenceError::WhichLog { .. }
                | EvidenceError::NoLog { .. }
                | EvidenceError::WhichHead { .. },
            )
            | Self::Log(ledger::LogError::NoSuchEntry { .. }) => {
                Some("`taintline ledger log` lists entries by log and number")
            }
            Self::Evidence(EvidenceError::Key { .. }) => {
                Some("the key is the text in the file `vkey` of the log")
            }
            Self::StoreUse(crate::store::StoreUseError::Unreadable { .. }) => {
                Some("`taintline ledger audit` says more")
            }
            Self::NoSuchRun { .. } => Some("`taintline runs` lists them"),
            Self::ManyRuns { .. } => Some("use the id that `taintline runs --json` gives"),
            Self::Witness(error) => error.hint(),
            Self::Scan(error) => error.hint(),
            Self::Seal(error) => error.hint(),
            Self::Env(error) => error.hint(),
            Self::Stamp(error) => error.hint(),
            Self::Approve(error) => error.hint(),
            Self::Spec(error) => error.hint(),
            Self::Replay(error) => error.hint(),
            Self::Job(error) => error.hint(),
            _ => None,
        }
    }
}
