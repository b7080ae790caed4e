//! `taintline replay`.

use domain::replay::{ReplayVerdict, ReplayWay};

use super::{field, finding, plural};
use crate::environment::EnvVerdict;
use crate::replay::{
    AuditLine, AuditPlanView, AuditRunView, BandView, JobView, ReplayEnvironment, ReplayLine,
    ReplayView,
};
use crate::sanitise;

/// Parts of the band that are named.
const BAND_MAX: usize = 5;
/// Files of the environment that are named.
const FILES_MAX: usize = 5;

/// What a replay says.
pub fn replayed(view: &ReplayView) -> String {
    let run = sanitise(&view.run);
    let mut text = match (view.verdict, &view.finding) {
        (ReplayVerdict::Same, _) => {
            format!("AS RECORDED {run}, steps {} to {}\n", view.first, view.last)
        }
        (ReplayVerdict::Differs, Some(found)) => match found.step {
            Some(step) => format!("AFFECTED {run} from step {step} on\n"),
            None => format!("AFFECTED {run}\n"),
        },
        _ => format!("CANNOT TEST {run}\n"),
    };
    if let Some(found) = &view.finding {
        text.push_str(&finding(found));
    }
    text.push_str(&field("way", way(view.way)));
    text.push_str(&field(
        "code",
        &format!("{} ({})", view.code, plural(view.scripts, "file")),
    ));
    for line in &view.lineage {
        text.push_str(&field("began with", line));
    }
    text.push_str(&field("environment", &environment(&view.environment)));
    if let Some(user) = view.user {
        text.push_str(&field("user", &format!("{user}, which is nobody's")));
    }
    let compared = format!(
        "{} of {}",
        plural(view.compared, "record"),
        plural(view.recorded, "recorded step")
    );
    text.push_str(&field("compared", &compared));
    for (part, count) in &view.parts {
        text.push_str(&field("", &format!("{part}: {count}")));
    }
    if let Some(repeated) = view.repeated {
        text.push_str(&field("repeated", repeated));
    }
    if let Some(band) = &view.band {
        text.push_str(&banded(band));
    }
    for found in &view.again {
        text.push_str(&field("found again", &found.what));
    }
    for gap in &view.limits {
        text.push_str(&field("limit", &format!("{}: {}", gap.what, gap.why)));
    }
    let cost = &view.cost;
    text.push_str(&field(
        "cost",
        &format!(
            "{:.1} s, of these {:.2} s in the steps, which took {:.2} s in the run",
            cost.wall_seconds, cost.steps_seconds, cost.recorded_seconds
        ),
    ));
    if let Some((log, number)) = &view.ledger {
        text.push_str(&field("recorded", &format!("{log}, entry {number}")));
    }
    text
}

/// How far honest computations lie apart, and where the record comes nearest to its limits.
fn banded(band: &BandView) -> String {
    let mut text = field(
        "band",
        &format!(
            "learnt from clean replays with {}; {} tell of weights",
            band.replays.join("; "),
            plural(band.told, "record")
        ),
    );
    let mut nearest: Vec<_> = band.parts.iter().collect();
    nearest.sort_by(|one, other| (other.record / other.limit).total_cmp(&(one.record / one.limit)));
    for part in nearest.iter().take(BAND_MAX) {
        text.push_str(&field(
            "",
            &format!(
                "{} {} at step {}: {:.1e} from the nearest, limit {:.1e} (clean ones up to {:.1e} apart)",
                part.part, part.of, part.step, part.record, part.limit, part.clean
            ),
        ));
    }
    text
}

fn way(way: ReplayWay) -> &'static str {
    match way {
        ReplayWay::Start => "from the run's own start",
        ReplayWay::Resume => "the script resumed from a checkpoint of the run, by its own means",
        ReplayWay::Substitute => {
            "the script went through the steps before without computing them, then the state of a checkpoint of the run was put in"
        }
    }
}

fn environment(view: &ReplayEnvironment) -> String {
    let vouched = match (view.verdict, view.findings) {
        (EnvVerdict::AsVouched, _) => "as vouched for".to_owned(),
        (EnvVerdict::Incomplete, _) => "not all of it vouched for, nothing differs".to_owned(),
        (EnvVerdict::Differs, count) => format!("NOT as vouched for: {}", plural(count, "finding")),
    };
    let same = match view.same {
        Some(true) => "the run had the same".to_owned(),
        Some(false) => {
            let named = view
                .differs
                .iter()
                .take(FILES_MAX)
                .cloned()
                .collect::<Vec<_>>()
                .join(", ");
            let more = view.more + view.differs.len().saturating_sub(FILES_MAX) as u64;
            let more = if more > 0 {
                format!(" and {more} more")
            } else {
                String::new()
            };
            format!("the run had another: {named}{more}")
        }
        None => "the run recorded none".to_owned(),
    };
    format!("{}: {vouched}; {same}", view.prefix)
}

