//! What loading a file would do, as the run records it: beside the load, and as a finding where it does more than give data.

use std::fs::File;
use std::sync::LazyLock;

use domain::scan::{Examination, Finding as Found, Weight};
use domain::{Body, Finding, Gap, Grade, PathText, Rule};
use formats::{ReadAt as _, Window};

use super::event::ExaminedFile;
use super::recorder::Recorder;
use crate::checkpoint::Opened;

static RULES: LazyLock<scan::Rules> = LazyLock::new(scan::Rules::builtin);

/// What a finding tells of one file.
const TOLD: usize = 5;

/// Examines what stands in `file` from `offset` on; `path` is what it is called.
pub(super) fn of_file(file: &File, size: u64, offset: u64, path: &PathText) -> Examination {
    let input = Opened::new(file, size);
    let window = Window::new(&input, offset, input.len());
    let name = path.as_str().rsplit('/').next().unwrap_or_default();
    crate::examination::examine(&RULES, scan::Options::default(), name, &window)
}

/// The heaviest finding and what it means, in one line.
pub(crate) fn in_words(examination: &Examination) -> Option<String> {
    let heavy = examination
        .findings
        .iter()
        .filter(|found| found.weight >= Weight::Unknown);
    heavy.max_by_key(|found| found.weight).map(words)
}

fn words(found: &Found) -> String {
    let place = place(found);
    let expression = match found.expression.as_str() {
        "" => String::new(),
        expression => format!(": {expression}"),
    };
    format!(
        "{} ({}{place}){expression}",
        found.rule.title(),
        found.weight
    )
}

fn place(found: &Found) -> String {
    let mut text = String::new();
    for member in &found.place.members {
        text.push_str(", ");
        text.push_str(member);
    }
    if let Some(offset) = found.place.offset {
        text.push_str(&format!(", byte {offset}"));
    }
    text
}

impl Recorder<'_> {
    /// A file was examined. Each rank that loads it says so; it is one finding.
    pub(super) fn examined(&mut self, file: ExaminedFile) {
        let blob = serde_json::to_vec(&file.examination)
            .ok()
            .and_then(|bytes| self.journal.blob(&bytes));
        if let Some(asked) = file.ticket.and_then(|ticket| self.asked.get_mut(&ticket)) {
            asked.examined = blob;
        }
        if let Some(gap) = file.examination.gaps.first().filter(|_| !file.data) {
            self.journal.record(Body::Gap(Gap {
                what: format!("what loading {} would do, completely", file.path),
                why: format!("{} ({})", gap.what, gap.kind),
            }));
        }
        // A data file may hold anything as long as nobody loads it as a program.
        let least = if file.data {
            Weight::Dangerous
        } else {
            Weight::Unknown
        };
        let heavy = file
            .examination
            .findings
            .iter()
            .filter(|found| found.weight >= least);
        let mut details: Vec<String> = heavy.take(TOLD).map(words).collect();
        if details.is_empty() {
            return;
        }
        let known = blob.is_some_and(|blob| !self.judged.insert((file.path.clone(), blob)));
        if known && !file.refused {
            return;
        }
        details.push(if file.refused {
            format!("the load was refused: {} was not carried out", file.deed)
        } else {
            format!("nothing was held up: it was {}", file.deed)
        });
        self.finding(Finding {
            rule: Rule::CheckpointRunsCode,
            grade: Grade::Observed,
            what: format!("{} does more than give data when it is loaded", file.path),
            details,
            path: Some(file.path),
            step: None,
            rank: None,
            earlier: None,
            evidence: blob.into_iter().collect(),
            innocent: vec![
                "a project's own function that rebuilds its objects: `taintline scan` shows what it calls".to_owned(),
            ],
        });
    }
}
