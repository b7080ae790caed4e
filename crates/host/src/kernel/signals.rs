//! Signals as the kernel makes them: who sends which to whom, with both identities, whatever call it came by.
//!
//! A program of ours hangs onto the point `signal_generate`, through which all of them go: `kill`, `tgkill`, `pidfd_send_signal`,
//! `rt_sigqueueinfo`, groups, `cgroup.kill`, and what the kernel sends by itself. It is put together at run time from the kernel's own description of
//! its structures, so there is no compiler and nothing that is made for one kernel. Both identities are read in the kernel at that very moment:
//! a look at `/proc` afterwards finds a sender gone, or another one under its number.
//!
//! What it cannot see: an attempt that the kernel refused makes no signal; what stops a process without one (freezing a control group, a
//! debugger) does not come by here. Signals by which the kernel tells a parent of its child (SIGCHLD) are left out: they say nothing against anybody.

use std::io;
use std::os::fd::{AsFd, AsRawFd as _, BorrowedFd, OwnedFd};

use serde::{Deserialize, Serialize};

use super::asm::{FRAME, Helper, If, Label, Program, R0, R1, R2, R3, R4, R6, R7, R8, R9};
use super::btf::{Btf, BtfError};
use super::task::{
    NUMBER, Places, TASK_BYTES, Task, describe, number_of, process_number, read, task,
};
use crate::sys;

/// Bytes of the buffer between kernel and process, of signals alone: some thousand of them.
const RING_BYTES: u32 = 1 << 20;
/// Bytes of what is told of a signal, with both tasks.
const EVENT_BYTES: usize = 24 + 2 * TASK_BYTES;
/// What is left out.
const CHILD: i32 = libc::SIGCHLD;
/// Counters: signals that were lost, whether those to everybody are told, and processes that could not be followed.
const LOST: u32 = 0;
const EVERYTHING: u32 = 1;
const UNFOLLOWED: u32 = 2;
const COUNTERS: u32 = 3;
/// Processes that are followed at once: a megabyte of the kernel's memory.
const FOLLOWED_MAX: u32 = 1 << 14;
/// How the kernel was told of the sender: not at all; by itself; as stated.
const BY_NOBODY: u32 = 0;
const BY_KERNEL: u32 = 1;
const AS_STATED: u32 = 2;

/// Why signals cannot be seen.
#[derive(Debug, thiserror::Error)]
pub enum KernelError {
    /// Its description of itself.
    #[error("{0}")]
    Btf(#[from] BtfError),
    /// A program that cannot be put together.
    #[error("no program can be put together for this kernel")]
    Program,
    /// A signal to ourselves was not seen as it was.
    #[error(
        "a signal to ourselves was not seen with our own number: processes have other numbers here than the kernel gives them"
    )]
    NotProved,
    /// A file or a call.
    #[error("{what}: {source}")]
    Refused {
        /// What was asked for.
        what: &'static str,
        /// The answer.
        source: io::Error,
    },
}

pub(super) fn refused(what: &'static str) -> impl FnOnce(io::Error) -> KernelError {
    move |source| KernelError::Refused { what, source }
}

/// Whom the signal itself names as its origin.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Origin {
    /// A process, by a call.
    Process,
    /// The kernel by itself: the memory is full, a terminal hung up, a page is not there.
    Kernel,
    /// A timer, or a request that has ended, as the signal says; a process can send one that says so as well. Who ran then may have nothing to
    /// do with it.
    Timer,
}

/// One signal.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Signal {
    /// Nanoseconds since boot.
    pub at_ns: u64,
    /// Its number.
    pub signal: i32,
    /// The code that goes with it.
    pub code: i32,
    /// Whether it reached its target: not so if that ignores it, or the same one waits already.
    pub delivered: bool,
    /// Where it came from.
    pub origin: Origin,
    /// Whoever made it is followed as well.
    pub from_followed: bool,
    /// Whose thread made it; with the kernel as origin, who happened to run.
    pub actor: Task,
    /// Whom it is for.
    pub target: Task,
}

/// Sees signals from the moment it is made to the moment it is dropped: those to processes that are followed, and to all that come of them.
pub struct Signals {
    ring: sys::Ring,
    counters: OwnedFd,
    followed: OwnedFd,
    /// The programs, and what they hang on.
    _programs: Vec<(OwnedFd, OwnedFd)>,
}

