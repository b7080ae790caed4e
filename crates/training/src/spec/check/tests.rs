//! A training, and what parts from it.

use domain::{Described, RngStates, Sample};

use super::super::model::{Amendment, Optimizer, SCHEMA, Setting, State, Steps};
use super::super::schedule::Piece;
use super::super::table::Line;
use super::*;

const STEPS: u64 = 6;

fn print(bits: u128) -> Fingerprint {
    Fingerprint::from_bits(bits)
}

fn step(number: u64) -> StepRecord {
    let described = Described {
        class: "AdamW".to_owned(),
        like: None,
        groups: vec![[("weight_decay".to_owned(), Number(0.1))].into()],
    };
    let sample = Sample {
        optimizer: (number == 1).then_some(described),
        ..Sample::default()
    };
    StepRecord {
        source: StepSource::OptimizerState,
        losses: vec![Number(1.0 / number as f64)],
        gradient_norm: Some(Number(0.5)),
        learning_rates: vec![Number(3e-4)],
        parameters: Some(print(100 + u128::from(number))),
        rng: RngStates {
            torch: Some(print(200 + u128::from(number))),
            ..RngStates::default()
        },
        batches: vec![print(300 + u128::from(number))],
        sample: Some(Box::new(sample)),
        ..StepRecord::bare(number, 0)
    }
}

fn spec() -> Spec {
    let group = Group {
        lr: vec![Piece::Constant {
            first: 1,
            last: STEPS,
            value: 3e-4,
        }],
        hyper: [("weight_decay".to_owned(), 0.1)].into(),
    };
    let optimizer = Optimizer {
        class: Some("AdamW".to_owned()),
        backwards: Some(1),
        group: vec![group],
        ..Optimizer::default()
    };
    let mut spec = Spec {
        schema: SCHEMA.to_owned(),
        name: "a".to_owned(),
        optimizer: vec![optimizer],
        steps: Steps {
            count: Some(STEPS),
            ..Steps::default()
        },
        ..Spec::default()
    };
    spec.world.size = Some(1);
    spec.seed.judged = vec!["torch".to_owned()];
    spec.seed.state = vec![State {
        torch: Some(print(201)),
        ..State::default()
    }];
    spec
}

fn declared(spec: &Spec) -> Declared {
    let lines = (1..=STEPS).map(|number| Line::Step(Box::new(Step::of(0, &step(number)))));
    Declared::new(spec, Table::new(lines)).unwrap()
}

