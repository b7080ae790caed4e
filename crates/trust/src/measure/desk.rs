//! Blocks of large files that threads without a file read for those that have one.
//!
//! SHA-256 of one file cannot be divided, so the thread that makes it should do nothing else: whoever has no file left reads
//! the blocks that come next and makes their BLAKE3, and the owner of the file takes the bytes from here. Each byte is read
//! once, and both digests are of the same bytes in memory. Nobody waits for help that has not begun: a block that still
//! waits is read by the one who needs it, and who needs one that is being read does another one meanwhile. Handing over
//! bytes that the owner had read was rejected: it left the copy out of the kernel, and another one, to the one thread
//! that everything waits for.
//!
//! Memory is at most [`MAX_BLOCKS`] blocks. What a file is and when it changed is not known here.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

use super::file::{Reading, Unread};
use crate::chunks::{BLOCK, FileTree, TreeBuilder, block_value};

/// Blocks that wait, are read, or were read and are not digested yet, at most: 12 MiB.
pub(super) const MAX_BLOCKS: usize = 48;

/// A file that is read by more than one thread.
pub(super) struct SharedFile {
    pub(super) reading: Reading,
    tree: Mutex<TreeBuilder>,
    /// Blocks of it that are being read. Changes under the lock of the desk.
    taken: AtomicUsize,
}

impl SharedFile {
    pub(super) fn new(reading: Reading) -> Self {
        let size = reading.before().size;
        Self {
            reading,
            tree: Mutex::new(TreeBuilder::new(size)),
            taken: AtomicUsize::new(0),
        }
    }

    /// The tree, to be added to.
    pub(super) fn tree(&self) -> MutexGuard<'_, TreeBuilder> {
        lock(&self.tree)
    }

    /// The tree, if all of it is there.
    pub(super) fn finish(&self) -> Option<FileTree> {
        std::mem::replace(&mut *self.tree(), TreeBuilder::new(0)).finish()
    }

    /// Bytes that block `number` should have.
    pub(super) fn length_of(&self, number: u64) -> u64 {
        let before = number.saturating_mul(BLOCK);
        self.reading.before().size.saturating_sub(before).min(BLOCK)
    }

    /// Reads a block and adds its value to the tree. A file that became shorter gives fewer bytes, and no value.
    fn read_block(&self, number: u64, buffer: &mut Vec<u8>) -> Result<(), Unread> {
        let length = usize::try_from(self.length_of(number)).unwrap_or(0);
        buffer.resize(length, 0);
        let mut count = 0;
        while let Some(rest) = buffer.get_mut(count..).filter(|rest| !rest.is_empty()) {
            let at = number.saturating_mul(BLOCK).saturating_add(count as u64);
            match self.reading.read_at(at, rest)? {
                0 => break,
                more => count += more,
            }
        }
        buffer.truncate(count);
        if count == length {
            let value = block_value(number * BLOCK, buffer);
            self.tree().block(number, value);
        }
        Ok(())
    }
}

pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // Nothing is left half-done under these locks.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Where blocks are given and taken.
pub(super) struct Desk {
    state: Mutex<State>,
    /// Threads that have no file of their own left.
    helpers: AtomicUsize,
    /// Files of more than a block that are open, and share the buffers.
    files: AtomicUsize,
    /// Something to do came, or nothing will come any more.
    work: Condvar,
    /// A block was read.
    read: Condvar,
}

struct State {
    waiting: VecDeque<Job>,
    done: Vec<Done>,
    /// Buffers to be used again: a fresh one costs the kernel a page fault for every 4 KiB.
    spare: Vec<Vec<u8>>,
    /// Buffers that are not spare.
    lent: usize,
    /// Threads that may still give blocks.
    reading: usize,
    /// Threads that wait for something to do.
    idle: usize,
}

impl State {
    fn take_back(&mut self, buffer: Vec<u8>) {
        self.lent -= 1;
        self.spare.push(buffer);
    }
}

