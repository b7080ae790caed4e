//! The system calls that no safe wrapper offers as they are needed here. All `unsafe` code of the crate.
//!
//! Seven things: catching signals with their sender and giving the handlers back ([`catch`]), starting a process with the
//! dispositions and mask that *we* were started with rather than with those that a runtime has set since ([`spawn`]),
//! asking the kernel about processes by descriptor and about its clock ([`ask`]), confining this process or one that is started ([`confine`]),
//! having a file written out ([`disk`]), programs of ours in the kernel ([`bpf`]), and who changes files ([`fanotify`]).
//! `std::process::Command` was rejected for the job: it empties the signal mask of its children and cannot give an
//! ignored SIGCHLD back.
#![expect(
    unsafe_code,
    reason = "the one module of this crate that talks to the kernel without a safe wrapper"
)]

mod ask;
mod bpf;
mod catch;
mod confine;
mod disk;
mod fanotify;
mod spawn;

use std::os::fd::AsFd;

pub(crate) use ask::{Peeked, clock_state, exit_of, peek_dead_child, peer_descriptor};
pub(crate) use bpf::{Ring, attach, count, counted, counters, is_kept, keep, load, set};
pub(crate) use catch::{Caught, RawSignal};
pub(crate) use confine::{
    Ruleset, confine_before_start, detach, filter_system_calls, is_refused, landlock_allow,
    landlock_restrict, landlock_ruleset, landlock_version, processor_time,
};
pub(crate) use disk::write_out;
pub(crate) use fanotify::{
    Told, file_queue, handle_of, mark_file_system, open_handle, take_file_records,
};
pub(crate) use spawn::{Program, start, start_echo};

/// Empties an event descriptor, so that the next poll waits again.
pub(crate) fn drain(descriptor: impl AsFd) {
    let mut count = [0; 8];
    // It is in non-blocking mode; that nothing was in it is no error.
    let _ = rustix::io::read(descriptor, &mut count);
}
