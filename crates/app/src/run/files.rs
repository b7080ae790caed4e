//! Files that the job touches, read beside it: digest, tensors, small content.
//!
//! Two threads. *Soon* reads checkpoints up to [`SOON_BYTES_MAX`] at normal priority, since a resume should be judged before
//! it has cost much; *later* reads everything else at the lowest priority, so that on a full machine the job goes first. A
//! file is opened the moment that it is asked for, so that a rename or replacement a moment later cannot hide it.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::fs::{File, Metadata};
use std::io::Write;
use std::os::unix::ffi::OsStringExt as _;
use std::os::unix::fs::{FileExt as _, MetadataExt as _, OpenOptionsExt as _};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::Sender;
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::Instant;

use domain::entry::{Identity, Kind};
use domain::scan::{Examination, Weight};
use domain::{Digest, Hasher, Node, PathText, Tree};

use super::event::{Event, ExaminedFile, Purpose, ReadFile};
use super::examined;
use super::keep::{Keeping, Spot};
use crate::checkpoint;

/// Checkpoints up to this size are read at normal priority.
pub(super) const SOON_BYTES_MAX: u64 = 1 << 30;
/// Own code and configuration up to this size is stored.
const STORED_BYTES_MAX: u64 = 1 << 20;
/// Files of a sharded checkpoint that are read.
const SHARDS_MAX: usize = 100_000;
const BUFFER_BYTES: usize = 1 << 20;

/// What may be read of data and checkpoints in one run, in bytes.
#[derive(Debug, Clone, Copy)]
pub struct Budget {
    /// Of data files together.
    pub data: u64,
    /// Of one checkpoint.
    pub checkpoint: u64,
}

impl Default for Budget {
    fn default() -> Self {
        Self {
            data: 4 << 30,
            checkpoint: 64 << 30,
        }
    }
}

struct Request {
    ticket: u64,
    urgency: u8,
    purpose: Purpose,
    path: PathText,
    opened: Opened,
    /// Where a checkpoint's bytes are set aside.
    spot: Option<Spot>,
}

type Opened = Result<(File, Identity, bool), Unopened>;

/// Why a file could not be opened.
struct Unopened {
    /// Nothing is at the path.
    gone: bool,
    why: String,
}

impl Unopened {
    fn other(why: &str) -> Self {
        Self {
            gone: false,
            why: why.to_owned(),
        }
    }
}

impl PartialEq for Request {
    fn eq(&self, other: &Self) -> bool {
        self.ticket == other.ticket
    }
}
impl Eq for Request {}
impl PartialOrd for Request {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}
impl Ord for Request {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        (self.urgency, Reverse(self.ticket)).cmp(&(other.urgency, Reverse(other.ticket)))
    }
}

#[derive(Default)]
struct Queue {
    waiting: Mutex<BinaryHeap<Request>>,
    wake: Condvar,
}

/// Reads files beside the job.
pub(super) struct Reader {
    soon: Arc<Queue>,
    later: Arc<Queue>,
    next: u64,
    open: u64,
    stop: Arc<AtomicBool>,
}

impl Reader {
    /// Starts the two threads.
    pub(super) fn start(events: &Sender<Event>, budget: Budget, stop: Arc<AtomicBool>) -> Self {
        let spent = Arc::new(AtomicU64::new(0));
        let start = |name: &str, low: bool| {
            let queue = Arc::<Queue>::default();
            let worker = Worker {
                events: events.clone(),
                budget,
                spent: Arc::clone(&spent),
                stop: Arc::clone(&stop),
            };
            let theirs = Arc::clone(&queue);
            let spawned = std::thread::Builder::new()
                .name(name.to_owned())
                .spawn(move || {
                    if low {
                        super::lower_priority();
                    }
                    worker.work(&theirs);
                });
            drop(spawned);
            queue
        };
        Self {
            soon: start("read soon", false),
            later: start("read later", true),
            next: 0,
            open: 0,
            stop,
        }
    }

    /// Asks for a file; the answer comes as [`Event::Read`] with the returned ticket. Also device and inode of what was opened.
    pub(super) fn ask(&mut self, purpose: Purpose, path: &PathText) -> (u64, Option<(u64, u64)>) {
        self.queue(purpose, path, open(path), None)
    }

    /// Asks for a checkpoint that was saved; `None` and no answer if nothing is there any more. `spot` says, for its size, where it is
    /// set aside.
    pub(super) fn ask_saved(
        &mut self,
        path: &PathText,
        spot: impl FnOnce(u64) -> Option<Spot>,
    ) -> Option<(u64, Option<(u64, u64)>)> {
        let opened = open(path);
        let gone = opened.as_ref().is_err_and(|unopened| unopened.gone);
        let size = opened.as_ref().ok().map(
            |(_, identity, folder)| {
                if *folder { 0 } else { identity.size }
            },
        );
        (!gone).then(|| self.queue(Purpose::Save, path, opened, size.and_then(spot)))
    }

