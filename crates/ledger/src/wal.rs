//! The write-ahead file: what was appended since the tiles were last brought up to date. Pure: bytes in, records out.
//!
//! A record holds the entries of one group commit and, behind them, the signed tree head that they lead to. So whatever is
//! acknowledged is under a durable signature at once, and one sync makes both durable.
//!
//! The file has a fixed length, zero where nothing was written, so that a sync has no length or place to write beside the
//! bytes. It is cut into sectors of 512 bytes, of which a disk writes each whole or not at all. Each sector carries a
//! check over its place and content. That is what tells an interrupted write (some sectors of the last record were
//! written, the others are still zero) from a changed file (a sector is neither zero nor what was written): the first is
//! dropped, the second is reported and never written over.
//!
//! ```text
//! sector          8  XXH3-64 of the 504 bytes that follow, with the sector's place in the file as its seed (u64)
//!                 8  size of the log before the record that the sector belongs to (u64)
//!               496  payload
//! first sector   16  "taintline wal 1\n"
//!                 8  length of the file (u64)
//!                32  root of the log before the first record
//!                    zeros
//! record          4  entries (u32)
//!                 4  bytes of the entries with their lengths (u32)
//!                 4  bytes of the note (u32)
//!                    entries, each behind its length (u16)
//!                    signed tree head (C2SP checkpoint in a signed note)
//!                    zeros up to the end of the sector
//! ```
//!
//! Numbers are big-endian. The check is no secret: whoever changes a sector can compute it anew. He cannot sign.

use domain::Digest;
use xxhash_rust::xxh3::xxh3_64_with_seed;

use crate::tree_head::{TreeHead, TreeHeadError};

/// Bytes of a sector.
pub const SECTOR: usize = 512;

/// The length of the first write-ahead file of a log.
pub const LEAST_BYTES: u64 = 64 << 10;

/// The most bytes that a write-ahead file can have.
pub const MOST_BYTES: u64 = 8 << 20;

const CHECK: usize = 8;
const PAYLOAD_AT: usize = 16;
const PAYLOAD: usize = SECTOR - PAYLOAD_AT;
const TITLE: &[u8; 16] = b"taintline wal 1\n";
const RECORD_HEADER: usize = 12;

/// Where and why a write-ahead file is not as it was written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("at byte {position}: {kind}")]
pub struct Damage {
    /// The byte at which the sector or record begins that is not as it was written.
    pub position: u64,
    /// What is wrong with it.
    pub kind: DamageKind,
}

/// What is wrong with a write-ahead file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum DamageKind {
    /// The file has not the length that it says.
    #[error("the file is not as long as it says")]
    Length,
    /// The first sector is not the beginning of a write-ahead file.
    #[error("not the beginning of a write-ahead file")]
    Header,
    /// A sector is neither empty nor what was written.
    #[error("bytes were changed")]
    Sector,
    /// A sector is intact and belongs behind entries that are not here.
    #[error("a record that came before was removed")]
    Removed,
    /// An intact record does not hold what it says.
    #[error("a record is malformed")]
    Record,
    /// The signed head of a record is not one of this log.
    #[error("{0}")]
    Head(#[from] TreeHeadError),
    /// The signed head of a record is another one than that of its entries.
    #[error("its entries are not those that were signed")]
    Root,
    /// What the file is based on is not what the published tiles have.
    #[error("does not continue the published log")]
    Base,
}

impl DamageKind {
    pub(crate) fn at(self, position: usize) -> Damage {
        Damage {
            position: position as u64,
            kind: self,
        }
    }
}

/// One record: a group of entries and the signed head behind them. Nothing of it is verified but its sectors.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    /// Where it begins in the file.
    pub position: usize,
    /// Where the next one begins.
    pub end: usize,
    /// The size of the log before it.
    pub first: u64,
    /// How many entries it has.
    pub count: u32,
    entries: Vec<u8>,
    note: Vec<u8>,
}

