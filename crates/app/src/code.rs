//! The project's code as `git` sees it: commit, what differs, the difference itself.
//!
//! A repository can name programs in its own configuration (file-system monitor, external diff, text conversion, hooks).
//! It is the job's code that is looked at, so none of them is allowed to run.

use std::io::Read as _;
use std::path::Path;
use std::process::{Command, Stdio};

use domain::entry::{Code, CommitSignature};
use domain::{Gap, PathText};
use host::job::Helpers;
use trust::commit::{self, Commit};

use crate::people::People;

const DIFF_BYTES_MAX: u64 = 8 << 20;
const LIST_BYTES_MAX: u64 = 1 << 20;

/// The code around `folder`, and what could not be seen of it.
pub(crate) fn examine(
    folder: &Path,
    helpers: &Helpers,
    people: &People,
) -> (Option<Code>, Vec<Gap>) {
    let mut gaps = Vec::new();
    let top = match git(folder, helpers, &["rev-parse", "--show-toplevel"], 1 << 16) {
        Ok(output) => output,
        Err(why) => {
            gaps.push(Gap {
                what: "commit of the code".to_owned(),
                why,
            });
            return (None, gaps);
        }
    };
    let top = top.bytes.strip_suffix(b"\n").unwrap_or(&top.bytes).to_vec();
    let commit = git(folder, helpers, &["rev-parse", "--verify", "HEAD"], 128).ok();
    let commit = commit.map(|output| String::from_utf8_lossy(&output.bytes).trim().to_owned());
    let mut take = |what: &str, arguments: &[&str], limit| {
        let output = git(folder, helpers, arguments, limit);
        taken(output, what, limit, &mut gaps)
    };
    let status = take(
        "list of changed files",
        &["status", "--porcelain=v1", "-z", "--no-renames"],
        LIST_BYTES_MAX,
    );
    let dirty: Vec<_> = status
        .split(|byte| *byte == 0)
        .filter_map(|line| line.get(3..))
        .map(PathText::from_bytes)
        .collect();
    let diff = if dirty.is_empty() || commit.is_none() {
        Vec::new()
    } else {
        take(
            "difference to the commit",
            &["diff", "--no-ext-diff", "--no-textconv", "--binary", "HEAD"],
            DIFF_BYTES_MAX,
        )
    };
    let signature = commit.as_deref().and_then(|id| {
        let object = take(
            "signature of the commit",
            &["cat-file", "commit", id],
            commit::MAX_COMMIT_BYTES as u64,
        );
        (!object.is_empty()).then(|| signature(&object, people))
    });
    let code = Code {
        top: PathText::from_bytes(&top),
        commit,
        dirty,
        diff: PathText::from_bytes(&diff).as_str().to_owned(),
        signature,
    };
    (Some(code), gaps)
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
    gaps.extend(why.map(|why| Gap {
        what: what.to_owned(),
        why,
    }));
    bytes
}

/// How a commit object is signed. The key is judged at the committer's time, as git does; that time is the committer's
/// own word.
fn signature(object: &[u8], people: &People) -> CommitSignature {
    let commit = Commit::parse(object);
    match commit.signature {
        commit::CommitSignature::Absent => CommitSignature::Absent,
        commit::CommitSignature::OpenPgp => CommitSignature::OpenPgp,
        commit::CommitSignature::X509 => CommitSignature::X509,
        commit::CommitSignature::Malformed(_) | commit::CommitSignature::Unknown => {
            CommitSignature::Unreadable
        }
        commit::CommitSignature::Ssh(signature) => {
            let at = commit.committed_at.unwrap_or_default();
            CommitSignature::Ssh {
                key: signature.key().fingerprint(),
                holds: signature.verify(commit::NAMESPACE, &commit.signed).is_ok(),
                signer: people.signer(signature.key(), commit::NAMESPACE, at),
            }
        }
    }
}

struct Output {
    bytes: Vec<u8>,
    cut: bool,
}

/// Runs git. Its exit code comes in band, behind a NUL at the end of the output: the host's event loop reaps every child of
/// this process and may well be faster than we are.
fn git(folder: &Path, helpers: &Helpers, arguments: &[&str], limit: u64) -> Result<Output, String> {
    let mut child = Command::new("/bin/sh")
        .args(["-c", "\"$@\"; printf '\\0%d' $?", "sh", "git", "-C"])
        .arg(folder)
        .args([
            "-c",
            "core.fsmonitor=false",
            "-c",
            "core.hooksPath=/dev/null",
            "-c",
            "core.pager=cat",
        ])
        .args(arguments)
        .env("GIT_OPTIONAL_LOCKS", "0")
        .env_remove("GIT_EXTERNAL_DIFF")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .map_err(|error| format!("git cannot be started: {error}"))?;
    helpers.add(child.id());
    let mut bytes = Vec::new();
    if let Some(stdout) = child.stdout.take() {
        let mut stdout = stdout.take(limit + 8);
        stdout
            .read_to_end(&mut bytes)
            .map_err(|error| format!("git cannot be read: {error}"))?;
    }
    let _ = child.wait();
    helpers.remove(child.id());
    let length = usize::try_from(limit).unwrap_or(usize::MAX);
    if bytes.len() > length {
        bytes.truncate(length);
        return Ok(Output { bytes, cut: true });
    }
    let end = bytes.iter().rposition(|byte| *byte == 0);
    let code = end.and_then(|end| bytes.get(end + 1..)).map(<[u8]>::to_vec);
    bytes.truncate(end.unwrap_or(0));
    match code.as_deref() {
        Some(b"0") => Ok(Output { bytes, cut: false }),
        Some(b"127") => Err("git is not installed".to_owned()),
        _ => Err("not in a git work tree that this user may read".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::settings::Trust;
    use domain::entry::Signer;

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
