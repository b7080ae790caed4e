//! The pool: who gets which request, and what a death means.
//!
//! A worker works its requests off in their order, so the first without an answer is the one that it died of, and the rest
//! goes to others. A worker that had answered before may have died of what it had gathered: such a request is tried once
//! more, by a worker that has done nothing else. The clock of a request starts when its worker has sent the answer before
//! it and we have read that, so that neither a queue nor a slow reader costs anybody the deadline.

use std::collections::VecDeque;
use std::ffi::OsString;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};

use super::Failure;
use super::process::{End, Worker};

/// Requests on their way to one worker, and how many bytes of them, so that none waits long behind one that hangs.
const WINDOW: usize = 64;
const WINDOW_BYTES: usize = 256 * 1024;

/// So many workers in a row that die before they greet: then no further one is started for what waits.
const FAILED_STARTS: u32 = 3;

/// What holds for each request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PoolLimits {
    /// The longest request.
    pub request_bytes: usize,
    /// The longest answer.
    pub answer_bytes: usize,
    /// Processor time that one request may take. Not the clock on the wall: a busy machine makes no file suspicious.
    pub processor: Duration,
    /// How long it may take all the same, when its worker waits for something.
    pub wall: Duration,
    /// How long a worker may take until it greets.
    pub start: Duration,
}

impl Default for PoolLimits {
    /// 1 MiB, 16 MiB, 10 seconds of processor time, a minute, 10 seconds.
    fn default() -> Self {
        Self {
            request_bytes: 1024 * 1024,
            answer_bytes: 16 * 1024 * 1024,
            processor: Duration::from_secs(10),
            wall: Duration::from_mins(1),
            start: Duration::from_secs(10),
        }
    }
}

/// Why a request was not taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum PoolError {
    /// It is longer than [`PoolLimits::request_bytes`].
    #[error("a request of {bytes} bytes is longer than {limit}")]
    RequestTooLong {
        /// Its length.
        bytes: usize,
        /// The limit.
        limit: usize,
    },
}

/// What became of a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outcome {
    /// The name that the caller gave it.
    pub id: u64,
    /// The answer, or why there is none.
    pub result: Result<Vec<u8>, Failure>,
}

pub(super) struct Request {
    id: u64,
    pub(super) number: u64,
    pub(super) bytes: Vec<u8>,
    /// Its first worker died of it, perhaps.
    is_second: bool,
}

/// Copies of this program that work requests off. They are killed when the pool is dropped, and when the thread that
/// started them ends: use a pool in one thread. Not beside a [`crate::job::Job`], which reaps every child of its process.
pub struct Pool {
    arguments: Vec<OsString>,
    limits: PoolLimits,
    workers: Vec<Option<Worker>>,
    waiting: VecDeque<Request>,
    again: VecDeque<Request>,
    ended: VecDeque<Outcome>,
    last_number: u64,
    failed_starts: u32,
    greeting: Option<Vec<u8>>,
    last_words: Vec<u8>,
}

impl Pool {
    /// A pool of at most `count` workers, at least one, each started as this program with these arguments (its name left
    /// out) and without environment, when there is work for it.
    pub fn new(count: usize, arguments: Vec<OsString>, limits: PoolLimits) -> Self {
        Self {
            arguments,
            limits,
            workers: (0..count.max(1)).map(|_| None).collect(),
            waiting: VecDeque::new(),
            again: VecDeque::new(),
            ended: VecDeque::new(),
            last_number: super::frame::HELLO,
            failed_starts: 0,
            greeting: None,
            last_words: Vec::new(),
        }
    }

    /// Gives the pool a request; `id` is the caller's name for it. Never blocks. Memory is the caller's to bound:
    /// [`Pool::outstanding`] says how many have no outcome yet.
    pub fn submit(&mut self, id: u64, bytes: Vec<u8>) -> Result<(), PoolError> {
        let limit = self.limits.request_bytes;
        if bytes.len() > limit {
            return Err(PoolError::RequestTooLong {
                bytes: bytes.len(),
                limit,
            });
        }
        self.last_number += 1;
        self.waiting.push_back(Request {
            id,
            number: self.last_number,
            bytes,
            is_second: false,
        });
        if self.waiting.len().is_multiple_of(WINDOW) {
            self.dispatch();
        }
        Ok(())
    }

    /// Requests whose outcome was not taken yet.
    pub fn outstanding(&self) -> usize {
        let flying = self
            .workers
            .iter()
            .flatten()
            .map(|worker| worker.flight.len());
        self.waiting.len() + self.again.len() + self.ended.len() + flying.sum::<usize>()
    }

    /// The next outcome, in the order in which they end; waits for it, at most as long as the deadlines let it. `None` if
    /// nothing is outstanding.
    pub fn next_outcome(&mut self) -> Option<Outcome> {
        loop {
            if let Some(outcome) = self.try_outcome() {
                return Some(outcome);
            }
            if self.outstanding() == 0 {
                return None;
            }
            self.wait();
        }
    }

    /// The next outcome if there is one by now.
    pub fn try_outcome(&mut self) -> Option<Outcome> {
        if self.ended.is_empty() && self.outstanding() > 0 {
            self.dispatch();
            self.take();
            self.dispatch();
        }
        self.ended.pop_front()
    }

