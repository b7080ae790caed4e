//! From the paths that were named to every file below them, in one order, each told exactly once.
//!
//! Hidden files count, names need not be text, and a symbolic link that is found is not followed: who may write a link
//! could lead the scan anywhere. A link into what is scanned anyway is told as such; any other is a gap, since a loader
//! would follow it. Folders are read when their turn comes, so that millions of files need no memory.

use std::ffi::OsString;
use std::fs::FileType;
use std::os::unix::fs::FileTypeExt as _;
use std::path::{Path, PathBuf};
use std::vec::IntoIter;

use domain::scan::GapKind;

/// Folders within folders.
const DEPTH: usize = 256;

/// Something that was met.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Met {
    /// As it was named or found.
    pub(super) path: PathBuf,
    /// It was named and not found in a folder.
    pub(super) named: bool,
    /// What to do with it.
    pub(super) kind: MetKind,
}

/// What to do with what was met.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum MetKind {
    /// Examine it.
    File,
    /// Standard input.
    Stdin,
    /// A symbolic link to something that is examined under its own name.
    Link,
    /// It cannot be examined.
    Gap(GapKind, String),
}

/// The walk; an iterator over all that is met.
pub(super) struct Walk {
    named: IntoIter<PathBuf>,
    roots: Vec<PathBuf>,
    folders: Vec<Folder>,
}

struct Folder {
    path: PathBuf,
    entries: IntoIter<(OsString, Option<FileType>)>,
}

impl Walk {
    /// Over these paths and what is below them. `-` is standard input.
    pub(super) fn new(paths: Vec<PathBuf>) -> Self {
        let roots = paths.iter().filter_map(|path| path.canonicalize().ok());
        let roots = roots.collect();
        Self {
            roots,
            named: paths.into_iter(),
            folders: Vec::new(),
        }
    }

    fn named(&mut self, path: PathBuf) -> Option<Met> {
        let met = |path, kind| {
            Some(Met {
                path,
                named: true,
                kind,
            })
        };
        if path.as_os_str() == "-" {
            return met(path, MetKind::Stdin);
        }
        match std::fs::metadata(&path) {
            Ok(known) if known.is_dir() => self.enter(path, true),
            // Whatever else it is, opening it says so.
            Ok(_) => met(path, MetKind::File),
            Err(error) => {
                let what = format!("it cannot be read: {error}");
                met(path, MetKind::Gap(GapKind::Unreadable, what))
            }
        }
    }

    fn enter(&mut self, path: PathBuf, named: bool) -> Option<Met> {
        let gap = |path, kind, what| {
            Some(Met {
                path,
                named,
                kind: MetKind::Gap(kind, what),
            })
        };
        if self.folders.len() >= DEPTH {
            let what = format!("more than {DEPTH} folders deep");
            return gap(path, GapKind::TooDeep, what);
        }
        let read = std::fs::read_dir(&path).and_then(|entries| {
            let entries = entries.map(|entry| {
                let entry = entry?;
                Ok((entry.file_name(), entry.file_type().ok()))
            });
            entries.collect::<std::io::Result<Vec<_>>>()
        });
        match read {
            Ok(mut entries) => {
                entries.sort_unstable_by(|left, right| left.0.cmp(&right.0));
                let entries = entries.into_iter();
                self.folders.push(Folder { path, entries });
                None
            }
            Err(error) => {
                let what = format!("the folder cannot be read: {error}");
                gap(path, GapKind::Unreadable, what)
            }
        }
    }

    fn found(&mut self, path: PathBuf, file_type: Option<FileType>) -> Option<Met> {
        let kind = match file_type {
            Some(found) if found.is_dir() => return self.enter(path, false),
            Some(found) if found.is_symlink() => self.link(&path),
            Some(found) if found.is_file() => MetKind::File,
            Some(found) => {
                let what = format!("it is {}, which is not opened", special(found));
                MetKind::Gap(GapKind::NotAFile, what)
            }
            None => MetKind::Gap(
                GapKind::Changed,
                "it was gone before it was looked at".to_owned(),
            ),
        };
        Some(Met {
            path,
            named: false,
            kind,
        })
    }

