//! `taintline generate`: what packagers need, from the one definition of the command line.

use clap::CommandFactory as _;

use crate::args::{Args, Generate};
use crate::exit::Exit;

/// Writes to standard output.
pub(crate) fn generate(args: &Generate) -> Exit {
    let mut bytes = Vec::new();
    match args {
        Generate::Man => {
            if clap_mangen::Man::new(Args::command())
                .render(&mut bytes)
                .is_err()
            {
                return Exit::Failed;
            }
        }
        Generate::Completions { shell } => {
            clap_complete::generate(*shell, &mut Args::command(), "taintline", &mut bytes);
        }
    }
    crate::screen::out(&String::from_utf8_lossy(&bytes));
    Exit::Clean
}
