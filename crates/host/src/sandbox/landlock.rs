//! Landlock: which names may be opened, whoever the user is.
//!
//! Every right that this version of the kernel knows is taken away, and reading given back where it was asked for. What
//! is open stays open.

use rustix::fs::{CWD, FileType, Mode, OFlags};
use std::os::fd::OwnedFd;
use std::path::Path;

use super::Readable;
use crate::sys::{self, Ruleset};

const EXECUTE: u64 = 1;
const WRITE_FILE: u64 = 1 << 1;
const READ_FILE: u64 = 1 << 2;
const READ_DIR: u64 = 1 << 3;

const TRUNCATE: u64 = 1 << 14;
const IOCTL_DEVICE: u64 = 1 << 15;

/// All rights on files that version `abi` knows.
fn all_rights(abi: u32) -> u64 {
    let bits = match abi {
        0 | 1 => 13,
        2 => 14,
        3 | 4 => 15,
        _ => 16,
    };
    (1 << bits) - 1
}

/// Restricts this thread, and gives the version that does it; `None` where the kernel does not offer it or refuses.
pub(super) fn restrict(readable: Readable<'_>) -> Option<u32> {
    let (rules, abi) = rules(readable, 0)?;
    sys::landlock_restrict(&rules).ok()?;
    Some(abi)
}

/// Rules for a program that is yet to be started, which may read everything and write nothing; `None` as above.
pub(super) fn for_program() -> Option<OwnedFd> {
    rules(Readable::Everything, EXECUTE).map(|(rules, _)| rules)
}

/// Rules for a program that is yet to be started, which may read and execute everything and write below `folders` and to devices alone.
pub(super) fn for_writing(folders: &[&Path]) -> Option<OwnedFd> {
    let abi = sys::landlock_version()?;
    let writing = all_rights(abi) & !(EXECUTE | READ_FILE | READ_DIR | IOCTL_DEVICE);
    let ruleset = Ruleset {
        files: writing,
        network: 0,
        scoped: 0,
    };
    let rules = sys::landlock_ruleset(&ruleset).ok()?;
    let everywhere = folders.iter().map(|folder| (*folder, writing));
    let devices = [
        (Path::new("/dev"), writing & (WRITE_FILE | TRUNCATE)),
        (Path::new("/dev/shm"), writing),
        (Path::new("/proc/self"), writing & WRITE_FILE),
    ];
    for (path, rights) in everywhere.chain(devices) {
        let flags = OFlags::PATH | OFlags::CLOEXEC;
        if let Ok(place) = rustix::fs::openat(CWD, path, flags, Mode::empty()) {
            sys::landlock_allow(&rules, &place, rights).ok()?;
        }
    }
    Some(rules)
}

/// Rules by which only this may be read, and in folders `further` rights are given; and their version.
fn rules(readable: Readable<'_>, further: u64) -> Option<(OwnedFd, u32)> {
    let abi = sys::landlock_version()?;
    let ruleset = Ruleset {
        files: all_rights(abi),
        // Binding and connecting TCP sockets.
        network: if abi >= 4 { 0b11 } else { 0 },
        // Abstract Unix sockets and signals, towards everything outside.
        scoped: if abi >= 6 { 0b11 } else { 0 },
    };
    let rules = sys::landlock_ruleset(&ruleset).ok()?;
    let everything = [Path::new("/")];
    let paths = match readable {
        Readable::Everything => &everything,
        Readable::Only(paths) => paths,
        Readable::Nothing => &[],
    };
    for path in paths {
        let Ok(place) =
            rustix::fs::openat(CWD, *path, OFlags::PATH | OFlags::CLOEXEC, Mode::empty())
        else {
            continue;
        };
        let folder = rustix::fs::fstat(&place)
            .is_ok_and(|stat| FileType::from_raw_mode(stat.st_mode) == FileType::Directory);
        let rights = if folder {
            READ_FILE | READ_DIR | further
        } else {
            READ_FILE
        };
        sys::landlock_allow(&rules, &place, rights).ok()?;
    }
    Some((rules, abi))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_older_kernel_is_not_asked_for_rights_that_it_does_not_know() {
        assert_eq!(all_rights(1), 0x1fff);
        assert_eq!(all_rights(2), 0x3fff);
        assert_eq!(all_rights(3), 0x7fff);
        assert_eq!(all_rights(5), 0xffff);
        assert_eq!(all_rights(7), 0xffff);
    }
}
