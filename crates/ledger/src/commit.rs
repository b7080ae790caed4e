//! One group commit: the log is compared with what is remembered, one record goes into the write-ahead file, one sync.
//!
//! What is true if the process dies behind each step of [`Commit::append`]:
//!
//! 1. *The lock is taken and the log compared.* Nothing has changed.
//! 2. *The record is written.* Any of its sectors may be on disk, or none. Who reads next takes it as it is when all are
//!    there, for then it is signed and whole; otherwise it counts as never written. Nobody was told that it is there.
//! 3. *It is synced.* It survives a power cut. The appenders may or may not have heard of it.
//!
//! Tiles are written and the head is published beside this, on a thread of its own that takes neither lock for longer than
//! a name needs ([`beside`]); a group waits for that only when the write-ahead file is full.
//!
//! A sync that fails leaves the file in doubt: the kernel may call bytes clean that never reached the disk. The record is
//! then blanked again, nobody is told that it is there, and before anything else is appended the whole log goes into new
//! files ([`crate::publish`]).

use std::os::unix::fs::{FileExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use domain::Digest;

use crate::continuity::{Broken, Found, Memory, vkey_text};
use crate::disk::{Disk, Handle};
use crate::durable::{self, Fault};
use crate::lock::{Held, LockError, PATIENCE, Turn};
use crate::opening::Opened;
use crate::publish::Publication;
use crate::queue::Batch;
use crate::standing::{self, Published, Standing};
use crate::tile::{Kind, MAX_BUNDLE_BYTES, Name};
use crate::tiles::{CHECKPOINT, LogError, VKEY, Vouched, WAL};
use crate::tree::{Edge, TILE_WIDTH, leaf};
use crate::tree_head::TreeHead;
use crate::wal::{self, SECTOR, Wal};
use crate::writer::{Appended, LedgerError};

mod beside;

pub(crate) use self::beside::JobEnd;

/// What was appended is published after so long, by the next append.
const PUBLISH_AFTER: Duration = Duration::from_secs(10);

/// A log that is appended to.
pub(crate) struct Commit {
    disk: Arc<dyn Disk>,
    opened: Opened,
    memory: Memory,
    live: Option<Live>,
    published_at: Instant,
    /// A publication is under way beside the appends of this process.
    is_beside: bool,
    failed: Failed,
    /// A sync of the write-ahead file failed, and it was not begun anew since.
    is_in_doubt: bool,
}

/// Publications that failed beside appends: what could not be published now will be later, so nobody is told.
#[derive(Default)]
struct Failed {
    count: usize,
    /// The next one is not tried before.
    until: Option<Instant>,
}

/// The log as this process last saw it, so that an unchanged one need not be verified again.
struct Live {
    published: Published,
    head: TreeHead,
    edge: Edge,
    /// The signed head behind the last record.
    note: Vec<u8>,
    capacity: u64,
    file: Handle,
    /// The record that the first unpublished entry is in, or will be: its place, and the size of the log before it.
    unpublished: (usize, u64),
    /// Where the next record goes.
    end: usize,
    /// The bytes of the record before, to be found unchanged.
    last: Vec<u8>,
    /// The files at the right edge of what is published.
    watched: Vec<Watched>,
    /// Nothing may be written behind what is there: a sync failed, a crash left half a record, or the published log is
    /// longer.
    is_spoilt: bool,
}

impl Commit {
    pub(crate) fn new(disk: Arc<dyn Disk>, opened: Opened) -> Self {
        let mut memory = Memory::new();
        memory.see(opened.head);
        Self {
            disk,
            opened,
            memory,
            live: None,
            published_at: Instant::now(),
            is_beside: false,
            failed: Failed::default(),
            is_in_doubt: false,
        }
    }

    pub(crate) fn log(&self) -> &str {
        &self.opened.log
    }

    pub(crate) fn number(&self) -> u32 {
        self.opened.number
    }

    /// Whether nobody else has the log open, in any process. If so, nobody opens it until this is dropped.
    pub(crate) fn is_alone(&self) -> bool {
        self.opened.in_use.try_lock().is_ok()
    }

    pub(crate) fn head(&self) -> TreeHead {
        self.memory.head()
    }

    pub(crate) fn folder(&self) -> &Path {
        &self.opened.folder
    }

    /// Appends a group. Without the turn to publish it gives `None` when the log must be published before.
    pub(crate) fn append(
        &mut self,
        batch: &Batch,
        turn: Option<&Turn>,
    ) -> Result<Option<Appended>, LedgerError> {
        let _held = self.lock(PATIENCE)?;
        let mut live = self.current()?;
        // Step 1 is done.
        let mut edge = live.edge.clone();
        for leaf in &batch.leaves {
            edge.push(*leaf);
        }
        let head = TreeHead {
            size: edge.size(),
            root: edge.root(),
        };
        let note = self.sign(head);
        let room = live.capacity.saturating_sub(live.end as u64);
        let needed = wal::record_bytes(batch.bytes.len(), note.len());
        if live.is_spoilt || needed.is_none_or(|needed| needed > room) {
            if !turn.is_some_and(|turn| turn.is_of(&self.opened.folder)) {
                self.live = Some(live);
                return Ok(None);
            }
            let wanted = needed.unwrap_or_default().saturating_add(SECTOR as u64);
            live = self.publish_live(&live, wanted)?;
        }
        let first = live.head.size;
        let count = u32::try_from(batch.leaves.len()).unwrap_or(u32::MAX);
        let record = wal::encode(live.end, first, count, &batch.bytes, &note);
        self.write(&live, &record)?;
        // Step 3 is done.
        live.end += record.len();
        live.last = record;
        live.edge = edge;
        live.head = head;
        live.note = note;
        self.live = Some(live);
        self.memory.see(head);
        for ((index, leaf), bytes) in (first..).zip(&batch.leaves).zip(batch.lengths()) {
            self.memory.add(index, *leaf, bytes);
        }
        Ok(Some(self.appended(first, head)))
    }

    /// Says where the log stands.
    pub(crate) fn stand(&mut self) -> Result<Appended, LedgerError> {
        let _held = self.lock(PATIENCE)?;
        let live = self.current()?;
        let head = live.head;
        self.live = Some(live);
        self.memory.see(head);
        Ok(self.appended(head.size, head))
    }

    /// Appends what is too large for a group, directly to the tiles. `None` when it is the turn of another log.
    pub(crate) fn append_alone<E: AsRef<[u8]>>(
        &mut self,
        entries: &[E],
        turn: &Turn,
    ) -> Result<Option<Appended>, LedgerError> {
        if !turn.is_of(&self.opened.folder) {
            return Ok(None);
        }
        let _held = self.lock(PATIENCE)?;
        let live = self.current()?;
        let first = live.head.size;
        let more = entries.iter().map(AsRef::as_ref);
        let live = self.publish_with(&live, more, live.capacity)?;
        let head = live.head;
        self.live = Some(live);
        self.memory.see(head);
        for (index, entry) in (first..).zip(entries) {
            let entry = entry.as_ref();
            self.memory.add(index, leaf(entry), entry.len());
        }
        Ok(Some(self.appended(first, head)))
    }

    /// Publishes what is not yet published. `None` when it is the turn of another log.
    pub(crate) fn publish(
        &mut self,
        turn: &Turn,
        patience: Duration,
    ) -> Result<Option<TreeHead>, LedgerError> {
        if !turn.is_of(&self.opened.folder) {
            return Ok(None);
        }
        let _held = self.lock(patience)?;
        let mut live = self.current()?;
        if live.is_spoilt || live.head.size > live.published.head.size {
            let capacity = live.capacity;
            live = self.publish_with(&live, std::iter::empty(), capacity)?;
        }
        let head = live.head;
        self.live = Some(live);
        self.memory.see(head);
        Ok(Some(head))
    }

    /// Whether this process knows of something that is not published.
    pub(crate) fn is_ahead(&self) -> bool {
        let is_ahead = |live: &Live| live.head.size > live.published.head.size;
        self.live.as_ref().is_some_and(is_ahead)
    }

    /// Compares the whole log that is remembered.
    pub(crate) fn check(&mut self) -> Result<TreeHead, LedgerError> {
        let _held = self.lock(PATIENCE)?;
        self.live = None;
        let live = self.current()?;
        let head = live.head;
        self.memory
            .compare_all(&self.opened.folder, live.published.head)
            .map_err(|broken| self.broken(broken))?;
        self.live = Some(live);
        self.memory.see(head);
        Ok(head)
    }

    fn appended(&self, first: u64, head: TreeHead) -> Appended {
        Appended {
            log: self.opened.log.clone(),
            first,
            head,
        }
    }

    fn sign(&self, head: TreeHead) -> Vec<u8> {
        let key = &self.opened.key;
        key.sign(head.text(key.verifier().name())).encode()
    }

    fn lock(&self, patience: Duration) -> Result<Held, LedgerError> {
        Held::take(&self.opened.folder, patience).map_err(|error| match error {
            LockError::Missing(file) => self.broken(Broken::Rewritten {
                file,
                found: Found::Nothing,
            }),
            other => other.into(),
        })
    }

    pub(crate) fn broken(&self, broken: Broken) -> LedgerError {
        match broken {
            Broken::Rewritten { file, found } => LedgerError::Rewritten {
                file,
                remembered: self.memory.head(),
                found,
            },
            Broken::Unread(error) => error.into(),
        }
    }

    /// The log as it stands; the lock is held. What did not change since it was verified is not verified again.
    fn current(&mut self) -> Result<Live, LedgerError> {
        let live = self.live.take();
        if !live.as_ref().is_some_and(Live::is_in_place) {
            // Whoever gave the write-ahead file its name may have died before the name was durable.
            self.disk.sync_directory(&self.opened.folder)?;
        }
        let mut live = match live {
            Some(live) if self.is_unchanged(&live) => live,
            _ => self.reload()?,
        };
        live.is_spoilt |= self.is_in_doubt;
        Ok(live)
    }

    /// Whether everything that an append relies on is byte for byte what it was, and nothing came behind it.
    fn is_unchanged(&self, live: &Live) -> bool {
        let folder = &self.opened.folder;
        let is = |name: &str, limit: usize, bytes: &[u8]| {
            durable::read_regular(&folder.join(name), limit as u64)
                .is_ok_and(|found| found.as_deref() == Some(bytes))
        };
        let vkey = vkey_text(self.opened.key.verifier());
        let note = &live.published.note;
        is(VKEY, vkey.len(), vkey.as_bytes())
            && is(CHECKPOINT, note.len(), note)
            && live.is_still_there()
            && live.watched.iter().all(Watched::is_unchanged)
    }

    /// Reads and verifies the log, and opens its write-ahead file.
    fn reload(&self) -> Result<Live, LedgerError> {
        let folder = &self.opened.folder;
        let standing = self
            .memory
            .compare(folder, self.opened.key.verifier())
            .map_err(|broken| self.broken(broken))?;
        let nothing = || {
            self.broken(Broken::Rewritten {
                file: folder.join(WAL),
                found: Found::Nothing,
            })
        };
        let Some(file) = self.disk.open(&folder.join(WAL))? else {
            return Err(nothing());
        };
        let watched =
            watch(folder, &standing.published).map_err(|error| self.broken(error.into()))?;
        Live::new(standing, file, watched)
            .map_err(|error| self.broken(error.into()))?
            .ok_or_else(nothing)
    }

    /// Writes a record and syncs it.
    fn write(&mut self, live: &Live, record: &[u8]) -> Result<(), LedgerError> {
        let at = live.end as u64;
        let written = self.disk.write_at(&live.file, at, record);
        // Step 2 is done.
        let Err(fault) = written.and_then(|()| self.disk.sync(&live.file)) else {
            return Ok(());
        };
        let blank = vec![0; record.len()];
        let _ = self.disk.write_at(&live.file, at, &blank);
        self.is_in_doubt = true;
        Err(fault.into())
    }

    /// Publishes, and takes care that the next record of `wanted` bytes fits.
    fn publish_live(&mut self, live: &Live, wanted: u64) -> Result<Live, LedgerError> {
        let is_small = live.capacity < wanted || live.end as u64 > live.capacity / 2;
        let capacity = if is_small {
            live.capacity.saturating_mul(4).max(wanted)
        } else {
            live.capacity
        };
        self.publish_with(live, std::iter::empty(), capacity)
    }

    /// Publishes everything and `more` behind it.
    fn publish_with<'a>(
        &mut self,
        live: &Live,
        more: impl Iterator<Item = &'a [u8]>,
        capacity: u64,
    ) -> Result<Live, LedgerError> {
        let folder = &self.opened.folder;
        let bundle =
            last_partial(folder, &live.published).map_err(|error| self.broken(error.into()))?;
        let mut publication = Publication::begin(&*self.disk, folder, &live.published, bundle)
            .map_err(|fault| self.broken(fault.into()))?;
        self.add_unpublished(&mut publication)?;
        if publication.head() != live.head {
            return Err(self.broken(Broken::Rewritten {
                file: folder.join(WAL),
                found: Found::OtherBytes,
            }));
        }
        for entry in more {
            publication
                .add(entry)
                .map_err(|fault| self.broken(fault.into()))?;
        }
        let note = self.sign(publication.head());
        publication
            .finish(note, capacity)
            .map_err(|fault| self.broken(fault.into()))?;
        self.published_at = Instant::now();
        self.is_in_doubt = false;
        // What was just written is read again: from now on it is what the log rests on.
        self.reload()
    }

    /// Adds the entries of the write-ahead file that are not published, from its bytes on disk: that they are the right
    /// ones shows in the head that they lead to.
    fn add_unpublished(&self, publication: &mut Publication<'_>) -> Result<(), LedgerError> {
        let file = self.opened.folder.join(WAL);
        let missing = || LogError::Missing { file: file.clone() };
        let damaged = |why| {
            let file = file.clone();
            self.broken(LogError::Wal { file, why }.into())
        };
        let bytes = standing::read_wal(&self.opened.folder)
            .and_then(|bytes| bytes.ok_or_else(missing))
            .map_err(|error| self.broken(error.into()))?;
        let mut walk = Wal::open(&bytes).map_err(damaged)?.records();
        let from = publication.head().size;
        while let Some(record) = walk.read().map_err(damaged)? {
            for (index, entry) in (record.first..).zip(record.entries()) {
                if index >= from {
                    publication
                        .add(entry)
                        .map_err(|fault| self.broken(fault.into()))?;
                }
            }
        }
        Ok(())
    }
}

