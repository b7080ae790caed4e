//! Starting the job's process, and the echo (see `crate::echo`).
//!
//! All signals are blocked across the fork, so no handler of ours ever runs in the child; there, handlers become defaults
//! before the mask is given back, and a signal that came meanwhile acts as if the program had always been there.

use std::ffi::CString;
use std::io;
use std::os::fd::{AsRawFd as _, OwnedFd, RawFd};
use std::ptr;

use rustix::net::{AddressFamily, SocketFlags, SocketType, socketpair};
use rustix::pipe::{PipeFlags, pipe_with};

use super::catch::{Caught, RawSignal, change_mask, default_action, empty_set, full_set};

/// A program ready to be executed.
pub(crate) struct Program {
    pub(crate) path: CString,
    pub(crate) arguments: Vec<CString>,
    pub(crate) environment: Vec<CString>,
}

type Pointers = Vec<*const libc::c_char>;

fn pointers<'a>(texts: impl IntoIterator<Item = &'a CString>) -> Pointers {
    let texts = texts.into_iter().map(|text| text.as_ptr());
    texts.chain([ptr::null()]).collect()
}

/// Starts the program as a child in our process group, session and working directory, with our descriptors 0 to 2, and
/// with the signal mask and the dispositions that `caught` found. Gives its number, or why it could not be executed.
///
/// SIGPIPE is the exception: the Rust runtime sets it to ignored before any code of ours runs, so what it was cannot be
/// known any more; the program gets the default, as from any shell.
pub(crate) fn start(program: &Program, caught: &Caught) -> io::Result<u32> {
    let arguments = pointers(&program.arguments);
    let environment = pointers(&program.environment);
    // A script without an interpreter line is run by the shell, as execvp(3) and every shell do.
    let shell = CString::from(c"/bin/sh");
    let script = [&shell, &program.path];
    let for_shell = pointers(script.into_iter().chain(program.arguments.iter().skip(1)));
    let ignored: Vec<i32> = (1..=64)
        .filter(|number| caught.was_ignored(*number))
        .collect();
    let (reader, writer) = pipe_with(PipeFlags::CLOEXEC)?;

    let ours = change_mask(libc::SIG_SETMASK, &full_set());
    // SAFETY: the child only makes async-signal-safe calls on memory that was laid out before, until it executes or exits.
    let pid = unsafe { libc::fork() };
    if pid == 0 {
        restore_dispositions(&ignored);
        change_mask(libc::SIG_SETMASK, caught.mask());
        // SAFETY: all three arrays end in a null pointer, and their strings live in the caller's frame. `writer` is closed
        // by a successful execution; `_exit` runs no destructor of the copied process.
        unsafe {
            libc::execve(
                program.path.as_ptr(),
                arguments.as_ptr(),
                environment.as_ptr(),
            );
            if *libc::__errno_location() == libc::ENOEXEC {
                libc::execve(shell.as_ptr(), for_shell.as_ptr(), environment.as_ptr());
            }
            let errno = (*libc::__errno_location()).to_ne_bytes();
            libc::write(writer.as_raw_fd(), errno.as_ptr().cast(), errno.len());
            libc::_exit(127);
        }
    }
    let forked = if pid < 0 {
        Err(io::Error::last_os_error())
    } else {
        Ok(pid)
    };
    change_mask(libc::SIG_SETMASK, &ours);
    let pid = forked?;
    drop(writer);
    match failure(&reader) {
        None => u32::try_from(pid).map_err(|_| io::ErrorKind::InvalidData.into()),
        Some(error) => {
            // SAFETY: it is our child and about to exit; its status tells nothing more.
            unsafe { libc::waitpid(pid, ptr::null_mut(), 0) };
            Err(error)
        }
    }
}

/// In the child: what was ignored at our start is ignored again, everything that has a handler gets its default.
fn restore_dispositions(ignored: &[i32]) {
    for number in 1..=64 {
        let mut action = default_action();
        // SAFETY: sigaction(2) is async-signal-safe and `action` is initialised. It refuses SIGKILL, SIGSTOP and the two
        // signals of the C library, which have no handler of ours.
        unsafe {
            libc::sigaction(number, ptr::null(), &raw mut action);
            let now = action.sa_sigaction;
            action = default_action();
            if ignored.contains(&number) {
                action.sa_sigaction = libc::SIG_IGN;
            } else if now == libc::SIG_DFL || (now == libc::SIG_IGN && number != libc::SIGPIPE) {
                continue;
            }
            libc::sigaction(number, &raw const action, ptr::null_mut());
        }
    }
}

