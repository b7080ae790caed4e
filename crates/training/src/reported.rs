//! Reported metrics against recorded losses.
//!
//! What a program reports under a name follows from its losses in one of few ways: a step's sum or mean, its last one, the mean of
//! all since the last report. Which of them a name is shows in its first reports; from then on it has to stay. A name that is none
//! of them is about something else and not judged.

/// Reports after which the way of a name is known.
const KNOWN_AFTER: u32 = 4;
/// How far a report may be off: it may be rounded to four digits, and summed in another order and type.
const RELATIVE: f64 = 2e-3;
const ABSOLUTE: f64 = 1e-4;
/// Reports in a row that are otherwise before it is told.
const NEEDED: u32 = 2;

/// How a number follows from the losses since the last report.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Way {
    /// The mean over the steps of the sum of a step's losses.
    MeanOfSums,
    /// The mean of all losses.
    MeanOfAll,
    /// The sum of the last step's losses.
    LastSum,
    /// The mean of the last step's losses.
    LastMean,
    /// The last loss, times how many the step had.
    LastTimesCount,
    /// The last loss.
    Last,
}

impl Way {
    const ALL: [Self; 6] = [
        Self::MeanOfSums,
        Self::MeanOfAll,
        Self::LastSum,
        Self::LastMean,
        Self::LastTimesCount,
        Self::Last,
    ];

    /// In words.
    #[must_use]
    pub fn words(self) -> &'static str {
        match self {
            Self::MeanOfSums => "the mean over the steps since the report before",
            Self::MeanOfAll => "the mean of all losses since the report before",
            Self::LastSum => "the sum of the step's losses",
            Self::LastMean => "the mean of the step's losses",
            Self::LastTimesCount => "the step's last loss times their number",
            Self::Last => "the step's last loss",
        }
    }
}

/// The losses of a process up to a step.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
struct Sums {
    steps: f64,
    losses: f64,
    sum: f64,
    /// Steps whose losses are not all numbers, or that had none.
    unusable: u64,
    last: f64,
    last_count: f64,
    last_sum: f64,
}

impl Sums {
    fn add(&mut self, losses: &[f64]) {
        let sum: f64 = losses.iter().sum();
        let Some(last) = losses.last().filter(|_| sum.is_finite()) else {
            self.unusable += 1;
            return;
        };
        let count = losses.len() as f64;
        self.steps += 1.0;
        self.losses += count;
        self.sum += sum;
        (self.last, self.last_count, self.last_sum) = (*last, count, sum);
    }

    /// What each way gives since `from`; nothing where no step came, or one that cannot be used.
    fn ways(&self, from: &Self) -> Option<[f64; 6]> {
        let steps = self.steps - from.steps;
        if steps < 1.0 || self.unusable > from.unusable {
            return None;
        }
        let sum = self.sum - from.sum;
        Some([
            sum / steps,
            sum / (self.losses - from.losses),
            self.last_sum,
            self.last_sum / self.last_count,
            self.last * self.last_count,
            self.last,
        ])
    }
}

/// The losses of one process, as its steps come.
#[derive(Debug, Default)]
pub struct Losses {
    /// Up to the step before, and up to this one: a program reports before its step or behind it.
    sums: [Sums; 2],
}

impl Losses {
    /// A step came, with these losses. What was reported with it is to be judged behind this.
    pub fn step(&mut self, losses: &[f64]) {
        let [before, now] = &mut self.sums;
        *before = *now;
        now.add(losses);
    }
}

/// A report that is not what the ones before it were.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Forged {
    /// Step that the first such report came with.
    pub first: u64,
    /// What was reported there.
    pub reported: f64,
    /// What the losses give.
    pub expected: f64,
    /// How they give it.
    pub way: Way,
}

/// What came of a report.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Judged {
    /// As before, or not known yet.
    Nothing,
    /// It follows from no loss in a known way; said once.
    Unknown,
    /// Not what it was.
    Forged(Forged),
}

/// One name.
#[derive(Debug)]
pub struct Metric {
    heard: u32,
    /// A bit for each way that fits all reports so far; behind six bits those of the losses up to the step that they came with.
    fits: u16,
    from: [Sums; 2],
    broken: Option<(u32, Forged)>,
    is_over: bool,
}

impl Default for Metric {
    fn default() -> Self {
        Self {
            heard: 0,
            fits: u16::MAX,
            from: [Sums::default(); 2],
            broken: None,
            is_over: false,
        }
    }
}

