//! A Python environment to a tree and findings.
//!
//! [`scan`] lists and hashes what an environment consists of and gives a [`Snapshot`]: trees to store, packages, gaps.
//! [`records::check`] holds it against what the packages say of themselves, [`compare`] against an earlier one, and
//! [`judge`] tells an upgrade from a change that somebody has to explain.
//!
//! It reads files and does nothing else: no process is started, no environment variable is read, no randomness drawn.
//! Where an interpreter keeps its folders is asked by whoever calls. Byte code and editable sources are listed, not
//! interpreted.
#![forbid(unsafe_code)]

mod cache;
mod compare;
mod digests;
mod file;
mod gap;
mod judge;
mod layout;
mod packages;
pub mod records;
mod scan;
mod snapshot;
mod trees;
mod walk;

pub use cache::{Cache, CacheError, CacheStart, MAX_RECORDS, RACY_WINDOW};
pub use compare::{Change, ChangeKind, compare};
pub use gap::Gap;
pub use judge::{Judged, Judgement, judge};
pub use layout::{Layout, Place, Root, RootKind};
pub use packages::{
    MAX_ALL_PAPERS_BYTES, MAX_PACKAGES, MAX_PAPER_BYTES, Origin, Package, PathHook,
};
pub use scan::{DEFAULT_BUDGET_BYTES, MAX_ENTRIES, Options, scan};
pub use snapshot::{CacheLie, Snapshot, Totals};
pub use trees::{FlattenError, MAX_DEPTH, MAX_NAMES, StoredTree, flatten};
