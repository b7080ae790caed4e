//! `taintline store prune`: first the ledger says what goes, then it goes.
//!
//! 1. The census, and the choice. *If the process dies here, nothing has changed.*
//! 2. The list becomes a blob, and an entry that names it is durable. *Dying here leaves blobs that the ledger says are
//!    gone. They harm nobody; the next prune by the same rule takes them.*
//! 3. Blob after blob is removed, each unless somebody stored it again. *Dying in between: the same, of the rest.*
//!
//! No entry, no tile, no tree head is ever touched, so every proof stays as good as it was.

use std::collections::HashSet;
use std::path::PathBuf;

use domain::entry::Act;
use domain::upkeep::{Pruned, PrunedBlob};
use domain::{Digest, Gap, RunId};
use host::clock::wall_us;
use ledger::{Removed, Store};
use report::view::{KindView, PruneView, SparedView};

use super::StoreUseError;
use super::census::Census;
use super::choose::{Choice, Doomed, Rules, choose};
use super::du::below;
use super::kind::BlobKind;
use crate::error::AppError;
use crate::place::Surroundings;
use crate::{acts, writing};

/// Blobs in one list: a list is read as a whole.
const LISTED_MAX: usize = 100_000;

/// The most bytes of a model signature that is looked at.
const SIGNATURE_BYTES_MAX: u64 = 256 << 20;

/// What was asked for.
#[derive(Debug, Clone, Default)]
pub struct PruneRequest {
    /// Which runs and which blobs.
    pub rules: Rules,
    /// The rules in words, for the record.
    pub reason: String,
    /// Change nothing.
    pub dry_run: bool,
}

/// Prunes.
pub fn prune(surroundings: &Surroundings, request: &PruneRequest) -> Result<PruneView, AppError> {
    let rules = &request.rules;
    if rules.older_than_s.is_none() && rules.keep.is_none() && rules.budget.is_none() {
        return Err(StoreUseError::NoRule.into());
    }
    let place = surroundings.store_to_read()?;
    let store = if request.dry_run {
        Store::open(&place)?
    } else {
        Store::open_or_create(&place)?
    };
    let census = Census::take(&store)?;
    if let Some(gap) = census.gaps.first() {
        return Err(StoreUseError::Unreadable {
            what: gap.what.clone(),
            why: gap.why.clone(),
        }
        .into());
    }
    let sealed = sealed(&store, &census, rules.force)?;
    let choice = choose(&census, rules, &sealed, wall_us());
    let kept = kept(&store, &choice.going);
    let mut view = view(request, &census, &choice);
    if !kept.is_empty() {
        view.kinds.push(KindView {
            kind: crate::run::KEPT,
            blobs: kept.len() as u64,
            bytes: kept.iter().map(|folder| below(folder)).sum(),
        });
    }
    let is_nothing = choice.blobs.is_empty() && kept.is_empty();
    if !request.dry_run && !is_nothing {
        tell(&store, surroundings, request, &choice, kept.len())?;
        remove(&store, &choice.blobs, &mut view);
        for folder in &kept {
            let _ = std::fs::remove_dir_all(folder); // what stays is counted by `du`, and goes with the next prune
        }
    }
    Ok(view)
}

/// The kept checkpoints of what goes.
fn kept(store: &Store, going: &[RunId]) -> Vec<PathBuf> {
    let all = store.root().join(crate::run::KEPT);
    let folders = going.iter().map(|run| all.join(run.to_string()));
    folders.filter(|folder| folder.is_dir()).collect()
}

/// The files that somebody sealed, as the seals in the store list them. One that cannot be read stops everything: what it
/// protects is not known.
fn sealed(
    store: &Store,
    census: &Census,
    is_forced: bool,
) -> Result<HashSet<Digest>, StoreUseError> {
    let mut all = HashSet::new();
    for digest in &census.signatures {
        let text = store.blob(digest).ok().flatten();
        let listed = text.and_then(|text| trust::oms::claimed_digests(&text, SIGNATURE_BYTES_MAX));
        match listed {
            Some(listed) => all.extend(listed),
            None if is_forced => {}
            None => {
                return Err(StoreUseError::Unreadable {
                    what: format!("the seal {}", digest.short()),
                    why: "what it protects is not known; --force goes on without it".to_owned(),
                });
            }
        }
    }
    Ok(all)
}

/// Makes durable what goes.
fn tell(
    store: &Store,
    surroundings: &Surroundings,
    request: &PruneRequest,
    choice: &Choice,
    kept: usize,
) -> Result<(), AppError> {
    let writer = writing::open(store, &surroundings.keys()?)?;
    let mut lists: Vec<&[Doomed]> = choice.blobs.chunks(LISTED_MAX).collect();
    if lists.is_empty() {
        lists.push(&[]);
    }
    let reason = match kept {
        0 => request.reason.clone(),
        kept => format!(
            "{}; with the kept checkpoints of {kept} runs",
            request.reason
        ),
    };
    for blobs in lists {
        let mut list = Vec::new();
        for blob in blobs {
            let line = PrunedBlob {
                digest: blob.digest,
                bytes: blob.bytes,
                kind: blob.kind.name().to_owned(),
            };
            serde_json::to_writer(&mut list, &line).map_err(domain::entry::EntryError::from)?;
            list.push(b'\n');
        }
        let pruned = Pruned {
            list: store.put_blob(&list)?,
            blobs: blobs.len() as u64,
            bytes: blobs.iter().map(|blob| blob.bytes).sum(),
            runs: choice.runs,
            reason: reason.clone(),
            person: crate::run::person(),
        };
        acts::record(&writer, Act::Pruned(Box::new(pruned)))?;
    }
    Ok(())
}

/// Removes, and says what really went.
fn remove(store: &Store, blobs: &[Doomed], view: &mut PruneView) {
    view.left_bytes += std::mem::take(&mut view.bytes);
    view.blobs = 0;
    for blob in blobs {
        match store.remove_blob(&blob.digest) {
            Ok(Removed::Gone | Removed::Absent) => {
                view.blobs += 1;
                view.bytes += blob.bytes;
                view.left_bytes = view.left_bytes.saturating_sub(blob.bytes);
            }
            Ok(Removed::InHand) => view.stored_again += 1,
            Err(fault) => {
                view.gaps.push(Gap {
                    what: "what is left of the list".to_owned(),
                    why: fault.to_string(),
                });
                return;
            }
        }
    }
}

fn view(request: &PruneRequest, census: &Census, choice: &Choice) -> PruneView {
    let total: u64 = census.stored.iter().map(|blob| blob.bytes).sum();
    let bytes: u64 = choice.blobs.iter().map(|blob| blob.bytes).sum();
    let kinds = BlobKind::ALL.iter().filter_map(|kind| {
        let these = || choice.blobs.iter().filter(|blob| blob.kind == *kind);
        let blobs = these().count() as u64;
        (blobs > 0).then(|| KindView {
            kind: kind.name(),
            blobs,
            bytes: these().map(|blob| blob.bytes).sum(),
        })
    });
    PruneView {
        schema: "taintline.prune/1",
        dry_run: request.dry_run,
        reason: request.reason.clone(),
        blobs: choice.blobs.len() as u64,
        bytes,
        runs: choice.runs,
        left_bytes: total.saturating_sub(bytes),
        budget_bytes: request.rules.budget,
        kinds: kinds.collect(),
        spared: choice
            .spared
            .iter()
            .map(|(why, runs)| SparedView {
                runs: *runs,
                why: (*why).to_owned(),
            })
            .collect(),
        stored_again: 0,
        gaps: Vec::new(),
    }
}
