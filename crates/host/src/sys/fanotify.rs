//! What happens to files and who does it (fanotify): asking for it, reading it, and opening what it names.

use std::io;
use std::mem::offset_of;
use std::os::fd::{AsFd, AsRawFd as _, BorrowedFd, FromRawFd as _, OwnedFd};

use rustix::io::Errno;

use crate::files::{HANDLE_MAX, Handle, Record, records};

/// What is told: names that come and go, bytes, the end of writing, attributes; of folders as well.
const WANTED: u64 = libc::FAN_CREATE
    | libc::FAN_DELETE
    | libc::FAN_RENAME
    | libc::FAN_MODIFY
    | libc::FAN_CLOSE_WRITE
    | libc::FAN_ATTRIB
    | libc::FAN_ONDIR;

/// `struct file_handle` of the kernel, with room for the largest.
#[repr(C)]
struct RawHandle {
    length: libc::c_uint,
    kind: libc::c_int,
    bytes: [u8; HANDLE_MAX],
}

// The kernel's bytes begin where its structure ends.
const _: () = assert!(offset_of!(RawHandle, bytes) == size_of::<libc::file_handle>());

/// How a queue tells of files.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Told {
    /// By folder, name and handle.
    ByName,
    /// Opened: for file systems that have no handles.
    Opened,
}

/// A queue that nothing comes into yet.
pub(crate) fn file_queue(told: Told) -> io::Result<OwnedFd> {
    let how = libc::FAN_CLASS_NOTIF | libc::FAN_CLOEXEC | libc::FAN_NONBLOCK;
    let told = match told {
        Told::ByName => libc::FAN_REPORT_DFID_NAME_TARGET | libc::FAN_REPORT_PIDFD,
        Told::Opened => libc::FAN_REPORT_PIDFD,
    };
    let opened = libc::O_RDONLY | libc::O_CLOEXEC | libc::O_LARGEFILE;
    // SAFETY: numbers alone.
    let descriptor = unsafe { libc::fanotify_init(how | told, opened.cast_unsigned()) };
    owned(descriptor)
}

/// From now on, changes on the whole file system that this lies on come into the queue; of one that opens files, writes alone.
pub(crate) fn mark_file_system(queue: &OwnedFd, told: Told, at: BorrowedFd<'_>) -> io::Result<()> {
    let wanted = match told {
        Told::ByName => WANTED,
        Told::Opened => libc::FAN_MODIFY,
    };
    let how = libc::FAN_MARK_ADD | libc::FAN_MARK_FILESYSTEM;
    let (queue, at) = (queue.as_raw_fd(), at.as_raw_fd());
    // SAFETY: both descriptors are open; without a path the second one is meant itself.
    let result = unsafe { libc::fanotify_mark(queue, how, wanted, at, std::ptr::null()) };
    if result != 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(())
}

/// What one read of the queue gave.
pub(crate) struct Taken {
    /// Records; none if the queue is empty.
    pub(crate) count: usize,
    /// There was something behind them that is no record.
    pub(crate) is_cut: bool,
}

/// What the kernel opened for a record.
#[derive(Debug)]
pub(crate) struct Opened {
    /// The process; none if it was gone.
    pub(crate) process: Option<OwnedFd>,
    /// The file, of a queue that tells it so.
    pub(crate) file: Option<OwnedFd>,
}

/// Reads the queue once, into `buffer`, and gives out each record with the process that the kernel named.
///
/// Each descriptor is owned here before anything else sees its record: whatever becomes of that, it is closed once.
pub(crate) fn take_file_records(
    queue: &OwnedFd,
    buffer: &mut [u8],
    mut each: impl FnMut(&Record<'_>, Opened),
) -> io::Result<Taken> {
    let length = match rustix::io::retry_on_intr(|| rustix::io::read(queue, &mut *buffer)) {
        Ok(length) => length,
        Err(Errno::AGAIN) => 0,
        Err(error) => return Err(error.into()),
    };
    let mut found = records(buffer.get(..length).unwrap_or_default());
    let mut count = 0;
    for record in found.by_ref() {
        // SAFETY: the kernel made these descriptors for us with the read above, close-on-exec, and the bytes that say so are read
        // once: each number of each record, each record once.
        let own = |number: i32| unsafe { OwnedFd::from_raw_fd(number) };
        let process = record.process.filter(|number| *number >= 0).map(own);
        let file = Some(record.file).filter(|number| *number >= 0).map(own);
        count += 1;
        each(&record, Opened { process, file });
    }
    Ok(Taken {
        count,
        is_cut: !found.rest().is_empty(),
    })
}

/// Opens what a handle names, as a place and not to be read. `mount` lies on the same file system.
pub(crate) fn open_handle(mount: &OwnedFd, handle: &Handle) -> io::Result<OwnedFd> {
    let mut raw = RawHandle {
        length: libc::c_uint::try_from(handle.bytes().len()).unwrap_or(0),
        kind: handle.kind,
        bytes: [0; HANDLE_MAX],
    };
    for (to, byte) in raw.bytes.iter_mut().zip(handle.bytes()) {
        *to = *byte;
    }
    let (mount, how) = (mount.as_raw_fd(), libc::O_PATH | libc::O_CLOEXEC);
    // SAFETY: the structure is laid out as the kernel's, has the bytes that its length says, and outlives the call.
    let descriptor = unsafe { libc::open_by_handle_at(mount, (&raw mut raw).cast(), how) };
    owned(descriptor)
}

/// The handle of an open file or folder, and the number of its mount; its file system is for the caller to say.
pub(crate) fn handle_of(at: impl AsFd, file_system: u64) -> io::Result<(Handle, i32)> {
    let mut raw = RawHandle {
        length: libc::c_uint::try_from(HANDLE_MAX).unwrap_or(0),
        kind: 0,
        bytes: [0; HANDLE_MAX],
    };
    let (at, mut mount) = (at.as_fd().as_raw_fd(), 0);
    // SAFETY: the structure is laid out as the kernel's, has room for the bytes that its length says, and outlives the call, as the
    // number of the mount and the empty path do.
    let result = unsafe {
        libc::name_to_handle_at(
            at,
            c"".as_ptr(),
            (&raw mut raw).cast(),
            &raw mut mount,
            libc::AT_EMPTY_PATH,
        )
    };
    if result != 0 {
        return Err(io::Error::last_os_error());
    }
    let length = usize::try_from(raw.length).unwrap_or(usize::MAX);
    let bytes = raw.bytes.get(..length);
    let handle = bytes.and_then(|bytes| Handle::new(file_system, raw.kind, bytes));
    let handle = handle.ok_or(io::ErrorKind::InvalidData)?;
    Ok((handle, mount))
}

fn owned(descriptor: libc::c_int) -> io::Result<OwnedFd> {
    if descriptor < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the kernel has just made this descriptor for us, close-on-exec, and nobody else knows it.
    Ok(unsafe { OwnedFd::from_raw_fd(descriptor) })
}
