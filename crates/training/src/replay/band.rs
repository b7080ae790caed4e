//! How far honest computations of the same steps lie apart, and whether a record lies farther.
//!
//! On another processor, or with another number of threads, sums are made in another order, and the last digits differ; the difference grows as
//! training goes on. How far, nobody knows beforehand: it is learnt from clean replays of the same steps that differ in nothing but this. The
//! record may be as far from the nearest of them as the farthest two are from each other, and as far again. Each of them is held against the others in the same
//! way, parameter by parameter: where one lies farther out than these say, the record may by that factor twice.
//!
//! A distance is the median over the sampled elements, so that single ones whose gradient is nothing but rounding decide nothing, in units of
//! what the step changes (weights), of their own size (gradients), or of the number itself (losses, norms).

use std::collections::{BTreeMap, BTreeSet};

use domain::{Number, StepRecord};

use super::compare::Part;
use super::sampled::{self, Column, Tensor, Told};
use crate::ElementKind;

/// Clean replays that a band needs: each is held against the others, and these against one another.
pub const CLEAN_MIN: usize = 3;
/// Roundings, one upon the other, that honest computations of a number may differ by whatever the others show: sums, and the steps of an update.
const ROUNDINGS: f64 = 16.0;
/// Not farther than the farthest two, but as far again.
const AGAIN: f64 = 2.0;
/// From this on a distance says nothing: it is as large as what it is measured by.
pub const BLIND: f64 = 1.0;

/// What is measured: a part of the step, and which parameter of the optimizer or which loss.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Key {
    /// Part.
    pub part: Part,
    /// Parameter or loss, from 0.
    pub number: u32,
}

/// Distances of the computations of one step from each other.
#[derive(Debug, Clone, PartialEq)]
struct Apart {
    /// Of each from each, the record first; row by row.
    distances: Vec<f64>,
    /// What so many roundings to the element's type make.
    floor: f64,
}

impl Apart {
    /// From `which` to the nearest of the others among `all`.
    fn nearest(&self, which: usize, all: &[usize], count: usize) -> f64 {
        let row = all.iter().filter(|other| **other != which);
        let distances = row.filter_map(|other| self.distances.get(which * count + other));
        distances.copied().fold(f64::INFINITY, f64::min)
    }

    /// Of the two among `all` that lie farthest apart.
    fn farthest(&self, all: &[usize], count: usize) -> f64 {
        let pairs = (all.iter()).flat_map(|one| all.iter().map(move |other| one * count + other));
        let distances = pairs.filter_map(|at| self.distances.get(at).copied());
        distances.filter(|it| it.is_finite()).fold(0.0, f64::max)
    }
}

/// The steps of one process, each as several computations have it.
#[derive(Debug, Clone, Default)]
pub struct Band {
    count: usize,
    steps: Vec<(u64, BTreeMap<Key, Apart>)>,
}

/// Where a record is held against the band.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Held {
    /// The step.
    pub step: u64,
    /// What.
    pub key: Key,
    /// How far the record is from the nearest clean replay.
    pub record: f64,
    /// How far it may be.
    pub limit: f64,
    /// How far the two clean ones that are farthest apart are, up to this step.
    pub clean: f64,
}

impl Held {
    /// Whether a difference would be seen.
    #[must_use]
    pub fn tells(&self) -> bool {
        self.limit < BLIND
    }

    /// Whether the record lies outside.
    #[must_use]
    pub fn outside(&self) -> bool {
        self.tells() && self.record > self.limit
    }
}

impl Band {
    /// Takes in a step as the record and the clean replays have it, in this order; each with what its process told so far.
    pub fn hear(&mut self, step: u64, all: &[(&Told, &StepRecord)]) {
        self.count = all.len();
        let mut apart = BTreeMap::new();
        numbers(all, &mut apart);
        tensors(all, &mut apart);
        self.steps.push((step, apart));
    }

