//! The worker: a copy of this program that confines itself, then examines what it is told to and answers.
//!
//! It starts with no environment and one socket, reads from its parent how to judge and what it may open, and then gives
//! everything else away. So a parser that a hostile file takes over can read what was to be scanned anyway,
//! and can say nothing but an answer. What both sides say to each other is here alone: a request is a kind and a path, an
//! answer a kind and perhaps JSON; the one for a file that is nothing to us is nine bytes long.

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::fs::File;
use std::io::{self, Read as _, Seek as _, Write as _};
use std::os::fd::AsRawFd as _;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

use ::scan::Options;
use domain::PathText;
use domain::scan::Examination;
use host::sandbox::{Limits, Readable, confine};
use rustix::fs::MemfdFlags;
use serde::{Deserialize, Serialize};

use super::local::{Examined, Local};
use super::policy::Admission;
use super::walk::{Met, MetKind};

/// The word by which this program is started as a worker.
pub const WORKER: &str = "scan-worker";
/// Bytes of a request: no path is longer.
pub(super) const REQUEST_BYTES: usize = 64 << 10;
/// Bytes of memory that a worker may have beyond what it starts with.
const MEMORY_BYTES: u64 = 128 << 20;
/// Seconds of processor time where every byte is read.
const FULL_SECONDS: u64 = 7 * 24 * 3600;
/// Descriptors of a worker.
const DESCRIPTORS: u64 = 32;
/// Paths to which a worker is held; with more it may read what the user may.
const ROOTS: usize = 128;

/// How to judge, and what may be opened.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(super) struct Setup {
    /// Read every byte.
    pub(super) full: bool,
    /// Tell programs as lines too.
    pub(super) explain: bool,
    /// Tell what each answer rests on.
    #[serde(default)]
    pub(super) bind: bool,
    /// Frameworks whose names are taken as unknown.
    pub(super) without: Vec<String>,
    /// Names that the project admits.
    pub(super) admitted: Vec<Admission>,
    /// What may be opened; `None` for everything.
    pub(super) roots: Option<Vec<PathText>>,
    /// Descriptor of standard input.
    pub(super) stdin: Option<i32>,
}

impl Setup {
    /// What it says as options of the engine.
    pub(super) fn options(&self) -> Options {
        Options {
            full: self.full,
            ..Options::default()
        }
    }

    /// Holds the worker to these paths; if they are too many, to the folders in which they are. A file that names the
    /// parts of a set is judged against what lies beside it, so that its folder is readable too.
    pub(super) fn hold_to(&mut self, paths: &[PathBuf]) {
        let named = paths.iter().filter(|path| path.as_os_str() != "-");
        let mut roots: BTreeSet<PathBuf> = named.clone().cloned().collect();
        if roots.len() > ROOTS {
            let real = named.filter_map(|path| path.canonicalize().ok());
            let folders = real.filter_map(|path| path.parent().map(Path::to_owned));
            roots = folders.collect();
        }
        roots.extend(paths.iter().filter_map(|path| set_folder(path)));
        let roots = (roots.len() <= ROOTS).then_some(roots);
        self.roots = roots.map(|roots| {
            let roots = roots.iter().map(|root| PathText::from(root.as_path()));
            roots.collect()
        });
    }

    /// A file without a name that holds it.
    pub(super) fn file(&self) -> io::Result<File> {
        let file = rustix::fs::memfd_create("taintline-setup", MemfdFlags::CLOEXEC)?;
        let mut file = File::from(file);
        file.write_all(&serde_json::to_vec(self)?)?;
        file.rewind()?;
        Ok(file)
    }
}

/// The folder of a file that says of others that they belong together.
fn set_folder(path: &Path) -> Option<PathBuf> {
    let name = path.file_name()?.to_string_lossy();
    if !::scan::sets::names_parts(&name) || path.is_dir() {
        return None;
    }
    let folder = path.parent()?;
    Some(Path::new(".").join(folder))
}

/// What the process that started this one has open under a number, opened once more.
fn of_parent(number: i32) -> io::Result<File> {
    let parent = rustix::process::getppid().ok_or(io::ErrorKind::NotFound)?;
    File::open(format!("/proc/{}/fd/{number}", parent.as_raw_pid()))
}

/// The words that start a worker with the setup in `file`.
pub(super) fn arguments(file: &File) -> Vec<std::ffi::OsString> {
    vec![WORKER.into(), file.as_raw_fd().to_string().into()]
}

