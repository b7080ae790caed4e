//! The ledger as a whole: what is changed is named, what is appended is there, what is rewritten is noticed.
#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test that cannot go on has failed; clippy exempts only test functions"
)]

mod appending;
mod damage;
mod golden;
mod hostile;
mod proving;
mod rewriting;
mod tail;
mod world;
