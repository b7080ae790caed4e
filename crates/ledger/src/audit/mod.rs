//! Checks a whole store again from its bytes, and names every file that is not what it must be.
//!
//! Nothing is believed but the signatures: entries are hashed, tiles computed from them, the root compared with the signed
//! head, blobs compared with their names, and whatever is there that nobody needs is named as well. Reads in pieces; the
//! memory needed does not grow with the store. Other processes may append meanwhile: a log that looks wrong and has a new
//! head is looked at again under its lock.
//!
//! What it cannot see: a log that was removed as a whole, a store put back to an earlier state, a history that somebody
//! with the key signed anew. For those, compare the tree heads in the report with ones kept elsewhere.

mod blobs;
mod files;
mod tree;
mod wal;

use std::collections::HashSet;
use std::fmt;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use domain::Digest;

use crate::durable::{self, Fault};
use crate::lock::{Held, PATIENCE};
use crate::log::Log;
use crate::note::VerifierKey;
use crate::note::VerifierKeySyntax;
use crate::standing;
use crate::store::{Store, parse_version};
use crate::tile::BundleSyntax;
use crate::tiles::{self, CHECKPOINT, LogError};
use crate::tree_head::{self, TreeHead, TreeHeadError};
use crate::wal::Damage;

/// Problems, and leftovers, that are listed at most; a log is given up when it has shown so many.
const LISTED: usize = 10_000;

/// Digests that are remembered as present, to spare the file system questions.
const REMEMBERED: usize = 100_000;

/// What an audit found.
#[derive(Debug, Clone, Default)]
pub struct AuditReport {
    /// The logs whose head is signed, sorted by name: what to compare with heads kept elsewhere.
    pub logs: Vec<AuditedLog>,
    /// Entries that were read and hashed.
    pub entries: u64,
    /// Blobs that were read and hashed.
    pub blobs: u64,
    /// Bytes that were read.
    pub bytes: u64,
    /// Everything that is not as it must be, sorted by file; empty when the store is sound.
    pub problems: Vec<Problem>,
    /// Problems beyond the 10,000 that are listed.
    pub unlisted: u64,
    /// Files, relative to the store, that interrupted processes left and that no tree head refers to. They are harmless,
    /// and their content was not examined, except that of narrower tiles, which is the beginning of the wider ones.
    pub leftovers: Vec<PathBuf>,
}

/// A log as its signed head describes it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AuditedLog {
    /// Its name.
    pub name: String,
    /// Its signed size and root.
    pub head: TreeHead,
}

/// One file that is not as it must be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// The file, relative to the store.
    pub file: PathBuf,
    /// What is wrong with it.
    pub what: AuditProblem,
}

impl fmt::Display for Problem {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}: {}", self.file.display(), self.what)
    }
}

/// What is wrong with a file.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AuditProblem {
    /// The store needs it.
    #[error("missing")]
    Missing,
    /// Nothing of a store has this name.
    #[error("does not belong here")]
    Unexpected,
    /// A link, a device, a directory where a file must be or the other way round, or absurdly large.
    #[error("not a regular file of a plausible size")]
    Odd,
    /// The system refused to read it, so nothing is known about it.
    #[error("could not be read: {0}")]
    Unreadable(ErrorKind),
    /// `version` is not in its one form, or has another id than when the store was opened.
    #[error("not in the form that it was written in")]
    Version,
    /// `vkey` is not in its one form.
    #[error("the public key was changed: {0}; nothing of this log could be checked")]
    Key(VerifierKeySyntax),
    /// `vkey` is a good key, of another log.
    #[error("the public key of another log; nothing of this log could be checked")]
    ForeignKey,
    /// `checkpoint` is not a signed head of this log.
    #[error("{0}; nothing of this log could be checked")]
    Head(TreeHeadError),
    /// `checkpoint` carries signatures that cannot be verified here.
    #[error("carries signatures of unknown keys")]
    UnknownSignatures,
    /// The signed root is another one than that of the tiles, which agree with the entries.
    #[error("signs another root than the entries have")]
    Root,
    /// `checkpoint` is an older head than the write-ahead file continues.
    #[error("an older tree head, of {size} entries; the write-ahead file continues a longer log; nothing of this log could be checked", size = .0.size)]
    OlderHead(TreeHead),
    /// The write-ahead file is not as it was written.
    #[error("{0}")]
    Wal(Damage),
    /// `lock` does not say which layout the log has.
    #[error("not in the form that it was written in")]
    Lock,
    /// A tile of hashes has not the length that its name says.
    #[error("not as long as its name says")]
    Length,
    /// A bundle of entries cannot be taken apart.
    #[error("{0}")]
    Bundle(BundleSyntax),
    /// A bundle does not hold as many entries as its name says.
    #[error("holds {found} entries where {expected} must be")]
    Count {
        /// How many its name says.
        expected: usize,
        /// How many there are.
        found: usize,
    },
    /// A tile of hashes differs from its entries, and the entries are those that were signed.
    #[error("its hashes were changed")]
    Hashes,
    /// A bundle differs from its hashes, and the hashes are those that were signed.
    #[error("its entries were changed")]
    Entries,
    /// A tile agrees with what is below it and not with what was signed: both were exchanged.
    #[error("was exchanged together with everything below it")]
    Exchanged,
    /// Two files differ, and nothing tells which of them was signed.
    #[error("does not agree with {other}, and one of them was changed", other = other.display())]
    Disagrees {
        /// The other file.
        other: PathBuf,
    },
    /// A narrower tile, left over, is not the beginning of the wider one.
    #[error("not the beginning of {wider}", wider = wider.display())]
    NotABeginning {
        /// The wider file.
        wider: PathBuf,
    },
    /// A blob's bytes are not what its name says.
    #[error("its bytes are not those that its name says")]
    Blob,
    /// An entry names a blob that is not stored.
    #[error("missing; entry {entry} of {log} refers to it")]
    BlobMissing {
        /// The log.
        log: String,
        /// The first entry that names it.
        entry: u64,
    },
    /// So many problems that the rest of this log was not looked at.
    #[error("has so many problems that the rest of it was not checked")]
    GivenUp,
}

