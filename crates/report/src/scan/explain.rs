//! `--explain`: what each pickle of a file says, as source that a person can read, with the findings in their places.

use std::fmt::Write as _;
use std::ops::Range;

use domain::scan::{Listing, Place};

use super::FileReport;
use super::words::place;
use crate::sanitise;

/// The listings of one file, with each finding below the line that it is about.
pub(super) fn listings(file: &FileReport) -> String {
    let mut text = String::new();
    for listing in &file.listings {
        let at = place(&Place {
            offset: None,
            ..listing.place.clone()
        });
        let path = file.path.as_str();
        let _ = if at.is_empty() {
            writeln!(text, "── {}", sanitise(path))
        } else {
            writeln!(text, "── {}: {}", sanitise(path), sanitise(&at))
        };
        let mut ends = listing.lines.iter().map(|line| line.0).skip(1);
        for (offset, line) in &listing.lines {
            let _ = writeln!(text, "{offset:>10}  {}", sanitise(line));
            let end = ends.next().unwrap_or(u64::MAX);
            findings(&mut text, file, listing, *offset..end);
        }
        if listing.cut {
            text.push_str("            … there is more than is shown\n");
        }
        text.push('\n');
    }
    text
}

fn findings(text: &mut String, file: &FileReport, listing: &Listing, range: Range<u64>) {
    for finding in &file.examination.findings {
        let at = &finding.place;
        let same = at.members == listing.place.members
            && at.stream.unwrap_or(0) == listing.place.stream.unwrap_or(0);
        if same && at.offset.is_some_and(|offset| range.contains(&offset)) {
            let _ = writeln!(
                text,
                "            ^ {}: {}   [{}]",
                finding.weight,
                finding.rule.title(),
                finding.rule
            );
        }
    }
}
