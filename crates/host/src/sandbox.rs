//! Taking away from this process what a parser of hostile files does not need, before it reads the first of them.
//!
//! A parser without memory errors can still be made to loop, to fill the memory, or to end the process; and who knows
//! whether it has none. So the process that parses can read, compute and answer on descriptors that it already has, and
//! nothing else: no network, nothing opened to be written, no program started, no process or thread made, no other
//! process looked into or signalled, no page made executable. Three layers hold this, each by itself: limits of the
//! kernel, Landlock (which names may be opened), and a list of system calls (what may be asked at all). Namespaces and
//! a helper with privileges were rejected: they are refused in most containers, and a scanner must run where it is put.
//!
//! A layer that this kernel does not have is no error: [`Confinement`] says what holds, and a report can say it.
//! What it cannot do: make a process safe that has other threads already. Call it first, from the only thread.

mod filter;
mod landlock;

use std::path::Path;

use rustix::process::{DumpableBehavior, Resource, Rlimit, Signal};
use serde::{Deserialize, Serialize};

use crate::{bounded, sys};

/// What may be used from now on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of memory beyond what the process has now. Reserved address space counts as well, and asking for more fails.
    pub memory_bytes: u64,
    /// Seconds of processor time of the whole process. A net for a process that nobody watches, not a clock for one file:
    /// at its end the process dies of `SIGXCPU`.
    pub cpu_seconds: u64,
    /// The highest number of open descriptors.
    pub descriptors: u64,
}

impl Default for Limits {
    /// 256 MiB, an hour, 64 descriptors.
    fn default() -> Self {
        Self {
            memory_bytes: 256 * 1024 * 1024,
            cpu_seconds: 3600,
            descriptors: 64,
        }
    }
}

/// What may still be opened, to be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Readable<'a> {
    /// Whatever the user may read.
    Everything,
    /// These files, and all below these folders. One that cannot be opened now will not be readable.
    Only(&'a [&'a Path]),
    /// Nothing but what is open already.
    Nothing,
}

/// Which layers hold.
#[expect(
    clippy::struct_excessive_bools,
    reason = "each layer holds or not, whatever the others do"
)]
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Confinement {
    /// No program that is started gains rights.
    pub no_new_privileges: bool,
    /// Memory, processor time, descriptors, no files written, no processes, no core dump.
    pub limits: bool,
    /// Other processes of the user may not look into this one, and a crash leaves no copy of it.
    pub undumpable: bool,
    /// It is killed when the thread that started it ends.
    pub dies_with_parent: bool,
    /// The version of Landlock that holds, if any. Without it every file of the user can be opened to be read.
    pub landlock: Option<u32>,
    /// Only the system calls of the list are answered.
    pub system_calls: bool,
    /// There was no other thread, so all of this holds for the whole process.
    pub alone: bool,
}

impl Confinement {
    /// Whether every layer holds.
    pub fn is_complete(self) -> bool {
        self.no_new_privileges
            && self.limits
            && self.undumpable
            && self.dies_with_parent
            && self.landlock.is_some()
            && self.system_calls
            && self.alone
    }
}

/// Confines this process for the rest of its life, and says what holds. There is no way back.
pub fn confine(limits: &Limits, readable: Readable<'_>) -> Confinement {
    // Asked before it cannot be any more.
    let own = Own::look();
    let limited = set_limits(limits, &own);
    let dies = rustix::process::set_parent_process_death_signal(Some(Signal::KILL));
    let undumpable = rustix::process::set_dumpable_behavior(DumpableBehavior::NotDumpable);
    let no_new_privileges = rustix::thread::set_no_new_privs(true).is_ok();
    Confinement {
        no_new_privileges,
        limits: limited,
        undumpable: undumpable.is_ok(),
        dies_with_parent: dies.is_ok(),
        landlock: landlock::restrict(readable),
        system_calls: sys::filter_system_calls(&filter::program(std::process::id())).is_ok(),
        alone: own.threads == Some(1),
    }
}

