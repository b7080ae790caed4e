//! What a replay found, in words.

use std::collections::BTreeMap;

use training::replay::compare::{Cause, How};
use training::replay::sampled::Tensor;

use super::Task;
use super::verdict::{Parting, StepParting};

/// Parameters that are named.
const NAMED: usize = 6;

pub(super) fn tensor(tensor: &Tensor) -> String {
    if tensor.name.is_empty() {
        format!("parameter {}", tensor.index)
    } else {
        tensor.name.clone()
    }
}

/// One sentence.
pub(super) fn what(parting: &Parting) -> String {
    match parting {
        Parting::Step(parting) => {
            let step = parting.number;
            format!(
                "step {step}, computed again in a clean process: {}",
                done(parting)
            )
        }
        Parting::Written { path, step, .. } => {
            let at = step.map_or_else(String::new, |step| format!(" behind step {step}"));
            format!("{path}, saved{at}, holds something else than the replay saves there")
        }
        Parting::Origin { finding, .. } => finding.what.clone(),
        Parting::Checkpoint { step, what, .. } => {
            format!("the checkpoint of step {step} holds other {what} than stood behind that step")
        }
    }
}

fn done(parting: &StepParting) -> String {
    let Some(cause) = parting.cause else {
        return "it is another".to_owned();
    };
    match cause {
        Cause::Data => "the run was given other data".to_owned(),
        Cause::Rate {
            group,
            recorded,
            again,
        } => format!("the run used the learning rate {recorded} in group {group}, the replay has {again}"),
        Cause::Before { weights: true, how } => format!(
            "the run's weights were others before it, though not behind the step before: {}",
            so(how)
        ),
        Cause::Before { weights: false, how } => format!(
            "the run's optimizer state was another before it, though not behind the step before: {}",
            so(how)
        ),
        Cause::Random => "the run's random numbers were other ones before its forward pass".to_owned(),
        Cause::Passes => "the run made another number of passes, or in another precision".to_owned(),
        Cause::Loss { times: Some(times) } => {
            format!("from the same batch, weights and random numbers the run had {times:.2} × the loss")
        }
        Cause::Loss { times: None } => {
            "from the same batch, weights and random numbers the run had another loss".to_owned()
        }
        Cause::Gradient { how: Some(how) } => format!("the run's gradients are {}", so(how)),
        Cause::Gradient { how: None } => "the run's gradients are other ones".to_owned(),
        Cause::Update { how: Some(how) } => {
            format!("from the same gradients the run's update is {}", so(how))
        }
        Cause::Update { how: None } => {
            "from the same gradients the run has other weights or state behind it, where nothing was sampled".to_owned()
        }
        Cause::RandomBehind => "the run's random numbers are other ones behind it".to_owned(),
        Cause::Reported => "the run reported another metric".to_owned(),
    }
}

fn so(how: How) -> String {
    match how {
        How::Times(by) => format!("{by:.2} × what the replay has").replace('-', "−"),
        How::Nothing => "zero".to_owned(),
        How::Part(share) => format!("others in {:.1} % of the sampled elements", share * 100.0),
        How::Other(cosine) => {
            format!("others (cosine {cosine:.3} with what the replay has)").replace('-', "−")
        }
    }
}

/// By how much, compared with what.
pub(super) fn details(parting: &Parting) -> Vec<String> {
    match parting {
        Parting::Step(parting) => {
            let parts: Vec<_> = parting.differs.iter().map(|part| part.words()).collect();
            let mut all = vec![format!("differs in: {}", parts.join(", "))];
            if !parting.tensors.is_empty() {
                let names = listed(&parting.tensors);
                all.push(format!("sampled parameters that differ: {names}"));
            }
            all.extend(apart(&parting.each));
            let losses = |step: &domain::StepRecord| {
                let losses: Vec<_> = step
                    .losses
                    .iter()
                    .map(|loss| format!("{:.6}", loss.0))
                    .collect();
                losses.join(" ")
            };
            let (recorded, again) = (losses(&parting.recorded), losses(&parting.again));
            if recorded != again {
                all.push(format!("losses {recorded}, computed again {again}"));
            }
            all
        }
        Parting::Written { names, .. } => vec![format!("differs in: {}", listed(names))],
        Parting::Origin { finding, .. } => finding.details.clone(),
        Parting::Checkpoint { .. } => {
            vec![
                "the bytes are those that the run saved: what was saved is not what it trained"
                    .to_owned(),
            ]
        }
    }
}

/// Parameters by what was done to them, where it is not the same for all.
fn apart(each: &[(String, How)]) -> Vec<String> {
    let mut by_how: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for (name, how) in each {
        by_how.entry(so(*how)).or_default().push(name.clone());
    }
    if by_how.len() < 2 || by_how.len() > NAMED {
        return Vec::new();
    }
    let groups = by_how.into_iter();
    groups
        .map(|(how, names)| format!("{}: {how}", listed(&names)))
        .collect()
}

/// The first few, and how many more.
fn listed(names: &[String]) -> String {
    let first: Vec<_> = names.iter().take(NAMED).cloned().collect();
    match names.len().saturating_sub(NAMED) {
        0 => first.join(", "),
        more => format!("{} and {more} more", first.join(", ")),
    }
}

/// Innocent readings, and what speaks for or against each.
pub(super) fn innocent(task: &Task<'_>, parting: &Parting) -> Vec<String> {
    let mut all = vec![
        "the run was on another kind of processor, or with another number of threads: then the first steps already differ in their last digits".to_owned(),
    ];
    if matches!(parting, Parting::Step(_)) && task.request.code.is_some() {
        all.push("the code of the run was meant: it was replayed with another commit's".to_owned());
    }
    if matches!(parting, Parting::Written { .. }) {
        all.push("the checkpoint holds what is another at each run, such as a time".to_owned());
    }
    all
}
