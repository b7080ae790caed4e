//! Each step's sampled values, judged as they come: the update against its rule, and the weights against the step before.
//!
//! The arithmetic is `training::recheck`'s; here is what it needs from the run: which optimizer told what last, and which cause was
//! told already, so that a sabotage of ten thousand steps is one finding with its first step. All of it is claimed by the
//! process itself; `docs/steps.md` says what that is worth.

mod declared;
pub(super) mod outside;
mod words;

use std::collections::{BTreeMap, HashMap};

use domain::{Finding, Number, Rule, Sample, Sampled, StepRecord};
use training::ElementKind;
use training::recheck::between::{self, Between};
use training::recheck::bounds::Arithmetic;
use training::recheck::habit::{self, Answer, Broken, Habit, Move};
use training::recheck::judge::{Cause, Tensor, Verdict, judge};
use training::recheck::learn::{self, Trial};
use training::recheck::update::{self, Class, Hyper, STATE_MAX};
use training::recheck::wire::{self, COLUMNS_MAX};

use super::event::Connection;
use super::once::About;
use super::recorder::Recorder;

/// Parameters of one optimizer that are remembered.
const TENSORS_MAX: usize = 20_000;
/// Optimizers of a run that are.
const OPTIMIZERS_MAX: usize = 1_000;
/// Groups of one optimizer that are remembered, and letters of a name.
const GROUPS_MAX: usize = 10_000;
const NAME_MAX: usize = 120;

/// One optimizer of one process.
type Whose = (Connection, u32);

/// All that is known of the optimizers of a run.
#[derive(Default)]
pub(super) struct Rechecks {
    known: HashMap<Whose, Known>,
}

impl Rechecks {
    /// What the model calls parameter `index`, where that was told.
    pub(super) fn name_of(
        &self,
        connection: Connection,
        optimizer: u32,
        index: u32,
    ) -> Option<String> {
        let known = self.known.get(&(connection, optimizer))?;
        let name = &known.tensors.get(&index)?.name;
        (!name.is_empty()).then(|| name.clone())
    }
}

/// What one optimizer told of itself.
#[derive(Default)]
struct Known {
    class: String,
    /// Which class of torch's it resembles, where it is none, and what was learnt of the rule of each group.
    like: Option<String>,
    trials: Vec<Trial>,
    groups: Vec<BTreeMap<String, Number>>,
    tensors: BTreeMap<u32, Sampled>,
    /// Steps that described some of them.
    described: u64,
    steady: declared::Steady,
    /// What the groups do whose rule is not known, or says little of the weights.
    habits: BTreeMap<u32, Habit>,
}

/// What came of one step.
struct Judged {
    verdict: Verdict,
    between: Between,
}

impl Known {
    /// Takes in what is new; `false` if it is more than is remembered.
    fn learn(&mut self, sample: &Sample) -> bool {
        if let Some(described) = &sample.optimizer {
            self.class = described.class.chars().take(NAME_MAX).collect();
            self.groups.clone_from(&described.groups);
            self.groups.truncate(GROUPS_MAX);
            self.habits.clear();
            if self.like != described.like || self.trials.len() != self.groups.len() {
                self.like.clone_from(&described.like);
                let trial = |like: &String| vec![Trial::new(like); self.groups.len()];
                self.trials = self.like.as_ref().map(trial).unwrap_or_default();
            }
        }
        self.described += u64::from(!sample.tensors.is_empty());
        for tensor in &sample.tensors {
            let new = !self.tensors.contains_key(&tensor.index);
            let odd = tensor.state.len() > COLUMNS_MAX || tensor.shape.len() > 64;
            if odd || new && self.tensors.len() >= TENSORS_MAX {
                return false;
            }
            let mut tensor = tensor.clone();
            tensor.name = tensor.name.chars().take(NAME_MAX).collect();
            self.tensors.insert(tensor.index, tensor);
        }
        true
    }

    /// The rule that each group is held to: its class's, or the one that it has learnt.
    fn rules(&self) -> Vec<Option<&str>> {
        if self.like.is_none() {
            return vec![Some(self.class.as_str()); self.groups.len()];
        }
        self.trials.iter().map(Trial::rule).collect()
    }

    /// The hyperparameters of each group at a step with these rates, by these rules; `None` for what is not modelled or not told.
    fn hypers(&self, rates: &[Number], rules: &[Option<&str>]) -> Vec<Option<Hyper>> {
        if rates.len() != self.groups.len() {
            return Vec::new();
        }
        let hyper =
            |((group, rate), rule): ((&BTreeMap<String, Number>, &Number), Option<&str>)| {
                let rule = rule?;
                if self.like.is_none() {
                    return Hyper::new(rule, rate.0, group)?.ok();
                }
                // What a class of another's does not name it does not do; whether that is so is what is tried.
                let mut values = group.clone();
                for name in ["weight_decay", "momentum", "dampening", "lr_decay"] {
                    values.entry(name.to_owned()).or_insert(Number(0.0));
                }
                Hyper::new(rule, rate.0, &values)?.ok()
            };
        self.groups
            .iter()
            .zip(rates)
            .zip(rules.iter().copied())
            .map(hyper)
            .collect()
    }

