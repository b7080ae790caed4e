//! Frames over a Unix socket, and open files that go with them.
//!
//! An open folder is a better word for itself than its name: whoever hands one over has shown that he may read it, and the name
//! that it has here is the kernel's.

use std::io::{self, IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, AsRawFd as _, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::sync::Arc;

use rustix::event::{EventfdFlags, eventfd};
use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, recvmsg, sendmsg,
};

/// Longest frame.
pub const FRAME_BYTES_MAX: usize = 1 << 20;
/// Open files that may wait for the frame that they go with.
const WAITING_MAX: usize = 4;
/// Bytes of a frame's length.
const LENGTH: usize = 4;

/// Sends a frame, and with it an open file. Blocks as the socket does.
pub fn send(stream: &UnixStream, frame: &[u8], file: Option<BorrowedFd<'_>>) -> io::Result<()> {
    let length = u32::try_from(frame.len()).map_err(|_| io::ErrorKind::InvalidInput)?;
    let mut bytes = length.to_le_bytes().to_vec();
    bytes.extend_from_slice(frame);
    let mut rest = bytes.as_slice();
    let mut file = file;
    while !rest.is_empty() {
        let sent = send_some(stream, rest, file.take())?;
        rest = rest.get(sent..).unwrap_or_default();
    }
    Ok(())
}

fn send_some(stream: &UnixStream, bytes: &[u8], file: Option<BorrowedFd<'_>>) -> io::Result<usize> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut beside = SendAncillaryBuffer::new(&mut space);
    let files: Vec<BorrowedFd<'_>> = file.into_iter().collect();
    if !files.is_empty() {
        beside.push(SendAncillaryMessage::ScmRights(&files));
    }
    let parts = [IoSlice::new(bytes)];
    loop {
        match sendmsg(stream, &parts, &mut beside, SendFlags::NOSIGNAL) {
            Err(rustix::io::Errno::INTR) => {}
            other => return Ok(other?),
        }
    }
}

/// Takes frames from a socket, and the files that came with them.
#[derive(Debug)]
pub struct Frames {
    stream: UnixStream,
    bytes: Vec<u8>,
    files: Vec<OwnedFd>,
}

/// One frame.
#[derive(Debug)]
pub struct Frame {
    /// What was said.
    pub bytes: Vec<u8>,
    /// What was handed over since the last frame that took one.
    pub file: Option<OwnedFd>,
}

impl Frames {
    /// Frames of this socket.
    pub fn new(stream: UnixStream) -> Self {
        Self {
            stream,
            bytes: Vec::new(),
            files: Vec::new(),
        }
    }

    /// The next one; `None` at the end. `takes` says whether a file goes with what was said. Blocks as the socket does.
    pub fn next(&mut self, takes: impl Fn(&[u8]) -> bool) -> io::Result<Option<Frame>> {
        loop {
            if let Some(bytes) = self.whole()? {
                let file = (takes(&bytes) && !self.files.is_empty()).then(|| self.files.remove(0));
                return Ok(Some(Frame { bytes, file }));
            }
            if !self.more()? {
                return Ok(None);
            }
        }
    }

    fn whole(&mut self) -> io::Result<Option<Vec<u8>>> {
        let Some(length) = self.bytes.first_chunk::<LENGTH>() else {
            return Ok(None);
        };
        let length = usize::try_from(u32::from_le_bytes(*length)).unwrap_or(usize::MAX);
        if length > FRAME_BYTES_MAX {
            let why = format!("a frame of {length} bytes");
            return Err(io::Error::new(io::ErrorKind::InvalidData, why));
        }
        if self.bytes.len() < LENGTH + length {
            return Ok(None);
        }
        let frame = self.bytes.drain(..LENGTH + length).skip(LENGTH).collect();
        Ok(Some(frame))
    }

    /// Whether there was more.
    fn more(&mut self) -> io::Result<bool> {
        let mut part = [0; 16 << 10];
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(WAITING_MAX))];
        let mut beside = RecvAncillaryBuffer::new(&mut space);
        let flags = RecvFlags::CMSG_CLOEXEC;
        let received = loop {
            let parts = &mut [IoSliceMut::new(&mut part)];
            match recvmsg(self.stream.as_fd(), parts, &mut beside, flags) {
                Err(rustix::io::Errno::INTR) => {}
                other => break other?,
            }
        };
        for message in beside.drain() {
            if let RecvAncillaryMessage::ScmRights(files) = message {
                // Each is closed where it is not kept.
                for file in files {
                    if self.files.len() < WAITING_MAX {
                        self.files.push(file);
                    }
                }
            }
        }
        let bytes = part.get(..received.bytes).unwrap_or_default();
        self.bytes.extend_from_slice(bytes);
        Ok(received.bytes > 0)
    }
}

