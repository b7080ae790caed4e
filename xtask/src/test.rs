//! Every check there is, one line a stage, and at the end a list of what was not checked.
//!
//! A stage that fails does not stop the others: one run tells everything. Only what a failed stage was to supply
//! (the binary, the Python with torch) takes its users down with it, as failures, never as skips.

use crate::command::{self, Stream};
use crate::failure::{Failure, Outcome};
use crate::project::Project;
use crate::python::{self, Python};
use crate::sensor::{self, Profile};
use crate::tools;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

/// How much is tested.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Scope {
    /// Everything.
    Full,
    /// What needs no PyTorch.
    Quick,
}

/// One stage's result.
struct Stage {
    name: &'static str,
    took: Duration,
    passed: bool,
    /// The runner's own summary line, where it has one.
    summary: Option<String>,
}

struct Session<'a> {
    project: &'a Project,
    stages: Vec<Stage>,
    not_checked: Vec<String>,
}

/// Runs all stages and prints the table.
pub(crate) fn run(project: &Project, scope: Scope) -> Outcome<()> {
    let mut session = Session {
        project,
        stages: Vec::new(),
        not_checked: Vec::new(),
    };
    session.stage("tools", || tools::require(tools::TO_TEST));
    session.stage("test runner", tools::require_runner);
    session.stage("format", || {
        command::run(&mut project.cargo(&["fmt", "--all", "--check"]))
    });
    session.stage("clippy", || {
        let mut cargo = project.cargo(&["clippy", "--locked", "--workspace", "--all-targets"]);
        command::run(cargo.args(["--", "-D", "warnings"]))
    });
    let sensor = session.stage("sensor", || {
        sensor::build_and_lay_out(project, Profile::Dev)
    });
    let python = match scope {
        Scope::Quick => None,
        Scope::Full => session.stage("PyTorch", python::for_tests),
    };
    session.rust_tests(python.as_ref());
    // A layout that could not be renewed is another version's: tests against it would prove nothing.
    let ready = sensor.and(python.as_ref());
    session.python_tests(ready, scope);
    session.corpus(ready, scope);
    session.unpickler(scope);
    session.conformance(sensor.is_some());
    session.statements(sensor.is_some());
    session.model_signing(sensor.is_some(), scope);
    session.fuzz_smoke();
    session.note_absences();
    session.finish()
}

