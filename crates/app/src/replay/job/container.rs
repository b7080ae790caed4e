//! The file of a job or of an answer: a line that names the form, the length of the signed statement, the statement, and then the bytes of
//! its members one behind the other. What a member is, and how long, stands in the statement alone, so nothing of it is believed before the
//! signature is.

use std::fs::File;
use std::io::{BufRead as _, BufReader, BufWriter, Read, Write};
use std::path::{Path, PathBuf};

use domain::{Digest, Hasher};
use serde::{Deserialize, Serialize};

use super::JobError;
use crate::attest::MAX_BUNDLE_BYTES;

const MAGIC: &[u8] = b"taintline-job/1\n";
/// Digits of the statement's length.
const DIGITS_MAX: u64 = 20;

/// Bytes that follow the statement.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Member {
    pub(super) sha256: Digest,
    pub(super) bytes: u64,
}

impl Member {
    pub(super) fn of(bytes: &[u8]) -> Self {
        Self {
            sha256: Digest::of(bytes),
            bytes: bytes.len() as u64,
        }
    }
}

/// What a member's bytes are taken from.
pub(super) enum Source {
    Bytes(Vec<u8>),
    File(PathBuf),
}

/// Writes the file anew; a member that is not what the statement says is an error.
pub(super) fn write(
    path: &Path,
    bundle: &[u8],
    members: &[(Member, Source)],
) -> Result<(), JobError> {
    let failed = |source| JobError::File {
        path: path.to_owned(),
        source,
    };
    let mut out = BufWriter::new(File::create(path).map_err(failed)?);
    out.write_all(MAGIC).map_err(failed)?;
    out.write_all(format!("{}\n", bundle.len()).as_bytes())
        .map_err(failed)?;
    out.write_all(bundle).map_err(failed)?;
    for (member, source) in members {
        match source {
            Source::Bytes(bytes) => copy(&mut bytes.as_slice(), &mut out, *member, path)?,
            Source::File(file) => {
                let mut input = File::open(file).map_err(failed)?;
                copy(&mut input, &mut out, *member, path)?;
            }
        }
    }
    out.into_inner()
        .map_err(|error| failed(error.into_error()))?
        .sync_all()
        .map_err(failed)
}

/// One member from here to there, exactly as long as it should be, with the digest that it should have.
fn copy(
    from: &mut dyn Read,
    to: &mut dyn Write,
    member: Member,
    path: &Path,
) -> Result<(), JobError> {
    let failed = |source| JobError::File {
        path: path.to_owned(),
        source,
    };
    let (mut hasher, mut left, mut buffer) = (Hasher::new(), member.bytes, vec![0; 1 << 16]);
    while left > 0 {
        let most = usize::try_from(left)
            .unwrap_or(usize::MAX)
            .min(buffer.len());
        let part = buffer.get_mut(..most).unwrap_or_default();
        let count = from.read(part).map_err(failed)?;
        let part = part.get(..count).unwrap_or_default();
        if part.is_empty() {
            return Err(JobError::Damaged {
                path: path.to_owned(),
                why: "it ends too early".to_owned(),
            });
        }
        hasher.update(part);
        to.write_all(part).map_err(failed)?;
        left -= count as u64;
    }
    if hasher.finish() == member.sha256 {
        return Ok(());
    }
    Err(JobError::Damaged {
        path: path.to_owned(),
        why: format!(
            "a member is not the {} that was signed",
            member.sha256.short()
        ),
    })
}

/// A file that is read from its beginning.
pub(super) struct Reader {
    path: PathBuf,
    file: BufReader<File>,
}

impl Reader {
    /// Opens it; the statement, in its envelope, is not believed yet.
    pub(super) fn open(path: &Path) -> Result<(Self, Vec<u8>), JobError> {
        let failed = |source| JobError::File {
            path: path.to_owned(),
            source,
        };
        let damaged = |why: &str| JobError::Damaged {
            path: path.to_owned(),
            why: why.to_owned(),
        };
        let mut file = BufReader::new(File::open(path).map_err(failed)?);
        let mut magic = [0; MAGIC.len()];
        let read = file.read_exact(&mut magic);
        if read.is_err() || magic != *MAGIC {
            return Err(damaged("it is no file of a replay's job"));
        }
        let mut line = Vec::new();
        let mut head = (&mut file).take(DIGITS_MAX);
        head.read_until(b'\n', &mut line).map_err(failed)?;
        let length = std::str::from_utf8(&line)
            .ok()
            .and_then(|text| text.strip_suffix('\n')?.parse::<u64>().ok())
            .filter(|length| *length <= MAX_BUNDLE_BYTES)
            .ok_or_else(|| damaged("its statement has no length, or too large a one"))?;
        let mut bundle = Vec::new();
        (&mut file)
            .take(length)
            .read_to_end(&mut bundle)
            .map_err(failed)?;
        if bundle.len() as u64 != length {
            return Err(damaged("it ends too early"));
        }
        let path = path.to_owned();
        Ok((Self { path, file }, bundle))
    }

    /// The next member, as a whole.
    pub(super) fn member(&mut self, member: Member) -> Result<Vec<u8>, JobError> {
        let mut bytes = Vec::new();
        copy(&mut self.file, &mut bytes, member, &self.path)?;
        Ok(bytes)
    }

    /// The next member, into a file.
    pub(super) fn member_to(&mut self, member: Member, file: &Path) -> Result<(), JobError> {
        let mut out = File::create(file).map_err(|source| JobError::File {
            path: file.to_owned(),
            source,
        })?;
        copy(&mut self.file, &mut out, member, &self.path)
    }

    /// Nothing may follow the last one.
    pub(super) fn end(mut self) -> Result<(), JobError> {
        let mut one = [0];
        match self.file.read(&mut one) {
            Ok(0) => Ok(()),
            _ => Err(JobError::Damaged {
                path: self.path,
                why: "something follows its last member".to_owned(),
            }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(path: &Path, members: &[Member]) -> Result<Vec<Vec<u8>>, JobError> {
        let (mut reader, _) = Reader::open(path)?;
        let all: Result<_, _> = members.iter().map(|it| reader.member(*it)).collect();
        reader.end()?;
        all
    }

    #[test]
    fn what_is_read_is_what_was_written_or_an_error() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("job");
        let parts: [&[u8]; 3] = [b"one", b"", b"three"];
        let members = parts.map(Member::of);
        let sources: Vec<_> = members
            .iter()
            .zip(parts)
            .map(|(member, bytes)| (*member, Source::Bytes(bytes.to_vec())))
            .collect();
        write(&path, b"signed", &sources).unwrap();
        assert_eq!(read(&path, &members).unwrap(), parts);
        let whole = std::fs::read(&path).unwrap();
        for length in 0..whole.len() {
            std::fs::write(&path, &whole[..length]).unwrap();
            assert!(read(&path, &members).is_err(), "{length}");
        }
        for at in MAGIC.len() + 2 + 6..whole.len() {
            let mut other = whole.clone();
            other[at] ^= 1;
            std::fs::write(&path, &other).unwrap();
            assert!(read(&path, &members).is_err(), "{at}");
        }
        std::fs::write(&path, [&whole[..], b"more"].concat()).unwrap();
        assert!(read(&path, &members).is_err());
        std::fs::write(&path, b"taintline-job/1\n99999999999999999999\n").unwrap();
        assert!(Reader::open(&path).is_err());
    }
}
