//! What one optimizer step did, collected over its micro-batches and said in one message.
//!
//! Python calls once a batch, once a backward pass and twice a step; everything between is here, so that a step costs the
//! job a few native calls whatever the model. One recorder serves one process; several optimizers share it, and what
//! came before a step belongs to that step.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use domain::data::Reading;
use domain::sensor::Message;
use domain::{
    Described, Fingerprint, GradientCall, GradientPath, LossEnd, Number, Passes, Phase, Phases,
    Replica, Reported, RngStates, Sample, Sampled, Scheduled, StepRecord, StepSource, Wait,
};
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::types::PyCapsule;
use training::data::random::{self, Generator, STATE_BYTES};
use training::fingerprint::of_buffers;

use crate::digest::{self, KindSpan, Span, is_twister, of_parts, of_spans, squares};
use crate::link::Link;
use crate::reading::{self, PassParts};

/// Most batches, and most losses, of one step that are told; the rest is counted.
const BATCHES_MAX: usize = 4096;
/// Most metrics that are told with a step, and letters of their names.
const REPORTED_MAX: usize = 32;
const NAME_MAX: usize = 120;
/// So often a generator's 624 words may be made anew in a forward pass whose draws are counted, a microsecond or two each; and passes of one
/// process that are counted.
const RENEWALS: usize = 2_000;
const COUNTED_MAX: usize = 32;

#[derive(Default)]
struct Pending {
    losses: Vec<Number>,
    batches: Vec<Fingerprint>,
    gradient_norm: Option<f64>,
    gradient_norm_before_clip: Option<f64>,
    parameters: Option<Fingerprint>,
    optimizer_state: Option<Fingerprint>,
    left_out: u64,
    readings: Vec<Reading>,
    scheduled: Option<Scheduled>,
    random: Option<Fingerprint>,
    still: bool,
    /// Torch's generator as the first forward pass began, bytes of the last batch, and how many words the pass drew.
    generator: Option<Vec<u8>>,
    fed: u64,
    drawn: Option<(u64, u32)>,
    parts: (u32, String),
    waits: Vec<Wait>,
    reported: Vec<Reported>,
}

/// Collects one step after the other.
#[pyclass(frozen)]
#[derive(Default)]
pub(crate) struct Recorder {
    pending: Mutex<Pending>,
    place: Mutex<Option<Place>>,
    generators: Mutex<Generators>,
}

/// The generators as they were told last: reading their states as Python's objects takes longer than all else about random numbers.
#[derive(Default)]
struct Generators {
    numpy: Vec<u8>,
    numpy_told: Option<Fingerprint>,
    python: Vec<u8>,
    python_told: Option<Fingerprint>,
    /// Whether the bytes of Python's were what its words said.
    proved: bool,
    /// How many words passes drew, by the bytes of their batch and by the rest that 624 leaves.
    counted: BTreeMap<(u64, u64), Option<u32>>,
}

impl Generators {
    /// How many words were drawn between two states of torch's generator. They are counted when the rest is a new one, and taken for the
    /// same number when it is not.
    fn drawn(&mut self, fed: u64, before: &[u8], behind: &[u8]) -> Option<u32> {
        let rest = (random::place(behind)? + random::WORDS
            - random::place(before)? % random::WORDS)
            % random::WORDS;
        if let Some(known) = self.counted.get(&(fed, rest as u64)) {
            return *known;
        }
        if self.counted.len() >= COUNTED_MAX {
            return None;
        }
        let (before, behind) = (
            Generator::from_state(before)?,
            Generator::from_state(behind)?,
        );
        let drawn = before.drawn_until(&behind, RENEWALS);
        let drawn = drawn.and_then(|it| u32::try_from(it).ok());
        self.counted.insert((fed, rest as u64), drawn);
        drawn
    }
}

/// World, rank, size, which parameters of one replica they are, whether replicas may part.
type Place = (u32, u32, u32, Option<u32>, bool);

/// Random-number states as Python hands them over: span of torch's, words of `random`'s, bytes of NumPy's, the last two with whether
/// they are as they were told last.
type RngParts = (
    Option<Span>,
    (Option<Vec<u32>>, bool),
    (Option<Vec<u8>>, bool),
);

/// A parameter that was not told yet: index, group, name, shape, type of its elements, names of its state.
type SampledParts = (u32, u32, String, Vec<u64>, String, Vec<String>);

