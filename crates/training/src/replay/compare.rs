//! One step as it was recorded against the same step computed again.
//!
//! What is compared goes from cause to effect: what the step was given, what it made of it, what stands behind it. So the first part that
//! differs at the first step that does tells what was done. Numbers are compared bit for bit; how far apart they may lie where the
//! machine is another is not decided here.

use domain::{Number, StepRecord};

use super::sampled::{Column, Pair, Tensor};

/// A part of a step, in the order in which one follows from the other.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Part {
    /// Fingerprints of the batches that reached the model.
    Batches,
    /// Learning rates of the groups.
    Rates,
    /// Sampled weights before the step.
    Weights,
    /// Sampled state of the optimizer before it.
    State,
    /// Torch's random numbers before the first forward pass.
    RandomBefore,
    /// How many passes, and the precision of the first.
    Passes,
    /// Losses at the backward passes.
    Losses,
    /// Norm of the gradients before they were clipped.
    NormBeforeClip,
    /// Sampled gradients as the step used them.
    Gradients,
    /// Their norm.
    Norm,
    /// Sampled weights behind the step.
    WeightsBehind,
    /// Sampled state of the optimizer behind it.
    StateBehind,
    /// Fingerprint of all parameters behind the step.
    Parameters,
    /// Fingerprint of the optimizer's whole state behind it.
    OptimizerState,
    /// State of torch's generators behind the step.
    Random,
    /// State of Python's generator behind it.
    RandomOfPython,
    /// State of NumPy's generator behind it.
    RandomOfNumpy,
    /// Metrics that the program reported.
    Reported,
    /// Bytes of the checkpoints that were saved; compared elsewhere.
    Written,
}

impl Part {
    /// Whether it is the same to the last bit on every machine: what is drawn, chosen and counted, not what is added up.
    #[must_use]
    pub fn is_exact(self) -> bool {
        matches!(
            self,
            Self::Batches
                | Self::Rates
                | Self::RandomBefore
                | Self::Passes
                | Self::Random
                | Self::RandomOfPython
                | Self::RandomOfNumpy
        )
    }

    /// Whether it is told of each sampled parameter.
    #[must_use]
    pub fn is_of_tensors(self) -> bool {
        matches!(
            self,
            Self::Weights | Self::State | Self::Gradients | Self::WeightsBehind | Self::StateBehind
        )
    }

    /// In words.
    pub fn words(self) -> &'static str {
        match self {
            Self::Batches => "batches",
            Self::Rates => "learning rates",
            Self::Weights => "weights before the step",
            Self::State => "optimizer state before the step",
            Self::RandomBefore => "random numbers before the forward pass",
            Self::Passes => "forward and backward passes",
            Self::Losses => "losses",
            Self::NormBeforeClip => "norm of the gradients before clipping",
            Self::Gradients => "gradients",
            Self::Norm => "norm of the gradients",
            Self::WeightsBehind => "weights behind the step",
            Self::StateBehind => "optimizer state behind the step",
            Self::Parameters => "fingerprint of all parameters",
            Self::OptimizerState => "fingerprint of the optimizer state",
            Self::Random => "random numbers of torch",
            Self::RandomOfPython => "random numbers of Python",
            Self::RandomOfNumpy => "random numbers of NumPy",
            Self::Reported => "reported metrics",
            Self::Written => "saved checkpoints",
        }
    }
}

/// A step beside its double.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Compared {
    /// What both told, in order.
    pub compared: Vec<Part>,
    /// What differs of it.
    pub differs: Vec<Part>,
}

impl Compared {
    fn put(&mut self, part: Part, same: bool) {
        self.compared.push(part);
        if !same {
            self.differs.push(part);
        }
    }

    fn put_both<T: PartialEq>(&mut self, part: Part, one: Option<T>, other: Option<T>) {
        if let (Some(one), Some(other)) = (one, other) {
            self.put(part, one == other);
        }
    }

    fn put_numbers(&mut self, part: Part, one: &[Number], other: &[Number]) {
        if !one.is_empty() && !other.is_empty() {
            self.put(part, same_numbers(one, other));
        }
    }

