//! When nothing was recorded for too long, and what is known of why.
//!
//! A supervisor that lives says so at every interval. So a longer silence is a gap whatever its cause, and the entry that
//! ends it tells the cause where it is a heartbeat: the machine slept, the supervisor was stopped, or it ran and said
//! nothing. Any other entry at the end of a silence means that heartbeats are missing. No clock is read here.

use domain::entry::{Act, Gap};
use domain::upkeep::Heartbeat;
use domain::{Body, Entry};
use report::time::{duration, rfc3339};

/// So many intervals are no silence: one heartbeat may be late, one may wait for a slow disk.
const INTERVALS: u64 = 3;

/// Less than this is the grain of the clocks that are compared.
const GRAIN_US: u64 = 1_000_000;

/// The silence before `entry`, if there was one. `last_us` is when the entry before it was recorded, 0 when there is none.
pub(crate) fn before(last_us: i64, entry: &Entry, interval_us: u64) -> Option<Gap> {
    let by_wall = u64::try_from(entry.capture_us.saturating_sub(last_us)).unwrap_or(0);
    let (quiet_us, why) = match &entry.body {
        // By the boot clock: the wall clock may have been set meanwhile.
        Body::Act(Act::Alive(heart)) => (heart.quiet_us, because(heart)),
        _ => (by_wall, "no heartbeat".to_owned()),
    };
    if last_us == 0 || quiet_us <= interval_us.saturating_mul(INTERVALS) {
        return None;
    }
    Some(Gap {
        what: format!(
            "anything from {} to {} ({})",
            rfc3339(last_us),
            rfc3339(entry.capture_us),
            duration(seconds(quiet_us))
        ),
        why,
    })
}

/// A run whose supervisor says nothing any more at `now_us`, although nobody has seen it end.
pub(crate) fn since(last_us: i64, now_us: i64, interval_us: u64) -> Option<Gap> {
    let quiet_us = u64::try_from(now_us.saturating_sub(last_us)).unwrap_or(0);
    (last_us > 0 && quiet_us > interval_us.saturating_mul(INTERVALS)).then(|| Gap {
        what: format!(
            "anything since {} ({})",
            rfc3339(last_us),
            duration(seconds(quiet_us))
        ),
        why: "no heartbeat".to_owned(),
    })
}

fn because(heart: &Heartbeat) -> String {
    let Heartbeat {
        quiet_us,
        asleep_us,
        stopped_us,
        ..
    } = *heart;
    let ran_us = quiet_us.saturating_sub(asleep_us.saturating_add(stopped_us));
    let causes = [
        (asleep_us, "the machine was suspended"),
        (stopped_us, "the supervisor was stopped or frozen"),
        (ran_us, "the supervisor ran and recorded nothing"),
    ];
    let told: Vec<_> = causes
        .iter()
        .filter(|(us, _)| *us >= GRAIN_US)
        .map(|(us, what)| format!("{what} for {}", duration(seconds(*us))))
        .collect();
    format!("no heartbeat: {}", told.join(", "))
}

fn seconds(us: u64) -> f64 {
    us as f64 / 1e6
}

#[cfg(test)]
mod tests {
    use domain::{RunId, Tier};

    use super::*;

    const S: u64 = 1_000_000;
    const START: i64 = 1_700_000_000_000_000;

    fn entry(after_us: u64, body: Body) -> Entry {
        let at = START + i64::try_from(after_us).unwrap();
        Entry {
            v: 1,
            run: RunId::new(1, [0; 10]),
            seq: 1,
            event_us: at,
            capture_us: at,
            tier: Tier::Supervisor,
            body,
        }
    }

    fn alive(quiet_us: u64, asleep_us: u64, stopped_us: u64) -> Body {
        Body::Act(Act::Alive(Heartbeat {
            count: 1,
            boot_us: 0,
            awake_us: 0,
            quiet_us,
            asleep_us,
            stopped_us,
        }))
    }

    fn other() -> Body {
        Body::Act(Act::EnvironmentAccepted)
    }

    #[test]
    fn a_silence_of_more_than_three_intervals_is_a_gap_with_its_times_and_its_length() {
        for (after, is_silence) in [(0, false), (30, false), (90, false), (91, true)] {
            for body in [other(), alive(after * S, 0, 0)] {
                let gap = before(START, &entry(after * S, body), 30 * S);
                assert_eq!(gap.is_some(), is_silence, "{after}");
            }
        }
        let gap = before(START, &entry(240 * S, other()), 30 * S).unwrap();
        assert_eq!(
            gap.what,
            "anything from 2023-11-14T22:13:20Z to 2023-11-14T22:17:20Z (4 min 0 s)"
        );
        assert_eq!(gap.why, "no heartbeat");
    }

    #[test]
    fn a_suspended_machine_a_stopped_supervisor_and_a_silent_one_are_told_apart() {
        let why = |asleep, stopped| {
            let entry = entry(240 * S, alive(240 * S, asleep * S, stopped * S));
            before(START, &entry, 30 * S).unwrap().why
        };
        assert_eq!(
            why(240, 0),
            "no heartbeat: the machine was suspended for 4 min 0 s"
        );
        assert_eq!(
            why(0, 240),
            "no heartbeat: the supervisor was stopped or frozen for 4 min 0 s"
        );
        assert_eq!(
            why(0, 0),
            "no heartbeat: the supervisor ran and recorded nothing for 4 min 0 s"
        );
        assert!(why(100, 100).contains("suspended for 100 s, the supervisor was stopped or frozen for 100 s, the supervisor ran"));
    }

    #[test]
    fn a_wall_clock_that_was_set_forward_is_no_silence_where_a_heartbeat_tells() {
        assert_eq!(
            before(START, &entry(3600 * S, alive(2 * S, 0, 0)), 30 * S),
            None
        );
        let gap = before(START, &entry(0, alive(240 * S, 0, 0)), 30 * S);
        assert!(gap.is_some(), "a clock that was set back hides no silence");
    }

    #[test]
    fn a_run_that_says_nothing_any_more_is_a_gap_up_to_now() {
        let at = |after: u64| START + i64::try_from(after * S).unwrap();
        assert_eq!(since(START, at(90), 30 * S), None);
        assert!(
            since(START, at(91), 30 * S)
                .unwrap()
                .what
                .contains("since 2023")
        );
        assert_eq!(since(0, at(91), 30 * S), None, "there is nothing yet");
    }
}
