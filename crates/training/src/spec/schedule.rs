//! A learning rate over the steps, as few pieces: constant, linear, cosine, exponential, falling by steps.
//!
//! A formula is used only where it gives every recorded value to within rounding; what no formula gives stays a table of
//! constant and linear pieces, which is exact too. Nothing is said of steps behind the last one that was recorded.

use std::cell::Cell;

use serde::{Deserialize, Serialize};

/// How far a formula may be off, as a share of the greatest rate: chained schedulers round once a step.
const ROUNDING: f64 = 1e-9;
/// How far a used rate may be off the declared one, as a share of it: rates may be tensors of 32 bits.
const USED: f64 = 1e-6;
/// A cosine may be cut short after this share of its period.
const PERIODS: u64 = 8;
/// Periods that are tried at most.
const TRIED_MAX: u64 = 200_000;
/// Pieces of one schedule.
pub const PIECES_MAX: usize = 20_000;

/// One piece; both ends belong to it.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case", deny_unknown_fields)]
#[expect(
    missing_docs,
    reason = "the fields are named alike in each variant: `first` and `last` steps, then the formula's own"
)]
pub enum Piece {
    /// `value`.
    Constant { first: u64, last: u64, value: f64 },
    /// From `start` at `first` to `end` at `last`.
    Linear {
        first: u64,
        last: u64,
        start: f64,
        end: f64,
    },
    /// `floor + (start - floor) * (1 + cos(pi * (step - anchor) / period)) / 2`.
    Cosine {
        first: u64,
        last: u64,
        anchor: u64,
        start: f64,
        floor: f64,
        period: u64,
    },
    /// `start * factor ^ (step - first)`.
    Exponential {
        first: u64,
        last: u64,
        start: f64,
        factor: f64,
    },
    /// `start * factor ^ floor((step - first) / every)`.
    Steps {
        first: u64,
        last: u64,
        start: f64,
        factor: f64,
        every: u64,
    },
}

impl Piece {
    /// First and last step.
    pub const fn ends(&self) -> (u64, u64) {
        match *self {
            Self::Constant { first, last, .. }
            | Self::Linear { first, last, .. }
            | Self::Cosine { first, last, .. }
            | Self::Exponential { first, last, .. }
            | Self::Steps { first, last, .. } => (first, last),
        }
    }

    /// The rate at a step of this piece.
    pub fn at(&self, step: u64) -> f64 {
        let behind = |from: u64| step.saturating_sub(from) as f64;
        match *self {
            Self::Constant { value, .. } => value,
            Self::Linear {
                first,
                last,
                start,
                end,
            } => {
                let span = last.saturating_sub(first).max(1) as f64;
                start + (end - start) * behind(first) / span
            }
            Self::Cosine {
                anchor,
                start,
                floor,
                period,
                ..
            } => {
                let phase = std::f64::consts::PI * behind(anchor) / period.max(1) as f64;
                floor + (start - floor) * (1.0 + phase.cos()) / 2.0
            }
            Self::Exponential {
                first,
                start,
                factor,
                ..
            } => start * factor.powf(behind(first)),
            Self::Steps {
                first,
                start,
                factor,
                every,
                ..
            } => {
                let count = step.saturating_sub(first) / every.max(1);
                start * factor.powf(count as f64)
            }
        }
    }

    /// Its numbers, for those who ask whether all are finite.
    pub fn numbers(&self) -> [f64; 3] {
        match *self {
            Self::Constant { value, .. } => [value, 0.0, 0.0],
            Self::Linear { start, end, .. } => [start, end, 0.0],
            Self::Cosine { start, floor, .. } => [start, floor, 0.0],
            Self::Exponential { start, factor, .. } | Self::Steps { start, factor, .. } => {
                [start, factor, 0.0]
            }
        }
    }
}

/// The declared rate at a step; `None` where nothing is declared.
pub fn rate(pieces: &[Piece], step: u64) -> Option<f64> {
    let behind = pieces.partition_point(|piece| piece.ends().1 < step);
    let piece = pieces.get(behind)?;
    (piece.ends().0 <= step).then(|| piece.at(step))
}

