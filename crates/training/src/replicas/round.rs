//! One step of all ranks.

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD_NO_PAD;
use domain::Fingerprint;
use domain::replica::{PARTS_MAX, part_of};

/// Parameters that are listed.
const LISTED_MAX: usize = 256;

/// What one rank told of one step.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Told {
    /// All parameters.
    pub parameters: Option<Fingerprint>,
    /// The optimizer's state.
    pub state: Option<Fingerprint>,
    /// One number for all batches; `None` where none was seen.
    pub batches: Option<u128>,
    /// The state of torch's generator.
    pub random: Option<Fingerprint>,
    /// How many parameters there are, and [`domain::Replica::parts`].
    pub parts: (u32, String),
    /// A replica by construction, and of what.
    pub held: Option<u32>,
    /// It may part by right.
    pub apart: bool,
}

/// What is not equal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum What {
    /// The weights.
    Parameters,
    /// The optimizer's state, while the weights are equal.
    State,
}

/// Replicas that are not equal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Parted {
    /// What.
    pub what: What,
    /// The step behind which it is so.
    pub step: u64,
    /// The last step before at which they were equal.
    pub agreed: Option<u64>,
    /// Ranks that must be equal to each other, in the groups that they fell into, the largest first.
    pub groups: Vec<Vec<u32>>,
    /// Numbers of the parameters that differ, or that lie in a run of neighbours that does, and how many there are in all.
    pub tensors: (Vec<usize>, usize),
    /// There are more parameters than were told one by one: those of a run are named together.
    pub runs: bool,
}

impl Parted {
    /// The ranks that differ from most: all of them where no group is larger than every other.
    pub fn minority(&self) -> Vec<u32> {
        let [first, rest @ ..] = &self.groups[..] else {
            return Vec::new();
        };
        let tie = rest.first().is_some_and(|next| next.len() == first.len());
        let from = usize::from(!tie);
        let mut ranks: Vec<u32> = self.groups.iter().skip(from).flatten().copied().collect();
        ranks.sort_unstable();
        ranks
    }
}

/// What was told of one step so far.
#[derive(Debug, Default)]
pub(super) struct Round {
    pub(super) told: BTreeMap<u32, Told>,
}

impl Round {
    /// One value of each rank that told it.
    pub(super) fn values(&self, value: impl Fn(&Told) -> Option<u128>) -> BTreeMap<u32, u128> {
        let values = self
            .told
            .iter()
            .filter_map(|(rank, told)| Some((*rank, value(told)?)));
        values.collect()
    }

    /// The first class of ranks that is not of one value.
    pub(super) fn parted(
        &self,
        step: u64,
        what: What,
        values: &BTreeMap<u32, u128>,
        classes: &[u32],
    ) -> Option<Parted> {
        let mut by_class: BTreeMap<u32, BTreeMap<u128, Vec<u32>>> = BTreeMap::new();
        for (rank, value) in values {
            let class = *classes.get(usize::try_from(*rank).ok()?)?;
            let groups = by_class.entry(class).or_default();
            groups.entry(*value).or_default().push(*rank);
        }
        let groups = by_class.into_values().find(|groups| groups.len() > 1)?;
        let mut groups: Vec<_> = groups.into_values().collect();
        groups.sort_by_key(|ranks| (std::cmp::Reverse(ranks.len()), ranks.first().copied()));
        let (tensors, runs) = match what {
            What::Parameters => self.tensors(&groups),
            What::State => ((Vec::new(), 0), false),
        };
        Some(Parted {
            what,
            step,
            agreed: None,
            groups,
            tensors,
            runs,
        })
    }

    fn tensors(&self, groups: &[Vec<u32>]) -> ((Vec<usize>, usize), bool) {
        let told: Vec<_> = groups
            .iter()
            .filter_map(|ranks| self.told.get(ranks.first()?))
            .map(|told| {
                (
                    told.parts.0,
                    STANDARD_NO_PAD.decode(&told.parts.1).unwrap_or_default(),
                )
            })
            .collect();
        let Some(((count, first), rest)) = told.split_first() else {
            return ((Vec::new(), 0), false);
        };
        let count = usize::try_from(*count).unwrap_or(0);
        let comparable = first.len() == 4 * count.min(PARTS_MAX)
            && rest.iter().all(|(_, parts)| parts.len() == first.len());
        if !comparable {
            return ((Vec::new(), 0), false);
        }
        let differs = |part: usize| {
            let range = 4 * part..4 * part + 4;
            rest.iter()
                .any(|(_, parts)| parts.get(range.clone()) != first.get(range.clone()))
        };
        let parts: Vec<bool> = (0..count.min(PARTS_MAX)).map(differs).collect();
        let of = |index: &usize| parts.get(part_of(*index, count)) == Some(&true);
        // A count is told by the process: parts bound what it can make us do.
        let count = count.min(1 << 20);
        let listed = (0..count).filter(of).take(LISTED_MAX).collect();
        let all = (0..count).filter(of).count();
        ((listed, all), count > PARTS_MAX)
    }
}

/// For each rank the lowest one with the same value.
pub(super) fn classes(values: &BTreeMap<u32, u128>) -> Vec<u32> {
    let mut lowest = BTreeMap::new();
    values
        .iter()
        .map(|(rank, value)| *lowest.entry(*value).or_insert(*rank))
        .collect()
}
