//! Answers from the ledger: a verdict is used again only where everything that it rests on is proved to be the same.
//!
//! The ranges that were read are digested once more; the scanner, its rules, the policy and the file's name must be the
//! same; and the store's secret, which lies outside the store, must vouch for the entry. So neither a scanned folder, nor a
//! store that somebody else made, nor a changed index can plant a verdict. Digesting costs about as much as an ordinary
//! examination, so only files that took long are answered this way (`docs/scan.md` has the figures).

use std::cell::RefCell;
use std::collections::HashMap;

use domain::Entry;
use domain::verdict::{Examined as Segment, Judged, Kept, Scanner};
use domain::{Body, Digest};
use ledger::Store;

use super::input::Opened;
use super::keep::{KeepError, keyed};
use super::local::Examined;
use super::traced;
use super::walk::{Met, MetKind};
use super::worker::Setup;
use crate::index::{Index, IndexedVerdict};
use formats::ReadAt as _;

/// Microseconds from which an examination is heavy.
const HEAVY_US: u64 = 250_000;
/// An examination is heavy only if it read fewer bytes in a microsecond: digesting them reads more.
const HEAVY_BYTES_PER_US: u64 = 50;

/// Whether a verdict is worth being looked for: it took long for what it rests on, and rests on nothing else.
pub(crate) fn is_heavy(judged: &Judged) -> bool {
    let Some(bound) = &judged.bound else {
        return false;
    };
    let read = bound.ranges.iter().map(|(_, length)| *length);
    let read = read.fold(0_u64, u64::saturating_add);
    judged.as_in.is_none()
        && !judged.beside
        && judged.took_us >= HEAVY_US
        && read / judged.took_us.max(1) < HEAVY_BYTES_PER_US
}

/// A store and the secret that says which of its verdicts are ours.
pub(super) struct Trusted {
    store: Store,
    secret: [u8; 32],
    /// The segment that was read last: verdicts that are asked for together mostly stand together.
    last: RefCell<Option<Last>>,
}

/// An entry and its segment.
struct Last {
    log: String,
    number: u64,
    entry: Segment,
    lines: Vec<Vec<u8>>,
}

/// A verdict as its entry has it.
pub(super) struct Found {
    /// Who judged.
    pub(super) scanner: Scanner,
    /// What.
    pub(super) judged: Judged,
    /// Whether the store's secret vouches for it.
    pub(super) vouched: bool,
}

impl Trusted {
    pub(super) const fn new(store: Store, secret: [u8; 32]) -> Self {
        Self {
            store,
            secret,
            last: RefCell::new(None),
        }
    }

    /// The verdict to which a row of the index points, if it is there and is the one that the row means.
    pub(super) fn read(&self, row: &IndexedVerdict) -> Option<Found> {
        let mut last = self.last.borrow_mut();
        let same = |last: &Last| last.log == row.log && last.number == row.number;
        if !last.as_ref().is_some_and(same) {
            *last = Some(self.segment(row)?);
        }
        let last = last.as_ref()?;
        let examined = &last.entry;
        let line = last.lines.get(usize::try_from(row.line).ok()?)?;
        let judged: Judged = serde_json::from_slice(line).ok()?;
        let bound = judged.bound.as_ref()?;
        let same = bound.layout == row.layout
            && bound.content == row.content
            && bound.layout == domain::verdict::layout(bound.size, &bound.ranges);
        let vouched = keyed(&self.secret, &examined.scanner, &examined.segment) == examined.keyed;
        same.then(|| Found {
            scanner: examined.scanner.clone(),
            judged,
            vouched,
        })
    }

    /// The entry of a row, and its segment.
    fn segment(&self, row: &IndexedVerdict) -> Option<Last> {
        let logs = self.store.logs().ok()?;
        let log = logs.iter().find(|log| log.name() == row.log)?;
        let bytes = log.entries(row.number..row.number.checked_add(1)?).ok()?;
        let Body::Examined(entry) = Entry::decode(bytes.first()?).ok()?.body else {
            return None;
        };
        let segment = self.store.blob(&entry.segment).ok()??;
        let lines = segment.split(|byte| *byte == b'\n').map(<[u8]>::to_vec);
        Some(Last {
            log: row.log.clone(),
            number: row.number,
            entry,
            lines: lines.collect(),
        })
    }
}

