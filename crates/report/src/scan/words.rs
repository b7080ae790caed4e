//! Words that all renderers share: where something is, in one line.

use domain::scan::Place;

use crate::time::count;

/// `archive/data.pkl › program 2, byte 1,234`; the file itself is empty. Not sanitised.
pub(super) fn place(place: &Place) -> String {
    let mut text = place.members.join(" › ");
    let mut details = Vec::new();
    if let Some(stream) = place.stream.filter(|stream| *stream > 0) {
        details.push(format!("program {}", u64::from(stream) + 1));
    }
    if let Some(offset) = place.offset {
        details.push(format!("byte {}", count(offset)));
    }
    if !details.is_empty() {
        if !text.is_empty() {
            text.push_str(", ");
        }
        text.push_str(&details.join(", "));
    }
    text
}

/// `n thing` or `n things`, with thousands separated.
pub(super) fn plural(number: u64, thing: &str) -> String {
    let ending = if number == 1 { "" } else { "s" };
    format!("{} {thing}{ending}", count(number))
}

/// Why an exit code is what it is.
pub(super) const fn exit_meaning(code: u8) -> &'static str {
    match code {
        0 => "nothing found, and everything that a loader would interpret was examined",
        1 => "findings",
        2 => "something that was named could not be read",
        3 => "nothing found that counts, but not everything could be examined or vouched for",
        _ => "refused",
    }
}
