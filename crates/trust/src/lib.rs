//! Who vouches: keys, statements, envelopes, model signatures, approvals, time stamps.
#![forbid(unsafe_code)]

pub mod commit;
pub mod ssh;
pub mod time;
