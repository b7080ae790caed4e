//! The watching thread: hears, looks, reads, tells.
//!
//! What is heard about a file is put together until the file is due: at once when its writer closed it or it took another's
//! name, a moment later when it was only written to. At most 256 files and 64 MB are read a second, on the average of ten, so
//! that whoever touches many large files makes this thread late and nothing else.

use std::collections::{BTreeSet, HashMap};
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, RecvTimeoutError, TryRecvError};
use std::time::{Duration, Instant};

use domain::PathText;
use domain::entry::Identity;
use host::watch::{Told, Watched, What};

use super::ground::{Ground, Spot};
use super::look::{self, Look};
use super::{Now, Order, Report, Seen, Touch};
use crate::run::ways::local;

/// Touched files that wait to be looked at, at most.
const WAITING_MAX: usize = 20_000;
/// Events taken before anything else gets its turn.
const EVENTS: usize = 4_096;
/// Files looked at between two takings of events.
const READS: usize = 256;
/// Bytes read a microsecond, on the average of ten seconds: 64 MB a second.
const BYTES_A_US: u64 = 64;
const BYTES_MAX: i64 = 640_000_000;
/// What a short file counts as: 256 of them a second.
const BYTES_A_FILE: u64 = 250_000;
/// Beyond a limit is told so often.
const FLOOD_EVERY: Duration = Duration::from_mins(1);
/// A large file that somebody still writes to is read when that has paused for so long.
const LARGE_PAUSE: Duration = Duration::from_secs(2);
const LARGE_BYTES: u64 = 1 << 20;
/// A file that was only written to, not closed, is due after this.
const WRITTEN: Duration = Duration::from_millis(250);
/// A file is not read again within this.
const AGAIN: Duration = Duration::from_millis(100);
/// How often files in use are looked at.
const IN_USE: Duration = Duration::from_secs(5);
/// How long a round of looks at everything takes; where events tell of everything.
const ROUND: Duration = Duration::from_mins(2);
/// The same where they do not.
const ROUND_BLIND: Duration = Duration::from_secs(30);
/// Part of a round.
const SLICE: Duration = Duration::from_secs(1);
/// A file that changes while it is read is read so often.
const TRIES: u8 = 5;
/// Endings of what an import or the loader takes in.
const CODE: [&[u8]; 4] = [b".py", b".pyc", b".pth", b".so"];

/// The recorder is gone.
#[derive(Debug)]
pub(super) struct NobodyHears;

type Tell<'a> = dyn FnMut(Report) -> Result<(), NobodyHears> + 'a;

struct Waiting {
    touch: Touch,
    due: Instant,
    at_us: i64,
    tries: u8,
}

/// The thread's state.
pub(super) struct Thread {
    ground: Ground,
    orders: Receiver<Order>,
    waiting: HashMap<PathBuf, Waiting>,
    read: HashMap<PathBuf, Instant>,
    in_use: BTreeSet<PathBuf>,
    in_use_at: Instant,
    slice_at: Instant,
    next_folder: usize,
    lost: bool,
    flood: u64,
    flood_at: Option<Instant>,
    /// What may be read; below zero after a large file, and then nothing is until it is made up for.
    bytes: i64,
    bytes_at: Instant,
    ending: bool,
    /// The last events were taken: whoever writes on and on does not hold up the end.
    deaf: bool,
    beyond: u64,
}

impl Thread {
    pub(super) fn new(ground: Ground, orders: Receiver<Order>) -> Self {
        let now = Instant::now();
        Self {
            ground,
            orders,
            waiting: HashMap::new(),
            read: HashMap::new(),
            in_use: BTreeSet::new(),
            in_use_at: now,
            slice_at: now,
            next_folder: 0,
            lost: false,
            flood: 0,
            flood_at: None,
            bytes: BYTES_MAX,
            bytes_at: now,
            ending: false,
            deaf: false,
            beyond: 0,
        }
    }

    /// Runs until it was told to end, or nobody hears.
    pub(super) fn run(mut self, tell: &mut Tell<'_>) {
        while self.turn(tell).is_ok_and(|goes_on| goes_on) {}
    }

    /// One turn; whether there is another.
    fn turn(&mut self, tell: &mut Tell<'_>) -> Result<bool, NobodyHears> {
        if !self.wait(tell)? {
            return Ok(false);
        }
        if !self.take_orders(tell)? {
            return Ok(false);
        }
        let taken = if self.deaf {
            0
        } else {
            self.take_events(tell)?
        };
        self.deaf |= self.ending;
        if self.lost {
            tell(Report::Lost)?;
            self.look_at_all();
            self.lost = false;
        }
        if taken < EVENTS {
            self.look_by_time();
        }
        self.read_due(tell)?;
        self.tell_limits(tell)?;
        if self.ending && self.waiting.is_empty() {
            tell(Report::Over)?;
            return Ok(false);
        }
        Ok(true)
    }

