//! What is shown of a run: plain data, ready to be written as JSON or laid out as text.
//!
//! The JSON forms are published and versioned by their `schema` field; a field is added, never changed in meaning. Times
//! are RFC 3339 UTC, durations seconds, sizes bytes. Text is as recorded: only the plain renderer makes it safe for a
//! terminal, since JSON escapes it by itself.

use domain::entry::CommitSignature;
use domain::kept::KeptWay;
use domain::{Digest, Finding, Gap, StepRecord};
use serde::Serialize;

use crate::replay::{AuditLine, ReplayLine};
pub use crate::space::{
    DuView, KindView, LogSpaceView, OtherSpaceView, PruneView, PruningView, RotationView,
    RunSpaceView, SealKeyView, SparedView,
};
use crate::stamp::StampView;
use crate::statement::ApprovalView;
use crate::witness::WitnessesView;

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
    /// When a run without an end was heard of last.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_sign: Option<String>,
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
    /// How the commit is signed; nothing where that was not looked at.
    pub signature: Option<CommitSignature>,
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

/// What loading a file does beside giving data. In JSON it is text: `no code`, `not completely examined`, or what it does.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Inside {
    /// Nothing, and all of it was examined.
    NoCode,
    /// Nothing was found, but a part was not examined.
    Incomplete,
    /// This: the heaviest of what was found, or the classes of its objects.
    Does(String),
}

impl Inside {
    /// In words.
    pub fn as_str(&self) -> &str {
        match self {
            Self::NoCode => "no code",
            Self::Incomplete => "not completely examined",
            Self::Does(what) => what,
        }
    }
}

impl Serialize for Inside {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
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
    /// What loading it does beside giving data: `no code`, or the heaviest of what was found; absent where nothing in it
    /// would be interpreted, or nobody looked.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub inside: Option<Inside>,
}

/// Something done to the run.
#[derive(Debug, Clone, Serialize)]
pub struct ActView {
    /// When.
    pub at: String,
    /// What.
    pub what: String,
}

/// A change to a file that the run loads or writes, as the host's daemon saw it.
#[derive(Debug, Clone, Serialize)]
pub struct ChangeView {
    /// When.
    pub at: String,
    /// The file.
    pub path: String,
    /// Where it was before, when it was renamed.
    pub from: Option<String>,
    /// What was done, in words.
    pub what: String,
    /// Digest before it, where it is known.
    pub before: Option<domain::Digest>,
    /// Digest behind it, where it is known.
    pub after: Option<domain::Digest>,
    /// How it is known who did it: `observed`, `looked_up`, `changed`, `several`, `unknown`.
    pub known: &'static str,
    /// Who, in words.
    pub who: String,
    /// It was before the run began.
    pub earlier: bool,
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

/// What the kernel said of the wall clock.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ClockView {
    /// When, by that clock.
    pub at: String,
    /// Whether something kept it in step with other clocks.
    pub synchronised: bool,
    /// By how much it was still to be moved, in microseconds.
    pub offset_us: i64,
    /// How far it was estimated to be off, in microseconds.
    pub error_us: i64,
    /// How far it could be off at most, in microseconds.
    pub max_error_us: i64,
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
    /// Checkpoints that were set aside.
    pub kept: Vec<KeptView>,
    /// Acts.
    pub acts: Vec<ActView>,
    /// Changes to files that it loads or writes, as the host's daemon saw them.
    pub changes: Vec<ChangeView>,
    /// Findings.
    pub findings: Vec<Finding>,
    /// What was not recorded.
    pub gaps: Vec<Gap>,
    /// Cost.
    pub cost: Option<CostView>,
    /// Log and number of the entry that ends the record.
    pub ledger: String,
    /// How far that log is witnessed; absent where the settings name no witnesses.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub witnesses: Option<WitnessesView>,
    /// What the kernel said of the clock, at the start and at the end.
    pub clock: Vec<ClockView>,
    /// Who approved of it.
    pub approvals: Vec<ApprovalView>,
    /// Who computed steps of it again, and what followed.
    pub replays: Vec<ReplayLine>,
    /// What of it was drawn at random and computed again, and what that says of the whole.
    pub audits: Vec<AuditLine>,
    /// Who vouches that all of it existed no later than when.
    pub no_later_than: Option<StampView>,
    /// Who vouches that it did not exist before.
    pub not_before: Option<StampView>,
}

