//! Positions that are read from outside: what runs in the process can find out where the sensor looks, and undo itself there; where this
//! looks it cannot know.
//!
//! When a step is told, weights and state at a few positions of our own are read from the process's memory, and when the next one is
//! told, again: `training::recheck::outside` says whether a step of the declared rule lies between. What is read counts only if it is what stands
//! behind the told step: the process had not come farther, before the look and behind it, and at the positions that the sensor told, the memory
//! holds what was told. So a program that swaps its weights between two steps is not accused; it is a look that fell out. And what was read is
//! told only when the next step shows that the memory was still the model's: behind the last step it may be given back. Where the
//! memory may not be read, or lies elsewhere than was told, that is a gap.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::io;
use std::time::{Duration, Instant};

use domain::sensor::Progress;
use domain::{Finding, Number, Rule, Sample, Sampled, StepRecord};
use host::proc::Memory;
use training::recheck::draw::Draw;
use training::recheck::judge::{Cause, Column, Verdict, Wrong};
use training::recheck::outside::{Outcome, Stands, judge};
use training::recheck::update::{Hyper, STATE_MAX};
use training::recheck::wire::{self, Block};

use super::words;
use super::{Known, Whose};
use crate::run::event::Connection;
use crate::run::once::About;
use crate::run::recorder::Recorder;

/// Positions of one look, parameters that they lie in, and told positions that are compared first.
const POSITIONS: usize = 16;
const PARAMETERS: usize = 8;
const COMPARED: usize = 16;
/// Longest time that a look may take: what takes longer was interrupted, and the program went on meanwhile.
const LONGEST: Duration = Duration::from_millis(5);
/// Wrong looks in a row that count in a program that swaps its weights.
const IN_A_ROW: u32 = 3;
/// Looks that may fall out in a row before that is said.
const PATIENCE: u32 = 64;
/// What a gap is about.
const WHAT: &str = "positions that are read from outside";
/// Phase of [`Progress`] in which the optimizer works.
const OPTIMIZER: u64 = 4;

/// What is known of one process.
#[derive(Default)]
struct Process {
    memory: Option<Memory>,
    refused: bool,
    /// Steps that were told, and by how many the process counted more than that when it was told last.
    told: u64,
    ahead: Option<u64>,
    fallen_out: u32,
    /// The memory held something else than was told: the program puts other weights into its model now and then, and a look may
    /// fall into the middle of it.
    swaps: bool,
}

/// One position, and what stood there when the step was told.
struct Spot {
    index: u32,
    position: u64,
    stands: Stands,
}

/// What was seen behind one step of an optimizer.
struct Look {
    step: u64,
    spots: Vec<Spot>,
}

/// A step that is not as it must be, until the next one shows that what was read was the model.
struct Pending {
    step: StepRecord,
    sample: Sample,
    verdict: Verdict,
}

/// Positions of one optimizer.
struct Positions {
    draw: Draw,
    indices: Vec<u32>,
    /// How often parameters of the process had been described when these were chosen.
    described: u64,
    look: Option<Look>,
    pending: Option<Pending>,
    /// Wrong looks in a row.
    wrong: u32,
}

/// All looks of a run.
#[derive(Default)]
pub(in crate::run) struct Outside {
    processes: HashMap<Connection, Process>,
    optimizers: HashMap<Whose, Positions>,
}

impl Outside {
    /// A process told a step, whatever was sampled at it.
    pub(super) fn told(&mut self, connection: Connection) {
        self.processes.entry(connection).or_default().told += 1;
    }

    /// Something was loaded, or a step was not looked at: what was seen does not bind any more.
    pub(super) fn forget(&mut self, whose: Whose) {
        if let Some(positions) = self.optimizers.get_mut(&whose) {
            (positions.look, positions.pending) = (None, None);
        }
    }
}

impl Process {
    /// Whether the process stands between the step that was told last and the next.
    fn stands(&mut self, place: u64) -> io::Result<bool> {
        let Some(memory) = &self.memory else {
            return Ok(false);
        };
        let mut bytes = [0; Progress::BYTES];
        memory.read(place, &mut bytes)?;
        let Some(progress) = Progress::read(&bytes) else {
            return Err(io::Error::from(io::ErrorKind::InvalidData));
        };
        // It may have begun before it was connected.
        let Some(ahead) = progress.steps.checked_sub(self.told) else {
            return Ok(false);
        };
        let least = self.ahead.map_or(ahead, |known| known.min(ahead));
        self.ahead = Some(least);
        Ok(ahead == least && progress.phase != OPTIMIZER)
    }

