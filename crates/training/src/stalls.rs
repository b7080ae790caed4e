//! Sleeps in the steps of one process: which phases are asleep for long at some steps and not at the others.
//!
//! Natural slowness is common, so a single one is nothing: several of few steps must be, in one phase, far above what is usual there. What
//! comes at every so-many-th step is the program's own rhythm (logging, saving), and what is so from the start at every
//! step is usual. Whether something else explains a sleep, the caller knows. Pure.

use std::collections::VecDeque;

use domain::{Phase, Wait};

/// A sleep shorter than that is nothing: virtual machines pause, pages are fetched.
const LEAST_US: u64 = 75_000;
/// How many times the usual it must be.
const TIMES: u64 = 3;
/// Steps that are looked back at.
const STEPS: u64 = 60;
/// How many of them must have a sleep.
const COUNT: usize = 3;
/// The first steps build what later ones use.
const FIRST: u64 = 10;
/// Steps from which the usual is taken.
const USUAL: usize = 31;
/// A sleep every so many steps, always, is the program's rhythm.
const RHYTHM: u64 = 5;

/// One sleep.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stall {
    /// The number of the step, as the process tells it.
    pub step: u64,
    /// Which step of the process, from 1.
    pub count: u64,
    /// Where in the step.
    pub phase: Phase,
    /// How long.
    pub asleep_us: u64,
    /// What was usual there.
    pub usual_us: u64,
    /// When the step was told.
    pub at_us: i64,
}

/// What is known of one process.
#[derive(Debug, Default)]
pub struct Stalls {
    count: u64,
    usual: [VecDeque<u64>; 5],
    recent: VecDeque<Stall>,
}

impl Stalls {
    /// Takes in a step; `excused` tells the waits that something explains. Answers the sleeps in it.
    pub fn hear(
        &mut self,
        step: u64,
        at_us: i64,
        waits: &[Wait],
        excused: impl Fn(&Wait) -> bool,
    ) -> Vec<Stall> {
        self.count += 1;
        let mut found = Vec::new();
        for (phase, usual) in Phase::ALL.into_iter().zip(&mut self.usual) {
            let wait = waits.iter().find(|wait| wait.phase == phase);
            let asleep_us = wait.map_or(0, |wait| wait.asleep_us);
            let usual_us = upper(usual);
            let long = asleep_us > LEAST_US && asleep_us > usual_us.saturating_mul(TIMES);
            let alone = wait.is_some_and(|wait| {
                wait.queued_us.saturating_mul(10) < asleep_us.saturating_mul(3)
                    && wait.worked_us.saturating_mul(2) < asleep_us
                    && !wait.disk
                    && !excused(wait)
            });
            if long && alone && self.count > FIRST {
                found.push(Stall {
                    step,
                    count: self.count,
                    phase,
                    asleep_us,
                    usual_us,
                    at_us,
                });
            }
            usual.push_back(asleep_us);
            if usual.len() > USUAL {
                usual.pop_front();
            }
        }
        self.recent.extend(&found);
        while let Some(first) = self.recent.front()
            && first.count + STEPS <= self.count
        {
            self.recent.pop_front();
        }
        found
    }

    /// The sleeps of the last steps in the first phase that has enough of them and no rhythm, of those that `counts`.
    pub fn judge(&self, counts: impl Fn(&Stall) -> bool) -> Option<Vec<Stall>> {
        Phase::ALL.into_iter().find_map(|phase| {
            let of = self.recent.iter().filter(|it| it.phase == phase);
            let stalls: Vec<Stall> = of.filter(|it| counts(it)).copied().collect();
            (stalls.len() >= COUNT && !has_rhythm(&stalls)).then_some(stalls)
        })
    }

    /// Steps that were heard.
    pub fn steps(&self) -> u64 {
        self.count
    }

    /// Recent sleeps.
    pub fn recent(&self) -> impl Iterator<Item = &Stall> {
        self.recent.iter()
    }
}

fn has_rhythm(stalls: &[Stall]) -> bool {
    let between = stalls
        .iter()
        .zip(stalls.iter().skip(1))
        .map(|(one, next)| next.count - one.count)
        .fold(0, divisor);
    between >= RHYTHM
}

fn divisor(one: u64, other: u64) -> u64 {
    if other == 0 {
        one
    } else {
        divisor(other, one % other)
    }
}

/// What three of four steps stay below.
fn upper(values: &VecDeque<u64>) -> u64 {
    let mut sorted: Vec<u64> = values.iter().copied().collect();
    sorted.sort_unstable();
    sorted.get(sorted.len() * 3 / 4).copied().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wait(asleep_us: u64) -> Wait {
        Wait {
            phase: Phase::Backward,
            asleep_us,
            queued_us: 0,
            worked_us: 0,
            disk: false,
            workers: false,
        }
    }

    fn judge(sleeps: impl Fn(u64) -> Option<Wait>) -> Option<u64> {
        let mut stalls = Stalls::default();
        for step in 1..=300 {
            let waits: Vec<_> = sleeps(step).into_iter().collect();
            stalls.hear(step, 0, &waits, |_| false);
            if let Some(found) = stalls.judge(|_| true) {
                return found.last().map(|stall| stall.step);
            }
        }
        None
    }

    #[test]
    fn sleeps_at_odd_steps_are_found_with_the_third() {
        let found = judge(|step| [30, 41, 47, 66].contains(&step).then(|| wait(150_000)));
        assert_eq!(found, Some(47));
    }

    #[test]
    fn what_is_usual_or_a_rhythm_is_not() {
        assert_eq!(judge(|_| Some(wait(200_000))), None);
        assert_eq!(judge(|step| (step % 10 == 0).then(|| wait(200_000))), None);
        assert_eq!(judge(|step| (step % 2 == 0).then(|| wait(200_000))), None);
        assert_eq!(judge(|step| (step % 70 == 3).then(|| wait(900_000))), None);
    }

    #[test]
    fn what_something_explains_is_not() {
        let at = |step| [30, 41, 47, 66].contains(&step);
        let busy = Wait {
            queued_us: 60_000,
            ..wait(150_000)
        };
        let others = Wait {
            worked_us: 80_000,
            ..wait(150_000)
        };
        let disk = Wait {
            disk: true,
            ..wait(150_000)
        };
        for odd in [busy, others, disk, wait(70_000)] {
            assert_eq!(judge(|step| at(step).then_some(odd)), None, "{odd:?}");
        }
        let early = judge(|step| (step < 10).then(|| wait(150_000)));
        assert_eq!(early, None);
    }
}
