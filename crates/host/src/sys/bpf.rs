//! Programs in the kernel (BPF): loading one, hanging it onto a point of the kernel, and reading what it writes.

use std::ffi::CStr;
use std::io;
use std::os::fd::{AsRawFd as _, FromRawFd as _, OwnedFd, RawFd};
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

/// Commands of the system call.
const MAP_CREATE: libc::c_int = 0;
const MAP_LOOKUP: libc::c_int = 1;
const MAP_UPDATE: libc::c_int = 2;
const MAP_DELETE: libc::c_int = 3;
const PROGRAM_LOAD: libc::c_int = 5;
const POINT_OPEN: libc::c_int = 17;
/// Kinds of maps.
const ARRAY: u32 = 2;
const HASH: u32 = 1;
const RING: u32 = 27;
/// The kind of program that is hung onto a point as it is.
const RAW_TRACEPOINT: u32 = 17;
/// Helpers that read the kernel's memory are given to programs under such a licence alone; ours is under MIT as well.
const LICENCE: &CStr = c"Dual MIT/GPL";
/// Bytes of the arguments of one call: more than any of these commands has.
const ARGUMENT_BYTES: usize = 128;
/// What the kernel says about a program that it does not take.
const LOG_BYTES: usize = 64 << 10;
/// Marks in the length of a record: it is being written; it was taken back.
const BUSY: u32 = 1 << 31;
const TAKEN_BACK: u32 = 1 << 30;
/// Bytes before each record.
const HEAD: usize = 8;

/// The arguments of one call, as the kernel lays them out.
struct Argument([u8; ARGUMENT_BYTES]);

impl Argument {
    fn new() -> Self {
        Self([0; ARGUMENT_BYTES])
    }

    fn word(mut self, at: usize, word: u32) -> Self {
        if let Some(place) = self.0.get_mut(at..at + 4) {
            place.copy_from_slice(&word.to_ne_bytes());
        }
        self
    }

    fn descriptor(self, at: usize, descriptor: RawFd) -> Self {
        self.word(at, u32::from_ne_bytes(descriptor.to_ne_bytes()))
    }

    fn pointer<T: ?Sized>(mut self, at: usize, pointer: *const T) -> Self {
        let address = pointer.cast::<u8>().addr() as u64;
        if let Some(place) = self.0.get_mut(at..at + 8) {
            place.copy_from_slice(&address.to_ne_bytes());
        }
        self
    }

    fn call(&self, command: libc::c_int) -> io::Result<libc::c_long> {
        // SAFETY: the argument is 128 bytes, of which the kernel reads the part that it knows; that what lies behind is zero is what it checks.
        // The pointers in it are to memory that outlives the call, as its makers below see to.
        let result =
            unsafe { libc::syscall(libc::SYS_bpf, command, self.0.as_ptr(), ARGUMENT_BYTES) };
        if result < 0 {
            return Err(io::Error::last_os_error());
        }
        Ok(result)
    }

    fn open(&self, command: libc::c_int) -> io::Result<OwnedFd> {
        let descriptor = RawFd::try_from(self.call(command)?);
        let descriptor = descriptor.map_err(|_| io::ErrorKind::InvalidData)?;
        // SAFETY: the kernel has just made this descriptor for us, close-on-exec, and nobody else knows it.
        Ok(unsafe { OwnedFd::from_raw_fd(descriptor) })
    }
}

fn map(kind: u32, key: u32, value: u32, entries: u32) -> io::Result<OwnedFd> {
    let argument = Argument::new().word(0, kind).word(4, key);
    argument.word(8, value).word(12, entries).open(MAP_CREATE)
}

/// Numbers that a program counts up, by their place.
pub(crate) fn counters(count: u32) -> io::Result<OwnedFd> {
    map(ARRAY, 4, 8, count)
}

/// A set of numbers of eight bytes that programs look into and change.
pub(crate) fn set(entries: u32) -> io::Result<OwnedFd> {
    map(HASH, 8, 8, entries)
}

/// Puts a number into a set, or takes it out.
pub(crate) fn keep(set: &OwnedFd, number: u64, is_in: bool) -> io::Result<()> {
    if is_in {
        let argument = entry(set, &raw const number, &raw const number);
        return argument.call(MAP_UPDATE).map(drop);
    }
    // What a command does not take must be zero.
    let argument = entry(set, &raw const number, std::ptr::null::<u64>());
    argument.call(MAP_DELETE).map(drop)
}

/// Whether a number is in a set.
pub(crate) fn is_kept(set: &OwnedFd, number: u64) -> bool {
    let mut value = 0u64;
    entry(set, &raw const number, &raw mut value)
        .call(MAP_LOOKUP)
        .is_ok()
}

fn entry<K, V>(map: &OwnedFd, key: *const K, value: *const V) -> Argument {
    let argument = Argument::new().descriptor(0, map.as_raw_fd());
    argument.pointer(8, key).pointer(16, value)
}

/// Sets a counter.
pub(crate) fn count(counters: &OwnedFd, place: u32, value: u64) -> io::Result<()> {
    let argument = entry(counters, &raw const place, &raw const value);
    argument.call(MAP_UPDATE).map(drop)
}

/// How far a counter has come.
pub(crate) fn counted(counters: &OwnedFd, place: u32) -> io::Result<u64> {
    let mut value = 0u64;
    entry(counters, &raw const place, &raw mut value).call(MAP_LOOKUP)?;
    Ok(value)
}

