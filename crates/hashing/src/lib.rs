//! Many byte streams to their SHA-256, two of them at a time in one thread.
//!
//! A round of SHA-256 waits for the round before it, so one stream leaves half of a processor's SHA unit idle. Where the
//! unit exists (x86-64 with `sha`), [`Engine::digest_all`] interleaves the rounds of two streams that have nothing to do
//! with each other: a lane that ends takes the next stream while the other goes on. Elsewhere it reads one stream after
//! the other through *ring*, with the same results and the same interface. More threads were rejected as the answer: what
//! is spent is the time of processors that belong to the training.
//!
//! It opens nothing and knows no file: a [`Stream`] says where bytes come from, a [`Queue`] which stream is next and who
//! wants the digest. An error of one stream ends that stream alone. Memory is two buffers of [`BUFFER`] bytes.
//!
//! `unsafe` is one call: that of code compiled for the SHA unit, after the processor was asked whether it has one.

mod lanes;
mod one;
mod ranges;
#[cfg(target_arch = "x86_64")]
mod sha_ni;

pub use ranges::{RangeError, digest_ranges};

/// Bytes that a [`Stream`] is asked for at a time, at most.
pub const BUFFER: usize = 128 * 1024;

/// The 32 bytes of a SHA-256.
pub type Sha256 = [u8; 32];

/// Where the bytes of one stream come from.
pub trait Stream {
    /// Why it cannot go on.
    type Error;

    /// Puts the next bytes at the front of `buffer`, which is never empty, and says how many; 0 is the end.
    fn read(&mut self, buffer: &mut [u8]) -> Result<usize, Self::Error>;
}

/// Streams to digest, and where their digests go.
pub trait Queue {
    /// What is digested.
    type Stream: Stream;

    /// The next stream, if there is one now. It is asked again whenever a lane is free, so [`Queue::done`] may add some.
    fn next(&mut self) -> Option<Self::Stream>;

    /// Takes a stream back with the digest of all its bytes, or with its error. Streams end in any order.
    fn done(&mut self, stream: Self::Stream, result: ResultOf<Self::Stream>);
}

/// What becomes of a stream.
pub type ResultOf<S> = Result<Sha256, <S as Stream>::Error>;

/// How digests are computed on this machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Engine(Kind);

/// Only [`Engine::best`] makes `Pair`, and only on a processor that can.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    #[cfg(target_arch = "x86_64")]
    Pair(sha_ni::Present),
    One,
}

impl Engine {
    /// The fastest that this processor can do.
    pub fn best() -> Self {
        #[cfg(target_arch = "x86_64")]
        if let Some(present) = sha_ni::Present::look() {
            return Self(Kind::Pair(present));
        }
        Self(Kind::One)
    }

    /// One stream after the other, which every processor can do.
    pub const fn one_by_one() -> Self {
        Self(Kind::One)
    }

    /// Whether two streams are digested at a time.
    pub fn is_paired(self) -> bool {
        self != Self::one_by_one()
    }

    /// Digests all streams of the queue.
    pub fn digest_all<Q: Queue>(self, queue: &mut Q) {
        match self.0 {
            #[cfg(target_arch = "x86_64")]
            Kind::Pair(present) => lanes::digest_all(present, queue),
            Kind::One => one::digest_all(queue),
        }
    }
}
