//! The nouns of Taintline. Pure: no file, clock, environment or thread is touched here.
//!
//! Everything in the product is a **Blob**, a **Write**, a **Load**, a **Step** or an **Act**, or is computed from them.
//! A run is a root over these. Each noun is one module; [`entry`] is how they are written into the ledger.
#![forbid(unsafe_code)]

pub mod data;
pub mod declared;
mod digest;
pub mod entry;
mod finding;
mod fingerprint;
pub mod kept;
pub mod memory;
mod number;
mod passes;
mod path_text;
mod register;
pub mod replay;
pub mod replica;
mod run;
mod sample;
pub mod scan;
pub mod sensor;
pub mod signals;
mod step;
mod tree;
pub mod upkeep;
pub mod verdict;
pub mod vouch;
mod wait;
pub mod watched;

pub use digest::{Digest, DigestSyntax, Hasher};
pub use entry::{Act, Body, Entry, Gap, Kind, Outcome, Tier};
pub use finding::{Finding, Grade, Rule};
pub use fingerprint::{Fingerprint, FingerprintSyntax};
pub use number::Number;
pub use passes::{GradientCall, GradientPath, LossEnd, Passes};
pub use path_text::PathText;
pub use replica::Replica;
pub use run::{Person, Process, RunId, RunName};
pub use sample::{Described, Sample, Sampled};
pub use step::{Begun, Phases, Reported, RngStates, Scheduled, StepRecord, StepSource};
pub use tree::{Node, Tree, TreeEncoder, TreeSyntax};
pub use wait::{Phase, Wait};