struct Job {
    file: Arc<SharedFile>,
    number: u64,
    buffer: Vec<u8>,
}

struct Done {
    file: Arc<SharedFile>,
    number: u64,
    bytes: Result<Vec<u8>, Unread>,
}

impl Desk {
    /// For `threads`, all of which have files to read.
    pub(super) fn new(threads: usize) -> Self {
        Self {
            state: Mutex::new(State {
                waiting: VecDeque::new(),
                done: Vec::new(),
                spare: Vec::new(),
                lent: 0,
                reading: threads,
                idle: 0,
            }),
            helpers: AtomicUsize::new(0),
            files: AtomicUsize::new(0),
            work: Condvar::new(),
            read: Condvar::new(),
        }
    }

    /// Whether anybody has time.
    pub(super) fn has_helpers(&self) -> bool {
        self.helpers.load(Ordering::Relaxed) > 0
    }

    /// Counts a large file that is opened.
    pub(super) fn opened(&self) {
        self.files.fetch_add(1, Ordering::Relaxed);
    }

    /// Counts one that is finished.
    pub(super) fn finished(&self) {
        self.files.fetch_sub(1, Ordering::Relaxed);
    }

    /// Blocks that may be ahead in each of the files that are open, beside the one that is digested.
    pub(super) fn ahead(&self) -> u64 {
        let files = self.files.load(Ordering::Relaxed).max(1);
        (MAX_BLOCKS / files).saturating_sub(1).max(1) as u64
    }

    /// What a thread does that has no file left, until no thread has one.
    pub(super) fn help(&self) {
        let mut state = lock(&self.state);
        state.reading -= 1;
        self.helpers.fetch_add(1, Ordering::Relaxed);
        if state.reading == 0 {
            self.work.notify_all();
        }
        loop {
            if let Some(job) = state.waiting.pop_front() {
                state = self.carry_out(job, state);
            } else if state.reading == 0 {
                return;
            } else {
                state.idle += 1;
                state = wait(&self.work, state);
                state.idle -= 1;
            }
        }
    }

    /// Gives the blocks `from..to` of a file to whoever has time, as far as there are buffers; which is the first that was
    /// not given.
    pub(super) fn give(&self, file: &Arc<SharedFile>, from: u64, to: u64) -> u64 {
        let mut state = lock(&self.state);
        let mut next = from;
        while next < to && state.lent < MAX_BLOCKS {
            let buffer = state.spare.pop().unwrap_or_default();
            state.lent += 1;
            state.waiting.push_back(Job {
                file: Arc::clone(file),
                number: next,
                buffer,
            });
            next += 1;
        }
        let sleeping = state.idle;
        drop(state);
        for _ in (from..next).take(sleeping) {
            self.work.notify_one();
        }
        next
    }

    /// The bytes of a block that was given; fewer than there should be where the file became shorter. The buffer is to be
    /// [taken back](Desk::take_back).
    pub(super) fn fetch(&self, file: &Arc<SharedFile>, number: u64) -> Result<Vec<u8>, Unread> {
        let mut state = lock(&self.state);
        loop {
            let is_it = |done: &Done| done.number == number && Arc::ptr_eq(&done.file, file);
            if let Some(at) = state.done.iter().position(is_it) {
                return state.done.swap_remove(at).bytes;
            }
            let is_it = |job: &Job| job.number == number && Arc::ptr_eq(&job.file, file);
            let own = state.waiting.iter().position(is_it);
            state = match state.waiting.remove(own.unwrap_or(0)) {
                Some(job) => self.carry_out(job, state),
                None => wait(&self.read, state),
            };
        }
    }

    /// Takes a buffer back.
    pub(super) fn take_back(&self, buffer: Vec<u8>) {
        lock(&self.state).take_back(buffer);
    }