impl Record {
    /// The entries in order.
    pub fn entries(&self) -> impl Iterator<Item = &[u8]> {
        Entries(&self.entries)
    }

    /// The entries, each behind its length.
    pub(crate) fn bytes(&self) -> &[u8] {
        &self.entries
    }

    /// The bytes of the signed head.
    pub fn note(&self) -> &[u8] {
        &self.note
    }
}

/// Entries, each behind its length in two bytes.
struct Entries<'a>(&'a [u8]);

impl<'a> Iterator for Entries<'a> {
    type Item = &'a [u8];

    fn next(&mut self) -> Option<&'a [u8]> {
        let (length, rest) = self.0.split_first_chunk::<2>()?;
        let (entry, rest) = rest.split_at_checked(usize::from(u16::from_be_bytes(*length)))?;
        self.0 = rest;
        Some(entry)
    }
}

/// The bytes of a write-ahead file whose first sector was read.
#[derive(Debug, Clone, Copy)]
pub struct Wal<'a> {
    bytes: &'a [u8],
    base: TreeHead,
}

impl<'a> Wal<'a> {
    /// Reads the first sector.
    pub fn open(bytes: &'a [u8]) -> Result<Self, Damage> {
        let Inspected::Intact { first, payload } = inspect(bytes, 0) else {
            return Err(DamageKind::Header.at(0));
        };
        let mut expected = [0; PAYLOAD];
        let root = payload.get(24..56).and_then(|root| root.try_into().ok());
        let base = TreeHead {
            size: first,
            root: Digest::from_bytes(root.ok_or(DamageKind::Header.at(0))?),
        };
        let capacity = payload.get(16..24).and_then(|it| it.try_into().ok());
        let capacity = u64::from_be_bytes(capacity.unwrap_or_default());
        fill(&mut expected, base.root, capacity);
        if *payload != expected || !is_capacity(capacity) {
            return Err(DamageKind::Header.at(0));
        }
        if bytes.len() as u64 != capacity {
            return Err(DamageKind::Length.at(bytes.len()));
        }
        Ok(Self { bytes, base })
    }

    /// Size and root of the log before the first record, unverified.
    pub fn base(&self) -> TreeHead {
        self.base
    }

    /// Its length.
    pub fn capacity(&self) -> u64 {
        self.bytes.len() as u64
    }

    /// The records from the first on.
    pub fn records(&self) -> Records<'a> {
        Records {
            bytes: self.bytes,
            position: SECTOR,
            size: self.base.size,
        }
    }
}

/// Walks the records from `position` on, behind a log of `size` entries. `bytes` are those of the file up to some record's
/// end; those before `position` are not looked at.
pub(crate) fn records_from(bytes: &[u8], position: usize, size: u64) -> Records<'_> {
    Records {
        bytes,
        position,
        size,
    }
}

/// Whether a write-ahead file can have this length.
fn is_capacity(bytes: u64) -> bool {
    (LEAST_BYTES..=MOST_BYTES).contains(&bytes) && bytes.is_multiple_of(SECTOR as u64)
}

/// Walks the records of a write-ahead file.
#[derive(Debug, Clone)]
pub struct Records<'a> {
    bytes: &'a [u8],
    position: usize,
    size: u64,
}

