//! Finding lock files and wheels on disk, and which wheel goes with which package.
//!
//! A wheel is never believed by its name: the name only says for which package it is looked at, its bytes say what it is.
//! Digests of wheels are remembered like those of any file ([`Cache`]), and what a wheel holds is asked of a [`Keeper`]
//! first, so that a second check reads neither.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::fs::File;
use std::io;
use std::os::unix::fs::{FileExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::SystemTime;

use domain::{Digest, Hasher};
use formats::ReadAt;
use serde::Deserialize;

use super::check::{Candidates, NoWheel};
use super::lock::{Lock, LockError, LockKind, Locked, LockedSource, MAX_LOCK_BYTES};
use super::manifest::Manifest;
use super::wheel::{WheelError, WheelName, read_wheel};
use crate::cache::Cache;
use crate::file::{BUFFER, FileKey, read_small};
use crate::packages::{Origin, Package};
use crate::snapshot::Snapshot;

/// How deep requirements include requirements.
const MAX_DEPTH: u32 = 4;

/// The most files that one shelf looks at.
const MAX_ENTRIES: usize = 100_000;

/// How deep folders of wheels are searched: pip's own cache has five levels.
const MAX_SHELF_DEPTH: u32 = 8;

/// Names that are looked for in each folder on the way up.
const LOCKS: [&str; 3] = ["uv.lock", "pylock.toml", "requirements.txt"];

/// A lock file that is not used.
#[derive(Debug, thiserror::Error)]
pub enum LocateError {
    /// It cannot be read.
    #[error("{}: {why}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        why: String,
    },
    /// It is no lock file.
    #[error("{}: {why}", path.display())]
    Lock {
        /// The file.
        path: PathBuf,
        /// Why.
        why: LockError,
    },
    /// It includes a file that lies elsewhere, or too deep.
    #[error("{}: it includes {included:?}, which {why}", path.display())]
    Include {
        /// The file.
        path: PathBuf,
        /// As spelled.
        included: String,
        /// What is wrong with it.
        why: &'static str,
    },
}

/// What was found on the way up.
#[derive(Debug, Default)]
pub struct FoundLock {
    /// The nearest lock file, with what it says.
    pub lock: Option<(PathBuf, Lock)>,
    /// Files that should be lock files and are not used, with the reason: whoever breaks one must not be rid of it unseen.
    pub passed_over: Vec<(PathBuf, String)>,
}

/// The nearest lock file from `folder` upwards. The search ends where the project ends, at the folder that has a `.git`, and
/// below a folder that anybody can write. One of somebody else, one that cannot be read, and a `uv.lock` or `pylock.toml`
/// without digests are passed over and told; requirements without digests are no lock file.
pub fn find_lock(folder: &Path) -> FoundLock {
    let mut found = FoundLock::default();
    let own = rustix::process::geteuid().as_raw();
    for folder in folder.ancestors() {
        // What lies where anybody can put something is nobody's lock file.
        if folder
            .metadata()
            .is_ok_and(|facts| facts.mode() & 0o002 != 0)
        {
            break;
        }
        for name in LOCKS {
            let path = folder.join(name);
            let Ok(facts) = path.metadata() else {
                // A link into nothing, or a folder that may not be looked into, is worth a word.
                if path.symlink_metadata().is_ok() {
                    found
                        .passed_over
                        .push((path, "it cannot be reached".to_owned()));
                }
                continue;
            };
            if !facts.is_file()
                || LockKind::of(name) == LockKind::Requirements && !has_hashes(&path)
            {
                continue;
            }
            if ![0, own].contains(&facts.uid()) {
                let why = format!("it belongs to user {}", facts.uid());
                found.passed_over.push((path, why));
                continue;
            }
            match read_lock(&path) {
                Ok(lock) => {
                    found.lock = Some((path, lock));
                    return found;
                }
                Err(why) => found.passed_over.push((path, why.to_string())),
            }
        }
        if folder.join(".git").exists() {
            break;
        }
    }
    found
}

