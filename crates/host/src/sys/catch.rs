//! Catching signals with who sent them, and giving the handlers back.
//!
//! Handlers, not a blocked mask with `signalfd`: a mask holds per thread, so one thread of the application that was
//! started earlier would die in our place. The handler does one `write` and nothing else. `SIGCHLD` only wakes, by a
//! counter that cannot fill up, so that a thousand dying children never displace the one SIGTERM.

use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsRawFd as _, OwnedFd};
use std::ptr;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, AtomicI32, AtomicU64, Ordering};
use std::thread::{self, ThreadId};

use rustix::event::{EventfdFlags, eventfd};
use rustix::pipe::{PipeFlags, pipe_with};

/// A signal as it arrived.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct RawSignal {
    pub(crate) number: i32,
    /// `si_code`: who can have sent it.
    pub(crate) code: i32,
    /// 0 when the kernel sent it, or a process outside our PID namespace.
    pub(crate) pid: i32,
    pub(crate) uid: u32,
}

impl RawSignal {
    pub(crate) const SIZE: usize = 16;

    fn to_bytes(self) -> [u8; Self::SIZE] {
        let mut bytes = [0; Self::SIZE];
        let words = [
            self.number.to_ne_bytes(),
            self.code.to_ne_bytes(),
            self.pid.to_ne_bytes(),
            self.uid.to_ne_bytes(),
        ];
        for (place, word) in bytes.chunks_exact_mut(4).zip(words) {
            place.copy_from_slice(&word);
        }
        bytes
    }

    /// All whole records in `bytes`.
    pub(crate) fn all_in(bytes: &[u8]) -> Vec<Self> {
        let (records, _) = bytes.as_chunks::<{ Self::SIZE }>();
        records
            .iter()
            .map(|record| {
                let (words, _) = record.as_chunks::<4>();
                let word = |index: usize| words.get(index).copied().unwrap_or_default();
                Self {
                    number: i32::from_ne_bytes(word(0)),
                    code: i32::from_ne_bytes(word(1)),
                    pid: i32::from_ne_bytes(word(2)),
                    uid: u32::from_ne_bytes(word(3)),
                }
            })
            .collect()
    }
}

/// What the handler writes to. Made once and never closed: a handler may still be running when nobody catches any more.
struct Channels {
    signals: OwnedFd,
    /// Kept open for the handler, which knows it by number only.
    writer: OwnedFd,
    children: OwnedFd,
}

static CHANNELS: OnceLock<Channels> = OnceLock::new();
static WRITER: AtomicI32 = AtomicI32::new(-1);
static CHILDREN: AtomicI32 = AtomicI32::new(-1);
static LOST: AtomicU64 = AtomicU64::new(0);
static IN_USE: AtomicBool = AtomicBool::new(false);

extern "C" fn on_signal(number: libc::c_int, info: *mut libc::siginfo_t, _: *mut libc::c_void) {
    // SAFETY: the address of this thread's errno is always valid; it is put back below, as the interrupted code expects.
    let errno = unsafe { *libc::__errno_location() };
    if number == libc::SIGCHLD {
        let one = 1_u64.to_ne_bytes();
        // SAFETY: write(2) is async-signal-safe, and `one` lives through the call.
        unsafe {
            libc::write(
                CHILDREN.load(Ordering::Relaxed),
                one.as_ptr().cast(),
                one.len(),
            )
        };
    } else {
        // SAFETY: the kernel passes a valid siginfo_t to an SA_SIGINFO handler; pid and uid lie within it for every code,
        // though they only mean something for some.
        let signal = unsafe {
            RawSignal {
                number,
                code: (*info).si_code,
                pid: (*info).si_pid(),
                uid: (*info).si_uid(),
            }
        };
        let bytes = signal.to_bytes();
        // SAFETY: as above; a record is smaller than PIPE_BUF, so it is written whole or not at all.
        let written = unsafe {
            libc::write(
                WRITER.load(Ordering::Relaxed),
                bytes.as_ptr().cast(),
                bytes.len(),
            )
        };
        if written < 0 {
            LOST.fetch_add(1, Ordering::Relaxed);
        }
    }
    // SAFETY: as at the top.
    unsafe { *libc::__errno_location() = errno };
}

/// Signals caught until this is dropped; then everything is as it was before.
pub(crate) struct Caught {
    channels: &'static Channels,
    saved: Vec<(i32, libc::sigaction)>,
    mask: libc::sigset_t,
    /// The thread whose mask that was.
    thread: ThreadId,
}

