//! Publishes beside appends: tiles are written and the write-ahead file is begun anew while groups go on into the old one.
//!
//! A job is what this process knows to be durable when it starts: the published log, and the records of the write-ahead
//! file up to a signed head. It runs on a thread of its own. The turn to publish ([`Turn`]) keeps other publications away,
//! of any process; appends are kept away, by the log's lock, only for the time that a name or the last records take.
//!
//! The steps, and what is true if the process dies behind each:
//!
//! 1. *Tiles and bundles up to that head are written and synced, under names that no published head refers to, and the head
//!    under a hidden name.* The old head and the write-ahead file still are the whole log.
//! 2. *The head is renamed into place, and the folder synced.* The tiles hold the log up to there; the write-ahead file
//!    begins before that, so its first records are twice there, and agree. Appends go on behind it. Should a power cut take
//!    the rename back, step 1 is where we are. While little of the file is used, it stays: step 3 is the last.
//! 3. *Narrower tiles are removed.* Dying in between leaves beginnings of wider tiles. This comes before the write-ahead file
//!    changes, because the turn is a lock on that file: behind a step 5 of which nobody knows how it ended, whoever appends
//!    publishes with a turn of his own.
//! 4. *The next write-ahead file is written under a hidden name: it begins at the new head, and has copies of the records
//!    behind it.* Nothing refers to it. What is copied without the log's lock is only what this process knows to be durable;
//!    under the lock the rest is added, and the file synced. Nobody appends from here to the end of step 5.
//! 5. *It is renamed into place, and the folder synced.* Whichever of the two a power cut leaves has all records. Nothing is
//!    written into the new one before that is decided for good. Should the sync fail it is not known, and the log is
//!    published as after any failed sync.

use std::ops::Range;
use std::os::unix::fs::{FileExt as _, MetadataExt as _};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::{Commit, Live, PUBLISH_AFTER, Watched, last_partial, watch};
use crate::continuity::Found;
use crate::disk::{Disk, Handle};
use crate::durable;
use crate::lock::{Held, PATIENCE, Turn};
use crate::publish::{Publication, Written};
use crate::standing::Published;
use crate::tiles::{CHECKPOINT, LogError, NEXT_WAL, WAL};
use crate::tree_head::TreeHead;
use crate::wal::{self, SECTOR};
use crate::writer::LedgerError;

/// The part of the write-ahead file that is worth a publication.
const WORTH: u64 = 4;

/// From this part of the write-ahead file on it is begun anew.
const USED: u64 = 2;

/// After one that failed, the next is tried so much later; or when the write-ahead file is full, and then its failure is
/// that of an append.
const AFTER_FAILURE: Duration = Duration::from_secs(1);

/// While somebody else publishes, one asks again so much later.
const WHILE_BUSY: Duration = Duration::from_millis(10);

/// How a publication ended.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum JobEnd {
    Done,
    /// It was somebody else's turn.
    Busy,
    Failed,
}

/// One publication: from what is published to a head that is durable in the write-ahead file.
pub(crate) struct Job {
    disk: Arc<dyn Disk>,
    folder: PathBuf,
    /// The write-ahead file.
    file: Handle,
    capacity: u64,
    published: Published,
    /// Where in the file the records to be published are, and the size of the log before them.
    records: Range<usize>,
    first: u64,
    head: TreeHead,
    note: Vec<u8>,
}

impl Commit {
    /// A publication, when enough waits for it or waited long enough, and none is under way.
    pub(crate) fn job(&mut self) -> Option<Job> {
        let live = self.live.as_ref()?;
        let (from, first) = live.unpublished;
        let waiting = live.end.saturating_sub(from) as u64;
        let is_due = waiting.saturating_mul(WORTH) >= live.capacity
            || self.published_at.elapsed() > PUBLISH_AFTER;
        let is_resting = |until: Instant| Instant::now() < until;
        let is_kept = self.is_beside || self.is_in_doubt || live.is_spoilt;
        if waiting == 0 || !is_due || is_kept || self.failed.until.is_some_and(is_resting) {
            return None;
        }
        let job = Job {
            disk: Arc::clone(&self.disk),
            folder: self.opened.folder.clone(),
            file: Handle {
                file: live.file.file.try_clone().ok()?,
                path: live.file.path.clone(),
            },
            capacity: live.capacity,
            published: live.published.clone(),
            records: from..live.end,
            first,
            head: live.head,
            note: live.note.clone(),
        };
        self.is_beside = true;
        Some(job)
    }

