//! A step that is not as it must be, in words: what, by how much, where, and what innocent thing would look the same.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use domain::{Finding, Grade, Number, Rule, Sampled, StepRecord};
use training::recheck::between::{Between, Changed};
use training::recheck::habit::Broken;
use training::recheck::judge::{Cause, Column, Verdict, Wrong};
use training::recheck::update::Class;

/// Parameters that are named one by one.
const NAMED_MAX: usize = 5;

/// What was told about the step.
pub(super) struct Told<'a> {
    pub(super) class: &'a str,
    /// For each group the rule that it is held to.
    pub(super) rules: Vec<Option<&'a str>>,
    pub(super) groups: &'a [BTreeMap<String, Number>],
    pub(super) tensors: &'a BTreeMap<u32, Sampled>,
    pub(super) rates: &'a [Number],
    pub(super) step: &'a StepRecord,
    pub(super) rank: Option<u32>,
}

/// An update that differs.
pub(super) fn update(told: &Told<'_>, verdict: &Verdict, cause: Cause) -> Finding {
    // A step that did not count itself is told by the number that it should have had.
    let uncounted = verdict
        .wrong
        .iter()
        .filter(|wrong| wrong.column == Column::Steps);
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a count of steps, made from an integer"
    )]
    let number = uncounted
        .map(|wrong| wrong.expected.middle() as u64)
        .fold(told.step.step, u64::max);
    let what = format!(
        "step {number}: {}, in {} of {} sampled tensors",
        of_cause(told, verdict, cause),
        verdict.wrong.len(),
        verdict.tensors
    );
    let mut details: Vec<String> = groups_of(told, verdict).collect();
    details.extend(
        verdict
            .wrong
            .iter()
            .take(NAMED_MAX)
            .map(|wrong| told.wrong(wrong)),
    );
    details.push(more(verdict.wrong.len()));
    details.push(format!(
        "{} positions were sampled; in {} the expected change is known to a tenth or better",
        verdict.positions, verdict.decisive
    ));
    let mut innocent = vec![
        "a torch of another version or build, whose rule is another: then every run with it shows this from its first step"
            .to_owned(),
        "a failing processor or memory: then the same step comes out right elsewhere".to_owned(),
        "a program that replaces torch's functions on purpose: the finding function-replaced would name where".to_owned(),
    ];
    if matches!(cause, Cause::Other(_) | Cause::WithoutGradient) {
        innocent.push(
            "another thread of the program that writes the weights while the step runs".to_owned(),
        );
    }
    Finding {
        step: Some(number),
        ..told.finding(Rule::UpdateDiffers, what, details, innocent)
    }
}

/// Something that changed between two steps.
pub(super) fn between(told: &Told<'_>, between: &Between) -> Finding {
    let weights = between
        .changed
        .iter()
        .filter(|it| it.column.is_none())
        .count();
    let state = between.changed.len() - weights;
    let mut parts = Vec::new();
    if weights > 0 {
        parts.push(format!("weights changed at {weights} sampled positions"));
    }
    if state > 0 {
        parts.push(format!("optimizer state changed at {state}"));
    }
    if !between.gone.is_empty() {
        parts.push(format!(
            "the optimizer's state is gone in {} sampled tensors",
            between.gone.len()
        ));
    }
    let what = format!(
        "between the step before and step {}: {}",
        told.step.step,
        parts.join(", ")
    );
    let mut changed: Vec<_> = between.changed.iter().collect();
    changed.sort_by(|left, right| {
        (right.to - right.from)
            .abs()
            .total_cmp(&(left.to - left.from).abs())
    });
    let mut details: Vec<_> = changed
        .iter()
        .take(NAMED_MAX)
        .map(|it| told.changed(it))
        .collect();
    details.push(more(changed.len()));
    details.push("no state was loaded in between, as far as the sensor sees".to_owned());
    let innocent = vec![
        "the program changes its weights itself: it averages or renormalizes them, or starts its optimizer anew; then its code says so"
            .to_owned(),
        "a failing memory: then single bits differ".to_owned(),
    ];
    told.finding(Rule::WeightsChangedBetweenSteps, what, details, innocent)
}

/// Its kind, without its numbers.
pub(super) fn name_of(broken: Broken) -> &'static str {
    match broken {
        Broken::Still => "habit-still",
        Broken::Size(_) => "habit-size",
        Broken::Turned => "habit-turned",
    }
}

/// Steps of a group whose rule is not known, that are not as they were.
pub(super) fn habit(told: &Told<'_>, group: u32, broken: Broken) -> Finding {
    let what = match broken {
        Broken::Still => "do not move any more, though there are gradients".to_owned(),
        Broken::Size(times) => format!(
            "move by {} × what they did, measured by the learning rate",
            signed(times)
        ),
        Broken::Turned => "move the other way, measured by the gradients".to_owned(),
    };
    let what = format!(
        "by step {}, since a few steps: the weights of group {group} {what}",
        told.step.step
    );
    let details = vec![
        told.group(group),
        "no rule that is known says what its steps must be: they are held against the 64 before, by their own spread"
            .to_owned(),
    ];
    let innocent = vec![
        "an optimizer that changes its way by design (phases, restarts): then its code says so"
            .to_owned(),
        "data or a model of another kind from some step on".to_owned(),
    ];
    told.finding(Rule::UpdateDiffers, what, details, innocent)
}

fn more(count: usize) -> String {
    match count.checked_sub(NAMED_MAX) {
        None | Some(0) => String::new(),
        Some(left) => format!("and {left} more"),
    }
}

