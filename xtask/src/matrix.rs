//! Every sabotage on every training, under guard: a table in Markdown, minutes of work.

use crate::command;
use crate::failure::{Failure, Outcome};
use crate::project::Project;
use crate::python;
use crate::sensor::{self, Profile};
use crate::tools;
use std::fs;

/// Which of them.
#[derive(Clone, Copy)]
pub(crate) enum Matrix {
    /// What is told while the training runs.
    Guard,
    /// What a replay says.
    Replay,
}

/// Builds, finds or makes the Python of the tests, and runs the script with `arguments`.
pub(crate) fn run(project: &Project, which: Matrix, arguments: &[&str]) -> Outcome<()> {
    tools::require(tools::TO_RUN)?;
    sensor::build_and_lay_out(project, Profile::Release)?;
    let python = python::for_tests()?;
    let folder = project.root.join("target/matrix");
    if folder.exists() {
        fs::remove_dir_all(&folder).map_err(Failure::io("remove", &folder))?;
    }
    fs::create_dir_all(&folder).map_err(Failure::io("make", &folder))?;
    let script = project.root.join(match which {
        Matrix::Guard => "tests/matrix/run.py",
        Matrix::Replay => "tests/matrix/replay.py",
    });
    let mut matrix = python.command(&[]);
    matrix.arg(script).arg(project.binary()).arg(&folder);
    command::run(matrix.args(arguments))
}
