//! Standard input as a file: what comes through a pipe is laid down where nobody can find it, within a limit.

use std::fs::File;
use std::io::{self, Read as _, Seek as _, Write as _};
use std::os::fd::{AsFd as _, AsRawFd as _};

use rustix::fs::{Mode, OFlags};

/// Why standard input cannot be examined.
#[derive(Debug, thiserror::Error)]
pub enum SpoolError {
    /// It is too large.
    #[error("standard input has more than {limit} bytes")]
    TooLarge {
        /// The limit in bytes.
        limit: u64,
    },
    /// It cannot be read.
    #[error("standard input cannot be read: {0}")]
    Read(#[source] io::Error),
    /// It cannot be laid down.
    #[error("standard input cannot be laid down in {folder}: {why}")]
    Write {
        /// The folder for temporary files.
        folder: String,
        /// Why.
        #[source]
        why: io::Error,
    },
}

/// Standard input, if it is a regular file; else a nameless copy of at most `limit` bytes.
pub(super) fn spool(limit: u64) -> Result<File, SpoolError> {
    let stdin = io::stdin();
    let given = stdin
        .as_fd()
        .try_clone_to_owned()
        .map_err(SpoolError::Read)?;
    let mut given = File::from(given);
    let is_file = given.metadata().is_ok_and(|known| known.is_file());
    if is_file
        && given.stream_position().is_ok_and(|position| position == 0)
        // The workers open it anew, which its owner may not allow.
        && let Ok(file) = File::open(format!("/proc/self/fd/{}", given.as_raw_fd()))
    {
        return Ok(file);
    }
    let folder = std::env::temp_dir();
    let failed = |why| SpoolError::Write {
        folder: folder.display().to_string(),
        why,
    };
    let mut file = nameless(&folder).map_err(failed)?;
    let mut buffer = vec![0; 256 << 10];
    let mut total = 0_u64;
    loop {
        let read = match given.read(&mut buffer) {
            Ok(0) => return Ok(file),
            Ok(read) => read,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(SpoolError::Read(error)),
        };
        total = total.saturating_add(read as u64);
        if total > limit {
            return Err(SpoolError::TooLarge { limit });
        }
        file.write_all(buffer.get(..read).unwrap_or_default())
            .map_err(failed)?;
    }
}

/// A file that has no name, or loses it at once where the file system cannot make one without.
fn nameless(folder: &std::path::Path) -> io::Result<File> {
    let mode = Mode::from_raw_mode(0o600);
    let flags = OFlags::RDWR | OFlags::CLOEXEC;
    match rustix::fs::open(folder, flags | OFlags::TMPFILE, mode) {
        Ok(descriptor) => return Ok(descriptor.into()),
        Err(rustix::io::Errno::OPNOTSUPP | rustix::io::Errno::ISDIR) => {}
        Err(errno) => return Err(errno.into()),
    }
    let mut random = [0_u8; 8];
    getrandom::fill(&mut random).map_err(io::Error::other)?;
    let name = format!("taintline-stdin-{:016x}", u64::from_le_bytes(random));
    let path = folder.join(name);
    let flags = flags | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW;
    let descriptor = rustix::fs::open(&path, flags, mode)?;
    std::fs::remove_file(&path)?;
    Ok(descriptor.into())
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::MetadataExt as _;

    use super::*;

    #[test]
    fn the_copy_has_no_name() {
        let folder = tempfile::tempdir().unwrap();
        let mut file = nameless(folder.path()).unwrap();
        file.write_all(b"x").unwrap();
        assert_eq!(file.metadata().unwrap().nlink(), 0);
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
    }
}