/// Whether a used rate is the declared one.
pub fn is_rate(used: f64, declared: f64, pieces: &[Piece]) -> bool {
    let greatest = pieces
        .iter()
        .flat_map(Piece::numbers)
        .fold(0.0_f64, |most, it| most.max(it.abs()));
    (used - declared).abs() <= USED * used.abs().max(declared.abs()) + ROUNDING * greatest
}

/// The pieces that give all of these rates: steps ascending, each once. `None` where there is none, or one is not finite, or
/// more pieces are needed than are kept.
pub fn fit(points: &[(u64, f64)]) -> Option<Vec<Piece>> {
    if points.is_empty() || points.iter().any(|(_, rate)| !rate.is_finite()) {
        return None;
    }
    let greatest = points
        .iter()
        .fold(0.0_f64, |most, (_, rate)| most.max(rate.abs()));
    let slack = ROUNDING * greatest;
    let fitting = Fitting {
        points,
        slack,
        stays: where_it_stays(points, slack),
        tries: Cell::new(TRIED_MAX),
    };
    let mut pieces = Vec::new();
    let mut from = 0;
    while from < points.len() {
        let (piece, taken) = fitting.longest(from);
        pieces.push(piece);
        from += taken;
        if pieces.len() > PIECES_MAX {
            return None;
        }
    }
    Some(pieces)
}

struct Fitting<'a> {
    points: &'a [(u64, f64)],
    slack: f64,
    /// The first point from which on the rate does not change any more.
    stays: usize,
    /// Periods that may still be tried.
    tries: Cell<u64>,
}

fn where_it_stays(points: &[(u64, f64)], slack: f64) -> usize {
    let final_rate = points.last().map_or(0.0, |(_, rate)| *rate);
    let same = points
        .iter()
        .rev()
        .take_while(|(_, rate)| (rate - final_rate).abs() <= slack);
    points.len() - same.count().max(1)
}

