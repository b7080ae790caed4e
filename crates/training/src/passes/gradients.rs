//! Whether the gradients that a step uses are what its last backward pass left and torch's calls made of it.

use std::collections::BTreeSet;

use domain::{GradientCall, GradientPath};

use super::wire::{self, Seen};
use crate::ElementKind;
use crate::recheck::bounds::{Arithmetic, Bounds};
use crate::recheck::wire::{Malformed, Values, value};

/// Between which two looks something differs.
#[derive(Debug, Clone, PartialEq)]
pub enum Place {
    /// Where no call of torch changes gradients.
    Between,
    /// In hooks on the parameters, within a backward pass.
    Hooks,
    /// In `GradScaler.unscale_`.
    Unscaling,
    /// In a clipping by norm: the greatest norm, the norm and the coefficient that follows.
    Clipping {
        /// Greatest norm that may be left.
        max_norm: f64,
        /// Norm that was found.
        norm: f64,
        /// What the gradients must be multiplied with.
        coefficient: f64,
    },
    /// In a clipping by value.
    Clamping,
}

/// What became of the gradients, where it is not what must have become of them.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Change {
    /// This many times, in all elements of the affected parameters.
    Times(f64),
    /// Cut off at plus and minus this number.
    Clamped(f64),
    /// Nothing grew and nothing changed its sign.
    Shrunk,
    /// There was a gradient and is none, or the other way round; the rest is as it must be.
    Gone,
    /// Anything else: the least and the greatest ratio.
    Other(Option<(f64, f64)>),
}

/// One difference.
#[derive(Debug, Clone, PartialEq)]
pub struct Difference {
    /// Where.
    pub place: Place,
    /// What.
    pub change: Change,
    /// For [`Place::Clipping`]: what the gradients became of what they were, where that is one number.
    pub became: Option<f64>,
    /// Parameters that are affected.
    pub tensors: Vec<u32>,
    /// The first element that differs: parameter, position, what it must be, what it is.
    pub first: Option<(u32, u64, f64, f64)>,
}

/// What came of one step.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Verdict {
    /// Parameters that were judged.
    pub tensors: usize,
    /// Positions that were.
    pub positions: usize,
    /// Positions that hold `NaN` or an infinity, or could not be read.
    pub unjudged: usize,
    /// A call was not judged: what it was given is not known, or its norm is no finite number.
    pub call_unjudged: bool,
    /// What differs.
    pub differences: Vec<Difference>,
}

/// One element before and behind.
struct Element {
    index: u32,
    position: u64,
    arithmetic: Arithmetic,
    from: f64,
    must: Bounds,
    found: f64,
}

impl Place {
    /// Where torch itself changes nothing: what happens there is the program's own, and judged by what it did before.
    pub fn is_the_programs(&self) -> bool {
        matches!(self, Self::Between | Self::Hooks)
    }
}

impl Element {
    fn right(&self) -> bool {
        self.must.allows(self.found)
    }

    /// What it is over what it must be, where that is known.
    fn ratio(&self) -> Option<f64> {
        let must = self.must.middle();
        let known = must.abs() > self.arithmetic.tiny / self.arithmetic.ulp
            && self.must.radius() <= must.abs() / 8.0;
        known.then(|| self.found / must)
    }

    /// Whether it is `times` what it must be, as far as two further roundings and the estimate of `times` leave it.
    fn is(&self, times: f64) -> bool {
        let a = &self.arithmetic;
        let by = Bounds::exact(times).widened(times.abs() * a.ulp * 4.0);
        a.multiply(self.must, by).widened(a.tiny).allows(self.found)
    }
}

/// Judges the way of one step's gradients; `kind` answers for each parameter's index.
///
/// # Errors
/// [`Malformed`] where the values are not of the step's form.
pub fn judge(
    values: &Values,
    path: &GradientPath,
    kind: impl Fn(u32) -> Option<ElementKind>,
) -> Result<Verdict, Malformed> {
    let used: Vec<Seen> = values
        .blocks
        .iter()
        .map(|block| block.gradients.clone().map_or(Seen::Gone, Seen::Bytes))
        .collect();
    let mut stages = wire::read(&path.values, path.calls.len() + 1, &values.blocks)?;
    stages.push(used);
    for at in (1..stages.len()).rev() {
        let (before, behind) = stages.split_at_mut(at);
        let (Some(before), Some(behind)) = (before.last_mut(), behind.first()) else {
            continue;
        };
        for (before, behind) in before.iter_mut().zip(behind) {
            if *before == Seen::Same {
                before.clone_from(behind);
            }
        }
    }
    let mut verdict = Verdict::default();
    let mut judged = BTreeSet::new();
    for (at, pair) in stages.windows(2).enumerate() {
        if let [before, behind] = pair {
            let call = path.calls.get(at);
            passage(
                values,
                before,
                behind,
                call,
                &kind,
                &mut verdict,
                &mut judged,
            );
        }
    }
    verdict.tensors = judged.len();
    Ok(verdict)
}