    /// By how much more than the others' band a clean replay needs, at most: a factor for each key, 1 or more. None has less than half of its part.
    fn margins(&self) -> BTreeMap<Key, f64> {
        let clean: Vec<usize> = (1..self.count).collect();
        let mut margins = BTreeMap::<Key, f64>::new();
        for out in &clean {
            let others: Vec<usize> = clean.iter().copied().filter(|it| it != out).collect();
            let mut hull = Hull::default();
            for (_, apart) in &self.steps {
                for (key, apart) in apart {
                    let limit = hull.widen(*key, apart, &others, self.count);
                    let own = apart.nearest(*out, &others, self.count);
                    let most = margins.entry(*key).or_insert(1.0);
                    *most = most.max(own / limit);
                }
            }
        }
        let mut by_part = BTreeMap::<Part, Vec<f64>>::new();
        for (key, margin) in &margins {
            by_part.entry(key.part).or_default().push(*margin);
        }
        let usual: BTreeMap<Part, f64> = by_part
            .into_iter()
            .filter_map(|(part, all)| Some((part, median(all)?)))
            .collect();
        for (key, margin) in &mut margins {
            *margin = usual.get(&key.part).map_or(*margin, |it| margin.max(*it));
        }
        margins
    }

    /// The record at each step.
    #[must_use]
    pub fn held(&self) -> Vec<Held> {
        let margins = self.margins();
        let clean: Vec<usize> = (1..self.count).collect();
        let (mut hull, mut all) = (Hull::default(), Vec::new());
        // The widest limits so far, by parameter: of its gradients, and of what follows from them.
        let (mut gradients, mut changes) =
            (BTreeMap::<u32, f64>::new(), BTreeMap::<u32, f64>::new());
        for (step, apart) in &self.steps {
            for (key, apart) in apart {
                let widest = hull.widen(*key, apart, &clean, self.count);
                // The record is one more than those that this was learnt from: it may be as far again, and has the margin twice.
                let margin = margins.get(key).map_or(1.0, |it| it.powi(2));
                let mut limit = widest * AGAIN * margin;
                // A step is off by what its gradients are off, and weights by what their steps were.
                let (own, from) = match key.part {
                    Part::Gradients => (Some(&mut gradients), None),
                    Part::WeightsBehind => (Some(&mut changes), gradients.get(&key.number)),
                    Part::Weights => (None, changes.get(&key.number)),
                    _ => (None, None),
                };
                limit = from.map_or(limit, |from| limit.max(*from));
                if let Some(own) = own.filter(|_| limit < BLIND) {
                    let most = own.entry(key.number).or_default();
                    *most = most.max(limit);
                }
                all.push(Held {
                    step: *step,
                    key: *key,
                    record: apart.nearest(0, &clean, self.count),
                    limit,
                    clean: widest,
                });
            }
        }
        all
    }
}

/// What lies outside at one step, if that is enough to say so: what is but one parameter, or one number, may be one whose gradient is nothing but
/// rounding, where clean replays happened to agree.
#[must_use]
pub fn outside<'a>(of_step: impl Iterator<Item = &'a Held>) -> Vec<&'a Held> {
    let found: Vec<&Held> = of_step.filter(|held| held.outside()).collect();
    let sources: BTreeSet<_> = (found.iter())
        .map(|held| {
            (!held.key.part.is_of_tensors())
                .then_some(held.key.part)
                .ok_or(held.key.number)
        })
        .collect();
    if sources.len() < 2 {
        return Vec::new();
    }
    found
}

/// How far the two farthest were apart so far.
#[derive(Default)]
struct Hull(BTreeMap<Key, f64>);

impl Hull {
    fn widen(&mut self, key: Key, apart: &Apart, clean: &[usize], count: usize) -> f64 {
        let widest = self.0.entry(key).or_default();
        *widest = widest.max(apart.floor).max(apart.farthest(clean, count));
        *widest
    }
}

