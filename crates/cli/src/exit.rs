//! The exit codes, in one place. They are the same for every output format.

use std::process::ExitCode;

use domain::Outcome;

/// How a command of Taintline ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Exit {
    /// Nothing found.
    Clean,
    /// Something was found.
    Found,
    /// Bad input, usage or I/O: clap's code for usage too.
    Failed,
    /// Nothing found, but not everything could be examined.
    Incomplete,
    /// The guarded command's own code, 128 + signal when it died of one.
    Command(u8),
}

impl Exit {
    /// Of a scan, which knows its code.
    pub(crate) fn of_scan(code: u8) -> Self {
        match code {
            0 => Self::Clean,
            1 => Self::Found,
            3 => Self::Incomplete,
            _ => Self::Failed,
        }
    }

    /// Of a guarded run: the command's own code when that is not 0, else whether something was found.
    pub(crate) fn of_run(outcome: Outcome, findings: usize, command_only: bool) -> Self {
        match outcome {
            Outcome::Exited { code: 0 } if findings > 0 && !command_only => Self::Found,
            Outcome::Exited { code: 0 } => Self::Clean,
            Outcome::Exited { code } => Self::Command(u8::try_from(code & 0xff).unwrap_or(1)),
            Outcome::Signalled { signal } => {
                Self::Command(u8::try_from(128 + (signal & 0x7f)).unwrap_or(255))
            }
            Outcome::Unknown => Self::Failed,
        }
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        match exit {
            Exit::Clean => Self::from(0),
            Exit::Found => Self::from(1),
            Exit::Failed => Self::from(2),
            Exit::Incomplete => Self::from(3),
            Exit::Command(code) => Self::from(code),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_commands_own_failure_wins_over_findings() {
        let exited = |code| Outcome::Exited { code };
        assert_eq!(Exit::of_run(exited(0), 0, false), Exit::Clean);
        assert_eq!(Exit::of_run(exited(0), 2, false), Exit::Found);
        assert_eq!(Exit::of_run(exited(0), 2, true), Exit::Clean);
        assert_eq!(Exit::of_run(exited(7), 2, false), Exit::Command(7));
        assert_eq!(
            Exit::of_run(Outcome::Signalled { signal: 9 }, 0, false),
            Exit::Command(137)
        );
    }
}
