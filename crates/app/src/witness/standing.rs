//! How far a log is witnessed: what the cosigned head beside it is worth, without asking anybody.

use std::time::Duration;

use domain::Entry;
use ledger::policy::{Judgement, Policy};
use ledger::{Log, LogError, Store, TreeHead, tree_head};
use report::witness::WitnessesView;

use super::ask::contradicted;
use super::cosign::{Contradiction, Holder};
use super::{Witnesses, now, view};
use crate::journal::wall_us;

/// How far a log is witnessed.
#[derive(Debug)]
pub(crate) struct Standing {
    /// The log as it is.
    pub(crate) head: TreeHead,
    /// The head that is cosigned and that the log continues.
    pub(crate) cosigned: Option<TreeHead>,
    /// What the policy says of it; of nothing, where there is none.
    pub(crate) judgement: Judgement,
    /// Why what lies there as the cosigned head is none of this log, or cannot be read.
    pub(crate) unbelieved: Option<String>,
    /// The cosigned head is one that the log does not continue.
    pub(crate) contradiction: Option<Contradiction>,
    /// How old the first entry is that no quorum covers.
    pub(crate) waiting: Option<Duration>,
}

/// Looks.
pub(crate) fn standing(log: &Log, policy: &Policy) -> Result<Standing, LogError> {
    let key = log.key()?;
    // Before the log: what is appended in between does not make it look rolled back.
    let (bytes, fault) = match log.cosigned() {
        Ok(bytes) => (bytes, None),
        // Something that nobody can read where the head lies is somebody's work, and never "nothing there".
        Err(fault) => (None, Some(fault.to_string())),
    };
    let head = log.head()?;
    let mut standing = Standing {
        head,
        cosigned: None,
        judgement: policy.judge_nothing(),
        unbelieved: fault,
        contradiction: None,
        waiting: None,
    };
    let opened = bytes.as_deref().map(|it| (it, tree_head::open(it, &key)));
    match opened {
        None => {}
        Some((_, Err(error))) => standing.unbelieved = Some(error.to_string()),
        Some((bytes, Ok((theirs, note)))) => {
            standing.contradiction = contradicted(log, theirs, bytes, &Holder::File)?;
            // Who cosigned another history says nothing of this one.
            if standing.contradiction.is_none() {
                standing.judgement = policy.judge(&note, key.name(), now());
                standing.cosigned = Some(theirs);
            }
        }
    }
    standing.waiting = waiting(log, &standing)?;
    Ok(standing)
}

impl Standing {
    /// The first entry that no quorum covers.
    fn first_open(&self) -> u64 {
        match &self.cosigned {
            Some(cosigned) if self.judgement.quorum => cosigned.size,
            _ => 0,
        }
    }
}

/// How old the first entry is that no quorum covers; nothing where there is none, or nobody is needed.
fn waiting(log: &Log, standing: &Standing) -> Result<Option<Duration>, LogError> {
    let first = standing.first_open();
    if standing.judgement.needed == 0 || first >= standing.head.size {
        return Ok(None);
    }
    let entries = log.entries(first..first.saturating_add(1))?;
    let entry = entries.first().and_then(|bytes| Entry::decode(bytes).ok());
    let since = entry.map(|entry| wall_us().saturating_sub(entry.capture_us));
    Ok(since.map(|us| Duration::from_micros(u64::try_from(us).unwrap_or_default())))
}

/// How far the log called `name` is witnessed, for people; nothing where nobody is to witness.
pub(crate) fn shown(
    store: &Store,
    name: &str,
    witnesses: Option<&Witnesses>,
) -> Option<WitnessesView> {
    let policy = &witnesses?.policy;
    let log = store
        .logs()
        .ok()?
        .into_iter()
        .find(|log| log.name() == name)?;
    let standing = standing(&log, policy).ok()?;
    Some(view(name, &standing, None))
}