impl Live {
    /// `None` when the log is one without a write-ahead file.
    fn new(standing: Standing, file: Handle, watched: Vec<Watched>) -> Result<Option<Self>, Fault> {
        let Some(tail) = standing.tail else {
            return Ok(None);
        };
        let mut last = vec![0; tail.records.last().map_or(0, |it| it.end - it.position)];
        let at = tail.end.saturating_sub(last.len());
        file.file
            .read_exact_at(&mut last, at as u64)
            .map_err(|error| file.fault(error))?;
        let published = standing.published.head.size;
        let reached = tail.heads.last().map_or(tail.base.size, |head| head.size);
        let is_ahead = |record: &&wal::Record| record.first + u64::from(record.count) > published;
        let unpublished = tail.records.iter().find(is_ahead);
        Ok(Some(Self {
            is_spoilt: tail.torn || reached < published,
            unpublished: unpublished.map_or((tail.end, reached), |it| (it.position, it.first)),
            published: standing.published,
            head: standing.head,
            edge: standing.edge,
            note: standing.note,
            capacity: tail.capacity,
            file,
            end: tail.end,
            last,
            watched,
        }))
    }

    /// Whether the write-ahead file is the one that is open.
    fn is_in_place(&self) -> bool {
        match (
            self.file.file.metadata(),
            std::fs::symlink_metadata(&self.file.path),
        ) {
            (Ok(ours), Ok(there)) => {
                (ours.dev(), ours.ino(), ours.len()) == (there.dev(), there.ino(), self.capacity)
            }
            _ => false,
        }
    }