    /// Whether the memory holds what the sensor told of the step.
    fn holds(&mut self, place: u64, known: &Known, values: &wire::Values) -> io::Result<bool> {
        let Some(memory) = &self.memory else {
            return Ok(false);
        };
        let agrees = known.agrees(memory, &values.blocks)?;
        if agrees == Some(false) && self.stands(place)? {
            self.swaps = true;
        }
        Ok(agrees == Some(true))
    }
}

impl Known {
    /// Parameters that can be read from outside, ascending: those that have state, and that no other optimizer has too.
    fn places<'a>(&self, others: impl Iterator<Item = &'a Self>) -> Vec<u32> {
        let others = others.flat_map(|it| it.tensors.values());
        let shared: HashSet<u64> = others.filter_map(|it| it.at.first().copied()).collect();
        let readable = |it: &&Sampled| {
            let weight = it.at.first();
            !it.state.is_empty()
                && it.at.len() > it.state.len()
                && weight.is_some_and(|at| !shared.contains(at))
        };
        let readable = self.tensors.values().filter(readable);
        readable.map(|it| it.index).collect()
    }

    /// What stands at one position of a parameter.
    fn stands(&self, memory: &Memory, index: u32, position: u64) -> io::Result<Option<Stands>> {
        let (Some(told), Some(kind)) = (self.tensors.get(&index), self.kind(index)) else {
            return Ok(None);
        };
        let Some(class) = self.class_of(told.group) else {
            return Ok(None);
        };
        let size = kind.size();
        let value = |at: Option<&u64>| -> io::Result<Option<f64>> {
            let offset = position.checked_mul(size as u64);
            let Some(at) = at.zip(offset).and_then(|(at, more)| at.checked_add(more)) else {
                return Ok(None);
            };
            let mut bytes = [0; 8];
            let Some(bytes) = bytes.get_mut(..size) else {
                return Ok(None);
            };
            memory.read(at, bytes)?;
            Ok(wire::value(kind, bytes, 0))
        };
        let Some(weight) = value(told.at.first())? else {
            return Ok(None);
        };
        let mut steps = 0.0;
        if class.counts() {
            let Some(at) = told.at.get(told.state.len() + 1) else {
                return Ok(None);
            };
            let mut bytes = [0; 4];
            memory.read(*at, &mut bytes)?;
            steps = f64::from(f32::from_le_bytes(bytes));
        }
        let mut state = [0.0; STATE_MAX];
        for (value_of, name) in state.iter_mut().zip(class.state()) {
            if let Some(column) = told.state.iter().position(|it| it == name) {
                let Some(found) = value(told.at.get(column + 1))? else {
                    return Ok(None);
                };
                *value_of = found;
            }
        }
        Ok(Some(Stands {
            weight,
            state,
            steps,
        }))
    }

    /// Whether the memory holds what the sensor told of the step; `None` if it told nothing that can be compared.
    fn agrees(&self, memory: &Memory, blocks: &[Block]) -> io::Result<Option<bool>> {
        let mut compared = 0;
        'blocks: for slot in 0..COMPARED {
            for block in blocks {
                let (Some(told), Some(kind)) =
                    (self.tensors.get(&block.index), self.kind(block.index))
                else {
                    continue;
                };
                let (Some(at), Some(position)) = (told.at.first(), block.positions.get(slot))
                else {
                    continue;
                };
                let size = kind.size();
                let Some(expected) = block.weights_behind.get(slot * size..(slot + 1) * size)
                else {
                    continue;
                };
                let Some(address) = position
                    .checked_mul(size as u64)
                    .and_then(|more| at.checked_add(more))
                else {
                    continue;
                };
                let mut bytes = [0; 8];
                let Some(bytes) = bytes.get_mut(..size) else {
                    continue;
                };
                memory.read(address, bytes)?;
                if bytes != expected {
                    return Ok(Some(false));
                }
                compared += 1;
                if compared == COMPARED {
                    break 'blocks;
                }
            }
        }
        Ok((compared > 0).then_some(true))
    }
}

