//! A step against the spec, as it comes.
//!
//! What follows from something that is already told as different is not told a second time: another world size, another
//! seed or another accumulation gives other batches by itself. Losses and gradients are compared only where the same weights,
//! batches and random state went in, and then to much more than rounding: a loss that differs there was computed otherwise.

use std::collections::{BTreeMap, HashMap};

use domain::{Fingerprint, Number, StepRecord, StepSource};

use super::model::{Group, Mode, Spec, Unsound};
use super::schedule::{is_rate, rate};
use super::table::{Step, Table};

/// How far a loss of the same inputs may be off, and a norm of gradients, where the weights have 32 bits or more.
const LOSS: f64 = 3e-4;
const NORM: f64 = 1e-2;
/// The same, where they have less or it is not known.
const HALF: f64 = 30.0;
/// Optimizers of one process that are followed.
const OPTIMIZERS_MAX: usize = 1_000;

/// A spec made ready for checks.
#[derive(Debug, Clone)]
pub struct Declared {
    versions: Vec<(u64, Spec)>,
    table: Table,
}

impl Declared {
    /// Amendments resolved.
    pub fn new(spec: &Spec, table: Table) -> Result<Self, Unsound> {
        spec.sound()?;
        Ok(Self {
            versions: spec.versions()?,
            table,
        })
    }

    /// The spec as it holds at a step.
    pub fn at(&self, step: u64) -> Option<&Spec> {
        let found = self.versions.iter().rev().find(|(from, _)| *from <= step);
        found
            .or_else(|| self.versions.first())
            .map(|(_, spec)| spec)
    }

    /// The table.
    pub fn table(&self) -> &Table {
        &self.table
    }
}

/// What the run knows of a process.
#[derive(Debug, Clone, Copy, Default)]
pub struct Process {
    /// Its rank.
    pub rank: u32,
    /// How many ranks there are.
    pub world: u32,
    /// It read a checkpoint before its first step.
    pub loaded: bool,
}

/// How a step parts from the spec.
#[derive(Debug, Clone, PartialEq)]
#[expect(
    missing_docs,
    reason = "`used` is what the step did, `declared` what the spec says"
)]
pub enum Difference {
    /// Another number of ranks.
    World { used: u32, declared: u32 },
    /// More optimizers than are declared.
    Optimizer { declared: usize },
    /// Another class.
    Class { used: String, declared: String },
    /// Another number of parameter groups.
    Groups { used: usize, declared: usize },
    /// Another hyperparameter.
    Hyper {
        group: usize,
        name: String,
        used: Option<f64>,
        declared: Option<f64>,
    },
    /// Another learning rate.
    Rate {
        group: usize,
        used: f64,
        declared: f64,
    },
    /// Another random state behind the first step.
    Seed {
        generator: &'static str,
        used: Fingerprint,
        declared: Fingerprint,
    },
    /// The same weights, batches and random state went in, and other random numbers were drawn.
    Draws {
        used: Fingerprint,
        declared: Fingerprint,
    },
    /// Another number of backward passes.
    Backwards { used: usize, declared: usize },
    /// Another batch: which of the step's, and where the declared run had it.
    Batch {
        number: usize,
        used: Fingerprint,
        declared: Fingerprint,
        instead: Option<u64>,
    },
    /// Another number of batches.
    Batches { used: usize, declared: usize },
    /// Another loss from the same weights, batches and random state.
    Loss {
        number: usize,
        used: f64,
        declared: f64,
    },
    /// Another norm of the gradients from the same, and the same losses.
    Norm { used: f64, declared: f64 },
    /// A parameter of another type or shape.
    Tensor {
        name: String,
        used: String,
        declared: String,
        is_type: bool,
    },
    /// More steps than are declared.
    Steps { declared: u64 },
}

impl Difference {
    /// What tells it from others of its kind: each is told once.
    pub fn cause(&self) -> &'static str {
        match self {
            Self::World { .. } => "world",
            Self::Optimizer { .. } => "optimizer",
            Self::Class { .. } => "class",
            Self::Groups { .. } => "groups",
            Self::Hyper { .. } => "hyper",
            Self::Rate { .. } => "rate",
            Self::Seed { .. } => "seed",
            Self::Draws { .. } => "draws",
            Self::Backwards { .. } => "backwards",
            Self::Batch { .. } => "batch",
            Self::Batches { .. } => "batches",
            Self::Loss { .. } => "loss",
            Self::Norm { .. } => "norm",
            Self::Tensor { is_type: true, .. } => "type",
            Self::Tensor { .. } => "shape",
            Self::Steps { .. } => "steps",
        }
    }
}

