//! What would explain a step that is not as it must be: the one input which, changed, makes all of it right.
//!
//! Each candidate is estimated from the state or the weights (median over positions) and then put to the test: the rule is
//! evaluated anew with it, and it counts only if every position of the affected parameters agrees. So what is told is
//! arithmetic and no guess; what nothing explains is [`Cause::Other`], with the range of the changes.

use super::judge::Point;
use super::update::{Before, Class, Hyper};

/// Share of the expected change that a candidate may be off, for its parameter is an estimate.
const SLACK: f64 = 0.005;

/// An explanation.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Cause {
    /// Neither weights nor state changed.
    Nothing,
    /// The state is right and the weights did not move.
    Still,
    /// The state is right and the weights moved by this many times the expected change.
    Change(f64),
    /// Weights and state are those of this many times the gradient.
    Gradient(f64),
    /// Weights and state are those of the gradient that stood there behind the step.
    GradientWritten,
    /// Weights and state are those of a step that began without momentum.
    Reset,
    /// They are those of a step without weight decay.
    NoDecay,
    /// They are those of another first coefficient (`beta1`, `momentum`): this one was used.
    First(f64),
    /// They are those of another second coefficient (`beta2`, `alpha`): this one was used.
    Second(f64),
    /// The count of steps went another way, the rest is right.
    Count,
    /// A parameter without a gradient changed.
    WithoutGradient,
    /// Nothing of the above: the least and the greatest ratio of the change to the expected one, where that is known.
    Other(Option<(f64, f64)>),
}

impl Cause {
    /// Its kind, without its numbers.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Nothing => "nothing",
            Self::Still => "still",
            Self::Change(_) => "change",
            Self::Gradient(_) => "gradient",
            Self::GradientWritten => "gradient-written",
            Self::Reset => "reset",
            Self::NoDecay => "no-decay",
            Self::First(_) => "first-coefficient",
            Self::Second(_) => "second-coefficient",
            Self::Count => "count",
            Self::WithoutGradient => "without-gradient",
            Self::Other(_) => "other",
        }
    }
}

/// The explanation of `points`, all positions of the affected parameters.
pub(super) fn of(points: &[&Point]) -> Cause {
    if !points.is_empty() && points.iter().all(|point| point.still()) {
        return Cause::Nothing;
    }
    let right = |point: &&Point| point.differs(&point.before, &point.hyper, 0.0).is_none();
    if points.iter().all(right) {
        return Cause::Count;
    }
    written(points)
        .or_else(|| reset(points))
        .or_else(|| gradient(points))
        .or_else(|| change(points))
        .or_else(|| no_decay(points))
        .or_else(|| coefficients(points))
        .unwrap_or_else(|| Cause::Other(range(points)))
}

/// Whether every point agrees when its inputs are changed so.
fn fits(points: &[&Point], change: impl Fn(&Point, &mut Before, &mut Hyper)) -> bool {
    points.iter().all(|point| {
        let (mut before, mut hyper) = (point.before, point.hyper);
        change(point, &mut before, &mut hyper);
        point.differs(&before, &hyper, SLACK).is_none()
    })
}

fn written(points: &[&Point]) -> Option<Cause> {
    points
        .iter()
        .any(|point| point.gradient_behind.is_some())
        .then_some(())?;
    let fit = fits(points, |point, before, _| {
        before.gradient = point.gradient_behind.unwrap_or(before.gradient);
    });
    fit.then_some(Cause::GradientWritten)
}

fn reset(points: &[&Point]) -> Option<Cause> {
    let mut held = points
        .iter()
        .filter(|point| momentum(point).is_some_and(|it| it != 0.0));
    held.next()?;
    let fit = fits(points, |point, before, _| {
        let column = momentum_column(point);
        if let Some(value) = column.and_then(|column| before.state.get_mut(column)) {
            *value = 0.0;
        }
    });
    // SGD that lost its buffer starts it anew, without dampening.
    let fit = fit
        || fits(points, |point, before, _| {
            before.fresh = true;
            if point.hyper.class != Class::Sgd {
                before.state = [0.0; 3];
            }
        });
    fit.then_some(Cause::Reset)
}

fn momentum_column(point: &Point) -> Option<usize> {
    match point.hyper.class {
        Class::Sgd if point.hyper.momentum != 0.0 => Some(0),
        Class::Adam | Class::Adamax | Class::Lion | Class::Muon => Some(0),
        Class::RmsProp if point.hyper.momentum > 0.0 => Some(1),
        Class::Sgd | Class::RmsProp | Class::Adagrad => None,
    }
}

fn momentum(point: &Point) -> Option<f64> {
    point.before.state.get(momentum_column(point)?).copied()
}

