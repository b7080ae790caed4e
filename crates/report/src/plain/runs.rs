//! `taintline runs`: one line a run, newest last.

use super::plural;
use crate::time::{count, duration};
use crate::view::{RunLine, RunsView, State};
use crate::{sanitise, shorten};

/// A table of runs.
pub fn runs(view: &RunsView) -> String {
    if view.runs.is_empty() && view.gaps.is_empty() {
        return "no runs are recorded here yet; next: taintline run -- python train.py\n"
            .to_owned();
    }
    let gaps = view.gaps.iter().map(|gap| {
        format!(
            "not read: {}: {}\n",
            sanitise(&gap.what),
            sanitise(&gap.why)
        )
    });
    view.runs.iter().map(line).chain(gaps).collect()
}

fn line(run: &RunLine) -> String {
    let result = match (run.state, run.findings) {
        (State::Running, 0) => "running".to_owned(),
        (State::Interrupted, 0) => "interrupted".to_owned(),
        (State::Ended, 0) => "nothing found".to_owned(),
        (_, findings) => format!("TAINTED, {}", plural(findings, "finding")),
    };
    format!(
        "{:<24} {}  {:<22} {:>8} steps  {:>12}  {}  {}\n",
        sanitise(&run.name),
        run.started,
        result,
        count(run.steps),
        run.wall_seconds.map_or_else(|| "-".to_owned(), duration),
        sanitise(&outcome(run)),
        shorten(run.command.as_deref().unwrap_or("(command erased)"), 60),
    )
}

/// How it ended; of one that did not, when it was heard of last.
fn outcome(run: &RunLine) -> String {
    match (&run.outcome, &run.last_sign) {
        (Some(outcome), _) => outcome.clone(),
        (None, Some(last)) => format!("last sign of life {last}"),
        (None, None) => "-".to_owned(),
    }
}
