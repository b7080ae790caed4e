//! What became of each touched file of an environment, held against how it was first.
//!
//! A case is one file. It collects what was seen until nothing has happened for a while, and is then settled: something stays
//! (the environment is scanned again, and the scan judges), something came and was undone, something was written to and is as
//! before, or only attributes were set. A case that was settled goes on: what is put back later is told as such.
//!
//! Nothing here opens a file or knows a package.

use std::collections::{BTreeMap, BTreeSet};

use domain::{Digest, Node, PathText};

use super::{Now, Seen, Touch};

/// Files that are followed at most.
pub(super) const CASES_MAX: usize = 5_000;
/// Bytes of content that are kept of all of them together, until they are told.
const KEPT_BYTES_MAX: usize = 8 << 20;

/// How a file was when the environment was scanned first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum First {
    File(Digest),
    Absent,
    /// A link that was not followed, or unread: nothing to compare with.
    Unknown,
}

impl First {
    pub(super) fn of(node: Option<&Node>) -> Self {
        match node {
            Some(Node::File { digest, .. }) => Self::File(*digest),
            None => Self::Absent,
            Some(_) => Self::Unknown,
        }
    }
}

/// Another state than the first.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Other {
    pub(super) at_us: i64,
    pub(super) step: Option<u64>,
    /// None where there was no file, or it could not be read.
    pub(super) digest: Option<Digest>,
    pub(super) gone: bool,
    pub(super) content: Option<Vec<u8>>,
}

/// Where a file is, by the environment's number and name for it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Place {
    pub(super) key: usize,
    pub(super) logical: PathText,
    pub(super) first: First,
    /// It was touched before it was first read.
    pub(super) early: bool,
}

/// One file.
#[derive(Debug, Clone)]
pub(super) struct Case {
    pub(super) place: Place,
    pub(super) path: PathText,
    pub(super) at_us: i64,
    pub(super) step: Option<u64>,
    pub(super) touch: Touch,
    /// The first state that was another one, since it was last as at first.
    pub(super) other: Option<Other>,
    /// Last seen, and after which step.
    pub(super) last: (i64, Option<u64>),
    pub(super) as_first: bool,
    /// The bytes that it has now, where it is as at first.
    pub(super) content: Option<Vec<u8>>,
    /// Files in it, where it is a folder.
    pub(super) files: Option<usize>,
    settled: bool,
    /// That it is another one was told.
    pub(super) told: bool,
}

/// What a case comes to.
#[derive(Debug, Clone)]
pub(super) enum Outcome {
    /// It is not as at first: the environment is to be scanned again.
    Stays,
    /// It was another one for a while.
    Restored(Box<Case>),
    /// It was written to; what was in it in between is not known.
    Written(Box<Case>),
    /// Its attributes were set, or another name of it was.
    Attributes(PathText),
}

/// All of them.
#[derive(Debug, Default)]
pub(super) struct Cases {
    open: BTreeMap<PathText, Case>,
    kept: usize,
    /// Files that were not followed because there were too many.
    pub(super) beyond: u64,
}

impl Cases {
    /// Takes in what was seen.
    pub(super) fn take(&mut self, seen: Seen, place: Place, step: Option<u64>) {
        self.went_with(&seen, step);
        if !self.open.contains_key(&seen.path) {
            if self.open.len() >= CASES_MAX {
                self.beyond += 1;
                return;
            }
            let case = Case::new(&seen, place, step);
            self.open.insert(seen.path.clone(), case);
        }
        if let Some(case) = self.open.get_mut(&seen.path) {
            self.kept = self.kept.saturating_sub(case.kept());
            case.take(seen, step, KEPT_BYTES_MAX.saturating_sub(self.kept));
            self.kept += case.kept();
        }
    }

    /// A folder went, and with it files that were not there at first: they are as at first again.
    pub(super) fn went_with(&mut self, seen: &Seen, step: Option<u64>) {
        if let Now::FolderGone(_) = seen.now {
            self.gone_with(seen, step);
        }
    }

    fn gone_with(&mut self, seen: &Seen, step: Option<u64>) {
        let folder = format!("{}/", seen.path.as_str());
        let below = self
            .open
            .range_mut(seen.path.clone()..)
            .take_while(|(path, _)| path.as_str().starts_with(seen.path.as_str()))
            .filter(|(path, _)| path.as_str().starts_with(&folder));
        for (_, case) in below {
            case.settled = false;
            case.last = (seen.at_us, step);
            case.touch = case.touch.and(Touch::GONE);
            case.as_first = case.place.first == First::Absent;
        }
    }

    /// How many files are not settled in this environment.
    pub(super) fn unsettled(&self, key: usize) -> usize {
        let open = self.open.values();
        open.filter(|it| it.place.key == key && !it.settled).count()
    }

