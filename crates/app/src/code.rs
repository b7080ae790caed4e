//! The project's code as `git` sees it: commit, what differs, the difference itself.
//!
//! A repository can name programs in its own configuration (file-system monitor, external diff, text conversion, hooks).
//! It is the job's code that is looked at, so none of them is allowed to run.

use std::io::Read as _;
use std::path::Path;
use std::process::{Command, Stdio};

use domain::entry::Code;
use domain::{Gap, PathText};

const DIFF_BYTES_MAX: u64 = 8 << 20;
const LIST_BYTES_MAX: u64 = 1 << 20;

/// The code around `folder`, and what could not be seen of it.
pub(crate) fn examine(folder: &Path) -> (Option<Code>, Vec<Gap>) {
    let mut gaps = Vec::new();
    let top = match git(folder, &["rev-parse", "--show-toplevel"], 1 << 16) {
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
    let commit = git(folder, &["rev-parse", "--verify", "HEAD"], 128).ok();
    let commit = commit.map(|output| String::from_utf8_lossy(&output.bytes).trim().to_owned());
    let mut take = |what: &str, arguments: &[&str], limit| match git(folder, arguments, limit) {
        Ok(Output { bytes, cut }) => {
            if cut {
                gaps.push(Gap {
                    what: what.to_owned(),
                    why: format!("longer than {limit} bytes: cut there"),
                });
            }
            bytes
        }
        Err(why) => {
            gaps.push(Gap {
                what: what.to_owned(),
                why,
            });
            Vec::new()
        }
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
    let code = Code {
        top: PathText::from_bytes(&top),
        commit,
        dirty,
        diff: PathText::from_bytes(&diff).as_str().to_owned(),
    };
    (Some(code), gaps)
}

struct Output {
    bytes: Vec<u8>,
    cut: bool,
}

fn git(folder: &Path, arguments: &[&str], limit: u64) -> Result<Output, String> {
    let mut child = Command::new("git")
        .arg("-C")
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
    let mut bytes = Vec::new();
    let mut cut = false;
    if let Some(stdout) = child.stdout.take() {
        let mut stdout = stdout.take(limit + 1);
        stdout
            .read_to_end(&mut bytes)
            .map_err(|error| format!("git cannot be read: {error}"))?;
        cut = bytes.len() as u64 > limit;
        bytes.truncate(usize::try_from(limit).unwrap_or(usize::MAX));
    }
    if cut {
        let _ = child.kill();
    }
    match child.wait() {
        Ok(status) if status.success() || cut => Ok(Output { bytes, cut }),
        Ok(_) => Err("not in a git work tree that this user may read".to_owned()),
        Err(error) => Err(format!("git cannot be waited for: {error}")),
    }
}
