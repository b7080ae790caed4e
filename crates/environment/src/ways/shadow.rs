//! Which installed module a module from elsewhere stands in front of.
//!
//! The import system takes the first folder of `sys.path` that has a regular module of a name. A module that was really
//! imported from a folder outside of the environment hides the installed one of that name, if there is one. Judged is what
//! was imported, not what lies about: a `test.py` beside a script hides nothing that anybody asked for. A folder
//! without `__init__` hides nothing either: the import system goes on and takes a regular module further down.

use std::collections::{BTreeMap, BTreeSet};

use domain::{Node, PathText};

use crate::layout::RootKind;
use crate::packages::has_suffix;
use crate::snapshot::Snapshot;

/// The library's own tests: not for use by anybody, and a name that every project uses.
const NOT_FOR_USE: &str = "test";
/// The most modules that are listed.
const MAX_MODULES: usize = 200_000;

/// An installed module that is hidden.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hidden {
    /// Its name.
    pub module: String,
    /// The file or folder at the top of the search path that is in front of it.
    pub by: PathText,
    /// Its logical name in the environment.
    pub installed: PathText,
    /// Whether it is of Python's own library.
    pub of_stdlib: bool,
}

/// The regular modules at the top of an environment.
#[derive(Debug, Clone, Default)]
pub struct Installed {
    modules: BTreeMap<String, (PathText, bool)>,
}

impl Installed {
    /// Those of a snapshot.
    pub fn of(snapshot: &Snapshot) -> Self {
        let kinds: BTreeMap<&str, RootKind> = snapshot
            .places
            .iter()
            .map(|place| (place.name.as_str(), place.kind))
            .collect();
        let kind = |root: &str| kinds.get(root).copied();
        Self::among(&snapshot.flat, &kind)
    }

    fn among(flat: &BTreeMap<PathText, Node>, kind: &dyn Fn(&str) -> Option<RootKind>) -> Self {
        let mut modules = BTreeMap::new();
        for path in flat.keys() {
            let Some((root, rest)) = path.as_str().split_once('/') else {
                continue;
            };
            let of_stdlib = match kind(root) {
                Some(RootKind::Stdlib) => true,
                Some(RootKind::Site) => false,
                Some(RootKind::Scripts | RootKind::Other) | None => continue,
            };
            let Some(name) = module(rest) else { continue };
            if name == NOT_FOR_USE || modules.len() >= MAX_MODULES {
                continue;
            }
            modules
                .entry(name.to_owned())
                .or_insert_with(|| (path.clone(), of_stdlib));
        }
        Self { modules }
    }

    /// The installed module that an imported file outside of the environment hides, given the folders of `sys.path`.
    pub fn hidden_by(&self, file: &PathText, search: &BTreeSet<PathText>) -> Option<Hidden> {
        let (rest, length) = search
            .iter()
            .filter_map(|folder| {
                let rest = file.as_str().strip_prefix(folder.as_str())?;
                Some((rest.strip_prefix('/')?, folder.as_str().len() + 1))
            })
            .max_by_key(|(_, length)| *length)?;
        let module = top(rest)?;
        let name = rest.split('/').next().unwrap_or(rest);
        let by = file.as_str().get(..length + name.len())?;
        let (installed, of_stdlib) = self.modules.get(module)?;
        Some(Hidden {
            module: module.to_owned(),
            by: PathText::from_text(by),
            installed: installed.clone(),
            of_stdlib: *of_stdlib,
        })
    }
}

/// The module that a file at the top of a folder, or the `__init__` of one in it, is.
fn module(rest: &str) -> Option<&str> {
    let (name, file) = match rest.split_once('/') {
        Some((name, "__init__.py" | "__init__.pyc")) => return Some(name).filter(is_name),
        Some((name, file)) => (name, Some(file)),
        None => (rest, None),
    };
    if let Some(file) = file {
        let compiled = file.starts_with("__init__.") && has_suffix(file, ".so");
        return Some(name).filter(|name| compiled && is_name(name));
    }
    let stem = name.split('.').next()?;
    let loadable = [".py", ".pyc", ".so"].iter().any(|end| name.ends_with(end));
    Some(stem).filter(|stem| loadable && is_name(stem))
}

/// The top module of an imported file below a folder of the search path.
fn top(rest: &str) -> Option<&str> {
    let name = rest.split('/').next()?;
    let stem = name.split('.').next()?;
    Some(stem).filter(is_name)
}

fn is_name(name: &&str) -> bool {
    let mut characters = name.chars();
    let starts = characters
        .next()
        .is_some_and(|first| first == '_' || first.is_alphabetic());
    starts && characters.all(|one| one == '_' || one.is_alphanumeric())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn installed(names: &[&str]) -> Installed {
        let node = Node::Link {
            target: PathText::default(),
        };
        let text = |name: &&str| PathText::from_bytes(name.as_bytes());
        let flat = names.iter().map(|name| (text(name), node.clone()));
        let kind = |root: &str| match root {
            "stdlib" => Some(RootKind::Stdlib),
            "purelib" => Some(RootKind::Site),
            _ => None,
        };
        Installed::among(&flat.collect(), &kind)
    }

    fn hidden(installed: &Installed, file: &str, search: &[&str]) -> Option<(String, bool)> {
        let search = search.iter().map(|folder| PathText::from_text(folder));
        let hidden = installed.hidden_by(&PathText::from_text(file), &search.collect())?;
        Some((hidden.module, hidden.of_stdlib))
    }

    #[test]
    fn an_imported_module_hides_the_installed_one_of_its_name() {
        let installed = installed(&[
            "purelib/torch/__init__.py",
            "purelib/six.py",
            "purelib/_cffi.cpython-311-x86_64-linux-gnu.so",
            "stdlib/random.py",
            "scripts/accelerate.py",
        ]);
        let found = |file: &str| hidden(&installed, file, &["/job", "/job/src"]);
        assert_eq!(
            found("/job/torch/__init__.py"),
            Some(("torch".to_owned(), false))
        );
        assert_eq!(found("/job/random.py"), Some(("random".to_owned(), true)));
        assert_eq!(found("/job/src/six.py"), Some(("six".to_owned(), false)));
        assert_eq!(found("/job/_cffi.so"), Some(("_cffi".to_owned(), false)));
        let by = installed.hidden_by(
            &PathText::from_text("/job/torch/optim/sgd.py"),
            &[PathText::from_text("/job")].into(),
        );
        assert_eq!(by.unwrap().by.as_str(), "/job/torch");
        for no in [
            "/job/model.py",
            "/job/lib/six.py",
            "/other/six.py",
            "/job/accelerate.py",
        ] {
            assert_eq!(found(no), None, "{no}");
        }
    }

    #[test]
    fn a_folder_without_init_and_the_library_s_own_tests_are_not_hidden() {
        let installed = installed(&[
            "purelib/google/protobuf/__init__.py",
            "stdlib/test/__init__.py",
        ]);
        assert_eq!(hidden(&installed, "/job/google/mine.py", &["/job"]), None);
        assert_eq!(hidden(&installed, "/job/test.py", &["/job"]), None);
    }
}
