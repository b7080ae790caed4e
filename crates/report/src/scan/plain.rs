//! For people at a terminal: one line a file, the findings below it, one summary. Clean files are listed only if they were
//! named; a clean folder is one line.

use std::fmt::Write as _;

use domain::scan::{Finding, Gap, GapKind, Weight};

use super::words::{place, plural};
use super::{FileReport, Head, Renderer, Since, Tail, Totals, Verdict};
use crate::time::{count, duration, size};
use crate::{sanitise, shorten};

/// Findings and gaps of one file that are shown in full.
const SHOWN: usize = 20;
/// Names that are shown of a difference.
const NAMES: usize = 40;
/// Characters of an expression.
const EXPRESSION: usize = 300;

/// Plain text.
#[derive(Debug, Clone, Copy, Default)]
pub struct Plain {
    /// With colours.
    pub color: bool,
    /// Clean files that were found in folders are listed too.
    pub verbose: bool,
    /// Notes count, and so files with no more than notes are listed too.
    pub notes: bool,
}

impl Renderer for Plain {
    fn begin(&mut self, head: &Head) -> String {
        self.notes = head.fail_on == Weight::Note;
        String::new()
    }

    fn file(&mut self, file: &FileReport) -> String {
        let quiet = matches!(
            file.verdict,
            Verdict::Clean | Verdict::NotAModel | Verdict::Link
        );
        let mut text = super::explain::listings(file);
        let noted = self.notes && !file.examination.findings.is_empty();
        if quiet && !file.named && !self.verbose && !noted {
            return text;
        }
        text.push_str(&self.headline(file));
        if let Some(kept) = &file.as_in {
            let (entry, log) = (kept.entry, sanitise(&kept.log));
            let _ = writeln!(text, "  as examined in entry {entry} of {log}");
        }
        self.findings(&mut text, file);
        gaps(&mut text, &file.examination.gaps);
        let left_out = file.examination.left_out;
        if left_out > 0 {
            let records = plural(left_out, "further record");
            let _ = writeln!(text, "  {records} of this file had no room");
        }
        text
    }

    fn end(&mut self, tail: &Tail) -> String {
        let mut text = String::new();
        if let Some(since) = &tail.since {
            differences(&mut text, since);
        }
        for notice in &tail.notices {
            let _ = writeln!(text, "{}: {}", notice.about, sanitise(&notice.text));
        }
        text.push_str(&self.summary(tail));
        text
    }
}

impl Plain {
    fn headline(self, file: &FileReport) -> String {
        let word = format!("{:<10}", file.verdict.word());
        let mut text = format!(
            "{}  {}",
            self.paint(file.verdict, &word),
            sanitise(file.path.as_str())
        );
        let mut about = file.examination.formats.clone();
        if matches!(file.verdict, Verdict::Clean | Verdict::NotAModel) {
            about.push(size(file.examination.size));
        }
        if !about.is_empty() {
            let _ = write!(text, "   {}", sanitise(&about.join(", ")));
        }
        text.push('\n');
        text
    }

    fn findings(self, text: &mut String, file: &FileReport) {
        let findings = &file.examination.findings;
        let shown = findings.iter().enumerate().take(SHOWN);
        let mut advice = Vec::new();
        for (index, finding) in shown {
            let last = advice.last().copied() == Some(finding.rule.advice());
            self.finding(text, file, index, finding);
            if !last {
                advice.push(finding.rule.advice());
            }
        }
        if findings.len() > SHOWN {
            let more = plural((findings.len() - SHOWN) as u64, "further finding");
            let _ = writeln!(text, "  … and {more}");
        }
        let mut told: Vec<&str> = Vec::new();
        for line in advice {
            if !told.contains(&line) {
                let _ = writeln!(text, "  what to do: {line}");
                told.push(line);
            }
        }
    }

    fn finding(self, text: &mut String, file: &FileReport, index: usize, finding: &Finding) {
        let weight = self.weight(finding.weight);
        let title = finding.rule.title();
        let _ = writeln!(
            text,
            "  {weight}: loading this file {title}   [{}]",
            finding.rule
        );
        let at = place(&finding.place);
        if !at.is_empty() {
            let _ = writeln!(text, "    at    {}", sanitise(&at));
        }
        if !finding.expression.is_empty() {
            let _ = writeln!(
                text,
                "    says  {}",
                shorten(&finding.expression, EXPRESSION)
            );
        }
        if !finding.why.is_empty() {
            let _ = writeln!(text, "    why   {}", sanitise(&finding.why));
        }
        if let Some(known) = file.acceptance(index) {
            let reason = sanitise(&known.reason);
            let _ = if known.expired {
                writeln!(
                    text,
                    "    the baseline accepted it until {}: it counts again ({reason})",
                    known.expires
                )
            } else {
                writeln!(
                    text,
                    "    accepted by the baseline until {}: {reason}",
                    known.expires
                )
            };
        }
    }

