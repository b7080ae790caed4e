//! Checkpoints of Megatron-LM: a tracker names an iteration, and its folder has one folder a rank.
//!
//! The loader takes the text as a number or as `release`, and stops at anything else; it opens
//! `iter_0000010/mp_rank_00/model_optim_rng.pt` (with further ranks behind it) by `torch.load` with its code. Each such
//! file says at which iteration it was saved.

use domain::scan::{Rule, Weight};
use formats::ReadAt;

use super::{Beside, OPENED, Part, Presence, TOLD, integer, line, listed, missing, read, unread};
use crate::Examiner;

/// Names of a rank's file.
const FILES: [&str; 2] = ["model_optim_rng.pt", "model_rng.pt"];

/// Judges where the tracker leads.
pub(super) fn iteration(examiner: &mut Examiner<'_>, input: &dyn ReadAt, beside: &dyn Beside) {
    let Some(text) = line(examiner, input) else {
        return;
    };
    let number: Option<u64> = text.parse().ok();
    let folder = match number {
        Some(number) => format!("iter_{number:07}"),
        None if text == "release" => text.clone(),
        None => {
            let why = "The loader takes a number or `release` here, and stops.";
            let here = examiner.here();
            return examiner.found(Rule::Broken, Weight::Note, here, text, why);
        }
    };
    if beside.presence(&folder) == Presence::Missing {
        missing(examiner, "the tracker", std::slice::from_ref(&folder));
    }
    let Some(number) = number else { return };
    let names = listed(examiner, "", beside);
    let newest = names.iter().filter_map(|name| {
        let step: u64 = name.strip_prefix("iter_")?.parse().ok()?;
        Some((step, name))
    });
    if let Some((_, name)) = newest.max().filter(|(step, _)| *step > number) {
        let why = format!("{name:?} is there, and {folder:?} is what gets loaded.");
        let here = examiner.here();
        examiner.found(Rule::Broken, Weight::Note, here, text, why);
    }
    ranks(examiner, &folder, number, beside);
}

/// Files of ranks that say another iteration.
fn ranks(examiner: &mut Examiner<'_>, folder: &str, number: u64, beside: &dyn Beside) {
    let (mut told, mut closed) = (0, Vec::new());
    let names = listed(examiner, folder, beside);
    let ranks = names.iter().filter(|name| name.starts_with("mp_rank_"));
    for rank in ranks.take(OPENED) {
        for file in FILES {
            let path = format!("{folder}/{rank}/{file}");
            if beside.presence(&path) == Presence::Missing {
                continue;
            }
            let stated = match read(beside, &path) {
                Part::Read(own) => integer(&own, "iteration"),
                Part::Else => None,
                Part::Closed => {
                    closed.push(path.clone());
                    None
                }
            };
            let Some(stated) = stated else { continue };
            if u64::try_from(stated) != Ok(number) {
                told += 1;
                if told <= TOLD {
                    let why = format!("It is of iteration {stated}, and its folder of {number}.");
                    let here = examiner.here();
                    examiner.found(Rule::Broken, Weight::Unknown, here, path.as_str(), why);
                }
            }
        }
    }
    unread(examiner, "the tracker", &closed);
}
