//! What can go wrong in a chore, told so that the reader knows the next step.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::process::ExitStatus;

/// The result of a chore.
pub(crate) type Outcome<T> = Result<T, Failure>;

/// Why a chore stopped.
#[derive(Debug)]
pub(crate) enum Failure {
    /// No such chore or option.
    Usage {
        /// The command line as given.
        given: String,
    },
    /// A file operation failed.
    Io {
        /// The verb: `read`, `write` …
        doing: &'static str,
        /// On what.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A program could not be started at all.
    NotStarted {
        /// Its name.
        program: String,
        /// Why.
        source: io::Error,
    },
    /// A program ran and failed.
    Exited {
        /// The command as it was run.
        line: String,
        /// How it ended.
        status: ExitStatus,
    },
    /// Tools that must be there are not.
    Missing {
        /// One line a tool.
        tools: Vec<String>,
        /// The command that brings them.
        remedy: String,
    },
    /// A program's answer was not what its contract says.
    Unreadable {
        /// Whose answer.
        what: &'static str,
        /// The place in it that could not be read.
        detail: String,
    },
    /// The tree breaks its own rules; the findings are printed already.
    Untidy {
        /// How many findings.
        findings: usize,
    },
    /// Stages of the test failed; they are printed already.
    Stages {
        /// Their names.
        names: Vec<&'static str>,
    },
}

impl Failure {
    /// Wraps an I/O error with its verb and path: `.map_err(Failure::io("read", path))`.
    pub(crate) fn io(doing: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_path_buf();
        move |source| Self::Io {
            doing,
            path,
            source,
        }
    }

    /// A child's own code is passed on; usage is 2, everything else 1.
    pub(crate) fn exit_code(&self) -> u8 {
        match self {
            Self::Usage { .. } => 2,
            Self::Exited { status, .. } => status
                .code()
                .and_then(|code| u8::try_from(code).ok())
                .unwrap_or(1),
            _ => 1,
        }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Usage { given } => write!(
                out,
                "no such chore: {given}\n  `cargo xtask help` lists them"
            ),
            Self::Io {
                doing,
                path,
                source,
            } => write!(out, "could not {doing} {}: {source}", path.display()),
            Self::NotStarted { program, source } => {
                write!(out, "could not start {program}: {source}")
            }
            Self::Exited { line, status } => write!(out, "{line}: {status}"),
            Self::Missing { tools, remedy } => {
                writeln!(out, "missing on this machine:")?;
                for tool in tools {
                    writeln!(out, "  {tool}")?;
                }
                write!(out, "to get them: {remedy}")
            }
            Self::Unreadable { what, detail } => {
                write!(out, "the answer of {what} is not as expected: {detail}")
            }
            Self::Untidy { findings } => write!(out, "{findings} finding(s) of form"),
            Self::Stages { names } => write!(out, "failed: {}", names.join(", ")),
        }
    }
}

impl std::error::Error for Failure {}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::process::ExitStatusExt;

    #[test]
    fn the_code_of_a_failed_child_is_passed_on() {
        let failure = Failure::Exited {
            line: "demo".to_owned(),
            status: ExitStatus::from_raw(3 << 8),
        };
        assert_eq!(failure.exit_code(), 3);
    }

    #[test]
    fn missing_tools_are_told_with_the_command_that_brings_them() {
        let text = Failure::Missing {
            tools: vec!["cc".to_owned()],
            remedy: "apt-get install gcc".to_owned(),
        }
        .to_string();
        assert!(text.contains("cc") && text.contains("apt-get install gcc"));
    }
}