impl Signals {
    /// Loads the programs and hangs them up. Needs root, or the rights to load programs and to watch the kernel.
    ///
    /// It has proved itself then: a signal to ourselves was seen, with our own number on both sides. Where processes have other numbers than the
    /// kernel's first namespace gives them, that is an error.
    pub fn watch(btf: &Btf) -> Result<Self, KernelError> {
        let places = Places::of(btf)?;
        let code = btf.offset("kernel_siginfo", "si_code")?;
        let maps = Maps {
            ring: sys::Ring::new(RING_BYTES).map_err(refused("a buffer for signals"))?,
            counters: sys::counters(COUNTERS).map_err(refused("a counter of lost signals"))?,
            followed: sys::set(FOLLOWED_MAX).map_err(refused("a set of processes"))?,
        };
        let wanted = [
            (c"sched_process_fork", forked(&places, &maps)),
            (c"sched_process_free", freed(&places, &maps)),
            (c"signal_generate", signalled(&places, code, &maps)),
        ];
        let mut programs = Vec::new();
        for (point, code) in wanted {
            let code = code.ok_or(KernelError::Program)?;
            let program = sys::load(&code).map_err(refused("loading a program for signals"))?;
            let hung = sys::attach(&program, point).map_err(refused("hanging it up"))?;
            programs.push((program, hung));
        }
        let mut signals = Self {
            ring: maps.ring,
            counters: maps.counters,
            followed: maps.followed,
            _programs: programs,
        };
        signals.prove()?;
        Ok(signals)
    }

    /// Sends ourselves a signal that does nothing, and looks whether it is seen as it was.
    fn prove(&mut self) -> Result<(), KernelError> {
        let own = std::process::id();
        let everything = |on: u64| {
            let all = sys::count(&self.counters, EVERYTHING, on);
            all.map_err(refused("asking for signals to ourselves"))
        };
        everything(1)?;
        let pid = rustix::process::getpid();
        let sent = rustix::process::kill_process(pid, rustix::process::Signal::CONT);
        everything(0)?;
        sent.map_err(|error| refused("a signal to ourselves")(error.into()))?;
        let mut seen = false;
        self.take(|signal| {
            seen |= signal.signal == libc::SIGCONT
                && (signal.actor.pid, signal.target.pid) == (own, own)
                && signal.actor.uid == rustix::process::getuid().as_raw();
        });
        if seen {
            return Ok(());
        }
        Err(KernelError::NotProved)
    }

    /// From now on signals to this process are told, and to all that it starts from now on.
    pub fn follow(&self, pid: u32) -> io::Result<()> {
        sys::keep(&self.followed, u64::from(pid), true)
    }

    /// Signals to this process are not told any more; those to what it started are.
    pub fn leave(&self, pid: u32) -> io::Result<()> {
        sys::keep(&self.followed, u64::from(pid), false)
    }

    /// Whether this process is followed: it was named, or came of one that was.
    pub fn is_followed(&self, pid: u32) -> bool {
        sys::is_kept(&self.followed, u64::from(pid))
    }

    /// All that came since the last time.
    pub fn take(&mut self, mut each: impl FnMut(Signal)) {
        self.ring.drain(|bytes| {
            if let Some(signal) = decode(bytes) {
                each(signal);
            }
        });
    }

    /// Signals that came faster than they were taken, since the beginning.
    pub fn lost(&self) -> io::Result<u64> {
        sys::counted(&self.counters, LOST)
    }

    /// Processes that came of followed ones and are not followed: there were too many.
    pub fn unfollowed(&self) -> io::Result<u64> {
        sys::counted(&self.counters, UNFOLLOWED)
    }
}

impl AsFd for Signals {
    /// Readable as soon as there is one.
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.ring.descriptor().as_fd()
    }
}

/// Reads a record of our program.
pub fn decode(bytes: &[u8]) -> Option<Signal> {
    let bytes: &[u8; EVENT_BYTES] = bytes.first_chunk()?;
    let number = |at: usize| Some(i32::from_ne_bytes(*bytes.get(at..)?.first_chunk()?));
    let (at_ns, rest) = bytes.split_first_chunk()?;
    let (_, tasks) = rest.split_at_checked(16)?;
    let (actor, target) = tasks.split_at_checked(TASK_BYTES)?;
    let how = u32::from_ne_bytes(*bytes.get(20..)?.first_chunk()?);
    let code = number(12)?;
    Some(Signal {
        at_ns: u64::from_ne_bytes(*at_ns),
        signal: number(8)?,
        code,
        delivered: number(16)? == 0,
        origin: match how {
            BY_NOBODY => Origin::Process,
            BY_KERNEL => Origin::Kernel,
            _ if code > 0 => Origin::Kernel,
            _ if (libc::SI_SIGIO..=libc::SI_TIMER).contains(&code) => Origin::Timer,
            _ => Origin::Process,
        },
        from_followed: *actor.get(56)? == 1,
        actor: task(actor)?,
        target: task(target)?,
    })
}

