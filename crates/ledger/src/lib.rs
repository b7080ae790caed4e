//! What happened, provably: Merkle log, tiles, tree heads, blob store, audit.
//!
//! A store is a directory. In it, each writer has a log of its own, signed by a key of its own, in the formats that other
//! people's tools read (C2SP signed-note, tlog-checkpoint, tlog-tiles; RFC 6962 hashing); and all share one folder of blobs,
//! named by digest. What an entry says is nobody's business here: entries are bytes.
//!
//! ```text
//! version                                  "taintline store 2" and the store's id
//! ledger/<writer>/checkpoint               the published tree head, signed
//! ledger/<writer>/vkey                     the public key
//! ledger/<writer>/lock                     the layout; held while a group is written
//! ledger/<writer>/wal                      what was appended since the tiles were published, each group with its signed head
//! ledger/<writer>/tile/<L>/<N>[.p/<W>]     hashes
//! ledger/<writer>/tile/entries/<N>[.p/<W>] entries
//! blobs/<2 hex digits>/<62 hex digits>     bytes, named by their SHA-256
//! ```
//!
//! **Life of an append**: those who wait become a group; lock; verify that the log still is what it was; write the entries
//! and the signed head that they lead to behind the write-ahead file; one sync; all are told. Beside that, now and then, and
//! when the writer is done: write the tiles; sync; publish the head by one rename; begin the write-ahead file anew by
//! another. A process that dies anywhere leaves the old state or the new one, never a mixture, and opening needs no recovery:
//! `docs/ledger.md` has the steps as sentences, the crash tests hold them.
//!
//! **What it does not do.** Whoever has the key can sign another history: a running [`Writer`] notices that, because it
//! keeps the last head in memory; a later audit does not, and neither notices a whole store put back to an earlier state.
//! Only a tree head kept elsewhere does.
#![forbid(unsafe_code)]

mod audit;
mod blobs;
mod commit;
mod continuity;
mod cosigned;
mod cosigner;
#[cfg(test)]
mod crash;
mod disk;
mod durable;
mod ground;
mod kept;
mod key;
mod lock;
mod log;
mod opening;
mod publish;
mod queue;
mod removal;
mod snapshot;
mod standing;
mod store;
mod tiles;
mod writer;

pub mod cosignature;
pub mod note;
pub mod policy;
pub mod proof;
pub mod tile;
pub mod tlog_proof;
pub mod tree;
pub mod tree_head;
pub mod wal;
pub mod witness;

pub use audit::{AuditProblem, AuditReport, AuditedLog, Problem, Referenced, audit};
pub use blobs::{BlobError, MAX_BLOB_BYTES};
pub use continuity::Found;
pub use durable::Fault;
pub use ground::{Ground, Unfit};
pub use kept::{KeptHead, KeptSyntax, Standing};
pub use key::KeyError;
pub use log::Log;
pub use opening::{Opening, PassedOver, Why};
pub use removal::{IN_HAND, Removed, StoredBlob};
pub use snapshot::Snapshot;
pub use store::{Store, StoreError};
pub use tile::MAX_ENTRY_BYTES;
pub use tiles::LogError;
pub use tree_head::TreeHead;
pub use writer::{Appended, LedgerError, Successor, Writer};