/// Wakes whoever waits for it among other things.
#[derive(Debug, Clone)]
pub struct Waker(Arc<OwnedFd>);

impl Waker {
    /// One that nobody has called yet.
    pub fn new() -> io::Result<Self> {
        let flags = EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK;
        Ok(Self(Arc::new(eventfd(0, flags)?)))
    }

    /// Whoever waits goes on.
    pub fn wake(&self) {
        let _ = rustix::io::write(&self.0, &1u64.to_ne_bytes()); // full is awake as well
    }

    /// Takes the call, so that the next one is heard.
    pub fn taken(&self) {
        let mut count = [0; 8];
        let _ = rustix::io::read(&self.0, &mut count);
    }
}

impl AsFd for Waker {
    /// Readable when somebody called.
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

/// How an open file is called here. Fails for one that has no name any more.
pub fn path_of(file: &OwnedFd) -> io::Result<PathBuf> {
    let path = std::fs::read_link(format!("/proc/self/fd/{}", file.as_raw_fd()))?;
    let (named, open) = (rustix::fs::lstat(&path)?, rustix::fs::fstat(file)?);
    if (named.st_dev, named.st_ino) != (open.st_dev, open.st_ino) {
        return Err(io::ErrorKind::NotFound.into());
    }
    Ok(path)
}

/// The kind of file system that an open file lies on, without asking the file system itself: one in user space may never answer.
pub fn file_system_of(file: &OwnedFd) -> io::Result<String> {
    let text = std::fs::read_to_string(format!("/proc/self/fdinfo/{}", file.as_raw_fd()))?;
    let number = text
        .lines()
        .find_map(|line| line.strip_prefix("mnt_id:"))
        .map(str::trim);
    let mounts = std::fs::read_to_string("/proc/self/mountinfo")?;
    let line = mounts
        .lines()
        .find(|line| line.split(' ').next() == number)
        .ok_or(io::ErrorKind::NotFound)?;
    let kind = line
        .split_once(" - ")
        .and_then(|(_, rest)| rest.split(' ').next());
    Ok(kind.unwrap_or_default().to_owned())
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::*;

    fn pair() -> (UnixStream, Frames) {
        let (one, other) = UnixStream::pair().unwrap();
        (one, Frames::new(other))
    }

    #[test]
    fn frames_come_whole_and_a_file_with_the_one_that_takes_it() {
        let (sender, mut frames) = pair();
        let folder = std::fs::File::open("/").unwrap();
        send(&sender, b"first", None).unwrap();
        send(&sender, b"folder", Some(folder.as_fd())).unwrap();
        send(&sender, b"", None).unwrap();
        drop(sender);
        let takes = |bytes: &[u8]| bytes == b"folder";
        let first = frames.next(takes).unwrap().unwrap();
        assert_eq!(
            (first.bytes.as_slice(), first.file.is_none()),
            (&b"first"[..], true)
        );
        let second = frames.next(takes).unwrap().unwrap();
        assert!(second.bytes == b"folder" && second.file.is_some());
        assert!(frames.next(takes).unwrap().unwrap().bytes.is_empty());
        assert!(frames.next(takes).unwrap().is_none());
    }

    #[test]
    fn a_frame_that_is_too_long_or_cut_off_is_an_error_or_the_end() {
        let (mut sender, mut frames) = pair();
        sender.write_all(&u32::MAX.to_le_bytes()).unwrap();
        assert!(frames.next(|_| false).is_err());
        let (mut sender, mut frames) = pair();
        sender.write_all(&[9, 0, 0, 0, b'x']).unwrap();
        drop(sender);
        assert!(frames.next(|_| false).unwrap().is_none());
    }

    #[test]
    fn the_file_system_of_an_open_file_is_known_by_its_mount() {
        let file: OwnedFd = std::fs::File::open("/proc/self/status").unwrap().into();
        assert_eq!(file_system_of(&file).unwrap(), "proc");
    }

    #[test]
    fn more_files_than_anybody_takes_are_closed() {
        let (sender, mut frames) = pair();
        let file = std::fs::File::open("/").unwrap();
        for _ in 0..20 {
            send(&sender, b"x", Some(file.as_fd())).unwrap();
        }
        drop(sender);
        while frames.next(|_| false).unwrap().is_some() {}
        assert!(frames.files.len() <= WAITING_MAX);
    }
}
