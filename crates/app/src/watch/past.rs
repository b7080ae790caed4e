//! What an earlier daemon left in the store: when it said its last word, which folders it watched, what changed there.

use std::collections::{BTreeMap, VecDeque};
use std::path::PathBuf;

use domain::entry::Act;
use domain::watched::{FileChange, RunRegistered};
use domain::{Body, Entry, PathText, RunId, Tier};
use ledger::Store;

use crate::error::AppError;

/// As many as lie in one file of a log.
const BATCH: u64 = 256;
/// Entries that are read back at most: some weeks.
const READ_MAX: u64 = 400_000;
/// Changes that are remembered.
pub(super) const CHANGES_MAX: usize = 2_000;

/// A folder that a run asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Asked {
    pub(super) folder: PathBuf,
    pub(super) by: RunRegistered,
    pub(super) at_us: i64,
}

/// What is known of earlier watches.
#[derive(Debug, Default)]
pub(super) struct Past {
    /// The last entry of the last watch, and whether it said that it ended.
    pub(super) last: Option<(RunId, i64, bool)>,
    pub(super) folders: Vec<Asked>,
    pub(super) changes: VecDeque<(i64, FileChange)>,
}

impl Past {
    /// Reads back what is not older than `oldest_us`.
    pub(super) fn read(store: &Store, oldest_us: i64) -> Result<Self, AppError> {
        let mut past = Self::default();
        let mut runs = BTreeMap::new();
        for log in store.logs()? {
            let size = log.head()?.size;
            let mut next = size.saturating_sub(READ_MAX) / BATCH * BATCH;
            while next < size {
                let end = size.min(next + BATCH);
                for bytes in log.entries(next..end)? {
                    if let Ok(entry) = Entry::decode(&bytes) {
                        past.take(entry, oldest_us, &mut runs);
                    }
                }
                next = end;
            }
        }
        past.changes
            .make_contiguous()
            .sort_by_key(|(at_us, _)| *at_us);
        Ok(past)
    }

    fn take(&mut self, entry: Entry, oldest_us: i64, runs: &mut BTreeMap<RunId, RunRegistered>) {
        if entry.tier != Tier::HostDaemon {
            return;
        }
        let (watch, at_us) = (entry.run, entry.capture_us);
        let ended = matches!(entry.body, Body::Act(Act::WatchEnded));
        if self
            .last
            .as_ref()
            .is_none_or(|(_, last_us, _)| *last_us <= at_us)
        {
            self.last = Some((watch, at_us, ended));
        }
        if at_us < oldest_us {
            return;
        }
        match entry.body {
            Body::Act(Act::RunRegistered(it)) => {
                runs.insert(it.run, *it);
            }
            Body::Act(Act::FolderWatched { run, folder }) => {
                if let Some(by) = runs.get(&run) {
                    self.folder(&folder, by.clone(), at_us);
                }
            }
            Body::Act(Act::FileChanged(change)) => {
                if self.changes.len() >= CHANGES_MAX {
                    self.changes.pop_front();
                }
                self.changes.push_back((entry.event_us, *change));
            }
            _ => {}
        }
    }

    fn folder(&mut self, folder: &PathText, by: RunRegistered, at_us: i64) {
        use std::os::unix::ffi::OsStringExt as _;
        let folder = PathBuf::from(std::ffi::OsString::from_vec(folder.to_bytes()));
        let same = |it: &Asked| it.folder == folder && it.by.uid == by.uid;
        self.folders.retain(|it| !same(it));
        self.folders.push(Asked { folder, by, at_us });
    }
}
