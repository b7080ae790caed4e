//! `taintline show RUN`: all that is known of one run.

use super::stamp::vouched;
use super::summary::facts;
use super::{field, finding, witnessed};
use crate::sanitise;
use crate::time::{count, duration};
use crate::view::{RankView, RunView};

const ACTS_MAX: usize = 40;
const CHANGES_MAX: usize = 20;

/// The run on one page; the steps themselves are in `--json`.
pub fn show(view: &RunView) -> String {
    let mut text = format!("run {}   {}\n", sanitise(&view.line.name), view.line.id);
    text.push_str(&field(
        "command",
        view.line.command.as_deref().unwrap_or("(erased)"),
    ));
    text.push_str(&field("folder", view.cwd.as_deref().unwrap_or("(erased)")));
    text.push_str(&field("by", &view.who));
    let wall = view
        .line
        .wall_seconds
        .map_or_else(String::new, |wall| format!(", {}", duration(wall)));
    let outcome = outcome(view);
    text.push_str(&field(
        "time",
        &format!("{}{wall}, {outcome}", view.line.started),
    ));
    text.push_str(&vouched(view));
    text.push_str(&facts(view));
    for rank in &view.ranks {
        text.push_str(&field(&rank_label(rank), &rank_line(rank)));
    }
    for load in view
        .loads
        .iter()
        .filter(|load| !matches!(load.kind.as_str(), "data" | "config" | "checkpoint"))
    {
        let digest = load
            .digest
            .map_or_else(|| "-".to_owned(), |digest| digest.short());
        text.push_str(&field(&load.kind, &format!("{}  {digest}", load.path)));
    }
    for write in &view.writes {
        let step = write
            .step
            .map_or_else(|| "-".to_owned(), |step| step.to_string());
        let digest = write
            .digest
            .map_or_else(|| "size and times only".to_owned(), |digest| digest.short());
        text.push_str(&field(
            "wrote",
            &format!("{}  step {step}  {digest}", write.path),
        ));
    }
    text.push_str(&acts(view));
    text.push_str(&changes(view));
    for found in &view.findings {
        text.push_str(&finding(found));
    }
    for replay in &view.replays {
        text.push_str(&field("replayed", &super::replay::line(replay)));
    }
    for audit in &view.audits {
        text.push_str(&field("audited", &super::replay::audit_line(audit)));
    }
    for gap in &view.gaps {
        text.push_str(&field(
            "not recorded",
            &format!("{}: {}", gap.what, gap.why),
        ));
    }
    text.push_str(&field("ledger", &view.ledger));
    text.push_str(&view.witnesses.as_ref().map(witnessed).unwrap_or_default());
    text
}

/// What others changed.
fn changes(view: &RunView) -> String {
    let mut text = String::new();
    for change in view.changes.iter().take(CHANGES_MAX) {
        let (before, after) = (change.before, change.after);
        let digests = match (before, after) {
            (Some(before), Some(after)) => format!(" {} → {}", before.short(), after.short()),
            (None, Some(after)) => format!(" {}", after.short()),
            _ => String::new(),
        };
        let line = format!(
            "{}  {}{digests}: {} by {} [{}]",
            change.at, change.path, change.what, change.who, change.known
        );
        let label = if change.earlier {
            "before it"
        } else {
            "changed"
        };
        text.push_str(&field(label, &line));
    }
    let more = view.changes.len().saturating_sub(CHANGES_MAX);
    if more > 0 {
        text.push_str(&field("", &format!("and {more} more changes: --json")));
    }
    text
}

fn acts(view: &RunView) -> String {
    let mut text = String::new();
    for act in view.acts.iter().take(ACTS_MAX) {
        text.push_str(&field("act", &format!("{}  {}", act.at, act.what)));
    }
    if view.acts.len() > ACTS_MAX {
        text.push_str(&field(
            "",
            &format!(
                "… and {} more; all are in --json",
                view.acts.len() - ACTS_MAX
            ),
        ));
    }
    text
}

/// How it ended; of a run that did not, when it was heard of last.
fn outcome(view: &RunView) -> String {
    match (&view.line.outcome, &view.line.last_sign) {
        (Some(outcome), _) => outcome.clone(),
        (None, Some(last)) => format!("no end recorded, last sign of life {last}"),
        (None, None) => "no end recorded".to_owned(),
    }
}

fn rank_label(rank: &RankView) -> String {
    rank.rank
        .map_or_else(|| "process".to_owned(), |number| format!("rank {number}"))
}

fn rank_line(rank: &RankView) -> String {
    let torch = rank.torch.as_deref().unwrap_or("not imported");
    let outcome = rank.outcome.as_deref().unwrap_or("no end recorded");
    let steps = match (rank.first, rank.last) {
        (Some(first), Some(last)) => format!("{} steps ({first}–{last})", count(rank.count)),
        _ => "no steps".to_owned(),
    };
    let loss = rank.steps.last().and_then(|step| step.losses.last());
    let loss = loss.map_or_else(String::new, |loss| format!(", last loss {:.4}", loss.0));
    format!(
        "pid {}, Python {}, torch {torch}; {steps}{loss}; {outcome}",
        rank.pid, rank.python
    )
}
