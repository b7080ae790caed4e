//! Findings about files that changed while the run was going, in words.

use domain::{Digest, Finding, Grade, PathText, Rule};

use super::Touch;
use super::cases::{Case, First, Other};
use crate::run::installed::file_finding;

/// What a kernel without privilege leaves open.
const NOT_WHO: &str =
    "who did it is not known: the kernel does not tell that to a program without privileges";
const MEANT: &str = "somebody tried something out in the installed package: then whatever loaded it meanwhile ran with it";

/// A point in time as people read it, UTC, to the millisecond.
pub(super) fn time(us: i64) -> String {
    jiff::Timestamp::from_microsecond(us).map_or_else(
        |_| format!("{us} µs since 1970"),
        |time| format!("{time:.3}"),
    )
}

/// After which step of the run, in words.
pub(super) fn after(step: Option<u64>) -> String {
    step.map_or_else(
        || "before the first step".to_owned(),
        |step| format!("after step {step}"),
    )
}

/// A file that was another one for a while.
pub(super) fn restored(case: &Case, package: &str, evidence: Option<Digest>) -> Finding {
    let logical = &case.place.logical;
    let (what, words) = match (&case.other, case.place.first) {
        (_, First::Absent) if case.files.is_none() => (
            format!("{logical} was there for a while and is gone again"),
            came_and_went(case, package),
        ),
        (Some(other), _) if other.gone => (
            format!("{logical} was away for a while and is there again"),
            away(case, other, package),
        ),
        (Some(other), first) => (
            format!("{logical} was changed for a while and is as before again"),
            changed(case, other, first, package),
        ),
        (None, _) => (
            format!("{logical} was changed and is as before again"),
            format!("{package}: {}", between(case)),
        ),
    };
    let mut details = vec![words];
    if let Some(difference) = case
        .other
        .as_ref()
        .and_then(|other| difference(case.content.as_deref()?, other.content.as_deref()?))
    {
        details.push(format!("it stood there {difference}"));
    }
    details.push(steps(case));
    details.push(NOT_WHO.to_owned());
    let evidence = evidence.into_iter().collect();
    finding(
        Rule::EnvironmentChangedAndRestored,
        what,
        details,
        case,
        evidence,
        MEANT,
    )
}

/// A file that was written to and is as before.
pub(super) fn written(case: &Case, package: &str) -> Finding {
    let logical = &case.place.logical;
    if case.place.early {
        let what = format!(
            "{logical} was written to after the run had begun and before it was first read"
        );
        let words = format!(
            "{package}: {}; how it was at the start is not known",
            between(case)
        );
        let details = vec![words, steps(case), NOT_WHO.to_owned()];
        let innocent = "an installer was still at work when the run began";
        let rule = Rule::EnvironmentChangedDuringRun;
        return finding(rule, what, details, case, Vec::new(), innocent);
    }
    let what = format!("{logical} was written to while the run was going and is as before");
    let how = if case.touch.has(Touch::REPLACED) {
        "another file took its name, with the same content"
    } else if case.touch.has(Touch::UNHEARD) && !case.touch.has(Touch::WRITTEN) {
        "its times moved without an event, as a write through a mapping does"
    } else {
        "bytes were written"
    };
    let words = format!(
        "{package}: {how}, {}; what was in it in between is not known",
        between(case)
    );
    let details = vec![words, steps(case), NOT_WHO.to_owned()];
    let innocent = "a tool wrote the same content again, as a repeated installation does";
    let rule = Rule::EnvironmentChangedAndRestored;
    finding(rule, what, details, case, Vec::new(), innocent)
}

fn finding(
    rule: Rule,
    what: String,
    details: Vec<String>,
    case: &Case,
    evidence: Vec<Digest>,
    innocent: &str,
) -> Finding {
    let innocent = vec![innocent.to_owned()];
    let mut finding = file_finding(rule, what, details, &case.place.logical, innocent);
    finding.step = Some(case.step.unwrap_or(0));
    finding.evidence = evidence;
    finding
}

fn changed(case: &Case, other: &Other, first: First, package: &str) -> String {
    let first = match first {
        First::File(digest) => digest.short(),
        First::Absent | First::Unknown => "not known".to_owned(),
    };
    let then = other
        .digest
        .map_or_else(|| "unreadable".to_owned(), |digest| digest.short());
    format!(
        "{package}: {first}, seen as {then} at {}, seen as {first} again at {}",
        time(other.at_us),
        time(case.last.0)
    )
}

