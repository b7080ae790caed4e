//! The binary as its users meet it: exit codes, streams, words, files. Nothing here needs PyTorch; `tests/e2e` has that.
#![forbid(unsafe_code)]
#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test that cannot go on has failed; clippy exempts only test functions"
)]

mod approve;
mod attest;
mod authority;
mod bad_input;
mod disk;
mod env;
mod heads;
mod hostile;
mod interruption;
mod keep;
mod keys;
mod ledger;
mod mutations;
mod pass_through;
mod reading;
mod rewriting;
mod saves;
mod scan;
mod scrub;
mod seal;
mod secrets;
mod silence;
mod spec;
mod time;
mod together;
mod witness;
mod world;