/// Gives the digests of the blobs that an entry needs; asked by several threads at once.
pub type Referenced<'a> = dyn Fn(&[u8]) -> Vec<Digest> + Sync + 'a;

/// Audits all logs and blobs of a store, on all processors. `referenced` gives the digests of the blobs that an entry needs.
pub fn audit(store: &Store, referenced: &Referenced<'_>) -> AuditReport {
    let mut findings = Findings::default();
    audit_version(store, &mut findings);
    let mut present = HashSet::new();
    for log in files::logs(store, &mut findings) {
        let front = log.front();
        let mut of_log = audit_log(store, &log, referenced, &mut present);
        let wal = Path::new("ledger").join(log.name()).join(tiles::WAL);
        let problems = &of_log.report.problems;
        let is_doubtful = problems.iter().any(|problem| problem.file == wal);
        if is_doubtful || of_log.is_overtaken || (!problems.is_empty() && log.front() != front) {
            // Somebody appended while we read. Under the lock nobody does; without it we keep what we have.
            if let Ok(_held) = Held::take(log.folder(), PATIENCE) {
                of_log = audit_log(store, &log, referenced, &mut present);
            }
        }
        findings.add(of_log);
    }
    blobs::audit(store, &mut findings);
    let mut report = findings.report;
    report
        .problems
        .sort_by(|left, right| left.file.cmp(&right.file));
    report.problems.dedup();
    report.leftovers.sort();
    report
}

fn audit_version(store: &Store, findings: &mut Findings) {
    let file = Path::new("version");
    if let Some(bytes) = findings.read(store.root(), file, 4096)
        && parse_version(&bytes).map(|(_, id)| id) != Ok(store.id())
    {
        findings.problem(file, AuditProblem::Version);
    }
}

fn audit_log(
    store: &Store,
    log: &Log,
    referenced: &Referenced<'_>,
    present: &mut HashSet<Digest>,
) -> Findings {
    let mut findings = Findings::default();
    let place = Place {
        root: store.root(),
        folder: Path::new("ledger").join(log.name()),
    };
    let published = audit_head(log, &place, &mut findings);
    if let Some((key, published)) = &published {
        let mut blobs = Blobs {
            store,
            log: log.name(),
            present,
            absent: HashSet::new(),
        };
        tree::audit(&place, *published, referenced, &mut findings, &mut blobs);
        let (head, needs) = wal::audit(log, &place, key, *published, referenced, &mut findings);
        for (entry, digests) in needs {
            blobs.need(entry, &digests, &mut findings);
        }
        findings.report.logs.push(AuditedLog {
            name: log.name().to_owned(),
            head,
        });
    }
    files::audit(&place, published.map(|it| it.1.size), &mut findings);
    findings
}

/// Which blobs are there, asked once each.
struct Blobs<'a> {
    store: &'a Store,
    log: &'a str,
    present: &'a mut HashSet<Digest>,
    absent: HashSet<Digest>,
}

