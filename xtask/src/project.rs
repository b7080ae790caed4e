//! Where the project lies and where cargo puts what it builds.

use crate::command;
use crate::failure::{Failure, Outcome};
use serde_json::Value;
use std::path::{Path, PathBuf};
use std::process::Command;

/// The workspace on this machine.
pub(crate) struct Project {
    /// The folder of the workspace manifest.
    pub(crate) root: PathBuf,
    /// Cargo's target folder; not always `target` under the root.
    pub(crate) target: PathBuf,
}

impl Project {
    /// Asks cargo, starting from this crate's own folder.
    pub(crate) fn find() -> Outcome<Self> {
        let here = std::env::var_os("CARGO_MANIFEST_DIR")
            .map_or_else(|| PathBuf::from(env!("CARGO_MANIFEST_DIR")), PathBuf::from);
        let manifest = here.join("Cargo.toml");
        let mut cargo = Command::new("cargo");
        cargo.args(["metadata", "--format-version=1", "--no-deps"]);
        cargo.arg("--manifest-path").arg(&manifest);
        let metadata = parse_metadata(&command::answer(&mut cargo)?)?;
        Ok(Self {
            root: folder(&metadata, "workspace_root")?,
            target: folder(&metadata, "target_directory")?,
        })
    }

    /// A cargo command that runs in the root.
    pub(crate) fn cargo(&self, arguments: &[&str]) -> Command {
        let mut cargo = Command::new("cargo");
        cargo.args(arguments).current_dir(&self.root);
        cargo
    }

    /// Where the binary and the sensor are laid out as an installation would be.
    pub(crate) fn layout(&self) -> PathBuf {
        self.target.join("taintline")
    }

    /// The laid out binary.
    pub(crate) fn binary(&self) -> PathBuf {
        self.layout().join("bin/taintline")
    }

    /// The laid out sensor: the folder that holds `taintline/` and `startup/`.
    pub(crate) fn sensor(&self) -> PathBuf {
        self.layout().join("lib/taintline/sensor")
    }

    /// `path` as people say it: relative to the root where it can be.
    pub(crate) fn short<'a>(&self, path: &'a Path) -> std::path::Display<'a> {
        path.strip_prefix(&self.root).unwrap_or(path).display()
    }
}

/// Cargo's metadata as JSON.
pub(crate) fn parse_metadata(text: &str) -> Outcome<Value> {
    serde_json::from_str(text).map_err(|error| Failure::Unreadable {
        what: "cargo metadata",
        detail: error.to_string(),
    })
}

fn folder(metadata: &Value, key: &'static str) -> Outcome<PathBuf> {
    metadata[key]
        .as_str()
        .map(PathBuf::from)
        .ok_or_else(|| Failure::Unreadable {
            what: "cargo metadata",
            detail: format!("no {key}"),
        })
}
