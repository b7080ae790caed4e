//! `taintline audit run`: stretches of a run, drawn at random after it was recorded, computed again; what that says of the whole.
//!
//! Drawn are stretches between two checkpoints, because a step can only be computed again from a state. Whoever tampers with a share of the steps is
//! taken to do it where it is hardest to hit: all of it in the fewest stretches. The first stretch is always among them, beside those that are drawn.

use std::collections::VecDeque;
use std::time::Instant;

use domain::entry::Act;
use domain::replay::{Audited, ReplayVerdict};
use domain::{Digest, Finding, Gap, RunId};
use report::environment::EnvCheckView;
use report::replay::{AuditLine, AuditRunView, StretchView};
use training::replay::plan;

use super::bisect::{segments, stretch_words};
use super::differences::PutBack;
use super::{
    Answered, ReplayRequest, Segment, Subject, Task, Variation, answered, checked, from_start,
    process, subject,
};
use crate::error::AppError;
use crate::place::Surroundings;
use crate::queries::Reading;
use crate::{acts, stamp, writing};

/// What was asked for.
#[derive(Debug, Clone)]
pub struct AuditRequest {
    /// The run, and how each replay is made; without a name, one is drawn of those that nobody audited.
    pub replay: ReplayRequest,
    /// The share of the steps that is tampered with.
    pub rate: f64,
    /// The chance to miss that which one is content with.
    pub miss: f64,
}

/// What is to be computed again of a run.
struct Draw {
    chosen: Vec<Segment>,
    /// Stretches behind the first one, and how many of them were drawn.
    others: u64,
    drawn: u64,
    /// The fewest of them that hold the tampered share.
    tampered: u64,
}

/// Draws, computes again, and records what follows.
pub fn audit(
    surroundings: &Surroundings,
    request: &AuditRequest,
    progress: &mut dyn FnMut(&str),
) -> Result<AuditRunView, AppError> {
    // It is not in a hurry, and others are.
    let _ = rustix::process::nice(19);
    let began = Instant::now();
    let reading = Reading::open(surroundings)?;
    let name = match request.replay.run.as_str() {
        "" => unaudited(&reading)?,
        name => name.to_owned(),
    };
    let subject = subject(&reading, surroundings, &name)?;
    let program = process::program(&subject, request.replay.env.as_deref())?;
    let between = (!request.replay.from_start).then(|| super::behind_checkpoint(&request.replay));
    let all = segments(&subject, &request.replay, between);
    let draw = draw(&all, request)?;
    let Some(first) = draw.chosen.first() else {
        return Err(subject
            .error("none of its steps can be computed again")
            .into());
    };
    progress(&format!(
        "{}: {} of {} stretches between checkpoints are computed again",
        subject.record.name(),
        draw.chosen.len(),
        all.len()
    ));
    let environment = checked(surroundings, &request.replay, &program)?;
    let nothing = PutBack::default();
    let task = Task {
        subject: &subject,
        segment: first,
        program: &program,
        request: &request.replay,
        variation: Variation::of(&request.replay),
        back: &nothing,
    };
    let Made {
        stretches,
        limits,
        finding,
    } = make(&task, &draw.chosen, progress)?;
    let is = |verdict| stretches.iter().any(|it| it.verdict == verdict);
    let verdict = if finding.is_some() {
        ReplayVerdict::Differs
    } else if is(ReplayVerdict::CannotTest) {
        ReplayVerdict::CannotTest
    } else {
        ReplayVerdict::Same
    };
    let view = AuditRunView {
        schema: "taintline.audit-run/1",
        run: subject.record.name(),
        id: subject.record.id.to_string(),
        verdict,
        rate: request.rate,
        chance: plan::miss(draw.others, draw.tampered, draw.drawn),
        stretches_total: all.len() as u64,
        compared: stretches.iter().map(|it| it.compared).sum(),
        recorded: subject.steps.count(),
        stretches,
        finding,
        limits,
        seconds: began.elapsed().as_secs_f64(),
        ledger: None,
    };
    record(&subject, &environment, view)
}

/// What came of the stretches, up to the first that differs.
#[derive(Default)]
struct Made {
    stretches: Vec<StretchView>,
    limits: Vec<Gap>,
    finding: Option<Finding>,
}

fn make(
    task: &Task<'_>,
    chosen: &[Segment],
    progress: &mut dyn FnMut(&str),
) -> Result<Made, AppError> {
    let mut made = Made::default();
    let mut left = VecDeque::from(chosen.to_vec());
    while let Some(segment) = left.pop_front() {
        progress(&format!("{}: computing again", stretch_words(&segment)));
        let (task, began) = (
            Task {
                segment: &segment,
                ..*task
            },
            Instant::now(),
        );
        let Answered {
            judged,
            segment: answered,
            ..
        } = answered(&task, progress)?;
        made.stretches.push(StretchView {
            first: answered.base + 1,
            last: answered.last,
            compared: judged.compared(),
            verdict: judged.whole_verdict(),
            seconds: began.elapsed().as_secs_f64(),
        });
        for limit in judged.limits() {
            if !made.limits.contains(limit) {
                made.limits.push(limit.clone());
            }
        }
        made.finding = judged.finding(&task)?;
        if made.finding.is_some() {
            break;
        }
        if let Some(last) = left.back().filter(|_| answered.way != segment.way) {
            // No state can be put in: what is left is one stretch from the start.
            left = VecDeque::from([from_start(task.subject, last.last)]);
        }
    }
    Ok(made)
}

