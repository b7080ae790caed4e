//! What happens between two steps, judged as it comes: gradients on their way, losses, counts of passes, modes, random numbers.
//!
//! The arithmetic and the habits are `training::passes`'; here is what belongs to the run: which process and optimizer told it, and
//! that a break is told once, with its first step. All of it is claimed by the process itself.

mod words;

use std::collections::{BTreeMap, HashMap};

use domain::{Finding, GradientCall, LossEnd, Passes, Rule, StepRecord};
use training::ElementKind;
use training::passes::gradients::{self, Difference, Place, Verdict};
use training::passes::habit::{Constant, Counts, Draws, Ends, Gradients, Heard, Reuse};

use super::event::Connection;
use super::once::About;
use super::recorder::Recorder;

/// Optimizers, and processes, whose habits are remembered.
const KNOWN_MAX: usize = 1_000;
/// Starts of backward passes of one step that are compared, and letters of a name.
const ENDS_MAX: usize = 16;
const NAME_MAX: usize = 120;
/// Limits of clipping in one step that are compared.
const LIMITS_MAX: usize = 8;

/// One optimizer of one process.
type Whose = (Connection, u32);

/// What is remembered of all.
#[derive(Default)]
pub(super) struct Habits {
    known: HashMap<Whose, Habit>,
}

/// What one optimizer does at each step.
#[derive(Default)]
struct Habit {
    gradients: Gradients,
    limits: Constant<Vec<u64>>,
    counts: Counts,
    ends: Ends,
    last_ends: Vec<LossEnd>,
    training: Constant<bool>,
    autocast: Constant<Option<String>>,
    drawing: Constant<bool>,
    draws: Draws,
    reuse: Reuse,
    /// Steps in a row with other counts of passes than usual.
    unusual: u32,
    /// Place and type of each parameter that has a name, by name.
    kinds: BTreeMap<String, (u32, String)>,
}

/// A break, or why something is not judged.
enum Answer {
    Found(About, Finding),
    Gap(&'static str, &'static str),
}

impl Recorder<'_> {
    /// A step was told: what came before it is judged at once.
    pub(super) fn heard_passes(&mut self, connection: Connection, step: &StepRecord) {
        let Some(passes) = &step.passes else { return };
        let whose = (connection, step.optimizer);
        let new = !self.habits.known.contains_key(&whose);
        if new && self.habits.known.len() >= KNOWN_MAX {
            let why = "there are more optimizers than are remembered";
            return self.gap_once(connection, "what happens between some steps", why);
        }
        let (verdict, malformed) = self.way_of_gradients(whose, step, passes);
        if malformed {
            let why = "what was sampled cannot be read";
            self.gap_once(connection, "gradients on their way to some steps", why);
        }
        let names = |index| self.rechecks.name(whose, index);
        let mut answers = Vec::new();
        if let Some(verdict) = &verdict {
            called(step, verdict, &names, &mut answers);
        }
        let mut habit = self.habits.known.remove(&whose).unwrap_or_default();
        habit.hear(step, passes, verdict.as_ref(), &names, &mut answers);
        self.habits.known.insert(whose, habit);
        for answer in answers {
            match answer {
                Answer::Gap(what, why) => self.gap_once(connection, what, why),
                Answer::Found(about, finding) => {
                    self.tell_once(connection, about, step, |_, rank| {
                        Some(Finding { rank, ..finding })
                    });
                }
            }
        }
    }

    /// What became of the gradients, where they were read; and whether what was told cannot be.
    fn way_of_gradients(
        &self,
        whose: Whose,
        step: &StepRecord,
        passes: &Passes,
    ) -> (Option<Verdict>, bool) {
        let Some(path) = passes
            .gradients
            .as_ref()
            .filter(|path| !path.unread && !path.more)
        else {
            return (None, false);
        };
        let Some((values, kinds)) = self.rechecks.values(whose, step) else {
            return (None, false);
        };
        let kind = |index| kinds.get(&index).copied();
        match gradients::judge(&values, path, kind) {
            Ok(verdict) => (Some(verdict), false),
            Err(_) => (None, true),
        }
    }
}

