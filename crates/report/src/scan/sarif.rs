//! SARIF 2.1.0, for code-scanning services: rules from their one definition, findings as results, gaps as notifications of
//! the one invocation, what a baseline accepts as suppressed results.

use domain::scan::{Finding, Gap, GapKind, Place, Rule, Weight};
use domain::{Digest, PathText};
use serde_json::{Value, json};

use super::words::{exit_meaning, place};
use super::{FileReport, Head, Renderer, Tail};
use crate::sanitise;

/// Gaps that are told one by one; the rest is told as a number.
const NOTIFICATIONS: usize = 10_000;
const SCHEMA: &str =
    "https://docs.oasis-open.org/sarif/sarif/v2.1.0/errata01/os/schemas/sarif-schema-2.1.0.json";
const GAPS: &[GapKind] = &[
    GapKind::Encrypted,
    GapKind::NotRead,
    GapKind::Limit,
    GapKind::TooDeep,
    GapKind::Broken,
    GapKind::Unreadable,
    GapKind::Changed,
    GapKind::NotAFile,
    GapKind::Crashed,
    GapKind::TimedOut,
    GapKind::Missing,
];

/// SARIF.
#[derive(Debug, Clone, Default)]
pub struct Sarif {
    some: bool,
    notifications: Vec<Value>,
    left_out: u64,
}

impl Renderer for Sarif {
    fn begin(&mut self, head: &Head) -> String {
        let driver = json!({
            "name": "taintline",
            "semanticVersion": head.version,
            "rules": Rule::ALL.iter().copied().map(rule).collect::<Vec<_>>(),
            "notifications": GAPS.iter().copied().map(descriptor).collect::<Vec<_>>(),
        });
        format!(
            "{{\"$schema\":\"{SCHEMA}\",\"version\":\"2.1.0\",\"runs\":[{{\"tool\":{{\"driver\":{}}},\
             \"columnKind\":\"unicodeCodePoints\",\"results\":[",
            super::json::text(&driver)
        )
    }

    fn file(&mut self, file: &FileReport) -> String {
        let mut text = String::new();
        for (index, finding) in file.examination.findings.iter().enumerate() {
            text.push_str(if self.some { ",\n" } else { "\n" });
            self.some = true;
            text.push_str(&super::json::text(&result(file, index, finding)));
        }
        for gap in &file.examination.gaps {
            if self.notifications.len() < NOTIFICATIONS {
                self.notifications.push(notification(&file.path, gap));
            } else {
                self.left_out += 1;
            }
        }
        text
    }

    fn end(&mut self, tail: &Tail) -> String {
        let mut notifications = std::mem::take(&mut self.notifications);
        if self.left_out > 0 {
            let text = format!("{} further parts were not examined", self.left_out);
            notifications.push(json!({"level": "warning", "message": {"text": text}}));
        }
        for notice in &tail.notices {
            let text = format!("{}: {}", notice.about, sanitise(&notice.text));
            notifications.push(json!({"level": "note", "message": {"text": text}}));
        }
        let invocation = json!([{
            "executionSuccessful": tail.exit_code != 2,
            "exitCode": tail.exit_code,
            "exitCodeDescription": exit_meaning(tail.exit_code),
            "toolExecutionNotifications": notifications,
        }]);
        let properties = json!({"coverage": tail.totals, "confinement": tail.confinement});
        format!(
            "\n],\"invocations\":{},\"properties\":{}}}]}}\n",
            super::json::text(&invocation),
            super::json::text(&properties)
        )
    }
}

fn rule(rule: Rule) -> Value {
    let title = rule.title();
    json!({
        "id": rule.id(),
        "name": format!("{rule:?}"),
        "shortDescription": {"text": format!("Loading the file {title}.")},
        "help": {"text": rule.advice()},
    })
}

/// `not_read` and so on: how the JSON form calls it.
fn gap_name(kind: GapKind) -> String {
    let name = serde_json::to_value(kind).unwrap_or_default();
    name.as_str().unwrap_or_default().to_owned()
}

