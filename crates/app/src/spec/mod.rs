//! `taintline spec`: what a run is declared to be, learnt from a good run, read, compared, signed and amended.
//!
//! A spec is a text that a person reads; beside it lies the table of its steps, which the spec names by digest. It is signed
//! over its bytes with the user's SSH key, so `ssh-keygen -Y verify` can check it without us. An amendment is appended and
//! names the digest of all text before it: what was signed first stays readable in what is signed last.

mod amend;
mod compare;
mod file;
mod learn;
mod shown;
mod sign;
mod write;

use std::path::PathBuf;

pub use amend::{AmendRequest, amend};
pub use compare::compare;
pub use file::NAMESPACE;
pub(crate) use file::{Loaded, found_for, load, named};
pub use learn::{LearnRequest, learn};
pub(crate) use learn::{changes, in_project};
pub use shown::show;
pub use sign::{SignRequest, sign, verify};

use crate::error::AppError;

/// A spec that cannot be used, or was not made.
#[derive(Debug, thiserror::Error)]
pub enum SpecError {
    /// A file could not be read or written.
    #[error("{path}: {source}")]
    Disk {
        /// The file.
        path: String,
        /// Why.
        source: std::io::Error,
    },
    /// Not a spec.
    #[error("{path}: this spec cannot be understood: {why}")]
    Syntax {
        /// The file.
        path: String,
        /// What is wrong, with its place.
        why: String,
    },
    /// The table is not the one that the spec names.
    #[error("{path}: the table of the steps is not the one that the spec names by digest")]
    Table {
        /// The table.
        path: String,
    },
    /// The signature does not hold.
    #[error("{path}: the spec was changed since it was signed, without an amendment: {why}")]
    Changed {
        /// The spec.
        path: String,
        /// What does not hold.
        why: String,
    },
    /// There is no signature.
    #[error("{path}: nobody signed it")]
    Unsigned {
        /// The spec.
        path: String,
    },
    /// The run is not good.
    #[error("{run} is no run to learn from: {why}")]
    NotGood {
        /// The run.
        run: String,
        /// Why.
        why: String,
    },
    /// What is to be set.
    #[error("{given}: {why}")]
    Setting {
        /// What was given.
        given: String,
        /// Why it cannot be set.
        why: String,
    },
    /// Something stands there already.
    #[error("{path} is there already")]
    There {
        /// The file.
        path: String,
    },
    /// Several specs are for the same command.
    #[error("{folder}: {count} specs are for this command, name one with --spec")]
    Several {
        /// The folder.
        folder: String,
        /// How many.
        count: usize,
    },
}

impl SpecError {
    /// What the user can do about it.
    pub fn hint(&self) -> Option<&'static str> {
        match self {
            Self::Changed { .. } => Some(
                "take the signed file, or make the change with `taintline spec amend`; whoever means all of it signs it anew: taintline spec sign --anew FILE",
            ),
            Self::Unsigned { .. } => Some("sign it: taintline spec sign FILE"),
            Self::NotGood { .. } => Some("`--anyway` learns from it all the same"),
            Self::There { .. } => {
                Some("`--force` replaces it, and another name keeps both: -o FILE")
            }
            Self::Setting { .. } => Some(
                "`taintline spec show FILE --json` lists what is declared; a setting is optimizer.0.group.0.lr=1e-4",
            ),
            _ => None,
        }
    }
}

impl From<SpecError> for AppError {
    fn from(error: SpecError) -> Self {
        Self::Spec(Box::new(error))
    }
}

/// A file that was written or is meant, as people are told.
fn disk(path: &std::path::Path) -> impl FnOnce(std::io::Error) -> SpecError {
    let path = path.display().to_string();
    move |source| SpecError::Disk { path, source }
}

/// The signature lies beside the spec.
fn signature_of(path: &std::path::Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".sig");
    PathBuf::from(name)
}