impl Records<'_> {
    /// The next complete record; `None` behind the last.
    pub fn read(&mut self) -> Result<Option<Record>, Damage> {
        let Some(head) = self.sector(self.position)? else {
            return Ok(None);
        };
        let malformed = DamageKind::Record.at(self.position);
        let lengths = Lengths::parse(head).ok_or(malformed)?;
        let sectors = lengths.sectors().ok_or(malformed)?;
        if sectors > self.bytes.len().saturating_sub(self.position) / SECTOR {
            return Err(malformed);
        }
        let mut payload = Vec::with_capacity(sectors * PAYLOAD);
        for index in 0..sectors {
            match self.sector(self.position + index * SECTOR)? {
                Some(part) => payload.extend_from_slice(part),
                None => return Ok(None),
            }
        }
        let record = lengths
            .take(&payload, self.position, self.size)
            .ok_or(malformed)?;
        self.size = self
            .size
            .checked_add(u64::from(record.count))
            .ok_or(malformed)?;
        self.position = record.end;
        Ok(Some(record))
    }

    /// Looks at all that is behind the last complete record: `true` when an interrupted write left something there.
    pub fn is_torn(&self) -> Result<bool, Damage> {
        let mut torn = false;
        for position in (self.position..self.bytes.len()).step_by(SECTOR) {
            match inspect(self.bytes, position) {
                Inspected::Blank => {}
                Inspected::Intact { first, .. } if first <= self.size => torn = true,
                Inspected::Intact { .. } => return Err(DamageKind::Removed.at(position)),
                Inspected::Changed => return Err(DamageKind::Sector.at(position)),
            }
        }
        Ok(torn)
    }

    /// Where the next record will begin.
    pub fn position(&self) -> usize {
        self.position
    }

    /// The payload of a sector of the record that is due; `None` when it was not written, or is left from an interrupted
    /// write of before.
    fn sector(&self, position: usize) -> Result<Option<&[u8; PAYLOAD]>, Damage> {
        match inspect(self.bytes, position) {
            Inspected::Intact { first, payload } if first == self.size => Ok(Some(payload)),
            Inspected::Intact { first, .. } if first > self.size => {
                Err(DamageKind::Removed.at(position))
            }
            Inspected::Intact { .. } | Inspected::Blank => Ok(None),
            Inspected::Changed => Err(DamageKind::Sector.at(position)),
        }
    }
}

/// What a record says about its parts.
struct Lengths {
    count: u32,
    entries: usize,
    note: usize,
}

impl Lengths {
    fn parse(payload: &[u8; PAYLOAD]) -> Option<Self> {
        let (count, rest) = payload.split_first_chunk::<4>()?;
        let (entries, rest) = rest.split_first_chunk::<4>()?;
        let (note, _) = rest.split_first_chunk::<4>()?;
        Some(Self {
            count: u32::from_be_bytes(*count),
            entries: usize::try_from(u32::from_be_bytes(*entries)).ok()?,
            note: usize::try_from(u32::from_be_bytes(*note)).ok()?,
        })
    }

    fn sectors(&self) -> Option<usize> {
        let bytes = RECORD_HEADER
            .checked_add(self.entries)?
            .checked_add(self.note)?;
        Some(bytes.div_ceil(PAYLOAD))
    }

    /// Takes the payload apart; `None` unless it is in the one form.
    fn take(&self, payload: &[u8], position: usize, first: u64) -> Option<Record> {
        let rest = payload.get(RECORD_HEADER..)?;
        let (entries, rest) = rest.split_at_checked(self.entries)?;
        let (note, zeros) = rest.split_at_checked(self.note)?;
        let mut walk = Entries(entries);
        let count = u32::try_from(walk.by_ref().count()).ok()?;
        let is_whole = walk.0.is_empty() && zeros.iter().all(|byte| *byte == 0);
        (is_whole && count == self.count && count > 0).then(|| Record {
            position,
            end: position + payload.len() / PAYLOAD * SECTOR,
            first,
            count,
            entries: entries.to_vec(),
            note: note.to_vec(),
        })
    }
}

enum Inspected<'a> {
    Blank,
    Intact {
        first: u64,
        payload: &'a [u8; PAYLOAD],
    },
    Changed,
}

