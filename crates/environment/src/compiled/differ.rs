//! What differs between byte code and what its source compiles to, in words.
//!
//! Code objects are matched by where they stand. It refuses to know why they differ or what that is worth.

use std::collections::{BTreeMap, BTreeSet};

use super::marshal::Facts;

/// The most code objects that are told about one by one.
const TOLD_MAX: usize = 6;
/// The most names or constants that are told of one code object.
const WORDS_MAX: usize = 8;

/// One sentence for each code object that differs, the rest counted in the last one. Empty where nothing that is compared
/// here differs.
pub fn differences(found: &[Facts], expected: &[Facts]) -> Vec<String> {
    let (found, expected) = (by_place(found), by_place(expected));
    let mut told = Vec::new();
    for (place, facts) in &found {
        match expected.get(place) {
            None => told.push(added(place, facts)),
            Some(other) => told.extend(changed(place, facts, other)),
        }
    }
    for place in expected.keys().filter(|place| !found.contains_key(*place)) {
        told.push(format!("{place} is in the source and not in the byte code"));
    }
    let more = told.len().saturating_sub(TOLD_MAX);
    told.truncate(TOLD_MAX);
    if more > 0 {
        told.push(format!("{more} further functions differ"));
    }
    told
}

/// Functions of one name at one place are told apart by their order.
fn by_place(facts: &[Facts]) -> BTreeMap<String, &Facts> {
    let mut seen: BTreeMap<&str, usize> = BTreeMap::new();
    let mut places = BTreeMap::new();
    for one in facts {
        let count = seen.entry(&one.place).or_default();
        *count += 1;
        let place = match *count {
            1 => one.place.clone(),
            count => format!("{} ({count})", one.place),
        };
        places.insert(place, one);
    }
    places
}

fn added(place: &str, facts: &Facts) -> String {
    let uses = list(facts.shown_names.iter().collect());
    if uses.is_empty() {
        return format!("{place} is in the byte code and not in the source");
    }
    format!("{place} is in the byte code and not in the source; it uses {uses}")
}

fn changed(place: &str, found: &Facts, expected: &Facts) -> Option<String> {
    let mut parts = Vec::new();
    if found.instructions != expected.instructions {
        parts.push("other instructions".to_owned());
    }
    let sides = [
        (
            "constants",
            found.constants != expected.constants,
            &found.shown_constants,
            &expected.shown_constants,
        ),
        (
            "names",
            found.names != expected.names,
            &found.shown_names,
            &expected.shown_names,
        ),
    ];
    for (what, differs, ours, theirs) in sides {
        if differs {
            parts.push(both(what, ours, theirs));
        }
    }
    if found.rest != expected.rest {
        parts.push("other arguments, flags, local names or handlers of exceptions".to_owned());
    }
    (!parts.is_empty()).then(|| format!("{place}: {}", parts.join("; ")))
}

fn both(what: &str, found: &[String], expected: &[String]) -> String {
    let set = |list: &[String]| list.iter().cloned().collect::<BTreeSet<_>>();
    let (ours, theirs) = (set(found), set(expected));
    let more = list(ours.difference(&theirs).collect());
    let less = list(theirs.difference(&ours).collect());
    match (more.is_empty(), less.is_empty()) {
        (true, true) => format!("{what} in another order or number"),
        (false, true) => format!("{what} that the source does not have: {more}"),
        (true, false) => format!("{what} of the source that are missing: {less}"),
        (false, false) => format!("{what} {more} instead of {less}"),
    }
}

fn list(words: Vec<&String>) -> String {
    let count = words.len();
    let mut shown: Vec<&str> = words
        .into_iter()
        .take(WORDS_MAX)
        .map(String::as_str)
        .collect();
    let more = format!("{} more", count.saturating_sub(WORDS_MAX));
    if count > WORDS_MAX {
        shown.push(&more);
    }
    shown.join(", ")
}
