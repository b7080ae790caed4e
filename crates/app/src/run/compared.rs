//! The byte code of an environment was held against its sources: its record, and what it means.
//!
//! What is not what its source compiles to *and* would be used is a finding. What was not looked at when the run ended is a
//! gap that says so; the next run goes on where this one stopped.

use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt as _;
use std::path::PathBuf;

use domain::entry::{Kind, Load};
use domain::sensor::Hello;
use domain::{Body, Finding, PathText, Rule};
use environment::compiled::Tie;
use serde::{Deserialize, Serialize};

use super::environment::ComparedCode;
use super::installed::{FILES_MAX, file_finding};
use super::recorder::Recorder;
use crate::compiled::{Report, Wrong};

/// What is stored beside the tree of byte code: counts of files.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CodeSummary {
    /// What its source compiles to.
    pub same: u64,
    /// Of these, tied to the source by a hash that nobody compares.
    pub unchecked: u64,
    /// Of these, known from an earlier run.
    pub known: u64,
    /// Not used by the interpreter: of another version, or older than its source.
    pub unused: u64,
    /// Not what its source compiles to, and used.
    pub wrong: u64,
    /// Imported without a source.
    pub sourceless: u64,
    /// Not looked at before the run ended.
    pub pending: u64,
    /// Not comparable.
    pub gaps: u64,
}

impl Recorder<'_> {
    /// Records the tree of byte code with what was found of it, and judges it.
    pub(super) fn compared_code(&mut self, compared: ComparedCode) {
        let Some((prefix, digest)) = self.environments.compared_code(compared.key) else {
            return;
        };
        let summary = compared.report.as_ref().ok().map(summary);
        let summary = summary.and_then(|summary| serde_json::to_vec(&summary).ok());
        let summary = summary.and_then(|bytes| self.journal.blob(&bytes));
        self.journal.record(Body::Load(Load {
            what: Kind::Compiled,
            path: prefix.clone(),
            digest: Some(digest),
            // With the tree of the environment: they share their blobs.
            stored: true,
            identity: None,
            process: None,
            rank: None,
            step: None,
            summary,
            examined: None,
        }));
        let whole = format!("byte code of the environment {prefix}");
        match compared.report {
            Err(why) => self.gap(&whole, &why),
            Ok(report) => self.tell_code(&report, &prefix),
        }
        for path in compared.unowned.iter().take(FILES_MAX) {
            self.finding(unowned(path));
        }
        self.flush();
    }

    /// Byte code that is used and is not its source's.
    pub(super) fn wrong_code(&mut self, key: usize, wrong: &Wrong) {
        if self.environments.tells_code(key, FILES_MAX) {
            self.finding(finding(wrong));
            self.flush();
        }
    }

    fn tell_code(&mut self, report: &Report, prefix: &PathText) {
        let untold = report.wrong.len().saturating_sub(FILES_MAX);
        if untold > 0 {
            let what = format!("{untold} further byte code files of {prefix}");
            self.gap(
                &what,
                "not what their sources compile to, and not told one by one",
            );
        }
        if report.memory_lied {
            self.finding(lied(prefix));
        }
        if report.pending > 0 {
            let what = format!("{} byte code files of {prefix}", report.pending);
            let why = "pending: the run ended before they were held against their sources; the next run goes on with them";
            self.gap(&what, why);
        }
        if let Some((path, why)) = report.gaps.first() {
            let what = format!("{} byte code files of {prefix}", report.gap_count);
            self.gap(&what, &format!("{why}, first {path}"));
        }
        if let Some(first) = report.sourceless.first() {
            let what = format!(
                "{} byte code files of {prefix} without a source",
                report.sourceless.len()
            );
            let why = format!("there is nothing to hold them against, first {first}");
            self.gap(&what, &why);
        }
    }
}

