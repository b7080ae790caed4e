//! The result of a scan on its way out: what is handed over of each file and of the whole, and who can write it down.
//!
//! A scan may see millions of files, so nothing is collected: a [`Renderer`] is told the beginning, then every file as it is
//! done, then the end, and gives back text each time. What a verdict means for an exit code is decided by the use-case and
//! only shown here.

mod explain;
mod github;
mod json;
mod plain;
mod sarif;
mod words;

use domain::PathText;
pub use domain::scan::Verdict;
use domain::scan::{Examination, Listing, Need, Weight};
use domain::verdict::Kept;
use serde::Serialize;

pub use github::Github;
pub use json::Json;
pub use plain::Plain;
pub use sarif::Sarif;

/// What a baseline says about one finding.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Acceptance {
    /// Index of the finding in the examination.
    pub finding: usize,
    /// Why somebody accepted it; hostile where the baseline is.
    pub reason: String,
    /// Last day on which it holds, `2027-02-20`.
    pub expires: String,
    /// That day is over: the finding counts again.
    pub expired: bool,
}

/// One path and what became of it.
#[derive(Debug, Clone)]
pub struct FileReport {
    /// As it was given or found; `-` is standard input.
    pub path: PathText,
    /// It was named on the command line and not found in a folder.
    pub named: bool,
    /// What became of it.
    pub verdict: Verdict,
    /// What was learnt.
    pub examination: Examination,
    /// Findings that a baseline knows.
    pub accepted: Vec<Acceptance>,
    /// Its programs as lines, where somebody asked for them.
    pub listings: Vec<Listing>,
    /// It was not examined again: the answer is that of this entry of the ledger.
    pub as_in: Option<Kept>,
}

impl FileReport {
    /// What the baseline says about the finding at `index`.
    pub fn acceptance(&self, index: usize) -> Option<&Acceptance> {
        self.accepted.iter().find(|known| known.finding == index)
    }

    /// Whether the finding at `index` counts: no baseline accepts it today.
    pub fn counts(&self, index: usize) -> bool {
        self.acceptance(index).is_none_or(|known| known.expired)
    }

    /// The heaviest weight among the findings that count.
    pub fn weight(&self) -> Option<Weight> {
        let findings = self.examination.findings.iter().enumerate();
        let counting = findings.filter(|(index, _)| self.counts(*index));
        counting.map(|(_, finding)| finding.weight).max()
    }
}

/// How a scan is asked to judge, told before the first file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Head {
    /// Version of this program.
    pub version: String,
    /// The lightest finding that makes exit code 1.
    pub fail_on: Weight,
    /// Every byte is read, those of plain numbers too.
    pub full: bool,
    /// Policy in force.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub policy: Option<PathText>,
    /// Baseline in force.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub baseline: Option<PathText>,
}

/// Counts over all files.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Totals {
    /// Paths accounted for: each is in exactly one of the next nine counts.
    pub files: u64,
    /// Dangerous files.
    pub dangerous: u64,
    /// Files with something unknown.
    pub unknown: u64,
    /// Files with custom classes only.
    pub custom: u64,
    /// Files of which a part was not examined, and in which nothing was found.
    pub incomplete: u64,
    /// Clean files.
    pub clean: u64,
    /// Files of which a baseline accepts what was found.
    pub accepted_files: u64,
    /// Files that no model loader interprets.
    pub not_models: u64,
    /// Symbolic links whose target is examined under its own name.
    pub links: u64,
    /// Named paths that could not be read.
    pub failed: u64,
    /// Findings that count, at or above the threshold.
    pub counting: u64,
    /// Findings in all.
    pub findings: u64,
    /// Those of them that are notes.
    pub notes: u64,
    /// Findings that the baseline accepts.
    pub accepted: u64,
    /// Findings that the baseline accepted until a day that is over.
    pub expired: u64,
    /// Gaps.
    pub gaps: u64,
    /// Parts examined.
    pub parts: u64,
    /// Bytes of all files.
    pub bytes: u64,
    /// Bytes that loaders take as plain numbers.
    pub raw_bytes: u64,
}

/// Something about the scan as a whole that the user should know; may quote hostile text.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Notice {
    /// What it is about: `policy`, `baseline`, `learn`, `confinement`, …
    pub about: &'static str,
    /// One sentence.
    pub text: String,
}

/// How the workers were confined.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Confinement {
    /// Examined in processes of their own.
    pub processes: bool,
    /// What holds: `no_new_privileges`, `seccomp`, …
    pub holds: Vec<String>,
    /// What this system does not offer, with its reason.
    pub missing: Vec<String>,
}

/// What a newer file's program needs or does that an older one's did not.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Since {
    /// The older file or folder.
    pub old: PathText,
    /// Names that are needed now and were not.
    pub needs_added: Vec<Need>,
    /// Names that were needed and no longer are.
    pub needs_removed: Vec<Need>,
    /// Findings that were not there: rule and expression.
    pub findings_added: Vec<String>,
    /// Formats that were not there.
    pub formats_added: Vec<String>,
    /// Formats that are gone.
    pub formats_removed: Vec<String>,
    /// What of it is beyond what is allowed.
    pub beyond: u64,
    /// The older one could not be examined completely: what is told as new may be old.
    pub old_incomplete: bool,
}

/// How a scan ended.
#[derive(Debug, Clone, Default)]
pub struct Tail {
    /// Counts.
    pub totals: Totals,
    /// Exit code.
    pub exit_code: u8,
    /// What the user should know besides.
    pub notices: Vec<Notice>,
    /// How the workers were confined.
    pub confinement: Confinement,
    /// What is new since an older file.
    pub since: Option<Since>,
    /// Wall time in seconds.
    pub seconds: f64,
}

/// One way to write a scan down.
pub trait Renderer {
    /// Text before the first file.
    fn begin(&mut self, head: &Head) -> String;
    /// Text for one file.
    fn file(&mut self, file: &FileReport) -> String;
    /// Text behind the last file.
    fn end(&mut self, tail: &Tail) -> String;
}

#[cfg(test)]
mod tests;