/// What was sampled: class, groups and likeness of the optimizer and new parameters where they are to be told, learning rates before the
/// step where they differ, whether there was a closure, was looked earlier, was loaded, and the values.
type SampleParts = (
    Option<(String, Vec<BTreeMap<String, f64>>, Option<String>)>,
    Vec<SampledParts>,
    Option<Vec<f64>>,
    (bool, bool, bool),
    String,
);

/// A call on the gradients: kind, its two numbers, bits of the norm, parameters that it is not about.
type CallParts = (u8, f64, f64, u8, Option<Vec<u32>>);

/// What happened since the last step: training forward passes, those in evaluation mode and backward passes; the way of the
/// gradients, with whether they were not read, their values and whether there is more; where passes started; autocast.
type PassesParts = (
    (u32, u32, u32),
    Option<(Vec<CallParts>, bool, String, bool)>,
    Vec<(String, f64)>,
    bool,
    Option<String>,
);

#[pymethods]
impl Recorder {
    #[new]
    fn new() -> Self {
        Self::default()
    }

    /// The place among the processes that train together, for the steps from now on; `None` for none.
    fn stand(&self, place: Option<Place>) {
        *self.place.lock().unwrap_or_else(PoisonError::into_inner) = place;
    }

    /// Where the thread did not run in this step: phase, microseconds asleep, queued, of all threads, whether disks were used,
    /// whether there are workers.
    fn waited(&self, waits: Vec<(usize, u64, u64, u64, bool, bool)>) {
        let wait = |(phase, asleep_us, queued_us, worked_us, disk, workers)| {
            Some(Wait {
                phase: *Phase::ALL.get::<usize>(phase)?,
                asleep_us,
                queued_us,
                worked_us,
                disk,
                workers,
            })
        };
        self.lock().waits = waits.into_iter().filter_map(wait).collect();
    }

