//! Where the machine reads: a slice as it lies there, or a window over something larger.
//!
//! A bare pickle may be larger than memory, so a payload is known by its place and only its head is held. A slice goes
//! through the same functions with a window that is already complete; that is the fast path. What is read is never
//! interpreted here.

use std::io;

use super::Oddity;
use crate::ReadAt;

/// Bytes that are read at once.
const CHUNK: u64 = 128 << 10;
/// The most bytes of one line that are kept. The longest that a loader has a use for is a number.
const MAX_LINE: usize = 1 << 20;

type Flow<T = ()> = Result<T, Oddity>;

pub(super) struct Input<'a> {
    slice: &'a [u8],
    source: Option<&'a dyn ReadAt>,
    owned: Vec<u8>,
    /// Next byte, in the window.
    at: usize,
    /// Offset of the window.
    base: u64,
    /// One behind the last byte.
    end: u64,
    /// One behind the last byte of the frame; see [`Self::enter_frame`].
    frame_end: u64,
    /// Whether what is left of a frame is dropped when a read goes beyond it, as C does with a file.
    pub(super) dropping: bool,
    /// Whether a read went beyond the frame in which it began.
    pub(super) straddled: bool,
    /// What went wrong outside of the bytes.
    pub(super) failure: Option<io::Error>,
}

/// Bytes preceded by their length: where they lie, and as many as were asked for.
pub(super) struct Payload<'a> {
    pub(super) head: &'a [u8],
    pub(super) offset: u64,
    pub(super) size: u64,
}

/// Bytes up to a line feed.
pub(super) struct Line<'a> {
    /// Without the line feed; at most [`MAX_LINE`].
    pub(super) head: &'a [u8],
    pub(super) offset: u64,
    /// Bytes without the line feed.
    pub(super) size: u64,
    /// Whether there was a line feed before the end.
    pub(super) ended: bool,
}

impl<'a> Input<'a> {
    pub(super) fn slice(bytes: &'a [u8], start: usize) -> Self {
        Self {
            slice: bytes,
            source: None,
            owned: Vec::new(),
            at: start.min(bytes.len()),
            base: 0,
            end: bytes.len() as u64,
            frame_end: 0,
            dropping: false,
            straddled: false,
            failure: None,
        }
    }

    /// From `start` to before `end`.
    pub(super) fn window(source: &'a dyn ReadAt, start: u64, end: u64) -> Self {
        let end = end.min(source.len());
        Self {
            slice: &[],
            source: Some(source),
            owned: Vec::new(),
            at: 0,
            base: start.min(end),
            end,
            frame_end: 0,
            dropping: false,
            straddled: false,
            failure: None,
        }
    }

    /// A second reader of the same bytes, at `offset`.
    pub(super) fn again(&self, offset: u64) -> Self {
        match self.source {
            Some(source) => Self::window(source, offset, self.end),
            None => Self::slice(self.slice, usize::try_from(offset).unwrap_or(usize::MAX)),
        }
    }

    fn bytes(&self) -> &[u8] {
        if self.source.is_some() {
            &self.owned
        } else {
            self.slice
        }
    }

    pub(super) fn position(&self) -> u64 {
        self.base + self.at as u64
    }

    pub(super) fn left(&self) -> u64 {
        self.end - self.position()
    }

    pub(super) fn byte(&mut self) -> Flow<u8> {
        if let Some(byte) = self.bytes().get(self.at) {
            let byte = *byte;
            self.at += 1;
            return Ok(byte);
        }
        self.array::<1>().map(|[byte]| byte)
    }

    /// The C unpickler reads a frame at once. From memory, what follows is simply there too. From a file that cannot be
    /// looked into ahead, a read that the rest of the frame does not satisfy takes all of its bytes from behind the frame,
    /// and the rest is lost: the two read different programs.
    fn cross(&mut self, size: u64) {
        let position = self.position();
        if self.frame_end > position && size > self.frame_end - position {
            self.straddled = true;
            if self.dropping {
                self.seek(self.frame_end);
            }
        }
    }

    /// Notes a frame of `size` bytes that begins here; whether it begins within another.
    pub(super) fn enter_frame(&mut self, size: u64) -> bool {
        let inside = self.frame_end > self.position();
        if inside && size <= self.frame_end - self.position() {
            return true;
        }
        self.cross(size);
        self.frame_end = self.position().saturating_add(size).min(self.end);
        inside
    }

    /// Goes on at `offset`.
    pub(super) fn seek(&mut self, offset: u64) {
        let offset = offset.min(self.end);
        let inside = offset
            .checked_sub(self.base)
            .and_then(|at| usize::try_from(at).ok())
            .filter(|at| *at <= self.bytes().len());
        if let Some(at) = inside {
            self.at = at;
        } else {
            self.owned.clear();
            self.base = offset;
            self.at = 0;
        }
    }

    /// Begins again at `offset`, outside of any frame.
    pub(super) fn restart(&mut self, offset: u64, dropping: bool) {
        self.seek(offset);
        (self.frame_end, self.dropping, self.straddled) = (0, dropping, false);
    }

