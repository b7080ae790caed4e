//! Reads a few positions of the model around a step, and tells them as one text.
//!
//! Python says which parameters there are and when it is time to look; positions are drawn and kept here. Three looks make a
//! sample: *earlier* (when the step before ended), *before* and *behind*. What a look could not read is left out.

use std::collections::HashSet;
use std::sync::{Mutex, MutexGuard, PoisonError};

use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::sync::MutexExt;
use pyo3::types::{PyDict, PyList, PyString};
use training::passes::wire::{self as passes, Seen as Passed};
use training::recheck::draw::{Draw, Pick};
use training::recheck::wire;

use crate::parameters::{Described, Entry, Gradient, Seen, Torch};
use crate::sample::{self, Row, RuleParts};

/// A parameter's number, the names of its state, and where weights and state lie.
type Untold = (usize, Vec<Py<PyString>>, Vec<usize>);

#[derive(Default)]
struct Looks {
    entries: Vec<Entry>,
    /// Identities of the parameters of each group, those that are not looked at too.
    marks: Vec<Vec<usize>>,
    picks: Vec<Pick>,
    earlier: Vec<Option<Seen>>,
    before: Vec<Option<Seen>>,
    /// The gradients on their way to the step, oldest first.
    stages: Vec<Vec<Passed>>,
}

/// Samples the parameters of one optimizer.
#[pyclass(frozen)]
pub(crate) struct Sampler {
    torch: Torch,
    draw: Mutex<Draw>,
    looks: Mutex<Looks>,
}

#[pymethods]
impl Sampler {
    /// A sampler with a generator of its own, seeded with `seed`; the rest is [`Torch::new`]'s.
    #[new]
    fn new(
        seed: u64,
        classes: (Py<PyAny>, Py<PyAny>, Py<PyAny>),
        kinds: (Py<PyAny>, Py<PyAny>),
        column: Py<PyAny>,
    ) -> Self {
        Self {
            torch: Torch::new(classes, kinds, column),
            draw: Mutex::new(Draw::new(seed, &[])),
            looks: Mutex::default(),
        }
    }

    /// These are the parameters from now on, out of the optimizer's `groups`.
    fn layout(
        &self,
        py: Python<'_>,
        groups: &Bound<'_, PyList>,
        parameters: Vec<Described>,
    ) -> PyResult<()> {
        let marks = marks(groups)?;
        let sizes: Vec<u64> = parameters.iter().map(|it| it.5).collect();
        self.draw
            .lock_py_attached(py)
            .unwrap_or_else(PoisonError::into_inner)
            .layout(&sizes);
        let looks = Looks {
            entries: parameters.into_iter().map(Entry::new).collect(),
            marks,
            ..Looks::default()
        };
        let old = std::mem::replace(&mut *self.lock(py), looks);
        // What it held may end here, and with it whatever that brings about.
        drop(old);
        Ok(())
    }

    /// Whether the optimizer's `groups` still hold the parameters of [`layout`], and those that are sampled (all of them, if none is
    /// yet) lie where they lay.
    fn stands(&self, groups: &Bound<'_, PyList>) -> PyResult<bool> {
        let py = groups.py();
        let found = marks(groups)?;
        let looks = self.lock(py);
        if found != looks.marks {
            return Ok(false);
        }
        if looks.picks.is_empty() {
            return all(looks.entries.iter(), |it| it.stands(py));
        }
        let drawn = looks.picks.iter();
        all(
            drawn.filter_map(|(number, _)| looks.entries.get(*number)),
            |it| it.stands(py),
        )
    }

    /// Draws about `count` new positions in at most `most` parameters; answers the numbers of those.
    fn draw(&self, py: Python<'_>, count: usize, most: usize) -> Vec<usize> {
        let mut draw = self
            .draw
            .lock_py_attached(py)
            .unwrap_or_else(PoisonError::into_inner);
        let picks = draw.picks(count.min(wire::POSITIONS_MAX), most);
        let parameters = picks.iter().map(|(parameter, _)| *parameter).collect();
        self.lock(py).again(picks);
        parameters
    }

