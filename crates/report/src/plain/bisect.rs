//! `taintline bisect`.

use super::{field, finding, plural};
use crate::bisect::{BisectOutcome, BisectView, DifferenceKind, DifferenceView};
use crate::sanitise;

/// Differences that are named.
const NAMED: usize = 10;

/// What a bisection says.
pub fn bisected(view: &BisectView) -> String {
    let run = sanitise(&view.run);
    let step = view.finding.as_ref().and_then(|found| found.step);
    let step = step.map_or_else(String::new, |step| format!(" from step {step} on"));
    let mut text = match view.outcome {
        BisectOutcome::Cause | BisectOutcome::Step => format!("AFFECTED {run}{step}\n"),
        BisectOutcome::Nothing => format!("AS RECORDED {run}, as far as it was asked\n"),
        BisectOutcome::CannotTest => format!("CANNOT TEST {run}\n"),
    };
    if let Some(found) = &view.finding {
        text.push_str(&finding(found));
    }
    for cause in &view.cause {
        text.push_str(&field("brought about", &difference(cause)));
    }
    match view.others_suffice {
        Some(false) => text.push_str(&field(
            "",
            "put back by itself the recorded step comes out; with all that differs but this, it does not",
        )),
        Some(true) => text.push_str(&field(
            "",
            "put back by itself the recorded step comes out; with all that differs but this, it does as well",
        )),
        None => {}
    }
    for other in view.differences.iter().take(NAMED) {
        text.push_str(&field("differs", &difference(other)));
    }
    let more = view.more + view.differences.len().saturating_sub(NAMED) as u64;
    if more > 0 {
        text.push_str(&field("", &format!("{more} more")));
    }
    for probe in &view.probes {
        let how = if probe.remembered {
            "as it was told before".to_owned()
        } else {
            format!("{:.1} s", probe.seconds)
        };
        text.push_str(&field(
            "asked",
            &format!("{}: {} ({how})", probe.what, probe.answer),
        ));
    }
    for gap in &view.limits {
        text.push_str(&field("limit", &format!("{}: {}", gap.what, gap.why)));
    }
    let cost = format!(
        "{} in {:.1} s",
        plural(view.probes.len() as u64, "replay"),
        view.seconds
    );
    text.push_str(&field("cost", &cost));
    if let Some((log, number)) = &view.ledger {
        text.push_str(&field("recorded", &format!("{log}, entry {number}")));
    }
    text
}

fn difference(view: &DifferenceView) -> String {
    let of = match view.kind {
        DifferenceKind::Environment => "environment",
        DifferenceKind::Variable => "variable",
        DifferenceKind::Code => "code",
    };
    format!("{of}, {}: {}", view.name, view.how)
}