impl Metric {
    /// A report of `value` came with a step.
    pub fn hear(&mut self, step: u64, value: f64, losses: &Losses) -> Judged {
        let from = std::mem::replace(&mut self.from, losses.sums);
        if self.is_over || !value.is_finite() {
            return Judged::Nothing;
        }
        let mut fits = 0;
        let mut expected = None;
        for (side, (to, from)) in losses.sums.iter().zip(&from).enumerate() {
            let Some(ways) = to.ways(from) else { continue };
            for (index, must) in ways.into_iter().enumerate() {
                let bit = 1_u16 << (side * Way::ALL.len() + index);
                if (value - must).abs() <= must.abs() * RELATIVE + ABSOLUTE {
                    fits |= bit;
                } else if self.fits & bit != 0 && expected.is_none() {
                    expected = Way::ALL.get(index).map(|way| (must, *way));
                }
            }
        }
        if fits == 0 && expected.is_none() {
            return Judged::Nothing; // no usable step since
        }
        let fits = self.fits & fits;
        if fits != 0 {
            (self.heard, self.fits, self.broken) = (self.heard.saturating_add(1), fits, None);
            return Judged::Nothing;
        }
        if self.heard < KNOWN_AFTER {
            self.is_over = true;
            return Judged::Unknown;
        }
        let Some((expected, way)) = expected else {
            return Judged::Nothing;
        };
        let now = Forged {
            first: step,
            reported: value,
            expected,
            way,
        };
        let (count, first) = self.broken.get_or_insert((0, now));
        *count += 1;
        if *count < NEEDED {
            return Judged::Nothing;
        }
        self.is_over = true;
        Judged::Forged(*first)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn loss(step: u64) -> f64 {
        2.0 / (step as f64).sqrt() + f64::from(u32::try_from(step % 7).unwrap()) * 0.03
    }

    /// Steps of two losses each; every `every`-th is reported as `report` makes it of the steps since.
    fn judged(every: u64, report: impl Fn(u64, &[f64]) -> f64) -> Vec<Judged> {
        let (mut losses, mut metric) = (Losses::default(), Metric::default());
        let (mut since, mut answers, mut pending) = (Vec::new(), Vec::new(), None);
        for step in 1..=60 {
            let both = [loss(step) * 0.6, loss(step) * 0.4];
            losses.step(&both);
            if let Some(value) = pending.take() {
                answers.push(metric.hear(step, value, &losses));
            }
            since.push(both[0] + both[1]);
            if step % every == 0 {
                pending = Some(report(step, &since));
                since.clear();
            }
        }
        answers
    }

    fn mean(all: &[f64]) -> f64 {
        all.iter().sum::<f64>() / all.len() as f64
    }

    #[test]
    fn an_honest_report_is_never_told_however_it_is_made() {
        let rounded = |value: f64| (value * 1e4).round() / 1e4;
        for every in [1, 3, 5] {
            let nothing = |answers: Vec<Judged>| {
                assert!(
                    answers.iter().all(|it| *it == Judged::Nothing),
                    "{answers:?}"
                );
            };
            nothing(judged(every, |_, since| mean(since)));
            nothing(judged(every, |_, since| rounded(mean(since))));
            nothing(judged(every, |_, since| mean(since) / 2.0));
            nothing(judged(every, |_, since| since[since.len() - 1]));
            nothing(judged(every, |_, since| since[since.len() - 1] * 0.4));
        }
    }

    #[test]
    fn a_forged_report_is_told_with_its_first_step_and_what_it_should_be() {
        let answers = judged(2, |step, since| {
            mean(since) * if step > 30 { 0.9 } else { 1.0 }
        });
        let told: Vec<_> = answers
            .iter()
            .filter(|it| **it != Judged::Nothing)
            .collect();
        let [Judged::Forged(forged)] = told[..] else {
            panic!("{answers:?}");
        };
        assert_eq!((forged.first, forged.way), (33, Way::MeanOfSums));
        assert!((forged.reported / forged.expected - 0.9).abs() < 1e-9);
    }

    #[test]
    fn one_odd_report_and_what_has_nothing_to_do_with_losses_are_not_told() {
        let answers = judged(2, |step, since| {
            mean(since) * if step == 30 { 0.5 } else { 1.0 }
        });
        assert!(answers.iter().all(|it| *it == Judged::Nothing));
        let answers = judged(2, |step, _| step as f64);
        assert_eq!(
            answers.iter().filter(|it| **it == Judged::Unknown).count(),
            1
        );
        assert!(!answers.iter().any(|it| matches!(it, Judged::Forged(_))));
    }

    #[test]
    fn steps_without_numbers_judge_nothing() {
        let (mut losses, mut metric) = (Losses::default(), Metric::default());
        for step in 1..20 {
            losses.step(&[f64::NAN]);
            assert_eq!(metric.hear(step, f64::NAN, &losses), Judged::Nothing);
            losses.step(&[]);
            assert_eq!(metric.hear(step, 1.0, &losses), Judged::Nothing);
        }
    }
}
