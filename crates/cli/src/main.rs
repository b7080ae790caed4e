//! The one binary, `taintline`: arguments to use-case, result to text, and the exit code. It decides nothing itself.
#![forbid(unsafe_code)]

mod args;
mod commands;
mod exit;
mod screen;

use std::process::ExitCode;

use clap::Parser as _;

fn main() -> ExitCode {
    let mut words = std::env::args_os().skip(1);
    if words.next().is_some_and(|word| word == app::scan::WORKER) {
        return commands::worker(words).into();
    }
    let args = match args::Args::try_parse() {
        Ok(args) => args,
        Err(error) if error.use_stderr() => {
            screen::usage(&error.render().to_string());
            return exit::Exit::Failed.into();
        }
        Err(help) => help.exit(),
    };
    match commands::dispatch(args) {
        Ok(exit) => exit.into(),
        Err(error) => {
            screen::error(&error);
            exit::Exit::Failed.into()
        }
    }
}
