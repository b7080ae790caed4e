//! Having the kernel write out what was changed of a file.

use std::io;
use std::os::fd::{AsRawFd as _, BorrowedFd};

/// `sync_file_range` over the whole file, waiting for what is on its way.
pub(crate) fn write_out(descriptor: BorrowedFd<'_>) -> io::Result<()> {
    let how = libc::SYNC_FILE_RANGE_WAIT_BEFORE
        | libc::SYNC_FILE_RANGE_WRITE
        | libc::SYNC_FILE_RANGE_WAIT_AFTER;
    // SAFETY: the call takes numbers alone, and the descriptor is borrowed, so open.
    let result = unsafe { libc::sync_file_range(descriptor.as_raw_fd(), 0, 0, how) };
    if result == 0 {
        Ok(())
    } else {
        Err(io::Error::last_os_error())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::fd::AsFd as _;
    use std::os::unix::fs::MetadataExt as _;
    use std::time::Duration;

    /// A file that is mapped to be written.
    struct Mapped(*mut u8);

    impl Mapped {
        fn of(file: &std::fs::File) -> Self {
            let (how, kind) = (libc::PROT_READ | libc::PROT_WRITE, libc::MAP_SHARED);
            // SAFETY: a fresh mapping of a page of a file that has one, at an address that the kernel chooses.
            let at =
                unsafe { libc::mmap(std::ptr::null_mut(), 4096, how, kind, file.as_raw_fd(), 0) };
            assert_ne!(at, libc::MAP_FAILED);
            Self(at.cast())
        }

        fn write(&self, byte: u8) {
            // SAFETY: the page is mapped until the process ends, and nobody else has it.
            unsafe { self.0.write_volatile(byte) }
        }
    }

    #[test]
    fn after_it_a_write_through_a_mapping_that_was_dirty_before_moves_the_change_time() {
        let file = tempfile::tempfile_in(env!("CARGO_MANIFEST_DIR")).unwrap();
        file.set_len(4096).unwrap();
        let magic = rustix::fs::fstatfs(&file).unwrap().f_type;
        if !crate::disk::keeps_change_times(magic) {
            return; // nothing is promised there
        }
        let changed = || {
            std::thread::sleep(Duration::from_millis(30));
            let facts = file.metadata().unwrap();
            (facts.ctime(), facts.ctime_nsec())
        };
        let page = Mapped::of(&file);
        page.write(1);
        let before = changed();
        write_out(file.as_fd()).unwrap();
        assert_eq!(changed(), before, "writing out is no change");
        page.write(2);
        assert_ne!(changed(), before);
    }
}