/// What came of one step.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Told {
    /// How it parts.
    pub differences: Vec<Difference>,
    /// What was not compared, and why.
    pub gaps: Vec<(&'static str, &'static str)>,
}

/// Whether batches can be compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
enum Order {
    /// Not known yet.
    #[default]
    Open,
    /// The same random state and data position went in.
    Same,
    /// They go on from a checkpoint, or a generator that perhaps nobody seeded is in another state: the first ones say.
    Likely,
    /// Not comparable any more.
    Off,
}

/// What is followed of one optimizer.
#[expect(
    clippy::struct_excessive_bools,
    reason = "each is a fact of its own, and they do not exclude one another"
)]
#[derive(Debug, Clone, Default)]
struct Known {
    class: Option<String>,
    groups: Vec<BTreeMap<String, Number>>,
    order: Order,
    /// Behind the step before the weights were those of the declared run.
    together: bool,
    /// Its number continues that of the declared run.
    placed: bool,
    begun: bool,
    half: bool,
}

/// What is followed of one process.
#[derive(Debug, Clone, Default)]
pub struct Checker {
    known: HashMap<u32, Known>,
}

impl Checker {
    /// Compares a step.
    pub fn step(&mut self, declared: &Declared, process: Process, step: &StepRecord) -> Told {
        let mut told = Told::default();
        let Some(spec) = declared.at(step.step) else {
            return told;
        };
        if self.known.len() >= OPTIMIZERS_MAX && !self.known.contains_key(&step.optimizer) {
            told.gaps.push((
                "steps against the spec",
                "there are more optimizers than are followed",
            ));
            return told;
        }
        let mut known = self.known.remove(&step.optimizer).unwrap_or_default();
        let against = Against {
            declared,
            spec,
            process,
            step,
        };
        if !known.begun {
            against.begin(&mut known, &mut told);
        }
        against.optimizer(&mut known, &mut told);
        if known.placed {
            against.rates(&mut told);
            against.count(&mut told);
        }
        against.accumulation(&mut known, &mut told);
        if known.placed
            && let Some(row) = declared.table.step(process.rank, step.optimizer, step.step)
        {
            against.row(row, &mut known, &mut told);
        }
        self.known.insert(step.optimizer, known);
        told
    }
}

/// A step and all that it is held against.
struct Against<'a> {
    declared: &'a Declared,
    spec: &'a Spec,
    process: Process,
    step: &'a StepRecord,
}