/// A run that has steps and that nobody audited, drawn at random.
fn unaudited(reading: &Reading) -> Result<String, AppError> {
    let runs = reading.index.runs()?;
    let mut open = Vec::new();
    for run in runs {
        if reading.index.audits(&run.id.to_string())?.is_empty() && run.steps > 0 {
            open.push(run.name);
        }
    }
    let at = below(open.len() as u64)?;
    let found = usize::try_from(at)
        .ok()
        .and_then(|at| open.get(at).cloned());
    found.ok_or_else(|| {
        super::ReplayError::Record {
            run: "no run of this store".to_owned(),
            why: "each that has steps was audited".to_owned(),
        }
        .into()
    })
}

/// The first stretch, and as many of the others as the wanted chance needs.
fn draw(all: &[Segment], request: &AuditRequest) -> Result<Draw, AppError> {
    let (first, others) = all.split_at(all.len().min(1));
    let steps: u64 = all.iter().map(length).sum();
    let tampered = plan::tampered(steps, request.rate);
    let units = fewest(others, tampered);
    let count = others.len() as u64;
    let wanted = plan::fewest(count, units, request.miss);
    let mut left: Vec<&Segment> = others.iter().collect();
    let mut chosen = first.to_vec();
    for _ in 0..wanted {
        let at = usize::try_from(below(left.len() as u64)?).unwrap_or(0);
        if at < left.len() {
            chosen.push(left.swap_remove(at).clone());
        }
    }
    chosen.sort_by_key(|segment| segment.base);
    Ok(Draw {
        chosen,
        others: count,
        drawn: wanted,
        tampered: units,
    })
}

fn length(segment: &Segment) -> u64 {
    segment.last.saturating_sub(segment.base)
}

/// The fewest stretches that hold so many steps.
fn fewest(segments: &[Segment], steps: u64) -> u64 {
    let mut lengths: Vec<u64> = segments.iter().map(length).collect();
    lengths.sort_unstable_by(|one, other| other.cmp(one));
    let (mut held, mut count) = (0u64, 0);
    for length in lengths {
        if held >= steps {
            break;
        }
        held += length;
        count += 1;
    }
    count
}

/// A number below `end`, each as likely; 0 where there is none.
pub(super) fn below(end: u64) -> Result<u64, AppError> {
    if end == 0 {
        return Ok(0);
    }
    // What lies beyond the last whole multiple is drawn again.
    let most = u64::MAX - u64::MAX % end;
    loop {
        let mut bytes = [0; 8];
        getrandom::fill(&mut bytes).map_err(|_| {
            AppError::Host(std::io::Error::other("the system gave no random bytes"))
        })?;
        let number = u64::from_le_bytes(bytes);
        if number < most {
            return Ok(number % end);
        }
    }
}

fn record(
    subject: &Subject<'_>,
    environment: &EnvCheckView,
    mut view: AuditRunView,
) -> Result<AuditRunView, AppError> {
    let store = &subject.reading.store;
    let report = serde_json::to_vec(&view).unwrap_or_default();
    let act = Act::Audited(Box::new(Audited {
        of: subject.record.id,
        verdict: view.verdict,
        step: view.finding.as_ref().and_then(|finding| finding.step),
        compared: view.compared,
        recorded: view.recorded,
        rate_ppb: billionths(view.rate),
        chance_ppb: billionths(view.chance),
        environment: environment.tree.parse::<Digest>().ok(),
        report: store.put_blob(&report)?,
        person: crate::run::person(),
    }));
    let keys = subject.surroundings.keys()?;
    let writer = writing::open(store, &keys)?;
    view.ledger = Some(acts::record(&writer, act)?);
    Ok(view)
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a share lies between 0 and 1"
)]
fn billionths(share: f64) -> u64 {
    (share.clamp(0.0, 1.0) * 1e9).ceil() as u64
}

#[expect(clippy::cast_precision_loss, reason = "a billion at most")]
fn share(billionths: u64) -> f64 {
    billionths as f64 / 1e9
}

/// The audits of a run that are recorded.
pub(crate) fn audits_of(reading: &Reading, run: RunId) -> Result<Vec<AuditLine>, AppError> {
    let places = reading.index.audits(&run.to_string())?;
    if places.is_empty() {
        return Ok(Vec::new());
    }
    let logs = reading.store.logs()?;
    let mut lines = Vec::new();
    for (log, number) in places {
        let found = logs.iter().find(|found| found.name() == log);
        let act = found
            .map(|found| stamp::act_at(found, number))
            .transpose()?;
        if let Some(Act::Audited(audited)) = act.flatten() {
            lines.push(AuditLine {
                verdict: audited.verdict,
                step: audited.step,
                compared: audited.compared,
                recorded: audited.recorded,
                rate: share(audited.rate_ppb),
                chance: share(audited.chance_ppb),
                who: format!("{}@{}", audited.person.user, audited.person.host),
                ledger: (log, number),
            });
        }
    }
    Ok(lines)
}

#[cfg(test)]
mod tests {
    use domain::replay::ReplayWay;

    use super::*;

    fn stretch(base: u64, last: u64) -> Segment {
        Segment {
            way: ReplayWay::Start,
            last,
            checkpoint: None,
            base,
        }
    }

    #[test]
    fn tampering_is_taken_to_stand_where_it_is_hardest_to_hit() {
        let all = [stretch(0, 10), stretch(10, 60), stretch(60, 80)];
        assert_eq!(fewest(&all, 1), 1);
        assert_eq!(fewest(&all, 50), 1);
        assert_eq!(fewest(&all, 51), 2);
        assert_eq!(fewest(&all, 1_000), 3);
        assert_eq!(fewest(&[], 5), 0);
    }

    #[test]
    fn each_number_is_drawn() {
        let drawn: std::collections::BTreeSet<u64> = (0..200).map(|_| below(3).unwrap()).collect();
        assert_eq!(drawn.into_iter().collect::<Vec<_>>(), [0, 1, 2]);
        assert_eq!(below(0).unwrap(), 0);
    }
}