    /// How the worker that was started last has greeted.
    pub fn greeting(&self) -> Option<&[u8]> {
        self.greeting.as_deref()
    }

    /// The end of what the worker that died last wrote to its standard error. What it parsed may have dictated it.
    pub fn last_words(&self) -> &[u8] {
        &self.last_words
    }

    /// Hands requests out, starting workers where all are busy.
    fn dispatch(&mut self) {
        while let Some(slot) = self.slot_for_next() {
            let Some(request) = self.again.pop_front().or_else(|| self.waiting.pop_front()) else {
                break;
            };
            if let Some(Some(worker)) = self.workers.get_mut(slot) {
                worker.give(request);
            } else {
                self.waiting.push_front(request);
                break;
            }
        }
        for worker in self.workers.iter_mut().flatten() {
            worker.send();
        }
    }

    /// Where the next request goes: to an idle worker, else to a new one, else to the one with the least to do.
    fn slot_for_next(&mut self) -> Option<usize> {
        let fresh = !self.again.is_empty();
        if !fresh && self.waiting.is_empty() {
            return None;
        }
        let ready = self
            .workers
            .iter()
            .enumerate()
            .filter_map(|(slot, worker)| {
                let worker = worker.as_ref()?;
                let room = worker.flight.len() < WINDOW && worker.unsent() < WINDOW_BYTES;
                room.then_some((worker.flight.len(), slot))
            });
        let least = ready.min();
        if let Some((0, slot)) = least
            && !fresh
        {
            return Some(slot);
        }
        match self.workers.iter().position(Option::is_none) {
            Some(empty) if self.start(empty) => Some(empty),
            _ => least.map(|(_, slot)| slot),
        }
    }

    fn start(&mut self, slot: usize) -> bool {
        if self.failed_starts >= FAILED_STARTS {
            return false;
        }
        match Worker::start(&self.arguments) {
            Ok(worker) => {
                if let Some(place) = self.workers.get_mut(slot) {
                    *place = Some(worker);
                }
                true
            }
            Err(error) => {
                self.last_words = error.to_string().into_bytes();
                self.failed_start();
                false
            }
        }
    }

    /// While a worker is well the others are not started any more; where none is, what waits is given up.
    fn failed_start(&mut self) {
        self.failed_starts += 1;
        let one_is_well = self.workers.iter().flatten().any(|worker| worker.is_ready);
        if self.failed_starts < FAILED_STARTS || one_is_well {
            return;
        }
        self.failed_starts = 0;
        for request in self.again.drain(..).chain(self.waiting.drain(..)) {
            self.ended.push_back(Outcome {
                id: request.id,
                result: Err(Failure::NoWorker),
            });
        }
    }

    /// Sends and takes what can be without waiting, and buries the dead.
    fn take(&mut self) {
        for slot in 0..self.workers.len() {
            let Some(Some(worker)) = self.workers.get_mut(slot) else {
                continue;
            };
            worker.send();
            let end = worker.receive(&self.limits).err();
            let late = worker.is_late(&self.limits);
            for (request, answer) in worker.answers.drain(..) {
                self.ended.push_back(Outcome {
                    id: request.id,
                    result: Ok(answer),
                });
            }
            if let Some(greeting) = worker.greeting.take() {
                self.greeting = Some(greeting);
                self.failed_starts = 0;
            }
            if let Some(end) = end.or(late.then_some(End::Late)) {
                self.bury(slot, end);
            }
        }
    }

    fn bury(&mut self, slot: usize, end: End) {
        let Some(mut worker) = self.workers.get_mut(slot).and_then(Option::take) else {
            return;
        };
        let failure = worker.end(end);
        self.last_words = std::mem::take(&mut worker.last_words);
        let culprit = if worker.is_ready {
            worker.flight.pop_front()
        } else {
            None
        };
        for request in worker.flight.drain(..).rev() {
            self.waiting.push_front(request);
        }
        if !worker.is_ready {
            self.failed_start();
        }
        let Some(mut request) = culprit else { return };
        if worker.has_answered && !request.is_second && end == End::Gone {
            request.is_second = true;
            self.again.push_back(request);
            return;
        }
        self.ended.push_back(Outcome {
            id: request.id,
            result: Err(failure),
        });
    }

    /// Waits until a worker says something, can be told something, or is late.
    fn wait(&self) {
        let mut watched = Vec::new();
        let mut until: Option<Instant> = None;
        for worker in self.workers.iter().flatten() {
            let mut flags = PollFlags::IN;
            flags.set(PollFlags::OUT, worker.unsent() > 0);
            watched.push(PollFd::new(&worker.socket, flags));
            let complaints = worker.complaints();
            watched.extend(complaints.map(|pipe| PollFd::new(pipe, PollFlags::IN)));
            if let Some(deadline) = worker.deadline(&self.limits) {
                until = Some(until.map_or(deadline, |until| until.min(deadline)));
            }
        }
        // A worker is late only after its deadline, not at it; and one that could not be started is tried again.
        let rest = match until {
            Some(until) => {
                until.saturating_duration_since(Instant::now()) + Duration::from_millis(1)
            }
            None => Duration::from_millis(10),
        };
        // An interrupted wait is a short one.
        let _ = poll(&mut watched, Timespec::try_from(rest).ok().as_ref());
    }
}
