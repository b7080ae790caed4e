//! An optimizer whose rule is not known, held to what it did before: how far its steps go, and which way.
//!
//! Of each step the changes of the sampled weights count, divided by the learning rate, and the gradients. For each parameter its usual size is
//! learnt first, so that which ones were drawn does not matter. The last eight steps are too long or too short when both their length and their length
//! beside that of the gradients are far from the steps before, by the spread of these and by how far as many of them ever were, and from the latest of them: an
//! optimizer that divides by its gradients keeps the one whatever the gradients do, one that does not keeps the other, and what is done to the update moves
//! both. Slow changes are training, and an optimizer that changes its own length now and then binds itself to little. Where the changes are as small as what the weights' type rounds
//! away, what is seen of them is the rounding: such steps are neither learnt from nor judged, and the caller is told so.
//! Rejected: one bound on the change of a weight, which no optimizer has in common.

use std::collections::{BTreeMap, VecDeque};

/// Steps that make a habit, and those that are remembered.
const STEPS: usize = 32;
const REMEMBERED: usize = 64;
/// Positions that a step must have, and steps after which a parameter's size is known.
const POSITIONS: usize = 8;
const LEARNT: u32 = 4;
/// Parameters that are remembered.
const TENSORS_MAX: usize = 20_000;
/// Steps that are judged together, and those before them that they must differ from as well.
const TOGETHER: usize = 8;
const LATEST: usize = 16;
/// Steps from which it is told how long they are.
const SHOWING: usize = 3;
/// How many times its spread, and how many times what it ever was, their mean must be off, the least spread, and the least that it must be off, of the logarithm of a mean square: 1.4 times
/// the length.
const SIGMAS: f64 = 6.0;
const FARTHEST: f64 = 3.0;
const SPREAD_MIN: f64 = 0.05;
const OFF_MIN: f64 = 0.7;
/// How plain a direction must be.
const PLAIN: f64 = 0.15;
/// Steps in a row that do not move anything.
const IN_A_ROW: u32 = 2;
/// The share of rounding in the mean square of changes from which they say nothing: a length is then at most 5 % off.
const ROUNDED_MAX: f64 = 0.1;
/// Mean square of what an update in two operations loses, in squares of the distance between two numbers: a twelfth for each.
const LOST: f64 = 1.0 / 6.0;
/// Weight of the newest step in a parameter's size.
const WEIGHT: f64 = 0.02;

/// What a step did at one position.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Move {
    /// Which parameter.
    pub index: u32,
    /// Change of the weight, divided by the learning rate.
    pub change: f64,
    /// Distance of the weight to the next number of its type, divided by the learning rate.
    pub spacing: f64,
    /// The gradient that the step was given.
    pub gradient: f64,
}

/// What a step says.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Answer {
    /// It is as those before, or too little is known of them.
    Usual,
    /// Its changes are as small as what is rounded away.
    TooFine,
    /// It is not as those before.
    Broken(Broken),
}

/// What is not as it was.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Broken {
    /// The weights do not move any more.
    Still,
    /// They move by so many times what they did.
    Size(f64),
    /// They move the other way.
    Turned,
}

/// Mean squares of one parameter.
#[derive(Debug, Clone, Copy, Default)]
struct Usual {
    change: f64,
    gradient: f64,
    steps: u32,
}

/// What one group of parameters did.
#[derive(Debug, Clone, Default)]
pub struct Habit {
    tensors: BTreeMap<u32, Usual>,
    lengths: VecDeque<f64>,
    relative: VecDeque<f64>,
    directions: VecDeque<f64>,
    still: u32,
}

/// Whether the steps of a class have a length of their own: torch's `Rprop` makes those of each weight longer and shorter as it goes, whatever
/// its learning rate.
#[must_use]
pub fn has_length(class: &str) -> bool {
    class != "torch.optim.rprop.Rprop"
}

impl Habit {
    /// A step was made.
    pub fn step(&mut self, moves: &[Move]) -> Answer {
        let finite: Vec<Move> = moves
            .iter()
            .filter(|it| it.change.is_finite() && it.gradient.is_finite())
            .copied()
            .collect();
        let (mut change, mut gradient, mut product, mut count) = (0.0, 0.0, 0.0, 0usize);
        let mut lost = 0.0;
        for it in &finite {
            let usual = self.tensors.get(&it.index);
            let Some(usual) = usual.filter(|it| it.steps >= LEARNT) else {
                continue;
            };
            let (by, of) = (
                it.change / usual.change.sqrt(),
                it.gradient / usual.gradient.sqrt(),
            );
            if by.is_finite() && of.is_finite() {
                change += by * by;
                gradient += of * of;
                product -= by * of;
                lost += LOST * it.spacing * it.spacing / usual.change;
                count += 1;
            }
        }
        if count < POSITIONS || gradient <= 0.0 {
            return self.learn(&finite);
        }
        // Beside the usual change: what does not move at all is judged where a usual step would show.
        if lost > ROUNDED_MAX * to_float(count) {
            return Answer::TooFine;
        }
        if change <= 0.0 {
            // What does not move has no length.
            self.still += 1;
            let known = off(&self.lengths).is_some() && self.still >= IN_A_ROW;
            return if known {
                Answer::Broken(Broken::Still)
            } else {
                Answer::Usual
            };
        }
        self.still = 0;
        let length = (change / to_float(count)).ln();
        push(&mut self.lengths, length);
        push(
            &mut self.relative,
            length - (gradient / to_float(count)).ln(),
        );
        push(&mut self.directions, product / (change * gradient).sqrt());
        self.learn(&finite);
        self.judged().map_or(Answer::Usual, Answer::Broken)
    }

