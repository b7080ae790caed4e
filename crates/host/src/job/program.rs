//! From what the user typed to what the kernel executes: the file, the arguments, the environment.

use std::collections::HashMap;
use std::ffi::{CString, OsStr, OsString};
use std::io;
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
use std::path::{Path, PathBuf};

use rustix::fs::{Access, AtFlags, CWD, accessat};

use super::StartError;
use crate::sys::Program;

/// Where `execvp` looks when there is no PATH.
const DEFAULT_PATH: &str = "/bin:/usr/bin";

/// Finds the program and lays out what it is given.
pub(super) fn resolve(
    argv: &[OsString],
    changes: &[(OsString, Option<OsString>)],
) -> Result<(Program, PathBuf), StartError> {
    let name = argv.first().filter(|name| !name.is_empty());
    let name = name.ok_or(StartError::Empty)?;
    let variables = changed(std::env::vars_os(), changes)?;
    let path = find(name, search_path(&variables))?;
    let program = Program {
        path: passable(path.as_os_str().to_owned())?,
        arguments: argv
            .iter()
            .cloned()
            .map(passable)
            .collect::<Result<_, _>>()?,
        environment: variables.into_iter().map(entry).collect::<Result<_, _>>()?,
    };
    Ok((program, path))
}

/// Our own environment in its order, with changed variables in place and new ones at the end.
fn changed(
    own: impl Iterator<Item = (OsString, OsString)>,
    changes: &[(OsString, Option<OsString>)],
) -> Result<Vec<(OsString, OsString)>, StartError> {
    for (name, _) in changes {
        if name.is_empty() || name.as_bytes().contains(&b'=') {
            let text = name.clone();
            return Err(StartError::NotPassable { text });
        }
    }
    // The last change of a name counts.
    let by_name: HashMap<&OsString, &Option<OsString>> =
        changes.iter().map(|(name, value)| (name, value)).collect();
    let mut result: Vec<(OsString, OsString)> = own
        .filter(|(name, _)| !by_name.contains_key(name))
        .collect();
    let mut added: Vec<(OsString, OsString)> = by_name
        .into_iter()
        .filter_map(|(name, value)| Some((name.clone(), value.clone()?)))
        .collect();
    added.sort();
    result.extend(added);
    Ok(result)
}

fn search_path(variables: &[(OsString, OsString)]) -> &OsStr {
    let path = variables.iter().find(|(name, _)| name == "PATH");
    path.map_or(OsStr::new(DEFAULT_PATH), |(_, value)| value)
}

fn find(name: &OsStr, search: &OsStr) -> Result<PathBuf, StartError> {
    if name.as_bytes().contains(&b'/') {
        let path = PathBuf::from(name);
        return match executable(&path) {
            Ok(()) => Ok(path),
            Err(cause) if is_absent(&cause) => Err(StartError::NotFound {
                name: name.to_owned(),
            }),
            Err(cause) => Err(StartError::NotExecutable { path, cause }),
        };
    }
    // As execvp: a match that may not be executed is passed over, and only told when nothing else is found. Unlike it, a
    // folder that we may not look into is no match: nobody can say that the program is there.
    let mut refused = None;
    for folder in std::env::split_paths(search) {
        let path = if folder.as_os_str().is_empty() {
            Path::new(".").join(name)
        } else {
            folder.join(name)
        };
        if std::fs::metadata(&path).is_err() {
            continue;
        }
        match executable(&path) {
            Ok(()) => return Ok(path),
            Err(cause) => {
                refused.get_or_insert((path, cause));
            }
        }
    }
    Err(match refused {
        Some((path, cause)) => StartError::NotExecutable { path, cause },
        None => StartError::NotFound {
            name: name.to_owned(),
        },
    })
}

fn is_absent(cause: &io::Error) -> bool {
    matches!(
        cause.raw_os_error(),
        Some(libc::ENOENT | libc::ENOTDIR | libc::ENAMETOOLONG)
    )
}

fn executable(path: &Path) -> io::Result<()> {
    if std::fs::metadata(path)?.is_dir() {
        return Err(io::Error::from_raw_os_error(libc::EISDIR));
    }
    accessat(CWD, path, Access::EXEC_OK, AtFlags::EACCESS)?;
    Ok(())
}

fn entry((name, value): (OsString, OsString)) -> Result<CString, StartError> {
    let mut text = name;
    text.push("=");
    text.push(value);
    passable(text)
}

fn passable(text: OsString) -> Result<CString, StartError> {
    CString::new(text.into_vec()).map_err(|error| StartError::NotPassable {
        text: OsString::from_vec(error.into_vec()),
    })
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    fn file(folder: &Path, name: &str, mode: u32) -> PathBuf {
        let path = folder.join(name);
        std::fs::write(&path, "#!/bin/sh\n").unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
        path
    }

    #[test]
    fn a_file_without_permission_does_not_hide_a_later_one() {
        let (first, second) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let refused = file(first.path(), "tool", 0o644);
        let search = std::env::join_paths([first.path(), second.path()]).unwrap();
        let found = find(OsStr::new("tool"), &search);
        assert!(matches!(found, Err(StartError::NotExecutable { path, .. }) if path == refused));
        let good = file(second.path(), "tool", 0o755);
        assert_eq!(find(OsStr::new("tool"), &search).unwrap(), good);
    }

    #[test]
    fn what_is_nowhere_is_not_found_and_a_folder_cannot_be_executed() {
        let folder = tempfile::tempdir().unwrap();
        let search = folder.path().as_os_str();
        assert!(matches!(
            find(OsStr::new("no-such-tool"), search),
            Err(StartError::NotFound { name }) if name == "no-such-tool"
        ));
        std::os::unix::fs::symlink("loop", folder.path().join("loop")).unwrap();
        assert!(matches!(
            find(OsStr::new("loop"), search),
            Err(StartError::NotFound { .. })
        ));
        assert!(matches!(
            find(search, OsStr::new("")),
            Err(StartError::NotExecutable { .. })
        ));
        assert!(matches!(
            find(OsStr::new("./no/such/tool"), search),
            Err(StartError::NotFound { .. })
        ));
    }

    #[test]
    fn variables_are_changed_added_and_taken_away() {
        let pair = |name: &str, value: &str| (OsString::from(name), OsString::from(value));
        let own = [pair("A", "1"), pair("B", "2"), pair("C", "3")];
        let changes = [
            ("B".into(), None),
            ("A".into(), Some("x".into())),
            ("D".into(), Some("first".into())),
            ("D".into(), Some("last".into())),
        ];
        let result = changed(own.into_iter(), &changes).unwrap();
        assert_eq!(result, [pair("C", "3"), pair("A", "x"), pair("D", "last")]);
    }

    #[test]
    fn a_variable_that_would_become_another_one_is_refused() {
        for name in ["", "A=B"] {
            let changes = [(name.into(), Some("x".into()))];
            assert!(matches!(
                changed(std::iter::empty(), &changes),
                Err(StartError::NotPassable { .. })
            ));
        }
        assert!(matches!(
            passable("a\0b".into()),
            Err(StartError::NotPassable { text }) if text == "a\0b"
        ));
    }
}