    fn queue(
        &mut self,
        purpose: Purpose,
        path: &PathText,
        opened: Opened,
        spot: Option<Spot>,
    ) -> (u64, Option<(u64, u64)>) {
        let inode = opened
            .as_ref()
            .ok()
            .map(|(_, identity, _)| (identity.dev, identity.ino));
        let size = opened.as_ref().map_or(0, |(_, identity, _)| identity.size);
        let urgency = match purpose {
            Purpose::Resume => 4,
            Purpose::Save => 3,
            Purpose::Take(Kind::Script | Kind::Config) => 2,
            Purpose::Take(Kind::Data) => 0,
            Purpose::Take(_) => 1,
        };
        let soon = urgency >= 3 && size <= SOON_BYTES_MAX;
        let queue = if soon { &self.soon } else { &self.later };
        self.next += 1;
        self.open += 1;
        let request = Request {
            ticket: self.next,
            urgency,
            purpose,
            path: path.clone(),
            opened,
            spot,
        };
        queue
            .waiting
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push(request);
        queue.wake.notify_one();
        (self.next, inode)
    }

    /// One answer came.
    pub(super) fn answered(&mut self) {
        self.open = self.open.saturating_sub(1);
    }

    /// Answers that are still to come.
    pub(super) fn outstanding(&self) -> u64 {
        self.open
    }

    /// Nothing more is read; what is waiting is answered as not read.
    pub(super) fn stop(&self) {
        self.stop.store(true, Ordering::Relaxed);
    }
}

struct Worker {
    events: Sender<Event>,
    budget: Budget,
    spent: Arc<AtomicU64>,
    stop: Arc<AtomicBool>,
}

impl Worker {
    fn work(&self, queue: &Queue) {
        loop {
            let mut waiting = queue.waiting.lock().unwrap_or_else(PoisonError::into_inner);
            let request = loop {
                match waiting.pop() {
                    Some(request) => break request,
                    None => {
                        waiting = queue
                            .wake
                            .wait(waiting)
                            .unwrap_or_else(PoisonError::into_inner);
                    }
                }
            };
            drop(waiting);
            // A fault of ours costs this file its content; without an answer the end of the run would wait for it.
            let lost = ReadFile::unread(request.ticket, request.purpose.clone(), &request.path);
            let read = catch_unwind(AssertUnwindSafe(|| self.read(request))).unwrap_or(ReadFile {
                gap: Some("a fault of this program: please report it".to_owned()),
                ..lost
            });
            if self.events.send(Event::Read(Box::new(read))).is_err() {
                return;
            }
        }
    }

    fn read(&self, request: Request) -> ReadFile {
        let began = Instant::now();
        let Request {
            ticket,
            purpose,
            path,
            opened,
            spot,
            ..
        } = request;
        let mut read = ReadFile::unread(ticket, purpose, &path);
        match opened {
            Err(unopened) => read.gap = Some(unopened.why),
            Ok((_, identity, true)) => {
                read.identity = Some(identity);
                self.read_folder(&mut read, spot.as_ref());
            }
            Ok((file, identity, false)) => {
                read.identity = Some(identity.clone());
                // Before its bytes are read for the digest: what it would do should be known soon.
                self.examine(&file, identity.size, &read.path, &read);
                match self.may_read(&read.purpose, identity.size) {
                    Ok(()) => self.read_file(&file, &identity, &mut read, spot.as_ref()),
                    Err(why) => read.gap = Some(why),
                }
            }
        }
        read.took = began.elapsed();
        read
    }

    /// Tells what loading the file would do, where anything in it would be interpreted.
    fn examine(&self, file: &File, size: u64, path: &PathText, read: &ReadFile) {
        let deed = match read.purpose {
            Purpose::Resume => "loaded",
            Purpose::Take(Kind::Data) => "opened",
            Purpose::Save | Purpose::Take(_) => return,
        };
        let examination = examined::of_file(file, size, 0, path);
        let data = matches!(read.purpose, Purpose::Take(_));
        if !is_worth_telling(&examination, data) {
            return;
        }
        let examined = ExaminedFile {
            ticket: Some(read.ticket),
            deed: deed.to_owned(),
            data,
            path: path.clone(),
            refused: false,
            examination,
        };
        // Without a recorder nobody is left to be told.
        let _ = self.events.send(Event::Examined(Box::new(examined)));
    }