/// The first step at which each cause was told, and the gaps.
fn run(
    spec: &Spec,
    process: Process,
    steps: impl IntoIterator<Item = StepRecord>,
) -> (Vec<(u64, &'static str)>, usize) {
    let (declared, mut checker) = (declared(spec), Checker::default());
    let (mut causes, mut gaps): (Vec<(u64, &'static str)>, usize) = (Vec::new(), 0);
    for step in steps {
        let told = checker.step(&declared, process, &step);
        for difference in told.differences {
            if causes.iter().all(|(_, cause)| *cause != difference.cause()) {
                causes.push((step.step, difference.cause()));
            }
        }
        gaps += told.gaps.len();
    }
    (causes, gaps)
}

const ALONE: Process = Process {
    rank: 0,
    world: 1,
    loaded: false,
};

fn changed(from: u64, change: impl Fn(&mut StepRecord)) -> Vec<(u64, &'static str)> {
    let steps = (1..=STEPS).map(|number| {
        let mut step = step(number);
        if number >= from {
            change(&mut step);
        }
        step
    });
    run(&spec(), ALONE, steps).0
}

#[test]
fn the_same_run_again_has_no_difference_and_no_gap() {
    assert_eq!(run(&spec(), ALONE, (1..=STEPS).map(step)), (Vec::new(), 0));
    assert_eq!(run(&spec(), ALONE, (1..=3).map(step)), (Vec::new(), 0));
}

#[test]
fn each_change_is_told_at_its_first_step_and_by_its_own_name() {
    assert_eq!(
        changed(4, |step| step.learning_rates[0].0 *= 1.5),
        [(4, "rate")]
    );
    assert_eq!(
        changed(3, |step| step.losses.push(Number(0.1))),
        [(3, "backwards")]
    );
    assert_eq!(
        changed(2, |step| step.batches[0] = print(9)),
        [(2, "batch")]
    );
    assert_eq!(changed(5, |step| step.losses[0].0 *= 1.01), [(5, "loss")]);
    assert_eq!(
        changed(5, |step| step.gradient_norm = Some(Number(0.6))),
        [(5, "norm")]
    );
    assert_eq!(
        changed(1, |step| step.rng.torch = Some(print(8))),
        [(1, "seed")]
    );
    let decay = |step: &mut StepRecord| {
        let sample = step.sample.as_mut().unwrap();
        sample.optimizer = Some(Described {
            class: "AdamW".to_owned(),
            like: None,
            groups: vec![[("weight_decay".to_owned(), Number(0.0))].into()],
        });
    };
    assert_eq!(changed(3, decay), [(3, "hyper")]);
}

#[test]
fn what_rounds_otherwise_is_no_difference() {
    assert_eq!(changed(3, |step| step.losses[0].0 *= 1.0 + 1e-5), []);
    // Weights of another machine: nothing is judged from there on but what does not depend on them.
    let other = |step: &mut StepRecord| {
        step.parameters = Some(print(7));
        step.losses[0].0 *= 1.2;
    };
    assert_eq!(changed(1, |step| step.parameters = Some(print(7))), []);
    assert_eq!(changed(4, other), [(4, "loss")]);
    let late = |step: &mut StepRecord| {
        step.parameters = Some(print(7));
        if step.step > 4 {
            step.losses[0].0 *= 1.2;
        }
    };
    assert_eq!(changed(4, late), []);
}

#[test]
fn a_batch_of_another_step_is_named_as_such() {
    let (declared, mut checker) = (declared(&spec()), Checker::default());
    checker.step(&declared, ALONE, &step(1));
    let mut wrong = step(2);
    wrong.batches[0] = print(305);
    let told = checker.step(&declared, ALONE, &wrong);
    assert!(
        matches!(
            told.differences.as_slice(),
            [Difference::Batch {
                number: 0,
                instead: Some(5),
                ..
            }]
        ),
        "{told:?}"
    );
}

#[test]
fn more_ranks_are_told_once_and_what_follows_from_them_is_a_gap() {
    let process = Process { world: 2, ..ALONE };
    let steps = (1..=STEPS).map(|number| StepRecord {
        batches: vec![print(1)],
        ..step(number)
    });
    assert_eq!(run(&spec(), process, steps), (vec![(1, "world")], 1));
}

#[test]
fn a_resume_goes_on_in_schedule_and_data_or_says_that_it_cannot_tell() {
    let process = Process {
        loaded: true,
        ..ALONE
    };
    assert_eq!(
        run(&spec(), process, (4..=STEPS).map(step)),
        (Vec::new(), 0)
    );
    let elsewhere = (4..=STEPS).map(|number| StepRecord {
        batches: vec![print(1)],
        ..step(number)
    });
    assert_eq!(run(&spec(), process, elsewhere), (Vec::new(), 1));
    let counted = (1..=3).map(|number| StepRecord {
        source: StepSource::Counted,
        learning_rates: vec![Number(1.0)],
        ..step(number)
    });
    assert_eq!(run(&spec(), process, counted), (Vec::new(), 2));
}

#[test]
fn a_seed_that_is_free_leaves_batches_free_and_says_so_once() {
    let mut free = spec();
    free.seed.mode = Mode::Any;
    let steps = (1..=STEPS).map(|number| {
        let mut step = step(number);
        (step.rng.torch, step.batches) = (Some(print(1)), vec![print(2)]);
        step
    });
    assert_eq!(run(&free, ALONE, steps), (Vec::new(), 1));
}

#[test]
fn an_amendment_makes_the_amended_run_clean_and_the_old_one_not() {
    let mut amended = spec();
    amended.amendment.push(Amendment {
        from_step: 4,
        set: [("optimizer.0.group.0.lr".to_owned(), Setting::Number(1e-4))].into(),
        why: "x".to_owned(),
        author: String::new(),
        at: String::new(),
        before: domain::Digest::of(b""),
    });
    let lower = |number: u64| {
        let mut step = step(number);
        if number >= 4 {
            step.learning_rates[0].0 = 1e-4;
        }
        step
    };
    assert_eq!(
        run(&amended, ALONE, (1..=STEPS).map(lower)),
        (Vec::new(), 0)
    );
    assert_eq!(run(&amended, ALONE, (1..=STEPS).map(step)).0, [(4, "rate")]);
}

#[test]
fn more_steps_than_declared_are_told_at_the_first_of_them() {
    assert_eq!(
        run(&spec(), ALONE, (1..=STEPS + 2).map(step)).0,
        [(STEPS + 1, "steps")]
    );
}

#[test]
fn a_generator_that_nobody_seeded_hides_nothing_where_the_first_batches_agree() {
    let mut spec = spec();
    spec.seed.state[0].python = Some(print(1));
    let with = |change: fn(&mut StepRecord)| {
        let steps = (1..=STEPS).map(|number| {
            let mut step = step(number);
            step.rng.python = Some(print(2));
            change(&mut step);
            step
        });
        run(&spec, ALONE, steps)
    };
    assert_eq!(with(|_| ()), (Vec::new(), 0));
    let late = |step: &mut StepRecord| {
        if step.step == 3 {
            step.batches[0] = print(9);
        }
    };
    assert_eq!(with(late), (vec![(3, "batch")], 0));
    assert_eq!(with(|step| step.batches[0] = print(9)), (Vec::new(), 1));
    assert_eq!(with(|step| step.losses[0].0 *= 1.1).0, [(1, "loss")]);
}
