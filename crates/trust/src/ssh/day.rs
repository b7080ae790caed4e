//! Times as `allowed_signers` writes them: `YYYYMMDD`, with `HHMM` or `HHMMSS` behind, with `Z` for UTC.

use jiff::civil::{Date, DateTime, Time};
use jiff::tz::TimeZone;

/// The zones of this earth: from twelve hours behind UTC to fourteen hours ahead of it.
const EAST: i64 = 14 * 3600;
const WEST: i64 = 12 * 3600;

/// A point in time, or the stretch in which it lies as long as the zone is not known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Moment {
    earliest: i64,
    latest: i64,
}

/// An answer that may be open.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Certain {
    Yes,
    No,
    Open,
}

impl Moment {
    /// Reads one, or nothing where the text is no time.
    pub(super) fn parse(text: &str) -> Option<Self> {
        let (digits, is_utc) = match text.strip_suffix(['Z', 'z']) {
            Some(digits) => (digits, true),
            None => (text, false),
        };
        let number = |from: usize, count: usize| -> Option<i8> {
            let part = digits.get(from..from + count)?;
            part.bytes()
                .all(|byte| byte.is_ascii_digit())
                .then_some(())?;
            part.parse().ok()
        };
        let (hour, minute, second) = match digits.len() {
            8 => (0, 0, 0),
            12 => (number(8, 2)?, number(10, 2)?, 0),
            14 => (number(8, 2)?, number(10, 2)?, number(12, 2)?),
            _ => return None,
        };
        let year = i16::from(number(0, 2)?) * 100 + i16::from(number(2, 2)?);
        let date = Date::new(year, number(4, 2)?, number(6, 2)?).ok()?;
        let time = Time::new(hour, minute, second, 0).ok()?;
        let moment = DateTime::from_parts(date, time)
            .to_zoned(TimeZone::UTC)
            .ok()?;
        let seconds = moment.timestamp().as_second();
        let (east, west) = if is_utc { (0, 0) } else { (EAST, WEST) };
        Some(Self {
            earliest: seconds - east,
            latest: seconds + west,
        })
    }

    /// Whether it is `at` or later.
    pub(super) fn reached(self, at: i64) -> Certain {
        certain(at >= self.latest, at < self.earliest)
    }

    /// Whether it lies before `at`; the moment itself has not passed.
    pub(super) fn passed(self, at: i64) -> Certain {
        certain(at > self.latest, at <= self.earliest)
    }
}

fn certain(yes: bool, no: bool) -> Certain {
    match (yes, no) {
        (true, _) => Certain::Yes,
        (_, true) => Certain::No,
        _ => Certain::Open,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_in_utc_is_one_second() {
        let moment = Moment::parse("20261122083000Z").expect("a time");
        assert_eq!(moment.earliest, 1_795_336_200);
        assert_eq!(moment.reached(1_795_336_199), Certain::No);
        assert_eq!(moment.reached(1_795_336_200), Certain::Yes);
        assert_eq!(moment.passed(1_795_336_200), Certain::No);
        assert_eq!(moment.passed(1_795_336_201), Certain::Yes);
    }

    #[test]
    fn a_time_without_a_zone_is_open_for_a_day_and_two_hours() {
        let moment = Moment::parse("20261122").expect("a time");
        let utc = Moment::parse("20261122Z").expect("a time").earliest;
        assert_eq!(moment.reached(utc - EAST - 1), Certain::No);
        assert_eq!(moment.reached(utc), Certain::Open);
        assert_eq!(moment.reached(utc + WEST), Certain::Yes);
    }

    #[test]
    fn what_is_no_time_is_refused() {
        for text in [
            "",
            "Z",
            "2026",
            "20261301",
            "20260230",
            "202611222460",
            "2026112x",
            "+0261122",
        ] {
            assert_eq!(Moment::parse(text), None, "{text}");
        }
    }
}