    /// Takes a part out of what differs; answers whether it was there.
    pub fn without(&mut self, part: Part) -> bool {
        let before = self.differs.len();
        self.differs.retain(|it| *it != part);
        self.differs.len() < before
    }

    /// Whether what was computed with is compared: all of it, or some elements of it.
    pub fn has_weights(&self) -> bool {
        self.compared
            .iter()
            .any(|it| matches!(it, Part::Parameters | Part::WeightsBehind))
    }
}

/// Holds `recorded` against `again`; `tensors` are the elements that both looked at.
pub fn step(recorded: &StepRecord, again: &StepRecord, tensors: &[Tensor]) -> Compared {
    let mut all = Compared::default();
    // What one of them does not tell at all is not compared; a part of it that is missing is.
    if !recorded.batches.is_empty() && !again.batches.is_empty() {
        all.put(Part::Batches, recorded.batches == again.batches);
    }
    all.put_numbers(Part::Rates, &recorded.learning_rates, &again.learning_rates);
    let sampled = |all: &mut Compared, part, wanted: fn(Column) -> bool| {
        let columns = tensors.iter().flat_map(|it| &it.columns);
        let mut pairs = columns
            .filter(|(column, _)| wanted(**column))
            .flat_map(|(_, pairs)| pairs)
            .peekable();
        if pairs.peek().is_some() {
            all.put(part, pairs.all(|pair| pair.same()));
        }
    };
    sampled(&mut all, Part::Weights, |it| it == Column::Weight);
    sampled(&mut all, Part::State, |it| matches!(it, Column::State(_)));
    let (one, other) = (recorded.passes.as_deref(), again.passes.as_deref());
    let random = |it: Option<&domain::Passes>| it.and_then(|it| it.random);
    all.put_both(Part::RandomBefore, random(one), random(other));
    let counts = |it: &domain::Passes| (it.forwards, it.backwards, it.autocast.clone());
    all.put_both(Part::Passes, one.map(counts), other.map(counts));
    all.put_numbers(Part::Losses, &recorded.losses, &again.losses);
    let bits = |it: Option<Number>| it.map(bits);
    let norms = |it: &StepRecord| (bits(it.gradient_norm_before_clip), bits(it.gradient_norm));
    let (one, other) = (norms(recorded), norms(again));
    all.put_both(Part::NormBeforeClip, one.0, other.0);
    sampled(&mut all, Part::Gradients, |it| it == Column::Gradient);
    all.put_both(Part::Norm, one.1, other.1);
    sampled(&mut all, Part::WeightsBehind, |it| {
        it == Column::WeightBehind
    });
    sampled(&mut all, Part::StateBehind, |it| {
        matches!(it, Column::StateBehind(_))
    });
    all.put_both(Part::Parameters, recorded.parameters, again.parameters);
    let state = |it: &StepRecord| it.optimizer_state;
    all.put_both(Part::OptimizerState, state(recorded), state(again));
    let (one, other) = (&recorded.rng, &again.rng);
    // An accelerator's generators are torch's as well.
    let torch = (one.torch.zip(other.torch)).map(|both| (both, one.device.zip(other.device)));
    if let Some(((one, other), devices)) = torch {
        let same = one == other && devices.is_none_or(|(one, other)| one == other);
        all.put(Part::Random, same);
    }
    all.put_both(Part::RandomOfPython, one.python, other.python);
    all.put_both(Part::RandomOfNumpy, one.numpy, other.numpy);
    let reported = |it: &StepRecord| {
        let numbers = it.reported.iter();
        let named: Vec<_> = numbers
            .filter(|it| !is_measured(&it.name))
            .map(|it| (it.by.clone(), it.name.clone(), self::bits(it.value)))
            .collect();
        (!named.is_empty()).then_some(named)
    };
    all.put_both(Part::Reported, reported(recorded), reported(again));
    all
}

fn bits(number: Number) -> u64 {
    if number.0.is_nan() {
        f64::NAN.to_bits()
    } else {
        number.0.to_bits()
    }
}

