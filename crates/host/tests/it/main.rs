//! The host crate against real processes.
//!
//! A supervisor changes signal handlers and reaps children for its whole process, so it never runs inside a test: the test
//! starts this binary again as a helper ([`helper`]), and reads what the helper saw.
#![expect(
    clippy::unwrap_used,
    reason = "helpers of tests, where a failure is the test's failure"
)]

mod confined;
mod ends;
mod files;
mod helper;
mod kernel;
mod launch;
mod lives;
mod others;
mod pooled;
mod signals;
mod touched;