fn found((rule, cause, optimizer): (Rule, &'static str, u32), finding: Finding) -> Answer {
    Answer::Found(
        About {
            rule,
            cause,
            optimizer,
        },
        finding,
    )
}

/// What torch's own calls did otherwise than torch does.
fn called(
    step: &StepRecord,
    verdict: &Verdict,
    names: &dyn Fn(u32) -> String,
    answers: &mut Vec<Answer>,
) {
    for difference in &verdict.differences {
        let (rule, cause) = match difference.place {
            Place::Between | Place::Hooks => continue,
            Place::Unscaling => (Rule::GradientChanged, "unscaling"),
            Place::Clipping { .. } => (Rule::ClippingDiffers, "norm"),
            Place::Clamping => (Rule::ClippingDiffers, "value"),
        };
        answers.push(found(
            (rule, cause, step.optimizer),
            words::gradient(rule, step.step, step, verdict, difference, names),
        ));
    }
    if verdict.unjudged > 0 {
        let why =
            "NaN, an infinity or a gradient that is not read: nothing follows from such a position";
        answers.push(Answer::Gap("gradients on their way to some steps", why));
    }
    if verdict.call_unjudged {
        let why = "its norm is no finite number, or which parameters it was given is not known";
        answers.push(Answer::Gap("a clipping of gradients", why));
    }
}

impl Habit {
    fn hear(
        &mut self,
        step: &StepRecord,
        passes: &Passes,
        verdict: Option<&Verdict>,
        names: &dyn Fn(u32) -> String,
        answers: &mut Vec<Answer>,
    ) {
        let counts = (passes.forwards, passes.backwards);
        let usual = self.counts.usual(counts);
        if let Some(verdict) = verdict.filter(|verdict| verdict.tensors > 0) {
            answers.extend(self.gradients(step, passes, verdict, usual, names));
        }
        answers.extend(self.limits(step, passes));
        answers.extend(self.counts(step, passes, counts));
        self.unusual = if usual {
            0
        } else {
            self.unusual.saturating_add(1)
        };
        if self.unusual >= 2 {
            // Another accumulation: what a loss is divided by follows it.
            self.ends.reset();
        }
        if usual && passes.backwards > 0 {
            answers.extend(self.ends(step, passes));
        }
        answers.extend(self.reuse(step, passes));
        self.modes(step, passes, answers);
        answers.extend(self.precision(step));
    }

    fn gradients(
        &mut self,
        step: &StepRecord,
        passes: &Passes,
        verdict: &Verdict,
        usual: bool,
        names: &dyn Fn(u32) -> String,
    ) -> Option<Answer> {
        let between = |difference: &&Difference| difference.place.is_the_programs();
        let difference = verdict.differences.iter().find(between);
        let all = difference.is_some_and(|it| it.tensors.len() == verdict.tensors);
        let mut clipped = passes.gradients.iter().flat_map(|path| &path.calls);
        let norm = clipped
            .find_map(|call| match call {
                GradientCall::Clipped { norm, .. } => Some(norm.0),
                _ => None,
            })
            .or_else(|| step.gradient_norm.map(|norm| norm.0));
        match self.gradients.hear(step.step, difference, all, norm, usual) {
            Heard::Nothing => None,
            Heard::Gap(why) => Some(Answer::Gap("gradients between backward pass and step", why)),
            Heard::Broken { first } => {
                let finding = difference.map_or_else(
                    || words::factor_gone(first, step),
                    |it| words::gradient(Rule::GradientChanged, first, step, verdict, it, names),
                );
                Some(found(
                    (Rule::GradientChanged, "between", step.optimizer),
                    finding,
                ))
            }
        }
    }

    /// The settings of clipping.
    fn limits(&mut self, step: &StepRecord, passes: &Passes) -> Option<Answer> {
        let path = passes.gradients.as_ref().filter(|path| !path.more)?;
        let limits: Vec<u64> = path
            .calls
            .iter()
            .filter_map(|call| match call {
                GradientCall::Clipped { max_norm, .. } => Some(max_norm.0.to_bits()),
                GradientCall::Clamped { limit, .. } => Some(limit.0.to_bits()),
                _ => None,
            })
            .take(LIMITS_MAX)
            .collect();
        // One step without it may have been left out on purpose.
        let needed = if limits.is_empty() { 2 } else { 1 };
        let (habit, first) = self
            .limits
            .hear(step.step, &limits, needed, PartialEq::eq)?;
        if habit.is_empty() || !limits.is_empty() && limits.len() != habit.len() {
            self.limits.reset();
            return None;
        }
        let about = (Rule::ClippingDiffers, "setting", step.optimizer);
        Some(found(about, words::limits(first, step, &habit, &limits)))
    }

    fn counts(&mut self, step: &StepRecord, passes: &Passes, counts: (u32, u32)) -> Option<Answer> {
        if passes.forwards == 0 || passes.evaluating > 0 {
            return None;
        }
        let habit = self.counts.habit();
        match (self.counts.hear(step.step, counts), habit) {
            (Heard::Broken { first }, Some(habit)) => Some(found(
                (Rule::PassesMiscounted, "counts", step.optimizer),
                words::counts(first, step, habit, counts),
            )),
            _ => None,
        }
    }

    fn ends(&mut self, step: &StepRecord, passes: &Passes) -> Option<Answer> {
        if passes.ends_unknown {
            let why = "a backward pass starts from a sum, from several numbers or from what torch does not tell the factors of";
            return Some(Answer::Gap("what some losses are multiplied with", why));
        }
        if !passes.ends.is_empty() {
            self.last_ends = passes.ends.iter().take(ENDS_MAX).cloned().collect();
            for end in &mut self.last_ends {
                end.base = end.base.chars().take(NAME_MAX).collect();
            }
        }
        let (habit, times, first) = self.ends.hear(step.step, &self.last_ends)?;
        if !self.gradients.untouched() {
            let why = "the program changes its gradients itself, and may take out there what it put in here";
            return Some(Answer::Gap("what some losses are multiplied with", why));
        }
        let about = (Rule::LossAltered, "factor", step.optimizer);
        Some(found(
            about,
            words::loss(first, step, &habit, &self.last_ends, times),
        ))
    }

    fn reuse(&mut self, step: &StepRecord, passes: &Passes) -> Option<Answer> {
        let state = passes
            .random
            .filter(|_| passes.forwards > 0 && !passes.still)?;
        match self.reuse.hear(step.step, &state) {
            Heard::Nothing => None,
            Heard::Gap(why) => Some(Answer::Gap("random numbers of some steps", why)),
            Heard::Broken { first } => Some(found(
                (Rule::RandomNumbersReused, "state", step.optimizer),
                words::reused(first, step),
            )),
        }
    }

    fn modes(&mut self, step: &StepRecord, passes: &Passes, answers: &mut Vec<Answer>) {
        let number = step.step;
        let mode = |cause| (Rule::ModeChanged, cause, step.optimizer);
        if passes.backwards > 0 && passes.forwards + passes.evaluating > 0 {
            let training = passes.forwards > 0;
            match self.training.hear(number, &training, 2, PartialEq::eq) {
                Some((true, first)) => {
                    answers.push(found(mode("training"), words::evaluating(first, step)));
                }
                Some(_) => self.training.reset(),
                None => {}
            }
        }
        if passes.forwards == 0 {
            return;
        }
        let autocast = passes
            .autocast
            .as_ref()
            .map(|it| it.chars().take(NAME_MAX).collect());
        if let Some((habit, first)) = self.autocast.hear(number, &autocast, 2, PartialEq::eq) {
            let finding = words::autocast(first, step, habit.as_deref(), autocast.as_deref());
            answers.push(found(mode("autocast"), finding));
        }
        if passes.random.is_some() {
            match self.drawing.hear(number, &!passes.still, 2, PartialEq::eq) {
                Some((true, first)) => {
                    answers.push(found(mode("drawing"), words::still(first, step)));
                }
                Some(_) => self.drawing.reset(),
                None => {}
            }
        }
        if let Some((bytes, drawn)) = passes.drawn.filter(|_| !passes.still)
            && let Some((usual, first)) = self.draws.hear(number, bytes, drawn)
        {
            let finding = words::fewer_draws(first, step, usual, drawn);
            answers.push(found(mode("draws"), finding));
        }
    }

    /// Parameters that are of a narrower type than they were.
    fn precision(&mut self, step: &StepRecord) -> Option<Answer> {
        let sample = step.sample.as_ref()?;
        let mut narrower = None;
        for tensor in sample
            .tensors
            .iter()
            .filter(|tensor| !tensor.name.is_empty())
        {
            let size = |kind: &str| ElementKind::from_torch_name(kind).map(ElementKind::size);
            let name: String = tensor.name.chars().take(NAME_MAX).collect();
            let before = self
                .kinds
                .get(&name)
                .filter(|(index, _)| *index == tensor.index);
            if let Some((_, before)) = before
                && size(&tensor.kind) < size(before)
                && !sample.loaded
            {
                narrower.get_or_insert((name.clone(), before.clone(), tensor.kind.clone()));
            }
            if self.kinds.contains_key(&name) || self.kinds.len() < 20_000 {
                let kind = tensor.kind.chars().take(NAME_MAX).collect();
                self.kinds.insert(name, (tensor.index, kind));
            }
        }
        let (name, before, now) = narrower?;
        let about = (Rule::ModeChanged, "precision", step.optimizer);
        Some(found(about, words::narrower(step, &name, &before, &now)))
    }
}
