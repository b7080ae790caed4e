//! What one optimizer step did, collected over its micro-batches and said in one message.
//!
//! Python calls once a batch, once a backward pass and twice a step; everything between is here, so that a step costs the
//! job a few native calls whatever the model. One recorder serves one process; several optimizers share it, and what
//! came before a step belongs to that step.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use domain::data::Reading;
use domain::{
    Begun, Fingerprint, Number, Passes, Phase, Phases, Replica, Reported, RngStates, Scheduled,
    StepRecord, StepSource, Wait,
};
use pyo3::prelude::*;
use pyo3::types::PyCapsule;
use training::data::random::{self, Generator, STATE_BYTES};
use training::fingerprint::of_buffers;

use crate::digest::{self, KindSpan, Span, is_twister, of_parts, of_spans, squares};
use crate::held::{Held, PassesParts, SampleParts, Unsaid};
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
    /// Torch's generators as the first forward pass began, bytes of the last batch, and how many numbers the pass drew.
    generators: Vec<Vec<u8>>,
    fed: u64,
    drawn: Option<(u64, u32)>,
    parts: (u32, String),
    waits: Vec<Wait>,
    reported: Vec<Reported>,
    begun: Option<Begun>,
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
    /// How many numbers were drawn between two states of torch's generators, that of the processor first.
    fn drawn_by_all(&mut self, fed: u64, before: &[Vec<u8>], behind: &[Vec<u8>]) -> Option<u32> {
        let ((own, others), (own_behind, others_behind)) =
            (before.split_first()?, behind.split_first()?);
        if own.len() != STATE_BYTES
            || own_behind.len() != STATE_BYTES
            || others.len() != others_behind.len()
        {
            return None;
        }
        let mut drawn = u64::from(self.drawn(fed, own, own_behind)?);
        for (before, behind) in others.iter().zip(others_behind) {
            drawn = drawn.checked_add(went_on(before, behind)?)?;
        }
        u32::try_from(drawn).ok()
    }

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
/// they are as they were told last, and the spans of the accelerators'.
type RngParts = (
    Option<Span>,
    (Option<Vec<u32>>, bool),
    (Option<Vec<u8>>, bool),
    Vec<Span>,
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

    /// Drops what was collected for a step that is not told.
    fn forget(&self) {
        *self.lock() = Pending::default();
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

    /// A batch of so many bytes reached the model, which is on an accelerator: its fingerprint comes later. Answers its number among the
    /// step's; `None` if it is left out.
    fn batch_later(&self, bytes: u64) -> Option<usize> {
        let mut pending = self.lock();
        pending.fed = bytes;
        if pending.batches.len() < BATCHES_MAX {
            pending.batches.push(Fingerprint::from_bits(0));
            Some(pending.batches.len() - 1)
        } else {
            pending.left_out += 1;
            None
        }
    }

    /// A backward pass starts at `value`. Answers its number among the step's; `None` if it is left out.
    fn loss(&self, value: f64) -> Option<usize> {
        let mut pending = self.lock();
        if pending.losses.len() < BATCHES_MAX {
            pending.losses.push(Number(value));
            Some(pending.losses.len() - 1)
        } else {
            pending.left_out += 1;
            None
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

    /// Torch's generators, that of the processor first, as the first training forward pass of a step begins.
    #[expect(
        clippy::needless_pass_by_value,
        reason = "Python's arguments are converted into owned values"
    )]
    fn random_before(&self, py: Python<'_>, states: Vec<Span>) -> PyResult<()> {
        let generators = copied(py, &states)?;
        let random = of_spans(py, &states)?;
        let mut pending = self.lock();
        (pending.random, pending.still) = (Some(random), false);
        pending.generators = generators;
        Ok(())
    }

    /// And as it ends.
    #[expect(
        clippy::needless_pass_by_value,
        reason = "Python's arguments are converted into owned values"
    )]
    fn random_behind(&self, py: Python<'_>, states: Vec<Span>) -> PyResult<()> {
        let behind = copied(py, &states)?;
        let random = of_spans(py, &states)?;
        let mut pending = self.lock();
        pending.still = pending.random == Some(random);
        let fed = pending.fed;
        let before = std::mem::take(&mut pending.generators);
        drop(pending);
        let drawn = self.generators().drawn_by_all(fed, &before, &behind);
        self.lock().drawn = drawn.map(|drawn| (fed, drawn));
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

    /// What stands before an optimizer's first step, in a replay.
    #[expect(
        clippy::needless_pass_by_value,
        reason = "Python's arguments are converted into owned values"
    )]
    fn begun(
        &self,
        py: Python<'_>,
        parameters: Option<Vec<Span>>,
        state: Option<Vec<Span>>,
    ) -> PyResult<()> {
        let look =
            |spans: &Option<Vec<Span>>| spans.as_ref().map(|spans| of_spans(py, spans)).transpose();
        let (parameters, optimizer_state) = (look(&parameters)?, look(&state)?);
        self.lock().begun = Some(Begun {
            parameters,
            optimizer_state,
        });
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
        let held = self.take(py, step, learning_rates, rng, phases)?;
        held.say(link, sample, passes)
    }

    /// As [`step`], of a step whose numbers still lie on an accelerator: answers what says it when they are here.
    fn hold(
        &self,
        py: Python<'_>,
        step: (u64, bool, u32),
        learning_rates: Vec<f64>,
        rng: RngParts,
        phases: [u64; 6],
    ) -> PyResult<Held> {
        let unsaid = self.take(py, step, learning_rates, rng, phases)?;
        Ok(Held::new(unsaid))
    }
}

impl Recorder {
    /// Ends the step: what was collected for it, and the next begins.
    fn take(
        &self,
        py: Python<'_>,
        (number, counted, optimizer): (u64, bool, u32),
        learning_rates: Vec<f64>,
        rng: RngParts,
        phases: [u64; 6],
    ) -> PyResult<Unsaid> {
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
            begun: pending.begun.map(Box::new),
            sample: None,
            scheduled: pending.scheduled.map(Box::new),
            readings: pending.readings,
            passes: Some(Box::new(Passes {
                random: pending.random,
                still: pending.still,
                drawn: pending.drawn,
                ..Passes::default()
            })),
            replica: self
                .place()
                .map(|place| Box::new(replica_of(place, pending.parts))),
        };
        Ok(Unsaid {
            record,
            left_out: pending.left_out,
        })
    }

    fn place(&self) -> Option<Place> {
        *self.place.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn rng_states(
        &self,
        py: Python<'_>,
        (torch, (python, python_stands), (numpy, numpy_stands), devices): RngParts,
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
            device: (!devices.is_empty())
                .then(|| of_spans(py, &devices))
                .transpose()?,
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

/// The states of generators.
fn copied(py: Python<'_>, states: &[Span]) -> PyResult<Vec<Vec<u8>>> {
    // Checks them as well.
    of_spans(py, states)?;
    Ok(states
        .iter()
        .map(|it| digest::bytes_at(*it).to_vec())
        .collect())
}

/// How far a counting generator of an accelerator went on from one state to the other: seed and place, 8 bytes each.
fn went_on(before: &[u8], behind: &[u8]) -> Option<u64> {
    let parts = |state: &[u8]| {
        let (seed, place) = state.split_first_chunk::<8>()?;
        Some((*seed, u64::from_le_bytes(place.try_into().ok()?)))
    };
    let ((seed, from), (other, to)) = (parts(before)?, parts(behind)?);
    (seed == other).then(|| to.checked_sub(from)).flatten()
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
