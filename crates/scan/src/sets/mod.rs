//! Checkpoints of several files: does what names the parts agree with the parts that are there?
//!
//! Loaders of sharded checkpoints open one small file first (an index, `.metadata`, `latest`) and then what it names. Each
//! part is examined as a file of its own; here it is judged what only the set can show: parts that are missing, parts that
//! lie elsewhere, bytes that are read from another place than their file shows, tensors that two parts have, parts of
//! different steps. What lies beside a file is asked through [`Beside`], so that this module opens nothing by itself.
//! Findings stand at the file that names the parts.

mod deepspeed;
mod distributed;
mod index;
mod megatron;
mod storage;
#[cfg(test)]
mod tests;

use std::panic::{AssertUnwindSafe, catch_unwind};

use domain::scan::{Examination, GapKind};
use formats::ReadAt;
use formats::checkpoint::{self, Checkpoint, Reading, Scalar};

use crate::{Examiner, Options, Rules};

/// What stands under a name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Presence {
    /// Nothing.
    Missing,
    /// A file of so many bytes.
    File(u64),
    /// A folder.
    Folder,
    /// Something else, a link among them, or it cannot be told.
    Other,
}

/// What lies beside a file. Paths are relative to its folder, with `/`; none leaves it.
pub trait Beside {
    /// Names of what lies in a folder (`""` is the file's own), sorted, at most [`LISTED`]; empty where there is no such
    /// folder, `None` where there is one and it cannot be listed.
    fn names(&self, folder: &str) -> Option<Vec<String>>;
    /// What stands there.
    fn presence(&self, path: &str) -> Presence;
    /// The bytes of a file; `None` where it may not or cannot be read.
    fn open(&self, path: &str) -> Option<Box<dyn ReadAt>>;
}

/// Names that are looked at in one folder.
pub const LISTED: usize = 20_000;
/// Parts that are opened to compare them.
const OPENED: usize = 512;
/// Missing parts, and findings of one kind, that are told one by one.
const TOLD: usize = 8;

/// Whether a file of this name says of others that they belong together.
pub fn names_parts(name: &str) -> bool {
    Kind::of(name).is_some()
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// `model.safetensors.index.json`.
    Index,
    /// `.metadata` of torch's distributed checkpoints.
    Distributed,
    /// `latest` of DeepSpeed.
    Tag,
    /// Model states of DeepSpeed's first rank.
    States,
    /// `latest_checkpointed_iteration.txt` of Megatron-LM.
    Iteration,
}

impl Kind {
    fn of(name: &str) -> Option<Self> {
        match name {
            ".metadata" => Some(Self::Distributed),
            "latest" | "latest_universal" => Some(Self::Tag),
            "latest_checkpointed_iteration.txt" => Some(Self::Iteration),
            _ if name.ends_with("mp_rank_00_model_states.pt") => Some(Self::States),
            _ if index::is_index(name) => Some(Self::Index),
            _ => None,
        }
    }
}

/// Judges the set that the file called `name` names, and adds what is found to `done`.
pub fn judge(
    rules: &Rules,
    options: Options,
    name: &str,
    input: &dyn ReadAt,
    beside: &dyn Beside,
    done: &mut Examination,
) {
    let Some(kind) = Kind::of(name) else { return };
    let judged = catch_unwind(AssertUnwindSafe(|| {
        let mut examiner = Examiner::new(rules, options);
        match kind {
            Kind::Index => index::judge(&mut examiner, name, input, beside),
            Kind::Distributed => distributed::judge(&mut examiner, input, beside),
            Kind::Tag => deepspeed::tag(&mut examiner, input, beside),
            Kind::States => deepspeed::states(&mut examiner, name, input, beside),
            Kind::Iteration => megatron::iteration(&mut examiner, input, beside),
        }
        examiner.finish(input.len())
    }));
    let Ok(judged) = judged else {
        return done.gaps.push(domain::scan::Gap {
            kind: GapKind::Crashed,
            place: domain::scan::Place::default(),
            what: "a fault of this program: please report it".to_owned(),
        });
    };
    done.findings.extend(judged.findings);
    done.findings
        .sort_by_key(|finding| std::cmp::Reverse(finding.weight));
    done.gaps.extend(judged.gaps);
    done.parts.extend(judged.parts);
    for need in judged.needs {
        if !done.needs.contains(&need) {
            done.needs.push(need);
        }
    }
    done.left_out = done.left_out.saturating_add(judged.left_out);
}