/// Waits until the child has executed (nothing to read) or said why it could not.
fn failure(reader: &OwnedFd) -> Option<io::Error> {
    let mut errno = [0; 4];
    let length = loop {
        match rustix::io::read(reader, &mut errno) {
            Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Some(error.into()),
            Ok(length) => break length,
        }
    };
    (length == errno.len()).then(|| io::Error::from_raw_os_error(i32::from_ne_bytes(errno)))
}

/// Forks the echo: a process without a program of its own that blocks every signal and, whenever a byte comes in by the
/// socket, answers with the signals that it was sent since. It ends when the socket does.
///
/// `words` replace its command line, as far as they fit into the `place` where ours lies.
pub(crate) fn start_echo(
    words: &[u8],
    place: Option<(usize, usize)>,
) -> io::Result<(u32, OwnedFd)> {
    let (ours, theirs) = socketpair(
        AddressFamily::UNIX,
        SocketType::SEQPACKET,
        SocketFlags::CLOEXEC,
        None,
    )?;
    let mask = change_mask(libc::SIG_SETMASK, &full_set());
    // SAFETY: the child only makes async-signal-safe calls and never returns.
    let pid = unsafe { libc::fork() };
    if pid == 0 {
        rename(words, place);
        echo(theirs.as_raw_fd());
    }
    let forked = if pid < 0 {
        Err(io::Error::last_os_error())
    } else {
        Ok(pid)
    };
    change_mask(libc::SIG_SETMASK, &mask);
    let pid = u32::try_from(forked?).map_err(|_| io::ErrorKind::InvalidData)?;
    Ok((pid, ours))
}

fn rename(words: &[u8], place: Option<(usize, usize)>) {
    // SAFETY: the name is a C string of at most 16 bytes.
    unsafe { libc::prctl(libc::PR_SET_NAME, c"(echo)".as_ptr()) };
    if let Some((start, end)) = place {
        let length = words.len().min(end - start - 1);
        let target = ptr::with_exposed_provenance_mut::<u8>(start);
        // SAFETY: the kernel said that the command line of this process lies in these bytes of its stack, which is
        // writable; this is a forked copy whose only thread runs this code, so nobody reads them any more.
        unsafe {
            ptr::write_bytes(target, 0, end - start);
            ptr::copy_nonoverlapping(words.as_ptr(), target, length);
        }
    }
}

/// The whole life of the echo.
fn echo(socket: RawFd) -> ! {
    const ROOM: usize = 128;
    let mut records = [0_u8; ROOM * RawSignal::SIZE];
    let mut heard = full_set();
    let mut fault = empty_set();
    let action = default_action();
    // SAFETY: only system calls on descriptors and buffers of this frame; every length is that of its buffer. Faults stay
    // unblocked, so that a fault ends it rather than spins it.
    unsafe {
        for number in [libc::SIGSEGV, libc::SIGBUS, libc::SIGILL, libc::SIGFPE] {
            libc::sigdelset(&raw mut heard, number);
            libc::sigaddset(&raw mut fault, number);
            libc::sigaction(number, &raw const action, ptr::null_mut());
        }
        let number = socket.cast_unsigned();
        libc::syscall(libc::SYS_close_range, 0, number.wrapping_sub(1), 0);
        libc::syscall(libc::SYS_close_range, number.wrapping_add(1), u32::MAX, 0);
        libc::pthread_sigmask(libc::SIG_UNBLOCK, &raw const fault, ptr::null_mut());
        let inbox = libc::signalfd(-1, &raw const heard, libc::SFD_NONBLOCK);
        let mut question = 0_u8;
        while libc::read(socket, (&raw mut question).cast(), 1) == 1 {
            let mut length = 0;
            while length + RawSignal::SIZE <= records.len() {
                let mut info: libc::signalfd_siginfo = std::mem::zeroed();
                let size = size_of::<libc::signalfd_siginfo>();
                if libc::read(inbox, (&raw mut info).cast(), size) != size.cast_signed() {
                    break;
                }
                let words = [
                    info.ssi_signo.to_ne_bytes(),
                    info.ssi_code.to_ne_bytes(),
                    info.ssi_pid.to_ne_bytes(),
                    info.ssi_uid.to_ne_bytes(),
                ];
                let place = records.as_mut_ptr().add(length);
                ptr::copy_nonoverlapping(words.as_ptr().cast(), place, RawSignal::SIZE);
                length += RawSignal::SIZE;
            }
            // An answer is never empty: that would read as the end of the socket.
            let length = length.max(1);
            if libc::send(socket, records.as_ptr().cast(), length, libc::MSG_NOSIGNAL) < 0 {
                break;
            }
        }
        libc::_exit(0)
    }
}
