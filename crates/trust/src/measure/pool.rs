//! Many files to their digests, on several threads, each byte read once.
//!
//! SHA-256 goes through the lanes of [`hashing`]; the same bytes, while they are in the cache, go into the file's BLAKE3
//! tree ([`crate::chunks`]). Large files are shared out evenly, so that no thread fills all of its lanes with what others
//! wait for. A thread that has no file left [helps](super::desk) those that have. Where SHA-256 is not wanted, all of them
//! read blocks of what is left.
//!
//! Memory is the buffers of the lanes of at most [`MAX_THREADS`] threads and the blocks of the desk, whatever the size of
//! the files.

use std::os::fd::BorrowedFd;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};

use domain::Digest;
use hashing::{Engine, Queue, Sha256, Stream as _};

use super::beneath::Root;
use super::desk::{Desk, lock};
use super::file::{FileState, Reading, Unread};
use super::open::{Open, Ticket};
use crate::chunks::FileTree;
use crate::name::Name;

/// Threads, whatever was asked for: each has half a megabyte of buffers.
const MAX_THREADS: usize = 64;

/// Bytes from which on a file is large: such files come first, and are shared out.
const LARGE: u64 = 1 << 20;

/// A file to be read.
#[derive(Debug, Clone)]
pub struct Task {
    /// Which.
    pub name: Name,
    /// It is a link that was signed as the file behind it.
    pub through_link: bool,
    /// Its size as listed; only the order and who reads it depend on it.
    pub size: u64,
}

/// Which digests are made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Wanted {
    /// SHA-256.
    pub sha256: bool,
    /// The BLAKE3 tree.
    pub tree: bool,
}

/// Asked about each file when it is open and before its first byte is read, with its state then; the answer is kept beside
/// the digests. Called by several threads.
pub type Before<'a> = &'a (dyn Fn(BorrowedFd<'_>, &FileState) -> bool + Sync);

/// A file as it was read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hashed {
    /// What it was, before and after.
    pub state: FileState,
    /// What [`Before`] answered; `false` where nobody was asked.
    pub before: bool,
    /// If it was wanted.
    pub sha256: Option<Digest>,
    /// If it was wanted.
    pub tree: Option<FileTree>,
}

/// What became of a file.
pub type HashResult = Result<Hashed, Unread>;

/// Reads all files; the results are in the order of `tasks`.
pub(crate) fn hash_all(
    root: &Root,
    tasks: &[Task],
    wanted: Wanted,
    threads: usize,
    before: Option<Before<'_>>,
) -> Vec<HashResult> {
    let threads = threads.clamp(1, MAX_THREADS);
    let pool = Pool::new(root, tasks, wanted, threads, before);
    std::thread::scope(|scope| {
        for _ in 1..threads {
            scope.spawn(|| pool.work());
        }
        pool.work();
    });
    let results = pool.results.into_inner();
    let results = results.unwrap_or_else(PoisonError::into_inner);
    // Every task was taken by a thread and every stream ends; a hole would be a file that nobody read.
    let all = results.into_iter();
    all.map(|result| result.unwrap_or(Err(Unread::Changed)))
        .collect()
}

struct Pool<'a> {
    root: &'a Root,
    tasks: &'a [Task],
    wanted: Wanted,
    before: Option<Before<'a>>,
    order: Vec<usize>,
    next: AtomicUsize,
    /// Files that changed while they were read, once.
    again: Mutex<Vec<usize>>,
    results: Mutex<Vec<Option<HashResult>>>,
    /// Large files that one thread may have open.
    share: usize,
    desk: Desk,
}

/// Whether a file is worth to be shared out.
fn is_large(task: &Task) -> bool {
    task.size >= LARGE
}

