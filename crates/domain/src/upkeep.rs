//! Facts about the record itself: that its writer lives, what was taken out of the store, which key came after which.
//!
//! They are acts like others and stand in the same log, because what keeps a record complete must be as hard to forge as the
//! record. What follows from them (a silence, a pruned blob, a successor without consent) is judged where they are read.

use serde::{Deserialize, Serialize};

use crate::{Digest, Person};

/// A sign of life of a run's supervisor, written when nothing else was for a while.
///
/// Three clocks tell three kinds of silence apart: the boot clock counts while the machine sleeps, the waking clock does
/// not, and the supervisor's own pulse counts only while it may run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Heartbeat {
    /// Which one of the run, from 1.
    pub count: u64,
    /// Time since the machine started, counting its sleep, in microseconds.
    pub boot_us: i64,
    /// The same without its sleep.
    pub awake_us: i64,
    /// Time since the entry before this one by the boot clock, in microseconds.
    pub quiet_us: u64,
    /// How much of it the machine slept.
    pub asleep_us: u64,
    /// How much of it the machine was awake and no thread of the supervisor ran: stopped by a signal, or frozen.
    pub stopped_us: u64,
}

/// Blobs that were taken out of the store. Said before the first of them is removed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pruned {
    /// Blob with the list: a [`PrunedBlob`] as JSON a line.
    pub list: Digest,
    /// How many blobs.
    pub blobs: u64,
    /// Their bytes.
    pub bytes: u64,
    /// How many runs needed them.
    pub runs: u64,
    /// By which rule they were chosen.
    pub reason: String,
    /// Who.
    pub person: Person,
}

/// A line of the list of a [`Pruned`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PrunedBlob {
    /// Which.
    pub digest: Digest,
    /// Its bytes.
    pub bytes: u64,
    /// What it was, as `taintline store du` calls it.
    pub kind: String,
}

/// The last entry of a log whose key is laid down: who goes on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LogEnded {
    /// The log that ends.
    pub log: String,
    /// Its entries before this one.
    pub size: u64,
    /// The log that goes on.
    pub successor: String,
    /// Its public key, in signed-note form.
    pub key: String,
    /// Why, in the words of whoever did it.
    pub reason: String,
    /// Who.
    pub person: Person,
}

/// The first entry of a log that goes on where another ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LogBegun {
    /// The log that begins.
    pub log: String,
    /// The log that ended.
    pub predecessor: String,
    /// All its entries, the last one included.
    pub size: u64,
    /// Its root then.
    pub root: Digest,
    /// Its public key, in signed-note form.
    pub key: String,
    /// Who.
    pub person: Person,
}

/// The key that signs seals and statements was exchanged for a new one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeyRotated {
    /// The public key that signs no more, PEM.
    pub ended: String,
    /// The one that goes on, PEM.
    pub begun: String,
    /// Blob with the list of what the key that ended sealed: a [`SealedBefore`] as JSON a line.
    pub list: Digest,
    /// How many.
    pub seals: u64,
    /// The signature of the key that ended over all of that, base64.
    pub consent: String,
    /// Why, in the words of whoever did it.
    pub reason: String,
    /// Who.
    pub person: Person,
}

/// A line of the list of a [`KeyRotated`].
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct SealedBefore {
    /// Root of the model signature.
    pub root: Digest,
    /// The value over all entries of the seal.
    pub tree: String,
}
