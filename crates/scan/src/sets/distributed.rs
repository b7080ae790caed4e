//! `.metadata` of torch's distributed checkpoints: which bytes of which file are which tensor or object.
//!
//! The loader joins `relative_path` to the folder, seeks to `offset`, reads `length` bytes and gives them to `torch.load`;
//! an object that is no tensor is loaded with its code. So bytes that look like numbers in their own file are a program if
//! `.metadata` points there. Each range that does not begin where an item of its file begins is therefore examined again.

use std::collections::{BTreeMap, HashSet};

use domain::scan::{GapKind, Rule, Weight};
use formats::pickle::{self, Limits, Program, Value};
use formats::{ReadAt, Window, zip};

use super::{Beside, OPENED, Presence, TOLD, missing};
use crate::{Examiner, targets};

/// Ranges that are examined because no item of their file begins there.
const EXAMINED: usize = 1000;

/// Items of each file: offset and length, as they are said.
type Items = BTreeMap<String, Vec<(i64, i64)>>;

/// Judges the ranges that a `.metadata` names.
pub(super) fn judge(examiner: &mut Examiner<'_>, input: &dyn ReadAt, beside: &dyn Beside) {
    let Ok(program) = pickle::run_at(input, 0..input.len(), &Limits::default()) else {
        return;
    };
    let items = items(&program);
    drop(program);
    let mut gone = Vec::new();
    for (index, (path, ranges)) in items.iter().enumerate() {
        if targets::escapes(path) {
            let why =
                "It makes the loader open a file outside of the folder and load what stands there.";
            let here = examiner.here();
            examiner.found(Rule::PathEscapes, Weight::Dangerous, here, path, why);
            continue;
        }
        match beside.presence(path) {
            Presence::Missing => gone.push(path.clone()),
            Presence::File(size) => {
                bounds(examiner, path, ranges, size);
                if index < OPENED {
                    elsewhere(examiner, path, ranges, beside);
                } else if index == OPENED {
                    let what = format!("more than {OPENED} files of items");
                    examiner.gap(GapKind::Limit, examiner.here(), what);
                }
            }
            Presence::Folder | Presence::Other => {}
        }
    }
    missing(examiner, "the metadata", &gone);
    if !items.is_empty() {
        left_over(examiner, &items, beside);
    }
}

/// What the program says of storage: every object with a `relative_path`, wherever it stands.
fn items(program: &Program) -> Items {
    let mut items = Items::new();
    for value in program.values() {
        let Value::Call(call) = value else { continue };
        for state in &call.states {
            let Value::Dict(pairs) = program.value(*state) else {
                continue;
            };
            let get = |name: &str| {
                let mut pairs = pairs.iter().rev();
                let found = pairs.find(|(key, _)| program.text(*key) == Some(name));
                found.map(|(_, value)| *value)
            };
            let integer = |name| match program.value(get(name)?) {
                Value::Int(number) => Some(*number),
                _ => None,
            };
            let path = get("relative_path").and_then(|path| program.text(path));
            if let Some(path) = path {
                let range = (
                    integer("offset").unwrap_or(0),
                    integer("length").unwrap_or(-1),
                );
                items.entry(path.to_owned()).or_default().push(range);
            }
        }
    }
    for ranges in items.values_mut() {
        ranges.sort_unstable();
        ranges.dedup();
    }
    items
}

/// Ranges that leave their file, or share bytes.
fn bounds(examiner: &mut Examiner<'_>, path: &str, ranges: &[(i64, i64)], size: u64) {
    let mut end = 0_i64;
    let (mut outside, mut shared) = (0, 0);
    for (offset, length) in ranges {
        let until = offset.saturating_add(*length);
        let inside = u64::try_from(until).is_ok_and(|until| until <= size);
        if *offset < 0 || *length < 0 || !inside {
            outside += 1;
            if outside <= TOLD {
                let why = format!(
                    "The metadata says that {length} bytes at {offset} of {path:?} are an item, and the file has {size} bytes."
                );
                let here = examiner.here();
                examiner.found(Rule::Broken, Weight::Unknown, here, path, why);
            }
        } else if *offset < end {
            shared += 1;
            if shared <= TOLD {
                let why = format!(
                    "The metadata says that the bytes at {offset} of {path:?} belong to two items: no writer makes that."
                );
                let here = examiner.here();
                examiner.found(Rule::ReadersDisagree, Weight::Unknown, here, path, why);
            }
        }
        end = end.max(until);
    }
}

/// Examines ranges that do not begin where an item of the file begins.
fn elsewhere(examiner: &mut Examiner<'_>, path: &str, ranges: &[(i64, i64)], beside: &dyn Beside) {
    let Some(file) = beside.open(path) else {
        return;
    };
    let seen: HashSet<u64> = match zip::split(&*file) {
        Ok(parts) => parts
            .into_iter()
            .map(|(offset, _)| offset)
            .chain([0])
            .collect(),
        Err(_) => return,
    };
    let mut count = 0;
    for (offset, length) in ranges {
        let (Ok(offset), Ok(length)) = (u64::try_from(*offset), u64::try_from(*length)) else {
            continue;
        };
        if seen.contains(&offset) || length == 0 || offset >= file.len() {
            continue;
        }
        count += 1;
        if count > EXAMINED {
            let what = format!("more than {EXAMINED} items of {path:?} that begin within others");
            return examiner.gap(GapKind::Limit, examiner.here(), what);
        }
        let length = length.min(file.len() - offset);
        let window = Window::new(&*file, offset, length);
        let name = format!("{path}, {length} bytes at {offset}");
        examiner.inside(&name, |examiner| {
            crate::dispatch::content(examiner, "item.pt", &window);
        });
    }
}

/// Files of items that nobody names: an earlier save by more ranks leaves them.
fn left_over(examiner: &mut Examiner<'_>, items: &Items, beside: &dyn Beside) {
    let names = beside.names("");
    let left = names.iter().filter(|name| {
        let item = name.starts_with("__") && name.ends_with(".distcp");
        item && !items.contains_key(*name)
    });
    for name in left.take(TOLD) {
        let why = "The metadata does not name this file: the loader does not open it. A save by more ranks may have left it.";
        let here = examiner.here();
        examiner.found(Rule::Hidden, Weight::Note, here, name, why);
    }
}
