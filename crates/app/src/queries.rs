//! The use-cases that only read: `runs`, `show`, `diff`, and the ledger's `reindex`.

use std::collections::BTreeMap;

use domain::{Entry, Gap, RunId};
use ledger::{Log, Store};
use report::stamp::StampView;
use report::view::{RunView, RunsView};

use crate::error::AppError;
use crate::index::{Index, IndexedEntry, IndexedRun};
use crate::place::Surroundings;
use crate::present;
use crate::record::RunRecord;
use crate::settings::Settings;
use crate::stamp::{self, TimeRoots};
use crate::witness::{self, Witnesses};

/// A store opened for reading, with its index up to date and interrupted runs told as such.
pub struct Reading {
    witnesses: Option<Witnesses>,
    pub(crate) store: Store,
    pub(crate) index: Index,
    /// Whose time stamps are believed.
    roots: TimeRoots,
    surroundings: Surroundings,
}

impl Reading {
    /// Opens the store that the surroundings name.
    pub fn open(surroundings: &Surroundings) -> Result<Self, AppError> {
        let store = Store::open(&surroundings.store_to_read()?)?;
        let index = Index::open(&store)?;
        let settings = Settings::load(surroundings)?;
        let witnesses = Witnesses::load(&settings.ledger)?;
        let roots = TimeRoots::load(surroundings, &settings, &[])?;
        Ok(Self {
            witnesses,
            store,
            index,
            roots,
            surroundings: surroundings.clone(),
        })
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

    /// Log and number of the last entry of a run.
    pub(crate) fn last_place(&self, run: &IndexedRun) -> Result<(String, u64), AppError> {
        let entries = self.index.entries_of(run.id)?;
        let last = entries.last().ok_or_else(|| AppError::NoSuchRun {
            name: run.name.clone(),
        })?;
        Ok((last.log.clone(), last.number))
    }

    /// The first believed stamp over an entry; where there is none, the first that claims to be one.
    pub(crate) fn no_later_than(&self, place: (&str, u64)) -> Option<StampView> {
        stamp::no_later_than(&self.store, &self.index, &self.roots, place)
    }

    /// Adds what others vouch for.
    fn vouch(&self, view: &mut RunView, entries: &[IndexedEntry]) {
        let (Some(first), Some(last)) = (entries.first(), entries.last()) else {
            return;
        };
        let (store, index, roots) = (&self.store, &self.index, &self.roots);
        let at = |entry: &IndexedEntry| (entry.log.clone(), entry.number);
        let (first, last) = (at(first), at(last));
        view.no_later_than = stamp::no_later_than(store, index, roots, (&last.0, last.1));
        view.not_before = stamp::not_before(store, index, roots, (&first.0, first.1));
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
        let record = self.record(&run)?;
        let mut view = present::run(&self.store, &record, place);
        let pruned = crate::store::pruned::of_run(&self.store, &self.index, &record)?;
        view.gaps.extend(pruned);
        view.gaps.extend_from_slice(self.index.unread());
        let log = entries.last().map_or(&run.log, |last| &last.log);
        view.witnesses = witness::shown(&self.store, log, self.witnesses.as_ref());
        self.vouch(&mut view, &entries);
        view.approvals = crate::approve::of_run(&self.surroundings, self, run.id)?;
        view.replays = crate::replay::of_run(self, run.id)?;
        view.audits = crate::replay::audits_of(self, run.id)?;
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

/// Throws the index away and builds it from the ledger; the number of runs in it.
pub fn reindex(surroundings: &Surroundings) -> Result<usize, AppError> {
    let store = Store::open(&surroundings.store_to_read()?)?;
    Ok(Index::rebuild(&store)?.runs()?.len())
}
