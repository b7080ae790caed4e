//! A machine to facts: processes, exits, signals, peers.
//!
//! This is the only sensor below `app` that looks at other processes. It starts a job without altering it, follows it to
//! its end, and says who signalled it, what died of what, and who is at the other end of a socket. It holds no policy and
//! draws no conclusion: what could not be seen is an explicit value (`None`, [`exits::HowKnown::NotKnown`],
//! [`peer::Descent::Unknown`]), never a plausible default. It refuses to know what a rank, a run or a ledger is.
//!
//! What reads hostile files is no sensor but needs the same kernel: [`sandbox`] takes from a process what it does not need,
//! and [`worker`] has work done by copies of the program that may die of it.
//!
//! Linux only, no root needed, no daemon. All `unsafe` code is in one module, `sys`.

mod bounded;
pub mod clock;
pub mod connector;
pub mod disk;
mod echo;
pub mod exits;
pub mod files;
pub mod identity;
pub mod job;
pub mod kernel;
pub mod listen;
pub mod pace;
pub mod pass;
pub mod peer;
pub mod proc;
pub mod proc_writes;
pub mod sandbox;
pub mod sched;
pub mod session;
pub mod signals;
mod stat;
mod sys;
pub mod watch;
pub mod worker;
