//! A day in the calendar, in UTC: until when something is accepted.

use std::fmt;
use std::str::FromStr;

use jiff::civil::Date;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// A day, written `2027-02-20`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Day(Date);

/// Not a day.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a day is written 2027-02-20")]
pub struct DaySyntax;

impl Day {
    /// Today in UTC.
    pub fn today() -> Self {
        let now = jiff::Timestamp::now();
        Self(jiff::tz::Offset::UTC.to_datetime(now).date())
    }

    /// So many days later.
    #[must_use]
    pub fn after(self, days: u16) -> Self {
        Self(self.0.saturating_add(jiff::Span::new().days(days)))
    }
}

impl FromStr for Day {
    type Err = DaySyntax;

    fn from_str(text: &str) -> Result<Self, DaySyntax> {
        let shape = text.len() == 10 && text.bytes().all(|b| b.is_ascii_digit() || b == b'-');
        let day = text.parse().map(Self).map_err(|_| DaySyntax);
        if shape { day } else { Err(DaySyntax) }
    }
}

impl fmt::Display for Day {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(formatter)
    }
}

impl Serialize for Day {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Day {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_day_is_read_as_it_is_written_and_nothing_else_is_one() {
        let day: Day = "2027-02-20".parse().unwrap();
        assert_eq!(day.to_string(), "2027-02-20");
        assert_eq!(day.after(9).to_string(), "2027-03-01");
        for text in ["2027-02-30", "20270220", "2027-2-20", "2027-02-20T10", ""] {
            assert!(text.parse::<Day>().is_err(), "{text}");
        }
    }
}
