//! What follows from a replay, and how it is recorded.

use std::collections::{BTreeMap, BTreeSet};

use domain::entry::{Act, Kind};
use domain::replay::{ReplayVerdict, ReplayWay, Replayed};
use domain::{Digest, Finding, Gap, Grade, PathText, Rule, StepRecord};
use ledger::Store;
use report::environment::EnvCheckView;
use report::replay::{BandView, ReplayCost, ReplayEnvironment, ReplayView};
use training::replay::compare::{self, Cause, How, Part};
use training::replay::sampled::{self, Told};

use super::band::Banded;
use super::inputs::path_of;
use super::lineage::Began;
use super::steps::{Recorded, numbers};
use super::{Once, Task, process, words, written};
use crate::error::AppError;
use crate::record::RunRecord;
use crate::{acts, writing};

/// What the sensor calls it where it cannot put a state in.
const PUT_IN: &str = "state of the checkpoint";
/// Names within checkpoints that are named.
const NAMES_MAX: usize = 10;
/// Files of the environment that are named when it is another.
const FILES_NAMED: usize = 20;

/// Where record and replay part.
pub(super) enum Parting {
    /// At a step.
    Step(Box<StepParting>),
    /// A checkpoint has other bytes.
    Written {
        path: PathText,
        step: Option<u64>,
        /// What of it differs.
        names: Vec<String>,
    },
    /// What the run began with is not what belongs there; its steps may well follow from it.
    Origin {
        /// The first step that was made from it.
        step: u64,
        finding: Box<Finding>,
    },
    /// What the checkpoint holds that the segment begins with is not what stood behind the step that it was saved after.
    Checkpoint {
        step: u64,
        rank: u32,
        what: &'static str,
    },
}

pub(super) struct StepParting {
    pub(super) rank: u32,
    pub(super) number: u64,
    pub(super) recorded: StepRecord,
    pub(super) again: StepRecord,
    pub(super) differs: Vec<Part>,
    pub(super) cause: Option<Cause>,
    /// Names of the sampled parameters that differ.
    pub(super) tensors: Vec<String>,
    /// How each of them does, where that is known.
    pub(super) each: Vec<(String, How)>,
}

impl Parting {
    /// The first step in doubt.
    pub(super) fn step(&self) -> Option<u64> {
        match self {
            Self::Step(parting) => Some(parting.number),
            Self::Written { step, .. } => *step,
            Self::Checkpoint { step, .. } | Self::Origin { step, .. } => Some(*step),
        }
    }

    /// Whether another processor could have brought it about.
    fn depends_on_machine(&self) -> bool {
        let Self::Step(parting) = self else {
            return matches!(self, Self::Written { .. });
        };
        !matches!(parting.cause, Some(Cause::Rate { .. } | Cause::Passes))
    }

    fn rank(&self) -> Option<u32> {
        match self {
            Self::Step(parting) => Some(parting.rank),
            Self::Checkpoint { rank, .. } => Some(*rank),
            Self::Written { .. } | Self::Origin { .. } => None,
        }
    }
}

/// What came of it.
pub(super) struct Judged {
    compared: u64,
    /// In how many of them weights were compared.
    weighed: u64,
    /// Wanted records that the replay did not come to.
    missing: u64,
    range: Option<(u64, u64)>,
    parts: BTreeMap<Part, u64>,
    parting: Option<Parting>,
    limits: Vec<Gap>,
    lineage: Vec<String>,
    repeated: Option<&'static str>,
    /// The replay is not the same every time.
    restless: bool,
    /// What rounding alone could have made, where that was learnt.
    band: Option<BandView>,
}

impl Judged {
    /// The last step that a second replay needs, where the first one found something.
    pub(super) fn first_difference(&self) -> Option<u64> {
        self.parting.as_ref().and_then(Parting::step)
    }

    /// The last step that a second replay needs in order to clear it up. What is saved behind a step is saved before the next one.
    pub(super) fn doubt(&self) -> Option<u64> {
        let parting = self.parting.as_ref().filter(|_| !self.restless)?;
        if matches!(parting, Parting::Origin { .. }) {
            return None; // nothing of it was computed
        }
        let behind = u64::from(matches!(parting, Parting::Written { .. }));
        Some(parting.step()? + behind)
    }

