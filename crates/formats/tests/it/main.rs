//! What the readers promise, shown on files that are put together here byte by byte.
#![forbid(unsafe_code)]

mod checkpoints;
mod garbage;
mod pickle_bounds;
mod pickle_loaders;
mod pickle_shown;
mod pickles;
mod support;
mod tensors_safe;
mod zips;