    /// A job is over.
    pub(crate) fn end_job(&mut self, end: JobEnd) {
        self.is_beside = false;
        let rest = match end {
            JobEnd::Done => None,
            JobEnd::Busy => Some(WHILE_BUSY),
            JobEnd::Failed => Some(AFTER_FAILURE),
        };
        self.failed.until = rest.map(|rest| Instant::now() + rest);
        self.failed.count += usize::from(end == JobEnd::Failed);
    }

    /// How many publications beside appends failed.
    #[cfg(test)]
    pub(crate) fn failed_jobs(&self) -> usize {
        self.failed.count
    }

    /// The log as it is known, if its write-ahead file is still that of the job.
    fn live_of(&mut self, job: &Job) -> Option<&mut Live> {
        self.live
            .as_mut()
            .filter(|live| is_same(&live.file, &job.file))
    }

    /// Takes over that the head of a job was published.
    fn adopt(&mut self, job: &Job, published: &Published, watched: Vec<Watched>) {
        if let Some(live) = self.live_of(job) {
            live.published = published.clone();
            live.watched = watched;
            live.unpublished = (job.records.end, published.head.size);
            self.published_at = Instant::now();
        }
    }

    /// Steps 4 and 5: the last records, and the name. `false` when the log is not what it was when the job began.
    fn go_over(&mut self, job: &Job, copy: &mut Copy<'_>) -> Result<bool, LedgerError> {
        if self.opened.folder != job.folder {
            return Ok(false);
        }
        let _held = self.lock(PATIENCE)?;
        let live = self.current()?;
        let is_its = !live.is_spoilt && is_same(&live.file, &job.file);
        let copied = if is_its {
            copy.up_to(live.end)
                .and_then(|()| Ok(self.disk.sync(&copy.target)?))
        } else {
            Ok(())
        };
        let is_whole = (copy.from, copy.size) == (live.end, live.head.size);
        if !is_its || !is_whole || copied.is_err() {
            self.live = Some(live);
            return copied.map(|()| false);
        }
        // Step 4 is done.
        let path = job.folder.join(WAL);
        let file = copy.target.file.try_clone();
        let file = file.map_err(|error| copy.target.fault(error))?;
        let named = durable::rename(&*self.disk, &copy.target.path, &path)
            .and_then(|()| self.disk.sync_directory(&job.folder));
        if let Err(fault) = named {
            self.is_in_doubt = true;
            return Err(fault.into());
        }
        // Step 5 is done.
        self.live = Some(Live {
            file: Handle { file, path },
            capacity: copy.capacity,
            end: copy.to,
            last: std::mem::take(&mut copy.last),
            unpublished: (SECTOR, job.head.size),
            ..live
        });
        Ok(true)
    }
}

impl Job {
    /// Does it. That it fails, or that somebody else published meanwhile, changes nothing: what is not published will be.
    pub(crate) fn run(self, commit: &Mutex<Commit>) {
        let mut end = End {
            commit,
            how: JobEnd::Failed,
        };
        end.how = match self.publish(commit) {
            Ok(()) => JobEnd::Done,
            Err(LedgerError::Busy { .. }) => JobEnd::Busy,
            Err(_) => JobEnd::Failed,
        };
    }

    fn publish(&self, commit: &Mutex<Commit>) -> Result<(), LedgerError> {
        let turn = Turn::take(&self.folder, Duration::ZERO)?;
        let note = &self.published.note;
        let found = durable::read_regular(&self.folder.join(CHECKPOINT), note.len() as u64)?;
        if !turn.is_on(&self.file.file) || found.as_ref() != Some(note) {
            return Ok(()); // Somebody else published what this process did not see yet.
        }
        let written = self.write()?;
        // Step 1 is done.
        let watched = watch(&self.folder, &written.published)?;
        {
            let mut commit = lock(commit);
            let _held = Held::take(&self.folder, PATIENCE)?;
            written.name_head()?;
            commit.adopt(self, &written.published, watched);
        }
        self.disk.sync_directory(&self.folder)?;
        // Step 2 is done.
        written.remove_narrower();
        // Step 3 is done.
        if self.records.end as u64 >= self.capacity / USED {
            self.begin_anew(commit)?;
        }
        drop(turn);
        Ok(())
    }

