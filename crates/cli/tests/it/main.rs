//! The binary as its users meet it: exit codes, streams, words, files. Nothing here needs PyTorch; `tests/e2e` has that.
#![forbid(unsafe_code)]

mod bad_input;
mod disk;
mod hostile;
mod interruption;
mod ledger;
mod pass_through;
mod reading;
mod rewriting;
mod scrub;
mod secrets;
mod together;
mod world;