/// Tells parts that are named and not there: a few by their names, the rest by their number.
fn missing(examiner: &mut Examiner<'_>, by: &str, names: &[String]) {
    let first = names.iter().take(TOLD).map(String::as_str);
    lacking(examiner, by, names.len(), first);
}

/// As [`missing`], for `count` parts of which the first `names` are known.
fn lacking<'a>(
    examiner: &mut Examiner<'_>,
    by: &str,
    count: usize,
    names: impl Iterator<Item = &'a str>,
) {
    for name in names {
        let what = format!("{by} names {name:?}, which is not there");
        examiner.gap(GapKind::Missing, examiner.here(), what);
    }
    if count > TOLD {
        let what = format!("{} further parts are not there", count - TOLD);
        examiner.gap(GapKind::Missing, examiner.here(), what);
    }
}

/// Tells parts that are there and were not opened: whatever a loader finds in them, it was not compared.
fn unread(examiner: &mut Examiner<'_>, by: &str, names: &[String]) {
    for name in names.iter().take(TOLD) {
        let what = format!(
            "{by} names {name:?}, which is there and was not opened: a link, no file, or not readable"
        );
        examiner.gap(GapKind::NotRead, examiner.here(), what);
    }
    if names.len() > TOLD {
        let what = format!("{} further parts were not opened", names.len() - TOLD);
        examiner.gap(GapKind::NotRead, examiner.here(), what);
    }
}

/// The names in a folder. One that is there and cannot be listed is a gap.
fn listed(examiner: &mut Examiner<'_>, folder: &str, beside: &dyn Beside) -> Vec<String> {
    beside.names(folder).unwrap_or_else(|| {
        let what = match folder {
            "" => "its folder cannot be listed".to_owned(),
            folder => format!("the folder {folder:?} cannot be listed"),
        };
        examiner.gap(GapKind::NotRead, examiner.here(), what);
        Vec::new()
    })
}

/// A short text that a loader reads whole, without the space around it; `None` where it is none. Space may be around it
/// without end, for the loader takes it away: a file that is little else and too long to be read is a gap.
fn line(examiner: &mut Examiner<'_>, input: &dyn ReadAt) -> Option<String> {
    const MAX_BYTES: u64 = 1 << 16;
    const MAX_TEXT: usize = 4096;
    let size = usize::try_from(input.len().min(MAX_BYTES)).ok()?;
    let mut bytes = vec![0; size];
    input.read_at(0, &mut bytes).ok()?;
    let text = String::from_utf8(bytes).ok()?;
    let text = text.trim();
    if text.len() > MAX_TEXT {
        return None;
    }
    if input.len() > MAX_BYTES {
        let what = format!(
            "{} bytes, of which the first {MAX_BYTES} are mostly space, that name what is loaded",
            input.len()
        );
        examiner.gap(GapKind::NotRead, examiner.here(), what);
        return None;
    }
    Some(text.to_owned())
}

/// What opening a part came to.
enum Part {
    /// Named tensors and plain values.
    Read(Checkpoint),
    /// It was opened, and is something else; its own examination says what.
    Else,
    /// It was not opened.
    Closed,
}

/// A part as named tensors and plain values, where it can be read as such.
fn read(beside: &dyn Beside, path: &str) -> Part {
    let Some(input) = beside.open(path) else {
        return Part::Closed;
    };
    match checkpoint::read(&*input) {
        Ok(Reading::Checkpoint(checkpoint)) => Part::Read(checkpoint),
        Ok(Reading::NotReadable(_)) => Part::Else,
        Err(_) => Part::Closed,
    }
}

/// An integer at the top of a checkpoint; the last one where it stands twice.
fn integer(checkpoint: &Checkpoint, name: &str) -> Option<i64> {
    let mut scalars = checkpoint.scalars.iter().rev();
    match scalars.find(|(known, _)| known == name)? {
        (_, Scalar::Int(value)) => Some(*value),
        _ => None,
    }
}