    /// A batch reached the model: the spans of its tensors.
    #[expect(
        clippy::needless_pass_by_value,
        reason = "Python's arguments are converted into owned values"
    )]
    fn batch(&self, py: Python<'_>, spans: Vec<Span>) -> PyResult<()> {
        let fingerprint = of_spans(py, &spans)?;
        let mut pending = self.lock();
        pending.fed = spans.iter().map(|(_, bytes)| *bytes as u64).sum();
        if pending.batches.len() < BATCHES_MAX {
            pending.batches.push(fingerprint);
        } else {
            pending.left_out += 1;
        }
        Ok(())
    }

    /// A backward pass starts at `value`.
    fn loss(&self, value: f64) {
        let mut pending = self.lock();
        if pending.losses.len() < BATCHES_MAX {
            pending.losses.push(Number(value));
        } else {
            pending.left_out += 1;
        }
    }

    /// A loader read a batch: see [`reading::of`].
    #[expect(
        clippy::too_many_arguments,
        clippy::needless_pass_by_value,
        reason = "one call a batch: each argument is a part of the record, converted into an owned value"
    )]
    fn reading(
        &self,
        pass: u32,
        described: Option<PassParts>,
        batch: u64,
        indices: Vec<i64>,
        bases: Vec<i64>,
        columns: Option<Vec<(String, String, u64)>>,
        places: Vec<reading::Place>,
        chosen: (u64, u64),
    ) -> PyResult<()> {
        let parts = (pass, described, batch, columns);
        let reading = reading::of(parts, &indices, &bases, &places, chosen)?;
        let mut pending = self.lock();
        if pending.readings.len() < BATCHES_MAX {
            pending.readings.push(reading);
        } else {
            pending.left_out += 1;
        }
        Ok(())
    }

    /// The groups have other rates than their schedule set: its class, its rates, and the steps on end in which they had them.
    fn scheduled(&self, told: (String, Vec<f64>, u64)) {
        let (class, rates, agreed) = told;
        self.lock().scheduled = Some(Scheduled {
            class,
            rates: rates.into_iter().map(Number).collect(),
            agreed,
        });
    }

    /// The program gave a metric to what shows or keeps them.
    fn reported(&self, by: String, name: &str, value: f64) {
        let mut pending = self.lock();
        if pending.reported.len() < REPORTED_MAX {
            let name = name.chars().take(NAME_MAX).collect();
            let value = Number(value);
            pending.reported.push(Reported { by, name, value });
        }
    }

    /// Whether NumPy's Mersenne Twister, of which `generator` is the capsule, stands as at the last call.
    fn numpy_stands(&self, generator: &Bound<'_, PyCapsule>) -> PyResult<bool> {
        let raw = digest::mersenne_twister(generator)?;
        let mut known = self.generators();
        let same = known.numpy == raw && known.numpy_told.is_some();
        if !same {
            raw.clone_into(&mut known.numpy);
        }
        Ok(same)
    }

    /// Whether Python's, as far as its bytes proved to be its state, stands as at the last call.
    fn python_stands(&self, generator: &Bound<'_, PyAny>) -> PyResult<bool> {
        let Some(raw) = digest::twister_of(generator)? else {
            return Ok(false);
        };
        let mut known = self.generators();
        let same = known.proved && known.python == raw && known.python_told.is_some();
        if !same {
            raw.clone_into(&mut known.python);
        }
        Ok(same)
    }

    /// `clip_grad_norm_` returned `value`.
    fn clipped(&self, value: f64) {
        self.lock().gradient_norm_before_clip = Some(value);
    }

    /// Torch's generator as the first training forward pass of a step begins.
    fn random_before(&self, py: Python<'_>, state: Span) -> PyResult<()> {
        let generator = generator_at(state).map(<[u8]>::to_vec);
        let state = of_spans(py, &[state])?;
        let mut pending = self.lock();
        (pending.random, pending.still) = (Some(state), false);
        pending.generator = generator;
        Ok(())
    }

    /// And as it ends.
    fn random_behind(&self, py: Python<'_>, state: Span) -> PyResult<()> {
        let behind = generator_at(state);
        let state = of_spans(py, &[state])?;
        let mut pending = self.lock();
        pending.still = pending.random == Some(state);
        let fed = pending.fed;
        let before = pending.generator.take();
        drop(pending);
        let drawn = before.zip(behind).and_then(|(before, behind)| {
            let drawn = self.generators().drawn(fed, &before, behind)?;
            Some((fed, drawn))
        });
        self.lock().drawn = drawn;
        Ok(())
    }

    /// The optimizer is about to use the gradients at `spans`; `False` if their norm cannot be told.
    #[expect(
        clippy::needless_pass_by_value,
        reason = "Python's arguments are converted into owned values"
    )]
    fn gradients(&self, py: Python<'_>, spans: Vec<KindSpan>) -> PyResult<bool> {
        let norm = squares(py, &spans)?.map(f64::sqrt);
        self.lock().gradient_norm = norm;
        Ok(norm.is_some())
    }

    /// After the step: the spans of the parameters and of the optimizer's state.
    #[expect(
        clippy::needless_pass_by_value,
        reason = "Python's arguments are converted into owned values"
    )]
    fn model(
        &self,
        py: Python<'_>,
        parameters: Option<Vec<Span>>,
        state: Option<Vec<Span>>,
    ) -> PyResult<()> {
        let look =
            |spans: &Option<Vec<Span>>| spans.as_ref().map(|spans| of_spans(py, spans)).transpose();
        let parts = match &parameters {
            Some(spans) if self.place().is_some() => of_parts(py, spans)?,
            _ => (0, String::new()),
        };
        let (parameters, state) = (look(&parameters)?, look(&state)?);
        let mut pending = self.lock();
        pending.parameters = parameters;
        pending.optimizer_state = state;
        pending.parts = parts;
        Ok(())
    }

    /// The step is done: says it over `link` and starts the next one. Answers how many batches and losses were left out.
    ///
    /// `step` is its number, whether that was counted here, and which optimizer of the process it was; `phases` are
    /// microseconds of data, forward, backward, between, optimizer and sensor; `sample` is what was read around the step,
    /// `passes` what happened since the one before.
    #[expect(
        clippy::too_many_arguments,
        reason = "one call a step: each argument is a part of the record"
    )]
    fn step(
        &self,
        py: Python<'_>,
        link: &Link,
        step: (u64, bool, u32),
        learning_rates: Vec<f64>,
        rng: RngParts,
        phases: [u64; 6],
        sample: Option<SampleParts>,
        passes: Option<PassesParts>,
    ) -> PyResult<u64> {
        let (number, counted, optimizer) = step;
        let rng = self.rng_states(py, rng)?;
        let pending = std::mem::take(&mut *self.lock());
        let record = StepRecord {
            step: number,
            source: if counted {
                StepSource::Counted
            } else {
                StepSource::OptimizerState
            },
            optimizer,
            losses: pending.losses,
            gradient_norm: pending.gradient_norm.map(Number),
            gradient_norm_before_clip: pending.gradient_norm_before_clip.map(Number),
            learning_rates: learning_rates.into_iter().map(Number).collect(),
            parameters: pending.parameters,
            optimizer_state: pending.optimizer_state,
            rng,
            batches: pending.batches,
            phases: phases_of(phases),
            waits: pending.waits,
            reported: pending.reported,
            sample: sample.map(|parts| Box::new(sample_of(parts))),
            scheduled: pending.scheduled.map(Box::new),
            readings: pending.readings,
            passes: passes.map(|parts| {
                Box::new(Passes {
                    random: pending.random,
                    still: pending.still,
                    drawn: pending.drawn,
                    ..passes_of(parts)
                })
            }),
            replica: self
                .place()
                .map(|place| Box::new(replica_of(place, pending.parts))),
        };
        let body = serde_json::to_string(&Message::Step(Box::new(record)))
            .map_err(|error| PyValueError::new_err(error.to_string()))?;
        link.say(&body);
        Ok(pending.left_out)
    }
}

