//! What the readers promise, shown on files that are put together here byte by byte.
#![forbid(unsafe_code)]

mod checkpoints;
mod garbage;
mod gguf;
mod jinja;
mod json;
mod pickles;
mod python;
mod support;
mod tensors_safe;
mod xml;
mod yaml;
mod zips;
