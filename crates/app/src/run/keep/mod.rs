//! The last good checkpoint, kept.
//!
//! A job removes its old checkpoints as it goes. While nothing is found, the newest two are also held here (`depot`), the older ones are let
//! go; the moment that something is found, the newest that was saved before the first step in doubt stays, and an entry says where. Two,
//! because a finding can come a step or two behind its cause. A run in which nothing is found leaves nothing behind.

mod depot;
mod unit;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use domain::entry::{Act, Kind, Write};
use domain::{Body, Finding, PathText, Process, Rule, RunId};

use self::depot::Depot;
pub(super) use self::depot::{Keeping, Part, Spot};
use self::unit::Unit;
use super::recorder::{Asked, Recorder};

/// Checkpoints that are held while nothing is found.
const HELD: usize = 2;
/// Steps of which it is remembered what was saved after them.
const HEARD: usize = 16;
const HEARD_FILES: usize = 64;
/// So long after its last file a checkpoint is taken to be whole, and what lies beside it is looked at.
const WHOLE: Duration = Duration::from_secs(1);
/// Trainings of one run whose checkpoints are held apart.
const LINES_MAX: usize = 64;
/// Folder of the store.
pub(crate) const FOLDER: &str = "kept";

/// One training of a run: 0 for all processes that have a rank, else the process.
pub(super) type Line = u32;

/// What is held of a run's checkpoints.
#[derive(Default)]
pub(super) struct Kept {
    depot: Option<Arc<Depot>>,
    budget: u64,
    /// By the step after which they were saved.
    units: BTreeMap<(Line, u64), Unit>,
    /// Bytes that files which are being read may take, by ticket.
    under_way: HashMap<u64, Reserved>,
    /// What was saved after which step, as it was heard.
    heard: BTreeMap<Line, BTreeMap<u64, Vec<PathText>>>,
    /// First step that is in doubt.
    suspect: BTreeMap<Line, u64>,
    /// The step of the checkpoint that stays.
    stays: BTreeMap<Line, u64>,
    /// Which training the finding is about that is being told.
    pub(super) about: Option<Line>,
    /// The first that was too large for the budget, or that could not be held.
    refused: Option<PathText>,
}

struct Reserved {
    line: Line,
    step: u64,
    bytes: u64,
}

impl Kept {
    /// For a run of the store at `store`, with so many bytes at most.
    pub(super) fn new(store: &Path, run: RunId, budget: u64) -> Self {
        let folder = store.join(FOLDER).join(run.to_string());
        Self {
            depot: (budget > 0).then(|| Arc::new(Depot::new(folder))),
            budget,
            ..Self::default()
        }
    }

    /// Notes that a checkpoint was saved.
    pub(super) fn heard(&mut self, path: &PathText, line: Line, step: Option<u64>) {
        let Some(step) = step else { return };
        if !self.heard.contains_key(&line) && self.heard.len() >= LINES_MAX {
            return;
        }
        let heard = self.heard.entry(line).or_default();
        let paths = heard.entry(step).or_default();
        if paths.len() < HEARD_FILES && !paths.contains(path) {
            paths.push(path.clone());
        }
        while heard.len() > HEARD {
            heard.pop_first();
        }
    }

    /// Notes that a checkpoint has another name now.
    pub(super) fn renamed(&mut self, from: &PathText, to: &PathText) {
        let heard = self.heard.values_mut().flat_map(BTreeMap::values_mut);
        for path in heard.flatten() {
            if path == from {
                *path = to.clone();
            }
        }
        for unit in self.units.values_mut() {
            unit.rename(from, to);
        }
    }

    /// A place for what was saved, if it is to be held; older ones make room.
    pub(super) fn spot(&mut self, asked: &Asked, bytes: u64) -> Option<Spot> {
        let (depot, step) = (self.depot.clone()?, asked.step?);
        let line = line_of(asked.process.as_ref(), asked.rank);
        if !self.is_wanted(line, step) {
            return None;
        }
        while self.taken().saturating_add(bytes) > self.budget {
            let held = |(key, _): &(&(Line, u64), &Unit)| {
                **key != (line, step) && self.stays.get(&key.0) != Some(&key.1)
            };
            let others = self.units.iter().filter(held);
            let oldest = others.min_by_key(|(_, unit)| unit.order());
            let oldest = oldest.filter(|_| bytes <= self.budget)?.0;
            self.let_go(*oldest);
        }
        Some(Spot::new(&depot, self.budget - self.taken()))
    }