/// Loads a program. A refusal comes with what the kernel said about it.
pub(crate) fn load(code: &[[u8; 8]]) -> io::Result<OwnedFd> {
    let count = u32::try_from(code.len()).map_err(|_| io::ErrorKind::InvalidInput)?;
    let argument = || {
        let argument = Argument::new().word(0, RAW_TRACEPOINT).word(4, count);
        argument
            .pointer(8, code.as_ptr())
            .pointer(16, LICENCE.as_ptr())
    };
    let refused = match argument().open(PROGRAM_LOAD) {
        Ok(program) => return Ok(program),
        Err(error) => error,
    };
    let mut log = vec![0u8; LOG_BYTES];
    let again = argument()
        .word(24, 1)
        .word(28, u32::try_from(log.len()).unwrap_or(0))
        .pointer(32, log.as_mut_ptr());
    if let Ok(program) = again.open(PROGRAM_LOAD) {
        return Ok(program);
    }
    let end = log.iter().position(|byte| *byte == 0).unwrap_or(0);
    let said = String::from_utf8_lossy(log.get(..end).unwrap_or_default());
    match said.trim().lines().last() {
        Some(line) => Err(io::Error::new(refused.kind(), format!("{refused}: {line}"))),
        None => Err(refused),
    }
}

/// Hangs a program onto a point of the kernel, until the descriptor is closed.
pub(crate) fn attach(program: &OwnedFd, point: &CStr) -> io::Result<OwnedFd> {
    let argument = Argument::new().pointer(0, point.as_ptr());
    argument.descriptor(8, program.as_raw_fd()).open(POINT_OPEN)
}

/// A buffer that programs write into and this process reads.
pub(crate) struct Ring {
    descriptor: OwnedFd,
    /// How far this process has read: a page that it may write.
    read: Mapping,
    /// How far was written: a page, and behind it the data, twice.
    written: Mapping,
    bytes: usize,
    page: usize,
}

struct Mapping {
    at: *mut u8,
    bytes: usize,
}

// SAFETY: it is memory that is shared with the kernel and reached through atomics or copied; nothing in it belongs to a thread.
unsafe impl Send for Mapping {}

impl Mapping {
    fn of(descriptor: &OwnedFd, bytes: usize, offset: usize, how: libc::c_int) -> io::Result<Self> {
        let offset = libc::off_t::try_from(offset).map_err(|_| io::ErrorKind::InvalidInput)?;
        let descriptor = descriptor.as_raw_fd();
        // SAFETY: a fresh mapping at an address that the kernel chooses.
        let at = unsafe {
            libc::mmap(
                std::ptr::null_mut(),
                bytes,
                how,
                libc::MAP_SHARED,
                descriptor,
                offset,
            )
        };
        if at == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        let at = at.cast();
        Ok(Self { at, bytes })
    }

    /// The number at the beginning of the mapping.
    #[expect(
        clippy::cast_ptr_alignment,
        reason = "a mapping begins at the beginning of a page"
    )]
    fn position(&self) -> &AtomicU64 {
        // SAFETY: a mapping is at least a page, aligned to one, and lives as long as `self`; the kernel changes it atomically.
        unsafe { &*self.at.cast::<AtomicU64>() }
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        // SAFETY: it was mapped by `of` with this length, and nobody has a reference into it any more.
        unsafe { libc::munmap(self.at.cast(), self.bytes) };
    }
}

impl Ring {
    /// One of so many bytes: a power of two, of pages at least.
    pub(crate) fn new(bytes: u32) -> io::Result<Self> {
        let descriptor = map(RING, 0, 0, bytes)?;
        let bytes = usize::try_from(bytes).map_err(|_| io::ErrorKind::InvalidInput)?;
        let page = rustix::param::page_size();
        let read = Mapping::of(&descriptor, page, 0, libc::PROT_READ | libc::PROT_WRITE)?;
        let written = Mapping::of(&descriptor, page + 2 * bytes, page, libc::PROT_READ)?;
        Ok(Self {
            descriptor,
            read,
            written,
            bytes,
            page,
        })
    }

    pub(crate) fn descriptor(&self) -> &OwnedFd {
        &self.descriptor
    }

    /// Gives each record that is complete to `take`, in their order.
    #[expect(
        clippy::cast_ptr_alignment,
        reason = "records begin at multiples of eight, and the data at the beginning of a page"
    )]
    pub(crate) fn drain(&mut self, mut take: impl FnMut(&[u8])) {
        let mut at = self.read.position().load(Ordering::Relaxed);
        loop {
            let end = self.written.position().load(Ordering::Acquire);
            if at >= end {
                return;
            }
            let offset = usize::try_from(at & (self.bytes as u64 - 1)).unwrap_or(0);
            // SAFETY: the data begin a page behind the mapping's beginning and are mapped twice, so that a record that begins below
            // `bytes` lies whole in it. Its head is aligned to eight, and the kernel writes it atomically.
            let head = unsafe { self.written.at.add(self.page + offset) };
            // SAFETY: as above; the first four bytes of the head are the length.
            let length = unsafe { &*head.cast::<AtomicU32>() }.load(Ordering::Acquire);
            if length & BUSY != 0 {
                return;
            }
            let bytes = usize::try_from(length & !(BUSY | TAKEN_BACK)).unwrap_or(0);
            if length & TAKEN_BACK == 0 && bytes <= self.bytes {
                // SAFETY: the record is complete, lies behind its head within the mapping, and is not written over before the
                // position below is told.
                take(unsafe { std::slice::from_raw_parts(head.add(HEAD), bytes) });
            }
            at += (bytes + HEAD).next_multiple_of(8) as u64;
            self.read.position().store(at, Ordering::Release);
        }
    }
}
