//! Checkpoints of DeepSpeed: `latest` names a folder, and in it lies one file a rank.
//!
//! The engine joins the text of `latest` to the folder that it loads from, and opens the files of that folder with
//! `torch.load` and their code. `zero_to_fp32.py` takes every file whose name ends in `_model_states.pt` or
//! `_optim_states.pt`. Each file of model states says how many ranks there were and at which step it was saved.

use domain::scan::{Rule, Weight};
use formats::ReadAt;
use formats::checkpoint::{self, Reading};

use super::{Beside, OPENED, Presence, TOLD, integer, line, missing, read};
use crate::{Examiner, targets};

/// Ranks that are looked for.
const RANKS: i64 = 4096;
const MODEL: &str = "_model_states.pt";
const OPTIMIZER: &str = "_optim_states.pt";

/// Judges where `latest` leads.
pub(super) fn tag(examiner: &mut Examiner<'_>, input: &dyn ReadAt, beside: &dyn Beside) {
    let Some(tag) = line(input).filter(|tag| !tag.is_empty()) else {
        return;
    };
    let names = beside.names("");
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
    let states = |name: &String| name.ends_with(MODEL) || name.ends_with(OPTIMIZER);
    let folder = |name: &&String| step_of(name).is_some();
    names.iter().any(|name| name == "zero_to_fp32.py")
        || step_of(tag).is_some()
        || (!targets::escapes(tag) && beside.names(tag).iter().any(states))
        || names
            .iter()
            .filter(folder)
            .take(TOLD)
            .any(|name| beside.names(name).iter().any(states))
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
    let names = beside.names("");
    let Ok(Reading::Checkpoint(own)) = checkpoint::read(input) else {
        return;
    };
    let Some(step) = integer(&own, "global_steps") else {
        return;
    };
    let ranks = |key| integer(&own, key).unwrap_or(1).clamp(1, RANKS);
    let (data, model) = (ranks("dp_world_size"), ranks("mp_world_size"));
    let mut gone = Vec::new();
    let has = |file: &String| names.binary_search(file).is_ok();
    for rank in 0..model {
        let wanted = name.replace("mp_rank_00", &format!("mp_rank_{rank:02}"));
        gone.extend((!has(&wanted)).then_some(wanted));
        gone.extend(optimizer_gone(&names, rank, data));
    }
    missing(examiner, "the first rank", &gone);
    let mut told = 0;
    let others = names
        .iter()
        .filter(|file| file.ends_with(MODEL) && *file != name);
    for file in others.take(OPENED) {
        let other = read(beside, file).and_then(|other| integer(&other, "global_steps"));
        if let Some(other) = other.filter(|other| *other != step) {
            told += 1;
            if told <= TOLD {
                let why = format!("It is of step {other}, and this file of step {step}.");
                let here = examiner.here();
                examiner.found(Rule::Broken, Weight::Unknown, here, file, why);
            }
        }
    }
}

/// Files of optimizer states that are not there, where this model rank has any.
fn optimizer_gone(names: &[String], model: i64, data: i64) -> Vec<String> {
    let ending = format!("_mp_rank_{model:02}{OPTIMIZER}");
    let first = names.iter().find_map(|name| {
        let front = name.strip_suffix(&ending)?;
        let at = front.find("zero_pp_rank_")?;
        front.get(..at).map(str::to_owned)
    });
    let Some(front) = first else {
        return Vec::new();
    };
    let wanted = (0..data).map(|rank| format!("{front}zero_pp_rank_{rank}{ending}"));
    wanted
        .filter(|file| names.binary_search(file).is_err())
        .collect()
}
