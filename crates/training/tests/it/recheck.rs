//! A small trainer in single precision, with and without fused multiply-add, judged as a job would be.

use proptest::prelude::*;
use taintline_training::ElementKind;
use taintline_training::recheck::between::compare;
use taintline_training::recheck::bounds::Arithmetic;
use taintline_training::recheck::judge::{Cause, Tensor, Verdict, judge};
use taintline_training::recheck::update::{Class, Hyper};
use taintline_training::recheck::wire::{Block, Odd, OddValue, Values};

/// How the machine's step departs from what is told.
#[derive(Debug, Clone, Copy)]
struct Machine {
    lr: f32,
    decay: f32,
    beta1: f32,
    beta2: f32,
    gradient: f32,
    fused: bool,
}

const TOLD: Machine = Machine {
    lr: 1e-2,
    decay: 0.1,
    beta1: 0.9,
    beta2: 0.999,
    gradient: 1.0,
    fused: false,
};

fn hyper() -> Hyper {
    Hyper {
        class: Class::Adam,
        lr: f64::from(TOLD.lr),
        weight_decay: f64::from(TOLD.decay),
        momentum: 0.0,
        dampening: 0.0,
        beta1: f64::from(TOLD.beta1),
        beta2: f64::from(TOLD.beta2),
        eps: 1e-8,
        alpha: 0.0,
        lr_decay: 0.0,
        nesterov: false,
        maximize: false,
        amsgrad: false,
        decoupled: true,
        centered: false,
        early_eps: false,
        reach: f64::INFINITY,
    }
}

/// Weight, gradient and both means of its powers at one position.
type Seed = (f32, f32, f32, f32);

fn tensor() -> Tensor {
    let Some(arithmetic) = Arithmetic::of(ElementKind::F32) else {
        unreachable!("it is rechecked")
    };
    Tensor {
        kind: ElementKind::F32,
        arithmetic,
        hyper: hyper(),
        columns: [Some(0), Some(1), None],
    }
}

impl Machine {
    /// AdamW at one position: weight and state behind the step.
    fn step(self, weight: f32, gradient: f32, first: f32, second: f32, steps: i32) -> [f32; 3] {
        let sum = |a: f32, b: f32, c: f32| {
            if self.fused {
                a.mul_add(b, c)
            } else {
                a * b + c
            }
        };
        let gradient = gradient * self.gradient;
        let weight = weight * (1.0 - self.lr * self.decay);
        let first = sum(1.0 - self.beta1, gradient - first, first);
        let second = sum(second, self.beta2, (1.0 - self.beta2) * gradient * gradient);
        let correct = |beta: f32| 1.0 - f64::from(beta).powi(steps + 1);
        #[expect(clippy::cast_possible_truncation, reason = "as the machine does")]
        let (root, rate) = (
            correct(self.beta2).sqrt() as f32,
            (f64::from(self.lr) / correct(self.beta1)) as f32,
        );
        let direction = first / (second.sqrt() / root + 1e-8);
        [sum(-rate, direction, weight), first, second]
    }

    /// One step of four tensors, from given values.
    fn values(self, seeds: &[Seed], steps: i32) -> Values {
        let blocks = seeds.chunks(4).zip(0u32..).map(|(seeds, index)| {
            let column = |pick: &dyn Fn(&Seed) -> f32| {
                seeds
                    .iter()
                    .flat_map(|seed| pick(seed).to_le_bytes())
                    .collect::<Vec<u8>>()
            };
            let behind = |part: usize| {
                column(&|(weight, gradient, first, second)| {
                    self.step(*weight, *gradient, *first, *second, steps)[part]
                })
            };
            Block {
                index,
                steps_before: u64::try_from(steps).ok(),
                steps_behind: u64::try_from(steps + 1).ok(),
                positions: (0..seeds.len() as u64).collect(),
                weights: column(&|seed| seed.0),
                gradients: Some(column(&|seed| seed.1)),
                state: Some(vec![column(&|seed| seed.2), column(&|seed| seed.3)]),
                weights_behind: behind(0),
                state_behind: Some(vec![behind(1), behind(2)]),
            }
        });
        Values {
            blocks: blocks.collect(),
            odd: Vec::new(),
        }
    }
}

fn judged(values: &Values) -> Verdict {
    judge(values, |_| Some(tensor()))
}

/// Values as a training has them.
fn seeds() -> Vec<Seed> {
    let ordinary = |number: u16| {
        let x = f32::from(number);
        (
            (x * 0.37).sin() * 0.1,
            (x * 0.91 + 0.3).cos() * 0.01,
            (x * 0.53).sin() * 0.004,
            1e-6 * (x * 0.11).cos().powi(2) + 1e-7,
        )
    };
    (0..16).map(ordinary).collect()
}

proptest! {
    #[test]
    fn a_clean_step_is_never_accused_however_its_values_lie(
        seeds in proptest::collection::vec((-1e3f32..1e3, -1e3f32..1e3, -1e2f32..1e2, 0f32..1e4), 1..20),
        tiny in proptest::collection::vec((-1e-20f32..1e-20, -1e-30f32..1e-30, -1e-38f32..1e-38, 0f32..1e-38), 1..20),
        steps in 0i32..5000,
        fused in any::<bool>(),
    ) {
        for seeds in [seeds, tiny] {
            let verdict = judged(&Machine { fused, ..TOLD }.values(&seeds, steps));
            prop_assert_eq!(verdict.cause, None, "{:?}", verdict.wrong);
            prop_assert_eq!(verdict.positions, seeds.len());
        }
    }

    #[test]
    fn a_rate_that_is_a_hundredth_off_is_seen_wherever_the_change_is_known(times in prop_oneof![0.2f32..0.99, 1.01f32..3.0, -2f32..-0.5]) {
        let machine = Machine { lr: TOLD.lr * times, ..TOLD };
        let verdict = judged(&machine.values(&seeds(), 7));
        let Some(Cause::Change(found)) = verdict.cause else {
            return Err(TestCaseError::fail(format!("{verdict:?}")));
        };
        prop_assert!((found - f64::from(times)).abs() < 0.01, "{found} {times}");
    }

    #[test]
    fn a_scaled_gradient_is_told_from_a_scaled_rate(times in prop_oneof![-3f32..-0.3, 0.3f32..0.97, 1.03f32..3.0]) {
        let verdict = judged(&Machine { gradient: times, ..TOLD }.values(&seeds(), 7));
        let Some(Cause::Gradient(found)) = verdict.cause else {
            return Err(TestCaseError::fail(format!("{verdict:?}")));
        };
        prop_assert!((found - f64::from(times)).abs() < 0.01, "{found} {times}");
    }
}