impl Session<'_> {
    /// Runs one stage, prints its line, keeps its result.
    fn stage<T>(&mut self, name: &'static str, work: impl FnOnce() -> Outcome<T>) -> Option<T> {
        self.summed_stage(name, || (work(), None))
    }

    fn summed_stage<T>(
        &mut self,
        name: &'static str,
        work: impl FnOnce() -> (Outcome<T>, Option<String>),
    ) -> Option<T> {
        println!("── {name}");
        let began = Instant::now();
        let (outcome, summary) = work();
        let result = Stage {
            name,
            took: began.elapsed(),
            passed: outcome.is_ok(),
            summary,
        };
        println!("{}", line(&result));
        self.stages.push(result);
        outcome
            .map_err(|failure| eprintln!("{name}: {failure}"))
            .ok()
    }

    /// The whole workspace under nextest; the tidy checks are among its tests.
    fn rust_tests(&mut self, python: Option<&Python>) {
        let mut cargo = self
            .project
            .cargo(&["nextest", "run", "--locked", "--workspace"]);
        cargo.env("TAINTLINE_BIN", self.project.binary());
        if let Some(python) = python {
            cargo.env(python::VARIABLE, &python.executable);
        }
        self.summed_stage("rust tests", || {
            command::run_for_summary(&mut cargo, Stream::Err, |text| text.contains("Summary ["))
        });
    }

    fn python_tests(&mut self, python: Option<&Python>, scope: Scope) {
        if scope == Scope::Quick {
            self.not_checked
                .push("the Python sensor and every test with PyTorch: --quick".to_owned());
            return;
        }
        let Some(python) = python else {
            self.stage("python tests", || -> Outcome<()> {
                Err(Failure::Stages {
                    names: vec!["the sensor or PyTorch, which these tests need"],
                })
            });
            return;
        };
        for (module, what) in [
            ("accelerate", "launching with accelerate"),
            ("joblib", "loading with joblib under guard"),
        ] {
            if !python.imports(module) {
                self.not_checked.push(format!(
                    "{what}: {} has it not",
                    python.executable.display()
                ));
            }
        }
        let project = self.project;
        // Two runs: each folder has a `conftest` that its tests import, and one process can have only one.
        for (name, folder) in [
            ("sensor tests", "python/tests"),
            ("end to end", "tests/e2e"),
        ] {
            self.summed_stage(name, || match pytest(project, python, folder) {
                Ok(mut tests) => {
                    command::run_for_summary(&mut tests, Stream::Out, is_pytest_summary)
                }
                Err(failure) => (Err(failure), None),
            });
        }
    }

    /// `taintline scan` on what should be found and on what the frameworks themselves save, beside two other scanners.
    fn corpus(&mut self, python: Option<&Python>, scope: Scope) {
        if scope == Scope::Quick {
            self.not_checked
                .push("the corpus of the scanner: --quick".to_owned());
            return;
        }
        let project = self.project;
        self.stage("corpus", || {
            let Some(python) = python else {
                let names = vec!["the binary or PyTorch, which this needs"];
                return Err(Failure::Stages { names });
            };
            let script = project.root.join("tests/corpus/environment.py");
            let mut measure = python.command(&[]);
            measure.arg(script).arg("run").arg("--binary");
            measure.arg(project.binary());
            if let Some(seed) = seed(project) {
                measure.arg("--seed").arg(seed.to_string());
            }
            command::run(&mut measure)
        });
    }

    /// The pickle machine beside CPython's own unpickler, for a moment; hours of it are a person's longer run.
    fn unpickler(&mut self, scope: Scope) {
        if scope == Scope::Quick {
            self.not_checked
                .push("the pickle machine beside CPython's unpickler: --quick".to_owned());
            return;
        }
        let project = self.project;
        self.stage("unpickler", || {
            let mut cargo = project.cargo(&["build", "--locked", "--example", "pickle_trace"]);
            command::run(cargo.args(["-p", "taintline-formats"]))?;
            let script = project.root.join("tests/conformance/pickle_diff.py");
            let mut differ = Command::new("python3");
            differ.arg(script);
            differ.arg(project.target.join("debug/examples/pickle_trace"));
            differ.args(["--seconds", "20"]);
            if let Some(seed) = seed(project) {
                differ.arg("--seed").arg(seed.to_string());
            }
            command::run(&mut differ)
        });
    }

    /// Our logs, audited by other people's code, clean and damaged.
    fn conformance(&mut self, built: bool) {
        let project = self.project;
        self.stage("conformance", || {
            if !built {
                let names = vec!["the binary, which this needs"];
                return Err(Failure::Stages { names });
            }
            let mut script = Command::new("bash");
            let script = script.arg(project.root.join("tests/conformance/selftest.sh"));
            command::run(script.arg(project.binary()))?;
            let script = project.root.join("tests/conformance/witnesses.sh");
            let mut witnesses = Command::new("bash");
            witnesses.arg(script).arg(project.binary());
            witnesses.arg(python::with_dilithium()?.executable);
            command::run(&mut witnesses)
        });
    }

    /// Time stamps, approvals and statements, checked by OpenSSL, OpenSSH and a validator of JSON schemas.
    fn statements(&mut self, built: bool) {
        let project = self.project;
        self.stage("statements", || {
            if !built {
                let names = vec!["the binary, which this needs"];
                return Err(Failure::Stages { names });
            }
            let script = project.root.join("tests/conformance/statements.py");
            let mut checked = python::with_jsonschema()?.command(&[]);
            command::run(checked.arg(script).arg(project.binary()))
        });
    }

    /// Model signatures, both ways with the reference tool, and a matrix of changes that must each be told.
    fn model_signing(&mut self, built: bool, scope: Scope) {
        if scope == Scope::Quick {
            self.not_checked
                .push("model signatures beside the reference tool: --quick".to_owned());
            return;
        }
        let project = self.project;
        self.stage("model signing", || {
            if !built {
                let names = vec!["the binary, which this needs"];
                return Err(Failure::Stages { names });
            }
            let script = project
                .root
                .join("tests/conformance/model_signing_both_ways.py");
            let mut both = python::with_model_signing()?.command(&[]);
            command::run(both.arg(script).arg(project.binary()))
        });
    }

    /// Every parser on random input for a moment; real fuzzing is a person's longer run.
    fn fuzz_smoke(&mut self) {
        let manifest = self.project.root.join("fuzz/Cargo.toml");
        if !manifest.is_file() {
            self.not_checked
                .push("parsers on random input: there is no fuzz/Cargo.toml yet".to_owned());
            return;
        }
        let mut cargo = self
            .project
            .cargo(&["run", "--quiet", "--release", "--bin", "smoke"]);
        cargo.arg("--manifest-path").arg(manifest);
        self.stage("fuzz smoke", || command::run(&mut cargo));
    }

    fn note_absences(&mut self) {
        if !Path::new("/proc/driver/nvidia/version").exists() {
            self.not_checked
                .push("training on a GPU: this machine has none".to_owned());
        }
        self.not_checked.push(
            "published advisories on dependencies: needs a network; `cargo deny check`".to_owned(),
        );
        let others = ["x86_64", "aarch64"].iter();
        let others: Vec<_> = others
            .filter(|arch| **arch != std::env::consts::ARCH)
            .copied()
            .collect();
        self.not_checked
            .push(format!("other processors: {}", others.join(", ")));
    }

    /// The table, what was not checked, and the runners' own summaries last.
    fn finish(self) -> Outcome<()> {
        println!("── not checked");
        for absence in &self.not_checked {
            println!("  {absence}");
        }
        println!("── stages");
        for stage in &self.stages {
            println!("{}", line(stage));
        }
        for stage in &self.stages {
            if let Some(summary) = &stage.summary {
                println!("{}: {summary}", stage.name);
            }
        }
        let failed = self.stages.iter().filter(|stage| !stage.passed);
        let names: Vec<_> = failed.map(|stage| stage.name).collect();
        if names.is_empty() {
            println!("all {} stages passed", self.stages.len());
            return Ok(());
        }
        Err(Failure::Stages { names })
    }
}