impl<'a> Pool<'a> {
    fn new(
        root: &'a Root,
        tasks: &'a [Task],
        wanted: Wanted,
        threads: usize,
        before: Option<Before<'a>>,
    ) -> Self {
        let mut order: Vec<usize> = (0..tasks.len()).collect();
        // Large ones first, so that no thread begins one when the others are done; small ones as they lie in their folders.
        let size = |number: &usize| tasks.get(*number).map_or(0, |task| task.size);
        order.sort_by_key(|number| std::cmp::Reverse(size(number) / LARGE));
        let large = tasks.iter().filter(|task| is_large(task)).count();
        Self {
            root,
            tasks,
            wanted,
            before,
            order,
            next: AtomicUsize::new(0),
            again: Mutex::new(Vec::new()),
            results: Mutex::new(tasks.iter().map(|_| None).collect()),
            share: large.div_ceil(threads),
            desk: Desk::new(threads),
        }
    }

    fn work(&self) {
        if self.wanted.sha256 {
            Engine::best().digest_all(&mut Files::of(self));
        } else {
            self.read_without_lanes();
        }
        self.desk.help();
    }

    /// The next file to open: one that changed, else the next in order, which may be a large one or not.
    fn next_task(&self, may_be_large: bool) -> Option<(usize, &'a Task, bool)> {
        if let Some(number) = lock(&self.again).pop() {
            return Some((number, self.tasks.get(number)?, true));
        }
        let mut at = self.next.load(Ordering::Relaxed);
        loop {
            let number = *self.order.get(at)?;
            let task = self.tasks.get(number)?;
            if is_large(task) && !may_be_large {
                return None;
            }
            let (one, other) = (Ordering::Relaxed, Ordering::Relaxed);
            match self.next.compare_exchange_weak(at, at + 1, one, other) {
                Ok(_) => return Some((number, task, false)),
                Err(now) => at = now,
            }
        }
    }

    fn open_next(&self, may_be_large: bool) -> Option<Open<'_>> {
        loop {
            let (number, task, is_second) = self.next_task(may_be_large)?;
            match Reading::open(self.root, &task.name, task.through_link) {
                Err(why) => self.finish(number, Err(why)),
                Ok(reading) => {
                    let ask = |before: Before<'_>| before(reading.descriptor(), reading.before());
                    let ticket = Ticket {
                        number,
                        is_large: is_large(task),
                        is_second,
                        before: self.before.is_some_and(ask),
                    };
                    return Some(Open::new(&self.desk, reading, self.wanted.tree, ticket));
                }
            }
        }
    }

    fn finish(&self, number: usize, result: HashResult) {
        if let Some(place) = lock(&self.results).get_mut(number) {
            *place = Some(result);
        }
    }

    fn close(&self, open: Open<'_>, sha256: Result<Option<Digest>, Unread>) {
        let Ticket {
            number,
            is_second,
            before,
            ..
        } = open.ticket;
        let read = open.finish();
        let result = match sha256.and_then(|digest| Ok((digest, read?))) {
            Err(why) => Err(why),
            Ok((_, None)) if !is_second => {
                lock(&self.again).push(number);
                return;
            }
            Ok((_, None)) => Err(Unread::Changed),
            Ok((sha256, Some((state, tree)))) => Ok(Hashed {
                state,
                before,
                sha256,
                tree,
            }),
        };
        self.finish(number, result);
    }

    /// Files that need no SHA-256, block by block.
    fn read_without_lanes(&self) {
        let mut buffer = vec![0; 256 * 1024];
        while let Some(mut open) = self.open_next(true) {
            let result = loop {
                match open.lend().and_then(|lent| match lent {
                    0 => open.read(&mut buffer),
                    more => Ok(more),
                }) {
                    Ok(0) => break Ok(None),
                    Ok(_) => {}
                    Err(why) => break Err(why),
                }
            };
            self.close(open, result);
        }
    }
}

/// The files of one thread.
struct Files<'p, 'a> {
    pool: &'p Pool<'a>,
    /// Large ones that it has open.
    large: usize,
}