    /// Whether it is, its last record is what it was, and none came behind it.
    fn is_still_there(&self) -> bool {
        let end = self.end as u64;
        let blank = SECTOR.min(usize::try_from(self.capacity - end).unwrap_or_default());
        let mut bytes = vec![0; self.last.len() + blank];
        let at = end.saturating_sub(self.last.len() as u64);
        self.is_in_place()
            && self.file.file.read_exact_at(&mut bytes, at).is_ok()
            && bytes
                .strip_prefix(self.last.as_slice())
                .is_some_and(|rest| rest.iter().all(|byte| *byte == 0))
    }
}

/// A file that an append rests on, as it was when it was verified.
struct Watched {
    file: PathBuf,
    content: Content,
}

/// Comparing bytes costs a tenth of digesting them; what is large is not worth its memory.
enum Content {
    Bytes(Vec<u8>),
    Digest(Digest),
}

/// The most bytes of a file that are kept to be compared.
const KEPT_BYTES: usize = 256 << 10;

impl Watched {
    fn read(file: PathBuf) -> Result<Self, LogError> {
        let bytes = durable::read_regular(&file, MAX_BUNDLE_BYTES)?.unwrap_or_default();
        let content = if bytes.len() <= KEPT_BYTES {
            Content::Bytes(bytes)
        } else {
            Content::Digest(Digest::of(&bytes))
        };
        Ok(Self { file, content })
    }

