//! Many files at once, results in the order in which the files were met.
//!
//! Every file is examined by a worker, a confined copy of this program: a file that kills its worker costs its own result
//! and nothing else. A result that is early waits; when too many wait, no further file is handed out, so memory is bounded.
//! Where no worker can be started, this process examines by itself, and the result says so.

use std::collections::BTreeMap;
use std::fs::File;
use std::os::fd::AsRawFd as _;
use std::path::PathBuf;
use std::time::Duration;

use domain::scan::GapKind;
use host::worker::{Failure, Outcome, Pool, PoolLimits};
use report::scan::Confinement;

use super::local::{Examined, Local};
use super::recall::Recall;
use super::walk::{Met, MetKind, Walk};
use super::worker::{self, Setup};
use crate::examination::only_gap;

/// Files that are handed out for each worker.
const OUT: usize = 128;
/// Files that are handed out together: looking for results after each would cost more than the files.
const BATCH: u64 = 64;
/// Files of which the first is not done yet.
const AHEAD: u64 = 8192;
/// Bytes of results that wait for an earlier one.
const WAITING_BYTES: usize = 8 << 20;
/// How long a file may take where every byte is read.
const FULL: Duration = Duration::from_hours(12);

/// Everything that is needed to examine.
pub(super) struct Crew<'a> {
    /// How to judge.
    pub(super) setup: Setup,
    /// What came on standard input.
    pub(super) stdin: Option<&'a File>,
    /// Files that are examined at once.
    pub(super) jobs: usize,
    /// What the ledger knows.
    pub(super) recall: Option<&'a Recall>,
}

/// Where a result stands.
enum Place {
    /// It comes from a worker.
    Out(Met),
    /// It is there.
    Here(Met, Vec<u8>),
    /// It needs nobody.
    Known(Met, Box<Examined>),
}

impl Crew<'_> {
    /// Examines all that is at or below `paths` and hands each over in order. Says how the workers were confined.
    pub(super) fn work(
        mut self,
        paths: &[PathBuf],
        done: &mut dyn FnMut(&Met, Examined),
    ) -> Confinement {
        self.setup.hold_to(paths);
        if let Some(stdin) = self.stdin {
            self.setup.stdin = Some(stdin.as_raw_fd());
        }
        let met = Walk::new(paths.to_vec());
        match self.setup.file() {
            Ok(file) => {
                let arguments = worker::arguments(&file);
                let mut limits = PoolLimits {
                    request_bytes: worker::REQUEST_BYTES,
                    ..PoolLimits::default()
                };
                if self.setup.full {
                    (limits.processor, limits.wall) = (FULL, FULL);
                }
                let pool = Pool::new(self.jobs, arguments, limits);
                Shift::new(&self, pool).work(met, done)
            }
            Err(error) => {
                let mut shift = Shift::new(&self, Pool::new(1, Vec::new(), PoolLimits::default()));
                shift.alone = Some(error.to_string());
                shift.work(met, done)
            }
        }
    }
}

/// One scan in progress.
struct Shift<'a> {
    crew: &'a Crew<'a>,
    pool: Pool,
    places: BTreeMap<u64, Place>,
    next: u64,
    due: u64,
    waiting_bytes: usize,
    /// Why this process examines by itself.
    alone: Option<String>,
}

impl<'a> Shift<'a> {
    fn new(crew: &'a Crew<'a>, pool: Pool) -> Self {
        Self {
            crew,
            pool,
            places: BTreeMap::new(),
            next: 0,
            due: 0,
            waiting_bytes: 0,
            alone: None,
        }
    }

    fn work(mut self, met: Walk, done: &mut dyn FnMut(&Met, Examined)) -> Confinement {
        for met in met {
            while !self.has_room() {
                let outcome = self.pool.next_outcome();
                self.take(outcome);
                self.hand_over(done);
            }
            self.give(met);
            if self.next.is_multiple_of(BATCH) {
                let outcome = self.pool.try_outcome();
                self.take(outcome);
                self.hand_over(done);
            }
        }
        while !self.places.is_empty() {
            let outcome = self.pool.next_outcome();
            self.take(outcome);
            self.hand_over(done);
        }
        self.confinement()
    }

