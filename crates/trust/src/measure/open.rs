//! One file while it is digested: where its next bytes come from.
//!
//! The thread that owns it reads it through the buffer of a lane, unless other threads have time: then blocks ahead are
//! given to the [desk](super::desk), and the bytes that it brings are digested where they lie.

use std::ops::Range;
use std::sync::Arc;

use hashing::Stream;

use super::desk::{Desk, SharedFile};
use super::file::{FileState, Reading, Unread};
use crate::chunks::{BLOCK, BlockHasher, FileTree};

/// What it is to the pool.
#[derive(Debug, Clone, Copy)]
pub(super) struct Ticket {
    /// Its place among the tasks.
    pub(super) number: usize,
    /// It counts against what one thread may have open.
    pub(super) is_large: bool,
    /// It changed while it was read, once.
    pub(super) is_second: bool,
    /// What was answered when it was opened.
    pub(super) before: bool,
}

/// A file that is being read.
pub(super) struct Open<'p> {
    pub(super) ticket: Ticket,
    desk: &'p Desk,
    file: Arc<SharedFile>,
    size: u64,
    wants_tree: bool,
    /// Bytes that were handed on to be digested.
    offset: u64,
    /// It has less than it should have: nothing more is read.
    is_short: bool,
    /// The block that is digested here, where no helper did it.
    block: Option<Box<BlockHasher>>,
    /// Blocks that are with the desk.
    given: Range<u64>,
    /// One that came from there.
    held: Option<Vec<u8>>,
}

impl<'p> Open<'p> {
    pub(super) fn new(desk: &'p Desk, reading: Reading, wants_tree: bool, ticket: Ticket) -> Self {
        let size = reading.before().size;
        if size > BLOCK {
            desk.opened();
        }
        let is_one = wants_tree && size <= BLOCK;
        Self {
            ticket,
            desk,
            file: Arc::new(SharedFile::new(reading)),
            size,
            wants_tree,
            offset: 0,
            is_short: false,
            block: is_one.then(|| Box::new(BlockHasher::new(0))),
            given: 0..0,
            held: None,
        }
    }

    /// Gives blocks behind `number` away, so that some are always on their way; not one by one, for waking a thread takes
    /// longer than putting a block on its list.
    fn give_ahead(&mut self, number: u64) {
        if self.given.is_empty() {
            self.given = number + 1..number + 1;
        }
        if !self.desk.has_helpers() {
            return;
        }
        let most = self.desk.ahead();
        let ahead = self.given.end.saturating_sub(number + 1);
        if ahead <= most / 2 {
            let end = self.size.div_ceil(BLOCK).min(number + 1 + most);
            self.given.end = self.desk.give(&self.file, self.given.end, end);
        }
    }

    /// Adds to the tree what was read here.
    fn feed(&mut self, bytes: &[u8]) {
        if !self.wants_tree {
            self.offset += bytes.len() as u64;
            return;
        }
        let begin = || Box::new(BlockHasher::new(self.offset));
        let mut block = self.block.take().unwrap_or_else(begin);
        block.update(bytes);
        self.offset += bytes.len() as u64;
        let is_end = self.offset.is_multiple_of(BLOCK) || self.offset == self.size;
        if is_end && self.size > BLOCK {
            let number = (self.offset - 1) / BLOCK;
            self.file.tree().block(number, block.finish_inner());
        } else {
            self.block = Some(block);
        }
    }

    /// The tree, and the state that was read; `None` where it was not one state. Nobody reads the file any more then.
    pub(super) fn finish(mut self) -> Result<Option<(FileState, Option<FileTree>)>, Unread> {
        if let Some(buffer) = self.held.take() {
            self.desk.take_back(buffer);
        }
        if !self.given.is_empty() {
            self.desk.withdraw(&self.file);
        }
        if self.size > BLOCK {
            self.desk.finished();
        }
        let state = self.file.reading.state_of(self.offset)?;
        if let Some(block) = self.block.filter(|_| self.offset == self.size) {
            self.file.tree().whole(block.finish_whole());
        }
        let tree = self.file.finish().filter(|_| self.wants_tree);
        // A tree that was wanted and is not whole is one whose file was not.
        let whole = |_: &FileState| tree.is_some() || !self.wants_tree;
        Ok(state.filter(whole).map(|state| (state, tree)))
    }
}

impl Stream for Open<'_> {
    type Error = Unread;

    fn lend(&mut self) -> Result<usize, Unread> {
        if let Some(buffer) = self.held.take() {
            self.desk.take_back(buffer);
        }
        let is_divided = self.wants_tree && self.size > BLOCK;
        let is_begin = self.offset.is_multiple_of(BLOCK) && self.offset < self.size;
        if !is_divided || !is_begin || self.is_short {
            return Ok(0);
        }
        let number = self.offset / BLOCK;
        self.give_ahead(number);
        if !self.given.contains(&number) {
            return Ok(0);
        }
        self.given.start = number + 1;
        let bytes = self.desk.fetch(&self.file, number)?;
        let count = bytes.len();
        self.is_short = (count as u64) < self.file.length_of(number);
        self.offset += count as u64;
        self.held = Some(bytes);
        Ok(count)
    }

    fn lent(&self) -> &[u8] {
        self.held.as_deref().unwrap_or_default()
    }

    /// Never beyond the end of a block, where [`Stream::lend`] is asked, nor beyond the size that the file had.
    fn read(&mut self, buffer: &mut [u8]) -> Result<usize, Unread> {
        let room = self.size.saturating_sub(self.offset);
        let room = room.min(BLOCK - self.offset % BLOCK);
        let room = usize::try_from(room).map_or(buffer.len(), |room| room.min(buffer.len()));
        let buffer = buffer.get_mut(..room).unwrap_or_default();
        if buffer.is_empty() || self.is_short {
            return Ok(0);
        }
        let count = self.file.reading.read_at(self.offset, buffer)?;
        self.is_short = count == 0;
        let bytes = buffer.get(..count).unwrap_or_default();
        if !bytes.is_empty() {
            self.feed(bytes);
        }
        Ok(count)
    }
}