/// From one look to the next.
fn passage(
    values: &Values,
    before: &[Seen],
    behind: &[Seen],
    call: Option<&GradientCall>,
    kind: &impl Fn(u32) -> Option<ElementKind>,
    verdict: &mut Verdict,
    judged: &mut BTreeSet<u32>,
) {
    let Some(place) = place_of(call) else {
        verdict.call_unjudged = true;
        return;
    };
    let mut elements = Vec::new();
    let mut gone = Vec::new();
    for (block, (from, to)) in values.blocks.iter().zip(before.iter().zip(behind)) {
        let (from, to) = match (from, to) {
            (Seen::Bytes(from), Seen::Bytes(to)) => (from, to),
            (Seen::Gone, Seen::Bytes(_)) | (Seen::Bytes(_), Seen::Gone) => {
                gone.push(block.index);
                continue;
            }
            (Seen::Unread, _) | (_, Seen::Unread) => {
                verdict.unjudged += block.positions.len();
                continue;
            }
            _ => continue,
        };
        let Some((kind, arithmetic)) =
            kind(block.index).and_then(|kind| Some((kind, Arithmetic::of(kind)?)))
        else {
            verdict.unjudged += block.positions.len();
            continue;
        };
        for (slot, position) in block.positions.iter().enumerate() {
            let (Some(from), Some(found)) = (value(kind, from, slot), value(kind, to, slot)) else {
                continue;
            };
            if !from.is_finite() {
                verdict.unjudged += 1;
                continue;
            }
            judged.insert(block.index);
            verdict.positions += usize::from(call.is_none());
            let must = must(&arithmetic, from, call, block.index);
            elements.push(Element {
                index: block.index,
                position: *position,
                arithmetic,
                from,
                must,
                found,
            });
        }
    }
    verdict
        .differences
        .extend(difference(place, &elements, &gone));
}

/// Where a call changes gradients; `None` if what it does is not known.
fn place_of(call: Option<&GradientCall>) -> Option<Place> {
    Some(match call {
        None | Some(GradientCall::Changed) => Place::Between,
        Some(GradientCall::Hooked) => Place::Hooks,
        Some(GradientCall::Unscaled { inverse }) if inverse.0.is_finite() => Place::Unscaling,
        Some(GradientCall::Clipped {
            max_norm,
            norm,
            apart: Some(_),
            ..
        }) if norm.0.is_finite() && max_norm.0.is_finite() => Place::Clipping {
            max_norm: max_norm.0,
            norm: norm.0,
            coefficient: (max_norm.0 / (norm.0 + 1e-6)).min(1.0),
        },
        // Without a limit torch multiplies with 1.
        Some(GradientCall::Clipped {
            max_norm,
            norm,
            apart: Some(_),
            ..
        }) if norm.0.is_finite() && max_norm.0 > 0.0 => Place::Clipping {
            max_norm: max_norm.0,
            norm: norm.0,
            coefficient: 1.0,
        },
        Some(GradientCall::Clamped {
            limit,
            apart: Some(_),
        }) if limit.0.is_finite() => Place::Clamping,
        Some(_) => return None,
    })
}

