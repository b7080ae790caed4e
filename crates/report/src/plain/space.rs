//! `taintline store du` and `prune`.

use super::{field, plural};
use crate::sanitise;
use crate::time::{count, size};
use crate::view::{DuView, KindView, PruneView};

/// Runs that are listed; all are in `--json`.
const RUNS_MAX: usize = 20;

/// Where the bytes are.
pub fn du(view: &DuView) -> String {
    let mut text = field(
        "store",
        &format!(
            "{} in all, {} in {}",
            size(view.bytes),
            size(view.blob_bytes),
            plural(view.blobs, "blob")
        ),
    );
    for log in &view.logs {
        let line = format!(
            "{}  {} entries  {}",
            log.name,
            count(log.entries),
            size(log.bytes)
        );
        text.push_str(&field("log", &line));
    }
    for kind in &view.kinds {
        text.push_str(&kind_line(kind));
    }
    for other in &view.other {
        text.push_str(&field(other.name, &size(other.bytes)));
    }
    let mut runs: Vec<_> = view.runs.iter().collect();
    runs.sort_by_key(|run| std::cmp::Reverse(run.bytes));
    for run in runs.iter().take(RUNS_MAX) {
        let line = format!(
            "{}  {}  {} its own, {} shared with others",
            run.name,
            run.started,
            size(run.bytes),
            size(run.shared_bytes)
        );
        text.push_str(&field("run", &line));
    }
    if let Some(more) = runs.len().checked_sub(RUNS_MAX).filter(|more| *more > 0) {
        text.push_str(&field(
            "",
            &format!("… and {more} smaller ones; all are in --json"),
        ));
    }
    for gap in &view.gaps {
        text.push_str(&field("not read", &format!("{}: {}", gap.what, gap.why)));
    }
    text
}

/// What went.
pub fn pruned(view: &PruneView) -> String {
    let mut text: String = view.kinds.iter().map(kind_line).collect();
    for spared in &view.spared {
        let line = format!("{}: {}", plural(spared.runs, "run"), spared.why);
        text.push_str(&field("stays", &line));
    }
    if view.stored_again > 0 {
        let line = format!(
            "{}: stored again meanwhile",
            plural(view.stored_again, "blob")
        );
        text.push_str(&field("stays", &line));
    }
    if view
        .budget_bytes
        .is_some_and(|budget| view.left_bytes > budget)
    {
        let line = "the budget is not reached: what is left is precious, in use, or of other kinds";
        text.push_str(&field("left", line));
    }
    for gap in &view.gaps {
        text.push_str(&field("not removed", &format!("{}: {}", gap.what, gap.why)));
    }
    let done = if view.dry_run { "would go" } else { "pruned" };
    text.push_str(&format!(
        "{done}: {} of {}, {}; {} left ({})\n",
        plural(view.blobs, "blob"),
        plural(view.runs, "run"),
        size(view.bytes),
        size(view.left_bytes),
        sanitise(&view.reason)
    ));
    text
}

fn kind_line(kind: &KindView) -> String {
    let line = format!("{}  {}", plural(kind.blobs, "blob"), size(kind.bytes));
    field(kind.kind, &line)
}