    /// As [`draw`], at the given positions: the parameters by the number that they are told by, ascending. What is not there is left out.
    fn take(&self, py: Python<'_>, wanted: Vec<(u32, Vec<u64>)>) -> Vec<usize> {
        let mut looks = self.lock(py);
        let mut picks: Vec<Pick> = Vec::new();
        for (index, mut positions) in wanted {
            let at = looks.entries.iter().position(|it| it.index == index);
            let Some((number, entry)) = at.and_then(|it| Some((it, looks.entries.get(it)?))) else {
                continue;
            };
            positions.retain(|it| *it < entry.elements);
            positions.sort_unstable();
            positions.dedup();
            positions.truncate(wire::POSITIONS_MAX);
            let behind = picks.last().is_none_or(|(last, _)| *last < number);
            if behind && !positions.is_empty() {
                picks.push((number, positions));
            }
        }
        let parameters = picks.iter().map(|(parameter, _)| *parameter).collect();
        looks.again(picks);
        parameters
    }

    /// The positions are not looked at any more.
    fn forget(&self, py: Python<'_>) {
        self.lock(py).again(Vec::new());
    }

    /// What was read when the step before ended does not bind any more.
    fn no_earlier(&self, py: Python<'_>) {
        self.lock(py).earlier.clear();
    }

    /// Of a call on the gradients of `parameters`: whether it is about any of the optimizer's, and the sampled parameters that it is not
    /// about, by the number that they are told by; `None` where one comes twice.
    fn about(&self, parameters: &Bound<'_, PyAny>) -> PyResult<(bool, Option<Vec<u32>>)> {
        let mut ids = HashSet::new();
        for parameter in parameters.try_iter()? {
            if !ids.insert(parameter?.as_ptr().addr()) {
                return Ok((true, None));
            }
        }
        let looks = self.lock(parameters.py());
        let about = looks.marks.iter().flatten().any(|it| ids.contains(it));
        let drawn = (looks.picks.iter()).filter_map(|(number, _)| looks.entries.get(*number));
        let apart = drawn.filter(|it| !ids.contains(&it.identity()));
        Ok((about, Some(apart.map(|it| it.index).collect())))
    }

    /// Numbers of the sampled parameters that somebody has set hooks on.
    fn hooked(&self, py: Python<'_>) -> PyResult<Vec<usize>> {
        let looks = self.lock(py);
        let mut found = Vec::new();
        for (number, _) in &looks.picks {
            let entry = looks.entries.get(*number);
            if entry.map_or(Ok(false), |it| it.hooked(py))? {
                found.push(*number);
            }
        }
        Ok(found)
    }

    /// What stands at the positions when a step has ended and the next has not begun; `apart` are the identities of parameters that
    /// may change in between.
    #[expect(
        clippy::needless_pass_by_value,
        reason = "Python's arguments are converted into owned values"
    )]
    fn earlier(&self, states: &Bound<'_, PyDict>, apart: HashSet<usize>) -> PyResult<()> {
        let mut looks = self.lock(states.py());
        let mut earlier = looks.look(&self.torch, states, false)?;
        let Looks { picks, entries, .. } = &mut *looks;
        for (seen, (number, _)) in earlier.iter_mut().zip(&*picks) {
            if !apart.is_empty()
                && entries
                    .get(*number)
                    .is_some_and(|it| apart.contains(&it.identity()))
            {
                *seen = None;
            }
        }
        looks.earlier = earlier;
        Ok(())
    }

    /// The gradients that stand there on their way to the step: behind a backward pass (`anew`), or around a call; for the numbers in
    /// `others` those that are given. Answers whether they are kept; with `other` only if they are not those of the last look.
    fn stage(
        &self,
        py: Python<'_>,
        anew: bool,
        other: bool,
        others: Option<&Bound<'_, PyDict>>,
    ) -> PyResult<bool> {
        let mut looks = self.lock(py);
        let stage = looks.gradients(py, &self.torch, others)?;
        if anew {
            looks.stages.clear();
        } else if looks.stages.is_empty()
            || looks.stages.len() >= passes::STAGES_MAX
            || other && looks.stages.last() == Some(&stage)
        {
            return Ok(false);
        }
        looks.stages.push(stage);
        Ok(true)
    }

    /// What stands there as the step begins.
    fn before(&self, states: &Bound<'_, PyDict>, gradients: bool) -> PyResult<()> {
        let mut looks = self.lock(states.py());
        looks.before = looks.look(&self.torch, states, gradients)?;
        Ok(())
    }

    /// What stands there behind it: answers the text of the sample. `closure` says that the gradients are those behind the step; by
    /// `rules` the state is expected, so that it takes less space. The second text has the gradients on their way, if they were read.
    #[expect(
        clippy::needless_pass_by_value,
        reason = "Python's arguments are converted into owned values"
    )]
    fn behind(
        &self,
        states: &Bound<'_, PyDict>,
        closure: bool,
        rules: Vec<RuleParts>,
    ) -> PyResult<(String, Option<String>)> {
        let mut looks = self.lock(states.py());
        let behind = looks.look(&self.torch, states, true)?;
        let earlier = std::mem::take(&mut looks.earlier);
        let before = std::mem::take(&mut looks.before);
        let way_there = std::mem::take(&mut looks.stages);
        let Looks { picks, entries, .. } = &mut *looks;
        let mut earlier = earlier.into_iter();
        let rows = picks.iter().zip(before).zip(behind);
        let rows = rows.filter_map(|(((entry, positions), before), behind)| {
            let earlier = earlier.next().flatten();
            Some(Row {
                index: entries.get(*entry)?.index,
                positions: positions.clone(),
                earlier,
                before,
                behind,
            })
        });
        Ok(sample::compose(rows.collect(), &way_there, closure, &rules))
    }

    /// The positions in each of the drawn parameters, in the order of [`draw`]: for what reads them by itself.
    fn positions(&self, py: Python<'_>) -> Vec<Vec<u64>> {
        let looks = self.lock(py);
        looks.picks.iter().map(|(_, it)| it.clone()).collect()
    }

    /// Of the sampled parameters that are to be described: their numbers, the names of their state, and where it all lies.
    fn untold(&self, py: Python<'_>) -> Vec<Untold> {
        let mut looks = self.lock(py);
        let Looks { picks, entries, .. } = &mut *looks;
        let drawn = picks.iter();
        drawn
            .filter_map(|(number, _)| {
                let (names, at) = entries.get_mut(*number)?.untold(py)?;
                Some((*number, names, at))
            })
            .collect()
    }
}