fn of_cause(told: &Told<'_>, verdict: &Verdict, cause: Cause) -> String {
    let used = |name: &str, used: f64| {
        let was = verdict
            .wrong
            .first()
            .and_then(|wrong| told.number(wrong.index, name));
        let was = was.map_or_else(|| "another".to_owned(), |it| short(it.0));
        format!(
            "the change is that of {name}={}, told was {was}",
            short((used * 1e6).round() / 1e6)
        )
    };
    let rule = verdict.wrong.first().and_then(|it| told.rule(it.index));
    match cause {
        Cause::Nothing => {
            "nothing changed: 0 × the expected change of weights and state".to_owned()
        }
        Cause::Still => "the weights did not move: 0 × the expected change".to_owned(),
        Cause::Change(times) => format!("the change is {} × the expected one", signed(times)),
        Cause::Gradient(times) => format!("the change is that of {} × the gradient", signed(times)),
        Cause::GradientWritten => {
            "the gradient was changed inside the step, and the change is that of the other one"
                .to_owned()
        }
        Cause::Reset => "the change is that of a step that forgot its momentum".to_owned(),
        Cause::NoDecay => "the change is that of a step without weight decay".to_owned(),
        Cause::First(value) if matches!(rule, Some(Class::Sgd | Class::Muon)) => {
            used("momentum", value)
        }
        Cause::First(value) => used("beta1", value),
        Cause::Second(value) if rule == Some(Class::RmsProp) => used("alpha", value),
        Cause::Second(value) => used("beta2", value),
        Cause::Count => "the count of steps did not go on by one".to_owned(),
        Cause::WithoutGradient => "weights that have no gradient moved".to_owned(),
        Cause::Other(Some((low, high))) => format!(
            "the weights or the state moved by something that is not the update ({} to {} × the expected change)",
            signed(low),
            signed(high)
        ),
        Cause::Other(None) => {
            "the weights or the state moved by something that is not the update".to_owned()
        }
    }
}

fn groups_of<'a>(told: &'a Told<'_>, verdict: &Verdict) -> impl Iterator<Item = String> + use<'a> {
    let mut groups: Vec<u32> = verdict
        .wrong
        .iter()
        .filter_map(|wrong| Some(told.tensors.get(&wrong.index)?.group))
        .collect();
    groups.sort_unstable();
    groups.dedup();
    groups
        .into_iter()
        .take(NAMED_MAX)
        .map(|group| told.group(group))
}

impl Told<'_> {
    fn finding(
        &self,
        rule: Rule,
        what: String,
        mut details: Vec<String>,
        innocent: Vec<String>,
    ) -> Finding {
        details.retain(|detail| !detail.is_empty());
        Finding {
            rule,
            grade: Grade::Claimed,
            what,
            details,
            path: None,
            step: Some(self.step.step),
            rank: self.rank,
            earlier: None,
            evidence: Vec::new(),
            innocent,
        }
    }

    /// The group as a person would construct it.
    fn group(&self, group: u32) -> String {
        let at = usize::try_from(group).unwrap_or(usize::MAX);
        let mut text = format!(
            "group {group} of optimizer {}: {}(",
            self.step.optimizer, self.class
        );
        let rate = self
            .rates
            .get(at)
            .map_or_else(|| "?".to_owned(), |rate| short(rate.0));
        let _ = write!(text, "lr={rate}");
        for (name, value) in self.groups.get(at).into_iter().flatten().take(12) {
            if name != "lr_digits" {
                let _ = write!(text, ", {name}={}", short(value.0));
            }
        }
        text.push(')');
        text
    }

    fn rule(&self, index: u32) -> Option<Class> {
        let group = usize::try_from(self.tensors.get(&index)?.group).ok()?;
        Class::from_name((*self.rules.get(group)?)?)
    }

    fn number(&self, index: u32, name: &str) -> Option<Number> {
        let group = usize::try_from(self.tensors.get(&index)?.group).ok()?;
        self.groups.get(group)?.get(name).copied()
    }

    fn name(&self, index: u32) -> String {
        match self.tensors.get(&index) {
            Some(tensor) if !tensor.name.is_empty() => tensor.name.clone(),
            Some(tensor) => format!("parameter {index} of shape {:?}", tensor.shape),
            None => format!("parameter {index}"),
        }
    }

    fn wrong(&self, wrong: &Wrong) -> String {
        let column = match wrong.column {
            Column::Weight => String::new(),
            Column::State(column) => {
                let names = self.rule(wrong.index).map_or(&[][..], Class::state);
                format!(" {}", names.get(column).copied().unwrap_or("state"))
            }
            Column::Steps => " step".to_owned(),
        };
        format!(
            "{}[{}]{column}: {} must become {} (± {:.0e}) and is {}",
            self.name(wrong.index),
            wrong.position,
            digits(wrong.before),
            digits(wrong.expected.middle()),
            wrong.expected.radius(),
            digits(wrong.found)
        )
    }

    fn changed(&self, changed: &Changed) -> String {
        let column = changed.column.and_then(|column| {
            let tensor = self.tensors.get(&changed.index)?;
            Some(format!(" {}", tensor.state.get(column)?))
        });
        format!(
            "{}[{}]{}: {} became {}",
            self.name(changed.index),
            changed.position,
            column.unwrap_or_default(),
            digits(changed.from),
            digits(changed.to)
        )
    }
}

/// Two decimals, with a minus that is seen.
fn signed(value: f64) -> String {
    let text = format!("{:.2}", value.abs());
    if value < 0.0 {
        format!("−{text}")
    } else {
        text
    }
}

/// A number as it was probably written.
fn short(value: f64) -> String {
    if value != 0.0 && value.abs() < 1e-3 {
        format!("{value:e}")
    } else {
        format!("{value}")
    }
}

fn digits(value: f64) -> String {
    format!("{value:.7e}")
}