    fn link(&self, path: &Path) -> MetKind {
        let target = match path.canonicalize() {
            Ok(target) => target,
            Err(error) => {
                let what = format!("it is a symbolic link whose target cannot be found: {error}");
                return MetKind::Gap(GapKind::NotAFile, what);
            }
        };
        if self.roots.iter().any(|root| target.starts_with(root)) {
            return MetKind::Link;
        }
        let what = format!(
            "it is a symbolic link out of what is scanned, and not followed: name {} too",
            target.display()
        );
        MetKind::Gap(GapKind::NotAFile, what)
    }
}

impl Iterator for Walk {
    type Item = Met;

    fn next(&mut self) -> Option<Met> {
        loop {
            let met = if let Some(folder) = self.folders.last_mut() {
                if let Some((name, file_type)) = folder.entries.next() {
                    let path = folder.path.join(name);
                    self.found(path, file_type)
                } else {
                    self.folders.pop();
                    None
                }
            } else {
                let path = self.named.next()?;
                self.named(path)
            };
            if met.is_some() {
                return met;
            }
        }
    }
}

fn special(file_type: FileType) -> &'static str {
    if file_type.is_fifo() {
        "a named pipe"
    } else if file_type.is_socket() {
        "a socket"
    } else if file_type.is_char_device() {
        "a character device"
    } else if file_type.is_block_device() {
        "a block device"
    } else {
        "not a regular file"
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::ffi::OsStringExt as _;
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn every_entry_is_met_once_in_one_order_and_no_link_is_followed() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        std::fs::create_dir_all(at("b/.hidden")).unwrap();
        std::fs::write(at("b/.hidden/x"), b"x").unwrap();
        std::fs::write(at("a"), b"x").unwrap();
        let odd = folder.path().join(OsString::from_vec(b"\xff\n".to_vec()));
        std::fs::write(&odd, b"x").unwrap();
        symlink("..", at("b/up")).unwrap();
        symlink("nowhere", at("dangling")).unwrap();
        symlink("/", at("out")).unwrap();
        let met: Vec<Met> = Walk::new(vec![folder.path().to_owned()]).collect();
        let paths: Vec<_> = met.iter().map(|met| met.path.clone()).collect();
        let expected = [
            at("a"),
            at("b/.hidden/x"),
            at("b/up"),
            at("dangling"),
            at("out"),
            odd,
        ];
        assert_eq!(paths, expected);
        assert_eq!(met[1].kind, MetKind::File);
        assert_eq!(met[2].kind, MetKind::Link);
        let gap = |kind: &MetKind| matches!(kind, MetKind::Gap(GapKind::NotAFile, _));
        assert!(gap(&met[3].kind) && gap(&met[4].kind));
    }

    #[test]
    fn a_path_that_is_not_there_is_told_and_the_others_are_walked() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("a"), b"x").unwrap();
        let named = vec![folder.path().join("no"), folder.path().to_owned()];
        let met: Vec<Met> = Walk::new(named).collect();
        assert_eq!(met.len(), 2);
        assert!(met[0].named && matches!(met[0].kind, MetKind::Gap(GapKind::Unreadable, _)));
        assert!(!met[1].named && met[1].kind == MetKind::File);
    }

    #[test]
    fn folders_without_end_are_cut_and_told() {
        let folder = tempfile::tempdir().unwrap();
        let deep = folder.path().join("d/".repeat(DEPTH + 3));
        std::fs::create_dir_all(deep).unwrap();
        let met: Vec<Met> = Walk::new(vec![folder.path().to_owned()]).collect();
        assert_eq!(met.len(), 1);
        assert!(matches!(met[0].kind, MetKind::Gap(GapKind::TooDeep, _)));
    }
}