/// A checkpoint that was set aside: the last before what was found.
#[derive(Debug, Clone, Serialize)]
pub struct KeptView {
    /// The file, or the folder of its files.
    pub path: String,
    /// Optimizer step after which it was saved.
    pub step: u64,
    /// First step that is in doubt.
    pub before: u64,
    /// Where it is.
    pub place: String,
    /// Files.
    pub files: u64,
    /// Their bytes.
    pub bytes: u64,
    /// `reflink`, `copy` or `hard_link`.
    pub way: KeptWay,
    /// Whether it is there.
    pub present: bool,
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

/// `taintline diff A.pt B.pt --json`.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct WeightsView {
    /// `taintline.weights/1`.
    pub schema: &'static str,
    /// The earlier checkpoint.
    pub left: String,
    /// The later one.
    pub right: String,
    /// Sizes of both files, in bytes.
    pub bytes: (u64, u64),
    /// The training step that each states about itself.
    pub steps: (Option<u64>, Option<u64>),
    /// Tensors that only the later one has.
    pub added: Vec<String>,
    /// Tensors that only the earlier one has.
    pub removed: Vec<String>,
    /// Tensors that both have and that differ; the largest relative change first.
    pub changed: Vec<TensorChangeView>,
    /// How many tensors are equal, byte for byte.
    pub unchanged: u64,
    /// Plain values that differ.
    pub scalars: Vec<ScalarChangeView>,
    /// What could not be compared, and why.
    pub not_compared: Vec<Gap>,
}

/// How a tensor differs. Measurements are of all elements; a pair with an element that is not finite is left out.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct TensorChangeView {
    /// Its name.
    pub name: String,
    /// Its shape afterwards.
    pub shape: Vec<u64>,
    /// Its element type afterwards.
    pub dtype: String,
    /// Its shape before, if that was another.
    pub shape_before: Option<Vec<u64>>,
    /// Its element type before, if that was another.
    pub dtype_before: Option<String>,
    /// Whether only the layout in memory differs as far as can be told; values were not compared then.
    pub laid_out_differently: bool,
    /// Elements of which the bytes differ.
    pub elements_changed: Option<u64>,
    /// Norm of (after − before) divided by the norm before; `null` also stands for infinite.
    pub relative: Option<f64>,
    /// Norms before and after.
    pub norms: Option<(f64, f64)>,
    /// Largest absolute difference of an element.
    pub largest: Option<f64>,
    /// Mean of (after − before).
    pub mean: Option<f64>,
    /// Cosine of the angle between before and after.
    pub cosine: Option<f64>,
    /// The factor, if after is a multiple of before.
    pub factor: Option<f64>,
    /// Elements that are infinite or not a number: before, after.
    pub non_finite: (u64, u64),
}

impl TensorChangeView {
    /// Of this tensor, with nothing measured yet.
    pub fn named(name: &str, shape: &[u64], dtype: &str) -> Self {
        Self {
            name: name.to_owned(),
            shape: shape.to_vec(),
            dtype: dtype.to_owned(),
            shape_before: None,
            dtype_before: None,
            laid_out_differently: false,
            elements_changed: None,
            relative: None,
            norms: None,
            largest: None,
            mean: None,
            cosine: None,
            factor: None,
            non_finite: (0, 0),
        }
    }

    /// Number of elements.
    pub fn elements(&self) -> u64 {
        let product = |all: u64, size: &u64| all.saturating_mul(*size);
        self.shape.iter().fold(1, product)
    }
}

/// A plain value that differs.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct ScalarChangeView {
    /// Its name.
    pub name: String,
    /// Before, if it was there.
    pub before: Option<String>,
    /// Afterwards, if it is there.
    pub after: Option<String>,
}

/// `taintline convert --json`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ConvertView {
    /// `taintline.convert/1`.
    pub schema: &'static str,
    /// The checkpoint.
    pub source: String,
    /// Where the tensors are now.
    pub tensors_file: String,
    /// Where everything else is now.
    pub structure_file: String,
    /// How many tensors.
    pub tensors: u64,
    /// Bytes of their elements.
    pub bytes: u64,
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
    /// How far each log is witnessed; empty where the settings name no witnesses.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub witnesses: Vec<WitnessesView>,
    /// Time stamps, in the order of their logs.
    pub stamps: Vec<StampView>,
    /// What is missing although no file is wrong: entries of a run that no log has.
    pub gaps: Vec<Gap>,
    /// Tree heads that were kept elsewhere, and how the store stands to each.
    pub heads: Vec<KeptHeadView>,
    /// What was taken out of the store, as the ledger says.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub pruned: Vec<PruningView>,
}

impl AuditView {
    /// How many things are wrong, heads that the store does not agree with among them.
    pub fn wrong(&self) -> usize {
        let disagreeing = self.heads.iter().filter(|head| !head.is_continued);
        self.problems.len() + disagreeing.count()
    }
}

/// A tree head that was kept elsewhere.
#[derive(Debug, Clone, Serialize)]
pub struct KeptHeadView {
    /// The file that it came from.
    pub file: String,
    /// Of which log it says it is.
    pub origin: String,
    /// Entries that the log had.
    pub entries: u64,
    /// Root that it had, in hexadecimal.
    pub root: String,
    /// Whether the log begins with exactly those entries.
    pub is_continued: bool,
    /// The same in words: rolled back, fork, wrong key, gone, other log.
    pub what: String,
}

