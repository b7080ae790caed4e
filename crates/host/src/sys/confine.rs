//! Landlock and the filter of system calls, which have no wrapper; what a new process inherits, and what it uses up.

use std::io;
use std::mem::size_of;
use std::os::fd::{AsRawFd as _, FromRawFd as _, OwnedFd};
use std::os::unix::process::CommandExt as _;
use std::process::Command;
use std::ptr;
use std::time::Duration;

/// `struct landlock_ruleset_attr`: what is taken away where no rule gives it back.
#[repr(C)]
pub(crate) struct Ruleset {
    pub(crate) files: u64,
    pub(crate) network: u64,
    pub(crate) scoped: u64,
}

/// `struct landlock_path_beneath_attr`.
#[repr(C, packed)]
struct Beneath {
    rights: u64,
    place: i32,
}

const VERSION: u32 = 1;
const PATH_BENEATH: libc::c_int = 1;
const SET_MODE_FILTER: libc::c_uint = 1;

/// The version of Landlock; `None` where there is none, or it was switched off.
pub(crate) fn landlock_version() -> Option<u32> {
    let nothing = ptr::null::<Ruleset>();
    // SAFETY: with this flag the kernel wants no structure and a size of zero.
    let version =
        unsafe { libc::syscall(libc::SYS_landlock_create_ruleset, nothing, 0_usize, VERSION) };
    u32::try_from(version).ok().filter(|version| *version > 0)
}

/// Makes a set of rules. Fields that are zero are not shown to the kernel, which may be too old to know them.
pub(crate) fn landlock_ruleset(ruleset: &Ruleset) -> io::Result<OwnedFd> {
    let size = match ruleset {
        Ruleset { scoped: 1.., .. } => size_of::<Ruleset>(),
        Ruleset { network: 1.., .. } => 16,
        _ => 8,
    };
    let place: *const Ruleset = ruleset;
    // SAFETY: the kernel reads `size` bytes, which is at most the size of the structure.
    let made = unsafe { libc::syscall(libc::SYS_landlock_create_ruleset, place, size, 0_u32) };
    let made = succeeded(made)?;
    let descriptor = i32::try_from(made).map_err(|_| io::ErrorKind::InvalidData)?;
    // SAFETY: the kernel has just made this descriptor for us, close-on-exec, and nobody else knows it.
    Ok(unsafe { OwnedFd::from_raw_fd(descriptor) })
}

/// Gives rights back on a file, or on a folder and all below it.
pub(crate) fn landlock_allow(rules: &OwnedFd, place: &OwnedFd, rights: u64) -> io::Result<()> {
    let beneath = Beneath {
        rights,
        place: place.as_raw_fd(),
    };
    // SAFETY: for this kind of rule the kernel reads exactly this structure.
    let result = unsafe {
        libc::syscall(
            libc::SYS_landlock_add_rule,
            rules.as_raw_fd(),
            PATH_BENEATH,
            &raw const beneath,
            0_u32,
        )
    };
    succeeded(result).map(drop)
}

/// Restricts this thread and what it starts. It must not be able to gain privileges any more.
pub(crate) fn landlock_restrict(rules: &OwnedFd) -> io::Result<()> {
    // SAFETY: no memory is passed.
    let result =
        unsafe { libc::syscall(libc::SYS_landlock_restrict_self, rules.as_raw_fd(), 0_u32) };
    succeeded(result).map(drop)
}

/// Puts all threads of this process under a filter of system calls. `Unsupported` for an empty one.
pub(crate) fn filter_system_calls(code: &[libc::sock_filter]) -> io::Result<()> {
    let length = u16::try_from(code.len()).map_err(|_| io::ErrorKind::InvalidInput)?;
    if length == 0 {
        return Err(io::ErrorKind::Unsupported.into());
    }
    let program = libc::sock_fprog {
        len: length,
        filter: code.as_ptr().cast_mut(),
    };
    // SAFETY: the kernel copies `len` instructions, which live through the call, and writes none.
    let result = unsafe {
        libc::syscall(
            libc::SYS_seccomp,
            SET_MODE_FILTER,
            libc::SECCOMP_FILTER_FLAG_TSYNC,
            &raw const program,
        )
    };
    // A number above zero is a thread that could not be put under it: then none was.
    match succeeded(result)? {
        0 => Ok(()),
        _ => Err(io::ErrorKind::PermissionDenied.into()),
    }
}

