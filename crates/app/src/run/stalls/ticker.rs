//! A clock of our own beside the job's: when it stands still, the job stands still by right.
//!
//! It ticks every few milliseconds. A tick that comes late says that this machine was paused or had no processor to spare; a process
//! that is seen stopped was stopped by somebody. Both explain a sleep. It also counts how many threads want a processor.

use std::collections::{BTreeSet, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

const EVERY: Duration = Duration::from_millis(10);
/// A tick that is later than that is a pause.
const LATE: Duration = Duration::from_millis(15);
/// Pauses, and seconds of load, that are remembered.
const PAUSES_MAX: usize = 4_096;
const LOADS_MAX: usize = 128;
/// Ticks between two looks at the processes and at the load.
const LOOK: u64 = 2;
/// Processes that are looked at.
const PROCESSES_MAX: usize = 256;

#[derive(Default)]
struct Seen {
    pids: BTreeSet<u32>,
    /// From and to, microseconds since 1970; of one process or of all.
    pauses: VecDeque<(i64, i64, Option<u32>)>,
    /// Each second: looks, and looks at which more threads were ready than there are processors.
    loads: VecDeque<(i64, u32, u32)>,
}

/// What the ticking thread saw.
#[derive(Clone, Default)]
pub(super) struct Ticker(Arc<Mutex<Seen>>);

impl Ticker {
    /// Looks at this process too; the thread starts with the first.
    pub(super) fn follow(&self, pid: u32) {
        let first = {
            let mut seen = self.lock();
            let first = seen.pids.is_empty();
            if seen.pids.len() < PROCESSES_MAX {
                seen.pids.insert(pid);
            }
            first
        };
        if first {
            let weak = Arc::downgrade(&self.0);
            let spawned = std::thread::Builder::new()
                .name("tick".to_owned())
                .spawn(move || tick(&weak));
            drop(spawned);
        }
    }

    /// Whether all stood still, or this process, at some time between.
    pub(super) fn paused(&self, pid: u32, from_us: i64, to_us: i64) -> bool {
        let seen = self.lock();
        let mut pauses = seen.pauses.iter();
        pauses.any(|(from, to, of)| *from < to_us && from_us < *to && of.is_none_or(|it| it == pid))
    }

    /// Whether more threads wanted a processor than there are, for a good part of that time.
    pub(super) fn loaded(&self, from_us: i64, to_us: i64) -> bool {
        let seen = self.lock();
        let of = seen
            .loads
            .iter()
            .filter(|(at, ..)| *at > from_us - 1_000_000 && *at < to_us + 1_000_000);
        let (looks, full) = of.fold((0, 0), |sum, (_, looks, full)| {
            (sum.0 + looks, sum.1 + full)
        });
        looks == 0 || full * 4 > looks
    }

    fn lock(&self) -> MutexGuard<'_, Seen> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn tick(seen: &std::sync::Weak<Mutex<Seen>>) {
    let processors = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    let mut last = Instant::now();
    let mut queued = host::pace::queued_so_far();
    let mut ticks = 0;
    loop {
        std::thread::sleep(EVERY);
        let Some(seen) = seen.upgrade() else { return };
        let now = host::clock::wall_us();
        let took = last.elapsed();
        last = Instant::now();
        ticks += 1;
        let ticker = Ticker(seen);
        // That this thread had to wait for a processor is load and no pause.
        let before = std::mem::replace(&mut queued, host::pace::queued_so_far());
        let waited = queued
            .zip(before)
            .map_or(Duration::ZERO, |(now, then)| now.saturating_sub(then));
        if took.saturating_sub(waited) > EVERY + LATE {
            let from = now.saturating_sub(i64::try_from(took.as_micros()).unwrap_or(0));
            ticker.pause(from, now, None);
        }
        if ticks % LOOK == 0 {
            ticker.look(now, processors);
        }
    }
}

impl Ticker {
    fn look(&self, now: i64, processors: usize) {
        let pids = self.lock().pids.clone();
        for pid in pids {
            match host::pace::is_stopped(pid) {
                Ok(false) => {}
                Ok(true) => self.pause(now - 60_000, now + 60_000, Some(pid)),
                Err(_) => {
                    // One stays, so that the thread is not started again.
                    let mut seen = self.lock();
                    if seen.pids.len() > 1 {
                        seen.pids.remove(&pid);
                    }
                }
            }
        }
        let full = host::pace::ready_threads().is_ok_and(|ready| ready > processors);
        let mut seen = self.lock();
        match seen.loads.back_mut() {
            Some((at, looks, count)) if now - *at < 1_000_000 => {
                *looks += 1;
                *count += u32::from(full);
            }
            _ => seen.loads.push_back((now, 1, u32::from(full))),
        }
        if seen.loads.len() > LOADS_MAX {
            seen.loads.pop_front();
        }
    }

    fn pause(&self, from: i64, to: i64, of: Option<u32>) {
        let mut seen = self.lock();
        match seen.pauses.back_mut() {
            Some((_, end, whose)) if *whose == of && *end >= from => *end = to,
            _ => seen.pauses.push_back((from, to, of)),
        }
        if seen.pauses.len() > PAUSES_MAX {
            seen.pauses.pop_front();
        }
    }
}
