//! What was said of a file before, on its way out: data for JSON, and the same for people.

use std::fmt::Write as _;

use domain::scan::Verdict;
use domain::verdict::Scanner;
use domain::{Gap, PathText};
use serde::Serialize;

use crate::{sanitise, time};

/// Earlier verdicts on files; `taintline.history/1`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct HistoryView {
    /// Name of this form.
    pub schema: &'static str,
    /// One for each file that was asked about.
    pub files: Vec<HistoryFile>,
    /// Logs that could not be read.
    pub gaps: Vec<Gap>,
}

/// One file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct HistoryFile {
    /// As it was named.
    pub path: PathText,
    /// Bytes.
    pub size: u64,
    /// What was said of its content, oldest first.
    pub earlier: Vec<Earlier>,
}

/// One earlier verdict.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Earlier {
    /// When, microseconds since 1970; written as RFC 3339.
    #[serde(rename = "at", serialize_with = "at")]
    pub at_us: i64,
    /// Where the file was then.
    pub path: PathText,
    /// What was said; `None` where it is no longer there.
    pub verdict: Option<Verdict>,
    /// The run that loaded it, where it was examined for one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub by_run: Option<String>,
    /// Who judged, where it was examined for a scan.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub scanner: Option<Scanner>,
    /// The log.
    pub log: String,
    /// Number of the entry in it.
    pub entry: u64,
    /// Line of the entry's segment, from 0.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub line: Option<u64>,
    /// It was not examined again then: the answer was an earlier one.
    pub again: bool,
    /// The store's secret vouches for it. False for what another user or another machine recorded.
    pub vouched: bool,
}

#[expect(
    clippy::trivially_copy_pass_by_ref,
    reason = "the shape that serde asks for"
)]
fn at<S: serde::Serializer>(at_us: &i64, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&time::rfc3339(*at_us))
}

impl HistoryFile {
    /// Verdicts that differ from the one before, among those that are there.
    fn changes(&self) -> impl Iterator<Item = (&Earlier, &Earlier)> {
        let known: Vec<_> = self
            .earlier
            .iter()
            .filter(|e| e.verdict.is_some())
            .collect();
        let pairs = known.iter().zip(known.iter().skip(1));
        let pairs: Vec<_> = pairs.map(|(left, right)| (*left, *right)).collect();
        let differ = |pair: &(&Earlier, &Earlier)| pair.0.verdict != pair.1.verdict;
        pairs.into_iter().filter(differ)
    }
}

/// For people.
pub fn plain(view: &HistoryView) -> String {
    let mut text = String::new();
    for file in &view.files {
        let _ = writeln!(text, "{}", sanitise(file.path.as_str()));
        if file.earlier.is_empty() {
            text.push_str("  no verdict on this content is kept\n");
        }
        for earlier in &file.earlier {
            line(&mut text, earlier);
        }
        for (before, after) in file.changes() {
            let word = |earlier: &Earlier| earlier.verdict.map_or("gone", Verdict::word);
            let _ = writeln!(
                text,
                "  the verdict on the same content changed from {} to {} on {}: {}",
                word(before),
                word(after),
                time::rfc3339(after.at_us),
                why(before, after)
            );
        }
    }
    for gap in &view.gaps {
        let (what, why) = (sanitise(&gap.what), sanitise(&gap.why));
        let _ = writeln!(text, "not read: {what}: {why}");
    }
    text
}

fn line(text: &mut String, earlier: &Earlier) {
    let word = earlier.verdict.map_or("gone", Verdict::word);
    let by = match (&earlier.by_run, &earlier.scanner) {
        (Some(run), _) => format!("loaded by run {}", sanitise(run)),
        (None, Some(scanner)) => {
            let policy = scanner
                .policy
                .map_or_else(String::new, |policy| format!(", policy {}", policy.short()));
            let full = if scanner.full { ", every byte" } else { "" };
            format!(
                "scanner {}, rules {}{policy}{full}",
                sanitise(&scanner.version),
                scanner.rules.short()
            )
        }
        (None, None) => String::new(),
    };
    let _ = writeln!(
        text,
        "  {}  {word:<10}  {by}   entry {} of {}{}{}",
        time::rfc3339(earlier.at_us),
        earlier.entry,
        sanitise(&earlier.log),
        if earlier.again {
            ", as examined before"
        } else {
            ""
        },
        if earlier.vouched {
            ""
        } else {
            ", not vouched for by this user"
        },
    );
    let _ = writeln!(text, "    at {}", sanitise(earlier.path.as_str()));
}

/// What of the scanner is another, where the content is the same.
fn why(before: &Earlier, after: &Earlier) -> &'static str {
    let (Some(old), Some(new)) = (&before.scanner, &after.scanner) else {
        return "one of them was made for a run";
    };
    if old.rules != new.rules {
        "the rules are others"
    } else if old.policy != new.policy {
        "the policy is another"
    } else if old.program != new.program {
        "the scanner is another"
    } else if old.full != new.full {
        "one of them read every byte"
    } else {
        "the name, the files beside it, or the baseline are others"
    }
}
