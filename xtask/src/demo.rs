//! From a fresh clone to the demonstration in one command.

use crate::command;
use crate::failure::Outcome;
use crate::project::Project;
use crate::python;
use crate::sensor::{self, Profile};
use crate::tools;
use std::process::Command;

/// Checks the tools, builds for release, finds or makes a Python with PyTorch, and runs `taintline demo ARGS`.
pub(crate) fn run(project: &Project, arguments: &[&str]) -> Outcome<()> {
    tools::require(tools::TO_RUN)?;
    sensor::build_and_lay_out(project, Profile::Release)?;
    let python = python::with_torch()?;
    let mut demo = Command::new(project.binary());
    demo.arg("demo").args(arguments).current_dir(&project.root);
    // Both `python` and `torchrun` are to be the ones that can import torch.
    demo.env("PATH", command::path_with(python.folder()));
    demo.env(python::VARIABLE, &python.executable);
    command::run(&mut demo)
}