    /// Whether what was saved after this step is to be held.
    fn is_wanted(&self, line: Line, step: u64) -> bool {
        let is_new = !self.units.keys().any(|(other, _)| *other == line);
        let lines = self.units.keys().map(|(line, _)| line);
        let is_full = is_new && lines.collect::<BTreeSet<_>>().len() >= LINES_MAX;
        !is_full
            && self
                .suspect
                .get(&line)
                .is_none_or(|suspect| step < *suspect)
    }

    /// Bytes that are held, and those that are on their way.
    fn taken(&self) -> u64 {
        let held = self.units.values().map(Unit::bytes);
        held.chain(self.under_way.values().map(|it| it.bytes)).sum()
    }

    /// Reading of what was saved is under way.
    pub(super) fn expects(&mut self, ticket: u64, asked: &Asked, bytes: u64) {
        let line = line_of(asked.process.as_ref(), asked.rank);
        if let Some(step) = asked.step.filter(|_| self.depot.is_some()) {
            let reserved = Reserved { line, step, bytes };
            self.under_way.insert(ticket, reserved);
        }
    }

    /// It came.
    pub(super) fn arrived(&mut self, ticket: u64) {
        self.under_way.remove(&ticket);
    }

    fn let_go(&mut self, key: (Line, u64)) {
        if let Some(unit) = self.units.remove(&key) {
            unit.remove();
        }
    }

    /// Lets go of all but the newest of a training, and of what is in doubt.
    fn trim(&mut self, line: Line) {
        let suspect = self.suspect.get(&line).copied().unwrap_or(u64::MAX);
        let mine = self.units.range((line, 0)..=(line, u64::MAX));
        let mut mine: Vec<_> = mine.map(|(key, unit)| (unit.order(), *key)).collect();
        mine.sort_unstable();
        let good = mine.iter().filter(|(_, key)| key.1 < suspect).count();
        let mut too_many = good.saturating_sub(HELD);
        for (_, key) in mine {
            if key.1 >= suspect {
                self.let_go(key);
            } else if too_many > 0 {
                too_many -= 1;
                self.let_go(key);
            }
        }
    }

    /// The newest checkpoint that was saved before a step, as it was heard.
    fn last_before(&self, line: Line, suspect: u64) -> Option<(u64, PathText)> {
        let heard = self.heard.get(&line)?;
        let (step, paths) = heard.range(..suspect).next_back()?;
        Some((*step, unit::common(paths.iter())?))
    }
}

/// The training that a process belongs to.
pub(super) fn line_of(process: Option<&Process>, rank: Option<u32>) -> Line {
    match (rank, process) {
        (None, Some(process)) => process.pid,
        _ => 0,
    }
}

/// The first step that is in doubt through a finding; none where the weights are not.
fn suspect(finding: &Finding) -> Option<u64> {
    let technique = finding.rule.technique();
    match (finding.rule, finding.step?) {
        _ if technique.starts_with(['P', 'A', 'E']) => None,
        // What was loaded is in doubt, and so is all that follows.
        (_, 0) => technique.starts_with('K').then_some(0),
        // Somewhere between the end of the step before and this one: what was saved in between can have it.
        (Rule::WeightsChangedBetweenSteps, step) => Some(step - 1),
        (_, step) => Some(step),
    }
}

