//! Python sources that stand where Python would find them in place of a library.
//!
//! The folder of a program comes first when it imports, so `collections.py` or `torch/_utils.py` beside the weights runs in
//! place of what every loader imports. In a package such names are common and harmless, and so they are in the
//! libraries themselves: only a module that is found by its plain name, in a folder with weights, is told.

use std::path::Path;

use ::scan::Rules;
use ::scan::rules::Standing;
use domain::scan::{Examination, Finding, Place, Rule, Weight};

/// Endings of files that hold weights.
const WEIGHTS: [&str; 10] = [
    "bin",
    "ckpt",
    "joblib",
    "keras",
    "model",
    "onnx",
    "pkl",
    "pt",
    "pth",
    "safetensors",
];
/// Entries of a folder that are looked at.
const LOOKED_AT: usize = 10_000;

/// Adds a finding if the source at `path` would be imported in place of a library.
pub(super) fn look(rules: &Rules, path: &Path, done: &mut Examination) {
    let Some(module) = shadowed(rules, path) else {
        return;
    };
    done.findings.insert(
        0,
        Finding {
            rule: Rule::BringsCode,
            weight: Weight::Unknown,
            place: Place::default(),
            expression: format!("import {module}"),
            why: format!(
                "Programs that run in its folder import it in place of the library `{module}`, and there are weights beside it."
            ),
        },
    );
}

/// Whether the answer for this path depends on what lies beside it.
pub(super) fn may_look(path: &Path) -> bool {
    path.extension().is_some_and(|ending| ending == "py")
}

/// The library that a source would be taken for.
fn shadowed(rules: &Rules, path: &Path) -> Option<String> {
    let (stem, folder) = (path.file_stem()?.to_str()?, path.parent()?);
    if !may_look(path) || is_installed(path) {
        return None;
    }
    // A folder without `__init__.py` is a package too, if somebody imports it by name.
    let inside = folder.file_name().and_then(|name| name.to_str());
    let packaged = folder.join("__init__.py").is_file();
    let mut candidates = vec![(stem, folder)];
    if packaged {
        candidates.clear();
    }
    candidates.extend(inside.zip(folder.parent()));
    let found = candidates
        .into_iter()
        .find(|(name, home)| is_library(rules, name) && has_weights(home));
    found.map(|(name, _)| name.to_owned())
}

fn is_library(rules: &Rules, name: &str) -> bool {
    matches!(
        rules.standing(name, "_"),
        Standing::Library | Standing::Framework(_) | Standing::Listed(_)
    )
}

fn is_installed(path: &Path) -> bool {
    let mut parts = path.iter().filter_map(|part| part.to_str());
    parts.any(|part| {
        matches!(part, "site-packages" | "dist-packages") || part.starts_with("python3.")
    })
}

fn has_weights(folder: &Path) -> bool {
    let folder = if folder.as_os_str().is_empty() {
        Path::new(".")
    } else {
        folder
    };
    let Ok(entries) = std::fs::read_dir(folder) else {
        return false;
    };
    entries.take(LOOKED_AT).flatten().any(|entry| {
        let name = entry.file_name();
        let ending = Path::new(&name)
            .extension()
            .and_then(|ending| ending.to_str());
        ending.is_some_and(|ending| WEIGHTS.contains(&ending))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(files: &[&str], source: &str) -> Option<String> {
        let folder = tempfile::tempdir().unwrap();
        for file in files.iter().chain([&source]) {
            let path = folder.path().join(file);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, b"").unwrap();
        }
        shadowed(&Rules::builtin(), &folder.path().join(source))
    }

    #[test]
    fn a_module_beside_the_weights_in_place_of_a_library_is_told() {
        assert_eq!(
            told(&["model.pt"], "collections.py").unwrap(),
            "collections"
        );
        assert_eq!(told(&["model.bin"], "torch/_utils.py").unwrap(), "torch");
        let package = ["model.bin", "numpy/__init__.py"];
        assert_eq!(told(&package, "numpy/core.py").unwrap(), "numpy");
    }

    #[test]
    fn modules_of_a_package_and_programs_without_weights_are_not() {
        assert_eq!(
            told(&["mine/model.pt", "mine/__init__.py"], "mine/types.py"),
            None
        );
        assert_eq!(told(&["README.md"], "random.py"), None);
        assert_eq!(told(&["model.pt"], "train.py"), None);
        let installed = ["site-packages/x.pt"];
        assert_eq!(told(&installed, "site-packages/copy.py"), None);
    }
}