    /// Step 1. The entries are taken from the file, for that they are the right ones shows in the head that they lead to.
    fn write(&self) -> Result<Written<'_>, LedgerError> {
        let bundle = last_partial(&self.folder, &self.published)?;
        let disk = &*self.disk;
        let mut publication = Publication::begin(disk, &self.folder, &self.published, bundle)?;
        let bytes = read(&self.file, &self.records)?;
        let mut walk = wal::records_from(&bytes, self.records.start, self.first);
        while let Some(record) = walk.read().map_err(|why| damaged(&self.file, why))? {
            for (index, entry) in (record.first..).zip(record.entries()) {
                if index >= self.published.head.size {
                    publication.add(entry)?;
                }
            }
        }
        if publication.head() != self.head {
            return Err(LedgerError::Rewritten {
                file: self.file.path.clone(),
                remembered: self.head,
                found: Found::OtherBytes,
            });
        }
        Ok(publication.write(self.note.clone())?)
    }

    /// Steps 4 and 5.
    fn begin_anew(&self, commit: &Mutex<Commit>) -> Result<(), LedgerError> {
        let path = self.folder.join(NEXT_WAL);
        let capacity = self.capacity.saturating_mul(4);
        let fresh = wal::fresh(self.head, capacity);
        let mut copy = Copy {
            disk: &*self.disk,
            source: &self.file,
            target: self.disk.create(&path, &fresh)?,
            capacity: fresh.len() as u64,
            from: self.records.end,
            to: SECTOR,
            size: self.head.size,
            last: Vec::new(),
        };
        drop(fresh);
        // Nobody publishes before this thread knows how it ended.
        let turn = Turn::of_next(&self.folder)?;
        let is_over = self.copy(commit, &mut copy);
        if !matches!(is_over, Ok(true)) {
            let _ = self.disk.remove(&path);
        }
        drop(turn);
        is_over.map(drop)
    }

    fn copy(&self, commit: &Mutex<Commit>, copy: &mut Copy<'_>) -> Result<bool, LedgerError> {
        // Beside appends first, so that under the lock there is little left to write and to sync.
        for is_last in [false, true] {
            let end = lock(commit).live_of(self).map(|live| live.end);
            let Some(end) = end else {
                return Ok(false);
            };
            copy.up_to(end)?;
            if !is_last {
                self.disk.sync(&copy.target)?;
            }
        }
        lock(commit).go_over(self, copy)
    }
}

/// Copies records from one write-ahead file to the next.
struct Copy<'a> {
    disk: &'a dyn Disk,
    source: &'a Handle,
    target: Handle,
    capacity: u64,
    /// Where in the source the next record is, where in the target it goes, and the size of the log before it.
    from: usize,
    to: usize,
    size: u64,
    /// The last record, as the target has it.
    last: Vec<u8>,
}

impl Copy<'_> {
    /// Copies the records of the source that end at `end` or before.
    fn up_to(&mut self, end: usize) -> Result<(), LedgerError> {
        if end <= self.from {
            return Ok(());
        }
        let bytes = read(self.source, &(self.from..end))?;
        let mut walk = wal::records_from(&bytes, self.from, self.size);
        let (mut copies, mut to) = (Vec::with_capacity(end - self.from), self.to);
        while let Some(record) = walk.read().map_err(|why| damaged(self.source, why))? {
            let copy = wal::encode(
                to,
                record.first,
                record.count,
                record.bytes(),
                record.note(),
            );
            copies.extend_from_slice(&copy);
            to += copy.len();
            self.last = copy;
            self.from = record.end;
            self.size += u64::from(record.count);
        }
        self.disk.write_at(&self.target, self.to as u64, &copies)?;
        self.to = to;
        Ok(())
    }
}

/// However a job ends, the next can begin.
struct End<'a> {
    commit: &'a Mutex<Commit>,
    how: JobEnd,
}

impl Drop for End<'_> {
    fn drop(&mut self) {
        lock(self.commit).end_job(self.how);
    }
}

fn lock(commit: &Mutex<Commit>) -> MutexGuard<'_, Commit> {
    commit.lock().unwrap_or_else(PoisonError::into_inner)
}

fn is_same(one: &Handle, other: &Handle) -> bool {
    match (one.file.metadata(), other.file.metadata()) {
        (Ok(one), Ok(other)) => (one.dev(), one.ino()) == (other.dev(), other.ino()),
        _ => false,
    }
}

/// The bytes of a file up to the end of a range; those before it are zeros.
fn read(file: &Handle, range: &Range<usize>) -> Result<Vec<u8>, LedgerError> {
    let mut bytes = vec![0; range.end];
    let wanted = bytes.get_mut(range.start..).unwrap_or_default();
    file.file
        .read_exact_at(wanted, range.start as u64)
        .map_err(|error| file.fault(error))?;
    Ok(bytes)
}

fn damaged(file: &Handle, why: wal::Damage) -> LedgerError {
    let file = file.path.clone();
    LogError::Wal { file, why }.into()
}
