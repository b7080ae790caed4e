//! What the readers promise, shown on files that are put together here byte by byte.
#![forbid(unsafe_code)]

mod arrays;
mod checkpoints;
mod compressed;
mod garbage;
mod gguf;
mod jinja;
mod json;
mod pickle_bounds;
mod pickle_loaders;
mod pickle_shown;
mod pickles;
mod python;
mod sniffs;
mod support;
mod tars;
mod tensors_safe;
mod xml;
mod yaml;
mod zips;