/// What the ledger knows of files that took long.
pub(super) struct Recall {
    trusted: Trusted,
    scanner: Scanner,
    heavy: HashMap<(u64, String), Vec<IndexedVerdict>>,
}

/// Verdicts that are tried for one file: as many as files of this size and name had different contents.
const TRIED: usize = 16;

impl Recall {
    pub(super) fn new(
        trusted: Trusted,
        index: &Index,
        scanner: &Scanner,
        setup: &Setup,
    ) -> Result<Self, KeepError> {
        let mut heavy: HashMap<_, Vec<_>> = HashMap::new();
        // Where every byte is read, or the lines of the programs are wanted, the file is read anyway.
        if !setup.full && !setup.explain {
            let name = crate::index::scanner_name(scanner);
            for row in index.heavy_verdicts(&name)? {
                let rows = heavy.entry((row.size, row.name.clone())).or_default();
                if rows.len() < TRIED {
                    rows.push(row);
                }
            }
        }
        Ok(Self {
            trusted,
            scanner: scanner.clone(),
            heavy,
        })
    }

    /// What was said of this file when it was examined before, if it is the same.
    pub(super) fn answer(&self, met: &Met) -> Option<Examined> {
        if self.heavy.is_empty() || met.kind != MetKind::File {
            return None;
        }
        let name = met.path.file_name()?.to_string_lossy().into_owned();
        let opened = Opened::open(&met.path, met.named).ok()?;
        let rows = self.heavy.get(&(opened.len(), name))?;
        let mut digested: Option<(Digest, Digest)> = None;
        for row in rows {
            let Some(found) = self.trusted.read(row) else {
                continue;
            };
            let Some(bound) = &found.judged.bound else {
                continue;
            };
            let usable = found.vouched && found.scanner == self.scanner && is_heavy(&found.judged);
            if !usable || bound.size != opened.len() || bound.name != row.name {
                continue;
            }
            // Checkpoints of one training have one layout: their bytes are digested once.
            let content = match digested {
                Some((layout, content)) if layout == bound.layout => content,
                _ => traced::content(&opened, &bound.ranges)?,
            };
            digested = Some((bound.layout, content));
            if content == bound.content && opened.is_unchanged() {
                return Some(Examined {
                    as_in: Some(Kept {
                        log: row.log.clone(),
                        entry: row.number,
                        line: row.line,
                        at_us: found.judged.at_us,
                    }),
                    bound: found.judged.bound,
                    took_us: found.judged.took_us,
                    ..Examined::from(found.judged.examination)
                });
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use std::path::{Path, PathBuf};

    use domain::PathText;
    use domain::verdict::Bound;
    use report::scan::{FileReport, Verdict};

    use super::super::keep::{Keeper, Known};
    use super::super::traced::Traced;
    use super::*;
    use crate::place::Surroundings;

    struct World(tempfile::TempDir);

    impl World {
        fn at(&self, name: &str) -> PathBuf {
            self.0.path().join(name)
        }

        fn surroundings(&self) -> Surroundings {
            Surroundings {
                cwd: self.0.path().to_owned(),
                store: Some(self.at("store")),
                data_home: Some(self.at("data")),
                ..Surroundings::default()
            }
        }

        fn open(&self, setup: &Setup) -> (Keeper, Recall) {
            Keeper::open(&self.surroundings(), &[self.at("models")], setup).unwrap()
        }

        fn answer(&self, name: &str, setup: &Setup) -> Option<Examined> {
            self.open(setup).1.answer(&met(&self.at(name)))
        }
    }

    fn met(path: &Path) -> Met {
        Met {
            path: path.to_owned(),
            named: true,
            kind: MetKind::File,
        }
    }

    /// What an examination of the file rests on that reads ten bytes from its beginning and ten from its end.
    fn bound(path: &Path) -> Bound {
        let opened = Opened::open(path, true).unwrap();
        let traced = Traced::new(&opened);
        traced.read_at(0, &mut [0; 10]).unwrap();
        traced.read_at(opened.len() - 10, &mut [0; 10]).unwrap();
        traced.bound("a.pkl").unwrap()
    }

    /// A world in which a.pkl was examined, for ten seconds, and found to be dangerous.
    fn kept(beside: bool, took_us: u64) -> World {
        let world = World(tempfile::tempdir().unwrap());
        std::fs::create_dir(world.at("models")).unwrap();
        let path = world.at("models/a.pkl");
        std::fs::write(&path, [7; 100]).unwrap();
        let (mut keeper, _) = world.open(&Setup::default());
        let report = FileReport {
            path: PathText::from(path.as_path()),
            named: true,
            verdict: Verdict::Dangerous,
            examination: domain::scan::Examination {
                size: 100,
                raw_bytes: 80,
                ..Default::default()
            },
            accepted: Vec::new(),
            listings: Vec::new(),
            as_in: None,
        };
        let mut examined = Examined {
            bound: Some(bound(&path)),
            took_us,
            beside,
            ..Examined::default()
        };
        keeper.keep(&path, &report, Known::take(&mut examined));
        assert!(keeper.finish(&mut Vec::new()));
        world
    }

    const LONG: u64 = 10_000_000;

    #[test]
    fn what_was_kept_answers_for_the_same_bytes_and_names_its_entry() {
        let world = kept(false, LONG);
        let answer = world.answer("models/a.pkl", &Setup::default()).unwrap();
        assert_eq!((answer.done.size, answer.done.raw_bytes), (100, 80));
        assert_eq!(answer.as_in.unwrap().entry, 0);
    }

    #[test]
    fn bytes_that_no_verdict_rests_on_may_change_and_no_others() {
        let world = kept(false, LONG);
        let path = world.at("models/a.pkl");
        for (at, same) in [(50, true), (9, false), (90, false), (10, true)] {
            let mut bytes = [7; 100];
            bytes[at] = 8;
            std::fs::write(&path, bytes).unwrap();
            let answer = world.answer("models/a.pkl", &Setup::default());
            assert_eq!(answer.is_some(), same, "{at}");
        }
        std::fs::write(&path, [7; 101]).unwrap();
        assert!(world.answer("models/a.pkl", &Setup::default()).is_none());
    }

    #[test]
    fn another_name_or_another_way_of_judging_is_examined_again() {
        let world = kept(false, LONG);
        std::fs::copy(world.at("models/a.pkl"), world.at("models/b.pkl")).unwrap();
        assert!(world.answer("models/b.pkl", &Setup::default()).is_none());
        let without = Setup {
            without: vec!["torch".to_owned()],
            ..Setup::default()
        };
        let full = Setup {
            full: true,
            ..Setup::default()
        };
        let explain = Setup {
            explain: true,
            ..Setup::default()
        };
        for setup in [without, full, explain] {
            assert!(world.answer("models/a.pkl", &setup).is_none());
        }
    }

    #[test]
    fn what_was_quick_or_depends_on_its_neighbours_is_examined_again() {
        for world in [kept(true, LONG), kept(false, 10)] {
            assert!(world.answer("models/a.pkl", &Setup::default()).is_none());
        }
    }

    #[test]
    fn a_verdict_that_the_secret_does_not_vouch_for_is_never_used() {
        let world = kept(false, LONG);
        let keys = std::fs::read_dir(world.at("data/taintline/keys")).unwrap();
        for file in keys.map(|file| file.unwrap().path()) {
            if file.extension().is_some_and(|ending| ending == "secret") {
                std::fs::write(file, [3; 32]).unwrap();
            }
        }
        assert!(world.answer("models/a.pkl", &Setup::default()).is_none());
    }
}
