//! A checkpoint that is kept: the last one before what was found.

use serde::{Deserialize, Serialize};

use crate::{Digest, PathText};

/// How the bytes of a kept file are held.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum KeptWay {
    /// Blocks shared with the job's file until one of the two is written.
    Reflink,
    /// A copy.
    Copy,
    /// A second name of the job's file: who writes into that changes this too.
    HardLink,
}

impl KeptWay {
    /// In words.
    pub fn words(self) -> &'static str {
        match self {
            Self::Reflink => "as a reflink",
            Self::Copy => "as a copy",
            Self::HardLink => "as a hard link",
        }
    }
}

/// A checkpoint was set aside, so that the job's own rotation does not take it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CheckpointKept {
    /// The file, or the folder that all files of it were in.
    pub path: PathText,
    /// Optimizer step after which it was saved.
    pub step: u64,
    /// First step that is in doubt.
    pub before: u64,
    /// Where it is now, below the store.
    pub place: PathText,
    /// How many files.
    pub files: u64,
    /// Their bytes.
    pub bytes: u64,
    /// How they are held; the weakest, where they are held in several ways.
    pub way: KeptWay,
    /// Blob with the files, a [`KeptFile`] a line.
    pub list: Digest,
}

/// A file of a checkpoint that is kept.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeptFile {
    /// Where the job saved it.
    pub path: PathText,
    /// Its name below [`CheckpointKept::place`].
    pub name: PathText,
    /// What it holds.
    pub digest: Digest,
    /// Its bytes.
    pub bytes: u64,
    /// How it is held.
    pub way: KeptWay,
}
