//! The witness (C2SP tlog-witness): cosigns a log's tree head when, and only when, it continues the one that it cosigned
//! before.
//!
//! What a witness says is worth what its memory is worth, so three things are kept apart. [`request`] reads what was sent,
//! with bounds. [`judge`] decides, and is pure. [`Witness`] remembers: one note a log, in a folder that one process at a
//! time can have open, durable before a cosignature leaves. How requests arrive is not known here.
//!
//! Two heads of one log that contradict each other are proof that its owner signs two histories. The witness refuses the
//! second and keeps both.

mod folder;
mod judge;
mod request;

pub use folder::{Witness, WitnessError, keys};
pub use judge::{Refusal, Verdict, judge};
pub use request::{AddCheckpoint, MAX_PROOF_LINES, MAX_REQUEST_BYTES, RequestSyntax};