    fn has_room(&self) -> bool {
        self.places.is_empty()
            || (self.pool.outstanding() < OUT * self.crew.jobs
                && self.next - self.due < AHEAD
                && self.waiting_bytes < WAITING_BYTES)
    }

    fn give(&mut self, met: Met) {
        let number = self.next;
        self.next += 1;
        let recalled = self.crew.recall.and_then(|recall| recall.answer(&met));
        if let Some(known) = recalled {
            self.places.insert(number, Place::Known(met, known.into()));
            return;
        }
        let place = match worker::request(&met) {
            None => {
                let known = self.by_itself(&met);
                Place::Known(met, known.into())
            }
            Some(_) if self.alone.is_some() => {
                let known = self.by_itself(&met);
                Place::Known(met, known.into())
            }
            Some(request) => match self.pool.submit(number, request) {
                Ok(()) => Place::Out(met),
                Err(error) => {
                    let known = Examined::from(only_gap(GapKind::Limit, error.to_string()));
                    Place::Known(met, known.into())
                }
            },
        };
        self.places.insert(number, place);
    }

    fn take(&mut self, outcome: Option<Outcome>) {
        let Some(Outcome { id, result }) = outcome else {
            return self.give_up();
        };
        let Some(Place::Out(met)) = self.places.remove(&id) else {
            return;
        };
        let place = match result {
            Ok(bytes) => {
                self.waiting_bytes += bytes.len();
                Place::Here(met, bytes)
            }
            Err(Failure::NoWorker) => {
                if self.alone.is_none() {
                    let words = String::from_utf8_lossy(self.pool.last_words());
                    self.alone = Some(words.trim().to_owned());
                }
                let known = self.by_itself(&met);
                Place::Known(met, known.into())
            }
            Err(failure) => Place::Known(met, lost(failure).into()),
        };
        self.places.insert(id, place);
    }

    /// The pool has nothing outstanding: what is still out was lost, which no pool does.
    fn give_up(&mut self) {
        if self.pool.outstanding() > 0 {
            return;
        }
        for place in self.places.values_mut() {
            if let Place::Out(met) = place {
                let known = only_gap(GapKind::Crashed, "no result came back".to_owned());
                let known = Examined::from(known);
                *place = Place::Known(met.clone(), Box::new(known));
            }
        }
    }

    fn hand_over(&mut self, done: &mut dyn FnMut(&Met, Examined)) {
        while let Some(first) = self.places.first_entry() {
            if *first.key() != self.due || matches!(first.get(), Place::Out(_)) {
                return;
            }
            self.due += 1;
            match first.remove() {
                Place::Known(met, known) => done(&met, *known),
                Place::Here(met, bytes) => {
                    self.waiting_bytes -= bytes.len();
                    done(
                        &met,
                        worker::answered(&bytes).unwrap_or_else(|| lost(Failure::Garbled)),
                    );
                }
                Place::Out(_) => {}
            }
        }
    }

    fn by_itself(&self, met: &Met) -> Examined {
        match &met.kind {
            MetKind::Gap(kind, what) => only_gap(*kind, what.clone()).into(),
            MetKind::Link => Examined::default(),
            MetKind::File | MetKind::Stdin => {
                let setup = &self.crew.setup;
                let rules = super::policy::rules(&setup.without, &setup.admitted);
                let local = Local {
                    rules: &rules,
                    options: setup.options(),
                    explain: setup.explain,
                    bind: setup.bind,
                    stdin: self.crew.stdin,
                };
                local.one(met)
            }
        }
    }

    fn confinement(&self) -> Confinement {
        if let Some(why) = &self.alone {
            return Confinement {
                processes: false,
                holds: Vec::new(),
                missing: vec![format!("no worker could be started: {why}")],
            };
        }
        let greeting = self.pool.greeting().unwrap_or_default();
        serde_json::from_slice(greeting).map_or_else(|_| Confinement::default(), layers)
    }
}

/// What became of a file whose worker gave no answer.
fn lost(failure: Failure) -> Examined {
    let kind = match failure {
        Failure::OutOfMemory | Failure::Oversized => GapKind::Limit,
        Failure::TimedOut => GapKind::TimedOut,
        Failure::Crashed { .. } | Failure::Exited { .. } | Failure::Garbled | Failure::NoWorker => {
            GapKind::Crashed
        }
    };
    only_gap(kind, failure.to_string()).into()
}

