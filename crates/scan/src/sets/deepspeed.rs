//! Checkpoints of DeepSpeed: `latest` names a folder, and in it lies one file a rank.
//!
//! The engine joins the text of `latest` to the folder that it loads from, and opens the files of that folder with
//! `torch.load` and their code. `zero_to_fp32.py` takes every file whose name ends in `_model_states.pt` or
//! `_optim_states.pt`. Each file of model states says how many ranks there were and at which step it was saved.

use std::collections::{BTreeMap, HashSet};

use domain::scan::{GapKind, Rule, Weight};
use formats::ReadAt;
use formats::checkpoint::{self, Reading};

use super::{
    Beside, OPENED, Part, Presence, TOLD, integer, lacking, line, listed, missing, read, unread,
};
use crate::{Examiner, targets};

/// Ranks that are looked for.
const RANKS: i64 = 4096;
const MODEL: &str = "_model_states.pt";
const OPTIMIZER: &str = "_optim_states.pt";

/// Judges where `latest` leads.
pub(super) fn tag(examiner: &mut Examiner<'_>, input: &dyn ReadAt, beside: &dyn Beside) {
    let Some(tag) = line(examiner, input).filter(|tag| !tag.is_empty()) else {
        return;
    };
    let names = listed(examiner, "", beside);
    let ours = is_ours(&tag, &names, beside);
    if targets::escapes(&tag) {
        // Other programs write a file of this name too, and a path into it.
        let weight = match (ours, tag.contains("..")) {
            (true, _) => Weight::Dangerous,
            (false, true) => Weight::Unknown,
            (false, false) => Weight::Note,
        };
        let why = "DeepSpeed's loader joins it to the folder and loads the files that lie there, with their code.";
        let here = examiner.here();
        return examiner.found(Rule::PathEscapes, weight, here, tag, why);
    }
    if !ours {
        return;
    }
    if beside.presence(&tag) == Presence::Missing {
        return missing(examiner, "`latest`", &[tag]);
    }
    let Some(number) = step_of(&tag) else { return };
    let newer = names
        .iter()
        .filter_map(|name| step_of(name).zip(Some(name)));
    let newest = newer.max_by_key(|(step, _)| *step);
    if let Some((step, name)) = newest.filter(|(step, _)| *step > number) {
        let why = format!("{name:?} of step {step} is there, and {tag:?} is what gets loaded.");
        let here = examiner.here();
        examiner.found(Rule::Broken, Weight::Note, here, tag, why);
    }
}

/// Whether this folder is one of DeepSpeed's: its script, or a folder with its files.
fn is_ours(tag: &str, names: &[String], beside: &dyn Beside) -> bool {
    let states = |folder: &str| {
        let names = beside.names(folder).unwrap_or_default();
        let mut names = names.iter();
        names.any(|name| name.ends_with(MODEL) || name.ends_with(OPTIMIZER))
    };
    let folder = |name: &&String| step_of(name).is_some();
    names.iter().any(|name| name == "zero_to_fp32.py")
        || step_of(tag).is_some()
        || (!targets::escapes(tag) && states(tag))
        || names
            .iter()
            .filter(folder)
            .take(TOLD)
            .any(|name| states(name))
}

fn step_of(name: &str) -> Option<u64> {
    name.strip_prefix("global_step")?.parse().ok()
}