    fn is_unchanged(&self) -> bool {
        let found = durable::read_regular(&self.file, MAX_BUNDLE_BYTES);
        found.is_ok_and(|found| match (&self.content, found) {
            (Content::Bytes(bytes), Some(found)) => found == *bytes,
            (Content::Digest(digest), Some(found)) => Digest::of(&found) == *digest,
            (_, None) => false,
        })
    }
}

/// The files at the right edge of what is published, verified.
fn watch(folder: &Path, published: &Published) -> Result<Vec<Watched>, LogError> {
    let mut names = Vec::new();
    for level in 0..8_u8 {
        let count = published.head.size >> (8 * u32::from(level));
        let index = count / TILE_WIDTH as u64;
        names.extend(Name::at(Kind::Hashes(level), index, published.head.size));
    }
    if let Some(last) = published.head.size.checked_sub(1) {
        let index = last / TILE_WIDTH as u64;
        names.extend(Name::at(Kind::Entries, index, published.head.size));
        if published.head.size.is_multiple_of(TILE_WIDTH as u64) {
            names.extend(Name::at(Kind::Hashes(0), index, published.head.size));
        }
    }
    let watched: Result<Vec<_>, _> = names
        .into_iter()
        .map(|name| Watched::read(folder.join(name.path())))
        .collect();
    let watched = watched?;
    // In this order: what is changed after it was read is found by the next comparison.
    let mut vouched = Vouched::open(folder, published.head)?;
    standing::last_bundle(folder, &mut vouched, published.head)?;
    Ok(watched)
}

/// The bytes of the last bundle if it is not full.
fn last_partial(folder: &Path, published: &Published) -> Result<Vec<u8>, LogError> {
    let mut vouched = Vouched::open(folder, published.head)?;
    let last = standing::last_bundle(folder, &mut vouched, published.head)?;
    Ok(match last {
        Some((name, bundle)) if !name.is_full() => bundle.into_bytes(),
        _ => Vec::new(),
    })
}

impl From<Fault> for Broken {
    fn from(fault: Fault) -> Self {
        Self::from(LogError::Disk(fault))
    }
}