    /// What was saved, beside what the replay saves.
    fn saved(&mut self, written: written::Written) {
        if written.compared > 0 {
            *self.parts.entry(Part::Written).or_default() += written.compared;
        }
        self.parting = written.first;
        if written.unread > 0 {
            self.limits.push(Gap {
                what: format!("{} saved checkpoints", written.unread),
                why: "they have other bytes, and not all that they hold was seen".to_owned(),
            });
        }
    }

    /// Whether a second replay is as the first.
    pub(super) fn agrees_with(&mut self, task: &Task<'_>, first: &Once, second: &Once) {
        let end = self.first_difference().unwrap_or(u64::MAX);
        let other = Walk::new(task, &first.steps, &second.steps, end).all();
        let apart = match (&other.parting, &self.parting) {
            (Some(parting), _) => Some(format!("at step {}", parting.step().unwrap_or(0))),
            (None, Some(Parting::Written { .. })) => self.saved_alike(task, first, second).err(),
            _ => None,
        };
        let reached = other.range.is_some_and(|(_, last)| last >= end);
        self.repeated = Some(match (&apart, reached) {
            (Some(_), _) => "two replays differ from each other",
            (None, false) => "a second replay did not come so far",
            (None, true) => "two replays are alike",
        });
        self.restless = apart.is_some() || !reached;
        if let Some(where_) = apart {
            self.limits.push(Gap {
                what: "the difference".to_owned(),
                why: format!(
                    "two replays already differ from each other {where_}: what the script computes is not the same every time"
                ),
            });
        }
    }

    /// What two replays do not save alike says nothing of the run: only the rest of what it saved is left to differ. An error says where replays part.
    fn saved_alike(&mut self, task: &Task<'_>, first: &Once, second: &Once) -> Result<(), String> {
        let Some(Parting::Written { path, step, .. }) = &self.parting else {
            return Ok(());
        };
        let shifting = written::shifting(task, first, second, (&path_of(path), *step))?;
        let rest = written::compare(task, first, &shifting)
            .map_err(|error| format!("in what they saved: {error}"))?;
        self.parting = rest.first;
        if !shifting.is_empty() {
            let names = shifting.into_iter().take(NAMES_MAX).collect::<Vec<_>>();
            self.limits.push(Gap {
                what: format!("in saved checkpoints: {}", names.join(", ")),
                why: "each computation saves another there: not compared".to_owned(),
            });
        }
        Ok(())
    }

    /// What the run began with comes before all of its steps.
    pub(super) fn began(&mut self, began: Began) {
        self.limits.extend(began.limits);
        self.lineage = began.lines;
        if let Some(parting) = began.parting {
            self.parting = Some(parting);
        }
    }

    /// The machine, or the number of threads, was another: then numbers that differ say nothing.
    pub(super) fn elsewhere(&mut self, how: &[String]) {
        let Some(parting) = self.parting.as_ref().filter(|_| !how.is_empty()) else {
            return;
        };
        if !parting.depends_on_machine() {
            return;
        }
        let step = parting.step().unwrap_or(0);
        self.restless = true;
        self.repeated = None;
        self.limits.push(Gap {
            what: format!("steps from {step} on"),
            why: format!("their last digits say nothing: {}", how.join("; ")),
        });
    }

    /// Whether all that differs are numbers, of a replay that is not the same every time or on another machine.
    pub(super) fn is_by_rounding(&self) -> bool {
        let parting = self.parting.as_ref().filter(|_| self.restless);
        parting.is_some_and(Parting::depends_on_machine)
    }

    /// Takes what the band says instead of what the last digits say.
    pub(super) fn within(&mut self, banded: Banded) {
        self.limits.extend(banded.limits);
        if banded.view.told == 0 {
            self.limits.push(Gap {
                what: "the difference".to_owned(),
                why: "clean replays lie as far apart as a step moves: nothing would be seen"
                    .to_owned(),
            });
        } else {
            self.restless = false;
            self.weighed = banded.view.told;
            self.compared = banded.compared;
            self.missing = banded.missing;
            self.range = banded.range;
            self.parts = banded.parts;
            self.parting = banded.parting;
            self.limits.push(Gap {
                what: "saved checkpoints".to_owned(),
                why: "their numbers are others by rounding: they are not compared".to_owned(),
            });
        }
        self.band = Some(banded.view);
    }

