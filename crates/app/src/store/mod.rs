//! Keeping house: what the store holds, who needs it, and what may go.
//!
//! What an entry says is never taken back; what it refers to may be, when nobody needs it any more and the ledger says so
//! first. [`census`] reads everything, [`choose`] judges, [`prune`] tells and removes, [`pruned`] answers afterwards.

mod census;
mod choose;
mod du;
pub(crate) mod kind;
mod prune;
pub(crate) mod pruned;
pub(crate) mod trees;

#[cfg(test)]
mod tests;

pub use choose::Rules;
pub use du::du;
pub use kind::{BlobKind, NoSuchKind};
pub use prune::{PruneRequest, prune};

/// The store was left as it is.
#[derive(Debug, thiserror::Error)]
pub enum StoreUseError {
    /// Nothing says which runs may go.
    #[error("nothing says what may go: give --older-than, --keep or --budget")]
    NoRule,
    /// What is needed is not known.
    #[error("{what} cannot be read ({why}), so what it needs is not known; nothing was removed")]
    Unreadable {
        /// What of the ledger.
        what: String,
        /// Why not.
        why: String,
    },
}
