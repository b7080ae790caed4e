//! What listens: the witness over HTTP (C2SP tlog-witness).
//!
//! The only crate with an async runtime, because who asks is anybody: slow, many at once, without end. It keeps them from
//! using up the machine, and knows nothing of trees and keys: bytes go to [`ledger::witness::Witness`], its answer goes
//! back with the code that the specification has for it. It speaks plain HTTP; whoever wants TLS puts a proxy in front.
//!
//! ```text
//! POST /add-checkpoint                       200 lines of cosignatures; 400 403 404 409 422
//! GET  /<SHA-256 of an origin>/checkpoint    200 what was cosigned last of this log; 404
//! ```
#![forbid(unsafe_code)]

mod answer;
mod serve;

pub use serve::{ServeError, Told, serve};
