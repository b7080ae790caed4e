//! The crate as the use-cases meet it: chains of certificates, bundles with every byte changed, folders that changed; and
//! SSH signatures and time stamps beside the tools of others.
#![forbid(unsafe_code)]
#![expect(
    clippy::expect_used,
    clippy::unwrap_used,
    reason = "a test that cannot go on has failed; clippy exempts only test functions"
)]

mod bundles;
mod certificates;
mod folders;
mod ssh;
mod time;