/// Judges whether the files of all ranks are there and of one step. `name` is the file of the first rank.
pub(super) fn states(
    examiner: &mut Examiner<'_>,
    name: &str,
    input: &dyn ReadAt,
    beside: &dyn Beside,
) {
    // Under ZeRO 3 each rank has model states; the first of them speaks for all.
    if !(name == "mp_rank_00_model_states.pt" || name.contains("zero_pp_rank_0_")) {
        return;
    }
    let names = listed(examiner, "", beside);
    let Ok(Reading::Checkpoint(own)) = checkpoint::read(input) else {
        return;
    };
    let Some(step) = integer(&own, "global_steps") else {
        return;
    };
    let ranks = |key| integer(&own, key).unwrap_or(1).clamp(1, RANKS);
    let (data, model) = (ranks("dp_world_size"), ranks("mp_world_size"));
    let has = |file: &String| names.binary_search(file).is_ok();
    let optimizer = Optimizer::of(&names);
    // A rank of the most that are looked for has as many: they are counted, and only the first are named.
    let (mut gone, mut count) = (Vec::new(), 0);
    for rank in 0..model {
        let wanted = name.replace("mp_rank_00", &format!("mp_rank_{rank:02}"));
        if !has(&wanted) {
            count += 1;
            gone.extend((gone.len() < TOLD).then_some(wanted));
        }
        count += optimizer.gone(rank, data, &mut gone);
    }
    let first = gone.iter().map(String::as_str);
    lacking(examiner, "the first rank", count, first);
    steps(examiner, name, step, &names, beside);
}

/// Judges whether the other files of model states are of this step.
fn steps(
    examiner: &mut Examiner<'_>,
    name: &str,
    step: i64,
    names: &[String],
    beside: &dyn Beside,
) {
    let (mut told, mut closed) = (0, Vec::new());
    let others: Vec<&String> = names
        .iter()
        .filter(|file| file.ends_with(MODEL) && *file != name)
        .collect();
    for file in others.iter().take(OPENED) {
        let other = match read(beside, file) {
            Part::Read(other) => integer(&other, "global_steps"),
            Part::Else => None,
            Part::Closed => {
                closed.push((*file).clone());
                None
            }
        };
        if let Some(other) = other.filter(|other| *other != step) {
            told += 1;
            if told <= TOLD {
                let why = format!("It is of step {other}, and this file of step {step}.");
                let here = examiner.here();
                examiner.found(Rule::Broken, Weight::Unknown, here, *file, why);
            }
        }
    }
    unread(examiner, "the first rank", &closed);
    if others.len() > OPENED {
        let what = format!(
            "{} files of model states; {OPENED} are opened",
            others.len()
        );
        examiner.gap(GapKind::Limit, examiner.here(), what);
    }
}

/// Which data ranks have a file of optimizer states, by model rank; with what stands before the ranks in the first name.
struct Optimizer<'n>(BTreeMap<i64, (&'n str, HashSet<i64>)>);

impl<'n> Optimizer<'n> {
    fn of(names: &'n [String]) -> Self {
        let mut ranks: BTreeMap<i64, (&str, HashSet<i64>)> = BTreeMap::new();
        for name in names {
            let Some((front, data, model)) = parts(name) else {
                continue;
            };
            let known = ranks.entry(model);
            let (first, files) = known.or_insert_with(|| (front, HashSet::new()));
            if *first == front {
                files.insert(data);
            }
        }
        Self(ranks)
    }

    /// How many files are not there, where this model rank has any. Adds the first to `names`.
    fn gone(&self, model: i64, data: i64, names: &mut Vec<String>) -> usize {
        let Some((front, files)) = self.0.get(&model) else {
            return 0;
        };
        let room = TOLD.saturating_sub(names.len());
        let gone = (0..data).filter(|rank| !files.contains(rank));
        names.extend(
            gone.take(room)
                .map(|rank| format!("{front}zero_pp_rank_{rank}_mp_rank_{model:02}{OPTIMIZER}")),
        );
        let there = files
            .iter()
            .filter(|rank| (0..data).contains(*rank))
            .count();
        usize::try_from(data).unwrap_or(0).saturating_sub(there)
    }
}

/// What stands before the ranks, the data rank and the model rank of a file of optimizer states.
fn parts(name: &str) -> Option<(&str, i64, i64)> {
    let stem = name.strip_suffix(OPTIMIZER)?;
    let (before, model) = stem.rsplit_once("_mp_rank_")?;
    let (front, data) = before.split_once("zero_pp_rank_")?;
    let (data_rank, model_rank) = (data.parse().ok()?, model.parse().ok()?);
    let written = format!("{data_rank}/{model_rank:02}");
    (written == format!("{data}/{model}")).then_some((front, data_rank, model_rank))
}
