//! Who vouches: keys, statements, envelopes, model signatures, approvals, time stamps.
#![forbid(unsafe_code)]

pub mod ssh;
pub mod time;
