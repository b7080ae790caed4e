//! The project's code as `git` sees it: commit, what differs, the difference itself.
//!
//! It is the job's code that is looked at, so no program that its repository names is run ([`git`]), and who signed the
//! commit is read out of the very object whose name is recorded.

mod commit;
mod dirt;
mod git;

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;

pub(crate) use commit::files_of;
use domain::entry::{Code, CommitSignature};
use domain::{Gap, PathText};
use host::job::Helpers;
use trust::commit::{self as trusted, Commit};

use crate::people::People;
use git::{Git, Output};

const DIFF_BYTES_MAX: u64 = 8 << 20;

/// The code around `folder`, and what could not be seen of it.
pub(crate) fn examine(
    folder: &Path,
    helpers: &Helpers,
    people: &People,
) -> (Option<Code>, Vec<Gap>) {
    let mut gaps = Vec::new();
    let plain = Git::of(folder, helpers);
    let top = match top(folder, &plain) {
        Ok(top) => top,
        Err(why) => {
            gaps.push(gap("commit of the code", why));
            return (None, gaps);
        }
    };
    let commit = plain.ask(&["rev-parse", "--verify", "HEAD"], 128).ok();
    let commit = commit.map(|output| String::from_utf8_lossy(&output.bytes).trim().to_owned());
    let place = Path::new(OsStr::from_bytes(&top));
    let dirty = dirt::look(place, helpers, &mut gaps);
    let diff = if dirty.is_empty() || commit.is_none() {
        Vec::new()
    } else {
        difference(folder, helpers, &mut gaps)
    };
    let signature = commit
        .as_deref()
        .and_then(|id| signature_of(&plain, id, people, &mut gaps));
    let code = Code {
        top: PathText::from_bytes(&top),
        commit,
        dirty,
        diff: PathText::from_bytes(&diff).as_str().to_owned(),
        signature,
    };
    (Some(code), gaps)
}

fn gap(what: &str, why: impl Into<String>) -> Gap {
    Gap {
        what: what.to_owned(),
        why: why.into(),
    }
}

/// The top of the work tree in which `folder` lies. A repository can say that its work tree is somewhere else.
fn top(folder: &Path, git: &Git<'_>) -> Result<Vec<u8>, String> {
    let top = git.ask(&["rev-parse", "--show-toplevel"], 1 << 16)?.bytes;
    let top = top.strip_suffix(b"\n").unwrap_or(&top);
    let at = |path: &Path| path.canonicalize().map_err(|why| why.to_string());
    if !at(folder)?.starts_with(at(Path::new(OsStr::from_bytes(top)))?) {
        return Err("the repository names a work tree elsewhere".to_owned());
    }
    Ok(top.to_vec())
}

fn difference(folder: &Path, helpers: &Helpers, gaps: &mut Vec<Gap>) -> Vec<u8> {
    let words = [
        "diff",
        "--no-ext-diff",
        "--no-textconv",
        "--submodule=short",
        "--ignore-submodules=dirty",
        "--binary",
        "HEAD",
    ];
    let output =
        Git::without_filters(folder, helpers).and_then(|git| git.ask(&words, DIFF_BYTES_MAX));
    taken(output, "difference to the commit", DIFF_BYTES_MAX, gaps)
}

/// What git printed; what is missing of it becomes a gap.
fn taken(output: Result<Output, String>, what: &str, limit: u64, gaps: &mut Vec<Gap>) -> Vec<u8> {
    let (bytes, why) = match output {
        Ok(Output { bytes, cut }) => (
            bytes,
            cut.then(|| format!("longer than {limit} bytes: cut there")),
        ),
        Err(why) => (Vec::new(), Some(why)),
    };
    gaps.extend(why.map(|why| gap(what, why)));
    bytes
}

/// How the commit of this name is signed; `None` with a gap where its whole object cannot be had.
fn signature_of(
    git: &Git<'_>,
    id: &str,
    people: &People,
    gaps: &mut Vec<Gap>,
) -> Option<CommitSignature> {
    let limit = trusted::MAX_COMMIT_BYTES as u64;
    let why = match git.ask(&["cat-file", "commit", id], limit) {
        Ok(Output { cut: true, .. }) => {
            format!("the commit is longer than {limit} bytes: not judged")
        }
        Ok(Output { bytes, .. }) if trusted::is_named(&bytes, id) => {
            return Some(signature(&bytes, people));
        }
        Ok(_) => {
            "what the repository gives for the commit is not the object of that name".to_owned()
        }
        Err(why) => why,
    };
    gaps.push(gap("signature of the commit", why));
    None
}

