//! How a log stands on disk: the published tiles with their signed head, and the write-ahead file behind them, all verified.
//!
//! Opening a log, recovering it after a crash, and learning what another process appended are this one reading: begin with
//! the tree that the tiles have at the place where the write-ahead file begins, add its records one by one, and compare the
//! root with the signed head after each. What an interrupted write left behind the last whole record is not part of the
//! log. Where the published head lies within the records, the log was published beside appends, or a crash came between
//! publishing and starting the file anew; the records before it are then twice there, and agree.

use std::path::Path;

use crate::durable;
use crate::note::VerifierKey;
use crate::tile::{Kind, Name};
use crate::tiles::{self, Bundle, CHECKPOINT, LAYOUT, LOCK, LogError, Vouched, WAL};
use crate::tree::{Edge, TILE_WIDTH, leaf};
use crate::tree_head::{self, TreeHead};
use crate::wal::{self, Damage, DamageKind, Record, Wal};

/// A log as it stands.
pub(crate) struct Standing {
    /// What the file `checkpoint` vouches for.
    pub(crate) published: Published,
    /// The head behind the last entry.
    pub(crate) head: TreeHead,
    /// The right edge there.
    pub(crate) edge: Edge,
    /// The signed head there, as bytes.
    pub(crate) note: Vec<u8>,
    /// The write-ahead file; a log of the earlier layout has none.
    pub(crate) tail: Option<Tail>,
}

/// What the tiles hold.
#[derive(Clone)]
pub(crate) struct Published {
    pub(crate) head: TreeHead,
    /// The bytes of the file `checkpoint`.
    pub(crate) note: Vec<u8>,
    pub(crate) edge: Edge,
}

/// What the write-ahead file holds.
pub(crate) struct Tail {
    pub(crate) base: TreeHead,
    pub(crate) capacity: u64,
    /// Where the next record goes.
    pub(crate) end: usize,
    /// An interrupted write left something behind the last record.
    pub(crate) torn: bool,
    /// All records, also those that are published already.
    pub(crate) records: Vec<Record>,
    /// The head behind each.
    pub(crate) heads: Vec<TreeHead>,
}

/// How much of the write-ahead file's signatures is verified.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Signatures {
    /// The last one, which covers all entries before it.
    Last,
    /// Each.
    All,
}

impl Standing {
    /// Reads and verifies the log in `folder`. What is read first is never ahead of what is read later: a log that others
    /// append to can look damaged, but never whole when it is not.
    pub(crate) fn read(
        folder: &Path,
        key: &VerifierKey,
        signatures: Signatures,
    ) -> Result<Self, LogError> {
        let bytes = read_wal(folder)?;
        let (head, note) = tiles::read_head(folder, key)?;
        if bytes.as_deref().is_some_and(|bytes| is_older(head, bytes)) {
            return Err(older(folder, head));
        }
        let mut vouched = Vouched::open(folder, head)?;
        let published = Published {
            head,
            note,
            edge: vouched.edge().clone(),
        };
        let Some(bytes) = bytes else {
            return Ok(Self {
                head,
                edge: published.edge.clone(),
                note: published.note.clone(),
                published,
                tail: None,
            });
        };
        let file = folder.join(WAL);
        let damaged = |why| LogError::Wal {
            file: file.clone(),
            why,
        };
        let wal = Wal::open(&bytes).map_err(damaged)?;
        let edge = vouched.edge_at(wal.base().size)?;
        let mut replay = Replay::new(&wal, edge, key, signatures).map_err(damaged)?;
        let (tail, edge) = replay.run(&published).map_err(damaged)?;
        let last = tail.records.last().filter(|_| edge.size() > head.size);
        Ok(Self {
            head: match last {
                Some(_) => replay.head,
                None => head,
            },
            note: last.map_or_else(|| published.note.clone(), |last| last.note().to_vec()),
            edge: match last {
                Some(_) => edge,
                None => published.edge.clone(),
            },
            published,
            tail: Some(tail),
        })
    }

    /// The entries that no published head counts.
    pub(crate) fn unpublished(&self) -> impl Iterator<Item = &[u8]> {
        let from = self.published.head.size;
        let records = self.tail.iter().flat_map(|tail| &tail.records);
        records.flat_map(move |record| {
            let done = usize::try_from(from.saturating_sub(record.first)).unwrap_or(usize::MAX);
            record.entries().skip(done)
        })
    }
}

/// The bytes of a log's write-ahead file; `None` when it is a log of the earlier layout.
pub(crate) fn read_wal(folder: &Path) -> Result<Option<Vec<u8>>, LogError> {
    let file = folder.join(WAL);
    if let Some(bytes) = durable::read_regular(&file, wal::MOST_BYTES)? {
        return Ok(Some(bytes));
    }
    if is_earlier(folder)? {
        return Ok(None);
    }
    Err(LogError::Missing { file })
}

/// Whether a published head is older than the one that the write-ahead file continues.
pub(crate) fn is_older(head: TreeHead, wal: &[u8]) -> bool {
    Wal::open(wal).is_ok_and(|wal| wal.base().size > head.size)
}