/// Whether requirements mean to name digests; most do not. What cannot be read may.
fn has_hashes(path: &Path) -> bool {
    match read_small(path, MAX_LOCK_BYTES, &mut vec![0; BUFFER]) {
        Ok(Some(bytes)) => bytes.windows(b"--hash".len()).any(|it| it == b"--hash"),
        Ok(None) | Err(_) => true,
    }
}

/// Reads a lock file with all that it includes.
pub fn read_lock(path: &Path) -> Result<Lock, LocateError> {
    let top = path.parent().unwrap_or(Path::new("/"));
    let top = top.canonicalize().map_err(|error| LocateError::Read {
        path: path.to_owned(),
        why: error.to_string(),
    })?;
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let kind = LockKind::of(&name);
    let lock = read_one(path, kind, &top, MAX_DEPTH, &mut HashSet::new())?;
    if lock.digests() == 0 {
        return Err(LocateError::Lock {
            path: path.to_owned(),
            why: LockError::NoDigests,
        });
    }
    Ok(lock)
}

fn read_one(
    path: &Path,
    kind: LockKind,
    top: &Path,
    depth: u32,
    seen: &mut HashSet<PathBuf>,
) -> Result<Lock, LocateError> {
    let unread = |why: String| LocateError::Read {
        path: path.to_owned(),
        why,
    };
    let refused = |why| LocateError::Lock {
        path: path.to_owned(),
        why,
    };
    let bytes = read_small(path, MAX_LOCK_BYTES, &mut vec![0; BUFFER])
        .map_err(|gap| unread(gap.to_string()))?
        .ok_or_else(|| refused(LockError::TooLarge))?;
    let mut lock = Lock::parse(kind, &bytes).map_err(refused)?;
    for included in std::mem::take(&mut lock.includes) {
        let wrong = |why| LocateError::Include {
            path: path.to_owned(),
            included: included.clone(),
            why,
        };
        let Some(depth) = depth.checked_sub(1) else {
            return Err(wrong("is included too deep"));
        };
        let place = path.parent().unwrap_or(top).join(&included);
        let real = place.canonicalize().map_err(|_| wrong("cannot be found"))?;
        if !real.starts_with(top) {
            return Err(wrong("lies outside of the folder of the first one"));
        }
        if seen.insert(real.clone()) {
            let other = read_one(&real, kind, top, depth, seen)?;
            lock.merge(other).map_err(refused)?;
        }
    }
    Ok(lock)
}

/// Keeps manifests outside of every environment, by the digest of their wheel.
pub trait Keeper {
    /// What is kept of this wheel.
    fn load(&self, wheel: Digest) -> Option<Manifest>;
    /// Keeps it; that this fails costs time later and nothing else.
    fn keep(&self, manifest: &Manifest);
}

/// A wheel on disk, by its name alone.
#[derive(Debug, Clone)]
pub struct FoundWheel {
    /// Where.
    pub path: PathBuf,
    /// What its name says; none for a body in pip's cache.
    pub name: Option<WheelName>,
}

/// Wheels that may be used.
#[derive(Debug, Default)]
pub struct Shelf {
    /// In folders that the user named: wheels without a lock file too.
    pub named: Vec<FoundWheel>,
    /// In caches of installers: only what a lock file names by digest.
    pub cached: Vec<FoundWheel>,
    /// Folders that could not be listed wholly, and why.
    pub unread: Vec<(PathBuf, String)>,
}

impl Shelf {
    /// Adds a folder that the user named.
    pub fn add_named(&mut self, folder: &Path) {
        let found = wheels_in(folder, false, &mut self.unread);
        self.named.extend(found);
    }

    /// Adds pip's cache: wheels that it built, and bodies of answers that it kept.
    pub fn add_pip_cache(&mut self, cache: &Path) {
        for (folder, bodies) in [("wheels", false), ("http-v2", true), ("http", true)] {
            let folder = cache.join(folder);
            if folder.is_dir() {
                let found = wheels_in(&folder, bodies, &mut self.unread);
                self.cached.extend(found);
            }
        }
    }
}