/// How a commit object is signed. The key is judged at the committer's time, as git does; that time is the committer's
/// own word.
fn signature(object: &[u8], people: &People) -> CommitSignature {
    let commit = Commit::parse(object);
    match commit.signature {
        trusted::CommitSignature::Absent => CommitSignature::Absent,
        trusted::CommitSignature::OpenPgp => CommitSignature::OpenPgp,
        trusted::CommitSignature::X509 => CommitSignature::X509,
        trusted::CommitSignature::Malformed(_) | trusted::CommitSignature::Unknown => {
            CommitSignature::Unreadable
        }
        trusted::CommitSignature::Ssh(signature) => CommitSignature::Ssh {
            key: signature.key().fingerprint(),
            holds: signature.verify(trusted::NAMESPACE, &commit.signed).is_ok(),
            signer: people.signer(signature.key(), trusted::NAMESPACE, commit.committed_at),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::settings::Trust;
    use domain::entry::Signer;
    use std::process::Command;

    #[test]
    fn a_folder_outside_git_is_a_gap_and_not_clean_code() {
        let folder = tempfile::tempdir().unwrap();
        let (code, gaps) = examine(folder.path(), &Helpers::default(), &People::default());
        assert!(code.is_none() && gaps.len() == 1, "{gaps:?}");
    }

    #[test]
    fn commit_and_dirt_are_seen_and_no_program_of_the_repository_runs() {
        let folder = tempfile::tempdir().unwrap();
        let marker = folder.path().join("ran");
        let sh = |line: &str| {
            let done = Command::new("/bin/sh")
                .args(["-c", line])
                .current_dir(folder.path())
                .output()
                .unwrap();
            assert!(done.status.success(), "{line}");
        };
        sh(
            "git init -q . && git config user.email a@b.c && git config user.name n && echo one > a.py && git add a.py && git commit -qm first",
        );
        sh(&format!(
            "git config core.fsmonitor 'touch {0}; false' && git config diff.external 'touch {0}'",
            marker.display()
        ));
        sh("echo two > a.py && echo new > b.py");
        let (code, gaps) = examine(folder.path(), &Helpers::default(), &People::default());
        let code = code.unwrap();
        assert!(gaps.is_empty(), "{gaps:?}");
        assert_eq!(code.commit.map(|commit| commit.len()), Some(40));
        let dirty: Vec<_> = code.dirty.iter().map(PathText::as_str).collect();
        assert_eq!(dirty, ["a.py", "b.py"]);
        assert!(code.diff.contains("+two"));
        assert_eq!(code.signature, Some(CommitSignature::Absent));
        assert!(!marker.exists());
    }

    /// Runs a line in a folder.
    fn sh(folder: &Path, line: &str) {
        let mut shell = Command::new("/bin/sh");
        let done = shell
            .args(["-ec", line])
            .current_dir(folder)
            .output()
            .unwrap();
        assert!(done.status.success(), "{line}: {done:?}");
    }

    const NEW: &str = "git init -q . && git config user.email a@b.c && git config user.name n \
        && echo one > a.py && git add a.py && git commit -qm first";

    fn paths(code: &Code) -> Vec<&str> {
        code.dirty.iter().map(PathText::as_str).collect()
    }

    #[test]
    fn no_filter_of_file_contents_runs_in_the_work_tree_or_in_a_submodule() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        std::fs::create_dir_all(at("work/sub")).unwrap();
        let filter = |name: &str| {
            let marker = at("ran");
            let run = format!("touch {}; cat", marker.display());
            format!(
                "echo '*.py filter={name}' > .git/info/attributes && git config filter.{name}.clean '{run}' \
                && git config filter.{name}.smudge '{run}' && git config filter.{name}.required true \
                && git config filter.{name}.process 'touch {}'",
                marker.display()
            )
        };
        for place in ["work/sub", "work"] {
            sh(&at(place), NEW);
        }
        sh(&at("work"), "git add sub 2>&1 && git commit -qm sub");
        for (place, name) in [("work/sub", "Deep.er"), ("work", "x")] {
            sh(&at(place), &filter(name));
            std::fs::write(at(place).join("a.py"), "two\n").unwrap();
        }
        let (code, gaps) = examine(&at("work"), &Helpers::default(), &People::default());
        let code = code.unwrap();
        assert!(gaps.is_empty(), "{gaps:?}");
        assert_eq!(paths(&code), ["a.py", "sub/a.py"]);
        assert!(code.diff.contains("+two"));
        assert!(!at("ran").exists(), "a filter ran");
        // A name that no switch can hold: nothing that would run it is asked, and that is told.
        sh(&at("work"), &filter("a=b"));
        let (code, gaps) = examine(&at("work"), &Helpers::default(), &People::default());
        assert!(code.unwrap().commit.is_some() && !gaps.is_empty());
        assert!(!at("ran").exists(), "a filter ran");
        // It is the filters that were kept from running, not the fixture that has none.
        sh(&at("work"), "git status --short >&2 || true");
        assert!(at("ran").exists());
    }

    #[test]
    fn what_is_missing_is_not_fetched() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        std::fs::create_dir(at("source")).unwrap();
        sh(&at("source"), NEW);
        sh(
            folder.path(),
            &format!(
                "git -C source config uploadpack.allowFilter true && git clone -q --filter=blob:none file://$PWD/source work \
                && rm -f work/.git/objects/pack/* && git -C work config remote.origin.uploadpack 'touch {}; false' \
                && git -C work config protocol.file.allow always && echo two > work/a.py",
                at("ran").display()
            ),
        );
        let (_, gaps) = examine(&at("work"), &Helpers::default(), &People::default());
        assert!(!gaps.is_empty());
        assert!(!at("ran").exists(), "it was fetched");
        sh(&at("work"), "git diff HEAD >&2 || true");
        assert!(at("ran").exists(), "the fixture fetches where it may");
    }

    #[test]
    fn what_git_is_told_not_to_look_at_is_a_gap() {
        let folder = tempfile::tempdir().unwrap();
        sh(folder.path(), NEW);
        sh(
            folder.path(),
            "echo s > s.py && git add s.py && git commit -qm s && git config status.showUntrackedFiles no \
            && git update-index --assume-unchanged a.py && git update-index --skip-worktree s.py \
            && echo two > a.py && echo two > s.py && echo new > b.py",
        );
        let (code, gaps) = examine(folder.path(), &Helpers::default(), &People::default());
        assert_eq!(paths(&code.unwrap()), ["b.py"]);
        assert!(
            gaps.len() == 1 && gaps[0].why.starts_with("2 files"),
            "{gaps:?}"
        );
        // A work tree elsewhere is not this code.
        let other = tempfile::tempdir().unwrap();
        let line = format!("git config core.worktree {}", other.path().display());
        sh(folder.path(), &line);
        let (code, gaps) = examine(folder.path(), &Helpers::default(), &People::default());
        assert!(code.is_none() && gaps.len() == 1, "{gaps:?}");
    }

    #[test]
    fn a_signature_cannot_be_borrowed_from_another_commit() {
        let folder = tempfile::tempdir().unwrap();
        sh(
            folder.path(),
            "ssh-keygen -q -N '' -t ed25519 -f key -C ada && mkdir work && cd work && git init -q . \
            && git config user.email a@b.c && git config user.name n && git config gpg.format ssh \
            && git config user.signingkey ../key.pub && echo good > a.py && git add a.py && git commit -qS -m signed \
            && git tag good && echo evil > a.py && git commit -qam evil && git replace HEAD good \
            && git replace HEAD^{tree} good^{tree}",
        );
        let work = folder.path().join("work");
        let seen = || examine(&work, &Helpers::default(), &People::default());
        let (code, gaps) = seen();
        assert_eq!(code.unwrap().signature, Some(CommitSignature::Absent));
        assert!(gaps.is_empty(), "{gaps:?}");
        // Nor by an object under a name that is not its own.
        sh(
            &work,
            "git replace -d HEAD && f() { echo .git/objects/$(git rev-parse $1 | sed 's/^../&\\//'); } \
            && cp -f $(f good) $(f HEAD)",
        );
        let (code, gaps) = seen();
        assert_eq!(code.unwrap().signature, None);
        assert!(
            gaps.iter().any(|gap| gap.why.contains("of that name")),
            "{gaps:?}"
        );
    }

    #[test]
    fn a_commit_that_is_too_long_or_has_no_time_is_not_judged_as_another() {
        let folder = tempfile::tempdir().unwrap();
        sh(
            folder.path(),
            "ssh-keygen -q -N '' -t ed25519 -f key -C ada && mkdir work && cd work && git init -q . \
            && git config user.email a@b.c && git config user.name n && echo one > a.py && git add a.py && git commit -qm m \
            && git cat-file commit HEAD | sed 's/^committer .*/committer nobody/' > ../plain \
            && ssh-keygen -q -Y sign -f ../key -n git ../plain \
            && { sed '/^$/,$d' ../plain; printf gpgsig; sed 's/^/ /' ../plain.sig; sed -n '/^$/,$p' ../plain; } > ../object \
            && git update-ref HEAD $(git hash-object -t commit -w --literally ../object)",
        );
        let work = folder.path().join("work");
        let allowed = folder.path().join("allowed");
        let key = std::fs::read_to_string(folder.path().join("key.pub")).unwrap();
        std::fs::write(&allowed, format!("ada valid-before=\"20200101Z\" {key}")).unwrap();
        let people = People::load(&Trust {
            allowed_signers: Some(allowed),
            ..Trust::default()
        });
        let people = people.unwrap();
        let (code, _) = examine(&work, &Helpers::default(), &people);
        match code.unwrap().signature.unwrap() {
            CommitSignature::Ssh { holds, signer, .. } => {
                assert_eq!((holds, signer), (true, Signer::Open));
            }
            other => panic!("{other:?}"),
        }
        sh(
            &work,
            "{ cat ../object; head -c 2000000 /dev/zero | tr '\\0' x; } > ../long \
            && git update-ref HEAD $(git hash-object -t commit -w --literally ../long)",
        );
        let (code, gaps) = examine(&work, &Helpers::default(), &people);
        assert_eq!(code.unwrap().signature, None);
        assert!(
            gaps.iter().any(|gap| gap.why.contains("not judged")),
            "{gaps:?}"
        );
    }

    #[test]
    fn who_signed_a_commit_is_seen_whatever_the_repository_says_of_itself() {
        let folder = tempfile::tempdir().unwrap();
        let sh = |line: &str| {
            let done = Command::new("/bin/sh")
                .args(["-ec", line])
                .current_dir(folder.path())
                .output()
                .unwrap();
            assert!(done.status.success(), "{line}: {done:?}");
        };
        sh(
            "ssh-keygen -q -N '' -t ed25519 -f key -C ada && mkdir work && cd work && git init -q . \
            && git config user.email a@b.c && git config user.name n && git config gpg.format ssh \
            && git config user.signingkey ../key.pub && echo one > a.py && git add a.py && git commit -qS -m signed \
            && git config gpg.ssh.program /bin/false && git config gpg.ssh.allowedSignersFile /dev/null",
        );
        let work = folder.path().join("work");
        let list = |line: String| {
            let path = folder.path().join("allowed");
            std::fs::write(&path, line).unwrap();
            People::load(&Trust {
                allowed_signers: Some(path),
                ..Trust::default()
            })
            .unwrap()
        };
        let seen = |people: &People| {
            let (code, gaps) = examine(&work, &Helpers::default(), people);
            assert!(gaps.is_empty(), "{gaps:?}");
            match code.unwrap().signature.unwrap() {
                CommitSignature::Ssh { holds, signer, .. } => (holds, signer),
                other => panic!("{other:?}"),
            }
        };
        let key = std::fs::read_to_string(folder.path().join("key.pub")).unwrap();
        let principals = "ada@example.org".to_owned();
        let allowed = list(format!("ada@example.org namespaces=\"git\" {key}"));
        assert_eq!(seen(&allowed), (true, Signer::Allowed { principals }));
        assert_eq!(seen(&People::default()), (true, Signer::NotAsked));
        assert_eq!(
            seen(&list("# nobody\n".to_owned())),
            (true, Signer::Unknown)
        );
        let expired = list(format!("ada valid-before=\"20200101Z\" {key}"));
        assert_eq!(seen(&expired), (true, Signer::Expired));
        // The same signature under other words.
        sh(
            "cd work && git cat-file commit HEAD | sed s/signed/forged/ > ../forged \
            && git update-ref HEAD $(git hash-object -t commit -w ../forged)",
        );
        assert!(!seen(&allowed).0, "forged");
    }
}
