//! What Taintline's own statements about a run say, and when one contradicts itself.
//!
//! Each is a predicate of an in-toto statement; `docs/statements.md` and the schemas beside it are written for people who
//! read them with other tools. The forms are read strictly: a field that is not known is refused, since what it would mean
//! cannot be told. A statement says what was recorded and nothing else: what is not recorded is listed as a gap.

use std::collections::BTreeMap;

use domain::{Digest, Finding, Gap};
use ledger::tree::{Edge, leaf};
use serde::{Deserialize, Serialize};
use trust::statement::Subject;

/// All that a run loaded.
pub(crate) const CLOSURE: &str = "https://taintline/closure/v1";
/// All steps of a run.
pub(crate) const TRANSCRIPT: &str = "https://taintline/transcript/v1";
/// The checkpoints that a run saved, and where they come from.
pub(crate) const CHECKPOINTS: &str = "https://taintline/checkpoint/v1";
/// What was found.
pub(crate) const VERDICT: &str = "https://taintline/verdict/v1";

/// Which run, and how far it was recorded.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct RunRef {
    /// UUIDv7.
    pub(crate) id: String,
    /// Readable name; unique in its store alone.
    pub(crate) name: String,
    /// RFC 3339, by the clock of the machine.
    pub(crate) started: String,
    /// `ended`, `running` or `interrupted`.
    pub(crate) state: String,
    /// How the command ended, in words.
    pub(crate) outcome: Option<String>,
    /// The log that holds the record.
    pub(crate) log: String,
    /// Entries of the log up to the last one of the run.
    pub(crate) size: u64,
    /// Root over these entries (RFC 6962), in hexadecimal.
    pub(crate) root: Digest,
}

/// Something that was loaded.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct LoadRef {
    /// `environment`, `modules`, `mapped`, `code`, `script`, `config`, `data`, `checkpoint`, `compiled`.
    pub(crate) kind: String,
    /// Where.
    pub(crate) path: String,
    /// Digest of its bytes, or of the tree of its files; nothing where only size and times were recorded.
    pub(crate) sha256: Option<Digest>,
    /// Size in bytes, of files.
    pub(crate) bytes: Option<u64>,
}

/// Predicate of [`CLOSURE`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Closure {
    pub(crate) run: RunRef,
    /// Sorted, each once.
    pub(crate) loads: Vec<LoadRef>,
    pub(crate) gaps: Vec<Gap>,
}

/// A segment of steps.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct SegmentRef {
    pub(crate) rank: Option<u32>,
    pub(crate) pid: u32,
    /// Number of its first step.
    pub(crate) first: u64,
    /// Number of its last step.
    pub(crate) last: u64,
    /// Records in it.
    pub(crate) count: u64,
    /// Digest of the segment: one JSON record a line.
    pub(crate) sha256: Digest,
}

/// Predicate of [`TRANSCRIPT`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Transcript {
    pub(crate) run: RunRef,
    /// In the order of recording.
    pub(crate) segments: Vec<SegmentRef>,
    /// Records in all of them.
    pub(crate) steps: u64,
    /// The lowest step.
    pub(crate) first: Option<u64>,
    /// The highest.
    pub(crate) last: Option<u64>,
    pub(crate) gaps: Vec<Gap>,
}

/// A checkpoint that was loaded before another was saved.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Origin {
    pub(crate) path: String,
    pub(crate) sha256: Digest,
    /// Last finished step of the process when it loaded.
    pub(crate) step: Option<u64>,
}

/// A checkpoint that was saved.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Link {
    pub(crate) path: String,
    pub(crate) sha256: Digest,
    /// Size in bytes.
    pub(crate) bytes: Option<u64>,
    pub(crate) rank: Option<u32>,
    /// Last finished step of the process when it saved.
    pub(crate) step: Option<u64>,
    /// Checkpoints that the same rank had loaded by then; none: it began without one.
    pub(crate) resumed_from: Vec<Origin>,
}

/// Predicate of [`CHECKPOINTS`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Checkpoints {
    pub(crate) run: RunRef,
    pub(crate) links: Vec<Link>,
    pub(crate) gaps: Vec<Gap>,
}

/// The three verdicts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Word {
    /// Something was found.
    Affected,
    /// The run ended, nothing was found and nothing is missing.
    Clean,
    /// Nothing was found, but not everything was recorded.
    Unknown,
}

/// Predicate of [`VERDICT`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Verdict {
    pub(crate) run: RunRef,
    /// Version of Taintline that looked while the run was going.
    pub(crate) taintline: Option<String>,
    #[serde(rename = "verdict")]
    pub(crate) word: Word,
    pub(crate) findings: Vec<Finding>,
    pub(crate) gaps: Vec<Gap>,
}

