//! Whether a sample is what it was when it was read the last time.
//!
//! A column of a data set (its inputs, its labels) is stable when its samples were found again as they were, often enough and without
//! exception. Data that is augmented never is, and is not judged. A stable column that changes is told.

use std::collections::HashMap;

use super::wire::Row;

/// Samples of one column that are remembered.
pub const SAMPLES_MAX: usize = 1 << 20;
/// Visits that found a sample as it was, before the column is called stable.
pub const VISITS_LEAST: u64 = 16;

/// Samples that differ before that is told, and how much likelier another share of them must be than one and the same (ten million
/// times): augmentation that touches few samples must not be called a change.
const CHANGED_LEAST: u64 = 3;
const EVIDENCE: f64 = 16.0;

/// One column of one data set.
#[derive(Debug, Default)]
pub struct Column {
    known: HashMap<u64, u32>,
    equal: u64,
    /// Since the first one that was another: visits, and those that found another.
    since: u64,
    changed: u64,
    first: Option<(u64, u64)>,
    state: State,
}

#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
enum State {
    #[default]
    Learning,
    Unstable,
    Told,
}

/// A stable column that changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Changed {
    /// The first sample that was another.
    pub sample: u64,
    /// The step at which it was.
    pub step: u64,
    /// Visits that had found samples as they were.
    pub equal: u64,
}

impl Column {
    /// Takes a visit in.
    pub fn visit(&mut self, index: u64, fingerprint: u32, step: u64) -> Option<Changed> {
        if self.state != State::Learning {
            return None;
        }
        let Some(known) = self.known.get(&index) else {
            if self.known.len() < SAMPLES_MAX {
                self.known.insert(index, fingerprint);
            }
            return None;
        };
        let same = *known == fingerprint;
        if self.first.is_none() && same {
            self.equal += 1;
            return None;
        }
        if self.equal < VISITS_LEAST {
            *self = Self {
                state: State::Unstable,
                ..Self::default()
            };
            return None;
        }
        self.since += 1;
        self.changed += u64::from(!same);
        let (sample, step) = *self.first.get_or_insert((index, step));
        if self.changed < CHANGED_LEAST || evidence(self.equal, self.since, self.changed) < EVIDENCE
        {
            return None;
        }
        let equal = self.equal;
        *self = Self {
            state: State::Told,
            ..Self::default()
        };
        Some(Changed {
            sample,
            step,
            equal,
        })
    }

    /// Whether it was found to change from visit to visit.
    #[must_use]
    pub fn is_unstable(&self) -> bool {
        self.state == State::Unstable
    }

    /// Samples that are remembered.
    #[must_use]
    pub fn remembered(&self) -> usize {
        self.known.len()
    }
}

/// By how much (as a logarithm) two shares explain the visits better than one: none of `equal` was another, then `changed` of `since`.
#[expect(clippy::cast_precision_loss, reason = "counts of visits")]
fn evidence(equal: u64, since: u64, changed: u64) -> f64 {
    let likely = |hits: f64, of: f64, share: f64| {
        let miss = of - hits;
        let part = |count: f64, share: f64| if count > 0.0 { count * share.ln() } else { 0.0 };
        part(hits, share) + part(miss, 1.0 - share)
    };
    let (equal, since, changed) = (equal as f64, since as f64, changed as f64);
    let all = equal + since;
    likely(changed, since, changed / since) - likely(changed, all, changed / all)
}

/// A batch of the same indices as one shortly before, where that was not usual.
#[derive(Debug, Default)]
pub struct Repeats {
    last: std::collections::VecDeque<Vec<i64>>,
    without: u64,
    usual: bool,
}

/// Batches that are looked back at, and those without a repeat before one is told.
const BACK: usize = 8;
const BATCHES_LEAST: u64 = 20;

impl Repeats {
    /// Takes a batch in; answers how many batches ago the same was read, where that is told.
    pub fn batch(&mut self, indices: &[i64]) -> Option<usize> {
        if indices.len() < 2 || self.usual {
            return None;
        }
        let ago = self.last.iter().rev().position(|it| it == indices);
        if self.last.len() >= BACK {
            self.last.pop_front();
        }
        self.last.push_back(indices.to_vec());
        match ago {
            None => self.without += 1,
            Some(_) if self.without < BATCHES_LEAST => self.usual = true,
            Some(ago) => return Some(ago + 1),
        }
        None
    }
}

/// The rows of a batch, in the columns of their data set; answers the columns that changed.
pub fn visit(columns: &mut [Column], rows: &[Row], step: u64) -> Vec<(usize, Changed)> {
    let mut found = Vec::new();
    for row in rows {
        for (number, (column, fingerprint)) in columns.iter_mut().zip(&row.columns).enumerate() {
            if let Some(changed) = column.visit(row.index, *fingerprint, step) {
                found.push((number, changed));
            }
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    fn learnt() -> Column {
        let mut column = Column::default();
        for _ in 0..2 {
            for index in 0..VISITS_LEAST {
                assert!(column.visit(index, 7, 1).is_none());
            }
        }
        column
    }

    #[test]
    fn a_stable_column_that_changes_is_told_once_with_its_first_sample() {
        let mut column = learnt();
        let told: Vec<_> = (0..VISITS_LEAST)
            .filter_map(|index| column.visit(index, 8, 40 + index))
            .collect();
        let first = Changed {
            sample: 0,
            step: 40,
            equal: VISITS_LEAST,
        };
        assert_eq!(told, [first]);
        assert!(column.visit(5, 9, 42).is_none());
    }

    #[test]
    fn few_samples_that_are_augmented_are_no_change() {
        let mut column = learnt();
        for visit in 0..10_000_u64 {
            let augmented = visit % 40 == 39;
            let print = if augmented { 100 } else { 7 };
            assert!(column.visit(visit % VISITS_LEAST, print, visit).is_none());
        }
    }

    #[test]
    fn what_changes_early_is_never_judged() {
        let mut column = Column::default();
        column.visit(1, 1, 1);
        assert!(column.visit(1, 2, 2).is_none());
        assert!(column.is_unstable());
        for step in 0..100 {
            assert!(column.visit(1, step, 3).is_none());
        }
    }

    #[test]
    fn a_batch_again_is_told_only_where_that_was_not_usual() {
        let mut repeats = Repeats::default();
        assert!((0..30).all(|it| repeats.batch(&[it, it + 1]).is_none()));
        assert_eq!(repeats.batch(&[29, 30]), Some(1));
        let mut usual = Repeats::default();
        assert!((0..90).all(|it| usual.batch(&[it % 3, 5]).is_none()));
    }
}