    /// Papers of packages that were written anew and are not settled: an installer was at work on these.
    pub(super) fn installers(&self, key: usize) -> BTreeSet<PathText> {
        let open = self.open.values();
        open.filter(|it| it.place.key == key && !it.settled)
            .filter(|it| it.touch.may_have_changed() || it.files.is_some())
            .map(|it| &it.place.logical)
            .filter(|it| it.as_str().ends_with(".dist-info/RECORD"))
            .cloned()
            .collect()
    }

    /// What the unsettled cases of an environment come to.
    pub(super) fn settle(&mut self, key: usize) -> Vec<Outcome> {
        let mut outcomes = Vec::new();
        let mut done = Vec::new();
        for (path, case) in &mut self.open {
            if case.place.key != key || case.settled {
                continue;
            }
            case.settled = true;
            if !case.as_first {
                outcomes.push(Outcome::Stays);
                continue;
            }
            done.push(path.clone());
            outcomes.extend(case.outcome());
        }
        for path in done {
            if let Some(case) = self.open.remove(&path) {
                self.kept = self.kept.saturating_sub(case.kept());
            }
        }
        outcomes
    }

    /// That these are other files than at first was told.
    pub(super) fn told(&mut self, key: usize, logical: &PathText) {
        let open = self.open.values_mut();
        for case in open.filter(|it| it.place.key == key && it.place.logical == *logical) {
            case.told = true;
        }
    }

    /// When a file was first seen to be another one, and what it was then.
    pub(super) fn other(&self, key: usize, logical: &PathText) -> Option<(&Case, &Other)> {
        let mut open = self.open.values();
        let case = open.find(|it| it.place.key == key && it.place.logical == *logical)?;
        Some((case, case.other.as_ref()?))
    }
}

impl Case {
    fn new(seen: &Seen, place: Place, step: Option<u64>) -> Self {
        Self {
            place,
            path: seen.path.clone(),
            at_us: seen.at_us,
            step,
            touch: Touch::default(),
            other: None,
            last: (seen.at_us, step),
            as_first: true,
            content: None,
            files: None,
            settled: false,
            told: false,
        }
    }

    fn kept(&self) -> usize {
        let other = self.other.as_ref().and_then(|it| it.content.as_ref());
        other.map_or(0, Vec::len) + self.content.as_ref().map_or(0, Vec::len)
    }

    fn take(&mut self, seen: Seen, step: Option<u64>, room: usize) {
        self.touch = self.touch.and(seen.touch);
        self.settled = false;
        self.last = (seen.at_us, step);
        if let (Some(before), Some(now)) = (&seen.before, &seen.identity) {
            if before.mtime_ns != now.mtime_ns || before.size != now.size {
                self.touch = self.touch.and(Touch::MOVED);
            }
            if (before.dev, before.ino) != (now.dev, now.ino) {
                self.touch = self.touch.and(Touch::REPLACED);
            }
        }
        let (digest, content, gone) = match seen.now {
            Now::File {
                digest, content, ..
            } => (digest, content, false),
            Now::Gone => (None, None, true),
            Now::Other => (None, None, false),
            Now::FolderGone(files) => {
                self.files = Some(files);
                (None, None, true)
            }
            Now::FolderBack(files) => {
                self.files = Some(files);
                self.as_first = true;
                return;
            }
        };
        let content = content.filter(|content| content.len() <= room);
        self.as_first = match self.place.first {
            First::Unknown => true,
            First::Absent => gone && self.files.is_none(),
            First::File(first) => digest == Some(first),
        };
        if self.as_first {
            self.content = content;
        } else if self.other.is_none() {
            self.other = Some(Other {
                at_us: seen.at_us,
                step,
                digest,
                gone,
                content,
            });
        } else if let Some(other) = &mut self.other
            && (other.gone || other.digest.is_none())
            && digest.is_some()
        {
            // It was away for a moment on its way to be another one.
            (other.digest, other.content, other.gone) = (digest, content, false);
        }
    }

    fn outcome(&self) -> Option<Outcome> {
        let case = || Box::new(self.clone());
        if self.place.first == First::Unknown && self.files.is_none() {
            return None;
        }
        if self.other.is_some() {
            return Some(Outcome::Restored(case()));
        }
        if self.place.first == First::Absent {
            // It came and went before it could be read.
            return self
                .touch
                .may_have_changed()
                .then(|| Outcome::Restored(case()));
        }
        let touch = self.touch;
        // A mapping that was written through and closed in time tells no more than the closing.
        let unheard = touch.has(Touch::UNHEARD.and(Touch::CLOSED)) && !touch.has(Touch::ATTRIBUTES);
        let moved = touch.has(Touch::MOVED);
        if touch.may_have_changed() || touch.has(Touch::REPLACED) || (unheard && moved) {
            return Some(Outcome::Written(case()));
        }
        let told = touch.has(Touch::ATTRIBUTES) || moved;
        told.then(|| Outcome::Attributes(self.place.logical.clone()))
    }
}
