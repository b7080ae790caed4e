//! `taintline attest`, `approve`, `approvals`.

use super::{field, plural};
use crate::sanitise;
use crate::statement::{ApprovalView, ApprovalsView, AttestView, StatementVerifyView};
use crate::vouch::Verdict;

/// Names of subjects that are shown.
const SHOWN: usize = 20;

/// What was stated and signed.
pub fn attested(view: &AttestView) -> String {
    let mut text = format!("ATTESTED {}\n", sanitise(&view.run));
    let gaps = plural(view.gaps, "gap");
    text.push_str(&field(
        "verdict",
        &format!("{} ({gaps} listed)", view.verdict),
    ));
    for statement in &view.statements {
        text.push_str(&field(
            "statement",
            &format!("{}  {}", statement.file, statement.predicate),
        ));
    }
    text.push_str(&field("signed by", &format!("key {}", view.key)));
    text
}

/// Whether a statement can be believed, and what it says.
pub fn attestation(view: &StatementVerifyView) -> String {
    let word = match view.verdict {
        Verdict::Valid => "VALID",
        Verdict::Invalid => "INVALID",
        Verdict::CannotCheck => "CANNOT CHECK",
    };
    let mut text = format!("{word} {}\n", sanitise(&view.statement.file));
    if let Some(why) = &view.why {
        let label = match view.verdict {
            Verdict::CannotCheck => "not checked",
            Verdict::Valid | Verdict::Invalid => "wrong",
        };
        text.push_str(&field(label, why));
    }
    if !view.statement.predicate.is_empty() {
        text.push_str(&field("states", &view.statement.predicate));
    }
    for name in view.statement.about.iter().take(SHOWN) {
        text.push_str(&field("about", name));
    }
    if let Some(word) = view
        .content
        .as_ref()
        .and_then(|content| content["predicate"]["verdict"].as_str())
    {
        text.push_str(&field("verdict", word));
    }
    if let Some(key) = &view.key {
        text.push_str(&field("signed by", &format!("key {key}")));
    }
    text
}

/// One line an approval.
pub fn approvals(view: &ApprovalsView) -> String {
    let mut text = String::new();
    for approval in &view.approvals {
        text.push_str(&format!(
            "{} {}\n",
            sanitise(&approval.what),
            sanitise(&approval.about)
        ));
        text.push_str(&field("approved", &approval_line(approval)));
    }
    for file in &view.exported {
        text.push_str(&field("written", file));
    }
    for gap in &view.gaps {
        text.push_str(&field("not read", &format!("{}: {}", gap.what, gap.why)));
    }
    if view.approvals.is_empty() {
        text.push_str("no approvals\n");
    }
    text
}

/// Who approved, when, and whether that counts.
pub(super) fn approval_line(approval: &ApprovalView) -> String {
    let who = approval.who.as_deref().unwrap_or(&approval.key);
    let standing = match approval.standing {
        "allowed" => "",
        "not_asked" => ", NOT CHECKED: no list of allowed signers is settled",
        "unknown" => ", whom nobody vouches for",
        "other_purpose" => ", WHOSE KEY IS NOT FOR THIS",
        "not_yet" => " BEFORE THE KEY WAS VALID",
        "expired" => " AFTER THE KEY WAS VALID",
        "open" => ", whose key's time of validity lacks a zone",
        "revoked" => ", WHOSE KEY WAS TAKEN BACK",
        _ => ", DOES NOT HOLD",
    };
    let mut line = format!("by {who}{standing}");
    if let Some(why) = &approval.why {
        line.push_str(&format!(": {why}"));
    }
    let (at, source) = &approval.at;
    if !at.is_empty() {
        let meaning = match *source {
            "stamped" => "no later than, by a time stamp",
            _ => "as the signer states",
        };
        line.push_str(&format!("  {at} ({meaning})"));
    }
    if approval.touched == Some(true) {
        line.push_str("  token touched");
    }
    if let Some(note) = &approval.note {
        line.push_str(&format!("  “{note}”"));
    }
    line
}