/// Looks at one sector. What is behind the end of the file is as if it had not been written.
fn inspect(bytes: &[u8], position: usize) -> Inspected<'_> {
    let Some(sector) = bytes
        .get(position..)
        .and_then(<[u8]>::first_chunk::<SECTOR>)
    else {
        let rest = bytes.get(position..).unwrap_or_default();
        return if rest.is_empty() {
            Inspected::Blank
        } else {
            Inspected::Changed
        };
    };
    if sector == &[0; SECTOR] {
        return Inspected::Blank;
    }
    let (check, rest) = sector.split_at(CHECK);
    let first = rest.first_chunk::<8>();
    let payload = sector.last_chunk::<PAYLOAD>();
    match (first, payload) {
        (Some(first), Some(payload)) if check == check_of(position, rest) => Inspected::Intact {
            first: u64::from_be_bytes(*first),
            payload,
        },
        _ => Inspected::Changed,
    }
}

fn check_of(position: usize, rest: &[u8]) -> [u8; CHECK] {
    xxh3_64_with_seed(rest, position as u64).to_be_bytes()
}

fn fill(payload: &mut [u8; PAYLOAD], root: Digest, capacity: u64) {
    let parts = [&TITLE[..], &capacity.to_be_bytes(), root.as_bytes()].concat();
    for (to, from) in payload.iter_mut().zip(parts) {
        *to = from;
    }
}

/// An empty write-ahead file of `capacity` bytes, behind a log with this head.
pub fn fresh(base: TreeHead, capacity: u64) -> Vec<u8> {
    let capacity = capacity.clamp(LEAST_BYTES, MOST_BYTES) / SECTOR as u64 * SECTOR as u64;
    let mut payload = [0; PAYLOAD];
    fill(&mut payload, base.root, capacity);
    let mut bytes = Vec::with_capacity(usize::try_from(capacity).unwrap_or_default());
    put(&mut bytes, 0, base.size, &payload);
    bytes.resize(usize::try_from(capacity).unwrap_or_default(), 0);
    bytes
}

/// How many bytes of the file a record takes; `None` when no file could hold it.
pub fn record_bytes(entries: usize, note: usize) -> Option<u64> {
    let payload = RECORD_HEADER.checked_add(entries)?.checked_add(note)?;
    let bytes = payload.div_ceil(PAYLOAD).checked_mul(SECTOR)? as u64;
    (bytes <= MOST_BYTES - SECTOR as u64).then_some(bytes)
}

/// The sectors of a record at `position` of the file. `entries` are `count`, each behind its length; `first` is the size of
/// the log before them.
pub fn encode(position: usize, first: u64, count: u32, entries: &[u8], note: &[u8]) -> Vec<u8> {
    let length = |bytes: &[u8]| u32::try_from(bytes.len()).unwrap_or(u32::MAX).to_be_bytes();
    let header = [count.to_be_bytes(), length(entries), length(note)].concat();
    let payload = header.len() + entries.len() + note.len();
    let mut bytes = Vec::with_capacity(payload.div_ceil(PAYLOAD) * SECTOR);
    for part in [&header, entries, note] {
        put(&mut bytes, position, first, part);
    }
    let zeros = bytes.len().next_multiple_of(SECTOR) - bytes.len();
    put(
        &mut bytes,
        position,
        first,
        [0; SECTOR].get(..zeros).unwrap_or_default(),
    );
    bytes
}

/// Adds bytes of payload, sector by sector, to a record at `position`.
fn put(bytes: &mut Vec<u8>, position: usize, first: u64, mut payload: &[u8]) {
    while !payload.is_empty() {
        if bytes.len().is_multiple_of(SECTOR) {
            bytes.extend_from_slice(&[0; CHECK]);
            bytes.extend_from_slice(&first.to_be_bytes());
        }
        let room = SECTOR - bytes.len() % SECTOR;
        let (now, later) = payload.split_at(room.min(payload.len()));
        bytes.extend_from_slice(now);
        payload = later;
        if bytes.len().is_multiple_of(SECTOR) {
            let at = position + bytes.len() - SECTOR;
            if let Some(sector) = bytes.last_chunk_mut::<SECTOR>() {
                let (check, rest) = sector.split_at_mut(CHECK);
                check.copy_from_slice(&check_of(at, rest));
            }
        }
    }
}
