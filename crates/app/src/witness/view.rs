//! What is shown of witnesses, and `taintline ledger cosign`.

use std::collections::BTreeMap;
use std::time::Duration;

use ledger::Store;
use ledger::policy::{Judged, Judgement, State};
use report::time::rfc3339;
use report::witness::{ContradictionView, CosignView, WitnessView, WitnessesView};

use super::ask::Trouble;
use super::cosign::{Asked, Contradiction, Holder, cosign};
use super::standing::{Standing, standing};
use super::{WitnessFault, Witnesses};
use crate::error::AppError;
use crate::place::Surroundings;
use crate::settings::Settings;

/// How long all witnesses together may take when a person waits.
const PATIENCE: Duration = Duration::from_secs(20);

/// How far a log is witnessed. What asking came to says why somebody is missing.
pub(crate) fn view(
    name: &str,
    standing: &Standing,
    troubles: Option<&BTreeMap<String, Trouble>>,
) -> WitnessesView {
    let judgement = &standing.judgement;
    let mut view = judged(name, standing.head.size, judgement);
    view.witnessed = standing.cosigned.map(|head| head.size);
    let contradiction = standing.contradiction.as_ref();
    let contradiction = contradiction.map(|found| contradiction_words(name, found));
    view.problem = contradiction.or_else(|| standing.unbelieved.clone());
    view.waiting_seconds = standing.waiting.map(|it| it.as_secs());
    if let Some(troubles) = troubles {
        let words = troubles.iter().map(|(name, why)| (name, why.to_string()));
        troubled(&mut view, words);
    }
    view
}

/// Says of missing witnesses why they are missing.
pub(crate) fn troubled<'t>(
    view: &mut WitnessesView,
    troubles: impl Iterator<Item = (&'t String, String)>,
) {
    for (name, why) in troubles {
        let mut witnesses = view.witnesses.iter_mut();
        match witnesses.find(|it| it.name == *name) {
            Some(witness) if witness.cosigned.is_none() => witness.missing = Some(why),
            Some(witness) => witness.trouble = Some(why),
            None => {}
        }
    }
}

/// What a policy says of a head.
pub(crate) fn judged(name: &str, entries: u64, judgement: &Judgement) -> WitnessesView {
    WitnessesView {
        log: name.to_owned(),
        entries,
        witnessed: None,
        quorum: judgement.quorum,
        needed: judgement.needed,
        witnesses: judgement.witnesses.iter().map(witness).collect(),
        strangers: judgement.strangers.clone(),
        problem: None,
        waiting_seconds: None,
    }
}

fn witness(judged: &Judged) -> WitnessView {
    let cosigned = match judged.state {
        State::Cosigned { at: 0 } => Some(String::new()),
        State::Cosigned { at } => {
            let us = i64::try_from(at)
                .ok()
                .and_then(|at| at.checked_mul(1_000_000));
            Some(us.map(rfc3339).unwrap_or_default())
        }
        _ => None,
    };
    WitnessView {
        name: judged.name.clone(),
        missing: cosigned.is_none().then(|| judged.state.to_string()),
        cosigned,
        trouble: None,
    }
}

/// What two heads that contradict each other mean.
pub(crate) fn contradiction_words(log: &str, found: &Contradiction) -> String {
    let (theirs, ours) = (found.theirs, found.ours);
    let holder = match &found.holder {
        Holder::Witness(name) => format!("witness {name} holds"),
        Holder::File => "`cosigned` is".to_owned(),
    };
    if theirs.size > ours.size {
        format!(
            "old head: {holder} a signed head of {log} with {} entries, which has {}: rolled back",
            theirs.size, ours.size
        )
    } else {
        format!(
            "fork: {holder} a signed head of {log} with {} entries that it does not continue",
            theirs.size
        )
    }
}

/// Asks the witnesses now: about one log, or about each of the store.
pub fn cosign_now(surroundings: &Surroundings, log: Option<&str>) -> Result<CosignView, AppError> {
    let settings = Settings::load(surroundings)?;
    let witnesses = Witnesses::load(&settings.ledger)?.ok_or(WitnessFault::None)?;
    let store = Store::open(&surroundings.store_to_read()?)?;
    let mut view = CosignView {
        schema: "taintline.cosign/1",
        logs: Vec::new(),
        quorum: true,
        contradictions: Vec::new(),
        problems: Vec::new(),
    };
    let logs = match log {
        Some(name) => vec![crate::evidence::find_log(&store, name)?],
        None => store.logs()?,
    };
    for log in logs {
        let asked = cosign(&log, &witnesses.policy, PATIENCE)?;
        view.quorum &= asked.judgement.quorum;
        let standing = standing(&log, &witnesses.policy)?;
        view.logs
            .push(self::view(log.name(), &standing, Some(&asked.troubles)));
        view.contradictions.extend(contradictions(&asked));
        let not_kept = asked.not_kept.as_ref();
        view.problems
            .extend(not_kept.map(|fault| format!("what they said was not kept: {fault}")));
        let unbelieved = standing.unbelieved.as_ref();
        view.problems
            .extend(unbelieved.map(|error| format!("log {}: `cosigned`: {error}", log.name())));
    }
    Ok(view)
}

fn contradictions(asked: &Asked) -> impl Iterator<Item = ContradictionView> {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    asked
        .contradictions
        .iter()
        .map(move |found| ContradictionView {
            what: contradiction_words(&asked.log, found),
            shown_by: match &found.holder {
                Holder::Witness(name) => name.clone(),
                Holder::File => "cosigned".to_owned(),
            },
            theirs: text(&found.their_note),
            ours: text(&found.our_note),
        })
}
