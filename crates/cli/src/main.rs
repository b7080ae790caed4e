//! The one binary, `taintline`: arguments to use-case, result to text, and the exit code. It decides nothing itself.
#![forbid(unsafe_code)]

mod args;
mod commands;
mod exit;
mod screen;

use std::process::ExitCode;

use clap::Parser as _;

fn main() -> ExitCode {
    let args = args::Args::parse();
    match commands::dispatch(args) {
        Ok(exit) => exit.into(),
        Err(error) => {
            screen::error(&error);
            exit::Exit::Failed.into()
        }
    }
}
