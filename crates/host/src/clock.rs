//! The one place for time.
//!
//! Engines take times as values; only here are clocks read. Order and duration come from the monotonic clock, which no
//! `date -s` can turn back; the wall clock serves people and is recorded next to it, so that a step of it shows.

use rustix::time::{ClockId, Timespec, clock_gettime};

/// Microseconds since some start, never going back, not counting sleep of the machine.
pub fn monotonic_us() -> i64 {
    microseconds(clock_gettime(ClockId::Monotonic))
}

/// Microseconds since 1970-01-01 UTC, as the machine believes.
pub fn wall_us() -> i64 {
    microseconds(clock_gettime(ClockId::Realtime))
}

/// Microseconds since the machine started, counting sleep.
pub fn boot_us() -> i64 {
    microseconds(clock_gettime(ClockId::Boottime))
}

/// When the machine started, in microseconds since 1970-01-01 UTC. It moves when the wall clock is stepped.
pub fn booted_at_us() -> i64 {
    wall_us().saturating_sub(boot_us())
}

fn microseconds(time: Timespec) -> i64 {
    time.tv_sec
        .saturating_mul(1_000_000)
        .saturating_add(time.tv_nsec / 1_000)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_monotonic_clock_never_goes_back() {
        let mut last = monotonic_us();
        for _ in 0..1_000 {
            let now = monotonic_us();
            assert!(now >= last);
            last = now;
        }
    }

    #[test]
    fn the_wall_clock_counts_from_1970_in_microseconds() {
        let seconds = std::time::SystemTime::UNIX_EPOCH
            .elapsed()
            .unwrap()
            .as_secs();
        let ours = u64::try_from(wall_us()).unwrap() / 1_000_000;
        assert!(ours >= seconds && ours - seconds < 60);
        assert!(booted_at_us() < wall_us());
    }
}
