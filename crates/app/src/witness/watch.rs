//! The thread that asks witnesses while a run is going.
//!
//! It reads the log as any other process does and writes one file beside it, so neither the journal nor the job notices
//! whether a witness answers, hangs or is gone. What it learns it tells the recorder.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender};
use std::time::{Duration, Instant};

use ledger::Store;

use super::Witnesses;
use super::cosign::{Asked, Holder, cosign};

/// How long all witnesses together may take.
const PATIENCE: Duration = Duration::from_secs(8);

/// How long the end of a run waits for them: a question that is under way, and the last one.
const PARTING: Duration = Duration::from_secs(17);

/// The thread, as the recorder has it.
pub(crate) struct Watch {
    pub(crate) witnesses: Witnesses,
    orders: Sender<Order>,
    log: String,
    last: Receiver<Option<Asked>>,
    /// What was told already: a contradiction is a finding once.
    pub(crate) told: BTreeSet<Holder>,
    /// That no quorum was reached for too long is told.
    pub(crate) late: bool,
    /// Why witnesses did not cosign when they were asked last.
    pub(crate) troubles: BTreeMap<String, String>,
}

enum Order {
    /// The journal writes this log now.
    Log(String),
    /// Ask once more, and end.
    End,
}

impl Watch {
    /// Starts to ask about a log, at once and then again and again. `tell` is called from the thread. `None` when no
    /// thread is to be had.
    pub(crate) fn start(
        witnesses: Witnesses,
        store: Store,
        log: &str,
        tell: impl Fn(Asked) + Send + 'static,
    ) -> Option<Self> {
        let (orders, received) = mpsc::channel();
        let (told_last, last) = mpsc::channel();
        let asking = Asking {
            witnesses: witnesses.clone(),
            store,
            log: log.to_owned(),
            known: None,
        };
        let thread = std::thread::Builder::new().name("witnesses".to_owned());
        thread
            .spawn(move || asking.go_on(&received, &tell, &told_last))
            .ok()?;
        Some(Self {
            witnesses,
            orders,
            log: log.to_owned(),
            last,
            told: BTreeSet::new(),
            late: false,
            troubles: BTreeMap::new(),
        })
    }

    /// The journal may have gone on in another log.
    pub(crate) fn follow(&mut self, log: &str) {
        if self.log != log && !log.is_empty() {
            log.clone_into(&mut self.log);
            let _ = self.orders.send(Order::Log(self.log.clone()));
        }
    }

    /// Has the last head cosigned, and ends the thread; waits a bounded time, and not once `stop` is set. `waiting` is
    /// called when it takes longer than a moment. What the thread learns comes back, as far as it came in time.
    pub(crate) fn end(&self, stop: &AtomicBool, waiting: &mut dyn FnMut()) -> Option<Asked> {
        let _ = self.orders.send(Order::End);
        let began = Instant::now();
        let mut told = false;
        while began.elapsed() < PARTING && !stop.load(Ordering::Relaxed) {
            match self.last.recv_timeout(Duration::from_millis(50)) {
                Ok(asked) => return asked,
                Err(RecvTimeoutError::Disconnected) => return None,
                Err(RecvTimeoutError::Timeout) => {}
            }
            if !told && began.elapsed() > Duration::from_secs(1) {
                told = true;
                waiting();
            }
        }
        None
    }
}

struct Asking {
    witnesses: Witnesses,
    store: Store,
    log: String,
    /// The size at which all cosigned, when they did: nothing new, no question.
    known: Option<u64>,
}

impl Asking {
    fn go_on(
        mut self,
        orders: &Receiver<Order>,
        tell: &impl Fn(Asked),
        last: &Sender<Option<Asked>>,
    ) {
        let mut wait = Duration::ZERO;
        loop {
            match orders.recv_timeout(wait) {
                Ok(Order::Log(log)) => {
                    self.log = log;
                    self.known = None;
                }
                Ok(Order::End) => {
                    let _ = last.send(self.ask());
                    return;
                }
                Err(RecvTimeoutError::Disconnected) => return,
                Err(RecvTimeoutError::Timeout) => {
                    if let Some(asked) = self.ask() {
                        tell(asked);
                    }
                }
            }
            wait = self.witnesses.every;
        }
    }

    /// A log that cannot be read now is read the next time, and by the journal, which says so.
    fn ask(&mut self) -> Option<Asked> {
        let mut logs = self.store.logs().ok()?.into_iter();
        let log = logs.find(|log| log.name() == self.log)?;
        if self.known.is_some() && log.head().ok().map(|head| head.size) == self.known {
            return None;
        }
        let asked = match cosign(&log, &self.witnesses.policy, PATIENCE) {
            Ok(asked) => asked,
            // Nobody could be asked: that is told as what it is, so that the patience is looked at all the same.
            Err(error) => Asked::nothing(&log, &self.witnesses.policy, error),
        };
        let all = asked.judgement.lacking().next().is_none();
        self.known = (all && asked.contradictions.is_empty()).then_some(asked.head.size);
        Some(asked)
    }
}
