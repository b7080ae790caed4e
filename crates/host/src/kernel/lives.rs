//! The lives of all processes of the host, as the kernel tells them: who came of whom, what each executed, and who it was then.
//!
//! Whoever hears of an act afterwards has a bare number and some milliseconds of doubt. With this he knows who had it: identities are read
//! in the kernel as a process begins, as it executes a program, and as it ends, so one that lived for a millisecond is known as well.
//! [`super::Table`] puts them together.

use std::io;
use std::os::fd::{AsRawFd as _, OwnedFd};

use super::asm::{FRAME, Helper, If, Label, Program, R0, R1, R2, R3, R6, R7, R8, R9};
use super::btf::Btf;
use super::signals::{KernelError, refused};
use super::task::{NUMBER, Places, TASK_BYTES, Task, describe, number_of, process_number, task};
use crate::sys;

/// Bytes of the buffer between kernel and process: some twenty thousand records.
const RING_BYTES: u32 = 4 << 20;
/// Bytes before the task in a record, and of a program's name behind it.
const HEAD_BYTES: usize = 16;
const PATH_BYTES: usize = 128;
const RECORD_BYTES: usize = HEAD_BYTES + TASK_BYTES + PATH_BYTES;
/// What a record tells.
const MADE: u32 = 1;
const EXECUTED: u32 = 2;
const ENDED: u32 = 3;
/// The key of a counter, on a program's stack.
const KEY: i16 = -16;

/// Something in the life of a process.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Happened {
    /// It began.
    Made {
        /// Nanoseconds since boot.
        at_ns: u64,
        /// Whom it came of.
        parent: Task,
        /// It.
        child: Task,
    },
    /// It executed a program.
    Executed {
        /// Nanoseconds since boot.
        at_ns: u64,
        /// It, as it is from then on.
        task: Task,
        /// The program, as it was called: 127 bytes at most.
        path: Vec<u8>,
    },
    /// Its first thread ended; others of it may go on.
    Ended {
        /// Nanoseconds since boot.
        at_ns: u64,
        /// It, as it was at last.
        task: Task,
    },
}

/// Hears of lives from the moment it is made to the moment it is dropped.
pub struct Lives {
    ring: sys::Ring,
    lost: OwnedFd,
    /// The programs, and what they hang on.
    _programs: Vec<(OwnedFd, OwnedFd)>,
}

impl Lives {
    /// Loads the programs and hangs them up. Needs root, or the rights to load programs and to watch the kernel. That numbers are the host's is
    /// proved by [`super::Signals::watch`].
    pub fn watch(btf: &Btf) -> Result<Self, KernelError> {
        let places = Places::of(btf)?;
        let name = btf.offset("linux_binprm", "filename")?;
        let ring = sys::Ring::new(RING_BYTES).map_err(refused("a buffer for processes"))?;
        let lost = sys::counters(1).map_err(refused("a counter of lost processes"))?;
        let maps = Maps {
            ring: ring.descriptor().as_raw_fd(),
            lost: lost.as_raw_fd(),
        };
        let wanted = [
            (c"sched_process_fork", made(&places, maps)),
            (c"sched_process_exec", executed(&places, name, maps)),
            (c"sched_process_exit", ended(&places, maps)),
        ];
        let mut programs = Vec::new();
        for (point, code) in wanted {
            let code = code.ok_or(KernelError::Program)?;
            let program = sys::load(&code).map_err(refused("loading a program for processes"))?;
            let hung = sys::attach(&program, point).map_err(refused("hanging it up"))?;
            programs.push((program, hung));
        }
        Ok(Self {
            ring,
            lost,
            _programs: programs,
        })
    }

    /// All that came since the last time.
    pub fn take(&mut self, mut each: impl FnMut(Happened)) {
        self.ring.drain(|bytes| {
            if let Some(happened) = decode(bytes) {
                each(happened);
            }
        });
    }

    /// What came faster than it was taken, since the beginning.
    pub fn lost(&self) -> io::Result<u64> {
        sys::counted(&self.lost, 0)
    }
}

/// Reads a record of our programs.
pub fn decode(bytes: &[u8]) -> Option<Happened> {
    let bytes: &[u8; RECORD_BYTES] = bytes.first_chunk()?;
    let at_ns = u64::from_ne_bytes(*bytes.first_chunk()?);
    let kind = u32::from_ne_bytes(*bytes.get(8..)?.first_chunk()?);
    let it = task(bytes.get(HEAD_BYTES..)?.get(..TASK_BYTES)?)?;
    let rest = bytes.get(HEAD_BYTES + TASK_BYTES..)?;
    match kind {
        MADE => Some(Happened::Made {
            at_ns,
            parent: task(rest.get(..TASK_BYTES)?)?,
            child: it,
        }),
        EXECUTED => {
            let end = rest
                .iter()
                .position(|byte| *byte == 0)
                .unwrap_or(rest.len());
            Some(Happened::Executed {
                at_ns,
                task: it,
                path: rest.get(..end)?.to_vec(),
            })
        }
        ENDED => Some(Happened::Ended { at_ns, task: it }),
        _ => None,
    }
}

/// What the programs share, by descriptor.
#[derive(Debug, Clone, Copy)]
struct Maps {
    ring: i32,
    lost: i32,
}

/// A record in `R9`, of a kind; to `full` if there is no room.
fn begin(it: &mut Program, maps: Maps, kind: u32, full: Label) -> Option<()> {
    it.map(R1, maps.ring);
    it.set(R2, i32::try_from(RECORD_BYTES).ok()?);
    it.set(R3, 0);
    it.call(Helper::RingReserve);
    it.jump(If::Equal, R0, 0, full);
    it.copy(R9, R0);
    it.store_number(R9, 8, i32::try_from(kind).ok()?);
    it.store_number(R9, 12, 0);
    it.call(Helper::BootTime);
    it.store(R9, 0, R0);
    Some(())
}

