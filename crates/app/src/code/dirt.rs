//! What in a work tree is not as its commit has it, submodules included.
//!
//! Git leaves out what the index marks as not to be looked at; that is told as a gap. Of files whose size and times the
//! index knows git believes the index, and so do we: rereading everything is not for the start of a job.

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Component, Path, PathBuf};

use domain::{Gap, PathText};
use host::job::Helpers;

use super::git::Git;
use super::{gap, taken};

const LIST_BYTES_MAX: u64 = 1 << 20;
/// Some 150,000 files.
const INDEX_BYTES_MAX: u64 = 16 << 20;
/// Submodules, and theirs.
const REPOSITORIES_MAX: usize = 64;

const LIST: &str = "list of changed files";

/// The paths that differ, below `top`, as git spells them.
pub(super) fn look(top: &Path, helpers: &Helpers, gaps: &mut Vec<Gap>) -> Vec<PathText> {
    let mut dirty = BTreeSet::new();
    let mut left = vec![PathBuf::new()];
    for _ in 0..REPOSITORIES_MAX {
        let Some(prefix) = left.pop() else { break };
        let place = top.join(&prefix);
        let found = match Git::without_filters(&place, helpers) {
            Ok(git) if prefix.as_os_str().is_empty() || is_top(&git, &place) => {
                one(&git, &place, gaps)
            }
            Ok(_) => {
                let why = "a submodule that is no work tree of its own";
                gaps.push(gap(&told(&prefix), why));
                continue;
            }
            Err(why) => {
                gaps.push(gap(&told(&prefix), why));
                continue;
            }
        };
        let path = |name: &[u8]| prefix.join(OsStr::from_bytes(name));
        dirty.extend(found.dirty.iter().map(|name| path(name)));
        left.extend(found.submodules.iter().map(|name| path(name)));
    }
    if !left.is_empty() {
        let why = format!("there are more than {REPOSITORIES_MAX} submodules");
        gaps.push(gap(LIST, why));
    }
    let text = |path: &PathBuf| PathText::from_bytes(path.as_os_str().as_bytes());
    dirty.iter().map(text).collect()
}

fn told(prefix: &Path) -> String {
    if prefix.as_os_str().is_empty() {
        return LIST.to_owned();
    }
    format!("{LIST} in {}", PathText::from(prefix))
}

/// Whether a repository begins here: else git would go on to the one above.
fn is_top(git: &Git<'_>, place: &Path) -> bool {
    let Ok(output) = git.ask(&["rev-parse", "--show-toplevel"], 1 << 16) else {
        return false;
    };
    let top = output.bytes.strip_suffix(b"\n").unwrap_or(&output.bytes);
    let top = Path::new(OsStr::from_bytes(top)).canonicalize();
    top.is_ok_and(|top| place.canonicalize().is_ok_and(|place| place == top))
}

/// Whether it is a path that goes down alone.
fn is_below(name: &[u8]) -> bool {
    let mut parts = Path::new(OsStr::from_bytes(name)).components();
    parts.all(|part| matches!(part, Component::Normal(_)))
}

#[derive(Default)]
struct Found {
    dirty: Vec<Vec<u8>>,
    submodules: Vec<Vec<u8>>,
}

/// One repository, without its submodules.
fn one(git: &Git<'_>, place: &Path, gaps: &mut Vec<Gap>) -> Found {
    let words = [
        "status",
        "--porcelain=v1",
        "-z",
        "--no-renames",
        "--untracked-files=normal",
        "--ignore-submodules=dirty",
    ];
    let status = taken(git.ask(&words, LIST_BYTES_MAX), LIST, LIST_BYTES_MAX, gaps);
    let paths = status.split(|byte| *byte == 0);
    let mut found = Found {
        dirty: paths
            .filter_map(|line| Some(line.get(3..)?.to_vec()))
            .collect(),
        ..Found::default()
    };
    let what = "marks in the index";
    let listed = git.ask(&["ls-files", "-v", "--stage", "-z"], INDEX_BYTES_MAX);
    let listed = taken(listed, what, INDEX_BYTES_MAX, gaps);
    let mut unseen = 0_usize;
    for line in listed.split(|byte| *byte == 0) {
        let Some((tag, mode, name)) = entry(line) else {
            continue;
        };
        let at = place.join(OsStr::from_bytes(name));
        if mode == b"160000" {
            let is_own = at.symlink_metadata().is_ok_and(|facts| facts.is_dir());
            // The index is a file that anybody can have written.
            let is_below = is_below(name);
            if is_own && is_below && at.join(".git").symlink_metadata().is_ok() {
                found.submodules.push(name.to_vec());
            }
        }
        // `h`: assumed to be unchanged; `S`: not in the work tree, unless it is there all the same.
        let is_marked = tag.is_ascii_lowercase() || tag == b'S' && at.symlink_metadata().is_ok();
        unseen += usize::from(is_marked);
    }
    if unseen > 0 {
        let why = format!("{unseen} files are marked there as not to be looked at");
        gaps.push(gap(LIST, why));
    }
    found
}

/// `TAG MODE NAME STAGE`, a tab, and the path.
fn entry(line: &[u8]) -> Option<(u8, &[u8], &[u8])> {
    let tab = line.iter().position(|byte| *byte == b'\t')?;
    let mut words = line.get(..tab)?.split(|byte| *byte == b' ');
    let tag = *words.next()?.first()?;
    Some((tag, words.next()?, line.get(tab + 1..)?))
}
