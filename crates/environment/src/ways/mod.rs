//! Ways into a process that are not among the files it says it runs: variables and files by which code comes first.
//!
//! [`of_variables`] and [`of_system`] list them, [`Installed::hidden_by`] tells which installed module an imported one stands
//! in front of. What a way is worth by itself is [`WayKind::weight`]: what runs code in every process is told even where
//! nothing is known of earlier runs, what only says where to look is told when it changes. Nothing here reads a file or a
//! process; lists of names say what a variable *does*, by the documentation of whoever reads it, never who is good.

mod shadow;
mod variables;

pub use shadow::{Hidden, Installed};
pub use variables::{of_system, of_variables};

use domain::{Digest, PathText};
use serde::{Deserialize, Serialize};

/// What a way does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum WayKind {
    /// A library that the loader, or a runtime, loads into the process before all others.
    Preload,
    /// A library or module that a runtime loads as its plug-in.
    PlugIn,
    /// A place where libraries, modules or byte code are looked for.
    Search,
    /// A module that runs at every start of Python.
    StartUp,
    /// A module that is imported instead of the installed one of its name.
    Shadow,
}

/// How much the mere presence of a way says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Weight {
    /// It is listed, and a change is told as a note.
    Listed,
    /// A finding where the last good run did not have it.
    WhenNew,
    /// A finding where no good run had it, the first one included.
    AtOnce,
}

impl WayKind {
    /// How much its presence says.
    pub fn weight(self) -> Weight {
        match self {
            Self::Preload | Self::StartUp | Self::Shadow => Weight::AtOnce,
            Self::PlugIn => Weight::WhenNew,
            Self::Search => Weight::Listed,
        }
    }
}

/// One way in.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Way {
    /// What it does.
    pub kind: WayKind,
    /// The variable, file or module by which it is there: `LD_PRELOAD`, `/etc/ld.so.preload`, `sitecustomize`.
    pub name: String,
    /// What it names: a library, a folder, a file.
    pub value: PathText,
    /// Digest of the file that it names, where it is one that was read.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub digest: Option<Digest>,
}
