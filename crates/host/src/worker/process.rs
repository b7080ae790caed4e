//! One worker: its process, its socket, and what is on its way.

use std::collections::VecDeque;
use std::ffi::OsString;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::process::ExitStatusExt as _;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::net::{
    AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, recv, send, socketpair,
};
use rustix::pipe::{PipeFlags, pipe_with};
use rustix::process::{Pid, PidfdFlags, pidfd_open};

use super::pool::{PoolLimits, Request};
use super::{Failure, frame};
use crate::sys;

/// Bytes that are kept of what a worker writes to its standard error.
const LAST_WORDS: usize = 4096;

/// How the standard library ends a program that got no memory: these words, then `abort`.
const NO_MEMORY: &[u8] = b"memory allocation of ";

/// How long a worker that has closed its socket may take to be gone.
const GOING: Duration = Duration::from_secs(1);

/// Why a worker serves no longer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum End {
    /// It hung up.
    Gone,
    Late,
    Oversized,
    Garbled,
}

pub(super) struct Worker {
    child: Child,
    pub(super) socket: OwnedFd,
    errors: OwnedFd,
    /// It has closed its standard error, which can be read forever now.
    is_mute: bool,
    outgoing: Vec<u8>,
    sent: usize,
    incoming: Vec<u8>,
    /// Given, and not answered; in order.
    pub(super) flight: VecDeque<Request>,
    /// Answered, and not taken by the pool.
    pub(super) answers: Vec<(Request, Vec<u8>)>,
    /// Since when it has been at what it is at.
    since: Instant,
    /// Its processor time by then.
    spent: Option<Duration>,
    pub(super) greeting: Option<Vec<u8>>,
    pub(super) is_ready: bool,
    pub(super) has_answered: bool,
    pub(super) last_words: Vec<u8>,
}

impl Worker {
    /// Starts this program again by the descriptor that the kernel keeps of it, so that an update of the file in between
    /// does not put another program in its place.
    pub(super) fn start(arguments: &[OsString]) -> io::Result<Self> {
        let (socket, theirs) = socketpair(
            AddressFamily::UNIX,
            SocketType::STREAM,
            SocketFlags::CLOEXEC,
            None,
        )?;
        // Ours alone does not block: a worker that cannot complain would panic over it.
        let (errors, complaints) = pipe_with(PipeFlags::CLOEXEC)?;
        rustix::io::ioctl_fionbio(&errors, true)?;
        let mut command = Command::new("/proc/self/exe");
        command
            .args(arguments)
            .env_clear()
            .stdin(Stdio::from(theirs))
            .stdout(Stdio::null())
            .stderr(Stdio::from(complaints));
        sys::detach(&mut command);
        Ok(Self {
            child: command.spawn()?,
            socket,
            errors,
            is_mute: false,
            outgoing: Vec::new(),
            sent: 0,
            incoming: Vec::new(),
            flight: VecDeque::new(),
            answers: Vec::new(),
            since: Instant::now(),
            spent: None,
            greeting: None,
            is_ready: false,
            has_answered: false,
            last_words: Vec::new(),
        })
    }

    pub(super) fn give(&mut self, request: Request) {
        if self.flight.is_empty() && self.is_ready {
            self.begin();
        }
        // The length was checked when it was submitted.
        frame::put(&mut self.outgoing, request.number, &request.bytes);
        self.flight.push_back(request);
    }

    /// Bytes that the socket has not taken yet.
    pub(super) fn unsent(&self) -> usize {
        self.outgoing.len() - self.sent
    }

    /// Where it complains, while it can.
    pub(super) fn complaints(&self) -> Option<&OwnedFd> {
        (!self.is_mute).then_some(&self.errors)
    }

    /// Sends what the socket takes. That it is broken is found when it is read.
    pub(super) fn send(&mut self) {
        while let Some(rest @ [_, ..]) = self.outgoing.get(self.sent..) {
            match send(
                &self.socket,
                rest,
                SendFlags::DONTWAIT | SendFlags::NOSIGNAL,
            ) {
                Ok(count) => self.sent += count,
                Err(Errno::INTR) => {}
                Err(_) => return,
            }
        }
        self.outgoing.clear();
        self.sent = 0;
    }

    /// Reads all that is there, and sorts it into answers.
    pub(super) fn receive(&mut self, limits: &PoolLimits) -> Result<(), End> {
        self.listen();
        let answered = self.answers.len();
        let was_ready = self.is_ready;
        let result = self.receive_all(limits);
        if self.answers.len() > answered || self.is_ready != was_ready {
            self.begin();
        }
        result
    }

    /// From now on it is at the first request that has no answer.
    fn begin(&mut self) {
        self.since = Instant::now();
        self.spent = self.processor_time();
    }

    fn processor_time(&self) -> Option<Duration> {
        sys::processor_time(self.child.id().cast_signed())
    }