/// The wheels below a folder; links to folders are not followed. With `bodies`, files of any name that begin as an archive.
pub fn wheels_in(
    folder: &Path,
    bodies: bool,
    unread: &mut Vec<(PathBuf, String)>,
) -> Vec<FoundWheel> {
    let mut found = Vec::new();
    let mut waiting = vec![(folder.to_owned(), 0)];
    let mut seen = 0_usize;
    while let Some((folder, depth)) = waiting.pop() {
        let entries = match std::fs::read_dir(&folder) {
            Ok(entries) => entries,
            Err(error) => {
                unread.push((folder, error.to_string()));
                continue;
            }
        };
        for entry in entries.filter_map(Result::ok) {
            seen += 1;
            if seen > MAX_ENTRIES {
                unread.push((folder, format!("more than {MAX_ENTRIES} entries")));
                return found;
            }
            let path = entry.path();
            let Ok(kind) = entry.file_type() else {
                continue;
            };
            if kind.is_dir() && depth < MAX_SHELF_DEPTH {
                waiting.push((path, depth + 1));
                continue;
            }
            let name = entry.file_name();
            let name = WheelName::parse(&name.to_string_lossy());
            if name.is_some() || bodies && kind.is_file() && begins_as_archive(&path) {
                found.push(FoundWheel { path, name });
            }
        }
    }
    found.sort_by(|one, other| one.path.cmp(&other.path));
    found
}

fn begins_as_archive(path: &Path) -> bool {
    let mut head = [0; 4];
    File::open(path)
        .and_then(|file| file.read_exact_at(&mut head, 0))
        .is_ok_and(|()| head == *b"PK\x03\x04")
}

/// An open file as bytes at any place.
struct FileAt {
    file: File,
    length: u64,
}

impl ReadAt for FileAt {
    fn len(&self) -> u64 {
        self.length
    }

    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<()> {
        self.file.read_exact_at(buffer, offset)
    }
}

fn open(path: &Path) -> io::Result<(FileAt, FileKey)> {
    // Never waits for a pipe: what is no regular file is refused.
    let flags = rustix::fs::OFlags::RDONLY
        | rustix::fs::OFlags::NONBLOCK
        | rustix::fs::OFlags::CLOEXEC
        | rustix::fs::OFlags::NOCTTY;
    let file = File::from(rustix::fs::open(path, flags, rustix::fs::Mode::empty())?);
    let facts = rustix::fs::fstat(&file)?;
    if !rustix::fs::FileType::from_raw_mode(facts.st_mode).is_file() {
        return Err(io::Error::other("not a regular file"));
    }
    let key = FileKey::of(&facts);
    let length = key.size;
    Ok((FileAt { file, length }, key))
}

fn digest_of(input: &FileAt) -> io::Result<Digest> {
    let mut hasher = Hasher::new();
    let mut buffer = vec![0; BUFFER];
    let mut at = 0;
    while at < input.length {
        let count = input.file.read_at(&mut buffer, at)?;
        if count == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        hasher.update(buffer.get(..count).unwrap_or_default());
        at += count as u64;
    }
    Ok(hasher.finish())
}

/// The digest of a wheel, remembered by the state of its file; `began` is when this check began.
pub fn digest_wheel(path: &Path, cache: &mut Cache, began: SystemTime) -> io::Result<Digest> {
    let (input, key) = open(path)?;
    if let Some(digest) = cache.get(&key) {
        return Ok(digest);
    }
    let digest = digest_of(&input)?;
    if FileKey::of(&rustix::fs::fstat(&input.file)?) != key {
        return Err(io::Error::other("it changed while it was read"));
    }
    cache.put(key, digest, began);
    Ok(digest)
}

/// What the wheel of this digest holds. The bytes are digested again as they are opened: what is kept under a digest is made
/// from bytes of that digest, whatever a cache said.
pub fn manifest_of(path: &Path, wheel: Digest) -> Result<Manifest, WheelError> {
    let (input, key) = open(path)?;
    let changed = || WheelError::Io(io::Error::other("it changed while it was read"));
    if digest_of(&input)? != wheel {
        return Err(changed());
    }
    let manifest = read_wheel(&input, wheel)?;
    let facts = rustix::fs::fstat(&input.file).map_err(io::Error::from)?;
    if FileKey::of(&facts) != key {
        return Err(changed());
    }
    Ok(manifest)
}

