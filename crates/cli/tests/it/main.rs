//! The binary as its users meet it: exit codes, streams, words, files. Nothing here needs PyTorch; `tests/e2e` has that.
#![forbid(unsafe_code)]
#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test that cannot go on has failed; clippy exempts only test functions"
)]

mod bad_input;
mod disk;
mod hostile;
mod interruption;
mod keep;
mod ledger;
mod pass_through;
mod reading;
mod rewriting;
mod scan;
mod scrub;
mod seal;
mod secrets;
mod together;
mod world;
