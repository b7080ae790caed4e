//! The checks of form: what the compiler cannot hold, held by a test.
//!
//! Each check is a pure function from text or metadata to findings, so its test can show it failing. Where the law is a
//! list (floors, allowed dependencies, limits) it is a table at the head of its module; changing the law is a change of
//! that table, seen in review.

mod crates;
mod functions;
mod manifests;
mod marks;
mod paths;
mod samples;

use crate::command;
use crate::failure::{Failure, Outcome};
use crate::project::{self, Project};
use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// One breach of form.
#[derive(Debug, PartialEq, Eq)]
struct Finding {
    /// The file, relative to the root, or the crate.
    place: String,
    /// The line, from 1; 0 when it is about the whole.
    line: usize,
    /// What is wrong.
    what: String,
}

impl Finding {
    fn new(place: impl Into<String>, line: usize, what: impl Into<String>) -> Self {
        Self {
            place: place.into(),
            line,
            what: what.into(),
        }
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.line {
            0 => write!(out, "{}: {}", self.place, self.what),
            line => write!(out, "{}:{line}: {}", self.place, self.what),
        }
    }
}

/// One file of the project.
struct Source {
    /// Relative to the root, with slashes.
    path: String,
    /// Its bytes.
    bytes: Vec<u8>,
}

impl Source {
    /// Its text, if it is text.
    fn text(&self) -> Option<&str> {
        std::str::from_utf8(&self.bytes).ok()
    }

    fn has_extension(&self, wanted: &[&str]) -> bool {
        let extension = Path::new(&self.path).extension();
        extension.is_some_and(|found| wanted.iter().any(|one| found == *one))
    }
}

/// The chore: print every finding.
pub(crate) fn run(project: &Project) -> Outcome<()> {
    let findings = check(project)?;
    for finding in &findings {
        println!("{finding}");
    }
    if findings.is_empty() {
        println!("tidy");
        return Ok(());
    }
    Err(Failure::Untidy {
        findings: findings.len(),
    })
}

/// All checks over the whole tree.
fn check(project: &Project) -> Outcome<Vec<Finding>> {
    let sources = sources(project)?;
    let metadata = metadata(project)?;
    let graph = crates::Graph::read(&metadata)?;
    let mut findings = crates::check(&graph);
    findings.extend(manifests::check(&graph));
    for source in &sources {
        findings.extend(samples::check(&source.path, &source.bytes));
        if let Some(text) = source.text() {
            findings.extend(check_text(project, source, text));
        }
    }
    Ok(findings)
}

fn check_text(project: &Project, source: &Source, text: &str) -> Vec<Finding> {
    let path = source.path.as_str();
    let mut findings = Vec::new();
    if source.has_extension(&["rs", "py"]) {
        findings.extend(functions::check(path, text));
        findings.extend(marks::unfinished(path, text));
    }
    if source.has_extension(&["rs"]) {
        findings.extend(marks::header(path, text));
        findings.extend(marks::allowances(path, text));
        findings.extend(marks::unsafety(path, text));
        findings.extend(marks::forbids_unsafe(path, text));
    }
    if paths::is_document(path) {
        let exists = |path: &str| project.root.join(path).exists();
        findings.extend(paths::check(path, text, &exists));
    }
    findings
}

/// Every file that git tracks or would track; what it ignores is not the project's.
fn sources(project: &Project) -> Outcome<Vec<Source>> {
    let mut git = Command::new("git");
    // A clone made by one user and tested by another is normal in CI, and nothing of its configuration is run here.
    git.args(["-c", "safe.directory=*", "ls-files", "-z"]);
    git.args(["--cached", "--others", "--exclude-standard"]);
    let names = command::answer(git.current_dir(&project.root))?;
    let mut sources = Vec::new();
    for path in names.split('\0').filter(|name| !name.is_empty()) {
        let place: PathBuf = project.root.join(path);
        // Tracked but deleted in the working tree: nothing to check.
        if place.is_file() {
            let bytes = fs::read(&place).map_err(Failure::io("read", &place))?;
            sources.push(Source {
                path: path.to_owned(),
                bytes,
            });
        }
    }
    Ok(sources)
}

/// Cargo's metadata with the resolved graph, for this machine's target alone.
fn metadata(project: &Project) -> Outcome<serde_json::Value> {
    let rustc = command::answer(Command::new("rustc").arg("-vV"))?;
    let host = rustc.lines().find_map(|line| line.strip_prefix("host: "));
    let host = host.ok_or_else(|| Failure::Unreadable {
        what: "rustc -vV",
        detail: "no host".to_owned(),
    })?;
    let mut cargo = project.cargo(&["metadata", "--format-version=1", "--locked"]);
    cargo.args(["--filter-platform", host]);
    project::parse_metadata(&command::answer(&mut cargo)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_project_keeps_its_own_form() {
        let findings = check(&Project::find().unwrap()).unwrap();
        let told: Vec<String> = findings.iter().map(Finding::to_string).collect();
        assert!(told.is_empty(), "\n{}\n", told.join("\n"));
    }

    #[test]
    fn the_checks_see_the_files_that_they_are_for() {
        let sources = sources(&Project::find().unwrap()).unwrap();
        for expected in ["xtask/src/tidy/mod.rs", "examples/gpt/train.py"] {
            assert!(sources.iter().any(|source| source.path == expected));
        }
    }
}