/// A job for another machine, or its answer.
pub fn job(view: &JobView) -> String {
    let run = sanitise(&view.run);
    let mut text = match view.what {
        "accepted" => format!("accepted: the answer about {run}\n"),
        "answer" => format!("answer about {run}\n"),
        _ => format!("job for {run}\n"),
    };
    text.push_str(&field("file", &view.file));
    let size = format!(
        "{}, {}",
        plural(view.members, "part"),
        plural(view.bytes, "byte")
    );
    text.push_str(&field("holds", &size));
    text.push_str(&field("signed by", &view.key));
    if view.what != "accepted" {
        // Whoever takes it needs this key, and not from the file itself.
        text.push_str(&view.public);
    }
    if let Some((log, number)) = &view.ledger {
        text.push_str(&field("recorded", &format!("{log}, entry {number}")));
    }
    text
}

/// A replay in one line.
pub(super) fn line(replay: &ReplayLine) -> String {
    let what = match (replay.verdict, replay.step) {
        (ReplayVerdict::Same, _) => {
            format!("steps {} to {}: as recorded", replay.first, replay.last)
        }
        (ReplayVerdict::Differs, Some(step)) => format!("affected from step {step} on"),
        (ReplayVerdict::Differs, None) => "affected".to_owned(),
        (ReplayVerdict::CannotTest, _) => "could not be tested".to_owned(),
    };
    let (log, number) = &replay.ledger;
    let signed = replay.signed_by.as_ref();
    let signed = signed.map_or_else(String::new, |key| format!(", signed by key {key}"));
    format!(
        "{what} ({}, by {}{signed}; {log}, entry {number})",
        way(replay.way),
        replay.who
    )
}

/// An audit in one line.
pub(super) fn audit_line(audit: &AuditLine) -> String {
    let (log, number) = &audit.ledger;
    format!(
        "{} ({} of {}, by {}; {log}, entry {number})",
        concluded(audit.verdict, audit.step, audit.rate, audit.chance),
        plural(audit.compared, "record"),
        plural(audit.recorded, "recorded step"),
        audit.who
    )
}

fn concluded(verdict: ReplayVerdict, step: Option<u64>, rate: f64, chance: f64) -> String {
    match (verdict, step) {
        (ReplayVerdict::Same, _) => format!(
            "cleared by replay; the chance to have missed tampering with {} % of the steps is {:.2} %",
            rate * 100.0,
            chance * 100.0
        ),
        (ReplayVerdict::Differs, Some(step)) => {
            format!("affected from step {step} on, at the latest")
        }
        (ReplayVerdict::Differs, None) => "affected".to_owned(),
        (ReplayVerdict::CannotTest, _) => "could not be tested".to_owned(),
    }
}

/// What an audit says.
pub fn audited(view: &AuditRunView) -> String {
    let run = sanitise(&view.run);
    let step = view.finding.as_ref().and_then(|found| found.step);
    let word = match view.verdict {
        ReplayVerdict::Same => "CLEARED",
        ReplayVerdict::Differs => "AFFECTED",
        ReplayVerdict::CannotTest => "CANNOT TEST",
    };
    let mut text = format!(
        "{word} {run}: {}\n",
        concluded(view.verdict, step, view.rate, view.chance)
    );
    if let Some(found) = &view.finding {
        text.push_str(&finding(found));
    }
    for stretch in &view.stretches {
        let verdict = match stretch.verdict {
            ReplayVerdict::Same => "as recorded",
            ReplayVerdict::Differs => "differs",
            ReplayVerdict::CannotTest => "could not be tested",
        };
        text.push_str(&field(
            "drawn",
            &format!(
                "steps {} to {}: {verdict} ({}, {:.1} s)",
                stretch.first,
                stretch.last,
                plural(stretch.compared, "record"),
                stretch.seconds
            ),
        ));
    }
    let of = format!(
        "{} of {} between checkpoints; {} of {}",
        view.stretches.len(),
        plural(view.stretches_total, "stretch").replace("stretchs", "stretches"),
        plural(view.compared, "record"),
        plural(view.recorded, "recorded step")
    );
    text.push_str(&field("computed", &of));
    for gap in &view.limits {
        text.push_str(&field("limit", &format!("{}: {}", gap.what, gap.why)));
    }
    text.push_str(&field("cost", &format!("{:.1} s", view.seconds)));
    if let Some((log, number)) = &view.ledger {
        text.push_str(&field("recorded", &format!("{log}, entry {number}")));
    }
    text
}

/// How many steps an audit needs.
pub fn audit_planned(view: &AuditPlanView) -> String {
    let of = match (&view.run, view.steps) {
        (Some(run), Some(steps)) => {
            format!("of the {} of {}", plural(steps, "step"), sanitise(run))
        }
        _ => "of a run with very many steps".to_owned(),
    };
    let mut text = format!("{} {of}, drawn at random\n", plural(view.needed, "step"));
    text.push_str(&field(
        "tampering",
        &format!("with {} % of the steps", view.rate * 100.0),
    ));
    text.push_str(&field(
        "missed",
        &format!(
            "with a chance of {:.2} % (asked for: {} %)",
            view.chance * 100.0,
            view.miss * 100.0
        ),
    ));
    if let Some(seconds) = view.seconds {
        let cost = format!(
            "these steps took {seconds:.1} s in the run; a start of Python, and the steps from the checkpoint before each, come on top"
        );
        text.push_str(&field("cost", &cost));
    }
    text
}