fn away(case: &Case, other: &Other, package: &str) -> String {
    let files = case
        .files
        .map_or_else(String::new, |files| format!(" with {files} files"));
    format!(
        "{package}: gone{files} at {}, there again at {}",
        time(other.at_us),
        time(case.last.0)
    )
}

fn came_and_went(case: &Case, package: &str) -> String {
    let content = case.other.as_ref().and_then(|other| other.digest);
    let content = content.map_or_else(
        || "its content was not seen".to_owned(),
        |digest| format!("its content was {}", digest.short()),
    );
    format!("{package}: {}; {content}", between(case))
}

fn between(case: &Case) -> String {
    let (from, until) = (case.at_us, case.last.0);
    if until.abs_diff(from) < 1_000 {
        format!("at {}", time(from))
    } else {
        format!("between {} and {}", time(from), time(until))
    }
}

fn steps(case: &Case) -> String {
    if case.step == case.last.1 {
        return format!("all of it {}", after(case.step));
    }
    format!("first {}, last {}", after(case.step), after(case.last.1))
}

/// How one content differs from another, by lines where both are text, else by bytes.
pub(super) fn difference(first: &[u8], other: &[u8]) -> Option<String> {
    if first == other {
        return None;
    }
    let (Ok(one), Ok(two)) = (std::str::from_utf8(first), std::str::from_utf8(other)) else {
        let same = first.iter().zip(other).take_while(|(a, b)| a == b).count();
        let (before, then) = (first.len(), other.len());
        return Some(format!(
            "it differed from byte {same} on, with {then} bytes instead of {before}"
        ));
    };
    let (one, two): (Vec<_>, Vec<_>) = (one.lines().collect(), two.lines().collect());
    let head = one.iter().zip(&two).take_while(|(a, b)| a == b).count();
    let rest = one.len().min(two.len()) - head;
    let tails = one.iter().rev().zip(two.iter().rev());
    let tail = tails.take(rest).take_while(|(a, b)| a == b).count();
    let (before, then) = (one.len() - head - tail, two.len() - head - tail);
    let from = head + 1;
    Some(match (before, then) {
        (0, 0) => "only its line ends differed".to_owned(),
        (0, then) => format!("with {} more from line {from} on", lines(then)),
        (before, 0) => format!("without {} from line {from} on", lines(before)),
        (before, then) => format!(
            "with {} instead of {} from line {from} on",
            lines(then),
            lines(before)
        ),
    })
}

fn lines(count: usize) -> String {
    if count == 1 {
        "1 line".to_owned()
    } else {
        format!("{count} lines")
    }
}

/// A file outside of the environments that was loaded, changed, and loaded again or changed under the process that maps it.
pub(super) struct Loaded<'a> {
    pub(super) path: &'a PathText,
    pub(super) before: Digest,
    pub(super) now: Option<Digest>,
    pub(super) at_us: i64,
    pub(super) step: Option<u64>,
    pub(super) blob: Option<Digest>,
}

/// Another process loads what an earlier one loaded with other content.
pub(super) fn loaded_again(one: &Loaded<'_>, by: &str, rank: Option<u32>) -> Finding {
    let path = one.path;
    let what = format!("{by} loaded {path} after it had changed: the run has two versions of it");
    let innocent =
        "somebody edits the code while a run is going, and the run starts processes later on";
    let rule = Rule::SourceChangedDuringRun;
    let mut finding = of_loaded(rule, what, one, innocent);
    finding.rank = rank;
    finding
}

/// A library changed where processes map it.
pub(super) fn under_mapping(one: &Loaded<'_>) -> Finding {
    let path = one.path;
    let what = format!("{path} was overwritten in place while processes of the run map it");
    let innocent =
        "a build wrote over a library that is in use: what was not yet paged in is now the new one";
    of_loaded(Rule::EnvironmentChangedDuringRun, what, one, innocent)
}

fn of_loaded(rule: Rule, what: String, one: &Loaded<'_>, innocent: &str) -> Finding {
    let now = one
        .now
        .map_or_else(|| "gone".to_owned(), |digest| digest.short());
    let words = format!(
        "{} when it was first loaded, {now} since {}, {}",
        one.before.short(),
        time(one.at_us),
        after(one.step)
    );
    Finding {
        rule,
        grade: Grade::Observed,
        what,
        details: vec![words, NOT_WHO.to_owned()],
        path: Some(one.path.clone()),
        step: Some(one.step.unwrap_or(0)),
        rank: None,
        earlier: None,
        evidence: one.blob.into_iter().collect(),
        innocent: vec![innocent.to_owned()],
    }
}
