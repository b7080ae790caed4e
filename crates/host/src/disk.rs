//! Whether the change time of a file says that its bytes are the same.
//!
//! A write through a shared mapping moves the change time only when a page becomes dirty: a page that is dirty already
//! changes unseen, until the kernel has written it out. File systems in memory never write anything out. So who wants to
//! rely on a change time has the file written out *before* the bytes are read, where the file system keeps to that.

use std::io;
use std::os::fd::AsFd;

use crate::sys;

/// ext2 to ext4, XFS, Btrfs, F2FS: once a file is written out, the next write of any kind moves its change time.
const KEEP: [u32; 4] = [0xEF53, 0x5846_5342, 0x9123_683E, 0xF2F5_2010];

/// tmpfs, ramfs, hugetlbfs: a mapped page is changed and nothing tells.
const IN_MEMORY: [u32; 3] = [0x0102_1994, 0x8584_58F6, 0x9584_58F6];

/// Whether a file system of this kind (`f_type` of `statfs`) moves the change time with the first write after
/// [`write_out`].
pub fn keeps_change_times(kind: impl Into<i128>) -> bool {
    is_one_of(kind.into(), &KEEP)
}

/// Whether a file system of this kind (`f_type` of `statfs`) lies in memory, so that no time tells of mapped writes.
pub fn is_in_memory(kind: impl Into<i128>) -> bool {
    is_one_of(kind.into(), &IN_MEMORY)
}

/// The field is wider than the number, and signed on some processors.
fn is_one_of(kind: i128, all: &[u32]) -> bool {
    let kind = kind & i128::from(u32::MAX);
    all.iter().any(|it| i128::from(*it) == kind)
}

/// Has the kernel write out what was changed of the file and waits for it. Cheap where there is nothing; makes nothing
/// durable.
///
/// # Errors
/// The disk's.
pub fn write_out(descriptor: impl AsFd) -> io::Result<()> {
    sys::write_out(descriptor.as_fd())
}