/// Finds what can speak for each package of an environment.
pub struct Finder<'a> {
    /// The lock file.
    pub lock: Option<&'a Lock>,
    /// Where wheels are.
    pub shelf: &'a Shelf,
    /// Where manifests are kept.
    pub keeper: &'a dyn Keeper,
    /// Digests of files.
    pub cache: &'a mut Cache,
    /// When this check began.
    pub began: SystemTime,
}

impl Finder<'_> {
    /// For each package of the snapshot.
    pub fn find(&mut self, snapshot: &Snapshot) -> Vec<Candidates> {
        let mut by_name: HashMap<(String, String), Vec<&FoundWheel>> = HashMap::new();
        let wheels = self.shelf;
        for wheel in wheels.named.iter().chain(&wheels.cached) {
            if let Some(name) = &wheel.name {
                let key = (name.name.clone(), name.version.clone());
                by_name.entry(key).or_default().push(wheel);
            }
        }
        let bodies = self.bodies(snapshot);
        let packages = snapshot.packages.iter();
        packages
            .map(|package| self.one(package, &by_name, &bodies))
            .collect()
    }

    /// Bodies in pip's cache by digest, if a lock file allows one of the digests for a package that is installed.
    fn bodies(&mut self, snapshot: &Snapshot) -> BTreeMap<Digest, PathBuf> {
        let Some(lock) = self.lock else {
            return BTreeMap::new();
        };
        let wanted: HashSet<Digest> = snapshot
            .packages
            .iter()
            .filter_map(|package| lock.allowed(&package.name, &package.version))
            .flatten()
            .flat_map(|locked| &locked.artifacts)
            .map(|artifact| artifact.digest)
            .collect();
        let mut found = BTreeMap::new();
        for body in self.shelf.cached.iter().filter(|it| it.name.is_none()) {
            let digest = digest_wheel(&body.path, self.cache, self.began);
            if let Ok(digest) = digest
                && wanted.contains(&digest)
            {
                found.insert(digest, body.path.clone());
            }
        }
        found
    }

    fn one(
        &mut self,
        package: &Package,
        by_name: &HashMap<(String, String), Vec<&FoundWheel>>,
        bodies: &BTreeMap<Digest, PathBuf>,
    ) -> Candidates {
        if let Some(none) = Candidates::without(&package.origin) {
            return none;
        }
        let key = (package.normalized(), package.version.clone());
        let wheels = by_name.get(&key).map(Vec::as_slice).unwrap_or_default();
        let lock = self.lock;
        let why = match lock.map(|lock| locked(lock, package)) {
            Some(Ok(allowed)) => return self.locked(&allowed, wheels, bodies),
            Some(Err(why)) => why,
            None => NoWheel::NotAsked,
        };
        self.unlocked(wheels, why)
    }

    /// The wheels that a lock file allows.
    fn locked(
        &mut self,
        allowed: &[&Locked],
        wheels: &[&FoundWheel],
        bodies: &BTreeMap<Digest, PathBuf>,
    ) -> Candidates {
        let artifacts: Vec<_> = allowed.iter().flat_map(|it| &it.artifacts).collect();
        let digests: HashSet<Digest> = artifacts.iter().map(|it| it.digest).collect();
        let mut why = NoWheel::NotFound;
        let mut manifests: BTreeMap<Digest, Arc<Manifest>> = digests
            .iter()
            .filter_map(|digest| Some((*digest, Arc::new(self.keeper.load(*digest)?))))
            .collect();
        for wheel in wheels {
            let digest = match digest_wheel(&wheel.path, self.cache, self.began) {
                Ok(digest) => digest,
                Err(error) => {
                    why = refused(&wheel.path, &error.to_string());
                    continue;
                }
            };
            if !digests.contains(&digest) {
                let file = shown(&wheel.path);
                let named = artifacts.iter().any(|it| it.file.as_ref() == Some(&file));
                why = NoWheel::NotAllowed {
                    file,
                    digest,
                    named,
                };
                continue;
            }
            self.read(&wheel.path, digest, &mut manifests, &mut why);
        }
        for (digest, path) in bodies.iter().filter(|(digest, _)| digests.contains(digest)) {
            self.read(path, *digest, &mut manifests, &mut why);
        }
        if manifests.is_empty() {
            return Candidates::None(why);
        }
        Candidates::Wheels {
            manifests: manifests.into_values().collect(),
            locked: Ok(()),
        }
    }

    fn read(
        &self,
        path: &Path,
        digest: Digest,
        manifests: &mut BTreeMap<Digest, Arc<Manifest>>,
        why: &mut NoWheel,
    ) {
        if manifests.contains_key(&digest) {
            return;
        }
        match manifest_of(path, digest) {
            Ok(manifest) => {
                self.keeper.keep(&manifest);
                manifests.insert(digest, Arc::new(manifest));
            }
            Err(error) => *why = refused(path, &error.to_string()),
        }
    }

    /// Wheels of that name and version in folders that the user named.
    fn unlocked(&mut self, wheels: &[&FoundWheel], mut why: NoWheel) -> Candidates {
        let no_lock = why.clone();
        let mut manifests = BTreeMap::new();
        let is_named = |wheel: &FoundWheel| self.shelf.named.iter().any(|it| it.path == wheel.path);
        let named: Vec<_> = wheels.iter().filter(|wheel| is_named(wheel)).collect();
        if named.is_empty() && why == NoWheel::NotAsked && !self.shelf.named.is_empty() {
            why = NoWheel::NotFound;
        }
        for wheel in named {
            let digest = match digest_wheel(&wheel.path, self.cache, self.began) {
                Ok(digest) => digest,
                Err(error) => {
                    why = refused(&wheel.path, &error.to_string());
                    continue;
                }
            };
            if let Some(manifest) = self.keeper.load(digest) {
                manifests.insert(digest, Arc::new(manifest));
            }
            self.read(&wheel.path, digest, &mut manifests, &mut why);
        }
        if manifests.is_empty() {
            return Candidates::None(why);
        }
        Candidates::Wheels {
            manifests: manifests.into_values().collect(),
            locked: Err(no_lock),
        }
    }
}

