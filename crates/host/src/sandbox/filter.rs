//! The list of system calls that a confined process is answered, as a program for the kernel's filter.
//!
//! A list of what is allowed, so that a call of tomorrow's kernel is refused today. What is refused gives `EPERM`, which
//! ordinary code survives: a library that asks for something needless goes on. Calls of another architecture, by which a
//! filter is walked around, kill the process. Arguments are looked at only where they lie in registers; a call whose
//! meaning is behind a pointer (`clone3`, `openat2`) is not on the list.

use libc::{c_long, sock_filter};

/// A condition on an argument, by its number. The low 32 bits are compared: what the kernel itself takes of them.
enum Rule {
    /// None of these bits.
    Without(u32, u32),
    /// No number above this one.
    AtMost(u32, u32),
    /// One of these.
    OneOf(u32, &'static [u32]),
    /// This process.
    Own(u32),
}

#[cfg(target_arch = "x86_64")]
const ARCHITECTURE: u32 = 0xc000_003e;
#[cfg(target_arch = "aarch64")]
const ARCHITECTURE: u32 = 0xc000_00b7;
/// One that no kernel has: on other machines the filter is not installed.
#[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
const ARCHITECTURE: u32 = 0;

/// Allowed whatever their arguments are: reading, memory, time, waiting, ending.
const PLAIN: &[c_long] = &[
    libc::SYS_read,
    libc::SYS_pread64,
    libc::SYS_close,
    libc::SYS_fstat,
    libc::SYS_newfstatat,
    libc::SYS_statx,
    libc::SYS_lseek,
    libc::SYS_getdents64,
    libc::SYS_readv,
    libc::SYS_preadv,
    libc::SYS_readlinkat,
    libc::SYS_faccessat,
    libc::SYS_faccessat2,
    libc::SYS_fadvise64,
    libc::SYS_munmap,
    libc::SYS_mremap,
    libc::SYS_brk,
    libc::SYS_madvise,
    libc::SYS_futex,
    libc::SYS_clock_gettime,
    libc::SYS_clock_getres,
    libc::SYS_clock_nanosleep,
    libc::SYS_nanosleep,
    libc::SYS_gettimeofday,
    libc::SYS_getrusage,
    libc::SYS_ppoll,
    libc::SYS_rt_sigreturn,
    libc::SYS_rt_sigaction,
    libc::SYS_rt_sigprocmask,
    libc::SYS_sigaltstack,
    libc::SYS_restart_syscall,
    libc::SYS_getrandom,
    libc::SYS_sched_yield,
    libc::SYS_sched_getaffinity,
    libc::SYS_getpid,
    libc::SYS_getppid,
    libc::SYS_gettid,
    libc::SYS_getuid,
    libc::SYS_geteuid,
    libc::SYS_getgid,
    libc::SYS_getegid,
    libc::SYS_getcwd,
    libc::SYS_uname,
    libc::SYS_dup,
    libc::SYS_exit,
    libc::SYS_exit_group,
];

/// The same under the names that x86-64 has kept from before.
#[cfg(target_arch = "x86_64")]
const PLAIN_HERE: &[c_long] = &[
    libc::SYS_stat,
    libc::SYS_lstat,
    libc::SYS_access,
    libc::SYS_readlink,
    libc::SYS_poll,
    libc::SYS_time,
];
#[cfg(not(target_arch = "x86_64"))]
const PLAIN_HERE: &[c_long] = &[];

/// Every way of opening that is more than reading.
const WRITING: u32 = (libc::O_WRONLY
    | libc::O_RDWR
    | libc::O_CREAT
    | libc::O_TRUNC
    | libc::O_APPEND
    | (libc::O_TMPFILE & !libc::O_DIRECTORY))
    .cast_unsigned();
const EXECUTABLE: u32 = libc::PROT_EXEC.cast_unsigned();
/// Asking about a descriptor and copying it. Not `F_SETOWN`, which has signals sent to others.
const HARMLESS_FCNTL: &[u32] = &[
    libc::F_GETFD.cast_unsigned(),
    libc::F_SETFD.cast_unsigned(),
    libc::F_GETFL.cast_unsigned(),
    libc::F_DUPFD_CLOEXEC.cast_unsigned(),
];

const RULED: &[(c_long, Rule)] = &[
    (libc::SYS_openat, Rule::Without(2, WRITING)),
    #[cfg(target_arch = "x86_64")]
    (libc::SYS_open, Rule::Without(1, WRITING)),
    // The answers go to the descriptors that the parent gave.
    (libc::SYS_write, Rule::AtMost(0, 2)),
    (libc::SYS_writev, Rule::AtMost(0, 2)),
    (libc::SYS_mmap, Rule::Without(2, EXECUTABLE)),
    (libc::SYS_mprotect, Rule::Without(2, EXECUTABLE)),
    (libc::SYS_fcntl, Rule::OneOf(1, HARMLESS_FCNTL)),
    // `abort` sends its signal to itself.
    (libc::SYS_tgkill, Rule::Own(0)),
];

/// Ways out of the process that fail with other errors than `EPERM` where all arguments are -1, if they are answered at
/// all. Those of them that need privileges are refused to most processes anyway.
pub(super) const REFUSED: &[(&str, c_long)] = &[
    ("socket", libc::SYS_socket),
    ("socketpair", libc::SYS_socketpair),
    ("connect", libc::SYS_connect),
    ("sendmsg", libc::SYS_sendmsg),
    ("execve", libc::SYS_execve),
    ("execveat", libc::SYS_execveat),
    ("clone3", libc::SYS_clone3),
    ("unshare", libc::SYS_unshare),
    ("tkill", libc::SYS_tkill),
    ("pidfd_open", libc::SYS_pidfd_open),
    ("ptrace", libc::SYS_ptrace),
    ("process_vm_readv", libc::SYS_process_vm_readv),
    ("process_vm_writev", libc::SYS_process_vm_writev),
    ("openat2", libc::SYS_openat2),
    ("unlinkat", libc::SYS_unlinkat),
    ("renameat2", libc::SYS_renameat2),
    ("mkdirat", libc::SYS_mkdirat),
    ("fchmodat", libc::SYS_fchmodat),
    ("truncate", libc::SYS_truncate),
    ("memfd_create", libc::SYS_memfd_create),
    ("io_uring_setup", libc::SYS_io_uring_setup),
    ("userfaultfd", libc::SYS_userfaultfd),
    ("bpf", libc::SYS_bpf),
    ("keyctl", libc::SYS_keyctl),
    ("shmget", libc::SYS_shmget),
];

/// What a program that is not ours is refused, whatever else it needs to start: further processes, the network, other
/// processes, writing, and what kernels were broken by.
const REFUSED_TO_PROGRAMS: &[c_long] = &[
    libc::SYS_socket,
    libc::SYS_socketpair,
    libc::SYS_connect,
    libc::SYS_bind,
    libc::SYS_listen,
    libc::SYS_sendmsg,
    libc::SYS_sendmmsg,
    libc::SYS_clone,
    libc::SYS_clone3,
    libc::SYS_unshare,
    libc::SYS_setns,
    libc::SYS_kill,
    libc::SYS_tkill,
    libc::SYS_rt_sigqueueinfo,
    libc::SYS_rt_tgsigqueueinfo,
    libc::SYS_pidfd_open,
    libc::SYS_pidfd_getfd,
    libc::SYS_pidfd_send_signal,
    libc::SYS_ptrace,
    libc::SYS_process_vm_readv,
    libc::SYS_process_vm_writev,
    libc::SYS_openat2,
    libc::SYS_open_by_handle_at,
    libc::SYS_unlinkat,
    libc::SYS_renameat2,
    libc::SYS_mkdirat,
    libc::SYS_mknodat,
    libc::SYS_linkat,
    libc::SYS_symlinkat,
    libc::SYS_fchmod,
    libc::SYS_fchmodat,
    libc::SYS_fchownat,
    libc::SYS_utimensat,
    libc::SYS_truncate,
    libc::SYS_ftruncate,
    libc::SYS_setxattr,
    libc::SYS_memfd_create,
    libc::SYS_mount,
    libc::SYS_umount2,
    libc::SYS_pivot_root,
    libc::SYS_chroot,
    libc::SYS_io_uring_setup,
    libc::SYS_userfaultfd,
    libc::SYS_perf_event_open,
    libc::SYS_bpf,
    libc::SYS_add_key,
    libc::SYS_keyctl,
    libc::SYS_shmget,
    libc::SYS_msgget,
    libc::SYS_semget,
    libc::SYS_init_module,
    libc::SYS_finit_module,
    libc::SYS_kexec_load,
];

/// The same under the names that x86-64 has kept from before.
#[cfg(target_arch = "x86_64")]
const REFUSED_TO_PROGRAMS_HERE: &[c_long] = &[
    libc::SYS_fork,
    libc::SYS_vfork,
    libc::SYS_unlink,
    libc::SYS_rmdir,
    libc::SYS_rename,
    libc::SYS_mkdir,
    libc::SYS_mknod,
    libc::SYS_link,
    libc::SYS_symlink,
    libc::SYS_chmod,
    libc::SYS_chown,
    libc::SYS_creat,
];
#[cfg(not(target_arch = "x86_64"))]
const REFUSED_TO_PROGRAMS_HERE: &[c_long] = &[];

// The instructions that are used, of the kernel's `bpf_common.h`.
const LOAD: u16 = 0x20;
const JUMP_IF_EQUAL: u16 = 0x15;
const JUMP_IF_GREATER: u16 = 0x25;
const JUMP_IF_ANY: u16 = 0x45;
const RETURN: u16 = 0x06;

// Where it finds what, in `struct seccomp_data`.
const NUMBER: u32 = 0;
const ARCHITECTURE_OF_CALL: u32 = 4;
const ARGUMENTS: u32 = 16;

const ALLOW: u32 = libc::SECCOMP_RET_ALLOW;
const KILL: u32 = libc::SECCOMP_RET_KILL_PROCESS;
const REFUSE: u32 = libc::SECCOMP_RET_ERRNO | libc::EPERM.cast_unsigned();

const fn plain(code: u16, k: u32) -> sock_filter {
    jump(code, k, 0, 0)
}

const fn jump(code: u16, k: u32, jt: u8, jf: u8) -> sock_filter {
    sock_filter { code, jt, jf, k }
}

/// The filter of the process `own`. Empty on an architecture that it does not know.
pub(super) fn program(own: u32) -> Vec<sock_filter> {
    if ARCHITECTURE == 0 {
        return Vec::new();
    }
    let mut code = vec![
        plain(LOAD, ARCHITECTURE_OF_CALL),
        jump(JUMP_IF_EQUAL, ARCHITECTURE, 1, 0),
        plain(RETURN, KILL),
        plain(LOAD, NUMBER),
    ];
    for number in PLAIN.iter().chain(PLAIN_HERE) {
        code.push(jump(JUMP_IF_EQUAL, word(*number), 0, 1));
        code.push(plain(RETURN, ALLOW));
    }
    for (number, rule) in RULED {
        let rule = rule.code(own);
        let over = u8::try_from(rule.len()).unwrap_or(u8::MAX);
        code.push(jump(JUMP_IF_EQUAL, word(*number), 0, over));
        code.extend(rule);
    }
    code.push(plain(RETURN, REFUSE));
    code
}

/// The filter of a program that is not ours and of which nobody knows what it needs to start: a list of what is refused.
/// Weaker than [`program`], for a call that nobody thought of is answered. Empty on an architecture that it does not know.
pub(super) fn foreign_program() -> Vec<sock_filter> {
    if ARCHITECTURE == 0 {
        return Vec::new();
    }
    let mut code = vec![
        plain(LOAD, ARCHITECTURE_OF_CALL),
        jump(JUMP_IF_EQUAL, ARCHITECTURE, 1, 0),
        plain(RETURN, KILL),
        plain(LOAD, NUMBER),
    ];
    // The second numbering of x86-64.
    code.extend([jump(JUMP_IF_ANY, 0x4000_0000, 0, 1), plain(RETURN, REFUSE)]);
    for number in REFUSED_TO_PROGRAMS.iter().chain(REFUSED_TO_PROGRAMS_HERE) {
        code.push(jump(JUMP_IF_EQUAL, word(*number), 0, 1));
        code.push(plain(RETURN, REFUSE));
    }
    let opening = RULED
        .iter()
        .filter(|(_, rule)| matches!(rule, Rule::Without(_, WRITING)));
    for (number, rule) in opening {
        let rule = rule.code(0);
        let over = u8::try_from(rule.len()).unwrap_or(u8::MAX);
        code.push(jump(JUMP_IF_EQUAL, word(*number), 0, over));
        code.extend(rule);
    }
    code.push(plain(RETURN, ALLOW));
    code
}

impl Rule {
    /// Instructions that end in an answer, whichever it is.
    fn code(&self, own: u32) -> Vec<sock_filter> {
        let own = [own];
        let (argument, tests): (u32, Vec<sock_filter>) = match self {
            Self::Without(argument, bits) => (*argument, vec![jump(JUMP_IF_ANY, *bits, 1, 0)]),
            Self::AtMost(argument, most) => (*argument, vec![jump(JUMP_IF_GREATER, *most, 1, 0)]),
            Self::OneOf(argument, values) => (*argument, one_of(values)),
            Self::Own(argument) => (*argument, one_of(&own)),
        };
        let mut code = vec![plain(LOAD, ARGUMENTS + 8 * argument)];
        code.extend(tests);
        code.extend([plain(RETURN, ALLOW), plain(RETURN, REFUSE)]);
        code
    }
}

/// Goes on where one of the values is met, else over one instruction.
fn one_of(values: &[u32]) -> Vec<sock_filter> {
    let left = |at: usize| u8::try_from(values.len() - 1 - at).unwrap_or(u8::MAX);
    let tests = values.iter().enumerate();
    tests
        .map(|(at, value)| jump(JUMP_IF_EQUAL, *value, left(at), u8::from(left(at) == 0)))
        .collect()
}

/// System calls have small numbers.
fn word(number: c_long) -> u32 {
    u32::try_from(number).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What the kernel would answer, by the rules of its `seccomp_filter.rst`.
    fn answer(code: &[sock_filter], architecture: u32, number: c_long, arguments: &[u32]) -> u32 {
        let mut loaded = 0;
        let mut at = 0;
        loop {
            let step = code[at];
            at += 1;
            let hit = match step.code {
                LOAD => {
                    loaded = match step.k {
                        NUMBER => word(number),
                        ARCHITECTURE_OF_CALL => architecture,
                        place => *arguments
                            .get(((place - ARGUMENTS) / 8) as usize)
                            .unwrap_or(&0),
                    };
                    continue;
                }
                RETURN => return step.k,
                JUMP_IF_EQUAL => loaded == step.k,
                JUMP_IF_GREATER => loaded > step.k,
                JUMP_IF_ANY => loaded & step.k != 0,
                other => panic!("{other}"),
            };
            at += usize::from(if hit { step.jt } else { step.jf });
        }
    }

    fn here(number: c_long, arguments: &[u32]) -> u32 {
        answer(&program(77), ARCHITECTURE, number, arguments)
    }

    #[test]
    fn a_call_of_another_architecture_kills_and_an_unknown_number_is_refused() {
        if ARCHITECTURE == 0 {
            println!("not checked: no filter for this architecture");
            return;
        }
        assert_eq!(answer(&program(77), 0x4000_0003, libc::SYS_read, &[]), KILL);
        assert_eq!(here(libc::SYS_read, &[]), ALLOW);
        // The second numbering of x86-64 is marked by this bit.
        assert_eq!(here(libc::SYS_read | 0x4000_0000, &[]), REFUSE);
        assert_eq!(here(9999, &[]), REFUSE);
    }

    #[test]
    fn files_are_opened_to_be_read_only() {
        let flags = |flags: i32| here(libc::SYS_openat, &[0, 0, flags.cast_unsigned()]);
        let reading = libc::O_RDONLY | libc::O_CLOEXEC | libc::O_NONBLOCK | libc::O_DIRECTORY;
        assert_eq!(flags(reading), ALLOW);
        for bad in [
            libc::O_WRONLY,
            libc::O_RDWR,
            libc::O_CREAT,
            libc::O_TRUNC,
            libc::O_TMPFILE,
        ] {
            assert_eq!(flags(bad | libc::O_CLOEXEC), REFUSE, "{bad:o}");
        }
    }

    #[test]
    fn conditions_hold_for_their_own_argument_and_end_where_they_stand() {
        assert_eq!(here(libc::SYS_write, &[2]), ALLOW);
        assert_eq!(here(libc::SYS_write, &[3]), REFUSE);
        assert_eq!(here(libc::SYS_mmap, &[7, 7, 3]), ALLOW);
        assert_eq!(here(libc::SYS_mprotect, &[0, 0, 5]), REFUSE);
        for command in HARMLESS_FCNTL {
            assert_eq!(here(libc::SYS_fcntl, &[0, *command]), ALLOW, "{command}");
        }
        let own = libc::F_SETOWN.cast_unsigned();
        assert_eq!(here(libc::SYS_fcntl, &[0, own]), REFUSE);
        assert_eq!(here(libc::SYS_tgkill, &[77, 78, 6]), ALLOW);
        assert_eq!(here(libc::SYS_tgkill, &[76, 76, 6]), REFUSE);
    }

    #[test]
    fn a_program_that_is_not_ours_may_start_and_read_but_not_reach_out_or_write() {
        let code = foreign_program();
        if code.is_empty() {
            println!("not checked: no filter for this architecture");
            return;
        }
        let here = |number, arguments: &[u32]| answer(&code, ARCHITECTURE, number, arguments);
        let writing = libc::O_WRONLY.cast_unsigned();
        for (number, arguments) in [
            (libc::SYS_execve, &[][..]),
            (libc::SYS_mmap, &[0, 0, EXECUTABLE]),
            (libc::SYS_openat, &[0, 0, 0]),
            (libc::SYS_read, &[]),
            (libc::SYS_ioctl, &[]),
        ] {
            assert_eq!(here(number, arguments), ALLOW, "{number}");
        }
        assert_eq!(here(libc::SYS_openat, &[0, 0, writing]), REFUSE);
        assert_eq!(here(libc::SYS_read | 0x4000_0000, &[]), REFUSE);
        for number in REFUSED_TO_PROGRAMS.iter().chain(REFUSED_TO_PROGRAMS_HERE) {
            assert_eq!(here(*number, &[]), REFUSE, "{number}");
        }
        assert_eq!(answer(&code, 0x4000_0003, libc::SYS_read, &[]), KILL);
    }

    #[test]
    fn every_way_out_is_refused() {
        for number in [
            libc::SYS_socket,
            libc::SYS_connect,
            libc::SYS_sendmsg,
            libc::SYS_clone,
            libc::SYS_clone3,
            libc::SYS_execve,
            libc::SYS_execveat,
            libc::SYS_kill,
            libc::SYS_ptrace,
            libc::SYS_process_vm_readv,
            libc::SYS_openat2,
            libc::SYS_io_uring_setup,
            libc::SYS_memfd_create,
            libc::SYS_prctl,
            libc::SYS_ioctl,
            libc::SYS_unlinkat,
        ] {
            assert_eq!(here(number, &[0; 6]), REFUSE, "{number}");
        }
    }
}
