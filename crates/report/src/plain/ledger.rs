//! `taintline ledger log`, `show`, `prove`, `verify-proof`.

use super::{field, witnessed};
use crate::time::{count, size};
use crate::view::{EntriesView, EntryView, ProofView, ProvedView};
use crate::{sanitise, shorten};

/// One line an entry.
pub fn entries(view: &EntriesView) -> String {
    let mut text = String::new();
    for entry in &view.entries {
        text.push_str(&format!(
            "{}:{}  {}  {}  {}\n",
            sanitise(&entry.log),
            entry.number,
            entry.captured.as_deref().unwrap_or("-"),
            sanitise(entry.run.as_deref().unwrap_or("-")),
            sanitise(&entry.what),
        ));
    }
    if view.entries.is_empty() {
        text.push_str("no entries\n");
    }
    text
}

/// One entry, its fields on lines of their own.
pub fn entry(view: &EntryView) -> String {
    let mut text = format!("entry {} of {}\n", view.number, sanitise(&view.log));
    text.push_str(&field("leaf", &view.leaf));
    let json = serde_json::to_string_pretty(&view.entry).unwrap_or_default();
    for line in json.lines() {
        text.push_str(&format!("  {}\n", sanitise(line)));
    }
    text
}

/// What was written, and how somebody else verifies it.
pub fn proof(view: &ProofView) -> String {
    let mut text = field(
        "proof",
        &format!("{}, {}", sanitise(&view.file), size(view.bytes)),
    );
    text.push_str(&field(
        "entry",
        &format!(
            "{} of {}, in a tree of {} entries, root {}",
            view.number,
            sanitise(&view.log),
            count(view.size),
            view.root
        ),
    ));
    if !view.cosigners.is_empty() {
        text.push_str(&field("cosigned by", &view.cosigners.join(", ")));
    }
    text.push_str(&field("key", &sanitise(&view.key)));
    text.push_str("  next: taintline ledger verify-proof FILE --key KEY, on any machine; the key must come another way\n");
    text
}

/// Whether it proves anything.
pub fn proved(view: &ProvedView) -> String {
    let (file, log) = (sanitise(&view.file), sanitise(&view.log));
    if let Some(problem) = &view.problem {
        return format!("{file}: NOT PROVED: {}\n", sanitise(problem));
    }
    let witnesses = view.witnesses.as_ref().map(witnessed).unwrap_or_default();
    let mut text = format!(
        "{file}: proved: entry {} of {log} is in the tree that the log's key signed\n",
        view.number
    );
    let tree = format!(
        "{} entries, root {}",
        count(view.size.unwrap_or_default()),
        view.root.as_deref().unwrap_or("-")
    );
    text.push_str(&field("tree", &tree));
    text.push_str(&witnesses);
    text.push_str(&field(
        "entry",
        &shorten(view.entry.as_deref().unwrap_or_default(), 400),
    ));
    text
}
