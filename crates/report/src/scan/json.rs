//! One JSON document, `taintline.scan/1`, written piece by piece. Its meaning stands in `docs/json.md`.

use domain::scan::{Finding, Gap, Listing, Need, Part, Role};
use serde::Serialize;

use super::{
    Acceptance, Confinement, FileReport, Head, Notice, Renderer, Since, Tail, Totals, Verdict,
};

/// JSON.
#[derive(Debug, Clone, Copy, Default)]
pub struct Json {
    some: bool,
}

#[derive(Serialize)]
struct File<'a> {
    path: &'a str,
    verdict: Verdict,
    complete: bool,
    size: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    digest: Option<String>,
    formats: &'a [String],
    findings: Vec<Told<'a>>,
    gaps: &'a [Gap],
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    parts: &'a [Part],
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    needs: &'a [Need],
    #[serde(skip_serializing_if = "is_zero")]
    raw_bytes: u64,
    #[serde(skip_serializing_if = "is_zero")]
    left_out: u64,
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    listings: &'a [Listing],
    #[serde(skip_serializing_if = "Option::is_none")]
    as_examined: Option<AsExamined<'a>>,
}

/// The entry whose answer it is.
#[derive(Serialize)]
struct AsExamined<'a> {
    log: &'a str,
    entry: u64,
    line: u64,
    at: String,
}

/// A finding with what the baseline says about it.
#[derive(Serialize)]
struct Told<'a> {
    #[serde(flatten)]
    finding: &'a Finding,
    title: &'static str,
    advice: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    baseline: Option<&'a Acceptance>,
}

#[derive(Serialize)]
struct End<'a> {
    totals: &'a Totals,
    exit_code: u8,
    notices: &'a [Notice],
    confinement: &'a Confinement,
    #[serde(skip_serializing_if = "Option::is_none")]
    since: Option<&'a Since>,
    wall_seconds: f64,
}

impl Renderer for Json {
    fn begin(&mut self, head: &Head) -> String {
        let head = text(head);
        format!("{{\"schema\":\"taintline.scan/1\",\"scan\":{head},\"files\":[")
    }

    fn file(&mut self, file: &FileReport) -> String {
        let before = if self.some { ",\n" } else { "\n" };
        self.some = true;
        let done = &file.examination;
        let findings = done.findings.iter().enumerate();
        let findings = findings.map(|(index, finding)| Told {
            finding,
            title: finding.rule.title(),
            advice: finding.rule.advice(),
            baseline: file.acceptance(index),
        });
        let line = text(&File {
            path: file.path.as_str(),
            verdict: file.verdict,
            complete: done.is_complete(),
            size: done.size,
            digest: done.digest.map(|digest| digest.to_string()),
            formats: &done.formats,
            findings: findings.collect(),
            gaps: &done.gaps,
            parts: &done.parts,
            needs: &done.needs,
            raw_bytes: done.raw_bytes,
            left_out: done.left_out,
            listings: &file.listings,
            as_examined: file.as_in.as_ref().map(|kept| AsExamined {
                log: &kept.log,
                entry: kept.entry,
                line: kept.line,
                at: crate::time::rfc3339(kept.at_us),
            }),
        });
        format!("{before}{line}")
    }

    fn end(&mut self, tail: &Tail) -> String {
        let end = text(&End {
            totals: &tail.totals,
            exit_code: tail.exit_code,
            notices: &tail.notices,
            confinement: &tail.confinement,
            since: tail.since.as_ref(),
            wall_seconds: tail.seconds,
        });
        // The fields go on in the object that `begin` opened.
        let fields = end.strip_prefix('{').unwrap_or("}");
        format!("\n],{fields}\n")
    }
}

/// The word for a role, as the JSON form has it.
pub(super) const fn role(role: Role) -> &'static str {
    match role {
        Role::Reference => "reference",
        Role::Construct => "construct",
        Role::Call => "call",
        Role::State => "state",
    }
}

/// These types have string keys and finite numbers only, so that they can always be written.
pub(super) fn text<T: Serialize>(value: &T) -> String {
    let json = serde_json::to_string(value).unwrap_or_else(|_| "null".to_owned());
    crate::sanitise::harmless_json(json)
}

#[expect(
    clippy::trivially_copy_pass_by_ref,
    reason = "the shape that serde asks for"
)]
const fn is_zero(number: &u64) -> bool {
    *number == 0
}
