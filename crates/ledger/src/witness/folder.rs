//! A witness's memory: its keys and, for each log, the last tree head that it cosigned.
//!
//! ```text
//! lock                                    held as long as the witness is open
//! ed25519.key, ml-dsa-44.key              its private keys
//! logs/<SHA-256 of the origin>/checkpoint what it cosigned last, with the log's signature and its own
//! logs/<SHA-256 of the origin>/fork-*     heads of the log that contradict one that it cosigned, and that one
//! ```
//!
//! A cosignature leaves only when the note that it stands on is durable under its name. A witness that dies before has said
//! nothing; one that dies behind it has said it, and the log asks again and is told so. What is in the folder is believed
//! only where the witness's own signature is on it: who can write there can make it forget, not lie.

use std::collections::BTreeMap;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use domain::Digest;

use super::judge::{Refusal, judge};
use super::request::AddCheckpoint;
use crate::cosignature::{Algorithm, CosignerKey};
use crate::cosigner::Cosigner;
use crate::disk::{Disk, Kernel};
use crate::durable::{self, Fault};
use crate::key::KeyError;
use crate::note::{self, MAX_NOTE_BYTES, Note, Signature, VerifierKey};
use crate::tree_head::{TreeHead, parse_extended};

/// The file that holds what was cosigned last.
const CHECKPOINT: &str = "checkpoint";

/// Bytes of a log's name, at most: what a cosignature of ML-DSA-44 can hold.
const MAX_ORIGIN_BYTES: usize = 255;

/// Contradictions of one log that are kept; the first proves it, and a disk must not be filled.
const MAX_FORKS: usize = 16;

