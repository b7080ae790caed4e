//! What an optimizer was made with, and what its schedule set, against what it goes on with.
//!
//! Without a spec the values at construction serve. Programs that change them from their first steps on (a cycle of momentum, a
//! schedule of the weight decay) are left alone; so is whatever a loaded state brings.

use std::collections::BTreeMap;

use domain::{Described, Finding, Grade, Number, Rule, Scheduled, StepRecord};

/// Steps that were looked at with the same hyperparameters, and steps on end with the schedule's rates, before another value is told.
const STEADY: u64 = 20;
const AGREED: u64 = 5;
/// Differences that are named.
const NAMED_MAX: usize = 6;

/// How long the hyperparameters of one optimizer have been the same.
#[derive(Debug, Default)]
pub(super) struct Steady {
    steps: u64,
    restless: bool,
}

impl Steady {
    /// Takes a step in; answers what is another at it, where that is told. `loaded`: a state was loaded before it.
    pub(super) fn step(
        &mut self,
        groups: &[BTreeMap<String, Number>],
        class: &str,
        described: Option<&Described>,
        loaded: bool,
    ) -> Vec<String> {
        let known = self.steps;
        self.steps = known.saturating_add(1);
        let Some(described) = described else {
            return Vec::new();
        };
        let other = described.class != class || described.groups.len() != groups.len();
        if groups.is_empty() || other {
            *self = Self::default();
            return Vec::new();
        }
        let changed = differences(groups, &described.groups);
        if changed.is_empty() {
            return changed;
        }
        self.steps = 0;
        if loaded || self.restless {
            return Vec::new();
        }
        if known < STEADY {
            self.restless = true;
            return Vec::new();
        }
        changed
    }
}

fn differences(
    before: &[BTreeMap<String, Number>],
    behind: &[BTreeMap<String, Number>],
) -> Vec<String> {
    let mut found = Vec::new();
    for (group, (before, behind)) in before.iter().zip(behind).enumerate() {
        for (name, was) in before {
            let Some(is) = behind.get(name).filter(|_| name != "lr_digits") else {
                continue;
            };
            if was.0.to_bits() != is.0.to_bits() {
                found.push(format!("group {group}: {name} was {}, is {}", was.0, is.0));
            }
        }
    }
    found
}

/// Other hyperparameters than at construction.
pub(super) fn changed(step: &StepRecord, class: &str, changed: &[String]) -> Finding {
    let what = format!(
        "from step {} on {class} goes on with other hyperparameters: {}",
        step.step,
        changed.first().map_or("", String::as_str)
    );
    let mut details: Vec<String> = changed.iter().skip(1).take(NAMED_MAX).cloned().collect();
    details.push(format!(
        "they were the same in at least {STEADY} steps before; no state was loaded, as far as the sensor sees"
    ));
    let innocent = "the program changes them on purpose at this step: then its code or a spec of the run says so";
    finding(Rule::HyperparameterChanged, step, what, details, innocent)
}

/// Other learning rates than the schedule set; `None` where they were not its rates for long enough before.
pub(super) fn unscheduled(
    step: &StepRecord,
    scheduled: &Scheduled,
    loaded: bool,
) -> Option<Finding> {
    if scheduled.agreed < AGREED || loaded || scheduled.rates.len() != step.learning_rates.len() {
        return None;
    }
    let class: String = scheduled.class.chars().take(NAME_MAX).collect();
    let pairs = scheduled.rates.iter().zip(&step.learning_rates).enumerate();
    let mut differing = pairs.filter(|(_, (set, used))| set.0.to_bits() != used.0.to_bits());
    let (group, (set, used)) = differing.next()?;
    let times = used.0 / set.0;
    let times = if times.is_finite() {
        format!(" ({times:.4} ×)")
    } else {
        String::new()
    };
    let what = format!(
        "step {}: {class} set the learning rate {}, used was {}{times}, in group {group}",
        step.step, set.0, used.0
    );
    let details = vec![format!(
        "{} of {} groups; in the {} steps before each had the rate that its schedule set",
        differing.count() + 1,
        scheduled.rates.len(),
        scheduled.agreed
    )];
    let innocent = "the program sets rates itself from this step on, beside its schedule: then its code says so";
    Some(finding(
        Rule::LearningRateNotScheduled,
        step,
        what,
        details,
        innocent,
    ))
}

const NAME_MAX: usize = 80;

fn finding(
    rule: Rule,
    step: &StepRecord,
    what: String,
    details: Vec<String>,
    innocent: &str,
) -> Finding {
    Finding {
        rule,
        grade: Grade::Claimed,
        what,
        details,
        path: None,
        step: Some(step.step),
        rank: None,
        earlier: None,
        evidence: Vec::new(),
        innocent: vec![innocent.to_owned()],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn described(beta: f64) -> Described {
        Described {
            class: "AdamW".to_owned(),
            like: None,
            groups: vec![[("beta1".to_owned(), Number(beta))].into()],
        }
    }

    fn after(steps: u64, steady: &mut Steady) {
        let one = described(0.9);
        for _ in 0..steps {
            assert!(steady.step(&one.groups, "AdamW", None, false).is_empty());
        }
    }

    #[test]
    fn what_was_steady_and_changes_is_told() {
        let (one, two) = (described(0.9), described(0.5));
        let mut steady = Steady::default();
        after(STEADY, &mut steady);
        let changed = steady.step(&one.groups, "AdamW", Some(&two), false);
        assert_eq!(changed, ["group 0: beta1 was 0.9, is 0.5"]);
    }

    #[test]
    fn what_changes_early_by_a_load_or_with_its_groups_is_left_alone() {
        let (one, two) = (described(0.9), described(0.5));
        let mut early = Steady::default();
        after(STEADY - 2, &mut early);
        assert!(
            early
                .step(&one.groups, "AdamW", Some(&two), false)
                .is_empty()
        );
        after(2 * STEADY, &mut early);
        assert!(
            early
                .step(&one.groups, "AdamW", Some(&two), false)
                .is_empty()
        );
        let mut loaded = Steady::default();
        after(STEADY, &mut loaded);
        assert!(
            loaded
                .step(&one.groups, "AdamW", Some(&two), true)
                .is_empty()
        );
        let mut more = Steady::default();
        after(STEADY, &mut more);
        let mut grown = described(0.5);
        grown.groups.push(BTreeMap::new());
        assert!(
            more.step(&one.groups, "AdamW", Some(&grown), false)
                .is_empty()
        );
    }

    #[test]
    fn a_rate_beside_its_schedule_is_told_only_where_it_was_the_schedules_before() {
        let mut step = StepRecord::bare(30, 0);
        step.learning_rates = vec![Number(4.5e-4)];
        let scheduled = |agreed| Scheduled {
            class: "CosineAnnealingLR".to_owned(),
            rates: vec![Number(3e-4)],
            agreed,
        };
        let found = unscheduled(&step, &scheduled(29), false).unwrap();
        assert!(
            found
                .what
                .contains("set the learning rate 0.0003, used was 0.00045 (1.5000 ×)")
        );
        assert!(unscheduled(&step, &scheduled(2), false).is_none());
        assert!(unscheduled(&step, &scheduled(29), true).is_none());
    }
}