    fn may_read(&self, purpose: &Purpose, size: u64) -> Result<(), String> {
        if self.stop.load(Ordering::Relaxed) {
            return Err(
                "the run was over and the rest was not waited for: size and times only".to_owned(),
            );
        }
        match purpose {
            Purpose::Save | Purpose::Resume if size > self.budget.checkpoint => Err(format!(
                "{size} bytes are over the limit for one checkpoint, {}: size and times only",
                self.budget.checkpoint
            )),
            Purpose::Take(Kind::Data)
                if self.spent.fetch_add(size, Ordering::Relaxed) + size > self.budget.data =>
            {
                Err(format!(
                    "data beyond {} bytes a run is not read: size and times only",
                    self.budget.data
                ))
            }
            _ => Ok(()),
        }
    }

    fn read_file(
        &self,
        file: &File,
        identity: &Identity,
        read: &mut ReadFile,
        spot: Option<&Spot>,
    ) {
        let keep = matches!(read.purpose, Purpose::Take(Kind::Script | Kind::Config))
            && identity.size <= STORED_BYTES_MAX;
        let mut content = Vec::new();
        let mut keeping = spot.and_then(|spot| spot.begin(file, identity.size));
        let mut both = Both(keep.then_some(&mut content), keeping.as_mut());
        match self.digest(file, identity.size, &mut both) {
            Ok(digest) => read.digest = Some(digest),
            Err(why) => {
                read.gap = Some(why);
                return;
            }
        }
        if let (Some(keeping), Some(digest)) = (keeping, read.digest)
            && is_same_content(file, identity)
        {
            read.kept.extend(keeping.finish(Vec::new(), digest));
        }
        if !is_same_content(file, identity) {
            read.gap =
                Some("it changed while it was read: the digest may be of a mixture".to_owned());
        }
        read.content = keep.then_some(content);
        if matches!(read.purpose, Purpose::Save | Purpose::Resume) {
            match checkpoint::summarise(file) {
                Ok(summary) => read.summary = Some(summary),
                Err(why) => read.gap = read.gap.take().or(Some(why)),
            }
        }
    }

    fn digest(&self, file: &File, size: u64, copy: &mut impl Write) -> Result<Digest, String> {
        let mut hasher = Hasher::new();
        let mut buffer = vec![0; BUFFER_BYTES];
        let mut offset = 0;
        loop {
            if self.stop.load(Ordering::Relaxed) {
                return Err(
                    "the run was over and the rest was not waited for: size and times only"
                        .to_owned(),
                );
            }
            let read = file
                .read_at(&mut buffer, offset)
                .map_err(|error| format!("it cannot be read: {error}"))?;
            let Some(piece) = buffer.get(..read).filter(|piece| !piece.is_empty()) else {
                break;
            };
            hasher.update(piece);
            copy.write_all(piece)
                .map_err(|error| format!("it cannot be copied: {error}"))?;
            offset += read as u64;
            if offset > size.saturating_mul(2).saturating_add(BUFFER_BYTES as u64) {
                return Err("it grew while it was read".to_owned());
            }
        }
        Ok(hasher.finish())
    }

    /// A checkpoint in many files is one tree.
    fn read_folder(&self, read: &mut ReadFile, spot: Option<&Spot>) {
        let top = std::path::PathBuf::from(std::ffi::OsString::from_vec(read.path.to_bytes()));
        let mut tree = Tree::new();
        let mut folders = vec![(top, Vec::<u8>::new())];
        while let Some((folder, prefix)) = folders.pop() {
            let Ok(entries) = std::fs::read_dir(&folder) else {
                read.gap = Some("a folder of it cannot be listed".to_owned());
                continue;
            };
            for entry in entries.flatten() {
                let mut name = prefix.clone();
                name.extend_from_slice(entry.file_name().as_encoded_bytes());
                match entry.file_type() {
                    Ok(kind) if kind.is_dir() => {
                        name.push(b'/');
                        folders.push((entry.path(), name));
                    }
                    Ok(kind) if kind.is_file() && tree.len() < SHARDS_MAX => {
                        let node = self.shard(&entry.path(), &name, read, spot);
                        tree.insert(PathText::from_bytes(&name), node);
                    }
                    _ => read.gap = Some("not all of the folder was read".to_owned()),
                }
            }
        }
        read.digest = Some(tree.digest());
        read.content = Some(tree.encode());
    }

