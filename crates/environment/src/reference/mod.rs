//! Who vouches for each file of an environment, strongest first.
//!
//! | voucher | what it is | who could have changed it with the file |
//! | --- | --- | --- |
//! | `locked-wheel` | the wheel whose digest a lock file gives, member by member | whoever can change the lock file |
//! | `wheel` | a wheel of this name and version from a folder that the user named | whoever can write that folder |
//! | `baseline` | a list that the user signed | nobody without the key; it says *as it was then*, not *as published* |
//! | `conda` | `conda-meta/*.json` | whoever can write the environment: **weak** |
//! | `dpkg` | `/var/lib/dpkg/info/*.md5sums` | root, and whoever can make MD5 collide: **weak** |
//! | `record` | the package's own RECORD | whoever can write the environment: **weak** |
//! | `first-seen` | an earlier check of the same environment, in the ledger | says nothing of before |
//!
//! A stronger one that contradicts wins over a weaker one that agrees; that is the point of having both, for that is how a
//! RECORD that was rewritten with its file shows. The signed list stands above the local lists, because it lies outside of
//! what it speaks of, and below a wheel, because it repeats whatever was there.
//!
//! What installers rewrite is compared by what it means: the first line of scripts, launchers, the papers that they write
//! themselves. Byte code is another module's business, and so is what is looked up on a network: files in, data out.

mod against;
mod check;
pub mod index;
mod launcher;
mod local;
mod locate;
pub mod lock;
mod manifest;
mod startup;
mod wheel;

use serde::{Deserialize, Serialize};

pub use check::{
    Candidates, Checked, Difference, DifferenceKind, NoWheel, PackageCount, RecordWord, References,
    Silence, check,
};
pub use local::{LocalLists, conda, dpkg};
pub use locate::{
    Finder, FoundLock, FoundWheel, Keeper, LocateError, Shelf, digest_wheel, find_lock,
    manifest_of, project_of, read_lock, wheels_in,
};
pub use manifest::{Launcher, Manifest, Scheme, WheelFile};
pub use wheel::{WheelError, WheelName, read_wheel};

/// Who vouches for a file, strongest first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Voucher {
    /// The wheel that a lock file names by digest.
    LockedWheel,
    /// A wheel of this name and version.
    Wheel,
    /// A list that the user signed.
    Baseline,
    /// What conda wrote down when it installed.
    Conda,
    /// What Debian's package manager wrote down when it installed.
    Dpkg,
    /// The package's own RECORD.
    Record,
    /// An earlier check.
    FirstSeen,
}

impl Voucher {
    /// All, strongest first.
    pub const ALL: [Self; 7] = [
        Self::LockedWheel,
        Self::Wheel,
        Self::Baseline,
        Self::Conda,
        Self::Dpkg,
        Self::Record,
        Self::FirstSeen,
    ];

    /// Its name in records and JSON.
    pub fn word(self) -> &'static str {
        match self {
            Self::LockedWheel => "locked-wheel",
            Self::Wheel => "wheel",
            Self::Baseline => "baseline",
            Self::Conda => "conda",
            Self::Dpkg => "dpkg",
            Self::Record => "record",
            Self::FirstSeen => "first-seen",
        }
    }

    /// Whether whoever can change the file can change the voucher as well.
    pub fn is_weak(self) -> bool {
        matches!(self, Self::Conda | Self::Dpkg | Self::Record)
    }
}
