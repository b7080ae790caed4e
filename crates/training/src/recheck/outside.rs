//! A step judged by what stands in memory before and behind it, without its gradient: for positions that are read from outside, where
//! nobody in the process knows that they are looked at.
//!
//! What a rule leaves in its state says what gradient it used: a mean says it up to rounding, a sum of squares up to its sign. With
//! that, weight and the rest of the state must be what the rule gives. So an update is held to its rule, and that the gradient was the
//! right one is not. A rule that keeps no state (SGD without momentum) shows nothing. A position at which nothing changed may belong to a parameter without a gradient and is right.

use super::bounds::{Arithmetic, Bounds};
use super::judge::Column;
use super::update::{After, Before, Class, Hyper, STATE_MAX, with_gradient};

/// How much farther than its own rounding a gradient is looked for.
const SLACK: f64 = 2.0;
/// From here on a counter of binary32 stands still.
const COUNTER_MAX: f64 = 16_777_216.0;

/// What stands at one position.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Stands {
    /// The weight.
    pub weight: f64,
    /// The state, in the order of [`Class::state`].
    pub state: [f64; STATE_MAX],
    /// Steps that it has counted; 0 for rules that do not count.
    pub steps: f64,
}

/// What is not as it must be.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Differs {
    /// Which number.
    pub column: Column,
    /// What it must be.
    pub expected: Bounds,
    /// What it is.
    pub found: f64,
}

/// What follows from one position.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Outcome {
    /// The rule, or the values, say nothing.
    Mute,
    /// It is as it must be; whether another change of the weight would have shown.
    Right(bool),
    /// It is not.
    Wrong(Differs),
}

/// Judges one position around a step. Where the count of steps did not go on by one, another judge says so.
pub fn judge(before: &Stands, behind: &Stands, hyper: &Hyper, a: &Arithmetic) -> Outcome {
    let finite = |it: &Stands| it.weight.is_finite() && it.state.iter().all(|it| it.is_finite());
    let counted = !hyper.class.counts()
        || (0.0..COUNTER_MAX).contains(&before.steps)
            && (behind.steps - before.steps - 1.0).abs() < 0.5;
    if !finite(before) || !finite(behind) || !counted && before != behind {
        return Outcome::Mute;
    }
    if before == behind {
        return Outcome::Right(false);
    }
    let start = Before {
        weight: before.weight,
        gradient: 0.0,
        state: before.state,
        fresh: false,
        steps: before.steps,
    };
    let mut nearest = None;
    for gradient in gradients(&start, behind, hyper, a) {
        let after = with_gradient(gradient, &start, hyper, a);
        match differs(&after, behind, hyper) {
            None => return Outcome::Right(decisive(&after, before)),
            Some(found) => {
                // Of two signs the one that is less wrong.
                let off = (after.weight.middle() - behind.weight).abs();
                if nearest.is_none_or(|(least, _)| off < least) {
                    nearest = Some((off, found));
                }
            }
        }
    }
    nearest.map_or(Outcome::Mute, |(_, found)| Outcome::Wrong(found))
}

/// Whether the change of the weight is known to a tenth.
fn decisive(after: &After, before: &Stands) -> bool {
    let change = after.weight.middle() - before.weight;
    after.weight.radius() <= change.abs() / 10.0
}

fn differs(after: &After, behind: &Stands, hyper: &Hyper) -> Option<Differs> {
    let uses = hyper.uses();
    for (column, ((bounds, found), used)) in
        after.state.iter().zip(behind.state).zip(uses).enumerate()
    {
        if let (Some(expected), true) = (bounds, used)
            && !expected.allows(found)
        {
            let (column, expected) = (Column::State(column), *expected);
            return Some(Differs {
                column,
                expected,
                found,
            });
        }
    }
    let (expected, found) = (after.weight, behind.weight);
    (!expected.allows(found)).then_some(Differs {
        column: Column::Weight,
        expected,
        found,
    })
}