/// What random tests start from: other code gets other samples, the same code the same ones, so that a failure can be
/// repeated. Without a repository they are fresh.
fn seed(project: &Project) -> Option<u32> {
    let mut git = Command::new("git");
    git.current_dir(&project.root);
    let tree = command::answer(git.args(["rev-parse", "HEAD:crates/scan"])).ok()?;
    u32::from_str_radix(tree.trim().get(..8)?, 16).ok()
}

/// The tests below `folder`, against the laid out sensor and binary.
fn pytest(project: &Project, python: &Python, folder: &str) -> Outcome<Command> {
    // A failure shows all that the command said.
    let whole = ["-o", "verbosity_assertions=1"];
    let mut pytest = python.command(&["-m", "pytest", "-rs", "-p", "no:cacheprovider"]);
    pytest.args(whole).arg(folder);
    pytest
        .current_dir(&project.root)
        .env("PATH", command::path_with(python.folder()))
        .env("TAINTLINE_BIN", project.binary())
        .env("TAINTLINE_SENSOR_DIR", project.sensor())
        .env(python::VARIABLE, &python.executable);
    if let Some(folder) = python::pytest_beside(python)? {
        pytest.env("PYTHONPATH", folder);
    }
    Ok(pytest)
}

/// `===== 3 passed, 1 failed in 2.1s =====`
fn is_pytest_summary(text: &str) -> bool {
    let counted = [" passed", " failed", " error", "no tests ran"];
    text.starts_with('=') && text.contains(" in ") && counted.iter().any(|word| text.contains(word))
}

fn line(stage: &Stage) -> String {
    let verdict = if stage.passed { "passed" } else { "FAILED" };
    format!(
        "  {:<13} {verdict} {:>7.1} s",
        stage.name,
        stage.took.as_secs_f64()
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::PathBuf;

    fn session(project: &Project) -> Session<'_> {
        Session {
            project,
            stages: Vec::new(),
            not_checked: Vec::new(),
        }
    }

    #[test]
    fn one_failed_stage_fails_the_whole_and_the_others_still_run() {
        let project = Project {
            root: PathBuf::from("/nowhere"),
            target: PathBuf::from("/nowhere/target"),
        };
        let mut session = session(&project);
        session.stage("first", || -> Outcome<()> {
            Err(Failure::Untidy { findings: 1 })
        });
        assert_eq!(session.stage("second", || Ok(7)), Some(7));
        let failure = session.finish().unwrap_err();
        assert_eq!(failure.to_string(), "failed: first");
    }

    #[test]
    fn without_its_python_the_python_stage_fails_and_is_not_skipped() {
        let project = Project {
            root: PathBuf::from("/nowhere"),
            target: PathBuf::from("/nowhere/target"),
        };
        let mut full = session(&project);
        full.python_tests(None, Scope::Full);
        assert!(full.finish().is_err());
        let mut quick = session(&project);
        quick.python_tests(None, Scope::Quick);
        assert_eq!(quick.not_checked.len(), 1);
    }

    #[test]
    fn the_summary_of_pytest_is_known_from_its_other_lines() {
        assert!(is_pytest_summary("===== 3 passed, 1 failed in 2.10s ====="));
        assert!(is_pytest_summary("===== no tests ran in 0.01s ====="));
        assert!(!is_pytest_summary("===== test session starts ====="));
        assert!(!is_pytest_summary("tests/test_a.py 3 passed in"));
    }
}
