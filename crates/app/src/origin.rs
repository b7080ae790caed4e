//! Where a checkpoint that a run loads came from: which recorded run saved it, and whether it still is what that run saved.

use domain::{Digest, Finding, Grade, PathText, Rule};
use ledger::Store;
use training::checkpoint::CheckpointSummary;
use training::compare::{TensorChange, compare};
use training::lineage::{self, Lineage, Saved};

use crate::checkpoint;
use crate::index::{Index, IndexError, IndexedSave};

/// Changed tensors that a finding names.
const TENSORS_TOLD: usize = 5;

/// A checkpoint that was loaded.
pub(crate) struct Loaded<'a> {
    pub(crate) path: &'a PathText,
    pub(crate) digest: Digest,
    /// What it holds, where it can be read.
    pub(crate) summary: Option<&'a CheckpointSummary>,
}

/// What the store knows of its bytes and of its path.
pub(crate) struct Saves {
    pub(crate) same_bytes: Vec<IndexedSave>,
    pub(crate) same_path: Vec<IndexedSave>,
}

impl Saves {
    pub(crate) fn of(index: &Index, asked: &Loaded<'_>) -> Result<Self, IndexError> {
        Ok(Self {
            same_bytes: index.saves_of(&asked.digest)?,
            same_path: index.saves_at(asked.path)?,
        })
    }

    /// Without what came later than this time.
    pub(crate) fn before(mut self, at_us: i64) -> Self {
        self.same_bytes.retain(|save| save.at_us < at_us);
        self.same_path.retain(|save| save.at_us < at_us);
        self
    }
}

/// What it is.
pub(crate) enum Origin {
    /// As that run saved it.
    AsSaved(Saved),
    /// No recorded run saved it.
    Unknown,
    /// Something else than belongs there.
    Wrong(Box<Finding>),
}

pub(crate) fn judge(store: &Store, asked: &Loaded<'_>, saves: &Saves) -> Origin {
    let known = saves.same_bytes.iter().chain(&saves.same_path);
    let known: Vec<Saved> = known.map(to_saved).collect();
    let loaded = lineage::Loaded {
        path: asked.path.clone(),
        digest: asked.digest,
        step: asked.summary.and_then(checkpoint::stated_step),
    };
    match lineage::judge(&loaded, &known) {
        Lineage::AsSaved { saved } => Origin::AsSaved(saved),
        Lineage::Unknown => Origin::Unknown,
        Lineage::Older {
            saved,
            step,
            newest,
        } => Origin::Wrong(Box::new(older(asked, saved.as_ref(), step, &newest))),
        Lineage::Changed { saved } => {
            let mut same_path = saves.same_path.iter().rev();
            let before = same_path.find(|save| save.digest == saved.digest);
            let before = before
                .and_then(|save| save.summary)
                .and_then(|blob| store.blob(&blob).ok().flatten());
            let before = before.and_then(|bytes| CheckpointSummary::decode(&bytes).ok());
            Origin::Wrong(Box::new(changed(asked, &saved, before.as_ref())))
        }
    }
}

fn to_saved(save: &IndexedSave) -> Saved {
    Saved {
        run: save.run.clone(),
        step: save.step,
        path: save.path.clone(),
        digest: save.digest,
        at: save.at_us.saturating_mul(1000),
    }
}

fn at_step(step: Option<u64>) -> String {
    step.map_or_else(String::new, |step| format!(" at step {step}"))
}

fn older(read: &Loaded<'_>, saved: Option<&Saved>, step: Option<u64>, newest: &Saved) -> Finding {
    let step = step.map_or_else(|| "step unknown".to_owned(), |step| format!("step {step}"));
    let origin = saved.map_or_else(
        || "no recorded run saved these bytes".to_owned(),
        |saved| {
            format!(
                "these bytes were saved as {} by run {}{}",
                saved.path,
                saved.run,
                at_step(saved.step)
            )
        },
    );
    Finding {
        rule: Rule::CheckpointOlder,
        grade: Grade::Observed,
        what: format!(
            "{} holds the checkpoint of an earlier step: {step}",
            read.path
        ),
        details: vec![
            origin,
            format!(
                "what belongs there was saved by run {}{}: {}",
                newest.run,
                at_step(newest.step),
                newest.digest.short()
            ),
        ],
        path: Some(read.path.clone()),
        step: Some(0),
        rank: None,
        earlier: Some(newest.run.clone()),
        evidence: Vec::new(),
        innocent: vec![
            "somebody went back to an earlier checkpoint on purpose and kept the newer name"
                .to_owned(),
        ],
    }
}

fn changed(read: &Loaded<'_>, saved: &Saved, before: Option<&CheckpointSummary>) -> Finding {
    let now = read.digest.short();
    let mut details = vec![format!(
        "run {} saved it{} with digest {}; loaded now: {now}",
        saved.run,
        at_step(saved.step),
        saved.digest.short(),
    )];
    match (before, read.summary) {
        (Some(before), Some(after)) => {
            let comparison = compare(before, after);
            details.push(comparison.describe());
            details.extend(
                comparison
                    .changed
                    .iter()
                    .skip(1)
                    .take(TENSORS_TOLD - 1)
                    .map(TensorChange::describe),
            );
        }
        (None, _) => details.push(
            "which tensors differ is not known: no summary was recorded when it was saved"
                .to_owned(),
        ),
        (_, None) => details.push(
            "which tensors differ is not known: it cannot be read as a checkpoint now".to_owned(),
        ),
    }
    Finding {
        rule: Rule::CheckpointChanged,
        grade: Grade::Observed,
        what: format!("{} is not what run {} saved{}", read.path, saved.run, at_step(saved.step)),
        details,
        path: Some(read.path.clone()),
        step: Some(0),
        rank: None,
        earlier: Some(saved.run.clone()),
        evidence: Vec::new(),
        innocent: vec!["it was written again by a program that did not run under guard (an export, an average, a repair)".to_owned()],
    }
}
