//! An environment as another one is, but for a few files: folders of links, with files of its own where they differ.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use super::place::Workplace;
use super::process::Program;
use super::{ReplayError, disk};

/// What stands at a place below the environment's folder instead.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Edit {
    /// Place, from the folder of the environment.
    pub(super) place: PathBuf,
    /// The file whose copy stands there; none leaves the place empty.
    pub(super) source: Option<PathBuf>,
}

/// Makes it in the replay's own folders, and answers the program in it.
pub(super) fn make(
    program: &Program,
    edits: &[Edit],
    place: &Workplace,
) -> Result<Program, ReplayError> {
    let root = place.at("environment");
    let mut all = BTreeMap::new();
    for edit in edits {
        all.insert(edit.place.clone(), edit.source.clone());
    }
    let compiled: Vec<PathBuf> = all
        .keys()
        .flat_map(|file| compiled(&program.prefix, file))
        .collect();
    for file in compiled {
        // Code that was compiled of the other text would be taken for this one's where size and time happen to agree.
        all.entry(file).or_insert(None);
    }
    mirror(&program.prefix, &root, Path::new(""), &all)?;
    for (file, source) in &all {
        let Some(source) = source else { continue };
        let to = root.join(file);
        place.prepare(&to)?;
        std::fs::copy(source, &to).map_err(disk(source))?;
    }
    let moved = program.moved(&root);
    moved.own_launcher(&program.prefix)?;
    Ok(moved)
}

fn mirror(
    from: &Path,
    to: &Path,
    below: &Path,
    edits: &BTreeMap<PathBuf, Option<PathBuf>>,
) -> Result<(), ReplayError> {
    let (folder, made) = (from.join(below), to.join(below));
    std::fs::create_dir_all(&made).map_err(disk(&made))?;
    for entry in std::fs::read_dir(&folder).map_err(disk(&folder))? {
        let entry = entry.map_err(disk(&folder))?;
        let place = below.join(entry.file_name());
        if edits.contains_key(&place) {
            continue;
        }
        let has_edits = edits.keys().any(|edit| edit.starts_with(&place));
        if has_edits && entry.path().is_dir() {
            mirror(from, to, &place, edits)?;
        } else {
            let link = to.join(&place);
            symlink(entry.path(), &link).map_err(disk(&link))?;
        }
    }
    Ok(())
}

/// Files of compiled code beside a source.
fn compiled(prefix: &Path, source: &Path) -> Vec<PathBuf> {
    let (Some(stem), Some(above)) = (source.file_stem(), source.parent()) else {
        return Vec::new();
    };
    if source.extension() != Some(OsStr::new("py")) {
        return Vec::new();
    }
    let folder = above.join("__pycache__");
    let begins = format!("{}.", stem.to_string_lossy());
    let entries = std::fs::read_dir(prefix.join(&folder))
        .into_iter()
        .flatten();
    entries
        .filter_map(|entry| Some(entry.ok()?.file_name()))
        .filter(|name| name.to_string_lossy().starts_with(&begins))
        .map(|name| folder.join(name))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_is_as_in_the_other_but_what_is_edited() {
        let folder = tempfile::tempdir().unwrap();
        let (from, to) = (folder.path().join("from"), folder.path().join("to"));
        for (name, text) in [
            ("lib/a/one.py", "1"),
            ("lib/a/two.py", "2"),
            ("lib/a/__pycache__/one.cpython-311.pyc", "c"),
            ("lib/b/three.py", "3"),
        ] {
            let file = from.join(name);
            std::fs::create_dir_all(file.parent().unwrap()).unwrap();
            std::fs::write(file, text).unwrap();
        }
        let place = PathBuf::from("lib/a/one.py");
        assert_eq!(
            compiled(&from, &place),
            [PathBuf::from("lib/a/__pycache__/one.cpython-311.pyc")]
        );
        let edits = BTreeMap::from([(place, None), (PathBuf::from("lib/c/new.py"), None)]);
        mirror(&from, &to, Path::new(""), &edits).unwrap();
        assert!(to.join("lib/b").is_symlink() && !to.join("lib/a").is_symlink());
        assert!(to.join("lib/a/two.py").is_file() && !to.join("lib/a/one.py").exists());
    }
}