/// What an element must be behind a call.
fn must(a: &Arithmetic, from: f64, call: Option<&GradientCall>, index: u32) -> Bounds {
    let exact = Bounds::exact(from);
    match call {
        Some(GradientCall::Unscaled { inverse }) => a.multiply(exact, a.scalar(inverse.0)),
        Some(GradientCall::Clipped {
            max_norm,
            norm,
            digits,
            apart,
        }) if !holds(apart.as_ref(), index) => {
            // The coefficient is computed in the norm's type and multiplied in the gradient's.
            let scalars = Arithmetic {
                ulp: a.ulp.max(2f64.powi(1 - i32::from(*digits))),
                ..a.with_scalars(i32::from(*digits))
            };
            if max_norm.0.is_infinite() {
                return exact;
            }
            let divisor = scalars.add(scalars.scalar(norm.0), scalars.scalar(1e-6));
            let quotient = scalars.divide(scalars.scalar(max_norm.0), divisor);
            let clamped = Bounds {
                low: quotient.low.min(1.0),
                high: quotient.high.min(1.0),
            };
            a.multiply(exact, clamped)
        }
        Some(GradientCall::Clamped { limit, apart }) if !holds(apart.as_ref(), index) => {
            let limit = a.scalar(limit.0);
            Bounds {
                low: from.max(-limit.high).min(limit.low),
                high: from.max(-limit.low).min(limit.high),
            }
        }
        _ => exact,
    }
}

fn holds(apart: Option<&Vec<u32>>, index: u32) -> bool {
    apart.is_some_and(|apart| apart.contains(&index))
}

fn difference(place: Place, elements: &[Element], gone: &[u32]) -> Option<Difference> {
    let wrong = elements.iter().find(|element| !element.right());
    let Some(wrong) = wrong else {
        let tensors = gone.to_vec();
        return (!gone.is_empty()).then_some(Difference {
            place,
            change: Change::Gone,
            became: None,
            tensors,
            first: None,
        });
    };
    let affected: BTreeSet<u32> = elements
        .iter()
        .filter(|element| !element.right())
        .map(|element| element.index)
        .collect();
    let among: Vec<&Element> = elements
        .iter()
        .filter(|element| affected.contains(&element.index))
        .collect();
    let change = change(&among);
    let became = match (&place, change) {
        (Place::Clipping { coefficient, .. }, Change::Times(times)) => Some(times * coefficient),
        _ => None,
    };
    Some(Difference {
        place,
        change,
        became,
        first: Some((
            wrong.index,
            wrong.position,
            wrong.must.middle(),
            wrong.found,
        )),
        tensors: affected.into_iter().collect(),
    })
}

/// What became of the elements of all affected parameters.
fn change(among: &[&Element]) -> Change {
    let mut ratios: Vec<f64> = among
        .iter()
        .filter_map(|element| element.ratio())
        .filter(|ratio| ratio.is_finite())
        .collect();
    ratios.sort_by(f64::total_cmp);
    if let Some(times) = ratios.get(ratios.len() / 2).copied() {
        // A ratio that was meant is likely one of few digits; the estimate is as good as one element is.
        if among.iter().all(|element| element.is(times)) {
            return Change::Times(times);
        }
    }
    let wrong = || among.iter().filter(|element| !element.right());
    if let Some(limit) = wrong().map(|element| element.found.abs()).next() {
        let cut = wrong().all(|it| {
            it.found.abs().to_bits() == limit.to_bits()
                && it.from.abs() > limit
                && it.found * it.from >= 0.0
        });
        let rest = among.iter().all(|it| it.found.abs() <= limit);
        if cut && rest && limit > 0.0 {
            return Change::Clamped(limit);
        }
    }
    let shrunk = among.iter().all(|it| {
        let must = it.must.middle();
        it.right() || it.found == 0.0 || it.found * must > 0.0 && it.found.abs() < must.abs()
    });
    if shrunk {
        return Change::Shrunk;
    }
    Change::Other(ratios.first().copied().zip(ratios.last().copied()))
}

#[cfg(test)]
mod tests {
    use base64::Engine as _;
    use base64::engine::general_purpose::STANDARD_NO_PAD;
    use domain::Number;

    use super::*;
    use crate::recheck::wire::Block;

    fn bytes(values: &[f32]) -> Vec<u8> {
        values
            .iter()
            .flat_map(|value| value.to_le_bytes())
            .collect()
    }

    fn values(used: &[&[f32]]) -> Values {
        let block = |(index, used): (u32, &&[f32])| Block {
            index,
            steps_before: None,
            steps_behind: None,
            positions: (0..used.len() as u64).collect(),
            weights: bytes(used),
            gradients: Some(bytes(used)),
            state: None,
            weights_behind: bytes(used),
            state_behind: None,
        };
        Values {
            blocks: (0..).zip(used).map(block).collect(),
            odd: Vec::new(),
        }
    }