/// Has a program that is not ours started in confinement: it can read files, compute, and answer on the descriptors that it
/// gets; no network, nothing written, no further process or thread, no other process looked into. Weaker than [`confine`],
/// which is for code that is known: what any program needs to start is left to it, and Landlock holds where there is one.
/// Where the filter of system calls cannot be installed, the program is not started. It dies with the thread that starts it.
pub fn confine_program(command: &mut std::process::Command, limits: &Limits) {
    let resources = [
        (Resource::Data, limits.memory_bytes),
        (Resource::As, limits.memory_bytes.saturating_mul(2)),
        (Resource::Cpu, limits.cpu_seconds),
        (Resource::Nofile, limits.descriptors),
        (Resource::Fsize, 0),
        (Resource::Nproc, 0),
        (Resource::Core, 0),
    ];
    sys::detach(command);
    sys::confine_before_start(
        command,
        &resources,
        landlock::for_program(),
        filter::foreign_program(),
    );
}

/// Has a program started that may read everything and write below these folders and to devices alone, it and all that it starts. Answers whether
/// this kernel can hold it to that; it is started in any case.
pub fn confine_writes(command: &mut std::process::Command, folders: &[&Path]) -> bool {
    let rules = landlock::for_writing(folders);
    let held = rules.is_some();
    if held {
        sys::confine_before_start(command, &[], rules, Vec::new());
    }
    held
}

/// Names of system calls that a parser must not have and that this process is still answered. Each is asked for in a way
/// that cannot succeed, so this is harmless where nothing is refused. Empty in a confined process.
pub fn still_answered() -> Vec<&'static str> {
    let answered = filter::REFUSED.iter();
    answered
        .filter(|(_, number)| !sys::is_refused(*number))
        .map(|(name, _)| *name)
        .collect()
}

/// What the process has and is before it is confined.
struct Own {
    address_bytes: u64,
    data_bytes: u64,
    threads: Option<u64>,
}

impl Own {
    fn look() -> Self {
        let status = bounded::read(Path::new("/proc/self/status"), 16 * 1024);
        let status = status.map(|(bytes, _)| bytes).unwrap_or_default();
        let status = String::from_utf8_lossy(&status);
        let number = |name: &str| -> Option<u64> {
            let line = status.lines().find_map(|line| line.strip_prefix(name))?;
            line.split_whitespace().next()?.parse().ok()
        };
        Self {
            address_bytes: number("VmSize:").unwrap_or(0).saturating_mul(1024),
            data_bytes: number("VmData:").unwrap_or(0).saturating_mul(1024),
            threads: number("Threads:"),
        }
    }
}

/// All of them, and whether each could be set.
fn set_limits(limits: &Limits, own: &Own) -> bool {
    let data = own.data_bytes.saturating_add(limits.memory_bytes);
    let address = own.address_bytes.saturating_add(limits.memory_bytes);
    let wanted = [
        // Data counts private pages that can be written; the address space also what a program reserves or shares.
        (Resource::Data, data),
        (Resource::As, address),
        (Resource::Cpu, limits.cpu_seconds),
        (Resource::Nofile, limits.descriptors),
        (Resource::Fsize, 0),
        (Resource::Nproc, 0),
        (Resource::Core, 0),
        (Resource::Memlock, 0),
        (Resource::Msgqueue, 0),
    ];
    let mut all = true;
    for (resource, value) in wanted {
        let maximum = rustix::process::getrlimit(resource).maximum;
        let value = maximum.map_or(value, |maximum| maximum.min(value));
        // A second more until the kill that cannot be caught, so that the death is known to be of this limit.
        let hard = match resource {
            Resource::Cpu => {
                maximum.map_or(value + 1, |maximum| maximum.min(value.saturating_add(1)))
            }
            _ => value,
        };
        let limit = Rlimit {
            current: Some(value),
            maximum: Some(hard),
        };
        all &= rustix::process::setrlimit(resource, limit).is_ok();
    }
    all
}
