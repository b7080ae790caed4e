//! A Python that can train: one that is there already, or a virtual environment made once and kept in the cache folder.
//!
//! A virtual environment cannot be moved (its scripts hold its path), so it is made in its final place and counts only
//! once its marker is written; whatever died half-way is removed and made again.

use crate::command;
use crate::failure::{Failure, Outcome};
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Command;

/// Names a Python to use instead; it must be able to import torch.
pub(crate) const VARIABLE: &str = "TAINTLINE_TEST_PYTHON";

const TORCH: &str = "2.15.0";
const PACKAGES: &[&str] = &[
    "torch==2.15.0",
    "numpy",
    "accelerate==1.15.0",
    "joblib==1.6.0",
    "pytest==9.2.0",
    // The trainings of the matrix.
    "transformers==5.23.0",
    "lightning==2.6.6",
];
/// The reference tool of OpenSSF Model Signing, and what it needs and does not say.
const MODEL_SIGNING: &[&str] = &["model-signing==1.1.1", "pyOpenSSL==26.4.0"];
/// Another implementation of ML-DSA, in plain Python.
const DILITHIUM: &[&str] = &["dilithium-py==1.5.1"];
/// An independent validator of JSON schemas.
const JSONSCHEMA: &[&str] = &["jsonschema==4.26.0"];
const PYTEST: &str = "pytest==9.2.0";

/// A Python that can import torch.
pub(crate) struct Python {
    /// Its executable.
    pub(crate) executable: PathBuf,
}

impl Python {
    /// The folder of its executable, where torchrun lies too.
    pub(crate) fn folder(&self) -> &Path {
        self.executable.parent().unwrap_or(Path::new("."))
    }

    /// True when every one of `modules` can be imported.
    pub(crate) fn imports(&self, modules: &str) -> bool {
        imports(&self.executable, modules)
    }

    /// A command of this Python that leaves no byte code behind.
    pub(crate) fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(&self.executable);
        command.args(arguments).env("PYTHONDONTWRITEBYTECODE", "1");
        command
    }
}

/// The Python that the variable names, or python3 if it has torch, or the cached environment.
pub(crate) fn with_torch() -> Outcome<Python> {
    if let Some(named) = named()? {
        return Ok(named);
    }
    match command::find("python3") {
        Some(executable) if imports(&executable, "torch") => Ok(Python { executable }),
        _ => cached(),
    }
}

/// The Python that the variable names, or the cached environment: tests want known versions.
pub(crate) fn for_tests() -> Outcome<Python> {
    named()?.map_or_else(cached, Ok)
}

/// A Python with the reference tool of model signing: an environment of its own, for it brings many packages.
pub(crate) fn with_model_signing() -> Outcome<Python> {
    environment("model-signing-venv", MODEL_SIGNING)
}

/// A Python with another implementation of ML-DSA.
pub(crate) fn with_dilithium() -> Outcome<Python> {
    environment("dilithium-venv", DILITHIUM)
}

/// A Python with a validator of JSON schemas.
pub(crate) fn with_jsonschema() -> Outcome<Python> {
    environment("jsonschema-venv", JSONSCHEMA)
}

/// A folder to put on `PYTHONPATH` that holds pytest, for a Python that lacks it and is not ours to change.
pub(crate) fn pytest_beside(python: &Python) -> Outcome<Option<PathBuf>> {
    if python.imports("pytest") {
        return Ok(None);
    }
    let tag = answer(
        &python.executable,
        "import sys; print('%d.%d' % sys.version_info[:2])",
    )?;
    let folder = cache()?.join(format!("pytest-py{tag}"));
    once(&folder, PYTEST, || {
        let mut pip = python.command(&["-m", "pip", "install", "--quiet"]);
        command::run(pip.arg("--target").arg(&folder).arg(PYTEST))
    })?;
    Ok(Some(folder))
}

fn named() -> Outcome<Option<Python>> {
    let Some(executable) = std::env::var_os(VARIABLE).map(PathBuf::from) else {
        return Ok(None);
    };
    if imports(&executable, "torch") {
        return Ok(Some(Python { executable }));
    }
    Err(Failure::Missing {
        tools: vec![format!("torch, in {} ({VARIABLE})", executable.display())],
        remedy: format!(
            "{} -m pip install torch, or unset {VARIABLE}",
            executable.display()
        ),
    })
}