    /// Tries the rules of an optimizer that is not torch's; whether some group now has one, and whether some group follows none.
    fn try_rules(&mut self, values: &wire::Values, rates: &[Number]) -> (bool, bool) {
        let mut trials = std::mem::take(&mut self.trials);
        for (group, trial) in (0u32..).zip(&mut trials) {
            trial.step(|rule| {
                let rules = vec![Some(rule); self.groups.len()];
                let hypers = self.hypers(rates, &rules);
                judge(values, |index| {
                    let its = self.tensors.get(&index)?.group;
                    (its == group).then(|| self.tensor(index, &hypers))?
                })
            });
        }
        let known = trials.iter().any(|it| it.rule().is_some());
        let lost = trials.iter().any(Trial::is_lost);
        self.trials = trials;
        (known, lost)
    }

    /// The rule that a group is held to.
    fn class_of(&self, group: u32) -> Option<Class> {
        let rules = self.rules();
        Class::from_name((*rules.get(usize::try_from(group).ok()?)?)?)
    }

    /// What the words about a step need.
    fn told<'a>(
        &'a self,
        step: &'a StepRecord,
        rates: &'a [Number],
        rank: Option<u32>,
    ) -> words::Told<'a> {
        words::Told {
            class: &self.class,
            rules: self.rules(),
            groups: &self.groups,
            tensors: &self.tensors,
            rates,
            step,
            rank,
        }
    }

    /// Whether a group is held to what it did before.
    fn is_by_habit(&self, group: u32) -> bool {
        if self.like.is_none() {
            return self.class == "Muon";
        }
        let trial = usize::try_from(group)
            .ok()
            .and_then(|it| self.trials.get(it));
        trial.is_some_and(Trial::is_lost)
    }

    /// What the steps of groups without a rule say.
    fn by_habit(&mut self, values: &wire::Values, rates: &[Number]) -> Vec<(u32, Answer)> {
        let mut moves: BTreeMap<u32, Vec<Move>> = BTreeMap::new();
        for block in &values.blocks {
            let (Some(told), Some(kind)) = (self.tensors.get(&block.index), self.kind(block.index))
            else {
                continue;
            };
            let rate = usize::try_from(told.group)
                .ok()
                .and_then(|it| rates.get(it));
            let (Some(rate), Some(gradients)) = (rate, &block.gradients) else {
                continue;
            };
            if rate.0 <= 0.0 || !self.is_by_habit(told.group) {
                continue;
            }
            let Some(ulp) = Arithmetic::of(kind).map(|it| it.ulp) else {
                continue;
            };
            let moves = moves.entry(told.group).or_default();
            moves.extend((0..block.positions.len()).filter_map(|slot| {
                let before = wire::value(kind, &block.weights, slot)?;
                let behind = wire::value(kind, &block.weights_behind, slot)?;
                Some(Move {
                    index: block.index,
                    change: (behind - before) / rate.0,
                    spacing: before.abs().max(behind.abs()) * ulp / rate.0,
                    gradient: wire::value(kind, gradients, slot)?,
                })
            }));
        }
        let step = |(group, moves): (u32, Vec<Move>)| {
            let habit = self.habits.entry(group).or_default();
            (group, habit.step(&moves))
        };
        moves.into_iter().map(step).collect()
    }

    fn kind(&self, index: u32) -> Option<ElementKind> {
        ElementKind::from_torch_name(&self.tensors.get(&index)?.kind)
    }

    /// What the judgement needs of one parameter.
    fn tensor(&self, index: u32, hypers: &[Option<Hyper>]) -> Option<Tensor> {
        let told = self.tensors.get(&index)?;
        let group = usize::try_from(told.group).ok()?;
        let mut hyper = (*hypers.get(group)?)?;
        if hyper.class == Class::Muon {
            hyper.reach = update::reach(&told.shape, self.groups.get(group)?);
        }
        let kind = self.kind(index)?;
        let mut arithmetic = Arithmetic::of(kind)?;
        if let Some(digits) = self.groups.get(group)?.get("lr_digits") {
            let digits = [8, 11, 24, 53]
                .into_iter()
                .find(|it| f64::from(*it).to_bits() == digits.0.to_bits())?;
            arithmetic = arithmetic.with_scalars(digits);
        }
        let mut columns = [None; STATE_MAX];
        for (column, name) in columns.iter_mut().zip(hyper.class.state()) {
            *column = told.state.iter().position(|it| it == name);
        }
        Some(Tensor {
            kind,
            arithmetic,
            hyper,
            columns,
        })
    }

    fn values(&self, sample: &Sample) -> Result<wire::Values, wire::Malformed> {
        wire::read(&sample.values, |index| {
            let told = self.tensors.get(&index)?;
            Some((self.kind(index)?.size(), told.state.len()))
        })
    }

    fn judge(&self, values: &wire::Values, rates: &[Number]) -> Judged {
        let hypers = self.hypers(rates, &self.rules());
        Judged {
            verdict: judge(values, |index| self.tensor(index, &hypers)),
            between: between::compare(values, |index| self.kind(index)),
        }
    }
}

