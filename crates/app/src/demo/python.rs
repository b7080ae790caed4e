//! A Python with PyTorch for the demo: a usable one that is there, else a virtual environment in the cache folder.
//!
//! The environment is made with the plain install from PyPI, so that each file in it belongs to a package whose RECORD can
//! vouch for it. It counts only once its marker is written; what died half-way is made again.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use super::{DemoError, DemoRequest, Stage, io_error};
use crate::place::Surroundings;

const MARKER: &str = "taintline-complete";
const PACKAGES: [&str; 2] = ["torch", "numpy"];

/// Finds or makes one.
pub(super) fn find(request: &DemoRequest, stage: &mut dyn Stage) -> Result<PathBuf, DemoError> {
    let surroundings = &request.surroundings;
    if let Some(named) = &request.python {
        let named = surroundings.cwd.join(named);
        return if usable(&named) {
            Ok(named)
        } else {
            Err(DemoError::NoPython(format!(
                "{} cannot import torch",
                named.display()
            )))
        };
    }
    stage.say("Looking for a Python with PyTorch …");
    if let Some(found) = candidates(surroundings)
        .into_iter()
        .find(|python| usable(python))
    {
        return Ok(found);
    }
    make(surroundings, stage)
}

fn candidates(surroundings: &Surroundings) -> Vec<PathBuf> {
    let value = |name: &str| {
        surroundings
            .variables
            .iter()
            .find(|(key, _)| key == name)
            .map(|(_, value)| value.clone())
    };
    let mut found = Vec::new();
    found.extend(value("VIRTUAL_ENV").map(|folder| PathBuf::from(folder).join("bin/python")));
    let path = value("PATH").unwrap_or_default();
    found.extend(std::env::split_paths(&path).map(|folder| folder.join("python3")));
    if let Ok(cache) = surroundings.cache() {
        let made = fs::read_dir(cache)
            .into_iter()
            .flatten()
            .flatten()
            .map(|entry| entry.path());
        found.extend(made.map(|folder| folder.join("bin/python")));
    }
    found.retain(|python| python.is_file());
    found.dedup();
    found
}

/// Python 3.10 or later that can import torch.
fn usable(python: &Path) -> bool {
    let check = "import sys, torch; sys.exit(sys.version_info < (3, 10))";
    quiet(Command::new(python).args(["-c", check]))
}

fn make(surroundings: &Surroundings, stage: &mut dyn Stage) -> Result<PathBuf, DemoError> {
    let cache = surroundings
        .cache()
        .map_err(|error| DemoError::NoPython(error.to_string()))?;
    let folder = cache.join("torch-venv-demo");
    let python = folder.join("bin/python");
    if folder.join(MARKER).is_file() && usable(&python) {
        return Ok(python);
    }
    stage.say(&format!(
        "None is here: installing PyTorch from PyPI into {} (some gigabytes, once) …",
        folder.display()
    ));
    if folder.exists() {
        fs::remove_dir_all(&folder).map_err(io_error("remove", &folder))?;
    }
    fs::create_dir_all(&cache).map_err(io_error("make", &cache))?;
    let made = Command::new("python3")
        .args(["-m", "venv"])
        .arg(&folder)
        .stdin(Stdio::null())
        .status();
    if !made.is_ok_and(|status| status.success()) {
        return Err(DemoError::NoPython(
            "`python3 -m venv` failed; install python3 with venv (Debian: python3-venv)".to_owned(),
        ));
    }
    let installed = Command::new(&python)
        .args(["-m", "pip", "install", "--disable-pip-version-check"])
        .args(PACKAGES)
        .stdin(Stdio::null())
        .status();
    if !installed.is_ok_and(|status| status.success()) || !usable(&python) {
        return Err(DemoError::NoPython(
            "`pip install torch numpy` failed; name one with --python".to_owned(),
        ));
    }
    let marker = folder.join(MARKER);
    fs::write(&marker, PACKAGES.join("\n")).map_err(io_error("write", &marker))?;
    Ok(python)
}

fn quiet(command: &mut Command) -> bool {
    let command = command
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    command.status().is_ok_and(|status| status.success())
}