impl Recorder<'_> {
    /// Holds so many GiB of the run's newest checkpoints.
    pub(super) fn keep_checkpoints(&mut self, run: RunId, gib: u32) {
        let store = self.journal.store().root().to_owned();
        self.kept = Kept::new(&store, run, u64::from(gib) << 30);
    }

    /// Takes in what was set aside of a file that was written.
    pub(super) fn keep(&mut self, write: &Write, parts: Vec<Part>) {
        let line = line_of(Some(&write.process), write.rank);
        let wanted = |step: &u64| self.kept.is_wanted(line, *step);
        let Some(step) = write.step.filter(wanted) else {
            return parts.into_iter().for_each(Part::remove);
        };
        if parts.is_empty() {
            if self.kept.depot.is_some() {
                self.kept.refused.get_or_insert_with(|| write.path.clone());
            }
            return;
        }
        let order = self.kept.units.values().map(Unit::order).max();
        let order = order.map_or(0, |order| order + 1);
        let unit = self.kept.units.entry((line, step));
        let unit = unit.or_insert_with(|| Unit::new(order));
        for part in parts {
            unit.add(&write.path, part);
        }
        self.kept.trim(line);
    }

    /// What a finding means for the checkpoints: which is the last good one, in words. It is kept from now on.
    pub(super) fn last_good_checkpoint(&mut self, finding: &Finding) -> Option<String> {
        let suspect = suspect(finding)?;
        let line = self.kept.about.or_else(|| self.only_line())?;
        let first = self.kept.suspect.entry(line).or_insert(suspect);
        *first = suspect.min(*first);
        let suspect = *first;
        if suspect == 0 {
            return None;
        }
        Some(match self.kept.last_before(line, suspect) {
            Some((step, path)) => format!("last good checkpoint: {path}, saved after step {step}"),
            None => match self.first_loaded(line) {
                Some(path) => format!("last good checkpoint: {path}, which it began from"),
                None => "no checkpoint was saved before it".to_owned(),
            },
        })
    }

    /// The one training of the run, if there is but one.
    fn only_line(&self) -> Option<Line> {
        let training = self.members.values().filter(|member| member.step_count > 0);
        let lines: BTreeSet<Line> = training
            .map(|member| line_of(Some(&member.process), member.rank()))
            .collect();
        lines.first().copied().filter(|_| lines.len() == 1)
    }

    /// The checkpoint that a training began from.
    fn first_loaded(&self, line: Line) -> Option<PathText> {
        let loads = &self.journal.record_so_far().loads;
        let mut checkpoints = loads.iter().filter(|load| {
            load.what == Kind::Checkpoint
                && load.step.unwrap_or(0) == 0
                && line_of(load.process.as_ref(), load.rank) == line
        });
        checkpoints.next().map(|load| load.path.clone())
    }

    /// What is due: companions of whole checkpoints, and the entry for the one that stays.
    pub(super) fn settle_kept(&mut self) {
        if let Some(depot) = &self.kept.depot {
            for unit in self.kept.units.values_mut() {
                if unit.is_quiet(WHOLE) {
                    unit.look_beside(depot);
                }
            }
        }
        for (line, suspect) in self.kept.suspect.clone() {
            let under_way = self.kept.under_way.values();
            let mut mine = under_way.filter(|it| it.line == line);
            if mine.any(|it| it.step < suspect) {
                continue; // it is still being read
            }
            if self
                .kept
                .stays
                .get(&line)
                .is_some_and(|stays| *stays < suspect)
            {
                continue;
            }
            self.kept.trim(line);
            let newest = self
                .kept
                .units
                .range((line, 0)..(line, suspect))
                .next_back();
            if let Some(((_, step), _)) = newest {
                self.stays(line, *step, suspect);
            }
        }
    }

    /// Puts a checkpoint where it stays, and says so.
    fn stays(&mut self, line: Line, step: u64, before: u64) {
        self.kept.stays.insert(line, step);
        let unit = self.kept.units.get_mut(&(line, step));
        let (Some(depot), Some(unit)) = (&self.kept.depot, unit) else {
            return;
        };
        unit.look_beside(depot);
        let name = match (line, self.kept.heard.len()) {
            (0, _) | (_, 1) => format!("step-{step}"),
            _ => format!("process-{line}-step-{step}"),
        };
        let folder = depot.folder().join(name);
        let what = format!("the checkpoint of step {step} as it is kept");
        let settled = match unit.place(&folder) {
            Ok(settled) => settled,
            Err(error) => return self.gap(&what, &error.to_string()),
        };
        if settled.rewritten > 0 {
            let why = "the job wrote into files that were held as hard links: they are not what was saved";
            self.gap(&format!("{} files of {what}", settled.rewritten), why);
        }
        let list = settled.list();
        let Some(list) = self.journal.blob(&list).filter(|_| !list.is_empty()) else {
            return;
        };
        let store = self.journal.store().root().to_owned();
        let place = folder.strip_prefix(&store).unwrap_or(&folder);
        let kept = settled.entry(PathText::from(place), step, before, list);
        self.journal
            .record(Body::Act(Act::CheckpointKept(Box::new(kept))));
        self.flush();
    }

    /// The end: what was not needed is let go.
    pub(super) fn close_kept(&mut self) {
        self.settle_kept();
        let keys: Vec<_> = self.kept.units.keys().copied().collect();
        for key in keys {
            if self.kept.stays.get(&key.0) != Some(&key.1) {
                self.kept.let_go(key);
            }
        }
        if let (Some(depot), true) = (&self.kept.depot, self.kept.stays.is_empty()) {
            let _ = std::fs::remove_dir_all(depot.folder()); // mostly there is none
        }
        if let Some(path) = self.kept.refused.take() {
            let why =
                "it is larger than the settings allow (keep_gib), or the disk has no room for it";
            self.gap(&format!("keeping checkpoints such as {path}"), why);
        }
    }
}
