//! The user's own key for seals and statements: made on first use, exchanged for a new one, and what an old one still
//! vouches for.
//!
//! A key that signs no more is no key that never signed: what it sealed before must stay valid, and nothing that somebody
//! signs later with a stolen copy may become so. A signature has no time that its signer could not make up. So the exchange
//! writes a list of all that the key had sealed by then into the ledger, and an old key vouches for what is on its list.
//!
//! What is true if the process dies behind each step of [`rotate`]:
//!
//! 1. The new key lies beside the old one. *Nothing names it. The next use of the key finds that and removes it.*
//! 2. The list is a blob and the exchange an entry. *The next use finds the entry and goes on here.*
//! 3. The old public key is among those that ended. *The same; it is not added twice.*
//! 4. The new key has the old one's name, and the old private key is gone. *Done.*
//!
//! Whoever signs keeps a shared lock on the key's file until his act is recorded; the exchange takes it alone.

use std::fs::{File, TryLockError};
use std::io::{ErrorKind, Write as _};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use domain::entry::Act;
use domain::upkeep::{KeyRotated, SealedBefore};
use domain::{Body, Digest, Entry};
use ledger::{Log, LogError, Store};
use report::view::SealKeyView;
use serde::{Deserialize, Serialize};
use trust::keyfile::{self, KeyFileError};
use trust::keys::{PrivateKey, PublicKey};
use trust::succession::consent;

use super::SealError;
use crate::error::AppError;
use crate::place::Surroundings;
use crate::rotation::entry_at;
use crate::{acts, writing};

/// Name of the key among the private keys.
const CURRENT: &str = "seal.key";

/// Name of the one that is to follow it, before the id of the store in whose ledger that is said: nobody else knows.
const NEXT: &str = "seal.key.next.";

/// Name of the list of those that came before: an [`EndedKey`] as JSON a line.
const ENDED: &str = "seal.ended";

/// The most bytes of that list: thousands of keys.
const ENDED_BYTES_MAX: u64 = 1 << 20;

/// How long one waits for somebody who signs or exchanges.
const PATIENCE: Duration = Duration::from_secs(30);

/// Entries that are read at once.
const BATCH: u64 = 256;

/// Where the user's own key is.
pub(crate) fn path(keys: &Path) -> PathBuf {
    keys.join(CURRENT)
}

/// Where the one is that is to follow it.
fn next_path(keys: &Path, store: &Store) -> PathBuf {
    keys.join(format!("{NEXT}{}", store.id()))
}

/// The key that somebody signs with. As long as this lives, nobody exchanges it, if it is the own one.
pub(crate) struct SigningKey {
    key: PrivateKey,
    _held: Option<File>,
}

impl SigningKey {
    /// The one that is named, else the own one: made on first use; an exchange that died on the way is brought to its end.
    pub(crate) fn take(
        surroundings: &Surroundings,
        named: Option<&Path>,
    ) -> Result<Self, AppError> {
        if let Some(named) = named {
            let key = keyfile::read_private(&surroundings.cwd.join(named));
            let key = key.map_err(SealError::from)?;
            return Ok(Self { key, _held: None });
        }
        let keys = surroundings.keys()?;
        complete(surroundings, &keys)?;
        keyfile::own_key(&path(&keys)).map_err(SealError::from)?;
        let (key, held) = locked(&path(&keys), File::try_lock_shared)?;
        Ok(Self {
            key,
            _held: Some(held),
        })
    }

    /// The key.
    pub(crate) fn key(&self) -> &PrivateKey {
        &self.key
    }
}

/// The key's file, locked, and the key that it holds under that lock.
fn locked(
    path: &Path,
    lock: fn(&File) -> Result<(), TryLockError>,
) -> Result<(PrivateKey, File), SealError> {
    let disk = |source| KeyFileError::Disk {
        path: path.to_owned(),
        source,
    };
    let deadline = Instant::now() + PATIENCE;
    while Instant::now() < deadline {
        let file = File::options()
            .read(true)
            .custom_flags(rustix::fs::OFlags::NONBLOCK.bits().cast_signed())
            .open(path)
            .map_err(disk)?;
        match lock(&file) {
            Ok(()) if is_in_place(&file, path) => {
                return Ok((keyfile::read_private(path)?, file));
            }
            // Exchanged between the two.
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => std::thread::sleep(Duration::from_millis(5)),
            Err(TryLockError::Error(source)) => return Err(disk(source).into()),
        }
    }
    Err(SealError::KeyInUse {
        path: path.to_owned(),
    })
}

fn is_in_place(file: &File, path: &Path) -> bool {
    match (file.metadata(), std::fs::symlink_metadata(path)) {
        (Ok(ours), Ok(there)) => (ours.dev(), ours.ino()) == (there.dev(), there.ino()),
        _ => false,
    }
}

