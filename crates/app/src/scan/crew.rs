//! Many files at once, results in the order in which the files were met.
//!
//! Who examines is behind [`Examine`]; here it is only decided who gets what and when. Each member of the crew takes a
//! batch, at first of one file; while batches are done quickly they grow, so that small files cost little to hand out and a
//! large one holds nobody up. A result that is early waits, and when too many wait, nobody takes more: memory is bounded.
//! One file alone is examined on the spot, without a thread.

use std::collections::BTreeMap;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use domain::scan::{Examination, Gap, GapKind, Place};

use super::walk::Met;

/// Examines files.
pub(super) trait Examine: Send {
    /// One result for each, in order.
    fn examine(&mut self, batch: &[Met]) -> Vec<Examination>;
}

/// Makes a member of the crew on the thread that will use it.
pub(super) type Hire<'a> = dyn Fn() -> Box<dyn Examine + 'a> + Sync + 'a;

/// The largest batch.
const BATCH: usize = 64;
/// Batches that may be under way or waiting for an earlier one.
const AHEAD: u64 = 64;
/// A batch that was done in less may be larger next time.
const QUICK: Duration = Duration::from_millis(4);

/// An examination of something that could not be examined.
pub(super) fn only_gap(kind: GapKind, what: String) -> Examination {
    Examination {
        gaps: vec![Gap {
            kind,
            place: Place::default(),
            what,
        }],
        ..Examination::default()
    }
}

/// Examines everything that is `met` and hands each over in order.
pub(super) fn work(
    mut met: impl Iterator<Item = Met> + Send,
    jobs: usize,
    hire: &Hire<'_>,
    done: &mut dyn FnMut(Met, Examination),
) {
    let (first, second) = (met.next(), met.next());
    let rest = second.into_iter().chain(met);
    let mut rest = rest.peekable();
    let Some(first) = first else { return };
    if jobs <= 1 || rest.peek().is_none() {
        let mut examiner = hire();
        let mut all = std::iter::once(first).chain(rest);
        let mut size = Size::default();
        while let Some(batch) = size.take(&mut all) {
            let started = Instant::now();
            let results = complete(&batch, examiner.examine(&batch));
            size.learn(started.elapsed());
            for (met, result) in batch.into_iter().zip(results) {
                done(met, result);
            }
        }
        return;
    }
    let desk = Desk::new(std::iter::once(first).chain(rest), jobs);
    std::thread::scope(|scope| {
        for _ in 0..jobs {
            scope.spawn(|| desk.serve(hire));
        }
        while let Some(batch) = desk.next() {
            for (met, result) in batch {
                done(met, result);
            }
        }
    });
}

/// Whoever gives fewer results than files has lost them.
fn complete(batch: &[Met], mut results: Vec<Examination>) -> Vec<Examination> {
    results.resize_with(batch.len(), || {
        only_gap(GapKind::Crashed, "no result came back".to_owned())
    });
    results
}

/// How many files one takes at once.
struct Size(usize);

impl Default for Size {
    fn default() -> Self {
        Self(1)
    }
}

impl Size {
    fn take(&self, met: &mut impl Iterator<Item = Met>) -> Option<Vec<Met>> {
        let batch: Vec<Met> = met.take(self.0).collect();
        (!batch.is_empty()).then_some(batch)
    }

    fn learn(&mut self, took: Duration) {
        self.0 = if took < QUICK {
            (self.0 * 2).min(BATCH)
        } else {
            (self.0 / 4).max(1)
        };
    }
}

type Batch = Vec<(Met, Examination)>;

/// Where batches are taken and results are handed in.
struct Desk<I> {
    source: Mutex<Source<I>>,
    state: Mutex<State>,
    changed: Condvar,
}

struct Source<I> {
    met: I,
    next: u64,
}

struct State {
    ready: BTreeMap<u64, Batch>,
    /// Number of the batch that is handed over next.
    due: u64,
    /// Members of the crew that are still at work.
    at_work: usize,
}

impl<I: Iterator<Item = Met>> Desk<I> {
    fn new(met: I, crew: usize) -> Self {
        Self {
            source: Mutex::new(Source { met, next: 0 }),
            state: Mutex::new(State {
                ready: BTreeMap::new(),
                due: 0,
                at_work: crew,
            }),
            changed: Condvar::new(),
        }
    }

    fn serve(&self, hire: &Hire<'_>) {
        let leaving = Leaving(self);
        let mut examiner = hire();
        let mut size = Size::default();
        while let Some((number, batch)) = self.take(&size) {
            let started = Instant::now();
            let results = complete(&batch, examiner.examine(&batch));
            size.learn(started.elapsed());
            let batch = batch.into_iter().zip(results).collect();
            lock(&self.state).ready.insert(number, batch);
            self.changed.notify_all();
        }
        drop(leaving);
    }

    fn take(&self, size: &Size) -> Option<(u64, Vec<Met>)> {
        let mut source = lock(&self.source);
        let mut state = lock(&self.state);
        while source.next >= state.due + AHEAD {
            state = self
                .changed
                .wait(state)
                .unwrap_or_else(PoisonError::into_inner);
        }
        drop(state);
        let batch = size.take(&mut source.met)?;
        let number = source.next;
        source.next += 1;
        Some((number, batch))
    }

    fn next(&self) -> Option<Batch> {
        let mut state = lock(&self.state);
        loop {
            let due = state.due;
            if let Some(batch) = state.ready.remove(&due) {
                state.due += 1;
                drop(state);
                self.changed.notify_all();
                return Some(batch);
            }
            if state.at_work == 0 {
                return None;
            }
            state = self
                .changed
                .wait(state)
                .unwrap_or_else(PoisonError::into_inner);
        }
    }
}

/// Says that a member of the crew is gone, however it went.
struct Leaving<'d, I: Iterator<Item = Met>>(&'d Desk<I>);

impl<I: Iterator<Item = Met>> Drop for Leaving<'_, I> {
    fn drop(&mut self) {
        lock(&self.0.state).at_work -= 1;
        self.0.changed.notify_all();
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::super::walk::MetKind;
    use super::*;

    /// Takes its time for some files, and forgets one.
    struct Uneven;

    impl Examine for Uneven {
        fn examine(&mut self, batch: &[Met]) -> Vec<Examination> {
            let number = |met: &Met| met.path.to_str().unwrap().parse::<u64>().unwrap();
            let results = batch.iter().filter(|met| number(met) != 77).map(|met| {
                if number(met).is_multiple_of(50) {
                    std::thread::sleep(Duration::from_millis(5));
                }
                Examination {
                    size: number(met),
                    ..Examination::default()
                }
            });
            results.collect()
        }
    }

    fn files(count: u64) -> Vec<Met> {
        let met = |number: u64| Met {
            path: PathBuf::from(number.to_string()),
            named: false,
            kind: MetKind::File,
        };
        (0..count).map(met).collect()
    }

    #[test]
    fn results_come_in_the_order_of_the_files_whoever_was_quicker() {
        for jobs in [1, 2, 5] {
            for count in [0, 1, 2, 700] {
                let mut told = Vec::new();
                work(
                    files(count).into_iter(),
                    jobs,
                    &|| Box::new(Uneven),
                    &mut |met, _| told.push(met),
                );
                assert_eq!(told, files(count), "{jobs} {count}");
            }
        }
    }

    #[test]
    fn a_result_that_does_not_come_is_a_gap() {
        let mut gaps = 0;
        work(
            files(100).into_iter(),
            1,
            &|| Box::new(Uneven),
            &mut |_, done| {
                gaps += done.gaps.len();
            },
        );
        assert_eq!(gaps, 1);
    }
}