    pub(super) fn array<const N: usize>(&mut self) -> Flow<[u8; N]> {
        self.cross(N as u64);
        self.ensure(N)?;
        let array = self
            .bytes()
            .get(self.at..)
            .and_then(|rest| rest.first_chunk())
            .copied()
            .ok_or(Oddity::Truncated)?;
        self.at += N;
        Ok(array)
    }

    /// The next `size` bytes, of which at most `keep` are held.
    pub(super) fn payload(&mut self, size: u64, keep: usize) -> Flow<Payload<'_>> {
        self.cross(size);
        self.copied(size, keep)
    }

    /// Like [`Self::payload`], of bytes that C copies straight to where they go: first what is left of a frame, then what
    /// stands behind it.
    pub(super) fn copied(&mut self, size: u64, keep: usize) -> Flow<Payload<'_>> {
        if size > self.left() {
            return Err(Oddity::Truncated);
        }
        let offset = self.position();
        let kept = usize::try_from(size).unwrap_or(usize::MAX).min(keep);
        // The window may move when it is passed, so the head is taken from a window that holds it, and passed afterwards.
        self.ensure(kept)?;
        let from = self.at;
        let whole = (self.bytes().len() - from) as u64;
        if size <= whole {
            self.at = from + usize::try_from(size).unwrap_or_default();
            let head = self.bytes().get(from..from + kept).unwrap_or_default();
            return Ok(Payload { head, offset, size });
        }
        // Only a window is shorter than what is left. The head goes to its front and the window behind it begins anew.
        self.owned.truncate(from + kept);
        self.owned.drain(..from);
        self.base = offset + size - self.owned.len() as u64;
        self.at = self.owned.len();
        Ok(Payload {
            head: &self.owned,
            offset,
            size,
        })
    }

    /// Up to the next line feed, which is taken away, or to the end.
    pub(super) fn line(&mut self) -> Line<'_> {
        let start = self.position();
        if self.frame_end > start {
            self.plain_line();
            let crossed = self.position() > self.frame_end;
            self.seek(start);
            if crossed {
                self.cross(u64::MAX);
            }
        }
        self.plain_line()
    }

    fn plain_line(&mut self) -> Line<'_> {
        let offset = self.position();
        let mut searched = 0;
        let (mut size, ended) = loop {
            let rest = self.bytes().get(self.at + searched..).unwrap_or_default();
            if let Some(place) = rest.iter().position(|byte| *byte == b'\n') {
                break (searched + place, true);
            }
            searched += rest.len();
            if self.source.is_some() && searched >= MAX_LINE {
                return self.long_line(offset, searched);
            }
            if searched as u64 >= self.left() || self.ensure(searched + 1).is_err() {
                break (searched, false);
            }
        };
        let from = self.at;
        self.at += size + usize::from(ended);
        let whole = size as u64;
        size = size.min(MAX_LINE);
        Line {
            head: self.bytes().get(from..from + size).unwrap_or_default(),
            offset,
            size: whole,
            ended,
        }
    }

    /// The rest of a line of which the window holds `searched` bytes: its head is kept, what follows is only passed.
    fn long_line(&mut self, offset: u64, searched: usize) -> Line<'_> {
        let from = self.at;
        let head = self.owned.get(from..from + MAX_LINE.min(searched));
        let head = head.unwrap_or_default().to_vec();
        self.at += searched;
        let ended = loop {
            if self.ensure(1).is_err() {
                break false;
            }
            let rest = self.owned.get(self.at..).unwrap_or_default();
            if let Some(place) = rest.iter().position(|byte| *byte == b'\n') {
                self.at += place + 1;
                break true;
            }
            self.at = self.owned.len();
        };
        let behind = self.position();
        self.owned = head;
        self.at = self.owned.len();
        self.base = behind - self.at as u64;
        Line {
            head: &self.owned,
            offset,
            size: behind - offset - u64::from(ended),
            ended,
        }
    }

    /// Sees to it that the window holds `count` bytes from the next one on.
    fn ensure(&mut self, count: usize) -> Flow {
        if self.bytes().len() - self.at >= count {
            return Ok(());
        }
        let Some(source) = self.source else {
            return Err(Oddity::Truncated);
        };
        if count as u64 > self.left() {
            return Err(Oddity::Truncated);
        }
        self.owned.drain(..self.at);
        self.base += self.at as u64;
        self.at = 0;
        let held = self.owned.len();
        let next = self.base + held as u64;
        let wanted = CHUNK.max((count - held) as u64).min(self.end - next);
        let wanted = usize::try_from(wanted).map_err(|_| Oddity::Truncated)?;
        self.owned.resize(held + wanted, 0);
        let room = self.owned.get_mut(held..).unwrap_or_default();
        if let Err(error) = source.read_at(next, room) {
            self.owned.truncate(held);
            self.end = next;
            self.failure = Some(error);
            return Err(Oddity::Truncated);
        }
        Ok(())
    }
}