    fn judged(&self) -> Option<Broken> {
        let (off, relative) = (off(&self.lengths)?, off(&self.relative)?);
        let far = |off: Off| off.by.abs() > off.limit.max(OFF_MIN);
        if far(off) && far(relative) && (off.by > 0.0) == (relative.by > 0.0) {
            // The first of the steps together may be as ever.
            let last = self.lengths.iter().rev().take(SHOWING);
            let last = last.sum::<f64>() / to_float(SHOWING);
            return Some(Broken::Size(((last - off.middle) / 2.0).exp()));
        }
        let along = self::off(&self.directions)?;
        let turned = along.middle.abs() > PLAIN
            && (along.middle + along.by) * along.middle < 0.0
            && along.by.abs() > along.limit;
        turned.then_some(Broken::Turned)
    }

    /// Takes the sizes of a step's changes and gradients into those of its parameters.
    fn learn(&mut self, moves: &[Move]) -> Answer {
        let mut sums: BTreeMap<u32, (f64, f64, f64, usize)> = BTreeMap::new();
        for it in moves {
            let sum = sums.entry(it.index).or_default();
            sum.0 += it.change * it.change;
            sum.1 += it.gradient * it.gradient;
            sum.2 += LOST * it.spacing * it.spacing;
            sum.3 += 1;
        }
        let mut answer = Answer::Usual;
        for (index, (change, gradient, lost, count)) in sums {
            if lost > ROUNDED_MAX * change {
                answer = Answer::TooFine;
                continue;
            }
            if self.tensors.len() >= TENSORS_MAX && !self.tensors.contains_key(&index) {
                continue;
            }
            let usual = self.tensors.entry(index).or_default();
            // At first all steps count alike.
            let weight = WEIGHT.max(1.0 / (f64::from(usual.steps) + 1.0));
            usual.change += weight * (change / to_float(count) - usual.change);
            usual.gradient += weight * (gradient / to_float(count) - usual.gradient);
            usual.steps = usual.steps.saturating_add(1);
        }
        answer
    }
}

fn push(values: &mut VecDeque<f64>, value: f64) {
    if values.len() == REMEMBERED + TOGETHER {
        values.pop_front();
    }
    values.push_back(value);
}

/// How far the last values are from those before.
#[derive(Debug, Clone, Copy)]
struct Off {
    /// Median of those before.
    middle: f64,
    /// The mean of the last without it, or without that of the latest before, where that is nearer.
    by: f64,
    /// What a mean of as many may be off.
    limit: f64,
}

/// `None` where too few came before.
fn off(values: &VecDeque<f64>) -> Option<Off> {
    let before = values.len().checked_sub(TOGETHER)?;
    let mut earlier: Vec<f64> = values.iter().take(before).copied().collect();
    if earlier.len() < STEPS {
        return None;
    }
    let mut latest: Vec<f64> = earlier.iter().rev().take(LATEST).copied().collect();
    let middle = median(&mut earlier)?;
    let mut distances: Vec<f64> = earlier.iter().map(|it| (it - middle).abs()).collect();
    // Of a normal distribution half lies within 0.6745 of its spread.
    let spread = (median(&mut distances)? / 0.6745).max(SPREAD_MIN);
    let ordered: Vec<f64> = values.iter().take(before).copied().collect();
    let means = ordered.chunks_exact(TOGETHER);
    let means = means.map(|it| (it.iter().sum::<f64>() / to_float(TOGETHER) - middle).abs());
    let farthest = means.fold(0.0, f64::max);
    let last = values.iter().skip(before).sum::<f64>() / to_float(TOGETHER);
    let (by, since) = (last - middle, last - median(&mut latest)?);
    let nearer = if by.abs() < since.abs() { by } else { since };
    Some(Off {
        middle,
        by: if by * since > 0.0 { nearer } else { 0.0 },
        limit: (SIGMAS * spread / to_float(TOGETHER).sqrt()).max(FARTHEST * farthest),
    })
}

