//! Reported metrics, held against the losses that the steps told: `training::reported` judges, here is what belongs to the run.

use std::collections::HashMap;

use domain::{Finding, Grade, Reported, Rule, StepRecord};
use training::reported::{Forged, Judged, Losses, Metric};

use super::event::Connection;
use super::once::About;
use super::recorder::Recorder;

/// Processes, and names of a process, whose reports are judged.
const PROCESSES_MAX: usize = 1_000;
const NAMES_MAX: usize = 64;

/// What is remembered of all.
#[derive(Default)]
pub(super) struct Reports {
    known: HashMap<Connection, Known>,
}

#[derive(Default)]
struct Known {
    losses: Losses,
    metrics: HashMap<(String, String), Metric>,
}

impl Known {
    fn hear(&mut self, step: &StepRecord) -> Vec<(Reported, Judged)> {
        let losses: Vec<f64> = step.losses.iter().map(|loss| loss.0).collect();
        self.losses.step(&losses);
        let mut judged = Vec::new();
        for reported in &step.reported {
            let key = (reported.by.clone(), reported.name.clone());
            if !self.metrics.contains_key(&key) && self.metrics.len() >= NAMES_MAX {
                continue;
            }
            let metric = self.metrics.entry(key).or_default();
            let answer = metric.hear(step.step, reported.value.0, &self.losses);
            if answer != Judged::Nothing {
                judged.push((reported.clone(), answer));
            }
        }
        judged
    }
}

impl Recorder<'_> {
    /// A step was told: what was reported since the one before is judged.
    pub(super) fn heard_reports(&mut self, connection: Connection, step: &StepRecord) {
        let is_new = !self.reports.known.contains_key(&connection);
        if is_new && self.reports.known.len() >= PROCESSES_MAX {
            return;
        }
        let judged = self.reports.known.entry(connection).or_default().hear(step);
        for (reported, answer) in judged {
            match answer {
                Judged::Nothing => {}
                Judged::Unknown => {
                    let what = "some reported metrics";
                    let why = "they follow from no recorded loss in a way that is known";
                    self.gap_once(connection, what, why);
                }
                Judged::Forged(forged) => {
                    let about = About {
                        rule: Rule::MetricForged,
                        cause: "metric",
                        optimizer: 0,
                    };
                    self.tell_once(connection, about, step, |_, rank| {
                        Some(finding(&reported, &forged, rank))
                    });
                }
            }
        }
    }
}

fn finding(reported: &Reported, forged: &Forged, rank: Option<u32>) -> Finding {
    let times = forged.reported / forged.expected;
    Finding {
        rule: Rule::MetricForged,
        grade: Grade::Claimed,
        what: format!(
            "“{}”, as {} was given it before step {}, is {:.4}; the recorded losses give {:.4}",
            reported.name, reported.by, forged.first, forged.reported, forged.expected
        ),
        details: vec![
            format!(
                "it was {} at each report before, and is {times:.3} × that",
                forged.way.words()
            ),
            "the weights are not in doubt through this: what was told of them is".to_owned(),
        ],
        path: None,
        step: Some(forged.first),
        rank,
        earlier: None,
        evidence: Vec::new(),
        innocent: vec![
            "the program began to report something else under this name (a smoothed value, another loss): then its code says so".to_owned(),
            "some losses were left out of a mean on purpose: those of skipped steps, or those that are no numbers".to_owned(),
        ],
    }
}
