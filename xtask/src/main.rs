//! The project's own chores, so that a fresh clone needs one command and no wiki page.
//!
//! It knows how Taintline is built, laid out and tested. It refuses to know what Taintline does: it links none of the
//! project's crates, so it builds in seconds and still runs when they do not compile. A Makefile and shell scripts were
//! rejected: the checks in [`tidy`] need tests of their own.

#![forbid(unsafe_code)]

mod command;
mod demo;
mod failure;
mod matrix;
mod mirror;
mod project;
mod python;
mod sensor;
mod test;
mod tidy;
mod tools;

use crate::failure::{Failure, Outcome};
use crate::matrix::Matrix;
use crate::project::Project;
use crate::sensor::Profile;
use std::process::ExitCode;

const HELP: &str = "\
The chores of Taintline.

  cargo xtask sensor [--release]   build the binary and the in-process sensor; lay them out under target/taintline
  cargo xtask demo [-- ARGS]       set everything up on a fresh machine, then run the demonstration
  cargo xtask test [--quick]       set everything up, then run every check there is; --quick leaves PyTorch out
  cargo xtask matrix [-- --each]   every sabotage on every training, under guard: a table; --each: every sabotage once
  cargo xtask matrix replay [-- ARGS]
                                   every sabotage recorded and computed again elsewhere: a table (tests/matrix/replay.py)
  cargo xtask tidy                 the checks of form: floors, dependencies, sizes, headers, paths
";

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match dispatch(&arguments) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            eprintln!("xtask: {failure}");
            ExitCode::from(failure.exit_code())
        }
    }
}

/// Reads the command line and runs one chore.
fn dispatch(arguments: &[String]) -> Outcome<()> {
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match words.as_slice() {
        [] | ["help" | "--help" | "-h"] => {
            print!("{HELP}");
            Ok(())
        }
        ["sensor"] => sensor::run(&Project::find()?, Profile::Dev),
        ["sensor", "--release"] => sensor::run(&Project::find()?, Profile::Release),
        ["demo"] => demo::run(&Project::find()?, &[]),
        ["demo", "--", rest @ ..] => demo::run(&Project::find()?, rest),
        ["matrix"] => matrix::run(&Project::find()?, Matrix::Guard, &[]),
        ["matrix", "--", rest @ ..] => matrix::run(&Project::find()?, Matrix::Guard, rest),
        ["matrix", "replay"] => matrix::run(&Project::find()?, Matrix::Replay, &[]),
        ["matrix", "replay", "--", rest @ ..] => {
            matrix::run(&Project::find()?, Matrix::Replay, rest)
        }
        ["test"] => test::run(&Project::find()?, test::Scope::Full),
        ["test", "--quick"] => test::run(&Project::find()?, test::Scope::Quick),
        ["tidy"] => tidy::run(&Project::find()?),
        _ => Err(Failure::Usage {
            given: arguments.join(" "),
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_unknown_chore_is_a_usage_error_and_names_what_was_given() {
        let failure = dispatch(&["tets".to_owned()]).unwrap_err();
        assert_eq!(failure.exit_code(), 2);
        assert!(failure.to_string().contains("tets"));
    }
}