/// Whether the kernel refuses this system call before it looks at its arguments, all of which are -1. Only for calls of
/// which it is known that they cannot succeed so.
pub(crate) fn is_refused(number: libc::c_long) -> bool {
    let wrong: libc::c_long = -1;
    // SAFETY: -1 is an invalid address, descriptor, process and size alike, so the kernel touches no memory of ours.
    let result = unsafe { libc::syscall(number, wrong, wrong, wrong, wrong, wrong, wrong) };
    result < 0 && io::Error::last_os_error().raw_os_error() == Some(libc::EPERM)
}

/// What the process of `command` must not take along: our descriptors, and a life that goes on without us.
pub(crate) fn detach(command: &mut Command) {
    let prepare = || {
        // SAFETY: both are plain system calls without memory, which may be made between fork and exec. Descriptors are only
        // marked, so that those which the fork itself still needs live until the program starts.
        unsafe {
            libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL);
            let mark = libc::CLOSE_RANGE_CLOEXEC.cast_signed();
            if libc::syscall(libc::SYS_close_range, 3, u32::MAX, mark) != 0 {
                for descriptor in 3..4096 {
                    libc::fcntl(descriptor, libc::F_SETFD, libc::FD_CLOEXEC);
                }
            }
        }
        Ok(())
    };
    // SAFETY: the closure makes system calls only; it allocates nothing and takes no lock.
    unsafe { command.pre_exec(prepare) };
}

/// Puts the process of `command` under limits, rules and a filter right before its program starts. What the kernel does not
/// have is left out where it is rules, and is an error of the start where it is the filter.
pub(crate) fn confine_before_start(
    command: &mut Command,
    resources: &[(rustix::process::Resource, u64)],
    rules: Option<OwnedFd>,
    filter: Vec<libc::sock_filter>,
) {
    let resources = resources.to_vec();
    let prepare = move || {
        for (resource, value) in &resources {
            let maximum = rustix::process::getrlimit(*resource).maximum;
            let value = maximum.map_or(*value, |maximum| maximum.min(*value));
            let limit = rustix::process::Rlimit {
                current: Some(value),
                maximum: Some(value),
            };
            rustix::process::setrlimit(*resource, limit)?;
        }
        rustix::thread::set_no_new_privs(true)?;
        if let Some(rules) = &rules {
            landlock_restrict(rules)?;
        }
        if filter.is_empty() {
            return Ok(());
        }
        filter_system_calls(&filter)
    };
    // SAFETY: the closure makes system calls on memory that was laid out before; it allocates nothing and takes no lock.
    unsafe { command.pre_exec(prepare) };
}

/// Processor time that a process has used, by its number; `None` where it is not there.
pub(crate) fn processor_time(process: i32) -> Option<Duration> {
    let mut clock: libc::clockid_t = 0;
    let mut time = libc::timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    // SAFETY: `clock` is a live place for the name of a clock.
    if unsafe { libc::clock_getcpuclockid(process, &raw mut clock) } != 0 {
        return None;
    }
    // SAFETY: `time` is a live place for a time; a clock that is gone in the meantime is an error.
    if unsafe { libc::clock_gettime(clock, &raw mut time) } != 0 {
        return None;
    }
    let seconds = u64::try_from(time.tv_sec).ok()?;
    Some(Duration::new(seconds, u32::try_from(time.tv_nsec).ok()?))
}

fn succeeded(result: libc::c_long) -> io::Result<libc::c_long> {
    if result < 0 {
        Err(io::Error::last_os_error())
    } else {
        Ok(result)
    }
}
