//! Files that somebody named, read or digested whole or refused: a pipe is not waited for, and nothing is cut off silently.

use std::fs::{File, OpenOptions};
use std::io::{Error, ErrorKind, Read as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

use domain::{Digest, Hasher};

use rustix::fs::OFlags;

/// All bytes of a regular file of at most `limit` bytes.
pub(crate) fn read(path: &Path, limit: u64) -> Result<Vec<u8>, Error> {
    let mut bytes = Vec::new();
    // It may grow while it is read.
    open(path)?
        .take(limit.saturating_add(1))
        .read_to_end(&mut bytes)?;
    within(bytes.len() as u64, limit)?;
    Ok(bytes)
}

/// The digest of a regular file of at most `limit` bytes, in little memory.
pub(crate) fn digest(path: &Path, limit: u64) -> Result<Digest, Error> {
    let mut file = open(path)?;
    let mut hasher = Hasher::new();
    let mut buffer = vec![0; 256 * 1024];
    let mut bytes = 0_u64;
    loop {
        let count = match file.read(&mut buffer) {
            Err(error) if error.kind() == ErrorKind::Interrupted => continue,
            other => other?,
        };
        if count == 0 {
            return Ok(hasher.finish());
        }
        bytes = bytes.saturating_add(count as u64);
        within(bytes, limit)?;
        hasher.update(buffer.get(..count).unwrap_or_default());
    }
}

fn open(path: &Path) -> Result<File, Error> {
    let file = OpenOptions::new()
        .read(true)
        .custom_flags(OFlags::NONBLOCK.bits().cast_signed())
        .open(path)?;
    if file.metadata()?.is_file() {
        Ok(file)
    } else {
        Err(Error::other("not a regular file"))
    }
}

fn within(bytes: u64, limit: u64) -> Result<(), Error> {
    if bytes > limit {
        return Err(Error::other(format!("longer than {limit} bytes")));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pipe_is_refused_at_once_and_nothing_is_cut() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("list");
        let mode = rustix::fs::Mode::from_raw_mode(0o600);
        rustix::fs::mknodat(rustix::fs::CWD, &path, rustix::fs::FileType::Fifo, mode, 0).unwrap();
        assert!(read(&path, 10).is_err());
        std::fs::remove_file(&path).unwrap();
        std::fs::write(&path, [7; 11]).unwrap();
        let told = read(&path, 10).unwrap_err().to_string();
        assert!(told.contains("longer than 10"));
        assert_eq!(read(&path, 11).unwrap(), [7; 11]);
        let told = digest(&path, 10).unwrap_err().to_string();
        assert!(told.contains("longer than 10"));
        assert_eq!(digest(&path, 11).unwrap(), Digest::of(&[7; 11]));
    }
}