impl Recorder {
    fn place(&self) -> Option<Place> {
        *self.place.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn rng_states(
        &self,
        py: Python<'_>,
        (torch, (python, python_stands), (numpy, numpy_stands)): RngParts,
    ) -> PyResult<RngStates> {
        let mut known = self.generators();
        if !python_stands {
            known.proved = (python.as_ref()).is_some_and(|it| is_twister(&known.python, it));
            known.python_told = python.map(|words| {
                let bytes: Vec<u8> = words.into_iter().flat_map(u32::to_le_bytes).collect();
                of_buffers([&bytes[..]])
            });
        }
        if !numpy_stands {
            known.numpy_told = numpy.map(|bytes| of_buffers([&bytes[..]]));
        }
        Ok(RngStates {
            torch: torch.map(|span| of_spans(py, &[span])).transpose()?,
            python: known.python_told,
            numpy: known.numpy_told,
        })
    }

    fn generators(&self) -> MutexGuard<'_, Generators> {
        self.generators
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    fn lock(&self) -> MutexGuard<'_, Pending> {
        self.pending.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The state of torch's generator, as far as it is of the known kind.
fn generator_at<'a>(state: Span) -> Option<&'a [u8]> {
    let known = state.1 == STATE_BYTES && state.0 != 0;
    known.then(|| digest::bytes_at(state))
}

fn replica_of((world, rank, size, held, apart): Place, (tensors, parts): (u32, String)) -> Replica {
    Replica {
        world,
        rank,
        size,
        held,
        apart,
        tensors,
        parts,
    }
}

fn sample_of(
    (optimizer, tensors, rates, (closure, joined, loaded), values): SampleParts,
) -> Sample {
    let numbers = |group: BTreeMap<String, f64>| {
        group
            .into_iter()
            .map(|(name, value)| (name, Number(value)))
            .collect()
    };
    let sampled = |(index, group, name, shape, kind, state): SampledParts| Sampled {
        index,
        group,
        name,
        shape,
        kind,
        state,
    };
    Sample {
        optimizer: optimizer.map(|(class, groups, like)| Described {
            class,
            like,
            groups: groups.into_iter().map(numbers).collect(),
        }),
        tensors: tensors.into_iter().map(sampled).collect(),
        rates: rates.map(|rates| rates.into_iter().map(Number).collect()),
        closure,
        joined,
        loaded,
        values,
    }
}

fn passes_of(
    ((forwards, evaluating, backwards), gradients, ends, ends_unknown, autocast): PassesParts,
) -> Passes {
    let path = |(calls, unread, values, more): (Vec<CallParts>, bool, String, bool)| GradientPath {
        calls: calls.into_iter().map(call_of).collect(),
        unread,
        values,
        more,
    };
    let end = |(base, factor)| LossEnd {
        base,
        factor: Number(factor),
    };
    Passes {
        forwards,
        evaluating,
        backwards,
        gradients: gradients.map(path),
        ends: ends.into_iter().map(end).collect(),
        ends_unknown,
        autocast,
        ..Passes::default()
    }
}

fn call_of((kind, first, second, digits, apart): CallParts) -> GradientCall {
    match kind {
        1 => GradientCall::Unscaled {
            inverse: Number(first),
        },
        2 => GradientCall::Clipped {
            max_norm: Number(first),
            norm: Number(second),
            digits,
            apart,
        },
        3 => GradientCall::Clamped {
            limit: Number(first),
            apart,
        },
        4 => GradientCall::Hooked,
        _ => GradientCall::Changed,
    }
}

fn phases_of(
    [
        data_us,
        forward_us,
        backward_us,
        between_us,
        optimizer_us,
        sensor_us,
    ]: [u64; 6],
) -> Phases {
    Phases {
        data_us,
        forward_us,
        backward_us,
        between_us,
        optimizer_us,
        sensor_us,
    }
}
