//! Checkpoints that the run saved, beside those that its replay saves there: by their bytes, else by what they hold.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use domain::entry::Write;
use domain::replay::ReplayWay;
use ledger::Store;
use training::checkpoint::CheckpointSummary;
use training::replay::saved::{self, Apart};

use super::inputs::path_of;
use super::verdict::Parting;
use super::{Once, Task, process};
use crate::error::AppError;

/// What came of it.
#[derive(Default)]
pub(super) struct Written {
    /// How many were compared.
    pub(super) compared: u64,
    /// How many have other bytes, and were not seen whole.
    pub(super) unread: u64,
    /// The first that differs.
    pub(super) first: Option<Parting>,
}

/// Compares all that both saved, but for what is called as in `shifting`.
pub(super) fn compare(
    task: &Task<'_>,
    once: &Once,
    shifting: &BTreeSet<String>,
) -> Result<Written, AppError> {
    let own = process::own_record(task, &once.place)?;
    let again = saves(&own, once);
    let mut found = Written::default();
    for (_, write) in &task.subject.record.writes {
        let Some(other) = again.get(&(path_of(&write.path), write.step)) else {
            continue;
        };
        let Some(apart) = apart(
            (&task.subject.reading.store, write),
            (&own.reading.store, other),
        ) else {
            found.unread += 1;
            continue;
        };
        found.compared += 1;
        let mut names = apart.tensors;
        if task.segment.way != ReplayWay::Substitute {
            // Its other values may go back to steps that were not computed then.
            names.extend(apart.values);
        }
        names.retain(|name| !shifting.contains(name));
        if !names.is_empty() && found.first.is_none() {
            found.first = Some(Parting::Written {
                path: write.path.clone(),
                step: write.step,
                names,
            });
        }
    }
    Ok(found)
}

/// Names of what two replays save differently, wherever both save. An error where one of them has nothing at `path`, or it was not seen whole.
pub(super) fn shifting(
    task: &Task<'_>,
    first: &Once,
    second: &Once,
    (path, step): (&Path, Option<u64>),
) -> Result<BTreeSet<String>, String> {
    let own =
        |once: &Once| process::own_record(task, &once.place).map_err(|error| error.to_string());
    let (one, two) = (own(first)?, own(second)?);
    let (left, right) = (saves(&one, first), saves(&two, second));
    let mut names = BTreeSet::new();
    for (key, write) in left {
        let is_meant = key == (path.to_owned(), step);
        let other = right.get(&key);
        let apart =
            other.map(|other| apart((&one.reading.store, write), (&two.reading.store, other)));
        match apart {
            Some(Some(apart)) => {
                names.extend(apart.tensors);
                names.extend(apart.values);
            }
            Some(None) if is_meant => {
                return Err("in the checkpoint that they saved".to_owned());
            }
            None if is_meant => return Err("in what they saved".to_owned()),
            _ => {}
        }
    }
    Ok(names)
}

/// What a replay saved, by where the run would have.
fn saves<'a>(own: &'a process::Own, once: &Once) -> BTreeMap<(PathBuf, Option<u64>), &'a Write> {
    let writes = own.record.writes.iter();
    writes
        .map(|(_, write)| {
            let path = once.place.original(&path_of(&write.path));
            ((path, write.step), write)
        })
        .collect()
}

/// In what they differ; `None` where not all of them was seen.
fn apart(one: (&Store, &Write), other: (&Store, &Write)) -> Option<Apart> {
    if one.1.digest.is_some() && one.1.digest == other.1.digest {
        return Some(Apart::default());
    }
    let both = summary(one.0, one.1).zip(summary(other.0, other.1));
    both.and_then(|(left, right)| saved::apart(&left, &right))
}

fn summary(store: &Store, write: &Write) -> Option<CheckpointSummary> {
    let bytes = store.blob(&write.summary?).ok().flatten()?;
    CheckpointSummary::decode(&bytes).ok()
}