    /// Where record and replay part.
    pub(super) fn parting(&self) -> Option<&Parting> {
        self.parting.as_ref()
    }

    /// Whether a second replay came to the same, in words.
    pub(super) fn repeated(&self) -> Option<&'static str> {
        self.repeated
    }

    /// Records of steps that were compared.
    pub(super) fn compared(&self) -> u64 {
        self.compared
    }

    /// The verdict on all that was wanted: what was not come to is not as recorded.
    pub(super) fn whole_verdict(&self) -> ReplayVerdict {
        match self.verdict() {
            ReplayVerdict::Same if self.missing > 0 => ReplayVerdict::CannotTest,
            verdict => verdict,
        }
    }

    /// Why nothing follows although the state of a checkpoint was put in.
    pub(super) fn unfit(&self, told: Vec<Gap>) -> Gap {
        let told = told.into_iter().find(|gap| gap.what.starts_with(PUT_IN));
        let why = match (told, &self.parting) {
            (Some(gap), _) => gap.why,
            (None, Some(parting)) => format!(
                "with it the replay parts from the record, maybe by what the script makes of earlier steps ({})",
                words::what(parting)
            ),
            (None, None) => "with it the replay did not come to the wanted steps".to_owned(),
        };
        Gap {
            what: PUT_IN.to_owned(),
            why: format!("{why}; all was computed from the start instead"),
        }
    }

    pub(super) fn limited(&mut self, limit: Gap) {
        self.limits.push(limit);
    }

    pub(super) fn limits(&self) -> &[Gap] {
        &self.limits
    }

    /// The finding that follows, where one does.
    pub(super) fn finding(&self, task: &Task<'_>) -> Result<Option<Finding>, AppError> {
        let parting = self.parting.as_ref();
        let parting = parting.filter(|_| self.verdict() == ReplayVerdict::Differs);
        let store = &task.subject.reading.store;
        parting.map(|it| finding(store, task, it)).transpose()
    }

    pub(super) fn verdict(&self) -> ReplayVerdict {
        match (&self.parting, self.weighed) {
            (Some(_), _) if self.restless => ReplayVerdict::CannotTest,
            (Some(_), _) => ReplayVerdict::Differs,
            (None, 0) => ReplayVerdict::CannotTest,
            (None, _) => ReplayVerdict::Same,
        }
    }
}

/// Holds what was computed again against the record.
pub(super) fn judge(task: &Task<'_>, once: &Once) -> Judged {
    let mut judged = Walk::new(task, &task.subject.steps, &once.steps, task.segment.last).all();
    judged.limits.extend(once.laid.limits.iter().cloned());
    judged.limits.extend(once.ended.limits.iter().cloned());
    if !once.ended.status.success() {
        let how = if once.ended.timed_out {
            "it took far longer than the recorded steps, and was ended".to_owned()
        } else {
            format!("it ended with {}", once.ended.status)
        };
        judged.limits.push(Gap {
            what: "steps behind the last one that was computed again".to_owned(),
            why: format!("{how}: {}", once.ended.said),
        });
    }
    if task.segment.way == ReplayWay::Substitute {
        judged.limits.push(Gap {
            what: "reported metrics".to_owned(),
            why: "they may go back to steps that were not computed: they are not compared"
                .to_owned(),
        });
    }
    if task.subject.steps.later > 0 {
        judged.limits.push(Gap {
            what: format!("steps of {} further processes", task.subject.steps.later),
            why: "they trained behind the first one of their rank, and are not compared".to_owned(),
        });
    }
    if judged.parting.is_none()
        && let Ok(written) = written::compare(task, once, &BTreeSet::new())
    {
        judged.saved(written);
    }
    let unweighed = judged.compared - judged.weighed;
    if unweighed > 0 {
        judged.limits.push(Gap {
            what: format!("weights in {unweighed} of {} records", judged.compared),
            why: "the run told nothing of them there".to_owned(),
        });
    }
    judged
}

