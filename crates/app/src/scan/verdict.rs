//! What findings and gaps amount to: for one file, and for the exit code.

use domain::scan::Weight;
use report::scan::{FileReport, Since, Totals, Verdict};

/// The verdict on one path. `link` says that it is a link to something that is examined under its own name.
pub(super) fn of(report: &FileReport, link: bool) -> Verdict {
    let done = &report.examination;
    match report.weight() {
        Some(Weight::Dangerous) => Verdict::Dangerous,
        Some(Weight::Unknown) => Verdict::Unknown,
        Some(Weight::Custom) => Verdict::Custom,
        Some(Weight::Note) | None if link => Verdict::Link,
        // Nothing at all was read of something that somebody asked for by name.
        Some(Weight::Note) | None if report.named && nothing_read(report) => Verdict::Failed,
        Some(Weight::Note) | None if !done.is_complete() => Verdict::Incomplete,
        Some(Weight::Note) | None if is_accepted(report) => Verdict::Accepted,
        None if done.formats.is_empty() && done.parts.is_empty() => Verdict::NotAModel,
        Some(Weight::Note) | None => Verdict::Clean,
    }
}

fn nothing_read(report: &FileReport) -> bool {
    use domain::scan::GapKind::{NotAFile, Unreadable};
    let done = &report.examination;
    let whole = done.gaps.iter().find(|gap| gap.place.members.is_empty());
    done.parts.is_empty() && whole.is_some_and(|gap| matches!(gap.kind, Unreadable | NotAFile))
}

/// Whether it would not be clean without the baseline.
fn is_accepted(report: &FileReport) -> bool {
    let findings = report.examination.findings.iter().enumerate();
    let mut heavy = findings.filter(|(_, finding)| finding.weight > Weight::Note);
    heavy.any(|(index, _)| !report.counts(index))
}

/// Counts one file.
pub(super) fn count(totals: &mut Totals, report: &FileReport, fail_on: Weight) {
    let done = &report.examination;
    totals.files += 1;
    *match report.verdict {
        Verdict::Link => &mut totals.links,
        Verdict::NotAModel => &mut totals.not_models,
        Verdict::Clean => &mut totals.clean,
        Verdict::Accepted => &mut totals.accepted_files,
        Verdict::Incomplete => &mut totals.incomplete,
        Verdict::Custom => &mut totals.custom,
        Verdict::Unknown => &mut totals.unknown,
        Verdict::Dangerous => &mut totals.dangerous,
        Verdict::Failed => &mut totals.failed,
    } += 1;
    for (index, finding) in done.findings.iter().enumerate() {
        totals.findings += 1;
        totals.notes += u64::from(finding.weight == Weight::Note);
        totals.counting += u64::from(report.counts(index) && finding.weight >= fail_on);
    }
    let expired = report.accepted.iter().filter(|known| known.expired).count() as u64;
    totals.expired += expired;
    totals.accepted += report.accepted.len() as u64 - expired;
    totals.gaps += done.gaps.len() as u64;
    // What had no room in the record is a gap in the answer too.
    totals.gaps += u64::from(done.left_out > 0 && done.gaps.is_empty());
    totals.parts += done.parts.len() as u64;
    totals.bytes = totals.bytes.saturating_add(done.size);
    totals.raw_bytes = totals.raw_bytes.saturating_add(done.raw_bytes);
}

/// 1 wins over 2, and 2 over 3: a finding is certain, a path that could not be read may be a typing error. `kept` says that
/// every verdict that was to be recorded was.
pub(super) fn exit_code(totals: &Totals, since: Option<&Since>, kept: bool) -> u8 {
    let beyond = since.map_or(0, |since| since.beyond);
    // Something below the threshold that nobody vouches for is no finding, and no clean answer either.
    let open = totals.custom + totals.unknown + totals.dangerous;
    if totals.counting > 0 || beyond > 0 {
        1
    } else if totals.failed > 0 || !kept {
        2
    } else if totals.gaps > 0 || open > 0 {
        3
    } else {
        0
    }
}

#[cfg(test)]
mod tests {
    use domain::scan::{Finding, Gap, GapKind, Part, Place, Rule};
    use report::scan::Acceptance;

    use super::*;

    fn file(weights: &[Weight], gaps: &[GapKind]) -> FileReport {
        let findings = weights.iter().map(|weight| Finding {
            rule: Rule::Broken,
            weight: *weight,
            place: Place::default(),
            expression: String::new(),
            why: String::new(),
        });
        let gaps = gaps.iter().map(|kind| Gap {
            kind: *kind,
            place: Place::default(),
            what: String::new(),
        });
        FileReport {
            path: domain::PathText::default(),
            named: true,
            verdict: Verdict::Clean,
            examination: domain::scan::Examination {
                findings: findings.collect(),
                gaps: gaps.collect(),
                parts: vec![Part {
                    place: Place::default(),
                    format: "pickle".to_owned(),
                    size: 1,
                    digest: None,
                }],
                ..Default::default()
            },
            accepted: Vec::new(),
            listings: Vec::new(),
            as_in: None,
        }
    }

    fn code(mut files: Vec<FileReport>, fail_on: Weight) -> u8 {
        let mut totals = Totals::default();
        for file in &mut files {
            file.verdict = of(file, false);
            count(&mut totals, file, fail_on);
        }
        exit_code(&totals, None, true)
    }

    #[test]
    fn a_finding_wins_over_a_failure_and_a_failure_over_a_gap() {
        use Weight::{Custom, Dangerous, Note, Unknown};
        let unread = || {
            let mut unread = file(&[], &[GapKind::Unreadable]);
            unread.examination.parts.clear();
            unread
        };
        let gap = || file(&[], &[GapKind::Encrypted]);
        assert_eq!(code(vec![file(&[Note], &[])], Unknown), 0);
        assert_eq!(code(vec![file(&[Note], &[])], Note), 1);
        assert_eq!(code(vec![gap()], Unknown), 3);
        assert_eq!(code(vec![file(&[Custom], &[])], Unknown), 3);
        assert_eq!(code(vec![file(&[Custom], &[])], Custom), 1);
        assert_eq!(code(vec![file(&[Unknown], &[])], Dangerous), 3);
        assert_eq!(code(vec![gap(), unread()], Unknown), 2);
        assert_eq!(
            code(vec![gap(), unread(), file(&[Dangerous], &[])], Unknown),
            1
        );
    }

    #[test]
    fn what_a_baseline_accepts_does_not_count_until_its_day_is_over() {
        let accepted = |expired| {
            let mut file = file(&[Weight::Unknown], &[]);
            file.accepted.push(Acceptance {
                finding: 0,
                reason: "known".to_owned(),
                expires: "2027-01-01".to_owned(),
                expired,
            });
            file
        };
        assert_eq!(code(vec![accepted(false)], Weight::Unknown), 0);
        assert_eq!(code(vec![accepted(true)], Weight::Unknown), 1);
    }

    #[test]
    fn records_that_had_no_room_make_the_answer_incomplete() {
        let mut full = file(&[], &[]);
        full.examination.left_out = 1;
        assert_eq!(code(vec![full], Weight::Unknown), 3);
    }
}
