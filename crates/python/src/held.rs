//! A step that is over and not said yet, and how what Python knows of it becomes the record.
//!
//! On the processor it is said at once. Where numbers lie on an accelerator, fetching them would wait for it: the step is held until
//! their copies are here, which is known at the next one, and then completed with them ([`Held::late`]) and said.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use domain::sensor::Message;
use domain::{
    Described, Fingerprint, GradientCall, GradientPath, LossEnd, Number, Passes, Sample, Sampled,
    StepRecord,
};
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::pybacked::PyBackedBytes;
use training::fingerprint::of_buffers;
use training::replicas::parts_of;

use crate::link::Link;

/// A parameter that was not told yet: index, group, name, shape, type of its elements, names of its state, where it all lies.
type SampledParts = (u32, u32, String, Vec<u64>, String, Vec<String>, Vec<u64>);

/// What was sampled: class, groups and likeness of the optimizer and new parameters where they are to be told, learning rates before the
/// step where they differ, whether there was a closure, was looked earlier, was loaded, and the values.
pub(crate) type SampleParts = (
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
pub(crate) type PassesParts = (
    (u32, u32, u32),
    Option<(Vec<CallParts>, bool, String, bool)>,
    Vec<(String, f64)>,
    bool,
    Option<String>,
);

/// A step that is over.
pub(crate) struct Unsaid {
    pub(crate) record: StepRecord,
    /// Batches and losses that are not told.
    pub(crate) left_out: u64,
}

impl Unsaid {
    /// Says it over `link`; answers how many batches and losses were left out.
    pub(crate) fn say(
        mut self,
        link: &Link,
        sample: Option<SampleParts>,
        passes: Option<PassesParts>,
    ) -> PyResult<u64> {
        let record = &mut self.record;
        record.sample = sample.map(|parts| Box::new(sample_of(parts)));
        record.passes = record.passes.take().zip(passes).map(|(mut it, parts)| {
            let Passes {
                random,
                still,
                drawn,
                ..
            } = *it;
            *it = Passes {
                random,
                still,
                drawn,
                ..passes_of(parts)
            };
            it
        });
        let body = serde_json::to_string(&Message::Step(Box::new(self.record)))
            .map_err(|error| PyValueError::new_err(error.to_string()))?;
        link.say(&body);
        Ok(self.left_out)
    }
}

/// What the sums over one tensor are, or its bytes where it is small.
type Sums = Vec<PyBackedBytes>;

/// A step that waits for its numbers.
#[pyclass(frozen)]
pub(crate) struct Held(Mutex<Option<Unsaid>>);

#[pymethods]
impl Held {
    /// Numbers that came: losses and learning rates by their places, the norms of the gradients as they are used and before clipping.
    fn numbers(
        &self,
        losses: Vec<(usize, f64)>,
        rates: Vec<(usize, f64)>,
        norm: Option<f64>,
        before_clip: Option<f64>,
    ) {
        self.with(|record| {
            put(&mut record.losses, losses);
            put(&mut record.learning_rates, rates);
            record.gradient_norm = norm.map(Number).or(record.gradient_norm);
            record.gradient_norm_before_clip =
                before_clip.map(Number).or(record.gradient_norm_before_clip);
        });
    }

    /// The sums over the tensors of batch number `batch`.
    #[expect(
        clippy::needless_pass_by_value,
        reason = "Python's arguments are converted into owned values"
    )]
    fn batch(&self, batch: usize, sums: Sums) {
        self.with(|record| {
            if let Some(told) = record.batches.get_mut(batch) {
                *told = fingerprint(&sums);
            }
        });
    }

    /// The sums over the parameters, and over the optimizer's state.
    #[expect(
        clippy::needless_pass_by_value,
        reason = "Python's arguments are converted into owned values"
    )]
    fn model(&self, parameters: Option<Sums>, state: Option<Sums>) {
        self.with(|record| {
            if let (Some(replica), Some(sums)) = (&mut record.replica, &parameters) {
                replica.tensors = u32::try_from(sums.len()).unwrap_or(u32::MAX);
                replica.parts = parts_of(sums.iter().map(|it| &it[..]));
            }
            record.parameters = parameters.as_ref().map(fingerprint).or(record.parameters);
            record.optimizer_state = state.as_ref().map(fingerprint).or(record.optimizer_state);
        });
    }

    /// What should have come did not: nothing that stands in its place is told.
    fn forget(&self) {
        self.with(|record| {
            record.losses.clear();
            record.batches.clear();
            if record.learning_rates.iter().any(|it| it.0.is_nan()) {
                record.learning_rates.clear();
            }
        });
    }

    /// Says the step over `link`, once; answers how many batches and losses were left out.
    fn say(
        &self,
        link: &Link,
        sample: Option<SampleParts>,
        passes: Option<PassesParts>,
    ) -> PyResult<u64> {
        let unsaid = self.0.lock().unwrap_or_else(PoisonError::into_inner).take();
        unsaid.map_or(Ok(0), |it| it.say(link, sample, passes))
    }
}

impl Held {
    pub(crate) fn new(unsaid: Unsaid) -> Self {
        Self(Mutex::new(Some(unsaid)))
    }

    fn with(&self, change: impl FnOnce(&mut StepRecord)) {
        let mut unsaid = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(unsaid) = &mut *unsaid {
            change(&mut unsaid.record);
        }
    }
}

fn fingerprint(sums: &Sums) -> Fingerprint {
    of_buffers(sums.iter().map(|it| &it[..]))
}

fn put(numbers: &mut [Number], values: Vec<(usize, f64)>) {
    for (place, value) in values {
        if let Some(number) = numbers.get_mut(place) {
            *number = Number(value);
        }
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
    let sampled = |(index, group, name, shape, kind, state, at): SampledParts| Sampled {
        index,
        group,
        name,
        shape,
        kind,
        state,
        at,
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
