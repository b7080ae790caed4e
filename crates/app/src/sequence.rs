//! Which entries of which run are there: a number that is missing between others is named.
//!
//! Fed by the audit from several threads, in any order, also with entries that stand in two logs. Of a whole run a handful
//! of ranges is kept, so that the memory does not grow with its length.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use domain::{Entry, Gap, RunId};

/// Runs that are followed at most; what is beyond is said.
const RUNS_MAX: usize = 100_000;

/// Ranges of one run at most; only somebody who wants to fill the memory makes more.
const RANGES_MAX: usize = 1_000;

/// Gaps that are told at most.
const TOLD_MAX: usize = 1_000;

/// Which numbers were seen, by run.
#[derive(Debug, Default)]
pub(crate) struct Sequences(Mutex<Seen>);

#[derive(Debug, Default)]
struct Seen {
    runs: BTreeMap<RunId, BTreeMap<u64, u64>>,
    unfollowed: u64,
}

impl Sequences {
    /// Takes an entry in.
    pub(crate) fn see(&self, entry: &Entry) {
        let mut seen = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let is_new = !seen.runs.contains_key(&entry.run);
        if is_new && seen.runs.len() >= RUNS_MAX {
            seen.unfollowed += 1;
            return;
        }
        let ranges = seen.runs.entry(entry.run).or_default();
        if !add(ranges, entry.seq) {
            seen.unfollowed += 1;
        }
    }

    /// Every piece that is missing in the middle or at the beginning of a run.
    pub(crate) fn gaps(self) -> Vec<Gap> {
        let seen = self.0.into_inner().unwrap_or_else(PoisonError::into_inner);
        let mut gaps = Vec::new();
        for (run, ranges) in seen.runs {
            let mut next = 0;
            for (first, end) in ranges {
                if first > next && gaps.len() < TOLD_MAX {
                    gaps.push(missing(run, next, first));
                }
                next = end;
            }
        }
        if seen.unfollowed > 0 {
            gaps.push(Gap {
                what: format!("the order of {} entries", seen.unfollowed),
                why: format!(
                    "at most {RUNS_MAX} runs with {RANGES_MAX} pieces each are followed at once"
                ),
            });
        }
        gaps
    }
}

fn missing(run: RunId, next: u64, first: u64) -> Gap {
    let what = match first.saturating_sub(next) {
        1 => format!("entry {next} of run {run}"),
        _ => format!("entries {next} to {} of run {run}", first.saturating_sub(1)),
    };
    Gap {
        what,
        why: format!("no log has it, and entry {first} is there"),
    }
}

/// Adds a number to ranges `first..end`; `false` where there are too many of them.
fn add(ranges: &mut BTreeMap<u64, u64>, number: u64) -> bool {
    let after = number.saturating_add(1);
    let before = ranges.range(..=number).next_back();
    let before = before.map(|(first, end)| (*first, *end));
    if before.is_some_and(|(_, end)| number < end) {
        return true;
    }
    let end = ranges.remove(&after).unwrap_or(after);
    match before {
        Some((first, before_end)) if before_end == number => {
            ranges.insert(first, end);
        }
        _ if ranges.len() >= RANGES_MAX => return false,
        _ => {
            ranges.insert(number, end);
        }
    }
    true
}

#[cfg(test)]
mod tests {
    use domain::{Body, Tier};

    use super::*;

    fn gaps(numbers: impl IntoIterator<Item = u64>) -> Vec<String> {
        let sequences = Sequences::default();
        for seq in numbers {
            sequences.see(&Entry {
                v: 1,
                run: RunId::new(1, [7; 10]),
                seq,
                event_us: 0,
                capture_us: 0,
                tier: Tier::Supervisor,
                body: Body::Gap(Gap {
                    what: String::new(),
                    why: String::new(),
                }),
            });
        }
        let run = RunId::new(1, [7; 10]).to_string();
        let told = sequences.gaps().into_iter();
        told.map(|gap| gap.what.replace(&run, "R")).collect()
    }

    #[test]
    fn a_whole_run_has_no_gap_in_whatever_order_and_however_often_its_entries_come() {
        assert!(gaps(0..1000).is_empty());
        assert!(gaps((0..1000).rev()).is_empty());
        assert!(gaps((0..1000).map(|number| number * 7 % 1000)).is_empty());
        assert!(gaps((0..500).chain(0..1000)).is_empty());
        assert!(gaps([]).is_empty());
    }

    #[test]
    fn what_is_missing_is_named_at_the_beginning_and_in_the_middle() {
        assert_eq!(gaps([0, 2]), ["entry 1 of run R"]);
        assert_eq!(gaps([3, 4]), ["entries 0 to 2 of run R"]);
        assert_eq!(
            gaps([9, 0, 1, 5]),
            ["entries 2 to 4 of run R", "entries 6 to 8 of run R"]
        );
    }

    #[test]
    fn numbers_that_are_made_to_fill_the_memory_are_a_gap_of_their_own() {
        let told = gaps((0..3000).map(|number| number * 2));
        assert_eq!(told.len(), TOLD_MAX);
        assert_eq!(told[TOLD_MAX - 1], "the order of 2000 entries");
        assert!(gaps([u64::MAX, 0]).len() == 1);
    }
}
