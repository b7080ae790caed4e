//! `--explain`: what each pickle of a file says, as source that a person can read, with the findings in their places.

use std::fmt::Write as _;

use domain::scan::Place;

use super::words::place;
use super::{FileReport, Plain, Renderer as _};
use crate::sanitise;

/// One program of a file, reconstructed.
#[derive(Debug, Clone, Default)]
pub struct Listing {
    /// Where it is.
    pub place: Place,
    /// What it is called.
    pub format: String,
    /// Offset and line of source; hostile text.
    pub lines: Vec<(u64, String)>,
    /// Why it is not all, if it is not.
    pub cut: Option<String>,
}

/// The listings of one file as plain text, with each finding below the line that it is about; then the file's verdict.
pub fn explanation(file: &FileReport, listings: &[Listing], plain: &mut Plain) -> String {
    let mut text = String::new();
    for listing in listings {
        let at = place(&Place {
            offset: None,
            ..listing.place.clone()
        });
        let at = if at.is_empty() {
            file.path.as_str()
        } else {
            &at
        };
        let _ = writeln!(text, "── {} ({})", sanitise(at), sanitise(&listing.format));
        let mut ends = listing.lines.iter().map(|line| line.0).skip(1);
        for (offset, line) in &listing.lines {
            let _ = writeln!(text, "{offset:>10}  {}", sanitise(line));
            let end = ends.next().unwrap_or(u64::MAX);
            inline(&mut text, file, listing, *offset..end);
        }
        if let Some(cut) = &listing.cut {
            let _ = writeln!(text, "            … {}", sanitise(cut));
        }
        text.push('\n');
    }
    text.push_str(&plain.file(file));
    text
}

fn inline(text: &mut String, file: &FileReport, listing: &Listing, range: std::ops::Range<u64>) {
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
