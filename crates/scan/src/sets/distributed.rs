//! `.metadata` of torch's distributed checkpoints: which bytes of which file are which tensor or object.
//!
//! The loader joins `relative_path` to the folder, seeks to `offset`, reads `length` bytes and gives them to `torch.load`;
//! an object that is no tensor is loaded with its code. So bytes that look like numbers in their own file are a program if
//! `.metadata` points there. Each range that is no item of its file by the file's own bytes is therefore examined again.

use std::collections::HashSet;

use domain::scan::{GapKind, Rule, Weight};
use formats::pickle::{self, Limits};
use formats::{ReadAt, Window, zip};

use super::storage::{self, Items, Storage};
use super::{Beside, OPENED, Presence, TOLD, listed, missing, unread};
use crate::{Examiner, targets};

/// Ranges that are examined because no item of their file stands there.
const EXAMINED: usize = 1000;

/// Judges the ranges that a `.metadata` names.
pub(super) fn judge(examiner: &mut Examiner<'_>, input: &dyn ReadAt, beside: &dyn Beside) {
    let Ok(program) = pickle::run_at(input, 0..input.len(), &Limits::default()) else {
        return;
    };
    let storage = storage::read(&program);
    drop(program);
    doubts(examiner, &storage);
    let items = storage.items;
    let (mut gone, mut closed) = (Vec::new(), Vec::new());
    let mut files = 0;
    for (path, ranges) in &items {
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
                files += 1;
                if files <= OPENED && !elsewhere(examiner, path, ranges, beside) {
                    closed.push(path.clone());
                }
            }
            Presence::Folder | Presence::Other => closed.push(path.clone()),
        }
    }
    if files > OPENED {
        let what = format!("{files} files of items; {OPENED} are opened");
        examiner.gap(GapKind::Limit, examiner.here(), what);
    }
    missing(examiner, "the metadata", &gone);
    unread(examiner, "the metadata", &closed);
    if !items.is_empty() {
        left_over(examiner, &items, beside);
    }
}

/// Tells what a loader may read otherwise than it is read here.
fn doubts(examiner: &mut Examiner<'_>, storage: &Storage) {
    for (path, why) in &storage.doubts {
        let here = examiner.here();
        examiner.found(Rule::ReadersDisagree, Weight::Unknown, here, path, *why);
    }
    if storage.doubtful > storage.doubts.len() {
        let more = storage.doubtful - storage.doubts.len();
        let what = format!("{more} further items whose place cannot be read");
        examiner.gap(GapKind::NotRead, examiner.here(), what);
    }
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

/// Examines ranges that are no item of the file by its own bytes; false if the file cannot be read.
fn elsewhere(
    examiner: &mut Examiner<'_>,
    path: &str,
    ranges: &[(i64, i64)],
    beside: &dyn Beside,
) -> bool {
    let Some(file) = beside.open(path) else {
        return false;
    };
    let seen: HashSet<(u64, u64)> = match zip::split(&*file) {
        Ok(parts) if parts.is_empty() => [(0, file.len())].into(),
        Ok(parts) => parts.into_iter().collect(),
        Err(_) => return false,
    };
    let mut count = 0;
    for (offset, length) in ranges {
        let (Ok(offset), Ok(length)) = (u64::try_from(*offset), u64::try_from(*length)) else {
            continue;
        };
        if length == 0 || offset >= file.len() {
            continue;
        }
        let length = length.min(file.len() - offset);
        if seen.contains(&(offset, length)) {
            continue;
        }
        count += 1;
        if count > EXAMINED {
            let what =
                format!("more than {EXAMINED} items of {path:?} that are none by its own bytes");
            examiner.gap(GapKind::Limit, examiner.here(), what);
            break;
        }
        let window = Window::new(&*file, offset, length);
        let name = format!("{path}, {length} bytes at {offset}");
        examiner.inside(&name, |examiner| {
            crate::dispatch::content(examiner, "item.pt", &window);
        });
    }
    true
}

/// Files of items that nobody names: an earlier save by more ranks leaves them.
fn left_over(examiner: &mut Examiner<'_>, items: &Items, beside: &dyn Beside) {
    let names = listed(examiner, "", beside);
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
