//! The recorded steps of a run, by rank, and what the replaying processes are told of them.

use std::collections::BTreeMap;
use std::path::PathBuf;

use domain::StepRecord;
use domain::replay::ReplayWay;
use ledger::Store;
use serde::Serialize;
use training::replay::sampled::Told;

use super::inputs::Laid;
use super::place::Workplace;
use super::{ReplayError, Task, disk};
use crate::present::steps_of;
use crate::record::RunRecord;

/// Steps of all ranks, in the order in which each process told them.
pub(super) struct Recorded {
    pub(super) ranks: BTreeMap<u32, Vec<StepRecord>>,
    /// Processes that trained behind the first one of their rank.
    pub(super) later: u64,
}

impl Recorded {
    pub(super) fn read(store: &Store, record: &RunRecord) -> Self {
        let (mut ranks, mut later) = (BTreeMap::<u32, Vec<StepRecord>>::new(), 0);
        for (_, process) in &record.joins {
            let rank = record.joined.get(process).and_then(|joined| joined.rank);
            let steps = steps_of(store, record, process);
            let all = ranks.entry(rank.unwrap_or(0)).or_default();
            // The first process of a rank that trained is the one; a later one began anew.
            if all.is_empty() {
                *all = steps;
            } else {
                later += u64::from(!steps.is_empty());
            }
        }
        ranks.retain(|_, steps| !steps.is_empty());
        Self { ranks, later }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.ranks.is_empty()
    }

    /// Records of all ranks.
    pub(super) fn count(&self) -> u64 {
        self.ranks.values().map(|steps| steps.len() as u64).sum()
    }

    /// First and last number of a step.
    pub(super) fn range(&self) -> (u64, u64) {
        let all: Vec<u64> = self
            .ranks
            .values()
            .flat_map(|steps| numbers(steps))
            .collect();
        let (first, last) = (all.iter().min(), all.iter().max());
        (first.copied().unwrap_or(0), last.copied().unwrap_or(0))
    }

    /// Microseconds of wall time of the steps from `first` to `last`, of one rank.
    pub(super) fn time_us(&self, first: u64, last: u64) -> u64 {
        let steps = self.ranks.values().next().into_iter().flatten();
        let wanted = steps.filter(|step| (first..=last).contains(&step.step));
        wanted
            .map(|step| {
                let it = step.phases;
                it.data_us
                    + it.forward_us
                    + it.backward_us
                    + it.between_us
                    + it.optimizer_us
                    + it.sensor_us
            })
            .sum()
    }
}

/// The numbers of one process's steps as they follow from their order: a step that leaves its state as it was tells the number of the one before
/// again, and so does one after an earlier state was loaded.
pub(super) fn numbers(steps: &[StepRecord]) -> Vec<u64> {
    let mut last: BTreeMap<u32, u64> = BTreeMap::new();
    let mut numbers = Vec::with_capacity(steps.len());
    for step in steps {
        let last = last.entry(step.optimizer).or_default();
        *last = step.step.max(last.saturating_add(1));
        numbers.push(*last);
    }
    numbers
}

/// Positions in each parameter.
type Picks = Vec<(u32, Vec<u64>)>;

#[derive(Serialize)]
struct Plan {
    ranks: BTreeMap<String, RankPlan>,
}

#[derive(Serialize)]
struct RankPlan {
    base: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    last: Option<(u32, u64)>,
    /// Threads that torch keeps to, whatever the script says.
    #[serde(skip_serializing_if = "Option::is_none")]
    threads: Option<u32>,
    /// The state that is put in, and the steps before it.
    #[serde(skip_serializing_if = "Option::is_none")]
    restore: Option<Restore>,
    picks: BTreeMap<String, BTreeMap<String, Picks>>,
}

#[derive(Serialize)]
struct Restore {
    files: Vec<PathBuf>,
    /// Steps that are not computed, by optimizer.
    steps: BTreeMap<String, u64>,
}

/// Where the recorded run looked, and where the replay ends.
pub(super) fn write_plan(
    task: &Task<'_>,
    place: &Workplace,
    laid: &Laid,
) -> Result<(), ReplayError> {
    let segment = task.segment;
    let (_, end) = task.subject.steps.range();
    let mut ranks = BTreeMap::new();
    for (rank, steps) in &task.subject.steps.ranks {
        let (mut told, mut picks) = (Told::default(), BTreeMap::<_, BTreeMap<_, _>>::new());
        let (mut last, mut before) = (None, BTreeMap::<String, u64>::new());
        for (step, number) in steps.iter().zip(numbers(steps)) {
            told.hear(step);
            if (segment.base + 1..=segment.last).contains(&number) {
                let of = picks.entry(step.optimizer.to_string()).or_default();
                of.insert(number.to_string(), told.positions(step));
                last = Some((step.optimizer, number));
            } else if number <= segment.base {
                *before.entry(step.optimizer.to_string()).or_default() += 1;
            }
        }
        // To the end of the run, so that what it saves there is saved again.
        let last = last.filter(|_| segment.last < end);
        let plan = RankPlan {
            base: segment.base,
            last,
            threads: task.variation.threads,
            restore: (segment.way == ReplayWay::Substitute).then(|| Restore {
                files: laid.put_in.clone(),
                steps: before,
            }),
            picks,
        };
        ranks.insert(rank.to_string(), plan);
    }
    let file = place.at("plan.json");
    let text = serde_json::to_vec(&Plan { ranks }).unwrap_or_default();
    std::fs::write(&file, text).map_err(disk(&file))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_step_that_changes_nothing_has_a_number_all_the_same() {
        let of = |told: &[(u32, u64)]| {
            let steps: Vec<_> = told
                .iter()
                .map(|(optimizer, step)| StepRecord::bare(*step, *optimizer))
                .collect();
            numbers(&steps)
        };
        assert_eq!(of(&[(0, 1), (0, 2), (0, 2), (0, 3)]), [1, 2, 3, 4]);
        // Two optimizers count for themselves, and one goes on where it was resumed.
        assert_eq!(of(&[(0, 41), (1, 1), (0, 42), (1, 2)]), [41, 1, 42, 2]);
    }
}
