//! Ranks that are not as they must be to each other, in words.

use domain::{Finding, Grade, Rule};
use training::replicas::{Parted, Shared, What};

/// Ranks and tensors that are named one by one.
const NAMED_MAX: usize = 8;

/// Replicas that are not equal.
pub(super) fn parted(parted: &Parted, size: u32, names: &[String]) -> Finding {
    let minority = parted.minority();
    let all: usize = parted.groups.iter().map(Vec::len).sum();
    let tie = minority.len() == all;
    let things = match parted.what {
        What::Parameters => "weights",
        What::State => "optimizer state",
    };
    let who = if tie {
        format!("{} do not hold the same {things}", ranks(&minority))
    } else {
        let verb = if minority.len() == 1 { "holds" } else { "hold" };
        format!(
            "{} {verb} other {things} than the {} others",
            ranks(&minority),
            all - minority.len()
        )
    };
    let mut details = Vec::new();
    if !names.is_empty() {
        let listed = names.iter().take(NAMED_MAX).cloned().collect::<Vec<_>>();
        let mut text = format!("differing: {}", listed.join(", "));
        if parted.tensors.1 > listed.len() {
            text.push_str(&format!(" and {} more", parted.tensors.1 - listed.len()));
        }
        if parted.runs {
            text.push_str(", of which one or more in each run of neighbours does");
        }
        details.push(text);
    }
    if let Some(agreed) = parted.agreed {
        details.push(format!("they were equal in every bit behind step {agreed}, the last before at which this was told"));
    } else if parted.what == What::Parameters {
        details.push(
            "one DistributedDataParallel holds all parameters: its replicas are equal from the first step"
                .to_owned(),
        );
    }
    if tie {
        details.push(
            "no group is larger than the others: which of them is right does not follow".to_owned(),
        );
    }
    if parted.what == What::State {
        details.push("the weights are equal still: the next steps would part them".to_owned());
    }
    Finding {
        rule: Rule::ReplicasDiffer,
        grade: Grade::Claimed,
        what: format!("step {}: of {size} replicas {who}", parted.step),
        details,
        path: None,
        step: Some(parted.step),
        rank: minority.first().copied().filter(|_| minority.len() == 1),
        earlier: None,
        evidence: Vec::new(),
        innocent: vec![
            "the program lets its ranks train apart from here on, as local SGD does; then its code says so".to_owned(),
            "parameters that were frozen when the replicas were made and are trained now: their gradients are not reduced".to_owned(),
            "processors or libraries that are not the same for all ranks: then replicas part soon after each start".to_owned(),
            "a failing processor, memory or link: then another host shows nothing".to_owned(),
        ],
    }
}

/// Ranks that are given the same batches.
pub(super) fn shared(shared: Shared) -> Finding {
    let (one, other) = shared.ranks;
    Finding {
        rule: Rule::RanksShareBatches,
        grade: Grade::Claimed,
        what: format!(
            "step {}: ranks {one} and {other} are given the same batches, at {} steps in a row",
            shared.since,
            shared.step.saturating_sub(shared.since) + 1
        ),
        details: vec![
            "at all steps before each had its own; none of these batches was seen before".to_owned(),
        ],
        path: None,
        step: Some(shared.since),
        rank: None,
        earlier: None,
        evidence: Vec::new(),
        innocent: vec![
            "the program changes to a loader that does not share out the data, such as for a last phase; then its code says so"
                .to_owned(),
            "a sampler that is not told its rank after a restart or an epoch".to_owned(),
        ],
    }
}

fn ranks(list: &[u32]) -> String {
    let named: Vec<_> = list
        .iter()
        .take(NAMED_MAX)
        .map(ToString::to_string)
        .collect();
    let word = if list.len() == 1 { "rank" } else { "ranks" };
    match list.len().checked_sub(NAMED_MAX) {
        None | Some(0) => format!("{word} {}", named.join(", ")),
        Some(left) => format!("{word} {} and {left} more", named.join(", ")),
    }
}
