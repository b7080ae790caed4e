//! Trusted time: ask an authority for a stamp over a tree head, keep it with its chain, judge all that are kept.
//!
//! The clock of a machine is whatever its administrator sets it to. A token over the newest tree head says that every entry
//! under that head was made *no later*; and because the token itself becomes an entry, everything behind it was made *no
//! earlier*. Asking needs some transport, of which nothing is known here but bytes: a file that somebody carries, or an
//! exchange over HTTP. Judging needs nothing but the reader's roots.

mod asking;
mod audit;
mod judging;

use std::path::PathBuf;

use trust::certificate::ChainError;
use trust::keyfile::KeyFileError;
use trust::time::{NotStamped, Refusal, TokenSyntax};

use crate::net::NetError;

pub use asking::{How, StampRequest, stamp};
pub(crate) use asking::{PATIENCE, exchange, nonce, stamp_at_end, write};
pub(crate) use audit::audit;
pub(crate) use judging::{TimeRoots, act_at, empty, judge, no_later_than, not_before};

/// A stamp that was not made.
#[derive(Debug, thiserror::Error)]
pub enum StampError {
    /// There is nothing to be stamped.
    #[error("log {log} has no entries: there is nothing to stamp")]
    Empty {
        /// The log.
        log: String,
    },
    /// Nobody is settled who could be asked.
    #[error(
        "no time stamping authority is named: --tsa URL, or `tsa` under [ledger] in the settings"
    )]
    NoAuthority,
    /// A file.
    #[error(transparent)]
    File(#[from] KeyFileError),
    /// A file could not be written.
    #[error("{}: {source}", path.display())]
    Write {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// Roots that are none.
    #[error("{}: {why}", path.display())]
    Roots {
        /// The file.
        path: PathBuf,
        /// Why not.
        why: ChainError,
    },
    /// The authority cannot be asked.
    #[error("{url}: {why}")]
    Net {
        /// The authority.
        url: String,
        /// Why not.
        why: NetError,
    },
    /// It does not answer as one.
    #[error("{url} answers with status {status}")]
    Status {
        /// The authority.
        url: String,
        /// The status of HTTP.
        status: u16,
    },
    /// There is no token in the answer.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// The token cannot be read.
    #[error(transparent)]
    Token(#[from] TokenSyntax),
    /// The token is over something that this store did not ask about.
    #[error("the time stamp answers no request of this store")]
    NotAsked,
    /// The token does not hold.
    #[error("nothing was recorded: {0}")]
    NotStamped(#[from] NotStamped),
}

impl StampError {
    /// What the user can do about it.
    pub fn hint(&self) -> Option<&'static str> {
        match self {
            Self::NotAsked => Some("ask first: taintline ledger stamp --request FILE"),
            Self::NotStamped(NotStamped::Chain(_)) => Some(
                "name the authority's root with --time-roots, in PEM; take it from elsewhere than the answer",
            ),
            _ => None,
        }
    }
}