/// The record is whole. What finds no room is counted.
fn finish(mut it: Program, maps: Maps, full: Label, end: Label) -> Option<Vec<[u8; 8]>> {
    it.copy(R1, R9);
    it.set(R2, 0);
    it.call(Helper::RingSubmit);
    it.always(end);
    it.here(full);
    it.store_number(FRAME, KEY, 0);
    it.map(R1, maps.lost);
    it.copy(R2, FRAME);
    it.add(R2, i32::from(KEY));
    it.call(Helper::MapLookup);
    it.jump(If::Equal, R0, 0, end);
    it.set(R1, 1);
    it.count(R0, 0, R1);
    it.here(end);
    it.set(R0, 0);
    it.exit();
    it.finish()
}

/// Hung onto the point where a task makes another: arguments are parent and child. Threads of a process are left out.
fn made(places: &Places, maps: Maps) -> Option<Vec<[u8; 8]>> {
    let mut it = Program::default();
    let (full, end) = (it.label(), it.label());
    it.copy(R6, R1);
    it.load(R8, R6, 0);
    process_number(&mut it, places)?;
    it.load(R7, FRAME, NUMBER);
    it.load(R8, R6, 8);
    process_number(&mut it, places)?;
    it.load(R1, FRAME, NUMBER);
    it.jump_between(If::Equal, R1, R7, end);
    begin(&mut it, maps, MADE, full)?;
    let head = i16::try_from(HEAD_BYTES).ok()?;
    describe(&mut it, places, head)?;
    it.load(R8, R6, 0);
    describe(&mut it, places, head + i16::try_from(TASK_BYTES).ok()?)?;
    finish(it, maps, full, end)
}

/// Hung onto the point where a program has been put in a process's place: arguments are task, an old number, and what is executed.
fn executed(places: &Places, name: u32, maps: Maps) -> Option<Vec<[u8; 8]>> {
    let mut it = Program::default();
    let (full, end) = (it.label(), it.label());
    it.copy(R6, R1);
    begin(&mut it, maps, EXECUTED, full)?;
    it.load(R8, R6, 0);
    let head = i16::try_from(HEAD_BYTES).ok()?;
    describe(&mut it, places, head)?;
    let path = i32::from(head) + i32::try_from(TASK_BYTES).ok()?;
    it.store_number(R9, i16::try_from(path).ok()?, 0);
    // The pointer to the name, and then the name.
    it.copy(R1, FRAME);
    it.add(R1, i32::from(NUMBER));
    it.set(R2, 8);
    it.load(R3, R6, 16);
    it.add(R3, i32::try_from(name).ok()?);
    it.call(Helper::ReadKernel);
    it.copy(R1, R9);
    it.add(R1, path);
    it.set(R2, i32::try_from(PATH_BYTES).ok()?);
    it.load(R3, FRAME, NUMBER);
    it.call(Helper::ReadKernelText);
    finish(it, maps, full, end)
}

/// Hung onto the point where a task ends. The first thread speaks for its process.
fn ended(places: &Places, maps: Maps) -> Option<Vec<[u8; 8]>> {
    let mut it = Program::default();
    let (full, end) = (it.label(), it.label());
    it.load(R8, R1, 0);
    process_number(&mut it, places)?;
    it.load(R7, FRAME, NUMBER);
    number_of(&mut it, places.pid)?;
    it.load(R6, FRAME, NUMBER);
    it.jump_between(If::Different, R6, R7, end);
    begin(&mut it, maps, ENDED, full)?;
    describe(&mut it, places, i16::try_from(HEAD_BYTES).ok()?)?;
    finish(it, maps, full, end)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(kind: u32) -> Vec<u8> {
        let mut bytes = 5_000u64.to_ne_bytes().to_vec();
        for word in [kind, 0] {
            bytes.extend(word.to_ne_bytes());
        }
        for word in [41u32, 41, 7, 8, 61_001, u32::MAX] {
            bytes.extend(word.to_ne_bytes());
        }
        for long in [7_000u64, 44] {
            bytes.extend(long.to_ne_bytes());
        }
        bytes.extend(b"sh\0\0\0\0\0\0\0\0\0\0\0\0\0\0");
        bytes.extend(0u64.to_ne_bytes());
        bytes.extend(b"/bin/sh\0rest");
        bytes.resize(RECORD_BYTES, 0xAA);
        bytes
    }

    #[test]
    fn a_record_is_read_as_it_was_written() {
        let Some(Happened::Executed { at_ns, task, path }) = decode(&record(EXECUTED)) else {
            panic!("not executed")
        };
        assert_eq!((at_ns, path.as_slice()), (5_000, &b"/bin/sh"[..]));
        assert_eq!((task.pid, task.uid, task.effective_uid), (41, 7, 8));
        assert_eq!((task.login_uid, task.session), (Some(61_001), None));
        assert!(matches!(
            decode(&record(ENDED)),
            Some(Happened::Ended { .. })
        ));
        assert!(matches!(decode(&record(MADE)), Some(Happened::Made { .. })));
        assert_eq!(decode(&record(9)), None);
    }

    #[test]
    fn what_is_cut_off_is_none_and_odd_bytes_are_read() {
        let whole = record(MADE);
        for end in 0..whole.len() {
            assert_eq!(decode(whole.get(..end).unwrap()), None);
        }
        let mut odd = record(EXECUTED);
        for byte in odd.iter_mut().skip(HEAD_BYTES) {
            *byte = 0xFF;
        }
        assert!(decode(&odd).is_some());
    }
}