/// Losses and norms.
fn numbers(all: &[(&Told, &StepRecord)], apart: &mut BTreeMap<Key, Apart>) {
    let mut put = |part, number: usize, of: &dyn Fn(&StepRecord) -> Option<Number>| {
        let values: Option<Vec<f64>> = all
            .iter()
            .map(|(_, step)| of(step).map(|it| it.0))
            .collect();
        let Some(values) = values else { return };
        let Some(scale) = values.get(1).map(|it| it.abs()).filter(|it| *it > 0.0) else {
            return;
        };
        let number = u32::try_from(number).unwrap_or(u32::MAX);
        let floor = ROUNDINGS * f64::from(f32::EPSILON);
        let distance = |one: usize, other: usize| {
            let (one, other) = (values.get(one)?, values.get(other)?);
            Some((one - other).abs() / scale)
        };
        apart.insert(Key { part, number }, matrix(values.len(), floor, &distance));
    };
    let losses = all.iter().map(|(_, step)| step.losses.len()).min();
    for number in 0..losses.unwrap_or(0) {
        put(Part::Losses, number, &|step| {
            step.losses.get(number).copied()
        });
    }
    put(Part::NormBeforeClip, 0, &|step| {
        step.gradient_norm_before_clip
    });
    put(Part::Norm, 0, &|step| step.gradient_norm);
}

fn matrix(count: usize, floor: f64, distance: &dyn Fn(usize, usize) -> Option<f64>) -> Apart {
    let all = (0..count).flat_map(|one| (0..count).map(move |other| (one, other)));
    let distances = all.map(|(one, other)| match distance(one, other) {
        // What is no number is as far as can be from what is one.
        Some(far) if far.is_nan() => f64::INFINITY,
        Some(far) => far,
        None => f64::INFINITY,
    });
    Apart {
        distances: distances.collect(),
        floor,
    }
}

/// Sampled elements.
fn tensors(all: &[(&Told, &StepRecord)], apart: &mut BTreeMap<Key, Apart>) {
    let Some(reference) = all.get(1) else { return };
    // Each beside the first clean one, which all have in common.
    let beside: Vec<Vec<Tensor>> = (all.iter())
        .map(|it| sampled::pair(*reference, *it))
        .collect();
    for tensor in beside.get(1).into_iter().flatten() {
        let same: Option<Vec<&Tensor>> = beside
            .iter()
            .map(|all| all.iter().find(|it| it.index == tensor.index))
            .collect();
        if let Some(same) = same {
            of_tensor(&same, apart);
        }
    }
}

fn of_tensor(same: &[&Tensor], apart: &mut BTreeMap<Key, Apart>) {
    let Some(reference) = same.get(1) else { return };
    let column = |which: Column| -> Option<Vec<Vec<f64>>> {
        let all: Vec<Vec<f64>> = (same.iter())
            .map(|tensor| tensor.column(which).iter().map(|pair| pair.again).collect())
            .collect();
        let length = reference.column(which).len();
        (length > 0 && all.iter().all(|it| it.len() == length)).then_some(all)
    };
    let kind = reference.kind;
    let mut put = |part, all: Option<Vec<Vec<f64>>>, sizes: &[f64], rounding: &[f64]| {
        // Elements that did not move tell nothing.
        let moved = |at: &usize| sizes.get(*at).is_some_and(|it| *it > 0.0);
        let places: Vec<usize> = (0..sizes.len()).filter(moved).collect();
        let at = |of: &[f64]| {
            median(
                places
                    .iter()
                    .filter_map(|at| of.get(*at).copied())
                    .collect(),
            )
        };
        let (Some(all), Some(scale)) = (all, at(sizes)) else {
            return;
        };
        let floor = ROUNDINGS * (at(rounding).unwrap_or(0.0) / scale).max(digits(kind));
        let distance = |one: usize, other: usize| {
            let (one, other) = (all.get(one)?, all.get(other)?);
            let far = places
                .iter()
                .filter_map(|at| Some((one.get(*at)? - other.get(*at)?).abs()));
            Some(median(far.collect())? / scale)
        };
        let key = Key {
            part,
            number: reference.index,
        };
        apart.insert(key, matrix(same.len(), floor, &distance));
    };
    let (before, behind) = (column(Column::Weight), column(Column::WeightBehind));
    let changes = before
        .as_ref()
        .zip(behind.as_ref())
        .map(|(before, behind)| {
            let all = before.iter().zip(behind);
            all.map(|(before, behind)| changed(before, behind))
                .collect::<Vec<_>>()
        });
    let of_reference = |all: &Option<Vec<Vec<f64>>>| -> Vec<f64> {
        let all = all.as_ref().and_then(|all| all.get(1));
        all.into_iter().flatten().map(|it| it.abs()).collect()
    };
    let spacing = |all: &[f64]| all.iter().map(|it| it * digits(kind)).collect::<Vec<_>>();
    let sizes = of_reference(&changes);
    let of_weights = spacing(&of_reference(&before));
    put(Part::Weights, before, &sizes, &of_weights);
    put(Part::WeightsBehind, changes, &sizes, &of_weights);
    let gradients = column(Column::Gradient);
    let sizes = of_reference(&gradients);
    let of_gradients = spacing(&sizes);
    put(Part::Gradients, gradients, &sizes, &of_gradients);
}

