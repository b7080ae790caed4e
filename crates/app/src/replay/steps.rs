//! The recorded steps of a run, by rank, and what the replaying processes are told of them.

use std::collections::BTreeMap;

use domain::StepRecord;
use ledger::Store;
use serde::Serialize;
use training::replay::sampled::Told;

use super::place::Workplace;
use super::{ReplayError, Task, disk};
use crate::present::steps_of;
use crate::record::RunRecord;

/// Steps of all ranks, in the order in which each process told them.
pub(super) struct Recorded {
    pub(super) ranks: BTreeMap<u32, Vec<StepRecord>>,
}

impl Recorded {
    pub(super) fn read(store: &Store, record: &RunRecord) -> Self {
        let mut ranks: BTreeMap<u32, Vec<StepRecord>> = BTreeMap::new();
        for (_, process) in &record.joins {
            let rank = record.joined.get(process).and_then(|joined| joined.rank);
            let steps = steps_of(store, record, process);
            let all = ranks.entry(rank.unwrap_or(0)).or_default();
            // The first process of a rank that trained is the one; a later one began anew.
            if all.is_empty() {
                *all = steps;
            }
        }
        ranks.retain(|_, steps| !steps.is_empty());
        Self { ranks }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.ranks.is_empty()
    }

    /// First and last number of a step.
    pub(super) fn range(&self) -> (u64, u64) {
        let all = || self.ranks.values().flatten().map(|step| step.step);
        (all().min().unwrap_or(0), all().max().unwrap_or(0))
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
    picks: BTreeMap<String, BTreeMap<String, Picks>>,
}

/// Where the recorded run looked, and where the replay ends.
pub(super) fn write_plan(task: &Task<'_>, place: &Workplace) -> Result<(), ReplayError> {
    let segment = task.segment;
    let (_, end) = task.subject.steps.range();
    let mut ranks = BTreeMap::new();
    for (rank, steps) in &task.subject.steps.ranks {
        let (mut told, mut picks) = (Told::default(), BTreeMap::<_, BTreeMap<_, _>>::new());
        let mut last = None;
        for step in steps {
            told.hear(step);
            if (segment.base + 1..=segment.last).contains(&step.step) {
                let of = picks.entry(step.optimizer.to_string()).or_default();
                of.insert(step.step.to_string(), told.positions(step));
                last = Some((step.optimizer, step.step));
            }
        }
        // To the end of the run, so that what it saves there is saved again.
        let last = last.filter(|_| segment.last < end);
        let plan = RankPlan {
            base: segment.base,
            last,
            picks,
        };
        ranks.insert(rank.to_string(), plan);
    }
    let file = place.at("plan.json");
    let text = serde_json::to_vec(&Plan { ranks }).unwrap_or_default();
    std::fs::write(&file, text).map_err(disk(&file))
}