    /// Forgets the blocks of a file, once nobody reads one.
    pub(super) fn withdraw(&self, file: &Arc<SharedFile>) {
        let mut state = lock(&self.state);
        let is_own = |job: &Job| Arc::ptr_eq(&job.file, file);
        let waiting = std::mem::take(&mut state.waiting).into_iter();
        let (own, others): (Vec<Job>, VecDeque<Job>) = {
            let (own, others): (Vec<Job>, Vec<Job>) = waiting.partition(is_own);
            (own, others.into())
        };
        state.waiting = others;
        for job in own {
            state.take_back(job.buffer);
        }
        while file.taken.load(Ordering::Relaxed) > 0 {
            state = wait(&self.read, state);
        }
        let is_own = |done: &mut Done| Arc::ptr_eq(&done.file, file);
        let own: Vec<Done> = state.done.extract_if(.., is_own).collect();
        for buffer in own.into_iter().filter_map(|done| done.bytes.ok()) {
            state.take_back(buffer);
        }
    }

    /// Reads a block without holding the lock.
    fn carry_out<'d>(&'d self, job: Job, state: MutexGuard<'d, State>) -> MutexGuard<'d, State> {
        job.file.taken.fetch_add(1, Ordering::Relaxed);
        drop(state);
        let (file, number, mut buffer) = (job.file, job.number, job.buffer);
        let result = file.read_block(number, &mut buffer);
        let mut state = lock(&self.state);
        file.taken.fetch_sub(1, Ordering::Relaxed);
        let bytes = match result {
            Ok(()) => Ok(buffer),
            Err(why) => {
                state.take_back(buffer);
                Err(why)
            }
        };
        state.done.push(Done {
            file,
            number,
            bytes,
        });
        self.read.notify_all();
        state
    }
}

fn wait<'d>(changed: &Condvar, state: MutexGuard<'d, State>) -> MutexGuard<'d, State> {
    changed.wait(state).unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::measure::beneath::Root;
    use crate::name::Name;

    fn file(folder: &std::path::Path, blocks: u64) -> Arc<SharedFile> {
        let path = folder.join("file");
        std::fs::File::create(&path)
            .and_then(|file| file.set_len(blocks * BLOCK))
            .unwrap();
        let root = Root::open(folder).unwrap();
        let reading = Reading::open(&root, &Name::new("file").unwrap(), false).unwrap();
        Arc::new(SharedFile::new(reading))
    }

    #[test]
    fn no_more_blocks_are_in_anybody_s_hands_than_are_allowed() {
        let folder = tempfile::tempdir().unwrap();
        let (desk, most) = (Desk::new(1), MAX_BLOCKS as u64);
        let files = [file(folder.path(), most), file(folder.path(), most)];
        assert_eq!(desk.give(&files[0], 0, most - 1), most - 1);
        assert_eq!(desk.give(&files[1], 0, most), 1, "one is left");
        let bytes = desk.fetch(&files[0], 0).unwrap();
        assert_eq!(desk.give(&files[1], 1, most), 1, "one that is held counts");
        desk.take_back(bytes);
        assert_eq!(desk.give(&files[1], 1, most), 2);
        for file in &files {
            desk.withdraw(file);
        }
        let state = lock(&desk.state);
        assert_eq!(
            (state.lent, state.waiting.len(), state.done.len()),
            (0, 0, 0)
        );
    }

    #[test]
    fn a_file_that_became_shorter_gives_what_is_left_and_no_tree() {
        let folder = tempfile::tempdir().unwrap();
        let desk = Desk::new(1);
        let file = file(folder.path(), 3);
        std::fs::File::options()
            .write(true)
            .open(folder.path().join("file"))
            .and_then(|file| file.set_len(BLOCK + 5))
            .unwrap();
        assert_eq!(desk.give(&file, 0, 3), 3);
        let lengths: Vec<_> = (0..3)
            .map(|number| desk.fetch(&file, number).unwrap().len())
            .collect();
        assert_eq!(lengths, [usize::try_from(BLOCK).unwrap(), 5, 0]);
        assert!(file.finish().is_none());
        assert!(file.reading.state_of(BLOCK + 5).unwrap().is_none());
    }
}
