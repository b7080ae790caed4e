//! Reading files whose size nobody vouches for.
//!
//! What `/proc` shows of another process is written by that process: its command line and environment can be as large as
//! its address space. So everything is read up to a limit, and the reader says whether more was there.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

/// Reads at most `limit` bytes. The flag is true when the file went on.
pub(crate) fn read(path: &Path, limit: usize) -> io::Result<(Vec<u8>, bool)> {
    let mut bytes = Vec::new();
    let wanted = u64::try_from(limit).unwrap_or(u64::MAX).saturating_add(1);
    File::open(path)?.take(wanted).read_to_end(&mut bytes)?;
    let cut = bytes.len() > limit;
    bytes.truncate(limit);
    Ok((bytes, cut))
}

/// Reads a small text file, without the white space around it. `None` if it is not there, not readable, larger than
/// 4 KiB or not text.
pub(crate) fn line(path: &str) -> Option<String> {
    let (bytes, cut) = read(Path::new(path), 4096).ok()?;
    let text = String::from_utf8(bytes).ok()?;
    (!cut).then(|| text.trim().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_endless_file_is_read_up_to_the_limit_and_said_to_go_on() {
        let (bytes, cut) = read(Path::new("/dev/zero"), 1000).unwrap();
        assert_eq!((bytes.len(), cut), (1000, true));
    }

    #[test]
    fn a_file_of_exactly_the_limit_is_whole() {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), [7; 10]).unwrap();
        assert_eq!(read(file.path(), 10).unwrap(), (vec![7; 10], false));
    }
}
