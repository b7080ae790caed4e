//! Who writes into the files that the kernel has for each process: its memory, its place in line for the memory killer.
//!
//! `/proc/PID/mem` changes weights without a signal, a system call that is watched, or a trace in any other file. The whole file system `/proc`
//! is watched for writes (fanotify), whichever of a process's names it is opened by; a second one, of a container with numbers of its own, is
//! not. Needs root. What a process writes into its own files is left out. It is told that something was written, never what.

use std::io;
use std::os::fd::{AsFd, AsRawFd as _, BorrowedFd, OwnedFd};
use std::path::{Component, Path};

use rustix::fs::{Mode, OFlags, open};

use crate::files::FilesError;
use crate::sys;

/// Where the kernel has files for processes.
const PROCESSES: &str = "/proc";
/// Bytes of a read: some hundred records, so that descriptors of all their processes and files can be open at once.
const BUFFER: usize = 4096;

/// A file by which a process is changed from outside.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ProcFile {
    /// Its memory.
    Memory,
    /// Its place in line when the kernel has no memory left and ends somebody.
    MemoryKiller,
    /// The share of the processor that its session has.
    Share,
}

impl ProcFile {
    fn of(name: &str) -> Option<Self> {
        match name {
            "mem" => Some(Self::Memory),
            "oom_score_adj" | "oom_adj" => Some(Self::MemoryKiller),
            "autogroup" => Some(Self::Share),
            _ => None,
        }
    }
}

/// A process wrote into a file of another one.
#[derive(Debug)]
pub struct ProcWrite {
    /// Who, as its number is in our namespace.
    pub pid: u32,
    /// The process itself, if it was still there.
    pub process: Option<OwnedFd>,
    /// The process whose file it is.
    pub target: u32,
    /// The file.
    pub file: ProcFile,
}

/// Sees writes from the moment it is made to the moment it is dropped.
#[derive(Debug)]
pub struct ProcWrites {
    queue: OwnedFd,
    buffer: Vec<u8>,
    lost: u64,
}

impl ProcWrites {
    /// Watches.
    pub fn watch() -> Result<Self, FilesError> {
        let at = Path::new(PROCESSES);
        let queue = sys::file_queue(sys::Told::Opened).map_err(|source| FilesError::Refused {
            what: "a queue of writes into files of processes",
            source,
        })?;
        let refused = |source: io::Error| FilesError::RefusedAt {
            what: "watching the file system of",
            at: at.to_owned(),
            source,
        };
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let folder = open(at, flags, Mode::empty()).map_err(|error| refused(error.into()))?;
        let marked = sys::mark_file_system(&queue, sys::Told::Opened, folder.as_fd());
        marked.map_err(refused)?;
        Ok(Self {
            queue,
            buffer: vec![0; BUFFER],
            lost: 0,
        })
    }

    /// What came since the last time. After so many notices it is enough, and then `true`: there may be more.
    pub fn take(&mut self, count: usize, mut each: impl FnMut(ProcWrite)) -> bool {
        let own = std::process::id();
        let mut taken = 0;
        while taken < count {
            let mut lost = 0;
            let read = sys::take_file_records(&self.queue, &mut self.buffer, |record, opened| {
                if record.mask & libc::FAN_Q_OVERFLOW != 0 {
                    lost += 1;
                    return;
                }
                let Some((target, file)) = opened.file.as_ref().and_then(whose) else {
                    return;
                };
                if target != record.pid && record.pid != own {
                    each(ProcWrite {
                        pid: record.pid,
                        process: opened.process,
                        target,
                        file,
                    });
                }
            });
            self.lost += lost;
            match read {
                Ok(read) if read.count == 0 => return false,
                Ok(read) => taken += read.count,
                // Its file could not be opened for us: its process was gone, or we may not. One is lost with this.
                Err(_) => {
                    self.lost += 1;
                    taken += 1;
                }
            }
        }
        true
    }

    /// Writes that were lost at least, since the beginning.
    pub fn lost(&self) -> u64 {
        self.lost
    }
}

impl AsFd for ProcWrites {
    /// Readable as soon as there is something.
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.queue.as_fd()
    }
}

/// Whose file this is, and which.
fn whose(file: &OwnedFd) -> Option<(u32, ProcFile)> {
    // Of a process in another mount namespace the path leads nowhere here: what it says is enough.
    let path = std::fs::read_link(format!("/proc/self/fd/{}", file.as_raw_fd())).ok()?;
    let (number, file) = of_task(&path)?;
    Some((crate::proc::of_thread(number).unwrap_or(number), file))
}

/// The process or thread that a path is about: `…/PID/NAME`, `…/PID/task/TID/NAME`.
fn of_task(path: &Path) -> Option<(u32, ProcFile)> {
    let mut names = path.components().rev().map(|part| match part {
        Component::Normal(name) => name.to_str(),
        _ => None,
    });
    let name = names.next()??;
    // One whose process has ended.
    let name = name.strip_suffix(" (deleted)").unwrap_or(name);
    let number = names.next()??.parse().ok()?;
    Some((number, ProcFile::of(name)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_of_the_process_or_thread_that_its_path_names() {
        for (path, told) in [
            ("/proc/41/mem", Some((41, ProcFile::Memory))),
            ("/proc/41/task/42/mem", Some((42, ProcFile::Memory))),
            ("/41/oom_score_adj", Some((41, ProcFile::MemoryKiller))),
            ("/proc/41/mem (deleted)", Some((41, ProcFile::Memory))),
            ("/proc/41/comm", None),
            ("/proc/sys/kernel/core_pattern", None),
            ("/proc/mem", None),
            ("/", None),
        ] {
            assert_eq!(of_task(Path::new(path)), told, "{path}");
        }
    }
}
