//! Many byte streams to their SHA-256, several of them at a time in one thread.
//!
//! A round of SHA-256 waits for the round before it, so one stream leaves most of a processor idle. [`Engine::digest_all`]
//! interleaves the rounds of streams that have nothing to do with each other: two in the SHA unit of x86-64, or sixteen in
//! its widest registers where there are both; a lane whose stream ends takes the next one while the others go on.
//! Elsewhere it reads one stream after the other through *ring*, with the same results and the same interface. More
//! threads were rejected as the answer: what is spent is the time of processors that belong to the training.
//!
//! It opens nothing and knows no file: a [`Stream`] says where bytes come from, a [`Queue`] which stream is next and who
//! wants the digest. An error of one stream ends that stream alone. Memory is [`Engine::lanes`] buffers of [`BUFFER`]
//! bytes.
//!
//! `unsafe` is two calls: those of code compiled for these processors, after the processor was asked what it is.

#[cfg(target_arch = "x86_64")]
mod avx512;
#[cfg(target_arch = "x86_64")]
mod lanes;
mod one;
mod ranges;
#[cfg(target_arch = "x86_64")]
mod sha256;
#[cfg(target_arch = "x86_64")]
mod sha_ni;

pub use ranges::{RangeError, digest_ranges};

/// Bytes that a [`Stream`] is asked for at a time, at most.
pub const BUFFER: usize = 32 * 1024;

/// The 32 bytes of a SHA-256.
pub type Sha256 = [u8; 32];

/// Where the bytes of one stream come from.
pub trait Stream {
    /// Why it cannot go on.
    type Error;

    /// Puts the next bytes at the front of `buffer`, which is never empty, and says how many; 0 is the end.
    fn read(&mut self, buffer: &mut [u8]) -> Result<usize, Self::Error>;

    /// Asked before each [`Stream::read`]: whether the next bytes lie with the stream already, and how many. They are then
    /// digested where they lie ([`Stream::lent`]) and none is copied; with 0 they are read.
    ///
    /// # Errors
    /// As [`Stream::read`].
    fn lend(&mut self) -> Result<usize, Self::Error> {
        Ok(0)
    }

    /// The bytes that [`Stream::lend`] promised, the same ones until it is called again.
    fn lent(&self) -> &[u8] {
        &[]
    }
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

/// `Lanes` can only be made on a processor that can.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    #[cfg(target_arch = "x86_64")]
    Lanes(lanes::Units),
    One,
}

impl Engine {
    /// The fastest that this processor can do.
    pub fn best() -> Self {
        let all = Self::all();
        all.first().copied().unwrap_or(Self(Kind::One))
    }

    /// All that this processor can do, the fastest first; one stream after the other, the last, every processor can do.
    pub fn all() -> Vec<Self> {
        let mut all = Vec::new();
        #[cfg(target_arch = "x86_64")]
        if let Some(pair) = sha_ni::Present::look() {
            let with = |wide| Self(Kind::Lanes(lanes::Units { pair, wide }));
            let wide = avx512::Present::look();
            all.extend(wide.map(|wide| with(Some(wide))));
            all.push(with(None));
        }
        all.push(Self(Kind::One));
        all
    }

    /// How many streams are digested at a time.
    pub fn lanes(self) -> usize {
        match self.0 {
            #[cfg(target_arch = "x86_64")]
            Kind::Lanes(units) => units.lanes(),
            Kind::One => 1,
        }
    }

    /// Digests all streams of the queue.
    pub fn digest_all<Q: Queue>(self, queue: &mut Q) {
        match self.0 {
            #[cfg(target_arch = "x86_64")]
            Kind::Lanes(units) => lanes::digest_all(units, queue),
            Kind::One => one::digest_all(queue),
        }
    }
}
