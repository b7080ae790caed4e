//! The supervisor's signs of life, so that nobody can cut a piece out of the time without it being seen.
//!
//! When nothing was recorded for an interval, a heartbeat is. A silence is told by whoever reads the record; what only the
//! supervisor can know is why it was silent, and that it tells here: the boot clock against the waking clock shows a
//! suspended machine, and a thread that does nothing but look at the clock once a second shows a supervisor that was
//! stopped, because then that thread did not run either. One that is only slow, or waits for a disk, still has its pulse.

use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use domain::upkeep::Heartbeat;
use host::clock::Moment;

/// The pulse: often enough to tell a stop of seconds, seldom enough to cost nothing.
const PULSE: Duration = Duration::from_secs(1);

/// A pause of the pulse up to this is a busy machine.
const BUSY_US: i64 = 3_000_000;

/// When a thread last looked, and the times in which none could.
#[derive(Debug)]
struct Pulse {
    last_awake_us: i64,
    /// From, to; in order of time.
    pauses: Vec<(i64, i64)>,
}

impl Pulse {
    /// Somebody runs.
    fn beat(&mut self, awake_us: i64) {
        if awake_us.saturating_sub(self.last_awake_us) > BUSY_US {
            self.pauses.push((self.last_awake_us, awake_us));
        }
        self.last_awake_us = self.last_awake_us.max(awake_us);
    }

    /// How much of a time nobody ran. Nobody asks for what was before `from_us` again. The pauses are held against the time
    /// that is asked for, because whoever asks may itself have been stopped after it looked at the clock.
    fn stopped_us(&mut self, from_us: i64, to_us: i64) -> u64 {
        self.pauses.retain(|(_, end)| *end > from_us);
        let within = |(start, end): &(i64, i64)| {
            positive((*end).min(to_us).saturating_sub((*start).max(from_us)))
        };
        self.pauses.iter().map(within).sum()
    }
}

/// Says when a heartbeat is due, and what it says.
pub(crate) struct Heart {
    pulse: Arc<Mutex<Pulse>>,
    interval_us: u64,
    count: u64,
}

impl Heart {
    /// A heart that beats from now on.
    pub(crate) fn start(interval_seconds: u32) -> Self {
        let heart = Self::new(interval_seconds, Moment::now());
        let pulse = Arc::downgrade(&heart.pulse);
        let spawned = std::thread::Builder::new()
            .name("pulse".to_owned())
            .spawn(move || keep_beating(&pulse));
        drop(spawned); // without it a busy recorder counts as a stopped one
        heart
    }

    fn new(interval_seconds: u32, now: Moment) -> Self {
        let pulse = Pulse {
            last_awake_us: now.awake_us,
            pauses: Vec::new(),
        };
        Self {
            pulse: Arc::new(Mutex::new(pulse)),
            interval_us: u64::from(interval_seconds) * 1_000_000,
            count: 0,
        }
    }

    /// What is to be recorded before anything else, if nothing was for an interval. `last` is the last entry. A wall clock
    /// that was set makes one due too, because only a heartbeat tells that from a silence.
    pub(crate) fn due(&mut self, now: Moment, last: Moment) -> Option<Heartbeat> {
        let stopped_us = {
            let mut pulse = self.pulse.lock().unwrap_or_else(PoisonError::into_inner);
            pulse.beat(now.awake_us);
            pulse.stopped_us(last.awake_us, now.awake_us)
        };
        let quiet_us = positive(now.boot_us.saturating_sub(last.boot_us));
        let by_wall = positive(now.wall_us.saturating_sub(last.wall_us));
        if quiet_us.max(by_wall) < self.interval_us {
            return None;
        }
        let awake_us = positive(now.awake_us.saturating_sub(last.awake_us));
        let asleep_us = quiet_us.saturating_sub(awake_us);
        self.count += 1;
        Some(Heartbeat {
            count: self.count,
            boot_us: now.boot_us,
            awake_us: now.awake_us,
            quiet_us,
            asleep_us,
            stopped_us: stopped_us.min(awake_us),
        })
    }
}

fn keep_beating(pulse: &Weak<Mutex<Pulse>>) {
    loop {
        std::thread::sleep(PULSE);
        let Some(pulse) = pulse.upgrade() else {
            return;
        };
        let mut pulse = pulse.lock().unwrap_or_else(PoisonError::into_inner);
        pulse.beat(host::clock::monotonic_us());
    }
}

