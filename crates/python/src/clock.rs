//! Which phase of a step the time belongs to, and where the time of a phase went: the thread ran, was ready and waited for a processor,
//! or slept.
//!
//! Asleep is what is left of the wall time. The thread's own clock is read at each change of phases; the kernel's other figures only
//! when a millisecond or more is to be explained, and once a step. Without `/proc/thread-self/schedstat` waiting for a processor
//! cannot be told from sleep, and nothing is told.

use std::ffi::CString;
use std::os::fd::{BorrowedFd, IntoRawFd, RawFd};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use domain::sensor::Progress;
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use rustix::fs::{Mode, OFlags};
use rustix::process::Pid;
use rustix::thread::gettid;
use rustix::time::{ClockId, clock_gettime};

/// Nanoseconds that are worth an explanation.
const WORTH: i64 = 1_000_000;
/// Phases whose time is explained: all but the sensor's own.
const EXPLAINED: usize = 5;

/// The phases as Python numbers them: those of the record, and two that are known only by what comes next.
const FORWARD: usize = 1;
const BACKWARD: usize = 2;
const BETWEEN: usize = 3;
const OPTIMIZER: usize = 4;
const SENSOR: usize = 5;
const AFTER_FORWARD: usize = 6;
const AFTER_BACKWARD: usize = 7;
const DATA: usize = 0;

/// Phase, microseconds asleep, queued and of all threads, and whether disks were used.
type Waited = (usize, u64, u64, u64, bool);

#[derive(Default, Clone, Copy)]
struct Wait {
    asleep: i64,
    queued: i64,
    others: i64,
    blocks: bool,
}

#[derive(Default)]
struct State {
    phase: usize,
    mark: i64,
    spent: [i64; SENSOR + 1],
    thread: Option<Pid>,
    file: Option<RawFd>,
    ran: i64,
    process: i64,
    queued: i64,
    blocks: i64,
    waits: [Option<Wait>; EXPLAINED],
    error: Option<String>,
}

/// Of the thread that trains.
#[pyclass(frozen)]
pub(crate) struct Clock {
    /// The file that tells how long a thread waited for a processor.
    path: CString,
    state: Mutex<State>,
    progress: Box<Place>,
}

/// [`Progress`] as it is written: the mark, steps, phases, the phase.
type Place = [AtomicU64; Progress::BYTES / size_of::<u64>()];

#[pymethods]
impl Clock {
    #[new]
    fn new(path: String) -> PyResult<Self> {
        let state = State {
            mark: now_of(ClockId::Monotonic),
            ..State::default()
        };
        Ok(Self {
            path: CString::new(path).map_err(|error| PyValueError::new_err(error.to_string()))?,
            state: Mutex::new(state),
            progress: Box::new([Progress::MARK, 0, 0, 0].map(AtomicU64::new)),
        })
    }

    /// Where [`Progress`] stands.
    #[getter]
    fn address(&self) -> usize {
        self.progress.as_ptr().expose_provenance()
    }

    /// The time since the last mark belongs to the phase that ends, and `phase` begins; answers the time, nanoseconds.
    fn turn(&self, phase: usize) -> i64 {
        let now = now_of(ClockId::Monotonic);
        let mut state = self.lock();
        let ending = match (state.phase, phase) {
            // Between forward and backward the loss is computed.
            (AFTER_FORWARD, BACKWARD) => FORWARD,
            (AFTER_FORWARD | AFTER_BACKWARD, OPTIMIZER) => BETWEEN,
            (AFTER_FORWARD, _) | (AFTER_BACKWARD, FORWARD) => DATA,
            (AFTER_BACKWARD, _) => BETWEEN,
            (phase, _) => phase,
        };
        let wall = now - state.mark;
        state.add(ending, wall);
        state.explain(ending, wall);
        state.phase = phase;
        let [_, _, phases, place] = &*self.progress;
        phases.fetch_add(1, Ordering::Relaxed);
        place.store(phase as u64, Ordering::Relaxed);
        now
    }

    /// The time since `since` was the sensor's, and the phase goes on.
    fn leave(&self, since: i64) {
        let now = now_of(ClockId::Monotonic);
        let mut state = self.lock();
        state.add(SENSOR, now - since);
        state.mark = now;
        state.begin();
    }