impl Against<'_> {
    /// The first step of an optimizer in its process: what it can be compared with.
    fn begin(&self, known: &mut Known, told: &mut Told) {
        known.begun = true;
        let (spec, step) = (self.spec, self.step);
        // A number that the sensor counted begins anew with each process.
        let anew = step.source == StepSource::Counted && self.process.loaded && !spec.steps.loaded;
        known.placed = !anew;
        if anew {
            told.gaps.push((
                "steps against the spec",
                "the run goes on from a checkpoint and its optimizer does not tell the step",
            ));
        }
        let world = spec.world.size.unwrap_or(self.process.world);
        if world != self.process.world {
            told.differences.push(Difference::World {
                used: self.process.world,
                declared: world,
            });
            told.gaps.push((
                "batches against the spec",
                "another number of ranks shares them out otherwise",
            ));
            known.order = Order::Off;
            return;
        }
        known.order = if anew || spec.batches.mode == Mode::Any || spec.seed.mode == Mode::Any {
            told.gaps.push((
                "batches against the spec",
                if anew {
                    "the position in the data is not known"
                } else {
                    "the spec leaves seed or batches free"
                },
            ));
            Order::Off
        } else {
            self.start(told)
        };
        // Of weights that came from a checkpoint it is not known whether they are the declared run's.
        known.together = known.order == Order::Same && !self.process.loaded;
    }

    /// Whether the same random state went in.
    fn start(&self, told: &mut Told) -> Order {
        let (spec, step) = (self.spec, self.step);
        let state = spec
            .seed
            .state
            .iter()
            .find(|state| state.rank == self.process.rank);
        let first = step.step == 1;
        let row = self
            .declared
            .table
            .step(self.process.rank, step.optimizer, step.step);
        if !first {
            let same = row
                .and_then(|row| row.torch)
                .is_some_and(|torch| Some(torch) == step.rng.torch);
            if !same {
                let why = "the run goes on from a checkpoint, and the random state is not the declared run's there";
                told.gaps.push(("batches against the spec", why));
            }
            return if same { Order::Likely } else { Order::Off };
        }
        let Some(state) = state.filter(|_| step.optimizer == 0) else {
            // A further optimizer: its rows have the state behind each step.
            let same = row
                .and_then(|row| row.torch)
                .is_some_and(|torch| Some(torch) == step.rng.torch);
            return if same { Order::Same } else { Order::Off };
        };
        let pairs = [
            ("torch", step.rng.torch, state.torch),
            ("python", step.rng.python, state.python),
            ("numpy", step.rng.numpy, state.numpy),
        ];
        if self.passes(true).is_some() {
            return Order::Likely; // other numbers are drawn where more or fewer batches go in: told as that
        }
        let (mut seeds, mut others) = (false, false);
        for (generator, used, declared) in pairs {
            let Some((used, declared)) = used
                .zip(declared)
                .filter(|(used, declared)| used != declared)
            else {
                continue;
            };
            if spec.seed.judged.iter().any(|judged| judged == generator) {
                seeds = true;
                told.differences.push(Difference::Seed {
                    generator,
                    used,
                    declared,
                });
            }
            others = true;
        }
        if seeds {
            told.gaps.push((
                "batches against the spec",
                "the random state is not the declared one",
            ));
            return Order::Off;
        }
        if others { Order::Likely } else { Order::Same }
    }

    /// Class, groups, hyperparameters and parameters as far as they were told.
    fn optimizer(&self, known: &mut Known, told: &mut Told) {
        let number = usize::try_from(self.step.optimizer).unwrap_or(usize::MAX);
        let Some(declared) = self.spec.optimizer.get(number) else {
            if !self.spec.optimizer.is_empty() {
                told.differences.push(Difference::Optimizer {
                    declared: self.spec.optimizer.len(),
                });
            }
            return;
        };
        let sample = self.step.sample.as_deref();
        if let Some(described) = sample.and_then(|sample| sample.optimizer.as_ref()) {
            known.class = Some(described.class.chars().take(120).collect());
            known.groups.clone_from(&described.groups);
            known.groups.truncate(10_000);
        }
        for tensor in sample.iter().flat_map(|sample| &sample.tensors) {
            known.half |= !matches!(tensor.kind.as_str(), "float32" | "float64");
            self.tensor(tensor, told);
        }
        let Some(class) = &known.class else { return };
        if let Some(wanted) = declared.class.as_ref().filter(|wanted| *wanted != class) {
            told.differences.push(Difference::Class {
                used: class.clone(),
                declared: wanted.clone(),
            });
            return;
        }
        if declared.group.is_empty() {
            return;
        }
        if declared.group.len() != known.groups.len() {
            let (used, declared) = (known.groups.len(), declared.group.len());
            told.differences.push(Difference::Groups { used, declared });
            return;
        }
        for (group, (wanted, used)) in declared.group.iter().zip(&known.groups).enumerate() {
            hypers(group, wanted, used, told);
        }
    }

    fn tensor(&self, used: &domain::Sampled, told: &mut Told) {
        let Some(declared) = self.declared.table.tensor(self.step.optimizer, used.index) else {
            return;
        };
        let name = if used.name.is_empty() {
            format!("parameter {}", used.index)
        } else {
            used.name.clone()
        };
        if declared.kind != used.kind {
            told.differences.push(Difference::Tensor {
                name,
                used: used.kind.clone(),
                declared: declared.kind.clone(),
                is_type: true,
            });
        } else if declared.shape != used.shape {
            let (used, declared) = (format!("{:?}", used.shape), format!("{:?}", declared.shape));
            told.differences.push(Difference::Tensor {
                name,
                used,
                declared,
                is_type: false,
            });
        }
    }

    fn rates(&self, told: &mut Told) {
        let before = self
            .step
            .sample
            .as_ref()
            .and_then(|sample| sample.rates.as_ref());
        let used = before.unwrap_or(&self.step.learning_rates);
        let number = usize::try_from(self.step.optimizer).unwrap_or(usize::MAX);
        let groups = self
            .spec
            .optimizer
            .get(number)
            .map_or(&[][..], |it| it.group.as_slice());
        for (group, (declared, used)) in groups.iter().zip(used).enumerate() {
            if let Some(wanted) = rate(&declared.lr, self.step.step)
                && !is_rate(used.0, wanted, &declared.lr)
            {
                told.differences.push(Difference::Rate {
                    group,
                    used: used.0,
                    declared: wanted,
                });
            }
        }
    }

    fn count(&self, told: &mut Told) {
        if let Some(declared) = self
            .spec
            .steps
            .count
            .filter(|count| *count < self.step.step)
        {
            told.differences.push(Difference::Steps { declared });
        }
    }

    fn accumulation(&self, known: &mut Known, told: &mut Told) {
        let Some((used, declared)) = self.passes(known.placed) else {
            return;
        };
        told.differences
            .push(Difference::Backwards { used, declared });
        if known.order != Order::Off {
            told.gaps.push((
                "batches against the spec",
                "another number of them goes into a step",
            ));
        }
        known.order = Order::Off;
        known.together = false;
    }

    /// Backward passes of this step and the declared ones, where these differ.
    fn passes(&self, placed: bool) -> Option<(usize, usize)> {
        let row = self
            .declared
            .table
            .step(self.process.rank, self.step.optimizer, self.step.step);
        let number = usize::try_from(self.step.optimizer).ok()?;
        let constant = self.spec.optimizer.get(number).and_then(|it| it.backwards);
        let constant = constant.and_then(|count| usize::try_from(count).ok());
        let row = row.filter(|_| placed).map(|row| row.losses.len());
        let (used, declared) = (self.step.losses.len(), constant.or(row)?);
        // Losses that are not fetched are none, and a gap of the sensor's.
        (used != declared && used > 0 && declared > 0).then_some((used, declared))
    }

    /// Batches, and what came of them.
    fn row(&self, row: &Step, known: &mut Known, told: &mut Told) {
        let likely = known.order == Order::Likely && self.step.step == 1;
        let same_batches = self.batches(row, known, told);
        known.together |= likely && same_batches && !self.process.loaded;
        let same_draws = row.torch.is_none() || row.torch == self.step.rng.torch;
        let inputs = known.together && same_batches && same_draws;
        if known.together
            && same_batches
            && let Some((used, declared)) = self.step.rng.torch.zip(row.torch)
            && used != declared
        {
            told.differences.push(Difference::Draws { used, declared });
        }
        let slack = if known.half { HALF } else { 1.0 };
        let differences = told.differences.len();
        if inputs && row.losses.len() == self.step.losses.len() {
            for (number, (used, declared)) in self.step.losses.iter().zip(&row.losses).enumerate() {
                if apart(used.0, declared.0, LOSS * slack) {
                    told.differences.push(Difference::Loss {
                        number,
                        used: used.0,
                        declared: declared.0,
                    });
                    break;
                }
            }
        }
        let norm = self
            .step
            .gradient_norm_before_clip
            .or(self.step.gradient_norm);
        if inputs
            && differences == told.differences.len()
            && let Some((used, declared)) = norm.zip(row.gradient_norm)
            && apart(used.0, declared.0, NORM * slack)
        {
            told.differences.push(Difference::Norm {
                used: used.0,
                declared: declared.0,
            });
        }
        known.together =
            same_batches && row.parameters.is_some() && row.parameters == self.step.parameters;
    }

    /// Whether the batches are the declared ones.
    fn batches(&self, row: &Step, known: &mut Known, told: &mut Told) -> bool {
        let same = self.step.batches == row.batches;
        match known.order {
            Order::Same if !same => told.differences.push(self.other_batch(row)),
            Order::Likely if same => known.order = Order::Same,
            Order::Likely => {
                let why = "the first ones are others, and a checkpoint or a generator that is not judged may be why";
                told.gaps.push(("batches against the spec", why));
                known.order = Order::Off;
            }
            _ => {}
        }
        same && known.order == Order::Same
    }

    fn other_batch(&self, row: &Step) -> Difference {
        let pairs = self.step.batches.iter().zip(&row.batches);
        let first = pairs
            .enumerate()
            .find(|(_, (used, declared))| used != declared);
        match first {
            Some((number, (used, declared))) => Difference::Batch {
                number,
                used: *used,
                declared: *declared,
                instead: self.declared.table.when(self.process.rank, *used),
            },
            None => Difference::Batches {
                used: self.step.batches.len(),
                declared: row.batches.len(),
            },
        }
    }
}

/// Whether two numbers are further apart than `share` of the greater; NaN is equal to NaN.
fn apart(used: f64, declared: f64, share: f64) -> bool {
    let both = used.is_finite() && declared.is_finite();
    both && (used - declared).abs() > share * used.abs().max(declared.abs()).max(1e-6)
}

fn hypers(group: usize, wanted: &Group, used: &BTreeMap<String, Number>, told: &mut Told) {
    for (name, declared) in &wanted.hyper {
        let found = used.get(name).map(|number| number.0);
        let same =
            found.is_some_and(|it| (it - declared).abs() <= 1e-9 * it.abs().max(declared.abs()));
        if !same {
            told.differences.push(Difference::Hyper {
                group,
                name: name.clone(),
                used: found,
                declared: Some(*declared),
            });
        }
    }
}

#[cfg(test)]
mod tests;