    fn summary(self, tail: &Tail) -> String {
        let totals = &tail.totals;
        let counts = [
            (Verdict::Dangerous, totals.dangerous, "dangerous"),
            (Verdict::Unknown, totals.unknown, "unknown"),
            (Verdict::Custom, totals.custom, "with custom classes"),
            (Verdict::Incomplete, totals.incomplete, "incomplete"),
            (Verdict::Failed, totals.failed, "not read"),
            (Verdict::Accepted, totals.accepted_files, "accepted"),
            (Verdict::Clean, totals.clean, "clean"),
            (Verdict::NotAModel, totals.not_models, "no model"),
            (Verdict::Link, totals.links, "links to these"),
        ];
        let counts = counts.into_iter().filter(|(_, number, _)| *number > 0);
        let counts = counts.map(|(verdict, number, words)| {
            self.paint(verdict, &format!("{} {words}", count(number)))
        });
        let counts: Vec<_> = counts.collect();
        let mut text = format!("taintline  {}", plural(totals.files, "file"));
        if !counts.is_empty() {
            let _ = write!(text, ": {}", counts.join(", "));
        }
        let _ = writeln!(text, "   {}", duration(tail.seconds));
        let _ = writeln!(text, "  {}", coverage(totals));
        if totals.notes > 0 && !self.verbose && !self.notes {
            let notes = plural(totals.notes, "note");
            let _ = writeln!(text, "  {notes}: --verbose lists all");
        }
        if totals.accepted > 0 {
            let accepted = plural(totals.accepted, "finding");
            let _ = writeln!(text, "  {accepted} accepted by the baseline");
        }
        if tail.exit_code != 0 {
            let meaning = super::words::exit_meaning(tail.exit_code);
            let _ = writeln!(text, "  exit code {}: {meaning}", tail.exit_code);
        }
        text
    }

    fn weight(self, weight: Weight) -> String {
        let verdict = match weight {
            Weight::Note => Verdict::Clean,
            Weight::Custom => Verdict::Custom,
            Weight::Unknown => Verdict::Unknown,
            Weight::Dangerous => Verdict::Dangerous,
        };
        self.paint(verdict, &weight.to_string())
    }

    fn paint(self, verdict: Verdict, text: &str) -> String {
        if !self.color {
            return text.to_owned();
        }
        let color = match verdict {
            Verdict::Dangerous => "1;31",
            Verdict::Unknown | Verdict::Failed => "31",
            Verdict::Custom | Verdict::Incomplete | Verdict::Accepted => "33",
            Verdict::Clean => "32",
            Verdict::NotAModel | Verdict::Link => "2",
        };
        format!("\x1b[{color}m{text}\x1b[0m")
    }
}

/// What stands behind the answer.
fn coverage(totals: &Totals) -> String {
    let mut text = format!(
        "{} examined; {} in all, {} of it plain numbers that no loader interprets",
        plural(totals.parts, "part"),
        size(totals.bytes),
        size(totals.raw_bytes)
    );
    if totals.gaps > 0 {
        let _ = write!(text, "; {} not examined", plural(totals.gaps, "part"));
    }
    text
}

fn gaps(text: &mut String, gaps: &[Gap]) {
    for gap in gaps.iter().take(SHOWN) {
        let at = place(&gap.place);
        // The system's own words say it already.
        let kind = match gap.kind {
            GapKind::Unreadable if !gap.what.is_empty() => String::new(),
            kind => format!("{kind}: "),
        };
        let at = if at.is_empty() {
            String::new()
        } else {
            format!("   ({})", sanitise(&at))
        };
        let _ = writeln!(text, "  not examined: {kind}{}{at}", sanitise(&gap.what));
    }
    if gaps.len() > SHOWN {
        let more = plural((gaps.len() - SHOWN) as u64, "further part");
        let _ = writeln!(text, "  … and {more} not examined");
    }
}

fn differences(text: &mut String, since: &Since) {
    let _ = writeln!(text, "since {}:", sanitise(since.old.as_str()));
    let before = text.len();
    for format in &since.formats_added {
        let _ = writeln!(text, "  + {}", sanitise(format));
    }
    for format in &since.formats_removed {
        let _ = writeln!(text, "  - {}", sanitise(format));
    }
    let added = since.needs_added.iter().map(|need| ('+', need));
    let removed = since.needs_removed.iter().map(|need| ('-', need));
    for (sign, need) in added.chain(removed).take(NAMES) {
        let name = format!("{}.{}", need.module, need.name);
        let role = super::json::role(need.role);
        let weight = need
            .weight
            .map_or_else(|| "allowed".to_owned(), |weight| weight.to_string());
        let _ = writeln!(text, "  {sign} {role} {}   {weight}", shorten(&name, 200));
    }
    let names = since.needs_added.len() + since.needs_removed.len();
    if names > NAMES {
        let more = plural((names - NAMES) as u64, "further name");
        let _ = writeln!(text, "  … and {more}");
    }
    for finding in since.findings_added.iter().take(NAMES) {
        let _ = writeln!(text, "  + {}", shorten(finding, EXPRESSION));
    }
    if text.len() == before {
        text.push_str("  the programs need and do the same\n");
    }
    if since.old_incomplete {
        text.push_str(
            "  the older one could not be examined completely: some of this may be old\n",
        );
    }
}
