//! Byte code of an environment that is checked by itself.
//!
//! What a source compiles to is asked of the environment's own interpreter, isolated and confined. It is started only where
//! the user asked for that, and not where a reference says that it, or what it needs to start, is another file.

use std::collections::BTreeMap;

use domain::Gap;
use environment::reference::Checked;
use environment::{Derived, Snapshot};
use report::environment::{CodeView, EnvFindingView};

use crate::compiled::{self, Memory, Report, Wrong};

/// What an interpreter reads before it compiles anything.
const STARTS_WITH: [&str; 3] = ["interpreter", "stdlib/encodings/", "stdlib/codecs.py"];

/// What came of it.
#[derive(Default)]
pub(super) struct Code {
    pub(super) findings: Vec<EnvFindingView>,
    pub(super) gaps: Vec<Gap>,
    pub(super) view: Option<CodeView>,
}

/// Compares all byte code with its sources, or says why not.
pub(super) fn compare(
    derived: &Derived,
    snapshot: &Snapshot,
    checked: &Checked,
    memory: Memory,
    is_wanted: bool,
) -> Code {
    let count = snapshot.compiled_flat.len();
    let not_compared = |why: String| Code {
        gaps: vec![Gap {
            what: format!("{count} files of byte code"),
            why,
        }],
        ..Code::default()
    };
    if count == 0 {
        return Code::default();
    }
    if !is_wanted {
        return not_compared(
            "not compared with their sources; --compiled does, and starts the interpreter for it, confined".to_owned(),
        );
    }
    let mut paths = checked.differences.iter().map(|it| it.path.to_string());
    let starts = |path: &String| STARTS_WITH.iter().any(|it| path.starts_with(it));
    if let Some(path) = paths.find(starts) {
        return not_compared(format!(
            "{path} is not what it should be, so the interpreter is not started to compare them"
        ));
    }
    match compiled::check(&derived.executable, snapshot, None, memory) {
        Ok(report) => of(&report),
        Err(why) => not_compared(why.to_string()),
    }
}

fn of(report: &Report) -> Code {
    let mut gaps = Vec::new();
    let mut by_reason: BTreeMap<&str, Vec<String>> = BTreeMap::new();
    for (path, why) in &report.gaps {
        by_reason.entry(why).or_default().push(path.to_string());
    }
    for (why, paths) in by_reason {
        let first = paths.first().map(String::as_str).unwrap_or_default();
        gaps.push(Gap {
            what: format!("{} files of byte code, first {first}", paths.len()),
            why: why.to_owned(),
        });
    }
    let untold = report.gap_count.saturating_sub(report.gaps.len() as u64);
    if untold > 0 {
        gaps.push(Gap {
            what: format!("{untold} further files of byte code"),
            why: "they could not be compared with their sources".to_owned(),
        });
    }
    let mut findings: Vec<_> = report.wrong.iter().map(finding).collect();
    if report.memory_lied {
        findings.push(EnvFindingView {
            path: "cache/code".to_owned(),
            how: "memory",
            what: "what the store remembered of byte code was not so; it was forgotten".to_owned(),
            ..finding_without_path()
        });
    }
    Code {
        findings,
        gaps,
        view: Some(CodeView {
            same: report.same,
            unchecked: report.unchecked,
            known: report.known,
            unused: report.unused,
            wrong: report.wrong.len() as u64,
            sourceless: report.sourceless.len() as u64,
        }),
    }
}

fn finding_without_path() -> EnvFindingView {
    EnvFindingView {
        path: String::new(),
        package: None,
        how: "compiled",
        what: String::new(),
        voucher: None,
        expected: None,
        found: None,
        record: "silent",
    }
}

fn finding(wrong: &Wrong) -> EnvFindingView {
    EnvFindingView {
        path: wrong.compiled.to_string(),
        what: format!(
            "it is not what {} compiles to, and {}: {}",
            wrong.source,
            wrong.why_used(),
            wrong.how().join("; ")
        ),
        found: Some(wrong.digest.to_string()),
        ..finding_without_path()
    }
}