/// The key of a counter, on a program's stack.
const KEY: i16 = -16;

/// What the programs share.
struct Maps {
    ring: sys::Ring,
    counters: OwnedFd,
    followed: OwnedFd,
}

/// Hung onto the point where a process makes another: arguments are parent and child. What comes of a followed one is followed.
fn forked(places: &Places, maps: &Maps) -> Option<Vec<[u8; 8]>> {
    let mut it = Program::default();
    let end = it.label();
    it.copy(R6, R1);
    it.load(R8, R6, 0);
    process_number(&mut it, places)?;
    in_map(&mut it, &maps.followed, NUMBER);
    it.call(Helper::MapLookup);
    it.jump(If::Equal, R0, 0, end);
    it.load(R8, R6, 8);
    process_number(&mut it, places)?;
    in_map(&mut it, &maps.followed, NUMBER);
    it.copy(R3, R2);
    it.set(R4, 0);
    it.call(Helper::MapUpdate);
    it.jump(If::Equal, R0, 0, end);
    one_more(&mut it, maps, UNFOLLOWED, end)?;
    it.here(end);
    it.set(R0, 0);
    it.exit();
    it.finish()
}

/// Hung onto the point where a task is gone for good: with the last thread of a process, its number may become another's.
fn freed(places: &Places, maps: &Maps) -> Option<Vec<[u8; 8]>> {
    let mut it = Program::default();
    let end = it.label();
    it.load(R8, R1, 0);
    process_number(&mut it, places)?;
    it.load(R7, FRAME, NUMBER);
    // The first thread, which goes last, has the number of the process.
    number_of(&mut it, places.pid)?;
    it.load(R6, FRAME, NUMBER);
    it.jump_between(If::Different, R6, R7, end);
    in_map(&mut it, &maps.followed, NUMBER);
    it.call(Helper::MapDelete);
    it.here(end);
    it.set(R0, 0);
    it.exit();
    it.finish()
}

/// Hung onto the point where a signal is made: its arguments are signal, what is known of the sender, target, whether a group is meant, and the
/// result.
fn signalled(places: &Places, code: u32, maps: &Maps) -> Option<Vec<[u8; 8]>> {
    let mut it = Program::default();
    let (end, full) = (it.label(), it.label());
    let (stated, told, wanted) = (it.label(), it.label(), it.label());
    let stranger = it.label();
    it.copy(R6, R1);
    it.load(R7, R6, 0);
    it.jump(If::Equal, R7, CHILD, end);
    it.load(R8, R6, 16);
    process_number(&mut it, places)?;
    in_map(&mut it, &maps.followed, NUMBER);
    it.call(Helper::MapLookup);
    it.jump(If::Different, R0, 0, wanted);
    counter(&mut it, maps, EVERYTHING)?;
    it.jump(If::Equal, R0, 0, end);
    it.load(R1, R0, 0);
    it.jump(If::Equal, R1, 0, end);
    it.here(wanted);
    // A record, or a loss that is counted.
    it.map(R1, maps.ring.descriptor().as_raw_fd());
    it.set(R2, i32::try_from(EVENT_BYTES).ok()?);
    it.set(R3, 0);
    it.call(Helper::RingReserve);
    it.jump(If::Equal, R0, 0, full);
    it.copy(R9, R0);
    it.store_word(R9, 8, R7);
    it.store_number(R9, 12, 0);
    it.load(R1, R6, 32);
    it.store_word(R9, 16, R1);
    it.call(Helper::BootTime);
    it.store(R9, 0, R0);
    // Nobody, the kernel, or what it says itself.
    it.load(R8, R6, 8);
    it.jump(If::Above, R8, 1, stated);
    it.store_word(R9, 20, R8);
    it.always(told);
    it.here(stated);
    it.store_number(R9, 20, i32::try_from(AS_STATED).ok()?);
    read(&mut it, 12, 4, code)?;
    it.here(told);
    it.call(Helper::CurrentTask);
    it.copy(R8, R0);
    describe(&mut it, places, 24)?;
    process_number(&mut it, places)?;
    in_map(&mut it, &maps.followed, NUMBER);
    it.call(Helper::MapLookup);
    it.jump(If::Equal, R0, 0, stranger);
    it.store_number(R9, 24 + 56, 0x0101_0101);
    it.here(stranger);
    it.load(R8, R6, 16);
    describe(&mut it, places, 24 + i16::try_from(TASK_BYTES).ok()?)?;
    it.copy(R1, R9);
    it.set(R2, 0);
    it.call(Helper::RingSubmit);
    it.always(end);
    it.here(full);
    one_more(&mut it, maps, LOST, end)?;
    it.here(end);
    it.set(R0, 0);
    it.exit();
    it.finish()
}