fn layers(layers: host::sandbox::Confinement) -> Confinement {
    let landlock = layers.landlock.is_some();
    let all = [
        ("no_new_privileges", layers.no_new_privileges),
        ("limits", layers.limits),
        ("undumpable", layers.undumpable),
        ("dies_with_parent", layers.dies_with_parent),
        ("landlock", landlock),
        ("system_calls", layers.system_calls),
        ("alone", layers.alone),
    ];
    let of = |wanted: bool| {
        let some = all.iter().filter(|(_, holds)| *holds == wanted);
        some.map(|(name, _)| (*name).to_owned()).collect()
    };
    Confinement {
        processes: true,
        holds: of(true),
        missing: of(false),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::ffi::OsString;
    use std::path::Path;

    use super::*;

    /// This test binary again, running one ignored test.
    fn pool(test: &str, processor: Duration) -> Pool {
        let test = format!("scan::crew::tests::{test}");
        let words = ["--exact", &test, "--ignored", "--nocapture"];
        let limits = PoolLimits {
            request_bytes: worker::REQUEST_BYTES,
            processor,
            wall: Duration::from_mins(5),
            start: Duration::from_mins(1),
            ..PoolLimits::default()
        };
        Pool::new(2, words.map(OsString::from).into(), limits)
    }

    #[test]
    #[ignore = "not a test: the worker that the tests start"]
    fn worker_that_dies_of_some_names() {
        let served = host::worker::serve(b"{}", worker::REQUEST_BYTES, |request| {
            let path = String::from_utf8_lossy(request).into_owned();
            if path.ends_with("crash") {
                std::process::abort();
            }
            while path.ends_with("loop") {
                std::hint::spin_loop();
            }
            if path.ends_with("nonsense") {
                return b"nonsense".to_vec();
            }
            let size = path.len() as u64;
            [&b"0"[..], &size.to_le_bytes()].concat()
        });
        served.unwrap();
    }

    /// What becomes of the files in `folder`.
    fn examined(folder: &Path, pool: Pool) -> (Vec<(PathBuf, Examined)>, Confinement) {
        let crew = Crew {
            setup: Setup::default(),
            stdin: None,
            jobs: 2,
            recall: None,
        };
        let mut all = Vec::new();
        let walk = Walk::new(vec![folder.to_owned()]);
        let confinement = Shift::new(&crew, pool).work(walk, &mut |met, done| {
            all.push((met.path.clone(), done));
        });
        (all, confinement)
    }

    #[test]
    fn a_file_that_kills_its_worker_costs_its_own_result_and_no_other() {
        let folder = tempfile::tempdir().unwrap();
        for number in 0..200 {
            let ending = match number {
                20 => "crash",
                60 => "loop",
                90 => "nonsense",
                _ => "plain",
            };
            let name = format!("{number:03}{ending}");
            std::fs::write(folder.path().join(name), b"x").unwrap();
        }
        let pool = pool("worker_that_dies_of_some_names", Duration::from_secs(2));
        let (all, _) = examined(folder.path(), pool);
        assert_eq!(all.len(), 200);
        assert!(all.is_sorted_by_key(|(path, _)| path.clone()));
        let kinds = all
            .iter()
            .enumerate()
            .filter_map(|(number, (_, examined))| {
                let gap = examined.done.gaps.first()?;
                Some((number, gap.kind))
            });
        let kinds: BTreeSet<_> = kinds.collect();
        let expected = [
            (20, GapKind::Crashed),
            (60, GapKind::TimedOut),
            (90, GapKind::Crashed),
        ];
        assert_eq!(kinds, BTreeSet::from(expected));
    }

    #[test]
    fn where_no_worker_lives_this_process_examines_and_says_so() {
        let folder = tempfile::tempdir().unwrap();
        for number in 0..50 {
            std::fs::write(folder.path().join(number.to_string()), b"12345").unwrap();
        }
        let pool = pool("there_is_no_such_test", Duration::from_secs(2));
        let (all, confinement) = examined(folder.path(), pool);
        assert_eq!(all.len(), 50);
        assert!(all.iter().all(|(_, examined)| examined.done.size == 5));
        assert!(!confinement.processes && confinement.missing.len() == 1);
    }
}