/// A key that signs no more, as the folder of private keys has it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct EndedKey {
    /// PEM.
    key: String,
    /// Blob with what it sealed.
    pub(super) list: Digest,
    /// Seconds since 1970.
    pub(super) at: i64,
}

impl EndedKey {
    /// When it ended, as the clock of this machine had it.
    pub(crate) fn at(&self) -> String {
        report::time::rfc3339(self.at.saturating_mul(1_000_000))
    }

    pub(super) fn key(&self) -> Option<PublicKey> {
        PublicKey::from_pem(self.key.as_bytes()).ok()
    }

    /// Whether it sealed this before it ended, by its list; or why that is not known.
    pub(super) fn sealed(
        &self,
        surroundings: &Surroundings,
        root: Digest,
        tree: Option<&str>,
    ) -> Result<bool, String> {
        let list = surroundings
            .store_to_read()
            .ok()
            .and_then(|path| Store::open(&path).ok())
            .and_then(|store| store.blob(&self.list).ok().flatten());
        let list =
            list.ok_or_else(|| format!("the list of them, blob {}, is not here", self.list))?;
        let listed = list.split(|byte| *byte == b'\n');
        let mut listed =
            listed.filter_map(|line| serde_json::from_slice::<SealedBefore>(line).ok());
        Ok(listed.any(|it| it.root == root && tree.is_none_or(|tree| tree == it.tree)))
    }
}

/// The keys that ended, oldest first; a list that others could write is refused.
pub(super) fn ended(keys: &Path) -> Result<Vec<EndedKey>, SealError> {
    let file = keys.join(ENDED);
    let bytes = match keyfile::read_own(&file, ENDED_BYTES_MAX) {
        Ok(bytes) => bytes,
        Err(KeyFileError::Disk { source, .. }) if source.kind() == ErrorKind::NotFound => {
            return Ok(Vec::new());
        }
        Err(error) => return Err(error.into()),
    };
    let lines = bytes.split(|byte| *byte == b'\n');
    let lines = lines.filter(|line| !line.is_empty());
    let all: Result<Vec<EndedKey>, _> = lines.map(serde_json::from_slice).collect();
    all.map_err(|why| SealError::Ended { path: file, why })
}

/// The key with this hint, if it is an own one that ended.
pub(crate) fn ended_with(
    surroundings: &Surroundings,
    hint: &str,
) -> Result<Option<EndedKey>, AppError> {
    let Ok(keys) = surroundings.keys() else {
        return Ok(None);
    };
    let mut all = ended(&keys)?.into_iter();
    Ok(all.find(|it| it.key().is_some_and(|key| key.hint() == hint)))
}

/// Exchanges the key.
pub fn rotate(surroundings: &Surroundings, reason: &str) -> Result<SealKeyView, AppError> {
    let store = Store::open_or_create(&surroundings.store_to_read()?)?;
    let keys = surroundings.keys()?;
    complete(surroundings, &keys)?;
    let file = path(&keys);
    if !file.exists() {
        return Err(SealError::NoKey { path: file }.into());
    }
    let (old, _alone) = locked(&file, File::try_lock)?;
    let new = keyfile::own_key(&next_path(&keys, &store)).map_err(SealError::from)?;
    // Step 1 is done.
    let writer = writing::open(&store, &keys)?;
    let sealed = sealed_by(&store, &keys, &old.public().hint())?;
    let mut list = Vec::new();
    for seal in &sealed {
        serde_json::to_writer(&mut list, seal).map_err(|_| AppError::NotRecorded {
            why: "the list of seals cannot be written".to_owned(),
        })?;
        list.push(b'\n');
    }
    let list = store.put_blob(&list)?;
    let consent = consent(&old, new.public(), &list).map_err(|_| SealError::NotSigned)?;
    let rotated = KeyRotated {
        ended: old.public().to_pem(),
        begun: new.public().to_pem(),
        list,
        seals: sealed.len() as u64,
        consent,
        reason: reason.to_owned(),
        person: crate::run::person(),
    };
    let (log, number) = acts::record(&writer, Act::KeyRotated(Box::new(rotated.clone())))?;
    // Step 2 is done.
    finish(&keys, &store, &rotated)?;
    Ok(SealKeyView {
        schema: "taintline.seal-key/1",
        ended: old.public().hint(),
        begun: new.public().hint(),
        public: rotated.begun,
        seals: rotated.seals,
        list: rotated.list.to_string(),
        ledger: format!("{log}, entry {number}"),
    })
}

/// Steps 3 and 4; the lock is held.
fn finish(keys: &Path, store: &Store, rotated: &KeyRotated) -> Result<(), SealError> {
    let mut all = ended(keys)?;
    if !all.iter().any(|it| it.key == rotated.ended) {
        all.push(EndedKey {
            key: rotated.ended.clone(),
            list: rotated.list,
            at: host::clock::wall_us() / 1_000_000,
        });
        write_ended(keys, &all)?;
    }
    // Step 3 is done.
    let file = path(keys);
    let write = |source| SealError::Write {
        path: file.clone(),
        source,
    };
    std::fs::rename(next_path(keys, store), &file).map_err(write)?;
    sync(keys).map_err(write)
}

