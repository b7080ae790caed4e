//! What is shown of the room that a store takes, and of what was taken out of it. Sizes are bytes, times RFC 3339 UTC.

use domain::Gap;
use serde::Serialize;

/// `taintline store du --json`.
#[derive(Debug, Clone, Serialize)]
pub struct DuView {
    /// `taintline.du/1`.
    pub schema: &'static str,
    /// All of it.
    pub bytes: u64,
    /// Blobs.
    pub blobs: u64,
    /// Their bytes.
    pub blob_bytes: u64,
    /// By log.
    pub logs: Vec<LogSpaceView>,
    /// Blobs by what they are; `strays` are those that no entry refers to.
    pub kinds: Vec<KindView>,
    /// By run, oldest first.
    pub runs: Vec<RunSpaceView>,
    /// What can be made again: index and cache.
    pub other: Vec<OtherSpaceView>,
    /// What could not be read, so that blobs may count as strays that are none.
    pub gaps: Vec<Gap>,
}

/// A log.
#[derive(Debug, Clone, Serialize)]
pub struct LogSpaceView {
    /// Its name.
    pub name: String,
    /// Its entries.
    pub entries: u64,
    /// The bytes of its files.
    pub bytes: u64,
}

/// Blobs of one kind.
#[derive(Debug, Clone, Serialize)]
pub struct KindView {
    /// The kind.
    pub kind: &'static str,
    /// How many.
    pub blobs: u64,
    /// Their bytes.
    pub bytes: u64,
}

/// What a run needs.
#[derive(Debug, Clone, Serialize)]
pub struct RunSpaceView {
    /// Readable name.
    pub name: String,
    /// UUIDv7.
    pub id: String,
    /// When it began.
    pub started: String,
    /// Blobs that only this run needs.
    pub blobs: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Blobs that others need too.
    pub shared_blobs: u64,
    /// Their bytes.
    pub shared_bytes: u64,
}

/// A file or folder that can be made again.
#[derive(Debug, Clone, Serialize)]
pub struct OtherSpaceView {
    /// Its name in the store.
    pub name: &'static str,
    /// Its bytes.
    pub bytes: u64,
}

/// `taintline store prune --json`.
#[derive(Debug, Clone, Serialize)]
pub struct PruneView {
    /// `taintline.prune/1`.
    pub schema: &'static str,
    /// Nothing was changed.
    pub dry_run: bool,
    /// By which rules.
    pub reason: String,
    /// Blobs that went, or would go.
    pub blobs: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Runs that needed them.
    pub runs: u64,
    /// Bytes of blobs that are left.
    pub left_bytes: u64,
    /// The budget, where there is one.
    pub budget_bytes: Option<u64>,
    /// By kind.
    pub kinds: Vec<KindView>,
    /// Runs that the rules name and that stay.
    pub spared: Vec<SparedView>,
    /// Blobs that somebody stored again in the meantime: they stayed.
    pub stored_again: u64,
    /// What could not be done.
    pub gaps: Vec<Gap>,
}

/// Runs that stay although the rules name them.
#[derive(Debug, Clone, Serialize)]
pub struct SparedView {
    /// How many.
    pub runs: u64,
    /// Why.
    pub why: String,
}

/// That blobs were taken out, as the ledger says.
#[derive(Debug, Clone, Serialize)]
pub struct PruningView {
    /// When.
    pub at: String,
    /// By whom.
    pub by: String,
    /// How many.
    pub blobs: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Runs that needed them.
    pub runs: u64,
    /// By which rules.
    pub reason: String,
    /// The blob that lists them.
    pub list: String,
}

/// `taintline ledger rotate-key --json`.
#[derive(Debug, Clone, Serialize)]
pub struct RotationView {
    /// `taintline.rotation/1`.
    pub schema: &'static str,
    /// The log that ended.
    pub ended: String,
    /// All its entries.
    pub entries: u64,
    /// Its root, in hexadecimal.
    pub root: String,
    /// The log that goes on.
    pub begun: String,
    /// Its public key, in signed-note form.
    pub key: String,
}

/// `taintline ledger rotate-key --seal --json`.
#[derive(Debug, Clone, Serialize)]
pub struct SealKeyView {
    /// `taintline.seal-key/1`.
    pub schema: &'static str,
    /// The key that ended, by its hint.
    pub ended: String,
    /// The one that goes on.
    pub begun: String,
    /// Its public half, PEM: what others believe from now on.
    pub public: String,
    /// How many seals of the key that ended stay valid.
    pub seals: u64,
    /// The blob that lists them.
    pub list: String,
    /// Where that is recorded.
    pub ledger: String,
}