fn changed(before: &[f64], behind: &[f64]) -> Vec<f64> {
    let all = before.iter().zip(behind);
    all.map(|(before, behind)| behind - before).collect()
}

/// From a number to the next one of its type, as a share of it.
fn digits(kind: ElementKind) -> f64 {
    match kind {
        ElementKind::F64 => f64::EPSILON,
        ElementKind::F16 => 2f64.powi(-10),
        ElementKind::Bf16 => 2f64.powi(-7),
        _ => f64::from(f32::EPSILON),
    }
}

fn median(mut all: Vec<f64>) -> Option<f64> {
    if all.iter().any(|it| it.is_nan()) {
        return Some(f64::NAN);
    }
    all.sort_by(f64::total_cmp);
    all.get(all.len() / 2).copied()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn step(number: u64, loss: f64, norm: f64) -> StepRecord {
        let mut step = StepRecord::bare(number, 0);
        step.losses = vec![Number(loss)];
        step.gradient_norm = Some(Number(norm));
        step
    }

    /// A record and four clean replays; `apart` is what rounding makes of each, growing from step to step.
    fn band(record: impl Fn(u64, f64) -> f64, apart: [f64; 4]) -> Band {
        let (mut band, told) = (Band::default(), Told::default());
        for number in 1..=30u64 {
            let (loss, grown) = (2.0 / number as f64, 1e-7 * number as f64);
            let of = record(number, loss);
            let mut all = vec![step(number, of, 3.0 * of)];
            all.extend(apart.map(|of| {
                let of = loss * (1.0 + of * grown);
                step(number, of, 3.0 * of)
            }));
            let all: Vec<_> = all.iter().map(|step| (&told, step)).collect();
            band.hear(number, &all);
        }
        band
    }

    fn first_outside(band: &Band) -> Option<u64> {
        let held = band.held();
        let of = |step| outside(held.iter().filter(move |it| it.step == step)).len();
        (1..=30).find(|step| of(*step) > 0)
    }

    #[test]
    fn what_rounding_makes_lies_within_and_what_is_changed_does_not() {
        let apart = [0.0, 3.0, -2.0, 5.0];
        let clean = band(|number, loss| loss * (1.0 - 4e-7 * number as f64), apart);
        assert_eq!(first_outside(&clean), None);
        assert!(clean.margins().values().all(|it| (1.0..10.0).contains(it)));
        let changed = band(
            |number, loss| if number < 12 { loss } else { loss * 1.001 },
            apart,
        );
        assert_eq!(first_outside(&changed), Some(12));
        let none = band(
            |number, loss| if number < 20 { loss } else { f64::NAN },
            apart,
        );
        assert_eq!(first_outside(&none), Some(20));
    }

    #[test]
    fn where_clean_ones_are_as_far_apart_as_what_is_measured_nothing_is_told() {
        let wild = [0.0, 9e6, -8e6, 7e6];
        let band = band(|_, loss| loss * 0.5, wild);
        let of_losses = band
            .held()
            .into_iter()
            .filter(|held| held.key.part == Part::Losses);
        assert!(
            of_losses
                .filter(|held| held.step > 2)
                .all(|held| !held.tells() && !held.outside())
        );
    }

    #[test]
    fn single_elements_decide_nothing() {
        assert_eq!(median(vec![1e-9, 2e-9, 1.0]), Some(2e-9));
        assert!(median(vec![1.0, f64::NAN]).unwrap().is_nan());
        assert_eq!(median(vec![]), None);
    }
}