/// The map and the key on the stack, as the next call takes them.
fn in_map(it: &mut Program, map: &OwnedFd, key: i16) {
    it.map(R1, map.as_raw_fd());
    it.copy(R2, FRAME);
    it.add(R2, i32::from(key));
}

/// Counts one up; to `end` if there is no such counter.
fn one_more(it: &mut Program, maps: &Maps, place: u32, end: Label) -> Option<()> {
    counter(it, maps, place)?;
    it.jump(If::Equal, R0, 0, end);
    it.set(R1, 1);
    it.count(R0, 0, R1);
    Some(())
}

/// Where a counter stands, in `R0`; zero is nowhere.
fn counter(it: &mut Program, maps: &Maps, place: u32) -> Option<()> {
    it.store_number(FRAME, KEY, i32::try_from(place).ok()?);
    in_map(it, &maps.counters, KEY);
    it.call(Helper::MapLookup);
    Some(())
}

#[cfg(test)]
mod tests {
    use super::super::task::{COMM_BYTES, UNSET};
    use super::*;

    /// A record as the program writes it: SIGKILL by `kill`, from a login that has become root.
    fn record() -> Vec<u8> {
        let mut bytes = 5_000u64.to_ne_bytes().to_vec();
        for number in [9i32, 0, 0, 2] {
            bytes.extend(number.to_ne_bytes());
        }
        for (pid, login, name, followed) in
            [(41u32, 61_001u32, "bash", 0u64), (42, UNSET, "python", 0)]
        {
            for word in [pid, pid, 0, 0, login, UNSET] {
                bytes.extend(word.to_ne_bytes());
            }
            for long in [7_000u64, 44] {
                bytes.extend(long.to_ne_bytes());
            }
            let mut field = name.as_bytes().to_vec();
            field.resize(COMM_BYTES, 0);
            bytes.extend(field);
            bytes.extend(followed.to_ne_bytes());
        }
        bytes
    }

    #[test]
    fn a_record_is_read_as_it_was_written() {
        let signal = decode(&record()).unwrap();
        assert_eq!(
            (signal.at_ns, signal.signal, signal.delivered),
            (5_000, 9, true)
        );
        assert_eq!(
            (signal.origin, signal.from_followed),
            (Origin::Process, false)
        );
        assert_eq!(
            (
                signal.actor.pid,
                signal.actor.login_uid,
                signal.actor.session
            ),
            (41, Some(61_001), None)
        );
        assert_eq!(
            (signal.actor.name.as_str(), signal.target.name.as_str()),
            ("bash", "python")
        );
        assert_eq!((signal.target.login_uid, signal.target.cgroup), (None, 44));
    }

    #[test]
    fn what_is_cut_off_is_none_and_odd_bytes_are_read() {
        let whole = record();
        for end in 0..whole.len() {
            assert_eq!(decode(whole.get(..end).unwrap()), None);
        }
        let odd: Vec<u8> = whole.iter().map(|byte| byte ^ 0xFF).collect();
        assert!(decode(&odd).is_some());
    }

    #[test]
    fn the_code_tells_the_kernel_and_timers_from_processes() {
        let with = |how: u32, code: i32| {
            let mut bytes = record();
            bytes.splice(12..16, code.to_ne_bytes());
            bytes.splice(20..24, how.to_ne_bytes());
            decode(&bytes).unwrap().origin
        };
        assert_eq!(with(BY_NOBODY, 0), Origin::Process);
        assert_eq!(with(BY_KERNEL, 0), Origin::Kernel);
        assert_eq!(with(AS_STATED, libc::SI_USER), Origin::Process);
        assert_eq!(with(AS_STATED, libc::SI_QUEUE), Origin::Process);
        assert_eq!(with(AS_STATED, libc::SI_TKILL), Origin::Process);
        assert_eq!(with(AS_STATED, libc::SI_KERNEL), Origin::Kernel);
        assert_eq!(with(AS_STATED, libc::SI_TIMER), Origin::Timer);
    }
}