impl Sampler {
    fn lock(&self, py: Python<'_>) -> MutexGuard<'_, Looks> {
        self.looks
            .lock_py_attached(py)
            .unwrap_or_else(PoisonError::into_inner)
    }
}

impl Looks {
    /// New positions, and nothing read at them yet.
    fn again(&mut self, picks: Vec<Pick>) {
        for (number, _) in &self.picks {
            if let Some(entry) = self.entries.get_mut(*number) {
                entry.let_go();
            }
        }
        self.picks = picks;
        self.earlier.clear();
        self.before.clear();
        self.stages.clear();
    }

    fn look(
        &mut self,
        torch: &Torch,
        states: &Bound<'_, PyDict>,
        gradients: bool,
    ) -> PyResult<Vec<Option<Seen>>> {
        let mut seen = Vec::with_capacity(self.picks.len());
        for (number, positions) in &self.picks {
            let entry = self.entries.get_mut(*number).ok_or_else(no_entry)?;
            seen.push(entry.look(torch, states, positions, gradients)?);
        }
        Ok(seen)
    }

    fn gradients(
        &mut self,
        py: Python<'_>,
        torch: &Torch,
        others: Option<&Bound<'_, PyDict>>,
    ) -> PyResult<Vec<Passed>> {
        let mut seen = Vec::with_capacity(self.picks.len());
        for (number, positions) in &self.picks {
            let entry = self.entries.get_mut(*number).ok_or_else(no_entry)?;
            let other = others
                .map(|others| others.get_item(number))
                .transpose()?
                .flatten();
            seen.push(match entry.gradient(torch, positions, other, py)? {
                Gradient::Gone => Passed::Gone,
                Gradient::Unread => Passed::Unread,
                Gradient::Bytes(bytes) => Passed::Bytes(bytes),
            });
        }
        Ok(seen)
    }
}

fn no_entry() -> PyErr {
    PyValueError::new_err("a parameter was drawn that is not there")
}

fn all<'a>(
    mut entries: impl Iterator<Item = &'a Entry>,
    test: impl Fn(&Entry) -> PyResult<bool>,
) -> PyResult<bool> {
    entries.try_fold(true, |so_far, entry| Ok(so_far && test(entry)?))
}

/// The identities of the parameters of each group.
fn marks(groups: &Bound<'_, PyList>) -> PyResult<Vec<Vec<usize>>> {
    let mut marks = Vec::with_capacity(groups.len());
    for group in groups {
        let parameters = group.get_item(pyo3::intern!(groups.py(), "params"))?;
        let parameters = parameters.cast::<PyList>()?;
        marks.push(parameters.iter().map(|it| it.as_ptr().addr()).collect());
    }
    Ok(marks)
}
