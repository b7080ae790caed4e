//! A run as its entries tell it: a pure fold, the same for a live run, `show`, `diff` and the index.

use std::collections::BTreeMap;

use domain::declared::SpecUsed;
use domain::entry::{Act, End, Exit, Joined, Launch, Load, Signal, Steps, Write};
use domain::kept::CheckpointKept;
use domain::signals::SignalMade;
use domain::vouch::ClockState;
use domain::watched::{DaemonSeen, FileChange, Intervention};
use domain::{Body, Digest, Entry, Finding, Gap, Process, RunId, RunName};

/// All that is recorded of one run.
#[derive(Debug, Clone)]
pub struct RunRecord {
    /// Its identity.
    pub id: RunId,
    /// How it began; absent only when the log lost its first entry.
    pub launch: Option<Launch>,
    /// When it began, microseconds since 1970.
    pub started_us: i64,
    /// Processes that imported torch, by process.
    pub joined: BTreeMap<Process, Joined>,
    /// When each of them joined, in order.
    pub joins: Vec<(i64, Process)>,
    /// Processes that ended.
    pub exits: Vec<(i64, Exit)>,
    /// Signals to the supervisor.
    pub signals: Vec<(i64, Signal)>,
    /// Signals to its processes, as the kernel saw them.
    pub made: Vec<(i64, SignalMade)>,
    /// Changes to files that it loads or writes, as the host's daemon saw them.
    pub changes: Vec<(i64, FileChange)>,
    /// Hands that were laid on its processes without a signal.
    pub interventions: Vec<(i64, Intervention)>,
    /// Daemons that watched over it, and since when.
    pub daemons: Vec<(i64, DaemonSeen)>,
    /// Loads, in order.
    pub loads: Vec<Load>,
    /// When each of them happened.
    pub load_times: Vec<i64>,
    /// Writes, in order, with their time.
    pub writes: Vec<(i64, Write)>,
    /// Segments of steps, in order.
    pub segments: Vec<Steps>,
    /// Findings, in order.
    pub findings: Vec<Finding>,
    /// Gaps, without repetition.
    pub gaps: Vec<Gap>,
    /// How it ended, and when.
    pub end: Option<(i64, End)>,
    /// Its supervisor vanished.
    pub interrupted: bool,
    /// Its environment was declared to be meant.
    pub environment_accepted: bool,
    /// The spec that it was held against.
    pub spec: Option<SpecUsed>,
    /// Checkpoints that were set aside.
    pub kept: Vec<CheckpointKept>,
    /// What the kernel said of the clock, and when.
    pub clock: Vec<(i64, ClockState)>,
    /// When its last entry was recorded, microseconds since 1970: the last sign of life of its supervisor.
    pub last_us: i64,
    /// Signs of life that it gave when it had nothing else to say.
    pub heartbeats: u64,
    /// Next entry that is expected.
    next_seq: u64,
}

impl RunRecord {
    /// A run of which nothing is known yet.
    pub fn new(id: RunId) -> Self {
        Self {
            id,
            launch: None,
            started_us: 0,
            joined: BTreeMap::new(),
            joins: Vec::new(),
            exits: Vec::new(),
            signals: Vec::new(),
            made: Vec::new(),
            changes: Vec::new(),
            interventions: Vec::new(),
            daemons: Vec::new(),
            loads: Vec::new(),
            load_times: Vec::new(),
            writes: Vec::new(),
            segments: Vec::new(),
            findings: Vec::new(),
            gaps: Vec::new(),
            end: None,
            interrupted: false,
            environment_accepted: false,
            spec: None,
            kept: Vec::new(),
            clock: Vec::new(),
            last_us: 0,
            heartbeats: 0,
            next_seq: 0,
        }
    }

    /// Takes one more entry in. A jump in the sequence becomes a gap.
    pub fn apply(&mut self, entry: Entry) {
        if entry.seq > self.next_seq {
            let why = format!(
                "the log goes from entry {} of the run to {}",
                self.next_seq, entry.seq
            );
            self.add_gap(Gap {
                what: "entries of the run".to_owned(),
                why,
            });
        }
        if entry.seq < self.next_seq {
            return; // recorded a second time, in a further log, after the first was rewritten
        }
        self.next_seq = entry.seq + 1;
        if self.started_us == 0 {
            self.started_us = entry.event_us;
        }
        self.listen(&entry);
        match entry.body {
            Body::Act(act) => self.apply_act(entry.event_us, act),
            Body::Load(load) => {
                self.load_times.push(entry.event_us);
                self.loads.push(load);
            }
            Body::Write(write) => self.writes.push((entry.event_us, write)),
            Body::Steps(steps) => self.segments.push(steps),
            Body::Examined(_) => {} // of a scan, which is no run
            Body::Finding(finding) => self.findings.push(finding),
            Body::Gap(gap) => self.add_gap(gap),
        }
    }