/// Whether two computations are the same to the last step of the segment.
pub(super) fn alike(task: &Task<'_>, one: &Recorded, other: &Recorded) -> bool {
    let last = task.segment.last;
    let judged = Walk::new(task, one, other, last).all();
    judged.parting.is_none() && judged.weighed > 0 && judged.range.is_some_and(|it| it.1 == last)
}

/// Two sequences of steps, side by side.
struct Walk<'a> {
    task: &'a Task<'a>,
    recorded: &'a Recorded,
    again: &'a Recorded,
    last: u64,
    judged: Judged,
    /// Ranks of which a step was compared, and their generators that are not.
    begun: BTreeSet<u32>,
    idle: BTreeSet<(u32, Part)>,
}

impl<'a> Walk<'a> {
    fn new(task: &'a Task<'a>, recorded: &'a Recorded, again: &'a Recorded, last: u64) -> Self {
        let judged = Judged {
            compared: 0,
            weighed: 0,
            missing: 0,
            range: None,
            parts: BTreeMap::new(),
            parting: None,
            limits: Vec::new(),
            lineage: Vec::new(),
            repeated: None,
            restless: false,
            band: None,
        };
        Self {
            task,
            recorded,
            again,
            last,
            judged,
            begun: BTreeSet::new(),
            idle: BTreeSet::new(),
        }
    }

    fn all(mut self) -> Judged {
        for (rank, recorded) in &self.recorded.ranks {
            let again = self.again.ranks.get(rank).map_or(&[][..], Vec::as_slice);
            self.rank(*rank, recorded, again);
        }
        self.judged
    }

    fn rank(&mut self, rank: u32, recorded: &[StepRecord], again: &[StepRecord]) {
        let base = self.task.segment.base;
        let places: BTreeMap<(u32, u64), usize> = (again.iter().zip(numbers(again)).enumerate())
            .map(|(place, (step, number))| ((step.optimizer, number), place))
            .collect();
        let (mut told, mut told_again, mut heard) = (Told::default(), Told::default(), 0);
        let mut missing = 0u64;
        for (step, number) in recorded.iter().zip(numbers(recorded)) {
            told.hear(step);
            if number <= base {
                self.begins(rank, (number, step), again);
            }
            if number <= base || number > self.last || self.is_behind(number) {
                continue;
            }
            let Some(place) = places.get(&(step.optimizer, number)) else {
                missing += 1;
                continue;
            };
            while heard <= *place {
                again.get(heard).inspect(|step| told_again.hear(step));
                heard += 1;
            }
            if let Some(other) = again.get(*place) {
                self.step((rank, number), (&told, step), (&told_again, other));
            }
        }
        self.judged.missing += missing;
        if missing > 0 {
            self.judged.limits.push(Gap {
                what: format!("{missing} recorded steps of rank {rank}"),
                why: "the replay did not come to them".to_owned(),
            });
        }
    }

    /// Whether an earlier difference was found already.
    fn is_behind(&self, step: u64) -> bool {
        let found = self.judged.parting.as_ref().and_then(Parting::step);
        found.is_some_and(|found| step >= found)
    }

    /// What the checkpoint put back, against what stood behind the step that it was saved after.
    fn begins(&mut self, rank: u32, (number, step): (u64, &StepRecord), again: &[StepRecord]) {
        if number != self.task.segment.base {
            return;
        }
        let first = again.iter().find(|it| it.optimizer == step.optimizer);
        let Some(begun) = first.and_then(|it| it.begun.as_deref()) else {
            return;
        };
        let other = |one: Option<domain::Fingerprint>, two| {
            one.zip(two).is_some_and(|(one, two)| one != two)
        };
        let what = if other(step.parameters, begun.parameters) {
            "weights"
        } else if other(step.optimizer_state, begun.optimizer_state) {
            "optimizer state"
        } else {
            return;
        };
        self.judged.parting = Some(Parting::Checkpoint {
            step: number,
            rank,
            what,
        });
    }

