//! Files to digests, through the lanes of [`hashing`].
//!
//! This is where a stream of bytes gets to be a file: it is opened when a lane is free, asked after its last byte whether
//! it is still the file that was opened, put back once if it is not, and given up as a [`Gap::Changed`] the second time.
//! Which files, and in which order, is the caller's.

use std::path::Path;

use domain::Digest;
use hashing::{Engine, Queue, Sha256, Stream};

use crate::file::{Hashed, Reading};
use crate::gap::Gap;

/// What became of the file with a number.
pub(crate) type Numbered = (usize, Result<Hashed, Gap>);

/// Digests every file that `next` gives, or keeps the gap that it gives instead; in the order in which they end. `stop` is
/// asked once per buffer.
pub(crate) fn digest_all<'a>(
    engine: Engine,
    next: impl FnMut() -> Option<(usize, Result<&'a Path, Gap>)>,
    stop: &'a dyn Fn() -> bool,
) -> Vec<Numbered> {
    let mut files = Files {
        next,
        stop,
        again: Vec::new(),
        results: Vec::new(),
    };
    engine.digest_all(&mut files);
    files.results
}

struct Files<'a, N> {
    next: N,
    stop: &'a dyn Fn() -> bool,
    /// Changed while they were read, once; at most one of each lane.
    again: Vec<(usize, &'a Path)>,
    results: Vec<Numbered>,
}

struct Open<'a> {
    number: usize,
    path: &'a Path,
    is_second: bool,
    reading: Reading,
    stop: &'a dyn Fn() -> bool,
}

impl Stream for Open<'_> {
    type Error = Gap;

    fn read(&mut self, buffer: &mut [u8]) -> Result<usize, Gap> {
        let count = self.reading.read(buffer)?;
        if count > 0 && (self.stop)() {
            return Err(Gap::Stopped);
        }
        Ok(count)
    }
}

impl<'a, N> Queue for Files<'a, N>
where
    N: FnMut() -> Option<(usize, Result<&'a Path, Gap>)>,
{
    type Stream = Open<'a>;

    fn next(&mut self) -> Option<Open<'a>> {
        loop {
            let is_second = !self.again.is_empty();
            let (number, path) = match self.again.pop() {
                Some((number, path)) => (number, Ok(path)),
                None => (self.next)()?,
            };
            match path.and_then(|path| Ok((path, Reading::open(path)?))) {
                Ok((path, reading)) => {
                    return Some(Open {
                        number,
                        path,
                        is_second,
                        reading,
                        stop: self.stop,
                    });
                }
                Err(gap) => self.results.push((number, Err(gap))),
            }
        }
    }

    fn done(&mut self, file: Open<'a>, result: Result<Sha256, Gap>) {
        let read = result.and_then(|digest| Ok((digest, file.reading.close()?)));
        let result = match read {
            Ok((digest, Some(key))) => Ok(Hashed {
                key,
                digest: Digest::from_bytes(digest),
            }),
            Ok((_, None)) if !file.is_second => {
                self.again.push((file.number, file.path));
                return;
            }
            Ok((_, None)) => Err(Gap::Changed),
            Err(gap) => Err(gap),
        };
        self.results.push((file.number, result));
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;
    use std::io::Write as _;

    use super::*;

    fn engines() -> Vec<Engine> {
        Engine::all()
    }

    fn digest_of(engine: Engine, path: &Path, stop: &dyn Fn() -> bool) -> Result<Hashed, Gap> {
        let mut one = Some((7, Ok(path)));
        let mut results = digest_all(engine, || one.take(), stop);
        assert_eq!((results.len(), results[0].0), (1, 7));
        results.remove(0).1
    }

    #[test]
    fn a_file_that_grows_each_time_that_it_is_read_has_no_digest() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("log");
        for engine in engines() {
            std::fs::write(&path, b"0123456789").unwrap();
            for (times, expected) in [(1, true), (2, false)] {
                let left = Cell::new(times);
                let grow = || {
                    if left.get() > 0 {
                        left.set(left.get() - 1);
                        let mut file = std::fs::File::options().append(true).open(&path).unwrap();
                        file.write_all(b"more").unwrap();
                    }
                    false
                };
                let result = digest_of(engine, &path, &grow);
                assert_eq!(result.is_ok(), expected, "{times}");
                let right = Digest::of(&std::fs::read(&path).unwrap());
                match result {
                    Ok(hashed) => assert_eq!(hashed.digest, right),
                    Err(gap) => assert_eq!(gap, Gap::Changed),
                }
            }
        }
    }

    #[test]
    fn a_scan_that_is_told_to_stop_has_no_digest() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("file");
        std::fs::write(&path, b"0123456789").unwrap();
        for engine in engines() {
            let digest = digest_of(engine, &path, &|| false).unwrap().digest;
            assert_eq!(digest, Digest::of(b"0123456789"));
            assert_eq!(digest_of(engine, &path, &|| true), Err(Gap::Stopped));
        }
    }

    #[test]
    fn each_file_keeps_its_own_digest_or_gap_whatever_is_read_beside_it() {
        let folder = tempfile::tempdir().unwrap();
        let contents: Vec<Vec<u8>> = (0..40_u8)
            .map(|number| vec![number; usize::from(number) * 17_000])
            .collect();
        let mut paths = Vec::new();
        for (number, content) in contents.iter().enumerate() {
            let path = folder.path().join(number.to_string());
            if number % 5 != 3 {
                std::fs::write(&path, content).unwrap();
            }
            paths.push(path);
        }
        for engine in engines() {
            let mut waiting = paths.iter().enumerate();
            let next = || {
                let (number, path) = waiting.next()?;
                let path = if number % 5 == 4 {
                    Err(Gap::Budget)
                } else {
                    Ok(path.as_path())
                };
                Some((number, path))
            };
            let mut results = digest_all(engine, next, &|| false);
            results.sort_by_key(|(number, _)| *number);
            assert_eq!(results.len(), 40);
            for (number, result) in results {
                let digest = result.map(|hashed| hashed.digest);
                let expected = match number % 5 {
                    3 => Err(Gap::System(rustix::io::Errno::NOENT)),
                    4 => Err(Gap::Budget),
                    _ => Ok(Digest::of(&contents[number])),
                };
                assert_eq!(digest, expected, "{number}");
            }
        }
    }
}
