//! The use-cases: run, scan, seal, verify, runs, show, diff, the ledger, demo; the index; where things are.
//!
//! Engines meet here and nowhere else. Front-ends hand in what was said and get back views and reports; no argument parser,
//! no terminal and no exit code is known on this floor.
#![forbid(unsafe_code)]

mod acts;
pub mod approve;
pub mod attest;
mod audit;
pub mod blame;
mod bounded;
mod changes;
pub mod checkpoint;
mod code;
pub mod compiled;
pub mod convert;
pub mod demo;
mod diff;
pub mod env;
pub mod error;
pub mod evidence;
mod examination;
mod index;
mod interrupted;
mod journal;
mod jumps;
pub mod net;
mod origin;
mod party;
mod people;
pub mod place;
pub mod present;
mod queries;
pub mod record;
mod redact;
pub mod replay;
pub mod rotation;
pub mod run;
pub mod scan;
pub mod seal;
mod secret;
mod sequence;
pub mod settings;
mod silence;
pub mod spec;
pub mod stamp;
pub mod store;
#[cfg(test)]
mod testing;
mod variables;
pub mod watch;
pub mod weights;
pub mod witness;
mod writing;

pub use audit::audit;
pub use diff::diff;
pub use error::AppError;
pub use index::{IndexError, IndexedRun};
pub use people::PeopleError;
pub use queries::{Reading, reindex};
pub use secret::SecretError;
pub use writing::WritingError;
