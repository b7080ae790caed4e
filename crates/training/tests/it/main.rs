//! What sketches, summaries and comparisons promise, shown on made-up tensors.
#![forbid(unsafe_code)]

mod comparisons;
mod recheck;
mod sketches;
mod summaries;
mod support;
