//! Another user for a replay that root starts: nobody's number, so that what is executed can neither read nor signal what is not everybody's.

use std::io::Write as _;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::{MetadataExt as _, lchown};
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Command, Stdio};

use domain::Gap;

use super::inputs::Laid;
use super::place::Workplace;
use super::process::Program;
use super::{ReplayError, disk};

/// Numbers that systemd keeps for services' passing users: no account has one.
const FIRST: u32 = 61_184;
const LAST: u32 = 65_519;
/// Prints the first of the paths on its input that its user may not read.
const PROBE: &str = "
import os, sys
for path in sys.stdin.buffer.read().split(b'\\0'):
    if path and not os.access(path, os.R_OK | (os.X_OK if os.path.isdir(path) else 0)):
        sys.stdout.buffer.write(path)
        break
";

/// The number that the replay runs under; `None` where it runs as who asks for it, with the reason if that is root.
pub(super) fn choose(
    place: &Workplace,
    laid: &Laid,
    program: &Program,
    ours: &[&Path],
) -> Result<(Option<u32>, Option<Gap>), ReplayError> {
    if !rustix::process::geteuid().is_root() {
        return Ok((None, None));
    }
    let limit = |why: String| Gap {
        what: "user of the replay".to_owned(),
        why: format!("it ran as root: {why}"),
    };
    let Some(id) = number() else {
        return Ok((None, Some(limit("no number is free for it".to_owned()))));
    };
    let folder = |owner| own(place.root(), owner).map_err(disk(place.root()));
    folder(id)?;
    let fixed = [program.interpreter.as_path(), program.prefix.as_path()];
    let paths = fixed
        .iter()
        .chain(ours)
        .copied()
        .chain(laid.in_place.iter().map(std::path::PathBuf::as_path))
        .chain([place.root()]);
    match probe(id, &program.interpreter, paths) {
        Ok(()) => Ok((Some(id), None)),
        Err(why) => {
            folder(0)?;
            Ok((None, Some(limit(why))))
        }
    }
}

/// A number that no account and no process has, drawn at random.
fn number() -> Option<u32> {
    let accounts = std::fs::read_to_string("/etc/passwd").unwrap_or_default();
    let taken = |id: u32| {
        let text = id.to_string();
        accounts
            .lines()
            .any(|line| line.split(':').nth(2) == Some(&text))
    };
    let running: Vec<u32> = std::fs::read_dir("/proc")
        .into_iter()
        .flatten()
        .flatten()
        .filter_map(|entry| Some(entry.metadata().ok()?.uid()))
        .collect();
    (0..100).find_map(|_| {
        let mut random = [0; 4];
        getrandom::fill(&mut random).ok()?;
        let id = FIRST + u32::from_le_bytes(random) % (LAST - FIRST + 1);
        (!taken(id) && !running.contains(&id)).then_some(id)
    })
}

/// Whether that user can read all of these; an error says what not.
fn probe<'a>(
    id: u32,
    interpreter: &Path,
    paths: impl Iterator<Item = &'a Path>,
) -> Result<(), String> {
    let refused = |path: &Path| format!("{} is not open to another user", path.display());
    let mut child = as_user(&mut Command::new(interpreter), id)
        .args(["-I", "-S", "-B", "-c", PROBE])
        .env_clear()
        .current_dir("/")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .map_err(|_| refused(interpreter))?;
    let asked = paths
        .map(|path| path.as_os_str().as_bytes())
        .collect::<Vec<_>>();
    if let Some(mut input) = child.stdin.take() {
        // It reads to the end before it answers; one that ended has said so.
        let _ = input.write_all(&asked.join(&0));
    }
    let answer = child
        .wait_with_output()
        .map_err(|error| error.to_string())?;
    if !answer.status.success() {
        return Err(refused(interpreter));
    }
    match answer.stdout.as_slice() {
        [] => Ok(()),
        path => Err(refused(Path::new(std::ffi::OsStr::from_bytes(path)))),
    }
}

/// Has the program started as that user, in no group but its own.
pub(super) fn as_user(command: &mut Command, id: u32) -> &mut Command {
    command.uid(id).gid(id)
}

/// Gives a folder and all in it to that user; links themselves, not what they lead to.
pub(super) fn own(folder: &Path, id: u32) -> std::io::Result<()> {
    lchown(folder, Some(id), Some(id))?;
    for entry in std::fs::read_dir(folder)? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            own(&entry.path(), id)?;
        } else {
            lchown(entry.path(), Some(id), Some(id))?;
        }
    }
    Ok(())
}
