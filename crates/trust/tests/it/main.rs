//! The crate from outside, beside other people's tools.
#![forbid(unsafe_code)]
#![expect(
    clippy::expect_used,
    reason = "a test that cannot go on has failed; clippy exempts only test functions"
)]

mod ssh;
mod time;