fn descriptor(kind: GapKind) -> Value {
    json!({
        "id": format!("gap/{}", gap_name(kind)),
        "shortDescription": {"text": format!("A part was not examined: {kind}.")},
    })
}

fn result(file: &FileReport, index: usize, finding: &Finding) -> Value {
    let level = match finding.weight {
        Weight::Dangerous => "error",
        Weight::Unknown | Weight::Custom => "warning",
        Weight::Note => "note",
    };
    let mut text = format!("Loading this file {}", finding.rule.title());
    for part in [&finding.expression, &finding.why] {
        if !part.is_empty() {
            text.push_str(": ");
            text.push_str(&sanitise(part));
        }
    }
    let order = Rule::ALL.iter().position(|rule| *rule == finding.rule);
    let mut result = json!({
        "ruleId": finding.rule.id(),
        "level": level,
        "message": {"text": text},
        "locations": [location(&file.path, &finding.place)],
        "partialFingerprints": {"taintlineFinding/v1": fingerprint(finding)},
        "properties": {"weight": finding.weight, "advice": finding.rule.advice()},
    });
    if let Some(order) = order {
        result["ruleIndex"] = json!(order);
    }
    if let Some(known) = file.acceptance(index)
        && !known.expired
    {
        result["suppressions"] = json!([{
            "kind": "external",
            "status": "accepted",
            "justification": sanitise(&known.reason),
        }]);
    }
    result
}

/// The same for the same finding in a file that was saved again: without offsets.
fn fingerprint(finding: &Finding) -> String {
    let mut bytes = Vec::new();
    let members = finding.place.members.iter().map(String::as_str);
    for part in [finding.rule.id(), finding.expression.as_str()]
        .into_iter()
        .chain(members)
    {
        bytes.extend_from_slice(&(part.len() as u64).to_le_bytes());
        bytes.extend_from_slice(part.as_bytes());
    }
    Digest::of(&bytes).to_string()
}

fn notification(path: &PathText, gap: &Gap) -> Value {
    let mut text = format!("not examined: {}", gap.kind);
    if !gap.what.is_empty() {
        text.push_str(": ");
        text.push_str(&sanitise(&gap.what));
    }
    json!({
        "descriptor": {"id": format!("gap/{}", gap_name(gap.kind))},
        "level": "warning",
        "message": {"text": text},
        "locations": [location(path, &gap.place)],
    })
}

/// An offset within a member is no offset within the file, so it stands in the logical location alone.
fn location(path: &PathText, at: &Place) -> Value {
    let mut location = json!({
        "physicalLocation": {"artifactLocation": {"uri": uri(path)}},
    });
    if let Some(offset) = at.offset.filter(|_| at.members.is_empty()) {
        location["physicalLocation"]["region"] = json!({"byteOffset": offset});
    }
    let name = place(at);
    if !name.is_empty() {
        let name = sanitise(&name);
        location["logicalLocations"] = json!([{"fullyQualifiedName": name, "kind": "member"}]);
    }
    location
}

/// A path as a reference: relative as it is, absolute as a `file` address; all bytes that are not plain are escaped.
fn uri(path: &PathText) -> String {
    let bytes = path.to_bytes();
    let mut uri = String::new();
    if bytes.starts_with(b"/") {
        uri.push_str("file://");
    }
    for byte in bytes {
        if byte.is_ascii_alphanumeric() || b"-._~/".contains(&byte) {
            uri.push(char::from(byte));
        } else {
            uri.push_str(&format!("%{byte:02X}"));
        }
    }
    uri
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_path_becomes_a_reference_that_nobody_takes_for_an_address() {
        let of = |bytes: &[u8]| uri(&PathText::from_bytes(bytes));
        assert_eq!(of(b"ckpt/a b.pt"), "ckpt/a%20b.pt");
        assert_eq!(of(b"javascript:x"), "javascript%3Ax");
        assert_eq!(of(b"/a/\xff%\n"), "file:///a/%FF%25%0A");
    }
}
