//! Weights in several files with an index: which file each tensor is in.
//!
//! `transformers` opens the files that the index names and takes every tensor that is in them, whatever the index says of
//! each; of a tensor in two files the later one wins. Other loaders take each tensor from the file that the index names,
//! and some take every file of the folder. Where these come to different weights, readers disagree.
//! A whole file (`model.safetensors`) beside an index is opened in its place by `transformers` and not by others.

use std::collections::{BTreeMap, HashMap, HashSet};

use domain::scan::{GapKind, Rule, Weight};
use formats::ReadAt;
use formats::checkpoint::Checkpoint;
use formats::pyjson::{self, Json};

use super::{Beside, OPENED, Part, Presence, TOLD, listed, missing, read, unread};
use crate::{Examiner, targets};

/// Bytes of an index that is read.
const MAX_BYTES: u64 = 16 << 20;
/// Other indexes of the folder that are read, for the files that are theirs.
const OTHERS: usize = 16;
/// Tensors of all files together.
const MAX_TENSORS: usize = 300_000;
/// The names under which files of weights state their step.
const STEPS: [&str; 4] = ["step", "global_step", "iteration", "steps"];

/// Whether a file of this name is an index: `model.safetensors.index.json`, `pytorch_model.bin.index.fp16.json`.
pub(super) fn is_index(name: &str) -> bool {
    name.strip_suffix(".json").is_some_and(|stem| {
        let (front, variant) = stem.split_once(".index").unwrap_or((stem, "-"));
        !front.is_empty() && (variant.is_empty() || variant.starts_with('.'))
    })
}

/// What an index says.
struct Index {
    /// File to the tensors that are said to be in it.
    files: BTreeMap<String, Vec<String>>,
    total_size: Option<f64>,
}

fn parse(input: &dyn ReadAt) -> Option<Index> {
    let size = usize::try_from(input.len()).ok()?;
    let mut bytes = vec![0; size];
    input.read_at(0, &mut bytes).ok()?;
    let root = pyjson::parse(&bytes).ok()?;
    drop(bytes);
    let Json::Object(map) = root.get("weight_map")? else {
        return None;
    };
    let mut files: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for (tensor, file) in map {
        let file = file.text()?.to_owned();
        files.entry(file).or_default().push(tensor.clone());
    }
    let total_size = match root.get("metadata").and_then(|m| m.get("total_size")) {
        Some(Json::Number(number)) => Some(*number),
        _ => None,
    };
    Some(Index { files, total_size })
}

/// Judges the files that an index names.
pub(super) fn judge(
    examiner: &mut Examiner<'_>,
    name: &str,
    input: &dyn ReadAt,
    beside: &dyn Beside,
) {
    if input.len() > MAX_BYTES {
        let what = format!("an index of {} bytes; {MAX_BYTES} are read", input.len());
        return examiner.gap(GapKind::Limit, examiner.here(), what);
    }
    let Some(index) = parse(input) else { return };
    // One that leads elsewhere is a finding of its own, and is not opened.
    let inside: Vec<&String> = index
        .files
        .keys()
        .filter(|file| !targets::escapes(file))
        .collect();
    let (gone, there): (Vec<&String>, Vec<&String>) = inside
        .iter()
        .partition(|file| beside.presence(file) == Presence::Missing);
    let gone: Vec<String> = gone.into_iter().cloned().collect();
    missing(examiner, "the index", &gone);
    if there.is_empty() {
        return;
    }
    let mut found = Found::default();
    let mut closed = Vec::new();
    for file in there {
        if found.files >= OPENED || found.tensors.len() > MAX_TENSORS {
            let what = "more files and tensors than are compared with the index";
            examiner.gap(GapKind::Limit, examiner.here(), what);
            found.unread = true;
            break;
        }
        found.files += 1;
        match read(beside, file) {
            Part::Read(checkpoint) => found.take(file, &checkpoint),
            Part::Else => found.unread = true,
            Part::Closed => closed.push(file.clone()),
        }
    }
    unread(examiner, "the index", &closed);
    found.unread |= !(gone.is_empty() && closed.is_empty()) || inside.len() < index.files.len();
    twice(examiner, &found);
    disagreements(examiner, &index, &found);
    steps(examiner, &found);
    unnamed(examiner, name, &index, &found, beside);
}

/// What the named files hold.
#[derive(Default)]
struct Found {
    /// Tensor to the first file that has it.
    tensors: HashMap<String, String>,
    /// Tensors in more than one file: the tensor, the first file, a further one.
    twice: Vec<(String, String, String)>,
    steps: BTreeMap<String, String>,
    files: usize,
    bytes: u64,
    /// Some could not be read.
    unread: bool,
}

impl Found {
    fn take(&mut self, file: &str, checkpoint: &Checkpoint) {
        let mut storages = HashSet::new();
        for tensor in &checkpoint.tensors {
            if storages.insert((tensor.offset, tensor.bytes)) {
                self.bytes = self.bytes.saturating_add(tensor.bytes);
            }
            let known = self.tensors.entry(tensor.name.clone());
            let first = known.or_insert_with(|| file.to_owned());
            if first != file && self.twice.len() < 10_000 {
                let place = (tensor.name.clone(), first.clone(), file.to_owned());
                self.twice.push(place);
            }
        }
        let stated = STEPS.iter().find_map(|name| step(checkpoint, name));
        if let Some(step) = stated {
            self.steps.insert(file.to_owned(), step);
        }
    }
}