    /// In the form that says nothing about what the step uses.
    fn told(stages: &[&[&[f32]]], calls: Vec<GradientCall>) -> GradientPath {
        let columns = stages.iter().flat_map(|stage| stage.iter());
        let raw: Vec<u8> = columns
            .flat_map(|it| [&[3], &bytes(it)[..]].concat())
            .collect();
        GradientPath {
            calls,
            values: STANDARD_NO_PAD.encode(raw),
            ..GradientPath::default()
        }
    }

    fn judged(used: &[&[f32]], path: &GradientPath) -> Verdict {
        judge(&values(used), path, |_| Some(ElementKind::F32)).unwrap()
    }

    const RAW: [&[f32]; 2] = [&[0.5, -0.25, 0.0], &[1e-3, 2.0]];

    #[test]
    fn what_nobody_touched_is_as_it_was() {
        let verdict = judged(&RAW, &GradientPath::default());
        assert_eq!((verdict.tensors, verdict.positions), (2, 5));
        assert_eq!(verdict.differences, []);
    }

    #[test]
    fn a_changed_gradient_is_told_with_its_factor_and_its_parameters() {
        let path = told(&[&RAW], vec![]);
        let verdict = judged(&[&[-0.5, 0.25, 0.0], &[1e-3, 2.0]], &path);
        let [difference] = &verdict.differences[..] else {
            panic!("{verdict:?}")
        };
        assert_eq!(difference.change, Change::Times(-1.0));
        assert_eq!(
            (&difference.place, &difference.tensors[..]),
            (&Place::Between, &[0][..])
        );
        let verdict = judged(&[&[0.5, -0.25, 0.1], &[1e-3, 2.0]], &path);
        assert!(
            matches!(verdict.differences[0].change, Change::Other(_)),
            "{verdict:?}"
        );
        let verdict = judged(&[&[0.3, -0.25, 0.0], &[1e-3, 0.3]], &path);
        assert_eq!(
            verdict.differences[0].change,
            Change::Clamped(f64::from(0.3f32))
        );
    }

    fn clip(max_norm: f64, norm: f64) -> GradientCall {
        GradientCall::Clipped {
            max_norm: Number(max_norm),
            norm: Number(norm),
            digits: 24,
            apart: Some(Vec::new()),
        }
    }

    #[test]
    fn clipping_must_multiply_by_its_coefficient_and_nothing_else() {
        let coefficient = 1.0f32 / (4.0 + 1e-6);
        let clipped: Vec<Vec<f32>> = RAW
            .iter()
            .map(|it| it.iter().map(|value| value * coefficient).collect())
            .collect();
        let clipped: Vec<&[f32]> = clipped.iter().map(|it| &it[..]).collect();
        let right = told(&[&RAW, &clipped], vec![clip(1.0, 4.0)]);
        assert_eq!(judged(&clipped, &right).differences, []);
        // It left them as they were.
        let not = told(&[&RAW, &RAW], vec![clip(1.0, 4.0)]);
        let verdict = judged(&RAW, &not);
        let [difference] = &verdict.differences[..] else {
            panic!("{verdict:?}")
        };
        assert!(
            (difference.became.unwrap() - 1.0).abs() < 1e-5,
            "{difference:?}"
        );
        // What is below stays as it is.
        let below = told(&[&RAW, &RAW], vec![clip(10.0, 4.0)]);
        assert_eq!(judged(&RAW, &below).differences, []);
    }

    #[test]
    fn a_call_with_an_infinite_norm_or_unknown_parameters_is_not_judged() {
        for call in [
            clip(1.0, f64::INFINITY),
            GradientCall::Clamped {
                limit: Number(0.1),
                apart: None,
            },
        ] {
            let verdict = judged(&RAW, &told(&[&RAW, &RAW], vec![call]));
            assert!(verdict.call_unjudged);
            assert_eq!(verdict.differences, []);
        }
    }

    #[test]
    fn values_of_another_form_are_malformed() {
        let path = GradientPath {
            values: "AAAA".to_owned(),
            ..GradientPath::default()
        };
        assert!(judge(&values(&RAW), &path, |_| Some(ElementKind::F32)).is_err());
        let many = GradientPath {
            calls: vec![GradientCall::Changed; 99],
            ..GradientPath::default()
        };
        assert!(judge(&values(&RAW), &many, |_| Some(ElementKind::F32)).is_err());
    }
}