fn write_ended(keys: &Path, all: &[EndedKey]) -> Result<(), SealError> {
    let file = keys.join(ENDED);
    let write = |source| SealError::Write {
        path: file.clone(),
        source,
    };
    let temporary = keys.join(format!(".{ENDED}.{}", std::process::id()));
    let mut text = Vec::new();
    for it in all {
        serde_json::to_writer(&mut text, it).map_err(|error| write(error.into()))?;
        text.push(b'\n');
    }
    let _ = std::fs::remove_file(&temporary);
    let mut options = File::options();
    let made = options.write(true).create_new(true).mode(0o600);
    let mut made = made.open(&temporary).map_err(write)?;
    made.write_all(&text)
        .and_then(|()| made.sync_all())
        .and_then(|()| std::fs::rename(&temporary, &file))
        .and_then(|()| sync(keys))
        .map_err(write)
}

fn sync(folder: &Path) -> std::io::Result<()> {
    File::open(folder)?.sync_all()
}

/// Brings an exchange to its end that died on the way, or takes back one of which nothing was said yet.
fn complete(surroundings: &Surroundings, keys: &Path) -> Result<(), AppError> {
    let store = surroundings.store_to_read().ok();
    let Some(store) = store.and_then(|path| Store::open(&path).ok()) else {
        return Ok(());
    };
    let next = next_path(keys, &store);
    if !next.exists() {
        return Ok(());
    }
    let (old, _alone) = locked(&path(keys), File::try_lock)?;
    // It may have been brought to its end while we waited.
    let Ok(new) = keyfile::read_private(&next) else {
        return Ok(());
    };
    let (ended, begun) = (old.public().to_pem(), new.public().to_pem());
    let mut found = None;
    each_own(&store, keys, |body| match body {
        Body::Act(Act::KeyRotated(it)) if it.ended == ended && it.begun == begun => {
            found = Some(*it);
        }
        _ => {}
    })?;
    match found {
        Some(rotated) => Ok(finish(keys, &store, &rotated)?),
        None => std::fs::remove_file(&next).map_err(|source| {
            let path = next.clone();
            SealError::Write { path, source }.into()
        }),
    }
}

/// What a key sealed, by the user's own logs: others could write into theirs what they like.
fn sealed_by(store: &Store, keys: &Path, hint: &str) -> Result<Vec<SealedBefore>, AppError> {
    let mut sealed = Vec::new();
    each_own(store, keys, |body| match body {
        Body::Act(Act::Sealed(seal)) if seal.key == hint => {
            sealed.push(SealedBefore {
                root: seal.root,
                tree: seal.tree,
            });
        }
        _ => {}
    })?;
    sealed.sort_unstable();
    sealed.dedup();
    Ok(sealed)
}

/// Every fact of every log whose private key is here, and of those that they go on from.
fn each_own(store: &Store, keys: &Path, mut see: impl FnMut(Body)) -> Result<(), AppError> {
    let logs = store.logs()?;
    let own = logs.iter().filter(|log| store.has_key(log, keys));
    let mut open: Vec<(&Log, u64)> = Vec::new();
    for log in own {
        open.push((log, log.head()?.size));
    }
    let mut seen: Vec<&str> = open.iter().map(|(log, _)| log.name()).collect();
    while let Some((log, size)) = open.pop() {
        if let Some((before, size)) = predecessor(&logs, log)?
            && !seen.contains(&before.name())
        {
            seen.push(before.name());
            open.push((before, size));
        }
        let mut next = 0;
        while next < size {
            let end = (next + BATCH).min(size);
            for bytes in log.entries(next..end)? {
                if let Ok(entry) = Entry::decode(&bytes) {
                    see(entry.body);
                }
            }
            next = end;
        }
    }
    Ok(())
}

/// The log that one goes on from, and how far; only if it still is the one that was continued.
fn predecessor<'a>(logs: &'a [Log], log: &Log) -> Result<Option<(&'a Log, u64)>, LogError> {
    if log.head()?.size == 0 {
        return Ok(None);
    }
    let Some(Body::Act(Act::LogBegun(begun))) = entry_at(log, 0)? else {
        return Ok(None);
    };
    let before = logs.iter().find(|log| log.name() == begun.predecessor);
    let Some(before) = before.filter(|before| before.name() != log.name()) else {
        return Ok(None);
    };
    let root = before.snapshot().and_then(|it| it.root_at(begun.size));
    let is_same = root.is_ok_and(|root| root == begun.root);
    Ok(is_same.then_some((before, begun.size)))
}