/// What a lock file allows for a package, or why it says nothing.
fn locked<'a>(lock: &'a Lock, package: &Package) -> Result<Vec<&'a Locked>, NoWheel> {
    let Some(allowed) = lock.allowed(&package.name, &package.version) else {
        let other = lock.versions(&package.name).first();
        return Err(
            other.map_or(NoWheel::NotLocked, |it| NoWheel::OtherVersion {
                locked: it.version.clone().unwrap_or_default(),
            }),
        );
    };
    if allowed.iter().all(|it| it.source != LockedSource::Files) {
        return Err(NoWheel::Built);
    }
    let artifacts: Vec<_> = allowed.iter().flat_map(|it| &it.artifacts).collect();
    if artifacts.is_empty() {
        return Err(NoWheel::NoDigest);
    }
    if !artifacts.iter().any(|it| it.may_be_wheel()) {
        return Err(NoWheel::SourceOnly);
    }
    Ok(allowed)
}

fn refused(path: &Path, reason: &str) -> NoWheel {
    NoWheel::Refused {
        file: shown(path),
        reason: reason.to_owned(),
    }
}

fn shown(path: &Path) -> String {
    path.file_name()
        .unwrap_or_default()
        .to_string_lossy()
        .into_owned()
}

/// The folder that an editable package is imported from, by its `direct_url.json`: only an address of a file has one.
pub fn project_of(snapshot: &Snapshot, package: &Package) -> Option<PathBuf> {
    #[derive(Deserialize)]
    struct DirectUrl {
        url: String,
    }
    if package.origin != Origin::Editable {
        return None;
    }
    let path = [&package.papers.to_bytes(), b"/direct_url.json".as_slice()].concat();
    let bytes = snapshot.bytes(&domain::PathText::from_bytes(&path), 64 << 10)?;
    let address = serde_json::from_slice::<DirectUrl>(&bytes).ok()?.url;
    let plain = address.strip_prefix("file://")?;
    let plain = plain.strip_prefix("localhost").unwrap_or(plain);
    plain
        .starts_with('/')
        .then(|| PathBuf::from(super::lock::percent_decoded(plain)))
}
