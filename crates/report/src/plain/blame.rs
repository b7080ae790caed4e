//! `taintline blame`.

use std::fmt::Write as _;

use super::field;
use crate::blame::{BlameView, LinkView};
use crate::sanitise;

/// Who else is named before the rest is counted.
const NAMES: usize = 8;

/// The chain of a file, in order of time.
pub fn blamed(view: &BlameView) -> String {
    let mut text = format!("{}\n", sanitise(&view.asked));
    if view.links.is_empty() {
        text.push_str("  nothing is recorded about it\n");
    }
    for link in &view.links {
        one(&mut text, link);
    }
    for gap in &view.gaps {
        text.push_str(&field("not known", &format!("{}: {}", gap.what, gap.why)));
    }
    text
}

fn one(text: &mut String, link: &LinkView) {
    let digests = match (&link.before, &link.after) {
        (Some(before), Some(after)) if before == after => format!("  {} as before", after.short()),
        (Some(before), Some(after)) => format!("  {} → {}", before.short(), after.short()),
        (None, Some(after)) => format!("  {}", after.short()),
        (Some(before), None) => format!("  was {}", before.short()),
        (None, None) => String::new(),
    };
    let _ = writeln!(
        text,
        "{}  {}{digests}  [{}]",
        link.at,
        sanitise(&link.what),
        link.known
    );
    let from = link.from.as_ref();
    let path = from.map_or_else(
        || link.path.clone(),
        |from| format!("{from} → {}", link.path),
    );
    text.push_str(&field("path", &path));
    text.push_str(&field("by", &link.who));
    if !link.parents.is_empty() {
        text.push_str(&field("came of", &link.parents.join(" ← ")));
    }
    text.push_str(&field(
        "attribution",
        &format!("rung {}: {}", link.rung, link.may_be_said),
    ));
    if !link.could.is_empty() {
        let shown = link.could.iter().take(NAMES).cloned();
        let mut names: Vec<String> = shown.collect();
        let rest = (link.could.len() - names.len()) as u64 + link.could_more;
        if rest > 0 {
            names.push(format!("{rest} more"));
        }
        text.push_str(&field("could too", &names.join("; ")));
    }
    let (log, number) = &link.ledger;
    text.push_str(&field("ledger", &format!("{log}:{number}")));
}

#[cfg(test)]
mod tests {
    use domain::Gap;

    use super::*;

    #[test]
    fn names_are_made_safe_and_the_rest_is_counted() {
        let link = LinkView {
            at: "2026-01-01T00:00:00Z".into(),
            kind: "changed",
            path: "/env/\u{1b}[31ma".into(),
            from: None,
            what: "written".into(),
            before: None,
            after: None,
            known: "observed",
            who: "pid 7 (\"\u{202e}vim\")".into(),
            parents: vec!["bash (6)".into(), "sshd (5)".into()],
            rung: 2,
            may_be_said: "this process, with this login".into(),
            could: (0..9).map(|n| format!("user {n}")).collect(),
            could_more: 2,
            ledger: ("root@host".into(), 5),
        };
        let view = BlameView {
            schema: "taintline.blame/1",
            asked: "/env/a".into(),
            links: vec![link],
            gaps: vec![Gap {
                what: "anything before".into(),
                why: "nobody watched".into(),
            }],
        };
        let text = blamed(&view);
        assert!(
            !text.contains('\u{1b}') && !text.contains('\u{202e}'),
            "{text}"
        );
        assert!(
            text.contains("bash (6) ← sshd (5)") && text.contains("; 3 more"),
            "{text}"
        );
        assert!(text.contains("rung 2: this process") && text.contains("nobody watched"));
        assert!(text.contains("root@host:5"));
    }
}
