//! `taintline ledger audit`: what the engine finds in the bytes, and what only the meaning of the entries can tell.
//!
//! The engine hashes; it does not know what an entry says. Here entries are understood as they pass: which number of a run
//! is missing, which blobs were pruned, which trees are needed within trees.

mod keys;
mod succession;
mod understood;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use domain::Digest;
use ledger::{AuditProblem, KeptHead, Store};
use report::view::{AuditView, KeptHeadView, LogView, ProblemView};

use self::understood::Understood;
use crate::error::AppError;
use crate::evidence;
use crate::place::Surroundings;
use crate::settings::Settings;
use crate::stamp::{self, TimeRoots};
use crate::store::pruned::{self, PrunedBlobs};
use crate::store::trees::Trees;
use crate::witness::{self, Witnesses};

/// Checks every byte of the ledger and of the blob store.
///
/// `heads` are files with tree heads that were kept elsewhere: each is held against the store.
/// Every time stamp is judged too; authorities under `time_roots` are believed beside those that are settled.
pub fn audit(
    surroundings: &Surroundings,
    heads: &[PathBuf],
    time_roots: &[PathBuf],
) -> Result<AuditView, AppError> {
    let place = surroundings.store_to_read()?;
    let settings = Settings::load(surroundings)?;
    let witnesses = Witnesses::load(&settings.ledger)?;
    let roots = TimeRoots::load(surroundings, &settings, time_roots)?;
    let kept = heads
        .iter()
        .map(|file| evidence::kept_head(surroundings, file));
    let kept: Vec<(String, KeptHead)> = kept.collect::<Result<_, _>>()?;
    let store = match Store::open(&place) {
        Ok(store) => store,
        Err(ledger::StoreError::Damaged { path }) => return Ok(damaged(&place, &path)),
        Err(error) => return Err(error.into()),
    };
    let understood = Understood::default();
    let mut report = ledger::audit(&store, &|bytes| understood.see(bytes, None));
    let prunings = understood.prunings();
    let pruned = PrunedBlobs::read(&store, &prunings);
    let is_missing = |it: &ledger::Problem| matches!(it.what, AuditProblem::BlobMissing { .. });
    if !pruned.is_empty() && (report.unlisted > 0 || report.problems.iter().any(is_missing)) {
        // Once more, with what the ledger says of blobs that are not there.
        report = ledger::audit(&store, &|bytes| understood.see(bytes, Some(&pruned)));
    }
    let problem = |problem: &ledger::Problem| ProblemView {
        file: problem.file.display().to_string(),
        what: problem.what.to_string(),
    };
    let mut problems: Vec<_> = report.problems.iter().map(problem).collect();
    problems.extend(missing_trees(&store, &understood.roots(), &pruned));
    let (standings, against_policy) = witness::audit(&store, witnesses.as_ref())?;
    problems.extend(against_policy);
    let mut stamps = Vec::new();
    if understood.has_stamps() {
        let (judged, wrong) = stamp::audit(&store, &roots)?;
        stamps = judged;
        problems.extend(wrong);
    }
    problems.extend(succession::problems(&store, &understood.ends()));
    problems.extend(understood.key_problems());
    Ok(AuditView {
        schema: "taintline.audit/1",
        logs: report
            .logs
            .iter()
            .map(|log| LogView {
                name: log.name.clone(),
                entries: log.head.size,
                root: log.head.root.to_string(),
            })
            .collect(),
        blobs: report.blobs,
        bytes: report.bytes,
        problems,
        witnesses: standings,
        stamps,
        gaps: understood.gaps(&pruned),
        heads: against(&store, kept),
        pruned: prunings
            .iter()
            .map(|(at_us, it)| pruned::view(*at_us, it))
            .collect(),
    })
}

/// Trees within trees that are not there: no entry names them, a tree that an entry names does.
fn missing_trees(
    store: &Store,
    roots: &BTreeMap<Digest, i64>,
    pruned: &PrunedBlobs,
) -> Vec<ProblemView> {
    let mut trees = Trees::new(store);
    let mut problems = BTreeMap::new();
    for (root, captured_us) in roots {
        for tree in trees.below(*root) {
            if !store.has_blob(&tree) && !pruned.excuses(&tree, *captured_us) {
                let name = tree.to_string();
                let (folder, file) = name.split_at(2);
                let what = format!("missing; the tree {} needs it", root.short());
                problems.insert(format!("blobs/{folder}/{file}"), what);
            }
        }
    }
    let view = |(file, what)| ProblemView { file, what };
    problems.into_iter().map(view).collect()
}

/// Each head that was kept elsewhere, and how the store stands to it.
fn against(store: &Store, kept: Vec<(String, KeptHead)>) -> Vec<KeptHeadView> {
    let view = |(file, kept): (String, KeptHead)| {
        let (is_continued, what) = match kept.against(store) {
            Ok(standing) => (standing.is_continued(), standing.to_string()),
            Err(error) => (false, format!("it could not be compared: {error}")),
        };
        KeptHeadView {
            file,
            origin: kept.origin().to_owned(),
            entries: kept.head().size,
            root: kept.head().root.to_string(),
            is_continued,
            what,
        }
    };
    kept.into_iter().map(view).collect()
}

/// A store whose `version` file is damaged: named, and nothing else can be believed.
fn damaged(place: &Path, file: &Path) -> AuditView {
    let shown = file
        .strip_prefix(place)
        .unwrap_or(file)
        .display()
        .to_string();
    let what = "it is not what Taintline wrote; the rest was not examined".to_owned();
    AuditView {
        schema: "taintline.audit/1",
        logs: Vec::new(),
        blobs: 0,
        bytes: 0,
        problems: vec![ProblemView { file: shown, what }],
        witnesses: Vec::new(),
        stamps: Vec::new(),
        gaps: Vec::new(),
        heads: Vec::new(),
        pruned: Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::Place;

    #[test]
    fn an_entry_that_no_log_has_is_named_by_the_audit_and_by_show() {
        let place = Place::new();
        let run = place.run(1);
        place.append(&[
            run.launch(0),
            run.gap(1, "a"),
            run.gap(4, "b"),
            run.gap(5, "c"),
        ]);
        let view = audit(&place.surroundings, &[], &[]).unwrap();
        assert!(view.problems.is_empty(), "{:?}", view.problems);
        let told: Vec<_> = view.gaps.iter().map(|gap| gap.what.clone()).collect();
        assert_eq!(told, [format!("entries 2 to 3 of run {}", run.id)]);
        let shown = place.reading().show("last").unwrap();
        let why = "the log goes from entry 2 of the run to 4";
        assert!(
            shown.gaps.iter().any(|gap| gap.why == why),
            "{:?}",
            shown.gaps
        );
    }

    #[test]
    fn a_sound_store_has_no_gap() {
        let place = Place::new();
        for number in 1..4 {
            let run = place.run(number);
            place.append(&[run.launch(0), run.gap(1, "a"), run.end(2)]);
        }
        let view = audit(&place.surroundings, &[], &[]).unwrap();
        assert!(view.problems.is_empty() && view.gaps.is_empty());
    }
}
