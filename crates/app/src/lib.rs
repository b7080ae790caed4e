//! The use-cases: run, scan, seal, verify, runs, show, diff, the ledger, demo; the index; where things are.
//!
//! Engines meet here and nowhere else. Front-ends hand in what was said and get back views and reports; no argument parser,
//! no terminal and no exit code is known on this floor.
#![forbid(unsafe_code)]

pub mod checkpoint;
mod code;
pub mod convert;
pub mod demo;
mod diff;
pub mod error;
pub mod evidence;
mod examination;
mod index;
mod interrupted;
mod journal;
mod people;
pub mod place;
pub mod present;
mod queries;
pub mod record;
mod redact;
pub mod run;
pub mod scan;
pub mod seal;
mod secret;
pub mod settings;
mod variables;
pub mod weights;

pub use diff::diff;
pub use error::AppError;
pub use index::{IndexError, IndexedRun};
pub use people::PeopleError;
pub use queries::{Reading, audit, reindex};
pub use secret::SecretError;
