//! What the recorder makes of its witnesses: findings, and how far the run is witnessed.

use std::sync::atomic::AtomicBool;
use std::time::Duration;

use domain::{Finding, Grade, PathText, Rule};
use report::witness::WitnessesView;

use super::recorder::Recorder;
use crate::witness::{Asked, Contradiction, Standing, contradiction_words, standing};
use crate::witness::{troubled, view};

impl Recorder<'_> {
    /// Witnesses were asked.
    pub(super) fn witnessed(&mut self, asked: &Asked) {
        let Some(watch) = &mut self.witnesses else {
            return;
        };
        let words = asked.troubles.iter();
        watch.troubles = words
            .map(|(name, why)| (name.clone(), why.to_string()))
            .collect();
        let new = asked.contradictions.iter();
        let new: Vec<_> = new
            .filter(|found| watch.told.insert(found.holder.clone()))
            .collect();
        for found in new {
            let finding = self.forked(&asked.log, found);
            self.finding(finding);
        }
        self.check_patience();
    }

    fn forked(&mut self, log: &str, found: &Contradiction) -> Finding {
        let notes = [found.their_note.clone(), found.our_note.clone()];
        let evidence = self.journal.blobs(&notes).unwrap_or_default();
        Finding {
            rule: Rule::LedgerForked,
            grade: Grade::Observed,
            what: contradiction_words(log, found),
            details: vec![
                format!("the other head: {}", found.theirs),
                format!("the head of the log as it is: {}", found.ours),
            ],
            path: Some(PathText::from_bytes(format!("ledger/{log}").as_bytes())),
            step: None,
            rank: None,
            earlier: None,
            evidence,
            innocent: vec![
                "a backup of the store was put back, or a copy of it and of its key was used elsewhere"
                    .to_owned(),
            ],
        }
    }

    /// That no quorum was reached for too long is told once a run.
    fn check_patience(&mut self) {
        let Some(standing) = self.standing() else {
            return;
        };
        let Some(watch) = &mut self.witnesses else {
            return;
        };
        let patience = watch.witnesses.patience;
        let Some(waiting) = standing.waiting.filter(|waiting| *waiting > patience) else {
            return;
        };
        if std::mem::replace(&mut watch.late, true) {
            return;
        }
        let missing = watch.troubles.iter();
        let missing = missing.map(|(name, why)| format!("{name}: {why}"));
        let finding = Finding {
            rule: Rule::LedgerUnwitnessed,
            grade: Grade::Observed,
            what: format!(
                "no quorum of witnesses ({} needed) has cosigned what the ledger has since {}",
                standing.judgement.needed,
                in_words(waiting)
            ),
            details: missing.collect(),
            path: None,
            step: None,
            rank: None,
            earlier: None,
            evidence: Vec::new(),
            innocent: vec!["the witnesses or the network to them are down".to_owned()],
        };
        self.finding(finding);
    }

    fn standing(&self) -> Option<Standing> {
        let watch = self.witnesses.as_ref()?;
        let (name, _) = self.journal.position();
        let mut logs = self.journal.store().logs().ok()?.into_iter();
        let log = logs.find(|log| log.name() == name)?;
        standing(&log, &watch.witnesses.policy).ok()
    }

    /// The end of the run is recorded: it is witnessed too, if that comes about in bounded time and before Ctrl-C.
    pub(super) fn part_from_witnesses(&mut self, stop: &AtomicBool) -> Option<WitnessesView> {
        let (log, _) = self.journal.position();
        let log = log.to_owned();
        let watch = self.witnesses.as_mut()?;
        watch.follow(&log);
        let screen = &mut self.screen;
        let waiting = &mut || screen.finishing("what the witnesses say");
        if let Some(asked) = watch.end(stop, waiting) {
            self.witnessed(&asked);
            self.flush();
        }
        let standing = self.standing()?;
        let mut shown = view(&log, &standing, None);
        let watch = self.witnesses.as_ref()?;
        let words = watch.troubles.iter();
        troubled(&mut shown, words.map(|(name, why)| (name, why.clone())));
        Some(shown)
    }
}

fn in_words(time: Duration) -> String {
    let seconds = time.as_secs();
    match seconds {
        0..=119 => format!("{seconds} s"),
        120..=7199 => format!("{} min", seconds / 60),
        _ => format!("{} h", seconds / 3600),
    }
}