fn same_numbers(one: &[Number], other: &[Number]) -> bool {
    one.len() == other.len()
        && one
            .iter()
            .zip(other)
            .all(|(one, other)| bits(*one) == bits(*other))
}

/// A metric that is a time, or a rate by one: it is another in each run.
fn is_measured(name: &str) -> bool {
    let ends = ["runtime", "per_second", "_time", "_seconds", "_secs", "_ms"];
    let name = name.to_ascii_lowercase();
    ends.iter().any(|end| name.ends_with(end)) || name == "time"
}

/// What recorded numbers are beside those that were computed again.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum How {
    /// All of them so many times what they should be.
    Times(f64),
    /// They are zero.
    Nothing,
    /// This share of them is other, the rest is as it should be.
    Part(f64),
    /// Other ones: the cosine of the angle between the two.
    Other(f64),
}

/// What was done, as far as the parts that differ at the first step tell it.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Cause {
    /// The step was given other data.
    Data,
    /// It was made with another learning rate.
    Rate {
        /// Group.
        group: usize,
        /// As recorded.
        recorded: f64,
        /// As computed again.
        again: f64,
    },
    /// Weights or state of the optimizer were other before it, though they were not behind the step before.
    Before {
        /// Whether it is the weights.
        weights: bool,
        /// How they differ.
        how: How,
    },
    /// The random numbers were other ones before the forward pass.
    Random,
    /// It has another number of passes, or another precision.
    Passes,
    /// From the same batch, weights and random numbers came another loss.
    Loss {
        /// So many times what it should be, where all of them are.
        times: Option<f64>,
    },
    /// The gradients are other ones.
    Gradient {
        /// How.
        how: Option<How>,
    },
    /// From the same gradients came another update.
    Update {
        /// How.
        how: Option<How>,
    },
    /// The random numbers were other ones behind the step.
    RandomBehind,
    /// A metric that was reported is another one.
    Reported,
}

/// What was done at a step that differs; `None` if none does.
pub fn cause(
    recorded: &StepRecord,
    again: &StepRecord,
    tensors: &[Tensor],
    differs: &[Part],
) -> Option<Cause> {
    let all = |wanted: fn(Column) -> bool| -> Vec<Pair> {
        let columns = tensors.iter().flat_map(|it| &it.columns);
        let columns = columns.filter(|(column, _)| wanted(**column));
        columns
            .flat_map(|(_, pairs)| pairs.iter().copied())
            .collect()
    };
    Some(match differs.iter().min()? {
        Part::Batches => Cause::Data,
        Part::Rates => rate(recorded, again),
        Part::Weights => Cause::Before {
            weights: true,
            how: how(&all(|it| it == Column::Weight)).unwrap_or(How::Part(0.0)),
        },
        Part::State => Cause::Before {
            weights: false,
            how: how(&all(|it| matches!(it, Column::State(_)))).unwrap_or(How::Part(0.0)),
        },
        Part::RandomBefore => Cause::Random,
        Part::Passes => Cause::Passes,
        Part::Losses => Cause::Loss {
            times: times(&recorded.losses, &again.losses),
        },
        Part::NormBeforeClip | Part::Gradients | Part::Norm => Cause::Gradient {
            how: how(&all(|it| it == Column::Gradient)),
        },
        Part::WeightsBehind | Part::StateBehind | Part::Parameters | Part::OptimizerState => {
            Cause::Update {
                how: how(&changes(tensors)),
            }
        }
        Part::Random | Part::RandomOfPython | Part::RandomOfNumpy => Cause::RandomBehind,
        Part::Reported => Cause::Reported,
        Part::Written => return None,
    })
}

fn rate(recorded: &StepRecord, again: &StepRecord) -> Cause {
    let pairs = recorded.learning_rates.iter().zip(&again.learning_rates);
    let found = pairs
        .enumerate()
        .find(|(_, (one, other))| bits(**one) != bits(**other));
    let (group, recorded, again) = found
        .map_or((0, f64::NAN, f64::NAN), |(group, (one, other))| {
            (group, one.0, other.0)
        });
    Cause::Rate {
        group,
        recorded,
        again,
    }
}