/// Why a witness cannot work.
#[derive(Debug, Clone, thiserror::Error)]
pub enum WitnessError {
    /// The disk refused.
    #[error(transparent)]
    Disk(#[from] Fault),
    /// A private key.
    #[error(transparent)]
    Key(#[from] KeyError),
    /// Another process has the folder open.
    #[error("{}: another witness works in this folder", folder.display())]
    Busy {
        /// The folder.
        folder: PathBuf,
    },
    /// The folder has no keys, and no name to make them under was given.
    #[error("{}: there is no witness here", folder.display())]
    NoKeys {
        /// The folder.
        folder: PathBuf,
    },
    /// A log whose name is too long to be cosigned.
    #[error("the name of a log has more than {MAX_ORIGIN_BYTES} bytes")]
    Origin,
    /// A note that this witness did not sign, or that is of another log.
    #[error("{}: this is no tree head that this witness cosigned", file.display())]
    Memory {
        /// The file.
        file: PathBuf,
    },
}

/// A witness that is at work: it alone has its folder.
pub struct Witness {
    disk: Arc<dyn Disk>,
    cosigners: Vec<Cosigner>,
    logs: BTreeMap<String, WitnessedLog>,
    _lock: File,
}

struct WitnessedLog {
    keys: Vec<VerifierKey>,
    folder: PathBuf,
    /// Held from the judgement until what follows from it is durable.
    latest: Mutex<Latest>,
}

#[derive(Clone)]
struct Latest {
    head: TreeHead,
    /// The note, with the log's signature and the witness's; nothing before the first.
    note: Option<Note>,
    /// The time of the last cosignature, which the next one is not before.
    at: u64,
}

/// The public keys of the witness in `folder`. With a name they are made where they are missing.
pub fn keys(folder: &Path, name: Option<&str>) -> Result<Vec<CosignerKey>, WitnessError> {
    let cosigners = cosigners(&Kernel, folder, name)?;
    Ok(cosigners.iter().map(|it| it.key().clone()).collect())
}

fn cosigners(
    disk: &dyn Disk,
    folder: &Path,
    name: Option<&str>,
) -> Result<Vec<Cosigner>, WitnessError> {
    let mut found = Vec::new();
    // The second key is made under the first one's name.
    let mut name = name.map(str::to_owned);
    for (file, algorithm) in [
        ("ed25519.key", Algorithm::Ed25519),
        ("ml-dsa-44.key", Algorithm::MlDsa44),
    ] {
        let path = folder.join(file);
        let cosigner = match (Cosigner::load(&path, algorithm)?, &name) {
            (Some(cosigner), _) => cosigner,
            (None, Some(name)) => Cosigner::load_or_make(disk, &path, name, algorithm)?,
            (None, None) => {
                return Err(WitnessError::NoKeys {
                    folder: folder.to_owned(),
                });
            }
        };
        name = Some(cosigner.key().name().to_owned());
        found.push(cosigner);
    }
    Ok(found)
}

impl Witness {
    /// Opens the witness in `folder`, which has keys, for these logs. Several keys of one origin are keys of one log.
    pub fn open(folder: &Path, logs: &[VerifierKey]) -> Result<Self, WitnessError> {
        Self::open_on(Arc::new(Kernel), folder, logs)
    }

    pub(crate) fn open_on(
        disk: Arc<dyn Disk>,
        folder: &Path,
        logs: &[VerifierKey],
    ) -> Result<Self, WitnessError> {
        let cosigners = cosigners(&*disk, folder, None)?;
        let lock = lock(folder)?;
        let mut witness = Self {
            disk,
            cosigners,
            logs: BTreeMap::new(),
            _lock: lock,
        };
        for key in logs {
            if key.name().len() > MAX_ORIGIN_BYTES {
                return Err(WitnessError::Origin);
            }
            if let Some(log) = witness.logs.get_mut(key.name()) {
                log.keys.push(key.clone());
                continue;
            }
            let log = witness.open_log(folder, key)?;
            witness.logs.insert(key.name().to_owned(), log);
        }
        Ok(witness)
    }

    fn open_log(&self, folder: &Path, key: &VerifierKey) -> Result<WitnessedLog, WitnessError> {
        let folder = folder
            .join("logs")
            .join(Digest::of(key.name().as_bytes()).to_string());
        durable::make_directories(&*self.disk, &folder)?;
        let file = folder.join(CHECKPOINT);
        let latest = match durable::read_regular(&file, MAX_NOTE_BYTES as u64)? {
            None => Latest {
                head: TreeHead::empty(),
                note: None,
                at: 0,
            },
            Some(bytes) => self
                .remembered(&bytes, key.name())
                .ok_or(WitnessError::Memory { file })?,
        };
        Ok(WitnessedLog {
            keys: vec![key.clone()],
            folder,
            latest: Mutex::new(latest),
        })
    }

    /// A note that all keys of this witness signed.
    fn remembered(&self, bytes: &[u8], origin: &str) -> Option<Latest> {
        let note = note::parse(bytes).ok()?;
        let (said, head) = parse_extended(note.text())?;
        let mut at = 0;
        for cosigner in &self.cosigners {
            at = cosigner.key().read(&note)?.ok()?.at.max(at);
        }
        (said == origin).then_some(())?;
        Some(Latest {
            head,
            note: Some(note),
            at,
        })
    }

    /// The public keys.
    pub fn keys(&self) -> Vec<CosignerKey> {
        self.cosigners.iter().map(|it| it.key().clone()).collect()
    }

    /// The origins of the logs that it witnesses.
    pub fn origins(&self) -> impl Iterator<Item = &str> {
        self.logs.keys().map(String::as_str)
    }

    /// Judges a request at `now` seconds since 1970, and answers with the lines of the cosignatures. What they say is
    /// durable when this returns.
    pub fn add_checkpoint(
        &self,
        body: &[u8],
        now: u64,
    ) -> Result<Result<String, Refusal>, WitnessError> {
        let request = match AddCheckpoint::parse(body) {
            Ok(request) => request,
            Err(syntax) => return Ok(Err(syntax.into())),
        };
        let log = request.head().and_then(|(it, _)| self.logs.get(it));
        let Some(log) = log else {
            return Ok(Err(Refusal::UnknownLog));
        };
        let mut latest = log.latest();
        let verdict = judge(&request, &log.keys, latest.head);
        if verdict.contradicts {
            self.keep_fork(log, &latest, &request.note)?;
        }
        let head = match verdict.answer {
            Ok(head) => head,
            Err(refusal) => return Ok(Err(refusal)),
        };
        // A clock that was put back must not make a later head look older.
        let at = now.max(latest.at).max(1);
        let own = log.signatures(&request.note);
        let bare = Note::new(request.note.text().to_owned(), own);
        let signatures: Vec<Signature> = self
            .cosigners
            .iter()
            .filter_map(|it| it.cosign(&bare, at))
            .collect();
        let note = signatures.iter().cloned().fold(bare, Note::signed_also);
        // The same head again says nothing new: what was durable stays so.
        if latest.note.is_none() || head != latest.head {
            self.persist(log, &note)?;
        }
        let note = Some(note);
        *latest = Latest { head, note, at };
        Ok(Ok(signatures.iter().map(Signature::line).collect()))
    }

    fn persist(&self, log: &WitnessedLog, note: &Note) -> Result<(), Fault> {
        write(&*self.disk, &log.folder.join(CHECKPOINT), &note.encode())
    }

    /// Keeps two heads that contradict each other, once.
    fn keep_fork(&self, log: &WitnessedLog, latest: &Latest, other: &Note) -> Result<(), Fault> {
        let Some((_, head)) = parse_extended(other.text()) else {
            return Ok(());
        };
        let name = format!("fork-{}-{}", head.size, head.root.short());
        let path = log.folder.join(&name);
        let kept = std::fs::read_dir(&log.folder)
            .map_err(|error| Fault::at(&log.folder, error))?
            .filter_map(Result::ok)
            .filter(|it| it.file_name().as_encoded_bytes().starts_with(b"fork-"))
            .count();
        if kept >= MAX_FORKS * 2 || path.exists() {
            return Ok(());
        }
        if let Some(note) = &latest.note {
            write(
                &*self.disk,
                &log.folder.join(format!("{name}-seen")),
                &note.encode(),
            )?;
        }
        write(&*self.disk, &path, &other.encode())
    }

    /// What was cosigned last of the log whose origin has this digest, in hexadecimal; with the log's signature and the
    /// witness's.
    pub fn latest(&self, origin_digest: &str) -> Option<Vec<u8>> {
        let is = |origin: &str| Digest::of(origin.as_bytes()).to_string() == origin_digest;
        let (_, log) = self.logs.iter().find(|(origin, _)| is(origin))?;
        let note = log.latest().note.clone();
        Some(note?.encode())
    }
}

impl WitnessedLog {
    /// Of the signatures that came, those by the log's keys: strangers' are not kept.
    fn signatures(&self, note: &Note) -> Vec<Signature> {
        let of_log = |it: &&Signature| {
            let mut keys = self.keys.iter();
            keys.any(|key| key.name() == it.name && key.id() == it.key_id)
        };
        note.signatures().iter().filter(of_log).cloned().collect()
    }

    /// A thread that panicked in here had changed nothing yet: memory is set last.
    fn latest(&self) -> MutexGuard<'_, Latest> {
        self.latest.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Puts a file in the place of another, whole and durable.
fn write(disk: &dyn Disk, path: &Path, bytes: &[u8]) -> Result<(), Fault> {
    let folder = durable::parent(path);
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let temporary = folder.join(format!(".{name}.new"));
    disk.sync(&disk.create(&temporary, bytes)?)?;
    // Dying before the rename leaves what was there; behind it the new file is whole.
    durable::rename(disk, &temporary, path)?;
    disk.sync_directory(folder)
}

/// Two witnesses with one key and two memories would cosign two histories.
fn lock(folder: &Path) -> Result<File, WitnessError> {
    let path = folder.join("lock");
    let file = File::options()
        .create(true)
        .truncate(false)
        .write(true)
        .open(&path)
        .map_err(|error| Fault::at(&path, error))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(std::fs::TryLockError::WouldBlock) => Err(WitnessError::Busy {
            folder: folder.to_owned(),
        }),
        Err(std::fs::TryLockError::Error(error)) => Err(Fault::at(&path, error).into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::key::SigningKey;
    use crate::tree::{Edge, leaf};

    const NOW: u64 = 1_800_000_000;

    struct World {
        place: tempfile::TempDir,
        key: SigningKey,
    }

    impl World {
        fn new() -> Self {
            let place = tempfile::tempdir().unwrap();
            let path = place.path().join("log.key");
            let key = SigningKey::load_or_make(&Kernel, &path, "log").unwrap().0;
            keys(&place.path().join("w"), Some("witness.example/w")).unwrap();
            Self { place, key }
        }

        fn folder(&self) -> PathBuf {
            self.place.path().join("w")
        }

        fn open(&self) -> Witness {
            Witness::open(&self.folder(), &[self.key.verifier().clone()]).unwrap()
        }

        /// A request for a log of so many entries, each of which says `word`.
        fn request(&self, old: u64, size: u64, word: &[u8]) -> Vec<u8> {
            let mut edge = Edge::default();
            for _ in 0..size {
                edge.push(leaf(word));
            }
            let root = edge.root();
            let head = TreeHead { size, root };
            let note = self.key.sign(head.text("log"));
            let proof = Vec::new();
            AddCheckpoint { old, proof, note }.encode()
        }

        fn file(&self, name: &str) -> PathBuf {
            let log = Digest::of(b"log").to_string();
            self.folder().join("logs").join(log).join(name)
        }
    }

    #[test]
    fn a_cosigned_head_is_remembered_by_the_next_witness_in_the_folder() {
        let world = World::new();
        let witness = world.open();
        let request = world.request(0, 5, b"a");
        let lines = witness.add_checkpoint(&request, NOW).unwrap().unwrap();
        let note = AddCheckpoint::parse(&request).unwrap().note;
        let cosigned = note::parse_signatures(&lines).unwrap();
        let note = cosigned.into_iter().fold(note, Note::signed_also);
        for key in witness.keys() {
            assert_eq!(key.read(&note).unwrap().unwrap().at, NOW);
        }
        let log = Digest::of(b"log").to_string();
        assert_eq!(witness.latest(&log).unwrap(), note.encode());
        assert_eq!(witness.latest("x"), None);
        drop(witness);
        let witness = world.open();
        assert_eq!(witness.latest(&log).unwrap(), note.encode());
        let stale = witness.add_checkpoint(&request, NOW).unwrap();
        assert_eq!(stale, Err(Refusal::Stale { size: 5 }));
    }

    #[test]
    fn a_second_witness_in_the_same_folder_is_refused() {
        let world = World::new();
        let first = world.open();
        let second = Witness::open(&world.folder(), &[]);
        assert!(matches!(second, Err(WitnessError::Busy { .. })));
        drop(first);
        world.open();
    }

    #[test]
    fn both_heads_of_a_fork_are_kept_and_not_without_end() {
        let world = World::new();
        let witness = world.open();
        let first = world.request(0, 5, b"a");
        witness.add_checkpoint(&first, NOW).unwrap().unwrap();
        for round in 0..40_u8 {
            let fork = world.request(5, 5, &[round]);
            let refused = witness.add_checkpoint(&fork, NOW).unwrap();
            assert_eq!(refused, Err(Refusal::Fork));
        }
        let kept: Vec<_> = std::fs::read_dir(world.file("")).unwrap().collect();
        assert_eq!(kept.len(), 1 + MAX_FORKS * 2);
        let heads = |seen: bool| {
            let names = kept.iter().map(|it| it.as_ref().unwrap().path());
            let mut fork = names.filter(|it| {
                let name = it.file_name().unwrap().to_string_lossy().into_owned();
                name.starts_with("fork-") && name.ends_with("-seen") == seen
            });
            let bytes = std::fs::read(fork.next().unwrap()).unwrap();
            crate::tree_head::open(&bytes, world.key.verifier())
                .unwrap()
                .0
        };
        let (seen, other) = (heads(true), heads(false));
        assert_eq!(seen.size, other.size);
        assert_ne!(seen.root, other.root, "two signed roots of one size");
    }

    #[test]
    fn a_memory_that_the_witness_did_not_sign_is_not_believed() {
        let world = World::new();
        world
            .open()
            .add_checkpoint(&world.request(0, 5, b"a"), NOW)
            .unwrap()
            .unwrap();
        let file = world.file(CHECKPOINT);
        let whole = std::fs::read(&file).unwrap();
        for at in [0, 4, 10, whole.len() - 3, whole.len() - 1] {
            let mut changed = whole.clone();
            changed[at] ^= 1;
            std::fs::write(&file, &changed).unwrap();
            let opened = Witness::open(&world.folder(), &[world.key.verifier().clone()]);
            assert!(
                matches!(opened, Err(WitnessError::Memory { .. })),
                "byte {at}"
            );
        }
        let bare = AddCheckpoint::parse(&world.request(0, 3, b"a"))
            .unwrap()
            .note;
        std::fs::write(&file, bare.encode()).unwrap();
        let opened = Witness::open(&world.folder(), &[world.key.verifier().clone()]);
        assert!(matches!(opened, Err(WitnessError::Memory { .. })));
    }

    #[test]
    fn a_later_head_is_never_dated_before_an_earlier_one() {
        let world = World::new();
        let witness = world.open();
        witness
            .add_checkpoint(&world.request(0, 5, b"a"), NOW)
            .unwrap()
            .unwrap();
        witness
            .add_checkpoint(&world.request(5, 5, b"a"), NOW - 1000)
            .unwrap()
            .unwrap();
        let note = witness.latest(&Digest::of(b"log").to_string()).unwrap();
        let note = note::parse(&note).unwrap();
        assert_eq!(witness.keys()[0].read(&note).unwrap().unwrap().at, NOW);
    }

    #[test]
    fn a_folder_without_keys_is_no_witness() {
        let place = tempfile::tempdir().unwrap();
        assert!(matches!(
            Witness::open(place.path(), &[]),
            Err(WitnessError::NoKeys { .. })
        ));
        let made = keys(place.path(), Some("a")).unwrap();
        assert_eq!(keys(place.path(), Some("b")).unwrap(), made);
        assert_eq!(made.len(), 2);
    }
}