fn median(values: &mut [f64]) -> Option<f64> {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied()
}

#[expect(clippy::cast_precision_loss, reason = "a count of positions")]
fn to_float(count: usize) -> f64 {
    count as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A generator for tests: normal numbers by the sum of twelve.
    struct Noise(u64);

    impl Noise {
        fn even(&mut self) -> f64 {
            self.0 = self
                .0
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1_442_695_040_888_963_407);
            f64::from(u32::try_from(self.0 >> 32).unwrap()) / f64::from(u32::MAX)
        }

        fn normal(&mut self) -> f64 {
            (0..12).map(|_| self.even()).sum::<f64>() - 6.0
        }
    }

    /// A step whose gradients are `loud` and whose changes are the normalized gradients, with `noise`, times `times`.
    fn step(noise: &mut Noise, loud: f64, times: f64, proportional: bool) -> Vec<Move> {
        (0..32)
            .map(|position| {
                let size = f64::from(1 + position % 5);
                let gradient = noise.normal();
                let change = -gradient * 0.4 - noise.normal() * 0.8;
                let loud_change = if proportional { loud } else { 1.0 };
                Move {
                    index: position % 5,
                    change: change * size * times * loud_change,
                    spacing: 1e-6,
                    gradient: gradient * loud,
                }
            })
            .collect()
    }

    fn broken(answer: Answer) -> Option<Broken> {
        match answer {
            Answer::Broken(broken) => Some(broken),
            Answer::Usual | Answer::TooFine => None,
        }
    }

    /// Weights of four bytes about one that take a step with this learning rate.
    fn rounded(noise: &mut Noise, rate: f64) -> Vec<Move> {
        let exact = step(noise, 1.0, 0.01, false);
        let taken = exact.iter().map(|it| {
            let (before, spacing) = (1.0 + 0.5 * noise.even(), f64::from(f32::EPSILON));
            let before = (before / spacing).round() * spacing;
            let behind = ((before + it.change * rate) / spacing).round() * spacing;
            Move {
                change: (behind - before) / rate,
                spacing: spacing / rate,
                ..*it
            }
        });
        taken.collect()
    }

    #[test]
    fn changes_that_are_rounded_away_are_no_others_and_are_told() {
        let (mut noise, mut habit) = (Noise(3), Habit::default());
        let mut fine = 0;
        for number in 0..400 {
            // From nothing up, and down to nothing.
            let part = f64::from(200 - i32::abs(number - 200)) / 200.0;
            match habit.step(&rounded(&mut noise, 1e-2 * part.powi(6))) {
                Answer::TooFine => fine += 1,
                Answer::Usual => (),
                Answer::Broken(broken) => panic!("{number}: {broken:?}"),
            }
        }
        assert!((100..300).contains(&fine), "{fine}");
    }

    #[test]
    fn steps_of_another_length_are_told_and_which_way_they_go() {
        for (times, means) in [(1.8, 1.8), (0.4, 0.4), (0.0, 0.0), (-1.0, -1.0)] {
            let (mut noise, mut habit) = (Noise(5), Habit::default());
            for _ in 0..100 {
                let found = habit.step(&step(&mut noise, 1.0, 1.0, false));
                assert_eq!(found, Answer::Usual);
            }
            let mut found = None;
            for _ in 0..10 {
                found = found.or(broken(habit.step(&step(&mut noise, 1.0, times, false))));
            }
            match found {
                Some(Broken::Size(told)) => {
                    assert!((told / means - 1.0_f64).abs() < 0.35, "{told}");
                }
                Some(Broken::Still) => assert!(times == 0.0),
                Some(Broken::Turned) => assert!(times < 0.0),
                None => panic!("{times} was not found"),
            }
        }
    }

    #[test]
    fn gradients_that_grow_or_vanish_are_no_change_of_the_optimizer() {
        for proportional in [false, true] {
            let (mut noise, mut habit) = (Noise(9), Habit::default());
            for number in 0..2_000 {
                let loud = match number % 300 {
                    200..205 => 30.0,
                    250..260 => 0.02,
                    _ => 1.0,
                };
                let found = habit.step(&step(&mut noise, loud, 1.0, proportional));
                assert_eq!(found, Answer::Usual, "{number} {proportional}");
            }
        }
    }

    #[test]
    fn few_positions_and_numbers_that_are_none_say_nothing() {
        let (mut noise, mut habit) = (Noise(1), Habit::default());
        for _ in 0..200 {
            let mut moves = step(&mut noise, 1.0, 1.0, false);
            moves.truncate(4);
            moves.push(Move {
                index: 9,
                change: f64::NAN,
                spacing: 1e-6,
                gradient: 1.0,
            });
            assert_eq!(habit.step(&moves), Answer::Usual);
        }
    }
}