impl<'p, 'a> Files<'p, 'a> {
    fn of(pool: &'p Pool<'a>) -> Self {
        Self { pool, large: 0 }
    }
}

impl<'p> Queue for Files<'p, '_> {
    type Stream = Open<'p>;

    fn next(&mut self) -> Option<Open<'p>> {
        let open = self.pool.open_next(self.large < self.pool.share)?;
        self.large += usize::from(open.ticket.is_large);
        Some(open)
    }

    fn done(&mut self, file: Open<'p>, result: Result<Sha256, Unread>) {
        self.large -= usize::from(file.ticket.is_large);
        let digest = result.map(|digest| Some(Digest::from_bytes(digest)));
        self.pool.close(file, digest);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::chunks::BLOCK;

    const BOTH: Wanted = Wanted {
        sha256: true,
        tree: true,
    };

    /// Files of these sizes, each with bytes of its own.
    fn made(folder: &std::path::Path, sizes: &[u64]) -> Vec<Task> {
        let make = |(number, size): (usize, &u64)| {
            let name = Name::new(&format!("{number}")).unwrap();
            let bytes =
                (0..*size).map(|at| (at * 7 / 3).to_le_bytes()[0] ^ name.as_str().as_bytes()[0]);
            std::fs::write(folder.join(name.as_str()), bytes.collect::<Vec<u8>>()).unwrap();
            Task {
                name,
                through_link: false,
                size: *size,
            }
        };
        sizes.iter().enumerate().map(make).collect()
    }

    #[test]
    fn files_of_any_size_have_their_digests_whoever_reads_which_block() {
        let folder = tempfile::tempdir().unwrap();
        let sizes = [
            0,
            63,
            BLOCK - 1,
            BLOCK,
            BLOCK + 1,
            4 * BLOCK,
            30 * BLOCK + 77,
            9 * BLOCK - 64,
        ];
        let tasks = made(folder.path(), &sizes);
        let root = Root::open(folder.path()).unwrap();
        for (tasks, threads) in [
            (&tasks[6..7], 2),
            (&tasks[6..7], 5),
            (&tasks[4..], 2),
            (&tasks[..], 3),
        ] {
            for sha256 in [true, false] {
                let wanted = Wanted { sha256, ..BOTH };
                let results = hash_all(&root, tasks, wanted, threads, None);
                for (task, result) in tasks.iter().zip(results) {
                    let bytes = std::fs::read(folder.path().join(task.name.as_str())).unwrap();
                    let hashed = result.unwrap();
                    assert_eq!(
                        hashed.sha256,
                        sha256.then(|| Digest::of(&bytes)),
                        "{}",
                        task.size
                    );
                    let tree = hashed.tree.unwrap();
                    assert_eq!(
                        tree.root.as_bytes(),
                        blake3::hash(&bytes).as_bytes(),
                        "{}",
                        task.size
                    );
                }
            }
        }
    }

    #[test]
    fn no_thread_opens_large_files_that_others_could_read() {
        let folder = tempfile::tempdir().unwrap();
        let mut tasks = made(folder.path(), &[LARGE; 5]);
        let below = folder.path().join("s");
        std::fs::create_dir(&below).unwrap();
        tasks.extend(made(&below, &[9]));
        tasks[5].name = Name::new("s/0").unwrap();
        let root = Root::open(folder.path()).unwrap();
        let pool = Pool::new(&root, &tasks, BOTH, 2, None);
        let (mut one, mut other) = (Files::of(&pool), Files::of(&pool));
        let first: Vec<_> = std::iter::from_fn(|| one.next()).collect();
        assert_eq!(first.len(), 3, "three of five for the first of two threads");
        let second: Vec<_> = std::iter::from_fn(|| other.next()).collect();
        assert_eq!(second.len(), 3, "two large ones and the small one");
        for open in first {
            one.done(open, Err(Unread::Changed));
        }
        assert!(one.next().is_none() && one.large == 0);
    }
}
