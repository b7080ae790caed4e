//! The use-cases that only read: `runs`, `show`, `diff`, and the ledger's `audit` and `reindex`.

use std::collections::BTreeMap;
use std::path::Path;

use domain::{Entry, Gap, RunId};
use ledger::{Log, Store};
use report::view::{AuditView, LogView, ProblemView, RunView, RunsView};

use crate::error::AppError;
use crate::index::{Index, IndexedEntry, IndexedRun};
use crate::place::Surroundings;
use crate::present;
use crate::record::RunRecord;

/// A store opened for reading, with its index up to date and interrupted runs told as such.
pub struct Reading {
    pub(crate) store: Store,
    pub(crate) index: Index,
}

impl Reading {
    /// Opens the store that the surroundings name.
    pub fn open(surroundings: &Surroundings) -> Result<Self, AppError> {
        let store = Store::open(&surroundings.store_to_read()?)?;
        let index = Index::open(&store)?;
        Ok(Self { store, index })
    }

    /// All runs, newest last.
    pub fn runs(&self) -> Result<RunsView, AppError> {
        let runs = self.index.runs()?;
        let runs = runs
            .iter()
            .map(|run| present::line(&self.store, run))
            .collect();
        Ok(RunsView {
            schema: "taintline.runs/1",
            runs,
            gaps: self.index.unread().to_vec(),
        })
    }

    /// One run by its name, its id, or the beginning of its id; `last` is the newest.
    pub fn find(&self, name: &str) -> Result<IndexedRun, AppError> {
        let mut found = if name == "last" {
            self.index
                .runs()?
                .into_iter()
                .next_back()
                .into_iter()
                .collect()
        } else {
            self.index.find(name)?
        };
        match (found.pop(), found.len()) {
            (Some(run), 0) => Ok(run),
            (None, _) => Err(AppError::NoSuchRun {
                name: name.to_owned(),
            }),
            (Some(_), others) => Err(AppError::ManyRuns {
                name: name.to_owned(),
                count: others + 1,
            }),
        }
    }

    /// The record of a run, folded from its entries.
    pub fn record(&self, run: &IndexedRun) -> Result<RunRecord, AppError> {
        let logs = self.store.logs()?;
        let mut record = RunRecord::new(run.id);
        let mut missing = BTreeMap::new();
        for place in self.index.entries_of(run.id)? {
            let entry = match logs.iter().find(|log| log.name() == place.log) {
                Some(log) => entry_at(log, &place, run.id),
                None => Err("the log is gone".to_owned()),
            };
            match entry {
                Ok(entry) => {
                    missing.remove(&place.seq);
                    record.apply(entry);
                }
                Err(_) if record.has(place.seq) => {} // there is a second one, in a further log
                Err(why) => {
                    missing.insert(place.seq, (place, why));
                }
            }
        }
        for (place, why) in missing.into_values() {
            record.add_gap(Gap {
                what: format!("entry {} of log {}", place.number, place.log),
                why,
            });
        }
        Ok(record)
    }

    /// All that is known of a run.
    pub fn show(&self, name: &str) -> Result<RunView, AppError> {
        let run = self.find(name)?;
        let entries = self.index.entries_of(run.id)?;
        let place = entries.last().map_or_else(
            || run.log.clone(),
            |last| {
                format!(
                    "{}, {} entries up to number {}",
                    last.log,
                    last.seq + 1,
                    last.number
                )
            },
        );
        let mut view = present::run(&self.store, &self.record(&run)?, place);
        view.gaps.extend_from_slice(self.index.unread());
        Ok(view)
    }
}

/// The entry at a place of the index, if it still is the one that the index means.
fn entry_at(log: &Log, place: &IndexedEntry, run: RunId) -> Result<Entry, String> {
    let bytes = log
        .entries(place.number..place.number.saturating_add(1))
        .map_err(|error| error.to_string())?;
    let entry = bytes.first().and_then(|bytes| Entry::decode(bytes).ok());
    entry
        .filter(|entry| entry.run == run && entry.seq == place.seq)
        .ok_or_else(|| "another entry is there now".to_owned())
}

/// Checks every byte of the ledger and of the blob store.
pub fn audit(surroundings: &Surroundings) -> Result<AuditView, AppError> {
    let place = surroundings.store_to_read()?;
    let referenced = |bytes: &[u8]| {
        Entry::decode(bytes)
            .map(|entry| entry.blobs())
            .unwrap_or_default()
    };
    let report = match Store::open(&place) {
        Ok(store) => ledger::audit(&store, &referenced),
        Err(ledger::StoreError::Damaged { path }) => return Ok(damaged(&place, &path)),
        Err(error) => return Err(error.into()),
    };
    let problem = |problem: &ledger::Problem| ProblemView {
        file: problem.file.display().to_string(),
        what: problem.what.to_string(),
    };
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
        problems: report.problems.iter().map(problem).collect(),
    })
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
    }
}

/// Throws the index away and builds it from the ledger; the number of runs in it.
pub fn reindex(surroundings: &Surroundings) -> Result<usize, AppError> {
    let store = Store::open(&surroundings.store_to_read()?)?;
    Ok(Index::rebuild(&store)?.runs()?.len())
}