    fn receive_all(&mut self, limits: &PoolLimits) -> Result<(), End> {
        let mut buffer = [0; 16 * 1024];
        loop {
            let count = match recv(&self.socket, &mut buffer[..], RecvFlags::DONTWAIT) {
                Ok((count, _)) => count,
                Err(Errno::INTR) => continue,
                Err(Errno::AGAIN) => return Ok(()),
                Err(_) => return Err(End::Gone),
            };
            let piece = buffer.get(..count).unwrap_or_default();
            if piece.is_empty() {
                return Err(End::Gone);
            }
            self.incoming.extend_from_slice(piece);
            self.sort(limits)?;
            if count < buffer.len() {
                return Ok(());
            }
        }
    }

    fn sort(&mut self, limits: &PoolLimits) -> Result<(), End> {
        let mut incoming = std::mem::take(&mut self.incoming);
        let mut rest = incoming.as_slice();
        while let Some((header, after)) = rest.split_first_chunk() {
            let (length, number) = frame::header(*header);
            if length > limits.answer_bytes {
                return Err(End::Oversized);
            }
            let Some((payload, after)) = after.split_at_checked(length) else {
                break;
            };
            self.sort_one(number, payload)?;
            rest = after;
        }
        let done = incoming.len() - rest.len();
        incoming.drain(..done);
        self.incoming = incoming;
        Ok(())
    }

    fn sort_one(&mut self, number: u64, payload: &[u8]) -> Result<(), End> {
        if !self.is_ready {
            self.is_ready = true;
            self.greeting = Some(payload.to_vec());
            return match number {
                frame::HELLO => Ok(()),
                _ => Err(End::Garbled),
            };
        }
        let answered = |request: &mut Request| request.number == number;
        let request = self.flight.pop_front_if(answered).ok_or(End::Garbled)?;
        self.has_answered = true;
        self.answers.push((request, payload.to_vec()));
        Ok(())
    }

    /// When to look whether it is late, if nothing is heard of it: with its greeting, or with the request that it is at.
    pub(super) fn deadline(&self, limits: &PoolLimits) -> Option<Instant> {
        let (at_first, at_last) = match (self.is_ready, self.flight.is_empty()) {
            (false, _) => (limits.start, limits.start),
            (true, false) => (limits.processor, limits.wall),
            (true, true) => return None,
        };
        let passed = self.since.elapsed();
        // One process of one thread: it cannot have used more processor time than time has passed.
        let look = if passed <= at_first {
            at_first
        } else {
            let left = limits
                .processor
                .saturating_sub(self.used().unwrap_or_default());
            passed.saturating_add(left)
        };
        self.since.checked_add(look.min(at_last))
    }

    pub(super) fn is_late(&self, limits: &PoolLimits) -> bool {
        let passed = self.since.elapsed();
        if !self.is_ready {
            return passed > limits.start;
        }
        let has_used_up = || self.used().is_some_and(|used| used > limits.processor);
        !self.flight.is_empty()
            && (passed > limits.wall || (passed > limits.processor && has_used_up()))
    }

    /// Processor time that the request that it is at has cost.
    fn used(&self) -> Option<Duration> {
        Some(self.processor_time()?.saturating_sub(self.spent?))
    }

    /// Ends the process and says what it died of.
    pub(super) fn end(&mut self, end: End) -> Failure {
        if end == End::Gone {
            self.await_end();
        }
        let ended_itself = matches!(self.child.try_wait(), Ok(Some(_)));
        let _ = self.child.kill();
        let status = self.child.wait();
        self.listen();
        match (end, status) {
            (End::Late, _) => Failure::TimedOut,
            (End::Oversized, _) => Failure::Oversized,
            (End::Gone, Ok(status)) if ended_itself => self.cause(status),
            // It closed its socket and lived on.
            _ => Failure::Garbled,
        }
    }

    fn await_end(&self) {
        let child = Pid::from_child(&self.child);
        let Ok(process) = pidfd_open(child, PidfdFlags::empty()) else {
            std::thread::sleep(Duration::from_millis(20));
            return;
        };
        let mut watched = [PollFd::new(&process, PollFlags::IN)];
        let _ = poll(&mut watched, Timespec::try_from(GOING).ok().as_ref());
    }

    fn cause(&self, status: ExitStatus) -> Failure {
        match (status.signal(), status.code()) {
            (Some(libc::SIGXCPU), _) => Failure::TimedOut,
            (Some(libc::SIGABRT), _) if self.said(NO_MEMORY) => Failure::OutOfMemory,
            (Some(signal), _) => Failure::Crashed { signal },
            (None, code) => Failure::Exited {
                code: code.unwrap_or(0),
            },
        }
    }

    fn said(&self, words: &[u8]) -> bool {
        let mut lines = self.last_words.split(|byte| *byte == b'\n');
        lines.any(|line| line.starts_with(words))
    }

    /// Takes what was written to standard error, and keeps the end of it.
    fn listen(&mut self) {
        let mut buffer = [0; LAST_WORDS];
        // As much as a pipe holds, and no more: it may be filled as fast as it is read.
        for _ in 0..16 {
            if self.is_mute {
                break;
            }
            let Ok(count) = rustix::io::read(&self.errors, &mut buffer) else {
                break;
            };
            self.is_mute = count == 0;
            self.last_words
                .extend_from_slice(buffer.get(..count).unwrap_or_default());
            let over = self.last_words.len().saturating_sub(LAST_WORDS);
            self.last_words.drain(..over);
        }
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
