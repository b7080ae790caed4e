//! A Python environment to a tree and findings.
//!
//! [`scan`] lists and hashes what an environment consists of and gives a [`Snapshot`]: trees to store, packages, gaps.
//! [`records::check`] holds it against what the packages say of themselves, [`compare`] against an earlier one, and
//! [`judge`] tells an upgrade from a change that somebody has to explain.
//!
//! [`reference`] holds it against what does not lie in it: wheels that a lock file names, a signed list, other installers' lists.
//!
//! It reads files and does nothing else: no process is started, no environment variable is read, no randomness drawn.
//! Where an interpreter keeps its folders is asked by whoever calls. [`compiled`] pairs byte code with its source and
//! compares the meaning of two code objects; what a source compiles to is the caller's to ask. Editable sources are listed,
//! not interpreted.
#![forbid(unsafe_code)]

mod cache;
mod compare;
pub mod compiled;
mod derive;
mod digests;
mod file;
mod gap;
mod judge;
mod layout;
mod packages;
pub mod records;
pub mod reference;
mod scan;
mod snapshot;
mod trees;
mod walk;
pub mod ways;

pub use cache::{Cache, CacheError, CacheStart, MAX_RECORDS, RACY_WINDOW};
pub use compare::{Change, ChangeKind, compare};
pub use derive::{DeriveError, Derived, derive};
pub use gap::Gap;
pub use judge::{Judged, Judgement, judge};
pub use layout::{Layout, Place, Root, RootKind};
pub use packages::{
    MAX_ALL_PAPERS_BYTES, MAX_PACKAGES, MAX_PAPER_BYTES, Origin, Package, PathHook,
};
pub use scan::{DEFAULT_BUDGET_BYTES, MAX_ENTRIES, Options, scan};
pub use snapshot::{CacheLie, Snapshot, Totals};
pub use trees::{FlattenError, MAX_DEPTH, MAX_NAMES, StoredTree, flatten};
