//! Questions about processes by descriptor, and about dead children without burying them.

use std::io;
use std::mem::{MaybeUninit, size_of};
use std::os::fd::{AsFd, AsRawFd as _, BorrowedFd, FromRawFd as _, OwnedFd};

/// `struct pidfd_info` of the kernel's `pidfd.h`, first version, 64 bytes.
#[repr(C)]
#[derive(Default)]
struct PidfdInfo {
    mask: u64,
    cgroup: u64,
    /// pid, tgid, ppid, ruid, rgid, euid, egid, suid, sgid, fsuid, fsgid.
    numbers: [u32; 11],
    exit_code: i32,
}

const _: () = assert!(size_of::<PidfdInfo>() == 64);

/// `_IOWR(0xFF, 11, struct pidfd_info)`.
const PIDFD_GET_INFO: libc::c_ulong = 0xC040_FF0B;
const PIDFD_INFO_EXIT: u64 = 1 << 3;

/// The wait status of the process behind a process descriptor, if it was reaped already and the kernel (6.15) remembers.
pub(crate) fn exit_of(descriptor: &OwnedFd) -> Option<i32> {
    let mut info = PidfdInfo {
        mask: PIDFD_INFO_EXIT,
        ..PidfdInfo::default()
    };
    let descriptor = descriptor.as_raw_fd();
    // SAFETY: the request carries the size of the structure, and the kernel writes no more than that into it; a kernel
    // without the request writes nothing and fails.
    let result =
        unsafe { libc::syscall(libc::SYS_ioctl, descriptor, PIDFD_GET_INFO, &raw mut info) };
    // A kernel that has the request but not the flag gives the flag back unset.
    (result == 0 && info.mask & PIDFD_INFO_EXIT != 0).then_some(info.exit_code)
}

/// What the kernel says of its clock, without changing anything: the state that adjtimex returns, and the figures.
pub(crate) fn clock_state() -> io::Result<(i32, libc::timex)> {
    // All zero: no mode is set, so nothing is changed.
    let mut figures = MaybeUninit::<libc::timex>::zeroed();
    // SAFETY: `figures` is a live timex that the kernel reads and fills; all zero is a valid one.
    let state = unsafe { libc::adjtimex(figures.as_mut_ptr()) };
    if state < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: zeroed, which is valid, and filled by the kernel since.
    Ok((state, unsafe { figures.assume_init() }))
}

/// The answer to a look at our dead children.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Peeked {
    /// This child is dead and waits to be reaped.
    Dead(u32),
    /// There are children, all alive.
    AllAlive,
    /// There is no child at all.
    NoChildren,
}

/// Looks for a dead child without reaping it, so that its start time can still be read.
pub(crate) fn peek_dead_child() -> io::Result<Peeked> {
    let flags = libc::WEXITED | libc::WNOHANG | libc::WNOWAIT;
    let mut info = MaybeUninit::<libc::siginfo_t>::zeroed();
    // SAFETY: `info` is a live siginfo_t that the kernel may fill.
    let result = unsafe { libc::waitid(libc::P_ALL, 0, info.as_mut_ptr(), flags) };
    if result != 0 {
        let error = io::Error::last_os_error();
        return match error.raw_os_error() {
            Some(libc::ECHILD) => Ok(Peeked::NoChildren),
            _ => Err(error),
        };
    }
    // SAFETY: all zero is a valid siginfo_t, and after a successful waitid the child's number is its active field, zero
    // when no child is dead.
    let pid = unsafe { info.assume_init().si_pid() };
    Ok(match u32::try_from(pid) {
        Ok(0) | Err(_) => Peeked::AllAlive,
        Ok(pid) => Peeked::Dead(pid),
    })
}

/// The process descriptor of whoever connected a Unix socket (Linux 6.5).
pub(crate) fn peer_descriptor(socket: BorrowedFd<'_>) -> io::Result<OwnedFd> {
    let mut descriptor: libc::c_int = -1;
    let mut size: libc::socklen_t = 4;
    // SAFETY: `descriptor` is four bytes, as `size` says, and both outlive the call.
    let result = unsafe {
        libc::getsockopt(
            socket.as_fd().as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_PEERPIDFD,
            (&raw mut descriptor).cast(),
            &raw mut size,
        )
    };
    if result != 0 {
        return Err(io::Error::last_os_error());
    }
    if descriptor < 0 {
        return Err(io::ErrorKind::InvalidData.into());
    }
    // SAFETY: the kernel has just made this descriptor for us, close-on-exec, and nobody else knows it.
    Ok(unsafe { OwnedFd::from_raw_fd(descriptor) })
}
