//! All stamps of a store against all entries: what is proved, what contradicts it.
//!
//! A stamp bounds times from both sides. The entries under the stamped head existed no later than it says. And the stamp is
//! an entry itself: whatever stands behind it in the log came after the token was made, which nobody can have foreseen. So
//! an entry whose own clock says later than a stamp that covers it, or earlier than a stamp that it stands behind, was made
//! by a clock that was wrong, or was set; and a stamp that covers an older stamp and states an earlier time contradicts it.
//!
//! Entries are queued for about a second before they are appended, longer on a disk that hangs: so much is allowed
//! ([`SLACK_US`]). Memory grows with the stamps, not with the entries.

use std::fmt::Write as _;
use std::ops::Range;

use domain::entry::Act;
use domain::vouch::{Stamp, StampOf};
use domain::{Body, Entry};
use ledger::{Log, Store};
use report::stamp::StampView;
use report::time::rfc3339;
use report::view::ProblemView;
use trust::time::Stamped;

use super::judging::{Judge, TimeRoots};
use crate::error::AppError;

/// By how much an entry may miss a bound, in microseconds.
const SLACK_US: i64 = 60_000_000;

/// Entries that are read at once: what lies in one file.
const BATCH: u64 = 256;

/// Stamps of one store that are judged.
const STAMPS: usize = 10_000;

/// Judges every stamp of the store, and the times of all entries by those that hold.
pub(crate) fn audit(
    store: &Store,
    roots: &TimeRoots,
) -> Result<(Vec<StampView>, Vec<ProblemView>), AppError> {
    let logs = store.logs()?;
    let mut found = Vec::new();
    let mut problems = Vec::new();
    for log in &logs {
        let mut more = 0_u64;
        // What cannot be read was named already, by whoever checked the bytes.
        let _ = each(log, |number, entry| match entry.body {
            Body::Act(Act::Stamped(stamp)) if found.len() < STAMPS => {
                found.push((log.name().to_owned(), number, *stamp));
            }
            Body::Act(Act::Stamped(_)) => more += 1,
            _ => {}
        });
        if more > 0 {
            let what = format!("{more} time stamps more than the {STAMPS} that are judged");
            problems.push(problem(log.name(), &what));
        }
    }
    let mut judge = Judge::new(store, roots);
    let mut views = Vec::new();
    let mut held = Vec::new();
    for (log, number, stamp) in found {
        let judged = match &stamp.of {
            StampOf::TreeHead { .. } => judge.head(&stamp, Some((log.clone(), number))),
            StampOf::Signature { .. } => judge.signature(&stamp, Some((log.clone(), number))),
        };
        if judged.is_changed {
            let why = judged.view.why.clone().unwrap_or_default();
            problems.push(problem(
                &log,
                &format!("entry {number} is a time stamp that proves nothing: {why}"),
            ));
        }
        if let Some(stamped) = judged.stamped {
            held.push(Held::new(log, number, &stamp, stamped));
        }
        views.push(judged.view);
    }
    for log in &logs {
        let bounds = Bounds::of(log.name(), &held);
        problems.extend(bounds.contradictions(log.name()));
        problems.extend(bounds.entries(log));
    }
    Ok((views, problems))
}

/// A stamp that holds.
struct Held {
    /// Where it is recorded.
    log: String,
    number: u64,
    /// The log and size that it covers; a model signature's covers nothing of a log.
    covers: Option<(String, u64)>,
    stamped: Stamped,
}

impl Held {
    fn new(log: String, number: u64, stamp: &Stamp, stamped: Stamped) -> Self {
        let covers = match &stamp.of {
            StampOf::TreeHead { log, size, .. } => Some((log.clone(), *size)),
            StampOf::Signature { .. } => None,
        };
        Self {
            log,
            number,
            covers,
            stamped,
        }
    }
}