fn older(folder: &Path, head: TreeHead) -> LogError {
    LogError::Older {
        file: folder.join(CHECKPOINT),
        head,
    }
}

/// Whether `lock` says that this is a log of the earlier layout. Without a lock nothing says it.
pub(crate) fn is_earlier(folder: &Path) -> Result<bool, LogError> {
    let lock = durable::read_regular(&folder.join(LOCK), LAYOUT.len() as u64)?;
    Ok(lock.is_some_and(|lock| lock.is_empty()))
}

/// The last bundle that `head` counts, verified.
pub(crate) fn last_bundle(
    folder: &Path,
    vouched: &mut Vouched<'_>,
    head: TreeHead,
) -> Result<Option<(Name, Bundle)>, LogError> {
    let Some(last) = head.size.checked_sub(1) else {
        return Ok(None);
    };
    let index = last / TILE_WIDTH as u64;
    let Some(name) = Name::at(Kind::Entries, index, head.size) else {
        return Ok(None);
    };
    let bundle = Bundle::read(folder, name)?;
    let hashes = vouched.tile(0, index)?;
    let leaves = bundle.entries().into_iter().map(leaf);
    if !leaves.eq(hashes.iter().copied()) {
        return Err(LogError::Unvouched {
            file: folder.join(name.path()),
        });
    }
    Ok(Some((name, bundle)))
}

/// Adds records to a tree and compares it with what was signed.
struct Replay<'a> {
    wal: &'a Wal<'a>,
    key: &'a VerifierKey,
    signatures: Signatures,
    edge: Edge,
    head: TreeHead,
}

impl<'a> Replay<'a> {
    fn new(
        wal: &'a Wal<'a>,
        edge: Edge,
        key: &'a VerifierKey,
        signatures: Signatures,
    ) -> Result<Self, Damage> {
        if edge.root() != wal.base().root {
            return Err(DamageKind::Base.at(0));
        }
        Ok(Self {
            wal,
            key,
            signatures,
            edge,
            head: wal.base(),
        })
    }

    fn run(&mut self, published: &Published) -> Result<(Tail, Edge), Damage> {
        let mut walk = self.wal.records();
        let mut tail = Tail {
            base: self.wal.base(),
            capacity: self.wal.capacity(),
            end: walk.position(),
            torn: false,
            records: Vec::new(),
            heads: Vec::new(),
        };
        while let Some(record) = walk.read()? {
            for entry in record.entries() {
                self.edge.push(leaf(entry));
                let here = published.head.size == self.edge.size();
                if here && published.head.root != self.edge.root() {
                    return Err(DamageKind::Base.at(record.position));
                }
            }
            self.head = TreeHead {
                size: self.edge.size(),
                root: self.edge.root(),
            };
            if self.signatures == Signatures::All {
                self.verify(&record)?;
            } else if tree_head::unsigned(record.note()) != Some(self.head) {
                return Err(DamageKind::Root.at(record.position));
            }
            tail.heads.push(self.head);
            tail.records.push(record);
        }
        if let Some(last) = tail.records.last() {
            self.verify(last)?;
        }
        tail.torn = walk.is_torn()?;
        tail.end = walk.position();
        Ok((tail, std::mem::take(&mut self.edge)))
    }

    fn verify(&self, record: &Record) -> Result<(), Damage> {
        let position = record.position;
        match tree_head::open(record.note(), self.key) {
            Ok((head, _)) if head == self.head => Ok(()),
            Ok(_) => Err(DamageKind::Root.at(position)),
            Err(why) => Err(DamageKind::Head(why).at(position)),
        }
    }
}

/// The signed head that a reader shows without verifying the tree: that of the last whole record, or the published one.
pub(crate) fn signed_head(
    folder: &Path,
    key: &VerifierKey,
) -> Result<(TreeHead, Vec<u8>, Vec<Record>), LogError> {
    let bytes = read_wal(folder)?;
    let (head, note) = tiles::read_head(folder, key)?;
    let Some(bytes) = bytes else {
        return Ok((head, note, Vec::new()));
    };
    let file = folder.join(WAL);
    let damaged = |why| LogError::Wal {
        file: file.clone(),
        why,
    };
    if is_older(head, &bytes) {
        return Err(older(folder, head));
    }
    let mut walk = Wal::open(&bytes).map_err(damaged)?.records();
    let mut records = Vec::new();
    while let Some(record) = walk.read().map_err(damaged)? {
        records.push(record);
    }
    let Some(last) = records.last() else {
        return Ok((head, note, records));
    };
    match tree_head::open(last.note(), key) {
        Ok((signed, _)) if signed.size == last.first + u64::from(last.count) => {
            if signed.size > head.size {
                let note = last.note().to_vec();
                return Ok((signed, note, records));
            }
            Ok((head, note, Vec::new()))
        }
        Ok(_) => Err(damaged(DamageKind::Root.at(last.position))),
        Err(why) => Err(damaged(DamageKind::Head(why).at(last.position))),
    }
}