impl Verdict {
    /// What follows from findings, gaps and the state of the run.
    pub(crate) fn word(run: &RunRef, findings: &[Finding], gaps: &[Gap]) -> Word {
        match (findings.is_empty(), gaps.is_empty() && run.state == "ended") {
            (false, _) => Word::Affected,
            (true, true) => Word::Clean,
            (true, false) => Word::Unknown,
        }
    }
}

/// What names a run in statements: the digest of all that it loaded, and the root of the log behind its last entry.
pub(crate) fn run_subject(run: &RunRef, loads: &[LoadRef]) -> Subject {
    subject(
        &format!("run:{}", run.id),
        &closure_digest(loads),
        Some(run.root),
    )
}

/// The subject of a transcript.
pub(crate) fn transcript_subject(run: &RunRef, segments: &[SegmentRef]) -> Subject {
    let mut edge = Edge::default();
    for segment in segments {
        edge.push(leaf(segment.sha256.as_bytes()));
    }
    subject(&format!("steps:{}", run.id), &edge.root(), None)
}

/// The subjects of a statement about checkpoints: each by its path.
pub(crate) fn link_subjects(links: &[Link]) -> Vec<Subject> {
    let of = |link: &Link| subject(&link.path, &link.sha256, None);
    links.iter().map(of).collect()
}

fn subject(name: &str, sha256: &Digest, root: Option<Digest>) -> Subject {
    let mut digest = BTreeMap::from([("sha256".to_owned(), sha256.to_string())]);
    if let Some(root) = root {
        digest.insert(ROOT_KEY.to_owned(), root.to_string());
    }
    Subject {
        name: name.to_owned(),
        digest,
    }
}

/// The key of the log's root among a subject's digests.
pub(crate) const ROOT_KEY: &str = "taintline-log-root-v1";

/// SHA-256 over the list as compact JSON with sorted keys.
pub(crate) fn closure_digest(loads: &[LoadRef]) -> Digest {
    let text = serde_json::to_value(loads).and_then(|value| serde_json::to_vec(&value));
    Digest::of(&text.unwrap_or_default())
}

/// A statement that says of itself what is not so.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Contradiction {
    /// The subjects do not follow from the predicate.
    #[error("what it is about does not follow from what it lists")]
    Subject,
    /// Lists or sums do not agree.
    #[error("its lists and its sums do not agree")]
    Sums,
    /// A verdict that does not follow from findings and gaps.
    #[error("its verdict does not follow from its findings and gaps")]
    Verdict,
}

fn agree(holds: bool, else_: Contradiction) -> Result<(), Contradiction> {
    if holds { Ok(()) } else { Err(else_) }
}

impl Closure {
    pub(crate) fn check(&self, subjects: &[Subject]) -> Result<(), Contradiction> {
        agree(
            self.loads.is_sorted_by(|left, right| left < right),
            Contradiction::Sums,
        )?;
        let wanted = run_subject(&self.run, &self.loads);
        agree(subjects == [wanted], Contradiction::Subject)
    }
}

impl Transcript {
    pub(crate) fn check(&self, subjects: &[Subject]) -> Result<(), Contradiction> {
        let mut sum = self.segments.iter().map(|segment| segment.count);
        let sum = sum.try_fold(0_u64, u64::checked_add);
        let first = self.segments.iter().map(|segment| segment.first).min();
        let last = self.segments.iter().map(|segment| segment.last).max();
        let sums = (sum, first, last) == (Some(self.steps), self.first, self.last);
        agree(sums, Contradiction::Sums)?;
        let wanted = transcript_subject(&self.run, &self.segments);
        agree(subjects == [wanted], Contradiction::Subject)
    }
}

impl Checkpoints {
    pub(crate) fn check(&self, subjects: &[Subject]) -> Result<(), Contradiction> {
        agree(
            subjects == link_subjects(&self.links),
            Contradiction::Subject,
        )
    }
}

impl Verdict {
    pub(crate) fn check(&self, subjects: &[Subject]) -> Result<(), Contradiction> {
        let word = Self::word(&self.run, &self.findings, &self.gaps);
        agree(word == self.word, Contradiction::Verdict)?;
        let [subject] = subjects else {
            return Err(Contradiction::Subject);
        };
        let root = self.run.root.to_string();
        let same_root = subject.digest.get(ROOT_KEY) == Some(&root);
        let same_run = subject.name == format!("run:{}", self.run.id);
        agree(same_root && same_run, Contradiction::Subject)
    }
}
