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

/// What the kernel says of the wall clock.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Discipline {
    /// Whether something keeps it in step with other clocks.
    pub synchronised: bool,
    /// By how much it is still to be moved, in microseconds.
    pub offset_us: i64,
    /// How far it is estimated to be off, in microseconds.
    pub error_us: i64,
    /// How far it may be off at most, in microseconds.
    pub max_error_us: i64,
}

/// Asks the kernel; nothing is changed.
///
/// # Errors
/// Where the system does not allow the question, as some sandboxes do.
pub fn discipline() -> std::io::Result<Discipline> {
    let (state, figures) = crate::sys::clock_state()?;
    let in_nanoseconds = figures.status & libc::STA_NANO != 0;
    let unit = if in_nanoseconds { 1_000 } else { 1 };
    Ok(Discipline {
        synchronised: state != libc::TIME_ERROR && figures.status & libc::STA_UNSYNC == 0,
        offset_us: figures.offset / unit,
        error_us: figures.esterror,
        max_error_us: figures.maxerror,
    })
}

/// Wall clock and time since the machine's start, read at one moment; `None` where this process was held up in between.
pub fn both_us() -> Option<(i64, i64)> {
    let before = boot_us();
    let wall = wall_us();
    let after = boot_us();
    (after - before < 10_000).then_some((wall, before))
}

/// One instant by all three clocks, in microseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Moment {
    /// By the wall clock, since 1970.
    pub wall_us: i64,
    /// Since the machine started, counting its sleep.
    pub boot_us: i64,
    /// Since the machine started, without its sleep.
    pub awake_us: i64,
}

impl Moment {
    /// Now.
    pub fn now() -> Self {
        Self {
            wall_us: wall_us(),
            boot_us: boot_us(),
            awake_us: monotonic_us(),
        }
    }
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
    fn the_state_of_the_clock_can_be_asked_or_is_refused_and_changes_nothing() {
        let before = wall_us();
        if let Ok(state) = discipline() {
            assert!(state.max_error_us >= 0 && state.error_us >= 0, "{state:?}");
            assert!(
                state.offset_us.abs() < 1_000_000,
                "the kernel moves by half a second at most"
            );
        }
        assert!(wall_us() >= before);
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