    /// A generator of Python's or NumPy's that is another from the first step on was never seeded, or is not drawn from: what it has an
    /// effect on differs by itself.
    fn without_idle(&mut self, rank: u32, number: u64, found: &mut compare::Compared) {
        for (part, whose) in [
            (Part::RandomOfPython, "Python"),
            (Part::RandomOfNumpy, "NumPy"),
        ] {
            let first = !self.begun.contains(&rank);
            if first && found.differs.contains(&part) {
                self.idle.insert((rank, part));
                self.judged.limits.push(Gap {
                    what: format!("random numbers of {whose}, rank {rank}"),
                    why: format!("they are others from step {number} on: not seeded, so only what is made of them is compared"),
                });
            }
            if self.idle.contains(&(rank, part)) {
                found.without(part);
                found.compared.retain(|it| *it != part);
            }
        }
        self.begun.insert(rank);
    }

    fn step(
        &mut self,
        (rank, number): (u32, u64),
        recorded: (&Told, &StepRecord),
        again: (&Told, &StepRecord),
    ) {
        let tensors = sampled::pair(recorded, again);
        let (step, other) = (recorded.1, again.1);
        let mut found = compare::step(step, other, &tensors);
        self.without_idle(rank, number, &mut found);
        if self.task.segment.way == ReplayWay::Substitute {
            // A program's averages go back to steps that were not computed.
            found.without(Part::Reported);
            found.compared.retain(|it| *it != Part::Reported);
        }
        let judged = &mut self.judged;
        judged.compared += 1;
        judged.weighed += u64::from(found.has_weights());
        let (first, last) = judged.range.unwrap_or((number, number));
        judged.range = Some((first.min(number), last.max(number)));
        for part in &found.compared {
            *judged.parts.entry(*part).or_default() += 1;
        }
        if found.differs.is_empty() {
            return;
        }
        let differing = tensors.iter().filter(|tensor| {
            let mut pairs = tensor.columns.values().flatten();
            pairs.any(|pair| !pair.same())
        });
        let cause = compare::cause(step, other, &tensors, &found.differs);
        let each = cause.map_or_else(Vec::new, |cause| compare::each(&tensors, cause));
        let each = each.into_iter();
        judged.parting = Some(Parting::Step(Box::new(StepParting {
            rank,
            number,
            cause,
            each: each
                .filter_map(|(number, how)| Some((words::tensor(tensors.get(number)?), how)))
                .collect(),
            tensors: differing.map(words::tensor).collect(),
            differs: found.differs,
            recorded: step.clone(),
            again: other.clone(),
        })));
    }
}

/// Records what follows, and says it.
pub(super) fn record(
    task: &Task<'_>,
    once: &Once,
    environment: &EnvCheckView,
    judged: Judged,
) -> Result<ReplayView, AppError> {
    let subject = task.subject;
    let store = &subject.reading.store;
    let own = process::own_record(task, &once.place)?;
    let transcript = lines(once.steps.ranks.values().flatten());
    let transcript = store.put_blob(&transcript)?;
    let verdict = judged.verdict();
    let parting = judged.parting.as_ref();
    let parting = parting.filter(|_| verdict == ReplayVerdict::Differs);
    let finding = judged.finding(task)?;
    // Behind a difference nothing was wanted any more.
    let missing = judged.parting.as_ref().map_or(judged.missing, |_| 0);
    let (first, last) = judged.range.unwrap_or((0, 0));
    let mut view = ReplayView {
        schema: "taintline.replay/1",
        run: subject.record.name(),
        id: subject.record.id.to_string(),
        verdict,
        way: task.segment.way,
        first,
        last,
        compared: judged.compared,
        missing,
        recorded: subject.steps.count(),
        parts: (judged.parts.iter())
            .map(|(part, count)| (part.words(), *count))
            .collect(),
        finding,
        again: own.record.findings.clone(),
        repeated: judged.repeated,
        band: judged.band,
        environment: own_environment(task, &own, environment),
        code: once.laid.code.clone(),
        scripts: once.laid.scripts,
        inputs: once.laid.data,
        lineage: judged.lineage,
        confined: once.ended.confined,
        user: once.ended.user,
        limits: judged.limits,
        cost: cost(task, once, (first, last)),
        ledger: None,
    };
    let report = serde_json::to_vec(&view).unwrap_or_default();
    let act = Act::Replayed(Box::new(Replayed {
        of: subject.record.id,
        way: view.way,
        first,
        last,
        compared: view.compared,
        verdict,
        step: parting.and_then(Parting::step),
        rank: parting.and_then(Parting::rank),
        environment: environment.tree.parse::<Digest>().ok(),
        report: store.put_blob(&report)?,
        transcript,
        person: crate::run::person(),
        signed_by: None,
        job: None,
    }));
    let keys = subject.surroundings.keys()?;
    let writer = writing::open(store, &keys)?;
    view.ledger = Some(acts::record(&writer, act)?);
    Ok(view)
}