    /// What is beyond a limit, once a minute.
    fn tell_limits(&mut self, tell: &mut Tell<'_>) -> Result<(), NobodyHears> {
        let now = Instant::now();
        let is_due = self
            .flood_at
            .is_none_or(|at| now.duration_since(at) >= FLOOD_EVERY);
        if self.flood > 0 && (is_due || self.ending) {
            self.flood_at = Some(now);
            let files = std::mem::take(&mut self.flood);
            tell(Report::Flood { files })?;
        }
        if self.beyond == 0 && self.ground.beyond() > 0 {
            self.beyond = self.ground.beyond();
            tell(Report::TooMany)?;
        }
        Ok(())
    }

    /// Waits for what comes first. False where nobody will ever order anything more.
    fn wait(&mut self, tell: &mut Tell<'_>) -> Result<bool, NobodyHears> {
        let now = Instant::now();
        let paid = self.paid();
        let due = self.waiting.values().map(|it| it.due.max(paid)).min();
        let until = due.map_or(self.slice_at, |due| due.min(self.slice_at));
        let at_most = until
            .saturating_duration_since(now)
            .max(Duration::from_millis(1));
        if let Some(watcher) = self.ground.watcher() {
            watcher.wait(at_most);
            return Ok(true);
        }
        match self.orders.recv_timeout(at_most) {
            Ok(order) => self.order(order, tell).map(|()| true),
            Err(RecvTimeoutError::Timeout) => Ok(true),
            Err(RecvTimeoutError::Disconnected) => Ok(false),
        }
    }

    fn take_orders(&mut self, tell: &mut Tell<'_>) -> Result<bool, NobodyHears> {
        loop {
            match self.orders.try_recv() {
                Ok(order) => self.order(order, tell)?,
                Err(TryRecvError::Empty) => return Ok(true),
                Err(TryRecvError::Disconnected) => return Ok(self.ending),
            }
        }
    }

    fn order(&mut self, order: Order, tell: &mut Tell<'_>) -> Result<(), NobodyHears> {
        match order {
            Order::Cover(layout, done) => {
                let coverage = self.ground.cover(&layout);
                let _ = done.send(()); // who asked may have given up waiting
                tell(Report::Covered(coverage))?;
            }
            Order::InUse(files) => {
                for file in files {
                    let file = local(&file);
                    if self.ground.in_use(&file) && self.in_use.len() < WAITING_MAX {
                        self.in_use.insert(file);
                    }
                }
            }
            Order::Alone(path, identity) => {
                if self.ground.alone(path.clone(), identity) {
                    self.touch(path, Touch::UNHEARD);
                }
            }
            Order::End => {
                self.ending = true;
                self.look_at_all();
            }
        }
        Ok(())
    }

    fn take_events(&mut self, tell: &mut Tell<'_>) -> Result<usize, NobodyHears> {
        let mut told = Vec::new();
        let mut lost = false;
        let taken = self.ground.watcher().map_or(0, |watcher| {
            watcher.take(EVENTS, &mut |event| match event {
                Told::Lost => lost = true,
                Told::Of { place, name, what } => {
                    told.push((place, name.map(PathBuf::from), what));
                }
            })
        });
        self.lost |= lost;
        for (place, name, what) in told {
            self.event(place, name.as_deref(), what, tell)?;
        }
        Ok(taken)
    }

    fn event(
        &mut self,
        place: Watched,
        name: Option<&Path>,
        what: What,
        tell: &mut Tell<'_>,
    ) -> Result<(), NobodyHears> {
        for spot in self.ground.spots(place) {
            match (spot, name) {
                (Spot::Folder(folder), Some(name)) => {
                    let path = folder.join(name);
                    if !what.is_folder() {
                        self.touch(path, Touch::of(what));
                        continue;
                    }
                    if what.has_gone() {
                        self.left(&path, tell)?;
                    }
                    if what.has_come() {
                        self.come(&path, tell)?;
                    }
                }
                (Spot::Folder(folder), None) => {
                    if what.is_of_the_place() && self.ground.is_elsewhere(&folder) {
                        self.left(&folder, tell)?;
                        if folder.is_dir() {
                            self.come(&folder, tell)?;
                        }
                    }
                }
                (Spot::File(path), _) => {
                    let elsewhere = what.is_of_the_place() || what.is_last();
                    let gone = if elsewhere {
                        Touch::GONE
                    } else {
                        Touch::default()
                    };
                    self.touch(path, Touch::of(what).and(gone));
                }
            }
        }
        if what.is_last() {
            self.ground.lost(place);
        }
        Ok(())
    }