fn positive(us: i64) -> u64 {
    u64::try_from(us).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    const S: i64 = 1_000_000;

    fn at(wall: i64, boot: i64, awake: i64) -> Moment {
        Moment {
            wall_us: 1_700_000_000 * S + wall * S,
            boot_us: boot * S,
            awake_us: awake * S,
        }
    }

    /// Looks every second up to `until`.
    fn ticks(heart: &mut Heart, last: Moment, from: i64, until: i64) -> Vec<Heartbeat> {
        let mut beats = Vec::new();
        let mut last = last;
        for second in from..=until {
            let now = at(second, second, second);
            if let Some(beat) = heart.due(now, last) {
                last = now;
                beats.push(beat);
            }
        }
        beats
    }

    #[test]
    fn a_quiet_run_gives_one_sign_of_life_an_interval_and_counts_them() {
        let start = at(0, 0, 0);
        let beats = ticks(&mut Heart::new(30, start), start, 1, 100);
        let told: Vec<_> = beats
            .iter()
            .map(|beat| (beat.count, beat.boot_us / S))
            .collect();
        assert_eq!(told, [(1, 30), (2, 60), (3, 90)]);
        let odd = |beat: &Heartbeat| beat.asleep_us != 0 || beat.stopped_us != 0;
        assert!(!beats.iter().any(odd), "{beats:?}");
    }

    #[test]
    fn a_run_that_has_something_to_say_gives_none() {
        let mut heart = Heart::new(30, at(0, 0, 0));
        for second in 1..1000 {
            let now = at(second, second, second);
            assert_eq!(heart.due(now, at(second - 5, second - 5, second - 5)), None);
        }
    }

    #[test]
    fn what_the_machine_slept_and_what_the_supervisor_was_stopped_is_told_apart() {
        let start = at(0, 0, 0);
        let mut heart = Heart::new(30, start);
        assert!(ticks(&mut heart, start, 1, 10).is_empty());
        // Asleep for 200 s: the waking clock stands.
        let slept = heart.due(at(210, 210, 10), start).unwrap();
        assert_eq!(
            (slept.quiet_us, slept.asleep_us, slept.stopped_us),
            (210_000_000, 200_000_000, 0)
        );
        // Stopped for 100 s: the waking clock goes, and nobody looks.
        let last = at(210, 210, 10);
        let stopped = heart.due(at(310, 310, 110), last).unwrap();
        assert_eq!((stopped.asleep_us, stopped.stopped_us), (0, 100_000_000));
        assert_eq!(stopped.count, 2);
        // Busy for 100 s: the pulse went on.
        for second in 111..210 {
            heart.pulse.lock().unwrap().beat(second * S);
        }
        let busy = heart.due(at(410, 410, 210), at(310, 310, 110)).unwrap();
        assert_eq!((busy.asleep_us, busy.stopped_us), (0, 0));
    }

    #[test]
    fn a_stop_before_the_last_entry_is_not_counted_again() {
        let mut heart = Heart::new(30, at(0, 0, 0));
        assert_eq!(heart.due(at(20, 20, 20), at(19, 19, 19)), None);
        let beat = ticks(&mut heart, at(20, 20, 20), 21, 50);
        assert_eq!(beat.len(), 1);
        assert_eq!(beat[0].stopped_us, 0);
    }

    #[test]
    fn a_stop_between_the_look_at_the_clock_and_its_use_is_counted_when_it_is_told() {
        let last = at(1, 1, 1);
        let mut heart = Heart::new(30, at(0, 0, 0));
        heart.pulse.lock().unwrap().beat(S);
        let looked = at(2, 2, 2);
        heart.pulse.lock().unwrap().beat(60 * S); // the other thread is the first to wake
        assert_eq!(heart.due(looked, last), None);
        let beat = heart.due(at(60, 60, 60), last).unwrap();
        assert_eq!(beat.stopped_us, 59_000_000);
    }

    #[test]
    fn a_wall_clock_that_was_set_forward_makes_a_heartbeat_due_that_tells_no_silence() {
        let mut heart = Heart::new(30, at(0, 0, 0));
        let beat = heart.due(at(3600, 2, 2), at(1, 1, 1)).unwrap();
        assert_eq!(beat.quiet_us, 1_000_000);
    }
}
