//! A batch that is not as it must be, in words.

use domain::data::{Order, Pass, Reading};
use domain::{Finding, Grade, Rule};

use super::Found;

/// Indices that are named.
const NAMED_MAX: usize = 6;

pub(super) fn finding(rule: Rule, pass: &Pass, reading: &Reading, found: &Found) -> Finding {
    let sampler = sampler(&pass.order);
    let place = format!(
        "batch {} of pass {} ({sampler})",
        reading.batch + 1,
        reading.pass + 1
    );
    let mut step = None;
    let (what, details, innocent) = match found {
        Found::Order(departed) => (
            format!(
                "{place}: samples {} were read, its order has {}",
                list(departed.asked.iter()),
                list(departed.derived.iter())
            ),
            vec![match pass.order {
                Order::Random { .. } => "the order follows from the state of the generator before the pass, and was derived again from that".to_owned(),
                _ => "the order follows from the sampler's own numbers, and was derived again from these".to_owned(),
            }],
            vec!["the program changes what its loader asks for, or draws from the sampler's generator in another thread".to_owned()],
        ),
        Found::Repeated(ago) => (
            format!("{place}: the samples of {ago} batch(es) before were read again"),
            vec!["no batch of this pass came twice before".to_owned()],
            vec!["the program's own sampler repeats batches from here on".to_owned()],
        ),
        Found::Changed(column, changed) => {
            step = Some(changed.step);
            (
                format!(
                    "{place}: column {:?} of sample {} is another than when it was read before",
                    column.name, changed.sample
                ),
                vec![format!(
                    "{} visits found their samples as they had been before, none another; now there are others",
                    changed.equal
                )],
                vec!["the data set changes its samples on purpose from here on: a curriculum, augmentation that begins late".to_owned()],
            )
        }
    };
    Finding {
        rule,
        grade: Grade::Claimed,
        what,
        details,
        path: None,
        step,
        rank: None,
        earlier: None,
        evidence: Vec::new(),
        innocent,
    }
}

fn sampler(order: &Order) -> String {
    match order {
        Order::Sequential { length } => format!("SequentialSampler over {length}"),
        Order::Random { length, .. } => format!("RandomSampler over {length}"),
        Order::Distributed {
            length,
            replicas,
            rank,
            ..
        } => format!("DistributedSampler over {length}, part {rank} of {replicas}"),
        Order::Own { class } => class.chars().take(super::NAME_MAX).collect(),
    }
}

fn list<T: ToString>(indices: impl ExactSizeIterator<Item = T>) -> String {
    let more = indices.len() > NAMED_MAX;
    let named: Vec<String> = indices.take(NAMED_MAX).map(|it| it.to_string()).collect();
    named.join(", ") + if more { ", …" } else { "" }
}