/// Why a worker did not serve.
#[derive(Debug, thiserror::Error)]
pub enum WorkerError {
    /// Nobody started it as one.
    #[error("a scan starts its workers itself")]
    Alone,
    /// The setup cannot be read.
    #[error("the worker cannot read its setup: {0}")]
    Setup(#[source] io::Error),
    /// The pool went away in the middle of something.
    #[error(transparent)]
    Serve(#[from] host::worker::ServeError),
}

/// Serves until there is nothing more to do. `arguments` are those behind [`WORKER`]. To be called first of all, from the
/// only thread.
pub fn serve(mut arguments: impl Iterator<Item = std::ffi::OsString>) -> Result<(), WorkerError> {
    let number = arguments.next().ok_or(WorkerError::Alone)?;
    let number = number.to_str().and_then(|text| text.parse().ok());
    let mut bytes = Vec::new();
    let read = of_parent(number.ok_or(WorkerError::Alone)?)
        .and_then(|mut file| file.read_to_end(&mut bytes));
    read.map_err(WorkerError::Setup)?;
    let setup: Setup =
        serde_json::from_slice(&bytes).map_err(|error| WorkerError::Setup(error.into()))?;
    let stdin = setup
        .stdin
        .map(of_parent)
        .transpose()
        .map_err(WorkerError::Setup)?;
    let rules = super::policy::rules(&setup.without, &setup.admitted);
    let hello = serde_json::to_vec(&hold(&setup)).unwrap_or_default();
    let local = Local {
        rules: &rules,
        options: setup.options(),
        explain: setup.explain,
        bind: setup.bind,
        stdin: stdin.as_ref(),
    };
    host::worker::serve(&hello, REQUEST_BYTES, |request| match asked(request) {
        Some(met) => answer(&local.one(&met)),
        None => Vec::new(),
    })?;
    Ok(())
}

fn hold(setup: &Setup) -> host::sandbox::Confinement {
    let mut limits = Limits {
        memory_bytes: MEMORY_BYTES,
        descriptors: DESCRIPTORS,
        ..Limits::default()
    };
    if setup.full {
        limits.cpu_seconds = FULL_SECONDS;
    }
    let roots = setup.roots.iter().flatten().map(PathText::to_bytes);
    let roots: Vec<_> = roots.collect();
    let roots: Vec<&Path> = roots
        .iter()
        .map(|root| Path::new(OsStr::from_bytes(root)))
        .collect();
    let readable = match &setup.roots {
        None => Readable::Everything,
        Some(_) if roots.is_empty() => Readable::Nothing,
        Some(_) => Readable::Only(&roots),
    };
    confine(&limits, readable)
}

const STDIN: u8 = b'-';
const NAMED: u8 = b'n';
const FOUND: u8 = b'f';

/// A request to examine what was met.
pub(super) fn request(met: &Met) -> Option<Vec<u8>> {
    let kind = match met.kind {
        MetKind::Stdin => STDIN,
        MetKind::File if met.named => NAMED,
        MetKind::File => FOUND,
        MetKind::Link | MetKind::Gap(..) => return None,
    };
    let path = met.path.as_os_str().as_bytes();
    let mut request = Vec::with_capacity(1 + path.len());
    request.push(kind);
    request.extend_from_slice(path);
    Some(request)
}

fn asked(request: &[u8]) -> Option<Met> {
    let (kind, path) = request.split_first()?;
    Some(Met {
        path: PathBuf::from(OsStr::from_bytes(path)),
        named: *kind == NAMED,
        kind: match *kind {
            STDIN => MetKind::Stdin,
            NAMED | FOUND => MetKind::File,
            _ => return None,
        },
    })
}

const NOTHING: u8 = b'0';
const JSON: u8 = b'j';

fn answer(examined: &Examined) -> Vec<u8> {
    let nothing = Examination {
        size: examined.done.size,
        ..Examination::default()
    };
    if *examined == nothing.into() {
        let mut bytes = vec![NOTHING];
        bytes.extend_from_slice(&examined.done.size.to_le_bytes());
        return bytes;
    }
    let mut bytes = vec![JSON];
    // The type has string keys and no floats: it can always be written.
    let _ = serde_json::to_writer(&mut bytes, examined);
    bytes
}

/// What an answer says; `None` if it is none.
pub(super) fn answered(bytes: &[u8]) -> Option<Examined> {
    match bytes.split_first()? {
        (&NOTHING, size) => {
            let nothing = Examination {
                size: u64::from_le_bytes(size.try_into().ok()?),
                ..Examination::default()
            };
            Some(nothing.into())
        }
        (&JSON, json) => serde_json::from_slice(json).ok(),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use domain::scan::GapKind;

    use super::*;
    use crate::examination::only_gap;

    #[test]
    fn the_folder_of_a_file_that_names_parts_can_be_read_and_no_other() {
        let held = |paths: &[&str]| {
            let paths: Vec<PathBuf> = paths.iter().map(PathBuf::from).collect();
            let mut setup = Setup::default();
            setup.hold_to(&paths);
            let roots = setup
                .roots
                .unwrap()
                .into_iter()
                .map(|root| root.to_string());
            roots.collect::<Vec<_>>()
        };
        assert_eq!(held(&["/a/.metadata"]), ["/a", "/a/.metadata"]);
        assert_eq!(held(&["latest"]), ["./", "latest"]);
        assert_eq!(held(&["/a/model.pt", "-"]), ["/a/model.pt"]);
        let folder = tempfile::tempdir().unwrap();
        let named = folder.path().join("latest");
        std::fs::create_dir(&named).unwrap();
        let named = named.to_str().unwrap();
        assert_eq!(held(&[named]), [named]);
    }

    #[test]
    fn both_sides_understand_each_other() {
        for (path, named, kind) in [
            ("-", true, MetKind::Stdin),
            ("a\n\u{fffd}", false, MetKind::File),
            ("-", false, MetKind::File),
            ("x/y", true, MetKind::File),
        ] {
            let met = Met {
                path: PathBuf::from(path),
                named: named && kind == MetKind::File,
                kind,
            };
            assert_eq!(asked(&request(&met).unwrap()), Some(met));
        }
        let nothing = Examination {
            size: 7,
            ..Examination::default()
        };
        for done in [nothing, only_gap(GapKind::Broken, "x".to_owned())] {
            let done = Examined::from(done);
            assert_eq!(answered(&answer(&done)), Some(done));
        }
        assert_eq!(answered(b""), None);
        assert_eq!(answered(b"j{"), None);
        assert_eq!(answered(b"0123"), None);
    }
}
