//! Work that may kill whoever does it, done by copies of this program.
//!
//! A [`Pool`] starts its own executable again, gives each copy requests, and takes answers; a copy that crashes, hangs or
//! fills its memory costs one request its answer, and all others go on. What a request *is*, the two sides agree on by
//! themselves: this module moves bytes. It does not confine a worker either: a worker that should be confined calls
//! [`crate::sandbox::confine`] before [`serve`] and says in its greeting what holds.
//!
//! Both directions run over one socket at descriptor 0. Standard output is not used: one `println!` somewhere in a parser
//! would be an answer. Requests are sent in batches and many are on their way at a time; each answer is sent at once, so
//! that a death is blamed on the request that it belongs to.

mod frame;
mod pool;
mod process;

use std::io::{self, BufReader, Read, Write};

use serde::{Deserialize, Serialize};

pub use pool::{Outcome, Pool, PoolError, PoolLimits};

/// Why a request has no answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, thiserror::Error)]
#[serde(rename_all = "snake_case")]
pub enum Failure {
    /// The worker died of a signal that it did not get from us.
    #[error("the worker died of signal {signal}")]
    Crashed {
        /// The signal.
        signal: i32,
    },
    /// The worker ended itself, as a program does that panics.
    #[error("the worker ended with code {code}")]
    Exited {
        /// The exit code.
        code: i32,
    },
    /// The worker asked for more memory than it may have.
    #[error("the worker ran out of memory")]
    OutOfMemory,
    /// The deadline passed, or the processor time of the worker was spent.
    #[error("the worker took too long")]
    TimedOut,
    /// The answer would have been larger than the limit.
    #[error("the answer is too large")]
    Oversized,
    /// What came was no answer to the request.
    #[error("the answer is not one")]
    Garbled,
    /// No worker could be started.
    #[error("no worker can be started")]
    NoWorker,
}

/// Why a worker stopped serving.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// The socket broke.
    #[error("the pool cannot be reached")]
    Io(#[from] io::Error),
    /// A request or an answer is longer than a frame can be.
    #[error("a frame is too long")]
    TooLong,
}

/// Serves a pool until it hangs up: greets it with `hello`, then gives each request to `handle` and sends back what that
/// returns. `request_bytes` is the pool's own limit; a longer request ends the service.
pub fn serve(
    hello: &[u8],
    request_bytes: usize,
    mut handle: impl FnMut(&[u8]) -> Vec<u8>,
) -> Result<(), ServeError> {
    let mut input = BufReader::with_capacity(64 * 1024, Socket);
    let mut frame = Vec::new();
    answer(&mut frame, frame::HELLO, hello)?;
    let mut request = Vec::new();
    let mut header = [0; frame::HEADER];
    while begins(&mut input, &mut header)? {
        let (length, number) = frame::header(header);
        if length > request_bytes {
            return Err(ServeError::TooLong);
        }
        request.clear();
        let wanted = length as u64;
        if input.by_ref().take(wanted).read_to_end(&mut request)? < length {
            return Err(io::Error::from(io::ErrorKind::UnexpectedEof).into());
        }
        answer(&mut frame, number, &handle(&request))?;
    }
    Ok(())
}

/// Reads the header of the next frame; `false` where the pool has hung up instead.
fn begins(input: &mut impl Read, header: &mut [u8; frame::HEADER]) -> io::Result<bool> {
    let mut first = [0];
    let count = loop {
        match input.read(&mut first) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            other => break other?,
        }
    };
    if count == 0 {
        return Ok(false);
    }
    let [place, rest @ ..] = header;
    [*place] = first;
    input.read_exact(rest)?;
    Ok(true)
}

fn answer(frame: &mut Vec<u8>, number: u64, payload: &[u8]) -> Result<(), ServeError> {
    frame.clear();
    if !frame::put(frame, number, payload) {
        return Err(ServeError::TooLong);
    }
    Ok(Socket.write_all(frame)?)
}

/// Descriptor 0, read and written without the buffer that the standard input has.
struct Socket;

impl Read for Socket {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        Ok(rustix::io::read(rustix::stdio::stdin(), buffer)?)
    }
}

impl Write for Socket {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        Ok(rustix::io::write(rustix::stdio::stdin(), bytes)?)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
