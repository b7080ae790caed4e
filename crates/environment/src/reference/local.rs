//! Lists that other installers keep on this machine: conda's and Debian's. Weak, both: they lie beside what they speak of.
//!
//! They are read because they speak where nothing else does, of the interpreter and its library. A list that cannot be read
//! is a note and not a finding: without it fewer files are vouched for.

use std::collections::HashMap;
use std::path::Path;

use domain::{Digest, PathText};
use md5::{Digest as _, Md5};
use serde::Deserialize;

use super::Voucher;
use crate::file::{BUFFER, Reading, read_small};
use crate::records::Resolver;
use crate::snapshot::Snapshot;

/// The most bytes of one list.
const MAX_LIST: u64 = 16 << 20;

/// The most lists of one kind.
const MAX_LISTS: usize = 20_000;

/// What other installers say, by logical name.
#[derive(Debug, Clone, Default)]
pub struct LocalLists {
    conda: HashMap<PathText, Digest>,
    dpkg: HashMap<PathText, [u8; 16]>,
    /// Lists that could not be read: name and why.
    pub unread: Vec<(String, String)>,
}

impl LocalLists {
    /// How many files they speak of.
    pub fn len(&self) -> usize {
        self.conda.len() + self.dpkg.len()
    }

    /// Whether they speak of none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Who speaks of a file.
    pub(super) fn speaks_of(&self, path: &PathText) -> Option<Voucher> {
        if self.conda.contains_key(path) {
            return Some(Voucher::Conda);
        }
        self.dpkg.contains_key(path).then_some(Voucher::Dpkg)
    }

    /// All files that they speak of, with what these should be where that is a SHA-256.
    pub(super) fn iter(&self) -> impl Iterator<Item = (&PathText, Voucher, Option<Digest>)> {
        let conda = self.conda.iter();
        let conda = conda.map(|(path, digest)| (path, Voucher::Conda, Some(*digest)));
        let dpkg = self.dpkg.keys().map(|path| (path, Voucher::Dpkg, None));
        conda.chain(dpkg)
    }

    /// What they say of a file: who, and what it should be where that is a SHA-256.
    pub(super) fn verdict(
        &self,
        snapshot: &Snapshot,
        path: &PathText,
        found: Option<Digest>,
    ) -> Option<(Voucher, Result<(), Option<Digest>>)> {
        if let Some(expected) = self.conda.get(path) {
            let same = Some(*expected) == found;
            return Some((
                Voucher::Conda,
                if same { Ok(()) } else { Err(Some(*expected)) },
            ));
        }
        let expected = self.dpkg.get(path)?;
        // One that cannot be read now says nothing in this list's name.
        let md5 = md5_of(&snapshot.located(path)?)?;
        let verdict = if md5 == *expected { Ok(()) } else { Err(None) };
        Some((Voucher::Dpkg, verdict))
    }
}

fn md5_of(path: &Path) -> Option<[u8; 16]> {
    let mut reading = Reading::open(path).ok()?;
    let mut buffer = vec![0; BUFFER];
    let mut md5 = Md5::new();
    loop {
        match reading.read(&mut buffer).ok()? {
            0 => break,
            count => md5.update(buffer.get(..count)?),
        }
    }
    reading.close().ok()??;
    Some(md5.finalize().into())
}

/// Adds what conda wrote into `PREFIX/conda-meta`.
pub fn conda(snapshot: &Snapshot, prefix: &Path, lists: &mut LocalLists) {
    #[derive(Deserialize)]
    struct Meta {
        paths_data: Option<Paths>,
    }
    #[derive(Deserialize)]
    struct Paths {
        #[serde(default)]
        paths: Vec<One>,
    }
    #[derive(Deserialize)]
    struct One {
        #[serde(rename = "_path")]
        path: String,
        sha256: Option<String>,
        sha256_in_prefix: Option<String>,
    }
    let Some(resolver) = resolver(snapshot) else {
        return;
    };
    let all = listing(&prefix.join("conda-meta"), ".json", lists);
    for (name, bytes) in all {
        let meta: Meta = match serde_json::from_slice(&bytes) {
            Ok(meta) => meta,
            Err(error) => {
                lists
                    .unread
                    .push((name, format!("not a list of conda: {error}")));
                continue;
            }
        };
        for one in meta.paths_data.into_iter().flat_map(|it| it.paths) {
            let digest = one.sha256_in_prefix.or(one.sha256);
            let digest = digest.and_then(|it| it.parse().ok());
            let whole = [
                prefix.as_os_str().as_encoded_bytes(),
                b"/",
                one.path.as_bytes(),
            ]
            .concat();
            if let (Some(digest), Some(path)) = (digest, resolver.resolve(&whole)) {
                lists.conda.insert(path, digest);
            }
        }
    }
}

/// Adds what Debian's package manager wrote into `INFO` (`/var/lib/dpkg/info`), for files of this environment.
pub fn dpkg(snapshot: &Snapshot, info: &Path, lists: &mut LocalLists) {
    let Some(resolver) = resolver(snapshot) else {
        return;
    };
    for (_, bytes) in listing(info, ".md5sums", lists) {
        for line in bytes.split(|byte| *byte == b'\n') {
            let Some((digits, name)) = line.split_at_checked(32) else {
                continue;
            };
            let Some(name) = name.strip_prefix(b"  ") else {
                continue;
            };
            // Most lines are of other things; only what lies in this environment is kept.
            let whole = [b"/", name].concat();
            if let (Some(md5), Some(path)) = (md5_text(digits), resolver.resolve(&whole)) {
                lists.dpkg.insert(path, md5);
            }
        }
    }
}

/// Names are absolute, so the root that it starts from plays no role.
fn resolver(snapshot: &Snapshot) -> Option<Resolver<'_>> {
    let there = snapshot.places.iter().find(|place| place.real.is_some())?;
    Resolver::new(&snapshot.places, &there.name, b"")
}

fn md5_text(digits: &[u8]) -> Option<[u8; 16]> {
    let mut md5 = [0; 16];
    for (slot, pair) in md5.iter_mut().zip(digits.as_chunks::<2>().0) {
        *slot = u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok()?;
    }
    (digits.len() == 32).then_some(md5)
}

/// The files of a folder that end so, with their bytes.
fn listing(folder: &Path, suffix: &str, lists: &mut LocalLists) -> Vec<(String, Vec<u8>)> {
    let Ok(entries) = std::fs::read_dir(folder) else {
        return Vec::new();
    };
    let mut names: Vec<_> = entries
        .filter_map(|entry| entry.ok()?.file_name().into_string().ok())
        .filter(|name| name.ends_with(suffix))
        .take(MAX_LISTS)
        .collect();
    names.sort();
    let mut buffer = vec![0; BUFFER];
    let mut all = Vec::new();
    let mut left = 4 * MAX_LIST;
    for name in names {
        let limit = MAX_LIST.min(left);
        let why = match read_small(&folder.join(&name), limit, &mut buffer) {
            Ok(Some(bytes)) => {
                left = left.saturating_sub(bytes.len() as u64);
                all.push((name, bytes));
                continue;
            }
            Ok(None) => "it is too large".to_owned(),
            Err(gap) => gap.to_string(),
        };
        lists.unread.push((name, why));
    }
    all
}
