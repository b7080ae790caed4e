//! `taintline diff`: only what differs.

use super::field;
use crate::view::DiffView;
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
