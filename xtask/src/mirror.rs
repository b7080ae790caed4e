//! Makes one folder equal to others, writing only what differs.
//!
//! Each file is written beside its place and renamed, so a process that starts in between sees the old file or the new
//! one, never half. What is equal is left alone: a training that runs from the layout keeps its mapped files.

use crate::failure::{Failure, Outcome};
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

/// Which file of the source goes where below the destination.
pub(crate) type Plan = BTreeMap<PathBuf, PathBuf>;

/// Adds every file below `from`, to lie below `under`; byte code is left out.
pub(crate) fn plan_folder(plan: &mut Plan, from: &Path, under: &Path) -> Outcome<()> {
    for entry in fs::read_dir(from).map_err(Failure::io("read", from))? {
        let entry = entry.map_err(Failure::io("read", from))?;
        let (path, name) = (entry.path(), entry.file_name());
        let below = under.join(&name);
        if path.is_dir() {
            if name != "__pycache__" {
                plan_folder(plan, &path, &below)?;
            }
        } else {
            plan.insert(below, path);
        }
    }
    Ok(())
}

/// Makes `to` hold exactly the planned files; returns how many changed.
pub(crate) fn apply(plan: &Plan, to: &Path) -> Outcome<usize> {
    let mut changed = remove_others(plan, to, Path::new(""))?;
    for (below, from) in plan {
        changed += usize::from(copy_if_changed(from, &to.join(below))?);
    }
    Ok(changed)
}

/// Copies bytes and mode unless they are the same already; true when it wrote.
pub(crate) fn copy_if_changed(from: &Path, to: &Path) -> Outcome<bool> {
    let bytes = fs::read(from).map_err(Failure::io("read", from))?;
    let mode = fs::metadata(from)
        .map_err(Failure::io("read", from))?
        .permissions();
    let same_mode = fs::metadata(to).is_ok_and(|there| there.permissions() == mode);
    if same_mode && fs::read(to).is_ok_and(|there| there == bytes) {
        return Ok(false);
    }
    let folder = to.parent().unwrap_or(Path::new("."));
    fs::create_dir_all(folder).map_err(Failure::io("make", folder))?;
    let mut partial = to.as_os_str().to_owned();
    partial.push(format!(".partial-{}", std::process::id()));
    let partial = PathBuf::from(partial);
    fs::write(&partial, bytes).map_err(Failure::io("write", &partial))?;
    fs::set_permissions(&partial, mode).map_err(Failure::io("write", &partial))?;
    // Dying before this line leaves the old file whole and a partial one that the next run removes.
    fs::rename(&partial, to).map_err(Failure::io("replace", to))?;
    Ok(true)
}

fn remove_others(plan: &Plan, to: &Path, below: &Path) -> Outcome<usize> {
    let folder = to.join(below);
    if !folder.exists() {
        return Ok(0);
    }
    let mut removed = 0;
    for entry in fs::read_dir(&folder).map_err(Failure::io("read", &folder))? {
        let entry = entry.map_err(Failure::io("read", &folder))?;
        let (path, inside) = (entry.path(), below.join(entry.file_name()));
        if path.is_dir() && plan.keys().any(|kept| kept.starts_with(&inside)) {
            removed += remove_others(plan, to, &inside)?;
        } else if path.is_dir() {
            fs::remove_dir_all(&path).map_err(Failure::io("remove", &path))?;
            removed += 1;
        } else if !plan.contains_key(&inside) {
            fs::remove_file(&path).map_err(Failure::io("remove", &path))?;
            removed += 1;
        }
    }
    Ok(removed)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A folder of this test's own, empty at the start.
    fn scratch(name: &str) -> PathBuf {
        let folder = std::env::temp_dir().join(format!("xtask-{}-{name}", std::process::id()));
        let _ = fs::remove_dir_all(&folder);
        fs::create_dir_all(folder.join("from/sub/__pycache__")).unwrap();
        fs::write(folder.join("from/a.py"), "a").unwrap();
        fs::write(folder.join("from/sub/b.py"), "b").unwrap();
        fs::write(folder.join("from/sub/__pycache__/b.pyc"), "x").unwrap();
        folder
    }

    fn mirror(folder: &Path) -> usize {
        let mut plan = Plan::new();
        plan_folder(&mut plan, &folder.join("from"), Path::new("pkg")).unwrap();
        apply(&plan, &folder.join("to")).unwrap()
    }

    #[test]
    fn a_second_run_changes_nothing_and_a_changed_file_alone_is_written() {
        let folder = scratch("idle");
        assert_eq!(mirror(&folder), 2);
        assert_eq!(mirror(&folder), 0);
        fs::write(folder.join("from/a.py"), "A").unwrap();
        assert_eq!(mirror(&folder), 1);
        assert_eq!(fs::read(folder.join("to/pkg/a.py")).unwrap(), b"A");
        fs::remove_dir_all(folder).unwrap();
    }

    #[test]
    fn what_left_the_source_leaves_the_copy_and_byte_code_never_enters() {
        let folder = scratch("gone");
        mirror(&folder);
        assert!(!folder.join("to/pkg/sub/__pycache__").exists());
        fs::remove_dir_all(folder.join("from/sub")).unwrap();
        fs::write(folder.join("to/pkg/stray.partial-1"), "half").unwrap();
        assert_eq!(mirror(&folder), 2);
        assert!(!folder.join("to/pkg/sub").exists());
        assert!(!folder.join("to/pkg/stray.partial-1").exists());
        fs::remove_dir_all(folder).unwrap();
    }
}