fn cost(task: &Task<'_>, once: &Once, (first, last): (u64, u64)) -> ReplayCost {
    let seconds = |us: u64| std::time::Duration::from_micros(us).as_secs_f64();
    ReplayCost {
        wall_seconds: once.ended.wall.as_secs_f64(),
        steps_seconds: seconds(once.steps.time_us(first, last)),
        recorded_seconds: seconds(task.subject.steps.time_us(first, last)),
    }
}

fn lines<'a>(steps: impl Iterator<Item = &'a StepRecord>) -> Vec<u8> {
    let mut all = Vec::new();
    for step in steps {
        all.extend(serde_json::to_vec(step).unwrap_or_default());
        all.push(b'\n');
    }
    all
}

fn finding(store: &Store, task: &Task<'_>, parting: &Parting) -> Result<Finding, AppError> {
    let mut evidence = Vec::new();
    if let Parting::Origin { finding, step } = parting {
        let mut finding = finding.as_ref().clone();
        finding.step = Some(*step);
        return Ok(finding);
    }
    if let Parting::Step(parting) = parting {
        for step in [&parting.recorded, &parting.again] {
            evidence.push(store.put_blob(&lines(std::iter::once(step)))?);
        }
    }
    Ok(Finding {
        rule: Rule::ReplayDiffers,
        grade: Grade::Replayed,
        what: words::what(parting),
        details: words::details(parting),
        path: match parting {
            Parting::Written { path, .. } => Some(path.clone()),
            _ => None,
        },
        step: parting.step(),
        rank: parting.rank(),
        earlier: None,
        evidence,
        innocent: words::innocent(task, parting),
    })
}

/// The environment of the replay beside the one that the run had, both as a supervisor saw them.
fn own_environment(
    task: &Task<'_>,
    own: &process::Own,
    checked: &EnvCheckView,
) -> ReplayEnvironment {
    let of = |record: &RunRecord| {
        let load = record
            .loads
            .iter()
            .find(|load| load.what == Kind::Environment);
        load.and_then(|load| load.digest)
    };
    let (recorded, here) = (of(&task.subject.record), of(&own.record));
    let mut view = ReplayEnvironment {
        prefix: checked.prefix.clone(),
        tree: checked.tree.clone(),
        files: checked.files,
        verdict: checked.verdict,
        findings: checked.findings.len() as u64,
        same: recorded.zip(here).map(|(one, other)| one == other),
        differs: Vec::new(),
        more: 0,
    };
    if view.same != Some(false) {
        return view;
    }
    let flat = |store: &Store, digest: Option<Digest>| {
        environment::flatten(digest?, |digest| store.blob(&digest).ok().flatten()).ok()
    };
    let (before, after) = (
        flat(&task.subject.reading.store, recorded),
        flat(&own.reading.store, here),
    );
    if let Some((before, after)) = before.zip(after) {
        let mut changes = environment::compare(&before, &after);
        // What installers note of their packages comes last.
        changes.sort_by_key(|change| change.path.to_string().contains(".dist-info/"));
        view.more = changes.len().saturating_sub(FILES_NAMED) as u64;
        let named = changes.into_iter().take(FILES_NAMED);
        view.differs = named.map(|change| change.path.to_string()).collect();
    }
    view
}