/// How much of the whole another number must be for one multiple to explain it: what rounding leaves of bfloat16.
const EXPLAINED: f64 = 0.01;

fn times(recorded: &[Number], again: &[Number]) -> Option<f64> {
    let pairs: Vec<Pair> = (recorded.iter().zip(again))
        .map(|(one, other)| Pair {
            recorded: one.0,
            again: other.0,
        })
        .collect();
    match how(&pairs)? {
        How::Times(times) if pairs.len() == recorded.len().max(again.len()) => Some(times),
        _ => None,
    }
}

/// The changes of the sampled weights.
fn changes(tensors: &[Tensor]) -> Vec<Pair> {
    tensors.iter().flat_map(changes_of).collect()
}

fn changes_of(tensor: &Tensor) -> Vec<Pair> {
    let before = tensor.column(Column::Weight).iter();
    let pairs = before.zip(tensor.column(Column::WeightBehind));
    let change = |(before, behind): (&Pair, &Pair)| Pair {
        recorded: behind.recorded - before.recorded,
        again: behind.again - before.again,
    };
    pairs.map(change).collect()
}

/// How each sampled parameter differs in what the cause is about: for gradients and updates, by the place in `tensors`.
pub fn each(tensors: &[Tensor], cause: Cause) -> Vec<(usize, How)> {
    let all = tensors.iter().enumerate();
    let of = |tensor: &Tensor| match cause {
        Cause::Gradient { .. } => how(tensor.column(Column::Gradient)),
        Cause::Update { .. } => how(&changes_of(tensor)),
        _ => None,
    };
    all.filter_map(|(number, tensor)| Some((number, of(tensor)?)))
        .collect()
}

/// What the recorded numbers are beside the others; `None` where that cannot be said, or they are the same.
pub fn how(pairs: &[Pair]) -> Option<How> {
    let finite: Vec<Pair> = (pairs.iter().copied())
        .filter(|pair| pair.recorded.is_finite() && pair.again.is_finite())
        .collect();
    let other = finite.iter().filter(|pair| !pair.same()).count();
    if other == 0 {
        return None;
    }
    let sum = |of: fn(&Pair) -> f64| finite.iter().map(of).sum::<f64>();
    let squares = sum(|pair| pair.again * pair.again);
    let own = sum(|pair| pair.recorded * pair.recorded);
    if own <= 0.0 {
        return Some(How::Nothing);
    }
    if squares <= 0.0 {
        return Some(How::Other(0.0));
    }
    let product = sum(|pair| pair.recorded * pair.again);
    let by = product / squares;
    let rest = (own - by * product).max(0.0) / own;
    if rest.sqrt() < EXPLAINED && (by - 1.0).abs() > EXPLAINED {
        return Some(How::Times(by));
    }
    let share = count(other) / count(finite.len());
    if share < 1.0 {
        return Some(How::Part(share));
    }
    Some(How::Other(product / (own * squares).sqrt()))
}