impl Recorder<'_> {
    /// A step was told with its sample: reads from outside, and judges what was read at the step before.
    pub(super) fn look_from_outside(
        &mut self,
        whose: Whose,
        step: &StepRecord,
        sample: &Sample,
        values: &wire::Values,
    ) {
        self.tell_pending(whose, step, sample);
        let found = match self.seen_from_outside(whose, step, sample, values) {
            Ok(found) => found,
            Err(error) => {
                self.outside.forget(whose);
                let process = self.outside.processes.get_mut(&whose.0);
                // What has ended, or lies elsewhere now, is a look that fell out.
                if error.kind() == io::ErrorKind::PermissionDenied {
                    if let Some(process) = process {
                        process.refused = true;
                    }
                    let why = format!("its memory may not be read: {error}");
                    self.gap_once(whose.0, WHAT, &why);
                } else {
                    self.fell_out(whose.0);
                }
                return;
            }
        };
        let swaps = self
            .outside
            .processes
            .get(&whose.0)
            .is_some_and(|it| it.swaps);
        let Some(positions) = self.outside.optimizers.get_mut(&whose) else {
            return;
        };
        if found.wrong.is_empty() {
            positions.wrong = if found.positions > 0 {
                0
            } else {
                positions.wrong
            };
            return;
        }
        positions.wrong += 1;
        if !swaps || positions.wrong >= IN_A_ROW {
            positions.pending = Some(Pending {
                step: step.clone(),
                sample: sample.clone(),
                verdict: found,
            });
        }
    }

    /// The step that was not as it must be, now that the next one began with the same memory.
    fn tell_pending(&mut self, whose: Whose, step: &StepRecord, sample: &Sample) {
        let positions = self.outside.optimizers.get_mut(&whose);
        let Some(pending) = positions.and_then(|it| it.pending.take()) else {
            return;
        };
        if !sample.joined || sample.loaded || pending.step.step + 1 != step.step {
            return;
        }
        let about = About {
            rule: Rule::UpdateDiffers,
            cause: "from-outside",
            optimizer: whose.1,
        };
        self.tell(whose, about, &pending.step, &pending.sample, |told| {
            from_outside(told, &pending.verdict)
        });
    }

    /// A look fell out; many in a row are said.
    fn fell_out(&mut self, connection: Connection) {
        let process = self.outside.processes.entry(connection).or_default();
        process.fallen_out += 1;
        if process.fallen_out == PATIENCE {
            let why =
                "the process was always farther, or its memory held something else than it told";
            self.gap_once(connection, WHAT, why);
        }
    }

    fn seen_from_outside(
        &mut self,
        whose: Whose,
        step: &StepRecord,
        sample: &Sample,
        values: &wire::Values,
    ) -> io::Result<Verdict> {
        let nothing = Ok(Verdict::default());
        let Some(place) = self.hangs.place_of(whose.0) else {
            return nothing;
        };
        let Some(pid) = self.members.get(&whose.0).map(|it| it.process.pid) else {
            return nothing;
        };
        let Some(known) = self.rechecks.known.get(&whose) else {
            return nothing;
        };
        let process = self.outside.processes.entry(whose.0).or_default();
        if process.refused {
            return nothing;
        }
        if process.memory.is_none() {
            process.memory = Some(Memory::of(pid)?);
        }
        let of_process = self.rechecks.known.iter();
        let of_process = of_process.filter(|(other, _)| other.0 == whose.0);
        let described: u64 = of_process.clone().map(|(_, it)| it.described).sum();
        let positions = self
            .outside
            .optimizers
            .entry(whose)
            .or_insert_with(Positions::new);
        if positions.described != described {
            positions.described = described;
            let others = of_process.filter(|(other, _)| **other != whose);
            positions.layout(known.places(others.map(|(_, known)| known)), known);
        }
        let last = positions.look.take();
        if positions.indices.is_empty() {
            return nothing;
        }
        let Some((again, spots)) = positions.read(process, place, known, values, last.as_ref())?
        else {
            self.fell_out(whose.0);
            return nothing;
        };
        process.fallen_out = 0;
        positions.look = Some(Look {
            step: step.step,
            spots,
        });
        let follows = |look: &Look| look.step + 1 == step.step && sample.joined && !sample.loaded;
        let Some(last) = last.filter(follows) else {
            return nothing;
        };
        let rates = sample.rates.as_ref().unwrap_or(&step.learning_rates);
        Ok(known.judged_outside(rates, &positions.indices, &last, &again))
    }
}

impl Positions {
    fn new() -> Self {
        Self {
            draw: Draw::new(seed(), &[]),
            indices: Vec::new(),
            described: 0,
            look: None,
            pending: None,
            wrong: 0,
        }
    }

    fn layout(&mut self, indices: Vec<u32>, known: &Known) {
        if indices == self.indices {
            return;
        }
        let sizes: Vec<u64> = indices
            .iter()
            .filter_map(|index| known.tensors.get(index))
            .map(|it| {
                it.shape
                    .iter()
                    .fold(1u64, |all, one| all.saturating_mul(*one))
            })
            .collect();
        self.draw.layout(&sizes);
        self.indices = indices;
    }

