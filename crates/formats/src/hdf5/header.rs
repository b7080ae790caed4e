//! Object headers of both versions: the messages that an object consists of, continuations included.

use super::{MAX_MESSAGES, Reader, Unread, number};
use crate::paged::PageError;

/// One message of a header.
#[derive(Debug, Clone, Copy)]
pub(super) struct Message {
    pub(super) kind: u16,
    pub(super) start: u64,
    /// Its content stands elsewhere.
    pub(super) shared: bool,
}

/// A run of messages.
#[derive(Clone, Copy)]
struct Block {
    start: u64,
    end: u64,
}

const CONTINUATION: u16 = 0x10;

impl Reader<'_> {
    /// All messages of the object at `place`.
    pub(super) fn messages(&mut self, place: u64) -> Result<Vec<Message>, PageError> {
        let magic = self.pages.array::<4>(place)?;
        let mut messages = Vec::new();
        if &magic == b"OHDR" {
            let (block, order) = self.second_header(place)?;
            self.blocks(block, &mut messages, |reader, at| reader.second(at, order))?;
        } else if magic.first() == Some(&1) {
            let size = u64::from(self.pages.u32(place + 8)?);
            let start = place + 16;
            let block = Block {
                start,
                end: start.saturating_add(size),
            };
            self.blocks(block, &mut messages, Self::first)?;
        } else {
            self.unread(Unread::Kind("an object header"), place);
        }
        Ok(messages)
    }

    /// Where the first messages of a header of the second version stand, and whether they are numbered.
    fn second_header(&self, place: u64) -> Result<(Block, bool), PageError> {
        let flags = self.pages.u8(place + 5)?;
        let mut start = place + 6;
        if flags & 0x20 != 0 {
            start += 16;
        }
        if flags & 0x10 != 0 {
            start += 4;
        }
        let width = 1u64 << (flags & 3);
        let size = number(&self.pages, start, width)?;
        start += width;
        let end = start.saturating_add(size);
        Ok((Block { start, end }, flags & 4 != 0))
    }

    /// Reads `block` and those that it continues in; `read` gives a message and where the next one starts.
    fn blocks(
        &mut self,
        block: Block,
        messages: &mut Vec<Message>,
        read: impl Fn(&Self, u64) -> Result<(Message, u64), PageError>,
    ) -> Result<(), PageError> {
        const MOST_BLOCKS: usize = 256;
        let mut blocks = vec![block];
        let mut next = 0;
        while let Some(block) = blocks.get(next).copied() {
            next += 1;
            let mut at = block.start;
            while at.saturating_add(4) <= block.end {
                let (message, behind) = read(self, at)?;
                if behind > block.end {
                    break;
                }
                at = behind;
                if message.kind == CONTINUATION && blocks.len() < MOST_BLOCKS {
                    blocks.extend(self.continued(message)?);
                } else if messages.len() < MAX_MESSAGES {
                    messages.push(message);
                } else {
                    self.unread(Unread::Limit("messages of an object"), at);
                    return Ok(());
                }
            }
        }
        Ok(())
    }

    fn continued(&self, message: Message) -> Result<Option<Block>, PageError> {
        let Some(start) = self.address(message.start)? else {
            return Ok(None);
        };
        let size = self.length(message.start + self.shape.offsets)?;
        let end = start.saturating_add(size);
        let marked = &self.pages.array::<4>(start)? == b"OCHK";
        let block = if marked {
            Block {
                start: start + 4,
                end: end.saturating_sub(4),
            }
        } else {
            Block { start, end }
        };
        Ok(Some(block))
    }

    fn first(&self, at: u64) -> Result<(Message, u64), PageError> {
        let size = u64::from(self.pages.u16(at + 2)?);
        let message = Message {
            kind: self.pages.u16(at)?,
            start: at + 8,
            shared: self.pages.u8(at + 4)? & 2 != 0,
        };
        Ok((message, at + 8 + size))
    }

    fn second(&self, at: u64, numbered: bool) -> Result<(Message, u64), PageError> {
        let size = u64::from(self.pages.u16(at + 1)?);
        let start = at + if numbered { 6 } else { 4 };
        let message = Message {
            kind: u16::from(self.pages.u8(at)?),
            start,
            shared: self.pages.u8(at + 3)? & 2 != 0,
        };
        Ok((message, start + size))
    }
}