#[expect(clippy::cast_precision_loss, reason = "a count of elements")]
fn count(of: usize) -> f64 {
    of as f64
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use domain::Fingerprint;

    use super::*;
    use crate::ElementKind;

    fn record() -> StepRecord {
        StepRecord {
            losses: vec![Number(1.5), Number(2.5)],
            learning_rates: vec![Number(0.1)],
            parameters: Some(Fingerprint::from_bits(7)),
            batches: vec![Fingerprint::from_bits(1)],
            ..StepRecord::bare(3, 0)
        }
    }

    fn pairs(recorded: &[f64], again: &[f64]) -> Vec<Pair> {
        let both = recorded.iter().zip(again);
        both.map(|(recorded, again)| Pair {
            recorded: *recorded,
            again: *again,
        })
        .collect()
    }

    fn tensor(columns: &[(Column, Vec<Pair>)]) -> Tensor {
        Tensor {
            index: 0,
            name: "w".to_owned(),
            kind: ElementKind::F32,
            columns: columns.iter().cloned().collect::<BTreeMap<_, _>>(),
        }
    }

    type Change = fn(&mut StepRecord);

    #[test]
    fn the_same_step_is_the_same_and_each_part_shows_by_itself() {
        let one = record();
        assert_eq!(step(&one, &one.clone(), &[]).differs, []);
        let parts: [(Part, Change); 5] = [
            (Part::Batches, |it| {
                it.batches.push(Fingerprint::from_bits(2));
            }),
            (Part::Rates, |it| it.learning_rates = vec![Number(0.2)]),
            (Part::Losses, |it| it.losses.truncate(1)),
            (Part::Parameters, |it| {
                it.parameters = Some(Fingerprint::from_bits(8));
            }),
            (Part::Reported, |_| ()),
        ];
        for (part, change) in parts {
            let mut other = record();
            change(&mut other);
            let wanted = if part == Part::Reported {
                vec![]
            } else {
                vec![part]
            };
            assert_eq!(step(&one, &other, &[]).differs, wanted);
        }
        // What only one of them told is not compared.
        let mut bare = record();
        bare.parameters = None;
        assert!(!step(&one, &bare, &[]).compared.contains(&Part::Parameters));
    }

    #[test]
    fn numbers_that_are_none_equal_each_other() {
        let mut one = record();
        one.losses = vec![Number(f64::NAN)];
        let mut other = one.clone();
        other.losses = vec![Number(-f64::NAN)];
        assert_eq!(step(&one, &other, &[]).differs, []);
    }

    #[test]
    fn what_was_done_to_numbers_is_told() {
        let again = [1.0, -2.0, 0.5, 3.0];
        let times = |by: f64| pairs(&again.map(|it| it * by), &again);
        assert_eq!(how(&times(1.0)), None);
        assert!(matches!(how(&times(-1.0)), Some(How::Times(by)) if (by + 1.0).abs() < 1e-9));
        assert!(matches!(how(&times(0.5)), Some(How::Times(by)) if (by - 0.5).abs() < 1e-9));
        assert_eq!(how(&times(0.0)), Some(How::Nothing));
        assert_eq!(
            how(&pairs(&[1.0, -2.0, 0.5, 9.0], &again)),
            Some(How::Part(0.25))
        );
        assert!(matches!(
            how(&pairs(&[2.0, 1.0, 9.0, 0.1], &again)),
            Some(How::Other(_))
        ));
    }

    #[test]
    fn the_first_part_that_differs_tells_the_cause() {
        let (one, mut other) = (record(), record());
        let same = pairs(&[1.0, 2.0], &[1.0, 2.0]);
        let reversed = pairs(&[-0.5, 0.25], &[0.5, -0.25]);
        let behind = pairs(&[1.5, 1.75], &[0.5, 2.25]);
        let gradient = [tensor(&[
            (Column::Weight, same.clone()),
            (Column::Gradient, reversed.clone()),
            (Column::WeightBehind, behind.clone()),
        ])];
        other.parameters = Some(Fingerprint::from_bits(9));
        let found = step(&one, &other, &gradient);
        assert_eq!(
            found.differs,
            [Part::Gradients, Part::WeightsBehind, Part::Parameters]
        );
        let told = cause(&one, &other, &gradient, &found.differs);
        assert!(
            matches!(told, Some(Cause::Gradient { how: Some(How::Times(by)) }) if (by + 1.0).abs() < 1e-9),
            "{told:?}"
        );
        let update = [tensor(&[
            (Column::Weight, same.clone()),
            (Column::Gradient, same),
            (Column::WeightBehind, behind),
        ])];
        let found = step(&one, &other, &update);
        let told = cause(&one, &other, &update, &found.differs);
        assert!(
            matches!(told, Some(Cause::Update { how: Some(How::Times(by)) }) if (by + 1.0).abs() < 1e-9),
            "{told:?}"
        );
        assert_eq!(cause(&one, &one.clone(), &[], &[]), None);
    }
}
