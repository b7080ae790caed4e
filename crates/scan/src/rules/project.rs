//! What a project admits of its own: names in a role, learnt from files that it trusts.
//!
//! A project admits objects of its own classes and calls of its own functions. It cannot admit what is dangerous: that
//! such a file was trusted once says nothing about the next. One line is one name, `role module name [sha256:…]`; the
//! digest is that of the module's source when it was learnt, and whoever applies the file compares it.

use std::collections::BTreeMap;

use domain::Digest;
use domain::scan::{Need, Role, Weight};

type Roles = Vec<(Role, Option<Digest>)>;

/// The names that a project admits.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Project {
    admitted: BTreeMap<(String, String), Roles>,
}

/// One admitted name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Admitted {
    /// Its module.
    pub module: String,
    /// The name in it.
    pub name: String,
    /// In which role.
    pub role: Role,
    /// The digest of the source of its module, if it was known.
    pub digest: Option<Digest>,
}

/// Why a project's file cannot be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ProjectError {
    /// A line is not `role module name`.
    #[error("line {line} is not `role module name`")]
    Shape {
        /// Which, from 1.
        line: usize,
    },
    /// No such role.
    #[error("line {line} has no role: reference, construct, call or state")]
    Role {
        /// Which, from 1.
        line: usize,
    },
    /// The digest is malformed.
    #[error("line {line} ends in something that is no digest")]
    Digest {
        /// Which, from 1.
        line: usize,
    },
}

impl Project {
    /// Reads the lines; empty ones and those that start with `#` say nothing.
    pub fn parse(text: &str) -> Result<Self, ProjectError> {
        let mut project = Self::default();
        for (index, line) in text.lines().enumerate() {
            let line_number = index + 1;
            if line.trim().is_empty() || line.starts_with('#') {
                continue;
            }
            project.admit(parse_line(line, line_number)?);
        }
        Ok(project)
    }

    /// What a project would have to admit so that a file with these needs passes. Dangerous ones are left out.
    pub fn from_needs<'a>(needs: impl IntoIterator<Item = &'a Need>) -> Self {
        let mut project = Self::default();
        for need in needs {
            if matches!(need.weight, Some(Weight::Custom | Weight::Unknown)) {
                project.admit(Admitted {
                    module: need.module.clone(),
                    name: need.name.clone(),
                    role: need.role,
                    digest: None,
                });
            }
        }
        project
    }

    /// Admits one name more.
    pub fn admit(&mut self, admitted: Admitted) {
        let roles = self
            .admitted
            .entry((admitted.module, admitted.name))
            .or_default();
        roles.retain(|(role, _)| *role != admitted.role);
        roles.push((admitted.role, admitted.digest));
    }

    /// All of it, sorted by module and name.
    pub fn names(&self) -> impl Iterator<Item = Admitted> {
        self.admitted.iter().flat_map(|((module, name), roles)| {
            roles.iter().map(|(role, digest)| Admitted {
                module: module.clone(),
                name: name.clone(),
                role: *role,
                digest: *digest,
            })
        })
    }

    /// Whether the project admits this. What may be called or made may be referred to.
    pub fn admits(&self, module: &str, name: &str, role: Role) -> bool {
        if self.admitted.is_empty() {
            return false;
        }
        let key = (module.to_owned(), name.to_owned());
        let roles = self.admitted.get(&key).map_or(&[][..], Vec::as_slice);
        roles
            .iter()
            .any(|(known, _)| *known == role || role == Role::Reference)
    }
}

impl std::fmt::Display for Project {
    /// The lines that [`Project::parse`] reads.
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        for admitted in self.names() {
            let role = word(admitted.role);
            write!(formatter, "{role} {} {}", admitted.module, admitted.name)?;
            match admitted.digest {
                Some(digest) => writeln!(formatter, " {digest}")?,
                None => writeln!(formatter)?,
            }
        }
        Ok(())
    }
}

fn parse_line(text: &str, line: usize) -> Result<Admitted, ProjectError> {
    let words: Vec<&str> = text.split_whitespace().collect();
    let (role, module, name, digest) = match words[..] {
        [role, module, name] => (role, module, name, None),
        [role, module, name, digest] => (role, module, name, Some(digest)),
        _ => return Err(ProjectError::Shape { line }),
    };
    let roles = [Role::Reference, Role::Construct, Role::Call, Role::State];
    let known = roles.into_iter().find(|known| word(*known) == role);
    let digest = digest.map(str::parse).transpose();
    Ok(Admitted {
        module: module.to_owned(),
        name: name.to_owned(),
        role: known.ok_or(ProjectError::Role { line })?,
        digest: digest.map_err(|_| ProjectError::Digest { line })?,
    })
}

fn word(role: Role) -> &'static str {
    match role {
        Role::Reference => "reference",
        Role::Construct => "construct",
        Role::Call => "call",
        Role::State => "state",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn need(name: &str, role: Role, weight: Weight) -> Need {
        Need {
            module: "app.models".to_owned(),
            name: name.to_owned(),
            role,
            weight: Some(weight),
        }
    }

    #[test]
    fn what_is_dangerous_cannot_be_learnt() {
        let needs = [
            need("Net", Role::Construct, Weight::Custom),
            need("make", Role::Call, Weight::Unknown),
            need("evil", Role::Call, Weight::Dangerous),
        ];
        let project = Project::from_needs(&needs);
        assert!(project.admits("app.models", "Net", Role::Construct));
        assert!(project.admits("app.models", "Net", Role::Reference));
        assert!(!project.admits("app.models", "Net", Role::Call));
        assert!(project.admits("app.models", "make", Role::Call));
        assert!(!project.admits("app.models", "evil", Role::Call));
    }

    #[test]
    fn a_project_s_file_reads_back_as_it_was_written() {
        let needs = [need("Net", Role::Construct, Weight::Custom)];
        let project = Project::from_needs(&needs);
        assert_eq!(Project::parse(&project.to_string()), Ok(project));
        assert_eq!(Project::parse("# none\n\n"), Ok(Project::default()));
        assert_eq!(
            Project::parse("call a"),
            Err(ProjectError::Shape { line: 1 })
        );
        assert_eq!(
            Project::parse("do a b"),
            Err(ProjectError::Role { line: 1 })
        );
    }
}