    /// A folder went away.
    fn left(&mut self, path: &Path, tell: &mut Tell<'_>) -> Result<(), NobodyHears> {
        match self.ground.leave(path) {
            Some(files) => tell(Report::Seen(folder(path, Now::FolderGone(files)))),
            None => Ok(()),
        }
    }

    /// A folder came: what is in it is new, or held against what was there before.
    fn come(&mut self, path: &Path, tell: &mut Tell<'_>) -> Result<(), NobodyHears> {
        let had = self.ground.had(path);
        for file in self.ground.enter(path) {
            self.touch(file, Touch::COME);
        }
        if had {
            let files = self.ground.files_below(path);
            tell(Report::Seen(folder(path, Now::FolderBack(files))))?;
        }
        Ok(())
    }

    /// Something happened to a file.
    fn touch(&mut self, path: PathBuf, touch: Touch) {
        let now = Instant::now();
        let soon = touch.has(Touch::CLOSED.and(Touch::GONE));
        let mut due = if soon { now } else { now + WRITTEN };
        if let Some(read) = self.read.get(&path) {
            due = due.max(*read + AGAIN);
        }
        if let Some(waiting) = self.waiting.get_mut(&path) {
            waiting.touch = waiting.touch.and(touch);
            waiting.due = waiting.due.min(due);
            return;
        }
        if self.waiting.len() >= WAITING_MAX {
            self.flood += 1;
            return;
        }
        let waiting = Waiting {
            touch,
            due,
            at_us: host::clock::wall_us(),
            tries: 0,
        };
        self.waiting.insert(path, waiting);
    }

    fn look_by_time(&mut self) {
        let now = Instant::now();
        if now < self.slice_at || self.ending {
            return;
        }
        self.slice_at = now + SLICE;
        self.read.retain(|_, at| now.duration_since(*at) < AGAIN);
        if now.duration_since(self.in_use_at) >= IN_USE {
            self.in_use_at = now;
            self.look_at_used();
        }
        let round = if self.ground.is_blind() {
            ROUND_BLIND
        } else {
            ROUND
        };
        let slices = usize::try_from(round.as_secs() / SLICE.as_secs()).unwrap_or(1);
        let folders = self.ground.folders();
        for _ in 0..folders.div_ceil(slices.max(1)) {
            self.look_at_folder(self.next_folder);
            self.next_folder = (self.next_folder + 1) % folders.max(1);
        }
    }

    fn look_at_used(&mut self) {
        let used = std::mem::take(&mut self.in_use);
        for path in &used {
            if self.ground.knows(path)
                && look::identity(path).as_ref() != self.ground.identity(path)
            {
                self.looked(path.clone());
            }
        }
        self.in_use = used;
        for path in self.ground.look_alone() {
            self.looked(path);
        }
    }

    fn look_at_folder(&mut self, index: usize) {
        for path in self.ground.look(index, self.lost) {
            self.looked(path);
        }
    }

    fn look_at_all(&mut self) {
        self.look_at_used();
        for index in 0..self.ground.folders() {
            self.look_at_folder(index);
        }
    }

    /// A file is not as it was. What is heard of but waits for its turn is known.
    fn looked(&mut self, path: PathBuf) {
        if self.waiting.contains_key(&path) || self.waiting.len() >= WAITING_MAX / 2 {
            return;
        }
        let heard = self.ground.is_heard(&path) && !self.lost;
        let touch = if heard { Touch::UNHEARD } else { Touch::LOOKED };
        self.touch(path, touch);
    }

    /// When something may be read again.
    fn paid(&self) -> Instant {
        let debt = u64::try_from(self.bytes.saturating_neg()).unwrap_or(0);
        self.bytes_at + Duration::from_micros(debt / BYTES_A_US)
    }

    fn read_due(&mut self, tell: &mut Tell<'_>) -> Result<(), NobodyHears> {
        let now = Instant::now();
        let earned = now.duration_since(self.bytes_at).as_micros();
        let earned = u64::try_from(earned).unwrap_or(u64::MAX);
        if earned > 0 {
            let earned = i64::try_from(earned.saturating_mul(BYTES_A_US)).unwrap_or(i64::MAX);
            self.bytes = self.bytes.saturating_add(earned).min(BYTES_MAX);
            self.bytes_at = now;
        }
        let due = self
            .waiting
            .iter()
            .filter(|(_, waiting)| waiting.due <= now || self.ending);
        let mut due: Vec<_> = due.map(|(path, it)| (it.due, path.clone())).collect();
        due.sort();
        for (_, path) in due.into_iter().take(READS) {
            if self.bytes <= 0 && !self.ending {
                break;
            }
            if let Some(waiting) = self.waiting.remove(&path) {
                self.look(path, waiting, tell)?;
            }
        }
        Ok(())
    }