fn cached() -> Outcome<Python> {
    environment(&format!("torch-venv-{TORCH}"), PACKAGES)
}

/// The environment of that name in the cache, made with these packages unless it was before.
fn environment(name: &str, packages: &[&str]) -> Outcome<Python> {
    let base = Path::new("python3");
    let tag = answer(base, "import sys; print('%d.%d' % sys.version_info[:2])")?;
    let folder = cache()?.join(format!("{name}-py{tag}"));
    let executable = folder.join("bin/python");
    once(&folder, &packages.join("\n"), || {
        println!(
            "installing {} into {}, once",
            packages.join(", "),
            folder.display()
        );
        command::run(Command::new(base).args(["-m", "venv"]).arg(&folder))?;
        let mut pip = Command::new(&executable);
        pip.args([
            "-m",
            "pip",
            "install",
            "--quiet",
            "--disable-pip-version-check",
        ]);
        command::run(pip.args(packages))
    })?;
    Ok(Python { executable })
}

/// Makes `folder` unless it was made whole before, by the same recipe; two chores at once do it one after the other.
fn once(folder: &Path, recipe: &str, make: impl FnOnce() -> Outcome<()>) -> Outcome<()> {
    let parent = folder.parent().unwrap_or(Path::new("."));
    fs::create_dir_all(parent).map_err(Failure::io("make", parent))?;
    let mut lock_path = folder.as_os_str().to_owned();
    lock_path.push(".lock");
    let lock_path = PathBuf::from(lock_path);
    let lock = File::create(&lock_path).map_err(Failure::io("make", &lock_path))?;
    lock.lock().map_err(Failure::io("lock", &lock_path))?;
    let marker = folder.join("complete");
    if fs::read_to_string(&marker).is_ok_and(|made| made == recipe) {
        return Ok(());
    }
    if folder.exists() {
        fs::remove_dir_all(folder).map_err(Failure::io("remove", folder))?;
    }
    make()?;
    fs::write(&marker, recipe).map_err(Failure::io("write", &marker))
}

fn cache() -> Outcome<PathBuf> {
    let set = |name| std::env::var_os(name).filter(|value| !value.is_empty());
    let base = set("XDG_CACHE_HOME")
        .map(PathBuf::from)
        .or_else(|| set("HOME").map(|home| PathBuf::from(home).join(".cache")));
    base.map(|base| base.join("taintline"))
        .ok_or_else(|| Failure::Missing {
            tools: vec!["a cache folder".to_owned()],
            remedy: "set HOME or XDG_CACHE_HOME".to_owned(),
        })
}

fn imports(executable: &Path, modules: &str) -> bool {
    let statement = format!("import {modules}");
    command::works(Command::new(executable).args(["-c", &statement]))
}

fn answer(executable: &Path, statement: &str) -> Outcome<String> {
    let text = command::answer(Command::new(executable).args(["-c", statement]))?;
    Ok(text.trim().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::cell::Cell;

    #[test]
    fn a_folder_is_made_again_after_a_failure_or_another_recipe_and_else_kept() {
        let folder = std::env::temp_dir().join(format!("xtask-{}-once", std::process::id()));
        let count = Cell::new(0);
        let make = || {
            count.set(count.get() + 1);
            fs::create_dir_all(&folder).map_err(Failure::io("make", &folder))
        };
        let fail = || {
            fs::create_dir_all(folder.join("half")).map_err(Failure::io("make", &folder))?;
            Err(Failure::Untidy { findings: 1 })
        };
        assert!(once(&folder, "one", fail).is_err());
        once(&folder, "one", make).unwrap();
        assert!(!folder.join("half").exists());
        once(&folder, "one", make).unwrap();
        assert_eq!(count.get(), 1);
        once(&folder, "two", make).unwrap();
        assert_eq!(count.get(), 2);
        fs::remove_dir_all(&folder).unwrap();
    }

    #[test]
    fn the_version_in_the_folder_name_is_the_one_installed() {
        assert!(PACKAGES.contains(&format!("torch=={TORCH}").as_str()));
        assert!(PACKAGES.contains(&PYTEST));
    }
}
