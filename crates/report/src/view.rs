//! What is shown of a run: plain data, ready to be written as JSON or laid out as text.
//!
//! The JSON forms are published and versioned by their `schema` field; a field is added, never changed in meaning. Times
//! are RFC 3339 UTC, durations seconds, sizes bytes. Text is as recorded: only the plain renderer makes it safe for a
//! terminal, since JSON escapes it by itself.

use domain::{Digest, Finding, Gap, StepRecord};
use serde::Serialize;

/// Where a run stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum State {
    /// Its supervisor is alive.
    Running,
    /// It ended and its record is complete.
    Ended,
    /// Its supervisor is gone without an end; what was recorded is kept.
    Interrupted,
}

/// A run in one line.
#[derive(Debug, Clone, Serialize)]
pub struct RunLine {
    /// Readable name.
    pub name: String,
    /// UUIDv7.
    pub id: String,
    /// State.
    pub state: State,
    /// When it began.
    pub started: String,
    /// Wall time in seconds, once it ended.
    pub wall_seconds: Option<f64>,
    /// Steps recorded, all ranks.
    pub steps: u64,
    /// How the command ended.
    pub outcome: Option<String>,
    /// Findings recorded.
    pub findings: u64,
    /// The command as typed, secrets blanked.
    pub command: Option<String>,
}

/// `taintline runs --json`.
#[derive(Debug, Clone, Serialize)]
pub struct RunsView {
    /// `taintline.runs/1`.
    pub schema: &'static str,
    /// Newest last.
    pub runs: Vec<RunLine>,
    /// What of the ledger could not be read, so that runs may be missing.
    pub gaps: Vec<Gap>,
}

/// The code of a run.
#[derive(Debug, Clone, Serialize)]
pub struct CodeView {
    /// Commit, when the code is in a git work tree.
    pub commit: Option<String>,
    /// Files that differ from the commit.
    pub dirty: Vec<String>,
}

/// The environment of a run.
#[derive(Debug, Clone, Serialize)]
pub struct EnvironmentView {
    /// Digest of its tree.
    pub tree: Digest,
    /// Where it is.
    pub prefix: String,
    /// Packages with a name and a version.
    pub packages: u64,
    /// Files.
    pub files: u64,
    /// Bytes.
    pub bytes: u64,
    /// Files that `RECORD` vouches for (weakly: who edits a file can edit it).
    pub vouched: u64,
    /// Files that were read again for this run; the others were unchanged by device, inode, size and both times.
    pub hashed: u64,
}

/// One rank, or one process without a rank.
#[derive(Debug, Clone, Serialize)]
pub struct RankView {
    /// `RANK`.
    pub rank: Option<u32>,
    /// World size.
    pub world_size: Option<u32>,
    /// Process id.
    pub pid: u32,
    /// Python's version.
    pub python: String,
    /// Torch's version.
    pub torch: Option<String>,
    /// How it ended.
    pub outcome: Option<String>,
    /// Steps recorded.
    pub count: u64,
    /// First and last step.
    pub first: Option<u64>,
    /// Last step.
    pub last: Option<u64>,
    /// Every step, in order.
    pub steps: Vec<StepRecord>,
}

/// Something that the run loaded or wrote.
#[derive(Debug, Clone, Serialize)]
pub struct FileView {
    /// Kind: `checkpoint`, `data`, `config`, `script`, `modules`, …
    pub kind: String,
    /// Where.
    pub path: String,
    /// Digest; absent when only size and times were recorded.
    pub digest: Option<Digest>,
    /// Size in bytes.
    pub size: Option<u64>,
    /// Rank.
    pub rank: Option<u32>,
    /// Last finished step then.
    pub step: Option<u64>,
}

/// Something done to the run.
#[derive(Debug, Clone, Serialize)]
pub struct ActView {
    /// When.
    pub at: String,
    /// What.
    pub what: String,
}

/// What watching cost.
#[derive(Debug, Clone, Serialize)]
pub struct CostView {
    /// Wall time of the run in seconds.
    pub wall_seconds: f64,
    /// CPU time of the supervisor in seconds: hashing, recording.
    pub watch_cpu_seconds: f64,
    /// Time in the sensor's hooks, all ranks, in seconds.
    pub sensor_seconds: f64,
}

/// `taintline show RUN --json`, and the summary at the end of a run.
#[derive(Debug, Clone, Serialize)]
pub struct RunView {
    /// `taintline.show/1`.
    pub schema: &'static str,
    /// Head line.
    #[serde(flatten)]
    pub line: RunLine,
    /// Working directory.
    pub cwd: Option<String>,
    /// Who started it, as `user@host`.
    pub who: String,
    /// Code.
    pub code: Option<CodeView>,
    /// Environments, one a prefix.
    pub environments: Vec<EnvironmentView>,
    /// Ranks.
    pub ranks: Vec<RankView>,
    /// Loads.
    pub loads: Vec<FileView>,
    /// Writes.
    pub writes: Vec<FileView>,
    /// Acts.
    pub acts: Vec<ActView>,
    /// Findings.
    pub findings: Vec<Finding>,
    /// What was not recorded.
    pub gaps: Vec<Gap>,
    /// Cost.
    pub cost: Option<CostView>,
    /// Log and number of the entry that ends the record.
    pub ledger: String,
}

/// One thing that differs between two runs.
#[derive(Debug, Clone, Serialize)]
pub struct Difference {
    /// `environment`, `code`, `command`, `variable`, `data`, `checkpoint`, `world`, `step`.
    pub dimension: &'static str,
    /// What.
    pub what: String,
    /// In the first run.
    pub left: Option<String>,
    /// In the second.
    pub right: Option<String>,
}

/// `taintline diff RUN RUN --json`.
#[derive(Debug, Clone, Serialize)]
pub struct DiffView {
    /// `taintline.diff/1`.
    pub schema: &'static str,
    /// First run.
    pub left: String,
    /// Second run.
    pub right: String,
    /// Only what differs.
    pub differences: Vec<Difference>,
    /// Dimensions that were compared and are equal.
    pub equal: Vec<&'static str>,
    /// Dimensions that could not be compared, and why.
    pub not_compared: Vec<Gap>,
}

/// `taintline ledger audit --json`.
#[derive(Debug, Clone, Serialize)]
pub struct AuditView {
    /// `taintline.audit/1`.
    pub schema: &'static str,
    /// Logs: name, entries, root.
    pub logs: Vec<LogView>,
    /// Blobs checked.
    pub blobs: u64,
    /// Bytes checked.
    pub bytes: u64,
    /// What is wrong, with the file.
    pub problems: Vec<ProblemView>,
}

/// One log.
#[derive(Debug, Clone, Serialize)]
pub struct LogView {
    /// Its name.
    pub name: String,
    /// Entries.
    pub entries: u64,
    /// Root of the tree, in hexadecimal.
    pub root: String,
}

/// One thing that is wrong.
#[derive(Debug, Clone, Serialize)]
pub struct ProblemView {
    /// File, relative to the store.
    pub file: String,
    /// What is wrong with it.
    pub what: String,
}
