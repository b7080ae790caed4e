//! The environment's own interpreter as a compiler, and nothing more.
//!
//! What a source compiles to only the very interpreter knows. It is started isolated (`-I -S -B`, no variables), with a
//! folder for byte code that does not exist, so that it reads no `.pyc` of the environment that is examined, and in the
//! confinement that [`host::sandbox::confine_program`] describes. It gets sources and gives byte code back, which is data to
//! us. What it rests on: that the interpreter's own file, and the few sources of `encodings` that any start reads, are what
//! they should be. Byte code that is examined is never given to it.

use std::io::{self, Read as _, Write as _};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use domain::{Digest, Hasher};
use environment::compiled::{Dialect, Level, MAX_CODE_BYTES};
use host::job::Helpers;
use host::sandbox::{Limits, confine_program};

const SCRIPT: &str = include_str!("compiler.py");
/// The interpreter has this long for one source, on a machine that has other things to do.
const PATIENCE: Duration = Duration::from_mins(2);
const LIMITS: Limits = Limits {
    memory_bytes: 1 << 30,
    cpu_seconds: 3600,
    descriptors: 32,
};
/// Status, length, hash of the source.
const HEAD_BYTES: usize = 13;
/// The most bytes of a mapped file that is read to know the interpreter by.
const MAX_PROGRAM_BYTES: u64 = 1 << 30;

/// Why there is no compiler.
#[derive(Debug, thiserror::Error)]
pub enum CompilerError {
    /// It does not start, or ended at once.
    #[error("the interpreter cannot be started by itself: {0}")]
    Start(#[source] io::Error),
    /// It is not `CPython`, whose byte code this is about.
    #[error("byte code of {0} is not compared, only that of CPython 3.8 and later")]
    Unknown(String),
    /// It said something else than it should.
    #[error("the interpreter gives no usable answer")]
    Garbled,
}

/// What an interpreter says of itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Build {
    /// Stands for this very interpreter: its version and the digests of its files.
    pub(super) digest: Digest,
    pub(super) tag: String,
    pub(super) magic: [u8; 4],
    pub(super) extensions: Vec<String>,
    pub(super) dialect: Dialect,
}

/// What became of a source.
pub(super) enum Compiled {
    /// Its byte code, without a header.
    Code(Vec<u8>),
    /// The source is no program of this version; the interpreter's word for it.
    Wrong(String),
}

pub(super) struct Compiler {
    child: Child,
    stream: UnixStream,
    helpers: Helpers,
    build: Build,
    broken: bool,
}

impl Compiler {
    pub(super) fn start(python: &Path, helpers: &Helpers) -> Result<Self, CompilerError> {
        let (stream, theirs) = UnixStream::pair().map_err(CompilerError::Start)?;
        let output = theirs.try_clone().map_err(CompilerError::Start)?;
        let mut command = Command::new(python);
        command
            .args(["-I", "-S", "-B", "-X", "pycache_prefix=/dev/null/none"])
            .args(["-c", SCRIPT])
            .env_clear()
            .current_dir("/")
            .stdin(Stdio::from(OwnedFd::from(theirs)))
            .stdout(Stdio::from(OwnedFd::from(output)))
            .stderr(Stdio::null());
        confine_program(&mut command, &LIMITS);
        let child = helpers.spawn(&mut command).map_err(CompilerError::Start)?;
        // Its ends of the socket must not live on with us, or its end would never be seen.
        drop(command);
        let mut compiler = Self {
            child,
            stream,
            helpers: helpers.clone(),
            build: Build {
                digest: Digest::of(b""),
                tag: String::new(),
                magic: [0; 4],
                extensions: Vec::new(),
                dialect: Dialect::of(8).ok_or(CompilerError::Garbled)?,
            },
            broken: false,
        };
        let patience = Some(PATIENCE);
        let set = compiler.stream.set_read_timeout(patience);
        set.and_then(|()| compiler.stream.set_write_timeout(patience))
            .map_err(CompilerError::Start)?;
        let (status, _, greeting) = compiler.answer(1 << 16).map_err(CompilerError::Start)?;
        if status != b'h' {
            return Err(CompilerError::Garbled);
        }
        compiler.build = build(&greeting, compiler.child.id())?;
        Ok(compiler)
    }

    pub(super) fn build(&self) -> &Build {
        &self.build
    }

    /// Whether it can go on; one that hung or died cannot.
    pub(super) fn is_broken(&self) -> bool {
        self.broken
    }

