//! The last good checkpoint, kept.
//!
//! A job removes its old checkpoints as it goes. While nothing is found, the newest two are also held here (`depot`), the older ones are let
//! go; the moment that something is found, the newest that was saved before the first step in doubt stays, and an entry says where. Two,
//! because a finding can come a step or two behind its cause. A run in which nothing is found leaves nothing behind.

mod depot;
mod unit;

use std::collections::{BTreeMap, HashMap};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use domain::entry::Act;
use domain::{Body, Finding, PathText, Rule, RunId};

use self::depot::Depot;
pub(super) use self::depot::{Keeping, Part, Spot};
use self::unit::Unit;
use super::recorder::{Asked, Recorder};

/// Checkpoints that are held while nothing is found.
const HELD: usize = 2;
/// Steps of which it is remembered what was saved after them.
const HEARD: usize = 16;
/// So long after its last file a checkpoint is taken to be whole, and what lies beside it is looked at.
const WHOLE: Duration = Duration::from_secs(1);
/// Folder of the store.
pub(crate) const FOLDER: &str = "kept";

/// What is held of a run's checkpoints.
#[derive(Default)]
pub(super) struct Kept {
    depot: Option<Arc<Depot>>,
    budget: u64,
    /// By the step after which they were saved.
    units: BTreeMap<u64, Unit>,
    /// Bytes that files which are being read may take, by ticket.
    under_way: HashMap<u64, Reserved>,
    /// What was saved after which step, as it was heard.
    heard: BTreeMap<u64, Vec<PathText>>,
    /// First step that is in doubt.
    suspect: Option<u64>,
    /// The step of the checkpoint that stays.
    stays: Option<u64>,
    /// The first that was too large for the budget, or that could not be held.
    refused: Option<PathText>,
}

struct Reserved {
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
    pub(super) fn heard(&mut self, path: &PathText, step: Option<u64>) {
        let Some(step) = step else { return };
        let paths = self.heard.entry(step).or_default();
        if paths.len() < 64 && !paths.contains(path) {
            paths.push(path.clone());
        }
        while self.heard.len() > HEARD {
            self.heard.pop_first();
        }
    }

