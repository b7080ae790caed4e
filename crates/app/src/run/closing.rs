//! After the job: wait for what is still read, look once more, close the record.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, Sender};
use std::time::{Duration, Instant};

use domain::entry::{Act, End, Kind, Load};
use domain::{Body, Node, Outcome, PathText, Tree};
use host::job::LeftBehind;

use super::RunReport;
use super::event::{Connection, Event};
use super::process::Member;
use super::recorder::Recorder;
use crate::present;

/// Sensors get this long to say what they still have.
const LAST_WORDS: Duration = Duration::from_secs(2);
/// What runs in memory is compared with what its files compile to for this long; the rest is pending.
const COMPILE: Duration = Duration::from_secs(10);
/// What is still read after the job may take this long.
const FINISH: Duration = Duration::from_mins(10);

impl Recorder<'_> {
    /// Processes that outlived the command.
    pub(super) fn left_behind(&mut self, processes: &[LeftBehind]) {
        if let Some(first) = processes.first() {
            let what = format!("{} processes that outlived the command", processes.len());
            self.gap(
                &what,
                &format!(
                    "the record is closed without them, first {} (pid {})",
                    first.name, first.process.pid
                ),
            );
        }
    }

    fn tell_signals_beyond(&mut self) {
        if self.sent.more > 0 {
            let what = format!("{} signals to processes of the run", self.sent.more);
            self.gap(&what, "more came than are recorded of one run");
        }
    }

    /// Waits for the last words of sensors, for files and for environments. Ctrl-C ends the wait: the rest becomes gaps.
    pub(super) fn finish(
        &mut self,
        queue: &Receiver<Event>,
        events: &Sender<Event>,
        stop: &Arc<AtomicBool>,
    ) {
        host::sched::stop_on_interrupt(stop);
        let began = Instant::now();
        let mut told = false;
        self.tell_signals_beyond();
        loop {
            let speaking = self.members.values().any(|member| !member.left);
            let code = self.code_awaited && !stop.load(Ordering::Relaxed);
            self.judge_memory(false);
            let reading = code
                || self.reader.outstanding() > 0
                || self.environments.outstanding() > 0
                || self.memory.outstanding() > 0 && began.elapsed() < COMPILE;
            let waiting_for_words = speaking && began.elapsed() < LAST_WORDS;
            // A file that hangs holds up the watching thread and not the end.
            let interrupted = stop.load(Ordering::Relaxed) || began.elapsed() > FINISH;
            let reading = reading || self.watch.outstanding() && !interrupted;
            if !waiting_for_words {
                self.environments.end_comparing();
                self.watch.end();
            }
            self.end_deferring(false);
            let reading = reading || self.deferred.waits();
            if !waiting_for_words && !reading {
                break;
            }
            if began.elapsed() > FINISH {
                self.reader.stop();
            }
            if began.elapsed() > FINISH + LAST_WORDS {
                self.gap(
                    "what was still being read at the end",
                    "it took longer than ten minutes",
                );
                break;
            }
            if reading && !told && began.elapsed() > Duration::from_secs(1) {
                told = true;
                let left = format!(
                    "{} files, {} environments{}",
                    self.reader.outstanding(),
                    self.environments.outstanding(),
                    if code { ", the code" } else { "" }
                );
                self.screen.finishing(&left);
            }
            if let Ok(event) = queue.recv_timeout(Duration::from_millis(50)) {
                self.hear(event, events);
            }
            self.tick(events);
        }
        while let Ok(event) = queue.try_recv() {
            self.hear(event, events);
        }
        if self.watch.outstanding() {
            let what = "what happened to watched files at the very end";
            self.gap(what, "the wait for a last look at them was ended");
        }
        if stop.load(Ordering::Relaxed) {
            self.gap(
                "part of what the run loaded",
                "the wait for reading it was ended",
            );
        }
    }

    /// The store and the log that is written.
    pub(super) fn place(&self) -> (ledger::Store, String) {
        let log = self.journal.position().0.to_owned();
        (self.journal.store().clone(), log)
    }

    /// The last look and the last entry.
    pub(super) fn close(
        mut self,
        outcome: Outcome,
        wall: Duration,
        stop: &AtomicBool,
    ) -> RunReport {
        self.conclude_ends(Duration::ZERO);
        self.tell_moved_away();
        self.record_sharded();
        self.judge_memory(true);
        self.record_memory();
        self.finish_ranks();
        self.judge_waits(true);
        self.record_repeated();
        self.close_declared();
        self.close_kept();
        self.look_at_environments();
        self.record_members();
        self.record_ways();
        self.tell_unheard();
        self.tell_compiler_caches();
        self.flush();
        self.journal.check();
        for finding in self.journal.take_rewritten() {
            self.screen.found(&finding);
        }
        self.beat(); // looking at it all may have taken long
        self.journal.record_clock();
        let record = self.journal.record_so_far();
        let end = End {
            outcome,
            wall_us: micros(wall),
            watch_cpu_us: micros(host::proc::cpu_time_of_self()),
            sensor_us: self.members.values().map(|member| member.sensor_us).sum(),
            steps: record.steps(),
            findings: record.findings.len() as u64,
            gaps: record.gaps.len() as u64,
        };
        self.journal.record(Body::Act(Act::End(Box::new(end))));
        self.flush();
        let store = self.journal.store().clone();
        let _ = self.index.sync(&store); // the next command does it otherwise
        let witnesses = self.part_from_witnesses(stop);
        let (log, size) = self.journal.position();
        let ledger = format!("{log}, {size} entries");
        let record = self.journal.into_record();
        let mut view = present::run(&store, &record, ledger);
        view.witnesses = witnesses;
        RunReport {
            record,
            outcome,
            view,
        }
    }

    fn tell_moved_away(&mut self) {
        for path in std::mem::take(&mut self.moved_away).into_keys() {
            self.gap(
                &format!("checkpoint {path} as it was saved"),
                "it was gone before it could be opened",
            );
        }
    }

    fn look_at_environments(&mut self) {
        self.settle_all();
        for (key, judged) in self.environments.changed_since() {
            self.tell_lasting(key, &judged);
        }
        self.tell_counted();
    }

    /// What each process really imported and mapped, as trees.
    fn record_members(&mut self) {
        let connections: Vec<Connection> = self.members.keys().copied().collect();
        for connection in connections {
            let Some(member) = self.members.get(&connection) else {
                continue;
            };
            let (process, rank) = (member.process.clone(), member.rank());
            let sets = [
                (Kind::Modules, member.modules.clone()),
                (Kind::Mapped, member.mapped.clone()),
            ];
            for (what, paths) in sets {
                if paths.is_empty() {
                    continue;
                }
                let tree = self.tree_of(paths.iter());
                let digest = self.journal.blob(&tree.encode());
                let load = Load {
                    what,
                    path: PathText::from_text(&format!("{} files", tree.len())),
                    digest,
                    stored: digest.is_some(),
                    identity: None,
                    process: Some(process.clone()),
                    rank,
                    step: None,
                    summary: None,
                    examined: None,
                };
                self.journal.record(Body::Load(load));
            }
        }
    }

    fn tree_of<'p>(&self, paths: impl Iterator<Item = &'p PathText>) -> Tree {
        let mut tree = Tree::new();
        for path in paths {
            let (name, node) = if let Some(found) = self.environments.node(path) {
                found
            } else if let Some((digest, identity)) = self.loose.get(path) {
                (
                    path.clone(),
                    Node::File {
                        size: identity.size,
                        mode: 0o644,
                        digest: *digest,
                    },
                )
            } else {
                (
                    path.clone(),
                    Node::Unread {
                        reason: "it was not read".to_owned(),
                    },
                )
            };
            tree.insert(name, node);
        }
        tree
    }

    fn tell_unheard(&mut self) {
        if self.members.is_empty() && self.unheard == 0 {
            self.gap(
                "steps",
                "no process of the run imported torch with its sensor",
            );
        } else if self.members.values().all(|member| member.step_count == 0) {
            let why = "no process made an optimizer step that the sensor could see";
            self.gap("steps", why);
        }
        let ranks: BTreeSet<u32> = self.members.values().filter_map(Member::rank).collect();
        let worlds = self
            .members
            .values()
            .filter_map(|member| member.hello.as_ref()?.world_size);
        let world = worlds.max().unwrap_or(0);
        let missing = u64::from(world).saturating_sub(ranks.len() as u64);
        if let Some(first) = (0..world).find(|rank| !ranks.contains(rank)) {
            let what = format!("{missing} ranks of the job, first rank {first}");
            let why =
                "no process of that rank was heard here: on another host, or without the sensor";
            self.gap(&what, why);
        }
    }
}

fn micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}