#[test]
fn other_coefficients_are_named_with_the_value_that_was_used() {
    let cause = |machine: Machine| judged(&machine.values(&seeds(), 7)).cause;
    assert_eq!(cause(TOLD), None);
    assert_eq!(cause(Machine { decay: 0.0, ..TOLD }), Some(Cause::NoDecay));
    let Some(Cause::First(used)) = cause(Machine { beta1: 0.5, ..TOLD }) else {
        panic!()
    };
    assert!((used - 0.5).abs() < 1e-3);
    let Some(Cause::Second(used)) = cause(Machine { beta2: 0.9, ..TOLD }) else {
        panic!()
    };
    assert!((used - 0.9).abs() < 1e-3);
}

#[test]
fn what_did_not_move_and_what_has_no_gradient_are_told_apart() {
    let mut values = TOLD.values(&seeds(), 7);
    for block in &mut values.blocks {
        block.weights_behind.clone_from(&block.weights);
    }
    assert_eq!(judged(&values).cause, Some(Cause::Still));
    for block in &mut values.blocks {
        block.state_behind.clone_from(&block.state);
        block.steps_behind = block.steps_before;
    }
    assert_eq!(judged(&values).cause, Some(Cause::Nothing));
    for block in &mut values.blocks {
        block.gradients = None;
    }
    assert_eq!(judged(&values).cause, None);
    values.blocks[1].weights_behind[0] ^= 1;
    let verdict = judged(&values);
    assert_eq!(verdict.cause, Some(Cause::WithoutGradient));
    assert_eq!(verdict.wrong.len(), 1);
}

#[test]
fn what_is_not_finite_or_not_known_is_counted_and_not_judged() {
    let mut seeds = seeds();
    seeds[3].1 = f32::NAN;
    seeds[4].0 = f32::INFINITY;
    let values = TOLD.values(&seeds, 7);
    let verdict = judged(&values);
    assert_eq!(
        (verdict.cause, verdict.unjudged, verdict.positions),
        (None, 2, 14)
    );
    let verdict = judge(&values, |index| (index != 2).then(tensor));
    assert_eq!((verdict.cause, verdict.unjudged), (None, 6));
    let mut values = TOLD.values(&seeds, 7);
    values.blocks[0].weights_behind[0..4].copy_from_slice(&f32::NAN.to_le_bytes());
    assert!(judged(&values).cause.is_some());
}

#[test]
fn where_the_arithmetic_may_end_anywhere_nothing_is_accused() {
    // In binary16 an eps of 1e-8 is zero, and so is the square of a small gradient.
    let mut told = tensor();
    told.kind = ElementKind::F16;
    told.arithmetic = Arithmetic::of(ElementKind::F16).unwrap();
    let half = |bits: u16| bits.to_le_bytes().to_vec();
    let block = Block {
        steps_before: Some(3),
        steps_behind: Some(4),
        positions: vec![0],
        weights: half(0x2e66),
        gradients: Some(half(0x0003)),
        state: Some(vec![half(0), half(0)]),
        weights_behind: half(0x7c00),
        state_behind: Some(vec![half(0), half(0)]),
        ..Block::default()
    };
    let values = Values {
        blocks: vec![block],
        odd: Vec::new(),
    };
    let verdict = judge(&values, |_| Some(told.clone()));
    assert_eq!(
        (verdict.cause, verdict.positions, verdict.decisive),
        (None, 1, 0)
    );
}

#[test]
fn what_changed_between_steps_is_told_and_clipped_weights_are_known_as_such() {
    let mut values = TOLD.values(&seeds(), 7);
    assert!(compare(&values, |_| Some(ElementKind::F32)).is_empty());
    let odd = |block, slot, from: f32| OddValue {
        what: Odd::WeightEarlier,
        block,
        slot,
        bytes: from.to_le_bytes().to_vec(),
    };
    values.odd = vec![odd(0, 1, 0.5), odd(1, 0, 0.25)];
    let between = compare(&values, |_| Some(ElementKind::F32));
    assert_eq!(between.changed.len(), 2);
    assert_eq!(between.clipped_to, None);

    let clipped: Vec<_> = seeds()
        .into_iter()
        .map(|(weight, a, b, c)| (weight.clamp(-0.05, 0.05), a, b, c))
        .collect();
    let mut values = TOLD.values(&clipped, 7);
    for (number, seed) in seeds().into_iter().enumerate() {
        if seed.0.abs() > 0.05 {
            values.odd.push(odd(number / 4, number % 4, seed.0));
        }
    }
    let between = compare(&values, |_| Some(ElementKind::F32));
    assert!(between.clipped_to.is_some(), "{between:?}");
    values.odd[0].bytes = 0.01f32.to_le_bytes().to_vec();
    assert_eq!(
        compare(&values, |_| Some(ElementKind::F32)).clipped_to,
        None
    );
}