/// What the stamps say of the times in one log.
struct Bounds<'a> {
    /// Size, and no later than when; sizes ascend.
    upper: Vec<(u64, i64, &'a Held)>,
    /// Number, and no earlier than when; numbers ascend.
    lower: Vec<(u64, i64, &'a Held)>,
}

impl<'a> Bounds<'a> {
    fn of(log: &str, held: &'a [Held]) -> Self {
        let of_log = |held: &'a Held| match &held.covers {
            Some((name, size)) if name == log => Some((*size, held.stamped.latest_us(), held)),
            _ => None,
        };
        let mut upper: Vec<_> = held.iter().filter_map(of_log).collect();
        upper.sort_by_key(|(size, ..)| *size);
        // The tightest bound of an entry is the earliest among all stamps that cover it.
        let mut earliest: Option<(i64, &Held)> = None;
        for (_, at, by) in upper.iter_mut().rev() {
            match earliest {
                Some((time, who)) if time < *at => (*at, *by) = (time, who),
                _ => earliest = Some((*at, by)),
            }
        }
        let in_log = held.iter().filter(|held| held.log == log);
        let mut lower: Vec<_> = in_log
            .map(|held| (held.number, held.stamped.earliest_us(), held))
            .collect();
        lower.sort_by_key(|(number, ..)| *number);
        let mut latest: Option<(i64, &Held)> = None;
        for (_, at, by) in &mut lower {
            match latest {
                Some((time, who)) if time > *at => (*at, *by) = (time, who),
                _ => latest = Some((*at, by)),
            }
        }
        Self { upper, lower }
    }

    /// No later than when entry `number` existed, and who says so.
    fn no_later(&self, number: u64) -> Option<&(u64, i64, &'a Held)> {
        let at = self.upper.partition_point(|(size, ..)| *size <= number);
        self.upper.get(at)
    }

    /// Not before when it existed.
    fn not_before(&self, number: u64) -> Option<&(u64, i64, &'a Held)> {
        let at = self.lower.partition_point(|(from, ..)| *from <= number);
        self.lower.get(at.checked_sub(1)?)
    }

    /// Stamps that cover another and state an earlier time than it.
    fn contradictions(&self, log: &str) -> Vec<ProblemView> {
        let mut problems = Vec::new();
        for (number, _, held) in &self.lower {
            let Some((_, latest, by)) = self.no_later(*number) else {
                continue;
            };
            if held.number == *number && *latest < held.stamped.earliest_us() {
                problems.push(problem(log, &format!(
                    "times run backwards: the time stamp of entry {} says {}, and covers entry {number}, a time stamp of {}; one of the authorities' clocks was wrong, or its key was misused",
                    by.number,
                    rfc3339(by.stamped.at.as_microsecond()),
                    rfc3339(held.stamped.at.as_microsecond()),
                )));
            }
        }
        problems
    }

    /// Entries whose own clock contradicts a stamp.
    fn entries(&self, log: &Log) -> Vec<ProblemView> {
        let (mut ahead, mut behind) = (Told::default(), Told::default());
        if self.upper.is_empty() && self.lower.is_empty() {
            return Vec::new();
        }
        let _ = each(log, |number, entry| {
            if let Some((_, latest, by)) = self.no_later(number) {
                ahead.take(number, entry.capture_us.saturating_sub(*latest), by);
            }
            if let Some((_, earliest, by)) = self.not_before(number) {
                behind.take(number, earliest.saturating_sub(entry.capture_us), by);
            }
        });
        let ahead = ahead.told(
            "later than a time stamp that covers",
            "the clock of the writer was ahead",
        );
        let behind = behind.told(
            "earlier than a time stamp that stands before",
            "the clock of the writer was set back, or the record was backdated, or kept back before it was written",
        );
        let told = ahead.into_iter().chain(behind);
        told.map(|what| problem(log.name(), &what)).collect()
    }
}

/// Entries that contradict a stamp, in one line.
#[derive(Default)]
struct Told {
    count: u64,
    numbers: Range<u64>,
    most_us: i64,
    stamp: u64,
}

impl Told {
    fn take(&mut self, number: u64, by_us: i64, stamp: &Held) {
        if by_us <= SLACK_US {
            return;
        }
        if self.count == 0 {
            self.numbers = number..number;
            self.stamp = stamp.number;
        }
        self.count += 1;
        self.numbers.end = number;
        self.most_us = self.most_us.max(by_us);
    }

    fn told(&self, how: &str, meaning: &str) -> Option<String> {
        if self.count == 0 {
            return None;
        }
        let Range { start, end } = self.numbers;
        let mut text = format!("entry {start}");
        if self.count > 1 {
            let _ = write!(text, " and {} more up to entry {end}", self.count - 1);
        }
        let (seconds, stamp) = (self.most_us / 1_000_000, self.stamp);
        let _ = write!(
            text,
            ": states a time that is up to {seconds} s {how} it (entry {stamp}): {meaning}"
        );
        Some(text)
    }
}

/// Calls `take` with every entry that can be read; ends where the log cannot be.
fn each(log: &Log, mut take: impl FnMut(u64, Entry)) -> Result<(), ledger::LogError> {
    let size = log.head()?.size;
    let mut next = 0;
    while next < size {
        let end = size.min((next / BATCH + 1) * BATCH);
        for (number, bytes) in (next..end).zip(log.entries(next..end)?) {
            if let Ok(entry) = Entry::decode(&bytes) {
                take(number, entry);
            }
        }
        next = end;
    }
    Ok(())
}

fn problem(log: &str, what: &str) -> ProblemView {
    ProblemView {
        file: format!("ledger/{log}"),
        what: what.to_owned(),
    }
}
