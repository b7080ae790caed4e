//! The journal of one run: from facts to durable entries.
//!
//! Facts are queued and written in batches; [`Journal::flush`] returns when they are durable or says why they are not. Two
//! things can go wrong while a job is running, and neither may stop it:
//!
//! - *The disk is full or gone.* Entries stay queued, bounded, and every flush tries again. What is lost in the end is told.
//! - *The ledger was rewritten under us* (the job runs under the same user and can). The journal goes on in a further log and
//!   writes there a finding, the tree head that it remembers, and once more all entries of this run.

use domain::entry::{Act, ENTRY_VERSION};
use domain::vouch::ClockState;
use domain::{Body, Digest, Entry, Finding, Gap, Grade, Rule, RunId, Tier};
use host::clock::Moment;
pub(crate) use host::clock::wall_us;
use host::clock::{both_us, discipline};
use ledger::{LedgerError, Store, Writer};

use crate::jumps::Jumps;
use crate::record::RunRecord;

const QUEUE_BYTES_MAX: usize = 64 << 20;
const KEPT_BYTES_MAX: usize = 16 << 20;
/// The same of a daemon, which must stay small.
const KEPT_BYTES_DAEMON: usize = 2 << 20;

/// Writes the entries of one run.
pub(crate) struct Journal {
    store: Store,
    writer: Writer,
    run: RunId,
    /// Who sees what is recorded, where nothing else is said.
    tier: Tier,
    /// Whether what was recorded is kept as a record of one run.
    folds: bool,
    seq: u64,
    queue: Vec<Vec<u8>>,
    queued_bytes: usize,
    /// Entries that are durable, kept so that they can be written again elsewhere.
    kept: Vec<Vec<u8>>,
    kept_bytes: usize,
    kept_max: usize,
    /// Nothing where the clocks could not be read at one moment yet.
    jumps: Option<Jumps>,
    last: Moment,
    lost: u64,
    failure: Option<String>,
    /// Why evidence could not be stored, told once a reason.
    not_stored: Option<String>,
    rewritten: Vec<Finding>,
    /// The log whose rewriting is told already, while there is no further one.
    told: Option<String>,
    log: String,
    size: u64,
    record: RunRecord,
}

impl Journal {
    /// A journal for `run`. `seq` is the number of its first entry: 0 but for a run that somebody else began.
    pub(crate) fn new(store: Store, writer: Writer, run: RunId, seq: u64) -> Self {
        Self {
            store,
            writer,
            run,
            tier: Tier::Supervisor,
            folds: true,
            seq,
            queue: Vec::new(),
            queued_bytes: 0,
            kept: Vec::new(),
            kept_bytes: 0,
            kept_max: KEPT_BYTES_MAX,
            jumps: both_us().map(|(wall, boot)| Jumps::new(wall, boot)),
            last: Moment::now(),
            lost: 0,
            failure: None,
            not_stored: None,
            rewritten: Vec::new(),
            told: None,
            log: String::new(),
            size: 0,
            record: RunRecord::new(run),
        }
    }

    /// A journal of a daemon, which has no end: it keeps no record of its own in memory.
    pub(crate) fn of_daemon(store: Store, writer: Writer, watch: RunId) -> Self {
        Self {
            tier: Tier::HostDaemon,
            folds: false,
            kept_max: KEPT_BYTES_DAEMON,
            ..Self::new(store, writer, watch, 0)
        }
    }

    /// The run.
    pub(crate) fn run(&self) -> RunId {
        self.run
    }

    /// The store.
    pub(crate) fn store(&self) -> &Store {
        &self.store
    }

    /// Queues a fact seen now, by whoever keeps this journal.
    pub(crate) fn record(&mut self, body: Body) {
        self.record_at(self.tier, wall_us(), body);
    }

    /// Queues a fact.
    pub(crate) fn record_at(&mut self, tier: Tier, event_us: i64, body: Body) {
        self.look_at_clock();
        self.push(tier, event_us, wall_us(), body);
    }

    /// Records that the wall clock was set, if it was.
    pub(crate) fn look_at_clock(&mut self) {
        let Some((wall, boot)) = both_us() else {
            return;
        };
        let jumps = self.jumps.get_or_insert(Jumps::new(wall, boot));
        if let Some(by_us) = jumps.look(wall, boot) {
            let body = Body::Act(Act::ClockStep { by_us });
            self.push(self.tier, wall, wall, body);
        }
    }

    /// Records what the kernel says of the clock now.
    pub(crate) fn record_clock(&mut self) {
        self.record(match discipline() {
            Ok(state) => Body::Act(Act::Clock(ClockState {
                synchronised: state.synchronised,
                offset_us: state.offset_us,
                error_us: state.error_us,
                max_error_us: state.max_error_us,
            })),
            Err(error) => Body::Gap(Gap {
                what: "state of the clock".to_owned(),
                why: error.to_string(),
            }),
        });
    }

    fn push(&mut self, tier: Tier, event_us: i64, capture_us: i64, body: Body) {
        let entry = Entry {
            v: ENTRY_VERSION,
            run: self.run,
            seq: self.seq,
            event_us,
            capture_us,
            tier,
            body,
        };
        self.seq += 1;
        self.last = Moment::now();
        let encoded = entry.encode();
        if self.folds {
            self.record.apply(entry);
        }
        match encoded {
            Ok(bytes) if self.queued_bytes + bytes.len() <= QUEUE_BYTES_MAX => {
                self.queued_bytes += bytes.len();
                self.queue.push(bytes);
            }
            // A fact that does not fit leaves a hole in the sequence: readers see it as a gap.
            Ok(_) | Err(_) => self.lost += 1,
        }
    }

