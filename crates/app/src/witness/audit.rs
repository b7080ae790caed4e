//! What the audit says of witnesses: the cosigned head of each log against the log, and against the policy where the
//! settings have one.

use std::path::Path;

use ledger::policy::{Judgement, State};
use ledger::{Log, Store, tree_head};
use report::view::ProblemView;
use report::witness::WitnessesView;

use super::ask::contradicted;
use super::cosign::Holder;
use super::{Standing, Witnesses, contradiction_words, standing, view};
use crate::error::AppError;

/// How far each log is witnessed, and what is wrong with it. A log that cannot be read is the audit's own problem already.
pub(crate) fn audit(
    store: &Store,
    witnesses: Option<&Witnesses>,
) -> Result<(Vec<WitnessesView>, Vec<ProblemView>), AppError> {
    let (mut views, mut problems) = (Vec::new(), Vec::new());
    for log in store.logs()? {
        let found = match witnesses {
            None => unjudged(&log),
            Some(witnesses) => match standing(&log, &witnesses.policy) {
                Ok(standing) => {
                    views.push(view(log.name(), &standing, None));
                    against(log.name(), &standing, witnesses)
                }
                Err(error) => vec![error.to_string()],
            },
        };
        let file = Path::new("ledger").join(log.name()).join("cosigned");
        problems.extend(found.into_iter().map(|what| ProblemView {
            file: file.display().to_string(),
            what,
        }));
    }
    Ok((views, problems))
}

/// Without a policy only this can be said: whether the cosigned head is one of the log.
fn unjudged(log: &Log) -> Vec<String> {
    let bytes = match log.cosigned() {
        Ok(Some(bytes)) => bytes,
        Ok(None) => return Vec::new(),
        Err(fault) => return vec![fault.to_string()],
    };
    let Ok(key) = log.key() else {
        return Vec::new(); // the audit's own problem
    };
    let theirs = match tree_head::open(&bytes, &key) {
        Ok((theirs, _)) => theirs,
        Err(error) => return vec![error.to_string()],
    };
    match contradicted(log, theirs, &bytes, &Holder::File) {
        Ok(found) => {
            let words = found.map(|found| contradiction_words(log.name(), &found));
            words.into_iter().collect()
        }
        Err(error) => vec![error.to_string()],
    }
}

fn against(name: &str, standing: &Standing, witnesses: &Witnesses) -> Vec<String> {
    let mut found = Vec::new();
    if let Some(error) = &standing.unbelieved {
        found.push(error.clone());
    }
    if let Some(contradiction) = &standing.contradiction {
        found.push(contradiction_words(name, contradiction));
    }
    if standing.cosigned.is_some() {
        found.extend(named(&standing.judgement));
        if !standing.judgement.quorum {
            found.push(short(&standing.judgement));
        }
    }
    if let Some(waiting) = standing.waiting.filter(|it| *it > witnesses.patience) {
        let covered = standing.cosigned.map_or(0, |head| head.size);
        found.push(format!(
            "old head: a quorum has cosigned {} of {} entries, and the first of the others is {} s old",
            if standing.judgement.quorum { covered } else { 0 },
            standing.head.size,
            waiting.as_secs()
        ));
    }
    found
}

/// What is wrong with a cosignature that is there, and whose it is.
fn named(judgement: &Judgement) -> Vec<String> {
    let is_there = |state: State| !matches!(state, State::Missing | State::Cosigned { .. });
    let lacking = judgement.lacking().filter(|it| is_there(it.state));
    lacking
        .map(|it| format!("witness {}: {}", it.name, it.state))
        .collect()
}

/// That there are too few, and who is missing.
pub(super) fn short(judgement: &Judgement) -> String {
    let missing = judgement.lacking();
    let missing: Vec<_> = missing
        .map(|it| format!("{}: {}", it.name, it.state))
        .collect();
    let strangers = match judgement.strangers.as_slice() {
        [] => String::new(),
        names => format!(
            "; wrong witness: cosigned by keys that the policy does not have: {}",
            names.join(", ")
        ),
    };
    format!(
        "short quorum: {} of the witnesses cosigned, {} needed; missing {}{strangers}",
        judgement.cosigned().count(),
        judgement.needed,
        missing.join(", ")
    )
}
