//! Findings about steps: each cause is told once for each process, with how often it came again.
//!
//! A sabotage of ten thousand steps is one finding with its first step. What is told is told at once and made durable; the step's
//! record goes with it as evidence.

use std::collections::{BTreeSet, HashMap};

use domain::{Finding, Rule, StepRecord};

use super::event::Connection;
use super::keep::line_of;
use super::process::Member;
use super::recorder::Recorder;

/// Findings about steps in one run; the rest is counted.
const FINDINGS_MAX: usize = 40;
/// Different gaps about steps in one run.
const GAPS_MAX: usize = 10_000;

/// What a finding is about, so that it is told once.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct About {
    pub(super) rule: Rule,
    /// Which of the rule's causes.
    pub(super) cause: &'static str,
    /// Which optimizer of the process, or 0.
    pub(super) optimizer: u32,
}

/// What was told of the steps of a run.
#[derive(Default)]
pub(super) struct Once {
    /// In how many further steps it was seen, with the last of them.
    told: HashMap<(Connection, About), (u64, u64)>,
    gaps: BTreeSet<(Connection, String, String)>,
    untold: u64,
}

impl Recorder<'_> {
    /// Tells what `finding` makes of it, unless this process did the same before.
    pub(super) fn tell_once(
        &mut self,
        connection: Connection,
        about: About,
        step: &StepRecord,
        finding: impl FnOnce(&mut Self, Option<u32>) -> Option<Finding>,
    ) {
        let key = (connection, about);
        if let Some((count, last)) = self.once.told.get_mut(&key) {
            *count += 1;
            *last = step.step;
            return;
        }
        if self.once.told.len() >= FINDINGS_MAX {
            self.once.untold += 1;
            return;
        }
        self.once.told.insert(key, (0, step.step));
        let rank = self.members.get(&connection).and_then(Member::rank);
        let Some(mut finding) = finding(self, rank) else {
            return;
        };
        if let Some(pid) = self.one_of_several(connection, rank) {
            finding.details.push(format!("in process {pid}"));
        }
        if let Ok(bytes) = serde_json::to_vec(step) {
            finding.evidence.extend(self.journal.blob(&bytes));
        }
        let process = self.members.get(&connection).map(|it| it.process.clone());
        self.kept.about = Some(line_of(process.as_ref(), rank));
        self.finding(finding);
        self.kept.about = None;
        self.flush();
    }

    /// Says once for each process that something about its steps was not judged.
    pub(super) fn gap_once(&mut self, connection: Connection, what: &str, why: &str) {
        let key = (connection, what.to_owned(), why.to_owned());
        if self.once.gaps.len() < GAPS_MAX && self.once.gaps.insert(key) {
            let what = format!("{what} of {}", self.label(connection));
            self.gap(&what, why);
        }
    }

    /// A step was told: everything that can be judged of it at once.
    pub(super) fn judge_step(&mut self, connection: Connection, step: &StepRecord, at_us: i64) {
        self.heard_sample(connection, step);
        self.heard_schedule(connection, step);
        self.heard_declared(connection, step);
        self.heard_readings(connection, step);
        self.heard_reports(connection, step);
        self.heard_passes(connection, step);
        self.heard_rank(connection, step);
        self.heard_waits(connection, step, at_us);
    }

    /// How often what was found came again.
    pub(super) fn record_repeated(&mut self) {
        let mut told: Vec<_> = std::mem::take(&mut self.once.told).into_iter().collect();
        told.sort_by_key(|((connection, about), (_, last))| (*connection, *last, *about));
        for ((connection, about), (count, last)) in told {
            if count == 0 {
                continue;
            }
            let what = format!(
                "{count} further steps of {}, optimizer {}, last step {last}: {}",
                self.label(connection),
                about.optimizer,
                about.rule
            );
            self.gap(
                &what,
                "each cause is told once, at its first step; the record has the others",
            );
        }
        if self.once.untold > 0 {
            let what = format!("{} more findings about steps", self.once.untold);
            self.gap(
                &what,
                "only the first are told one by one; the record has the steps",
            );
        }
    }

    fn label(&self, connection: Connection) -> String {
        self.members
            .get(&connection)
            .map(Member::label)
            .unwrap_or_default()
    }

    /// The process, where its rank does not say which one is meant.
    fn one_of_several(&self, connection: Connection, rank: Option<u32>) -> Option<u32> {
        let others = self.members.values().filter(|member| {
            member.connection != connection && member.step_count > 0 && member.rank() == rank
        });
        let mine = self.members.get(&connection)?.process.pid;
        (others.count() > 0).then_some(mine)
    }
}