fn step(checkpoint: &Checkpoint, name: &str) -> Option<String> {
    use formats::checkpoint::Scalar;
    let mut scalars = checkpoint.scalars.iter();
    let known = |known: &str| known == name || known.strip_prefix("__metadata__.") == Some(name);
    match scalars.find(|(found, _)| known(found))? {
        (_, Scalar::Int(step)) => Some(step.to_string()),
        (_, Scalar::Text(step)) => step.parse::<u64>().ok().map(|step| step.to_string()),
        _ => None,
    }
}

fn twice(examiner: &mut Examiner<'_>, found: &Found) {
    for (tensor, first, further) in found.twice.iter().take(TOLD) {
        let why = format!(
            "The tensor stands in {first:?} and in {further:?}: which one counts depends on the loader."
        );
        let here = examiner.here();
        examiner.found(Rule::ReadersDisagree, Weight::Unknown, here, tensor, why);
    }
}

fn disagreements(examiner: &mut Examiner<'_>, index: &Index, found: &Found) {
    let mut told = 0;
    let twice: HashSet<&str> = found.twice.iter().map(|twice| twice.0.as_str()).collect();
    for (file, tensors) in &index.files {
        for tensor in tensors {
            let why = match found.tensors.get(tensor) {
                Some(place) if place == file => continue,
                Some(_) if twice.contains(tensor.as_str()) => continue,
                Some(place) => format!(
                    "The index says that the tensor is in {file:?}, and it is in {place:?}."
                ),
                None if found.unread => continue,
                None => format!(
                    "The index says that the tensor is in {file:?}, and no file has it: loaders leave it as it was made, at random."
                ),
            };
            told += 1;
            if told <= TOLD {
                let here = examiner.here();
                examiner.found(Rule::Broken, Weight::Note, here, tensor, why);
            }
        }
    }
    let sum = found.bytes as f64;
    if let Some(said) = index.total_size
        && !found.unread
        && (said - sum).abs() > 0.5
    {
        let why = format!(
            "The index says that the tensors have {said} bytes in all, and they have {}.",
            found.bytes
        );
        let here = examiner.here();
        examiner.found(Rule::Broken, Weight::Note, here, "total_size", why);
    }
}

fn steps(examiner: &mut Examiner<'_>, found: &Found) {
    let mut stated = found.steps.iter();
    let Some((first, step)) = stated.next() else {
        return;
    };
    if let Some((other, later)) = stated.find(|(_, later)| *later != step) {
        let why = format!(
            "{first:?} is of step {step} and {other:?} of step {later}: they do not belong together."
        );
        let here = examiner.here();
        examiner.found(Rule::Broken, Weight::Unknown, here, "", why);
    }
}

/// Files of weights that the index does not name and that some loader opens all the same.
fn unnamed(
    examiner: &mut Examiner<'_>,
    name: &str,
    index: &Index,
    found: &Found,
    beside: &dyn Beside,
) {
    let Some((stem, ending)) = name
        .split_once(".index")
        .and_then(|(front, _)| front.rsplit_once('.'))
    else {
        return;
    };
    let names = listed(examiner, "", beside);
    let theirs = of_others(&names, name, beside);
    let candidates = names.iter().filter(|file| {
        let same = file.rsplit_once('.').is_some_and(|(front, known)| {
            known == ending && (known == "safetensors" || front.starts_with(stem))
        });
        same && !index.files.contains_key(*file) && !theirs.contains(*file)
    });
    let mut closed = Vec::new();
    for file in candidates.take(TOLD * 4) {
        let checkpoint = match read(beside, file) {
            Part::Read(checkpoint) => checkpoint,
            Part::Else => continue,
            Part::Closed => {
                closed.push(file.clone());
                continue;
            }
        };
        let tensors: HashSet<&str> = checkpoint
            .tensors
            .iter()
            .map(|tensor| tensor.name.as_str())
            .collect();
        let shared = tensors
            .iter()
            .filter(|tensor| found.tensors.contains_key(**tensor))
            .count();
        let (rule, weight, why) = if shared == 0 && is_shard(file) {
            let why = "The index does not name this file. Loaders that take every file of the folder open it.";
            (Rule::Hidden, Weight::Note, why)
        } else if shared == 0 {
            continue;
        } else if shared == found.tensors.len() {
            let why = "It has every tensor that the index names: some loaders take it, others the files of the index.";
            (Rule::ReadersDisagree, Weight::Note, why)
        } else {
            let why = "The index does not name this file, and it has tensors that the index takes from another. Loaders that take every file of the folder may take them from here.";
            (Rule::ReadersDisagree, Weight::Unknown, why)
        };
        examiner.found(rule, weight, examiner.here(), file, why);
    }
    unread(examiner, "the folder", &closed);
}

/// `model-00001-of-00003.safetensors`.
fn is_shard(file: &str) -> bool {
    let stem = file.rsplit_once('.').map_or(file, |(stem, _)| stem);
    let numbers = stem
        .rsplit_once("-of-")
        .and_then(|(front, last)| front.rsplit_once('-').map(|(_, first)| (first, last)));
    let digits = |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    numbers.is_some_and(|(first, last)| digits(first) && digits(last))
}

/// Files that other indexes of the folder name: the same weights in another precision.
fn of_others(names: &[String], own: &str, beside: &dyn Beside) -> HashSet<String> {
    let others = names.iter().filter(|name| *name != own && is_index(name));
    let files = others.take(OTHERS).filter_map(|other| {
        let input = beside
            .open(other)
            .filter(|input| input.len() <= MAX_BYTES)?;
        parse(&*input)
    });
    files.flat_map(|index| index.files.into_keys()).collect()
}