    /// Whether a large file is in the middle of being written: a part of it says nothing.
    fn is_being_written(&self, waiting: &Waiting, identity: Option<&Identity>) -> bool {
        let is_large = |it: &&Identity| it.size > LARGE_BYTES;
        !self.ending
            && !waiting.touch.has(Touch::CLOSED)
            && waiting.touch.has(Touch::WRITTEN.and(Touch::COME))
            && waiting.tries < TRIES
            && identity
                .filter(is_large)
                .and_then(since_written)
                .is_some_and(|since| since < LARGE_PAUSE)
    }

    fn look(
        &mut self,
        path: PathBuf,
        mut waiting: Waiting,
        tell: &mut Tell<'_>,
    ) -> Result<(), NobodyHears> {
        let before = self.ground.identity(&path).cloned();
        let identity = look::identity(&path);
        let touch = waiting.touch;
        if identity == before && !touch.may_have_changed() {
            return Ok(());
        }
        if path.is_dir() {
            // A link to a folder is no folder to whoever tells of events.
            if self.ground.is_elsewhere(&path) {
                self.left(&path, tell)?;
            }
            return self.come(&path, tell);
        }
        if self.is_being_written(&waiting, identity.as_ref()) {
            waiting.tries += 1;
            waiting.due = Instant::now() + LARGE_PAUSE;
            self.waiting.insert(path, waiting);
            return Ok(());
        }
        if before.is_none() && !self.ground.knows(&path) && !is_worth_reading(&path) {
            self.ground.set(&path, identity);
            return Ok(());
        }
        if self.ending && only_changed(before.as_ref(), identity.as_ref(), touch) {
            self.ground.set(&path, identity);
            return Ok(()); // the scan that follows reads it
        }
        // A file costs something to open, however short it is.
        let size = identity.as_ref().map_or(0, |it| it.size).max(BYTES_A_FILE);
        self.bytes = self
            .bytes
            .saturating_sub(i64::try_from(size).unwrap_or(i64::MAX));
        self.read.insert(path.clone(), Instant::now());
        let (identity, now) = match look::look(&path) {
            Look::At(identity, now) => (identity, now),
            Look::Folder => return self.come(&path, tell),
            Look::Unsettled(identity) if waiting.tries >= TRIES => {
                let why = "it changed whenever it was read".to_owned();
                (Some(identity), look::unknown(why))
            }
            Look::Unsettled(_) => {
                waiting.tries += 1;
                waiting.due = Instant::now() + WRITTEN;
                waiting.touch = touch.and(Touch::WRITTEN);
                self.waiting.insert(path, waiting);
                return Ok(());
            }
        };
        self.ground.set(&path, identity.clone());
        self.ground.rewatch(&path);
        tell(Report::Seen(Seen {
            path: PathText::from(path.as_path()),
            at_us: waiting.at_us,
            touch,
            before,
            identity,
            now,
        }))
    }
}

/// How long ago a file was written to; nothing where its time lies ahead.
fn since_written(identity: &Identity) -> Option<Duration> {
    let now_ns = i128::from(host::clock::wall_us()) * 1000;
    let since = now_ns.checked_sub(i128::from(identity.mtime_ns))?;
    u64::try_from(since).ok().map(Duration::from_nanos)
}

/// Whether nothing but the change time moved, unheard: another name of the file came or went, most of the time.
fn only_changed(before: Option<&Identity>, now: Option<&Identity>, touch: Touch) -> bool {
    let same = |one: &Identity, other: &Identity| {
        let of = |it: &Identity| (it.dev, it.ino, it.size, it.mtime_ns);
        of(one) == of(other)
    };
    touch.and(Touch::UNHEARD.and(Touch::LOOKED)) == Touch::UNHEARD.and(Touch::LOOKED)
        && before
            .zip(now)
            .is_some_and(|(before, now)| same(before, now))
}

fn folder(path: &Path, now: Now) -> Seen {
    Seen {
        path: PathText::from(path),
        at_us: host::clock::wall_us(),
        touch: Touch::default(),
        before: None,
        identity: None,
        now,
    }
}

/// Whether a file that is new is read: what an import or the loader takes in, papers of packages, and what lies beside programs.
/// Byte code that Python writes for itself is not: it is judged by what its source compiles to.
fn is_worth_reading(path: &Path) -> bool {
    let name = path.file_name().unwrap_or_default().as_bytes();
    let parent = path.parent().and_then(Path::file_name).unwrap_or_default();
    if parent == "__pycache__" {
        return false;
    }
    let code = CODE.iter().any(|ending| name.ends_with(ending));
    let library = name.windows(4).any(|part| part == b".so.");
    code || library
        || parent == "bin"
        || parent.as_bytes().ends_with(b".dist-info")
        || parent.as_bytes().ends_with(b".egg-info")
}