fn summary(report: &Report) -> CodeSummary {
    CodeSummary {
        same: report.same,
        unchecked: report.unchecked,
        known: report.known,
        unused: report.unused,
        wrong: report.wrong.len() as u64,
        sourceless: report.sourceless.len() as u64,
        pending: report.pending,
        gaps: report.gap_count,
    }
}

fn finding(wrong: &Wrong) -> Finding {
    let rule = match wrong.tie {
        Tie::Unchecked(_) => Rule::CompiledUnchecked,
        Tie::Time { .. } | Tie::Checked(_) => Rule::CompiledDiffers,
    };
    let what = format!(
        "{} is not what {} compiles to",
        wrong.compiled, wrong.source
    );
    let mut details = vec![wrong.why_used().to_owned()];
    details.extend(wrong.how());
    details.push(format!(
        "{} has digest {}",
        wrong.at.display(),
        wrong.digest.short()
    ));
    let innocent = vec![
        "another build of the same version of Python compiled it: then many files differ, in instructions only".to_owned(),
        "a tool that rewrites code when it is imported stored it under the plain name".to_owned(),
    ];
    file_finding(rule, what, details, &wrong.compiled, innocent)
}

fn unowned(path: &PathText) -> Finding {
    let what = format!("{path} is byte code without a source and belongs to no package");
    let details = vec!["Python imports it as it would a source of that name".to_owned()];
    let innocent = vec!["somebody delivers a module without its source".to_owned()];
    file_finding(Rule::EnvironmentUnowned, what, details, path, innocent)
}

fn lied(prefix: &PathText) -> Finding {
    let what = format!("what was remembered of the byte code of {prefix} is not so");
    let details = vec!["a source compiles to something else than was remembered".to_owned()];
    let innocent = vec!["the disk is failing".to_owned()];
    file_finding(Rule::CacheLied, what, details, prefix, innocent)
}

/// Where a process looks for byte code instead of beside the sources: as it was started, a claim of its own.
pub(super) fn code_prefix(pid: u32, hello: &Hello) -> Option<PathBuf> {
    let path = |bytes: &[u8]| PathBuf::from(OsString::from_vec(bytes.to_vec()));
    let from_option = option(&hello.argv).as_deref().map(path);
    let from_variables = || {
        let variables = host::proc::environ(pid).ok()?.value;
        let (_, value) = variables
            .into_iter()
            .find(|(name, _)| name == "PYTHONPYCACHEPREFIX")?;
        Some(PathBuf::from(value))
    };
    let prefix = from_option.or_else(from_variables)?;
    if prefix.as_os_str().is_empty() {
        return None;
    }
    Some(path(&hello.cwd.to_bytes()).join(prefix))
}

/// The last `-X pycache_prefix=` among the options of an interpreter, which end where its program begins.
fn option(argv: &[PathText]) -> Option<Vec<u8>> {
    let mut arguments = argv.iter().skip(1).map(PathText::to_bytes);
    let mut found = None;
    while let Some(argument) = arguments.next() {
        let option = match argument.as_slice() {
            b"-X" => arguments.next()?,
            b"-W" | b"--check-hash-based-pycs" => {
                arguments.next();
                continue;
            }
            [b'-', b'X', joined @ ..] => joined.to_vec(),
            b"-" | b"-c" | b"-m" => break,
            [b'-', ..] => continue,
            _ => break,
        };
        found = option
            .strip_prefix(b"pycache_prefix=")
            .map(<[u8]>::to_vec)
            .or(found);
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_place_of_byte_code_is_read_from_the_options_of_the_interpreter_only() {
        let of = |line: &str| {
            let words = line.split(' ').map(PathText::from_text);
            option(&words.collect::<Vec<_>>())
        };
        let there = Some(b"/there".to_vec());
        assert_eq!(of("python -X pycache_prefix=/there a.py"), there);
        assert_eq!(of("python -B -Xpycache_prefix=/there -m a"), there);
        assert_eq!(of("python a.py -X pycache_prefix=/there"), None);
        assert_eq!(of("python -W error -c x -X pycache_prefix=/there"), None);
    }
}
