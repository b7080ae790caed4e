//! Verdicts that are kept in the ledger: who judged, what, and on which bytes the answer rests.
//!
//! Outside of a run nobody asks for a record, so one is made only where it is asked for. Verdicts travel in segments, as
//! steps do: a blob of JSON lines and one entry, so that twenty thousand files make some dozens of entries. A record that
//! cannot be written never changes a verdict; it is told, and the command fails.

use std::path::{Path, PathBuf};

use domain::scan::GapKind;
use domain::verdict::{Examined as Segment, Judged, Scanner};
use domain::{Body, Digest, PathText, RunId};
use ledger::Store;
use report::scan::{FileReport, Notice};

use super::document::real;
use super::local::Examined;
use super::recall::{Recall, Trusted};
use super::worker::Setup;
use crate::index::{Index, IndexError};
use crate::journal::{Journal, wall_us};
use crate::place::{PlaceError, Surroundings};
use crate::secret::{self, SecretError};

/// Verdicts in a segment.
const COUNT: u64 = 1024;
/// Bytes of a segment, but for its last verdict.
const BYTES: usize = 1 << 20;

/// Verdicts that cannot be kept, or looked for.
#[derive(Debug, thiserror::Error)]
pub enum KeepError {
    /// The log could not be opened.
    #[error(transparent)]
    Writing(#[from] crate::writing::WritingError),
    /// The store lies where the files lie that are judged.
    #[error("the store {path} lies in what is scanned", path = path.display())]
    Inside {
        /// The store.
        path: PathBuf,
    },
    /// A place is missing.
    #[error(transparent)]
    Place(#[from] PlaceError),
    /// The store.
    #[error(transparent)]
    Store(#[from] ledger::StoreError),
    /// The ledger.
    #[error(transparent)]
    Ledger(#[from] ledger::LedgerError),
    /// The index.
    #[error(transparent)]
    Index(#[from] IndexError),
    /// The store's secret.
    #[error(transparent)]
    Secret(#[from] SecretError),
    /// This program's own file cannot be read, so that no verdict could say what made it.
    #[error("this program cannot read its own file: {0}")]
    Program(#[source] std::io::Error),
    /// The file that is asked about cannot be read.
    #[error(transparent)]
    Input(#[from] super::InputError),
    /// No random bytes.
    #[error("the system gave no random bytes")]
    NoRandomness,
}

impl KeepError {
    /// What the user can do about it.
    pub(super) const fn hint(&self) -> Option<&'static str> {
        match self {
            Self::Inside { .. } => Some(
                "who may write a payload there may write its verdict too: name a store elsewhere with --store, or the folder with the models alone",
            ),
            Self::Place(PlaceError::NoStore { .. }) => {
                Some("`taintline scan --record PATH` keeps verdicts; or name a store with --store")
            }
            Self::Place(_) => Some("set HOME or the XDG variable"),
            Self::Store(_)
            | Self::Ledger(_)
            | Self::Writing(_)
            | Self::Index(_)
            | Self::Secret(_) => {
                Some("name a writable place with space with --store or TAINTLINE_STORE")
            }
            Self::Program(_) | Self::Input(_) | Self::NoRandomness => None,
        }
    }
}

/// Refuses a store in a place that is scanned.
pub(super) fn keep_outside(store: &Path, scanned: &[PathBuf]) -> Result<(), KeepError> {
    let place = real(store);
    let roots = scanned.iter().filter_map(|root| root.canonicalize().ok());
    if roots.into_iter().any(|root| place.starts_with(root)) {
        return Err(KeepError::Inside {
            path: store.to_owned(),
        });
    }
    Ok(())
}

/// Keeps the verdicts of one scan.
pub(super) struct Keeper {
    journal: Journal,
    secret: [u8; 32],
    scanner: Scanner,
    cwd: PathBuf,
    /// The folder of the last file, as it was named and as it is.
    folder: Option<(PathBuf, PathBuf)>,
    lines: Vec<u8>,
    count: u64,
    kept: u64,
    recalled: u64,
    lost: u64,
}

impl Keeper {
    /// Opens the store that the surroundings name, or makes one; gives what it knows of heavy files too.
    pub(super) fn open(
        surroundings: &Surroundings,
        paths: &[PathBuf],
        setup: &Setup,
    ) -> Result<(Self, Recall), KeepError> {
        let place = surroundings.store_to_write();
        keep_outside(&place, paths)?;
        let scanner = judging(setup)?;
        let store = Store::open_or_create(&place)?;
        crate::place::keep_out_of_git(&place);
        let keys = surroundings.keys()?;
        let secret = secret::of_store(&store, &keys)?;
        let writer = crate::writing::open(&store, &keys)?;
        let index = Index::open(&store)?;
        let trusted = Trusted::new(store.clone(), secret);
        let recall = Recall::new(trusted, &index, &scanner, setup)?;
        let mut random = [0; 10];
        getrandom::fill(&mut random).map_err(|_| KeepError::NoRandomness)?;
        let ms = u64::try_from(wall_us() / 1000).unwrap_or(0);
        let keeper = Self {
            journal: Journal::new(store, writer, RunId::new(ms, random), 0),
            secret,
            scanner,
            cwd: surroundings.cwd.clone(),
            folder: None,
            lines: Vec::new(),
            count: 0,
            kept: 0,
            recalled: 0,
            lost: 0,
        };
        Ok((keeper, recall))
    }

    /// Keeps one verdict.
    pub(super) fn keep(&mut self, path: &Path, report: &FileReport, known: Known) {
        let path = self.place(path);
        let valid = report.accepted.iter().filter(|known| !known.expired);
        let judged = Judged {
            path: PathText::from(path.as_path()),
            at_us: wall_us(),
            verdict: report.verdict,
            took_us: known.took_us,
            bound: known.bound,
            beside: known.beside,
            as_in: report.as_in.clone(),
            accepted: valid.map(|known| known.finding).collect(),
            examination: report.examination.clone(),
        };
        self.kept += 1;
        self.recalled += u64::from(judged.as_in.is_some());
        if !add_line(&mut self.lines, &judged) {
            self.lost += 1;
            return;
        }
        self.count += 1;
        if self.count >= COUNT || self.lines.len() >= BYTES {
            self.close_segment();
        }
    }

    /// Where a file really is, under its own name: a link that was named keeps its name.
    fn place(&mut self, path: &Path) -> PathBuf {
        let (Some(folder), Some(name)) = (path.parent(), path.file_name()) else {
            return path.to_owned();
        };
        if path.as_os_str() == "-" {
            return path.to_owned();
        }
        if self.folder.as_ref().is_none_or(|known| known.0 != folder) {
            let place = self.cwd.join(folder);
            let place = place.canonicalize().unwrap_or(place);
            self.folder = Some((folder.to_owned(), place));
        }
        let place = self.folder.as_ref().map(|(_, place)| place.join(name));
        place.unwrap_or_else(|| path.to_owned())
    }

    fn close_segment(&mut self) {
        let lines = std::mem::take(&mut self.lines);
        let count = std::mem::take(&mut self.count);
        if count == 0 {
            return;
        }
        let Some(segment) = self.journal.blob(&lines) else {
            self.lost += count;
            return;
        };
        let keyed = keyed(&self.secret, &self.scanner, &segment);
        let scanner = self.scanner.clone();
        self.journal.record(Body::Examined(Segment {
            scanner,
            count,
            segment,
            keyed,
        }));
        self.journal.flush();
    }

    /// Makes all verdicts durable and says where they are. False when some are lost.
    pub(super) fn finish(mut self, notices: &mut Vec<Notice>) -> bool {
        self.close_segment();
        let durable = self.journal.flush();
        let mut tell = |text| {
            notices.push(Notice {
                about: "record",
                text,
            });
        };
        for finding in self.journal.take_rewritten() {
            tell(finding.what);
        }
        if let Some(gap) = self.journal.gap() {
            tell(format!("not all verdicts could be kept: {}", gap.why));
            return false;
        }
        let (log, size) = self.journal.position();
        let (kept, recalled) = (self.kept, self.recalled);
        let mut text = format!("{kept} verdicts kept, in entries up to {size} of log {log}");
        if recalled > 0 {
            text.push_str(&format!("; {recalled} of them as examined before"));
        }
        tell(text);
        durable && self.lost == 0
    }
}

/// Adds `value` as one line, or nothing at all: half a line would make the next one unreadable too.
fn add_line(lines: &mut Vec<u8>, value: &impl serde::Serialize) -> bool {
    let whole = lines.len();
    let written = serde_json::to_writer(&mut *lines, value).is_ok();
    if written {
        lines.push(b'\n');
    } else {
        lines.truncate(whole);
    }
    written
}

/// What a verdict rests on, and what it cost.
pub(super) struct Known {
    took_us: u64,
    bound: Option<domain::verdict::Bound>,
    beside: bool,
}

impl Known {
    pub(super) fn take(examined: &mut Examined) -> Self {
        Self {
            took_us: examined.took_us,
            bound: examined.bound.take(),
            beside: examined.beside,
        }
    }
}

/// What the store's secret says of a segment.
pub(super) fn keyed(secret: &[u8; 32], scanner: &Scanner, segment: &Digest) -> Digest {
    let scanner = serde_json::to_vec(scanner).unwrap_or_default();
    let parts = [
        b"taintline verdicts\n".as_slice(),
        &scanner,
        segment.as_bytes(),
    ];
    secret::keyed(secret, &parts)
}

/// Who judges here and now.
pub(super) fn judging(setup: &Setup) -> Result<Scanner, KeepError> {
    let program = super::document::digest_of(Path::new("/proc/self/exe"));
    let wishes = (&setup.admitted, &setup.without);
    let none = setup.admitted.is_empty() && setup.without.is_empty();
    let policy = serde_json::to_vec(&wishes).unwrap_or_default();
    Ok(Scanner {
        version: env!("CARGO_PKG_VERSION").to_owned(),
        program: program.map_err(KeepError::Program)?,
        rules: ::scan::Rules::digest(),
        policy: (!none).then(|| Digest::of(&policy)),
        full: setup.full,
    })
}

/// Whether an examination came to its own end: what was cut off from outside says nothing about the bytes.
pub(super) fn is_settled(done: &domain::scan::Examination) -> bool {
    let outside = |kind| {
        use GapKind::{Changed, Crashed, NotAFile, TimedOut, Unreadable};
        matches!(kind, Changed | Crashed | NotAFile | TimedOut | Unreadable)
    };
    !done.gaps.iter().any(|gap| outside(gap.kind))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    #[test]
    fn what_cannot_be_written_leaves_no_half_of_a_line() {
        let mut lines = Vec::new();
        assert!(add_line(&mut lines, &1));
        // The second key is no text: JSON breaks off behind the first.
        let broken = (2, BTreeMap::from([((), 3)]));
        assert!(!add_line(&mut lines, &broken));
        assert!(add_line(&mut lines, &4));
        assert_eq!(lines, b"1\n4\n");
    }
}