/// The gradient that the first column of state shows, over the one that was told.
fn gradient(points: &[&Point]) -> Option<Cause> {
    let shown = |point: &&&Point| {
        let (before, hyper) = (&point.before, &point.hyper);
        let [old, ..] = before.state;
        let [Some(new), ..] = point.state else {
            return None;
        };
        let sign = if hyper.maximize { -1.0 } else { 1.0 };
        let decay = if hyper.decoupled {
            0.0
        } else {
            hyper.weight_decay * before.weight
        };
        let used = match hyper.class {
            Class::Sgd if before.fresh => new,
            Class::Sgd => (new - hyper.momentum * old) / (1.0 - hyper.dampening),
            Class::Adam | Class::Adamax => (new - hyper.beta1 * old) / (1.0 - hyper.beta1),
            Class::Lion => (new - hyper.beta2 * old) / (1.0 - hyper.beta2),
            Class::Muon => (new - hyper.momentum * old) / (1.0 - hyper.momentum),
            Class::Adagrad => (new - old).max(0.0).sqrt(),
            Class::RmsProp => ((new - hyper.alpha * old) / (1.0 - hyper.alpha))
                .max(0.0)
                .sqrt(),
        };
        let squares = matches!(hyper.class, Class::Adagrad | Class::RmsProp);
        let told = before.gradient;
        let times = if squares {
            used / told.abs()
        } else {
            sign * (used - decay) / told
        };
        // Of Muon's weights nothing is known to a tenth.
        let plain = hyper.class == Class::Muon || point.change().is_some();
        (plain && times.is_finite()).then_some(times)
    };
    let times = median(points.iter().filter_map(|point| shown(&point)))?;
    let try_times = |times: f64| {
        let fit = fits(points, |_, before, _| before.gradient *= times);
        ((times - 1.0).abs() > SLACK && fit).then_some(Cause::Gradient(times))
    };
    try_times(times).or_else(|| try_times(-times))
}

/// The weights' change over the expected one, where the state is right.
fn change(points: &[&Point]) -> Option<Cause> {
    let ratio = |point: &&Point| Some((point.weight - point.before.weight) / point.change()?);
    let times = median(points.iter().filter_map(ratio))?;
    if (times - 1.0).abs() <= SLACK {
        return None;
    }
    if times.abs() < 1e-12 {
        let still = points.iter().all(|point| {
            let moved = point.weight.to_bits() != point.before.weight.to_bits();
            !moved || point.differs(&point.before, &point.hyper, 0.0).is_none()
        });
        return still.then_some(Cause::Still);
    }
    fits(points, |_, _, hyper| hyper.lr *= times).then_some(Cause::Change(times))
}

fn no_decay(points: &[&Point]) -> Option<Cause> {
    let decayed = points.iter().any(|point| point.hyper.weight_decay != 0.0);
    (decayed && fits(points, |_, _, hyper| hyper.weight_decay = 0.0)).then_some(Cause::NoDecay)
}

fn coefficients(points: &[&Point]) -> Option<Cause> {
    let first = |point: &&Point| {
        let hyper = &point.hyper;
        let gradient = effective(point);
        let [old, ..] = point.before.state;
        let [Some(new), ..] = point.state else {
            return None;
        };
        let used = match hyper.class {
            Class::Adam | Class::Adamax | Class::Muon => (new - gradient) / (old - gradient),
            Class::Sgd if !point.before.fresh => (new - (1.0 - hyper.dampening) * gradient) / old,
            _ => return None,
        };
        used.is_finite().then_some(used)
    };
    let second = |point: &&Point| {
        let square = effective(point).powi(2);
        let (column, class) = match point.hyper.class {
            Class::Adam => (1, true),
            Class::RmsProp => (0, true),
            _ => (0, false),
        };
        let old = *point.before.state.get(column)?;
        let new = point.state.get(column).copied().flatten()?;
        let used = (new - square) / (old - square);
        (class && used.is_finite()).then_some(used)
    };
    if let Some(used) = median(points.iter().filter_map(first)) {
        let fit = fits(points, |_, _, hyper| match hyper.class {
            Class::Sgd | Class::Muon => hyper.momentum = used,
            _ => hyper.beta1 = used,
        });
        if fit {
            return Some(Cause::First(used));
        }
    }
    let used = median(points.iter().filter_map(second))?;
    let fit = fits(points, |_, _, hyper| match hyper.class {
        Class::RmsProp => hyper.alpha = used,
        _ => hyper.beta2 = used,
    });
    fit.then_some(Cause::Second(used))
}

/// The gradient with sign and weight decay as the rule takes it in.
fn effective(point: &Point) -> f64 {
    let (before, hyper) = (&point.before, &point.hyper);
    let sign = if hyper.maximize { -1.0 } else { 1.0 };
    let decay = if hyper.decoupled {
        0.0
    } else {
        hyper.weight_decay * before.weight
    };
    sign * before.gradient + decay
}

fn range(points: &[&Point]) -> Option<(f64, f64)> {
    let ratios = points
        .iter()
        .filter_map(|point| Some((point.weight - point.before.weight) / point.change()?))
        .filter(|ratio| ratio.is_finite());
    ratios.fold(None, |range, ratio| {
        let (low, high) = range.unwrap_or((ratio, ratio));
        Some((low.min(ratio), high.max(ratio)))
    })
}

fn median(values: impl Iterator<Item = f64>) -> Option<f64> {
    let mut values: Vec<_> = values.filter(|value| value.is_finite()).collect();
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied()
}
