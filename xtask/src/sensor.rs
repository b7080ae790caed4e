//! Builds the binary and the in-process sensor and lays them out as an installation would be.
//!
//! ```text
//! target/taintline/bin/taintline
//! target/taintline/lib/taintline/sensor/taintline/    the Python package and _native.abi3.so
//! target/taintline/lib/taintline/sensor/startup/      sitecustomize.py
//! ```
//!
//! The binary finds `../lib/taintline/sensor` from its own place, so the folder can be copied whole to anywhere.

use crate::command;
use crate::failure::{Failure, Outcome};
use crate::mirror::{self, Plan};
use crate::project::Project;
use std::path::{Path, PathBuf};

/// How cargo builds.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Profile {
    /// Quick to build; the hot crates are optimised all the same.
    Dev,
    /// What people use.
    Release,
}

impl Profile {
    fn folder(self) -> &'static str {
        match self {
            Self::Dev => "debug",
            Self::Release => "release",
        }
    }
}

/// The chore: build, lay out, say where.
pub(crate) fn run(project: &Project, profile: Profile) -> Outcome<()> {
    let changed = build_and_lay_out(project, profile)?;
    println!(
        "{} ({changed} file(s) changed)",
        project.short(&project.binary())
    );
    Ok(())
}

/// Builds both crates and brings the layout up to date; returns how many files changed.
pub(crate) fn build_and_lay_out(project: &Project, profile: Profile) -> Outcome<usize> {
    let mut cargo = project.cargo(&["build", "--locked"]);
    cargo.args(["-p", "taintline-cli", "-p", "taintline-python"]);
    if profile == Profile::Release {
        cargo.arg("--release");
    }
    command::run(&mut cargo)?;
    let built = project.target.join(profile.folder());
    let plan = sensor_plan(&project.root.join("python"), &built.join("lib_native.so"))?;
    let changed = mirror::apply(&plan, &project.sensor())?;
    let binary = mirror::copy_if_changed(&built.join("taintline"), &project.binary())?;
    Ok(changed + usize::from(binary))
}

/// What the sensor folder holds: the package with the native module in it, and the start-up hook.
fn sensor_plan(python: &Path, native: &Path) -> Outcome<Plan> {
    let mut plan = Plan::new();
    for (source, name) in [("taintline", "taintline"), ("startup", "startup")] {
        mirror::plan_folder(&mut plan, &python.join(source), Path::new(name))?;
    }
    let hook = PathBuf::from("startup/sitecustomize.py");
    if !plan.contains_key(&hook) {
        return Err(Failure::Unreadable {
            what: "python/startup",
            detail: "it has no sitecustomize.py, so no process would load the sensor".to_owned(),
        });
    }
    plan.insert("taintline/_native.abi3.so".into(), native.to_path_buf());
    Ok(plan)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    #[test]
    fn a_sensor_without_its_start_up_hook_is_refused() {
        let folder = std::env::temp_dir().join(format!("xtask-{}-hook", std::process::id()));
        fs::create_dir_all(folder.join("taintline")).unwrap();
        fs::create_dir_all(folder.join("startup")).unwrap();
        fs::write(folder.join("taintline/__init__.py"), "").unwrap();
        let failure = sensor_plan(&folder, Path::new("x.so")).unwrap_err();
        assert!(failure.to_string().contains("sitecustomize.py"));

        fs::write(folder.join("startup/sitecustomize.py"), "").unwrap();
        let plan = sensor_plan(&folder, Path::new("x.so")).unwrap();
        let native = plan.get(Path::new("taintline/_native.abi3.so")).unwrap();
        assert_eq!(native, Path::new("x.so"));
        fs::remove_dir_all(folder).unwrap();
    }
}
