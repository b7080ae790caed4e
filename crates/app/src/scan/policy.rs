//! A project's policy: names of its own code that its checkpoints need, each admitted in a role.
//!
//! A name says nothing about the code behind it. So an admission may be bound to the digest of the source that was looked
//! at; when that source is another, or gone, the admission no longer holds and is told. Nothing dangerous can be admitted:
//! that is held by the engine.

use std::path::{Path, PathBuf};

use ::scan::Rules;
use ::scan::rules::{Admitted, Project};
use domain::Digest;
use domain::scan::Role;
use report::scan::Notice;
use serde::{Deserialize, Serialize};

use super::document::{self, DocumentError, Shape};

/// How such a file begins.
pub(super) const SHAPE: Shape = Shape {
    what: "policy",
    schema: "taintline.policy/1",
};

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Document {
    #[serde(rename = "schema")]
    _schema: String,
    #[serde(default)]
    admit: Vec<Admission>,
}

/// One name.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Admission {
    /// The module.
    pub(super) module: String,
    /// The name in it.
    pub(super) name: String,
    /// What for.
    pub(super) roles: Vec<Role>,
    /// The module's source, relative to the policy.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) source: Option<String>,
    /// Digest of that source when it was looked at.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) digest: Option<Digest>,
}

impl Admission {
    fn flaw(&self) -> Option<&'static str> {
        if self.module.is_empty() || self.name.is_empty() {
            Some("names nothing")
        } else if self.roles.is_empty() {
            Some("gives no role")
        } else if self.source.is_some() != self.digest.is_some() {
            Some("has a source without a digest or a digest without a source")
        } else {
            None
        }
    }
}

/// Reads the policy at `path`; what no longer holds is left out and told.
pub(super) fn read(
    path: &Path,
    scanned: &[PathBuf],
    notices: &mut Vec<Notice>,
) -> Result<Vec<Admission>, DocumentError> {
    SHAPE.keep_outside(path, scanned)?;
    let text = SHAPE.text(path)?;
    let document: Document = SHAPE.parse(path, &text)?;
    let real = document::real(path);
    let folder = real.parent().unwrap_or(Path::new("/"));
    let mut sources = Sources::default();
    let mut admitted = Vec::new();
    for (index, admission) in document.admit.into_iter().enumerate() {
        if let Some(flaw) = admission.flaw() {
            return Err(SHAPE.entry(path, index, flaw));
        }
        match sources.change(folder, &admission) {
            None => admitted.push(admission),
            Some(change) => notices.push(Notice {
                about: "policy",
                text: format!(
                    "{}.{} is not admitted: {change}",
                    admission.module, admission.name
                ),
            }),
        }
    }
    Ok(admitted)
}

/// Sources that were read, each once.
#[derive(Default)]
struct Sources(std::collections::HashMap<String, Result<Digest, String>>);

impl Sources {
    /// Why an admission no longer holds.
    fn change(&mut self, folder: &Path, admission: &Admission) -> Option<String> {
        let (source, digest) = (admission.source.as_ref()?, admission.digest?);
        let now = self.0.entry(source.clone()).or_insert_with(|| {
            let bytes = domain::PathText::from_text(source).to_bytes();
            let path: &std::ffi::OsStr = std::os::unix::ffi::OsStrExt::from_bytes(&bytes);
            document::digest_of(&folder.join(path)).map_err(|error| error.to_string())
        });
        match now {
            Ok(now) if *now == digest => None,
            Ok(_) => Some(format!("{source} is not the source that was looked at")),
            Err(why) => Some(format!("its source {source} cannot be read: {why}")),
        }
    }
}

/// The rules that ship, less what is taken away, plus what the project admits.
pub(super) fn rules(without: &[String], admitted: &[Admission]) -> Rules {
    let rules = without.iter().fold(Rules::builtin(), |rules, framework| {
        rules.without(framework)
    });
    if admitted.is_empty() {
        return rules;
    }
    let mut project = Project::default();
    for admission in admitted {
        for role in &admission.roles {
            project.admit(Admitted {
                module: admission.module.clone(),
                name: admission.name.clone(),
                role: *role,
                digest: admission.digest,
            });
        }
    }
    rules.with_project(project)
}
