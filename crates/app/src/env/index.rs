//! Wheels that are not here, fetched from a package index that the user names.
//!
//! Nothing is asked unless it is allowed, and only for what a lock file names by digest. The bytes are digested as they are
//! read for their list of files, so neither the index nor the way to it need be trusted; what does not have the digest is
//! told. A wheel is kept only until its list is made, under the store's cache, where that list stays.

use std::fs::File;
use std::io::{self, Write};
use std::path::Path;
use std::time::Duration;

use domain::{Digest, Gap, Hasher};
use environment::Snapshot;
use environment::reference::index::{MAX_PAGE_BYTES, Wanted, offered, wanted};
use environment::reference::lock::Lock;
use environment::reference::{Candidates, Keeper as _, manifest_of};
use report::environment::IndexView;

use super::keep::Kept;
use crate::net;

/// The most bytes of one wheel.
const MAX_WHEEL_BYTES: u64 = 16 << 30;
/// How long a page may take, and a wheel.
const PAGE_TIME: Duration = Duration::from_mins(1);
const WHEEL_TIME: Duration = Duration::from_hours(1);
/// How a file ends that is being fetched.
const FETCHED: &[u8] = b".fetched";
/// Both forms of the simple index.
const PAGE_FORMS: &str = "application/vnd.pypi.simple.v1+json, text/html;q=0.5";

/// Fetches what is wanted, and answers what came and what did not.
pub(super) fn fetch(
    index: &str,
    snapshot: &Snapshot,
    lock: &Lock,
    found: &[Candidates],
    kept: &Kept,
) -> (IndexView, Vec<Gap>) {
    let mut view = IndexView {
        url: without_password(index),
        wheels: 0,
        bytes: 0,
    };
    let mut gaps = Vec::new();
    sweep(kept.folder());
    for one in wanted(snapshot, lock, found) {
        match fetch_one(index, &one, kept) {
            Ok(bytes) => {
                view.wheels += 1;
                view.bytes += bytes;
            }
            Err(why) => gaps.push(Gap {
                what: format!("the wheel of {} {}", one.name, one.version),
                why: why.replace(index, &view.url),
            }),
        }
    }
    (view, gaps)
}

/// Takes away what a process that was killed left behind: none fetches for so long.
fn sweep(folder: &Path) {
    for entry in folder.read_dir().into_iter().flatten().flatten() {
        let is_left = entry.file_name().as_encoded_bytes().ends_with(FETCHED);
        let modified = entry.metadata().and_then(|facts| facts.modified()).ok();
        let age = modified.and_then(|at| at.elapsed().ok());
        if is_left && age.is_some_and(|age| age > WHEEL_TIME * 2) {
            let _ = std::fs::remove_file(entry.path()); // the next one tries again
        }
    }
}

fn fetch_one(index: &str, wanted: &Wanted, kept: &Kept) -> Result<u64, String> {
    let address = format!("{}/{}/", index.trim_end_matches('/'), wanted.name);
    let mut page = Vec::new();
    let status = net::fetch(&address, PAGE_FORMS, MAX_PAGE_BYTES, PAGE_TIME, &mut page)
        .map_err(|error| format!("the index: {error}"))?;
    good(status).map_err(|why| format!("the index: {why}"))?;
    let offered = offered(&page, &address).map_err(|error| error.to_string())?;
    let one = wanted.choose(&offered).map_err(|error| error.to_string())?;
    let folder = kept.folder();
    std::fs::create_dir_all(folder).map_err(|error| error.to_string())?;
    let place = folder.join(format!("{}.{}.fetched", one.digest, std::process::id()));
    let kept = fill(&place, &one.url).and_then(|(bytes, digest)| {
        if digest != one.digest {
            return Err("its bytes do not have the digest that the lock file gives".to_owned());
        }
        let manifest = manifest_of(&place, one.digest).map_err(|error| error.to_string())?;
        kept.keep(&manifest);
        Ok(bytes)
    });
    let _ = std::fs::remove_file(&place); // what stays is swept by the next that fetches
    kept.map_err(|why| format!("{}: {why}", one.file))
}

/// Answers size and digest.
fn fill(place: &Path, url: &str) -> Result<(u64, Digest), String> {
    let mut into = Digested {
        file: File::create_new(place).map_err(|error| error.to_string())?,
        hasher: Hasher::new(),
        bytes: 0,
    };
    let status = net::fetch(url, "*/*", MAX_WHEEL_BYTES, WHEEL_TIME, &mut into)
        .map_err(|error| error.to_string())?;
    good(status)?;
    Ok((into.bytes, into.hasher.finish()))
}

/// A file with the digest of what was written to it.
struct Digested {
    file: File,
    hasher: Hasher,
    bytes: u64,
}

impl Write for Digested {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let count = self.file.write(bytes)?;
        self.hasher.update(bytes.get(..count).unwrap_or_default());
        self.bytes += count as u64;
        Ok(count)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

fn good(status: u16) -> Result<(), String> {
    match status {
        200 => Ok(()),
        404 => Err("it does not have the package (status 404)".to_owned()),
        status => Err(format!("it answers with status {status}")),
    }
}

/// What is shown and recorded of an address that may hold a password.
fn without_password(url: &str) -> String {
    let Some((scheme, rest)) = url.split_once("://") else {
        return url.to_owned();
    };
    let (host, path) = rest
        .split_once('/')
        .map_or((rest, String::new()), |(host, path)| {
            (host, format!("/{path}"))
        });
    let host = host.rsplit('@').next().unwrap_or(host);
    format!("{scheme}://{host}{path}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_killed_process_left_is_swept_and_nothing_else() {
        let folder = tempfile::tempdir().unwrap();
        let old = std::time::SystemTime::now() - WHEEL_TIME * 3;
        for (name, is_old) in [("a.1.fetched", true), ("b.2.fetched", false), ("c", true)] {
            let file = File::create(folder.path().join(name)).unwrap();
            if is_old {
                file.set_modified(old).unwrap();
            }
        }
        sweep(folder.path());
        let left = |name: &str| folder.path().join(name).exists();
        assert_eq!(
            ["a.1.fetched", "b.2.fetched", "c"].map(left),
            [false, true, true]
        );
    }

    #[test]
    fn a_password_in_an_address_is_not_shown() {
        let shown = without_password("https://me:secret@x.test/simple");
        assert_eq!(shown, "https://x.test/simple");
        assert_eq!(without_password("http://x.test"), "http://x.test");
    }
}
