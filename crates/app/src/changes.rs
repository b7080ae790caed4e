//! Changes to the files of a run, as the host's daemon told of them: for `show`, and beside the findings that they explain.

use domain::watched::{FileChange, Known};
use domain::{Finding, PathText};
use report::time::rfc3339;
use report::view::ChangeView;

use crate::party;
use crate::record::RunRecord;

/// Changes that are told with one finding: the newest before it was made are the ones that count.
const TOLD_MAX: usize = 5;

/// How it is known who did it.
pub(crate) fn known(known: Known) -> &'static str {
    match known {
        Known::Observed => "observed",
        Known::Changed => "changed",
        Known::LookedUp => "looked_up",
        Known::Several => "several",
        Known::Unknown => "unknown",
    }
}

/// All of them, in order of time.
pub(crate) fn views(record: &RunRecord) -> Vec<ChangeView> {
    let mut changes: Vec<&(i64, FileChange)> = record.changes.iter().collect();
    changes.sort_by_key(|(at_us, _)| *at_us);
    let view = |(at_us, change): &&(i64, FileChange)| ChangeView {
        at: rfc3339(*at_us),
        path: change.path.to_string(),
        from: change.from.as_ref().map(ToString::to_string),
        what: what(change),
        before: change.before,
        after: change.after.as_ref().and_then(|state| state.digest),
        known: known(change.actor.known),
        who: party::actor(&change.actor),
        by_run: change.actor.run == Some(record.id),
        earlier: *at_us < record.started_us,
    };
    changes.iter().map(view).collect()
}

/// What was done, in words.
pub(crate) fn what(change: &FileChange) -> String {
    let words: Vec<&str> = change.deeds.iter().map(|deed| deed.word()).collect();
    let value = change.after.as_ref().and_then(|state| state.value.as_ref());
    let value = value.map_or_else(String::new, |value| format!(" (it says \"{value}\")"));
    format!("{}{value}", words.join(", "))
}

/// The findings, with who changed the files that they are about.
pub(crate) fn beside(record: &RunRecord, findings: &[Finding]) -> Vec<Finding> {
    let with = |finding: &Finding| {
        let mut finding = finding.clone();
        add(record, &mut finding);
        finding
    };
    findings.iter().map(with).collect()
}

/// Adds to a finding who changed the file that it is about, as far as that is known by now.
pub(crate) fn add(record: &RunRecord, finding: &mut Finding) {
    let Some(path) = finding.path.clone() else {
        return;
    };
    let is_about = |(_, change): &&(i64, FileChange)| {
        let paths = std::iter::once(&change.path).chain(change.from.as_ref());
        change.actor.run != Some(record.id) && paths.into_iter().any(|it| is_at(it, &path))
    };
    let mut about: Vec<&(i64, FileChange)> = record.changes.iter().filter(is_about).collect();
    about.sort_by_key(|(at_us, _)| *at_us);
    let skipped = about.len().saturating_sub(TOLD_MAX);
    for (at_us, change) in about.into_iter().skip(skipped) {
        let words = format!(
            "{} {} by {} (seen by the host's daemon: {})",
            rfc3339(*at_us),
            what(change),
            party::actor(&change.actor),
            known(change.actor.known)
        );
        // Some was known when the finding was made.
        if !finding.details.contains(&words) {
            finding.details.push(words);
        }
    }
}

/// Whether a changed file is the one that a finding names, by its whole path or by the end of it.
fn is_at(changed: &PathText, named: &PathText) -> bool {
    let (changed, named) = (changed.to_bytes(), named.to_bytes());
    if named.starts_with(b"/") {
        return changed == named;
    }
    let end = changed.strip_suffix(named.as_slice());
    !named.is_empty() && end.is_some_and(|rest| rest.is_empty() || rest.ends_with(b"/"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_finding_names_a_file_whole_or_by_its_end() {
        let text = |path: &str| PathText::from_bytes(path.as_bytes());
        let changed = text("/env/lib/torch/optim/adamw.py");
        assert!(is_at(&changed, &text("/env/lib/torch/optim/adamw.py")));
        assert!(is_at(&changed, &text("lib/torch/optim/adamw.py")));
        assert!(!is_at(&changed, &text("w.py")) && !is_at(&changed, &text("")));
        assert!(!is_at(&changed, &text("/torch/optim/adamw.py")));
    }
}
