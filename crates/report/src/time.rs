//! Times and durations as people read them: RFC 3339 in UTC, seconds, minutes.

/// Microseconds since 1970 as RFC 3339 in UTC, to the second.
pub fn rfc3339(us: i64) -> String {
    jiff::Timestamp::from_microsecond(us).map_or_else(
        |_| format!("{us} µs since 1970"),
        |time| time.strftime("%Y-%m-%dT%H:%M:%SZ").to_string(),
    )
}

/// A duration in seconds: `0.84 s`, `41 s`, `3 min 20 s`, `2 h 5 min`.
pub fn duration(seconds: f64) -> String {
    let whole = seconds.max(0.0).round();
    if seconds < 10.0 {
        format!("{seconds:.2} s")
    } else if whole < 120.0 {
        format!("{whole:.0} s")
    } else if whole < 7200.0 {
        format!("{:.0} min {:.0} s", (whole / 60.0).floor(), whole % 60.0)
    } else {
        format!(
            "{:.0} h {:.0} min",
            (whole / 3600.0).floor(),
            (whole % 3600.0 / 60.0).floor()
        )
    }
}

/// A count with thousands separated: `14,312`.
pub fn count(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// A size: `812 B`, `5.4 MB`, `1.5 GB` (powers of ten).
pub fn size(bytes: u64) -> String {
    let (unit, scale) = match bytes {
        0..1_000 => return format!("{bytes} B"),
        1_000..1_000_000 => ("kB", 1e3),
        1_000_000..1_000_000_000 => ("MB", 1e6),
        1_000_000_000..1_000_000_000_000 => ("GB", 1e9),
        _ => ("TB", 1e12),
    };
    format!("{:.1} {unit}", bytes as f64 / scale)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_are_written_as_people_read_them() {
        assert_eq!(rfc3339(1_700_000_000_000_000), "2023-11-14T22:13:20Z");
        assert_eq!(
            (duration(0.844), duration(61.2), duration(200.0)),
            ("0.84 s".into(), "61 s".into(), "3 min 20 s".into())
        );
        assert_eq!(
            (count(7), count(1_234_567), size(999), size(5_400_000)),
            (
                "7".into(),
                "1,234,567".into(),
                "999 B".into(),
                "5.4 MB".into()
            )
        );
    }
}