impl Blobs<'_> {
    /// Notes the blobs of an entry that are missing.
    fn need(&mut self, entry: u64, digests: &[Digest], findings: &mut Findings) {
        for digest in digests {
            if self.present.contains(digest) || self.absent.contains(digest) {
                continue;
            }
            let is_present = self.store.has_blob(digest);
            let seen = if is_present {
                &mut *self.present
            } else {
                &mut self.absent
            };
            if seen.len() < REMEMBERED {
                seen.insert(*digest);
            }
            if !is_present {
                let path = self.store.blob_path(digest);
                let file = path.strip_prefix(self.store.root()).unwrap_or(&path);
                let log = self.log.to_owned();
                findings.problem(file, AuditProblem::BlobMissing { log, entry });
            }
        }
    }
}

/// Checks `vkey` and `checkpoint`; gives the head if both can be believed.
fn audit_head(
    log: &Log,
    place: &Place<'_>,
    findings: &mut Findings,
) -> Option<(VerifierKey, TreeHead)> {
    let file = place.folder.join(tiles::VKEY);
    let key = match tiles::read_key(log.folder(), log.origin()) {
        Ok(key) => key,
        Err(error) => {
            findings.log_error(&file, error);
            return None;
        }
    };
    let file = place.folder.join(CHECKPOINT);
    let wal = standing::read_wal(log.folder()).ok().flatten();
    let bytes = findings.read(place.root, &file, crate::note::MAX_NOTE_BYTES as u64)?;
    match tree_head::open(&bytes, &key) {
        Ok((head, _)) if wal.is_some_and(|wal| standing::is_older(head, &wal)) => {
            findings.problem(&file, AuditProblem::OlderHead(head));
            None
        }
        Ok((head, note)) => {
            if note.signatures().len() != 1 {
                findings.problem(&file, AuditProblem::UnknownSignatures);
            }
            Some((key, head))
        }
        Err(why) => {
            findings.problem(&file, AuditProblem::Head(why));
            None
        }
    }
}

/// Where a log lies: the store, and the log's folder relative to it.
struct Place<'a> {
    root: &'a Path,
    folder: PathBuf,
}

/// What was found so far, never more than can be listed.
#[derive(Default)]
struct Findings {
    report: AuditReport,
    /// Somebody published meanwhile, and not all that is there was read.
    is_overtaken: bool,
}

impl Findings {
    fn problem(&mut self, file: &Path, what: AuditProblem) {
        if self.report.problems.len() < LISTED {
            self.report.problems.push(Problem {
                file: file.to_owned(),
                what,
            });
        } else {
            self.report.unlisted += 1;
        }
    }

    fn leftover(&mut self, file: PathBuf) {
        if self.report.leftovers.len() < LISTED {
            self.report.leftovers.push(file);
        }
    }

    fn is_full(&self) -> bool {
        self.report.problems.len() >= LISTED
    }

    fn fault(&mut self, file: &Path, fault: &Fault) {
        let what = match fault {
            Fault::Odd { .. } => AuditProblem::Odd,
            Fault::Denied { source, .. }
            | Fault::Full { source, .. }
            | Fault::Io { source, .. } => AuditProblem::Unreadable(source.kind()),
        };
        self.problem(file, what);
    }

    fn log_error(&mut self, file: &Path, error: LogError) {
        let what = match error {
            LogError::Disk(fault) => return self.fault(file, &fault),
            LogError::Missing { .. } => AuditProblem::Missing,
            LogError::Length { .. } => AuditProblem::Length,
            LogError::Bundle { why, .. } => AuditProblem::Bundle(why),
            LogError::Key { why, .. } => AuditProblem::Key(why),
            LogError::Foreign { .. } => AuditProblem::ForeignKey,
            LogError::Head { why, .. } => AuditProblem::Head(why),
            LogError::Older { head, .. } => AuditProblem::OlderHead(head),
            LogError::Wal { why, .. } => AuditProblem::Wal(why),
            LogError::Unvouched { .. } | LogError::NoSuchEntry { .. } => AuditProblem::Hashes,
        };
        self.problem(file, what);
    }

    /// Reads a file that must be there; otherwise notes why not.
    fn read(&mut self, root: &Path, file: &Path, limit: u64) -> Option<Vec<u8>> {
        match durable::read_regular(&root.join(file), limit) {
            Ok(Some(bytes)) => {
                self.report.bytes += bytes.len() as u64;
                return Some(bytes);
            }
            Ok(None) => self.problem(file, AuditProblem::Missing),
            Err(fault) => self.fault(file, &fault),
        }
        None
    }

    fn add(&mut self, other: Self) {
        let other = other.report;
        self.report.logs.extend(other.logs);
        self.report.entries += other.entries;
        self.report.bytes += other.bytes;
        self.report.unlisted += other.unlisted;
        other
            .problems
            .into_iter()
            .for_each(|it| self.problem(&it.file, it.what));
        other
            .leftovers
            .into_iter()
            .for_each(|file| self.leftover(file));
    }
}