    /// Compiles a source as an import would, and gives the hash that byte code may be tied to it by.
    pub(super) fn compile(
        &mut self,
        source: &[u8],
        level: Level,
    ) -> io::Result<(Compiled, [u8; 8])> {
        let answered = self.ask(source, level);
        self.broken |= answered.is_err();
        let (status, hash, payload) = answered?;
        match status {
            b'c' => Ok((Compiled::Code(payload), hash)),
            b's' => Ok((Compiled::Wrong(word(&payload)), hash)),
            b'f' => Err(io::Error::other(format!(
                "the interpreter gave it up: {}",
                word(&payload)
            ))),
            _ => Err(io::ErrorKind::InvalidData.into()),
        }
    }

    fn ask(&mut self, source: &[u8], level: Level) -> io::Result<(u8, [u8; 8], Vec<u8>)> {
        let length = u32::try_from(source.len()).map_err(|_| io::ErrorKind::InvalidInput)?;
        self.stream.write_all(&length.to_le_bytes())?;
        self.stream.write_all(&[level.number()])?;
        self.stream.write_all(source)?;
        self.answer(MAX_CODE_BYTES)
    }

    fn answer(&mut self, limit: usize) -> io::Result<(u8, [u8; 8], Vec<u8>)> {
        let mut head = [0; HEAD_BYTES];
        self.stream.read_exact(&mut head)?;
        let [status, a, b, c, d, hash @ ..] = head;
        let length = u32::from_le_bytes([a, b, c, d]);
        let wanted = usize::try_from(length).map_err(|_| io::ErrorKind::InvalidData)?;
        if wanted > limit {
            return Err(io::ErrorKind::InvalidData.into());
        }
        let mut payload = Vec::new();
        let read = (&self.stream)
            .take(u64::from(length))
            .read_to_end(&mut payload)?;
        if read < wanted {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        Ok((status, hash, payload))
    }
}

impl Drop for Compiler {
    fn drop(&mut self) {
        // It ends when its input does; one that hangs is ended.
        let _ = self.stream.shutdown(std::net::Shutdown::Both);
        if self.broken {
            let _ = self.child.kill();
        }
        let _ = self.child.wait();
        self.helpers.remove(self.child.id());
    }
}

fn word(payload: &[u8]) -> String {
    let letters = payload.iter().filter(|byte| byte.is_ascii_alphanumeric());
    letters.take(60).copied().map(char::from).collect()
}

fn build(greeting: &[u8], pid: u32) -> Result<Build, CompilerError> {
    let text = std::str::from_utf8(greeting).map_err(|_| CompilerError::Garbled)?;
    let mut words = text.split('\0');
    let mut next = || words.next().ok_or(CompilerError::Garbled);
    let (name, version, tag, magic, full) = (next()?, next()?, next()?, next()?, next()?);
    let unknown = || CompilerError::Unknown(format!("{name} {version}"));
    let mut numbers = version.split('.').map(str::parse::<u8>);
    let (major, minor) = (numbers.next(), numbers.next());
    let (Some(Ok(3)), Some(Ok(minor)), "cpython") = (major, minor, name) else {
        return Err(unknown());
    };
    let dialect = Dialect::of(minor).ok_or_else(unknown)?;
    let magic = u32::from_str_radix(magic, 16).map_err(|_| CompilerError::Garbled)?;
    if tag.is_empty() {
        return Err(CompilerError::Unknown(format!(
            "{name} {version} without a name for its byte code"
        )));
    }
    Ok(Build {
        digest: identity(full, pid).map_err(CompilerError::Start)?,
        tag: tag.to_owned(),
        magic: magic.to_be_bytes(),
        extensions: words.map(str::to_owned).collect(),
        dialect,
    })
}

/// A digest over what it says of itself and over the bytes of the program and the library that it really runs.
fn identity(version: &str, pid: u32) -> io::Result<Digest> {
    let program = host::proc::executable(pid)?.path;
    let mut files: Vec<_> = host::proc::mapped_files(pid)?.value;
    files.retain(|file| {
        let name = file.path.file_name().unwrap_or_default().as_encoded_bytes();
        file.path == program || name.starts_with(b"libpython")
    });
    let mut hasher = Hasher::new();
    hasher.update(b"taintline interpreter 1\n");
    hasher.update(version.as_bytes());
    for file in files {
        hasher.update(crate::bounded::digest(&file.path, MAX_PROGRAM_BYTES)?.as_bytes());
    }
    Ok(hasher.finish())
}