    fn apply_act(&mut self, event_us: i64, act: Act) {
        match act {
            Act::Launch(launch) => {
                self.started_us = event_us;
                self.launch = Some(*launch);
            }
            Act::Joined(joined) => {
                self.joins.push((event_us, joined.process.clone()));
                self.joined.insert(joined.process.clone(), *joined);
            }
            Act::Exit(exit) => self.exits.push((event_us, exit)),
            Act::Signal(signal) => self.signals.push((event_us, signal)),
            Act::SignalMade(made) => self.made.push((event_us, *made)),
            Act::ClockBack { by_us } => {
                let why = format!("the wall clock went back by {:.1} s", by_us as f64 / 1e6);
                self.add_gap(Gap {
                    what: "times".to_owned(),
                    why,
                });
            }
            Act::EnvironmentAccepted => self.environment_accepted = true,
            Act::End(end) => self.end = Some((event_us, *end)),
            Act::Interrupted => self.interrupted = true,
            Act::ClockStep { by_us } => self.add_gap(step_of_the_clock(by_us)),
            Act::Clock(state) => self.clock.push((event_us, state)),
            Act::Alive(_) => self.heartbeats += 1,
            // Acts of their own, in no run.
            Act::WaysIn { .. } // for the index, and for whoever reads the list
            | Act::Sealed(_)
            | Act::Stamped(_)
            | Act::Approved(_)
            | Act::Pruned(_)
            | Act::LogEnded(_)
            | Act::LogBegun(_)
            | Act::KeyRotated(_)
            | Act::SpecSigned(_)
            | Act::Replayed(_)
            | Act::Bisected(_)
            | Act::Audited(_)
            | Act::EnvironmentChecked(_)
            | Act::WatchBegun(_)
            | Act::RunRegistered(_)
            | Act::FolderWatched { .. }
            | Act::RunLeft { .. }
            | Act::WatchBeat(_)
            | Act::WatchEnded => {}
            Act::FileChanged(change) => self.changes.push((event_us, *change)),
            Act::Intervened(it) => self.interventions.push((event_us, *it)),
            Act::DaemonSeen(seen) => self.daemons.push((event_us, *seen)),
            Act::SpecUsed(used) => self.spec = Some(*used),
            Act::CheckpointKept(kept) => self.kept.push(*kept),
        }
    }

    /// Notes a silence before this entry, and that it was a sign of life.
    fn listen(&mut self, entry: &Entry) {
        let promised = self.launch.as_ref().and_then(|launch| launch.heartbeat_us);
        // What others say of a run after it is over is no sign of life of its supervisor.
        let is_over = self.end.is_some()
            || self.interrupted
            || matches!(entry.body, Body::Act(Act::Interrupted));
        if is_over {
            return;
        }
        let silence = promised.and_then(|us| crate::silence::before(self.last_us, entry, us));
        if let Some(gap) = silence {
            self.add_gap(gap);
        }
        self.last_us = entry.capture_us;
    }

    /// Every blob that its entries refer to, some more than once.
    pub(crate) fn blobs(&self) -> Vec<Digest> {
        let launch = self.launch.iter();
        let loads = self.loads.iter();
        let findings = self.findings.iter();
        launch
            .flat_map(|launch| [launch.command, launch.variables])
            .chain(loads.flat_map(|load| {
                let content = load.digest.filter(|_| load.stored);
                content.into_iter().chain(load.summary).chain(load.examined)
            }))
            .chain(self.spec.iter().map(|used| used.spec))
            .chain(self.writes.iter().filter_map(|(_, write)| write.summary))
            .chain(self.segments.iter().map(|steps| steps.segment))
            .chain(findings.flat_map(|finding| finding.evidence.iter().copied()))
            .collect()
    }

    /// Whether the entry of this number, or a later one, was taken in.
    pub(crate) fn has(&self, seq: u64) -> bool {
        seq < self.next_seq
    }

    pub(crate) fn add_gap(&mut self, gap: Gap) {
        if !self.gaps.contains(&gap) {
            self.gaps.push(gap);
        }
    }

    /// Its readable name, or its id when the launch is lost.
    pub fn name(&self) -> String {
        self.launch
            .as_ref()
            .map_or_else(|| self.id.to_string(), |launch| launch.name.to_string())
    }

    /// The readable name as a noun.
    pub fn run_name(&self) -> Option<&RunName> {
        self.launch.as_ref().map(|launch| &launch.name)
    }

    /// Steps recorded, all ranks.
    pub fn steps(&self) -> u64 {
        self.segments.iter().map(|segment| segment.count).sum()
    }
}

/// Times before and behind it cannot be compared.
fn step_of_the_clock(by_us: i64) -> Gap {
    let way = if by_us < 0 { "back" } else { "forward" };
    Gap {
        what: "times".to_owned(),
        why: format!(
            "the wall clock was set {way} by {:.1} s while the run was going",
            by_us.unsigned_abs() as f64 / 1e6
        ),
    }
}

#[cfg(test)]
mod tests {
    use domain::Tier;

    use super::*;

    fn gap(seq: u64, what: &str) -> Entry {
        let body = Body::Gap(Gap {
            what: what.to_owned(),
            why: String::new(),
        });
        Entry {
            v: 1,
            run: RunId::new(1, [0; 10]),
            seq,
            event_us: 5,
            capture_us: 5,
            tier: Tier::Supervisor,
            body,
        }
    }

    #[test]
    fn a_missing_entry_is_a_gap_and_a_repeated_one_counts_once() {
        let mut record = RunRecord::new(RunId::new(1, [0; 10]));
        for entry in [gap(0, "a"), gap(1, "b"), gap(0, "c"), gap(3, "d")] {
            record.apply(entry);
        }
        let names: Vec<_> = record.gaps.iter().map(|gap| gap.what.as_str()).collect();
        assert_eq!(names, ["a", "b", "entries of the run", "d"]);
    }

    #[test]
    fn a_clock_that_went_back_is_a_gap_and_the_order_of_the_entries_stays() {
        let mut record = RunRecord::new(RunId::new(1, [0; 10]));
        let mut back = gap(1, "");
        back.event_us = 1;
        back.body = Body::Act(Act::ClockBack { by_us: 2_500_000 });
        for entry in [gap(0, "a"), back, gap(2, "b")] {
            record.apply(entry);
        }
        let names: Vec<_> = record.gaps.iter().map(|gap| gap.what.as_str()).collect();
        assert_eq!(names, ["a", "times", "b"]);
        assert!(record.gaps[1].why.contains("2.5 s"));
        assert_eq!(record.started_us, 5);
    }
}