impl Rechecks {
    /// What a step's sample holds, as far as its optimizer is known, with the types of its parameters.
    pub(super) fn values(
        &self,
        whose: Whose,
        step: &StepRecord,
    ) -> Option<(wire::Values, BTreeMap<u32, ElementKind>)> {
        let known = self.known.get(&whose)?;
        let values = known.values(step.sample.as_ref()?).ok()?;
        let kind = |index: u32| Some((index, known.kind(index)?));
        let kinds = values
            .blocks
            .iter()
            .filter_map(|block| kind(block.index))
            .collect();
        Some((values, kinds))
    }

    /// What the model calls a parameter.
    pub(super) fn name(&self, whose: Whose, index: u32) -> String {
        let told = self
            .known
            .get(&whose)
            .and_then(|known| known.tensors.get(&index));
        told.map(|tensor| tensor.name.clone())
            .filter(|name| !name.is_empty())
            .unwrap_or_else(|| format!("parameter {index}"))
    }
}

impl Recorder<'_> {
    /// A step was told: its sample is judged at once.
    pub(super) fn heard_sample(&mut self, connection: Connection, step: &StepRecord) {
        let whose = (connection, step.optimizer);
        self.outside.told(connection);
        let Some(sample) = &step.sample else {
            return self.outside.forget(whose);
        };
        if !self.rechecks.known.contains_key(&whose) && self.rechecks.known.len() >= OPTIMIZERS_MAX
        {
            return self.not_rechecked(connection, "there are more optimizers than are remembered");
        }
        self.heard_hyperparameters(whose, step, sample);
        let known = self.rechecks.known.entry(whose).or_default();
        if !known.learn(sample) {
            return self.not_rechecked(
                connection,
                "an optimizer has more parameters than are remembered",
            );
        }
        let rates = sample.rates.as_ref().unwrap_or(&step.learning_rates);
        let Ok(values) = known.values(sample) else {
            return self.not_rechecked(connection, "what was sampled cannot be read");
        };
        self.heard_habits(whose, step, sample, &values);
        let Some(known) = self.rechecks.known.get_mut(&whose) else {
            return;
        };
        let own = known.like.is_none();
        if !own {
            let (is_known, lost) = known.try_rules(&values, rates);
            let what = format!("updates by {}", known.class);
            let why = if lost {
                "a group of its parameters follows no rule that is known: only how far and which way its steps go is held against those before"
            } else {
                "it is not torch's own: which rule it follows is learnt from its steps, and it is held to that from then on"
            };
            if known.like.as_deref() != Some("Other") {
                self.gap_once(connection, &what, why);
            }
            if !is_known {
                return;
            }
        }
        let Some(known) = self.rechecks.known.get(&whose) else {
            return;
        };
        let judged = known.judge(&values, rates);
        if own && judged.verdict.unjudged > 0 {
            let why = "NaN, an infinity, or what the rule needs was not told: nothing follows from such a position";
            self.not_rechecked(connection, why);
        }
        self.found_in_step(whose, step, sample, &judged);
        if judged.between.is_empty() && judged.verdict.cause.is_none() {
            self.look_from_outside(whose, step, sample, &values);
        } else {
            self.outside.forget(whose);
        }
    }

    /// Steps of groups without a rule, against those before.
    fn heard_habits(
        &mut self,
        whose: Whose,
        step: &StepRecord,
        sample: &Sample,
        values: &wire::Values,
    ) {
        let Some(known) = self.rechecks.known.get_mut(&whose) else {
            return;
        };
        if sample.loaded {
            known.habits.clear();
        }
        // What a closure saw last is not what the step was made of.
        if sample.closure {
            return;
        }
        let rates = sample.rates.as_ref().unwrap_or(&step.learning_rates);
        let class = known.class.clone();
        for (group, answer) in known.by_habit(values, rates) {
            let broken = match answer {
                Answer::Usual => continue,
                Answer::Broken(Broken::Size(_)) if !habit::has_length(&class) => continue,
                Answer::TooFine => {
                    let what = format!("how far steps by {class} go");
                    let why = "some change the weights by no more than their type rounds away, and say nothing";
                    self.gap_once(whose.0, &what, why);
                    continue;
                }
                Answer::Broken(broken) => broken,
            };
            let about = About {
                rule: Rule::UpdateDiffers,
                cause: words::name_of(broken),
                optimizer: whose.1,
            };
            self.tell_once(whose.0, about, step, |recorder, rank| {
                let known = recorder.rechecks.known.get(&whose)?;
                let told = known.told(step, rates, rank);
                Some(words::habit(&told, group, broken))
            });
        }
    }

    /// What the optimizer was made with is what it goes on with.
    fn heard_hyperparameters(&mut self, whose: Whose, step: &StepRecord, sample: &Sample) {
        let known = self.rechecks.known.entry(whose).or_default();
        let described = sample.optimizer.as_ref();
        let Known {
            class,
            groups,
            steady,
            ..
        } = known;
        let changed = steady.step(groups, class, described, sample.loaded);
        if changed.is_empty() {
            return;
        }
        let finding = declared::changed(step, class, &changed);
        let about = About {
            rule: finding.rule,
            cause: "changed",
            optimizer: whose.1,
        };
        self.tell_once(whose.0, about, step, |_, rank| {
            Some(Finding { rank, ..finding })
        });
    }

    /// The groups have the rates that their schedule set.
    pub(super) fn heard_schedule(&mut self, connection: Connection, step: &StepRecord) {
        let Some(scheduled) = &step.scheduled else {
            return;
        };
        let loaded = step.sample.as_ref().is_some_and(|sample| sample.loaded);
        let Some(finding) = declared::unscheduled(step, scheduled, loaded) else {
            return self.gap_once(
                connection,
                "learning rates against the schedule",
                "the program sets others itself, or loaded a state: its schedule does not bind it",
            );
        };
        let about = About {
            rule: finding.rule,
            cause: "schedule",
            optimizer: step.optimizer,
        };
        self.tell_once(connection, about, step, |_, rank| {
            Some(Finding { rank, ..finding })
        });
    }

    fn found_in_step(&mut self, whose: Whose, step: &StepRecord, sample: &Sample, judged: &Judged) {
        if !judged.between.is_empty() {
            if sample.loaded {
                self.not_rechecked(
                    whose.0,
                    "weights or state changed between two steps, and a state was loaded there",
                );
            } else if judged.between.clipped_to.is_some() {
                self.not_rechecked(
                    whose.0,
                    "weights were clipped to plus and minus one number between two steps",
                );
            } else {
                let about = About {
                    rule: Rule::WeightsChangedBetweenSteps,
                    cause: "between",
                    optimizer: whose.1,
                };
                self.tell(whose, about, step, sample, |told| {
                    words::between(told, &judged.between)
                });
            }
        }
        if let Some(cause) = judged.verdict.cause {
            let learnt = self
                .rechecks
                .known
                .get(&whose)
                .is_some_and(|it| it.like.is_some());
            if learnt && may_clip(cause) {
                let why = "an optimizer that is not torch's own used smaller gradients than it was given: it may clip them itself";
                return self.not_rechecked(whose.0, why);
            }
            let about = About {
                rule: Rule::UpdateDiffers,
                cause: cause.name(),
                optimizer: whose.1,
            };
            self.tell(whose, about, step, sample, |told| {
                words::update(told, &judged.verdict, cause)
            });
        }
    }

    fn tell(
        &mut self,
        whose: Whose,
        about: About,
        step: &StepRecord,
        sample: &Sample,
        words: impl FnOnce(&words::Told<'_>) -> Finding,
    ) {
        self.tell_once(whose.0, about, step, |recorder, rank| {
            let known = recorder.rechecks.known.get(&whose)?;
            let rates = sample.rates.as_ref().unwrap_or(&step.learning_rates);
            let mut finding = words(&known.told(step, rates, rank));
            if known.like.is_some() {
                let learnt = format!(
                    "{} is not torch's own; its rule was learnt: it fitted {} steps before",
                    known.class,
                    learn::STEPS
                );
                finding.details.push(learnt);
                let innocent = "an optimizer of the program's own may follow another rule from some step on; then its code says so";
                finding.innocent.push(innocent.to_owned());
            }
            Some(finding)
        });
    }

    /// Says once for each process that something was not rechecked.
    fn not_rechecked(&mut self, connection: Connection, why: &str) {
        self.gap_once(connection, "recheck of some updates", why);
    }
}

/// Whether an optimizer that clips gradients inside its step would do this.
fn may_clip(cause: Cause) -> bool {
    match cause {
        Cause::Gradient(times) => times > 0.0 && times < 1.0,
        Cause::GradientWritten => true,
        _ => false,
    }
}