    /// Notes that a checkpoint has another name now.
    pub(super) fn renamed(&mut self, from: &PathText, to: &PathText) {
        for path in self.heard.values_mut().flatten() {
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
        if self.suspect.is_some_and(|suspect| step >= suspect) {
            return None;
        }
        while self.taken().saturating_add(bytes) > self.budget {
            let others = self.units.iter().filter(|(other, _)| **other != step);
            let oldest = others.min_by_key(|(_, unit)| unit.order());
            let oldest = oldest.filter(|_| bytes <= self.budget)?.0;
            self.let_go(*oldest);
        }
        Some(Spot::new(&depot, self.budget - self.taken()))
    }

    /// Bytes that are held, and those that are on their way.
    fn taken(&self) -> u64 {
        let held = self.units.values().map(Unit::bytes);
        held.chain(self.under_way.values().map(|it| it.bytes)).sum()
    }

    /// Reading of what was saved is under way.
    pub(super) fn expects(&mut self, ticket: u64, step: Option<u64>, bytes: u64) {
        if let Some(step) = step.filter(|_| self.depot.is_some()) {
            self.under_way.insert(ticket, Reserved { step, bytes });
        }
    }

    /// It came.
    pub(super) fn arrived(&mut self, ticket: u64) {
        self.under_way.remove(&ticket);
    }

    fn let_go(&mut self, step: u64) {
        if let Some(unit) = self.units.remove(&step) {
            unit.remove();
        }
    }

    /// Lets go of all but the newest before the step in doubt, if there is one.
    fn trim(&mut self) {
        if let Some(suspect) = self.suspect {
            for (_, unit) in self.units.split_off(&suspect) {
                unit.remove();
            }
        }
        while self.units.len() > HELD {
            let oldest = self.units.iter().min_by_key(|(_, unit)| unit.order());
            let Some(step) = oldest.map(|(step, _)| *step) else {
                return;
            };
            self.let_go(step);
        }
    }

    /// The newest checkpoint that was saved before a step, as it was heard.
    fn last_before(&self, suspect: u64) -> Option<(u64, PathText)> {
        let (step, paths) = self.heard.range(..suspect).next_back()?;
        Some((*step, unit::common(paths.iter())?))
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

    /// Takes in what was set aside of a file that was saved as `path`.
    pub(super) fn keep(&mut self, path: &PathText, step: Option<u64>, parts: Vec<Part>) {
        let fits = |step: &u64| self.kept.suspect.is_none_or(|suspect| *step < suspect);
        let Some(step) = step.filter(fits) else {
            return parts.into_iter().for_each(Part::remove);
        };
        if parts.is_empty() {
            if self.kept.depot.is_some() {
                self.kept.refused.get_or_insert_with(|| path.clone());
            }
            return;
        }
        let order = self.kept.units.values().map(Unit::order).max();
        let order = order.map_or(0, |order| order + 1);
        let unit = self.kept.units.entry(step);
        let unit = unit.or_insert_with(|| Unit::new(order));
        for part in parts {
            unit.add(path, part);
        }
        self.kept.trim();
    }

    /// What a finding means for the checkpoints: which is the last good one, in words. It is kept from now on.
    pub(super) fn last_good_checkpoint(&mut self, finding: &Finding) -> Option<String> {
        let suspect = suspect(finding)?;
        let first = self.kept.suspect.is_none_or(|before| suspect < before);
        if first {
            self.kept.suspect = Some(suspect);
        }
        let suspect = self.kept.suspect.unwrap_or(suspect);
        if suspect == 0 {
            return None;
        }
        Some(match self.kept.last_before(suspect) {
            Some((step, path)) => format!("last good checkpoint: {path}, saved after step {step}"),
            None => match self.first_loaded() {
                Some(path) => format!("last good checkpoint: {path}, which the run began from"),
                None => "no checkpoint was saved before it".to_owned(),
            },
        })
    }

    /// The checkpoint that the run began from.
    fn first_loaded(&self) -> Option<PathText> {
        let loads = &self.journal.record_so_far().loads;
        let mut checkpoints = loads
            .iter()
            .filter(|load| load.what == domain::Kind::Checkpoint && load.step.unwrap_or(0) == 0);
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
        let Some(suspect) = self.kept.suspect else {
            return;
        };
        if self.kept.under_way.values().any(|it| it.step < suspect) {
            return; // it is still being read
        }
        self.kept.trim();
        let newest = self.kept.units.keys().next_back().copied();
        let Some(step) = newest.filter(|_| self.kept.stays.is_none_or(|stays| stays >= suspect))
        else {
            return;
        };
        self.stays(step, suspect);
    }

    /// Puts a checkpoint where it stays, and says so.
    fn stays(&mut self, step: u64, before: u64) {
        self.kept.stays = Some(step);
        let (Some(depot), Some(unit)) = (&self.kept.depot, self.kept.units.get_mut(&step)) else {
            return;
        };
        unit.look_beside(depot);
        let folder = depot.folder().join(format!("step-{step}"));
        let placed = unit.place(&folder);
        let what = format!("the checkpoint of step {step} as it is kept");
        let settled = match placed {
            Ok(settled) => settled,
            Err(error) => return self.gap(&what, &error.to_string()),
        };
        let Some(list) = self.journal.blob(&settled.list()) else {
            return;
        };
        let store = self.journal.store().root().to_owned();
        let place = folder.strip_prefix(&store).unwrap_or(&folder);
        let kept = settled.entry(PathText::from(place), step, before, list);
        if settled.rewritten > 0 {
            let why = "the job wrote into files that were held as hard links: they are not what was saved";
            self.gap(&format!("{} files of {what}", settled.rewritten), why);
        }
        self.journal
            .record(Body::Act(Act::CheckpointKept(Box::new(kept))));
        self.flush();
    }

    /// The end: what was not needed is let go.
    pub(super) fn close_kept(&mut self) {
        self.settle_kept();
        let stays = self.kept.stays;
        let steps: Vec<u64> = self.kept.units.keys().copied().collect();
        for step in steps.into_iter().filter(|step| Some(*step) != stays) {
            self.kept.let_go(step);
        }
        if let (Some(depot), None) = (&self.kept.depot, stays) {
            let _ = std::fs::remove_dir_all(depot.folder()); // mostly there is none
        }
        if let Some(path) = self.kept.refused.take() {
            let why =
                "it is larger than the settings allow (keep_gib), or the disk has no room for it";
            self.gap(&format!("keeping checkpoints such as {path}"), why);
        }
    }
}
