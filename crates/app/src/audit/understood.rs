//! What the entries say that an audit needs to know; fed by several threads, in any order, and perhaps twice.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use domain::entry::Act;
use domain::upkeep::{KeyRotated, LogEnded, Pruned};
use domain::{Body, Digest, Entry, Gap};
use report::view::ProblemView;

use crate::sequence::Sequences;
use crate::store::kind::tree_root;
use crate::store::pruned::PrunedBlobs;

/// Different trees that are followed at most, 48 bytes each.
const ROOTS_MAX: usize = 200_000;

/// Ends of logs that are looked at; as many as one writer can have logs.
const ENDS_MAX: usize = 10_000;

/// What was understood so far.
#[derive(Debug, Default)]
pub(super) struct Understood {
    sequences: Sequences,
    said: Mutex<Said>,
}

#[derive(Debug, Default)]
struct Said {
    /// By the list's digest and when it was said: the same blobs can be stored again and pruned again.
    prunings: BTreeMap<(Digest, i64), Pruned>,
    /// Entries that end a log, without repetition.
    ends: Vec<LogEnded>,
    /// Exchanges of seal keys with their times, without repetition; and the newest seal of each key, by its hint.
    rotations: Vec<(i64, KeyRotated)>,
    seals: BTreeMap<String, i64>,
    /// The newest entry that needs each tree.
    roots: BTreeMap<Digest, i64>,
    roots_left_out: u64,
    has_stamps: bool,
}

impl Understood {
    /// Takes an entry in; gives the blobs that it needs, without those that were pruned after it.
    pub(super) fn see(&self, bytes: &[u8], pruned: Option<&PrunedBlobs>) -> Vec<Digest> {
        let Ok(entry) = Entry::decode(bytes) else {
            return Vec::new();
        };
        self.sequences.see(&entry);
        if let Body::Act(Act::Pruned(pruned)) = &entry.body {
            let mut said = self.said();
            let place = (pruned.list, entry.capture_us);
            said.prunings.insert(place, (**pruned).clone());
        }
        if matches!(entry.body, Body::Act(Act::Stamped(_))) {
            self.said().has_stamps = true;
        }
        match &entry.body {
            Body::Act(Act::KeyRotated(rotated)) => {
                let mut said = self.said();
                let place = (entry.capture_us, (**rotated).clone());
                if said.rotations.len() < ENDS_MAX && !said.rotations.contains(&place) {
                    said.rotations.push(place);
                }
            }
            Body::Act(Act::Sealed(seal)) => {
                let mut said = self.said();
                if said.seals.len() < ENDS_MAX || said.seals.contains_key(&seal.key) {
                    let newest = said.seals.entry(seal.key.clone()).or_insert(i64::MIN);
                    *newest = (*newest).max(entry.capture_us);
                }
            }
            _ => {}
        }
        if let Body::Act(Act::LogEnded(ended)) = &entry.body {
            let mut said = self.said();
            if said.ends.len() < ENDS_MAX && !said.ends.contains(ended) {
                said.ends.push((**ended).clone());
            }
        }
        if let Some(root) = tree_root(&entry) {
            let mut said = self.said();
            if said.roots.len() < ROOTS_MAX || said.roots.contains_key(&root) {
                let newest = said.roots.entry(root).or_insert(entry.capture_us);
                *newest = (*newest).max(entry.capture_us);
            } else {
                said.roots_left_out += 1;
            }
        }
        let mut blobs = entry.blobs();
        if let Some(pruned) = pruned {
            blobs.retain(|digest| !pruned.excuses(digest, entry.capture_us));
        }
        blobs
    }

    /// Whether an entry is a time stamp.
    pub(super) fn has_stamps(&self) -> bool {
        self.said().has_stamps
    }

    /// Every pruning, oldest first.
    pub(super) fn prunings(&self) -> Vec<(i64, Pruned)> {
        let said = self.said();
        let all = said.prunings.iter();
        let mut all: Vec<_> = all.map(|((_, at_us), it)| (*at_us, it.clone())).collect();
        all.sort_by_key(|(at_us, _)| *at_us);
        all
    }

    /// Every entry that ends a log.
    pub(super) fn ends(&self) -> Vec<LogEnded> {
        self.said().ends.clone()
    }

    /// What is wrong with keys that were exchanged.
    pub(super) fn key_problems(&self) -> Vec<ProblemView> {
        let said = self.said();
        super::keys::problems(&said.rotations, &said.seals)
    }

    /// The trees that entries name, each with the time of the newest such entry.
    pub(super) fn roots(&self) -> BTreeMap<Digest, i64> {
        std::mem::take(&mut self.said().roots)
    }

    /// What is missing although no file is wrong, and what was not looked at.
    pub(super) fn gaps(self, pruned: &PrunedBlobs) -> Vec<Gap> {
        let left_out = self.said().roots_left_out;
        let mut gaps = self.sequences.gaps();
        if left_out > 0 {
            gaps.push(Gap {
                what: format!("trees within the trees of {left_out} entries"),
                why: format!("at most {ROOTS_MAX} different ones are followed"),
            });
        }
        if pruned.not_held > 0 {
            gaps.push(Gap {
                what: format!("{} blobs of the lists of what was pruned", pruned.not_held),
                why: "the lists are longer than what is held in memory".to_owned(),
            });
        }
        gaps
    }

    fn said(&self) -> MutexGuard<'_, Said> {
        self.said.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