    /// The step is told: microseconds of each phase, with the sensor's since `since`, where the thread did not run, and why that is not
    /// known any more.
    fn take(&self, since: i64) -> ([u64; SENSOR + 1], Vec<Waited>, Option<String>) {
        let mut state = self.lock();
        let [_, steps, phases, _] = &*self.progress;
        steps.fetch_add(1, Ordering::Relaxed);
        phases.store(0, Ordering::Relaxed);
        let late = now_of(ClockId::Monotonic) - since;
        state.add(SENSOR, late);
        let mut spent = [0; SENSOR + 1];
        for (told, spent) in spent.iter_mut().zip(std::mem::take(&mut state.spent)) {
            *told = micros(spent);
        }
        // It is counted again when the sensor leaves.
        state.add(SENSOR, -late);
        let waits = std::mem::take(&mut state.waits);
        let told = (0..).zip(waits).filter_map(|(phase, wait)| {
            let Wait {
                asleep,
                queued,
                others,
                blocks,
            } = wait?;
            Some((
                phase,
                micros(asleep),
                micros(queued),
                micros(others),
                blocks,
            ))
        });
        let told = told.collect();
        if state.thread == Some(gettid()) {
            if state.file.is_some() {
                state.look();
            }
        } else {
            state.open(&self.path);
        }
        (spent, told, state.error.take())
    }
}

impl Clock {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn add(&mut self, phase: usize, nanoseconds: i64) {
        if let Some(spent) = self.spent.get_mut(phase) {
            *spent += nanoseconds;
        }
    }

    /// A phase begins, or the sensor gives back the thread.
    fn begin(&mut self) {
        if self.file.is_some() {
            self.ran = now_of(ClockId::ThreadCPUTime);
            self.process = now_of(ClockId::ProcessCPUTime);
        }
    }

    /// `wall` nanoseconds since [`begin`] belong to `phase`.
    fn explain(&mut self, phase: usize, wall: i64) {
        if self.file.is_none() || wall < WORTH || phase >= EXPLAINED {
            return;
        }
        let off = wall - (now_of(ClockId::ThreadCPUTime) - self.ran);
        if off < WORTH || self.thread != Some(gettid()) {
            return;
        }
        let others = now_of(ClockId::ProcessCPUTime) - self.process;
        let (queued, blocks) = self.look();
        if let Some(wait) = self.waits.get_mut(phase) {
            let wait = wait.get_or_insert_default();
            wait.asleep += (off - queued).max(0);
            wait.queued += queued;
            wait.others += others;
            wait.blocks |= blocks;
        }
    }

    /// Nanoseconds that the thread was queued, and whether the process used disks, since the last look.
    fn look(&mut self) -> (i64, bool) {
        let Some(queued) = self.file.and_then(queued_of) else {
            // The job closed all files and has others under their numbers.
            if self.file.take().is_some() {
                self.error = Some("the kernel's file about the thread is gone".to_owned());
            }
            return (0, true);
        };
        let blocks = blocks();
        let since = ((queued - self.queued).max(0), blocks != self.blocks);
        (self.queued, self.blocks) = (queued, blocks);
        since
    }

    /// This thread is another one, or a child's. The old file is left open: its number may be the job's by now.
    fn open(&mut self, path: &CString) {
        self.thread = Some(gettid());
        self.file = None;
        let flags = OFlags::RDONLY | OFlags::CLOEXEC;
        match rustix::fs::open(path.as_c_str(), flags, Mode::empty()) {
            Ok(file) => self.file = Some(file.into_raw_fd()),
            Err(error) => {
                self.error = Some(format!("{}: {error}", path.to_string_lossy()));
                return;
            }
        }
        self.look();
        self.begin();
    }
}

/// The second number of the file: nanoseconds that the thread was ready and did not run.
fn queued_of(file: RawFd) -> Option<i64> {
    let mut bytes = [0; 64];
    // SAFETY: the number was opened here and never closed by us; where the job closed it, the call fails or reads the job's file,
    // which changes nothing of it: `pread` moves no place.
    #[expect(
        unsafe_code,
        reason = "the file must not be closed when this is dropped"
    )]
    let file = unsafe { BorrowedFd::borrow_raw(file) };
    let length = rustix::io::pread(file, &mut bytes, 0).ok()?;
    let text = std::str::from_utf8(bytes.get(..length)?).ok()?;
    text.split_ascii_whitespace().nth(1)?.parse().ok()
}

/// Blocks that the process read and wrote, and pages that it waited for.
fn blocks() -> i64 {
    let mut usage = std::mem::MaybeUninit::<libc::rusage>::zeroed();
    // SAFETY: the kernel writes a whole `rusage` to the address that it is given, and all zeros are one too.
    #[expect(unsafe_code, reason = "a system call that rustix does not have")]
    let usage = unsafe {
        libc::getrusage(libc::RUSAGE_SELF, usage.as_mut_ptr());
        usage.assume_init()
    };
    usage
        .ru_inblock
        .wrapping_add(usage.ru_oublock)
        .wrapping_add(usage.ru_majflt)
}

fn now_of(clock: ClockId) -> i64 {
    let time = clock_gettime(clock);
    time.tv_sec
        .saturating_mul(1_000_000_000)
        .saturating_add(time.tv_nsec)
}

fn micros(nanoseconds: i64) -> u64 {
    u64::try_from(nanoseconds / 1000).unwrap_or(0)
}