/// `taintline ledger head --json`.
#[derive(Debug, Clone, Serialize)]
pub struct HeadView {
    /// `taintline.head/1`.
    pub schema: &'static str,
    /// The log.
    pub log: String,
    /// Its entries.
    pub entries: u64,
    /// Its root, in hexadecimal.
    pub root: String,
    /// Its public key, in signed-note form.
    pub key: String,
    /// The signed tree head: a C2SP checkpoint in a signed note.
    pub note: String,
    /// Where it was written.
    pub file: Option<String>,
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

/// `taintline ledger log --json`.
#[derive(Debug, Clone, Serialize)]
pub struct EntriesView {
    /// `taintline.log/1`.
    pub schema: &'static str,
    /// The entries, oldest first within a log.
    pub entries: Vec<EntryLine>,
}

/// An entry in one line.
#[derive(Debug, Clone, Serialize)]
pub struct EntryLine {
    /// Its log.
    pub log: String,
    /// Its number in the log.
    pub number: u64,
    /// When it was recorded.
    pub captured: Option<String>,
    /// UUIDv7 of its run.
    pub run: Option<String>,
    /// Its number in the run.
    pub seq: Option<u64>,
    /// What kind of fact it is.
    pub what: String,
    /// All that stands in it, where that was asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub entry: Option<serde_json::Value>,
}

/// `taintline ledger show --json`.
#[derive(Debug, Clone, Serialize)]
pub struct EntryView {
    /// `taintline.entry/1`.
    pub schema: &'static str,
    /// Its log.
    pub log: String,
    /// Its number in the log.
    pub number: u64,
    /// SHA-256 of 0x00 and its bytes, in hexadecimal: its leaf in the tree.
    pub leaf: String,
    /// The entry; a string when it is no JSON.
    pub entry: serde_json::Value,
}

/// `taintline ledger prove --json`.
#[derive(Debug, Clone, Serialize)]
pub struct ProofView {
    /// `taintline.proof/1`.
    pub schema: &'static str,
    /// The file that was written.
    pub file: String,
    /// Its size.
    pub bytes: u64,
    /// The log.
    pub log: String,
    /// The number of the entry.
    pub number: u64,
    /// Entries of the tree that it is proved to be in.
    pub size: u64,
    /// The root of that tree, in hexadecimal.
    pub root: String,
    /// The log's public key, in signed-note form.
    pub key: String,
    /// Whose cosignatures are on the tree head, by the names of their keys; none of them was verified here.
    pub cosigners: Vec<String>,
}

/// `taintline ledger verify-proof --json`.
#[derive(Debug, Clone, Serialize)]
pub struct ProvedView {
    /// `taintline.proved/1`.
    pub schema: &'static str,
    /// The proof file.
    pub file: String,
    /// The name of the key: the log's origin.
    pub log: String,
    /// The number of the entry.
    pub number: u64,
    /// Entries of the signed tree, when it is proved.
    pub size: Option<u64>,
    /// Its root, in hexadecimal.
    pub root: Option<String>,
    /// The entry as text.
    pub entry: Option<String>,
    /// Why it proves nothing.
    pub problem: Option<String>,
    /// Who witnessed the tree head; absent where no policy was named.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub witnesses: Option<WitnessesView>,
}

/// A spec that was learnt.
#[derive(Debug, Clone, Serialize)]
pub struct SpecLearntView {
    /// Name and version of this form.
    pub schema: &'static str,
    /// The run that it was learnt from.
    pub run: String,
    /// The file.
    pub spec: String,
    /// Its SHA-256.
    pub sha256: Digest,
    /// The table of the steps.
    pub table: String,
    /// How many steps are declared.
    pub steps: u64,
    /// What the spec leaves open, and why.
    pub not_declared: Vec<String>,
}

/// Whose word a spec is.
#[derive(Debug, Clone, Serialize)]
pub struct SpecSignedView {
    /// Name and version of this form.
    pub schema: &'static str,
    /// The file.
    pub spec: String,
    /// Its SHA-256.
    pub sha256: Digest,
    /// What the user's lists say of the key: `allowed`, `not_asked`, `unknown`, `other_purpose`, `not_yet`, `expired`,
    /// `open`, `revoked`.
    pub standing: &'static str,
    /// The same in words.
    pub signed: String,
    /// How many amendments it has.
    pub amendments: u64,
    /// Log and number of the entry, where one was made.
    pub recorded: Option<(String, u64)>,
}

/// A spec in words.
#[derive(Debug, Clone, Serialize)]
pub struct SpecView {
    /// Name and version of this form.
    pub schema: &'static str,
    /// The file.
    pub file: String,
    /// What it calls itself.
    pub name: String,
    /// Its SHA-256.
    pub sha256: Digest,
    /// `unsigned`, or what the user's lists say of the key.
    pub standing: &'static str,
    /// The same in words.
    pub signed: String,
    /// All that it declares, as in the file.
    pub declared: serde_json::Value,
    /// Label and text, for people.
    #[serde(skip)]
    pub lines: Vec<(String, String)>,
}
