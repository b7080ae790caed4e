//! `taintline diff` and `taintline ledger audit`: only what differs, only what is wrong.

use super::{field, plural};
use crate::time::{count, size};
use crate::view::{AuditView, DiffView};
use crate::{sanitise, shorten};

/// Only what differs between two runs, then what is equal and what could not be compared.
pub fn diff(view: &DiffView) -> String {
    let mut text = format!("{} → {}\n", sanitise(&view.left), sanitise(&view.right));
    for difference in &view.differences {
        let side = |value: &Option<String>| shorten(value.as_deref().unwrap_or("absent"), 70);
        let sides = format!("{} → {}", side(&difference.left), side(&difference.right));
        text.push_str(&field(
            difference.dimension,
            &format!("{}: {sides}", difference.what),
        ));
    }
    if view.differences.is_empty() {
        text.push_str("  nothing differs in what was compared\n");
    }
    if !view.equal.is_empty() {
        text.push_str(&field("equal", &view.equal.join(", ")));
    }
    for gap in &view.not_compared {
        text.push_str(&field(
            "not compared",
            &format!("{}: {}", gap.what, gap.why),
        ));
    }
    text
}

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
    for log in &view.logs {
        let line = format!(
            "{}  {} entries  root {}",
            log.name,
            count(log.entries),
            log.root
        );
        text.push_str(&field("log", &line));
    }
    let checked = format!(
        "{}, {} in all",
        plural(view.blobs, "blob"),
        size(view.bytes)
    );
    text.push_str(&field("checked", &checked));
    text.push_str(&match view.problems.len() {
        0 => "every entry, tile, tree head and blob is as it was written\n".to_owned(),
        wrong => format!("{} wrong\n", plural(wrong as u64, "thing")),
    });
    text
}
