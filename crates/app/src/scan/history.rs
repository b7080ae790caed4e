//! What was said of these bytes before: when a file was first examined, by which scanner, and whether the answer changed.
//!
//! A file is found by what earlier verdicts rested on, not by its path: of every layout that files of this size had, the
//! ranges are digested once more. Loads of runs are found by the digest of the whole file, which is read only where a run
//! loaded a file of this size.

use std::path::{Path, PathBuf};

use domain::scan::Weight;
use domain::{Digest, PathText};
use formats::ReadAt as _;
use ledger::Store;
use report::history::{Earlier, HistoryFile, HistoryView};

use super::input::Opened;
use super::keep::KeepError;
use super::recall::{Found, Trusted};
use super::traced;
use crate::index::{Index, IndexedVerdict};
use crate::place::Surroundings;
use crate::secret;

/// Earlier verdicts on the content of each of `paths`, oldest first.
pub fn history(surroundings: &Surroundings, paths: &[PathBuf]) -> Result<HistoryView, KeepError> {
    let store = Store::open(&surroundings.store_to_read()?)?;
    let index = Index::open(&store)?;
    let keys = surroundings.keys().ok();
    let secret = keys.and_then(|keys| secret::known(&store, &keys));
    let asking = Asking {
        // Without the secret nothing is vouched for, and what is there is told all the same.
        can_vouch: secret.is_some(),
        trusted: Trusted::new(store.clone(), secret.unwrap_or_default()),
        store,
        index,
    };
    let files = paths.iter().map(|path| asking.file(path));
    let files = files.collect::<Result<_, _>>()?;
    Ok(HistoryView {
        schema: "taintline.history/1",
        files,
        gaps: asking.index.unread().to_vec(),
    })
}

struct Asking {
    store: Store,
    trusted: Trusted,
    can_vouch: bool,
    index: Index,
}

impl Asking {
    fn file(&self, path: &Path) -> Result<HistoryFile, KeepError> {
        let opened = Opened::open(path, true)?;
        let size = opened.len();
        let mut earlier = Vec::new();
        for row in self.index.layouts_of_size(size)? {
            let Some(found) = self.trusted.read(&row) else {
                continue;
            };
            let ranges = found.judged.bound.map(|bound| bound.ranges);
            let content = ranges.and_then(|ranges| traced::content(&opened, &ranges));
            let Some(content) = content else { continue };
            for row in self.index.verdicts_on(size, &row.layout, &content)? {
                earlier.extend(self.trusted.read(&row).map(|found| self.told(&row, found)));
            }
        }
        let loads = self.index.examined_loads(size)?;
        if !loads.is_empty() {
            let whole = ::scan::digest(&opened).map_err(super::InputError::Refused)?;
            for load in loads.iter().filter(|load| load.digest == whole) {
                earlier.push(Earlier {
                    at_us: load.at_us,
                    path: load.path.clone(),
                    verdict: self.weight(&load.examined),
                    by_run: Some(load.run.clone()),
                    scanner: None,
                    log: load.log.clone(),
                    entry: load.number,
                    line: None,
                    again: false,
                    vouched: true,
                });
            }
        }
        earlier.sort_by_key(|earlier| (earlier.at_us, earlier.entry, earlier.line));
        Ok(HistoryFile {
            path: PathText::from(path),
            size,
            earlier,
        })
    }

    fn told(&self, row: &IndexedVerdict, found: Found) -> Earlier {
        Earlier {
            at_us: row.at_us,
            path: found.judged.path,
            verdict: Some(found.judged.verdict),
            by_run: None,
            scanner: Some(found.scanner),
            log: row.log.clone(),
            entry: row.number,
            line: Some(row.line),
            again: found.judged.as_in.is_some(),
            vouched: self.can_vouch && found.vouched,
        }
    }

    /// The verdict that the findings beside a load amount to; `None` where they are gone.
    fn weight(&self, examined: &Digest) -> Option<domain::scan::Verdict> {
        use domain::scan::Verdict;
        let blob = self.store.blob(examined).ok()??;
        let done: domain::scan::Examination = serde_json::from_slice(&blob).ok()?;
        Some(match done.weight() {
            Some(Weight::Dangerous) => Verdict::Dangerous,
            Some(Weight::Unknown) => Verdict::Unknown,
            Some(Weight::Custom) => Verdict::Custom,
            _ if !done.is_complete() => Verdict::Incomplete,
            _ => Verdict::Clean,
        })
    }
}
