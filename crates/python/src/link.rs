//! The connection to the supervisor, seen from inside the job: it may fail, it may not be felt.
//!
//! The socket never blocks, raises no signal and is closed on exec. When the supervisor reads slowly, frames wait in a
//! bounded [`Queue`]; when it is gone, the link is off for good and every later call is nearly free. A link belongs to
//! the process that made it: after a fork the child's calls do nothing until the child makes its own.

use std::os::fd::OwnedFd;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use pyo3::exceptions::PyOSError;
use pyo3::prelude::*;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::net::{
    AddressFamily, SendFlags, SocketAddrUnix, SocketFlags, SocketType, connect, send, socket_with,
};
use rustix::process::{Pid, getpid};

use crate::message;
use crate::queue::Queue;

/// Longest wait for the supervisor when the interpreter ends.
const FLUSH_MAX: Duration = Duration::from_millis(250);

enum State {
    /// The supervisor's list of waiting connections was full; the next call tries again.
    Connecting(OwnedFd, SocketAddrUnix),
    Up(OwnedFd),
    /// Nobody listens any more.
    Off,
}

struct Inner {
    state: State,
    queue: Queue,
}

/// A connection to the supervisor.
#[pyclass(frozen)]
pub(crate) struct Link {
    owner: Pid,
    inner: Mutex<Inner>,
}

#[pymethods]
impl Link {
    /// Connects to the Unix stream socket at `path` (bytes); `OSError` if nobody listens there.
    #[new]
    fn new(path: &[u8]) -> PyResult<Self> {
        let address = SocketAddrUnix::new(path).map_err(os_error)?;
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        let socket =
            socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None).map_err(os_error)?;
        let state = match connect(&socket, &address) {
            Ok(()) => State::Up(socket),
            Err(Errno::AGAIN | Errno::INTR) => State::Connecting(socket, address),
            Err(error) => return Err(os_error(error)),
        };
        let inner = Inner {
            state,
            queue: Queue::default(),
        };
        Ok(Self {
            owner: getpid(),
            inner: Mutex::new(inner),
        })
    }

    /// Says `body`, a dictionary of the shape of `domain::sensor::Message` with paths as bytes.
    ///
    /// `False` if it was dropped or nobody listens; `ValueError` if it is no message.
    fn send(&self, body: &Bound<'_, PyAny>) -> PyResult<bool> {
        Ok(self.say(&message::encode(body)?))
    }

    /// Waits at most 250 ms until everything is sent; whether it was.
    fn flush(&self, py: Python<'_>) -> bool {
        py.detach(|| self.flush_for(FLUSH_MAX))
    }

    /// Whether this process can still reach the supervisor.
    #[getter]
    fn alive(&self) -> bool {
        self.mine() && !matches!(self.lock().state, State::Off)
    }

    /// Messages dropped so far.
    #[getter]
    fn dropped(&self) -> u64 {
        if self.mine() {
            self.lock().queue.dropped()
        } else {
            0
        }
    }

    /// In the child of a fork: closes its copy of the socket, so that the supervisor sees the parent's end.
    fn forget(&self) {
        // The forking thread held the interpreter lock, and nothing below holds this mutex without it, but for a
        // flush at exit: then the copy stays open rather than that the child waits.
        if let Ok(mut inner) = self.inner.try_lock() {
            inner.state = State::Off;
            inner.queue.clear();
        }
    }
}

impl Link {
    /// Queues the message with JSON text `body` and sends what can be sent now.
    pub(crate) fn say(&self, body: &str) -> bool {
        if !self.mine() {
            return false;
        }
        let mut inner = self.lock();
        if matches!(inner.state, State::Off) {
            return false;
        }
        let queued = inner.queue.push(now_us(), body);
        inner.pump();
        queued
    }

    fn flush_for(&self, most: Duration) -> bool {
        if !self.mine() {
            return false;
        }
        let end = Instant::now() + most;
        loop {
            let mut inner = self.lock();
            inner.pump();
            if inner.queue.is_empty() {
                return !matches!(inner.state, State::Off);
            }
            let left = end.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return false;
            }
            inner.wait(left);
        }
    }

    fn mine(&self) -> bool {
        getpid() == self.owner
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Inner {
    /// Sends what the socket takes without waiting; any error but "later" ends the link.
    fn pump(&mut self) {
        self.state = match std::mem::replace(&mut self.state, State::Off) {
            State::Connecting(socket, address) => match connect(&socket, &address) {
                Ok(()) | Err(Errno::ISCONN) => State::Up(socket),
                Err(Errno::AGAIN | Errno::INTR) => State::Connecting(socket, address),
                Err(_) => State::Off,
            },
            other => other,
        };
        if let State::Up(socket) = &self.state {
            let outcome = self.queue.drain(|bytes| {
                match send(socket, bytes, SendFlags::NOSIGNAL | SendFlags::DONTWAIT) {
                    Err(Errno::AGAIN | Errno::INTR) => Ok(0),
                    other => other,
                }
            });
            if outcome.is_err() {
                self.state = State::Off;
            }
        }
        if matches!(self.state, State::Off) {
            self.queue.clear();
        }
    }

    /// Waits until the socket takes bytes again, `left` at most.
    fn wait(&self, left: Duration) {
        let slice = left.min(Duration::from_millis(20));
        match &self.state {
            State::Up(socket) => {
                let timeout = Timespec::try_from(slice).ok();
                // An interrupted wait is a shorter one.
                let _ = poll(&mut [PollFd::new(socket, PollFlags::OUT)], timeout.as_ref());
            }
            State::Connecting(..) => std::thread::sleep(slice),
            State::Off => {}
        }
    }
}

fn now_us() -> i64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .ok()
        .and_then(|since| i64::try_from(since.as_micros()).ok())
        .unwrap_or(0)
}

fn os_error(error: Errno) -> PyErr {
    PyOSError::new_err((error.raw_os_error(), error.to_string()))
}