impl Caught {
    /// Catches these signals and SIGCHLD, and lets them through to this thread. One at a time in a process:
    /// `ResourceBusy` otherwise.
    pub(crate) fn new(numbers: &[i32]) -> io::Result<Self> {
        let channels = channels()?;
        if IN_USE.swap(true, Ordering::SeqCst) {
            return Err(io::ErrorKind::ResourceBusy.into());
        }
        let mut caught = Self {
            channels,
            saved: Vec::with_capacity(numbers.len() + 1),
            mask: change_mask(libc::SIG_BLOCK, &empty_set()),
            thread: thread::current().id(),
        };
        let mut wanted = empty_set();
        for number in numbers.iter().copied().chain([libc::SIGCHLD]) {
            // An error drops `caught`, which gives back what was taken so far.
            caught.take(number)?;
            // SAFETY: `wanted` is an initialised set.
            unsafe { libc::sigaddset(&raw mut wanted, number) };
        }
        change_mask(libc::SIG_UNBLOCK, &wanted);
        Ok(caught)
    }

    fn take(&mut self, number: i32) -> io::Result<()> {
        let mut action = default_action();
        action.sa_sigaction = on_signal as *const () as usize;
        action.sa_flags =
            libc::SA_SIGINFO | libc::SA_RESTART | libc::SA_ONSTACK | libc::SA_NOCLDSTOP;
        let mut before = default_action();
        // SAFETY: both actions are initialised; the handler only does what is async-signal-safe.
        if unsafe { libc::sigaction(number, &raw const action, &raw mut before) } != 0 {
            return Err(io::Error::last_os_error());
        }
        self.saved.push((number, before));
        Ok(())
    }

    /// Becomes readable when a signal came.
    pub(crate) fn signals(&self) -> &OwnedFd {
        &self.channels.signals
    }

    /// Becomes readable when a child died.
    pub(crate) fn children(&self) -> &OwnedFd {
        &self.channels.children
    }

    /// The signals that came since the last call, in order.
    pub(crate) fn arrived(&self) -> Vec<RawSignal> {
        let mut bytes = [0; 256 * RawSignal::SIZE];
        match rustix::io::read(&self.channels.signals, &mut bytes) {
            Ok(length) => RawSignal::all_in(bytes.get(..length).unwrap_or_default()),
            Err(_) => Vec::new(),
        }
    }

    /// How many signals could not be noted since the last call, because nobody read.
    #[expect(
        clippy::unused_self,
        reason = "the count is of the time while something is caught"
    )]
    pub(crate) fn lost(&self) -> u64 {
        LOST.swap(0, Ordering::Relaxed)
    }

    /// Whether a caught signal was ignored when this process was started.
    pub(crate) fn was_ignored(&self, number: i32) -> bool {
        self.saved
            .iter()
            .any(|(taken, action)| *taken == number && action.sa_sigaction == libc::SIG_IGN)
    }

    /// The signal mask before we caught, of the thread that caught.
    pub(super) fn mask(&self) -> &libc::sigset_t {
        &self.mask
    }
}

impl Drop for Caught {
    fn drop(&mut self) {
        for (number, action) in &self.saved {
            // SAFETY: `action` is what sigaction(2) itself gave for this signal.
            unsafe { libc::sigaction(*number, &raw const *action, ptr::null_mut()) };
        }
        // A job may be followed, and dropped, on another thread, whose mask was never changed.
        if self.thread == thread::current().id() {
            change_mask(libc::SIG_SETMASK, &self.mask);
        }
        IN_USE.store(false, Ordering::SeqCst);
    }
}

fn channels() -> io::Result<&'static Channels> {
    if let Some(channels) = CHANNELS.get() {
        return Ok(channels);
    }
    let (signals, writer) = pipe_with(PipeFlags::CLOEXEC | PipeFlags::NONBLOCK)?;
    let children = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?;
    let channels = CHANNELS.get_or_init(|| Channels {
        signals,
        writer,
        children,
    });
    WRITER.store(channels.writer.as_raw_fd(), Ordering::SeqCst);
    CHILDREN.store(channels.children.as_raw_fd(), Ordering::SeqCst);
    Ok(channels)
}

pub(super) fn default_action() -> libc::sigaction {
    // SAFETY: all zero is a valid sigaction: the default disposition, no flags, an empty mask.
    unsafe { MaybeUninit::zeroed().assume_init() }
}

pub(super) fn empty_set() -> libc::sigset_t {
    let mut set = MaybeUninit::<libc::sigset_t>::zeroed();
    // SAFETY: sigemptyset initialises the set.
    unsafe {
        libc::sigemptyset(set.as_mut_ptr());
        set.assume_init()
    }
}

pub(super) fn full_set() -> libc::sigset_t {
    let mut set = MaybeUninit::<libc::sigset_t>::zeroed();
    // SAFETY: sigfillset initialises the set.
    unsafe {
        libc::sigfillset(set.as_mut_ptr());
        set.assume_init()
    }
}

/// Changes the mask of this thread and gives the one before.
pub(super) fn change_mask(how: i32, set: &libc::sigset_t) -> libc::sigset_t {
    let mut before = empty_set();
    // SAFETY: both sets are initialised. It fails only for a wrong `how`.
    unsafe { libc::pthread_sigmask(how, &raw const *set, &raw mut before) };
    before
}