    fn shard(
        &self,
        path: &std::path::Path,
        name: &[u8],
        read: &mut ReadFile,
        spot: Option<&Spot>,
    ) -> Node {
        let opened = open(&PathText::from(path));
        let digested = opened
            .map_err(|unopened| unopened.why)
            .and_then(|(file, identity, _)| {
                self.examine(&file, identity.size, &PathText::from(path), read);
                self.may_read(&read.purpose, identity.size)?;
                let mode = file.metadata().map_or(0, |meta| meta.mode() & 0o7777);
                let mut keeping = spot.and_then(|spot| spot.begin(&file, identity.size));
                let mut copy = Both(None, keeping.as_mut());
                let digest = self.digest(&file, identity.size, &mut copy)?;
                let keeping = keeping.filter(|_| is_same_content(&file, &identity));
                let kept = keeping.and_then(|keeping| keeping.finish(name.to_vec(), digest));
                read.kept.extend(kept);
                Ok(Node::File {
                    size: identity.size,
                    mode,
                    digest,
                })
            });
        digested.unwrap_or_else(|reason| {
            read.gap = Some(reason.clone());
            Node::Unread { reason }
        })
    }
}

/// Whether an examination is kept. A loaded file has one wherever something in it is interpreted. A data file is one of
/// thousands, most of them text or numbers: only what could matter if somebody loaded it is kept.
fn is_worth_telling(examination: &Examination, data: bool) -> bool {
    if data {
        examination.weight() > Some(Weight::Note)
            || !examination.needs.is_empty()
            || !examination.is_complete()
    } else {
        // Nothing is interpreted in what has no format; what was not read might have had one.
        !examination.formats.is_empty()
            || !examination.findings.is_empty()
            || !examination.is_complete()
    }
}

/// Device and inode of what is at the path now.
pub(super) fn inode(path: &PathText) -> Option<(u64, u64)> {
    let path = std::path::PathBuf::from(std::ffi::OsString::from_vec(path.to_bytes()));
    path.metadata().ok().map(|meta| (meta.dev(), meta.ino()))
}

/// Whether something is at the path now.
pub(super) fn exists(path: &PathText) -> bool {
    let path = std::path::PathBuf::from(std::ffi::OsString::from_vec(path.to_bytes()));
    path.symlink_metadata().is_ok()
}

/// The file in which a module lies that has no file of its own: Python imports out of zip files too.
pub(super) fn archive_of(module: &PathText) -> Option<PathText> {
    let path = std::path::PathBuf::from(std::ffi::OsString::from_vec(module.to_bytes()));
    if path.exists() {
        return None;
    }
    let archive = path.ancestors().skip(1).find(|folder| folder.exists())?;
    archive.is_file().then(|| PathText::from(archive))
}

/// Opens without ever blocking on a pipe or device; the flag tells a folder.
fn open(path: &PathText) -> Opened {
    let path = std::path::PathBuf::from(std::ffi::OsString::from_vec(path.to_bytes()));
    let mut options = std::fs::OpenOptions::new();
    let file = options
        .read(true)
        .custom_flags(rustix::fs::OFlags::NONBLOCK.bits().cast_signed())
        .open(path)
        .map_err(|error| Unopened {
            gone: error.kind() == std::io::ErrorKind::NotFound,
            why: format!("it cannot be opened: {error}"),
        })?;
    let meta = file
        .metadata()
        .map_err(|error| Unopened::other(&format!("it cannot be examined: {error}")))?;
    if !meta.is_file() && !meta.is_dir() {
        return Err(Unopened::other("it is neither a file nor a folder"));
    }
    Ok((file, identity(&meta), meta.is_dir()))
}

/// What names the state of an open file.
fn identity_of(file: &File) -> Option<Identity> {
    Some(identity(&file.metadata().ok()?))
}

/// What names the state of a file.
pub(super) fn identity(meta: &Metadata) -> Identity {
    let nanoseconds =
        |seconds: i64, rest: i64| seconds.saturating_mul(1_000_000_000).saturating_add(rest);
    Identity {
        size: meta.size(),
        dev: meta.dev(),
        ino: meta.ino(),
        mtime_ns: nanoseconds(meta.mtime(), meta.mtime_nsec()),
        ctime_ns: nanoseconds(meta.ctime(), meta.ctime_nsec()),
    }
}

/// Whether a file holds what it held then.
fn is_same_content(file: &File, before: &Identity) -> bool {
    identity_of(file).as_ref() == Some(before) || only_times_of_rename(file, before)
}

/// What is read goes to the content that is stored and to what is set aside, where these are wanted.
struct Both<'a>(Option<&'a mut Vec<u8>>, Option<&'a mut Keeping>);

impl Write for Both<'_> {
    fn write(&mut self, piece: &[u8]) -> std::io::Result<usize> {
        if let Some(content) = &mut self.0 {
            content.extend_from_slice(piece);
        }
        if let Some(keeping) = &mut self.1 {
            keeping.write_all(piece)?;
        }
        Ok(piece.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// A rename, a new link or a change of mode moves only the change time: the bytes are the same.
fn only_times_of_rename(file: &File, before: &Identity) -> bool {
    identity_of(file).is_some_and(|now| {
        now.size == before.size && now.mtime_ns == before.mtime_ns && now.ino == before.ino
    })
}
