//! `taintline spec`.

use super::field;
use crate::sanitise;
use crate::view::{SpecLearntView, SpecSignedView, SpecView};

/// What was learnt, and what was left open.
pub fn spec_learnt(view: &SpecLearntView) -> String {
    let mut text = format!(
        "LEARNT {} from {}\n",
        sanitise(&view.spec),
        sanitise(&view.run)
    );
    text.push_str(&field("table", &view.table));
    text.push_str(&field("steps", &view.steps.to_string()));
    for open in &view.not_declared {
        text.push_str(&field("not declared", open));
    }
    text.push_str(&field(
        "next",
        "read it, then sign it: taintline spec sign FILE",
    ));
    text
}

/// Whose word a spec is.
pub fn spec_signed(view: &SpecSignedView) -> String {
    let word = if view.recorded.is_some() {
        "SIGNED"
    } else {
        "HOLDS"
    };
    let mut text = format!("{word} {}\n", sanitise(&view.spec));
    text.push_str(&field("sha256", &view.sha256.to_string()));
    text.push_str(&field("signed by", &view.signed));
    text.push_str(&field("amendments", &view.amendments.to_string()));
    if let Some((log, number)) = &view.recorded {
        text.push_str(&field("recorded", &format!("{log}, entry {number}")));
    }
    text
}

/// A spec in words.
pub fn spec_shown(view: &SpecView) -> String {
    let mut text = format!("SPEC {} ({})\n", sanitise(&view.name), sanitise(&view.file));
    text.push_str(&field("signed by", &view.signed));
    for (label, value) in &view.lines {
        text.push_str(&field(label, value));
    }
    text
}
