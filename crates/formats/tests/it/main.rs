//! What the readers promise, shown on files that are put together here byte by byte.
#![forbid(unsafe_code)]

mod checkpoints;
mod compressed;
mod garbage;
mod gguf;
mod jinja;
mod pickles;
mod sniffs;
mod support;
mod tars;
mod tensors_safe;
mod zips;