/// What the gradient, as the rule uses it, may have been.
fn gradients(before: &Before, behind: &Stands, hyper: &Hyper, a: &Arithmetic) -> Vec<Bounds> {
    let column = match hyper.class {
        Class::Sgd if hyper.momentum == 0.0 => return Vec::new(),
        Class::RmsProp if hyper.centered => 2,
        _ => 0,
    };
    let kept = match hyper.class {
        Class::Sgd | Class::Muon => hyper.momentum,
        Class::Adam | Class::Adamax => hyper.beta1,
        Class::Lion => hyper.beta2,
        Class::RmsProp => hyper.alpha,
        Class::Adagrad => 1.0,
    };
    let share = match hyper.class {
        Class::Sgd => 1.0 - hyper.dampening,
        Class::Adagrad => 1.0,
        _ => 1.0 - kept,
    };
    let squared = match hyper.class {
        Class::Adagrad => true,
        Class::RmsProp => !hyper.centered,
        _ => false,
    };
    let (Some(old), Some(new)) = (before.state.get(column), behind.state.get(column)) else {
        return Vec::new();
    };
    if share <= 0.0 || share.is_nan() {
        return Vec::new();
    }
    let guess = (new - kept * old) / share;
    // How far the rounding on the way there may have led, as the rule's own bounds have it.
    let root = if squared {
        guess.max(0.0).sqrt()
    } else {
        guess
    };
    let there = with_gradient(Bounds::exact(root), before, hyper, a);
    let Some(Some(bounds)) = there.state.get(column) else {
        return Vec::new();
    };
    let off = (bounds.middle() - new).abs() + bounds.radius();
    let by = SLACK * off / share;
    if !by.is_finite() {
        return Vec::new();
    }
    if !squared {
        return vec![Bounds::exact(guess).widened(by)];
    }
    let high = (guess + by).max(0.0).sqrt();
    let low = (guess - by).max(0.0).sqrt();
    vec![
        Bounds { low, high },
        Bounds {
            low: -high,
            high: -low,
        },
    ]
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use domain::Number;

    use super::*;
    use crate::ElementKind;
    use crate::recheck::update::expected;

    fn hyper(class: &str, values: &[(&str, f64)]) -> Hyper {
        let common = [
            ("weight_decay", 0.01),
            ("momentum", 0.9),
            ("dampening", 0.1),
            ("beta1", 0.9),
            ("beta2", 0.99),
            ("eps", 1e-8),
            ("alpha", 0.95),
            ("lr_decay", 0.01),
        ];
        let values: BTreeMap<String, Number> = common
            .iter()
            .chain(values)
            .map(|(name, value)| ((*name).to_owned(), Number(*value)))
            .collect();
        Hyper::new(class, 0.01, &values).unwrap().unwrap()
    }

    /// A step in single precision, from the middle of the bounds.
    fn stepped(hyper: &Hyper, a: &Arithmetic, gradient: f64) -> (Stands, Stands) {
        #[expect(
            clippy::cast_possible_truncation,
            reason = "rounding to single precision is meant"
        )]
        let single = |value: f64| f64::from(value as f32);
        let before = Before {
            weight: single(0.37),
            gradient: single(gradient),
            state: [single(0.021), single(0.0043), single(0.0051)],
            fresh: false,
            steps: 7.0,
        };
        let after = expected(&before, hyper, a);
        let mut state = before.state;
        for (value, bounds) in state.iter_mut().zip(after.state) {
            if let Some(bounds) = bounds {
                *value = single(bounds.middle());
            }
        }
        let start = Stands {
            weight: before.weight,
            state: before.state,
            steps: 7.0,
        };
        let end = Stands {
            weight: single(after.weight.middle()),
            state,
            steps: 8.0,
        };
        (start, end)
    }

    fn rules() -> Vec<Hyper> {
        vec![
            hyper("SGD", &[]),
            hyper("SGD", &[("nesterov", 1.0), ("dampening", 0.0)]),
            hyper("AdamW", &[]),
            hyper("AdamW", &[("amsgrad", 1.0)]),
            hyper("Adam", &[("maximize", 1.0)]),
            hyper("Adagrad", &[]),
            hyper("RMSprop", &[("momentum", 0.0)]),
            hyper("RMSprop", &[]),
            hyper("RMSprop", &[("centered", 1.0)]),
            hyper("Adamax", &[]),
            hyper("Lion", &[]),
        ]
    }

    #[test]
    fn a_right_step_is_right_whatever_its_gradient() {
        let a = Arithmetic::of(ElementKind::F32).unwrap();
        for hyper in rules() {
            for gradient in [0.3, -0.3, 0.07, -1e-4, 25.0, 0.0] {
                let (before, behind) = stepped(&hyper, &a, gradient);
                let outcome = judge(&before, &behind, &hyper, &a);
                assert!(
                    matches!(outcome, Outcome::Right(_)),
                    "{hyper:?} {gradient}: {outcome:?}"
                );
            }
        }
    }

    #[test]
    fn a_weight_that_moved_otherwise_is_wrong() {
        let a = Arithmetic::of(ElementKind::F32).unwrap();
        for hyper in rules() {
            let (before, behind) = stepped(&hyper, &a, 0.3);
            for times in [0.0, 0.5, 1.5, 2.0] {
                let weight = before.weight + times * (behind.weight - before.weight);
                let other = Stands { weight, ..behind };
                let outcome = judge(&before, &other, &hyper, &a);
                assert!(
                    matches!(outcome, Outcome::Wrong(_)),
                    "{hyper:?} {times}: {outcome:?}"
                );
            }
        }
    }

    #[test]
    fn state_that_does_not_belong_together_is_wrong_and_what_shows_nothing_is_mute() {
        let a = Arithmetic::of(ElementKind::F32).unwrap();
        let adam = hyper("AdamW", &[]);
        let (before, mut behind) = stepped(&adam, &a, 0.3);
        behind.state[1] *= 1.01;
        let Outcome::Wrong(differs) = judge(&before, &behind, &adam, &a) else {
            panic!("not found");
        };
        assert_eq!(differs.column, Column::State(1));
        let (_, right) = stepped(&adam, &a, 0.3);
        let later = |it: Stands| Stands {
            steps: it.steps + 2.0,
            ..it
        };
        let outcome = judge(&later(before), &later(right), &adam, &a);
        assert!(matches!(outcome, Outcome::Wrong(_)));
        assert_eq!(judge(&before, &later(right), &adam, &a), Outcome::Mute);
        let plain = hyper("SGD", &[("momentum", 0.0)]);
        let (before, behind) = stepped(&plain, &a, 0.3);
        assert_eq!(judge(&before, &behind, &plain, &a), Outcome::Mute);
        assert_eq!(judge(&before, &before, &adam, &a), Outcome::Right(false));
        let odd = Stands {
            weight: f64::NAN,
            ..before
        };
        assert_eq!(judge(&odd, &behind, &adam, &a), Outcome::Mute);
    }
}
