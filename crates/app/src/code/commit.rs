//! The files of a commit, each object held against its own name: nothing that somebody put into the repository in its place is taken.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

use host::job::Helpers;
use trust::commit::is_object;

use super::git::{Git, Output};

/// Bytes of one object, and of all files together; files; folders within each other.
const OBJECT_BYTES_MAX: u64 = 32 << 20;
const BYTES_MAX: usize = 256 << 20;
const FILES_MAX: usize = 20_000;
const DEPTH_MAX: usize = 64;

/// The files of `commit` in the repository at `top`, by their names.
pub(crate) fn files_of(top: &Path, commit: &str) -> Result<Vec<(PathBuf, Vec<u8>)>, String> {
    let helpers = Helpers::default();
    let git = Git::of(top, &helpers);
    if commit.starts_with('-') {
        return Err("it is no name of a commit".to_owned());
    }
    let words = [
        "rev-parse",
        "--verify",
        "--end-of-options",
        &format!("{commit}^{{commit}}"),
    ];
    let id = git
        .ask(&words, 128)
        .map_err(|_| "the repository has no such commit".to_owned())?;
    let id = String::from_utf8_lossy(&id.bytes).trim().to_owned();
    let mut walk = Walk {
        git,
        top,
        files: Vec::new(),
        bytes: 0,
    };
    let object = walk.object("commit", &id)?;
    let text = String::from_utf8_lossy(&object);
    let tree = text
        .lines()
        .next()
        .and_then(|line| line.strip_prefix("tree "));
    let tree = tree.ok_or("it names no tree")?.to_owned();
    walk.tree(&tree, Path::new(""), 0)?;
    Ok(walk.files)
}

struct Walk<'a> {
    git: Git<'a>,
    top: &'a Path,
    files: Vec<(PathBuf, Vec<u8>)>,
    bytes: usize,
}

impl Walk<'_> {
    fn object(&self, kind: &str, id: &str) -> Result<Vec<u8>, String> {
        let Output { bytes, cut } = self.git.ask(&["cat-file", kind, id], OBJECT_BYTES_MAX)?;
        if cut {
            return Err(format!(
                "object {id} is longer than {OBJECT_BYTES_MAX} bytes"
            ));
        }
        if !is_object(kind, &bytes, id) {
            return Err(format!(
                "what the repository gives for {id} is not the object of that name"
            ));
        }
        Ok(bytes)
    }

    /// The file of the work tree, if it is the object of this name.
    fn standing(&self, path: &Path, id: &str) -> Option<Vec<u8>> {
        let file = self.top.join(path);
        let there = std::fs::symlink_metadata(&file).ok()?;
        if !there.is_file() || there.len() > OBJECT_BYTES_MAX {
            return None;
        }
        let bytes = std::fs::read(&file).ok()?;
        is_object("blob", &bytes, id).then_some(bytes)
    }

    fn tree(&mut self, id: &str, folder: &Path, depth: usize) -> Result<(), String> {
        if depth > DEPTH_MAX {
            return Err(format!("its folders are deeper than {DEPTH_MAX}"));
        }
        let object = self.object("tree", id)?;
        let length = id.len() / 2;
        let mut rest = object.as_slice();
        while !rest.is_empty() {
            let entry = Entry::read(&mut rest, length).ok_or("a tree of it cannot be read")?;
            let name = OsStr::from_bytes(entry.name);
            if entry.name.contains(&b'/') || name == ".." || name == "." || name == ".git" {
                return Err("a tree of it has a name that is none".to_owned());
            }
            let path = folder.join(name);
            match entry.mode {
                b"40000" => self.tree(&entry.id, &path, depth + 1)?,
                // A link could lead out of the replay's folders, and a submodule is another repository.
                b"120000" | b"160000" => {}
                _ => {
                    // Most files stand there as they were committed: then git need not be asked.
                    let bytes = self.standing(&path, &entry.id);
                    let bytes = bytes.map_or_else(|| self.object("blob", &entry.id), Ok)?;
                    self.bytes = self.bytes.saturating_add(bytes.len());
                    self.files.push((path, bytes));
                }
            }
            if self.files.len() > FILES_MAX || self.bytes > BYTES_MAX {
                return Err(format!(
                    "it has more than {FILES_MAX} files or {BYTES_MAX} bytes"
                ));
            }
        }
        Ok(())
    }
}

struct Entry<'a> {
    mode: &'a [u8],
    name: &'a [u8],
    id: String,
}

impl<'a> Entry<'a> {
    fn read(rest: &mut &'a [u8], length: usize) -> Option<Self> {
        let space = rest.iter().position(|byte| *byte == b' ')?;
        let end = rest.iter().position(|byte| *byte == 0)?;
        let (mode, name) = (rest.get(..space)?, rest.get(space + 1..end)?);
        let id = rest.get(end + 1..end + 1 + length)?;
        *rest = rest.get(end + 1 + length..)?;
        let digits = id.iter().flat_map(|byte| [byte >> 4, byte & 15]);
        let id = digits
            .filter_map(|digit| char::from_digit(u32::from(digit), 16))
            .collect();
        (!name.is_empty()).then_some(Self { mode, name, id })
    }
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;

    fn sh(folder: &Path, line: &str) {
        let done = Command::new("/bin/sh")
            .args(["-ec", line])
            .current_dir(folder)
            .output()
            .unwrap();
        assert!(done.status.success(), "{line}: {done:?}");
    }

    #[test]
    fn files_are_those_of_the_commit_and_links_are_left_out() {
        let folder = tempfile::tempdir().unwrap();
        sh(
            folder.path(),
            "git init -q . && git config user.email a@b.c && git config user.name n && mkdir -p src/deep && echo one > a.py \
            && echo two > src/deep/b.py && ln -s /etc/passwd out && git add -A && git commit -qm first && echo other > a.py && git commit -qam second",
        );
        let found = files_of(folder.path(), "HEAD~1").unwrap();
        let names: Vec<_> = found
            .iter()
            .map(|(name, bytes)| (name.to_str().unwrap(), bytes.as_slice()))
            .collect();
        assert_eq!(
            names,
            [("a.py", &b"one\n"[..]), ("src/deep/b.py", b"two\n")]
        );
        assert!(
            files_of(folder.path(), "nothing")
                .unwrap_err()
                .contains("no such commit")
        );
        assert!(files_of(folder.path(), "--help").is_err());
    }

    #[test]
    fn an_object_that_was_put_in_the_place_of_another_is_not_taken() {
        let folder = tempfile::tempdir().unwrap();
        sh(
            folder.path(),
            "git init -q . && git config user.email a@b.c && git config user.name n && echo one > a.py && git add -A && git commit -qm first \
            && good=$(git rev-parse HEAD:a.py) && bad=$(echo two | git hash-object -w --stdin) \
            && place() { echo .git/objects/$(echo $1 | cut -c1-2)/$(echo $1 | cut -c3-); } && chmod u+w $(place $good) && cp $(place $bad) $(place $good)",
        );
        // What stands there as it was committed is taken; the repository's own object is not.
        assert_eq!(files_of(folder.path(), "HEAD").unwrap().len(), 1);
        sh(folder.path(), "rm a.py");
        assert!(files_of(folder.path(), "HEAD").is_err());
    }
}
