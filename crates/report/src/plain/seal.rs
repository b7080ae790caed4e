//! `taintline seal` and `taintline verify`.

use super::stamp::stamp_line;
use super::{field, plural};
use crate::sanitise;
use crate::time::{count, size};
use crate::vouch::{DifferenceView, ExcludedView, SealView, SignerView, Verdict, VerifyView};

/// Differences that are shown one by one; JSON has all.
const SHOWN: usize = 50;

/// What was sealed, by whom, and where the signatures are.
pub fn sealed(view: &SealView) -> String {
    let mut text = format!("SEALED {}\n", sanitise(&view.path));
    let what = format!(
        "{}, {}, {} or links",
        plural(view.files, "file"),
        size(view.bytes),
        plural(view.others, "folder")
    );
    text.push_str(&field("covers", &what));
    text.push_str(&field("root", &format!("sha256 {}", view.root)));
    text.push_str(&field("tree", &format!("blake3 {}", view.tree)));
    text.push_str(&signer(&view.signer));
    text.push_str(&field("signature", &view.signature));
    text.push_str(&field("seal", &view.seal));
    text.push_str(&excluded(&view.excluded));
    for note in &view.notes {
        text.push_str(&field("note", note));
    }
    text.push_str(&field("ledger", &view.ledger));
    if let Some(stamp) = &view.stamp {
        text.push_str(&field("stamped", &stamp_line(stamp)));
    }
    if let Some(request) = &view.time_request {
        text.push_str(&field("request", request));
        text.push_str(
            "  next: send it to an authority, then taintline seal PATH --time-response FILE\n",
        );
    }
    text
}

/// The answer, who signed, and every difference.
pub fn verified(view: &VerifyView) -> String {
    let word = match view.verdict {
        Verdict::Valid => "VALID",
        Verdict::Invalid => "INVALID",
        Verdict::CannotCheck => "CANNOT CHECK",
    };
    let mut text = format!("{word} {}\n", sanitise(&view.path));
    for problem in &view.problems {
        text.push_str(&field("wrong", problem));
    }
    for it in view.differences.iter().take(SHOWN) {
        text.push_str(&field(it.what, &difference(it)));
    }
    let more = view.differences.len().saturating_sub(SHOWN);
    if more > 0 {
        let what = format!("{} more; --json has all", plural(more as u64, "difference"));
        text.push_str(&field("", &what));
    }
    for gap in view.gaps.iter().take(SHOWN) {
        text.push_str(&field("not checked", &format!("{}: {}", gap.what, gap.why)));
    }
    let more = view.gaps.len().saturating_sub(SHOWN);
    if more > 0 {
        text.push_str(&field(
            "",
            &format!("{} more not checked; --json has all", count(more as u64)),
        ));
    }
    if let Some(who) = &view.signer {
        text.push_str(&signer(who));
    }
    for stamp in &view.time_stamps {
        text.push_str(&field(
            "time",
            &format!("signed no later than {}", stamp_line(stamp)),
        ));
    }
    if let Some(root) = &view.root {
        text.push_str(&field("root", &format!("sha256 {root}")));
    }
    if view.files > 0 {
        let mut what = format!("{}, {}", plural(view.files, "file"), size(view.bytes));
        if view.files_known > 0 {
            let known = plural(view.files_known, "file");
            what.push_str(&format!(
                "; {known} unchanged since the last time and not read again (--deep reads all)"
            ));
        }
        text.push_str(&field("signed", &what));
    }
    text.push_str(&excluded(&view.excluded));
    for note in &view.notes {
        text.push_str(&field("note", note));
    }
    text
}

fn signer(view: &SignerView) -> String {
    let mut who = view.method.clone();
    for part in [&view.name, &view.subject].into_iter().flatten() {
        who.push_str(&format!(" {part}"));
    }
    if let Some(key) = &view.key {
        who.push_str(&format!(" {key}"));
    }
    if let Some((at, source)) = &view.at {
        who.push_str(&format!(", certificate looked at as of {at} ({source})"));
    }
    field("signed by", &who)
}

fn excluded(view: &ExcludedView) -> String {
    if view.files == 0 {
        return String::new();
    }
    let what = format!(
        "{}, {}, below {}",
        plural(view.files, "file"),
        size(view.bytes),
        view.names.join(", ")
    );
    field("not covered", &what)
}

fn difference(view: &DifferenceView) -> String {
    let mut text = view.path.clone();
    match (&view.signed, &view.found) {
        (Some(signed), Some(found)) => {
            text.push_str(&format!(": {signed} was signed, {found} is there"));
        }
        (Some(one), None) | (None, Some(one)) => text.push_str(&format!(": {one}")),
        (None, None) => {}
    }
    let ranges: Vec<_> = view
        .ranges
        .iter()
        .map(|(from, to)| format!("{}-{}", count(*from), count(*to)))
        .collect();
    if !ranges.is_empty() {
        text.push_str(&format!(", bytes {}", ranges.join(", ")));
    }
    text
}
