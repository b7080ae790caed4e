//! What was pruned, as the ledger says: asked by the audit and by `show` when a blob is not there.

use domain::entry::Act;
use domain::upkeep::{Pruned, PrunedBlob};
use domain::{Body, Digest, Entry, Gap};
use ledger::{Log, Store};
use report::time::{rfc3339, size};
use report::view::PruningView;

use crate::index::{Index, IndexError};
use crate::record::RunRecord;

/// Digests of pruned blobs that are held in memory at most, 40 bytes each.
const HELD_MAX: usize = 1_000_000;

/// Which blobs were pruned and when.
#[derive(Debug, Default)]
pub(crate) struct PrunedBlobs {
    /// Sorted: the blob, and when it was said that it goes.
    blobs: Vec<(Digest, i64)>,
    /// Beyond what is held in memory.
    pub(crate) not_held: u64,
}

impl PrunedBlobs {
    /// Reads the lists of these acts. One that cannot be read excuses nothing.
    pub(crate) fn read(store: &Store, acts: &[(i64, Pruned)]) -> Self {
        let mut all = Self::default();
        for (at_us, pruned) in acts {
            for line in list(store, pruned) {
                if all.blobs.len() < HELD_MAX {
                    all.blobs.push((line.digest, *at_us));
                } else {
                    all.not_held += 1;
                }
            }
        }
        all.blobs.sort_unstable();
        all
    }

    /// Whether a blob that an entry of this time needs was pruned afterwards. What was stored again later, and then taken
    /// away by somebody, is not excused by an older pruning.
    pub(crate) fn excuses(&self, digest: &Digest, captured_us: i64) -> bool {
        let from = self.blobs.partition_point(|(it, _)| it < digest);
        let these = self.blobs.iter().skip(from);
        let mut these = these.take_while(|(it, _)| it == digest);
        these.any(|(_, at_us)| *at_us >= captured_us)
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.blobs.is_empty()
    }
}

/// A pruning as it is shown.
pub(crate) fn view(at_us: i64, pruned: &Pruned) -> PruningView {
    PruningView {
        at: rfc3339(at_us),
        by: who(pruned),
        blobs: pruned.blobs,
        bytes: pruned.bytes,
        runs: pruned.runs,
        reason: pruned.reason.clone(),
        list: pruned.list.to_string(),
    }
}

/// What of a run was pruned, as gaps.
pub(crate) fn of_run(
    store: &Store,
    index: &Index,
    record: &RunRecord,
) -> Result<Vec<Gap>, IndexError> {
    let mut absent = record.blobs();
    absent.retain(|digest| !store.has_blob(digest));
    if absent.is_empty() {
        return Ok(Vec::new());
    }
    absent.sort_unstable();
    absent.dedup();
    let logs = store.logs()?;
    let mut gaps = Vec::new();
    for (log, number) in index.prunings()? {
        let log = logs.iter().find(|it| it.name() == log);
        let Some((at_us, pruned)) = log.and_then(|log| act_at(log, number)) else {
            continue;
        };
        let gone = list(store, &pruned).filter(|line| absent.binary_search(&line.digest).is_ok());
        gaps.extend(gap(at_us, &pruned, gone));
    }
    Ok(gaps)
}

fn gap(at_us: i64, pruned: &Pruned, gone: impl Iterator<Item = PrunedBlob>) -> Option<Gap> {
    let mut kinds = std::collections::BTreeMap::<String, (u64, u64)>::new();
    for line in gone {
        let (count, bytes) = kinds.entry(line.kind).or_default();
        *count += 1;
        *bytes = bytes.saturating_add(line.bytes);
    }
    let told: Vec<_> = kinds
        .iter()
        .map(|(kind, (count, bytes))| format!("{count} of {kind} ({})", size(*bytes)))
        .collect();
    (!told.is_empty()).then(|| Gap {
        what: format!("blobs: {}", told.join(", ")),
        why: format!(
            "pruned on {} by {}: {}",
            rfc3339(at_us),
            who(pruned),
            pruned.reason
        ),
    })
}

fn act_at(log: &Log, number: u64) -> Option<(i64, Pruned)> {
    let bytes = log.entries(number..number.checked_add(1)?).ok()?;
    let entry = Entry::decode(bytes.first()?).ok()?;
    match entry.body {
        Body::Act(Act::Pruned(pruned)) => Some((entry.capture_us, *pruned)),
        _ => None,
    }
}

/// The lines of a list; a line that is none is passed over.
fn list(store: &Store, pruned: &Pruned) -> impl Iterator<Item = PrunedBlob> + use<> {
    let bytes = store.blob(&pruned.list).ok().flatten().unwrap_or_default();
    let lines = String::from_utf8(bytes).unwrap_or_default();
    let lines: Vec<PrunedBlob> = lines
        .lines()
        .filter_map(|line| serde_json::from_str(line).ok())
        .collect();
    lines.into_iter()
}

fn who(pruned: &Pruned) -> String {
    format!("{}@{}", pruned.person.user, pruned.person.host)
}
