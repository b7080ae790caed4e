//! `taintline ledger cosign` and `witness key`, and the line that says how far a log is witnessed.

use super::field;
use crate::sanitise;
use crate::witness::{CosignView, WitnessKeysView, WitnessesView};

/// Names that are printed before the rest is counted.
const NAMES: usize = 12;

/// How far a log is witnessed, by whom, and who is missing for what reason.
pub fn witnessed(view: &WitnessesView) -> String {
    let names: Vec<&str> = view
        .witnesses
        .iter()
        .filter(|it| it.cosigned.is_some())
        .map(|it| it.name.as_str())
        .collect();
    let mut line = match view.witnessed {
        Some(entries) if !names.is_empty() => format!(
            "witnessed to entry {} by {} of {} ({})",
            entries.saturating_sub(1),
            names.len(),
            view.witnesses.len(),
            listed(names.iter().map(|name| (*name).to_owned()))
        ),
        _ => "witnessed by nobody".to_owned(),
    };
    if let Some(problem) = &view.problem {
        line = format!("WRONG: {problem}; {line}");
    }
    if let Some(behind) = view.witnessed.map(|it| view.entries.saturating_sub(it))
        && behind > 0
    {
        line.push_str(&format!("; {behind} newer entries are not"));
    }
    let missing = view.witnesses.iter().filter_map(|it| {
        let why = it.missing.as_ref()?;
        Some(format!("{}: {why}", it.name))
    });
    let missing = listed(missing);
    if !missing.is_empty() {
        line.push_str(&format!("; missing: {missing}"));
    }
    let trouble = view.witnesses.iter().filter_map(|it| {
        let why = it.trouble.as_ref()?;
        Some(format!("{}: {why}", it.name))
    });
    let trouble = listed(trouble);
    if !trouble.is_empty() {
        line.push_str(&format!("; not now: {trouble}"));
    }
    if !view.quorum {
        line.push_str(&format!("; short quorum: {} needed", view.needed));
    }
    if !view.strangers.is_empty() {
        let names = listed(view.strangers.iter().cloned());
        line.push_str(&format!(
            "; also cosigned by keys that the policy does not have: {names}"
        ));
    }
    field("witnesses", &line)
}

fn listed(names: impl Iterator<Item = String>) -> String {
    let mut names: Vec<String> = names.collect();
    let more = names.len().saturating_sub(NAMES);
    names.truncate(NAMES);
    if more > 0 {
        names.push(format!("and {more} more"));
    }
    names.join(", ")
}

/// What came of asking.
pub fn cosigned(view: &CosignView) -> String {
    let mut text = String::new();
    for found in &view.contradictions {
        text.push_str(&format!("FOUND  {}\n", sanitise(&found.what)));
        for (label, head) in [("theirs", &found.theirs), ("ours", &found.ours)] {
            for (at, line) in head.lines().filter(|line| !line.is_empty()).enumerate() {
                text.push_str(&field(if at == 0 { label } else { "" }, line));
            }
        }
    }
    for problem in &view.problems {
        text.push_str(&format!("  {}\n", sanitise(problem)));
    }
    for log in &view.logs {
        text.push_str(&field("log", &log.log));
        text.push_str(&witnessed(log));
    }
    text
}

/// One key a line, ready for a policy.
pub fn witness_keys(view: &WitnessKeysView) -> String {
    let lines = view.keys.iter().map(|(key, _)| format!("{key}\n"));
    lines.collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::witness::WitnessView;

    #[test]
    fn a_line_says_how_far_by_whom_who_is_missing_and_why() {
        let witness = |name: &str, missing: Option<&str>| WitnessView {
            name: name.to_owned(),
            cosigned: missing.is_none().then(String::new),
            missing: missing.map(str::to_owned),
            trouble: None,
        };
        let mut view = WitnessesView {
            log: "alice@host".to_owned(),
            entries: 45,
            witnessed: Some(42),
            quorum: true,
            needed: 2,
            witnesses: vec![
                witness("w1", None),
                witness("w2", None),
                witness("w3", Some("connection\u{1b}[31m refused")),
            ],
            strangers: Vec::new(),
            problem: None,
            waiting_seconds: None,
        };
        let line = witnessed(&view);
        assert!(
            line.contains("witnessed to entry 41 by 2 of 3 (w1, w2)"),
            "{line}"
        );
        assert!(line.contains("3 newer entries are not"), "{line}");
        assert!(line.contains("missing: w3: connection"), "{line}");
        assert!(
            !line.contains('\u{1b}') && !line.contains("short quorum"),
            "{line}"
        );
        view.witnesses[0].trouble = Some("connection refused".to_owned());
        assert!(witnessed(&view).contains("; not now: w1: connection refused"));
        view.witnesses[0].trouble = None;
        view.quorum = false;
        view.witnessed = None;
        let line = witnessed(&view);
        assert!(line.contains("witnessed by nobody"), "{line}");
        assert!(line.contains("short quorum: 2 needed"), "{line}");
    }
}
