//! What files compile to, remembered from run to run: compiling a whole PyTorch takes seconds of a core.
//!
//! An answer is kept under a digest of all that it depends on: the source, the interpreter with its version and level of
//! optimisation, and the programs that made it. Whoever can write the store can write this; so it is for the cache of the
//! environment's digests (`docs/limits.md`).

use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use domain::{Digest, PathText};

use super::reference::{Compiler, Line};

/// Longest source and longest answer that are read, in bytes.
const BYTES_MAX: u64 = 32 << 20;
/// The programs whose change makes all answers stale.
const PROGRAMS: [&str; 2] = ["_memory_reference.py", "_memory_code.py"];

/// The answers of one compiler.
pub(super) struct Kept {
    folder: PathBuf,
    base: Vec<u8>,
}

impl Kept {
    /// The answers below `folder` of a compiler whose programs lie in `programs`.
    pub(super) fn new(folder: PathBuf, compiler: &Compiler, programs: &Path) -> Self {
        let mut base = format!("{}\n{}\n", compiler.python, compiler.optimize).into_bytes();
        base.extend(compiler.executable.as_os_str().as_encoded_bytes());
        for name in PROGRAMS {
            let program = fs::read(programs.join(name)).unwrap_or_default();
            base.extend(Digest::of(&program).to_string().into_bytes());
        }
        Self { folder, base }
    }

    /// Digest and change time (microseconds since 1970) of a source file; `None` for what is none.
    pub(super) fn source(path: &PathText) -> Option<(Digest, i64)> {
        use std::os::unix::ffi::OsStringExt as _;
        let path = PathBuf::from(std::ffi::OsString::from_vec(path.to_bytes()));
        let about = fs::metadata(&path).ok()?;
        if !about.is_file() || about.len() > BYTES_MAX {
            return None;
        }
        let bytes = fs::read(&path).ok()?;
        let changed_us = about.ctime().saturating_mul(1_000_000) + about.ctime_nsec() / 1000;
        Some((Digest::of(&bytes), changed_us))
    }

    /// What was kept for a source.
    pub(super) fn read(&self, source: &Digest) -> Option<Line> {
        let path = self.path(source);
        if fs::metadata(&path).ok()?.len() > BYTES_MAX {
            return None;
        }
        serde_json::from_slice(&fs::read(path).ok()?).ok()
    }

    /// Keeps what was told about a source. Without it the next run compiles again: slower, not wrong.
    pub(super) fn write(&self, source: &Digest, told: &[u8]) {
        let path = self.path(source);
        let begun = path.with_extension(std::process::id().to_string());
        let _ = fs::create_dir_all(&self.folder);
        if fs::write(&begun, told).is_ok() {
            let _ = fs::rename(&begun, &path);
        }
    }

    fn path(&self, source: &Digest) -> PathBuf {
        let key = [self.base.as_slice(), source.to_string().as_bytes()].concat();
        self.folder.join(Digest::of(&key).to_string())
    }
}
