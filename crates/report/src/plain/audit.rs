//! `taintline ledger audit`.

use super::stamp::stamp_line;
use super::{field, plural, witnessed};
use crate::sanitise;
use crate::stamp::{StampView, Standing};
use crate::time::{count, size};
use crate::view::{AuditView, HeadView, RotationView, SealKeyView};

/// What an audit checked and what is wrong.
pub fn audit(view: &AuditView) -> String {
    let mut text = String::new();
    for problem in &view.problems {
        text.push_str(&format!(
            "  {}: {}\n",
            sanitise(&problem.file),
            sanitise(&problem.what)
        ));
    }
    for head in &view.heads {
        let line = format!(
            "{} ({} entries): {}",
            head.file,
            count(head.entries),
            head.what
        );
        let label = if head.is_continued {
            "kept head"
        } else {
            "KEPT HEAD"
        };
        text.push_str(&field(label, &line));
    }
    for pruned in &view.pruned {
        let line = format!(
            "{}, {} of {}, on {} by {}: {}",
            plural(pruned.blobs, "blob"),
            size(pruned.bytes),
            plural(pruned.runs, "run"),
            pruned.at,
            pruned.by,
            pruned.reason
        );
        text.push_str(&field("pruned", &line));
    }
    for log in &view.logs {
        let line = format!(
            "{}  {} entries  root {}",
            log.name,
            count(log.entries),
            log.root
        );
        text.push_str(&field("log", &line));
    }
    for log in &view.witnesses {
        text.push_str(&witnessed(log));
    }
    text.push_str(&stamps(&view.stamps));
    let checked = format!(
        "{}, {} in all",
        plural(view.blobs, "blob"),
        size(view.bytes)
    );
    text.push_str(&field("checked", &checked));
    for gap in &view.gaps {
        text.push_str(&field("missing", &format!("{}: {}", gap.what, gap.why)));
    }
    text.push_str(&match (view.wrong(), view.gaps.len()) {
        (0, 0) => "every entry, tile, tree head and blob is as it was written\n".to_owned(),
        (0, gaps) => format!(
            "every file is as it was written; {} missing\n",
            plural(gaps as u64, "thing")
        ),
        (wrong, _) => format!("{} wrong\n", plural(wrong as u64, "thing")),
    });
    text
}

/// Time stamps: how many hold, which one bounds most, and what was not checked.
fn stamps(stamps: &[StampView]) -> String {
    let of = |standing| {
        stamps
            .iter()
            .filter(move |stamp| stamp.standing == standing)
    };
    let mut text = String::new();
    let held = of(Standing::Holds).count() as u64;
    if let Some(last) = of(Standing::Holds).next_back() {
        let line = format!(
            "{} believed, last {}",
            plural(held, "stamp"),
            stamp_line(last)
        );
        text.push_str(&field("time", &line));
    }
    let wrong = of(Standing::Wrong).count() as u64;
    if let Some(last) = of(Standing::Wrong).next_back() {
        let why = last.why.as_deref().unwrap_or("-");
        let line = format!("{} NOT BELIEVED: {why}", plural(wrong, "stamp"));
        text.push_str(&field("time", &line));
    }
    let open = of(Standing::NotChecked).count() as u64;
    if let Some(last) = of(Standing::NotChecked).next_back() {
        let why = last.why.as_deref().unwrap_or("-");
        text.push_str(&field(
            "time",
            &format!("{} NOT CHECKED: {why}", plural(open, "stamp")),
        ));
    }
    text
}

/// The newest signed head: as it is, ready to be kept; or where it was written.
pub fn head(view: &HeadView) -> String {
    match &view.file {
        None => view
            .note
            .lines()
            .map(|line| sanitise(line) + "\n")
            .collect(),
        Some(file) => format!(
            "{}: the head of {} with {} entries; keep it where nobody who can write to the store can\n",
            sanitise(file),
            sanitise(&view.log),
            count(view.entries)
        ),
    }
}

/// Which log ended and which goes on.
pub fn rotated(view: &RotationView) -> String {
    let ended = format!(
        "{}, {} entries, root {}",
        view.ended,
        count(view.entries),
        view.root
    );
    field("ended", &ended) + &field("goes on", &view.begun) + &field("key", &view.key)
}

/// The seal key after its exchange.
pub fn exchanged(view: &SealKeyView) -> String {
    let ended = format!(
        "{}; {} of it stay valid",
        view.ended,
        plural(view.seals, "seal")
    );
    let public = view.public.lines();
    let public: String = public.map(|line| sanitise(line) + "\n").collect();
    field("ended", &ended)
        + &field("goes on", &view.begun)
        + &field("ledger", &view.ledger)
        + &public
}
