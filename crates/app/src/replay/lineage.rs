//! What a run began with: which run saved the checkpoint that it loaded, and whether that is what stood behind the step then.

use domain::Gap;
use domain::entry::{Kind, Load};
use domain::replay::ReplayWay;
use training::checkpoint::CheckpointSummary;

use super::steps::Recorded;
use super::verdict::Parting;
use super::{Once, Task};
use crate::error::AppError;
use crate::origin::{self, Loaded, Origin, Saves};
use crate::record::RunRecord;

/// What is known of the checkpoints that a run loaded before its first step.
#[derive(Default)]
pub(super) struct Began {
    /// One sentence each.
    pub(super) lines: Vec<String>,
    pub(super) limits: Vec<Gap>,
    /// One that holds something else than stood behind its step.
    pub(super) parting: Option<Parting>,
}

/// Follows them to the runs that saved them.
pub(super) fn look(task: &Task<'_>, once: &Once) -> Result<Began, AppError> {
    let record = &task.subject.record;
    let mut began = Began::default();
    let loads = record.loads.iter();
    for load in loads.filter(|load| load.what == Kind::Checkpoint && load.step.is_none()) {
        follow(task, once, load, &mut began)?;
    }
    Ok(began)
}

fn follow(task: &Task<'_>, once: &Once, load: &Load, began: &mut Began) -> Result<(), AppError> {
    let reading = task.subject.reading;
    let unknown = || Gap {
        what: format!("what the run began with: {}", load.path),
        why: "no recorded run saved these bytes: what came before is not known".to_owned(),
    };
    let Some(digest) = load.digest else {
        began.limits.push(unknown());
        return Ok(());
    };
    let summary = (load.summary)
        .and_then(|blob| reading.store.blob(&blob).ok().flatten())
        .and_then(|bytes| CheckpointSummary::decode(&bytes).ok());
    let asked = Loaded {
        path: &load.path,
        digest,
        summary: summary.as_ref(),
    };
    // What was saved since then, by this run too, was not there to be loaded.
    let saves = Saves::of(&reading.index, &asked)?.before(task.subject.record.started_us);
    let save = match origin::judge(&reading.store, &asked, &saves) {
        Origin::AsSaved(save) => save,
        Origin::Unknown => {
            began.limits.push(unknown());
            return Ok(());
        }
        Origin::Wrong(finding) => {
            let step = once.steps.range().0;
            began
                .parting
                .get_or_insert(Parting::Origin { step, finding });
            return Ok(());
        }
    };
    let step = save.step.unwrap_or(0);
    // What stood before the first step is seen only of a process that began there.
    let seen = task.segment.way == ReplayWay::Start;
    began.lines.push(format!(
        "{} is as run {} saved it behind step {step}",
        load.path, save.run
    ));
    let Ok(found) = reading.find(&save.run) else {
        return Ok(());
    };
    let before = Recorded::read(&reading.store, &reading.record(&found)?);
    for (rank, again) in once.steps.ranks.iter().filter(|_| seen) {
        let steps = before.ranks.get(rank).into_iter().flatten();
        for told in steps.filter(|told| told.step == step) {
            let first = again.iter().find(|it| it.optimizer == told.optimizer);
            let Some(stood) = first.and_then(|it| it.begun.as_deref()) else {
                continue;
            };
            let other = |one: Option<domain::Fingerprint>, two: Option<domain::Fingerprint>| {
                one.zip(two).is_some_and(|(one, two)| one != two)
            };
            let what = if other(told.parameters, stood.parameters) {
                "weights"
            } else if other(told.optimizer_state, stood.optimizer_state) {
                "optimizer state"
            } else {
                continue;
            };
            began.parting.get_or_insert(Parting::Checkpoint {
                step,
                rank: *rank,
                what,
            });
        }
    }
    Ok(())
}

/// In what the machine of the replay is another than that of the run, as far as both told it.
pub(super) fn elsewhere(task: &Task<'_>, once: &Once) -> Result<Vec<String>, AppError> {
    let own = super::process::own_record(task, &once.place)?;
    let (run, replay) = (&task.subject.record, &own.record);
    let told = |record: &RunRecord| {
        let joined = record
            .joins
            .first()
            .and_then(|(_, process)| record.joined.get(process));
        joined.map(|it| (it.threads, it.processor.clone(), it.torch.clone()))
    };
    let Some((run, replay)) = told(run).zip(told(replay)) else {
        return Ok(Vec::new());
    };
    let mut differs = Vec::new();
    if let (Some(one), Some(other)) = (run.0, replay.0)
        && one != other
    {
        differs.push(format!("the run had {one} threads, the replay {other}"));
    }
    for (what, one, other) in [("processor", run.1, replay.1), ("torch", run.2, replay.2)] {
        if let (Some(one), Some(other)) = (one, other)
            && one != other
        {
            differs.push(format!("the run had the {what} {one}, the replay {other}"));
        }
    }
    Ok(differs)
}