impl Fitting<'_> {
    /// The piece that reaches farthest from here, the simplest of those, and how many points it takes.
    fn longest(&self, from: usize) -> (Piece, usize) {
        let mut best = self.constant(from);
        for (found, least) in [
            (self.linear(from), 3),
            (self.exponential(from), 4),
            (self.steps(from), 3),
            (self.cosine(from), 4),
        ] {
            if let Some((piece, taken)) = found
                && taken >= least
                && taken > best.1
            {
                best = (piece, taken);
            }
        }
        best
    }

    /// How many points from here on a piece gives, and the piece with its last step.
    fn reach(&self, from: usize, piece: Piece) -> (Piece, usize) {
        let rest = self.points.get(from..).unwrap_or_default();
        let taken = rest
            .iter()
            .take_while(|(step, rate)| (piece.at(*step) - rate).abs() <= self.slack)
            .count();
        (piece, taken)
    }

    fn ended(&self, from: usize, (mut piece, taken): (Piece, usize)) -> (Piece, usize) {
        let end = from + taken.max(1) - 1;
        let at = self.points.get(end).map_or(0, |(step, _)| *step);
        match &mut piece {
            Piece::Constant { last, .. }
            | Piece::Linear { last, .. }
            | Piece::Cosine { last, .. }
            | Piece::Exponential { last, .. }
            | Piece::Steps { last, .. } => *last = at,
        }
        (piece, taken.max(1))
    }

    fn point(&self, index: usize) -> Option<(u64, f64)> {
        self.points.get(index).copied()
    }

    fn constant(&self, from: usize) -> (Piece, usize) {
        let (first, value) = self.point(from).unwrap_or_default();
        self.ended(
            from,
            self.reach(
                from,
                Piece::Constant {
                    first,
                    last: first,
                    value,
                },
            ),
        )
    }

    fn linear(&self, from: usize) -> Option<(Piece, usize)> {
        let ((first, start), (next, second)) = (self.point(from)?, self.point(from + 1)?);
        let slope = |to: u64, rate: f64| (rate - start) / to.saturating_sub(first) as f64;
        let rough = slope(next, second);
        let rest = self.points.get(from..)?;
        let near = |(step, rate): &&(u64, f64)| {
            let steps = step.saturating_sub(first) as f64;
            (start + rough * steps - rate).abs() <= self.slack * (1.0 + steps * 1e-3)
        };
        // The slope of the first two is rough; that of the ends is what is kept.
        let mut taken = rest.iter().take_while(near).count();
        while taken >= 3 {
            let (last, end) = self.point(from + taken - 1)?;
            let piece = Piece::Linear {
                first,
                last,
                start,
                end,
            };
            if self.reach(from, piece).1 >= taken {
                return Some((piece, taken));
            }
            taken /= 2;
        }
        None
    }

    fn exponential(&self, from: usize) -> Option<(Piece, usize)> {
        let ((first, start), (next, second)) = (self.point(from)?, self.point(from + 1)?);
        let factor = (second / start).powf(1.0 / next.saturating_sub(first) as f64);
        let usable = factor.is_finite() && factor > 0.0 && second.to_bits() != start.to_bits();
        usable.then(|| {
            self.ended(
                from,
                self.reach(
                    from,
                    Piece::Exponential {
                        first,
                        last: first,
                        start,
                        factor,
                    },
                ),
            )
        })
    }

    fn steps(&self, from: usize) -> Option<(Piece, usize)> {
        let (first, start) = self.point(from)?;
        let (_, held) = self.constant(from);
        let (next, second) = self.point(from + held)?;
        let (factor, every) = (second / start, next.saturating_sub(first));
        let (third, _) = self.point(from + held + self.constant(from + held).1)?;
        if !factor.is_finite() || factor <= 0.0 || every < 2 || third.saturating_sub(next) != every
        {
            return None;
        }
        Some(self.ended(
            from,
            self.reach(
                from,
                Piece::Steps {
                    first,
                    last: first,
                    start,
                    factor,
                    every,
                },
            ),
        ))
    }

    /// A cosine that begins here or one step earlier and goes to the end, or to where the rate stays.
    fn cosine(&self, from: usize) -> Option<(Piece, usize)> {
        let before = from.checked_sub(1).and_then(|before| self.point(before));
        let ends = [self.points.len().checked_sub(1)?, self.stays];
        let mut best: Option<(Piece, usize)> = None;
        for anchor in [Some(self.point(from)?), before].into_iter().flatten() {
            for end in ends {
                let found = self.cosine_from(from, anchor, end);
                if found.as_ref().map(|it| it.1) > best.as_ref().map(|it| it.1) {
                    best = found;
                }
            }
        }
        best
    }

    fn cosine_from(
        &self,
        from: usize,
        (anchor, start): (u64, f64),
        end: usize,
    ) -> Option<(Piece, usize)> {
        let (last, at_end) = self.point(end).filter(|_| end >= from + 3)?;
        let (first, _) = self.point(from)?;
        let span = last.saturating_sub(anchor).max(1);
        let limit = span
            .saturating_mul(PERIODS)
            .max(1000)
            .min(span.saturating_add(self.tries.get()));
        (span..=limit).find_map(|period| {
            self.tries.set(self.tries.get().saturating_sub(1));
            let phase = std::f64::consts::PI * span as f64 / period as f64;
            let share = f64::midpoint(1.0, phase.cos());
            let floor = (at_end - start * share) / (1.0 - share);
            let piece = Piece::Cosine {
                first,
                last,
                anchor,
                start,
                floor,
                period,
            };
            let taken = end + 1 - from;
            let middle = self.point(from + taken / 2)?;
            let near = (piece.at(middle.0) - middle.1).abs() <= self.slack;
            // A floor below nothing is another curve's beginning.
            (near && floor >= -self.slack && self.reach(from, piece).1 >= taken)
                .then_some((piece, taken))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn points(steps: u64, rate: impl Fn(f64) -> f64) -> Vec<(u64, f64)> {
        (1..=steps)
            .map(|step| (step, rate((step - 1) as f64)))
            .collect()
    }

    fn kinds(points: &[(u64, f64)]) -> Vec<&'static str> {
        let pieces = fit(points).unwrap();
        for (step, value) in points {
            let declared = rate(&pieces, *step).unwrap();
            assert!(
                (declared - value).abs() <= 1e-9 * value.abs().max(1e-3),
                "step {step}: {declared} for {value}"
            );
        }
        let kind = |piece: &Piece| match piece {
            Piece::Constant { .. } => "constant",
            Piece::Linear { .. } => "linear",
            Piece::Cosine { .. } => "cosine",
            Piece::Exponential { .. } => "exponential",
            Piece::Steps { .. } => "steps",
        };
        pieces.iter().map(kind).collect()
    }

    /// Linear warm-up, then a cosine to a tenth.
    fn usual(steps: f64, warmup: f64) -> impl Fn(f64) -> f64 {
        move |step| {
            if step < warmup {
                return 1e-3 * (step + 1.0) / warmup;
            }
            let done = ((step - warmup) / (steps - warmup)).min(1.0);
            1e-3 * (0.1 + 0.45 * (1.0 + (std::f64::consts::PI * done).cos()))
        }
    }

    #[test]
    fn each_usual_schedule_becomes_its_formula() {
        assert_eq!(kinds(&points(50, |_| 3e-4)), ["constant"]);
        assert_eq!(
            kinds(&points(50, |step| 3e-4 * (1.0 - step / 60.0))),
            ["linear"]
        );
        assert_eq!(
            kinds(&points(60, |step| 0.1 * 0.97_f64.powf(step))),
            ["exponential"]
        );
        assert_eq!(
            kinds(&points(50, |step| 0.1 * 0.5_f64.powf((step / 10.0).floor()))),
            ["steps"]
        );
        assert_eq!(
            kinds(&points(300, usual(300.0, 20.0))),
            ["linear", "cosine"]
        );
        assert_eq!(
            kinds(&points(40, usual(30.0, 10.0))),
            ["linear", "cosine", "constant"]
        );
        assert_eq!(
            kinds(&points(12, usual(12.0, 2.0)))[1..],
            ["constant", "cosine"]
        );
    }

    #[test]
    fn a_cosine_that_was_cut_short_keeps_its_period_and_floor() {
        let pieces = fit(&points(50, |step| {
            1e-5 + 4.95e-4 * (1.0 + (std::f64::consts::PI * step / 200.0).cos())
        }))
        .unwrap();
        let [Piece::Cosine { floor, period, .. }] = pieces.as_slice() else {
            panic!("{pieces:?}");
        };
        assert_eq!(*period, 200);
        assert!((floor - 1e-5).abs() < 1e-9);
    }

    #[test]
    fn what_no_formula_gives_is_a_table_and_gives_every_value() {
        let odd = points(40, |step| 1e-3 * (1.0 + (step * step * 0.7).sin()));
        assert!(kinds(&odd).len() > 20);
        let one_off: Vec<_> = points(30, |step| {
            if (step - 17.0).abs() < 0.5 {
                4.5e-4
            } else {
                3e-4
            }
        });
        assert_eq!(kinds(&one_off), ["constant", "constant", "constant"]);
    }

    #[test]
    fn nothing_is_declared_of_steps_that_were_not_recorded_or_of_what_is_no_number() {
        let pieces = fit(&points(5, |_| 0.1)).unwrap();
        assert_eq!(
            (rate(&pieces, 5), rate(&pieces, 6), rate(&pieces, 0)),
            (Some(0.1), None, None)
        );
        assert_eq!(fit(&[(1, f64::NAN)]), None);
        assert_eq!(fit(&[]), None);
    }

    #[test]
    fn half_as_much_again_is_another_rate_and_a_rounding_to_32_bits_is_not() {
        let pieces = fit(&points(5, |_| 3e-4)).unwrap();
        assert!(is_rate(f64::from(3e-4_f32), 3e-4, &pieces));
        assert!(!is_rate(4.5e-4, 3e-4, &pieces) && !is_rate(f64::NAN, 3e-4, &pieces));
    }
}
