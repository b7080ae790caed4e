//! Trusted time (RFC 3161): somebody else says that these bytes existed at a time.
//!
//! A machine's clock is whatever its administrator sets it to. A token of a time stamping authority over a tree head says
//! that every entry under that head was made no later. Tokens are asked for by whoever has a network; here are only the
//! bytes: the question, the answer, and the check, offline, with the reader's own roots.

mod fields;
mod request;
mod token;
mod verify;

pub use request::{MAX_RESPONSE_BYTES, Refusal, asked, granted, request, response, token_in};
pub use token::{MAX_TOKEN_BYTES, Stated, Token, TokenSyntax};
pub use verify::{ChainFault, NotStamped, Stamped};
