//! Many files to their digests, on several threads, each byte read once.
//!
//! SHA-256 goes through the lanes of [`hashing`]; the same bytes, while they are in the cache, go into the file's BLAKE3
//! tree ([`crate::chunks`]). A thread that has no file left helps: a thread that still reads a large file then hands it
//! blocks, so that the tree of one file is made by all threads. SHA-256 of one file cannot be divided. Nobody waits for
//! help: with no idle thread, the reader hashes the block itself. Where SHA-256 is not wanted, threads read pieces.
//!
//! Memory is the lanes' buffers and at most [`MAX_JOBS`] blocks, whatever the size of the files.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

use domain::Digest;
use hashing::{Engine, Queue, Sha256, Stream};

use super::beneath::Root;
use super::file::{FileState, Reading, Unread};
use crate::chunks::{BLOCK, BlockHasher, FileTree, TreeBuilder, block_value};
use crate::name::Name;

/// Blocks that wait for a helper, at most.
const MAX_JOBS: usize = 12;

/// A file to be read.
#[derive(Debug, Clone)]
pub struct Task {
    /// Which.
    pub name: Name,
    /// It is a link that was signed as the file behind it.
    pub through_link: bool,
    /// Its size as listed; only the order depends on it.
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

/// A file as it was read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hashed {
    /// What it was, before and after.
    pub state: FileState,
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
) -> Vec<HashResult> {
    let mut order: Vec<usize> = (0..tasks.len()).collect();
    // Large ones first, so that no thread begins one when the others are done; small ones as they lie in their folders.
    let size = |number: &usize| tasks.get(*number).map_or(0, |task| task.size);
    order.sort_by_key(|number| std::cmp::Reverse(size(number) / BLOCK));
    let pool = Pool {
        root,
        tasks,
        wanted,
        order,
        next: AtomicUsize::new(0),
        again: Mutex::new(Vec::new()),
        results: Mutex::new(tasks.iter().map(|_| None).collect()),
        help: Mutex::new(Help {
            jobs: VecDeque::new(),
            spare: Vec::new(),
            idle: 0,
            reading: threads.max(1),
        }),
        changed: Condvar::new(),
    };
    std::thread::scope(|scope| {
        for _ in 1..threads.max(1) {
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
    order: Vec<usize>,
    next: AtomicUsize,
    /// Files that changed while they were read, once.
    again: Mutex<Vec<usize>>,
    results: Mutex<Vec<Option<HashResult>>>,
    help: Mutex<Help>,
    changed: Condvar,
}

struct Help {
    jobs: VecDeque<Job>,
    /// Buffers to be used again: a fresh one costs the kernel a page fault for every 4 KiB.
    spare: Vec<Vec<u8>>,
    idle: usize,
    /// Threads that may still hand out blocks.
    reading: usize,
}

/// A block for whoever has time.
struct Job {
    file: Arc<Tree>,
    number: u64,
    bytes: Vec<u8>,
}

/// The tree of one file while it is made.
struct Tree {
    builder: Mutex<TreeBuilder>,
    outstanding: AtomicUsize,
}

impl Tree {
    fn take(&self, number: u64, value: crate::chunks::Blake3) {
        lock(&self.builder).block(number, value);
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // Nothing is left half-done under these locks.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl<'a> Pool<'a> {
    fn work(&self) {
        if self.wanted.sha256 {
            Engine::best().digest_all(&mut Files(self));
        } else {
            self.read_without_lanes();
        }
        let mut help = lock(&self.help);
        help.reading -= 1;
        help.idle += 1;
        self.changed.notify_all();
        loop {
            if let Some(job) = help.jobs.pop_front() {
                help.idle -= 1;
                drop(help);
                self.carry_out(job);
                help = lock(&self.help);
                help.idle += 1;
            } else if help.reading == 0 {
                return;
            } else {
                help = self
                    .changed
                    .wait(help)
                    .unwrap_or_else(PoisonError::into_inner);
            }
        }
    }

    fn carry_out(&self, job: Job) {
        let Job {
            file,
            number,
            bytes,
        } = job;
        file.take(number, block_value(number * BLOCK, &bytes));
        file.outstanding.fetch_sub(1, Ordering::AcqRel);
        // Under the lock, so that whoever waits for the last block cannot miss it.
        let mut help = lock(&self.help);
        if help.spare.len() < MAX_JOBS {
            help.spare.push(bytes);
        }
        self.changed.notify_all();
    }

    /// An empty buffer for a block, if a helper would take one now.
    fn wanted_block(&self) -> Option<Vec<u8>> {
        let mut help = lock(&self.help);
        let is_wanted = help.jobs.len() < (2 * help.idle).min(MAX_JOBS);
        let buffer = is_wanted.then(|| {
            help.spare
                .pop()
                .unwrap_or_else(|| Vec::with_capacity(1 << 20))
        });
        buffer.map(|mut buffer| {
            buffer.clear();
            buffer
        })
    }

    fn hand_out(&self, job: Job) {
        job.file.outstanding.fetch_add(1, Ordering::AcqRel);
        lock(&self.help).jobs.push_back(job);
        self.changed.notify_one();
    }

    /// Helps until no block of `tree` is in other hands.
    fn wait_for(&self, tree: &Tree) {
        let mut help = lock(&self.help);
        while tree.outstanding.load(Ordering::Acquire) > 0 {
            if let Some(job) = help.jobs.pop_front() {
                drop(help);
                self.carry_out(job);
                help = lock(&self.help);
            } else {
                help = self
                    .changed
                    .wait(help)
                    .unwrap_or_else(PoisonError::into_inner);
            }
        }
    }

    /// The next file to open: one that changed, else the next in order.
    fn next_task(&self) -> Option<(usize, &'a Task, bool)> {
        if let Some(number) = lock(&self.again).pop() {
            return Some((number, self.tasks.get(number)?, true));
        }
        let number = *self.order.get(self.next.fetch_add(1, Ordering::Relaxed))?;
        Some((number, self.tasks.get(number)?, false))
    }

    fn open_next(&self) -> Option<Open<'_, 'a>> {
        loop {
            let (number, task, is_second) = self.next_task()?;
            match Reading::open(self.root, &task.name, task.through_link) {
                Err(why) => self.finish(number, Err(why)),
                Ok(reading) => {
                    let size = reading.before().size;
                    return Some(Open {
                        pool: self,
                        number,
                        is_second,
                        tree: self.wanted.tree.then(|| Growing::new(size)),
                        reading,
                    });
                }
            }
        }
    }

    fn finish(&self, number: usize, result: HashResult) {
        if let Some(place) = lock(&self.results).get_mut(number) {
            *place = Some(result);
        }
    }

    fn close(&self, open: Open<'_, 'a>, sha256: Result<Option<Digest>, Unread>) {
        let Open {
            number,
            is_second,
            reading,
            tree,
            ..
        } = open;
        let tree = tree.and_then(|tree| tree.finish(self));
        let result = match sha256.and_then(|digest| Ok((digest, reading.close()?))) {
            Err(why) => Err(why),
            Ok((_, None)) if !is_second => {
                lock(&self.again).push(number);
                return;
            }
            // A tree that was wanted and is not whole is one whose file was not.
            Ok((_, Some(_))) if self.wanted.tree && tree.is_none() => Err(Unread::Changed),
            Ok((_, None)) => Err(Unread::Changed),
            Ok((sha256, Some(state))) => Ok(Hashed {
                state,
                sha256,
                tree,
            }),
        };
        self.finish(number, result);
    }

    /// Files that need no SHA-256, block by block.
    fn read_without_lanes(&self) {
        let mut buffer = vec![0; 256 * 1024];
        while let Some(mut open) = self.open_next() {
            let result = loop {
                match open.read(&mut buffer) {
                    Ok(0) => break Ok(None),
                    Ok(_) => {}
                    Err(why) => break Err(why),
                }
            };
            self.close(open, result);
        }
    }
}

struct Files<'p, 'a>(&'p Pool<'a>);

impl<'p, 'a> Queue for Files<'p, 'a> {
    type Stream = Open<'p, 'a>;

    fn next(&mut self) -> Option<Open<'p, 'a>> {
        self.0.open_next()
    }

    fn done(&mut self, file: Open<'p, 'a>, result: Result<Sha256, Unread>) {
        let digest = result.map(|digest| Some(Digest::from_bytes(digest)));
        self.0.close(file, digest);
    }
}

/// A file that is being read.
struct Open<'p, 'a> {
    pool: &'p Pool<'a>,
    number: usize,
    is_second: bool,
    reading: Reading,
    tree: Option<Growing>,
}

impl Stream for Open<'_, '_> {
    type Error = Unread;

    fn read(&mut self, buffer: &mut [u8]) -> Result<usize, Unread> {
        let count = self.reading.read(buffer)?;
        if let Some(tree) = &mut self.tree {
            tree.feed(self.pool, buffer.get(..count).unwrap_or_default());
        }
        Ok(count)
    }
}

/// A tree that grows as its file is read.
struct Growing {
    tree: Arc<Tree>,
    size: u64,
    offset: u64,
    block: Block,
}

enum Block {
    /// Hashed here.
    Own(Box<BlockHasher>),
    /// Collected for a helper.
    Shared(Vec<u8>),
}

impl Growing {
    fn new(size: u64) -> Self {
        Self {
            tree: Arc::new(Tree {
                builder: Mutex::new(TreeBuilder::new(size)),
                outstanding: AtomicUsize::new(0),
            }),
            size,
            offset: 0,
            block: Block::Own(Box::new(BlockHasher::new(0))),
        }
    }

    fn feed(&mut self, pool: &Pool<'_>, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            let room = BLOCK - self.offset % BLOCK;
            if room == BLOCK && self.offset > 0 {
                self.begin(pool);
            }
            let count = usize::try_from(room).map_or(bytes.len(), |room| room.min(bytes.len()));
            let (now, later) = bytes.split_at(count);
            match &mut self.block {
                Block::Own(hasher) => hasher.update(now),
                Block::Shared(collected) => collected.extend_from_slice(now),
            }
            self.offset += count as u64;
            bytes = later;
            if self.offset.is_multiple_of(BLOCK) || self.offset == self.size {
                self.end_block(pool);
            }
        }
    }

    fn begin(&mut self, pool: &Pool<'_>) {
        self.block = match pool.wanted_block() {
            Some(buffer) => Block::Shared(buffer),
            None => Block::Own(Box::new(BlockHasher::new(self.offset))),
        };
    }

    fn end_block(&mut self, pool: &Pool<'_>) {
        if self.size <= BLOCK {
            return;
        }
        let number = (self.offset - 1) / BLOCK;
        match std::mem::replace(&mut self.block, Block::Shared(Vec::new())) {
            Block::Own(hasher) => self.tree.take(number, hasher.finish_inner()),
            Block::Shared(bytes) => pool.hand_out(Job {
                file: Arc::clone(&self.tree),
                number,
                bytes,
            }),
        }
    }

    /// The tree, once nobody holds a part of it; `None` where the file was not read to its end.
    fn finish(self, pool: &Pool<'_>) -> Option<FileTree> {
        pool.wait_for(&self.tree);
        let mut builder = lock(&self.tree.builder);
        if let Block::Own(hasher) = &self.block
            && self.size <= BLOCK
            && self.offset == self.size
        {
            builder.whole(hasher.finish_whole());
        }
        std::mem::replace(&mut *builder, TreeBuilder::new(0)).finish()
    }
}
