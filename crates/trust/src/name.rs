//! Names inside of a sealed folder: relative, below it, one spelling each.
//!
//! A name in a signed document is as hostile as any: `../secret` reads another's file, `a//b` and `a/b` are one file under
//! two names. So a [`Name`] can only be made of parts that are really names; there is no way to a path that leaves the
//! folder. Names that differ only in case are one file on some file systems: they are told, not refused.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

/// The most bytes of a name: what the kernel takes as a path.
pub const MAX_NAME_BYTES: usize = 4095;

/// The most bytes of one part between slashes.
const MAX_PART_BYTES: usize = 255;

/// A relative name, `/` between its parts.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Name(Arc<str>);

/// A text that is not a name inside of a folder.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NameSyntax {
    /// No text.
    #[error("a name is empty, or has an empty part")]
    Empty,
    /// Leaves the folder or stays in place.
    #[error("a name has `.` or `..` as a part")]
    Dots,
    /// Begins with a slash.
    #[error("a name is absolute")]
    Absolute,
    /// Holds the byte 0, or is longer than any path.
    #[error("a name holds what no file name can hold")]
    Impossible,
}

impl Name {
    /// Takes a text that is a name.
    pub fn new(text: &str) -> Result<Self, NameSyntax> {
        if text.starts_with('/') {
            return Err(NameSyntax::Absolute);
        }
        if text.len() > MAX_NAME_BYTES || text.contains('\0') {
            return Err(NameSyntax::Impossible);
        }
        for part in text.split('/') {
            match part {
                "" => return Err(NameSyntax::Empty),
                "." | ".." => return Err(NameSyntax::Dots),
                _ if part.len() > MAX_PART_BYTES => return Err(NameSyntax::Impossible),
                _ => {}
            }
        }
        Ok(Self(text.into()))
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether it is `above` or lies below it.
    pub fn is_below(&self, above: &Self) -> bool {
        self.0
            .strip_prefix(&*above.0)
            .is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
    }
}

impl fmt::Display for Name {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

/// What two names have in common that one file system keeps apart and another does not.
fn folded(name: &Name) -> String {
    name.as_str().chars().flat_map(char::to_lowercase).collect()
}

/// Groups of names that are one file where case plays no role; sorted.
pub fn collisions<'a>(names: impl IntoIterator<Item = &'a Name>) -> Vec<Vec<Name>> {
    let mut groups: BTreeMap<String, Vec<Name>> = BTreeMap::new();
    for name in names {
        groups.entry(folded(name)).or_default().push(name.clone());
    }
    groups
        .into_values()
        .filter(|group| group.len() > 1)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_leaves_the_folder_or_has_two_spellings_is_no_name() {
        use NameSyntax::{Absolute, Dots, Empty, Impossible};
        for (bad, why) in [
            ("", Empty),
            ("/etc/passwd", Absolute),
            ("../x", Dots),
            ("a/../b", Dots),
            ("./a", Dots),
            (".", Dots),
            ("a//b", Empty),
            ("a/", Empty),
            ("a\0b", Impossible),
        ] {
            assert_eq!(Name::new(bad), Err(why), "{bad}");
        }
        assert_eq!(Name::new(&"x".repeat(256)), Err(Impossible));
        assert_eq!(Name::new(&"x/".repeat(3000)), Err(Impossible));
        for good in ["a", "a/b.c", "..a", "a..", "ü:\\ \n", "...", "a/...b"] {
            assert_eq!(Name::new(good).unwrap().as_str(), good);
        }
    }

    #[test]
    fn below_is_by_whole_parts() {
        let name = |text| Name::new(text).unwrap();
        assert!(name(".git/HEAD").is_below(&name(".git")));
        assert!(name(".git").is_below(&name(".git")));
        assert!(!name(".github/x").is_below(&name(".git")));
        assert!(!name("sub/.git").is_below(&name(".git")));
    }

    #[test]
    fn names_that_differ_in_case_alone_are_told() {
        let names = ["A/x", "a/X", "b", "Ü", "ü"].map(|text| Name::new(text).unwrap());
        let groups = collisions(&names);
        assert_eq!(groups.len(), 2);
        assert_eq!(groups[0].len(), 2);
    }
}