    /// What stands at the positions of the last look and at new ones; `None` if it is not what stands behind the told step.
    #[expect(
        clippy::type_complexity,
        reason = "what stands at the old positions, and the new ones"
    )]
    fn read(
        &mut self,
        process: &mut Process,
        place: u64,
        known: &Known,
        values: &wire::Values,
        last: Option<&Look>,
    ) -> io::Result<Option<(Vec<Option<Stands>>, Vec<Spot>)>> {
        let begun = Instant::now();
        // What was told is looked for before as well: a program may be just putting its own weights back.
        if !process.stands(place)? || !process.holds(place, known, values)? {
            return Ok(None);
        }
        let Some(memory) = &process.memory else {
            return Ok(None);
        };
        let old = last.map(|it| &it.spots[..]).unwrap_or_default();
        let old = old
            .iter()
            .map(|spot| known.stands(memory, spot.index, spot.position))
            .collect::<io::Result<Vec<_>>>()?;
        let mut spots = Vec::new();
        for (number, positions) in self.draw.picks(POSITIONS, PARAMETERS) {
            let Some(&index) = self.indices.get(number) else {
                continue;
            };
            for position in positions {
                if let Some(stands) = known.stands(memory, index, position)? {
                    spots.push(Spot {
                        index,
                        position,
                        stands,
                    });
                }
            }
        }
        let valid = process.holds(place, known, values)? && process.stands(place)?;
        Ok((valid && begun.elapsed() <= LONGEST).then_some((old, spots)))
    }
}

/// From the operating system; where it gives none, nobody should be able to guess where it looks all the same.
fn seed() -> u64 {
    let mut bytes = [0; 8];
    if getrandom::fill(&mut bytes).is_err() {
        let state = std::collections::hash_map::RandomState::new();
        return std::hash::BuildHasher::hash_one(&state, 0);
    }
    u64::from_le_bytes(bytes)
}

impl Known {
    /// The positions of the last look in the parameters that can still be read, judged by what stands there now.
    fn judged_outside(
        &self,
        rates: &[Number],
        indices: &[u32],
        last: &Look,
        again: &[Option<Stands>],
    ) -> Verdict {
        let hypers = self.hypers(rates, &self.rules());
        let mut verdict = Verdict::default();
        let mut wrong: BTreeMap<u32, Wrong> = BTreeMap::new();
        let mut tensors: Vec<u32> = Vec::new();
        for (spot, behind) in last.spots.iter().zip(again) {
            let (Some(behind), Some(tensor)) = (behind, self.tensor(spot.index, &hypers)) else {
                continue;
            };
            // Another optimizer may have come that has it too.
            if indices.binary_search(&spot.index).is_err() {
                continue;
            }
            let hyper: &Hyper = &tensor.hyper;
            let complete = (hyper.uses().iter().zip(tensor.columns))
                .all(|(used, column)| !used || column.is_some());
            if !complete {
                continue;
            }
            match judge(&spot.stands, behind, hyper, &tensor.arithmetic) {
                Outcome::Mute => continue,
                Outcome::Right(decisive) => verdict.decisive += usize::from(decisive),
                Outcome::Wrong(differs) => {
                    let before = match differs.column {
                        Column::State(column) => {
                            spot.stands.state.get(column).copied().unwrap_or(0.0)
                        }
                        _ => spot.stands.weight,
                    };
                    let found = Wrong {
                        index: spot.index,
                        position: spot.position,
                        column: differs.column,
                        before,
                        expected: differs.expected,
                        found: differs.found,
                    };
                    verdict.decisive += usize::from(ratio(&found).is_some());
                    wrong.entry(spot.index).or_insert(found);
                }
            }
            verdict.positions += 1;
            tensors.push(spot.index);
        }
        tensors.dedup();
        verdict.tensors = tensors.len();
        verdict.wrong = wrong.into_values().collect();
        verdict.cause = (!verdict.wrong.is_empty()).then(|| Cause::Other(range(&verdict.wrong)));
        verdict
    }
}

/// A weight's change over the expected one, where that is known to a tenth.
fn ratio(wrong: &Wrong) -> Option<f64> {
    let change = wrong.expected.middle() - wrong.before;
    let known = wrong.column == Column::Weight && wrong.expected.radius() <= change.abs() / 10.0;
    known.then(|| (wrong.found - wrong.before) / change)
}

/// The least and the greatest of these.
fn range(wrong: &[Wrong]) -> Option<(f64, f64)> {
    wrong.iter().filter_map(ratio).fold(None, |range, ratio| {
        let (low, high) = range.unwrap_or((ratio, ratio));
        Some((ratio.min(low), ratio.max(high)))
    })
}

/// The finding, in words.
fn from_outside(told: &words::Told<'_>, verdict: &Verdict) -> Finding {
    let cause = verdict.cause.unwrap_or(Cause::Other(None));
    let mut finding = words::update(told, verdict, cause);
    finding.what = finding
        .what
        .replacen(": ", ": seen from outside, ", 1)
        .replace("sampled tensors", "tensors that were looked at");
    finding.details.push(
        "read from the memory of the process by the supervisor, at positions that nothing in it knows; what the process told of its own positions fits"
            .to_owned(),
    );
    finding
}