    /// Stores evidence; `None` when it could not be stored, which becomes a gap.
    pub(crate) fn blob(&mut self, bytes: &[u8]) -> Option<Digest> {
        self.blobs(&[bytes.to_vec()])
            .and_then(|digests| digests.into_iter().next())
    }

    /// Stores several pieces of evidence at once.
    pub(crate) fn blobs(&mut self, blobs: &[Vec<u8>]) -> Option<Vec<Digest>> {
        match self.store.put_blobs(blobs) {
            Ok(digests) => Some(digests),
            Err(error) => {
                let why = error.to_string();
                self.failure = Some(why.clone());
                if self.not_stored.as_ref() != Some(&why) {
                    self.not_stored = Some(why.clone());
                    self.record(Body::Gap(Gap {
                        what: "part of the evidence".to_owned(),
                        why,
                    }));
                }
                None
            }
        }
    }

    /// Stores what may hold a secret: 32 random bytes in front, so that its digest says nothing about it.
    pub(crate) fn sealed_blob(&mut self, content: &[u8]) -> Option<Digest> {
        let mut bytes = vec![0; 32];
        if getrandom::fill(&mut bytes).is_err() {
            return None;
        }
        bytes.extend_from_slice(content);
        self.blob(&bytes)
    }

    /// Makes all queued facts durable. False when they are not; they stay queued.
    pub(crate) fn flush(&mut self) -> bool {
        if self.queue.is_empty() {
            return true;
        }
        match self.writer.append(&self.queue) {
            Ok(appended) => {
                self.log = appended.log;
                self.size = appended.head.size;
                self.failure = None;
                self.keep();
                true
            }
            Err(LedgerError::Rewritten { .. }) => self.go_on_elsewhere(),
            Err(error) => {
                self.failure = Some(error.to_string());
                false
            }
        }
    }

    /// Looks whether the log is still the one that was written; if not, says so in a further one.
    pub(crate) fn check(&mut self) {
        if matches!(self.writer.check(), Err(LedgerError::Rewritten { .. })) {
            self.go_on_elsewhere();
        }
    }

    fn keep(&mut self) {
        for bytes in self.queue.drain(..) {
            if self.kept_bytes + bytes.len() <= self.kept_max {
                self.kept_bytes += bytes.len();
                self.kept.push(bytes);
            }
        }
        self.queued_bytes = 0;
    }

    /// Goes on in a further log. Where that is not possible (the whole store was taken away) the finding is made all the
    /// same, and each flush tries again.
    fn go_on_elsewhere(&mut self) -> bool {
        let old = self.log.clone();
        let described = match self.writer.check() {
            Err(error) => error.to_string(),
            Ok(_) => "it was put back meanwhile".to_owned(),
        };
        let further = self.writer.continue_elsewhere();
        let (on, possible) = match further {
            Ok(log) => {
                let on = format!(
                    "the record goes on in log {log}, with all entries of this run once more"
                );
                self.log = log;
                (on, true)
            }
            Err(error) => {
                self.failure = Some(error.to_string());
                (format!("the record cannot go on elsewhere: {error}"), false)
            }
        };
        if self.told.as_ref() != Some(&old) {
            let finding = rewritten(&old, vec![described, on]);
            self.rewritten.push(finding.clone());
            self.record(Body::Finding(finding));
        }
        if !possible {
            self.told = Some(old);
            return false;
        }
        self.told = None;
        self.write_again()
    }

    /// All entries of the run, in the log that is the writer's now.
    fn write_again(&mut self) -> bool {
        let again: Vec<_> = self.kept.drain(..).chain(self.queue.drain(..)).collect();
        self.queue = again;
        self.queued_bytes = self.queue.iter().map(Vec::len).sum();
        self.kept_bytes = 0;
        match self.writer.append(&self.queue) {
            Ok(appended) => {
                self.size = appended.head.size;
                self.failure = None;
                self.keep();
                true
            }
            Err(error) => {
                self.failure = Some(error.to_string());
                false
            }
        }
    }

    /// Findings about the ledger itself that came up while writing, each once.
    pub(crate) fn take_rewritten(&mut self) -> Vec<Finding> {
        std::mem::take(&mut self.rewritten)
    }

    /// What could not be recorded, if anything.
    pub(crate) fn gap(&self) -> Option<Gap> {
        let why = match (&self.failure, self.lost) {
            (Some(failure), _) => failure.clone(),
            (None, 0) => return None,
            (None, lost) => format!("{lost} facts were too large to be recorded"),
        };
        Some(Gap {
            what: "entries of the run".to_owned(),
            why,
        })
    }

    /// When the last fact was recorded.
    pub(crate) fn last(&self) -> Moment {
        self.last
    }

    /// The run as recorded so far, also what is queued.
    pub(crate) fn record_so_far(&self) -> &RunRecord {
        &self.record
    }

    /// The run as recorded, and what could not be.
    pub(crate) fn into_record(mut self) -> RunRecord {
        let gap = self.gap();
        self.record.gaps.extend(gap);
        self.record
    }

    /// Log and its size after the last flush.
    pub(crate) fn position(&self) -> (&str, u64) {
        (&self.log, self.size)
    }
}

fn rewritten(log: &str, details: Vec<String>) -> Finding {
    Finding {
        rule: Rule::LedgerRewritten,
        grade: Grade::Observed,
        what: format!("log {log} is not the one that this run's supervisor wrote"),
        details,
        path: Some(domain::PathText::from_bytes(
            format!("ledger/{log}").as_bytes(),
        )),
        step: None,
        rank: None,
        earlier: None,
        evidence: Vec::new(),
        innocent: vec!["a backup of the store was put back while the run was going".to_owned()],
    }
}
